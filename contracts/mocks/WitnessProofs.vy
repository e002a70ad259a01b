# pragma version 0.4.3
"""
@title WitnessProofs
@license GNU Affero General Public License v3.0 only
@notice Proofs of a full check beside each other, for leaves of one instrument: flags that are not packed, places instead of flags,
        and a proof for each leaf. `WitnessLeaves.packed_flags` is what is in use. Measured by `benchmarks/witnesses.py`.
"""

from interfaces import IMargin
from lib import account_words
from lib import constants
from lib import instrument
from lib import risk_array
from mocks import witness_book


initializes: witness_book


exports: (
    witness_book.digest,
    witness_book.hold,
    witness_book.set_root,
)


# @dev Single proofs: siblings of 128 legs in a tree of 2^10.
MAX_SINGLES: constant(uint256) = 1280


@external
def single_flags(
    book: uint256,
    legs: DynArray[IMargin.Leg, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[bool, 767],
):
    """
    @notice As OpenZeppelin's verifier takes them: a flag a word.
    @param book The book.
    @param legs Leaves of its instruments, ids ascending.
    @param proof Hashes.
    @param flags Flags.
    """
    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    size: uint256 = len(legs)
    sums: uint256[10] = empty(uint256[10])
    total: witness_book.Total = empty(witness_book.Total)
    key: uint256 = max_value(uint256)
    held: uint256 = 0
    i: uint256 = 0
    for leg: IMargin.Leg in legs:
        leaves[i] = keccak256(keccak256(abi_encode(leg)))
        i = unsafe_add(i, 1)
        id: uint256 = leg.meta >> 152
        assert id > total.last, "encodings: not ascending"
        total.last = id
        slot: uint256 = account_words._lots_key(book, id)
        if slot != key:
            key = slot
            held = witness_book._lots[slot]
        quantity: int256 = account_words._lots(held, id)
        assert quantity != 0, "encodings: no such position"
        lots: uint256 = convert(convert(quantity, bytes32), uint256)
        total.count = unsafe_add(total.count, 1)
        total.closeout = unsafe_add(total.closeout, instrument._closeout(leg.meta, quantity))
        total.net = unsafe_add(total.net, lots)
        sums = risk_array._accumulate(sums, leg.array, lots)
    witness_book._keep(1, book, total, witness_book._vector(sums, total.net))

    assert len(flags) + 1 == size + len(proof), "encodings: wrong number of flags"
    head: uint256 = 0
    used: uint256 = 0
    tail: uint256 = size
    for flag: bool in flags:
        a: bytes32 = leaves[head & 127]
        b: bytes32 = empty(bytes32)
        head = unsafe_add(head, 1)
        if flag:
            assert head < tail, "encodings: malformed multiproof"
            b = leaves[head & 127]
            head = unsafe_add(head, 1)
        else:
            b = proof[used]
            used = unsafe_add(used, 1)
        leaves[tail & 127] = self._node(a, b)
        tail = unsafe_add(tail, 1)
    assert used == len(proof), "encodings: malformed multiproof"
    assert leaves[head & 127] == witness_book._root, "encodings: not proven"


@external
def places(
    book: uint256,
    legs: DynArray[IMargin.Leg, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    places: DynArray[uint256, 8],
):
    """
    @notice No flags: each leaf's place in the tree says which hashes meet.
    @dev A false place can only lead to another root: every leaf is hashed once and one hash is left in the end.
    @param book The book.
    @param legs Leaves of its instruments, ids ascending.
    @param proof Hashes.
    @param places Positions in the tree, falling, 16 bits each from the lowest up.
    """
    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    at: uint256[constants.MAX_POSITIONS] = empty(uint256[constants.MAX_POSITIONS])
    size: uint256 = len(legs)
    assert len(places) == unsafe_add(size, 15) >> 4, "encodings: wrong number of places"
    sums: uint256[10] = empty(uint256[10])
    total: witness_book.Total = empty(witness_book.Total)
    key: uint256 = max_value(uint256)
    held: uint256 = 0
    i: uint256 = 0
    for leg: IMargin.Leg in legs:
        leaves[i] = keccak256(keccak256(abi_encode(leg)))
        at[i] = (places[i >> 4] >> ((i & 15) << 4)) & constants.MASK_16
        i = unsafe_add(i, 1)
        id: uint256 = leg.meta >> 152
        assert id > total.last, "encodings: not ascending"
        total.last = id
        slot: uint256 = account_words._lots_key(book, id)
        if slot != key:
            key = slot
            held = witness_book._lots[slot]
        quantity: int256 = account_words._lots(held, id)
        assert quantity != 0, "encodings: no such position"
        lots: uint256 = convert(convert(quantity, bytes32), uint256)
        total.count = unsafe_add(total.count, 1)
        total.closeout = unsafe_add(total.closeout, instrument._closeout(leg.meta, quantity))
        total.net = unsafe_add(total.net, lots)
        sums = risk_array._accumulate(sums, leg.array, lots)
    witness_book._keep(2, book, total, witness_book._vector(sums, total.net))

    head: uint256 = 0
    used: uint256 = 0
    tail: uint256 = size
    for _: uint256 in range(767):
        place: uint256 = at[head & 127]
        if place == 0:
            break
        a: bytes32 = leaves[head & 127]
        b: bytes32 = empty(bytes32)
        head = unsafe_add(head, 1)
        # Left children are odd: the sibling of 2j + 1 is 2j + 2.
        if head < tail and at[head & 127] == unsafe_add(unsafe_sub(place, 1) ^ 1, 1):
            b = leaves[head & 127]
            head = unsafe_add(head, 1)
        else:
            b = proof[used]
            used = unsafe_add(used, 1)
        leaves[tail & 127] = self._node(a, b)
        at[tail & 127] = unsafe_sub(place, 1) >> 1
        tail = unsafe_add(tail, 1)
    assert used == len(proof) and unsafe_add(head, 1) == tail, "encodings: malformed multiproof"
    assert leaves[head & 127] == witness_book._root, "encodings: not proven"


@external
def single_proofs(
    book: uint256,
    legs: DynArray[IMargin.Leg, constants.MAX_POSITIONS],
    depth: uint256,
    proofs: DynArray[bytes32, MAX_SINGLES],
):
    """
    @notice A proof for each leaf.
    @param book The book.
    @param legs Leaves of its instruments, ids ascending.
    @param depth Siblings of a leaf; the tree is even.
    @param proofs All siblings, leaf by leaf.
    """
    root: bytes32 = witness_book._root
    assert len(proofs) == depth * len(legs), "encodings: wrong number of siblings"
    next: uint256 = 0
    sums: uint256[10] = empty(uint256[10])
    total: witness_book.Total = empty(witness_book.Total)
    key: uint256 = max_value(uint256)
    held: uint256 = 0
    for leg: IMargin.Leg in legs:
        node: bytes32 = keccak256(keccak256(abi_encode(leg)))
        for _: uint256 in range(depth, bound=10):
            node = self._node(node, proofs[next])
            next = unsafe_add(next, 1)
        assert node == root, "encodings: not proven"
        id: uint256 = leg.meta >> 152
        assert id > total.last, "encodings: not ascending"
        total.last = id
        slot: uint256 = account_words._lots_key(book, id)
        if slot != key:
            key = slot
            held = witness_book._lots[slot]
        quantity: int256 = account_words._lots(held, id)
        assert quantity != 0, "encodings: no such position"
        lots: uint256 = convert(convert(quantity, bytes32), uint256)
        total.count = unsafe_add(total.count, 1)
        total.closeout = unsafe_add(total.closeout, instrument._closeout(leg.meta, quantity))
        total.net = unsafe_add(total.net, lots)
        sums = risk_array._accumulate(sums, leg.array, lots)
    witness_book._keep(3, book, total, witness_book._vector(sums, total.net))


# Internal


@pure
@internal
def _node(a: bytes32, b: bytes32) -> bytes32:
    """
    @dev A node from its children in either order.
    @param a One.
    @param b The other.
    """
    if convert(a, uint256) < convert(b, uint256):
        return keccak256(abi_encode(a, b))
    return keccak256(abi_encode(b, a))
