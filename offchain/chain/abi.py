"""Compiled ABI encoders and decoders: one closure a type, built once from its grammar.

They take what eth-abi takes and give what it gives, about ten times faster. Whatever they do not like (a value out of
range, a wrong length, dirty padding, a type they do not know) they leave to eth-abi, so that it alone decides what is
an error and how it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import eth_abi
from eth_abi.grammar import ABIType, BasicType, TupleType, parse
from eth_utils import to_checksum_address

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes, int], Any]
"""Value of the data at an offset; for a dynamic type, where its content begins."""
WORD = 32


class Odd(Exception):
    """Not what a compiled codec handles: eth-abi decides."""


_ODD = (Odd, TypeError, ValueError, OverflowError, AttributeError, IndexError)


def encode(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """ABI encoding of some values, as `eth_abi.encode` of them with `plain` values.

    Raises
    ------
    eth_abi.exceptions.EncodingError
        A value does not fit its type.
    """
    try:
        return _encoder(_tuple_of(tuple(types)))(values)
    except _ODD:
        return eth_abi.encode(types, [plain(value) for value in values])


def decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Values of ABI-encoded data: addresses in checksum form, arrays as tuples, but arrays of addresses as lists.

    Raises
    ------
    eth_abi.exceptions.DecodingError
        The data is too short, or not what the types say.
    """
    try:
        found: tuple[Any, ...] = _decoder(_tuple_of(tuple(types)))(bytes(data), 0)
        return found
    except _ODD:
        pairs = zip(eth_abi.decode(types, data), types, strict=True)
        return tuple(_clean(value, _parsed(kind)) for value, kind in pairs)


def plain(value: Any) -> Any:
    """Accept lists, tuples, hexadecimal byte strings and things with an address for what eth-abi wants."""
    if isinstance(value, str) and value.startswith("0x") and len(value) != 42:
        return bytes.fromhex(value[2:])
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return getattr(value, "address", value)


@cache
def _parsed(kind: str) -> ABIType:
    return parse(kind)


@cache
def _tuple_of(types: tuple[str, ...]) -> str:
    return f"({','.join(types)})"


@lru_cache(maxsize=1 << 16)
def _checksummed(address: bytes) -> str:
    return to_checksum_address(address)


def _clean(value: Any, kind: ABIType) -> Any:
    """What eth-abi decoded, in the shapes of `decode`."""
    if kind.is_array:
        items = [_clean(each, kind.item_type) for each in value]
        return items if kind.item_type.to_type_str() == "address" else tuple(items)
    if isinstance(kind, TupleType):
        return tuple(_clean(each, part) for each, part in zip(value, kind.components, strict=True))
    return to_checksum_address(value) if kind.to_type_str() == "address" else value


# Encoding


@cache
def _encoder(kind: str) -> Encoder:
    """Encoder of a type; of a dynamic one, its content without the offset that points to it."""
    parsed = _parsed(kind)
    if parsed.is_array:
        return _encode_array(parsed)
    if isinstance(parsed, TupleType):
        return _encode_tuple([(part.to_type_str(), part.is_dynamic) for part in parsed.components])
    assert isinstance(parsed, BasicType), "neither an array nor a tuple"
    if parsed.base in ("uint", "int"):
        return _encode_integer(parsed.base == "int", parsed.sub)
    if parsed.base == "bytes" and parsed.sub is not None:
        return _encode_fixed_bytes(parsed.sub)
    if kind in ("bytes", "string"):
        return _encode_bytes if kind == "bytes" else _encode_string
    if kind == "address":
        return _encode_address
    if kind == "bool":
        return _encode_bool
    return _odd


def _odd(value: Any) -> bytes:
    raise Odd


def _encode_integer(signed: bool, bits: int) -> Encoder:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)

    def of(value: Any) -> bytes:
        if value.__class__ is bool or not low <= value < high:
            raise Odd
        return value.to_bytes(WORD, "big", signed=signed)  # type: ignore[no-any-return]

    return of


def _encode_fixed_bytes(size: int) -> Encoder:
    padding = bytes(WORD - size)

    def of(value: Any) -> bytes:
        if value.__class__ is not bytes or len(value) != size:
            raise Odd
        return value + padding

    return of


def _encode_bytes(value: Any) -> bytes:
    if value.__class__ is not bytes:
        raise Odd
    return b"".join((len(value).to_bytes(WORD, "big"), value, bytes(-len(value) % WORD)))


def _encode_string(value: Any) -> bytes:
    if value.__class__ is not str or value.startswith("0x"):
        raise Odd
    return _encode_bytes(value.encode())


@lru_cache(maxsize=1 << 16)
def _address_word(text: str) -> bytes:
    if len(text) != 42 or not text.startswith("0x"):
        raise Odd
    return bytes(12) + bytes.fromhex(text[2:])


def _encode_address(value: Any) -> bytes:
    return _address_word(value if value.__class__ is str else value.address)


def _encode_bool(value: Any) -> bytes:
    if value.__class__ is not bool:
        raise Odd
    return int(value).to_bytes(WORD, "big")


def _encode_words(values: Any) -> bytes:
    """Many uint256: the hot case."""
    if bool in set(map(type, values)):
        raise Odd
    return b"".join([value.to_bytes(WORD, "big") for value in values])


def _encode_hashes(values: Any) -> bytes:
    """Many bytes32."""
    if values and (set(map(type, values)) != {bytes} or set(map(len, values)) != {WORD}):
        raise Odd
    return b"".join(values)


def _encode_array(kind: ABIType) -> Encoder:
    item, size = kind.item_type, (kind.arrlist[-1] or (None,))[0]
    name = item.to_type_str()
    if item.is_dynamic:
        each = _encoder(name)

        def body(values: Any) -> bytes:
            return _with_offsets([each(value) for value in values])
    elif name == "uint256":
        body = _encode_words
    elif name == "bytes32":
        body = _encode_hashes
    else:
        each = _encoder(name)

        def body(values: Any) -> bytes:
            return b"".join([each(value) for value in values])

    def of(values: Any) -> bytes:
        if values.__class__ is not list and values.__class__ is not tuple:
            raise Odd
        if size is None:
            return len(values).to_bytes(WORD, "big") + body(values)
        if len(values) != size:
            raise Odd
        return body(values)

    return of


def _with_offsets(parts: list[bytes]) -> bytes:
    at, heads = WORD * len(parts), []
    for part in parts:
        heads.append(at.to_bytes(WORD, "big"))
        at += len(part)
    return b"".join(heads + parts)


def _encode_tuple(parts: list[tuple[str, bool]]) -> Encoder:
    encoders = [(_encoder(name), dynamic) for name, dynamic in parts]
    count = len(parts)
    if not any(dynamic for _, dynamic in parts):
        plainly = [each for each, _ in encoders]

        def static(values: Any) -> bytes:
            if len(values) != count:
                raise Odd
            return b"".join([each(value) for each, value in zip(plainly, values, strict=True)])

        return static
    head_size = sum(WORD if dynamic else _size(_parsed(name)) for name, dynamic in parts)

    def of(values: Any) -> bytes:
        if len(values) != count:
            raise Odd
        at, heads, tails = head_size, [], []
        for (each, dynamic), value in zip(encoders, values, strict=True):
            part = each(value)
            if dynamic:
                heads.append(at.to_bytes(WORD, "big"))
                tails.append(part)
                at += len(part)
            else:
                heads.append(part)
        return b"".join(heads + tails)

    return of


def _size(kind: ABIType) -> int:
    """Bytes of a static type."""
    if kind.is_array:
        return int(kind.arrlist[-1][0]) * _size(kind.item_type)
    if isinstance(kind, TupleType):
        return sum(_size(part) for part in kind.components)
    return WORD


# Decoding


@cache
def _decoder(kind: str) -> Decoder:
    parsed = _parsed(kind)
    if parsed.is_array:
        return _decode_array(parsed)
    if isinstance(parsed, TupleType):
        return _decode_tuple(list(parsed.components))
    assert isinstance(parsed, BasicType), "neither an array nor a tuple"
    if parsed.base in ("uint", "int"):
        return _decode_integer(parsed.base == "int", parsed.sub)
    if parsed.base == "bytes" and parsed.sub is not None:
        return _decode_fixed_bytes(parsed.sub)
    if kind == "bytes":
        return _decode_bytes
    if kind == "string":
        return lambda data, at: _decode_bytes(data, at).decode()
    if kind == "address":
        return _decode_address
    if kind == "bool":
        return _decode_bool
    return _odd_data


def _odd_data(data: bytes, at: int) -> Any:
    raise Odd


def _word(data: bytes, at: int) -> bytes:
    word = data[at : at + WORD]
    if len(word) != WORD:
        raise Odd
    return word


def _decode_integer(signed: bool, bits: int) -> Decoder:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)

    def of(data: bytes, at: int) -> int:
        value = int.from_bytes(_word(data, at), "big", signed=signed)
        if not low <= value < high:
            raise Odd
        return value

    return of


def _decode_fixed_bytes(size: int) -> Decoder:
    def of(data: bytes, at: int) -> bytes:
        word = _word(data, at)
        if any(word[size:]):
            raise Odd
        return word[:size]

    return of


def _decode_bytes(data: bytes, at: int) -> bytes:
    size = int.from_bytes(_word(data, at), "big")
    padded = data[at + WORD : at + WORD + size + -size % WORD]
    if size > len(data) or len(padded) != size + -size % WORD or any(padded[size:]):
        raise Odd
    return padded[:size]


def _decode_address(data: bytes, at: int) -> str:
    word = _word(data, at)
    if any(word[:12]):
        raise Odd
    return _checksummed(word[12:])


def _decode_bool(data: bytes, at: int) -> bool:
    value = int.from_bytes(_word(data, at), "big")
    if value > 1:
        raise Odd
    return value == 1


def _decode_array(kind: ABIType) -> Decoder:
    item, fixed = kind.item_type, (kind.arrlist[-1] or (None,))[0]
    each, dynamic = _decoder(item.to_type_str()), item.is_dynamic
    step = WORD if dynamic else _size(item)
    addresses = item.to_type_str() == "address"

    def of(data: bytes, at: int) -> Any:
        size = fixed
        if size is None:
            size = int.from_bytes(_word(data, at), "big")
            at += WORD
            if size * step > len(data):
                raise Odd
        places = range(at, at + size * step, step)
        if dynamic:
            items = [each(data, at + int.from_bytes(_word(data, place), "big")) for place in places]
        else:
            items = [each(data, place) for place in places]
        return items if addresses else tuple(items)

    return of


def _decode_tuple(parts: list[ABIType]) -> Decoder:
    plan, offset = [], 0
    for part in parts:
        plan.append((_decoder(part.to_type_str()), part.is_dynamic, offset))
        offset += WORD if part.is_dynamic else _size(part)

    def of(data: bytes, at: int) -> tuple[Any, ...]:
        return tuple(
            [
                each(data, at + int.from_bytes(_word(data, at + place), "big") if dynamic else at + place)
                for each, dynamic, place in plan
            ]
        )

    return of
