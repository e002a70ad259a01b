"""The liquidator's callback: capital only when it is wanted, the ledger locked meanwhile, the taker's margin kept."""

from __future__ import annotations

from typing import Any

import pytest
from desk import BTC_PERP, NOTHING, Desk, content, margin, reason
from test_liquidator import Distress

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract, Receipt
from offchain.units import MICRO


class Broke(Distress):
    """The taker is a contract with an account and no money at all."""

    def __init__(self, **opening: Any) -> None:
        super().__init__(**opening)
        desk, key = self.desk, self.keeper
        self.bot: Contract = desk.chain.deploy(
            artifact("mocks/Liquidation"), desk.system.token, desk.ledger, sender=key
        )
        receipt = desk.ledger.send.open_account(self.bot.address, sender=key)
        self.taker = int(receipt.event("AccountOpened").args["account"])
        desk.post()

    def calldata(self, lots: int, data: bytes = b"hello") -> bytes:
        desk = self.desk
        proof, flags = desk.multiproof([BTC_PERP])
        return desk.liquidator.function("liquidate").encode(
            (
                self.account, self.taker, [(*desk.leg(BTC_PERP), lots)], proof, flags, desk.witness(self.account),
                NOTHING, data,
            )
        )  # fmt: skip

    def go(self, lots: int, data: bytes = b"hello") -> Receipt:
        return self.run((self.desk.liquidator, self.calldata(lots, data)))

    def run(self, *calls: tuple[Contract, bytes]) -> Receipt:
        return self.bot.send.run([data for _, data in calls], [to.address for to, _ in calls], sender=self.keeper)


@pytest.fixture
def case() -> Broke:
    return Broke()


def books_hold(desk: Desk) -> None:
    assert desk.book.tokens_held == desk.ledger.call.tokens_held()


def test_callback__no_capital__earns_the_reward_in_one_transaction(case: Broke) -> None:
    """Liquidate, be called and bring what is lacking, sell the legs to a maker, withdraw, repay: the rest is the reward
    less the trade fee, and nothing stayed open."""
    desk, bot = case.desk, case.bot
    lots, mark = 60, desk.posted[BTC_PERP].array[0]
    # The account is restored neither by the takes nor before them, so it is a partial one.
    _, _, penalty = case.expect({BTC_PERP: lots}, 1_000)
    reward = penalty // 2
    fee = -(-3 * mark * lots // 10_000)
    assert reward > fee
    sell = desk.order(case.taker, BTC_PERP, -lots, mark)
    buy = desk.order(case.seller, BTC_PERP, lots, mark)
    # What the bot's account is after the liquidation, which the trade's witness must state.
    held = desk.book.positions(case.seller)
    mine = content(case.taker, {BTC_PERP: lots}, desk.posted).witness()
    trade = desk.house.function("trade").encode(
        (
            buy.as_tuple(), desk.sign(buy), sell.as_tuple(), b"", lots, desk.leg(BTC_PERP), desk.proof(BTC_PERP),
            content(case.seller, held, desk.posted).witness(desk.by_leaf(case.seller)[3]), mine,
        )
    )  # fmt: skip
    funds = desk.margin(case.taker)[0]
    assert funds == 0
    liquidation = case.calldata(lots)
    lacking = -(content_margin(case, lots) + reward)
    assert lacking > 0
    out = lacking + reward - fee
    take_out = desk.house.function("withdraw").encode((case.taker, out, bot.address, NOTHING))
    case.run((desk.liquidator, liquidation), (desk.house, trade), (desk.house, take_out))
    assert (bot.call.account(), bot.call.taker(), bot.call.lacking(), bot.call.data()) == (
        case.account, case.taker, lacking, b"hello",
    )  # fmt: skip
    assert desk.system.token.call.balanceOf(bot.address) == reward - fee > 0
    assert desk.book.positions(case.taker) == {}
    books_hold(desk)


def content_margin(case: Broke, lots: int) -> int:
    """IM excess of an account that holds the taken lots and owes their price."""
    desk = case.desk
    body = content(case.taker, {BTC_PERP: lots}, desk.posted)
    return margin(body, -lots * desk.posted[BTC_PERP].array[0], desk.params)[4]


def test_callback__pays_in_exactly_what_is_lacking__and_ends_at_initial_margin(case: Broke) -> None:
    desk = case.desk
    lacking = -(content_margin(case, 20) + case.expect({BTC_PERP: 20}, 1_000)[2] // 2)
    call = case.calldata(20)
    # Its loan is not repaid, so the run as a whole reverts; called by the bot alone it stands.
    assert reason(case.run, (desk.liquidator, call)) == "liquidation: loan not repaid"
    desk.system.token.send.mint(case.bot.address, lacking, sender=case.keeper)
    receipt = case.run((desk.liquidator, call))
    args = receipt.event("Liquidated").args
    assert args["taker_after"] == desk.margin(case.taker)
    assert desk.margin(case.taker)[4] == 0
    assert receipt.event("Deposit").args["amount"] == lacking
    books_hold(desk)


def test_callback__brings_nothing__reverts(case: Broke) -> None:
    case.bot.send.behave(1, case.bot.address, b"", sender=case.keeper)
    assert reason(case.go, 20)
    assert case.desk.book.positions(case.taker) == {}


def test_callback__without_data__is_none(case: Broke) -> None:
    """The taker has nothing and is not asked: it ends below initial margin."""
    assert reason(case.go, 20, data=b"") == "liquidator: taker below initial margin"


def test_callback__rich_taker__is_called_and_pays_nothing(case: Broke) -> None:
    desk = case.desk
    desk.pay(case.taker, 10_000 * MICRO, case.keeper)
    receipt = case.go(20)
    assert case.bot.call.lacking() == 0
    assert not [e for e in receipt.events if e.name == "Deposit"]


def test_callback__to_an_address_without_code__reverts() -> None:
    case = Distress()
    assert reason(case.take, 5, data=b"x") == "liquidator: caller cannot be called"


def test_threat_31__in_the_callback__every_engine_is_closed(case: Broke) -> None:
    """The bot is rich, so nothing but the lock stands in its way: no engine acts, no account changes hands."""
    desk = case.desk
    desk.pay(case.taker, 10_000 * MICRO, case.keeper)
    desk.system.token.send.mint(case.bot.address, MICRO, sender=case.keeper)
    house, liquidator = desk.house, desk.liquidator
    other = desk.book.positions(case.seller)
    proof, flags = desk.multiproof(sorted(other))
    attempts: list[tuple[Contract, str, tuple[Any, ...]]] = [
        (house, "deposit", (case.taker, 1)),
        (house, "withdraw", (case.taker, 1, case.bot.address, NOTHING)),
        (liquidator, "liquidate", (case.account, case.taker, [], [], [], NOTHING, NOTHING, b"")),
        (desk.system.examiner, "check_full", (case.seller, [desk.leg(i) for i in sorted(other)], proof, flags)),
        (desk.system.takeover, "absorb", (case.account,)),
        (desk.system.takeover, "repay_shortfall", ()),
        (desk.ledger, "transfer_account", (case.taker, case.keeper.address)),
        (desk.ledger, "enter", ()),
    ]
    for contract, name, args in attempts:
        call = contract.function(name).encode(args)
        case.bot.send.behave(2, contract.address, call, sender=case.keeper)
        expected = "ledger: only engines" if name == "enter" else "ledger: locked"
        assert reason(case.go, 20) == expected, name
    case.bot.send.behave(1, case.bot.address, b"", sender=case.keeper)
    case.go(20)


def test_threat_31__a_margin_call_in_the_callback__sees_the_account_as_it_will_be(case: Broke) -> None:
    """What needs no lock is open: it finds positions, cash and checkpoint of the account as they stay."""
    desk = case.desk
    desk.pay(case.taker, 10_000 * MICRO, case.keeper)
    held = desk.book.positions(case.account)
    after = content(case.account, {BTC_PERP: held[BTC_PERP] - 20}, desk.posted).witness()
    call = desk.liquidator.function("margin_call").encode((case.account, after))
    case.bot.send.behave(2, desk.liquidator.address, call, sender=case.keeper)
    receipt = case.go(20)
    assert receipt.event("MarginCalled").args["deficit"] == -desk.margin(case.account)[4]
    assert desk.liquidator.call.called_at(case.account)[0]
