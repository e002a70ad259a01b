"""What collateral tokens must survive, each test named after its row in the list of threats."""

from __future__ import annotations

from typing import Any

import pytest
from desk import BTC, BTC_PERP, BTC_TOKEN, MICRO, PER_LOT, reason
from vaults import NOTHING, Pledge


@pytest.mark.parametrize("decimals", [6, 8, 18])
def test_threat_30__tokens_of_any_decimals__come_and_go(decimals: int) -> None:
    """A thousandth of a bitcoin is a lot at 6, 8 and 18 decimals; what is no whole lot is refused either way."""
    case = Pledge(decimals=decimals)
    desk = case.desk
    receipt = case.bring(250)
    assert receipt.event("TokensDeposited").args == {
        "account": case.owner, "instrument": BTC_TOKEN, "payer": case.owner_key.address, "lots": 250,
        "amount": 250 * case.lot, "epoch": 0,
    }  # fmt: skip
    assert case.held() == 250
    assert desk.content(case.owner).collateral == 2_500 * MICRO
    assert desk.house.call.check(case.owner, desk.by_checkpoint(case.owner)) == desk.margin(case.owner)
    assert reason(case.bring, 1, amount=case.lot - 1) == "collateral: no whole number of lots"
    assert reason(case.bring, 0) == "ledger: lots out of range"
    desk.post()
    assert reason(case.take, 1, amount=case.lot + 1) == "collateral: no whole number of lots"
    receipt = case.take(100)
    assert receipt.event("TokensWithdrawn").args["amount"] == 100 * case.lot
    assert case.coin.call.balanceOf(desk.keys[7].address) == 100 * case.lot
    assert desk.house.call.check(case.owner, desk.by_checkpoint(case.owner)) == desk.margin(case.owner)
    case.take(150)
    assert case.held() == 0
    desk.withdraw(case.owner, 10_000 * MICRO, case.owner_key, NOTHING)


def test_threat_30__token_with_a_fee__refused() -> None:
    case = Pledge(token="FeeToken", decimals=6)
    assert reason(case.bring, 100) == "ledger: token takes a fee"
    assert case.held() == 0


def test_threat_30__token_without_a_return_value__accepted() -> None:
    case = Pledge(token="NoReturnToken", decimals=6)
    case.bring(100)
    case.leave(40)
    assert case.held() == 60
    assert case.coin.call.balanceOf(case.desk.keys[7].address) == 40 * case.lot


def test_threat_30__token_that_says_no__refused() -> None:
    case = Pledge()
    case.bring(100)
    case.coin.send.refuse(True, sender=case.owner_key)
    assert reason(case.bring, 1) == "ledger: token transfer failed"
    assert reason(case.leave, 1) == "ledger: token transfer failed"
    assert case.held() == 100


def test_threat_30__token_that_calls_back__finds_every_engine_closed() -> None:
    case = Pledge(token="CallbackToken", decimals=6)
    desk = case.desk
    case.bring(100)
    mine = desk.ledger.send.open_account(case.coin.address, sender=case.owner_key).events[0].args["account"]
    collateral, house = desk.system.collateral, desk.house
    leg = case.leg()
    calls: list[tuple[Any, str, tuple[Any, ...]]] = [
        (collateral, "deposit", (mine, case.lot, *leg, NOTHING)),
        (collateral, "withdraw", (mine, case.lot, case.coin.address, *leg, NOTHING)),
        (collateral, "withdraw_unpledged", (mine, case.lot, case.coin.address, BTC_TOKEN, [BTC_TOKEN])),
        (house, "deposit", (mine, 5)),
        (house, "withdraw", (mine, 5, case.coin.address, NOTHING)),
        (desk.ledger, "transfer_account", (mine, case.owner_key.address)),
    ]
    for contract, name, args in calls:
        case.coin.send.hook(contract.address, contract.function(name).encode(args), sender=case.owner_key)
        assert reason(case.bring, 1) == "ledger: locked"
        assert reason(case.leave, 1) == "ledger: locked"
    assert case.held() == 100


def test_threat_8__a_deposit_of_tokens__spoils_no_liquidation() -> None:
    """The owner brings tokens just before he is liquidated: the liquidator's witness is stale, but the account's
    checkpoint serves him at once; and the owner can do so once an epoch only."""
    case = Pledge(dollars=200)
    desk = case.desk
    desk.trade(case.owner, case.other, BTC_PERP, 60)
    desk.reprice(BTC, 8_150 * MICRO)
    desk.post()
    assert desk.margin(case.owner)[3] < 0
    keeper = desk.fund(desk.keys[4], 100_000)
    before = desk.by_leaf(case.owner)
    case.bring(1)
    assert reason(case.bring, 1) == "house: one trade an epoch below initial margin"
    late = reason(desk.liquidate, case.owner, keeper, {BTC_PERP: 3}, desk.keys[4], witness=before)
    assert late == "witness: stale"
    desk.liquidate(case.owner, keeper, {BTC_PERP: 3}, desk.keys[4], witness=desk.by_checkpoint(case.owner))


def test_threat_7__dollars_are_not_borrowed_against_tokens__by_withdrawal() -> None:
    """Ten thousand dollars in tokens and 1,000 in cash: the cash may leave, and no more."""
    case = Pledge(dollars=1_000)
    desk = case.desk
    case.bring(1_000)
    desk.trade(case.owner, case.other, BTC_PERP, 1)
    desk.post()
    free = int(desk.margin(case.owner)[0] - desk.content(case.owner).collateral)
    assert desk.margin(case.owner)[4] > free > 0
    over = reason(desk.withdraw, case.owner, free + 1, case.owner_key)
    assert over == "house: quote equity below zero"
    desk.withdraw(case.owner, free, case.owner_key)


def test_threat_7__dollars_lost_to_a_second_account__are_taken_from_the_tokens() -> None:
    """He loses more dollars than he has, to a second account of his: no trade makes it happen, but the market may.
    After the cure period anybody takes his tokens, for cash, until he owes none."""
    case = Pledge(dollars=100)
    desk = case.desk
    case.bring(100)
    desk.trade(case.owner, case.other, BTC_PERP, 180)
    dear = PER_LOT[BTC] + PER_LOT[BTC] // 3
    lost = reason(desk.trade, case.owner, case.other, BTC_PERP, 40, dear)
    assert lost == "house: quote equity below zero"
    desk.reprice(BTC, 9_400 * MICRO)
    desk.post()
    pv, _, _, maintenance, _ = desk.margin(case.owner)
    owes = desk.content(case.owner).collateral - pv
    assert maintenance >= 0
    assert owes > 0
    keeper = desk.fund(desk.keys[4], 100_000)
    desk.liquidator.send.margin_call(case.owner, desk.witness(case.owner), sender=desk.keys[4])
    lots = -(-owes // desk.posted[BTC_TOKEN].array[0])
    early = reason(desk.liquidate, case.owner, keeper, {BTC_TOKEN: lots}, desk.keys[4])
    assert early == "liquidator: cure period is not over"
    desk.post()
    desk.liquidate(case.owner, keeper, {BTC_TOKEN: lots + 1}, desk.keys[4])
    assert desk.margin(case.owner)[0] >= desk.content(case.owner).collateral
    assert desk.ledger.call.quantity(keeper, BTC_TOKEN) == lots + 1
    assert case.held() == 100 - lots - 1
    desk.post()
    desk.system.collateral.send.withdraw_unpledged(
        keeper, lots * case.lot, desk.keys[4].address, BTC_TOKEN, [BTC_TOKEN], sender=desk.keys[4]
    )


def test_threat_21__tokens_can_leave__when_the_oracle_is_gone() -> None:
    """Years without an epoch: who holds tokens alone and owes nothing takes them."""
    case = Pledge()
    desk = case.desk
    case.bring(100)
    desk.chain.set_next_timestamp(desk.chain.timestamp + 10**8)
    desk.chain.mine()
    assert reason(case.take, 100) == "collateral: oracle is not fresh"
    case.leave(100)
    assert case.held() == 0
