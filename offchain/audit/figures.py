"""The report's figures: each takes a run and gives an SVG text. Colours differ to any eye, and in grey."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

if TYPE_CHECKING:
    from offchain.audit.report import RunRecord

INK, MUTED, RULE = "#1b2430", "#5a6675", "#e3e7ec"
SERIES = ("#0072B2", "#D98200", "#009E73", "#8C4B87")
"""Underlyings in order: blue, orange, green, purple (after Okabe and Ito, "Color Universal Design", 2008)."""
STATES = ("", "HEALTHY", "MARGIN_CALL", "LIQUIDATABLE", "BANKRUPT")
STATE_COLOURS = ("#f4f6f8", "#bcd9ec", "#f0b83a", "#c8470a", "#2d0f3f")
STATE_LABELS = ("no positions", "healthy", "margin call", "liquidatable", "bankrupt")
EQUITY, INITIAL, MAINTENANCE = "#1b2430", "#0072B2", "#c8470a"

USD, PPM = 1e-6, 1e-4  # micro-USD to USD; 1e-6 to percent

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.linewidth": 0.7,
    "axes.edgecolor": "#9aa4b0", "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlecolor": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": RULE,
    "grid.linewidth": 0.7, "axes.axisbelow": True, "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.6, "svg.fonttype": "path",
    "svg.hashsalt": "ballast", "figure.facecolor": "white",
}  # fmt: skip
_WIDTH = 10.8


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _times(run: RunRecord) -> np.ndarray:
    return np.array([np.datetime64(e.timestamp, "s") for e in run.epochs])


def _edges(times: np.ndarray) -> np.ndarray:
    """Start of every epoch, and an end of the last: as long as the one before, an hour where there is none."""
    return np.append(times, times[-1] + (times[-1] - times[-2] if len(times) > 1 else np.timedelta64(3600, "s")))


def _moment(value: float, _: object = None) -> str:
    """The day at midnight, else the hour."""
    when = mdates.num2date(value)
    return f"{when:%H:%M}" if when.hour or when.minute else f"{when:%b} {when.day}"


def _time_axis(axes: Axes, times: np.ndarray) -> None:
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(FuncFormatter(_moment))
    axes.set_xlim(times[0], times[-1] if times[-1] > times[0] else _edges(times)[-1])


def _compact(value: float, _: object = None) -> str:
    """12,345,678 as 12.3M: ticks, not sums."""
    for scale, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.6g}{suffix}"
    return f"{value:.4g}"


def _grouped(value: float, _: object = None) -> str:
    return f"{value:,.0f}"


def utc(timestamp: int, pattern: str = "%Y-%m-%d %H:%M") -> str:
    """A time in seconds as UTC text."""
    return datetime.fromtimestamp(timestamp, UTC).strftime(pattern)


def colours(run: RunRecord) -> dict[str, str]:
    """One colour an underlying, in every figure the same."""
    return {name: SERIES[i % len(SERIES)] for i, name in enumerate(run.underlyings)}


def prices(run: RunRecord) -> str:
    """Index with the band of prices that the scan range spans; below, the moves that came against the scan range."""
    times, names, tone = _times(run), run.underlyings, colours(run)
    figure = _figure(4.6)
    grid = figure.subplots(2, len(names), sharex=True, squeeze=False, gridspec_kw={"height_ratios": [2.1, 1]})
    for column, name in enumerate(names):
        index = np.array([e.index[name] for e in run.epochs]) * USD
        scan = np.array([e.scan_range[name] for e in run.epochs]) * PPM
        top, bottom = grid[0][column], grid[1][column]
        band = scan / 100
        top.fill_between(times, index * (1 - band), index * (1 + band), color=tone[name], alpha=0.16, lw=0, step="post")
        top.plot(times, index, color=tone[name])
        top.set_title(f"{name} index and scan range")
        top.set_ylabel("USD per unit")
        top.yaxis.set_major_formatter(FuncFormatter(_grouped))
        top.legend(
            [top.lines[0], Patch(color=tone[name], alpha=0.16)], ["index price", "index × (1 ± R)"], loc="upper right"
        )
        move = np.abs(np.diff(index) / index[:-1]) * 100 if len(index) > 1 else np.zeros(0)
        width = np.diff(times)
        bottom.bar(
            times[:-1], move, width=width, align="edge", color=tone[name], alpha=0.55, lw=0, label="next epoch's move"
        )
        bottom.step(times, scan, where="post", color=INK, lw=1.3, label="scan range R")
        bottom.set_ylabel("% of index")
        bottom.set_ylim(0, max(float(scan.max()), float(move.max(initial=0.0))) * 1.45)
        bottom.legend(loc="upper right", ncols=2)
        _time_axis(bottom, times)
    return _svg(figure)


def equity(run: RunRecord) -> str:
    """Equity of the chosen accounts against what their margin asks."""
    times = _times(run)
    count = len(run.watched)
    columns = min(3, max(count, 1))
    rows = -(-count // columns)
    figure = _figure(2.35 * rows + 0.3)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for axes, (account, label) in zip(grid.flat, run.watched.items(), strict=False):
        points = [e.watched.get(account) for e in run.epochs]
        pv, initial, maintenance = (
            np.array([np.nan if p is None else getattr(p, key) * USD for p in points])
            for key in ("pv", "initial", "maintenance")
        )
        axes.step(times, initial, where="post", color=INITIAL, lw=1.1, ls=(0, (4, 2)))
        axes.step(times, maintenance, where="post", color=MAINTENANCE, lw=1.1)
        axes.plot(times, pv, color=EQUITY, lw=1.7)
        axes.fill_between(times, pv, maintenance, where=pv < maintenance, color=MAINTENANCE, alpha=0.25, lw=0)
        taken = [lq.timestamp for lq in run.liquidations if lq.account == account]
        stamps = np.array([e.timestamp for e in run.epochs])
        at = np.clip(np.searchsorted(stamps, taken, side="right") - 1, 0, len(stamps) - 1).astype(int)
        if len(taken):
            axes.plot(times[at], pv[at], ls="", marker="v", ms=5.5, mfc="white", mec=MAINTENANCE, mew=1.3)
        if np.nanmin(np.append(pv, 0.0)) < 0:
            axes.axhline(0, color=MUTED, lw=0.7)
        axes.set_title(f"account {account}" + (f", {label}" if label else ""))
        axes.yaxis.set_major_formatter(FuncFormatter(_compact))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        _time_axis(axes, times)
    for row in grid:
        row[0].set_ylabel("USD")
    lines = matplotlib.lines
    figure.legend(
        handles=[
            lines.Line2D([], [], color=EQUITY, lw=1.7, label="equity (PV)"),
            lines.Line2D([], [], color=INITIAL, lw=1.1, ls=(0, (4, 2)), label="initial margin"),
            lines.Line2D([], [], color=MAINTENANCE, lw=1.1, label="maintenance margin"),
            lines.Line2D([], [], ls="", marker="v", mfc="white", mec=MAINTENANCE, label="legs liquidated"),
        ],
        loc="outside upper left",
        ncols=4,
    )
    return _svg(figure)


def states(run: RunRecord) -> str:
    """State of every account at every epoch, worst accounts on top, and how many were in each."""
    times = _times(run)
    matrix = np.array([[STATES.index(s) for s in e.states] for e in run.epochs], dtype=np.uint8).T
    trouble = (matrix >= 2).sum(axis=1)
    order = np.lexsort((np.array(run.accounts), -trouble, -matrix.max(axis=1, initial=0)))
    figure = _figure(5.6)
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.4, 1]})
    edges = _edges(times)
    ends = mdates.date2num(edges[[0, -1]])
    top.imshow(
        matrix[order], aspect="auto", interpolation="nearest", extent=(ends[0], ends[1], len(matrix), 0),
        cmap=ListedColormap(STATE_COLOURS), norm=BoundaryNorm(np.arange(6) - 0.5, 5),
    )  # fmt: skip
    top.grid(False)
    top.set_ylabel("accounts, worst first")
    top.set_title("state of every account when the epoch was posted")
    top.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    shares = np.array([(matrix == k).sum(axis=0) for k in (4, 3, 2, 1, 0)])
    bottom.stackplot(edges, np.hstack((shares, shares[:, -1:])), colors=STATE_COLOURS[::-1], lw=0, step="post")
    bottom.set_ylabel("accounts")
    bottom.set_title("accounts in each state")
    bottom.set_ylim(0, max(len(run.accounts), 1))
    bottom.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _time_axis(bottom, edges)
    present = [k for k in range(5) if (matrix == k).any()]
    figure.legend(
        handles=[Patch(fc=STATE_COLOURS[k], ec="#9aa4b0", lw=0.4, label=STATE_LABELS[k]) for k in present],
        loc="outside upper left",
        ncols=5,
    )
    return _svg(figure)


def _stacked(axes: Axes, times: np.ndarray, parts: Mapping[str, Sequence[float]], tone: Mapping[str, str]) -> None:
    width = np.diff(_edges(times)).min()
    floor = np.zeros(len(times))
    for name, part in parts.items():
        axes.bar(times, part, width=width * 0.85, bottom=floor, align="edge", color=tone[name], lw=0, label=name)
        floor = floor + np.asarray(part)


def liquidations(run: RunRecord) -> str:
    """Notional taken from accounts at each epoch by underlying, and what it cost them, running."""
    times, tone = _times(run), colours(run)
    stamps = np.array([e.timestamp for e in run.epochs])
    taken = {name: np.zeros(len(stamps)) for name in run.underlyings}
    penalty, reward = np.zeros(len(stamps)), np.zeros(len(stamps))
    for lq in run.liquidations:
        at = int(np.clip(np.searchsorted(stamps, lq.timestamp, side="right") - 1, 0, len(stamps) - 1))
        for leg in lq.legs:
            taken[leg.underlying][at] += leg.notional * USD
        penalty[at] += lq.penalty * USD
        reward[at] += lq.reward * USD
    figure = _figure(2.9)
    left, right = figure.subplots(1, 2)
    _stacked(left, times, {k: list(v) for k, v in taken.items()}, tone)
    left.set_title("notional of legs taken, by epoch")
    left.set_ylabel("USD")
    left.yaxis.set_major_formatter(FuncFormatter(_compact))
    left.legend(loc="upper left", ncols=2)
    right.step(times, np.cumsum(penalty), where="post", color=MAINTENANCE, label="penalties paid by accounts")
    right.step(times, np.cumsum(reward), where="post", color=SERIES[0], ls=(0, (4, 2)), label="of it, to liquidators")
    right.set_title("penalties, running sum")
    right.set_ylabel("USD")
    right.yaxis.set_major_formatter(FuncFormatter(_compact))
    right.legend(loc="upper left")
    for axes in (left, right):
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.0) * 1.12)
        _time_axis(axes, times)
    return _svg(figure)


def insurance(run: RunRecord) -> str:
    """Cash of the insurance account, and the sum of what bankrupt accounts owe."""
    times = _times(run)
    figure = _figure(2.7)
    left, right = figure.subplots(1, 2)
    fund = np.array([e.insurance_cash for e in run.epochs]) * USD
    owed = np.array([e.shortfall for e in run.epochs]) * USD
    left.step(times, fund, where="post", color=SERIES[2])
    left.set_title("cash of the insurance account")
    slack = max(float(np.ptp(fund)) * 0.12, 1.0)
    left.set_ylim(float(fund.min()) - slack, float(fund.max()) + slack)
    right.step(times, owed, where="post", color=STATE_COLOURS[4])
    right.fill_between(times, owed, 0, step="post", color=STATE_COLOURS[4], alpha=0.12, lw=0)
    right.set_title("shortfall: sum of max(0, -PV)")
    right.set_ylim(0, max(float(owed.max()) * 1.15, 1.0))
    for axes in (left, right):
        axes.set_ylabel("USD")
        axes.yaxis.set_major_formatter(FuncFormatter(_compact))
        _time_axis(axes, times)
    return _svg(figure)


def style() -> Any:
    """Context in which the figures are drawn."""
    return matplotlib.rc_context(_STYLE)
