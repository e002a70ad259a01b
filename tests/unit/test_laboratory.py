"""Runs of the laboratory: deterministic, honest about refusals, and failing where a guard is taken away."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from offchain.cli import main
from offchain.config import BallastError
from offchain.simulation.laboratory import run
from offchain.simulation.records import COLUMNS, RunResult
from offchain.simulation.scenario import INCIDENTS, load, parse

QUICK = ("venus-luna", "skrw")
"""Incidents whose short forms take a few seconds."""


@pytest.fixture(scope="module")
def guarded() -> dict[str, RunResult]:
    return {name: run(load(name, short=True)) for name in QUICK}


@pytest.mark.parametrize("name", QUICK)
def test_incident__with_all_guards__every_check_holds(guarded: dict[str, RunResult], name: str) -> None:
    assert [v.text for v in guarded[name].verdicts if not v.passed] == []


@pytest.mark.parametrize("name", QUICK)
def test_incident__without_its_guard__a_check_fails(name: str) -> None:
    scenario = load(name, short=True)
    assert not run(scenario, off=[scenario.guard]).passed


def test_run__same_seed__same_tables(guarded: dict[str, RunResult]) -> None:
    again = run(load("skrw", short=True))
    other = run(load("skrw", short=True), seed=2)
    assert again.digest() == guarded["skrw"].digest()
    assert other.digest() != guarded["skrw"].digest()


@pytest.mark.parametrize("name", QUICK)
def test_run__tables__have_every_column_in_one_length(guarded: dict[str, RunResult], name: str) -> None:
    for table, columns in COLUMNS.items():
        found = guarded[name].tables[table]
        assert tuple(found) == columns
        assert len({len(column) for column in found.values()}) == 1
    assert len(guarded[name].tables["steps"]["time"]) == guarded[name].scenario.steps + 1


def test_run__a_refused_trade__is_a_recorded_fact(guarded: dict[str, RunResult]) -> None:
    sent = guarded["venus-luna"].tables["transactions"]
    refused = (sent["action"] == "open") & (sent["ok"] == 0)
    assert set(sent["reason"][refused]) == {"house: feed does not agree"}


def test_run__too_few_sources__no_epoch_and_the_reason(guarded: dict[str, RunResult]) -> None:
    happened = guarded["skrw"].tables["events"]
    skipped = happened["text"][happened["kind"] == "skipped"]
    assert len(skipped) == 8
    assert all("2 usable sources of 3 needed" in text for text in skipped)


def test_run__causes__come_before_their_effects(guarded: dict[str, RunResult]) -> None:
    happened = guarded["venus-luna"].tables["events"]
    assert np.array_equal(happened["id"], np.arange(len(happened["id"])))
    assert (happened["cause"] < happened["id"]).all()


def test_run__unknown_engine__refused() -> None:
    with pytest.raises(BallastError, match="unknown engine 'abacus'"):
        run(load("skrw", short=True), engine="abacus")


def test_simulate__json__says_what_held() -> None:
    done = CliRunner().invoke(main, ["simulate", "venus-luna", "--short", "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["passed"] is True
    assert {check["name"] for check in figures["checks"]} == {c.name for c in load("venus-luna").checks}


def test_simulate__guard_off__exits_with_1() -> None:
    done = CliRunner().invoke(main, ["simulate", "venus-luna", "--short", "--quiet", "--without", "feed_check"])
    assert done.exit_code == 1
    assert "FAIL  no new risk at the clamp" in done.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["simulate"], "name one incident or file, or give --all"),
        (["simulate", "blue-monday"], "no incident and no file 'blue-monday'"),
        (["simulate", "skrw", "--without", "hope"], "unknown guard 'hope'"),
        (["simulate", "skrw", "--set", "duration"], "is not KEY=VALUE"),
        (["simulate", "skrw", "--set", "duration=soon"], "--set duration=soon:1: duration: 'soon' is no duration"),
    ],
)
def test_simulate__bad_input__exits_with_2_and_one_line(arguments: list[str], complaint: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert complaint in done.output


def test_simulate__list__names_incidents_and_guards() -> None:
    done = CliRunner().invoke(main, ["simulate", "--list"])
    assert done.exit_code == 0
    assert "black-thursday" in done.output
    assert "--without live_clock" in done.output


def test_run__a_wrong_policy__comes_and_goes_through_the_timelock() -> None:
    text = (INCIDENTS / "skrw.yaml").read_text(encoding="utf-8")
    start, end = text.index("faults:"), text.index("guard:")
    faults = "faults:\n  - {kind: policy-mistake, from: 4m, until: 9m, values: {im_factor: 4}}\n\n"
    scenario = parse(text[:start] + faults + text[end:], "x.yaml", {"duration": "16m", "cadence.timelock": "2m"})
    result = run(scenario)
    happened = result.tables["events"]
    assert happened["time"][happened["kind"] == "policy"].tolist() == [240, 540]
    margins = result.tables["steps"]
    assert margins["margin_call"][3] == 0
    assert margins["margin_call"][6:9].min() > 0
    assert margins["margin_call"][-1] == 0


def test_run__owners_who_trade__move_their_counterfactual_too() -> None:
    scenario = load("skrw", {"groups.retail.trades": "0.5", "duration": "9m"})
    result = run(scenario)
    sent, accounts = result.tables["transactions"], result.tables["accounts"]
    assert {"open", "close"} <= set(sent["action"][sent["ok"] == 1])
    assert not len(result.tables["liquidations"]["time"])
    owners = ~np.array([str(owner).startswith("keeper") for owner in accounts["owner"]])
    apart = np.abs(accounts["final_equity"] - accounts["counterfactual_equity"])[owners]
    assert apart.max() == 0
