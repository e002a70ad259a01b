# pragma version 0.4.3
"""
@title Claim on insurance
@license GNU Affero General Public License v3.0 only
@notice What insurance would at most pay in for an account at takeover, at the prices of now:

            claim(PV, requirement) = max(floor(requirement / 10) - PV, 0) = max(-PV, 0) + max(incentive - max(PV, 0), 0)

        No action of its owner may make it rise at insurance's cost: a trade does not raise it (owner_rule), and of a
        liquidation's penalty the liquidator gets no more than what the rise leaves (`_shared`). So at constant prices what
        insurance pays for an account, less what it got from it, is at most the claim that the prices made.
"""

from lib import constants


# @dev Share of the requirement to which a takeover's incentive rises, 1e-4.
INCENTIVE: constant(int256) = 1_000


@pure
@internal
def _incentive(requirement: int256) -> int256:
    """
    @dev The most that a takeover is given beyond the debt, floored.
    @param requirement Risk and close-out, micro-USD, not negative.
    """
    return requirement * INCENTIVE // convert(constants.ONE, int256)


@pure
@internal
def _of(pv: int256, requirement: int256) -> int256:
    """
    @dev The claim, micro-USD.
    @param pv What the account is worth, micro-USD.
    @param requirement Risk and close-out, micro-USD, not negative.
    """
    return max(self._incentive(requirement) - pv, 0)


@pure
@internal
def _shared(penalty: int256, split: uint256, before: int256, after: int256) -> uint256:
    """
    @dev The liquidator's part of a penalty: its share, but no more than what is left when insurance has the rise of the claim.
         At the mark the rise is at most the penalty, as a penalty is charged where the requirement falls; at the feeds'
         prices legs are rounded, hence the last `max`.
    @param penalty Micro-USD, not negative.
    @param split The liquidator's share, 1e-4.
    @param before The claim before the takes.
    @param after The claim after the penalty.
    @return uint256 Micro-USD, floored.
    """
    share: int256 = penalty * convert(split, int256) // convert(constants.ONE, int256)
    return convert(max(min(share, penalty - max(after - before, 0)), 0), uint256)
