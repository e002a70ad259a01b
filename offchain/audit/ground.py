"""What the chain says for certain, and what the auditor noticed: the first pass over the events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from eth_abi.exceptions import DecodingError
from eth_utils import keccak

from offchain.audit.record import Record
from offchain.audit.replay import Books
from offchain.audit.result import Mismatch
from offchain.chain.backends import Event
from offchain.risk.policy import Policy

LEDGER = ("AccountOpened", "AccountTransferred", "Deposit", "Withdrawal", "CashMoved", "PositionMoved")


@dataclass
class Findings:
    """Mismatches so far, and the epochs in which there was one."""

    mismatches: list[Mismatch] = field(default_factory=list)
    epochs: set[int] = field(default_factory=set)

    def add(self, kind: str, where: str, expected: Any, found: Any, epoch: int | None = None) -> None:
        self.mismatches.append(Mismatch(kind, where, show(expected), show(found)))
        if epoch is not None:
            self.epochs.add(epoch)

    def same(self, kind: str, where: str, expected: Any, found: Any, epoch: int | None = None) -> bool:
        """Note a difference; whether there was none."""
        if expected == found:
            return True
        self.add(kind, where, expected, found, epoch)
        return False


def show(value: Any) -> str:
    """A value for people: bytes and words in hexadecimal, amounts in decimal."""
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >> 100:
        return hex(value)
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(show, value)) + ")"
    return str(value)


@dataclass(frozen=True)
class Committee:
    """A committee set: how many must sign, and the keys of its members in order (256 bytes each)."""

    quorum: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class Snapshot:
    """Positions, position hashes and open interest at the end of a block."""

    positions: dict[int, dict[int, int]]
    hashes: dict[int, bytes]
    open_interest: dict[int, int]


@dataclass(frozen=True)
class Ground:
    """What later checks stand on.

    Attributes
    ----------
    committees : by set id. policies : by hash. snapshots : by block. listed : block of listing by instrument id.
    """

    committees: dict[int, Committee]
    policies: dict[bytes, Policy]
    snapshots: dict[int, Snapshot]
    listed: dict[int, int]

    @classmethod
    def of(cls, record: Record, findings: Findings) -> Ground:
        wanted = {int(e.args["header"][2]) for e in record.events if e.name == "EpochPosted"}
        return cls(
            committees(record.events, findings),
            policies(record.events, findings),
            snapshots(record.events, wanted),
            {i: e.block_number for e in reversed(record.events) if e.name == "InstrumentsListed" for i in _ids(e)},
        )


def _ids(event: Event) -> Iterable[int]:
    return event.args["instruments"]


def committees(events: Iterable[Event], findings: Findings) -> dict[int, Committee]:
    """Committee sets from enrolments and seatings: those who wait when a set is seated are its members, in order."""
    waiting: list[tuple[str, bytes]] = []
    out: dict[int, Committee] = {}
    for event in events:
        if event.name == "Enrolled":
            waiting.append((event.args["member"], event.args["key"]))
        elif event.name == "Discarded":
            waiting = []
        elif event.name == "Seated":
            where = f"committee set {event.args['set_id']}"
            members = [member for member, _ in waiting]
            findings.same("committee", f"{where}, members", members, list(event.args["members"]))
            quorum = 2 * len(members) // 3 + 1
            findings.same("committee", f"{where}, quorum", quorum, event.args["quorum"])
            out[event.args["set_id"]] = Committee(quorum, tuple(key for _, key in waiting))
            waiting = []
    return out


def policies(events: Iterable[Event], findings: Findings) -> dict[bytes, Policy]:
    """Enacted policies by hash."""
    out: dict[bytes, Policy] = {}
    for event in events:
        if event.name == "PolicyEnacted":
            encoded, stated = event.args["encoded"], event.args["policy_hash"]
            where = f"policy enacted in block {event.block_number}"
            try:
                policy = Policy.decode(encoded)
            except (ValueError, DecodingError) as error:
                findings.add("policy", where, "a policy", error)
                continue
            if findings.same("policy", f"{where}, hash", bytes(keccak(encoded)), stated):
                out[stated] = policy
    return out


def snapshots(events: Iterable[Event], blocks: set[int]) -> dict[int, Snapshot]:
    """The ledger at the end of each of `blocks`."""
    books = Books()
    ahead = sorted(blocks)
    out: dict[int, Snapshot] = {}

    def freeze(block: int) -> None:
        positions = {a: dict(held) for a, held in books.positions.items() if held}
        out[block] = Snapshot(positions, dict(books.hashes), books.open_interest())

    for event in events:
        while ahead and event.block_number > ahead[0]:
            freeze(ahead.pop(0))
        if event.name in LEDGER:
            books.apply(event)
    for block in ahead:
        freeze(block)
    return out
