"""SVI volatility surfaces: fitted to quotes without butterfly or calendar arbitrage, or refused with the reason.

    w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)),   w = volatility^2 T,  k = ln(K/F)

A slice has no butterfly arbitrage where Durrleman's function

    g(k) = (1 - k w' / 2w)^2 - w'^2/4 (1/w + 1/4) + w''/2  >= 0

and ``b (1 + |rho|) <= 2`` (the implied density is not negative, calls go to 0); a surface has no calendar arbitrage
where `w` does not fall with time at any `k`. Between slices total variance is linear in time at fixed `k`, which keeps
both.

Sources: J. Gatheral and A. Jacquier, "Arbitrage-free SVI volatility surfaces", Quantitative Finance 14, 2014
(conditions, the natural parameters, the example of A. Vogt); R. Lee, Mathematical Finance 14, 2004 (slope of the
wings).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-10
"""Least Durrleman value, and least rise of total variance, that counts as free of arbitrage."""
_GRID = 161


@dataclass(frozen=True)
class Svi:
    """One slice in raw parameters.

    Attributes
    ----------
    a, b, rho, m, sigma : see the module; ``b >= 0``, ``|rho| < 1``, ``sigma > 0``, ``least >= 0``.
    years : to expiry, > 0.

    Raises
    ------
    ValueError
        A parameter is not finite or out of its range.
    """

    a: float
    b: float
    rho: float
    m: float
    sigma: float
    years: float

    def __post_init__(self) -> None:
        for name in ("a", "b", "rho", "m", "sigma", "years"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"SVI {name} {getattr(self, name)!r} is not finite")
        if self.b < 0.0 or not abs(self.rho) < 1.0 or self.sigma <= 0.0 or self.years <= 0.0:
            raise ValueError(f"{self}: b, rho, sigma or years is out of its range")
        if self.least < -1e-15:
            raise ValueError(f"{self}: total variance falls to {self.least!r}")

    @property
    def least(self) -> float:
        """Least total variance."""
        return self.a + self.b * self.sigma * math.sqrt(1.0 - self.rho**2)

    def variance(self, k: npt.ArrayLike) -> Array:
        """Total variance ``w(k)``."""
        return np.asarray(_total(np.array([self.a, self.b, self.rho, self.m, self.sigma]), np.asarray(k, dtype=float)))

    def volatility(self, k: npt.ArrayLike) -> Array:
        """Implied volatility a year at log moneyness `k`."""
        return np.asarray(np.sqrt(np.maximum(self.variance(k), 0.0) / self.years))

    def durrleman(self, k: npt.ArrayLike) -> Array:
        """``g(k)``; below 0 there is a butterfly that costs less than nothing."""
        return np.asarray(
            _durrleman(np.array([self.a, self.b, self.rho, self.m, self.sigma]), np.asarray(k, dtype=float))
        )

    def natural(self) -> tuple[float, float, float, float, float]:
        """SVI-JW parameters (Gatheral and Jacquier, section 3.3): variance and skew at the money, slopes of the put and
        call wing, least variance.
        """
        root = math.hypot(self.m, self.sigma)
        w = self.a + self.b * (root - self.rho * self.m)
        return (
            w / self.years,
            self.b / 2.0 / math.sqrt(w) * (self.rho - self.m / root),
            self.b * (1.0 - self.rho) / math.sqrt(w),
            self.b * (1.0 + self.rho) / math.sqrt(w),
            self.least / self.years,
        )

    @classmethod
    def from_natural(cls, v: float, psi: float, p: float, c: float, least: float, years: float) -> Svi:
        """The slice with SVI-JW parameters; the inverse of `natural` (section 3.3, lemma 3.2)."""
        w = v * years
        b = math.sqrt(w) / 2.0 * (c + p)
        rho = 1.0 - p * math.sqrt(w) / b
        beta = rho - 2.0 * psi * math.sqrt(w) / b
        if not abs(beta) <= 1.0:
            raise ValueError(f"skew {psi!r} is not between the wings {-p / 2!r} and {c / 2!r}")
        if beta == 0.0:
            m = 0.0
            bend = 1.0 - math.sqrt(1.0 - rho**2)
            sigma = (v - least) * years / b / bend if bend else math.sqrt(w) / b
            return cls(least * years - b * sigma * math.sqrt(1.0 - rho**2), b, rho, m, sigma, years)
        alpha = math.copysign(math.sqrt(1.0 / beta**2 - 1.0), beta)
        bend = -rho + math.copysign(math.sqrt(1.0 + alpha**2), alpha) - alpha * math.sqrt(1.0 - rho**2)
        m = (v - least) * years / (b * bend)
        sigma = alpha * m
        return cls(least * years - b * sigma * math.sqrt(1.0 - rho**2), b, rho, m, sigma, years)


def _total(p: Array, k: Array) -> Array:
    a, b, rho, m, sigma = p
    y = k - m
    return np.asarray(a + b * (rho * y + np.sqrt(y * y + sigma * sigma)))


def _durrleman(p: Array, k: Array) -> Array:
    _a, b, rho, m, sigma = p
    y = k - m
    root = np.sqrt(y * y + sigma * sigma)
    w = _total(p, k)
    first, second = b * (rho + y / root), b * sigma * sigma / root**3
    with np.errstate(divide="ignore", invalid="ignore"):
        g = (1.0 - k * first / (2.0 * w)) ** 2 - first**2 / 4.0 * (1.0 / w + 0.25) + second / 2.0
    return np.where(w > 0.0, g, -np.inf)


def arbitrage(slice_: Svi, before: Svi | None = None) -> str | None:
    """What arbitrage a slice allows, in words; None where there is none.

    Looked for on 4,001 points over eight standard deviations on either side, and in the wings by their slopes.

    Parameters
    ----------
    slice_ : to be judged. before : the slice of the expiry before it.
    """
    reach = 8.0 * math.sqrt(max(float(slice_.variance(0.0)), 1e-8)) + abs(slice_.m) + 4.0 * slice_.sigma
    k = np.linspace(-reach, reach, 4_001)
    g = slice_.durrleman(k)
    if g.min() < -TOLERANCE:
        place = int(np.argmin(g))
        return f"butterfly: the density is negative, g = {g[place]:.6g} at k = {k[place]:.6g}"
    slope = slice_.b * (1.0 + abs(slice_.rho))
    if slope > 2.0 + TOLERANCE:
        return f"butterfly: a wing rises by {slope:.6g} a unit of k, more than 2"
    if before is None:
        return None
    if before.years >= slice_.years:
        return f"calendar: slices of {before.years!r} and {slice_.years!r} years are not in order"
    rise = slice_.variance(k) - before.variance(k)
    if rise.min() < -TOLERANCE:
        place = int(np.argmin(rise))
        return f"calendar: total variance falls by {-rise[place]:.6g} at k = {k[place]:.6g}"
    for sign in (1.0, -1.0):
        fall = before.b * (1.0 + sign * before.rho) - slice_.b * (1.0 + sign * slice_.rho)
        if fall > TOLERANCE:
            return f"calendar: the slope of the {'call' if sign > 0 else 'put'} wing falls by {fall:.6g}"
    return None


@dataclass(frozen=True)
class Quotes:
    """Volatilities of one expiry.

    Attributes
    ----------
    years : to expiry. k : (n,), log moneyness. volatility : (n,), a year. weight : (n,), or None for equal weights.

    Raises
    ------
    ValueError
        Fewer than five different strikes, or a value that is not finite, or a volatility or weight that is not
        positive.
    """

    years: float
    k: Array
    volatility: Array
    weight: Array | None = None

    def __post_init__(self) -> None:
        for name in ("k", "volatility", "weight"):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value, dtype=np.float64)
            object.__setattr__(self, name, array)
            bad = ~np.isfinite(array) if name == "k" else ~(np.isfinite(array) & (array > 0.0))
            if bad.any() or array.shape != np.shape(self.k) or array.ndim != 1:
                what = f"{array[bad][0]!r} is out of range" if array.ndim == 1 and bad.any() else "has another length"
                raise ValueError(f"quotes of {self.years!r} years: {name} {what}")
        if not (math.isfinite(self.years) and self.years > 0.0):
            raise ValueError(f"quotes of {self.years!r} years: the time to expiry must be positive")
        if len(np.unique(self.k)) < 5:
            raise ValueError(f"quotes of {self.years!r} years: five strikes are needed, not {len(np.unique(self.k))}")


class SviRefused(ValueError):
    """No slice without arbitrage was found near the quotes."""


@dataclass(frozen=True)
class Fit:
    """A fitted slice. error : root mean square of its distance from the quotes, volatility a year."""

    slice: Svi
    error: float


def fit(quotes: Quotes, before: Svi | None = None, limit: float = 0.05) -> Fit:
    """The slice nearest to quotes, in weighted least squares of total variance, among those without arbitrage.

    Sequential quadratic programming from three starts, with Durrleman's function, the wings' slopes and the slice
    before as constraints on a grid; the result is judged by `arbitrage` on a finer one.

    Parameters
    ----------
    quotes : of one expiry. before : the slice of the expiry before it.
    limit : most root mean square distance, volatility a year; beyond it the quotes themselves allow arbitrage, or are
        not of one smile.

    Raises
    ------
    SviRefused
        None of the results is free of arbitrage, or the nearest is too far; the message names expiry, kind and place.
    """
    best: Fit | None = None
    reason = "no start converged"
    for margin in (10.0 * TOLERANCE, 1e-4, 1e-3, 1e-2):  # what the grid misses between its points
        for found in _minima(quotes, before, margin):
            try:
                a, b, rho, m, sigma = (float(v) for v in found)
                slice_ = Svi(a, b, rho, m, sigma, quotes.years)
            except ValueError as problem:
                reason = str(problem)
                continue
            against = arbitrage(slice_, before)
            if against is not None:
                reason = against
                continue
            error = float(np.sqrt(np.mean((slice_.volatility(quotes.k) - quotes.volatility) ** 2)))
            if best is None or error < best.error:
                best = Fit(slice_, error)
        if best is not None and best.error <= limit:
            return best
    if best is not None:
        reason = f"the nearest is {best.error:.4g} of volatility from the quotes, more than {limit:.4g}"
    raise SviRefused(f"no SVI slice without arbitrage for {quotes.years!r} years: {reason}")


def _minima(quotes: Quotes, before: Svi | None, margin: float) -> list[Array]:
    """Raw parameters that the constrained least squares ends at, one from each start."""
    w = quotes.volatility**2 * quotes.years
    weight = np.ones_like(w) if quotes.weight is None else quotes.weight
    weight = weight / weight.sum() / np.mean(w) ** 2
    wide = max(float(np.abs(quotes.k).max()), 4.0 * math.sqrt(float(w.mean())))
    grid = 3.0 * wide * np.sinh(np.linspace(-3.0, 3.0, _GRID)) / np.sinh(3.0)

    def distance(p: Array) -> float:
        return float((weight * (_total(p, quotes.k) - w) ** 2).sum())

    def holds(p: Array) -> Array:
        a, b, rho, _m, sigma = p
        rules = [
            np.maximum(_durrleman(p, grid), -1e3) - margin,
            np.array([2.0 - b * (1.0 + abs(rho)) - margin, a + b * sigma * math.sqrt(max(1.0 - rho * rho, 0.0))]),
        ]
        if before is not None:
            wings = [b * (1.0 + s * rho) - before.b * (1.0 + s * before.rho) - 1e-9 for s in (1.0, -1.0)]
            rules += [(_total(p, grid) - before.variance(grid)) / float(w.mean()) - margin, np.array(wings)]
        return np.concatenate(rules)

    bounds = [(-2.0 * w.max(), 2.0 * w.max()), (1e-8, 2.0), (-0.999, 0.999), (-wide, wide), (1e-4, 4.0 * wide)]
    low, spot = float(w.min()), float(np.clip(quotes.k[int(np.argmin(w))], -wide, wide))
    slope = min(max(float(w.max() - w.min()) / wide, 1e-3), 1.0)
    starts = [
        np.array([0.7 * low, slope, 0.0, spot, 0.3 * wide]),
        np.array([0.5 * low, slope, -0.4, 0.0, 0.1 * wide]),
        np.array([0.9 * low, 0.5 * slope, 0.4, 0.0, wide]),
    ]
    if before is not None:
        lift = max(float(w.mean()) / max(float(before.variance(quotes.k).mean()), 1e-12), 1.0)
        starts.append(np.array([before.a * lift, min(before.b * lift, 1.9), before.rho, before.m, before.sigma]))
    out = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy tells of steps that it clips to the bounds
        for start in starts:
            found = minimize(
                distance,
                start,
                method="SLSQP",
                bounds=bounds,
                constraints={"type": "ineq", "fun": holds},
                options={"maxiter": 300, "ftol": 1e-15},
            )
            if np.isfinite(found.x).all():
                out.append(np.asarray(found.x, dtype=np.float64))
    return out


@dataclass(frozen=True)
class Surface:
    """Slices by time. Total variance is linear in time between them, and proportional to time outside."""

    slices: tuple[Svi, ...]

    def __post_init__(self) -> None:
        if not self.slices:
            raise ValueError("a surface needs a slice")
        for place, each in enumerate(self.slices):
            against = arbitrage(each, self.slices[place - 1] if place else None)
            if against is not None:
                raise SviRefused(f"slice of {each.years!r} years refused: {against}")

    def volatility(self, k: float | Array, years: float) -> Array:
        """Implied volatility a year at log moneyness `k` and time `years` > 0."""
        if not (math.isfinite(years) and years > 0.0):
            raise ValueError(f"years {years!r} is not positive and finite")
        times = [each.years for each in self.slices]
        if years <= times[0] or len(times) == 1:
            return self.slices[0].volatility(k)
        if years >= times[-1]:
            return self.slices[-1].volatility(k)
        after = int(np.searchsorted(times, years, side="right"))
        low, high = self.slices[after - 1], self.slices[after]
        share = (years - low.years) / (high.years - low.years)
        return np.asarray(np.sqrt(((1.0 - share) * low.variance(k) + share * high.variance(k)) / years))


def fit_surface(quotes: Sequence[Quotes], limit: float = 0.05) -> tuple[Surface, tuple[Fit, ...]]:
    """Fit slices in order of time, each above the one before.

    Raises
    ------
    SviRefused
        A slice has no fit free of arbitrage near its quotes (`fit`).
    ValueError
        No quotes, or two sets for one expiry.
    """
    order = sorted(quotes, key=lambda each: each.years)
    if not order:
        raise ValueError("a surface needs quotes")
    fits: list[Fit] = []
    for each in order:
        if fits and fits[-1].slice.years == each.years:
            raise ValueError(f"two sets of quotes for {each.years!r} years")
        fits.append(fit(each, fits[-1].slice if fits else None, limit))
    return Surface(tuple(f.slice for f in fits)), tuple(fits)
