"""What settlement must survive, each named after its row in the list of threats."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aftermath import (
    BTC,
    BTC_FUTURE,
    BTC_PERP,
    CALL,
    CLEARING,
    ETH,
    ETH_PERP,
    INSURANCE,
    PUT,
    SHORTFALL,
    Aftermath,
    dollars,
)
from desk import EXPIRY, NOTHING, reason
from test_settlement import Expiry

from offchain.chain.system import HOURLY
from offchain.oracle.headers import pack_settlement


def test_threat_29__settlement_stopped_half_way() -> None:
    """One leg of one side is settled, then nothing for weeks, with prices moving and trades in between: the rest
    settles at the same price, and the clearing account ends at nothing."""
    case = Expiry()
    desk = case.desk
    case.make_final()
    total = case.cash(case.long) + case.cash(case.short)
    case.settle(case.long, [CALL])
    assert desk.ledger.call.quantity(CLEARING, CALL) == 5
    case.move(BTC, 13_000)
    case.trade(BTC_PERP, 1)
    case.wait(20 * 86_400)
    case.settle(case.short, [BTC_FUTURE, CALL, PUT])
    case.settle(case.long, [BTC_FUTURE, PUT])
    fees = case.cash(INSURANCE)
    assert case.cash(CLEARING) == 0
    assert desk.book.positions(CLEARING) == {}
    assert case.cash(case.long) + case.cash(case.short) <= total + fees
    case.post()
    for account in (case.long, case.short):
        assert desk.book.positions(account).keys() == {BTC_PERP}


def test_threat_29__settlement_called_twice() -> None:
    case = Expiry()
    case.make_final()
    case.settle(case.long, [CALL, PUT])
    cash = case.cash(case.long)
    assert reason(case.settle, case.long, [CALL, PUT]) == "settlement: nothing to settle"
    case.settle(case.long, [CALL, BTC_FUTURE])
    assert case.cash(case.long) == cash + 2 * 10_700_000


def test_threat_29__settlement_on_a_disputed_price() -> None:
    """The committee states a price 10 % off the feed's at expiry: nobody can settle on it, and in the end all settle at
    the feed's."""
    case = Expiry(11_800, recorded=10_700)
    case.propose()
    for _ in range(4):
        case.post()
    assert reason(case.finalize) == "settlement: price is disputed"
    assert reason(case.settle, case.long, [CALL]) == "settlement: no final price"
    case.wait_until(EXPIRY + HOURLY.exit_delay)
    case.send.last_resort(BTC, EXPIRY, sender=case.stranger)
    before = case.cash(case.long)
    case.settle(case.long, [CALL])
    assert case.cash(case.long) == before + 5 * 700_000


def test_threat_29__an_expired_short_that_nobody_settles() -> None:
    """The winner needs nobody: it settles alone and withdraws all it has, although the loser never shows up. Later a
    stranger settles the loser."""
    case = Aftermath()
    desk = case.desk
    case.trade(CALL, 50)
    case.wait_until(EXPIRY)
    word = pack_settlement(BTC, EXPIRY, dollars(12_000))
    case.settlements = [word]
    case.post()
    send = desk.system.settlement.send
    send.propose_price(word, case.settlement_proof(word), sender=case.stranger)
    case.post()
    case.post()
    send.finalize_price(BTC, EXPIRY, sender=case.stranger)
    case.settle(case.long, [CALL])
    amount = case.cash(case.long)
    desk.withdraw(case.long, amount, case.long_key, NOTHING)
    assert desk.system.token.call.balanceOf(case.long_key.address) == amount
    assert case.cash(CLEARING) == -50 * 2_000_000
    case.settle(case.short, [CALL])
    assert case.cash(CLEARING) == 0


def test_threat_8__settling_a_stranger__puts_off_no_withdrawal() -> None:
    """Somebody settles an account's expired leg just before its owner withdraws: without positions nothing is asked,
    and with some the next epoch is enough."""
    case = Expiry()
    case.make_final()
    case.settle(case.long, [CALL, PUT, BTC_FUTURE])
    last = case.desk.ledger.call.account(case.long)[3]
    case.desk.check_full(case.long)
    assert case.desk.epoch > last
    case.desk.withdraw(case.long, dollars(1_000), case.long_key)


# Exits


class World(Aftermath):
    """Four owners in options, futures and perpetuals of two underlyings; one of them goes broke at the exit's price."""

    def __init__(self) -> None:
        super().__init__(5_000)
        desk = self.desk
        self.poor = desk.fund(desk.keys[3], 110)
        self.rich = desk.fund(desk.keys[4], 50_000)
        self.owners = {
            self.long: self.long_key, self.short: self.short_key, self.poor: desk.keys[3], self.rich: desk.keys[4],
        }  # fmt: skip
        desk.trade(self.poor, self.rich, BTC_PERP, 40)
        desk.trade(self.long, self.short, CALL, 30)
        desk.trade(self.short, self.rich, PUT, 25)
        desk.trade(self.rich, self.long, BTC_FUTURE, 60)
        desk.trade(self.long, self.rich, ETH_PERP, 70)
        self.post()


def halted(case: World) -> None:
    """The latest epoch is proven wrong; the one before is the ground of what follows."""
    desk, owner = case.desk, case.desk.keys[0]
    registry, oracle = desk.system.registry, desk.system.oracle
    registry.send.propose_challenger(owner.address, sender=owner)
    case.wait(registry.call.delay())
    registry.send.enact_challenger(owner.address, sender=owner)
    receipt = case.post()
    header = receipt.event("EpochPosted").args["header"]
    tree = desk._instruments
    case.move(BTC, 99_000)
    oracle.send.halt(desk.epoch, sender=owner)
    oracle.send.reinstate(header, sender=case.stranger)
    desk.reprice(BTC, dollars(10_000))
    desk.posted, desk._instruments = dict(desk.leaves), tree
    case.wait(HOURLY.exit_delay)


def stale(case: World) -> None:
    """The committee is silent."""
    case.wait(HOURLY.max_age + HOURLY.exit_delay + 3_600)


def forsaken(case: World) -> None:
    """The committee is silent, and so are the feeds, for twice as long."""
    case.wait(HOURLY.max_age + 2 * HOURLY.exit_delay + 3_600)


@pytest.mark.parametrize("stop", [stale, halted, forsaken])
@pytest.mark.parametrize("order", [1, -1])
def test_threat_21__all_solvent_equity_can_leave__from_every_state(stop: Callable[[World], None], order: int) -> None:
    """Everything is settled by strangers, every owner withdraws its cash, before or after a debt is absorbed, and each
    gets the same part of it: all, or what the debt leaves."""
    case = World()
    desk = case.desk
    stop(case)
    system = desk.system
    if stop is not forsaken:
        case.quote(btc=6_800, eth=260)
    for underlying in (BTC, ETH):
        system.settlement.send.begin_exit(underlying, sender=case.stranger)
    for identifier in (BTC_PERP, ETH_PERP, BTC_FUTURE, CALL, PUT):
        system.settlement.send.fix_exit(desk.leg(identifier), desk.proof(identifier), sender=case.stranger)
    for account in list(case.owners)[::order]:
        case.settle(account, sorted(desk.book.positions(account)))
    assert case.cash(CLEARING) == 0
    assert desk.book.positions(CLEARING) == {}
    assert desk.book.holders() == []

    short = desk.ledger.call.short()
    broke = case.cash(case.poor)
    assert (broke < 0) == (stop is not forsaken)
    assert short == max(-broke - case.cash(INSURANCE), 0) == desk.book.short
    held = desk.ledger.call.tokens_held()
    left = 0
    for account, key in list(case.owners.items())[::order]:
        cash = case.cash(account)
        if cash > 0:
            desk.withdraw(account, cash, key, NOTHING)
            assert case.cash(account) == 0
            paid = system.token.call.balanceOf(key.address)
            assert 0 <= paid - cash * held // (held + short) <= left
            left += 1
        elif cash < 0 and order > 0:
            before = desk.ledger.call.short()
            system.takeover.send.absorb(case.poor, sender=case.stranger)
            assert desk.ledger.call.short() == before
    if case.cash(case.poor) < 0:
        system.takeover.send.absorb(case.poor, sender=case.stranger)
    assert desk.ledger.call.tokens_held() == case.cash(INSURANCE) + case.cash(SHORTFALL) + case.cash(4)
    assert short == 0 or desk.ledger.call.tokens_held() <= left


def test_threat_21__live__nobody_needs_an_exit() -> None:
    case = World()
    refused = reason(case.desk.system.settlement.send.begin_exit, BTC, sender=case.stranger)
    assert refused == "settlement: oracle is live"
    free = case.desk.margin(case.rich)[4]
    case.desk.withdraw(case.rich, free, case.desk.keys[4])
