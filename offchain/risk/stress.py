"""Stress: what happens to which account in which scenario, and how much is missing.

A scenario moves the price and the volatility of each factor and multiplies close-out costs. An account survives while

    equity = cash + value of its legs,   equity after = equity + profit - close-out * liquidity   is at least 0,

and a fund survives while the sum of what accounts fall short of is at most what it holds. Scenarios come from history
(the worst windows of candles, or named ones), from grids, and from breaking what models rely on: correlation, calm
volatility, deep books. Reverse stress asks the other way round: the smallest joint move, in standard deviations, that
breaks an account or the fund (Basel Committee, "Stress testing principles", 2018; for the distance, T. Breuer, M.
Jandacka, K. Rheinberger and M. Summer, Int. J. Central Banking, September 2009).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import qmc

from offchain.instruments import Kind
from offchain.market.candles import Candles, iso
from offchain.risk.book import Book
from offchain.risk.revaluation import Leg, OptionBook
from offchain.risk.statistical import correlation
from offchain.units import YEAR

Array = npt.NDArray[np.float64]

MAX_SIGMAS = 60.0
"""Beyond, a reverse stress says that nothing breaks."""
_SECTIONS = 32


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


# Reverse stress


@dataclass(frozen=True)
class Breaking:
    """The smallest joint move that breaks something.

    Attributes
    ----------
    name : of the account, or "fund". distance : in standard deviations of the joint distribution (Mahalanobis);
    infinity where nothing within `MAX_SIGMAS` breaks it. prices, volatilities : the move by factor, relative.
    shortfall : just beyond it, money; 0 where nothing breaks.
    """

    name: str
    distance: float
    prices: Mapping[str, float]
    volatilities: Mapping[str, float]
    shortfall: float


def reverse(
    accounts: Sequence[Account],
    covariance: npt.ArrayLike,
    factors: Sequence[str],
    volatility_size: float = 0.15,
    leverage: float = -0.3,
    fund: float | None = None,
    liquidity: float = 1.0,
    directions: int = 512,
    seed: int = 1,
) -> list[Breaking]:
    """For each account, and for the fund if given, the smallest joint move of prices and volatilities that breaks it.

    Prices move by ``e^x - 1`` and volatilities by ``e^y - 1`` with jointly normal x and y of the given covariance.
    Each of many directions on the sphere is searched outwards for its first break; the nearest are polished by
    Nelder-Mead over directions. A search from samples cannot prove that nothing nearer exists: the distance is an
    upper bound, tight in tests where the answer is known.

    Parameters
    ----------
    accounts : at least one. covariance : of one day's log returns, (k, k). factors : k, its order.
    volatility_size : standard deviation of a day's log change of volatility, one for all. leverage : its correlation
    with the factor's own price. fund : money; None leaves it out. directions : searched. seed : of them.

    Raises
    ------
    ValueError
        The covariance does not fit the factors or is not positive definite, or an account has another factor.
    """
    names = list(factors)
    c = np.asarray(covariance, dtype=np.float64)
    corr = correlation(c)
    if len(c) != len(names):
        raise ValueError(f"covariance has {len(c)} rows for the factors {', '.join(names)}")
    for account in accounts:
        unknown = set(account.book.factors) - set(names)
        if unknown:
            raise ValueError(f"factor {sorted(unknown)[0]!r} of account {account.name!r} has no covariance")
    if not accounts or not volatility_size > 0.0 or not -1.0 < leverage < 1.0:
        raise ValueError(f"{len(accounts)} accounts, volatility_size {volatility_size}, leverage {leverage}")
    k = len(names)
    size = np.sqrt(np.diag(c))
    # Volatility: leverage times its own price's move, and one part of its own, correlated as prices are.
    root = np.linalg.cholesky(corr + 1e-12 * np.eye(k))
    own = math.sqrt(1.0 - leverage**2)

    def moves(x: Array) -> tuple[Array, Array]:
        z = x[..., :k] @ root.T
        y = leverage * z + own * (x[..., k:] @ root.T)
        return np.expm1(np.clip(z * size, -50, 5)), np.expm1(np.clip(y * volatility_size, -50, 3))

    def after(account: Account) -> Callable[[Array], Array]:
        columns = [names.index(f) for f in account.book.factors]
        floor = account.equity - account.closeout * liquidity

        def value(x: Array) -> Array:
            prices, vols = moves(x)
            return floor + account.book.profit(prices[:, columns], vols[:, columns])

        return value

    targets = [(account.name, after(account)) for account in accounts]
    if fund is not None:
        if not (math.isfinite(fund) and fund >= 0.0):
            raise ValueError(f"fund {fund} is negative or not finite")
        each = [value for _, value in targets]

        def left(x: Array, fund: float = fund) -> Array:
            return fund - np.sum([np.maximum(-value(x), 0.0) for value in each], axis=0)

        targets.append(("fund", left))
    rays = _rays(2 * k, directions, seed)
    return [_break(name, value, rays, moves, names) for name, value in targets]


def _rays(dimensions: int, count: int, seed: int) -> Array:
    """Directions spread over the sphere, the axes among them."""
    power = max(math.ceil(math.log2(count)), 1)
    points = qmc.MultivariateNormalQMC(np.zeros(dimensions), engine=qmc.Sobol(dimensions, rng=seed)).random(2**power)
    norm = np.linalg.norm(points, axis=1)
    points = points[norm > 1e-9] / norm[norm > 1e-9, None]
    axes = np.eye(dimensions)
    return np.concatenate([axes, -axes, points])


def _first_break(value: Callable[[Array], Array], rays: Array, limit: float) -> Array:
    """Distance along each ray to where the value first falls below 0; infinity where it does not before `limit`."""
    radii = np.concatenate([[0.0], np.geomspace(0.05, limit, 48)])
    shocks = rays[:, None, :] * radii[None, :, None]
    below = (value(shocks.reshape(-1, rays.shape[1])) < 0.0).reshape(len(rays), len(radii))
    hit = below.any(axis=1)
    place = np.argmax(below, axis=1)
    out = np.full(len(rays), np.inf)
    low, high = radii[np.maximum(place - 1, 0)][hit], radii[place][hit]
    share = np.arange(1, _SECTIONS + 1) / _SECTIONS
    for _ in range(7):  # each round divides the interval by 32; the first break within it is kept
        inner = low[:, None] + (high - low)[:, None] * share
        broken = value((rays[hit][:, None, :] * inner[:, :, None]).reshape(-1, rays.shape[1])) < 0.0
        broken = broken.reshape(inner.shape)
        broken[:, -1] = True
        first = np.argmax(broken, axis=1)
        rows = np.arange(len(inner))
        high, low = inner[rows, first], np.where(first > 0, inner[rows, np.maximum(first - 1, 0)], low)
    out[hit] = high
    return out


def _break(
    name: str,
    value: Callable[[Array], Array],
    rays: Array,
    moves: Callable[[Array], tuple[Array, Array]],
    factors: Sequence[str],
) -> Breaking:
    """The nearest break of one target."""
    distance = _first_break(value, rays, MAX_SIGMAS)
    if not np.isfinite(distance).any():
        return Breaking(name, math.inf, {}, {}, 0.0)
    best, ray = math.inf, rays[0]
    for start in np.argsort(distance, kind="stable")[:3]:
        if not np.isfinite(distance[start]):
            continue
        limit = float(distance[start]) * 1.5 + 0.1

        def along(direction: Array, limit: float = limit) -> float:
            size = float(np.linalg.norm(direction))
            if size < 1e-9:
                return limit
            return min(float(_first_break(value, (direction / size)[None, :], limit)[0]), limit)

        found = minimize(
            along, rays[start], method="Nelder-Mead", options={"maxiter": 150, "xatol": 1e-4, "fatol": 1e-6}
        )
        if found.fun < best:
            best, ray = float(found.fun), found.x / np.linalg.norm(found.x)
    point = (ray * best * (1.0 + 1e-9))[None, :]
    prices, vols = moves(point)
    missing = max(-float(value(point)[0]), 0.0)
    return Breaking(
        name,
        best,
        {f: float(p) for f, p in zip(factors, prices[0], strict=True)},
        {f: float(v) for f, v in zip(factors, vols[0], strict=True)},
        missing,
    )
