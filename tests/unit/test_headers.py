"""Marks, headers, leaves and checkpoints: the bytes of an independent encoder, and the edges of every field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from offchain.oracle.headers import (
    Header,
    Mark,
    account_leaf_hash,
    checkpoint,
    encode_account,
    encode_instrument,
    pack_settlement,
)
from offchain.oracle.trees import keccak256

VECTORS = Path(__file__).parents[1] / "vectors"


def cases(name: str) -> list[dict[str, Any]]:
    return json.loads((VECTORS / f"{name}.json").read_text())["cases"]


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


@pytest.mark.parametrize("case", cases("header"))
def test_header__independent_encoder__equal(case: dict[str, Any]) -> None:
    fields = [raw(item) if isinstance(item, str) else item for item in case["fields"]]
    marks = [Mark(*(int(mark[name]) for name in MARK_FIELDS)) for mark in case["marks"]]
    assert [mark.pack() for mark in marks] == [int(mark["word"], 16) for mark in case["marks"]]
    assert [Mark.unpack(mark.pack()) for mark in marks] == marks
    header = Header(*fields, marks=tuple(mark.pack() for mark in marks))
    assert header.encode() == raw(case["encoded"])
    assert header.hash == raw(case["hash"]) == keccak256(header.encode())
    assert Header.decode(header.encode()) == header
    for mark in marks:
        assert header.mark(mark.underlying) == mark
    with pytest.raises(KeyError, match="no mark of underlying 9"):
        header.mark(9)


MARK_FIELDS = ("underlying", "index", "funding", "scan_range", "status")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("underlying", 1 << 16),
        ("index", -1),
        ("index", 1 << 64),
        ("funding", 1 << 63),
        ("funding", -(1 << 63) - 1),
        ("scan_range", 1 << 32),
        ("status", 256),
    ],
)
def test_mark__value_out_of_range__refused(field: str, value: int) -> None:
    good = dict(zip(MARK_FIELDS, (1, 2, 3, 4, 1), strict=True))
    Mark(**good).pack()
    with pytest.raises(ValueError, match="does not fit"):
        Mark(**(good | {field: value})).pack()


@pytest.mark.parametrize("word", [1, 1 << 71, 1 << 256])
def test_mark__bits_without_a_field__refused(word: int) -> None:
    with pytest.raises(ValueError, match="no field"):
        Mark.unpack(word)


@pytest.mark.parametrize("case", cases("account_leaf"))
def test_account_leaf__independent_encoder__equal(case: dict[str, Any]) -> None:
    head, cost = int(case["head"], 16), int(case["cost"], 16)
    vectors = [int(item, 16) for item in case["vectors"]]
    assert encode_account(head, raw(case["position_hash"]), cost, vectors) == raw(case["encoded"])
    assert account_leaf_hash(head, raw(case["position_hash"]), cost, vectors) == raw(case["hash"])


@pytest.mark.parametrize("case", cases("checkpoint"))
def test_checkpoint__independent_encoder__equal(case: dict[str, Any]) -> None:
    vectors = [int(item, 16) for item in case["vectors"]]
    content = (int(case["head"], 16), raw(case["position_hash"]), int(case["cost"], 16), vectors)
    assert checkpoint(int(case["epoch"]), *content) == raw(case["checkpoint"])


def test_leaves__wrong_count_of_words__refused() -> None:
    with pytest.raises(ValueError, match="5 words, not 4"):
        encode_instrument(1, [1, 2, 3, 4])
    with pytest.raises(ValueError, match="10 words an underlying"):
        encode_account(1, bytes(32), 0, [0] * 11)


def test_settlement__fields_in_place() -> None:
    word = pack_settlement(2, 1585296000, 133_330_000)
    assert (word >> 240, word >> 208 & 0xFFFFFFFF, word >> 144 & (1 << 64) - 1) == (2, 1585296000, 133_330_000)
    assert word & (1 << 144) - 1 == 0
    with pytest.raises(ValueError, match="settlement price"):
        pack_settlement(1, 1, 1 << 64)
