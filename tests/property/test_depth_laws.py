"""Laws of market impact: monotone, indifferent to splitting, no round trip that gains, recovery."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.config import BallastError
from offchain.simulation.depth import (
    MOST_LOG,
    Depth,
    Markets,
    Pressure,
    factor,
    lots_to_move,
    recovered,
    traded,
)

BOOK = Depth(volume=1_000_000.0)
depths = st.builds(
    Depth,
    volume=st.floats(1e3, 1e8),
    volatility=st.floats(0.005, 0.2),
    permanent=st.floats(0.0, 1.0),
    temporary=st.floats(0.0, 2.0),
    half_life=st.floats(1.0, 1e5),
    half_spread=st.floats(0.0, 0.01),
)
sizes = st.integers(-1_000, 1_000)
pressures = st.builds(Pressure, st.just(0.0), st.floats(-1e3, 1e3), st.floats(-0.1, 0.1))


@given(depths, pressures, sizes, sizes)
def test_impact__larger_trade__moves_further(depth: Depth, start: Pressure, one: int, two: int) -> None:
    less, more = sorted((one, two))
    assert traded(depth, start, less)[1].after <= traded(depth, start, more)[1].after


@given(depths, pressures, sizes)
def test_average__between_the_prices_before_and_after(depth: Depth, start: Pressure, lots: int) -> None:
    _, fill = traded(depth, start, lots)
    low, high = sorted((fill.before, fill.after))
    spread = depth.half_spread + 1e-9
    assert low * (1 - spread) <= fill.average <= high * (1 + spread)


@given(depths, pressures, st.integers(1, 1_000), st.integers(1, 1_000), st.sampled_from([1, -1]))
def test_split__same_price_after_and_same_mean(depth: Depth, start: Pressure, a: int, b: int, side: int) -> None:
    whole, fill = traded(depth, start, side * (a + b))
    middle, first = traded(depth, start, side * a)
    parts, second = traded(depth, middle, side * b)
    assert math.isclose(whole.active, parts.active, abs_tol=1e-6)
    assert math.isclose(whole.lasting, parts.lasting, abs_tol=1e-12)
    mean = (a * math.log(first.average) + b * math.log(second.average)) / (a + b)
    assert math.isclose(math.log(fill.average), mean, abs_tol=1e-9)


@given(depths, st.lists(st.tuples(st.integers(-500, 500), st.floats(0.0, 10_000.0)), min_size=1, max_size=8))
def test_round_trip__never_gains(depth: Depth, trades: list[tuple[int, float]]) -> None:
    """Sum of lots times log price paid, to first order what a round trip costs, is never negative."""
    pressure, time, cost, held = Pressure(), 0.0, 0.0, 0
    for lots, wait in [*trades, (-sum(lots for lots, _ in trades), 0.0)]:
        time += wait
        pressure = recovered(depth, pressure, time)
        pressure, fill = traded(depth, pressure, lots)
        cost += lots * math.log(fill.average)
        held += lots
    assert held == 0
    assert cost >= -1e-9 * sum(abs(lots) for lots, _ in trades) - 1e-9


@given(depths, pressures, st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_recovery__towards_the_lasting_part__in_any_steps(depth: Depth, start: Pressure, a: float, b: float) -> None:
    once = recovered(depth, start, a + b)
    twice = recovered(depth, recovered(depth, start, a), a + b)
    assert math.isclose(once.active, twice.active, rel_tol=1e-6, abs_tol=1e-9)
    assert abs(once.active) <= abs(start.active)
    assert once.lasting == start.lasting
    assert math.isclose(recovered(depth, start, depth.half_life).active, start.active / 2)


@given(depths, st.floats(0.01, 1.0), st.integers(1, 1_000))
def test_less_depth__more_impact(depth: Depth, share: float, lots: int) -> None:
    assert traded(depth.scaled(share), Pressure(), lots)[1].after >= traded(depth, Pressure(), lots)[1].after


@given(depths, st.floats(-0.3, 0.3))
def test_lots_to_move__move_what_they_say(depth: Depth, move: float) -> None:
    lots = lots_to_move(depth, move)
    if not 1 <= abs(lots) <= 1e12:
        return
    after = traded(depth, Pressure(), round(lots))[1].after
    assert math.isclose(after, 1 + move, rel_tol=1.0 / abs(lots) + 1e-9)


def test_figures__a_tenth_of_a_days_volume__as_the_sources_say() -> None:
    """At 4 % a day: permanent 0.314 * 4 % * 0.1 = 13 bp, temporary 4 % * sqrt(0.1) = 126 bp."""
    _, fill = traded(BOOK, Pressure(), 100_000)
    assert math.log(fill.after) == pytest.approx(0.001256 + 0.012649, abs=1e-6)
    rested = recovered(BOOK, traded(BOOK, Pressure(), 100_000)[0], 1e6)
    assert math.log(factor(BOOK, rested)) == pytest.approx(0.001256, abs=1e-6)


def test_empty_book__a_trade__moves_far_but_the_price_stays_a_price() -> None:
    _, fill = traded(BOOK.scaled(0.0), Pressure(), -(10**9))
    assert fill.after == pytest.approx(math.exp(-MOST_LOG))
    assert fill.price(100_000_000) > 0


def test_markets__trade_and_wait__price_falls_and_comes_back_in_part() -> None:
    markets = Markets({1: BOOK})
    fill = markets.trade(1, -100_000, 60)
    assert fill.impact == pytest.approx(-13_808, abs=1)
    fallen = markets.price(1, 10**10, 60)
    later = markets.price(1, 10**10, 660)
    assert fallen < later < markets.price(1, 10**10, 10**6) < 10**10
    markets.shares[1] = 0.1
    assert markets.trade(1, -100_000, 10**6).impact < fill.impact
    with pytest.raises(BallastError, match="underlying 2 has no market depth"):
        markets.price(2, 1, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"volume": 0}, "volume 0"), ({"half_life": -1}, "half_life -1"), ({"volatility": -0.1}, "volatility -0.1"),
     ({"half_spread": 1.0}, "below 1")],
)  # fmt: skip
def test_depth__impossible__refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(BallastError, match=message):
        Depth(**{"volume": 1.0, **changes})
