"""`python -m offchain.risk.models --write`: regenerate the table of models in docs/models.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from offchain.risk.models.catalog import MODELS

START, END = "<!-- table: python -m offchain.risk.models --write -->", "<!-- end of table -->"
DOCUMENT = Path("docs/models.md")


def table() -> str:
    """Parameters of all models, one column each, and their sources, in Markdown."""
    columns = {name: dict(model.parameters()) for name, model in MODELS.items()}
    rows = list(dict.fromkeys(key for column in columns.values() for key in column))
    order = ["scan range", "price rows", "volatility up / down at 30 days", "volatility floor", "tails", "other rows"]
    order += ["roll", "delta shock", "add-ons", "between underlyings", "IM / MM"]
    rows.sort(key=lambda key: order.index(key) if key in order else len(order))
    out = ["| | " + " | ".join(f"`{name}`" for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for key in rows:
        out.append(
            f"| {key} | " + " | ".join(column.get(key, "").replace("|", "\\|") for column in columns.values()) + " |"
        )
    out += ["", "| model | source |", "|---|---|"]
    return "\n".join([*out, *(f"| `{name}` | {model.source} |" for name, model in MODELS.items())])


def replaced(document: str) -> str:
    """A document with the table in its place.

    Raises
    ------
    ValueError
        It has no place for it.
    """
    head, start, rest = document.partition(START)
    _old, end, tail = rest.partition(END)
    if not start or not end:
        raise ValueError(f"no lines {START!r} and {END!r}")
    return f"{head}{START}\n{table()}\n{END}{tail}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table; write it into docs/models.md; or check that it is there."""
    parser = argparse.ArgumentParser(prog="python -m offchain.risk.models", description=main.__doc__)
    parser.add_argument("--write", action="store_true", help="write it into docs/models.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 if docs/models.md has another table")
    parser.add_argument("--file", type=Path, default=DOCUMENT, help="the document")
    chosen = parser.parse_args(arguments)
    if not chosen.write and not chosen.check:
        print(table())
        return 0
    text = chosen.file.read_text(encoding="utf-8")
    new = replaced(text)
    if chosen.check:
        return int(new != text)
    chosen.file.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
