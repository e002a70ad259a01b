"""The clearing house: deposits, withdrawals, trades by signed orders, and what a margin check lets through."""

from __future__ import annotations

from dataclasses import replace

import pytest
from desk import (
    BTC,
    BTC_FUTURE,
    BTC_PERP,
    ETH,
    ETH_PERP,
    INSURANCE,
    PER_LOT,
    START,
    Pair,
    leaf,
    margin,
    option,
    policy_with,
    reason,
)

from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO
from offchain.instruments import Instrument, Kind, Status
from offchain.oracle.headers import DISPUTED, PROVISIONAL
from offchain.units import MICRO, ceil_div

FEE = ceil_div(3 * PER_LOT[BTC], 10_000)
"""Fee of one BTC lot, 3 bp of 10 dollars, micro-USD; exact, so ten lots cost ten times as much."""
SOON = Instrument(BTC, Kind.FUTURE, START + 3 * 3600).id


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_wiring__zero_address__reverts(pair: Pair) -> None:
    deploy, key = pair.desk.chain.deploy, pair.desk.keys[0]
    one = pair.desk.ledger.address
    assert reason(deploy, artifact("ClearingHouse"), one, one, ZERO, sender=key) == "house: address is zero"
    assert reason(deploy, artifact("ClearingHouse"), ZERO, one, one, sender=key) == "engine: address is zero"
    assert reason(deploy, artifact("Liquidator"), one, ZERO, one, 2, sender=key) == "engine: address is zero"
    assert reason(deploy, artifact("Liquidator"), one, one, ZERO, 2, sender=key) == "cascade: address is zero"


# Deposits


def test_deposit__third_party__credits_the_account(pair: Pair) -> None:
    desk = pair.desk
    desk.pay(pair.buyer, 5, desk.keys[7])
    assert pair.cash(pair.buyer) == 10_000 * MICRO + 5
    desk.pay(INSURANCE, 9, desk.keys[7])
    assert pair.cash(INSURANCE) == 9
    assert desk.ledger.call.tokens_held() == 20_000 * MICRO + 14 == desk.book.tokens_held


def test_deposit__stale_oracle__accepted(pair: Pair) -> None:
    pair.desk.chain.set_next_timestamp(pair.desk.chain.timestamp + 10**6)
    pair.desk.pay(pair.buyer, 5, pair.buyer_key)
    assert pair.cash(pair.buyer) == 10_000 * MICRO + 5


# Trades


def test_trade__moves_lots_cash_and_fees(pair: Pair) -> None:
    desk = pair.desk
    price = PER_LOT[BTC] + 1_234
    maker, taker = pair.orders(price=price)
    receipt = desk.fill(maker, taker)
    assert desk.ledger.call.quantity(pair.buyer, BTC_PERP) == 10
    assert desk.ledger.call.quantity(pair.seller, BTC_PERP) == -10
    assert pair.cash(pair.buyer) == 10_000 * MICRO - 10 * price - 10 * FEE
    assert pair.cash(pair.seller) == 10_000 * MICRO + 10 * price - 10 * FEE
    assert pair.cash(INSURANCE) == 20 * FEE
    clearing, chain_id = desk.house.address, desk.chain.chain_id
    digests = maker.digest(chain_id, clearing), taker.digest(chain_id, clearing)
    assert receipt.event("Filled").args == {
        "maker": pair.seller,
        "taker": pair.buyer,
        "instrument": BTC_PERP,
        "maker_order": digests[0],
        "taker_order": digests[1],
        "maker_buys": False,
        "lots": 10,
        "price": price,
        "fee": 10 * FEE,
    }
    assert receipt.event("PositionMoved").args == {
        "giver": pair.seller,
        "taker": pair.buyer,
        "instrument": BTC_PERP,
        "lots": 10,
        "cash": 10 * price,
        "epoch": desk.epoch,
    }
    fees = [e.args for e in receipt.events if e.name == "CashMoved"]
    assert fees == [
        {"giver": a, "taker": INSURANCE, "amount": 10 * FEE, "reason": 1} for a in (pair.seller, pair.buyer)
    ]
    assert [desk.house.call.filled(d) for d in digests] == [10, 10]
    assert [desk.house.call.order_hash(o.as_tuple()) for o in (maker, taker)] == list(digests)
    assert desk.book.positions(pair.buyer) == {BTC_PERP: 10}


def test_trade__maker_buys__at_the_makers_price(pair: Pair) -> None:
    desk = pair.desk
    maker = desk.order(pair.buyer, BTC_PERP, 10, PER_LOT[BTC] + 5)
    taker = desk.order(pair.seller, BTC_PERP, -10, PER_LOT[BTC] - 5)
    assert desk.fill(maker, taker).event("Filled").args["maker_buys"] is True
    assert pair.cash(pair.seller) == 10_000 * MICRO + 10 * (PER_LOT[BTC] + 5) - 10 * FEE


@pytest.mark.parametrize("funding", [0, 3_000, -3_000])
def test_trade__perpetual__is_paid_less_funding(pair: Pair, funding: int) -> None:
    desk = pair.desk
    desk.reprice(BTC, 10_000 * MICRO, funding)
    desk.post()
    assert desk.posted[BTC_PERP].array[0] == PER_LOT[BTC] - funding
    maker, taker = pair.orders(price=PER_LOT[BTC])
    desk.fill(maker, taker)
    assert pair.cash(pair.buyer) == 10_000 * MICRO - 10 * (PER_LOT[BTC] - funding) - 10 * FEE
    assert desk.margin(pair.buyer)[0] == 10_000 * MICRO - 10 * FEE


def test_trade__future_and_option__are_paid_in_full(pair: Pair) -> None:
    desk = pair.desk
    desk.reprice(BTC, 10_000 * MICRO, 3_000)
    desk.post()
    for identifier in (BTC_FUTURE, option(BTC, 10_000)):
        before = pair.cash(pair.buyer)
        mark = desk.posted[identifier].array[0]
        desk.trade(pair.buyer, pair.seller, identifier, 7)
        assert pair.cash(pair.buyer) == before - 7 * mark - 7 * FEE


def test_fee__is_ceiled() -> None:
    pair = Pair(instruments=(ETH_PERP,))
    pair.desk.reprice(ETH, 250 * MICRO + 1)
    pair.desk.post()
    pair.desk.trade(pair.buyer, pair.seller, ETH_PERP, 1)
    assert pair.cash(INSURANCE) == 2 * ceil_div(3 * (250 * MICRO + 1), 10_000 * 100) == 2 * 751


def test_fee__zero_rate__moves_no_cash() -> None:
    pair = Pair(policy=policy_with(trade_fee=0))
    receipt = pair.desk.trade(pair.buyer, pair.seller, BTC_PERP, 1)
    assert [e.name for e in receipt.events] == ["PositionMoved", "Filled"]


def test_trade__stale_oracle__reverts(pair: Pair) -> None:
    desk = pair.desk
    maker, taker = pair.orders()
    age = desk.system.oracle.call.max_age()
    desk.chain.set_next_timestamp(desk.epoch * 3600 + age + 1)
    assert reason(desk.fill, maker, taker) == "house: oracle is not fresh"
    desk.chain.set_next_timestamp(desk.epoch * 3600 + age // 2)
    desk.fill(maker, taker)


@pytest.mark.parametrize("closing", ["close-only", "expired", "provisional", "disputed", "by the clock"])
def test_close_only__both_must_shrink(closing: str) -> None:
    """A position may fall to zero; it may not grow, open, or turn."""
    identifier = SOON if closing == "by the clock" else BTC_FUTURE
    pair = Pair(instruments=(identifier, ETH_PERP))
    desk, third_key = pair.desk, pair.desk.keys[3]
    third = desk.fund(third_key, 10_000)
    desk.trade(pair.buyer, pair.seller, identifier, 10)
    match closing:
        case "close-only" | "expired":
            status = Status.CLOSE_ONLY if closing == "close-only" else Status.EXPIRED
            desk.leaves[identifier] = leaf(identifier, status=status)
        case "provisional" | "disputed":
            status = PROVISIONAL if closing == "provisional" else DISPUTED
            desk.marks[BTC] = replace(desk.marks[BTC], status=status)
        case _:
            while desk.chain.timestamp < START + 3 * 3600:
                desk.post()
    desk.post()
    refused = [
        (pair.buyer, pair.seller, 1),  # both grow
        (third, pair.buyer, 1),  # one opens
        (pair.seller, third, 1),
        (pair.seller, pair.buyer, 11),  # both turn
    ]
    for buyer, seller, lots in refused:
        assert reason(desk.trade, buyer, seller, identifier, lots) == "house: close-only"
    desk.trade(pair.seller, pair.buyer, identifier, 4)
    desk.trade(pair.seller, pair.buyer, identifier, 6)
    assert desk.book.positions(pair.buyer) == {}
    if closing != "by the clock":
        desk.trade(pair.buyer, pair.seller, ETH_PERP, 1)  # the other underlying goes on


# What margin lets through


def test_healthy__must_end_healthy() -> None:
    """The last lot that fits is exactly on the border, found by the reference."""
    pair = Pair(dollars=100)
    desk = pair.desk

    def excess(lots: int) -> int:
        risk = lots * 1_600_000
        return 100 * MICRO - lots * FEE - ceil_div(12_500 * (risk + lots * 10_000 + 20 * MICRO), 10_000)

    most = max(n for n in range(1, 100) if excess(n) >= 0)
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, most + 1) == "house: below initial margin"
    desk.trade(pair.buyer, pair.seller, BTC_PERP, most)
    assert desk.margin(pair.buyer)[4] == excess(most) >= 0
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, 1) == "house: below initial margin"


def sink(pair: Pair, lots: int = 30) -> None:
    """Leave the buyer below initial margin: it holds `lots`, and the price has fallen."""
    desk = pair.desk
    desk.pay(pair.seller, 10_000 * MICRO, pair.seller_key)
    desk.trade(pair.buyer, pair.seller, BTC_PERP, lots)
    desk.reprice(BTC, 9_500 * MICRO)
    desk.post()
    assert desk.margin(pair.buyer)[4] < 0


def test_unhealthy__may_only_get_safer() -> None:
    pair = Pair(dollars=95)
    desk = pair.desk
    sink(pair)
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, 1) == "house: must raise maintenance excess"
    dear = reason(desk.trade, pair.seller, pair.buyer, BTC_PERP, 1, 9_500_000 - 2_000_000)
    assert dear == "house: must raise maintenance excess"
    before = desk.margin(pair.buyer)
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 1)
    after = desk.margin(pair.buyer)
    assert after[3] > before[3]
    assert before[4] < after[4] < 0
    refused = reason(desk.trade, pair.seller, pair.buyer, BTC_PERP, 29)
    assert refused == "house: one trade an epoch below initial margin"
    desk.post()
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 29)
    assert desk.margin(pair.buyer)[4] >= 0


def test_unhealthy__bargain_that_costs_initial_margin__reverts() -> None:
    """A lot bought so far below its mark that MM excess rises, but not by enough for the initial requirement."""
    pair = Pair(dollars=95)
    desk = pair.desk
    sink(pair)
    before, lots = desk.margin(pair.buyer), 1
    requirement = 1_520_000 + 9_500  # a lot's scan risk and close-out at 9,500 dollars
    assert desk.posted[BTC_PERP].c_long == 9_500
    gain = requirement + 100_000
    price = 9_500_000 - gain - 2_850
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, lots, price) == "house: must not lower initial excess"
    desk.trade(pair.buyer, pair.seller, BTC_PERP, lots, price - 300_000)
    after = desk.margin(pair.buyer)
    assert after[3] - before[3] == 400_000
    assert after[4] >= before[4]


# Withdrawals


def test_withdraw__down_to_the_border(pair: Pair) -> None:
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 50)
    desk.post()
    excess = desk.margin(pair.buyer)[4]
    refused = reason(desk.withdraw, pair.buyer, excess + 1, pair.buyer_key)
    assert refused == "house: below initial margin"
    held = desk.ledger.call.tokens_held()
    receipt = desk.house.send.withdraw(
        pair.buyer, excess, desk.keys[8].address, desk.by_leaf(pair.buyer), sender=pair.buyer_key
    )
    assert receipt.event("Withdrawal").args == {"account": pair.buyer, "to": desk.keys[8].address, "amount": excess}
    assert desk.margin(pair.buyer)[4] == 0
    assert desk.system.token.call.balanceOf(desk.keys[8].address) == excess
    assert desk.ledger.call.tokens_held() == held - excess == desk.book.tokens_held


def test_withdraw__cash_below_zero__as_far_as_the_portfolio_is_worth_it(pair: Pair) -> None:
    """An option bought and paid is worth something: its holder may owe cash against it, and stays HEALTHY."""
    desk = pair.desk
    call = option(BTC, 10_000)
    desk.pay(pair.seller, 10_000 * MICRO, pair.seller_key)
    desk.trade(pair.buyer, pair.seller, call, 5_000)
    desk.reprice(BTC, 13_000 * MICRO)
    desk.post()
    excess, cash = desk.margin(pair.buyer)[4], pair.cash(pair.buyer)
    assert excess > cash
    desk.withdraw(pair.buyer, cash + 1, pair.buyer_key)
    assert pair.cash(pair.buyer) == -1
    assert desk.margin(pair.buyer)[4] >= 0


def test_withdraw__without_positions__always_and_all(pair: Pair) -> None:
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 5)
    desk.chain.set_next_timestamp(desk.chain.timestamp + 10**6)
    cash = pair.cash(pair.buyer)
    assert reason(desk.withdraw, pair.buyer, cash + 1, pair.buyer_key) == "house: below initial margin"
    desk.withdraw(pair.buyer, cash, pair.buyer_key)
    assert pair.cash(pair.buyer) == 0


def test_withdraw__not_the_owner__reverts(pair: Pair) -> None:
    desk = pair.desk
    assert reason(desk.withdraw, pair.buyer, 1, pair.seller_key) == "house: not the owner"
    desk.pay(INSURANCE, 5, desk.keys[5])
    assert reason(desk.withdraw, INSURANCE, 1, pair.seller_key) == "house: not the owner"


def test_withdraw__bad_amount__reverts(pair: Pair) -> None:
    desk = pair.desk
    assert reason(desk.withdraw, pair.buyer, 0, pair.buyer_key) == "ledger: zero amount"
    for amount in (2**127, 2**256 - 1):
        assert reason(desk.withdraw, pair.buyer, amount, pair.buyer_key) == "house: amount out of range"


def test_withdraw__before_an_epoch_after_the_last_trade__reverts(pair: Pair) -> None:
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    assert reason(desk.withdraw, pair.buyer, 1, pair.buyer_key) == "house: no epoch since the last trade"
    desk.post()
    desk.withdraw(pair.buyer, 1, pair.buyer_key)


def test_withdraw__stale_or_not_live__reverts(pair: Pair) -> None:
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    desk.trade(pair.buyer, pair.seller, ETH_PERP, 5)
    desk.marks[ETH] = replace(desk.marks[ETH], status=PROVISIONAL)
    desk.post()
    assert reason(desk.withdraw, pair.buyer, 1, pair.buyer_key) == "house: underlying is not live"
    desk.marks[ETH] = replace(desk.marks[ETH], status=1)
    desk.post()
    desk.chain.set_next_timestamp(desk.chain.timestamp + 10**6)
    assert reason(desk.withdraw, pair.buyer, 1, pair.buyer_key) == "house: oracle is not fresh"


def test_kappa__credits_underlyings_that_move_together() -> None:
    """Long BTC, short ETH: the joint fall is less than the sum of falls, and a fifth of the difference is credited."""
    pair = Pair(instruments=(BTC_PERP, ETH_PERP))
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 100)
    desk.trade(pair.seller, pair.buyer, ETH_PERP, 400)
    desk.post()
    body, cash = desk.content(pair.buyer), pair.cash(pair.buyer)
    found = desk.house.call.check(pair.buyer, desk.by_leaf(pair.buyer))
    assert found == margin(body, cash, desk.params)
    apart = margin(body, cash, replace(desk.params, kappa=0))
    assert found[1] < apart[1]
