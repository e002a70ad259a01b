"""Option books under scenarios of factor moves: full revaluation, delta-gamma-vega, and margins from greeks.

A factor is the price of an underlying and the volatility that goes with it. A scenario is a relative price move of each
factor and a relative move of its volatility: forward x (1 + m), volatility x (1 + v). Options are undiscounted
Black-76.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offchain.risk import black76

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Leg:
    """One position.

    Attributes
    ----------
    factor : name of its underlying. quantity : signed, units. price : mark of a linear leg, forward of an option.
    strike, years, volatility, call : of an option; `call` None marks a linear leg (perpetual, future, token).
    """

    factor: str
    quantity: float
    price: float
    call: bool | None = None
    strike: float = 1.0
    years: float = 0.0
    volatility: float = 0.0

    def __post_init__(self) -> None:
        for name in ("quantity", "price", "strike", "years", "volatility"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)} of a leg in {self.factor} is not finite")
        if not self.price > 0.0 or not self.strike > 0.0:
            raise ValueError(f"price {self.price} and strike {self.strike} of a leg in {self.factor}: must be positive")
        if self.call is not None and not (self.years > 0.0 and 0.0 < self.volatility <= 20.0):
            raise ValueError(
                f"years {self.years} and volatility {self.volatility} of an option in {self.factor}: years must be "
                "positive, volatility within 0 and 20 (2000 %)"
            )


@dataclass(frozen=True)
class Exposure:
    """Greeks of a book by factor, (k,): what moves of one (100 %) of price and of volatility are worth, in money.

    Attributes
    ----------
    delta : sum of q * delta * F. gamma : sum of q * gamma * F^2. vega : sum of q * vega * volatility.
    """

    delta: Array
    gamma: Array
    vega: Array


class OptionBook:
    """Legs as arrays.

    Parameters
    ----------
    legs : at least one. factors : their order in scenarios; None for the order of appearance.

    Raises
    ------
    ValueError
        No legs, or a leg of a factor that is not among `factors`.
    """

    def __init__(self, legs: Sequence[Leg], factors: Sequence[str] | None = None) -> None:
        if not legs:
            raise ValueError("legs is empty: a book needs at least one leg")
        self.legs = tuple(legs)
        self.factors = tuple(factors) if factors is not None else tuple(dict.fromkeys(leg.factor for leg in legs))
        for leg in legs:
            if leg.factor not in self.factors:
                raise ValueError(f"factor {leg.factor!r} of a leg is not among {', '.join(self.factors)}")
        self.factor: Ints = np.array([self.factors.index(leg.factor) for leg in legs])
        self.quantity = np.array([leg.quantity for leg in legs], dtype=np.float64)
        self.price = np.array([leg.price for leg in legs], dtype=np.float64)
        self.strike = np.array([leg.strike for leg in legs], dtype=np.float64)
        self.years = np.array([leg.years for leg in legs], dtype=np.float64)
        self.volatility = np.array([leg.volatility for leg in legs], dtype=np.float64)
        self.linear = np.array([leg.call is None for leg in legs])
        self.call = np.array([bool(leg.call) for leg in legs])

    def values(self, prices: Array, volatilities: Array) -> Array:
        """Value of each leg at shocked prices and volatilities, (..., legs)."""
        option = black76.price(prices, self.strike, self.years, volatilities, self.call)
        return self.quantity * np.where(self.linear, prices, option)

    @property
    def value(self) -> float:
        """Value at the mark."""
        return float(self.values(self.price, self.volatility).sum())

    def _moves(self, price_moves: npt.ArrayLike, volatility_moves: npt.ArrayLike | None) -> tuple[Array, Array]:
        m = np.atleast_2d(np.asarray(price_moves, dtype=np.float64))
        v = (
            np.zeros_like(m)
            if volatility_moves is None
            else np.atleast_2d(np.asarray(volatility_moves, dtype=np.float64))
        )
        if m.ndim != 2 or m.shape[1] != len(self.factors) or v.shape != m.shape:
            raise ValueError(
                f"moves have shapes {m.shape} and {v.shape}: a column for each of {', '.join(self.factors)}"
            )
        for name, moves in (("price", m), ("volatility", v)):
            bad = ~np.isfinite(moves) | (moves < -1.0)
            if bad.any():
                raise ValueError(f"{name} move {moves[bad][0]} is below -100 % or not finite")
        return m, v

    def profit(self, price_moves: npt.ArrayLike, volatility_moves: npt.ArrayLike | None = None) -> Array:
        """Profit (scenarios,) by full revaluation.

        Parameters
        ----------
        price_moves, volatility_moves : (scenarios, factors), relative, at least -1.
        """
        m, v = self._moves(price_moves, volatility_moves)
        out = np.empty(len(m))
        mark = self.values(self.price, self.volatility).sum()
        step = max(1, 2_000_000 // len(self.legs))
        for at in range(0, len(m), step):  # a few megabytes at a time
            cut = slice(at, at + step)
            prices = self.price * (1.0 + m[cut][:, self.factor])
            volatilities = self.volatility * (1.0 + v[cut][:, self.factor])
            out[cut] = self.values(prices, volatilities).sum(axis=1) - mark
        return out

    def leg_profit(self, price_moves: npt.ArrayLike, volatility_moves: npt.ArrayLike | None = None) -> Array:
        """Profit of each leg (scenarios, legs) by full revaluation."""
        m, v = self._moves(price_moves, volatility_moves)
        shocked = self.values(self.price * (1.0 + m[:, self.factor]), self.volatility * (1.0 + v[:, self.factor]))
        return shocked - self.values(self.price, self.volatility)

    def exposure(self) -> Exposure:
        """Greeks by factor."""
        g = black76.greeks(self.price, self.strike, self.years, self.volatility, self.call)
        delta = np.where(self.linear, 1.0, g.delta) * self.quantity * self.price
        gamma = np.where(self.linear, 0.0, g.gamma) * self.quantity * self.price**2
        vega = np.where(self.linear, 0.0, g.vega) * self.quantity * self.volatility
        size = len(self.factors)

        def total(part: Array) -> Array:
            return np.asarray(np.bincount(self.factor, weights=part, minlength=size), dtype=np.float64)

        return Exposure(total(delta), total(gamma), total(vega))

    def approximate_profit(self, price_moves: npt.ArrayLike, volatility_moves: npt.ArrayLike | None = None) -> Array:
        """Profit (scenarios,) by delta, gamma and vega: ``sum_k D m + G m^2 / 2 + V v``."""
        m, v = self._moves(price_moves, volatility_moves)
        e = self.exposure()
        return m @ e.delta + 0.5 * (m**2) @ e.gamma + v @ e.vega


def greeks_margin(exposure: Exposure, scan: npt.ArrayLike, volatility_scan: npt.ArrayLike) -> float:
    """Greatest loss of the delta-gamma-vega profit for ``|m| <= scan`` and ``|v| <= volatility_scan``, factor by factor
    (no netting between factors).

    Exact: a quadratic is least at an end of the range or where its slope vanishes.
    """
    reach, wide = np.asarray(scan, dtype=np.float64), np.asarray(volatility_scan, dtype=np.float64)
    for name, values in (("scan", reach), ("volatility_scan", wide)):
        if values.shape != exposure.delta.shape or not (np.isfinite(values) & (values >= 0.0)).all():
            raise ValueError(f"{name} {values}: one value for each of {len(exposure.delta)} factors, none below 0")
    least = np.minimum(0.5 * exposure.gamma * reach**2 - np.abs(exposure.delta) * reach, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (exposure.gamma > 0.0) & (np.abs(exposure.delta) < exposure.gamma * reach)
        least = np.where(inside, -0.5 * exposure.delta**2 / exposure.gamma, least)
    return float((np.abs(exposure.vega) * wide - least).sum())


def hybrid_margin(greeks: float, scenario: float, weight: float = 0.0) -> float:
    """The greater of a scenario margin and a mean of both: ``max(scenario, weight * greeks + (1 - weight) *
    scenario)``.

    At weight 1 it is the greater of the two; at 0 the scenario margin alone.
    """
    for name, value in (("greeks", greeks), ("scenario", scenario)):
        if not (np.isfinite(value) and value >= 0.0):
            raise ValueError(f"{name} margin {value} is negative or not finite")
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight {weight} is not within 0 and 1")
    return max(scenario, weight * greeks + (1.0 - weight) * scenario)
