# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title ClearingHouse
@license GNU Affero General Public License v3.0 only
@notice Where owners act: deposit, withdraw, trade by two signed orders; and where a margin is checked by leaf or checkpoint.

        From HEALTHY an action must end HEALTHY. Below, a trade must raise MM excess and not lower IM excess, and an account
        has one an epoch. Under an oracle that is not fresh a trade must shrink both positions and raise nobody's requirement.
        The price of a trade lies within a band around the mark, and a withdrawal from an account with positions needs an
        epoch after the account's last trade, so that nobody wins on an old mark and leaves the loss to others.
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle.
@custom:kill The registry's guardian can pause trades that open risk, nothing else. When the oracle is not fresh, deposits,
        trades that shrink, and the withdrawals of accounts without positions go on; when an underlying is not live, trades in
        it must shrink both positions.
"""

from snekmate.utils import eip712_domain_separator

from interfaces import IClearingHouse
from interfaces import ILedger
from interfaces import IMargin
from interfaces import IRegistry
from interfaces import IRiskOracle
from lib import constants
from lib import engine
from lib import instrument
from lib import kept_policy
from lib import margin
from lib import merkle
from lib import orders
from lib import owner_rule
from lib import risk_array

implements: IClearingHouse
initializes: engine
initializes: eip712_domain_separator
initializes: orders[engine := engine, eip712_domain_separator := eip712_domain_separator]

exports: (
    engine.ledger,
    engine.oracle,
    eip712_domain_separator.eip712Domain,
    orders.cancel,
    orders.filled,
    orders.order_hash,
)


_PRICE_LIMIT: constant(int256) = 2**64
_ONE_E6: constant(uint256) = 1_000_000


registry: public(immutable(IRegistry))

# @dev Oldest age of an epoch under which risk is opened, seconds: half of what counts as fresh, but at least a slot.
young_age: public(immutable(uint256))


@deploy
def __init__(ledger: address, oracle: address, registry_: address):
    """
    @notice Bind the clearing house to its ledger, oracle and registry for ever.
    @param ledger The ledger, which must name this contract as an engine.
    @param oracle The risk oracle.
    @param registry_ The registry of instruments and underlyings.
    """
    assert registry_ != empty(address), "house: address is zero"
    engine.__init__(ledger, oracle)
    eip712_domain_separator.__init__("Ballast", "1")
    registry = IRegistry(registry_)
    young_age = max(staticcall engine.oracle.max_age() // 2, staticcall engine.oracle.slot_seconds())


# Anyone


@external
def deposit(account: uint256, amount: uint256):
    """
    @notice Pay settlement tokens into an account's cash: anyone, in any state. Approve the ledger first.
    @dev Changes no witness, so a deposit cannot spoil a liquidation.
    @param account An account that exists, reserved ones included.
    @param amount Micro-USD, not zero.
    """
    engine._enter()
    extcall engine.ledger.deposit(account, msg.sender, amount)
    engine._leave()


@external
def trade(
    maker: IClearingHouse.Order,
    maker_signature: Bytes[orders.MAX_SIGNATURE],
    taker: IClearingHouse.Order,
    taker_signature: Bytes[orders.MAX_SIGNATURE],
    lots: uint256,
    instrument_: IMargin.Leg,
    proof: DynArray[bytes32, constants.MAX_DEPTH],
    maker_witness: IMargin.Witness,
    taker_witness: IMargin.Witness,
):
    """
    @notice Fill two signed orders against each other at the maker's price. Anyone may bring them.
    @dev Both accounts are judged before, and after the fee. A trade must shrink both positions without turning them if the
         instrument is not open, is delisted or has expired by the clock, its underlying or the oracle is not live, the epoch
         is older than `young_age`, the underlying's feed could not be used when it was posted, or opening risk is paused.
    @param maker The order whose price is taken.
    @param maker_signature Its signature by the account's owner.
    @param taker The order on the other side.
    @param taker_signature Its signature by the account's owner.
    @param lots Lots to fill, not zero.
    @param instrument_ The instrument's leaf under the latest epoch.
    @param proof The leaf's proof.
    @param maker_witness Witness of the maker's account.
    @param taker_witness Witness of the taker's account.
    """
    engine._enter()
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest()
    leaf: bytes32 = keccak256(keccak256(abi_encode(instrument_)))
    assert merkle._root(leaf, proof) == latest.instrument_root, "house: instrument not proven"

    # The orders match.
    id: uint256 = instrument._id(instrument_.meta)
    assert maker.account != taker.account, "house: one account on both sides"
    assert maker.instrument == id and taker.instrument == id, "house: order names another instrument"
    buys: bool = maker.lots > 0
    assert buys != (taker.lots > 0), "house: orders on the same side"
    assert lots != 0 and lots < constants.SUM_LIMIT, "house: lots out of range"
    price: int256 = maker.price
    assert price >= 0 and price < _PRICE_LIMIT, "house: price out of range"
    assert (price >= taker.price) if buys else (price <= taker.price), "house: price beyond the taker's limit"

    # The owners signed them, and they have lots left.
    one: ILedger.Account = empty(ILedger.Account)
    two: ILedger.Account = empty(ILedger.Account)
    maker_before: int256 = 0
    taker_before: int256 = 0
    checkpoint_one: bytes32 = empty(bytes32)
    checkpoint_two: bytes32 = empty(bytes32)
    one, maker_before, checkpoint_one = staticcall engine.ledger.side(maker.account, id)
    two, taker_before, checkpoint_two = staticcall engine.ledger.side(taker.account, id)
    change: int256 = convert(lots, int256) if buys else -convert(lots, int256)
    maker_shrinks: bool = self._shrinks(maker_before, change)
    taker_shrinks: bool = self._shrinks(taker_before, -change)
    maker_order: bytes32 = orders._fill(maker, maker_signature, lots, one, maker_shrinks)
    taker_order: bytes32 = orders._fill(taker, taker_signature, lots, two, taker_shrinks)

    # Terms and fee.
    fee: uint256 = 0
    funding: int256 = 0
    word: uint256 = 0
    share: uint256 = 0
    fee, funding, word, share = self._terms(
        instrument_,
        price,
        lots,
        latest,
        maker_shrinks and taker_shrinks,
    )
    cash: int256 = convert(lots, int256) * (price - funding)

    # What the accounts were worth.
    engine._check_witness(one, maker_witness, latest.epoch, latest.account_root, checkpoint_one)
    engine._check_witness(two, taker_witness, latest.epoch, latest.account_root, checkpoint_two)
    content_one: margin.Content = margin.Content(head=one.head, cost=maker_witness.cost, vectors=maker_witness.vectors)
    content_two: margin.Content = margin.Content(head=two.head, cost=taker_witness.cost, vectors=taker_witness.vectors)
    was_one: IMargin.Margin = margin._evaluate(content_one, one.cash, latest.margin)
    was_two: IMargin.Margin = margin._evaluate(content_two, two.cash, latest.margin)
    healthy_one: bool = margin._is_healthy(content_one, was_one)
    healthy_two: bool = margin._is_healthy(content_two, was_two)

    # The trade, and the fee of both.
    last_one: uint256 = one.last_trade_epoch
    last_two: uint256 = two.last_trade_epoch
    if buys:
        two, one = extcall engine.ledger.exchange(taker.account, maker.account, id, lots, cash, latest.epoch, fee)
    else:
        one, two = extcall engine.ledger.exchange(maker.account, taker.account, id, lots, cash, latest.epoch, fee)

    if not (maker_shrinks and taker_shrinks):
        self._limit(word, share, 0 if maker_shrinks else one.head, 0 if taker_shrinks else two.head)

    # What they are worth now.
    content_one = margin._apply(content_one, instrument_, change, maker_before, one.head)
    content_two = margin._apply(content_two, instrument_, -change, taker_before, two.head)
    again: bool = last_one >= latest.epoch
    now: IMargin.Margin = margin._evaluate(content_one, one.cash, latest.margin)
    owner_rule._judge(was_one, healthy_one, now, margin._collateral(content_one), again, latest.fresh)
    again = last_two >= latest.epoch
    now = margin._evaluate(content_two, two.cash, latest.margin)
    owner_rule._judge(was_two, healthy_two, now, margin._collateral(content_two), again, latest.fresh)
    log IClearingHouse.Filled(
        maker=maker.account,
        taker=taker.account,
        instrument=id,
        maker_order=maker_order,
        taker_order=taker_order,
        maker_buys=buys,
        lots=lots,
        price=price,
        fee=fee,
    )
    extcall engine.ledger.finish(
        maker.account,
        engine._checkpoint(one, content_one, latest.epoch),
        taker.account,
        engine._checkpoint(two, content_two, latest.epoch),
    )


# Owners


@external
def withdraw(account: uint256, amount: uint256, to: address, witness: IMargin.Witness) -> uint256:
    """
    @notice Pay cash out in settlement tokens. The account must end HEALTHY. While there is debt that nobody can pay, each
            withdrawal bears its part (Ledger.vy).
    @dev With positions it needs a fresh epoch after the account's last trade, in which all its underlyings are live. Without
         positions cash is all there is, and it may always leave.
    @param account The caller's account.
    @param amount Micro-USD by which its cash falls, not zero.
    @param to Who gets the tokens.
    @param witness Witness of the account; empty without positions.
    @return uint256 Micro-USD paid.
    """
    engine._enter()
    state: ILedger.Account = engine._account(account)
    assert state.owner == msg.sender, "house: not the owner"
    assert amount < 2**127, "house: amount out of range"
    cash: int256 = state.cash - convert(amount, int256)
    if margin._open_positions(state.head) == 0:
        engine._believe(state, witness, 0, empty(bytes32))
        assert cash >= 0, "house: below initial margin"
    else:
        latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
        assert latest.fresh, "house: oracle is not fresh"
        assert latest.epoch > state.last_trade_epoch, "house: no epoch since the last trade"
        assert engine._all_live(state.head), "house: underlying is not live"
        content: margin.Content = engine._believe(state, witness, latest.epoch, latest.account_root)
        after: IMargin.Margin = margin._evaluate(content, cash, latest.margin)
        assert after.im_excess >= 0, "house: below initial margin"
        assert after.pv >= margin._collateral(content), "house: quote equity below zero"
    paid: uint256 = extcall engine.ledger.withdraw(account, to, amount)
    engine._leave()
    return paid


# Views


@view
@external
def check(account: uint256, witness: IMargin.Witness) -> IMargin.Margin:
    """
    @notice An account's margin under the latest epoch, by leaf or checkpoint.
    @param account The account.
    @param witness Its witness; empty without positions.
    @return Margin The account's margin.
    """
    state: ILedger.Account = engine._holdings(account)
    epoch: uint256 = 0
    root: bytes32 = empty(bytes32)
    parameters: uint256 = 0
    checkpoint: bytes32 = empty(bytes32)
    if len(witness.proof) != 0:
        root, parameters = staticcall engine.oracle.account_ground()
    else:
        checkpoint = staticcall engine.ledger.checkpoint(account)
        latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
        epoch = latest.epoch
        root = latest.account_root
        parameters = latest.margin
    engine._check_witness(state, witness, epoch, root, checkpoint)
    content: margin.Content = margin.Content(head=state.head, cost=witness.cost, vectors=witness.vectors)
    return margin._evaluate(content, state.cash, parameters)


# Internal


@view
@internal
def _terms(
    leg: IMargin.Leg, price: int256, lots: uint256, latest: IRiskOracle.Latest, shrinks: bool
) -> (uint256, int256, uint256, uint256):
    """
    @dev Whether an instrument may be traded at a price, and at what fee. With index price `I`, `L` lots per unit, mark `m`:

             |price - m| <= band * I / L + |m| / 2        fee = ceil(fee rate * I * lots / L)

         compared in integers, multiplied out. `m` is the value in scenario 0, to which a perpetual's `F` is added.
    @param leg The instrument's proven leaf.
    @param price Micro-USD per lot, below 2^64.
    @param lots Lots, below 2^32.
    @param latest The latest epoch.
    @param shrinks Whether both positions shrink.
    @return uint256, int256, uint256, uint256 Fee of each side in micro-USD; what a perpetual's price is reduced by, `F`, in
            micro-USD per lot; the underlying's word; most lots of an account as a share of its depth, 1e-6.
    """
    id: uint256 = instrument._id(leg.meta)
    kind: uint256 = instrument._kind(id)
    assert kind >= constants.PERPETUAL and kind <= constants.PUT, "house: not a derivative"
    policy: address = empty(address)
    standing: uint256 = 0
    paused: bool = False
    policy, standing, paused = staticcall registry.standing(id, not shrinks)
    assert standing != 0, "house: instrument not listed"
    word: uint256 = staticcall engine.oracle.mark(instrument._underlying(id))
    if not shrinks:
        assert latest.fresh, "house: oracle is not fresh"
        assert block.timestamp <= latest.timestamp + young_age, "house: epoch too old for new risk"
        assert instrument._status(leg.meta) == constants.OPEN, "house: close-only"
        assert (word >> 72) & constants.MASK_8 == constants.LIVE, "house: close-only"
        expiry: uint256 = instrument._expiry(id)
        assert expiry == 0 or block.timestamp < expiry, "house: close-only"
        assert standing == 1, "house: close-only"
        assert (word >> 64) & constants.MASK_8 <= constants.FEED_AGREES, "house: feed does not agree"
        assert not paused, "house: opening risk is paused"

    listed: uint256 = 0
    share: uint256 = 0
    listed, share = kept_policy._trade_terms(policy, instrument._underlying(id))
    lots_per_unit: uint256 = (listed >> 208) & constants.MASK_32
    index: uint256 = (word >> 176) & constants.MASK_64
    funding: int256 = 0
    if kind == constants.PERPETUAL:
        funding = convert(convert(word << 80, bytes32), int256) >> 192
    mark: int256 = risk_array._mark(leg.array) + funding
    scale: uint256 = constants.ONE * lots_per_unit
    distance: uint256 = convert(abs(price - mark), uint256)
    band: uint256 = ((latest.margin >> 224) & constants.MASK_16) * index
    assert 2 * scale * distance <= 2 * band + scale * convert(abs(mark), uint256), "house: price outside the band"
    fee: uint256 = ((latest.margin >> 208) & constants.MASK_16) * index * lots
    return (fee + scale - 1) // scale, funding, listed, share


@view
@internal
def _limit(listed: uint256, share: uint256, one: uint256, two: uint256):
    """
    @dev An account that opens holds at most a share of the underlying's depth. Lots of its other underlyings count too, so the
         sum that the ledger keeps serves, and the limit is never less strict than by underlying. If both open, open interest
         may have risen; if one shrinks, it has not.
    @param listed The underlying's word: depth in bits 79..32, limit of open interest in bits 31..16.
    @param share Most lots of an account as a share of depth, 1e-6.
    @param one Head after the trade, `sum |q|` in its low bits, of an account that opens; else zero.
    @param two The other's likewise.
    """
    depth: uint256 = (listed >> 32) & constants.MASK_48
    most: uint256 = depth * share // _ONE_E6
    assert one & constants.MASK_64 <= most and two & constants.MASK_64 <= most, "house: position limit"
    if one != 0 and two != 0:
        most = depth * ((listed >> 16) & constants.MASK_16) // 100
        assert staticcall engine.ledger.open_interest(listed >> 240) <= most, "house: open interest limit"


@pure
@internal
def _shrinks(before: int256, change: int256) -> bool:
    """
    @dev Whether a change makes a position smaller without turning it.
    @param before Signed lots before.
    @param change Signed lots.
    """
    if before > 0:
        return change < 0 and change >= -before
    return change > 0 and change <= -before
