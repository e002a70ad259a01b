"""Members' keys, and the seats that a deployment enrols them in."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account
from eth_utils import keccak

from offchain.config import BallastError
from offchain.oracle.signatures import SecretKey, prove_possession


@dataclass(frozen=True)
class Seat:
    """A member of a committee: the address that names it, and its BLS key."""

    address: str
    secret: SecretKey

    @property
    def key(self) -> bytes:
        """Public key, 256 bytes."""
        return self.secret.public_key

    def possession(self, chain_id: int, committee: str) -> bytes:
        """Proof of possession for a Committee, 128 bytes."""
        return prove_possession(self.secret, chain_id, committee, self.address)


def seats(count: int, seed: bytes) -> list[Seat]:
    """Seats derived from a seed of at least 32 bytes. Whoever knows the seed knows the keys."""
    if len(seed) < 32:
        raise BallastError(f"a committee's seed needs at least 32 bytes, not {len(seed)}")
    out = []
    for number in range(count):
        own = keccak(seed + number.to_bytes(4, "big"))
        out.append(Seat(Account.from_key(keccak(own)).address, SecretKey.generate(own)))
    return out


def load_or_make(path: Path, count: int) -> list[Seat]:
    """The committee of a key file, which is made with a random seed where there is none, readable by its owner only.

    Raises
    ------
    BallastError
        The file is none of ours.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"members": count, "seed": secrets.token_hex(32)}, file)
    try:
        body = json.loads(path.read_text())
        return seats(int(body["members"]), bytes.fromhex(body["seed"]))
    except (KeyError, ValueError, TypeError) as error:
        raise BallastError(f"{path} is not a committee's key file: {error}; move it away to make a new one") from error
