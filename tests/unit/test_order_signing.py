"""Orders are signed as eth-account signs them, digest and signature."""

from __future__ import annotations

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak

from offchain.chain import secp256k1
from offchain.chain.backends import dev_account
from offchain.chain.orders import Order

HOUSE = "0x" + "aB" * 20
TYPES = {
    "Order": [
        {"name": name, "type": kind}
        for name, kind in (
            ("account", "uint256"), ("version", "uint256"), ("instrument", "uint256"), ("lots", "int256"),
            ("price", "int256"), ("expiry", "uint256"), ("salt", "uint256"),
        )
    ]
}  # fmt: skip


@pytest.mark.parametrize("number", range(6))
def test_sign__is_that_of_eth_account(number: int) -> None:
    lots = 2**31 * (-1) ** number + number
    order = Order(256 + number, number, 2**103 + number, lots, 10**12 * number, 2**32, (number % 2) << 255 | number)
    key = dev_account(number)
    body = dict(zip((f["name"] for f in TYPES["Order"]), order.as_tuple(), strict=True))
    domain = {"name": "Ballast", "version": "1", "chainId": 31337, "verifyingContract": HOUSE}
    message = encode_typed_data(domain_data=domain, message_types=TYPES, message_data=body)
    assert order.digest(31337, HOUSE) == keccak(b"\x19" + message.version + message.header + message.body)
    assert order.sign(key, 31337, HOUSE) == bytes(Account.sign_message(message, key.key).signature)


def test_sign__edges_of_keys_and_digests__as_eth_account() -> None:
    for secret in (1, 2, 255, 256, secp256k1.N - 1):
        for digest in (bytes(32), b"\xff" * 32, keccak(b"digest")):
            key = secret.to_bytes(32, "big")
            expected = Account.unsafe_sign_hash(digest, key)
            assert secp256k1.sign(key, digest) == bytes(expected.signature)


@pytest.mark.parametrize("key", [bytes(32), secp256k1.N.to_bytes(32, "big"), b"\x01" * 31])
def test_sign__no_key__refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="a private key has 32 bytes"):
        secp256k1.sign(key, bytes(32))
