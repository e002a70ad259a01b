"""The store: each log once, one signature a slot, no intent twice, and nothing half written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from offchain.config import BallastError
from offchain.store.database import Database, from_json, to_json
from offchain.store.events import (
    Source,
    StoredEvent,
    add_events,
    last_scanned,
    mark_scanned,
    read_events,
    undo_reorganised,
)
from offchain.store.journal import JournalError, advance, find, history, open_intents, plan
from offchain.store.models import Schema
from offchain.store.slots import (
    EpochOutcome,
    Equivocation,
    Signer,
    last_promised,
    outcomes,
    promise,
    promised,
    record_outcome,
)

LEDGER = Source(31337, "0x" + "11" * 20)
MEMBER = Signer(31337, "0x" + "22" * 20, "0x" + "33" * 20)


@pytest.fixture
def database() -> Iterator[Database]:
    base = Database()
    yield base
    base.close()


def block(number: int, fork: int = 0) -> bytes:
    return bytes([fork]) * 16 + number.to_bytes(16, "big")


def log(number: int, index: int = 0, fork: int = 0, amount: int = 1) -> StoredEvent:
    args = {"account": 2**64 - 1, "amount": amount, "hash": block(number, fork), "owner": "0x" + "44" * 20}
    return StoredEvent(number, block(number, fork), index, "0x" + "55" * 32, "Deposit", args)


def test_json__integers_and_bytes__exact_both_ways() -> None:
    value = {"b": -(2**200), "a": [b"\x00\xff", "0xff", None, True], "c": {"d": 2**256 - 1}}
    assert from_json(to_json(value)) == value
    assert to_json({"b": 1, "a": 2}) == '{"a":2,"b":1}'
    with pytest.raises(TypeError, match="give an integer"):
        to_json({"a": 1.5})


def test_events__same_log_again__kept_once(database: Database) -> None:
    with database.begin() as session:
        assert add_events(session, LEDGER, [log(5, 1), log(5), log(4, 7)]) == 3
        assert add_events(session, LEDGER, [log(5), log(6)]) == 1
        assert read_events(session, LEDGER, 4, 6) == [log(4, 7), log(5), log(5, 1), log(6)]
        assert read_events(session, LEDGER, 5, 5) == [log(5), log(5, 1)]
        assert read_events(session, Source(1, LEDGER.ledger), 0, 9) == []


def test_events__reorganisation__forgets_only_what_fell(database: Database) -> None:
    with database.begin() as session:
        for number in (2, 4, 6):
            add_events(session, LEDGER, [log(number)])
            mark_scanned(session, LEDGER, number, block(number))
    chain = {2: block(2), 4: block(4, fork=1)}
    with database.begin() as session:
        assert last_scanned(session, LEDGER) == 6
        assert undo_reorganised(session, LEDGER, chain.get) == 2
        assert last_scanned(session, LEDGER) == 2
        assert read_events(session, LEDGER, 0, 9) == [log(2)]
        # The other history's log has the same number and index and is a log of its own.
        assert add_events(session, LEDGER, [log(4, fork=1)]) == 1
    with database.begin() as session:
        assert undo_reorganised(session, LEDGER, {}.get) is None
        assert last_scanned(session, LEDGER) is None
        assert read_events(session, LEDGER, 0, 9) == []


def test_transaction__raises_half_way__nothing_written(database: Database) -> None:
    def interrupted() -> None:
        with database.begin() as session:
            add_events(session, LEDGER, [log(1)])
            mark_scanned(session, LEDGER, 1, block(1))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        interrupted()
    with database.begin() as session:
        assert read_events(session, LEDGER, 0, 9) == []
        assert last_scanned(session, LEDGER) is None


def test_promise__second_header_in_a_slot__refused(database: Database) -> None:
    with database.begin() as session:
        promise(session, MEMBER, "header", 7, b"a" * 32)
        promise(session, MEMBER, "header", 7, b"a" * 32)  # the same again
        promise(session, MEMBER, "header", 8, b"b" * 32)
        promise(session, MEMBER, "observation", 7, b"{}")
        promise(session, Signer(1, MEMBER.oracle, MEMBER.member), "header", 7, b"b" * 32)  # another chain
    with pytest.raises(Equivocation, match="already signed another header in slot 7"), database.begin() as session:
        promise(session, MEMBER, "header", 7, b"b" * 32)
    with database.begin() as session:
        assert promised(session, MEMBER, "header", 7) == b"a" * 32
        assert promised(session, MEMBER, "header", 9) is None
        assert last_promised(session, MEMBER, "header") == 8
        assert last_promised(session, MEMBER, "observation") == 7


def test_promise__restart__still_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'folder' / 'member.sqlite'}"
    first = Database(url)
    with first.begin() as session:
        promise(session, MEMBER, "header", 7, b"a" * 32)
    first.close()
    second = Database(url)
    with pytest.raises(Equivocation), second.begin() as session:
        promise(session, MEMBER, "header", 7, b"b" * 32)
    second.close()


def test_promise__two_processes_at_once__one_wins(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'member.sqlite'}"
    bases = [Database(url) for _ in range(2)]
    barrier = threading.Barrier(2)
    refused: list[bytes] = []

    def sign(base: Database, body: bytes) -> None:
        barrier.wait()
        try:
            with base.begin() as session:
                promise(session, MEMBER, "header", 7, body)
        except Equivocation:
            refused.append(body)

    threads = [threading.Thread(target=sign, args=(base, bytes([i]) * 32)) for i, base in enumerate(bases)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    with bases[0].begin() as session:
        assert promised(session, MEMBER, "header", 7) not in refused
    for base in bases:
        base.close()


def test_outcome__skipped_then_posted__stays_posted(database: Database) -> None:
    skipped = EpochOutcome(3, "skipped", "too few sources")
    posted = EpochOutcome(3, "posted", "", b"h" * 32, b"b" * 32, 9, "0x" + "66" * 32, 210_000)
    with database.begin() as session:
        record_outcome(session, 31337, MEMBER.oracle, skipped)
        assert outcomes(session, 31337, MEMBER.oracle) == [skipped]
        record_outcome(session, 31337, MEMBER.oracle, posted)
        record_outcome(session, 31337, MEMBER.oracle, skipped)
        record_outcome(session, 31337, MEMBER.oracle, EpochOutcome(2, "skipped", "no quorum"))
        assert outcomes(session, 31337, MEMBER.oracle) == [EpochOutcome(2, "skipped", "no quorum"), posted]


def test_journal__same_key__planned_once(database: Database) -> None:
    with database.begin() as session:
        assert plan(session, 31337, "liquidate:300:7", "liquidate", {"account": 300, "takes": [1, -2]}, at=10)
        assert not plan(session, 31337, "liquidate:300:7", "liquidate", {"account": 300}, at=11)
        assert plan(session, 1, "liquidate:300:7", "liquidate", {}, at=11)
        kept = find(session, 31337, "liquidate:300:7")
        assert kept is not None
        assert kept.payload == {"account": 300, "takes": [1, -2]}
        assert (kept.status, kept.created_at, kept.tx_hash) == ("planned", 10, None)
        assert find(session, 31337, "other") is None


def test_journal__life_of_an_intent__steps_kept(database: Database) -> None:
    key = "call:300:7"
    with database.begin() as session:
        plan(session, 31337, key, "margin_call", {}, at=10)
        advance(session, 31337, key, "sent", 11, sender="0x" + "77" * 20, nonce=4, tx_hash="0xa")
        advance(session, 31337, key, "sent", 12, tx_hash="0xb", reason="replaced: fee +12.5 %")
        assert [intent.key for intent in open_intents(session, 31337)] == [key]
        done = advance(session, 31337, key, "mined", 13)
        assert (done.status, done.nonce, done.tx_hash, done.updated_at) == ("mined", 4, "0xb", 13)
        assert open_intents(session, 31337) == []
        assert [(s.at, s.status, s.tx_hash) for s in history(session, 31337, key)] == [
            (10, "planned", None),
            (11, "sent", "0xa"),
            (12, "sent", "0xb"),
            (13, "mined", None),
        ]


def test_journal__forbidden_change__refused(database: Database) -> None:
    with database.begin() as session:
        plan(session, 31337, "k", "margin_call", {}, at=10)
        with pytest.raises(JournalError, match="intent k is planned; it cannot become mined"):
            advance(session, 31337, "k", "mined", 11)
        advance(session, 31337, "k", "dropped", 11, reason="stale epoch")
        with pytest.raises(JournalError, match="cannot become sent"):
            advance(session, 31337, "k", "sent", 12)
        with pytest.raises(JournalError, match="no intent other"):
            advance(session, 31337, "other", "sent", 12)


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name", "sqlite:////proc/none/file.sqlite"])
def test_database__unusable_url__one_clear_error(url: str) -> None:
    with pytest.raises(BallastError):
        Database(url)


def test_database__other_version__refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    base = Database(url)
    with base.begin() as session:
        session.execute(update(Schema).values(version=99))
    base.close()
    with pytest.raises(BallastError, match="version 99"):
        Database(url)
