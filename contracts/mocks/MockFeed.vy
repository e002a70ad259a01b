# pragma version 0.4.3
"""
@title MockFeed
@license GNU Affero General Public License v3.0 only
@notice A feed of the kind `AggregatorV3Interface` that says whatever it is told, or misbehaves. Tests only.
"""


# @dev How it misbehaves: 0 not at all, 1 reverts, 2 burns all gas, 3 answers 32 bytes only, 4 has no decimals.
mode: public(uint256)


_decimals: uint256
_answer: int256
_updated_at: uint256


@deploy
def __init__(decimals_: uint256, answer: int256, updated_at: uint256):
    """
    @param decimals_ Decimals that it states, of any size.
    @param answer Its answer.
    @param updated_at When it was updated, seconds.
    """
    self._decimals = decimals_
    self._answer = answer
    self._updated_at = updated_at


@external
def set(answer: int256, updated_at: uint256):
    """
    @param answer Its answer from now on.
    @param updated_at When it was updated, seconds.
    """
    self._answer = answer
    self._updated_at = updated_at


@external
def misbehave(mode: uint256):
    """
    @param mode How, see above.
    """
    self.mode = mode


@external
def set_decimals(decimals_: uint256):
    """
    @param decimals_ Decimals that it states from now on.
    """
    self._decimals = decimals_


@view
@external
def decimals() -> uint256:
    """
    @return uint256 Its decimals.
    """
    assert self.mode != 4, "feed: no decimals"
    return self._decimals


@view
@external
@raw_return
def latestRoundData() -> Bytes[160]:
    """
    @return Bytes (uint80, int256, uint256, uint256, uint80), or less.
    """
    mode: uint256 = self.mode
    assert mode != 1, "feed: broken"
    if mode == 2:
        spent: uint256 = 0
        for i: uint256 in range(1_000_000_000):
            spent = unsafe_add(spent, i)
        return b""
    if mode == 3:
        return slice(abi_encode(self._answer), 0, 32)
    return abi_encode(convert(1, uint256), self._answer, self._updated_at, self._updated_at, convert(1, uint256))
