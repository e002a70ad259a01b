# pragma version 0.4.3
"""
@title Committee
@license GNU Affero General Public License v3.0 only
@notice Who may sign for the oracle: members, their BLS keys with proof of possession, and the check that a quorum of the
        current set signed a digest. Members are bonded; the challenger slashes those who signed what is wrong.
@dev Signatures are in G1, keys in G2, ciphersuite BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_ (draft-irtf-cfrg-bls-signature).
     Aggregation of keys is safe against rogue keys because each key is enrolled with a proof, over a message that names
     chain, contract, member and key, that its secret is known.
@custom:security Needs the precompiles of EIP-2537 (prague) and EIP-5656 (cancun).
@custom:kill Nothing here can be stopped. The owner takes the power to sign from a committee by seating another, behind the
             timelock; a set that was replaced stays readable and signs nothing any more. Members who were slashed sign
             nothing; where fewer than a quorum are left, the oracle waits for another committee.
"""


from snekmate.auth import ownable
from snekmate.auth import ownable_2step

from interfaces import ICommittee
from interfaces import IRegistry
from lib import bls12_381
from lib import bonds
from lib import code_storage
from lib import signers
from lib import timelock


implements: ICommittee


initializes: ownable
initializes: ownable_2step[ownable := ownable]
initializes: timelock
initializes: bonds[ownable := ownable, timelock := timelock]


exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
    timelock.delay,
    bonds.token,
    bonds.bond,
    bonds.unbonding,
    bonds.forfeited,
    bonds.deposit_bond,
    bonds.withdraw_bond,
    bonds.bond_of,
    bonds.propose_payment,
    bonds.pay,
)


# @dev Four is the fewest of whom one may be silent or wrong: 3f + 1 with f = 1.
MIN_MEMBERS: constant(uint256) = 4
MAX_MEMBERS: constant(uint256) = 32


# @dev Domain separation tags of the ciphersuite: for messages, for proofs of possession.
MESSAGE_TAG: constant(Bytes[43]) = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
POSSESSION_TAG: constant(Bytes[43]) = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
POSSESSION_DOMAIN: constant(bytes32) = keccak256("ballast.pop.v1")


# @dev A set in one word: where its code is (bits 159..0), its size (167..160), its quorum (175..168); in `_current` also
#      the set's id (223..176) and a mask of those of its members who were slashed (255..224).
SIZE_SHIFT: constant(uint256) = 160
QUORUM_SHIFT: constant(uint256) = 168
ID_SHIFT: constant(uint256) = 176
SLASHED_SHIFT: constant(uint256) = 224
MASK_48: constant(uint256) = 2**48 - 1


# @dev What is announced behind the timelock.
SEATING: constant(bytes32) = keccak256("seat")


# @dev Who names the challenger.
registry: public(immutable(IRegistry))


# @dev The set that may sign; 0 before the first.
_current: uint256


# @dev Every set that ever was, by id (1, 2, ...).
_sets: HashMap[uint256, uint256]


# @dev Those who wait to be seated, in order of enrolment, and where their keys are.
# @custom:invariant Both lists have the same length.
_waiting: DynArray[address, MAX_MEMBERS]
_waiting_keys: DynArray[address, MAX_MEMBERS]


# @dev Where a member sat last: set id above bit 8, its number there below.
_seat_of: HashMap[address, uint256]


# @dev What a round of enrolment has taken: members' addresses and keys' hashes. Seating and discarding begin a round.
_round: uint256
_taken: HashMap[uint256, HashMap[bytes32, bool]]


@deploy
def __init__(registry_: address, token_: address, bond_: uint256, unbonding_: uint256):
    """
    @notice The deployer becomes the owner. No set is seated.
    @param registry_ The registry, whose timelock's delay is also the one here.
    @param token_ The settlement token, in which bonds are paid.
    @param bond_ Bond of a member, micro-USD; zero asks for none.
    @param unbonding_ How long the release of a bond takes, seconds.
    """
    ownable.__init__()
    ownable_2step.__init__()
    registry = IRegistry(registry_)
    timelock.__init__(staticcall IRegistry(registry_).delay())
    bonds.__init__(token_, bond_, unbonding_)


# Challenger


@external
def slash(set_id: uint256, mask: uint256, beneficiary: address):
    """
    @notice Take the bonds of members who signed what was proven wrong, and their power to sign.
    @dev A member of an earlier set who sits in the current one is stopped there too. The quorum stays what it was: with
         fewer left, nothing can be signed until another set is seated.
    @param set_id Their set, current or past.
    @param mask Bit `i` set: member `i` of it.
    @param beneficiary Who gets the challenger's part.
    """
    assert msg.sender == staticcall registry.challenger(), "committee: caller is not the challenger"
    members: DynArray[address, MAX_MEMBERS] = self._members(set_id)
    assert mask >> len(members) == 0, "committee: mask names no member"
    current: uint256 = self._current
    reward: uint256 = 0
    for i: uint256 in range(len(members), bound=MAX_MEMBERS):
        if (mask >> i) & 1 == 1:
            seated: uint256 = self._seat_of[members[i]]
            if seated >> 8 == (current >> ID_SHIFT) & MASK_48:
                current |= 1 << (SLASHED_SHIFT + (seated & 255))
            reward += bonds._slash(members[i])
    self._current = current
    bonds._pay(beneficiary, reward)


# Whoever backs a member


@external
def unbond(member: address):
    """
    @notice Begin the release of a bond, once the member neither sits nor waits.
    @param member The member.
    """
    seated: uint256 = self._seat_of[member] >> 8
    assert seated == 0 or seated != (self._current >> ID_SHIFT) & MASK_48, "committee: member is seated"
    assert not self._taken[self._round][convert(member, bytes32)], "committee: member waits"
    bonds._release(member)


# Owner


@external
def enrol(member: address, key: Bytes[256], possession: Bytes[256]):
    """
    @notice Put a member on the list of those who will be seated.
    @dev The pairing proves that `possession` is a signature by `key` and that both are in their subgroups, which the
         later additions rely on. The infinite key would pass with the infinite signature for any message: refused.
    @param member The member's address.
    @param key Its public key, 256 bytes.
    @param possession Signature, 128 bytes, by the key over `possession_message(member, key)`, under the tag for proofs.
    """
    ownable._check_owner()
    assert member != empty(address), "committee: member is zero"
    assert len(key) == 256, "committee: key is not 256 bytes"
    assert not bls12_381._is_infinity(key), "committee: key at infinity"
    assert len(possession) == 128, "committee: possession is not 128 bytes"
    proof: Bytes[128] = slice(possession, 0, 128)
    assert not bls12_381._is_infinity(proof), "committee: possession at infinity"
    assert len(self._waiting) < MAX_MEMBERS, "committee: too many members"

    round: uint256 = self._round
    name: bytes32 = convert(member, bytes32)
    key_hash: bytes32 = keccak256(key)
    assert not self._taken[round][name], "committee: member already enrolled"
    assert not self._taken[round][key_hash], "committee: key already enrolled"
    assert bonds._is_backed(member), "committee: member is not bonded"

    message: bytes32 = self._possession_message(member, key_hash)
    point: Bytes[128] = bls12_381._hash_to_g1(slice(message, 0, 32), POSSESSION_TAG)
    assert bls12_381._verify(point, key, proof), "committee: possession not proven"

    self._taken[round][name] = True
    self._taken[round][key_hash] = True
    where: address = code_storage._store(key)
    position: uint256 = len(self._waiting)
    self._waiting.append(member)
    self._waiting_keys.append(where)
    log ICommittee.Enrolled(member=member, position=position, key=key)


@external
def discard():
    """
    @notice Throw away the list of those who wait, to mend a mistake.
    """
    ownable._check_owner()
    members: DynArray[address, MAX_MEMBERS] = self._waiting
    self._clear()
    log ICommittee.Discarded(members=members)


@external
def propose_seating():
    """
    @notice Announce that those who wait will be the committee. Whoever enrols after it changes what was announced.
    """
    ownable._check_owner()
    ready_at: uint256 = timelock._propose(SEATING, self._seating())
    log ICommittee.SeatingProposed(members=self._waiting, ready_at=ready_at)


@external
def seat() -> uint256:
    """
    @notice Make those who wait the committee: at once where none is seated yet, else as announced. From this block on only
            their quorum's signature is accepted.
    @dev Members' indices are their order of enrolment.
    @return uint256 The new set's id.
    """
    ownable._check_owner()
    members: DynArray[address, MAX_MEMBERS] = self._waiting
    stores: DynArray[address, MAX_MEMBERS] = self._waiting_keys
    size: uint256 = len(members)
    assert size >= MIN_MEMBERS, "committee: fewer than four members"
    if self._current != 0:
        timelock._enact(SEATING, self._seating())

    where: address = signers._keep(members, stores)
    quorum: uint256 = 2 * size // 3 + 1
    set_id: uint256 = ((self._current >> ID_SHIFT) & MASK_48) + 1
    word: uint256 = convert(where, uint256) | (size << SIZE_SHIFT) | (quorum << QUORUM_SHIFT)
    self._sets[set_id] = word
    self._current = word | (set_id << ID_SHIFT)
    for i: uint256 in range(size, bound=MAX_MEMBERS):
        self._seat_of[members[i]] = (set_id << 8) | i
    self._clear()
    log ICommittee.Seated(set_id=set_id, members=members, quorum=quorum)
    return set_id


# Views


@view
@external
def verify(set_id: uint256, digest: bytes32, mask: uint256, signature: Bytes[256]) -> bool:
    """
    @notice Whether the members named by `mask`, a quorum of the current set, all signed `digest`.
    @dev The sum of the signers' keys is formed from enrolled keys only, each in the subgroup. An infinite sum could be
         "signed" by the infinite signature alone, which is refused.
    @param set_id The set; it must be the current one.
    @param digest What was signed, 32 bytes.
    @param mask Bit `i` set: member `i` signed.
    @param signature The sum of their signatures, 128 bytes.
    @return bool Whether it verifies. Malformed input reverts instead.
    """
    current: uint256 = self._current
    assert (current >> ID_SHIFT) & MASK_48 == set_id and set_id != 0, "committee: set is not current"
    assert mask & (current >> SLASHED_SHIFT) == 0, "committee: member was slashed"
    assert len(signature) == 128, "committee: signature is not 128 bytes"
    point: Bytes[128] = slice(signature, 0, 128)
    assert not bls12_381._is_infinity(point), "committee: signature at infinity"

    size: uint256 = (current >> SIZE_SHIFT) & 255
    assert mask >> size == 0, "committee: mask names no member"
    absences: uint256 = size - ((current >> QUORUM_SHIFT) & 255)

    where: address = convert(current & convert(max_value(uint160), uint256), address)
    key: Bytes[256] = slice(where.code, signers.AGGREGATE_AT, 256)
    absent: uint256 = ~mask & ((1 << size) - 1)
    for i: uint256 in range(MAX_MEMBERS):
        if absent == 0:
            break
        if absent & 1 == 1:
            assert absences != 0, "committee: quorum not reached"
            absences = unsafe_sub(absences, 1)
            key = bls12_381._add_g2(key, slice(where.code, signers.KEYS_AT + 256 * i, 256))
        absent >>= 1

    return bls12_381._verify(bls12_381._hash_to_g1(slice(digest, 0, 32), MESSAGE_TAG), key, point)


@view
@external
def current_set() -> uint256:
    """
    @notice The set that may sign.
    @return uint256 Its id; 0 before the first.
    """
    return (self._current >> ID_SHIFT) & MASK_48


@view
@external
def slashed() -> uint256:
    """
    @notice Which members of the current set were slashed.
    @return uint256 Bit `i` set: member `i`.
    """
    return self._current >> SLASHED_SHIFT


@view
@external
def size(set_id: uint256) -> uint256:
    """
    @notice How many members a set has.
    @param set_id The set, current or past.
    @return uint256 Members.
    """
    return (self._set(set_id) >> SIZE_SHIFT) & 255


@view
@external
def quorum(set_id: uint256) -> uint256:
    """
    @notice How many members must sign: `floor(2n/3) + 1`.
    @param set_id The set, current or past.
    @return uint256 Members.
    """
    return self._set(set_id) >> QUORUM_SHIFT


@view
@external
def members(set_id: uint256) -> DynArray[address, MAX_MEMBERS]:
    """
    @notice A set's members, in the order of the mask's bits.
    @param set_id The set, current or past.
    @return DynArray Addresses.
    """
    return self._members(set_id)


@view
@external
def member_key(set_id: uint256, index: uint256) -> Bytes[256]:
    """
    @notice A member's public key.
    @param set_id The set, current or past.
    @param index The member's number in it.
    @return Bytes 256 bytes.
    """
    word: uint256 = self._set(set_id)
    assert index < (word >> SIZE_SHIFT) & 255, "committee: no such member"
    where: address = convert(word & convert(max_value(uint160), uint256), address)
    return bls12_381._negate_g2(slice(where.code, signers.KEYS_AT + 256 * index, 256))


@view
@external
def waiting() -> DynArray[address, MAX_MEMBERS]:
    """
    @notice Those who are enrolled and not yet seated, in order.
    @return DynArray Addresses.
    """
    return self._waiting


@view
@external
def possession_message(member: address, key: Bytes[256]) -> bytes32:
    """
    @notice What a member signs, under the tag for proofs of possession, to enrol a key.
    @param member The member's address.
    @param key Its public key, 256 bytes.
    @return bytes32 The message.
    """
    return self._possession_message(member, keccak256(key))


# Internal


@view
@internal
def _possession_message(member: address, key_hash: bytes32) -> bytes32:
    """
    @dev It names chain, contract, member and key, so that no proof can be taken from elsewhere or from another.
    @param member The member's address.
    @param key_hash Hash of its key.
    @return bytes32 The message.
    """
    return keccak256(abi_encode(POSSESSION_DOMAIN, chain.id, self, member, key_hash))


@view
@internal
def _set(set_id: uint256) -> uint256:
    """
    @param set_id The set.
    @return uint256 Its word.
    """
    word: uint256 = self._sets[set_id]
    assert word != 0, "committee: no such set"
    return word


@view
@internal
def _members(set_id: uint256) -> DynArray[address, MAX_MEMBERS]:
    """
    @param set_id The set.
    @return DynArray Its members, in the order of the mask's bits.
    """
    word: uint256 = self._set(set_id)
    return signers._members(
        convert(word & convert(max_value(uint160), uint256), address), (word >> SIZE_SHIFT) & 255
    )


@view
@internal
def _seating() -> bytes32:
    """
    @return bytes32 What seating those who wait comes to: they, and their keys.
    """
    return keccak256(abi_encode(self._waiting, self._waiting_keys, self._round))


@internal
def _clear():
    """
    @dev A new round of enrolment forgets what the last one had taken.
    """
    self._waiting = []
    self._waiting_keys = []
    self._round += 1
