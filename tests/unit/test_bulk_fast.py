"""The compiled engine of `risk.bulk` gives the integers of the NumPy engine and of the twin, to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.risk import bulk
from offchain.risk.bulk import BulkBook, leaf_columns
from offchain.risk.policy import default_policy
from offchain.risk.portfolios import content_of, evaluate

PARAMS = default_policy().margin
TOP = 2**31 - 1
IDS = [Instrument(1 + n // 6, Kind.CALL, 2_000_000_000, (1 + n % 6) * 10**6).id for n in range(24)]
KAPPAS, FACTORS = (0, 2_000, 3_000), (10_001, 12_500, 65_535)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "COMPILE_FROM", 0)


def leaves_of(rng: np.random.Generator, spread: int) -> list[InstrumentLeaf]:
    arrays = rng.integers(-spread, spread, size=(len(IDS), 40), endpoint=True)
    costs = rng.integers(0, min(2 * spread, 2**32), size=(len(IDS), 2))
    return [
        InstrumentLeaf(key, 10**9, 0, int(c[0]), int(c[1]), Status.OPEN, tuple(array))
        for key, array, c in zip(IDS, arrays.tolist(), costs, strict=True)
    ]


def positions_of(rng: np.random.Generator, accounts: int, most: int) -> dict[int, dict[int, int]]:
    out = {}
    for number in range(accounts):
        held = rng.choice(len(IDS), size=rng.integers(0, 13), replace=False)
        sizes = rng.integers(1, max(most // max(len(held), 1), 2), size=len(held))
        signs = rng.choice([-1, 1], size=len(held))
        out[256 + number] = {IDS[place]: int(q) for place, q in zip(held, sizes * signs, strict=True)}
    return out


def both(
    book: BulkBook, columns: tuple, cash: object, params: object, monkeypatch: pytest.MonkeyPatch
) -> tuple[bulk.BulkMargins, bulk.BulkMargins, bulk.BulkVectors, bulk.BulkVectors]:
    monkeypatch.setattr(bulk, "COMPILE_FROM", 0)
    fast, fast_vectors = book.margins_of(*columns, cash, params), book.evaluate_vectors(*columns)
    monkeypatch.setattr(bulk, "COMPILE_FROM", 2**62)
    return fast, book.margins_of(*columns, cash, params), fast_vectors, book.evaluate_vectors(*columns)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 10**3, 10**8, TOP]),
    st.sampled_from([2, 10**4, 2**31 - 1, 2**31, 2**32 - 1]),
    st.sampled_from([0, 10**12, 2**57, 2**62]),
    st.sampled_from(KAPPAS),
    st.sampled_from(FACTORS),
)
def test_margins_of__any_book__both_engines_and_the_twin_agree(
    seed: int, spread: int, most: int, money: int, kappa: int, factor: int
) -> None:
    rng = np.random.default_rng(seed)
    leaves, positions = leaves_of(rng, spread), positions_of(rng, 8, most)
    cash = [int(c) for c in rng.integers(-money, money, size=8, endpoint=True)]
    params = replace(PARAMS, kappa=kappa, im_factor=factor, reserve=int(rng.integers(0, 2**48)))
    book = BulkBook.of(positions, IDS)
    columns = leaf_columns(leaves, IDS)
    with pytest.MonkeyPatch.context() as patch:
        fast, slow, fast_vectors, slow_vectors = both(book, columns, cash, params, patch)
        arrayed, *_ = both(book, columns, np.array(cash, dtype=np.int64), params, patch)
    assert (fast_vectors.vectors == slow_vectors.vectors).all()
    assert (fast_vectors.closeout == slow_vectors.closeout).all()
    known = {leaf.id: leaf for leaf in leaves}
    for place, (account, held) in enumerate(positions.items()):
        twin = evaluate(content_of(account, held, known), cash[place], params)
        assert fast[place] == slow[place] == arrayed[place] == twin


@pytest.mark.parametrize("value", [TOP, -TOP])
@pytest.mark.parametrize("lots", [2**31 - 1, 2**31, 2**32 - 1, -(2**31), 1 - 2**32])
def test_margins_of__lanes_and_lots_at_their_ends__exact(compiled: None, value: int, lots: int) -> None:
    leaf = InstrumentLeaf(IDS[0], 10**9, 0, 0, 0, Status.OPEN, (value,) * 39 + (-value,))
    book = BulkBook.of({256: {leaf.id: lots}}, [leaf.id])
    columns = leaf_columns([leaf])
    assert book.evaluate_vectors(*columns).vectors[0, 0].tolist() == [lots * value] * 39 + [-lots * value]
    content = content_of(256, {leaf.id: lots}, {leaf.id: leaf})
    assert book.margins_of(*columns, [5], PARAMS)[0] == evaluate(content, 5, PARAMS)


def test_margins_of__one_account_beyond_the_bound__its_neighbours_stay_exact(compiled: None) -> None:
    rng = np.random.default_rng(5)
    leaves, positions = leaves_of(rng, 10**6), positions_of(rng, 40, 1_000)
    cash = [int(c) for c in rng.integers(-(10**9), 10**9, size=40)]
    cash[17] = 2**100
    found = BulkBook.of(positions, IDS).margins_of(*leaf_columns(leaves), cash, PARAMS)
    known = {leaf.id: leaf for leaf in leaves}
    for place, (account, held) in enumerate(positions.items()):
        assert found[place] == evaluate(content_of(account, held, known), cash[place], PARAMS)


def test_margins_of__no_positions__cash_alone(compiled: None) -> None:
    book = BulkBook([], [256, 257], np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64))
    empty = np.zeros((0, 40), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    found = book.margins_of(*empty, [3, -4], PARAMS)
    assert [found[place].im_excess for place in range(2)] == [3, -4]
    assert found[0].requirement == 0


def test_margins_of__value_of_32_bits__left_to_the_wide_engine(compiled: None) -> None:
    """No leaf holds it, but the array door is wider than a leaf."""
    book = BulkBook.of({256: {IDS[0]: 3}}, IDS[:1])
    array = np.full((1, 40), 2**31, dtype=np.int64)
    assert book.margins_of(array, np.zeros(1, np.int64), np.zeros(1, np.int64), [0], PARAMS)[0].pv == 3 * 2**31


def test_margins_of__cash_of_another_length__refused(compiled: None) -> None:
    book = BulkBook.of({256: {IDS[0]: 3}}, IDS[:1])
    array, cost = np.zeros((1, 40), dtype=np.int64), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="2 cash balances for 1 accounts"):
        book.margins_of(array, cost, cost, [0, 0], PARAMS)
