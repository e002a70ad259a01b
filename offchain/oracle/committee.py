"""A member of the committee: what it observes, what it checks before it signs, and what it refuses."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from eth_utils import to_checksum_address

from offchain.config import BallastError
from offchain.instruments import InstrumentLeaf
from offchain.oracle.bundles import Bundle, BundleError, BundleStore, SignedBody, bundle_hash, canonical
from offchain.oracle.epochs import assemble, marks_of, price
from offchain.oracle.headers import Header
from offchain.oracle.observations import (
    Before,
    Observation,
    ObservationError,
    Slot,
    Tolerance,
    bounded,
    carried,
    medians,
    sign_observation,
    too_far,
    verify_observation,
)
from offchain.oracle.reader import CommitteeSet, Reader, State
from offchain.oracle.signatures import SecretKey, header_digest, sign
from offchain.oracle.trees import keccak256
from offchain.store.database import Database
from offchain.store.slots import Equivocation, Signer, promise, promised

log = logging.getLogger("ballast.oracle")


class Abstain(BallastError):
    """A member has nothing to say about a slot: its sources are too few, or a value is out of range."""


class Refused(BallastError):
    """A member does not sign a proposal; the message says why."""


class MarketSource(Protocol):
    """Where a member's prices come from."""

    def observe(self, slot: Slot, state: State, instruments: Sequence[int]) -> Observation:
        """The market at a slot, with a quote for every underlying of the policy and each of `instruments` that has one.

        Raises
        ------
        BallastError, ValueError
            Of an underlying the sources are too few, too old, or give what cannot be.
        """
        ...


@dataclass(frozen=True)
class Proposal:
    """What the leader of a slot asks the observers to sign."""

    leader: int
    header: Header
    bundle: bytes


def slot_of(bundle: Bundle) -> Slot:
    """The slot that a bundle is of."""
    return Slot(
        bundle.chain_id,
        bundle.oracle,
        bundle.committee_set,
        bundle.epoch,
        bundle.timestamp,
        bundle.snapshot_block,
        bundle.snapshot_hash,
    )


@dataclass
class Member:
    """One member of the committee.

    Attributes
    ----------
    number : its place in the committee set.
    secret : its key.
    committee : the set it sits in.
    reader : its own view of the chain.
    source : its own view of the market.
    database : keeps what it signed, over restarts.
    bundles : where it keeps the bundles that it signed for, to serve them.
    slot_seconds : length of a slot.
    clock : its time, seconds; a slot whose timestamp is ahead of it by more than `drift` is refused.
    tolerance : between its own observation and the medians.
    price_tolerance : between its own risk arrays and close-out costs and the proposal's, micro-USD a lot. Floats may
        round to the other side of a half; one unit a lot is in the close-out for that.
    """

    number: int
    secret: SecretKey
    committee: CommitteeSet
    reader: Reader
    source: MarketSource
    database: Database
    bundles: BundleStore
    slot_seconds: int
    clock: Callable[[], int]
    drift: int = 5
    tolerance: Tolerance = field(default_factory=Tolerance)
    price_tolerance: int = 1

    @property
    def signer(self) -> Signer:
        """Under which name its promises are kept: its key's, so that they outlive a change of the committee."""
        system = self.reader.system
        name = to_checksum_address(keccak256(self.secret.public_key)[-20:])
        return Signer(system.chain.chain_id, system.oracle.address, name)

    def observe(self, slot: Slot) -> SignedBody:
        """A signed observation; asked again, the same one.

        Raises
        ------
        Abstain
            The slot is not one to observe, or the market is not to be seen.
        """
        with self.database.begin() as session:
            kept = promised(session, self.signer, "observation", slot.epoch)
        if kept is not None:
            body = json.loads(kept)
            try:
                Observation.of(body, slot)
            except ObservationError as error:
                self._log("abstain", slot.epoch, reason=str(error))
                raise Abstain(f"member {self.number} has already observed slot {slot.epoch} otherwise") from error
            return sign_observation(self.secret, self.number, slot, body)
        try:
            state = self._state(slot)
            wanted = state.instruments(slot.timestamp)
            observation = self.source.observe(slot, state, wanted)
            observation.check()
        except (BallastError, ValueError) as error:
            self._log("abstain", slot.epoch, reason=str(error))
            raise Abstain(f"member {self.number} abstains from slot {slot.epoch}: {error}") from error
        body = observation.body(slot)
        with self.database.begin() as session:
            promise(session, self.signer, "observation", slot.epoch, canonical(body))
        self._log("observe", slot.epoch, instruments=len(wanted))
        return sign_observation(self.secret, self.number, slot, body)

    def review(self, proposal: Proposal) -> bytes:
        """This member's signature of the header, 128 bytes, if every check passes.

        Raises
        ------
        Refused
            A check does not pass, or another header was signed in this slot.
        """
        epoch = proposal.header.epoch
        try:
            slot = self._check(proposal)
            with self.database.begin() as session:
                promise(session, self.signer, "header", epoch, proposal.header.hash)
        except (BallastError, ValueError) as error:
            self._log("refuse", epoch, header=proposal.header.hash.hex(), reason=str(error))
            raise Refused(f"member {self.number} refuses epoch {epoch}: {error}") from error
        self.bundles.write(proposal.bundle)
        self._log("sign", epoch, header=proposal.header.hash.hex(), bundle=proposal.header.bundle_hash.hex())
        digest = header_digest(slot.chain_id, slot.oracle, slot.committee_set, slot.epoch, proposal.header.hash)
        return sign(self.secret, digest)

    def before(self, state: State) -> Before | None:
        """The epoch before, from the bundle that this member keeps; None before the first.

        Raises
        ------
        BundleError
            The member does not hold it.
        """
        if state.last is None:
            return None
        return Before.of(Bundle.decode(self.bundles.read(self.reader.bundle_of(state.last.epoch))))

    def _check(self, proposal: Proposal) -> Slot:
        """Reproduce a proposal; whatever cannot be reproduced raises."""
        header = proposal.header
        if bundle_hash(proposal.bundle) != header.bundle_hash:
            raise BundleError("the bundle is not the one that the header names")
        bundle = Bundle.decode(proposal.bundle)
        slot = slot_of(bundle)
        if proposal.leader != slot.epoch % len(self.committee.keys):
            raise Refused(f"member {proposal.leader} does not lead slot {slot.epoch}")
        with self.database.begin() as session:
            before = promised(session, self.signer, "header", slot.epoch)
        if before is not None and before != header.hash:
            raise Equivocation(f"member {self.number} has already signed another header in slot {slot.epoch}")
        state = self._state(slot)
        if bundle.policy != state.policy.encode():
            raise Refused("the policy is not the one in force")
        observed = self._observed(bundle, slot, state)
        wanted = state.instruments(slot.timestamp)
        middle = medians([o for _, o in observed], wanted, state.policy, self.committee.quorum)
        mine = next((o for number, o in observed if number == self.number), None)
        if mine is None:
            raise Refused("this member's observation is not in the proposal")
        far = too_far(mine, middle, self.tolerance, state.policy)
        if far is not None:
            raise Refused(f"its own observation is too far from the medians: {far}")
        middle = carried(middle, wanted, slot, lambda: self.before(state))
        market = bounded(middle, slot, state.last, state.policy)
        if bundle.marks != marks_of(market):
            raise Refused("the marks are not the medians")
        leaves = self._prices(bundle, slot, market, state)
        # From here on everything is integers: one differing bit anywhere gives another header.
        settlements = market.settlement_words
        if bundle.settlements != settlements:
            raise Refused("the settlement prices are not the medians")
        made = assemble(slot, bundle.marks, leaves, state.book, state.policy, bundle.observations, settlements)
        if made.rows != bundle.accounts:
            raise Refused(f"account leaves differ: {_first_difference(made.rows, bundle.accounts)}")
        if made.bundle != proposal.bundle or made.header != header:
            raise Refused("the header is not the one that the bundle gives")
        return slot

    def _state(self, slot: Slot) -> State:
        """The chain at the slot's snapshot, if the slot is one of now, here and this committee."""
        system = self.reader.system
        if (slot.chain_id, slot.oracle.lower()) != (system.chain.chain_id, system.oracle.address.lower()):
            raise Refused(f"the slot is of oracle {slot.oracle} on chain {slot.chain_id}")
        if slot.committee_set != self.committee.set_id:
            raise Refused(f"the slot is of committee set {slot.committee_set}, not {self.committee.set_id}")
        if slot.timestamp // self.slot_seconds != slot.epoch:
            raise Refused(f"timestamp {slot.timestamp} is not in slot {slot.epoch}")
        if slot.timestamp > self.clock() + self.drift:
            raise Refused(f"timestamp {slot.timestamp} is ahead of this member's clock {self.clock()}")
        state = self.reader.at(slot.snapshot_block)
        if state.block_hash != slot.snapshot_hash:
            raise Refused(f"block {slot.snapshot_block} has another hash on this member's chain")
        if state.last is not None and slot.epoch <= state.last.epoch:
            raise Refused(f"slot {slot.epoch} is not newer than the last epoch {state.last.epoch}")
        return state

    def _observed(self, bundle: Bundle, slot: Slot, state: State) -> list[tuple[int, Observation]]:
        """The observations of a proposal, each verified, its own compared with what it signed."""
        numbers = [item.member for item in bundle.observations]
        if numbers != sorted(set(numbers)) or not set(numbers) <= set(range(len(self.committee.keys))):
            raise Refused(f"observers {numbers} are not members, each once, ascending")
        if len(numbers) < self.committee.quorum:
            raise Refused(f"{len(numbers)} observations are no quorum of {self.committee.quorum}")
        with self.database.begin() as session:
            kept = promised(session, self.signer, "observation", slot.epoch)
        found = []
        for item in bundle.observations:
            found.append((item.member, verify_observation(item, slot, self.committee.keys[item.member])))
            if item.member == self.number and canonical(item.body) != kept:
                raise ObservationError("the observation under this member's name is not the one it signed")
        return found

    def _prices(self, bundle: Bundle, slot: Slot, market: Observation, state: State) -> list[InstrumentLeaf]:
        """The proposal's instrument leaves, if this member's own prices agree with them within tolerance."""
        own = price(slot, market, state.book, state.policy)
        theirs = [InstrumentLeaf.unpack(meta, array) for meta, array in bundle.instruments]
        if [leaf.id for leaf in own] != [leaf.id for leaf in theirs]:
            raise Refused("the proposal's instruments are not those listed")
        for ours, leaf in zip(own, theirs, strict=True):
            if (ours.forward, ours.iv, ours.status) != (leaf.forward, leaf.iv, leaf.status):
                raise Refused(f"the inputs of instrument {leaf.id:#x} are not the medians")
            values = zip(
                (*ours.array, ours.c_long, ours.c_short), (*leaf.array, leaf.c_long, leaf.c_short), strict=True
            )
            for row, (expected, found) in enumerate(values):
                if abs(expected - found) > self.price_tolerance:
                    raise Refused(f"cannot reproduce instrument {leaf.id:#x}: {_row(row)} is {found}, not {expected}")
        return theirs

    def _log(self, action: str, epoch: int, **more: Any) -> None:
        log.info(json.dumps({"member": self.number, "epoch": epoch, "action": action, **more}))


def _row(row: int) -> str:
    return ("c_long", "c_short")[row - 40] if row >= 40 else f"row {row}"


def _first_difference(made: Sequence[Any], found: Sequence[Any]) -> str:
    for ours, theirs in zip(made, found, strict=False):
        if ours != theirs:
            return f"account {ours.account}"
    return f"{len(found)} leaves instead of {len(made)}"
