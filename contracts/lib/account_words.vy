# pragma version 0.4.3
"""
@title Account words
@license GNU Affero General Public License v3.0 only
@notice The two packed words in which the ledger keeps an account, next to its position hash.

        identity   owner (bits 255..96), then four lanes of 24 bits, each an underlying (u16) over its count of open positions
                   (u8), ascending from the top, then zeros
        state      cash (i128, bits 255..128), version (u32), last trade epoch (u64), sum |q| (u32, low)
"""

from interfaces import ILedger
from lib import constants


_LANE: constant(uint256) = 2**24 - 1
_CASH_LIMIT: constant(int256) = 2**127
_EPOCH_AND_SUM: constant(uint256) = 2**96 - 1


@pure
@internal
def _owner(identity: uint256) -> address:
    """
    @dev Owner of an account.
    @param identity Its identity word.
    """
    return convert(identity >> 96, address)


@pure
@internal
def _with_owner(identity: uint256, owner: address) -> uint256:
    """
    @dev An identity word with another owner.
    @param identity The word.
    @param owner The owner.
    """
    return convert(owner, uint256) << 96 | identity & (2**96 - 1)


@pure
@internal
def _with_next_version(state: uint256) -> uint256:
    """
    @dev A state word with the next version.
    @param state The word.
    """
    assert (state >> 96) & constants.MASK_32 != constants.MASK_32, "ledger: no more versions"
    return unsafe_add(state, 1 << 96)


@pure
@internal
def _with_trade(state: uint256, before: int256, after: int256, epoch: uint256) -> uint256:
    """
    @dev A state word after a position changed: its `sum |q|`, which stays below 2^32, and the epoch of the trade.
    @param state The word.
    @param before Signed lots before.
    @param after Signed lots after.
    @param epoch The epoch, below 2^64.
    """
    total: uint256 = (state & constants.MASK_32) + convert(abs(after), uint256) - convert(abs(before), uint256)
    assert total < constants.SUM_LIMIT, "ledger: too many lots"
    return state & ~_EPOCH_AND_SUM | epoch << 32 | total


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
def _with_cash(state: uint256, change: int256) -> uint256:
    """
    @dev A state word whose cash changed.
    @param state The word.
    @param change Signed micro-USD.
    """
    assert change > -_CASH_LIMIT and change < _CASH_LIMIT, "ledger: amount out of range"
    cash: int256 = unsafe_add(convert(convert(state, bytes32), int256) >> 128, change)
    assert cash >= -_CASH_LIMIT and cash < _CASH_LIMIT, "ledger: cash out of range"
    return convert(convert(cash, bytes32), uint256) << 128 | state & constants.MASK_128


@pure
@internal
def _counted(identity: uint256, underlying: uint256) -> uint256:
    """
    @dev An identity word with one open position more in an underlying. A lane that is new goes to its ascending place.
    @param identity The word.
    @param underlying The underlying, 1 to 2^16 - 1.
    """
    assert underlying != 0 and underlying <= constants.MASK_16, "ledger: no such underlying"
    count: uint256 = 0
    place: uint256 = 0  # lanes of lower underlyings
    known: bool = False
    for i: uint256 in range(constants.MAX_UNDERLYINGS):
        lane: uint256 = (identity >> unsafe_sub(72, unsafe_mul(24, i))) & _LANE
        count = unsafe_add(count, lane & constants.MASK_8)
        if lane >> 8 == underlying:
            known = True
        elif lane != 0 and lane >> 8 < underlying:
            place = unsafe_add(place, 1)
    assert count < constants.MAX_POSITIONS, "ledger: too many positions"
    if known:
        return identity + (1 << unsafe_sub(72, unsafe_mul(24, place)))
    assert identity & _LANE == 0, "ledger: too many underlyings"
    below: uint256 = identity & ((1 << unsafe_sub(96, unsafe_mul(24, place))) - 1)
    return (identity - below) + (below >> 24) + ((underlying << 8 | 1) << unsafe_sub(72, unsafe_mul(24, place)))


@pure
@internal
def _uncounted(identity: uint256, underlying: uint256) -> uint256:
    """
    @dev An identity word with one open position less in an underlying that has one. A lane that empties is closed up.
    @param identity The word.
    @param underlying The underlying.
    """
    for i: uint256 in range(constants.MAX_UNDERLYINGS):
        low_bit: uint256 = unsafe_sub(72, unsafe_mul(24, i))
        lane: uint256 = (identity >> low_bit) & _LANE
        if lane >> 8 == underlying:
            if lane & constants.MASK_8 != 1:
                return identity - (1 << low_bit)
            below: uint256 = identity & ((1 << low_bit) - 1)
            return identity - (lane << low_bit) - below + (below << 24)
    raise "ledger: counts are false"


@pure
@internal
def _account(account: uint256, identity: uint256, state: uint256, position_hash: bytes32) -> ILedger.Account:
    """
    @dev An account's words spread out. The head is built from the ledger's own counts, so no witness can misstate it.
    @param account The account.
    @param identity Its identity word.
    @param state Its state word.
    @param position_hash Its position hash.
    """
    head: uint256 = account << 192 | state & constants.MASK_32
    head |= ((identity >> 80) & constants.MASK_16) << 176
    head |= ((identity >> 56) & constants.MASK_16) << 160
    head |= ((identity >> 32) & constants.MASK_16) << 144
    head |= ((identity >> 8) & constants.MASK_16) << 128
    count: uint256 = unsafe_add((identity >> 72) & constants.MASK_8, (identity >> 48) & constants.MASK_8)
    count = unsafe_add(count, unsafe_add((identity >> 24) & constants.MASK_8, identity & constants.MASK_8))
    return ILedger.Account(
        owner=convert(identity >> 96, address),
        version=(state >> 96) & constants.MASK_32,
        cash=convert(convert(state, bytes32), int256) >> 128,
        last_trade_epoch=(state >> 32) & constants.MASK_64,
        head=head | count << 64,
        position_hash=position_hash,
    )
