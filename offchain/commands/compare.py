"""`ballast compare`: one book under every model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offchain.commands.books import MODEL_NAMES, book_argument, write_page


@click.command()
@book_argument
@click.option("--model", "models", type=click.Choice(MODEL_NAMES), multiple=True, help="Only these; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with the table and a plot.")
def compare(book: Path, models: tuple[str, ...], as_json: bool, html: Path | None) -> None:
    """Margin a book under every model, side by side.

    A model that does not take the book, for a position it does not know or an underlying it has no parameters for, is
    listed with the reason.

    \b
    Examples:
      ballast compare docs/examples/book.json
      ballast compare docs/examples/book.json --model ballast --model deribit --json
      ballast compare docs/examples/book.json --html out/compare.html
    """
    from offchain.risk.book import load_book
    from offchain.risk.models import explain as words
    from offchain.risk.models.catalog import MODELS, ModelError, Requirement, requirement

    read = load_book(book)
    found: dict[str, Requirement | str] = {}
    for name in models or MODEL_NAMES:
        try:
            found[name] = requirement(read, name)
        except ModelError as reason:
            found[name] = str(reason)
    table = words.comparison(found)
    if as_json:
        plain = {k: {"refused": v} if isinstance(v, str) else words.explained(v) for k, v in found.items()}
        click.echo(json.dumps({"equity": read.equity, "models": plain}, indent=2, allow_nan=False))
    else:
        click.echo(f"{read.name or book.name}: equity {read.equity:,.2f} USD\n")
        click.echo(table.text())
    if html is not None:
        sources = words.Table(("model", "source"), tuple((name, MODELS[name].source) for name in found))
        sections = [("Requirements, USD", table), ("Sources", sources)]
        lead = f"Equity {read.equity:,.2f} USD. A requirement stands against it; an excess below 0 is a margin call."
        write_page(html, words.page(read.name or book.name, lead, sections, [words.comparison_plot(found)], ()))
        click.echo(f"page: {html}", err=True)
