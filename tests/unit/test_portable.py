"""The arithmetic behind risk arrays: against the C library, and one engine against the other, bit for bit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.instruments import Instrument, Kind
from offchain.risk import arrays, black76, portable
from offchain.risk.policy import INITIAL_SCAN_RANGE, default_policy

POLICY = default_policy()
NOW = 1_583_971_200


def test_log__known_numbers__within_two_ulps() -> None:
    x = np.concatenate([np.geomspace(1e-300, 1e300, 20_001), 1.0 + np.linspace(-0.3, 0.42, 5_001), [1.0, 2.0, 0.5]])
    expected = np.array([math.log(v) for v in x])
    assert (np.abs(portable.log(x) - expected) <= 2.0 * np.spacing(np.abs(expected))).all()
    assert portable.log(np.array([1.0]))[0] == 0.0


def test_exp_minus__known_numbers__to_eight_ulps() -> None:
    u = np.concatenate([np.linspace(0.0, 50.0, 20_001), np.linspace(50.0, 700.0, 5_001)])
    expected = np.array([math.exp(-v) for v in u])
    assert (np.abs(portable.exp_minus(u) / expected - 1.0) < 2e-15).all()
    assert portable.exp_minus(np.array([0.0]))[0] == 1.0


def test_tail__normal_distribution__to_3e_16() -> None:
    y = np.linspace(0.0, 9.0, 30_001)
    found = portable.tail(y) * portable.exp_minus(0.5 * y * y)
    expected = np.array([0.5 * math.erfc(v / math.sqrt(2.0)) for v in y])
    assert np.abs(found - expected).max() < 3e-16


@pytest.mark.parametrize(
    ("y", "value"),  # REFERENCE: printed digits of the normal distribution
    [(8.0, 6.2209605742717841e-16), (5.0, 2.8665157187919391e-7), (1.0, 0.15865525393145705)],
)
def test_tail__published_digits__reproduced(y: float, value: float) -> None:
    at = np.array([y])
    assert portable.tail(at)[0] * portable.exp_minus(0.5 * at * at)[0] == pytest.approx(value, rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    st.floats(1e-3, 1e8),
    st.floats(0.01, 100.0),
    st.floats(0.0, 20.0),
    st.floats(0.0, 50.0),
    st.sampled_from([1.0, -1.0]),
)
def test_price__any_option__that_of_black76_to_1e_15(
    forward: float, ratio: float, years: float, volatility: float, sign: float
) -> None:
    f, k = np.array([[forward]]), np.array([[forward * ratio]])
    found = portable.price(f, k, np.sqrt([[years]]), np.array([[volatility]]), np.array([[sign]]))[0, 0]
    expected = float(black76.price(f, k, years, volatility, sign > 0)[0, 0])
    assert abs(found - expected) <= 1e-15 * (forward + k[0, 0])
    assert found >= max(sign * (f[0, 0] - k[0, 0]), 0.0)


def market(rng: np.random.Generator, count: int) -> tuple:
    kinds = rng.choice(
        [Kind.PERPETUAL, Kind.FUTURE, Kind.CALL, Kind.PUT, Kind.TOKEN], size=count, p=[0.1] * 2 + [0.35] * 2 + [0.1]
    )
    underlying = rng.integers(1, 3, size=count)
    index = {1: 7_500_000_000, 2: 190_000_000}
    instruments, forwards, ivs = [], [], []
    for kind, u in zip(map(Kind, kinds.tolist()), underlying.tolist(), strict=True):
        expiry = (
            int(NOW + rng.choice([-86_400, 0, 1, 3_600, 86_400, 30 * 86_400, 3 * 365 * 86_400])) if kind.is_dated else 0
        )
        forwards.append(int(index[u] * rng.uniform(0.3, 3.0)))
        strike = (
            int(index[u] * math.exp(rng.normal()))
            if kind.is_option
            else int(rng.integers(0, 9))
            if kind is Kind.TOKEN
            else 0
        )
        ivs.append(int(10 ** rng.uniform(0, 7)) if kind.is_option else 0)
        instruments.append(Instrument(u, kind, expiry, strike))
    scan = {u: int(r * rng.uniform(0.5, 2.0)) for u, r in INITIAL_SCAN_RANGE.items()}
    return instruments, forwards, ivs, index, {1: 12_345, 2: -54_321}, scan, NOW, POLICY


@pytest.mark.parametrize("seed", range(8))
def test_values__any_market__both_engines_give_the_same_bits(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = market(np.random.default_rng(seed), 120)
    columns, grid = arrays._columns(*inputs), arrays.Grid.of(POLICY)
    found = []
    for start in (0, 2**62):
        monkeypatch.setattr(arrays, "COMPILE_FROM", start)
        found.append(arrays._values(columns, grid))
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("seed", range(4))
def test_risk_arrays__library_functions_in_their_place__the_same_integers(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal but where the value is nearer than 1e-7 of a unit to the middle between two integers: there none at all."""
    inputs = market(np.random.default_rng(100 + seed), 400)
    found = arrays.risk_arrays(*inputs)
    monkeypatch.setattr(arrays, "COMPILE_FROM", 2**62)
    monkeypatch.setattr(portable, "price", lambda f, k, root, v, sign: black76.price(f, k, root * root, v, sign > 0))
    assert (arrays.risk_arrays(*inputs) == found).all()


def test_risk_arrays__one_instrument_or_many__the_same_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """An auditor who recomputes one leaf gets what the committee got for all."""
    monkeypatch.setattr(arrays, "COMPILE_FROM", 1_000)
    instruments, forwards, ivs, *rest = market(np.random.default_rng(9), 200)
    whole = arrays.risk_arrays(instruments, forwards, ivs, *rest)
    for place in range(0, 200, 7):
        alone = arrays.risk_arrays(
            instruments[place : place + 1], forwards[place : place + 1], ivs[place : place + 1], *rest
        )
        assert (alone[0] == whole[place]).all()
