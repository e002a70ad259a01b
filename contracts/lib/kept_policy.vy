# pragma version 0.4.3
"""
@title Kept policies
@license GNU Affero General Public License v3.0 only
@notice Reads words of a policy that is kept as the code of a contract: a zero byte, its hash, `abi_encode(policy)`,
        and zeros, so that the list of underlyings is read at once.
"""

from lib import code_storage
from lib import constants


# @dev Where the words of a kept policy stand, bytes: its hash, then its encoding, which is an offset, the tuple (version,
#      margin, 40 rows, 16 shocks, an offset), the count of underlyings and the underlyings.
HASH_AT: constant(uint256) = code_storage.DATA_AT
MARGIN_AT: constant(uint256) = HASH_AT + 96
COUNT_AT: constant(uint256) = HASH_AT + 1952
UNDERLYINGS_AT: constant(uint256) = HASH_AT + 1984
LIST_BYTES: constant(uint256) = 32 + 32 * constants.MAX_LISTED
SHOCKS_AT: constant(uint256) = MARGIN_AT + 41 * 32
TRADE_AT: constant(uint256) = SHOCKS_AT + 15 * 32
TRADE_BYTES: constant(uint256) = 96 + LIST_BYTES - 32


@view
@internal
def _hash_of(where: address) -> bytes32:
    """
    @param where A policy's contract.
    @return bytes32 Its hash.
    """
    return convert(self._word(where, HASH_AT), bytes32)


@view
@internal
def _word(where: address, at: uint256) -> uint256:
    """
    @param where The policy's contract.
    @param at Byte of its code at which the word begins.
    @return uint256 The word.
    """
    return convert(extract32(slice(where.code, at, 32), 0), uint256)


@view
@internal
def _underlyings_of(where: address) -> DynArray[uint256, constants.MAX_LISTED]:
    """
    @param where A policy's contract.
    @return DynArray The words of its underlyings, ascending.
    """
    kept: Bytes[LIST_BYTES] = slice(where.code, COUNT_AT, LIST_BYTES)
    found: DynArray[uint256, constants.MAX_LISTED] = []
    for i: uint256 in range(convert(extract32(kept, 0), uint256), bound=constants.MAX_LISTED):
        found.append(convert(extract32(kept, 32 + 32 * i), uint256))
    return found


@view
@internal
def _underlying(where: address, underlying: uint256) -> uint256:
    """
    @param where A policy's contract.
    @param underlying Its number.
    @return uint256 Its word.
    """
    for i: uint256 in range(self._word(where, COUNT_AT), bound=constants.MAX_LISTED):
        word: uint256 = self._word(where, UNDERLYINGS_AT + 32 * i)
        if word >> 240 == underlying:
            return word
    raise "registry: underlying is not listed"


@view
@internal
def _trade_terms(where: address, underlying: uint256) -> (uint256, uint256):
    """
    @dev What a trade needs, in one read: shock 15, an offset, the count and the list stand side by side.
    @param where The policy's contract.
    @param underlying An underlying's number.
    @return uint256, uint256 Its word; most lots of an account as a share of depth, 1e-6.
    """
    kept: Bytes[TRADE_BYTES] = slice(where.code, TRADE_AT, TRADE_BYTES)
    for i: uint256 in range(convert(extract32(kept, 64), uint256), bound=constants.MAX_LISTED):
        word: uint256 = convert(extract32(kept, 96 + 32 * i), uint256)
        if word >> 240 == underlying:
            return word, convert(extract32(kept, 0), uint256)
    raise "registry: underlying is not listed"
