"""Implied volatility of Black-76 prices, over arrays, to the last digit that the price holds.

A price is turned into the out-of-the-money time value in units of ``sqrt(F K)``, ``beta = time value / sqrt(F K)``,
which depends on ``x = -|ln(F/K)|`` and the total volatility ``s = volatility * sqrt(years)`` alone:

    b(x, s) = e^(x/2) N(x/s + s/2) - e^(-x/2) N(x/s - s/2)  =  e^(-(h^2 + t^2)/2) (M(h + t) - M(h - t)) / sqrt(2 pi)
    h = x/s,  t = s/2,  M(z) = N(z)/n(z)

`M` is a scaled error function and never under- or overflows where it is used; for small `t` the difference of two
nearly equal `M` is summed as its Taylor series. So ``ln b`` is known for prices far below the least float. Below half
of its greatest value ``e^(x/2)`` the equation solved is ``ln b = ln beta``, above it ``ln(e^(x/2) - b) = ln(e^(x/2) -
beta)``, both in ``ln s`` by Newton steps that a bracket guards.

Sources: the normalised price and the idea to solve by region: P. Jaeckel, "Let's be rational", Wilmott 2015; the
equations above are this project's own choice. Error: what a rounding of the price, of the intrinsic value that is
taken from an in-the-money price, and of ``ln(F/K)`` makes, and a few units in the last place besides.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, log_ndtr, ndtri

from offchain.risk.black76 import Number

Array = npt.NDArray[np.float64]
_LN_ROOT_2PI = 0.9189385332046727
_ROOT_HALF = 0.7071067811865476
_ROOT_PI_HALF = 1.2533141373155003
_STEPS = 200
_FACTORIAL = np.cumprod([1.0, *range(1, 14)])


class Status(IntEnum):
    """What a price says about volatility."""

    OK = 0
    AT_INTRINSIC = 1
    """The price is the intrinsic value: any volatility whose time value is lost in rounding; 0 is returned."""
    BELOW_INTRINSIC = 2
    AT_MAXIMUM = 3
    """The price is not below the forward (call) or strike (put): no volatility is high enough."""
    NO_TIME = 4
    BAD_INPUT = 5
    """A value is NaN or infinite, or a forward, strike or price is not positive (a price may be 0)."""


def _mills_difference(h: Array, t: Array) -> Array:
    """``M(h + t) - M(h - t)`` for ``t >= 0``, with ``M(z) = N(z)/n(z)``, without cancellation where `t` is small.

    Derivatives: ``M' = 1 + z M``, ``M^(n+1) = z M^(n) + n M^(n-1)``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        direct = _ROOT_PI_HALF * (erfcx(-(h + t) * _ROOT_HALF) - erfcx(-(h - t) * _ROOT_HALF))
    near = (t < 0.1) & (np.abs(h * t) < 0.25)
    if not near.any():
        return np.asarray(direct)
    z, step = h[near], t[near]
    before = _ROOT_PI_HALF * erfcx(-z * _ROOT_HALF)
    this = 1.0 + z * before
    total, power = this * step, step.copy()
    for order in range(2, 14):
        before, this = this, z * this + (order - 1) * before
        power = power * step
        if order % 2:
            total = total + this * power / _FACTORIAL[order]
    direct[near] = 2.0 * total
    return np.asarray(direct)


def log_price(x: Array, s: Array) -> Array:
    """``ln b(x, s)`` of the normalised out-of-the-money price.

    Parameters
    ----------
    x : ``-|ln(F/K)|``, <= 0. s : total volatility, > 0; arrays of one shape.

    Returns
    -------
    float64, finite for any `s` above about ``|x| * 1e-150``.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        h, t = x / s, 0.5 * s
        low = -0.5 * (h * h + t * t) - _LN_ROOT_2PI + np.log(_mills_difference(h, t))
        up, down = 0.5 * x + log_ndtr(h + t), -0.5 * x + log_ndtr(h - t)
        high = up + np.log1p(-np.exp(down - up))
    return np.where(h + t < 4.0, low, high)


def _log_rest(x: Array, s: Array) -> Array:
    """``ln(e^(x/2) - b(x, s)) = ln(e^(x/2) N(-d1) + e^(-x/2) N(d2))``."""
    with np.errstate(over="ignore"):
        h, t = x / s, 0.5 * s
    return np.asarray(np.logaddexp(0.5 * x + log_ndtr(-h - t), -0.5 * x + log_ndtr(h - t)))


def _start(x: Array, ln_beta: Array, ln_rest: Array, low: npt.NDArray[np.bool_]) -> Array:
    """First guess of ``ln s``: the tails ``b ~ e^(-x^2 / 2 s^2)`` and, at the money, ``b = erf(s / sqrt 8)``."""
    drop = np.maximum(0.5 * x - ln_beta, 0.5)
    with np.errstate(divide="ignore", over="ignore"):
        below = np.logaddexp(np.log(-x) - 0.5 * np.log(2.0 * drop), np.minimum(ln_beta + _LN_ROOT_2PI, 5.0))
        share = np.clip(0.5 * np.exp(np.minimum(ln_rest - 0.5 * x, 0.0)), 1e-300, 0.5)
        above = np.log(np.sqrt(-2.0 * x) - 2.0 * ndtri(share))
    return np.where(low, below, above)


def total_volatility(x: Array, ln_beta: Array, ln_rest: Array) -> Array:
    """``s`` with ``ln b(x, s) = ln_beta``.

    Parameters
    ----------
    x : (n,), <= 0. ln_beta : (n,), logarithm of the normalised price. ln_rest : (n,), of ``e^(x/2)`` less that price.
    """
    low = ln_beta < 0.5 * x - 0.6931471805599453
    y = _start(x, ln_beta, ln_rest, low)
    least, most = np.full_like(y, -750.0), np.full_like(y, 8.0)
    y = np.clip(y, -740.0, 7.0)
    active = np.ones(y.shape, dtype=bool)
    for _ in range(_STEPS):
        at = np.flatnonzero(active)
        if not len(at):
            break
        xa, ya, la = x[at], y[at], low[at]
        s = np.exp(ya)
        value = np.where(la, log_price(xa, s), _log_rest(xa, s))
        miss = np.where(la, value - ln_beta[at], ln_rest[at] - value)
        with np.errstate(over="ignore", invalid="ignore"):
            slope = np.exp(ya - 0.5 * ((xa / s) ** 2 + 0.25 * s * s) - _LN_ROOT_2PI - value)
            step = -miss / slope
        high = miss > 0.0
        most[at] = np.where(high, ya, most[at])
        least[at] = np.where(high, least[at], ya)
        target = ya + step
        guarded = ~((target > least[at]) & (target < most[at]))
        tiny = np.abs(step) <= 4e-16
        target = np.where(tiny | ~guarded, target, 0.5 * (least[at] + most[at]))
        y[at] = target
        done = tiny | (np.abs(target - ya) <= 4e-16) | (miss == 0.0) | (most[at] - least[at] <= 4e-16 * np.abs(ya))
        active[at] = ~done
    return np.asarray(np.exp(y))


def solve(
    price: Number, forward: Number, strike: Number, years: Number, call: bool | npt.NDArray[np.bool_]
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Implied volatilities, and what each price allows to say.

    Parameters
    ----------
    price : undiscounted, in the money of `forward`; divide a discounted price by its discount factor.
    forward, strike : > 0. years : to expiry. call : True for a call. They broadcast.

    Returns
    -------
    (volatility, status)
        float64 a year, NaN where the status is not OK (0 at the intrinsic value); int64, see `Status`.
    """
    arrays = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (price, forward, strike, years)), call)
    shape = arrays[0].shape
    p, f, k, years_, is_call = (np.array(a).ravel() for a in arrays)
    is_call = is_call.astype(bool)
    status = np.full(p.shape, int(Status.OK), dtype=np.int64)
    good = np.isfinite(p) & np.isfinite(f) & np.isfinite(k) & np.isfinite(years_) & (f > 0) & (k > 0) & (p >= 0)
    sign = np.where(is_call, 1.0, -1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        intrinsic = np.maximum(sign * (f - k), 0.0)
        status[p == intrinsic] = Status.AT_INTRINSIC
        status[p < intrinsic] = Status.BELOW_INTRINSIC
        status[p >= np.where(is_call, f, k)] = Status.AT_MAXIMUM
    status[years_ <= 0.0] = Status.NO_TIME
    status[~good] = Status.BAD_INPUT
    out = np.full(p.shape, np.nan)
    out[status == Status.AT_INTRINSIC] = 0.0
    at = np.flatnonzero(status == Status.OK)
    if len(at):
        f, k, value, limit = f[at], k[at], (p - intrinsic)[at], np.where(is_call, f, k)[at]
        x = -np.abs(_log_ratio(f, k))
        scale = 0.5 * (np.log(f) + np.log(k))
        with np.errstate(divide="ignore"):
            out[at] = total_volatility(x, np.log(value) - scale, np.log(limit - p[at]) - scale) / np.sqrt(years_[at])
    return out.reshape(shape), status.reshape(shape)


def _log_ratio(f: Array, k: Array) -> Array:
    """``ln(F/K)``, by ``log1p`` where they are near each other, as their difference is then exact."""
    near = np.abs(f - k) < 0.5 * k
    with np.errstate(over="ignore", divide="ignore"):
        return np.where(near, np.log1p(np.where(near, (f - k) / k, 0.0)), np.log(f) - np.log(k))


def implied_volatility(
    price: Number, forward: Number, strike: Number, years: Number, call: bool | npt.NDArray[np.bool_]
) -> Array:
    """Implied volatility of undiscounted Black-76 prices; parameters as in `solve`.

    Returns
    -------
    float64 a year, of the shape that the inputs broadcast to; 0 where a price is its intrinsic value.

    Raises
    ------
    ValueError
        No volatility gives a price: it is below its intrinsic value, or not below the forward (call) or strike (put);
        no time is left; or an input is NaN, infinite or not positive. The message has the first such price and why.
    """
    out, status = solve(price, forward, strike, years, call)
    bad = status > Status.AT_INTRINSIC
    if bad.any():
        place = tuple(np.argwhere(bad)[0].tolist())
        p, f, k, t = (float(np.broadcast_to(np.asarray(v, dtype=np.float64), out.shape)[place])
                      for v in (price, forward, strike, years))  # fmt: skip
        is_call = bool(np.broadcast_to(call, out.shape)[place])
        name = "call" if is_call else "put"
        why: dict[Any, str] = {
            Status.BELOW_INTRINSIC: f"is below its intrinsic value {max(f - k if is_call else k - f, 0.0)!r}",
            Status.AT_MAXIMUM: f"is not below the {'forward' if is_call else 'strike'} {f if is_call else k!r}",
            Status.NO_TIME: f"has no time left ({t!r} years)",
            Status.BAD_INPUT: "or another input is NaN, infinite or not positive",
        }
        where = f" at {list(place)}" if place else ""
        raise ValueError(f"price {p!r} of a {name} (forward {f!r}, strike {k!r}){where} {why[Status(status[place])]}")
    return out
