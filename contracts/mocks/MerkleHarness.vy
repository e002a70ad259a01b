# pragma version 0.4.3
"""
@title MerkleHarness
@license GNU Affero General Public License v3.0 only
@notice Our Merkle proofs beside those of snekmate, an independent implementation, on the same input.
"""

from snekmate.utils import merkle_proof_verification

from lib import constants
from lib import merkle


@pure
@external
def root(leaf: bytes32, proof: DynArray[bytes32, 32]) -> bytes32:
    """
    @notice The root by lib/merkle.vy.
    @param leaf Hash of the leaf.
    @param proof Siblings.
    @return bytes32 The root.
    """
    return merkle._root(leaf, proof)


@pure
@external
def root_of_many(
    leaves: DynArray[bytes32, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
) -> bytes32:
    """
    @notice The root by lib/merkle.vy.
    @param leaves Hashes of the leaves.
    @param proof Hashes of the multiproof.
    @param flags Packed flags.
    @return bytes32 The root.
    """
    ring: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    for i: uint256 in range(len(leaves), bound=128):
        ring[i] = leaves[i]
    return merkle._root_of_many(ring, len(leaves), proof, flags)


@pure
@external
def reference(root: bytes32, leaf: bytes32, proof: DynArray[bytes32, 32]) -> bool:
    """
    @notice Whether snekmate believes a proof.
    @param root The root.
    @param leaf Hash of the leaf.
    @param proof Siblings.
    @return bool Its verdict.
    """
    return merkle_proof_verification._verify(proof, root, leaf)


@pure
@external
def reference_of_many(
    root: bytes32,
    leaves: DynArray[bytes32, 255],
    proof: DynArray[bytes32, 255],
    flags: DynArray[bool, 255],
) -> bool:
    """
    @notice Whether snekmate believes a multiproof.
    @param root The root.
    @param leaves Hashes of the leaves.
    @param proof Hashes of the multiproof.
    @param flags Flags, one each.
    @return bool Its verdict.
    """
    return merkle_proof_verification._multi_proof_verify(proof, flags, root, leaves)
