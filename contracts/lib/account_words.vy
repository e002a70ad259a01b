# pragma version 0.4.3
"""
@title Account words
@license GNU Affero General Public License v3.0 only
@notice The packed words in which the ledger keeps an account and its positions.

        title      owner (bits 255..96), isolated (95), version (31 bits, 94..64), epoch of the last trade (u64, 63..0)
        holdings   cash (i128, 255..128), counts (96 bits, 127..32), sum |q| (u32, 31..0)
        counts     four lanes of 24 bits, each an underlying (u16) over its count of open positions (u8), ascending from the
                   top, then zeros
        lots       five lanes of 51 bits, one for each kind of instrument: the signed positions in instruments that differ in
                   their kind only, so a call and a put of the same strike share a word

        All that a margin check needs of an account is in `holdings` and in its position hash.
"""

from interfaces import ILedger
from lib import constants


_VERSIONS: constant(uint256) = 2**31 - 1
_ISOLATED: constant(uint256) = 1 << 95
_COUNTS: constant(uint256) = 2**96 - 1
_COUNT_LANE: constant(uint256) = 2**24 - 1
_CASH_LIMIT: constant(int256) = 2**127
_LOTS_BITS: constant(uint256) = 51
_LOTS_LANE: constant(uint256) = 2**51 - 1
_LAST_KIND: constant(uint256) = 5


# Title


@pure
@internal
def _owner(title: uint256) -> address:
    """
    @dev Owner of an account.
    @param title Its title word.
    """
    return convert(title >> 96, address)


@pure
@internal
def _version(title: uint256) -> uint256:
    """
    @dev Version of an account.
    @param title Its title word.
    """
    return (title >> 64) & _VERSIONS


@pure
@internal
def _is_isolated(title: uint256) -> bool:
    """
    @dev Whether an account holds one underlying at most.
    @param title Its title word.
    """
    return title & _ISOLATED != 0


@pure
@internal
def _opened(owner: address, isolated: bool) -> uint256:
    """
    @dev Title of a new account.
    @param owner Its owner.
    @param isolated Whether it holds one underlying at most.
    """
    return convert(owner, uint256) << 96 | (_ISOLATED if isolated else 0)


@pure
@internal
def _transferred(title: uint256, owner: address) -> uint256:
    """
    @dev A title with another owner and the next version.
    @param title The title.
    @param owner The new owner.
    """
    version: uint256 = self._version(title)
    assert version != _VERSIONS, "ledger: no more versions"
    kept: uint256 = title & (_ISOLATED | constants.MASK_64)
    return convert(owner, uint256) << 96 | (version + 1) << 64 | kept


@pure
@internal
def _traded(title: uint256, epoch: uint256) -> uint256:
    """
    @dev A title with another epoch of the last trade.
    @param title The title.
    @param epoch The epoch, below 2^64.
    """
    return title & ~constants.MASK_64 | epoch


# Holdings


@pure
@internal
def _signed(amount: uint256) -> int256:
    """
    @dev An amount as a signed number.
    @param amount Micro-USD.
    """
    assert amount < 2**127, "ledger: amount out of range"
    return convert(amount, int256)


@pure
@internal
def _cash(holdings: uint256) -> int256:
    """
    @dev Signed micro-USD of cash.
    @param holdings The word.
    """
    return convert(convert(holdings, bytes32), int256) >> 128


@pure
@internal
def _debt(holdings: uint256) -> uint256:
    """
    @dev What an account owes that holds no position, micro-USD.
    @param holdings The word.
    """
    if (holdings >> 32) & _COUNTS != 0:
        return 0
    return convert(max(-self._cash(holdings), 0), uint256)


@pure
@internal
def _with_cash(holdings: uint256, change: int256) -> uint256:
    """
    @dev Holdings whose cash changed.
    @param holdings The word.
    @param change Signed micro-USD.
    """
    assert change > -_CASH_LIMIT and change < _CASH_LIMIT, "ledger: amount out of range"
    cash: int256 = unsafe_add(convert(convert(holdings, bytes32), int256) >> 128, change)
    assert cash >= -_CASH_LIMIT and cash < _CASH_LIMIT, "ledger: cash out of range"
    return convert(convert(cash, bytes32), uint256) << 128 | holdings & constants.MASK_128


@pure
@internal
def _with_position(holdings: uint256, underlying: uint256, before: int256, after: int256) -> uint256:
    """
    @dev Holdings after a position changed: its counts, and its `sum |q|`, which stays below 2^32.
    @param holdings The word.
    @param underlying Underlying of the instrument.
    @param before Signed lots before.
    @param after Signed lots after, another number.
    """
    total: uint256 = (holdings & constants.MASK_32) + convert(abs(after), uint256) - convert(abs(before), uint256)
    assert total < constants.SUM_LIMIT, "ledger: too many lots"
    counts: uint256 = (holdings >> 32) & _COUNTS
    if before == 0:
        counts = self._counted(counts, underlying)
    elif after == 0:
        counts = self._uncounted(counts, underlying)
    return holdings & ~constants.MASK_128 | counts << 32 | total


@pure
@internal
def _counted(counts: uint256, underlying: uint256) -> uint256:
    """
    @dev Counts with one open position more in an underlying. A lane that is new goes to its ascending place.
    @param counts The counts.
    @param underlying The underlying, 1 to 2^16 - 1.
    """
    assert underlying != 0 and underlying <= constants.MASK_16, "ledger: no such underlying"
    total: uint256 = 0
    place: uint256 = 0  # lanes of lower underlyings
    known: bool = False
    for i: uint256 in range(constants.MAX_UNDERLYINGS):
        lane: uint256 = (counts >> unsafe_sub(72, unsafe_mul(24, i))) & _COUNT_LANE
        total = unsafe_add(total, lane & constants.MASK_8)
        if lane >> 8 == underlying:
            known = True
        elif lane != 0 and lane >> 8 < underlying:
            place = unsafe_add(place, 1)
    assert total < constants.MAX_POSITIONS, "ledger: too many positions"
    if known:
        return counts + (1 << unsafe_sub(72, unsafe_mul(24, place)))
    assert counts & _COUNT_LANE == 0, "ledger: too many underlyings"
    below: uint256 = counts & ((1 << unsafe_sub(96, unsafe_mul(24, place))) - 1)
    return (counts - below) + (below >> 24) + ((underlying << 8 | 1) << unsafe_sub(72, unsafe_mul(24, place)))


@pure
@internal
def _uncounted(counts: uint256, underlying: uint256) -> uint256:
    """
    @dev Counts with one open position less in an underlying that has one. A lane that empties is closed up.
    @param counts The counts.
    @param underlying The underlying.
    """
    for i: uint256 in range(constants.MAX_UNDERLYINGS):
        low_bit: uint256 = unsafe_sub(72, unsafe_mul(24, i))
        lane: uint256 = (counts >> low_bit) & _COUNT_LANE
        if lane >> 8 == underlying:
            if lane & constants.MASK_8 != 1:
                return counts - (1 << low_bit)
            below: uint256 = counts & ((1 << low_bit) - 1)
            return counts - (lane << low_bit) - below + (below << 24)
    raise "ledger: counts are false"


@pure
@internal
def _account(account: uint256, title: uint256, holdings: uint256, position_hash: bytes32) -> ILedger.Account:
    """
    @dev An account's words spread out. The head is built from the ledger's own counts, so no witness can misstate it.
    @param account The account.
    @param title Its title word.
    @param holdings Its holdings word.
    @param position_hash Its position hash.
    """
    head: uint256 = account << 192 | holdings & constants.MASK_32
    head |= ((holdings >> 112) & constants.MASK_16) << 176
    head |= ((holdings >> 88) & constants.MASK_16) << 160
    head |= ((holdings >> 64) & constants.MASK_16) << 144
    head |= ((holdings >> 40) & constants.MASK_16) << 128
    count: uint256 = unsafe_add((holdings >> 104) & constants.MASK_8, (holdings >> 80) & constants.MASK_8)
    count = unsafe_add(count, unsafe_add((holdings >> 56) & constants.MASK_8, (holdings >> 32) & constants.MASK_8))
    return ILedger.Account(
        owner=self._owner(title),
        version=self._version(title),
        cash=convert(convert(holdings, bytes32), int256) >> 128,
        last_trade_epoch=title & constants.MASK_64,
        head=head | count << 64,
        position_hash=position_hash,
    )


@pure
@internal
def _is_crossed(holdings: uint256) -> bool:
    """
    @dev Whether there are positions in more than one underlying: the second lane of the counts is in use.
    @param holdings The holdings word.
    """
    return (holdings >> 80) & _COUNT_LANE != 0


# Lots


@pure
@internal
def _summed(market: uint256, more: int256) -> uint256:
    """
    @dev A market's word with other open interest, which is a sum of long positions and so never below zero.
    @param market The word: open interest in its low 255 bits.
    @param more Signed lots.
    """
    return unsafe_add(market, convert(convert(more, bytes32), uint256))


@pure
@internal
def _lots_key(account: uint256, instrument: uint256) -> uint256:
    """
    @dev Which lots word holds a position: account and instrument without its kind.
    @param account The account, below 2^64.
    @param instrument Instrument id, below 2^104.
    """
    return account << 104 | instrument & ~constants.MASK_8


@pure
@internal
def _lots(word: uint256, instrument: uint256) -> int256:
    """
    @dev Signed lots of an instrument: its lane shifted to the top, then down with its sign. A kind that does not exist
         shifts by 256 bits or more, and has none.
    @param word The lots word.
    @param instrument Instrument id.
    """
    up: uint256 = unsafe_sub(256, unsafe_mul(_LOTS_BITS, instrument & constants.MASK_8))
    return convert(convert(word << up, bytes32), int256) >> 205


@pure
@internal
def _with_lots(word: uint256, instrument: uint256, lots: int256) -> uint256:
    """
    @dev A lots word with another position.
    @param word The lots word.
    @param instrument Instrument id.
    @param lots Signed lots, `|lots| < 2^50`.
    """
    kind: uint256 = instrument & constants.MASK_8
    assert kind != 0 and kind <= _LAST_KIND, "ledger: no such kind"
    low_bit: uint256 = unsafe_mul(_LOTS_BITS, unsafe_sub(kind, 1))
    lane: uint256 = convert(convert(lots, bytes32), uint256) & _LOTS_LANE
    return word & ~(_LOTS_LANE << low_bit) | lane << low_bit
