"""The compiled loop behind `risk.arrays`: instruments in, values of one lot in every row out.

The same bits as NumPy gives with `risk.scenarios` and `risk.portable`: the operations and their order are theirs, one
for one, and numba is not allowed to fuse or reorder them. All lanes take the same path, so that the loop over rows
runs in vector registers. Compiled on first use, kept on disk, and imported only where enough is to be priced.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from offchain.risk import portable
from offchain.risk.portable import FAR, LN2_HIGH, LN2_LOW, LOG2_E, MOST, ROOT_HALF_BITS, ROUND, ROUND_BITS

Array = npt.NDArray[np.float64]

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}
_INLINE = {**_OPTIONS, "forceinline": True}
"""A call left in the loop would keep it out of vector registers."""
_ONE_BITS = ROUND_BITS - 1023


@intrinsic
def _bits(_context: Any, _x: Any) -> Any:
    """The bits of a float64 as int64."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _float(_context: Any, _x: Any) -> Any:
    """The float64 of int64 bits."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], ir.DoubleType())

    return types.float64(types.int64), generate


_log_series = njit(**_INLINE)(portable.log_series)
_exp_series = njit(**_INLINE)(portable.exp_series)
_tail_series = njit(**_INLINE)(portable.tail_series)


@njit(**_INLINE)
def _log(x):  # type: ignore[no-untyped-def]
    bits = _bits(x)
    e = (bits - ROOT_HALF_BITS) >> 52
    m = _float(bits - (e << 52))
    exponent = _float(e + ROUND_BITS) - ROUND
    s = (m - 1.0) / (m + 1.0)
    return exponent * LN2_HIGH + (_log_series(s, s * s) + exponent * LN2_LOW)


@njit(**_INLINE)
def _exp_minus(u):  # type: ignore[no-untyped-def]
    k = ROUND - u * LOG2_E
    n = k - ROUND
    r = (-u - n * LN2_HIGH) - n * LN2_LOW
    return _exp_series(r) * _float((_bits(k) - _ONE_BITS) << 52)


@njit(**_INLINE)
def _tail(y):  # type: ignore[no-untyped-def]
    w = 1.0 / (y + 5.0)
    return w * _tail_series((5.0 - y * (19.0 / 9.0)) * w)


@njit(**_INLINE)
def _price(forward, strike, root, volatility, sign):  # type: ignore[no-untyped-def]
    spread = volatility * root
    live = (spread > 0.0) & (forward > 0.0)
    s = spread if live else 1.0
    d1 = _log((forward if live else strike) / strike) / s + 0.5 * s
    d2 = d1 - s
    u = 0.5 * d1 * d1
    scale = forward * _exp_minus(u if u < MOST else MOST)
    y1, y2 = abs(d1), abs(d2)
    one = scale * _tail(y1 if y1 < FAR else FAR)
    two = scale * _tail(y2 if y2 < FAR else FAR)
    one = one if sign * d1 < 0.0 else forward - one
    two = two if sign * d2 < 0.0 else strike - two
    least = sign * (forward - strike)
    least = least if least > 0.0 else 0.0
    value = sign * (one - two)
    return value if live & (value > least) else least


@njit(**_OPTIONS)
def fill_values(
    sign: Array, forward: Array, strike: Array, root: Array, volatility: Array, twist: Array, skew: Array, slope: Array,
    scan_range: Array, lots: Array, funding: Array, rows: Array, out: Array,
) -> None:  # fmt: skip
    """Value of one lot in each row, dollars.

    Parameters
    ----------
    sign : (n,): 1 call, -1 put, 0 anything else.
    forward, strike, root, scan_range, lots, funding : (n,), dollars, square root of years, fraction, lots a unit.
    volatility : (n, 3): in rows that move volatility not, up, down.
    twist, skew, slope : (n,), sizes of these moves for each instrument.
    rows : (9, rows): move of scan, tail and basis rows; 1 where volatility is unmoved, up, down; move of twist and skew
        rows; weight.
    out : (n, rows), written.
    """
    scan, tail, basis, none, up, down, twisted, skewed, weight = (
        rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], rows[8],
    )  # fmt: skip
    count = rows.shape[1]
    for i in range(len(forward)):
        f, r, b = forward[i], scan_range[i], slope[i]
        if sign[i] != 0.0:
            k, g, v0, v1, v2 = strike[i], sign[i], volatility[i, 0], volatility[i, 1], volatility[i, 2]
            root_i, w, e = root[i], twist[i], skew[i]
            for s in range(count):
                x = f * (1.0 + ((r * scan[s] + tail[s]) + b * basis[s]))
                v = (none[s] * v0 + up[s] * v1 + down[s] * v2) * (1.0 + twisted[s] * w) * (1.0 - skewed[s] * e)
                out[i, s] = _price(x if x > 0.0 else 0.0, k, root_i, v if v > 0.0 else 0.0, g)
        else:
            for s in range(count):
                x = f * (1.0 + ((r * scan[s] + tail[s]) + b * basis[s]))
                out[i, s] = x if x > 0.0 else 0.0
        mark, size, paid = out[i, 0], lots[i], funding[i]
        for s in range(count):
            value = out[i, s]
            moved = mark + weight[s] * (value - mark)
            out[i, s] = (value if weight[s] == 1.0 else moved) / size - paid
