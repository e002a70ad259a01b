"""Price paths: from candles, from days drawn out of history, from jump diffusions, from points a person wrote down.

Every path is a table of integers: seconds from the start, and micro-USD a unit of each underlying. All chance comes
from the generator that the caller gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from offchain.config import BallastError
from offchain.market.candles import CandleError, Candles, iso
from offchain.units import YEAR, to_micro_nearest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST = 2**48 - 1
"""Micro-USD a unit: the dearest forward that an instrument leaf holds (docs/protocol.md)."""


@dataclass(frozen=True, eq=False)
class Paths:
    """Prices of several underlyings at the same times.

    Attributes
    ----------
    times : int64 (n,), seconds from the start, strictly ascending.
    prices : by underlying, int64 (n,), micro-USD a unit, from 1 to 2^48 - 1.

    Raises
    ------
    BallastError
        Lengths differ, times do not ascend, or a price is out of range.
    """

    times: Ints
    prices: Mapping[int, Ints]

    def __post_init__(self) -> None:
        if len(self.times) < 1 or (np.diff(self.times) <= 0).any():
            raise BallastError("a price path needs at least one time, and times that ascend")
        for underlying, column in self.prices.items():
            if column.dtype != np.int64 or column.shape != self.times.shape:
                raise BallastError(f"prices of underlying {underlying}: {column.shape}, not one integer a time")
            bad = np.flatnonzero((column < 1) | (column > MOST))
            if len(bad):
                place = int(bad[0])
                raise BallastError(
                    f"price of underlying {underlying} at {int(self.times[place])} s is {int(column[place])}: "
                    f"prices in micro-USD are from 1 to {MOST}"
                )

    def __len__(self) -> int:
        return len(self.times)

    def at(self, underlying: int, time: int) -> int:
        """Price that holds at a time: of the last point not after it, micro-USD a unit."""
        place = int(np.searchsorted(self.times, time, side="right")) - 1
        return int(self.prices[underlying][max(place, 0)])

    def returns(self, underlying: int) -> Floats:
        """Log returns between points, float64 (n - 1,)."""
        return np.diff(np.log(self.prices[underlying].astype(np.float64)))

    def scaled(self, underlying: int, factors: Floats) -> Paths:
        """The same paths with those of one underlying multiplied by `factors`, float64 (n,)."""
        return Paths(self.times, {**self.prices, underlying: _micro(self.prices[underlying] / 1e6 * factors)})

    def joined(self, other: Paths) -> Paths:
        """Both sets of underlyings; `other` wins where both have one. The times must be the same."""
        if not np.array_equal(self.times, other.times):
            raise BallastError("price paths of different times cannot be joined: build them on the same grid")
        return Paths(self.times, {**self.prices, **other.prices})


def grid(duration: int, step: int) -> Ints:
    """Times `0, step, ..., ` up to and with `duration`, seconds.

    Raises
    ------
    BallastError
        The step is not positive, or longer than the duration.
    """
    if not 1 <= step <= duration:
        raise BallastError(f"a step of {step} s in {duration} s: choose from 1 s to the whole duration")
    return np.arange(0, duration + 1, step, dtype=np.int64)


def _micro(dollars: Floats) -> Ints:
    """Dollars to micro-USD within the range that a path may have."""
    return to_micro_nearest(np.clip(dollars, 1e-6, MOST / 1e6))


def _nodes(candles: Candles) -> tuple[Floats, Floats]:
    """Times (seconds) and dollars through which a candle file's price is taken to have gone.

    A candle says where its price was, not when: a falling one is taken to have gone open, high, low, close, a rising
    one open, low, high, close, at even times.
    """
    falling = candles.close < candles.open
    first = np.where(falling, candles.high, candles.low)
    second = np.where(falling, candles.low, candles.high)
    corners = np.stack([candles.open, first, second, candles.close], axis=1)
    offsets = np.array([0.0, 1.0, 2.0, 3.0]) * candles.step / 3.0
    offsets[3] -= min(1e-3 * candles.step, 1e-3)  # the next candle's open may differ from this close
    return (candles.timestamps[:, None] + offsets).ravel(), corners.ravel()


def from_candles(candles: Mapping[int, Candles], start: int, times: Ints) -> Paths:
    """The path that candle files tell.

    At a candle's opening time the price is its open; within a candle it passes high and low (`_nodes`), straight in the
    logarithm.

    Parameters
    ----------
    candles : by underlying, of any steps.
    start : seconds since 1970 that time 0 stands for.
    times : int64 (n,), seconds from the start, ascending.

    Raises
    ------
    CandleError
        A file does not reach over all times, or has a gap there; the message names the gap.
    """
    begin, end = start + int(times[0]), start + int(times[-1])
    out = {}
    for underlying, file in candles.items():
        if begin < file.start or end > file.end:
            raise CandleError(
                f"{file.name}: {iso(begin)} to {iso(end)} is not within the file, which runs from {iso(file.start)} to "
                f"{iso(file.end)}: choose another start or a shorter run"
            )
        for missing, there in file.gaps():
            if missing <= end and there > begin:
                raise CandleError(
                    f"{file.name}: gap from {iso(missing)} to {iso(there)}: choose a window without it, or "
                    "fill the file"
                )
        nodes, dollars = _nodes(file)
        out[underlying] = _micro(np.exp(np.interp(start + times.astype(np.float64), nodes, np.log(dollars))))
    return Paths(times, out)


def bootstrapped(
    history: Mapping[int, Candles],
    rng: np.random.Generator,
    times: Ints,
    *,
    block: int = 86_400,
    prices: Mapping[int, float] | None = None,
) -> Paths:
    """Days drawn out of history with replacement and put end to end.

    A block is drawn for all underlyings at once, so what moved together moves together, and volatility that clusters
    within a block stays clustered (moving block bootstrap: Kuensch, "The jackknife and the bootstrap for general
    stationary observations", Annals of Statistics 17, 1989).

    Parameters
    ----------
    history : candles by underlying, of the same step.
    times : int64 (n,), seconds from the start, ascending, at least two; none finer than a candle is invented: between
        candles the price goes straight in the logarithm.
    block : length of a block, seconds, a multiple of the candles' step.
    prices : dollars at time 0; the last close of the history where it is not given.

    Raises
    ------
    BallastError
        The files' steps differ, or no stretch of `block` seconds is complete in all of them.
    """
    steps = {file.step for file in history.values()}
    if len(steps) != 1:
        raise BallastError(f"candles of steps {sorted(steps)}: bootstrapping needs one step for all underlyings")
    step = steps.pop()
    if block < step or block % step:
        raise BallastError(f"block of {block} s: choose a multiple of the candles' step of {step} s")
    length = block // step
    common = sorted(set.intersection(*(set(file.timestamps.tolist()) for file in history.values())))
    stamps = np.array(common, dtype=np.int64)
    order = sorted(history)
    logs = np.array(
        [np.log(history[u].close[np.isin(history[u].timestamps, stamps)]) for u in order], dtype=np.float64
    )  # (underlyings, candles)
    moves = np.diff(logs, axis=1)
    whole = np.diff(stamps) == step
    starts = np.zeros(0, dtype=np.int64)
    if len(whole) >= length:
        runs = np.convolve(whole.astype(np.int64), np.ones(length, dtype=np.int64), mode="valid") == length
        starts = np.flatnonzero(runs)
    if not len(starts):
        raise BallastError(f"the candles have no complete stretch of {block + step} s in common: use longer files")
    span = int(times[-1]) - int(times[0])
    count = -(-span // block) if span else 1
    chosen = rng.choice(starts, size=count)
    path = np.concatenate([moves[:, place : place + length] for place in chosen], axis=1)
    nodes = int(times[0]) + step * np.arange(path.shape[1] + 1, dtype=np.float64)
    out = {}
    for row, underlying in enumerate(order):
        first = (prices or {}).get(underlying, float(np.exp(logs[row, -1])))
        level = np.log(first) + np.concatenate([[0.0], np.cumsum(path[row])])
        out[underlying] = _micro(np.exp(np.interp(times.astype(np.float64), nodes, level)))
    return Paths(times, out)


@dataclass(frozen=True)
class Diffusion:
    """One underlying's law of motion (Merton, "Option pricing when underlying stock returns are discontinuous", 1976).

    Attributes
    ----------
    price : dollars at time 0.
    volatility : of the diffusion, a year.
    drift : expected return a year, jumps included.
    jumps : expected number a year.
    jump_mean, jump_spread : mean and standard deviation of a jump's log return.
    """

    price: float
    volatility: float
    drift: float = 0.0
    jumps: float = 0.0
    jump_mean: float = 0.0
    jump_spread: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.price <= MOST / 1e6:
            raise BallastError(f"price {self.price}: choose a positive number of dollars")
        for name in ("volatility", "jumps", "jump_spread"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BallastError(f"{name} {getattr(self, name)}: choose a number that is not negative")


def correlation_root(correlation: Floats) -> Floats:
    """A lower triangular matrix `a` with ``a @ a.T == correlation``, float64 (m, m), also for one that is singular.

    Triangular, so that the first row stays what it is whatever it is correlated with, and only later ones follow it.

    Raises
    ------
    BallastError
        The matrix is not symmetric with ones on its diagonal, or no correlations are like that.
    """
    matrix = np.asarray(correlation, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T, atol=1e-12):
        raise BallastError("a correlation matrix is square and symmetric")
    if not np.allclose(np.diag(matrix), 1.0, atol=1e-12):
        raise BallastError("a correlation matrix has ones on its diagonal")
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -1e-9:
        raise BallastError(f"no prices are correlated like that: the matrix has the eigenvalue {values[0]:.3g}")
    try:
        return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:  # singular: from the root that is not triangular, ``r.T @ r`` being the same matrix
        upper = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T).R
        return np.asarray(upper.T * np.where(np.diag(upper) < 0, -1.0, 1.0), dtype=np.float64)


def matrix_of(pairs: Iterable[tuple[int, int, float]], order: Sequence[int]) -> Floats:
    """Correlations of some underlyings as a matrix, float64 (m, m): pairs that are not named have none.

    Parameters
    ----------
    pairs : (underlying, underlying, coefficient), each pair once. order : underlyings, one a row.
    """
    out = np.eye(len(order))
    place = {underlying: row for row, underlying in enumerate(order)}
    for one, other, value in pairs:
        out[place[one], place[other]] = out[place[other], place[one]] = value
    return out


def jump_diffusion(law: Diffusion, rng: np.random.Generator, times: Ints, normal: Floats | None = None) -> Ints:
    """A diffusion with jumps; without jumps, a geometric Brownian motion. Micro-USD a unit, int64 (n,).

    ``d log S = (drift - vol^2 / 2 - jumps * (E[exp J] - 1)) dt + vol dW + J dN``, so that the expected price grows by
    `drift` whatever the jumps are.

    Parameters
    ----------
    times : int64 (n,), seconds from the start, ascending.
    normal : standard normal moves of the Brownian motion, float64 (n - 1,); None draws them.

    Raises
    ------
    BallastError
        The moves are not as many.
    """
    years = np.diff(times.astype(np.float64)) / YEAR
    if normal is None:
        normal = rng.standard_normal(len(years))
    elif normal.shape != years.shape:
        raise BallastError(f"normal moves of shape {normal.shape} for {len(years)} steps")
    count = rng.poisson(law.jumps * years)
    jump = count * law.jump_mean + np.sqrt(count) * law.jump_spread * rng.standard_normal(len(years))
    paid = law.jumps * (np.exp(law.jump_mean + law.jump_spread**2 / 2) - 1.0)
    trend = law.drift - law.volatility**2 / 2 - paid
    moves = trend * years + law.volatility * np.sqrt(years) * normal + jump
    return _micro(law.price * np.exp(np.concatenate([[0.0], np.cumsum(moves)])))


def piecewise(
    points: Sequence[tuple[int, float]],
    times: Ints,
    *,
    price: float | None = None,
    between: Literal["log", "linear", "hold"] = "log",
) -> Ints:
    """A path through points that a person wrote down, micro-USD a unit, int64 (n,).

    Before the first point its value holds, after the last its value.

    Parameters
    ----------
    points : (seconds from the start, dollars), ascending; with `price`, (seconds, factor of that price).
    times : int64 (n,), seconds from the start.
    price : dollars that factors refer to; None where the points are prices.
    between : straight in the logarithm, straight, or each point's value until the next.

    Raises
    ------
    BallastError
        There is no point, times do not ascend, or a value is not positive.
    """
    if not points:
        raise BallastError("a path needs at least one point")
    at = np.array([time for time, _ in points], dtype=np.float64)
    values = np.array([value for _, value in points], dtype=np.float64) * (1.0 if price is None else price)
    if (np.diff(at) <= 0).any():
        place = int(np.flatnonzero(np.diff(at) <= 0)[0]) + 1
        raise BallastError(f"point {place + 1} of the path, at {at[place]:.0f} s, does not come after the one before")
    if not (np.isfinite(values) & (values > 0)).all():
        place = int(np.flatnonzero(~(np.isfinite(values) & (values > 0)))[0])
        raise BallastError(f"point {place + 1} of the path has the value {points[place][1]}: values are positive")
    when = times.astype(np.float64)
    if between == "hold":
        dollars = values[np.maximum(np.searchsorted(at, when, side="right") - 1, 0)]
    elif between == "linear":
        dollars = np.interp(when, at, values)
    else:
        dollars = np.exp(np.interp(when, at, np.log(values)))
    return _micro(dollars)


def with_noise(path: Ints, times: Ints, volatility: float, normal: Floats) -> Ints:
    """A path with chance around it that ends where it ends: a Brownian bridge in the logarithm.

    Bridges whose moves are correlated are correlated alike.

    Parameters
    ----------
    path : int64 (n,), micro-USD a unit. times : int64 (n,), seconds.
    volatility : of the noise, a year. normal : its standard normal moves, float64 (n - 1,).
    """
    years = np.diff(times.astype(np.float64)) / YEAR
    walk = np.concatenate([[0.0], np.cumsum(volatility * np.sqrt(years) * normal)])
    span = float(times[-1] - times[0])
    bridge = walk - walk[-1] * (times - times[0]) / span if span else walk
    return _micro(path / 1e6 * np.exp(bridge))
