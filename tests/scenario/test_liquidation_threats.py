"""What leg liquidation must survive, each named after its row in the list of threats."""

from __future__ import annotations

from typing import Any

import pytest
from desk import BTC, BTC_FUTURE, BTC_PERP, ETH, ETH_PERP, INSURANCE, option, policy_with, reason
from test_liquidator import Distress

from offchain.chain.backends import Reverted
from offchain.instruments import Kind
from offchain.units import MICRO

SHARE = 50_000
EMPTY = "liquidator: bucket and own share are used up"
FIRST_GAS, LEG_GAS, TIP = 260_000, 30_000, 2 * 10**9


def equity(case: Distress, *accounts: int) -> int:
    """What some accounts are worth together, micro-USD."""
    return sum(case.desk.margin(account)[0] for account in accounts)


def insurance(case: Distress) -> int:
    return int(case.desk.ledger.call.account(INSURANCE)[2])


def floor(case: Distress, legs: int = 1) -> int:
    """The reward that pays for the gas of a liquidation, micro-USD; the in-process chain has no base fee."""
    wei = case.desk.params.gas_multiple * (FIRST_GAS + LEG_GAS * (legs - 1)) * TIP
    return min(wei * case.desk.marks[ETH].index // 10**20, case.desk.params.reserve)


class Tiny(Distress):
    """35 lots against 100 dollars: of dust size, so it goes whole. ETH, at `ether` dollars, is the chain's coin."""

    def __init__(self, ether: int = 8_000, **opening: Any) -> None:
        super().__init__(dollars=100, price=8_200, lots=35, coin=ETH, **opening)
        self.desk.reprice(ETH, ether * MICRO)
        self.desk.post()


# The reward's floor


def test_reward__whole_account__is_raised_to_its_gas_from_the_account() -> None:
    """At an ether of 8,000 dollars the gas is worth 4.99 dollars, the share of the penalty 3.31: it pays the rest."""
    case = Tiny()
    before, bare, penalty = case.expect({BTC_PERP: 35}, 1_000)
    share, least, funds = penalty // 2, floor(case), insurance(case)
    assert least == 4_992_000
    assert share < least < before[0]
    args = case.take(35).event("Liquidated").args
    assert (args["penalty"], args["reward"], args["extra"]) == (penalty, least, least - share)
    assert (
        args["after"]
        == case.desk.margin(case.account)
        == tuple(v - (least - share) * (i in (0, 3, 4)) for i, v in enumerate(bare))
    )
    assert insurance(case) == funds + penalty - share
    assert case.desk.margin(case.taker)[0] == 100_000 * MICRO + least


@pytest.mark.parametrize("multiple", [120, 500])
@pytest.mark.parametrize("ether", [8_000, 40_000])
def test_reward__never_more_than_the_reserve_nor_than_there_is(ether: int, multiple: int) -> None:
    """However dear gas is: at most K, nothing below zero, and MM excess rises all the same."""
    case = Tiny(ether, policy=policy_with(gas_multiple=multiple))
    before, bare, penalty = case.expect({BTC_PERP: 35}, 1_000)
    args = case.take(35).event("Liquidated").args
    assert args["reward"] <= case.desk.params.reserve
    assert args["extra"] == min(floor(case) - penalty // 2, bare[0], bare[3] - before[3] - 1)
    assert args["after"][0] >= 0
    assert args["after"][3] > args["before"][3]


def test_reward__floor__is_not_for_a_part() -> None:
    """Lot by lot a keeper would earn the floor four hundred times; it is paid where the account ends HEALTHY only."""
    case = Distress(price=9_000, coin=ETH)
    desk = case.desk
    desk.reprice(ETH, 50_000 * MICRO)
    desk.post()
    args = case.take(1).event("Liquidated").args
    assert args["extra"] == 0
    assert args["reward"] == args["penalty"] // 2 < floor(case)


def test_reward__floor__counts_in_what_may_be_taken() -> None:
    """As many lots as restore it without the extra, or as restore it with: nothing between, nothing beyond."""
    bare = Distress(dollars=100, price=8_200, lots=35, policy=policy_with(dust=0)).most()
    allowed = []
    for lots in range(bare - 1, 36):
        case = Distress(dollars=100, price=8_200, lots=35, coin=ETH, policy=policy_with(dust=0))
        case.desk.reprice(ETH, 20_000 * MICRO)
        case.desk.post()
        try:
            allowed.append((lots, case.take(lots).event("Liquidated").args))
        except Reverted as error:
            refused = error.reason
            continue
    assert refused == "liquidator: more than restores the account"
    (first, below), (second, without), (third, paid) = allowed
    assert (first, second) == (bare - 1, bare) < (third, third)
    assert below["after"][4] < 0 <= without["after"][4]
    assert (below["extra"], without["extra"]) == (0, 0)
    assert paid["reward"] == floor(case)
    assert paid["after"][4] >= 0


# 23


@pytest.mark.parametrize("price", [8_200, 7_700, 7_400, 7_200])
def test_threat_23__self_liquidation_and_farmed_tiny_accounts__never_profit(price: int) -> None:
    """One person owns the tiny account and the taker, and gas is dear: together they lose what insurance gets, at any
    worth of the account, and insurance pays nothing."""
    case = Tiny(ether=100_000)
    case.fall(price)
    both, funds = equity(case, case.account, case.taker), insurance(case)
    lots = case.desk.book.positions(case.account)[BTC_PERP]
    case.take(lots)
    gained = insurance(case) - funds
    assert gained >= 0
    assert equity(case, case.account, case.taker) == both - gained


def test_threat_23__made_bankrupt_on_purpose__the_liquidation_pays_nothing() -> None:
    case = Distress(price=7_500, coin=ETH)
    funds, both = insurance(case), equity(case, case.account, case.taker)
    args = case.take(400).event("Liquidated").args
    assert (args["penalty"], args["reward"], args["extra"]) == (0, 0, 0)
    assert (insurance(case), equity(case, case.account, case.taker)) == (funds, both)


# 25


def test_threat_25__good_legs_taken_and_junk_left__reverts() -> None:
    """Long perpetual against short future: whoever takes the one that gains in a fall leaves the other bare. It does
    not help to add some of the other: what counts is what is left."""
    case = Distress(price=10_000, instruments=(BTC_PERP, ETH_PERP, BTC_FUTURE))
    desk = case.desk
    desk.trade(case.seller, case.account, BTC_FUTURE, 200)
    case.fall(7_000)
    for takes in ({BTC_FUTURE: -200}, {BTC_FUTURE: -200, BTC_PERP: 10}):
        assert reason(case.take, takes) == "liquidator: must raise maintenance excess"
    before = desk.margin(case.account)
    case.take({BTC_PERP: 100, BTC_FUTURE: -100})
    assert desk.margin(case.account)[3] > before[3]


def test_threat_25__cheap_options_that_nobody_wants__are_not_forced_on_the_account_as_its_rest() -> None:
    """Its long calls lose all their worth in a fall: without the perpetual it is safer all the same."""
    call, put = option(BTC, 10_000), option(BTC, 10_000, Kind.PUT)
    case = Distress(dollars=960, price=10_000, lots=400, instruments=(BTC_PERP, ETH_PERP, BTC_FUTURE, call, put))
    desk = case.desk
    desk.trade(case.account, case.seller, call, 300)
    case.fall(8_700)
    before = desk.margin(case.account)
    assert before[3] < 0
    after = case.take({BTC_PERP: 20}).event("Liquidated").args["after"]
    assert after[3] > before[3]
    assert reason(case.take, {call: 301}) == "liquidator: more than the position"


def test_threat_25__one_lot_account__goes_whole() -> None:
    case = Distress(dollars=28, price=2_000, lots=1, policy=policy_with(dust=0), share=SHARE)
    case.take(1)
    assert case.desk.book.positions(case.account) == {}


def test_threat_25__exactly_at_the_border__is_left_alone_and_one_unit_below_is_not() -> None:
    case = Distress()
    desk = case.desk
    desk.pay(case.account, -desk.margin(case.account)[3], case.buyer_key)
    assert desk.margin(case.account)[3] == 0
    assert reason(case.take, 1) == "liquidator: account is above maintenance margin"
    below = Distress()
    below.desk.pay(below.account, -below.desk.margin(below.account)[3] - 1, below.buyer_key)
    assert below.desk.margin(below.account)[3] == -1
    below.take(1)


@pytest.mark.parametrize("worth", [-1, 0, 1])
def test_threat_25__dust_that_toggles_bankrupt__stops_no_liquidation(worth: int) -> None:
    """At nothing, a unit below, a unit above, and back by dust: legs can be taken; what they cost moves by the dust."""
    case = Distress(price=10_000, coin=ETH)
    desk = case.desk
    cash = desk.ledger.call.account(case.account)[2]
    desk.reprice(BTC, -(cash - worth) * 1_000 // 400 // 1_000 * 1_000)
    desk.post()
    pv = desk.margin(case.account)[0]
    if worth > pv:
        desk.pay(case.account, worth - pv, desk.keys[7])
    assert abs(desk.margin(case.account)[0]) <= 1_000
    first = case.take(50).event("Liquidated").args
    assert first["penalty"] == max(first["before"][0], 0)
    desk.pay(case.account, 2, desk.keys[7])
    second = case.take(50).event("Liquidated").args
    assert second["penalty"] == max(second["before"][0], 0) <= first["penalty"] + 2


# 26


def test_bucket__a_slot__takes_the_bucket_and_the_own_share() -> None:
    """400 lots open: 20 from the bucket and 20 as the account's own share; the next lot waits for a slot, in which a
    tenth of the bucket is back and the own share is one of what is left."""
    case = Distress(share=SHARE)
    desk, bucket = case.desk, case.desk.liquidator.call.bucket
    assert desk.ledger.call.open_interest(BTC) == 400
    assert reason(case.take, 41) == EMPTY
    case.take(15)
    assert (bucket(BTC), desk.liquidator.call.own_draw(case.account)) == ((15, desk.epoch), (0, 0))
    case.take(25)
    assert (bucket(BTC), desk.liquidator.call.own_draw(case.account)) == ((20, desk.epoch), (20, desk.epoch))
    assert reason(case.take, 1) == EMPTY
    desk.post()
    assert reason(case.take, 2 + 18 + 1) == EMPTY
    case.take(2 + 18)
    for _ in range(9):
        desk.post()
    assert desk.ledger.call.open_interest(BTC) == 400
    assert reason(case.take, 18 + 17 + 1) == EMPTY
    assert desk.margin(case.account)[3] < 0
    case.take(18 + 17)


def test_bucket__underlyings_apart__and_calls_survive_a_draw() -> None:
    """A full bucket of one underlying says nothing of the other's; a draw does not touch the margin call's clock."""
    case = Distress(dollars=930, price=10_000, share=SHARE)
    desk = case.desk
    desk.trade(case.account, case.seller, ETH_PERP, 80)
    case.fall(8_900)
    assert desk.margin(case.account)[3] < 0
    desk.liquidator.send.margin_call(case.account, desk.witness(case.account), sender=desk.keys[9])
    called = desk.liquidator.call.called_at(case.account)
    case.take(40)
    case.take({ETH_PERP: 4})
    assert desk.liquidator.call.bucket(ETH) == (4, desk.epoch)
    assert desk.liquidator.call.called_at(case.account) == called
    own = desk.liquidator.call.own_draw(case.account)[0]
    assert own == 20
    most = -(-(desk.margin(case.account) and sum(map(abs, desk.book.positions(case.account).values())) + own) // 20)
    assert reason(case.take, {BTC_PERP: most - own + 1}) == EMPTY
    case.take({BTC_PERP: most - own})


@pytest.mark.parametrize("price", [7_950, 7_500])
def test_bucket__near_bankrupt_and_dust__are_exempt_and_not_counted(price: int) -> None:
    case = Distress(share=SHARE)
    case.fall(price)
    pv, risk, closeout, _, _ = case.desk.margin(case.account)
    assert pv < (risk + closeout) // 10
    case.take(300)
    assert case.desk.liquidator.call.bucket(BTC) == (0, 0)
    dust = Tiny(share=SHARE)
    dust.take(35)
    assert dust.desk.liquidator.call.bucket(BTC) == (0, 0)


def test_bucket__threshold__is_a_tenth_of_the_requirement() -> None:
    """One unit apart: below a tenth an account is near bankruptcy, at it not."""
    case = Distress(share=SHARE)
    case.fall(7_950)
    desk = case.desk
    pv, risk, closeout, _, _ = desk.margin(case.account)
    desk.pay(case.account, (risk + closeout) // 10 - pv, desk.keys[7])
    assert reason(case.take, 100) == EMPTY
    again = Distress(share=SHARE)
    again.fall(7_950)
    again.desk.pay(again.account, (risk + closeout) // 10 - pv - 1, again.desk.keys[7])
    again.take(100)


def test_threat_26__the_cap_filled_by_self_liquidations__holds_up_nobody() -> None:
    """The owner of a whale liquidates an account of his own to fill the bucket. It costs him the insurance's part of
    the penalty on each lot, and the whale still loses its own share in every slot, until it is safe."""
    case = Distress(share=SHARE, dollars=900)
    desk, key = case.desk, case.desk.keys[6]
    case.fall(10_000)
    decoy = desk.fund(key, 900)
    accomplice = desk.fund(key, 100_000)
    desk.trade(decoy, case.seller, BTC_PERP, 400)
    case.fall(8_800)
    assert desk.margin(decoy)[3] < 0
    assert desk.margin(case.account)[3] < 0
    mine = equity(case, decoy, accomplice)
    desk.liquidate(decoy, accomplice, {BTC_PERP: 60}, key)
    assert desk.liquidator.call.bucket(BTC)[0] == 40
    assert equity(case, decoy, accomplice) < mine
    assert reason(case.take, 21) == EMPTY
    slots = 0
    while desk.margin(case.account)[3] < 0:
        held = desk.book.positions(case.account)[BTC_PERP]
        case.take(min(-(-held // 20), max(case.most(), 1)))
        slots += 1
        desk.post()
        if slots < 40 and desk.margin(decoy)[3] < 0:
            left = desk.book.positions(decoy)[BTC_PERP]
            desk.liquidate(decoy, accomplice, {BTC_PERP: min(4 + -(-left // 20), left)}, key)
    assert slots <= 20


def test_threat_26__accounts_that_pay_no_penalty__cannot_fill_it() -> None:
    """What is not exempt is worth a tenth of its requirement, so it pays the least penalty, a tenth of the fall."""
    case = Distress(share=SHARE)
    args = case.take(40).event("Liquidated").args
    fall = args["before"][1] + args["before"][2] - args["after"][1] - args["after"][2]
    assert args["penalty"] == fall // 10
    assert insurance(case) >= args["penalty"] // 2
