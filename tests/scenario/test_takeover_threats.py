"""What takeovers must survive, each named after its row in the list of threats."""

from __future__ import annotations

from typing import Any

import pytest
from aftermath import BTC, BTC_PERP, INSURANCE, SHORTFALL, dollars
from desk import reason
from test_takeover import Auction

from offchain.config import HOURLY
from offchain.oracle.headers import account_leaf_hash
from offchain.oracle.trees import Tree

T = HOURLY.auction


def equity(case: Auction, accounts: list[int]) -> int:
    """What some accounts are worth together, micro-USD."""
    return sum(case.desk.margin(account)[0] for account in accounts)


def test_threat_22__auction_clocks_never_run_through_an_outage() -> None:
    """Prices do not change, the committee is silent for three days. Nobody can take the account at a price that the
    outage lowered; the auction begins anew, at the price at which it began; and the owner had time to cure."""
    case = Auction()
    desk = case.desk
    case.start()
    first = case.quote_now()
    case.hours(2)
    assert case.quote_now()[0] < first[0]
    worth = desk.margin(case.account)[0]

    case.wait(3 * 86_400)
    assert reason(case.bid, top_up=dollars(50)) == "takeover: oracle is not fresh"
    case.post()
    assert desk.margin(case.account)[0] == worth
    assert reason(case.bid, top_up=dollars(50)) == "takeover: grace after an outage"
    assert reason(case.start) == "takeover: grace after an outage"
    assert desk.system.oracle.call.grace_until() <= desk.chain.timestamp + 1_800
    case.post()
    assert reason(case.quote_now) == "takeover: outage, start anew"
    assert reason(case.bid, top_up=dollars(50)) == "takeover: outage, start anew"
    case.start()
    assert case.quote_now() == first
    case.bid()


def test_threat_22__outage_within_max_age__counts_as_it_is() -> None:
    """Two hours without a post is not yet an outage here: the clock ran, and so did the auction."""
    case = Auction()
    case.start()
    first = case.quote_now()[0]
    case.wait(3_600)
    case.post()
    assert 0 < case.quote_now()[0] < first


@pytest.mark.parametrize("hours", [0, 1, T // 3600, 2 * T // 3600 + 2])
def test_threat_23__taking_over_ones_own_account__gains_nothing(hours: int) -> None:
    """One person owns the account, the taker and the heir. While the account is worth more than the incentive, no
    moment of the auction pays: what the taker gives is what the heir gets, and insurance pays nothing."""
    case = Auction()
    desk = case.desk
    _, risk, closeout, _, _ = desk.margin(case.account)
    assert desk.margin(case.account)[0] > (risk + closeout) // 10
    case.start()
    case.hours(hours)
    mine = [case.account, case.taker]
    before, funds = equity(case, mine), case.cash(INSURANCE)
    heir = case.bid().event("TakenOver").args["heir"]
    assert equity(case, [*mine, heir] if heir else mine) == before
    assert case.cash(INSURANCE) == funds


@pytest.mark.parametrize("price", [7_100, 7_260, 7_400])
def test_threat_23__incentive__is_less_than_what_it_takes_to_get_there(price: int) -> None:
    """An account opens only at 1.25 of its requirement and is auctioned below one: what it lost on the way is more than
    the tenth of the requirement that insurance ever pays beyond its debt."""
    case = Auction(price, called=False)
    desk = case.desk
    pv, risk, closeout, _, _ = desk.margin(case.account)
    case.start()
    case.hours(2 * T // 3600)
    funds = case.cash(INSURANCE)
    case.bid()
    paid = funds - case.cash(INSURANCE)
    assert paid == max(-pv, 0) + max((risk + closeout) // 10 - max(pv, 0), 0)
    assert pv + paid <= (risk + closeout) // 10
    assert (risk + closeout) // 10 < (desk.params.im_factor - 10_000) * (risk + closeout) // 10_000


def test_threat_23__selling_to_oneself_off_the_mark__leaves_no_debt_to_insurance() -> None:
    """LIQUIDATABLE and worth 18 dollars: the owner sells everything to a second account of his far below the mark, but
    within the band. It would raise the maintenance excess, and leave 50 dollars of debt; so it may take all there is,
    and no more."""
    case = Auction(7_700, called=False)
    desk = case.desk
    worth = desk.margin(case.account)[0]
    other = desk.fund(case.long_key, 10_000)
    assert 0 < worth < dollars(18)
    assert reason(desk.trade, other, case.account, BTC_PERP, 40, 6_000_000) == "house: must not end bankrupt"
    before = equity(case, [case.account, other])
    desk.trade(other, case.account, BTC_PERP, 40, 7_300_000)
    assert 0 <= desk.margin(case.account)[0] < worth
    assert equity(case, [case.account, other]) <= before


def claim(case: Auction) -> int:
    """What insurance would pay at most for the account at takeover, from its margin as it stands."""
    pv, risk, closeout, _, _ = case.desk.margin(case.account)
    return int(max(-pv, 0) + max((risk + closeout) // 10 - max(pv, 0), 0))


def test_threat_23__selling_to_oneself_off_the_mark__leaves_no_claim_to_an_incentive() -> None:
    """LIQUIDATABLE, and worth more than a tenth of its requirement: the owner sells most of it to a second account of
    his, so low that next to nothing is left. He would then take the rest over himself, and insurance would pay him the
    incentive. He may sell as low as leaves that tenth, and the takeover then costs insurance nothing."""
    case = Auction(8_200, called=False)
    desk = case.desk
    assert desk.margin(case.account)[3] < 0 == claim(case)
    other = desk.fund(case.long_key, 10_000)
    worth, mark, lots = desk.margin(case.account)[0], 8_200_000, 36
    before, funds = equity(case, [case.account, other]), case.cash(INSURANCE)
    low = mark - (worth - dollars(1)) // lots
    refused = "house: must not raise the claim on insurance"
    assert reason(desk.trade, other, case.account, BTC_PERP, lots, low) == refused
    desk.trade(other, case.account, BTC_PERP, lots, mark - (worth - dollars(5)) // lots)
    assert desk.margin(case.account)[3] < 0 == claim(case)
    case.post()
    desk.liquidator.send.margin_call(case.account, case.witness(), sender=case.stranger)
    case.hours(3)
    case.start()
    case.hours(2 * T // 3600)
    fees = case.cash(INSURANCE) - funds
    case.taker, case.keeper = desk.fund(case.long_key, 1_000), case.long_key
    mine = desk.margin(case.taker)[0]
    case.bid()
    assert case.cash(INSURANCE) - funds == fees > 0
    assert equity(case, [case.account, other, case.taker]) == before + mine - fees


@pytest.mark.parametrize(("price", "lots"), [(7_430, 10), (7_430, 3), (7_440, 20), (7_700, 10), (7_300, 10)])
def test_threat_23__liquidating_oneself_at_the_highest_penalty__does_not_make_insurance_pay(
    price: int, lots: int
) -> None:
    """Worth about a tenth of the requirement, at a penalty of 60 % of its fall: half of the penalty would go to the
    owner's second account, and insurance would owe more for the rest than its half. So it gets the rise first."""
    case = Auction(price)
    desk = case.desk
    other = desk.fund(case.long_key, 10_000)
    owed, funds, both = claim(case), case.cash(INSURANCE), equity(case, [case.account, other])
    args = desk.liquidate(case.account, other, {BTC_PERP: lots}, case.long_key).event("Liquidated").args
    gained = case.cash(INSURANCE) - funds
    assert args["phi"] == 6_000
    assert gained >= claim(case) - owed
    assert args["reward"] == min(args["penalty"] // 2, args["penalty"] - max(claim(case) - owed, 0)) + args["extra"]
    assert equity(case, [case.account, other]) == both - gained


def test_threat_24__orders_signed_before_a_takeover__are_void() -> None:
    """The previous owner signed an order that gives the position away; after the takeover nobody can fill it, nor
    withdraw or transfer in his name."""
    case = Auction()
    desk = case.desk
    stale = desk.order(case.account, BTC_PERP, -40, 8_600_000)
    signature = desk.sign(stale)
    case.start()
    case.bid()
    friend = desk.order(case.short, BTC_PERP, 40, 8_600_000)
    assert reason(desk.fill, stale, friend, maker_signature=signature) == "house: order for another version"
    forged = desk.order(case.account, BTC_PERP, -40, 8_600_000)
    wrong = reason(desk.fill, forged, friend, maker_signature=desk.sign(forged, case.long_key))
    assert wrong == "house: not signed by the owner"
    assert reason(desk.withdraw, case.account, 1, case.long_key) == "house: not the owner"
    give = desk.ledger.send.transfer_account
    assert reason(give, case.account, case.long_key.address, sender=case.long_key) == "ledger: not the owner"


def test_threat_24__a_bid_for_an_earlier_version__is_void() -> None:
    """Taken over twice: the second taker's bid names the version that it saw."""
    case = Auction()
    case.start()
    case.bid()
    assert case.desk.ledger.call.account(case.account)[1] == 1
    case.move(BTC, 7_600)
    assert case.desk.margin(case.account)[3] < 0
    assert reason(case.start) == "takeover: legs come first"  # the call ended with the first takeover
    case.desk.liquidator.send.margin_call(case.account, case.witness(), sender=case.stranger)
    case.post()
    case.start()
    assert reason(case.bid, version=0) == "takeover: another version"


@pytest.mark.parametrize("dust", [1, 1_000])
def test_threat_25__dust_that_toggles_bankrupt__moves_no_price(dust: int) -> None:
    """At the edge of zero a dust deposit makes the account solvent. Price and support move by the dust and no more, the
    auction goes on, and it could have been started on either side."""
    case = Auction(7_250, called=False)
    desk = case.desk
    # To just under zero: the price at which forty lots and the cash are worth -1.
    cash = case.cash(case.account)
    assert cash < 0
    per_unit = -cash * 1_000 // 40 - 1_000
    desk.reprice(BTC, per_unit)
    case.post()
    pv = desk.margin(case.account)[0]
    assert -100 < pv < 0
    case.start()
    for _ in range(2 * T // 3600 + 1):
        bankrupt = case.quote_now()
        snapshot = desk.margin(case.account)[0]
        desk.pay(case.account, dust - snapshot, case.stranger)
        solvent = case.quote_now()
        assert desk.margin(case.account)[0] == dust
        assert abs(sum(solvent[1:]) - sum(bankrupt[1:])) <= dust - snapshot
        assert solvent[0] <= dust
        assert case.takeover.call.auction(case.account)[0]
        desk.reprice(BTC, (-case.cash(case.account) - 10) * 1_000 // 40)
        case.post()


def test_threat_25__dust__cannot_put_off_the_start() -> None:
    """Solvent by a dust deposit, it is still worth less than a tenth of its requirement: the auction starts."""
    case = Auction(7_200, called=False)
    pv = case.desk.margin(case.account)[0]
    assert pv < 0
    case.desk.pay(case.account, 1 - pv, case.long_key)
    assert case.desk.margin(case.account)[0] == 1
    case.start()


def test_quote_equity__must_not_end_below_zero() -> None:
    """The committee's leaf says that most of the account's value is tokens: the taker must bring the dollars owed."""
    case = Auction()
    desk = case.desk
    case.start()
    body = desk.content(case.account)
    collateral = dollars(4_000)
    cost = body.cost | collateral
    leaf = account_leaf_hash(body.head, desk.ledger.call.account(case.account)[5], cost, body.words)
    case.post(account_root=Tree([leaf]).root)
    witness: Any = (body.head, cost, body.words, [])
    price, _, _ = case.takeover.call.quote(case.account, witness)
    needed = -desk.margin(case.account)[4]
    refused = reason(case.bid, witness=witness, top_up=needed)
    assert refused == "takeover: quote equity below zero"
    more = collateral - desk.margin(case.account)[0]
    assert reason(case.bid, witness=witness, top_up=more - 1) == "takeover: quote equity below zero"
    case.bid(witness=witness, top_up=more)
    assert price > 0


def test_shortfall__is_recorded_once_and_sums_hold() -> None:
    """A bankrupt account is taken over on empty insurance: the books still sum, and account 3 holds exactly what was
    missing."""
    case = Auction(6_500, called=False, insurance=0)
    desk = case.desk
    debt, funds = -desk.margin(case.account)[0], case.cash(INSURANCE)
    case.start()
    case.bid()
    assert case.cash(SHORTFALL) == funds - debt
    assert case.cash(INSURANCE) == 0
    assert desk.book.tokens_held == desk.ledger.call.tokens_held()
    assert desk.margin(case.account)[4] == 0
