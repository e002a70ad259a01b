"""CME SPAN 1: sixteen scenarios, a day of decay, calendar charge, intercommodity credit, short-option minimum.

    scenarios: price 0, +-1/3, +-2/3, +-3/3 of the scan range x volatility up, down; +-extreme at part of its loss
    total = max(scan + calendar charge - intercommodity credit, short-option minimum) - net option value

A risk array is the loss of one long contract in each scenario. `total` stands against cash; here the value of options
is in the account's equity, so the requirement is `total` plus the net option value.

Calendar: opposite net deltas of two expiries, matched, times a rate of the index. Credit: for two underlyings with
opposite net deltas, the matched value times a rate times the sum of the scan ranges, from both scans. CME publishes
its ranges, charges and credits in daily files; the values here are the project's (the scan range that Ballast uses),
so that models are compared on one move. Initial is 1.1 times maintenance, CME's ratio for accounts that are not
hedgers or members.

Source: CME, "SPAN methodology" and "Risk Arrays - Standard" (cmegroup.com); arrays of a call and a future: L.
McMillan, Options as a Strategic Investment, chapter 34.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from offchain.instruments import Kind
from offchain.risk.book import Book
from offchain.risk.models.kernel import Legs, Scan, Shift, grid_of, pnl
from offchain.risk.models.result import Part, Requirement, known, usd_only
from offchain.risk.policy import RowKind, VolatilityMove
from offchain.risk.scenarios import Grid, VolatilityShock

Array = npt.NDArray[np.float64]
NAME = "span"
SOURCE = "CME SPAN methodology (cmegroup.com); ranges and charges the project's"
_PRICES = (0, 1, -1, 2, -2, 3, -3)
NAMES = tuple(
    [f"{move}/3, vol {side}" if move else f"same, vol {side}" for move in _PRICES for side in ("up", "down")]
    + ["extreme up", "extreme down"]
)


@dataclass(frozen=True)
class SpanParams:
    """Parameters of one combined commodity.

    scan_range : of the price. volatility : scan range of volatility, relative. extreme : multiple of the scan range.
    cover : share of an extreme loss. short_minimum : of the index, a unit of a short option. calendar : of the index,
    a unit of matched delta. initial : initial over maintenance. lapse : days.
    """

    scan_range: float
    volatility: float = 0.5
    extreme: float = 3.0
    cover: float = 0.33
    short_minimum: float = 0.0075
    calendar: float = 0.01
    initial: float = 1.1
    lapse: float = 1.0

    def grid(self) -> Grid:
        """The sixteen scenarios in SPAN's order."""
        up, down = VolatilityMove.UP, VolatilityMove.DOWN
        rows = [Shift(k / 3.0, side, 1.0, RowKind.SCAN) for k in _PRICES for side in (up, down)]
        far = self.extreme * self.scan_range
        rows += [Shift(far, weight=self.cover), Shift(max(-far, -1.0), weight=self.cover)]
        return grid_of(rows, VolatilityShock(self.volatility, self.volatility, 0.0, 0.0, 0.0))


@dataclass(frozen=True)
class SpanBook:
    """by : parameters by underlying, ``"*"`` for others with their own scan range. credits : rate by pair of names, in
    order."""

    by: dict[str, SpanParams] = field(default_factory=lambda: {"BTC": SpanParams(0.16), "ETH": SpanParams(0.18)})
    credits: Mapping[tuple[str, str], float] = field(default_factory=dict)


def scan_risk(arrays: npt.ArrayLike, contracts: npt.ArrayLike) -> tuple[float, int]:
    """Scan risk and active scenario (1 to 16) of positions, from published risk arrays.

    Parameters
    ----------
    arrays : (n, 16), loss of one long contract in each scenario, gains negative. contracts : (n,), signed.

    Returns
    -------
    (loss, scenario): at least 0; the first of equals.
    """
    losses = np.asarray(contracts, dtype=np.float64) @ np.asarray(arrays, dtype=np.float64)
    if losses.shape != (16,) or not np.isfinite(losses).all():
        raise ValueError("a SPAN risk array has sixteen finite losses for each position")
    worst = int(np.argmax(losses))
    return max(float(losses[worst]), 0.0), worst + 1


def total(scan: float, calendar: float, credit: float, short_minimum: float, net_option_value: float) -> float:
    """``max(scan + calendar - credit, short-option minimum) - net option value``."""
    return max(scan + calendar - credit, short_minimum) - net_option_value


def calendar_spreads(legs: Legs) -> float:
    """Units of opposite delta between expiries."""
    deltas = np.where(legs.kind == Kind.TOKEN, 0.0, legs.quantity * legs.deltas())
    nets = np.array([deltas[legs.years == years].sum() for years in np.unique(legs.years)])
    return float(min(nets[nets > 0].sum(), -nets[nets < 0].sum()))


def margin(book: Book, params: SpanBook | None = None) -> Requirement:
    """Requirement of a book; formulas in the module's text."""
    usd_only(book, NAME)
    params = params or SpanBook()
    parts, scans, floors, deltas, ranges = [], [], {}, {}, {}
    factor = 1.0
    for name in book.held:
        market, places = book.underlyings[name], book.places(name)
        if market.scan_range is None:
            p = known(params.by, name, NAME)
        else:
            p = params.by.get(name, SpanParams(market.scan_range))
            p = SpanParams(market.scan_range, *(getattr(p, k) for k in list(p.__dataclass_fields__)[1:]))
        legs, grid = book.columns(places), p.grid()
        gains = pnl(legs, grid, p.scan_range, None, p.lapse)
        scan = Scan(name, places, NAMES, gains, gains.sum(axis=0))
        scans.append(scan)
        factor = p.initial
        charge = p.calendar * market.index * calendar_spreads(legs)
        shorts = -float(legs.quantity[legs.option & (legs.quantity < 0.0)].sum())
        floors[name] = shorts * p.short_minimum * market.index
        deltas[name] = float((legs.quantity * legs.deltas()).sum()) * market.index
        ranges[name] = p.scan_range
        parts += [
            Part("scan risk", name, p.initial * scan.loss, scan.loss),
            Part("calendar charge", name, p.initial * charge, charge),
        ]
    for (one, other), rate in params.credits.items():
        if one in deltas and other in deltas and deltas[one] * deltas[other] < 0.0:
            matched = min(abs(deltas[one]), abs(deltas[other]))
            for name in (one, other):
                loss = next(scan.loss for scan in scans if scan.underlying == name)
                credit = -min(rate * matched * ranges[name], loss)
                parts.append(Part("intercommodity credit", name, factor * credit, credit))
    for name, floor in floors.items():
        lacking = floor - sum(p.maintenance for p in parts if p.underlying == name)
        if lacking > 0.0:
            parts.append(Part("short-option minimum", name, factor * lacking, lacking))
    return Requirement(NAME, book, tuple(parts), tuple(scans), factor)


def parameters() -> list[tuple[str, str]]:
    """For the table of models."""
    by = SpanBook().by
    p = next(iter(by.values()))
    return [
        ("scan range", ", ".join(f"{k} {v.scan_range:.0%}" for k, v in by.items())),
        ("price rows", "0, +-1/3, +-2/3, +-3/3, x volatility up, down; a day of decay"),
        ("volatility up / down at 30 days", f"{p.volatility:.0%} / {p.volatility:.0%}, all tenors"),
        ("tails", f"+-{p.extreme:g} scan ranges at {p.cover:.0%}, volatility unchanged"),
        ("add-ons", f"calendar {p.calendar:.1%}, short-option minimum {p.short_minimum:.2%} of index"),
        ("between underlyings", "credit by pair; none by default"),
        ("IM / MM", f"{p.initial:g}"),
    ]
