"""The report of a sweep: what held where, the frontier of margin against debts, sensitivities, the worst runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.stats import spearmanr

from offchain.drawing import BAD, INK, MUTED, SERIES, compact, data_uri, figure, pages, png, style, svg
from offchain.simulation.measures import MEASURES
from offchain.simulation.report import Plot, number
from offchain.simulation.sweeps import Outcome, Sweep

EFFICIENCY, DEBT = "margin_per_notional", "bad_debt"
SHOWN = (EFFICIENCY, DEBT, "insolvency", "liquidated_notional", "cascade", "owner_loss", "latency")
"""Figures of the tables, where the runs have them."""
_TEXTS = {EFFICIENCY: ("initial margin a dollar of open interest", "")}


def label(name: str) -> tuple[str, str]:
    """What a figure is, and its unit."""
    if name in _TEXTS:
        return _TEXTS[name]
    measure = MEASURES.get(name)
    return (measure.text, measure.unit) if measure else (name.replace("_", " "), "")


def values(outcomes: Sequence[Outcome], name: str) -> npt.NDArray[np.float64]:
    """A figure of every run that has it."""
    return np.array([o.figures[name] for o in outcomes if name in o.figures], dtype=np.float64)


def point_name(point: Mapping[str, str]) -> str:
    """A grid point for people."""
    return ", ".join(f"{name} = {value}" for name, value in point.items()) or "as the file says"


@dataclass(frozen=True)
class Row:
    """A grid point: how many runs, how many passed, and mean and greatest of each figure."""

    point: Mapping[str, str]
    runs: int
    passed: int
    mean: Mapping[str, float]
    most: Mapping[str, float]


def table(sweep: Sweep) -> list[Row]:
    """The outcomes by grid point."""
    out = []
    for point, here in sweep.points():
        found = {name: values(here, name) for name in SHOWN}
        out.append(
            Row(
                point,
                len(here),
                sum(o.passed for o in here),
                {name: float(column.mean()) for name, column in found.items() if len(column)},
                {name: float(column.max()) for name, column in found.items() if len(column)},
            )
        )
    return out


def frontier(rows: Sequence[Row], x: str = EFFICIENCY, y: str = DEBT) -> list[int]:
    """Places of the rows that no other beats: less of mean `x` and no more of mean `y`, or the other way round."""
    have = [i for i, row in enumerate(rows) if x in row.mean and y in row.mean]
    return [
        i
        for i in have
        if not any(
            rows[j].mean[x] <= rows[i].mean[x]
            and rows[j].mean[y] <= rows[i].mean[y]
            and (rows[j].mean[x], rows[j].mean[y]) != (rows[i].mean[x], rows[i].mean[y])
            for j in have
        )
    ]


@dataclass(frozen=True)
class Sensitivity:
    """How a figure follows a parameter: Spearman's rank correlation, and its mean at both ends."""

    parameter: str
    figure: str
    rank: float
    least: float
    greatest: float


def _number(text: str) -> float | None:
    scale = 0.01 if text.endswith("%") else 1.0
    try:
        return float(text.removesuffix("%").replace("_", "")) * scale
    except ValueError:
        return None


def sensitivities(sweep: Sweep) -> list[Sensitivity]:
    """For every parameter of the grid that is a number, and every figure that changes; the strongest first."""
    out = []
    for parameter, texts in sweep.grid.items():
        levels = {text: _number(text) for text in texts}
        if len(texts) < 2 or None in levels.values():
            continue
        for name in SHOWN:
            runs = [o for o in sweep.good if name in o.figures]
            x = np.array([levels[dict(o.job.settings)[parameter]] for o in runs], dtype=np.float64)
            y = values(runs, name)
            if len(y) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
                continue
            rank = float(spearmanr(x, y).statistic)
            out.append(Sensitivity(parameter, name, rank, float(y[x == x.min()].mean()), float(y[x == x.max()].mean())))
    return sorted(out, key=lambda s: -abs(s.rank))


# plots


def _draw_frontier(sweep: Sweep) -> Figure | None:
    rows = table(sweep)
    have = [i for i, row in enumerate(rows) if EFFICIENCY in row.mean and DEBT in row.mean]
    if not have:
        return None
    drawn = figure(4.0)
    axes = drawn.subplots()
    best = set(frontier(rows))
    cloud = [o for o in sweep.good if EFFICIENCY in o.figures and DEBT in o.figures]
    axes.scatter(values(cloud, EFFICIENCY) * 100, values(cloud, DEBT), s=10, color=MUTED, alpha=0.25, lw=0)
    across = sorted(have, key=lambda i: rows[i].mean[EFFICIENCY])
    lift = {i: (5, 16, 27)[place % 3] for place, i in enumerate(across)}  # neighbours' labels do not meet
    for i in have:
        row = rows[i]
        axes.scatter(
            row.mean[EFFICIENCY] * 100, row.mean[DEBT], s=52, lw=1.4, zorder=3,
            color=BAD if row.passed < row.runs else SERIES[2], edgecolor=INK if i in best else "white",
        )  # fmt: skip
        if len(have) <= 24 and row.point:
            axes.annotate(
                ", ".join(row.point.values()), (row.mean[EFFICIENCY] * 100, row.mean[DEBT]), xytext=(6, lift[i]),
                textcoords="offset points", fontsize=7.5, color=MUTED,
            )  # fmt: skip
    line = sorted(best, key=lambda i: rows[i].mean[EFFICIENCY])
    axes.plot([rows[i].mean[EFFICIENCY] * 100 for i in line], [rows[i].mean[DEBT] for i in line], color=INK, lw=0.9)
    axes.set_xlabel("initial margin, % of open interest (less is cheaper for owners)", fontsize=8.5)
    axes.set_ylabel("debts left by accounts, USD")
    axes.yaxis.set_major_formatter(FuncFormatter(compact))
    axes.margins(x=0.08, y=0.12)
    drawn.legend(
        handles=[
            Line2D([], [], ls="", marker="o", ms=7, color=SERIES[2], mec="white", label="mean, all checks held"),
            Line2D([], [], ls="", marker="o", ms=7, color=BAD, mec="white", label="a check failed in some run"),
            Line2D([], [], ls="", marker="o", ms=3.5, color=MUTED, alpha=0.4, label="a run"),
            Line2D([], [], color=INK, lw=0.9, label="frontier: nothing is better in both"),
        ],
        loc="outside upper left", ncols=4,
    )  # fmt: skip
    return drawn


def _draw_parameters(sweep: Sweep) -> Figure | None:
    numeric = {
        name: [_number(text) for text in texts]
        for name, texts in sweep.grid.items()
        if len(texts) > 1 and None not in [_number(text) for text in texts]
    }
    shown = [name for name in SHOWN[:5] if len(values(sweep.good, name)) and np.ptp(values(sweep.good, name)) > 0]
    if not numeric or not shown:
        return None
    drawn = figure(1.9 * len(shown) + 0.3)
    grid = drawn.subplots(len(shown), len(numeric), squeeze=False, sharex="col")
    for column, (parameter, levels) in enumerate(numeric.items()):
        for row, name in enumerate(shown):
            axes = grid[row][column]
            groups = [
                values([o for o in sweep.good if dict(o.job.settings)[parameter] == text], name)
                for text in sweep.grid[parameter]
            ]
            order = np.argsort(np.array(levels, dtype=np.float64))
            x = [levels[i] for i in order if len(groups[i])]
            part = [groups[i] for i in order if len(groups[i])]
            low, high = ([float(np.quantile(g, q)) for g in part] for q in (0.1, 0.9))
            axes.fill_between(x, low, high, color=SERIES[0], alpha=0.16, lw=0)
            axes.plot(x, [float(g.mean()) for g in part], color=SERIES[0], marker="o", ms=4)
            axes.plot(x, [float(g.max()) for g in part], color=BAD, lw=0.9, ls=(0, (3, 2)), marker=".", ms=4)
            text, unit = label(name)
            axes.set_title(f"{text}{', ' + unit if unit else ''}", fontsize=8.5)
            axes.yaxis.set_major_formatter(FuncFormatter(compact))
            axes.yaxis.set_major_locator(MaxNLocator(4))
        grid[-1][column].set_xlabel(parameter, fontsize=8.5)
    drawn.legend(
        handles=[
            Line2D([], [], color=SERIES[0], marker="o", ms=4, label="mean; shaded, 10 to 90 % of runs"),
            Line2D([], [], color=BAD, lw=0.9, ls=(0, (3, 2)), marker=".", label="worst run"),
        ],
        loc="outside upper left", ncols=2,
    )  # fmt: skip
    return drawn


def _draw_spread(sweep: Sweep) -> Figure | None:
    shown = [name for name in SHOWN if len(values(sweep.good, name)) > 2 and np.ptp(values(sweep.good, name)) > 0][:6]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    drawn = figure(2.1 * rows)
    grid = drawn.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, shown, strict=False):
        column = np.sort(values(sweep.good, name))
        axes.step(column, np.arange(1, len(column) + 1) / len(column) * 100, where="post", color=SERIES[0])
        text, unit = label(name)
        axes.set_title(fill(f"{text}{', ' + unit if unit else ''}", 42), fontsize=8)
        axes.xaxis.set_major_formatter(FuncFormatter(compact))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylim(0, 104)
    for row in grid:
        row[0].set_ylabel("% of runs")
    return drawn


PLOTS: Mapping[str, tuple[str, str, Callable[[Sweep], Figure | None]]] = {
    "frontier": (
        "Frontier",
        "What margin costs owners against the debts that it leaves. Right and low is safe and dear, left and high is "
        "cheap and dangerous; a sensible setting lies on the line.",
        _draw_frontier,
    ),
    "parameters": ("By parameter", "Each figure over each parameter, all other parameters mixed.", _draw_parameters),
    "spread": ("Spread over all runs", "Share of runs at or below a value.", _draw_spread),
}


def draw(sweep: Sweep, pictures: bool = True) -> list[Plot]:
    """Every plot that the sweep has data for."""
    out = []
    with style():
        for name, (heading, caption, plot) in PLOTS.items():
            drawn = plot(sweep)
            if drawn is not None:
                out.append(Plot(name, heading, caption, data_uri(svg(drawn)), png(drawn) if pictures else b""))
    return out


def render(
    sweep: Sweep, drawn: list[Plot] | None = None, command: str = "", kept: Mapping[str, str] | None = None
) -> str:
    """The report as HTML.

    Parameters
    ----------
    command : what made the sweep. kept : path of the report of a run, by the run's command, relative to the page.
    """
    rows = table(sweep)
    shown = [name for name in SHOWN if any(name in row.mean for row in rows)]
    failed = Counter(name for o in sweep.good for name in o.failed)
    return (
        pages("offchain.simulation", number=number)
        .get_template("sweep.html.j2")
        .render(
            sweep=sweep,
            plots=draw(sweep, pictures=False) if drawn is None else drawn,
            rows=rows,
            best=set(frontier(rows)) if sweep.grid else set(),
            shown=[(name, *label(name)) for name in shown],
            labels={name: label(name) for name in SHOWN},
            sensitivities=sensitivities(sweep),
            failed=failed.most_common(),
            worst=sweep.worst(),
            errors=[o for o in sweep.outcomes if o.error],
            command=command,
            kept=kept or {},
        )
    )


def as_json(sweep: Sweep) -> dict[str, Any]:
    """All of a sweep."""
    rows = table(sweep)
    return {
        "scenario": sweep.base.scenario,
        "grid": {name: list(texts) for name, texts in sweep.grid.items()},
        "seeds": list(sweep.seeds),
        "runs": len(sweep.outcomes),
        "resumed": sweep.resumed,
        "passed": sum(o.passed for o in sweep.outcomes),
        "failed": sum(not o.passed for o in sweep.good),
        "errors": len(sweep.outcomes) - len(sweep.good),
        "points": [
            {"point": dict(r.point), "runs": r.runs, "passed": r.passed, "mean": dict(r.mean), "most": dict(r.most)}
            for r in rows
        ],
        "frontier": [dict(rows[i].point) for i in frontier(rows)],
        "sensitivities": [vars(s) for s in sensitivities(sweep)],
        "worst": [o.as_json() for o in sweep.worst()],
        "outcomes": [o.as_json() for o in sweep.outcomes],
    }


def write_parquet(sweep: Sweep, path: Path) -> Path:
    """A row a run: settings, seed, verdict, figures (null where a run has none), seconds, error."""
    names = sorted({name for o in sweep.outcomes for name in o.figures})
    settings = sorted({name for o in sweep.outcomes for name, _ in o.job.settings})
    columns: dict[str, list[Any]] = {
        **{name: [dict(o.job.settings).get(name, "") for o in sweep.outcomes] for name in settings},
        "seed": [o.job.seed for o in sweep.outcomes],
        "passed": [o.passed for o in sweep.outcomes],
        "failed": [", ".join(o.failed) for o in sweep.outcomes],
        **{f"figure.{name}": [o.figures.get(name) for o in sweep.outcomes] for name in names},
        "seconds": [o.seconds for o in sweep.outcomes],
        "error": [o.error for o in sweep.outcomes],
    }
    pq.write_table(pa.table(columns), path)
    return path


def write_sweep(sweep: Sweep, folder: Path, command: str = "", kept: Mapping[str, str] | None = None) -> Path:
    """Write `sweep.html`, `sweep.json`, `sweep.parquet` and `plots/*.png` into a folder; returns the page's path."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    drawn = draw(sweep)
    for plot in drawn:
        (folder / "plots" / f"{plot.name}.png").write_bytes(plot.picture)
    write_parquet(sweep, folder / "sweep.parquet")
    (folder / "sweep.json").write_text(json.dumps(as_json(sweep), indent=1) + "\n", encoding="utf-8")
    page = folder / "sweep.html"
    page.write_text(render(sweep, drawn, command, kept), encoding="utf-8")
    return page
