"""The scenario kernel: what price and volatility of an instrument become in each row of a policy.

    price     every forward x (1 + move * R)
    vol up    iv * (1 + u * (30 / max(D, 1))^p), at least the floor;   down: iv * (1 - d * (30 / max(D, 1))^p), at
    least 0 tail      forward x (1 + move), volatility as the row says; the value moves by weight * (value - mark)
    basis +-  every dated forward x (1 +- b * (0.5 + 2T)); perpetuals and tokens stay
    twist +-  iv * (1 +- w * (30 - D) / (30 + D))
    skew +-   iv * (1 -+ k * clip((K/F - 1) / 0.2, -1, 1))

T is years and D days to expiry, R the scan range, K the strike, F the forward before the shock. `p` is one number up
to 30 days and another beyond. The volatility shock is that of Deribit portfolio margin and Derive PMRM, from their
public documents; the rest is this project's own design.

A `Grid` is plain floats, so that another parameter set of the same kind is another `Grid`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offchain.risk.policy import Policy, RowKind, VolatilityMove
from offchain.units import MICRO, WEIGHT

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VolatilityShock:
    """Relative moves of volatility at 30 days, a floor after a rise, and how they scale with time to expiry.

    Times to expiry below `least_days` count as that.
    """

    up: float
    down: float
    floor: float
    exponent_short: float
    exponent_long: float
    least_days: float = 1.0

    def factor(self, days: Array) -> Array:
        """``(30 / max(days, least_days))^p``, the size of the shock against that at 30 days."""
        exponent = np.where(days <= 30.0, self.exponent_short, self.exponent_long)
        return (30.0 / np.maximum(days, self.least_days)) ** exponent

    def raised(self, volatility: Array, days: Array) -> Array:
        """Volatility after the rise."""
        return np.maximum(volatility * (1.0 + self.up * self.factor(days)), self.floor)

    def lowered(self, volatility: Array, days: Array) -> Array:
        """Volatility after the fall."""
        return np.maximum(volatility * (1.0 - self.down * self.factor(days)), 0.0)


@dataclass(frozen=True)
class Grid:
    """Rows of scenarios, arrays of shape (rows,).

    Attributes
    ----------
    kind : int64, see `RowKind`. volatility : int64, see `VolatilityMove`.
    move : of the scan range (scan), of the price (tail), a sign (basis, twist, skew).
    weight : by which a row's change of value counts; 1 but for tails.
    shock : of volatility. basis, twist, skew : sizes.
    """

    kind: Ints
    volatility: Ints
    move: Array
    weight: Array
    shock: VolatilityShock
    basis: float
    twist: float
    skew: float

    @classmethod
    def of(cls, policy: Policy) -> Grid:
        """The grid of a policy."""
        rows, s = policy.rows, policy.shocks
        return cls(
            np.array([r.kind for r in rows], dtype=np.int64),
            np.array([r.volatility for r in rows], dtype=np.int64),
            np.array([r.move for r in rows], dtype=np.float64) / MICRO,
            np.array([r.weight / WEIGHT if r.kind is RowKind.TAIL else 1.0 for r in rows]),
            VolatilityShock(
                s.vol_up / MICRO,
                s.vol_down / MICRO,
                s.vol_floor / MICRO,
                s.exponent_short / MICRO,
                s.exponent_long / MICRO,
            ),
            s.basis / MICRO,
            s.twist / MICRO,
            s.skew / MICRO,
        )

    def forwards(self, forward: Array, dated: npt.NDArray[np.bool_], years: Array, scan_range: Array) -> Array:
        """Shocked forwards.

        Parameters
        ----------
        forward : (n,), mark price or forward of each instrument.
        dated : (n,), whether it has an expiry.
        years : (n,), to expiry, >= 0. scan_range : (n,), of its underlying.

        Returns
        -------
        (n, rows), in the money of `forward`, at least 0.
        """
        scan = self.move * (self.kind == RowKind.SCAN)
        tail = self.move * (self.kind == RowKind.TAIL)
        basis = self.move * (self.kind == RowKind.BASIS)
        slope = np.where(dated, self.basis * (0.5 + 2.0 * years), 0.0)
        change = scan_range[:, None] * scan + tail + slope[:, None] * basis
        return np.maximum(forward[:, None] * (1.0 + change), 0.0)

    def volatilities(self, volatility: Array, moneyness: Array, days: Array) -> Array:
        """Shocked volatilities.

        Parameters
        ----------
        volatility : (n,), a year, >= 0.
        moneyness : (n,), strike over forward before the shock.
        days : (n,), to expiry, >= 0.

        Returns
        -------
        (n, rows), a year, at least 0.
        """
        out = np.repeat(volatility[:, None], len(self.kind), axis=1)
        out[:, self.volatility == VolatilityMove.UP] = self.shock.raised(volatility, days)[:, None]
        out[:, self.volatility == VolatilityMove.DOWN] = self.shock.lowered(volatility, days)[:, None]
        twist = self.kind == RowKind.TWIST
        out[:, twist] *= 1.0 + self.move[twist] * (self.twist * (30.0 - days) / (30.0 + days))[:, None]
        skew = self.kind == RowKind.SKEW
        out[:, skew] *= 1.0 - self.move[skew] * (self.skew * np.clip((moneyness - 1.0) / 0.2, -1.0, 1.0))[:, None]
        return np.maximum(out, 0.0)
