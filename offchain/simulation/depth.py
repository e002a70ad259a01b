"""What trading does to a price: market depth, impact and recovery.

With `V` the volume of a day, `s` the volatility of a day, `q` signed lots bought:

    permanent   d log P = g * s * q / V                   linear, stays
    temporary   log P   = Y * s * sign(A) * sqrt(|A| / V)    of the volume A that the book has not yet refilled
    recovery    A(t)    = A(0) * 2^(-t / half_life)

A linear permanent part is the only one that nobody can trade round and gain from (Huberman and Stanzl, "Price
manipulation and quasi-arbitrage", Econometrica 72, 2004), and the one of Almgren and Chriss, "Optimal execution of
portfolio transactions", Journal of Risk 3, 2000; `g` = 0.314 is the estimate of Almgren, Thum, Hauptmann and Li,
"Direct estimation of equity market impact", Risk 18, 2005. The square root of the size with `Y` near 1 is what is found
in every market (Bouchaud, Bonart, Donier and Gould, "Trades, Quotes and Prices", Cambridge 2018, chapter 12). The book
refills in volume, not in price (Obizhaeva and Wang, "Optimal trading strategy and supply/demand dynamics", Journal of
Financial Markets 16, 2013; general shapes: Alfonsi, Fruth and Schied, Quantitative Finance 10, 2010): so a trade split
into parts moves and costs the same as the whole, and no round trip gains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from offchain.config import BallastError
from offchain.units import to_micro_nearest

MOST_LOG = math.log(20.0)
"""A price is never pushed by more than this factor either way; an empty book has no price, but a run needs one."""
LEAST_SCALE = 1e-6
"""Least share of its depth that a market keeps."""


@dataclass(frozen=True)
class Depth:
    """How deep a market is.

    Attributes
    ----------
    volume : lots traded a day.
    volatility : standard deviation of a day's log return.
    permanent : `g`, no unit.
    temporary : `Y`, no unit.
    half_life : seconds in which the book refills half of what was taken.
    half_spread : fraction of the price.

    Raises
    ------
    BallastError
        A number is out of range.
    """

    volume: float
    volatility: float = 0.04
    permanent: float = 0.314
    temporary: float = 1.0
    half_life: float = 600.0
    half_spread: float = 0.0005

    def __post_init__(self) -> None:
        for name in ("volume", "half_life"):
            if not 0 < getattr(self, name) < math.inf:
                raise BallastError(f"depth: {name} {getattr(self, name)}: choose a positive number")
        for name in ("volatility", "permanent", "temporary", "half_spread"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BallastError(f"depth: {name} {getattr(self, name)}: choose a number that is not negative")
        if self.half_spread >= 1:
            raise BallastError(f"depth: half_spread {self.half_spread}: it is a fraction of the price, below 1")

    def scaled(self, share: float) -> Depth:
        """A market with `share` of this one's volume: what a fault leaves of it.

        Raises
        ------
        BallastError
            The share is negative.
        """
        if not share >= 0:
            raise BallastError(f"a share of depth of {share}: choose a number that is not negative")
        return replace(self, volume=self.volume * max(share, LEAST_SCALE))


@dataclass(frozen=True)
class Pressure:
    """What past trading has done to a market.

    Attributes
    ----------
    time : seconds, of the last change.
    active : signed lots that the book has not refilled.
    lasting : permanent part of the log price.
    """

    time: float = 0.0
    active: float = 0.0
    lasting: float = 0.0


@dataclass(frozen=True)
class Fill:
    """A trade against the market.

    Attributes
    ----------
    lots : signed, bought positive.
    before, after : factor on the undisturbed price before and after.
    average : factor of the price at which it was filled, half spread included.
    """

    lots: int
    before: float
    after: float
    average: float

    @property
    def impact(self) -> int:
        """Move of the price, 1e-6 of the price before."""
        return to_micro_nearest(self.after / self.before - 1.0)

    def price(self, reference: int) -> int:
        """Price at which it was filled, micro-USD a unit, where the undisturbed price is `reference`."""
        return to_micro_nearest(reference / 1e6 * self.average)


def _clip(value: float) -> float:
    return min(max(value, -MOST_LOG), MOST_LOG)


def _displaced(depth: Depth, active: float) -> float:
    """Temporary part of the log price."""
    return math.copysign(depth.temporary * depth.volatility * math.sqrt(abs(active) / depth.volume), active)


def _area(depth: Depth, active: float) -> float:
    """Integral of `_displaced` from 0 to `active`, lots; even in `active`."""
    return depth.temporary * depth.volatility * (2.0 / 3.0) * abs(active) ** 1.5 / math.sqrt(depth.volume)


def recovered(depth: Depth, pressure: Pressure, time: float) -> Pressure:
    """The pressure at a later time; an earlier one leaves it as it is."""
    passed = max(time - pressure.time, 0.0)
    return Pressure(max(time, pressure.time), pressure.active * 2.0 ** (-passed / depth.half_life), pressure.lasting)


def factor(depth: Depth, pressure: Pressure) -> float:
    """Factor on the undisturbed price."""
    return math.exp(_clip(pressure.lasting + _displaced(depth, pressure.active)))


def traded(depth: Depth, pressure: Pressure, lots: int) -> tuple[Pressure, Fill]:
    """The pressure after a trade, and the trade.

    The average is the mean of the log price over the lots, permanent part included: what a large trade pays lies
    between the price before and the price after, and is the same however the trade is split.

    Parameters
    ----------
    lots : signed, bought positive.
    """
    before = factor(depth, pressure)
    if lots == 0:
        return pressure, Fill(0, before, before, before)
    push = depth.permanent * depth.volatility * lots / depth.volume
    end = pressure.active + lots
    after = Pressure(pressure.time, end, pressure.lasting + push)
    mean = pressure.lasting + push / 2 + (_area(depth, end) - _area(depth, pressure.active)) / lots
    spread = 1.0 + math.copysign(depth.half_spread, lots)
    return after, Fill(lots, before, factor(depth, after), math.exp(_clip(mean)) * spread)


def lots_to_move(depth: Depth, move: float) -> float:
    """Signed lots that move a rested market by a fraction (0.05 is 5 % up), both parts together.

    Raises
    ------
    BallastError
        The move is not above -1.
    """
    if move <= -1:
        raise BallastError(f"a move of {move}: a price does not fall by all of itself")
    wanted = abs(math.log1p(move))
    a, b = depth.permanent * depth.volatility, depth.temporary * depth.volatility
    if a == 0 and b == 0:
        return math.inf
    root = (
        (-b + math.sqrt(b * b + 4 * a * wanted)) / (2 * a) if a else wanted / b
    )  # a x^2 + b x = wanted, x = sqrt(q/V)
    return math.copysign(root * root * depth.volume, move)


@dataclass
class Markets:
    """The markets of several underlyings, as a run trades in them.

    Attributes
    ----------
    depths : by underlying, without any fault.
    shares : share of its depth that a market has now, by underlying; 1 where there is none.
    pressures : by underlying.
    """

    depths: Mapping[int, Depth]
    shares: dict[int, float] = field(default_factory=dict)
    pressures: dict[int, Pressure] = field(default_factory=dict)

    def depth(self, underlying: int) -> Depth:
        """Depth as it is now.

        Raises
        ------
        BallastError
            The underlying has no market.
        """
        if underlying not in self.depths:
            raise BallastError(f"underlying {underlying} has no market depth: give it one")
        return self.depths[underlying].scaled(self.shares.get(underlying, 1.0))

    def factor(self, underlying: int, time: float) -> float:
        """Factor on the undisturbed price at a time."""
        depth = self.depth(underlying)
        return factor(depth, recovered(depth, self.pressures.get(underlying, Pressure(time)), time))

    def price(self, underlying: int, reference: int, time: float) -> int:
        """Price at a time, micro-USD a unit, at least 1, where the undisturbed price is `reference`."""
        return max(to_micro_nearest(reference / 1e6 * self.factor(underlying, time)), 1)

    def preview(self, underlying: int, lots: int, time: float) -> Fill:
        """What buying (or selling, negative) lots now would do."""
        depth = self.depth(underlying)
        return traded(depth, recovered(depth, self.pressures.get(underlying, Pressure(time)), time), lots)[1]

    def trade(self, underlying: int, lots: int, time: float) -> Fill:
        """Buy (or sell, negative) lots now."""
        depth = self.depth(underlying)
        pressure = recovered(depth, self.pressures.get(underlying, Pressure(time)), time)
        self.pressures[underlying], fill = traded(depth, pressure, lots)
        return fill
