"""An incident's picture: both runs on the same axes, the money that its first check is about, and the document's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from offchain.cli import main
from offchain.drawing import style
from offchain.simulation.laboratory import run
from offchain.simulation.pairs import MONEY, draw, write
from offchain.simulation.records import RunResult
from offchain.simulation.scenario import incidents, load, parse

DOCS = Path(__file__).parents[2] / "docs"
TINY = (Path(__file__).parent / "scenario_tiny.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pair() -> tuple[RunResult, RunResult]:
    scenario = parse(TINY, "tiny.yaml")
    return run(scenario), run(scenario, off=[scenario.guard])


@pytest.mark.parametrize("measure", ["wrongful_liquidations", *MONEY])
def test_pair__any_first_check__both_columns_share_their_axes(pair: tuple[RunResult, RunResult], measure: str) -> None:
    checks = (replace(pair[0].scenario.checks[0], measure=measure),)
    guarded, bare = (replace(each, scenario=replace(each.scenario, checks=checks)) for each in pair)
    with style():
        panels = draw(guarded, bare).axes
    assert len(panels) == (4 if measure in MONEY else 2)
    for left, right in zip(panels[::2], panels[1::2], strict=True):
        assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())
    assert panels[0].get_title(loc="left") == "with all guards"
    assert panels[1].get_title(loc="left") == "without provisional"
    assert panels[0].get_title(loc="right") == "every check holds"


def test_write__a_small_picture(pair: tuple[RunResult, RunResult], tmp_path: Path) -> None:
    path = write(*pair, tmp_path / "new")
    assert path.name == "tiny.png"
    assert path.stat().st_size < 60_000
    assert Image.open(path).size[0] == 900


@pytest.mark.parametrize("name", incidents())
def test_incident__is_told_with_its_guard_and_its_picture(name: str) -> None:
    told = (DOCS / "incidents.md").read_text(encoding="utf-8")
    section = told[told.index(f"(`{name}`)") :].split("\n## ")[0]
    assert f"`{load(name).guard}`" in section
    assert f"(img/incidents/{name}.png)" in section
    assert (DOCS / "img" / "incidents" / f"{name}.png").stat().st_size < 60_000


def test_simulate__plots_of_one_run__refused() -> None:
    done = CliRunner().invoke(main, ["simulate", "skrw", "--plots", "x"])
    assert done.exit_code == 2
    assert "give --all" in done.output
