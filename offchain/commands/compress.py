"""`ballast compress`: what netting saves, and trades between accounts that lower everybody's margin."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offchain.commands.books import write_page


@click.command()
@click.argument("books", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BOOK...")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0.0),
    default=10.0,
    show_default=True,
    help="How far an account's gain or loss in any scenario may move, % of its requirement.",
)
@click.option(
    "--fee", type=click.IntRange(min=0), default=0, show_default=True, help="Of each side, 1e-4 of the forward."
)
@click.option("--new-positions", is_flag=True, help="Let accounts take instruments that they do not hold.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; money in micro-USD, exact.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with tables and a picture.")
def compress(
    books: tuple[Path, ...], tolerance: float, fee: int, new_positions: bool, as_json: bool, html: Path | None
) -> None:
    """Find trades at the mark that lower total margin without raising anybody's.

    BOOKs are accounts: one file each, or one file that holds several (docs/book-format.md), all of one moment. Shown
    first is what netting saves each account, and where. The trades then found are between two accounts each, in whole
    lots, at the mark; no account's requirement with its fees rises, and no account's profile moves beyond the
    tolerance. Everything is judged by the ballast model in exact integers.

    \b
    Examples:
      ballast compress docs/examples/books.json
      ballast compress docs/examples/books.json --tolerance 25 --fee 1 --json
      ballast compress first.json second.json third.csv --html out/compress.html
    """
    from offchain.risk.compression import compress as run
    from offchain.risk.compression_report import Report
    from offchain.risk.models.explain import page
    from offchain.risk.pools import load_books, pool_of

    named = pool_of(load_books(books), fee)
    report = Report(run(named.pool, tolerance / 100.0, new_positions), named.names)
    found = report.found
    share = 100.0 * found.saved / found.before.requirement if found.before.requirement else 0.0
    line = (
        f"{len(found.trades)} trades lower the sum of requirements by {found.saved / 1e6:,.2f} USD ({share:.1f} %), "
        f"fees {found.fees / 1e6:,.2f} USD"
    )
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        click.echo(f"{report.accounts().text()}\n\nwhat netting saves\n{report.sources().text()}\n")
        if found.trades:
            click.echo(f"{report.trades().text()}\n")
        click.echo(line)
    if html is not None:
        sections = [("Requirements, USD", report.accounts()), ("What netting saves, USD", report.sources())]
        if found.trades:
            sections.append(("Trades", report.trades()))
        write_page(html, page("Compression", f"{line}.", sections, [report.plot()], ()))
        click.echo(f"page: {html}", err=True)
