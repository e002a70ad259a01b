"""The keeper's journal: what it means to send, what it sent, and what came of it. Nothing is planned twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from offchain.config import BallastError
from offchain.store.database import from_json, insert_once, to_json
from offchain.store.models import Intent, IntentStep

Status = Literal["planned", "sent", "mined", "failed", "dropped"]

NEXT: Mapping[str, frozenset[str]] = {
    "planned": frozenset({"sent", "failed", "dropped"}),
    "sent": frozenset({"sent", "mined", "failed", "dropped"}),  # sent again: replaced by one that pays more
    "mined": frozenset({"sent"}),  # the chain reorganised and the transaction is pending again
    "failed": frozenset(),
    "dropped": frozenset(),
}
"""Which status may follow which."""


class JournalError(BallastError):
    """A change that an intent's status does not allow."""


@dataclass(frozen=True)
class IntentView:
    """An intent as it stands."""

    key: str
    kind: str
    payload: Mapping[str, Any]
    status: str
    reason: str
    sender: str | None
    nonce: int | None
    tx_hash: str | None
    created_at: int
    updated_at: int


@dataclass(frozen=True)
class Step:
    """One change of an intent."""

    at: int
    status: str
    tx_hash: str | None
    reason: str


def plan(session: Session, chain_id: int, key: str, kind: str, payload: Mapping[str, Any], at: int) -> bool:
    """Journal an intent; False where the same key is journalled already, and nothing must be sent for it again."""
    text = to_json(dict(payload))
    values = {"kind": kind, "payload": text, "status": "planned", "reason": "", "created_at": at, "updated_at": at}
    if not insert_once(session, Intent, chain_id=chain_id, key=key, **values):
        return False
    session.add(IntentStep(intent_id=_row(session, chain_id, key).id, at=at, status="planned"))
    return True


def advance(
    session: Session,
    chain_id: int,
    key: str,
    status: Status,
    at: int,
    *,
    sender: str | None = None,
    nonce: int | None = None,
    tx_hash: str | None = None,
    reason: str = "",
) -> IntentView:
    """Move an intent on; fields that are None keep their value.

    Raises
    ------
    JournalError
        There is no such intent, or its status does not allow the change.
    """
    row = _row(session, chain_id, key)
    if status not in NEXT[row.status]:
        raise JournalError(f"intent {key} is {row.status}; it cannot become {status}")
    row.status = status
    row.reason = reason
    row.sender = row.sender if sender is None else sender
    row.nonce = row.nonce if nonce is None else nonce
    row.tx_hash = row.tx_hash if tx_hash is None else tx_hash
    row.updated_at = at
    session.add(IntentStep(intent_id=row.id, at=at, status=status, tx_hash=tx_hash, reason=reason))
    return _view(row)


def find(session: Session, chain_id: int, key: str) -> IntentView | None:
    """An intent by its key."""
    row = session.scalar(select(Intent).where(Intent.chain_id == chain_id, Intent.key == key))
    return None if row is None else _view(row)


def open_intents(session: Session, chain_id: int) -> list[IntentView]:
    """Intents that are planned or sent, oldest first: what a restarted keeper must look after."""
    rows = session.scalars(
        select(Intent)
        .where(Intent.chain_id == chain_id, Intent.status.in_(("planned", "sent")))
        .order_by(Intent.created_at, Intent.id)
    )
    return [_view(row) for row in rows]


def history(session: Session, chain_id: int, key: str) -> list[Step]:
    """All changes of an intent, oldest first."""
    row = _row(session, chain_id, key)
    steps = session.scalars(select(IntentStep).where(IntentStep.intent_id == row.id).order_by(IntentStep.id))
    return [Step(step.at, step.status, step.tx_hash, step.reason) for step in steps]


def _row(session: Session, chain_id: int, key: str) -> Intent:
    row = session.scalar(select(Intent).where(Intent.chain_id == chain_id, Intent.key == key))
    if row is None:
        raise JournalError(f"there is no intent {key} on chain {chain_id}")
    return row


def _view(row: Intent) -> IntentView:
    return IntentView(
        row.key,
        row.kind,
        from_json(row.payload),
        row.status,
        row.reason,
        row.sender,
        row.nonce,
        row.tx_hash,
        row.created_at,
        row.updated_at,
    )
