"""BLS12-381 signatures checked with py-ecc alone, many at once (docs/protocol.md, *Signatures*).

A batch of signatures `s_i` of messages `m_i` by keys `k_i` is checked by one equation,

    e(sum r_i s_i, -g2) * prod over keys k of e(sum of r_i H(m_i) with k_i = k, k) = 1,

with 128-bit coefficients `r_i` drawn, by a hash, from everything in the batch. A wrong signature among them passes with
a probability of about 2^-127 (Bellare, Garay, Rabin, "Fast batch verification for modular exponentiation and digital
signatures", 1998), because every point is first shown to lie in its subgroup of prime order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any

from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.optimized_bls12_381 import (
    FQ,
    FQ2,
    FQ12,
    G2,
    Z1,
    Z2,
    add,
    b,
    b2,
    curve_order,
    field_modulus,
    final_exponentiate,
    is_inf,
    is_on_curve,
    multiply,
    neg,
    normalize,
    pairing,
)

TAG = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
Point = Any
"""A point as py-ecc holds it: three field elements."""


@dataclass(frozen=True)
class Signed:
    """A signature (128 bytes) said to be by the sum of `keys` (256 bytes each) over `message`; `where` names it."""

    where: str
    keys: tuple[bytes, ...]
    message: bytes
    signature: bytes


def _field(data: bytes) -> int:
    value = int.from_bytes(data, "big")
    if value >= field_modulus:
        raise ValueError("a coordinate is not below the field's modulus")
    return value


@lru_cache(maxsize=4096)
def read_g1(data: bytes) -> Point:
    """A point of G1 from the 128 bytes of EIP-2537.

    Raises
    ------
    ValueError
        Wrong length, not canonical, not on the curve, not in the subgroup, or the point at infinity.
    """
    if len(data) != 128:
        raise ValueError(f"{len(data)} bytes, not 128")
    point = (FQ(_field(data[:64])), FQ(_field(data[64:])), FQ(1))
    return _in_group(point, b)


@cache
def read_g2(data: bytes) -> Point:
    """A point of G2 from the 256 bytes of EIP-2537; errors as of `read_g1`."""
    if len(data) != 256:
        raise ValueError(f"{len(data)} bytes, not 256")
    x0, x1, y0, y1 = (_field(data[i : i + 64]) for i in range(0, 256, 64))
    return _in_group((FQ2((x0, x1)), FQ2((y0, y1)), FQ2.one()), b2)


def _in_group(point: Point, curve: Any) -> Point:
    if not is_on_curve(point, curve):
        raise ValueError("the point is not on the curve (or at infinity)")
    if not is_inf(multiply(point, curve_order)):
        raise ValueError("the point is not in the subgroup")
    return point


def write_g1(point: Point) -> bytes:
    """The 128 bytes of a point of G1."""
    x, y = normalize(point)
    return int(x).to_bytes(64, "big") + int(y).to_bytes(64, "big")


@dataclass(frozen=True)
class _Scaled:
    """A signature of a batch: `r s` and `r H(m)` with its coefficient `r`."""

    item: Signed
    signature: Point
    message: Point


def find_wrong(batch: Sequence[Signed]) -> dict[str, str]:
    """Names of the signatures in a batch that do not verify, and why; empty if all do."""
    wrong: dict[str, str] = {}
    read: list[tuple[Signed, Point]] = []
    for item in batch:
        try:
            if not item.keys:
                raise ValueError("nobody signed it")
            for key in item.keys:
                read_g2(key)
            read.append((item, read_g1(item.signature)))
        except (ValueError, TypeError) as error:
            wrong[item.where] = str(error)
    scaled = _scale(read)
    if not _holds(scaled):
        for each in _split(scaled):
            wrong[each.item.where] = "the pairing equation does not hold"
    return wrong


def _scale(read: Sequence[tuple[Signed, Point]]) -> list[_Scaled]:
    """Multiply every signature and message by its coefficient, which depends on the whole batch."""
    seed = sha256()
    for item, _ in read:
        for part in (*item.keys, item.message, item.signature):
            seed.update(len(part).to_bytes(4, "big") + part)
    drawn = seed.digest()
    out = []
    for i, (item, signature) in enumerate(read):
        factor = int.from_bytes(sha256(drawn + i.to_bytes(8, "big")).digest()[:16], "big") | 1
        out.append(_Scaled(item, multiply(signature, factor), multiply(hash_message(item.message), factor)))
    return out


def _split(wrong: Sequence[_Scaled]) -> list[_Scaled]:
    """The wrong ones among some of which at least one is: by halves. Where the left half holds, the right does not."""
    if len(wrong) == 1:
        return list(wrong)
    left, right = wrong[: len(wrong) // 2], wrong[len(wrong) // 2 :]
    if _holds(left):
        return _split(right)
    return _split(left) + ([] if _holds(right) else _split(right))


def _holds(scaled: Sequence[_Scaled]) -> bool:
    """The equation, over some of a batch."""
    total = Z1
    by_keys: dict[tuple[bytes, ...], Point] = {}
    for each in scaled:
        total = add(total, each.signature)
        by_keys[each.item.keys] = add(by_keys.get(each.item.keys, Z1), each.message)
    product = pairing(neg(G2), total, final_exponentiate=False)
    for keys, point in by_keys.items():
        product *= pairing(aggregate(keys), point, final_exponentiate=False)
    return bool(final_exponentiate(product) == FQ12.one())


@cache
def aggregate(keys: tuple[bytes, ...]) -> Point:
    """Sum of public keys."""
    total = Z2
    for key in keys:
        total = add(total, read_g2(key))
    return total


@lru_cache(maxsize=4096)
def hash_message(message: bytes) -> Point:
    """The point of G1 that a message hashes to (RFC 9380, the ciphersuite of the tag)."""
    return hash_to_G1(message, TAG, sha256)  # type: ignore[arg-type]
