"""Tables. All times are chain times in seconds; wide integers travel as canonical JSON, never as floats."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = 1
"""Version of these tables; a database of another version is refused."""

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER


class Base(DeclarativeBase):
    """Base of all tables."""


class Schema(Base):
    """One row: the version of the tables in this database."""

    __tablename__ = "schema_version"

    version: Mapped[int] = mapped_column(Integer, primary_key=True)


class LedgerEvent(Base):
    """A log of the ledger. A block and an index in it name a log once, whatever the node's history."""

    __tablename__ = "ledger_events"
    __table_args__ = (
        UniqueConstraint("chain_id", "ledger", "block_hash", "log_index"),
        Index("ledger_events_order", "chain_id", "ledger", "block_number", "log_index"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    ledger: Mapped[str] = mapped_column(String(42))
    block_number: Mapped[int] = mapped_column(BigInteger)
    block_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    log_index: Mapped[int] = mapped_column(BigInteger)
    tx_hash: Mapped[str] = mapped_column(String(66))
    name: Mapped[str] = mapped_column(String(64))
    args: Mapped[str] = mapped_column(Text)


class ScannedBlock(Base):
    """A block up to which the ledger's logs were read, so that a reorganisation is noticed and undone."""

    __tablename__ = "scanned_blocks"

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    ledger: Mapped[str] = mapped_column(String(42), primary_key=True)
    block_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    block_hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class EpochRecord(Base):
    """What became of a slot: posted with its transaction, or skipped with the reason."""

    __tablename__ = "epochs"
    __table_args__ = (CheckConstraint("status IN ('posted', 'skipped')"),)

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    oracle: Mapped[str] = mapped_column(String(42), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    status: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(Text, default="")
    header_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    bundle_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    block_number: Mapped[int | None] = mapped_column(BigInteger)
    tx_hash: Mapped[str | None] = mapped_column(String(66))
    gas_used: Mapped[int | None] = mapped_column(BigInteger)


class SignedSlot(Base):
    """What a member signed in a slot. The primary key is the promise: one observation and one header a slot."""

    __tablename__ = "signed_slots"

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    oracle: Mapped[str] = mapped_column(String(42), primary_key=True)
    member: Mapped[str] = mapped_column(String(42), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class Intent(Base):
    """A transaction that the keeper means to send; `key` makes the same intent the same row."""

    __tablename__ = "intents"
    __table_args__ = (
        UniqueConstraint("chain_id", "key"),
        CheckConstraint("status IN ('planned', 'sent', 'mined', 'failed', 'dropped')"),
        Index("intents_status", "chain_id", "status"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(32))
    payload: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(Text, default="")
    sender: Mapped[str | None] = mapped_column(String(42))
    nonce: Mapped[int | None] = mapped_column(BigInteger)
    tx_hash: Mapped[str | None] = mapped_column(String(66))
    created_at: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[int] = mapped_column(BigInteger)


class IntentStep(Base):
    """One change of an intent, kept for whoever asks later what the keeper did and why."""

    __tablename__ = "intent_steps"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    intent_id: Mapped[int] = mapped_column(ForeignKey("intents.id"), index=True)
    at: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(8))
    tx_hash: Mapped[str | None] = mapped_column(String(66))
    reason: Mapped[str] = mapped_column(Text, default="")
