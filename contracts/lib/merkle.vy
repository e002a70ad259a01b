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
def _pair(a: bytes32, b: bytes32) -> bytes32:
    """
    @dev Hash of a node from its two children, in either order.
    @param a One child.
    @param b The other.
    """
    if convert(a, uint256) < convert(b, uint256):
        return keccak256(abi_encode(a, b))
    return keccak256(abi_encode(b, a))


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
        node = self._pair(node, sibling)
    return node


@pure
@internal
def _root_of_many(
    leaves: DynArray[bytes32, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
) -> bytes32:
    """
    @dev The root that several leaves and their multiproof lead to. Each step takes a hash from the queue (leaves first, then
         what steps made), joins it with the next of the queue (flag set) or of the proof (clear), and appends the result.
         A step never lengthens the queue, so the queue lives in a ring as long as the leaves are many, in their own place.
         Every hash given is used exactly once, and none is read before it was made: nothing unproven rides along.
    @param leaves Hashes of one leaf or more, in descending tree position, which is ascending id.
    @param proof Hashes that the leaves do not give.
    @param flags Flag `j` is bit `j mod 256` of word `j / 256`; exactly as many words as needed, zero above the last flag.
    """
    size: uint256 = len(leaves)
    given: uint256 = len(proof)
    assert size != 0, "merkle: no leaves"
    steps: uint256 = unsafe_sub(unsafe_add(size, given), 1)
    assert len(flags) == unsafe_add(steps, 255) >> 8, "merkle: wrong number of flags"

    head: uint256 = 0  # where the queue begins in the ring
    tail: uint256 = 0  # where the next hash goes
    held: uint256 = size  # hashes in the queue
    used: uint256 = 0  # hashes of the proof used
    word: uint256 = 0
    for j: uint256 in range(steps, bound=767):
        if j & 255 == 0:
            word = flags[j >> 8]
        a: bytes32 = leaves[head]
        head = unsafe_add(head, 1)
        if head == size:
            head = 0
        b: bytes32 = empty(bytes32)
        if word & 1 == 0:
            assert used < given, "merkle: malformed multiproof"
            b = proof[used]
            used = unsafe_add(used, 1)
        else:
            assert held > 1, "merkle: malformed multiproof"
            b = leaves[head]
            head = unsafe_add(head, 1)
            if head == size:
                head = 0
            held = unsafe_sub(held, 1)
        leaves[tail] = self._pair(a, b)
        tail = unsafe_add(tail, 1)
        if tail == size:
            tail = 0
        word = word >> 1
    assert used == given and word == 0, "merkle: malformed multiproof"
    return leaves[head]
