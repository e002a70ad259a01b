"""Rounds: a quorum observes, checks, signs and posts; whoever cannot reproduce a proposal refuses."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from council import BTC, CALL, FUTURE, MEMBERS, PERP_BTC, PERP_ETH, PRICE, PUT, START, Council, committee, secrets

from offchain.chain.anvil import anvil_binary, start_anvil
from offchain.config import BallastError
from offchain.instruments import InstrumentLeaf
from offchain.oracle.bundles import Bundle, bundle_hash
from offchain.oracle.committee import Abstain, Proposal, Refused, slot_of
from offchain.oracle.epochs import Epoch, assemble
from offchain.oracle.headers import AccountLeaf, account_leaf_hash, instrument_leaf_hash
from offchain.oracle.node import LocalTransport, local_nodes
from offchain.oracle.observations import sign_observation
from offchain.oracle.signatures import header_digest, verify
from offchain.oracle.trees import verify as verify_proof
from offchain.oracle.trees import verify_multi
from offchain.store.slots import outcomes
from offchain.units import HOUR, MICRO


@pytest.fixture
def council(tmp_path: Path) -> Council:
    return Council.seat(tmp_path)


def silence(council: Council, *numbers: int) -> None:
    """Members that do not answer, and whose nodes are down."""
    for number in numbers:
        council.nodes.pop(number, None)
    members = {number: node.member for number, node in council.nodes.items()}
    for node in council.nodes.values():
        node.transport = LocalTransport(members)


def forge(council: Council, proposal: Proposal, change: Callable[[Bundle], Bundle]) -> Proposal:
    """A proposal with other leaves or observations, all of a piece: accounts, roots and hashes fit the change."""
    bundle = change(Bundle.decode(proposal.bundle))
    state = council.leader.member.reader.at(bundle.snapshot_block)
    leaves = [InstrumentLeaf.unpack(meta, array) for meta, array in bundle.instruments]
    made = assemble(slot_of(bundle), bundle.marks, leaves, state.book, state.policy, bundle.observations)
    return Proposal(proposal.leader, made.header, made.bundle)


def reprice(bundle: Bundle, place: int, **changes: Any) -> Bundle:
    """A bundle with one instrument leaf changed."""
    leaf = replace(InstrumentLeaf.unpack(*bundle.instruments[place]), **changes)
    rows = list(bundle.instruments)
    rows[place] = (leaf.meta, leaf.words)
    return replace(bundle, instruments=tuple(rows))


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.message) for record in caplog.records if record.name == "ballast.oracle"]


def test_round__all_well__posted_kept_and_provable(council: Council) -> None:
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.mask == 0b1111
    epoch = outcome.epoch
    assert epoch is not None
    oracle = council.system.oracle.call
    assert bytes(oracle.header_hash(epoch.header.epoch)) == epoch.header.hash
    latest = oracle.latest()
    assert (latest[0], latest[4], latest[5]) == (
        epoch.header.epoch,
        epoch.header.account_root,
        epoch.header.instrument_root,
    )
    assert oracle.mark(BTC) == epoch.header.marks[0]
    slot = slot_of(Bundle.decode(epoch.bundle))
    digest = header_digest(slot.chain_id, slot.oracle, slot.committee_set, slot.epoch, epoch.header.hash)
    assert digest == bytes(oracle.digest(epoch.header.as_tuple()))
    assert verify(committee().keys, digest, outcome.signature)
    # Everything can be served again from the bundle alone.
    served = Epoch.from_bundle(epoch.header, council.member(2).bundles.read(epoch.header.bundle_hash))
    for account in council.accounts:
        head, cost, vectors, proof = served.witness(account)
        position_hash = bytes(council.system.ledger.call.account(account)[5])
        assert head == council.system.ledger.call.account(account)[4]
        assert proof
        assert verify_proof(latest[4], account_leaf_hash(head, position_hash, cost, vectors), proof)
    legs, proof, flags = served.legs([PUT, PERP_BTC, CALL])
    assert verify_multi(latest[5], [instrument_leaf_hash(*leg) for leg in legs], proof, flags)
    with council.member(0).database.begin() as session:
        kept = outcomes(session, council.system.chain.chain_id, council.system.oracle.address)
    leader = outcome.slot % MEMBERS
    assert bool(kept) == (leader == 0)
    with council.member(leader).database.begin() as session:
        [done] = outcomes(session, council.system.chain.chain_id, council.system.oracle.address)
    assert (done.status, done.header_hash) == ("posted", epoch.header.hash)


def test_round__several_slots__every_member_leads(council: Council) -> None:
    for step in range(MEMBERS + 1):
        council.move(*council.accounts, CALL if step % 2 else FUTURE, 1 + step, cash=1000)
        outcome = council.run()
        assert outcome.posted, outcome.reason
        assert outcome.epoch is not None
        assert outcome.epoch.header.timestamp == council.time - HOUR
    assert council.system.oracle.call.clock()[0] == council.time // HOUR - 1


def test_round__scan_range_and_funding_jump__clipped_to_what_the_contract_takes(council: Council) -> None:
    assert council.run().posted
    for source in council.sources:
        source.changes = {"scan_range": 390_000, "funding": 10**12}
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.epoch is not None
    mark = outcome.epoch.header.mark(BTC)
    assert mark.scan_range == 176_000  # 160,000 and 10 % a slot
    assert mark.funding == PRICE[BTC] // 1000 * 500 // MICRO  # 0.05 % of the index a lot, one hour
    for source in council.sources:
        source.changes = {"scan_range": 1, "funding": -(10**12)}
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.epoch is not None
    assert outcome.epoch.header.mark(BTC).scan_range == 176_000 - 1_760
    assert outcome.epoch.header.mark(BTC).funding == 0


# THREATS 13


def test_threat_13__n_minus_k_members_silent__posted(council: Council) -> None:
    leader = council.leader.member.number
    absent = (leader + 1) % MEMBERS
    silence(council, absent)
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.mask == 0b1111 ^ 1 << absent


def test_threat_13__one_more_silent__slot_skipped_and_the_next_is_posted(council: Council) -> None:
    nodes = dict(council.nodes)
    leader = council.leader.member.number
    silence(council, (leader + 1) % MEMBERS, (leader + 2) % MEMBERS)
    outcome = council.run()
    assert not outcome.posted
    assert outcome.reason == "2 observations are no quorum of 3"
    assert council.system.oracle.call.clock()[0] == 0
    council.nodes = nodes
    silence(council)
    assert council.run().posted


def test_threat_13__members_fall_silent_after_observing__posted_while_a_quorum_signs(council: Council) -> None:
    class Fading(LocalTransport):
        mute: tuple[int, ...] = ()

        def review(self, member: int, proposal: Proposal) -> bytes:
            if member in self.mute:
                raise Refused(f"member {member} is gone")
            return super().review(member, proposal)

    members = {number: node.member for number, node in council.nodes.items()}
    transport = Fading(members)
    for node in council.nodes.values():
        node.transport = transport
    transport.mute = (1,)
    outcome = council.run()
    assert outcome.posted
    assert outcome.mask == 0b1101
    transport.mute = (1, 3)
    assert council.run().reason == "2 signatures are no quorum of 3"


def test_threat_13__bad_signature_of_one__left_out_of_the_aggregate(council: Council) -> None:
    class Lying(LocalTransport):
        def review(self, member: int, proposal: Proposal) -> bytes:
            return super().review((member + 1) % MEMBERS if member == 2 else member, proposal)

    transport = Lying({number: node.member for number, node in council.nodes.items()})
    for node in council.nodes.values():
        node.transport = transport
    outcome = council.run()
    assert outcome.posted
    assert outcome.mask == 0b1011


def test_threat_13__leader_silent__recorded_and_the_next_leads(council: Council) -> None:
    leader = council.leader.member.number
    nodes = dict(council.nodes)
    council.nodes.pop(leader)
    outcome = council.run()
    assert outcome.reason == f"the leader, member {leader}, is silent"
    council.nodes = nodes
    assert council.run().posted


def test_threat_13__k_minus_1_colluding__medians_do_not_move(council: Council) -> None:
    leader = council.leader.member.number
    for number in ((leader + 1) % MEMBERS, (leader + 2) % MEMBERS):
        council.sources[number].factor = 10 * MICRO
    slot = council.slot()
    proposal = council.propose(slot)
    assert proposal.header.mark(BTC).index == PRICE[BTC]
    # The two honest ones sign, the two that saw another market do not: no quorum, no epoch.
    outcome = council.run()
    assert outcome.reason == "2 signatures are no quorum of 3"


def test_threat_13__leader_proposes_twice__second_refused(council: Council, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slot = council.slot()
    first = council.propose(slot)
    second = forge(council, first, lambda b: replace(b, observations=b.observations[:3]))
    assert first.header.hash != second.header.hash
    for number in range(3):
        council.member(number).review(first)
        with pytest.raises(Refused, match=f"already signed another header in slot {slot.epoch}"):
            council.member(number).review(second)
    refusals = [line for line in lines(caplog) if line["action"] == "refuse"]
    assert [line["member"] for line in refusals] == [0, 1, 2]
    assert refusals[0]["header"] == second.header.hash.hex()


def test_threat_13__second_proposal_alone__is_good(council: Council) -> None:
    # The neighbour of the case above: what was refused there was refused only for the first.
    slot = council.slot()
    second = forge(council, council.propose(slot), lambda b: replace(b, observations=b.observations[:3]))
    assert len(council.member(0).review(second)) == 128


def test_threat_13__restarted_between_signing_and_posting__same_signature_and_no_other(council: Council) -> None:
    slot = council.slot()
    proposal = council.propose(slot)
    other = forge(council, proposal, lambda b: replace(b, observations=b.observations[:3]))
    before = [council.member(number).review(proposal) for number in range(MEMBERS)]
    observed = council.member(1).observe(slot)
    # Everything but the databases is lost, and the market has moved.
    for source in council.sources:
        source.factor = 1_010_000
        source.asked = 0
    council.nodes = council.wake()
    assert council.member(1).observe(slot) == observed
    assert council.sources[1].asked == 0
    assert [council.member(number).review(proposal) for number in range(MEMBERS)] == before
    with pytest.raises(Refused, match="already signed another header"):
        council.member(0).review(other)
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.epoch is not None
    assert outcome.epoch.header == proposal.header


def test_threat_13__restarted_leader_sees_another_block__abstains(council: Council) -> None:
    slot = council.slot()
    council.member(1).observe(slot)
    council.move(*council.accounts, PERP_ETH, 1)
    later = council.leader._slot(council.time)
    with pytest.raises(Abstain, match="already observed slot"):
        council.member(1).observe(later)


@pytest.mark.parametrize("changes", ["array", "c_long", "c_short"])
def test_threat_13__cannot_reproduce_a_price__refuses_and_says_which(
    council: Council, caplog: pytest.LogCaptureFixture, changes: str
) -> None:
    caplog.set_level(logging.INFO)
    slot = council.slot()
    proposal = council.propose(slot)
    leaf = InstrumentLeaf.unpack(*Bundle.decode(proposal.bundle).instruments[2])

    def moved(by: int) -> dict[str, Any]:
        if changes == "array":
            return {"array": (*leaf.array[:7], leaf.array[7] + by, *leaf.array[8:])}
        return {changes: getattr(leaf, changes) + by}

    bad = forge(council, proposal, lambda b: reprice(b, 2, **moved(2)))
    with pytest.raises(Refused, match=f"cannot reproduce instrument {leaf.id:#x}"):
        council.member(1).review(bad)
    assert lines(caplog)[-1]["action"] == "refuse"
    assert "cannot reproduce" in lines(caplog)[-1]["reason"]
    # Its neighbour is within the rounding of floats, and is signed as the leader has it.
    near = forge(council, proposal, lambda b: reprice(b, 2, **moved(1)))
    assert len(council.member(1).review(near)) == 128


def test_threat_13__one_cannot_reproduce__the_others_post(council: Council) -> None:
    member = council.member((council.leader.member.number + 1) % MEMBERS)
    member.price_tolerance = -1
    outcome = council.run()
    assert outcome.posted
    assert outcome.mask == 0b1111 ^ 1 << member.number


def swap(rows: tuple[Any, ...], place: int, row: Any) -> tuple[Any, ...]:
    return (*rows[:place], row, *rows[place + 1 :])


def leaf_with(leaf: AccountLeaf, **fields: Any) -> AccountLeaf:
    """An account leaf with other fields."""
    names = ("head", "position_hash", "cost", "vectors")
    return AccountLeaf.of(**{name: getattr(leaf, name) for name in names} | fields)


FALSE = {
    "marks": (lambda b: replace(b, marks=(b.marks[0] + (1 << 176), b.marks[1])), "marks are not the medians"),
    "forward": (
        lambda b: reprice(b, 0, forward=InstrumentLeaf.unpack(*b.instruments[0]).forward + 1),
        "inputs of instrument",
    ),
    "instrument left out": (lambda b: replace(b, instruments=b.instruments[:4]), "not those listed"),
    "vector": (
        lambda b: replace(
            b,
            accounts=swap(b.accounts, 0, leaf_with(b.accounts[0], vectors=[v + 1 for v in b.accounts[0].vectors])),
        ),
        "account leaves differ: account 256",
    ),
    "position hash": (
        lambda b: replace(b, accounts=swap(b.accounts, 1, leaf_with(b.accounts[1], position_hash=bytes(32)))),
        "account leaves differ: account 257",
    ),
    "account left out": (lambda b: replace(b, accounts=b.accounts[:1]), "1 leaves instead of 2"),
    "settlement": (lambda b: replace(b, settlements=(1 << 200,)), "settlement prices are not the medians"),
    "too few observations": (lambda b: replace(b, observations=b.observations[:2]), "no quorum"),
    "one observation twice": (
        lambda b: replace(b, observations=(b.observations[0], *b.observations[:3])),
        "each once, ascending",
    ),
    "own observation left out": (lambda b: replace(b, observations=b.observations[:3]), "is not in the proposal"),
    "another's signature": (
        lambda b: replace(
            b, observations=swap(b.observations, 0, replace(b.observations[0], signature=b.observations[1].signature))
        ),
        "not its own",
    ),
    "policy": (lambda b: replace(b, policy=b.policy[:-1] + b"\x01"), "policy"),
}


@pytest.mark.parametrize("name", FALSE)
def test_review__false_proposal__refused(council: Council, name: str) -> None:
    change, message = FALSE[name]
    proposal = council.propose(council.slot())
    assert len(council.member(2).review(proposal)) == 128
    bad = change(Bundle.decode(proposal.bundle))
    data = bad.encode()
    header = replace(proposal.header, bundle_hash=bundle_hash(data), marks=bad.marks)
    member = council.member(3)
    with pytest.raises(Refused, match=message):
        member.review(Proposal(proposal.leader, header, data))
    assert len(member.review(proposal)) == 128


@pytest.mark.parametrize(
    "field", ["instrument_root", "account_root", "snapshot_hash", "policy_hash", "bundle_hash", "shortfall", "epoch"]
)
def test_review__header_unlike_its_bundle__refused(council: Council, field: str) -> None:
    proposal = council.propose(council.slot())
    value = getattr(proposal.header, field)
    false = value + 1 if isinstance(value, int) else bytes(31) + b"\x01"
    with pytest.raises(Refused):
        council.member(0).review(replace(proposal, header=replace(proposal.header, **{field: false})))


def test_review__observation_not_its_own__refused(council: Council) -> None:
    slot = council.slot()
    proposal = council.propose(slot)
    bundle = Bundle.decode(proposal.bundle)
    body = dict(bundle.observations[0].body)
    body["underlyings"] = body["underlyings"] | {"1": [PRICE[BTC] + 1, 0, 160_000]}
    # Even signed with its key: this member did not say so.
    stolen = sign_observation(secrets()[0], 0, slot, body)
    bad = replace(bundle, observations=swap(bundle.observations, 0, stolen)).encode()
    header = replace(proposal.header, bundle_hash=bundle_hash(bad))
    with pytest.raises(Refused, match="not the one it signed"):
        council.member(0).review(Proposal(proposal.leader, header, bad))


def test_review__wrong_leader__refused(council: Council) -> None:
    proposal = council.propose(council.slot())
    wrong = (proposal.leader + 1) % MEMBERS
    with pytest.raises(Refused, match=f"member {wrong} does not lead slot"):
        council.member(0).review(replace(proposal, leader=wrong))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chain_id": 1}, "on chain 1"),
        ({"oracle": "0x" + "12" * 20}, "oracle 0x1212"),
        ({"committee_set": 2}, "committee set 2, not 1"),
        ({"snapshot_hash": b"\x01" * 32}, "another hash"),
        ({"snapshot_block": 10**6}, "block 1000000 is not between"),
        ({"epoch": 5}, "not in slot 5"),
    ],
)
def test_observe__slot_of_another_world__abstains(council: Council, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Abstain, match=message):
        council.member(0).observe(replace(council.slot(), **changes))


def test_observe__slot_ahead_of_the_clock_or_not_new__abstains(council: Council) -> None:
    slot = council.slot()
    council.time -= 60
    with pytest.raises(Abstain, match="ahead of this member's clock"):
        council.member(0).observe(slot)
    council.time += 60
    assert council.run().posted
    council.time -= HOUR
    for node in council.wake().values():
        with pytest.raises(Abstain):
            node.member.observe(replace(node._slot(council.time), timestamp=council.time + 1))


# Bad input


def test_market__too_few_sources_of_one_member__posted_without_it(
    council: Council, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    council.sources[1].error = "underlying 1: 2 usable sources of 3 needed"
    outcome = council.run()
    assert outcome.posted
    assert outcome.mask == 0b1101
    [line] = [line for line in lines(caplog) if line["action"] == "abstain"]
    assert line == {
        "member": 1,
        "epoch": outcome.slot,
        "action": "abstain",
        "reason": "underlying 1: 2 usable sources of 3 needed",
    }


def test_market__too_few_sources__epoch_skipped_and_recorded_process_lives(
    council: Council, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in (1, 2):
        council.sources[number].error = "underlying 1: 2 usable sources of 3 needed"
    leader = council.leader.member
    outcome = council.run()
    assert not outcome.posted
    assert lines(caplog)[-1] == {
        "leader": leader.number,
        "epoch": outcome.slot,
        "action": "skip",
        "reason": "2 observations are no quorum of 3",
    }
    with leader.database.begin() as session:
        [kept] = outcomes(session, council.system.chain.chain_id, council.system.oracle.address)
    assert (kept.status, kept.reason) == ("skipped", "2 observations are no quorum of 3")
    for source in council.sources:
        source.error = ""
    assert council.run().posted


@pytest.mark.parametrize("changes", [{"index": 0}, {"index": 1 << 48}, {"scan_range": MICRO}, {"funding": 1 << 63}])
def test_market__value_out_of_range__member_abstains(council: Council, changes: dict[str, int]) -> None:
    council.sources[0].changes = changes
    with pytest.raises(Abstain, match="is not within"):
        council.member(0).observe(council.slot())
    for source in council.sources:
        source.changes = changes
    assert not council.run().posted
    for source in council.sources:
        source.changes = {}
    assert council.run().posted


def test_market__forward_far_from_index__epoch_skipped(council: Council) -> None:
    for source in council.sources:
        source.changes = {"index": PRICE[BTC] * 100}
    outcome = council.run()
    assert "no epoch can be built" in outcome.reason
    assert "far from its index" in outcome.reason


def test_post__contract_refuses__slot_skipped_with_its_reason(council: Council) -> None:
    council.tick()
    leader = council.leader
    council.system.chain.set_next_timestamp(council.time + 3 * HOUR)
    council.system.chain.mine()
    outcome = leader.lead(council.time)
    assert outcome.reason == "the oracle contract refuses the header: oracle: timestamp too old"


def test_local_nodes__keys_in_another_order__refused(council: Council, tmp_path: Path) -> None:
    with pytest.raises(BallastError, match="keys are not those of committee set 1"):
        local_nodes(
            council.system,
            secrets()[::-1],
            council.sources,
            council.system.chain.accounts[1],
            tmp_path,
            lambda: 0,
            committee=committee(),
        )


# On a chain with precompiles, blocks and reorganisations


@pytest.fixture
def anvil_council(tmp_path: Path) -> Iterator[Council]:
    if anvil_binary() is None:
        pytest.skip("anvil is not installed")
    with start_anvil(timestamp=START - HOUR) as chain:
        yield Council.seat(tmp_path, chain)


def test_threat_9__reorganisation_with_the_same_count_of_trades__other_hashes_and_real_signatures(
    anvil_council: Council,
) -> None:
    council = anvil_council
    chain: Any = council.system.chain
    nodes = dict(council.nodes)
    absent = (council.leader.member.number + 1) % MEMBERS
    silence(council, absent)
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.mask == 0b1111 ^ 1 << absent  # the committee contract verified the aggregate of three
    council.nodes = nodes
    silence(council)
    reader = council.leader.member.reader
    mark = chain._rpc("evm_snapshot")
    council.move(*council.accounts, PERP_ETH, 5)
    council.move(*council.accounts, CALL, 7)
    tip = chain.block_number
    before = reader.at(tip)
    stale = council.leader._slot(council.time)
    hashes = {account: before.book.accounts[account].position_hash for account in council.accounts}
    counts = {account: len(before.book.positions(account)) for account in council.accounts}
    # The same count of trades in the same blocks, and another position.
    chain._rpc("evm_revert", mark)
    chain._nonces.clear()
    council.move(*council.accounts, PERP_ETH, 5)
    council.move(*council.accounts, CALL, 8)
    assert chain.block_number == tip
    after = reader.at(tip)
    assert after.block_hash != before.block_hash
    for account in council.accounts:
        assert len(after.book.positions(account)) == counts[account]
        assert after.book.accounts[account].position_hash != hashes[account]
        assert after.book.accounts[account].position_hash == bytes(council.system.ledger.call.account(account)[5])
    assert after.book.positions(council.accounts[1])[CALL] == 8
    with pytest.raises(Abstain, match="another hash"):
        council.leader.member.observe(stale)
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.mask == 0b1111
