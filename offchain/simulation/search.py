"""Attack search: an evolution over sequences of an attacker's actions, played on the real contracts, for the most
profit.

The attacker owns two accounts and a purse, trades with a maker who quotes no worse than the true price, with itself at
far prices within the band, pushes the outside market (`depth`), runs the stock keeper (`rivals`), and takes out
what it can. An honest pair of leveraged accounts is there to be squeezed. Every sequence is played in three worlds, in
which the true price stays, jumps up, or jumps down, and scores their mean: a bet on the direction is worth nothing, an
exploit is. What an attacker's accounts owe at the end is not its loss.

Each play is a process forked from the prepared market, so that plays cannot touch each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from eth_account.signers.local import LocalAccount

from offchain.chain.backends import Reverted, dev_account
from offchain.chain.orders import Order
from offchain.chain.revm import RevmChain
from offchain.chain.system import FIRST_ACCOUNT, INSURANCE, System
from offchain.config import BallastError, Cadence
from offchain.instruments import Instrument, Kind
from offchain.keeper.bot import Keeper
from offchain.keeper.state import MarketState
from offchain.oracle.epochs import build_epoch
from offchain.oracle.observations import Observation, Quote, Slot
from offchain.risk.policy import Policy, RowKind, default_policy
from offchain.risk.portfolios import apply_change, evaluate
from offchain.simulation.depth import Depth, Markets
from offchain.simulation.guards import Switches, without
from offchain.simulation.rivals import left_to_others
from offchain.store.database import Database
from offchain.units import BASIS, MICRO, ceil_div

START = 1_700_000_000 // 3600 * 3600
BTC, ETH = 1, 2
PERPETUAL = Instrument(BTC, Kind.PERPETUAL).id
PRICE = {BTC: 50_000 * MICRO, ETH: 2_500 * MICRO}
SCAN = {BTC: 160_000, ETH: 180_000}
"""Scan ranges, 1e-6: the starting values."""
JUMP = 0.12
"""Move of the true price in two of the three worlds: less than initial margin covers, more than the jump limit."""
JUMP_SLOT = 2
SLOTS = 12
CAPITAL = 2_000_000 * MICRO
KINDS = ("open", "close", "cross", "push", "keep", "withdraw", "wait")
"""Primitive actions: trade with the maker, undo that, trade with oneself, trade outside, run the keeper, take cash out,
let a slot pass.
"""


@dataclass(frozen=True)
class Move:
    """An action.

    Attributes
    ----------
    kind : one of `KINDS`. who : 0 or 1, which account acts. side : 1 or -1; after the jump it is relative to the jump.
    size : share of the most that is possible, 0 to 1. skew : price within the band, -1 to 1.
    """

    kind: str
    who: int = 0
    side: int = 1
    size: float = 1.0
    skew: float = 0.0

    def __str__(self) -> str:
        if self.kind == "wait":
            return "wait a slot"
        name = "ab"[self.who]
        how = {"withdraw": f"withdraw {self.size:.0%} from {name}", "keep": f"keeper of {name}"}
        price = f", price {self.skew:+.0%} of the band" if self.kind == "cross" else ""
        side = "buy" if self.side > 0 else "sell"
        return how.get(self.kind, f"{self.kind}: {name} {side} {self.size:.0%}{price}")


Sequence_ = tuple[Move, ...]
WAIT = Move("wait")
KNOWN: dict[str, Sequence_] = {
    "oracle-lag": (
        Move("cross", 0, 1, 0.5), WAIT, WAIT, Move("cross", 0, 1), Move("withdraw", 0), WAIT, Move("withdraw", 0), WAIT,
        Move("withdraw", 0), Move("withdraw", 1),
    ),
    "abandoned loser": (
        Move("cross", 0, 1), WAIT, WAIT, WAIT, WAIT, Move("withdraw", 0), Move("withdraw", 1), WAIT, Move("keep", 0),
        Move("withdraw", 0),
    ),
    "self-liquidation": (
        Move("cross", 0, 1, 1.0, 0.0), WAIT, WAIT, WAIT, Move("keep", 1), WAIT, Move("keep", 1), Move("keep", 0), WAIT,
        Move("withdraw", 0), Move("withdraw", 1),
    ),
    "squeeze": (
        Move("open", 0, 1), WAIT, WAIT, WAIT, WAIT, Move("push", 0, 1, 0.5), WAIT, Move("keep", 1), Move("close", 0),
        Move("push", 0, -1, 0.5), WAIT, Move("close", 1), Move("withdraw", 0),
    ),
    "wash": (
        Move("cross", 0, 1, 0.8, 1.0), WAIT, Move("withdraw", 1), Move("cross", 0, -1, 0.8, -1.0), WAIT,
        Move("withdraw", 0), Move("withdraw", 1),
    ),
}  # fmt: skip
"""Where the search begins: attacks that other systems have died of."""


@dataclass
class Arena:
    """The market in which attacks are played: prepared once, forked for every play.

    Attributes
    ----------
    off : guards that are switched off: those of `guards.GUARDS` that are contracts or policy, or `scan_range`, which
        leaves scan ranges at their floor and tail rows without weight: margin for less than the jump.
    """

    off: tuple[str, ...] = ()
    switches: Switches = field(init=False)

    def __post_init__(self) -> None:
        low = "scan_range" in self.off
        self.switches = without(name for name in self.off if name != "scan_range")
        if self.switches.off:
            raise BallastError(f"guard {', '.join(self.off)} is a rule off the chain: the search plays contracts alone")
        self.policy = _policy(self.switches, low)
        listing = self.policy.underlying(BTC)
        self.per_unit = listing.lots_per_unit
        self.scan = {u.underlying: u.r_min if low else SCAN[u.underlying] for u in self.policy.underlyings}
        self.markets = Markets({BTC: Depth(20.0 * 1_000 * self.per_unit)})
        self.true = PRICE[BTC]
        self.slots, self.direction, self.spent, self.out = 0, 0, 0, 0
        self.outside = 0
        self.chain = RevmChain(timestamp=START - 60)
        self.cadence = Cadence()
        self.system = System.deploy(
            self.chain, self.chain.accounts[0], self.policy.encode(), None, self.cadence, instruments=[PERPETUAL],
            variants=self.switches.variants,
        )  # fmt: skip
        self.state = MarketState(self.system)
        self.database = Database("sqlite://")
        self.keys: dict[int, LocalAccount] = {}
        self._salt = 0
        self.a, self.b, self.purse = (self._account(100, CAPITAL) for _ in range(3))
        self.maker = self._account(101, 500_000_000 * MICRO)
        self.long, self.short = self._account(102, 2_000_000 * MICRO), self._account(103, 2_000_000 * MICRO)
        self._pay(INSURANCE, 5_000_000 * MICRO, self.chain.accounts[0])
        self.state.sync()
        self.slot()
        self.trade(self.long, self.maker, self._most(self.long, 1, 0.9), self.true)
        self.trade(self.maker, self.short, self._most(self.short, -1, 0.9), self.true)
        self.slot()
        self.paid_in = 3 * CAPITAL

    # set-up
    def _account(self, number: int, amount: int) -> int:
        key = dev_account(number)
        self.chain.fund(key.address)
        account = self.system.open_account(key)
        self.keys[account] = key
        self._pay(account, amount, key)
        return account

    def _pay(self, account: int, amount: int, key: Any) -> None:
        self.system.token.send.mint(key.address, amount, sender=key)
        self.system.deposit(account, amount, key)

    # the market
    @property
    def price(self) -> int:
        """Price outside now, micro-USD a unit."""
        return self.markets.price(BTC, self.true, float(self.slots * self.cadence.slot))

    def quoted(self, side: int) -> int | None:
        """What the maker asks (side 1) or bids: never worse for it than the true price; None outside the band.

        So it cannot be robbed by a price that it chose to believe: what the attacker gains, somebody lost who had no
        choice.
        """
        mark = self.state.leaves[PERPETUAL].array[0] * self.per_unit
        prices = (self.true, self.price, mark)
        wanted = max(prices) if side > 0 else min(prices)
        inside = abs(wanted - mark) * BASIS <= mark * self.policy.margin.price_band
        return wanted if inside else None

    def slot(self) -> None:
        """A slot passes; its epoch is posted."""
        self.slots += 1
        time = START + self.slots * self.cadence.slot
        self.chain.set_next_timestamp(time)
        self.chain.mine()
        self.state.sync()
        block = self.chain.block_number
        slot = Slot(
            self.chain.chain_id, self.system.oracle.address, 1, time // self.cadence.slot, time, block - 1,
            self.chain.block_hash(block - 1),
        )  # fmt: skip
        index = {BTC: self.price, ETH: PRICE[ETH]}
        market = Observation({u: Quote(index[u], 0, self.scan[u]) for u in index}, {PERPETUAL: (index[BTC], 0)})
        epoch = build_epoch(slot, market, self.state.book, self.policy)
        self.system.oracle.send.post(epoch.header.as_tuple(), 7, b"", sender=self.chain.accounts[0])
        self.state.use(epoch)
        self.state.sync()

    def trade(self, buyer: int, seller: int, lots: int, price: int) -> None:
        """A trade at a price, micro-USD a unit."""
        assert self.state.epoch is not None
        sides = []
        for account, signed in ((buyer, lots), (seller, -lots)):
            self._salt += 1
            version = self.state.book.accounts[account].version
            expiry = self.chain.timestamp + 3_600
            order = Order(account, version, PERPETUAL, signed, price // self.per_unit, expiry, self._salt)
            key = self.keys[account]
            sides.append((order.as_tuple(), order.sign(key, self.chain.chain_id, self.system.clearing.address)))
        leg, proof = self.state.epoch.leg(PERPETUAL)
        witnesses = [self.state.ensure(account, self.keys[account]) for account in (buyer, seller)]
        self.system.clearing.send.trade(*sides[0], *sides[1], lots, leg, proof, *witnesses, sender=self.keys[buyer])
        self.state.sync()

    def _fits(self, account: int, lots: int, usage: float) -> bool:
        assert self.state.margin is not None
        leaf = self.state.leaves[PERPETUAL]
        held = self.state.book.accounts[account]
        content = apply_change(self.state.content(account), leaf, held.positions.get(PERPETUAL, 0), lots)
        fee = ceil_div(self.state.margin.trade_fee * leaf.array[0] * abs(lots), BASIS)
        margin = evaluate(content, held.cash - lots * leaf.array[0] - fee, self.state.margin)
        return margin.im_excess >= (1 - usage) * margin.pv

    def _most(self, account: int, side: int, usage: float = 0.999) -> int:
        """Most lots on a side that margin and the position limit allow."""
        cap = self.policy.underlying(BTC).depth * self.policy.shocks.position // MICRO
        held = self.state.book.accounts[account].positions.get(PERPETUAL, 0)
        low, high = 0, max(cap - side * held, 0) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(account, side * middle, usage) else (low, middle)
        return low

    # playing
    def play(self, sequence: Sequence[Move], direction: int) -> int:
        """Profit of a sequence in one world, micro-USD. Changes the arena: fork first."""
        self.direction = direction
        begun = self.slots
        for move in (*sequence, WAIT):
            if self.slots - begun >= SLOTS:
                break
            try:
                self._do(move, begun)
            except Reverted:
                continue  # the contracts said no; the attacker goes on
        return self.profit()

    def _do(self, move: Move, begun: int) -> None:
        me, other = (self.a, self.b) if move.who == 0 else (self.b, self.a)
        jumped = self.slots - begun >= JUMP_SLOT
        side = move.side * (self.direction or 1) if jumped else move.side
        if move.kind == "wait":
            if self.slots - begun == JUMP_SLOT - 1:
                self.slot()
                self.true = round(self.true * (1 + self.direction * JUMP))
            else:
                self.slot()
        elif move.kind in ("open", "close"):
            held = self.state.book.accounts[me].positions.get(PERPETUAL, 0)
            side = side if move.kind == "open" else (-1 if held > 0 else 1)
            lots = int((self._most(me, side) if move.kind == "open" else abs(held)) * move.size)
            price = self.quoted(side)
            if lots and price is not None:
                self.trade(*((me, self.maker) if side > 0 else (self.maker, me)), lots, price)
        elif move.kind == "cross":
            lots = int(min(self._most(me, side), self._most(other, -side)) * move.size)
            mark = self.state.leaves[PERPETUAL].array[0] * self.per_unit
            far = mark + int(mark * self.policy.margin.price_band / BASIS * 0.99 * move.skew)
            if lots:
                self.trade(*((me, other) if side > 0 else (other, me)), lots, far)
        elif move.kind == "push":
            lots = -self.outside if side * self.outside < 0 else int(side * move.size * 20_000 * self.per_unit)
            now = float(self.slots * self.cadence.slot)
            fill = self.markets.trade(BTC, lots, now)
            self.spent += lots * fill.price(self.true) // self.per_unit
            self.outside += lots
        elif move.kind == "keep":
            true = PRICE | {BTC: self.true}
            others = left_to_others(self.state, self.policy, true, self.scan, (self.long, self.short))
            only = [account for account in self.state.book.accounts if account not in others]
            Keeper(self.state, me, self.keys[me], self.database, -(10**15), True, self.purse, only).look()
            self.state.sync()
        else:
            self._withdraw(me, move.size)

    def _withdraw(self, account: int, share: float) -> None:
        held = self.state.book.accounts[account]
        free = min(held.cash, self.state.margin_of(account).im_excess) if held.positions else held.cash
        amount = int(free * share)
        if amount > 0:
            key = self.keys[account]
            witness = self.state.ensure(account, key)
            before = self.system.token.call.balanceOf(key.address)
            self.system.clearing.send.withdraw(account, amount, key.address, witness, sender=key)
            self.out += self.system.token.call.balanceOf(key.address) - before
            self.state.sync()

    def profit(self) -> int:
        """What the attacker has beyond what it began with: taken out, in accounts at the true price, and outside."""
        mine, kept = self.keys[self.a].address.lower(), 0
        for account, held in self.state.book.accounts.items():
            if account >= FIRST_ACCOUNT and self._owner(account) == mine:
                worth = held.cash + held.positions.get(PERPETUAL, 0) * (self.true // self.per_unit)
                kept += max(worth, 0)
        book = round(self.outside * self.true / self.per_unit) - self.spent
        return self.out + kept - self.paid_in + book

    def _owner(self, account: int) -> str:
        return str(self.system.ledger.call.account(account)[0]).lower()


def _policy(switches: Switches, low: bool) -> Policy:
    base = default_policy(Cadence().slot)
    shocks = {k: min(round(v * MICRO), 2**32 - 1) for k, v in switches.policy.items() if hasattr(base.shocks, k)}
    each = tuple(
        replace(u, open_interest=min(round(switches.underlying["open_interest"] * 100), 65_535))
        if "open_interest" in switches.underlying else u
        for u in base.underlyings
    )  # fmt: skip
    rows = tuple(replace(row, weight=1) if low and row.kind is RowKind.TAIL else row for row in base.rows)
    return replace(base, rows=rows, shocks=replace(base.shocks, **shocks), underlyings=each)


def _child(arena: Arena, sequence: Sequence_, direction: int, pipe: Connection) -> None:
    pipe.send(arena.play(sequence, direction))
    pipe.close()


def profits(arena: Arena, sequence: Sequence_) -> tuple[int, int, int]:
    """Profit of a sequence where the price stays, jumps up, jumps down, micro-USD.

    Raises
    ------
    BallastError
        A play ended with an error: a bug of the search, not of the attacker.
    """
    context = get_context("fork")
    out = []
    for direction in (0, 1, -1):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(arena, sequence, direction, theirs))
        process.start()
        theirs.close()
        try:
            out.append(int(ours.recv()))
        except EOFError:
            raise BallastError(f"a play of {[str(m) for m in sequence]} in world {direction} ended early") from None
        finally:
            process.join()
    return out[0], out[1], out[2]


@dataclass(frozen=True)
class Found:
    """The best of a search: `profit` is the mean of `worlds`, micro-USD; `history` the best so far after each."""

    sequence: Sequence_
    profit: int
    worlds: tuple[int, int, int]
    tried: int
    history: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "profit": self.profit, "worlds": dict(zip(("calm", "up", "down"), self.worlds, strict=True)),
            "tried": self.tried, "sequence": [str(move) for move in self.sequence], "history": list(self.history),
        }  # fmt: skip


def _random(rng: np.random.Generator) -> Move:
    return Move(
        KINDS[rng.integers(len(KINDS))], int(rng.integers(2)), int(rng.choice([1, -1])),
        round(float(rng.uniform(0.05, 1)), 3), round(float(rng.uniform(-1, 1)), 3),
    )  # fmt: skip


def mutated(sequence: Sequence_, rng: np.random.Generator) -> Sequence_:
    """A neighbour: a move changed, replaced, added, dropped or moved."""
    out = list(sequence)
    at = int(rng.integers(len(out)))
    how = rng.integers(5)
    if how == 0:
        size = float(np.clip(out[at].size + rng.normal(0, 0.3), 0.02, 1))
        skew = float(np.clip(out[at].skew + rng.normal(0, 0.5), -1, 1))
        out[at] = replace(out[at], size=round(size, 3), skew=round(skew, 3))
    elif how == 1:
        out[at] = _random(rng)
    elif how == 2 and len(out) < 16:
        out.insert(at, _random(rng))
    elif how == 3 and len(out) > 2:
        del out[at]
    else:
        out[at] = replace(out[at], side=-out[at].side)
    return tuple(out)


def crossed(one: Sequence_, two: Sequence_, rng: np.random.Generator) -> Sequence_:
    """The beginning of one and the end of another."""
    return (one[: rng.integers(1, len(one) + 1)] + two[rng.integers(len(two)) :])[:16]


def search(
    arena: Arena,
    budget: int = 200,
    seed: int = 1,
    progress: Callable[[int, int, int], None] = lambda _done, _budget, _best: None,
) -> Found:
    """Look for the most profitable sequence: evolution from `KNOWN`, keeping the best eight.

    Parameters
    ----------
    budget : sequences to play, each in three worlds. progress : called with sequences played, budget, and best profit.

    Raises
    ------
    BallastError
        The budget does not even hold the known attacks.
    """
    if budget < len(KNOWN):
        raise BallastError(f"a budget of {budget}: choose at least {len(KNOWN)}, the known attacks")
    rng = np.random.default_rng(seed)
    pool: list[tuple[int, Sequence_, tuple[int, int, int]]] = []
    seen: set[Sequence_] = set()
    history: list[int] = []
    todo = list(KNOWN.values())
    while len(history) < budget:
        if todo:
            sequence = todo.pop(0)
        else:
            one, two = (pool[int(rng.integers(len(pool)))][1] for _ in range(2))
            sequence = mutated(crossed(one, two, rng) if rng.random() < 0.3 else one, rng)
            if sequence in seen:
                sequence = (*sequence[:15], _random(rng))
        seen.add(sequence)
        worlds = profits(arena, sequence)
        pool = sorted([*pool, (sum(worlds) // 3, sequence, worlds)], key=lambda p: -p[0])[:8]
        history.append(pool[0][0])
        progress(len(history), budget, pool[0][0])
    profit, best, worlds = pool[0]
    return Found(best, profit, worlds, len(history), tuple(history))
