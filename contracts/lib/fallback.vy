# pragma version 0.4.3
"""
@title Fallback values
@license GNU Affero General Public License v3.0 only
@notice What committed values are worth at another price: no model, only interpolation between the committed rows.

            x       = floor(price * 1e12 / index) - 1e12             the move from index to price, 1e-12
            nodes   = scan rows with volatility none at move * R, and beyond the outermost of them tail rows at move
            value_k = mark + (v[k] - mark) * 1e8 / weight_k          a tail's weight taken out; scan rows have 1e8
            value   = mark + floor(((x_b - x) * (value_a - mark) + (x - x_a) * (value_b - mark)) / (x_b - x_a))

        with `a` the last node at or below `x` and `b` the first above; beyond the last node the line through the last two
        goes on. One floor for all of it, against whoever holds the value.
@dev The formula is linear in `v - mark` but for the floor, so a hedge is worth here what its legs are worth together. No
     product reaches 2^255: `|x| < 2^105`, weights are at most 1e8 < 2^27, values below 2^64.
"""

from lib import constants


# @dev Where the forty rows stand in the code that keeps a policy (Registry.vy): a zero byte, the hash, an offset, the version
#      and the margin word come before.
ROWS_AT: constant(uint256) = 129
ROWS_SIZE: constant(uint256) = 1280
SCAN: constant(uint256) = 0
TAIL: constant(uint256) = 1
WEIGHT: constant(int256) = 100_000_000
UNIT: constant(int256) = 1_000_000_000_000
NOWHERE: constant(int256) = max_value(int256)


# @dev value = mark + floor((low_factor * (v[low] - mark) + high_factor * (v[high] - mark)) / divisor), divisor > 0.
struct Place:
    low: uint256
    high: uint256
    low_factor: int256
    high_factor: int256
    divisor: int256


@view
@internal
def _rows(policy_code: address) -> uint256[40]:
    """
    @dev The rows of a policy.
    @param policy_code The contract that keeps it.
    """
    return abi_decode(slice(policy_code.code, ROWS_AT, ROWS_SIZE), uint256[40])


@pure
@internal
def _place(rows: uint256[40], mark: uint256, price: uint256) -> Place:
    """
    @dev Where a price stands between the committed rows.
    @param rows The rows of the policy.
    @param mark The underlying's mark: index price and scan range.
    @param price Micro-USD per unit, below 2^64.
    """
    index: int256 = convert((mark >> 176) & constants.MASK_64, int256)
    scan: int256 = convert((mark >> 80) & constants.MASK_32, int256)
    assert index != 0, "fallback: underlying has no mark"
    assert price != 0 and price <= constants.MASK_64, "fallback: price out of range"
    x: int256 = convert(price, int256) * UNIT // index - UNIT

    # Scan rows first: they say from where on tails count.
    at: int256[40] = empty(int256[40])
    least: int256 = 0
    most: int256 = 0
    for i: uint256 in range(constants.SCENARIOS):
        move: int256 = convert(convert(rows[i] << 176, bytes32), int256) >> 192
        kind: uint256 = rows[i] & constants.MASK_8
        at[i] = NOWHERE
        if kind == SCAN and (rows[i] >> 8) & constants.MASK_8 == 0:
            at[i] = move * scan
            least = min(least, at[i])
            most = max(most, at[i])
        elif kind == TAIL:
            at[i] = move * 1_000_000

    # The two nodes at or below x that are nearest, and the two above; 40 stands for none.
    low: uint256 = constants.SCENARIOS
    lower: uint256 = constants.SCENARIOS
    high: uint256 = constants.SCENARIOS
    higher: uint256 = constants.SCENARIOS
    for i: uint256 in range(constants.SCENARIOS):
        node: int256 = at[i]
        if node == NOWHERE or (rows[i] & constants.MASK_8 == TAIL and node >= least and node <= most):
            continue
        if node <= x:
            if low == constants.SCENARIOS or node > at[low]:
                lower = low
                low = i
            elif node != at[low] and (lower == constants.SCENARIOS or node > at[lower]):
                lower = i
        else:
            if high == constants.SCENARIOS or node < at[high]:
                higher = high
                high = i
            elif node != at[high] and (higher == constants.SCENARIOS or node < at[higher]):
                higher = i
    if high == constants.SCENARIOS:
        high = low
        low = lower
    elif low == constants.SCENARIOS:
        low = high
        high = higher
    assert low != constants.SCENARIOS and high != constants.SCENARIOS, "fallback: too few rows"

    low_weight: int256 = self._weight(rows[low])
    high_weight: int256 = self._weight(rows[high])
    return Place(
        low=low,
        high=high,
        low_factor=WEIGHT * high_weight * (at[high] - x),
        high_factor=WEIGHT * low_weight * (x - at[low]),
        divisor=low_weight * high_weight * (at[high] - at[low]),
    )


@pure
@internal
def _weight(row: uint256) -> int256:
    """
    @dev Weight of a node, 1e-8: bits 143..80 of a tail, one of a scan row.
    @param row The row.
    """
    if row & constants.MASK_8 == TAIL:
        return convert((row >> 80) & constants.MASK_64, int256)
    return WEIGHT


@pure
@internal
def _between(mark: int256, low: int256, high: int256, place: Place) -> int256:
    """
    @dev The interpolation, floored.
    @param mark Value in row 0.
    @param low Value in the place's low row.
    @param high Value in its high row.
    @param place The place.
    """
    moved: int256 = place.low_factor * (low - mark) + place.high_factor * (high - mark)
    quotient: int256 = moved // place.divisor  # truncated
    if moved < 0 and quotient * place.divisor != moved:
        quotient -= 1
    return mark + quotient


@pure
@internal
def _lot_value(array: uint256[5], place: Place) -> int256:
    """
    @dev Value of a lot at a place, micro-USD (for a perpetual: price less `F`).
    @param array The risk array.
    @param place The place of the underlying's price.
    """
    mark: int256 = convert(array[0] & constants.MASK_32, int256) - 2**31
    return self._between(mark, self._lane(array, place.low), self._lane(array, place.high), place)


@pure
@internal
def _vector_value(vectors: DynArray[uint256, constants.MAX_VECTOR_WORDS], start: uint256, place: Place) -> int256:
    """
    @dev Value of an account's positions in one underlying at a place, micro-USD.
    @param vectors The account's vectors.
    @param start Where the underlying's ten words begin.
    @param place The place of its price.
    """
    mark: int256 = convert(vectors[start] & constants.MASK_64, int256) - 2**63
    low: uint256 = (vectors[start + place.low // 4] >> (64 * (place.low % 4))) & constants.MASK_64
    high: uint256 = (vectors[start + place.high // 4] >> (64 * (place.high % 4))) & constants.MASK_64
    return self._between(mark, convert(low, int256) - 2**63, convert(high, int256) - 2**63, place)


@pure
@internal
def _lane(array: uint256[5], row: uint256) -> int256:
    """
    @dev One row of a risk array: row `8k + i` is lane `2i` of word `k`, row `8k + 4 + i` lane `2i + 1`.
    @param array The risk array.
    @param row The row.
    """
    lane: uint256 = 2 * (row % 4) + (row % 8) // 4
    return convert((array[row // 8] >> (32 * lane)) & constants.MASK_32, int256) - 2**31
