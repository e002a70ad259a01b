"""Derive portfolio margin of a book: one account for each underlying, as its managers keep one market each.

Cash is not divided: margins are linear in it. The peg is judged by the book's stable price, confidences are those of
the book (1 where not given), rates are those of the expiries. A token of the market's own underlying cancels risk;
haircuts are those of wrapped BTC in the published vectors. Source of the formulas: `risk.models.derive`.
"""

from __future__ import annotations

import numpy as np

from offchain.instruments import Kind
from offchain.risk.book import Book
from offchain.risk.models import derive
from offchain.risk.models.derive import Collateral, DeriveParams, Expiry, Portfolio
from offchain.risk.models.kernel import Scan
from offchain.risk.models.result import ModelError, Part, Requirement, known, usd_only

NAME = "derive-pmrm2"
SOURCE = "Derive v2-core PMRM_2; docs.derive.xyz, Portfolio Margin Parameters"
TOKEN_HAIRCUTS = (0.015, 0.03)
"""IM (on top of MM) and MM haircut of the token of the underlying."""
PARAMS: dict[str, DeriveParams] = {"*": DeriveParams(derive.default_scenarios())}


def portfolio_of(book: Book, name: str) -> tuple[Portfolio, list[np.ndarray]]:
    """The account of one underlying without cash, and the places of each expiry's legs.

    Raises
    ------
    ModelError
        The book holds a dated future, which this manager does not know.
    """
    market, places = book.underlyings[name], book.places(name)
    perp = perp_value = 0.0
    collaterals: list[Collateral] = []
    groups: dict[int, list[int]] = {}
    for place in places.tolist():
        leg = book.legs[place]
        if leg.kind is Kind.FUTURE:
            raise ModelError(f"{NAME} does not know dated futures: legs[{place}] is {leg.symbol}")
        if leg.kind is Kind.PERPETUAL:
            perp, perp_value = leg.quantity, float(book.worth[place])
        elif leg.kind is Kind.TOKEN:
            initial, maintenance = TOKEN_HAIRCUTS
            value = leg.quantity * leg.forward / book.stable
            collaterals.append(Collateral(value, market.index_confidence, True, initial, maintenance))
        else:
            groups.setdefault(leg.expiry, []).append(place)
    expiries = []
    for time, held in groups.items():
        data, legs = market.expiries[time], [book.legs[i] for i in held]
        expiries.append(
            Expiry(
                float(time - book.timestamp),
                data.forward - data.fixed,
                data.fixed,
                data.rate,
                data.confidence,
                np.array([leg.strike for leg in legs]),
                np.array([leg.volatility for leg in legs]),
                np.array([leg.quantity for leg in legs]),
                np.array([leg.kind is Kind.CALL for leg in legs]),
            )
        )
    account = Portfolio(
        0.0,
        market.index,
        market.index_confidence,
        perp,
        market.perpetual or 0.0,
        market.perpetual_confidence,
        perp_value,
        book.stable,
        tuple(expiries),
        tuple(collaterals),
    )
    return account, [np.array(held, dtype=np.int64) for held in groups.values()]


def margin(book: Book, params: dict[str, DeriveParams] | None = None) -> Requirement:
    """Requirement of a book: equity less the manager's excess: both agree on when an account is sound.

    Scenario rows are those of the manager; legs' P&L are the expiry's, shared by their marks' changes, and the basis
    contingency is the last row.
    """
    usd_only(book, NAME)
    parts, scans, factor = [], [], 1.0
    for name in book.held:
        p = known(PARAMS if params is None else params, name, NAME)
        account, groups = portfolio_of(book, name)
        found = derive.evaluate(account, p)
        places = book.places(name)
        factor = found.im_factor
        scans.append(Scan(name, places, derive.scenario_names(p), _legs(book, places, account, groups, found, p),
                          np.append(found.scenarios, found.basis)))  # fmt: skip
        value = float(book.worth[places].sum())
        maintenance = {
            "perpetual contingency": found.mm_perp,
            "naked shorts": found.mm_option,
            "collateral haircut": found.mm_collateral,
            "discount of the marks": value - found.mtm,
        }
        initial = {
            "perpetual contingency": found.im_perp,
            "naked shorts": found.im_option,
            "collateral haircut": found.im_collateral,
            "feeds of low confidence": found.confidence,
        }
        parts.append(Part("scenarios", name, -found.im_factor * found.loss, -p.mm_factor * found.loss))
        for what in dict.fromkeys([*maintenance, *initial]):
            base = maintenance.get(what, 0.0)
            parts.append(Part(what, name, base + initial.get(what, 0.0), base))
    return Requirement(NAME, book, tuple(parts), tuple(scans), factor)


def _legs(
    book: Book,
    places: np.ndarray,
    account: Portfolio,
    groups: list[np.ndarray],
    found: derive.Outcome,
    params: DeriveParams,
) -> np.ndarray:
    """P&L of each leg in each scenario and the basis contingency, (n, S + 1); they sum to the scenarios' totals."""
    spot = np.array([s.spot for s in params.scenarios])
    damp = np.array([s.damp for s in params.scenarios])
    count = len(spot)
    out = np.zeros((len(places), count + 1))
    row = {int(place): at for at, place in enumerate(places)}
    for place in places.tolist():
        leg = book.legs[place]
        if not leg.kind.is_option:
            price = account.perp_price if leg.kind is Kind.PERPETUAL else leg.forward / book.stable
            out[row[place], :count] = leg.quantity * price * (spot - 1.0) * damp
    rows = derive.grid(params)
    for expiry, held, total in zip(account.expiries, groups, found.expiries, strict=True):
        legs = expiry.legs()
        marks, shocked = legs.quantity * legs.marks(), legs.quantity[:, None] * derive.values(legs, rows)
        up, down = derive.discounts(expiry, params)
        factor = np.where(shocked[:, :count].sum(axis=0) >= 0.0, up, down)
        gain = (shocked[:, :count] * factor - marks[:, None]) * damp
        sign = np.where(np.abs(gain.sum(axis=0) + total) < np.abs(gain.sum(axis=0) - total), -1.0, 1.0)
        at = [row[int(place)] for place in held]
        out[at, :count] = gain * sign
        moves = shocked[:, count:] - marks[:, None]
        worse = int(np.argmin(moves.sum(axis=0)))
        if moves[:, worse].sum() < 0.0:
            out[at, count] = moves[:, worse] * (params.basis_add + params.basis_mult * expiry.tau)
    return out


def parameters() -> list[tuple[str, str]]:
    """For the table of models."""
    p = PARAMS["*"]
    return [
        ("price rows", "+-4.5, 9, 13.5 % and 0 x volatility up, none, down; +-18 % up"),
        ("volatility up / down at 30 days", f"{p.vol_up:.0%} / {p.vol_down:.1%}"),
        ("volatility floor", f"{p.min_vol_up:.0%}"),
        ("tails", "-66 % to +500 %, 8, weights .21 to .0277"),
        ("other rows", f"skew linear and absolute, {p.linear_cap:.0%} at most"),
        ("add-ons", f"discounts {p.base_long:g}/{p.base_short:g}, basis {p.basis_add:g} + {p.basis_mult:g} T, "
                    f"perpetual {p.mm_perp:.1%} + {p.im_perp:.1%}, naked {p.mm_option:.1%} + {p.im_option:.1%}, "
                    "feeds, peg"),
        ("between underlyings", "none: an account each"),
        ("IM / MM", f"{p.im_factor / p.mm_factor:g} (scenarios)"),
    ]  # fmt: skip
