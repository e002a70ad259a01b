"""What the commands on books share: the argument, the models' names, and writing a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from offchain.config import BallastError

MODEL_NAMES = ("ballast", "span", "deribit", "derive-pmrm2", "paradex", "okx", "standard")
"""Names of `risk.models.catalog.MODELS`, here so that help needs none of them."""


def book_argument(function: Any) -> Any:
    """`BOOK`, a JSON or CSV file (docs/book-format.md)."""
    return click.argument("book", type=click.Path(path_type=Path), metavar="BOOK")(function)


def write_page(path: Path, text: str) -> None:
    """Write a page.

    Raises
    ------
    BallastError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise BallastError(f"--html {path}: cannot be written: {problem.strerror}") from None
