"""Takeovers: who may be auctioned when, what it costs, who pays, and what is left when nobody can."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aftermath import BTC, BTC_PERP, INSURANCE, SHORTFALL, Aftermath, dollars
from desk import NOTHING, policy_with, reason

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Receipt
from offchain.config import HOURLY
from offchain.oracle.headers import DISPUTED

ZERO = "0x" + "00" * 20
T = HOURLY.auction


class Auction(Aftermath):
    """The long account holds 40 BTC lots on 110 dollars, and the price fell. `taker` is a keeper's, with cash."""

    def __init__(self, price: int = 9_000, called: bool = True, insurance: int = 1_000, **opening: Any) -> None:
        super().__init__(110, **opening)
        desk = self.desk
        desk.pay(self.short, dollars(10**6), self.short_key)
        self.trade(BTC_PERP, 40)
        self.keeper = desk.keys[4]
        self.taker = desk.fund(self.keeper, 10_000)
        self.account = self.long
        if insurance:
            desk.pay(INSURANCE, dollars(insurance) - self.cash(INSURANCE), desk.keys[7])
        self.takeover = desk.system.takeover
        self.move(BTC, price)
        if called:
            desk.liquidator.send.margin_call(self.account, self.witness(), sender=self.stranger)
            self.post()

    def witness(self) -> Any:
        return self.desk.witness(self.account)

    def start(self) -> Receipt:
        return self.takeover.send.start(self.account, self.witness(), sender=self.stranger)

    def quote_now(self) -> tuple[int, int, int]:
        return self.takeover.call.quote(self.account, self.witness())  # type: ignore[no-any-return]

    def needed(self) -> int:
        """Top-up that makes the account HEALTHY after insurance and shortfall paid in."""
        _, insurance, shortfall = self.quote_now()
        return max(-self.desk.margin(self.account)[4] - insurance - shortfall, 0)

    def bid(self, witness: Any = None, sender: Any = None, **changes: Any) -> Receipt:
        """An honest bid at no limit, unless `changes` say otherwise."""
        state = self.desk.ledger.call.account(self.account)
        fields = {
            "account": self.account, "version": state[1], "position_hash": state[5], "limit": 2**100,
            "taker": self.taker, "top_up": None,
        } | changes  # fmt: skip
        if fields["top_up"] is None:
            fields["top_up"] = self.needed()
        return self.takeover.send.take_over(
            tuple(fields.values()), self.witness() if witness is None else witness, sender=sender or self.keeper
        )

    def hours(self, count: int) -> None:
        """Oracle-live time goes by."""
        for _ in range(count):
            self.post()


@pytest.fixture
def case() -> Auction:
    return Auction()


# Start and end


def test_start__legs_were_not_taken_up(case: Auction) -> None:
    desk = case.desk
    pv, _, _, mm, _ = desk.margin(case.account)
    assert mm < 0 < pv
    receipt = case.start()
    assert receipt.event("AuctionStarted").args == {
        "account": case.account, "epoch": desk.epoch, "live": case.live(), "margin": desk.margin(case.account),
    }  # fmt: skip
    assert case.takeover.call.auction(case.account) == (True, case.live(), desk.chain.timestamp // 3600 * 3600)
    assert reason(case.start) == "takeover: auction is on"


def test_start__legs_come_first() -> None:
    """Not before the account was called, and the penalty on legs rose to its most."""
    case = Auction(called=False, policy=policy_with(phi_ramp=2 * 3600))
    assert reason(case.start) == "takeover: legs come first"
    case.desk.liquidator.send.margin_call(case.account, case.witness(), sender=case.stranger)
    case.post()
    assert reason(case.start) == "takeover: legs come first"
    case.post()
    case.start()


def test_start__nearly_bankrupt__at_once() -> None:
    """Worth less than a tenth of its requirement, on either side of zero."""
    for price in (7_300, 7_200):
        case = Auction(price, called=False)
        pv, risk, closeout, _, _ = case.desk.margin(case.account)
        assert pv < (risk + closeout) // 10
        case.start()
        assert case.takeover.call.auction(case.account)[0]


def test_start__refused(case: Auction) -> None:
    desk, send = case.desk, case.takeover.send
    healthy = reason(send.start, case.short, desk.witness(case.short), sender=case.stranger)
    assert healthy == "takeover: account is above maintenance margin"
    assert reason(send.start, INSURANCE, NOTHING, sender=case.stranger) == "takeover: reserved account"
    stale = desk.by_leaf(case.short)
    assert reason(send.start, case.account, stale, sender=case.stranger) == "witness: foreign account"
    desk.marks[BTC] = replace(desk.marks[BTC], status=DISPUTED)
    case.post()
    assert reason(case.start) == "takeover: underlying is not live"
    case.wait(HOURLY.max_age + 3601)
    assert reason(case.start) == "takeover: oracle is not fresh"


def test_end__only_above_maintenance_margin(case: Auction) -> None:
    end, witness = case.takeover.send.end, case.witness()
    assert reason(end, case.account, witness, sender=case.stranger) == "takeover: no auction"
    case.start()
    refused = reason(end, case.account, witness, sender=case.stranger)
    assert refused == "takeover: account is below maintenance margin"
    case.desk.pay(case.account, -case.desk.margin(case.account)[3] - 1, case.stranger)
    refused = reason(end, case.account, witness, sender=case.stranger)
    assert refused == "takeover: account is below maintenance margin"
    case.desk.pay(case.account, 1, case.stranger)
    assert reason(case.bid, top_up=0) == "takeover: account is above maintenance margin"
    receipt = end(case.account, witness, sender=case.stranger)
    assert receipt.event("AuctionEnded").args == {"account": case.account, "epoch": case.desk.epoch}
    assert case.takeover.call.auction(case.account) == (False, 0, 0)


# Price


def test_price__falls_with_live_time__then_insurance_pays_in(case: Auction) -> None:
    """0.95 of PV down to nothing over the auction, then an incentive less PV, up to a tenth of the requirement."""
    case.start()
    pv, risk, closeout, _, _ = case.desk.margin(case.account)
    for elapsed in range(0, T + 1, 3600):
        assert case.quote_now() == (pv * 9_500 * (T - elapsed) // (10_000 * T), 0, 0)
        case.post()
    cap = (risk + closeout) // 10
    for elapsed in range(3600, T + 1, 3600):
        assert case.quote_now() == (0, max(cap * elapsed // T - pv, 0), 0)
        case.post()
    assert case.quote_now() == (0, max(cap - pv, 0), 0)


@pytest.mark.parametrize("price", [7_250, 6_900])
def test_price__bankrupt__insurance_pays_the_debt_and_a_capped_incentive(price: int) -> None:
    case = Auction(price, called=False)
    pv, risk, closeout, _, _ = case.desk.margin(case.account)
    debt = max(-pv, 0)
    case.start()
    assert case.quote_now()[1:] == (debt, 0)
    case.hours(T // 3600)
    assert case.quote_now() == (0, debt, 0)
    case.hours(T // 3600 + 3)
    assert case.quote_now() == (0, debt + max((risk + closeout) // 10 - max(pv, 0), 0), 0)


def test_price__insurance_runs_dry__the_debt_is_shortfall_and_the_incentive_falls_away() -> None:
    case = Auction(6_900, called=False, insurance=0)
    case.desk.pay(INSURANCE, dollars(5), case.stranger)
    funds, debt = case.cash(INSURANCE), -case.desk.margin(case.account)[0]
    assert debt > funds
    case.start()
    assert case.quote_now() == (0, funds, debt - funds)
    case.hours(2 * T // 3600)
    assert case.quote_now() == (0, funds, debt - funds)


# Taking over


def test_take_over__account_changes_hands_and_the_price_goes_to_an_heir(case: Auction) -> None:
    desk, account = case.desk, case.account
    case.start()
    case.post()
    before = desk.margin(account)
    price, _, _ = case.quote_now()
    top_up = case.needed()
    had = {a: case.cash(a) for a in (account, case.taker, INSURANCE)}
    heir = desk.ledger.call.next_account()
    state = desk.ledger.call.account(account)
    receipt = case.bid(limit=price)
    after = (before[0] + top_up, before[1], before[2], before[3] + top_up, before[4] + top_up)
    assert receipt.event("TakenOver").args == {
        "account": account, "previous": case.long_key.address, "owner": case.keeper.address, "heir": heir,
        "price": price, "insurance": 0, "shortfall": 0, "top_up": top_up, "before": before, "after": after,
    }  # fmt: skip
    now = desk.ledger.call.account(account)
    assert (now[0], now[1], now[5]) == (case.keeper.address, state[1] + 1, state[5])
    assert case.cash(account) == had[account] + top_up
    assert case.cash(case.taker) == had[case.taker] - price - top_up
    assert case.cash(INSURANCE) == had[INSURANCE]
    assert desk.ledger.call.account(heir)[:3] == (case.long_key.address, 0, price)
    assert desk.margin(account) == after
    assert after[4] == 0
    assert desk.book.positions(account) == {BTC_PERP: 40}
    assert receipt.event("CallCleared").args["account"] == account  # its new owner begins without a call
    assert desk.liquidator.call.called_at(account) == (False, 0)
    desk.withdraw(heir, price, case.long_key, NOTHING)
    assert reason(case.bid, top_up=0) == "takeover: account is above maintenance margin"


def test_take_over__for_nothing__opens_no_account(case: Auction) -> None:
    case.start()
    case.hours(T // 3600)
    before = case.desk.ledger.call.next_account()
    assert case.bid(limit=0).event("TakenOver").args["heir"] == 0
    assert case.desk.ledger.call.next_account() == before


def test_take_over__bankrupt__insurance_then_shortfall() -> None:
    case = Auction(6_900, called=False, insurance=0)
    desk = case.desk
    desk.pay(INSURANCE, dollars(5), case.stranger)
    funds, debt = case.cash(INSURANCE), -desk.margin(case.account)[0]
    case.start()
    args = case.bid(limit=-debt).event("TakenOver").args
    assert (args["price"], args["insurance"], args["shortfall"]) == (0, funds, debt - funds)
    assert (case.cash(INSURANCE), case.cash(SHORTFALL)) == (0, funds - debt)
    assert desk.margin(case.account)[4] == 0
    assert desk.margin(case.account)[0] == args["top_up"]
    desk.pay(INSURANCE, dollars(3), case.stranger)
    receipt = case.takeover.send.repay_shortfall(sender=case.stranger)
    assert receipt.event("ShortfallRepaid").args == {"amount": dollars(3)}
    assert (case.cash(INSURANCE), case.cash(SHORTFALL)) == (0, funds - debt + dollars(3))
    assert reason(case.takeover.send.repay_shortfall, sender=case.stranger) == "takeover: nothing to repay"


def test_take_over__bad_bids__revert(case: Auction) -> None:
    desk = case.desk
    assert reason(case.takeover.call.quote, case.account, case.witness()) == "takeover: no auction"
    case.start()
    price, _, _ = case.quote_now()
    assert reason(case.bid, version=1) == "takeover: another version"
    assert reason(case.bid, position_hash=bytes(32)) == "takeover: positions have changed"
    assert reason(case.bid, limit=price - 1) == "takeover: price beyond the limit"
    assert reason(case.bid, top_up=case.needed() - 1) == "takeover: account must end healthy"
    assert reason(case.bid, top_up=2**127) == "takeover: top-up out of range"
    assert reason(case.bid, sender=case.stranger) == "takeover: not the taker's owner"
    assert reason(case.bid, taker=case.account, sender=case.long_key) == "takeover: one account on both sides"
    assert reason(case.bid, taker=case.short, sender=case.short_key) == "takeover: taker has positions"
    poor = desk.fund(case.keeper, 1)
    assert reason(case.bid, taker=poor) == "takeover: taker has not enough cash"
    assert reason(case.bid, account=INSURANCE, witness=NOTHING) == "takeover: reserved account"
    case.bid()


def test_take_over__positions_changed_meanwhile__named_hash_protects(case: Auction) -> None:
    """The owner closes a lot after the taker looked: what it signed for is gone."""
    desk = case.desk
    case.start()
    old = desk.ledger.call.account(case.account)[5]
    desk.trade(case.short, case.account, BTC_PERP, 1)
    assert reason(case.bid, position_hash=old) == "takeover: positions have changed"
    case.bid()


# Debts of empty accounts


def test_absorb__an_empty_account_in_debt(case: Auction) -> None:
    desk, absorb = case.desk, case.takeover.send.absorb
    assert reason(absorb, INSURANCE, sender=case.stranger) == "takeover: reserved account"
    assert reason(absorb, case.account, sender=case.stranger) == "takeover: account has positions"
    assert reason(absorb, case.taker, sender=case.stranger) == "takeover: account has no debt"
    broke = Auction(6_900, called=True, insurance=0)
    desk = broke.desk
    desk.pay(INSURANCE, dollars(2), broke.stranger)
    funds = broke.cash(INSURANCE)
    desk.liquidate(broke.account, broke.taker, {BTC_PERP: 40}, broke.keeper)
    debt = -broke.cash(broke.account)
    assert debt > funds
    assert desk.liquidator.call.called_at(broke.account)[0]
    receipt = broke.takeover.send.absorb(broke.account, sender=broke.stranger)
    assert desk.liquidator.call.called_at(broke.account) == (False, 0)
    assert receipt.event("Absorbed").args == {
        "account": broke.account, "insurance": funds, "shortfall": debt - funds,
    }  # fmt: skip
    assert (broke.cash(broke.account), broke.cash(INSURANCE), broke.cash(SHORTFALL)) == (0, 0, funds - debt)


def test_deployment__addresses_and_length() -> None:
    desk = Aftermath().desk
    system, owner, code = desk.system, desk.keys[0], artifact("Takeover")

    def refused(*args: Any) -> str:
        return reason(desk.chain.deploy, code, system.ledger, system.oracle, *args, sender=owner)

    assert refused(ZERO, 3600) == "takeover: address is zero"
    assert refused(system.liquidator, 0) == "takeover: length out of range"
    assert refused(system.liquidator, 7 * 86_400 + 1) == "takeover: length out of range"
    assert system.takeover.call.length() == T
