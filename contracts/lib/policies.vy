# pragma version 0.4.3
"""
@title Policies
@license GNU Affero General Public License v3.0 only
@notice Every parameter of a policy within its bounds (docs/protocol.md, *Policy*).
@dev Bounds keep the rule meaningful whatever an owner proposes. They are the registry's, and so are the reverts' names.
"""

from interfaces import IRegistry
from lib import constants


# @dev 1 in units of 1e-6.
ONE_E6: constant(uint256) = 1_000_000


MASK_48: constant(uint256) = 2**48 - 1


# @dev Shocks of the pricing; the limits follow, two of which the oracle asks for: the jump of an index at one slot, and the
#      distance of index and feed.
PRICING_SHOCKS: constant(uint256) = 11
JUMP_AT: constant(uint256) = 11
DISPUTE_AT: constant(uint256) = 12


@pure
@internal
def _check(policy: IRegistry.Policy):
    """
    @notice Every parameter within its bounds.
    @param policy The policy.
    """
    assert policy.version == 1, "registry: unknown policy version"
    self._check_margin(policy.margin)
    for i: uint256 in range(40):
        self._check_row(i, policy.rows[i])
    self._check_shocks(policy.shocks)
    self._check_underlyings(policy.underlyings)


@pure
@internal
def _check_succession(policy: IRegistry.Policy, underlyings: DynArray[uint256, constants.MAX_LISTED]):
    """
    @dev Positions may exist in every underlying of the policy in force: each must stay, and a lot must stay what it is.
    @param policy The next policy.
    @param underlyings The words of the underlyings in force.
    """
    for old: uint256 in underlyings:
        stays: bool = False
        for new: uint256 in policy.underlyings:
            if new >> 240 == old >> 240:
                stays = True
                assert new >> 208 == old >> 208, "registry: lot size changed"
        assert stays, "registry: underlying removed"


@pure
@internal
def _check_margin(margin: uint256):
    """
    @dev Bounds keep the rule meaningful: a credit of at most 30 %, IM above MM, money within magnitudes that no
         arithmetic downstream can overflow.
    @param margin The word of margin parameters.
    """
    assert margin & constants.MASK_16 <= 3_000, "registry: kappa out of range"
    im_factor: uint256 = (margin >> 16) & constants.MASK_16
    assert im_factor > constants.ONE and im_factor <= 5 * constants.ONE, "registry: im_factor out of range"
    reserve: uint256 = (margin >> 32) & MASK_48
    assert reserve != 0 and reserve <= 10_000 * ONE_E6, "registry: keeper reserve out of range"
    least: uint256 = (margin >> 80) & constants.MASK_16
    most: uint256 = (margin >> 96) & constants.MASK_16
    assert least <= most and most <= constants.ONE, "registry: penalty out of range"
    ramp: uint256 = (margin >> 112) & constants.MASK_32
    assert ramp != 0 and ramp <= 7 * 86400, "registry: penalty time out of range"
    assert (margin >> 144) & constants.MASK_16 <= constants.ONE, "registry: liquidator share out of range"
    assert (margin >> 160) & MASK_48 <= 1_000_000 * ONE_E6, "registry: dust size out of range"
    assert (margin >> 208) & constants.MASK_16 <= 100, "registry: trade fee out of range"
    band: uint256 = (margin >> 224) & constants.MASK_16
    assert band != 0 and band <= 5_000, "registry: price band out of range"
    assert margin >> 240 <= 500, "registry: gas multiple out of range"


@pure
@internal
def _check_row(index: uint256, row: uint256):
    """
    @dev The kinds of rows are where docs/protocol.md puts them: fallback and auditors read rows by number. A scan move is at
         most one scan range, which is below 100 %, and a tail above -100 %, so every scenario price is positive.
    @param index The row's number.
    @param row The row.
    """
    kind: uint256 = row & constants.MASK_8
    volatility: uint256 = (row >> 8) & constants.MASK_8
    move: int256 = convert((row >> 16) & constants.MASK_64, int256)
    if move >= 2**63:
        move -= 2**64
    weight: uint256 = (row >> 80) & constants.MASK_64
    one: int256 = convert(ONE_E6, int256)
    assert row >> 144 == 0, "registry: row bits not zero"
    if index < 27:
        assert kind == 0, "registry: row of the wrong kind"
        assert volatility <= 2, "registry: row volatility unknown"
        assert move >= -one and move <= one, "registry: row move out of range"
    elif index < 34:
        assert kind == 1, "registry: row of the wrong kind"
        assert volatility == 1, "registry: tail volatility is not up"
        assert move > -one and move <= 10 * one and move != 0, "registry: row move out of range"
    else:
        assert kind == 2 + (index - 34) // 2, "registry: row of the wrong kind"
        assert volatility == 0, "registry: row volatility not zero"
        sign: int256 = one
        if index % 2 == 1:
            sign = -one
        assert move == sign, "registry: row move out of range"
    if index < 27 or index > 33:
        assert weight == 0, "registry: row weight not zero"
    else:
        assert weight != 0 and weight <= 100_000_000, "registry: row weight out of range"
    if index == 0:
        assert row == 0, "registry: first row is not the mark"


@pure
@internal
def _check_shocks(shocks: uint256[16]):
    """
    @dev Volatility down, twist and skew at most 100 %, so no volatility turns negative; a basis of at most 20 % keeps
         forwards positive out to two years. No limit is zero, which would stop what it limits, and a jump or a dispute
         that takes more than a doubling would be no limit.
    @param shocks The shocks and limits, 1e-6; the refill in slots.
    """
    bounds: uint256[16] = [
        5 * ONE_E6,
        ONE_E6,
        5 * ONE_E6,
        ONE_E6,
        ONE_E6,
        ONE_E6 // 5,
        ONE_E6,
        ONE_E6,
        ONE_E6 // 5,
        ONE_E6 // 10,
        ONE_E6 // 2,
        ONE_E6,
        ONE_E6 // 2,
        ONE_E6,
        10_000,
        100 * ONE_E6,
    ]
    for i: uint256 in range(16):
        assert shocks[i] <= bounds[i], "registry: shock out of range"
    for i: uint256 in range(PRICING_SHOCKS, 16):
        assert shocks[i] != 0, "registry: limit is zero"


@pure
@internal
def _check_underlyings(underlyings: DynArray[uint256, constants.MAX_LISTED]):
    """
    @dev Scan ranges rise at least as fast as they fall: margin follows a crash at once and forgets it slowly.
    @param underlyings The words of the underlyings.
    """
    assert len(underlyings) != 0, "registry: no underlying"
    last: uint256 = 0
    for word: uint256 in underlyings:
        assert word >> 240 > last, "registry: underlyings not ascending"
        last = word >> 240
        assert (word >> 208) & constants.MASK_32 != 0, "registry: lots per unit is zero"
        least: uint256 = (word >> 176) & constants.MASK_32
        most: uint256 = (word >> 144) & constants.MASK_32
        assert least != 0 and least <= most and most < ONE_E6, "registry: scan range bounds out of range"
        up: uint256 = (word >> 112) & constants.MASK_32
        assert up != 0 and up <= 10 * ONE_E6, "registry: slew out of range"
        assert (word >> 80) & constants.MASK_32 <= up, "registry: slew falls faster than it rises"
        assert (word >> 32) & MASK_48 != 0, "registry: depth is zero"
        assert (word >> 16) & constants.MASK_16 != 0, "registry: open-interest limit is zero"
        assert word & constants.MASK_16 <= constants.ONE, "registry: haircut out of range"
