# pragma version 0.4.3
"""
@title MarginHarness
@license GNU Affero General Public License v3.0 only
@notice The margin modules on their own, for comparison with plain integers.
"""

from interfaces import IMargin
from lib import constants
from lib import instrument
from lib import margin
from lib import risk_array


@pure
@external
def evaluate(
    head: uint256, cost: uint256, vectors: DynArray[uint256, 40], cash: int256, parameters: uint256
) -> IMargin.Margin:
    """
    @notice The margin of a content.
    @param head Its head.
    @param cost Its cost word.
    @param vectors Its scenario vectors.
    @param cash Signed micro-USD.
    @param parameters Word of margin parameters.
    @return Margin The margin.
    """
    return margin._evaluate(margin.Content(head=head, cost=cost, vectors=vectors), cash, parameters)


@pure
@external
def change(
    head: uint256,
    cost: uint256,
    vectors: DynArray[uint256, 40],
    leg: IMargin.Leg,
    lots: int256,
    before: int256,
    next_head: uint256,
) -> (uint256, uint256, DynArray[uint256, 40]):
    """
    @notice A content after a position changed.
    @param head Its head.
    @param cost Its cost word.
    @param vectors Its scenario vectors.
    @param leg The instrument's leaf.
    @param lots Signed change.
    @param before Signed lots before.
    @param next_head The head after.
    @return uint256, uint256, DynArray Head, cost and vectors after.
    """
    content: margin.Content = margin.Content(head=head, cost=cost, vectors=vectors)
    content = margin._apply(content, leg, lots, before, next_head)
    return content.head, content.cost, content.vectors


@pure
@external
def vector(arrays: DynArray[uint256[5], 16], lots: DynArray[int256, 16]) -> uint256[10]:
    """
    @notice The scenario vector of some positions in one underlying.
    @param arrays Risk arrays.
    @param lots Signed lots.
    @return uint256[10] The vector.
    """
    sums: uint256[10] = empty(uint256[10])
    net: uint256 = 0
    for i: uint256 in range(len(lots), bound=16):
        quantity: uint256 = convert(convert(lots[i], bytes32), uint256)
        sums = risk_array._accumulate(sums, arrays[i], quantity)
        net = unsafe_add(net, quantity)
    for k: uint256 in range(constants.VECTOR_WORDS):
        sums[k] = unsafe_add(sums[k], risk_array._bias(net))
    return sums


@pure
@external
def closeout(meta: uint256, lots: int256) -> uint256:
    """
    @notice Close-out cost of a position.
    @param meta First word of the instrument's leaf.
    @param lots Signed lots.
    @return uint256 Micro-USD.
    """
    return instrument._closeout(meta, lots)


@pure
@external
def mark(array: uint256[5]) -> int256:
    """
    @notice Value of a lot in scenario 0.
    @param array The risk array.
    @return int256 Micro-USD.
    """
    return risk_array._mark(array)


@pure
@external
def digest(head: uint256, position_hash: bytes32, cost: uint256, vectors: DynArray[uint256, 40]) -> bytes32:
    """
    @notice What leaf and checkpoint of a content are hashed from.
    @param head Its head.
    @param position_hash The account's position hash.
    @param cost Its cost word.
    @param vectors Its scenario vectors.
    @return bytes32 The digest.
    """
    return margin._digest(margin.Content(head=head, cost=cost, vectors=vectors), position_hash)
