"""`ballast simulate`: many runs, what is refused before anything runs, exit codes, and commands that replay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from lab_jobs import model
from lab_runs import made_up

from offchain.cli import main
from offchain.simulation import network, network_report, sweeps
from offchain.simulation.report import command
from offchain.simulation.scenario import load
from offchain.simulation.sweeps import Job, Outcome


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one incident or file"), (["--all", "x"], "name one incident or file"),
        (["--all", "--network"], "--all runs each incident's short form twice"),
        (["no-such"], "no incident and no file 'no-such'"), (["black-thursday", "--set", "im_factor"], "KEY=VALUE"),
        (["black-thursday", "--set", "im_factr=1"], "im_factr"),
        (["black-thursday", "--without", "luck"], "unknown guard 'luck'"),
        (["black-thursday", "--grid", "im_factor"], "write it like"),
        (["black-thursday", "--grid", "im_factor=1.1,none"], "'none'"),
        (["black-thursday", "--workers", "2"], "are for many runs"),
        (["black-thursday", "--network", "--grid", "keepers=few"], "keepers=few"),
        (["black-thursday", "--network", "--grid", "cadence.slot=7m"], "slot"),
    ],
)  # fmt: skip
def test_bad_input__one_line__nothing_runs(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr("offchain.simulation.laboratory.run", never)
    told = simulate(*arguments)
    assert told.exit_code == 2, told.output
    assert message in told.output
    assert "Traceback" not in told.output


@pytest.mark.parametrize("option", [("--seeds", "0"), ("--seed", "-1"), ("--workers", "0"), ("--engine", "geth")])
def test_options_out_of_range__refused(option: tuple[str, str]) -> None:
    assert simulate("black-thursday", *option).exit_code == 2


def test_sweep__page_data_and_worst_runs__resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed: list[Job] = []

    def again(job: Job):  # type: ignore[no-untyped-def]
        replayed.append(job)
        return made_up(accounts=5, steps=4)

    monkeypatch.setattr(sweeps, "run_job", model)
    monkeypatch.setattr(sweeps, "replay", again)
    arguments = ["black-thursday", "--short", "--seeds", "2", "--grid", "im_factor=1.05,1.5", "--out", str(tmp_path)]
    told = CliRunner().invoke(main, ["simulate", *arguments, "--json", "--quiet"])
    figures = json.loads(told.stdout[told.stdout.index("{") :])
    assert (figures["runs"], figures["resumed"]) == (4, 0)
    assert told.exit_code == (0 if figures["failed"] == 0 else 1)
    text = (tmp_path / "sweep.html").read_text()
    assert "--grid im_factor=1.05,1.5" in text
    assert len(replayed) == 3
    assert all((tmp_path / "worst" / job.key()[:12] / "report.html").is_file() for job in replayed)
    assert all(f"worst/{job.key()[:12]}/report.html" in text for job in replayed)
    told = simulate(*arguments)
    assert "4 known before" in told.output
    assert "4 of 4 runs" in told.output
    assert len(replayed) == 3


@pytest.mark.parametrize(("passed", "error", "code"), [(True, "", 0), (False, "", 1), (False, "no", 1)])
def test_sweep__exit_code(passed: bool, error: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = () if passed else ("debts are covered",)
    monkeypatch.setattr(sweeps, "run_job", lambda job: Outcome(job, passed, failed, {}, "", 0.0, error))
    told = simulate("black-thursday", "--seeds", "2")
    assert told.exit_code == code
    assert f"{2 * passed} of 2 runs passed" in told.output


def test_network__page_picture_data__exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def few_fail(job: Job) -> Outcome:
        count = dict(job.settings).get("keepers", "9")
        figures = {"insolvency": 0.0 if count != "0" else 5.0, "bad_debt": 5.0, "latency_most": 60.0}
        return Outcome(job, True, (), figures, error="" if count != "1" else "ValueError: no")

    monkeypatch.setattr("offchain.simulation.sweeps._here", lambda _, todo: map(few_fail, todo))
    arguments = ["black-thursday", "--short", "--network", "--grid", "chain.block_time=2s,60s", "--out", str(tmp_path)]
    told = simulate(*arguments, "--grid", "keepers=2,0")
    assert told.exit_code == 0, told.output
    assert "keepers            holds to 2, fails at 0" in told.output
    text = (tmp_path / "network.html").read_text()
    assert "keepers: solvent at 2, not at 0" in text
    assert "block time: solvent throughout" in text
    assert (tmp_path / "network.png").read_bytes().startswith(b"\x89PNG")
    axes = json.loads((tmp_path / "network.json").read_text())["axes"]
    assert [(each["axis"], each["fails_at"]) for each in axes] == [("chain.block_time", None), ("keepers", "0")]
    told = simulate(*arguments, "--grid", "keepers=2,1")
    assert told.exit_code == 1
    assert "ValueError: no" in (tmp_path / "network.html").read_text()


def test_network__longer_slot__takes_the_cadence_with_it() -> None:
    job = Job("black-thursday", (("cadence.slot", "15m"), ("keepers", "2")), short=True)
    scenario = network.scenario_of(job)
    assert (scenario.cadence.slot, scenario.cadence.min_interval, scenario.cadence.max_age) == (900, 450, 1_800)
    assert len(scenario.keepers) == 2
    axes = {"cadence.slot": ("10m", "7m"), "keepers": ("1", "many")}
    assert network.possible(job, axes) == {"cadence.slot": ("10m",), "keepers": ("1",)}


def test_network_report__nothing_solvent__says_so() -> None:
    limit = network.Limit("keepers", {"1": 0.0}, "", "1", {"1": {}}, {"ballast simulate x": "<b>no</b>"})
    text = network_report.render(Job("x"), [1], [limit])
    assert "keepers: insolvent at 1 already" in text
    assert "&lt;b&gt;no" in text


def test_command__of_a_run__has_its_settings() -> None:
    scenario = load("black-thursday", {"im_factor": "1.3", "underlyings.ETH.scan_range": "20%"}, short=True)
    run = replace(made_up(accounts=3, steps=3), scenario=scenario, seed=4, engine="revm", without=("grace",))
    assert command(run) == (
        "ballast simulate black-thursday --short --without grace --set im_factor=1.3 "
        "--set underlyings.ETH.scan_range=20% --seed 4"
    )
