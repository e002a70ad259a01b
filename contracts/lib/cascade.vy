# pragma version 0.4.3
"""
@title Cascade bucket
@license GNU Affero General Public License v3.0 only
@notice How many lots of derivatives leg liquidations may take in a short time, so that they do not drive the market on. Per
        underlying, with `share` (shocks[13], 1e-6) and `refill` (shocks[14], slots) of the policy in force:

            capacity   floor(share * open interest)
            used       max(used - floor(capacity * slots since the last take / refill), 0)
            room       max(capacity - used, 0)
            own        ceil(share * (sum |q| + own used))      of the account, anew each slot; at least one lot

        A take draws on the bucket, and on the account's own share for what the bucket lacks. So nobody gains by filling the
        bucket: a full one leaves every account its share a slot, whoever filled it. All accounts' own shares together are
        `share` of what is open, which is the rate that the bucket stands for.

        Exempt, and not counted: accounts near bankruptcy (PV below a tenth of risk + closeout), which could not pay the least
        penalty either, so that their takes would fill the bucket for nothing; and those of dust size. Tokens do not count.
"""

from interfaces import ILiquidator
from interfaces import IMargin
from interfaces import IRegistry
from lib import constants
from lib import engine
from lib import kept_policy

uses: engine


# @dev Where share and refill stand in a kept policy, and the scale of the share.
TERMS_AT: constant(uint256) = kept_policy.SHOCKS_AT + 32 * 13
MICRO: constant(uint256) = 10**6

# @dev An account worth less than this share of its requirement is exempt, 1e-4 (as in Takeover.vy).
NEAR_BANKRUPT: constant(int256) = 1_000


registry: public(immutable(IRegistry))

# By underlying: lots used (bits 255..64) as of an epoch (63..0).
_buckets: HashMap[uint256, uint256]


@deploy
def __init__(registry_: address):
    """
    @notice Bind to the registry for ever.
    @param registry_ The registry, which knows the policy in force.
    """
    assert registry_ != empty(address), "cascade: address is zero"
    registry = IRegistry(registry_)


@view
@external
def bucket(underlying: uint256) -> (uint256, uint256):
    """
    @notice An underlying's bucket as it was last drawn on.
    @param underlying Its number.
    @return uint256, uint256 Lots used then, and the epoch.
    """
    word: uint256 = self._buckets[underlying]
    return (word >> 64, word & constants.MASK_64)


@pure
@internal
def _is_exempt(before: IMargin.Margin, dust: int256) -> bool:
    """
    @dev Whether an account is taken from without regard to the bucket.
    @param before Its margin.
    @param dust Dust size, micro-USD.
    """
    requirement: int256 = before.risk + before.closeout
    return requirement < dust or before.pv < requirement * NEAR_BANKRUPT // convert(constants.ONE, int256)


@internal
def _draw(
    takes: DynArray[ILiquidator.Take, constants.MAX_TAKES], epoch: uint256, lots: uint256, own_used: uint256
) -> uint256:
    """
    @dev Draw takes on the buckets of their underlyings, and on the account's own share.
    @param takes The takes, ids ascending.
    @param epoch The latest epoch.
    @param lots The account's sum |q| before the takes.
    @param own_used What it used of its own share in this epoch.
    @return uint256 What it has used then.
    """
    terms: Bytes[64] = slice((staticcall registry.policy_code()).code, TERMS_AT, 64)
    share: uint256 = convert(extract32(terms, 0), uint256)
    refill: uint256 = convert(extract32(terms, 32), uint256)
    own: uint256 = own_used
    count: uint256 = len(takes)
    sum: uint256 = 0
    for i: uint256 in range(count, bound=constants.MAX_TAKES):
        id: uint256 = takes[i].meta >> 152
        if id & constants.MASK_8 != constants.TOKEN:
            sum += convert(abs(takes[i].lots), uint256)
        underlying: uint256 = id >> 88
        if i + 1 < count and takes[i + 1].meta >> 240 == underlying:
            continue
        if sum != 0:
            capacity: uint256 = staticcall engine.ledger.open_interest(underlying) * share // MICRO
            word: uint256 = self._buckets[underlying]
            used: uint256 = word >> 64
            back: uint256 = capacity * (epoch - min(epoch, word & constants.MASK_64)) // refill
            used -= min(used, back)
            drawn: uint256 = min(sum, capacity - min(capacity, used))
            own += sum - drawn
            self._buckets[underlying] = (used + drawn) << 64 | epoch
        sum = 0
    if own != own_used:
        assert own <= ((lots + own_used) * share + MICRO - 1) // MICRO, "liquidator: bucket and own share are used up"
    return own
