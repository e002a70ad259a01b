"""What the commands on price histories share: candle files by name, and days of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from offchain.config import BallastError

if TYPE_CHECKING:
    from offchain.market.candles import Candles
    from offchain.risk.forecast import Days


def named_files(values: tuple[str, ...]) -> dict[str, Path]:
    """`NAME=FILE` or `FILE` by name; a file alone is named after its own name up to the first `_` or `-`.

    Raises
    ------
    BallastError
        None are given, one is malformed, or a name is given twice.
    """
    out: dict[str, Path] = {}
    for value in values:
        name, sign, path = value.partition("=")
        if not sign:
            name, path = Path(value).stem.replace("-", "_").split("_")[0], value
        if not name or not path:
            raise BallastError(f"--prices {value!r}: write NAME=FILE, as in --prices BTC=btc_1d.csv, or FILE")
        if name.upper() in out:
            raise BallastError(f"--prices names {name.upper()} twice: give one file for each underlying")
        out[name.upper()] = Path(path)
    if not out:
        raise BallastError("--prices is missing: name a candle file, as in --prices BTC=btc_1d.csv")
    return out


def read_candles(files: dict[str, Path]) -> dict[str, Candles]:
    """The files' candles."""
    from offchain.market.candles import load_candles

    return {name: load_candles(path) for name, path in files.items()}


def read_days(files: dict[str, Path]) -> dict[str, Days]:
    """The files' days.

    Raises
    ------
    BallastError
        A file that is no candle file, or has too few days.
    """
    from offchain.risk.forecast import days_of

    out = {}
    for name, candles in read_candles(files).items():
        try:
            out[name] = days_of(candles)
        except ValueError as problem:
            raise BallastError(f"--prices {name}: {problem}") from None
    return out
