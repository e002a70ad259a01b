"""Settlement: prices at expiry, by delisting and by exit; written once, then paid against the clearing account."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aftermath import (
    BTC,
    BTC_FUTURE,
    BTC_PERP,
    CALL,
    CLEARING,
    ETH,
    ETH_PERP,
    PUT,
    Aftermath,
    dollars,
)
from desk import EXPIRY, reason
from test_ledger import Bench

from offchain.chain.artifacts import artifact
from offchain.chain.system import HOURLY
from offchain.instruments import Instrument, Kind
from offchain.oracle.headers import DISPUTED, pack_settlement
from offchain.risk.fallback import place
from offchain.risk.policy import default_policy

WEEK = 7 * 86_400
ZERO = "0x" + "00" * 20


class Expiry(Aftermath):
    """Both accounts hold what expires; the expiry is an hour ago."""

    def __init__(self, price: int = 10_700, recorded: int | None = None) -> None:
        super().__init__()
        self.trade(CALL, 5)
        self.trade(PUT, 3)
        self.trade(BTC_FUTURE, 2)
        self.trade(BTC_PERP, 1)
        self.wait_until(EXPIRY)
        if recorded is not None:
            self.quote(btc=recorded)
            self.desk.system.settlement.send.record_feed(BTC, EXPIRY, sender=self.stranger)
        self.word = pack_settlement(BTC, EXPIRY, dollars(price))
        self.settlements = [self.word]
        self.post()
        self.send = self.desk.system.settlement.send
        self.call = self.desk.system.settlement.call

    def propose(self) -> None:
        self.send.propose_price(self.word, self.settlement_proof(self.word), sender=self.stranger)

    def finalize(self) -> None:
        self.send.finalize_price(BTC, EXPIRY, sender=self.stranger)

    def make_final(self) -> None:
        self.propose()
        self.post()
        self.post()
        self.finalize()


@pytest.fixture
def case() -> Expiry:
    return Expiry()


# Prices at expiry


def test_price__proposed__becomes_final_after_the_dispute_delay(case: Expiry) -> None:
    desk = case.desk
    live = case.live()
    receipt = case.send.propose_price(case.word, case.settlement_proof(case.word), sender=case.stranger)
    assert receipt.event("PriceProposed").args == {
        "underlying": BTC, "expiry": EXPIRY, "price": dollars(10_700), "epoch": desk.epoch, "live": live,
    }  # fmt: skip
    assert case.call.proposal(BTC, EXPIRY) == (dollars(10_700), desk.epoch, live)
    assert case.call.price(BTC, EXPIRY) == (dollars(10_700), False)
    assert case.call.lot_price(CALL) == (0, False)
    assert reason(case.propose) == "settlement: already proposed"
    assert reason(case.finalize) == "settlement: dispute delay is not over"
    case.post()
    assert reason(case.finalize) == "settlement: dispute delay is not over"
    case.post()
    receipt = case.send.finalize_price(BTC, EXPIRY, sender=case.stranger)
    assert receipt.event("PriceFinal").args == {
        "underlying": BTC, "expiry": EXPIRY, "price": dollars(10_700), "source": 1,
    }  # fmt: skip
    assert case.call.price(BTC, EXPIRY) == (dollars(10_700), True)
    assert case.call.proposal(BTC, EXPIRY) == (0, 0, 0)
    assert case.call.lot_price(CALL) == (700_000, True)
    assert case.call.lot_price(PUT) == (0, True)
    assert case.call.lot_price(BTC_FUTURE) == (10_700_000, True)
    assert case.call.lot_price(BTC_PERP) == (0, False)


def test_price__final__is_written_once(case: Expiry) -> None:
    case.make_final()
    assert reason(case.finalize) == "settlement: price is final"
    assert reason(case.propose) == "settlement: price is final"
    case.wait(WEEK)
    assert reason(case.send.last_resort, BTC, EXPIRY, sender=case.stranger) == "settlement: price is final"


def test_price__another_one__begins_the_delay_anew(case: Expiry) -> None:
    """A later epoch states another price: the first is struck out, and the delay counts from the second."""
    case.propose()
    case.word = pack_settlement(BTC, EXPIRY, dollars(10_650))
    case.settlements = [case.word]
    case.post()
    case.propose()
    case.post()
    assert reason(case.finalize) == "settlement: dispute delay is not over"
    case.post()
    case.finalize()
    assert case.call.price(BTC, EXPIRY) == (dollars(10_650), True)


def test_price__bad_proposals__refused(case: Expiry) -> None:
    def refused(word: int) -> str:
        case.settlements = [word]
        case.post()
        return reason(case.send.propose_price, word, case.settlement_proof(word), sender=case.stranger)

    proof = case.settlement_proof(case.word)
    other = pack_settlement(BTC, EXPIRY, dollars(9_000))
    assert reason(case.send.propose_price, other, proof, sender=case.stranger) == "settlement: not proven"
    assert reason(case.send.propose_price, case.word, proof[1:], sender=case.stranger) == "settlement: not proven"
    assert refused(pack_settlement(BTC, EXPIRY, 0)) == "settlement: malformed leaf"
    assert refused(case.word | 1) == "settlement: malformed leaf"
    assert refused(pack_settlement(BTC, EXPIRY + WEEK, dollars(1))) == "settlement: not expired"
    case.desk.marks[BTC] = replace(case.desk.marks[BTC], status=DISPUTED)
    assert refused(case.word) == "settlement: underlying is not live"
    case.wait(3 * 3600)
    assert reason(case.propose) == "settlement: oracle is not fresh"


def test_price__without_proposal_or_while_stale__not_final(case: Expiry) -> None:
    assert reason(case.finalize) == "settlement: no price proposed"
    case.propose()
    case.wait(3 * 3600)
    assert reason(case.finalize) == "settlement: oracle is not fresh"


def test_price__of_a_revoked_epoch__not_final(case: Expiry) -> None:
    """The epoch that stated it is proven wrong: the price never becomes final, but the same may be proposed again."""
    desk, owner = case.desk, case.desk.keys[0]
    registry = desk.system.registry
    registry.send.propose_challenger(owner.address, sender=owner)
    case.wait(registry.call.delay())
    registry.send.enact_challenger(owner.address, sender=owner)
    case.post()
    case.propose()
    desk.system.oracle.send.halt(desk.epoch, sender=owner)
    assert reason(case.finalize) == "settlement: oracle is not fresh"
    for _ in range(3):
        case.post()
    assert reason(case.finalize) == "settlement: epoch was revoked"
    case.make_final()
    assert case.call.price(BTC, EXPIRY)[1]


def test_record_feed__within_half_an_hour__once() -> None:
    case = Aftermath()
    send, call = case.desk.system.settlement.send, case.desk.system.settlement.call

    def record(underlying: int = BTC, expiry: int = EXPIRY) -> str:
        return reason(send.record_feed, underlying, expiry, sender=case.stranger)

    assert record() == "settlement: not expired"
    assert record(2**16) == record(BTC, 2**32) == "settlement: no such expiry"
    case.wait_until(EXPIRY - 1)
    assert record() == "settlement: feed is not usable"  # its answer is old
    case.quote(btc=9_900)
    receipt = send.record_feed(BTC, EXPIRY, sender=case.stranger)
    assert receipt.event("FeedRecorded").args == {"underlying": BTC, "expiry": EXPIRY, "price": dollars(9_900)}
    assert call.feed_price_at(BTC << 32 | EXPIRY) == dollars(9_900)
    assert record() == "settlement: already recorded"
    case.wait(1_801)
    assert record(ETH) == "settlement: too late to record"


@pytest.mark.parametrize(("recorded", "final"), [(10_700, True), (10_400, True), (10_380, False), (11_050, False)])
def test_price__far_from_the_feed_at_expiry__is_disputed(recorded: int, final: bool) -> None:
    """More than 3 % from the recorded feed: never final; after `exit_delay` the feed's own price is."""
    case = Expiry(10_700, recorded)
    case.propose()
    case.post()
    case.post()
    if final:
        case.finalize()
        assert case.call.price(BTC, EXPIRY) == (dollars(10_700), True)
        return
    assert reason(case.finalize) == "settlement: price is disputed"
    assert reason(case.send.last_resort, BTC, EXPIRY, sender=case.stranger) == "settlement: too early"
    case.wait_until(EXPIRY + HOURLY.exit_delay)
    receipt = case.send.last_resort(BTC, EXPIRY, sender=case.stranger)
    assert receipt.event("PriceFinal").args["source"] == 2
    assert case.call.price(BTC, EXPIRY) == (dollars(recorded), True)


def test_last_resort__feed_now_then_last_index(case: Expiry) -> None:
    """Nothing was recorded: the feed of the moment counts, or, where there is none, at last the last index."""
    send = case.send
    assert reason(send.last_resort, BTC, 0, sender=case.stranger) == "settlement: no such expiry"
    case.wait_until(EXPIRY + HOURLY.exit_delay)
    assert reason(send.last_resort, BTC, EXPIRY, sender=case.stranger) == "settlement: feed is not usable"
    case.wait_until(EXPIRY + 2 * HOURLY.exit_delay)
    assert send.last_resort(BTC, EXPIRY, sender=case.stranger).event("PriceFinal").args["source"] == 4
    assert case.call.price(BTC, EXPIRY) == (dollars(10_000), True)
    case.quote(eth=260)
    assert send.last_resort(ETH, EXPIRY, sender=case.stranger).event("PriceFinal").args["source"] == 3
    assert case.call.price(ETH, EXPIRY) == (dollars(260), True)
    assert reason(send.last_resort, 9, EXPIRY, sender=case.stranger) == "settlement: underlying has no mark"


# Accounts


def test_settle__pays_both_sides_through_the_clearing_account(case: Expiry) -> None:
    case.make_final()
    desk = case.desk
    before = {a: case.cash(a) for a in (case.long, case.short)}
    versions = desk.ledger.call.account(case.long)
    receipt = case.settle(case.long, [CALL, PUT, BTC_FUTURE])
    gain = 5 * 700_000 + 2 * 10_700_000
    assert [(e.args["instrument"], e.args["lots"], e.args["price"]) for e in receipt.events if e.name == "Settled"] == [
        (i, n, p) for i, n, p in sorted([(CALL, 5, 700_000), (PUT, 3, 0), (BTC_FUTURE, 2, 10_700_000)])
    ]
    assert case.cash(case.long) == before[case.long] + gain
    assert case.cash(CLEARING) == -gain
    assert desk.ledger.call.quantities(CLEARING, [CALL, PUT, BTC_FUTURE]) == (5, 3, 2)
    assert desk.ledger.call.account(case.long)[3] == versions[3], "the last trade epoch stays"
    assert desk.book.positions(case.long) == {BTC_PERP: 1}
    case.settle(case.short, [CALL, PUT, BTC_FUTURE])
    assert case.cash(case.short) == before[case.short] - gain
    assert case.cash(CLEARING) == 0
    assert desk.book.positions(CLEARING) == {}
    case.post()
    for account in (case.long, case.short):
        assert desk.house.call.check(account, desk.by_leaf(account)) == desk.margin(account)


def test_settle__bad_calls__revert(case: Expiry) -> None:
    def refused(account: int, ids: list[int]) -> str:
        return reason(case.send.settle, account, ids, sender=case.stranger)

    assert refused(case.long, [CALL]) == "settlement: no final price"
    case.make_final()
    assert refused(CLEARING, [CALL]) == "settlement: reserved account"
    assert refused(case.long, [BTC_PERP]) == "settlement: no final price"
    assert refused(case.long, [ETH_PERP]) == "settlement: no final price"
    assert refused(case.long, [CALL, CALL]) == "settlement: instruments not ascending"
    assert refused(case.long, []) == "settlement: nothing to settle"
    token = Instrument(BTC, Kind.TOKEN).id
    assert refused(case.long, [token]) == "settlement: no final price"
    case.settle(case.long, [CALL])
    assert refused(case.long, [CALL]) == "settlement: nothing to settle"


# Delisting


class Delisted(Aftermath):
    def __init__(self) -> None:
        super().__init__()
        self.trade(BTC_PERP, 4)
        self.desk.system.registry.send.delist([BTC_PERP], sender=self.desk.keys[0])
        self.send, self.call = self.desk.system.settlement.send, self.desk.system.settlement.call

    def fix(self, identifier: int = BTC_PERP) -> object:
        return self.send.fix_delisted(self.desk.leg(identifier), self.desk.proof(identifier), sender=self.stranger)


def test_delisting__after_the_delay__settles_at_the_mark() -> None:
    case = Delisted()
    assert reason(case.fix, ETH_PERP) == "settlement: not delisted"
    assert reason(case.fix) == "settlement: too early"
    case.wait(case.desk.system.registry.call.delay())
    assert reason(case.fix) == "settlement: oracle is not fresh"
    case.move(BTC, 10_200)
    wrong = [10_300_000 + 2**31, 0, 0, 0, 0]
    meta, _ = case.desk.leg(BTC_PERP)
    args = ((meta, wrong), case.desk.proof(BTC_PERP))
    assert reason(case.send.fix_delisted, *args, sender=case.stranger) == "settlement: not proven"
    receipt = case.fix()
    assert receipt.event("LotFixed").args == {"instrument": BTC_PERP, "price": 10_200_000, "delisted": True}  # type: ignore[attr-defined]
    assert reason(case.fix) == "settlement: instrument has a price"
    case.move(BTC, 10_900)
    assert case.call.lot_price(BTC_PERP) == (10_200_000, True)
    before = case.cash(case.long), case.cash(case.short)
    case.settle(case.short, [BTC_PERP])
    case.settle(case.long, [BTC_PERP])
    assert (case.cash(case.long), case.cash(case.short)) == (before[0] + 40_800_000, before[1] - 40_800_000)
    assert case.cash(CLEARING) == 0
    assert case.desk.book.holders() == []


def test_delisting__underlying_not_live__waits() -> None:
    case = Delisted()
    case.wait(case.desk.system.registry.call.delay())
    case.desk.marks[BTC] = replace(case.desk.marks[BTC], status=DISPUTED)
    case.post()
    assert reason(case.fix) == "settlement: underlying is not live"


# Exit


class Stopped(Aftermath):
    """The committee went silent; then `days` passed."""

    def __init__(self, days: float = 7, dollars: int = 10_000) -> None:
        super().__init__(dollars)
        self.trade(BTC_PERP, 8)
        self.trade(CALL, 6)
        self.trade(ETH_PERP, 2)
        self.post()
        since = self.desk.chain.timestamp
        assert self.desk.system.oracle.call.stale_since() == 0
        self.wait(HOURLY.max_age + 1)
        self.since = self.desk.system.oracle.call.stale_since()
        assert since < self.since <= self.desk.chain.timestamp
        self.wait_until(self.since + int(days * 86_400))
        self.send, self.call = self.desk.system.settlement.send, self.desk.system.settlement.call

    def begin(self, underlying: int = BTC) -> None:
        self.send.begin_exit(underlying, sender=self.stranger)

    def fix(self, identifier: int) -> None:
        self.send.fix_exit(self.desk.leg(identifier), self.desk.proof(identifier), sender=self.stranger)


def test_exit__values_each_instrument_by_its_committed_array() -> None:
    case = Stopped()
    desk = case.desk
    case.quote(btc=9_300)
    assert reason(case.fix, CALL) == "settlement: exit has not begun"
    receipt = case.send.begin_exit(BTC, sender=case.stranger)
    assert receipt.event("ExitBegun").args == {
        "underlying": BTC, "price": dollars(9_300), "source": 3, "epoch": desk.epoch,
    }  # fmt: skip
    assert receipt.event("UnderlyingClosed").args == {"underlying": BTC}
    assert case.call.exits(BTC)[2] == dollars(9_300)
    assert reason(case.begin) == "settlement: exit has begun"
    where = place(default_policy().rows, 160_000, dollars(10_000), dollars(9_300))
    for identifier in (BTC_PERP, CALL):
        case.fix(identifier)
        assert case.call.lot_price(identifier) == (where.value(desk.posted[identifier].array), True)
        assert reason(case.fix, identifier) == "settlement: instrument has a price"
    assert reason(case.fix, ETH_PERP) == "settlement: exit has not begun"
    both = case.cash(case.long) + case.cash(case.short)
    case.settle(case.long, [BTC_PERP, CALL])
    case.settle(case.short, [BTC_PERP, CALL])
    assert (case.cash(CLEARING), case.cash(case.long) + case.cash(case.short)) == (0, both)


def test_exit__too_early_live_or_without_price__refused() -> None:
    case = Stopped(6.9)
    case.quote()
    assert reason(case.begin) == "settlement: too early"
    case.post()
    assert reason(case.begin) == "settlement: oracle is live"
    late = Stopped()
    assert reason(late.begin) == "settlement: feed is not usable"
    late.wait(WEEK)
    late.begin()
    assert late.call.exits(BTC)[2] == dollars(10_000), "the last index, after twice the delay"


def test_exit__closes_the_underlying_for_good() -> None:
    """The committee comes back: what is exited settles at the exit's price, and nothing else moves it."""
    case = Stopped()
    case.quote(btc=9_500)
    case.begin()
    case.move(BTC, 11_000)
    assert reason(case.trade, BTC_PERP, 1) == "ledger: underlying is closed"
    case.trade(ETH_PERP, 1)
    assert reason(case.fix, BTC_PERP) == "settlement: not proven", "the arrays of the exit's epoch count, not today's"


def test_exit__halted_without_an_epoch_to_stand_on__waits() -> None:
    case = Aftermath()
    desk, owner = case.desk, case.desk.keys[0]
    registry, oracle = desk.system.registry, desk.system.oracle
    registry.send.propose_challenger(owner.address, sender=owner)
    case.wait(registry.call.delay())
    registry.send.enact_challenger(owner.address, sender=owner)
    case.post()
    oracle.send.halt(desk.epoch, sender=owner)
    case.wait(WEEK)
    case.quote()
    refused = reason(desk.system.settlement.send.begin_exit, BTC, sender=case.stranger)
    assert refused == "settlement: no epoch stands"


def test_fix__token__is_no_derivative() -> None:
    """Tokens are collateral: they leave with their owner and settle against nothing."""
    token = Instrument(BTC, Kind.TOKEN).id
    case = Aftermath(instruments=(BTC_PERP, ETH_PERP), unlisted=(token,))
    case.post()
    case.wait(WEEK + HOURLY.max_age + 1)
    case.quote()
    send, desk = case.desk.system.settlement.send, case.desk
    send.begin_exit(BTC, sender=case.stranger)
    refused = reason(send.fix_exit, desk.leg(token), desk.proof(token), sender=case.stranger)
    assert refused == "settlement: not a derivative"


# Ledger and deployment


def test_clearing_account__has_neither_limits_nor_a_history() -> None:
    """More instruments, underlyings and lots than an owner may hold; no head, no position hash, no trade epoch."""
    bench = Bench()
    holders = [bench.open() for _ in range(3)]
    futures = [Instrument(1 + i % 6, Kind.FUTURE, EXPIRY + 1 + i).id for i in range(132)]
    for number, identifier in enumerate(futures):
        bench.do("move_position", holders[number % 6 // 2], CLEARING, identifier, 1, 0, 7)
    for holder in holders:
        bench.do("move_position", holder, CLEARING, BTC_FUTURE, 2**32 - 100, 0, 7)
    assert bench.ledger.call.quantity(CLEARING, BTC_FUTURE) == 3 * (2**32 - 100)
    assert bench.account(CLEARING)[3:] == (0, CLEARING << 192, bytes(32))
    assert bench.book.accounts[CLEARING].position_hash == bytes(32)
    assert CLEARING not in bench.book.holders()


def test_engine_functions__only_within_an_action() -> None:
    case = Aftermath()
    ledger = case.desk.ledger
    stranger = case.stranger
    for name, args in (("assign_account", (case.long, stranger.address)), ("close_underlying", (BTC,))):
        assert reason(getattr(ledger.send, name), *args, sender=stranger) == "ledger: only engines"


def test_deployment__addresses() -> None:
    desk = Aftermath().desk
    system, owner = desk.system, desk.keys[0]
    code = artifact("Settlement")
    refused = reason(desk.chain.deploy, code, system.ledger, system.oracle, ZERO, sender=owner)
    assert refused == "settlement: address is zero"
    assert system.settlement.call.registry() == system.registry.address
