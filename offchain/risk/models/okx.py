"""OKX portfolio margin: the worst of spot shock, decay and extreme move, with charges for vega, basis and rates, at
least a minimum charge.

    MM = max(max(MR1, MR2, MR6) + MR3 + MR4 + MR5 + MR9, MR7);   IM = 1.3 MM

MR1 price 0, +-1/3, +-2/3, +-3/3 of its range x volatility up, same, down; MR2 a day of decay; MR6 an extreme move; MR7
a tiered charge: each tier's part of the raw charge times its multiplier.

Source: OKX help centre, "Portfolio margin mode" and "OKX will further adjust portfolio margin parameters" (January
2025: MR1 4/8/12 % and MR6 24 % for BTC and ETH, 8/16/25 % and 50 % others; MR4 5 %, 30 % a year), "OKEx adjusts
scaling-factor logic in Portfolio Margin mode" (okx.com, 4417291853837: the tiers and a worked example). Not found in a
source, so the project's, each a field: the volatility shock of MR1 (+50 %, -25 % at 30 days), half of the loss of MR6
counting (unconfirmed), MR3 as a parallel 5 points of volatility by net vega of each expiry, MR4 as the net value of
delta of each expiry times rate and time, MR5 as one point of rate on the value of options, MR7's raw charge (5 bp of
perpetuals and futures, 10 bp of index for options). MR9 needs balances in several stablecoins; a book has one, so it
is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offchain.instruments import Kind
from offchain.risk import black76
from offchain.risk.book import Book
from offchain.risk.models.kernel import Legs, Scan, Shift, grid_of, pnl, row_names
from offchain.risk.models.result import Part, Requirement, known, usd_only
from offchain.risk.policy import VolatilityMove
from offchain.risk.scenarios import Grid, VolatilityShock

NAME = "okx"
SOURCE = "okx.com help centre: portfolio margin, its parameters of January 2025, scaling factor (4417291853837)"
TIERS = ((10e3, 1.0), (70e3, 2.0), (170e3, 4.0), (300e3, 6.0), (470e3, 8.0), (700e3, 10.0), (float("inf"), 12.0))
"""Upper bound of each tier of the raw minimum charge, USD, and its multiplier (BTC, ETH)."""


@dataclass(frozen=True)
class OkxParams:
    """moves : MR1's, positive. extreme, extreme_share : MR6. basis : a year, MR4. The rest as in the module's text."""

    moves: tuple[float, ...]
    extreme: float
    basis: float
    up: float = 0.5
    down: float = 0.25
    floor: float = 0.0
    extreme_share: float = 0.5
    vega: float = 0.05
    rate: float = 0.01
    linear_charge: float = 0.0005
    option_charge: float = 0.001
    initial: float = 1.3
    tiers: tuple[tuple[float, float], ...] = TIERS

    def grid(self) -> Grid:
        """MR1's 21 rows, then MR6's two."""
        kinds = (VolatilityMove.UP, VolatilityMove.NONE, VolatilityMove.DOWN)
        rows = [Shift(sign * m, k) for m in self.moves for sign in ((1, -1) if m else (1,)) for k in kinds]
        rows += [Shift(sign * self.extreme, weight=self.extreme_share) for sign in (1, -1)]
        return grid_of(rows, VolatilityShock(self.up, self.down, self.floor, 0.30, 0.13))


PARAMS: dict[str, OkxParams] = {
    "BTC": OkxParams((0.0, 0.04, 0.08, 0.12), 0.24, 0.05),
    "ETH": OkxParams((0.0, 0.04, 0.08, 0.12), 0.24, 0.05),
    "*": OkxParams((0.0, 0.08, 0.16, 0.25), 0.50, 0.30),
}


def tiered(raw: float, tiers: Sequence[tuple[float, float]] = TIERS) -> float:
    """Charge of MR7: what lies in each tier times the tier's multiplier."""
    total, low = 0.0, 0.0
    for high, multiplier in tiers:
        total += multiplier * max(min(raw, high) - low, 0.0)
        low = high
    return total


def charges(legs: Legs, index: float, p: OkxParams) -> dict[str, float]:
    """MR3, MR4, MR5 and the raw charge of MR7, USD."""
    option = legs.option
    vega = rho = np.zeros(len(legs.kind))
    if option.any():
        g = black76.all_greeks(legs.forward, np.where(option, legs.strike, 1.0), legs.years, legs.volatility, legs.call)
        vega, rho = (np.where(option, legs.quantity * v, 0.0) for v in (g.vega, g.price * legs.years))
    delta = np.where(legs.kind == Kind.TOKEN, 0.0, legs.quantity * legs.deltas() * legs.forward)
    out = {"MR3 vega": 0.0, "MR4 basis": 0.0, "MR5 rates": p.rate * abs(float(rho.sum()))}
    for years in np.unique(legs.years):
        here = legs.years == years
        out["MR3 vega"] += p.vega * abs(float(vega[here].sum()))
        out["MR4 basis"] += p.basis * float(years) * abs(float(delta[here].sum()))
    size = np.abs(legs.quantity) * np.where(option, p.option_charge * index, p.linear_charge * legs.forward)
    out["MR7 raw"] = float(size[legs.kind != Kind.TOKEN].sum())
    return out


def margin(book: Book, params: dict[str, OkxParams] | None = None) -> Requirement:
    """Requirement of a book; formulas in the module's text. Each underlying is a risk unit; they add up."""
    usd_only(book, NAME)
    parts, scans, factor = [], [], 1.0
    for name in book.held:
        p = known(PARAMS if params is None else params, name, NAME)
        market, places = book.underlyings[name], book.places(name)
        legs, grid = book.columns(places), p.grid()
        still = grid_of([Shift(0.0)], grid.shock)
        gains = np.hstack([pnl(legs, grid, 1.0), pnl(legs, still, 1.0, None, 1.0)])
        scan = Scan(name, places, (*row_names(grid, 1.0), "a day of decay"), gains, gains.sum(axis=0))
        scans.append(scan)
        factor = p.initial
        extra = charges(legs, market.index, p)
        least = tiered(extra.pop("MR7 raw"), p.tiers)
        lines = {"worst of MR1, MR2, MR6": scan.loss, **extra}
        lines["up to MR7, the minimum charge"] = max(least - sum(lines.values()), 0.0)
        parts += [Part(what, name, p.initial * amount, amount) for what, amount in lines.items()]
    return Requirement(NAME, book, tuple(parts), tuple(scans), factor)


def parameters() -> list[tuple[str, str]]:
    """For the table of models."""
    p, other = PARAMS["BTC"], PARAMS["*"]
    return [
        ("price rows", "0, +-4, 8, 12 % (others 8, 16, 25 %) x volatility up, same, down; a day of decay"),
        ("volatility up / down at 30 days", f"{p.up:.0%} / {p.down:.0%}"),
        ("tails", f"+-{p.extreme:.0%} (others {other.extreme:.0%}) at {p.extreme_share:.0%}"),
        (
            "add-ons",
            f"vega {p.vega:.0%} points, basis {p.basis:.0%} a year (others {other.basis:.0%}), rates, tiered minimum",
        ),
        ("between underlyings", "none"),
        ("IM / MM", f"{p.initial:g}"),
    ]
