"""Faults: what goes wrong in a run, each for a window of time, each by itself. A run asks them all at every step.

A fault says what it changes through the hooks of `Fault`; those that it does not override change nothing. Several
faults compose in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from offchain.oracle.observations import Observation, Quote
from offchain.simulation.blockspace import Demand, Stall
from offchain.simulation.reading import Item, Section
from offchain.units import MICRO


@dataclass(frozen=True)
class Fault:
    """Something that is wrong from `start` until before `end`, seconds from the start of the run."""

    start: int
    end: int
    kind: ClassVar[str] = ""
    text: ClassVar[str] = ""

    def on(self, time: int) -> bool:
        """Whether it is wrong now."""
        return self.start <= time < self.end

    # hooks
    def true_price(self, time: int, underlying: int) -> float:
        """Factor on the true price."""
        return 1.0

    def venue(self, time: int, underlying: int, venue: str, price: int) -> int | None:
        """What a venue says where it would have said `price`, micro-USD a unit; None: nothing."""
        return price

    def member(self, time: int, number: int, seen: Observation) -> Observation | None:
        """What a member says where it saw `seen`; None: nothing."""
        return seen

    def withholds(self, time: int, leader: int) -> bool:
        """Whether the leader of this slot keeps the bundle to itself."""
        return False

    def feed(self, time: int, underlying: int, price: int) -> int | None:
        """What the independent feed says where it would have said `price`; None: it is not updated."""
        return price

    def capped(self, time: int, underlying: int) -> bool:
        """Whether what venues say of an underlying is a cap that members can see to be one."""
        return False

    def asleep(self, time: int, keeper: str) -> bool:
        """Whether a keeper does nothing."""
        return False

    def demand(self, time: int, demand: Demand) -> Demand:
        """What everybody else wants of a block."""
        return demand

    def depth(self, time: int, underlying: int) -> float:
        """Share of the market's depth that is there."""
        return 1.0

    def policy(self) -> Mapping[str, float]:
        """What the owner of the registry sets by mistake, as the scenario's `policy` does."""
        return {}


@dataclass(frozen=True)
class _OfMembers(Fault):
    members: tuple[int, ...]


@dataclass(frozen=True)
class SilentMembers(_OfMembers):
    """Members of the committee that say nothing."""

    kind = "silent-members"

    def member(self, time: int, number: int, seen: Observation) -> Observation | None:
        return None if self.on(time) and number in self.members else seen


@dataclass(frozen=True)
class LyingMembers(_OfMembers):
    """Members that state an underlying's prices times `factor`."""

    underlying: int
    factor: float
    kind = "lying-members"

    def member(self, time: int, number: int, seen: Observation) -> Observation | None:
        if not self.on(time) or number not in self.members:
            return seen
        return _scaled(seen, self.underlying, self.factor)


@dataclass(frozen=True)
class WithheldBundle(_OfMembers):
    """Members that, as leaders, propose a header and keep its bundle: nobody signs what he cannot serve."""

    kind = "withheld-bundle"

    def withholds(self, time: int, leader: int) -> bool:
        return self.on(time) and leader in self.members


@dataclass(frozen=True)
class VenueSilent(Fault):
    """Venues that stop quoting an underlying."""

    underlying: int
    venues: tuple[str, ...]
    kind = "venue-silent"

    def venue(self, time: int, underlying: int, venue: str, price: int) -> int | None:
        return None if self.on(time) and underlying == self.underlying and venue in self.venues else price


@dataclass(frozen=True)
class VenueFactor(Fault):
    """Venues that quote an underlying times `factor`: a unit error, a thin book, a typing error."""

    underlying: int
    venues: tuple[str, ...]
    factor: float
    kind = "venue-factor"

    def venue(self, time: int, underlying: int, venue: str, price: int) -> int | None:
        wrong = self.on(time) and underlying == self.underlying and venue in self.venues
        return max(round(price * self.factor), 1) if wrong else price


@dataclass(frozen=True)
class FeedStale(Fault):
    """The independent feed of an underlying is not updated."""

    underlying: int
    kind = "feed-stale"

    def feed(self, time: int, underlying: int, price: int) -> int | None:
        return None if self.on(time) and underlying == self.underlying else price


@dataclass(frozen=True)
class FeedFactor(Fault):
    """The independent feed states the price times `factor`."""

    underlying: int
    factor: float
    kind = "feed-factor"

    def feed(self, time: int, underlying: int, price: int) -> int | None:
        wrong = self.on(time) and underlying == self.underlying
        return max(round(price * self.factor), 1) if wrong else price


@dataclass(frozen=True)
class FeedClamped(Fault):
    """The independent feed never says less than `least` USD, and every venue that copies it neither (`venues`)."""

    underlying: int
    least: float
    venues: tuple[str, ...] = ()
    kind = "feed-clamped"

    def feed(self, time: int, underlying: int, price: int) -> int | None:
        return max(price, round(self.least * MICRO)) if self.on(time) and underlying == self.underlying else price

    def venue(self, time: int, underlying: int, venue: str, price: int) -> int | None:
        wrong = self.on(time) and underlying == self.underlying and venue in self.venues
        return max(price, round(self.least * MICRO)) if wrong else price


@dataclass(frozen=True)
class CappedRate(Fault):
    """Members read an underlying through a rule that caps it, whose parameters were updated apart: a cap at `factor`
    of the price binds on every venue's quote.
    """

    underlying: int
    factor: float
    kind = "capped-rate"

    def venue(self, time: int, underlying: int, venue: str, price: int) -> int | None:
        binds = self.on(time) and underlying == self.underlying
        return max(round(price * min(self.factor, 1.0)), 1) if binds else price

    def capped(self, time: int, underlying: int) -> bool:
        return self.on(time) and underlying == self.underlying and self.factor < 1.0


@dataclass(frozen=True)
class SequencerStall(Fault):
    """No blocks; at the end `burst` blocks at once."""

    burst: int = 1
    kind = "sequencer-stall"

    @property
    def stall(self) -> Stall:
        """As the model of block space takes it."""
        return Stall(self.start, self.end, self.burst)


@dataclass(frozen=True)
class FeeSpike(Fault):
    """Everybody wants `gas` times as much gas and pays `price` times as much."""

    price: float
    gas: float = 1.0
    kind = "fee-spike"

    def demand(self, time: int, demand: Demand) -> Demand:
        return demand.scaled(self.gas, self.price) if self.on(time) else demand


@dataclass(frozen=True)
class KeepersDead(Fault):
    """Keepers that do nothing."""

    keepers: tuple[str, ...]
    kind = "keepers-dead"

    def asleep(self, time: int, keeper: str) -> bool:
        return self.on(time) and keeper in self.keepers


@dataclass(frozen=True)
class DepthGone(Fault):
    """Only a `share` of an underlying's market depth is left."""

    underlying: int
    share: float
    kind = "depth-gone"

    def depth(self, time: int, underlying: int) -> float:
        return self.share if self.on(time) and underlying == self.underlying else 1.0


@dataclass(frozen=True)
class Depeg(Fault):
    """The true price of an underlying is `factor` of its path."""

    underlying: int
    factor: float
    kind = "depeg"

    def true_price(self, time: int, underlying: int) -> float:
        return self.factor if self.on(time) and underlying == self.underlying else 1.0


@dataclass(frozen=True)
class PolicyMistake(Fault):
    """The registry's owner proposes a wrong policy at `start` and the right one again at `end`, both through the
    timelock."""

    values: tuple[tuple[str, float], ...]
    kind = "policy-mistake"

    def policy(self) -> Mapping[str, float]:
        return dict(self.values)


FAULTS: Mapping[str, type[Fault]] = {
    each.kind: each
    for each in (
        SilentMembers, LyingMembers, WithheldBundle, VenueSilent, VenueFactor, FeedStale, FeedFactor, FeedClamped,
        CappedRate, SequencerStall, FeeSpike, KeepersDead, DepthGone, Depeg, PolicyMistake,
    )
}  # fmt: skip
"""Kinds of fault by the name that files use."""


@dataclass(frozen=True)
class Known:
    """What a fault may name.

    Attributes
    ----------
    duration : of the run, seconds. members : how many the committee has. underlyings : number by name.
    venues : names by underlying's name. keepers : names. policy : keys of a policy.
    """

    duration: int
    members: int
    underlyings: Mapping[str, int]
    venues: Mapping[str, Sequence[str]]
    keepers: Sequence[str]
    policy: Sequence[str]


def read_fault(item: Item, known: Known) -> Fault:
    """A fault of a file.

    Raises
    ------
    ScenarioError
        Its kind or a key is unknown, its window is out of order, or it names what there is not.
    """
    kind = item.entries().get("kind")
    if kind is None:
        item.fail("key 'kind' is missing")
    made = FAULTS[kind.choice(tuple(FAULTS))]
    own = [each.name for each in fields(made) if each.name not in ("start", "end")]
    section = item.section("kind", "from", "until", *own)
    start = section.seconds("from", 0)
    end = section.seconds("until", known.duration)
    if not start < end <= known.duration:
        where = section.entries.get("until", section.entries.get("from", item))
        where.fail(f"the window {start} s to {end} s ends before it begins, or is not within 0 and {known.duration} s")
    values: dict[str, Any] = {"start": start, "end": end}
    optional: dict[type[Fault], dict[str, Any]] = {FeedClamped: {"venues": ()}, FeeSpike: {"gas": 1.0}}
    optional[SequencerStall] = {"burst": 1}
    for name in own:
        if name in section or name not in optional.get(made, {}):
            values[name] = _value(name, section, known)
    return made(**values)


def _value(name: str, section: Section, known: Known) -> Any:
    item = section.get(name)
    if name == "members":
        return tuple(_member(each, known.members) for each in item.items(1))
    if name == "underlying":
        return known.underlyings[item.choice(tuple(known.underlyings))]
    if name == "venues":
        there = tuple(known.venues[section.get("underlying").choice(tuple(known.underlyings))])
        return tuple(each.choice(there) for each in item.items(1))
    if name == "keepers":
        return tuple(each.choice(tuple(known.keepers)) for each in item.items(1))
    if name == "values":
        entries = item.entries(1)
        return tuple((key, value.number()) for key, value in entries.items() if _known_policy(key, value, known))
    if name == "burst":
        return item.whole(1, 1_000)
    if name == "share":
        return item.number(0.0, 1.0)
    return item.number(1e-9, 1e9)


def _member(item: Item, members: int) -> int:
    number = item.whole()
    if not 0 <= number < members:
        item.fail(f"there is no member {number}: the committee has {members}, numbered from 0")
    return number


def _known_policy(key: str, item: Item, known: Known) -> bool:
    if key not in known.policy:
        item.fail(f"unknown key {key!r} of a policy; known: {', '.join(known.policy)}")
    return True


def _scaled(seen: Observation, underlying: int, factor: float) -> Observation:
    quotes = dict(seen.underlyings)
    quote = quotes[underlying]
    quotes[underlying] = Quote(max(round(quote.index * factor), 1), quote.funding, quote.scan_range)
    pairs = {
        key: (max(round(forward * factor), 1), iv) if key >> 88 == underlying else (forward, iv)
        for key, (forward, iv) in seen.instruments.items()
    }
    return replace(seen, underlyings=quotes, instruments=pairs)


class Faults:
    """All faults of a run, asked as one."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.all = tuple(faults)

    def true_price(self, time: int, underlying: int) -> float:
        out = 1.0
        for each in self.all:
            out *= each.true_price(time, underlying)
        return out

    def venue(self, time: int, underlying: int, venue: str, price: int) -> int | None:
        said: int | None = price
        for each in self.all:
            if said is not None:
                said = each.venue(time, underlying, venue, said)
        return said

    def member(self, time: int, number: int, seen: Observation) -> Observation | None:
        said: Observation | None = seen
        for each in self.all:
            if said is not None:
                said = each.member(time, number, said)
        return said

    def withholds(self, time: int, leader: int) -> bool:
        return any(each.withholds(time, leader) for each in self.all)

    def feed(self, time: int, underlying: int, price: int) -> int | None:
        said: int | None = price
        for each in self.all:
            if said is not None:
                said = each.feed(time, underlying, said)
        return said

    def capped(self, time: int, underlying: int) -> bool:
        return any(each.capped(time, underlying) for each in self.all)

    def asleep(self, time: int, keeper: str) -> bool:
        return any(each.asleep(time, keeper) for each in self.all)

    def demand(self, time: int, demand: Demand) -> Demand:
        for each in self.all:
            demand = each.demand(time, demand)
        return demand

    def depth(self, time: int, underlying: int) -> float:
        out = 1.0
        for each in self.all:
            out *= each.depth(time, underlying)
        return out

    @property
    def stalls(self) -> tuple[Stall, ...]:
        return tuple(each.stall for each in self.all if isinstance(each, SequencerStall))
