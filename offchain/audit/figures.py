"""The report's figures: each takes a run and gives an SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from offchain.drawing import (
    INK,
    MUTED,
    PPM,
    SERIES,
    STATE_COLOURS,
    STATE_LABELS,
    STATES,
    USD,
    compact,
    date_axis,
    edges,
    figure,
    grouped,
    svg,
)

if TYPE_CHECKING:
    from offchain.audit.report import RunRecord

EQUITY, INITIAL, MAINTENANCE = "#1b2430", "#0072B2", "#c8470a"


def _times(run: RunRecord) -> np.ndarray:
    return np.array([np.datetime64(e.timestamp, "s") for e in run.epochs])


def colours(run: RunRecord) -> dict[str, str]:
    """One colour an underlying, in every figure the same."""
    return {name: SERIES[i % len(SERIES)] for i, name in enumerate(run.underlyings)}


def prices(run: RunRecord) -> str:
    """Index with the band of prices that the scan range spans; below, the moves that came against the scan range."""
    times, names, tone = _times(run), run.underlyings, colours(run)
    drawn = figure(4.6)
    grid = drawn.subplots(2, len(names), sharex=True, squeeze=False, gridspec_kw={"height_ratios": [2.1, 1]})
    for column, name in enumerate(names):
        index = np.array([e.index[name] for e in run.epochs]) * USD
        scan = np.array([e.scan_range[name] for e in run.epochs]) * PPM
        top, bottom = grid[0][column], grid[1][column]
        band = scan / 100
        top.fill_between(times, index * (1 - band), index * (1 + band), color=tone[name], alpha=0.16, lw=0, step="post")
        top.plot(times, index, color=tone[name])
        top.set_title(f"{name} index and scan range")
        top.set_ylabel("USD per unit")
        top.yaxis.set_major_formatter(FuncFormatter(grouped))
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
        date_axis(bottom, times)
    return svg(drawn)


def equity(run: RunRecord) -> str:
    """Equity of the chosen accounts against what their margin asks."""
    times = _times(run)
    count = len(run.watched)
    columns = min(3, max(count, 1))
    rows = -(-count // columns)
    drawn = figure(2.35 * rows + 0.3)
    grid = drawn.subplots(rows, columns, sharex=True, squeeze=False)
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
        axes.yaxis.set_major_formatter(FuncFormatter(compact))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        date_axis(axes, times)
    for row in grid:
        row[0].set_ylabel("USD")
    lines = matplotlib.lines
    drawn.legend(
        handles=[
            lines.Line2D([], [], color=EQUITY, lw=1.7, label="equity (PV)"),
            lines.Line2D([], [], color=INITIAL, lw=1.1, ls=(0, (4, 2)), label="initial margin"),
            lines.Line2D([], [], color=MAINTENANCE, lw=1.1, label="maintenance margin"),
            lines.Line2D([], [], ls="", marker="v", mfc="white", mec=MAINTENANCE, label="legs liquidated"),
        ],
        loc="outside upper left",
        ncols=4,
    )
    return svg(drawn)


def states(run: RunRecord) -> str:
    """State of every account at every epoch, worst accounts on top, and how many were in each."""
    times = _times(run)
    matrix = np.array([[STATES.index(s) for s in e.states] for e in run.epochs], dtype=np.uint8).T
    trouble = (matrix >= 2).sum(axis=1)
    order = np.lexsort((np.array(run.accounts), -trouble, -matrix.max(axis=1, initial=0)))
    drawn = figure(5.6)
    top, bottom = drawn.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.4, 1]})
    bounds = edges(times)
    ends = mdates.date2num(bounds[[0, -1]])
    top.imshow(
        matrix[order], aspect="auto", interpolation="nearest", extent=(ends[0], ends[1], len(matrix), 0),
        cmap=ListedColormap(STATE_COLOURS), norm=BoundaryNorm(np.arange(6) - 0.5, 5),
    )  # fmt: skip
    top.grid(False)
    top.set_ylabel("accounts, worst first")
    top.set_title("state of every account when the epoch was posted")
    top.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    shares = np.array([(matrix == k).sum(axis=0) for k in (4, 3, 2, 1, 0)])
    bottom.stackplot(bounds, np.hstack((shares, shares[:, -1:])), colors=STATE_COLOURS[::-1], lw=0, step="post")
    bottom.set_ylabel("accounts")
    bottom.set_title("accounts in each state")
    bottom.set_ylim(0, max(len(run.accounts), 1))
    bottom.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    date_axis(bottom, bounds)
    present = [k for k in range(5) if (matrix == k).any()]
    drawn.legend(
        handles=[Patch(fc=STATE_COLOURS[k], ec="#9aa4b0", lw=0.4, label=STATE_LABELS[k]) for k in present],
        loc="outside upper left",
        ncols=5,
    )
    return svg(drawn)


def _stacked(axes: Axes, times: np.ndarray, parts: Mapping[str, Sequence[float]], tone: Mapping[str, str]) -> None:
    width = np.diff(edges(times)).min()
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
    drawn = figure(2.9)
    left, right = drawn.subplots(1, 2)
    _stacked(left, times, {k: list(v) for k, v in taken.items()}, tone)
    left.set_title("notional of legs taken, by epoch")
    left.set_ylabel("USD")
    left.yaxis.set_major_formatter(FuncFormatter(compact))
    left.legend(loc="upper left", ncols=2)
    right.step(times, np.cumsum(penalty), where="post", color=MAINTENANCE, label="penalties paid by accounts")
    right.step(times, np.cumsum(reward), where="post", color=SERIES[0], ls=(0, (4, 2)), label="of it, to liquidators")
    right.set_title("penalties, running sum")
    right.set_ylabel("USD")
    right.yaxis.set_major_formatter(FuncFormatter(compact))
    right.legend(loc="upper left")
    for axes in (left, right):
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.0) * 1.12)
        date_axis(axes, times)
    return svg(drawn)


def insurance(run: RunRecord) -> str:
    """Cash of the insurance account, and the sum of what bankrupt accounts owe."""
    times = _times(run)
    drawn = figure(2.7)
    left, right = drawn.subplots(1, 2)
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
        axes.yaxis.set_major_formatter(FuncFormatter(compact))
        date_axis(axes, times)
    return svg(drawn)
