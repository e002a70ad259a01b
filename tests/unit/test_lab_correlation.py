"""Underlyings of one scenario that move together: as the file says, from the seed alone, or refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offchain.market.synthetic import synthetic_crash
from offchain.simulation.faults import Faults
from offchain.simulation.laboratory import run
from offchain.simulation.prices import Paths, correlation_root
from offchain.simulation.scenario import ScenarioError, load, parse
from offchain.simulation.truth import Truth

TINY = (Path(__file__).parent / "scenario_tiny.yaml").read_text(encoding="utf-8")
ETH = "    prices: {path: [[0s, 200], [3m, 198], [5m, 180], [6m, 158], [12m, 156]]}\n"
COIN = "  {name}: {{number: {number}, price: 100, lots_per_unit: 10, depth: 1_000, prices: {{{prices}}}}}\n"
NOISE = "path: [[0s, 100], [12m, 90]], noise: 0.7"
DIFFUSION = "diffusion: {volatility: 0.5, jumps: 20, jump_mean: -0.02}"
FLAT = "path: [[0s, 100]]"
AROUND = FLAT + ", noise: 0.7"


def text(correlation: str, *prices: str, eth: str = "path: [[0s, 200]], noise: 0.9") -> str:
    """The tiny scenario with coins A, B, ... (numbers 5, 6, ...) beside ETH."""
    coins = "".join(COIN.format(name="ABCD"[i], number=5 + i, prices=each) for i, each in enumerate(prices))
    assert ETH in TINY
    out = TINY.replace(ETH, f"    prices: {{{eth}}}\n" + coins)
    return out + (f"correlation: {correlation}\n" if correlation else "")


def paths(written: str, seed: int = 1, folder: Path | None = None, **settings: str) -> Paths:
    scenario = parse(written, "x.yaml", settings, folder=folder)
    return Truth(scenario, seed, Faults(scenario.faults), scenario.start).paths


def measured(made: Paths, one: int, other: int) -> float:
    return float(np.corrcoef(made.returns(one), made.returns(other))[0, 1])


def test_pairs__long_path__coefficients_are_those_asked_for() -> None:
    made = paths(
        text("[[A, ETH, 0.8], [B, A, -0.5]]", AROUND, DIFFUSION.replace("jumps: 20", "jumps: 0")), duration="30d"
    )
    assert len(made) > 40_000
    assert measured(made, 2, 5) == pytest.approx(0.8, abs=0.01)
    assert measured(made, 5, 6) == pytest.approx(-0.5, abs=0.02)
    assert measured(made, 2, 6) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("value", ["0.6", "60%", "1"])
def test_one_number__holds_for_every_pair_that_has_gaussian_moves(value: str) -> None:
    made = paths(text(value, AROUND, AROUND, FLAT), duration="10d")
    wanted = float(value.rstrip("%")) / (100 if "%" in value else 1)
    for one, other in ((2, 5), (2, 6), (5, 6)):
        assert measured(made, one, other) == pytest.approx(wanted, abs=0.02)
    assert (made.prices[7] == made.prices[7][0]).all(), "nothing random is there, so nothing is added"


def test_correlated__same_seed__same_integers_and_volatility_stays() -> None:
    written = text("0.9", NOISE, DIFFUSION)
    one, two, other = paths(written, 3), paths(written, 3), paths(written, 4)
    assert all((one.prices[u] == two.prices[u]).all() for u in one.prices)
    assert all((one.prices[u] != other.prices[u]).any() for u in one.prices)
    long = paths(text("0.9", AROUND), duration="30d").returns(5)
    assert long.std() * np.sqrt(365 * 1440) == pytest.approx(0.7, rel=0.02)


def test_no_key__and_nought__are_the_same_paths_and_the_first_stays_what_it_is() -> None:
    free, nought, tied = (paths(text(each, NOISE, DIFFUSION)) for each in ("", "0", "0.9"))
    assert all((free.prices[u] == nought.prices[u]).all() for u in free.prices)
    assert (free.prices[2] == tied.prices[2]).all()
    assert all((free.prices[u] != tied.prices[u]).any() for u in (5, 6))
    assert (paths(text("", NOISE)).prices[5] == free.prices[5]).all(), "nor on who else is there"


def test_correlated__noise__still_ends_where_the_path_ends() -> None:
    made = paths(text("0.9", NOISE))
    assert (made.prices[5][0], made.prices[5][-1]) == (100_000_000, 90_000_000)


def test_run__correlated__same_seed_same_tables() -> None:
    scenario = parse(text("0.9", NOISE), "x.yaml")
    assert run(scenario, seed=2).digest() == run(scenario, seed=2).digest()


def history(folder: Path) -> list[str]:
    """Two files of hourly candles that fell together."""
    out = []
    for number, file in synthetic_crash(seed=3).items():
        rows = [
            f"{np.datetime64(int(t), 's')}Z,{o!r},{h!r},{low!r},{c!r},1"
            for t, o, h, low, c in zip(
                file.timestamps, file.open.tolist(), file.high.tolist(), file.low.tolist(), file.close.tolist(),
                strict=True,
            )
        ]  # fmt: skip
        (folder / f"{number}.csv").write_text("ts,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
        out.append(f"bootstrap: {number}.csv")
    return out


def test_bootstrapped__days__are_the_same_for_all_without_a_key(tmp_path: Path) -> None:
    one, other = history(tmp_path)
    settings = {"duration": "20d", "cadence.slot": "1h", "cadence.max_age": "2h", "start": "2020-03-12T06:00:00Z"}
    made = paths(text("", one, other), folder=tmp_path, **settings)
    past = synthetic_crash(seed=3)
    logs = {u: np.diff(np.log(past[u].close)) for u in past}
    first, second = sorted(past)
    for day in range(20):
        ours = {u: made.returns(u)[24 * day : 24 * day + 24] for u in (5, 6)}
        place = int(np.argmin(np.abs(logs[first] - ours[5][0])))
        assert np.allclose(ours[5], logs[first][place : place + 24], atol=1e-5)
        assert np.allclose(ours[6], logs[second][place : place + 24], atol=1e-5)
    alone = paths(text("", one), folder=tmp_path, **settings)
    assert (alone.prices[5] == made.prices[5]).all()


def test_bootstrapped__histories_without_a_day_in_common__refused(tmp_path: Path) -> None:
    one, other = history(tmp_path)
    late = (tmp_path / "2.csv").read_text().splitlines()
    (tmp_path / "1.csv").write_text("\n".join((tmp_path / "1.csv").read_text().splitlines()[:60]) + "\n")
    (tmp_path / "2.csv").write_text("\n".join([late[0], *late[-60:]]) + "\n")
    with pytest.raises(ScenarioError, match=r"x\.yaml:\d+: underlyings: days are drawn .* at once: .*in common"):
        parse(text("", one, other), "x.yaml", folder=tmp_path)


@pytest.mark.parametrize(
    ("correlation", "complaint"),
    [
        ("[[ETH, BTC, 0.5]]", r"correlation\[0\]\[1\]: unknown 'BTC'; known: A, B, C, ETH"),
        ("[[ETH, A, 1.01]]", r"correlation\[0\]\[2\]: 1\.01 is not within -1\.0 and 1\.0"),
        ("-1.5", r"correlation: -1\.5 is not within"),
        ("[[ETH, A, 0.9], [A, B, 0.9], [ETH, B, -0.9]]", r"correlation: no prices are correlated like that"),
        ("-0.6", r"correlation: no prices are correlated like that"),
        ("[[ETH, A, 0.9], [A, B, 0.5], [A, ETH, 0.9]]", r"correlation\[2\]: the pair A and ETH stands twice"),
        ("[[ETH, ETH, 1]]", r"correlation\[0\]: ETH is no pair with itself"),
        ("[[ETH, A]]", r"correlation\[0\]: two underlyings and a coefficient belong here"),
        ("[[ETH, C, 0.5]]", r"correlation\[0\]\[1\]: C has nothing that a coefficient could move: give its path"),
        ("[]", r"correlation: at least 1 belong here"),
        ("{ETH: 0.5}", r"correlation: a single value belongs here"),
    ],
)
def test_key__a_mistake__refused_with_its_line(correlation: str, complaint: str) -> None:
    written = text(correlation, NOISE, DIFFUSION, FLAT)
    line = written[: written.index("correlation:")].count("\n") + 1
    with pytest.raises(ScenarioError, match=rf"^x\.yaml:{line}: {complaint}"):
        parse(written, "x.yaml")


@pytest.mark.parametrize("eth", [FLAT, "diffusion: {volatility: 0, jumps: 5}"])
def test_key__nothing_random_is_there__refused(eth: str) -> None:
    with pytest.raises(ScenarioError, match=r"x\.yaml:\d+: correlation: 1 of the underlyings have Gaussian moves"):
        parse(text("0.5", NOISE, eth=eth), "x.yaml")
    with pytest.raises(ScenarioError, match=r"correlation\[0\]\[0\]: ETH has nothing"):
        parse(text("[[ETH, A, 0.5]]", NOISE, eth=eth), "x.yaml")


def test_key__days_out_of_history__refused(tmp_path: Path) -> None:
    one, other = history(tmp_path)
    with pytest.raises(ScenarioError, match=r"A has nothing .*: how prices out of candles move together"):
        parse(text("[[A, B, 0.5]]", one, other), "x.yaml", folder=tmp_path)


def test_set__a_coefficient__changes_it() -> None:
    written = text("[[ETH, A, 0.5]]", NOISE)
    assert parse(written, "x.yaml", {"correlation.0.2": "0.7"}).correlation == ((2, 5, 0.7),)
    assert parse(text("", NOISE), "x.yaml", {"correlation": "0.7"}).correlation == ((2, 5, 0.7),)
    assert load("black-thursday").correlation == ()
    assert load("oct-2025").correlation == ((1, 8, 0.8),)


def test_correlation_root__is_triangular_also_where_it_is_singular() -> None:
    for value in (1.0, -1.0, 0.3, 0.0):
        matrix = np.array([[1.0, value], [value, 1.0]])
        root = correlation_root(matrix)
        assert np.allclose(root @ root.T, matrix, atol=1e-7)
        assert root[0, 1] == 0.0
        assert root[0, 0] == pytest.approx(1.0)
