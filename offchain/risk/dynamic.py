"""Margins that follow volatility without chasing it: filtered historical simulation on a blended volatility, the
remedies against procyclicality, slew and hysteresis, and measures of how procyclical the result is.

    b_t^2 = (1 - long_run) * forecast_t + long_run * (mean measured variance of all days before t)
    z_s   = loss_s / b_s,            margin_t = q(z_s, s < t) * b_t * sqrt(period)

Losses and margins are logarithmic until `fraction`: a long position loses ``1 - e^-x`` of its value, a short one ``e^x
- 1``. Everything for day t is known before day t. Quantile convention: order statistic ``ceil(confidence * n)``
(`offchain.risk.volatility.quantile`).

The long-run share is inside the filter: `z` is measured against the same blend, so coverage stays right while the
margin moves less. A stressed weight or a buffer on top of a calibrated quantile instead breaches too rarely for its
confidence, which Kupiec's test rejects on some of the series in docs/backtest.md.

Sources: J. Hull and A. White, J. Risk 1, 1998 (filtered historical simulation); Regulation (EU) 153/2013, Article 28 (a
buffer of 25 % that can be drawn down, 25 % weight on stressed observations, a floor from long-run volatility); D.
Murphy, M. Vasios and N. Vause, Bank of England Financial Stability Paper 29, 2014 (peak-to-trough and n-day measures).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from offchain.risk.forecast import Days, Ewma, Forecaster, HarRv
from offchain.risk.volatility import quantile
from offchain.units import to_micro_nearest

Array = npt.NDArray[np.float64]

WARMUP = 500
"""Days before the first margin of a backtest: a quantile of 99 % of fewer is hardly one."""
BUFFER = 0.25
RISE_DAYS = (1, 5, 30)


class Side(StrEnum):
    """What is held."""

    LONG = "long"
    SHORT = "short"


def losses(days: Days, side: Side) -> Array:
    """Logarithmic losses (n,), positive where the position lost."""
    return -days.returns if side is Side.LONG else days.returns.copy()


def fraction(logarithmic: npt.ArrayLike, side: Side) -> Array:
    """Logarithmic losses or margins as a fraction of the position's value."""
    x = np.asarray(logarithmic, dtype=np.float64)
    return -np.expm1(-x) if side is Side.LONG else np.expm1(x)


@dataclass(frozen=True)
class MarginModel:
    """How a margin is made from days.

    Attributes
    ----------
    name : for reports. forecaster : of variance; None for plain historical simulation, which filters nothing.
    horizon : days that the forecast averages over; more is steadier.
    long_run : share of the mean variance of all days before, within the filter.
    window : days of the quantile; None for all.
    stress_weight : on the greatest `WARMUP`-day historical margin so far (Article 28(1)(b)).
    buffer : added, and drawn down while the margin before it is above its own mean so far (Article 28(1)(a)).
    floor : whether the margin is at least that of the long-run volatility (Article 28(1)(c)).
    confidence : of a margin. period : margin period of risk, days.
    overlapping : whether a period of several days takes the quantile of overlapping sums of `z`, instead of
    sqrt(period). normal : whether the quantile is the normal one instead (RiskMetrics).
    band, up, down : hysteresis and daily slew of what is posted, see `posted`.
    """

    name: str = "HAR-RV, half long-run"
    forecaster: Forecaster | None = field(default_factory=HarRv)
    horizon: int = 5
    long_run: float = 0.5
    window: int | None = None
    stress_weight: float = 0.0
    buffer: float = 0.0
    floor: bool = False
    confidence: float = 0.99
    period: int = 1
    overlapping: bool = False
    normal: bool = False
    band: float = 0.0
    up: float = math.inf
    down: float = math.inf

    def __post_init__(self) -> None:
        for name in ("long_run", "stress_weight"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} is not within 0 and 1")
        if not 0.5 < self.confidence < 1.0:
            raise ValueError(f"confidence {self.confidence} is not within 0.5 and 1")
        if not 0.0 <= self.buffer <= 1.0:
            raise ValueError(f"buffer {self.buffer} is not within 0 and 1")
        if self.period < 1 or self.horizon < 1 or (self.window is not None and self.window < 100):
            raise ValueError(
                f"period {self.period}, horizon {self.horizon}, window {self.window}: at least 1, 1 and 100 days"
            )

    def volatility(self, days: Days) -> Array:
        """The filter's volatility (n + 1,), of the day to come in each place."""
        if self.forecaster is None:
            return np.ones(len(days) + 1)
        forecast = self.forecaster.forecast(days, self.horizon)
        return np.sqrt((1.0 - self.long_run) * forecast + self.long_run * long_run_variance(days))

    def margins(self, days: Days, side: Side, first: int = WARMUP) -> Array:
        """Logarithmic margins of days `first` to n, n - first + 1 of them: the last is for the day to come.

        Raises
        ------
        ValueError
            Fewer than `first` days, or `first` below 100.
        """
        if first < 100 or len(days) < first:
            raise ValueError(f"days has {len(days)} days, and the first margin is for day {first}: at least 100 before")
        loss, scale = losses(days, side), self.volatility(days)
        base = self._quantiles(loss / scale[:-1], first) * scale[first:]
        if self.floor:
            base = np.maximum(
                base, self._quantiles(loss / scale[:-1], first) * np.sqrt(long_run_variance(days)[first:])
            )
        if self.buffer:
            calm = np.cumsum(base) / np.arange(1, len(base) + 1)
            base = np.maximum(base, np.minimum((1.0 + self.buffer) * base, (1.0 + self.buffer) * calm))
        if self.stress_weight:
            stressed = np.maximum.accumulate(rolling_quantile(loss, self.confidence, WARMUP, first))
            base = (1.0 - self.stress_weight) * base + self.stress_weight * stressed * math.sqrt(self.period)
        if self.band or math.isfinite(self.up) or math.isfinite(self.down):
            base = posted(base, self.up, self.down, self.band)
        return np.maximum(base, 0.0)

    def _quantiles(self, z: Array, first: int) -> Array:
        if self.normal:
            return np.full(len(z) - first + 1, float(ndtri(self.confidence)) * math.sqrt(self.period))
        if self.period == 1 or not self.overlapping:
            return rolling_quantile(z, self.confidence, self.window, first) * math.sqrt(self.period)
        total = np.concatenate([[0.0], np.cumsum(z)])
        sums = total[self.period :] - total[: -self.period]  # sum k is complete on day k + period
        window = None if self.window is None else self.window - self.period + 1
        return rolling_quantile(sums, self.confidence, window, first - self.period + 1)


def long_run_variance(days: Days) -> Array:
    """Mean measured variance of all days before each (n + 1,); the first places take the mean of the first 60 days."""
    measure = days.measure
    out = np.concatenate([[measure[0]], np.cumsum(measure) / np.arange(1, len(measure) + 1)])
    head = min(60, len(measure))
    out[:head] = measure[:head].mean()
    return out


def rolling_quantile(values: Array, confidence: float, window: int | None, first: int) -> Array:
    """Order statistic ``ceil(confidence * n)`` of the `window` values (None: all) before each place from `first` on:
    (len(values) - first + 1,).
    """
    places = range(first, len(values) + 1)
    return np.array([quantile(values[0 if window is None else max(t - window, 0) : t], confidence) for t in places])


HISTORICAL = MarginModel("historical, 500 days", None, 1, 0.0, 500)
FILTERED = MarginModel("FHS .97", Ewma(0.97, True), 1, 0.0, 500)
STRESSED = MarginModel("FHS .97 + 25 % stress", Ewma(0.97, True), 1, 0.0, 500, stress_weight=0.25)
BUFFERED = MarginModel("FHS .97 + drawable buffer", Ewma(0.97, True), 1, 0.0, 500, buffer=BUFFER)
DEFAULT = MarginModel()
"""Five parameters: HAR-RV's mean of the next 5 days, half of the variance long-run, all days in the quantile."""


def posted(targets: npt.ArrayLike, up: float = math.inf, down: float = math.inf, band: float = 0.0) -> Array:
    """Targets as they would be posted: hysteresis, then slew.

    A posting stays while the target is within `band` of it; else it moves to the target, by at most the fraction `up`
    or `down` of itself a step.

    Parameters
    ----------
    targets : (n,), positive. up, down, band : at least 0.

    Raises
    ------
    ValueError
        A limit is negative or NaN, or a target is not positive and finite.
    """
    wanted = np.asarray(targets, dtype=np.float64)
    for name, limit in (("up", up), ("down", down), ("band", band)):
        if not limit >= 0.0:
            raise ValueError(f"{name} {limit} is not at least 0")
    if wanted.ndim != 1 or not len(wanted) or not (np.isfinite(wanted) & (wanted > 0.0)).all():
        raise ValueError(f"targets of shape {wanted.shape}: a series of positive, finite values is needed")
    out = np.empty_like(wanted)
    level = out[0] = wanted[0]
    for t in range(1, len(wanted)):
        if abs(wanted[t] / level - 1.0) > band:
            level = min(max(wanted[t], level * (1.0 - min(down, 1.0))), level * (1.0 + up))
        out[t] = level
    return out


@dataclass(frozen=True)
class Procyclicality:
    """How much a margin moves for one position.

    Attributes
    ----------
    mean : fraction of the position. peak_to_trough : greatest over least.
    rises : by days, the greatest relative rise over that many days (0.5 is half as much again).
    """

    mean: float
    peak_to_trough: float
    rises: Mapping[int, float]


def procyclicality(margins: npt.ArrayLike, spans: tuple[int, ...] = RISE_DAYS) -> Procyclicality:
    """Measures of a margin series.

    Raises
    ------
    ValueError
        A margin is not positive and finite, or the series is not longer than the longest span.
    """
    m = np.asarray(margins, dtype=np.float64)
    if m.ndim != 1 or len(m) <= max(spans):
        raise ValueError(f"margins has shape {m.shape}: a series longer than {max(spans)} days is needed")
    bad = ~(np.isfinite(m) & (m > 0.0))
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"margins has {m[place]} at place {place}: every margin must be positive and finite")
    rises = {n: max(float((m[n:] / m[:-n]).max()) - 1.0, 0.0) for n in spans}
    return Procyclicality(float(m.mean()), float(m.max() / m.min()), rises)


def scan_target(days: Days, model: MarginModel = DEFAULT) -> int:
    """The scan range for the day to come, 1e-6 nearest: the greater of both sides' margins, as a fraction of the price.

    What the oracle contract accepts of it is `offchain.risk.volatility.clip_scan_range`.

    Raises
    ------
    ValueError
        As `MarginModel.margins`.
    """
    first = len(days)
    both = (float(fraction(model.margins(days, side, first)[-1], side)) for side in Side)
    return max(to_micro_nearest(max(both)), 1)
