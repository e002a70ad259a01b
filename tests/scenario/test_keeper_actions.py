"""The keeper end to end, with every action that it has: what it does is mined, the audit finds nothing wrong, and names
every fault that is planted in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from aftermath import BTC, BTC_PERP, ETH, ETH_PERP, INSURANCE, SHORTFALL, Aftermath, dollars
from audited import Audited
from desk import START

from offchain.audit.record import Record
from offchain.audit.result import Verification
from offchain.audit.verify import verify
from offchain.chain.backends import Receipt
from offchain.config import HOURLY
from offchain.instruments import Instrument, Kind
from offchain.keeper.bot import Keeper
from offchain.keeper.state import MarketState
from offchain.oracle.bundles import BundleStore
from offchain.oracle.headers import DISPUTED, PROVISIONAL, pack_settlement
from offchain.store.database import Database
from offchain.units import MICRO

EXPIRY = START + 40 * 3600
CALL = Instrument(BTC, Kind.CALL, EXPIRY, 10_000 * MICRO).id


class Flow(Aftermath):
    """A desk whose bundles are kept, and a keeper who reads them. The long account holds 40 BTC lots on 110 dollars.

    `capital` is the account's that takes legs, in dollars; the purse has 10,000.
    """

    desk_type = Audited

    def __init__(self, capital: int, instruments: Any = (BTC_PERP, ETH_PERP), **keeper: Any) -> None:
        self.feed: dict[str, int] = {}
        super().__init__(110, instruments)
        desk = self.desk
        assert isinstance(desk, Audited)
        self.audited = desk
        desk.pay(self.short, 10**12, self.short_key)
        key = desk.keys[4]
        legs, purse = desk.fund(key, capital), desk.fund(key, 10_000)
        self.bot = Keeper(MarketState(desk.system), legs, key, Database(), purse=purse, **keeper)

    def quote(self, **prices: int) -> None:
        super().quote(**self.feed | prices)

    def post(self, **changes: Any) -> Receipt:
        self.quote()
        self.desk.settlements = self.settlements  # type: ignore[attr-defined]
        return self.desk.post(**changes)

    def look(self) -> list[str]:
        """One look of the keeper: names of the events of the engines."""
        self.bot.state.follow(BundleStore(self.audited.folder))
        quiet = ("CashMoved", "PositionMoved", "FullyChecked")
        return [e.name for receipt in self.bot.look() for e in receipt.events if e.name not in quiet]

    def audit(self) -> Verification:
        return audit(self.audited.record())


def audit(record: Record) -> Verification:
    """The verification without the signatures, which have tests of their own and take longest."""
    with mock.patch("offchain.audit.verify.find_wrong", return_value={}):
        return verify(record)


def planted(record: Record, name: str, change: Callable[[dict[str, Any]], dict[str, Any]], **moves: Any) -> set[str]:
    """Kinds of mismatch after the last event of a name, and the moves before it in its transaction, were changed."""
    events = list(record.events)
    last = max(i for i, event in enumerate(events) if event.name == name)
    events[last] = replace(events[last], args=events[last].args | change(events[last].args))
    for i, event in enumerate(events):
        if event.tx_hash == events[last].tx_hash and event.name in moves:
            events[i] = replace(event, args=event.args | moves[event.name](event.args))
    return {m.kind for m in audit(replace(record, events=tuple(events))).mismatches}


def test_takeover__started__bid_for__taken_over__and_audited() -> None:
    """Its account for legs is poor, so it puts the account on auction and pays from its purse."""
    flow = Flow(1, min_profit=-dollars(1_000))
    flow.trade(BTC_PERP, 40)
    flow.post()
    assert flow.look() == []
    flow.move(BTC, 9_000)
    assert flow.look() == ["MarginCalled"]
    flow.post()
    assert flow.look() == ["AuctionStarted"]
    pv = flow.desk.margin(flow.long)[0]
    flow.bot.database = Database()  # a new keeper, so that it looks again under the same epoch
    names = flow.look()
    assert names[-2:] == ["TakenOver", "CallCleared"]
    assert flow.desk.ledger.call.account(flow.long)[0] == flow.desk.keys[4].address
    assert flow.desk.margin(flow.long)[4] == 0
    record = flow.audited.record()
    args = next(e.args for e in record.events if e.name == "TakenOver")
    assert args["price"] == pv * 95 // 100
    assert audit(record).mismatches == ()

    def dearer(move: dict[str, Any]) -> dict[str, Any]:
        return {"amount": move["amount"] + 1} if move["reason"] == 16 else {}

    assert "takeover" in planted(record, "TakenOver", lambda a: {"price": a["price"] + 1}, CashMoved=dearer)
    assert "takeover" in planted(record, "TakenOver", lambda a: {"insurance": 1})
    assert "auction" in planted(record, "AuctionStarted", lambda a: {"margin": (*a["margin"][:4], 0)})


def test_auction__owner_pays_in__the_keeper_ends_it() -> None:
    flow = Flow(1)
    flow.trade(BTC_PERP, 40)
    flow.post()
    flow.move(BTC, 9_000)
    flow.look()
    flow.post()
    assert flow.look() == ["AuctionStarted"]
    flow.desk.pay(flow.long, dollars(100), flow.long_key)
    assert flow.look() == ["CallCleared", "AuctionEnded"]
    assert not flow.desk.system.takeover.call.auction(flow.long)[0]
    assert flow.audit().mismatches == ()


def test_debt__taken__absorbed__and_repaid() -> None:
    """A keeper who takes bad debt leaves an account with nothing but a debt; insurance pays it when it can."""
    flow = Flow(10_000, bad_debt=True)
    flow.trade(BTC_PERP, 40)
    flow.post()
    flow.move(BTC, 6_500)
    assert flow.look() == ["MarginCalled", "Liquidated"]
    debt, funds = -flow.cash(flow.long), flow.cash(INSURANCE)
    assert debt > funds > 0
    assert flow.look() == ["Absorbed", "CallCleared"]
    assert (flow.cash(flow.long), flow.cash(SHORTFALL)) == (0, funds - debt)
    flow.desk.pay(INSURANCE, dollars(1_000), flow.stranger)
    assert flow.look() == ["ShortfallRepaid"]
    assert flow.cash(SHORTFALL) == 0
    record = flow.audited.record()
    assert audit(record).mismatches == ()
    assert "absorption" in planted(record, "Absorbed", lambda a: {"insurance": a["insurance"] + 1})


def test_expiry__price_proposed__final__settled__and_audited() -> None:
    flow = Flow(10_000, (BTC_PERP, ETH_PERP, CALL))
    flow.trade(CALL, 20)
    flow.post()
    flow.desk.reprice(BTC, dollars(11_000))
    while flow.desk.chain.timestamp < EXPIRY:
        flow.wait(max(EXPIRY - 7_200 - flow.desk.chain.timestamp, 1))
        flow.post()
    flow.settlements = [pack_settlement(BTC, EXPIRY, dollars(10_900))]
    flow.post()
    assert flow.look() == ["PriceProposed"]
    flow.settlements = []
    flow.post()
    assert flow.look() == []
    flow.post()
    assert "PriceFinal" in flow.look()
    before = {account: flow.cash(account) for account in (flow.long, flow.short)}
    if CALL in flow.desk.book.positions(flow.long):
        assert flow.look() == ["Settled", "Settled"]
        assert flow.cash(flow.long) == before[flow.long] + 20 * dollars(900) // 1_000
    assert flow.desk.book.positions(flow.long) == {}
    record = flow.audited.record()
    assert audit(record).mismatches == ()

    def more(move: dict[str, Any]) -> dict[str, Any]:
        return {"cash": move["cash"] + move["lots"]} if move["instrument"] == CALL else {}

    assert "settlement" in planted(record, "Settled", lambda a: {"price": a["price"] + 1}, PositionMoved=more)
    assert "settlement" in planted(record, "PriceFinal", lambda a: {"price": a["price"] + MICRO})


def test_stale__liquidated_by_fallback__and_audited() -> None:
    flow = Flow(10_000)
    flow.trade(BTC_PERP, 40)
    flow.post()
    flow.look()
    flow.wait(HOURLY.max_age + 1)
    flow.quote(btc=7_300)
    assert flow.look() == []  # too early
    flow.wait(HOURLY.fallback_delay)
    flow.quote(btc=7_300)
    assert flow.look() == ["FallbackLiquidated"]
    record = flow.audited.record()
    args = next(e.args for e in record.events if e.name == "FallbackLiquidated")
    assert args["penalty"] > args["reward"] > 0
    assert audit(record).mismatches == ()

    def paid(move: dict[str, Any]) -> dict[str, Any]:
        return {"amount": move["amount"] + 1} if move["reason"] in (2, 3) else {}

    def worth(a: dict[str, Any]) -> dict[str, Any]:
        return {"before": (a["before"][0] - 1, *a["before"][1:])}

    assert "fallback" in planted(record, "FallbackLiquidated", worth)
    assert "fallback" in planted(
        record, "FallbackLiquidated", lambda a: {"penalty": a["penalty"] + 2, "reward": a["reward"] + 1}, CashMoved=paid
    )
    assert "fallback" in planted(record, "FallbackLiquidated", lambda a: {"prices": ((BTC, dollars(7_299)),)})
    assert "fallback" in planted(record, "FallbackLiquidated", lambda a: {"phi": a["phi"] + 1})


def test_provisional__waits__then_acts() -> None:
    """A leap of the price says that a short account is under water: for an epoch the keeper waits."""
    flow = Flow(100_000, bad_debt=True)
    flow.desk.trade(flow.short, flow.long, BTC_PERP, 40)
    flow.post()
    flow.move(BTC, 21_000)
    assert flow.desk.system.oracle.call.mark(BTC) >> 72 & 255 == PROVISIONAL
    assert flow.look() == []
    flow.post()
    assert flow.look() == ["MarginCalled", "Liquidated"]
    assert flow.audit().mismatches == ()


def test_disputed__acts_where_both_say_so__and_audited() -> None:
    """One lot of ETH in a dispute does not shelter the bitcoin."""
    flow = Flow(10_000)
    flow.trade(BTC_PERP, 40)
    flow.trade(ETH_PERP, 1)
    flow.post()
    flow.feed = {"eth": 230}
    flow.move(BTC, 8_500)
    assert flow.desk.system.oracle.call.mark(ETH) >> 72 & 255 == DISPUTED
    assert flow.look() == ["FallbackLiquidated"]
    record = flow.audited.record()
    args = next(e.args for e in record.events if e.name == "FallbackLiquidated")
    assert args["disputed"]
    assert {key for key, _, _ in args["takes"]} == {BTC_PERP}
    assert audit(record).mismatches == ()
    assert "fallback" in planted(record, "FallbackLiquidated", lambda _: {"disputed": False})


@pytest.mark.parametrize("price", [9_000, 9_400])
def test_disputed__safe_by_one_of_both__waits(price: int) -> None:
    flow = Flow(10_000)
    flow.trade(BTC_PERP, 40)
    flow.post()
    flow.feed = {"btc": 18_400 - price}
    flow.move(BTC, price)
    assert flow.desk.system.oracle.call.mark(BTC) >> 72 & 255 == DISPUTED
    assert flow.look() == []
