"""SVI: published parameters, fits, and surfaces that are refused. Forwards and funding."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from offchain.risk.forwards import carry, forward_price, funding_payment, funding_rate, parity_forward, perpetual_price
from offchain.risk.svi import Quotes, Surface, Svi, SviRefused, arbitrage, fit, fit_surface

PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "margin_models.json").read_text())["svi"]
VOGT = Svi(**PUBLISHED["raw"], years=1.0)
K = np.linspace(-1.0, 1.0, 21)


def test_natural__vogt__published_parameters() -> None:
    assert VOGT.natural() == pytest.approx(PUBLISHED["natural"], rel=1e-6)
    back = Svi.from_natural(*VOGT.natural(), 1.0)
    for name, value in PUBLISHED["raw"].items():
        assert getattr(back, name) == pytest.approx(value, abs=1e-12)


def test_arbitrage__vogt__butterfly_and_its_mended_smile_none() -> None:
    """The published example: negative density near k = 0.8; its mended parameters are free of arbitrage."""
    assert "butterfly" in (arbitrage(VOGT) or "")
    assert VOGT.durrleman(0.8) < 0
    assert arbitrage(Svi.from_natural(*PUBLISHED["mended"], 1.0)) is None


def test_durrleman__finite_difference_of_call_prices__density() -> None:
    """``g(k) n(d2) / sqrt(w)`` is the density of ln(S/F): its integral over k is one, and g > 0 means convex prices."""
    smile = Svi(0.03, 0.12, -0.3, 0.02, 0.2, 0.25)
    k = np.linspace(-12, 12, 120_001)
    w = smile.variance(k)
    d2 = -k / np.sqrt(w) - np.sqrt(w) / 2
    density = smile.durrleman(k) * np.exp(-0.5 * d2 * d2) / np.sqrt(2 * math.pi * w)
    assert float(np.sum(density) * (k[1] - k[0])) == pytest.approx(1.0, abs=1e-6)
    assert float(np.sum(density * np.exp(k)) * (k[1] - k[0])) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    "smile",
    [Svi(0.01, 0.08, -0.3, 0.02, 0.15, 0.1), Svi(0.09, 0.2, -0.25, 0.0, 0.3, 1.0), Svi(0.2, 0.3, 0.5, 0.1, 0.6, 2)],
)
def test_fit__quotes_of_a_smile__found_again(smile: Svi) -> None:
    k = K * 1.5 * math.sqrt(smile.years)
    found = fit(Quotes(smile.years, k, smile.volatility(k)))
    assert found.error < 1e-5
    assert np.abs(found.slice.volatility(k) - smile.volatility(k)).max() < 5e-5
    assert arbitrage(found.slice) is None


def test_fit__quotes_with_a_butterfly__nearest_without_or_refused() -> None:
    quotes = Quotes(1.0, K, VOGT.volatility(K))
    found = fit(quotes)
    assert arbitrage(found.slice) is None
    assert 1e-3 < found.error < 0.02
    with pytest.raises(SviRefused, match=r"1.0 years: the nearest is 0.00\d+ of volatility from the quotes"):
        fit(quotes, limit=1e-4)


def test_surface__three_expiries__no_arbitrage_between_either() -> None:
    true = [
        Svi(0.01, 0.08, -0.3, 0.02, 0.15, 0.1),
        Svi(0.03, 0.12, -0.3, 0.02, 0.2, 0.25),
        Svi(0.09, 0.2, -0.25, 0, 0.3, 1.0),
    ]
    surface, fits = fit_surface([Quotes(s.years, K, s.volatility(K)) for s in reversed(true)])
    assert max(f.error for f in fits) < 1e-4
    times = np.linspace(0.05, 1.5, 40)
    total = np.array([surface.volatility(K, t) ** 2 * t for t in times])
    assert (np.diff(total, axis=0) > -1e-12).all()
    assert surface.volatility(0.0, 0.25) == pytest.approx(float(true[1].volatility(0.0)), abs=1e-4)


def test_surface__falling_variance__refused_with_the_place() -> None:
    early, late = Svi(0.16, 0.01, 0.0, 0.0, 0.1, 0.25), Svi(0.12, 0.01, 0.0, 0.0, 0.1, 0.5)
    with pytest.raises(SviRefused, match=r"0.5 years refused: calendar: total variance falls by 0.04 at k"):
        Surface((early, late))
    with pytest.raises(SviRefused, match="0.5 years"):
        fit_surface([Quotes(0.25, K, np.full(21, 0.8)), Quotes(0.5, K, np.full(21, 0.5))])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"volatility": np.array([0.5] * 20 + [math.nan])}, "volatility nan is out of range"),
        ({"volatility": np.array([0.5] * 20 + [-0.1])}, "volatility -0.1 is out of range"),
        ({"k": np.array([0.0] * 21)}, "five strikes are needed, not 1"),
        ({"years": 0.0}, "time to expiry must be positive"),
        ({"weight": np.ones(3)}, "another length"),
    ],
)
def test_quotes__bad_input__named(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Quotes(**{"years": 1.0, "k": K, "volatility": np.full(21, 0.5), **change})


def test_svi__bad_parameter__named() -> None:
    with pytest.raises(ValueError, match="rho nan"):
        Svi(0.1, 0.1, math.nan, 0, 0.1, 1.0)
    with pytest.raises(ValueError, match="falls to -0.1"):
        Svi(-0.2, 1.0, 0, 0, 0.1, 1.0)


def test_forward__hull__published() -> None:
    """Hull, section 5.4: S 40, 5 %, three months: 40.50; with a yield, 25, 10 %, 3.96 %, six months: 25.77."""
    assert float(forward_price(40, 0.25, 0.05)) == pytest.approx(40.50, abs=0.005)
    assert float(forward_price(25, 0.5, 0.10, 0.0396)) == pytest.approx(25.77, abs=0.005)
    assert float(carry(40.503138, 40, 0.25)) == pytest.approx(0.05, abs=1e-6)


def test_parity__two_strikes__forward_and_discount() -> None:
    strikes = np.array([90.0, 100.0, 115.0])
    calls, puts = np.array([14.3, 7.9, 2.6]), None
    puts = calls - 0.97 * (103.0 - strikes)
    forward, discount = parity_forward(strikes, calls, puts)
    assert forward == pytest.approx(103.0, rel=1e-13)
    assert discount == pytest.approx(0.97, rel=1e-13)
    with pytest.raises(ValueError, match="two strikes"):
        parity_forward([100.0], [1.0], [1.0])
    with pytest.raises(ValueError, match="rises"):
        parity_forward([100.0, 110.0], [5.0, 9.0], [5.0, 1.0])
    with pytest.raises(ValueError, match=r"put price -1.0"):
        parity_forward([100.0, 110.0], [5.0, 4.0], [-1.0, 9.0])


def test_funding__bitmex_rule__interest_unless_the_premium_is_large() -> None:
    """Quote interest 0.06 % less base 0.03 % a day is 0.01 % in eight hours: the rate while |I - P| <= 0.05 %."""
    interest = (0.0006 - 0.0003) / 3
    assert float(funding_rate(0.0004, interest)) == pytest.approx(0.0001, rel=1e-12)
    assert float(funding_rate(0.0020, interest)) == pytest.approx(0.0015, rel=1e-12)
    assert float(funding_rate(-0.0020, interest)) == pytest.approx(-0.0015, rel=1e-12)
    assert float(funding_payment(-2.0, 50_000.0, 0.0001)) == pytest.approx(-10.0)


def test_perpetual__interest_equal_to_carry__trades_at_spot() -> None:
    assert float(perpetual_price(50_000.0, 1095.0, 0.05, 0.07, 0.02)) == pytest.approx(50_000.0, rel=1e-14)
    assert float(perpetual_price(100.0, 10.0, 0.0, 0.10)) == pytest.approx(100.0 * 10 / 9.9)
    with pytest.raises(ValueError, match="anchor 0.01"):
        perpetual_price(100.0, 0.01, 0.0, 0.10)
