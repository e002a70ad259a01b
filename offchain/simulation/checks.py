"""What an incident's file says must hold, and whether it did."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offchain.simulation.measures import MEASURES, Window

if TYPE_CHECKING:
    from offchain.simulation.records import Table, Verdict

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt, "==": operator.eq,
}  # fmt: skip


@dataclass(frozen=True)
class CheckSpec:
    """A check: ``measure op limit``.

    Attributes
    ----------
    measure : one of `measures.MEASURES`. op : one of `OPERATORS`. limit : in the measure's unit.
    underlying : number, where the measure is of one; 0 all. after, until : seconds, what is looked at.
    text : what it means, for people.
    """

    name: str
    measure: str
    op: str
    limit: float
    underlying: int = 0
    after: int = 0
    until: int = 2**62
    text: str = ""


def evaluate(checks: Sequence[CheckSpec], tables: Mapping[str, Table]) -> tuple[Verdict, ...]:
    """Evaluate checks on the tables of a run, in their order."""
    from offchain.simulation.records import Verdict

    out = []
    for check in checks:
        measure = MEASURES[check.measure]
        value = float(measure.of(tables, Window(check.underlying, check.after, check.until)))
        passed = OPERATORS[check.op](value, check.limit)
        said = check.text or measure.text
        out.append(
            Verdict(
                check.name,
                passed,
                f"{said}: {value:g} {check.op} {check.limit:g} {measure.unit}".strip(),
                value,
                check.limit,
            )
        )
    return tuple(out)
