# pragma version 0.4.3
"""
@title ArithmeticClaims
@license GNU Affero General Public License v3.0 only
@notice What the modules' packed words promise, as functions that end in `Panic(1)` where a promise is broken and do nothing
        otherwise. A symbolic tool asks whether any input breaks one (tests/property/prove_bytecode.py), tests try bounds
        and random inputs. Inputs that are out of bounds promise nothing. Tests only.
"""

from interfaces import ILedger
from lib import account_words
from lib import claim
from lib import constants
from lib import instrument
from lib import risk_array


@pure
@external
def check_lots(word: uint256, kind: uint256, other: uint256, lots: int256):
    """
    @notice Lots that were written are read back, and those of another kind stay.
    @param word Any lots word.
    @param kind 1 to 5.
    @param other 1 to 5.
    @param lots Signed lots, `|lots| < 2^50`.
    """
    if kind < 1 or kind > 5 or other < 1 or other > 5 or lots <= -(2**50) or lots >= 2**50:
        return
    changed: uint256 = account_words._with_lots(word, kind, lots)
    self._hold(account_words._lots(changed, kind) == lots)
    if other != kind:
        self._hold(account_words._lots(changed, other) == account_words._lots(word, other))


@pure
@external
def check_cash(account: uint256, holdings: uint256, cash: int256):
    """
    @notice Cash that was written is read back, and counts, underlyings and `sum |q|` beside it stay.
    @param account An account id, below 2^64.
    @param holdings Any holdings word without cash.
    @param cash Micro-USD, signed, 128 bits.
    """
    if account >= 2**64 or holdings >= 2**128 or cash < -(2**127) + 1 or cash >= 2**127:
        return
    bare: ILedger.Account = account_words._account(account, 0, holdings, empty(bytes32))
    paid: ILedger.Account = account_words._account(
        account, 0, account_words._with_cash(holdings, cash), empty(bytes32)
    )
    self._hold(bare.cash == 0 and paid.cash == cash and paid.head == bare.head)


@pure
@external
def check_counts(first: uint256, second: uint256, third: uint256, open_positions: uint256, underlying: uint256):
    """
    @notice A position that is opened and closed again leaves the counts as they were; in between there is one more, underlyings
            ascending from the top, zeros below.
    @param first An underlying, or zero for none.
    @param second One above it, or zero for none.
    @param third One above that, or zero for none.
    @param open_positions How many are open in each of them, 1 to 40.
    @param underlying Where one is opened, 1 to 2^16 - 1.
    """
    if underlying == 0 or underlying >= 2**16 or open_positions == 0 or open_positions > 40:
        return
    if first >= 2**16 or second >= 2**16 or third >= 2**16:
        return
    if (second != 0 and (first == 0 or second <= first)) or (third != 0 and (second == 0 or third <= second)):
        return
    counts: uint256 = 0
    if first != 0:
        counts |= (first << 8 | open_positions) << 72
    if second != 0:
        counts |= (second << 8 | open_positions) << 48
    if third != 0:
        counts |= (third << 8 | open_positions) << 24
    more: uint256 = account_words._counted(counts, underlying)
    self._hold(account_words._uncounted(more, underlying) == counts)
    last: uint256 = more >> 80
    for i: uint256 in range(1, 4):
        lane: uint256 = (more >> (72 - 24 * i)) & (2**24 - 1)
        self._hold(lane == 0 or (last != 0 and lane >> 8 > last))
        last = lane >> 8
    self._hold(more >> 80 != 0 and more < 2**96)


@pure
@external
def check_lowest(word: uint256):
    """
    @notice The lowest lane is at most each of the four, and one of them.
    @param word Any word of a scenario vector.
    """
    lowest: uint256 = risk_array._lowest(word)
    some: bool = False
    for i: uint256 in range(4):
        lane: uint256 = (word >> (64 * i)) & constants.MASK_64
        self._hold(lowest <= lane)
        some = some or lowest == lane
    self._hold(some)


@pure
@external
def check_lanes(array: uint256[5], quantity: uint256, other: uint256[5], more: uint256):
    """
    @notice A vector grows by a leg as docs/protocol.md says, in any order of legs: the sums of two legs, less their bias, are
            the sums of one, to which the other was added.
    @param array Any risk array.
    @param quantity Lots, modulo 2^256.
    @param other Another one.
    @param more Its lots, modulo 2^256.
    """
    one: uint256[10] = risk_array._accumulate(empty(uint256[10]), array, quantity)
    two: uint256[10] = risk_array._accumulate(empty(uint256[10]), other, more)
    both: uint256[10] = risk_array._accumulate(one, other, more)
    for k: uint256 in range(10):
        self._hold(both[k] == unsafe_add(one[k], two[k]))


@pure
@external
def check_long(array: uint256[5]):
    """
    @notice A vector of one lot holds `2^63 + v` in the lane of each row.
    @param array Any risk array.
    """
    sums: uint256[10] = risk_array._accumulate(empty(uint256[10]), array, 1)
    for row: uint256 in range(constants.SCENARIOS):
        word: uint256 = unsafe_add(sums[row // 4], risk_array._bias(1))
        held: uint256 = (word >> (64 * (row % 4))) & constants.MASK_64
        self._hold(held == self._value(array, row) + 2**63 - 2**31)
    self._hold(risk_array._mark(array) == convert(self._value(array, 0), int256) - 2**31)


@pure
@external
def check_closeout(meta: uint256, lots: int256):
    """
    @notice Close-out is lots times the cost of their side, and adding a lot to a side never lowers it.
    @param meta Any leaf's first word.
    @param lots Signed lots, `|lots| < 2^32`.
    """
    if lots <= -(2**32) or lots >= 2**32:
        return
    cost: uint256 = instrument._closeout(meta, lots)
    more: uint256 = instrument._closeout(meta, lots + 1 if lots > 0 else lots - 1)
    self._hold(more >= cost and cost < 2**64)


@pure
@external
def check_shared(penalty: int256, split: uint256, before: int256, after: int256):
    """
    @notice Of a penalty a liquidator gets between nothing and his share, and insurance at least the rise of its claim, while
            the rise is at most the penalty.
    @param penalty Micro-USD, 0 to 2^100.
    @param split The liquidator's share, 1e-4, at most 10000.
    @param before The claim before, 0 to 2^100.
    @param after The claim after, 0 to 2^100.
    """
    most: int256 = 2**100
    if penalty < 0 or penalty > most or split > 10_000:
        return
    if before < 0 or before > most or after < 0 or after > most or after - before > penalty:
        return
    paid: int256 = convert(claim._shared(penalty, split, before, after), int256)
    self._hold(paid >= 0 and paid * 10_000 <= penalty * convert(split, int256))
    self._hold(penalty - paid >= after - before)


@pure
@internal
def _value(array: uint256[5], row: uint256) -> uint256:
    """
    @dev The lane of a row as docs/protocol.md places it, biased by 2^31.
    @param array The risk array.
    @param row The row.
    """
    return (array[row // 8] >> (32 * (2 * (row % 4) + (row % 8) // 4))) & constants.MASK_32


@pure
@internal
def _hold(holds: bool):
    """
    @dev Panic unless it holds.
    @param holds The promise.
    """
    if not holds:
        raw_revert(concat(method_id("Panic(uint256)"), convert(1, bytes32)))
