"""The bundle: the file with every leaf of an epoch, addressed by its hash (docs/protocol.md, *Bundle*)."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offchain.config import BallastError
from offchain.oracle.headers import FIXED, AccountLeaf
from offchain.oracle.trees import keccak256

VERSION = 1
WORD = 1 << 256

InstrumentRow = tuple[int, tuple[int, ...]]
"""``(meta, array)`` of an instrument leaf, five words in the array."""


class BundleError(BallastError):
    """Bytes that are not the bundle they should be."""


@dataclass(frozen=True)
class SignedBody:
    """A member's signed observation, as it stands in a bundle.

    Attributes
    ----------
    member : number of the member in the committee set.
    body : the observation: an object of integers and strings.
    signature : 128 bytes, a point of G1 as EIP-2537 writes it.
    """

    member: int
    body: Mapping[str, Any]
    signature: bytes


@dataclass(frozen=True)
class Bundle:
    """Every number of an epoch. Words are integers, hashes 32 bytes, times seconds."""

    chain_id: int
    oracle: str
    committee_set: int
    epoch: int
    timestamp: int
    snapshot_block: int
    snapshot_hash: bytes
    policy: bytes
    marks: tuple[int, ...]
    instruments: tuple[InstrumentRow, ...]
    settlements: tuple[int, ...]
    accounts: tuple[AccountLeaf, ...]
    observations: tuple[SignedBody, ...]

    def encode(self) -> bytes:
        """The bundle's bytes, canonical: the same numbers give the same bytes."""
        rest = canonical(
            {
                "version": VERSION,
                "chain_id": self.chain_id,
                "oracle": self.oracle.lower(),
                "committee_set": self.committee_set,
                "epoch": self.epoch,
                "timestamp": self.timestamp,
                "snapshot_block": self.snapshot_block,
                "snapshot_hash": _hex(self.snapshot_hash),
                "policy": _hex(self.policy),
                "marks": [word(mark) for mark in self.marks],
                "instruments": [[word(meta), *map(word, array)] for meta, array in self.instruments],
                "settlements": [word(item) for item in self.settlements],
                "observations": [
                    {"member": item.member, "body": dict(item.body), "signature": _hex(item.signature)}
                    for item in self.observations
                ],
            }
        )
        # "accounts" is the first key in their order, and nearly all of the bytes: spelled from the leaves' own.
        rows = ",".join([_spell_account(leaf.encoded) for leaf in self.accounts])
        return b"".join((b'{"accounts":[', rows.encode("ascii"), b"],", rest[1:]))

    @classmethod
    def decode(cls, data: bytes) -> Bundle:
        """Read a bundle's bytes.

        Raises
        ------
        BundleError
            The bytes are not a bundle of this version, or not in canonical form.
        """
        try:
            raw = json.loads(data)
            if raw["version"] != VERSION:
                raise BundleError(f"the bundle has version {raw['version']}; this program reads {VERSION}")
            bundle = cls(
                chain_id=_count(raw["chain_id"]),
                oracle=raw["oracle"],
                committee_set=_count(raw["committee_set"]),
                epoch=_count(raw["epoch"]),
                timestamp=_count(raw["timestamp"]),
                snapshot_block=_count(raw["snapshot_block"]),
                snapshot_hash=_bytes(raw["snapshot_hash"]),
                policy=_bytes(raw["policy"]),
                marks=tuple(map(_int, raw["marks"])),
                instruments=tuple((_int(row[0]), tuple(map(_int, row[1:]))) for row in raw["instruments"]),
                settlements=tuple(map(_int, raw["settlements"])),
                accounts=tuple([_read_account(*row) for row in raw["accounts"]]),
                observations=tuple(
                    SignedBody(_count(item["member"]), dict(item["body"]), _bytes(item["signature"]))
                    for item in raw["observations"]
                ),
            )
            again = bundle.encode()
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise BundleError(f"these bytes are not a bundle: {error}") from error
        if again != data:
            raise BundleError("the bundle is not in canonical form")
        return bundle


def bundle_hash(data: bytes) -> bytes:
    """Address of a bundle: the hash of its bytes."""
    return keccak256(data)


def canonical(value: Any) -> bytes:
    """Canonical JSON: ASCII, keys sorted, no spaces, no newline. Floats are refused: they have no one spelling."""
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def word(value: int) -> str:
    """A 256-bit word as the bundle writes it."""
    if not 0 <= value < WORD:
        raise ValueError(f"{value} is not a 256-bit word")
    return f"0x{value:064x}"


class BundleStore:
    """A folder of bundles, each in a file named by its hash.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, address: bytes) -> Path:
        """File of the bundle with this hash."""
        return self.folder / f"{address.hex()}.json"

    def write(self, data: bytes) -> bytes:
        """Keep a bundle; whoever reads the folder sees all of it or nothing. Returns its hash."""
        address = bundle_hash(data)
        target = self.path(address)
        if target.exists():
            return address
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".bundle-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return address

    def read(self, address: bytes) -> bytes:
        """The bundle with this hash.

        Raises
        ------
        BundleError
            It is not here, or its file was changed.
        """
        target = self.path(address)
        try:
            data = target.read_bytes()
        except FileNotFoundError as error:
            raise BundleError(f"no bundle {address.hex()} in {self.folder}") from error
        if bundle_hash(data) != address:
            raise BundleError(f"the bundle {target} does not hash to its name: it was changed; fetch it again")
        return data


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError(f"{value} is a float; a bundle holds integers")
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)


def _spell_account(leaf: bytes) -> str:
    """A row of the bundle: ``["head","position hash","cost",["vectors", ...]]``."""
    return f"[{_spell_words(leaf[:96])},[{_spell_words(leaf[FIXED:])}]]"


def _spell_words(data: bytes) -> str:
    """Whole words as the bundle writes them, with commas between."""
    return '"0x' + data.hex(",", 32).replace(",", '","0x') + '"' if data else ""


def _read_account(head: str, position_hash: str, cost: str, vectors: list[str]) -> AccountLeaf:
    """The leaf of a row. How it is spelled is not checked here: `decode` spells again what it read, and compares."""
    fixed = bytes.fromhex("".join((head, position_hash, cost)).replace("0x", ""))
    tail = bytes.fromhex("".join(vectors).replace("0x", ""))
    if len(fixed) != 96 or len(tail) % 32:
        raise ValueError(f"{head[:20]!r} begins an account leaf that is not made of words")
    return AccountLeaf.joined(fixed, tail)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def _hex(data: bytes) -> str:
    return f"0x{data.hex()}"


def _bytes(text: str) -> bytes:
    if not text.startswith("0x"):
        raise ValueError(f"{text[:20]!r} does not begin with 0x")
    return bytes.fromhex(text[2:])


def _int(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
