"""What comes on top of a margin or off a collateral: time to sell, cost of selling, haircuts, wrong-way risk."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from offchain.risk.statistical import Tail, empirical_tail

Array = npt.NDArray[np.float64]


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} {value} is not positive and finite")


def liquidation_days(size: float, daily_volume: float, participation: float = 0.1) -> int:
    """Days to sell a position at a share of the market's volume: ``ceil(|Q| / (participation * ADV))``, at least 1."""
    _positive(daily_volume=daily_volume, participation=participation)
    if not math.isfinite(size) or participation > 1.0:
        raise ValueError(f"size {size} is not finite, or participation {participation} is above 1")
    return max(math.ceil(abs(size) / (participation * daily_volume) - 1e-12), 1)


def slice_multiplier(days: int) -> float:
    """By what equal slices over n days multiply one day's volatility: ``sqrt((n + 1)(2n + 1) / (6n))``.

    The variance of what is left is ``sum_{k=1..n} (k/n)^2``. It is 1 for one day, 1.962 for ten.
    """
    if days < 1:
        raise ValueError(f"days {days}: choose at least 1")
    return math.sqrt((days + 1) * (2 * days + 1) / (6 * days))


def concentration_addon(margin: float, size: float, daily_volume: float, participation: float = 0.1) -> float:
    """What a position too large for one day adds to its one-day margin: ``margin * (slice_multiplier(n) - 1)``."""
    if not (math.isfinite(margin) and margin >= 0.0):
        raise ValueError(f"margin {margin} is negative or not finite")
    return margin * (slice_multiplier(liquidation_days(size, daily_volume, participation)) - 1.0)


def liquidity_addon(
    notional: float, half_spread: float, volatility: float, daily_volume: float, impact: float = 1.0, days: int = 1
) -> float:
    """Cost of selling: half the spread, and the square-root law of impact.

    ``notional * (half_spread + impact * volatility * sqrt(notional / (daily_volume * days)))`` (R. Almgren, C. Thum, E.
    Hauptmann and H. Li, Risk, July 2005; J. Gatheral, Quantitative Finance 10, 2010).

    Parameters
    ----------
    notional : absolute value, money. half_spread : a fraction. volatility : of a day. daily_volume : money a day.
    """
    _positive(daily_volume=daily_volume)
    for name, value in {"half_spread": half_spread, "volatility": volatility, "impact": impact}.items():
        if not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"{name} {value} is negative or not finite")
    if not math.isfinite(notional) or days < 1:
        raise ValueError(f"notional {notional} is not finite, or days {days} is below 1")
    size = abs(notional)
    return size * (half_spread + impact * volatility * math.sqrt(size / (daily_volume * days)))


def haircut(tail: Tail, days: int = 1, half_spread: float = 0.0, cap: float = 1.0) -> float:
    """Haircut of a collateral, from the same tail as its margin: logarithmic shortfall over the days it takes to sell.

    ``1 - exp(-ES * slice_multiplier(days)) * (1 - half_spread)``, at most `cap`.

    Parameters
    ----------
    tail : of one day's logarithmic losses of a long position. days : to sell it. half_spread : a fraction.
    """
    if not 0.0 <= half_spread < 1.0 or not 0.0 < cap <= 1.0:
        raise ValueError(f"half_spread {half_spread} or cap {cap} is not within 0 and 1")
    if not (math.isfinite(tail.shortfall) and tail.shortfall >= 0.0):
        raise ValueError(f"shortfall {tail.shortfall} is negative or not finite")
    return min(1.0 - math.exp(-tail.shortfall * slice_multiplier(days)) * (1.0 - half_spread), cap)


def wrong_way_addon(
    losses: npt.ArrayLike, collateral_losses: npt.ArrayLike, confidence: float = 0.99, pairs: int = 2_000
) -> float:
    """What the dependence of collateral on exposure costs: joint shortfall less that of independent ones, at least 0.

    ``ES(L + C)`` over joint dates, less the same over all pairs of dates, which is what the two would be were they
    independent. With more than `pairs` dates the second sum is over evenly spaced quantiles of C.

    Parameters
    ----------
    losses, collateral_losses : (n,), money, of the same dates or scenarios.
    """
    loss, fall = np.asarray(losses, dtype=np.float64), np.asarray(collateral_losses, dtype=np.float64)
    if loss.shape != fall.shape or loss.ndim != 1:
        raise ValueError(f"losses has shape {loss.shape}, collateral_losses {fall.shape}: one of each a date")
    joint = empirical_tail(loss + fall, confidence)
    if len(fall) > pairs:
        fall = np.quantile(fall, (np.arange(pairs) + 0.5) / pairs)
    # All pairs, but only those that can reach the tail are kept: the rest counts by number.
    total = (loss[:, None] + fall[None, :]).ravel()
    keep = max(math.ceil(len(total) * (1.0 - confidence)) + 1, 1)
    top = np.sort(np.partition(total, len(total) - keep)[len(total) - keep :])[::-1]
    mass = len(total) * (1.0 - confidence)
    whole = math.floor(mass + 1e-9)
    apart = (float(top[:whole].sum()) + (mass - whole) * float(top[min(whole, len(top) - 1)])) / mass
    return max(joint.shortfall - apart, 0.0)
