"""Black-76 and Black-Scholes against published numbers (tests/vectors/pricing.json) and identities."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

from offchain.risk import black76

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "pricing.json").read_text())


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_price__published_number__to_its_digits(case: dict) -> None:
    for side in ("call", "put"):
        if side not in case:
            continue
        rest = (case["strike"], case["years"], case["volatility"], side == "call")
        if case["model"] == "spot":
            value = black76.spot_price(case["underlying"], *rest, case["rate"], case["dividend"])
        else:
            value = math.exp(-case["rate"] * case["years"]) * black76.price(case["underlying"], *rest)
        unit = 10.0 ** -case["digits"]
        assert abs(float(value) - case[side]) <= unit * (1 if case.get("last_digit_off") else 0.5 + 1e-9)


def test_price__at_the_money__error_function() -> None:
    """At the money the formula is ``F erf(s / (2 sqrt 2))``: it settles the printed number whose last digit is off."""
    exact = 100 * math.exp(-0.01) * math.erf(0.15 * math.sqrt(0.1) / (2 * math.sqrt(2)))
    assert math.exp(-0.01) * float(black76.price(100, 100, 0.1, 0.15, True)) == pytest.approx(exact, rel=1e-13)
    assert exact == pytest.approx(1.87334457, abs=1e-8)


@pytest.mark.parametrize("case", CASES["greeks"], ids=lambda case: case["name"])
def test_greeks__published_numbers__to_their_digits(case: dict) -> None:
    found = black76.spot_greeks(
        case["underlying"], case["strike"], case["years"], case["volatility"], True, case["rate"], case["dividend"]
    )
    for name, digits in case["digits"].items():
        assert abs(float(getattr(found, name)) - case[name]) < 0.6 * 10**-digits, name


@pytest.mark.parametrize(("x", "value"), CASES["normal"])
def test_normal_distribution__published_value__to_its_digits(x: float, value: float) -> None:
    assert float(ndtr(x)) == pytest.approx(value, rel=5e-15)


F, K, T, V = (a.ravel() for a in np.meshgrid([0.5, 60.0, 100.0, 140.0, 5e4], [30.0, 100.0, 104.0], [1e-4, 0.1, 2.0],
                                             [0.05, 0.6, 4.0]))  # fmt: skip


def test_price__call_less_put__forward_less_strike() -> None:
    parity = black76.price(F, K, T, V, True) - black76.price(F, K, T, V, False)
    assert np.abs(parity - (F - K)).max() <= 1e-14 * 5e4


def test_price__bounds__between_intrinsic_and_forward_or_strike() -> None:
    call, put = black76.price(F, K, T, V, True), black76.price(F, K, T, V, False)
    assert (call >= np.maximum(F - K, 0)).all()
    assert (put >= np.maximum(K - F, 0)).all()
    assert (call <= F * (1 + 1e-14)).all()
    assert (put <= K * (1 + 1e-14)).all()


def test_price__higher_volatility_or_strike__monotone() -> None:
    volatilities = np.linspace(0.01, 5.0, 400)
    strikes = np.linspace(20.0, 300.0, 400)
    assert (np.diff(black76.price(100.0, 110.0, 0.3, volatilities, True)) >= 0).all()
    assert (np.diff(black76.price(100.0, strikes, 0.3, 0.7, True)) < 0).all()
    assert (np.diff(black76.price(100.0, strikes, 0.3, 0.7, False)) > 0).all()


@pytest.mark.parametrize(("years", "volatility"), [(0.0, 0.5), (-1.0, 0.5), (1.0, 0.0), (0.0, 0.0)])
def test_price__nothing_left__intrinsic(years: float, volatility: float) -> None:
    forwards = np.array([0.0, 90.0, 100.0, 110.0])
    assert black76.price(forwards, 100.0, years, volatility, True).tolist() == [0, 0, 0, 10]
    assert black76.price(forwards, 100.0, years, volatility, False).tolist() == [100, 10, 0, 0]
    found = black76.greeks(forwards, 100.0, years, volatility, True)
    assert found.delta.tolist() == [0, 0, 0.5, 1]
    assert not found.gamma.any()
    assert not found.vega.any() or years > 0
    assert np.isfinite(found.theta).all()


def test_price__forward_zero__call_nothing_put_strike() -> None:
    assert float(black76.price(0.0, 100.0, 1.0, 0.8, True)) == 0.0
    assert float(black76.price(0.0, 100.0, 1.0, 0.8, False)) == 100.0


def test_price__alone_or_among_many__the_same_bits() -> None:
    many = black76.price(F, K, T, V, True)
    alone = [float(black76.price(*row, True)) for row in zip(F, K, T, V, strict=True)]
    assert many.tolist() == alone


def test_greeks__finite_differences__agree() -> None:
    f, k, t, v = 104.0, 100.0, 0.4, 0.6
    h = 1e-3

    def price(f: float, t: float, v: float) -> float:
        return float(black76.price(f, k, t, v, False))

    found = black76.greeks(f, k, t, v, False)
    assert float(found.delta) == pytest.approx((price(f + h, t, v) - price(f - h, t, v)) / (2 * h), abs=1e-7)
    assert float(found.gamma) == pytest.approx(
        (price(f + h, t, v) - 2 * price(f, t, v) + price(f - h, t, v)) / h**2, abs=1e-6
    )
    assert float(found.vega) == pytest.approx((price(f, t, v + h) - price(f, t, v - h)) / (2 * h), rel=1e-5)
    assert float(found.theta) == pytest.approx(-(price(f, t + h, v) - price(f, t - h, v)) / (2 * h), rel=1e-5)
