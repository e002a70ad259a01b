"""Scan ranges from volatility, with anti-procyclicality, inside what the oracle contract accepts.

    R = (1 - w) * quantile_{99 %}(|z|) * sigma_now * sqrt(h) + w * stressed,   z_t = r_t / sigma_t

Filtered historical simulation (Hull and White, J. Risk 1, 1998; Barone-Adesi, Giannopoulos and Vosper, J. Futures
Markets 19, 1999): past returns `r_t` of one step are divided by the volatility that was forecast for them and
multiplied by today's, then scaled by the square root of the h steps of the horizon. Overlapping returns of the whole
horizon are not used: one crash would fill a day of them, and count twice, in `z` and in `sigma_now`. `w` = 25 % on a
stressed level is one of the three remedies against procyclicality of Regulation (EU) 153/2013, Article 28(1)(b).

Quantile convention: order statistic number ``ceil(confidence * n)`` of the n values of |z|; no interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offchain.market.realised import (
    DECAY_FAST,
    DECAY_SLOW,
    decay_per_step,
    ewma_variance,
    log_returns,
    realised_volatility,
)
from offchain.risk.policy import UnderlyingParams
from offchain.units import DAY, HOUR, MICRO, to_micro_nearest

__all__ = [
    "DECAY_FAST",
    "DECAY_SLOW",
    "ScanModel",
    "clip_scan_range",
    "decay_per_step",
    "ewma_variance",
    "log_returns",
    "realised_volatility",
    "scan_bounds",
    "scan_range",
]


MIN_RETURNS = 200
"""Fewer say too little about a quantile of 99 %."""
MIN_SIGMA = 1e-6
"""Floor of a volatility a step, for prices that stand still."""


@dataclass(frozen=True)
class ScanModel:
    """How a scan range is made.

    Attributes
    ----------
    decay : of the EWMA, a day.
    confidence : of the quantile, two-sided.
    horizon : seconds over which the price may move.
    stress_weight : on the stressed level.
    """

    decay: float = DECAY_SLOW
    confidence: float = 0.99
    horizon: int = DAY
    stress_weight: float = 0.25

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1.0 or not 0.0 <= self.stress_weight <= 1.0 or self.horizon < 1:
            raise ValueError(f"scan model {self}: confidence, weight or horizon is out of range")


def quantile(values: npt.ArrayLike, confidence: float) -> float:
    """The order statistic number ``ceil(confidence * n)`` of n values: always one of them.

    Raises
    ------
    ValueError
        No values, or one that is NaN.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not len(sample) or np.isnan(sample).any():
        raise ValueError("a quantile needs at least one value, none of them NaN")
    place = max(math.ceil(confidence * len(sample) - 1e-12), 1) - 1
    return float(np.partition(sample, place)[place])


def scan_range(closes: npt.ArrayLike, stressed: int, model: ScanModel | None = None, step: int = HOUR) -> int:
    """The scan range that volatility asks for, before bounds and slew.

    Parameters
    ----------
    closes : (n,), closing prices `step` seconds apart, the last known.
    stressed : 1e-6, the level of stressed times (`policy.INITIAL_SCAN_RANGE`).

    Returns
    -------
    1e-6, nearest; at least 1.

    Raises
    ------
    ValueError
        Too little history, or a price that is not positive.
    """
    model = model or ScanModel()
    returns = log_returns(closes)
    if len(returns) < MIN_RETURNS:
        raise ValueError(f"{len(returns)} returns are too few for a scan range: at least {MIN_RETURNS} are needed")
    sigma = np.maximum(np.sqrt(ewma_variance(returns, decay_per_step(model.decay, step))), MIN_SIGMA)
    filtered = quantile(np.abs(returns) / sigma[:-1], model.confidence) * float(sigma[-1])
    filtered *= math.sqrt(max(model.horizon / step, 1.0))
    level = (1.0 - model.stress_weight) * filtered + model.stress_weight * stressed / MICRO
    return max(to_micro_nearest(level), 1)


def scan_bounds(previous: int | None, elapsed: int, params: UnderlyingParams) -> tuple[int, int]:
    """Least and greatest scan range that the oracle contract accepts (contracts/RiskOracle.vy).

        hi = clamp(R + floor(R * up * e / 1e6), R_min, R_max)
        lo = clamp(R - floor(R * down * e / 1e6), R_min, R_max)

    with `e` elapsed slots; without an earlier epoch the bounds of the policy. Never empty: ``lo <= hi``.

    Raises
    ------
    ValueError
        Fewer than one slot has passed.
    """
    if previous is None:
        return params.r_min, params.r_max
    if elapsed < 1:
        raise ValueError(f"{elapsed} slots since the last epoch: at least one must pass")
    rise = previous * params.slew_up * elapsed // MICRO
    fall = previous * params.slew_down * elapsed // MICRO
    high = min(max(previous + rise, params.r_min), params.r_max)
    low = min(max(previous - fall, params.r_min), params.r_max)
    return low, high


def clip_scan_range(previous: int | None, target: int, elapsed: int, params: UnderlyingParams) -> int:
    """The scan range nearest to `target` that the oracle contract accepts.

    Parameters
    ----------
    previous : of the last epoch, 1e-6; None before the first. target : wanted, 1e-6.
    elapsed : slots since the last epoch.
    """
    low, high = scan_bounds(previous, elapsed, params)
    return min(max(target, low), high)
