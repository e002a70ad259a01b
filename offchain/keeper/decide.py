"""What a keeper should do about what it sees: a pure function of a view, so that it can be tested and replayed.

`decide(view)` returns actions and, for every account that it leaves alone although it could be thought to need one, the
reason. Nothing here talks to a chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from offchain.instruments import InstrumentLeaf
from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import Content, Margin, apply_change, evaluate

MAX_TAKES = 8


@dataclass(frozen=True)
class AccountView:
    """An account as the latest epoch and the ledger have it.

    Attributes
    ----------
    account : account id.
    cash : micro-USD.
    positions : lots by instrument id, without zeros.
    content : its scenario vectors and close-out under the latest epoch.
    called_at : oracle-live time of its margin call, seconds; None if it is not called.
    """

    account: int
    cash: int
    positions: Mapping[int, int]
    content: Content
    called_at: int | None = None


@dataclass(frozen=True)
class View:
    """All that a decision rests on.

    Attributes
    ----------
    epoch, live, fresh : of the oracle: latest epoch, oracle-live clock in seconds, whether the epoch is young enough.
    margin : the margin parameters of that epoch.
    leaves : instrument leaves of that epoch by id.
    accounts : the accounts watched.
    taker : the keeper's own account, which takes the legs.
    min_profit : least reward, micro-USD, for which a solvent account is liquidated.
    bad_debt : also take legs of accounts that are worth less than nothing, for no reward.
    """

    epoch: int
    live: int
    fresh: bool
    margin: MarginParams
    leaves: Mapping[int, InstrumentLeaf]
    accounts: tuple[AccountView, ...]
    taker: AccountView
    min_profit: int = 0
    bad_debt: bool = False


@dataclass(frozen=True)
class MarginCall:
    account: int
    deficit: int


@dataclass(frozen=True)
class ClearCall:
    account: int


@dataclass(frozen=True)
class Liquidate:
    """Take `takes` (instrument id to signed lots, as the taker receives them) from `account`."""

    account: int
    takes: tuple[tuple[int, int], ...]
    reward: int
    deficit: int


@dataclass(frozen=True)
class Wait:
    """No action, and why."""

    account: int
    reason: str


Action = MarginCall | ClearCall | Liquidate | Wait


@dataclass
class _Book:
    """A portfolio while legs are moved in thought."""

    content: Content
    cash: int
    positions: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, view: AccountView) -> _Book:
        return cls(view.content, view.cash, dict(view.positions))

    def moved(self, leaf: InstrumentLeaf, lots: int) -> _Book:
        """After receiving `lots` (signed) at the mark."""
        held = self.positions.get(leaf.id, 0)
        positions = {**self.positions, leaf.id: held + lots}
        if not positions[leaf.id]:
            del positions[leaf.id]
        content = apply_change(self.content, leaf, held, lots)
        return _Book(content, self.cash - lots * leaf.array[0], positions)


def penalty_rate(params: MarginParams, live: int, called_at: int | None) -> int:
    """Penalty in 1e-4 of the fall: the least without a call, rising linearly with live time since the call."""
    if called_at is None:
        return params.phi_min
    elapsed = min(live - called_at, params.phi_ramp)
    if params.phi_ramp == 0:
        return params.phi_max
    return params.phi_min + (params.phi_max - params.phi_min) * elapsed // params.phi_ramp


@dataclass(frozen=True)
class _Outcome:
    margin: Margin
    penalty: int
    reward: int


def _outcome(before: Margin, book: _Book, rate: int, params: MarginParams) -> _Outcome:
    """The account after the legs and the penalty."""
    after = evaluate(book.content, book.cash, params)
    fall = before.risk + before.closeout - after.risk - after.closeout
    penalty = max(0, min(rate * max(fall, 0) // 10_000, max(before.pv, 0)))
    charged = evaluate(book.content, book.cash - penalty, params)
    return _Outcome(charged, penalty, penalty * params.liquidator_share // 10_000)


def _peak(low: int, high: int, value: Callable[[int], int]) -> int:
    """Where a concave integer function peaks in [low, high] (its first maximum, by bisection on its slope)."""
    while low < high:
        middle = (low + high) // 2
        if value(middle + 1) > value(middle):
            low = middle + 1
        else:
            high = middle
    return low


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Least integer in (low, high] that holds, where `holds(high)` and holding is upward closed."""
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _last(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Greatest integer in [low, high] that holds, where `holds(low)` and holding is downward closed."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def plan_legs(view: View, target: AccountView, taker: _Book) -> tuple[Liquidate, _Book] | None:
    """The legs that bring `target` back above initial margin, or as near as eight legs and the taker's margin allow.

    Legs are taken greedily, the one first that leaves the highest IM excess. IM excess is concave in the lots taken of
    one leg (risk is a maximum of linear functions), so the lots come from bisection: to the first lot that restores IM
    excess, else to the peak.
    """
    params = view.margin
    before = evaluate(target.content, target.cash, params)
    rate = penalty_rate(params, view.live, target.called_at)
    book, mine = _Book.of(target), taker
    takes: list[tuple[int, int]] = []
    best = _Outcome(before, 0, 0)
    dust = before.risk + before.closeout < params.dust
    while len(takes) < MAX_TAKES and best.margin.im_excess < 0:
        options = []
        for instrument, held in book.positions.items():
            if instrument not in view.leaves or any(instrument == known for known, _ in takes):
                continue
            leaf = view.leaves[instrument]
            sign = 1 if held > 0 else -1

            def excess(lots: int, book: _Book = book, leaf: InstrumentLeaf = leaf, sign: int = sign) -> int:
                return _outcome(before, book.moved(leaf, -sign * lots), rate, params).margin.im_excess

            lots = abs(held) if dust else _peak(0, abs(held), excess)
            if lots and not dust and excess(lots) >= 0:
                lots = _first(0, lots, lambda n, e=excess: e(n) >= 0)  # type: ignore[misc]
            if lots:
                options.append((excess(lots), -lots, instrument, sign))
        if not options:
            break
        chosen = None
        for _, minus_lots, instrument, sign in sorted(options, reverse=True):
            taken = view.leaves[instrument]

            def affordable(lots: int, mine: _Book = mine, leaf: InstrumentLeaf = taken, sign: int = sign) -> bool:
                after = mine.moved(leaf, sign * lots)
                return evaluate(after.content, after.cash, params).im_excess >= 0

            lots = -minus_lots if affordable(-minus_lots) else _last(0, -minus_lots, affordable)
            moved = book.moved(taken, -sign * lots)
            outcome = _outcome(before, moved, rate, params)
            if lots and outcome.margin.im_excess > best.margin.im_excess:
                chosen = (taken, sign * lots, moved, outcome)
                break
        if chosen is None:
            break
        taken, signed, book, best = chosen
        mine = mine.moved(taken, signed)
        takes.append((taken.id, signed))
    if not dust:
        takes = _trim(view, target, before, rate, sorted(takes))
    if not takes:
        return None
    book, mine = _taken(view, _Book.of(target), takes, -1), _taken(view, taker, takes, 1)
    best = _outcome(before, book, rate, params)
    mine = _Book(mine.content, mine.cash + best.reward, mine.positions)
    taker_holds = evaluate(mine.content, mine.cash, params).im_excess >= 0
    if best.margin.mm_excess <= before.mm_excess or not taker_holds:
        return None
    return Liquidate(target.account, tuple(sorted(takes)), best.reward, -before.mm_excess), mine


def _taken(view: View, book: _Book, takes: Sequence[tuple[int, int]], sign: int) -> _Book:
    """A book after all takes; `sign` is 1 for the taker and -1 for the account."""
    for instrument, lots in takes:
        book = book.moved(view.leaves[instrument], sign * lots)
    return book


def _trim(
    view: View, target: AccountView, before: Margin, rate: int, takes: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Shorten the last take (by id) until one lot less would not restore the account: the contract allows no more."""

    def excess(parts: list[tuple[int, int]]) -> int:
        return _outcome(before, _taken(view, _Book.of(target), parts, -1), rate, view.margin).margin.im_excess

    while takes and excess(takes) >= 0:
        rest, (instrument, lots) = takes[:-1], takes[-1]
        if rest and excess(rest) >= 0:
            takes = rest
            continue
        sign = 1 if lots > 0 else -1
        least = _first(0, abs(lots), lambda n: excess([*rest, (instrument, sign * n)]) >= 0)  # noqa: B023
        return [*rest, (instrument, sign * least)]
    return takes


def decide(view: View) -> list[Action]:
    """Actions for one look at the market, most urgent first (largest deficit), the taker's capacity used up in order.

    Parameters
    ----------
    view : what the keeper sees.

    Returns
    -------
    Actions to carry out in this order, and a `Wait` for each account below initial margin that gets none.
    """
    if not view.fresh:
        return [Wait(0, "the oracle's latest epoch is stale")]
    params = view.margin
    judged = [(evaluate(a.content, a.cash, params), a) for a in view.accounts if a.account != view.taker.account]
    judged.sort(key=lambda pair: (pair[0].mm_excess, pair[1].account))
    actions: list[Action] = []
    mine = _Book.of(view.taker)
    for margin, account in judged:
        if margin.im_excess >= 0:
            if account.called_at is not None:
                actions.append(ClearCall(account.account))
            continue
        if account.called_at is None:
            actions.append(MarginCall(account.account, -margin.im_excess))
        if margin.mm_excess >= 0:
            if account.called_at is not None:
                actions.append(Wait(account.account, "margin call is running; above maintenance margin"))
            continue
        if margin.pv <= 0 and not view.bad_debt:
            actions.append(Wait(account.account, "worth nothing: no penalty to earn, takeover is for others"))
            continue
        planned = plan_legs(view, account, mine)
        if planned is None:
            actions.append(Wait(account.account, "no leg raises its margin within the taker's own"))
            continue
        action, after = planned
        if margin.pv > 0 and action.reward < view.min_profit:
            actions.append(Wait(account.account, f"reward {action.reward} is below the floor {view.min_profit}"))
            continue
        actions.append(action)
        mine = after
    return actions
