"""The compiled ABI codec is eth-abi: the same bytes, the same values, the same refusals."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import eth_abi
import pytest
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.chain import abi
from offchain.chain.artifacts import artifact
from offchain.chain.checks import deployables
from offchain.chain.codec import canonical

LEAF = ["uint256", "uint64", "uint8", "int256", "int64", "bytes32", "bytes4", "bytes", "string", "address", "bool"]
OWN = sorted(
    {
        canonical(each)
        for name in deployables()
        for entry in artifact(name).abi
        for each in [*entry.get("inputs", ()), *entry.get("outputs", ())]
    }
)


@cache
def types(depth: int = 2) -> st.SearchStrategy[str]:
    """ABI types: leaves, arrays of fixed and any length, tuples, one in another."""
    leaf = st.sampled_from(LEAF)
    if not depth:
        return leaf
    inner = types(depth - 1)
    return st.one_of(
        leaf,
        st.builds("{}{}".format, inner, st.sampled_from(["[]", "[1]", "[3]"])),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({','.join(parts)})"),
    )


@cache
def values(kind: str) -> st.SearchStrategy[Any]:
    """Values of a type."""
    parsed = eth_abi.grammar.parse(kind)
    if parsed.is_array:
        size = (parsed.arrlist[-1] or (None,))[0]
        inner = values(parsed.item_type.to_type_str())
        return st.lists(inner, min_size=size or 0, max_size=3 if size is None else size)
    if isinstance(parsed, eth_abi.grammar.TupleType):
        return st.tuples(*(values(part.to_type_str()) for part in parsed.components))
    if parsed.base == "uint":
        return st.integers(0, 2**parsed.sub - 1)
    if parsed.base == "int":
        return st.integers(-(2 ** (parsed.sub - 1)), 2 ** (parsed.sub - 1) - 1)
    if parsed.base == "bytes":
        return st.binary(min_size=parsed.sub or 0, max_size=parsed.sub or 70)
    if kind == "string":
        return st.text(max_size=40).filter(lambda text: not text.startswith("0x"))
    if kind == "address":
        return st.binary(min_size=20, max_size=20).map(to_checksum_address)
    return st.booleans()


typed = st.one_of(types(), st.sampled_from(OWN)).flatmap(lambda kind: st.tuples(st.just(kind), values(kind)))


def shaped(value: Any, kind: str) -> Any:
    """eth-abi's value: addresses in checksum form, arrays of them as lists."""
    parsed = eth_abi.grammar.parse(kind)
    if parsed.is_array:
        inner = parsed.item_type.to_type_str()
        items = [shaped(each, inner) for each in value]
        return items if inner == "address" else tuple(items)
    if isinstance(parsed, eth_abi.grammar.TupleType):
        parts = [part.to_type_str() for part in parsed.components]
        return tuple(shaped(each, part) for each, part in zip(value, parts, strict=True))
    return to_checksum_address(value) if kind == "address" else value


@settings(max_examples=60, deadline=None)
@given(st.lists(typed, max_size=4))
def test_encode_and_decode__are_those_of_eth_abi(pairs: list[tuple[str, Any]]) -> None:
    kinds, given_values = [kind for kind, _ in pairs], [value for _, value in pairs]
    data = eth_abi.encode(kinds, given_values)
    assert abi.encode(kinds, given_values) == data
    if pairs:
        assert abi._encoder(f"({','.join(kinds)})")(given_values) == data, "without eth-abi's help"
    expected = tuple(shaped(v, k) for v, k in zip(eth_abi.decode(kinds, data), kinds, strict=True))
    found = abi.decode(kinds, data)
    assert found == expected
    assert json.dumps(found, default=repr) == json.dumps(expected, default=repr), "tuples, lists and types as well"


@settings(max_examples=60, deadline=None)
@given(typed, st.data())
def test_decode__of_damaged_data__as_eth_abi(pair: tuple[str, Any], draw: st.DataObject) -> None:
    """Cut short, or with one byte changed: the same value or the same refusal."""
    kind, value = pair
    data = bytearray(eth_abi.encode([kind], [value]))
    if data and draw.draw(st.booleans()):
        data[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    else:
        data = data[: draw.draw(st.integers(0, len(data)))]
    try:
        expected = shaped(eth_abi.decode([kind], bytes(data))[0], kind)
    except (DecodingError, OverflowError, UnicodeDecodeError) as error:
        with pytest.raises(type(error)):
            abi.decode([kind], bytes(data))
        return
    assert abi.decode([kind], bytes(data))[0] == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint256", -1), ("uint256", 2**256), ("uint8", 256), ("int64", 2**63), ("int256", -(2**255) - 1),
        ("uint256", True), ("uint256", 1.0), ("uint256", "1"), ("uint256[]", [True]), ("uint256[2]", [1]),
        ("bytes32", b"\0" * 33), ("bytes32[]", [b"\0" * 33]), ("bytes", "text"), ("address", "0x12"), ("bool", 1),
        ("(uint256,uint256)", (1,)), ("uint256[]", 5), ("string", b"text"),
    ],
)  # fmt: skip
def test_encode__what_does_not_fit__refused_as_eth_abi_does(kind: str, value: Any) -> None:
    with pytest.raises((EncodingError, TypeError, ValueError)) as theirs:
        eth_abi.encode([kind], [value])
    with pytest.raises(type(theirs.value)):
        abi.encode([kind], [value])


def test_encode__hexadecimal_bytes_and_things_with_an_address() -> None:
    class Contract:
        address = "0x" + "ab" * 20

    assert abi.encode(["bytes32"], ["0x" + "11" * 32]) == b"\x11" * 32
    assert abi.encode(["address"], [Contract()]) == bytes(12) + b"\xab" * 20
    assert abi.encode(["(address,bytes)"], [(Contract(), "0x11")]) == eth_abi.encode(
        ["(address,bytes)"], [(Contract.address, b"\x11")]
    )
