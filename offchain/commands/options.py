"""Options that several commands and scripts share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from offchain.config import BallastError, Settings

DEFAULT_AT = "2020-03-12T00:00:00Z"
"""In the middle of the synthetic crash."""


def parse_prices(values: tuple[str, ...]) -> dict[str, Path]:
    """`NAME=FILE` options by name.

    Raises
    ------
    BallastError
        One is malformed, or a name is given twice.
    """
    out: dict[str, Path] = {}
    for value in values:
        name, sign, path = value.partition("=")
        if not sign or not name or not path:
            raise BallastError(f"--prices {value!r}: write NAME=FILE, as in --prices BTC=btc_1h.csv")
        if name.upper() in out:
            raise BallastError(f"--prices names {name.upper()} twice: give one file for each underlying")
        out[name.upper()] = Path(path)
    return out


def prices_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--prices NAME=FILE`, repeatable, as a dict of paths."""
    return click.option(
        "--prices",
        multiple=True,
        metavar="NAME=FILE",
        callback=lambda _context, _option, value: parse_prices(value),
        help="Hourly candles of an underlying (BTC, ETH); without them a synthetic crash.",
    )(function)


def price_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--prices`, and the moment of theirs that stands for the present."""
    at = click.option("--at", default=DEFAULT_AT, show_default=True, help="Moment of the candles that is now, UTC.")
    return prices_option(at(function))


def out_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--out`, the folder of a deployment."""
    default = Path("out")
    return click.option(
        "--out", type=click.Path(path_type=Path), default=default, show_default=True, help="Folder of the deployment."
    )(function)


def settings_of(out: Path) -> Settings:
    """Settings of a deployment in a folder."""
    return Settings(out=out)
