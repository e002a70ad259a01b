"""What an account's state, the oracle's and the guardian's word let an order do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aftermath import Aftermath
from desk import (
    BTC,
    BTC_FUTURE,
    BTC_PERP,
    BTC_TOKEN,
    ETH,
    ETH_PERP,
    NOTHING,
    PER_LOT,
    PRICE,
    Desk,
    Pair,
    content,
    margin,
    reason,
)
from tokens import Vault

from offchain.chain.artifacts import artifact
from offchain.risk.policy import Policy, default_policy
from offchain.units import MICRO

REDUCE = 2**255


@pytest.fixture
def pair() -> Pair:
    return Pair()


def narrow(**changes: int) -> Policy:
    """The default policy with other limits of the underlyings."""
    base = default_policy()
    return replace(base, underlyings=tuple(replace(each, **changes) for each in base.underlyings))


# Cancelling, reducing


def test_cancel__by_the_owner__voids_the_order(pair: Pair) -> None:
    desk = pair.desk
    maker, taker = pair.orders()
    desk.fill(maker, taker, lots=3)
    receipt = desk.house.send.cancel(maker.as_tuple(), sender=pair.seller_key)
    digest = maker.digest(desk.chain.chain_id, desk.house.address)
    assert receipt.event("Cancelled").args == {"account": pair.seller, "order": digest}
    assert desk.house.call.filled(digest) == 2**256 - 1
    assert reason(desk.fill, maker, taker, lots=1) == "house: order cancelled"
    desk.house.send.cancel(maker.as_tuple(), sender=pair.seller_key)
    assert reason(desk.fill, maker, taker, lots=1) == "house: order cancelled"


def test_cancel__by_another__reverts(pair: Pair) -> None:
    desk = pair.desk
    maker, taker = pair.orders()
    assert reason(desk.house.send.cancel, maker.as_tuple(), sender=pair.buyer_key) == "house: not the owner"
    desk.fill(maker, taker)


def test_threat_24__orders_of_a_previous_owner__do_nothing(pair: Pair) -> None:
    """Signed before the account changed hands, by a key or for an old version: all void, even back with its owner."""
    desk = pair.desk
    maker, taker = pair.orders()
    signed = {"maker_signature": desk.sign(maker)}
    desk.ledger.send.transfer_account(pair.seller, desk.keys[5].address, sender=pair.seller_key)
    assert reason(desk.fill, maker, taker, **signed) == "house: order for another version"
    assert reason(desk.house.send.cancel, maker.as_tuple(), sender=pair.seller_key) == "house: not the owner"
    desk.ledger.send.transfer_account(pair.seller, pair.seller_key.address, sender=desk.keys[5])
    assert reason(desk.fill, maker, taker, **signed) == "house: order for another version"


def test_reduce_only__shrinks_or_reverts(pair: Pair) -> None:
    desk = pair.desk
    maker, taker = pair.orders()
    for orders in ((replace(maker, salt=REDUCE), taker), (maker, replace(taker, salt=REDUCE | 7))):
        assert reason(desk.fill, *orders) == "house: order only reduces"
    desk.fill(maker, taker)
    back = desk.order(pair.seller, BTC_PERP, 12, PER_LOT[BTC], salt=REDUCE)
    other = desk.order(pair.buyer, BTC_PERP, -12, PER_LOT[BTC])
    assert reason(desk.fill, back, other, lots=11) == "house: order only reduces"
    desk.fill(back, other, lots=10)
    assert reason(desk.fill, back, other, lots=1) == "house: order only reduces"


# Contract wallets


def test_wallet__agrees_by_eip_1271__and_nothing_else_will_do(pair: Pair) -> None:
    desk = pair.desk
    key = desk.keys[6]
    wallet = desk.chain.deploy(artifact("mocks/Wallet"), key.address, sender=key)
    desk.ledger.send.transfer_account(pair.seller, wallet.address, sender=pair.seller_key)
    maker, taker = pair.orders()
    good = maker.sign(key, desk.chain.chain_id, desk.house.address)
    for long in (b"", b"\x07", bytes(959)):
        desk.fill(maker, taker, lots=1, maker_signature=long + good)
    stranger = maker.sign(desk.keys[7], desk.chain.chain_id, desk.house.address)
    for bad in (stranger, b"", good[:-1], bytes(100)):
        assert reason(desk.fill, maker, taker, maker_signature=bad) == "house: not signed by the owner"
    for answer in (1, 2, 3):
        wallet.send.set_answer(answer, sender=key)
        assert reason(desk.fill, maker, taker, maker_signature=good) == "house: not signed by the owner"
    wallet.send.set_answer(0, sender=key)
    data = desk.house.function("cancel").encode((maker.as_tuple(),))
    wallet.send.run(desk.house.address, data, sender=key)
    assert reason(desk.fill, maker, taker, lots=1, maker_signature=good) == "house: order cancelled"


# Opening risk


def test_pause__closing_goes_on(pair: Pair) -> None:
    desk, owner = pair.desk, pair.desk.keys[0]
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    desk.system.registry.send.pause(1, sender=owner)
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, 1) == "house: opening risk is paused"
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 2)
    desk.pay(pair.buyer, 5, pair.buyer_key)
    desk.post()
    desk.withdraw(pair.buyer, 5, pair.buyer_key)
    desk.system.registry.send.unpause(1, sender=owner)
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 1)


def test_delisted__close_only(pair: Pair) -> None:
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    desk.system.registry.send.delist([BTC_PERP], sender=desk.keys[0])
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, 1) == "house: close-only"
    assert reason(desk.trade, pair.seller, pair.buyer, BTC_PERP, 6) == "house: close-only"
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 5)
    desk.trade(pair.buyer, pair.seller, BTC_FUTURE, 1)


def test_position_limit__to_the_lot() -> None:
    """Half of a depth of 100 lots; what is held in all instruments counts, and closing is never refused."""
    pair = Pair(policy=narrow(depth=101, open_interest=10_000))
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 30)
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_FUTURE, 21) == "house: position limit"
    desk.trade(pair.buyer, pair.seller, BTC_FUTURE, 20)
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, 1) == "house: position limit"
    third = desk.fund(desk.keys[3], 10_000)
    assert reason(desk.trade, third, pair.seller, BTC_PERP, 1) == "house: position limit"
    desk.trade(third, pair.buyer, BTC_PERP, 1)  # the third opens, the buyer closes
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 29)


def test_open_interest_limit__of_the_underlying() -> None:
    """All longs of an underlying together: 40 of a depth of 100 lots. Passing a long on adds none."""
    pair = Pair(policy=narrow(depth=100, open_interest=40))
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 25)
    desk.trade(pair.buyer, pair.seller, BTC_FUTURE, 15)
    assert desk.ledger.call.open_interest(BTC) == 40
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, 1) == "house: open interest limit"
    desk.trade(pair.buyer, pair.seller, ETH_PERP, 2)
    assert desk.ledger.call.open_interest(ETH) == 2
    third = desk.fund(desk.keys[3], 10_000)
    desk.trade(third, pair.buyer, BTC_PERP, 10)
    assert desk.ledger.call.open_interest(BTC) == 40
    desk.trade(pair.seller, third, BTC_PERP, 10)
    assert desk.ledger.call.open_interest(BTC) == 30
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 15)
    assert desk.ledger.call.open_interest(BTC) == 15


# A stale oracle


def test_stale__only_what_shrinks_both_and_raises_no_requirement(pair: Pair) -> None:
    desk = pair.desk
    third = desk.fund(desk.keys[3], 10_000)
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 10)
    desk.trade(pair.seller, pair.buyer, BTC_FUTURE, 10)  # the future hedges the perpetual
    desk.trade(third, pair.seller, BTC_PERP, 5)
    desk.post()
    desk.chain.set_next_timestamp(desk.chain.timestamp + 10**6)
    desk.pay(pair.buyer, 5, pair.buyer_key)
    for buyer, seller, lots in ((pair.buyer, pair.seller, 1), (third, pair.buyer, 1), (pair.seller, third, 6)):
        assert reason(desk.trade, buyer, seller, BTC_PERP, lots) == "house: oracle is not fresh"
    refused = reason(desk.trade, pair.seller, pair.buyer, BTC_PERP, 1)  # shrinks, but the hedge goes
    assert refused == "house: must not raise the requirement"
    assert reason(desk.withdraw, third, 1, desk.keys[3]) == "house: oracle is not fresh"
    before = desk.margin(third)
    desk.trade(pair.seller, third, BTC_PERP, 5)
    assert desk.margin(third)[1] + desk.margin(third)[2] < before[1] + before[2]
    desk.withdraw(third, 1, desk.keys[3], NOTHING)


def test_halted__nothing_can_be_proven__deposits_go_on(pair: Pair) -> None:
    desk = pair.desk
    registry, oracle, owner = desk.system.registry, desk.system.oracle, desk.keys[0]
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    registry.send.propose_challenger(desk.keys[8].address, sender=owner)
    desk.chain.set_next_timestamp(desk.chain.timestamp + registry.call.delay())
    registry.send.enact_challenger(desk.keys[8].address, sender=owner)
    desk.post()
    oracle.send.halt(desk.epoch, sender=desk.keys[8])
    assert reason(desk.trade, pair.seller, pair.buyer, BTC_PERP, 1) == "house: instrument not proven"
    desk.pay(pair.buyer, 5, pair.buyer_key)


# Below initial margin


def test_threat_8__own_trades__cannot_spoil_a_liquidation_twice() -> None:
    """Below maintenance margin an owner changes its positions once an epoch; the second time in it is refused."""
    pair = Pair(dollars=840)
    desk = pair.desk
    desk.pay(pair.seller, 10**6 * MICRO, pair.seller_key)
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 400)
    desk.reprice(BTC, 9_000 * MICRO)
    desk.post()
    assert desk.margin(pair.buyer)[3] < 0
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 1)
    once = "house: one trade an epoch below initial margin"
    assert reason(desk.trade, pair.seller, pair.buyer, BTC_PERP, 1) == once
    keeper = desk.fund(desk.keys[4], 100_000)
    desk.liquidate(pair.buyer, keeper, {BTC_PERP: 10}, desk.keys[4])
    desk.pay(pair.buyer, 1, desk.keys[7])  # dust from a stranger changes no witness
    assert desk.house.call.check(pair.buyer, desk.by_checkpoint(pair.buyer)) == desk.margin(pair.buyer)
    desk.post()
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 1)


def test_threat_32__old_marks_and_far_prices(pair: Pair) -> None:
    """An epoch's mark serves no opening after `max_age`; no trade of any kind is beyond the band."""
    desk = pair.desk
    age = desk.system.oracle.call.max_age()
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    far = PER_LOT[BTC] // 2 + PER_LOT[BTC] // 20
    desk.chain.set_next_timestamp(desk.epoch * 3600 + age + 1)
    for sign in (1, -1):
        wash = reason(desk.trade, pair.seller, pair.buyer, BTC_PERP, 1, PER_LOT[BTC] + sign * (far + 1))
        assert wash == "house: price outside the band"
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, 1) == "house: oracle is not fresh"
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 1, PER_LOT[BTC] + far)


def test_threat_32__the_older_half_of_an_epoch__opens_no_risk(pair: Pair) -> None:
    """New risk asks for an epoch of half the age that counts as fresh; what shrinks does not."""
    desk = pair.desk
    young = desk.house.call.young_age()
    assert young == desk.system.oracle.call.max_age() // 2 == 3600
    desk.chain.set_next_timestamp(desk.epoch * 3600 + young)
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    desk.chain.set_next_timestamp(desk.epoch * 3600 + young + 1)
    assert reason(desk.trade, pair.buyer, pair.seller, BTC_PERP, 1) == "house: epoch too old for new risk"
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 1)


@pytest.mark.parametrize("fault", ["stale", "clamped", "apart"])
def test_threat_15__feed_stops_or_lies__opens_no_risk(fault: str) -> None:
    """The feed froze, sits at its least answer, or is far from the index: nobody opens risk in its underlying, all
    may close; the other underlying goes on."""
    case = Aftermath()
    desk = case.desk
    case.trade(BTC_PERP, 5)
    quoted = case.quote

    def quote(**prices: int) -> None:
        quoted(**prices)
        price, at = PRICE[BTC], desk.chain.timestamp
        if fault == "stale":
            at -= 3 * 3600 + 3601
        elif fault == "clamped":
            price = 0
        else:
            price = price * 104 // 100
        case.feeds[BTC].send.set(price, at, sender=desk.keys[0])

    case.quote = quote  # type: ignore[method-assign]
    case.post()
    wanted = "house: close-only" if fault == "apart" else "house: feed does not agree"
    assert reason(case.trade, BTC_PERP, 1) == wanted
    desk.trade(case.short, case.long, BTC_PERP, 2)
    desk.trade(case.long, case.short, ETH_PERP, 1)
    case.quote = quoted  # type: ignore[method-assign]
    case.post()
    case.trade(BTC_PERP, 1)


# Dollars borrowed against tokens


def test_quote_equity__tokens_count_for_margin__not_for_dollars() -> None:
    """1,000 dollars and ten times that in tokens: the margin of both, the dollars of one."""
    case = Vault(dollars=1_000)
    desk = case.desk
    case.give(case.buyer, 1_000)
    desk.pay(case.seller, 10**6 * MICRO, case.seller_key)
    desk.post()
    found = desk.house.call.check(case.buyer, desk.by_leaf(case.buyer))
    assert found == desk.margin(case.buyer)
    assert desk.content(case.buyer).collateral == 10_000 * MICRO
    assert found[0] == 11_000 * MICRO
    assert found[4] > 1_000 * MICRO
    assert desk.check_full(case.buyer).event("FullyChecked").args["margin"] == found
    desk.trade(case.buyer, case.seller, BTC_PERP, 2_000)  # needs far more margin than the dollars
    assert desk.house.call.check(case.buyer, desk.by_checkpoint(case.buyer)) == desk.margin(case.buyer)
    assert desk.margin(case.buyer)[4] > 0


def test_threat_7__dollars_withdrawn_or_lost_against_tokens() -> None:
    """Quote equity goes to nothing, and not below: by withdrawal, or by losing to one's own second account."""
    case = Vault(dollars=1_000)
    desk = case.desk
    case.give(case.buyer, 1_000)
    desk.post()
    assert reason(desk.withdraw, case.buyer, 1_000 * MICRO + 1, case.buyer_key) == "house: quote equity below zero"
    desk.withdraw(case.buyer, 900 * MICRO, case.buyer_key)
    assert desk.margin(case.buyer)[4] > 1_000 * MICRO
    dear = PER_LOT[BTC] + PER_LOT[BTC] // 2
    lost = reason(desk.trade, case.buyer, case.seller, BTC_PERP, 20, dear)
    assert lost == "house: quote equity below zero"
    desk.trade(case.buyer, case.seller, BTC_PERP, 19, dear)


def test_quote_equity__below_zero__must_get_better() -> None:
    """A loss in dollars while tokens are worth a lot: not HEALTHY, though far above initial margin."""
    case = Vault(dollars=200)
    desk = case.desk
    case.give(case.buyer, 10_000)
    desk.pay(case.seller, 10**6 * MICRO, case.seller_key)
    desk.post()
    desk.trade(case.buyer, case.seller, BTC_PERP, 1_000)
    desk.reprice(BTC, 9_700 * MICRO)
    desk.post()
    pv, *_, initial = desk.margin(case.buyer)
    assert initial > 0
    assert pv < desk.content(case.buyer).collateral
    assert reason(desk.withdraw, case.buyer, 1, case.buyer_key) == "house: quote equity below zero"
    again = reason(desk.trade, case.buyer, case.seller, BTC_PERP, 1)
    assert again == "house: must raise maintenance excess"
    desk.trade(case.seller, case.buyer, BTC_PERP, 1)
    once = reason(desk.trade, case.seller, case.buyer, BTC_PERP, 1)
    assert once == "house: one trade an epoch below initial margin"
    desk.pay(case.buyer, 200 * MICRO, case.buyer_key)
    desk.trade(case.buyer, case.seller, BTC_PERP, 1)


def owing(dollars: int = 200) -> tuple[Vault, int, int]:
    """An account with 100,000 dollars of tokens that lost 300 dollars it does not have; a keeper's account."""
    case = Vault(dollars=dollars)
    desk = case.desk
    case.give(case.buyer, 10_000)
    desk.pay(case.seller, 10**6 * MICRO, case.seller_key)
    desk.post()
    desk.trade(case.buyer, case.seller, BTC_PERP, 1_000)
    desk.reprice(BTC, 9_700 * MICRO)
    desk.post()
    owed = desk.content(case.buyer).collateral - desk.margin(case.buyer)[0]
    assert owed > 0
    return case, owed, desk.fund(desk.keys[4], 100_000)


def test_quote_equity__call__then_tokens_for_cash_after_the_cure() -> None:
    case, owed, keeper = owing()
    desk, account, key = case.desk, case.buyer, case.desk.keys[4]
    take = {BTC_TOKEN: 5}
    early = "liquidator: cure period is not over"
    assert reason(desk.liquidate, account, keeper, take, key) == early
    receipt = desk.liquidator.send.margin_call(account, desk.witness(account), sender=key)
    assert receipt.event("MarginCalled").args["deficit"] == owed
    assert reason(desk.liquidate, account, keeper, take, key) == early
    clear = reason(desk.liquidator.send.clear_call, account, desk.witness(account), sender=key)
    assert clear == "liquidator: quote equity below zero"
    desk.post()  # an hour on
    perpetual = reason(desk.liquidate, account, keeper, {BTC_PERP: 5}, key)
    assert perpetual == "liquidator: only tokens can be taken"
    desk.liquidate(account, keeper, take, key)
    for each in (account, keeper):
        assert desk.house.call.check(each, desk.by_checkpoint(each)) == desk.margin(each)
    owed = desk.content(account).collateral - desk.margin(account)[0]
    price = desk.posted[BTC_TOKEN].array[0]
    most = next(n for n in range(1, 100) if restores(desk, account, n))
    assert most >= owed // price
    assert (
        reason(desk.liquidate, account, keeper, {BTC_TOKEN: most + 1}, key)
        == "liquidator: more than restores the account"
    )
    receipt = desk.liquidate(account, keeper, {BTC_TOKEN: most}, key)
    assert receipt.event("CallCleared").args["account"] == account
    assert desk.content(account).collateral <= desk.margin(account)[0]
    healthy = reason(desk.liquidate, account, keeper, {BTC_TOKEN: 1}, key)
    assert healthy == "liquidator: account is above maintenance margin"


def restores(desk: Desk, account: int, lots: int) -> bool:
    """Whether quote equity is not negative once `lots` of tokens are taken and the penalty is paid."""
    phi = desk.liquidator.call.phi(account)
    book = desk.book
    held, cash = dict(book.positions(account)), book.accounts[account].cash
    before = margin(content(account, held, desk.posted), cash, desk.params)
    held[BTC_TOKEN] -= lots
    body = content(account, held, desk.posted)
    after = margin(body, cash + lots * desk.posted[BTC_TOKEN].array[0], desk.params)
    penalty = max(before[1] + before[2] - after[1] - after[2], 0) * phi // 10_000
    return after[0] - penalty >= body.collateral


def test_quote_equity__taker__may_not_owe_dollars_either() -> None:
    case, _, _ = owing()
    desk, account, key = case.desk, case.buyer, case.desk.keys[4]
    desk.liquidator.send.margin_call(account, desk.witness(account), sender=key)
    poor = desk.fund(key, 20)
    case.give(poor, 100)
    desk.post()
    refused = reason(desk.liquidate, account, poor, {BTC_TOKEN: 5}, key)
    assert refused == "liquidator: taker's quote equity below zero"
    desk.liquidate(account, poor, {BTC_TOKEN: 1}, key)


def test_grace__after_an_outage__not_for_the_bankrupt() -> None:
    """Two days without an epoch: for half an hour nobody that is worth something loses a leg."""
    pair = Pair(dollars=1_050)
    desk, key = pair.desk, pair.desk.keys[4]
    desk.pay(pair.seller, 10**6 * MICRO, pair.seller_key)
    broke = desk.fund(desk.keys[5], 840)
    for account in (pair.buyer, broke):
        desk.trade(account, pair.seller, BTC_PERP, 400)
    keeper = desk.fund(key, 100_000)
    desk.chain.set_next_timestamp(desk.chain.timestamp + 2 * 86_400)
    desk.chain.mine()
    desk.reprice(BTC, 7_500 * MICRO)
    desk.post()
    until = desk.system.oracle.call.grace_until()
    assert until > desk.chain.timestamp
    assert desk.margin(pair.buyer)[3] < 0 <= desk.margin(pair.buyer)[0]
    assert desk.margin(broke)[0] < 0
    assert reason(desk.liquidate, pair.buyer, keeper, {BTC_PERP: 5}, key) == "liquidator: grace after an outage"
    desk.liquidate(broke, keeper, {BTC_PERP: 5}, key)
    desk.chain.set_next_timestamp(until)
    desk.liquidate(pair.buyer, keeper, {BTC_PERP: 5}, key)
