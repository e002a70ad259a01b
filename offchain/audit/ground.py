"""What the chain says for certain, and what the auditor noticed: the first pass over the events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils import keccak

from offchain.audit.replay import CLEARING, Books
from offchain.audit.result import Mismatch
from offchain.chain.backends import Event
from offchain.risk.policy import Policy

MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EncodingError, DecodingError)
"""What reading something that somebody else made may raise."""
LEDGER = (
    "AccountOpened", "AccountTransferred", "Deposit", "Withdrawal", "CashMoved", "PositionMoved", "TokensDeposited",
    "TokensWithdrawn",
)  # fmt: skip


@dataclass
class Findings:
    """Mismatches so far, and the epochs in which there was one."""

    mismatches: list[Mismatch] = field(default_factory=list)
    epochs: set[int] = field(default_factory=set)

    def add(self, kind: str, where: str, expected: Any, found: Any, epoch: int | None = None) -> None:
        self.mismatches.append(Mismatch(kind, where, show(expected), show(found)))
        if isinstance(epoch, int):
            self.epochs.add(epoch)

    @contextmanager
    def guard(self, kind: str, where: str, epoch: int | None = None) -> Iterator[None]:
        """Note what cannot be read, and go on."""
        try:
            yield
        except MALFORMED as error:
            self.add(kind, where, "what can be read", repr(error), epoch)

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
    """Cash, positions, position hashes and open interest at the end of a block."""

    cash: dict[int, int]
    positions: dict[int, dict[int, int]]
    hashes: dict[int, bytes]
    open_interest: dict[int, int]


@dataclass
class Ground:
    """What later checks stand on: the first pass over the events, in as many parts as they come in.

    Attributes
    ----------
    committees : by set id. policies : by hash. listed : block of listing by instrument id.
    snapshots : by block, those that epochs of the latest part name.
    """

    findings: Findings
    committees: dict[int, Committee] = field(default_factory=dict)
    policies: dict[bytes, Policy] = field(default_factory=dict)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    listed: dict[int, int] = field(default_factory=dict)
    _waiting: list[tuple[str, bytes]] = field(default_factory=list)
    _proposed: dict[bytes, Policy] = field(default_factory=dict)
    _books: Books = field(default_factory=Books)
    _taken: int = 0

    def take(self, events: Sequence[Event]) -> None:
        """Take the next events, to the end of a block.

        There is no snapshot of a block before the last one of the part before: an epoch that names one is not verified.
        """
        blocks = set()
        for event in events:
            where = f"block {event.block_number}, {event.name}"
            with self.findings.guard("event", where):
                if event.name in ("Enrolled", "Discarded", "Seated"):
                    self._waiting = _committee(self.committees, self._waiting, event, self.findings)
                elif event.name == "PolicyProposed":
                    _policy(self._proposed, event, self.findings)
                elif event.name == "PolicyEnacted":
                    enacted = event.args["policy_hash"]
                    if enacted in self._proposed:
                        self.policies[enacted] = self._proposed[enacted]
                    else:
                        self.findings.add("policy", where, "a policy that was proposed", enacted)
                elif event.name == "InstrumentsListed":
                    for instrument in event.args["instruments"]:
                        self.listed.setdefault(instrument, event.block_number)
                elif event.name == "TokenListed":
                    self.listed.setdefault(event.args["instrument"], event.block_number)
                elif event.name == "EpochPosted" and isinstance(event.args["header"][2], int):
                    blocks.add(event.args["header"][2])
        self.snapshots = snapshots(self._books, events, {block for block in blocks if block >= self._taken})
        self._taken = events[-1].block_number if events else self._taken


def _committee(
    known: dict[int, Committee], waiting: list[tuple[str, bytes]], event: Event, findings: Findings
) -> list[tuple[str, bytes]]:
    """Follow an enrolment or a seating, at which those who wait become the members, in order. Who waits after it."""
    if event.name == "Enrolled":
        return [*waiting, (event.args["member"], event.args["key"])]
    if event.name == "Seated":
        where = f"committee set {event.args['set_id']}"
        members = [member for member, _ in waiting]
        findings.same("committee", f"{where}, members", members, list(event.args["members"]))
        quorum = 2 * len(members) // 3 + 1
        findings.same("committee", f"{where}, quorum", quorum, event.args["quorum"])
        known[event.args["set_id"]] = Committee(quorum, tuple(key for _, key in waiting))
    return []


def _policy(known: dict[bytes, Policy], event: Event, findings: Findings) -> None:
    """Keep a proposed policy under its hash."""
    encoded, stated = event.args["encoded"], event.args["policy_hash"]
    where = f"policy proposed in block {event.block_number}"
    if findings.same("policy", f"{where}, hash", bytes(keccak(encoded)), stated):
        known[stated] = Policy.decode(encoded)


def snapshots(books: Books, events: Iterable[Event], blocks: set[int]) -> dict[int, Snapshot]:
    """The ledger at the end of each of `blocks`, while `books` follow the events.

    What cannot be read is left out here, and named by the second pass.
    """
    ahead = sorted(blocks)
    out: dict[int, Snapshot] = {}

    def freeze(block: int) -> None:
        positions = {a: dict(held) for a, held in books.positions.items() if held and a != CLEARING}
        out[block] = Snapshot(dict(books.cash), positions, dict(books.hashes), books.open_interest())

    for event in events:
        while ahead and event.block_number > ahead[0]:
            freeze(ahead.pop(0))
        if event.name in LEDGER:
            with suppress(*MALFORMED):
                books.apply(event)
    for block in ahead:
        freeze(block)
    return out
