"""Deribit: the published margin of an inverse perpetual, the volatility shock, and the add-ons by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from offchain.risk.book import Book, parse_book
from offchain.risk.models import deribit
from offchain.risk.models.result import ModelError
from offchain.risk.scenarios import VolatilityShock

PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "margin_models.json").read_text())


def _book(
    legs: list[dict], coin: bool = False, index: float = 100_000.0, mark: float | None = None, name: str = "BTC"
) -> Book:
    return parse_book(
        {
            "format": "ballast-book", "version": 1, "timestamp": "2026-01-01T08:00:00Z", "cash": 0,
            "underlyings": {name: {
                "index": index, "perpetual": mark or index, "settlement": "coin" if coin else "usd",
                "expiries": {"2026-01-31": {"forward": index}, "2027-01-01": {"forward": index}}}},
            "legs": [{"underlying": name, **leg} for leg in legs],
        }
    )  # fmt: skip


def test_margin__short_inverse_perpetual__published() -> None:
    said = PUBLISHED["deribit"]
    book = _book([{"kind": "perpetual", "quantity": -said["coins"]}], True, said["index"], said["mark"], "ETH")
    found = deribit.margin(book)
    parts = {p.name: p.initial / said["index"] for p in found.parts}
    assert found.scans[0].loss / said["index"] == pytest.approx(said["worst"], rel=1e-14)
    assert parts["risk matrix"] == pytest.approx(0.152464127, rel=1e-14)
    assert parts["roll shock"] == pytest.approx(said["roll"], rel=1e-12)
    assert parts["delta shock"] == 0.0
    assert found.initial / said["index"] == pytest.approx(said["initial"], abs=5e-13)
    assert found.maintenance / said["index"] == pytest.approx(said["maintenance"], abs=5e-13)
    assert found.worst() == {"ETH": "+18%, vol up"}


@pytest.mark.parametrize(("days", "up", "down"), PUBLISHED["volatility"]["rows"])
def test_volatility_shock__published_factors__to_their_digits(days: float, up: float, down: float) -> None:
    shock = VolatilityShock(0.50, 0.25, 0.0, 0.30, 0.13)
    at = np.array([float(days)])
    assert float(shock.raised(np.ones(1), at)[0]) == pytest.approx(up, abs=5.1e-4)
    assert float(shock.lowered(np.ones(1), at)[0]) == pytest.approx(down, abs=5.1e-4)


def test_kept__extended_moves__scaled_and_dampened() -> None:
    """BTC, -1,000,000 at +100 %: x .16 = 160,000, less (1/.16 - 1) x 100,000 = 525,000: none. At 5 million: 275,000."""
    p = deribit.PARAMS["BTC"]
    gains = np.zeros(8)
    gains[3] = -1e6
    assert not p.kept(gains).any()
    gains[3] = -5e6
    assert p.kept(gains)[3] == pytest.approx(-275_000)
    gains[3] = 5e6
    assert p.kept(gains)[3] == pytest.approx(275_000)
    assert p.kept(np.array([-4e6, *[0.0] * 7]))[0] == pytest.approx(-(4e6 * 0.16 / 0.66 - (0.66 / 0.16 - 1) * 1e5))


def test_margin__far_short_options__extended_table_is_the_worst() -> None:
    leg = {"kind": "call", "expiry": "2026-01-31", "strike": 180_000, "quantity": -200, "volatility": 0.6}
    found = deribit.margin(_book([leg]))
    assert found.worst()["BTC"] in {"+100%, vol up", "+200%, vol up", "+300%, vol up", "+400%, vol up", "+500%, vol up"}
    contributions = found.contributions()
    assert contributions.sum() == pytest.approx(next(p.initial for p in found.parts if p.name == "risk matrix"))


def test_roll__by_expiry__at_least_the_least_move() -> None:
    """30 days: e^(.075 * 30/365) - 1 = .62 % < 1 %; a year: 7.79 %. Deltas of one expiry net, of two do not."""
    book = _book([
        {"kind": "perpetual", "quantity": 2}, {"kind": "future", "expiry": "2026-01-31", "quantity": -2},
        {"kind": "future", "expiry": "2027-01-01", "quantity": 1},
    ])  # fmt: skip
    assert deribit.roll(book.columns(), deribit.PARAMS["BTC"]) == pytest.approx(0.02 + 0.02 + np.expm1(0.075))


def test_delta_shock__beyond_the_threshold__quadratic_to_a_cap() -> None:
    """Threshold 20M / 100,000 = 200 coins; 1,200 long: 5e-5 x 1,000 = 5 % of 1,200; 5,000: capped at 10 %."""
    p = deribit.PARAMS["BTC"]
    for coins, want in ((150, 0.0), (1_200, 0.05 * 1_200), (-1_200, 0.05 * 1_200), (5_000, 0.10 * 5_000)):
        book = _book([{"kind": "perpetual", "quantity": coins}])
        assert deribit.delta_shock(book.columns(), 100_000.0, p) == pytest.approx(want)


def test_delta_shock__long_options__count_only_against_futures() -> None:
    """D2 long 1,200 with long puts of -1,200: D = max(min(0, 1200), 0) = 0; long calls do not add to it."""
    p = deribit.PARAMS["BTC"]
    far = {"kind": "put", "expiry": "2026-01-31", "strike": 900_000, "quantity": 1_200, "volatility": 0.3}
    hedged = _book([{"kind": "perpetual", "quantity": 1_200}, far])
    assert deribit.delta_shock(hedged.columns(), 100_000.0, p) == pytest.approx(0.0, abs=1e-9)
    calls = {**far, "kind": "call", "strike": 10_000}
    more = _book([{"kind": "perpetual", "quantity": 1_200}, calls])
    assert deribit.delta_shock(more.columns(), 100_000.0, p) == pytest.approx(60.0)


def test_margin__coin_option__value_in_coins() -> None:
    """A short deep call settled in the coin owes close to one coin whatever the price: it loses less up than down."""
    leg = {"kind": "call", "expiry": "2026-01-31", "strike": 1_000_000 / 8 / 100, "quantity": -1, "volatility": 0.5}
    found = deribit.margin(_book([leg], True))
    assert next(p.initial for p in found.parts if p.name == "risk matrix") < 0.01 * 100_000


def test_margin__unknown_underlying__named() -> None:
    with pytest.raises(ModelError, match="deribit has no parameters for SOL: it knows BTC, ETH"):
        deribit.margin(_book([{"kind": "perpetual", "quantity": 1}], name="SOL"))
