# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title Fallback
@license GNU Affero General Public License v3.0 only
@notice Liquidation while the oracle is stale or halted: committed values at the independent feeds' prices.

            value    cash + sum over underlyings of the committed vector at the feed's price (lib/fallback.vy), or at the mark
                     where the feed is not usable
            unsafe   value < closeout, which is close-out with the keeper reserve
            penalty  min(floor(phi * fall), max(value, 0))     fall of risk + closeout by the committed rows, as in Liquidator.vy

        Legs change hands at their value here, so a take costs the account the penalty and the rounding of a lot only. The
        taker must end with its value at or above its initial requirement.
@dev The live rule asks for value less risk >= closeout, with risk >= 0: what is unsafe here the live rule would not spare at
     that price (docs/decisions.md says how far that holds between rows).
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle, and
        its feeds from `fallback_delay` after it stopped.
@custom:kill Nothing here can be stopped. While the oracle is live nothing here can be done.
"""

from interfaces import IFallback
from interfaces import ILedger
from interfaces import ILiquidator
from interfaces import IMargin
from interfaces import IRegistry
from interfaces import IRiskOracle
from lib import claim
from lib import constants
from lib import engine
from lib import fallback
from lib import instrument
from lib import margin
from lib import merkle

implements: IFallback
initializes: engine

exports: (
    engine.ledger,
    engine.oracle,
)


# @dev Where the price of each underlying that was asked for stands.
struct Found:
    underlying: uint256
    usable: bool
    place: fallback.Place


MAX_FOUND: constant(uint256) = 8  # of two accounts


liquidator: public(immutable(ILiquidator))
registry: public(immutable(IRegistry))


@deploy
def __init__(ledger: address, oracle: address, liquidator_: address, registry_: address):
    """
    @notice Bind the fallback to its ledger, oracle, liquidator and registry for ever.
    @param ledger The ledger, which must name this contract as an engine.
    @param oracle The risk oracle.
    @param liquidator_ The liquidator, which knows the margin calls.
    @param registry_ The registry, which knows the rows.
    """
    assert liquidator_ != empty(address) and registry_ != empty(address), "fallback: address is zero"
    engine.__init__(ledger, oracle)
    liquidator = ILiquidator(liquidator_)
    registry = IRegistry(registry_)


# Anyone


@external
def liquidate(
    account: uint256,
    taker: uint256,
    takes: DynArray[ILiquidator.Take, constants.MAX_TAKES],
    proof: DynArray[bytes32, 256],
    flags: DynArray[uint256, 2],
    witness: IMargin.Witness,
    taker_witness: IMargin.Witness,
):
    """
    @notice Take legs of an account that is worth less than its close-out at the feeds' prices.
    @dev Value less requirement must strictly rise, so nobody takes a hedge and leaves what it hedged. An underlying without a
         usable feed counts at its mark and its legs stay: dust in it blocks nothing.
    @param account The account.
    @param taker The caller's account, which gets the legs.
    @param takes Legs, instrument ids ascending.
    @param proof Hashes of the multiproof of their leaves.
    @param flags Flags of the multiproof, packed.
    @param witness Witness of the account.
    @param taker_witness Witness of the taker; empty if it has no positions.
    """
    assert block.timestamp >= self._open_from(), "fallback: too early"
    engine._enter()
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest()
    assert account >= constants.FIRST_ACCOUNT, "fallback: reserved account"
    assert account != taker, "fallback: one account on both sides"
    state: ILedger.Account = engine._account(account)
    other: ILedger.Account = engine._account(taker)
    assert other.owner == msg.sender, "fallback: not the taker's owner"
    self._prove(takes, proof, flags, latest.instrument_root)

    content: margin.Content = engine._believe(state, witness, latest.epoch, latest.account_root)
    taker_content: margin.Content = engine._believe(other, taker_witness, latest.epoch, latest.account_root)
    found: DynArray[Found, MAX_FOUND] = self._places(state.head, other.head)
    before: IFallback.Worth = self._worth(content, state.cash, found, latest.margin)
    assert before.value < before.closeout, "fallback: account is worth its close-out"

    taken: DynArray[ILiquidator.Taken, constants.MAX_TAKES] = []
    for take: ILiquidator.Take in takes:
        leg: IMargin.Leg = IMargin.Leg(meta=take.meta, array=take.array)
        id: uint256 = instrument._id(take.meta)
        price: int256 = self._price(leg, found)
        held: int256 = engine._quantity(account, id)
        taker_held: int256 = engine._quantity(taker, id)
        if take.lots > 0:
            assert take.lots <= held, "fallback: more than the position"
            state, other = extcall engine.ledger.move_position(
                account, taker, id, convert(take.lots, uint256), take.lots * price, latest.epoch
            )
        else:
            assert take.lots < 0, "fallback: empty take"
            assert take.lots >= held, "fallback: more than the position"
            other, state = extcall engine.ledger.move_position(
                taker, account, id, convert(-take.lots, uint256), -take.lots * price, latest.epoch
            )
        content = margin._apply(content, leg, -take.lots, held, state.head)
        taker_content = margin._apply(taker_content, leg, take.lots, taker_held, other.head)
        taken.append(ILiquidator.Taken(instrument=id, lots=take.lots, price=price))

    after: IFallback.Worth = self._worth(content, state.cash, found, latest.margin)
    phi: uint256 = staticcall liquidator.phi(account)
    fall: int256 = before.risk + before.closeout - after.risk - after.closeout
    share: int256 = max(fall, 0) * convert(phi, int256) // convert(constants.ONE, int256)
    penalty: int256 = min(share, max(after.value, 0))
    after.value -= penalty
    assert after.value + fall > before.value, "fallback: must make the account safer"

    reward: uint256 = claim._shared(
        penalty,
        (latest.margin >> 144) & constants.MASK_16,
        claim._of(before.value, before.risk + before.closeout),
        claim._of(after.value, after.risk + after.closeout),
    )
    engine._move_cash(account, taker, reward, constants.LIQUIDATION_REWARD)
    engine._move_cash(account, constants.INSURANCE, convert(penalty, uint256) - reward, constants.LIQUIDATION_PENALTY)
    cash: int256 = other.cash + convert(reward, int256)
    taker_after: IMargin.Margin = margin._evaluate(taker_content, cash, latest.margin)
    taker_worth: IFallback.Worth = self._worth(taker_content, cash, found, latest.margin)
    assert taker_worth.value >= taker_after.pv - taker_after.im_excess, "fallback: taker below initial margin"

    engine._store(state, content, latest.epoch)
    engine._store(other, taker_content, latest.epoch)
    log IFallback.FallbackLiquidated(
        account=account,
        taker=taker,
        epoch=latest.epoch,
        before=before,
        after=after,
        phi=phi,
        penalty=convert(penalty, uint256),
        reward=reward,
        takes=taken,
    )
    engine._leave()


# Views


@view
@external
def check(account: uint256, witness: IMargin.Witness) -> IFallback.Worth:
    """
    @notice An account at the feeds' prices, in any oracle state.
    @param account The account.
    @param witness Its witness under the latest epoch.
    @return Worth Its value, its risk by the committed rows, its close-out with the keeper reserve.
    """
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
    state: ILedger.Account = engine._account(account)
    content: margin.Content = engine._believe(state, witness, latest.epoch, latest.account_root)
    return self._worth(content, state.cash, self._places(state.head, 0), latest.margin)


@view
@external
def open_from() -> uint256:
    """
    @notice From when on liquidation by fallback is open.
    @return uint256 Block time, seconds; the greatest number while the oracle is live.
    """
    return self._open_from()


# Internal


@view
@internal
def _open_from() -> uint256:
    """
    @dev `fallback_delay` after the oracle ceased to be live.
    """
    if staticcall engine.oracle.state() == constants.ORACLE_LIVE:
        return max_value(uint256)
    return staticcall engine.oracle.stale_since() + staticcall engine.oracle.fallback_delay()


@view
@internal
def _places(head: uint256, other: uint256) -> DynArray[Found, MAX_FOUND]:
    """
    @dev Where the feeds' prices stand, for the underlyings of two accounts, each once.
    @param head One account's head.
    @param other The other's, or zero.
    """
    rows: uint256[40] = fallback._rows(staticcall registry.policy_code())
    found: DynArray[Found, MAX_FOUND] = []
    for i: uint256 in range(MAX_FOUND):
        word: uint256 = head if i < constants.MAX_UNDERLYINGS else other
        underlying: uint256 = (word >> (176 - 16 * (i % constants.MAX_UNDERLYINGS))) & constants.MASK_16
        known: bool = underlying == 0
        for each: Found in found:
            if each.underlying == underlying:
                known = True
        if known:
            continue
        price: uint256 = 0
        usable: bool = False
        updated_at: uint256 = 0
        price, usable, updated_at = staticcall engine.oracle.feed_price(underlying)
        entry: Found = Found(underlying=underlying, usable=usable, place=empty(fallback.Place))
        if usable:
            entry.place = fallback._place(rows, staticcall engine.oracle.mark(underlying), price)
        found.append(entry)
    return found


@pure
@internal
def _worth(
    content: margin.Content, cash: int256, found: DynArray[Found, MAX_FOUND], parameters: uint256
) -> IFallback.Worth:
    """
    @dev An account at the feeds' prices.
    @param content Its content.
    @param cash Signed micro-USD.
    @param found Where the prices stand.
    @param parameters Margin parameters of the epoch.
    """
    value: int256 = cash
    for i: uint256 in range(constants.MAX_UNDERLYINGS):
        underlying: uint256 = (content.head >> (176 - 16 * i)) & constants.MASK_16
        if underlying == 0:
            break
        start: uint256 = i * constants.VECTOR_WORDS
        for each: Found in found:
            if each.underlying == underlying:
                if each.usable:
                    value += fallback._vector_value(content.vectors, start, each.place)
                else:
                    value += convert(content.vectors[start] & constants.MASK_64, int256) - 2**63
    committed: IMargin.Margin = margin._evaluate(content, 0, parameters)
    return IFallback.Worth(value=value, risk=committed.risk, closeout=committed.closeout)


@pure
@internal
def _price(leg: IMargin.Leg, found: DynArray[Found, MAX_FOUND]) -> int256:
    """
    @dev Value of a lot at its feed's price.
    @param leg The instrument's leaf.
    @param found Where the prices stand.
    """
    for each: Found in found:
        if each.underlying == instrument._underlying(instrument._id(leg.meta)):
            assert each.usable, "fallback: feed is not usable"
            return fallback._lot_value(leg.array, each.place)
    raise "fallback: more than the position"


@pure
@internal
def _prove(
    takes: DynArray[ILiquidator.Take, constants.MAX_TAKES],
    proof: DynArray[bytes32, 256],
    flags: DynArray[uint256, 2],
    root: bytes32,
):
    """
    @dev All takes are leaves under the root, ids ascending, so none is repeated.
    @param takes The takes.
    @param proof Hashes of the multiproof.
    @param flags Flags of the multiproof.
    @param root The latest instrument root.
    """
    assert len(takes) != 0, "fallback: no takes"
    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    count: uint256 = 0
    last: uint256 = 0
    for take: ILiquidator.Take in takes:
        assert take.meta >> 152 > last, "fallback: takes not ascending"
        last = take.meta >> 152
        leaves[count] = keccak256(keccak256(abi_encode(take.meta, take.array)))
        count += 1
    assert merkle._root_of_many(leaves, count, proof, flags) == root, "fallback: takes not proven"
