"""Witnesses: leaf, checkpoint and full check give the same integers, and no bad witness is believed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from desk import (
    BTC,
    BTC_FUTURE,
    BTC_PERP,
    ETH,
    ETH_FUTURE,
    ETH_PERP,
    NOTHING,
    Desk,
    Pair,
    content,
    leaf,
    option,
    reason,
)

from offchain.instruments import Kind
from offchain.oracle.headers import account_leaf_hash
from offchain.risk.policy import default_policy
from offchain.units import MICRO

BOOK = {
    BTC_PERP: -40,
    option(BTC, 9_000, Kind.PUT): 30,
    option(BTC, 11_000): -20,
    BTC_FUTURE: 25,
    ETH_PERP: 60,
    option(ETH, 250): -50,
    ETH_FUTURE: -10,
}


@pytest.fixture
def pair() -> Pair:
    """The buyer holds `BOOK`, the seller the other side, under a fresh epoch."""
    pair = Pair(instruments=(*BOOK, option(BTC, 12_000)))
    for identifier, lots in BOOK.items():
        if lots > 0:
            pair.desk.trade(pair.buyer, pair.seller, identifier, lots)
        else:
            pair.desk.trade(pair.seller, pair.buyer, identifier, -lots)
    pair.desk.post()
    return pair


def full(desk: Desk, account: int, ids: list[int], **changes: Any) -> Any:
    """A full check with the legs of `ids`, in that order, and the proof of those that are listed."""
    proof, flags = desk.multiproof(sorted(set(ids)))
    args: dict[str, Any] = {"legs": [desk.leg(i) for i in ids], "proof": proof, "flags": flags} | changes
    return desk.system.examiner.send.check_full(account, *args.values(), sender=desk.keys[9])


def test_leaf_checkpoint_and_full__give_identical_integers(pair: Pair) -> None:
    desk = pair.desk
    for account in (pair.buyer, pair.seller):
        wanted = desk.margin(account)
        assert desk.house.call.check(account, desk.by_leaf(account)) == wanted
        assert reason(desk.house.call.check, account, desk.by_checkpoint(account)) == "witness: not proven"
        checked = desk.check_full(account).event("FullyChecked").args
        assert checked == {"account": account, "epoch": desk.epoch, "margin": wanted}
        assert desk.house.call.check(account, desk.by_checkpoint(account)) == wanted
        assert desk.house.call.check(account, desk.by_leaf(account)) == wanted


def test_checkpoint__after_each_trade__is_the_content_of_all_legs(pair: Pair) -> None:
    """Underlyings come, go and turn: the content carried along equals the one rebuilt from all legs."""
    desk, rnd = pair.desk, random.Random(3)
    ids = [*BOOK, option(BTC, 12_000)]
    desk.pay(pair.buyer, 10**12, pair.buyer_key)
    desk.pay(pair.seller, 10**12, pair.seller_key)
    for step in range(30):
        identifier = rnd.choice(ids)
        held = desk.book.positions(pair.buyer).get(identifier, 0)
        lots = rnd.choice([held, -rnd.randrange(1, 90), rnd.randrange(1, 90)]) or 3
        seller, buyer = (pair.buyer, pair.seller) if lots > 0 else (pair.seller, pair.buyer)
        desk.trade(buyer, seller, identifier, abs(lots))
        for account in (pair.buyer, pair.seller):
            assert desk.house.call.check(account, desk.by_checkpoint(account)) == desk.margin(account)
        if step % 10 == 9:
            desk.check_full(pair.buyer)
            assert desk.house.call.check(pair.buyer, desk.by_checkpoint(pair.buyer)) == desk.margin(pair.buyer)
    for identifier in [i for i in desk.book.positions(pair.buyer) if i >> 88 == BTC]:
        held = desk.book.positions(pair.buyer)[identifier]
        seller, buyer = (pair.buyer, pair.seller) if held > 0 else (pair.seller, pair.buyer)
        desk.trade(buyer, seller, identifier, abs(held))
        for account in (pair.buyer, pair.seller):
            assert desk.house.call.check(account, desk.by_checkpoint(account)) == desk.margin(account)
    assert list(desk.content(pair.buyer).vectors) == [ETH]


def test_leaf__of_the_only_account__needs_no_proof() -> None:
    """In a tree of one leaf the proof is empty, as a checkpoint's: the leaf is believed all the same."""
    pair = Pair()
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
    body = content(pair.buyer, {BTC_PERP: 5}, desk.leaves)
    position_hash = desk.book.accounts[pair.buyer].position_hash
    desk.post(account_root=account_leaf_hash(body.head, position_hash, body.cost, body.words))
    assert desk.house.call.check(pair.buyer, body.witness()) == desk.margin(pair.buyer)
    assert reason(desk.house.call.check, pair.seller, desk.by_checkpoint(pair.seller)) == "witness: not proven"


def test_account_without_positions__needs_no_witness(pair: Pair) -> None:
    desk = pair.desk
    third = desk.fund(desk.keys[3], 77)
    assert desk.house.call.check(third, NOTHING) == (77 * MICRO, 0, 0, 77 * MICRO, 77 * MICRO)
    head, cost, words, proof = desk.by_leaf(pair.buyer)
    for given in ((head, 0, [], []), (0, cost, [], []), (0, 0, words, []), (0, 0, [], proof)):
        assert reason(desk.house.call.check, third, given) == "witness: account has no positions"


def test_witness__bad__is_not_believed(pair: Pair) -> None:
    """Foreign, changed, reordered, truncated and over-long witnesses."""
    desk, check = pair.desk, pair.desk.house.call.check
    head, cost, words, proof = desk.by_leaf(pair.buyer)
    assert reason(check, pair.buyer, desk.by_leaf(pair.seller)) == "witness: foreign account"
    assert reason(check, pair.buyer, (head + 1, cost, words, proof)) == "witness: stale"
    assert reason(check, pair.buyer, (head ^ 3 << 160, cost, words, proof)) == "witness: stale"
    for length in (0, 10, 19):
        assert reason(check, pair.buyer, (head, cost, words[:length], proof)) == "witness: wrong length"
    assert reason(check, pair.buyer, (head, cost, [*words, *words[:10]], proof)) == "witness: wrong length"
    unproven = [
        (head, cost + 1, words, proof),
        (head, cost - (1 << 128), words, proof),
        (head, cost, [words[0] + 1, *words[1:]], proof),
        (head, cost, [*words[10:], *words[:10]], proof),
        (head, cost, words, proof[:-1]),
        (head, cost, words, [*proof, bytes(32)]),
        (head, cost, words, [bytes(32), *proof[1:]]),
        (head, cost, words, []),
    ]
    for witness in unproven:
        assert reason(check, pair.buyer, witness) == "witness: not proven"
    # Longer than any account's can be: refused while it is read, which gives no string.
    assert reason(check, pair.buyer, (head, cost, words * 3, proof)) == ""
    assert reason(check, pair.buyer, (head, cost, words, proof * 33)) == ""
    assert check(pair.buyer, (head, cost, words, proof)) == desk.margin(pair.buyer)


def test_witness__stale__is_not_believed(pair: Pair) -> None:
    """After a trade the old leaf fails, even once positions are again what they were; after an epoch the checkpoint."""
    desk, check = pair.desk, pair.desk.house.call.check
    old = desk.by_leaf(pair.buyer)
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 3)
    assert reason(check, pair.buyer, old) == "witness: stale"
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 3)
    assert desk.book.positions(pair.buyer) == BOOK
    assert reason(check, pair.buyer, old) == "witness: not proven"
    checkpoint = desk.by_checkpoint(pair.buyer)
    assert check(pair.buyer, checkpoint) == desk.margin(pair.buyer)
    desk.post()
    assert reason(check, pair.buyer, checkpoint) == "witness: not proven"
    assert check(pair.buyer, desk.by_leaf(pair.buyer)) == desk.margin(pair.buyer)


def test_trade__by_any_witness__ends_the_same() -> None:
    """The same trade by leaf, by checkpoint and after a full check leaves the same checkpoint."""
    ends = set()
    for how in ("leaf", "checkpoint", "full"):
        pair = Pair()
        desk = pair.desk
        desk.trade(pair.buyer, pair.seller, BTC_PERP, 5)
        if how != "checkpoint":
            desk.post()
        if how == "full":
            desk.check_full(pair.buyer)
            desk.check_full(pair.seller)
        desk.trade(pair.buyer, pair.seller, BTC_FUTURE, 5)
        if how == "checkpoint":
            desk.post()
            desk.check_full(pair.buyer)
        ends.add(desk.house.call.check(pair.buyer, desk.by_checkpoint(pair.buyer)))
    assert len(ends) == 1


# Full checks


def test_full__bad_legs__revert(pair: Pair) -> None:
    desk = pair.desk
    ids, other = sorted(BOOK), option(BTC, 12_000)
    third = desk.fund(desk.keys[3])
    assert reason(full, desk, third, ids) == "examiner: account has no positions"
    assert reason(full, desk, pair.buyer, ids[:-1]) == "examiner: not all positions"
    assert reason(full, desk, pair.buyer, [*ids, other]) == "examiner: not all positions"
    assert reason(full, desk, pair.buyer, [ids[1], ids[0], *ids[2:]]) == "examiner: legs not ascending"
    assert reason(full, desk, pair.buyer, sorted([*ids[1:], other])) == "examiner: no such position"
    assert desk.ledger.call.checkpoint(pair.buyer) != bytes(32)  # of the epoch in which it traded
    before = desk.ledger.call.checkpoint(pair.buyer)
    proof, flags = desk.multiproof(ids)
    assert reason(full, desk, pair.buyer, ids, proof=proof[:-1]) == "merkle: malformed multiproof"
    assert reason(full, desk, pair.buyer, ids, proof=[*proof, bytes(32)]) == "examiner: legs not proven"
    assert reason(full, desk, pair.buyer, ids, flags=[]) == "merkle: wrong number of flags"
    assert reason(full, desk, pair.buyer, ids, flags=[*flags, 0]) == "merkle: wrong number of flags"
    assert reason(full, desk, pair.buyer, ids, flags=[flags[0] | 1 << 200]) == "merkle: malformed multiproof"
    assert reason(full, desk, pair.buyer, ids, proof=[bytes(32)] * len(proof)) == "examiner: legs not proven"
    meta, array = desk.leg(ids[0])
    changed = [(meta, [array[0] ^ 1, *array[1:]]), *[desk.leg(i) for i in ids[1:]]]
    assert reason(full, desk, pair.buyer, ids, legs=changed) == "examiner: legs not proven"
    assert desk.ledger.call.checkpoint(pair.buyer) == before


def test_full__anyone__for_any_account(pair: Pair) -> None:
    desk = pair.desk
    desk.chain.set_next_timestamp(desk.chain.timestamp + 10**6)  # and of a stale epoch: it says what it says
    full(desk, pair.seller, sorted(BOOK))
    assert desk.house.call.check(pair.seller, desk.by_checkpoint(pair.seller)) == desk.margin(pair.seller)


# Threats


def test_threat_8__deposits_do_not_spoil_a_witness(pair: Pair) -> None:
    """A dust deposit, or a third party's, between making a witness and using it: leaf and checkpoint still hold."""
    desk = pair.desk
    by_leaf = desk.by_leaf(pair.buyer)
    desk.pay(pair.buyer, 1, pair.buyer_key)
    desk.pay(pair.buyer, 1, desk.keys[7])
    assert desk.house.call.check(pair.buyer, by_leaf) == desk.margin(pair.buyer)
    desk.withdraw(pair.buyer, 2, pair.buyer_key, by_leaf)
    assert desk.house.call.check(pair.buyer, by_leaf) == desk.margin(pair.buyer)
    desk.check_full(pair.buyer)
    checkpoint = desk.by_checkpoint(pair.buyer)
    desk.pay(pair.buyer, 1, desk.keys[7])
    assert desk.house.call.check(pair.buyer, checkpoint) == desk.margin(pair.buyer)


def test_threat_11__a_losing_position_left_out(pair: Pair) -> None:
    """The loser is left out, replaced by a repeated winner, by another listed leg, or by nothing; in leaf and legs."""
    desk = pair.desk
    ids = sorted(BOOK)
    loser, winner = option(BTC, 11_000), option(BTC, 9_000, Kind.PUT)
    without = [i for i in ids if i != loser]
    assert reason(full, desk, pair.buyer, without) == "examiner: not all positions"
    assert reason(full, desk, pair.buyer, sorted([*without, winner])) == "examiner: legs not ascending"
    assert reason(full, desk, pair.buyer, sorted([*without, option(BTC, 12_000)])) == "examiner: no such position"
    rosy = content(pair.buyer, {i: BOOK[i] for i in without}, desk.posted)
    _, _, _, proof = desk.by_leaf(pair.buyer)
    assert reason(desk.house.call.check, pair.buyer, rosy.witness(proof)) == "witness: stale"
    head = desk.content(pair.buyer).head
    assert reason(desk.house.call.check, pair.buyer, (head, rosy.cost, rosy.words, proof)) == "witness: not proven"


def test_threat_11__an_instrument_repeated(pair: Pair) -> None:
    """A long leg twice, with the count right, next to each other or apart."""
    desk = pair.desk
    ids = sorted(BOOK)
    for i in range(1, len(ids)):
        twice = [*ids[:i], ids[i - 1], *ids[i + 1 :]]
        assert reason(full, desk, pair.buyer, twice) == "examiner: legs not ascending"
    assert reason(full, desk, pair.buyer, [*ids[:-1], ids[0]]) == "examiner: legs not ascending"


def test_threat_11__two_headers_mixed(pair: Pair) -> None:
    """Old legs among new ones, an old leaf with a new proof, an old checkpoint, an old instrument in a trade."""
    desk = pair.desk
    ids = sorted(BOOK)
    old_legs = [desk.leg(i) for i in ids]
    old_leaf = desk.by_leaf(pair.buyer)
    old_proof = desk.multiproof(ids)
    old_single = desk.proof(ETH_PERP)
    desk.check_full(pair.buyer)
    old_checkpoint = desk.by_checkpoint(pair.buyer)
    desk.reprice(BTC, 9_900 * MICRO)
    desk.reprice(ETH, 240 * MICRO)
    desk.post()
    new_legs = [desk.leg(i) for i in ids]
    for i in range(len(ids)):
        mixed = [*new_legs[:i], old_legs[i], *new_legs[i + 1 :]]
        assert reason(full, desk, pair.buyer, ids, legs=mixed) == "examiner: legs not proven"
    both_old = {"legs": old_legs, "proof": old_proof[0], "flags": old_proof[1]}
    assert reason(full, desk, pair.buyer, ids, **both_old) == "examiner: legs not proven"
    new_proof = desk.by_leaf(pair.buyer)[3]
    for witness in (old_leaf, (*old_leaf[:3], new_proof), (*desk.by_leaf(pair.buyer)[:3], old_leaf[3]), old_checkpoint):
        assert reason(desk.house.call.check, pair.buyer, witness) == "witness: not proven"
    maker = desk.order(pair.seller, ETH_PERP, -1, 2_400_000)
    taker = desk.order(pair.buyer, ETH_PERP, 1, 2_400_000)
    old_leg = {"leg": old_legs[ids.index(ETH_PERP)], "proof": old_single}
    assert reason(desk.fill, maker, taker, **old_leg) == "house: instrument not proven"
    assert reason(desk.fill, maker, taker, taker_witness=old_leaf) == "witness: not proven"
    desk.fill(maker, taker)


@pytest.mark.parametrize("sign", [1, -1])
def test_threat_12__lanes_at_their_extremes(sign: int) -> None:
    """`sum |q|` at 2^32 - 1 in two underlyings, values at both ends, long and short: all three witnesses are exact."""
    top = 2**31 - 1
    rows = [1_000_000, *([top, -top] * 20)][:40]
    policy = default_policy()
    deep = tuple(replace(each, depth=2**40) for each in policy.underlyings)
    policy = replace(policy, underlyings=deep)
    pair = Pair(dollars=10**14, instruments=(BTC_FUTURE, ETH_FUTURE, BTC_PERP), policy=policy)
    desk = pair.desk
    for identifier in (BTC_FUTURE, ETH_FUTURE):
        base = leaf(identifier, cost=2**32 - 1)
        values = tuple(v * (1 if identifier == BTC_FUTURE else sign) for v in rows)
        desk.leaves[identifier] = type(base)(
            identifier, base.forward, 0, base.c_long, base.c_short, base.status, (1_000_000, *values[1:])
        )
    desk.post()
    desk.trade(pair.buyer, pair.seller, BTC_FUTURE, 2**31)
    desk.trade(*((pair.buyer, pair.seller) if sign > 0 else (pair.seller, pair.buyer)), ETH_FUTURE, 2**31 - 1)
    over = (pair.buyer, pair.seller, BTC_PERP, 1)
    assert reason(desk.trade, *over) == "ledger: too many lots"
    for account in (pair.buyer, pair.seller):
        assert desk.content(account).sum_abs == 2**32 - 1
        worst = min(sum(c) for c in zip(*desk.content(account).vectors.values(), strict=True))
        assert worst == -(2**32 - 1) * top
        assert desk.house.call.check(account, desk.by_checkpoint(account)) == desk.margin(account)
    desk.post()
    for account in (pair.buyer, pair.seller):
        assert desk.house.call.check(account, desk.by_leaf(account)) == desk.margin(account)
        checked = desk.check_full(account).event("FullyChecked").args
        assert checked["margin"] == desk.margin(account)
