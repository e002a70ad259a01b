"""Scenario files: the packaged ones are read, and every mistake is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from offchain.config import BallastError
from offchain.simulation.guards import GUARDS, without
from offchain.simulation.scenario import ScenarioError, incidents, load, parse

SOUND = (Path(__file__).parent / "scenario_example.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", incidents())
@pytest.mark.parametrize("short", [False, True])
def test_incident__packaged__is_read(name: str, short: bool) -> None:
    scenario = load(name, short=short)
    assert scenario.name == name
    assert scenario.guard in GUARDS
    assert scenario.checks
    assert scenario.history.figures
    assert scenario.steps >= 2


def wrong(old: str, new: str) -> str:
    assert SOUND.count(old) == 1, old
    return SOUND.replace(old, new)


def priced(how: str) -> str:
    """The sound file with other prices in the place of its path."""
    text = wrong("noise: 0.6", how)
    start = text.index("      path:")
    return text[:start] + text[text.index("\n", start) + 1 :]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("insurance: 60_000", "insurence: 60_000", r"x\.yaml:\d+: unknown key 'insurence'; known: "),
        ("insurance: 60_000", "insurance: much", r"x\.yaml:\d+: insurance: 'much' is not a number"),
        ("insurance: 60_000", "insurance: -1", r"x\.yaml:\d+: insurance: -1 is not within"),
        ("duration: 10h", "duration: 10h1m", r"x\.yaml:\d+: duration: "),
        ("duration: 10h", "duration: 10.001h", r"not a whole number of slots"),
        ("scan_range: 18%", "scan_range: 68%", r"x\.yaml:\d+: underlyings\.ETH\.scan_range: scan range 0\.68"),
        ("from: 3h, until: 9h", "from: 9h, until: 3h", r"x\.yaml:\d+: faults\[0\]\.until: the window"),
        ("from: 3h, until: 9h", "from: 3h, until: 99h", r"x\.yaml:\d+: faults\[0\]\.until: the window"),
        ("members: [1, 2, 3]", "members: [1, 2, 4]", r"x\.yaml:\d+: faults\[2\]\.members\[2\]: there is no member 4"),
        ("keepers: [cheap, careful, patient]", "keepers: [cheep]", r"x\.yaml:\d+: faults\[3\]\.keepers\[0\]: unknown"),
        ("underlying: ETH, share: 0.3", "underlying: ETC, share: 0.3", r"faults\[1\]\.underlying: unknown 'ETC'"),
        ("share: 0.3", "part: 0.3", r"x\.yaml:\d+: faults\[1\]: unknown key 'part'; known: kind, from, until"),
        ("kind: depth-gone", "kind: depth-lost", r"x\.yaml:\d+: faults\[1\]\.kind: unknown 'depth-lost'; known: "),
        ("guard: live_clock", "guard: none", r"x\.yaml:\d+: guard: unknown 'none'; known: "),
        ("[3h, 188], [4h, 168]", "[4h, 188], [3h, 168]", r"times do not ascend"),
        ("role: hedger", "role: hedgehog", r"x\.yaml:\d+: groups\[2\]\.role: unknown 'hedgehog'"),
        ("usage: [0.1, 0.3]", "usage: [0.3, 0.1]", r"do not ascend"),
        ("name: careful", "name: cheap", r"x\.yaml:\d+: keepers: the name 'cheap' stands twice"),
        ("slot: 5m, max_age: 15m", "slot: 5m, max_age: 1m", r"x\.yaml:\d+: cadence: max_age of 60 s"),
        ("measure: insolvency", "measure: happiness", r"x\.yaml:\d+: checks\[1\]\.measure: unknown 'happiness'"),
        ("start: 2020-03-12T06:00:00Z", "start: yesterday", r"is no UTC time like"),
        ("start: 2020-03-12T06:00:00Z", "start: 1969-03-12T06:00:00Z", r"\.yaml:\d+: start: choose a time from"),
        ("role: maker", "role: basis", r"x\.yaml:\d+: groups\[0\]: nobody makes a market in ETH"),
        ("insurance: 60_000", "insurance: 60_000\ninsurance: 1", r"key 'insurance' stands twice"),
        ("insurance: 60_000", "insurance: [", r"x\.yaml:\d+: no YAML"),
        ("groups:\n", "grops:\n", r"unknown key 'grops'"),
        ("block_time: 13s", "block_time: 0s", r"^x\.yaml:\d+: chain\.block_time: 0s is not within"),
        ("insurance: 60_000", "insurance: 60_000\nseeds: 20", r"x\.yaml:\d+: unknown key 'seeds'"),
    ],
)  # fmt: skip
def test_file__a_mistake__refused_with_its_line(old: str, new: str, complaint: str) -> None:
    text = wrong(old, new)
    with pytest.raises(ScenarioError, match=complaint) as caught:
        parse(text, "x.yaml")
    line = int(str(caught.value).split(":")[1])
    assert 1 <= line <= text.count("\n") + 1


def test_file__candles_with_a_gap__refused(tmp_path: Path) -> None:
    (tmp_path / "gap.csv").write_text(
        "ts,open,high,low,close,volume\n"
        + "".join(f"2020-03-12T{hour:02}:00:00Z,1,1,1,1,1\n" for hour in range(24) if hour not in (9, 10))
    )
    with pytest.raises(ScenarioError, match=r"x\.yaml:\d+: underlyings\.ETH\.prices\.candles: .*gap"):
        parse(priced("candles: gap.csv"), "x.yaml", folder=tmp_path)
    with pytest.raises(ScenarioError, match=r"x\.yaml:\d+: underlyings\.ETH\.prices\.bootstrap: .*no complete stretch"):
        parse(priced("bootstrap: gap.csv"), "x.yaml", folder=tmp_path)


def test_file__a_law_of_motion_that_cannot_be__refused() -> None:
    assert parse(priced("diffusion: {volatility: 0.9, jumps: 4}"), "x.yaml").underlyings[0].prices.kind == "diffusion"
    with pytest.raises(
        ScenarioError, match=r"x\.yaml:\d+: underlyings\.ETH\.prices\.diffusion: volatility -0\.9: choose"
    ):
        parse(priced("diffusion: {volatility: -0.9}"), "x.yaml")


def test_file__policy_that_cannot_be__refused() -> None:
    with pytest.raises(ScenarioError, match="im_factor"):
        parse(SOUND, "x.yaml", {"im_factor": "0.9"})


def test_set__bare_name_of_the_policy__changes_it() -> None:
    changed = parse(
        SOUND, "x.yaml", {"im_factor": "1.3", "groups.hedger.count": "9", "insurance": "5", "accounts": "100"}
    )
    assert changed.policy().margin.im_factor == 13_000
    assert changed.insurance == 5.0
    assert abs(changed.accounts - 100) <= 2


@pytest.mark.parametrize("path", ["groups.pirates.count", "chain.block_time.x", "nothing.at.all"])
def test_set__a_path_that_leads_nowhere__refused(path: str) -> None:
    with pytest.raises(ScenarioError, match=f"--set {path}"):
        parse(SOUND, "x.yaml", {path: "1"})


def test_set__unknown_key__refused() -> None:
    with pytest.raises(ScenarioError, match=r"--set pirates=1:1: unknown key 'pirates'"):
        parse(SOUND, "x.yaml", {"pirates": "1"})


def test_load__no_such_incident__names_those_there_are() -> None:
    with pytest.raises(BallastError, match=r"no incident and no file 'blue-monday': choose one of .*black-thursday"):
        load("blue-monday")


def test_guard__unknown__refused() -> None:
    with pytest.raises(BallastError, match="unknown guard 'hope'"):
        without(["hope"])
