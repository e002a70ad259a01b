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
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter
from scipy.special import expit

Array = npt.NDArray[np.float64]

MIN_GARCH = 100
"""Fewer returns do not tell alpha from beta."""
MAX_PERSISTENCE = 0.99999
"""Of alpha and beta together: the unconditional variance must exist."""
_BACKCAST, _DECAY = 75, 0.94
_STEPS, _FLAT, _LITTLE = 200, 1e-7, 1e-13
_SCREEN = 2_000  # returns that guesses are judged by


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


def _free(x: Array) -> Array:
    """Parameters as numbers without bounds: ln omega, and the logits of persistence and of alpha's part in it."""
    kept = (x[1] + x[2]) / MAX_PERSISTENCE
    return np.array([math.log(x[0]), math.log(kept / (1.0 - kept)), math.log(x[1] / x[2]), *x[3:]])


def _bound(y: Array) -> tuple[Array, Array]:
    """The way back from `_free`, and its derivatives (rows: parameters)."""
    omega = math.exp(min(max(float(y[0]), -40.0), 5.0))
    logistic, part = float(expit(y[1])), float(expit(y[2]))
    kept = MAX_PERSISTENCE * logistic
    more, shift = kept * (1.0 - logistic), kept * part * (1.0 - part)
    slopes = np.eye(len(y))
    slopes[:3, :3] = [[omega, 0.0, 0.0], [0.0, part * more, shift], [0.0, (1.0 - part) * more, -shift]]
    return np.array([omega, kept * part, kept * (1.0 - part), *y[3:]]), slopes


def _dot(a: Array, b: Array) -> float:
    """Inner product in one thread: BLAS would wake others for a millisecond's work, and wait for them."""
    return float(np.einsum("i,i->", a, b))


def _descend(function: Callable[[Array], tuple[float, Array]], start: Array) -> tuple[float, Array]:
    """Least value found and its place, by BFGS with backtracking (J. Nocedal and S. Wright, "Numerical Optimization",
    2006, algorithm 6.1), for a handful of parameters.
    """
    x, (value, slope) = start, function(start)
    inverse = np.eye(len(x))
    for count in range(_STEPS):
        if float(np.abs(slope).max()) < _FLAT:
            break
        way = -(inverse * slope).sum(axis=1)
        fall = float((way * slope).sum())
        if fall >= 0.0:  # not downhill: start the curvature anew
            inverse, way = np.eye(len(x)), -slope
            fall = float((way * slope).sum())
        size = min(1.0, 4.0 / max(float(np.abs(way).max()), 1e-300)) * (0.5 if count == 0 else 1.0)
        for _ in range(40):
            after, steeper = function(x + size * way)
            if after <= value + 1e-4 * size * fall:
                break
            size *= 0.4
        else:
            break
        moved, turned = size * way, steeper - slope
        gain, done = float((moved * turned).sum()), value - after
        x, value, slope = x + moved, after, steeper
        if gain > 1e-14:
            along = (inverse * turned).sum(axis=1)
            bend = float((turned * along).sum())
            if count == 0:
                inverse, along = inverse * gain / bend, along * gain / bend
                bend = gain
            mixed = np.outer(moved, along)
            inverse = inverse + (1.0 + bend / gain) * np.outer(moved, moved) / gain - (mixed + mixed.T) / gain
        if 0.0 <= done < _LITTLE:
            break
    return value, x


def fit_garch(returns: npt.ArrayLike, mean: bool = False) -> Garch:
    """Fit by maximum likelihood.

    The first variance is ``omega + (alpha + beta) * backcast``. Returns are scaled to unit variance inside. The search
    starts from the best of several guesses, slow and fast, and uses the exact gradient.

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

    def objective(x: Array, count: int | None = None) -> tuple[float, Array]:
        omega, alpha, beta = float(x[0]), float(x[1]), float(x[2])
        if mean:
            errors = scaled[:count] - x[3]
            squares = errors * errors
            start = _backcast(squares)
        else:
            squares, start = fixed[:count], fixed_start
        past = np.concatenate([[start], squares[:-1]])
        pole = [1.0, -beta]
        variance, _ = lfilter([1.0], pole, omega + alpha * past, zi=[beta * start])
        inverse = 1.0 / variance
        share = squares * inverse
        value = 0.5 * float(np.log(variance).sum() + share.sum())
        weight = 0.5 * (1.0 - share) * inverse
        # The derivatives follow the same recursion: run it backwards over the weights once, then three inner products.
        back = lfilter([1.0], pole, weight[::-1])[::-1]
        slope = [float(back.sum()), _dot(back, past), _dot(back, np.concatenate([[start], variance[:-1]]))]
        if mean:
            head = np.zeros(len(squares))
            decay = _DECAY ** np.arange(min(_BACKCAST, len(squares)))
            of_start = -2.0 * float(errors[: len(decay)] @ decay) / float(decay.sum())
            head[0] = (alpha + beta) * of_start
            head[1:] = -2.0 * alpha * errors[:-1]
            slope.append(_dot(back, head) - float((errors * inverse).sum()))
        return value, np.array(slope)

    def free(y: Array) -> tuple[float, Array]:
        x, slopes = _bound(y)
        value, slope = objective(x)
        return value / len(scaled), slopes.T @ slope / len(scaled)

    # The likelihood can have two summits, one of slow and one of fast decay: the best guess of each is followed.
    level = [float(scaled.mean())] if mean else []
    found: tuple[float, Array] | None = None
    for persistences in ((0.3, 0.85, 0.94), (0.985, 0.998)):
        guesses = [
            np.array([share * (1.0 - kept) * fixed.mean(), alpha, kept - alpha, *level])
            for alpha in (0.03, 0.08, 0.15)
            for kept in persistences
            for share in (1.0, 0.1)
        ]
        start_at = _free(min(guesses, key=lambda x: objective(x, _SCREEN)[0]))
        value, at = _descend(free, start_at)
        if math.isfinite(value) and (found is None or value < found[0]):
            found = value, at
    if found is None:
        raise ValueError(f"the GARCH search over {len(r)} returns did not end: no start led uphill")
    best, _ = _bound(found[1])
    omega, alpha, beta = (float(v) for v in best[:3])
    mu = float(best[3]) if mean else 0.0
    start = omega + (alpha + beta) * _backcast((scaled - mu) ** 2)
    log_likelihood = -found[0] * len(r) - len(r) * (0.5 * math.log(2.0 * math.pi) + math.log(size))
    return Garch(mu * size, omega * size**2, alpha, beta, start * size**2, log_likelihood)
