"""Modelled volatility surfaces and forward curves.

There are no option quotes behind these: the surface is made from realised volatility, with a term structure and a
skew, and the forwards from recent returns. They are what a demonstration and a test need, and are labelled *modelled*
everywhere. A deployment replaces them by what its members observe.

    atm(T)^2   = long^2 + (short^2 - long^2) * (1 - e^(-k T)) / (k T)
    iv(K, T)   = atm(T) * clip(1 + skew * x + curvature * x^2, 1/2, 2)
    x          = clip(ln(K/F) / (atm(T) * sqrt(max(T, 7 d))), -3, 3)
    forward(T) = index * (1 + T * (far + (near - far) * e^(-T / 30 d)))

The term structure is the mean of a variance that reverts to `long` at speed `k` (S. Heston, Review of Financial
Studies 6, 1993, the expectation of its variance process).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offchain.market.realised import DECAY_FAST, DECAY_SLOW, log_returns, realised_volatility
from offchain.units import DAY, HOUR, MICRO, YEAR, to_micro_nearest

MIN_VOLATILITY, MAX_VOLATILITY = 0.05, 10.0


@dataclass(frozen=True)
class SurfaceParams:
    """A modelled surface, 1e-6.

    Attributes
    ----------
    short, long : volatility at the money for no time and for ever.
    reversion : speed at which variance goes from one to the other, a year.
    skew, curvature : slope and bend in standard deviations of log moneyness.
    """

    short: int
    long: int
    reversion: int = 12 * MICRO
    skew: int = -40_000
    curvature: int = 15_000

    def __post_init__(self) -> None:
        for name in ("short", "long"):
            if not MIN_VOLATILITY * MICRO <= getattr(self, name) <= MAX_VOLATILITY * MICRO:
                raise ValueError(f"{name} volatility {getattr(self, name)} (1e-6) is not within 5 % and 1000 %")
        if not 0 < self.reversion <= 1_000 * MICRO:
            raise ValueError(f"reversion {self.reversion} (1e-6) is not within 0 and 1000")
        if abs(self.skew) > MICRO or not 0 <= self.curvature <= MICRO:
            raise ValueError(f"skew {self.skew} or curvature {self.curvature} (1e-6) is out of range")

    def volatilities(
        self, strikes: npt.ArrayLike, forwards: npt.ArrayLike, seconds: npt.ArrayLike
    ) -> npt.NDArray[np.int64]:
        """Implied volatilities.

        Parameters
        ----------
        strikes, forwards : micro-USD per unit, positive. seconds : to expiry; below 0 counts as 0. They broadcast.

        Returns
        -------
        int64, 1e-6, of the shape they broadcast to.

        Raises
        ------
        ValueError
            A strike or forward is not positive.
        """
        k, f = np.asarray(strikes, dtype=np.float64), np.asarray(forwards, dtype=np.float64)
        if (k <= 0).any() or (f <= 0).any():
            raise ValueError("strikes and forwards must be positive")
        years = np.maximum(np.asarray(seconds, dtype=np.float64), 0.0) / YEAR
        short, long = self.short / MICRO, self.long / MICRO
        pull = np.maximum(years * (self.reversion / MICRO), 1e-9)
        atm = np.sqrt(long**2 + (short**2 - long**2) * (-np.expm1(-pull) / pull))
        x = np.clip(np.log(k / f) / (atm * np.sqrt(np.maximum(years, 7 * DAY / YEAR))), -3.0, 3.0)
        wing = np.clip(1.0 + self.skew / MICRO * x + self.curvature / MICRO * x * x, 0.5, 2.0)
        return np.asarray(to_micro_nearest(np.atleast_1d(atm * wing))).reshape(np.shape(atm * wing))


@dataclass(frozen=True)
class CarryParams:
    """A modelled forward curve.

    Attributes
    ----------
    near, far : carry a year, 1e-6, for no time and for ever.
    premium : of the perpetual's mark over the index, 1e-6.
    """

    near: int
    far: int = 50_000
    premium: int = 0

    def forward(self, index: int, seconds: int) -> int:
        """Forward price, micro-USD per unit, of an index price in the same; at least 1."""
        years = max(seconds, 0) / YEAR
        carry = self.far + (self.near - self.far) * float(np.exp(-max(seconds, 0) / (30 * DAY)))
        return max(to_micro_nearest(index / MICRO * (1.0 + carry / MICRO * years)), 1)

    def mark(self, index: int) -> int:
        """Mark price of the perpetual, micro-USD per unit; at least 1."""
        return max(index + index * self.premium // MICRO, 1)


def _recent(closes: npt.NDArray[np.float64], seconds: int, step: int) -> float:
    """Log return over the last `seconds`, or over what there is."""
    returns = log_returns(closes)
    return float(returns[-max(seconds // step, 1) :].sum())


def modelled_surface(closes: npt.ArrayLike, step: int = HOUR) -> SurfaceParams:
    """A surface from realised volatility: fast EWMA for the short end, slow for the long, a tenth of premium on both.

    A day's fall steepens the skew towards puts, a rise towards calls.

    Parameters
    ----------
    closes : (n,), n >= 2, dollars, `step` seconds apart, the last known.
    """
    prices = np.asarray(closes, dtype=np.float64)
    fast, slow = (realised_volatility(prices, decay, step) for decay in (DECAY_FAST, DECAY_SLOW))
    least, most = 0.2, 4.0
    skew = float(np.clip(-0.04 + 0.25 * _recent(prices, DAY, step), -0.12, 0.04))
    return SurfaceParams(
        short=to_micro_nearest(float(np.clip(1.1 * fast, least, most))),
        long=to_micro_nearest(float(np.clip(1.1 * slow, least, most))),
        skew=to_micro_nearest(skew),
    )


def modelled_carry(closes: npt.ArrayLike, step: int = HOUR) -> CarryParams:
    """A forward curve from recent returns: a fall takes near futures below the index, a rise above it.

    Parameters
    ----------
    closes : (n,), n >= 2, dollars, `step` seconds apart, the last known.
    """
    prices = np.asarray(closes, dtype=np.float64)
    near = float(np.clip(0.05 + _recent(prices, DAY, step), -0.5, 0.5))
    premium = float(np.clip(0.05 * _recent(prices, HOUR, step), -0.005, 0.005))
    return CarryParams(near=to_micro_nearest(near), premium=to_micro_nearest(premium))
