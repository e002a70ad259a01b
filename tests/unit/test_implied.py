"""Implied volatility: published number, exact cases, round trips to what the price holds, and what has none."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from offchain.risk import black76
from offchain.risk.implied import Status, implied_volatility, log_price, solve


def test_implied__published_price__its_volatility() -> None:
    assert float(implied_volatility(5.637197779701664, 100, 100, 0.5, True)) == pytest.approx(0.2, rel=1e-15)


@pytest.mark.parametrize("total", [1e-12, 1e-8, 1e-4, 0.03, 0.5, 2.0, 8.0, 14.0])
def test_implied__at_the_money__error_function(total: float) -> None:
    """At the money the price is ``F erf(s / sqrt 8)``, which math.erf knows for the smallest `s`; near its greatest
    value the price no longer holds `s`.
    """
    price = 70.0 * math.erf(total / math.sqrt(8))
    rest = math.erfc(total / math.sqrt(8))
    held = 2e-16 / (rest * total * total) if total > 2 else 2e-16
    assert float(implied_volatility(price, 70.0, 70.0, 4.0, False)) * 2 == pytest.approx(total, rel=1e-14 + 8 * held)


@pytest.mark.parametrize("x", [0.0, -1e-6, -0.01, -0.5, -2.0, -10.0, -40.0])
@pytest.mark.parametrize("s", [1e-3, 0.05, 0.15, 0.25, 1.0, 3.0])
def test_log_price__integral_of_vega__agrees(x: float, s: float) -> None:
    """``b(x, s)`` is the integral of ``e^(-(x^2/u^2 + u^2/4)/2) / sqrt(2 pi)`` for u from 0 to s; here u = s e^(-y),
    and the last value is taken out.
    """
    steep, slow = 0.5 * (x / s) ** 2, 0.125 * s * s

    def vega(y: float) -> float:
        return s * math.exp(-y - steep * math.expm1(2.0 * y) - slow * math.expm1(-2.0 * y))

    width = min(40.0, 40.0 / steep) if steep else 40.0
    turn = math.log(s / abs(x)) if x else 0.0
    points = [turn] if 0.0 < turn < width else None
    area, _ = quad(vega, 0.0, width, epsabs=0, epsrel=1e-13, limit=200, points=points)
    want = math.log(area) - 0.5 * math.log(2 * math.pi) - steep - slow
    assert float(log_price(np.array([x]), np.array([s]))[0]) == pytest.approx(want, rel=2e-15, abs=2e-12)


def _cases() -> tuple[np.ndarray, ...]:
    grids = np.meshgrid(np.exp(np.linspace(-3, 3, 25)), [1e-4, 1e-2, 0.3, 2.0, 10.0], [0.01, 0.1, 0.4, 1.0, 3.0, 8.0])
    strike, years, volatility = (100.0 * grids[0].ravel(), grids[1].ravel(), grids[2].ravel())
    return strike, years, volatility


@pytest.mark.parametrize("out_of_the_money", [True, False])
def test_implied__round_trip__to_1e12_where_the_price_holds_it(out_of_the_money: bool) -> None:
    """What a price holds: its rounding, a few units of forward or strike, over what volatility does to it."""
    strike, years, volatility = _cases()
    call = (strike >= 100.0) == out_of_the_money
    price = black76.price(100.0, strike, years, volatility, call)
    vega = black76.greeks(100.0, strike, years, volatility, call).vega
    found, status = solve(price, 100.0, strike, years, call)
    with np.errstate(divide="ignore", over="ignore"):
        held = np.spacing(np.maximum(100.0, strike)) / (vega * volatility)
    error = np.abs(found / volatility - 1.0)
    good = (status == Status.OK) & (held < 1e-13)
    assert good.sum() > 150
    assert error[good].max() < 1e-12
    rest = (status == Status.OK) & (price > 1e-290)
    assert (error[rest] <= 8.0 * held[rest] + 1e-14).all()
    assert (held[status == Status.AT_INTRINSIC] > 1e-3).all()


@pytest.mark.parametrize("price", [1e-300, 1e-305, 3e-310, 5e-324])
def test_implied__price_below_1e300__solved(price: float) -> None:
    found = float(implied_volatility(price, 100.0, 400.0, 0.25, True))
    x, s = np.array([-math.log(4.0)]), np.array([found * 0.5])
    assert float(log_price(x, s)[0]) + math.log(200.0) == pytest.approx(math.log(price), abs=1e-9)


def test_implied__huge_and_tiny_money__scale_free() -> None:
    for scale in (1e-150, 1e-8, 1.0, 1e8, 1e150):
        assert float(implied_volatility(5.637197779701664 * scale, 100 * scale, 100 * scale, 0.5, True)) == (
            pytest.approx(0.2, rel=1e-13)
        )


def test_implied__deep_in_the_money__what_the_time_value_holds() -> None:
    price = float(black76.price(100.0, 60.0, 0.5, 0.6, True))
    assert float(implied_volatility(price, 100.0, 60.0, 0.5, True)) == pytest.approx(0.6, rel=1e-13)
    assert float(implied_volatility(40.0, 100.0, 60.0, 0.5, True)) == 0.0


@pytest.mark.parametrize(
    ("price", "forward", "strike", "years", "call", "status", "words"),
    [
        (39.9, 100, 60, 0.5, True, Status.BELOW_INTRINSIC, "39.9 of a call .* below its intrinsic value 40.0"),
        (100, 100, 60, 0.5, True, Status.AT_MAXIMUM, "100.0 of a call .* not below the forward 100.0"),
        (61, 100, 60, 0.5, False, Status.AT_MAXIMUM, "61.0 of a put .* not below the strike 60.0"),
        (5, 100, 100, 0.0, True, Status.NO_TIME, "no time left"),
        (5, 100, 100, -1.0, True, Status.NO_TIME, "no time left"),
        (math.nan, 100, 100, 1.0, True, Status.BAD_INPUT, "nan of a call .* NaN, infinite or not positive"),
        (5, 0, 100, 1.0, True, Status.BAD_INPUT, "forward 0.0"),
        (5, 100, -3, 1.0, True, Status.BAD_INPUT, "strike -3.0"),
        (-1e-9, 100, 100, 1.0, True, Status.BAD_INPUT, "price -1e-09"),
        (5, math.inf, 100, 1.0, True, Status.BAD_INPUT, "forward inf"),
    ],
)
def test_implied__no_volatility__named(price, forward, strike, years, call, status, words) -> None:
    found, said = solve(price, forward, strike, years, call)
    assert int(said) == status
    assert math.isnan(float(found))
    with pytest.raises(ValueError, match=words):
        implied_volatility(price, forward, strike, years, call)


def test_implied__one_bad_among_many__its_place() -> None:
    with pytest.raises(ValueError, match=r"at \[1, 2\]"):
        implied_volatility(np.array([[5.0, 5, 5], [5, 5, 101]]), 100.0, 100.0, 1.0, True)


def test_implied__alone_or_among_many__the_same_bits() -> None:
    strike, years, volatility = _cases()
    price = black76.price(100.0, strike, years, volatility, True)
    many, _ = solve(price, 100.0, strike, years, True)
    alone = [float(solve(p, 100.0, k, t, True)[0]) for p, k, t in zip(price[:60], strike, years, strict=False)]
    assert np.array_equal(many[:60], np.array(alone), equal_nan=True)
