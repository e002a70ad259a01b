# pragma version 0.4.3
"""
@title Independent feeds
@license GNU Affero General Public License v3.0 only
@notice Reads a price from a feed of the kind `AggregatorV3Interface` and says whether it is to be relied on.
@dev A feed is foreign code: it may revert, be gone, burn gas, answer too little, answer nonsense. None of this may stop the
     caller, so it is called with bounded gas and its answer is copied in bounded length. The caller must have gas to spare,
     or whoever sends the transaction could starve a feed and have it taken for a broken one.
"""


# @dev Selectors of `latestRoundData()` and `decimals()`.
LATEST_ROUND_DATA: constant(Bytes[4]) = method_id("latestRoundData()")
DECIMALS: constant(Bytes[4]) = method_id("decimals()")


# @dev Gas that a call may use: a proxy that asks two more contracts needs about 30,000.
CALL_GAS: constant(uint256) = 100_000


# @dev Gas that must be there before a call: CALL_GAS is at most 63/64 of it (EIP-150), and the rest goes on.
LEAST_GAS: constant(uint256) = 120_000


MAX_DECIMALS: constant(uint256) = 36
MAX_PRICE: constant(uint256) = 2**64 - 1


@view
@internal
def _read(source: address, max_age: uint256, least: uint256, greatest: uint256) -> (uint256, bool, uint256):
    """
    @notice A feed's price in micro-USD per unit, floored; whether it is usable; when it was updated, seconds.
    @dev Usable: the answer is positive, strictly between the clamps, at most `max_age` old and not of the future, has at most
         36 decimals, and neither vanishes nor exceeds 64 bits in micro-USD. Without code a call succeeds with no data, which
         is too short. Zeros stand for what could not be read.
    @param source The feed.
    @param max_age Oldest answer, seconds.
    @param least Answer at or below which the feed is clamped.
    @param greatest Answer at or above which the feed is clamped.
    """
    if source == empty(address):
        return 0, False, 0
    success: bool = False
    answered: Bytes[160] = b""
    assert msg.gas >= LEAST_GAS, "feed: too little gas"
    success, answered = raw_call(
        source,
        LATEST_ROUND_DATA,
        max_outsize=160,
        gas=CALL_GAS,
        is_static_call=True,
        revert_on_failure=False,
    )
    if not success or len(answered) < 160:
        return 0, False, 0
    answer: uint256 = convert(extract32(answered, 32), uint256)
    updated_at: uint256 = convert(extract32(answered, 96), uint256)

    scale: Bytes[32] = b""
    assert msg.gas >= LEAST_GAS, "feed: too little gas"
    success, scale = raw_call(
        source,
        DECIMALS,
        max_outsize=32,
        gas=CALL_GAS,
        is_static_call=True,
        revert_on_failure=False,
    )
    if not success or len(scale) < 32:
        return 0, False, updated_at
    decimals: uint256 = convert(extract32(scale, 0), uint256)
    # A negative answer is at least 2^255 as an unsigned number.
    if decimals > MAX_DECIMALS or answer >= 2**255:
        return 0, False, updated_at
    price: uint256 = 0
    if decimals >= 6:
        price = answer // pow_mod256(10, unsafe_sub(decimals, 6))  # at most 10^30
    elif answer <= MAX_PRICE:
        price = unsafe_mul(answer, pow_mod256(10, unsafe_sub(6, decimals)))  # below 2^84
    if price == 0 or price > MAX_PRICE:
        return 0, False, updated_at
    current: bool = updated_at <= block.timestamp and unsafe_sub(block.timestamp, updated_at) <= max_age
    return price, current and answer > least and answer < greatest, updated_at


@pure
@internal
def _disagrees(index: uint256, price: uint256, limit: uint256) -> bool:
    """
    @dev Whether two prices differ by more than `limit`: `abs(index - price) * 1e6 > price * limit`, exact.
    @param index The price that is judged, micro-USD, at most 64 bits.
    @param price The price that it is held against, micro-USD, at most 64 bits.
    @param limit 1e-6.
    """
    distance: uint256 = unsafe_sub(max(index, price), min(index, price))
    return unsafe_mul(distance, 1_000_000) > price * limit
