"""Netting, its sources, and compression runs: exact sums, nobody worse, nobody beyond the tolerance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.instruments import Instrument, InstrumentLeaf, Kind
from offchain.risk.arrays import build_leaves
from offchain.risk.compression import FEES, Compression, CompressionError, Pool, Trade, compress
from offchain.risk.netting import offsets
from offchain.risk.policy import INITIAL_SCAN_RANGE, default_policy
from offchain.risk.portfolios import content_of, evaluate

NOW = 1_583_971_200
DAY = 86_400
POLICY = default_policy()
INDEX = {1: 7_500_000_000, 2: 190_000_000}
LISTED = [
    Instrument(1, Kind.PERPETUAL),
    Instrument(1, Kind.FUTURE, NOW + 30 * DAY),
    Instrument(1, Kind.CALL, NOW + 14 * DAY, 8_000_000_000),
    Instrument(1, Kind.PUT, NOW + 14 * DAY, 7_000_000_000),
    Instrument(1, Kind.CALL, NOW + 60 * DAY, 9_000_000_000),
    Instrument(2, Kind.PERPETUAL),
    Instrument(2, Kind.CALL, NOW + 14 * DAY, 200_000_000),
]
LEAVES = {
    leaf.id: leaf
    for leaf in build_leaves(
        LISTED, [INDEX[i.underlying] for i in LISTED], [700_000 if i.kind.is_option else 0 for i in LISTED], INDEX,
        {1: 0, 2: 0}, INITIAL_SCAN_RANGE, NOW, POLICY,
    )
}  # fmt: skip
PERP, FUTURE, CALL, PUT, _, ETH, _ = (i.id for i in LISTED)


def pool_of(positions: dict[int, dict[int, int]], fee: int = 0) -> Pool:
    return Pool(LEAVES, positions, dict.fromkeys(positions, 10**9), POLICY.margin, dict.fromkeys(LEAVES, fee))


def random_pool(seed: int, accounts: int, fee: int = 0) -> Pool:
    """Accounts whose positions sum to zero by instrument."""
    rng = np.random.default_rng(seed)
    positions: dict[int, dict[int, int]] = {256 + a: {} for a in range(accounts)}
    for key in LEAVES:
        lots = rng.integers(-2_000, 2_000, size=accounts) * (rng.random(accounts) < 0.7)
        lots[-1] -= lots.sum()
        for account, q in zip(positions, lots.tolist(), strict=True):
            if q:
                positions[account][key] = q
    return pool_of(positions, fee)


def judge(found: Compression, tolerance: float) -> None:
    """Everything that a run promises, in integers."""
    before, after = found.before, found.after
    assert before.sums() == after.sums()
    assert found.saved == before.requirement - after.requirement >= found.fees >= 0
    assert after.positions.keys() == before.positions.keys()
    for trade in found.trades:
        assert trade.buyer != trade.seller
        assert trade.lots > 0
        assert trade.price == LEAVES[trade.instrument].array[0]
    for account, held in before.positions.items():
        was, now, new = before.margins[account], after.margins[account], after.positions[account]
        assert now == evaluate(content_of(account, new, LEAVES), after.cash[account], POLICY.margin)
        fees = was.pv - now.pv
        assert fees >= 0
        assert now.requirement + fees <= was.requirement
        assert now.mm_excess >= was.mm_excess
        keys = held.keys() | new.keys()
        for s in range(40):
            change = sum((new.get(k, 0) - held.get(k, 0)) * (LEAVES[k].array[s] - LEAVES[k].array[0]) for k in keys)
            assert abs(change) <= tolerance * was.requirement


# netting
def test_offsets__call_spread_against_perpetual__steps_by_hand() -> None:
    held = {CALL: -100, PERP: 50}
    loss = {k: [LEAVES[k].array[0] - v for v in LEAVES[k].array] for k in held}
    found = offsets(held, LEAVES, POLICY.margin)
    assert found.legs == max(-100 * x for x in loss[CALL]) + max(50 * x for x in loss[PERP])
    assert found.expiries == found.legs
    assert found.underlyings == max(50 * p - 100 * c for p, c in zip(loss[PERP], loss[CALL], strict=True))
    assert found.saved == {
        "within an expiry": 0,
        "between expiries": found.legs - found.underlyings,
        "between underlyings": 0,
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_offsets__any_book__sources_sum_to_the_saving_and_none_is_negative(seed: int) -> None:
    for account, held in random_pool(seed, 3).positions.items():
        found = offsets(held, LEAVES, POLICY.margin)
        twin = evaluate(content_of(account, held, LEAVES), 0, POLICY.margin)
        assert found.net == twin.requirement
        assert sum(found.saved.values()) == found.gross - found.net
        assert all(each >= 0 for each in found.saved.values())
        for step, total in enumerate((found.legs, found.expiries, found.underlyings)):
            assert sum(each[step] for each in found.by_underlying.values()) == total


def test_offsets__nothing_held__nothing() -> None:
    found = offsets({PERP: 0}, LEAVES, POLICY.margin)
    assert (found.gross, found.net) == (0, 0)


# runs
@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(2, 5), st.sampled_from([0.0, 0.01, 0.1, 1.0]), st.integers(0, 20_000),
    st.booleans(),
)  # fmt: skip
def test_compress__any_pool__nobody_worse_and_the_ledger_exact(
    seed: int, accounts: int, tolerance: float, fee: int, new_positions: bool
) -> None:
    found = compress(random_pool(seed, accounts, fee), tolerance, new_positions)
    judge(found, tolerance)
    if not new_positions:
        for account, held in found.before.positions.items():
            for key, q in held.items():
                assert 0 <= found.after.positions[account].get(key, 0) * (1 if q > 0 else -1) <= abs(q)
            assert found.after.positions[account].keys() <= held.keys()


def test_compress__opposite_accounts_and_no_bound__everything_closes() -> None:
    found = compress(pool_of({256: {PERP: 10, CALL: -7}, 257: {PERP: -10, CALL: 7}}), tolerance=1e6)
    judge(found, 1e6)
    assert found.after.positions == {256: {}, 257: {}}
    assert found.after.requirement == 0
    assert set(found.trades) == {
        Trade(257, 256, PERP, 10, LEAVES[PERP].array[0]),
        Trade(256, 257, CALL, 7, LEAVES[CALL].array[0]),
    }


def test_compress__ring_of_perpetual_against_future__found_within_a_small_tolerance() -> None:
    """Two accounts hold the same basis trade the other way round: gross positions go, profiles hardly move."""
    found = compress(pool_of({256: {PERP: 1_000, FUTURE: -1_000}, 257: {PERP: -1_000, FUTURE: 1_000}}), 0.02)
    judge(found, 0.02)
    assert found.saved > 0
    wider = compress(found.before, 0.5)
    judge(wider, 0.5)
    assert wider.saved > found.saved


def test_compress__no_tolerance__profiles_stay_to_the_unit() -> None:
    judge(compress(random_pool(3, 4), 0.0), 0.0)


def test_compress__nothing_to_gain__no_trade() -> None:
    found = compress(pool_of({256: {PERP: 10}, 257: {PERP: 10}}), 1.0)
    assert found.trades == ()
    assert found.saved == 0
    assert found.after.positions == found.before.positions


def test_compress__fees_above_the_saving__no_trade() -> None:
    assert compress(pool_of({256: {PERP: 10}, 257: {PERP: -10}}, fee=10**9), 1e6).trades == ()


def test_compress__fees__paid_by_both_sides_into_their_account() -> None:
    found = compress(pool_of({256: {PERP: 1_000}, 257: {PERP: -1_000}}, fee=1_000), 1e6)
    assert found.fees == 2 * 1_000 * 1_000
    assert found.after.cash[FEES] == found.fees


def test_compress__new_positions__finds_at_least_as_much() -> None:
    pool = random_pool(11, 4)
    shrink, free = compress(pool, 0.05), compress(pool, 0.05, new_positions=True)
    judge(free, 0.05)
    assert free.saved >= shrink.saved


def test_compress__tokens__stay() -> None:
    token = Instrument(1, Kind.TOKEN).id
    leaf = InstrumentLeaf(token, INDEX[1], 0, 0, 0, 1, LEAVES[PERP].array)
    positions = {256: {token: 50, PERP: 10}, 257: {PERP: -10}}
    found = compress(Pool({**LEAVES, token: leaf}, positions, {256: 0, 257: 0}, POLICY.margin), 1e6)
    assert found.after.positions == {256: {token: 50}, 257: {}}


# refusals
def test_compress__one_account__refused() -> None:
    with pytest.raises(CompressionError, match="1 accounts: compression needs at least two"):
        compress(pool_of({256: {PERP: 1}}))


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_compress__tolerance_that_is_no_share__refused(tolerance: float) -> None:
    with pytest.raises(CompressionError, match="tolerance"):
        compress(random_pool(1, 2), tolerance)


def test_pool__position_without_leaf_or_cash_or_sense__refused() -> None:
    with pytest.raises(CompressionError, match="account 256 holds 0x1, which has no leaf"):
        pool_of({256: {1: 1}, 257: {}})
    with pytest.raises(CompressionError, match="account 257 has no cash balance"):
        Pool(LEAVES, {257: {}}, {}, POLICY.margin)
    with pytest.raises(CompressionError, match="fee -1"):
        pool_of({256: {}}, fee=-1)
