"""Stress: by hand where a result can be, and reverse stress against answers in closed form."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq

from offchain.market.candles import Candles, load_candles
from offchain.risk import stress
from offchain.risk.book import load_book
from offchain.risk.revaluation import Leg, OptionBook
from offchain.risk.reverse import reverse
from offchain.risk.stress import Account, Scenario

DATA = os.environ.get("BALLAST_DATA")
ROOT = Path(__file__).parents[2]


def account(name: str, cash: float, *legs: Leg, closeout: float = 0.0) -> Account:
    return Account(name, cash, OptionBook(legs), closeout)


LONG = account("long", -80.0, Leg("BTC", 1.0, 100.0))
PAIR = account("pair", 10.0, Leg("BTC", 1.0, 100.0), Leg("ETH", -10.0, 10.0), closeout=1.0)


def test_run__by_hand__who_where_how_much() -> None:
    fall = Scenario("fall", {"BTC": -0.3, "ETH": -0.1}, {})
    dry = Scenario("dry", {"BTC": -0.3, "ETH": -0.3}, {}, liquidity=20.0)
    found = {(o.account, o.scenario): o for o in stress.run([LONG, PAIR], [fall, dry])}
    assert found["long", "fall"].equity == 20.0
    assert found["long", "fall"].shortfall == pytest.approx(10.0)
    assert found["pair", "fall"].after == pytest.approx(10.0 - 30.0 + 10.0 - 1.0)
    assert found["pair", "fall"].worst_leg == 0
    assert found["pair", "dry"].after == pytest.approx(10.0 - 20.0)  # no loss, but closing costs 20
    funds = {f.scenario: f for f in stress.fund_outcomes(list(found.values()), 15.0)}
    assert funds["fall"].missing == pytest.approx(21.0)
    assert funds["fall"].accounts == ("pair", "long")
    assert funds["fall"].left == pytest.approx(-6.0)
    assert funds["dry"].largest_two == pytest.approx(20.0)


def test_correlation_breaks__every_sign__once() -> None:
    found = stress.correlation_breaks({"BTC": 0.3, "ETH": 0.4})
    assert len(found) == len({s.name for s in found}) == 8
    assert {"BTC": 0.3, "ETH": -0.4} in [dict(s.prices) for s in found]


def test_hedged_pair__correlation_break__loses_both_legs() -> None:
    worst = min(stress.run([PAIR], stress.correlation_breaks({"BTC": 0.3, "ETH": 0.3})), key=lambda o: o.after)
    assert worst.profit == pytest.approx(-60.0)
    together = stress.run([PAIR], stress.grid(("BTC", "ETH"), (-0.3, 0.3), (0.0,)))
    assert max(abs(o.profit) for o in together) == pytest.approx(0.0, abs=1e-12)


def test_volatility_regimes__short_straddle__loses_vega() -> None:
    legs = [Leg("BTC", -1.0, 100.0, call, 100.0, 0.5, 0.2) for call in (True, False)]
    found = {
        o.scenario: o.profit for o in stress.run([account("short", 50.0, *legs)], stress.volatility_regimes(["BTC"]))
    }
    # At the money the price is F erf(s / (2 sqrt 2)): twice the difference for the two legs.
    price = [100 * math.erf(v * math.sqrt(0.5) / (2 * math.sqrt(2))) for v in (0.2, 0.4)]
    assert found["volatility: all +100%"] == pytest.approx(-2 * (price[1] - price[0]), rel=1e-12)
    assert found["volatility: all -50%"] > 0


def hourly(closes: np.ndarray) -> Candles:
    times = 1_600_000_000 // 86_400 * 86_400 + 3_600 * np.arange(len(closes))
    return Candles("made", 3_600, times, closes, closes, closes, closes, np.ones(len(closes)), True)


def test_historical__planted_crash__found_with_what_the_other_did() -> None:
    rng = np.random.default_rng(1)
    btc, eth = (100 * np.exp(np.cumsum(rng.standard_normal(600) * 1e-4)) for _ in range(2))
    btc[300:] *= 0.6
    eth[300:] *= 0.8
    found = stress.historical({"BTC": hourly(btc), "ETH": hourly(eth)}, 24, 1)
    crash = min(found, key=lambda s: s.prices["BTC"])
    assert crash.prices["BTC"] == pytest.approx(-0.4, abs=0.005)
    assert crash.prices["ETH"] == pytest.approx(-0.2, abs=0.005)
    assert crash.volatilities["BTC"] > 1.0


ONE = [[0.04**2]]
TWO = [[0.04**2, 0.8 * 0.04 * 0.05], [0.8 * 0.04 * 0.05, 0.05**2]]


def test_reverse__one_linear_leg__closed_form() -> None:
    """Worth 20 of 100: it breaks at ln(0.8) / 4 %."""
    for covariance, factors in ((ONE, ["BTC"]), (TWO, ["BTC", "ETH"])):
        found = reverse([LONG], covariance, factors)[0]
        assert found.distance == pytest.approx(-math.log(0.8) / 0.04, rel=1e-4)
        assert found.prices["BTC"] == pytest.approx(-0.2, abs=1e-6)
        assert 0.0 < found.shortfall < 1e-3
    assert found.prices["ETH"] == pytest.approx(math.exp(0.8 * 0.05 / 0.04 * math.log(0.8)) - 1, abs=2e-3)


def test_reverse__short_straddle__no_further_than_price_alone() -> None:
    legs = [Leg("BTC", -1.0, 100.0, call, 100.0, 0.1, 0.6) for call in (True, False)]
    short = account("short", 45.0, *legs)
    alone = min(
        abs(brentq(lambda x: short.equity + short.book.profit([[math.expm1(x)]])[0], 1e-6, sign * 1.5)) / 0.04
        for sign in (1, -1)
    )
    found = reverse([short], ONE, ["BTC"])[0]
    assert found.distance <= alone * (1 + 1e-6)
    assert short.equity + short.book.profit([[found.prices["BTC"]]], [[found.volatilities["BTC"]]])[0] < 0


def test_reverse__fund__needs_more_than_the_account() -> None:
    own, fund = reverse([LONG], ONE, ["BTC"], fund=10.0)
    assert fund.name == "fund"
    assert own.distance < fund.distance == pytest.approx(-math.log(0.7) / 0.04, rel=1e-4)


def test_reverse__cash_only_risk_covered__nothing_found() -> None:
    rich = account("rich", 1e6, Leg("BTC", 1.0, 100.0))
    found = reverse([rich], ONE, ["BTC"])[0]
    assert math.isinf(found.distance)
    assert not found.prices


def test_account_of__example_book__equity_of_the_book() -> None:
    book = load_book(ROOT / "docs" / "examples" / "book.json")
    found = stress.account_of(book, "example")
    assert found.equity == pytest.approx(book.equity, rel=1e-12)
    assert len(found.book.legs) == len(book.legs)
    assert found.closeout > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Scenario("x", {"BTC": -1.5}, {}), "price move -1.5 of BTC in 'x'"),
        (lambda: Scenario("x", {}, {"BTC": math.nan}), "volatility move nan of BTC"),
        (lambda: account("a", math.nan, Leg("BTC", 1.0, 1.0)), "cash nan of 'a'"),
        (lambda: stress.run([], []), "accounts is empty"),
        (lambda: stress.run([LONG, LONG], [Scenario("x", {}, {})]), "accounts has 'long' twice"),
        (lambda: reverse([PAIR], ONE, ["BTC"]), "factor 'ETH' of account 'pair' has no covariance"),
        (lambda: stress.fund_outcomes([], -1.0), "fund -1.0"),
        (lambda: stress.historical({"BTC": hourly(np.ones(20))}, 24), "0 windows of 24 h"),
    ],
)
def test_bad_input__error__names_field_and_value(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.skipif(DATA is None, reason="BALLAST_DATA names no folder with the hourly files")
def test_historical__real_candles__the_days_worth_replaying() -> None:
    files = {name: load_candles(Path(DATA) / f"{name.lower()}_1h_2020_2026.csv") for name in ("BTC", "ETH")}
    found = stress.historical(files, 24, 3)
    crash = min(found, key=lambda s: s.prices["BTC"])
    assert "2020-03-12" in crash.name
    assert crash.prices["BTC"] < -0.40
    assert crash.prices["ETH"] < -0.45
