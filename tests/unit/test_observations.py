"""Observations: signed integers of one slot, medians of a quorum, and the contract's bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from council import BTC, CALL, ETH, LISTED, PERP_BTC, PRICE, START, committee, market, secrets

from offchain.config import BallastError
from offchain.instruments import Instrument
from offchain.market.candles import Candles
from offchain.market.snapshots import MarketError, Snapshot, UnderlyingSnapshot
from offchain.market.sources import CandleMarket
from offchain.market.surfaces import SurfaceParams
from offchain.oracle.book import Book
from offchain.oracle.headers import Mark
from offchain.oracle.observations import (
    Last,
    Observation,
    ObservationError,
    Quote,
    Slot,
    Tolerance,
    TooFewSources,
    bounded,
    medians,
    sign_observation,
    too_far,
    verify_observation,
)
from offchain.oracle.reader import State
from offchain.oracle.sources import ReplaySource, ScanRanges
from offchain.risk.policy import default_policy
from offchain.units import HOUR, MICRO

SLOT = Slot(31337, "0x" + "12" * 20, 1, START // HOUR, START, 100, b"\x07" * 32)
POLICY = default_policy()


def test_body__round_trip__exact() -> None:
    observation = market()
    body = observation.body(SLOT)
    assert Observation.of(body, SLOT) == observation
    assert body["underlyings"]["1"] == [PRICE[BTC], 0, 160_000]
    assert body["instruments"][f"0x{CALL:026x}"] == [PRICE[BTC], 800_000]


def changed(**changes: Any) -> dict[str, Any]:
    return market().body(SLOT) | changes


@pytest.mark.parametrize(
    "body",
    [
        {},
        changed(epoch=SLOT.epoch + 1),
        changed(timestamp=SLOT.timestamp + 1),
        changed(snapshot_block=99),
        changed(snapshot_hash="0x" + "08" * 32),
        changed(more=1),
        changed(underlyings={"01": [1, 0, 1]}),
        changed(underlyings={"1": [1, 0]}),
        changed(underlyings={"1": [1.0, 0, 1]}),
        changed(underlyings={"1": [True, 0, 1]}),
        changed(underlyings=[]),
        changed(instruments={f"0x{CALL:026X}": [1, 1]}),
        changed(instruments={hex(PERP_BTC): [1, 0]}),
        changed(instruments={f"0x{CALL:026x}": [1, 1, 1]}),
        changed(underlyings={"1": [0, 0, 1]}),
        changed(underlyings={"1": [1, 0, MICRO]}),
        changed(underlyings={"1": [1, 1 << 63, 1]}),
        changed(instruments={f"0x{CALL:026x}": [0, 1]}),
        changed(instruments={f"0x{CALL:026x}": [1, -1]}),
        changed(instruments={f"0x{CALL:026x}": [1, 1 << 32]}),
    ],
)
def test_body__malformed_other_slot_or_out_of_range__refused(body: dict[str, Any]) -> None:
    with pytest.raises(ObservationError):
        Observation.of(body, SLOT)


def test_signature__its_own_slot_and_member__verified_nothing_else() -> None:
    keys = committee().keys
    signed = sign_observation(secrets()[2], 2, SLOT, market().body(SLOT))
    assert verify_observation(signed, SLOT, keys[2]) == market()
    with pytest.raises(ObservationError, match="not its own"):
        verify_observation(signed, SLOT, keys[1])
    for other in ({"chain_id": 1}, {"oracle": "0x" + "13" * 20}, {"committee_set": 2}):
        with pytest.raises(ObservationError, match="not its own"):
            verify_observation(signed, replace(SLOT, **other), keys[2])
    with pytest.raises(ObservationError, match="signature has 128 bytes"):
        verify_observation(replace(signed, signature=signed.signature[:-1]), SLOT, keys[2])
    with pytest.raises(ObservationError, match="another slot"):
        verify_observation(signed, replace(SLOT, epoch=SLOT.epoch + 1), keys[2])


def test_medians__each_field_by_itself__lower_of_the_middle() -> None:
    seen = [
        Observation({BTC: Quote(i, 10 * f, r), ETH: Quote(5, 0, 7)}, {CALL: (i, v)})
        for i, f, r, v in ((1, -4, 30, 9), (2, 3, 10, 8), (3, 1, 20, 1), (4, 2, 40, 2))
    ]
    middle = medians(seen, [CALL], POLICY, 3)
    assert middle.underlyings == {BTC: Quote(2, 10, 20), ETH: Quote(5, 0, 7)}
    assert middle.instruments == {CALL: (2, 2)}
    assert medians(seen[:3], [CALL], POLICY, 3).underlyings[BTC] == Quote(2, 10, 20)


@pytest.mark.parametrize("false", [1, 10**12])
@pytest.mark.parametrize("count", [3, 4, 7, 19])
def test_medians__a_minority_lies__stays_among_the_honest(count: int, false: int) -> None:
    liars = (count - 1) // 3
    honest = [market(factor=MICRO + 100 * k) for k in range(count - liars)]
    lies = [
        replace(market(), underlyings={u: replace(q, index=false) for u, q in market().underlyings.items()})
    ] * liars
    found = medians([*lies, *honest], LISTED, POLICY, 3).underlyings[BTC].index
    assert honest[0].underlyings[BTC].index <= found <= honest[-1].underlyings[BTC].index


def test_medians__too_few_of_one_field__named() -> None:
    full = market()
    partial = Observation(full.underlyings, {k: v for k, v in full.instruments.items() if k != CALL})
    assert medians([full, full, full, partial], LISTED, POLICY, 3)
    assert set(medians([full, full, partial, partial], LISTED, POLICY, 3).instruments) == {*LISTED} - {CALL}
    blind = Observation({BTC: full.underlyings[BTC]}, full.instruments)
    with pytest.raises(TooFewSources, match="underlying 2: 1 of 3"):
        medians([full, blind, blind], LISTED, POLICY, 3)


def test_bounded__first_epoch__policy_bounds_and_funding_zero() -> None:
    found = bounded(market(scan_range=1, funding=55), SLOT, None, POLICY)
    assert found.underlyings[BTC] == Quote(PRICE[BTC], 0, 80_000)
    found = bounded(market(scan_range=999_999), SLOT, None, POLICY)
    assert found.underlyings[ETH].scan_range == 400_000


@pytest.mark.parametrize(
    ("before", "slots", "wanted", "expected"),
    [
        (160_000, 1, 200_000, 176_000),
        (160_000, 1, 100_000, 158_400),
        (160_000, 2, 200_000, 192_000),
        (160_000, 1, 160_500, 160_500),
        (160_000, 1_000, 999_999, 400_000),
        (160_000, 1_000, 1, 80_000),
        (400_000, 1, 500_000, 400_000),
        (80_000, 1, 1, 80_000),
        (50_000, 1, 50_000, 80_000),  # the policy's floor rose above the last range
        (500_000, 1, 500_000, 400_000),
    ],
)
def test_bounded__scan_range__slew_then_policy(before: int, slots: int, wanted: int, expected: int) -> None:
    last = Last(SLOT.epoch - slots, SLOT.timestamp - slots * HOUR, {BTC: Mark(BTC, PRICE[BTC], 0, before)})
    found = bounded(market(scan_range=wanted), SLOT, last, POLICY)
    assert found.underlyings[BTC].scan_range == expected


@pytest.mark.parametrize(("wanted", "expected"), [(10**9, 105_000), (-(10**9), 95_000), (100_001, 100_001)])
def test_bounded__funding__five_basis_points_an_hour(wanted: int, expected: int) -> None:
    # 10,000 USD a coin, 1,000 lots a coin: 0.05 % of a lot is 5,000 micro-USD.
    last = Last(SLOT.epoch - 1, SLOT.timestamp - HOUR, {BTC: Mark(BTC, PRICE[BTC], 100_000, 160_000)})
    found = bounded(market(funding=wanted), SLOT, last, POLICY)
    assert found.underlyings[BTC].funding == expected
    assert found.underlyings[ETH].funding == 0  # no earlier mark


@pytest.mark.parametrize(
    ("field", "inside", "outside"),
    [
        ("index", PRICE[BTC] * 101 // 100, PRICE[BTC] * 101 // 100 + 1),
        ("funding", 100_000, 100_001),
        ("scan_range", 176_000, 176_001),
    ],
)
def test_too_far__tolerance__to_the_unit(field: str, inside: int, outside: int) -> None:
    def own(value: int) -> Observation:
        quotes = dict(market().underlyings)
        return Observation(quotes | {BTC: replace(quotes[BTC], **{field: value})}, market().instruments)

    assert too_far(own(inside), market(), Tolerance(), POLICY) is None
    reason = too_far(own(outside), market(), Tolerance(), POLICY)
    assert reason is not None
    assert str(outside) in reason


def test_too_far__instrument__to_the_unit() -> None:
    def own(forward: int, volatility: int) -> Observation:
        return Observation(market().underlyings, dict(market().instruments) | {CALL: (forward, volatility)})

    edge = PRICE[BTC] * 102 // 100
    assert too_far(own(edge, 920_000), market(), Tolerance(), POLICY) is None
    assert "forward" in str(too_far(own(edge + 1, 800_000), market(), Tolerance(), POLICY))
    assert "volatility" in str(too_far(own(PRICE[BTC], 920_001), market(), Tolerance(), POLICY))
    # What a member did not see it does not judge.
    assert too_far(Observation({}, {}), market(), Tolerance(), POLICY) is None


def test_of_snapshot__every_field() -> None:
    surface = SurfaceParams(short=800_000, long=800_000, skew=0, curvature=0)
    expiry = Instrument.from_id(CALL).expiry
    sides = {
        u: UnderlyingSnapshot(PRICE[u], PRICE[u] + 5, -3, 170_000, {expiry: PRICE[u] + 9}, surface) for u in (BTC, ETH)
    }
    found = Observation.of_snapshot(Snapshot(START, sides), LISTED)
    assert found.underlyings[BTC] == Quote(PRICE[BTC], -3, 170_000)
    assert found.instruments[PERP_BTC] == (PRICE[BTC] + 5, 0)
    assert found.instruments[CALL][0] == PRICE[BTC] + 9
    assert sorted(found.instruments) == LISTED
    with pytest.raises(MarketError, match="no underlying 2"):
        Observation.of_snapshot(Snapshot(START, {BTC: sides[BTC]}), LISTED)


def candle_market(hours: int = 400) -> CandleMarket:
    """Prices that swing by 2 % an hour, by a third in the last hundred, and end at half."""
    files = {}
    for underlying, price in PRICE.items():
        swing = np.where(np.arange(hours) % 2, 1.0, 1.02)
        swing[-100::2] = 1.5
        swing[-1] = 0.5
        close = price / MICRO * swing
        times = np.arange(START - hours * HOUR, START, HOUR, dtype=np.int64)
        files[underlying] = Candles("made", HOUR, times, close, close, close, close, close, synthetic=True)
    return CandleMarket(files)


def test_replay_source__every_instrument__signable_and_deterministic() -> None:
    feed = candle_market()
    source = ReplaySource(feed, ScanRanges(feed))
    state = State(100, bytes(32), Book(), POLICY, tuple(LISTED), None)
    seen = source.observe(SLOT, state, LISTED)
    seen.check()
    assert Observation.of(seen.body(SLOT), SLOT) == seen
    assert sorted(seen.instruments) == LISTED
    assert abs(seen.underlyings[BTC].index - PRICE[BTC] // 2) < PRICE[BTC] // 1000
    # Volatility asks for more than the policy allows; that is observed at the bound, and no reason to abstain.
    assert ScanRanges(feed).at(BTC, START) > 400_000
    assert seen.underlyings[BTC].scan_range == 400_000
    assert source.observe(SLOT, state, LISTED) == seen


def test_replay_source__funding__accrues_from_the_last_mark() -> None:
    feed = candle_market()
    source = ReplaySource(feed, ScanRanges(feed))
    last = Last(SLOT.epoch - 1, START - HOUR, {u: Mark(u, PRICE[u], 1_000, 160_000) for u in PRICE})
    seen = source.observe(SLOT, State(100, bytes(32), Book(), POLICY, tuple(LISTED), last), LISTED)
    assert 0 < abs(seen.underlyings[BTC].funding - 1_000) <= 5_000
    assert bounded(seen, SLOT, last, POLICY).underlyings[BTC].funding == seen.underlyings[BTC].funding


def test_replay_source__too_few_sources_or_no_candle__abstains() -> None:
    feed = candle_market()
    state = State(100, bytes(32), Book(), POLICY, tuple(LISTED), None)
    with pytest.raises(MarketError, match="5 usable sources of 6 needed"):
        ReplaySource(feed, ScanRanges(feed), minimum=6).observe(SLOT, state, LISTED)
    late = replace(SLOT, timestamp=START + 3 * HOUR, epoch=SLOT.epoch + 3)
    with pytest.raises(BallastError, match="no candle closed"):
        ReplaySource(feed, ScanRanges(feed)).observe(late, state, LISTED)
