"""The plots of one run: each takes a `RunResult` and gives a figure, which a report turns into SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from offchain.drawing import (
    BAD,
    INK,
    MUTED,
    SERIES,
    STATE_COLOURS,
    STATE_LABELS,
    USD,
    clock_axis,
    compact,
    edges,
    figure,
)
from offchain.simulation.measures import DEBT
from offchain.simulation.records import RunResult, Table

KINDS = ("leg", "tokens", "takeover", "fallback", "debt")
KIND_LABELS = {
    "leg": "legs at the mark", "tokens": "tokens for dollars owed", "takeover": "takeover",
    "fallback": "legs by fallback", "debt": "debt paid off",
}  # fmt: skip
KIND_COLOURS = dict(zip(KINDS, (BAD, SERIES[2], STATE_COLOURS[4], SERIES[1], SERIES[3]), strict=True))
STATUS_COLOURS = {"PROVISIONAL": STATE_COLOURS[2], "DISPUTED": BAD, "STALE": SERIES[3], "HALTED": STATE_COLOURS[4]}
MOST_ROWS = 600
"""A heat map shows at most this many rows; more accounts share rows, and the worst of a row shows."""
MOST_UNDERLYINGS = 6
LEAST_SPAN = 0.02
"""Least height of a price axis, of the price: noise is not drawn as if it were news."""


def _end(run: RunResult) -> int:
    """Seconds at which the run ends."""
    times = run.tables["steps"]["time"]
    return int(max(run.scenario.duration, times[-1] if len(times) else 0))


def _clock(axes: Axes, run: RunResult, ticks: int = 8) -> None:
    clock_axis(axes, 0, _end(run), ticks)


def spans_of(times: npt.NDArray[np.int64], words: Iterable[Any], end: int) -> list[tuple[int, int, str]]:
    """Stretches of one word: (from, until, word)."""
    out: list[tuple[int, int, str]] = []
    for time, word in zip(times.tolist(), words, strict=True):
        if out and out[-1][2] == word:
            continue
        if out:
            out[-1] = (out[-1][0], time, out[-1][2])
        out.append((time, end, str(word)))
    return out


def shade(axes: Axes, spans: Iterable[tuple[int, int, str]]) -> list[str]:
    """Shade what is not live; returns the words shaded."""
    seen: list[str] = []
    for start, stop, word in spans:
        if word in STATUS_COLOURS and stop > start:
            axes.axvspan(start, stop, color=STATUS_COLOURS[word], alpha=0.16, lw=0, zorder=0)
            if word not in seen:
                seen.append(word)
    return seen


def dollars(axes: Axes) -> None:
    axes.set_ylabel("USD")
    axes.yaxis.set_major_formatter(FuncFormatter(compact))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def prices(run: RunResult) -> Figure:
    """The true price with and without what liquidations did to it, the oracle's mark, and the independent feed."""
    table = run.tables["prices"]
    shown = np.unique(table["underlying"])[:MOST_UNDERLYINGS].tolist()
    columns = 1 if len(shown) == 1 else 2
    rows = -(-len(shown) // columns)
    drawn = figure((3.6 if rows == 1 else 2.7 * rows) + 0.35)
    grid = drawn.subplots(rows, columns, sharex=True, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    seen: set[str] = set()
    cascade = False
    for axes, underlying in zip(grid.flat, shown, strict=False):
        row = table["underlying"] == underlying
        times = table["time"][row]
        market, without, index, feed = (
            table[name][row] * USD for name in ("market", "without_cascade", "index", "feed")
        )
        seen |= set(shade(axes, spans_of(times, table["status"][row], _end(run))))
        if (market != without).any():
            cascade = True
            axes.fill_between(times, market, without, color=BAD, alpha=0.25, lw=0)
            axes.plot(times, without, color=SERIES[0], lw=1.2, ls=(0, (4, 2)))
        axes.plot(times, market, color=SERIES[0], lw=1.7)
        axes.step(times, np.where(index > 0, index, np.nan), where="post", color=INK, lw=1.0)
        axes.step(times, np.where(feed > 0, feed, np.nan), where="post", color=SERIES[2], lw=1.0, ls=(0, (1, 1.4)))
        axes.set_title(run.scenario.names.get(underlying, f"underlying {underlying}"))
        dollars(axes)
        axes.set_ylabel("USD a unit")
        low, high = axes.get_ylim()
        if high - low < LEAST_SPAN * high:
            middle = (low + high) / 2
            axes.set_ylim(middle * (1 - LEAST_SPAN / 2), middle * (1 + LEAST_SPAN / 2))
        _clock(axes, run, 8 if columns == 1 else 6)
    handles: list[Any] = [Line2D([], [], color=SERIES[0], lw=1.7, label="market")]
    if cascade:
        handles += [
            Line2D([], [], color=SERIES[0], lw=1.2, ls=(0, (4, 2)), label="market, had nobody been liquidated"),
            Patch(color=BAD, alpha=0.25, label="what liquidations did"),
        ]
    handles += [
        Line2D([], [], color=INK, lw=1.0, label="oracle's index"),
        Line2D([], [], color=SERIES[2], lw=1.0, ls=(0, (1, 1.4)), label="independent feed"),
        *(Patch(color=STATUS_COLOURS[word], alpha=0.16, label=word.lower()) for word in sorted(seen)),
    ]
    drawn.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return drawn


def state_matrix(run: RunResult) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Times (n,), accounts (m,) and states (m, n), indices into `STATES`; 0 where an account has no row."""
    table = run.tables["states"]
    times, column = np.unique(table["time"], return_inverse=True)
    accounts, row = np.unique(table["account"], return_inverse=True)
    matrix = np.zeros((len(accounts), len(times)), dtype=np.uint8)
    matrix[row, column] = table["state"]
    return times, accounts, matrix


def states(run: RunResult) -> Figure:
    """State of every account over time, worst on top, and how many were in each."""
    times, accounts, matrix = state_matrix(run)
    trouble = (matrix >= 2).sum(axis=1)
    ordered = matrix[np.lexsort((accounts, -trouble, -matrix.max(axis=1, initial=0)))]
    group = -(-len(ordered) // MOST_ROWS)
    if group > 1:
        starts = np.arange(0, len(ordered), group)
        ordered = np.maximum.reduceat(ordered, starts, axis=0)
    drawn = figure(5.4)
    top, bottom = drawn.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.2, 1]})
    bounds = edges(times)
    top.pcolormesh(
        bounds, np.minimum(np.arange(len(ordered) + 1) * group, len(accounts)), ordered,
        cmap=ListedColormap(STATE_COLOURS), norm=BoundaryNorm(np.arange(6) - 0.5, 5), rasterized=True,
    )  # fmt: skip
    top.invert_yaxis()
    top.grid(False)
    top.set_ylabel("accounts, worst first")
    top.set_title("state of every account" + (f" (each row the worst of {group})" if group > 1 else ""))
    top.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    shares = np.array([(matrix == k).sum(axis=0) for k in (4, 3, 2, 1, 0)])
    bottom.stackplot(bounds, np.hstack((shares, shares[:, -1:])), colors=STATE_COLOURS[::-1], lw=0, step="post")
    bottom.set_ylabel("accounts")
    bottom.set_title("accounts in each state")
    bottom.set_ylim(0, max(len(accounts), 1))
    bottom.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _clock(bottom, run)
    bottom.set_xlim(int(bounds[0]), int(bounds[-1]))
    present = [k for k in range(5) if (matrix == k).any()]
    drawn.legend(
        handles=[Patch(fc=STATE_COLOURS[k], ec="#9aa4b0", lw=0.4, label=STATE_LABELS[k]) for k in present],
        loc="outside upper left", ncols=5,
    )  # fmt: skip
    return drawn


def liquidations(run: RunResult) -> Figure:
    """Every liquidation with its size, debts that were paid off with theirs, and the running sums."""
    table = run.tables["liquidations"]
    drawn = figure(3.3)
    left, right = drawn.subplots(1, 2)
    notional = np.where(table["kind"] == DEBT, table["covered"], table["notional"]) * USD
    largest = max(float(notional.max(initial=0)), 1.0)
    for kind in KINDS:
        row = table["kind"] == kind
        if not row.any():
            continue
        size = 8 + 240 * notional[row] / largest
        left.scatter(
            table["time"][row], np.maximum(notional[row], 1.0), s=size, color=KIND_COLOURS[kind], alpha=0.55, lw=0.4,
            edgecolor="white", label=f"{KIND_LABELS[kind]} ({int(row.sum())})",
        )  # fmt: skip
        order = np.argsort(table["time"][row], kind="stable")
        _running(right, run, table["time"][row][order], notional[row][order], KIND_COLOURS[kind], KIND_LABELS[kind])
    left.set_yscale("log")
    left.set_title("each liquidation: notional and time")
    left.set_ylabel("USD, logarithmic")
    left.yaxis.set_major_formatter(FuncFormatter(compact))
    low, high = left.get_ylim()
    kinds = len(set(table["kind"].tolist()))
    left.set_ylim(low, high * 6.0 ** -(-kinds // 2))  # room for the legend's rows
    if len(notional):
        for handle in left.legend(loc="upper left", ncols=2).legend_handles:
            handle.set_sizes([36])  # type: ignore[union-attr]
    order = np.argsort(table["time"], kind="stable")
    penalty = table["penalty"][order] * USD
    _running(right, run, table["time"][order], penalty, INK, "penalties", ls=(0, (4, 2)))
    right.set_title("running sums")
    dollars(right)
    right.set_ylim(0, max(right.get_ylim()[1] * 1.25, 1.0))
    right.legend(loc="upper left", ncols=2)
    for axes in (left, right):
        _clock(axes, run, 6)
    return drawn


def _running(
    axes: Axes, run: RunResult, times: npt.NDArray[np.int64], parts: npt.NDArray[np.float64], colour: str, label: str,
    **more: Any,
) -> None:  # fmt: skip
    at = np.concatenate([[0], times, [_end(run)]])
    sums = np.concatenate([[0.0], np.cumsum(parts), [parts.sum()]])
    axes.step(at, sums, where="post", color=colour, label=label, **more)


def fund(run: RunResult) -> Figure:
    """The insurance fund, and the shortfall beyond it."""
    table = run.tables["steps"]
    times = table["time"]
    drawn = figure(2.7)
    left, right = drawn.subplots(1, 2)
    cash, owed = table["insurance"] * USD, table["shortfall"] * USD
    left.step(times, cash, where="post", color=SERIES[2])
    left.set_title("cash of the insurance fund")
    slack = max(float(np.ptp(cash)) * 0.12, 1.0)
    left.set_ylim(float(cash.min()) - slack, float(cash.max()) + slack)
    right.step(times, owed, where="post", color=STATE_COLOURS[4])
    right.fill_between(times, owed, 0, step="post", color=STATE_COLOURS[4], alpha=0.12, lw=0)
    right.set_title("shortfall")
    for axes in (left, right):
        dollars(axes)
        _clock(axes, run, 6)
    right.set_ylim(0, max(float(owed.max(initial=0)) * 1.15, 1.0))
    return drawn


def oracle(run: RunResult) -> Figure:
    """Age of the latest epoch, states of the oracle and statuses of the underlyings."""
    steps, table = run.tables["steps"], run.tables["prices"]
    numbers = np.unique(table["underlying"])[:MOST_UNDERLYINGS].tolist()
    drawn = figure(3.0 + 0.22 * len(numbers))
    top, bottom = drawn.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [2.4, 0.5 + 0.35 * (len(numbers) + 1)]}
    )
    top.step(steps["time"], steps["oracle_age"], where="post", color=SERIES[0])
    limit = run.scenario.cadence.max_age
    top.axhline(limit, color=BAD, lw=1.0, ls=(0, (4, 2)))
    top.annotate(
        f"older than {limit:,} s is stale", (1, limit), xycoords=("axes fraction", "data"), ha="right", va="bottom",
        fontsize=8, color=BAD, xytext=(0, 2), textcoords="offset points",
    )  # fmt: skip
    top.set_title("age of the latest epoch")
    top.set_ylabel("seconds")
    top.set_ylim(0, max(float(steps["oracle_age"].max(initial=0)), limit) * 1.25)
    rows: list[tuple[str, list[tuple[int, int, str]]]] = [
        ("oracle", spans_of(steps["time"], steps["state"], _end(run)))
    ]
    for number in numbers:
        row = table["underlying"] == number
        spans = spans_of(table["time"][row], table["status"][row], _end(run))
        rows.append((run.scenario.names.get(number, str(number)), spans))
    seen: set[str] = set()
    for place, (_, spans) in enumerate(rows):
        for start, stop, word in spans:
            colour = STATUS_COLOURS.get(word, "#e4e9ee" if word == "" else STATE_COLOURS[1])
            bottom.broken_barh([(start, stop - start)], (place - 0.36, 0.72), color=colour, lw=0)
            seen.add(word)
    bottom.set_yticks(range(len(rows)), [name for name, _ in rows])
    bottom.set_ylim(len(rows) - 0.4, -0.6)
    bottom.grid(False)
    bottom.set_title("state of the oracle, status of each underlying")
    words = [w for w in ("LIVE", "PROVISIONAL", "STALE", "DISPUTED", "HALTED") if w in seen]
    drawn.legend(handles=[
        Patch(color=STATUS_COLOURS.get(word, STATE_COLOURS[1]), label=word.lower()) for word in words
    ], loc="outside upper right", ncols=5)  # fmt: skip
    _clock(bottom, run)
    return drawn


def gas(run: RunResult) -> Figure:
    """Price of block space, and the time from breach to liquidation."""
    steps, table = run.tables["steps"], run.tables["liquidations"]
    drawn = figure(2.9)
    left, right = drawn.subplots(1, 2)
    left.step(steps["time"], steps["gas_price"] / 1e9, where="post", color=SERIES[1], label="paid, tips included")
    left.step(steps["time"], steps["base_fee"] / 1e9, where="post", color=INK, lw=1.0, label="base fee")
    left.set_title("price of gas")
    left.set_ylabel("gwei")
    left.set_ylim(0, max(left.get_ylim()[1] * 1.2, 1.0))
    left.yaxis.set_major_formatter(FuncFormatter(compact))
    left.legend(loc="upper right", ncols=2)
    row = table["breach_time"] >= 0
    for kind in KINDS:
        mine = row & (table["kind"] == kind)
        if mine.any():
            right.scatter(
                table["time"][mine], table["latency_s"][mine], s=14, color=KIND_COLOURS[kind], alpha=0.7, lw=0,
                label=KIND_LABELS[kind],
            )  # fmt: skip
    right.set_title("from breach of maintenance margin to liquidation")
    right.set_ylabel("seconds")
    right.set_ylim(0, max(right.get_ylim()[1] * 1.2, 1.0))
    right.yaxis.set_major_formatter(FuncFormatter(compact))
    if row.any():
        right.legend(loc="upper left", ncols=2)
    for axes in (left, right):
        _clock(axes, run, 6)
    return drawn


def _change(table: Table, column: str) -> npt.NDArray[np.float64]:
    """Gain or loss of each account, USD."""
    return np.asarray((table[column] + table["withdrawn"] - table["deposited"]) * USD, dtype=np.float64)


def losses(run: RunResult) -> Figure:
    """What each role gained or lost, and what it would have without liquidations."""
    table = run.tables["accounts"]
    roles = sorted(set(table["owner"].tolist()))
    drawn = figure(1.1 + 0.42 * max(len(roles), 1))
    axes = drawn.subplots()
    change = _change(table, "final_equity")
    other = _change(table, "counterfactual_equity")
    for place, role in enumerate(roles):
        row = table["owner"] == role
        axes.barh(place - 0.18, change[row].sum(), 0.34, color=SERIES[0], lw=0)
        axes.barh(place + 0.18, other[row].sum(), 0.34, color=STATE_COLOURS[1], lw=0)
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.set_yticks(range(len(roles)), [f"{r} ({int((table['owner'] == r).sum())})" for r in roles])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(FuncFormatter(compact))
    axes.set_xlabel("USD gained or lost", fontsize=8, color=MUTED)
    drawn.legend(
        handles=[
            Patch(color=SERIES[0], label="as it went"),
            Patch(color=STATE_COLOURS[1], label="had nobody been liquidated"),
        ],
        loc="outside upper left",
        ncols=2,
    )
    return drawn


PLOTS: Mapping[str, tuple[str, str, Any, str]] = {
    "price": (
        "Price, with and without the cascade",
        "The dashed line is the same path without the impact of liquidations: the red area is what the cascade did. "
        "Shaded times: the index was provisional or disputed.",
        prices, "prices",
    ),
    "states": (
        "States of all accounts",
        "Judged at the market's true prices, one row an account. Dark columns that do not go away are debt.",
        states, "states",
    ),
    "liquidations": (
        "Liquidations",
        "Left, each one with its size; right, the running notional and what it cost the accounts.",
        liquidations, "liquidations",
    ),
    "fund": (
        "Insurance fund and shortfall",
        "The fund earns its share of penalties and pays where a taken account is worth less than nothing. What it "
        "cannot pay is shortfall, which all withdrawals share.",
        fund, "steps",
    ),
    "oracle": (
        "The oracle",
        "While it is stale nobody opens risk; where an underlying is provisional or disputed, its index liquidates "
        "nobody.",
        oracle, "steps",
    ),
    "gas": (
        "Block space and latency",
        "A keeper's transaction competes with everybody else's. Right: how long accounts stood below maintenance "
        "margin before legs were taken.",
        gas, "steps",
    ),
    "losses": (
        "Who gained and who lost",
        "Sums by role, deposits taken out. The light bar is the same market had nobody been liquidated.",
        losses, "accounts",
    ),
}  # fmt: skip
"""By name: heading, caption, function, and the table without which there is nothing to draw."""
