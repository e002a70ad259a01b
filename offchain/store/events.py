"""Ledger events as read from a chain: each log once, and undone where the chain forgot it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from offchain.store.database import from_json, insert_once, to_json
from offchain.store.models import LedgerEvent, ScannedBlock


@dataclass(frozen=True)
class StoredEvent:
    """A log of the ledger, with the hash of its block."""

    block_number: int
    block_hash: bytes
    log_index: int
    tx_hash: str
    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Which ledger, on which chain."""

    chain_id: int
    ledger: str


def add_events(session: Session, source: Source, events: Iterable[StoredEvent]) -> int:
    """Keep logs that are not kept yet; how many were new."""
    return sum(
        insert_once(
            session,
            LedgerEvent,
            chain_id=source.chain_id,
            ledger=source.ledger,
            block_number=item.block_number,
            block_hash=item.block_hash,
            log_index=item.log_index,
            tx_hash=item.tx_hash,
            name=item.name,
            args=to_json(dict(item.args)),
        )
        for item in events
    )


def read_events(session: Session, source: Source, from_block: int, to_block: int) -> list[StoredEvent]:
    """Logs of blocks `from_block..to_block`, both included, in chain order."""
    rows = session.scalars(
        select(LedgerEvent)
        .where(
            LedgerEvent.chain_id == source.chain_id,
            LedgerEvent.ledger == source.ledger,
            LedgerEvent.block_number.between(from_block, to_block),
        )
        .order_by(LedgerEvent.block_number, LedgerEvent.log_index)
    )
    return [
        StoredEvent(row.block_number, row.block_hash, row.log_index, row.tx_hash, row.name, from_json(row.args))
        for row in rows
    ]


def mark_scanned(session: Session, source: Source, block_number: int, block_hash: bytes) -> None:
    """Remember that every log up to this block is kept."""
    insert_once(
        session,
        ScannedBlock,
        chain_id=source.chain_id,
        ledger=source.ledger,
        block_number=block_number,
        block_hash=block_hash,
    )


def last_scanned(session: Session, source: Source) -> int | None:
    """The highest block up to which logs are kept; None before the first."""
    return session.scalar(
        select(ScannedBlock.block_number)
        .where(ScannedBlock.chain_id == source.chain_id, ScannedBlock.ledger == source.ledger)
        .order_by(ScannedBlock.block_number.desc())
        .limit(1)
    )


def undo_reorganised(session: Session, source: Source, block_hash: Callable[[int], bytes | None]) -> int | None:
    """Forget logs of blocks that the chain no longer has.

    Parameters
    ----------
    block_hash : callable
        Hash of a block by number on the chain as it is now; None where it is not that long.

    Returns
    -------
    int or None
        The highest scanned block that still stands; None where none does.
    """
    scanned = session.execute(
        select(ScannedBlock.block_number, ScannedBlock.block_hash)
        .where(ScannedBlock.chain_id == source.chain_id, ScannedBlock.ledger == source.ledger)
        .order_by(ScannedBlock.block_number.desc())
    )
    standing = next((number for number, known in scanned if block_hash(number) == known), None)
    above = -1 if standing is None else standing
    for table in (LedgerEvent, ScannedBlock):
        session.execute(
            delete(table).where(
                table.chain_id == source.chain_id, table.ledger == source.ledger, table.block_number > above
            )
        )
    return standing
