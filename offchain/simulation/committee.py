"""A light committee: what members see, what they say, what they sign, in one process and one pass.

The rules are those of `offchain.oracle` and `offchain.market`: medians over venues and over members, minimum counts,
the bounds of the contract, the tolerance within which a member signs. What is left out is each member's own
recomputation of the leaves, its own view of the chain, and its database. On a chain without BLS precompiles nothing is
signed and `mocks/AnySignature` stands in for the committee's contract; elsewhere each signer signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from offchain.chain.system import System
from offchain.config import BallastError
from offchain.instruments import Instrument
from offchain.market.snapshots import MarketError, Reading, Snapshot, UnderlyingSnapshot, accrue_funding, combine
from offchain.market.surfaces import CarryParams, SurfaceParams, modelled_carry, modelled_surface
from offchain.oracle.book import Book
from offchain.oracle.bundles import SignedBody
from offchain.oracle.epochs import Epoch, build_epoch
from offchain.oracle.headers import DISPUTED, LIVE
from offchain.oracle.keys import Seat
from offchain.oracle.observations import (
    Last,
    Observation,
    Slot,
    Tolerance,
    TooFewSources,
    bounded,
    medians,
    sign_observation,
    too_far,
)
from offchain.oracle.signatures import aggregate, header_digest, sign
from offchain.risk.policy import Policy
from offchain.risk.volatility import clip_scan_range, scan_range
from offchain.simulation.faults import Faults
from offchain.simulation.scenario import Scenario, UnderlyingSpec
from offchain.units import HOUR, MICRO, YEAR

WARM_UP = 400
"""Closing prices before the run, a slot apart, made from each underlying's volatility."""
MEMORY = 1_500
"""Closing prices that surfaces and scan ranges rest on at most."""


class Skipped(BallastError):
    """A slot without an epoch; the message says why."""


@dataclass(frozen=True)
class Signed:
    """An epoch with what goes to the oracle contract."""

    epoch: Epoch
    mask: int
    signature: bytes


@dataclass
class Committee:
    """The committee of a run.

    Attributes
    ----------
    off : rules that are switched off (`guards.RULES`). seats : members' keys; None on a chain without BLS.
    history : closing prices by underlying, dollars, a slot apart, as the committee found them.
    """

    scenario: Scenario
    system: System
    faults: Faults
    seed: int
    off: frozenset[str] = frozenset()
    seats: Sequence[Seat] | None = None
    set_id: int = 1
    history: dict[int, list[float]] = field(default_factory=dict)
    _curves: dict[int, tuple[SurfaceParams, CarryParams, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slot = self.scenario.cadence.slot
        for each in self.scenario.underlyings:
            rng = np.random.default_rng([self.seed, 7, each.number])
            walk = np.cumsum(rng.standard_normal(WARM_UP) * each.volatility * np.sqrt(slot / YEAR))
            self.history[each.number] = (each.price * np.exp(walk - walk[-1])).tolist()

    @property
    def quorum(self) -> int:
        """Least signers."""
        return 2 * self.scenario.members // 3 + 1

    def curves(self, number: int) -> tuple[SurfaceParams, CarryParams, int]:
        """Surface, forward curve and wanted scan range of an underlying from the prices known so far."""
        if number not in self._curves:
            spec = self.scenario.underlying(number)
            slot = self.scenario.cadence.slot
            closes = np.array(self.history[number][-MEMORY:])
            level = scan_range(closes, round(spec.scan_range * MICRO), step=slot)
            self._curves[number] = (modelled_surface(closes, slot), modelled_carry(closes, slot), level)
        return self._curves[number]

    def learn(self, index: Mapping[int, int]) -> None:
        """Take the slot's prices (micro-USD a unit) into the history; where one is missing, the last one stands.

        A price that does not count yet, or that the feed disputes, is left out by `round`: one false price would
        otherwise raise scan ranges for weeks.
        """
        for number, closes in self.history.items():
            closes.append(index[number] / MICRO if number in index else closes[-1])
        self._curves.clear()

    def slot(self, timestamp: int) -> Slot:
        """The slot of a time, its snapshot the latest block."""
        chain = self.system.chain
        block = chain.block_number
        return Slot(
            chain.chain_id,
            self.system.oracle.address,
            self.set_id,
            timestamp // self.scenario.cadence.slot,
            timestamp,
            block,
            chain.block_hash(block),
        )

    def round(
        self,
        slot: Slot,
        prices: Mapping[int, int],
        book: Book,
        policy: Policy,
        last: Last | None,
        listed: Sequence[int],
    ) -> Signed:
        """One slot: observe, take medians, sign.

        Parameters
        ----------
        prices : true prices by underlying, micro-USD a unit. listed : ids of the instruments that the epoch holds.

        Raises
        ------
        Skipped
            Too few members say something or agree, or the leader keeps the bundle.
        """
        time = slot.timestamp - self.scenario.start
        seen: dict[int, Observation] = {}
        why = "silent"
        for number in range(self.scenario.members):
            try:
                own = self._observe(slot, number, prices, policy, last, listed)
            except (MarketError, ValueError) as error:
                why = str(error)
                continue
            said = self.faults.member(time, number, own)
            if said is not None:
                seen[number] = said
        if len(seen) < self.quorum:
            raise Skipped(f"{len(seen)} of {self.scenario.members} members observe, {self.quorum} are needed: {why}")
        leader = slot.epoch % self.scenario.members
        if self.faults.withholds(time, leader):
            raise Skipped(f"leader {leader} keeps its bundle: nobody signs")
        try:
            middle = medians(list(seen.values()), listed, policy, self.quorum)
        except TooFewSources as error:
            raise Skipped(str(error)) from error
        market = self._paused(self._unconfirmed(bounded(middle, slot, last, policy)), time)
        signers = [n for n, own in seen.items() if too_far(own, middle, Tolerance(), policy) is None]
        if len(signers) < self.quorum:
            raise Skipped(f"{len(signers)} members sign, {self.quorum} are needed: the others saw other prices")
        live = {n: q.index for n, q in market.underlyings.items() if q.status == LIVE}
        self.learn({n: index for n, index in live.items() if self._fits_feed(n, index, policy)})
        return self._signed(slot, market, book, policy, {n: seen[n] for n in signers})

    def _observe(
        self,
        slot: Slot,
        member: int,
        prices: Mapping[int, int],
        policy: Policy,
        last: Last | None,
        listed: Sequence[int],
    ) -> Observation:
        expiries: dict[int, set[int]] = {number: set() for number in prices}
        for each in map(Instrument.from_id, listed):
            if each.kind.is_dated and each.expiry > slot.timestamp:
                expiries[each.underlying].add(each.expiry)
        found = {}
        for spec in self.scenario.underlyings:
            number = spec.number
            surface, carry, wanted = self.curves(number)
            readings = self._readings(slot, member, spec, prices[number], carry, sorted(expiries[number]))
            index, mark, forwards = self._combined(readings, spec, sorted(expiries[number]), slot.timestamp)
            listing = policy.underlying(number)
            funding = 0
            if last is not None and number in last.marks:
                before = last.marks[number]
                funding = accrue_funding(
                    before.funding, before.index, index, mark, slot.timestamp - last.timestamp, listing.lots_per_unit
                )
            found[number] = UnderlyingSnapshot(
                index, mark, funding, clip_scan_range(None, wanted, 1, listing), forwards, surface
            )
        return Observation.of_snapshot(Snapshot(slot.timestamp, found), listed)

    def _readings(
        self, slot: Slot, member: int, spec: UnderlyingSpec, price: int, carry: CarryParams, expiries: Sequence[int]
    ) -> list[Reading]:
        time = slot.timestamp - self.scenario.start
        venues = spec.venues[:1] if "venues" in self.off else spec.venues
        rng = np.random.default_rng([self.seed, member, spec.number, slot.timestamp])
        noise = np.clip(rng.standard_normal(len(spec.venues)), -3.0, 3.0) * spec.dispersion
        out = []
        for venue, off in zip(venues, noise.tolist(), strict=False):
            said = self.faults.venue(time, spec.number, venue, max(round(price * (1.0 + off)), 1))
            if said is not None:
                forwards = {each: carry.forward(said, each - slot.timestamp) for each in expiries}
                out.append(Reading(venue, slot.timestamp, spec.number, said, carry.mark(said), forwards))
        return out

    def _combined(
        self, readings: Sequence[Reading], spec: UnderlyingSpec, expiries: Sequence[int], timestamp: int
    ) -> tuple[int, int, dict[int, int]]:
        minimum = 1 if "venues" in self.off else self.scenario.minimum
        if "median" not in self.off:
            return combine(readings, spec.number, expiries, timestamp, minimum, HOUR)
        if not readings:
            raise MarketError(f"underlying {spec.number}: no source")

        def mean(values: Sequence[int]) -> int:
            return sum(values) // len(values)

        return (
            mean([r.index for r in readings]),
            mean([r.mark for r in readings]),
            {each: mean([r.forwards[each] for r in readings]) for each in expiries},
        )

    def _paused(self, market: Observation, time: int) -> Observation:
        """Underlyings whose price a cap holds stand as disputed: they wait, rather than trade at the cap."""
        capped = {u for u in market.underlyings if self.faults.capped(time, u)}
        if not capped or "cap_pauses" in self.off:
            return market
        quotes = {u: replace(q, status=DISPUTED) if u in capped else q for u, q in market.underlyings.items()}
        return replace(market, underlyings=quotes)

    def _unconfirmed(self, market: Observation) -> Observation:
        """With the second epoch's confirmation switched off a jump counts at once."""
        if "provisional" not in self.off:
            return market
        return replace(market, underlyings={u: replace(q, status=LIVE) for u, q in market.underlyings.items()})

    def _fits_feed(self, number: int, index: int, policy: Policy) -> bool:
        """Whether the independent feed, if one can be used, agrees: what is disputed stays out of the history."""
        price, usable, _ = self.system.oracle.call.feed_price(number)
        off = abs(index - price) * MICRO > price * policy.shocks.dispute
        return not usable or not off or "feed_agreement" in self.off

    def _signed(
        self, slot: Slot, market: Observation, book: Book, policy: Policy, seen: Mapping[int, Observation]
    ) -> Signed:
        mask = sum(1 << number for number in seen)
        if self.seats is None:
            return Signed(build_epoch(slot, market, book, policy), mask, b"")
        bodies: list[SignedBody] = [
            sign_observation(self.seats[number].secret, number, slot, own.body(slot)) for number, own in seen.items()
        ]
        epoch = build_epoch(slot, market, book, policy, bodies)
        digest = header_digest(slot.chain_id, slot.oracle, slot.committee_set, slot.epoch, epoch.header.hash)
        return Signed(epoch, mask, aggregate([sign(self.seats[number].secret, digest) for number in seen]))
