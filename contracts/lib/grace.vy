# pragma version 0.4.3
"""
@title Grace
@license GNU Affero General Public License v3.0 only
@notice After an outage of the oracle owners have time to cure: no longer than the outage was, half an hour at most, once a day
        at most, so that withholding posts again and again protects nobody from liquidation.
"""


# @dev At most this long, and this far apart; seconds.
MAX_GRACE: constant(uint256) = 1800
GRACE_EVERY: constant(uint256) = 86400


# @dev Until when owners have grace, and when it began, seconds.
# @custom:invariant grace_until <= _grace_began + MAX_GRACE
grace_until: public(uint256)
_grace_began: uint256


@internal
def _give(since: uint256):
    """
    @dev The oracle lives again.
    @param since From when it did not, seconds; in the future if it never ceased to.
    """
    if block.timestamp > since and block.timestamp >= self._grace_began + GRACE_EVERY:
        self._grace_began = block.timestamp
        self.grace_until = block.timestamp + min(block.timestamp - since, MAX_GRACE)
