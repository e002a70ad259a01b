"""Black-76 and Black-Scholes prices and first-order greeks, over arrays.

Everything is undiscounted unless it says otherwise: Ballast's options settle in cash against a forward.

Sources: F. Black, "The pricing of commodity contracts", J. Financial Economics 3 (1976); F. Black and M. Scholes, J.
Political Economy 81 (1973); R. Merton, Bell J. Economics 4 (1973). Known answers: docs/models,
tests/vectors/pricing.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Array = npt.NDArray[np.float64]
Number = float | npt.NDArray[Any]

_ROOT_2PI = 2.5066282746310002


def _broadcast(*values: Number) -> list[Array]:
    return [np.array(v, order="C") for v in np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in values))]


def price(
    forward: Number, strike: Number, years: Number, volatility: Number, call: bool | npt.NDArray[np.bool_]
) -> Array:
    """Undiscounted Black-76 price of a European option.

    ``call = F N(d1) - K N(d2)``, ``put = K N(-d2) - F N(-d1)``, ``d1 = ln(F/K)/s + s/2``, ``d2 = d1 - s``,
    ``s = volatility * sqrt(years)``. Where ``s`` is 0 (no time or no volatility left) the price is the intrinsic value.

    Parameters
    ----------
    forward, strike : >= 0 and > 0, in the same money.
    years : >= 0; values below 0 count as 0.
    volatility : a year, >= 0.
    call : True for a call, False for a put.

    Returns
    -------
    float64 of the shape that the inputs broadcast to, in the money of `forward`; within [intrinsic, forward] for a
    call and [intrinsic, strike] for a put up to rounding, and never below 0.
    """
    f, k, t, v = _broadcast(forward, strike, years, volatility)
    sign = np.where(np.broadcast_to(call, f.shape), 1.0, -1.0)
    spread = v * np.sqrt(np.maximum(t, 0.0))
    intrinsic = np.maximum(sign * (f - k), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        d1 = np.log(f / k) / spread + 0.5 * spread
        value = sign * (f * ndtr(sign * d1) - k * ndtr(sign * (d1 - spread)))
    return np.where(spread > 0.0, np.maximum(value, intrinsic), intrinsic)


@dataclass(frozen=True)
class Greeks:
    """Price and greeks of one unit of the underlying, arrays of one shape.

    Attributes
    ----------
    price : money.
    delta : by the forward (Black-76) or the spot price.
    gamma : second derivative by the same.
    vega : by volatility, for a change of 1 (100 %).
    theta : by calendar time, a year.
    """

    price: Array
    delta: Array
    gamma: Array
    vega: Array
    theta: Array


def greeks(
    forward: Number, strike: Number, years: Number, volatility: Number, call: bool | npt.NDArray[np.bool_]
) -> Greeks:
    """Undiscounted Black-76 price and greeks; parameters as in `price`.

    Where no time or no volatility is left, delta is that of the intrinsic value (half at the strike) and the others
    are 0.
    """
    f, k, t, v = _broadcast(forward, strike, years, volatility)
    is_call = np.broadcast_to(call, f.shape)
    root = np.sqrt(np.maximum(t, 0.0))
    spread = v * root
    live = (spread > 0.0) & (f > 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d1 = np.where(
            live, np.log(f / k) / spread + 0.5 * spread, np.where(f > k, np.inf, np.where(f < k, -np.inf, 0.0))
        )
        density = np.where(live, np.exp(-0.5 * d1 * d1) / _ROOT_2PI, 0.0)
        gamma = np.where(live, density / (f * spread), 0.0)
        theta = np.where(live, -f * density * v / (2.0 * root), 0.0)
    delta = np.where(is_call, ndtr(d1), -ndtr(-d1))
    return Greeks(price(f, k, t, v, is_call), delta, gamma, f * density * root, theta)


def spot_price(
    spot: Number,
    strike: Number,
    years: Number,
    volatility: Number,
    call: bool | npt.NDArray[np.bool_],
    rate: Number = 0.0,
    dividend: Number = 0.0,
) -> Array:
    """Black-Scholes price with a continuous interest rate and dividend yield (Merton 1973): a discounted Black-76
    price.

    Parameters
    ----------
    spot, strike, years, volatility, call : as in `price`, with the spot price in place of the forward.
    rate, dividend : a year, continuously compounded.
    """
    s, k, t, v, r, q = _broadcast(spot, strike, years, volatility, rate, dividend)
    t = np.maximum(t, 0.0)
    return np.exp(-r * t) * price(s * np.exp((r - q) * t), k, t, v, call)


def spot_greeks(
    spot: Number,
    strike: Number,
    years: Number,
    volatility: Number,
    call: bool | npt.NDArray[np.bool_],
    rate: Number = 0.0,
    dividend: Number = 0.0,
) -> Greeks:
    """Black-Scholes price and greeks by the spot price; parameters as in `spot_price`."""
    s, k, t, v, r, q = _broadcast(spot, strike, years, volatility, rate, dividend)
    t = np.maximum(t, 0.0)
    growth, discount = np.exp((r - q) * t), np.exp(-r * t)
    base = greeks(s * growth, k, t, v, call)
    value = discount * base.price
    delta = discount * growth * base.delta
    return Greeks(
        value,
        delta,
        discount * growth * growth * base.gamma,
        discount * base.vega,
        discount * base.theta + r * value - (r - q) * s * delta,
    )
