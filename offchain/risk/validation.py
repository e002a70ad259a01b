"""Does a margin model hold? Tests of breaches (coverage, independence, dynamics), of expected shortfall, and of many at
once.

A breach is a day whose loss is **greater** than its margin; a loss equal to it is none. Losses and margins are positive
numbers in one unit. `probability` is that of a breach: 0.01 for a margin of 99 %. Statistics are likelihood ratios or
quadratic forms, asymptotically chi-squared; a small p-value speaks against the model.

Sources: P. Kupiec, J. Derivatives 3(2), 1995; P. Christoffersen, Int. Economic Review 39, 1998; R. Engle and S.
Manganelli, J. Business & Economic Statistics 22, 2004; Basel Committee, "Supervisory framework for the use of
backtesting", 1996; C. Acerbi and B. Szekely, "Backtesting expected shortfall", Risk, 2014; S. Holm, Scand. J.
Statistics 6, 1979; Y. Benjamini and Y. Hochberg, J. Royal Statistical Society B 57, 1995.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from scipy.stats import binom, chi2, norm
from scipy.stats import t as student

Array = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]

GREEN, YELLOW, RED = "green", "yellow", "red"
YELLOW_FROM, RED_FROM = 0.95, 0.9999
MIN_DAYS = 30
"""Fewer days say nothing about a breach in a hundred."""


@dataclass(frozen=True)
class TestResult:
    """A statistic and what it says.

    Attributes
    ----------
    name : of the test. statistic : its value. freedom : degrees of freedom of its chi-squared law (0 where it has
    another). p_value : probability of a statistic at least as extreme where the model holds.
    """

    __test__ = False  # not a class of pytest's

    name: str
    statistic: float
    freedom: int
    p_value: float

    def passes(self, level: float = 0.05) -> bool:
        """Whether the model is not rejected at a significance level."""
        return self.p_value >= level


def _chi2(name: str, statistic: float, freedom: int) -> TestResult:
    value = max(float(statistic), 0.0)
    return TestResult(name, value, freedom, float(chi2.sf(value, freedom)))


def _series(name: str, values: npt.ArrayLike, least: int = 1) -> Array:
    out = np.asarray(values, dtype=np.float64)
    if out.ndim != 1 or len(out) < least:
        raise ValueError(f"{name} has shape {out.shape}: a series of at least {least} values is needed")
    bad = ~np.isfinite(out)
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"{name} has {out[place]} at place {place}: every value must be finite")
    return out


def _rate(probability: float) -> float:
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability {probability} is not between 0 and 1")
    return float(probability)


def breaches(losses: npt.ArrayLike, margins: npt.ArrayLike) -> Hits:
    """Days whose loss is greater than the margin, bool (n,).

    Raises
    ------
    ValueError
        Lengths differ, a value is not finite, or a margin is negative.
    """
    loss, margin = _series("losses", losses), _series("margins", margins)
    if len(loss) != len(margin):
        raise ValueError(f"{len(loss)} losses and {len(margin)} margins: one margin a day is needed")
    if (margin < 0.0).any():
        place = int(np.argmax(margin < 0.0))
        raise ValueError(f"margins has {margin[place]} at place {place}: a margin is not negative")
    return loss > margin


def kupiec(count: int, days: int, probability: float) -> TestResult:
    """Proportion of failures: ``LR = -2 ln[(1-p)^(n-x) p^x / ((1-x/n)^(n-x) (x/n)^x)]``, chi-squared with 1 degree.

    Parameters
    ----------
    count : breaches. days : tested. probability : of a breach.

    Raises
    ------
    ValueError
        No days, more breaches than days, or a probability out of range.
    """
    rate = _rate(probability)
    if days < 1 or not 0 <= count <= days:
        raise ValueError(f"{count} breaches in {days} days: choose 0 <= breaches <= days and at least one day")
    seen = count / days
    free = xlogy(days - count, 1.0 - seen) + xlogy(count, seen)
    return _chi2("POF", 2.0 * (free - xlogy(days - count, 1.0 - rate) - xlogy(count, rate)), 1)


def kupiec_region(days: int, probability: float, level: float = 0.05) -> tuple[int, int]:
    """Least and greatest number of breaches that Kupiec's test does not reject, both included."""
    kept = [x for x in range(days + 1) if kupiec(x, days, probability).p_value >= level]
    if not kept:
        raise ValueError(f"no number of breaches in {days} days agrees with probability {probability}")
    return kept[0], kept[-1]


def transitions(hits: npt.ArrayLike) -> tuple[int, int, int, int]:
    """Days by what the day before was and what they are: ``n00, n01, n10, n11`` (1 is a breach, the day before first).

    Raises
    ------
    ValueError
        Fewer than two days.
    """
    seen = np.asarray(hits, dtype=bool)
    if seen.ndim != 1 or len(seen) < 2:
        raise ValueError(f"hits has shape {seen.shape}: a series of at least 2 days is needed")
    n00, n01, n10, n11 = np.bincount(2 * seen[:-1] + seen[1:], minlength=4)
    return int(n00), int(n01), int(n10), int(n11)


def independence(n00: int, n01: int, n10: int, n11: int) -> TestResult:
    """Christoffersen's test that a breach says nothing about the next day; chi-squared with 1 degree.

    ``LR = 2 ln[(1-a)^n00 a^n01 (1-b)^n10 b^n11] - 2 ln[(1-c)^(n00+n10) c^(n01+n11)]`` with ``a = n01/(n00+n01)``,
    ``b = n11/(n10+n11)``, ``c`` the share of breaches. Without a breach, or with nothing else, it is 0.

    Parameters
    ----------
    n00, n01, n10, n11 : as `transitions` gives them.

    Raises
    ------
    ValueError
        A count is negative, or all are 0.
    """
    counts = {"n00": n00, "n01": n01, "n10": n10, "n11": n11}
    for name, value in counts.items():
        if value < 0:
            raise ValueError(f"{name} {value} is negative")
    total = sum(counts.values())
    if not total:
        raise ValueError("n00, n01, n10 and n11 are all 0: at least two days are needed")
    calm, after = n01 / max(n00 + n01, 1), n11 / max(n10 + n11, 1)
    same = (n01 + n11) / total
    free = xlogy(n00, 1 - calm) + xlogy(n01, calm) + xlogy(n10, 1 - after) + xlogy(n11, after)
    bound = xlogy(n00 + n10, 1 - same) + xlogy(n01 + n11, same)
    return _chi2("independence", 2.0 * (free - bound), 1)


def conditional_coverage(hits: npt.ArrayLike, probability: float) -> TestResult:
    """Christoffersen's joint test: `kupiec` plus `independence`, chi-squared with 2 degrees."""
    seen = np.asarray(hits, dtype=bool)
    apart = independence(*transitions(seen)).statistic
    return _chi2("CC", kupiec(int(seen.sum()), len(seen), probability).statistic + apart, 2)


def dynamic_quantile(
    hits: npt.ArrayLike, margins: npt.ArrayLike | None, probability: float, lags: int = 4
) -> TestResult:
    """Engle and Manganelli's dynamic quantile test (out of sample).

    ``Hit = I - p`` is regressed on a constant, its `lags` predecessors and the day's margin;
    ``DQ = Hit' X (X'X)^-1 X' Hit / (p (1 - p))`` is chi-squared with as many degrees as X has rank.

    Parameters
    ----------
    hits : bool (n,). margins : (n,), or None to leave them out. probability : of a breach. lags : at least 0.

    Raises
    ------
    ValueError
        Fewer than `MIN_DAYS` days after the lags, or lengths that differ.
    """
    rate = _rate(probability)
    hit = np.asarray(hits, dtype=np.float64) - rate
    if lags < 0 or hit.ndim != 1 or len(hit) < MIN_DAYS + lags:
        raise ValueError(f"{len(hit)} days and {lags} lags: at least {MIN_DAYS} days are needed after the lags")
    rows = len(hit) - lags
    columns = [np.ones(rows), *(hit[lags - k : lags - k + rows] for k in range(1, lags + 1))]
    if margins is not None:
        level = _series("margins", margins)
        if len(level) != len(hit):
            raise ValueError(f"{len(hit)} days and {len(level)} margins: one margin a day is needed")
        columns.append(level[lags:])
    x = np.stack(columns, axis=1)
    # Columns of one size: the rank must not depend on the margin's unit.
    x /= np.sqrt((x**2).sum(axis=0, keepdims=True)).clip(1e-300)
    left, size, _ = np.linalg.svd(x, full_matrices=False)
    kept = left[:, size > size[0] * 1e-9]
    statistic = float(((kept.T @ hit[lags:]) ** 2).sum() / (rate * (1.0 - rate)))
    return _chi2("DQ", statistic, kept.shape[1])


@dataclass(frozen=True)
class TrafficLight:
    """Basel's three zones.

    Attributes
    ----------
    zone : green, yellow or red. cumulative : probability of that many breaches or fewer.
    green_to : most breaches that are green. red_from : fewest that are red.
    """

    zone: str
    cumulative: float
    green_to: int
    red_from: int


def traffic_light(count: int, days: int = 250, probability: float = 0.01) -> TrafficLight:
    """The zone of a number of breaches.

    Yellow begins where the binomial probability of that many breaches or fewer reaches 95 %, red where it reaches
    99.99 % (Basel Committee 1996, section III).
    """
    rate = _rate(probability)
    if days < 1 or not 0 <= count <= days:
        raise ValueError(f"{count} breaches in {days} days: choose 0 <= breaches <= days and at least one day")
    yellow = int(binom.ppf(YELLOW_FROM, days, rate))
    red = int(binom.ppf(RED_FROM, days, rate))
    zone = GREEN if count < yellow else YELLOW if count < red else RED
    return TrafficLight(zone, float(binom.cdf(count, days, rate)), yellow - 1, red)


def acerbi_szekely(
    losses: npt.ArrayLike, var: npt.ArrayLike, shortfall: npt.ArrayLike, probability: float
) -> tuple[float, float]:
    """Acerbi and Szekely's Z1 and Z2; both are 0 in expectation where the model holds, negative where it is too low.

    ``Z1 = 1 - mean over breaches of L/ES`` (NaN-free: 0 without a breach), ``Z2 = 1 - sum of L/ES over breaches /
    (n p)``.

    Parameters
    ----------
    losses, var, shortfall : (n,), positive numbers for losses, VaR and ES. probability : of a breach of VaR.

    Raises
    ------
    ValueError
        Lengths differ, a shortfall that is not positive, or less than its VaR.
    """
    rate = _rate(probability)
    loss, level, tail = _series("losses", losses), _series("var", var), _series("shortfall", shortfall)
    if not len(loss) == len(level) == len(tail):
        raise ValueError(f"{len(loss)} losses, {len(level)} var and {len(tail)} shortfall: one of each a day is needed")
    bad = (tail <= 0.0) | (tail < level - 1e-12 * np.abs(level))
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"shortfall {tail[place]} at place {place} is not positive, or less than its var")
    over = loss > level
    share = float((loss[over] / tail[over]).sum())
    count = int(over.sum())
    return (1.0 - share / count if count else 0.0), 1.0 - share / (len(loss) * rate)


def z2_law(
    days: int, probability: float = 0.025, freedom: float | None = None, draws: int = 20_000, seed: int = 1
) -> Array:
    """Values of Z2 where the model holds, sorted, by simulation: normal losses, or Student's t with `freedom` degrees.

    The tail probabilities are drawn and mapped through the quantile function, so a draw costs one number a day.

    Returns
    -------
    float64 (draws,), ascending; a model is rejected at 5 % where its Z2 is below entry ``0.05 * draws``.
    """
    rate = _rate(probability)
    if days < 1 or draws < 100:
        raise ValueError(f"{days} days and {draws} draws: choose at least 1 and 100")
    if freedom is not None and freedom <= 1.0:
        raise ValueError(f"freedom {freedom}: expected shortfall exists above 1 degree only")
    rng = np.random.default_rng(seed)
    if freedom is None:
        tail = float(norm.pdf(norm.ppf(rate)) / rate)
    else:
        at = float(student.ppf(rate, freedom))
        tail = float(student.pdf(at, freedom) * (freedom + at * at) / ((freedom - 1.0) * rate))
    counts = rng.binomial(days, rate, draws)
    deep = rng.uniform(0.0, rate, int(counts.sum()))
    loss = -norm.ppf(deep) if freedom is None else -student.ppf(deep, freedom)
    total = np.zeros(draws)
    np.add.at(total, np.repeat(np.arange(draws), counts), loss / tail)
    return np.sort(1.0 - total / (days * rate))


def holm(p_values: Sequence[float] | Array) -> Array:
    """Holm's adjusted p-values: the chance of one false rejection or more is at most the level, whatever depends on
    what.
    """
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out


def benjamini_hochberg(p_values: Sequence[float] | Array) -> Array:
    """Benjamini and Hochberg's adjusted p-values: the expected share of false rejections is at most the level."""
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")[::-1]
    stepped = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out


def _p_values(values: Sequence[float] | Array) -> Array:
    p = _series("p_values", np.asarray(values))
    if ((p < 0.0) | (p > 1.0)).any():
        raise ValueError(f"p_values has {p[(p < 0.0) | (p > 1.0)][0]}: a p-value is between 0 and 1")
    return p


@dataclass(frozen=True)
class Coverage:
    """A margin series judged.

    Attributes
    ----------
    days : tested. breaches : of them. expected : breaches.
    pof, independence, cc, dq : tests. light : Basel's zone over all days.
    """

    days: int
    breaches: int
    expected: float
    pof: TestResult
    independence: TestResult
    cc: TestResult
    dq: TestResult
    light: TrafficLight

    @property
    def tests(self) -> tuple[TestResult, ...]:
        """Those that a model has to pass: POF, conditional coverage, DQ."""
        return self.pof, self.cc, self.dq

    def passes(self, level: float = 0.05) -> bool:
        """Whether none of `tests` rejects at the level, each alone: the strict reading (no correction)."""
        return all(test.passes(level) for test in self.tests)


def judge(losses: npt.ArrayLike, margins: npt.ArrayLike, probability: float = 0.01, lags: int = 4) -> Coverage:
    """All coverage tests of one margin series.

    Parameters
    ----------
    losses, margins : (n,), n >= `MIN_DAYS` + `lags`; a margin is known before its day. probability : of a breach.

    Raises
    ------
    ValueError
        A series too short, NaN, or a negative margin; the message names it.
    """
    hits = breaches(losses, margins)
    if len(hits) < MIN_DAYS + lags:
        raise ValueError(f"losses has {len(hits)} days: at least {MIN_DAYS + lags} are needed")
    count = int(hits.sum())
    return Coverage(
        len(hits),
        count,
        len(hits) * probability,
        kupiec(count, len(hits), probability),
        independence(*transitions(hits)),
        conditional_coverage(hits, probability),
        dynamic_quantile(hits, margins, probability, lags),
        traffic_light(count, len(hits), probability),
    )


def family_passes(coverages: Sequence[Coverage], level: float = 0.05) -> bool:
    """Whether a family of margin series (underlyings, sides) holds with the chance of one false alarm in the whole
    family held at the level, by `holm` over all of their tests.
    """
    p = [test.p_value for coverage in coverages for test in coverage.tests]
    if not p or not math.isfinite(sum(p)):
        raise ValueError("coverages is empty: a family needs at least one margin series")
    return bool((holm(p) >= level).all())
