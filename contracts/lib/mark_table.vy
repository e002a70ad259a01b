# pragma version 0.4.3
"""
@title Mark table
@license GNU Affero General Public License v3.0 only
@notice The latest mark of each underlying, with the status that holds.
"""

from interfaces import IRegistry
from interfaces import IRiskOracle
from lib import constants
from lib import feed as feeds
from lib import marks


_marks: HashMap[uint256, uint256]


@view
@external
def mark(underlying: uint256) -> uint256:
    """
    @notice The latest mark of an underlying, with the status that holds and, in bits 71..64, what the feed said: 0 there is
            none, 1 it agreed, 2 it disagreed, 3 it could not be used.
    @param underlying Its number.
    @return uint256 The word; zero if it never had one.
    """
    return self._marks[underlying]


@internal
def _set(
    words: DynArray[uint256, constants.MAX_LISTED],
    terms: IRegistry.Terms,
    slots: uint256,
    elapsed: uint256,
    epoch: uint256,
):
    """
    @dev Each mark within its bounds, with the status that holds.
    @param words The header's marks.
    @param terms The policy's terms.
    @param slots Slots since the last epoch.
    @param elapsed Seconds since the last epoch.
    @param epoch The header's epoch.
    """
    assert len(words) == len(terms.underlyings), "oracle: marks do not match the underlyings"
    next_feed: uint256 = 0
    feed_words: uint256 = len(terms.feeds)
    for i: uint256 in range(len(words), bound=constants.MAX_LISTED):
        word: uint256 = words[i]
        underlying: uint256 = word >> 240
        bounds: uint256 = terms.underlyings[i]
        assert underlying == bounds >> 240, "oracle: marks do not match the underlyings"
        old: uint256 = self._marks[underlying]
        marks._check(word, old, bounds, slots, elapsed)
        status: uint256 = marks._judged(word, old, slots, terms.jump)
        feed: uint256 = constants.FEED_NONE
        price: uint256 = 0
        # Both are ascending; a feed of an underlying that this policy does not have yet is passed over.
        source: uint256 = 0
        for _: uint256 in range(constants.MAX_LISTED):
            if next_feed >= feed_words:
                break
            source = terms.feeds[next_feed]
            if source >> 240 >= underlying:
                break
            next_feed = unsafe_add(next_feed, 3)
        if next_feed < feed_words and source >> 240 == underlying:
            usable: bool = False
            updated_at: uint256 = 0
            price, usable, updated_at = feeds._read(
                convert(source & convert(max_value(uint160), uint256), address),
                (source >> 160) & constants.MASK_32,
                terms.feeds[unsafe_add(next_feed, 1)],
                terms.feeds[unsafe_add(next_feed, 2)],
            )
            next_feed = unsafe_add(next_feed, 3)
            feed = constants.FEED_UNUSABLE
            if usable:
                feed = constants.FEED_AGREES
                if feeds._disagrees(marks._index(word), price, terms.dispute):
                    feed = constants.FEED_DISAGREES
                    status = constants.DISPUTED
        self._marks[underlying] = marks._effective(word, status, feed)
        if status != marks._status(word):
            log IRiskOracle.StatusChanged(epoch=epoch, underlying=underlying, status=status, feed=feed, price=price)


@internal
def _dispute(word: uint256):
    """
    @dev Keep a mark as disputed: what held for it once is not known.
    @param word The mark.
    """
    self._marks[word >> 240] = marks._effective(word, constants.DISPUTED, constants.FEED_NONE)
