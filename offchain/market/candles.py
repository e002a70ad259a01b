"""Candle files: reading, checking, cutting a window, and fetching one from a URL (docs/protocol.md, *Candles*)."""

from __future__ import annotations

import csv
import json
import math
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from offchain.config import BallastError
from offchain.units import HOUR

COLUMNS = ("ts", "open", "high", "low", "close", "volume")
MAX_PRICE = 1e8
"""Dollars; dearer than what 48 bits of micro-USD hold is taken for a mistake."""


class CandleError(BallastError):
    """A candle file that is missing, malformed, or has not what was asked of it."""


def timestamp_of(text: str) -> int:
    """Seconds since 1970 of an ISO 8601 time in UTC: ``2020-03-11T00:00:00Z``, or a date alone for its midnight.

    Raises
    ------
    ValueError
        It is none, or of another time zone.
    """
    when = datetime.fromisoformat(text.strip())
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    if when.utcoffset():
        raise ValueError(f"{text!r} is not UTC")
    return int(when.timestamp())


def iso(timestamp: int) -> str:
    """A time as the files write it."""
    return f"{datetime.fromtimestamp(int(timestamp), UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, eq=False)
class Candles:
    """Candles of one underlying, ascending in time.

    A candle opens at its timestamp and closes `step` seconds later: its close is not known before.

    Attributes
    ----------
    name : of the file, or of what made them.
    step : seconds of a candle.
    timestamps : int64 (n,), opening times, multiples of `step` apart.
    open, high, low, close, volume : float64 (n,), dollars; volume in units.
    synthetic : made up, not observed.
    """

    name: str
    step: int
    timestamps: npt.NDArray[np.int64]
    open: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    close: npt.NDArray[np.float64]
    volume: npt.NDArray[np.float64]
    synthetic: bool = False

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def start(self) -> int:
        """Opening time of the first candle."""
        return int(self.timestamps[0])

    @property
    def end(self) -> int:
        """Closing time of the last candle."""
        return int(self.timestamps[-1]) + self.step

    def gaps(self) -> list[tuple[int, int]]:
        """Missing stretches, as (opening time of the first missing candle, of the next that is there)."""
        places = np.flatnonzero(np.diff(self.timestamps) != self.step)
        return [(int(self.timestamps[i]) + self.step, int(self.timestamps[i + 1])) for i in places]

    def slice(self, first: int, last: int) -> Candles:
        """Candles from place `first` to before place `last`."""
        cut = slice(first, last)
        return Candles(
            self.name,
            self.step,
            self.timestamps[cut],
            self.open[cut],
            self.high[cut],
            self.low[cut],
            self.close[cut],
            self.volume[cut],
            self.synthetic,
        )

    def window(self, start: int, hours: int, warmup_hours: int = 0) -> Candles:
        """Candles that open in ``[start - warmup, start + hours)``.

        The window itself must be complete. The history before it may have gaps: a volatility takes the return over a
        gap as one return, which overstates it rather than hides it.

        Parameters
        ----------
        start : seconds, at the opening of a candle. hours : at least 1. warmup_hours : of history before, at least 0.

        Raises
        ------
        CandleError
            The window is not within the file, or a candle of it is missing; the message names the time.
        """
        if hours < 1 or warmup_hours < 0:
            raise CandleError(f"a window of {hours} hours after {warmup_hours} of history: choose at least 1 and 0")
        if start % self.step:
            raise CandleError(f"{self.name}: no candle of {self.step} s opens at {iso(start)}: start on a full candle")
        stop = start + hours * HOUR
        if not self.start <= start < self.end or stop > self.end:
            raise CandleError(
                f"{self.name}: {iso(start)} and {hours} hours are not within the file, which runs from "
                f"{iso(self.start)} to {iso(self.end)}: choose another start or fewer hours"
            )
        if start - warmup_hours * HOUR < self.start:
            raise CandleError(
                f"{self.name}: {warmup_hours} hours of history are needed before {iso(start)}, but the file begins at "
                f"{iso(self.start)}: start no earlier than {iso(self.start + warmup_hours * HOUR)}"
            )
        for missing, there in self.gaps():
            if missing < stop and there > start:
                raise CandleError(
                    f"{self.name}: gap from {iso(missing)} to {iso(there)} within the window from {iso(start)} to "
                    f"{iso(stop)}: choose a window without it, or fill the file"
                )
        first, last = np.searchsorted(self.timestamps, [start - warmup_hours * HOUR, stop])
        return self.slice(int(first), int(last))

    def until(self, timestamp: int) -> Candles:
        """Candles that have closed by a time: what is known then.

        Raises
        ------
        CandleError
            None has.
        """
        last = int(np.searchsorted(self.timestamps + self.step, timestamp, side="right"))
        if last == 0:
            raise CandleError(
                f"{self.name}: no candle has closed by {iso(timestamp)}; the file begins at {iso(self.start)}"
            )
        return self.slice(0, last)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with their line numbers."""
    try:
        file = path.open(newline="", encoding="utf-8")
    except OSError as problem:
        raise CandleError(f"{path}: cannot be read ({problem.strerror}): give the path of a candle file") from problem
    with file:
        reader = csv.DictReader(file)
        try:
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise CandleError(
                    f"{path}, line 1: no column {', '.join(missing)}: the header row must be {','.join(COLUMNS)}"
                )
            for row in reader:
                yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as problem:
            raise CandleError(f"{path}, line {reader.line_num + 1}: not a CSV text file ({problem})") from problem


def _parse(path: Path, line: int, row: dict[str, str]) -> tuple[int, tuple[float, ...]]:
    """One row, checked."""
    text = row["ts"]
    try:
        when = timestamp_of(text)
    except (ValueError, AttributeError):
        raise CandleError(f"{path}, line {line}: ts {text!r} is no UTC time like 2020-03-11T00:00:00Z") from None
    values = []
    for name in COLUMNS[1:]:
        try:
            value = float(row[name])
        except (TypeError, ValueError):
            raise CandleError(f"{path}, line {line}: {name} {row[name]!r} is no number") from None
        least = 0.0 if name == "volume" else 1e-6
        if not math.isfinite(value) or value < least or (name != "volume" and value > MAX_PRICE):
            raise CandleError(f"{path}, line {line}: {name} {row[name]} is out of range: prices are positive dollars")
        values.append(value)
    opened, high, low, close, _ = values
    if not (low <= min(opened, close) and max(opened, close) <= high):
        raise CandleError(f"{path}, line {line}: low {low}, open {opened}, close {close}, high {high} are not in order")
    return when, tuple(values)


def load_candles(path: Path | str) -> Candles:
    """Read a candle file. Gaps are allowed here; `Candles.window` refuses them where they matter.

    Raises
    ------
    CandleError
        The file is missing or unreadable, a line is malformed, out of order or off the grid; the message names the
        line.
    """
    path = Path(path)
    times: list[int] = []
    values: list[tuple[float, ...]] = []
    lines: list[int] = []
    for line, row in _rows(path):
        when, prices = _parse(path, line, row)
        if times and when <= times[-1]:
            raise CandleError(f"{path}, line {line}: {row['ts']} does not come after {iso(times[-1])}")
        times.append(when)
        values.append(prices)
        lines.append(line)
    if len(times) < 2:
        raise CandleError(f"{path}: {len(times)} candles: a file needs at least two")
    timestamps = np.array(times, dtype=np.int64)
    steps = np.diff(timestamps)
    step = int(steps.min())
    off = np.flatnonzero(steps % step)
    if len(off):
        place = int(off[0]) + 1
        raise CandleError(
            f"{path}, line {lines[place]}: {iso(times[place])} is not a multiple of {step} s after the last"
        )
    columns = np.array(values, dtype=np.float64).T.copy()
    return Candles(path.name, step, timestamps, *columns)


def write_candles(candles: Candles, path: Path) -> None:
    """Write a candle file that `load_candles` reads back to the same numbers."""
    scratch = path.with_name(f"{path.name}.tmp")
    with scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
        for when, *prices in zip(candles.timestamps, *columns, strict=True):
            writer.writerow([iso(when), *(repr(float(p)) for p in prices)])
    scratch.replace(path)


def download_candles(url: str, path: Path, timeout: float = 30.0) -> Candles:
    """Fetch candles from a URL of the caller's choice and keep them as a candle file.

    The answer is a JSON list of lists ``[opening time in ms, open, high, low, close, volume, ...]``, as most exchanges'
    public *klines* calls give.

    Parameters
    ----------
    url : http or https. path : file to write. timeout : seconds.

    Raises
    ------
    CandleError
        The URL cannot be reached, or its answer is not such a list.
    """
    if not url.startswith(("http://", "https://")):
        raise CandleError(f"{url!r} is no http or https URL")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            body: Any = json.loads(answer.read())
        rows = [(int(row[0]) // 1000, *(float(value) for value in row[1:6])) for row in body]
    except (urllib.error.URLError, TimeoutError, ConnectionError) as problem:
        raise CandleError(f"{url}: cannot be fetched ({problem}): check the address and the network") from problem
    except (ValueError, TypeError, IndexError, KeyError) as problem:
        raise CandleError(f"{url}: not a list of [ms, open, high, low, close, volume] ({problem})") from problem
    if len(rows) < 2:
        raise CandleError(f"{url}: {len(rows)} candles: at least two are needed")
    table = np.array(rows, dtype=np.float64)
    timestamps = table[:, 0].astype(np.int64)
    step = int(np.diff(timestamps).min())
    fetched = path.with_name(f"{path.name}.part")
    try:
        write_candles(Candles(path.name, step, timestamps, *table[:, 1:].T.copy()), fetched)
        load_candles(fetched)
        fetched.replace(path)
    finally:
        fetched.unlink(missing_ok=True)
    return load_candles(path)
