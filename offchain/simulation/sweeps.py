"""Many runs: grids of parameters and seeds, on local processes or a Dask cluster, kept so that nothing is done twice.

A run is named by a key, the hash of everything that decides it: the scenario's file, the settings, the seed, the
engine, the guards that are off, and the code. Its outcome is kept under that key in an SQLite file. A sweep that was
interrupted and is started again does only what lacks; a run that fails is an outcome too, and is tried again the next
time.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sqlite3
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from offchain.chain.artifacts import CONTRACTS
from offchain.config import BallastError
from offchain.simulation.records import RunResult

CODE = Path(__file__).resolve().parent.parent
WORKERS_WAIT = 30
"""Seconds for which a Dask cluster may be without workers."""


@dataclass(frozen=True)
class Job:
    """A run to be made.

    Attributes
    ----------
    scenario : name of an incident, or path of a file. settings : values by key, as `--set` takes them.
    """

    scenario: str
    settings: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    engine: str = "revm"
    without: tuple[str, ...] = ()
    short: bool = False

    @property
    def command(self) -> str:
        """What makes this run alone."""
        parts = ["ballast simulate", shlex.quote(self.scenario)]
        parts += ["--short"] if self.short else []
        parts += [f"--engine {self.engine}"] if self.engine != "revm" else []
        parts += [f"--without {guard}" for guard in self.without]
        parts += ["--set " + shlex.quote(f"{name}={value}") for name, value in self.settings]
        return " ".join([*parts, f"--seed {self.seed}"])

    def key(self) -> str:
        """Hash of all that decides the run."""
        file = scenario_file(self.scenario)
        content = file.read_text(encoding="utf-8") if file else ""
        parts = [asdict(self), content, code_key()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Outcome:
    """What is kept of a run.

    Attributes
    ----------
    job : what was run. passed : whether every check held; False after an error. failed : names of checks that did not
        hold.
    figures : measures by name. digest : of all its tables. seconds : wall-clock time. error : empty, or what went
        wrong.
    """

    job: Job
    passed: bool
    failed: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    seconds: float = 0.0
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "figures": dict(self.figures), "command": self.job.command}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Outcome:
        job = data["job"]
        return Outcome(
            Job(
                job["scenario"], tuple((k, v) for k, v in job["settings"]), job["seed"], job["engine"],
                tuple(job["without"]), job["short"],
            ),
            data["passed"], tuple(data["failed"]), data["figures"], data["digest"], data["seconds"], data["error"],
        )  # fmt: skip


Runner = Callable[[Job], Outcome]
Progress = Callable[[int, int, int, int], None]
"""Called with runs done, all runs, runs that failed a check, and runs with an error."""


@cache
def code_key() -> str:
    """Hash of the programs and the contracts: an outcome of other code is another run's."""
    out = hashlib.sha256()
    for root, pattern in ((CODE, "*.py"), (CONTRACTS, "*.vy*")):
        for file in sorted(root.rglob(pattern)):
            out.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return out.hexdigest()


def scenario_file(name: str) -> Path | None:
    """File of a scenario, by the name of an incident or by path; None if there is none."""
    packaged = CODE / "simulation" / "incidents" / f"{name}.yaml"
    return next((file for file in (Path(name), packaged) if file.is_file()), None)


def parse_grid(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parameters and their values, from texts like ``im_factor=1.1,1.25,1.4``.

    Raises
    ------
    BallastError
        A text is not like that, or names a parameter twice.
    """
    out: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        parts = tuple(part.strip() for part in values.split(","))
        if not sign or not name.strip() or not all(parts):
            raise BallastError(f"grid {text!r}: write it like im_factor=1.1,1.25,1.4")
        if name.strip() in out:
            raise BallastError(f"grid {text!r}: {name.strip()} is in the grid already; put all values into one")
        if len(set(parts)) < len(parts):
            raise BallastError(f"grid {text!r}: a value stands there twice")
        out[name.strip()] = parts
    return out


def jobs(base: Job, grid: Mapping[str, Sequence[str]], seeds: Iterable[int]) -> list[Job]:
    """Every point of the grid with every seed; the base's settings first, the grid's over them."""
    seeds = list(seeds)
    out = []
    for point in product(*grid.values()):
        settings = {**dict(base.settings), **dict(zip(grid, point, strict=True))}
        out += [
            Job(base.scenario, tuple(settings.items()), seed, base.engine, base.without, base.short) for seed in seeds
        ]
    return out


class Store:
    """Outcomes by key, in an SQLite file; one process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.execute("create table if not exists outcomes (key text primary key, outcome text not null)")
            database.commit()

    def _open(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self.path))

    def get(self, key: str) -> Outcome | None:
        """The outcome of a key, or None."""
        with self._open() as database:
            row = database.execute("select outcome from outcomes where key = ?", (key,)).fetchone()
        return Outcome.from_json(json.loads(row[0])) if row else None

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome; it is on disk when this returns."""
        with self._open() as database:
            database.execute("insert or replace into outcomes values (?, ?)", (key, json.dumps(outcome.as_json())))
            database.commit()

    def __len__(self) -> int:
        with self._open() as database:
            return int(database.execute("select count(*) from outcomes").fetchone()[0])


def margin_per_notional(run: RunResult, im_factor: int) -> float:
    """Initial margin that all accounts need for a dollar of open interest, mean over the steps that have any.

    Open interest counts a trade once, margin both of its sides.

    Parameters
    ----------
    im_factor : 1e-4.
    """
    states, steps = run.tables["states"], run.tables["steps"]
    held = states["state"] > 0
    times, place = np.unique(states["time"][held], return_inverse=True)
    need = (states["equity"] - states["mm_excess"])[held].astype(np.float64)
    total = dict(zip(times.tolist(), np.bincount(place, weights=need, minlength=len(times)), strict=True))
    shares = [
        total[time] * im_factor / 1e4 / interest
        for time, interest in zip(steps["time"].tolist(), steps["open_interest"].tolist(), strict=True)
        if interest > 0 and time in total
    ]
    return float(np.mean(shares)) if shares else 0.0


def outcome_of(job: Job, run: RunResult) -> Outcome:
    """What is kept of a run."""
    figures = {name: float(value) for name, value in run.summary.items() if isinstance(value, int | float)}
    factor = run.scenario.policy().margin.im_factor
    figures["margin_per_notional"] = margin_per_notional(run, factor)
    failed = tuple(v.name for v in run.verdicts if not v.passed)
    return Outcome(job, not failed, failed, figures, run.digest(), run.seconds)


def attempt(runner: Runner, job: Job) -> Outcome:
    """Run a job; whatever goes wrong within it becomes its outcome."""
    try:
        return runner(job)
    except Exception as problem:  # any bug of a run is a fact about that run, and must not end the others
        where = traceback.extract_tb(problem.__traceback__)[-1]
        said = f"{type(problem).__name__}: {problem} ({Path(where.filename).name}:{where.lineno})"
        return Outcome(job, False, error=said)


def _here(runner: Runner, todo: Sequence[Job]) -> Iterator[Outcome]:
    for job in todo:
        yield attempt(runner, job)


def _pool(runner: Runner, todo: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """On local processes, a few in flight at a time. Where a process dies, its jobs are run again, each in a process of
    its own; the one that kills that too is told apart.
    """
    context = get_context("forkserver")  # imports once, then forks: a process that is killed is replaced at once
    context.set_forkserver_preload([__name__, "offchain.simulation.laboratory"])
    queue = iter(todo)
    while True:
        flight: dict[Future[Outcome], Job] = {}
        lost: list[Job] = []
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for job in islice(queue, workers + 1):
                flight[pool.submit(attempt, runner, job)] = job
            while flight:
                done, _ = wait(flight, return_when=FIRST_COMPLETED)
                for future in done:
                    job = flight.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        lost.append(job)
                        continue
                    following = None if lost else next(queue, None)
                    if following is not None:
                        try:
                            flight[pool.submit(attempt, runner, following)] = following
                        except BrokenProcessPool:
                            lost.append(following)
        for job in lost:
            with ProcessPoolExecutor(1, mp_context=context) as alone:
                try:
                    yield alone.submit(attempt, runner, job).result()
                except BrokenProcessPool:
                    yield Outcome(job, False, error="its process died: out of memory, or killed")
        if not lost:
            return


def _attempt_there(runner: Runner, job: Job, code: str) -> Outcome:
    """`attempt` in another process, which may have other programs: what they say is not kept under this code's key."""
    if code_key() != code:
        return Outcome(job, False, error="the worker has other code: install this version there, restart the worker")
    return attempt(runner, job)


def _dask(runner: Runner, todo: Sequence[Job], address: str) -> Iterator[Outcome]:
    """On a Dask cluster."""
    try:
        from distributed import Client, as_completed
    except ImportError as problem:
        raise BallastError(
            "Dask is not installed: install the extra `cluster` (pip install 'ballast[cluster]', or the package "
            "`distributed`), or leave --dask away"
        ) from problem
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as problem:
        raise BallastError(f"no Dask scheduler at {address}: {problem}") from problem
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_WAIT)
        except TimeoutError as problem:
            raise BallastError(
                f"the Dask scheduler at {address} has no workers: start one with `dask worker {address}`"
            ) from problem
        sent = {client.submit(_attempt_there, runner, job, code_key(), pure=False): job for job in todo}
        for future in as_completed(list(sent)):
            job = sent.pop(future)
            yield future.result() if future.status == "finished" else Outcome(job, False, error=str(future.exception()))


@dataclass(frozen=True)
class Sweep:
    """A sweep that is done.

    Attributes
    ----------
    base : what all its runs share. grid : parameters and values. seeds : of every point.
    outcomes : in the order of `jobs`. resumed : how many were known before.
    """

    base: Job
    grid: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    resumed: int

    @property
    def good(self) -> tuple[Outcome, ...]:
        """Those without an error."""
        return tuple(o for o in self.outcomes if not o.error)

    def points(self) -> list[tuple[dict[str, str], tuple[Outcome, ...]]]:
        """The grid's points in order, with the outcomes of each that are without an error."""
        out = []
        for values in product(*self.grid.values()):
            point = dict(zip(self.grid, values, strict=True))
            here = tuple(o for o in self.good if point.items() <= dict(o.job.settings).items())
            out.append((point, here))
        return out

    def worst(self, count: int = 5) -> list[Outcome]:
        """Runs that failed a check or lost most: by debts beyond insurance, then by debts, then by checks failed."""
        ranked = sorted(
            self.good,
            key=lambda o: (
                -o.figures.get("insolvency", 0.0), -o.figures.get("bad_debt", 0.0), -len(o.failed), o.job.seed,
            ),
        )  # fmt: skip
        return ranked[:count]


def sweep(
    base: Job,
    grid: Mapping[str, tuple[str, ...]],
    seeds: Sequence[int],
    runner: Runner,
    store: Store,
    *,
    workers: int = 1,
    dask: str = "",
    progress: Progress | None = None,
) -> Sweep:
    """Make every run of a sweep that lacks.

    Parameters
    ----------
    runner : makes one run; a function of a module, so that other processes find it.
    store : where outcomes are kept. workers : local processes; with one, none is started.
    dask : address of a scheduler, ``tcp://host:port``, in the place of local processes.
    progress : called after every run.

    Raises
    ------
    BallastError
        There is no seed, fewer than one worker, or no cluster at the address.
    """
    if not seeds or workers < 1:
        raise BallastError(f"{len(seeds)} seeds on {workers} processes: choose at least one of each")
    wanted = jobs(base, grid, seeds)
    keys = {job: job.key() for job in wanted}
    known = {job: found for job, key in keys.items() if (found := store.get(key)) and not found.error}
    todo = [job for job in wanted if job not in known]
    resumed = len(known)

    def tell() -> None:
        if progress is not None:
            failed = sum(not o.passed and not o.error for o in known.values())
            progress(len(known), len(wanted), failed, sum(bool(o.error) for o in known.values()))

    tell()
    if todo:
        made = (
            _dask(runner, todo, dask) if dask else _here(runner, todo) if workers == 1 else _pool(runner, todo, workers)
        )
        for outcome in made:
            store.put(keys[outcome.job], outcome)
            known[outcome.job] = outcome
            tell()
    return Sweep(base, grid, tuple(seeds), tuple(known[job] for job in wanted), resumed)


def run_job(job: Job) -> Outcome:
    """Make the run that a job names, in the laboratory."""
    return outcome_of(job, replay(job))


def replay(job: Job) -> RunResult:
    """The whole run of a job, with all its tables."""
    from offchain.simulation.laboratory import run
    from offchain.simulation.scenario import load

    return run(load(job.scenario, dict(job.settings), job.short), job.seed, job.engine, job.without)
