"""All greeks against printed numbers, against automatic differentiation, and by identities."""

import json
from pathlib import Path

import numpy as np
import pytest

from offchain.risk import black76

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "greeks.json").read_text())["cases"]
ORDERS = {
    "delta": ((0,), 1), "vega": ((2,), 1), "theta": ((1,), -1), "rho": ((3,), 1),
    "gamma": ((0, 0), 1), "vanna": ((0, 2), 1), "volga": ((2, 2), 1), "charm": ((0, 1), -1), "veta": ((2, 1), -1),
    "second_theta": ((1, 1), 1), "vera": ((2, 3), 1), "delta_rho": ((0, 3), 1), "second_rho": ((3, 3), 1),
    "theta_rho": ((1, 3), -1),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['greek']} {case['value']}")
def test_greek__printed_number__to_its_digits(case: dict) -> None:
    found = black76.spot_all_greeks(
        case["spot"], case["strike"], case["years"], case["volatility"], case["call"], case["rate"], case["dividend"]
    )
    assert abs(float(getattr(found, case["greek"])) - case["value"]) <= 0.5001 * 10.0 ** -case["digits"]


def test_first_order__hull__printed() -> None:
    found = black76.spot_all_greeks(49, 50, 0.3846, 0.2, True, 0.05)
    plain = black76.spot_greeks(49, 50, 0.3846, 0.2, True, 0.05)
    for name, value, unit in (("delta", 0.52160, 1e-5), ("gamma", 0.065545, 1e-6), ("vega", 12.10524, 1e-5),
                              ("theta", -4.30539, 1e-5), ("price", 2.40046, 1e-5)):  # fmt: skip
        assert abs(float(getattr(found, name)) - value) < 0.6 * unit
        assert float(getattr(found, name)) == pytest.approx(float(getattr(plain, name)), rel=1e-13)


@pytest.mark.parametrize("spot_model", [True, False])
@pytest.mark.parametrize("call", [True, False])
def test_every_greek__automatic_differentiation__agrees(spot_model: bool, call: bool) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp, norm = jax.numpy, jax.scipy.stats.norm
    sign, strike, dividend = (1.0 if call else -1.0), 100.0, 0.02

    def value(x):
        price, years, volatility, rate = x
        forward = price * jnp.exp((rate - dividend) * years) if spot_model else price
        spread = volatility * jnp.sqrt(years)
        d1 = jnp.log(forward / strike) / spread + spread / 2
        legs = forward * norm.cdf(sign * d1) - strike * norm.cdf(sign * (d1 - spread))
        return jnp.exp(-rate * years) * sign * legs

    for point in ((90.0, 0.7, 0.4, 0.06), (120.0, 0.02, 0.9, 0.0), (101.0, 2.0, 0.15, -0.01)):
        x = jnp.array(point)
        first, second = np.asarray(jax.grad(value)(x)), np.asarray(jax.hessian(value)(x))
        if spot_model:
            found = black76.spot_all_greeks(point[0], strike, point[1], point[2], call, point[3], dividend)
        else:
            found = black76.all_greeks(point[0], strike, point[1], point[2], call, point[3])
        scale = np.abs(second).max()
        for name, (place, side) in ORDERS.items():
            want = side * float(first[place] if len(place) == 1 else second[place])
            assert float(getattr(found, name)) == pytest.approx(want, rel=1e-9, abs=1e-12 * scale), name


def test_second_order__call_and_put__parity() -> None:
    """C - P = e^(-rT)(F - K) is linear in F and without volatility: gamma, vega, vanna, volga and veta are equal."""
    f = np.linspace(50.0, 200.0, 31)
    call, put = (black76.all_greeks(f, 100.0, 0.3, 0.7, side, 0.05) for side in (True, False))
    for name in ("gamma", "vega", "vanna", "volga", "veta"):
        assert np.allclose(getattr(call, name), getattr(put, name), rtol=1e-14, atol=0)
    assert np.allclose(call.charm - put.charm, 0.05 * np.exp(-0.05 * 0.3), rtol=1e-12)


def test_all_greeks__nothing_left__finite() -> None:
    for years, volatility in ((0.0, 0.5), (1.0, 0.0), (0.0, 0.0)):
        found = black76.all_greeks(np.array([0.0, 90.0, 100.0, 110.0]), 100.0, years, volatility, True, 0.03)
        for name in found.__dataclass_fields__:
            assert np.isfinite(getattr(found, name)).all(), name
        assert not found.gamma.any()
        assert not found.vanna.any()
