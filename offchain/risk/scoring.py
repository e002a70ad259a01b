"""Which of two variance forecasts is better: losses that an imperfect proxy of variance does not bias, and a test of
their difference.

Sources: A. Patton, "Volatility forecast comparison using imperfect volatility proxies", J. Econometrics 160, 2011; F.
Diebold and R. Mariano, J. Business & Economic Statistics 13, 1995; D. Harvey, S. Leybourne and P. Newbold, Int. J.
Forecasting 13, 1997; W. Newey and K. West, Econometrica 55, 1987.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

Array = npt.NDArray[np.float64]


def _pair(realised: npt.ArrayLike, forecast: npt.ArrayLike) -> tuple[Array, Array]:
    seen, said = np.asarray(realised, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
    if seen.ndim != 1 or seen.shape != said.shape or not len(seen):
        raise ValueError(f"realised has shape {seen.shape} and forecast {said.shape}: two series of one length")
    for name, values in (("realised", seen), ("forecast", said)):
        bad = ~(np.isfinite(values) & (values > 0.0))
        if bad.any():
            place = int(np.argmax(bad))
            raise ValueError(f"{name} variance {values[place]} at place {place} is not positive and finite")
    return seen, said


def qlike(realised: npt.ArrayLike, forecast: npt.ArrayLike) -> Array:
    """QLIKE of each day: ``x - ln x - 1`` with ``x = realised / forecast``; 0 is perfect (Patton 2011, eq. 24).

    Parameters
    ----------
    realised, forecast : variances (n,), positive.
    """
    seen, said = _pair(realised, forecast)
    ratio = seen / said
    return ratio - np.log(ratio) - 1.0


def mean_squared(realised: npt.ArrayLike, forecast: npt.ArrayLike) -> Array:
    """Squared error of each day."""
    seen, said = _pair(realised, forecast)
    return (seen - said) ** 2


@dataclass(frozen=True)
class Comparison:
    """Two series of losses compared.

    Attributes
    ----------
    mean : of the first's losses less the second's; negative where the first is better.
    statistic : Diebold-Mariano with the small-sample factor of Harvey, Leybourne and Newbold.
    p_value : two-sided, Student's t with n - 1 degrees. better : one-sided p-value that the first is better.
    """

    mean: float
    statistic: float
    p_value: float
    better: float


def diebold_mariano(
    first: npt.ArrayLike, second: npt.ArrayLike, horizon: int = 1, lags: int | None = None
) -> Comparison:
    """Test that two series of losses have the same mean.

    Parameters
    ----------
    first, second : losses (n,), n >= 30. horizon : steps ahead of the forecasts.
    lags : of the Newey-West variance; None is ``floor(4 (n/100)^(2/9))``, at least ``horizon - 1``.

    Raises
    ------
    ValueError
        Too few, not finite, or the same series twice.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 30:
        raise ValueError(f"first has shape {a.shape} and second {b.shape}: two series of one length, at least 30")
    gap = a - b
    if not np.isfinite(gap).all():
        place = int(np.argmin(np.isfinite(gap)))
        raise ValueError(f"loss {gap[place]} at place {place} is not finite")
    n = len(gap)
    lag = max(math.floor(4.0 * (n / 100.0) ** (2.0 / 9.0)), horizon - 1) if lags is None else lags
    centred = gap - gap.mean()
    variance = float(centred @ centred) / n
    for k in range(1, lag + 1):
        variance += 2.0 * (1.0 - k / (lag + 1.0)) * float(centred[k:] @ centred[:-k]) / n
    if variance <= 0.0:
        raise ValueError("the two series of losses do not differ, or differ by a constant: nothing can be tested")
    shrink = math.sqrt((n + 1.0 - 2.0 * horizon + horizon * (horizon - 1.0) / n) / n)
    statistic = shrink * float(gap.mean()) / math.sqrt(variance / n)
    return Comparison(
        float(gap.mean()),
        statistic,
        float(2.0 * student.sf(abs(statistic), n - 1)),
        float(student.cdf(statistic, n - 1)),
    )
