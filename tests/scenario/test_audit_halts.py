"""The auditor follows a revoked epoch, the reinstated one, and policies that change while nothing is posted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from aftermath import BTC, Aftermath, dollars
from audited import Audited
from desk import BTC_PERP, ETH_PERP, leaping

from offchain.audit.result import Verification
from offchain.audit.verify import verify
from offchain.chain.backends import Receipt
from offchain.config import HOURLY
from offchain.risk.policy import RowKind, default_policy


class Court(Aftermath):
    """A desk whose bundles are kept, with a challenger; the long account holds 40 BTC lots on 110 dollars."""

    desk_type = Audited

    def __init__(self) -> None:
        super().__init__(110, (BTC_PERP, ETH_PERP))
        desk = self.desk
        assert isinstance(desk, Audited)
        self.audited = desk
        self.owner, self.keeper = desk.keys[0], desk.keys[4]
        desk.pay(self.short, 10**12, self.short_key)
        self.trade(BTC_PERP, 40)
        self.taker = desk.fund(self.keeper, 10_000)
        registry = desk.system.registry
        registry.send.propose_challenger(self.owner.address, sender=self.owner)
        self.wait(registry.call.delay())
        registry.send.enact_challenger(self.owner.address, sender=self.owner)

    def post(self, **changes: Any) -> Receipt:
        self.quote()
        return self.desk.post(**changes)

    def halt(self) -> None:
        """The latest epoch is proven wrong; the one before is reinstated."""
        desk = self.desk
        header, leaves, last, before = self.good
        desk.system.oracle.send.halt(desk.epoch, sender=self.owner)
        desk.system.oracle.send.reinstate(header, sender=self.stranger)
        desk.posted, desk._instruments, desk._accounts, desk._holders = leaves
        self.audited.last, self.audited.before = last, before

    def keep(self, receipt: Receipt) -> None:
        """Remember an epoch that will be the one before."""
        desk = self.audited
        trees = (dict(desk.posted), desk._instruments, desk._accounts, list(desk._holders))
        self.good = (receipt.event("EpochPosted").args["header"], trees, desk.last, desk.before)

    def take(self, lots: int) -> Receipt:
        desk = self.desk
        proof, flags = desk.multiproof([BTC_PERP])
        return desk.system.fallback.send.liquidate(
            self.long, self.taker, [(*desk.leg(BTC_PERP), lots)], proof, flags, desk.witness(self.long),
            desk.witness(self.taker), sender=self.keeper,
        )  # fmt: skip

    def exit(self) -> None:
        """BTC is left at the feed's price."""
        settlement, desk = self.desk.system.settlement, self.desk
        settlement.send.begin_exit(BTC, sender=self.stranger)
        settlement.send.fix_exit(desk.leg(BTC_PERP), desk.proof(BTC_PERP), sender=self.stranger)
        for account in (self.long, self.short, self.taker):
            settlement.send.settle(account, [BTC_PERP], sender=self.stranger)

    def enact(self) -> None:
        """Another policy, with other rows, comes into force."""
        registry, base = self.desk.system.registry, leaping(default_policy())
        rows = tuple(replace(r, move=r.move // 2) if r.kind is RowKind.SCAN else r for r in base.rows)
        policy = replace(base, rows=rows)
        registry.send.propose_policy(policy.words, sender=self.owner)
        self.wait(registry.call.delay())
        registry.send.enact_policy(policy.hash, sender=self.owner)

    def check(self) -> Verification:
        """The verification without the signatures, which take longest."""
        with mock.patch("offchain.audit.verify.find_wrong", return_value={}):
            return verify(self.audited.record())


def halted(case: Court) -> None:
    case.keep(case.post())
    case.move(BTC, 99_000)
    case.halt()
    case.desk.reprice(BTC, dollars(10_000))


def overruled(case: Court) -> None:
    halted(case)
    case.enact()


def silent(case: Court) -> None:
    case.post()
    case.enact()


@pytest.mark.parametrize("stop", [halted, overruled, silent])
def test_audit__oracle_stopped__fallback_and_exit_are_computed_again(stop: Callable[[Court], None]) -> None:
    case = Court()
    stop(case)
    case.wait(HOURLY.max_age + HOURLY.fallback_delay + 1)
    case.quote(btc=7_300)
    case.take(10)
    case.wait(HOURLY.exit_delay)
    case.quote(btc=7_400)
    case.exit()
    found = case.check()
    assert found.mismatches == ()
    assert case.desk.book.positions(case.long) == {}


def test_audit__halted__ended_by_a_good_epoch() -> None:
    case = Court()
    halted(case)
    case.wait(HOURLY.max_age)
    case.post()
    case.trade(BTC_PERP, 1)
    assert case.check().mismatches == ()
    case.desk.system.oracle.send.halt(case.desk.epoch, sender=case.owner)  # and none stands before it
    assert case.check().mismatches == ()


@pytest.mark.parametrize(("name", "change"), [
    ("Halted", {"epoch": 7}), ("Reinstated", {"epoch": 7}), ("Reinstated", {"header_hash": bytes(32)}),
])  # fmt: skip
def test_audit__a_halt_that_was_not_so__is_found(name: str, change: dict[str, Any]) -> None:
    case = Court()
    halted(case)
    record = case.audited.record()
    events = [replace(e, args=e.args | change) if e.name == name else e for e in record.events]
    with mock.patch("offchain.audit.verify.find_wrong", return_value={}):
        assert {m.kind for m in verify(replace(record, events=tuple(events))).mismatches} == {"header"}
