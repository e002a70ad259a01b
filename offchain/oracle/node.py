"""A round: the leader of a slot collects observations, proposes, collects signatures, and posts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from offchain.chain.backends import Receipt, Reverted
from offchain.chain.backends import Signer as Wallet
from offchain.chain.system import System
from offchain.config import BallastError
from offchain.oracle.bundles import BundleStore, SignedBody
from offchain.oracle.committee import Abstain, MarketSource, Member, Proposal, Refused
from offchain.oracle.epochs import Epoch, build_epoch
from offchain.oracle.observations import (
    Observation,
    ObservationError,
    Slot,
    bounded,
    carried,
    medians,
    verify_observation,
)
from offchain.oracle.reader import CommitteeSet, Reader
from offchain.oracle.signatures import SecretKey, SignatureError, aggregate, header_digest, verify
from offchain.store.database import Database
from offchain.store.slots import EpochOutcome, record_outcome

log = logging.getLogger("ballast.oracle")


class Unreachable(BallastError):
    """A member does not answer."""


class Transport(Protocol):
    """How a leader reaches the members. Logic knows nothing of sockets, a transport nothing of rounds."""

    def observe(self, member: int, slot: Slot) -> SignedBody:
        """A member's observation. Raises Unreachable or Abstain."""
        ...

    def review(self, member: int, proposal: Proposal) -> bytes:
        """A member's signature of a header. Raises Unreachable or Refused."""
        ...


@dataclass
class LocalTransport:
    """Members in this process, by number; one that is not here does not answer."""

    members: Mapping[int, Member]

    def observe(self, member: int, slot: Slot) -> SignedBody:
        """Ask the member itself."""
        return self._member(member).observe(slot)

    def review(self, member: int, proposal: Proposal) -> bytes:
        """Ask the member itself."""
        return self._member(member).review(proposal)

    def _member(self, number: int) -> Member:
        found = self.members.get(number)
        if found is None:
            raise Unreachable(f"member {number} does not answer")
        return found


@dataclass(frozen=True)
class Outcome:
    """What became of a slot.

    Attributes
    ----------
    slot : its number.
    reason : why nothing was posted; empty where it was.
    epoch, mask, signature, receipt : what was posted, by whom it is signed (bit `i` member `i`), and how.
    """

    slot: int
    reason: str = ""
    epoch: Epoch | None = None
    mask: int = 0
    signature: bytes = b""
    receipt: Receipt | None = None

    @property
    def posted(self) -> bool:
        return self.receipt is not None


class Skip(BallastError):
    """The slot ends without an epoch; the process goes on."""


@dataclass
class Node:
    """A member that also leads its slots.

    Attributes
    ----------
    member : itself; its reader, committee, database and bundles are the node's.
    transport : how it reaches the others, and itself.
    wallet : who sends the transaction.
    depth : blocks between the latest and the snapshot; 0 where blocks are final at once.
    """

    member: Member
    transport: Transport
    wallet: Wallet
    depth: int = 0

    def leads(self, timestamp: int) -> bool:
        """Whether this node leads the slot of a time (seconds)."""
        return timestamp // self.member.slot_seconds % len(self.member.committee.keys) == self.member.number

    def lead(self, timestamp: int) -> Outcome:
        """Lead the slot of a time: an epoch posted, or the slot skipped with the reason in log and database.

        Parameters
        ----------
        timestamp : of the header, seconds.
        """
        slot = self._slot(timestamp)
        try:
            outcome = self._post(slot, *self.agree(slot))
        except Skip as error:
            outcome = Outcome(slot.epoch, str(error))
        self._record(outcome)
        return outcome

    def agree(self, slot: Slot) -> tuple[Epoch, int, bytes]:
        """The epoch of a slot with its signers' mask and aggregate signature.

        Raises
        ------
        Skip
            No quorum observes or signs, or the market cannot be priced.
        """
        observed = self._collect(slot)
        epoch = self._build(slot, observed)
        return (epoch, *self._sign(slot, epoch, sorted(observed)))

    def _slot(self, timestamp: int) -> Slot:
        system = self.member.reader.system
        block = system.chain.block_number - self.depth
        return Slot(
            chain_id=system.chain.chain_id,
            oracle=system.oracle.address.lower(),
            committee_set=self.member.committee.set_id,
            epoch=timestamp // self.member.slot_seconds,
            timestamp=timestamp,
            snapshot_block=block,
            snapshot_hash=system.chain.block_hash(block),
        )

    def _collect(self, slot: Slot) -> dict[int, tuple[SignedBody, Observation]]:
        committee = self.member.committee
        found = {}
        for number, key in enumerate(committee.keys):
            try:
                item = self.transport.observe(number, slot)
                if item.member != number:
                    raise ObservationError(f"member {number} answered as member {item.member}")
                found[number] = (item, verify_observation(item, slot, key))
            except (Unreachable, Abstain, ObservationError) as error:
                self._log("no observation", slot.epoch, member=number, reason=str(error))
        if len(found) < committee.quorum:
            raise Skip(f"{len(found)} observations are no quorum of {committee.quorum}")
        return found

    def _build(self, slot: Slot, observed: Mapping[int, tuple[SignedBody, Observation]]) -> Epoch:
        try:
            state = self.member.reader.at(slot.snapshot_block)
            wanted = state.instruments(slot.timestamp)
            seen = [observed[number][1] for number in sorted(observed)]
            middle = medians(seen, wanted, state.policy, self.member.committee.quorum)
            middle = carried(middle, wanted, slot, lambda: self.member.before(state))
            if middle.missing:
                self._log("carry", slot.epoch, instruments=[f"{key:#x}" for key in middle.missing])
            market = bounded(middle, slot, state.last, state.policy)
            return build_epoch(
                slot, market, state.book, state.policy, [observed[number][0] for number in sorted(observed)]
            )
        except (BallastError, ValueError) as error:
            raise Skip(f"no epoch can be built: {error}") from error

    def _sign(self, slot: Slot, epoch: Epoch, observers: Sequence[int]) -> tuple[int, bytes]:
        committee = self.member.committee
        digest = header_digest(slot.chain_id, slot.oracle, slot.committee_set, slot.epoch, epoch.header.hash)
        proposal = Proposal(slot.epoch % len(committee.keys), epoch.header, epoch.bundle)
        signed: dict[int, bytes] = {}
        for number in observers:
            try:
                signed[number] = self.transport.review(number, proposal)
            except (Unreachable, Refused) as error:
                self._log("no signature", slot.epoch, member=number, reason=str(error))
        # One bad signature spoils the aggregate; only then is each verified alone.
        if signed and not self._good(slot, signed, digest):
            for number in [n for n in signed if not self._good(slot, {n: signed[n]}, digest)]:
                del signed[number]
                self._log("no signature", slot.epoch, member=number, reason="the signature is not its own")
        if len(signed) < committee.quorum:
            raise Skip(f"{len(signed)} signatures are no quorum of {committee.quorum}")
        return sum(1 << number for number in signed), aggregate(list(signed.values()))

    def _good(self, slot: Slot, signed: Mapping[int, bytes], digest: bytes) -> bool:
        """Whether these members together signed the digest."""
        keys = [self.member.committee.keys[number] for number in signed]
        try:
            return verify(keys, digest, aggregate(list(signed.values())))
        except SignatureError as error:
            self._log("malformed signature", slot.epoch, members=list(signed), reason=str(error))
            return False

    def _post(self, slot: Slot, epoch: Epoch, mask: int, signature: bytes) -> Outcome:
        self.member.bundles.write(epoch.bundle)
        oracle = self.member.reader.system.oracle
        try:
            receipt = oracle.send.post(epoch.header.as_tuple(), mask, signature, sender=self.wallet)
        except Reverted as error:
            raise Skip(f"the oracle contract refuses the header: {error.reason}") from error
        return Outcome(slot.epoch, "", epoch, mask, signature, receipt)

    def _record(self, outcome: Outcome) -> None:
        system = self.member.reader.system
        if outcome.epoch is not None and outcome.receipt is not None:
            header, receipt = outcome.epoch.header, outcome.receipt
            kept = EpochOutcome(
                outcome.slot,
                "posted",
                header_hash=header.hash,
                bundle_hash=header.bundle_hash,
                block_number=receipt.block_number,
                tx_hash=receipt.tx_hash,
                gas_used=receipt.gas_used,
            )
            self._log("post", outcome.slot, header=header.hash.hex(), mask=outcome.mask, tx=receipt.tx_hash)
        else:
            kept = EpochOutcome(outcome.slot, "skipped", outcome.reason)
            self._log("skip", outcome.slot, reason=outcome.reason)
        with self.member.database.begin() as session:
            record_outcome(session, system.chain.chain_id, system.oracle.address, kept)

    def _log(self, action: str, epoch: int, **more: Any) -> None:
        log.info(json.dumps({"leader": self.member.number, "epoch": epoch, "action": action, **more}))


def run_slot(nodes: Mapping[int, Node], timestamp: int) -> Outcome:
    """Let the leader of a time's slot lead it; skipped where that node is down. The next slot has the next leader.

    Parameters
    ----------
    nodes : nodes that are up, by member number; at least one.
    timestamp : of the header, seconds.
    """
    some = next(iter(nodes.values()))
    epoch = timestamp // some.member.slot_seconds
    leader = nodes.get(epoch % len(some.member.committee.keys))
    if leader is not None:
        return leader.lead(timestamp)
    outcome = Outcome(epoch, f"the leader, member {epoch % len(some.member.committee.keys)}, is silent")
    some._record(outcome)
    return outcome


def local_nodes(
    system: System,
    secrets: Sequence[SecretKey],
    sources: Sequence[MarketSource],
    wallet: Wallet,
    folder: Path,
    clock: Callable[[], int],
    committee: CommitteeSet | None = None,
    database: str | None = None,
) -> dict[int, Node]:
    """A whole committee in one process: a node, a database and a folder of bundles for each member, one chain reader.

    Parameters
    ----------
    system : the deployment.
    secrets : keys in order of enrolment.
    sources : a market source for each.
    wallet : who sends the transactions.
    folder : where bundles (``bundles/``) and databases (``member-N.sqlite``) go.
    clock : the members' time, seconds.
    committee : the set they sit in; None reads it from the chain.
    database : URL for all databases; None for one SQLite file a member. In-memory URLs are separate databases.

    Raises
    ------
    BallastError
        A key is not the one that is enrolled in its place.
    """
    seated = CommitteeSet.read(system) if committee is None else committee
    keys = tuple(secret.public_key for secret in secrets)
    if keys != seated.keys:
        raise BallastError(f"these {len(keys)} keys are not those of committee set {seated.set_id}: check their order")
    folder.mkdir(parents=True, exist_ok=True)
    slot_seconds = system.oracle.call.slot_seconds()
    bundles = BundleStore(folder / "bundles")
    members: dict[int, Member] = {}
    reader: Reader | None = None
    for number, (secret, source) in enumerate(zip(secrets, sources, strict=True)):
        base = Database(database or f"sqlite:///{folder / f'member-{number}.sqlite'}")
        reader = reader or Reader(system, base)
        members[number] = Member(number, secret, seated, reader, source, base, bundles, slot_seconds, clock)
    transport = LocalTransport(members)
    return {number: Node(member, transport, wallet) for number, member in members.items()}
