"""The network performance report as a page, a picture and data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from offchain.drawing import BAD, INK, MUTED, SERIES, compact, data_uri, figure, pages, small_png, style, svg
from offchain.simulation.measures import MEASURES
from offchain.simulation.network import FIGURES, NAMES, Limit
from offchain.simulation.report import Plot, number
from offchain.simulation.sweeps import Job

DEBT, LATENCY = "bad_debt", "latency_most"
EVEN = 1_000.0
"""Debts up to this many USD are drawn in proportion, above by their logarithm."""
CAPTION = (
    "Each column changes one thing, from easy on the left to hard on the right, and leaves the rest as the scenario "
    "has it. Top: share of runs that stayed solvent. Middle: debts that accounts left, on an axis that is logarithmic "
    "above 1,000 USD. Bottom: the longest time from breach to liquidation, where anybody was liquidated."
)


def draw(limits: Sequence[Limit]) -> Figure:
    """Solvency, debts and latency by value, a column an axis."""
    drawn = figure(5.6)
    grid = drawn.subplots(3, len(limits), squeeze=False, sharex="col", sharey="row", height_ratios=[1, 1, 1])
    for column, each in enumerate(limits):
        values = list(each.solvent)
        places = range(len(values))
        shares = [each.solvent[value] * 100 for value in values]
        colours = [SERIES[2] if share == 100 else BAD for share in shares]
        grid[0][column].bar(places, [max(share, 2.0) for share in shares], color=colours, width=0.62, lw=0)
        grid[0][column].set_title(NAMES.get(each.axis, each.axis))
        grid[0][column].set_ylim(0, 106)
        for row, (name, colour) in enumerate(((DEBT, BAD), (LATENCY, SERIES[0])), 1):
            there = [
                i
                for i in places
                if name in (means := each.means.get(values[i], {})) and (name == DEBT or means.get("liquidations", 1))
            ]
            found = [each.means[values[i]][name] / (60 if name == LATENCY else 1) for i in there]
            grid[row][column].plot(there, found, color=colour, marker="o", ms=4.5)
            grid[row][column].yaxis.set_major_formatter(FuncFormatter(compact))
        if each.first:
            for axes in grid[:, column]:
                axes.axvline(values.index(each.first) - 0.5, color=INK, lw=0.9, ls=(0, (4, 2)))
        grid[2][column].set_xticks(list(places), [value.replace("_000_000", "M").replace("_", ",") for value in values])
        grid[2][column].set_xlim(-0.6, len(values) - 0.4)
    for row, text in enumerate(("% of runs solvent", "debts, USD", "longest latency, minutes")):
        grid[row][0].set_ylabel(text, color=MUTED)
    most = max((means.get(DEBT, 0.0) for each in limits for means in each.means.values()), default=0.0)
    if most > 10 * EVEN:
        grid[1][0].set_yscale("symlog", linthresh=EVEN)
        grid[1][0].set_yticks([0, *(tick for tick in (1e3, 1e4, 1e5, 1e6, 1e7, 1e8) if tick < 2 * most)])
        grid[1][0].yaxis.set_major_formatter(FuncFormatter(compact))
        grid[1][0].set_ylim(top=2 * most)
    else:
        grid[1][0].yaxis.set_major_locator(MaxNLocator(4))
    grid[2][0].yaxis.set_major_locator(MaxNLocator(4))
    for row in (1, 2):  # after all is drawn: the columns share this axis, and a limit set before would be its end
        grid[row][0].set_ylim(bottom=0)
    drawn.legend(
        handles=[
            Patch(color=SERIES[2], label="solvent in every run"), Patch(color=BAD, label="not in every run"),
        ],
        loc="outside upper left", ncols=2,
    )  # fmt: skip
    return drawn


def plot(limits: Sequence[Limit], picture: bool = True) -> Plot:
    """The report's only plot."""
    with style():
        drawn = draw(limits)
        return Plot(
            "network", "What the network allows", CAPTION, data_uri(svg(drawn)), small_png(drawn) if picture else b""
        )


def as_json(base: Job, seeds: Sequence[int], limits: Sequence[Limit]) -> dict[str, Any]:
    """All of a report."""
    return {
        "scenario": base.scenario,
        "settings": dict(base.settings),
        "short": base.short,
        "seeds": list(seeds),
        "axes": [
            {
                "axis": each.axis, "holds_to": each.last or None, "fails_at": each.first or None,
                "solvent": dict(each.solvent), "means": {v: dict(m) for v, m in each.means.items()},
                "errors": dict(each.errors),
            }
            for each in limits
        ],
    }  # fmt: skip


def render(base: Job, seeds: Sequence[int], limits: Sequence[Limit], drawn: Plot | None = None, line: str = "") -> str:
    """The report as HTML. `line` is the command that made it."""
    labels: Mapping[str, tuple[str, str]] = {name: (MEASURES[name].text, MEASURES[name].unit) for name in FIGURES}
    return (
        pages("offchain.simulation", number=number)
        .get_template("network.html.j2")
        .render(
            base=base, seeds=list(seeds), limits=limits, plot=drawn or plot(limits, False), labels=labels, names=NAMES,
            command=line,
        )
    )  # fmt: skip


def write_network(base: Job, seeds: Sequence[int], limits: Sequence[Limit], folder: Path, line: str = "") -> Path:
    """Write `network.html`, `network.png` and `network.json` into a folder; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = plot(limits)
    (folder / "network.png").write_bytes(drawn.picture)
    data = json.dumps(as_json(base, seeds, limits), indent=1)
    (folder / "network.json").write_text(data + "\n", encoding="utf-8")
    page = folder / "network.html"
    page.write_text(render(base, seeds, limits, drawn, line), encoding="utf-8")
    return page
