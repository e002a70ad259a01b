"""What members signed and what became of each slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from offchain.config import BallastError
from offchain.store.database import insert_once
from offchain.store.models import EpochRecord, SignedSlot

Kind = Literal["observation", "header"]


class Equivocation(BallastError):
    """A member was asked to sign a second, different thing in one slot."""


@dataclass(frozen=True)
class Signer:
    """A member of a committee that serves one oracle contract."""

    chain_id: int
    oracle: str
    member: str


@dataclass(frozen=True)
class EpochOutcome:
    """What became of a slot.

    Attributes
    ----------
    status : ``posted`` or ``skipped``.
    reason : why it was skipped; empty where it was posted.
    """

    epoch: int
    status: Literal["posted", "skipped"]
    reason: str = ""
    header_hash: bytes | None = None
    bundle_hash: bytes | None = None
    block_number: int | None = None
    tx_hash: str | None = None
    gas_used: int | None = None


def promise(session: Session, signer: Signer, kind: Kind, epoch: int, body: bytes) -> None:
    """Record what a member is about to sign; commit before the signature leaves the process.

    The same body again is no second promise, so a member that restarted may give the same signature once more.

    Raises
    ------
    Equivocation
        Another body was promised for this slot.
    """
    insert_once(
        session,
        SignedSlot,
        chain_id=signer.chain_id,
        oracle=signer.oracle,
        member=signer.member,
        kind=kind,
        epoch=epoch,
        body=body,
    )
    kept = promised(session, signer, kind, epoch)
    if kept != body:
        raise Equivocation(f"member {signer.member} has already signed another {kind} in slot {epoch}")


def promised(session: Session, signer: Signer, kind: Kind, epoch: int) -> bytes | None:
    """What the member signed in a slot; None where nothing."""
    return session.scalar(
        select(SignedSlot.body).where(
            SignedSlot.chain_id == signer.chain_id,
            SignedSlot.oracle == signer.oracle,
            SignedSlot.member == signer.member,
            SignedSlot.kind == kind,
            SignedSlot.epoch == epoch,
        )
    )


def last_promised(session: Session, signer: Signer, kind: Kind) -> int | None:
    """The newest slot in which the member signed something of this kind; None before the first."""
    return session.scalar(
        select(SignedSlot.epoch)
        .where(
            SignedSlot.chain_id == signer.chain_id,
            SignedSlot.oracle == signer.oracle,
            SignedSlot.member == signer.member,
            SignedSlot.kind == kind,
        )
        .order_by(SignedSlot.epoch.desc())
        .limit(1)
    )


def record_outcome(session: Session, chain_id: int, oracle: str, outcome: EpochOutcome) -> None:
    """Keep what became of a slot. A skipped slot may still be posted (by another leader); a posted one stays posted."""
    row = session.get(EpochRecord, (chain_id, oracle, outcome.epoch))
    if row is None:
        row = EpochRecord(chain_id=chain_id, oracle=oracle, epoch=outcome.epoch)
        session.add(row)
    elif row.status == "posted":
        return
    row.status = outcome.status
    row.reason = outcome.reason
    row.header_hash = outcome.header_hash
    row.bundle_hash = outcome.bundle_hash
    row.block_number = outcome.block_number
    row.tx_hash = outcome.tx_hash
    row.gas_used = outcome.gas_used


def outcomes(session: Session, chain_id: int, oracle: str) -> list[EpochOutcome]:
    """All slots with an outcome, ascending."""
    rows = session.scalars(
        select(EpochRecord)
        .where(EpochRecord.chain_id == chain_id, EpochRecord.oracle == oracle)
        .order_by(EpochRecord.epoch)
    )
    return [
        EpochOutcome(
            row.epoch,
            "posted" if row.status == "posted" else "skipped",
            row.reason,
            row.header_hash,
            row.bundle_hash,
            row.block_number,
            row.tx_hash,
            row.gas_used,
        )
        for row in rows
    ]
