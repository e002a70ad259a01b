"""The books from the ledger's events: balances, positions, hashes, and the sums that must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from offchain.oracle.book import FIRST_ACCOUNT, INSURANCE, Book, BookError, next_position_hash
from offchain.oracle.trees import ZERO
from offchain.store.events import StoredEvent

VECTORS = Path(__file__).parents[1] / "vectors" / "position_hash.json"
ALICE, BOB = FIRST_ACCOUNT, FIRST_ACCOUNT + 1
PERPETUAL, OTHER = 1 << 88 | 1, 2 << 88 | 1


def event(number: int, name: str, index: int = 0, **args: Any) -> StoredEvent:
    return StoredEvent(number, number.to_bytes(32, "big"), index, "0x", name, args)


def opened(number: int, account: int) -> StoredEvent:
    return event(number, "AccountOpened", account=account, owner=f"0x{account:040x}")


def moved(
    number: int, giver: int, taker: int, instrument: int, lots: int, cash: int = 0, index: int = 0
) -> StoredEvent:
    args = {"giver": giver, "taker": taker, "instrument": instrument, "lots": lots, "cash": cash, "epoch": 9}
    return event(number, "PositionMoved", index, **args)


HISTORY = [
    opened(1, ALICE),
    opened(2, BOB),
    event(3, "Deposit", account=ALICE, payer="0x", amount=1000),
    event(4, "Deposit", account=BOB, payer="0x", amount=500),
    moved(5, ALICE, BOB, PERPETUAL, 7, cash=30),
    event(5, "CashMoved", 1, giver=BOB, taker=INSURANCE, amount=4, reason=1),
    event(6, "Withdrawal", account=ALICE, to="0x", amount=100),
    moved(7, BOB, ALICE, PERPETUAL, 7, cash=-5),
    moved(7, ALICE, BOB, OTHER, 1, index=1),
]


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text())["cases"])
def test_position_hash__independent_encoder__equal(case: dict[str, Any]) -> None:
    before, after = (bytes.fromhex(case[key][2:]) for key in ("before", "after"))
    assert next_position_hash(before, case["account"], int(case["instrument"], 16), case["change"]) == after


def test_replay__history__balances_positions_and_hashes() -> None:
    book = Book.replay(HISTORY)
    book.check()
    alice, bob = book.accounts[ALICE], book.accounts[BOB]
    assert (alice.cash, bob.cash, book.accounts[INSURANCE].cash) == (1000 + 30 - 100 + 5, 500 - 30 - 4 - 5, 4)
    assert book.tokens_held == 1400
    assert (book.positions(ALICE), book.positions(BOB)) == ({OTHER: -1}, {OTHER: 1})
    assert book.holders() == [ALICE, BOB]
    assert book.open_interest() == {OTHER: 1}
    assert alice.last_trade_epoch == 9
    expected = ZERO
    for instrument, change in ((PERPETUAL, -7), (PERPETUAL, 7), (OTHER, -1)):
        expected = next_position_hash(expected, ALICE, instrument, change)
    assert alice.position_hash == expected
    assert book.at == (7, 1)
    assert book.position_version == 3


def test_replay__to_a_block__nothing_later() -> None:
    book = Book.replay(HISTORY, to_block=5)
    book.check()
    assert book.positions(BOB) == {PERPETUAL: 7}
    assert book.accounts[ALICE].cash == 1030
    assert book.at == (5, 1)


def test_cash__moves__position_hash_stands() -> None:
    before = Book.replay(HISTORY[:5]).accounts[BOB].position_hash
    assert Book.replay(HISTORY[:7]).accounts[BOB].position_hash == before


def test_threat_9__reorganisation_with_the_same_count_of_trades__other_position_hash() -> None:
    first = Book.replay([*HISTORY[:4], moved(5, ALICE, BOB, PERPETUAL, 7), moved(6, ALICE, BOB, OTHER, 3)])
    for fork in (
        [moved(5, ALICE, BOB, PERPETUAL, 7), moved(6, ALICE, BOB, OTHER, 4)],  # other lots
        [moved(5, ALICE, BOB, OTHER, 3), moved(6, ALICE, BOB, PERPETUAL, 7)],  # the same positions, in another order
        [moved(5, ALICE, BOB, PERPETUAL, 7), moved(6, BOB, ALICE, OTHER, 3)],  # the other way
    ):
        other = Book.replay([*HISTORY[:4], *fork])
        for account in (ALICE, BOB):
            assert other.accounts[account].position_hash != first.accounts[account].position_hash
    again = Book.replay([*HISTORY[:4], moved(8, ALICE, BOB, PERPETUAL, 7, 99), moved(9, ALICE, BOB, OTHER, 3)])
    # The same changes mined later, at another price, are the same history of positions.
    assert again.accounts[ALICE].position_hash == first.accounts[ALICE].position_hash


def test_apply__out_of_order_or_twice__refused() -> None:
    book = Book.replay(HISTORY)
    with pytest.raises(BookError, match="does not come after"):
        book.apply(HISTORY[-1])
    with pytest.raises(BookError, match="does not come after"):
        book.apply(moved(7, ALICE, BOB, OTHER, 1))


def test_apply__unknown_account__refused() -> None:
    book = Book()
    with pytest.raises(BookError, match="account 256 does not exist"):
        book.apply(event(1, "Deposit", account=256, payer="0x", amount=1))
    with pytest.raises(BookError, match="257 was opened where 256 comes next"):
        book.apply(opened(2, 257))


def test_transfer__new_owner_and_version() -> None:
    book = Book.replay(HISTORY)
    book.apply(event(8, "AccountTransferred", account=ALICE, previous="0x", owner="0xabc", version=1))
    assert (book.accounts[ALICE].owner, book.accounts[ALICE].version) == ("0xabc", 1)


def test_check__sums_broken__named() -> None:
    book = Book.replay(HISTORY)
    book.accounts[ALICE].cash += 1
    with pytest.raises(BookError, match="sum of cash 1401 is not tokens held 1400"):
        book.check()
    book.accounts[ALICE].cash -= 1
    book.accounts[ALICE].positions[OTHER] = -2
    with pytest.raises(BookError, match="sum to -1, not to zero"):
        book.check()
