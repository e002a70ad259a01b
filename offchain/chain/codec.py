"""ABI encoding of calls, results and events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_utils import keccak

from offchain.chain.abi import decode, encode

Param = dict[str, Any]


def canonical(param: Param) -> str:
    """The ABI type of a parameter, a tuple written out."""
    kind: str = param["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(canonical(c) for c in param['components'])}){kind[5:]}"


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
        return self.selector + encode(self.inputs, args)

    def decode(self, data: bytes) -> Any:
        values = decode(self.outputs, data)
        if not values:
            return None
        return values[0] if len(values) == 1 else values


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
        rest, heads = iter(decode(self._data_types, data)), iter(topics[1:])
        out = {}
        for name, kind, indexed in zip(self.names, self._topic_types, self.indexed, strict=True):
            out[name] = decode((kind,), next(heads))[0] if indexed else next(rest)
        return out

    @cached_property
    def _data_types(self) -> tuple[str, ...]:
        return tuple(k for k, indexed in zip(self.types, self.indexed, strict=True) if not indexed)

    @cached_property
    def _topic_types(self) -> tuple[str, ...]:
        """Types as topics: 32 bytes of hash where the argument does not fit a word."""
        return tuple(k if k[-1] not in "])" and k not in ("bytes", "string") else "bytes32" for k in self.types)


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
        return encode(self.constructor, args)


def revert_reason(data: bytes) -> str:
    """The string of `Error(string)`, or the bytes in hexadecimal; empty where the chain gave none."""
    if data[:4] == bytes.fromhex("08c379a0"):
        return decode(["string"], data[4:])[0]
    return f"0x{data.hex()}" if data else ""
