"""Books of several accounts as one pool of whole lots: what `risk.compression` works on.

Several files, one account each, or one file of the format `ballast-books`: market data once, and `accounts` with name,
cash and legs (docs/book-format.md). All must be of one moment and agree on every instrument's market data, because one
risk array holds for everybody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offchain.config import UNDERLYINGS
from offchain.instruments import Instrument, InstrumentLeaf
from offchain.risk.arrays import build_leaves
from offchain.risk.book import Book, BookError, Leg, load_book, parse_book
from offchain.risk.compression import Pool
from offchain.risk.models.ballast import BallastParams
from offchain.risk.models.result import usd_only
from offchain.units import BASIS, MICRO, ceil_div, to_micro_nearest

FORMAT, VERSION = "ballast-books", 1
FIRST_ACCOUNT = 256
NAMES = {number: name for name, number in UNDERLYINGS.items()}


def load_books(paths: Sequence[Path]) -> dict[str, Book]:
    """Books by name of the account: those of each file, in order.

    Raises
    ------
    BookError
        A file is no book and no list of books, or two accounts have one name.
    """
    found: dict[str, Book] = {}
    for path in paths:
        for name, book in _read(path):
            if name in found:
                raise BookError(f"{path.name}: the account {name!r} is given twice: name them apart")
            found[name] = book
    return found


def _read(path: Path) -> list[tuple[str, Book]]:
    if path.suffix.lower() != ".csv":
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            document = None  # `load_book` says what is wrong
        if isinstance(document, dict) and document.get("format") == FORMAT:
            return _several(document, path.name)
    book = load_book(path)
    return [(book.name or path.stem, book)]


def _several(document: dict[str, Any], source: str) -> list[tuple[str, Book]]:
    known = {"format", "version", "timestamp", "underlyings", "stable", "name", "accounts"}
    for name in sorted(set(document) - known):
        raise BookError(f"{source}: {name}: is not known")
    if document.get("version") != VERSION:
        raise BookError(f"{source}: version: {document.get('version')!r} is not {VERSION}")
    accounts = document.get("accounts")
    if not isinstance(accounts, list) or not all(isinstance(each, dict) for each in accounts):
        raise BookError(f"{source}: accounts: is not a list of objects")
    out = []
    for place, given in enumerate(accounts):
        where = f"{source}: accounts[{place}]"
        for name in sorted(set(given) - {"name", "cash", "legs"}):
            raise BookError(f"{where}.{name}: is not known")
        if not given.get("name"):
            raise BookError(f"{where}.name: missing: every account needs one")
        shared = {k: document[k] for k in ("timestamp", "underlyings", "stable") if k in document}
        book = parse_book({"format": "ballast-book", "version": 1, **shared, **given}, where)
        out.append((book.name, book))
    return out


@dataclass(frozen=True)
class NamedPool:
    """pool : accounts numbered from 256 in order. names : of the accounts, by number."""

    pool: Pool
    names: dict[int, str]


def pool_of(books: dict[str, Book], fee: int = 0, params: BallastParams | None = None) -> NamedPool:
    """One pool of several books.

    Parameters
    ----------
    books : by account name. fee : of a trade, 1e-4 of the forward, of both sides.

    Raises
    ------
    BookError
        Books of different moments or with different market data, an underlying that the policy does not list, or a
        quantity that is not a whole number of lots.
    """
    params = params or BallastParams()
    names = {FIRST_ACCOUNT + place: name for place, name in enumerate(books)}
    leaves: dict[int, tuple[InstrumentLeaf, str]] = {}
    positions: dict[int, dict[int, int]] = {}
    cash: dict[int, int] = {}
    first = next(iter(books.values()), None)
    for number, name in names.items():
        book = books[name]
        usd_only(book, "compression")
        if first is not None and book.timestamp != first.timestamp:
            raise BookError(f"{name}: timestamp: {book.timestamp} is not {first.timestamp}: books of one moment only")
        positions[number] = {}
        for place, (leg, leaf) in enumerate(zip(book.legs, _leaves(name, book, params), strict=True)):
            known, whose = leaves.setdefault(leaf.id, (leaf, name))
            if known != leaf:
                raise BookError(
                    f"{name}: legs[{place}]: {leg.symbol} has other market data than in {whose}: "
                    f"{_difference(known, leaf)}"
                )
            lots_per_unit = params.policy.underlying(leaf.id >> 88).lots_per_unit
            lots = round(leg.quantity * lots_per_unit)
            if abs(lots - leg.quantity * lots_per_unit) > 1e-6 or lots == 0:
                raise BookError(
                    f"{name}: legs[{place}].quantity: {leg.quantity!r} is not whole lots of 1/{lots_per_unit}"
                )
            positions[number][leaf.id] = lots
        worth = sum(lots * leaves[key][0].array[0] for key, lots in positions[number].items())
        cash[number] = to_micro_nearest(book.equity) - worth
    fees = {
        key: ceil_div(leaf.forward * fee, BASIS * params.policy.underlying(key >> 88).lots_per_unit)
        for key, (leaf, _) in leaves.items()
    }
    pool = Pool({key: leaf for key, (leaf, _) in leaves.items()}, positions, cash, params.policy.margin, fees)
    return NamedPool(pool, names)


def _difference(one: InstrumentLeaf, other: InstrumentLeaf) -> str:
    for name in ("forward", "iv", "c_long", "c_short"):
        a, b = getattr(one, name), getattr(other, name)
        if a != b:
            return f"{name} {a / MICRO:g} and {b / MICRO:g}"
    return "index, scan range or open interest"


def _instrument(name: str, leg: Leg) -> Instrument:
    if leg.underlying not in UNDERLYINGS:
        raise BookError(f"{name}: {leg.symbol}: the policy does not list {leg.underlying}")
    return Instrument(UNDERLYINGS[leg.underlying], leg.kind, leg.expiry, round(leg.strike * MICRO))


def _leaves(name: str, book: Book, params: BallastParams) -> list[InstrumentLeaf]:
    """A leaf for each leg, in their order."""
    listed = [_instrument(name, leg) for leg in book.legs]
    if not listed:
        return []
    markets = {UNDERLYINGS[key]: book.underlyings[key] for key in book.held}
    reach = {u: m.scan_range or params.scan_range[m.name] for u, m in markets.items()}
    try:
        found = build_leaves(
            listed,
            [round(leg.forward * MICRO) for leg in book.legs],
            [round(leg.volatility * MICRO) for leg in book.legs],
            {u: round(m.index * MICRO) for u, m in markets.items()},
            dict.fromkeys(markets, 0),
            {u: round(r * MICRO) for u, r in reach.items()},
            book.timestamp,
            params.policy,
            {
                each.id: round(leg.open_interest * params.policy.underlying(each.underlying).lots_per_unit)
                for each, leg in zip(listed, book.legs, strict=True)
            },
        )
    except ValueError as problem:
        raise BookError(f"{name}: {problem}") from None
    by_id = {leaf.id: leaf for leaf in found}
    return [by_id[each.id] for each in listed]
