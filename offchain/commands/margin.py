"""`ballast margin`: what a model asks for a book, and why."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offchain.commands.books import MODEL_NAMES, book_argument, write_page


@click.command()
@book_argument
@click.option("--model", type=click.Choice(MODEL_NAMES), default="ballast", show_default=True, help="Margin model.")
@click.option(
    "--explain", is_flag=True, help="Show the parts, the worst scenarios, each leg's contribution and greeks."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with everything that --explain shows.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with tables and pictures.")
def margin(book: Path, model: str, explain: bool, as_json: bool, html: Path | None) -> None:
    """Margin a book of derivatives under a model.

    BOOK is a JSON or CSV file with positions and market data (docs/book-format.md). The requirement stands against the
    account's equity: cash, and what its positions are worth. Models and their sources: docs/models.md.

    \b
    Examples:
      ballast margin docs/examples/book.json
      ballast margin docs/examples/book.json --model deribit --explain
      ballast margin docs/examples/book.csv --model span --json
      ballast margin docs/examples/book.json --explain --html out/margin.html
    """
    from offchain.risk.book import load_book
    from offchain.risk.models import explain as words
    from offchain.risk.models.catalog import MODELS, requirement

    found = requirement(load_book(book), model)
    if as_json:
        click.echo(json.dumps(words.explained(found), indent=2, allow_nan=False))
    else:
        click.echo(f"{found.book.name or book.name}: {model}\n")
        click.echo(words.summary(found).text())
        if explain:
            for name, row in found.worst().items():
                click.echo(f"\nworst scenario of {name}: {row}")
            click.echo(f"\n{words.parts(found).text()}\n\n{words.legs(found).text()}")
            for note in found.notes:
                click.echo(f"\nnote: {note}")
    if html is not None:
        sections = [
            ("Requirement", words.summary(found)),
            ("Parts", words.parts(found)),
            ("Positions", words.legs(found)),
        ]
        lead = f"Model {model}. Source: {MODELS[model].source}."
        write_page(
            html, words.page(found.book.name or book.name, lead, sections, words.scenario_plot(found), found.notes)
        )
        click.echo(f"page: {html}", err=True)
