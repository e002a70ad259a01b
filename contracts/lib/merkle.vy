# pragma version 0.4.3
"""
@title Merkle proofs
@license GNU Affero General Public License v3.0 only
@notice Proofs and multiproofs of OpenZeppelin's standard Merkle tree: a leaf is `keccak256(keccak256(encoded))`, a node
        `keccak256` of its two children in ascending order. A leaf's preimage in its last hash has 32 bytes and a node's 64,
        so neither passes for the other.
"""

from lib import constants


@pure
@internal
def _root(leaf: bytes32, proof: DynArray[bytes32, constants.MAX_DEPTH]) -> bytes32:
    """
    @dev The root that a leaf and its siblings lead to.
    @param leaf Hash of the leaf.
    @param proof Siblings from the leaf up.
    """
    node: bytes32 = leaf
    for sibling: bytes32 in proof:
        if convert(node, uint256) < convert(sibling, uint256):
            node = keccak256(abi_encode(node, sibling))
        else:
            node = keccak256(abi_encode(sibling, node))
    return node


@pure
@internal
def _root_of_many(
    leaves: bytes32[constants.MAX_POSITIONS],
    size: uint256,
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
) -> bytes32:
    """
    @dev The root that several leaves and their multiproof lead to. Each step takes a hash from the queue (leaves first, then
         what steps made), joins it with the next of the queue (flag set) or of the proof (clear), and appends the result.
         A step takes at least one and appends one, so the queue is never longer than the leaves are many, and lives in their
         place as a ring of 128: hash `i` since the beginning is at `i mod 128`. No hash is read before it was made, and in
         the end one is left and all of the proof is used: nothing unproven rides along.
    @param leaves Hashes of leaves in descending tree position, which is ascending id.
    @param size How many leaves, 1 to 128.
    @param proof Hashes that the leaves do not give.
    @param flags Flag `j` is bit `j mod 256` of word `j / 256`; exactly as many words as needed, zero above the last flag.
    """
    assert size != 0, "merkle: no leaves"
    given: uint256 = len(proof)
    steps: uint256 = unsafe_sub(unsafe_add(size, given), 1)
    assert len(flags) == unsafe_add(steps, 255) >> 8, "merkle: wrong number of flags"
    head: uint256 = 0  # hashes taken from the queue
    used: uint256 = 0  # hashes of the proof taken
    word: uint256 = 0  # flags to come
    for j: uint256 in range(steps, bound=767):
        if j & 255 == 0:
            word = flags[j >> 8]
        a: bytes32 = leaves[head & 127]
        b: bytes32 = empty(bytes32)
        head = unsafe_add(head, 1)
        if word & 1 == 0:
            assert used < given, "merkle: malformed multiproof"
            b = proof[used]
            used = unsafe_add(used, 1)
        else:
            assert head < unsafe_add(size, j), "merkle: malformed multiproof"
            b = leaves[head & 127]
            head = unsafe_add(head, 1)
        if convert(a, uint256) < convert(b, uint256):
            leaves[unsafe_add(size, j) & 127] = keccak256(abi_encode(a, b))
        else:
            leaves[unsafe_add(size, j) & 127] = keccak256(abi_encode(b, a))
        word = word >> 1
    assert used == given and word == 0, "merkle: malformed multiproof"
    return leaves[head & 127]
