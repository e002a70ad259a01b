"""BLS signatures: published vectors, the module and the contract against each other, and what both refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils import keccak
from py_ecc.bls.hash_to_curve import map_to_curve_G1, map_to_curve_G2
from py_ecc.fields import optimized_bls12_381_FQ as FQ
from py_ecc.fields import optimized_bls12_381_FQ2 as FQ2
from py_ecc.optimized_bls12_381 import curve_order, field_modulus

from offchain.chain.anvil import local_chain
from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract, Reverted
from offchain.chain.revm import RevmChain
from offchain.oracle import signatures
from offchain.oracle.signatures import (
    MESSAGE_TAG,
    POSSESSION_TAG,
    SecretKey,
    SignatureError,
    aggregate,
    aggregate_keys,
    check_key,
    header_digest,
    observation_digest,
    possession_message,
    prove_possession,
    sign,
    verify,
    verify_possession,
)

FOLDER = Path(__file__).parents[1] / "vectors"
HASHES: dict[str, Any] = json.loads((FOLDER / "hash_to_g1.json").read_text())
BLS: dict[str, Any] = json.loads((FOLDER / "bls.json").read_text())


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


SECRETS = [SecretKey.generate(unhex(m["seed"])) for m in BLS["members"]]
KEYS = [unhex(m["key"]) for m in BLS["members"]]
SIGNATURES = [unhex(m["signature"]) for m in BLS["members"]]
DIGEST = unhex(BLS["digests"]["header"])
P2 = unhex(BLS["g2_add"]["vectors"][0]["right"])
MINUS_P2 = unhex(BLS["g2_add"]["vectors"][2]["right"])
OUTSIDE_G1 = signatures._encode(map_to_curve_G1(FQ(5)))  # on the curve, cofactor not cleared
OUTSIDE_G2 = signatures._encode(map_to_curve_G2(FQ2([5, 7])))


@pytest.fixture(scope="module")
def harness() -> Iterator[Contract]:
    with local_chain() as chain:
        yield chain.deploy(artifact("mocks/Bls12381Harness"), sender=chain.accounts[0])


@pytest.fixture(scope="module")
def bare() -> Contract:
    """The same contract on a chain without the precompiles."""
    chain = RevmChain()
    return chain.deploy(artifact("mocks/Bls12381Harness"), sender=chain.accounts[0])


# Known answers


@pytest.mark.parametrize("vector", HASHES["vectors"], ids=lambda v: v["message"][:8])
def test_hash_to_g1__published_vector__equal(harness: Contract, vector: dict[str, str]) -> None:
    message, tag = vector["message"].encode(), HASHES["tag"].encode()
    want = int(vector["x"], 16).to_bytes(64, "big") + int(vector["y"], 16).to_bytes(64, "big")
    assert harness.call.hash_to_g1(message, tag) == want
    assert signatures._encode(signatures._hash(message, tag)) == want


@pytest.mark.parametrize("vector", BLS["g2_add"]["vectors"], ids=lambda v: v["name"])
def test_add_g2__published_vector__equal(harness: Contract, vector: dict[str, str]) -> None:
    assert harness.call.add_g2(unhex(vector["left"]), unhex(vector["right"])) == unhex(vector["sum"])


def test_beacon__published_signature__verifies_on_chain_and_off(harness: Contract) -> None:
    beacon = BLS["beacon"]
    message, tag, key, signature = (
        unhex(beacon["message"]),
        beacon["tag"].encode(),
        unhex(beacon["key"]),
        unhex(beacon["signature"]),
    )
    assert verify([key], message, signature, tag)
    assert not verify([key], keccak(message), signature, tag)
    assert harness.call.verify(harness.call.hash_to_g1(message, tag), key, signature)
    assert not harness.call.verify(harness.call.hash_to_g1(keccak(message), tag), key, signature)


def test_members__stored_vectors__equal(harness: Contract) -> None:
    assert [s.public_key for s in SECRETS] == KEYS
    assert [sign(s, DIGEST) for s in SECRETS] == SIGNATURES
    signers = BLS["aggregate"]["signers"]
    total, key = aggregate([SIGNATURES[i] for i in signers]), aggregate_keys([KEYS[i] for i in signers])
    assert total == unhex(BLS["aggregate"]["signature"])
    assert key == unhex(BLS["aggregate"]["key"])
    assert verify([KEYS[i] for i in signers], DIGEST, total)
    assert not verify(KEYS, DIGEST, total)
    point = harness.call.hash_to_g1(DIGEST, MESSAGE_TAG)
    assert harness.call.verify(point, key, total)
    assert not harness.call.verify(point, KEYS[0], total)


def test_digests__stored_vectors__equal() -> None:
    case = BLS["digests"]
    args = case["chain_id"], case["oracle"], case["committee_set"], case["epoch"], unhex(case["body"])
    assert header_digest(*args) == unhex(case["header"])
    assert observation_digest(*args) == unhex(case["observation"])


def test_possession__stored_vector__equal() -> None:
    case = BLS["possession"]
    secret = SecretKey.generate(unhex(case["seed"]))
    where = case["chain_id"], case["committee"], case["member"]
    proof = prove_possession(secret, *where)
    assert possession_message(*where, secret.public_key) == unhex(case["message"])
    assert proof == unhex(case["proof"])
    assert verify_possession(secret.public_key, proof, *where)


# The module


def test_digests__any_field_changed__differ() -> None:
    body, oracle = keccak(b"body"), "0x" + "11" * 20
    base: list[Any] = [1, oracle, 7, 99, body]
    changed = [2, "0x" + "12" * 20, 8, 100, keccak(b"other")]
    digests = {header_digest(*base), observation_digest(*base)}
    for i, value in enumerate(changed):
        digests.add(header_digest(*[*base[:i], value, *base[i + 1 :]]))
    assert len(digests) == 7


def test_possession__for_another_chain_committee_member_or_key__does_not_verify() -> None:
    committee, member, other = "0x" + "22" * 20, "0x" + "33" * 20, "0x" + "44" * 20
    proof = prove_possession(SECRETS[0], 1, committee, member)
    assert verify_possession(KEYS[0], proof, 1, committee, member)
    assert not verify_possession(KEYS[0], proof, 2, committee, member)
    assert not verify_possession(KEYS[0], proof, 1, other, member)
    assert not verify_possession(KEYS[0], proof, 1, committee, other)
    assert not verify_possession(KEYS[1], proof, 1, committee, member)


def test_tags__signature_under_one__does_not_verify_under_the_other() -> None:
    assert not verify([KEYS[0]], DIGEST, SIGNATURES[0], POSSESSION_TAG)
    assert not verify([KEYS[0]], DIGEST, sign(SECRETS[0], DIGEST, POSSESSION_TAG))


def test_fast_binding__equals_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("py_arkworks_bls12381")
    outcomes = []
    for fast in (signatures._fast, None):
        monkeypatch.setattr(signatures, "_fast", fast)
        signatures._key_point.cache_clear()
        secret = SecretKey.generate(b"\x05" * 32)
        total = aggregate([SIGNATURES[0], sign(secret, DIGEST)])
        outside = []
        for point in (OUTSIDE_G1, OUTSIDE_G2):
            with pytest.raises(SignatureError, match="outside the subgroup"):
                (aggregate if len(point) == 128 else aggregate_keys)([point])
            outside.append(True)
        outcomes.append(
            (
                secret.public_key,
                total,
                verify([KEYS[0], secret.public_key], DIGEST, total),
                verify([KEYS[1], secret.public_key], DIGEST, total),
                outside,
            )
        )
    signatures._key_point.cache_clear()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2:4] == (True, False)


def test_secret__in_a_repr__is_hidden() -> None:
    assert str(SECRETS[0].scalar) not in repr(SECRETS[0])


@pytest.mark.parametrize("scalar", [0, curve_order, -1])
def test_secret__out_of_range__refused(scalar: int) -> None:
    with pytest.raises(SignatureError, match="between 1 and the order"):
        SecretKey(scalar)


def test_generate__short_seed__refused() -> None:
    with pytest.raises(SignatureError, match="at least 32 bytes, not 31"):
        SecretKey.generate(b"\x01" * 31)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (KEYS[0][:-1], "a key has 256 bytes, not 255"),
        (bytes(256), "the key is the point at infinity"),
        (KEYS[0][:-1] + bytes([KEYS[0][-1] ^ 1]), "the key is not a point of the curve"),
        (OUTSIDE_G2, "the key is outside the subgroup"),
        (field_modulus.to_bytes(64, "big") + KEYS[0][64:], "not below the field's modulus"),
    ],
)
def test_key__malformed__refused(key: bytes, words: str) -> None:
    with pytest.raises(SignatureError, match=words):
        check_key(key)
    with pytest.raises(SignatureError, match=words):
        verify([key], DIGEST, SIGNATURES[0])


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        (SIGNATURES[0] + b"\0", "a signature has 128 bytes, not 129"),
        (bytes(128), "the signature is the point at infinity"),
        (SIGNATURES[0][:-1] + bytes([SIGNATURES[0][-1] ^ 1]), "the signature is not a point of the curve"),
        (OUTSIDE_G1, "the signature is outside the subgroup"),
        (b"\xff" + SIGNATURES[0][1:], "not below the field's modulus"),
    ],
)
def test_signature__malformed__refused(signature: bytes, words: str) -> None:
    with pytest.raises(SignatureError, match=words):
        verify([KEYS[0]], DIGEST, signature)
    with pytest.raises(SignatureError, match=words):
        aggregate([signature])


def test_aggregate__sum_at_infinity__refused() -> None:
    x, y = SIGNATURES[0][:64], int.from_bytes(SIGNATURES[0][64:], "big")
    with pytest.raises(SignatureError, match="sum of the signatures is the point at infinity"):
        aggregate([SIGNATURES[0], x + (field_modulus - y).to_bytes(64, "big")])
    with pytest.raises(SignatureError, match="sum of the keys is the point at infinity"):
        verify([P2, MINUS_P2], DIGEST, SIGNATURES[0])


def test_verify__none_or_repeated__refused() -> None:
    with pytest.raises(SignatureError, match="no keys to verify against"):
        verify([], DIGEST, SIGNATURES[0])
    with pytest.raises(SignatureError, match="no keys to aggregate"):
        aggregate_keys([])
    with pytest.raises(SignatureError, match="no signatures to aggregate"):
        aggregate([])
    with pytest.raises(SignatureError, match="stands twice"):
        verify([KEYS[0], KEYS[0]], DIGEST, aggregate([SIGNATURES[0], SIGNATURES[0]]))


# The contract's library


@pytest.mark.parametrize("value", [0, 1, field_modulus - 1, field_modulus, field_modulus + 1, 1 << 256, (1 << 512) - 1])
def test_reduce__extremes__equal(harness: Contract, bare: Contract, value: int) -> None:
    wide = value.to_bytes(64, "big")
    for contract in (harness, bare):
        assert contract.call.reduce(wide[:32], wide[32:]) == (value % field_modulus).to_bytes(64, "big")


def test_negate_g2__there_and_back__equal(bare: Contract) -> None:
    assert bare.call.negate_g2(P2) == MINUS_P2
    for key in KEYS:
        negated = bare.call.negate_g2(key)
        for at in (128, 192):
            y, minus_y = (int.from_bytes(k[at : at + 64], "big") for k in (key, negated))
            assert y + minus_y == field_modulus
        assert negated[:128] == key[:128]
        assert bare.call.negate_g2(negated) == key


def test_negate_g2__borrow_and_zero__canonical(bare: Contract) -> None:
    x = bytes(128)
    for c0, c1 in ((0, 1), (1, 0), (field_modulus - 1, (1 << 256) - 1), (1 << 256, 0)):
        point = x + c0.to_bytes(64, "big") + c1.to_bytes(64, "big")
        want = x + (-c0 % field_modulus).to_bytes(64, "big") + (-c1 % field_modulus).to_bytes(64, "big")
        assert bare.call.negate_g2(point) == want


def test_is_infinity__zero_bytes_only(bare: Contract) -> None:
    for size in (128, 256):
        assert bare.call.is_infinity(bytes(size))
        for at in (0, 31, 32, size - 1):
            assert not bare.call.is_infinity(bytes(at) + b"\1" + bytes(size - at - 1))


def test_precompiles__missing__revert(bare: Contract) -> None:
    with pytest.raises(Reverted, match="bls12_381: precompile missing"):
        bare.call.hash_to_g1(DIGEST, MESSAGE_TAG)
    with pytest.raises(Reverted, match="bls12_381: precompile missing"):
        bare.call.add_g2(P2, P2)
    with pytest.raises(Reverted, match="bls12_381: precompile missing"):
        bare.call.verify(SIGNATURES[0], KEYS[0], SIGNATURES[0])


def test_precompiles__points_that_are_none__revert(harness: Contract) -> None:
    with pytest.raises(Reverted, match="bls12_381: not a point"):
        harness.call.add_g2(P2, b"\1" + P2[1:])
    assert len(harness.call.add_g2(P2, OUTSIDE_G2)) == 256  # no subgroup check: whoever adds has passed a pairing first
    point = harness.call.hash_to_g1(DIGEST, MESSAGE_TAG)
    for key, signature in ((OUTSIDE_G2, SIGNATURES[0]), (KEYS[0], OUTSIDE_G1), (KEYS[0], b"\1" + SIGNATURES[0][1:])):
        with pytest.raises(Reverted, match="bls12_381: not a point"):
            harness.call.verify(point, key, signature)
