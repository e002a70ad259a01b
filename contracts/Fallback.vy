# pragma version 0.4.3
# pragma nonreentrancy off
# pragma optimize codesize
"""
@title Fallback
@license GNU Affero General Public License v3.0 only
@notice Liquidation where the header alone does not say what is unsafe: while the oracle is stale or halted, and of accounts
        that hold a disputed underlying. By committed values at the independent feeds' prices:

            value    cash + sum over underlyings of the committed vector at the feed's price (lib/fallback.vy), or at the mark
                     where the feed is not usable; while the oracle is live, at the mark where the underlying is not disputed
            pv       the same at the marks
            fall     of risk + closeout by the committed rows, as in Liquidator.vy

                     oracle stale or halted            oracle live, an underlying disputed
            unsafe   value < closeout                  max(value, pv) < risk + closeout
            price    floored value of a lot            of a disputed lot the better of mark and value for the account
            penalty  min(floor(phi * fall), max(value, 0))      min(floor(phi * fall), max(min(value, pv), 0))
            taker    value >= initial requirement      min(value, pv) >= initial requirement

        `closeout` has the keeper reserve in it. In a dispute an account is thus judged by index and by feed, and liquidated
        only where both call it unsafe; a take lowers neither worth of it but by the penalty. One lot of a disputed underlying
        shelters nothing else.
@dev The live rule asks for value less risk >= closeout, with risk >= 0: what is unsafe here the live rule would not spare at
     that price (docs/decisions.md says how far that holds between rows).
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle, and
        its feeds from `fallback_delay` after it stopped, or where they disagree with the header and make things no worse.
@custom:kill Nothing here can be stopped. While the oracle is live only accounts with a disputed underlying are open to it.
"""

from interfaces import IFallback
from interfaces import ILedger
from interfaces import ILiquidator
from interfaces import IMargin
from interfaces import IRiskOracle
from lib import claim
from lib import constants
from lib import engine
from lib import fallback
from lib import instrument
from lib import margin
from lib import marks
from lib import merkle
from lib import risk_array

implements: IFallback
initializes: engine

exports: (
    engine.ledger,
    engine.oracle,
)


# @dev Where the price of each underlying that was asked for stands.
struct Found:
    underlying: uint256
    at_mark: bool  # live and not disputed, while the oracle is live
    usable: bool  # its feed's price counts
    price: uint256
    place: fallback.Place


MAX_FOUND: constant(uint256) = 8  # of two accounts


liquidator: public(immutable(ILiquidator))


@deploy
def __init__(ledger: address, oracle: address, liquidator_: address):
    """
    @notice Bind the fallback to its ledger, oracle and liquidator for ever.
    @param ledger The ledger, which must name this contract as an engine.
    @param oracle The risk oracle.
    @param liquidator_ The liquidator, which knows the margin calls.
    """
    assert liquidator_ != empty(address), "fallback: address is zero"
    engine.__init__(ledger, oracle)
    liquidator = ILiquidator(liquidator_)


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
    @notice Take legs of an account that is worth less than its close-out at the feeds' prices while the oracle is not live, or
            that is below maintenance margin at the marks and at the feeds' prices while an underlying of it is disputed.
    @dev Value less requirement must strictly rise (in a dispute PV less requirement too), so nobody takes a hedge and leaves
         what it hedged. An underlying without a usable feed counts at its mark and its legs stay: dust in it blocks nothing.
         In a dispute what restores the account under both may be overshot by one lot, as in Liquidator.vy.
    @param account The account.
    @param taker The caller's account, which gets the legs.
    @param takes Legs, instrument ids ascending.
    @param proof Hashes of the multiproof of their leaves.
    @param flags Flags of the multiproof, packed.
    @param witness Witness of the account.
    @param taker_witness Witness of the taker; empty if it has no positions.
    """
    live: bool = staticcall engine.oracle.state() == constants.ORACLE_LIVE
    assert live or block.timestamp >= self._open_from(), "fallback: too early"
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
    found: DynArray[Found, MAX_FOUND] = self._places(state.head, other.head, live)
    before: IFallback.Worth = self._worth(content, state.cash, found, latest.margin)
    if live:
        self._check_disputed(state.head, found)
        best: int256 = max(before.value, before.pv)
        assert best < before.risk + before.closeout, "fallback: account is above maintenance margin"
        if best >= 0:
            assert block.timestamp >= staticcall engine.oracle.grace_until(), "fallback: grace after an outage"
    else:
        assert before.value < before.closeout, "fallback: account is worth its close-out"

    # The takes. `short` is the content with one lot less of the last, whose price is `last`, signed.
    short: margin.Content = content
    last: int256 = 0
    taken: DynArray[ILiquidator.Taken, constants.MAX_TAKES] = []
    for take: ILiquidator.Take in takes:
        leg: IMargin.Leg = IMargin.Leg(meta=take.meta, array=take.array)
        id: uint256 = instrument._id(take.meta)
        price: int256 = self._price(leg, take.lots, found, live)
        held: int256 = engine._quantity(account, id)
        taker_held: int256 = engine._quantity(taker, id)
        if take.lots > 0:
            assert take.lots <= held, "fallback: more than the position"
            last = price
            short = margin._apply(content, leg, 1 - take.lots, held, content.head)
            state, other = extcall engine.ledger.move_position(
                account, taker, id, convert(take.lots, uint256), take.lots * price, latest.epoch
            )
        else:
            assert take.lots < 0, "fallback: empty take"
            assert take.lots >= held, "fallback: more than the position"
            last = -price
            short = margin._apply(content, leg, -1 - take.lots, held, content.head)
            other, state = extcall engine.ledger.move_position(
                taker, account, id, convert(-take.lots, uint256), -take.lots * price, latest.epoch
            )
        content = margin._apply(content, leg, -take.lots, held, state.head)
        taker_content = margin._apply(taker_content, leg, take.lots, taker_held, other.head)
        taken.append(ILiquidator.Taken(instrument=id, lots=take.lots, price=price))

    after: IFallback.Worth = self._worth(content, state.cash, found, latest.margin)
    phi: uint256 = staticcall liquidator.phi(account)
    penalty: int256 = self._penalty(before, after, phi, live)
    fall: int256 = before.risk + before.closeout - after.risk - after.closeout
    gain: int256 = after.value - before.value
    if live:
        gain = min(gain, after.pv - before.pv)
        if self._is_healthy(content, after, penalty, latest.margin):
            less: IFallback.Worth = self._worth(short, state.cash - last, found, latest.margin)
            charged: int256 = self._penalty(before, less, phi, True)
            dust: int256 = convert((latest.margin >> 160) & constants.MASK_48, int256)
            if before.risk + before.closeout >= dust:
                more: bool = self._is_healthy(short, less, charged, latest.margin)
                assert not more, "fallback: more than restores the account"
    assert gain + fall > penalty, "fallback: must make the account safer"
    after.value -= penalty
    after.pv -= penalty

    reward: uint256 = claim._shared(
        penalty,
        (latest.margin >> 144) & constants.MASK_16,
        claim._of(before.value, before.risk + before.closeout),
        claim._of(after.value, after.risk + after.closeout),
    )
    engine._move_cash(account, taker, reward, constants.LIQUIDATION_REWARD)
    engine._move_cash(account, constants.INSURANCE, convert(penalty, uint256) - reward, constants.LIQUIDATION_PENALTY)
    cash: int256 = other.cash + convert(reward, int256)
    taker_worth: IFallback.Worth = self._worth(taker_content, cash, found, latest.margin)
    enough: bool = taker_worth.value >= self._initial(taker_worth, latest.margin)
    if live:
        enough = self._is_healthy(taker_content, taker_worth, 0, latest.margin)
    assert enough, "fallback: taker below initial margin"

    engine._store(state, content, latest.epoch)
    engine._store(other, taker_content, latest.epoch)
    log IFallback.FallbackLiquidated(
        account=account,
        taker=taker,
        epoch=latest.epoch,
        disputed=live,
        before=before,
        after=after,
        phi=phi,
        penalty=convert(penalty, uint256),
        reward=reward,
        takes=taken,
        prices=self._prices(found),
    )
    engine._leave()


# Views


@view
@external
def open_from() -> uint256:
    """
    @notice From when on liquidation by fallback is open to every account.
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
def _places(head: uint256, other: uint256, live: bool) -> DynArray[Found, MAX_FOUND]:
    """
    @dev Where the feeds' prices stand, for the underlyings of two accounts, each once.
    @param head One account's head.
    @param other The other's, or zero.
    @param live Whether the oracle is live: then feeds count for disputed underlyings only.
    """
    rows: uint256[40] = fallback._rows(staticcall engine.oracle.policy_code())
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
        mark: uint256 = staticcall engine.oracle.mark(underlying)
        entry: Found = Found(underlying=underlying, at_mark=False, usable=False, price=0, place=empty(fallback.Place))
        entry.at_mark = live and marks._status(mark) != constants.DISPUTED
        if not entry.at_mark:
            updated_at: uint256 = 0
            entry.price, entry.usable, updated_at = staticcall engine.oracle.feed_price(underlying)
            if entry.usable:
                entry.place = fallback._place(rows, mark, entry.price)
        found.append(entry)
    return found


@view
@internal
def _check_disputed(head: uint256, found: DynArray[Found, MAX_FOUND]):
    """
    @dev While the oracle is live: an underlying of the account must be disputed, and none provisional, which is for an epoch.
    @param head The account's head. Its underlyings are the first that were found.
    @param found Where the prices stand.
    """
    disputed: bool = False
    for i: uint256 in range(margin._underlyings(head), bound=constants.MAX_UNDERLYINGS):
        status: uint256 = marks._status(staticcall engine.oracle.mark(found[i].underlying))
        assert status != constants.PROVISIONAL, "fallback: underlying is provisional"
        if status == constants.DISPUTED:
            disputed = True
    assert disputed, "fallback: too early"


@pure
@internal
def _prices(found: DynArray[Found, MAX_FOUND]) -> DynArray[IFallback.Price, MAX_FOUND]:
    """
    @dev The feeds' prices that counted.
    @param found Where the prices stand.
    """
    prices: DynArray[IFallback.Price, MAX_FOUND] = []
    for each: Found in found:
        if each.usable:
            prices.append(IFallback.Price(underlying=each.underlying, price=each.price))
    return prices


@pure
@internal
def _worth(
    content: margin.Content, cash: int256, found: DynArray[Found, MAX_FOUND], parameters: uint256
) -> IFallback.Worth:
    """
    @dev An account at the marks, and at the feeds' prices that count.
    @param content Its content.
    @param cash Signed micro-USD.
    @param found Where the prices stand.
    @param parameters Margin parameters of the epoch.
    """
    committed: IMargin.Margin = margin._evaluate(content, cash, parameters)
    value: int256 = committed.pv
    for i: uint256 in range(constants.MAX_UNDERLYINGS):
        underlying: uint256 = (content.head >> (176 - 16 * i)) & constants.MASK_16
        if underlying == 0:
            break
        start: uint256 = i * constants.VECTOR_WORDS
        for each: Found in found:
            if each.underlying == underlying and each.usable:
                mark: int256 = convert(content.vectors[start] & constants.MASK_64, int256) - 2**63
                value += fallback._vector_value(content.vectors, start, each.place) - mark
    return IFallback.Worth(value=value, risk=committed.risk, closeout=committed.closeout, pv=committed.pv)


@pure
@internal
def _price(leg: IMargin.Leg, lots: int256, found: DynArray[Found, MAX_FOUND], live: bool) -> int256:
    """
    @dev What a lot changes hands at. In a dispute the account gives lots at the higher of mark and value, rounded up by one
         micro-USD, and gets rid of short ones at the lower, so that neither of its worths falls, the floors included:
         `floor(A - n x) + n ceil(x) >= floor(A)`.
    @param leg The instrument's leaf.
    @param lots Lots taken; positive if the account gives them.
    @param found Where the prices stand.
    @param live Whether the oracle is live.
    """
    for each: Found in found:
        if each.underlying == instrument._underlying(instrument._id(leg.meta)):
            mark: int256 = risk_array._mark(leg.array)
            if each.at_mark:
                return mark
            assert each.usable, "fallback: feed is not usable"
            value: int256 = fallback._lot_value(leg.array, each.place)
            if not live:
                return value
            if lots > 0:
                return max(mark, value + 1)
            return min(mark, value)
    raise "fallback: more than the position"


@pure
@internal
def _initial(worth: IFallback.Worth, parameters: uint256) -> int256:
    """
    @dev Initial requirement, ceiled.
    @param worth An account's risk and close-out.
    @param parameters Margin parameters of the epoch.
    """
    factor: int256 = convert((parameters >> 16) & constants.MASK_16, int256)
    one: int256 = convert(constants.ONE, int256)
    return (factor * (worth.risk + worth.closeout) + one - 1) // one


@pure
@internal
def _is_healthy(content: margin.Content, worth: IFallback.Worth, less: int256, parameters: uint256) -> bool:
    """
    @dev Whether an account is HEALTHY both at the marks and at the feeds' prices.
    @param content Its content.
    @param worth Its worth.
    @param less What it still pays, micro-USD.
    @param parameters Margin parameters of the epoch.
    """
    least: int256 = max(self._initial(worth, parameters), margin._collateral(content))
    return min(worth.value, worth.pv) - less >= least


@pure
@internal
def _penalty(before: IFallback.Worth, after: IFallback.Worth, phi: uint256, live: bool) -> int256:
    """
    @dev The penalty on the fall of the requirement, at most what the account is worth, in a dispute by either price.
    @param before Worth before the takes.
    @param after Worth after them.
    @param phi Share of the fall, 1e-4.
    @param live Whether the oracle is live.
    @return int256 Micro-USD, not negative.
    """
    fall: int256 = before.risk + before.closeout - after.risk - after.closeout
    share: int256 = max(fall, 0) * convert(phi, int256) // convert(constants.ONE, int256)
    most: int256 = min(after.value, after.pv) if live else after.value
    return min(share, max(most, 0))


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
