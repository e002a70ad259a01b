"""Merkle proofs in the contracts against our own trees and against snekmate's verifier, good and bad."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract, Reverted
from offchain.chain.revm import RevmChain
from offchain.oracle.trees import Tree, keccak256, verify_multi

HARNESS: list[Contract] = []


@pytest.fixture(scope="module", autouse=True)
def harness() -> Iterator[None]:
    chain = RevmChain()
    HARNESS.append(chain.deploy(artifact("mocks/MerkleHarness"), sender=chain.accounts[0]))
    yield
    HARNESS.clear()


def tree(count: int) -> Tree:
    return Tree([keccak256(i.to_bytes(4, "big")) for i in range(count)])


def bits(flags: list[int], count: int) -> list[bool]:
    """Packed flags one by one, as snekmate takes them."""
    return [bool(flags[j // 256] >> (j % 256) & 1) for j in range(count)]


def believes(root: bytes, leaves: list[bytes], proof: list[bytes], flags: list[int]) -> bool:
    """Whether our contract comes to the root."""
    try:
        return HARNESS[0].call.root_of_many(leaves, proof, flags) == root
    except Reverted as error:
        if not error.reason.startswith("merkle: "):
            raise
        return False


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 300), st.data())
def test_proof__both_believe_it_and_no_other(count: int, data: st.DataObject) -> None:
    made = tree(count)
    i = data.draw(st.integers(0, count - 1))
    leaf, proof = made.leaf(i), made.proof(i)
    call = HARNESS[0].call
    assert call.root(leaf, proof) == made.root
    assert call.reference(made.root, leaf, proof)
    spoilt = [bytes(32), *proof[1:]] if proof else [bytes(32)]
    assert call.root(leaf, spoilt) != made.root
    assert not call.reference(made.root, leaf, spoilt)
    if count > 1:
        assert call.root(made.leaf((i + 1) % count), proof) != made.root


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 400), st.data())
def test_multiproof__both_believe_it(count: int, data: st.DataObject) -> None:
    """Single leaves, runs as a chain of strikes has, and leaves scattered over the tree."""
    made = tree(count)
    most = min(count, 100)
    if data.draw(st.booleans()):
        length = data.draw(st.integers(1, most))
        start = data.draw(st.integers(0, count - length))
        chosen = list(range(start, start + length))
    else:
        chosen = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=most)))
    proof, flags = made.multiproof(chosen)
    leaves = [made.leaf(i) for i in chosen]
    assert HARNESS[0].call.root_of_many(leaves, proof, flags) == made.root
    steps = len(leaves) + len(proof) - 1
    if max(len(proof), steps) <= 255:
        assert HARNESS[0].call.reference_of_many(made.root, leaves, proof, bits(flags, steps))


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 60), st.data())
def test_multiproof__changed__is_believed_by_none(count: int, data: st.DataObject) -> None:
    """Leaves exchanged, dropped, repeated or foreign, hashes dropped, added or exchanged, flags turned."""
    made = tree(count)
    chosen = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=20)))
    proof, flags = made.multiproof(chosen)
    leaves = [made.leaf(i) for i in chosen]
    steps = len(leaves) + len(proof) - 1
    bad_leaves, bad_proof, bad_flags = list(leaves), list(proof), list(flags)
    place = data.draw(st.integers(0, 10**6))
    match data.draw(st.sampled_from(("foreign", "drop leaf", "repeat", "drop", "add", "change", "flag", "high flag"))):
        case "foreign":
            bad_leaves[place % len(leaves)] = keccak256(b"foreign")
        case "drop leaf":
            bad_leaves.pop(place % len(leaves))
        case "repeat":
            bad_leaves.insert(place % len(leaves), leaves[place % len(leaves)])
        case "drop" if proof:
            bad_proof.pop(place % len(proof))
        case "change" if proof:
            bad_proof[place % len(proof)] = keccak256(b"foreign")
        case "flag" if steps:
            bad_flags[0] ^= 1 << (place % steps)
        case "high flag" if steps:
            bad_flags[0] |= 1 << (steps + place % (256 - steps))
        case _:
            bad_proof.append(made.root)
    assert not believes(made.root, bad_leaves, bad_proof, bad_flags)
    assert not verify_multi(made.root, bad_leaves, bad_proof, bad_flags)


def test_multiproof__without_leaves__reverts() -> None:
    """The empty set, which OpenZeppelin's verifier lets through with the root as its proof."""
    with pytest.raises(Reverted, match="merkle: no leaves"):
        HARNESS[0].call.root_of_many([], [tree(4).root], [])


def test_multiproof__flags__as_many_as_needed() -> None:
    made = tree(8)
    proof, flags = made.multiproof([1, 2])
    leaves = [made.leaf(1), made.leaf(2)]
    for wrong in ([], [*flags, 0], [*flags, 0, 0]):
        with pytest.raises(Reverted, match="merkle: wrong number of flags"):
            HARNESS[0].call.root_of_many(leaves, proof, wrong)


def test_multiproof__a_hash_that_does_not_exist_yet__is_not_read() -> None:
    """All flags set ask for more known hashes than there are: the queue is never read past its end."""
    made = tree(8)
    proof, _ = made.multiproof([3])
    with pytest.raises(Reverted, match="merkle: malformed multiproof"):
        HARNESS[0].call.root_of_many([made.leaf(3)], proof, [0b111])


def test_multiproof__largest__of_128_scattered_leaves() -> None:
    """128 legs evenly over 4,096 leaves need 640 hashes: the most that a call takes."""
    made = tree(4096)
    chosen = list(range(5, 4096, 32))
    proof, flags = made.multiproof(chosen)
    assert len(proof) == 640
    assert HARNESS[0].call.root_of_many([made.leaf(i) for i in chosen], proof, flags) == made.root
