"""A member's market source over replayed candles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from offchain.instruments import Instrument
from offchain.market.candles import CandleError
from offchain.market.snapshots import MIN_SOURCES
from offchain.market.sources import CandleMarket, LastEpoch
from offchain.oracle.observations import Observation, Slot
from offchain.oracle.reader import State
from offchain.risk.policy import INITIAL_SCAN_RANGE
from offchain.risk.volatility import clip_scan_range, scan_range

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
    minimum : least sources for each field.
    """

    market: CandleMarket
    ranges: ScanRanges
    minimum: int = MIN_SOURCES

    def observe(self, slot: Slot, state: State, instruments: Sequence[int]) -> Observation:
        """The market at a slot.

        Raises
        ------
        MarketError, CandleError
            Too few sources, a value out of range, or no candle that had closed by then.
        """
        expiries: dict[int, set[int]] = defaultdict(set)
        for each in map(Instrument.from_id, instruments):
            if each.kind.is_dated and each.expiry > slot.timestamp:
                expiries[each.underlying].add(each.expiry)
        listed = state.policy.underlyings
        last = None
        if state.last is not None:
            marks = state.last.marks
            last = LastEpoch(
                state.last.timestamp,
                {number: mark.index for number, mark in marks.items()},
                {number: mark.funding for number, mark in marks.items()},
            )
        # However wild the market, it is observed within the policy's bounds: that is no reason to abstain.
        ranges = {u.underlying: self.ranges.at(u.underlying, slot.timestamp) for u in listed}
        snapshot = self.market.snapshot(
            slot.timestamp,
            {number: sorted(each) for number, each in expiries.items()},
            {u.underlying: clip_scan_range(None, ranges[u.underlying], 1, u) for u in listed},
            {u.underlying: u.lots_per_unit for u in listed},
            last,
            self.minimum,
        )
        expired = {
            (each.underlying, each.expiry) for each in map(Instrument.from_id, instruments) if each.kind.is_dated
        }
        prices = {}
        for key in sorted(expired):
            if key[1] <= slot.timestamp:
                with suppress(CandleError):  # not known then: others may know it, and the rest of the market goes on
                    prices[key] = self.market.settlement(*key)
        return replace(Observation.of_snapshot(snapshot, instruments), settlements=prices)
