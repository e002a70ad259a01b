"""What committed values are worth at another price, in exact integers: the twin of `contracts/lib/fallback.vy`.

    x       = floor(price * 1e12 / index) - 1e12            the move from index to price, 1e-12
    nodes   = scan rows with volatility none at move * R, and beyond the outermost of them tail rows at move
    value_k = mark + (v[k] - mark) * 1e8 / weight_k         a tail's weight taken out; scan rows have 1e8
    value   = mark + floor(((x_b - x) * (value_a - mark) + (x - x_a) * (value_b - mark)) / (x_b - x_a))

`a` is the last node at or below `x`, `b` the first above; beyond the last node the line through the last two goes on.
An account is liquidatable by fallback when it is worth less than its close-out at the independent feeds' prices; while
the oracle is live and an underlying of it is disputed, when it is worth less than risk and close-out by index and feed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offchain.risk.policy import MarginParams, Row, RowKind, VolatilityMove
from offchain.risk.portfolios import Content, evaluate
from offchain.units import MICRO, WEIGHT

UNIT = 10**12
"""The scale of moves here: a move of the policy (1e-6) times a scan range (1e-6)."""


@dataclass(frozen=True)
class Place:
    """Where a price stands between two rows.

    ``value = mark + floor((low_factor * (v[low] - mark) + high_factor * (v[high] - mark)) / divisor)``, divisor > 0;
    the fields in the order of the contract's struct.
    """

    low: int
    high: int
    low_factor: int
    high_factor: int
    divisor: int

    def value(self, values: Sequence[int]) -> int:
        """Value at the place of a risk array or scenario vector of forty values, micro-USD, floored."""
        mark = values[0]
        moved = self.low_factor * (values[self.low] - mark) + self.high_factor * (values[self.high] - mark)
        return mark + moved // self.divisor


def nodes(rows: Sequence[Row], scan_range: int) -> list[tuple[int, int, int]]:
    """The rows between which prices are interpolated: (move in 1e-12, row, weight in 1e-8), by ascending move.

    Parameters
    ----------
    rows : of the policy. scan_range : 1e-6.
    """
    inner = [
        (row.move * scan_range, number, WEIGHT)
        for number, row in enumerate(rows)
        if row.kind is RowKind.SCAN and row.volatility is VolatilityMove.NONE
    ]
    least, most = min(inner)[0], max(inner)[0]
    tails = [
        (row.move * MICRO, number, row.weight)
        for number, row in enumerate(rows)
        if row.kind is RowKind.TAIL and not least <= row.move * MICRO <= most
    ]
    return sorted([*inner, *tails])


def place(rows: Sequence[Row], scan_range: int, index: int, price: int) -> Place:
    """Where a price stands.

    Parameters
    ----------
    rows : of the policy. scan_range : 1e-6.
    index, price : committed index and the price to value at, micro-USD per unit.

    Raises
    ------
    ValueError
        Index or price is not within 1 and 2^64 - 1.
    """
    for name, value in (("index", index), ("price", price)):
        if not 0 < value < 2**64:
            raise ValueError(f"{name} {value} is not within 1 and 2^64 - 1")
    x = price * UNIT // index - UNIT
    ordered = nodes(rows, scan_range)
    above = next((k for k, node in enumerate(ordered) if node[0] > x), len(ordered) - 1)
    above = max(above, 1)
    (low_at, low, low_weight), (high_at, high, high_weight) = ordered[above - 1], ordered[above]
    return Place(
        low,
        high,
        WEIGHT * high_weight * (high_at - x),
        WEIGHT * low_weight * (x - low_at),
        low_weight * high_weight * (high_at - low_at),
    )


def worth(content: Content, cash: int, places: Mapping[int, Place]) -> int:
    """What an account is worth at the feeds' prices, micro-USD: cash and the floored value by underlying, at the mark
    where there is no place."""
    return cash + sum(
        places[u].value(v) if u in places else int(v[0])
        for u, v in zip(content.underlyings, content.vectors, strict=True)
    )


def is_liquidatable(content: Content, cash: int, places: Mapping[int, Place], params: MarginParams) -> bool:
    """Whether an account is worth less than its close-out, keeper reserve included, at the feeds' prices."""
    closeout = content.closeout + (params.reserve if content.count else 0)
    return worth(content, cash, places) < closeout


def is_unsafe_in_dispute(content: Content, cash: int, disputed: Mapping[int, Place], params: MarginParams) -> bool:
    """Whether an account is below maintenance margin at the marks, and with disputed underlyings at their feeds too.

    Parameters
    ----------
    disputed : where the usable feeds of disputed underlyings stand.
    """
    found = evaluate(content, cash, params)
    return max(found.pv, worth(content, cash, disputed)) < found.risk + found.closeout
