"""The proofs hold where the tests run, they can fail, and the claims on bytecode hold at bounds and random inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import prove_arithmetic
import prove_ratios
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from z3 import And, Int

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract, Reverted
from offchain.chain.revm import RevmChain
from offchain.chain.variants import variant

LANES = (prove_arithmetic.lanes_read_back, prove_arithmetic.lanes_add, prove_arithmetic.biased_sums)
LANES += (prove_arithmetic.lots_read_back, prove_arithmetic.cash_reads_back)
CLAIMS: list[Contract] = []
WORDS = st.one_of(
    st.sampled_from((0, 1, 2**31, 2**63, 2**255, 2**256 - 1, int("80000000" * 8, 16))), st.integers(0, 2**256 - 1)
)
ARRAYS = st.lists(WORDS, min_size=5, max_size=5)


@pytest.fixture(scope="module", autouse=True)
def harness() -> Iterator[None]:
    chain = RevmChain()
    CLAIMS.append(chain.deploy(artifact("mocks/ArithmeticClaims"), sender=chain.accounts[0]))
    yield
    CLAIMS.clear()


@pytest.mark.parametrize("proof", [*LANES, *prove_ratios.PROOFS], ids=lambda p: p.__name__)
def test_proof__all_inputs__holds(proof: Callable[[], list[bool]]) -> None:
    results = proof()
    assert results
    assert all(results)


def test_proof__false_claim__is_not_proven() -> None:
    """A floor taken for a ceiling, and a bound that is one too tight."""
    quotient, product = Int("quotient"), Int("product")
    rounded = prove_ratios.floor(quotient, product, 10_000)
    assert not prove_ratios.holds("false", [product >= 0, rounded], quotient * 10_000 >= product)
    assert not prove_ratios.holds("false", [And(product >= 0, product <= 9), rounded], quotient > 0)


@settings(max_examples=60, deadline=None)
@given(
    WORDS,
    st.integers(1, 5),
    st.integers(1, 5),
    st.one_of(st.sampled_from((0, 1, -1, 2**50 - 1, 1 - 2**50)), st.integers(1 - 2**50, 2**50 - 1)),
)
def test_claims__lots(word: int, kind: int, other: int, lots: int) -> None:
    CLAIMS[0].call.check_lots(word, kind, other, lots)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**128 - 1),
    st.one_of(st.sampled_from((0, -1, 2**127 - 1, 1 - 2**127)), st.integers(1 - 2**127, 2**127 - 1)),
)
def test_claims__cash(account: int, holdings: int, cash: int) -> None:
    CLAIMS[0].call.check_cash(account, holdings, cash)


@settings(max_examples=60, deadline=None)
@given(ARRAYS, WORDS, ARRAYS, WORDS)
def test_claims__lanes(array: list[int], quantity: int, other: list[int], more: int) -> None:
    CLAIMS[0].call.check_lanes(array, quantity, other, more)
    CLAIMS[0].call.check_long(array)
    CLAIMS[0].call.check_lowest(quantity)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 2**16 - 1), max_size=3, unique=True), st.integers(1, 40), st.integers(1, 2**16 - 1))
def test_claims__counts(underlyings: list[int], count: int, opened: int) -> None:
    three = [*sorted(underlyings), 0, 0, 0][:3]
    CLAIMS[0].call.check_counts(*three, count, opened)
    for known in underlyings:
        CLAIMS[0].call.check_counts(*three, count, known)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.just(0), st.integers(0, 2**100)),
    st.sampled_from((0, 1, 5_000, 9_999, 10_000)),
    st.integers(0, 2**99),
    st.integers(-(2**40), 2**40),
)
def test_claims__shared(penalty: int, split: int, before: int, rise: int) -> None:
    for after in (before, before + min(rise, penalty), before + penalty, 0):
        CLAIMS[0].call.check_shared(penalty, split, before, max(after, 0))


@settings(max_examples=60, deadline=None)
@given(WORDS, st.one_of(st.sampled_from((0, 1, -1, 2**32 - 1, 1 - 2**32)), st.integers(1 - 2**32, 2**32 - 1)))
def test_claims__closeout(meta: int, lots: int) -> None:
    CLAIMS[0].call.check_closeout(meta, lots)


def test_claims__flawed_copy__panics() -> None:
    """The liquidator's share alone: insurance may get less than the rise of its claim."""
    chain = RevmChain()
    patches = [("max(min(share, penalty - max(after - before, 0)), 0)", "share")]
    flawed = chain.deploy(variant("mocks/ArithmeticClaims", patches), sender=chain.accounts[0])
    CLAIMS[0].call.check_shared(100, 5_000, 0, 60)
    with pytest.raises(Reverted):
        flawed.call.check_shared(100, 5_000, 0, 60)


def test_shortfall_ratio__small_numbers__every_order_of_two_withdrawals() -> None:
    """Exhaustively: each gets the same in either order but for one micro-USD, and nobody more than his part, ceiled."""
    for held in range(13):
        for short in range(13 - held):
            whole = held + short
            for first in range(whole + 1):
                paid = first * held // whole if whole else 0
                left, rest = whole - first, held - paid
                for second in range(left + 1):
                    now, alone = second * rest // left if left else 0, second * held // whole if whole else 0
                    assert alone <= now <= alone + 1
                    assert 0 <= rest - now <= left - second


def test_requirement__small_numbers__credit_and_initial_margin() -> None:
    """Exhaustively: the credit leaves the joint fall, and IM excess is never above MM excess."""
    for kappa in (0, 1, 2_999, 3_000):
        for total in range(60):
            for joint in range(total + 1):
                risk = total - kappa * (total - joint) // 10_000
                assert joint <= risk <= total
    for factor in (10_001, 12_500, 65_535):
        last = 0
        for requirement in range(2_000):
            initial = (factor * requirement + 9_999) // 10_000
            assert max(last, requirement) <= initial < requirement * factor / 10_000 + 1
            last = initial
