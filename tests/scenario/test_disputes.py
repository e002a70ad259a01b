"""Accounts with a disputed underlying: liquidated where they are unsafe by index and by feed, at the better price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from aftermath import BTC, BTC_PERP, ETH, ETH_PERP, INSURANCE, Aftermath, dollars
from desk import reason
from test_fallback_engine import ROWS, Silence
from test_keeper_threats import seen

from offchain.keeper.decide import Liquidate, Wait, decide
from offchain.keeper.legs import Case
from offchain.oracle.headers import DISPUTED, PROVISIONAL
from offchain.risk.fallback import Place, is_unsafe_in_dispute, place, worth
from offchain.risk.portfolios import content_of

LOTS = 80
BOTH, INDEX_ONLY, FEED_ONLY = (9_000, 8_700), (9_000, 9_300), (9_400, 9_000)
"""Index and feed, dollars: where the account is unsafe."""


class Dispute(Silence):
    """The long account holds 80 BTC lots on 210 dollars; the index of BTC is now `mark`, its feed says `feed`."""

    def __init__(
        self, mark: int, feed: int, dollars: int = 210, trades: Mapping[int, int] = MappingProxyType({BTC_PERP: LOTS})
    ) -> None:
        Aftermath.__init__(self, dollars)
        desk = self.desk
        desk.pay(self.short, 10**12, self.short_key)
        for identifier, lots in trades.items():
            buyer, seller = (self.long, self.short) if lots > 0 else (self.short, self.long)
            desk.trade(buyer, seller, identifier, abs(lots))
        self.keeper, self.account = desk.keys[4], self.long
        self.taker = desk.fund(self.keeper, 10_000)
        self.fallback, self.feed = desk.system.fallback, feed
        self.post()
        assert desk.margin(self.account)[4] > 0
        self.move(BTC, mark)
        assert desk.system.oracle.call.mark(BTC) >> 72 & 255 == DISPUTED

    def quote(self, **prices: int) -> None:
        super().quote(**({"btc": self.feed} if hasattr(self, "feed") else {}) | prices)

    def places(self) -> dict[int, Place]:
        return {BTC: place(ROWS, 160_000, self.desk.marks[BTC].index, dollars(self.feed))}

    def judged(self, account: int) -> tuple[int, bool]:
        """Worth at the feed and verdict of the Python twin."""
        desk = self.desk
        content = content_of(account, dict(desk.book.positions(account)), desk.posted)
        cash = self.cash(account)
        return worth(content, cash, self.places()), is_unsafe_in_dispute(content, cash, self.places(), desk.params)

    def decided(self) -> list[object]:
        """What a keeper would do."""
        return list(decide(seen(self.desk, self.account, self.taker, statuses={BTC: DISPUTED}, places=self.places())))


def test_liquidate__unsafe_under_both__at_the_mark_if_that_is_better() -> None:
    case = Dispute(*BOTH)
    desk = case.desk
    value, unsafe = case.judged(case.account)
    pv, risk, closeout, _, _ = desk.margin(case.account)
    assert unsafe
    assert value < pv < risk + closeout
    assert reason(desk.liquidate, case.account, case.taker, {BTC_PERP: 10}, case.keeper) == (
        "liquidator: underlying is not live"
    )
    had = {a: case.cash(a) for a in (case.account, case.taker, INSURANCE)}
    args = case.take(10).event("FallbackLiquidated").args
    price = desk.posted[BTC_PERP].array[0]
    after = desk.margin(case.account)
    penalty = (risk + closeout - after[1] - after[2]) * 1_000 // 10_000
    assert args["disputed"]
    assert args["prices"] == ((BTC, dollars(8_700)),)
    assert args["takes"] == ((BTC_PERP, 10, price),)
    assert args["before"] == (value, risk, closeout, pv)
    assert args["after"] == (case.judged(case.account)[0], after[1], after[2], after[0])
    assert (args["penalty"], args["reward"]) == (penalty, penalty // 2)
    assert after[0] == pv - penalty
    assert after[3] > pv - risk - closeout
    assert args["after"][0] >= value - penalty
    assert case.cash(case.account) == had[case.account] + 10 * price - penalty
    assert case.cash(case.taker) == had[case.taker] - 10 * price + penalty // 2
    assert case.cash(INSURANCE) == had[INSURANCE] + penalty - penalty // 2


def test_liquidate__feed_is_better_for_the_account__at_the_feed() -> None:
    case = Dispute(8_700, 9_000)
    value, unsafe = case.judged(case.account)
    pv = case.desk.margin(case.account)[0]
    assert unsafe
    assert pv < value
    args = case.take(10).event("FallbackLiquidated").args
    assert args["takes"][0][2] == case.places()[BTC].value(case.desk.posted[BTC_PERP].array) + 1
    assert args["after"][0] + args["penalty"] >= value
    assert args["after"][3] + args["penalty"] > pv


def test_liquidate__short_account__gets_rid_of_lots_at_the_lower_price() -> None:
    for mark, feed in ((11_000, 11_400), (11_400, 11_000)):
        case = Dispute(mark, feed, trades={BTC_PERP: -LOTS})
        value, pv = case.judged(case.account)[0], case.desk.margin(case.account)[0]
        args = case.take(-10).event("FallbackLiquidated").args
        array = case.desk.posted[BTC_PERP].array
        assert args["takes"][0][2] == min(array[0], case.places()[BTC].value(array))
        assert args["after"][0] + args["penalty"] >= value
        assert args["after"][3] + args["penalty"] >= pv


@pytest.mark.parametrize(("mark", "feed"), [INDEX_ONLY, FEED_ONLY])
def test_liquidate__unsafe_under_one_only__is_refused(mark: int, feed: int) -> None:
    case = Dispute(mark, feed)
    value, unsafe = case.judged(case.account)
    pv, risk, closeout, _, _ = case.desk.margin(case.account)
    assert not unsafe
    assert min(value, pv) < risk + closeout
    assert reason(case.take, 1) == "fallback: account is above maintenance margin"
    decided = case.decided()
    assert not any(isinstance(each, Liquidate) for each in decided)


def test_liquidate__border__one_micro_usd_decides() -> None:
    for spared in (True, False):
        case = Dispute(8_700, 9_000)
        lacking = sum(case.desk.margin(case.account)[1:3]) - case.judged(case.account)[0]
        case.desk.pay(case.account, lacking - (not spared), case.stranger)
        if spared:
            assert reason(case.take, 1) == "fallback: account is above maintenance margin"
        else:
            case.take(1)


def test_liquidate__takes_no_more_than_restores_it_under_both() -> None:
    """What the keeper plans restores the account by the worse of both; a lot more is refused."""
    case = Dispute(*BOTH)
    desk = case.desk
    view = seen(desk, case.account, case.taker, statuses={BTC: DISPUTED}, places=case.places())
    thought = Case(view, view.accounts[0], fallback=True)
    least = next(n for n in range(1, LOTS) if thought.settled([(BTC_PERP, n)]).health >= 0)
    assert 1 < least < LOTS
    assert thought.settled([(BTC_PERP, least - 1)]).health < 0
    assert reason(case.take, least + 1) == "fallback: more than restores the account"
    args = case.take(least).event("FallbackLiquidated").args
    worst = min(args["after"][0], args["after"][3])
    assert worst >= -(-desk.params.im_factor * (args["after"][1] + args["after"][2]) // 10_000)
    assert reason(case.take, 1) == "fallback: account is above maintenance margin"


def test_liquidate__taker__must_end_healthy_under_both() -> None:
    case = Dispute(*BOTH)
    poor = case.desk.fund(case.keeper, 40)
    assert reason(case.take, 20, taker=poor) == "fallback: taker below initial margin"
    case.take(5, taker=poor)


def test_liquidate__feed_gone__its_legs_stay_and_the_others_go() -> None:
    case = Dispute(*BOTH, dollars=212, trades={BTC_PERP: LOTS, ETH_PERP: 1})
    case.desk.reprice(ETH, dollars(250))
    case.feed = 9_000  # BTC is live again, ETH in dispute
    case.quote = lambda **_: [  # type: ignore[method-assign,func-returns-value]
        case.feeds[u].send.set(dollars(p), case.desk.chain.timestamp, sender=case.desk.keys[0])
        for u, p in ((BTC, 9_000), (ETH, 200))
    ]
    case.post()
    assert [case.desk.system.oracle.call.mark(u) >> 72 & 255 for u in (BTC, ETH)] == [1, DISPUTED]
    case.feeds[ETH].send.set(dollars(200), case.desk.chain.timestamp - 7 * 86_400, sender=case.desk.keys[0])
    pv, risk, closeout, mm, _ = case.desk.margin(case.account)
    assert mm < 0
    assert reason(case.take, {ETH_PERP: 1}) == "fallback: feed is not usable"
    assert case.take(10).event("FallbackLiquidated").args["prices"] == ()


def test_liquidate__not_disputed_or_provisional__is_refused() -> None:
    case = Dispute(*BOTH, dollars=212, trades={BTC_PERP: LOTS, ETH_PERP: 1})
    case.desk.marks[ETH] = replace(case.desk.marks[ETH], status=PROVISIONAL)
    case.post()
    assert reason(case.take, 10) == "fallback: underlying is provisional"
    case.desk.marks[ETH] = replace(case.desk.marks[ETH], status=1)
    case.feed = 9_000
    case.post()
    assert reason(case.take, 10) == "fallback: too early"


def test_liquidate__grace_after_an_outage() -> None:
    case = Dispute(*BOTH)
    case.wait(30 * 86_400)
    case.post()
    assert reason(case.take, 10) == "fallback: grace after an outage"
    case.post()
    case.take(10)


def test_keeper__takes_what_pays__and_the_contract_accepts_it() -> None:
    """At the mark, above the feed, a lot costs the keeper more than its reward: it waits, and says so. Legs of a live
    underlying it takes."""
    case = Dispute(*BOTH)
    (wait,) = case.decided()
    assert isinstance(wait, Wait)
    assert wait.reason.startswith("taking legs in the dispute is worth -")

    case = Dispute(*BOTH, dollars=280, trades={BTC_PERP: LOTS, ETH_PERP: 175})
    (taken,) = case.decided()
    assert isinstance(taken, Liquidate)
    assert taken.fallback
    assert [i for i, _ in taken.takes] == [ETH_PERP]
    event = case.take(dict(taken.takes)).event("FallbackLiquidated").args
    assert event["reward"] == taken.reward
    assert event["takes"][0][2] == case.desk.posted[ETH_PERP].array[0]


def test_keeper__bad_debt__is_taken_at_the_better_price() -> None:
    case = Dispute(7_000, 6_700)
    (taken,) = case.decided()
    assert isinstance(taken, Liquidate)
    event = case.take(dict(taken.takes)).event("FallbackLiquidated").args
    assert event["reward"] == taken.reward == 0
