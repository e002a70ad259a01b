"""Value at risk and expected shortfall: historical, filtered historical, parametric and by Monte Carlo.

Losses are positive numbers. **Quantile convention**: the VaR of n losses is the order statistic ``ceil(confidence *
n)``, always one of them, without interpolation (`offchain.risk.volatility.quantile`); with weights, the least loss at
which the cumulated weight reaches the confidence. The expected shortfall is the mean of the worst ``1 - confidence``
of the distribution, the loss at its edge counted with the part that belongs to it (C. Acerbi and D. Tasche, J.
Banking & Finance 26, 2002, definition 2.6): it is coherent and never below the VaR.

Sources: J. Hull and A. White, J. Risk 1, 1998, and G. Barone-Adesi, K. Giannopoulos and L. Vosper, J. Futures Markets
19, 1999 (filtered, joint dates); A. McNeil, R. Frey and P. Embrechts, "Quantitative Risk Management", 2005, 2.2 and 5.3
(normal, t, t copula); R. Merton, J. Financial Economics 3, 1976 (jumps).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from scipy.stats import norm
from scipy.stats import t as student

Array = npt.NDArray[np.float64]
_EDGE = 1e-12


@dataclass(frozen=True)
class Tail:
    """The bad end of a distribution of losses.

    Attributes
    ----------
    var : value at risk. shortfall : expected shortfall, at least `var`. confidence : of both.
    """

    var: float
    shortfall: float
    confidence: float


def _confidence(value: float) -> float:
    if not 0.5 < value < 1.0:
        raise ValueError(f"confidence {value} is not between 0.5 and 1")
    return float(value)


def _finite(name: str, values: npt.ArrayLike, dimensions: int, least: int = 1) -> Array:
    out = np.asarray(values, dtype=np.float64)
    if out.ndim != dimensions or len(out) < least:
        raise ValueError(f"{name} has shape {out.shape}: {dimensions} dimensions and at least {least} rows are needed")
    bad = ~np.isfinite(out)
    if bad.any():
        place = tuple(int(i[0]) for i in np.nonzero(bad))
        raise ValueError(f"{name} has {out[bad][0]} at {place}: every value must be finite")
    return out


def empirical_tail(losses: npt.ArrayLike, confidence: float = 0.99, weights: npt.ArrayLike | None = None) -> Tail:
    """VaR and expected shortfall of a sample; conventions in the module.

    Parameters
    ----------
    losses : (n,). weights : (n,), at least 0, of any positive sum; None for equal.

    Raises
    ------
    ValueError
        A loss is not finite, or so few that none lies beyond the confidence: ``n * (1 - confidence) < 1``.
    """
    level = _confidence(confidence)
    sample = _finite("losses", losses, 1)
    share = np.full(len(sample), 1.0 / len(sample))
    if weights is not None:
        share = _finite("weights", weights, 1)
        if len(share) != len(sample) or (share < 0.0).any() or not share.sum() > 0.0:
            raise ValueError(
                f"weights has {len(share)} values for {len(sample)} losses: as many, none below 0, not all 0"
            )
        share = share / share.sum()
    elif len(sample) * (1.0 - level) < 1.0 - 1e-9:
        need = math.ceil(1.0 / (1.0 - level) - 1e-9)
        raise ValueError(f"losses has {len(sample)} values: a tail of {level:g} needs at least {need}")
    order = np.argsort(sample, kind="stable")
    ranked, mass = sample[order], np.cumsum(share[order])
    place = min(int(np.searchsorted(mass, level - _EDGE)), len(ranked) - 1)
    var = float(ranked[place])
    beyond = share[order][place + 1 :]
    total = float(beyond @ ranked[place + 1 :]) + (1.0 - level - float(beyond.sum())) * var
    return Tail(var, max(total / (1.0 - level), var), level)


def normal_tail(volatility: float, confidence: float = 0.99, mean: float = 0.0) -> Tail:
    """Of normal losses: ``mean + volatility * z`` and ``mean + volatility * phi(z) / (1 - confidence)``."""
    level = _confidence(confidence)
    if not (math.isfinite(volatility) and volatility >= 0.0 and math.isfinite(mean)):
        raise ValueError(f"volatility {volatility} or mean {mean} is out of range")
    z = float(norm.ppf(level))
    return Tail(mean + volatility * z, mean + volatility * float(norm.pdf(z)) / (1.0 - level), level)


def student_tail(volatility: float, freedom: float, confidence: float = 0.99, mean: float = 0.0) -> Tail:
    """Of Student-t losses with a given standard deviation; the scale is ``volatility * sqrt((v - 2) / v)``.

    ``ES = mean + scale * g(t) / (1 - confidence) * (v + t^2) / (v - 1)`` (McNeil et al. 2005, example 2.19).

    Raises
    ------
    ValueError
        `freedom` is not above 2: the standard deviation does not exist.
    """
    level = _confidence(confidence)
    if not freedom > 2.0:
        raise ValueError(f"freedom {freedom}: a standard deviation exists above 2 degrees only")
    if not (math.isfinite(volatility) and volatility >= 0.0 and math.isfinite(mean)):
        raise ValueError(f"volatility {volatility} or mean {mean} is out of range")
    scale = volatility * math.sqrt((freedom - 2.0) / freedom)
    t = float(student.ppf(level, freedom))
    mills = float(student.pdf(t, freedom)) / (1.0 - level) * (freedom + t * t) / (freedom - 1.0)
    return Tail(mean + scale * t, mean + scale * mills, level)


def filtered_scenarios(returns: npt.ArrayLike, volatility: npt.ArrayLike) -> Array:
    """Past returns at today's volatility, factors keeping their dates joint: ``r*_t = r_t / sigma_t * sigma_now``.

    Parameters
    ----------
    returns : (n, k), k factors. volatility : (n + 1, k), the forecast for each date and, last, for the one to come.

    Returns
    -------
    (n, k): row t is one scenario of all factors together, so their correlation is that of the past.
    """
    r, sigma = _finite("returns", returns, 2), _finite("volatility", volatility, 2)
    if sigma.shape != (len(r) + 1, r.shape[1]):
        raise ValueError(f"volatility has shape {sigma.shape}, returns {r.shape}: one more row, as many columns")
    if (sigma <= 0.0).any():
        raise ValueError(f"volatility {sigma[sigma <= 0.0][0]} is not positive")
    return r / sigma[:-1] * sigma[-1]


def covariance(returns: npt.ArrayLike, decay: float = 1.0) -> Array:
    """Covariance about zero (k, k), each date's weight `decay` times the next one's; 1 weighs all alike."""
    r = _finite("returns", returns, 2, 2)
    if not 0.0 < decay <= 1.0:
        raise ValueError(f"decay {decay} is not above 0 and at most 1")
    weight = decay ** np.arange(len(r) - 1, -1, -1.0)
    return (r * (weight / weight.sum())[:, None]).T @ r


def correlation(matrix: npt.ArrayLike) -> Array:
    """Correlation of a covariance matrix.

    Raises
    ------
    ValueError
        It is not square and symmetric, a variance is not positive, or it is not positive semidefinite.
    """
    c = _finite("covariance", matrix, 2)
    if c.shape[0] != c.shape[1] or not np.allclose(c, c.T, rtol=1e-9, atol=1e-15 * float(np.abs(c).max())):
        raise ValueError(f"covariance of shape {c.shape} is not a symmetric square")
    variances = np.diag(c)
    if (variances <= 0.0).any():
        raise ValueError(f"variance {variances[variances <= 0.0][0]} is not positive")
    size = np.sqrt(variances)
    out = c / np.outer(size, size)
    least = float(np.linalg.eigvalsh(out)[0])
    if least < -1e-8:
        raise ValueError(f"covariance is not positive semidefinite: least eigenvalue of its correlation {least:.3g}")
    return np.clip(out, -1.0, 1.0)


def stressed_correlations(base: npt.ArrayLike, weight: float = 0.5) -> dict[str, Array]:
    """The envelope of a correlation matrix: as it is, moved towards all together, all apart, and as opposed as can be.

    Each is ``(1 - weight) * base + weight * extreme``, a mean of two correlation matrices and so one itself. The
    extremes are all ones, the identity, and the equicorrelation ``-1 / (k - 1)``, the least that k factors can share.

    Raises
    ------
    ValueError
        `base` is no correlation matrix, or the weight is not within 0 and 1.
    """
    c = correlation(base)
    if not np.allclose(np.diag(np.asarray(base)), 1.0):
        raise ValueError(f"base has {np.diag(np.asarray(base))} on its diagonal: a correlation matrix has ones")
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight {weight} is not within 0 and 1")
    size = len(c)
    ends = {"together": np.ones_like(c), "apart": np.eye(size)}
    if size > 1:
        ends["opposed"] = np.full_like(c, -1.0 / (size - 1)) + np.eye(size) * (1.0 + 1.0 / (size - 1))
    return {"base": c} | {name: (1.0 - weight) * c + weight * end for name, end in ends.items()}


@dataclass(frozen=True)
class MonteCarlo:
    """A simulation of factor returns.

    Attributes
    ----------
    draws : an even number; the second half mirrors the first (antithetic). seed : of the generator (PCG64).
    copula_freedom : degrees of a t copula; None for a normal one. freedom : of Student-t marginals with the given
    standard deviations; None for normal ones. jump_rate : jumps expected in the period, common to all factors.
    jump_mean, jump_size : mean and standard deviation of a jump's logarithm, for a factor of average volatility; others
    in proportion to theirs.
    """

    draws: int = 20_000
    seed: int = 1
    copula_freedom: float | None = None
    freedom: float | None = None
    jump_rate: float = 0.0
    jump_mean: float = 0.0
    jump_size: float = 0.0

    def __post_init__(self) -> None:
        if self.draws < 200 or self.draws % 2:
            raise ValueError(f"draws {self.draws}: choose an even number, at least 200")
        for name in ("copula_freedom", "freedom"):
            value = getattr(self, name)
            if value is not None and not value > 2.0:
                raise ValueError(f"{name} {value}: choose more than 2, or none")
        if not (self.jump_rate >= 0.0 and self.jump_size >= 0.0 and math.isfinite(self.jump_mean)):
            raise ValueError(f"jump_rate {self.jump_rate}, jump_mean {self.jump_mean}, jump_size {self.jump_size}")

    def returns(self, volatility: npt.ArrayLike, correlations: npt.ArrayLike) -> Array:
        """Returns (draws, k) of a period.

        Parameters
        ----------
        volatility : (k,), of the period, without jumps. correlations : (k, k).
        """
        size = _finite("volatility", volatility, 1)
        c = correlation(correlations)
        if len(size) != len(c) or (size < 0.0).any():
            raise ValueError(f"volatility {size} for {len(c)} factors: as many, none below 0")
        rng = np.random.default_rng(self.seed)
        half = rng.standard_normal((self.draws // 2, len(c)))
        values, vectors = np.linalg.eigh(c)
        z = np.concatenate([half, -half]) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        out = z
        if self.copula_freedom is not None:
            mix = np.sqrt(self.copula_freedom / rng.chisquare(self.copula_freedom, self.draws // 2))
            z = z * np.concatenate([mix, mix])[:, None]
            # t copula: to uniform by the t distribution, on the side where it keeps its digits, then to the marginal.
            out = np.sign(z) * -self._quantile(student.cdf(-np.abs(z), self.copula_freedom))
        elif self.freedom is not None:
            out = np.sign(z) * -self._quantile(ndtr(-np.abs(z)))
        out = out * size
        if self.jump_rate:
            count = rng.poisson(self.jump_rate, self.draws)
            shock = self.jump_mean * count + self.jump_size * np.sqrt(count) * rng.standard_normal(self.draws)
            out = out + shock[:, None] * (size / max(float(size.mean()), 1e-300))
        return out

    def _quantile(self, lower: Array) -> Array:
        """Quantile of a marginal with standard deviation 1."""
        if self.freedom is None:
            return norm.ppf(lower)
        return student.ppf(lower, self.freedom) * math.sqrt((self.freedom - 2.0) / self.freedom)


def worst_tail(tails: Sequence[Tail]) -> Tail:
    """The tail with the greatest shortfall: the margin over an envelope of correlations."""
    if not tails:
        raise ValueError("tails is empty: an envelope needs at least one")
    return max(tails, key=lambda tail: (tail.shortfall, tail.var))
