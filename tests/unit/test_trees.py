"""Trees against the vectors of an independent implementation, and what their verifiers must refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode

from offchain.oracle.trees import ZERO, Tree, keccak256, leaf_hash, pack_flags, verify, verify_multi

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "merkle.json").read_text())


def unhex(items: list[str]) -> list[bytes]:
    return [bytes.fromhex(item[2:]) for item in items]


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(encode(["uint256"], [i * i + 1])) for i in range(count)]


def field(kind: str, value: Any) -> Any:
    if isinstance(value, list):
        return [int(item, 16) for item in value]
    return bytes.fromhex(value[2:]) if kind == "bytes32" else int(value, 16)


def test_keccak__known_answer() -> None:
    # keccak256 of the empty string, as in the Ethereum yellow paper (the code hash of an empty account).
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@pytest.mark.parametrize("vector", VECTORS["leaves"], ids=lambda v: ",".join(v["types"]))
def test_leaf_hash__independent_implementation__equal(vector: dict[str, Any]) -> None:
    fields = [field(kind, value) for kind, value in zip(vector["types"], vector["fields"], strict=True)]
    assert leaf_hash(encode(vector["types"], fields)) == bytes.fromhex(vector["hash"][2:])


@pytest.mark.parametrize("vector", VECTORS["trees"], ids=lambda v: str(v["count"]))
def test_tree__independent_implementation__equal(vector: dict[str, Any]) -> None:
    leaves = leaves_of(vector["count"])
    tree = Tree(leaves)
    assert len(tree) == vector["count"]
    assert tree.root == bytes.fromhex(vector["root"][2:])
    for case in vector["proofs"]:
        proof = unhex(case["proof"])
        assert tree.proof(case["index"]) == proof
        assert tree.leaf(case["index"]) == leaves[case["index"]]
        assert verify(tree.root, leaves[case["index"]], proof)
    for case in vector["multiproofs"]:
        proof, flags = tree.multiproof(case["indices"])
        assert case["indices"] == sorted(case["indices"])
        assert proof == unhex(case["proof"])
        assert flags == [int(word, 16) for word in case["flags"]]
        assert verify_multi(tree.root, [leaves[i] for i in case["indices"]], proof, flags)


def test_tree__empty__zero_root() -> None:
    tree = Tree([])
    assert tree.root == ZERO
    with pytest.raises(IndexError, match="leaf 0 of a tree of 0"):
        tree.proof(0)


def test_tree__one_leaf__is_its_root() -> None:
    leaf = leaf_hash(b"a")
    tree = Tree([leaf])
    assert tree.root == leaf
    assert tree.proof(0) == []
    assert tree.multiproof([0]) == ([], [])
    assert verify_multi(tree.root, [leaf], [], [])


def test_tree__bad_input__refused() -> None:
    with pytest.raises(ValueError, match="leaf 1 has 31 bytes"):
        Tree([bytes(32), bytes(31)])
    tree = Tree(leaves_of(3))
    with pytest.raises(IndexError):
        tree.proof(-1)
    with pytest.raises(IndexError):
        tree.proof(3)
    with pytest.raises(ValueError, match="named twice"):
        tree.multiproof([1, 1])


def test_verify__other_leaf_other_root_short_proof__refused() -> None:
    leaves = leaves_of(9)
    tree = Tree(leaves)
    proof = tree.proof(4)
    assert verify(tree.root, leaves[4], proof)
    assert not verify(tree.root, leaves[5], proof)
    assert not verify(leaves[0], leaves[4], proof)
    assert not verify(tree.root, leaves[4], proof[:-1])
    assert not verify(tree.root, leaves[4], [*proof, ZERO])


def test_verify_multi__wrong_leaves_flags_or_proof__refused() -> None:
    leaves = leaves_of(13)
    tree = Tree(leaves)
    chosen = [2, 3, 7, 12]
    good = [leaves[i] for i in chosen]
    proof, flags = tree.multiproof(chosen)
    assert verify_multi(tree.root, good, proof, flags)
    assert not verify_multi(tree.root, good[:-1], proof, flags)
    assert not verify_multi(tree.root, [*good[:-1], leaves[11]], proof, flags)
    assert not verify_multi(tree.root, good, proof[:-1], flags)
    assert not verify_multi(tree.root, good, [*proof, ZERO], flags)
    steps = len(good) + len(proof) - 1
    for bit in range(steps + 1):
        assert not verify_multi(tree.root, good, proof, [flags[0] ^ 1 << bit]), bit
    assert not verify_multi(tree.root, good, proof, [*flags, 0])
    assert not verify_multi(tree.root, good, proof, [])
    assert not verify_multi(tree.root, [], [], [])


def test_pack_flags__word_border() -> None:
    assert pack_flags([]) == []
    assert pack_flags([True] * 256) == [2**256 - 1]
    assert pack_flags([False] * 256 + [True]) == [0, 1]
