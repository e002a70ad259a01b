"""A member's market source over replayed candles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from offchain.instruments import Instrument
from offchain.market.sources import CandleMarket, LastEpoch
from offchain.oracle.observations import Observation, Quote, Slot
from offchain.oracle.reader import State
from offchain.risk.policy import INITIAL_SCAN_RANGE
from offchain.risk.volatility import scan_range

HISTORY = 45 * 24
"""Closing prices that a scan range rests on."""


@dataclass
class ScanRanges:
    """Wanted scan ranges by underlying and time, each computed once for all members of a process."""

    market: CandleMarket

    def __post_init__(self) -> None:
        self.at = cache(self._at)

    def _at(self, underlying: int, timestamp: int) -> int:
        closes = self.market.closes(underlying, timestamp)[-HISTORY:]
        return scan_range(closes, INITIAL_SCAN_RANGE[underlying], step=self.market.step(underlying))


@dataclass(frozen=True)
class ReplaySource:
    """What a member sees of a market that is replayed: `market` has the member's own noise, `ranges` are shared.

    Attributes
    ----------
    market : candles, and venues around them.
    ranges : wanted scan range of an underlying at a time, kept so that each is computed once.
    """

    market: CandleMarket
    ranges: ScanRanges

    def observe(self, slot: Slot, state: State, instruments: Sequence[int]) -> Observation:
        """The market at a slot.

        Raises
        ------
        MarketError, CandleError
            Too few sources, a value out of range, or no candle that had closed by then.
        """
        wanted = [Instrument.from_id(key) for key in instruments]
        expiries: dict[int, set[int]] = defaultdict(set)
        for each in wanted:
            if each.kind.is_dated and each.expiry > slot.timestamp:
                expiries[each.underlying].add(each.expiry)
        numbers = [each.underlying for each in state.policy.underlyings]
        last = None
        if state.last is not None:
            marks = state.last.marks
            last = LastEpoch(
                state.last.timestamp,
                {number: mark.index for number, mark in marks.items()},
                {number: mark.funding for number, mark in marks.items()},
            )
        snapshot = self.market.snapshot(
            slot.timestamp,
            {number: sorted(each) for number, each in expiries.items()},
            {number: self.ranges.at(number, slot.timestamp) for number in numbers},
            {each.underlying: each.lots_per_unit for each in state.policy.underlyings},
            last,
        )
        quotes = {
            number: Quote(seen.index, seen.funding, seen.scan_range) for number, seen in snapshot.underlyings.items()
        }
        return Observation(quotes, snapshot.inputs(wanted))
