"""The keeper against the contracts: what it decides, they accept; and every account that is unsafe finds an end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from desk import (
    BTC,
    BTC_FUTURE,
    BTC_PERP,
    ETH,
    ETH_FUTURE,
    ETH_PERP,
    LOTS_PER_UNIT,
    PRICE,
    Desk,
    content,
    leaf,
    margin,
    option,
    policy_with,
)

from offchain.instruments import Kind
from offchain.keeper.decide import Liquidate, StartAuction, decide
from offchain.keeper.view import AccountView, View
from offchain.risk.portfolios import content_of
from offchain.units import MICRO

SHARE = 50_000
LISTED = [BTC_PERP, ETH_PERP, BTC_FUTURE, ETH_FUTURE] + [
    option(u, strike, kind)
    for u, strikes in ((BTC, (8_000, 10_000, 12_000)), (ETH, (200, 250, 300)))
    for strike in strikes
    for kind in (Kind.CALL, Kind.PUT)
]


def seen(desk: Desk, account: int, taker: int, **changes: Any) -> View:
    """The view of a keeper who sees one account."""
    book, liquidator = desk.book, desk.liquidator
    live = int(desk.system.oracle.call.clock()[2])

    def of(number: int) -> AccountView:
        held = book.positions(number)
        called, since = liquidator.call.called_at(number)
        lots, drawn_at = liquidator.call.own_draw(number)
        return AccountView(
            number, book.accounts[number].cash, held, content_of(number, held, desk.posted),
            since if called else None, lots if drawn_at == desk.epoch else 0,
        )  # fmt: skip

    rooms = {}
    for underlying in (BTC, ETH):
        capacity = desk.ledger.call.open_interest(underlying) * desk.share // MICRO
        used, drawn_at = liquidator.call.bucket(underlying)
        rooms[underlying] = max(capacity - (used - min(used, capacity * (desk.epoch - drawn_at) // 10)), 0)
    return View(
        epoch=desk.epoch, live=live, fresh=True, margin=desk.params, leaves=desk.posted, accounts=(of(account),),
        taker=of(taker), bad_debt=True, rooms=rooms, share=desk.share, gas_price=2 * 10**9,
        coin_price=desk.marks[ETH].index, auction_length=3600, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_threat_28__every_liquidatable_account__has_a_liquidation_that_succeeds(seed: int) -> None:
    """Random books of one to fourteen legs, hedged and bare, one or two underlyings, made unsafe by a move and dear
    close-out: the keeper finds legs that the contract takes (within bucket and own share), and where none helps, the
    account is put on auction. Step by step it ends above maintenance margin, or on auction."""
    rng = np.random.default_rng(seed)
    desk = Desk.open(LISTED, share=SHARE, coin=ETH, policy=policy_with(phi_ramp=3 * 3600))
    maker, keeper = desk.keys[2], desk.keys[4]
    other, taker = desk.fund(maker, 50_000_000), desk.fund(keeper, 5_000_000)
    account = desk.fund(desk.keys[1], 2_000_000)
    count = int(rng.integers(1, 15))
    for identifier in rng.choice(np.array(LISTED, dtype=object), size=count, replace=False):
        lots = int(rng.integers(1, 400)) if rng.random() < 0.8 else 1
        sides = (account, other) if rng.random() < 0.5 else (other, account)
        desk.trade(*sides, int(identifier), lots)
    desk.post()
    # Leave it with exactly its initial margin, then move the market, and make close-out dearer until it is unsafe.
    desk.withdraw(account, desk.margin(account)[4], desk.keys[1])
    for underlying in (BTC, ETH):
        desk.reprice(underlying, PRICE[underlying] * int(rng.integers(88, 113)) // 100)
    held, cash, dearer = desk.book.positions(account), desk.book.accounts[account].cash, 1
    while margin(content(account, held, desk.leaves), cash, desk.params)[3] >= 0:
        dearer *= 2
        for each in desk.leaves:
            price = desk.marks[each >> 88].index
            desk.leaves[each] = leaf(each, price, cost=dearer * price // LOTS_PER_UNIT[each >> 88] // 1_000)
    desk.post()
    steps = 0
    while desk.margin(account)[3] < 0:
        actions = decide(seen(desk, account, taker))
        (action,) = [a for a in actions if isinstance(a, Liquidate | StartAuction)] or [None]
        if not desk.liquidator.call.called_at(account)[0]:
            desk.liquidator.send.margin_call(account, desk.witness(account), sender=keeper)
        if isinstance(action, Liquidate):
            event = desk.liquidate(account, taker, dict(action.takes), keeper).event("Liquidated").args
            assert event["reward"] == action.reward
            assert event["after"] == desk.margin(account)
        elif isinstance(action, StartAuction):
            desk.system.takeover.send.start(account, desk.witness(account), sender=keeper)
            break
        else:
            assert "no leg raises" in str(actions)
        desk.post()
        steps += 1
        assert steps < 60
