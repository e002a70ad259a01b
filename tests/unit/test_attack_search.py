"""The attack search: nothing pays with the starting values, and it finds what pays where margin is too low."""

from __future__ import annotations

import numpy as np
import pytest

from offchain.config import BallastError
from offchain.simulation.rivals import left_to_others
from offchain.simulation.search import BTC, KINDS, KNOWN, PRICE, WAIT, Arena, Move, crossed, mutated, profits, search


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena()


def test_search__starting_values__nothing_pays(arena: Arena) -> None:
    """Threats 7, 23, 32: no sequence by one owner profits, whichever way the price goes."""
    found = search(arena, budget=6, seed=2)
    assert found.profit <= 0
    assert found.tried == 6
    assert list(found.history) == sorted(found.history)


def test_search__margin_below_the_jump__finds_the_abandoned_loser() -> None:
    found = search(Arena(("scan_range",)), budget=len(KNOWN), seed=2)
    assert found.profit > 50_000_000_000
    assert found.worlds[0] <= 0 < min(found.worlds[1:])


def test_search__waiting_for_the_market_and_keeping__is_no_attack(arena: Arena) -> None:
    """What a search with a budget of 500 found: the penalties of honest accounts that the jump put below margin."""
    keep = tuple(move for who in (1, 0, 1, 1) for move in (WAIT, WAIT, Move("keep", who)))
    assert profits(arena, (WAIT, *keep)) == (0, 0, 0)


def test_left_to_others__at_the_true_price_alone(arena: Arena) -> None:
    honest = (arena.long, arena.short)
    found = {
        move: left_to_others(
            arena.state, arena.policy, PRICE | {BTC: PRICE[BTC] * (100 + move) // 100}, arena.scan, honest
        )
        for move in (0, 12, -12)
    }
    assert found == {0: set(), 12: {arena.short}, -12: {arena.long}}


def test_profits__the_same_play_again__same_integers(arena: Arena) -> None:
    wash = KNOWN["wash"]
    assert profits(arena, wash) == profits(arena, wash)
    assert profits(arena, ()) == (0, 0, 0)


def test_mutations__stay_sequences_of_known_kinds() -> None:
    rng = np.random.default_rng(3)
    sequence = KNOWN["squeeze"]
    for _ in range(300):
        sequence = crossed(mutated(sequence, rng), KNOWN["wash"], rng)
        assert 1 <= len(sequence) <= 16
        assert all(m.kind in KINDS and 0 < m.size <= 1 and -1 <= m.skew <= 1 and m.side in (1, -1) for m in sequence)


def test_search__bad_input__refused(arena: Arena) -> None:
    with pytest.raises(BallastError, match="a budget of 2"):
        search(arena, budget=2)
    with pytest.raises(BallastError, match="unknown guard 'luck'"):
        Arena(("luck",))
    with pytest.raises(BallastError, match="a rule off the chain"):
        Arena(("median",))
