"""What the people of a run do: small policies, each a function of what it sees.

Owners open positions when the run begins, and some pay in when they are called. Keepers call, liquidate, bid and sell
what they took. Attackers follow the moves of their file. All send transactions through the model of block space; none
sees more than the books, the latest epoch and the fees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from offchain.chain.backends import Reverted
from offchain.instruments import Instrument, Kind
from offchain.keeper.decide import decide
from offchain.keeper.view import (
    Absorb,
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
    Wait,
)
from offchain.simulation.floor import Floor
from offchain.simulation.scenario import GroupSpec, KeeperSpec
from offchain.units import MICRO

GAS = {
    "post": 400_000, "call": 150_000, "clear": 150_000, "liquidate": 600_000, "start": 180_000, "take-over": 450_000,
    "absorb": 150_000, "deposit": 120_000, "withdraw": 250_000, "open": 500_000, "close": 500_000, "fallback": 700_000,
    "end": 150_000, "repay": 100_000, "settle": 300_000, "leave": 250_000,
}  # fmt: skip
"""Gas limits by action, a fifth or more above what benchmarks/gas.md measures on anvil."""
NEVER = 2**62
"""A profit that no liquidation makes, micro-USD."""
MOST_AT_ONCE = 8
"""Transactions that a keeper sends at one look."""


@dataclass
class Owner:
    """An owner's account.

    Attributes
    ----------
    account : id. role : name of its group. equity : micro-USD paid in at first. usage : share of it that is margin at
        first.
    side : 1 or -1. cures : whether it pays in after a call. wallet : micro-USD that it can still pay in.
    """

    account: int
    role: str
    group: GroupSpec
    equity: int
    usage: float
    side: int
    cures: bool
    wallet: int


def draw(group: GroupSpec, rng: np.random.Generator) -> Iterator[tuple[int, float, int, bool, int]]:
    """Equity (micro-USD), usage, side, whether it cures, and wallet of each account of a group."""
    for number in range(group.count):
        equity = round(group.equity * float(np.exp(group.spread * np.clip(rng.standard_normal(), -2.5, 2.5)))) * MICRO
        usage = float(rng.uniform(*group.usage))
        side = group.side or (1 if number % 2 == 0 else -1)
        yield equity, usage, side, bool(rng.random() < group.cures), round(equity * group.wallet)


def direction(owner: Owner, floor: Floor) -> dict[int, int]:
    """The portfolio that an owner of this role holds, as lots of each instrument for one unit of it."""
    number, side = owner.group.underlying, owner.side
    listed = [key for key in floor.state.leaves if key >> 88 == number]
    kinds = {kind: [k for k in listed if Instrument.from_id(k).kind == kind] for kind in Kind}
    perpetual = kinds[Kind.PERPETUAL][0]
    if owner.group.role == "basis" and kinds[Kind.FUTURE]:
        return {perpetual: side, kinds[Kind.FUTURE][0]: -side}
    if owner.group.role == "volatility" and kinds[Kind.CALL]:
        index = floor.state.epoch.header.mark(number).index if floor.state.epoch else 0
        strike = min({Instrument.from_id(k).strike for k in kinds[Kind.CALL]}, key=lambda s: (abs(s - index), s))
        return {
            k: side for k in listed if Instrument.from_id(k).kind.is_option and Instrument.from_id(k).strike == strike
        }
    return {perpetual: side}


def action_of(act: Act) -> str:
    """Key of `GAS` of what a keeper decided."""
    if isinstance(act, Liquidate):
        return "fallback" if act.fallback else "liquidate"
    return _ACTIONS[type(act)]


_ACTIONS: dict[type, str] = {
    MarginCall: "call", ClearCall: "clear", StartAuction: "start", EndAuction: "end", Bid: "take-over",
    Absorb: "absorb", RepayShortfall: "repay", Settle: "settle", ProposePrice: "settle", FinalizePrice: "settle",
}  # fmt: skip


@dataclass
class Keeper:
    """A keeper: the decisions of `offchain.keeper`, what it pays at most, and how fast it is.

    Attributes
    ----------
    spec : its policy. account : takes legs. purse : pays for takeovers, without positions.
    waiting : what it has in the pool, by action and account. seen : version of the books at its last look.
    idle : accounts for which it can do nothing, with epoch, position hash and cash under which that was found.
    """

    spec: KeeperSpec
    account: int
    purse: int
    waiting: set[tuple[str, int]] = field(default_factory=set)
    seen: int = -1
    idle: dict[int, tuple[int, bytes, int]] = field(default_factory=dict)

    def look(self, floor: Floor, native: int, base_fee: int) -> list[Act]:
        """What to send now.

        Parameters
        ----------
        native : micro-USD of the coin that pays fees. base_fee : wei a gas.
        """
        tip = round(self.spec.tip * 10**9)
        if base_fee + tip > self.spec.max_fee * 10**9 or floor.table is None:
            return []
        least = round(self.spec.min_profit * MICRO) + GAS["liquidate"] * (base_fee + tip) * native // 10**18
        if not self.spec.legs:
            least = NEVER
        table, state = floor.table, floor.state
        assert state.epoch is not None
        if not floor.fresh:
            view = state.view(self.account, least, self.spec.bad_debt, self.purse)
            acts: list[Act] = [a for a in decide(view) if isinstance(a, Liquidate) and not self._waits(a)]
            return acts[:MOST_AT_ONCE]
        epoch, book = state.epoch.header.epoch, state.book.accounts
        short = (table.im_excess < 0) | (table.owed > 0)
        below = table.accounts[(short & table.holds) | (table.pv < 0)]
        keys = {int(a): (epoch, book[int(a)].position_hash, book[int(a)].cash) for a in below}
        self.idle = {a: key for a, key in self.idle.items() if keys.get(a) == key}
        fresh = [int(a) for a in below[np.argsort(table.mm_excess[table.place_many(below)], kind="stable")]]
        busy = {account for _, account in self.waiting}
        fresh = [a for a in fresh if a not in self.idle and a not in busy][: 2 * MOST_AT_ONCE]
        wanted = fresh + [a for a in (*state.called, *sorted(state.on_auction)) if a not in keys]
        if not wanted:
            return []
        purse = self.purse if self.spec.takeovers else None
        view = state.view(self.account, least, self.spec.bad_debt, purse, wanted)
        if not self.spec.takeovers:
            view = replace(view, auction_length=0)
        bids = {} if self.spec.legs else {a: bid for a in wanted if (bid := self._bid(floor, a)) is not None}
        out: list[Act] = list(bids.values())
        for act in decide(view):
            if act.account in bids or self._waits(act):
                continue
            if not isinstance(act, Wait):
                out.append(act)
            elif act.account in keys and self.spec.legs:
                self.idle[act.account] = keys[act.account]
        return out[:MOST_AT_ONCE]

    def pass_over(self, floor: Floor, account: int) -> None:
        """Leave an account alone until its books or the epoch change."""
        assert floor.state.epoch is not None
        held = floor.state.book.accounts[account]
        self.idle[account] = (floor.state.epoch.header.epoch, held.position_hash, held.cash)

    def _waits(self, act: Action) -> bool:
        return not isinstance(act, Wait) and (action_of(act), act.account) in self.waiting

    def _bid(self, floor: Floor, account: int) -> Bid | None:
        """A bid for most of what an account is worth, if the chain's quote is that low."""
        if account not in floor.state.on_auction:
            return None
        margin, held = floor.state.margin_of(account), floor.state.book.accounts[account]
        if margin.mm_excess >= 0 or ("take-over", account) in self.waiting:
            return None
        try:
            witness = floor.witness(account, floor.owners[self.account])
            price, insurance, shortfall = floor.system.takeover.call.quote(account, witness)
        except Reverted:
            return None
        paid_in = insurance + shortfall
        gain = margin.pv + paid_in - price
        top_up = max(-(margin.im_excess + paid_in), 0) + margin.requirement // 100
        wanted = max(margin.closeout, round(self.spec.discount * max(margin.pv, 0)))
        if gain < wanted or floor.cash(self.purse) < price + top_up:
            return None
        return Bid(account, held.version, held.position_hash, price - paid_in, top_up, gain)
