"""Contracts and twin in step over the fixed seeds, all invariants after every action."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine import kind_of, plan, play
from shards import LEAST_ATTEMPTS, SHARDS, Tally, shard


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One folder for all worker processes."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.mark.parametrize("number", range(SHARDS))
def test_machine__fixed_seeds__contracts_do_what_the_twin_says(number: int, folder: Path) -> None:
    assert shard(number, folder).errors == []


def test_machine__fixed_seeds__at_least_so_many_actions(folder: Path) -> None:
    tally = Tally()
    for number in reversed(range(SHARDS)):
        tally.merge(shard(number, folder))
    assert tally.attempts >= LEAST_ATTEMPTS


def test_machine__same_seed__same_sequence() -> None:
    first, second = (play(plan(7, 60)) for _ in range(2))
    assert first == second
    assert first.error == ""


def test_kind_of__numbers__do_not_matter() -> None:
    assert kind_of("account 257 was worth -12") == kind_of("account 300 was worth 9")
