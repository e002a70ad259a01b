"""Price paths: what they keep of their sources, and that the same generator gives the same path."""

import numpy as np
import pytest

from offchain.config import BallastError
from offchain.market.candles import CandleError, Candles
from offchain.market.synthetic import START, synthetic_crash
from offchain.simulation.prices import (
    MOST,
    Diffusion,
    Paths,
    bootstrapped,
    correlation_root,
    from_candles,
    grid,
    jump_diffusion,
    matrix_of,
    piecewise,
    with_noise,
)

HOUR = 3_600


def candles(close: list[float], step: int = HOUR, start: int = 0, drop: tuple[int, ...] = ()) -> Candles:
    opened = np.array([close[0], *close[:-1]])
    closed = np.array(close)
    keep = np.array([i not in drop for i in range(len(close))])
    stamps = start + step * np.arange(len(close), dtype=np.int64)
    high, low = np.maximum(opened, closed) * 1.01, np.minimum(opened, closed) * 0.99
    columns = (opened, high, low, closed, np.ones(len(close)))
    return Candles("test", step, stamps[keep], *(column[keep] for column in columns))


def test_from_candles__on_the_candles_grid__opens_and_the_last_close() -> None:
    paths = from_candles({1: candles([100.0, 110.0, 90.0])}, 0, grid(3 * HOUR, HOUR))
    assert paths.prices[1][:3].tolist() == [100_000_000, 100_000_000, 110_000_000]
    assert paths.prices[1][3] == pytest.approx(90_000_000, rel=1e-4)
    assert paths.prices[1].dtype == np.int64


def test_from_candles__finer_than_a_candle__reaches_high_and_low() -> None:
    file = candles([100.0, 80.0])
    paths = from_candles({1: file}, 0, grid(2 * HOUR, 60))
    assert paths.prices[1].max() == pytest.approx(101e6)
    assert paths.prices[1].min() == pytest.approx(79.2e6)
    fall = paths.prices[1][61:]
    assert fall.argmax() < fall.argmin()  # a falling candle has its high first


def test_from_candles__a_gap_or_too_short__refused_with_its_time() -> None:
    with pytest.raises(CandleError, match="gap from 1970-01-01T02:00:00Z"):
        from_candles({1: candles([1.0] * 6, drop=(2,))}, 0, grid(5 * HOUR, HOUR))
    with pytest.raises(CandleError, match="is not within the file"):
        from_candles({1: candles([1.0] * 6)}, 0, grid(7 * HOUR, HOUR))


def test_bootstrapped__days__are_days_of_the_history_for_all_at_once() -> None:
    history = synthetic_crash(seed=3)
    times = grid(5 * 86_400, HOUR)
    paths = bootstrapped(history, np.random.default_rng(1), times, prices={1: 10_000.0, 2: 500.0})
    assert (paths.at(1, 0), paths.at(2, 0)) == (10_000_000_000, 500_000_000)
    past = {u: np.diff(np.log(file.close)) for u, file in history.items()}
    for day in range(5):
        ours = {u: paths.returns(u)[24 * day : 24 * day + 24] for u in (1, 2)}
        place = int(np.argmin(np.abs(past[1] - ours[1][0])))
        for u in (1, 2):
            assert np.allclose(ours[u], past[u][place : place + 24], atol=1e-6)


def test_bootstrapped__gaps__no_block_crosses_one() -> None:
    close = [100.0 * 1.001**i for i in range(60)]
    close[30:] = [c * 5 for c in close[30:]]  # the jump lies in the gap
    history = {1: candles(close, drop=(30,)), 2: candles(close)}
    paths = bootstrapped(history, np.random.default_rng(0), grid(100 * HOUR, HOUR), block=5 * HOUR)
    assert np.allclose(paths.returns(1), np.log(1.001), atol=1e-6)


@pytest.mark.parametrize(
    ("history", "block", "message"),
    [
        ({1: candles([1.0] * 9), 2: candles([1.0] * 9, step=60)}, HOUR, "needs one step"),
        ({1: candles([1.0] * 9)}, 100, "multiple of the candles' step"),
        ({1: candles([1.0] * 9)}, 9 * HOUR, "no complete stretch"),
    ],
)
def test_bootstrapped__bad_input__refused(history: dict[int, Candles], block: int, message: str) -> None:
    with pytest.raises(BallastError, match=message):
        bootstrapped(history, np.random.default_rng(0), grid(10 * HOUR, HOUR), block=block)


def test_jump_diffusion__correlated_moves__volatility_and_correlation_are_those_asked_for() -> None:
    times = grid(20_000 * HOUR, HOUR)
    rng = np.random.default_rng(2)
    moves = correlation_root(matrix_of([(1, 2, 0.8)], [1, 2])) @ rng.standard_normal((2, len(times) - 1))
    laws = {1: Diffusion(60_000.0, 0.5), 2: Diffusion(3_000.0, 0.7)}
    paths = Paths(times, {u: jump_diffusion(law, rng, times, moves[u - 1]) for u, law in laws.items()})
    year = np.sqrt(365 * 24)
    assert paths.returns(1).std() * year == pytest.approx(0.5, rel=0.02)
    assert paths.returns(2).std() * year == pytest.approx(0.7, rel=0.02)
    assert np.corrcoef(paths.returns(1), paths.returns(2))[0, 1] == pytest.approx(0.8, abs=0.02)
    with pytest.raises(BallastError, match="normal moves of shape"):
        jump_diffusion(laws[1], rng, times, moves[0][1:])


def test_jump_diffusion__expected_price__grows_by_the_drift_only() -> None:
    law = Diffusion(100.0, 0.4, drift=0.1, jumps=6.0, jump_mean=-0.1, jump_spread=0.05)
    rng = np.random.default_rng(4)
    year = grid(365 * 86_400, 365 * 86_400)
    ends = [jump_diffusion(law, rng, year)[-1] / 1e8 for _ in range(6_000)]
    assert np.mean(ends) == pytest.approx(np.exp(0.1), abs=4 * np.std(ends) / np.sqrt(len(ends)))


def test_correlation_root__impossible__refused() -> None:
    with pytest.raises(BallastError, match="no prices are correlated like that"):
        correlation_root(np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]]))
    with pytest.raises(BallastError, match="ones on its diagonal"):
        correlation_root(np.array([[2.0]]))
    ones = np.ones((3, 3))
    root = correlation_root(ones)
    assert np.allclose(root @ root.T, ones)


def test_piecewise__points__met_exactly_between_in_the_logarithm() -> None:
    times = grid(600, 60)
    path = piecewise([(0, 1.0), (300, 0.25), (600, 1.0)], times, price=400.0)
    assert path[[0, 5, 10]].tolist() == [400_000_000, 100_000_000, 400_000_000]
    flat = np.full(len(times), np.log(0.25) / 5)
    assert np.allclose(np.diff(np.log(path))[:5], flat[:5], atol=1e-6)
    assert piecewise([(0, 2.0), (300, 1.0)], times, between="hold").tolist() == [2_000_000] * 5 + [1_000_000] * 6
    assert piecewise([(0, 2.0), (600, 1.0)], times, between="linear")[5] == 1_500_000


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "at least one point"),
        ([(0, 1.0), (0, 2.0)], "point 2 of the path, at 0 s, does not come after"),
        ([(0, 1.0), (60, -2.0)], "point 2 of the path has the value -2.0"),
    ],
)
def test_piecewise__bad_points__refused(points: list[tuple[int, float]], message: str) -> None:
    with pytest.raises(BallastError, match=message):
        piecewise(points, grid(60, 60))


def test_with_noise__ends_where_the_path_ends() -> None:
    times = grid(86_400, 60)
    path = piecewise([(0, 100.0), (86_400, 50.0)], times)
    noisy = with_noise(path, times, 1.0, np.random.default_rng(6).standard_normal(len(times) - 1))
    assert (noisy[0], noisy[-1]) == (path[0], path[-1])
    assert np.diff(np.log(noisy)).std() * np.sqrt(365 * 1440) == pytest.approx(1.0, rel=0.1)


def test_every_maker__same_seed__same_integers() -> None:
    history, times = synthetic_crash(seed=3), grid(86_400, 600)

    def made(seed: int) -> list[Paths]:
        rng = np.random.default_rng(seed)
        law = Diffusion(100.0, 0.5, jumps=10.0, jump_mean=-0.1)
        diffused = {u: jump_diffusion(law, rng, times) for u in (1, 2)}
        return [bootstrapped(history, rng, times), Paths(times, diffused)]

    for one, two, other in zip(made(7), made(7), made(8), strict=True):
        assert all((one.prices[u] == two.prices[u]).all() for u in (1, 2))
        assert any((one.prices[u] != other.prices[u]).any() for u in (1, 2))


def test_paths__out_of_range__refused() -> None:
    times = grid(60, 60)
    with pytest.raises(BallastError, match="prices in micro-USD are from 1"):
        Paths(times, {1: np.array([1, 0], dtype=np.int64)})
    with pytest.raises(BallastError, match="times that ascend"):
        Paths(np.array([0, 0], dtype=np.int64), {})
    with pytest.raises(BallastError, match="a step of 120 s in 60 s"):
        grid(60, 120)


def test_paths__scaled_and_joined() -> None:
    times = grid(60, 60)
    one = Paths(times, {1: np.array([100, 200], dtype=np.int64)})
    assert one.scaled(1, np.array([1.0, 0.5])).prices[1].tolist() == [100, 100]
    assert one.scaled(1, np.array([1e30, 1e-30])).prices[1].tolist() == [MOST, 1]
    both = one.joined(Paths(times, {2: np.array([1, 2], dtype=np.int64)}))
    assert (both.at(1, 30), both.at(2, 61)) == (100, 2)
    with pytest.raises(BallastError, match="different times"):
        one.joined(Paths(grid(120, 60), {}))


def test_from_candles__the_synthetic_crash__keeps_its_low() -> None:
    paths = from_candles(synthetic_crash(), START, grid(72 * HOUR, 1200))
    assert paths.prices[1].min() == pytest.approx(7_935e6 * 0.548, rel=1e-3)
