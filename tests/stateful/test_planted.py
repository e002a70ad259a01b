"""Bugs planted in copies of the contracts: the machine catches each within a bounded number of actions."""

from __future__ import annotations

import pytest
from machine import plan, play

from offchain.chain.variants import Patch, variant

MOST_ACTIONS = 1_500
PLANTED: dict[str, tuple[str, list[Patch]]] = {
    # An account without positions may come with any cost, which then stays in its checkpoint.
    "unchecked witness field": (
        "ClearingHouse",
        [("assert witness.head == 0 and witness.cost == 0,", "assert witness.head == 0,")],
    ),
    # The fee is floored: for whoever trades, against insurance.
    "rounding the wrong way": (
        "ClearingHouse",
        [("return (fee + scale - 1) // scale, funding, listed", "return fee // scale, funding, listed")],
    ),
    # What is paid out stays in the books as held.
    "missed ledger update": (
        "Ledger",
        [("    self.tokens_held = held - paid\n", "")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_planted__a_bug_in_a_copy_of_a_contract__is_caught(name: str) -> None:
    contract, patches = PLANTED[name]
    flawed = {contract: variant(contract, patches)}
    spent = 0
    for seed in range(3):  # a third each: what one history seldom does, another begins with
        found = play(plan(seed, MOST_ACTIONS), flawed, attempts=MOST_ACTIONS // 3, closing=False)
        spent += found.attempts
        if found.error:
            break
    assert found.error != ""
    assert spent <= MOST_ACTIONS + 100  # a move that has begun goes on to its end
