"""Close-out cost of a lot: half spread, impact, haircut, short-option minimum, and what missing quotes add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offchain.instruments import Instrument, Kind
from offchain.risk.policy import Policy
from offchain.units import BASIS, HOUR, MICRO, ceil_div

UNQUOTED_COST = 10_000
"""Of the forward, 1e-6 an hour: by how much closing out costs more while an instrument has no quotes."""


class Missing(NamedTuple):
    """An instrument that has no quotes: its close-out cost in the epoch before (micro-USD per lot), seconds since."""

    c_long: int
    c_short: int
    seconds: int


def close_out(
    instrument: Instrument,
    forward: int,
    array: Sequence[int] | npt.NDArray[np.int64],
    open_interest: int,
    scan_range: int,
    policy: Policy,
) -> tuple[int, int]:
    """Close-out cost of one lot held long and short.

    ``cost = ceil(forward / lots_per_unit * (half_spread + impact * open_interest / depth))``; `open_interest` counts
    the whole market's lots of this instrument, so that splitting an account saves nothing. One unit a lot is added for
    the rounding of the risk array. Of an option, ``c_long <= min_s v[s] + 1``: a fully paid long option costs nothing
    to give up, so it is never liquidatable while its account holds `K` and one unit a lot in cash; and `c_short` has
    the short-option minimum on top, for what lies between the price rows. Rows are R/4 apart, so a butterfly of width
    R/8 in the middle between two of them loses at most R/8 of the forward unseen, against two short options: so the
    minimum is the policy's, but at least R/16 of the forward.

    Parameters
    ----------
    instrument : of a token, both costs are its haircut, ``ceil(forward / lots_per_unit * haircut)``, at most what it is
        worth in the worst row, so that bringing tokens never lowers an excess by itself.
    forward : micro-USD per unit. array : its risk array. open_interest : lots held long in it by all accounts.
    scan_range : of the underlying, 1e-6. policy : shocks, depth and lots per unit.

    Returns
    -------
    (c_long, c_short), micro-USD per lot, rounded up.

    Raises
    ------
    ValueError
        A negative open interest, or a cost that does not fit 32 bits.
    """
    if open_interest < 0:
        raise ValueError(f"open interest {open_interest} of {instrument.symbol()} is negative")
    listed, shocks = policy.underlying(instrument.underlying), policy.shocks
    scale = MICRO * listed.lots_per_unit
    rate = shocks.half_spread * listed.depth + shocks.impact * open_interest
    cost = ceil_div(int(forward) * rate, scale * listed.depth)
    long_cost = short_cost = cost
    if instrument.kind is Kind.TOKEN:
        cost = ceil_div(int(forward) * listed.haircut, BASIS * listed.lots_per_unit)
        long_cost = short_cost = min(cost, max(min(int(v) for v in array), 0))
    if instrument.kind.is_option:
        long_cost = min(cost, max(min(int(v) for v in array), 0))
        minimum = max(shocks.short_option_minimum, ceil_div(scan_range, 16))
        short_cost = ceil_div(int(forward) * (rate + minimum * listed.depth), scale * listed.depth)
    if short_cost + 1 >= 2**32:
        raise ValueError(
            f"close-out {short_cost} of {instrument.symbol()} does not fit 32 bits: list it with smaller lots"
        )
    return long_cost + 1, short_cost + 1


def unquoted_close_out(
    instrument: Instrument,
    forward: int,
    array: Sequence[int] | npt.NDArray[np.int64],
    cost: tuple[int, int],
    missing: Missing,
    scan_range: int,
    policy: Policy,
) -> tuple[int, int]:
    """Close-out cost of an instrument without quotes: it grows by `UNQUOTED_COST` of the forward an hour.

    ``max(cost, min(cost in the epoch before + growth, scan range of the forward))``; of a long option still at most
    what `close_out` allows, ``min_s v[s] + 1``.

    Parameters
    ----------
    cost : what `close_out` says. Others as there.

    Returns
    -------
    (c_long, c_short), micro-USD per lot, growth and limit rounded up.

    Raises
    ------
    ValueError
        A cost does not fit 32 bits.
    """
    lots = policy.underlying(instrument.underlying).lots_per_unit
    growth = ceil_div(forward * UNQUOTED_COST * missing.seconds, MICRO * HOUR * lots)
    most = ceil_div(forward * scan_range, MICRO * lots)
    long_cost = max(cost[0], min(missing.c_long + growth, most))
    short_cost = max(cost[1], min(missing.c_short + growth, most))
    if instrument.kind.is_option:
        long_cost = min(long_cost, max(min(int(v) for v in array), 0) + 1)
    if max(long_cost, short_cost) >= 2**32:
        raise ValueError(f"close-out {short_cost} of {instrument.symbol()} does not fit 32 bits")
    return long_cost, short_cost
