"""The oracle: what a header must satisfy, what is kept of it, and whose signature it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak, to_checksum_address

from offchain.chain.anvil import local_chain
from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO as ZERO_ADDRESS
from offchain.chain.backends import Chain, Contract, Receipt, Reverted
from offchain.chain.revm import RevmChain
from offchain.oracle.signatures import (
    SecretKey,
    aggregate,
    header_digest,
    observation_digest,
    prove_possession,
    sign,
    verify,
)
from offchain.risk.policy import ABI_TYPE, default_policy

SLOT, MAX_AGE, MIN_INTERVAL = 30, 180, 15
FALLBACK_DELAY, EXIT_DELAY = 900, 7 * 86_400
DELAY = 86_400
START = 1_700_000_010  # the first second of a slot
ZERO = bytes(32)
HEADER = "(uint64,uint64,uint64,bytes32,uint64,bytes32,uint256,bytes32,bytes32,bytes32,uint256[])"
BTC, ETH = 60_000_000_000, 3_000_000_000  # micro-USD


def mark(underlying: int, index: int, scan: int, funding: int = 0, status: int = 1) -> int:
    return underlying << 240 | index << 176 | (funding % 2**64) << 112 | scan << 80 | status << 72


def hash_of(policy: Any) -> bytes:
    return keccak(encode([ABI_TYPE], [policy]))


@dataclass(frozen=True)
class Header:
    """A header's fields, in ABI order."""

    epoch: int
    timestamp: int
    snapshot_block: int
    snapshot_hash: bytes
    committee_set: int
    policy_hash: bytes
    shortfall: int
    instrument_root: bytes
    account_root: bytes
    bundle_hash: bytes
    marks: tuple[int, ...]

    @property
    def words(self) -> tuple[Any, ...]:
        return tuple(vars(self).values())

    @property
    def hash(self) -> bytes:
        return keccak(encode([HEADER], [self.words]))


class Feed:
    """Builds headers that follow one another, for one chain.

    A node over RPC is asked for a failed transaction's reason at the block before it (`replayed`), so that block must
    already be one in which the header's time and snapshot are past.
    """

    def __init__(self, chain: Chain, policy_hash: bytes, committee_set: int = 1):
        self.chain, self.policy_hash, self.committee_set = chain, policy_hash, committee_set
        self.replayed = not isinstance(chain, RevmChain)

    def at(self, timestamp: int, *marks: int, **changes: Any) -> Header:
        """A header for `timestamp`, and the next block of the chain at that time (or, over RPC, right after)."""
        self.chain.set_next_timestamp(timestamp)
        if self.replayed:
            self.chain.mine()
        block = self.chain.block_number - self.replayed
        base = Header(
            timestamp // SLOT, timestamp, block, self.chain.block_hash(block), self.committee_set, self.policy_hash, 0,
            keccak(b"instruments %d" % timestamp), keccak(b"accounts %d" % timestamp), keccak(b"bundle %d" % timestamp),
            marks or (mark(1, BTC, 160_000), mark(2, ETH, 180_000)),
        )  # fmt: skip
        return replace(base, **changes)


def deploy(chain: Chain, committee: Contract, slot: int = SLOT) -> tuple[Contract, Contract]:
    """Registry and oracle with the default policy."""
    owner = chain.accounts[0]
    registry = chain.deploy(artifact("Registry"), DELAY, default_policy().words, ZERO_ADDRESS, [], [], sender=owner)
    times = (slot, MAX_AGE, MIN_INTERVAL, FALLBACK_DELAY, EXIT_DELAY)
    oracle = chain.deploy(artifact("RiskOracle"), committee, registry, *times, sender=owner)
    return registry, oracle


@pytest.fixture
def chain() -> RevmChain:
    return RevmChain(timestamp=START - 1_000)


@pytest.fixture
def registry(chain: RevmChain) -> Contract:
    args = (DELAY, default_policy().words, ZERO_ADDRESS, [], [])
    return chain.deploy(artifact("Registry"), *args, sender=chain.accounts[0])


@pytest.fixture
def oracle(chain: RevmChain, registry: Contract) -> Contract:
    committee = chain.deploy(artifact("mocks/AnySignature"), sender=chain.accounts[0])
    args = (committee, registry, SLOT, MAX_AGE, MIN_INTERVAL, FALLBACK_DELAY, EXIT_DELAY)
    return chain.deploy(artifact("RiskOracle"), *args, sender=chain.accounts[0])


@pytest.fixture
def feed(chain: RevmChain) -> Feed:
    return Feed(chain, default_policy().hash)


def post(oracle: Contract, header: Header, mask: int = 7, signature: bytes = b"\1" * 128) -> Receipt:
    return oracle.send.post(header.words, mask, signature, sender=oracle.chain.accounts[1])


def refused(oracle: Contract, header: Header, words: str) -> None:
    before = oracle.call.latest()
    with pytest.raises(Reverted, match=words):
        post(oracle, header)
    assert oracle.call.latest()[:3] == before[:3]


# Construction


def test_deploy__settings__readable(oracle: Contract, registry: Contract) -> None:
    assert oracle.call.registry() == registry.address
    assert (oracle.call.slot_seconds(), oracle.call.max_age(), oracle.call.min_interval()) == (30, 180, 15)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({0: "0x" + "00" * 20}, "oracle: address is zero"),
        ({1: "0x" + "00" * 20}, "oracle: address is zero"),
        ({2: 0}, "oracle: slot is zero"),
        ({3: 29}, "oracle: max_age out of range"),
        ({3: 7 * 86_400 + 1}, "oracle: max_age out of range"),
        ({4: 181}, "oracle: min_interval out of range"),
        ({5: 86_401}, "oracle: fallback_delay out of range"),
        ({6: FALLBACK_DELAY}, "oracle: exit_delay out of range"),
        ({6: 30 * 86_400 + 1}, "oracle: exit_delay out of range"),
    ],
)
def test_deploy__bad_settings__refused(chain: RevmChain, changes: dict[int, Any], words: str) -> None:
    args: list[Any] = ["0x" + "11" * 20, "0x" + "22" * 20, SLOT, MAX_AGE, MIN_INTERVAL, FALLBACK_DELAY, EXIT_DELAY]
    for i, value in changes.items():
        args[i] = value
    with pytest.raises(Reverted, match=words):
        chain.deploy(artifact("RiskOracle"), *args, sender=chain.accounts[0])


# A good header


def test_latest__before_the_first_epoch__is_empty_and_not_fresh(oracle: Contract) -> None:
    assert oracle.call.latest() == (0, 0, 0, False, ZERO, ZERO, 0)
    assert oracle.call.clock() == (0, 0, 0, False)
    assert oracle.call.mark(1) == 0
    assert oracle.call.header_hash(0) == ZERO


def test_post__first_epoch__every_read_agrees(oracle: Contract, feed: Feed) -> None:
    header = feed.at(START, shortfall=123)
    receipt = post(oracle, header, mask=11, signature=b"\2" * 128)
    event = receipt.event("EpochPosted").args
    assert event == {
        "epoch": header.epoch,
        "header_hash": header.hash,
        "header": header.words,
        "mask": 11,
        "signature": b"\2" * 128,
    }
    margin = default_policy().margin.word
    roots = header.account_root, header.instrument_root
    assert oracle.call.latest() == (header.epoch, START, 0, True, *roots, margin)
    assert oracle.call.latest_accounts() == (header.epoch, START, 0, True, header.account_root, ZERO, margin)
    assert oracle.call.latest_instruments() == (header.epoch, START, 0, True, ZERO, header.instrument_root, margin)
    assert oracle.call.clock() == (header.epoch, START, 0, True)
    assert oracle.call.shortfall() == 123
    assert (oracle.call.mark(1), oracle.call.mark(2), oracle.call.mark(3)) == (*header.marks, 0)
    assert oracle.call.header_hash(header.epoch) == header.hash


def test_digest__equals_the_module(chain: RevmChain, oracle: Contract, feed: Feed) -> None:
    header = feed.at(START)
    want = header_digest(chain.chain_id, oracle.address, header.committee_set, header.epoch, header.hash)
    assert oracle.call.digest(header.words) == want


def test_fresh__until_max_age(chain: RevmChain, oracle: Contract, feed: Feed) -> None:
    post(oracle, feed.at(START))
    for age, fresh in ((1, True), (MAX_AGE, True), (MAX_AGE + 1, False)):
        chain.set_next_timestamp(START + age)
        chain.mine()
        assert oracle.call.latest()[3] is fresh
        assert oracle.call.clock()[3] is fresh


def test_live_clock__counts_at_most_max_age_an_epoch(oracle: Contract, feed: Feed) -> None:
    at, live = START, 0
    post(oracle, feed.at(at))
    for gap in (30, 60, MAX_AGE, MAX_AGE + 1, 86_400, 30):
        at, live = at + gap, live + min(gap, MAX_AGE)
        post(oracle, feed.at(at))
        assert oracle.call.latest()[:3] == (at // SLOT, at, live)
    assert oracle.call.clock()[2] == live


def test_header_hash__ring__keeps_4096_slots(oracle: Contract, feed: Feed) -> None:
    first, second = feed.at(START), None
    post(oracle, first)
    second = feed.at(START + 4095 * SLOT)
    post(oracle, second)
    assert oracle.call.header_hash(first.epoch) == first.hash
    assert oracle.call.header_hash(second.epoch + 1) == ZERO
    third = feed.at(START + 4096 * SLOT)
    post(oracle, third)
    assert oracle.call.header_hash(first.epoch) == ZERO
    assert oracle.call.header_hash(second.epoch) == second.hash
    assert oracle.call.header_hash(third.epoch) == third.hash


def test_margin_word__follows_the_policy_with_the_next_epoch(
    chain: RevmChain, oracle: Contract, registry: Contract, feed: Feed
) -> None:
    owner = chain.accounts[0]
    post(oracle, feed.at(START))
    version, margin, *rest = default_policy().words
    changed = (version, margin - 1, *rest)  # kappa is the lowest field
    registry.send.propose_policy(changed, sender=owner)
    chain.set_next_timestamp(START + 2 * DELAY)
    enacted = registry.send.enact_policy(hash_of(changed), sender=owner).timestamp
    assert oracle.call.latest()[6] == margin
    refused(oracle, feed.at(enacted + 60, policy_hash=ZERO), "registry: policy is not in force")
    post(oracle, feed.at(enacted + 90))  # computed before the change: the policy before counts for another `delay`
    assert oracle.call.latest()[6] == margin
    post(oracle, feed.at(enacted + 120, policy_hash=registry.call.policy_hash()))
    assert oracle.call.latest()[6] == margin - 1
    refused(oracle, feed.at(enacted + 150), "oracle: policy older than the last epoch's")
    refused(oracle, feed.at(enacted + DELAY), "registry: policy is not in force")


# Time


def test_post__time__is_checked(chain: RevmChain, oracle: Contract, feed: Feed) -> None:
    post(oracle, feed.at(START))
    now = START + 300
    good = feed.at(now)
    refused(oracle, replace(good, epoch=good.epoch + 1), "oracle: epoch does not match timestamp")
    refused(oracle, replace(good, epoch=good.epoch - 1), "oracle: epoch does not match timestamp")
    refused(oracle, replace(good, timestamp=START + 29, epoch=START // SLOT), "oracle: epoch is not newer")
    refused(oracle, replace(good, timestamp=START - 30, epoch=START // SLOT - 1), "oracle: epoch is not newer")
    refused(oracle, replace(good, timestamp=now + 1, epoch=(now + 1) // SLOT), "oracle: timestamp in the future")
    old = now - MAX_AGE
    refused(oracle, replace(good, timestamp=old - 1, epoch=(old - 1) // SLOT), "oracle: timestamp too old")
    post(oracle, replace(good, timestamp=old, epoch=old // SLOT))
    assert oracle.call.latest()[1] == old


def test_post__too_soon__refused(oracle: Contract, feed: Feed) -> None:
    post(oracle, feed.at(START + 20))
    refused(oracle, feed.at(START + 34), "oracle: too soon after the last epoch")
    post(oracle, feed.at(START + 35))


def test_post__snapshot__is_a_recent_block_of_this_chain(chain: RevmChain, oracle: Contract, feed: Feed) -> None:
    for _ in range(300):
        chain.mine()
    base = feed.at(START)
    current = chain.block_number + 1
    for number in (current, current + 9):
        refused(oracle, replace(base, snapshot_block=number), "oracle: snapshot in the future")
    for number in (current - 257, 0):
        refused(oracle, replace(base, snapshot_block=number), "oracle: snapshot too old")
    refused(oracle, replace(base, snapshot_hash=ZERO), "oracle: snapshot of another chain")
    refused(oracle, replace(base, snapshot_hash=chain.block_hash(current - 2)), "oracle: snapshot of another chain")
    number = current - 256
    post(oracle, replace(base, snapshot_block=number, snapshot_hash=chain.block_hash(number)))


# Marks


def test_post__marks__are_the_listed_underlyings_in_order(oracle: Contract, feed: Feed) -> None:
    btc, eth = mark(1, BTC, 160_000), mark(2, ETH, 180_000)
    for at, marks in enumerate(([btc], [eth, btc], [btc, btc], [btc, mark(3, ETH, 180_000)], [btc, eth, eth])):
        header = feed.at(START + 30 * at, *marks)
        refused(oracle, header, "oracle: marks do not match the underlyings")


def test_post__mark_out_of_bounds__refused(oracle: Contract, feed: Feed) -> None:
    eth = mark(2, ETH, 180_000)
    cases = [
        (mark(1, 0, 160_000), "oracle: index is zero"),
        (mark(1, BTC, 160_000, status=0), "oracle: status unknown"),
        (mark(1, BTC, 160_000, status=4), "oracle: status unknown"),
        (mark(1, BTC, 160_000) | 1, "oracle: mark bits not zero"),
        (mark(1, BTC, 160_000) | 1 << 71, "oracle: mark bits not zero"),
        (mark(1, BTC, 79_999), "oracle: scan range out of bounds"),
        (mark(1, BTC, 400_001), "oracle: scan range out of bounds"),
        (mark(1, BTC, 160_000, funding=1), "oracle: funding does not start at zero"),
        (mark(1, BTC, 160_000, funding=-1), "oracle: funding does not start at zero"),
    ]
    for at, (btc, words) in enumerate(cases):
        refused(oracle, feed.at(START + 30 * at, btc, eth), words)
    refused(oracle, feed.at(START + 900, shortfall=2**64), "oracle: shortfall out of range")
    for status in (1, 2, 3):
        post(oracle, feed.at(START + 900 + 30 * status, mark(1, BTC, 160_000, status=status), eth))
        assert oracle.call.mark(1) >> 72 & 255 == status


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_scan_range__slew__grows_with_elapsed_slots(oracle: Contract, feed: Feed, slots: int) -> None:
    before, eth = 160_001, mark(2, ETH, 180_000)
    post(oracle, feed.at(START, mark(1, BTC, before), eth))
    high = min(before + before * 100_000 * slots // 10**6, 400_000)
    low = max(before - before * 10_000 * slots // 10**6, 80_000)
    at = START + slots * SLOT
    refused(oracle, feed.at(at, mark(1, BTC, high + 1), eth), "oracle: scan range rises too fast")
    refused(oracle, feed.at(at, mark(1, BTC, low - 1), eth), "oracle: scan range falls too fast")
    post(oracle, feed.at(at, mark(1, BTC, high), eth))
    assert oracle.call.mark(1) == mark(1, BTC, high)
    low = max(high - high * 10_000 * slots // 10**6, 80_000)
    post(oracle, feed.at(at + slots * SLOT, mark(1, BTC, low), eth))


def test_scan_range__after_a_long_gap__any_within_bounds(oracle: Contract, feed: Feed) -> None:
    eth = mark(2, ETH, 180_000)
    for at, scan in ((START, 400_000), (START + 100 * SLOT, 80_000), (START + 200 * SLOT, 400_000)):
        post(oracle, feed.at(at, mark(1, BTC, scan), eth))


def test_scan_range__bounds_moved_past_it__still_has_a_way(
    chain: RevmChain, oracle: Contract, registry: Contract, feed: Feed
) -> None:
    """A policy that lifts the least scan range above what the slew allows must not stop the oracle."""
    owner, eth = chain.accounts[0], mark(2, ETH, 180_000)
    version, margin, rows, shocks, (btc_word, eth_word) = default_policy().words
    lifted = (version, margin, rows, shocks, [btc_word & ~(2**32 - 1 << 176) | 300_000 << 176, eth_word])
    began = registry.send.propose_policy(lifted, sender=owner).timestamp
    post(oracle, feed.at(began + DELAY // SLOT * SLOT, mark(1, BTC, 100_000), eth))
    chain.set_next_timestamp(began + DELAY + 60)
    registry.send.enact_policy(hash_of(lifted), sender=owner)
    at = began + DELAY + 120
    policy_hash = registry.call.policy_hash()
    refused(oracle, feed.at(at, mark(1, BTC, 110_000), eth, policy_hash=policy_hash), "scan range out of bounds")
    refused(oracle, feed.at(at, mark(1, BTC, 300_001), eth, policy_hash=policy_hash), "scan range rises too fast")
    post(oracle, feed.at(at, mark(1, BTC, 300_000), eth, policy_hash=policy_hash))


@pytest.mark.parametrize("elapsed", [30, 60, 3_600, 86_400])
def test_threat_19__funding__is_bounded_by_time(oracle: Contract, feed: Feed, elapsed: int) -> None:
    """0.05 % of the last index an hour, a lot; of the last index, so that one header cannot lift its own bound."""
    eth = mark(2, ETH, 180_000)
    post(oracle, feed.at(START, mark(1, BTC, 160_000), eth))
    limit = BTC * 500 * elapsed // (10**6 * 3600 * 1_000)
    at = START + elapsed
    for funding in (limit + 1, -limit - 1, 2**63 - 1, -(2**63)):
        header = feed.at(at, mark(1, 2 * BTC, 160_000, funding), eth)
        refused(oracle, header, "oracle: funding moves too fast")
    post(oracle, feed.at(at, mark(1, BTC, 160_000, -limit), eth))
    post(oracle, feed.at(at + elapsed, mark(1, BTC, 160_000), eth))
    post(oracle, feed.at(at + 2 * elapsed, mark(1, BTC, 160_000, limit), eth))


def test_funding__bound_of_30_seconds__known_answer(oracle: Contract, feed: Feed) -> None:
    # 60,000 USD, 0.001 BTC a lot: 60 USD, of which 0.05 % an hour is 3 cents: 30,000 micro-USD, 250 in 30 seconds.
    eth = mark(2, ETH, 180_000)
    post(oracle, feed.at(START, mark(1, BTC, 160_000), eth))
    refused(oracle, feed.at(START + 30, mark(1, BTC, 160_000, 251), eth), "oracle: funding moves too fast")
    post(oracle, feed.at(START + 30, mark(1, BTC, 160_000, 250), eth))


# Signatures, on a chain with the precompiles


SECRETS = [SecretKey.generate(bytes([i]) * 32) for i in range(101, 120)]


def board(chain: Chain) -> Contract:
    """A committee without bonds."""
    owner = chain.accounts[0]
    registry = chain.deploy(artifact("Registry"), DELAY, default_policy().words, ZERO_ADDRESS, [], [], sender=owner)
    return chain.deploy(artifact("Committee"), registry, "0x" + "11" * 20, 0, 7 * DELAY, sender=owner)


def seat(committee: Contract, indices: Sequence[int]) -> None:
    owner = committee.chain.accounts[0]
    for i in indices:
        name = to_checksum_address(f"0x{i + 1:040x}")
        proof = prove_possession(SECRETS[i], committee.chain.chain_id, committee.address, name)
        committee.send.enrol(name, SECRETS[i].public_key, proof, sender=owner)
    if committee.call.current_set():
        committee.send.propose_seating(sender=owner)
        committee.chain.set_next_timestamp(committee.chain.timestamp + DELAY)
        committee.chain.mine()
    committee.send.seat(sender=owner)


def signed(oracle: Contract, header: Header, signers: Sequence[int] = range(3)) -> tuple[int, bytes]:
    chain_id = oracle.chain.chain_id
    digest = header_digest(chain_id, oracle.address, header.committee_set, header.epoch, header.hash)
    return sum(1 << i for i in signers), aggregate([sign(SECRETS[i], digest) for i in signers])


@dataclass
class Real:
    """Contracts on a chain with the precompiles, a committee of four."""

    chain: Chain
    committee: Contract
    oracle: Contract
    other: Contract
    feed: Feed
    now: int

    def next(self, **changes: Any) -> Header:
        self.now += 60
        return self.feed.at(self.now, **changes)


@pytest.fixture(scope="module")
def anvil() -> Iterator[Chain]:
    with local_chain() as chain:
        yield chain


@pytest.fixture(scope="module")
def real(anvil: Chain) -> Real:
    committee = board(anvil)
    seat(committee, range(4))
    _, oracle = deploy(anvil, committee)
    _, other = deploy(anvil, committee)
    now = (anvil.timestamp // SLOT + 100) * SLOT
    return Real(anvil, committee, oracle, other, Feed(anvil, default_policy().hash), now)


def test_post__signed_by_a_quorum__accepted_and_provable_from_its_event(real: Real) -> None:
    header = real.next()
    mask, signature = signed(real.oracle, header, [0, 1, 3])
    receipt = post(real.oracle, header, mask, signature)
    args = receipt.event("EpochPosted").args
    again = Header(*args["header"])
    digest = header_digest(real.chain.chain_id, real.oracle.address, again.committee_set, again.epoch, again.hash)
    signers = [i for i in range(4) if args["mask"] >> i & 1]
    keys = [real.committee.call.member_key(again.committee_set, i) for i in signers]
    assert args["header_hash"] == header.hash == again.hash
    assert verify(keys, digest, args["signature"])


def test_post__wrong_signature__refused(real: Real) -> None:
    header = real.next()
    mask, signature = signed(real.oracle, header)
    for bad in (replace(header, shortfall=1), replace(header, account_root=ZERO), replace(header, bundle_hash=ZERO)):
        with pytest.raises(Reverted, match="oracle: signature does not verify"):
            post(real.oracle, bad, mask, signature)
    with pytest.raises(Reverted, match="oracle: signature does not verify"):
        post(real.oracle, header, 0b1110, signature)
    with pytest.raises(Reverted, match="committee: quorum not reached"):
        post(real.oracle, header, *signed(real.oracle, header, [0, 1]))
    post(real.oracle, header, mask, signature)


def test_threat_16__header_of_another_chain_contract_set_or_slot__refused(real: Real) -> None:
    header = real.next()
    mask, here = signed(real.oracle, header)

    def of(chain_id: int, address: str, committee_set: int, epoch: int) -> bytes:
        digest = header_digest(chain_id, address, committee_set, epoch, header.hash)
        return aggregate([sign(SECRETS[i], digest) for i in range(3)])

    chain_id, address = real.chain.chain_id, real.oracle.address
    assert of(chain_id, address, 1, header.epoch) == here
    foreign = [
        of(chain_id + 1, address, 1, header.epoch),
        of(chain_id, real.other.address, 1, header.epoch),
        of(chain_id, address, 2, header.epoch),
        of(chain_id, address, 1, header.epoch - 1),
    ]
    for signature in foreign:
        with pytest.raises(Reverted, match="oracle: signature does not verify"):
            post(real.oracle, header, mask, signature)
    other_set = replace(header, committee_set=2)
    of_other_set = signed(real.oracle, other_set)
    with pytest.raises(Reverted, match="committee: set is not current"):
        post(real.oracle, other_set, *of_other_set)
    post(real.oracle, header, mask, here)
    with pytest.raises(Reverted, match="oracle: epoch is not newer"):
        post(real.oracle, header, mask, here)
    with pytest.raises(Reverted, match="oracle: signature does not verify"):
        post(real.other, header, mask, here)


def test_threat_16__observation_signature__is_not_a_header_signature(real: Real) -> None:
    header = real.next()
    digest = observation_digest(real.chain.chain_id, real.oracle.address, 1, header.epoch, header.hash)
    signature = aggregate([sign(SECRETS[i], digest) for i in range(3)])
    with pytest.raises(Reverted, match="oracle: signature does not verify"):
        post(real.oracle, header, 7, signature)


def test_threat_16__signature_at_infinity_or_of_the_wrong_length__refused(real: Real) -> None:
    header = real.next()
    mask, signature = signed(real.oracle, header)
    with pytest.raises(Reverted, match="committee: signature at infinity"):
        post(real.oracle, header, mask, bytes(128))
    for wrong in (b"", signature[:-1], signature + b"\0", signature + signature):
        with pytest.raises(Reverted, match="committee: signature is not 128 bytes"):
            post(real.oracle, header, mask, wrong)


def test_threat_16__replaced_committee__signs_no_more(real: Real) -> None:
    committee = board(real.chain)
    seat(committee, range(4))
    _, oracle = deploy(real.chain, committee)
    seat(committee, range(4, 8))
    real.now = (real.chain.timestamp // SLOT + 1) * SLOT
    header = real.next()
    mask, signature = signed(oracle, header)
    with pytest.raises(Reverted, match="committee: set is not current"):
        post(oracle, header, mask, signature)
    second = replace(header, committee_set=2)
    digest = header_digest(real.chain.chain_id, oracle.address, 2, second.epoch, second.hash)
    with pytest.raises(Reverted, match="oracle: signature does not verify"):
        post(oracle, second, 7, aggregate([sign(SECRETS[i], digest) for i in range(3)]))
    post(oracle, second, 7, aggregate([sign(SECRETS[i], digest) for i in range(4, 7)]))


def test_threat_16__precompile_missing__nothing_can_be_posted(chain: RevmChain, feed: Feed) -> None:
    """Even a committee whose state was copied from elsewhere verifies nothing on a chain without the precompiles."""
    caller = chain.deploy(artifact("mocks/Bls12381Harness"), sender=chain.accounts[0])
    with pytest.raises(Reverted, match="bls12_381: precompile missing"):
        caller.call.hash_to_g1(b"\1" * 32, b"tag")
    committee = board(chain)
    _, oracle = deploy(chain, committee)
    with pytest.raises(Reverted, match="committee: set is not current"):
        post(oracle, feed.at(START))
    with pytest.raises(Reverted, match="bls12_381: precompile missing"):
        seat(committee, range(4))


def test_post__gas_of_13_of_19__within_its_budget(anvil: Chain) -> None:
    committee = board(anvil)
    seat(committee, range(19))
    _, oracle = deploy(anvil, committee)
    feed = Feed(anvil, default_policy().hash)
    now = (anvil.timestamp // SLOT + 2) * SLOT
    header = feed.at(now)
    post(oracle, header, *signed(oracle, header, range(13)))
    header = feed.at(now + 30)
    receipt = post(oracle, header, *signed(oracle, header, range(6, 19)))
    assert receipt.gas_used <= 290_000
