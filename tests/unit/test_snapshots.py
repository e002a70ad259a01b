"""Medians over sources, funding, and the market replayed from candles."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.config import BallastError
from offchain.instruments import Instrument, Kind
from offchain.market.candles import CandleError
from offchain.market.snapshots import MarketError, Reading, accrue_funding, combine, funding_bound, median
from offchain.market.sources import CandleMarket, LastEpoch
from offchain.market.synthetic import CRASH_DAY, START, synthetic_crash
from offchain.units import HOUR, MICRO

NOW = 1_583_971_200
EXPIRY = NOW + 14 * 86_400
BTC = 8_000 * MICRO


def reading(source: str, index: int = BTC, **changes: object) -> Reading:
    base = Reading(source, NOW, 1, index, index + 1_000, {EXPIRY: index + 50_000})
    return replace(base, **changes)


def three() -> list[Reading]:
    return [reading("a", BTC), reading("b", BTC + 5), reading("c", BTC - 7)]


# medians
def test_median__odd_and_even__lower_of_the_middle() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 3, 2]) == 2
    assert median([5]) == 5
    with pytest.raises(ValueError, match="no values"):
        median([])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=9), st.lists(st.integers(-(10**15), 10**15), max_size=8))
def test_median__minority_of_liars__between_the_honest(honest: list[int], liars: list[int]) -> None:
    liars = liars[: len(honest) - 1]
    assert min(honest) <= median(honest + liars) <= max(honest)


def test_combine__three_sources__median_of_each_field() -> None:
    assert combine(three(), 1, [EXPIRY], NOW) == (BTC, BTC + 1_000, {EXPIRY: BTC + 50_000})


def test_combine__one_source_a_thousandfold__moves_nothing_beyond_the_others() -> None:
    """One of two live sources times a thousand cost Synthetix its sKRW market on 25 June 2019."""
    readings = [*three(), reading("d", BTC * 1_000)]
    index, mark, forwards = combine(readings, 1, [EXPIRY], NOW)
    assert BTC - 7 <= index <= BTC + 5
    assert mark <= BTC + 1_005
    assert forwards[EXPIRY] <= BTC + 50_005


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (reading("c", timestamp=NOW - HOUR - 1), r"c: stale \(3601 s\)"),
        (reading("c", timestamp=NOW + 1), r"c: from the future \(1 s\)"),
        (reading("c", index=0), "c: index 0 out of range"),
        (reading("c", index=-5), "c: index -5 out of range"),
        (reading("c", mark=2**48), "c: mark 281474976710656 out of range"),
        (reading("c", mark=BTC * 2 + 1), "c: mark 16000000001 far from index"),
    ],
)
def test_combine__unusable_source__too_few_and_the_reason(bad: Reading, reason: str) -> None:
    with pytest.raises(MarketError, match=f"underlying 1: 2 usable sources of 3 needed .*{reason}") as caught:
        combine([reading("a"), reading("b"), bad], 1, [EXPIRY], NOW)
    assert isinstance(caught.value, BallastError)
    combine([reading("a"), reading("b"), bad, reading("d")], 1, [EXPIRY], NOW)


def test_combine__at_the_border_of_age_and_range__counts() -> None:
    edge = reading("c", timestamp=NOW - HOUR, mark=BTC * 2, forwards={EXPIRY: BTC // 2})
    combine([reading("a"), reading("b"), edge], 1, [EXPIRY], NOW)


def test_combine__no_source_at_all_or_twice__refused() -> None:
    with pytest.raises(MarketError, match="underlying 2: 0 usable sources of 3 needed"):
        combine(three(), 2, [], NOW)
    with pytest.raises(MarketError, match="source a speaks twice"):
        combine([*three(), reading("a")], 1, [], NOW)


@pytest.mark.parametrize("forwards", [{}, {EXPIRY: BTC // 2 - 1}, {EXPIRY: 0}])
def test_combine__forward_from_too_few__left_out_and_the_rest_stands(forwards: dict[int, int]) -> None:
    readings = [reading("a"), reading("b"), reading("c", forwards=forwards)]
    assert combine(readings, 1, [EXPIRY], NOW) == combine(readings, 1, [], NOW)
    assert set(combine([*readings, reading("d")], 1, [EXPIRY], NOW)[2]) == {EXPIRY}


def test_combine__forwards_from_another_camp_than_the_index__left_out() -> None:
    """Each source is consistent in itself, but only those with a high index know the forward."""
    low = [reading(name, 4 * MICRO, mark=4 * MICRO, forwards={}) for name in "abcd"]
    high = [reading(name, 9 * MICRO, mark=9 * MICRO, forwards={EXPIRY: 9 * MICRO}) for name in "efg"]
    assert combine([*low, *high], 1, [EXPIRY], NOW) == (4 * MICRO, 4 * MICRO, {})


# funding
def test_funding__premium__an_eighth_an_hour_within_the_bound() -> None:
    assert accrue_funding(100, BTC, BTC, BTC + 8 * MICRO, HOUR, 1_000) == 100 + 1_000
    assert accrue_funding(100, BTC, BTC, BTC - 8 * MICRO, HOUR, 1_000) == 100 - 1_000
    assert accrue_funding(100, BTC, BTC, BTC, HOUR, 1_000) == 100
    assert accrue_funding(0, BTC, BTC, BTC + 10**9, HOUR, 1_000) == funding_bound(BTC, HOUR, 1_000) == 4_000
    assert accrue_funding(7, BTC, BTC, BTC + 10**9, 0, 1_000) == 7
    with pytest.raises(ValueError, match="cannot accrue over -1 s"):
        accrue_funding(0, BTC, BTC, BTC, -1, 1_000)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-(10**12), 10**12),
    st.integers(1, 2**48),
    st.integers(1, 2**48),
    st.integers(1, 2**48),
    st.integers(0, 10**7),
    st.integers(1, 10**6),
)
def test_funding__anything__within_the_contracts_bound(
    before: int, last: int, index: int, mark: int, elapsed: int, lots: int
) -> None:
    """`abs(F' - F) <= floor(index * 500 * dt / (1e6 * 3600 * lots_per_unit))`, as contracts/RiskOracle.vy writes it."""
    moved = accrue_funding(before, last, index, mark, elapsed, lots) - before
    assert abs(moved) <= last * 500 * elapsed // (1_000_000 * 3_600 * lots)
    assert moved * (mark - index) >= 0


# the replayed market
@pytest.fixture(scope="module")
def market() -> CandleMarket:
    return CandleMarket(synthetic_crash(3), seed=11)


EXPIRIES = {1: [START + 20 * 86_400], 2: [START + 20 * 86_400, START + 110 * 86_400]}
SCAN, LOTS = {1: 160_000, 2: 180_000}, {1: 1_000, 2: 100}


def test_candle_market__readings__near_the_last_close_and_repeatable(market: CandleMarket) -> None:
    readings = market.readings(CRASH_DAY, EXPIRIES)
    assert readings == market.readings(CRASH_DAY, EXPIRIES)
    assert len(readings) == 10
    for each in readings:
        close = market.closes(each.underlying, CRASH_DAY)[-1]
        assert abs(each.index / MICRO / close - 1) <= 0.0003
        assert set(each.forwards) == set(EXPIRIES[each.underlying])
    assert len({each.index for each in readings if each.underlying == 1}) == 5


def test_candle_market__future__is_not_known(market: CandleMarket) -> None:
    candles = synthetic_crash(3)
    cut = {number: each.until(CRASH_DAY) for number, each in candles.items()}
    assert CandleMarket(cut, seed=11).readings(CRASH_DAY, EXPIRIES) == market.readings(CRASH_DAY, EXPIRIES)
    with pytest.raises(CandleError, match="no candle closed within 3600 s before"):
        CandleMarket(cut).closes(1, CRASH_DAY + HOUR)


def test_candle_market__bad_input__refused(market: CandleMarket) -> None:
    with pytest.raises(CandleError, match="no candles: give"):
        CandleMarket({})
    with pytest.raises(CandleError, match="no candles of underlying 9"):
        market.closes(9, CRASH_DAY)


def test_snapshot__through_the_crash__inputs_of_every_instrument(market: CandleMarket) -> None:
    listed = [
        Instrument(1, Kind.PERPETUAL),
        Instrument(1, Kind.FUTURE, EXPIRIES[1][0]),
        *[Instrument(2, kind, EXPIRIES[2][1], k * MICRO) for kind in (Kind.CALL, Kind.PUT) for k in (100, 200)],
        Instrument(2, Kind.TOKEN),
    ]
    last = None
    for hour in range(1, 73):
        now = START + hour * HOUR
        found = market.snapshot(now, EXPIRIES, SCAN, LOTS, last)
        inputs = found.inputs(listed)
        assert inputs[listed[0].id] == (found.underlyings[1].mark, 0)
        assert inputs[listed[1].id] == (found.underlyings[1].forwards[EXPIRIES[1][0]], 0)
        assert inputs[listed[-1].id] == (found.index[2], 0)
        for option in listed[2:-1]:
            forward, volatility = inputs[option.id]
            assert forward == found.underlyings[2].forwards[EXPIRIES[2][1]]
            assert 100_000 < volatility < 6 * MICRO
        assert found.scan_range == SCAN
        if last is None:
            assert found.funding == {1: 0, 2: 0}
        else:
            for number, moved in found.funding.items():
                bound = funding_bound(last.index[number], HOUR, LOTS[number])
                assert abs(moved - last.funding[number]) <= bound
        last = LastEpoch(now, found.index, found.funding)
    assert any(found.funding.values())


def test_snapshot__unknown_underlying__refused__unknown_expiry__left_out(market: CandleMarket) -> None:
    found = market.snapshot(CRASH_DAY, EXPIRIES, SCAN, LOTS)
    with pytest.raises(MarketError, match="U7-PERP: the snapshot has no underlying 7"):
        found.inputs([Instrument(7, Kind.PERPETUAL)])
    assert found.inputs([Instrument(1, Kind.FUTURE, CRASH_DAY + 1)]) == {}
    expired = Instrument(1, Kind.FUTURE, CRASH_DAY)
    assert found.inputs([expired])[expired.id] == (found.index[1], 0)


def test_snapshot__too_few_sources__market_error() -> None:
    few = CandleMarket(synthetic_crash(3), sources=("a", "b"))
    with pytest.raises(MarketError, match="2 usable sources of 3 needed"):
        few.snapshot(CRASH_DAY, EXPIRIES, SCAN, LOTS)
    assert few.snapshot(CRASH_DAY, EXPIRIES, SCAN, LOTS, minimum=2).index[1] > 0
    assert np.isfinite(few.closes(1, CRASH_DAY)).all()
