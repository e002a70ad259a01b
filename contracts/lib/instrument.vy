# pragma version 0.4.3
"""
@title Instrument ids and leaves
@license GNU Affero General Public License v3.0 only
@notice Reads the fields of an instrument id and of a leaf's `meta` word (docs/protocol.md, *Instrument id*, *Leaves*).
"""

from lib import constants


@pure
@internal
def _id(meta: uint256) -> uint256:
    """
    @dev Instrument id of a leaf.
    @param meta First word of the leaf.
    """
    return meta >> 152


@pure
@internal
def _underlying(instrument: uint256) -> uint256:
    """
    @dev Underlying of an instrument id below 2^104.
    @param instrument The id.
    """
    return instrument >> 88


@pure
@internal
def _expiry(instrument: uint256) -> uint256:
    """
    @dev Expiry in seconds, 0 for a perpetual and a token.
    @param instrument The id.
    """
    return (instrument >> 56) & constants.MASK_32


@pure
@internal
def _kind(instrument: uint256) -> uint256:
    """
    @dev Kind: 1 perpetual, 2 future, 3 call, 4 put, 5 token.
    @param instrument The id.
    """
    return instrument & constants.MASK_8


@pure
@internal
def _status(meta: uint256) -> uint256:
    """
    @dev Status of a leaf: 1 open, 2 close-only, 3 expired.
    @param meta First word of the leaf.
    """
    return meta & constants.MASK_8


@pure
@internal
def _closeout(meta: uint256, quantity: int256) -> uint256:
    """
    @dev Close-out cost of a position in micro-USD: `long * c_long + short * c_short`. Below 2^64, as `|q| < 2^32` and
         `c < 2^32`.
    @param meta First word of the instrument's leaf.
    @param quantity Signed lots, `|q| < 2^32`.
    """
    if quantity < 0:
        return convert(-quantity, uint256) * ((meta >> 8) & constants.MASK_32)
    return convert(quantity, uint256) * ((meta >> 40) & constants.MASK_32)
