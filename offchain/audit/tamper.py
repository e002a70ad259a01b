"""Faults as an attacker could have planted them, to show that the verification finds each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from eth_abi import encode
from eth_utils import keccak

from offchain.audit.epochs import canonical, unhex, unword, word
from offchain.audit.recompute import Header, account_leaf, merkle_root
from offchain.audit.record import Record
from offchain.audit.signatures import read_g1, write_g1
from offchain.chain.backends import Event

KINDS = ("leaf", "root", "cash", "signature")
Sign = Callable[[bytes, int], bytes]
"""From a digest and a mask to the aggregate signature of its members: for a committee that takes part in the fault."""


def tamper(record: Record, kind: str, rng: Random, sign: Sign | None = None) -> Record:
    """The record with one fault.

    leaf : one word of an account's or an instrument's leaf; the roots, the bundle's hash and the header follow from it,
        as if the poster had computed it so. root : an account root that belongs to no tree. cash : a final balance, or
        the amount of a payment. signature : one bit of an aggregate signature, or another point of the group.

    Parameters
    ----------
    kind : one of `KINDS`.
    rng : chooses the place.
    sign : signs the changed header; without it, the header keeps a signature that no longer fits.

    Raises
    ------
    ValueError
        The kind is unknown, or the record holds nothing of it to change.
    """
    faults = {"leaf": _leaf, "root": _root, "cash": _cash, "signature": _signature}
    if kind not in faults:
        raise ValueError(f"unknown fault {kind!r}: choose one of {', '.join(KINDS)}")
    return faults[kind](record, rng, sign)


def _posted(record: Record) -> list[int]:
    """Places of the epochs that have accounts, latest included."""
    out = []
    for place, event in enumerate(record.events):
        if event.name == "EpochPosted":
            data = record.bundles.get(event.args["header"][9])
            if data is not None and json.loads(data)["accounts"]:
                out.append(place)
    if not out:
        raise ValueError("no epoch in the record has an account with positions: nothing to tamper with")
    return out


def _with_event(record: Record, place: int, args: dict[str, Any], **changes: Any) -> Record:
    events = list(record.events)
    events[place] = replace(events[place], args=events[place].args | args)
    return replace(record, events=tuple(events), **changes)


def _posted_as(record: Record, place: int, header: Header, sign: Sign | None, **changes: Any) -> Record:
    """The record with another header in an `EpochPosted` event."""
    event: Event = record.events[place]
    args: dict[str, Any] = {"header": header.fields, "header_hash": header.hash}
    if sign is not None:
        args["signature"] = sign(header.digest(record.chain_id, record.oracle), event.args["mask"])
    return _with_event(record, place, args, **changes)


def rebuild(record: Record, place: int, bundle: dict[str, Any], sign: Sign | None = None) -> Record:
    """The record as if the epoch at `place` had been posted with this bundle: roots, marks and hash follow from it.

    Raises
    ------
    ValueError
        A word of the bundle has another spelling than a word.
    """
    data = canonical(bundle)
    instruments = [
        encode(["uint256", "uint256[5]"], [unword(meta), [unword(w) for w in array]])
        for meta, *array in bundle["instruments"]
    ]
    accounts = [
        account_leaf((unword(head), unhex(position_hash), unword(cost), [unword(w) for w in vectors]))
        for head, position_hash, cost, vectors in bundle["accounts"]
    ]
    header = replace(
        Header.of(record.events[place].args["header"]),
        instrument_root=merkle_root(instruments),
        account_root=merkle_root(accounts),
        bundle_hash=bytes(keccak(data)),
        marks=tuple(unword(w) for w in bundle["marks"]),
    )
    return _posted_as(record, place, header, sign, bundles={**record.bundles, header.bundle_hash: data})


def _leaf(record: Record, rng: Random, sign: Sign | None) -> Record:
    place = rng.choice(_posted(record))
    bundle = json.loads(record.bundles[record.events[place].args["header"][9]])
    row: Sequence[Any] = rng.choice([*bundle["accounts"], *bundle["instruments"]])
    words: list[str] = row[3] if isinstance(row[-1], list) else row  # type: ignore[assignment]
    chosen = rng.randrange(0 if words is not row else 1, len(words))
    # Bits 0..15 of a lane: cents, not nonsense.
    words[chosen] = word(unword(words[chosen]) ^ 1 << rng.randrange(16))
    return rebuild(record, place, bundle, sign)


def _root(record: Record, rng: Random, sign: Sign | None) -> Record:
    place = rng.choice(_posted(record))
    header = Header.of(record.events[place].args["header"])
    return _posted_as(record, place, replace(header, account_root=rng.randbytes(32)), sign)


def _cash(record: Record, rng: Random, sign: Sign | None) -> Record:
    moved = [i for i, event in enumerate(record.events) if event.name == "CashMoved"]
    amount = rng.randrange(1, 1_000_000)
    if moved and rng.random() < 0.5:
        place = rng.choice(moved)
        return _with_event(record, place, {"amount": record.events[place].args["amount"] + amount})
    account = rng.choice(sorted(record.accounts))
    state = record.accounts[account]
    return replace(record, accounts={**record.accounts, account: replace(state, cash=state.cash + amount)})


def _signature(record: Record, rng: Random, sign: Sign | None) -> Record:
    place = rng.choice(_posted(record))
    signature = record.events[place].args["signature"]
    if rng.random() < 0.5:
        at = rng.randrange(len(signature))
        changed = bytes(b ^ (1 << rng.randrange(8)) if i == at else b for i, b in enumerate(signature))
    else:
        from py_ecc.optimized_bls12_381 import double

        changed = write_g1(double(read_g1(signature)))
    return _with_event(record, place, {"signature": changed})
