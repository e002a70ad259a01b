"""The auditor's own BLS check: good batches pass, every wrong signature of one is named, and no bad point is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from audited import secrets
from py_ecc.optimized_bls12_381 import G1, add, field_modulus, multiply, neg, normalize

from offchain.audit.signatures import Signed, find_wrong, hash_message, read_g1, read_g2, write_g1
from offchain.oracle.signatures import aggregate, sign

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hash_to_g1.json").read_text())


def signed(name: str, members: tuple[int, ...]) -> Signed:
    """A good signature of a message by some members."""
    message = name.encode().ljust(32, b".")
    keys = tuple(secrets()[i].public_key for i in members)
    return Signed(name, keys, message, aggregate([sign(secrets()[i], message) for i in members]))


@pytest.fixture(scope="module")
def batch() -> list[Signed]:
    return [signed("one", (0, 1, 2)), signed("two", (0, 1, 2)), signed("three", (3,)), signed("four", (1, 2, 3))]


def test_find_wrong__good_batch__finds_none(batch):
    assert find_wrong(batch) == {}
    assert find_wrong([]) == {}


def test_find_wrong__wrong_ones__are_named_and_no_others(batch):
    bad = list(batch)
    bad[1] = replace(bad[1], message=b"another message".ljust(32, b"."))
    bad[3] = replace(bad[3], keys=bad[3].keys[:2])
    assert set(find_wrong(bad)) == {"two", "four"}


def test_find_wrong__errors_that_cancel__are_found(batch):
    """Two signatures, one too large by a point and one too small by it: their plain sum is right."""
    slip = multiply(G1, 12345)
    bad = list(batch)
    bad[0] = replace(bad[0], signature=write_g1(add(read_g1(bad[0].signature), slip)))
    bad[1] = replace(bad[1], signature=write_g1(add(read_g1(bad[1].signature), neg(slip))))
    assert set(find_wrong(bad)) == {"one", "two"}


def test_find_wrong__nobody_signed__is_wrong(batch):
    assert find_wrong([replace(batch[0], keys=())]) == {"one": "nobody signed it"}


def curve_point_outside_the_subgroup() -> bytes:
    for x in range(1, 50):
        square = (x**3 + 4) % field_modulus
        y = pow(square, (field_modulus + 1) // 4, field_modulus)
        if y * y % field_modulus == square:
            return x.to_bytes(64, "big") + y.to_bytes(64, "big")
    raise AssertionError("there is one among any few")


GOOD = write_g1(multiply(G1, 7))
BAD = {
    "127 bytes": (GOOD[:-1], "127 bytes, not 128"),
    "infinity": (bytes(128), "not on the curve"),
    "off the curve": (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "not on the curve"),
    "outside the subgroup": (curve_point_outside_the_subgroup(), "not in the subgroup"),
    "not canonical": (
        (int.from_bytes(GOOD[:64], "big") + field_modulus).to_bytes(64, "big") + GOOD[64:],
        "not below the field's modulus",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_read_g1__bad_point__is_refused_and_named_in_a_batch(batch, kind):
    data, problem = BAD[kind]
    with pytest.raises(ValueError, match=problem):
        read_g1(data)
    found = find_wrong([*batch[:2], replace(batch[2], signature=data)])
    assert set(found) == {"three"}
    assert problem in found["three"]


def test_read_g2__bad_keys__are_refused():
    key = secrets()[0].public_key
    with pytest.raises(ValueError, match="255 bytes"):
        read_g2(key[:-1])
    with pytest.raises(ValueError, match="not on the curve"):
        read_g2(key[:-1] + bytes([key[-1] ^ 1]))
    with pytest.raises(ValueError, match="not on the curve"):
        read_g2(bytes(256))


def test_write_g1__is_the_inverse_of_read_g1():
    assert write_g1(read_g1(GOOD)) == GOOD
    assert normalize(read_g1(GOOD)) == normalize(multiply(G1, 7))


def test_hash_message__is_that_of_the_published_vectors(monkeypatch):
    monkeypatch.setattr("offchain.audit.signatures.TAG", VECTORS["tag"].encode())
    for vector in VECTORS["vectors"]:
        x, y = normalize(hash_message.__wrapped__(vector["message"].encode()))
        assert (int(x), int(y)) == (int(vector["x"], 16), int(vector["y"], 16))
