# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title Liquidator
@license GNU Affero General Public License v3.0 only
@notice Margin calls, and the liquidation of single legs of an account that is worth less than its maintenance margin.

            penalty = min(floor(phi * fall), max(PV, 0))    fall = (risk + closeout) before - (risk + closeout) after takes
            phi     = from least to most, linear in oracle-live time since the margin call; the least if not called
            share   = floor(split * penalty) to the taker, the rest to insurance
            extra   = min(max(floor - share, 0), max(PV, 0), rise of MM excess - 1) after the penalty; only where the account
                      is HEALTHY after it, else 0
            reward  = share + extra                         the floor pays for the gas (lib/reward.vy)

        An account that owes dollars against its tokens (quote equity below zero) though it is above maintenance margin can be
        called too, and `CURE` after the call its tokens can be taken, for cash, until it owes none.

        Legs change hands at the mark, so a take leaves both accounts' PV as it was: the account pays the penalty only, and
        only out of what it has. After an outage of the oracle, accounts that are worth something have grace. How much can be
        taken in a short time is limited (lib/cascade.vy).
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle.
@custom:kill Nothing here can be stopped. When the oracle is not fresh, or an underlying of the account is not live, no account
        can be called or liquidated.
"""

from interfaces import ILedger
from interfaces import ILiquidationTaker
from interfaces import ILiquidator
from interfaces import IMargin
from interfaces import IRiskOracle
from lib import cascade
from lib import claim
from lib import constants
from lib import engine
from lib import instrument
from lib import margin
from lib import merkle
from lib import reward
from lib import risk_array

implements: ILiquidator
initializes: engine
initializes: cascade[engine := engine]

exports: (
    engine.ledger,
    engine.oracle,
    cascade.registry,
    cascade.bucket,
)


CURE: constant(uint256) = 3600  # oracle-live seconds from the call until tokens can be taken for dollars owed


# @dev The underlying that is the chain's coin, in which gas is paid.
coin: public(immutable(uint256))

# By account: lots taken beyond the bucket (bits 255..128) in an epoch (127..64); oracle-live seconds at its margin call, plus
# one (63..0), zero if it is not called.
_calls: HashMap[uint256, uint256]


@deploy
def __init__(ledger: address, oracle: address, registry: address, coin_: uint256):
    """
    @notice Bind the liquidator to its ledger, oracle and registry for ever.
    @param ledger The ledger, which must name this contract as an engine.
    @param oracle The risk oracle.
    @param registry The registry, which knows the policy in force.
    @param coin_ The underlying that is the chain's coin; while it has no mark, no reward is raised to its gas.
    """
    engine.__init__(ledger, oracle)
    cascade.__init__(registry)
    coin = coin_


# Anyone


@external
def margin_call(account: uint256, witness: IMargin.Witness):
    """
    @notice Record that an account is below initial margin. From now on its penalty rises with oracle-live time.
    @param account The account.
    @param witness Its witness.
    """
    state: ILedger.Account = engine._holdings(account)
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
    assert latest.fresh, "liquidator: oracle is not fresh"
    word: uint256 = self._calls[account]
    assert word & constants.MASK_64 == 0, "liquidator: already called"
    assert engine._all_live(state.head), "liquidator: underlying is not live"
    content: margin.Content = engine._believe(state, witness, latest.epoch, latest.account_root)
    found: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    assert not margin._is_healthy(content, found), "liquidator: account is healthy"
    deficit: int256 = max(-found.im_excess, margin._collateral(content) - found.pv)
    self._calls[account] = word | latest.live + 1
    log ILiquidator.MarginCalled(
        account=account, epoch=latest.epoch, live=latest.live, deficit=convert(deficit, uint256)
    )


@external
def clear_call(account: uint256, witness: IMargin.Witness):
    """
    @notice Strike out the margin call of an account that is HEALTHY again.
    @param account The account.
    @param witness Its witness.
    """
    state: ILedger.Account = engine._holdings(account)
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
    assert self._calls[account] & constants.MASK_64 != 0, "liquidator: not called"
    content: margin.Content = engine._believe(state, witness, latest.epoch, latest.account_root)
    found: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    assert found.im_excess >= 0, "liquidator: still below initial margin"
    assert found.pv >= margin._collateral(content), "liquidator: quote equity below zero"
    self._calls[account] = 0
    log ILiquidator.CallCleared(account=account, epoch=latest.epoch)


@external
def liquidate(
    account: uint256,
    taker: uint256,
    takes: DynArray[ILiquidator.Take, constants.MAX_TAKES],
    proof: DynArray[bytes32, 256],
    flags: DynArray[uint256, 2],
    witness: IMargin.Witness,
    taker_witness: IMargin.Witness,
    data: Bytes[1024],
):
    """
    @notice Take legs of an account below maintenance margin, at the mark, for a share of the penalty. With `data`, the caller is
            a contract: it is told what its account lacks (`ILiquidationTaker`), and when it returns that is paid in from its
            tokens, so it needs capital only now.
    @dev MM excess must strictly rise after the penalty, and the taker end above initial margin. What restores the account may
         be overshot by one lot: with one lot less of the last take, and the penalty of that, it would have ended below
         initial margin. An account of dust size may be taken whole.
         The caller is called when everything is written down, and the ledger's lock is held: no engine acts and no account
         changes hands meanwhile, and nothing read before is used after it but the margin of the taker, which only the
         deposit can have changed.
    @param account The account.
    @param taker The caller's account, which gets the legs.
    @param takes Legs, instrument ids ascending.
    @param proof Hashes of the multiproof of their leaves.
    @param flags Flags of the multiproof, packed.
    @param witness Witness of the account.
    @param taker_witness Witness of the taker; empty if it has no positions.
    @param data What the caller is called with; empty for no call.
    """
    engine._enter()
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest()
    assert latest.fresh, "liquidator: oracle is not fresh"
    assert account >= constants.FIRST_ACCOUNT, "liquidator: reserved account"
    assert account != taker, "liquidator: one account on both sides"
    state: ILedger.Account = engine._holdings(account)
    other: ILedger.Account = engine._account(taker)
    assert other.owner == msg.sender, "liquidator: not the taker's owner"
    assert engine._all_live(state.head), "liquidator: underlying is not live"
    self._prove(takes, proof, flags, latest.instrument_root)

    content: margin.Content = engine._believe(state, witness, latest.epoch, latest.account_root)
    taker_content: margin.Content = engine._believe(other, taker_witness, latest.epoch, latest.account_root)
    before: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    quote: bool = before.mm_excess >= 0
    if quote:
        owes: bool = before.pv < margin._collateral(content)
        assert owes, "liquidator: account is above maintenance margin"
        called: uint256 = self._calls[account] & constants.MASK_64
        assert called != 0 and latest.live + 1 >= called + CURE, "liquidator: cure period is not over"
    if before.pv >= 0:
        assert block.timestamp >= staticcall engine.oracle.grace_until(), "liquidator: grace after an outage"

    dust: int256 = convert((latest.margin >> 160) & constants.MASK_48, int256)
    lots: uint256 = state.head & constants.MASK_64  # sum |q| before the takes

    # The takes, at the mark. `short` is the content with one lot less of the last.
    short: margin.Content = content
    taken: DynArray[ILiquidator.Taken, constants.MAX_TAKES] = []
    for take: ILiquidator.Take in takes:
        leg: IMargin.Leg = IMargin.Leg(meta=take.meta, array=take.array)
        id: uint256 = instrument._id(take.meta)
        assert not quote or instrument._kind(id) == constants.TOKEN, "liquidator: only tokens can be taken"
        price: int256 = risk_array._mark(take.array)
        held: int256 = engine._quantity(account, id)
        taker_held: int256 = engine._quantity(taker, id)
        if take.lots > 0:
            assert take.lots <= held, "liquidator: more than the position"
            short = margin._apply(content, leg, 1 - take.lots, held, content.head)
            state, other = extcall engine.ledger.move_position(
                account, taker, id, convert(take.lots, uint256), take.lots * price, latest.epoch
            )
        else:
            assert take.lots < 0, "liquidator: empty take"
            assert take.lots >= held, "liquidator: more than the position"
            short = margin._apply(content, leg, -1 - take.lots, held, content.head)
            other, state = extcall engine.ledger.move_position(
                taker, account, id, convert(-take.lots, uint256), -take.lots * price, latest.epoch
            )
        content = margin._apply(content, leg, -take.lots, held, state.head)
        taker_content = margin._apply(taker_content, leg, take.lots, taker_held, other.head)
        taken.append(ILiquidator.Taken(instrument=id, lots=take.lots, price=price))

    if not cascade._is_exempt(before, dust):
        self._draw(account, takes, latest.epoch, lots)

    # The penalty, on the fall of the requirement.
    phi: uint256 = self._phi(account, latest)
    after: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    penalty: int256 = self._penalty(before, after, phi)
    after = self._less(after, penalty)
    share: uint256 = claim._shared(
        penalty,
        (latest.margin >> 144) & constants.MASK_16,
        claim._of(before.pv, before.risk + before.closeout),
        claim._of(after.pv, after.risk + after.closeout),
    )
    rise: int256 = after.mm_excess - before.mm_excess
    assert rise > 0, "liquidator: must raise maintenance excess"

    # What the account's reserve adds to the reward.
    restored: bool = margin._is_healthy(content, after)
    extra: int256 = 0
    if restored and share < (latest.margin >> 32) & constants.MASK_48:
        index: uint256 = ((staticcall engine.oracle.mark(coin)) >> 176) & constants.MASK_64
        least: uint256 = reward._floor(len(takes), index, latest.margin)
        extra = min(convert(least - min(share, least), int256), min(max(after.pv, 0), rise - 1))
        if margin._is_healthy(content, self._less(after, extra)):
            after = self._less(after, extra)
        else:
            extra = 0
    if restored and before.risk + before.closeout >= dust:
        # Cash does not matter to the requirement, and PV is the same before and after takes at the mark.
        less: IMargin.Margin = margin._evaluate(short, 0, latest.margin)
        less_charged: int256 = self._penalty(before, less, phi) + extra
        less_initial: int256 = less.pv - less.im_excess
        least: int256 = max(less_initial, margin._collateral(short))
        assert before.pv - less_charged < least, "liquidator: more than restores the account"

    paid: uint256 = share + convert(extra, uint256)
    engine._move_cash(account, taker, paid, constants.LIQUIDATION_REWARD)
    engine._move_cash(
        account, constants.INSURANCE, convert(penalty, uint256) - share, constants.LIQUIDATION_PENALTY
    )
    cleared: bool = restored and self._calls[account] & constants.MASK_64 != 0
    if cleared:
        self._calls[account] = 0
    engine._store(state, content, latest.epoch)
    engine._store(other, taker_content, latest.epoch)

    # The taker, which may pay in what it lacks.
    taker_after: IMargin.Margin = margin._evaluate(taker_content, other.cash + convert(paid, int256), latest.margin)
    if len(data) != 0:
        lacking: int256 = max(max(-taker_after.im_excess, margin._collateral(taker_content) - taker_after.pv), 0)
        assert msg.sender.is_contract, "liquidator: caller cannot be called"
        extcall ILiquidationTaker(msg.sender).on_liquidation(account, taker, convert(lacking, uint256), data)
        if lacking != 0:
            extcall engine.ledger.deposit(taker, msg.sender, convert(lacking, uint256))
            taker_after = self._less(taker_after, -lacking)
    assert taker_after.im_excess >= 0, "liquidator: taker below initial margin"
    assert taker_after.pv >= margin._collateral(taker_content), "liquidator: taker's quote equity below zero"
    log ILiquidator.Liquidated(
        account=account,
        taker=taker,
        epoch=latest.epoch,
        before=before,
        after=after,
        taker_after=taker_after,
        phi=phi,
        penalty=convert(penalty, uint256),
        reward=paid,
        extra=convert(extra, uint256),
        base_fee=block.basefee,
        takes=taken,
    )
    if cleared:
        log ILiquidator.CallCleared(account=account, epoch=latest.epoch)
    engine._leave()


# Views


@view
@external
def called_at(account: uint256) -> (bool, uint256):
    """
    @notice An account's margin call.
    @param account The account.
    @return bool, uint256 Whether it is called, and the oracle-live clock at the call in seconds.
    """
    called: uint256 = self._calls[account] & constants.MASK_64
    if called == 0:
        return (False, 0)
    return (True, called - 1)


@view
@external
def own_draw(account: uint256) -> (uint256, uint256):
    """
    @notice What was last taken from an account beyond the buckets, on its own share.
    @param account The account.
    @return uint256, uint256 Lots, and the epoch.
    """
    word: uint256 = self._calls[account]
    return (word >> 128, (word >> 64) & constants.MASK_64)


@view
@external
def phi(account: uint256) -> uint256:
    """
    @notice The penalty that a liquidation under the latest epoch would charge.
    @param account The account.
    @return uint256 Share of the fall, 1e-4.
    """
    return self._phi(account, staticcall engine.oracle.latest_accounts())


# Internal


@internal
def _draw(
    account: uint256, takes: DynArray[ILiquidator.Take, constants.MAX_TAKES], epoch: uint256, lots: uint256
):
    """
    @dev Draw takes on the buckets, and on the account's own share.
    @param account The account.
    @param takes The takes, ids ascending.
    @param epoch The latest epoch.
    @param lots The account's sum |q|.
    """
    word: uint256 = self._calls[account]
    used: uint256 = 0
    if (word >> 64) & constants.MASK_64 == epoch:
        used = word >> 128
    own: uint256 = cascade._draw(takes, epoch, lots, used)
    if own != used:
        self._calls[account] = own << 128 | epoch << 64 | word & constants.MASK_64


@pure
@internal
def _less(found: IMargin.Margin, amount: int256) -> IMargin.Margin:
    """
    @dev A margin with less cash.
    @param found The margin.
    @param amount Micro-USD, signed.
    """
    less: IMargin.Margin = found
    less.pv -= amount
    less.mm_excess -= amount
    less.im_excess -= amount
    return less


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
    assert len(takes) != 0, "liquidator: no takes"
    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    count: uint256 = 0
    last: uint256 = 0
    for take: ILiquidator.Take in takes:
        assert take.meta >> 152 > last, "liquidator: takes not ascending"
        last = take.meta >> 152
        leaves[count] = keccak256(keccak256(abi_encode(take.meta, take.array)))
        count += 1
    assert merkle._root_of_many(leaves, count, proof, flags) == root, "liquidator: takes not proven"


@view
@internal
def _phi(account: uint256, latest: IRiskOracle.Latest) -> uint256:
    """
    @dev The penalty's share of the fall, floored.
    @param account The account.
    @param latest The latest epoch.
    @return uint256 1e-4.
    """
    least: uint256 = (latest.margin >> 80) & constants.MASK_16
    called: uint256 = self._calls[account] & constants.MASK_64
    if called == 0:
        return least
    most: uint256 = (latest.margin >> 96) & constants.MASK_16
    ramp: uint256 = (latest.margin >> 112) & constants.MASK_32
    elapsed: uint256 = latest.live + 1 - called
    if elapsed >= ramp:
        return most
    return least + (most - least) * elapsed // ramp


@pure
@internal
def _penalty(before: IMargin.Margin, after: IMargin.Margin, phi: uint256) -> int256:
    """
    @dev `min(floor(phi * fall), max(PV, 0))`; nothing where the requirement does not fall.
    @param before Margin before the takes.
    @param after Margin after them; only its requirement counts.
    @param phi Share of the fall, 1e-4.
    @return int256 Micro-USD, not negative.
    """
    fall: int256 = before.risk + before.closeout - after.risk - after.closeout
    share: int256 = max(fall, 0) * convert(phi, int256) // convert(constants.ONE, int256)
    return min(share, max(before.pv, 0))
