"""Black-76 in arithmetic alone, so that every machine and both engines get the same bits.

Libraries' logarithm, exponential and normal distribution differ in their last bits between versions and processors.
What is here uses only what IEEE 754 rounds in one way: ``+ - * /``, comparisons, and the bits of a number. So a risk
array is the same whether NumPy computes it (here) or the compiled loop of `risk.pricing_kernel`, which takes the
polynomials from this file and must keep their order of operations.

    ln x    = e ln 2 + 2 atanh(s),   s = (m - 1)/(m + 1),   x = m 2^e,  m within sqrt(1/2), sqrt(2)
    e^-u    = 2^n e^r,               r = -u - n ln 2,       |r| <= ln(2)/2
    N(-y)   = e^(-y^2/2) w p(t),     w = 1/(y + 5),         t = (5 - 19 y/9) w,   0 <= y <= 9

The first two are Taylor series, cut below 2^-54. `p` is a Chebyshev interpolation of degree 18 that was computed to 50
digits; the form is that of M. Shepherd and J. Laframboise, Mathematics of Computation 36, 1981. One exponential serves
both terms of a price, because ``F n(d1) = K n(d2)``. Error: `N` 3e-16 absolute, a price 1e-15 of forward and strike
(tests/unit/test_portable.py, against `math.erfc`). Below -9 `N` counts as less than 1e-19 and keeps no digits: for
implied volatilities take `risk.black76`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""``ln 2`` in two parts, the first with 21 zero bits at its end, so that n times it is exact."""
ROUND = 6755399441055744.0
"""``1.5 * 2^52``: added and taken away, it rounds to an integer, which stays in the low bits in between."""
ROUND_BITS = 0x4338000000000000
ROOT_HALF_BITS = 0x3FE6A09E667F3BCD
FAR = 9.0
MOST = 700.0
"""``e^-u`` is cut off there, at 1e-304."""


def log_series(s: Any, z: Any) -> Any:
    """``2 atanh(s)`` for ``z = s^2 <= 0.0295``."""
    q = z * z
    a = 2 / 3 + z * (2 / 5) + q * (2 / 7 + z * (2 / 9))
    b = 2 / 11 + z * (2 / 13) + q * (2 / 15 + z * (2 / 17))
    f = q * q
    return 2.0 * s + s * z * (a + f * (b + f * (2 / 19 + z * (2 / 21))))


def exp_series(r: Any) -> Any:
    """``e^r`` for ``|r| <= 0.3466``, to the 13th power, in pairs."""
    q = r * r
    a = 1.0 + r + q * (1 / 2 + r * (1 / 6))
    b = 1 / 24 + r * (1 / 120) + q * (1 / 720 + r * (1 / 5040))
    c = 1 / 40320 + r * (1 / 362880) + q * (1 / 3628800 + r * (1 / 39916800))
    f = q * q
    return a + f * (b + f * (c + f * (1 / 479001600 + r * (1 / 6227020800))))


def tail_series(t: Any) -> Any:
    """`p` of the module, ``|t| <= 1``, in groups of four so that the groups are computed side by side."""
    q = t * t
    f = q * q
    a = 1.0874205416878513 + 0.7557434333237686 * t + q * (0.4109469279379347 + 0.17473978611884292 * t)
    b = 0.05664808235833461 + 0.013011919464868599 * t + q * (0.0016445063853968447 + -8.11824141839573e-05 * t)
    c = -7.07597820324012e-05 + -5.860944192708026e-06 * t + q * (2.307268202199454e-06 + 4.017374557209666e-07 * t)
    d = -8.792495677143064e-08 + -2.0259498969398112e-08 * t + q * (4.416382327873489e-09 + 9.071162538956755e-10 * t)
    e = -2.6432441744645526e-10 + -3.0243967334095916e-11 * t + q * 1.3279182394205926e-11
    return a + f * (b + f * (c + f * (d + f * e)))


def log(x: Array) -> Array:
    """Natural logarithm of positive, normal numbers."""
    bits = np.ascontiguousarray(x, dtype=np.float64).view(np.int64)
    e = (bits - ROOT_HALF_BITS) >> 52
    m = (bits - (e << 52)).view(np.float64)
    exponent = (e + ROUND_BITS).view(np.float64) - ROUND
    s = (m - 1.0) / (m + 1.0)
    return exponent * LN2_HIGH + (log_series(s, s * s) + exponent * LN2_LOW)


def exp_minus(u: Array) -> Array:
    """``e^-u`` for u from 0 to 700."""
    k = ROUND - u * LOG2_E
    n = k - ROUND
    r = (-u - n * LN2_HIGH) - n * LN2_LOW
    scale = ((k.view(np.int64) - (ROUND_BITS - 1023)) << 52).view(np.float64)
    return exp_series(r) * scale


def tail(y: Array) -> Array:
    """``N(-y) e^(y^2/2)`` for y from 0 to 9."""
    w = 1.0 / (y + 5.0)
    return w * tail_series((5.0 - y * (19.0 / 9.0)) * w)


def price(forward: Array, strike: Array, root: Array, volatility: Array, sign: Array) -> Array:
    """Undiscounted Black-76 price.

    Parameters
    ----------
    forward : float64 (n, rows), >= 0. volatility : (n, rows), a year, >= 0.
    strike : (n, 1), > 0, in the money of `forward`. root : (n, 1), square root of the years to expiry, >= 0.
    sign : (n, 1), 1 for a call and -1 for a put.

    Returns
    -------
    (n, rows), in the money of `forward`. The intrinsic value where no time, volatility or forward is left; never below
    it.

    Source: F. Black, J. Financial Economics 3, 1976.
    """
    spread = volatility * root
    live = (spread > 0.0) & (forward > 0.0)
    s = np.where(live, spread, 1.0)
    with np.errstate(over="ignore"):  # so little volatility that d1 is infinite
        d1 = log(np.where(live, forward, strike) / strike) / s + 0.5 * s
        u = np.minimum(0.5 * d1 * d1, MOST)
    d2 = d1 - s
    scale = forward * exp_minus(u)
    one = scale * tail(np.minimum(np.abs(d1), FAR))
    two = scale * tail(np.minimum(np.abs(d2), FAR))
    one = np.where(sign * d1 < 0.0, one, forward - one)
    two = np.where(sign * d2 < 0.0, two, strike - two)
    intrinsic = np.maximum(sign * (forward - strike), 0.0)
    return np.where(live, np.maximum(sign * (one - two), intrinsic), intrinsic)
