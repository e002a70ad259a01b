"""A requirement in words, tables and pictures: what the commands `margin` and `compare` print."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from offchain.risk import black76
from offchain.risk.book import Book
from offchain.risk.models.kernel import DAYS
from offchain.risk.models.result import Requirement

Array = npt.NDArray[np.float64]
INK, LOSS, GAIN, MUTED = "#1b2430", "#b0413e", "#2f6f8f", "#8a95a3"
GREEKS = ("delta", "gamma", "vega", "theta", "vanna", "volga", "charm")


def position_greeks(book: Book) -> dict[str, Array]:
    """Greeks of each leg's position, (legs,), undiscounted, by the leg's own forward.

    delta in units, gamma in units a USD; vega, theta in USD for 1 % of volatility and a day; vanna in units for 1 %,
    volga in USD for 1 % twice, charm in units a day.
    """
    legs = book.columns()
    option = legs.option
    strike = np.where(option, legs.strike, 1.0)
    full = black76.all_greeks(legs.forward, strike, legs.years, legs.volatility, legs.call)
    scale = {"vega": 0.01, "theta": 1 / DAYS, "vanna": 0.01, "volga": 1e-4, "charm": 1 / DAYS}
    out = {name: np.where(option, getattr(full, name), 0.0) * scale.get(name, 1.0) for name in GREEKS}
    out["delta"] = np.where(option, full.delta, 1.0)
    return {name: legs.quantity * value for name, value in out.items()}


def explained(found: Requirement) -> dict[str, Any]:
    """`Requirement.as_json` with the greeks of each leg and of each underlying."""
    out, greeks = found.as_json(), position_greeks(found.book)
    for at, leg in enumerate(out["legs"]):
        leg["greeks"] = {name: float(values[at]) for name, values in greeks.items()}
    out["greeks"] = {
        name: {greek: float(values[found.book.places(name)].sum()) for greek, values in greeks.items()}
        for name in found.book.held
    }
    return out


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; numbers are right-aligned and shown with `digits` decimals."""

    head: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    digits: int = 2

    def cell(self, value: str | float) -> str:
        """A cell for people."""
        if isinstance(value, str):
            return value
        if 1e-12 < abs(value) < 0.01:
            return f"{value:.3g}"
        return f"{value + 0.0:,.{self.digits}f}"

    def text(self) -> str:
        """In columns."""
        cells = [self.head, *([self.cell(v) for v in row] for row in self.rows)]
        right = [any(not isinstance(row[c], str) for row in self.rows) for c in range(len(self.head))]
        widths = [max(len(row[c]) for row in cells) for c in range(len(self.head))]
        lines = []
        for row in cells:
            pairs = zip(row, widths, right, strict=True)
            lines.append(
                "  ".join(cell.rjust(width) if side else cell.ljust(width) for cell, width, side in pairs).rstrip()
            )
        return "\n".join(lines)


def summary(found: Requirement) -> Table:
    """Equity and requirements."""
    return Table(
        ("USD", "amount", "excess"),
        (
            ("equity", found.equity, ""),
            ("initial", found.initial, found.initial_excess),
            ("maintenance", found.maintenance, found.maintenance_excess),
        ),
    )


def parts(found: Requirement) -> Table:
    """Lines that sum to the requirements, those of nothing left out."""
    rows = [(p.name, p.underlying, p.initial, p.maintenance) for p in found.parts if p.initial or p.maintenance]
    rows.append(("sum", "", found.initial, found.maintenance))
    return Table(("part", "of", "initial", "maintenance"), tuple(rows))


def legs(found: Requirement) -> Table:
    """Positions, what they contribute through the worst scenario, and their greeks."""
    greeks, shares = position_greeks(found.book), found.contributions()
    rows: list[tuple[str | float, ...]] = []
    for at, leg in enumerate(found.book.legs):
        shown = tuple(float(greeks[name][at]) for name in GREEKS[:4])
        rows.append((leg.symbol, leg.quantity, float(found.book.worth[at]), float(shares[at]), *shown))
    sums = (float(found.book.worth.sum()), float(shares.sum()))
    rows.append(("sum", "", *sums, "", "", *(float(greeks[name].sum()) for name in ("vega", "theta"))))
    head = ("leg", "quantity", "worth", "contribution", "delta", "gamma", "vega 1%", "theta a day")
    return Table(head, tuple(rows))


def comparison(found: Mapping[str, Requirement | str]) -> Table:
    """Models side by side; a model that refuses the book shows why."""
    rows: list[tuple[str | float, ...]] = []
    for name, each in found.items():
        if isinstance(each, str):
            rows.append((name, "refused", "", "", each))
            continue
        worst = "; ".join(f"{key} {value}" for key, value in each.worst().items()) or "rules"
        rows.append((name, each.initial, each.maintenance, each.initial_excess, worst))
    return Table(("model", "initial", "maintenance", "excess", "worst scenario"), tuple(rows), 0)


def _svg(figure: Figure) -> Markup:
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = out.getvalue()
    return Markup(text[text.index("<svg") :])


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}")
    return figure, axes


def scenario_plot(found: Requirement) -> list[Markup]:
    """P&L of each scenario, an SVG picture for each underlying; the worst row stands out."""
    out = []
    for scan in found.scans:
        figure, axes = _axes(9.0, 0.19 * len(scan.names) + 0.9)
        places = np.arange(len(scan.names))[::-1]
        worst = scan.worst if scan.loss else -1
        colors = [LOSS if at == worst else (MUTED if total < 0 else GAIN) for at, total in enumerate(scan.totals)]
        axes.barh(places, scan.totals, color=colors, height=0.7)
        axes.set_ylim(-0.8, len(scan.names) - 0.2)
        axes.set_yticks(places, scan.names, fontsize=7)
        axes.axvline(0.0, color=INK, linewidth=0.8)
        axes.set_xlabel("profit and loss, USD", fontsize=8)
        axes.set_title(f"{scan.underlying}, {found.model}", fontsize=10, loc="left", color=INK)
        out.append(_svg(figure))
    return out


def comparison_plot(found: Mapping[str, Requirement | str]) -> Markup:
    """Requirements of all models that took the book, with its equity, as an SVG picture."""
    taken = {name: each for name, each in found.items() if not isinstance(each, str)}
    figure, axes = _axes(9.0, 0.5 * len(taken) + 1.0)
    places = np.arange(len(taken))[::-1]
    initial = [each.initial for each in taken.values()]
    maintenance = [each.maintenance for each in taken.values()]
    axes.barh(places, initial, color=GAIN, height=0.62, label="initial", alpha=0.45)
    axes.barh(places, maintenance, color=GAIN, height=0.62, label="maintenance")
    for place, value in zip(places, initial, strict=True):
        spot = (max(value, 0.0), place)
        axes.annotate(f"{value:,.0f}", spot, (4, 0), textcoords="offset points", va="center", fontsize=8)
    if taken:
        axes.axvline(next(iter(taken.values())).equity, color=LOSS, linewidth=1.2, label="equity")
    axes.set_yticks(places, list(taken), fontsize=9)
    axes.set_xlabel("USD", fontsize=8)
    axes.set_ylim(-0.6, max(len(taken), 1) - 0.4)
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    return _svg(figure)


def page(
    title: str, lead: str, sections: Sequence[tuple[str, Table]], figures: Sequence[Markup], notes: Sequence[str]
) -> str:
    """One HTML file that needs nothing from anywhere."""
    loader = PackageLoader("offchain.risk.models", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.get_template("page.html.j2")
    return template.render(title=title, lead=lead, sections=sections, figures=figures, notes=notes)
