# pragma version 0.4.3
"""
@title A contract wallet of the tests
@license GNU Affero General Public License v3.0 only
@notice Agrees by EIP-1271 to what a key signed, wherever the signature stands; or answers badly, as it is told.
"""


KEY: immutable(address)
_MAGIC: constant(bytes4) = 0x1626ba7e


# 0 honest, 1 another answer, 2 reverts, 3 a short answer.
answer: public(uint256)


@deploy
def __init__(key: address):
    """
    @param key Who signs for the wallet.
    """
    KEY = key


@external
def set_answer(answer: uint256):
    """
    @param answer How it answers from now on.
    """
    self.answer = answer


@external
def run(target: address, data: Bytes[8192]):
    """
    @notice Call a contract as the wallet.
    @param target The contract.
    @param data Its calldata.
    """
    raw_call(target, data)


@view
@external
@raw_return
def isValidSignature(hash: bytes32, signature: Bytes[1024]) -> Bytes[64]:
    """
    @notice EIP-1271. The signature's last 65 bytes are the key's.
    @param hash What was signed.
    @param signature The signature.
    @return Bytes The magic value, if they are.
    """
    assert self.answer != 2, "wallet: no"
    if self.answer == 3:
        return slice(abi_encode(_MAGIC), 0, 4)
    if self.answer == 1 or len(signature) < 65:
        return abi_encode(empty(bytes32))
    tail: Bytes[65] = slice(signature, len(signature) - 65, 65)
    r: uint256 = extract32(tail, 0, output_type=uint256)
    s: uint256 = extract32(tail, 32, output_type=uint256)
    if ecrecover(hash, convert(slice(tail, 64, 1), uint256), r, s) != KEY:
        return abi_encode(empty(bytes32))
    return abi_encode(_MAGIC)
