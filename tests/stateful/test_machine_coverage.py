"""What the fixed seeds meet: every refusal that can be met, every action, every transition."""

from __future__ import annotations

import re

import pytest
from machine import plan
from moves import MOVES
from reach import UNREACHABLE, actions, reachable, transitions
from shards import LENGTH, SEEDS, SHARDS, Tally, shard

from offchain.chain.checks import reverts, sources


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Tally:
    base = tmp_path_factory.getbasetemp()
    tally = Tally()
    for number in reversed(range(SHARDS)):
        tally.merge(shard(number, base if worker_id == "master" else base.parent))
    return tally


def test_coverage__fixed_seeds__meet_every_refusal_that_can_be_met(met: Tally) -> None:
    assert reachable() - set(met.reasons) == set()


def test_coverage__fixed_seeds__do_every_action(met: Tally) -> None:
    assert {name for name in actions() if not met.done[name]} == set()


def test_coverage__what_cannot_be_met__is_not(met: Tally) -> None:
    """The table is no excuse: a pattern that names nothing, or something met, is wrong."""
    every = {reason for path in sources() for reason in reverts(path)}
    for pattern in UNREACHABLE:
        assert any(re.fullmatch(pattern, reason) for reason in every), pattern
    assert set(met.reasons) & every <= reachable()


def test_coverage__fixed_seeds__make_every_transition_of_accounts_oracle_and_underlyings(met: Tally) -> None:
    """Those that the table calls unreachable are not made, so it is no excuse either."""
    assert set(met.transitions) == transitions()


def test_coverage__scenes__each_is_in_the_plan_of_some_fixed_seed() -> None:
    planned = {name for seed in range(SEEDS) for name, _ in plan(seed, LENGTH)}
    assert planned == set(MOVES)
