"""The encodings that `benchmarks.witnesses` measures: each gives the integers of Python and refuses what is false."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.witnesses import ENCODINGS, Bench, Encoding, narrow_words, rounded
from offchain.chain.backends import Reverted
from offchain.chain.revm import RevmChain
from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status

WEEK = 7 * 86_400
BOOKS = [
    {i: (50 + i) * (1 if i % 3 else -1) for i in (*range(8, 16), *range(40, 44))},
    {i: (2**31 - 1) * (1 if i % 2 else -1) for i in (3, 60)},
]


def leaves() -> list[InstrumentLeaf]:
    """Sixty-four options, values at the ends of what 24 bits hold among them."""
    made = []
    for number in range(64):
        strike, kind = 10**9 * (1 + number % 32 // 2), (Kind.CALL, Kind.PUT)[number % 2]
        instrument = Instrument(1, kind, WEEK * (1 + number // 32), strike)
        mark = 1_000_003 * number
        far = [-(2**27), 2**27 - 16, *(4_001 * row * (-1) ** row for row in range(3, 40))]
        array = (mark, *(mark + each for each in far))
        made.append(rounded(InstrumentLeaf(instrument.id, 10**9, 650_000, 7 + number, 9 + number, Status.OPEN, array)))
    assert [leaf.id for leaf in made] == sorted(leaf.id for leaf in made)
    return made


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(RevmChain(), leaves(), BOOKS)


def refuses(bench: Bench, encoding: Encoding, args: list[Any]) -> str:
    """Why the check is refused."""
    with pytest.raises(Reverted) as caught:
        bench.check(encoding, args)
    return caught.value.reason


@pytest.mark.parametrize("book", [0, 1])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: each.name)
def test_encoding__gives_the_integers_of_python(bench: Bench, encoding: Encoding, book: int) -> None:
    figures = bench.check(encoding, bench.prepare(encoding, book))
    assert figures["gas"] >= figures["floor"] > 21_000


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: each.name)
def test_encoding__wrong_leaf_hash_or_root__refused(bench: Bench, encoding: Encoding) -> None:
    good = bench.prepare(encoding, 0)

    def spoilt(meta: int, words: list[int]) -> tuple[int, list[int]]:
        return meta, [*words[:-1], words[-1] ^ 1]

    legs = list(good[1])
    legs[1] = [spoilt(*legs[1][0]), *legs[1][1:]] if encoding.name == "strikes" else spoilt(*legs[1])
    at = 3 if encoding.name == "single_proofs" else 2
    proof = [bytes(32), *good[at][1:]]
    assert "not proven" in refuses(bench, encoding, [good[0], legs, *good[2:]])
    assert "not proven" in refuses(bench, encoding, [*good[:at], proof, *good[at + 1 :]])
    bench.harness[encoding.contract].send.set_root(bytes(31) + b"\1", sender=bench.sender)
    assert "not proven" in refuses(bench, encoding, good)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: each.name)
def test_encoding__position_left_out_or_order_changed__refused(bench: Bench, encoding: Encoding) -> None:
    good = bench.prepare(encoding, 0)
    step = 2 if encoding.name == "pairs" else 1
    turned = [*good[1][step : 2 * step], *good[1][:step], *good[1][2 * step :]]
    why = "not proven" if encoding.name == "single_proofs" else "not ascending"
    assert why in refuses(bench, encoding, [good[0], turned, *good[2:]])
    some = {i: q for i, q in BOOKS[0].items() if i < 40}
    _, args = encoding.prepare(bench.leaves, sorted(some))
    assert "not all positions" in refuses(bench, encoding, [0, *args])


def test_places__that_end_early__refused(bench: Bench) -> None:
    encoding = next(each for each in ENCODINGS if each.name == "places")
    book, legs, proof, words = bench.prepare(encoding, 0)
    assert "malformed" in refuses(bench, encoding, [book, legs, proof, [0] * len(words)])
    assert "malformed" in refuses(bench, encoding, [book, legs, [*proof, bytes(32)], words])


def test_narrow__value_too_far_from_the_mark__refused() -> None:
    leaf = leaves()[0]
    with pytest.raises(ValueError, match="row 1 .* no 24 bits"):
        narrow_words(InstrumentLeaf(leaf.id, 1, 1, 1, 1, Status.OPEN, (0, 2**27, *([0] * 38))))
