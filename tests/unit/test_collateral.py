"""The collateral engine: who may bring and take tokens, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from desk import BTC, BTC_PERP, BTC_TOKEN, ETH, MICRO, reason
from tokens import Vault
from vaults import NOTHING, Pledge

from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO
from offchain.instruments import Instrument, Kind, Status
from offchain.oracle.headers import PROVISIONAL
from offchain.risk.portfolios import claim


@pytest.fixture
def case() -> Pledge:
    return Pledge()


def test_wiring__zero_address__reverts(case: Pledge) -> None:
    one, key = case.desk.ledger.address, case.desk.keys[0]
    deploy = case.desk.chain.deploy
    assert reason(deploy, artifact("Collateral"), one, one, ZERO, sender=key) == "collateral: address is zero"


def test_only_the_owner__moves_tokens(case: Pledge) -> None:
    case.bring(10)
    stranger = case.desk.keys[5]
    assert reason(case.bring, 1, key=stranger) == "collateral: not the owner"
    assert reason(case.take, 1, key=stranger) == "collateral: not the owner"
    assert reason(case.leave, 1, key=stranger) == "collateral: not the owner"


def test_deposit__paused_or_close_only__reverts(case: Pledge) -> None:
    desk, owner = case.desk, case.desk.keys[0]
    registry = desk.system.registry
    case.bring(10)
    registry.send.pause(2, sender=owner)
    assert reason(case.bring, 1) == "collateral: deposits are paused"
    case.leave(1)
    desk.post()
    registry.send.unpause(2, sender=owner)
    registry.send.delist([BTC_TOKEN], sender=owner)
    assert reason(case.bring, 1) == "collateral: token is close-only"
    case.leave(1)
    desk.post()
    registry.send.relist([BTC_TOKEN], sender=owner)
    case.bring(1)
    desk.leaves[BTC_TOKEN] = replace(desk.leaves[BTC_TOKEN], status=Status.CLOSE_ONLY)
    desk.post()
    assert reason(case.bring, 1) == "collateral: token is close-only"


def test_deposit__wrong_leaf_or_witness__reverts(case: Pledge) -> None:
    desk = case.desk
    send = desk.system.collateral.send
    case.mint(10)
    perp = desk.leg(BTC_PERP), desk.proof(BTC_PERP)
    key = case.owner_key
    assert reason(send.deposit, case.owner, case.lot, *perp, NOTHING, sender=key) == "collateral: no such token"
    wrong = (desk.leg(BTC_TOKEN), desk.proof(BTC_PERP))
    assert reason(send.deposit, case.owner, case.lot, *wrong, NOTHING, sender=key) == "collateral: token not proven"
    case.bring(5)
    assert reason(case.bring, 1, witness=NOTHING) == "witness: foreign account"


def test_deposit__dust_into_an_empty_account__is_less_than_the_reserve() -> None:
    """Tokens ask for the keeper reserve: an account without cash cannot open with less."""
    case = Pledge(dollars=0)
    assert reason(case.bring, 1) == "house: below initial margin"
    case.bring(5)


def test_withdraw__when_margin_needs_it__reverts() -> None:
    case = Pledge(dollars=140)
    desk = case.desk
    case.bring(100)
    assert reason(case.take, 101) == "collateral: more than the position"
    desk.trade(case.owner, case.other, BTC_PERP, 60)
    assert reason(case.take, 1) == "collateral: no epoch since the last trade"
    desk.post()
    assert reason(case.take, 100) == "collateral: below initial margin"
    case.take(10)
    assert desk.house.call.check(case.owner, desk.by_checkpoint(case.owner)) == desk.margin(case.owner)
    desk.marks[BTC] = replace(desk.marks[BTC], status=PROVISIONAL)
    desk.post()
    assert reason(case.take, 1) == "collateral: underlying is not live"


def test_withdraw__owing_dollars__reverts() -> None:
    case = Pledge(dollars=100)
    desk = case.desk
    case.bring(100)
    desk.trade(case.owner, case.other, BTC_PERP, 180)
    desk.reprice(BTC, 9_400 * MICRO)
    desk.post()
    assert desk.margin(case.owner)[4] >= 0
    assert reason(case.take, 1) == "collateral: quote equity below zero"


def test_withdraw_unpledged__tokens_alone_and_no_debt(case: Pledge) -> None:
    desk = case.desk
    case.bring(50)
    assert reason(case.leave, 1, tokens=()) == "collateral: not all positions"
    assert reason(case.leave, 51) == "collateral: more than the position"
    other = Instrument(ETH, Kind.TOKEN).id
    assert reason(case.leave, 1, tokens=(other,)) == "collateral: no such position"
    desk.trade(case.owner, case.other, BTC_PERP, 1)
    assert reason(case.leave, 1) == "collateral: not all positions"
    assert reason(case.leave, 1, tokens=(BTC_TOKEN, BTC_TOKEN)) == "collateral: tokens not ascending"
    assert reason(case.leave, 1, tokens=(BTC_PERP, BTC_TOKEN)) == "collateral: account holds more than tokens"
    desk.trade(case.other, case.owner, BTC_PERP, 1)
    case.leave(50)
    assert case.held() == 0


def test_threat_23__withdraw_unpledged__leaves_no_claim_on_insurance() -> None:
    """What would be left is worth less than a tenth of its requirement, of which K is a part: insurance would pay at a
    takeover, and the owner could be the taker."""
    case = Pledge(dollars=0)
    desk = case.desk
    case.bring(50)
    assert reason(case.leave, 49) == "collateral: cash below the reserve"
    desk.pay(case.owner, desk.params.reserve - 1, desk.keys[5])
    assert reason(case.leave, 49) == "collateral: cash below the reserve"
    desk.pay(case.owner, 1, desk.keys[5])
    case.leave(49)
    pv, risk, closeout, _, _ = desk.margin(case.owner)
    assert claim(pv, risk + closeout) == 0
    case.leave(1)
    assert case.held() == 0


def test_withdraw_unpledged__owing_dollars__reverts() -> None:
    case = Pledge(dollars=100)
    desk = case.desk
    case.bring(100)
    desk.trade(case.owner, case.other, BTC_PERP, 180)
    desk.reprice(BTC, 9_400 * MICRO)
    desk.post()
    desk.trade(case.other, case.owner, BTC_PERP, 180)
    assert desk.ledger.call.account(case.owner)[2] < 0
    assert reason(case.leave, 1) == "collateral: account owes dollars"
    desk.pay(case.owner, 1_000 * MICRO, desk.keys[5])
    case.leave(100)


def test_tokens__are_never_short() -> None:
    """The ledger itself refuses, whatever an engine says."""
    vault = Vault()
    vault.give(vault.buyer, 10)
    vault.give(vault.seller, 5)
    key, giver = vault.desk.keys[0], vault.giver.send
    out = (vault.buyer, key.address, BTC_TOKEN, (vault.coin.address, 10**15))
    assert reason(giver.withdraw_token, *out, 11, 0, sender=key) == "ledger: more tokens than it has"
    moved = reason(giver.move_position, vault.buyer, vault.seller, BTC_TOKEN, 11, 0, 0, sender=key)
    assert moved == "ledger: more tokens than it has"
    giver.withdraw_token(*out, 10, 0, sender=key)
    assert vault.desk.ledger.call.collateral_held(vault.coin.address) == 5 * 10**15
