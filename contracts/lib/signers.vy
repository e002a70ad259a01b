# pragma version 0.4.3
"""
@title Signers
@license GNU Affero General Public License v3.0 only
@notice A committee set as the code of a contract: the aggregate key, the negated keys, the members' addresses.
@dev Verification starts from the aggregate of all and adds the negated keys of the absent, of whom there are fewer than a
     third; so only the negations are kept.
"""

from lib import bls12_381
from lib import code_storage


MAX_MEMBERS: constant(uint256) = 32


# @dev Where they stand, after the encoding's head; the words of the largest set.
AGGREGATE_AT: constant(uint256) = code_storage.DATA_AT + 64
KEYS_AT: constant(uint256) = AGGREGATE_AT + 256
MAX_WORDS: constant(uint256) = 8 + 9 * MAX_MEMBERS


@internal
def _keep(
    members: DynArray[address, MAX_MEMBERS], stores: DynArray[address, MAX_MEMBERS]
) -> address:
    """
    @dev Where the set is kept.
    @param members Their addresses, one or more.
    @param stores Where their keys are, each proven and in its subgroup.
    """
    size: uint256 = len(members)
    aggregate: Bytes[256] = slice(stores[0].code, code_storage.DATA_AT, 256)
    for i: uint256 in range(1, size, bound=MAX_MEMBERS):
        key: Bytes[256] = slice(stores[i].code, code_storage.DATA_AT, 256)
        aggregate = bls12_381._add_g2(aggregate, key)
    assert not bls12_381._is_infinity(aggregate), "committee: aggregate at infinity"

    words: DynArray[bytes32, MAX_WORDS] = []
    for j: uint256 in range(8):
        words.append(extract32(aggregate, j * 32))
    for store: address in stores:
        negated: Bytes[256] = bls12_381._negate_g2(slice(store.code, code_storage.DATA_AT, 256))
        for j: uint256 in range(8):
            words.append(extract32(negated, j * 32))
    for member: address in members:
        words.append(convert(member, bytes32))

    return code_storage._store(abi_encode(words))


@view
@internal
def _members(where: address, size: uint256) -> DynArray[address, MAX_MEMBERS]:
    """
    @dev The members' addresses, in order.
    @param where Where the set is.
    @param size How many they are.
    """
    found: DynArray[address, MAX_MEMBERS] = []
    for i: uint256 in range(size, bound=MAX_MEMBERS):
        name: bytes32 = extract32(slice(where.code, KEYS_AT + 256 * size + 32 * i, 32), 0)
        found.append(convert(name, address))
    return found
