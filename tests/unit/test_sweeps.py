"""Sweeps: every point with every seed, nothing done twice, no failure that stops the others, tables that are right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from lab_jobs import model, sometimes_dies, sometimes_fails
from lab_runs import made_up

from offchain.config import BallastError
from offchain.simulation import sweep_report
from offchain.simulation.sweeps import (
    Job,
    Outcome,
    Store,
    Sweep,
    attempt,
    code_key,
    jobs,
    margin_per_notional,
    outcome_of,
    parse_grid,
    sweep,
)

BASE = Job("black-thursday")
GRID = {"im_factor": ("1.1", "1.25", "1.4")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs.sqlite")


def test_parse_grid__values_in_order() -> None:
    assert parse_grid(["im_factor=1.1, 1.25,1.4", "policy.kappa=0,20%"]) == {
        "im_factor": ("1.1", "1.25", "1.4"), "policy.kappa": ("0", "20%"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["im_factor"], "write it like"), (["im_factor=1,,2"], "write it like"), (["=1"], "write it like"),
        (["a=1", "a=2"], "in the grid already"), (["a=1,1"], "twice"),
    ],
)  # fmt: skip
def test_parse_grid__malformed__refused(texts: list[str], message: str) -> None:
    with pytest.raises(BallastError, match=message):
        parse_grid(texts)


def test_jobs__every_point_with_every_seed__grid_over_settings() -> None:
    base = Job("x", (("im_factor", "9"), ("kappa", "0")), without=("grace",), short=True)
    made = jobs(base, {"im_factor": ("1.1", "1.4")}, [1, 2])
    assert [(dict(j.settings)["im_factor"], j.seed) for j in made] == [("1.1", 1), ("1.1", 2), ("1.4", 1), ("1.4", 2)]
    assert all(dict(j.settings)["kappa"] == "0" and j.without == ("grace",) and j.short for j in made)
    assert made[0].command == ("ballast simulate x --short --without grace --set im_factor=1.1 --set kappa=0 --seed 1")


def test_key__differs_with_whatever_decides_the_run(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: a\n")
    job = Job(str(file))
    changes = ({"seed": 1}, {"engine": "anvil"}, {"settings": (("a", "1"),)}, {"without": ("grace",)}, {"short": True})
    keys = [job.key(), *(replace(job, **change).key() for change in changes)]
    file.write_text("name: b\n")
    keys.append(job.key())
    assert len(set(keys)) == len(keys)
    assert job.key() == Job(str(file)).key()
    assert len(code_key()) == 64


def test_sweep__again__does_only_what_lacks(store: Store) -> None:
    asked: list[Job] = []

    def counted(job: Job) -> Outcome:
        asked.append(job)
        return model(job)

    first = sweep(BASE, GRID, [1, 2], counted, store)
    assert (len(asked), first.resumed, len(store)) == (6, 0, 6)
    again = sweep(BASE, GRID, [1, 2, 3], counted, store)
    assert (len(asked), again.resumed) == (9, 6)
    assert [o.job for o in again.outcomes] == jobs(BASE, GRID, [1, 2, 3])
    assert again.outcomes[0] == first.outcomes[0]


def test_sweep__interrupted__keeps_what_was_done(store: Store) -> None:
    def interrupted(job: Job) -> Outcome:
        if job.seed == 3:
            raise KeyboardInterrupt
        return model(job)

    with pytest.raises(KeyboardInterrupt):
        sweep(BASE, {}, [1, 2, 3, 4], interrupted, store)
    assert len(store) == 2
    assert sweep(BASE, {}, [1, 2, 3, 4], model, store).resumed == 2


def test_sweep__a_run_fails__is_recorded_and_tried_again(store: Store) -> None:
    told: list[tuple[int, int, int, int]] = []
    done = sweep(BASE, {}, [2, 3, 4], sometimes_fails, store, progress=lambda *at: told.append(at))
    assert [bool(o.error) for o in done.outcomes] == [False, True, False]
    assert done.outcomes[1].error.startswith("ZeroDivisionError: margin of nothing (lab_jobs.py:")
    assert [at[0] for at in told] == [0, 1, 2, 3]
    assert told[-1][3] == 1
    assert not done.outcomes[1].passed
    assert sweep(BASE, {}, [2, 3, 4], model, store).good[1].job.seed == 3


def test_processes__one_dies__only_its_run_is_lost(store: Store) -> None:
    done = sweep(BASE, {}, list(range(4)), sometimes_dies, store, workers=2)
    assert [bool(o.error) for o in done.outcomes] == [seed == 2 for seed in range(4)]
    assert "its process died" in done.outcomes[2].error
    alone = [attempt(model, Job("black-thursday", seed=seed)) for seed in (0, 1, 3)]
    assert list(done.good) == alone


def test_dask__a_local_cluster__same_outcomes(store: Store) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask's distributed is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, host="127.0.0.1", protocol="tcp://"
    ) as cluster:
        done = sweep(BASE, GRID, [1, 3], sometimes_fails, store, dask=cluster.scheduler_address)
    assert [bool(o.error) for o in done.outcomes] == [False, True] * 3
    assert done.outcomes[0] == model(done.outcomes[0].job)


def test_dask__nobody_there__one_clear_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask's distributed is not installed")
    real = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: real(address, timeout=0.2))
    with pytest.raises(BallastError, match="no Dask scheduler at tcp://127.0.0.1:9"):
        sweep(BASE, {}, [1], model, store, dask="tcp://127.0.0.1:9")


def test_sweep__nothing_to_do_it_with__refused(store: Store) -> None:
    with pytest.raises(BallastError, match="0 seeds"):
        sweep(BASE, {}, [], model, store)


def test_margin_per_notional__by_hand() -> None:
    """Three steps' needs over open interest, weighted alike: here every account needs 4,000 at each step."""
    run = made_up(accounts=10, steps=3)
    assert margin_per_notional(run, 12_500) == pytest.approx(10 * 4_000 * 1.25 / 40_000_000)
    empty = replace(run, tables={**run.tables, "states": {k: v[:0] for k, v in run.tables["states"].items()}})
    assert margin_per_notional(empty, 12_500) == 0.0


def test_outcome__of_a_run__survives_the_store(store: Store) -> None:
    run = made_up(accounts=5, steps=4)
    outcome = outcome_of(Job("black-thursday", seed=7), run)
    assert (outcome.passed, outcome.failed) == (False, ("loss-bounded",))
    assert outcome.digest == run.digest()
    store.put("k", outcome)
    assert store.get("k") == outcome
    assert store.get("other") is None


# tables and the report


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    where = Store(tmp_path_factory.mktemp("sweep") / "runs.sqlite")
    return sweep(BASE, GRID | {"label": ("a", "b")}, list(range(5)), sometimes_fails, where)


def test_table__means_and_greatest(done: Sweep) -> None:
    rows = sweep_report.table(done)
    assert [r.point["im_factor"] for r in rows] == ["1.1", "1.1", "1.25", "1.25", "1.4", "1.4"]
    assert all(r.runs == 4 for r in rows)
    debts = [o.figures["bad_debt"] for o in done.points()[0][1]]
    assert rows[0].mean["bad_debt"] == pytest.approx(np.mean(debts))
    assert rows[0].most["bad_debt"] == max(debts)


def test_frontier__nothing_is_better_in_both() -> None:
    def row(x: float, y: float) -> sweep_report.Row:
        return sweep_report.Row({}, 1, 1, {"margin_per_notional": x, "bad_debt": y}, {})

    rows = [row(1, 5), row(2, 3), row(2, 4), row(3, 3), row(4, 0), sweep_report.Row({}, 0, 0, {}, {})]
    assert sweep_report.frontier(rows) == [0, 1, 4]


def test_sensitivities__more_margin_less_debt__text_has_none(done: Sweep) -> None:
    found = {(s.parameter, s.figure): s for s in sweep_report.sensitivities(done)}
    assert {parameter for parameter, _ in found} == {"im_factor"}
    assert found["im_factor", "margin_per_notional"].rank > 0.8
    debt = found["im_factor", "bad_debt"]
    assert debt.rank < -0.3
    assert debt.least > debt.greatest


def test_worst__most_insolvent_first_with_its_command(done: Sweep) -> None:
    worst = done.worst(3)
    assert [o.figures["insolvency"] for o in worst] == sorted(
        (o.figures["insolvency"] for o in done.good), reverse=True
    )[:3]
    assert worst[0].job.command.startswith("ballast simulate black-thursday --set im_factor=1.1")


def test_write__page_and_data(done: Sweep, tmp_path: Path) -> None:
    command = "ballast simulate black-thursday --grid im_factor=1.1,1.25,1.4 --seeds 5"
    page = sweep_report.write_sweep(done, tmp_path, command, {done.worst()[0].job.command: "worst/1/report.html"})
    text = page.read_text()
    assert text.index("of 30 runs") < text.index("Grid") < text.index('id="frontier"') < text.index("Worst runs")
    assert "ZeroDivisionError: margin of nothing" in text
    assert 'href="worst/1/report.html"' in text
    data = json.loads((tmp_path / "sweep.json").read_text())
    assert (data["runs"], data["errors"]) == (30, 6)
    assert data["passed"] + data["failed"] + data["errors"] == 30
    table = pq.read_table(tmp_path / "sweep.parquet")
    assert table.num_rows == 30
    assert table["figure.bad_debt"].null_count == 6
    for name in sweep_report.PLOTS:
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_write__nothing_came_to_an_end__says_so() -> None:
    broken = Sweep(BASE, {}, (1,), (Outcome(replace(BASE, seed=1), False, error="<b>no</b>"),), 0)
    text = sweep_report.render(broken)
    assert "No run came to its end." in text
    assert "&lt;b&gt;no" in text
