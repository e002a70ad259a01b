# pragma version 0.4.3
"""
@title PriceFeed
@license GNU Affero General Public License v3.0 only
@notice A feed of the kind `AggregatorV3Interface` with 8 decimals that says what it is told.
"""

_answer: int256
_updated_at: uint256


@external
def set(price: uint256, updated_at: uint256):
    """
    @notice Choose the answer.
    @param price Micro-USD per unit.
    @param updated_at Its time, seconds.
    """
    self._answer = convert(price * 100, int256)
    self._updated_at = updated_at


@view
@external
def decimals() -> uint8:
    """
    @notice Decimals of the answer.
    @return uint8 8.
    """
    return 8


@view
@external
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice The answer.
    @return (uint80, int256, uint256, uint256, uint80) Round, answer, times, round.
    """
    return 1, self._answer, self._updated_at, self._updated_at, 1
