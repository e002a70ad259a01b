"""Stress: what happens to which account in which scenario, and how much is missing.

A scenario moves the price and the volatility of each factor and multiplies close-out costs. An account survives while

    equity = cash + value of its legs,   equity after = equity + profit - close-out * liquidity   is at least 0,

and a fund survives while the sum of what accounts fall short of is at most what it holds. Scenarios come from history
(the worst windows of candles, or named ones), from grids, and from breaking what models rely on: correlation, calm
volatility, deep books. Reverse stress: `offchain.risk.reverse`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offchain.instruments import Kind
from offchain.market.candles import Candles, iso
from offchain.risk.book import Book
from offchain.risk.revaluation import Leg, OptionBook
from offchain.units import YEAR

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scenario:
    """One state of the world.

    Attributes
    ----------
    name : what reports call it. prices, volatilities : relative moves by factor, at least -1; a factor left out stays.
    liquidity : multiple of close-out costs, at least 0.
    """

    name: str
    prices: Mapping[str, float]
    volatilities: Mapping[str, float]
    liquidity: float = 1.0

    def __post_init__(self) -> None:
        for what, moves in (("price", self.prices), ("volatility", self.volatilities)):
            for factor, move in moves.items():
                if not (math.isfinite(move) and move >= -1.0):
                    raise ValueError(f"{what} move {move} of {factor} in {self.name!r} is below -100 % or not finite")
        if not (math.isfinite(self.liquidity) and self.liquidity >= 0.0):
            raise ValueError(f"liquidity {self.liquidity} of {self.name!r} is negative or not finite")


@dataclass(frozen=True)
class Account:
    """What is stressed.

    Attributes
    ----------
    name : of the account. cash : money. book : its legs. closeout : cost of closing all of it in normal times, money.
    """

    name: str
    cash: float
    book: OptionBook
    closeout: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.cash):
            raise ValueError(f"cash {self.cash} of {self.name!r} is not finite")
        if not (math.isfinite(self.closeout) and self.closeout >= 0.0):
            raise ValueError(f"closeout {self.closeout} of {self.name!r} is negative or not finite")

    @property
    def equity(self) -> float:
        """At the mark, before close-out."""
        return self.cash + self.book.value


@dataclass(frozen=True)
class Outcome:
    """One account in one scenario.

    Attributes
    ----------
    account, scenario : names. equity : before. profit : of the legs. cost : of closing them. after : what is left.
    worst_leg : place of the leg that lost most.
    """

    account: str
    scenario: str
    equity: float
    profit: float
    cost: float
    after: float
    worst_leg: int

    @property
    def shortfall(self) -> float:
        """What is missing, at least 0."""
        return max(-self.after, 0.0)


def account_of(book: Book, name: str = "", half_spread: float = 0.0005) -> Account:
    """The account of a book file: its equity as the book has it, its legs as factors by underlying.

    Closing costs `half_spread` of each leg's notional at its forward. A coin-settled future counts like a linear one:
    the dollars of `q * m / (1 + m)` coins at the moved price are `q * m` at the old.

    Raises
    ------
    ValueError
        The book has no legs.
    """
    legs = [
        Leg(
            leg.underlying, leg.quantity, leg.forward, leg.kind is Kind.CALL, leg.strike,
            (leg.expiry - book.timestamp) / YEAR, leg.volatility,
        )
        if leg.kind.is_option
        else Leg(leg.underlying, leg.quantity, leg.forward)
        for leg in book.legs
    ]  # fmt: skip
    if not legs:
        raise ValueError(f"legs of {name or book.name or 'the book'} is empty: there is nothing to stress")
    options = OptionBook(legs)
    notional = float(np.abs(options.quantity) @ options.price)
    return Account(name or book.name or "book", book.equity - options.value, options, half_spread * notional)


def _rows(book: OptionBook, scenarios: Sequence[Scenario]) -> tuple[Array, Array]:
    prices = np.array([[s.prices.get(f, 0.0) for f in book.factors] for s in scenarios])
    return prices, np.array([[s.volatilities.get(f, 0.0) for f in book.factors] for s in scenarios])


def run(accounts: Sequence[Account], scenarios: Sequence[Scenario]) -> list[Outcome]:
    """Every account in every scenario, by full revaluation; accounts first, then scenarios.

    Raises
    ------
    ValueError
        No accounts or no scenarios, or two of one name.
    """
    for what, names in (("accounts", [a.name for a in accounts]), ("scenarios", [s.name for s in scenarios])):
        if not names:
            raise ValueError(f"{what} is empty")
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"{what} has {twice!r} twice")
    out = []
    for account in accounts:
        legs = account.book.leg_profit(*_rows(account.book, scenarios))
        for scenario, row in zip(scenarios, legs, strict=True):
            profit, cost = float(row.sum()), account.closeout * scenario.liquidity
            out.append(
                Outcome(
                    account.name, scenario.name, account.equity, profit, cost,
                    account.equity + profit - cost, int(np.argmin(row)),
                )
            )  # fmt: skip
    return out


@dataclass(frozen=True)
class FundOutcome:
    """A fund in one scenario: `missing` of all accounts, the largest two, and what is left of the fund after all."""

    scenario: str
    missing: float
    largest_two: float
    accounts: tuple[str, ...]
    left: float


def fund_outcomes(outcomes: Sequence[Outcome], fund: float) -> list[FundOutcome]:
    """The fund in each scenario, worst first; `accounts` are those that fall short, most first."""
    if not (math.isfinite(fund) and fund >= 0.0):
        raise ValueError(f"fund {fund} is negative or not finite")
    by: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by.setdefault(outcome.scenario, []).append(outcome)
    out = []
    for name, group in by.items():
        short = sorted((o for o in group if o.shortfall > 0.0), key=lambda o: -o.shortfall)
        total = sum(o.shortfall for o in short)
        names = tuple(o.account for o in short)
        out.append(FundOutcome(name, total, sum(o.shortfall for o in short[:2]), names, fund - total))
    return sorted(out, key=lambda o: o.left)


# Where scenarios come from


def historical(
    candles: Mapping[str, Candles], hours: int = 24, count: int = 5, volatility_beta: float = 1.0
) -> list[Scenario]:
    """The worst windows of each factor, both ways, with what the others did in the same hours.

    Volatility moves by ``volatility_beta * |price move| * sqrt(365 * 24 / hours) / typical annual volatility``, at most
    +300 %: there are no option quotes in candles, and this is a model of them. Windows of one factor do not overlap.

    Parameters
    ----------
    candles : by factor. hours : of a window. count : of windows each way for each factor.

    Raises
    ------
    ValueError
        No candles, or fewer than ten windows that all factors have.
    """
    if not candles or hours < 1 or count < 1:
        raise ValueError(f"{len(candles)} candle files, {hours} hours, {count} windows: at least one of each")
    moves, starts, step = _joint_moves(candles, hours)
    typical = {f: max(float(np.std(np.log1p(m))) * math.sqrt(365 * 24 / hours), 1e-6) for f, m in moves.items()}
    places: dict[int, str] = {}
    for factor, sign in itertools.product(moves, (1.0, -1.0)):
        taken: list[int] = []
        for place in np.argsort(sign * moves[factor], kind="stable"):
            if len(taken) == count:
                break
            if all(abs(int(place) - other) * step >= hours * 3600 for other in taken):
                taken.append(int(place))
                places.setdefault(int(place), f"{factor} {moves[factor][place]:+.1%} from {iso(int(starts[place]))}")
    out = []
    for place, name in places.items():
        prices = {f: float(m[place]) for f, m in moves.items()}
        annual = {f: abs(math.log1p(p)) * math.sqrt(365 * 24 / hours) for f, p in prices.items()}
        vols = {f: min(volatility_beta * annual[f] / typical[f], 3.0) for f in prices}
        out.append(Scenario(f"history: {name}, {hours} h", prices, vols))
    return out


def _joint_moves(candles: Mapping[str, Candles], hours: int) -> tuple[dict[str, Array], npt.NDArray[np.int64], int]:
    """Relative moves over `hours` from each candle that all have, and that do not span a gap."""
    steps = {c.step for c in candles.values()}
    if len(steps) != 1 or (hours * 3600) % (step := steps.pop()):
        raise ValueError(f"hours {hours} are no whole number of candles, or the files differ in step")
    span = hours * 3600
    shared: set[int] = set.intersection(*(set(c.timestamps.tolist()) for c in candles.values()))
    starts = np.array(sorted(t for t in shared if t + span in shared), dtype=np.int64)
    if len(starts) < 10:
        raise ValueError(
            f"{len(starts)} windows of {hours} h that all of {', '.join(candles)} have: at least 10 needed"
        )
    moves = {}
    for factor, c in candles.items():
        here, there = np.searchsorted(c.timestamps, starts), np.searchsorted(c.timestamps, starts + span)
        moves[factor] = c.close[there] / c.close[here] - 1.0
    return moves, starts + step, step


def grid(factors: Sequence[str], prices: Sequence[float], volatilities: Sequence[float]) -> list[Scenario]:
    """All factors moved together: every price move with every volatility move."""
    return [
        Scenario(f"grid: price {p:+.0%}, volatility {v:+.0%}", dict.fromkeys(factors, p), dict.fromkeys(factors, v))
        for p, v in itertools.product(prices, volatilities)
    ]


def correlation_breaks(moves: Mapping[str, float], volatility: float = 0.5) -> list[Scenario]:
    """Every combination of signs of each factor's own move, and each factor alone: what a correlation credit relies on.

    Parameters
    ----------
    moves : size of the move by factor. volatility : relative rise that goes with it.
    """
    names = list(moves)
    vols = dict.fromkeys(names, volatility)
    out = []
    for signs in itertools.product((1.0, -1.0, 0.0), repeat=len(names)):
        if any(signs):
            # A fall of more than everything is everything.
            prices = {f: max(s * moves[f], -1.0) for f, s in zip(names, signs, strict=True)}
            text = ", ".join(f"{f} {p:+.0%}" for f, p in prices.items())
            out.append(Scenario(f"correlation: {text}", prices, vols))
    return out


def volatility_regimes(factors: Sequence[str], jumps: Sequence[float] = (-0.5, 0.5, 1.0, 2.0)) -> list[Scenario]:
    """Volatility jumps to another level while prices stay: together, and each factor alone."""
    out = []
    for jump in jumps:
        out.append(Scenario(f"volatility: all {jump:+.0%}", {}, dict.fromkeys(factors, jump)))
        if len(factors) > 1:
            out += [Scenario(f"volatility: {f} {jump:+.0%}", {}, {f: jump}) for f in factors]
    return out


def dry_ups(base: Sequence[Scenario], multiples: Sequence[float] = (5.0, 20.0)) -> list[Scenario]:
    """The same scenarios while close-out costs a multiple: depth that leaves when prices move."""
    return [
        Scenario(f"{s.name}, close-out x{m:g}", s.prices, s.volatilities, s.liquidity * m)
        for m in multiples
        for s in base
    ]


def standard_scenarios(factors: Sequence[str], candles: Mapping[str, Candles] | None = None) -> list[Scenario]:
    """Grid, correlation breaks, volatility regimes, dry-ups of the worst of them, and history where there are
    candles.
    """
    base = grid(factors, (-0.66, -0.33, -0.16, 0.16, 0.33, 1.0), (-0.25, 0.0, 0.5))
    base += correlation_breaks(dict.fromkeys(factors, 0.3)) if len(factors) > 1 else []
    base += volatility_regimes(factors)
    base += dry_ups([s for s in base if any(s.prices.values()) and 0.5 in s.volatilities.values()])
    if candles:
        base += historical(candles, hours=max(24, next(iter(candles.values())).step // 3600))
    return base
