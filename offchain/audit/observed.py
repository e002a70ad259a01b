"""From what members signed that they saw, to the inputs of an epoch: medians, and the oracle contract's bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from offchain.audit.recompute import LIVE, PROVISIONAL, Header, Mark
from offchain.risk.policy import Policy, UnderlyingParams

FUNDING_BOUND = 500
"""1e-6 of the index an hour (contracts/RiskOracle.vy)."""
ONE, HOUR = 1_000_000, 3_600


@dataclass(frozen=True)
class Last:
    """The epoch before: its number, its timestamp, and the latest mark of each underlying until then."""

    epoch: int
    timestamp: int
    marks: Mapping[int, Mark]


def median(values: Sequence[int]) -> int:
    """The lower median: of an even number of values, the lesser of the middle two."""
    return sorted(values)[(len(values) - 1) // 2]


def same_slot(body: Mapping[str, Any], header: Header) -> bool:
    """Whether an observation is of the header's slot and snapshot."""
    return (
        body["epoch"] == header.epoch
        and body["timestamp"] == header.timestamp
        and body["snapshot_block"] == header.snapshot_block
        and body["snapshot_hash"] == f"0x{header.snapshot_hash.hex()}"
    )


def expected_marks(
    bodies: Sequence[Mapping[str, Any]], header: Header, last: Last | None, policy: Policy
) -> list[Mark]:
    """Marks of an epoch: medians of index, funding and scan range, the latter two within the contract's bounds.

    A jump makes one provisional.

    Raises
    ------
    ValueError
        Nobody saw an underlying.
    """
    out = []
    for listed in policy.underlyings:
        key = str(listed.underlying)
        seen = [body["underlyings"][key] for body in bodies if key in body["underlyings"]]
        if not seen:
            raise ValueError(f"nobody observed underlying {key}")
        index, funding, scan = (median(column) for column in zip(*seen, strict=True))
        before = last.marks.get(listed.underlying) if last is not None else None
        if last is None or before is None:
            funding, low, high = 0, listed.r_min, listed.r_max
        else:
            low, high = _scan_bounds(before.scan_range, header.epoch - last.epoch, listed)
            step = before.index * FUNDING_BOUND * (header.timestamp - last.timestamp)
            step //= ONE * HOUR * listed.lots_per_unit
            funding = max(before.funding - step, min(before.funding + step, funding))
        mark = Mark(listed.underlying, index, funding, max(low, min(high, scan)), LIVE)
        out.append(replace(mark, status=status_of(mark, last, header, policy)))
    return out


def status_of(mark: Mark, last: Last | None, header: Header, policy: Policy) -> int:
    """The status that a stated one becomes by the move alone: PROVISIONAL after a jump, never for two epochs running.

    A jump: `(abs(index' - index) * 1e6)^2 > (index * limit)^2 * slots`.
    """
    before = last.marks.get(mark.underlying) if last is not None else None
    if last is None or before is None:
        return mark.status
    if before.status == PROVISIONAL:
        return LIVE if mark.status == PROVISIONAL else mark.status
    moved = ONE * (mark.index - before.index)
    if moved * moved > (before.index * policy.shocks.jump) ** 2 * (header.epoch - last.epoch):
        return max(mark.status, PROVISIONAL)
    return mark.status


def _scan_bounds(scan: int, slots: int, listed: UnderlyingParams) -> tuple[int, int]:
    """Where the next scan range must lie, 1e-6: the slew by elapsed slots, then the policy's own bounds."""
    rise, fall = scan * listed.slew_up * slots // ONE, scan * listed.slew_down * slots // ONE

    def clamp(value: int) -> int:
        return max(listed.r_min, min(listed.r_max, value))

    return clamp(max(scan - fall, 0)), clamp(scan + rise)


def expected_settlements(
    bodies: Sequence[Mapping[str, Any]],
    due: Iterable[tuple[int, int]],
    before: Mapping[tuple[int, int], int],
    quorum: int,
) -> list[int]:
    """Settlement words of an epoch, ascending: of each expiry the price stated before, else the median of a quorum."""
    words = []
    for underlying, expiry in due:
        stated = [body.get("settlements", {}).get(f"{underlying}:{expiry}") for body in bodies]
        seen = [price for price in stated if price is not None]
        price = before.get((underlying, expiry), median(seen) if len(seen) >= quorum else 0)
        if price:
            words.append(underlying << 240 | expiry << 208 | price << 144)
    return sorted(words)


def expected_inputs(bodies: Sequence[Mapping[str, Any]], instrument: int, quorum: int) -> tuple[int, int] | None:
    """Forward (micro-USD per unit) and volatility (1e-6) of an instrument: medians; None if no quorum saw it."""
    key = f"0x{instrument:026x}"
    seen = [body["instruments"][key] for body in bodies if key in body["instruments"]]
    if len(seen) < quorum:
        return None
    forward, volatility = (median(column) for column in zip(*seen, strict=True))
    return forward, volatility
