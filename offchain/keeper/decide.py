"""What a keeper should do about what it sees: a pure function of a view, so that it can be tested and replayed.

`decide(view)` returns actions and, for every account that it leaves alone although it could be thought to need one, the
reason. Nothing here talks to a chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from offchain.keeper.legs import CURE, Case, Holding, is_near_bankrupt, penalty_rate, plan_legs
from offchain.keeper.view import (
    DISPUTED,
    LIVE,
    PROVISIONAL,
    Absorb,
    AccountView,
    Act,
    Action,
    Bid,
    ClearCall,
    EndAuction,
    FinalizePrice,
    Liquidate,
    MarginCall,
    ProposePrice,
    RepayShortfall,
    Settle,
    StartAuction,
    View,
    Wait,
)
from offchain.risk.portfolios import Margin, evaluate

FIRST_PRICE, INCENTIVE, ONE = 9_500, 1_000, 10_000
"""1e-4: contracts/Takeover.vy."""


def was_out(view: View, auction: tuple[int, int]) -> bool:
    """Whether the oracle was not live for a while since an auction's start, so that it must begin anew."""
    live, timestamp = auction
    return view.timestamp - timestamp != view.live - live


def takeover_terms(view: View, found: Margin, auction: tuple[int, int]) -> tuple[int, int, int]:
    """Price, and what insurance and shortfall pay in, micro-USD: the twin of Takeover.vy's `_terms`."""
    elapsed, length = view.live - auction[0], view.auction_length
    value, debt = max(found.pv, 0), max(-found.pv, 0)
    if elapsed <= length:
        price, wanted = value * FIRST_PRICE * (length - elapsed) // (ONE * length), debt
        price = 0 if debt else price
    else:
        cap = (found.risk + found.closeout) * INCENTIVE // ONE
        incentive = cap * min(elapsed - length, length) // length
        price, wanted = 0, debt + incentive - min(value, incentive)
    insurance = min(wanted, max(view.insurance, 0))
    return price, insurance, debt - min(insurance, debt)


def plan_bid(view: View, account: AccountView, found: Margin, purse: int) -> Bid | Wait:
    """Take an account on auction if its worth with what is paid in, less its price, covers its close-out cost."""
    assert account.auction is not None
    price, insurance, shortfall = takeover_terms(view, found, account.auction)
    paid_in = insurance + shortfall
    top_up = max(-(found.im_excess + paid_in), account.content.collateral - found.pv - paid_in, 0)
    profit = found.pv + paid_in - price - found.closeout
    if profit < view.min_profit:
        return Wait(account.account, f"auction is on: taking over is worth {profit}, less than {view.min_profit}")
    if price + top_up > purse:
        return Wait(account.account, f"auction is on: taking over needs {price + top_up}, the purse has {purse}")
    return Bid(account.account, account.version, account.position_hash, price - paid_in, top_up, profit)


def _upkeep(view: View) -> Iterator[Act]:
    """What anyone may do in every state of the oracle, for nobody's gain: prices, settlements, debts."""
    for each in view.settling:
        if each.word:
            yield ProposePrice(0, each.word)
        else:
            yield FinalizePrice(0, each.underlying, each.expiry)
    for account in view.accounts:
        if account.settleable:
            yield Settle(account.account, account.settleable)
        elif not account.positions and account.cash < 0:
            yield Absorb(account.account, -account.cash)
    if view.shortfall < 0 < view.insurance:
        yield RepayShortfall(3, min(-view.shortfall, view.insurance))


def _not_live(statuses: Mapping[int, int], account: AccountView) -> str:
    """Why an account cannot be called or liquidated now; empty if it can."""
    held = [statuses.get(u, LIVE) for u in account.content.underlyings]
    if PROVISIONAL in held:
        return "an underlying is provisional: the next epoch confirms it"
    if DISPUTED in held:
        return "an underlying is disputed: index and feed disagree"
    return ""


def _stale(view: View) -> list[Action]:
    """While the oracle is not live: by fallback, once that is open."""
    if view.places is None:
        return [Wait(0, "the oracle's latest epoch is stale")]
    actions: list[Action] = []
    mine = Holding.of(view.taker)
    for account in view.accounts:
        if account.account == view.taker.account or not account.positions or account.settleable:
            continue
        actions += (found := _by_fallback(view, account, mine))[0]
        mine = found[1]
    return actions or [Wait(0, "the oracle's latest epoch is stale; every account is worth its close-out")]


def _by_fallback(view: View, account: AccountView, mine: Holding) -> tuple[list[Action], Holding]:
    case = Case(view, account, fallback=True)
    if case.before.pv >= case.before.closeout:
        return [], mine
    if case.before.pv <= 0 and not view.bad_debt:
        return [Wait(account.account, "worth nothing at the feeds' prices: no penalty to earn")], mine
    planned = plan_legs(view, account, mine, fallback=True)
    if planned is None:
        return [Wait(account.account, "no leg makes it safer by fallback within the taker's own margin")], mine
    if case.before.pv > 0 and planned[0].reward < view.min_profit:
        return [Wait(account.account, f"reward {planned[0].reward} is below the floor {view.min_profit}")], mine
    return [planned[0]], planned[1]


def _in_dispute(view: View, account: AccountView, mine: Holding) -> tuple[list[Action], Holding]:
    """An account below maintenance margin at the marks, with a disputed underlying: only where the feed says so too.

    What legs of the disputed underlying cost beyond the worse of mark and feed counts against the reward; they may be
    left where they are.
    """
    number, case = account.account, Case(view, account, fallback=True)
    if case.best >= case.before.risk + case.before.closeout:
        return [Wait(number, "an underlying is disputed: safe by its feed")], mine
    if view.grace and case.best >= 0:
        return [Wait(number, "owners have grace after an outage")], mine
    if case.before.pv <= 0 and not view.bad_debt:
        return [Wait(number, "worth nothing by mark or feed: no penalty to earn")], mine
    refused = "no leg makes it safer in the dispute within the taker's own margin"
    for careful in (False, True):
        planned = plan_legs(view, account, mine, fallback=True, careful=careful)
        if planned is None:
            continue
        profit = planned[0].reward - case.concession(planned[0].takes)
        if profit >= view.min_profit or case.before.pv <= 0:
            return [planned[0]], planned[1]
        refused = f"taking legs in the dispute is worth {profit}, less than {view.min_profit}"
    return [Wait(number, refused)], mine


def decide(view: View) -> list[Action]:
    """Actions for one look at the market, most urgent first (largest deficit), the taker's capacity used up in order.

    Parameters
    ----------
    view : what the keeper sees.

    Returns
    -------
    Actions to carry out in this order, and a `Wait` for each account below initial margin that gets none.
    """
    actions: list[Action] = list(_upkeep(view))
    if not view.fresh:
        return actions + _stale(view)
    ours = {view.taker.account, view.purse.account if view.purse else 0}
    judged = [
        (evaluate(a.content, a.cash, view.margin), a)
        for a in view.accounts
        if a.account not in ours and a.positions and not a.settleable
    ]
    judged.sort(key=lambda pair: (pair[0].mm_excess, pair[1].account))
    mine = Holding.of(view.taker)
    purse = view.purse.cash if view.purse and not view.purse.positions else 0
    for margin, account in judged:
        found, mine, purse = _judge(view, account, margin, mine, purse)
        actions += found
    return actions


def _judge(
    view: View, account: AccountView, margin: Margin, mine: Holding, purse: int
) -> tuple[list[Action], Holding, int]:
    """What to do about one account; the taker and the purse after it."""
    number, actions = account.account, list[Action]()
    owes = account.content.collateral - margin.pv
    if margin.im_excess >= 0 and owes <= 0:
        if account.called_at is not None:
            actions.append(ClearCall(number))
        if account.auction is not None and not _not_live(view.statuses, account):
            actions.append(EndAuction(number))
        return actions, mine, purse
    blocked = _not_live(view.statuses, account)
    if blocked:
        held = {view.statuses.get(u, LIVE) for u in account.content.underlyings}
        if PROVISIONAL in held or margin.mm_excess >= 0:
            return [Wait(number, blocked)], mine, purse
        actions, mine = _in_dispute(view, account, mine)
        return actions, mine, purse
    if account.called_at is None:
        actions.append(MarginCall(number, max(-margin.im_excess, owes)))
    if view.grace and margin.pv >= 0:
        return [*actions, Wait(number, "owners have grace after an outage")], mine, purse
    if margin.mm_excess >= 0:
        if account.auction is not None:
            actions.append(EndAuction(number))
        late = account.called_at is not None and view.live >= account.called_at + CURE
        if owes <= 0 or not late:
            if account.called_at is not None and not actions:
                actions.append(Wait(number, "margin call is running; above maintenance margin"))
            return actions, mine, purse
    taken, mine, purse = _take(view, account, margin, mine, purse)
    return actions + taken, mine, purse


def _take(
    view: View, account: AccountView, margin: Margin, mine: Holding, purse: int
) -> tuple[list[Action], Holding, int]:
    """Legs of an account below maintenance margin (or tokens of one that owes dollars), else its auction."""
    number = account.account
    refused = ""
    if margin.pv <= 0 and not view.bad_debt:
        refused = "worth nothing: no penalty to earn, takeover is for others"
    else:
        planned = plan_legs(view, account, mine)
        if planned is None:
            refused = "no leg raises its margin within the taker's own"
        elif margin.pv > 0 and planned[0].reward < view.min_profit:
            refused = f"reward {planned[0].reward} is below the floor {view.min_profit}"
        else:
            return [planned[0]], planned[1], purse
    if not view.auction_length or margin.mm_excess >= 0:
        return [Wait(number, refused)], mine, purse
    if account.auction is None or was_out(view, account.auction):
        called = account.called_at is not None and view.live >= account.called_at + view.margin.phi_ramp
        if is_near_bankrupt(margin) or called:
            return [StartAuction(number, -margin.mm_excess)], mine, purse
        return [Wait(number, refused)], mine, purse
    bid = plan_bid(view, account, margin, purse)
    if isinstance(bid, Bid):
        purse -= max(bid.limit, 0) + bid.top_up
    return [bid], mine, purse


__all__ = [
    "Absorb", "AccountView", "Act", "Action", "Bid", "ClearCall", "EndAuction", "FinalizePrice", "Liquidate",
    "MarginCall", "ProposePrice", "RepayShortfall", "Settle", "StartAuction", "View", "Wait", "decide", "penalty_rate",
    "plan_bid", "takeover_terms",
]  # fmt: skip
