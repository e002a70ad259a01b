# pragma version 0.4.3
"""
@title Feeds of the underlyings
@license GNU Affero General Public License v3.0 only
@notice Which independent feed an underlying has. All are kept as the code of one contract, so that posting reads them cheaply.
"""

from interfaces import IRegistry
from lib import code_storage
from lib import constants
from lib import feed as feeds


# @dev Three words for each feed.
FEED_WORDS: constant(uint256) = 48
FEED_BYTES: constant(uint256) = 64 + 32 * FEED_WORDS
MAX_FEED_AGE: constant(uint256) = 7 * 86400


# @dev The contract that keeps the feeds: `abi_encode` of their words (`IRegistry.Terms`); empty before the first.
_feeds_code: address


@view
@external
def feed(underlying: uint256) -> (address, uint256, uint256, uint256):
    """
    @notice The feed of an underlying.
    @param underlying Its number.
    @return (address, uint256, uint256, uint256) Source (zero for none), oldest answer (seconds), least and greatest answer.
    """
    words: uint256[3] = self._feed(underlying)
    source: address = convert(words[0] & convert(max_value(uint160), uint256), address)
    return source, (words[0] >> 160) & constants.MASK_32, words[1], words[2]


@pure
@internal
def _check(feed: IRegistry.Feed):
    """
    @param feed A feed.
    """
    if feed.source != empty(address):
        assert feed.max_age != 0 and feed.max_age <= MAX_FEED_AGE, "registry: feed age out of range"
        assert feed.min_answer < feed.max_answer, "registry: feed clamps out of range"


@view
@internal
def _check_agreement(feed: IRegistry.Feed, limit: uint256):
    """
    @dev A new feed must be usable now, and agree with a usable old one: a wrong unit or address is caught here.
    @param feed The new feed.
    @param limit How far they may differ, 1e-6.
    """
    old: uint256 = 0
    new: uint256 = 0
    usable: bool = False
    updated_at: uint256 = 0
    new, usable, updated_at = feeds._read(feed.source, feed.max_age, feed.min_answer, feed.max_answer)
    assert usable, "registry: feed is not usable"
    words: uint256[3] = self._feed(feed.underlying)
    old, usable, updated_at = feeds._read(
        convert(words[0] & convert(max_value(uint160), uint256), address),
        (words[0] >> 160) & constants.MASK_32,
        words[1],
        words[2],
    )
    if usable:
        assert not feeds._disagrees(new, old, limit), "registry: feeds disagree"


@internal
def _set(feed: IRegistry.Feed, underlyings: DynArray[uint256, constants.MAX_LISTED]):
    """
    @dev All feeds are kept anew, ascending, this one in its place; zeros follow, so that one read takes them all.
    @param feed A feed that was checked.
    @param underlyings The words of the underlyings in force: ascending, and every feed is of one of them.
    """
    words: DynArray[uint256, FEED_WORDS] = []
    for word: uint256 in underlyings:
        underlying: uint256 = word >> 240
        old: uint256[3] = self._feed(underlying)
        if underlying == feed.underlying:
            old[0] = 0
            if feed.source != empty(address):
                old[0] = (underlying << 240) | (feed.max_age << 160) | convert(feed.source, uint256)
                old[1] = feed.min_answer
                old[2] = feed.max_answer
        if old[0] != 0:
            words.append(old[0])
            words.append(old[1])
            words.append(old[2])
    self._feeds_code = code_storage._store_padded(abi_encode(words), FEED_BYTES)
    log IRegistry.FeedSet(
        underlying=feed.underlying,
        source=feed.source,
        max_age=feed.max_age,
        min_answer=feed.min_answer,
        max_answer=feed.max_answer,
    )


@view
@internal
def _feed_words() -> DynArray[uint256, FEED_WORDS]:
    """
    @return DynArray Three words for each feed, ascending underlying.
    """
    where: address = self._feeds_code
    if where == empty(address):
        return []
    return abi_decode(slice(where.code, code_storage.DATA_AT, FEED_BYTES), DynArray[uint256, FEED_WORDS])


@view
@internal
def _feed(underlying: uint256) -> uint256[3]:
    """
    @param underlying Its number.
    @return uint256[3] The words of its feed; zeros for none.
    """
    words: DynArray[uint256, FEED_WORDS] = self._feed_words()
    for i: uint256 in range(constants.MAX_LISTED):
        if 3 * i >= len(words):
            break
        if words[3 * i] >> 240 == underlying:
            return [words[3 * i], words[3 * i + 1], words[3 * i + 2]]
    return [0, 0, 0]
