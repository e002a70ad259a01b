"""Merkle trees over leaves in id order, with proofs and multiproofs.

The hashing is that of the OpenZeppelin standard Merkle tree: a leaf is ``keccak256(keccak256(encoded))``, a node
``keccak256`` of its two children in ascending order. A tree over ``n`` leaves is one list of ``2n - 1`` hashes:
leaf ``i`` stands at ``2n - 2 - i``, node ``j`` has the children ``2j + 1`` and ``2j + 2`` (docs/protocol.md, *Leaves*).
Leaves are not sorted by hash, so a chain of strikes is one run of leaves and its multiproof short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from offchain.keccak import keccak256

ZERO = bytes(32)
"""The root of an empty tree."""


def leaf_hash(encoded: bytes) -> bytes:
    """Hash of a leaf: twice, so that no inner node (64 bytes hashed once) can pass for a leaf.

    Parameters
    ----------
    encoded : bytes
        ``abi.encode`` of the leaf's fields.
    """
    return keccak256(keccak256(encoded))


def hash_pair(a: bytes, b: bytes) -> bytes:
    """Hash of a node from its two children, in either order."""
    return keccak256(a + b if a < b else b + a)


def pack_flags(flags: Iterable[bool]) -> list[int]:
    """Pack a multiproof's flags: flag ``j`` is bit ``j mod 256`` of word ``j // 256``; no flags, no words."""
    words: list[int] = []
    for j, flag in enumerate(flags):
        if j % 256 == 0:
            words.append(0)
        if flag:
            words[-1] |= 1 << (j % 256)
    return words


class Tree:
    """A Merkle tree over leaf hashes in the given order.

    Parameters
    ----------
    leaves : sequence of bytes
        Hashes of the leaves (`leaf_hash`), 32 bytes each, in ascending id.

    Raises
    ------
    ValueError
        A leaf is not 32 bytes long.
    """

    __slots__ = ("_nodes", "count")

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.count = n = len(leaves)
        for i, leaf in enumerate(leaves):
            if len(leaf) != 32:
                raise ValueError(f"leaf {i} has {len(leaf)} bytes; a leaf hash has 32")
        nodes: list[bytes] = [ZERO] * max(n - 1, 0)
        nodes.extend(reversed(leaves))
        digest = keccak256
        for j in range(n - 2, -1, -1):
            a = nodes[2 * j + 1]
            b = nodes[2 * j + 2]
            nodes[j] = digest(a + b if a < b else b + a)
        self._nodes = nodes

    def __len__(self) -> int:
        return self.count

    @property
    def root(self) -> bytes:
        """The root; 32 zero bytes for an empty tree, the leaf itself for one leaf."""
        return self._nodes[0] if self._nodes else ZERO

    def leaf(self, i: int) -> bytes:
        """Hash of leaf ``i``."""
        return self._nodes[self._position(i)]

    def proof(self, i: int) -> list[bytes]:
        """Siblings from leaf ``i`` up to the root.

        Raises
        ------
        IndexError
            No such leaf.
        """
        j = self._position(i)
        siblings = []
        while j > 0:
            siblings.append(self._nodes[_sibling(j)])
            j = (j - 1) // 2
        return siblings

    def multiproof(self, indices: Sequence[int]) -> tuple[list[bytes], list[int]]:
        """One proof for several leaves.

        Parameters
        ----------
        indices : sequence of int
            Leaves, in any order; the verifier takes them in ascending order.

        Returns
        -------
        proof : list of bytes
            Hashes that the leaves themselves do not give.
        flags : list of int
            Packed flags (`pack_flags`): set where both children of a node are already known.

        Raises
        ------
        IndexError
            No such leaf.
        ValueError
            A leaf is named twice.
        """
        positions = sorted((self._position(i) for i in indices), reverse=True)
        if len(set(positions)) != len(positions):
            raise ValueError("a leaf is named twice in a multiproof")
        proof: list[bytes] = []
        flags: list[bool] = []
        if not positions:
            return [self.root], []
        # The leaves are the last `count` positions, so every parent stands before all of them, and parents of falling
        # positions fall: the queue falls throughout, and a known sibling, if there is one, is always next.
        queue = deque(positions)
        while queue[0] > 0:
            j = queue.popleft()
            sibling = _sibling(j)
            known = bool(queue) and queue[0] == sibling
            flags.append(known)
            if known:
                queue.popleft()
            else:
                proof.append(self._nodes[sibling])
            queue.append((j - 1) // 2)
        return proof, pack_flags(flags)

    def _position(self, i: int) -> int:
        if not 0 <= i < self.count:
            raise IndexError(f"leaf {i} of a tree of {self.count}")
        return 2 * self.count - 2 - i


def _sibling(j: int) -> int:
    """Position of the other child of ``j``'s parent: left children are odd."""
    return j + 1 if j % 2 else j - 1


def verify(root: bytes, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `leaf` (a leaf hash) is proven under `root` by its siblings."""
    node = leaf
    for sibling in proof:
        node = hash_pair(node, sibling)
    return node == root


def verify_multi(root: bytes, leaves: Sequence[bytes], proof: Sequence[bytes], flags: Sequence[int]) -> bool:
    """Whether all `leaves` (leaf hashes, ascending id) are proven under `root`.

    Parameters
    ----------
    root : bytes
        Root of the tree.
    leaves, proof : sequence of bytes
        32-byte hashes.
    flags : sequence of int
        Packed flags. There are ``len(leaves) + len(proof) - 1`` of them; exactly as many words as they fill, and
        zero above the last, or the proof is refused.

    Notes
    -----
    A flag that is set with no second known hash left, or a proof with hashes left over, is refused: every hash given
    is used exactly once, so nothing unproven can ride along.
    """
    steps = len(leaves) + len(proof) - 1
    if steps < 0 or len(flags) != (steps + 255) // 256:
        return False
    if steps % 256 and flags[-1] >> (steps % 256):
        return False
    known = deque(leaves)
    given = deque(proof)
    for j in range(steps):
        from_known = flags[j // 256] >> (j % 256) & 1
        if not known:
            # Only without leaves: the proof's single hash must be the root, and there is no step then.
            return False
        a = known.popleft()
        source = known if from_known else given
        if not source:
            return False
        known.append(hash_pair(a, source.popleft()))
    last = known if known else given
    return len(known) + len(given) == 1 and last[0] == root
