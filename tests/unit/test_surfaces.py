"""Realised volatility, modelled surfaces and forwards, and scan ranges."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.market.surfaces import CarryParams, SurfaceParams, modelled_carry, modelled_surface
from offchain.market.synthetic import CRASH_DAY, START, synthetic_crash
from offchain.risk import black76
from offchain.risk.policy import INITIAL_SCAN_RANGE, UnderlyingParams, default_policy
from offchain.risk.volatility import (
    ScanModel,
    clip_scan_range,
    decay_per_step,
    ewma_variance,
    log_returns,
    quantile,
    realised_volatility,
    scan_bounds,
    scan_range,
)
from offchain.units import HOUR, MICRO, YEAR

BTC = default_policy().underlyings[0]
DAY = 86_400
SURFACE = SurfaceParams(short=900_000, long=600_000)


def walk(volatility: float, hours: int = 2_000, seed: int = 1) -> np.ndarray:
    """Closing prices with a constant volatility a year."""
    steps = np.random.default_rng(seed).normal(0, volatility * np.sqrt(HOUR / YEAR), hours)
    return 8_000 * np.exp(np.concatenate([[0.0], np.cumsum(steps)]))


# realised volatility
def test_ewma__recursion__as_written() -> None:
    returns = np.array([0.01, -0.02, 0.005, 0.03])
    found = ewma_variance(returns, 0.94)
    expected = [np.mean(returns**2)]
    for r in returns:
        expected.append(0.94 * expected[-1] + 0.06 * r * r)
    assert found == pytest.approx(expected, rel=1e-14)


def test_decay_per_step__a_day_of_steps__the_decay_of_a_day() -> None:
    assert decay_per_step(0.94) ** 24 == pytest.approx(0.94)
    assert decay_per_step(0.94, DAY) == 0.94
    for bad in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            decay_per_step(bad)


def test_realised_volatility__constant_volatility__found_again() -> None:
    for true in (0.3, 0.8):
        assert realised_volatility(walk(true), 0.97) == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize(
    ("closes", "message"),
    [
        ([1.0], "at least two closing prices"),
        ([1.0, 0.0, 2.0], "closing price 0.0 at place 1"),
        ([1.0, 2.0, float("nan")], "closing price nan at place 2"),
        ([[1.0, 2.0]], "at least two closing prices"),
    ],
)
def test_log_returns__bad_prices__refused(closes: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log_returns(closes)


def test_ewma__bad_input__refused() -> None:
    with pytest.raises(ValueError, match="at least one return"):
        ewma_variance([], 0.9)
    with pytest.raises(ValueError, match="all finite"):
        ewma_variance([0.1, float("inf")], 0.9)
    with pytest.raises(ValueError, match="decay 1"):
        ewma_variance([0.1], 1.0)


# surfaces
def test_surface__at_the_money__from_short_to_long() -> None:
    atm = SURFACE.volatilities(BTC.depth, BTC.depth, np.array([0, 7, 30, 90, 365, 3_650]) * DAY)
    assert atm[0] == 900_000
    assert (np.diff(atm) < 0).all()
    assert atm[-1] == pytest.approx(600_000, rel=0.01)


def test_surface__scalar_and_array__the_same_integers() -> None:
    strikes = np.array([4_000, 8_000, 16_000]) * MICRO
    found = SURFACE.volatilities(strikes, 8_000 * MICRO, 30 * DAY)
    assert found.dtype == np.int64
    assert [int(SURFACE.volatilities(int(k), 8_000 * MICRO, 30 * DAY)) for k in strikes] == found.tolist()
    assert SURFACE.volatilities(8_000 * MICRO, 8_000 * MICRO, -5).shape == ()


def test_surface__skew__puts_dearer_and_wings_bounded() -> None:
    strikes = np.array([10, 4_000, 8_000, 12_000, 10**6]) * MICRO
    found = SURFACE.volatilities(strikes, 8_000 * MICRO, 30 * DAY)
    assert found[1] > found[2]
    assert found[1] > found[3]
    assert (found <= 2 * found[2]).all()
    assert (found >= found[2] // 2).all()


@pytest.mark.parametrize("days", [7, 30, 90, 365])
@pytest.mark.parametrize("skew", [-120_000, -40_000, 40_000])
def test_surface__calls_over_strikes__fall_and_bend_up_where_it_is_quoted(days: int, skew: int) -> None:
    """No butterfly has a negative price between a half and one and a half standard deviations more than the clip."""
    surface = replace(SURFACE, skew=skew)
    atm = int(surface.volatilities(8_000 * MICRO, 8_000 * MICRO, days * DAY)) / MICRO
    reach = 2.5 * atm * np.sqrt(max(days, 7) / 365)
    strikes = np.linspace(8_000 * np.exp(-reach), 8_000 * np.exp(reach), 200)
    iv = surface.volatilities(np.round(strikes * MICRO).astype(np.int64), 8_000 * MICRO, days * DAY) / MICRO
    calls = black76.price(8_000.0, strikes, days / 365, iv, True)
    assert (np.diff(calls) < 0).all()
    assert (np.diff(calls, 2) > -1e-2).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"short": 49_999}, "short volatility 49999"),
        ({"long": 10 * MICRO + 1}, "long volatility 10000001"),
        ({"reversion": 0}, "reversion 0"),
        ({"skew": MICRO + 1}, "skew 1000001"),
        ({"curvature": -1}, "curvature -1"),
    ],
)
def test_surface__out_of_range__refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SURFACE, **changes)


def test_surface__strike_or_forward_not_positive__refused() -> None:
    for strike, forward in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="must be positive"):
            SURFACE.volatilities(strike, forward, 5)


def test_modelled_surface__crash__higher_inverted_and_steeper() -> None:
    btc = synthetic_crash(7)[1]
    calm, wild = (modelled_surface(btc.until(t).close) for t in (START, CRASH_DAY + DAY))
    assert wild.short > 2 * calm.short
    assert wild.short > wild.long
    assert wild.skew < calm.skew < 0


def test_carry__forward_and_mark__about_the_index() -> None:
    flat = CarryParams(near=50_000, far=50_000)
    assert flat.forward(8_000 * MICRO, 0) == 8_000 * MICRO
    assert flat.forward(8_000 * MICRO, YEAR) == 8_400 * MICRO
    assert CarryParams(near=0, premium=-1_000).mark(8_000 * MICRO) == 7_992 * MICRO
    assert CarryParams(near=-500_000, far=-500_000).forward(1, 100 * YEAR) == 1
    btc = synthetic_crash(7)[1]
    fall = modelled_carry(btc.until(CRASH_DAY + DAY).close)
    assert fall.near < 0
    assert fall.premium < 0
    assert fall.forward(8_000 * MICRO, 14 * DAY) < 8_000 * MICRO


# scan ranges
def test_quantile__convention__order_statistic() -> None:
    values = np.arange(1, 101, dtype=float)
    assert quantile(values, 0.99) == 99
    assert quantile(values, 0.991) == 100
    assert quantile([5.0], 0.99) == 5
    with pytest.raises(ValueError, match="at least one value"):
        quantile([], 0.99)
    with pytest.raises(ValueError, match="none of them NaN"):
        quantile([1.0, float("nan")], 0.99)


def test_scan_range__normal_returns__normal_quantile_of_a_day() -> None:
    """Two-sided 99 % of a normal is 2.5758 standard deviations; a quarter of the weight is on the stressed level."""
    found = scan_range(walk(0.6, 20_000), 160_000, ScanModel(decay=0.9999))
    assert found == pytest.approx(MICRO * (0.75 * 2.5758 * 0.6 / np.sqrt(365) + 0.25 * 0.16), rel=0.05)
    pure = scan_range(walk(0.6, 20_000), 160_000, ScanModel(decay=0.9999, stress_weight=0.0))
    assert found == pytest.approx(0.75 * pure + 40_000, abs=2)


def test_scan_range__crash__rises_but_less_than_volatility() -> None:
    btc = synthetic_crash(7)[1]
    times = (START, CRASH_DAY + DAY)
    before, after = (scan_range(btc.until(t).close, INITIAL_SCAN_RANGE[1]) for t in times)
    calm, wild = (realised_volatility(btc.until(t).close, 0.97) for t in times)
    assert 80_000 < before < 200_000
    assert before < after < before * wild / calm


def test_scan_range__still_prices__the_stressed_part() -> None:
    assert scan_range(np.full(500, 8_000.0), 160_000) == pytest.approx(40_000, abs=10)


def test_scan_range__bad_input__refused() -> None:
    with pytest.raises(ValueError, match="199 returns are too few"):
        scan_range(walk(0.5, 199), 160_000)
    for changes in ({"confidence": 1.0}, {"confidence": 0.5}, {"stress_weight": 1.1}, {"horizon": 0}):
        with pytest.raises(ValueError, match="out of range"):
            ScanModel(**changes)


listings = st.builds(
    lambda low, more, up, down: replace(BTC, r_min=low, r_max=min(low + more, MICRO - 1), slew_up=up, slew_down=down),
    st.integers(1, 900_000),
    st.integers(0, 900_000),
    st.integers(1, 10 * MICRO),
    st.integers(0, 10 * MICRO),
)


@settings(max_examples=400, deadline=None)
@given(st.integers(1, MICRO - 1), st.integers(0, 10 * MICRO), st.integers(1, 10_000), listings)
def test_clip_scan_range__anything__accepted_by_the_oracle(
    previous: int, target: int, slots: int, listed: UnderlyingParams
) -> None:
    """The four conditions of contracts/RiskOracle.vy, written as there; `previous` may lie outside new bounds."""
    found = clip_scan_range(previous, target, slots, listed)
    rise = previous * listed.slew_up * slots // MICRO
    fall = previous * listed.slew_down * slots // MICRO
    assert listed.r_min <= found <= listed.r_max
    assert found <= max(previous + rise, listed.r_min)
    assert found >= min(previous - min(fall, previous), listed.r_max)
    low, high = scan_bounds(previous, slots, listed)
    assert low <= high
    assert found == min(max(target, low), high)


def test_clip_scan_range__border__one_step_further_is_beyond_the_slew() -> None:
    assert scan_bounds(200_000, 1, BTC) == (198_000, 220_000)
    assert clip_scan_range(200_000, 400_000, 1, BTC) == 220_000
    assert clip_scan_range(200_000, 400_000, 3, BTC) == 260_000
    assert clip_scan_range(200_000, 0, 1, BTC) == 198_000
    assert clip_scan_range(200_000, 210_000, 1, BTC) == 210_000
    assert clip_scan_range(None, 10, 0, BTC) == BTC.r_min
    assert clip_scan_range(None, MICRO, 0, BTC) == BTC.r_max
    with pytest.raises(ValueError, match="0 slots since the last epoch"):
        clip_scan_range(200_000, 200_000, 0, BTC)
