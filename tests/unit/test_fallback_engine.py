"""Liquidation by fallback: when it opens, what it judges by, at what price legs change hands, who is paid."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from aftermath import BTC, BTC_FUTURE, BTC_PERP, ETH, ETH_PERP, INSURANCE, Aftermath, dollars
from desk import NOTHING, reason

from offchain.chain.artifacts import artifact
from offchain.config import HOURLY
from offchain.risk.fallback import is_liquidatable, place, worth
from offchain.risk.policy import default_policy
from offchain.risk.portfolios import content_of

ROWS = default_policy().rows
ZERO = "0x" + "00" * 20


class Silence(Aftermath):
    """The committee stopped while the long account was safe; the feed says that BTC is at `price`.

    `trades` are lots that the long account bought, in this order; `wait` is how long the oracle is stale.
    """

    def __init__(
        self,
        price: int = 7_300,
        dollars: int = 110,
        wait: int = HOURLY.fallback_delay,
        trades: Mapping[int, int] = MappingProxyType({BTC_PERP: 40}),
    ) -> None:
        super().__init__(dollars)
        desk = self.desk
        desk.pay(self.short, 10**12, self.short_key)
        for identifier, lots in trades.items():
            buyer, seller = (self.long, self.short) if lots > 0 else (self.short, self.long)
            desk.trade(buyer, seller, identifier, abs(lots))
        self.keeper = desk.keys[4]
        self.taker = desk.fund(self.keeper, 10_000)
        self.account = self.long
        self.post()
        assert desk.margin(self.account)[3] > 0
        self.wait(HOURLY.max_age + 1)
        self.since = desk.system.oracle.call.stale_since()
        self.wait_until(self.since + wait)
        self.price = price
        self.quote(btc=price)
        self.fallback = desk.system.fallback

    def take(self, lots: int | dict[int, int], **changes: Any) -> Any:
        desk = self.desk
        takes = {BTC_PERP: lots} if isinstance(lots, int) else lots
        ids = sorted(takes)
        proof, flags = desk.multiproof(ids)
        args: dict[str, Any] = {
            "account": self.account, "taker": self.taker, "takes": [(*desk.leg(i), takes[i]) for i in ids],
            "proof": proof, "flags": flags, "witness": None, "taker_witness": None, "sender": self.keeper,
        } | changes  # fmt: skip
        if args["witness"] is None:
            args["witness"] = desk.witness(args["account"])
        if args["taker_witness"] is None:
            args["taker_witness"] = desk.witness(args["taker"])
        sender = args.pop("sender")
        return self.fallback.send.liquidate(*args.values(), sender=sender)

    def twin(self, account: int) -> tuple[int, bool]:
        """Worth and verdict of the Python twin."""
        desk = self.desk
        content = content_of(account, dict(desk.book.positions(account)), desk.posted)
        places = {BTC: place(ROWS, 160_000, dollars(10_000), dollars(self.price)),
                  ETH: place(ROWS, 160_000, dollars(250), dollars(250))}  # fmt: skip
        cash = self.cash(account)
        return worth(content, cash, places), is_liquidatable(content, cash, places, desk.params)


@pytest.fixture
def case() -> Silence:
    return Silence()


def test_liquidate__legs_at_the_feeds_price__penalty_shared(case: Silence) -> None:
    desk = case.desk
    value, unsafe = case.twin(case.account)
    assert unsafe
    assert value >= 0
    pv, risk, closeout = desk.margin(case.account)[:3]
    had = {a: case.cash(a) for a in (case.account, case.taker, INSURANCE)}
    args = case.take(30).event("FallbackLiquidated").args
    price = place(ROWS, 160_000, dollars(10_000), dollars(case.price)).value(desk.posted[BTC_PERP].array)
    after = desk.margin(case.account)
    penalty = min((risk + closeout - after[1] - after[2]) * 1_000 // 10_000, value)
    reward = penalty // 2
    assert args["takes"] == ((BTC_PERP, 30, price),)
    assert args["before"] == (value, risk, closeout, pv)
    assert args["after"] == (case.twin(case.account)[0], after[1], after[2], after[0])
    assert not args["disputed"]
    assert args["prices"] == ((BTC, dollars(case.price)),)
    assert (args["phi"], args["penalty"], args["reward"]) == (1_000, penalty, reward)
    assert case.cash(case.account) == had[case.account] + 30 * price - penalty
    assert case.cash(case.taker) == had[case.taker] - 30 * price + reward
    assert case.cash(INSURANCE) == had[INSURANCE] + penalty - reward
    assert desk.book.positions(case.taker) == {BTC_PERP: 30}
    for account in (case.account, case.taker):
        assert desk.house.call.check(account, desk.by_checkpoint(account)) == desk.margin(account)


def test_liquidate__short_account__the_other_way() -> None:
    case = Silence(12_700, trades={BTC_PERP: -40})
    value, unsafe = case.twin(case.account)
    assert unsafe
    args = case.take(-40).event("FallbackLiquidated").args
    assert args["before"][0] == value
    assert args["takes"][0][1] == -40
    assert case.desk.book.positions(case.taker) == {BTC_PERP: -40}
    calm = Silence(10_000)
    assert not calm.twin(calm.account)[1]
    assert reason(calm.take, 1) == "fallback: account is worth its close-out"


def test_liquidate__opens_after_the_delay_and_not_while_live() -> None:
    early = Silence(wait=HOURLY.fallback_delay - 100)
    assert early.fallback.call.open_from() == early.since + HOURLY.fallback_delay
    assert reason(early.take, 10) == "fallback: too early"
    early.wait(120)
    early.take(10)
    early.post()
    assert early.fallback.call.open_from() == 2**256 - 1
    assert reason(early.take, 10) == "fallback: too early"


def test_liquidate__border__worth_its_close_out_is_spared() -> None:
    """One micro-USD decides."""
    case = Silence()
    value, _ = case.twin(case.account)
    closeout = case.desk.margin(case.account)[2]
    case.desk.pay(case.account, closeout - value, case.stranger)
    assert reason(case.take, 1) == "fallback: account is worth its close-out"
    less = Silence()
    less.desk.pay(less.account, closeout - value - 1, less.stranger)
    less.take(1)


def test_liquidate__bankrupt__pays_no_penalty() -> None:
    case = Silence(7_000)
    assert case.twin(case.account)[0] < 0
    args = case.take(40).event("FallbackLiquidated").args
    assert (args["penalty"], args["reward"]) == (0, 0)
    case.desk.system.takeover.send.absorb(case.account, sender=case.stranger)
    assert case.cash(case.account) == 0


def test_liquidate__taker__must_end_above_initial_margin(case: Silence) -> None:
    poor = case.desk.fund(case.keeper, 20)
    assert reason(case.take, 30, taker=poor) == "fallback: taker below initial margin"
    case.take(30)


def test_liquidate__hedge_alone__stays() -> None:
    """A take that makes the account riskier is refused; with the leg that it hedges it may go."""
    case = Silence(6_700, 138, trades={BTC_FUTURE: -24, BTC_PERP: 60})
    assert case.twin(case.account)[1]
    assert reason(case.take, {BTC_FUTURE: -5}) == "fallback: must make the account safer"
    case.take({BTC_PERP: 20, BTC_FUTURE: -5})


def test_peer__a_tiny_leg_with_a_stale_feed__blocks_no_liquidation() -> None:
    """At the strongest peer a leg of 1e-6 contracts with a stale feed makes a whole account unliquidatable. Here
    a leg of one lot whose feed is gone counts at its mark, and stays; the rest goes."""
    case = Silence(7_200, 112, trades={BTC_PERP: 40, ETH_PERP: 1})
    case.wait(3 * 3600 + 1)
    case.feeds[BTC].send.set(dollars(7_200), case.desk.chain.timestamp, sender=case.desk.keys[0])
    assert not case.desk.system.oracle.call.feed_price(ETH)[1]
    value, unsafe = case.twin(case.account)
    assert unsafe
    assert reason(case.take, {ETH_PERP: 1}) == "fallback: feed is not usable"
    case.take({BTC_PERP: 40})
    assert case.desk.book.positions(case.account) == {ETH_PERP: 1}


def test_liquidate__bad_calls__revert(case: Silence) -> None:
    desk = case.desk
    assert reason(case.take, 41) == "fallback: more than the position"
    assert reason(case.take, -1) == "fallback: more than the position"
    assert reason(case.take, {ETH_PERP: 1}) == "fallback: more than the position"
    assert reason(case.take, 0) == "fallback: empty take"
    assert reason(case.take, 1, takes=[]) == "fallback: no takes"
    leg = (*desk.leg(BTC_PERP), 1)
    assert reason(case.take, 1, takes=[leg, leg]) == "fallback: takes not ascending"
    meta, array = desk.leg(BTC_PERP)
    assert reason(case.take, 1, takes=[(meta, [array[0] - 1, *array[1:]], 1)]) == "fallback: takes not proven"
    assert reason(case.take, 1, account=2, witness=NOTHING) == "fallback: reserved account"
    assert reason(case.take, 1, account=case.taker, witness=NOTHING) == "fallback: one account on both sides"
    assert reason(case.take, 1, sender=case.stranger) == "fallback: not the taker's owner"
    assert reason(case.take, 1, witness=desk.witness(case.short)) == "witness: foreign account"
    case.take(1)


def test_deployment__addresses() -> None:
    desk = Aftermath().desk
    system, owner, code = desk.system, desk.keys[0], artifact("Fallback")
    refused = reason(desk.chain.deploy, code, system.ledger, system.oracle, ZERO, sender=owner)
    assert refused == "fallback: address is zero"
