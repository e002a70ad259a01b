"""Instruments and their leaves: ids, symbols, and the bytes that a tree holds (docs/protocol.md, *Wire formats*)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from functools import cached_property

from eth_abi import encode

from offchain.units import MAX_VALUE, MICRO, SCENARIOS, field, placed

_B31 = 1 << 31
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class Kind(IntEnum):
    """What an instrument is; the low byte of its id."""

    PERPETUAL = 1
    FUTURE = 2
    CALL = 3
    PUT = 4
    TOKEN = 5

    @property
    def is_option(self) -> bool:
        return self in (Kind.CALL, Kind.PUT)

    @property
    def is_dated(self) -> bool:
        return self in (Kind.FUTURE, Kind.CALL, Kind.PUT)


class Status(IntEnum):
    """What may be done with an instrument."""

    OPEN = 1
    CLOSE_ONLY = 2
    EXPIRED = 3


@dataclass(frozen=True)
class Instrument:
    """A listed instrument. Instruments order as their ids do: by underlying, expiry, strike, kind.

    Attributes
    ----------
    underlying : number of the underlying, 1 and up.
    kind : what it is.
    expiry : seconds since 1970; 0 for a perpetual and a token.
    strike : micro-USD per unit of the underlying; for a token its number among the underlying's tokens; else 0.

    Raises
    ------
    ValueError
        A field is out of range, or a kind has a field that it must not have, or lacks one.
    """

    underlying: int
    kind: Kind
    expiry: int = 0
    strike: int = 0

    def __post_init__(self) -> None:
        try:
            kind = Kind(self.kind)
        except ValueError:
            raise ValueError(f"unknown instrument kind {self.kind}") from None
        object.__setattr__(self, "kind", kind)
        if self.underlying < 1:
            raise ValueError(f"underlying {self.underlying} is not 1 or more")
        if kind.is_dated and self.expiry < 1:
            raise ValueError(f"a {kind.name.lower()} needs an expiry, not {self.expiry}")
        if not kind.is_dated and self.expiry != 0:
            raise ValueError(f"a {kind.name.lower()} has no expiry, but {self.expiry} was given")
        if kind.is_option and self.strike < 1:
            raise ValueError(f"a {kind.name.lower()} needs a positive strike, not {self.strike}")
        if kind in (Kind.PERPETUAL, Kind.FUTURE) and self.strike != 0:
            raise ValueError(f"a {kind.name.lower()} has no strike, but {self.strike} was given")
        self.id  # noqa: B018  (checks the widths)

    @property
    def id(self) -> int:
        """The 104-bit id."""
        return (
            placed("underlying", self.underlying, 16, 88)
            | placed("expiry", self.expiry, 32, 56)
            | placed("strike", self.strike, 48, 8)
            | int(self.kind)
        )

    @classmethod
    def from_id(cls, identifier: int) -> Instrument:
        """The instrument that an id names.

        Raises
        ------
        ValueError
            No instrument has this id.
        """
        if not 0 < identifier < 1 << 104:
            raise ValueError(f"{identifier:#x} is no instrument id")
        try:
            return cls(
                field(identifier, 103, 88),
                Kind(field(identifier, 7, 0)),
                field(identifier, 87, 56),
                field(identifier, 55, 8),
            )
        except ValueError as problem:
            raise ValueError(f"{identifier:#x} is no instrument id: {problem}") from None

    def symbol(self, names: Mapping[int, str] | None = None) -> str:
        """A name for people: ``BTC-PERP``, ``BTC-27MAR20``, ``BTC-27MAR20-5000-C``, ``ETH-TOKEN0``.

        An expiry that is not 08:00 UTC (the usual hour) shows its time: ``BTC-27MAR20T0930-5000-C``.
        """
        name = (names or {}).get(self.underlying, f"U{self.underlying}")
        if self.kind is Kind.PERPETUAL:
            return f"{name}-PERP"
        if self.kind is Kind.TOKEN:
            return f"{name}-TOKEN{self.strike}"
        when = datetime.fromtimestamp(self.expiry, UTC)
        date = f"{when.day}{_MONTHS[when.month - 1]}{when.year % 100:02d}"
        if (when.hour, when.minute, when.second) != (8, 0, 0):
            date += f"T{when:%H%M}" + (f"{when:%S}" if when.second else "")
        if self.kind is Kind.FUTURE:
            return f"{name}-{date}"
        whole, rest = divmod(self.strike, MICRO)
        strike = f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)
        return f"{name}-{date}-{strike}-{'C' if self.kind is Kind.CALL else 'P'}"


def pack_array(values: Sequence[int]) -> tuple[int, ...]:
    """The five words of a risk array of forty values (docs/protocol.md, *Lanes*).

    Raises
    ------
    ValueError
        There are not forty, or one is not below 2^31 in magnitude.
    """
    if len(values) != SCENARIOS:
        raise ValueError(f"a risk array has {SCENARIOS} values, not {len(values)}")
    words = [0] * 5
    for row, value in enumerate(values):
        if not -MAX_VALUE < value < MAX_VALUE:
            raise ValueError(f"value {value} of row {row} is not below 2^31 in magnitude")
        k, rest = divmod(row, 8)
        half, i = divmod(rest, 4)
        words[k] |= (int(value) + _B31) << (32 * (2 * i + half))
    return tuple(words)


def unpack_array(words: Sequence[int]) -> tuple[int, ...]:
    """The forty values of five words. A lane of zero, which no packing makes, reads as -2^31."""
    if len(words) != 5:
        raise ValueError(f"a risk array has 5 words, not {len(words)}")
    out = []
    for row in range(SCENARIOS):
        k, rest = divmod(row, 8)
        half, i = divmod(rest, 4)
        out.append(((words[k] >> (32 * (2 * i + half))) & 0xFFFFFFFF) - _B31)
    return tuple(out)


@dataclass(frozen=True)
class InstrumentLeaf:
    """What an epoch says of an instrument.

    Attributes
    ----------
    id : instrument id.
    forward : micro-USD per unit: the mark price of a perpetual or token, the forward of a future or option.
    iv : implied volatility, 1e-6; 0 unless an option.
    c_long, c_short : close-out cost of one lot held long or short, micro-USD.
    status : see `Status`.
    array : forty values of one lot, micro-USD; entry 0 is the mark.
    """

    id: int
    forward: int
    iv: int
    c_long: int
    c_short: int
    status: Status
    array: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))
        object.__setattr__(self, "array", tuple(int(v) for v in self.array))

    @property
    def instrument(self) -> Instrument:
        return Instrument.from_id(self.id)

    @property
    def meta(self) -> int:
        """The first word: id, forward, volatility, close-out costs, status."""
        return (
            placed("instrument id", self.id, 104, 152)
            | placed("forward", self.forward, 48, 104)
            | placed("implied volatility", self.iv, 32, 72)
            | placed("c_long", self.c_long, 32, 40)
            | placed("c_short", self.c_short, 32, 8)
            | int(self.status)
        )

    @cached_property
    def words(self) -> tuple[int, ...]:
        """The packed risk array, five words."""
        return pack_array(self.array)

    def pack(self) -> tuple[int, list[int]]:
        """As a contract's `Leg` takes it: (meta, five words)."""
        return self.meta, list(self.words)

    @classmethod
    def unpack(cls, meta: int, words: Sequence[int]) -> InstrumentLeaf:
        """The leaf of a `Leg`.

        Raises
        ------
        ValueError
            The id or the status is none.
        """
        identifier = field(meta, 255, 152)
        Instrument.from_id(identifier)
        return cls(
            identifier,
            field(meta, 151, 104),
            field(meta, 103, 72),
            field(meta, 71, 40),
            field(meta, 39, 8),
            Status(field(meta, 7, 0)),
            unpack_array(words),
        )

    def encode(self) -> bytes:
        """`abi.encode(meta, array)`, 192 bytes: what the tree hashes."""
        return encode(["uint256", "uint256[5]"], list(self.pack()))


Leg = InstrumentLeaf
"""A position's instrument in a full check; the same words."""
