"""Multilateral compression: trades between accounts that lower total margin without raising anybody's.

With ``q'`` the positions after, and everything at the mark, so that no PV moves:

    minimise    sum over accounts of  (1 - kappa) sum_u r_u + kappa j + close-out(q') + fees
    subject to  r_u >= - sum_i in u q'_i (v_i[s] - v_i[0]),  r_u >= 0        every row s
                j   >= - sum_i q'_i (v_i[s] - v_i[0]),       j >= 0
                sum over accounts of q'_i = sum over accounts of q_i         every instrument i
                requirement' + fees <= requirement                           every account
                |sum_i (q'_i - q_i) (v_i[s] - v_i[0])| <= tolerance          every account, every row s

a linear program, because the margin rule is convex in positions and its minima over rows become inequalities (the
epigraph form of S. Boyd and L. Vandenberghe, Convex Optimization, 2004, 4.1.3). The last line is what a participant of
a compression run states: how far its own profile may move; without it all positions of a pool that sums to zero would
close. Solved by HiGHS (Q. Huangfu and J. Hall, Mathematical Programming Computation 10, 2018), then rounded to whole
lots, always to the smaller trade, and every account judged again in exact integers. An account that a rounding hurts
gets its bound tightened, and in the end keeps its positions. Multilateral compression under tolerances: D. O'Kane,
"Optimising the compression cycle", EDHEC-Risk, 2014.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linprog

from offchain.config import BallastError
from offchain.instruments import Instrument, InstrumentLeaf, Kind
from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import Margin, content_of, evaluate
from offchain.units import BASIS, MAX_POSITIONS, MICRO

Array = npt.NDArray[np.float64]
Positions = Mapping[int, Mapping[int, int]]

FEES = 4
"""The reserved account that fees go to."""
_TIGHTENINGS = 6
_TIE = 1e-7
"""Of its value, what a trade must save to be worth making, so that trades which save nothing are left out."""


class CompressionError(BallastError, ValueError):
    """A pool that cannot be compressed; the message names the account or instrument."""


@dataclass(frozen=True)
class Trade:
    """`buyer` takes `lots` of `instrument` from `seller` at `price`, micro-USD a lot: the mark."""

    buyer: int
    seller: int
    instrument: int
    lots: int
    price: int


@dataclass(frozen=True)
class Pool:
    """Accounts that may trade with each other.

    Attributes
    ----------
    leaves : by instrument id. positions : lots by instrument id by account. cash : micro-USD by account.
    params : of the policy. fee : micro-USD a lot by instrument id, paid by both sides; 0 where absent.
    """

    leaves: Mapping[int, InstrumentLeaf]
    positions: Positions
    cash: Mapping[int, int]
    params: MarginParams
    fee: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for account, held in self.positions.items():
            if account not in self.cash:
                raise CompressionError(f"account {account} has no cash balance")
            for key in held:
                if key not in self.leaves:
                    raise CompressionError(f"account {account} holds {key:#x}, which has no leaf")
        for key, fee in self.fee.items():
            if fee < 0:
                raise CompressionError(f"fee {fee} of {key:#x} is negative")

    def margin(self, account: int) -> Margin:
        """Margin of an account."""
        held = self.positions.get(account, {})
        return evaluate(content_of(account, held, self.leaves), self.cash[account], self.params)

    @cached_property
    def margins(self) -> dict[int, Margin]:
        """Margins by account."""
        return {account: self.margin(account) for account in sorted(self.positions)}

    @property
    def requirement(self) -> int:
        """Sum of maintenance requirements."""
        return sum(each.requirement for each in self.margins.values())

    def sums(self) -> dict[int, int]:
        """What the ledger adds up: lots by instrument id, those of nothing included, and cash under 0."""
        out = dict.fromkeys(self.leaves, 0)
        for held in self.positions.values():
            for key, lots in held.items():
                out[key] += lots
        return {0: sum(self.cash.values()), **out}

    def after(self, trades: Sequence[Trade]) -> Pool:
        """The pool with trades made: cash, positions, and fees to their account."""
        positions = {account: dict(held) for account, held in self.positions.items()}
        cash = {FEES: 0, **self.cash}
        for each in trades:
            fee = each.lots * self.fee.get(each.instrument, 0)
            for account, lots in ((each.buyer, each.lots), (each.seller, -each.lots)):
                held = positions[account]
                held[each.instrument] = held.get(each.instrument, 0) + lots
                cash[account] -= lots * each.price + fee
            cash[FEES] += 2 * fee
        kept = {account: {key: q for key, q in held.items() if q} for account, held in positions.items()}
        return Pool(self.leaves, kept, cash, self.params, self.fee)


@dataclass(frozen=True)
class Compression:
    """A run: the pool before and after, the trades between, and accounts that a rounding kept out."""

    before: Pool
    after: Pool
    trades: tuple[Trade, ...]
    frozen: tuple[int, ...] = ()

    @property
    def saved(self) -> int:
        """Fall of the sum of requirements, micro-USD."""
        return self.before.requirement - self.after.requirement

    @property
    def fees(self) -> int:
        """Paid by all, micro-USD."""
        return self.after.cash[FEES] - self.before.cash.get(FEES, 0)


def compress(pool: Pool, tolerance: float = 0.1, new_positions: bool = False) -> Compression:
    """Trades that lower the sum of requirements most, within everybody's bounds.

    Parameters
    ----------
    pool : accounts. tolerance : how far an account's gain or loss in any row may move, as a share of its maintenance
        requirement; 0.1 is 10 %.
    new_positions : whether an account may get instruments that it does not hold, of underlyings that it holds, or turn
        a position round; otherwise positions only shrink.

    Returns
    -------
    A run in which every trade is between two accounts; no account's requirement plus its fees is above its requirement
    before; no account's gain or loss in a row moved beyond its tolerance. Without such trades, or where they save
    nothing, it has none.

    Raises
    ------
    CompressionError
        Fewer than two accounts, a tolerance that is no share, or a solver that fails.
    """
    if len(pool.positions) < 2:
        raise CompressionError(f"{len(pool.positions)} accounts: compression needs at least two")
    if not 0.0 <= tolerance < np.inf:
        raise CompressionError(f"tolerance {tolerance!r} is not a share of 0 or more")
    found = _run(pool, tolerance, False)
    if new_positions:
        found = max(_run(pool, tolerance, True), found, key=lambda each: each.saved - each.fees)
    if found.after.sums() != pool.sums():
        raise CompressionError("the ledger's sums moved: a trade has one side only")
    return found


def _run(pool: Pool, tolerance: float, new_positions: bool) -> Compression:
    """Solve, round, judge; again with tighter bounds until nobody is hurt."""
    program = _Program(pool, tolerance, new_positions)
    for attempt in range(len(pool.positions) + _TIGHTENINGS + 1):
        trades = program.trades()
        after = pool.after(trades)
        hurt = program.hurt(after)
        if not hurt:
            break
        program.tighten(hurt, attempt >= _TIGHTENINGS)
    found = Compression(pool, after, tuple(trades), tuple(sorted(program.frozen)))
    if found.saved <= found.fees:
        return Compression(pool, pool.after(()), (), found.frozen)
    return found


class _Program:
    """The linear program of a pool, dollars: variables ``long``, ``short``, ``traded`` (lots), then ``r`` and ``j``."""

    def __init__(self, pool: Pool, tolerance: float, new_positions: bool) -> None:
        self.pool, self.tolerance = pool, tolerance
        self.accounts = sorted(pool.positions)
        self.slack = dict.fromkeys(self.accounts, 0.0)
        self.tight = dict.fromkeys(self.accounts, 0.0)
        self.profile: dict[int, slice] = {}
        self.frozen: set[int] = set()
        every = sorted({key for held in pool.positions.values() for key, q in held.items() if q})
        self.cells: list[tuple[int, int, int]] = []
        for account in self.accounts:
            held = {key: q for key, q in pool.positions[account].items() if q}
            known = {key >> 88 for key in held}
            keys = [key for key in every if key >> 88 in known] if new_positions else sorted(held)
            self.cells += [(account, key, held.get(key, 0)) for key in keys]
        self.new_positions = new_positions
        self.moves = {
            key: (np.array(pool.leaves[key].array, dtype=np.float64) - pool.leaves[key].array[0]) / MICRO
            for key in every
        }
        self.room = {a: tolerance * pool.margins[a].requirement for a in self.accounts}
        self._build()

    def _build(self) -> None:
        """Constraints that do not change between attempts."""
        pool, cells = self.pool, self.cells
        n = len(cells)
        at = {a: [c for c, cell in enumerate(cells) if cell[0] == a] for a in self.accounts}
        pairs = sorted({(a, key >> 88) for a, key, _ in cells})
        self.r = {pair: 3 * n + place for place, pair in enumerate(pairs)}
        self.j = {a: 3 * n + len(pairs) + place for place, a in enumerate(self.accounts)}
        self.size = 3 * n + len(pairs) + len(self.accounts)
        blocks: list[sparse.csr_matrix] = []
        bounds: list[Array] = []
        rows = len(next(iter(self.moves.values()))) if self.moves else 0

        def spread(columns: Sequence[int], values: Array) -> sparse.csr_matrix:
            """(rows, size) with the columns of `values`, (rows, columns), in their places."""
            index = np.tile(np.asarray(columns, dtype=np.int64), len(values))
            start = np.arange(len(values) + 1) * len(columns)
            return sparse.csr_matrix((values.ravel(), index, start), shape=(len(values), self.size))

        for a in self.accounts:
            for groups, variable in (
                *(([c for c in at[a] if cells[c][1] >> 88 == u], self.r[b, u]) for b, u in pairs if b == a),
                (at[a], self.j[a]),
            ):
                if groups:
                    move = np.array([self.moves[cells[c][1]] for c in groups]).T[1:]
                    blocks.append(
                        spread(
                            [*groups, *(n + c for c in groups), variable],
                            np.hstack([-move, move, -np.ones((rows - 1, 1))]),
                        )
                    )
                    bounds.append(np.zeros(rows - 1))
            if at[a]:
                move = np.array([self.moves[cells[c][1]] for c in at[a]]).T[1:]
                now = move @ np.array([cells[c][2] for c in at[a]], dtype=np.float64)
                both = spread([*at[a], *(n + c for c in at[a])], np.hstack([move, -move]))
                blocks += [both, -both]
                start = sum(map(len, bounds))
                self.profile[a] = slice(start, start + 2 * len(now))
                room = self.room[a] / MICRO
                bounds += [now + room, room - now]
        held = np.array([q for _, _, q in cells], dtype=np.float64)
        one = sparse.identity(n, format="csr")
        rest = sparse.csr_matrix((n, self.size - 3 * n))
        blocks += [sparse.hstack([one, -one, -one, rest]), sparse.hstack([-one, one, -one, rest])]
        bounds += [held, -held]
        cost = np.zeros((len(self.accounts), self.size))
        self.fees = np.array([pool.fee.get(key, 0) / MICRO for _, key, _ in cells])
        kappa = pool.params.kappa / BASIS
        for place, a in enumerate(self.accounts):
            for c in at[a]:
                leaf = pool.leaves[cells[c][1]]
                cost[place, c], cost[place, n + c] = leaf.c_long / MICRO, leaf.c_short / MICRO
                cost[place, 2 * n + c] = self.fees[c]
            for b, u in pairs:
                if b == a:
                    cost[place, self.r[b, u]] = 1.0 - kappa
            cost[place, self.j[a]] = kappa
        worth = np.array([abs(pool.leaves[key].array[0]) / MICRO for _, key, _ in cells])
        self.objective = cost.sum(axis=0)
        self.objective[2 * n : 3 * n] += _TIE * (1.0 + worth)
        self.upper = sparse.vstack([*blocks, sparse.csr_matrix(cost)], format="csr")
        self.limits = np.concatenate(bounds) if bounds else np.zeros(0)
        keys = sorted(self.moves)
        row = np.array([keys.index(key) for _, key, _ in cells])
        column = np.arange(n)
        self.equal = sparse.csr_matrix(
            (
                np.concatenate([np.ones(n), -np.ones(n)]),
                (np.concatenate([row, row]), np.concatenate([column, n + column])),
            ),
            shape=(len(keys), self.size),
        )
        self.totals = np.array([sum(q for _, k, q in cells if k == key) for key in keys], dtype=np.float64)

    def _bounds(self) -> list[tuple[float, float | None]]:
        """Of each variable; tokens are collateral and stay, and so do positions of frozen accounts."""
        longs: list[tuple[float, float | None]] = []
        shorts: list[tuple[float, float | None]] = []
        for account, key, q in self.cells:
            up, down = float(max(q, 0)), float(max(-q, 0))
            if key & 0xFF == Kind.TOKEN or account in self.frozen:
                longs.append((up, up))
                shorts.append((down, down))
            else:
                longs.append((0.0, None if self.new_positions else up))
                shorts.append((0.0, None if self.new_positions else down))
        return longs + shorts + [(0.0, None)] * (self.size - 2 * len(self.cells))

    def trades(self) -> list[Trade]:
        """Solve, round every trade to the smaller, and pair buyers with sellers."""
        n = len(self.cells)
        if n == 0:
            return []
        reserve = {a: self.pool.params.reserve if self.pool.positions[a] else 0 for a in self.accounts}
        most = [(self.pool.margins[a].requirement - reserve[a]) / MICRO - self.slack[a] for a in self.accounts]
        most = [max(each, 0.0) for each in most]
        limits = self.limits.copy()
        for account, rows in self.profile.items():
            limits[rows] -= self.tight[account]
        found = linprog(
            self.objective,
            self.upper,
            np.concatenate([limits, most]),
            self.equal,
            self.totals,
            self._bounds(),
            "highs",
        )
        if found.status == 2 and any(self.slack.values()):
            self.frozen |= {a for a, each in self.slack.items() if each}
            self.slack = dict.fromkeys(self.accounts, 0.0)
            return self.trades()
        if found.status != 0:
            raise CompressionError(f"the linear program was not solved: {found.message}")
        wanted: dict[int, dict[int, int]] = {}
        for place, (account, key, q) in enumerate(self.cells):
            change = found.x[place] - found.x[n + place] - q
            lots = int(np.trunc(change + np.copysign(1e-6, change)))
            if lots:
                wanted.setdefault(key, {})[account] = lots
        return [trade for key in sorted(wanted) for trade in _paired(key, wanted[key], self.pool.leaves[key].array[0])]

    def hurt(self, after: Pool) -> dict[int, tuple[float, float]]:
        """Dollars by which accounts are worse off than they may be, and by which their profile moved too far."""
        out = {}
        for account in self.accounts:
            old, new = self.pool.positions[account], after.positions[account]
            change = {k: new.get(k, 0) - old.get(k, 0) for k in old.keys() | new.keys()}
            change = {k: lots for k, lots in change.items() if lots}
            if not change:
                continue
            if len(new) > MAX_POSITIONS:
                self.frozen.add(account)
                out[account] = (0.0, 0.0)
                continue
            was, now = self.pool.margins[account], after.margin(account)
            worse = now.requirement - was.requirement + (was.pv - now.pv)
            arrays = [(lots, self.pool.leaves[key].array) for key, lots in change.items()]
            moved = [sum(q * (v[s] - v[0]) for q, v in arrays) for s in range(len(arrays[0][1]))]
            beyond = max(map(abs, moved)) - int(self.room[account])
            if worse > 0 or beyond > 0:
                out[account] = (max(worse, 0) / MICRO, max(beyond, 0) / MICRO)
        return out

    def tighten(self, hurt: Mapping[int, tuple[float, float]], last: bool) -> None:
        """Ask more of the accounts that a rounding hurt; at last, leave them out."""
        for account, (worse, beyond) in hurt.items():
            self.slack[account] += 2.0 * worse
            self.tight[account] = min(self.tight[account] + 2.0 * beyond, self.room[account] / MICRO)
            if last:
                self.frozen.add(account)


def _paired(key: int, wanted: Mapping[int, int], price: int) -> list[Trade]:
    """Trades of one instrument: the heavier side gives up lots, one each in turn from the largest, until both agree."""
    lots = dict(wanted)
    excess = sum(lots.values())
    while excess:
        side = [a for a in lots if lots[a] * excess > 0]
        for account in sorted(side, key=lambda a: (-abs(lots[a]), a))[: abs(excess)]:
            lots[account] -= 1 if excess > 0 else -1
        excess = sum(lots.values())
    buyers = [(a, q) for a, q in sorted(lots.items()) if q > 0]
    sellers = [(a, -q) for a, q in sorted(lots.items()) if q < 0]
    out = []
    while buyers:
        (buyer, wants), (seller, gives) = buyers.pop(0), sellers.pop(0)
        size = min(wants, gives)
        out.append(Trade(buyer, seller, key, size, price))
        if wants > size:
            buyers.insert(0, (buyer, wants - size))
        if gives > size:
            sellers.insert(0, (seller, gives - size))
    return out


def symbol(key: int, names: Mapping[int, str] | None = None) -> str:
    """An instrument's name."""
    return Instrument.from_id(key).symbol(names)
