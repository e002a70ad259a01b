"""Epochs: leaves, trees, header and bundle of a market and the books, against the plain twin and the auditor."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from council import BTC, CALL, ETH, FUTURE, LISTED, PERP_BTC, PERP_ETH, PRICE, PUT, START, market

from offchain.audit.recompute import Mark as AuditMark
from offchain.audit.recompute import account_leaf, account_row, merkle_root
from offchain.audit.recompute import price as audit_price
from offchain.oracle.book import CLEARING, FIRST_ACCOUNT, SHORTFALL, Account, Book
from offchain.oracle.bundles import Bundle, BundleError, bundle_hash
from offchain.oracle.epochs import Epoch, build_epoch, shortfall_of
from offchain.oracle.headers import account_leaf_hash, instrument_leaf_hash
from offchain.oracle.observations import Slot
from offchain.oracle.trees import ZERO, Tree, verify, verify_multi
from offchain.risk.policy import default_policy
from offchain.risk.portfolios import content_of
from offchain.units import HOUR, MAX_SUM_ABS

SLOT = Slot(31337, "0x" + "ab" * 20, 1, START // HOUR, START, 100, b"\x07" * 32)
POLICY = default_policy()
COUNT = 9


def book_of(trades: list[tuple[int, int, int, int]], accounts: int = COUNT) -> Book:
    """Books after trades (giver, taker, instrument, lots), accounts by place."""
    book = Book()

    def apply(name: str, **args: Any) -> None:
        event = SimpleNamespace(name=name, args=args, block_number=1, log_index=book.at[1] + 1 if book.at[0] > 0 else 0)
        book.apply(event)

    for place in range(accounts):
        apply("AccountOpened", account=FIRST_ACCOUNT + place, owner="0x")
    for giver, taker, instrument, lots in trades:
        apply(
            "PositionMoved",
            giver=FIRST_ACCOUNT + giver,
            taker=FIRST_ACCOUNT + taker,
            instrument=instrument,
            lots=lots,
            cash=0,
            epoch=1,
        )
    return book


TRADES = [
    (0, 1, PERP_BTC, 500),
    (1, 2, CALL, 20),
    (2, 3, FUTURE, 7),
    (3, 4, PERP_ETH, 90_000),
    (4, 0, PUT, 11),
    (5, 6, PUT, 3),
    (6, 5, PUT, 3),  # closed again: no leaf
]


@pytest.fixture(scope="module")
def built() -> tuple[Epoch, Book]:
    book = book_of(TRADES)
    return build_epoch(SLOT, market(), book, POLICY), book


def test_build__accounts__equal_the_plain_twin(built: tuple[Epoch, Book]) -> None:
    epoch, book = built
    leaves = {leaf.id: leaf for leaf in epoch.leaves}
    assert [row.account for row in epoch.rows] == [FIRST_ACCOUNT + place for place in range(5)]
    for row in epoch.rows:
        account = row.account
        content = content_of(account, book.positions(account), leaves)
        assert (row.head, row.cost, row.vectors) == (content.head, content.cost, content.vector_words)
        assert row.hash == account_leaf_hash(row.head, row.position_hash, row.cost, row.vectors)
        assert epoch.contents[account] == content
        assert row.position_hash == book.accounts[account].position_hash == epoch.position_hash(account)
    assert epoch.position_hash(FIRST_ACCOUNT + 5) is None


def test_build__independent_recomputation__same_roots(built: tuple[Epoch, Book]) -> None:
    epoch, book = built
    marks = {word >> 240: AuditMark.of(word) for word in epoch.header.marks}
    priced = audit_price([leaf.meta for leaf in epoch.leaves], marks, START, book.open_interest(), POLICY)
    assert merkle_root([made.leaf for _, made in sorted(priced.items())]) == epoch.header.instrument_root
    rows = [
        account_leaf(account_row(a, book.positions(a), book.accounts[a].position_hash, priced)) for a in book.holders()
    ]
    assert merkle_root(rows) == epoch.header.account_root


def test_build__header_and_bundle__one_of_the_other(built: tuple[Epoch, Book]) -> None:
    epoch, _ = built
    header, bundle = epoch.header, Bundle.decode(epoch.bundle)
    assert header.bundle_hash == bundle_hash(epoch.bundle)
    assert header.policy_hash == POLICY.hash
    assert bundle.policy == POLICY.encode()
    assert (header.epoch, header.timestamp, header.snapshot_block) == (SLOT.epoch, START, 100)
    assert [header.mark(u).index for u in (BTC, ETH)] == [PRICE[BTC], PRICE[ETH]]
    assert [meta >> 152 for meta, _ in bundle.instruments] == LISTED
    assert build_epoch(SLOT, market(), book_of(TRADES), POLICY).bundle == epoch.bundle


def test_witness__every_account__proven_no_proof_empty(built: tuple[Epoch, Book]) -> None:
    epoch, book = built
    for account in book.holders():
        head, cost, vectors, proof = epoch.witness(account)
        leaf = account_leaf_hash(head, book.accounts[account].position_hash, cost, vectors)
        assert proof
        assert verify(epoch.header.account_root, leaf, proof)
    with pytest.raises(KeyError, match="account 261 has no leaf"):
        epoch.witness(FIRST_ACCOUNT + 5)


def test_witness__least_market__proof_is_not_empty() -> None:
    # An empty proof means a checkpoint. One trade has two sides, so even the smallest tree gives a sibling.
    epoch = build_epoch(SLOT, market(), book_of([(0, 1, PERP_BTC, 1)]), POLICY)
    assert [len(epoch.witness(row.account)[3]) for row in epoch.rows] == [1, 1]


def test_legs__any_order__ascending_with_one_proof(built: tuple[Epoch, Book]) -> None:
    epoch, _ = built
    legs, proof, flags = epoch.legs([PUT, PERP_BTC, CALL])
    assert [meta >> 152 for meta, _ in legs] == sorted([PUT, PERP_BTC, CALL])
    assert verify_multi(epoch.header.instrument_root, [instrument_leaf_hash(*leg) for leg in legs], proof, flags)
    (meta, array), single = epoch.leg(CALL)
    assert verify(epoch.header.instrument_root, instrument_leaf_hash(meta, array), single)
    with pytest.raises(KeyError, match="has no leaf"):
        epoch.legs([CALL, CALL + 0x100])
    with pytest.raises(ValueError, match="named twice"):
        epoch.legs([CALL, CALL])


def test_build__no_positions__zero_account_root() -> None:
    epoch = build_epoch(SLOT, market(), book_of([]), POLICY)
    assert epoch.header.account_root == ZERO
    assert epoch.rows == ()
    assert Epoch.from_bundle(epoch.header, epoch.bundle).rows == ()


def test_build__clearing_account_with_a_position__has_no_leaf() -> None:
    book = book_of([(0, 1, PERP_BTC, 2)])
    book.accounts[CLEARING].positions[PERP_ETH] = 1
    book.accounts[FIRST_ACCOUNT].positions[PERP_ETH] = -1
    epoch = build_epoch(SLOT, market(), book, POLICY)
    assert [row.account for row in epoch.rows] == [FIRST_ACCOUNT, FIRST_ACCOUNT + 1]


def test_build__largest_portfolio__exact() -> None:
    lots = MAX_SUM_ABS - 1
    book = book_of([(0, 1, CALL, lots)])
    epoch = build_epoch(SLOT, market(), book, POLICY)
    leaves = {leaf.id: leaf for leaf in epoch.leaves}
    for account in book.holders():
        assert epoch.contents[account] == content_of(account, book.positions(account), leaves)


def test_build__position_without_a_leaf__refused() -> None:
    with pytest.raises(ValueError, match="no instrument here"):
        build_epoch(SLOT, market([PERP_BTC]), book_of([(0, 1, CALL, 1)]), POLICY)


def test_build__open_interest__raises_close_out() -> None:
    def costs(lots: int) -> list[int]:
        epoch = build_epoch(SLOT, market(), book_of([(0, 1, PERP_BTC, lots)]), POLICY)
        return [leaf.c_short for leaf in epoch.leaves]

    quiet, crowded = costs(1), costs(1_000_000)
    place = LISTED.index(PERP_BTC)
    assert crowded[place] > quiet[place]
    assert crowded[place + 1 :] == quiet[place + 1 :]


def test_from_bundle__posted__serves_the_same(built: tuple[Epoch, Book]) -> None:
    epoch, book = built
    served = Epoch.from_bundle(epoch.header, epoch.bundle)
    assert served == epoch
    assert [served.witness(a) for a in book.holders()] == [epoch.witness(a) for a in book.holders()]


def test_from_bundle__other_header_or_bytes__refused(built: tuple[Epoch, Book]) -> None:
    epoch, _ = built
    with pytest.raises(BundleError, match="not the bundle of epoch"):
        Epoch.from_bundle(epoch.header, epoch.bundle + b" ")
    with pytest.raises(BundleError, match="does not give its header"):
        Epoch.from_bundle(replace(epoch.header, account_root=ZERO), epoch.bundle)
    spaced = epoch.bundle.replace(b",", b", ", 1)
    with pytest.raises(BundleError, match="canonical"):
        Epoch.from_bundle(replace(epoch.header, bundle_hash=bundle_hash(spaced)), spaced)


def test_shortfall__what_its_account_owes() -> None:
    book = Book()
    assert shortfall_of(book) == 0
    book.accounts[SHORTFALL] = Account(cash=-77)
    assert shortfall_of(book) == 77


def test_trees__made_once(built: tuple[Epoch, Book]) -> None:
    epoch, _ = built
    assert epoch.account_tree is epoch.account_tree
    assert isinstance(epoch.instrument_tree, Tree)
    assert epoch.instrument_tree.root == epoch.header.instrument_root
