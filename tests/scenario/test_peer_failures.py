"""The seven failures that were seen at the strongest peer on chain (Derive's PMRM_2), each replayed here with its
figures; what must hold is that it does not happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aftermath import BTC, BTC_PERP, ETH, ETH_PERP, INSURANCE, PRICE, Aftermath, dollars
from desk import NOTHING, Pair, reason
from test_takeover import Auction

from offchain.instruments import Status
from offchain.oracle.headers import DISPUTED, LIVE, PROVISIONAL
from offchain.risk.policy import default_policy
from offchain.units import MICRO

STALE_FEED = 3


def frozen(case: Aftermath, underlying: int) -> None:
    """From now on a feed answers what it said a week ago."""
    feed, owner = case.feeds[underlying], case.desk.keys[0]
    old = case.desk.chain.timestamp - 7 * 86_400

    def quote(**prices: int) -> None:
        for each, source in case.feeds.items():
            if each != underlying:
                source.send.set(case.desk.marks[each].index, case.desk.chain.timestamp, sender=owner)
        feed.send.set(PRICE[underlying], old, sender=owner)

    case.quote = quote  # type: ignore[method-assign]


def said(case: Aftermath, underlying: int) -> tuple[int, int]:
    """Status of an underlying, and what its feed did at the latest epoch."""
    word = case.desk.system.oracle.call.mark(underlying)
    return word >> 72 & 255, word >> 64 & 255


def test_peer_1__a_stale_spot_feed__blocks_no_auction_and_no_withdrawal() -> None:
    """There: starting, bidding on and ending an auction, and healthy withdrawals, all revert on a stale spot feed."""
    case = Auction()
    desk = case.desk
    frozen(case, BTC)
    case.post()
    assert said(case, BTC) == (LIVE, STALE_FEED)
    case.start()
    case.hours(1)
    before = desk.system.token.call.balanceOf(case.short_key.address)
    desk.withdraw(case.short, dollars(1_000), case.short_key)  # holds the other side of the same legs
    desk.withdraw(case.taker, dollars(1_000), case.keeper, NOTHING)
    assert desk.system.token.call.balanceOf(case.short_key.address) == before + dollars(1_000)
    assert case.bid().event("TakenOver").args["account"] == case.account


def test_peer_1__a_stale_spot_feed__an_auction_ends() -> None:
    case = Auction()
    desk = case.desk
    frozen(case, BTC)
    case.post()
    case.start()
    desk.pay(case.account, -desk.margin(case.account)[4], case.long_key)
    case.takeover.send.end(case.account, case.witness(), sender=case.long_key)
    assert not case.takeover.call.auction(case.account)[0]


@pytest.mark.parametrize("status", [Status.OPEN, Status.CLOSE_ONLY])
def test_peer_2__a_dust_leg_with_a_stale_feed__leaves_the_account_liquidatable(status: Status) -> None:
    """There: a leg of 1e-6 contracts on a stale feed makes a whole account unliquidatable. Here the smallest leg is a
    lot; its feed is a week old and the committee has closed its instrument, and the others are taken all the same."""
    case = Auction(10_000, called=False)
    desk = case.desk
    case.trade(ETH_PERP, 1)
    frozen(case, ETH)
    desk.leaves[ETH_PERP] = replace(desk.leaves[ETH_PERP], status=status)
    case.move(BTC, 8_500)
    assert said(case, ETH) == (LIVE, STALE_FEED)
    assert desk.margin(case.account)[3] < 0
    receipt = desk.liquidate(case.account, case.taker, {BTC_PERP: 5}, case.keeper)
    assert receipt.event("Liquidated").args["account"] == case.account
    assert desk.book.positions(case.account) == {BTC_PERP: 35, ETH_PERP: 1}


def test_peer_2__a_dust_leg_in_a_dispute__shelters_nothing() -> None:
    """The same with a feed that disagrees: one lot of ETH is disputed, the oracle is live, and the account's bitcoin
    goes at its mark, because index and feed both call the account unsafe."""
    case = Auction(10_000, called=False)
    desk, fallback = case.desk, case.desk.system.fallback
    case.trade(ETH_PERP, 1)
    agreed = case.quote
    case.quote = lambda **prices: agreed(**{"eth": 200} | prices)  # type: ignore[method-assign]
    case.move(BTC, 8_500)
    assert (said(case, ETH)[0], said(case, BTC)[0]) == (DISPUTED, LIVE)
    pv, risk, closeout, mm, _ = desk.margin(case.account)
    assert mm < 0
    refused = reason(desk.liquidate, case.account, case.taker, {BTC_PERP: 5}, case.keeper)
    assert refused == "liquidator: underlying is not live"
    proof, flags = desk.multiproof([BTC_PERP])
    receipt = fallback.send.liquidate(
        case.account, case.taker, [(*desk.leg(BTC_PERP), 5)], proof, flags, case.witness(), NOTHING, sender=case.keeper
    )
    args = receipt.event("FallbackLiquidated").args
    assert args["takes"] == ((BTC_PERP, 5, desk.posted[BTC_PERP].array[0]),)
    assert args["before"] == (pv - dollars(50) // 100, risk, closeout, pv)
    assert desk.book.positions(case.account) == {BTC_PERP: 35, ETH_PERP: 1}
    assert desk.margin(case.account)[3] > mm


def test_peer_3__an_outage__does_not_give_a_solvent_account_away() -> None:
    """There: the auction clock runs during an outage until a solvent account goes for nothing. Here, after thirty days
    of silence, it goes for 0.95 of its value, and not before its owner had time."""
    case = Auction()
    desk = case.desk
    case.start()
    price, _, _ = case.quote_now()
    assert price == desk.margin(case.account)[0] * 95 // 100
    case.wait(30 * 86_400)
    case.post()
    assert reason(case.bid) == "takeover: grace after an outage"
    case.post()
    case.start()
    assert case.bid().event("TakenOver").args["price"] == price


def test_peer_4__during_an_auction__the_owner_deposits_and_ends_it() -> None:
    """There: the owner cannot deposit while the auction runs."""
    case = Auction()
    desk = case.desk
    case.start()
    desk.pay(case.account, -desk.margin(case.account)[4], case.long_key)
    assert reason(case.bid, top_up=0) == "takeover: account is above maintenance margin"
    case.takeover.send.end(case.account, case.witness(), sender=case.long_key)
    assert desk.ledger.call.account(case.account)[0] == case.long_key.address


def test_peer_5__one_insolvent_account__freezes_nobodys_withdrawal() -> None:
    """There: one insolvent account freezes everybody's withdrawals. Here it is under water and on auction, insurance is
    empty, and the others withdraw as ever."""
    case = Auction(6_500, called=False, insurance=0)
    desk = case.desk
    assert case.cash(INSURANCE) < -desk.margin(case.account)[0]
    case.start()
    case.post()
    before = desk.system.token.call.balanceOf(case.short_key.address)
    desk.withdraw(case.short, dollars(1_000), case.short_key)
    desk.withdraw(case.taker, dollars(1_000), case.keeper, NOTHING)
    assert desk.system.token.call.balanceOf(case.short_key.address) == before + dollars(1_000)


def test_peer_6__one_signed_update__does_not_move_2000_to_20() -> None:
    """There: one signed update moves spot from 2,000 to 20, and accounts are seized at it. Here a quorum signs it, and
    for an epoch nobody is called, liquidated or trades into it; the next epoch says it was false."""
    pair = Pair(instruments=(BTC_PERP, ETH_PERP))
    desk = pair.desk
    owner = desk.keys[0]
    # Prices may leap at the desk; here its policy is replaced by a real one.
    strict = default_policy(3600)
    registry = desk.system.registry
    registry.send.propose_policy(strict.words, sender=owner)
    desk.chain.set_next_timestamp(desk.chain.timestamp + registry.call.delay())
    desk.chain.mine()
    registry.send.enact_policy(strict.hash, sender=owner)
    desk.policy_hash, desk.params = strict.hash, strict.margin
    desk.reprice(ETH, 2_000 * MICRO)
    desk.post()
    desk.post()
    desk.trade(pair.buyer, pair.seller, ETH_PERP, 1_500)
    desk.post()
    worth = desk.margin(pair.buyer)[0]

    desk.reprice(ETH, 20 * MICRO)
    desk.post()
    word = desk.system.oracle.call.mark(ETH)
    assert word >> 72 & 255 == PROVISIONAL
    assert desk.margin(pair.buyer)[3] < 0  # by the false price
    keeper = desk.keys[4]
    taker = desk.fund(keeper, 100_000)
    called = reason(desk.liquidator.send.margin_call, pair.buyer, desk.witness(pair.buyer), sender=keeper)
    assert called == "liquidator: underlying is not live"
    taken = reason(desk.liquidate, pair.buyer, taker, {ETH_PERP: 1_500}, keeper)
    assert taken == "liquidator: underlying is not live"
    assert reason(desk.trade, taker, pair.seller, ETH_PERP, 1) == "house: close-only"
    assert reason(desk.withdraw, pair.seller, dollars(1_000), pair.seller_key) == "house: underlying is not live"

    desk.reprice(ETH, 2_000 * MICRO)
    desk.post()
    desk.post()
    assert desk.margin(pair.buyer)[0] == worth
    assert desk.margin(pair.buyer)[4] > 0


def test_peer_7__the_full_check__is_proven_or_refused() -> None:
    """There: what the full check returns is trusted off chain, with no proof. Here a portfolio of an account is
    believed only leaf by leaf under the signed root: every position, once, at the array that was signed."""
    pair = Pair()
    desk = pair.desk
    desk.trade(pair.buyer, pair.seller, BTC_PERP, 30)
    desk.trade(pair.buyer, pair.seller, ETH_PERP, 30)
    desk.post()
    ids = sorted(desk.book.positions(pair.buyer))
    proof, flags = desk.multiproof(ids)
    legs = [desk.leg(i) for i in ids]
    check = desk.system.examiner.send.check_full

    def bring(legs: Any, proof: Any = proof, flags: Any = flags) -> str:
        return reason(check, pair.buyer, legs, proof, flags, sender=pair.buyer_key)

    meta, array = legs[0]
    better = (meta, [array[0] + (1 << 224), *array[1:]])  # one lane of the risk array
    assert "proven" in bring([better, legs[1]])
    lone, bits = desk.multiproof(ids[:1])
    assert bring(legs[:1], lone, bits).startswith("examiner: ")
    assert bring([legs[0], legs[0]]).startswith("examiner: ")
    receipt = check(pair.buyer, legs, proof, flags, sender=desk.keys[9])
    assert receipt.event("FullyChecked").args["account"] == pair.buyer
    assert desk.house.call.check(pair.buyer, desk.content(pair.buyer).witness()) == desk.margin(pair.buyer)
