"""The laboratory's report: verdicts first, self-contained, linked, complete data, honest about what did not happen."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from lab_runs import made_up

from offchain.drawing import clock, clock_axis, figure, style
from offchain.simulation import report
from offchain.simulation.plots import MOST_ROWS, PLOTS, spans_of, state_matrix
from offchain.simulation.records import COLUMNS, Recorder, RunResult


class Page(HTMLParser):
    """Ids, links, sources, and tags that were never closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        self.sources += [values[key] for key in ("src", "srcset", "data") if key in values]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run() -> RunResult:
    return made_up(accounts=40, steps=60)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    return report.write_run(run, tmp_path_factory.mktemp("run")).parent


@pytest.fixture(scope="module")
def text(folder) -> str:
    return (folder / "report.html").read_text()


def test_page__needs_nothing_from_anywhere(text: str) -> None:
    page = Page(text)
    assert page.open == []
    assert len(page.sources) == len(PLOTS)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert not re.search(r"https?://(?!www\.w3\.org)", re.sub(r"data:[^\"]*", "", text))


def test_page__verdicts_come_first(text: str) -> None:
    assert (
        text.index("1 of 2 checks failed")
        < text.index("loss-bounded")
        < text.index("<figure>")
        < text.index('id="log"')
    )


def test_log__every_link_has_its_event(run: RunResult, text: str) -> None:
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    inside = [link[1:] for link in page.links if link.startswith("#")]
    assert set(inside) <= set(page.ids)
    shown = report.events(run)
    assert [e.time for e in shown] == sorted(e.time for e in shown)
    by_id = {e.id: e for e in shown}
    for event in shown:
        assert all(by_id[effect].cause == event.id for effect in event.effects)
        if event.cause is not None:
            assert event.id in by_id[event.cause].effects


def test_log__too_long__keeps_the_chains_and_the_rare(run: RunResult) -> None:
    book = Recorder()
    for i in range(50):
        book.event(i, "noise", "nothing")
    first = book.event(50, "price", "falls")
    book.event(51, "liquidation", "follows", first)
    book.event(52, "oracle", "once")
    shown = report.events(replace(run, tables=book.tables()), most=4)
    assert [e.kind for e in shown] == ["noise", "price", "liquidation", "oracle"]
    page = report.render(replace(run, tables={**run.tables, "events": book.tables()["events"]}), drawn=[])
    assert "left out" not in page


def test_files__png_json_and_parquet_hold_everything(run: RunResult, folder: Path) -> None:
    for name in PLOTS:
        assert (folder / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads((folder / "run.json").read_text())
    assert data["passed"] is False
    assert [check["name"] for check in data["checks"]] == ["no-zero-price", "loss-bounded"]
    for name, table in run.tables.items():
        parquet = pq.read_table(folder / "tables" / f"{name}.parquet")
        assert parquet.column_names == list(table) == list(data["tables"][name])
        for column, values in table.items():
            expected = [str(v) for v in values] if values.dtype == object else values.tolist()
            assert parquet[column].to_pylist() == expected == data["tables"][name][column]


def test_same_run__same_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PLOTS", {"price": PLOTS["price"]})
    assert report.render(made_up(accounts=6, steps=6)) == report.render(made_up(accounts=6, steps=6))


def test_quiet_run__no_liquidations__says_so(run: RunResult) -> None:
    quiet = made_up(accounts=6, steps=4, quiet=True)
    empty = {**quiet.tables, "liquidations": {name: np.zeros(0, dtype=np.int64) for name in COLUMNS["liquidations"]}}
    quiet = replace(quiet, tables=empty, verdicts=quiet.verdicts[:1])
    assert [plot.name for plot in report.draw(quiet, pictures=False)] == [n for n in PLOTS if n != "liquidations"]
    page = report.render(quiet, drawn=[])
    assert "None happened." in page
    assert "all 1 checks held" in page


def test_run_without_a_step__still_a_page(run: RunResult) -> None:
    page = report.render(replace(run, tables=Recorder().tables(), verdicts=()))
    assert "no checks" in page
    assert Page(page).sources == []


def test_text_from_a_scenario__is_escaped(run: RunResult) -> None:
    evil = replace(run, scenario=replace(run.scenario, title="<script>alert(1)</script>"))
    assert "<script>" not in report.render(evil, drawn=[])


def test_command__says_what_was_off(run: RunResult) -> None:
    line = report.command(replace(run, engine="anvil", without=("grace", "median")))
    assert line.startswith("ballast simulate ")
    assert line.endswith("--engine anvil --without grace --without median --seed 7")


def test_many_accounts__rows_are_shared_and_the_worst_shows() -> None:
    run = made_up(accounts=MOST_ROWS + 50, steps=3)
    times, accounts, matrix = state_matrix(run)
    assert matrix.shape == (len(accounts), len(times)) == (MOST_ROWS + 50, 4)
    with style():
        assert "each row the worst of 2" in PLOTS["states"][2](run).axes[0].get_title(loc="left")


def test_spans__stretches_of_one_word() -> None:
    assert spans_of(np.array([0, 10, 20, 30]), ["A", "A", "B", "A"], 40) == [(0, 20, "A"), (20, 30, "B"), (30, 40, "A")]


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (1234567, "1,234,567"), (0.123456, "0.1235"), (1234.567, "1,234.57"), ("x", "x")]
)
def test_number__for_people(value: float | str, shown: str) -> None:
    assert report.number(value) == shown


@pytest.mark.parametrize(
    ("end", "label"),
    [
        (40, "seconds"),
        (600, "minutes"),
        (36_000, "hours"),
        (86_400 * 2, "hours"),
        (86_400 * 30, "days"),
        (0, "minutes"),
    ],
)
def test_clock_axis__unit_fits_the_span(end: int, label: str) -> None:
    axes = figure(2).subplots()
    clock_axis(axes, 0, end)
    assert axes.get_xlabel() == f"{label} from the start"
    assert 2 <= len([t for t in axes.xaxis.get_major_locator()() if 0 <= t <= max(end, 3600)]) <= 16


def test_clock__days_and_signs() -> None:
    assert [clock(s) for s in (0, 3661, 90_061, -60)] == ["00:00:00", "01:01:01", "1d 01:01:01", "-00:01:00"]
