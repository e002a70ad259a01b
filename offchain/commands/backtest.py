"""`ballast backtest`: would the margins have held?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offchain.commands.books import write_page
from offchain.commands.history import named_files, read_days
from offchain.config import BallastError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from offchain.risk.backtest import ForecastRow, Row, ShortfallRow, Verdict
    from offchain.risk.forecast import Days

_LEAD = (
    "One-day margins of 99 %, as a fraction of the position, each made from days before its own. A model passes where "
    "none of Kupiec's test (POF), Christoffersen's conditional coverage (CC) and the dynamic quantile test (DQ, four "
    "lags and the margin) rejects at 5 %. A rise is relative: 50 % is half as much again."
)
_NOTES = "## Notes"


@click.command()
@click.option(
    "--prices", multiple=True, metavar="[NAME=]FILE", help="Candles of an underlying, daily or finer; repeatable."
)
@click.option("--first", default=500, show_default=True, help="Days before the first margin.")
@click.option("--learned", is_flag=True, help="Add gradient boosting (slower).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with tables and pictures.")
@click.option(
    "--docs", type=click.Path(path_type=Path), metavar="FOLDER", help="Write FOLDER/backtest.md and FOLDER/img/*.png."
)
def backtest(
    prices: tuple[str, ...], first: int, learned: bool, as_json: bool, html: Path | None, docs: Path | None
) -> None:
    """Test margin models and variance forecasts on real days.

    Each model runs over the days of each file, long and short, and is judged by how often and when it was breached, and
    by how much its margin moves. Forecasts are judged by QLIKE, against HAR-RV by Diebold and Mariano's test. What
    comes out for the default of this project, and what was tried before it, is in docs/backtest.md.

    \b
    Examples:
      ballast backtest --prices BTC=btc_1d.csv
      ballast backtest --prices BTC=btc_1d.csv --prices ETH=eth_1h.csv --json
      ballast backtest --prices btc_1h.csv --learned --html out/backtest.html
      ballast backtest --prices BTC=btc_1d.csv --prices ETH=eth_1h.csv --prices BTC1H=btc_1h.csv --learned --docs docs
    """
    from offchain.risk import backtest as work

    days = read_days(named_files(prices))
    try:
        models = (*work.MODELS, work.LEARNED) if learned else work.MODELS
        forecasters = (*work.FORECASTS, work.Boosted()) if learned else work.FORECASTS
        rows = work.backtest(days, models, first)
        forecasts = work.forecast_rows(days, forecasters, first)
        shortfalls = work.shortfall_rows(days, first=first)
    except ValueError as problem:
        raise BallastError(f"--prices {problem}") from None
    found = work.verdicts(rows)
    if as_json:
        figures = {
            "rows": [row.as_json() for row in rows],
            "models": [asdict(v) for v in found],
            "forecasts": [asdict(r) for r in forecasts],
            "shortfall": [asdict(r) for r in shortfalls],
            "default": work.DEFAULT.name,
            "reference": work.STRESSED.name,
        }
        click.echo(json.dumps(figures, indent=2, allow_nan=False))
    else:
        tables = (work.margin_table(rows), work.verdict_table(found), work.forecast_table(forecasts))
        click.echo("\n\n".join(table.text() for table in (*tables, work.shortfall_table(shortfalls))))
    pictures = _pictures(rows, found, forecasts, days)
    if html is not None:
        from offchain.risk.models.explain import _svg, page

        sections = [
            ("Models", work.verdict_table(found)),
            ("Margins", work.margin_table(rows)),
            ("Forecasts", work.forecast_table(forecasts)),
            ("Expected shortfall", work.shortfall_table(shortfalls)),
        ]
        write_page(html, page("Backtest", _LEAD, sections, [_svg(f) for f in pictures.values()], ()))
        click.echo(f"page: {html}", err=True)
    if docs is not None:
        _write_docs(docs, pictures, rows, found, forecasts, shortfalls)
        click.echo(f"page: {docs / 'backtest.md'}", err=True)


def _pictures(
    rows: list[Row], found: list[Verdict], forecasts: list[ForecastRow], days: dict[str, Days]
) -> dict[str, Figure]:
    from offchain.risk import backtest as work

    out = {"trade_off": work.trade_off_figure(found)}
    for name, each in days.items():
        own = [r for r in rows if r.underlying == name and r.side == "long"]
        out[f"margin_{name.lower()}"] = work.series_figure(own, each.day, (work.STRESSED.name, work.DEFAULT.name))
    out["forecasts"] = work.forecast_figure(forecasts)
    return out


def _write_docs(
    folder: Path,
    pictures: dict[str, Figure],
    rows: list[Row],
    found: list[Verdict],
    forecasts: list[ForecastRow],
    shortfalls: list[ShortfallRow],
) -> None:
    from offchain.risk import backtest as work

    target = folder / "backtest.md"
    kept = target.read_text(encoding="utf-8") if target.is_file() else ""
    notes = kept[kept.index(_NOTES) :].strip() if _NOTES in kept else _NOTES
    parts = [
        "# Backtest",
        "Everything before *Notes* is written by `ballast backtest ... --docs docs`, the last example of its `--help`.",
        _LEAD,
        "## Models",
        f"*Lower mean*, *lower peak/trough*: on how many series the model is below `{work.STRESSED.name}`.",
        work.markdown(work.verdict_table(found)),
        "![Mean margin and peak-to-trough](img/trade_off.png)",
        *(f"![Margins](img/{name}.png)" for name in pictures if name.startswith("margin_")),
        "## Each series",
        work.markdown(work.margin_table(rows)),
        "## Forecasts of variance",
        "QLIKE against measured variance (realised from hourly candles, Garman-Klass from daily ones), one day ahead, "
        "walk-forward. *Less HAR-RV* is negative where the forecaster is better; DM is the Diebold-Mariano statistic.",
        work.markdown(work.forecast_table(forecasts)),
        "![QLIKE](img/forecasts.png)",
        "## Expected shortfall",
        f"Acerbi and Szekely's statistics for `{work.DEFAULT.name}` at 97.5 %; 0 where it is right, negative where it "
        "is too low. For 250 days Z2 below -0.70 would reject at 5 %.",
        work.markdown(work.shortfall_table(shortfalls)),
        notes,
    ]
    try:
        for name, figure in pictures.items():
            work.write_png(figure, folder / "img" / f"{name}.png")
        target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    except OSError as problem:
        raise BallastError(f"--docs {folder}: cannot be written: {problem.strerror}") from None
