# pragma version 0.4.3
"""
@title Listing
@license GNU Affero General Public License v3.0 only
@notice What an instrument's id must be for it to be listed.
"""

from lib import constants
from lib import instrument as ids


# @dev First kind with a strike: calls and puts have one, perpetuals and futures none.
CALL: constant(uint256) = 3


MASK_48: constant(uint256) = 2**48 - 1


@view
@internal
def _check(instrument: uint256, underlyings: DynArray[uint256, constants.MAX_LISTED], token: bool):
    """
    @notice Refuse an id with fields that its kind does not have.
    @param instrument Its id.
    @param underlyings The underlyings in force.
    @param token Whether it must be a token; else it must not.
    """
    assert instrument >> 104 == 0, "registry: not an instrument"
    listed: bool = False
    for word: uint256 in underlyings:
        if word >> 240 == ids._underlying(instrument):
            listed = True
    assert listed, "registry: underlying is not listed"
    kind: uint256 = ids._kind(instrument)
    expiry: uint256 = ids._expiry(instrument)
    strike: uint256 = (instrument >> 8) & MASK_48
    if token:
        assert kind == constants.TOKEN, "registry: kind cannot be listed"
        assert expiry == 0, "registry: expiry does not fit the kind"
    else:
        assert kind >= constants.PERPETUAL and kind <= constants.PUT, "registry: kind cannot be listed"
        assert (strike != 0) == (kind >= CALL), "registry: strike does not fit the kind"
        if kind == constants.PERPETUAL:
            assert expiry == 0, "registry: expiry does not fit the kind"
        else:
            assert expiry > block.timestamp, "registry: expiry is not in the future"
