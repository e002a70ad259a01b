"""Forecasts of a day's variance, all behind one interface and all walk-forward.

`forecast(days, horizon)` gives (n + 1,) variances: entry t is the mean variance of days t to t + horizon - 1, made from
days before t alone; the last entry is for the days to come. Fitted models are refitted every `refit` days on all days
before. Until a model has `least` days to learn from, the entry is that of the EWMA on the same measure.

Sources: EWMA: J.P. Morgan, RiskMetrics Technical Document, 1996. GARCH: `offchain.risk.garch`. HAR-RV: F. Corsi, J.
Financial Econometrics 7, 2009, in logarithms as in T. Andersen, T. Bollerslev and F. Diebold, Review of Economics and
Statistics 89, 2007; its exponential is corrected by the smearing estimate of N. Duan, J. American Statistical
Association 78, 1983. Range variance of a daily candle: M. Garman and M. Klass, J. Business 53, 1980.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from offchain.market.candles import Candles
from offchain.market.realised import DECAY_SLOW, ewma_variance, log_returns
from offchain.risk.garch import fit_garch
from offchain.units import DAY

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_VARIANCE = 1e-8
"""Floor of a day's measured variance (0.01 % a day), for prices that stand still."""
MIN_DAYS = 60


@dataclass(frozen=True, eq=False)
class Days:
    """Days of one underlying, ascending.

    Attributes
    ----------
    day : int64 (n,), days since 1970-01-01. returns : (n,), logarithmic, close to close.
    measure : (n,), variance measured within the day, at least `MIN_VARIANCE`.

    Raises
    ------
    ValueError
        Lengths differ, a value is not finite, or fewer than two days.
    """

    day: Ints
    returns: Array
    measure: Array

    def __post_init__(self) -> None:
        if not len(self.day) == len(self.returns) == len(self.measure) or len(self.day) < 2:
            raise ValueError(
                f"days: {len(self.day)} days, {len(self.returns)} returns, {len(self.measure)} measures: "
                "as many of each, at least 2"
            )
        for name, values in (("returns", self.returns), ("measure", self.measure)):
            bad = ~np.isfinite(values)
            if name == "measure":
                bad |= values < MIN_VARIANCE
            if bad.any():
                place = int(np.argmax(bad))
                raise ValueError(f"{name} has {values[place]} at place {place}: out of range")

    def __len__(self) -> int:
        return len(self.day)

    @property
    def weekday(self) -> Ints:
        """(n + 1,): Monday is 0; the last is that of the day to come."""
        return (np.append(self.day, self.day[-1] + 1) + 3) % 7

    def until(self, count: int) -> Days:
        """The first `count` days."""
        return Days(self.day[:count], self.returns[:count], self.measure[:count])


def days_of(candles: Candles) -> Days:
    """Days from candles of a day or of any step that divides one.

    The measure of a day is the sum of squared returns of its candles (realised variance), or for daily candles
    ``ln(open/close before)^2 + ln(high/low)^2 / 2 - (2 ln 2 - 1) ln(close/open)^2`` (Garman and Klass 1980). The first
    day has no return and is left out, as is a last day that is not over. A gap counts as one return.

    Raises
    ------
    ValueError
        A step that does not divide a day, or fewer than three days.
    """
    if DAY % candles.step:
        raise ValueError(f"{candles.name}: candles of {candles.step} s do not divide a day")
    day = candles.timestamps // DAY
    first = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    last = np.append(first[1:] - 1, len(day) - 1)
    if (int(candles.timestamps[-1]) + candles.step) % DAY:
        first, last = first[:-1], last[:-1]
    if len(last) < 3:
        raise ValueError(f"{candles.name}: {len(last)} whole days: at least 3 are needed")
    closes = candles.close[last]
    if candles.step == DAY:
        gap = np.log(candles.open[1:] / candles.close[:-1])
        body, span = np.log(candles.close / candles.open), np.log(candles.high / candles.low)
        measure = gap**2 + (0.5 * span**2 - (2.0 * math.log(2.0) - 1.0) * body**2)[1:]
    else:
        squares = np.append(0.0, log_returns(candles.close)[: last[-1]] ** 2)
        measure = np.add.reduceat(squares, first)[1:]
    return Days(day[last][1:], log_returns(closes), np.maximum(measure, MIN_VARIANCE))


class Forecaster(Protocol):
    """A way to forecast variance."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def forecast(self, days: Days, horizon: int = 1) -> Array:
        """Variances (n + 1,) of a day, the mean of the next `horizon`; see the module."""
        ...


def _check(days: Days, horizon: int, least: int) -> None:
    if horizon < 1:
        raise ValueError(f"horizon {horizon}: choose at least one day")
    if len(days) < least:
        raise ValueError(f"days has {len(days)} days: at least {least} are needed for a forecast")


@dataclass(frozen=True)
class Ewma:
    """Exponentially weighted variance, the same for every horizon.

    Attributes
    ----------
    decay : a day. squares : of squared daily returns, as RiskMetrics has it; else of the day's measure.
    """

    decay: float = DECAY_SLOW
    squares: bool = False

    @property
    def name(self) -> str:
        """Decay, and what it averages."""
        return f"EWMA {self.decay:g}" + (" of squares" if self.squares else "")

    def forecast(self, days: Days, horizon: int = 1) -> Array:
        """See `Forecaster.forecast`."""
        _check(days, horizon, 2)
        source = np.abs(days.returns) if self.squares else np.sqrt(days.measure)
        return np.maximum(ewma_variance(source, self.decay), MIN_VARIANCE)


@dataclass(frozen=True)
class GarchDaily:
    """GARCH(1,1) of daily returns.

    Attributes
    ----------
    refit : days between fits. least : days before the first.
    """

    refit: int = 60
    least: int = 250

    name = "GARCH(1,1)"

    def forecast(self, days: Days, horizon: int = 1) -> Array:
        """See `Forecaster.forecast`; with a horizon, the mean that the model expects."""
        _check(days, horizon, MIN_DAYS)
        out = Ewma(squares=True).forecast(days)
        for start in range(self.least, len(days) + 1, self.refit):
            model = fit_garch(days.returns[:start])
            stop = min(start + self.refit, len(days) + 1)
            path = model.variances(days.returns[: stop - 1])
            out[start:stop] = model.mean_variance(path[start:stop], horizon)
        return np.maximum(out, MIN_VARIANCE)


def trailing_mean(values: Array, window: int) -> Array:
    """Mean of the last `window` values up to each, fewer at the beginning: (n,) to (n,)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    to = np.arange(1, len(values) + 1)
    since = np.maximum(to - window, 0)
    return np.asarray((total[to] - total[since]) / (to - since), dtype=np.float64)


def _targets(measure: Array, horizon: int) -> Array:
    """Logarithm of the mean measure of days t to t + horizon - 1; as many as are complete."""
    total = np.concatenate([[0.0], np.cumsum(measure)])
    return np.log(np.maximum((total[horizon:] - total[:-horizon]) / horizon, MIN_VARIANCE))


@dataclass(frozen=True)
class HarRv:
    """Heterogeneous autoregression of the logarithm of measured variance.

    ``ln v[t, h] = c + sum_k b_k * mean(ln v over the last k days) + weekday + e``, by least squares.

    Attributes
    ----------
    lags : windows in days. weekday : whether each weekday has a level of its own (markets that never close are calmer
    at weekends). refit : days between fits. least : days before the first.
    """

    lags: tuple[int, ...] = (1, 7, 30)
    weekday: bool = True
    refit: int = 20
    least: int = 100

    @property
    def name(self) -> str:
        """HAR-RV, and whether weekdays have levels."""
        return "HAR-RV" + ("" if self.weekday else " without weekdays")

    def features(self, days: Days) -> Array:
        """(n + 1, k): row t from days before t."""
        logs = np.log(days.measure)
        columns = [np.ones(len(days) + 1)]
        for lag in self.lags:
            mean = trailing_mean(logs, lag)
            columns.append(np.concatenate([mean[:1], mean]))
        if self.weekday:
            columns += [(days.weekday == k).astype(float) for k in range(1, 7)]
        return np.stack(columns, axis=1)

    def forecast(self, days: Days, horizon: int = 1) -> Array:
        """See `Forecaster.forecast`."""
        _check(days, horizon, MIN_DAYS)
        x, y = self.features(days), _targets(days.measure, horizon)
        out = Ewma().forecast(days)
        begin = max(self.lags)
        for start in range(max(self.least, begin + x.shape[1] + horizon + 10), len(days) + 1, self.refit):
            known = start - horizon + 1  # the target of row t is complete once day t + horizon - 1 is over
            rows, seen = x[begin:known], y[begin:known]
            weights = np.linalg.lstsq(rows, seen, rcond=None)[0]
            smear = float(np.mean(np.exp(seen - rows @ weights)))
            stop = min(start + self.refit, len(days) + 1)
            out[start:stop] = np.exp(x[start:stop] @ weights) * smear
        return np.maximum(out, MIN_VARIANCE)


@dataclass(frozen=True)
class Boosted:
    """Gradient-boosted trees on what HAR-RV leaves over (scikit-learn's HistGradientBoostingRegressor).

    The trees learn ``ln v[t, h] - ln HAR[t, h]`` from the HAR windows, weekday, recent returns and their asymmetry; the
    forecasts of HAR-RV they learn from were themselves out of sample.

    Attributes
    ----------
    refit : days between fits. least : days before the first. alone : whether the trees forecast without HAR-RV.
    """

    refit: int = 90
    least: int = 400
    alone: bool = False
    trees: int = 60
    rate: float = 0.03
    leaves: int = 8
    seed: int = 0

    @property
    def name(self) -> str:
        """Boosting, and on what."""
        return "boosted trees" + (" alone" if self.alone else " on HAR-RV")

    def _features(self, days: Days, base: Array) -> Array:
        logs, r = np.log(days.measure), days.returns
        scale = np.sqrt(base[:-1])
        fall = np.asarray(np.minimum(r, 0.0) ** 2, dtype=np.float64)
        rows: list[Array] = [
            *(trailing_mean(logs, k) for k in (1, 2, 7, 30, 90)),
            r / scale,
            np.abs(r) / scale,
            trailing_mean(r, 7) / scale,
            trailing_mean(fall, 7) / base[:-1],
            logs - np.log(base[:-1]),
        ]
        body = np.stack([np.concatenate([row[:1], row]) for row in rows], axis=1)
        return np.column_stack([body, days.weekday])

    def forecast(self, days: Days, horizon: int = 1) -> Array:
        """See `Forecaster.forecast`."""
        # scikit-learn takes a second to import, and only this needs it.
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        _check(days, horizon, MIN_DAYS)
        base = HarRv().forecast(days, horizon)
        x, y = self._features(days, base), _targets(days.measure, horizon)
        offset = np.zeros(len(days) + 1) if self.alone else np.log(base)
        out = base.copy()
        begin = 150  # HAR-RV's own forecasts before are made from too little
        for start in range(self.least, len(days) + 1, self.refit):
            known = start - horizon + 1
            seen = y[begin:known] - offset[begin:known]
            stop = min(start + self.refit, len(days) + 1)
            model = HistGradientBoostingRegressor(
                max_iter=self.trees, learning_rate=self.rate, max_leaf_nodes=self.leaves, min_samples_leaf=40,
                l2_regularization=1.0, categorical_features=[x.shape[1] - 1], early_stopping=False,
                random_state=self.seed,
            )  # fmt: skip
            with threadpool_limits(1):  # a thousand rows: threads would only wait for each other
                model.fit(x[begin:known], seen)
                smear = float(np.mean(np.exp(seen - model.predict(x[begin:known]))))
                out[start:stop] = np.exp(offset[start:stop] + model.predict(x[start:stop])) * smear
        return np.maximum(out, MIN_VARIANCE)


FORECASTERS: Mapping[str, Callable[[], Forecaster]] = MappingProxyType(
    {
        "ewma-.94": lambda: Ewma(0.94),
        "ewma-.97": lambda: Ewma(0.97),
        "garch": GarchDaily,
        "har": HarRv,
        "boosted": Boosted,
    }
)
"""By the name a command takes; `har` is the default."""
DEFAULT_FORECASTER = "har"


def forecaster(name: str) -> Forecaster:
    """A forecaster by name.

    Raises
    ------
    ValueError
        There is none of that name.
    """
    if name not in FORECASTERS:
        raise ValueError(f"forecaster {name!r} is unknown: choose one of {', '.join(FORECASTERS)}")
    return FORECASTERS[name]()
