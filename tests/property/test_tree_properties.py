"""Properties of trees: what is in the tree is proven, alone and together; nothing else is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.oracle.trees import Tree, hash_pair, leaf_hash, verify, verify_multi


@st.composite
def trees(draw: st.DrawFn, minimum: int = 1) -> tuple[list[bytes], Tree]:
    count = draw(st.integers(minimum, 80))
    salt = draw(st.binary(min_size=4, max_size=4))
    leaves = [leaf_hash(salt + bytes([i])) for i in range(count)]
    return leaves, Tree(leaves)


@given(trees(), st.data())
@settings(max_examples=60, deadline=None)
def test_proof__every_leaf__verifies_and_no_other(built: tuple[list[bytes], Tree], data: st.DataObject) -> None:
    leaves, tree = built
    i = data.draw(st.integers(0, len(leaves) - 1))
    proof = tree.proof(i)
    assert len(proof) <= len(leaves).bit_length()
    for k, leaf in enumerate(leaves):
        assert verify(tree.root, leaf, proof) == (k == i)


@given(trees(), st.data())
@settings(max_examples=100, deadline=None)
def test_multiproof__any_set__verifies_in_ascending_order(built: tuple[list[bytes], Tree], data: st.DataObject) -> None:
    leaves, tree = built
    indices = data.draw(st.lists(st.integers(0, len(leaves) - 1), unique=True))
    proof, flags = tree.multiproof(indices)
    chosen = [leaves[i] for i in sorted(indices)]
    assert verify_multi(tree.root, chosen, proof, flags)
    # Never longer than single proofs together, and never a hash that the verifier could compute itself.
    assert len(proof) <= max(1, sum(len(tree.proof(i)) for i in indices))
    assert set(proof).isdisjoint(chosen)


@given(trees(2), st.data())
@settings(max_examples=100, deadline=None)
def test_multiproof__one_leaf_replaced__refused(built: tuple[list[bytes], Tree], data: st.DataObject) -> None:
    leaves, tree = built
    indices = sorted(data.draw(st.lists(st.integers(0, len(leaves) - 1), unique=True, min_size=1)))
    proof, flags = tree.multiproof(indices)
    chosen = [leaves[i] for i in indices]
    chosen[data.draw(st.integers(0, len(chosen) - 1))] = leaf_hash(b"another")
    assert not verify_multi(tree.root, chosen, proof, flags)


@given(trees(2))
@settings(max_examples=50, deadline=None)
def test_root__one_leaf_changed__other_root(built: tuple[list[bytes], Tree]) -> None:
    leaves, tree = built
    for i in range(len(leaves)):
        changed = [*leaves[:i], leaf_hash(b"another"), *leaves[i + 1 :]]
        assert Tree(changed).root != tree.root


@given(st.integers(1, 6))
def test_root__power_of_two__is_the_balanced_tree(depth: int) -> None:
    leaves = [leaf_hash(bytes([i])) for i in range(1 << depth)]
    row = leaves
    while len(row) > 1:
        row = [hash_pair(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    assert Tree(leaves).root == row[0]
