"""What the fixed seeds meet: every refusal that can be met, every action, every state of accounts and oracle."""

from __future__ import annotations

import re

import pytest
from bench import METHODS
from reach import LONG_CAMPAIGNS, RARE_ACTIONS, UNREACHABLE, reachable
from shards import SHARDS, Tally, shard

from offchain.chain.checks import reverts, sources

ACTIONS = set(METHODS) - {"trespass", "set_engines"}


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Tally:
    base = tmp_path_factory.getbasetemp()
    tally = Tally()
    for number in reversed(range(SHARDS)):
        tally.merge(shard(number, base if worker_id == "master" else base.parent))
    return tally


def test_coverage__fixed_seeds__meet_every_refusal_that_can_be_met(met: Tally) -> None:
    """All but those that the table leaves to campaigns, which names nothing else."""
    assert reachable() - set(met.reasons) <= LONG_CAMPAIGNS <= reachable()


def test_coverage__fixed_seeds__do_every_action(met: Tally) -> None:
    assert {name for name in ACTIONS if not met.done[name]} <= RARE_ACTIONS


def test_coverage__what_cannot_be_met__is_not(met: Tally) -> None:
    """The table is no excuse: a pattern that names nothing, or something met, is wrong."""
    every = {reason for path in sources() for reason in reverts(path)}
    for pattern in UNREACHABLE:
        assert any(re.fullmatch(pattern, reason) for reason in every), pattern
    assert set(met.reasons) & every <= reachable()


def test_coverage__fixed_seeds__accounts_come_to_every_state_under_every_oracle(met: Tally) -> None:
    seen = {tuple(key.split(" ")) for key in met.transitions}
    for oracle in ("LIVE", "STALE", "HALTED"):
        assert {now for where, _, now in seen if where == oracle} >= {"HEALTHY", "MARGIN_CALL"}
    assert {(was, now) for where, was, now in seen if where == "LIVE"} >= {
        ("HEALTHY", "MARGIN_CALL"),
        ("HEALTHY", "LIQUIDATABLE"),
        ("MARGIN_CALL", "HEALTHY"),
        ("MARGIN_CALL", "LIQUIDATABLE"),
        ("LIQUIDATABLE", "MARGIN_CALL"),
        ("LIQUIDATABLE", "HEALTHY"),
    }
    assert {now for _, _, now in seen} >= {"BANKRUPT"}
    moves = {(was, now) for where, was, now in seen if where == "oracle"}
    assert moves >= {("LIVE", "STALE"), ("STALE", "LIVE"), ("LIVE", "HALTED"), ("HALTED", "LIVE")}
