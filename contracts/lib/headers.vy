# pragma version 0.4.3
"""
@title Headers
@license GNU Affero General Public License v3.0 only
@notice What is signed of a header, and the block whose positions it is about.
"""


_HEADER_DOMAIN: constant(bytes32) = keccak256("ballast.header.v1")


@view
@internal
def _digest(header_hash: bytes32, epoch: uint256, committee_set: uint256) -> bytes32:
    """
    @dev It names chain, contract, set and epoch, so that a signature is good for one slot of one oracle.
    @param header_hash Hash of the header.
    @param epoch Its epoch.
    @param committee_set Its committee set.
    @return bytes32 The digest.
    """
    return keccak256(abi_encode(_HEADER_DOMAIN, chain.id, self, committee_set, epoch, header_hash))


@view
@internal
def _check_snapshot(number: uint256, hash: bytes32):
    """
    @dev Positions are those of a block of this very chain: after a reorganisation the header is refused.
    @param number The block's number.
    @param hash Its hash.
    """
    assert number < block.number, "oracle: snapshot in the future"
    assert number + 256 >= block.number, "oracle: snapshot too old"
    assert blockhash(number) == hash, "oracle: snapshot of another chain"
