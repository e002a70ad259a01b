"""An incident in one picture: its run with all guards on the left, without the guard that it is about on the right.

The upper row is the price with who was liquidated at it. Where the first check is about money, the lower row is that
money: debts against the insurance fund, what bidders paid, or what those who left were paid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from offchain.drawing import BAD, INK, MUTED, SERIES, STATE_COLOURS, USD, clock_axis, compact, figure, small_png, style
from offchain.simulation.measures import DEBT
from offchain.simulation.plots import STATUS_COLOURS, dollars, shade, spans_of
from offchain.simulation.records import RunResult

INCHES = 9.0
WIDE = 4.0
"""Prices further apart than this, highest by lowest, are drawn on a logarithmic axis."""
STALE = "STALE"
NEAR = 0.03
"""Dots within this share of the time axis stand as one, with their number."""


def _dot(marker: str, colour: str, label: str, size: float = 6.0) -> Line2D:
    return Line2D([], [], ls="", marker=marker, color=colour, ms=size, mec="white", mew=0.4, label=label)


KEYS: Mapping[str, Line2D | Patch] = {
    "market": Line2D([], [], color=SERIES[0], lw=1.6, label="market"),
    "index": Line2D([], [], color=INK, lw=1.0, label="oracle's index"),
    "feed": Line2D([], [], color=SERIES[2], lw=1.1, ls=(0, (1, 1.4)), label="independent feed"),
    "taken": _dot("o", SERIES[3], "liquidation"),
    "wrong": _dot("X", BAD, "wrong liquidation", 7.0),
    "attack": _dot("^", SERIES[1], "attacker's trade", 7.0),
    "cure": _dot("P", SERIES[2], "owner pays in", 6.5),
    "fault": Patch(color=MUTED, label="fault"),
    **{word: Patch(color=colour, alpha=0.2, label=word.lower()) for word, colour in STATUS_COLOURS.items()},
    "fund": Line2D([], [], color=SERIES[2], lw=1.4, label="insurance fund"),
    "debts": Patch(color=STATE_COLOURS[4], alpha=0.75, label="debts that accounts leave"),
    "profit": Patch(color=SERIES[1], label="attacker's profit"),
    "bid": _dot("D", SERIES[0], "paid by a bidder"),
    "nothing": _dot("D", BAD, "a tenth of its worth or less"),
    "paid": _dot("o", SERIES[0], "paid to one who leaves"),
    "due": Line2D([], [], color=INK, lw=1.0, ls=(0, (4, 2)), label="same share for all"),
}
"""What the legend says, by what is drawn."""


def _end(run: RunResult) -> int:
    return int(run.tables["steps"]["time"][-1])


def _focus(run: RunResult) -> int:
    """The underlying whose price or mark goes furthest."""
    table = run.tables["prices"]

    def reach(number: int) -> float:
        row = table["underlying"] == number
        values = np.concatenate((table["market"][row], table["index"][row][table["index"][row] > 0]))
        return float(values.max() / max(values.min(), 1))

    return int(max(np.unique(table["underlying"]).tolist(), key=reach))


def _marks(axes: Axes, times: npt.NDArray[np.int64], at: npt.NDArray[np.float64], key: str, seen: set[str]) -> None:
    """Dots as the legend has them, where there are any."""
    if len(times):
        like = KEYS[key]
        assert isinstance(like, Line2D)
        axes.plot(
            times, at, ls="", marker=like.get_marker(), ms=like.get_markersize(), color=like.get_color(), mec="white",
            mew=0.5, zorder=4, clip_on=False,
        )  # fmt: skip
        seen.add(key)
        width = NEAR * (axes.get_xlim()[1] - axes.get_xlim()[0])
        begins = np.flatnonzero(np.diff(times, prepend=times[0] - 2 * width - 1) > width)
        for first, last in zip(begins, np.append(begins[1:], len(times)), strict=True):
            if last - first > 1:
                axes.annotate(
                    f"\u00d7{last - first}", (times[last - 1], at[last - 1]), xytext=(0, 7), ha="center",
                    textcoords="offset points", fontsize=7.5, color=like.get_color(), zorder=5, annotation_clip=False,
                    path_effects=[withStroke(linewidth=2, foreground="white")],
                )  # fmt: skip


def _price(axes: Axes, run: RunResult, seen: set[str]) -> None:
    """Market, index and feed, shaded while the index does not count, and what was done at it."""
    number, table = _focus(run), run.tables["prices"]
    row = table["underlying"] == number
    times, end = table["time"][row], _end(run)
    market, index, feed = (table[name][row] * USD for name in ("market", "index", "feed"))
    steps = run.tables["steps"]
    stale = np.where(steps["state"] == "LIVE", "", STALE)
    seen |= set(shade(axes, spans_of(times, table["status"][row], end)))
    seen |= set(shade(axes, spans_of(steps["time"], stale, end)))
    clock_axis(axes, 0, end, 6)
    for fault in run.scenario.faults:
        if fault.start < end:
            axes.axvspan(fault.start, min(fault.end, end), ymax=0.025, color=MUTED, lw=0, zorder=3)
            seen.add("fault")
    axes.plot(times, market, color=SERIES[0], lw=1.6)
    axes.step(times, np.where(index > 0, index, np.nan), where="post", color=INK, lw=1.0)
    seen |= {"market", "index"}
    if (feed > 0).any():
        axes.step(times, np.where(feed > 0, feed, np.nan), where="post", color=SERIES[2], lw=1.1, ls=(0, (1, 1.4)))
        seen.add("feed")

    def at(moments: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(index[np.clip(np.searchsorted(times, moments, side="right") - 1, 0, len(index) - 1)])

    taken = run.tables["liquidations"]
    moments, real = np.minimum(taken["time"], end), taken["kind"] != DEBT
    for key, which in (("taken", real & (taken["breach_time"] >= 0)), ("wrong", real & (taken["breach_time"] < 0))):
        _marks(axes, moments[which], at(moments[which]), key, seen)
    sent, happened = run.tables["transactions"], run.tables["events"]
    attacks = np.array([str(s).startswith("attacker") for s in sent["sender"]], dtype=np.bool_)
    attacks &= (sent["action"] == "open") & (sent["ok"] == 1)
    _marks(axes, sent["time"][attacks], at(sent["time"][attacks]), "attack", seen)
    cures = happened["time"][happened["kind"] == "cure"]
    _marks(axes, cures, at(cures), "cure", seen)
    axes.margins(y=0.12)
    axes.set_ylabel(f"{run.scenario.names[number]}, USD a unit")


def _scale(row: npt.NDArray[np.object_]) -> None:
    """A logarithmic axis for all panels of a row whose prices are far apart."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for axes in row for line in axes.get_lines()])
    values = values[values > 0]
    for axes in row:
        if values.max() > WIDE * values.min():
            axes.set_yscale("log")
            wide = values.max() > 100 * values.min()
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=6))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(compact))


def _debts(axes: Axes, run: RunResult, seen: set[str]) -> None:
    """What owners' accounts are under water by at the true prices, with what was paid off or is recorded, over time."""
    states, steps, taken = run.tables["states"], run.tables["steps"], run.tables["liquidations"]
    times = steps["time"]
    place = np.searchsorted(times, states["time"])
    debts = np.bincount(place, weights=-np.minimum(states["equity"], 0) * USD, minlength=len(times))
    paid = [taken["covered"][taken["time"] <= time].sum() * USD for time in times.tolist()]
    axes.fill_between(times, debts + np.array(paid), 0, step="post", color=STATE_COLOURS[4], alpha=0.75, lw=0)
    first = float(steps["insurance"][0]) * USD
    axes.axhline(first, color=SERIES[2], lw=1.4)
    seen |= {"debts", "fund"}
    dollars(axes)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.margins(x=0)


def _sums(axes: Axes, run: RunResult, seen: set[str]) -> None:
    """What stays at the end: the fund of the beginning, debts, and what attackers won."""
    bars = [("fund", float(run.tables["steps"]["insurance"][0]) * USD), ("debts", float(run.summary["bad_debt"]))]
    if run.scenario.attackers:
        bars.append(("profit", float(run.summary["attack_profit"])))
    for place, (key, value) in enumerate(bars):
        like = KEYS[key]
        colour = like.get_color() if isinstance(like, Line2D) else like.get_facecolor()
        axes.barh(place, value, 0.62, color=colour)
        axes.annotate(
            f"{value:,.0f}", (max(value, 0), place), xytext=(4, 0), va="center", textcoords="offset points", fontsize=8
        )
        seen.add(key)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.2)
    axes.xaxis.set_major_formatter(FuncFormatter(compact))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("USD at the end", fontsize=8, color=MUTED)


def _bids(axes: Axes, run: RunResult, seen: set[str]) -> None:
    """What was paid for accounts at auction, in percent of what they were worth."""
    taken = run.tables["liquidations"]
    sold = (taken["kind"] == "takeover") & (taken["worth"] > 0)
    share = 100.0 * (1.0 - taken["penalty"][sold] / taken["worth"][sold])
    low = share <= 10
    clock_axis(axes, 0, _end(run), 6)
    _marks(axes, taken["time"][sold][~low], share[~low], "bid", seen)
    _marks(axes, taken["time"][sold][low], share[low], "nothing", seen)
    if not sold.any():
        axes.text(0.5, 0.5, "no account was sold", ha="center", va="center", color=MUTED, transform=axes.transAxes)
    axes.axhline(10, color=MUTED, lw=0.8, ls=(0, (4, 2)))
    axes.set_ylim(-8, 108)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_ylabel("price, % of worth")


def _withdrawals(axes: Axes, run: RunResult, seen: set[str]) -> None:
    """What those who left were paid, in percent of what they asked for, in their order."""
    table = run.tables["withdrawals"]
    asked = table["asked"] > 0
    paid, due = (100.0 * table[name][asked] / table["asked"][asked] for name in ("paid", "due"))
    order = np.arange(1, int(asked.sum()) + 1)
    axes.plot(order, paid, ls="", marker="o", ms=6.0, color=SERIES[0], mec="white", mew=0.5, zorder=4)
    seen.add("paid")
    axes.plot(order, due, color=INK, lw=1.0, ls=(0, (4, 2)))
    seen.add("due")
    axes.set_ylabel("paid, % of asked")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(y=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("owners who leave, first to last", fontsize=8, color=MUTED)


MONEY: Mapping[str, Callable[[Axes, RunResult, set[str]], None]] = {
    "bad_debt": _debts, "insolvency": _sums, "insolvency_most": _debts, "zero_price_takeovers": _bids,
    "unfairness": _withdrawals,
}  # fmt: skip
"""The lower row, by the measure of a scenario's first check."""


def _said(run: RunResult) -> str:
    """What became of the checks."""
    failed = sum(not verdict.passed for verdict in run.verdicts)
    return f"{failed} of {len(run.verdicts)} checks failed" if failed else "every check holds"


def draw(guarded: RunResult, bare: RunResult) -> Figure:
    """Both runs side by side, on the same axes."""
    lower = MONEY.get(guarded.scenario.checks[0].measure)
    drawn = figure(4.3 if lower else 2.9)
    drawn.set_size_inches(INCHES, drawn.get_size_inches()[1])
    rows = 2 if lower else 1
    grid = drawn.subplots(rows, 2, squeeze=False, height_ratios=[1.5, 1.0][:rows])
    seen: set[str] = set()
    for column, (run, title) in enumerate(((guarded, "with all guards"), (bare, f"without {', '.join(bare.without)}"))):
        _price(grid[0][column], run, seen)
        grid[0][column].set_title(title)
        grid[0][column].set_title(
            _said(run), loc="right", fontsize=8, color=BAD if column else MUTED, fontweight="normal"
        )
        if lower:
            lower(grid[1][column], run, seen)
        if lower in (_debts, _bids):
            clock_axis(grid[1][column], 0, _end(run), 6)
            grid[0][column].set_xlabel("")
    _scale(grid[0])
    for row in grid:
        for name in ("x", "y"):
            limits = [getattr(axes, f"get_{name}lim")() for axes in row]
            low, high = min(min(pair) for pair in limits), max(max(pair) for pair in limits)
            for axes, (first, last) in zip(row, limits, strict=True):
                getattr(axes, f"set_{name}lim")(*((low, high) if last >= first else (high, low)))
        row[1].set_ylabel("")
        row[1].tick_params(labelleft=False)
    handles = [handle for key, handle in KEYS.items() if key in seen]
    drawn.legend(
        handles=handles, loc="outside upper left", ncols=len(handles) if len(handles) < 8 else -(-len(handles) // 2)
    )
    return drawn


def write(guarded: RunResult, bare: RunResult, folder: Path) -> Path:
    """Write the picture as `NAME.png`, in few colours; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{guarded.scenario.name}.png"
    with style():
        path.write_bytes(small_png(draw(guarded, bare)))
    return path
