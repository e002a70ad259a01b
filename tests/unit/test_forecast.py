"""Forecasts of variance and the margins made from them: no look-ahead, other implementations, and real days."""

import math
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arch import arch_model

from offchain.market.candles import Candles, load_candles
from offchain.risk import backtest, dynamic, forecast
from offchain.risk.dynamic import DEFAULT, MarginModel, Side
from offchain.risk.forecast import Boosted, Days, Ewma, GarchDaily, HarRv
from offchain.risk.garch import fit_garch
from offchain.risk.scoring import diebold_mariano, qlike
from offchain.risk.validation import judge

DATA = os.environ.get("BALLAST_DATA")
real = pytest.mark.skipif(DATA is None, reason="BALLAST_DATA names no folder with candle files")


def garch_path(n: int, seed: int, omega: float = 2e-5, alpha: float = 0.1, beta: float = 0.88) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out, variance = np.empty(n), omega / (1 - alpha - beta)
    for t in range(n):
        out[t] = math.sqrt(variance) * rng.standard_normal()
        variance = omega + alpha * out[t] ** 2 + beta * variance
    return out


def made(n: int, seed: int = 1) -> Days:
    r = garch_path(n, seed)
    noise = np.exp(0.4 * np.random.default_rng(seed + 100).standard_normal(n))
    return Days(np.arange(17_000, 17_000 + n), r, np.maximum(Ewma(0.9, True).forecast(
        Days(np.arange(n), r, np.ones(n)))[:-1] * noise, 1e-8))  # fmt: skip


DAYS = made(700)


@pytest.mark.parametrize(
    "model",
    [
        Ewma(),
        Ewma(0.94, True),
        GarchDaily(),
        HarRv(),
        HarRv(weekday=False),
        Boosted(99, 450),
        Boosted(99, 450, True),
    ],
    ids=lambda m: m.name,
)
@pytest.mark.parametrize("horizon", [1, 5])
def test_forecast__the_future_changed__the_past_stays(model: forecast.Forecaster, horizon: int) -> None:
    """Walk-forward: entry t is the same whatever comes from day t on."""
    cut = 600
    other = made(700, seed=9)
    mixed = Days(
        DAYS.day,
        np.concatenate([DAYS.returns[:cut], 3 * other.returns[cut:]]),
        np.concatenate([DAYS.measure[:cut], 9 * other.measure[cut:]]),
    )
    whole = model.forecast(DAYS, horizon)
    assert whole.shape == (701,)
    assert (whole > 0).all()
    np.testing.assert_allclose(model.forecast(mixed, horizon)[: cut + 1], whole[: cut + 1], rtol=1e-10)
    np.testing.assert_allclose(model.forecast(DAYS.until(cut), horizon)[-1], whole[cut], rtol=1e-6)


@pytest.mark.parametrize("side", list(Side))
def test_margins__the_future_changed__the_past_stays(side: Side) -> None:
    model = replace(DEFAULT, stress_weight=0.1, buffer=0.25, floor=True, band=0.05, down=0.02)
    whole = model.margins(DAYS, side, 500)
    assert len(whole) == 201
    np.testing.assert_allclose(model.margins(DAYS.until(600), side, 500), whole[:101], rtol=1e-10)


@pytest.mark.parametrize(("seed", "mean"), [(1, False), (2, False), (3, True)])
def test_garch__arch__same_maximum(seed: int, mean: bool) -> None:
    r = 100 * garch_path(3000, seed)
    other = arch_model(r, mean="Constant" if mean else "Zero", vol="GARCH", p=1, q=1).fit(disp="off")
    found = fit_garch(r, mean)
    assert found.log_likelihood == pytest.approx(other.loglikelihood, abs=0.01 if mean else 1e-4)
    ours = [*([found.mu] if mean else []), found.omega, found.alpha, found.beta]
    np.testing.assert_allclose(ours, other.params, rtol=2e-2 if mean else 2e-3, atol=2e-4)
    ratio = found.variances(r)[:-1] / other.conditional_volatility**2
    np.testing.assert_allclose(ratio, 1.0, atol=2e-2 if mean else 1e-3)
    ahead = other.forecast(horizon=10).variance.to_numpy()[0].mean()
    assert float(found.mean_variance(found.variances(r)[-1], 10)) == pytest.approx(ahead, rel=5e-3)


def test_garch__scaled_returns__scaled_model() -> None:
    r = garch_path(1500, 4)
    small, large = fit_garch(r), fit_garch(1000 * r)
    assert large.omega == pytest.approx(1e6 * small.omega, rel=1e-6)
    assert (large.alpha, large.beta) == (pytest.approx(small.alpha, rel=1e-6), pytest.approx(small.beta, rel=1e-6))


def test_garch__time__within_three_times_arch() -> None:
    r = 100 * garch_path(3000, 5)

    def best(run) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times)

    peer = best(lambda: arch_model(r, mean="Zero", vol="GARCH", p=1, q=1).fit(disp="off"))
    assert best(lambda: fit_garch(r)) < 3 * peer


def test_har__autoregression__recovers_its_forecast() -> None:
    """ln v is an AR(1) with slope 0.9: least squares finds the conditional mean, and smearing the half variance."""
    rng = np.random.default_rng(7)
    n, logs = 4000, np.empty(4000)
    logs[0] = -7.0
    for t in range(1, n):
        logs[t] = -0.7 + 0.9 * logs[t - 1] + 0.3 * rng.standard_normal()
    days = Days(np.arange(n), np.zeros(n), np.exp(logs))
    exact = np.exp(-0.7 + 0.9 * logs + 0.5 * 0.3**2)
    found = HarRv().forecast(days)[1:]
    assert np.median(np.abs(found[3000:] / exact[3000:] - 1)) < 0.03


def test_har__calm_weekends__forecast_knows_the_weekday() -> None:
    n = 1000
    day = np.arange(17_000, 17_000 + n)
    weekend = (day + 3) % 7 >= 5
    days = Days(day, np.zeros(n), np.where(weekend, 1e-4, 4e-4) * np.exp(np.random.default_rng(1).normal(0, 0.1, n)))
    found = HarRv().forecast(days)[500:-1]
    assert found[weekend[500:]].mean() < 0.4 * found[~weekend[500:]].mean()
    assert days.weekday[0] == 0  # day 17,000 was Monday, 18 July 2016


def candles(step: int, closes: np.ndarray, start: int = 1_600_041_600) -> Candles:
    times = start + step * np.arange(len(closes))
    opens = np.concatenate([closes[:1], closes[:-1]])
    return Candles("made", step, times, opens, np.maximum(opens, closes) * 1.01, np.minimum(opens, closes) * 0.99,
                   closes, np.ones(len(closes)), True)  # fmt: skip


def test_days_of__hourly__sum_of_squares() -> None:
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 24 * 4 + 5)))
    found = forecast.days_of(candles(3_600, closes))
    assert len(found) == 3  # the first has no return, the fifth is not over
    r = np.diff(np.log(closes))
    assert found.measure[0] == pytest.approx((r[23:47] ** 2).sum())
    assert found.returns[0] == pytest.approx(math.log(closes[47] / closes[23]))


def test_days_of__daily__garman_klass() -> None:
    found = forecast.days_of(candles(86_400, np.array([100.0, 110.0, 105.0, 105.0])))
    span, body = math.log(110 * 1.01 / (100 * 0.99)), math.log(1.1)
    assert found.measure[0] == pytest.approx(0.5 * span**2 - (2 * math.log(2) - 1) * body**2)


def test_posted__by_hand__band_then_slew() -> None:
    out = dynamic.posted([1.0, 1.04, 1.2, 0.5, 0.5], up=0.1, down=0.2, band=0.05)
    np.testing.assert_allclose(out, [1.0, 1.0, 1.1, 0.88, 0.704])


def test_procyclicality__by_hand__measures() -> None:
    m = np.array([1.0, 1.0, 2.0, 4.0, 2.0])
    found = dynamic.procyclicality(m, (1, 2))
    assert found.peak_to_trough == 4.0
    assert dict(found.rises) == {1: 1.0, 2: 3.0}


def test_margins__normal_ewma__multiplier_of_the_table() -> None:
    model = MarginModel("normal", Ewma(0.94, True), 1, 0.0, normal=True)
    sigma = np.sqrt(Ewma(0.94, True).forecast(DAYS))
    np.testing.assert_allclose(model.margins(DAYS, Side.LONG), 2.326348 * sigma[500:], rtol=1e-6)


def test_margins__remedies__as_defined() -> None:
    base = replace(dynamic.FILTERED, name="base").margins(DAYS, Side.LONG)
    buffered = dynamic.BUFFERED.margins(DAYS, Side.LONG)
    assert ((buffered >= base) & (buffered <= 1.25 * base + 1e-15)).all()
    hot = base > 1.25 * np.cumsum(base) / np.arange(1, len(base) + 1)
    np.testing.assert_allclose(buffered[hot], base[hot])  # all of the buffer is drawn
    level = np.maximum.accumulate(dynamic.HISTORICAL.margins(DAYS, Side.LONG))
    np.testing.assert_allclose(dynamic.STRESSED.margins(DAYS, Side.LONG), 0.75 * base + 0.25 * level)
    assert (replace(dynamic.FILTERED, floor=True).margins(DAYS, Side.LONG) >= base).all()


def test_margins__period_of_risk__root_and_overlapping() -> None:
    one = DEFAULT.margins(DAYS, Side.LONG)
    np.testing.assert_allclose(replace(DEFAULT, period=4).margins(DAYS, Side.LONG), 2 * one)
    wide = replace(DEFAULT, period=4, overlapping=True).margins(DAYS, Side.LONG)
    assert 1.2 < np.mean(wide / one) < 2.8


def test_scan_target__is_the_greater_side__in_millionths() -> None:
    sides = [float(dynamic.fraction(DEFAULT.margins(DAYS, side, 700)[-1], side)) for side in Side]
    found = dynamic.scan_target(DAYS)
    assert found == round(1e6 * max(sides))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Days(np.arange(3), np.array([0.1, math.nan, 0.0]), np.ones(3)), "returns has nan at place 1"),
        (lambda: Days(np.arange(3), np.zeros(3), np.array([1.0, 0.0, 1.0])), "measure has 0.0 at place 1"),
        (lambda: HarRv().forecast(DAYS.until(40)), "days has 40 days: at least 60"),
        (lambda: HarRv().forecast(DAYS, 0), "horizon 0"),
        (lambda: forecast.forecaster("oracle"), "forecaster 'oracle' is unknown: choose one of ewma-.94"),
        (lambda: fit_garch([0.01] * 50), r"returns has shape \(50,\): a GARCH fit needs at least 100"),
        (lambda: fit_garch([0.01] * 200), "returns stand still"),
        (lambda: fit_garch([0.01, math.inf] * 100), "returns has inf at place 1"),
        (lambda: DEFAULT.margins(DAYS.until(300), Side.LONG), "days has 300 days"),
        (lambda: MarginModel(long_run=1.5), "long_run 1.5"),
        (lambda: MarginModel(confidence=0.3), "confidence 0.3"),
        (lambda: dynamic.posted([1.0, -1.0]), "targets of shape"),
        (lambda: dynamic.posted([1.0], up=math.nan), "up nan"),
        (lambda: dynamic.procyclicality([0.1] * 20), r"margins has shape \(20,\)"),
    ],
)
def test_bad_input__error__names_field_and_value(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_fetch_of_a_step_that_divides_no_day__refused() -> None:
    with pytest.raises(ValueError, match="do not divide a day"):
        forecast.days_of(candles(7 * 3_600, np.full(50, 100.0)))


@pytest.fixture(scope="module")
def history() -> dict[str, Days]:
    files = {"BTC": "btc_1d_2017_2025_binance", "ETH": "eth_1h_2020_2026", "BTC1H": "btc_1h_2020_2026"}
    return {name: forecast.days_of(load_candles(Path(DATA) / f"{file}.csv")) for name, file in files.items()}


REFERENCE = [
    (dynamic.HISTORICAL, 24, 9.0, 2.4),
    (dynamic.FILTERED, 27, 8.9, 8.3),
    (dynamic.STRESSED, 17, 10.0, 4.2),
    (backtest.NORMAL[0], 49, None, None),
    (backtest.NORMAL[1], 44, None, None),
    (backtest.NORMAL[2], 39, None, None),
]


@real
@pytest.mark.parametrize(("model", "count", "mean", "peak"), REFERENCE, ids=lambda v: getattr(v, "name", ""))
def test_backtest__btc_long__known_table(history, model, count: int, mean: float | None, peak: float | None) -> None:
    """1-day 99 %, 2,497 days: breaches, mean margin in percent and peak-to-trough as measured before."""
    rows = backtest.backtest({"BTC": history["BTC"]}, [model])
    long = rows[0]
    assert (long.coverage.days, long.coverage.breaches) == (2497, count)
    if mean is not None:
        assert 100 * long.moves.mean == pytest.approx(mean, abs=0.05)
        assert long.moves.peak_to_trough == pytest.approx(peak, abs=0.06)
    else:
        assert not long.coverage.passes()


@real
def test_backtest__default__passes_and_is_below_the_stressed_reference(history) -> None:
    rows = backtest.backtest({k: history[k] for k in ("BTC", "ETH")}, [dynamic.STRESSED, DEFAULT])
    ours, theirs = ({(r.underlying, r.side): r for r in rows if r.model == m.name} for m in (DEFAULT, dynamic.STRESSED))
    assert len(ours) == 4
    for key, row in ours.items():
        assert row.coverage.passes(), key
        assert row.moves.mean < theirs[key].moves.mean, key
        assert row.moves.peak_to_trough < theirs[key].moves.peak_to_trough, key


@real
def test_default__second_file_of_btc__passes_too(history) -> None:
    for row in backtest.backtest({"BTC1H": history["BTC1H"]}, [DEFAULT]):
        assert row.coverage.passes()


@real
def test_har__hourly_btc__beats_ewma_and_the_bar(history) -> None:
    days = history["BTC1H"]
    seen = days.measure[500:]
    har, ewma = (qlike(seen, m.forecast(days)[500:-1]) for m in (HarRv(), Ewma(0.94)))
    assert har.mean() < 0.362
    assert diebold_mariano(har, ewma).better < 1e-6


@real
def test_loss_quantiles__hourly_btc__as_measured_before() -> None:
    from offchain.commands.calibrate import _calibrated

    found = _calibrated(load_candles(Path(DATA) / "btc_1h_2020_2026.csv"))["loss_quantiles"]
    for hours, numbers in {"1": (1.9, 2.5, 4.2), "8": (5.2, 6.4, 10.0), "24": (8.8, 10.6, 16.0)}.items():
        assert [100 * v for v in found[hours].values()] == pytest.approx(list(numbers), abs=0.051)
    assert [100 * v for v in found["48"].values()] == pytest.approx([11.4, 13.9, 21.8], abs=0.2)


def test_judge__margin_that_is_right__passes() -> None:
    r = garch_path(3000, 21)
    sigma = np.sqrt(fit_garch(r).variances(r)[:-1])
    assert judge(-r, 2.326348 * sigma).passes(0.01)
    assert not judge(-r, 1.9 * sigma).passes()
