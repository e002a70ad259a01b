# pragma version 0.4.3
"""
@title Marks
@license GNU Affero General Public License v3.0 only
@notice What a header may say of an underlying, and the status that follows from how it moved (docs/protocol.md, *Header*).
"""

from lib import constants


# @dev Bound on funding, 1e-6 of the index an hour.
FUNDING_BOUND: constant(uint256) = 500


ONE_E6: constant(uint256) = 1_000_000
HOUR: constant(uint256) = 3600


# @dev Where a mark's status stands; the feed's state is in the eight bits below, in the oracle's own words only.
STATUS_SHIFT: constant(uint256) = 72
FEED_SHIFT: constant(uint256) = 64


@pure
@internal
def _status(word: uint256) -> uint256:
    """
    @dev Status: 1 live, 2 provisional, 3 disputed.
    @param word A mark.
    """
    return (word >> STATUS_SHIFT) & constants.MASK_8


@pure
@internal
def _index(word: uint256) -> uint256:
    """
    @dev Index price, micro-USD per unit.
    @param word A mark.
    """
    return (word >> 176) & constants.MASK_64


@pure
@internal
def _effective(word: uint256, status: uint256, feed: uint256) -> uint256:
    """
    @dev The mark with the status that holds, and what the feed said.
    @param word The header's mark.
    @param status The status that holds.
    @param feed State of the feed (constants.vy).
    """
    return (word & ~(constants.MASK_8 << STATUS_SHIFT)) | (status << STATUS_SHIFT) | (feed << FEED_SHIFT)


@pure
@internal
def _judged(word: uint256, old: uint256, slots: uint256, jump: uint256) -> uint256:
    """
    @notice The worse of a mark's stated status and of the one that its move gives, the feed apart.
    @dev A jump is a move beyond `index * jump * sqrt(slots)`, squared so that it is exact:
         `(abs(index' - index) * 1e6)^2 > (index * jump)^2 * slots`. Indices have 64 bits, the limit 20, slots 64: both sides
         are below 2^236. A jump makes an underlying provisional, but never for two epochs running, nor can a header: a crash
         that jumps at every epoch is live at every other, and one epoch's false price moves nothing.
    @param word The mark.
    @param old The mark before, with the status that held; zero for none.
    @param slots Slots since the last epoch.
    @param jump The limit at one slot, 1e-6 of the index.
    """
    status: uint256 = self._status(word)
    if old == 0:
        return status
    if self._status(old) == constants.PROVISIONAL:
        if status == constants.PROVISIONAL:
            return constants.LIVE
        return status
    before: uint256 = self._index(old)
    after: uint256 = self._index(word)
    distance: uint256 = unsafe_mul(unsafe_sub(max(before, after), min(before, after)), ONE_E6)
    if unsafe_mul(distance, distance) > (before * jump) ** 2 * slots:
        return max(status, constants.PROVISIONAL)
    return status


@pure
@internal
def _check(word: uint256, old: uint256, bounds: uint256, slots: uint256, elapsed: uint256):
    """
    @notice Refuse a mark out of bounds, or one that moves faster than the policy allows; the formulas are in the oracle's head.
    @dev Nothing overflows: scan ranges and slews have 32 bits, indices, slots and seconds 64, so every product is below 2^139.
    @param word The mark.
    @param old The mark before; zero for none.
    @param bounds The underlying's word.
    @param slots Slots since the last epoch.
    @param elapsed Seconds since the last epoch.
    """
    status: uint256 = self._status(word)
    scan: uint256 = (word >> 80) & constants.MASK_32
    least: uint256 = (bounds >> 176) & constants.MASK_32
    most: uint256 = (bounds >> 144) & constants.MASK_32
    assert self._index(word) != 0, "oracle: index is zero"
    assert status != 0 and status <= constants.DISPUTED, "oracle: status unknown"
    assert word & (2**72 - 1) == 0, "oracle: mark bits not zero"
    assert scan >= least and scan <= most, "oracle: scan range out of bounds"

    if old == 0:
        assert (word >> 112) & constants.MASK_64 == 0, "oracle: funding does not start at zero"
    else:
        before: uint256 = (old >> 80) & constants.MASK_32
        rise: uint256 = unsafe_mul(unsafe_mul(before, (bounds >> 112) & constants.MASK_32), slots) // ONE_E6
        fall: uint256 = unsafe_mul(unsafe_mul(before, (bounds >> 80) & constants.MASK_32), slots) // ONE_E6
        assert scan <= max(unsafe_add(before, rise), least), "oracle: scan range rises too fast"
        assert scan >= min(unsafe_sub(before, min(fall, before)), most), "oracle: scan range falls too fast"

        moved: int256 = unsafe_sub(self._funding(word), self._funding(old))
        index: uint256 = self._index(old)
        limit: uint256 = (
            unsafe_mul(unsafe_mul(index, FUNDING_BOUND), elapsed)
            // unsafe_mul(ONE_E6 * HOUR, (bounds >> 208) & constants.MASK_32)
        )
        assert convert(abs(moved), uint256) <= limit, "oracle: funding moves too fast"


@pure
@internal
def _funding(word: uint256) -> int256:
    """
    @param word A mark.
    @return int256 Its funding index, micro-USD per lot: bits 175..112, two's complement.
    """
    funding: int256 = convert((word >> 112) & constants.MASK_64, int256)
    if funding >= 2**63:
        funding -= 2**64
    return funding
