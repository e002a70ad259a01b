"""The liquidator: margin calls, legs at the mark, the penalty and its shares, how much may be taken."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from desk import (
    BTC,
    BTC_FUTURE,
    BTC_PERP,
    ETH,
    ETH_PERP,
    INSURANCE,
    NOTHING,
    Pair,
    content,
    margin,
    option,
    policy_with,
    reason,
)

from offchain.oracle.headers import DISPUTED, PROVISIONAL
from offchain.units import MICRO

Five = tuple[int, int, int, int, int]


class Distress(Pair):
    """The buyer, `account`, is long BTC and below maintenance margin; `taker` has cash and belongs to a keeper."""

    def __init__(self, dollars: int = 840, price: int = 9_000, lots: int = 400, **opening: Any) -> None:
        super().__init__(dollars, **opening)
        desk = self.desk
        self.account = self.buyer
        desk.pay(self.seller, 10**6 * MICRO, self.seller_key)
        desk.trade(self.account, self.seller, BTC_PERP, lots)
        self.keeper = desk.keys[4]
        self.taker = desk.fund(self.keeper, 100_000)
        self.fall(price)

    def fall(self, price: int) -> None:
        self.desk.reprice(BTC, price * MICRO)
        self.desk.post()

    def take(self, legs: Mapping[int, int] | int, **changes: Any) -> Any:
        legs = {BTC_PERP: legs} if isinstance(legs, int) else legs
        return self.desk.liquidate(self.account, self.taker, legs, self.keeper, **changes)

    def expect(self, takes: Mapping[int, int], phi: int) -> tuple[Five, Five, int]:
        """Margin before, margin after takes and penalty, and the penalty, in plain integers."""
        desk, book = self.desk, self.desk.book
        cash, held = book.accounts[self.account].cash, dict(book.positions(self.account))
        before = margin(content(self.account, held, desk.posted), cash, desk.params)
        for identifier, lots in takes.items():
            cash += lots * desk.posted[identifier].array[0]
            held[identifier] -= lots
        left = {i: n for i, n in held.items() if n}
        pv, risk, closeout, mm, im = margin(content(self.account, left, desk.posted), cash, desk.params)
        fall = before[1] + before[2] - risk - closeout
        penalty = min(max(fall, 0) * phi // 10_000, max(before[0], 0))
        return before, (pv - penalty, risk, closeout, mm - penalty, im - penalty), penalty

    def most(self, phi: int = 1_000) -> int:
        """The most BTC perpetual lots that may be taken: the fewest that restore the account."""
        held = self.desk.book.positions(self.account)[BTC_PERP]
        return bisect_left(range(held), 0, lo=1, key=lambda n: self.expect({BTC_PERP: n}, phi)[1][4])


@pytest.fixture
def case() -> Distress:
    return Distress()


# Margin calls


def test_margin_call__below_initial_margin__starts_the_clock(case: Distress) -> None:
    desk, account = case.desk, case.account
    deficit = -desk.margin(account)[4]
    live = desk.system.oracle.call.clock()[2]
    assert desk.liquidator.call.called_at(account) == (False, 0)
    receipt = desk.liquidator.send.margin_call(account, desk.by_leaf(account), sender=desk.keys[9])
    assert receipt.event("MarginCalled").args == {
        "account": account, "epoch": desk.epoch, "live": live, "deficit": deficit,
    }  # fmt: skip
    assert desk.liquidator.call.called_at(account) == (True, live)
    again = reason(desk.liquidator.send.margin_call, account, desk.by_leaf(account), sender=desk.keys[9])
    assert again == "liquidator: already called"


def test_margin_call__refused(case: Distress) -> None:
    desk, call = case.desk, case.desk.liquidator.send.margin_call
    key = desk.keys[9]
    assert reason(call, case.seller, desk.by_leaf(case.seller), sender=key) == "liquidator: account is healthy"
    assert reason(call, case.taker, NOTHING, sender=key) == "liquidator: account is healthy"
    assert reason(call, case.account, desk.by_leaf(case.seller), sender=key) == "witness: foreign account"
    desk.marks[BTC] = replace(desk.marks[BTC], status=PROVISIONAL)
    desk.post()
    assert reason(call, case.account, desk.by_leaf(case.account), sender=key) == "liquidator: underlying is not live"
    desk.chain.set_next_timestamp(desk.chain.timestamp + 10**6)
    assert reason(call, case.account, desk.by_leaf(case.account), sender=key) == "liquidator: oracle is not fresh"


def test_clear_call__healthy_again__strikes_it_out(case: Distress) -> None:
    desk, account, key = case.desk, case.account, case.desk.keys[9]
    clear = desk.liquidator.send.clear_call
    assert reason(clear, account, desk.by_leaf(account), sender=key) == "liquidator: not called"
    desk.liquidator.send.margin_call(account, desk.by_leaf(account), sender=key)
    refused = reason(clear, account, desk.by_leaf(account), sender=key)
    assert refused == "liquidator: still below initial margin"
    desk.pay(account, -desk.margin(account)[4], desk.keys[7])
    receipt = clear(account, desk.by_leaf(account), sender=key)
    assert receipt.event("CallCleared").args == {"account": account, "epoch": desk.epoch}
    assert desk.liquidator.call.called_at(account) == (False, 0)


def test_phi__rises_with_live_time__from_least_to_most() -> None:
    """30 live minutes from 10 % to 60 %; an hour passes between epochs, of which at most `max_age` counts."""
    case = Distress(policy=policy_with(phi_ramp=4 * 3600))
    desk, account = case.desk, case.account
    assert desk.liquidator.call.phi(account) == 1_000
    desk.post()
    assert desk.liquidator.call.phi(account) == 1_000
    desk.liquidator.send.margin_call(account, desk.by_leaf(account), sender=desk.keys[9])
    assert desk.liquidator.call.phi(account) == 1_000
    for hours in range(1, 6):
        desk.post()
        assert desk.liquidator.call.phi(account) == min(1_000 + 5_000 * hours // 4, 6_000)
    before = desk.liquidator.call.phi(account)
    assert before == 6_000


def test_phi__does_not_rise_in_an_outage() -> None:
    case = Distress(policy=policy_with(phi_ramp=10 * 3600))
    desk, account = case.desk, case.account
    desk.liquidator.send.margin_call(account, desk.by_leaf(account), sender=desk.keys[9])
    desk.chain.set_next_timestamp(desk.chain.timestamp + 50 * 3600)
    desk.chain.mine()
    assert desk.liquidator.call.phi(account) == 1_000
    desk.post()
    counted = desk.system.oracle.call.max_age()
    assert desk.liquidator.call.phi(account) == 1_000 + 5_000 * counted // 36_000


# Legs


def test_liquidate__moves_the_leg_at_the_mark_and_shares_the_penalty(case: Distress) -> None:
    desk, account, taker = case.desk, case.account, case.taker
    before, after, penalty = case.expect({BTC_PERP: 5}, 1_000)
    assert before[3] < 0 < before[0]
    reward = penalty // 2
    cash = {a: desk.ledger.call.account(a)[2] for a in (account, taker, INSURANCE)}
    receipt = case.take(5)
    price = desk.posted[BTC_PERP].array[0]
    assert receipt.event("Liquidated").args == {
        "account": account,
        "taker": taker,
        "epoch": desk.epoch,
        "before": before,
        "after": after,
        "taker_after": desk.margin(taker),
        "phi": 1_000,
        "penalty": penalty,
        "reward": reward,
        "extra": 0,
        "base_fee": 0,
        "takes": ((BTC_PERP, 5, price),),
    }
    assert receipt.event("PositionMoved").args["cash"] == 5 * price
    moved = [e.args for e in receipt.events if e.name == "CashMoved"]
    assert moved == [
        {"giver": account, "taker": taker, "amount": reward, "reason": 3},
        {"giver": account, "taker": INSURANCE, "amount": penalty - reward, "reason": 2},
    ]
    assert desk.margin(account) == after
    assert desk.ledger.call.account(account)[2] == cash[account] + 5 * price - penalty
    assert desk.ledger.call.account(taker)[2] == cash[taker] - 5 * price + reward
    assert desk.ledger.call.account(INSURANCE)[2] == cash[INSURANCE] + penalty - reward
    for each in (account, taker):
        assert desk.house.call.check(each, desk.by_checkpoint(each)) == desk.margin(each)
    assert desk.book.positions(taker) == {BTC_PERP: 5}


def test_liquidate__short_position__is_taken_short() -> None:
    case = Distress()
    desk = case.desk
    short = desk.fund(desk.keys[5], 120)
    desk.trade(case.seller, short, BTC_PERP, 40)
    case.fall(10_500)
    case.account = short
    before, after, _ = case.expect({BTC_PERP: -7}, 1_000)
    assert before[3] < 0
    event = case.take(-7).event("Liquidated").args
    assert event["takes"] == ((BTC_PERP, -7, desk.posted[BTC_PERP].array[0]),)
    assert event["after"] == after == desk.margin(short)
    assert desk.book.positions(case.taker) == {BTC_PERP: -7}


def test_liquidate__called_account__pays_more() -> None:
    case = Distress(policy=policy_with(phi_ramp=2 * 3600))
    desk, account = case.desk, case.account
    desk.liquidator.send.margin_call(account, desk.by_leaf(account), sender=desk.keys[9])
    desk.post()
    _, after, penalty = case.expect({BTC_PERP: 5}, 3_500)
    event = case.take(5).event("Liquidated").args
    assert (event["phi"], event["penalty"], event["after"]) == (3_500, penalty, after)


def test_liquidate__a_basket_over_underlyings() -> None:
    """Long and short legs of both underlyings in one go: one multiproof, one penalty on the fall of the whole."""
    call = option(BTC, 10_000)
    case = Distress(dollars=950, price=10_000, instruments=(BTC_PERP, ETH_PERP, BTC_FUTURE, call))
    desk = case.desk
    desk.trade(case.account, case.seller, call, 20)
    desk.trade(case.seller, case.account, ETH_PERP, 60)
    desk.trade(case.account, case.seller, BTC_FUTURE, 3)
    case.fall(8_800)
    takes = {BTC_PERP: 9, BTC_FUTURE: 3, call: 5, ETH_PERP: -11}
    before, after, penalty = case.expect(takes, 1_000)
    assert before[3] < 0
    event = case.take(takes).event("Liquidated").args
    assert (event["before"], event["after"], event["penalty"]) == (before, after, penalty)
    assert event["takes"] == tuple((i, takes[i], desk.posted[i].array[0]) for i in sorted(takes))
    for each in (case.account, case.taker):
        assert desk.house.call.check(each, desk.by_checkpoint(each)) == desk.margin(each)
    assert desk.book.positions(case.taker) == takes


def test_liquidate__up_to_the_lot_that_restores__and_no_further(case: Distress) -> None:
    """The border lot may be taken: with one less the account would be below initial margin. The next lot may not."""
    desk, most = case.desk, case.most()
    assert 1 < most < 399
    assert case.expect({BTC_PERP: most - 1}, 1_000)[1][4] < 0
    assert reason(case.take, most + 1) == "liquidator: more than restores the account"
    assert reason(case.take, 400) == "liquidator: more than restores the account"
    case.take(most)
    assert desk.margin(case.account)[4] >= 0


def test_liquidate__in_steps__ends_where_the_border_is(case: Distress) -> None:
    """After a partial take the rest is bounded by the same rule; a restored account is left alone."""
    first = case.most() // 2
    case.take(first)
    assert case.desk.margin(case.account)[3] < 0
    most = case.most()
    assert reason(case.take, most + 1) == "liquidator: more than restores the account"
    case.take(most)
    assert reason(case.take, 1) == "liquidator: account is above maintenance margin"


def test_liquidate__restored__clears_the_call(case: Distress) -> None:
    desk, account = case.desk, case.account
    desk.liquidator.send.margin_call(account, desk.by_leaf(account), sender=desk.keys[9])
    assert [e.name for e in case.take(1).events][-1] == "Liquidated"
    assert desk.liquidator.call.called_at(account)[0]
    receipt = case.take(case.most())
    assert receipt.event("CallCleared").args == {"account": account, "epoch": desk.epoch}
    assert desk.liquidator.call.called_at(account) == (False, 0)


def test_liquidate__dust__goes_whole() -> None:
    """Risk and close-out below 100 dollars: any amount, although less would restore it. Above, the border holds."""
    case = Distress(dollars=100, price=8_200, lots=35)
    before, after, _ = case.expect({BTC_PERP: 35}, 1_000)
    assert before[3] < 0 < before[0]
    assert before[1] + before[2] < 100 * MICRO
    assert case.most() < 35
    case.take(35)
    assert case.desk.margin(case.account) == after
    assert case.desk.book.positions(case.account) == {}
    same = Distress(dollars=100, price=8_200, lots=35, policy=policy_with(dust=before[1] + before[2]))
    assert reason(same.take, 35) == "liquidator: more than restores the account"


def test_liquidate__single_lot_account() -> None:
    """One lot is taken whole: one lot less would be no take at all."""
    case = Distress(dollars=28, price=2_000, lots=1, policy=policy_with(dust=0))
    assert case.desk.margin(case.account)[3] < 0 < case.desk.margin(case.account)[0]
    case.take(1)
    assert case.desk.margin(case.account)[4] >= 0


def test_liquidate__bankrupt__pays_no_penalty() -> None:
    case = Distress(price=7_500)
    desk = case.desk
    assert desk.margin(case.account)[0] < 0
    event = case.take(100).event("Liquidated").args
    assert (event["penalty"], event["reward"]) == (0, 0)
    assert event["after"] == desk.margin(case.account)
    case.take(300)
    assert desk.margin(case.account)[0] == desk.margin(case.account)[4] < 0


def test_liquidate__penalty__never_more_than_the_portfolio_is_worth() -> None:
    """Thirteen cents are left: they are the penalty, and the account ends at nothing, not below."""
    case = Distress(price=10_000)
    desk = case.desk
    cash = desk.ledger.call.account(case.account)[2]
    desk.reprice(BTC, (130_000 - cash) * 1_000 // 400)
    desk.post()
    assert desk.margin(case.account)[0] == 130_000
    event = case.take(300).event("Liquidated").args
    assert event["penalty"] == 130_000
    assert desk.margin(case.account)[0] == 0


def test_liquidate__take_that_does_not_make_safer__reverts() -> None:
    """The hedge alone: the requirement rises. With the leg that it hedges it may go."""
    case = Distress(price=10_000, instruments=(BTC_PERP, ETH_PERP, BTC_FUTURE))
    desk = case.desk
    desk.trade(case.seller, case.account, BTC_FUTURE, 200)
    case.fall(7_000)
    assert desk.margin(case.account)[3] < 0
    assert reason(case.take, {BTC_FUTURE: -5}) == "liquidator: must raise maintenance excess"
    case.take({BTC_PERP: 10, BTC_FUTURE: -5})


def test_liquidate__taker__must_end_above_initial_margin(case: Distress) -> None:
    desk = case.desk
    poor = desk.fund(case.keeper, 30)
    refused = reason(desk.liquidate, case.account, poor, {BTC_PERP: 5}, case.keeper)
    assert refused == "liquidator: taker below initial margin"
    desk.liquidate(case.account, poor, {BTC_PERP: 1}, case.keeper)
    assert desk.margin(poor)[4] >= 0


def test_liquidate__taker_with_positions__nets(case: Distress) -> None:
    """A taker that is short buys back: its position turns, its content stays that of all legs."""
    desk = case.desk
    desk.trade(case.seller, case.taker, BTC_PERP, 3)
    desk.trade(case.seller, case.taker, ETH_PERP, 3)
    case.take(3)
    assert desk.book.positions(case.taker) == {ETH_PERP: -3}
    assert list(desk.content(case.taker).vectors) == [ETH]
    case.take(2)
    assert desk.house.call.check(case.taker, desk.by_checkpoint(case.taker)) == desk.margin(case.taker)


def test_liquidate__bad_calls__revert(case: Distress) -> None:
    desk, keeper, seller = case.desk, case.keeper, case.seller
    liquidate = desk.liquidator.send.liquidate
    one = {BTC_PERP: 1}
    cases = [
        ((seller, case.taker, {BTC_PERP: -1}, keeper), {}, "liquidator: account is above maintenance margin"),
        ((case.account, case.taker, one, desk.keys[5]), {}, "liquidator: not the taker's owner"),
        ((case.account, case.account, one, case.buyer_key), {}, "liquidator: one account on both sides"),
        ((2, case.taker, one, keeper), {"witness": NOTHING}, "liquidator: reserved account"),
    ]
    for args, changes, wanted in cases:
        assert reason(desk.liquidate, *args, **changes) == wanted
    assert reason(case.take, 401) == "liquidator: more than the position"
    assert reason(case.take, -1) == "liquidator: more than the position"
    assert reason(case.take, {ETH_PERP: 1}) == "liquidator: more than the position"
    assert reason(case.take, {ETH_PERP: -1}) == "liquidator: more than the position"
    assert reason(case.take, 0) == "liquidator: empty take"
    assert reason(case.take, -(2**255)) == "liquidator: more than the position"
    assert reason(case.take, 2**255 - 1) == "liquidator: more than the position"
    witnesses = desk.by_leaf(case.account), desk.by_checkpoint(case.taker)
    none = reason(liquidate, case.account, case.taker, [], [], [], *witnesses, b"", sender=keeper)
    assert none == "liquidator: no takes"
    proof, flags = desk.multiproof([BTC_PERP])
    takes = [(*desk.leg(BTC_PERP), 1)]
    assert reason(case.take, 1, takes=takes * 2) == "liquidator: takes not ascending"
    meta, array = desk.leg(BTC_PERP)
    cheap = [(meta, [array[0] - 1, *array[1:]], 1)]
    assert reason(case.take, 1, takes=cheap) == "liquidator: takes not proven"
    assert reason(case.take, 1, proof=proof[:-1]) == "liquidator: takes not proven"
    assert reason(case.take, 1, flags=[1]) == "merkle: malformed multiproof"
    assert reason(case.take, 1, flags=[]) == "merkle: wrong number of flags"
    assert reason(case.take, 1, witness=desk.by_leaf(seller)) == "witness: foreign account"
    assert reason(case.take, 1, taker_witness=desk.by_leaf(seller)) == "witness: account has no positions"
    head, cost, words, path = desk.by_leaf(case.account)
    rosy = (head, cost, [words[0] - 10**6, *words[1:]], path)
    assert reason(case.take, 1, witness=rosy) == "witness: not proven"
    old = takes, proof
    case.fall(8_990)
    assert reason(case.take, 1, takes=old[0]) == "liquidator: takes not proven"
    case.take(1)


@pytest.mark.parametrize("status", [PROVISIONAL, DISPUTED])
def test_liquidate__underlying_not_live__reverts(status: int) -> None:
    """Not even for a leg of another underlying: the account is judged by all that it holds, and only by those."""
    case = Distress(dollars=860, price=10_000)
    desk = case.desk
    desk.trade(case.account, case.seller, ETH_PERP, 4)
    desk.marks[ETH] = replace(desk.marks[ETH], status=status)
    case.fall(9_000)
    assert desk.margin(case.account)[3] < 0
    assert reason(case.take, 1) == "liquidator: underlying is not live"
    desk.marks[ETH] = replace(desk.marks[ETH], status=1)
    desk.post()
    case.take({ETH_PERP: 4})
    desk.marks[ETH] = replace(desk.marks[ETH], status=status)
    desk.post()
    case.take(1)


def test_liquidate__stale_oracle__reverts(case: Distress) -> None:
    desk = case.desk
    desk.chain.set_next_timestamp(desk.chain.timestamp + 10**6)
    assert reason(case.take, 1) == "liquidator: oracle is not fresh"


def test_threat_8__deposits_do_not_spoil_a_liquidation(case: Distress) -> None:
    """The keeper's witness is signed and sent; a dust deposit and a stranger's come first. It still goes through."""
    desk = case.desk
    witness, taker_witness = desk.by_leaf(case.account), desk.by_checkpoint(case.taker)
    desk.pay(case.account, 1, case.buyer_key)
    desk.pay(case.account, 1, desk.keys[7])
    desk.pay(case.taker, 1, desk.keys[7])
    case.take(5, witness=witness, taker_witness=taker_witness)
    checkpoint = desk.by_checkpoint(case.account)
    desk.pay(case.account, 1, case.buyer_key)
    case.take(1, witness=checkpoint)
    assert desk.book.positions(case.account) == {BTC_PERP: 394}


def test_threat_8__a_deposit_that_cures__is_a_cure(case: Distress) -> None:
    desk = case.desk
    desk.pay(case.account, -desk.margin(case.account)[3], desk.keys[7])
    assert reason(case.take, 5) == "liquidator: account is above maintenance margin"
