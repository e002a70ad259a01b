"""Books: positions with the market data to margin them, read from one JSON or CSV format (docs/book-format.md).

The format is versioned and checked against `book.schema.json`, then for sense: legs that name data that is not there,
twice the same instrument, expired options, crossed quotes, prices that no volatility explains, forwards far from their
index. Every error names the field and its value. Nothing is clipped or filled in but the defaults that the schema
states.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from offchain.config import BallastError
from offchain.instruments import Instrument, Kind
from offchain.risk.arrays import UNIT_GUARD
from offchain.risk.implied import implied_volatility
from offchain.risk.models.kernel import Legs
from offchain.risk.schema import SchemaError, check
from offchain.risk.svi import Svi
from offchain.units import MICRO, YEAR

FORMAT, VERSION = "ballast-book", 1
SCHEMA_FILE = Path(__file__).with_name("book.schema.json")
MIN_VOLATILITY, MAX_VOLATILITY = 0.01, 10.0
Array = npt.NDArray[np.float64]


class BookError(BallastError, ValueError):
    """A book that cannot be margined: the field, its value, and what is wrong with it."""


@dataclass(frozen=True)
class Expiry:
    """Market data of one expiry. forward : USD a unit, of it `fixed` no longer moves. rate : a year.

    confidence : of forward, rate and volatility, the least. svi : the smile, if given.
    """

    time: int
    forward: float
    fixed: float = 0.0
    rate: float = 0.0
    confidence: float = 1.0
    svi: Svi | None = None


@dataclass(frozen=True)
class Underlying:
    """Market data of one underlying; names as in the schema, `None` where not given."""

    name: str
    index: float
    perpetual: float | None = None
    funding_rate: float = 0.0
    coin: bool = False
    scan_range: float | None = None
    depth: float | None = None
    index_confidence: float = 1.0
    perpetual_confidence: float = 1.0
    expiries: Mapping[int, Expiry] = field(default_factory=dict)


@dataclass(frozen=True)
class Leg:
    """A position.

    Attributes
    ----------
    underlying : name. kind : what it is. expiry : seconds since 1970, 0 if it has none. strike : USD, 0 if none.
    quantity : units, signed. forward : mark of a perpetual or token, forward of a dated leg. volatility : 0 unless an
        option. entry : or None. open_interest : units.
    """

    underlying: str
    kind: Kind
    expiry: int
    strike: float
    quantity: float
    forward: float
    volatility: float
    entry: float | None = None
    open_interest: float = 0.0

    @property
    def symbol(self) -> str:
        """``BTC-27MAR26-100000-C``."""
        if self.kind is Kind.TOKEN:
            return f"{self.underlying}-TOKEN"
        strike = round(self.strike * MICRO)
        return Instrument(1, self.kind, self.expiry, strike).symbol({1: self.underlying})


@dataclass(frozen=True)
class Book:
    """A whole book. timestamp : seconds. cash : USD. stable : price of the coin that cash is held in."""

    timestamp: int
    cash: float
    underlyings: Mapping[str, Underlying]
    legs: tuple[Leg, ...]
    stable: float = 1.0
    name: str = ""

    def places(self, underlying: str) -> npt.NDArray[np.int64]:
        """Places of an underlying's legs."""
        return np.array([i for i, leg in enumerate(self.legs) if leg.underlying == underlying], dtype=np.int64)

    @cached_property
    def held(self) -> tuple[str, ...]:
        """Underlyings with a leg, in the book's order."""
        names = {leg.underlying for leg in self.legs}
        return tuple(name for name in self.underlyings if name in names)

    def columns(self, places: npt.NDArray[np.int64] | None = None) -> Legs:
        """Legs as arrays for the kernel; all of them by default."""
        chosen = self.legs if places is None else [self.legs[i] for i in places]

        def fixed(leg: Leg) -> float:
            return self.underlyings[leg.underlying].expiries[leg.expiry].fixed if leg.kind.is_dated else 0.0

        return Legs(
            np.array([int(leg.kind) for leg in chosen], dtype=np.int64),
            np.array([leg.quantity for leg in chosen], dtype=np.float64),
            np.array([leg.forward for leg in chosen], dtype=np.float64),
            np.array([fixed(leg) for leg in chosen], dtype=np.float64),
            np.array([leg.strike for leg in chosen], dtype=np.float64),
            np.array([(leg.expiry - self.timestamp) / YEAR if leg.kind.is_dated else 0.0 for leg in chosen]),
            np.array([leg.volatility for leg in chosen], dtype=np.float64),
            np.ones(len(chosen)),
        )

    @cached_property
    def worth(self) -> Array:
        """What each leg adds to the account's value, USD: an option or token its mark, a perpetual or future its P&L
        since entry (0 where no entry is given: settled to cash).
        """
        marks = self.columns().marks()
        out = []
        for leg, mark in zip(self.legs, marks.tolist(), strict=True):
            paid = 0.0
            if leg.kind in (Kind.PERPETUAL, Kind.FUTURE):
                paid = mark if leg.entry is None else leg.entry
            coin = self.underlyings[leg.underlying].coin and paid
            out.append(leg.quantity * ((1.0 / paid - 1.0 / mark) * mark * mark if coin else mark - paid))
        return np.array(out, dtype=np.float64)

    @property
    def equity(self) -> float:
        """Cash and what the legs are worth, USD."""
        return self.cash + float(self.worth.sum())


def _time(value: Any) -> int:
    """Seconds of an ISO time in UTC, or of seconds; a date alone is 08:00 UTC, the usual hour of expiry."""
    if isinstance(value, int):
        return value
    text = value if "T" in value else value + "T08:00Z"
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).timestamp())


def _when(path: str, value: Any) -> int:
    try:
        return _time(int(value) if isinstance(value, str) and value.isdigit() else value)
    except ValueError:
        raise BookError(f"{path}: {value!r} is no time in UTC") from None


def _expiry(path: str, key: str, given: Mapping[str, Any], index: float, now: int) -> Expiry:
    time = _when(path, key)
    if time <= now:
        raise BookError(f"{path}: the expiry is not after the book's timestamp: no time is left, settle it first")
    forward, fixed = float(given["forward"]), float(given.get("fixed", 0.0))
    if not index <= forward * UNIT_GUARD <= index * UNIT_GUARD**2:
        raise BookError(f"{path}.forward: {forward!r} is far from the index {index!r}: check the units")
    if fixed > forward:
        raise BookError(f"{path}.fixed: {fixed!r} is more than the forward {forward!r}")
    svi = None
    if "svi" in given:
        try:
            svi = Svi(**{k: float(v) for k, v in given["svi"].items()}, years=(time - now) / YEAR)
        except ValueError as problem:
            raise BookError(f"{path}.svi: {problem}") from None
    confidence = min((float(v) for v in given.get("confidence", {}).values()), default=1.0)
    return Expiry(time, forward, fixed, float(given.get("rate", 0.0)), confidence, svi)


def _underlying(name: str, given: Mapping[str, Any], now: int) -> Underlying:
    path, index = f"underlyings.{name}", float(given["index"])
    perpetual = given.get("perpetual")
    if perpetual is not None and not index <= perpetual * UNIT_GUARD <= index * UNIT_GUARD**2:
        raise BookError(f"{path}.perpetual: {perpetual!r} is far from the index {index!r}: check the units")
    expiries: dict[int, Expiry] = {}
    for key, value in given.get("expiries", {}).items():
        where = f"{path}.expiries.{key}"
        each = _expiry(where, key, value, index, now)
        if each.time in expiries:
            raise BookError(f"{where}: this expiry is given twice")
        expiries[each.time] = each
    confidence = given.get("confidence", {})
    optional = {k: float(given[k]) if k in given else None for k in ("scan_range", "depth")}
    return Underlying(
        name,
        index,
        None if perpetual is None else float(perpetual),
        float(given.get("funding_rate", 0.0)),
        given.get("settlement", "usd") == "coin",
        optional["scan_range"],
        optional["depth"],
        float(confidence.get("index", 1.0)),
        float(confidence.get("perpetual", 1.0)),
        expiries,
    )


_WANTED = {
    Kind.PERPETUAL: (set(), {"entry"}),
    Kind.TOKEN: (set(), set()),
    Kind.FUTURE: ({"expiry"}, {"entry"}),
    Kind.CALL: ({"expiry", "strike"}, {"volatility", "mark", "bid", "ask"}),
    Kind.PUT: ({"expiry", "strike"}, {"volatility", "mark", "bid", "ask"}),
}
_COMMON = {"underlying", "kind", "quantity", "open_interest"}


def _volatility(path: str, given: Mapping[str, Any], kind: Kind, expiry: Expiry, years: float) -> float:
    """Implied volatility of an option, from exactly one source."""
    if "bid" in given and "ask" in given and given["bid"] > given["ask"]:
        raise BookError(f"{path}.bid: {given['bid']!r} is above the ask {given['ask']!r}: crossed quotes")
    if ("bid" in given) != ("ask" in given) and not {"volatility", "mark"} & set(given):
        missing = "ask" if "bid" in given else "bid"
        raise BookError(f"{path}.{missing}: missing: one side of a quote is not a price")
    if "volatility" in given and "mark" in given:
        raise BookError(f"{path}.mark: {given['mark']!r} beside volatility {given['volatility']!r}: give one of them")
    if "volatility" in given:
        return float(given["volatility"])
    strike = float(given["strike"])
    if "mark" in given or "bid" in given:
        name = "mark" if "mark" in given else "bid"
        price = float(given["mark"]) if name == "mark" else 0.5 * (float(given["bid"]) + float(given["ask"]))
        try:
            found = float(implied_volatility(price, expiry.forward, strike, years, kind is Kind.CALL))
        except ValueError as problem:
            raise BookError(f"{path}.{name}: {problem}") from None
        source = f"{path}.{name}: the price {price!r} implies a volatility of {found!r}"
    elif expiry.svi is not None:
        found = float(expiry.svi.volatility(math.log(strike / expiry.forward)))
        source = f"{path}: the smile of the expiry gives a volatility of {found!r}"
    else:
        raise BookError(f"{path}.volatility: missing: give volatility, mark, bid and ask, or svi for the expiry")
    if not MIN_VOLATILITY <= found <= MAX_VOLATILITY:
        raise BookError(f"{source}, which is not within {MIN_VOLATILITY} and {MAX_VOLATILITY}")
    return found


def _leg(place: int, given: Mapping[str, Any], underlyings: Mapping[str, Underlying], now: int) -> Leg:
    path, kind = f"legs[{place}]", Kind[given["kind"].upper()]
    needed, allowed = _WANTED[kind]
    for name in sorted(needed - set(given)):
        raise BookError(f"{path}.{name}: missing: a {given['kind']} needs it")
    for name in sorted(set(given) - needed - allowed - _COMMON):
        raise BookError(f"{path}.{name}: {given[name]!r}: a {given['kind']} has none")
    if given["underlying"] not in underlyings:
        raise BookError(f"{path}.underlying: {given['underlying']!r} is not among underlyings")
    market, quantity = underlyings[given["underlying"]], float(given["quantity"])
    if quantity == 0.0:
        raise BookError(f"{path}.quantity: {given['quantity']!r}: leave out a leg of nothing")
    if kind is Kind.TOKEN and quantity < 0.0:
        raise BookError(f"{path}.quantity: {given['quantity']!r}: tokens cannot be short")
    time, strike, volatility = 0, float(given.get("strike", 0.0)), 0.0
    if kind.is_dated:
        time = _when(f"{path}.expiry", given["expiry"])
        if time <= now:
            raise BookError(f"{path}.expiry: {given['expiry']!r} is not after the book's timestamp: no time is left")
        if time not in market.expiries:
            raise BookError(f"{path}.expiry: {given['expiry']!r} is not among underlyings.{market.name}.expiries")
        expiry = market.expiries[time]
        forward = expiry.forward
        if kind.is_option:
            volatility = _volatility(path, given, kind, expiry, (time - now) / YEAR)
    elif kind is Kind.PERPETUAL:
        if market.perpetual is None:
            raise BookError(f"underlyings.{market.name}.perpetual: missing: {path} is a perpetual")
        forward = market.perpetual
    else:
        forward = market.index
    entry = None if "entry" not in given else float(given["entry"])
    return Leg(
        market.name, kind, time, strike, quantity, forward, volatility, entry, float(given.get("open_interest", 0.0))
    )


def parse_book(document: Any, source: str = "book") -> Book:
    """A book of a parsed document.

    Raises
    ------
    BookError
        It does not follow the schema, or makes no sense; the message names source, field and value.
    """
    try:
        check(document, json.loads(SCHEMA_FILE.read_text()))
        now = _when("timestamp", document["timestamp"])
        underlyings = {k: _underlying(k, v, now) for k, v in document["underlyings"].items()}
        legs: list[Leg] = []
        seen: dict[tuple[str, Kind, int, float], int] = {}
        for place, given in enumerate(document["legs"]):
            leg = _leg(place, given, underlyings, now)
            key = (leg.underlying, leg.kind, leg.expiry, leg.strike)
            if key in seen:
                raise BookError(f"legs[{place}]: {leg.symbol} is given twice, first in legs[{seen[key]}]: add them up")
            seen[key] = place
            legs.append(leg)
    except (SchemaError, BookError) as problem:
        raise BookError(f"{source}: {problem}") from None
    stable = float(document.get("stable", {}).get("price", 1.0))
    return Book(now, float(document.get("cash", 0.0)), underlyings, tuple(legs), stable, document.get("name", ""))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in pairs:
        if name in out:
            raise BookError(f"the field {name!r} is given twice in one object")
        out[name] = value
    return out


_PLACES: dict[str, tuple[str, ...]] = {
    "book": ("timestamp", "cash", "name", "stable"),
    "underlying": ("index", "perpetual", "funding_rate", "settlement", "scan_range", "depth"),
    "expiry": ("forward", "fixed", "rate"),
    "leg": ("kind", "strike", "quantity", "volatility", "mark", "bid", "ask", "entry", "open_interest"),
}
_TEXT = {"timestamp", "name", "settlement", "kind"}
COLUMNS = ("record", "underlying", "expiry", *dict.fromkeys(name for names in _PLACES.values() for name in names))


def _number(name: str, text: str, line: int) -> Any:
    if name in _TEXT:
        return int(text) if name == "timestamp" and text.isdigit() else text
    try:
        return float(text)
    except ValueError:
        raise BookError(f"line {line}, {name}: {text!r} is not a number") from None


def csv_document(text: str) -> dict[str, Any]:
    """The document of a CSV book: a row for the book, each underlying, each expiry and each leg (docs/book-format.md).

    Raises
    ------
    BookError
        An unknown column or record, a cell that does not belong to its record, or text that is not a number.
    """
    reader = csv.DictReader(io.StringIO(text))
    for name in reader.fieldnames or ():
        if name not in COLUMNS:
            raise BookError(f"column {name!r} is unknown; known: {', '.join(COLUMNS)}")
    out: dict[str, Any] = {"format": FORMAT, "version": VERSION, "underlyings": {}, "legs": []}
    for line, row in enumerate(reader, start=2):
        cells = {k: v.strip() for k, v in row.items() if k is not None and v is not None and v.strip()}
        if None in row:
            raise BookError(f"line {line}: more cells than columns")
        record = cells.pop("record", "")
        if record not in _PLACES:
            raise BookError(f"line {line}, record: {record!r} is none of {', '.join(_PLACES)}")
        keys = {"underlying": ("underlying",), "expiry": ("underlying", "expiry"), "leg": ("underlying", "expiry")}
        where = {k: cells.pop(k) for k in keys.get(record, ()) if k in cells}
        for name in cells:
            if name not in _PLACES[record]:
                raise BookError(f"line {line}, {name}: {cells[name]!r}: a {record} has none")
        values = {name: _number(name, value, line) for name, value in cells.items()}
        if record == "book":
            if "stable" in values:
                values["stable"] = {"price": values["stable"]}
            out.update(values)
        elif record == "leg":
            out["legs"].append({**where, **values})
        else:
            for name in keys[record]:
                if name not in where:
                    raise BookError(f"line {line}, {name}: missing: a record of {record} needs it")
            place = out["underlyings"].setdefault(where["underlying"], {})
            if record == "expiry":
                place = place.setdefault("expiries", {}).setdefault(where["expiry"], {})
            if set(place) & set(values):
                raise BookError(f"line {line}: this {record} is given twice")
            place.update(values)
    return out


def load_book(path: Path) -> Book:
    """Read a book from a JSON or CSV file, by the ending of its name.

    Raises
    ------
    BookError
        The file is not there or not readable, or is no book; the message names file, field and value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise BookError(f"{path}: cannot be read: {problem}") from None
    try:
        if path.suffix.lower() == ".csv":
            document = csv_document(text)
        else:
            document = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as problem:
        raise BookError(f"{path.name}: not JSON: {problem}") from None
    except BookError as problem:
        raise BookError(f"{path.name}: {problem}") from None
    return parse_book(document, path.name)
