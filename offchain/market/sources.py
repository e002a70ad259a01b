"""A market replayed from candles: what sources would have said at a time, from what was known then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from offchain.market.candles import CandleError, Candles, iso
from offchain.market.snapshots import (
    MIN_SOURCES,
    Reading,
    Snapshot,
    UnderlyingSnapshot,
    accrue_funding,
    combine,
)
from offchain.market.surfaces import CarryParams, modelled_carry, modelled_surface
from offchain.units import MICRO, to_micro_nearest

SETTLEMENT_WINDOW = 1_800
"""Seconds before an expiry over which its settlement price is averaged."""
DEFAULT_SOURCES = ("replay-a", "replay-b", "replay-c", "replay-d", "replay-e")


@dataclass(frozen=True)
class LastEpoch:
    """What funding needs of the epoch before.

    Attributes
    ----------
    timestamp : seconds. index : by underlying, micro-USD per unit. funding : by underlying, micro-USD per lot.
    """

    timestamp: int
    index: Mapping[int, int]
    funding: Mapping[int, int]


class CandleMarket:
    """Several sources around one candle file for each underlying.

    A source's index is the last close, off by a little that depends on seed, source, underlying and time only; marks
    and forwards come from a modelled carry curve. Nothing is read that had not closed by then.

    Parameters
    ----------
    candles : by underlying.
    sources : their names.
    noise : standard deviation of a source's index about the close, 1e-6.
    seed : of the noise.

    Raises
    ------
    CandleError
        No candles.
    """

    def __init__(
        self,
        candles: Mapping[int, Candles],
        sources: Sequence[str] = DEFAULT_SOURCES,
        noise: int = 100,
        seed: int = 0,
    ) -> None:
        if not candles:
            raise CandleError("no candles: give at least one underlying's file")
        self.candles = dict(sorted(candles.items()))
        self.sources = tuple(sources)
        self.noise, self.seed = noise, seed
        self._carry = cache(self._modelled_carry)

    def closes(self, underlying: int, timestamp: int) -> npt.NDArray[np.float64]:
        """Closing prices known at a time, dollars.

        Raises
        ------
        CandleError
            There are no candles of the underlying, fewer than two have closed, or the last closed more than a step ago.
        """
        if underlying not in self.candles:
            raise CandleError(f"no candles of underlying {underlying}")
        known = self.candles[underlying].until(timestamp)
        if len(known) < 2 or timestamp - known.end >= known.step:
            raise CandleError(f"{known.name}: no candle closed within {known.step} s before {iso(timestamp)}")
        return known.close

    def settlement(self, underlying: int, expiry: int) -> int:
        """Average of the closing prices of the window before an expiry, at least the last one, micro-USD per unit.

        Raises
        ------
        CandleError
            As `closes`.
        """
        closes = self.closes(underlying, expiry)
        return to_micro_nearest(float(closes[-max(SETTLEMENT_WINDOW // self.step(underlying), 1) :].mean()))

    def step(self, underlying: int) -> int:
        """Seconds between closing prices."""
        return self.candles[underlying].step

    def _modelled_carry(self, underlying: int, timestamp: int) -> CarryParams:
        return modelled_carry(self.closes(underlying, timestamp), self.step(underlying))

    def readings(self, timestamp: int, expiries: Mapping[int, Iterable[int]]) -> list[Reading]:
        """What every source says of every underlying; `expiries` by underlying are those with a forward."""
        out = []
        for number in self.candles:
            close = float(self.closes(number, timestamp)[-1])
            carry = self._carry(number, timestamp)
            for place, source in enumerate(self.sources):
                rng = np.random.default_rng([self.seed, place, number, timestamp])
                index = to_micro_nearest(close * (1.0 + self.noise / MICRO * float(np.clip(rng.normal(), -3, 3))))
                forwards = {each: carry.forward(index, each - timestamp) for each in expiries.get(number, ())}
                out.append(Reading(source, timestamp, number, index, carry.mark(index), forwards))
        return out

    def snapshot(
        self,
        timestamp: int,
        expiries: Mapping[int, Iterable[int]],
        scan_range: Mapping[int, int],
        lots_per_unit: Mapping[int, int],
        last: LastEpoch | None = None,
        minimum: int = MIN_SOURCES,
    ) -> Snapshot:
        """The market at a time: medians of the readings, a modelled surface, and funding accrued since the last epoch.

        Parameters
        ----------
        expiries, scan_range, lots_per_unit : by underlying.
        last : the epoch before; without one funding starts at zero.
        minimum : least sources.

        Raises
        ------
        MarketError
            As `combine`. CandleError: as `closes`.
        """
        readings = self.readings(timestamp, expiries)
        found = {}
        for number in self.candles:
            index, mark, forwards = combine(readings, number, expiries.get(number, ()), timestamp, minimum)
            funding = 0
            if last is not None and number in last.funding:
                elapsed = timestamp - last.timestamp
                funding = accrue_funding(
                    last.funding[number], last.index[number], index, mark, elapsed, lots_per_unit[number]
                )
            surface = modelled_surface(self.closes(number, timestamp), self.step(number))
            found[number] = UnderlyingSnapshot(index, mark, funding, scan_range[number], forwards, surface)
        return Snapshot(timestamp, found)
