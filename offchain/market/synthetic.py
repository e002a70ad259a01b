"""A made-up crash with the shape of 12 March 2020, for machines without the real files.

Anchored to public figures of that day: from close to close of 12 March BTC fell 40.0 % and ETH 45.2 %, in their worst
hours 20.7 % and 24.5 %; lows 45.2 % and 51.2 % below. Everything between those anchors is chance: correlated
Student-t returns with calm volatility before, and a wild but recovering market after. It is not history, and says so
(`Candles.synthetic`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offchain.config import UNDERLYINGS, BallastError
from offchain.market.candles import Candles, timestamp_of
from offchain.units import DAY, HOUR, YEAR

Array = npt.NDArray[np.float64]

CRASH_DAY = timestamp_of("2020-03-12")
START = CRASH_DAY - DAY
WARMUP_HOURS = 45 * 24
FIRST_SHOCK, WORST_HOUR, LAST_SHOCK = 10, 23, 20
"""Hours of the crash day (UTC): the first wave, the worst hour, and the one that announces it."""


@dataclass(frozen=True)
class Anchor:
    """What one underlying did on the day.

    Attributes
    ----------
    before : price at the close of the day before, dollars.
    day : return from close to close. worst : of the worst hour. first : of the first wave's hour.
    low : lowest print against the close of the day before.
    rebound : return of the day after.
    calm : volatility a year of the weeks before.
    volume : units an hour in calm times.
    """

    before: float
    day: float
    worst: float
    first: float
    low: float
    rebound: float
    calm: float
    volume: float


ANCHORS = {
    "BTC": Anchor(7_935.0, -0.400, -0.207, -0.187, -0.452, 0.165, 0.50, 4_000.0),
    "ETH": Anchor(194.5, -0.452, -0.245, -0.217, -0.512, 0.165, 0.65, 40_000.0),
}


def _bridge(noise: Array, total: float, fixed: dict[int, float], least: float) -> Array:
    """Log returns that add up to `total` and take given values at given places, with `noise` elsewhere.

    The noise is shifted to fit the sum; what would fall below `least` is moved up and shared out again.
    """
    out = noise.copy()
    free = np.array([place not in fixed for place in range(len(out))])
    for place, value in fixed.items():
        out[place] = value
    for _ in range(100):
        out[free] += (total - out.sum()) / free.sum()
        if (out[free] >= least).all():
            break
        out[free] = np.maximum(out[free], least * 0.9)
    return out


def _student(rng: np.random.Generator, hours: int, correlation: float, degrees: float = 4.0) -> Array:
    """Correlated Student-t returns of unit variance, (2, hours); a common mixing variable keeps bad hours joint."""
    normal = rng.standard_normal((2, hours))
    normal[1] = correlation * normal[0] + np.sqrt(1.0 - correlation**2) * normal[1]
    mixing = np.sqrt(rng.chisquare(degrees, hours) / degrees)
    return normal / mixing * np.sqrt((degrees - 2.0) / degrees)


def _candles(name: str, anchor: Anchor, returns: Array, first: int, crash: int, rng: np.random.Generator) -> Candles:
    """Candles from log returns: `crash` is the place of the crash day's first hour, before which the anchor's price
    is met.
    """
    path = np.concatenate([[0.0], np.cumsum(returns)])
    close = anchor.before * np.exp(path[1:] - path[crash])
    opened = anchor.before * np.exp(path[:-1] - path[crash])
    wick = 0.3 * np.abs(returns) + 0.0005
    high = np.maximum(opened, close) * np.exp(wick * rng.uniform(0.1, 0.6, len(returns)))
    low = np.minimum(opened, close) * np.exp(-wick * rng.uniform(0.1, 0.6, len(returns)))
    bottom = anchor.before * (1.0 + anchor.low)
    day = slice(crash, crash + 24)
    low[day] = np.maximum(low[day], bottom)
    low[crash + WORST_HOUR] = bottom
    low = np.minimum(low, np.minimum(opened, close))
    volume = anchor.volume * np.exp(rng.normal(0.0, 0.4, len(returns))) * (1.0 + 60.0 * np.abs(returns))
    timestamps = first + HOUR * np.arange(len(returns), dtype=np.int64)
    opened, high, low, close, volume = (np.round(column, 2) for column in (opened, high, low, close, volume))
    return Candles(f"synthetic {name}", HOUR, timestamps, opened, high, low, close, volume, synthetic=True)


def synthetic_crash(seed: int = 7, hours: int = 72, warmup_hours: int = WARMUP_HOURS) -> dict[int, Candles]:
    """Hourly candles of BTC (1) and ETH (2) through a made-up crash.

    Parameters
    ----------
    seed : of all chance; the same seed gives the same candles.
    hours : from 11 March 2020 00:00 UTC, at least 48: the crash is the second day.
    warmup_hours : of history before, at least 24.

    Returns
    -------
    Candles by underlying, from `warmup_hours` before the start, gap free, marked synthetic.

    Raises
    ------
    BallastError
        Too few hours.
    """
    if hours < 48 or warmup_hours < 24:
        raise BallastError(f"a synthetic crash of {hours} hours after {warmup_hours}: choose at least 48 and 24")
    rng = np.random.default_rng(seed)
    total = warmup_hours + hours
    crash = warmup_hours + 24
    shocks = _student(rng, total, correlation=0.85)
    scale = np.ones(total)
    scale[crash : crash + 24] = 2.2
    scale[crash + 24 :] = 4.0 * 0.5 ** (np.arange(total - crash - 24) / 24.0) + 1.0
    out = {}
    for row, (name, anchor) in enumerate(ANCHORS.items()):
        returns = shocks[row] * scale * anchor.calm * np.sqrt(HOUR / YEAR)
        returns[:crash] = np.clip(returns[:crash], -0.06, 0.06)
        announced = np.log1p(anchor.first) * 0.3
        fixed = {
            FIRST_SHOCK: float(np.log1p(anchor.first)),
            LAST_SHOCK: float(announced),
            WORST_HOUR: float(np.log1p(anchor.worst)),
        }
        least = 0.8 * float(np.log1p(anchor.worst))
        returns[crash : crash + 24] = _bridge(returns[crash : crash + 24], float(np.log1p(anchor.day)), fixed, least)
        after = returns[crash + 24 : crash + 48]
        if len(after):
            share = float(np.log1p(anchor.rebound)) * len(after) / 24.0
            returns[crash + 24 : crash + 48] = _bridge(np.clip(after, -0.1, 0.1), share, {}, least)
        returns[crash + 48 :] = np.clip(returns[crash + 48 :], -0.1, 0.1)
        out[UNDERLYINGS[name]] = _candles(name, anchor, returns, START - warmup_hours * HOUR, crash, rng)
    return out
