"""What `ballast simulate` does with many runs: sweeps, and the network performance report."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from offchain.simulation.sweeps import Job, Store, Sweep

WORST = 3
"""Runs of a sweep whose reports are kept."""


@dataclass(frozen=True)
class Many:
    """What is asked of many runs.

    Attributes
    ----------
    base : what all share. seeds : of every point. grid : as written, ``key=a,b,c``.
    dask : address of a scheduler, or empty. workers : local processes. out : folder, or None for no report.
    """

    base: Job
    seeds: tuple[int, ...]
    grid: tuple[str, ...]
    dask: str
    workers: int
    out: Path | None
    quiet: bool

    def command(self, network: bool) -> str:
        """What makes this again."""
        parts = [replace(self.base, seed=self.seeds[0]).command]
        parts += [f"--seeds {len(self.seeds)}"] if len(self.seeds) > 1 else []
        parts += ["--grid " + shlex.quote(text) for text in self.grid]
        parts += ["--network"] if network else []
        parts += [f"--workers {self.workers}"] if self.workers > 1 else []
        parts += [f"--dask {shlex.quote(self.dask)}"] if self.dask else []
        parts += [f"--out {shlex.quote(str(self.out))}"] if self.out else []
        return " ".join(parts)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Outcomes of the folder, so that an interrupted sweep goes on; without one, of this time alone."""
        from offchain.simulation.sweeps import Store

        if self.out is not None:
            yield Store(self.out / "runs.sqlite")
            return
        folder = Path(tempfile.mkdtemp(prefix="ballast-"))
        try:
            yield Store(folder / "runs.sqlite")
        finally:
            shutil.rmtree(folder)

    def progress(self) -> Callable[[int, int, int, int], None]:
        """A line that is written over."""

        def show(done: int, of: int, failed: int, errors: int) -> None:
            if not self.quiet:
                line = f"\r{done} of {of} runs, {failed} failed a check, {errors} with an error "
                click.echo(line, nl=done == of, err=True)

        return show


def run_sweep(ask: Many) -> tuple[dict[str, Any], bool]:
    """Every point with every seed; its page, and the reports of the worst runs, where a folder is given.

    Returns
    -------
    All of the sweep for JSON, and whether every check held in every run.

    Raises
    ------
    BallastError
        A point that the scenario cannot have; nothing has run then.
    """
    from offchain.simulation.scenario import load
    from offchain.simulation.sweep_report import as_json, write_sweep
    from offchain.simulation.sweeps import jobs, parse_grid, run_job, sweep

    grid = parse_grid(ask.grid)
    for job in jobs(ask.base, grid, ask.seeds[:1]):
        load(job.scenario, dict(job.settings), job.short)
    with ask.store() as store:
        done = sweep(
            ask.base, grid, ask.seeds, run_job, store, workers=ask.workers, dask=ask.dask, progress=ask.progress()
        )
    if ask.out is not None:
        kept = _keep_worst(done, ask.out)
        page = write_sweep(done, ask.out, ask.command(False), kept)
        click.echo(f"report: {page}", err=True)
    return as_json(done), all(o.passed for o in done.outcomes)


def _keep_worst(done: Sweep, out: Path) -> dict[str, str]:
    """Replay the worst runs and write their reports, unless they are there; paths by command."""
    from offchain.simulation.report import write_run
    from offchain.simulation.sweeps import replay

    kept = {}
    for outcome in done.worst(WORST):
        folder = out / "worst" / outcome.job.key()[:12]
        if not (folder / "report.html").is_file():
            write_run(replay(outcome.job), folder, outcome.job.command)
        kept[outcome.job.command] = f"worst/{folder.name}/report.html"
    return kept


def show_sweep(figures: Mapping[str, Any]) -> None:
    """A sweep for a terminal: a line a point, then the worst runs."""
    from offchain.simulation.report import number
    from offchain.simulation.sweep_report import label, point_name

    for row in figures["points"]:
        parts = [f"{row['passed']} of {row['runs']} passed"]
        for name in ("margin_per_notional", "bad_debt", "insolvency"):
            if name in row["mean"]:
                parts.append(f"{label(name)[0]} {number(row['mean'][name])} (most {number(row['most'][name])})")
        click.echo(f"{point_name(row['point'])}: {'; '.join(parts)}")
    bad = [o for o in figures["worst"] if not o["passed"]][:WORST]
    for outcome in bad:
        click.echo(f"failed {', '.join(outcome['failed'])}: {outcome['command']}")
    for outcome in [o for o in figures["outcomes"] if o["error"]][:WORST]:
        click.echo(f"error {outcome['error']}: {outcome['command']}")
    click.echo(f"{figures['passed']} of {figures['runs']} runs passed, {figures['resumed']} known before")


def run_network_report(ask: Many) -> tuple[dict[str, Any], str, bool]:
    """The network performance report; `grid` takes the place of its axes.

    Returns
    -------
    All of it for JSON, a table for a terminal, and whether every run came to its end.

    Raises
    ------
    BallastError
        A value that the scenario cannot have; nothing has run then.
    """
    from offchain.simulation.network import AXES, as_text, network, possible, scenario_of
    from offchain.simulation.network_report import as_json, write_network
    from offchain.simulation.sweeps import parse_grid

    if ask.grid:
        axes = parse_grid(ask.grid)
        for axis, value in [(axis, value) for axis, values in axes.items() for value in values]:
            scenario_of(replace(ask.base, settings=(*ask.base.settings, (axis, value))))
    else:
        axes = possible(ask.base, AXES)
    with ask.store() as store:
        limits = network(
            ask.base, ask.seeds, store, axes=axes, workers=ask.workers, dask=ask.dask, progress=ask.progress()
        )
    if ask.out is not None:
        page = write_network(ask.base, ask.seeds, limits, ask.out, ask.command(True))
        click.echo(f"report: {page}", err=True)
    return as_json(ask.base, ask.seeds, limits), as_text(limits), not any(each.errors for each in limits)
