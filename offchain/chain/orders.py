"""Orders and their EIP-712 signatures (docs/protocol.md, *Orders*)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

_FIELDS = [
    {"name": "account", "type": "uint256"},
    {"name": "version", "type": "uint256"},
    {"name": "instrument", "type": "uint256"},
    {"name": "lots", "type": "int256"},
    {"name": "price", "type": "int256"},
    {"name": "expiry", "type": "uint256"},
    {"name": "salt", "type": "uint256"},
]


@dataclass(frozen=True)
class Order:
    """A limit order.

    Attributes
    ----------
    account, version : who trades, and the version of the account for which the order is good.
    instrument : instrument id.
    lots : signed; positive buys.
    price : limit, micro-USD per lot.
    expiry : last second at which it fills.
    salt : makes otherwise equal orders differ.
    """

    account: int
    version: int
    instrument: int
    lots: int
    price: int
    expiry: int
    salt: int

    def as_tuple(self) -> tuple[int, ...]:
        """Fields in ABI order."""
        return (self.account, self.version, self.instrument, self.lots, self.price, self.expiry, self.salt)

    def _message(self, chain_id: int, clearing: str) -> Any:
        domain = {"name": "Ballast", "version": "1", "chainId": chain_id, "verifyingContract": clearing}
        body = {f["name"]: getattr(self, f["name"]) for f in _FIELDS}
        return encode_typed_data(domain_data=domain, message_types={"Order": _FIELDS}, message_data=body)

    def digest(self, chain_id: int, clearing: str) -> bytes:
        """The 32 bytes that are signed."""
        message = self._message(chain_id, clearing)
        return keccak(b"\x19" + message.version + message.header + message.body)

    def sign(self, key: LocalAccount, chain_id: int, clearing: str) -> bytes:
        """The owner's signature, 65 bytes (r, s, v)."""
        return bytes(Account.sign_message(self._message(chain_id, clearing), key.key).signature)
