"""ABI encoding for those who encode the same few types all day: what `eth_abi` writes, several times as fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from eth_abi.grammar import ABIType, TupleType, parse

Part = tuple[bool, Callable[[Any], bytes]]
"""Whether a type is dynamic, and what writes a value of it."""
MODULUS = 2**256


def _join(parts: Sequence[Part], values: Sequence[Any]) -> bytes:
    heads: list[bytes | None] = []
    tails: list[bytes] = []
    size = 0
    for (dynamic, write), value in zip(parts, values, strict=True):
        made = write(value)
        heads.append(None if dynamic else made)
        tails.append(made if dynamic else b"")
        size += 32 if dynamic else len(made)
    out = []
    for head, tail in zip(heads, tails, strict=True):
        if head is None:
            out.append(size.to_bytes(32, "big"))
            size += len(tail)
        else:
            out.append(head)
    return b"".join(out) + b"".join(tails)


def _integer(value: int) -> bytes:
    return (int(value) % MODULUS).to_bytes(32, "big")


def _address(value: Any) -> bytes:
    return bytes.fromhex(getattr(value, "address", value)[2:]).rjust(32, b"\0")


def _bytes(value: bytes) -> bytes:
    return len(value).to_bytes(32, "big") + value + bytes(-len(value) % 32)


def _part(kind: ABIType) -> Part:
    if kind.is_array:
        item = _part(kind.item_type)
        fixed = bool(kind.arrlist[-1])  # type: ignore[index]

        def write(values: Sequence[Any]) -> bytes:
            if not item[0]:
                body = b"".join(map(item[1], values))
            else:
                body = _join([item] * len(values), values)
            return body if fixed else len(values).to_bytes(32, "big") + body

        return (kind.is_dynamic, write)
    if isinstance(kind, TupleType):
        parts = [_part(each) for each in kind.components]
        return (kind.is_dynamic, lambda values: _join(parts, values))
    if kind.base == "bytes":  # type: ignore[attr-defined]
        return (True, _bytes) if kind.is_dynamic else (False, lambda value: bytes(value).ljust(32, b"\0"))
    return (False, _address if kind.base == "address" else _integer)  # type: ignore[attr-defined]


@cache
def _parts(kinds: tuple[str, ...]) -> list[Part]:
    return [_part(parse(kind)) for kind in kinds]


def encode(kinds: tuple[str, ...], values: Sequence[Any]) -> bytes:
    """Values of these ABI types."""
    return _join(_parts(kinds), values)


def integers(data: bytes) -> list[int]:
    """Words as signed integers."""
    return [int.from_bytes(data[k : k + 32], "big", signed=True) for k in range(0, len(data), 32)]
