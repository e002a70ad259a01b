"""Each state transition of accounts, auctions, orders, instruments, oracle, statuses and governance, once, end to end
on the connected network, with a committee of real keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aftermath import BTC, BTC_PERP, CLEARING, ETH, ETH_PERP, INSURANCE, SHORTFALL, Aftermath, dollars
from desk import NOTHING, PER_LOT, reason
from eth_utils import keccak

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Receipt
from offchain.chain.web3_chain import Web3Chain
from offchain.config import HOURLY
from offchain.instruments import Instrument, Kind
from offchain.oracle.book import Book
from offchain.oracle.headers import DISPUTED, LIVE, PROVISIONAL, pack_settlement
from offchain.oracle.keys import seats
from offchain.risk.policy import default_policy

ORACLE_LIVE, STALE, HALTED = 1, 2, 3
HEALTHY, MARGIN_CALL, LIQUIDATABLE, BANKRUPT = range(4)
RISK = 1
"""The action "opening risk", which a guardian may pause."""


class Floor(Aftermath):
    """The long account holds 40 BTC lots on 110 dollars, whoever takes has cash; a future expires in thirty days."""

    def __init__(self, chain: Web3Chain) -> None:
        self.future = Instrument(BTC, Kind.FUTURE, (chain.timestamp // 86_400 + 30) * 86_400 + 28_800).id
        super().__init__(
            110,
            instruments=(BTC_PERP, ETH_PERP, self.future),
            chain=chain,
            seats=seats(4, keccak(text="a committee for state transitions")),
        )
        desk = self.desk
        desk.pay(self.short, dollars(10**6), self.short_key)
        desk.pay(INSURANCE, dollars(1_000), desk.keys[7])
        self.keeper = desk.keys[4]
        self.taker = desk.fund(self.keeper, 10_000)
        self.trade(BTC_PERP, 40)
        self.post()

    @property
    def state(self) -> int:
        """State of the long account by the reference margin."""
        pv, _, _, mm, im = self.desk.margin(self.long)
        return HEALTHY if im >= 0 else MARGIN_CALL if mm >= 0 else LIQUIDATABLE if pv >= 0 else BANKRUPT

    def call(self) -> Receipt:
        return self.desk.liquidator.send.margin_call(self.long, self.desk.witness(self.long), sender=self.stranger)

    def start(self) -> Receipt:
        return self.desk.system.takeover.send.start(self.long, self.desk.witness(self.long), sender=self.stranger)

    def auctioned(self) -> bool:
        return bool(self.desk.system.takeover.call.auction(self.long)[0])

    def take_over(self) -> Receipt:
        desk, takeover = self.desk, self.desk.system.takeover
        witness, state = desk.witness(self.long), desk.ledger.call.account(self.long)
        _, insurance, shortfall = takeover.call.quote(self.long, witness)
        top_up = max(-desk.margin(self.long)[4] - insurance - shortfall, 0)
        bid = (self.long, state[1], state[5], 2**100, self.taker, top_up)
        return takeover.send.take_over(bid, witness, sender=self.keeper)

    def status(self, underlying: int) -> int:
        return int(self.desk.system.oracle.call.mark(underlying)) >> 72 & 255

    def oracle_state(self) -> int:
        return int(self.desk.system.oracle.call.state())

    def challenger(self) -> Any:
        registry, owner = self.desk.system.registry, self.desk.keys[0]
        registry.send.propose_challenger(owner.address, sender=owner)
        self.wait(registry.call.delay())
        registry.send.enact_challenger(owner.address, sender=owner)
        return owner


@pytest.fixture(scope="module")
def deployed(ape_chain: Web3Chain) -> Floor:
    if not ape_chain.starts_anywhere:
        pytest.skip("py-evm takes 20 s for each of these: install Node.js, and `make setup` brings anvil")
    return Floor(ape_chain)


@pytest.fixture
def floor(deployed: Floor, chain: Any, ape_chain: Web3Chain) -> Iterator[Floor]:
    """The floor as it was deployed; what a test does is undone."""
    desk = deployed.desk
    kept = {
        name: getattr(desk, name) for name in ("posted", "epoch", "_instruments", "_accounts", "_holders", "params")
    }
    leaves, marks, policy_hash = dict(desk.leaves), dict(desk.marks), desk.policy_hash
    mark = chain.snapshot()
    yield deployed
    chain.restore(mark)
    ape_chain._nonces.clear()
    desk._book, desk._read = Book(), -1
    for name, value in kept.items():
        setattr(desk, name, value)
    desk.leaves, desk.marks, desk.policy_hash, deployed.settlements = leaves, marks, policy_hash, []


# Accounts


def test_account__opened_to_transferred(floor: Floor) -> None:
    desk = floor.desk
    old = desk.order(floor.short, BTC_PERP, -1, PER_LOT[BTC])
    signature = desk.sign(old)
    receipt = desk.ledger.send.transfer_account(floor.short, floor.stranger.address, sender=floor.short_key)
    assert receipt.event("AccountTransferred").args["owner"] == floor.stranger.address
    assert desk.ledger.call.account(floor.short)[:2] == (floor.stranger.address, 1)
    buys = desk.order(floor.taker, BTC_PERP, 1, PER_LOT[BTC])
    assert reason(desk.fill, old, buys, maker_signature=signature) == "house: order for another version"


def test_account__healthy_to_margin_call_to_healthy(floor: Floor) -> None:
    desk = floor.desk
    assert floor.state == HEALTHY
    refused = reason(floor.call)
    assert refused == "liquidator: account is healthy"
    floor.move(BTC, 9_500)
    assert floor.state == MARGIN_CALL
    deficit = floor.call().event("MarginCalled").args["deficit"]
    assert deficit == -desk.margin(floor.long)[4]
    assert reason(desk.withdraw, floor.long, 1, floor.long_key) == "house: below initial margin"
    desk.pay(floor.long, deficit, floor.long_key)
    assert floor.state == HEALTHY
    desk.liquidator.send.clear_call(floor.long, desk.witness(floor.long), sender=floor.stranger)
    assert desk.liquidator.call.called_at(floor.long) == (False, 0)


def test_account__margin_call_to_liquidatable_to_above_maintenance_by_legs(floor: Floor) -> None:
    desk = floor.desk
    floor.move(BTC, 9_500)
    floor.call()
    floor.move(BTC, 9_000)
    assert floor.state == LIQUIDATABLE
    before = desk.margin(floor.long)
    args = desk.liquidate(floor.long, floor.taker, {BTC_PERP: 5}, floor.keeper).event("Liquidated").args
    assert args["before"] == before
    assert args["after"] == desk.margin(floor.long)
    assert desk.book.positions(floor.taker) == {BTC_PERP: 5}
    while floor.state == LIQUIDATABLE:
        desk.liquidate(floor.long, floor.taker, {BTC_PERP: 1}, floor.keeper)
    refused = reason(desk.liquidate, floor.long, floor.taker, {BTC_PERP: 1}, floor.keeper)
    assert refused == "liquidator: account is above maintenance margin"


def test_account__healthy_to_bankrupt_to_taken_over_with_insurance(floor: Floor) -> None:
    desk = floor.desk
    floor.move(BTC, 7_000)
    assert floor.state == BANKRUPT
    debt, funds = -desk.margin(floor.long)[0], floor.cash(INSURANCE)
    floor.start()
    args = floor.take_over().event("TakenOver").args
    assert (args["account"], args["price"]) == (floor.long, 0)
    assert floor.state == HEALTHY
    assert funds - floor.cash(INSURANCE) >= debt
    assert desk.ledger.call.account(floor.long)[:2] == (floor.keeper.address, 1)


def test_account__bankrupt_beyond_insurance__shortfall_recorded(floor: Floor) -> None:
    """Insurance has a thousand dollars; a bigger account ends bankrupt by more."""
    desk = floor.desk
    desk.pay(floor.long, dollars(9_000), floor.long_key)
    floor.trade(BTC_PERP, 2_000)
    floor.move(BTC, 5_000)
    assert floor.state == BANKRUPT
    debt, funds = -desk.margin(floor.long)[0], floor.cash(INSURANCE)
    assert debt > funds
    floor.start()
    floor.take_over()
    assert floor.cash(INSURANCE) == 0
    assert floor.cash(SHORTFALL) == funds - debt
    assert floor.state == HEALTHY


# Auctions


def test_auction__none_to_started_to_ended(floor: Floor) -> None:
    desk = floor.desk
    floor.move(BTC, 7_400)
    floor.start()
    assert floor.auctioned()
    desk.pay(floor.long, -desk.margin(floor.long)[4], floor.long_key)
    desk.system.takeover.send.end(floor.long, desk.witness(floor.long), sender=floor.long_key)
    assert not floor.auctioned()


def test_auction__started_to_outage_to_started_anew(floor: Floor) -> None:
    floor.move(BTC, 7_400)
    floor.start()
    floor.post()
    first = floor.desk.system.takeover.call.quote(floor.long, floor.desk.witness(floor.long))
    floor.wait(3 * 86_400)
    floor.post()
    floor.post()
    assert reason(floor.take_over) == "takeover: outage, start anew"
    floor.start()
    again = floor.desk.system.takeover.call.quote(floor.long, floor.desk.witness(floor.long))
    assert again[0] >= first[0]
    floor.take_over()
    assert not floor.auctioned()


# Orders


def test_order__signed_to_partly_filled_to_filled(floor: Floor) -> None:
    desk = floor.desk
    maker = desk.order(floor.short, BTC_PERP, -10, PER_LOT[BTC])
    for lots in (4, 6):
        desk.fill(maker, desk.order(floor.taker, BTC_PERP, lots, PER_LOT[BTC]))
    assert desk.book.positions(floor.taker) == {BTC_PERP: 10}
    assert reason(desk.fill, maker, desk.order(floor.taker, BTC_PERP, 1, PER_LOT[BTC])) == "house: order overfilled"


def test_order__signed_to_cancelled(floor: Floor) -> None:
    desk = floor.desk
    maker = desk.order(floor.short, BTC_PERP, -10, PER_LOT[BTC])
    desk.house.send.cancel(maker.as_tuple(), sender=floor.short_key)
    taker = desk.order(floor.taker, BTC_PERP, 1, PER_LOT[BTC])
    assert reason(desk.fill, maker, taker) == "house: order cancelled"


# The oracle


def test_oracle__live_to_stale_to_live_with_grace(floor: Floor) -> None:
    desk, oracle = floor.desk, floor.desk.system.oracle
    assert floor.oracle_state() == ORACLE_LIVE
    floor.wait(HOURLY.max_age + 1)
    assert floor.oracle_state() == STALE
    assert reason(desk.withdraw, floor.short, 1, floor.short_key) == "house: oracle is not fresh"
    desk.pay(floor.short, 1, floor.short_key)
    floor.wait(86_400)
    floor.post()
    assert floor.oracle_state() == ORACLE_LIVE
    assert oracle.call.grace_until() > desk.chain.timestamp


def test_oracle__live_to_halted_to_live(floor: Floor) -> None:
    key = floor.challenger()
    floor.post()
    floor.desk.system.oracle.send.halt(floor.desk.epoch, sender=key)
    assert floor.oracle_state() == HALTED
    floor.post()
    assert floor.oracle_state() == ORACLE_LIVE


def test_underlying__live_to_provisional_to_live(floor: Floor) -> None:
    desk = floor.desk
    floor.desk.marks[ETH] = replace(desk.marks[ETH], status=PROVISIONAL)
    floor.post()
    assert (floor.status(BTC), floor.status(ETH)) == (LIVE, PROVISIONAL)
    assert reason(desk.trade, floor.taker, floor.short, ETH_PERP, 1) == "house: close-only"
    floor.desk.marks[ETH] = replace(desk.marks[ETH], status=LIVE)
    floor.post()
    assert floor.status(ETH) == LIVE
    desk.trade(floor.taker, floor.short, ETH_PERP, 1)


def test_underlying__live_to_disputed_to_live(floor: Floor) -> None:
    """The feed says 5 % less than the index."""
    desk = floor.desk
    agree = floor.quote
    floor.quote = lambda **_: agree(btc=9_500)  # type: ignore[method-assign]
    floor.post()
    assert (floor.status(BTC), floor.status(ETH)) == (DISPUTED, LIVE)
    assert reason(desk.trade, floor.taker, floor.short, BTC_PERP, 1) == "house: close-only"
    floor.quote = agree  # type: ignore[method-assign]
    floor.post()
    assert floor.status(BTC) == LIVE


def test_stale__to_fallback_liquidation(floor: Floor) -> None:
    desk = floor.desk
    floor.wait(HOURLY.max_age + 1)
    proof, flags = desk.multiproof([BTC_PERP])
    takes = [(*desk.leg(BTC_PERP), 40)]
    witnesses = (desk.witness(floor.long), desk.witness(floor.taker))
    args = (floor.long, floor.taker, takes, proof, flags, *witnesses)
    send = desk.system.fallback.send
    floor.quote(btc=7_300)
    assert reason(send.liquidate, *args, sender=floor.keeper) == "fallback: too early"
    floor.wait_until(desk.system.fallback.call.open_from())
    floor.quote(btc=7_300)
    receipt = send.liquidate(*args, sender=floor.keeper)
    assert receipt.event("FallbackLiquidated").args["account"] == floor.long
    assert desk.book.positions(floor.long) == {}


def test_stale__to_exit_to_everything_withdrawn(floor: Floor) -> None:
    desk, send = floor.desk, floor.desk.system.settlement.send
    floor.wait(HOURLY.max_age + HOURLY.exit_delay + 3_600)
    floor.quote(btc=9_700)
    send.begin_exit(BTC, sender=floor.stranger)
    send.fix_exit(desk.leg(BTC_PERP), desk.proof(BTC_PERP), sender=floor.stranger)
    for account in (floor.long, floor.short):
        floor.settle(account, [BTC_PERP])
    assert floor.cash(CLEARING) == 0
    for account, key in ((floor.long, floor.long_key), (floor.short, floor.short_key), (floor.taker, floor.keeper)):
        cash = floor.cash(account)
        before = desk.system.token.call.balanceOf(key.address)
        desk.withdraw(account, cash, key, NOTHING)
        assert desk.system.token.call.balanceOf(key.address) == before + cash


# Instruments


def test_instrument__open_to_close_only_to_settled_by_delisting(floor: Floor) -> None:
    desk, owner = floor.desk, floor.desk.keys[0]
    desk.system.registry.send.delist([BTC_PERP], sender=owner)
    assert reason(desk.trade, floor.taker, floor.short, BTC_PERP, 1) == "house: close-only"
    floor.wait(desk.system.registry.call.delay())
    floor.post()
    floor.post()
    desk.system.settlement.send.fix_delisted(desk.leg(BTC_PERP), desk.proof(BTC_PERP), sender=floor.stranger)
    for account in (floor.long, floor.short):
        floor.settle(account, [BTC_PERP])
    assert desk.book.holders() == []
    assert floor.cash(CLEARING) == 0


def test_instrument__listed_to_expired_to_price_final_to_settled(floor: Floor) -> None:
    desk, send = floor.desk, floor.desk.system.settlement.send
    desk.trade(floor.taker, floor.short, floor.future, 5)
    expiry = Instrument.from_id(floor.future).expiry
    floor.wait_until(expiry + 1)
    assert reason(desk.trade, floor.taker, floor.short, floor.future, 1) == "house: oracle is not fresh"
    word = pack_settlement(BTC, expiry, dollars(10_700))
    floor.settlements = [word]
    floor.post()
    send.propose_price(word, floor.settlement_proof(word), sender=floor.stranger)
    assert reason(send.finalize_price, BTC, expiry, sender=floor.stranger) == "settlement: dispute delay is not over"
    floor.post()
    floor.post()
    send.finalize_price(BTC, expiry, sender=floor.stranger)
    before = floor.cash(floor.taker)
    for account in (floor.taker, floor.short):
        floor.settle(account, [floor.future])
    assert floor.cash(floor.taker) - before == 5 * 10_700_000
    assert floor.cash(CLEARING) == 0


# Governance


def test_policy__proposed_to_enacted_while_the_previous_is_accepted(floor: Floor) -> None:
    desk, owner, registry = floor.desk, floor.desk.keys[0], floor.desk.system.registry
    base = default_policy()
    other = replace(base, margin=replace(base.margin, im_factor=13_000), shocks=replace(base.shocks, jump=10**6))
    registry.send.propose_policy(other.words, sender=owner)
    assert reason(registry.send.enact_policy, other.hash, sender=owner) == "timelock: too early"
    floor.wait(registry.call.delay())
    registry.send.enact_policy(other.hash, sender=owner)
    assert registry.call.policy_hash() == other.hash
    floor.post()  # still under the previous one
    desk.policy_hash, desk.params = other.hash, other.margin
    floor.post()
    assert desk.house.call.check(floor.long, desk.by_leaf(floor.long)) == desk.margin(floor.long)
    floor.wait(registry.call.delay())
    assert reason(floor.post, policy_hash=deployed_hash(floor)) == "registry: policy is not in force"


def deployed_hash(floor: Floor) -> bytes:
    """Hash of the policy that the floor began with."""
    base = default_policy()
    return replace(base, shocks=replace(base.shocks, jump=10**6)).hash


def test_policy__proposed_to_cancelled(floor: Floor) -> None:
    owner, registry = floor.desk.keys[0], floor.desk.system.registry
    base = default_policy()
    other = replace(base, margin=replace(base.margin, im_factor=13_000))
    args = registry.send.propose_policy(other.words, sender=owner).event("PolicyProposed").args
    assert args["policy_hash"] == other.hash
    registry.send.cancel(1, 0, sender=owner)
    floor.wait(registry.call.delay())
    assert reason(registry.send.enact_policy, other.hash, sender=owner).startswith("timelock: ")


def test_risk__open_to_paused_to_open(floor: Floor) -> None:
    desk, owner, registry = floor.desk, floor.desk.keys[0], floor.desk.system.registry
    registry.send.pause(RISK, sender=owner)
    assert reason(desk.trade, floor.taker, floor.short, BTC_PERP, 1) == "house: opening risk is paused"
    desk.pay(floor.long, 1, floor.long_key)
    desk.withdraw(floor.short, 1, floor.short_key)
    registry.send.unpause(RISK, sender=owner)
    desk.trade(floor.taker, floor.short, BTC_PERP, 1)


def test_feed__set_to_replaced(floor: Floor) -> None:
    """The new feed must agree with the old one when it takes its place."""
    desk, owner, registry = floor.desk, floor.desk.keys[0], floor.desk.system.registry
    other = desk.chain.deploy(artifact("mocks/PriceFeed"), sender=owner)
    words = (BTC, other.address, 3 * 3_600, 1, 10**30)
    registry.send.propose_feed(words, sender=owner)
    floor.wait(registry.call.delay())
    floor.quote()
    other.send.set(dollars(1), desk.chain.timestamp, sender=owner)
    assert reason(registry.send.enact_feed, words, sender=owner) == "registry: feeds disagree"
    other.send.set(dollars(10_000), desk.chain.timestamp, sender=owner)
    registry.send.enact_feed(words, sender=owner)
    assert registry.call.feed(BTC)[0] == other.address


def test_committee__seated_to_reseated(floor: Floor) -> None:
    """Five other members wait for the timelock; then only their signatures count."""
    desk, owner, committee = floor.desk, floor.desk.keys[0], floor.desk.system.committee
    fresh = seats(5, keccak(text="another committee"))
    desk.system.token.send.mint(owner.address, 5 * 10**11, sender=owner)
    desk.system.token.send.approve(committee.address, 5 * 10**11, sender=owner)
    for seat in fresh:
        committee.send.deposit_bond(seat.address, sender=owner)
        proof = seat.possession(desk.chain.chain_id, committee.address)
        committee.send.enrol(seat.address, seat.key, proof, sender=owner)
    committee.send.propose_seating(sender=owner)
    assert reason(committee.send.seat, sender=owner) == "timelock: too early"
    floor.wait(committee_delay(floor))
    committee.send.seat(sender=owner)
    assert reason(floor.post) == "committee: set is not current"
    old, desk.seats = desk.seats, fresh
    try:
        floor.post(committee_set=2)
    finally:
        desk.seats = old
    assert floor.oracle_state() == ORACLE_LIVE
    member = old[0].address
    committee.send.unbond(member, sender=owner)
    assert reason(committee.send.withdraw_bond, member, sender=owner) == "bonds: too early"
    floor.wait(HOURLY.unbonding)
    before = desk.system.token.call.balanceOf(owner.address)
    committee.send.withdraw_bond(member, sender=owner)
    assert desk.system.token.call.balanceOf(owner.address) == before + 10**11


def committee_delay(floor: Floor) -> int:
    """How long a seating waits."""
    return int(floor.desk.system.registry.call.delay())
