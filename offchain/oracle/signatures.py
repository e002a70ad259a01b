"""BLS12-381 signatures: signatures in G1, keys in G2, the standard proof-of-possession ciphersuite.

Source: draft-irtf-cfrg-bls-signature-05 (KeyGen, CoreSign, FastAggregateVerify, PopProve, PopVerify) with RFC 9380 for
hashing. Points travel as EIP-2537 writes them, so the same bytes go to the contracts. py-ecc is the reference; where
py-arkworks-bls12381 is installed (the extra `fast`) it multiplies and pairs, some fifty times as fast, with the same
results. py-ecc's scalar multiplication is not constant in time: keep a member's key where nobody else can time it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib import import_module
from types import ModuleType
from typing import Any

from eth_abi import encode
from eth_utils import keccak
from py_ecc.bls.ciphersuites import BaseG2Ciphersuite
from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import compress_G1, compress_G2, decompress_G1, decompress_G2
from py_ecc.fields import optimized_bls12_381_FQ as FQ
from py_ecc.fields import optimized_bls12_381_FQ2 as FQ2
from py_ecc.fields import optimized_bls12_381_FQ12 as FQ12
from py_ecc.optimized_bls12_381 import (
    G2,
    add,
    b,
    b2,
    curve_order,
    field_modulus,
    final_exponentiate,
    is_on_curve,
    multiply,
    neg,
    normalize,
    pairing,
)

from offchain.config import BallastError

_fast: ModuleType | None = None
with suppress(ImportError):
    _fast = import_module("py_arkworks_bls12381")

MESSAGE_TAG = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
POSSESSION_TAG = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
OBSERVATION_DOMAIN = keccak(text="ballast.observation.v1")
HEADER_DOMAIN = keccak(text="ballast.header.v1")
POSSESSION_DOMAIN = keccak(text="ballast.pop.v1")

FIELD_SIZE = 64
SIGNATURE_SIZE = 128
KEY_SIZE = 256

Point = tuple[Any, Any, Any]
"""A projective point of py-ecc, over FQ (G1) or FQ2 (G2)."""


class SignatureError(BallastError):
    """A key, signature or seed that is malformed: wrong length, off the curve, outside the subgroup, or infinite."""


@dataclass(frozen=True)
class SecretKey:
    """A member's secret.

    Attributes
    ----------
    scalar : the secret, ``1 <= scalar < curve order``; left out of the repr.
    """

    scalar: int = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.scalar < curve_order:
            raise SignatureError("a secret key must lie between 1 and the order of the curve's group")

    @classmethod
    def generate(cls, seed: bytes) -> SecretKey:
        """Derive a key from secret random bytes (KeyGen, section 2.3 of the draft, without key_info).

        Parameters
        ----------
        seed : at least 32 bytes of entropy.

        Raises
        ------
        SignatureError
            The seed is too short.
        """
        if len(seed) < 32:
            raise SignatureError(f"a key's seed needs at least 32 bytes, not {len(seed)}")
        return cls(BaseG2Ciphersuite.KeyGen(seed))

    @cached_property
    def public_key(self) -> bytes:
        """The public key, 256 bytes."""
        if _fast is not None:
            product = _fast.G2Point() * _scalar(_fast, self.scalar)
            return _encode(decompress_G2(_halves(bytes(product.to_compressed_bytes()))))
        return _encode(multiply(G2, self.scalar))


def sign(secret: SecretKey, message: bytes, tag: bytes = MESSAGE_TAG) -> bytes:
    """Sign a message (CoreSign).

    Parameters
    ----------
    secret : the signer's key.
    message : what to sign; the protocol signs 32-byte digests.
    tag : domain separation tag of the hash to the curve.

    Returns
    -------
    The signature, 128 bytes.
    """
    point = _hash(message, tag)
    if _fast is not None:
        product = _fast_g1(_fast, point) * _scalar(_fast, secret.scalar)
        compressed: Any = int.from_bytes(bytes(product.to_compressed_bytes()), "big")
        return _encode(decompress_G1(compressed))
    return _encode(multiply(point, secret.scalar))


def aggregate(signatures: Sequence[bytes]) -> bytes:
    """The sum of signatures over one message (Aggregate).

    Parameters
    ----------
    signatures : at least one, 128 bytes each.

    Raises
    ------
    SignatureError
        There is none, one is malformed, or their sum is infinite.
    """
    if not signatures:
        raise SignatureError("no signatures to aggregate")
    return _encode(_sum([_signature_point(s) for s in signatures], "signatures"))


def aggregate_keys(keys: Sequence[bytes]) -> bytes:
    """The sum of public keys, each of which proved possession.

    Parameters
    ----------
    keys : at least one, 256 bytes each.

    Raises
    ------
    SignatureError
        There is none, one is malformed, or their sum is infinite.
    """
    if not keys:
        raise SignatureError("no keys to aggregate")
    return _encode(_sum([_key_point(bytes(k)) for k in keys], "keys"))


def verify(keys: Sequence[bytes], message: bytes, signature: bytes, tag: bytes = MESSAGE_TAG) -> bool:
    """Whether the holders of all keys signed the message (FastAggregateVerify).

    Only for keys whose possession was proven: else a rogue key can cancel others.

    Parameters
    ----------
    keys : at least one, 256 bytes each; a key may not stand twice.
    message : what was signed.
    signature : the aggregate, 128 bytes.
    tag : domain separation tag.

    Returns
    -------
    Whether the pairing equation holds.

    Raises
    ------
    SignatureError
        A key or the signature is malformed, a key stands twice, or the keys' sum is infinite.
    """
    if not keys:
        raise SignatureError("no keys to verify against")
    if len({bytes(k) for k in keys}) != len(keys):
        raise SignatureError("a key stands twice among the signers")
    key = _sum([_key_point(bytes(k)) for k in keys], "keys")
    point = _signature_point(signature)
    message_point = _hash(message, tag)
    if _fast is not None:
        return _pairing_fast(_fast, message_point, key, point)
    return _pairing_reference(message_point, key, point)


def check_key(key: bytes) -> None:
    """Refuse a malformed public key.

    Raises
    ------
    SignatureError
        It is not 256 bytes, off the curve, outside the subgroup, or infinite.
    """
    _key_point(bytes(key))


def message_digest(domain: bytes, chain_id: int, oracle: str, committee_set: int, epoch: int, body: bytes) -> bytes:
    """The 32 bytes that a member signs (docs/protocol.md, *Signatures*).

    Parameters
    ----------
    domain : `OBSERVATION_DOMAIN` or `HEADER_DOMAIN`.
    chain_id, oracle, committee_set, epoch : what the signature is good for, and nothing else.
    body : 32-byte hash of the content.
    """
    kinds = ["bytes32", "uint256", "address", "uint256", "uint256", "bytes32"]
    return keccak(encode(kinds, [domain, chain_id, oracle, committee_set, epoch, body]))


def observation_digest(chain_id: int, oracle: str, committee_set: int, epoch: int, body: bytes) -> bytes:
    """Digest of an observation; `body` is the hash of its canonical JSON."""
    return message_digest(OBSERVATION_DOMAIN, chain_id, oracle, committee_set, epoch, body)


def header_digest(chain_id: int, oracle: str, committee_set: int, epoch: int, header_hash: bytes) -> bytes:
    """Digest of a header, as `RiskOracle.digest`."""
    return message_digest(HEADER_DOMAIN, chain_id, oracle, committee_set, epoch, header_hash)


def possession_message(chain_id: int, committee: str, member: str, key: bytes) -> bytes:
    """What proves possession of `key` by `member`, as `Committee.possession_message`."""
    kinds = ["bytes32", "uint256", "address", "address", "bytes32"]
    return keccak(encode(kinds, [POSSESSION_DOMAIN, chain_id, committee, member, keccak(key)]))


def prove_possession(secret: SecretKey, chain_id: int, committee: str, member: str) -> bytes:
    """Signature, 128 bytes, that enrols the key at the committee (PopProve, its message naming who and where)."""
    return sign(secret, possession_message(chain_id, committee, member, secret.public_key), POSSESSION_TAG)


def verify_possession(key: bytes, proof: bytes, chain_id: int, committee: str, member: str) -> bool:
    """Whether `proof` shows that `member` holds the secret of `key` (PopVerify).

    Raises
    ------
    SignatureError
        Key or proof is malformed.
    """
    return verify([key], possession_message(chain_id, committee, member, key), proof, POSSESSION_TAG)


# Points


@lru_cache(maxsize=64)
def _hash(message: bytes, tag: bytes) -> Point:
    """Hash to G1 (8 ms); a round signs and verifies few messages many times."""
    return hash_to_G1(message, tag, sha256)  # type: ignore[arg-type]


def _sum(points: Sequence[Point], what: str) -> Point:
    total = points[0]
    for point in points[1:]:
        total = add(total, point)
    if total[2] == type(total[2]).zero():
        raise SignatureError(f"the sum of the {what} is the point at infinity")
    return total


def _coordinates(point: Point) -> list[int]:
    """Affine coordinates, an element of FQ2 as c0, c1."""
    x, y = normalize(point)
    if isinstance(x, FQ2):
        return [int(c) for c in (*x.coeffs, *y.coeffs)]
    return [int(x), int(y)]


def _encode(point: Point) -> bytes:
    """EIP-2537's bytes of a finite point."""
    return b"".join(c.to_bytes(FIELD_SIZE, "big") for c in _coordinates(point))


def _fields(data: bytes, size: int, what: str) -> list[int]:
    if len(data) != size:
        raise SignatureError(f"a {what} has {size} bytes, not {len(data)}")
    if not any(data):
        raise SignatureError(f"the {what} is the point at infinity")
    values = [int.from_bytes(data[i : i + FIELD_SIZE], "big") for i in range(0, size, FIELD_SIZE)]
    if max(values) >= field_modulus:
        raise SignatureError(f"a coordinate of the {what} is not below the field's modulus")
    return values


def _in_subgroup(point: Point) -> bool:
    """Whether `curve_order * point` is infinite; `point` is on its curve."""
    if _fast is None:
        product = multiply(point, curve_order)
        return bool(product[2] == type(product[2]).zero())
    try:
        if isinstance(point[0], FQ2):
            _fast_g2(_fast, point)
        else:
            _fast_g1(_fast, point)
    except ValueError:
        return False
    return True


def _signature_point(signature: bytes) -> Point:
    x, y = _fields(bytes(signature), SIGNATURE_SIZE, "signature")
    return _checked((FQ(x), FQ(y), FQ.one()), b, "signature")


@lru_cache(maxsize=256)
def _key_point(key: bytes) -> Point:
    x0, x1, y0, y1 = _fields(key, KEY_SIZE, "key")
    return _checked((FQ2([x0, x1]), FQ2([y0, y1]), FQ2.one()), b2, "key")


def _checked(point: Point, constant: Any, what: str) -> Point:
    if not is_on_curve(point, constant):
        raise SignatureError(f"the {what} is not a point of the curve")
    if not _in_subgroup(point):
        raise SignatureError(f"the {what} is outside the subgroup")
    return point


# Pairing: e(signature, -G2) * e(message, key) = 1


def _pairing_reference(message: Point, key: Point, signature: Point) -> bool:
    """By py-ecc, about a second."""
    left = pairing(neg(G2), signature, final_exponentiate=False)
    right = pairing(key, message, final_exponentiate=False)
    return bool(final_exponentiate(left * right) == FQ12.one())


def _pairing_fast(fast: ModuleType, message: Point, key: Point, signature: Point) -> bool:
    """By arkworks, a few milliseconds."""
    left = fast.GT.pairing(_fast_g1(fast, signature), fast.G2Point())
    right = fast.GT.pairing(_fast_g1(fast, message), _fast_g2(fast, key))
    return bool(left == right)


def _scalar(fast: ModuleType, value: int) -> Any:
    return fast.Scalar.from_le_bytes(value.to_bytes(32, "little"))


def _halves(compressed: bytes) -> Any:
    """A compressed point of G2 as py-ecc takes it."""
    return int.from_bytes(compressed[:48], "big"), int.from_bytes(compressed[48:], "big")


def _fast_g1(fast: ModuleType, point: Point) -> Any:
    """ValueError for a point outside the subgroup."""
    return fast.G1Point.from_compressed_bytes(compress_G1(point).to_bytes(48, "big"))  # type: ignore[arg-type]


def _fast_g2(fast: ModuleType, point: Point) -> Any:
    """ValueError for a point outside the subgroup."""
    high, low = compress_G2(point)  # type: ignore[arg-type]
    return fast.G2Point.from_compressed_bytes(high.to_bytes(48, "big") + low.to_bytes(48, "big"))
