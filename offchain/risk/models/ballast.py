"""Ballast's own rule in floats: forty rows, credit between underlyings, close-out cost (DESIGN, docs/protocol.md).

    risk = sum_u risk_u - kappa (sum_u risk_u - joint);   MM = risk + close-out;   IM = im_factor MM

The integer rule that contracts and programs share is `risk.portfolios`; it rounds the value of each lot to a micro-USD
and adds one a lot to the close-out cost, which is all that this differs by. Quantities need not be whole lots here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from offchain.config import UNDERLYINGS
from offchain.instruments import Kind
from offchain.risk.book import Book
from offchain.risk.models.kernel import Scan, pnl, row_names, values
from offchain.risk.models.result import ModelError, Part, Requirement, usd_only
from offchain.risk.policy import INITIAL_SCAN_RANGE, Policy, UnderlyingParams, default_policy
from offchain.risk.scenarios import Grid
from offchain.units import BASIS, MICRO

NAME = "ballast"
SOURCE = "this project's DESIGN and docs/protocol.md"


@dataclass(frozen=True)
class BallastParams:
    """policy : rows, shocks, factors. scan_range : by underlying, where a book has none."""

    policy: Policy = field(default_factory=default_policy)
    scan_range: Mapping[str, float] = field(
        default_factory=lambda: {name: INITIAL_SCAN_RANGE[number] / MICRO for name, number in UNDERLYINGS.items()}
    )

    def listed(self, name: str) -> UnderlyingParams | None:
        """An underlying as the policy lists it; None where it does not."""
        number = UNDERLYINGS.get(name)
        return next((each for each in self.policy.underlyings if each.underlying == number), None)


def _closeout(book: Book, name: str, reach: float, value: np.ndarray, params: BallastParams) -> float:
    """Close-out cost of the legs of one underlying, without the keeper reserve, USD."""
    shocks, market = params.policy.shocks, book.underlyings[name]
    listed = params.listed(name)
    depth = market.depth
    if depth is None and listed is not None:
        depth = listed.depth / listed.lots_per_unit
    total = 0.0
    for at, place in enumerate(book.places(name)):
        leg = book.legs[place]
        if leg.kind is Kind.TOKEN:
            if listed is None:
                raise ModelError(f"{NAME} has no haircut for {leg.symbol}: its policy does not list {name}")
            total += leg.quantity * leg.forward * listed.haircut / BASIS
            continue
        if depth is None:
            raise ModelError(f"{NAME} has no depth for {name}: give underlyings.{name}.depth")
        rate = (shocks.half_spread + shocks.impact * leg.open_interest / depth) / MICRO
        cost = leg.forward * rate
        if leg.kind.is_option and leg.quantity > 0.0:
            cost = min(cost, max(float(value[at].min()), 0.0))
        elif leg.kind.is_option:
            cost += leg.forward * max(shocks.short_option_minimum / MICRO, reach / 16.0)
        total += abs(leg.quantity) * cost
    return total


def margin(book: Book, params: BallastParams | None = None) -> Requirement:
    """Requirement of a book; formulas in the module's text.

    Raises
    ------
    ModelError
        An underlying has neither a scan range in the book nor one in the parameters, or a token no haircut.
    """
    usd_only(book, NAME)
    params = params or BallastParams()
    grid, rule = Grid.of(params.policy), params.policy.margin
    factor = rule.im_factor / BASIS
    parts, scans, together = [], [], np.zeros(len(grid.kind))
    for name in book.held:
        reach = book.underlyings[name].scan_range or params.scan_range.get(name)
        if reach is None:
            raise ModelError(f"{NAME} has no scan range for {name}: give underlyings.{name}.scan_range")
        places = book.places(name)
        legs = book.columns(places)
        gains = pnl(legs, grid, reach)
        scan = Scan(name, places, row_names(grid, reach), gains, gains.sum(axis=0))
        scans.append(scan)
        together += scan.totals
        parts.append(Part("scenarios", name, factor * scan.loss, scan.loss))
        weight = grid.weight[None, :]
        shown = legs.marks()[:, None] * (1.0 - weight) + weight * values(legs, grid, reach)
        cost = _closeout(book, name, reach, shown, params)
        parts.append(Part("close-out", name, factor * cost, cost))
    if len(scans) > 1:
        apart = sum(scan.loss for scan in scans)
        credit = -rule.kappa / BASIS * (apart + min(float(together.min()), 0.0))
        parts.append(Part("joint credit", "", factor * credit, credit))
    if book.legs:
        reserve = rule.reserve / MICRO
        parts.append(Part("keeper reserve", "", factor * reserve, reserve))
    return Requirement(NAME, book, tuple(parts), tuple(scans), factor)


def parameters() -> list[tuple[str, str]]:
    """For the table of models."""
    p = BallastParams()
    s, m = p.policy.shocks, p.policy.margin
    return [
        ("scan range", ", ".join(f"{k} {v:.0%}" for k, v in p.scan_range.items())),
        ("price rows", "9, evenly within the scan range, x volatility up, none, down"),
        ("volatility up / down at 30 days", f"{s.vol_up / MICRO:.0%} / {s.vol_down / MICRO:.0%}"),
        ("volatility floor", f"{s.vol_floor / MICRO:.0%}"),
        ("tails", "-66 % to +500 %, 7, weights .21 to .0277"),
        ("other rows", f"basis {s.basis / MICRO:.1%}, twist {s.twist / MICRO:.0%}, skew {s.skew / MICRO:.0%}"),
        ("add-ons", f"close-out (short option {s.short_option_minimum / MICRO:.2%} or R/16 of forward), "
                    f"reserve {m.reserve // MICRO} USD"),
        ("between underlyings", f"credit kappa {m.kappa / BASIS:.0%} of what joint rows save"),
        ("IM / MM", f"{m.im_factor / BASIS:.2f}"),
    ]  # fmt: skip
