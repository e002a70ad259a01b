"""Bytes that the contracts verify: leaves, marks and the header (docs/protocol.md, *Leaves*, *Header*)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_abi import decode, encode

from offchain.oracle.trees import keccak256, leaf_hash
from offchain.units import MICRO, field, placed, placed_signed, signed

LIVE, PROVISIONAL, DISPUTED = 1, 2, 3
"""Statuses of an underlying."""

HEADER_TYPE = "(uint64,uint64,uint64,bytes32,uint64,bytes32,uint256,bytes32,bytes32,bytes32,uint256[])"
VECTOR_WORDS = 10
ARRAY_WORDS = 5

FIXED = 5 * 32
"""Bytes of an account leaf before its vectors: head, position hash, cost, and the offset and length of what follows."""
_OFFSET = (4 * 32).to_bytes(32, "big")


@dataclass(frozen=True)
class Mark:
    """What a header says of one underlying.

    Attributes
    ----------
    underlying : its number, from 1.
    index : index price, micro-USD per unit.
    funding : cumulative funding index, micro-USD per lot, signed.
    scan_range : 1e-6.
    status : 1 live, 2 provisional, 3 disputed.
    """

    underlying: int
    index: int
    funding: int
    scan_range: int
    status: int = LIVE

    def pack(self) -> int:
        """The mark's word.

        Raises
        ------
        ValueError
            A field does not fit.
        """
        return (
            placed("underlying", self.underlying, 16, 240)
            | placed("index price", self.index, 64, 176)
            | placed_signed("funding index", self.funding, 64, 112)
            | placed("scan range", self.scan_range, 32, 80)
            | placed("status", self.status, 8, 72)
        )

    @classmethod
    def unpack(cls, word: int) -> Mark:
        """The mark of a word.

        Raises
        ------
        ValueError
            The word has more than 256 bits, or bits where there is no field.
        """
        if word >> 256 or field(word, 71, 0):
            raise ValueError(f"mark {word:#x} has bits where there is no field")
        return cls(
            underlying=field(word, 255, 240),
            index=field(word, 239, 176),
            funding=signed(field(word, 175, 112), 64),
            scan_range=field(word, 111, 80),
            status=field(word, 79, 72),
        )

    @classmethod
    def held(cls, word: int) -> Mark:
        """The mark of the oracle contract's word: with the status that holds, and below it what the feed said."""
        return cls.unpack(word >> 72 << 72)


def jumps(before: Mark, index: int, slots: int, jump: int) -> bool:
    """Whether a move makes an underlying provisional: the rule of contracts/lib/marks.vy, exact.

    Parameters
    ----------
    before : the mark before, with the status that held: none is provisional for two epochs running.
    index : the index price now, micro-USD per unit.
    slots : slots since the epoch before.
    jump : the limit at one slot, 1e-6; it grows with the square root of the slots.
    """
    moved = abs(index - before.index) * MICRO
    return before.status != PROVISIONAL and moved**2 > (before.index * jump) ** 2 * slots


@dataclass(frozen=True)
class Header:
    """The signed statement of an epoch. Hashes are 32 bytes, times seconds, the shortfall micro-USD."""

    epoch: int
    timestamp: int
    snapshot_block: int
    snapshot_hash: bytes
    committee_set: int
    policy_hash: bytes
    shortfall: int
    instrument_root: bytes
    account_root: bytes
    bundle_hash: bytes
    marks: tuple[int, ...]

    def encode(self) -> bytes:
        """``abi.encode(header)``, the tuple as one dynamic argument."""
        return encode([HEADER_TYPE], [self.as_tuple()])

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Read what `encode` wrote."""
        return cls(*decode([HEADER_TYPE], data)[0])

    @cached_property
    def hash(self) -> bytes:
        """Header hash."""
        return keccak256(self.encode())

    def as_tuple(self) -> tuple[Any, ...]:
        """The fields in ABI order, as the contracts take them."""
        return (
            self.epoch,
            self.timestamp,
            self.snapshot_block,
            self.snapshot_hash,
            self.committee_set,
            self.policy_hash,
            self.shortfall,
            self.instrument_root,
            self.account_root,
            self.bundle_hash,
            self.marks,
        )

    def mark(self, underlying: int) -> Mark:
        """The mark of an underlying.

        Raises
        ------
        KeyError
            The header has none.
        """
        for word in self.marks:
            if word >> 240 == underlying:
                return Mark.unpack(word)
        raise KeyError(f"epoch {self.epoch} has no mark of underlying {underlying}")


def encode_instrument(meta: int, array: Sequence[int]) -> bytes:
    """``abi.encode(uint256 meta, uint256[5] array)``, 192 bytes."""
    if len(array) != ARRAY_WORDS:
        raise ValueError(f"a risk array has {ARRAY_WORDS} words, not {len(array)}")
    return b"".join(item.to_bytes(32, "big") for item in (meta, *array))


def encode_account(head: int, position_hash: bytes, cost: int, vectors: Sequence[int]) -> bytes:
    """``abi.encode(uint256 head, bytes32 position_hash, uint256 cost, uint256[] vectors)``.

    Parameters
    ----------
    head, cost : int
        Words of the account leaf.
    position_hash : bytes
        32 bytes.
    vectors : sequence of int
        Ten words for each underlying of `head`.
    """
    if len(vectors) % VECTOR_WORDS:
        raise ValueError(f"an account's vectors have {VECTOR_WORDS} words an underlying, not {len(vectors)} together")
    return b"".join(
        (
            head.to_bytes(32, "big"),
            position_hash,
            cost.to_bytes(32, "big"),
            _OFFSET,
            len(vectors).to_bytes(32, "big"),
            *(item.to_bytes(32, "big") for item in vectors),
        )
    )


@dataclass(frozen=True, slots=True)
class AccountLeaf:
    """An account leaf, kept as the bytes that its tree hashes (`encode_account`); its fields are read from them.

    Attributes
    ----------
    encoded : 160 bytes and 320 for each underlying.
    """

    encoded: bytes

    @classmethod
    def of(cls, head: int, position_hash: bytes, cost: int, vectors: Sequence[int]) -> AccountLeaf:
        """The leaf of its fields (`encode_account`)."""
        return cls(encode_account(head, position_hash, cost, vectors))

    @classmethod
    def joined(cls, fixed: bytes, vectors: bytes) -> AccountLeaf:
        """The leaf of its first three words and its vectors' words."""
        return cls(b"".join((fixed, _OFFSET, (len(vectors) // 32).to_bytes(32, "big"), vectors)))

    @property
    def account(self) -> int:
        """Account id."""
        return int.from_bytes(self.encoded[:8], "big")

    @property
    def head(self) -> int:
        """Word of account id, underlyings, count and sum of sizes."""
        return int.from_bytes(self.encoded[:32], "big")

    @property
    def position_hash(self) -> bytes:
        """32 bytes."""
        return self.encoded[32:64]

    @property
    def cost(self) -> int:
        """Word of close-out and collateral."""
        return int.from_bytes(self.encoded[64:96], "big")

    @property
    def vectors(self) -> list[int]:
        """Ten words for each underlying."""
        data = self.encoded
        return [int.from_bytes(data[at : at + 32], "big") for at in range(FIXED, len(data), 32)]

    @property
    def hash(self) -> bytes:
        """Hash of the leaf."""
        return leaf_hash(self.encoded)


def encode_settlement(word: int) -> bytes:
    """``abi.encode(uint256 settlement)``."""
    return word.to_bytes(32, "big")


def pack_settlement(underlying: int, expiry: int, price: int) -> int:
    """Word of a settlement leaf; `expiry` in seconds, `price` in micro-USD per unit."""
    return (
        placed("underlying", underlying, 16, 240)
        | placed("expiry", expiry, 32, 208)
        | placed("settlement price", price, 64, 144)
    )


def instrument_leaf_hash(meta: int, array: Sequence[int]) -> bytes:
    """Hash of an instrument leaf."""
    return leaf_hash(encode_instrument(meta, array))


def account_leaf_hash(head: int, position_hash: bytes, cost: int, vectors: Sequence[int]) -> bytes:
    """Hash of an account leaf."""
    return leaf_hash(encode_account(head, position_hash, cost, vectors))


def settlement_leaf_hash(word: int) -> bytes:
    """Hash of a settlement leaf."""
    return leaf_hash(encode_settlement(word))


def checkpoint(epoch: int, head: int, position_hash: bytes, cost: int, vectors: Sequence[int]) -> bytes:
    """What the ledger keeps of a checked account: ``keccak256(abi.encode(epoch, keccak256(account leaf)))``."""
    return keccak256(epoch.to_bytes(32, "big") + keccak256(encode_account(head, position_hash, cost, vectors)))
