"""Black-76 and Black-Scholes prices and greeks to second order, over arrays.

Everything is undiscounted unless it says otherwise: Ballast's options settle in cash against a forward.

Sources: F. Black, "The pricing of commodity contracts", J. Financial Economics 3 (1976); F. Black and M. Scholes, J.
Political Economy 81 (1973); R. Merton, Bell J. Economics 4 (1973); second order: E. Haug, The Complete Guide to Option
Pricing Formulas, 2nd ed. (2007), chapter 2. Known answers: tests/vectors/pricing.json and greeks.json.
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


@dataclass(frozen=True)
class AllGreeks(Greeks):
    """Price and every greek to second order in price, volatility, calendar time and interest rate.

    Attributes
    ----------
    price, delta, gamma, vega, theta : as in `Greeks`.
    rho : by the interest rate, for a change of 1.
    vanna : delta by volatility, or vega by price. volga : vega by volatility.
    charm : delta by calendar time, a year. veta : vega by calendar time, a year.
    second_theta : theta by calendar time, a year squared.
    vera : rho by volatility. delta_rho : delta by the interest rate. second_rho : rho by the interest rate.
    theta_rho : theta by the interest rate.
    """

    rho: Array
    vanna: Array
    volga: Array
    charm: Array
    veta: Array
    second_theta: Array
    vera: Array
    delta_rho: Array
    second_rho: Array
    theta_rho: Array


def _all_greeks(
    forward: Array,
    strike: Array,
    years: Array,
    volatility: Array,
    call: npt.NDArray[np.bool_],
    rate: Array,
    carry: Array,
    moves: bool,
) -> AllGreeks:
    """Chain rule on ``V = e^(-r T) P(F, T, v)``, ``F = S e^(g T)``, `g` the cost of carry.

    `P` is the undiscounted price; its derivatives are ``P_T = F n v / (2 sqrt T)``, ``P_Fv = -n d2 / v``, ``P_vv = F n
    sqrt(T) d1 d2 / v``, ``P_FT = -n d2 / (2 T)``, ``P_vT = F n (1 + d1 d2) / (2 sqrt T)``, ``P_TT = P_T (d1 d2 - 1) /
    (2 T)``, with `n` the normal density at d1. `moves`: the rate moves the forward too (spot model).
    """
    f, k, t, v, r, g = forward, strike, years, volatility, rate, carry
    base = greeks(f, k, t, v, call)
    root = np.sqrt(t)
    spread = v * root
    live = (spread > 0.0) & (f > 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d1 = np.where(live, np.log(f / k) / spread + 0.5 * spread, 0.0)
        d2 = d1 - spread
        density = np.where(live, np.exp(-0.5 * d1 * d1) / _ROOT_2PI, 0.0)
        p_ft = np.where(live, -density * d2 / (2.0 * t), 0.0)
        p_fv = np.where(live, -density * d2 / v, 0.0)
        p_vv = np.where(live, f * density * root * d1 * d2 / v, 0.0)
        p_vt = np.where(live, f * density * (1.0 + d1 * d2) / (2.0 * root), 0.0)
        p_tt = np.where(live, -base.theta * (d1 * d2 - 1.0) / (2.0 * t), 0.0)
    p, p_f, p_ff, p_v, p_t = base.price, base.delta, base.gamma, base.vega, -base.theta
    discount, growth = np.exp(-r * t), np.exp(g * t)
    rho = -p + f * p_f if moves else -p
    if moves:
        rho_f, rho_v = f * p_ff, -p_v + f * p_fv
        rho_rho = p - f * p_f + f * f * p_ff
        # by r at fixed T of -r P + g F P_F + P_T, discount and forward moving too
        inner = -r * p + g * f * p_f + p_t
        inner_r = -p + f * p_f + t * f * (-r * p_f + g * p_f + g * f * p_ff + p_ft)
    else:
        rho_f, rho_v, rho_rho = -p_f, -p_v, p
        inner = -r * p + g * f * p_f + p_t
        inner_r = -p
    return AllGreeks(
        price=discount * p,
        delta=discount * growth * p_f,
        gamma=discount * growth * growth * p_ff,
        vega=discount * p_v,
        theta=-discount * inner,
        rho=discount * t * rho,
        vanna=discount * growth * p_fv,
        volga=discount * p_vv,
        charm=-discount * growth * ((g - r) * p_f + g * f * p_ff + p_ft),
        veta=-discount * (-r * p_v + g * f * p_fv + p_vt),
        second_theta=discount
        * (r * r * p - 2.0 * r * (g * f * p_f + p_t) + g * g * f * (p_f + f * p_ff) + 2.0 * g * f * p_ft + p_tt),
        vera=discount * t * rho_v,
        delta_rho=discount * growth * t * rho_f,
        second_rho=discount * t * t * rho_rho,
        theta_rho=-discount * (inner_r - t * inner),
    )


def all_greeks(
    forward: Number,
    strike: Number,
    years: Number,
    volatility: Number,
    call: bool | npt.NDArray[np.bool_],
    rate: Number = 0.0,
) -> AllGreeks:
    """Black-76 price and all greeks to second order by the forward, discounted at `rate` (0: undiscounted).

    Parameters as in `price`. Where no time or no volatility is left, delta is that of the intrinsic value (half at the
    strike) and the second order is 0, except what discounting adds. The rate discounts; it does not move the forward.
    """
    f, k, t, v, r = _broadcast(forward, strike, years, volatility, rate)
    is_call = np.array(np.broadcast_to(call, f.shape))
    return _all_greeks(f, k, np.maximum(t, 0.0), v, is_call, r, np.zeros_like(f), False)


def spot_all_greeks(
    spot: Number,
    strike: Number,
    years: Number,
    volatility: Number,
    call: bool | npt.NDArray[np.bool_],
    rate: Number = 0.0,
    dividend: Number = 0.0,
) -> AllGreeks:
    """Black-Scholes price and all greeks to second order by the spot price; parameters as in `spot_price`.

    The rate discounts and moves the forward. A future is a spot price whose dividend yield equals the rate, but its rho
    is that of `all_greeks`.
    """
    s, k, t, v, r, q = _broadcast(spot, strike, years, volatility, rate, dividend)
    t = np.maximum(t, 0.0)
    is_call = np.array(np.broadcast_to(call, s.shape))
    return _all_greeks(s * np.exp((r - q) * t), k, t, v, is_call, r, r - q, True)
