"""ABI encoding of calls, results and events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from eth_abi import decode, encode
from eth_abi.grammar import ABIType, TupleType, parse
from eth_utils import keccak, to_checksum_address

Param = dict[str, Any]


def canonical(param: Param) -> str:
    """The ABI type of a parameter, a tuple written out."""
    kind: str = param["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(canonical(c) for c in param['components'])}){kind[5:]}"


@cache
def _parsed(kind: str) -> ABIType:
    return parse(kind)


def _clean(value: Any, kind: str | ABIType) -> Any:
    """Checksum addresses, however deep; leave the rest as eth-abi gives it."""
    if isinstance(kind, str):
        if "address" not in kind and "(" not in kind:
            return value
        kind = _parsed(kind)
    if kind.is_array:
        items = [_clean(v, kind.item_type) for v in value]
        return items if kind.item_type.to_type_str() == "address" else tuple(items)
    if isinstance(kind, TupleType):
        return tuple(_clean(v, part) for v, part in zip(value, kind.components, strict=True))
    return to_checksum_address(value) if kind.to_type_str() == "address" else value


def _plain(value: Any) -> Any:
    """Accept lists, tuples and hexadecimal byte strings for what eth-abi wants."""
    if isinstance(value, str) and value.startswith("0x") and len(value) != 42:
        return bytes.fromhex(value[2:])
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return getattr(value, "address", value)


@dataclass(frozen=True)
class Function:
    """A function of an ABI."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def selector(self) -> bytes:
        return keccak(text=f"{self.name}({','.join(self.inputs)})")[:4]

    def encode(self, args: tuple[Any, ...]) -> bytes:
        if len(args) != len(self.inputs):
            raise TypeError(f"{self.name} takes {len(self.inputs)} arguments, not {len(args)}")
        return self.selector + encode(self.inputs, [_plain(a) for a in args])

    def decode(self, data: bytes) -> Any:
        values = [_clean(v, k) for v, k in zip(decode(self.outputs, data), self.outputs, strict=True)]
        if not values:
            return None
        return values[0] if len(values) == 1 else tuple(values)


@dataclass(frozen=True)
class EventType:
    """An event of an ABI."""

    name: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    indexed: tuple[bool, ...]

    @cached_property
    def topic(self) -> bytes:
        return keccak(text=f"{self.name}({','.join(self.types)})")

    def decode(self, topics: list[bytes], data: bytes) -> dict[str, Any]:
        """Arguments by name. An indexed dynamic argument is its hash, as the chain has it."""
        plain = [k for k, i in zip(self.types, self.indexed, strict=True) if not i]
        rest = iter(decode(plain, data))
        heads = iter(topics[1:])
        out = {}
        for name, kind, indexed in zip(self.names, self.types, self.indexed, strict=True):
            value = decode([kind], next(heads))[0] if indexed else next(rest)
            out[name] = _clean(value, kind)
        return out


class Abi:
    """Functions by name and events by topic, from a JSON ABI."""

    def __init__(self, abi: tuple[dict[str, Any], ...]):
        self.functions: dict[str, Function] = {}
        self.events: dict[bytes, EventType] = {}
        self.constructor: tuple[str, ...] = ()
        for entry in abi:
            inputs = tuple(canonical(p) for p in entry.get("inputs", ()))
            if entry["type"] == "function":
                outputs = tuple(canonical(p) for p in entry["outputs"])
                known = self.functions.get(entry["name"])
                if known is None or len(known.inputs) < len(inputs):
                    self.functions[entry["name"]] = Function(entry["name"], inputs, outputs)
            elif entry["type"] == "constructor":
                self.constructor = inputs
            elif entry["type"] == "event":
                event = EventType(
                    entry["name"],
                    tuple(p["name"] for p in entry["inputs"]),
                    inputs,
                    tuple(p["indexed"] for p in entry["inputs"]),
                )
                self.events[event.topic] = event

    def encode_constructor(self, args: tuple[Any, ...]) -> bytes:
        if len(args) != len(self.constructor):
            raise TypeError(f"the constructor takes {len(self.constructor)} arguments, not {len(args)}")
        return encode(self.constructor, [_plain(a) for a in args])


def revert_reason(data: bytes) -> str:
    """The string of `Error(string)`, or the bytes in hexadecimal; empty where the chain gave none."""
    if data[:4] == bytes.fromhex("08c379a0"):
        return decode(["string"], data[4:])[0]
    return f"0x{data.hex()}" if data else ""
