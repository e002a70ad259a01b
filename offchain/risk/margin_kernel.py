"""The compiled loops behind `risk.bulk`: positions in, scenario vectors or margins out, one account after another.

Integers throughout. A risk array is held in 32 bits, and so are the lots of an account with ``sum |q| < 2^31``: then a
product of two 32-bit integers is one vector instruction and its 64-bit sum is exact. An account with more lots, which
the limit ``sum |q| < 2^32`` still allows, takes the same loop with 64-bit lots. Vectors are not stored when only
margins are asked for, so a position is read once and an account's lanes stay in the first-level cache.

numba compiles each loop on first use and keeps it on disk. Importing this module costs the import of numba; `risk.bulk`
does so only for books that are large enough to gain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from offchain.units import BASIS, SCENARIOS

Ints = npt.NDArray[np.int64]
Anything = npt.NDArray[Any]

_NARROW = 2**31
_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}
_INLINE = {**_OPTIONS, "forceinline": True}


@njit(**_INLINE)
def _add(acc, begin, end, narrow, columns, lots, table):  # type: ignore[no-untyped-def]
    """``acc[s] = sum q v[s]`` over the positions from `begin` to `end`; unsigned places spare a sign check a load."""
    for s in range(SCENARIOS):
        acc[s] = 0
    if narrow:
        for at in range(begin, end):
            small = np.int32(lots[at])
            place = np.uint64(columns[at])
            for s in range(SCENARIOS):
                acc[s] += np.int64(small) * np.int64(table[place, s])
    else:
        for at in range(begin, end):
            large = lots[at]
            place = np.uint64(columns[at])
            for s in range(SCENARIOS):
                acc[s] += large * np.int64(table[place, s])


@njit(**_INLINE)
def _least(lanes, half):  # type: ignore[no-untyped-def]
    """Least of the lanes, as a tree, which stays in vector registers; `half` is scratch of 20."""
    for s in range(20):
        half[s] = min(lanes[s], lanes[s + 20])
    for s in range(10):
        half[s] = min(half[s], half[s + 10])
    for s in range(5):
        half[s] = min(half[s], half[s + 5])
    return min(min(min(half[0], half[1]), min(half[2], half[3])), half[4])


@njit(**_OPTIONS)
def fill_margins(
    indptr: Ints, columns: Anything, lots: Ints, ends: Anything, table: Anything, costs: Ints, sum_abs: Ints,
    cash: Ints, wide: Anything, a_lot: float, safe: float, kappa: int, factor: int, reserve: int, out: Ints,
) -> None:  # fmt: skip
    """The margin rule for every account that is not wide.

    Parameters
    ----------
    indptr, columns, lots, sum_abs, cash : as in `risk.bulk.BulkBook`.
    ends : int32 (I,): of each instrument, the place after the last one of its underlying.
    table : int32 (I, 40), risk arrays. costs : int64 (I, 2), close-out a lot, long and short.
    wide : bool (A,), accounts to leave alone; set for those beyond the 64-bit bound of `risk.bulk`, which is
        ``sum |q| * a_lot + |cash| + reserve < safe``.
    kappa, factor : 1e-4. reserve : micro-USD.
    out : int64 (A, 5), written: PV, risk, close-out with the reserve, MM excess, IM excess.
    """
    acc = np.empty(SCENARIOS, dtype=np.int64)
    total = np.empty(SCENARIOS, dtype=np.int64)
    half = np.empty(20, dtype=np.int64)
    for account in range(len(indptr) - 1):
        if wide[account] or sum_abs[account] * a_lot + abs(float(cash[account])) + reserve >= safe:
            wide[account] = True
            continue
        at, end = indptr[account], indptr[account + 1]
        narrow = sum_abs[account] < _NARROW
        closeout = reserve if end > at else 0
        for position in range(at, end):
            quantity = lots[position]
            closeout += abs(quantity) * costs[np.uint64(columns[position]), np.uint64(quantity < 0)]
        apart = 0
        for s in range(SCENARIOS):
            total[s] = 0
        while at < end:
            bound = ends[np.uint64(columns[at])]
            stop = at + 1
            while stop < end and columns[stop] < bound:
                stop += 1
            _add(acc, at, stop, narrow, columns, lots, table)
            apart += acc[0] - _least(acc, half)
            for s in range(SCENARIOS):
                total[s] += acc[s]
            at = stop
        mark = total[0]
        spread = apart - (mark - _least(total, half))
        risk = apart - (kappa * (spread // BASIS) + kappa * (spread % BASIS) // BASIS)
        requirement = risk + closeout
        initial = factor * (requirement // BASIS) + (factor * (requirement % BASIS) + BASIS - 1) // BASIS
        pv = cash[account] + mark
        out[account, 0] = pv
        out[account, 1] = risk
        out[account, 2] = closeout
        out[account, 3] = pv - requirement
        out[account, 4] = pv - initial


@njit(**_OPTIONS)
def fill_vectors(runs: Ints, columns: Anything, lots: Ints, narrow: Anything, table: Anything, out: Ints) -> None:
    """Scenario vectors of every (account, underlying) pair.

    Parameters
    ----------
    runs : int64 (A U + 1,), where a pair's positions begin. columns, lots : as in `risk.bulk.BulkBook`.
    narrow : bool (A,), whether the account's lots fit 32 bits. table : int32 (I, 40).
    out : int64 (A U, 40), written.
    """
    width = (len(runs) - 1) // max(len(narrow), 1)
    for pair in range(len(runs) - 1):
        _add(out[pair], runs[pair], runs[pair + 1], narrow[pair // width], columns, lots, table)
