"""SPAN: published arrays and requirements, and the order and size of the scenarios."""

import json
from pathlib import Path

import numpy as np
import pytest

from offchain.risk.book import parse_book
from offchain.risk.models import span
from offchain.risk.models.kernel import index_moves

PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "margin_models.json").read_text())["span"]
ARRAYS = -np.array([PUBLISHED["call"], PUBLISHED["future"]], dtype=float)


@pytest.mark.parametrize("case", PUBLISHED["cases"], ids=lambda case: case["name"])
def test_scan_risk__published_arrays__requirement_and_active_scenario(case: dict) -> None:
    assert span.scan_risk(ARRAYS, [case["call"], case["future"]]) == (case["requirement"], case["scenario"])


def test_grid__future__published_array() -> None:
    """A future whose scan range is worth 10,000: thirds of it, and 7,000 in the extreme (2x at 35 %)."""
    grid = span.SpanParams(0.1, extreme=2.0, cover=0.35).grid()
    gains = 100_000.0 * grid.weight * index_moves(grid, 0.1)
    assert np.round(gains, -1).tolist() == PUBLISHED["future"]


def test_scan_risk__wrong_shape_or_nan__refused() -> None:
    with pytest.raises(ValueError, match="sixteen"):
        span.scan_risk([[1.0, 2.0]], [1])
    with pytest.raises(ValueError, match="sixteen finite"):
        span.scan_risk(np.full((1, 16), np.nan), [1])


def test_total__net_option_value_and_floor() -> None:
    assert span.total(100.0, 20.0, 30.0, 50.0, 40.0) == 50.0
    assert span.total(100.0, 0.0, 30.0, 90.0, 0.0) == 90.0


def _book(legs: list[dict], **market: float):
    return parse_book(
        {
            "format": "ballast-book", "version": 1, "timestamp": "2026-01-01T08:00:00Z", "cash": 0,
            "underlyings": {
                "BTC": {"index": 100_000, "perpetual": 100_000, **market, "expiries": {
                    "2026-01-31": {"forward": 100_000}, "2026-03-02": {"forward": 100_000}}},
                "ETH": {"index": 2_000, "perpetual": 2_000},
            },
            "legs": legs,
        }
    )  # fmt: skip


def test_margin__one_future__scan_range() -> None:
    found = span.margin(_book([{"underlying": "BTC", "kind": "future", "expiry": "2026-01-31", "quantity": 1}]))
    assert found.maintenance == pytest.approx(16_000)
    assert found.initial == pytest.approx(17_600)


def test_margin__calendar_spread__charge_only() -> None:
    legs = [{"underlying": "BTC", "kind": "future", "expiry": e, "quantity": q}
            for e, q in (("2026-01-31", 2), ("2026-03-02", -3))]  # fmt: skip
    found = span.margin(_book(legs))
    parts = {p.name: p.maintenance for p in found.parts}
    assert parts["scan risk"] == pytest.approx(16_000)
    assert parts["calendar charge"] == pytest.approx(2 * 0.01 * 100_000)


def test_margin__far_short_option__minimum() -> None:
    leg = {
        "underlying": "BTC",
        "kind": "call",
        "expiry": "2026-01-31",
        "strike": 900_000,
        "quantity": -2,
        "volatility": 0.3,
    }
    assert span.margin(_book([leg])).maintenance == pytest.approx(2 * 0.0075 * 100_000)


def test_margin__long_option__a_day_of_decay_counts() -> None:
    leg = {
        "underlying": "BTC",
        "kind": "call",
        "expiry": "2026-01-31",
        "strike": 100_000,
        "quantity": 1,
        "volatility": 0.5,
    }
    book = _book([leg])
    still = span.SpanBook({"BTC": span.SpanParams(0.16, lapse=0.0)})
    assert span.margin(book).maintenance > span.margin(book, still).maintenance
    assert span.margin(book).maintenance <= book.equity


def test_margin__credit__for_opposite_deltas_only() -> None:
    legs = [
        {"underlying": "BTC", "kind": "perpetual", "quantity": 1},
        {"underlying": "ETH", "kind": "perpetual", "quantity": -25},
    ]
    params = span.SpanBook(credits={("BTC", "ETH"): 0.5})
    found = span.margin(_book(legs), params)
    assert found.maintenance == pytest.approx(16_000 + 9_000 - 0.5 * 50_000 * (0.16 + 0.18))
    legs[1]["quantity"] = 25
    assert span.margin(_book(legs), params).maintenance == pytest.approx(25_000)


def test_margin__scan_range_of_the_book__used() -> None:
    legs = [{"underlying": "BTC", "kind": "perpetual", "quantity": -1}]
    assert span.margin(_book(legs, scan_range=0.3)).maintenance == pytest.approx(30_000)
