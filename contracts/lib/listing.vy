# pragma version 0.4.3
"""
@title Listing
@license GNU Affero General Public License v3.0 only
@notice Which instruments may be traded, and what an id must be for that.
"""

from lib import constants
from lib import instrument as ids


# @dev First kind with a strike: calls and puts have one, perpetuals and futures none.
CALL: constant(uint256) = 3


MASK_48: constant(uint256) = 2**48 - 1

LISTED: constant(uint256) = 1


# @dev An instrument: 0 if it is not listed, 1 if it is, and when it became close-only, seconds, if it did.
_listings: HashMap[uint256, uint256]


@view
@external
def is_listed(instrument: uint256) -> bool:
    """
    @notice Whether an instrument may be traded, if only to close.
    @param instrument Its id.
    @return bool Whether it is listed.
    """
    return self._listings[instrument] != 0


@view
@external
def delisted_at(instrument: uint256) -> uint256:
    """
    @notice When an instrument became close-only, for ever or until the owner relists it.
    @param instrument Its id.
    @return uint256 Seconds; zero if it is not delisted.
    """
    since: uint256 = self._listings[instrument]
    return since if since > LISTED else 0


@internal
def _list(instrument: uint256, underlyings: DynArray[uint256, constants.MAX_LISTED], token: bool):
    """
    @dev List an instrument, which each is once.
    @param instrument Its id.
    @param underlyings The underlyings in force.
    @param token Whether it must be a token; else it must not.
    """
    assert self._listings[instrument] == 0, "registry: instrument already listed"
    self._check(instrument, underlyings, token)
    self._listings[instrument] = LISTED


@internal
def _delist(instrument: uint256):
    """
    @dev Make an instrument close-only.
    @param instrument Its id.
    """
    listed: uint256 = self._listings[instrument]
    assert listed != 0, "registry: instrument not listed"
    assert listed == LISTED, "registry: instrument already delisted"
    self._listings[instrument] = block.timestamp


@internal
def _relist(instrument: uint256, delay: uint256):
    """
    @dev Take a delisting back.
    @param instrument Its id.
    @param delay For how long that can be done, seconds.
    """
    since: uint256 = self._listings[instrument]
    assert since > LISTED, "registry: instrument not delisted"
    assert block.timestamp < since + delay, "registry: delisting is final"
    self._listings[instrument] = LISTED


@view
@internal
def _check(instrument: uint256, underlyings: DynArray[uint256, constants.MAX_LISTED], token: bool):
    """
    @dev Refuse an id with fields that its kind does not have.
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
