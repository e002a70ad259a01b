"""Bundles: one spelling for one set of numbers, addressed by its hash, and read back only if unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offchain.oracle.bundles import Bundle, BundleError, BundleStore, SignedBody, bundle_hash, canonical, word

VECTOR: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "bundle.json").read_text())["cases"][0]
TEXT = VECTOR["text"].encode("ascii")


def test_bundle__independent_implementation__same_bytes_and_hash() -> None:
    bundle = Bundle.decode(TEXT)
    assert bundle.encode() == TEXT
    assert bundle_hash(TEXT) == bytes.fromhex(VECTOR["hash"][2:])
    assert bundle.epoch == 439822
    assert bundle.policy == b"\x01\x02"
    assert len(bundle.accounts) == 2
    assert bundle.instruments[0][1] == (1, 2, 3, 4, 5)
    assert bundle.observations == (SignedBody(2, {"b": 2, "a": {"1": -5}}, b"\x0c" * 128),)


def test_bundle__checksummed_address__same_bytes() -> None:
    bundle = Bundle.decode(TEXT)
    assert replace(bundle, oracle=bundle.oracle.upper().replace("0X", "0x")).encode() == TEXT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"epoch":', b'"epoch": '),  # a space
        (b'{"accounts"', b'\n{"accounts"'),  # a newline
        (b'"version":1', b'"version":1,"more":0'),  # an unknown key
        (b'"policy":"0x0102"', b'"policy":"0X0102"'),
        (b'"oracle":"0xabab', b'"oracle":"0xABab'),
        (b'"chain_id":31337', b'"chain_id":31337.5'),
        (b'"chain_id":31337', b'"chain":31337'),
        (b'"signature":"0x0c', b'"signature":"0x0C'),
        (b'[["0x00000000', b'[["0x000000'),  # a head of 31 bytes
        (b'01","0x1c6e', b'","0x011c6e'),  # a byte moved from head to position hash
        (b'["0x7fff', b'["0x7FFF'),
        (b'["0x7fff', b'["0x 7fff'),
        (b'["0x7fff', b'["7fff'),
        (b'["0x7fff', b'["0x01","0x7fff'),  # a word of one byte
        (b',["0x7fff', b',["0x7fff","0x7fff'),
    ],
)
def test_bundle__other_spelling__refused(old: bytes, new: bytes) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(BundleError):
        Bundle.decode(TEXT.replace(old, new, 1))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\xff\xfe", TEXT[:-1], b'{"version":1}'])
def test_bundle__not_a_bundle__refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.decode(data)


def test_bundle__other_version__refused() -> None:
    with pytest.raises(BundleError, match="version 2"):
        Bundle.decode(TEXT.replace(b'"version":1', b'"version":2'))


def test_canonical__float__refused() -> None:
    assert canonical({"b": [1, {"d": "é"}], "a": -1}) == b'{"a":-1,"b":[1,{"d":"\\u00e9"}]}'
    with pytest.raises(TypeError, match="float"):
        canonical({"a": [{"b": 0.5}]})


def test_word__out_of_range__refused() -> None:
    assert word(2**256 - 1) == "0x" + "f" * 64
    for value in (-1, 2**256):
        with pytest.raises(ValueError, match="not a 256-bit word"):
            word(value)


def test_folder__written_bundle__read_back_by_its_hash(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "bundles")
    address = store.write(TEXT)
    assert address == bundle_hash(TEXT)
    assert store.write(TEXT) == address
    assert store.read(address) == TEXT
    assert [path.name for path in store.folder.iterdir()] == [f"{address.hex()}.json"]


def test_folder__changed_or_missing_file__refused(tmp_path: Path) -> None:
    store = BundleStore(tmp_path)
    address = store.write(TEXT)
    store.path(address).write_bytes(TEXT.replace(b"31337", b"31338"))
    with pytest.raises(BundleError, match="does not hash to its name"):
        store.read(address)
    with pytest.raises(BundleError, match="no bundle 00"):
        store.read(bytes(32))


def test_folder__write_fails_half_way__nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BundleStore(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("offchain.oracle.bundles.os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        store.write(TEXT)
    assert list(tmp_path.iterdir()) == []
