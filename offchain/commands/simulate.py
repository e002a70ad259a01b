"""`ballast simulate`: run an incident on the real contracts and say what held."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offchain.commands.sweeping import Many, run_network_report, run_sweep, show_sweep
from offchain.config import BallastError

if TYPE_CHECKING:
    from offchain.simulation.records import RunResult


@click.command()
@click.argument("name", required=False, metavar="[NAME|FILE]")
@click.option("--all", "every", is_flag=True, help="Every incident's short form: guarded, and with its guard off.")
@click.option("--list", "listing", is_flag=True, help="List the incidents and the guards.")
@click.option("--engine", type=click.Choice(["revm", "anvil"]), default="revm", show_default=True, help="Chain.")
@click.option("--without", "off", multiple=True, metavar="GUARD", help="Switch a guard off; may be repeated.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed; the first of --seeds.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many runs.")
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a value: im_factor=1.3, accounts=500."
)
@click.option("--short", is_flag=True, help="The short form.")
@click.option("--grid", multiple=True, metavar="KEY=A,B,C", help="Every value of a key, with every seed; repeatable.")
@click.option("--network", is_flag=True, help="At which block time, gas limit, cadence and keepers it is insolvent.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Local processes of a sweep.")
@click.option("--dask", default="", metavar="ADDRESS", help="Dask scheduler that a sweep runs on: tcp://host:port.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for page, plots, JSON, Parquet.")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="With --all: folder for NAME.png.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No progress.")
def simulate(
    name: str | None,
    every: bool,
    listing: bool,
    engine: str,
    off: tuple[str, ...],
    seed: int,
    seeds: int,
    changes: tuple[str, ...],
    short: bool,
    grid: tuple[str, ...],
    network: bool,
    workers: int,
    dask: str,
    out: Path | None,
    plots: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Replay a market failure on the real contracts and check what must hold.

    NAME is one of the packaged incidents (--list), or a file like them. Exit code 0 if every check holds, 1 if one does
    not, 2 for bad input. With --seeds or --grid it is a sweep: with --out, started again it does only what lacks, and
    the worst runs keep their reports. With --network, --grid names other axes (and `keepers`), each varied by itself;
    the exit code is 1 if a run ended with an error.

    \b
    Examples:
      ballast simulate --list
      ballast simulate black-thursday
      ballast simulate black-thursday --without live_clock      exits with 1: the guard is what the check is about
      ballast simulate black-thursday --engine anvil --short
      ballast simulate black-thursday --seeds 100 --set im_factor=1.3 --json
      ballast simulate black-thursday --short --grid im_factor=1.05,1.25,1.5 --seeds 3 --out sweep
      ballast simulate black-thursday --short --network --grid keepers=4,2,0 --out network
      ballast simulate --all --json
      ballast simulate --all --plots docs/img/incidents
    """
    from offchain.simulation.guards import GUARDS
    from offchain.simulation.scenario import incidents, load
    from offchain.simulation.sweeps import Job

    if listing:
        for each in incidents():
            scenario = load(each)
            click.echo(f"{each:<16} {scenario.title}; guard {scenario.guard}")
        for guard, what in GUARDS.items():
            click.echo(f"  --without {guard:<16} {what.text}")
        return
    if every == (name is not None):
        raise BallastError("name one incident or file, or give --all; --list shows the incidents")
    values = dict(_pair(each) for each in changes)
    if every:
        if off or seeds > 1 or grid or network or out or dask:
            raise BallastError("--all runs each incident's short form twice: leave --without, sweeps and --out away")
        figures, fine = _all(engine, seed, values, plots, quiet)
    else:
        assert name is not None
        if plots:
            raise BallastError("--plots draws both runs of every incident: give --all, or --out for one run's report")
        unknown = [guard for guard in off if guard not in GUARDS]
        if unknown:
            raise BallastError(f"unknown guard {unknown[0]!r}: choose one of {', '.join(sorted(GUARDS))}")
        if network or seeds > 1 or grid:
            base = Job(name, tuple(values.items()), seed, engine, off, short)
            ask = Many(base, tuple(range(seed, seed + seeds)), grid, dask, workers, out, quiet)
            figures, fine = _many(ask, network, as_json)
        elif dask or workers > 1:
            raise BallastError("--dask and --workers are for many runs: add --seeds, --grid or --network")
        else:
            figures, fine = _one(name, engine, off, seed, values, short, out, quiet, as_json)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    sys.exit(0 if fine else 1)


def _many(ask: Many, network: bool, as_json: bool) -> tuple[dict[str, Any], bool]:
    """A sweep or the network performance report."""
    if network:
        figures, text, fine = run_network_report(ask)
        if not as_json:
            click.echo(text)
        return figures, fine
    figures, fine = run_sweep(ask)
    if not as_json:
        show_sweep(figures)
    return figures, fine


def _pair(text: str) -> tuple[str, str]:
    key, mark, value = text.partition("=")
    if not mark or not key or not value:
        raise BallastError(f"--set {text!r} is not KEY=VALUE")
    return key, value


def _progress(quiet: bool) -> Any:
    def show(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    return show


def _one(
    name: str,
    engine: str,
    off: tuple[str, ...],
    seed: int,
    values: dict[str, str],
    short: bool,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> tuple[dict[str, Any], bool]:
    """One run, and its report where a folder is given."""
    from offchain.simulation.laboratory import run
    from offchain.simulation.scenario import load

    result = run(load(name, values, short), seed, engine, off, _progress(quiet))
    if not as_json:
        _show(result)
    if out is not None:
        from offchain.simulation.report import write_run

        click.echo(f"report: {write_run(result, out)}", err=True)
    return result.as_json(), result.passed


def _show(result: RunResult) -> None:
    without = f", without {', '.join(result.without)}" if result.without else ""
    click.echo(f"{result.scenario.title} (seed {result.seed}, {result.engine}{without}, {result.seconds:.1f} s)")
    for verdict in result.verdicts:
        click.echo(f"  {'pass' if verdict.passed else 'FAIL'}  {verdict.name}: {verdict.text}")


def _all(
    engine: str, seed: int, values: dict[str, str], plots: Path | None, quiet: bool
) -> tuple[dict[str, Any], bool]:
    """Every incident twice: with all guards, which must pass, and without its own, which must fail; both in a picture
    where a folder is given.
    """
    from offchain.simulation.laboratory import run
    from offchain.simulation.scenario import incidents, load

    began = time.monotonic()
    show = _progress(quiet)
    rows: list[dict[str, Any]] = []
    for name in incidents():
        scenario = load(name, values, short=True)
        guarded = run(scenario, seed, engine)
        bare = run(scenario, seed, engine, (scenario.guard,))
        if plots is not None:
            from offchain.simulation.pairs import write

            write(guarded, bare, plots)
        rows.append(
            {
                "incident": name,
                "guard": scenario.guard,
                "passed": guarded.passed,
                "failed_unguarded": not bare.passed,
                "checks": guarded.as_json()["checks"],
                "checks_unguarded": bare.as_json()["checks"],
                "seconds": round(guarded.seconds + bare.seconds, 2),
            }
        )
        show(
            f"{name:<16} {'pass' if guarded.passed else 'FAIL'}; without {scenario.guard}: "
            f"{'fails, as it must' if not bare.passed else 'STILL PASSES'} ({rows[-1]['seconds']} s)"
        )
    passed = sum(row["passed"] for row in rows)
    figures = {
        "incidents_passed": passed,
        "incidents_failed": len(rows) - passed,
        "incidents_failed_unguarded": sum(row["failed_unguarded"] for row in rows),
        "engine": engine,
        "seconds": round(time.monotonic() - began, 1),
        "incidents": rows,
    }
    return figures, passed == len(rows) and all(row["failed_unguarded"] for row in rows)
