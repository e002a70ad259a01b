"""Risk arrays over generated markets: structure that holds for every input."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.instruments import Instrument, InstrumentLeaf, Kind, pack_array, unpack_array
from offchain.risk.arrays import build_leaves, pack_arrays, risk_arrays, unpack_arrays
from offchain.risk.policy import Policy, RowKind, default_policy
from offchain.risk.scenarios import Grid
from offchain.units import MICRO

POLICY = default_policy()
NOW = 1_583_971_200
KINDS = np.array([row.kind for row in POLICY.rows])

prices = st.integers(1 * MICRO, 100_000 * MICRO)
volatilities = st.integers(1, 10 * MICRO)
offsets = st.integers(0, 3 * 365 * 86_400)
lanes = st.integers(1 - 2**31, 2**31 - 1) | st.sampled_from([1 - 2**31, 2**31 - 1, 0, -1])


@st.composite
def markets(draw: st.DrawFn) -> dict:
    index = draw(prices)
    scan = draw(st.integers(80_000, 400_000))
    funding = draw(st.integers(-(10**7), 10**7))
    count = draw(st.integers(1, 6))
    rows = []
    for _ in range(count):
        forward = max(index * draw(st.integers(500_000, 2 * MICRO)) // MICRO, 1)
        kind = draw(st.sampled_from([Kind.PERPETUAL, Kind.FUTURE, Kind.CALL, Kind.PUT]))
        expiry = NOW + draw(offsets) if kind.is_dated else 0
        strike = max(forward * draw(st.integers(10_000, 10 * MICRO)) // MICRO, 1) if kind.is_option else 0
        iv = draw(volatilities) if kind.is_option else 0
        rows.append((Instrument(1, kind, expiry, min(strike, 2**48 - 1)), forward, iv))
    instruments, forwards, ivs = map(list, zip(*rows, strict=True))
    return {"instruments": instruments, "forwards": forwards, "ivs": ivs, "index": {1: index}, "funding": {1: funding},
            "scan_range": {1: scan}, "timestamp": NOW, "policy": POLICY}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(markets())
def test_risk_arrays__any_market__bounds_of_each_kind(market: dict) -> None:
    for each, forward, array in zip(
        market["instruments"], market["forwards"], risk_arrays(**market).tolist(), strict=True
    ):
        grid = np.array(array)
        scan = grid[KINDS == RowKind.SCAN]
        if each.kind is Kind.PERPETUAL:
            top = forward * (1 + market["scan_range"][1] / MICRO) / 1_000 - market["funding"][1]
            assert abs(scan.max() - top) <= 1
            assert (grid[KINDS >= RowKind.BASIS] == grid[0]).all()
        if each.kind is Kind.CALL:
            assert grid.min() >= 0
            assert (scan <= forward * (1 + market["scan_range"][1] / MICRO) / 1_000 + 1).all()
        if each.kind is Kind.PUT:
            assert grid.min() >= 0
            assert grid.max() <= each.strike / 1_000 + 1
        if each.kind.is_option:
            mark, up, down = grid[:3]
            assert down <= mark
            assert up >= mark
            calls = scan.reshape(9, 3)
            assert (calls[:, 1] >= calls[:, 2]).all()


@settings(max_examples=100, deadline=None)
@given(markets(), st.randoms(use_true_random=False))
def test_risk_arrays__order_of_instruments__does_not_matter(market: dict, random: object) -> None:
    order = list(range(len(market["instruments"])))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = market | {name: [market[name][i] for i in order] for name in ("instruments", "forwards", "ivs")}
    assert (risk_arrays(**shuffled) == risk_arrays(**market)[order]).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1_000 * MICRO, 50_000 * MICRO), st.integers(100_000, 3 * MICRO), offsets, st.integers(500, 2_000))
def test_risk_arrays__call_less_put__forward_less_strike_in_every_row(
    forward: int, iv: int, offset: int, ratio: int
) -> None:
    strike = forward * ratio // 1_000
    pair = [Instrument(1, kind, NOW + offset + 1, strike) for kind in (Kind.CALL, Kind.PUT)]
    future = Instrument(1, Kind.FUTURE, NOW + offset + 1)
    call, put, value = risk_arrays(
        [*pair, future], [forward] * 3, [iv, iv, 0], {1: forward}, {1: 0}, {1: 200_000}, NOW, POLICY
    )
    gap = call - put - (value - strike / 1_000)
    tail = KINDS == RowKind.TAIL
    assert np.abs(gap[~tail]).max() <= 2
    assert np.abs(gap[tail]).max() <= 2


@settings(max_examples=100, deadline=None)
@given(markets(), st.lists(st.integers(0, 10**7), min_size=6, max_size=6))
def test_leaves__any_market__survive_their_bytes(market: dict, interest: list[int]) -> None:
    named = {each.id: lots for each, lots in zip(market["instruments"], interest, strict=False)}
    unique = {each.id: place for place, each in enumerate(market["instruments"])}.values()
    market |= {name: [market[name][i] for i in unique] for name in ("instruments", "forwards", "ivs")}
    leaves = build_leaves(**market, open_interest=named)
    assert [leaf.id for leaf in leaves] == sorted(leaf.id for leaf in leaves)
    for leaf in leaves:
        assert InstrumentLeaf.unpack(*leaf.pack()) == leaf
        assert leaf.c_long >= 1
        assert leaf.c_short >= leaf.c_long
        if leaf.instrument.kind.is_option:
            assert leaf.c_long <= min(leaf.array) + 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(lanes, min_size=40, max_size=40), min_size=1, max_size=4))
def test_packing__any_lanes__bulk_equals_twin_and_survives(rows: list[list[int]]) -> None:
    words = pack_arrays(np.array(rows, dtype=np.int64))
    assert words == [pack_array(row) for row in rows]
    assert unpack_arrays(words).tolist() == rows
    assert [list(unpack_array(each)) for each in words] == rows


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 1_100.0), st.floats(0.001, 5.0), st.floats(0.1, 10.0))
def test_volatility_shocks__any_expiry__up_above_down_and_none_negative(
    days: float, iv: float, moneyness: float
) -> None:
    grid = Grid.of(POLICY)
    found = grid.volatilities(np.array([iv]), np.array([moneyness]), np.array([days]))[0]
    assert (found >= 0).all()
    assert found[1] >= max(iv, 0.5)
    assert found[2] <= iv
    assert found[0] == iv
    assert found[36] + found[37] == np.float64(2 * iv) or abs(found[36] + found[37] - 2 * iv) < 1e-12
    assert Policy.decode(POLICY.encode()) == POLICY
