"""The statistical margin of an option book: every method of risk, with both ways of valuing it, in one call.

Methods are historical, filtered (joint dates), normal, t, Monte Carlo with a normal copula, a t copula, and jumps.
Valuations are full revaluation and delta-gamma-vega. The parametric methods are for the book's delta alone: they have
no other valuation, and understate a book with much gamma, which is why they stand beside the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from offchain.risk.revaluation import OptionBook
from offchain.risk.statistical import (
    MonteCarlo,
    Tail,
    correlation,
    covariance,
    empirical_tail,
    filtered_scenarios,
    normal_tail,
    stressed_correlations,
    student_tail,
    worst_tail,
)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What the methods need.

    Attributes
    ----------
    confidence : of VaR and ES. freedom : degrees of Student's t, marginals and copula. monte_carlo : draws and seed.
    jump_rate, jump_mean, jump_size : as in `MonteCarlo`. correlation_weight : of the stressed envelope.
    volatility_beta : relative move of implied volatility for a price move of -1 (-100 %); where there are no volatility
    returns, volatility moves by ``-volatility_beta * price move``, at least -90 %.
    """

    confidence: float = 0.99
    freedom: float = 4.0
    monte_carlo: MonteCarlo = field(default_factory=MonteCarlo)
    jump_rate: float = 0.02
    jump_mean: float = -0.1
    jump_size: float = 0.1
    correlation_weight: float = 0.5
    volatility_beta: float = 1.0


@dataclass(frozen=True)
class MethodTail:
    """The tail of one method and valuation (`full`, `greeks` or `delta`)."""

    method: str
    valuation: str
    tail: Tail


def book_tails(
    book: OptionBook,
    returns: npt.ArrayLike,
    volatility: npt.ArrayLike,
    settings: Settings | None = None,
    volatility_returns: npt.ArrayLike | None = None,
) -> list[MethodTail]:
    """VaR and ES of a book, money, by every method.

    Parameters
    ----------
    book : of k factors. returns : (n, k), logarithmic, of the factors in the book's order and of one period.
    volatility : (n + 1, k), forecast for each date and, last, for the period to come.
    volatility_returns : (n, k), logarithmic changes of implied volatility on the same dates; None for a move with the
    price.

    Raises
    ------
    ValueError
        Shapes that do not fit, NaN, or too few dates for the confidence.
    """
    s = settings or Settings()
    r = np.asarray(returns, dtype=np.float64)
    if r.ndim != 2 or r.shape[1] != len(book.factors):
        raise ValueError(f"returns has shape {r.shape}: a column for each of {', '.join(book.factors)} is needed")
    now = filtered_scenarios(r, volatility)
    today = np.asarray(volatility, dtype=np.float64)[-1]
    seen = None
    if volatility_returns is not None:
        seen = np.asarray(volatility_returns, dtype=np.float64)
        if seen.shape != r.shape or not np.isfinite(seen).all():
            raise ValueError(
                f"volatility_returns has shape {seen.shape} or a value that is not finite: {r.shape} needed"
            )
    out: list[MethodTail] = []

    def both(method: str, log_prices: Array, log_volatilities: Array | None) -> None:
        prices = np.expm1(log_prices)
        vols = np.expm1(log_volatilities) if log_volatilities is not None else -s.volatility_beta * prices
        vols = np.maximum(vols, -0.9)
        for valuation, profit in (("full", book.profit), ("greeks", book.approximate_profit)):
            out.append(MethodTail(method, valuation, empirical_tail(-profit(prices, vols), s.confidence)))

    both("historical", r, seen)
    both("filtered", now, seen)
    corr = correlation(covariance(now))
    delta = book.exposure().delta
    size = math.sqrt(float((delta * today) @ corr @ (delta * today)))
    out.append(MethodTail("normal", "delta", normal_tail(size, s.confidence)))
    out.append(MethodTail("t", "delta", student_tail(size, s.freedom, s.confidence)))
    t_copula = replace(s.monte_carlo, copula_freedom=s.freedom, freedom=s.freedom)
    jumps = replace(s.monte_carlo, jump_rate=s.jump_rate, jump_mean=s.jump_mean, jump_size=s.jump_size)
    for method, model in (("normal copula", s.monte_carlo), ("t copula", t_copula), ("jumps", jumps)):
        both(method, model.returns(today, corr), None)
    envelope = []
    for matrix in stressed_correlations(corr, s.correlation_weight).values():
        prices = np.expm1(t_copula.returns(today, matrix))
        vols = np.maximum(-s.volatility_beta * prices, -0.9)
        envelope.append(empirical_tail(-book.profit(prices, vols), s.confidence))
    out.append(MethodTail("t copula, worst correlation", "full", worst_tail(envelope)))
    return out
