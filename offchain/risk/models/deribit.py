"""Deribit portfolio margin: a matrix of nine prices by three volatilities, extended moves with a dampener, roll and
delta shocks; each underlying by itself, and in its coin where it settles in it.

    adj(m)  = pnl(m) * factor * R / |m|
    kept(m) = sign(adj) * max(|adj| - (max(|m|/R, 1) - 1) * dampener, 0)
    roll    = sum over expiries of max(min_move, e^(a T) - 1) * |net delta of the expiry|     (perpetual: min_move)
    delta   = min(max_delta_shock, m_inc * max(0, |D| - threshold/index)) * |D|
              D = min(max(D1 + D2, D2), 0) if D2 < 0 else max(min(D1 + D2, D2), 0)
              D1 delta of long options, D2 of futures and short options
    IM      = |worst| + roll + delta,  MM = 0.8 IM

In coins, the worst is taken to nine decimals: so the venue's own figures add up.

Source: Deribit, "Portfolio Margin" (support.deribit.com, article 25944756247837) and its margin page; parameters of BTC
2024 and ETH February 2026. A token held counts as a position of delta 1 in the matrix and in D2: haircuts of
cross-collateral accounts are not part of this model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offchain.instruments import Kind
from offchain.risk.book import Book
from offchain.risk.models.kernel import Legs, Scan, Shift, grid_of, pnl, row_names
from offchain.risk.models.result import Part, Requirement, known
from offchain.risk.policy import RowKind, VolatilityMove
from offchain.risk.scenarios import Grid, VolatilityShock

Array = npt.NDArray[np.float64]
NAME = "deribit"
SOURCE = "support.deribit.com, Portfolio Margin (25944756247837)"
STEPS = tuple(k / 4 for k in range(-4, 5))
EXTENDED = (-0.66, -0.33, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)


@dataclass(frozen=True)
class DeribitParams:
    """Parameters of one currency; money in USD, names as in the module's text.

    price_range : R. decimals : of coins in the worst loss. up, down, floor : of volatility. annual, min_move : of the
    roll shock.
    """

    price_range: float
    up: float
    down: float
    floor: float
    annual: float
    min_move: float
    dampener: float
    max_delta_shock: float
    increment: float
    threshold: float
    factor: float = 1.0
    maintenance: float = 0.8
    decimals: int = 9
    extended: tuple[float, ...] = EXTENDED

    def grid(self) -> Grid:
        """27 rows of the matrix, then the extended moves with volatility up."""
        moves = (VolatilityMove.UP, VolatilityMove.NONE, VolatilityMove.DOWN)
        rows = [Shift(step, each, 1.0, RowKind.SCAN) for step in STEPS for each in moves]
        rows += [Shift(move, VolatilityMove.UP) for move in self.extended]
        return grid_of(rows, VolatilityShock(self.up, self.down, self.floor, 0.30, 0.13))

    def kept(self, gains: Array) -> Array:
        """What of the P&L of extended moves counts, (rows,)."""
        size = np.abs(np.array(self.extended))
        adjusted = gains * self.factor * self.price_range / size
        spared = (np.maximum(size / self.price_range, 1.0) - 1.0) * self.dampener
        return np.asarray(np.sign(adjusted) * np.maximum(np.abs(adjusted) - spared, 0.0))


PARAMS: dict[str, DeribitParams] = {
    "BTC": DeribitParams(0.16, 0.50, 0.25, 0.50, 0.075, 0.01, 100_000.0, 0.10, 5e-5, 20e6),
    "ETH": DeribitParams(0.18, 0.40, 0.25, 0.50, 0.05, 0.005, 200_000.0, 0.10, 4e-6, 20e6),
}


def roll(legs: Legs, params: DeribitParams) -> float:
    """Roll shock in units of the underlying. Tokens have none: there is nothing to roll."""
    deltas = legs.quantity * legs.deltas()
    rolled = legs.kind != Kind.TOKEN
    total = 0.0
    for years in np.unique(legs.years[rolled]):
        net = abs(float(deltas[rolled & (legs.years == years)].sum()))
        total += max(params.min_move, math.exp(params.annual * float(years)) - 1.0) * net
    return total


def delta_shock(legs: Legs, index: float, params: DeribitParams) -> float:
    """Delta shock in units of the underlying."""
    deltas = legs.quantity * legs.deltas()
    bought = legs.option & (legs.quantity > 0.0)
    first, second = float(deltas[bought].sum()), float(deltas[~bought].sum())
    both = first + second
    net = min(max(both, second), 0.0) if second < 0.0 else max(min(both, second), 0.0)
    rate = params.increment * max(0.0, abs(net) - params.threshold / index)
    return min(params.max_delta_shock, rate) * abs(net)


def matrix_loss(loss: float, index: float, params: DeribitParams) -> float:
    """Loss of the matrix of a coin-settled account, USD, whose coins are rounded to the nearest of `decimals`."""
    return round(loss / index, params.decimals) * index


def margin(book: Book, params: dict[str, DeribitParams] | None = None) -> Requirement:
    """Requirement of a book; formulas in the module's text. Underlyings add up."""
    parts, scans, factor = [], [], 1.0
    for name in book.held:
        p = known(dict(PARAMS if params is None else params), name, NAME)
        market, places = book.underlyings[name], book.places(name)
        legs, grid = book.columns(places), p.grid()
        gains = pnl(legs, grid, p.price_range, market.index if market.coin else None)
        totals = gains.sum(axis=0)
        matrix = len(totals) - len(p.extended)
        totals[matrix:] = p.kept(totals[matrix:])
        scan = Scan(name, places, row_names(grid, p.price_range), gains, totals)
        scans.append(scan)
        for what, loss in (
            ("risk matrix", matrix_loss(scan.loss, market.index, p) if market.coin else scan.loss),
            ("roll shock", roll(legs, p) * market.index),
            ("delta shock", delta_shock(legs, market.index, p) * market.index),
        ):
            parts.append(Part(what, name, loss, p.maintenance * loss))
    notes = ("amounts of coin-settled underlyings are coins at the index price",) if any(
        book.underlyings[name].coin for name in book.held
    ) else ()  # fmt: skip
    return Requirement(NAME, book, tuple(parts), tuple(scans), factor, notes)


def parameters() -> list[tuple[str, str]]:
    """For the table of models."""
    rows = {
        "price rows": lambda p: f"9 within {p.price_range:.0%}, x volatility up, same, down",
        "volatility up / down at 30 days": lambda p: f"{p.up:.0%} / {p.down:.0%}",
        "volatility floor": lambda p: f"{p.floor:.0%}",
        "tails": lambda p: f"{len(p.extended)} moves, R/|m| of P&L, dampener {p.dampener:,.0f} USD",
        "roll": lambda p: f"{p.annual:.1%} a year, at least {p.min_move:.1%}",
        "delta shock": lambda p: (
            f"{p.increment:g} a coin beyond {p.threshold:,.0f} USD, at most {p.max_delta_shock:.0%}"
        ),
    }
    out = [(name, "; ".join(f"{k}: {show(p)}" for k, p in PARAMS.items())) for name, show in rows.items()]
    return [*out, ("between underlyings", "none"), ("IM / MM", "1.25")]
