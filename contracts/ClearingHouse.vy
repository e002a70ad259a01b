# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title ClearingHouse
@license GNU Affero General Public License v3.0 only
@notice Where owners act: deposit, withdraw, trade by two signed orders, and check an account's margin by any witness.

        From HEALTHY (IM excess >= 0) an action must end HEALTHY. Below, a trade must raise MM excess and not lower IM excess.
        The price of a trade lies within a band around the mark, and a withdrawal from an account with positions needs an
        epoch after the account's last trade, so that nobody wins on an old mark and leaves the loss to others.
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle.
@custom:kill Nothing here can be stopped. When the oracle is not fresh, deposits and the withdrawals of accounts without
        positions go on; when an underlying is not live, trades in it must shrink both positions.
"""

from snekmate.utils import ecdsa
from snekmate.utils import eip712_domain_separator

from interfaces import IClearingHouse
from interfaces import ILedger
from interfaces import IMargin
from interfaces import IRegistry
from interfaces import IRiskOracle
from lib import constants
from lib import engine
from lib import instrument
from lib import margin
from lib import merkle
from lib import risk_array

implements: IClearingHouse
initializes: engine
initializes: eip712_domain_separator

exports: (
    engine.ledger,
    engine.oracle,
    eip712_domain_separator.eip712Domain,
)


_ORDER_TYPE: constant(bytes32) = keccak256(
    "Order(uint256 account,uint256 version,uint256 instrument,int256 lots,int256 price,uint256 expiry,uint256 salt)"
)
_PRICE_LIMIT: constant(int256) = 2**64


registry: public(immutable(IRegistry))


# Lots filled so far by hash of the signed order (`order_hash`).
# Invariant `no_overfill`: filled <= abs(order.lots).
filled: public(HashMap[bytes32, uint256])


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
    maker_signature: Bytes[65],
    taker: IClearingHouse.Order,
    taker_signature: Bytes[65],
    lots: uint256,
    instrument_: IMargin.Leg,
    proof: DynArray[bytes32, constants.MAX_DEPTH],
    maker_witness: IMargin.Witness,
    taker_witness: IMargin.Witness,
):
    """
    @notice Fill two signed orders against each other at the maker's price. Anyone may bring them.
    @dev Both accounts are judged before, and after the fee. A trade in an instrument that is not open, has expired by the
         clock, or whose underlying is not live must shrink both positions without turning them.
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
    assert latest.fresh, "house: oracle is not fresh"
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
    one: ILedger.Account = engine._account(maker.account)
    two: ILedger.Account = engine._account(taker.account)
    maker_order: bytes32 = self._fill(maker, maker_signature, lots, one)
    taker_order: bytes32 = self._fill(taker, taker_signature, lots, two)

    # Terms and fee.
    maker_before: int256 = engine._quantity(maker.account, id)
    taker_before: int256 = engine._quantity(taker.account, id)
    change: int256 = convert(lots, int256) if buys else -convert(lots, int256)
    fee: uint256 = 0
    funding: int256 = 0
    fee, funding = self._terms(
        instrument_,
        price,
        lots,
        latest.margin,
        self._shrinks(maker_before, change) and self._shrinks(taker_before, -change),
    )
    cash: int256 = convert(lots, int256) * (price - funding)

    # What the accounts were worth.
    content_one: margin.Content = engine._believe(one, maker_witness, latest.epoch, latest.account_root)
    content_two: margin.Content = engine._believe(two, taker_witness, latest.epoch, latest.account_root)
    was_one: IMargin.Margin = margin._evaluate(content_one, one.cash, latest.margin)
    was_two: IMargin.Margin = margin._evaluate(content_two, two.cash, latest.margin)

    # The trade, and the fee of both.
    if buys:
        two, one = extcall engine.ledger.move_position(taker.account, maker.account, id, lots, cash, latest.epoch)
    else:
        one, two = extcall engine.ledger.move_position(maker.account, taker.account, id, lots, cash, latest.epoch)
    engine._move_cash(maker.account, constants.INSURANCE, fee, constants.TRADE_FEE)
    engine._move_cash(taker.account, constants.INSURANCE, fee, constants.TRADE_FEE)

    # What they are worth now.
    content_one = margin._apply(content_one, instrument_, change, maker_before, one.head)
    content_two = margin._apply(content_two, instrument_, -change, taker_before, two.head)
    paid: int256 = convert(fee, int256)
    self._judge(was_one, margin._evaluate(content_one, one.cash - paid, latest.margin))
    self._judge(was_two, margin._evaluate(content_two, two.cash - paid, latest.margin))
    engine._store(one, content_one, latest.epoch)
    engine._store(two, content_two, latest.epoch)
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
    engine._leave()


@external
def check_full(
    account: uint256,
    legs: DynArray[IMargin.Leg, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
) -> IMargin.Margin:
    """
    @notice Build an account's margin content from all its positions and store its checkpoint, so that the next actions
            under this epoch can name it. Anyone may call; it always works, however the account's leaf stands.
    @dev The legs are ascending, so none is repeated; each is a position of the account, and they are as many as it has open,
         so none is left out.
    @param account The account.
    @param legs Leaves of all instruments in which it has a position, ids ascending.
    @param proof Hashes of the multiproof.
    @param flags Flags of the multiproof, packed.
    @return Margin The account's margin.
    """
    engine._enter()
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_instruments()
    state: ILedger.Account = engine._holdings(account)
    count: uint256 = margin._open_positions(state.head)
    assert count != 0, "house: account has no positions"
    assert len(legs) == count, "house: not all positions"

    ids: DynArray[uint256, constants.MAX_POSITIONS] = []
    last: uint256 = 0
    for leg: IMargin.Leg in legs:
        id: uint256 = instrument._id(leg.meta)
        assert id > last, "house: legs not ascending"
        last = id
        ids.append(id)
    quantities: DynArray[int256, constants.MAX_POSITIONS] = staticcall engine.ledger.quantities(account, ids)

    content: margin.Content = margin.Content(head=state.head, cost=0, vectors=[])
    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    closeout: uint256 = 0
    sums: uint256[10] = empty(uint256[10])
    net: uint256 = 0
    underlying: uint256 = instrument._underlying(ids[0])
    i: uint256 = 0
    for leg: IMargin.Leg in legs:
        leaves[i] = keccak256(keccak256(abi_encode(leg)))
        quantity: int256 = quantities[i]
        assert quantity != 0, "house: no such position"
        i = unsafe_add(i, 1)
        if leg.meta >> 240 != underlying:
            underlying = leg.meta >> 240
            content = margin._with_vector(content, sums, net)
            sums = empty(uint256[10])
            net = 0
        closeout = unsafe_add(closeout, instrument._closeout(leg.meta, quantity))
        lots: uint256 = convert(convert(quantity, bytes32), uint256)
        sums = risk_array._accumulate(sums, leg.array, lots)
        net = unsafe_add(net, lots)
    content = margin._with_vector(content, sums, net)
    assert merkle._root_of_many(leaves, count, proof, flags) == latest.instrument_root, "house: legs not proven"
    content.cost = closeout << 128

    found: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    engine._store(state, content, latest.epoch)
    log IClearingHouse.FullyChecked(account=account, epoch=latest.epoch, margin=found)
    engine._leave()
    return found


# Owners


@external
def withdraw(account: uint256, amount: uint256, to: address, witness: IMargin.Witness):
    """
    @notice Pay cash out in settlement tokens. The account must end HEALTHY.
    @dev With positions it needs a fresh epoch after the account's last trade, in which all its underlyings are live. Without
         positions cash is all there is, and it may always leave.
    @param account The caller's account.
    @param amount Micro-USD, not zero.
    @param to Who gets the tokens.
    @param witness Witness of the account; empty without positions.
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
    extcall engine.ledger.withdraw(account, to, amount)
    engine._leave()


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
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
    state: ILedger.Account = engine._holdings(account)
    content: margin.Content = engine._believe(state, witness, latest.epoch, latest.account_root)
    return margin._evaluate(content, state.cash, latest.margin)


@view
@external
def order_hash(order: IClearingHouse.Order) -> bytes32:
    """
    @notice What an owner signs for an order (EIP-712).
    @param order The order.
    @return bytes32 The digest.
    """
    return self._order_hash(order)


# Internal


@view
@internal
def _order_hash(order: IClearingHouse.Order) -> bytes32:
    """
    @dev EIP-712 digest of an order: good for this chain and this contract only.
    @param order The order.
    """
    return eip712_domain_separator._hash_typed_data_v4(keccak256(abi_encode(_ORDER_TYPE, order)))


@internal
def _fill(
    order: IClearingHouse.Order, signature: Bytes[65], lots: uint256, account: ILedger.Account
) -> bytes32:
    """
    @dev Fill some of an order that the account's owner signed.
    @param order The order.
    @param signature The signature.
    @param lots Lots to fill.
    @param account The order's account.
    @return bytes32 Hash of the order.
    """
    assert block.timestamp <= order.expiry, "house: order expired"
    assert order.version == account.version, "house: order for another version"
    hash: bytes32 = self._order_hash(order)
    signer: address = ecdsa._recover_sig(hash, signature)
    assert signer != empty(address) and signer == account.owner, "house: not signed by the owner"
    limit: int256 = order.lots if order.lots > 0 else unsafe_sub(0, order.lots)
    total: uint256 = self.filled[hash] + lots
    assert total <= convert(convert(limit, bytes32), uint256), "house: order overfilled"
    self.filled[hash] = total
    return hash


@view
@internal
def _terms(
    leg: IMargin.Leg, price: int256, lots: uint256, parameters: uint256, shrinks: bool
) -> (uint256, int256):
    """
    @dev Whether an instrument may be traded at a price, and at what fee. With index price `I`, `L` lots per unit, mark `m`:

             |price - m| <= band * I / L + |m| / 2        fee = ceil(fee rate * I * lots / L)

         compared in integers, multiplied out. `m` is the value in scenario 0, to which a perpetual's `F` is added.
    @param leg The instrument's proven leaf.
    @param price Micro-USD per lot, below 2^64.
    @param lots Lots, below 2^32.
    @param parameters Margin parameters of the epoch.
    @param shrinks Whether both positions shrink.
    @return uint256, int256 Fee of each side in micro-USD; what a perpetual's price is reduced by, `F`, in micro-USD per lot.
    """
    id: uint256 = instrument._id(leg.meta)
    kind: uint256 = instrument._kind(id)
    assert kind >= constants.PERPETUAL and kind <= constants.PUT, "house: not a derivative"
    assert staticcall registry.is_listed(id), "house: instrument not listed"
    word: uint256 = staticcall engine.oracle.mark(instrument._underlying(id))
    expiry: uint256 = instrument._expiry(id)
    opening: bool = instrument._status(leg.meta) == constants.OPEN
    opening = opening and (expiry == 0 or block.timestamp < expiry)
    opening = opening and (word >> 72) & constants.MASK_8 == constants.LIVE
    assert opening or shrinks, "house: close-only"

    lots_per_unit: uint256 = ((staticcall registry.underlying(instrument._underlying(id))) >> 208) & constants.MASK_32
    index: uint256 = (word >> 176) & constants.MASK_64
    funding: int256 = 0
    if kind == constants.PERPETUAL:
        funding = convert(convert(word << 80, bytes32), int256) >> 192
    mark: int256 = risk_array._mark(leg.array) + funding
    scale: uint256 = constants.ONE * lots_per_unit
    distance: uint256 = convert(abs(price - mark), uint256)
    band: uint256 = ((parameters >> 224) & constants.MASK_16) * index
    assert 2 * scale * distance <= 2 * band + scale * convert(abs(mark), uint256), "house: price outside the band"
    fee: uint256 = ((parameters >> 208) & constants.MASK_16) * index * lots
    return (fee + scale - 1) // scale, funding


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


@pure
@internal
def _judge(before: IMargin.Margin, after: IMargin.Margin):
    """
    @dev From HEALTHY an action ends HEALTHY; below, it raises MM excess and does not lower IM excess.
    @param before The account's margin before.
    @param after And after, its fee paid.
    """
    if before.im_excess >= 0:
        assert after.im_excess >= 0, "house: below initial margin"
    else:
        assert after.mm_excess > before.mm_excess, "house: must raise maintenance excess"
        # Else an owner could sell to himself off the mark, and leave the debt to insurance.
        assert after.pv >= min(before.pv, 0), "house: must not end bankrupt"
        assert after.im_excess >= before.im_excess, "house: must not lower initial excess"
