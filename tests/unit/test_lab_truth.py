"""Who is liquidated wrongly: the truth is that of the moment whose price the contract goes by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from offchain.simulation.laboratory import run
from offchain.simulation.measures import DEBT
from offchain.simulation.records import RunResult
from offchain.simulation.scenario import load, parse

TINY = (Path(__file__).parent / "scenario_tiny.yaml").read_text(encoding="utf-8")


def kinds(result: RunResult) -> list[str]:
    return [str(kind) for kind in result.tables["liquidations"]["kind"]]


def test_debt_paid_off_an_epoch_after_the_last_leg__is_no_wrong_liquidation() -> None:
    result = run(parse(TINY, "tiny.yaml"))
    taken, marks = result.tables["liquidations"], result.tables["steps"]
    assert kinds(result)[-2:] == ["leg", "debt"]
    leg, debt = taken["time"][-2:]
    assert np.ceil(leg / 60) * 60 < debt, "another epoch has come between them"
    assert taken["covered"][-1] > 0
    assert marks["insurance"][-1] < marks["insurance"][0]
    assert result.passed
    assert result.summary["liquidations"] == len(taken["kind"]) - 1


def test_fallback__judged_at_the_feed_of_now__is_no_wrong_liquidation() -> None:
    silent = "faults: [{kind: silent-members, from: 3m, until: 12m, members: [1, 2, 3]}]\n"
    result = run(parse(TINY + silent, "tiny.yaml"))
    taken = result.tables["liquidations"]
    assert "fallback" in kinds(result)
    first = kinds(result).index("fallback")
    assert taken["breach_time"][first] == 240, "the first slot whose price is below, with no epoch any more"
    assert result.passed


def test_fallback__above_maintenance_at_the_price_of_now__would_be_wrong() -> None:
    """The feed alone is wrong: who is taken at it was above maintenance margin in the market."""
    faults = """faults:
  - {kind: silent-members, from: 3m, until: 12m, members: [1, 2, 3]}
  - {kind: feed-factor, from: 3m, until: 12m, underlying: ETH, factor: 0.75}
"""
    result = run(parse(TINY.replace("[5m, 180], [6m, 158], [12m, 156]", "[12m, 198]") + faults, "tiny.yaml"))
    assert "fallback" in kinds(result)
    assert not result.passed


def test_collateral__dollars_owed__are_called_and_cured_or_the_tokens_taken() -> None:
    result = run(load("oct-2025", short=True))
    taken, accounts = result.tables["liquidations"], result.tables["accounts"]
    mine = accounts["account"][accounts["owner"] == "pledger"]
    took = taken["kind"] == "tokens"
    assert took.any()
    assert set(taken["account"][took].tolist()) <= set(mine.tolist())
    assert (taken["latency_s"][took] >= 3600).all(), "not before the cure period is over"
    happened = [str(text) for text in result.tables["events"]["text"][result.tables["events"]["kind"] == "cure"]]
    assert any(text.startswith("pledger") for text in happened)
    assert not accounts["owed"].any()
    assert result.passed


def test_collateral__tokens_never_taken__dollars_stay_owed() -> None:
    result = run(load("oct-2025", short=True), off=["cure"])
    assert "tokens" not in kinds(result)
    assert [v.name for v in result.verdicts if not v.passed] == ["nobody owes dollars against tokens"]


def test_collateral__one_thin_book_counts_alone__liquidates_wrongly() -> None:
    result = run(load("oct-2025", short=True), off=["venues"])
    accounts, taken = result.tables["accounts"], result.tables["liquidations"]
    wrong = taken["account"][(taken["breach_time"] < 0) & (taken["kind"] != DEBT)]
    assert set(accounts["account"][accounts["owner"] == "pledger"].tolist()) & set(wrong.tolist())
