"""Sweeps of real runs: interrupted and resumed, on two processes, on a Dask cluster; the same tables everywhere."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from offchain.cli import main
from offchain.config import BallastError
from offchain.simulation import sweeps
from offchain.simulation.sweeps import Job, Outcome, Store, run_job, sweep

TINY = Job(str(Path(__file__).parent / "scenario_tiny.yaml"))
GRID = {"im_factor": ("1.1", "1.25")}
POLL, POLLS = 0.1, 300
"""Seconds, and how often at most, for which a scheduler may be on its way."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs.sqlite")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Digests of the sweep's runs, made in this process."""
    done = sweep(TINY, GRID, [1, 2], run_job, Store(tmp_path_factory.mktemp("here") / "runs.sqlite"))
    assert all(o.passed for o in done.outcomes)
    assert len({o.digest for o in done.outcomes}) == 4
    return [o.digest for o in done.outcomes]


def test_real_runs__interrupted__go_on_where_they_were(store: Store, here: list[str]) -> None:
    def interrupted(job: Job) -> Outcome:
        if job.seed == 2 and dict(job.settings)["im_factor"] == "1.25":
            raise KeyboardInterrupt
        return run_job(job)

    with pytest.raises(KeyboardInterrupt):
        sweep(TINY, GRID, [1, 2], interrupted, store)
    assert len(store) == 3
    again = sweep(TINY, GRID, [1, 2], run_job, store)
    assert again.resumed == 3
    assert [o.digest for o in again.outcomes] == here


def test_real_runs__on_two_processes__same_tables(store: Store, here: list[str]) -> None:
    done = sweep(TINY, GRID, [1, 2], run_job, store, workers=2)
    assert [o.digest for o in done.outcomes] == here


def test_simulate__a_sweep_again__runs_nothing(tmp_path: Path) -> None:
    asked = ["simulate", TINY.scenario, "--seeds", "2", "--quiet"]
    for resumed in (0, 2):
        done = CliRunner().invoke(main, [*asked, "--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))["resumed"] == resumed


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """Address of a Dask scheduler in a process of its own, without workers."""
    pytest.importorskip("distributed", reason="Dask's distributed is not installed")
    told = tmp_path / "scheduler.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--no-show", "--scheduler-file", str(told)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(POLLS):
            if told.is_file() and told.read_text(encoding="utf-8").endswith("}"):
                break
            time.sleep(POLL)
        yield json.loads(told.read_text(encoding="utf-8"))["address"]
    finally:
        process.terminate()
        process.wait()


def test_real_runs__on_a_dask_cluster__same_tables(
    store: Store, here: list[str], scheduler: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sweeps, "WORKERS_WAIT", 0.2)
    with pytest.raises(BallastError, match=f"the Dask scheduler at {scheduler} has no workers: start one with"):
        sweep(TINY, GRID, [1, 2], run_job, store, dask=scheduler)
    monkeypatch.setattr(sweeps, "WORKERS_WAIT", POLL * POLLS)
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--host", "127.0.0.1", "--nthreads", "1",
         "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        done = sweep(TINY, GRID, [1, 2], run_job, store, dask=scheduler)
    finally:
        worker.terminate()
        worker.wait()
    assert [o.error for o in done.outcomes] == [""] * 4
    assert [o.digest for o in done.outcomes] == here


def test_worker_with_other_code__its_runs_are_not_kept() -> None:
    outcome = sweeps._attempt_there(run_job, TINY, "0" * 64)
    assert outcome.error.startswith("the worker has other code")


def test_dask__not_installed__says_what_to_install(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError):
        importlib.import_module("distributed")
    with pytest.raises(BallastError, match=r"Dask is not installed: install the extra `cluster`"):
        sweep(TINY, {}, [1], run_job, store, dask="tcp://127.0.0.1:9")
