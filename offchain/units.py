"""Units and limits that contracts and programs share (docs/protocol.md, *Units*), and the one door from float to
integer.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import numpy.typing as npt

MICRO = 10**6
"""micro-USD a dollar; also the scale of volatilities, scan ranges and moves."""
BASIS = 10**4
"""The scale of `kappa`, `im_factor`, penalties, fees and bands."""
WEIGHT = 10**8
"""The scale of a tail row's weight."""
SCENARIOS = 40
MAX_POSITIONS = 128
MAX_UNDERLYINGS = 4
MAX_SUM_ABS = 2**32
"""`sum |q|` of an account is below this."""
MAX_VALUE = 2**31
"""A risk array's entries are below this in magnitude."""
DRIFT_VALUE = 2**30
"""An instrument whose risk array passes this becomes close-only."""
YEAR = 365 * 86_400
"""Seconds of a year in every pricing formula."""
DAY = 86_400
HOUR = 3_600

_INT64 = 2.0**63


@overload
def to_micro_nearest(value: float) -> int: ...


@overload
def to_micro_nearest(value: npt.NDArray[Any]) -> npt.NDArray[np.int64]: ...


def to_micro_nearest(value: float | npt.NDArray[Any]) -> int | npt.NDArray[np.int64]:
    """Units to 1e-6 units (dollars to micro-USD, a fraction to 1e-6), rounded to nearest, ties to even.

    The only place where a float becomes an integer that is signed, hashed or compared.

    Parameters
    ----------
    value : float or float64 array of any shape, in whole units.

    Returns
    -------
    int, or int64 array of the same shape, in 1e-6 units; within half a unit of ``value * 10**6`` as a float64.

    Raises
    ------
    ValueError
        A value is NaN, infinite, or does not fit 64 bits; the message has the first such value and its place.
    """
    scaled = np.rint(np.asarray(value, dtype=np.float64) * MICRO)
    bad = ~(np.abs(scaled) < _INT64)
    if bad.any():
        place = np.argwhere(bad)[0].tolist()
        where = f" at {place}" if place else ""
        raise ValueError(f"cannot round to 1e-6 units: {np.asarray(value)[tuple(place)]!r}{where}")
    if scaled.ndim == 0:
        return int(scaled)
    return scaled.astype(np.int64)


def ceil_div(numerator: int, denominator: int) -> int:
    """Quotient rounded towards plus infinity, of integers with a positive denominator."""
    return -(-numerator // denominator)


def field(word: int, high: int, low: int) -> int:
    """Bits `high..low` of a word, unsigned."""
    return (word >> low) & ((1 << (high - low + 1)) - 1)


def signed(value: int, bits: int) -> int:
    """The two's complement reading of an unsigned field of `bits` bits."""
    return value - (1 << bits) if value >> (bits - 1) else value


def placed(name: str, value: int, bits: int, low: int) -> int:
    """`value` shifted to bit `low`.

    Raises
    ------
    ValueError
        It does not fit `bits` unsigned bits.
    """
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{name} {value} does not fit {bits} bits")
    return value << low


def placed_signed(name: str, value: int, bits: int, low: int) -> int:
    """As `placed`, for a two's complement field."""
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise ValueError(f"{name} {value} does not fit {bits} signed bits")
    return (value & ((1 << bits) - 1)) << low
