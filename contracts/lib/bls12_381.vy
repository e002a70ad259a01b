# pragma version 0.4.3
"""
@title BLS12-381 signatures in G1, keys in G2
@license GNU Affero General Public License v3.0 only
@notice Stateless: hashing to G1, aggregation of keys, and the pairing check, over the precompiles of EIP-2537.
@dev Points travel as EIP-2537 writes them: a field element is 64 bytes, big-endian and below the modulus; a G1 point
     is `x, y` (128 bytes), a G2 point `x.c0, x.c1, y.c0, y.c1` (256 bytes); zero bytes are the point at infinity.
     Every precompile's answer is checked for success and for length: on a chain without the precompiles a call
     succeeds and returns nothing, and then these functions revert with words of their own.

     Group membership: the pairing precompile refuses a point outside its subgroup, the addition precompiles do not.
     Whoever adds keys must therefore have passed each through a pairing first; the committee does so at enrolment.
@custom:security Needs the precompiles of EIP-2537 (prague).
"""


# @dev Addresses of the precompiles (EIP-198, EIP-2537).
MODEXP: constant(address) = 0x0000000000000000000000000000000000000005
G1_ADD: constant(address) = 0x000000000000000000000000000000000000000b
G2_ADD: constant(address) = 0x000000000000000000000000000000000000000d
PAIRING: constant(address) = 0x000000000000000000000000000000000000000F
MAP_FP_TO_G1: constant(address) = 0x0000000000000000000000000000000000000010


# @dev The field modulus (RFC 9380, 8.8.1), in two words.
P_HIGH: constant(bytes32) = 0x000000000000000000000000000000001a0111ea397fe69a4b1ba7b6434bacd7
P_LOW: constant(bytes32) = 0x64774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab


# @dev The generator of G2, negated.
MINUS_G2: constant(Bytes[256]) = (
    x"00000000000000000000000000000000024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb80000000000000000000000000000000013e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e000000000000000000000000000000000d1b3cc2c7027888be51d9ef691d77bcb679afda66c73f17f9ee3837a55024f78c71363275a75d75d86bab79f74782aa0000000000000000000000000000000013fa4d4a0ad8b1ce186ed5061789213d993923066dddaf1040bc3ff59f825c78df74f2d75467e25e0f55f8a00fa030ed"
)


# @dev Longest message and domain separation tag that `_hash_to_g1` takes. Production hashes 32-byte digests; the
#      published vectors need the rest.
MAX_MESSAGE: constant(uint256) = 544
MAX_TAG: constant(uint256) = 64


# @dev Sizes of encoded points.
G1_SIZE: constant(uint256) = 128
G2_SIZE: constant(uint256) = 256


@internal
@view
def _hash_to_g1(message: Bytes[MAX_MESSAGE], tag: Bytes[MAX_TAG]) -> Bytes[128]:
    """
    @notice Hash a message to a point of G1: suite BLS12381G1_XMD:SHA-256_SSWU_RO_ of RFC 9380.
    @dev `hash_to_curve` (RFC 9380, 3) clears the cofactor of the sum of two mapped elements; the precompile clears it of
         each, which is the same point, as clearing is linear.
    @param message The message.
    @param tag The domain separation tag.
    @return Bytes The point, in the subgroup.
    """
    # expand_message_xmd (RFC 9380, 5.3.1) to 128 bytes: Z_pad || message || I2OSP(128, 2) || 0 || tag || I2OSP(len(tag), 1)
    suffix: Bytes[MAX_TAG + 1] = concat(tag, convert(convert(len(tag), uint8), bytes1))
    b0: bytes32 = sha256(concat(empty(bytes32), empty(bytes32), message, x"008000", suffix))
    b1: bytes32 = sha256(concat(b0, x"01", suffix))
    b2: bytes32 = sha256(concat(b0 ^ b1, x"02", suffix))
    b3: bytes32 = sha256(concat(b0 ^ b2, x"03", suffix))
    b4: bytes32 = sha256(concat(b0 ^ b3, x"04", suffix))
    first: Bytes[128] = self._precompile_g1(MAP_FP_TO_G1, self._reduce(b1, b2))
    second: Bytes[128] = self._precompile_g1(MAP_FP_TO_G1, self._reduce(b3, b4))
    return self._precompile_g1(G1_ADD, concat(first, second))


@internal
@view
def _reduce(high: bytes32, low: bytes32) -> Bytes[64]:
    """
    @notice A 512-bit number modulo the field modulus, as an encoded field element.
    @dev `high * 2^256 + low` to the power 1, by the modular exponentiation precompile.
    @param high Its high word.
    @param low Its low word.
    @return Bytes The remainder, 64 bytes.
    """
    size: bytes32 = convert(64, bytes32)
    success: bool = False
    answer: Bytes[64] = b""
    success, answer = raw_call(
        MODEXP,
        concat(
            size,
            convert(1, bytes32),
            size,
            high,
            low,
            x"01",
            P_HIGH,
            P_LOW,
        ),
        max_outsize=64,
        is_static_call=True,
        revert_on_failure=False,
    )
    assert success and len(answer) == 64, "bls12_381: precompile missing"
    return answer


@internal
@view
def _add_g2(left: Bytes[256], right: Bytes[256]) -> Bytes[256]:
    """
    @notice Sum of two points of G2.
    @dev The precompile checks that both are on the curve, not that they are in the subgroup: see the file's head.
    @param left A point.
    @param right A point; it may be `left`, its negation, or infinity.
    @return Bytes The sum.
    """
    success: bool = False
    answer: Bytes[256] = b""
    success, answer = raw_call(
        G2_ADD, concat(left, right), max_outsize=256, is_static_call=True, revert_on_failure=False
    )
    assert success, "bls12_381: not a point"
    assert len(answer) == G2_SIZE, "bls12_381: precompile missing"
    return answer


@internal
@pure
def _negate_g2(point: Bytes[256]) -> Bytes[256]:
    """
    @notice The negation of a point of G2: `(x, -y)`.
    @param point A point with canonical coordinates, 256 bytes.
    @return Bytes Its negation, canonical: a coordinate of zero stays zero.
    """
    x: Bytes[128] = slice(point, 0, 128)
    c0_high: bytes32 = empty(bytes32)
    c0_low: bytes32 = empty(bytes32)
    c1_high: bytes32 = empty(bytes32)
    c1_low: bytes32 = empty(bytes32)
    c0_high, c0_low = self._negate_field(extract32(point, 128), extract32(point, 160))
    c1_high, c1_low = self._negate_field(extract32(point, 192), extract32(point, 224))
    return concat(x, c0_high, c0_low, c1_high, c1_low)


@internal
@pure
def _negate_field(high: bytes32, low: bytes32) -> (bytes32, bytes32):
    """
    @notice A field element's negation.
    @dev The low word borrows from the high one; the element is below the modulus, so the high word cannot underflow.
    @param high Its high word.
    @param low Its low word.
    @return (bytes32, bytes32) The words of `P - element`, or zeros for zero.
    """
    a: uint256 = convert(high, uint256)
    b: uint256 = convert(low, uint256)
    if a == 0 and b == 0:
        return high, low
    borrow: uint256 = 0
    if b > convert(P_LOW, uint256):
        borrow = 1
    return (
        convert(convert(P_HIGH, uint256) - a - borrow, bytes32),
        convert(unsafe_sub(convert(P_LOW, uint256), b), bytes32),
    )


@internal
@pure
def _is_infinity(point: Bytes[256]) -> bool:
    """
    @notice Whether an encoded point of G1 or G2 is the point at infinity.
    @param point The point; its length is a multiple of 32.
    @return bool True if every byte is zero.
    """
    bits: uint256 = 0
    for i: uint256 in range(8):
        if i * 32 >= len(point):
            break
        bits |= convert(extract32(point, i * 32), uint256)
    return bits == 0


@internal
@view
def _verify(message_point: Bytes[128], key: Bytes[256], signature: Bytes[128]) -> bool:
    """
    @notice Whether `e(signature, -G2) * e(message_point, key) = 1`, that is, whether the signature verifies.
    @dev The pairing precompile refuses a point off its curve or outside its subgroup, and so does this function: False means
         that the equation does not hold, nothing else. Infinity is a member of each group: the caller refuses it.
    @param message_point The hashed message, 128 bytes.
    @param key The key, 256 bytes.
    @param signature The signature, 128 bytes.
    @return bool Whether it verifies.
    """
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        PAIRING,
        concat(signature, MINUS_G2, message_point, key),
        max_outsize=32,
        is_static_call=True,
        revert_on_failure=False,
    )
    assert success, "bls12_381: not a point"
    assert len(answer) == 32, "bls12_381: precompile missing"
    return convert(answer, uint256) == 1


@internal
@view
def _precompile_g1(precompile: address, data: Bytes[256]) -> Bytes[128]:
    """
    @notice Call a precompile that answers with a point of G1.
    @param precompile Its address.
    @param data Its input.
    @return Bytes The point.
    """
    success: bool = False
    answer: Bytes[128] = b""
    success, answer = raw_call(
        precompile, data, max_outsize=128, is_static_call=True, revert_on_failure=False
    )
    assert success, "bls12_381: not a point"
    assert len(answer) == G1_SIZE, "bls12_381: precompile missing"
    return answer
