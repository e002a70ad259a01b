# pragma version 0.4.3
"""
@title Owner rule
@license GNU Affero General Public License v3.0 only
@notice What an owner's action may make of an account, by the state in which it was.
"""

from interfaces import IMargin
from lib import claim


@pure
@internal
def _judge(
    before: IMargin.Margin, healthy: bool, after: IMargin.Margin, collateral: int256, again: bool, fresh: bool
):
    """
    @dev From HEALTHY an action ends HEALTHY. Below, it raises MM excess, does not lower IM excess nor raise what insurance would
         pay for the account, and is the first of the epoch that changes the account's positions, so that nobody spoils the
         witness of a liquidation again and again. When the oracle is not fresh, the requirement must not rise either.
    @param before The account's margin before.
    @param healthy Whether it was HEALTHY.
    @param after Its margin after, its fee paid.
    @param collateral Value of its tokens after.
    @param again Whether its positions changed in this epoch before.
    @param fresh Whether the oracle is fresh, or the requirement may rise.
    """
    if healthy:
        assert after.im_excess >= 0, "house: below initial margin"
        assert after.pv >= collateral, "house: quote equity below zero"
    else:
        assert after.mm_excess > before.mm_excess, "house: must raise maintenance excess"
        # Else an owner could sell to himself off the mark, and leave the debt to insurance.
        assert after.pv >= min(before.pv, 0), "house: must not end bankrupt"
        was: int256 = claim._of(before.pv, before.risk + before.closeout)
        is_now: int256 = claim._of(after.pv, after.risk + after.closeout)
        assert is_now <= was, "house: must not raise the claim on insurance"
        assert after.im_excess >= before.im_excess, "house: must not lower initial excess"
        assert not again, "house: one trade an epoch below initial margin"
    if not fresh:
        assert after.risk + after.closeout <= before.risk + before.closeout, "house: must not raise the requirement"
