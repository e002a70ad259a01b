"""The committee states a settlement price for what expired while somebody holds it, the same one in every epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aftermath import CALL as DESK_CALL
from audited import Audited
from council import BTC, CALL, ETH, EXPIRY, FUTURE, MEMBERS, PUT, Council
from desk import BTC_PERP
from desk import EXPIRY as DESK_EXPIRY

from offchain.audit.verify import verify
from offchain.config import BallastError
from offchain.market.sources import SETTLEMENT_WINDOW, CandleMarket
from offchain.market.synthetic import START, synthetic_crash
from offchain.oracle.epochs import Epoch
from offchain.oracle.headers import pack_settlement
from offchain.oracle.observations import Observation, ObservationError
from offchain.oracle.sources import ReplaySource, ScanRanges
from offchain.units import HOUR, MICRO

PRICE = 10_123 * MICRO


def posted(council: Council) -> Epoch:
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.epoch is not None
    return outcome.epoch


@pytest.fixture
def expired(tmp_path: Path) -> Council:
    """CALL is held over its expiry, nobody holds FUTURE or PUT, and members know the price, a little apart."""
    council = Council.seat(tmp_path)
    council.move(*council.accounts, CALL, 5)
    posted(council)
    council.time = EXPIRY
    for number, source in enumerate(council.sources):
        source.settled = {(BTC, EXPIRY): PRICE + number * 1_000, (ETH, EXPIRY): 200 * MICRO}
    return council


def test_settlement__held_over_expiry__median_stated__the_same_until_nobody_holds_it(expired: Council) -> None:
    epoch = posted(expired)
    assert [leaf.id for leaf in epoch.leaves if leaf.id in (CALL, FUTURE, PUT)] == [CALL]
    word = pack_settlement(BTC, EXPIRY, PRICE + 1_000)  # the lower of the middle two
    assert epoch.settlements == (word,)
    assert Epoch.from_bundle(epoch.header, epoch.bundle).settlements == (word,)
    for source in expired.sources:  # another quorum would have another median
        source.settled = {(BTC, EXPIRY): PRICE + 9_000}
    assert posted(expired).settlements == (word,)
    expired.move(*expired.accounts[::-1], CALL, 5)
    assert posted(expired).settlements == ()


def test_settlement__too_few_know_it__stated_when_a_quorum_does(expired: Council) -> None:
    known = expired.sources[0].settled
    for source in expired.sources[:2]:
        source.settled = {}
    assert posted(expired).settlements == ()
    expired.sources[1].settled = known
    assert posted(expired).settlements == (pack_settlement(BTC, EXPIRY, PRICE + 2_000),)


def test_settlement__far_from_what_a_member_saw__no_signature_of_his(expired: Council) -> None:
    expired.sources[0].settled = {(BTC, EXPIRY): PRICE * 102 // 100}
    outcome = expired.run()
    assert outcome.posted, outcome.reason
    assert outcome.mask == 0b1110
    for source in expired.sources[1:3]:
        source.settled = {(BTC, EXPIRY): PRICE * 104 // 100}
    outcome = expired.run()
    assert "no quorum" in outcome.reason


def test_settlement__a_leader_who_states_another__gets_no_signature(expired: Council) -> None:
    def shifted(self: Observation) -> tuple[int, ...]:
        return tuple(pack_settlement(*key, price + 1) for key, price in self.settlements.items())

    expired.tick()
    leader = expired.leader
    slot = expired.slot()
    observed = leader._collect(slot)
    with mock.patch.object(Observation, "settlement_words", property(shifted)):
        false = leader._build(slot, observed)
    from offchain.oracle.committee import Proposal, Refused

    proposal = Proposal(slot.epoch % MEMBERS, false.header, false.bundle)
    with pytest.raises(Refused, match="settlement prices are not the medians"):
        expired.member(1).review(proposal)


@pytest.mark.parametrize("stated", [{"1": 5}, {"1:x": 5}, {"1:5": "7"}, {"1:5": 0}, {"1:5": 2**48}, {"01:5": 7}, {}])
def test_observation__malformed_settlements__refused(expired: Council, stated: dict[str, Any]) -> None:
    slot = expired.slot()
    body = Observation({}, {}, settlements={(BTC, EXPIRY): PRICE}).body(slot)
    assert Observation.of(body, slot).settlements == {(BTC, EXPIRY): PRICE}
    with pytest.raises(ObservationError):
        Observation.of({**body, "settlements": stated}, slot)


def test_candle_market__settlement__average_of_the_window_known_then() -> None:
    candles = synthetic_crash(3)
    market = CandleMarket(candles)
    expiry = START + 12 * HOUR
    assert SETTLEMENT_WINDOW < HOUR  # of hourly candles the window holds the last close alone
    known = candles[BTC].until(expiry)
    assert market.settlement(BTC, expiry) == round(float(known.close[-1]) * MICRO)
    fine = {
        n: replace(c, timestamps=START + (c.timestamps - c.timestamps[0]) // HOUR * 60, step=60)
        for n, c in candles.items()
    }
    minutes = CandleMarket(fine)
    at = START + 90 * 60
    assert minutes.settlement(BTC, at) == round(float(fine[BTC].until(at).close[-30:].mean()) * MICRO)
    with pytest.raises(BallastError):
        market.settlement(BTC, START + 10_000 * HOUR)


def test_audit__settlement_prices__computed_again() -> None:
    desk = Audited.open([BTC_PERP, DESK_CALL])
    one, two = desk.fund(desk.keys[1], 10**5), desk.fund(desk.keys[2], 10**5)
    desk.trade(one, two, DESK_CALL, 10)
    desk.chain.set_next_timestamp(DESK_EXPIRY)
    desk.chain.mine()
    desk.settlements = [pack_settlement(BTC, DESK_EXPIRY, PRICE)]
    desk.post()
    desk.settlements = []
    desk.post()
    with mock.patch("offchain.audit.verify.find_wrong", return_value={}):
        assert verify(desk.record()).mismatches == ()
    assert desk.before is not None
    desk.before = replace(desk.before, settlements={(BTC, DESK_EXPIRY): PRICE + 1})
    desk.post()
    with mock.patch("offchain.audit.verify.find_wrong", return_value={}):
        assert {m.kind for m in verify(desk.record()).mismatches} == {"median"}


def test_replay_source__no_candle_at_an_expiry__the_rest_is_observed(expired: Council) -> None:
    """An expiry that the candles do not reach back to costs its settlement price, not the whole observation."""
    council = expired
    candles = {n: replace(c, timestamps=c.timestamps + EXPIRY - START) for n, c in synthetic_crash(3, 400).items()}
    market = CandleMarket(candles)
    source = ReplaySource(market, ScanRanges(market))
    council.time = EXPIRY + 300 * HOUR
    slot = council.slot()
    state = council.member(0).reader.at(slot.snapshot_block)
    wanted = state.instruments(slot.timestamp)
    assert source.observe(slot, state, wanted).settlements.keys() == {(BTC, EXPIRY)}
    late = {n: c.window(EXPIRY + 24 * HOUR, 276, 0) for n, c in candles.items()}
    lost = CandleMarket(late)
    seen = ReplaySource(lost, ScanRanges(lost)).observe(slot, state, wanted)
    assert not seen.settlements
    assert set(seen.instruments) == set(wanted)


def test_audit__header_without_the_underlying_of_an_unquoted_instrument__a_finding_and_no_crash() -> None:
    desk = Audited.open([BTC_PERP, DESK_CALL])
    desk.post()
    desk.hidden = frozenset({DESK_CALL})
    desk.post()
    record = desk.record()
    events = list(record.events)
    place = max(i for i, event in enumerate(events) if event.name == "EpochPosted")
    header = list(events[place].args["header"])
    header[10] = tuple(word for word in header[10] if word >> 240 != BTC)
    events[place] = replace(events[place], args=events[place].args | {"header": tuple(header)})
    with mock.patch("offchain.audit.verify.find_wrong", return_value={}):
        assert verify(replace(record, events=tuple(events))).mismatches
