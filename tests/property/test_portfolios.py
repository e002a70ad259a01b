"""The margin rule over generated portfolios: twin against vectors, bulk path against twin, and the threats."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.oracle.accounts import encode_leaves, pack_vectors
from offchain.oracle.headers import AccountLeaf
from offchain.risk.bulk import BulkBook, leaf_columns
from offchain.risk.policy import MarginParams, default_policy
from offchain.risk.portfolios import (
    Content,
    Margin,
    State,
    apply_change,
    content_of,
    evaluate,
    pack_vector,
    scenario_vector,
    state_of,
    unpack_vector,
)

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = json.loads((VECTORS / "margin.json").read_text())["cases"]
SUMS = json.loads((VECTORS / "scenario_vector.json").read_text())["cases"]
PARAMS = default_policy().margin
TOP = 2**31 - 1


def words(texts: list[str]) -> list[int]:
    return [int(text, 16) for text in texts]


def instrument(number: int) -> Instrument:
    """One of 24 instruments over four underlyings; six each, in id order."""
    underlying, place = divmod(number, 6)
    if place == 0:
        return Instrument(underlying + 1, Kind.PERPETUAL)
    return Instrument(underlying + 1, Kind.CALL, 2_000_000_000, place * 10**6)


IDS = [instrument(number).id for number in range(24)]
small = st.integers(-(10**8), 10**8)
lane = small | st.sampled_from([TOP, -TOP, 0]) | st.integers(-TOP, TOP)
cost = st.integers(0, 10**6) | st.just(2**32 - 1)
size = st.integers(1, 1_000) | st.integers(1, 2**31) | st.just(1)
money = st.integers(-(10**13), 10**13) | st.sampled_from([0, -(2**90), 2**90, 2**62, -(2**63)])
params = st.builds(
    lambda kappa, factor, reserve: replace(PARAMS, kappa=kappa, im_factor=factor, reserve=reserve),
    st.integers(0, 3_000) | st.sampled_from([0, 3_000]),
    st.integers(10_001, 65_535),
    st.integers(0, 2**48 - 1) | st.just(20_000_000),
)


@st.composite
def leaf_lists(draw: st.DrawFn) -> list[InstrumentLeaf]:
    """Leaves of the 24 instruments; values from a seed, with some rows drawn to their extremes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([10**3, 10**6, TOP]))
    arrays = rng.integers(-spread, spread, size=(24, 40), endpoint=True)
    for place, row in draw(
        st.lists(st.tuples(st.integers(0, 23), st.lists(lane, min_size=40, max_size=40)), max_size=2)
    ):
        arrays[place] = row
    c_long, c_short = draw(cost), draw(cost)
    return [
        InstrumentLeaf(key, 10**9, 0, c_long, c_short, Status.OPEN, tuple(array))
        for key, array in zip(IDS, arrays.tolist(), strict=True)
    ]


@st.composite
def books(draw: st.DrawFn) -> dict[int, int]:
    """Positions in some of the instruments, `sum |q| < 2^32`."""
    held = draw(st.lists(st.integers(0, 23), max_size=8, unique=True))
    room, out = 2**32 - 1, {}
    for number in held:
        lots = min(draw(size), room)
        if lots:
            out[IDS[number]] = lots * draw(st.sampled_from([-1, 1]))
            room -= lots
    return out


# known answers
def legs_of(case: dict) -> tuple[dict[int, int], dict[int, InstrumentLeaf]]:
    leaves = [InstrumentLeaf.unpack(int(leg["meta"], 16), words(leg["array"])) for leg in case["legs"]]
    return {leaf.id: leg["lots"] for leaf, leg in zip(leaves, case["legs"], strict=True)}, {x.id: x for x in leaves}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_margin__known_answer__words_and_numbers(case: dict) -> None:
    positions, leaves = legs_of(case)
    content = content_of(case["account"], positions, leaves)
    assert content.head == int(case["head"], 16)
    assert content.cost == int(case["cost"], 16)
    assert content.vector_words == words(case["vectors"])
    assert Content.from_words(content.head, content.cost, content.vector_words) == content
    rule = replace(PARAMS, kappa=case["kappa"], im_factor=case["im_factor"], reserve=case["reserve"])
    found = evaluate(content, int(case["cash"]), rule)
    assert found._asdict() == {name: int(case[name]) for name in Margin._fields}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_bulk__known_answer__numbers(case: dict) -> None:
    positions, leaves = legs_of(case)
    order = sorted(leaves)
    book = BulkBook.of({case["account"]: positions}, order)
    found = book.evaluate_vectors(*leaf_columns([leaves[key] for key in order]))
    rule = replace(PARAMS, kappa=case["kappa"], im_factor=case["im_factor"], reserve=case["reserve"])
    margin = book.margins(found, [int(case["cash"])], rule)[0]
    assert margin._asdict() == {name: int(case[name]) for name in Margin._fields}


@pytest.mark.parametrize("case", SUMS, ids=lambda case: case["name"])
def test_scenario_vector__known_answer__modular_sum_of_words(case: dict) -> None:
    ids = [Instrument(1, Kind.CALL, 2_000_000_000, place + 1).id for place in range(len(case["legs"]))]
    pairs = list(zip(ids, case["legs"], strict=True))
    leaves = {key: InstrumentLeaf.unpack((key << 152) | 1, words(leg["array"])) for key, leg in pairs}
    positions = {key: leg["lots"] for key, leg in pairs}
    (vector,) = scenario_vector(positions, leaves).values()
    assert list(vector) == [int(value) for value in case["vector"]]
    assert list(pack_vector(vector)) == words(case["words"])


def encoded(content: Content, position_hash: bytes = bytes(32)) -> AccountLeaf:
    """The leaf of a content, word by word."""
    return AccountLeaf.of(content.head, position_hash, content.cost, content.vector_words)


# the bulk path equals the twin
@settings(max_examples=150, deadline=None)
@given(leaf_lists(), st.lists(st.tuples(books(), money), min_size=1, max_size=6), params)
def test_bulk__any_portfolios__equals_the_twin_to_the_last_bit(
    leaves: list[InstrumentLeaf], accounts: list[tuple[dict[int, int], int]], rule: MarginParams
) -> None:
    known = {leaf.id: leaf for leaf in leaves}
    positions = {256 + number: held for number, (held, _) in enumerate(accounts)}
    book = BulkBook.of(positions, IDS)
    found = book.evaluate_vectors(*leaf_columns(leaves, book.instruments))
    margins = book.margins(found, [cash for _, cash in accounts], rule)
    twins = {account: content_of(account, held, known) for account, held in positions.items()}
    assert len(margins) == len(accounts)
    for place, (account, (_, cash)) in enumerate(zip(positions, accounts, strict=True)):
        assert margins[place] == evaluate(twins[account], cash, rule)
    holding = {account: held for account, held in positions.items() if any(held.values())}
    hashes = [account.to_bytes(32, "little") for account in holding]
    assert encode_leaves(BulkBook.of(holding, IDS), leaves, hashes) == tuple(
        encoded(twins[account], position_hash) for account, position_hash in zip(holding, hashes, strict=True)
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=40, max_size=40), min_size=1, max_size=3))
def test_vector_packing__any_lanes__bulk_equals_twin_and_survives(rows: list[list[int]]) -> None:
    packed = pack_vectors(np.array(rows, dtype=np.int64))
    twins = [pack_vector(row) for row in rows]
    assert packed == b"".join(word.to_bytes(32, "big") for twin in twins for word in twin)
    assert [list(unpack_vector(each)) for each in twins] == rows


# linearity: changes, one by one, give the content of the result
@settings(max_examples=150, deadline=None)
@given(leaf_lists(), books(), books())
def test_apply_change__from_one_book_to_another__content_of_the_second(
    leaves: list[InstrumentLeaf], first: dict[int, int], second: dict[int, int]
) -> None:
    known = {leaf.id: leaf for leaf in leaves}
    content, held = content_of(300, first, known), dict(first)
    for key in sorted(first.keys() | second.keys(), key=lambda key: abs(second.get(key, 0)) - abs(first.get(key, 0))):
        change = second.get(key, 0) - held.get(key, 0)
        before = held.get(key, 0)
        held = {k: lots for k, lots in {**held, key: before + change}.items() if lots}
        content = apply_change(content, known[key], before, change, {k >> 88 for k in held})
        assert content == content_of(300, held, known)
    assert content == content_of(300, second, known)


@settings(max_examples=50, deadline=None)
@given(leaf_lists(), books(), money)
def test_apply_change__without_the_ledgers_head__same_margin(
    leaves: list[InstrumentLeaf], held: dict[int, int], cash: int
) -> None:
    known = {leaf.id: leaf for leaf in leaves}
    content = content_of(300, {}, known)
    for key, lots in held.items():
        content = apply_change(content, known[key], 0, lots)
    for key, lots in list(held.items())[: len(held) // 2]:
        content = apply_change(content, known[key], lots, -lots)
    rest = dict(list(held.items())[len(held) // 2 :])
    assert evaluate(content, cash, PARAMS) == evaluate(content_of(300, rest, known), cash, PARAMS)


# threats
@settings(max_examples=150, deadline=None)
@given(leaf_lists(), books(), st.integers(-(10**13), 10**13), st.data())
def test_threat_1__kappa_zero__covers_every_combination_of_rows(
    leaves: list[InstrumentLeaf], held: dict[int, int], cash: int, data: st.DataObject
) -> None:
    known = {leaf.id: leaf for leaf in leaves}
    content = content_of(256, held, known)
    margin = evaluate(content, cash, replace(PARAMS, kappa=0))
    rows = data.draw(st.lists(st.integers(0, 39), min_size=4, max_size=4))
    loss = sum(vector[0] - vector[row] for vector, row in zip(content.vectors, rows, strict=False))
    assert margin.risk >= loss


@settings(max_examples=150, deadline=None)
@given(leaf_lists(), books(), params, st.data())
def test_threat_5__splitting_an_account__never_lowers_the_requirement(
    leaves: list[InstrumentLeaf], held: dict[int, int], rule: MarginParams, data: st.DataObject
) -> None:
    """Any split into two accounts whose legs have the sign of the whole. The `kappa` credit is given inside one only.

    Close-out costs do not depend on who holds a lot, so they add up; risk is subadditive; the ceiling of the initial
    requirement only adds.
    """
    known = {leaf.id: leaf for leaf in leaves}
    part = {key: data.draw(st.integers(0, abs(lots))) * (1 if lots > 0 else -1) for key, lots in held.items()}
    rest = {key: lots - part[key] for key, lots in held.items()}
    whole, one, two = (evaluate(content_of(256, each, known), 0, rule) for each in (held, part, rest))
    assert one.requirement + two.requirement >= whole.requirement
    assert (one.pv - one.im_excess) + (two.pv - two.im_excess) >= whole.pv - whole.im_excess


@settings(max_examples=200, deadline=None)
@given(leaf_lists(), books(), money, params)
def test_threat_6__any_portfolio__risk_positive_and_states_in_order(
    leaves: list[InstrumentLeaf], held: dict[int, int], cash: int, rule: MarginParams
) -> None:
    margin = evaluate(content_of(256, held, {leaf.id: leaf for leaf in leaves}), cash, rule)
    assert margin.risk >= 0
    assert margin.closeout >= 0
    assert margin.im_excess <= margin.mm_excess <= margin.pv
    if margin.pv < 0:
        assert margin.mm_excess < 0
        assert margin.state is State.BANKRUPT


def full(value: int) -> InstrumentLeaf:
    return InstrumentLeaf(IDS[0], 10**9, 0, 2**32 - 1, 2**32 - 1, Status.OPEN, (value,) * 40)


@pytest.mark.parametrize("value", [TOP, -TOP])
@pytest.mark.parametrize("lots", [2**32 - 1, 1 - 2**32])
def test_threat_12__lanes_at_their_ends__exact_and_one_lot_more_refused(value: int, lots: int) -> None:
    leaf = full(value)
    content = content_of(256, {leaf.id: lots}, {leaf.id: leaf})
    assert content.vectors[0] == (lots * value,) * 40
    assert Content.from_words(content.head, content.cost, content.vector_words) == content
    book = BulkBook.of({256: {leaf.id: lots}}, [leaf.id])
    assert encode_leaves(book, [leaf], [bytes(32)]) == (encoded(content),)
    more = {leaf.id: lots + (1 if lots > 0 else -1)}
    with pytest.raises(ValueError, match=r"holds 4294967296 lots, not below 2\^32"):
        content_of(256, more, {leaf.id: leaf})
    with pytest.raises(ValueError, match="2\\^32 lots"):
        BulkBook.of({256: more}, [leaf.id])
    with pytest.raises(ValueError, match="too many positions, underlyings or lots"):
        apply_change(content, leaf, lots, 1 if lots > 0 else -1)


# states and refusals
@pytest.mark.parametrize(
    ("margin", "collateral", "state"),
    [
        (Margin(100, 10, 10, 80, 75), 0, State.HEALTHY),
        (Margin(100, 10, 10, 80, 0), 100, State.HEALTHY),
        (Margin(100, 10, 10, 80, 75), 101, State.MARGIN_CALL),
        (Margin(100, 40, 40, 20, -1), 0, State.MARGIN_CALL),
        (Margin(100, 50, 50, 0, -25), 0, State.MARGIN_CALL),
        (Margin(100, 50, 51, -1, -27), 0, State.LIQUIDATABLE),
        (Margin(0, 0, 1, -1, -2), 0, State.LIQUIDATABLE),
        (Margin(-1, 0, 0, -1, -1), 0, State.BANKRUPT),
    ],
)
def test_state__at_its_border(margin: Margin, collateral: int, state: State) -> None:
    assert state_of(margin, collateral) is state


def test_content__no_position__nothing_but_the_account() -> None:
    content = content_of(300, {IDS[0]: 0}, {})
    assert (content.head, content.cost, content.vector_words) == (300 << 192, 0, [])
    assert evaluate(content, -5, PARAMS) == Margin(-5, 0, 0, -5, -5)


def test_content__beyond_the_limits_or_without_leaf__refused() -> None:
    many = [Instrument(1, Kind.CALL, 10, strike) for strike in range(1, 130)]
    leaves = {each.id: InstrumentLeaf(each.id, 1, 1, 1, 1, Status.OPEN, (0,) * 40) for each in many}
    assert content_of(256, dict.fromkeys(list(leaves)[:128], 1), leaves).count == 128
    with pytest.raises(ValueError, match="129 positions, more than 128"):
        content_of(256, dict.fromkeys(leaves, 1), leaves)
    wide = [Instrument(number, Kind.PERPETUAL) for number in range(1, 6)]
    leaves = {each.id: InstrumentLeaf(each.id, 1, 0, 1, 1, Status.OPEN, (0,) * 40) for each in wide}
    with pytest.raises(ValueError, match="5 underlyings, more than 4"):
        content_of(256, dict.fromkeys(leaves, 1), leaves)
    with pytest.raises(ValueError, match="5 underlyings, more than 4"):
        BulkBook.of({256: dict.fromkeys(leaves, 1)}, sorted(leaves))
    with pytest.raises(ValueError, match="no leaf for U5-PERP"):
        content_of(256, {wide[4].id: 1}, {})
    with pytest.raises(ValueError, match="which is no instrument here"):
        BulkBook.of({256: {wide[4].id: 1}}, [wide[0].id])


def test_content__tokens__count_as_collateral_and_never_short() -> None:
    token = Instrument(1, Kind.TOKEN)
    leaf = InstrumentLeaf(token.id, 10**9, 0, 100, 2**32 - 1, Status.OPEN, (1_000,) * 40)
    content = content_of(256, {token.id: 7}, {token.id: leaf})
    assert content.collateral == 7_000
    assert encode_leaves(BulkBook.of({256: {token.id: 7}}, [token.id]), [leaf], [bytes(32)]) == (encoded(content),)
    with pytest.raises(ValueError, match="tokens cannot be short"):
        content_of(256, {token.id: -1}, {token.id: leaf})
    with pytest.raises(ValueError, match="tokens cannot be short"):
        BulkBook.of({256: {token.id: -1}}, [token.id]).collateral([leaf])


def test_from_words__not_canonical__refused() -> None:
    gap = (256 << 192) | (0 << 176) | (1 << 160)
    for head in (gap, (256 << 192) | (2 << 176) | (1 << 160), (256 << 192) | (1 << 176) | (1 << 160)):
        with pytest.raises(ValueError, match="not ascending, then zero"):
            Content.from_words(head, 0, [])
    with pytest.raises(ValueError, match="0 words are not ten for each of 1"):
        Content.from_words((256 << 192) | (1 << 176), 0, [])


def test_apply_change__position_that_is_not_there__refused() -> None:
    leaf = full(1)
    with pytest.raises(ValueError, match="does not hold 5 lots"):
        apply_change(content_of(256, {}, {}), leaf, 5, -5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instruments": [5 << 88, 5 << 88]}, "not strictly ascending"),
        ({"indptr": [0, 1]}, "indptr does not fit"),
        ({"columns": [0]}, "do not fit together"),
        ({"columns": [0, 2]}, "no instrument"),
        ({"columns": [1, 0]}, "within an account are not strictly ascending"),
        ({"lots": [1, 0]}, "zero lots"),
        ({"lots": [2**31, 2**31]}, "4294967296 lots, more than"),
    ],
)
def test_bulk_book__arrays_do_not_fit__refused(changes: dict, message: str) -> None:
    good = {"instruments": [1 << 88, 2 << 88], "accounts": [256], "indptr": [0, 2], "columns": [0, 1], "lots": [1, 2]}
    made = {name: value if name == "instruments" else np.array(value) for name, value in (good | changes).items()}
    with pytest.raises(ValueError, match=message):
        BulkBook(**made)


def test_bulk_book__cash_does_not_fit__refused() -> None:
    book = BulkBook.of({256: {}}, IDS)
    found = book.evaluate_vectors(
        np.zeros((24, 40), dtype=np.int64), np.zeros(24, dtype=np.int64), np.zeros(24, dtype=np.int64)
    )
    with pytest.raises(ValueError, match="2 cash balances for 1 accounts"):
        book.margins(found, [1, 2], PARAMS)
