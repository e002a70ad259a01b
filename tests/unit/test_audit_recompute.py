"""The auditor's own bytes and sums, against vectors of other implementations and the plainest reading of the rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.audit.observed import Last, expected_inputs, expected_marks, median
from offchain.audit.recompute import (
    Header,
    Mark,
    Priced,
    account_leaf,
    head_of,
    margin_of,
    merkle_root,
    pack_array,
    pack_vector,
)
from offchain.audit.replay import Books, extend
from offchain.chain.backends import Event
from offchain.instruments import Instrument, Kind
from offchain.risk.policy import default_policy

VECTORS = Path(__file__).parents[1] / "vectors"
POLICY = default_policy()


def cases(name: str) -> list[dict[str, Any]]:
    return json.loads((VECTORS / f"{name}.json").read_text())["cases"]


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


# Bytes


@pytest.mark.parametrize("case", cases("header"))
def test_header__hash_and_marks__are_those_of_the_vectors(case):
    words = [int(m["word"], 16) for m in case["marks"]]
    fields = [raw(f) if isinstance(f, str) else f for f in case["fields"]]
    assert Header.of([*fields, words]).hash == raw(case["hash"])
    for word, fields in zip(words, case["marks"], strict=True):
        mark = Mark(*(int(fields[k]) for k in ("underlying", "index", "funding", "scan_range", "status")))
        assert mark.word == word
        assert Mark.of(word) == mark


@pytest.mark.parametrize("case", cases("account_leaf"))
def test_account_leaf__bytes__are_those_of_the_vectors(case):
    row = (
        int(case["head"], 16),
        raw(case["position_hash"]),
        int(case["cost"], 16),
        [int(v, 16) for v in case["vectors"]],
    )
    assert account_leaf(row) == raw(case["encoded"])
    assert merkle_root([account_leaf(row)]) == raw(case["hash"])


@pytest.mark.parametrize("case", cases("position_hash"))
def test_position_hash__is_that_of_the_vectors(case):
    assert extend(raw(case["before"]), case["account"], int(case["instrument"], 16), case["change"]) == raw(
        case["after"]
    )


def test_merkle_root__is_that_of_the_standard_tree():
    trees = json.loads((VECTORS / "merkle.json").read_text())["trees"]
    assert merkle_root([]) == bytes(32)
    for tree in trees:
        leaves = [encode(["uint256"], [i * i + 1]) for i in range(tree["count"])]
        assert merkle_root(leaves) == raw(tree["root"])


def test_lanes__stand_where_the_protocol_puts_them():
    array = pack_array([r + 1 for r in range(40)])
    vector = pack_vector([r + 1 for r in range(40)])
    for row in range(40):
        k, i = divmod(row, 8)
        lane = 2 * i if i < 4 else 2 * (i - 4) + 1
        assert array[k] >> 32 * lane & (1 << 32) - 1 == row + 1 + (1 << 31)
        assert vector[row // 4] >> 64 * (row % 4) & (1 << 64) - 1 == row + 1 + (1 << 63)
    extremes = [-(1 << 63) + 1, (1 << 63) - 1] * 20
    assert all(0 < w < 1 << 256 for w in pack_vector(extremes))


def test_head__names_underlyings_from_the_top():
    positions = {Instrument(u, Kind.PERPETUAL).id: lots for u, lots in ((3, -7), (1, 5))}
    assert head_of(300, positions) == 300 << 192 | 1 << 176 | 3 << 160 | 2 << 64 | 12


# The rule

BTC, ETH = Instrument(1, Kind.PERPETUAL).id, Instrument(2, Kind.PERPETUAL).id
values = st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=40, max_size=40)
lots = st.integers(-(2**31), 2**31 - 1)


@settings(max_examples=60, deadline=None)
@given(values, values, lots, lots, st.integers(-(10**15), 10**15))
def test_margin_of__is_the_rule_read_plainly(one, two, q_one, q_two, cash):
    priced = {i: Priced(0, (), 11, 13, tuple(v)) for i, v in ((BTC, one), (ETH, two))}
    positions = {i: q for i, q in ((BTC, q_one), (ETH, q_two)) if q}
    found = margin_of(cash, positions, priced, POLICY)
    per = [[q * v for v in vs] for q, vs in ((q_one, one), (q_two, two)) if q]
    assert found.pv == cash + sum(v[0] for v in per)
    single = sum(max(v[0] - x for x in v) for v in per)
    joint = max((sum(v[0] - v[s] for v in per) for s in range(40)), default=0)
    credit = POLICY.margin.kappa * (single - joint)
    assert found.risk == single - credit // 10_000
    assert 0 <= found.risk <= single
    assert found.closeout == sum(abs(q) * (11 if q > 0 else 13) for q in positions.values()) + 20_000_000 * bool(
        positions
    )
    assert found.mm_excess == found.pv - found.requirement
    assert 0 <= (found.pv - found.im_excess) * 10_000 - POLICY.margin.im_factor * found.requirement < 10_000
    assert found.im_excess <= found.mm_excess


# Replay


def event(name: str, block: int = 1, **args: Any) -> Event:
    return Event("0x", name, args, block, 0, "0x")


def test_books__follow_events_and_note_what_cannot_be():
    books = Books()
    for each in (
        event("AccountOpened", account=256, owner="0xa", isolated=False),
        event("Deposit", account=256, payer="0xa", amount=50),
        event("PositionMoved", giver=256, taker=257, instrument=BTC, lots=4, cash=-9, epoch=3),
        event("CashMoved", giver=257, taker=1, amount=2, reason=1),
        event("Withdrawal", account=256, to="0xa", amount=5),
        event("Approval", account=256),
    ):
        books.apply(each)
    assert dict(books.cash) == {256: 36, 257: 7, 1: 2}
    assert books.tokens_held == sum(books.cash.values()) == 45
    assert books.net() == {BTC: 0}
    assert books.open_interest() == {BTC: 4}
    assert books.traded == {256: 3, 257: 3}
    assert not books.problems
    books.apply(event("AccountOpened", account=256, owner="0xb", isolated=False))
    books.apply(event("AccountTransferred", account=256, previous="0xa", owner="0xc", version=7))
    books.apply(event("PositionMoved", giver=256, taker=256, instrument=BTC, lots=1, cash=0, epoch=3))
    books.apply(event("PositionMoved", giver=256, taker=257, instrument=BTC, lots=2**32, cash=0, epoch=3))
    assert len(books.problems) == 5


def test_books__isolated_account_in_two_underlyings__noted():
    books = Books()
    books.apply(event("AccountOpened", account=256, owner="0xa", isolated=True))
    for instrument, lots in ((BTC, 3), (BTC + 1, 2)):
        books.apply(event("PositionMoved", giver=256, taker=257, instrument=instrument, lots=lots, cash=0, epoch=1))
    assert not books.problems
    books.apply(event("PositionMoved", giver=256, taker=257, instrument=ETH, lots=1, cash=0, epoch=1))
    assert len(books.problems) == 1


# Medians


def test_median__is_the_lower_one():
    assert [median(v) for v in ([5], [9, 1], [3, 1, 2], [4, 1, 3, 2])] == [5, 1, 2, 2]


def body(index: int, funding: int, scan: int) -> dict[str, Any]:
    both = {"1": [index, funding, scan], "2": [index // 40, 0, 180_000]}
    return {"underlyings": both, "instruments": {f"0x{BTC:026x}": [index + 5, 0]}}


def header(epoch: int) -> Header:
    return Header(epoch, epoch * 3600, 1, bytes(32), 1, bytes(32), 0, bytes(32), bytes(32), bytes(32), ())


def test_expected_marks__are_medians_within_the_oracle_s_bounds():
    bodies = [body(8_000_000_000 + d, 40_000 + d, 399_000 + d) for d in (0, 2, 1)]
    first = expected_marks(bodies, header(10), None, POLICY)
    assert first[0] == Mark(1, 8_000_000_001, 0, 399_001, 1)
    last = Last(10, 36_000, {1: Mark(1, 8_000_000_000, -100, 160_000, 1), 2: Mark(2, 1, 0, 400_000, 1)})
    then = expected_marks(bodies, header(12), last, POLICY)
    # 10 % a slot up for two slots, 1 % down; funding 0.05 % of 8 USD a lot an hour, for two hours.
    assert then[0] == Mark(1, 8_000_000_001, -100 + 8_000, 192_000, 1)
    assert then[1].scan_range == 392_000
    assert expected_inputs(bodies, BTC, 3) == (8_000_000_006, 0)
    assert expected_inputs(bodies, BTC, 4) is None
    assert expected_inputs(bodies, ETH, 1) is None
    with pytest.raises(ValueError, match="nobody observed underlying 1"):
        expected_marks([], header(10), None, POLICY)
