"""What a member saw, signed; and the medians of what a quorum saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from offchain.config import BallastError
from offchain.instruments import Instrument, InstrumentLeaf
from offchain.market.snapshots import Snapshot, funding_bound, median
from offchain.oracle.bundles import Bundle, SignedBody, canonical
from offchain.oracle.headers import LIVE, PROVISIONAL, Mark, jumps, pack_settlement
from offchain.oracle.signatures import SecretKey, SignatureError, observation_digest, sign, verify
from offchain.oracle.trees import keccak256
from offchain.risk.closeout import Missing
from offchain.risk.policy import Policy
from offchain.risk.volatility import clip_scan_range
from offchain.units import MICRO

MAX_FORWARD = (1 << 48) - 1
MAX_VOLATILITY = (1 << 32) - 1
MAX_FUNDING = 1 << 62


class ObservationError(BallastError):
    """An observation that is malformed, out of range, of another slot, or not signed by whom it names."""


class TooFewSources(BallastError):
    """Not enough observations to take a median of."""


@dataclass(frozen=True)
class Slot:
    """What a round is about, known before anything is observed.

    Attributes
    ----------
    chain_id, oracle, committee_set : whom signatures are for.
    epoch : number of the slot; timestamp : of the header, seconds.
    snapshot_block, snapshot_hash : the block whose positions count.
    """

    chain_id: int
    oracle: str
    committee_set: int
    epoch: int
    timestamp: int
    snapshot_block: int
    snapshot_hash: bytes


@dataclass(frozen=True)
class Quote:
    """An underlying: index price (micro-USD per unit), funding index (micro-USD per lot), scan range (1e-6).

    Its status follows from them and the epoch before (`bounded`); no observation states it.
    """

    index: int
    funding: int
    scan_range: int
    status: int = LIVE


@dataclass(frozen=True)
class Observation:
    """The market at a slot, in integers.

    Attributes
    ----------
    underlyings : quotes by underlying.
    instruments : forward (micro-USD per unit) and implied volatility (1e-6; 0 unless an option) by instrument id.
    missing : of those, the ones that nobody quotes and that stand as in the epoch before; of medians only (`carried`).
    settlements : average price over the window before it (micro-USD per unit) by underlying and expiry that has passed.
    """

    underlyings: Mapping[int, Quote]
    instruments: Mapping[int, tuple[int, int]]
    missing: Mapping[int, Missing] = field(default_factory=dict)
    settlements: Mapping[tuple[int, int], int] = field(default_factory=dict)

    @property
    def settlement_words(self) -> tuple[int, ...]:
        """Words of the settlement leaves, ascending."""
        return tuple(sorted(pack_settlement(*key, price) for key, price in self.settlements.items()))

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot, instruments: Iterable[int]) -> Observation:
        """What a market snapshot says of instruments (ids); those whose expiry it does not quote are left out.

        Raises
        ------
        MarketError
            An instrument's underlying is not in the snapshot.
        """
        quotes = {u: Quote(s.index, s.funding, s.scan_range) for u, s in snapshot.underlyings.items()}
        return cls(quotes, snapshot.inputs(Instrument.from_id(key) for key in instruments))

    def body(self, slot: Slot) -> dict[str, Any]:
        """The observation as it is signed: an object of integers and strings, with `settlements` only if it has any."""
        stated = {f"{u}:{expiry}": price for (u, expiry), price in self.settlements.items()}
        return {
            "epoch": slot.epoch,
            "timestamp": slot.timestamp,
            "snapshot_block": slot.snapshot_block,
            "snapshot_hash": f"0x{slot.snapshot_hash.hex()}",
            "underlyings": {str(u): [q.index, q.funding, q.scan_range] for u, q in self.underlyings.items()},
            "instruments": {f"0x{key:026x}": list(pair) for key, pair in self.instruments.items()},
            **({"settlements": stated} if stated else {}),
        }

    @classmethod
    def of(cls, body: Mapping[str, Any], slot: Slot) -> Observation:
        """Read a body of this slot.

        Raises
        ------
        ObservationError
            It is malformed, of another slot, or a value is out of range.
        """
        try:
            found = cls(
                {int(u): Quote(*map(_integer, values)) for u, values in body["underlyings"].items()},
                {int(key, 16): _pair(values) for key, values in body["instruments"].items()},
                settlements={_key(key): _integer(price) for key, price in body.get("settlements", {}).items()},
            )
            same = canonical(found.body(slot)) == canonical(body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ObservationError(f"malformed observation: {error!r}") from error
        if not same:
            raise ObservationError(f"an observation of another slot than {slot.epoch}, or in another spelling")
        found.check()
        return found

    def check(self) -> None:
        """Refuse values that no market has.

        Raises
        ------
        ObservationError
            A value is out of range; the message names it.
        """
        for underlying, quote in self.underlyings.items():
            _within(f"index of underlying {underlying}", quote.index, 1, MAX_FORWARD)
            _within(f"funding of underlying {underlying}", quote.funding, -MAX_FUNDING, MAX_FUNDING)
            _within(f"scan range of underlying {underlying}", quote.scan_range, 1, MICRO - 1)
        for key, (forward, volatility) in self.instruments.items():
            _within(f"forward of {key:#x}", forward, 1, MAX_FORWARD)
            _within(f"volatility of {key:#x}", volatility, 0, MAX_VOLATILITY)
        for (underlying, expiry), price in self.settlements.items():
            _within(f"settlement price of underlying {underlying} at {expiry}", price, 1, MAX_FORWARD)


@dataclass(frozen=True)
class Last:
    """The epoch before, as the oracle contract holds it: its number, timestamp, and marks by underlying."""

    epoch: int
    timestamp: int
    marks: Mapping[int, Mark]


@dataclass(frozen=True)
class Tolerance:
    """How far a member's observation may lie from the median for it to sign, 1e-6.

    Relative; of funding relative to the index a lot.
    """

    index: int = 10_000
    funding: int = 10_000
    scan_range: int = 100_000
    forward: int = 20_000
    volatility: int = 150_000


def sign_observation(secret: SecretKey, member: int, slot: Slot, body: Mapping[str, Any]) -> SignedBody:
    """A member's signature over a body."""
    return SignedBody(member, body, sign(secret, _digest(slot, body)))


def verify_observation(item: SignedBody, slot: Slot, key: bytes) -> Observation:
    """The observation, if its member signed it for this slot.

    Raises
    ------
    ObservationError
        The signature does not verify, or the body is none of this slot.
    """
    observation = Observation.of(item.body, slot)
    try:
        good = _verified(key, _digest(slot, item.body), item.signature)
    except SignatureError as error:
        raise ObservationError(f"observation of member {item.member}: {error}") from error
    if not good:
        raise ObservationError(f"observation of member {item.member}: the signature is not its own")
    return observation


def medians(
    observations: Sequence[Observation], instruments: Iterable[int], policy: Policy, minimum: int
) -> Observation:
    """Medians, field by field: lower ones, so each is a value that somebody observed.

    Of n values of which f are false, 2f < n, it lies between the least and the greatest true one.

    Parameters
    ----------
    observations : of one slot, by different members.
    instruments : ids that the epoch must hold; one that fewer than `minimum` saw is left out (`carried`).
    policy : its underlyings are those that the epoch must hold.
    minimum : least observations of each field.

    Raises
    ------
    TooFewSources
        Fewer than `minimum` saw some underlying.
    """
    quotes = {}
    for each in policy.underlyings:
        seen = [o.underlyings[each.underlying] for o in observations if each.underlying in o.underlyings]
        _enough(f"underlying {each.underlying}", len(seen), minimum)
        quotes[each.underlying] = Quote(
            median([q.index for q in seen]), median([q.funding for q in seen]), median([q.scan_range for q in seen])
        )
    pairs = {}
    for key in sorted(instruments):
        found = [o.instruments[key] for o in observations if key in o.instruments]
        if len(found) < minimum:
            continue
        pairs[key] = (median([forward for forward, _ in found]), median([volatility for _, volatility in found]))
    expired = sorted({key for o in observations for key in o.settlements})
    seen_of = {key: [o.settlements[key] for o in observations if key in o.settlements] for key in expired}
    settlements = {key: median(prices) for key, prices in seen_of.items() if len(prices) >= minimum}
    return Observation(quotes, pairs, settlements=settlements)


@dataclass(frozen=True)
class Before:
    """The epoch before, as its bundle has it.

    Attributes
    ----------
    timestamp : seconds. index : by underlying, micro-USD per unit. leaves : by instrument id.
    settlements : prices by underlying and expiry, micro-USD per unit.
    """

    timestamp: int
    index: Mapping[int, int]
    leaves: Mapping[int, InstrumentLeaf]
    settlements: Mapping[tuple[int, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, bundle: Bundle) -> Before:
        """What a bundle says."""
        leaves = [InstrumentLeaf.unpack(meta, array) for meta, array in bundle.instruments]
        index = {mark.underlying: mark.index for mark in map(Mark.unpack, bundle.marks)}
        settlements = {(w >> 240, w >> 208 & 0xFFFFFFFF): w >> 144 & (1 << 64) - 1 for w in bundle.settlements}
        return cls(bundle.timestamp, index, {leaf.id: leaf for leaf in leaves}, settlements)


def carried(market: Observation, wanted: Iterable[int], slot: Slot, before: Callable[[], Before | None]) -> Observation:
    """Medians with what the epoch before adds to them.

    An instrument without quotes stands at its forward of then, moved with the index, and its volatility of then. It is
    close-only, and its close-out cost grows until it is quoted again. One that was never quoted has no leaf: nobody can
    hold it. A settlement price that was stated is stated again, as long as somebody holds what expired: a second one
    would begin its dispute delay anew.

    Parameters
    ----------
    wanted : ids that the epoch must hold.
    before : gives the epoch before; asked only if something is missing or has expired.
    """
    wanted = tuple(wanted)
    lacking = [key for key in wanted if key not in market.instruments]
    dated = [each for each in map(Instrument.from_id, wanted) if each.kind.is_dated]
    due = sorted({(each.underlying, each.expiry) for each in dated if each.expiry <= slot.timestamp})
    last = before() if lacking or due else None
    stated = {**market.settlements, **(last.settlements if last is not None else {})}
    market = replace(market, settlements={key: stated[key] for key in due if key in stated})
    if last is None:
        return market
    pairs, missing = dict(market.instruments), {}
    for key in lacking:
        leaf, number = last.leaves.get(key), Instrument.from_id(key).underlying
        if leaf is not None:
            pairs[key] = (max(leaf.forward * market.underlyings[number].index // last.index[number], 1), leaf.iv)
            missing[key] = Missing(leaf.c_long, leaf.c_short, slot.timestamp - last.timestamp)
    return replace(market, instruments=dict(sorted(pairs.items())), missing=missing)


def bounded(market: Observation, slot: Slot, last: Last | None, policy: Policy) -> Observation:
    """The market with scan ranges and funding inside the oracle contract's bounds (contracts/RiskOracle.vy).

    Scan ranges are clipped to the policy's limits and to its slew by elapsed slots, funding to 0.05 % of the last index
    an hour; an underlying without an earlier mark starts funding at zero.
    """
    quotes = {}
    for number, quote in market.underlyings.items():
        listed = policy.underlying(number)
        mark = last.marks.get(number) if last is not None else None
        funding, before, slots = 0, None, 1
        if last is not None and mark is not None:
            before, slots = mark.scan_range, slot.epoch - last.epoch
            most = funding_bound(mark.index, slot.timestamp - last.timestamp, listed.lots_per_unit)
            funding = min(max(quote.funding, mark.funding - most), mark.funding + most)
        status = PROVISIONAL if mark is not None and jumps(mark, quote.index, slots, policy.shocks.jump) else LIVE
        quotes[number] = Quote(quote.index, funding, clip_scan_range(before, quote.scan_range, slots, listed), status)
    return replace(market, underlyings=quotes)


def too_far(own: Observation, market: Observation, tolerance: Tolerance, policy: Policy) -> str | None:
    """The first field in which a member's own observation is beyond tolerance from the medians; None if none is."""
    for number, quote in market.underlyings.items():
        mine = own.underlyings.get(number)
        if mine is None:
            continue
        a_lot = quote.index // policy.underlying(number).lots_per_unit
        for name, ours, theirs, of, most in (
            ("index", mine.index, quote.index, quote.index, tolerance.index),
            ("funding", mine.funding, quote.funding, a_lot, tolerance.funding),
            ("scan range", mine.scan_range, quote.scan_range, quote.scan_range, tolerance.scan_range),
        ):
            if abs(ours - theirs) * MICRO > most * of:
                return f"{name} of underlying {number}: the median is {theirs}, this member saw {ours}"
    for (number, expiry), price in market.settlements.items():
        seen = own.settlements.get((number, expiry), price)
        if abs(seen - price) * MICRO > tolerance.index * price:
            return f"settlement price of underlying {number} at {expiry}: the median is {price}, this member saw {seen}"
    for key, pair in market.instruments.items():
        if key not in own.instruments or key in market.missing:
            continue
        for name, ours, theirs, most in zip(
            ("forward", "volatility"),
            own.instruments[key],
            pair,
            (tolerance.forward, tolerance.volatility),
            strict=True,
        ):
            if abs(ours - theirs) * MICRO > most * theirs:
                return f"{name} of {key:#x}: the median is {theirs}, this member saw {ours}"
    return None


@lru_cache(maxsize=1024)
def _verified(key: bytes, digest: bytes, signature: bytes) -> bool:
    """A pairing, once: a leader verifies what it collects, and again when it reviews its own proposal."""
    return verify([key], digest, signature)


def _digest(slot: Slot, body: Mapping[str, Any]) -> bytes:
    return observation_digest(slot.chain_id, slot.oracle, slot.committee_set, slot.epoch, keccak256(canonical(body)))


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not an integer")
    return value


def _key(text: str) -> tuple[int, int]:
    underlying, expiry = map(int, text.split(":"))
    return underlying, expiry


def _pair(values: Any) -> tuple[int, int]:
    forward, volatility = map(_integer, values)
    return forward, volatility


def _within(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ObservationError(f"{what}: {value} is not within {least} and {most}")


def _enough(what: str, seen: int, minimum: int) -> None:
    if seen < minimum:
        raise TooFewSources(f"too few sources for {what}: {seen} of {minimum}")
