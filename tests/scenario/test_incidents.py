"""Every packaged incident in its short form: it holds with all guards, and does not without the one it is about."""

from __future__ import annotations

import pytest

from offchain.simulation.laboratory import run
from offchain.simulation.scenario import incidents, load


@pytest.mark.parametrize("name", incidents())
def test_incident__with_all_guards__holds(name: str) -> None:
    result = run(load(name, short=True))
    assert result.passed, [verdict.text for verdict in result.verdicts if not verdict.passed]


@pytest.mark.parametrize("name", incidents())
def test_incident__without_its_guard__does_not_hold(name: str) -> None:
    scenario = load(name, short=True)
    assert not run(scenario, off=(scenario.guard,)).passed
