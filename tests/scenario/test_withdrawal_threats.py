"""What withdrawals must survive, each named after its row in the list of threats."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import permutations

import pytest
from desk import BTC_PERP, reason
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_bench import Bench

from offchain.oracle.book import SHORTFALL, shared_out

INSURANCE = 1


def broke(cash: list[int], debts: list[int], insurance: int = 0) -> tuple[Bench, list[int], list[int]]:
    """Owners with cash, others who owe it and hold nothing, insurance; tokens held are what is left."""
    bench = Bench()
    owners, debtors = [bench.open() for _ in cash], [bench.open() for _ in debts]
    bench.pay(owners[0], sum(cash) + insurance - sum(debts))
    for account, amount in zip(debtors, debts, strict=True):
        bench.do("move_cash", account, owners[0], amount, 2)
    bench.do("move_cash", owners[0], INSURANCE, insurance, 2)
    for account, amount in zip(owners[1:], cash[1:], strict=True):
        bench.do("move_cash", owners[0], account, amount, 2)
    assert [bench.cash(a) for a in owners] == cash
    return bench, owners, debtors


def leave(bench: Bench, account: int) -> int:
    """Withdraw all of an account; what was paid."""
    book = bench.book
    assert book.short == bench.ledger.call.short()
    cash, held = bench.cash(account), book.tokens_held
    bench.do("withdraw", account, bench.keys[4].address, cash)
    paid = held - int(bench.ledger.call.tokens_held())
    assert paid == shared_out(cash, held, book.short)
    assert bench.cash(account) == 0
    return paid


def absorb(bench: Bench, debtor: int) -> None:
    """As Takeover.absorb: from insurance, then as shortfall."""
    debt = -bench.cash(debtor)
    funds = min(max(bench.cash(INSURANCE), 0), debt)
    bench.do("move_cash", INSURANCE, debtor, funds, 18)
    bench.do("move_cash", SHORTFALL, debtor, debt - funds, 19)


@pytest.mark.parametrize("recorded", [False, True])
def test_threat_27__everybody_withdraws__the_same_ratio_in_any_order(recorded: bool) -> None:
    """Four owners, two debtors, some insurance: whoever comes first, and whether debts were recorded or not, each gets
    75 % of his cash, to a unit for each who went before."""
    cash, debts = [400_001, 1_000_000, 77, 599_999], [700_000, 50_023]
    part = Fraction(sum(cash) - 500_019, sum(cash))
    assert float(part) == pytest.approx(0.75, abs=1e-4)
    for order in permutations(range(4)):
        bench, owners, debtors = broke(cash, debts, insurance=250_004)
        if recorded:
            for debtor in debtors:
                absorb(bench, debtor)
        assert bench.ledger.call.short() == 500_019
        for before, number in enumerate(order):
            assert 0 <= Fraction(leave(bench, owners[number])) - cash[number] * part + 1 <= before + 1
        for debtor in debtors:
            if bench.cash(debtor):
                absorb(bench, debtor)
        assert bench.ledger.call.tokens_held() == bench.cash(INSURANCE) + bench.cash(SHORTFALL) <= 250_004 + 4


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_threat_27__random_orders__same_ratio(seed: int) -> None:
    """Withdrawals in parts, absorptions and repayments in any order: the ratio `T / (T + S)` never falls, and rises by
    no more than the floors."""
    rnd = random.Random(seed)
    cash = [rnd.randrange(1, 10**12) for _ in range(rnd.randrange(2, 5))]
    debts = [rnd.randrange(1, sum(cash) // 3 + 1) for _ in range(rnd.randrange(1, 3))]
    bench, owners, debtors = broke(cash, debts, insurance=rnd.randrange(0, 10**11))
    held, short = int(bench.ledger.call.tokens_held()), int(bench.ledger.call.short())
    part = Fraction(held, held + short)
    steps = [*debtors, *[a for a in owners for _ in range(2)], 0, 0]
    rnd.shuffle(steps)
    paid = dict.fromkeys(owners, 0)
    floors = 0
    for step in steps:
        before = bench.ledger.call.short()
        if step in debtors:
            absorb(bench, step)
            assert bench.ledger.call.short() == before
        elif step == 0:
            debt, funds = -bench.cash(SHORTFALL), bench.cash(INSURANCE)
            if debt > 0 and funds > 0:
                bench.do("move_cash", INSURANCE, SHORTFALL, min(debt, funds), 20)
            assert bench.ledger.call.short() == before
        elif bench.cash(step) > 1:
            amount = rnd.randrange(bench.cash(step) // 2 + 1, bench.cash(step) + 1)
            book = bench.book
            if shared_out(amount, book.tokens_held, book.short) == 0:
                continue
            bench.do("withdraw", step, bench.keys[4].address, amount)
            got = book.tokens_held - int(bench.ledger.call.tokens_held())
            assert got == shared_out(amount, book.tokens_held, book.short)
            paid[step] += amount
            assert -1 <= got - amount * part <= floors + 1
            floors += 1
        now, lacks = int(bench.ledger.call.tokens_held()), int(bench.ledger.call.short())
        assert Fraction(now, max(now + lacks, 1)) >= part or now == 0


def test_threat_27__no_debt__pays_all() -> None:
    """The nearest neighbour: insurance covers all debts, and each gets all of his."""
    bench, owners, debtors = broke([500, 700], [300], insurance=300)
    assert bench.ledger.call.short() == 0
    assert [leave(bench, a) for a in owners] == [500, 700]
    absorb(bench, debtors[0])
    assert bench.ledger.call.tokens_held() == 0


def test_debt_of_an_account_that_holds_something__is_no_shortfall() -> None:
    """One may owe dollars against what he holds; his debt counts once he holds nothing, and no longer when paid."""
    bench, owners, debtors = broke([1_000, 1_000], [400])
    assert bench.ledger.call.short() == 400
    bench.do("move_position", owners[0], debtors[0], BTC_PERP, 3, 0, 1)
    assert bench.ledger.call.short() == 0
    bench.do("move_position", debtors[0], owners[0], BTC_PERP, 3, 25, 1)
    assert bench.ledger.call.short() == bench.book.short == 375
    bench.pay(debtors[0], 375)
    assert bench.ledger.call.short() == 0


def test_withdrawal__too_small_to_pay_anything__reverts() -> None:
    bench, owners, _ = broke([1_000, 1_000], [1_500])
    assert reason(bench.do, "withdraw", owners[0], bench.keys[4].address, 3) == "ledger: zero amount"
    bench.do("withdraw", owners[0], bench.keys[4].address, 4)
