"""The scenario kernel that every model here is a parameter set of: legs revalued in each row of a grid.

    value(leg, row) = price of the row (perpetual, future, token), or Black-76 at the row's forward and volatility
    P&L(leg, row)   = quantity * weight * (value - mark)

A row is that of `risk.scenarios.Grid`: a move of prices and of volatility, and a weight below 1 where only a part of
the P&L counts. A model adds what is not a scenario (`risk.models`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offchain.instruments import Kind
from offchain.risk import black76
from offchain.risk.policy import RowKind, VolatilityMove
from offchain.risk.scenarios import Grid, VolatilityShock
from offchain.units import DAY, YEAR

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
DAYS = YEAR / DAY


class Shift(NamedTuple):
    """One row of a grid, in plain numbers.

    Attributes
    ----------
    move : relative change of every price (tail), of the scan range (scan), or a sign (basis, twist, skew).
    volatility : how volatility moves. weight : share of the P&L that counts. kind : of row.
    """

    move: float
    volatility: VolatilityMove = VolatilityMove.NONE
    weight: float = 1.0
    kind: RowKind = RowKind.TAIL


def grid_of(
    shifts: Sequence[Shift],
    shock: VolatilityShock,
    basis: float = 0.0,
    twist: float = 0.0,
    skew: float = 0.0,
) -> Grid:
    """A grid of shifts."""
    return Grid(
        np.array([s.kind for s in shifts], dtype=np.int64),
        np.array([s.volatility for s in shifts], dtype=np.int64),
        np.array([s.move for s in shifts], dtype=np.float64),
        np.array([s.weight for s in shifts], dtype=np.float64),
        shock,
        basis,
        twist,
        skew,
    )


_SIGN = {VolatilityMove.NONE: "", VolatilityMove.UP: ", vol up", VolatilityMove.DOWN: ", vol down"}


def row_names(grid: Grid, scan_range: float) -> tuple[str, ...]:
    """A name for each row: ``-12%, vol up``, ``+100% x 0.139, vol up``, ``basis up``."""
    out = []
    for kind, volatility, move, weight in zip(grid.kind, grid.volatility, grid.move, grid.weight, strict=True):
        if kind > RowKind.TAIL:
            out.append(f"{RowKind(int(kind)).name.lower()} {'up' if move > 0 else 'down'}")
            continue
        size = 100.0 * float(move) * (scan_range if kind == RowKind.SCAN else 1.0)
        name = (f"{size:+.4g}%" if size else "mark") + (f" x {weight:.3g}" if weight != 1.0 else "")
        out.append(name + _SIGN[VolatilityMove(int(volatility))])
    return tuple(out)


@dataclass(frozen=True)
class Legs:
    """Positions in one underlying, arrays of shape (n,).

    Attributes
    ----------
    kind : int64, see `instruments.Kind`. quantity : signed units.
    forward : mark of a perpetual or token, forward of a future or option, money a unit.
    fixed : part of `forward` that no row moves (a settlement average that has begun).
    strike, years, volatility : of options, else 0; years of futures too. discount : factor on the value.
    """

    kind: Ints
    quantity: Array
    forward: Array
    fixed: Array
    strike: Array
    years: Array
    volatility: Array
    discount: Array

    @property
    def option(self) -> npt.NDArray[np.bool_]:
        """Which are options."""
        return (self.kind == Kind.CALL) | (self.kind == Kind.PUT)

    @property
    def dated(self) -> npt.NDArray[np.bool_]:
        """Which have an expiry."""
        return self.option | (self.kind == Kind.FUTURE)

    @property
    def call(self) -> npt.NDArray[np.bool_]:
        """Which are calls."""
        return self.kind == Kind.CALL

    def marks(self) -> Array:
        """Value of one unit of each at the mark, (n,)."""
        option = self.option
        out = self.forward.copy()
        if option.any():
            out[option] = self.discount[option] * black76.price(
                self.forward[option], self.strike[option], self.years[option], self.volatility[option],
                self.call[option],
            )  # fmt: skip
        return out

    def deltas(self) -> Array:
        """Delta of one unit of each by its forward (a perpetual, future or token: 1), (n,)."""
        out = np.ones(len(self.kind))
        option = self.option
        if option.any():
            out[option] = black76.greeks(
                self.forward[option], self.strike[option], self.years[option], self.volatility[option],
                self.call[option],
            ).delta  # fmt: skip
        return out


def values(legs: Legs, grid: Grid, scan_range: float = 1.0, lapse: float = 0.0) -> Array:
    """Value of one unit of each leg in each row, weights not applied.

    Parameters
    ----------
    legs : n legs. grid : S rows. scan_range : that scan rows are fractions of. lapse : days that pass in every row.

    Returns
    -------
    float64 (n, S), money a unit.
    """
    size = np.full(len(legs.kind), scan_range)
    prices = grid.forwards(legs.forward - legs.fixed, legs.dated, legs.years, size) + legs.fixed[:, None]
    at = np.flatnonzero(legs.option)
    if len(at):
        years, strike = legs.years[at], legs.strike[at]
        volatility = grid.volatilities(legs.volatility[at], strike / legs.forward[at], years * DAYS)
        left = np.maximum(years - lapse / DAYS, 0.0)
        option = black76.price(prices[at], strike[:, None], left[:, None], volatility, legs.call[at][:, None])
        prices[at] = option * legs.discount[at][:, None]
    return prices


def index_moves(grid: Grid, scan_range: float) -> Array:
    """Relative move of the index in each row, (S,)."""
    scan = np.where(grid.kind == RowKind.SCAN, scan_range, 0.0)
    return np.asarray(grid.move * np.where(grid.kind == RowKind.TAIL, 1.0, scan))


@dataclass(frozen=True)
class Scan:
    """What the legs of one underlying gain in each row.

    Attributes
    ----------
    underlying : name. places : (n,), places of the legs in the book.
    names : of the rows. legs : (n, S), P&L of each leg. totals : (S,), what the model takes the portfolio's P&L for.
    """

    underlying: str
    places: Ints
    names: tuple[str, ...]
    legs: Array
    totals: Array

    @property
    def worst(self) -> int:
        """Place of the worst row, the first of equals."""
        return int(np.argmin(self.totals))

    @property
    def loss(self) -> float:
        """Loss in the worst row, at least 0."""
        return max(-float(self.totals.min(initial=0.0)), 0.0)

    def contributions(self) -> Array:
        """Loss of each leg in the worst row, scaled so that they sum to what the model takes for it, (n,)."""
        if self.loss == 0.0:
            return np.zeros(len(self.places))
        each = -self.legs[:, self.worst]
        total = float(each.sum())
        return each * (self.loss / total) if total > 0.0 else each


def pnl(legs: Legs, grid: Grid, scan_range: float, coin: float | None = None, lapse: float = 0.0) -> Array:
    """P&L of each leg in each row, weights applied, (n, S).

    Parameters
    ----------
    coin : index price where contracts settle in the coin (inverse), else None. Then a future or perpetual of `q` units
    at
        mark `F` pays ``q F (1/F - 1/F')`` coins and an option ``V'/S' - V/S``; the result is in coins times the index.
    lapse : days that pass in every row.
    """
    value, mark = values(legs, grid, scan_range, lapse), legs.marks()[:, None]
    if coin is None:
        change = value - mark
    else:
        moved = (1.0 + index_moves(grid, scan_range))[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            linear = coin * (1.0 - legs.forward[:, None] / value)
        change = np.where(legs.option[:, None], value / moved - mark, linear)
        change = np.where((legs.kind == Kind.TOKEN)[:, None], 0.0, change)
        if not np.isfinite(change).all():
            raise ValueError("a coin-settled contract has no value where a row takes its price to 0")
    return np.asarray(legs.quantity[:, None] * grid.weight[None, :] * change)
