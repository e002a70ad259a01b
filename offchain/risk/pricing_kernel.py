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
    x, d1, d2, scale, safe, alive = (
        np.empty(count), np.empty(count), np.empty(count), np.empty(count), np.empty(count), np.empty(count),
    )  # fmt: skip
    for i in range(len(forward)):
        f, r, b, size, paid = forward[i], scan_range[i], slope[i], lots[i], funding[i]
        for s in range(count):
            moved = f * (1.0 + ((r * scan[s] + tail[s]) + b * basis[s]))
            x[s] = moved if moved > 0.0 else 0.0
        if sign[i] != 0.0:
            k, g, v0, v1, v2 = strike[i], sign[i], volatility[i, 0], volatility[i, 1], volatility[i, 2]
            root_i, w, e = root[i], twist[i], skew[i]
            for s in range(count):
                v = (none[s] * v0 + up[s] * v1 + down[s] * v2) * (1.0 + twisted[s] * w) * (1.0 - skewed[s] * e)
                spread = (v if v > 0.0 else 0.0) * root_i
                live = (spread > 0.0) & (x[s] > 0.0)
                alive[s] = 1.0 if live else 0.0
                safe[s] = spread if live else 1.0
                d1[s] = (x[s] if live else k) / k
            for s in range(count):
                d1[s] = _log(d1[s])
            for s in range(count):
                d1[s] = d1[s] / safe[s] + 0.5 * safe[s]
                d2[s] = d1[s] - safe[s]
            for s in range(count):
                u = 0.5 * d1[s] * d1[s]
                scale[s] = x[s] * _exp_minus(u if u < MOST else MOST)
            for s in range(count):
                y = abs(d1[s])
                one = scale[s] * _tail(y if y < FAR else FAR)
                d1[s] = one if g * d1[s] < 0.0 else x[s] - one
            for s in range(count):
                y = abs(d2[s])
                two = scale[s] * _tail(y if y < FAR else FAR)
                d2[s] = two if g * d2[s] < 0.0 else k - two
            for s in range(count):
                least = g * (x[s] - k)
                least = least if least > 0.0 else 0.0
                value = g * (d1[s] - d2[s])
                x[s] = value if (alive[s] > 0.0) & (value > least) else least
        mark = x[0]
        for s in range(count):
            moved = mark + weight[s] * (x[s] - mark)
            out[i, s] = (x[s] if weight[s] == 1.0 else moved) / size - paid
