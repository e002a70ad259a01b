"""Laws of block space: the base fee's bound, nothing lost, order by tip and nonce, room for those who pay more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.config import BallastError
from offchain.simulation.blockspace import (
    GWEI,
    BlockRules,
    Blockspace,
    Demand,
    Pending,
    Stall,
    block_times,
    fee_in_dollars,
    next_base_fee,
)

RULES = BlockRules(gas_limit=1_000_000, latency=1)
NONE = Demand(0)


def pending(id: int, sender: str = "a", nonce: int = 0, tip: int = 1, **more: int) -> Pending:
    fields = {"gas": 100_000, "max_fee": 200 * GWEI, "sent": 0} | more
    return Pending(id, sender, nonce, max_tip=tip * GWEI, **fields)


def used(transaction: Pending) -> int:
    return transaction.gas // 2


@given(st.integers(1, 10**15), st.integers(42_000, 10**9), st.floats(0, 1))
def test_base_fee__moves_at_most_an_eighth_a_block(base: int, limit: int, share: float) -> None:
    gas = int(limit // 2 * 2 * share)
    after = next_base_fee(base, gas, limit // 2 * 2)
    assert base - base // 8 - 1 <= after <= base + max(base // 8, 1)
    assert (after > base) == (gas > limit // 2)


def test_base_fee__known_blocks__to_the_last_wei() -> None:
    """Values worked by hand from the rule: full blocks +12.5 %, empty -12.5 %, a target keeps it, at least +1."""
    assert next_base_fee(10**9, 30_000_000, 30_000_000) == 1_125_000_000
    assert next_base_fee(10**9, 0, 30_000_000) == 875_000_000
    assert next_base_fee(10**9, 15_000_000, 30_000_000) == 10**9
    assert next_base_fee(1, 15_000_001, 30_000_000) == 2
    assert next_base_fee(7, 0, 30_000_000, least=7) == 7


traffic = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.integers(21_000, 400_000), st.integers(0, 50), st.integers(1, 100),
        st.integers(0, 5), st.one_of(st.none(), st.integers(0, 60)),
    ),
    max_size=40,
)  # fmt: skip


@given(traffic, st.integers(0, 3_000_000))
def test_traffic__nothing_lost_and_no_block_too_full(
    sends: list[tuple[str, int, int, int, int, int | None]], gas: int
) -> None:
    space, demand = Blockspace(RULES, 20 * GWEI), Demand(gas, 30 * GWEI)
    ends: list[int] = []
    nonces: dict[str, list[int]] = {}
    for number in range(8):
        for id, (sender, limit, tip, fee, when, deadline) in enumerate(sends):
            if when == number:
                at = number * 12
                space.submit(
                    Pending(
                        id, sender, space.nonce(sender), limit, (tip + fee) * GWEI, tip * GWEI, at,
                        None if deadline is None else at + deadline,
                    )
                )  # fmt: skip
        before = space.base_fee
        block = space.build(12 * number + 12, used, demand)
        assert block.gas_used <= RULES.gas_limit
        assert block.gas_used == block.outside + sum(i.gas_used for i in block.included)
        assert space.base_fee == next_base_fee(before, block.gas_used, RULES.gas_limit, RULES.least_base_fee)
        ends += [i.transaction.id for i in block.included] + [d.transaction.id for d in block.dropped]
        for i in block.included:
            nonces.setdefault(i.transaction.sender, []).append(i.transaction.nonce)
            assert before <= i.price <= i.transaction.max_fee
            assert i.fee == i.price * i.gas_used
    assert space.admitted == space.included + space.dropped + len(space.waiting)
    assert sorted([*ends, *(t.id for t in space.waiting)]) == sorted(id for id, send in enumerate(sends) if send[4] < 8)
    assert all(order == list(range(len(order))) for order in nonces.values())


@given(st.lists(st.integers(0, 100), min_size=1, max_size=9, unique=True))
def test_order__best_tip_first(tips: list[int]) -> None:
    space = Blockspace(RULES)
    for id, tip in enumerate(tips):
        space.submit(pending(id, str(id), tip=tip))
    block = space.build(12, used)
    assert [i.transaction.max_tip // GWEI for i in block.included] == sorted(tips, reverse=True)


def test_order__one_sender__by_nonce_even_where_the_later_tips_more() -> None:
    space = Blockspace(RULES)
    space.submit(pending(1, nonce=1, tip=50))
    space.submit(pending(0, nonce=0, tip=1))
    space.submit(pending(2, "b", tip=20))
    assert [i.transaction.id for i in space.build(12, used).included] == [2, 0, 1]


def test_crowd__pays_more__ours_waits_until_its_fee_is_raised() -> None:
    space, crowd = Blockspace(RULES, 20 * GWEI), Demand(20_000_000, 60 * GWEI, 0.5)
    space.submit(pending(0, tip=1, max_fee=40 * GWEI))
    assert space.build(12, used, crowd).included == ()
    with pytest.raises(BallastError, match="replacement underpriced"):
        space.submit(pending(1, tip=1, max_fee=44 * GWEI, sent=13))
    raised = space.waiting[0]
    while raised.tip(space.base_fee) < 150 * GWEI:
        raised = raised.raised(RULES, raised.id + 1, 13)
    replaced = space.submit(raised)
    assert replaced is not None
    assert replaced.reason == "replaced"
    inclusion = space.build(24, used, crowd).included[0]
    assert (inclusion.waited, inclusion.blocks, inclusion.block) == (24, 2, 2)


def test_base_fee_above_the_cap__waits__deadline_passed__dropped() -> None:
    space = Blockspace(RULES, 100 * GWEI)
    space.submit(pending(0, max_fee=50 * GWEI, deadline=20))
    assert space.build(12, used).included == ()
    block = space.build(24, used)
    assert [(d.transaction.id, d.reason) for d in block.dropped] == [(0, "expired")]
    assert space.nonce("a") == 0


def test_latency__not_known_yet__not_included() -> None:
    space = Blockspace(RULES)
    space.submit(pending(0, sent=11, delay=1))
    assert space.build(12, used).included == ()
    assert len(space.build(24, used).included) == 1


@given(st.integers(1, 10**8), st.integers(1, 10**12), st.integers(1, 10**12))
def test_demand__falls_with_the_price(gas: int, one: int, two: int) -> None:
    demand = Demand(gas, 30 * GWEI)
    low, high = sorted((one, two))
    assert 0 <= demand.above(high) <= demand.above(low) <= gas


def test_resting_fee__fee_settles_there() -> None:
    rules, demand = BlockRules(), Demand(40_000_000, 30 * GWEI)
    rest = demand.resting_fee(rules.gas_limit)
    space = Blockspace(rules, rest)
    for number in range(50):
        space.build(12 * number, used, demand)
    assert space.base_fee == pytest.approx(rest, rel=0.01)
    crowd = demand.scaled(price=10)
    for number in range(100):
        space.build(12 * number, used, crowd)
    assert space.base_fee == pytest.approx(10 * rest, rel=0.02)
    assert NONE.resting_fee(rules.gas_limit) == 1


def test_block_times__stall_and_burst() -> None:
    times = list(block_times(0, 60, BlockRules(block_time=10), [Stall(15, 45, burst=3)]))
    assert times == [10, 45, 45, 45, 50, 60]
    assert list(block_times(60, 70, BlockRules(block_time=10))) == [70]


@pytest.mark.parametrize(
    ("transaction", "message"),
    [
        (pending(0, tip=300), "is above fee"),
        (pending(0, gas=20_000), "does not fit"),
        (pending(0, gas=2_000_000), "does not fit"),
    ],
)
def test_submit__impossible__refused(transaction: Pending, message: str) -> None:
    with pytest.raises(BallastError, match=message):
        Blockspace(RULES).submit(transaction)


def test_submit__used_nonce__refused_and_false_gas_refused() -> None:
    space = Blockspace(RULES)
    space.submit(pending(0))
    space.build(12, used)
    with pytest.raises(BallastError, match="nonce 0 is used"):
        space.submit(pending(1))
    space.submit(pending(2, nonce=1))
    with pytest.raises(BallastError, match="used 100001 gas"):
        space.build(24, lambda t: t.gas + 1)


@pytest.mark.parametrize("make", [lambda: BlockRules(block_time=0), lambda: BlockRules(gas_limit=1),
                                  lambda: BlockRules(bump=-1), lambda: Demand(-1), lambda: Stall(5, 5)])  # fmt: skip
def test_impossible_rules__refused(make) -> None:
    with pytest.raises(BallastError):
        make()


def test_fee_in_dollars__rounded_up() -> None:
    assert fee_in_dollars(100_000 * 20 * GWEI, 2_000_000_000) == 4_000_000
    assert fee_in_dollars(1, 2_000_000_000) == 1
