"""The oracle's statuses, states and feeds, each as somebody would attack them: threats 14, 15, 17 and 18."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Any

import pytest
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO, Contract, Receipt, Reverted
from offchain.chain.revm import RevmChain
from offchain.oracle.headers import DISPUTED, LIVE, PROVISIONAL, Header, Mark, jumps
from offchain.risk.policy import default_policy
from offchain.units import MICRO

SLOT, MAX_AGE = 30, 180
DELAY = 86_400
START = 1_700_000_010
BTC, ETH = 60_000 * MICRO, 3_000 * MICRO
HALTED, STALE, ORACLE_LIVE = 3, 2, 1
NONE, AGREES, DISAGREES, UNUSABLE = range(4)


@dataclass
class Bench:
    """An oracle that believes every signature, with feeds of eight decimals for both underlyings."""

    chain: RevmChain
    registry: Contract
    oracle: Contract
    feeds: dict[int, Contract]
    now: int = START

    @classmethod
    def open(cls, feeds: bool = True) -> Bench:
        chain = RevmChain(timestamp=START - 1_000)
        owner = chain.accounts[0]
        made: dict[int, Contract] = {}
        words: list[tuple[int, str, int, int, int]] = []
        for number, price in ((1, BTC), (2, ETH)) if feeds else ():
            made[number] = chain.deploy(artifact("mocks/MockFeed"), 8, price * 100, START, sender=owner)
            words.append((number, made[number].address, 3_600, 10 * 10**8, 10**7 * 10**8))
        registry = chain.deploy(artifact("Registry"), DELAY, default_policy().words, ZERO, words, [], sender=owner)
        board = chain.deploy(artifact("mocks/AnySignature"), sender=owner)
        times = (SLOT, MAX_AGE, 15, 900, 7 * 86_400)
        oracle = chain.deploy(artifact("RiskOracle"), board, registry, *times, sender=owner)
        return cls(chain, registry, oracle, made)

    def header(self, btc: int = BTC, eth: int = ETH, wait: int = SLOT, **changes: Any) -> Header:
        """The next header, `wait` seconds on."""
        self.now += wait
        self.chain.set_next_timestamp(self.now)
        block = self.chain.block_number
        stated = changes.pop("status", LIVE)
        fields: dict[str, Any] = {
            "epoch": self.now // SLOT, "timestamp": self.now, "snapshot_block": block,
            "snapshot_hash": self.chain.block_hash(block), "committee_set": 1, "policy_hash": default_policy().hash,
            "shortfall": 0, "instrument_root": keccak(b"i%d" % self.now), "account_root": keccak(b"a%d" % self.now),
            "bundle_hash": bytes(32),
            "marks": (Mark(1, btc, 0, 160_000, stated).pack(), Mark(2, eth, 0, 180_000).pack()),
        }  # fmt: skip
        return Header(**fields | changes)

    def post(self, btc: int = BTC, eth: int = ETH, wait: int = SLOT, **changes: Any) -> Receipt:
        header = self.header(btc, eth, wait, **changes)
        return self.send(header)

    def send(self, header: Header) -> Receipt:
        return self.oracle.send.post(header.as_tuple(), 7, b"", sender=self.chain.accounts[1])

    def status(self, underlying: int) -> int:
        return self.oracle.call.mark(underlying) >> 72 & 255

    def said(self, underlying: int) -> int:
        """What the feed did when the latest epoch was posted."""
        return self.oracle.call.mark(underlying) >> 64 & 255

    def quote(self, underlying: int, price: int, age: int = 0) -> None:
        """A feed says `price` (micro-USD) from now on."""
        self.feeds[underlying].send.set(price * 100, self.now - age, sender=self.chain.accounts[0])

    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.chain.set_next_timestamp(self.now)
        self.chain.mine()

    def challenger(self) -> Any:
        """Somebody with the challenger's role, a timelock later."""
        owner, key = self.chain.accounts[0], self.chain.accounts[5]
        self.registry.send.propose_challenger(key.address, sender=owner)
        self.wait(DELAY + 60)
        self.registry.send.enact_challenger(key.address, sender=owner)
        return key


@pytest.fixture
def bench() -> Bench:
    return Bench.open()


@pytest.fixture
def blind() -> Bench:
    """Without feeds."""
    return Bench.open(feeds=False)


# THREATS 14


def test_threat_14__one_update_moves_a_price_99_percent__provisional(blind: Bench) -> None:
    blind.post()
    receipt = blind.post(btc=BTC // 100)
    assert (blind.status(1), blind.status(2)) == (PROVISIONAL, LIVE)
    event = receipt.event("StatusChanged").args
    assert event == {"epoch": blind.now // SLOT, "underlying": 1, "status": PROVISIONAL, "feed": NONE, "price": 0}
    blind.post(btc=BTC)  # it was false: the next epoch says so, and is believed
    assert blind.status(1) == LIVE


@pytest.mark.parametrize("slots", [1, 2, 4, 5])
@pytest.mark.parametrize("sign", [1, -1])
def test_jump_limit__grows_with_the_square_root_of_slots__exactly(blind: Bench, slots: int, sign: int) -> None:
    limit = isqrt((BTC * 50_000) ** 2 * slots) // MICRO
    blind.post()
    receipt = blind.post(btc=BTC + sign * limit, wait=slots * SLOT)
    assert blind.status(1) == LIVE
    assert [event.name for event in receipt.events] == ["EpochPosted"]
    blind.post(wait=86_400)
    blind.post(btc=BTC + sign * (limit + 1), wait=slots * SLOT)
    assert blind.status(1) == PROVISIONAL


def test_threat_14__a_crash_that_jumps_every_epoch_for_an_hour__live_every_other(blind: Bench) -> None:
    blind.post()
    price, seen = BTC, []
    for _ in range(120):
        price = price * 94 // 100
        blind.post(btc=max(price, MICRO))
        seen.append(blind.status(1))
    assert seen[:20] == [PROVISIONAL, LIVE] * 10
    assert all(PROVISIONAL not in pair or LIVE in pair for pair in pairwise(seen))


def test_threat_14__a_thin_coin_jumps_while_btc_is_calm__btc_stays_live(blind: Bench) -> None:
    blind.post()
    for step in range(6):
        blind.post(eth=ETH * (2 if step % 2 else 1))
        assert blind.status(1) == LIVE


def test_header_status__provisional_twice_running__only_once(blind: Bench) -> None:
    blind.post()
    seen = []
    for _ in range(4):
        blind.post(status=PROVISIONAL)
        seen.append(blind.status(1))
    assert seen == [PROVISIONAL, LIVE, PROVISIONAL, LIVE]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 2**48 - 1), st.integers(1, 2**48 - 1), st.integers(1, 5_000), st.integers(1, MICRO),
    st.sampled_from([LIVE, PROVISIONAL, DISPUTED]),
)  # fmt: skip
def test_jumps__the_integer_rule__is_that_of_fractions(
    before: int, index: int, slots: int, jump: int, status: int
) -> None:
    from fractions import Fraction

    moved = Fraction(abs(index - before), before)
    wanted = status != PROVISIONAL and moved**2 > Fraction(jump, MICRO) ** 2 * slots
    assert jumps(Mark(1, before, 0, 160_000, status), index, slots, jump) == wanted


# THREATS 15


def test_threat_15__index_and_feed_disagree__disputed_on_that_underlying_only(bench: Bench) -> None:
    bench.post()
    assert (bench.status(1), bench.said(1), bench.said(2)) == (LIVE, AGREES, AGREES)
    bench.quote(1, BTC * 94 // 100)
    receipt = bench.post()
    assert (bench.status(1), bench.said(1), bench.status(2)) == (DISPUTED, DISAGREES, LIVE)
    event = receipt.event("StatusChanged").args
    assert (event["status"], event["feed"], event["price"]) == (DISPUTED, DISAGREES, BTC * 94 // 100)
    bench.quote(1, BTC)
    bench.post()
    assert bench.status(1) == LIVE


def test_dispute_limit__at_three_percent_of_the_feed__exactly(bench: Bench) -> None:
    bench.quote(1, 50_000 * MICRO)
    bench.post(btc=51_500 * MICRO)
    assert bench.status(1) == LIVE
    bench.post(btc=51_500 * MICRO + 1)
    assert bench.status(1) == DISPUTED


BROKEN = {
    "reverts": lambda b, f: f.send.misbehave(1, sender=b.chain.accounts[0]),
    "burns all gas": lambda b, f: f.send.misbehave(2, sender=b.chain.accounts[0]),
    "answers too little": lambda b, f: f.send.misbehave(3, sender=b.chain.accounts[0]),
    "has no decimals": lambda b, f: f.send.misbehave(4, sender=b.chain.accounts[0]),
    "is stale": lambda b, f: b.quote(1, BTC // 2, age=3_700),
    "is of the future": lambda b, f: b.quote(1, BTC // 2, age=-1_000_000),
    "says zero": lambda b, f: b.quote(1, 0),
    "is negative": lambda b, f: b.quote(1, -BTC),
    "is clamped below": lambda b, f: b.quote(1, 10 * MICRO),
    "is clamped above": lambda b, f: b.quote(1, 10**7 * MICRO),
    "has 37 decimals": lambda b, f: f.send.set_decimals(37, sender=b.chain.accounts[0]),
    "has 2^255 decimals": lambda b, f: f.send.set_decimals(2**255, sender=b.chain.accounts[0]),
    "vanishes": lambda b, f: f.send.set_decimals(30, sender=b.chain.accounts[0]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_threat_15__feed_that_is_broken__is_not_usable_and_stops_nothing(bench: Bench, how: str) -> None:
    bench.post()
    BROKEN[how](bench, bench.feeds[1])
    receipt = bench.post()
    assert (bench.status(1), bench.said(1), bench.said(2)) == (LIVE, UNUSABLE, AGREES)
    assert bench.oracle.call.feed_price(1)[1] is False
    assert receipt.gas_used < 500_000
    bench.post(btc=BTC // 2)  # nor does it hide a jump
    assert bench.status(1) == PROVISIONAL


def test_feed__without_code__is_not_usable() -> None:
    chain = RevmChain(timestamp=START)
    owner = chain.accounts[0]
    words = [(1, "0x" + "99" * 20, 3_600, 0, 10**30)]
    registry = chain.deploy(artifact("Registry"), DELAY, default_policy().words, ZERO, words, [], sender=owner)
    board = chain.deploy(artifact("mocks/AnySignature"), sender=owner)
    oracle = chain.deploy(artifact("RiskOracle"), board, registry, SLOT, MAX_AGE, 15, 900, 86_400, sender=owner)
    assert oracle.call.feed_price(1) == (0, False, 0)
    assert oracle.call.feed_price(2) == (0, False, 0)


@pytest.mark.parametrize("decimals", [0, 2, 5, 6, 8, 18, 36])
def test_feed__decimals__are_taken_out(bench: Bench, decimals: int) -> None:
    price = 60_000 * 10**decimals
    owner = bench.chain.accounts[0]
    feed = bench.chain.deploy(artifact("mocks/MockFeed"), decimals, price, START, sender=owner)
    words = (1, feed.address, 86_400 * 7, 1, price * 10)
    registry = bench.chain.deploy(artifact("Registry"), DELAY, default_policy().words, ZERO, [words], [], sender=owner)
    board = bench.chain.deploy(artifact("mocks/AnySignature"), sender=owner)
    oracle = bench.chain.deploy(artifact("RiskOracle"), board, registry, SLOT, MAX_AGE, 15, 900, 86_400, sender=owner)
    bench.wait(60)
    assert oracle.call.feed_price(1) == (BTC, True, START)


def test_threat_15__poster_starves_a_feed__reverts(bench: Bench) -> None:
    """With too little gas for the feed's call a healthy feed would look broken; then nothing is posted."""
    bench.quote(1, BTC // 2)
    header = bench.header()
    data = bench.oracle.function("post").encode((header.as_tuple(), 7, b""))
    reasons = set()
    for gas in range(100_000, 400_000, 20_000):
        try:
            bench.chain.transact(bench.chain.accounts[1], bench.oracle.address, data, gas)
        except Reverted as error:
            reasons.add(error.reason)
        else:
            break
    assert "feed: too little gas" in reasons
    assert bench.status(1) == DISPUTED


# THREATS 17


def test_threat_17__posts_withheld_repeatedly__grace_once_a_day_and_no_longer_than_the_outage(blind: Bench) -> None:
    blind.post()
    assert blind.oracle.call.grace_until() == 0
    blind.post(wait=MAX_AGE + 60)
    assert blind.oracle.call.grace_until() == blind.now + 60
    first = blind.now
    live = blind.oracle.call.clock()[2]
    for _ in range(10):
        blind.post(wait=MAX_AGE + 60)
        assert blind.oracle.call.grace_until() == first + 60
    assert blind.oracle.call.clock()[2] == live + 10 * MAX_AGE
    blind.post(wait=first + DELAY - blind.now)
    assert blind.oracle.call.grace_until() == blind.now + 1_800  # a long outage: half an hour at most


def test_threat_17__posts_at_the_minimum_interval__the_clock_is_that_of_the_world(blind: Bench) -> None:
    blind.post()
    began = blind.now
    for _ in range(20):
        blind.post()
    assert blind.oracle.call.clock()[2] == blind.now - began
    assert blind.oracle.call.grace_until() == 0


def test_state__live_stale_and_since_when(blind: Bench) -> None:
    assert blind.oracle.call.state() == STALE
    blind.post()
    assert (blind.oracle.call.state(), blind.oracle.call.stale_since()) == (ORACLE_LIVE, 0)
    posted = blind.now
    blind.wait(MAX_AGE)
    assert (blind.oracle.call.state(), blind.oracle.call.stale_since()) == (ORACLE_LIVE, 0)
    blind.wait(1)
    assert (blind.oracle.call.state(), blind.oracle.call.stale_since()) == (STALE, posted + MAX_AGE)
    assert (blind.oracle.call.fallback_delay(), blind.oracle.call.exit_delay()) == (900, 7 * 86_400)


# THREATS 18


def test_threat_18__a_wrong_epoch__is_revoked_and_a_newer_good_one_ends_the_halt(blind: Bench) -> None:
    key = blind.challenger()
    good = blind.header()
    blind.send(good)
    live = blind.oracle.call.clock()[2]
    wrong = blind.header(btc=BTC * 99 // 100)
    blind.send(wrong)
    with pytest.raises(Reverted, match="oracle: not the latest epoch"):
        blind.oracle.send.halt(good.epoch, sender=key)
    for stranger in (blind.chain.accounts[0], blind.chain.accounts[1]):
        with pytest.raises(Reverted, match="oracle: caller is not the challenger"):
            blind.oracle.send.halt(wrong.epoch, sender=stranger)
    receipt = blind.oracle.send.halt(wrong.epoch, sender=key)
    assert receipt.event("Halted").args == {"epoch": wrong.epoch}
    assert blind.oracle.call.state() == HALTED
    assert blind.oracle.call.stale_since() == receipt.timestamp
    latest = blind.oracle.call.latest()
    assert latest[:6] == (good.epoch, good.timestamp, live + SLOT, False, bytes(32), bytes(32))
    with pytest.raises(Reverted, match="oracle: epoch is not newer than the halted one"):
        blind.send(wrong)
    blind.now = receipt.timestamp
    blind.post(wait=2 * SLOT)
    assert blind.oracle.call.state() == ORACLE_LIVE


def test_halt__the_epoch_before__can_be_reinstated_as_the_ground_of_exits(blind: Bench) -> None:
    key = blind.challenger()
    older = blind.header()
    good = blind.header()
    blind.send(good)
    with pytest.raises(Reverted, match="oracle: not halted"):
        blind.oracle.send.reinstate(good.as_tuple(), sender=key)
    wrong = blind.header()
    blind.send(wrong)
    blind.oracle.send.halt(wrong.epoch, sender=key)
    for false in (wrong, older):
        with pytest.raises(Reverted, match="oracle: not the epoch before"):
            blind.oracle.send.reinstate(false.as_tuple(), sender=key)
    receipt = blind.oracle.send.reinstate(good.as_tuple(), sender=blind.chain.accounts[1])
    assert receipt.event("Reinstated").args == {"epoch": good.epoch, "header_hash": good.hash}
    latest = blind.oracle.call.latest()
    assert latest[0] == good.epoch
    assert latest[3] is False
    assert latest[4:6] == (good.account_root, good.instrument_root)
    assert blind.oracle.call.state() == HALTED
    assert (blind.status(1), blind.status(2)) == (DISPUTED, DISPUTED)


def test_threat_31__the_challenger__is_named_behind_the_timelock(blind: Bench) -> None:
    owner, key = blind.chain.accounts[0], blind.chain.accounts[5]
    began = blind.registry.send.propose_challenger(key.address, sender=owner).timestamp
    blind.chain.set_next_timestamp(began + DELAY - 1)
    with pytest.raises(Reverted, match="timelock: too early"):
        blind.registry.send.enact_challenger(key.address, sender=owner)
    assert blind.registry.call.challenger() == ZERO
    blind.chain.set_next_timestamp(began + DELAY)
    receipt = blind.registry.send.enact_challenger(key.address, sender=owner)
    assert receipt.event("ChallengerSet").args == {"challenger": key.address}
    assert blind.registry.call.challenger() == key.address
