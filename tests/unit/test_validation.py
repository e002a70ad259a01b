"""Tests of margin models against the published numbers of their authors, and against other implementations."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import ttest_1samp

from offchain.risk import scoring, validation


def test_kupiec__published_example__statistic_and_p() -> None:
    """1,043 days, 57 breaches of 5 %: LR .46147, p .49694."""
    found = validation.kupiec(57, 1043, 0.05)
    assert found.statistic == pytest.approx(0.46147, abs=5e-6)
    assert found.p_value == pytest.approx(0.49694, abs=5e-6)


@pytest.mark.parametrize(
    ("days", "probability", "region"),
    [(510, 0.01, (2, 10)), (1000, 0.01, (5, 16)), (255, 0.05, (7, 20)), (1000, 0.05, (38, 64))],
)
def test_kupiec__published_regions__not_rejected(days: int, probability: float, region: tuple[int, int]) -> None:
    """Kupiec 1995, table 3: 1 < x < 11 and so on; the neighbours outside are rejected."""
    assert validation.kupiec_region(days, probability) == region
    for outside in (region[0] - 1, region[1] + 1):
        assert not validation.kupiec(outside, days, probability).passes()


def test_kupiec__no_breach_and_all_breaches__finite() -> None:
    assert validation.kupiec(0, 250, 0.01).statistic == pytest.approx(-2 * 250 * math.log(0.99), rel=1e-12)
    assert math.isfinite(validation.kupiec(250, 250, 0.01).statistic)


def test_independence__published_example__statistic() -> None:
    assert validation.independence(932, 53, 53, 4).statistic == pytest.approx(0.25866, abs=5e-6)


def test_transitions__by_hand__counts() -> None:
    assert validation.transitions([0, 1, 1, 0, 0, 1]) == (1, 2, 1, 1)


def test_conditional_coverage__is_the_sum__two_degrees() -> None:
    hits = np.zeros(1000, dtype=bool)
    hits[[10, 11, 300, 500, 501, 502, 900]] = True
    found = validation.conditional_coverage(hits, 0.01)
    apart = validation.independence(*validation.transitions(hits)).statistic
    assert found.freedom == 2
    assert found.statistic == pytest.approx(validation.kupiec(7, 1000, 0.01).statistic + apart, rel=1e-14)
    assert not found.passes()  # as many as expected, but in clusters


def test_dynamic_quantile__only_a_constant__normal_approximation() -> None:
    """Without lags and margin the statistic is ``(x - n p)^2 / (n p (1 - p))``."""
    hits = np.zeros(500, dtype=bool)
    hits[::50] = True
    expected = (10 - 5.0) ** 2 / (500 * 0.01 * 0.99)
    assert validation.dynamic_quantile(hits, None, 0.01, 0).statistic == pytest.approx(expected, rel=1e-12)


def test_dynamic_quantile__statsmodels_regression__same_statistic() -> None:
    rng = np.random.default_rng(3)
    hits, margins = rng.random(800) < 0.02, 0.05 + 0.02 * rng.random(800)
    hit = hits - 0.01
    x = np.column_stack([np.ones(796), *(hit[4 - k : 800 - k] for k in range(1, 5)), margins[4:]])
    fitted = sm.OLS(hit[4:], x).fit().fittedvalues
    found = validation.dynamic_quantile(hits, margins, 0.01)
    assert found.freedom == 6
    assert found.statistic == pytest.approx(float(fitted @ fitted) / (0.01 * 0.99), rel=1e-9)


def test_dynamic_quantile__constant_margin__one_degree_less() -> None:
    hits = np.random.default_rng(1).random(400) < 0.02
    flat = validation.dynamic_quantile(hits, np.full(400, 0.1), 0.01)
    assert flat.freedom == 5
    assert flat.statistic == pytest.approx(validation.dynamic_quantile(hits, None, 0.01).statistic, rel=1e-9)


@pytest.mark.parametrize(("count", "share"), [(4, 0.8922), (5, 0.9588), (9, 0.9997)])
def test_traffic_light__basel_table__cumulative(count: int, share: float) -> None:
    assert validation.traffic_light(count).cumulative == pytest.approx(share, abs=5e-5)


@pytest.mark.parametrize(("days", "green", "red"), [(250, 4, 10), (365, 6, 13), (1000, 14, 24)])
def test_traffic_light__published_zones__edges(days: int, green: int, red: int) -> None:
    light = validation.traffic_light
    assert (light(0, days).green_to, light(0, days).red_from) == (green, red)
    zones = [light(x, days).zone for x in (green, green + 1, red - 1, red)]
    assert zones == ["green", "yellow", "yellow", "red"]


@pytest.mark.parametrize(("freedom", "critical"), [(None, -0.706), (3.0, -0.81)])
def test_z2__published_critical_values__within_their_digits(freedom: float | None, critical: float) -> None:
    """Acerbi and Szekely 2014, 5 % at 250 days; 200,000 draws have a standard error of 0.002."""
    law = validation.z2_law(250, 0.025, freedom, 200_000)
    assert law[10_000] == pytest.approx(critical, abs=0.013)
    assert law.mean() == pytest.approx(0.0, abs=0.003)


def test_acerbi_szekely__by_hand__both_statistics() -> None:
    """Two breaches of ten days at 10 %: L/ES of 2 and 1."""
    losses = [0, 0, 4, 0, 0, 0, 2, 0, 0, 1]
    z1, z2 = validation.acerbi_szekely(losses, [1.0] * 10, [2.0] * 10, 0.1)
    assert z1 == pytest.approx(1 - 3.0 / 2)
    assert z2 == pytest.approx(1 - 3.0 / (10 * 0.1))


BH = [
    0.0001,
    0.0004,
    0.0019,
    0.0095,
    0.0201,
    0.0278,
    0.0298,
    0.0344,
    0.0459,
    0.3240,
    0.4262,
    0.5719,
    0.6528,
    0.7590,
    1.0,
]


def test_benjamini_hochberg__their_example__four_rejected() -> None:
    """Benjamini and Hochberg 1995, section 3.2: the first four of fifteen, where Bonferroni keeps three."""
    assert (validation.benjamini_hochberg(BH) <= 0.05).sum() == 4
    assert (validation.holm(BH) <= 0.05).sum() == 3
    order = np.random.default_rng(0).permutation(15)
    np.testing.assert_allclose(validation.holm(np.array(BH)[order]), validation.holm(BH)[order])


def test_holm__by_hand__steps() -> None:
    np.testing.assert_allclose(validation.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(validation.benjamini_hochberg([0.01, 0.04, 0.03]), [0.03, 0.04, 0.04])


def test_breaches__equal_loss__is_none() -> None:
    assert validation.breaches([1.0, 1.1], [1.0, 1.0]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: validation.breaches([1.0, math.nan], [1.0, 1.0]), "losses has nan at place 1"),
        (lambda: validation.breaches([1.0], [1.0, 1.0]), "1 losses and 2 margins"),
        (lambda: validation.breaches([1.0], [-0.5]), "margins has -0.5 at place 0"),
        (lambda: validation.judge([0.0] * 20, [1.0] * 20), "losses has 20 days: at least 34"),
        (lambda: validation.kupiec(5, 4, 0.01), "5 breaches in 4 days"),
        (lambda: validation.kupiec(5, 100, 1.0), "probability 1.0"),
        (lambda: validation.independence(1, -1, 0, 0), "n01 -1 is negative"),
        (lambda: validation.acerbi_szekely([1.0], [2.0], [1.0], 0.1), "shortfall 1.0 at place 0"),
        (lambda: validation.holm([0.5, 1.5]), "p_values has 1.5"),
        (lambda: scoring.qlike([0.1, 0.0], [0.1, 0.1]), "realised variance 0.0 at place 1"),
        (lambda: scoring.diebold_mariano([1.0] * 40, [2.0] * 40), "differ by a constant"),
    ],
)
def test_bad_input__error__names_field_and_value(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_qlike__by_hand__zero_where_right() -> None:
    np.testing.assert_allclose(scoring.qlike([2.0, 1.0], [1.0, 1.0]), [1 - math.log(2), 0.0])


def test_diebold_mariano__no_lags__student_t_test() -> None:
    """Without lags the statistic of Harvey, Leybourne and Newbold is Student's t of the mean difference."""
    rng = np.random.default_rng(5)
    a, b = rng.gamma(2.0, size=200), rng.gamma(2.1, size=200)
    found, other = scoring.diebold_mariano(a, b, lags=0), ttest_1samp(a - b, 0.0)
    assert found.statistic == pytest.approx(other.statistic, rel=1e-12)
    assert found.p_value == pytest.approx(other.pvalue, rel=1e-10)


def test_diebold_mariano__newey_west__statsmodels() -> None:
    rng = np.random.default_rng(6)
    gap = np.convolve(rng.standard_normal(303), [1, 0.5, 0.3, 0.2], "valid") + 0.1
    found = scoring.diebold_mariano(gap, np.zeros(300), lags=5)
    fit = sm.OLS(gap, np.ones(300)).fit(cov_type="HAC", cov_kwds={"maxlags": 5})
    assert found.statistic == pytest.approx(float(fit.tvalues[0]) * math.sqrt(299 / 300), rel=1e-10)
