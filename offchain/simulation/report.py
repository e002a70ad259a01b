"""The report of a run: one HTML file to read, a PNG of each plot, and all data as JSON and Parquet.

The page needs nothing from anywhere. Its event log links each event with what caused it and with what it caused.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offchain.drawing import data_uri, pages, png, style, svg
from offchain.simulation.measures import MEASURES
from offchain.simulation.plots import KIND_LABELS, PLOTS
from offchain.simulation.records import RunResult, Table
from offchain.simulation.sweeps import Job

MOST_EVENTS = 1_500
TOP_LIQUIDATIONS = 25
TOP_REASONS = 12


@dataclass(frozen=True)
class Plot:
    """A plot in both forms: `uri` for a page, `picture` the bytes of a PNG."""

    name: str
    heading: str
    caption: str
    uri: str = field(repr=False)
    picture: bytes = field(repr=False)


@dataclass(frozen=True)
class Event:
    """An event of the log: `cause` its cause's id or None, `effects` ids of what it caused."""

    id: int
    time: int
    kind: str
    text: str
    cause: int | None
    effects: tuple[int, ...]


def events(run: RunResult, most: int = MOST_EVENTS) -> list[Event]:
    """The log in order of time, at most `most` events of it.

    Where there are more, those with a cause or an effect come first, then those of the rarest kinds: what happens a
    thousand times says least each time. Links to events left out are left out too.
    """
    table = run.tables["events"]
    ids, causes = table["id"].tolist(), table["cause"].tolist()
    effects: dict[int, list[int]] = {}
    for id, cause in zip(ids, causes, strict=True):
        if cause >= 0:
            effects.setdefault(cause, []).append(id)
    kinds = Counter(table["kind"].tolist())
    order = sorted(
        range(len(ids)),
        key=lambda i: (not (causes[i] >= 0 or ids[i] in effects), kinds[table["kind"][i]], ids[i]),
    )
    kept = sorted(order[:most], key=lambda i: (table["time"][i], ids[i]))
    there = {ids[i] for i in kept}
    return [
        Event(
            ids[i], int(table["time"][i]), str(table["kind"][i]), str(table["text"][i]),
            causes[i] if causes[i] in there else None, tuple(e for e in effects.get(ids[i], ()) if e in there),
        )
        for i in kept
    ]  # fmt: skip


def draw(run: RunResult, pictures: bool = True) -> list[Plot]:
    """Every plot that the run has data for; without `pictures`, only what the page needs."""
    out = []
    with style():
        for name, (heading, caption, plot, table) in PLOTS.items():
            if len(next(iter(run.tables[table].values()))) and len(run.tables["steps"]["time"]):
                drawn = plot(run)
                out.append(Plot(name, heading, caption, data_uri(svg(drawn)), png(drawn) if pictures else b""))
    return out


def _rows(table: Table, order: np.ndarray) -> list[dict[str, Any]]:
    return [{name: column[i] for name, column in table.items()} for i in order]


def figures(run: RunResult) -> list[tuple[str, str]]:
    """The summary as rows of label and value."""
    out = []
    for name, value in run.summary.items():
        measure = MEASURES.get(name)
        label, unit = (measure.text, measure.unit) if measure else (name.replace("_", " "), "")
        out.append((label, f"{number(value)} {unit}".strip()))
    return out


def number(value: float | str) -> str:
    """A figure for people: grouped, at most four digits behind the point, no more digits than it deserves."""
    if isinstance(value, str):
        return value
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def command(run: RunResult) -> str:
    """What reproduces the run."""
    what = run.scenario
    source = what.source or what.file or what.name
    return Job(source, what.settings, run.seed, run.engine, run.without, what.short).command


def _refused(run: RunResult) -> list[tuple[str, str, int]]:
    """What did not go through: (action, reason, how often), most often first."""
    table = run.tables["transactions"]
    bad = np.flatnonzero(table["ok"] == 0)
    return [
        (action, reason, count)
        for (action, reason), count in Counter(
            (str(table["action"][i]), str(table["reason"][i])) for i in bad
        ).most_common(TOP_REASONS)
    ]


def render(run: RunResult, drawn: list[Plot] | None = None, line: str | None = None) -> str:
    """The report as HTML.

    Parameters
    ----------
    drawn : the plots, where they are drawn already. line : the command that reproduces the run, where it is not the
        scenario's plain one.
    """
    taken = run.tables["liquidations"]
    top = np.lexsort((taken["time"], -taken["notional"]))[:TOP_LIQUIDATIONS]
    log = events(run)
    return (
        pages("offchain.simulation", number=number)
        .get_template("run.html.j2")
        .render(
            run=run,
            plots=draw(run, pictures=False) if drawn is None else drawn,
            figures=figures(run),
            events=log,
            left_out=len(run.tables["events"]["id"]) - len(log),
            top=_rows(taken, top),
            kinds=KIND_LABELS,
            refused=_refused(run),
            command=line or command(run),
        )
    )


def _plain(column: np.ndarray) -> list[Any]:
    return [str(v) for v in column] if column.dtype == object else column.tolist()


def as_json(run: RunResult) -> dict[str, Any]:
    """All of a run: verdicts, summary and tables, columns as lists."""
    return {
        **run.as_json(),
        "title": run.scenario.title,
        "tables": {name: {c: _plain(v) for c, v in table.items()} for name, table in run.tables.items()},
    }


def write_parquet(table: Table, path: Path) -> Path:
    """A table as Parquet, columns in order; integers stay 64-bit integers."""
    pq.write_table(
        pa.table(
            {name: pa.array(_plain(column) if column.dtype == object else column) for name, column in table.items()}
        ),
        path,
    )
    return path


def write_run(run: RunResult, folder: Path, line: str | None = None) -> Path:
    """Write `report.html`, `run.json`, `plots/*.png` and `tables/*.parquet` into a folder; returns the page's path."""
    for part in ("plots", "tables"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    drawn = draw(run)
    for plot in drawn:
        (folder / "plots" / f"{plot.name}.png").write_bytes(plot.picture)
    for name, table in run.tables.items():
        write_parquet(table, folder / "tables" / f"{name}.parquet")
    (folder / "run.json").write_text(json.dumps(as_json(run), separators=(",", ":")) + "\n", encoding="utf-8")
    page = folder / "report.html"
    page.write_text(render(run, drawn, line), encoding="utf-8")
    return page
