# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title Takeover
@license GNU Affero General Public License v3.0 only
@notice Whole accounts change hands when their legs were not taken up, at the same cost for any portfolio; and what nobody can
        pay is written down. With `PV` and `requirement` of the account now, `e` the oracle-live seconds since the start and
        `T` the auction's length:

            price      max(PV, 0) * 0.95 * (T - e) / T           until T, to a new account of the previous owner; then 0
            incentive  0.1 * requirement * (e - T) / T           from T to 2 T, then 0.1 * requirement
            support    max(-PV, 0) + max(incentive - max(PV, 0), 0)     from insurance into the account

        The schedule has no step where PV changes its sign, so dust cannot move anybody's price. What insurance lacks of
        `-PV` is recorded as shortfall (account 3 goes below zero); of the incentive it pays what it has.
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle.
@custom:kill Nothing here can be stopped. When the oracle is not fresh, or an underlying of the account is not live, no auction
        starts and no account is taken over, and after an outage auctions begin anew.
"""

from interfaces import ILedger
from interfaces import ILiquidator
from interfaces import IMargin
from interfaces import IRiskOracle
from interfaces import ITakeover
from lib import claim
from lib import constants
from lib import engine
from lib import margin

implements: ITakeover
initializes: engine

exports: (
    engine.ledger,
    engine.oracle,
)


# @dev Share of PV from which the price falls, 1e-4.
FIRST_PRICE: constant(uint256) = 9_500

# @dev An account worth less than this share of its requirement is auctioned at once, 1e-4.
NEAR_BANKRUPT: constant(uint256) = 1_000


liquidator: public(immutable(ILiquidator))

# @dev The auction's length, oracle-live seconds.
length: public(immutable(uint256))

# Oracle-live clock at the start plus one (bits 127..64) and the epoch's timestamp then (63..0); zero without an auction.
_auctions: HashMap[uint256, uint256]


@deploy
def __init__(ledger: address, oracle: address, liquidator_: address, length_: uint256):
    """
    @notice Bind the takeover to its ledger, oracle and liquidator for ever.
    @param ledger The ledger, which must name this contract as an engine.
    @param oracle The risk oracle.
    @param liquidator_ The liquidator, which knows the margin calls.
    @param length_ The auction's length, oracle-live seconds.
    """
    assert liquidator_ != empty(address), "takeover: address is zero"
    assert length_ != 0 and length_ <= 7 * 86400, "takeover: length out of range"
    engine.__init__(ledger, oracle)
    liquidator = ILiquidator(liquidator_)
    length = length_


# Anyone


@external
def start(account: uint256, witness: IMargin.Witness):
    """
    @notice Put an account below maintenance margin on auction: at once if it is worth less than a tenth of its requirement,
            else when it was called so long ago that the legs' penalty is at its most. After an outage, begin anew.
    @param account The account.
    @param witness Its witness.
    """
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
    state: ILedger.Account = empty(ILedger.Account)
    found: IMargin.Margin = empty(IMargin.Margin)
    collateral: uint256 = 0
    state, found, collateral = self._judge(account, witness, latest)
    assert found.mm_excess < 0, "takeover: account is above maintenance margin"
    requirement: uint256 = convert(found.risk + found.closeout, uint256)
    if found.pv >= convert(requirement * NEAR_BANKRUPT // constants.ONE, int256):
        called: bool = False
        live: uint256 = 0
        called, live = staticcall liquidator.called_at(account)
        ramp: uint256 = (latest.margin >> 112) & constants.MASK_32
        assert called and latest.live >= live + ramp, "takeover: legs come first"
    word: uint256 = self._auctions[account]
    assert word == 0 or self._was_out(word, latest), "takeover: auction is on"
    self._auctions[account] = (latest.live + 1) << 64 | latest.timestamp
    log ITakeover.AuctionStarted(account=account, epoch=latest.epoch, live=latest.live, margin=found)


@external
def end(account: uint256, witness: IMargin.Witness):
    """
    @notice Strike out the auction of an account that is above maintenance margin again. Nothing else ends it early.
    @param account The account.
    @param witness Its witness.
    """
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
    assert self._auctions[account] != 0, "takeover: no auction"
    state: ILedger.Account = empty(ILedger.Account)
    found: IMargin.Margin = empty(IMargin.Margin)
    collateral: uint256 = 0
    state, found, collateral = self._judge(account, witness, latest)
    assert found.mm_excess >= 0, "takeover: account is below maintenance margin"
    self._auctions[account] = 0
    log ITakeover.AuctionEnded(account=account, epoch=latest.epoch)


@external
def take_over(bid: ITakeover.Bid, witness: IMargin.Witness):
    """
    @notice Take an account on auction, with everything in it, at the price of now. It must end HEALTHY.
    @dev The taker pays out of an account without positions, so that no value that a margin rule holds back leaves by this
         door. The account's version rises: orders and approvals of its previous owner are void.
    @param bid What is taken, and at most for how much.
    @param witness Witness of the account.
    """
    engine._enter()
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
    state: ILedger.Account = empty(ILedger.Account)
    found: IMargin.Margin = empty(IMargin.Margin)
    collateral: uint256 = 0
    state, found, collateral = self._judge(bid.account, witness, latest)
    assert state.version == bid.version, "takeover: another version"
    assert state.position_hash == bid.position_hash, "takeover: positions have changed"
    assert found.mm_excess < 0, "takeover: account is above maintenance margin"

    price: uint256 = 0
    insurance: uint256 = 0
    shortfall: uint256 = 0
    price, insurance, shortfall = self._terms(bid.account, found, latest)
    net: int256 = convert(price, int256) - convert(insurance + shortfall, int256)
    assert net <= bid.limit, "takeover: price beyond the limit"

    # The account with what is paid into it.
    assert bid.top_up < 2**127, "takeover: top-up out of range"
    paid_in: int256 = convert(insurance + shortfall + bid.top_up, int256)
    after: IMargin.Margin = found
    after.pv += paid_in
    after.mm_excess += paid_in
    after.im_excess += paid_in
    assert after.im_excess >= 0, "takeover: account must end healthy"
    assert after.pv >= convert(collateral, int256), "takeover: quote equity below zero"

    # The taker.
    assert bid.taker != bid.account, "takeover: one account on both sides"
    taker: ILedger.Account = engine._account(bid.taker)
    assert taker.owner == msg.sender, "takeover: not the taker's owner"
    assert margin._open_positions(taker.head) == 0, "takeover: taker has positions"
    assert taker.cash >= convert(price + bid.top_up, int256), "takeover: taker has not enough cash"

    heir: uint256 = 0
    if price != 0:
        heir = extcall engine.ledger.open_account(state.owner)
        extcall engine.ledger.move_cash(bid.taker, heir, price, constants.TAKEOVER_PRICE)
    engine._move_cash(bid.taker, bid.account, bid.top_up, constants.TAKEOVER_TOP_UP)
    engine._move_cash(constants.INSURANCE, bid.account, insurance, constants.INSURANCE_PAYMENT)
    engine._move_cash(constants.SHORTFALL, bid.account, shortfall, constants.SHORTFALL_RECORDED)
    extcall engine.ledger.assign_account(bid.account, msg.sender)
    self._auctions[bid.account] = 0
    log ITakeover.TakenOver(
        account=bid.account,
        previous=state.owner,
        owner=msg.sender,
        heir=heir,
        price=price,
        insurance=insurance,
        shortfall=shortfall,
        top_up=bid.top_up,
        before=found,
        after=after,
    )
    self._clear_call(bid.account, witness)
    engine._leave()


@external
def absorb(account: uint256):
    """
    @notice Pay the debt of an account that holds nothing else: from insurance, then as shortfall. In every oracle state.
    @param account The account.
    """
    assert account >= constants.FIRST_ACCOUNT, "takeover: reserved account"
    engine._enter()
    state: ILedger.Account = engine._account(account)
    assert margin._open_positions(state.head) == 0, "takeover: account has positions"
    assert state.cash < 0, "takeover: account has no debt"
    insurance: uint256 = 0
    shortfall: uint256 = 0
    insurance, shortfall = self._covered(convert(-state.cash, uint256), 0)
    engine._move_cash(constants.INSURANCE, account, insurance, constants.INSURANCE_PAYMENT)
    engine._move_cash(constants.SHORTFALL, account, shortfall, constants.SHORTFALL_RECORDED)
    self._auctions[account] = 0
    log ITakeover.Absorbed(account=account, insurance=insurance, shortfall=shortfall)
    self._clear_call(account, empty(IMargin.Witness))
    engine._leave()


@external
def repay_shortfall():
    """
    @notice Let insurance repay shortfall with what it has.
    """
    engine._enter()
    debt: int256 = -engine._account(constants.SHORTFALL).cash
    funds: int256 = engine._account(constants.INSURANCE).cash
    assert debt > 0 and funds > 0, "takeover: nothing to repay"
    amount: uint256 = convert(min(debt, funds), uint256)
    extcall engine.ledger.move_cash(constants.INSURANCE, constants.SHORTFALL, amount, constants.SHORTFALL_REPAID)
    log ITakeover.ShortfallRepaid(amount=amount)
    engine._leave()


# Views


@view
@external
def auction(account: uint256) -> (bool, uint256, uint256):
    """
    @notice An account's auction.
    @param account The account.
    @return bool, uint256, uint256 Whether there is one, the oracle-live clock at its start, its epoch's timestamp; seconds.
    """
    word: uint256 = self._auctions[account]
    if word == 0:
        return (False, 0, 0)
    return (True, (word >> 64) - 1, word & constants.MASK_64)


@view
@external
def quote(account: uint256, witness: IMargin.Witness) -> (uint256, uint256, uint256):
    """
    @notice What an account on auction costs now.
    @param account The account.
    @param witness Its witness.
    @return uint256, uint256, uint256 Price, what insurance and what shortfall pay in; micro-USD.
    """
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
    state: ILedger.Account = empty(ILedger.Account)
    found: IMargin.Margin = empty(IMargin.Margin)
    collateral: uint256 = 0
    state, found, collateral = self._judge(account, witness, latest)
    return self._terms(account, found, latest)


# Internal


@internal
def _clear_call(account: uint256, witness: IMargin.Witness):
    """
    @dev Strike out the margin call of an account that ends HEALTHY here: its owner begins without one.
    @param account The account.
    @param witness Its witness.
    """
    called: bool = False
    live: uint256 = 0
    called, live = staticcall liquidator.called_at(account)
    if called:
        extcall liquidator.clear_call(account, witness)


@view
@internal
def _judge(
    account: uint256, witness: IMargin.Witness, latest: IRiskOracle.Latest
) -> (ILedger.Account, IMargin.Margin, uint256):
    """
    @dev The account's margin under a fresh epoch with all its underlyings live; and the value of its tokens.
    @param account The account.
    @param witness Its witness.
    @param latest The latest epoch.
    """
    assert account >= constants.FIRST_ACCOUNT, "takeover: reserved account"
    assert latest.fresh, "takeover: oracle is not fresh"
    state: ILedger.Account = engine._account(account)
    assert engine._all_live(state.head), "takeover: underlying is not live"
    content: margin.Content = engine._believe(state, witness, latest.epoch, latest.account_root)
    found: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    if found.pv >= 0:
        assert block.timestamp >= staticcall engine.oracle.grace_until(), "takeover: grace after an outage"
    return (state, found, content.cost & constants.MASK_128)


@view
@internal
def _terms(account: uint256, found: IMargin.Margin, latest: IRiskOracle.Latest) -> (uint256, uint256, uint256):
    """
    @dev Price, and what insurance and shortfall pay in; the formulas are in the file's head.
    @param account The account.
    @param found Its margin.
    @param latest The latest epoch.
    """
    word: uint256 = self._auctions[account]
    assert word != 0, "takeover: no auction"
    assert not self._was_out(word, latest), "takeover: outage, start anew"
    elapsed: uint256 = latest.live + 1 - (word >> 64)
    worth: uint256 = convert(max(found.pv, 0), uint256)
    debt: uint256 = convert(max(-found.pv, 0), uint256)
    if elapsed <= length:
        price: uint256 = worth * FIRST_PRICE * (length - elapsed) // (constants.ONE * length)
        if debt == 0:
            return (price, 0, 0)
        insurance: uint256 = 0
        shortfall: uint256 = 0
        insurance, shortfall = self._covered(debt, 0)
        return (0, insurance, shortfall)
    cap: uint256 = convert(claim._incentive(found.risk + found.closeout), uint256)
    incentive: uint256 = cap * min(elapsed - length, length) // length
    insurance: uint256 = 0
    shortfall: uint256 = 0
    insurance, shortfall = self._covered(debt, incentive - min(worth, incentive))
    return (0, insurance, shortfall)


@view
@internal
def _covered(debt: uint256, incentive: uint256) -> (uint256, uint256):
    """
    @dev What insurance pays of a debt and an incentive, and what of the debt is left as shortfall.
    @param debt Micro-USD.
    @param incentive Micro-USD.
    """
    funds: uint256 = convert(max(engine._account(constants.INSURANCE).cash, 0), uint256)
    insurance: uint256 = min(debt + incentive, funds)
    return (insurance, debt - min(insurance, debt))


@pure
@internal
def _was_out(word: uint256, latest: IRiskOracle.Latest) -> bool:
    """
    @dev Whether the oracle was not live for a while since the auction's start: then its clock fell behind the world's.
    @param word The auction.
    @param latest The latest epoch.
    """
    return latest.timestamp - (word & constants.MASK_64) != latest.live + 1 - (word >> 64)
