"""Risk arrays, close-out costs and instrument leaves: what one lot could lose.

A risk array is priced from integers that its leaf, the header and the policy hold, and from nothing else, so that
anybody recomputes it. Pricing is in floats; the results pass `units.to_micro_nearest`, and close-out costs are
integer arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.risk import portable
from offchain.risk.closeout import Missing, close_out, unquoted_close_out
from offchain.risk.policy import Policy, RowKind, VolatilityMove
from offchain.risk.scenarios import Grid
from offchain.units import DAY, DRIFT_VALUE, MAX_VALUE, MICRO, SCENARIOS, YEAR, to_micro_nearest

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_FORWARD = 2**48 - 1
MAX_VOLATILITY = 2**32 - 1
COMPILE_FROM = 20_000
"""Values (instruments times rows) from which the compiled loop is worth importing; NumPy takes 2 ms for fewer."""
UNIT_GUARD = 8
"""A forward beyond eight times, or below an eighth of, its index is taken for a mistake of units and refused."""


@dataclass(frozen=True)
class _Columns:
    """Fields of n instruments as arrays, in dollars, years and fractions."""

    kind: Ints
    forward: Array
    strike: Array
    years: Array
    lots: Array
    volatility: Array
    scan_range: Array
    funding: Array


def _columns(
    instruments: Sequence[Instrument],
    forwards: Sequence[int] | Ints,
    ivs: Sequence[int] | Ints,
    index: Mapping[int, int],
    funding: Mapping[int, int],
    scan_range: Mapping[int, int],
    timestamp: int,
    policy: Policy,
) -> _Columns:
    """Check the inputs and turn them into arrays."""
    if len(forwards) != len(instruments) or len(ivs) != len(instruments):
        raise ValueError(f"{len(instruments)} instruments, but {len(forwards)} forwards and {len(ivs)} volatilities")
    lots = {}
    for number in {i.underlying for i in instruments}:
        lots[number] = policy.underlying(number).lots_per_unit
        for name, known in (("index", index), ("funding", funding), ("scan_range", scan_range)):
            if number not in known:
                raise ValueError(f"no {name} for underlying {number}")
        if index[number] < 1:
            raise ValueError(f"index {index[number]} of underlying {number} is not positive")
        if not 0 < scan_range[number] < MICRO:
            raise ValueError(
                f"scan range {scan_range[number]} (1e-6) of underlying {number} is not within 0 and 1000000"
            )
        if not -(2**62) < funding[number] < 2**62:
            raise ValueError(f"funding index {funding[number]} of underlying {number} is out of range")
    underlying, kind, expiry, strike = (
        np.array(list(map(attrgetter(name), instruments)), dtype=np.int64)
        for name in ("underlying", "kind", "expiry", "strike")
    )
    numbers, place = np.unique(underlying, return_inverse=True)
    option = (kind == Kind.CALL) | (kind == Kind.PUT)
    forward, iv = _checked(instruments, forwards, ivs, index, [index[u] for u in numbers.tolist()], place, option)
    dated = option | (kind == Kind.FUTURE)

    def column(of: Mapping[int, int], scale: float) -> Array:
        return np.array([float(of[u]) for u in numbers.tolist()])[place] / scale

    return _Columns(
        kind=kind,
        forward=forward / MICRO,
        strike=strike / MICRO,
        years=np.where(dated, np.maximum(expiry - float(timestamp), 0.0) / YEAR, 0.0),
        lots=column(lots, 1.0),
        volatility=iv / MICRO,
        scan_range=column(scan_range, MICRO),
        funding=column(funding, MICRO),
    )


def _checked(
    instruments: Sequence[Instrument],
    forwards: Sequence[int] | Ints,
    ivs: Sequence[int] | Ints,
    index: Mapping[int, int],
    marks: Sequence[int],
    place: Ints,
    option: npt.NDArray[np.bool_],
) -> tuple[Array, Array]:
    """Forwards and volatilities, if they are in range: all at once, and one by one where that finds something wrong.

    In floats, which compare as the integers do: the bounds are powers of two, or a factor of eight apart.
    """
    forward = np.array(forwards, dtype=np.float64)
    iv = np.array(ivs, dtype=np.float64)
    mark = np.array(marks, dtype=np.float64)[place]
    fine = (forward > 0.0) & (forward <= MAX_FORWARD)
    fine &= (mark < forward * (UNIT_GUARD - 1)) & (forward < mark * (UNIT_GUARD - 1))
    fine &= np.where(option, (iv > 0.0) & (iv <= MAX_VOLATILITY), iv == 0.0)
    for at in np.flatnonzero(~fine).tolist():
        each, number, level = instruments[at], forwards[at], ivs[at]
        if not 0 < number <= MAX_FORWARD:
            raise ValueError(f"forward {number} of {each.symbol()} is not within 1 and 2^48 - 1")
        known = index[each.underlying]
        if not known <= number * UNIT_GUARD <= known * UNIT_GUARD**2:
            raise ValueError(f"forward {number} of {each.symbol()} is far from its index {known}: check the units")
        if each.kind.is_option and not 0 < level <= MAX_VOLATILITY:
            raise ValueError(f"volatility {level} of {each.symbol()} is not within 1 and 2^32 - 1")
        if not each.kind.is_option and level != 0:
            raise ValueError(f"{each.symbol()} has no volatility, but {level} was given")
    return forward, iv


def _values(columns: _Columns, grid: Grid) -> Array:
    """Value of one lot in each row, dollars: (n, rows). Both engines give the same bits."""
    c = columns
    sign, dated = _signs(c)
    if len(sign) * len(grid.move) >= COMPILE_FROM:
        return _compiled(_kernel_inputs(c, grid, sign, dated))
    prices = grid.forwards(c.forward, dated, c.years, c.scan_range)
    options = np.flatnonzero(sign)
    if len(options):
        years, strike = c.years[options], c.strike[options]
        volatility = grid.volatilities(c.volatility[options], strike / c.forward[options], years * (YEAR / DAY))
        prices[options] = portable.price(
            prices[options], strike[:, None], np.sqrt(years)[:, None], volatility, sign[options, None]
        )
    mark = prices[:, :1]
    weighted = np.where(grid.weight == 1.0, prices, mark + grid.weight * (prices - mark))
    return weighted / c.lots[:, None] - _funding(c)[:, None]


def _compiled(inputs: tuple[Array, ...]) -> Array:
    """`_values` by the compiled loop."""
    from offchain.risk import pricing_kernel

    out = np.empty((len(inputs[0]), inputs[-1].shape[1]))
    pricing_kernel.fill_values(*inputs, out)
    return out


def _kernel_inputs(c: _Columns, grid: Grid, sign: Array, dated: npt.NDArray[np.bool_]) -> tuple[Array, ...]:
    """What `pricing_kernel.fill_values` takes, in its order, but for `out`."""
    days = c.years * (YEAR / DAY)
    moneyness = np.where(sign != 0.0, c.strike / c.forward, 1.0)
    volatility = np.stack(
        [c.volatility, grid.shock.raised(c.volatility, days), grid.shock.lowered(c.volatility, days)], axis=1
    )
    kinds = (RowKind.SCAN, RowKind.TAIL, RowKind.BASIS)
    moves = (VolatilityMove.NONE, VolatilityMove.UP, VolatilityMove.DOWN)
    rows = np.array(
        [grid.move * (grid.kind == kind) for kind in kinds]
        + [(grid.volatility == move).astype(np.float64) for move in moves]
        + [grid.move * (grid.kind == kind) for kind in (RowKind.TWIST, RowKind.SKEW)]
        + [grid.weight]
    )
    return (
        sign,
        c.forward,
        c.strike,
        np.sqrt(c.years),
        volatility,
        grid.twist * (30.0 - days) / (30.0 + days),
        grid.skew * np.clip((moneyness - 1.0) / 0.2, -1.0, 1.0),
        np.where(dated, grid.basis * (0.5 + 2.0 * c.years), 0.0),
        c.scan_range,
        c.lots,
        _funding(c),
        rows,
    )


def _funding(c: _Columns) -> Array:
    """What a lot has paid in funding, dollars: perpetuals only."""
    return np.where(c.kind == Kind.PERPETUAL, c.funding, 0.0)


def _signs(c: _Columns) -> tuple[Array, npt.NDArray[np.bool_]]:
    """1 for a call, -1 for a put, 0 otherwise; and which instruments have an expiry."""
    option = (c.kind == Kind.CALL) | (c.kind == Kind.PUT)
    return np.where(option, np.where(c.kind == Kind.CALL, 1.0, -1.0), 0.0), option | (c.kind == Kind.FUTURE)


def pricing_inputs(
    instruments: Sequence[Instrument],
    forwards: Sequence[int] | Ints,
    ivs: Sequence[int] | Ints,
    index: Mapping[int, int],
    funding: Mapping[int, int],
    scan_range: Mapping[int, int],
    timestamp: int,
    policy: Policy,
) -> tuple[Array, ...]:
    """What is priced for `risk_arrays`, as plain arrays: the inputs of `pricing_kernel.fill_values` but for `out`."""
    columns = _columns(instruments, forwards, ivs, index, funding, scan_range, timestamp, policy)
    return _kernel_inputs(columns, Grid.of(policy), *_signs(columns))


def risk_arrays(
    instruments: Sequence[Instrument],
    forwards: Sequence[int] | Ints,
    ivs: Sequence[int] | Ints,
    index: Mapping[int, int],
    funding: Mapping[int, int],
    scan_range: Mapping[int, int],
    timestamp: int,
    policy: Policy,
) -> Ints:
    """Risk arrays of instruments, from integers alone.

    Value of one lot: perpetual ``price / lots_per_unit - F``; future ``forward / lots_per_unit``; option ``Black-76 /
    lots_per_unit``; token ``price / lots_per_unit``. T is ``(expiry - timestamp) / 365 d``; at and after expiry an
    option is worth its intrinsic value. Rows are those of `risk.scenarios`.

    Parameters
    ----------
    instruments : n instruments, in any order.
    forwards : (n,), micro-USD per unit: mark price of a perpetual or token, forward of a future or option.
    ivs : (n,), 1e-6; 0 unless an option.
    index, funding, scan_range : by underlying: micro-USD per unit, micro-USD per lot, 1e-6.
    timestamp : of the header, seconds.
    policy : rows, shocks and lots per unit.

    Returns
    -------
    int64 (n, 40), micro-USD per lot, rounded to nearest; below 2^31 in magnitude.

    Raises
    ------
    ValueError
        An input is missing or out of range, or a value reaches 2^31: the lot is too large to be listed.
    """
    if not instruments:
        return np.empty((0, SCENARIOS), dtype=np.int64)
    columns = _columns(instruments, forwards, ivs, index, funding, scan_range, timestamp, policy)
    out = to_micro_nearest(_values(columns, Grid.of(policy)))
    beyond = np.abs(out) >= MAX_VALUE
    if beyond.any():
        row, scenario = np.argwhere(beyond)[0]
        raise ValueError(
            f"{instruments[row].symbol()} is worth {out[row, scenario]} a lot in row {scenario}, not below 2^31: "
            "list it with smaller lots"
        )
    return out


def build_leaves(
    instruments: Sequence[Instrument],
    forwards: Sequence[int] | Ints,
    ivs: Sequence[int] | Ints,
    index: Mapping[int, int],
    funding: Mapping[int, int],
    scan_range: Mapping[int, int],
    timestamp: int,
    policy: Policy,
    open_interest: Mapping[int, int] | None = None,
    close_only: frozenset[int] | set[int] = frozenset(),
    missing: Mapping[int, Missing] = MappingProxyType({}),
) -> list[InstrumentLeaf]:
    """Instrument leaves of an epoch, in ascending id.

    Status: expired at and after expiry; else close-only if named in `close_only` or if a value passes 2^30; else open.

    Parameters
    ----------
    instruments ... policy : as in `risk_arrays`.
    open_interest : lots held long by instrument id; 0 where absent.
    close_only : ids that may only be closed. missing : those without quotes, which are close-only too.

    Raises
    ------
    ValueError
        As `risk_arrays` and `close_out`; or an instrument is given twice.
    """
    arrays = risk_arrays(instruments, forwards, ivs, index, funding, scan_range, timestamp, policy)
    largest = np.abs(arrays).max(axis=1, initial=0)
    leaves = {}
    for each, forward, iv, array, most in zip(instruments, forwards, ivs, arrays.tolist(), largest, strict=True):
        if each.id in leaves:
            raise ValueError(f"{each.symbol()} is given twice")
        held = (open_interest or {}).get(each.id, 0)
        level = scan_range[each.underlying]
        c_long, c_short = close_out(each, int(forward), array, held, level, policy)
        if each.id in missing:
            cost = (c_long, c_short)
            c_long, c_short = unquoted_close_out(each, int(forward), array, cost, missing[each.id], level, policy)
        if each.kind.is_dated and each.expiry <= timestamp:
            status = Status.EXPIRED
        elif each.id in close_only or each.id in missing or most > DRIFT_VALUE:
            status = Status.CLOSE_ONLY
        else:
            status = Status.OPEN
        leaves[each.id] = InstrumentLeaf(each.id, int(forward), int(iv), c_long, c_short, status, tuple(array))
    return [leaves[key] for key in sorted(leaves)]


def pack_arrays(arrays: Ints) -> list[tuple[int, ...]]:
    """Risk arrays as words, all at once; the same words as `instruments.pack_array`.

    Parameters
    ----------
    arrays : int64 (n, 40), below 2^31 in magnitude.

    Returns
    -------
    n tuples of five words.

    Raises
    ------
    ValueError
        Another shape, or a value out of range.
    """
    arrays = np.asarray(arrays, dtype=np.int64)
    if arrays.ndim != 2 or arrays.shape[1] != SCENARIOS:
        raise ValueError(f"risk arrays have the shape (n, {SCENARIOS}), not {arrays.shape}")
    beyond = (arrays <= -MAX_VALUE) | (arrays >= MAX_VALUE)
    if beyond.any():
        row, scenario = np.argwhere(beyond)[0]
        raise ValueError(
            f"value {arrays[row, scenario]} of instrument {row}, row {scenario} is not below 2^31 in magnitude"
        )
    lanes = (arrays + MAX_VALUE).reshape(-1, 5, 2, 4).transpose(0, 1, 3, 2).astype("<u4")
    data = lanes.tobytes()
    read = int.from_bytes
    return [
        tuple(read(data[at + 32 * k : at + 32 * k + 32], "little") for k in range(5)) for at in range(0, len(data), 160)
    ]


def unpack_arrays(words: Sequence[Sequence[int]]) -> Ints:
    """Risk arrays of words: the inverse of `pack_arrays`; int64 (n, 40)."""
    if any(len(each) != 5 for each in words):
        raise ValueError("a risk array has 5 words")
    data = b"".join(int(word).to_bytes(32, "little") for each in words for word in each)
    lanes = np.frombuffer(data, dtype="<u4").reshape(-1, 5, 4, 2).transpose(0, 1, 3, 2).reshape(-1, SCENARIOS)
    return lanes.astype(np.int64) - MAX_VALUE
