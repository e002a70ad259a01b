# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title Settlement
@license GNU Affero General Public License v3.0 only
@notice The end of instruments: at expiry, after a delisting, and when the oracle is gone for good. In each case a lot's price
        is written once, and from then on anyone may settle any account's positions at it against the clearing account, in
        any order and any portions.

            expiry     round(payoff(price) / lots per unit), ties up; payoff: price, max(price - strike, 0), max(strike - price, 0)
            delisting  the mark of a fresh epoch, after the registry's delay
            exit       the committed risk array at the feed's price (lib/fallback.vy)

        A committed settlement price becomes final after a dispute delay of oracle-live time; another price in a later epoch
        replaces it and the delay begins again; a price of a revoked epoch, or one far from the feed's at expiry, never
        becomes final. After `exit_delay` without a final price the feed's counts, and if there is no feed either, after
        twice that, the last committed index.
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle,
        and after `exit_delay` its feeds.
@custom:kill Nothing here can be stopped. An exit ends an underlying for good: all its positions settle at one price.
"""

from interfaces import IMargin
from interfaces import IRegistry
from interfaces import IRiskOracle
from interfaces import ISettlement
from lib import constants
from lib import engine
from lib import fallback
from lib import instrument
from lib import kept_policy
from lib import merkle
from lib import risk_array

implements: ISettlement
initializes: engine

exports: (
    engine.ledger,
    engine.oracle,
)


COMMITTEE: constant(uint256) = 1  # where a final price comes from
FEED_AT_EXPIRY: constant(uint256) = 2
FEED_NOW: constant(uint256) = 3
LAST_INDEX: constant(uint256) = 4

# @dev How long after expiry the feed's price may be recorded, and the delay before a committed price is final; seconds, the
#      second of oracle-live time.
RECORD_WINDOW: constant(uint256) = 1800
DISPUTE_DELAY: constant(uint256) = 7200
DISPUTE_AT: constant(uint256) = kept_policy.SHOCKS_AT + 32 * 12  # how far a price may be from the feed's, 1e-6
ONE_E6: constant(uint256) = 1_000_000
FINAL: constant(uint256) = 2**255
BIAS: constant(int256) = 2**127
CALL: constant(uint256) = 3


registry: public(immutable(IRegistry))

# By underlying << 32 | expiry. Final: bit 255, lots per unit (bits 223..192) and price (63..0). Proposed: oracle-live clock
# (191..128), epoch (127..64) and price. Invariant `write_once`: a word with bit 255 never changes.
_prices: HashMap[uint256, uint256]

# Hash of the header that proposed it.
_stated: HashMap[uint256, bytes32]

# The feed's price at expiry, zero if not recorded.
feed_price_at: public(HashMap[uint256, uint256])

# Price of a lot of a delisted or exited instrument: bit 255 and the price plus 2^127. Invariant `write_once`: as above.
_lots: HashMap[uint256, uint256]

# How each underlying is exited; no price if it is not. Invariant `write_once`: as above.
exits: public(HashMap[uint256, ISettlement.Exit])


@deploy
def __init__(ledger: address, oracle: address, registry_: address):
    """
    @notice Bind the settlement to its ledger, oracle and registry for ever.
    @param ledger The ledger, which must name this contract as an engine.
    @param oracle The risk oracle.
    @param registry_ The registry.
    """
    assert registry_ != empty(address), "settlement: address is zero"
    engine.__init__(ledger, oracle)
    registry = IRegistry(registry_)


# Anyone: prices


@external
def record_feed(underlying: uint256, expiry: uint256):
    """
    @notice Keep the independent feed's price as of an expiry, within half an hour after it.
    @param underlying The underlying.
    @param expiry The expiry, seconds.
    """
    assert underlying <= constants.MASK_16 and expiry <= constants.MASK_32, "settlement: no such expiry"
    assert block.timestamp >= expiry, "settlement: not expired"
    assert block.timestamp <= expiry + RECORD_WINDOW, "settlement: too late to record"
    key: uint256 = underlying << 32 | expiry
    assert self.feed_price_at[key] == 0, "settlement: already recorded"
    price: uint256 = 0
    usable: bool = False
    price, usable = self._feed(underlying)
    assert usable, "settlement: feed is not usable"
    self.feed_price_at[key] = price
    log ISettlement.FeedRecorded(underlying=underlying, expiry=expiry, price=price)


@external
def propose_price(settlement: uint256, proof: DynArray[bytes32, constants.MAX_DEPTH]):
    """
    @notice Show that the latest epoch states a settlement price, which begins its dispute delay. Another price than the one
            proposed, or the same after its epoch was revoked, takes its place and the delay begins again.
    @param settlement The settlement leaf: underlying, expiry, price.
    @param proof Its proof under the latest instrument root.
    """
    underlying: uint256 = settlement >> 240
    expiry: uint256 = (settlement >> 208) & constants.MASK_32
    price: uint256 = (settlement >> 144) & constants.MASK_64
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_instruments()
    assert latest.fresh, "settlement: oracle is not fresh"
    assert merkle._root(keccak256(keccak256(abi_encode(settlement))), proof) == latest.instrument_root, "settlement: not proven"
    assert settlement & (2**144 - 1) == 0 and price != 0, "settlement: malformed leaf"
    assert latest.timestamp >= expiry, "settlement: not expired"
    assert self._is_live(underlying), "settlement: underlying is not live"
    key: uint256 = underlying << 32 | expiry
    word: uint256 = self._prices[key]
    assert word & FINAL == 0, "settlement: price is final"
    stands: bool = word != 0 and self._stands(key, (word >> 64) & constants.MASK_64)
    assert not stands or word & constants.MASK_64 != price, "settlement: already proposed"
    self._prices[key] = latest.live << 128 | latest.epoch << 64 | price
    self._stated[key] = staticcall engine.oracle.header_hash(latest.epoch)
    log ISettlement.PriceProposed(
        underlying=underlying, expiry=expiry, price=price, epoch=latest.epoch, live=latest.live
    )


@external
def finalize_price(underlying: uint256, expiry: uint256):
    """
    @notice Make a proposed price final after its dispute delay.
    @dev Refused while the oracle is not fresh, so that a price is never made final by those who stopped the oracle.
    @param underlying The underlying.
    @param expiry The expiry, seconds.
    """
    key: uint256 = underlying << 32 | expiry
    word: uint256 = self._prices[key]
    assert word & FINAL == 0, "settlement: price is final"
    assert word != 0, "settlement: no price proposed"
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_instruments()
    assert latest.fresh, "settlement: oracle is not fresh"
    assert latest.live >= (word >> 128) + DISPUTE_DELAY, "settlement: dispute delay is not over"
    assert self._stands(key, (word >> 64) & constants.MASK_64), "settlement: epoch was revoked"
    price: uint256 = word & constants.MASK_64
    feed: uint256 = self.feed_price_at[key]
    if feed != 0:
        apart: uint256 = price - feed if price > feed else feed - price
        limit: uint256 = kept_policy._word(staticcall registry.policy_code(), DISPUTE_AT)
        assert apart * ONE_E6 <= feed * limit, "settlement: price is disputed"
    self._finalize(underlying, expiry, price, COMMITTEE)


@external
def last_resort(underlying: uint256, expiry: uint256):
    """
    @notice Make a price final for which the committee has none that stands, `exit_delay` after expiry: the feed's at expiry,
            else the feed's now, else, after twice the delay, the last committed index.
    @param underlying The underlying.
    @param expiry The expiry, seconds, not zero.
    """
    assert expiry != 0, "settlement: no such expiry"
    assert self._prices[underlying << 32 | expiry] & FINAL == 0, "settlement: price is final"
    delay: uint256 = staticcall engine.oracle.exit_delay()
    assert block.timestamp >= expiry + delay, "settlement: too early"
    price: uint256 = self.feed_price_at[underlying << 32 | expiry]
    source: uint256 = FEED_AT_EXPIRY
    if price == 0:
        price, source = self._price_now(underlying, block.timestamp >= expiry + 2 * delay)
    self._finalize(underlying, expiry, price, source)


@external
def fix_delisted(leg: IMargin.Leg, proof: DynArray[bytes32, constants.MAX_DEPTH]):
    """
    @notice Fix a delisted instrument's price at the mark of the latest epoch, after the registry's delay in which it could
            be closed.
    @param leg The instrument's leaf.
    @param proof Its proof under the latest instrument root.
    """
    id: uint256 = instrument._id(leg.meta)
    since: uint256 = staticcall registry.delisted_at(id)
    assert since != 0, "settlement: not delisted"
    assert block.timestamp >= since + staticcall registry.delay(), "settlement: too early"
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_instruments()
    assert latest.fresh, "settlement: oracle is not fresh"
    assert self._is_live(instrument._underlying(id)), "settlement: underlying is not live"
    self._fix(leg, proof, latest.instrument_root, risk_array._mark(leg.array), True)


@external
def begin_exit(underlying: uint256):
    """
    @notice End an underlying `exit_delay` after the oracle stopped: everything in it settles at the feed's price of now; if
            there is no feed, after twice that, at the last committed index. It can only be done once and not be undone.
    @param underlying The underlying.
    """
    assert self.exits[underlying].price == 0, "settlement: exit has begun"
    assert staticcall engine.oracle.state() != constants.ORACLE_LIVE, "settlement: oracle is live"
    since: uint256 = staticcall engine.oracle.stale_since()
    delay: uint256 = staticcall engine.oracle.exit_delay()
    assert block.timestamp >= since + delay, "settlement: too early"
    price: uint256 = 0
    source: uint256 = 0
    price, source = self._price_now(underlying, block.timestamp >= since + 2 * delay)
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_instruments()
    assert latest.instrument_root != empty(bytes32), "settlement: no epoch stands"
    self.exits[underlying] = ISettlement.Exit(
        root=latest.instrument_root,
        mark=staticcall engine.oracle.mark(underlying),
        price=price,
        policy_code=staticcall engine.oracle.policy_code(),
    )
    engine._enter()
    extcall engine.ledger.close_underlying(underlying)
    engine._leave()
    log ISettlement.ExitBegun(underlying=underlying, price=price, source=source, epoch=latest.epoch)


@external
def fix_exit(leg: IMargin.Leg, proof: DynArray[bytes32, constants.MAX_DEPTH]):
    """
    @notice Fix the price of an instrument whose underlying is exited: its committed array at the exit's price.
    @param leg The instrument's leaf as the exit's epoch committed it.
    @param proof Its proof under that epoch's instrument root.
    """
    id: uint256 = instrument._id(leg.meta)
    found: ISettlement.Exit = self.exits[instrument._underlying(id)]
    assert found.price != 0, "settlement: exit has not begun"
    place: fallback.Place = fallback._place(fallback._rows(found.policy_code), found.mark, found.price)
    self._fix(leg, proof, found.root, fallback._lot_value(leg.array, place), False)


# Anyone: accounts


@external
def settle(account: uint256, instruments: DynArray[uint256, constants.MAX_POSITIONS]):
    """
    @notice Settle an account's positions in instruments that have a final price, against the clearing account. Anyone may,
            for any account: nobody's settlement waits for another's. Instruments without a position are passed over.
    @dev Both sides of an instrument get the same price a lot, so the clearing account ends at nothing when all are settled.
         The account's last trade epoch stays: a settlement by a stranger does not put off its withdrawals.
    @param account The account.
    @param instruments Instrument ids, ascending.
    """
    assert account >= constants.FIRST_ACCOUNT, "settlement: reserved account"
    engine._enter()
    epoch: uint256 = engine._account(account).last_trade_epoch
    last: uint256 = 0
    settled: bool = False
    for id: uint256 in instruments:
        assert id > last, "settlement: instruments not ascending"
        last = id
        price: int256 = 0
        known: bool = False
        price, known = self._lot_price(id)
        assert known, "settlement: no final price"
        lots: int256 = engine._quantity(account, id)
        if lots == 0:
            continue
        settled = True
        size: uint256 = convert(abs(lots), uint256)
        cash: int256 = convert(size, int256) * price
        if lots > 0:
            extcall engine.ledger.move_position(account, constants.CLEARING, id, size, cash, epoch)
        else:
            extcall engine.ledger.move_position(constants.CLEARING, account, id, size, cash, epoch)
        log ISettlement.Settled(account=account, instrument=id, lots=lots, price=price)
    assert settled, "settlement: nothing to settle"
    engine._leave()


# Views


@view
@external
def price(underlying: uint256, expiry: uint256) -> (uint256, bool):
    """
    @notice The settlement price of an expiry.
    @param underlying The underlying.
    @param expiry The expiry, seconds.
    @return uint256, bool Price, micro-USD per unit, and whether it is final; zero without one.
    """
    word: uint256 = self._prices[underlying << 32 | expiry]
    return (word & constants.MASK_64, word & FINAL != 0)


@view
@external
def proposal(underlying: uint256, expiry: uint256) -> (uint256, uint256, uint256):
    """
    @notice The price that is proposed and not final.
    @param underlying The underlying.
    @param expiry The expiry, seconds.
    @return uint256, uint256, uint256 Price, micro-USD per unit; epoch; oracle-live clock of the proposal. Zeros without one.
    """
    word: uint256 = self._prices[underlying << 32 | expiry]
    if word & FINAL != 0:
        return (0, 0, 0)
    return (word & constants.MASK_64, (word >> 64) & constants.MASK_64, word >> 128)


@view
@external
def lot_price(id: uint256) -> (int256, bool):
    """
    @notice The price at which an instrument settles.
    @param id Instrument id.
    @return int256, bool Micro-USD per lot, and whether there is one.
    """
    return self._lot_price(id)


# Internal


@internal
def _finalize(underlying: uint256, expiry: uint256, price: uint256, source: uint256):
    """
    @dev Write a price for good. Callers have checked that none is final.
    @param underlying The underlying.
    @param expiry The expiry.
    @param price Micro-USD per unit, not zero, below 2^64.
    @param source Where it comes from.
    """
    lots_per_unit: uint256 = ((staticcall registry.underlying(underlying)) >> 208) & constants.MASK_32
    self._prices[underlying << 32 | expiry] = FINAL | lots_per_unit << 192 | price
    log ISettlement.PriceFinal(underlying=underlying, expiry=expiry, price=price, source=source)


@internal
def _fix(
    leg: IMargin.Leg, proof: DynArray[bytes32, constants.MAX_DEPTH], root: bytes32, price: int256, delisted: bool
):
    """
    @dev Write a lot's price for good. It is far below 2^127: `|v| < 2^31`, weights and moves make of it less than 2^105.
    @param leg The instrument's leaf.
    @param proof Its proof.
    @param root The root.
    @param price Micro-USD per lot.
    @param delisted Whether by delisting, else by exit.
    """
    id: uint256 = instrument._id(leg.meta)
    kind: uint256 = instrument._kind(id)
    assert kind >= constants.PERPETUAL and kind <= constants.PUT, "settlement: not a derivative"
    found: int256 = 0
    known: bool = False
    found, known = self._lot_price(id)
    assert not known, "settlement: instrument has a price"
    assert merkle._root(keccak256(keccak256(abi_encode(leg))), proof) == root, "settlement: not proven"
    self._lots[id] = FINAL | convert(price + BIAS, uint256)
    log ISettlement.LotFixed(instrument=id, price=price, delisted=delisted)


@view
@internal
def _lot_price(id: uint256) -> (int256, bool):
    """
    @dev The price of a lot, and whether there is one. A fixed one counts first: it was written when no other was final.
    @param id Instrument id.
    """
    word: uint256 = self._lots[id]
    if word != 0:
        return (convert(word & (FINAL - 1), int256) - BIAS, True)
    kind: uint256 = instrument._kind(id)
    expiry: uint256 = instrument._expiry(id)
    if expiry == 0 or kind <= constants.PERPETUAL or kind > constants.PUT:
        return (0, False)
    word = self._prices[instrument._underlying(id) << 32 | expiry]
    if word & FINAL == 0:
        return (0, False)
    payoff: uint256 = word & constants.MASK_64
    strike: uint256 = (id >> 8) & (2**48 - 1)
    if kind == CALL:
        payoff = payoff - min(strike, payoff)
    elif kind == constants.PUT:
        payoff = strike - min(strike, payoff)
    lots_per_unit: uint256 = (word >> 192) & constants.MASK_32
    return (convert((2 * payoff + lots_per_unit) // (2 * lots_per_unit), int256), True)


@view
@internal
def _price_now(underlying: uint256, late: bool) -> (uint256, uint256):
    """
    @dev The feed's price, or, if it is late, without one the last committed index; and which it is.
    @param underlying The underlying.
    @param late Whether the last index may count.
    """
    price: uint256 = 0
    usable: bool = False
    price, usable = self._feed(underlying)
    if usable:
        return (price, FEED_NOW)
    assert late, "settlement: feed is not usable"
    price = (staticcall engine.oracle.mark(underlying) >> 176) & constants.MASK_64
    assert price != 0, "settlement: underlying has no mark"
    return (price, LAST_INDEX)


@view
@internal
def _feed(underlying: uint256) -> (uint256, bool):
    """
    @dev The independent feed's price, micro-USD per unit, and whether it is usable.
    @param underlying The underlying.
    """
    price: uint256 = 0
    usable: bool = False
    updated_at: uint256 = 0
    price, usable, updated_at = staticcall engine.oracle.feed_price(underlying)
    return (price, usable and price != 0 and price <= constants.MASK_64)


@view
@internal
def _is_live(underlying: uint256) -> bool:
    """
    @dev Whether the oracle has an underlying as live.
    @param underlying The underlying.
    """
    return (staticcall engine.oracle.mark(underlying) >> 72) & constants.MASK_8 == constants.LIVE


@view
@internal
def _stands(key: uint256, epoch: uint256) -> bool:
    """
    @dev Whether the epoch that proposed a price was not revoked.
    @param key Underlying and expiry.
    @param epoch The epoch.
    """
    return staticcall engine.oracle.header_hash(epoch) == self._stated[key]
