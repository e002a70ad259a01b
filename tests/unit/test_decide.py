"""The keeper's decision: pure, so tested without a chain. The contracts' rules are restated here on their own."""

from __future__ import annotations

import pytest

from offchain.instruments import Instrument, Kind
from offchain.keeper.decide import (
    AccountView,
    ClearCall,
    Liquidate,
    MarginCall,
    View,
    Wait,
    decide,
    penalty_rate,
)
from offchain.risk.arrays import build_leaves
from offchain.risk.policy import default_policy
from offchain.risk.portfolios import Margin, content_of, evaluate

USD = 10**6
NOW = 1_700_000_000
POLICY = default_policy()
PERPETUAL = Instrument(1, Kind.PERPETUAL)
CALL = Instrument(1, Kind.CALL, NOW + 30 * 86_400, 30_000 * USD)
PUT = Instrument(1, Kind.PUT, NOW + 30 * 86_400, 30_000 * USD)
ETHER = Instrument(2, Kind.PERPETUAL)
LISTED = [PERPETUAL, CALL, PUT, ETHER]
LEAVES = {
    leaf.id: leaf
    for leaf in build_leaves(
        LISTED,
        [30_000 * USD, 30_000 * USD, 30_000 * USD, 2_000 * USD],
        [0, 600_000, 600_000, 0],
        {1: 30_000 * USD, 2: 2_000 * USD},
        {1: 0, 2: 0},
        {1: 160_000, 2: 180_000},
        NOW,
        POLICY,
    )
}


def account(number: int, cash: int, positions: dict[int, int], called_at: int | None = None) -> AccountView:
    return AccountView(number, cash, positions, content_of(number, positions, LEAVES), called_at)


def margin(view: AccountView) -> Margin:
    return evaluate(view.content, view.cash, POLICY.margin)


def short_of(number: int, positions: dict[int, int], mm_excess: int, called_at: int | None = None) -> AccountView:
    """An account with exactly that MM excess."""
    bare = margin(account(number, 0, positions))
    return account(number, mm_excess - bare.mm_excess, positions, called_at)


def view(*accounts: AccountView, taker_cash: int = 10_000_000 * USD, **changes: object) -> View:
    settings: dict[str, object] = {
        "epoch": 7, "live": 5_000, "fresh": True, "margin": POLICY.margin, "leaves": LEAVES,
        "accounts": accounts, "taker": account(999, taker_cash, {}),
    }  # fmt: skip
    return View(**(settings | changes))  # type: ignore[arg-type]


def after(target: AccountView, action: Liquidate, rate: int) -> tuple[Margin, Margin, int]:
    """Margins before and after, and the penalty, computed from positions anew."""
    positions, cash = dict(target.positions), target.cash
    for instrument, lots in action.takes:
        positions[instrument] -= lots
        cash += lots * LEAVES[instrument].array[0]
    before = margin(target)
    left = {i: q for i, q in positions.items() if q}
    bare = evaluate(content_of(target.account, left, LEAVES), cash, POLICY.margin)
    fall = before.risk + before.closeout - bare.risk - bare.closeout
    penalty = min(rate * max(fall, 0) // 10_000, max(before.pv, 0))
    return before, evaluate(content_of(target.account, left, LEAVES), cash - penalty, POLICY.margin), penalty


BOOKS = [
    {PERPETUAL.id: 5_000},
    {PERPETUAL.id: -5_000},
    {CALL.id: -3_000, PUT.id: -2_000},
    {CALL.id: -3_000, PUT.id: -2_000, PERPETUAL.id: 900, ETHER.id: 4_000},
    {PUT.id: -10},
]


@pytest.mark.parametrize("positions", BOOKS)
def test_decide__liquidatable__restores_and_overshoots_by_at_most_a_lot(positions: dict[int, int]) -> None:
    target = short_of(300, positions, -5 * USD, called_at=4_000)
    (action,) = decide(view(target))
    assert isinstance(action, Liquidate)
    assert [i for i, _ in action.takes] == sorted(i for i, _ in action.takes)
    for instrument, lots in action.takes:
        assert 0 < lots * (1 if positions[instrument] > 0 else -1) <= abs(positions[instrument])
    rate = penalty_rate(POLICY.margin, 5_000, 4_000)
    before, done, penalty = after(target, action, rate)
    assert done.mm_excess > before.mm_excess
    assert action.reward == penalty * POLICY.margin.liquidator_share // 10_000
    if done.im_excess >= 0 and before.risk + before.closeout >= POLICY.margin.dust:
        *rest, (instrument, lots) = action.takes
        less = lots - 1 if lots > 0 else lots + 1
        shorter = Liquidate(300, tuple([*rest, (instrument, less)] if less else rest), 0, 0)
        assert after(target, shorter, rate)[1].im_excess < 0


def test_decide__below_initial_margin__is_called_not_liquidated() -> None:
    target = short_of(300, BOOKS[0], 1)
    actions = decide(view(target))
    assert actions == [MarginCall(300, -margin(target).im_excess)]


def test_decide__called_and_healthy__clears() -> None:
    target = account(300, 10_000_000 * USD, BOOKS[0], called_at=1)
    assert decide(view(target)) == [ClearCall(300)]


def test_decide__stale_oracle__waits() -> None:
    target = short_of(300, BOOKS[0], -1)
    assert decide(view(target, fresh=False)) == [Wait(0, "the oracle's latest epoch is stale")]


def test_decide__bankrupt__waits_unless_told_to_clear_bad_debt() -> None:
    target = account(300, 0, {PERPETUAL.id: 100}, called_at=1)
    target = account(300, -1 - margin(target).pv, {PERPETUAL.id: 100}, called_at=1)
    assert margin(target).pv == -1
    (reason,) = decide(view(target))
    assert isinstance(reason, Wait)
    (action,) = decide(view(target, bad_debt=True))
    assert isinstance(action, Liquidate)
    assert action.reward == 0


def test_decide__poor_taker__takes_what_it_can_carry() -> None:
    target = short_of(300, BOOKS[0], -5_000 * USD, called_at=1)
    rich, poor = decide(view(target)), decide(view(target, taker_cash=1_000 * USD))
    assert isinstance(rich[0], Liquidate)
    assert isinstance(poor[0], Liquidate)
    assert 0 < poor[0].takes[0][1] < rich[0].takes[0][1]


def test_decide__no_money_at_all__says_why() -> None:
    target = short_of(300, BOOKS[0], -50 * USD, called_at=1)
    assert decide(view(target, taker_cash=0)) == [Wait(300, "no leg raises its margin within the taker's own")]


def test_decide__small_reward__is_left() -> None:
    target = short_of(300, BOOKS[0], -50 * USD, called_at=1)
    (reason,) = decide(view(target, min_profit=10**12))
    assert isinstance(reason, Wait)
    assert "below the floor" in reason.reason


def test_decide__largest_deficit_first() -> None:
    small = short_of(300, BOOKS[0], -1 * USD, called_at=1)
    large = short_of(301, BOOKS[1], -90 * USD, called_at=1)
    assert [a.account for a in decide(view(small, large))] == [301, 300]


def test_penalty_rate__rises_with_live_time() -> None:
    params = POLICY.margin
    assert penalty_rate(params, 10, None) == params.phi_min
    assert penalty_rate(params, 10, 10) == params.phi_min
    assert penalty_rate(params, 10 + params.phi_ramp // 2, 10) == (params.phi_min + params.phi_max) // 2
    assert penalty_rate(params, 10 + 2 * params.phi_ramp, 10) == params.phi_max
