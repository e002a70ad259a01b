"""Which legs to take of an account, so that the contract accepts it and the account ends as safe as may be.

The contracts' rules are restated in integers: `settled` says what Liquidator.vy (or Fallback.vy) would make of takes,
and `refuses` why it would not. The search only proposes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from offchain.instruments import InstrumentLeaf
from offchain.keeper.view import DISPUTED, LIVE, AccountView, Liquidate, View
from offchain.risk.fallback import worth
from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import Content, Margin, apply_change, evaluate, liquidators_part

MAX_TAKES = 8
NEAR_BANKRUPT = 1_000
"""1e-4 of the requirement: contracts/lib/cascade.vy."""
FIRST_GAS, LEG_GAS = 260_000, 30_000
"""contracts/lib/reward.vy."""
CURE = 3600
TOKEN = 5
ONE = 10_000
Takes = list[tuple[int, int]]


@dataclass
class Holding:
    """A portfolio while legs are moved in thought."""

    content: Content
    cash: int
    positions: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, view: AccountView) -> Holding:
        return cls(view.content, view.cash, dict(view.positions))

    def moved(self, leaf: InstrumentLeaf, lots: int, price: int) -> Holding:
        """After receiving `lots` (signed) at `price`."""
        held = self.positions.get(leaf.id, 0)
        positions = {**self.positions, leaf.id: held + lots}
        if not positions[leaf.id]:
            del positions[leaf.id]
        content = apply_change(self.content, leaf, held, lots)
        return Holding(content, self.cash - lots * price, positions)


def penalty_rate(params: MarginParams, live: int, called_at: int | None) -> int:
    """Penalty in 1e-4 of the fall: the least without a call, rising linearly with live time since the call."""
    if called_at is None:
        return params.phi_min
    elapsed = min(live - called_at, params.phi_ramp)
    if params.phi_ramp == 0:
        return params.phi_max
    return params.phi_min + (params.phi_max - params.phi_min) * elapsed // params.phi_ramp


def is_near_bankrupt(margin: Margin) -> bool:
    """Whether an account is worth less than a tenth of its requirement."""
    return margin.pv < (margin.risk + margin.closeout) * NEAR_BANKRUPT // ONE


@dataclass(frozen=True)
class Settled:
    """An account after takes and reward: `health` is at least 0 where it needs nothing more, `extra` what it adds."""

    margin: Margin
    health: int
    penalty: int
    reward: int
    extra: int


class Case:
    """One account that may be liquidated, and the rules that hold for it.

    Attributes
    ----------
    before : its margin; while stale, `pv` is its value at the feeds' prices and `im_excess` that value less close-out;
        in a dispute `pv` is the lower of that value and the one at the marks.
    rate : penalty, 1e-4 of the fall. quote : whether tokens alone may go.
    stale, disputed : whether the fallback's rules hold, while the oracle is not live or in a dispute.
    careful : leave legs of disputed underlyings.
    """

    def __init__(self, view: View, target: AccountView, fallback: bool = False, careful: bool = False) -> None:
        self.view, self.target, self.careful = view, target, careful
        self.fallback, self.stale, self.disputed = fallback, fallback and not view.fresh, fallback and view.fresh
        self.params = view.margin
        self.rate = penalty_rate(view.margin, view.live, target.called_at)
        self.start = Holding.of(target)
        self.before = self.judge(self.start)
        self.dust = not self.stale and self.before.risk + self.before.closeout < self.params.dust
        self.quote = not fallback and self.before.mm_excess >= 0
        self.exempt = fallback or self.dust or is_near_bankrupt(self.before)
        # The search asks for the same takes again and again.
        self._holdings: dict[tuple[tuple[int, int], ...], Holding] = {(): self.start}
        self._settled: dict[tuple[tuple[int, int], ...], Settled] = {}

    def price(self, leaf: InstrumentLeaf, lots: int) -> int:
        """At which a leg changes hands, micro-USD per lot; `lots` positive if the account gives them."""
        mark, places = leaf.array[0], self.view.places or {}
        if not self.fallback or (self.disputed and leaf.id >> 88 not in places):
            return mark
        value = places[leaf.id >> 88].value(leaf.array)
        if self.disputed:
            return max(mark, value + 1) if lots > 0 else min(mark, value)
        return value

    def concession(self, takes: Sequence[tuple[int, int]]) -> int:
        """What a taker pays in a dispute beyond the worth of legs to it by the worse of mark and feed, micro-USD."""
        places, out = self.view.places or {}, 0
        for instrument, lots in takes if self.disputed else ():
            array = self.view.leaves[instrument].array
            if instrument >> 88 in places:
                out += abs(lots) * abs(places[instrument >> 88].value(array) - array[0])
        return out

    def judge(self, holding: Holding) -> Margin:
        """The account's margin, by the rules that hold."""
        found = evaluate(holding.content, holding.cash, self.params)
        if self.disputed:
            return self._less(found, max(found.pv - self._value(holding), 0))
        return self._at_feeds(found, holding) if self.stale else found

    @property
    def best(self) -> int:
        """In a dispute: what the account is worth by the better of mark and feed, micro-USD."""
        return max(evaluate(self.start.content, self.start.cash, self.params).pv, self._value(self.start))

    def _at_feeds(self, found: Margin, holding: Holding) -> Margin:
        value = self._value(holding)
        return found._replace(pv=value, mm_excess=value - found.risk - found.closeout, im_excess=value - found.closeout)

    def _value(self, holding: Holding) -> int:
        """At the feeds' prices, and at the mark where there is none."""
        return worth(holding.content, holding.cash, self.view.places or {})

    def affords(self, mine: Holding, reward: int = 0) -> bool:
        """Whether a taker is above initial margin, and owes no dollars against tokens."""
        found = evaluate(mine.content, mine.cash + reward, self.params)
        if self.stale:
            return self._value(mine) + reward >= found.pv - found.im_excess
        if self.disputed:
            found = self._less(found, max(found.pv - self._value(mine) - reward, 0))
        return found.im_excess >= 0 and found.pv >= mine.content.collateral

    def takeable(self) -> list[int]:
        """Instruments that may be taken."""
        return [
            i
            for i in self.start.positions
            if i in self.view.leaves and (not self.quote or i & 255 == TOKEN) and self._goes(i >> 88)
        ]

    def _goes(self, underlying: int) -> bool:
        """Whether legs of an underlying change hands: by fallback not without a usable feed."""
        priced = underlying in (self.view.places or {})
        if self.disputed and self.view.statuses.get(underlying, LIVE) == DISPUTED:
            return priced and not self.careful
        return priced or not self.stale

    def limits(self, takes: Sequence[tuple[int, int]], instrument: int) -> int:
        """Most lots of an instrument that buckets and the account's own share let go beside other takes."""
        rooms = self.view.rooms
        if self.exempt or rooms is None or instrument & 255 == TOKEN:
            return 2**32
        used = self.target.own_used
        own = -(-(self.target.content.sum_abs + used) * self.view.share // 1_000_000) - used
        drawn: dict[int, int] = {}
        for other, lots in takes:
            if other & 255 != TOKEN and other != instrument:
                drawn[other >> 88] = drawn.get(other >> 88, 0) + abs(lots)
        mine = instrument >> 88
        own -= sum(max(lots - rooms.get(u, 0), 0) for u, lots in drawn.items() if u != mine)
        room = rooms.get(mine, 0) - drawn.get(mine, 0)
        return max(room + own, 0)

    def after(self, takes: Sequence[tuple[int, int]]) -> Holding:
        """The account after takes."""
        key = tuple(takes)
        if key not in self._holdings:
            instrument, lots = key[-1]
            leaf = self.view.leaves[instrument]
            self._holdings[key] = self.after(key[:-1]).moved(leaf, -lots, self.price(leaf, lots))
        return self._holdings[key]

    def taker(self, mine: Holding, takes: Sequence[tuple[int, int]]) -> Holding:
        """The taker after takes, without the reward."""
        for instrument, lots in takes:
            leaf = self.view.leaves[instrument]
            mine = mine.moved(leaf, lots, self.price(leaf, lots))
        return mine

    def _less(self, found: Margin, amount: int) -> Margin:
        pv, risk, closeout, mm_excess, im_excess = found
        return Margin(pv - amount, risk, closeout, mm_excess - amount, im_excess - amount)

    def _health(self, found: Margin, collateral: int) -> int:
        return found.im_excess if self.stale else min(found.im_excess, found.pv - collateral)

    def _charged(self, bare: Margin, holding: Holding) -> tuple[int, int]:
        """Penalty and the taker's share of it; in a dispute insurance's claim is judged at the feeds' prices."""
        fall = max(self.before.risk + self.before.closeout - bare.risk - bare.closeout, 0)
        penalty = min(self.rate * fall // ONE, max(bare.pv if self.fallback else self.before.pv, 0))
        was = self.before
        if self.disputed:
            was, bare = was._replace(pv=self._value(self.start)), bare._replace(pv=self._value(holding))
        return penalty, liquidators_part(penalty, self.params.liquidator_share, was, bare)

    def floor(self, legs: int) -> int:
        """The reward that pays for the gas, micro-USD."""
        view = self.view
        gas = self.params.gas_multiple * (FIRST_GAS + LEG_GAS * (legs - 1))
        return min(gas * view.gas_price * view.coin_price // 10**20, self.params.reserve)

    def settled(self, takes: Sequence[tuple[int, int]]) -> Settled:
        """What becomes of the account with these takes, whether or not the contract lets them pass."""
        key = tuple(takes)
        if key not in self._settled:
            self._settled[key] = self._settle(key)
        return self._settled[key]

    def _settle(self, takes: tuple[tuple[int, int], ...]) -> Settled:
        holding = self.after(takes)
        bare = self.judge(holding)
        collateral = holding.content.collateral
        penalty, share = self._charged(bare, holding)
        found = self._less(bare, penalty)
        extra = 0
        if not self.fallback and self._health(found, collateral) >= 0 and share < self.params.reserve:
            least = max(self.floor(max(len(takes), 1)) - share, 0)
            extra = min(least, max(found.pv, 0), found.mm_excess - self.before.mm_excess - 1)
            extra = extra if extra > 0 and self._health(self._less(found, extra), collateral) >= 0 else 0
        found = self._less(found, extra)
        return Settled(found, self._health(found, collateral), penalty, share + extra, extra)

    def refuses(self, takes: Sequence[tuple[int, int]], mine: Holding) -> str:
        """Why the contract would refuse these takes; empty if it would not."""
        done = self.settled(takes)
        if done.margin.mm_excess <= self.before.mm_excess or (self.disputed and not self._gains(takes, done.penalty)):
            return "does not raise maintenance excess"
        if not self.affords(self.taker(mine, takes), done.reward):
            return "taker below initial margin"
        if any(abs(lots) > self.limits(takes, i) for i, lots in takes):
            return "bucket and own share are used up"
        if done.health >= 0 and not self.dust and not self.stale:
            rest, (instrument, lots) = list(takes[:-1]), takes[-1]
            less = lots - (1 if lots > 0 else -1)
            shorter = self.after([*rest, (instrument, less)] if less else rest)
            bare = self.judge(shorter)
            penalty, _ = self._charged(bare, shorter)
            if self._health(self._less(bare, penalty + done.extra), shorter.content.collateral) >= 0:
                return "more than restores the account"
        return ""

    def _gains(self, takes: Sequence[tuple[int, int]], penalty: int) -> bool:
        """Whether MM excess rises at the marks as well as at the feeds' prices."""
        before, after = self.start, self.after(takes)
        was, now = (evaluate(h.content, h.cash, self.params) for h in (before, after))
        fall = was.risk + was.closeout - now.risk - now.closeout
        return min(now.pv - was.pv, self._value(after) - self._value(before)) + fall > penalty


def peak(low: int, high: int, value: Callable[[int], int]) -> int:
    """Where a concave integer function peaks in [low, high] (its first maximum, by bisection on its slope)."""
    while low < high:
        middle = (low + high) // 2
        if value(middle + 1) > value(middle):
            low = middle + 1
        else:
            high = middle
    return low


def first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Least integer in (low, high] that holds, where `holds(high)` and holding is upward closed."""
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def last(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Greatest integer in [low, high] that holds, where `holds(low)` and holding is downward closed."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _signed(case: Case, instrument: int, lots: int) -> tuple[int, int]:
    return instrument, lots if case.start.positions[instrument] > 0 else -lots


def _sorted(takes: Takes) -> Takes:
    return sorted((i, n) for i, n in takes if n)


def _greedy(case: Case, mine: Holding, paid: bool) -> Takes:
    """Leg by leg the one that leaves the highest health, until it is restored (`paid`: the reward's floor included)."""
    due = case.floor(1) if paid else 0

    def health(takes: Takes) -> int:
        done = case.settled(takes)
        return done.health - (max(due - done.reward, 0) if paid else 0)

    takes: Takes = []
    best = case._health(case.before, case.start.content.collateral)
    while len(takes) < MAX_TAKES and best < 0:
        options = []
        for instrument in case.takeable():
            if any(instrument == known for known, _ in takes):
                continue
            most = min(abs(case.start.positions[instrument]), case.limits(takes, instrument))

            def reach(lots: int, i: int = instrument, takes: Takes = takes) -> int:
                return health([*takes, _signed(case, i, lots)] if lots else takes)

            lots = most if case.dust else peak(0, most, reach)
            if lots and not case.dust and reach(lots) >= 0:
                lots = first(0, lots, lambda n, r=reach: r(n) >= 0)  # type: ignore[misc]
            if lots:
                options.append((reach(lots), -lots, instrument))
        chosen = None
        for _, minus, instrument in sorted(options, reverse=True):

            def fits(lots: int, i: int = instrument, takes: Takes = takes) -> bool:
                return case.affords(case.taker(mine, [*takes, _signed(case, i, lots)] if lots else takes))

            lots = -minus if fits(-minus) else last(0, -minus, fits)
            more = [*takes, _signed(case, instrument, lots)] if lots else takes
            if lots and health(more) > best:
                chosen = more
                break
        if chosen is None:
            break
        takes, best = chosen, health(chosen)
    return takes


def _trimmed(case: Case, takes: Takes, paid: bool) -> Takes:
    """Shorten the last take (by id) until one lot less would not restore the account: the contract allows no more."""
    takes = _sorted(takes)
    if case.dust or case.stale:
        return takes

    def whole(parts: Takes) -> bool:
        done = case.settled(parts)
        lacking = max(case.floor(max(len(parts), 1)) - done.reward, 0) if paid else 0
        return done.health - min(lacking, max(done.margin.pv, 0)) >= 0

    while takes and whole(takes):
        rest, (instrument, lots) = takes[:-1], takes[-1]
        if rest and whole(rest):
            takes = rest
            continue
        sign = 1 if lots > 0 else -1
        least = first(0, abs(lots), lambda n: whole([*rest, (instrument, sign * n)]))  # noqa: B023
        return [*rest, (instrument, sign * least)]
    return takes


def _baskets(case: Case, mine: Holding) -> Iterator[Takes]:
    """Parts of several legs at once, in proportion: what hedges goes with what it hedges. By linearity any part of the
    whole book lowers the requirement; of books of more than eight legs, the largest eight and all pairs of twelve."""
    held = case.start.positions
    size = {
        i: abs(held[i]) * (max(leaf.array) - min(leaf.array)) for i in case.takeable() for leaf in [case.view.leaves[i]]
    }
    order = sorted(size, key=lambda i: (-size[i], i))
    groups: list[tuple[int, ...]] = [tuple(order[:MAX_TAKES])]
    groups += [tuple(order[:n]) for n in range(MAX_TAKES - 1, 2, -1) if n < len(order)]
    groups += list(combinations(order[:12], 2))
    found = []
    for group in groups:
        for part in range(8):
            takes = [_signed(case, i, max(abs(held[i]) >> part, 1)) for i in group]
            takes = _sorted([(i, n) for i, n in takes if abs(n) <= case.limits(takes, i)])
            if len(takes) == len(group) and case.affords(case.taker(mine, takes)):
                rise = case.settled(takes).margin.mm_excess
                if rise > case.before.mm_excess:
                    found.append((-rise, takes))
                    break
    yield from (takes for _, takes in sorted(found)[:8])


def plan_legs(
    view: View, target: AccountView, taker: Holding, fallback: bool = False, careful: bool = False
) -> tuple[Liquidate, Holding] | None:
    """The legs that bring `target` back above initial margin, or as near as eight legs, the buckets and the taker's
    margin allow; None if the contract would refuse all that were tried.

    Legs are taken greedily, the one first that leaves the highest IM excess. IM excess is concave in the lots taken of
    one leg (risk is a maximum of linear functions), so the lots come from bisection: to the first lot that restores IM
    excess, else to the peak. Where no single leg helps, parts of several are tried together.
    """
    case = Case(view, target, fallback, careful)
    if not case.takeable():
        return None

    def tries() -> Iterator[Takes]:
        if not fallback and view.coin_price:
            yield _trimmed(case, _greedy(case, taker, True), True)
        plain = _greedy(case, taker, False)
        yield _trimmed(case, plain, False)
        yield _sorted(plain)
        for basket in _baskets(case, taker):
            yield _trimmed(case, basket, False)

    for takes in tries():
        if takes and not case.refuses(takes, taker):
            done = case.settled(takes)
            mine = case.taker(taker, takes)
            mine = Holding(mine.content, mine.cash + done.reward, mine.positions)
            deficit = case.before.closeout - case.before.pv if case.stale else -case.before.mm_excess
            return Liquidate(target.account, tuple(takes), done.reward, deficit, fallback), mine
    return None
