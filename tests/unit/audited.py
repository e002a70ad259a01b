"""A desk whose committee signs with real keys and keeps bundles, so that its history can be audited.

The in-process chain has no BLS precompiles, so its committee contract believes everything; the committee's events are
written here instead, for the keys that sign.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from desk import BTC, ETH, PRICE, Desk, leaping

from offchain.audit.record import Record, read_record
from offchain.chain.backends import Event, Receipt, Reverted
from offchain.instruments import Instrument
from offchain.oracle.bundles import Bundle, BundleStore
from offchain.oracle.epochs import build_epoch
from offchain.oracle.headers import Mark
from offchain.oracle.observations import (
    Before,
    Last,
    Observation,
    Quote,
    Slot,
    bounded,
    carried,
    medians,
    sign_observation,
)
from offchain.oracle.signatures import SecretKey, aggregate, header_digest, sign
from offchain.risk.policy import Policy, default_policy
from offchain.units import MICRO

MEMBERS = 4
VOLATILITY = 800_000


@cache
def secrets() -> tuple[SecretKey, ...]:
    """Keys of the members."""
    return tuple(SecretKey.generate(bytes([i + 1]) * 32) for i in range(MEMBERS))


def committee_events(address: str) -> tuple[Event, ...]:
    """What a Committee contract would have said when the members were seated."""
    names = [f"0x{i + 1:040x}" for i in range(MEMBERS)]
    enrolled = [
        Event(address, "Enrolled", {"member": name, "position": i, "key": secrets()[i].public_key}, 0, i, "0x")
        for i, name in enumerate(names)
    ]
    seated = {"set_id": 1, "members": names, "quorum": 3}
    return (*enrolled, Event(address, "Seated", seated, 0, MEMBERS, "0x"))


def cosign(digest: bytes, mask: int) -> bytes:
    """Aggregate signature of the members in a mask."""
    return aggregate([sign(key, digest) for i, key in enumerate(secrets()) if mask >> i & 1])


@dataclass
class Audited(Desk):
    """See the module. `hidden` are instruments without quotes."""

    policy: Policy = field(default_factory=lambda: leaping(default_policy()))
    store: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)
    last: Last | None = None
    mask: int = 0b0111
    settlements: list[int] = field(default_factory=list)
    hidden: frozenset[int] = frozenset()
    before: Before | None = None

    @property
    def folder(self) -> Path:
        """Where the bundles are; gone with this object."""
        return Path(self.store.name)

    def observe(self, member: int) -> Observation:
        """What a member sees: prices a little apart, forwards a little above."""
        quotes = {}
        for number, mark in self.marks.items():
            index = mark.index + (member - 1) * mark.index // 10_000
            quotes[number] = Quote(index, mark.funding, mark.scan_range + 10 * member)
        pairs = {}
        for identifier in self.leaves.keys() - self.hidden:
            instrument = Instrument.from_id(identifier)
            forward = quotes[instrument.underlying].index
            if instrument.kind.is_dated:
                forward += forward // 200
            pairs[identifier] = (forward, VOLATILITY + 1_000 * member if instrument.kind.is_option else 0)
        stated = {(w >> 240, w >> 208 & (1 << 32) - 1): w >> 144 & (1 << 64) - 1 for w in self.settlements}
        return Observation(quotes, pairs, settlements=stated)

    def reprice(self, underlying: int, price: int, funding: int = 0) -> None:
        self.marks[underlying] = replace(self.marks[underlying], index=price, funding=funding)

    def post(self, **changes: Any) -> Receipt:
        time = (self.chain.timestamp // 3600 + 1) * 3600
        self.chain.set_next_timestamp(time)
        self.chain.mine()
        snapshot = self.chain.block_number - 1
        oracle = self.system.oracle.address
        slot = Slot(self.chain.chain_id, oracle, 1, time // 3600, time, snapshot, self.chain.block_hash(snapshot))
        observers = [i for i in range(MEMBERS) if self.mask >> i & 1]
        seen = {i: self.observe(i) for i in observers}
        signed = [sign_observation(secrets()[i], i, slot, seen[i].body(slot)) for i in observers]
        middle = medians(list(seen.values()), self.leaves, self.policy, 3)
        middle = carried(middle, self.leaves, slot, lambda: self.before)
        market = bounded(middle, slot, self.last, self.policy)
        epoch = build_epoch(slot, market, self.book, self.policy, signed)
        BundleStore(self.folder).write(epoch.bundle)
        self.before = Before.of(Bundle.decode(epoch.bundle))
        header = epoch.header
        signature = cosign(header_digest(slot.chain_id, oracle, 1, slot.epoch, header.hash), self.mask)
        receipt = self.system.oracle.send.post(header.as_tuple(), self.mask, signature, sender=self.keys[0])
        self.last = Last(slot.epoch, time, {word >> 240: Mark.unpack(word) for word in header.marks})
        self.leaves = {leaf.id: leaf for leaf in epoch.leaves}
        self.posted = dict(self.leaves)
        self.epoch = slot.epoch
        self._instruments, self._accounts = epoch.instrument_tree, epoch.account_tree
        self._holders = [row.account for row in epoch.rows]
        return receipt

    def take(self, account: int, taker: int, owner: Any, legs: int = 1) -> Receipt:
        """Take the largest power of two of lots, of the first legs, that the liquidator accepts."""
        held = dict(sorted(self.book.positions(account).items())[:legs])
        size = 1 << min(map(abs, held.values())).bit_length() - 1
        while size:
            try:
                takes = {i: size if lots > 0 else -size for i, lots in held.items()}
                return self.liquidate(account, taker, takes, owner)
            except Reverted:
                size //= 2
        raise AssertionError(f"no legs of account {account} can be taken")

    def record(self) -> Record:
        """What the auditor reads."""
        record = read_record(self.system, self.folder)
        return replace(record, events=(*committee_events(self.system.committee.address), *record.events))


def crash(instruments: Sequence[int]) -> Audited:
    """Six epochs: trades in all `instruments`, a withdrawal, a fall in which the long are liquidated, called or not,
    one of whom pays in, and a rise in which the short one is.
    """
    desk = Audited.open(instruments)
    deposits = (500_000, 24_000, 21_000, 400_000, 26_000)
    rich, called, bold, keeper, bear = (desk.fund(desk.keys[i + 1], dollars) for i, dollars in enumerate(deposits))
    for place, identifier in enumerate(instruments):
        lots = 12_000 if identifier >> 88 == BTC else 21_000
        desk.trade(called, rich, identifier, lots // (3 + place))
        desk.trade(bold, rich, identifier, lots // (4 + place))
        desk.trade(rich, bear, identifier, lots // (5 + place))
    desk.post()
    desk.withdraw(rich, 1_000_000_000, desk.keys[1])
    desk.check_full(called)
    desk.trade(rich, called, instruments[0], 10)
    for fall in (94, 88, 84):
        desk.reprice(BTC, PRICE[BTC] * fall // 100, funding=1_000 * (100 - fall))
        desk.reprice(ETH, PRICE[ETH] * fall // 100)
        desk.post()
        if desk.margin(called)[4] < 0 and not desk.liquidator.call.called_at(called)[0]:
            desk.liquidator.send.margin_call(called, desk.witness(called), sender=desk.keys[9])
        for account in (called, bold):
            if desk.margin(account)[3] < 0:
                desk.take(account, keeper, desk.keys[4])
    desk.pay(called, 20_000 * MICRO, desk.keys[2])
    desk.liquidator.send.clear_call(called, desk.witness(called), sender=desk.keys[9])
    desk.reprice(BTC, PRICE[BTC] * 130 // 100)
    desk.reprice(ETH, PRICE[ETH] * 132 // 100)
    desk.post()
    desk.take(bear, keeper, desk.keys[4], legs=2)
    desk.system.ledger.send.transfer_account(bear, desk.keys[7].address, sender=desk.keys[5])
    return desk
