# pragma version 0.4.3
"""
@title Risk arrays and scenario vectors
@license GNU Affero General Public License v3.0 only
@notice A risk array holds an instrument's value per lot in 40 scenarios as 8 biased lanes of 32 bits a word; a scenario
        vector holds an account's value per underlying as 4 biased lanes of 64 bits a word (docs/protocol.md, *Lanes*).

        Proof that adding is exact. Let `E(x)` be the word whose lane `i` (weight `2^(64 i)`) stands for the signed integer
        `x_i`: `E(x) = sum_i x_i 2^(64 i)  mod 2^256`. `E` is linear, so for risk arrays `v_1, v_2, ..` and quantities `q`

            sum_k q_k * (lanes_k - BIAS_31) = E(sum_k q_k v_k)   mod 2^256        as lanes_k - BIAS_31 = E(v_k)

        and `BIAS_63 + E(x) = E(2^63 + x)`. If `|x_i| < 2^63` for each lane, every `2^63 + x_i` is in `(0, 2^64)`: the sum
        is then the ordinary concatenation of four unsigned 64-bit fields, with no borrow or carry between them, and below
        2^256. That holds at every point where lanes are *read*, because `|sum q_k v_k| <= sum |q_k| * 2^31 < 2^32 * 2^31`
        (the ledger keeps `sum |q| < 2^32`, the registry and the wire format `|v| < 2^31`, where `-2^31` itself is a value
        of no leaf that the protocol makes; with it the bound is `(2^32 - 1) * 2^31 < 2^63` still). What intermediate sums
        do does not matter: they are taken modulo 2^256.
"""

from lib import constants


@pure
@internal
def _mark(array: uint256[5]) -> int256:
    """
    @dev Value of a lot in scenario 0, micro-USD (for a perpetual: price less `F`).
    @param array The risk array.
    """
    return convert(array[0] & constants.MASK_32, int256) - 2**31


@pure
@internal
def _accumulate(sums: uint256[10], array: uint256[5], quantity: uint256) -> uint256[10]:
    """
    @dev `sums[w] + quantity * lanes[w]`, modulo 2^256, with the bias of the lanes left in: `_finish` takes it out.
    @param sums Ten words.
    @param array The risk array.
    @param quantity Lots modulo 2^256.
    """
    word: uint256 = array[0]
    sums[0] = unsafe_add(sums[0], unsafe_mul(quantity, word & constants.LOW_HALVES))
    sums[1] = unsafe_add(sums[1], unsafe_mul(quantity, (word >> 32) & constants.LOW_HALVES))
    word = array[1]
    sums[2] = unsafe_add(sums[2], unsafe_mul(quantity, word & constants.LOW_HALVES))
    sums[3] = unsafe_add(sums[3], unsafe_mul(quantity, (word >> 32) & constants.LOW_HALVES))
    word = array[2]
    sums[4] = unsafe_add(sums[4], unsafe_mul(quantity, word & constants.LOW_HALVES))
    sums[5] = unsafe_add(sums[5], unsafe_mul(quantity, (word >> 32) & constants.LOW_HALVES))
    word = array[3]
    sums[6] = unsafe_add(sums[6], unsafe_mul(quantity, word & constants.LOW_HALVES))
    sums[7] = unsafe_add(sums[7], unsafe_mul(quantity, (word >> 32) & constants.LOW_HALVES))
    word = array[4]
    sums[8] = unsafe_add(sums[8], unsafe_mul(quantity, word & constants.LOW_HALVES))
    sums[9] = unsafe_add(sums[9], unsafe_mul(quantity, (word >> 32) & constants.LOW_HALVES))
    return sums


@pure
@internal
def _bias(net: uint256) -> uint256:
    """
    @dev What turns a sum of `_accumulate` from zero into a word of a scenario vector: `BIAS_63 - net * BIAS_31`. To change
         a word that is one already, add `-net * BIAS_31` alone.
    @param net Sum of the quantities accumulated, modulo 2^256.
    """
    return unsafe_sub(constants.BIAS_63, unsafe_mul(net, constants.BIAS_31))


@pure
@internal
def _lowest(word: uint256) -> uint256:
    """
    @dev The smallest of a word's four 64-bit lanes, biased.
    @param word A word of a scenario vector.
    """
    return min(
        min(word & constants.MASK_64, (word >> 64) & constants.MASK_64),
        min((word >> 128) & constants.MASK_64, word >> 192),
    )
