"""`ballast simulate`: run an incident on the real contracts and say what held."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offchain.config import BallastError

if TYPE_CHECKING:
    from offchain.simulation.records import RunResult


@click.command()
@click.argument("name", required=False, metavar="[NAME|FILE]")
@click.option("--all", "every", is_flag=True, help="Every incident's short form: guarded, and with its guard off.")
@click.option("--list", "listing", is_flag=True, help="List the incidents and the guards.")
@click.option("--engine", type=click.Choice(["revm", "anvil"]), default="revm", show_default=True, help="Chain.")
@click.option("--without", "off", multiple=True, metavar="GUARD", help="Switch a guard off; may be repeated.")
@click.option("--seed", default=1, show_default=True, help="Seed of all chance; the first of --seeds.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many runs.")
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a value: im_factor=1.3, accounts=500."
)
@click.option("--short", is_flag=True, help="The short form.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for report, JSON and Parquet.")
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
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Replay a market failure on the real contracts and check what must hold.

    NAME is one of the packaged incidents (--list), or a file like them. Exit code 0 if every check holds, 1 if one does
    not, 2 for bad input.

    \b
    Examples:
      ballast simulate --list
      ballast simulate black-thursday
      ballast simulate black-thursday --without live_clock      exits with 1: the guard is what the check is about
      ballast simulate black-thursday --engine anvil --short
      ballast simulate black-thursday --seeds 100 --set im_factor=1.3 --json
      ballast simulate --all --json
    """
    from offchain.simulation.guards import GUARDS
    from offchain.simulation.scenario import incidents, load

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
        figures, fine = _all(engine, seed, values, quiet)
    else:
        assert name is not None
        figures, fine = _runs(name, engine, off, seed, seeds, values, short, out, quiet, as_json)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    sys.exit(0 if fine else 1)


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


def _runs(
    name: str,
    engine: str,
    off: tuple[str, ...],
    seed: int,
    seeds: int,
    values: dict[str, str],
    short: bool,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> tuple[dict[str, Any], bool]:
    """One or several runs of one scenario."""
    from offchain.simulation.laboratory import run
    from offchain.simulation.scenario import load

    scenario = load(name, values, short)
    results: list[RunResult] = []
    for number in range(seed, seed + seeds):
        result = run(scenario, number, engine, off, _progress(quiet or seeds > 1))
        results.append(result)
        if not as_json:
            _show(result)
    if out is not None:
        _report(results, out)
    if seeds == 1:
        return results[0].as_json(), results[0].passed
    passed = sum(r.passed for r in results)
    if not as_json:
        click.echo(f"{passed} of {seeds} runs passed")
    figures = {
        "incident": scenario.name,
        "runs": [r.as_json() for r in results],
        "passed": passed,
        "failed": seeds - passed,
    }
    return figures, passed == seeds


def _show(result: RunResult) -> None:
    without = f", without {', '.join(result.without)}" if result.without else ""
    click.echo(f"{result.scenario.title} (seed {result.seed}, {result.engine}{without}, {result.seconds:.1f} s)")
    for verdict in result.verdicts:
        click.echo(f"  {'pass' if verdict.passed else 'FAIL'}  {verdict.name}: {verdict.text}")


def _report(results: list[RunResult], out: Path) -> None:
    """Pages and data of the runs; the worst alone where there are many."""
    from offchain.simulation.report import write_run

    for result in results[:1] if len(results) == 1 else sorted(results, key=lambda r: r.passed)[:3]:
        path = write_run(result, out / f"{result.scenario.name}-{result.seed}")
        click.echo(f"report: {path}", err=True)


def _all(engine: str, seed: int, values: dict[str, str], quiet: bool) -> tuple[dict[str, Any], bool]:
    """Every incident twice: with all guards, which must pass, and without its own, which must fail."""
    from offchain.simulation.laboratory import run
    from offchain.simulation.scenario import incidents, load

    began = time.monotonic()
    show = _progress(quiet)
    rows: list[dict[str, Any]] = []
    for name in incidents():
        scenario = load(name, values, short=True)
        guarded = run(scenario, seed, engine)
        bare = run(scenario, seed, engine, (scenario.guard,))
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
