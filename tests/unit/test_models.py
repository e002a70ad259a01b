"""The models by their rules: the integer twin, numbers by hand, and what every model must satisfy."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.instruments import Instrument, Kind
from offchain.risk import black76, portfolios
from offchain.risk.arrays import build_leaves
from offchain.risk.book import Book, load_book, parse_book
from offchain.risk.models import __main__ as table
from offchain.risk.models import ballast, kernel, okx, paradex, standard
from offchain.risk.models.catalog import MODELS, ModelError, requirement
from offchain.risk.models.explain import explained, position_greeks
from offchain.risk.policy import VolatilityMove, default_policy
from offchain.risk.scenarios import VolatilityShock
from offchain.units import MICRO

ROOT = Path(__file__).parents[2]
PUBLISHED = json.loads((ROOT / "tests" / "vectors" / "margin_models.json").read_text())
EXAMPLE = load_book(ROOT / "docs" / "examples" / "book.json")
BTC = {"index": 100_000, "perpetual": 100_000, "expiries": {"2026-01-31": {"forward": 100_000}}}


def _book(*legs: dict, cash: float = 0.0, **market: object) -> Book:
    document = {
        "format": "ballast-book", "version": 1, "timestamp": "2026-01-01T08:00:00Z", "cash": cash,
        "underlyings": {"BTC": {**BTC, **market}, "ETH": {"index": 2_000, "perpetual": 2_000,
                                                         "expiries": {"2026-01-31": {"forward": 2_000}}}},
        "legs": [{"underlying": "BTC", **leg} for leg in legs],
    }  # fmt: skip
    return parse_book(document)


PERP = {"kind": "perpetual", "quantity": -1}
CALL = {"kind": "call", "expiry": "2026-01-31", "strike": 110_000, "quantity": -1, "volatility": 0.5}


def test_ballast__integer_twin__within_the_rounding_of_lots() -> None:
    """The float model and the rule of the contracts, on whole lots: apart by the rounding of each lot in every row, and
    one unit a lot in the close-out cost.
    """
    policy, now = default_policy(), EXAMPLE.timestamp
    units, numbers = {1: 1_000, 2: 100}, {"BTC": 1, "ETH": 2}
    instruments, forwards, ivs, lots = [], [], [], {}
    legs = []
    for leg in EXAMPLE.legs:
        volatility = round(leg.volatility * MICRO)
        legs.append(replace(leg, volatility=volatility / MICRO))
        number = numbers[leg.underlying]
        each = Instrument(number, leg.kind, leg.expiry, round(leg.strike * MICRO))
        instruments.append(each)
        forwards.append(round(leg.forward * MICRO))
        ivs.append(volatility)
        lots[each.id] = round(leg.quantity * units[number])
    book = replace(EXAMPLE, legs=tuple(legs), cash=0.0)
    index = {numbers[k]: round(v.index * MICRO) for k, v in EXAMPLE.underlyings.items()}
    leaves = build_leaves(
        instruments, forwards, ivs, index, {1: 0, 2: 0}, {1: 160_000, 2: 180_000}, now, policy, dict.fromkeys(lots, 0)
    )
    twin = portfolios.evaluate(portfolios.content_of(1, lots, {leaf.id: leaf for leaf in leaves}), 0, policy.margin)
    found = ballast.margin(book)
    slack = 4.0 * sum(abs(q) for q in lots.values()) / MICRO
    assert abs(found.maintenance - twin.requirement / MICRO) < slack
    assert abs(found.initial - (twin.pv - twin.im_excess) / MICRO) < 1.25 * slack
    assert slack < 1e-3 * found.maintenance


def test_ballast__perpetual__by_hand() -> None:
    """Short 1 at 100,000: 16 % of it; 5 bp of close-out; 20 USD of reserve; IM 1.25."""
    found = ballast.margin(_book(PERP))
    assert found.maintenance == pytest.approx(16_000 + 50 + 20)
    assert found.initial == pytest.approx(1.25 * 16_070)


def test_ballast__token__haircut_and_reach_of_the_book() -> None:
    found = ballast.margin(_book({"kind": "token", "quantity": 2}, scan_range=0.25))
    parts = {p.name: p.maintenance for p in found.parts}
    assert parts["scenarios"] == pytest.approx(0.25 * 200_000)
    assert parts["close-out"] == pytest.approx(0.10 * 200_000)
    assert found.equity == pytest.approx(200_000)


def test_ballast__long_option__never_asks_for_more_than_it_is_worth() -> None:
    found = ballast.margin(_book({**CALL, "quantity": 3, "strike": 150_000}))
    assert found.maintenance <= found.equity + 20 + 1e-9


def test_ballast__two_underlyings__credit_of_kappa() -> None:
    legs = ({"kind": "perpetual", "quantity": 1}, {"underlying": "ETH", "kind": "perpetual", "quantity": -50})
    parts = {(p.name, p.underlying): p.maintenance for p in ballast.margin(_book(*legs)).parts}
    assert parts["scenarios", "BTC"] == pytest.approx(16_000)
    assert parts["scenarios", "ETH"] == pytest.approx(18_000)
    assert parts["joint credit", ""] == pytest.approx(-0.2 * (34_000 - 2_000))


def test_ballast__unlisted_underlying__needs_range_and_depth() -> None:
    def book(**market: float) -> Book:
        return parse_book({"format": "ballast-book", "version": 1, "timestamp": 1_767_254_400,
                           "underlyings": {"SOL": {"index": 100, "perpetual": 100, **market}},
                           "legs": [{"underlying": "SOL", "kind": "perpetual", "quantity": 5,
                                     "open_interest": 1_000}]})  # fmt: skip

    with pytest.raises(ModelError, match="no scan range for SOL: give underlyings.SOL.scan_range"):
        ballast.margin(book())
    with pytest.raises(ModelError, match="no depth for SOL"):
        ballast.margin(book(scan_range=0.3))
    found = ballast.margin(book(scan_range=0.3, depth=1_000))
    assert found.maintenance == pytest.approx(150 + 500 * (0.0005 + 0.001) + 20)


def test_paradex__perpetual__by_hand() -> None:
    """Short 1: -16 % (and no tail is worse: +100 % x 12 %); half of it maintained; funding and fees in full."""
    found = paradex.margin(_book({**PERP, "quantity": 1}, funding_rate=0.0002))
    assert found.initial == pytest.approx(16_000 + 20 + 30)
    assert found.maintenance == pytest.approx(8_000 + 20 + 30)
    short = paradex.margin(_book(PERP, funding_rate=0.0002))
    assert short.initial == pytest.approx(16_000 + 30)
    assert len(short.scans[0].names) == 24


def test_paradex__hedged_book__minimum_on_delta() -> None:
    """Long 3 futures, short 3 perpetuals: nothing scanned; hedged (6 - 0)/2 = 3 at 1 %."""
    legs = ({"kind": "perpetual", "quantity": -3}, {"kind": "future", "expiry": "2026-01-31", "quantity": 4})
    parts = {p.name: p.initial for p in paradex.margin(_book(legs[0], {**legs[1], "quantity": 3})).parts}
    assert parts["scan risk"] == pytest.approx(0.0, abs=1e-9)
    assert parts["up to the minimum on delta"] == pytest.approx(0.01 * 3 * 100_000)
    net = paradex.margin(_book(*legs))
    assert net.parts[0].initial + net.parts[1].initial == pytest.approx(16_000)


def test_paradex__token__refused() -> None:
    with pytest.raises(ModelError, match="paradex takes cash only as collateral: leave out the BTC token"):
        paradex.margin(_book({"kind": "token", "quantity": 1}))


def test_okx__minimum_charge__worked_example() -> None:
    assert okx.tiered(PUBLISHED["okx"]["raw"]) == PUBLISHED["okx"]["adjusted"]
    assert okx.tiered(0.0) == 0.0
    assert okx.tiered(800_000) == 10e3 + 2 * 60e3 + 4 * 100e3 + 6 * 130e3 + 8 * 170e3 + 10 * 230e3 + 12 * 100e3


def test_okx__perpetual__twelve_percent_and_a_third_more() -> None:
    found = okx.margin(_book(PERP))
    assert found.maintenance == pytest.approx(12_000)
    assert found.initial == pytest.approx(1.3 * 12_000)
    future = okx.margin(_book({"kind": "future", "expiry": "2026-01-31", "quantity": 1}))
    assert future.maintenance == pytest.approx(12_000 + 0.05 * 30 / 365 * 100_000)


def test_okx__hedged_book__the_minimum_charge() -> None:
    """Long 500 and short 500: 5 bp of 100 million is 50,000, tiered 10,000 + 2 x 40,000."""
    legs = ({"kind": "perpetual", "quantity": -500}, {"kind": "future", "expiry": "2026-01-31", "quantity": 500})
    found = okx.margin(_book(*legs))
    basis = 0.05 * 30 / 365 * 50e6
    assert found.maintenance == pytest.approx(max(basis, okx.tiered(50_000)))


@pytest.mark.parametrize(
    ("call", "spot", "strike", "mark", "initial", "maintenance"),
    [
        (True, 2_000, 2_000, 80, 80 + 300, 80 + 180),  # at the money: 15 % and 9 %
        (True, 2_000, 2_300, 20, 20 + 260, 20 + 180),  # 15 % out: the least, 13 %
        (True, 2_000, 2_020, 70, 70 + 280, 70 + 180),  # 1 % out: 14 %
        (False, 2_000, 2_000, 80, 80 + 300, 80 + 180),
        (False, 2_000, 4_400, 2_400, 1.05 * (2_400 + 216), 2_400 + 216),  # deep in: 9 % of the mark, and 1.05 of MM
    ],
)
def test_standard__isolated_short__rules(call, spot, strike, mark, initial, maintenance) -> None:
    found = standard.isolated_short(call, spot, strike, mark, standard.StandardParams())
    assert found == pytest.approx((initial, maintenance))


def test_standard__call_spread__its_greatest_loss() -> None:
    """Short 100,000, long 110,000: 10,000 at most; the reverse, nothing but what it is worth."""
    short = {**CALL, "strike": 100_000}
    spread = _book(short, {**CALL, "quantity": 1})
    found = standard.margin(spread)
    assert found.equity - found.initial == pytest.approx(-10_000)
    debit = standard.margin(_book({**short, "quantity": 1}, CALL))
    assert debit.initial == pytest.approx(debit.equity)
    alone = standard.margin(spread, standard.StandardParams(isolated=True))
    assert alone.initial > found.initial


def test_standard__short_put__no_more_than_its_strike() -> None:
    put = {"kind": "put", "expiry": "2026-01-31", "strike": 13_000, "quantity": -1, "volatility": 2.0}
    found = standard.margin(_book(put))
    assert found.equity - found.initial == pytest.approx(-13_000)


def test_standard__perpetual_and_token__rates() -> None:
    found = standard.margin(_book(PERP, {"kind": "token", "quantity": 1}))
    parts = {p.name: (p.initial, p.maintenance) for p in found.parts}
    assert parts["perpetuals and futures"] == pytest.approx((10_000, 6_500))
    assert parts["collateral haircut"] == pytest.approx((100_000 * (1 - 0.75 * 0.93), 25_000))


def test_derive__book__equity_less_the_managers_excess() -> None:
    found = requirement(_book(PERP, cash=50_000), "derive-pmrm2")
    assert found.maintenance == pytest.approx(0.8 * 18_000 + 0.015 * 100_000)
    assert found.initial == pytest.approx(18_000 + 0.02 * 100_000)
    with pytest.raises(ModelError, match=r"does not know dated futures: legs\[0\] is BTC-31JAN26"):
        requirement(_book({"kind": "future", "expiry": "2026-01-31", "quantity": 1}), "derive-pmrm2")


@pytest.mark.parametrize("model", MODELS)
def test_every_model__example__consistent(model: str) -> None:
    found = requirement(EXAMPLE, model)
    assert found.initial > found.maintenance > 0
    assert sum(p.initial for p in found.parts) == pytest.approx(found.initial)
    assert found.initial_excess == pytest.approx(found.equity - found.initial)
    for scan in found.scans:
        assert scan.contributions().sum() == pytest.approx(scan.loss, abs=1e-6)
        assert scan.legs.shape == (len(scan.places), len(scan.names))
    assert json.loads(json.dumps(explained(found), allow_nan=False))["initial"] == found.initial


@pytest.mark.parametrize("model", MODELS)
def test_every_model__empty_book__asks_for_nothing(model: str) -> None:
    found = requirement(_book(cash=10.0), model)
    assert (found.initial, found.maintenance, found.equity) == (0.0, 0.0, 10.0)


@pytest.mark.parametrize("model", MODELS)
def test_every_model__more_cash__same_requirement(model: str) -> None:
    richer = replace(EXAMPLE, cash=EXAMPLE.cash + 1e6)
    assert requirement(richer, model).initial == pytest.approx(requirement(EXAMPLE, model).initial, rel=1e-9)


@pytest.mark.parametrize("model", [m for m in MODELS if m not in ("okx", "standard")])
def test_scenario_models__strangle_with_a_wing__asks_for_less(model: str) -> None:
    legs = [CALL, {**CALL, "kind": "put", "strike": 90_000}]
    alone = requirement(_book(*legs), model)
    covered = requirement(_book(*legs, {**CALL, "strike": 130_000, "quantity": 1}), model)
    assert covered.initial - covered.equity < alone.initial - alone.equity


def test_scenario_models__coin_settled__only_deribit() -> None:
    book = _book(PERP, settlement="coin")
    for model in MODELS:
        if model == "deribit":
            assert requirement(book, model).initial > 0
        else:
            with pytest.raises(ModelError, match=f"{model} does not know coin-settled"):
                requirement(book, model)


def test_requirement__unknown_model__named() -> None:
    with pytest.raises(ModelError, match="unknown model 'simm': choose one of ballast, span"):
        requirement(EXAMPLE, "simm")


def test_requirement__sums_of_legs__scale() -> None:
    """Twice the book asks for twice as much, where charges are linear and nothing is dampened or fixed."""
    double = replace(EXAMPLE, legs=tuple(replace(leg, quantity=2 * leg.quantity) for leg in EXAMPLE.legs), cash=0.0)
    for model in ("span", "paradex", "standard", "derive-pmrm2"):
        assert requirement(double, model).initial == pytest.approx(2 * requirement(EXAMPLE, model).initial, rel=1e-9)


def test_kernel__values__loop_over_legs_and_rows_agrees() -> None:
    """The array code against the plain formula, leg by leg and row by row."""
    grid = kernel.grid_of(
        [kernel.Shift(0.1), kernel.Shift(-0.3, VolatilityMove.UP, 0.5), kernel.Shift(0.2, VolatilityMove.DOWN)],
        VolatilityShock(0.5, 0.25, 0.4, 0.3, 0.13),
    )  # fmt: skip
    legs = EXAMPLE.columns()
    gains = kernel.pnl(legs, grid, 1.0, None, 1.0)
    for at, leg in enumerate(EXAMPLE.legs):
        days = legs.years[at] * 365
        factor = (30 / max(days, 1)) ** (0.3 if days <= 30 else 0.13)
        for row, (move, sign, weight) in enumerate(((0.1, 0, 1.0), (-0.3, 1, 0.5), (0.2, -1, 1.0))):
            price = leg.forward * (1 + move)
            value, mark = price, leg.forward
            if leg.kind.is_option:
                vol = leg.volatility
                vol = max(vol * (1 + 0.5 * factor), 0.4) if sign > 0 else vol * (1 - 0.25 * factor) if sign < 0 else vol
                call = leg.kind is Kind.CALL
                value = float(black76.price(price, leg.strike, legs.years[at] - 1 / 365, vol, call))
                mark = float(black76.price(leg.forward, leg.strike, legs.years[at], leg.volatility, call))
            assert gains[at, row] == pytest.approx(leg.quantity * weight * (value - mark), rel=1e-12, abs=1e-9)


LEGS = st.lists(
    st.tuples(
        st.sampled_from(["BTC", "ETH"]),
        st.sampled_from(["perpetual", "call", "put"]),
        st.sampled_from([0.05, 0.5, 0.9, 1.0, 1.2, 3.0]),
        st.integers(-500, 500).filter(bool).map(lambda n: n / 7),
        st.sampled_from([0.05, 0.6, 3.0]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda leg: (leg[0], leg[1]) if leg[1] == "perpetual" else leg[:3],
)


@settings(max_examples=40, deadline=None)
@given(LEGS, st.randoms(use_true_random=False))
def test_every_model__random_books__finite_ordered_and_blind_to_order(legs: list[tuple], chance) -> None:
    written = []
    flat: dict[str, float] = {}  # one volatility an underlying: else a far put may be worth more than a near one
    for name, kind, moneyness, quantity, volatility in legs:
        leg = {"underlying": name, "kind": kind, "quantity": quantity}
        if kind != "perpetual":
            strike = moneyness * (100_000 if name == "BTC" else 2_000)
            leg |= {"expiry": "2026-01-31", "strike": strike, "volatility": flat.setdefault(name, volatility)}
        written.append(leg)
    shuffled = written.copy()
    chance.shuffle(shuffled)
    for model in MODELS:
        found, again = requirement(_book(*written), model), requirement(_book(*shuffled), model)
        assert found.initial >= found.maintenance - 1e-6 >= -1e-5
        assert again.initial == pytest.approx(found.initial, rel=1e-9, abs=1e-6)
        assert sum(s.contributions().sum() for s in found.scans) == pytest.approx(
            sum(s.loss for s in found.scans), abs=1e-4
        )


@settings(max_examples=25, deadline=None)
@given(LEGS, LEGS)
def test_scenario_rule__two_books_together__ask_for_no_more(one: list[tuple], other: list[tuple]) -> None:
    """The worst of a sum is at most the sum of the worst: Ballast's scenario risk, without close-out."""

    def risk(legs: list[tuple]) -> float:
        total: dict[tuple, float] = {}
        for name, kind, moneyness, quantity, volatility in legs:
            key = (name, kind, None, None) if kind == "perpetual" else (name, kind, moneyness, volatility)
            total[key] = total.get(key, 0.0) + quantity
        at: dict[str, np.ndarray] = {}
        for (name, kind, moneyness, volatility), quantity in total.items():
            price = 100_000.0 if name == "BTC" else 2_000.0
            many = [
                np.array([v])
                for v in (quantity, price, 0.0, (moneyness or 0.0) * price, 30 / 365, volatility or 0, 1.0)
            ]
            leg = kernel.Legs(np.array([int(Kind[kind.upper()])]), *many)
            grid = kernel.Grid.of(default_policy())
            at[name] = at.get(name, 0.0) + kernel.pnl(leg, grid, 0.16)[0]
        return -sum(float(v.min()) for v in at.values())

    assert risk(one + other) <= risk(one) + risk(other) + 1e-6


def test_position_greeks__sum_of_deltas__by_kind() -> None:
    greeks = position_greeks(EXAMPLE)
    assert greeks["delta"][0] == 1.5
    assert greeks["vega"][0] == 0.0
    assert np.sign(greeks["vega"][1]) == -1.0


def test_table_of_models__document__up_to_date() -> None:
    assert table.replaced((ROOT / "docs" / "models.md").read_text()) == (ROOT / "docs" / "models.md").read_text()
    with pytest.raises(ValueError, match="no lines"):
        table.replaced("nothing here")
