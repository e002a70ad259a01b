"""What a member reads from a chain for a round: books, policy, listings, the last epoch, and the committee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offchain.chain.system import System
from offchain.config import BallastError
from offchain.instruments import Instrument
from offchain.oracle.book import Book
from offchain.oracle.headers import Header, Mark
from offchain.oracle.observations import Last
from offchain.risk.policy import Policy
from offchain.store.database import Database
from offchain.store.events import (
    Source,
    StoredEvent,
    add_events,
    last_scanned,
    mark_scanned,
    read_events,
    undo_reorganised,
)


@dataclass(frozen=True)
class CommitteeSet:
    """A seated committee: its number, public keys in order of enrolment (256 bytes each), and quorum."""

    set_id: int
    keys: tuple[bytes, ...]
    quorum: int

    @classmethod
    def read(cls, system: System) -> CommitteeSet:
        """The current committee of a deployment."""
        call = system.committee.call
        number = call.current_set()
        keys = tuple(bytes(call.member_key(number, i)) for i in range(call.size(number)))
        return cls(number, keys, call.quorum(number))


@dataclass(frozen=True)
class State:
    """The chain at a snapshot block.

    Attributes
    ----------
    block, block_hash : the snapshot.
    book : the ledger's books there. The reader owns it and moves it on: use it before the next `Reader.at`.
    policy : in force.
    listed : instrument ids listed, ascending.
    last : the epoch before; None before the first.
    """

    block: int
    block_hash: bytes
    book: Book
    policy: Policy
    listed: tuple[int, ...]
    last: Last | None

    def instruments(self, timestamp: int) -> list[int]:
        """Ids that an epoch of this time must hold, ascending: all that have not expired or are still held."""
        held = self.book.open_interest()
        keep = []
        for key in self.listed:
            expiry = Instrument.from_id(key).expiry
            if not expiry or expiry > timestamp or held.get(key):
                keep.append(key)
        return keep


class Reader:
    """Follows a deployment's events into a database and gives its state at a block.

    Parameters
    ----------
    system : the deployment.
    database : where the ledger's events are kept; a restarted member reads on from there.
    """

    def __init__(self, system: System, database: Database) -> None:
        self.system = system
        self.database = database
        self.source = Source(system.chain.chain_id, system.ledger.address)
        self._book = Book()
        self._applied = -1
        self._latest: tuple[tuple[int, int, bytes], State] | None = None
        self._registry_block = system.deployed_at - 1
        self._proposed: dict[bytes, bytes] = {}
        self._policies: list[tuple[int, Policy]] = []
        self._listings: list[tuple[int, Sequence[int]]] = []
        self._posted_block = system.deployed_at - 1
        self._bundles: dict[bytes, bytes] = {}

    def at(self, block: int) -> State:
        """The state at a block.

        Raises
        ------
        BallastError
            The chain has no such block, or the books do not sum up.
        """
        chain = self.system.chain
        if not self.system.deployed_at <= block <= chain.block_number:
            raise BallastError(f"block {block} is not between the deployment and block {chain.block_number}")
        tip = chain.block_number
        key = (block, tip, chain.block_hash(tip))
        if self._latest is not None and self._latest[0] == key:
            return self._latest[1]  # the same chain to the same tip: nothing can have changed
        self._follow(block)
        policies = [policy for number, policy in self._policies if number <= block]
        if not policies:
            raise BallastError(f"the registry has no policy at block {block}: deploy again")
        listed = sorted(key for number, keys in self._listings if number <= block for key in keys)
        state = State(
            block=block,
            block_hash=chain.block_hash(block),
            book=self._book_at(block),
            policy=policies[-1],
            listed=tuple(listed),
            last=self.last(policies[-1]),
        )
        self._latest = (key, state)
        return state

    def last(self, policy: Policy) -> Last | None:
        """The oracle contract's latest epoch; None before the first."""
        oracle = self.system.oracle.call
        epoch, timestamp, _, _ = oracle.clock()
        if not epoch:
            return None
        words = {u.underlying: oracle.mark(u.underlying) for u in policy.underlyings}
        marks: Mapping[int, Mark] = {number: Mark.held(word) for number, word in words.items() if word}
        return Last(epoch, timestamp, marks)

    def bundle_of(self, epoch: int) -> bytes:
        """Hash of the bundle of a posted epoch that the oracle contract still knows.

        Raises
        ------
        BallastError
            No such epoch stands.
        """
        oracle, chain = self.system.oracle, self.system.chain
        stands = bytes(oracle.call.header_hash(epoch))
        tip, start = chain.block_number, self._posted_block + 1
        for event in chain.events([oracle], start, tip):
            if event.name == "EpochPosted":
                self._bundles[event.args["header_hash"]] = Header(*event.args["header"]).bundle_hash
        self._posted_block = tip
        found = self._bundles.get(stands)
        if found is None:
            raise BallastError(f"epoch {epoch} does not stand on this chain")
        return found

    def _follow(self, block: int) -> None:
        """Read events up to a block; forget those that a reorganisation took back."""
        chain = self.system.chain
        tip = chain.block_number
        with self.database.begin() as session:
            before = last_scanned(session, self.source)
            stands = undo_reorganised(session, self.source, lambda n: chain.block_hash(n) if n <= tip else None)
            start = self.system.deployed_at if stands is None else stands + 1
            if block >= start:
                hashes: dict[int, bytes] = {}
                found = []
                for event in chain.events([self.system.ledger], start, block):
                    number = event.block_number
                    if number not in hashes:
                        hashes[number] = chain.block_hash(number)
                    found.append(
                        StoredEvent(number, hashes[number], event.log_index, event.tx_hash, event.name, event.args)
                    )
                add_events(session, self.source, found)
                mark_scanned(session, self.source, block, chain.block_hash(block))
        if stands != before:
            self._book, self._applied = Book(), -1
            self._registry_block = self.system.deployed_at - 1
            self._policies, self._listings = [], []
        for event in chain.events([self.system.registry], self._registry_block + 1, block):
            if event.name == "PolicyProposed":
                self._proposed[event.args["policy_hash"]] = event.args["encoded"]
            elif event.name == "PolicyEnacted":
                encoded = self._proposed[event.args["policy_hash"]]
                self._policies.append((event.block_number, Policy.decode(encoded)))
            elif event.name == "InstrumentsListed":
                self._listings.append((event.block_number, event.args["instruments"]))
            elif event.name == "TokenListed":
                self._listings.append((event.block_number, (event.args["instrument"],)))
        self._registry_block = max(self._registry_block, block)

    def _book_at(self, block: int) -> Book:
        if block < self._applied:
            self._book, self._applied = Book(), -1
        with self.database.begin() as session:
            events = read_events(session, self.source, self._applied + 1, block)
        for event in events:
            self._book.apply(event)
        self._applied = block
        self._book.check()
        return self._book
