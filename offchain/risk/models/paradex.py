"""Paradex portfolio margin: 24 weighted scenarios, a minimum on delta, provisions for funding and fees.

    IM = max(scan, (u |net delta| + h hedged) S) + funding provision + fee provision;  hedged = (gross - |net|) / 2
    MM = 0.5 max(...) + both provisions

Scenarios: +16 % up; +-12, 8, 4, 0 % x (up, down); -16 % up; tails -66, -33, +50, +100, +200, +300, +400, +500 %
weighted 18, 36, 24, 12, 6, 4, 3, 2.4 %, volatility up. Volatility: up 40 %, down 22 % at 30 days, floor 40 %.

Source: docs.paradex.trade/risk/portfolio-margin (beta): the formulas, and that the funding provision is the funding
expected in eight hours. Not published there, so the project's: the taker fee of the provision, 3 bp of the value of
perpetuals and of the index of options; the floor of time to expiry, a day. Only cash (USDC) is collateral.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offchain.instruments import Kind
from offchain.risk.book import Book
from offchain.risk.models.kernel import Scan, Shift, grid_of, pnl, row_names
from offchain.risk.models.result import ModelError, Part, Requirement, known, usd_only
from offchain.risk.policy import VolatilityMove
from offchain.risk.scenarios import Grid, VolatilityShock

NAME = "paradex"
SOURCE = "docs.paradex.trade/risk/portfolio-margin"
TAILS = ((-0.66, 0.18), (-0.33, 0.36), (0.5, 0.24), (1.0, 0.12), (2.0, 0.06), (3.0, 0.04), (4.0, 0.03), (5.0, 0.024))


@dataclass(frozen=True)
class ParadexParams:
    """unhedged, hedged : rates of the minimum. fee : taker. maintenance : share of the initial requirement."""

    unhedged: float
    hedged: float
    up: float = 0.40
    down: float = 0.22
    floor: float = 0.40
    fee: float = 0.0003
    maintenance: float = 0.5

    def grid(self) -> Grid:
        """The 24 scenarios."""
        up, down = VolatilityMove.UP, VolatilityMove.DOWN
        rows = [Shift(0.16, up)]
        for percent in (12, 8, 4, 0, -4, -8, -12):
            rows += [Shift(percent / 100, side) for side in (up, down)]
        rows.append(Shift(-0.16, up))
        rows += [Shift(move, up, weight) for move, weight in TAILS]
        return grid_of(rows, VolatilityShock(self.up, self.down, self.floor, 0.30, 0.13))


PARAMS: dict[str, ParadexParams] = {
    "BTC": ParadexParams(0.02, 0.01),
    "ETH": ParadexParams(0.02, 0.01),
    "*": ParadexParams(0.03, 0.015),
}


def margin(book: Book, params: dict[str, ParadexParams] | None = None) -> Requirement:
    """Requirement of a book; formulas in the module's text. Underlyings add up.

    Raises
    ------
    ModelError
        The book holds a token, or coin-settled contracts.
    """
    usd_only(book, NAME)
    parts, scans = [], []
    for name in book.held:
        p = known(PARAMS if params is None else params, name, NAME)
        market, places = book.underlyings[name], book.places(name)
        legs, grid = book.columns(places), p.grid()
        if (legs.kind == Kind.TOKEN).any():
            raise ModelError(f"{NAME} takes cash only as collateral: leave out the {name} token")
        gains = pnl(legs, grid, 1.0)
        scan = Scan(name, places, row_names(grid, 1.0), gains, gains.sum(axis=0))
        scans.append(scan)
        deltas = legs.quantity * legs.deltas()
        net = abs(float(deltas.sum()))
        hedged = 0.5 * (float(np.abs(deltas).sum()) - net)
        least = (p.unhedged * net + p.hedged * hedged) * market.index
        lift = max(least - scan.loss, 0.0)
        perpetual = legs.kind == Kind.PERPETUAL
        funding = float((legs.quantity * legs.forward)[perpetual].sum()) * market.funding_rate
        size = np.abs(legs.quantity) * np.where(legs.option, market.index, legs.forward)
        fees = p.fee * float(size.sum())
        parts += [
            Part("scan risk", name, scan.loss, p.maintenance * scan.loss),
            Part("up to the minimum on delta", name, lift, p.maintenance * lift),
            Part("funding provision", name, max(funding, 0.0), max(funding, 0.0)),
            Part("fee provision", name, fees, fees),
        ]
    return Requirement(NAME, book, tuple(parts), tuple(scans))


def parameters() -> list[tuple[str, str]]:
    """For the table of models."""
    p = PARAMS["BTC"]
    return [
        ("price rows", "+-4, 8, 12 % and 0 x volatility up, down; +-16 % up"),
        ("volatility up / down at 30 days", f"{p.up:.0%} / {p.down:.0%}"),
        ("volatility floor", f"{p.floor:.0%}"),
        ("tails", "-66 % to +500 %, 8, weights .36 to .024"),
        ("add-ons", "minimum on delta " + "; ".join(f"{k} {v.unhedged:.1%}/{v.hedged:.1%}" for k, v in PARAMS.items())
         + f"; eight hours of funding; fee {p.fee * 1e4:g} bp"),
        ("between underlyings", "none"),
        ("IM / MM", f"{1 / p.maintenance:g} (without provisions)"),
    ]  # fmt: skip
