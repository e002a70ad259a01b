"""From several sources' readings to one snapshot of the market, in integers.

Each field is a median over sources, so that a minority of wrong ones moves it no further than the right ones lie
apart. An index or mark with too few usable sources, or out of range, raises `MarketError`: that epoch is left out, the
process goes on. A forward with too few is left out, and the rest of the market stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from offchain.config import BallastError
from offchain.instruments import Instrument, Kind
from offchain.market.surfaces import SurfaceParams
from offchain.units import HOUR, MICRO

MIN_SOURCES = 3
MAX_PRICE = 2**48 - 1
MAX_BASIS = 2
"""A mark or forward beyond twice, or below half of, the index is out of range."""
FUNDING_BOUND = 500
"""Most that funding moves an hour, 1e-6 of the index (contracts/RiskOracle.vy)."""
FUNDING_PERIOD = 8 * HOUR
"""A premium of the mark over the index is paid in full over this time."""


class MarketError(BallastError):
    """A market that cannot be stated: too few usable sources, or a value out of range."""


@dataclass(frozen=True)
class Reading:
    """What one source says of one underlying.

    Attributes
    ----------
    source : its name. timestamp : when it was true, seconds.
    underlying : number.
    index, mark : index price and mark price of the perpetual, micro-USD per unit.
    forwards : by expiry, micro-USD per unit.
    """

    source: str
    timestamp: int
    underlying: int
    index: int
    mark: int
    forwards: Mapping[int, int]


@dataclass(frozen=True)
class UnderlyingSnapshot:
    """What the market says of one underlying.

    Attributes
    ----------
    index, mark : micro-USD per unit.
    funding : cumulative funding index, micro-USD per lot.
    scan_range : wanted, 1e-6; the oracle still clips it to bounds and slew.
    forwards : by expiry, micro-USD per unit.
    surface : modelled volatility surface.
    """

    index: int
    mark: int
    funding: int
    scan_range: int
    forwards: Mapping[int, int]
    surface: SurfaceParams


@dataclass(frozen=True)
class Snapshot:
    """The market at a time.

    Attributes
    ----------
    timestamp : seconds. underlyings : by number.
    """

    timestamp: int
    underlyings: Mapping[int, UnderlyingSnapshot]

    @property
    def index(self) -> dict[int, int]:
        """Index prices by underlying, micro-USD per unit."""
        return {number: each.index for number, each in self.underlyings.items()}

    @property
    def funding(self) -> dict[int, int]:
        """Funding indices by underlying, micro-USD per lot."""
        return {number: each.funding for number, each in self.underlyings.items()}

    @property
    def scan_range(self) -> dict[int, int]:
        """Scan ranges by underlying, 1e-6."""
        return {number: each.scan_range for number, each in self.underlyings.items()}

    def inputs(self, instruments: Iterable[Instrument]) -> dict[int, tuple[int, int]]:
        """Forward (micro-USD per unit) and implied volatility (1e-6; 0 unless an option) by instrument id.

        An expired instrument without a forward of its own stands at the index; any other whose expiry has none is
        left out.

        Raises
        ------
        MarketError
            An instrument's underlying is not in the snapshot.
        """
        out: dict[int, tuple[int, int]] = {}
        for each in instruments:
            seen = self.underlyings.get(each.underlying)
            if seen is None:
                raise MarketError(f"{each.symbol()}: the snapshot has no underlying {each.underlying}")
            if each.kind is Kind.PERPETUAL:
                forward = seen.mark
            elif each.kind is Kind.TOKEN:
                forward = seen.index
            elif each.expiry in seen.forwards:
                forward = seen.forwards[each.expiry]
            elif each.expiry <= self.timestamp:
                forward = seen.index
            else:
                continue
            volatility = 0
            if each.kind.is_option:
                volatility = int(seen.surface.volatilities(each.strike, forward, each.expiry - self.timestamp))
            out[each.id] = (forward, volatility)
        return out


def median(values: Sequence[int]) -> int:
    """The lower median: of an even count the lower of the two in the middle, so always a value that somebody gave.

    Raises
    ------
    ValueError
        No values.
    """
    if not values:
        raise ValueError("a median of no values")
    return sorted(values)[(len(values) - 1) // 2]


def _usable(reading: Reading, timestamp: int, max_age: int) -> str | None:
    """Why a reading does not count; None where it does."""
    if reading.timestamp > timestamp:
        return f"from the future ({reading.timestamp - timestamp} s)"
    if timestamp - reading.timestamp > max_age:
        return f"stale ({timestamp - reading.timestamp} s)"
    for name, price in (("index", reading.index), ("mark", reading.mark)):
        if not 0 < price <= MAX_PRICE:
            return f"{name} {price} out of range"
        if not _is_near(price, reading.index):
            return f"{name} {price} far from index {reading.index}"
    return None


def combine(
    readings: Iterable[Reading],
    underlying: int,
    expiries: Iterable[int],
    timestamp: int,
    minimum: int = MIN_SOURCES,
    max_age: int = HOUR,
) -> tuple[int, int, dict[int, int]]:
    """Medians of index, mark and forwards of one underlying.

    Readings that are stale, from the future or out of range do not count, nor does a forward that is out of range. Of
    one source only one reading counts; two are a mistake.

    Parameters
    ----------
    readings : of any underlyings. expiries : those that need a forward.
    minimum : least sources for each field. max_age : oldest reading, seconds.

    Returns
    -------
    (index, mark, forwards by expiry), micro-USD per unit; an expiry that too few sources quote is left out.

    Raises
    ------
    MarketError
        A source speaks twice; too few sources (with the reasons why others do not count); index and mark far apart.
    """
    usable: dict[str, Reading] = {}
    refused = []
    seen: set[str] = set()
    for each in readings:
        if each.underlying != underlying:
            continue
        if each.source in seen:
            raise MarketError(f"underlying {underlying}: source {each.source} speaks twice")
        seen.add(each.source)
        reason = _usable(each, timestamp, max_age)
        if reason is None:
            usable[each.source] = each
        else:
            refused.append(f"{each.source}: {reason}")
    why = f" ({'; '.join(refused)})" if refused else ""
    if len(usable) < minimum:
        raise MarketError(f"underlying {underlying}: {len(usable)} usable sources of {minimum} needed{why}")
    index = median([each.index for each in usable.values()])
    mark = median([each.mark for each in usable.values()])
    forwards = {}
    for expiry in expiries:
        quoted = [(each.index, each.forwards[expiry]) for each in usable.values() if expiry in each.forwards]
        prices = [price for level, price in quoted if _is_near(price, level)]
        if len(prices) >= minimum and _is_near(median(prices), index):
            forwards[expiry] = median(prices)
    if not _is_near(mark, index):
        raise MarketError(f"underlying {underlying}: medians {mark} and index {index} are too far apart")
    return index, mark, forwards


def _is_near(price: int, index: int) -> bool:
    """Whether a mark or forward is a price, and within `MAX_BASIS` of the index."""
    return 0 < price <= MAX_PRICE and index <= price * MAX_BASIS <= index * MAX_BASIS**2


def funding_bound(last_index: int, elapsed: int, lots_per_unit: int) -> int:
    """Most that a funding index may move: 0.05 % of the last index price an hour, micro-USD per lot, floored."""
    return last_index * FUNDING_BOUND * max(elapsed, 0) // (MICRO * HOUR * lots_per_unit)


def accrue_funding(previous: int, last_index: int, index: int, mark: int, elapsed: int, lots_per_unit: int) -> int:
    """The funding index after `elapsed` seconds: the premium of the mark, an eighth of it an hour, within the bound.

    Longs pay while the mark is above the index. The step is rounded towards zero.

    Parameters
    ----------
    previous : micro-USD per lot. last_index, index, mark : micro-USD per unit, the first of the epoch before.
    elapsed : seconds since that epoch, >= 0. lots_per_unit : of the underlying.

    Returns
    -------
    Micro-USD per lot; within `funding_bound` of `previous`.

    Raises
    ------
    ValueError
        Elapsed time is negative.
    """
    if elapsed < 0:
        raise ValueError(f"funding cannot accrue over {elapsed} s")
    size = abs(mark - index) * elapsed // (FUNDING_PERIOD * lots_per_unit)
    step = min(size, funding_bound(last_index, elapsed, lots_per_unit))
    return previous + (step if mark >= index else -step)
