"""The market of the machine: five underlyings, instruments with plain integer arrays, epochs and their trees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from twin.core import Core, Leg, Witness

from offchain.config import Cadence
from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.oracle.headers import (
    Mark,
    account_leaf_hash,
    instrument_leaf_hash,
    pack_settlement,
    settlement_leaf_hash,
)
from offchain.oracle.trees import Tree
from offchain.risk.policy import MarginParams, Policy, Row, RowKind, UnderlyingParams, VolatilityMove, default_policy
from offchain.risk.portfolios import Content, Margin, content_of, evaluate
from offchain.units import MICRO, WEIGHT

CADENCE = Cadence(
    slot=300, max_age=900, min_interval=120, timelock=3_600, fallback_delay=1_800, exit_delay=14_400, auction=3_600
)
START = 1_700_000_000 // 300 * 300
PRICES = {1: 10_000 * MICRO, 2: 250 * MICRO, 3: 40 * MICRO, 4: 5 * MICRO, 5: MICRO}
LOTS = {1: 1_000, 2: 100, 3: 10, 4: 2, 5: 1}
DEPTH = {1: 20_000, 2: 40_000, 3: 100_000, 4: 400_000, 5: 4_000_000}
INTEREST = {1: 60, 2: 60, 3: 60, 4: 60, 5: 1}
SOON, LATER = START + 4 * 3_600, START + 60 * 86_400
SCAN = 160_000


def first_instruments() -> list[int]:
    """What is listed from the beginning, ascending."""
    listed = [Instrument(u, Kind.PERPETUAL) for u in PRICES]
    for u in (1, 2):
        listed += [Instrument(u, Kind.FUTURE, SOON), Instrument(u, Kind.FUTURE, LATER)]
        for strike in (PRICES[u], PRICES[u] * 11 // 10):
            for expiry in (SOON, LATER):
                listed += [Instrument(u, kind, expiry, strike) for kind in (Kind.CALL, Kind.PUT)]
    return sorted(each.id for each in listed)


TOKENS = tuple(Instrument(u, Kind.TOKEN).id for u in (1, 2))


def first_policy() -> Policy:
    """The default policy with five underlyings of small depth, so that limits can be met."""
    base = default_policy(CADENCE.slot)
    bounds = base.underlyings[0]
    underlyings = tuple(
        UnderlyingParams(
            u, LOTS[u], bounds.r_min, bounds.r_max, bounds.slew_up, bounds.slew_down, DEPTH[u], INTEREST[u]
        )
        for u in PRICES
    )
    return replace(base, underlyings=underlyings)


@dataclass
class Terms:
    """What the next epoch says of an underlying: index and funding micro-USD, volatility and scan range 1e-6."""

    index: int
    volatility: int = 800_000
    funding: int = 0
    scan: int = SCAN
    status: int = 1


Packed = tuple[InstrumentLeaf, Leg, bytes]
"""A leaf, as contracts take it, and its hash."""


@cache
def _arrayed(
    identifier: int, index: int, volatility: int, funding: int, scan: int, status: int, rows: tuple[Row, ...]
) -> Packed:
    instrument = Instrument.from_id(identifier)
    per_unit, strike, kind = LOTS[instrument.underlying], instrument.strike, instrument.kind

    def value(price: int, vol: int) -> int:
        premium = index * vol // (10 * MICRO)
        if kind is Kind.CALL:
            return (max(price - strike, 0) + premium) // per_unit
        if kind is Kind.PUT:
            return (max(strike - price, 0) + premium) // per_unit
        return price // per_unit - (funding if kind is Kind.PERPETUAL else 0)

    mark = value(index, volatility)
    values = []
    for row in rows:
        vol = volatility
        if row.volatility is VolatilityMove.UP:
            vol = volatility * 3 // 2
        elif row.volatility is VolatilityMove.DOWN:
            vol = volatility * 3 // 4
        if row.kind is RowKind.SCAN:
            values.append(value(index + index * row.move * scan // MICRO**2, vol))
        elif row.kind is RowKind.TAIL:
            values.append(mark + (value(index + index * row.move // MICRO, vol) - mark) * row.weight // WEIGHT)
        elif row.kind is RowKind.BASIS:
            moved = index + index * row.move // MICRO * 45 // 1000
            values.append(value(moved if kind.is_dated else index, vol))
        else:
            values.append(value(index, vol + vol * row.move // MICRO // 4))
    cost = index // per_unit // 1000 + 1
    least = index * 3 // (400 * per_unit) if kind.is_option else 0
    iv = volatility if kind.is_option else 0
    long = min(index // per_unit // 10, max(min(values), 0)) + 1 if kind is Kind.TOKEN else cost
    leaf = InstrumentLeaf(identifier, index, iv, long, max(cost, least), Status(status), tuple(values))
    leg = leaf.pack()
    return leaf, leg, instrument_leaf_hash(*leg)


@dataclass(frozen=True)
class Ground:
    """An epoch with all its leaves: what witnesses are made from.

    Attributes
    ----------
    leaves, legs : by instrument id. settlements : words, after the instruments in the tree.
    hashes : position hash of each holder, in the order of their leaves.
    """

    epoch: int
    leaves: Mapping[int, InstrumentLeaf]
    legs: Mapping[int, Leg]
    settlements: tuple[int, ...]
    instruments: Tree
    accounts: Tree
    hashes: Mapping[int, bytes]
    margin: MarginParams
    policy: bytes
    order: Mapping[int, int] = field(default_factory=dict)
    truth: bool = True
    _contents: dict[tuple[int, bytes], Content] = field(default_factory=dict)

    def content(self, twin: Core, number: int) -> Content | None:
        """Content of an account's positions of now under this epoch; None if a position has no leaf in it."""
        account = twin.account(number)
        key = (number, account.hash)
        if key not in self._contents:
            if any(i not in self.leaves for i in account.positions):
                return None
            self._contents[key] = content_of(number, account.positions, self.leaves)
        return self._contents[key]

    def margin_of(self, twin: Core, number: int) -> Margin | None:
        """Margin of an account as it stands."""
        content = self.content(twin, number)
        return None if content is None else evaluate(content, twin.account(number).cash, self.margin)

    def leg(self, identifier: int) -> Leg:
        """A leaf as contracts take it."""
        return self.legs[identifier]

    def proof(self, identifier: int) -> list[bytes]:
        return self.instruments.proof(self.order[identifier])

    def settlement_proof(self, word: int) -> list[bytes]:
        return self.instruments.proof(len(self.leaves) + self.settlements.index(word))

    def multiproof(self, identifiers: Iterable[int]) -> tuple[list[bytes], list[int]]:
        return self.instruments.multiproof([self.order[i] for i in identifiers])

    def by_content(self, twin: Core, number: int) -> Witness:
        """The content of now without a proof: what a checkpoint holds."""
        content = self.content(twin, number)
        if content is None or not content.count:
            return (0, 0, [], [])
        return (content.head, content.cost, content.vector_words, [])

    def by_leaf(self, twin: Core, number: int) -> Witness:
        """The content of now with the proof of the account's leaf, if it has one: stale if it traded since."""
        head, cost, words, _ = self.by_content(twin, number)
        order = list(self.hashes)
        return (head, cost, words, self.accounts.proof(order.index(number)) if number in self.hashes else [])


class Market:
    """Prices and what becomes of them in an epoch."""

    def __init__(self) -> None:
        self.terms = {u: Terms(PRICES[u]) for u in PRICES}
        self.listed = sorted([*first_instruments(), *TOKENS])
        self.close_only: set[int] = set()
        self.settled: dict[tuple[int, int], int] = {}
        self.grounds: list[Ground] = []

    @property
    def ground(self) -> Ground:
        """The latest epoch's."""
        return self.grounds[-1]

    def leaf(self, identifier: int, rows: tuple[Row, ...], now: int) -> Packed:
        """The leaf of an instrument as things stand; one that has expired keeps its last index."""
        terms = self.terms[identifier >> 88]
        expiry = identifier >> 56 & 0xFFFFFFFF
        index, volatility, status = terms.index, terms.volatility, 2 if identifier in self.close_only else 1
        if expiry and now >= expiry:
            index = self.settled.setdefault((identifier >> 88, expiry), terms.index)
            volatility, status = 0, 3
        funding = terms.funding if identifier & 255 == Kind.PERPETUAL else 0
        return _arrayed(identifier, index, volatility, funding, terms.scan, status, rows)

    def make(self, twin: Core, policy: Policy, epoch: int, now: int, truth: bool = True) -> Ground:
        """The next epoch's leaves and trees, from the positions of now."""
        held = {i for number, a in twin.accounts.items() if number >= 256 for i in a.positions}
        ids = sorted(i for i in self.listed if not (i >> 56 & 0xFFFFFFFF) or now < (i >> 56 & 0xFFFFFFFF) or i in held)
        packed = [self.leaf(i, policy.rows, now) for i in ids]
        leaves = {each[0].id: each[0] for each in packed}
        legs = {each[0].id: each[1] for each in packed}
        words = tuple(pack_settlement(u, expiry, price) for (u, expiry), price in sorted(self.settled.items()))
        hashes = [each[2] for each in packed] + [settlement_leaf_hash(w) for w in words]
        holders = [n for n in sorted(twin.accounts) if n >= 256 and twin.accounts[n].positions]
        made = Ground(
            epoch, leaves, legs, words, Tree(hashes), Tree([]), {n: twin.accounts[n].hash for n in holders},
            policy.margin, policy.hash, {i: k for k, i in enumerate(ids)},
        )  # fmt: skip
        out = []
        for number in holders:
            content = made.content(twin, number)
            assert content is not None, "all that is held is in the tree"
            shown = content if truth else replace(content, closeout=content.closeout + 1)
            digest = twin.accounts[number].hash
            out.append(account_leaf_hash(shown.head, digest, shown.cost, shown.vector_words))
        return replace(made, accounts=Tree(out), truth=truth)

    def marks(self) -> tuple[int, ...]:
        """Words of the header."""
        return tuple(Mark(u, t.index, t.funding, t.scan, t.status).pack() for u, t in sorted(self.terms.items()))
