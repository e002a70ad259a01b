"""`ballast stress`: what breaks which account, and how much is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offchain.commands.books import write_page
from offchain.commands.history import named_files, read_candles
from offchain.config import BallastError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from offchain.market.candles import Candles
    from offchain.risk.reverse import Breaking
    from offchain.risk.stress import Account, FundOutcome, Outcome

SHOWN = 15
_LEAD = (
    "Each account in each scenario by full revaluation: cash and legs, less the cost of closing them. The fund pays "
    "what accounts fall short of. Distances are in standard deviations of a day's joint move."
)


@click.command()
@click.argument("books", type=click.Path(path_type=Path), metavar="BOOK...", nargs=-1, required=True)
@click.option(
    "--prices", multiple=True, metavar="[NAME=]FILE", help="Candles by underlying: history, and measured volatility."
)
@click.option("--fund", type=click.FloatRange(min=0.0), default=0.0, show_default=True, help="Insurance fund, USD.")
@click.option("--reverse/--no-reverse", default=True, show_default=True, help="Search the smallest move that breaks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with tables and a picture.")
def stress(
    books: tuple[Path, ...], prices: tuple[str, ...], fund: float, reverse: bool, as_json: bool, html: Path | None
) -> None:
    """Stress accounts: grids, correlation breaks, volatility jumps, dry-ups of liquidity, history, and reverse stress.

    Each BOOK (docs/book-format.md) is one account. Says which account falls short in which scenario and by how much,
    what the fund has left, and the smallest joint move of prices and volatilities that breaks each account and the
    fund. Without --prices a day's move is taken as 4 % with a correlation of 0.8. Exit code 0 whatever breaks; 2 for
    bad input.

    \b
    Examples:
      ballast stress docs/examples/book.json
      ballast stress alice.json bob.json --fund 250000 --json
      ballast stress alice.json --prices BTC=btc_1h.csv --prices ETH=eth_1h.csv --html out/stress.html
    """
    from offchain.risk import stress as work
    from offchain.risk.book import load_book
    from offchain.risk.reverse import reverse as search

    candles = read_candles(named_files(prices)) if prices else {}
    try:
        accounts = [work.account_of(load_book(path), path.stem) for path in books]
        factors = list(dict.fromkeys(f for account in accounts for f in account.book.factors))
        for name in factors:
            if candles and name not in candles:
                raise BallastError(f"--prices has no candles of {name}: name them, or leave --prices out")
        shared = {name: candles[name] for name in factors} if candles else {}
        scenarios = work.standard_scenarios(factors, shared or None)
        outcomes = work.run(accounts, scenarios)
        funds = work.fund_outcomes(outcomes, fund)
        found = search(accounts, _covariance(factors, shared), factors, fund=fund) if reverse else []
    except ValueError as problem:
        if isinstance(problem, BallastError):
            raise
        raise BallastError(str(problem)) from None
    if as_json:
        figures = {
            "accounts": [{"name": a.name, "equity": a.equity, "closeout": a.closeout} for a in accounts],
            "scenarios": [asdict(s) for s in scenarios],
            "outcomes": [asdict(o) | {"shortfall": o.shortfall} for o in outcomes],
            "fund": [asdict(f) for f in funds],
            "reverse": [_finite(asdict(b)) for b in found],
        }
        click.echo(json.dumps(figures, indent=2, allow_nan=False))
    sections = _sections(accounts, outcomes, funds, found, books)
    if not as_json:
        click.echo("\n\n".join(f"{title}\n{table.text()}" for title, table in sections))
    if html is not None:
        from offchain.risk.models.explain import _svg, page

        write_page(html, page("Stress", _LEAD, sections, [_svg(_picture(accounts, outcomes))], ()))
        click.echo(f"page: {html}", err=True)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: an account that nothing breaks has no distance."""
    return values | {"distance": values["distance"] if math.isfinite(values["distance"]) else None}


def _covariance(factors: Sequence[str], candles: dict[str, Candles]) -> Any:
    """Of a day's log returns: measured where there are candles, else 4 % a day and a correlation of 0.8."""
    import numpy as np

    from offchain.risk.forecast import days_of
    from offchain.risk.statistical import covariance

    if not candles:
        size = len(factors)
        return 0.04**2 * (0.8 * np.ones((size, size)) + 0.2 * np.eye(size))
    days = [days_of(candles[name]) for name in factors]
    shared = sorted(set.intersection(*(set(each.day.tolist()) for each in days)))
    if len(shared) < 30:
        raise BallastError(f"--prices: {len(shared)} days that all files have: at least 30 are needed")
    return covariance(np.stack([each.returns[np.searchsorted(each.day, shared)] for each in days], axis=1))


def _sections(
    accounts: Sequence[Account],
    outcomes: Sequence[Outcome],
    funds: Sequence[FundOutcome],
    found: Sequence[Breaking],
    books: Sequence[Path],
) -> list[tuple[str, Any]]:
    from offchain.risk.book import load_book
    from offchain.risk.models.explain import Table

    symbols = {
        account.name: [leg.symbol for leg in load_book(path).legs]
        for account, path in zip(accounts, books, strict=True)
    }
    rows = []
    for account in accounts:
        worst = sorted((o for o in outcomes if o.account == account.name), key=lambda o: o.after)[:3]
        rows += [
            (o.account, o.scenario, o.equity, o.profit, o.cost, o.after, o.shortfall, symbols[o.account][o.worst_leg])
            for o in worst
        ]
    head = ("account", "scenario", "equity", "profit", "close-out", "after", "shortfall", "leg that lost most")
    out = [("Worst scenarios of each account", Table(head, tuple(rows)))]
    short = [f for f in funds if f.missing > 0.0][:SHOWN]
    out.append(
        (
            "Scenarios in which accounts fall short",
            Table(
                ("scenario", "missing", "largest two", "left of the fund", "accounts"),
                tuple((f.scenario, f.missing, f.largest_two, f.left, ", ".join(f.accounts)) for f in short),
            ),
        )
    )
    if found:
        body = [
            (
                b.name,
                f"{b.distance:.2f}" if math.isfinite(b.distance) else "nothing found",
                ", ".join(f"{k} {v:+.1%}" for k, v in b.prices.items()),
                ", ".join(f"{k} {v:+.1%}" for k, v in b.volatilities.items()),
            )
            for b in found
        ]
        columns = ("breaks", "standard deviations", "prices", "volatilities")
        out.append(("Smallest move that breaks", Table(columns, tuple(body))))
    return out


def _picture(accounts: Sequence[Account], outcomes: Sequence[Outcome]) -> Figure:
    """What is left of each account's equity in its worst scenarios."""
    from matplotlib.figure import Figure

    rows = [
        o
        for account in accounts
        for o in sorted((o for o in outcomes if o.account == account.name), key=lambda o: o.after)[:8]
    ][::-1]
    figure = Figure(figsize=(9.0, 0.24 * len(rows) + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.barh(range(len(rows)), [o.after for o in rows], color=["#c8470a" if o.after < 0 else "#0072B2" for o in rows])
    axes.set_yticks(range(len(rows)), [f"{o.account}: {o.scenario}" for o in rows], fontsize=7)
    axes.axvline(0.0, color="#1b2430", linewidth=0.8)
    axes.set_xlabel("equity after, USD", fontsize=8)
    return figure
