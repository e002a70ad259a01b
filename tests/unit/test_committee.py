"""The committee on a chain with the precompiles: enrolment, seating, and whose signature is accepted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from eth_abi import encode
from eth_utils import keccak, to_checksum_address
from py_ecc.bls.hash_to_curve import map_to_curve_G2
from py_ecc.fields import optimized_bls12_381_FQ2 as FQ2
from py_ecc.optimized_bls12_381 import add, curve_order, field_modulus, multiply, neg

from offchain.chain.anvil import local_chain
from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO, Chain, Contract, Receipt, Reverted, Signer
from offchain.chain.revm import RevmChain
from offchain.oracle import signatures
from offchain.oracle.signatures import (
    POSSESSION_TAG,
    SecretKey,
    aggregate,
    possession_message,
    prove_possession,
    sign,
    verify,
)
from offchain.risk.policy import default_policy

DIGEST = keccak(b"digest")
ONE = "0x" + "11" * 20
SECRETS = [SecretKey.generate(bytes([i]) * 32) for i in range(1, 34)]


def member(index: int) -> str:
    return to_checksum_address(f"0x{index + 0xA0:040x}")


def enrol(committee: Contract, indices: Sequence[int]) -> None:
    owner = committee.chain.accounts[0]
    for i in indices:
        proof = prove_possession(SECRETS[i], committee.chain.chain_id, committee.address, member(i))
        committee.send.enrol(member(i), SECRETS[i].public_key, proof, sender=owner)


def signed_by(indices: Sequence[int], places: Sequence[int]) -> tuple[int, bytes]:
    """Mask and aggregate signature of members who sit at `places`."""
    return sum(1 << i for i in places), aggregate([sign(SECRETS[i], DIGEST) for i in indices])


def signed(indices: Sequence[int], digest: bytes = DIGEST) -> tuple[int, bytes]:
    """Mask and aggregate signature of the members `indices` of a set that was enrolled in order from 0."""
    return sum(1 << i for i in indices), aggregate([sign(SECRETS[i], digest) for i in indices])


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with local_chain() as started:
        yield started


DELAY, UNBONDING, BOND = 86_400, 7 * 86_400, 100_000 * 10**6


def deploy(chain: Chain, bond: int = 0) -> Contract:
    """A committee with a registry and a token of its own."""
    owner = chain.accounts[0]
    registry = chain.deploy(artifact("Registry"), DELAY, default_policy().words, ZERO, [], [], sender=owner)
    token = chain.deploy(artifact("mocks/SettlementToken"), sender=owner)
    return chain.deploy(artifact("Committee"), registry, token, bond, UNBONDING, sender=owner)


def reseat(committee: Contract) -> Receipt:
    """Seat those who wait in the place of others, behind the timelock."""
    chain, owner = committee.chain, committee.chain.accounts[0]
    committee.send.propose_seating(sender=owner)
    chain.set_next_timestamp(chain.timestamp + DELAY)
    chain.mine()
    return committee.send.seat(sender=owner)


@pytest.fixture
def committee(chain: Chain) -> Contract:
    return deploy(chain)


@pytest.fixture(scope="module")
def seven(chain: Chain) -> Contract:
    """A seated set of seven, quorum five; tests only read it."""
    made = deploy(chain)
    enrol(made, range(7))
    made.send.seat(sender=chain.accounts[0])
    return made


# Enrolment


def test_enrol__proven_key__waits(chain: Chain, committee: Contract) -> None:
    key = SECRETS[0].public_key
    assert committee.call.possession_message(member(0), key) == possession_message(
        chain.chain_id, committee.address, member(0), key
    )
    proof = prove_possession(SECRETS[0], chain.chain_id, committee.address, member(0))
    receipt = committee.send.enrol(member(0), key, proof, sender=chain.accounts[0])
    assert receipt.event("Enrolled").args == {"member": member(0), "position": 0, "key": key}
    assert committee.call.waiting() == [member(0)]
    assert committee.call.current_set() == 0


def test_enrol__malformed__refused(chain: Chain, committee: Contract) -> None:
    owner, key = chain.accounts[0], SECRETS[0].public_key
    proof = prove_possession(SECRETS[0], chain.chain_id, committee.address, member(0))
    cases = [
        ("0x" + "00" * 20, key, proof, "committee: member is zero"),
        (member(0), key[:-1], proof, "committee: key is not 256 bytes"),
        (member(0), b"", proof, "committee: key is not 256 bytes"),
        (member(0), bytes(256), proof, "committee: key at infinity"),
        (member(0), key, proof[:-1], "committee: possession is not 128 bytes"),
        (member(0), key, proof + bytes(32), "committee: possession is not 128 bytes"),
        (member(0), key, bytes(128), "committee: possession at infinity"),
        (member(0), key, sign(SECRETS[1], DIGEST), "committee: possession not proven"),
        (member(1), key, proof, "committee: possession not proven"),
        (member(0), SECRETS[1].public_key, proof, "committee: possession not proven"),
        (member(0), key[:-1] + bytes([key[-1] ^ 1]), proof, "bls12_381: not a point"),
    ]
    for name, bad_key, bad_proof, words in cases:
        with pytest.raises(Reverted, match=words):
            committee.send.enrol(name, bad_key, bad_proof, sender=owner)
    assert committee.call.waiting() == []
    committee.send.enrol(member(0), key, proof, sender=owner)
    assert committee.call.waiting() == [member(0)]


def test_enrol__message_tag_in_place_of_the_proof_tag__refused(chain: Chain, committee: Contract) -> None:
    message = possession_message(chain.chain_id, committee.address, member(0), SECRETS[0].public_key)
    with pytest.raises(Reverted, match="committee: possession not proven"):
        committee.send.enrol(member(0), SECRETS[0].public_key, sign(SECRETS[0], message), sender=chain.accounts[0])


def test_enrol__duplicate__refused(chain: Chain, committee: Contract) -> None:
    owner = chain.accounts[0]
    enrol(committee, [0])
    with pytest.raises(Reverted, match="committee: member already enrolled"):
        enrol(committee, [0])
    proof = prove_possession(SECRETS[0], chain.chain_id, committee.address, member(1))
    with pytest.raises(Reverted, match="committee: key already enrolled"):
        committee.send.enrol(member(1), SECRETS[0].public_key, proof, sender=owner)
    receipt = committee.send.discard(sender=owner)
    assert receipt.event("Discarded").args == {"members": [member(0)]}
    assert committee.call.waiting() == []
    enrol(committee, [0])  # a new round forgets what the last had taken


def test_owner__alone__enrols_discards_and_seats(chain: Chain, committee: Contract) -> None:
    stranger = chain.accounts[1]
    proof = prove_possession(SECRETS[0], chain.chain_id, committee.address, member(0))
    for call in (
        lambda: committee.send.enrol(member(0), SECRETS[0].public_key, proof, sender=stranger),
        lambda: committee.send.discard(sender=stranger),
        lambda: committee.send.seat(sender=stranger),
    ):
        with pytest.raises(Reverted, match="ownable: caller is not the owner"):
            call()
    committee.send.transfer_ownership(stranger.address, sender=chain.accounts[0])
    assert committee.call.owner() == chain.accounts[0].address
    assert committee.call.pending_owner() == stranger.address
    with pytest.raises(Reverted, match="ownable_2step: caller is not the new owner"):
        committee.send.accept_ownership(sender=chain.accounts[0])
    committee.send.accept_ownership(sender=stranger)
    assert committee.call.owner() == stranger.address
    committee.send.enrol(member(0), SECRETS[0].public_key, proof, sender=stranger)


# Seating


def test_seat__fewer_than_four__refused(chain: Chain, committee: Contract) -> None:
    enrol(committee, range(3))
    with pytest.raises(Reverted, match="committee: fewer than four members"):
        committee.send.seat(sender=chain.accounts[0])
    enrol(committee, [3])
    committee.send.seat(sender=chain.accounts[0])
    assert (committee.call.size(1), committee.call.quorum(1)) == (4, 3)


def test_seat__every_read_agrees(chain: Chain, committee: Contract) -> None:
    enrol(committee, range(7))
    receipt = committee.send.seat(sender=chain.accounts[0])
    names = [member(i) for i in range(7)]
    assert receipt.event("Seated").args == {"set_id": 1, "members": names, "quorum": 5}
    assert committee.call.current_set() == 1
    assert (committee.call.size(1), committee.call.quorum(1)) == (7, 5)
    assert committee.call.members(1) == names
    assert [committee.call.member_key(1, i) for i in range(7)] == [s.public_key for s in SECRETS[:7]]
    assert committee.call.waiting() == []
    with pytest.raises(Reverted, match="committee: no such member"):
        committee.call.member_key(1, 7)
    for read in (committee.call.size, committee.call.quorum, committee.call.members):
        with pytest.raises(Reverted, match="committee: no such set"):
            read(2)


def test_seat__another__replaces_and_the_last_stays_readable(chain: Chain, committee: Contract) -> None:
    owner = chain.accounts[0]
    enrol(committee, range(4))
    committee.send.seat(sender=owner)
    mask, signature = signed([0, 1, 2])
    assert committee.call.verify(1, DIGEST, mask, signature)
    enrol(committee, [0, 1, 2, 3, 4])
    assert committee.call.verify(1, DIGEST, mask, signature)  # those who wait change nothing
    with pytest.raises(Reverted, match="timelock: nothing proposed"):
        committee.send.seat(sender=owner)
    receipt = committee.send.propose_seating(sender=owner)
    names = [member(i) for i in range(5)]
    assert receipt.event("SeatingProposed").args == {"members": names, "ready_at": receipt.timestamp + DELAY}
    with pytest.raises(Reverted, match="timelock: too early"):
        committee.send.seat(sender=owner)
    reseat(committee)
    assert committee.call.current_set() == 2
    assert committee.call.members(1) == [member(i) for i in range(4)]
    with pytest.raises(Reverted, match="committee: set is not current"):
        committee.call.verify(1, DIGEST, mask, signature)
    with pytest.raises(Reverted, match="committee: quorum not reached"):
        committee.call.verify(2, DIGEST, mask, signature)
    assert committee.call.verify(2, DIGEST, *signed([0, 1, 2, 4]))


def test_seat__thirty_two__is_the_most(chain: Chain, committee: Contract) -> None:
    enrol(committee, range(32))
    with pytest.raises(Reverted, match="committee: too many members"):
        enrol(committee, [32])
    committee.send.seat(sender=chain.accounts[0])
    assert (committee.call.size(1), committee.call.quorum(1)) == (32, 22)
    assert committee.call.verify(1, DIGEST, *signed(range(10, 32)))
    assert committee.call.verify(1, DIGEST, *signed(range(32)))
    with pytest.raises(Reverted, match="committee: quorum not reached"):
        committee.call.verify(1, DIGEST, *signed(range(11, 32)))


def test_seat__keys_that_cancel__refused(chain: Chain, committee: Contract) -> None:
    # One person who knows all secrets can choose them so that the sum is zero; no one else can.
    total = sum(s.scalar for s in SECRETS[:3]) % curve_order
    last = SecretKey(curve_order - total)
    enrol(committee, range(3))
    proof = prove_possession(last, chain.chain_id, committee.address, member(3))
    committee.send.enrol(member(3), last.public_key, proof, sender=chain.accounts[0])
    with pytest.raises(Reverted, match="committee: aggregate at infinity"):
        committee.send.seat(sender=chain.accounts[0])


def test_threat_31__seating__those_who_enrol_later_were_not_announced(chain: Chain, committee: Contract) -> None:
    owner = chain.accounts[0]
    enrol(committee, range(4))
    committee.send.seat(sender=owner)
    enrol(committee, range(4))
    committee.send.propose_seating(sender=owner)
    chain.set_next_timestamp(chain.timestamp + DELAY)
    chain.mine()
    enrol(committee, [4])
    with pytest.raises(Reverted, match="timelock: not what was proposed"):
        committee.send.seat(sender=owner)


# Bonds


@dataclass
class Bonded:
    """A committee with bonds: member `i` is backed by account `i + 1`; account 8 is the challenger."""

    chain: Chain
    committee: Contract
    token: Contract
    challenger: Signer

    def back(self, indices: Sequence[int]) -> None:
        for i in indices:
            holder = self.chain.accounts[i % 7 + 1]
            self.token.send.mint(holder.address, BOND, sender=holder)
            self.token.send.approve(self.committee.address, BOND, sender=holder)
            self.committee.send.deposit_bond(member(i), sender=holder)

    def sums(self) -> None:
        """Tokens held are the bonds and what was forfeited."""
        bonds = sum(self.committee.call.bond_of(member(i))[1] for i in range(12))
        held = self.token.call.balanceOf(self.committee.address)
        assert held == bonds + self.committee.call.forfeited()


@pytest.fixture
def bonded(chain: Chain) -> Bonded:
    committee = deploy(chain, BOND)
    owner, key = chain.accounts[0], chain.accounts[8]
    registry = chain.at(artifact("Registry"), committee.call.registry())
    registry.send.propose_challenger(key.address, sender=owner)
    chain.set_next_timestamp(chain.timestamp + DELAY)
    chain.mine()
    registry.send.enact_challenger(key.address, sender=owner)
    return Bonded(chain, committee, chain.at(artifact("mocks/SettlementToken"), committee.call.token()), key)


@pytest.mark.parametrize(
    ("token", "unbonding", "words"),
    [
        (ZERO, UNBONDING, "bonds: token is zero"),
        (ONE, 86_400, "bonds: unbonding out of range"),
        (ONE, 90 * 86_400 + 1, "bonds: unbonding out of range"),
    ],
)
def test_deploy__bad_bonds__refused(chain: Chain, seven: Contract, token: str, unbonding: int, words: str) -> None:
    with pytest.raises(Reverted, match=words):
        chain.deploy(artifact("Committee"), seven.call.registry(), token, 0, unbonding, sender=chain.accounts[0])


def test_bond__paid_kept_and_released(bonded: Bonded) -> None:
    committee, chain = bonded.committee, bonded.chain
    with pytest.raises(Reverted, match="committee: member is not bonded"):
        enrol(committee, [0])
    bonded.back(range(4))
    holder = chain.accounts[1]
    assert committee.call.bond_of(member(0)) == (holder.address, BOND, 0)
    with pytest.raises(Reverted, match="bonds: already backed"):
        committee.send.deposit_bond(member(0), sender=chain.accounts[2])
    enrol(committee, range(4))
    with pytest.raises(Reverted, match="committee: member waits"):
        committee.send.unbond(member(0), sender=holder)
    committee.send.seat(sender=chain.accounts[0])
    with pytest.raises(Reverted, match="committee: member is seated"):
        committee.send.unbond(member(0), sender=holder)
    bonded.back([4, 5, 6, 7])
    enrol(committee, [4, 5, 6, 7])
    reseat(committee)
    with pytest.raises(Reverted, match="bonds: caller does not back the member"):
        committee.send.unbond(member(0), sender=chain.accounts[9])
    with pytest.raises(Reverted, match="bonds: not released"):
        committee.send.withdraw_bond(member(0), sender=holder)
    receipt = committee.send.unbond(member(0), sender=holder)
    assert receipt.event("Unbonding").args == {"member": member(0), "released_at": receipt.timestamp + UNBONDING}
    with pytest.raises(Reverted, match="bonds: already released"):
        committee.send.unbond(member(0), sender=holder)
    with pytest.raises(Reverted, match="committee: member is not bonded"):
        enrol(committee, [0])
    with pytest.raises(Reverted, match="bonds: too early"):
        committee.send.withdraw_bond(member(0), sender=holder)
    before = bonded.token.call.balanceOf(holder.address)
    chain.set_next_timestamp(receipt.timestamp + UNBONDING)
    chain.mine()
    committee.send.withdraw_bond(member(0), sender=holder)
    assert bonded.token.call.balanceOf(holder.address) == before + BOND
    assert committee.call.bond_of(member(0)) == (ZERO, 0, 0)
    bonded.sums()


def test_bond__token_that_says_no__changes_nothing(chain: Chain) -> None:
    owner, holder = chain.accounts[0], chain.accounts[1]
    registry = chain.deploy(artifact("Registry"), DELAY, default_policy().words, ZERO, [], [], sender=owner)
    token = chain.deploy(artifact("mocks/FalseToken"), 6, sender=owner)
    committee = chain.deploy(artifact("Committee"), registry, token, BOND, UNBONDING, sender=owner)
    token.send.mint(holder.address, BOND, sender=holder)
    token.send.approve(committee.address, BOND, sender=holder)
    token.send.refuse(True, sender=owner)
    with pytest.raises(Reverted, match="bonds: transfer failed"):
        committee.send.deposit_bond(member(0), sender=holder)
    assert committee.call.bond_of(member(0)) == (ZERO, 0, 0)
    token.send.refuse(False, sender=owner)
    committee.send.deposit_bond(member(0), sender=holder)
    released = committee.send.unbond(member(0), sender=holder).timestamp
    chain.set_next_timestamp(released + UNBONDING)
    chain.mine()
    token.send.refuse(True, sender=owner)
    with pytest.raises(Reverted, match="bonds: transfer failed"):
        committee.send.withdraw_bond(member(0), sender=holder)
    assert committee.call.bond_of(member(0))[1] == BOND


def test_bond__where_none_is_asked_for__refused(chain: Chain, committee: Contract) -> None:
    with pytest.raises(Reverted, match="bonds: none is asked for"):
        committee.send.deposit_bond(member(0), sender=chain.accounts[1])


def test_threat_18__slashed_members__sign_no_more_and_below_a_quorum_nobody_does(bonded: Bonded) -> None:
    committee, owner = bonded.committee, bonded.chain.accounts[0]
    bonded.back(range(7))
    enrol(committee, range(7))
    committee.send.seat(sender=owner)
    with pytest.raises(Reverted, match="committee: caller is not the challenger"):
        committee.send.slash(1, 1, owner.address, sender=owner)
    with pytest.raises(Reverted, match="committee: mask names no member"):
        committee.send.slash(1, 1 << 7, owner.address, sender=bonded.challenger)
    receiver = member(99)
    receipt = committee.send.slash(1, 0b11, receiver, sender=bonded.challenger)
    assert [e.args for e in receipt.events if e.name == "Slashed"] == [
        {"member": member(0), "amount": BOND}, {"member": member(1), "amount": BOND}
    ]  # fmt: skip
    assert bonded.token.call.balanceOf(receiver) == 2 * BOND // 10
    assert committee.call.forfeited() == 2 * BOND * 9 // 10
    assert committee.call.slashed() == 0b11
    assert committee.call.verify(1, DIGEST, *signed([2, 3, 4, 5, 6]))
    with pytest.raises(Reverted, match="committee: member was slashed"):
        committee.call.verify(1, DIGEST, *signed([0, 3, 4, 5, 6]))
    committee.send.slash(1, 0b100, receiver, sender=bonded.challenger)
    with pytest.raises(Reverted, match="committee: quorum not reached"):
        committee.call.verify(1, DIGEST, *signed([3, 4, 5, 6]))
    # Only the timelock gives the oracle a committee again.
    bonded.back(range(7, 10))
    enrol(committee, [3, 4, 7, 8, 9])
    with pytest.raises(Reverted, match="timelock: nothing proposed"):
        committee.send.seat(sender=owner)
    reseat(committee)
    assert committee.call.slashed() == 0
    assert committee.call.verify(2, DIGEST, *signed_by([3, 4, 7, 8], [0, 1, 2, 3]))
    bonded.sums()


def test_slash__for_a_past_set__reaches_its_members_where_they_sit_now(bonded: Bonded) -> None:
    committee, chain, owner = bonded.committee, bonded.chain, bonded.chain.accounts[0]
    bonded.back(range(6))
    enrol(committee, range(4))
    committee.send.seat(sender=owner)
    enrol(committee, [4, 5, 2, 1])
    reseat(committee)
    committee.send.unbond(member(0), sender=chain.accounts[1])
    committee.send.slash(1, 0b0101, member(99), sender=bonded.challenger)
    assert committee.call.slashed() == 0b0100  # member 2 is third in the new set; member 0 sits nowhere
    assert committee.call.bond_of(member(0)) == (ZERO, 0, 0)
    with pytest.raises(Reverted, match="bonds: not released"):
        committee.send.withdraw_bond(member(0), sender=chain.accounts[1])
    receipt = committee.send.slash(1, 0b0101, member(99), sender=bonded.challenger)
    assert [e.args["amount"] for e in receipt.events if e.name == "Slashed"] == [0, 0]
    bonded.sums()


def test_payment_of_what_was_slashed__behind_the_timelock(bonded: Bonded) -> None:
    committee, chain, owner = bonded.committee, bonded.chain, bonded.chain.accounts[0]
    bonded.back(range(4))
    enrol(committee, range(4))
    committee.send.seat(sender=owner)
    committee.send.slash(1, 1, member(99), sender=bonded.challenger)
    amount = committee.call.forfeited()
    for call in (committee.send.propose_payment, committee.send.pay):
        with pytest.raises(Reverted, match="ownable: caller is not the owner"):
            call(member(98), amount, sender=chain.accounts[1])
    for wanted in (amount + 1, amount):
        receipt = committee.send.propose_payment(member(98), wanted, sender=owner)
        proposed = {"receiver": member(98), "amount": wanted, "ready_at": receipt.timestamp + DELAY}
        assert receipt.event("PaymentProposed").args == proposed
        with pytest.raises(Reverted, match="timelock: too early"):
            committee.send.pay(member(98), wanted, sender=owner)
        chain.set_next_timestamp(receipt.timestamp + DELAY)
        chain.mine()
        if wanted > amount:
            with pytest.raises(Reverted, match="bonds: more than was forfeited"):
                committee.send.pay(member(98), wanted, sender=owner)
    receipt = committee.send.pay(member(98), amount, sender=owner)
    assert receipt.event("ForfeitedPaid").args == {"receiver": member(98), "amount": amount}
    assert bonded.token.call.balanceOf(member(98)) == amount
    bonded.sums()


# Verification


@pytest.mark.parametrize("absent", [(), (0,), (6,), (0, 6), (2, 3), (5, 6)])
def test_verify__quorum__accepted(seven: Contract, absent: tuple[int, ...]) -> None:
    present = [i for i in range(7) if i not in absent]
    mask, signature = signed(present)
    assert seven.call.verify(1, DIGEST, mask, signature)
    assert verify([SECRETS[i].public_key for i in present], DIGEST, signature)


def test_verify__wrong_signature__is_false(seven: Contract) -> None:
    mask, signature = signed([0, 1, 2, 3, 4])
    assert not seven.call.verify(1, keccak(b"another"), mask, signature)
    assert not seven.call.verify(1, DIGEST, 0b0111110, signature)
    assert not seven.call.verify(1, DIGEST, 0b0111111, signature)
    assert not seven.call.verify(1, DIGEST, mask, sign(SECRETS[0], DIGEST))
    assert not seven.call.verify(1, DIGEST, mask, signed([0, 1, 2, 3, 5])[1])


def test_verify__malformed__refused(seven: Contract) -> None:
    mask, signature = signed([0, 1, 2, 3, 4])
    cases = [
        (0, mask, signature, "committee: set is not current"),
        (2, mask, signature, "committee: set is not current"),
        (1, mask, signature[:-1], "committee: signature is not 128 bytes"),
        (1, mask, signature + b"\0", "committee: signature is not 128 bytes"),
        (1, mask, b"", "committee: signature is not 128 bytes"),
        (1, mask, bytes(128), "committee: signature at infinity"),
        (1, mask | 1 << 7, signature, "committee: mask names no member"),
        (1, mask | 1 << 255, signature, "committee: mask names no member"),
        (1, 0b1111, signed([0, 1, 2, 3])[1], "committee: quorum not reached"),
        (1, 0, signature, "committee: quorum not reached"),
        (1, mask, signature[:-1] + bytes([signature[-1] ^ 1]), "bls12_381: not a point"),
    ]
    for set_id, bad_mask, bad_signature, words in cases:
        with pytest.raises(Reverted, match=words):
            seven.call.verify(set_id, DIGEST, bad_mask, bad_signature)
    assert seven.call.verify(1, DIGEST, mask, signature)


def test_verify__before_the_first_set__refused(committee: Contract) -> None:
    with pytest.raises(Reverted, match="committee: set is not current"):
        committee.call.verify(0, DIGEST, 0, sign(SECRETS[0], DIGEST))


# THREATS 16, the part of the keys; the headers' part is in test_risk_oracle.py


def test_threat_16__rogue_key__cannot_enrol(chain: Chain, committee: Contract) -> None:
    """An attacker's key less those of the others would let the attacker alone sign for all."""
    enrol(committee, range(3))
    rogue = signatures._key_point(SECRETS[3].public_key)
    for secret in SECRETS[:3]:
        rogue = add(rogue, neg(signatures._key_point(secret.public_key)))
    key = signatures._encode(rogue)
    message = possession_message(chain.chain_id, committee.address, member(3), key)
    guesses = [
        sign(SECRETS[3], message, POSSESSION_TAG),
        aggregate([sign(SECRETS[i], message, POSSESSION_TAG) for i in range(4)]),
        prove_possession(SECRETS[3], chain.chain_id, committee.address, member(3)),
    ]
    for proof in guesses:
        with pytest.raises(Reverted, match="committee: possession not proven"):
            committee.send.enrol(member(3), key, proof, sender=chain.accounts[0])
    # Had it been enrolled, the attacker's lone signature would have been everybody's:
    assert verify([*(s.public_key for s in SECRETS[:3]), key], DIGEST, sign(SECRETS[3], DIGEST))


def test_threat_16__key_at_infinity_or_outside_the_subgroup__cannot_enrol(chain: Chain, committee: Contract) -> None:
    owner = chain.accounts[0]
    with pytest.raises(Reverted, match="committee: key at infinity"):
        committee.send.enrol(member(0), bytes(256), bytes(128), sender=owner)
    outside = map_to_curve_G2(FQ2([5, 7]))
    mixed = add(signatures._key_point(SECRETS[0].public_key), multiply(outside, curve_order))
    for point in (outside, mixed):
        key = signatures._encode(point)
        proof = sign(SECRETS[0], possession_message(chain.chain_id, committee.address, member(0), key), POSSESSION_TAG)
        with pytest.raises(Reverted, match="bls12_381: not a point"):
            committee.send.enrol(member(0), key, proof, sender=owner)


def test_threat_16__proof_of_possession__binds_chain_committee_member_and_key(
    chain: Chain, committee: Contract
) -> None:
    key, owner = SECRETS[0].public_key, chain.accounts[0]
    foreign = [
        prove_possession(SECRETS[0], chain.chain_id + 1, committee.address, member(0)),
        prove_possession(SECRETS[0], chain.chain_id, member(9), member(0)),
        prove_possession(SECRETS[0], chain.chain_id, committee.address, member(1)),
        sign(SECRETS[0], keccak(text="ballast.pop.v1"), POSSESSION_TAG),
    ]
    for proof in foreign:
        with pytest.raises(Reverted, match="committee: possession not proven"):
            committee.send.enrol(member(0), key, proof, sender=owner)
    words = encode(
        ["bytes32", "uint256", "address", "address", "bytes32"],
        [keccak(text="ballast.pop.v1"), chain.chain_id, committee.address, member(0), keccak(key)],
    )
    committee.send.enrol(member(0), key, sign(SECRETS[0], keccak(words), POSSESSION_TAG), sender=owner)


def test_threat_16__precompile_missing__cannot_enrol() -> None:
    committee = deploy(RevmChain())
    with pytest.raises(Reverted, match="bls12_381: precompile missing"):
        enrol(committee, [0])


def test_keys_of_a_set__stored_negated__are_canonical(chain: Chain, seven: Contract) -> None:
    for i in range(7):
        key = seven.call.member_key(1, i)
        assert all(int.from_bytes(key[at : at + 64], "big") < field_modulus for at in range(0, 256, 64))
