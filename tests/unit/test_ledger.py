"""The ledger: accounts, custody, cash and positions."""

from __future__ import annotations

import random

import pytest
from desk import BTC, BTC_FUTURE, BTC_PERP, ETH_PERP, MICRO, START, content, option, reason, standalone
from ledger_bench import Bench

from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO
from offchain.chain.revm import RevmChain
from offchain.instruments import Instrument, Kind

LIMIT = 2**32


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Wiring


def test_set_engines__deployer__fixes_them() -> None:
    chain, _, ledger = standalone("SettlementToken")
    assert ledger.call.is_engine(chain.accounts[0].address)
    assert not ledger.call.is_engine(chain.accounts[1].address)


def test_set_engines__twice__reverts(bench: Bench) -> None:
    again = reason(bench.ledger.send.set_engines, [bench.keys[1].address], sender=bench.keys[0])
    assert again == "ledger: engines are fixed"
    assert not bench.ledger.call.is_engine(bench.keys[1].address)


def test_threat_31__set_engines_front_run__reverts() -> None:
    chain = RevmChain(timestamp=START)
    money = chain.deploy(artifact("mocks/SettlementToken"), sender=chain.accounts[0])
    ledger = chain.deploy(artifact("Ledger"), money, sender=chain.accounts[0])
    attacker = chain.accounts[1]
    assert reason(ledger.send.set_engines, [attacker.address], sender=attacker) == "ledger: only the deployer"
    assert reason(ledger.send.set_engines, [ZERO], sender=chain.accounts[0]) == "ledger: empty engine"
    assert reason(ledger.send.enter, sender=attacker) == "ledger: only engines"


def test_token__not_6_decimals__refused() -> None:
    chain = RevmChain(timestamp=START)
    for decimals in (0, 8, 18):
        money = chain.deploy(artifact("mocks/FalseToken"), decimals, sender=chain.accounts[0])
        refused = reason(chain.deploy, artifact("Ledger"), money, sender=chain.accounts[0])
        assert refused == "ledger: token needs 6 decimals"


# Accounts


def test_open_account__anyone__gets_the_next_id(bench: Bench) -> None:
    first, second = bench.open(bench.keys[1]), bench.open(bench.keys[2])
    assert (first, second) == (256, 257)
    assert bench.ledger.call.next_account() == 258
    owner, version, cash, last, head, position_hash = bench.account(second)
    assert owner == bench.keys[2].address
    assert (version, cash, last, head, position_hash) == (0, 0, 0, second << 192, bytes(32))


def test_open_account__nobody__reverts(bench: Bench) -> None:
    assert reason(bench.ledger.send.open_account, ZERO, sender=bench.keys[1]) == "ledger: no owner"


def test_open_isolated__one_underlying_at_a_time__for_every_owner(bench: Bench) -> None:
    receipt = bench.ledger.send.open_isolated(bench.keys[1].address, sender=bench.keys[3])
    account, other = int(receipt.event("AccountOpened").args["account"]), bench.open()
    assert receipt.event("AccountOpened").args["isolated"]
    assert bench.ledger.call.is_isolated(account)
    assert not bench.ledger.call.is_isolated(other)
    assert not bench.ledger.call.is_isolated(256 + 10**6)
    bench.do("move_position", account, other, BTC_PERP, 5, 0, 1)
    for give, take in ((account, other), (other, account)):
        assert reason(bench.do, "move_position", give, take, ETH_PERP, 1, 0, 1) == "ledger: account is isolated"
    bench.do("move_position", account, other, BTC_FUTURE, 5, 0, 1)
    bench.ledger.send.transfer_account(account, bench.keys[2].address, sender=bench.keys[1])
    assert bench.ledger.call.is_isolated(account)
    assert bench.account(account)[:2] == (bench.keys[2].address, 1)
    assert reason(bench.do, "move_position", other, account, ETH_PERP, 1, 0, 1) == "ledger: account is isolated"
    for instrument in (BTC_PERP, BTC_FUTURE):
        bench.do("move_position", other, account, instrument, 5, 0, 1)
    bench.do("move_position", other, account, ETH_PERP, 1, 0, 1)
    assert reason(bench.do, "move_position", other, account, BTC_PERP, 1, 0, 1) == "ledger: account is isolated"
    bench.do("move_position", account, other, ETH_PERP, 1, 0, 1)


def test_transfer_account__owner__bumps_the_version(bench: Bench) -> None:
    account, other = bench.open(), bench.open()
    bench.pay(account, 7)
    bench.do("move_position", other, account, BTC_PERP, 5, 0, 9)
    before = bench.account(account)
    receipt = bench.ledger.send.transfer_account(account, bench.keys[2].address, sender=bench.keys[1])
    after = bench.account(account)
    assert after[:2] == (bench.keys[2].address, 1)
    assert after[2:] == before[2:]
    assert receipt.events[0].args == {
        "account": account,
        "previous": bench.keys[1].address,
        "owner": bench.keys[2].address,
        "version": 1,
    }
    assert bench.book.accounts[account].version == 1


def test_transfer_account__not_the_owner__reverts(bench: Bench) -> None:
    account = bench.open()
    transfer = bench.ledger.send.transfer_account
    assert reason(transfer, account, bench.keys[2].address, sender=bench.keys[2]) == "ledger: not the owner"
    assert reason(transfer, account, ZERO, sender=bench.keys[1]) == "ledger: no owner"
    assert reason(transfer, 1, bench.keys[2].address, sender=bench.keys[2]) == "ledger: not the owner"


# Custody


def test_deposit__anyone__raises_cash_and_tokens_held(bench: Bench) -> None:
    account = bench.open()
    receipt = bench.pay(account, 5 * MICRO, bench.keys[3])
    assert bench.cash(account) == bench.ledger.call.tokens_held() == 5 * MICRO
    assert bench.token.call.balanceOf(bench.ledger.address) == 5 * MICRO
    (event,) = receipt.events[-1:]
    assert event.name == "Deposit"
    assert event.args == {"account": account, "payer": bench.keys[3].address, "amount": 5 * MICRO}
    bench.pay(1, 3)
    assert bench.cash(1) == 3
    assert bench.book.tokens_held == 5 * MICRO + 3


@pytest.mark.parametrize("account", [0, 5, 255, 257, 2**64])
def test_deposit__no_such_account__reverts(bench: Bench, account: int) -> None:
    bench.open()
    assert reason(bench.pay, account, 1) == "ledger: no such account"


def test_deposit__zero_or_maximal__reverts(bench: Bench) -> None:
    account = bench.open()
    assert reason(bench.do, "deposit", account, bench.keys[1].address, 0) == "ledger: zero amount"
    bench.token.send.mint(bench.keys[1].address, 2**127, sender=bench.keys[1])
    bench.token.send.approve(bench.ledger.address, 2**127, sender=bench.keys[1])
    deposit = ("deposit", account, bench.keys[1].address)
    assert reason(bench.do, *deposit, 2**127) == "ledger: amount out of range"
    bench.do(*deposit, 2**127 - 1)
    assert bench.cash(account) == 2**127 - 1
    assert reason(bench.do, *deposit, 1) == "ledger: cash out of range"


def test_deposit__not_approved__reverts(bench: Bench) -> None:
    account = bench.open()
    assert reason(bench.do, "deposit", account, bench.keys[1].address, 1) == "token: not approved"


def test_withdraw__pays_out(bench: Bench) -> None:
    account = bench.open()
    bench.pay(account, 100)
    receipt = bench.do("withdraw", account, bench.keys[4].address, 40)
    assert receipt.event("Withdrawal").args == {"account": account, "to": bench.keys[4].address, "amount": 40}
    assert bench.cash(account) == bench.ledger.call.tokens_held() == 60
    assert bench.token.call.balanceOf(bench.keys[4].address) == 40
    assert bench.book.tokens_held == 60


def test_withdraw__bad_input__reverts(bench: Bench) -> None:
    account = bench.open()
    bench.pay(account, 100)
    out = ("withdraw", account)
    assert reason(bench.do, *out, bench.keys[4].address, 0) == "ledger: zero amount"
    assert reason(bench.do, *out, ZERO, 1) == "ledger: bad recipient"
    assert reason(bench.do, *out, bench.ledger.address, 1) == "ledger: bad recipient"
    assert reason(bench.do, *out, bench.keys[4].address, 101) == "ledger: not enough tokens held"
    assert bench.cash(account) == 100


def test_tokens_sent_without_a_deposit__do_not_count(bench: Bench) -> None:
    account = bench.open()
    bench.pay(account, 10)
    bench.token.send.mint(bench.ledger.address, 1_000, sender=bench.keys[1])
    assert bench.ledger.call.tokens_held() == 10
    bench.do("move_cash", account, 1, 5, 1)
    assert reason(bench.do, "withdraw", account, bench.keys[1].address, 11) == "ledger: not enough tokens held"
    bench.pay(account, 10)
    assert bench.ledger.call.tokens_held() == 20


def test_token_with_a_fee__refused() -> None:
    bench = Bench("FeeToken")
    account = bench.open()
    assert reason(bench.pay, account, 1_000) == "ledger: token takes a fee"
    assert bench.cash(account) == bench.ledger.call.tokens_held() == 0


def test_token_without_a_return_value__accepted() -> None:
    bench = Bench("NoReturnToken")
    account = bench.open()
    bench.pay(account, 1_000)
    bench.do("withdraw", account, bench.keys[2].address, 300)
    assert bench.cash(account) == 700
    assert bench.token.call.balanceOf(bench.keys[2].address) == 300


def test_token_that_returns_false__refused() -> None:
    bench = Bench("FalseToken", 6)
    account = bench.open()
    bench.pay(account, 1_000)
    bench.token.send.refuse(True, sender=bench.keys[0])
    assert reason(bench.pay, account, 1) == "ledger: token transfer failed"
    assert reason(bench.do, "withdraw", account, bench.keys[1].address, 1) == "ledger: token transfer failed"
    assert bench.cash(account) == bench.ledger.call.tokens_held() == 1_000


# Cash between accounts


def test_move_cash__conserves(bench: Bench) -> None:
    giver, taker = bench.open(), bench.open()
    bench.pay(giver, 100)
    receipt = bench.do("move_cash", giver, taker, 130, 2)
    assert (bench.cash(giver), bench.cash(taker)) == (-30, 130)
    assert receipt.event("CashMoved").args == {"giver": giver, "taker": taker, "amount": 130, "reason": 2}
    bench.do("move_cash", giver, giver, 5, 1)
    assert bench.cash(giver) == -30
    assert bench.book.accounts[giver].cash == -30
    assert reason(bench.do, "move_cash", giver, taker, 2**127, 1) == "ledger: amount out of range"


def test_cash__beyond_128_bits__reverts(bench: Bench) -> None:
    giver, taker = bench.open(), bench.open()
    bench.do("move_cash", giver, taker, 2**127 - 1, 1)
    assert (bench.cash(giver), bench.cash(taker)) == (1 - 2**127, 2**127 - 1)
    assert reason(bench.do, "move_cash", giver, 1, 2, 1) == "ledger: cash out of range"
    assert reason(bench.do, "move_cash", 1, taker, 1, 1) == "ledger: cash out of range"
    bench.do("move_cash", giver, 1, 1, 1)
    assert bench.cash(giver) == -(2**127)
    too_much = ("move_position", taker, 1, BTC_PERP, 1)
    assert reason(bench.do, *too_much, 2**127, 1) == "ledger: amount out of range"
    assert reason(bench.do, *too_much, -(2**127), 1) == "ledger: amount out of range"


# Positions


def test_move_position__both_sides__change(bench: Bench) -> None:
    giver, taker = bench.open(), bench.open()
    receipt = bench.do("move_position", giver, taker, BTC_PERP, 5, -700, 42)
    assert bench.ledger.call.quantity(giver, BTC_PERP) == -5
    assert bench.ledger.call.quantity(taker, BTC_PERP) == 5
    assert bench.ledger.call.quantities(taker, [ETH_PERP, BTC_PERP]) == (0, 5)
    assert (bench.cash(giver), bench.cash(taker)) == (-700, 700)
    assert receipt.event("PositionMoved").args == {
        "giver": giver, "taker": taker, "instrument": BTC_PERP, "lots": 5, "cash": -700, "epoch": 42,
    }  # fmt: skip
    book = bench.book
    for account, lots in ((giver, -5), (taker, 5)):
        state = bench.account(account)
        assert state[3] == 42
        assert state[4] == account << 192 | BTC << 176 | 1 << 64 | 5
        assert state[5] == book.accounts[account].position_hash
        assert book.positions(account) == {BTC_PERP: lots}


def test_exchange__both_pay_the_fee(bench: Bench) -> None:
    giver, taker = bench.open(), bench.open()
    receipt = bench.do("exchange", giver, taker, BTC_PERP, 5, -700, 42, 30)
    assert (bench.cash(giver), bench.cash(taker), bench.cash(1)) == (-730, 670, 60)
    assert [e.name for e in receipt.events] == ["PositionMoved", "CashMoved", "CashMoved"]
    assert [e.args["giver"] for e in receipt.events[1:]] == [giver, taker]
    assert all(e.args["taker"] == 1 and e.args["amount"] == 30 and e.args["reason"] == 1 for e in receipt.events[1:])
    account, lots, checkpoint = bench.ledger.call.side(taker, BTC_PERP)
    assert tuple(account) == tuple(bench.account(taker))
    assert (lots, checkpoint) == (5, bytes(32))
    assert bench.book.accounts[giver].cash == -730
    assert len(bench.do("exchange", giver, taker, BTC_PERP, 5, 0, 42, 0).events) == 1
    assert reason(bench.do, "exchange", giver, taker, BTC_PERP, 5, 0, 42, 2**127) == "ledger: amount out of range"


def test_finish__stores_both_checkpoints(bench: Bench) -> None:
    one, two = bench.open(), bench.open()
    bench.do("finish", one, b"\x07" * 32, two, b"\x08" * 32)
    assert [bench.ledger.call.checkpoint(a) for a in (one, two)] == [b"\x07" * 32, b"\x08" * 32]
    bench.do("finish", one, bytes(32), two, b"\x09" * 32)
    assert [bench.ledger.call.checkpoint(a) for a in (one, two)] == [b"\x07" * 32, b"\x09" * 32]


def test_move_position__bad_lots__reverts(bench: Bench) -> None:
    one, two = bench.open(), bench.open()
    assert reason(bench.do, "move_position", one, two, BTC_PERP, 0, 0, 1) == "ledger: lots out of range"
    assert reason(bench.do, "move_position", one, two, BTC_PERP, LIMIT, 0, 1) == "ledger: lots out of range"
    assert reason(bench.do, "move_position", one, one, BTC_PERP, 1, 0, 1) == "ledger: one account on both sides"
    assert reason(bench.do, "move_position", one, two, 0, 1, 0, 1) == "ledger: no such underlying"
    assert reason(bench.do, "move_position", one, two, 1 << 104, 1, 0, 1) == "ledger: no such underlying"
    for kind in (0, 6, 255):
        assert reason(bench.do, "move_position", one, two, BTC << 88 | kind, 1, 0, 1) == "ledger: no such kind"
        assert bench.ledger.call.quantity(one, BTC << 88 | kind) == 0


def test_sum_of_lots__up_to_the_limit__then_reverts(bench: Bench) -> None:
    one, two, three = (bench.open() for _ in range(3))
    bench.do("move_position", one, two, BTC_PERP, LIMIT - 2, 0, 1)
    bench.do("move_position", three, two, ETH_PERP, 1, 0, 1)
    assert bench.account(two)[4] & (2**64 - 1) == LIMIT - 1
    assert reason(bench.do, "move_position", three, two, BTC_PERP, 1, 0, 1) == "ledger: too many lots"
    assert reason(bench.do, "move_position", two, three, BTC_FUTURE, 1, 0, 1) == "ledger: too many lots"
    bench.do("move_position", two, three, BTC_PERP, 3, 0, 1)
    assert bench.account(two)[4] & (2**64 - 1) == LIMIT - 4


def test_positions__up_to_128__then_reverts(bench: Bench) -> None:
    one, two = bench.open(), bench.open()
    for strike in range(1, 129):
        bench.do("move_position", one, two, option(BTC, strike), 1, 0, 1)
    assert bench.account(two)[4] >> 64 & (2**64 - 1) == 128
    assert reason(bench.do, "move_position", one, two, option(BTC, 129), 1, 0, 1) == "ledger: too many positions"
    bench.do("move_position", two, one, option(BTC, 7), 1, 0, 1)
    bench.do("move_position", one, two, option(BTC, 129), 1, 0, 1)
    assert bench.account(two)[4] == two << 192 | BTC << 176 | 128 << 64 | 128


def test_underlyings__up_to_4__then_reverts(bench: Bench) -> None:
    one, two = bench.open(), bench.open()
    perpetual = {u: Instrument(u, Kind.PERPETUAL).id for u in (2, 5, 7, 9, 65535)}
    for u in (7, 2, 9, 5):
        bench.do("move_position", one, two, perpetual[u], 1, 0, 1)
    assert bench.account(two)[4] >> 128 & (2**64 - 1) == 2 << 48 | 5 << 32 | 7 << 16 | 9
    assert reason(bench.do, "move_position", one, two, perpetual[65535], 1, 0, 1) == "ledger: too many underlyings"
    bench.do("move_position", two, one, perpetual[5], 1, 0, 1)
    bench.do("move_position", one, two, perpetual[65535], 1, 0, 1)
    assert bench.account(two)[4] >> 128 & (2**64 - 1) == 2 << 48 | 7 << 32 | 9 << 16 | 65535


def test_set_checkpoint__stores(bench: Bench) -> None:
    account = bench.open()
    assert bench.ledger.call.checkpoint(account) == bytes(32)
    bench.do("set_checkpoint", account, b"\x07" * 32)
    assert bench.ledger.call.checkpoint(account) == b"\x07" * 32


@pytest.mark.parametrize("seed", range(4))
def test_cash_is_held__positions_net_to_zero__counts_are_true(seed: int) -> None:
    """After every one of many random moves, the ledger's words equal the books rebuilt from its events."""
    rnd = random.Random(seed)
    bench = Bench()
    accounts = [bench.open() for _ in range(4)]
    ids = [Instrument(u, Kind.PERPETUAL).id for u in range(1, 8)]
    ids += [option(u, strike, kind) for u in range(1, 4) for strike in (1, 2) for kind in (Kind.CALL, Kind.PUT)]
    refused = 0
    for _ in range(80):
        giver, taker = rnd.sample(accounts, 2)
        identifier = rnd.choice(ids)
        match rnd.randrange(6):
            case 0:
                bench.pay(giver, rnd.randrange(1, 10**12))
            case 1:
                bench.do("move_cash", giver, rnd.choice([1, taker]), rnd.randrange(10**12), 1)
            case _:
                held = int(bench.ledger.call.quantity(giver, identifier))
                lots = held if held > 0 and rnd.random() < 0.5 else rnd.randrange(1, 10**6)
                cash = rnd.randrange(-(10**12), 10**12)
                open_already = bench.book.positions(giver), bench.book.positions(taker)
                full = any(len({i >> 88 for i in p} | {identifier >> 88}) > 4 for p in open_already)
                if full:
                    move = ("move_position", giver, taker, identifier, lots, cash, 1)
                    assert reason(bench.do, *move) == "ledger: too many underlyings"
                    refused += 1
                else:
                    bench.do("move_position", giver, taker, identifier, lots, cash, 1)
        book = bench.book
        for account in accounts:
            state, kept = bench.account(account), book.accounts[account]
            positions = book.positions(account)
            assert state[2] == kept.cash
            assert state[5] == kept.position_hash
            body = content(account, positions, _Blank())
            assert state[4] == body.head
            assert list(bench.ledger.call.quantities(account, ids)) == [positions.get(i, 0) for i in ids]
        assert bench.ledger.call.tokens_held() == book.tokens_held
    assert refused


class _Blank(dict):
    """Leaves of which only the id matters."""

    class _Leaf:
        array = (0,) * 40
        c_long = c_short = 0

    def __missing__(self, key: int) -> _Blank._Leaf:
        return self._Leaf()
