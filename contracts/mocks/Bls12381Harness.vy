# pragma version 0.4.3
"""
@title Harness of lib/bls12_381
@license GNU Affero General Public License v3.0 only
@notice Opens the module's functions to tests.
"""


from ..lib import bls12_381


@view
@external
def hash_to_g1(message: Bytes[544], tag: Bytes[64]) -> Bytes[128]:
    """
    @notice See `bls12_381._hash_to_g1`.
    """
    return bls12_381._hash_to_g1(message, tag)


@view
@external
def reduce(high: bytes32, low: bytes32) -> Bytes[64]:
    """
    @notice See `bls12_381._reduce`.
    """
    return bls12_381._reduce(high, low)


@view
@external
def add_g2(left: Bytes[256], right: Bytes[256]) -> Bytes[256]:
    """
    @notice See `bls12_381._add_g2`.
    """
    return bls12_381._add_g2(left, right)


@pure
@external
def negate_g2(point: Bytes[256]) -> Bytes[256]:
    """
    @notice See `bls12_381._negate_g2`.
    """
    return bls12_381._negate_g2(point)


@pure
@external
def is_infinity(point: Bytes[256]) -> bool:
    """
    @notice See `bls12_381._is_infinity`.
    """
    return bls12_381._is_infinity(point)


@view
@external
def verify(message_point: Bytes[128], key: Bytes[256], signature: Bytes[128]) -> bool:
    """
    @notice See `bls12_381._verify`.
    """
    return bls12_381._verify(message_point, key, signature)
