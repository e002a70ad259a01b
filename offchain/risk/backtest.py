"""Margin models and variance forecasts over real days: tables, pictures, and the page docs/backtest.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offchain.risk.dynamic import (
    BUFFERED,
    DEFAULT,
    FILTERED,
    HISTORICAL,
    STRESSED,
    WARMUP,
    MarginModel,
    Procyclicality,
    Side,
    fraction,
    losses,
    procyclicality,
)
from offchain.risk.forecast import Boosted, Days, Ewma, Forecaster, GarchDaily, HarRv
from offchain.risk.models.explain import Table
from offchain.risk.scoring import diebold_mariano, qlike
from offchain.risk.validation import Coverage, acerbi_szekely, holm, judge

Array = npt.NDArray[np.float64]

NORMAL = tuple(
    MarginModel(f"EWMA {decay:g}, normal", Ewma(decay, True), 1, 0.0, normal=True) for decay in (0.94, 0.97, 0.99)
)
MODELS: tuple[MarginModel, ...] = (
    HISTORICAL,
    *NORMAL,
    FILTERED,
    BUFFERED,
    STRESSED,
    replace(DEFAULT, name="EWMA .97, half long-run", forecaster=Ewma()),
    replace(DEFAULT, name="GARCH, half long-run", forecaster=GarchDaily()),
    replace(DEFAULT, name="HAR-RV, half long-run, posted", band=0.05, down=0.02),
    DEFAULT,
)
LEARNED = replace(DEFAULT, name="boosted, half long-run", forecaster=Boosted())
FORECASTS: tuple[Forecaster, ...] = (
    Ewma(0.94),
    Ewma(0.97),
    Ewma(0.94, True),
    GarchDaily(),
    HarRv(weekday=False),
    HarRv(),
)
SHARE_ES = 0.025


@dataclass(frozen=True, eq=False)
class Row:
    """One margin model on one side of one underlying.

    Attributes
    ----------
    model, underlying, side : which. coverage : its tests. moves : how procyclical it is. margins, losses : (days,), as
    fractions of the position.
    """

    model: str
    underlying: str
    side: Side
    coverage: Coverage
    moves: Procyclicality
    margins: Array
    losses: Array

    def as_json(self) -> dict[str, Any]:
        """Figures without the series."""
        c = self.coverage
        return {
            "model": self.model,
            "underlying": self.underlying,
            "side": str(self.side),
            "days": c.days,
            "breaches": c.breaches,
            "expected": c.expected,
            "pof_p": c.pof.p_value,
            "independence_p": c.independence.p_value,
            "cc_p": c.cc.p_value,
            "dq_p": c.dq.p_value,
            "zone": c.light.zone,
            "passes": c.passes(),
            "mean_margin": self.moves.mean,
            "peak_to_trough": self.moves.peak_to_trough,
            **{f"rise_{n}d": rise for n, rise in self.moves.rises.items()},
        }


def backtest(days: Mapping[str, Days], models: Sequence[MarginModel] = MODELS, first: int = WARMUP) -> list[Row]:
    """Every model on both sides of every underlying; a margin for day t uses days before t only.

    Raises
    ------
    ValueError
        Too few days for a model or a test; the message names the underlying.
    """
    out = []
    for name, each in days.items():
        for model in models:
            for side in Side:
                try:
                    margin = fraction(model.margins(each, side, first)[:-1], side)
                    loss = fraction(losses(each, side)[first:], side)
                    coverage, moves = judge(loss, margin, 1.0 - model.confidence), procyclicality(margin)
                except ValueError as problem:
                    raise ValueError(f"{name}, {model.name}: {problem}") from None
                out.append(Row(model.name, name, side, coverage, moves, margin, loss))
    return out


@dataclass(frozen=True)
class Verdict:
    """All underlyings and sides of a model together.

    Attributes
    ----------
    model : its name. passes : whether POF, conditional coverage and DQ each pass at 5 % on every series. family :
    whether the model survives Holm's correction over all those tests. least : the least of their p-values. mean, peak
    : means of mean margin and peak-to-trough over the series. lower_mean, lower_peak : on how many series it is below
    the reference.
    series : how many there are.
    """

    model: str
    passes: bool
    family: bool
    least: float
    mean: float
    peak: float
    lower_mean: int
    lower_peak: int
    series: int


def verdicts(rows: Sequence[Row], reference: str = STRESSED.name) -> list[Verdict]:
    """One line a model; those compared with `reference` are on the same series."""
    base = {(r.underlying, r.side): r.moves for r in rows if r.model == reference}
    out = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        p = np.array([test.p_value for row in own for test in row.coverage.tests])
        against = [(row.moves, base[row.underlying, row.side]) for row in own if (row.underlying, row.side) in base]
        out.append(
            Verdict(
                model,
                all(row.coverage.passes() for row in own),
                bool((holm(p) >= 0.05).all()),
                float(p.min()),
                float(np.mean([row.moves.mean for row in own])),
                float(np.mean([row.moves.peak_to_trough for row in own])),
                sum(a.mean < b.mean for a, b in against),
                sum(a.peak_to_trough < b.peak_to_trough for a, b in against),
                len(own),
            )
        )
    return out


@dataclass(frozen=True)
class ForecastRow:
    """One forecaster on one underlying: mean QLIKE, and its comparison with HAR-RV (negative: better than HAR-RV)."""

    forecaster: str
    underlying: str
    days: int
    qlike: float
    against_har: float
    statistic: float
    p_value: float


def forecast_rows(
    days: Mapping[str, Days], forecasters: Sequence[Forecaster] = FORECASTS, first: int = WARMUP
) -> list[ForecastRow]:
    """QLIKE of one-day forecasts against the measured variance, from day `first` on."""
    out = []
    for name, each in days.items():
        if len(each) < first + 30:
            raise ValueError(f"{name}: {len(each)} days are too few to compare forecasts: at least {first + 30}")
        seen = each.measure[first:]
        base = qlike(seen, HarRv().forecast(each)[first:-1])
        for one in forecasters:
            loss = qlike(seen, one.forecast(each)[first:-1])
            if one == HarRv():
                out.append(ForecastRow(one.name, name, len(seen), float(loss.mean()), 0.0, 0.0, 1.0))
                continue
            c = diebold_mariano(loss, base)
            out.append(ForecastRow(one.name, name, len(seen), float(loss.mean()), c.mean, c.statistic, c.p_value))
    return out


@dataclass(frozen=True)
class ShortfallRow:
    """VaR and ES at 97.5 % of the default filter, tested by Acerbi and Szekely."""

    underlying: str
    side: Side
    z1: float
    z2: float


def shortfall_rows(days: Mapping[str, Days], model: MarginModel = DEFAULT, first: int = WARMUP) -> list[ShortfallRow]:
    """Z1 and Z2 of the model's expected shortfall at 97.5 %: the mean of the filtered losses beyond the VaR."""
    out = []
    for name, each in days.items():
        for side in Side:
            loss, scale = losses(each, side), model.volatility(each)
            z = loss / scale[:-1]
            ranked = [np.sort(z[:t])[::-1] for t in range(first, len(z))]
            count = [math.floor(len(r) * SHARE_ES) for r in ranked]
            var = np.array([r[k] for r, k in zip(ranked, count, strict=True)]) * scale[first:-1]
            tail = np.array([r[: k + 1].mean() for r, k in zip(ranked, count, strict=True)]) * scale[first:-1]
            out.append(ShortfallRow(name, side, *acerbi_szekely(loss[first:], var, tail, SHARE_ES)))
    return out


# Tables and pictures


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def margin_table(rows: Sequence[Row]) -> Table:
    """All rows."""
    head = ("model", "on", "breaches", "expected", "POF p", "CC p", "DQ p", "passes", "mean margin", "peak/trough")
    body = [
        (
            r.model, f"{r.underlying} {r.side}", str(r.coverage.breaches), f"{r.coverage.expected:.0f}",
            *(f"{t.p_value:.3f}" for t in r.coverage.tests), "yes" if r.coverage.passes() else "no",
            _percent(r.moves.mean), f"{r.moves.peak_to_trough:.1f}", *(_percent(v) for v in r.moves.rises.values()),
        )
        for r in rows
    ]  # fmt: skip
    return Table((*head, *(f"{n}-day rise" for n in rows[0].moves.rises)), tuple(body))


def verdict_table(found: Sequence[Verdict]) -> Table:
    """One line a model."""
    head = (
        "model",
        "passes all",
        "with Holm",
        "least p",
        "mean margin",
        "peak/trough",
        "lower mean",
        "lower peak/trough",
    )
    body = [
        (
            v.model, "yes" if v.passes else "no", "yes" if v.family else "no", f"{v.least:.3f}", _percent(v.mean),
            f"{v.peak:.1f}", f"{v.lower_mean} of {v.series}", f"{v.lower_peak} of {v.series}",
        )
        for v in found
    ]  # fmt: skip
    return Table(head, tuple(body))


def forecast_table(rows: Sequence[ForecastRow]) -> Table:
    """Forecasters."""
    body = [
        (r.underlying, r.forecaster, str(r.days), f"{r.qlike:.3f}", f"{r.against_har:+.3f}", f"{r.statistic:.1f}",
         f"{r.p_value:.3f}")
        for r in rows
    ]  # fmt: skip
    return Table(("on", "forecaster", "days", "QLIKE", "less HAR-RV", "DM", "p"), tuple(body))


def shortfall_table(rows: Sequence[ShortfallRow]) -> Table:
    """Expected shortfall."""
    return Table(("on", "Z1", "Z2"), tuple((f"{r.underlying} {r.side}", f"{r.z1:.3f}", f"{r.z2:.3f}") for r in rows))


def markdown(table: Table) -> str:
    """A table as Markdown."""
    lines = [table.head, tuple("---" for _ in table.head), *(tuple(table.cell(c) for c in row) for row in table.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


INK, BLUE, ORANGE, MUTED = "#1b2430", "#0072B2", "#c8470a", "#9aa4b0"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)


def series_figure(rows: Sequence[Row], day: npt.NDArray[np.int64], names: tuple[str, str]) -> Figure:
    """Margins of two models over the losses of one side, and the breaches of the second."""
    two = [next(row for row in rows if row.model == name) for name in names]
    when = day[-len(two[0].losses) :].astype("datetime64[D]")
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    axes.vlines(when, 0.0, 100 * np.maximum(two[1].losses, 0.0), color=MUTED, linewidth=0.6, label="loss")
    for row, color in zip(two, (ORANGE, BLUE), strict=True):
        axes.plot(when, 100 * row.margins, color=color, linewidth=1.2, label=row.model)
    hit = two[1].losses > two[1].margins
    axes.plot(when[hit], 100 * two[1].losses[hit], "x", color=INK, markersize=5, label=f"breach of {names[1]}")
    axes.set_ylabel("% of the position", fontsize=8)
    axes.set_title(f"{two[1].underlying}, {two[1].side}: 1-day 99 % margin", fontsize=10, loc="left", color=INK)
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="upper right")
    return figure


def trade_off_figure(found: Sequence[Verdict]) -> Figure:
    """Mean margin against peak-to-trough, models that fail a test hollow."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    for v in found:
        color = BLUE if v.passes else ORANGE
        axes.plot(100 * v.mean, v.peak, "o", color=color, fillstyle="full" if v.passes else "none")
        crowded = any(0.0 < o.mean - v.mean < 0.006 and abs(o.peak - v.peak) < 0.25 for o in found)
        spot, side = ((-6, 3), "right") if crowded else ((6, 3), "left")
        axes.annotate(v.model, (100 * v.mean, v.peak), spot, textcoords="offset points", fontsize=7, ha=side)
    axes.set_xlabel("mean margin, % of the position, mean of all series", fontsize=8)
    axes.set_ylabel("peak-to-trough", fontsize=8)
    axes.margins(x=0.15)
    axes.set_title("Lower and further left is better; hollow: a test rejects", fontsize=10, loc="left", color=INK)
    return figure


def forecast_figure(rows: Sequence[ForecastRow]) -> Figure:
    """QLIKE of the forecasters."""
    names = list(dict.fromkeys(r.underlying for r in rows))
    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(names), sharey=True))
    for axes, name in zip(panels, names, strict=True):
        _plain(axes)
        own = [r for r in rows if r.underlying == name][::-1]
        colors = [BLUE if r.forecaster == HarRv().name else MUTED for r in own]
        axes.barh([r.forecaster for r in own], [r.qlike for r in own], color=colors, height=0.65)
        axes.set_title(f"{name}: QLIKE out of sample, less is better", fontsize=9, loc="left", color=INK)
    return figure


def write_png(figure: Figure, path: Path) -> None:
    """Write a picture, the same bytes for the same numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
