"""What is true in a run, whatever anybody says: prices with and without the impact of trades, and what is listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from offchain.instruments import Instrument, Kind
from offchain.market.candles import load_candles
from offchain.simulation import prices as models
from offchain.simulation.depth import Depth, Markets
from offchain.simulation.faults import Faults
from offchain.simulation.scenario import Scenario
from offchain.units import DAY, MICRO, YEAR


@dataclass
class Truth:
    """True prices of a run.

    Attributes
    ----------
    origin : time for which candle files are read, seconds since 1970.
    paths : prices without anybody's impact, by slot. markets : what trading does to them.
    """

    scenario: Scenario
    seed: int
    faults: Faults
    origin: int
    paths: models.Paths = field(init=False)
    markets: Markets = field(init=False)

    def __post_init__(self) -> None:
        self.paths = self._paths()
        self.markets = Markets(
            {
                u.number: Depth(u.volume * u.lots_per_unit, max(u.volatility, 0.01) * float(np.sqrt(DAY / YEAR)))
                for u in self.scenario.underlyings
            }
        )

    @property
    def numbers(self) -> list[int]:
        """Underlyings, ascending."""
        return sorted(self.paths.prices)

    def _paths(self) -> models.Paths:
        times = models.grid(self.scenario.duration, self.scenario.cadence.slot)
        specs = self.scenario.underlyings
        rngs = {spec.number: np.random.default_rng([self.seed, 2, spec.number]) for spec in specs}
        normal = self._normal(rngs, len(times) - 1)
        columns: dict[int, models.Ints] = {}
        for spec in specs:
            p, number = spec.prices, spec.number
            if p.kind == "path":
                column = models.piecewise(p.points, times, between=p.between)  # type: ignore[arg-type]
                columns[number] = models.with_noise(column, times, p.noise, normal[number]) if p.noise else column
            elif p.kind == "candles":
                assert p.file is not None
                columns |= models.from_candles({number: load_candles(p.file)}, self.origin, times).prices
            elif p.kind == "diffusion":
                law = models.Diffusion(spec.price, **dict(p.law))
                moves = normal[number] if p.diffuses else None
                columns[number] = models.jump_diffusion(law, rngs[number], times, moves)
        drawn = {spec.number: spec for spec in specs if spec.prices.kind == "bootstrap"}
        if drawn:  # the same days for all
            history = {n: load_candles(spec.prices.file) for n, spec in drawn.items() if spec.prices.file is not None}
            first = {n: spec.price for n, spec in drawn.items()}
            columns |= models.bootstrapped(history, rngs[min(drawn)], times, prices=first).prices
        return models.Paths(times, columns)

    def _normal(self, rngs: Mapping[int, np.random.Generator], steps: int) -> dict[int, models.Floats]:
        """Standard normal moves, float64 (steps,), of the underlyings that have any, correlated as the file says.

        Each is drawn from the underlying's own generator, so that without a correlation nobody's path depends on who
        else is there.
        """
        order = sorted(spec.number for spec in self.scenario.underlyings if spec.prices.diffuses)
        own = np.array([rngs[number].standard_normal(steps) for number in order]).reshape(len(order), steps)
        if self.scenario.correlation:
            own = models.correlation_root(models.matrix_of(self.scenario.correlation, order)) @ own
        return dict(zip(order, own, strict=True))

    def bare(self, number: int, time: int) -> int:
        """True price without the impact of liquidations, micro-USD a unit."""
        return max(round(self.paths.at(number, time) * self.faults.true_price(time, number)), 1)

    def price(self, number: int, time: int) -> int:
        """True price, micro-USD a unit."""
        self.markets.shares[number] = self.faults.depth(time, number)
        return self.markets.price(number, self.bare(number, time), float(time))

    def prices(self, time: int) -> dict[int, int]:
        """True prices of all underlyings."""
        return {number: self.price(number, time) for number in self.numbers}

    def listing(self) -> list[Instrument]:
        """A perpetual of each underlying, and the token, futures and options that the file asks for; ascending id."""
        out = []
        end = self.scenario.start + self.scenario.duration
        for spec in self.scenario.underlyings:
            out.append(Instrument(spec.number, Kind.PERPETUAL))
            out += [Instrument(spec.number, Kind.TOKEN)] if spec.token else []
            out += [Instrument(spec.number, Kind.FUTURE, end + round(days * DAY)) for days in spec.futures]
            for days in spec.option_days:
                for ratio in spec.strikes:
                    strike = max(round(spec.price * ratio * 100) * MICRO // 100, 1)
                    expiry = end + round(days * DAY)
                    out += [Instrument(spec.number, kind, expiry, strike) for kind in (Kind.CALL, Kind.PUT)]
        return sorted(set(out), key=lambda i: i.id)
