"""Orders and their EIP-712 signatures (docs/protocol.md, *Orders*)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from eth_account.signers.local import LocalAccount

from offchain.chain import secp256k1
from offchain.keccak import keccak256


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

    def digest(self, chain_id: int, clearing: str) -> bytes:
        """The 32 bytes that are signed (EIP-712)."""
        fields = [_ORDER_TYPE, *(value.to_bytes(32, "big", signed=value < 0) for value in self.as_tuple())]
        return keccak256(b"\x19\x01" + _domain(chain_id, clearing) + keccak256(b"".join(fields)))

    def sign(self, key: LocalAccount, chain_id: int, clearing: str) -> bytes:
        """The owner's signature, 65 bytes (r, s, v)."""
        return secp256k1.sign(bytes(key.key), self.digest(chain_id, clearing))


_ORDER_TYPE = keccak256(
    b"Order(uint256 account,uint256 version,uint256 instrument,int256 lots,int256 price,uint256 expiry,uint256 salt)"
)
_DOMAIN_TYPE = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")


@cache
def _domain(chain_id: int, clearing: str) -> bytes:
    """Separator of the domain ("Ballast", "1", chain, clearing house)."""
    place = bytes(12) + bytes.fromhex(clearing.removeprefix("0x"))
    return keccak256(_DOMAIN_TYPE + keccak256(b"Ballast") + keccak256(b"1") + chain_id.to_bytes(32, "big") + place)
