"""The network performance report: at which block time, gas limit, oracle cadence and number of keepers a system stops
being solvent. Each is varied by itself, all else as the scenario has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from offchain.simulation.scenario import Scenario, load
from offchain.simulation.sweeps import Job, Outcome, Progress, Runner, Store, Sweep, outcome_of, sweep

KEEPERS = "keepers"
AXES: Mapping[str, tuple[str, ...]] = {
    "chain.block_time": ("2s", "12s", "60s", "300s"),
    "chain.gas_limit": ("30_000_000", "10_000_000", "5_000_000", "2_000_000"),
    "cadence.slot": ("1m", "5m", "15m"),
    KEEPERS: ("8", "4", "2", "1", "0"),
}
"""Settings by name, from easy to hard; `keepers` is how many there are, the scenario's own over again."""


@dataclass(frozen=True)
class Limit:
    """Where an axis ends.

    Attributes
    ----------
    solvent : share of runs without debts beyond insurance and without an error, by value.
    last : hardest value up to which every run was solvent; empty if there is none.
    first : the value after it; empty if all were solvent.
    """

    axis: str
    solvent: Mapping[str, float]
    last: str
    first: str


def is_solvent(outcome: Outcome) -> bool:
    """No error, no shortfall, and no debt that the insurance fund does not cover."""
    figures = outcome.figures
    return not outcome.error and figures.get("insolvency", 0.0) <= 0 and figures.get("shortfall", 0.0) <= 0


def with_keepers(scenario: Scenario, count: int) -> Scenario:
    """The scenario with `count` keepers: its own in turn, each copy under a name of its own."""
    own = scenario.keepers
    many = tuple(
        replace(own[i % len(own)], name=f"{own[i % len(own)].name}-{i + 1}") for i in range(count if own else 0)
    )
    return replace(scenario, keepers=many)


def run_network(job: Job) -> Outcome:
    """Make a run of the report in the laboratory."""
    from offchain.simulation.laboratory import run

    settings = dict(job.settings)
    keepers = settings.pop(KEEPERS, "")
    scenario = load(job.scenario, settings, job.short)
    if keepers:
        scenario = with_keepers(scenario, int(keepers))
    return outcome_of(job, run(scenario, job.seed, job.engine, job.without))


def limit(axis: str, done: Sweep) -> Limit:
    """Where an axis ends, from its sweep."""
    shares: dict[str, float] = {}
    for value in done.grid[axis]:
        here = [o for o in done.outcomes if dict(o.job.settings)[axis] == value]
        shares[value] = sum(map(is_solvent, here)) / len(here)
    last = first = ""
    for value, share in shares.items():
        if share < 1:
            first = value
            break
        last = value
    return Limit(axis, shares, last, first)


def network(
    base: Job,
    seeds: Sequence[int],
    store: Store,
    *,
    axes: Mapping[str, tuple[str, ...]] = AXES,
    runner: Runner = run_network,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Limit]:
    """Vary each axis by itself; runs that the store has are not made again.

    Parameters
    ----------
    axes : values by setting, from easy to hard. The rest as in `sweeps.sweep`.
    """
    out = []
    for axis, values in axes.items():
        done = sweep(base, {axis: values}, seeds, runner, store, workers=workers, progress=progress)
        out.append(limit(axis, done))
    return out


def as_text(limits: Sequence[Limit]) -> str:
    """A table for a terminal."""
    lines = []
    for each in limits:
        held = f"holds to {each.last}" if each.last else "never holds"
        lines.append(f"{each.axis:<18} {held}{f', fails at {each.first}' if each.first else ' (all)'}")
        lines += [f"  {value:>12}  {share:4.0%} solvent" for value, share in each.solvent.items()]
    return "\n".join(lines)
