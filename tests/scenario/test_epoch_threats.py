"""A false epoch and an outage, each as an owner would use it: threats 10 and 22."""

from __future__ import annotations

from dataclasses import replace

import pytest
from desk import BTC_PERP, ETH_PERP, Desk, Pair, content, reason
from eth_abi import encode
from test_liquidator import Distress

from offchain.oracle.headers import account_leaf_hash, instrument_leaf_hash
from offchain.oracle.trees import Tree, hash_pair, keccak256
from offchain.units import MICRO

CHALLENGE_WINDOW = 86_400


def root_of(leaf: bytes, proof: list[bytes]) -> bytes:
    """Where a leaf and its siblings lead."""
    for sibling in proof:
        leaf = hash_pair(leaf, sibling)
    return leaf


def changes_since(desk: Desk, account: int, block: int) -> list[tuple[int, int]]:
    """Instrument and signed lots of each change of an account's positions after a block, from the ledger's events."""
    out = []
    for event in desk.chain.events([desk.ledger], block + 1, desk.chain.block_number):
        if event.name == "PositionMoved" and account in (event.args["giver"], event.args["taker"]):
            sign = 1 if event.args["taker"] == account else -1
            out.append((event.args["instrument"], sign * event.args["lots"]))
    return out


def test_threat_10__a_false_leaf_used_once_then_the_account_trades__what_proves_it_false_is_kept() -> None:
    """A quorum leaves the close-out of an account out of its leaf, and the owner withdraws by it what he should not.
    Then he trades twice, and a day of epochs goes by. Still: the chain knows the hash of the header; the leaf is proven
    under its root with a position hash from which the ledger's own goes on, change by change; unwound, the positions
    and the header's instrument leaves give another close-out."""
    pair = Pair(5_000)
    desk, owner, account = pair.desk, pair.buyer_key, pair.buyer
    desk.trade(account, pair.seller, BTC_PERP, 100)
    desk.post()
    positions, held = dict(desk.book.positions(account)), bytes(desk.ledger.call.account(account)[5])
    true = desk.content(account)
    false = replace(true, closeout=0)
    hashes = []
    for number in desk.book.holders():
        body = false if number == account else desk.content(number)
        position_hash = bytes(desk.ledger.call.account(number)[5])
        hashes.append(account_leaf_hash(body.head, position_hash, body.cost, body.words))
    tree = Tree(hashes)
    posted = desk.post(account_root=tree.root).event("EpochPosted").args
    epoch, block, leaves = desk.epoch, desk.chain.block_number, dict(desk.posted)
    proof = tree.proof(desk.book.holders().index(account))
    most = desk.margin(account)[4]
    too_much = most + true.closeout * desk.params.im_factor // 10_000
    assert reason(desk.withdraw, account, too_much, owner, true.witness(proof)) == "witness: not proven"
    desk.withdraw(account, too_much, owner, false.witness(proof))
    assert desk.margin(account)[4] < 0

    desk.post()
    desk.pay(account, 1_000 * MICRO, owner)
    desk.trade(account, pair.seller, ETH_PERP, 3)
    desk.trade(pair.seller, account, BTC_PERP, 40)
    for _ in range(CHALLENGE_WINDOW // 3_600):
        desk.post()
    assert desk.chain.timestamp >= epoch * 3_600 + CHALLENGE_WINDOW

    assert desk.system.oracle.call.header_hash(epoch) == posted["header_hash"]
    leaf = account_leaf_hash(false.head, held, false.cost, false.words)
    assert root_of(leaf, proof) == tree.root == bytes(posted["header"][8])
    then, unwound = held, dict(desk.book.positions(account))
    for instrument, lots in changes_since(desk, account, block):
        then = keccak256(encode(["bytes32", "uint256", "uint256", "int256"], [then, account, instrument, lots]))
        unwound[instrument] = unwound.get(instrument, 0) - lots
    assert then == bytes(desk.ledger.call.account(account)[5])
    assert {i: lots for i, lots in unwound.items() if lots} == positions
    again = Tree([instrument_leaf_hash(*leaves[i].pack()) for i in sorted(leaves)])
    assert again.root == bytes(posted["header"][7])
    assert content(account, positions, leaves).closeout == true.closeout != false.closeout


def test_threat_10__another_history_of_the_same_positions__does_not_fit() -> None:
    """Nobody can unwind to positions that the account never had: the hash names the changes, their order and signs."""
    pair = Pair(5_000)
    desk = pair.desk
    block = desk.chain.block_number
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 7)
    desk.trade(pair.buyer, pair.seller, ETH_PERP, 3)
    desk.trade(pair.seller, pair.buyer, BTC_PERP, 2)
    mine = changes_since(desk, pair.buyer, block)

    def hashed(changes: list[tuple[int, int]]) -> bytes:
        out = bytes(32)
        for instrument, lots in changes:
            out = keccak256(encode(["bytes32", "uint256", "uint256", "int256"], [out, pair.buyer, instrument, lots]))
        return out

    now = bytes(desk.ledger.call.account(pair.buyer)[5])
    assert mine == [(BTC_PERP, 7), (ETH_PERP, 3), (BTC_PERP, -2)]
    assert hashed(mine) == now == desk.book.accounts[pair.buyer].position_hash
    for other in (mine[::-1], [(BTC_PERP, 5), (ETH_PERP, 3)], mine[:2], [*mine, (BTC_PERP, 0)]):
        assert hashed(other) != now


@pytest.mark.parametrize("hours", [3, 10, 100])
def test_threat_22__unchanged_prices_and_an_outage__make_nobody_worse_off(hours: int) -> None:
    """Of two systems in the same state one loses its oracle for hours. When it is back, at the same prices, no account
    is worth less; penalty and cure period have run on by `max_age` and no more; and the owner has grace."""
    worlds = [Distress(price=8_700), Distress(price=8_700)]
    for case in worlds:
        case.desk.liquidator.send.margin_call(case.account, case.desk.by_leaf(case.account), sender=case.desk.keys[9])
    before = [[case.desk.margin(n) for n in (case.account, case.seller, case.taker)] for case in worlds]
    out, calm = (case.desk for case in worlds)
    max_age = int(out.system.oracle.call.max_age())
    out.chain.set_next_timestamp(out.chain.timestamp + hours * 3_600)
    out.chain.mine()
    out.post()
    for _ in range(max_age // 3_600):
        calm.post()
    after = [[case.desk.margin(n) for n in (case.account, case.seller, case.taker)] for case in worlds]
    assert after == before
    assert before[0] == before[1]
    assert out.system.oracle.call.clock()[2] == calm.system.oracle.call.clock()[2]
    assert out.liquidator.call.phi(worlds[0].account) == calm.liquidator.call.phi(worlds[1].account)
    assert reason(worlds[0].take, 40) == "liquidator: grace after an outage"
    worlds[1].take(40)
