"""GARCH(1,1) by maximum likelihood.

    r_t = mu + e_t,   s2_t = omega + alpha * e_{t-1}^2 + beta * s2_{t-1}
    log L = -1/2 sum(ln 2 pi + ln s2_t + e_t^2 / s2_t)

Source: T. Bollerslev, J. Econometrics 31, 1986; the gradient is that of G. Fiorentini, G. Calzolari and L. Panattoni,
J. Applied Econometrics 11, 1996. Variance and its derivatives by the parameters all follow one linear recursion with
coefficient `beta`, so each costs one pass of a compiled filter and the gradient is exact. The first variance is the
backcast of the `arch` package: the mean of the first 75 squares with weights 0.94^k, so that the two can be compared.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.signal import lfilter

Array = npt.NDArray[np.float64]

MIN_GARCH = 100
"""Fewer returns do not tell alpha from beta."""
MAX_PERSISTENCE = 0.9999
_BACKCAST, _DECAY = 75, 0.94


@dataclass(frozen=True)
class Garch:
    """A fitted model.

    Attributes
    ----------
    mu : mean of a return. omega, alpha, beta : of the variance; alpha, beta >= 0 and alpha + beta < 1.
    start : variance of the first return. log_likelihood : at these parameters.
    """

    mu: float
    omega: float
    alpha: float
    beta: float
    start: float
    log_likelihood: float

    @property
    def persistence(self) -> float:
        """``alpha + beta``: the share of a surprise that is left a step later."""
        return self.alpha + self.beta

    @property
    def unconditional(self) -> float:
        """The variance that forecasts go back to, ``omega / (1 - alpha - beta)``."""
        return self.omega / (1.0 - self.persistence)

    def variances(self, returns: npt.ArrayLike) -> Array:
        """Variances (n + 1,): entry t is the forecast for return t, the last for the one to come."""
        squares = (np.asarray(returns, dtype=np.float64) - self.mu) ** 2
        return _variances(squares, self.omega, self.alpha, self.beta, self.start)

    def mean_variance(self, next_variance: npt.ArrayLike, horizon: int) -> Array:
        """Mean variance of the next `horizon` steps, from that of the next one.

        ``V + (s2 - V) * (1 - p^h) / (h (1 - p))`` with `V` unconditional and `p` the persistence.
        """
        if horizon < 1:
            raise ValueError(f"horizon {horizon}: choose at least 1")
        kept = self.persistence
        share = (1.0 - kept**horizon) / (horizon * (1.0 - kept))
        return self.unconditional + (np.asarray(next_variance, dtype=np.float64) - self.unconditional) * share


def _variances(squares: Array, omega: float, alpha: float, beta: float, start: float) -> Array:
    drive = np.empty(len(squares) + 1)
    drive[0] = start
    drive[1:] = omega + alpha * squares
    return lfilter([1.0], [1.0, -beta], drive)


def _backcast(squares: Array) -> float:
    """The variance before the sample, as `arch` takes it."""
    head = squares[:_BACKCAST]
    weight = _DECAY ** np.arange(len(head))
    return float(head @ weight / weight.sum())


def fit_garch(returns: npt.ArrayLike, mean: bool = False) -> Garch:
    """Fit by maximum likelihood.

    The first variance is ``omega + (alpha + beta) * backcast``. Returns are scaled to unit variance inside. The search
    starts from the best of nine guesses and uses the exact gradient.

    Parameters
    ----------
    returns : (n,), n >= `MIN_GARCH`. mean : whether `mu` is fitted; else it is 0.

    Raises
    ------
    ValueError
        Too few returns, one that is not finite, all the same, or a search that does not end.
    """
    r = np.asarray(returns, dtype=np.float64)
    if r.ndim != 1 or len(r) < MIN_GARCH:
        raise ValueError(f"returns has shape {r.shape}: a GARCH fit needs at least {MIN_GARCH}")
    bad = ~np.isfinite(r)
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"returns has {r[place]} at place {place}: every return must be finite")
    size = float(r.std())
    if size < 1e-12:
        raise ValueError(f"returns stand still (standard deviation {size}): there is no variance to fit")
    scaled = r / size
    fixed = scaled**2
    fixed_start = _backcast(fixed)

    def objective(x: Array) -> tuple[float, Array]:
        omega, alpha, beta = float(x[0]), float(x[1]), float(x[2])
        if mean:
            errors = scaled - x[3]
            squares = errors * errors
            start = _backcast(squares)
        else:
            squares, start = fixed, fixed_start
        past = np.concatenate([[start], squares[:-1]])
        pole = [1.0, -beta]
        variance, _ = lfilter([1.0], pole, omega + alpha * past, zi=[beta * start])
        inverse = 1.0 / variance
        share = squares * inverse
        value = 0.5 * float(np.log(variance).sum() + share.sum())
        weight = 0.5 * (1.0 - share) * inverse
        # The derivatives follow the same recursion: run it backwards over the weights once, then three inner products.
        back = lfilter([1.0], pole, weight[::-1])[::-1]
        slope = [float(back.sum()), float(back @ past), float(back @ np.concatenate([[start], variance[:-1]]))]
        if mean:
            head = np.zeros(len(squares))
            decay = _DECAY ** np.arange(min(_BACKCAST, len(squares)))
            of_start = -2.0 * float(errors[: len(decay)] @ decay) / float(decay.sum())
            head[0] = (alpha + beta) * of_start
            head[1:] = -2.0 * alpha * errors[:-1]
            slope.append(float(back @ head) - float((errors * inverse).sum()))
        return value, np.array(slope)

    guesses = [
        np.array([(1.0 - kept) * fixed.mean(), alpha, kept - alpha] + ([float(scaled.mean())] if mean else []))
        for alpha in (0.03, 0.08, 0.15)
        for kept in (0.85, 0.94, 0.985)
    ]
    first = min(guesses, key=lambda x: objective(x)[0])
    bounds = [(1e-8, 10.0), (0.0, 1.0), (0.0, 1.0)] + ([(-1.0, 1.0)] if mean else [])
    edge = np.array([0.0, -1.0, -1.0] + ([0.0] if mean else []))
    limit = {"type": "ineq", "fun": lambda x: MAX_PERSISTENCE - x[1] - x[2], "jac": lambda _: edge}
    with warnings.catch_warnings():  # SLSQP may step over a bound by a rounding, which it mends itself
        warnings.filterwarnings("ignore", "Values in x were outside bounds", RuntimeWarning)
        found = minimize(
            objective, first, jac=True, method="SLSQP", bounds=bounds, constraints=[limit],
            options={"ftol": 1e-9, "maxiter": 300},
        )  # fmt: skip
    if not np.isfinite(found.x).all() or not math.isfinite(found.fun) or found.fun > objective(first)[0] + 1e-9:
        raise ValueError(f"the GARCH search over {len(r)} returns did not end: {found.message}")
    omega, alpha, beta = (float(v) for v in found.x[:3])
    mu = float(found.x[3]) if mean else 0.0
    start = omega + (alpha + beta) * _backcast((scaled - mu) ** 2)
    log_likelihood = -float(found.fun) - len(r) * (0.5 * math.log(2.0 * math.pi) + math.log(size))
    return Garch(mu * size, omega * size**2, alpha, beta, start * size**2, log_likelihood)
