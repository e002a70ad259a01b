"""Realised volatility of a price series: a measurement of the market, from closing prices alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from offchain.units import DAY, HOUR, YEAR

Array = npt.NDArray[np.float64]

DECAY_FAST, DECAY_SLOW = 0.94, 0.97
"""Decay a day: RiskMetrics (J.P. Morgan, Technical Document, 1996, 5.3), and the slower one of clearing houses."""


def log_returns(closes: npt.ArrayLike) -> Array:
    """Logarithmic returns of closing prices: (n,) to (n - 1,).

    Raises
    ------
    ValueError
        Fewer than two prices, or one that is not positive and finite.
    """
    prices = np.asarray(closes, dtype=np.float64)
    if prices.ndim != 1 or len(prices) < 2:
        raise ValueError(f"returns need at least two closing prices, not an array of shape {prices.shape}")
    bad = ~(np.isfinite(prices) & (prices > 0))
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"closing price {prices[place]} at place {place} is not positive")
    return np.diff(np.log(prices))


def decay_per_step(decay: float, step: int = HOUR) -> float:
    """A decay a day as one for a step of `step` seconds: ``decay ** (step / day)``, the same half-life.

    Raises
    ------
    ValueError
        The decay is not strictly between 0 and 1.
    """
    if not 0.0 < decay < 1.0:
        raise ValueError(f"decay {decay} is not between 0 and 1")
    return float(decay ** (step / DAY))


def ewma_variance(returns: npt.ArrayLike, decay: float) -> Array:
    """Exponentially weighted variance: ``s2' = decay * s2 + (1 - decay) * r^2`` (RiskMetrics 1996, 5.3).

    Parameters
    ----------
    returns : (n,), n >= 1. decay : of one return.

    Returns
    -------
    (n + 1,): entry t is the forecast for return t, made from those before it; the last is for the return to come.
    Entry 0 is the mean square of the first day's worth of returns (at most 24), so that the series does not begin at
    zero.

    Raises
    ------
    ValueError
        No returns, one that is not finite, or a decay that is not strictly between 0 and 1.
    """
    r = np.asarray(returns, dtype=np.float64)
    if r.ndim != 1 or not len(r) or not np.isfinite(r).all():
        raise ValueError("an EWMA needs at least one return, all finite")
    if not 0.0 < decay < 1.0:
        raise ValueError(f"decay {decay} is not between 0 and 1")
    first = float(np.mean(r[:24] ** 2))
    later, _ = lfilter([1.0 - decay], [1.0, -decay], r**2, zi=[decay * first])
    return np.concatenate([[first], later])


def realised_volatility(closes: npt.ArrayLike, decay: float = DECAY_FAST, step: int = HOUR) -> float:
    """Annualised volatility of the returns to come, by EWMA.

    Parameters
    ----------
    closes : (n,), n >= 2, `step` seconds apart. decay : a day.

    Raises
    ------
    ValueError
        As `log_returns` and `decay_per_step`.
    """
    variance = ewma_variance(log_returns(closes), decay_per_step(decay, step))[-1]
    return float(np.sqrt(variance * (YEAR / step)))
