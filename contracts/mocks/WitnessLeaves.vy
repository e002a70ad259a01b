# pragma version 0.4.3
"""
@title WitnessLeaves
@license GNU Affero General Public License v3.0 only
@notice Leaves of a full check beside each other: one instrument, a call and a put, two strikes, and a word less. Each is proven by a
        multiproof with packed flags. Measured by `benchmarks/witnesses.py`; decided in docs/decisions.md.
"""

from interfaces import IMargin
from lib import account_words
from lib import constants
from lib import instrument
from lib import merkle
from lib import risk_array
from mocks import witness_book


initializes: witness_book


exports: (
    witness_book.digest,
    witness_book.hold,
    witness_book.set_root,
)


# @dev A leaf of four words beside its meta. The mark, 32 bits biased by 2^31, is bits 255..240 of words 0 (high) and 1 (low).
#      Rows 1..36: word `w`, bits `24 l .. 24 l + 23`, row `1 + 9 w + l`; rows 37..39: bits 239..216 of words 0..2. Each lane is
#      the row's difference to the mark in units of `2^NARROW_SHIFT` micro-USD, biased by 2^23.
struct Narrow:
    meta: uint256
    array: uint256[4]


NARROW_SHIFT: constant(uint256) = 4
MASK_24: constant(uint256) = 2**24 - 1
MASK_72: constant(uint256) = 2**72 - 1
THREE: constant(uint256) = 1 + 2**72 + 2**144
NARROW_LANES: constant(uint256) = MASK_24 * THREE
NARROW_OFFSET: constant(uint256) = 2**63 * THREE
NARROW_BIAS: constant(uint256) = 2**23 * THREE


@external
def packed_flags(
    book: uint256,
    legs: DynArray[IMargin.Leg, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
):
    """
    @notice The present one: leaves of one instrument, one multiproof, 256 flags a word.
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
    witness_book._keep(0, book, total, witness_book._vector(sums, total.net))
    assert merkle._root_of_many(leaves, size, proof, flags) == witness_book._root, "encodings: not proven"


@external
def pairs(
    book: uint256,
    legs: DynArray[IMargin.Leg, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
):
    """
    @notice A leaf holds a call and a put; both are brought, held or not.
    @param book The book.
    @param legs Two for each leaf, ids ascending.
    @param proof Hashes.
    @param flags Flags.
    """
    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    assert len(legs) & 1 == 0, "encodings: half a leaf"
    size: uint256 = len(legs) >> 1
    sums: uint256[10] = empty(uint256[10])
    total: witness_book.Total = empty(witness_book.Total)
    key: uint256 = max_value(uint256)
    held: uint256 = 0
    i: uint256 = 0
    for leg: IMargin.Leg in legs:
        if i & 1 == 0:
            leaves[i >> 1] = keccak256(keccak256(abi_encode(leg, legs[i + 1])))
        i = unsafe_add(i, 1)
        id: uint256 = leg.meta >> 152
        assert id > total.last, "encodings: not ascending"
        total.last = id
        slot: uint256 = account_words._lots_key(book, id)
        if slot != key:
            key = slot
            held = witness_book._lots[slot]
        quantity: int256 = account_words._lots(held, id)
        if quantity == 0:
            continue
        lots: uint256 = convert(convert(quantity, bytes32), uint256)
        total.count = unsafe_add(total.count, 1)
        total.closeout = unsafe_add(total.closeout, instrument._closeout(leg.meta, quantity))
        total.net = unsafe_add(total.net, lots)
        sums = risk_array._accumulate(sums, leg.array, lots)
    witness_book._keep(4, book, total, witness_book._vector(sums, total.net))
    assert merkle._root_of_many(leaves, size, proof, flags) == witness_book._root, "encodings: not proven"


@external
def strikes(
    book: uint256,
    legs: DynArray[IMargin.Leg[4], 64],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
):
    """
    @notice A leaf holds calls and puts of two strikes; all four are brought, held or not.
    @param book The book.
    @param legs Four for each leaf, ids ascending.
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
    for run: IMargin.Leg[4] in legs:
        leaves[i] = keccak256(keccak256(abi_encode(run)))
        i = unsafe_add(i, 1)
        for leg: IMargin.Leg in run:
            id: uint256 = leg.meta >> 152
            assert id > total.last, "encodings: not ascending"
            total.last = id
            slot: uint256 = account_words._lots_key(book, id)
            if slot != key:
                key = slot
                held = witness_book._lots[slot]
            quantity: int256 = account_words._lots(held, id)
            if quantity != 0:
                lots: uint256 = convert(convert(quantity, bytes32), uint256)
                total.count = unsafe_add(total.count, 1)
                total.closeout = unsafe_add(total.closeout, instrument._closeout(leg.meta, quantity))
                total.net = unsafe_add(total.net, lots)
                sums = risk_array._accumulate(sums, leg.array, lots)
    witness_book._keep(5, book, total, witness_book._vector(sums, total.net))
    assert merkle._root_of_many(leaves, size, proof, flags) == witness_book._root, "encodings: not proven"


@external
def narrow(
    book: uint256,
    legs: DynArray[Narrow, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
):
    """
    @notice Leaves of a mark and 39 differences to it, 24 bits each: a word less an instrument.
    @dev Three lanes of 72 bits a word: `|sum q d| < 2^32 * 2^23 = 2^55`, so with 2^63 added none borrows from the next.
    @param book The book.
    @param legs Leaves of its instruments, ids ascending.
    @param proof Hashes.
    @param flags Flags.
    """
    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    size: uint256 = len(legs)
    sums: uint256[13] = empty(uint256[13])
    total: witness_book.Total = empty(witness_book.Total)
    mark: int256 = 0
    key: uint256 = max_value(uint256)
    held: uint256 = 0
    i: uint256 = 0
    for leg: Narrow in legs:
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
        word: uint256 = leg.array[0]
        high: uint256 = word >> 240
        rest: uint256 = (word >> 216) & MASK_24
        sums[0] = unsafe_add(sums[0], unsafe_mul(lots, word & NARROW_LANES))
        sums[1] = unsafe_add(sums[1], unsafe_mul(lots, (word >> 24) & NARROW_LANES))
        sums[2] = unsafe_add(sums[2], unsafe_mul(lots, (word >> 48) & NARROW_LANES))
        word = leg.array[1]
        rest |= ((word >> 216) & MASK_24) << 72
        mark = unsafe_add(mark, unsafe_mul(quantity, convert(high << 16 | word >> 240, int256) - 2**31))
        sums[3] = unsafe_add(sums[3], unsafe_mul(lots, word & NARROW_LANES))
        sums[4] = unsafe_add(sums[4], unsafe_mul(lots, (word >> 24) & NARROW_LANES))
        sums[5] = unsafe_add(sums[5], unsafe_mul(lots, (word >> 48) & NARROW_LANES))
        word = leg.array[2]
        rest |= ((word >> 216) & MASK_24) << 144
        sums[6] = unsafe_add(sums[6], unsafe_mul(lots, word & NARROW_LANES))
        sums[7] = unsafe_add(sums[7], unsafe_mul(lots, (word >> 24) & NARROW_LANES))
        sums[8] = unsafe_add(sums[8], unsafe_mul(lots, (word >> 48) & NARROW_LANES))
        word = leg.array[3]
        sums[9] = unsafe_add(sums[9], unsafe_mul(lots, word & NARROW_LANES))
        sums[10] = unsafe_add(sums[10], unsafe_mul(lots, (word >> 24) & NARROW_LANES))
        sums[11] = unsafe_add(sums[11], unsafe_mul(lots, (word >> 48) & NARROW_LANES))
        sums[12] = unsafe_add(sums[12], unsafe_mul(lots, rest))
    witness_book._keep(6, book, total, self._widened(sums, total.net, mark))
    assert merkle._root_of_many(leaves, size, proof, flags) == witness_book._root, "encodings: not proven"


# Internal


@pure
@internal
def _widened(sums: uint256[13], net: uint256, mark: int256) -> uint256[10]:
    """
    @dev A scenario vector from sums of differences.
    @param sums Three lanes of 72 bits each, their bias left in.
    @param net Sum of the quantities, modulo 2^256.
    @param mark Micro-USD of the positions at the mark.
    """
    vector: uint256[10] = empty(uint256[10])
    start: uint256 = unsafe_sub(convert(mark + 2**63, uint256), 2**63 << NARROW_SHIFT)  # modulo 2^256
    vector[0] = convert(mark + 2**63, uint256)
    for k: uint256 in range(13):
        lanes: uint256 = unsafe_add(sums[k], unsafe_sub(NARROW_OFFSET, unsafe_mul(net, NARROW_BIAS)))
        row: uint256 = 1 + 9 * (k // 3) + k % 3
        for _: uint256 in range(3):
            value: uint256 = unsafe_add(start, (lanes & MASK_72) << NARROW_SHIFT)
            vector[row >> 2] |= (value & constants.MASK_64) << ((row & 3) << 6)
            lanes = lanes >> 72
            row += 3 if k != 12 else 1
    return vector
