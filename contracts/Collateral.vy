# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title Collateral
@license GNU Affero General Public License v3.0 only
@notice Where owners bring collateral tokens and take them back. A token is an instrument of kind 5: its lots are a position like
        any other, valued by its leaf, with the haircut in `c_long`. Only whole lots move, and only the account's owner moves
        them.

            lots = amount / units        units: the token's smallest units in a lot (Registry.token)

        From HEALTHY an action ends HEALTHY. Below, a deposit must raise MM excess and not lower IM excess, and is the first
        change of the account's positions under the epoch. Each stores the account's checkpoint, so a witness of the account
        stands again at once, and no deposit spoils a liquidation.
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle. Tokens
        are those that the registry lists: they must not change balances on their own.
@custom:kill The registry's guardian can pause deposits. Withdrawals cannot be stopped but by an oracle that is not fresh, and then
        those who hold tokens only and owe nothing withdraw them (`withdraw_unpledged`) in every state.
"""

from interfaces import ICollateral
from interfaces import ILedger
from interfaces import IMargin
from interfaces import IRegistry
from interfaces import IRiskOracle
from lib import constants
from lib import engine
from lib import instrument
from lib import margin
from lib import merkle
from lib import owner_rule

implements: ICollateral
initializes: engine

exports: (
    engine.ledger,
    engine.oracle,
)


registry: public(immutable(IRegistry))


@deploy
def __init__(ledger: address, oracle: address, registry_: address):
    """
    @notice Bind the engine to its ledger, oracle and registry for ever.
    @param ledger The ledger, which must name this contract as an engine.
    @param oracle The risk oracle.
    @param registry_ The registry of tokens.
    """
    assert registry_ != empty(address), "collateral: address is zero"
    engine.__init__(ledger, oracle)
    registry = IRegistry(registry_)


# Owners


@external
def deposit(
    account: uint256,
    amount: uint256,
    leg: IMargin.Leg,
    proof: DynArray[bytes32, constants.MAX_DEPTH],
    witness: IMargin.Witness,
):
    """
    @notice Bring tokens into an account. Approve the ledger first.
    @dev Open while the oracle is stale, as long as leaf and witness can be proven.
    @param account The caller's account.
    @param amount Smallest units of the token, a whole number of lots.
    @param leg The token's leaf under the latest epoch.
    @param proof The leaf's proof.
    @param witness Witness of the account; empty without positions.
    """
    engine._enter()
    id: uint256 = instrument._id(leg.meta)
    assert not staticcall registry.paused(constants.PAUSE_COLLATERAL), "collateral: deposits are paused"
    open: bool = instrument._status(leg.meta) == constants.OPEN
    assert open and staticcall registry.delisted_at(id) == 0, "collateral: token is close-only"
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest()
    state: ILedger.Account = self._owned(account)
    token: ILedger.Collateral = empty(ILedger.Collateral)
    lots: uint256 = 0
    token, lots = self._whole(id, amount)
    content: margin.Content = self._proven(state, leg, proof, witness, latest)
    was: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    healthy: bool = margin._is_healthy(content, was)
    again: bool = state.last_trade_epoch >= latest.epoch
    held: int256 = engine._quantity(account, id)

    # What came by a deposit does not put off a withdrawal, but below IM it is the one action of the epoch.
    epoch: uint256 = state.last_trade_epoch if healthy else latest.epoch
    state = extcall engine.ledger.deposit_token(account, msg.sender, id, token, lots, epoch)
    content = margin._apply(content, leg, convert(lots, int256), held, state.head)
    now: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    owner_rule._judge(was, healthy, now, margin._collateral(content), again, True)
    engine._store(state, content, latest.epoch)
    engine._leave()


@external
def withdraw(
    account: uint256,
    amount: uint256,
    to: address,
    leg: IMargin.Leg,
    proof: DynArray[bytes32, constants.MAX_DEPTH],
    witness: IMargin.Witness,
):
    """
    @notice Take tokens out of an account, which must end HEALTHY.
    @dev As for cash it needs a fresh epoch after the account's last trade, in which all its underlyings are live.
    @param account The caller's account.
    @param amount Smallest units of the token, a whole number of lots.
    @param to Who gets the tokens.
    @param leg The token's leaf under the latest epoch.
    @param proof The leaf's proof.
    @param witness Witness of the account.
    """
    engine._enter()
    id: uint256 = instrument._id(leg.meta)
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest()
    state: ILedger.Account = self._owned(account)
    token: ILedger.Collateral = empty(ILedger.Collateral)
    lots: uint256 = 0
    token, lots = self._whole(id, amount)
    assert latest.fresh, "collateral: oracle is not fresh"
    assert latest.epoch > state.last_trade_epoch, "collateral: no epoch since the last trade"
    assert engine._all_live(state.head), "collateral: underlying is not live"
    content: margin.Content = self._proven(state, leg, proof, witness, latest)
    held: int256 = engine._quantity(account, id)
    assert convert(lots, int256) <= held, "collateral: more than the position"

    last: uint256 = state.last_trade_epoch
    state = extcall engine.ledger.withdraw_token(account, to, id, token, lots, last)
    content = margin._apply(content, leg, -convert(lots, int256), held, state.head)
    now: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    assert now.im_excess >= 0, "collateral: below initial margin"
    assert now.pv >= margin._collateral(content), "collateral: quote equity below zero"
    engine._store(state, content, latest.epoch)
    engine._leave()


@external
def withdraw_unpledged(
    account: uint256,
    amount: uint256,
    to: address,
    id: uint256,
    tokens: DynArray[uint256, constants.MAX_POSITIONS],
):
    """
    @notice Take tokens out of an account that holds nothing but tokens and owes nothing: in every oracle state, without witness.
    @dev Such an account has no obligation that a price could make. Where tokens are left, cash of the keeper reserve K must be
         too: else what is left may be worth less than a tenth of its requirement, which insurance would make up for at a
         takeover. So whoever has less takes the only kind of token whole, or pays K in first and withdraws it after.
    @param account The caller's account.
    @param amount Smallest units of the token, a whole number of lots.
    @param to Who gets the tokens.
    @param id Instrument id of the token.
    @param tokens Instrument ids of all tokens that the account holds, ascending: they must be all its positions.
    """
    engine._enter()
    state: ILedger.Account = self._owned(account)
    token: ILedger.Collateral = empty(ILedger.Collateral)
    lots: uint256 = 0
    token, lots = self._whole(id, amount)
    assert state.cash >= 0, "collateral: account owes dollars"
    assert len(tokens) == margin._open_positions(state.head), "collateral: not all positions"
    last: uint256 = 0
    for each: uint256 in tokens:
        assert each > last, "collateral: tokens not ascending"
        last = each
        assert instrument._kind(each) == constants.TOKEN, "collateral: account holds more than tokens"
        assert engine._quantity(account, each) != 0, "collateral: no such position"
    held: int256 = engine._quantity(account, id)
    assert convert(lots, int256) <= held, "collateral: more than the position"
    if len(tokens) > 1 or convert(lots, int256) < held:
        latest: IRiskOracle.Latest = staticcall engine.oracle.latest_accounts()
        reserve: uint256 = (latest.margin >> 32) & (2**48 - 1)
        assert state.cash >= convert(reserve, int256), "collateral: cash below the reserve"
    extcall engine.ledger.withdraw_token(account, to, id, token, lots, state.last_trade_epoch)
    engine._leave()


# Internal


@view
@internal
def _owned(account: uint256) -> ILedger.Account:
    """
    @dev An account of the caller's.
    @param account The account.
    """
    state: ILedger.Account = engine._account(account)
    assert state.owner == msg.sender, "collateral: not the owner"
    return state


@view
@internal
def _whole(id: uint256, amount: uint256) -> (ILedger.Collateral, uint256):
    """
    @dev The token behind an instrument, and how many lots an amount is.
    @param id Instrument id.
    @param amount Smallest units.
    """
    token: address = empty(address)
    decimals: uint256 = 0
    units: uint256 = 0
    token, decimals, units = staticcall registry.token(id)
    assert token != empty(address), "collateral: no such token"
    assert amount % units == 0, "collateral: no whole number of lots"
    return (ILedger.Collateral(token=token, units=units), amount // units)


@view
@internal
def _proven(
    state: ILedger.Account,
    leg: IMargin.Leg,
    proof: DynArray[bytes32, constants.MAX_DEPTH],
    witness: IMargin.Witness,
    latest: IRiskOracle.Latest,
) -> margin.Content:
    """
    @dev The account's content, and that the leaf is proven.
    @param state The account.
    @param leg The token's leaf.
    @param proof Its proof.
    @param witness Witness of the account.
    @param latest The latest epoch.
    """
    leaf: bytes32 = keccak256(keccak256(abi_encode(leg)))
    assert merkle._root(leaf, proof) == latest.instrument_root, "collateral: token not proven"
    return engine._believe(state, witness, latest.epoch, latest.account_root)
