"""The network performance report: at which block time, gas limit, oracle cadence and number of keepers a system stops
being solvent. Each is varied by itself, all else as the scenario has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from offchain.config import BallastError
from offchain.simulation.reading import compose
from offchain.simulation.scenario import Scenario, load
from offchain.simulation.sweeps import Job, Outcome, Progress, Runner, Store, Sweep, outcome_of, sweep

KEEPERS = "keepers"
AXES: Mapping[str, tuple[str, ...]] = {
    "chain.block_time": ("2s", "12s", "60s", "300s", "600s"),
    "chain.gas_limit": ("30_000_000", "10_000_000", "5_000_000", "2_000_000", "1_000_000"),
    "cadence.slot": ("1m", "5m", "15m", "1h", "2h"),
    KEEPERS: ("8", "4", "2", "1", "0"),
}
"""Settings by name, from easy to hard; `keepers` is how many there are, the scenario's own over again."""
NAMES: Mapping[str, str] = {
    "chain.block_time": "block time", "chain.gas_limit": "gas limit", "cadence.slot": "oracle slot", KEEPERS: "keepers",
}  # fmt: skip
FIGURES = ("bad_debt", "insolvency", "latency_most", "oracle_age", "liquidations", "below_at_last")
"""Measures that the report shows beside solvency."""


@dataclass(frozen=True)
class Limit:
    """Where an axis ends.

    Attributes
    ----------
    solvent : share of runs without debts beyond insurance and without an error, by value.
    last : hardest value up to which every run was solvent; empty if there is none.
    first : the value after it; empty if all were solvent.
    means : of `FIGURES`, over the runs without an error, by value. errors : what went wrong, by the run's command.
    """

    axis: str
    solvent: Mapping[str, float]
    last: str
    first: str
    means: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Where it ends, in words."""
        name = NAMES.get(self.axis, self.axis)
        if not self.last:
            return f"{name}: insolvent at {self.first} already"
        return f"{name}: solvent at {self.last}, not at {self.first}" if self.first else f"{name}: solvent throughout"


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


def scenario_of(job: Job) -> Scenario:
    """The scenario of a run of the report.

    A longer slot takes the rest of the cadence with it, where the settings do not say otherwise: half a slot between
    epochs at least, and an epoch of two slots is not stale.

    Raises
    ------
    BallastError
        The scenario cannot have one of the settings.
    """
    settings = dict(job.settings)
    keepers = settings.pop(KEEPERS, "")
    slot = settings.pop("cadence.slot", "")
    if slot:
        own = load(job.scenario, settings, job.short).cadence
        seconds = compose(slot, "--set cadence.slot").seconds(1)
        settings = {
            "cadence.min_interval": f"{seconds // 2}s", "cadence.max_age": f"{max(own.max_age, 2 * seconds)}s",
            **settings, "cadence.slot": slot,
        }  # fmt: skip
    scenario = load(job.scenario, settings, job.short)
    if not keepers:
        return scenario
    if not keepers.isdecimal():
        raise BallastError(f"keepers={keepers}: how many, a whole number")
    return with_keepers(scenario, int(keepers))


def possible(base: Job, axes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Those values of the axes that the scenario can have: a slot must divide the run's length, for one."""
    out: dict[str, tuple[str, ...]] = {}
    for axis, values in axes.items():
        fine = []
        for value in values:
            try:
                scenario_of(replace(base, settings=(*base.settings, (axis, value))))
            except BallastError:
                continue
            fine.append(value)
        if fine:
            out[axis] = tuple(fine)
    return out


def run_network(job: Job) -> Outcome:
    """Make a run of the report in the laboratory."""
    from offchain.simulation.laboratory import run

    return outcome_of(job, run(scenario_of(job), job.seed, job.engine, job.without))


def limit(axis: str, done: Sweep) -> Limit:
    """Where an axis ends, from its sweep."""
    shares: dict[str, float] = {}
    means: dict[str, dict[str, float]] = {}
    errors: dict[str, str] = {}
    for value in done.grid[axis]:
        here = [o for o in done.outcomes if dict(o.job.settings)[axis] == value]
        shares[value] = sum(map(is_solvent, here)) / len(here)
        found = {name: [o.figures[name] for o in here if name in o.figures] for name in FIGURES}
        means[value] = {name: float(np.mean(column)) for name, column in found.items() if column}
        errors |= {o.job.command: o.error for o in here if o.error}
    last = first = ""
    for value, share in shares.items():
        if share < 1:
            first = value
            break
        last = value
    return Limit(axis, shares, last, first, means, errors)


def network(
    base: Job,
    seeds: Sequence[int],
    store: Store,
    *,
    axes: Mapping[str, tuple[str, ...]] = AXES,
    runner: Runner = run_network,
    workers: int = 1,
    dask: str = "",
    progress: Progress | None = None,
) -> list[Limit]:
    """Vary each axis by itself; runs that the store has are not made again.

    Parameters
    ----------
    axes : values by setting, from easy to hard. The rest as in `sweeps.sweep`.
    """
    out = []
    for axis, values in axes.items():
        done = sweep(base, {axis: values}, seeds, runner, store, workers=workers, dask=dask, progress=progress)
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
