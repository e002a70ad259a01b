# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title Ledger
@license GNU Affero General Public License v3.0 only
@notice Holds every balance, position and checkpoint, the settlement tokens, and the one lock against reentrancy. It knows
        nothing of prices or margin: the engines (ClearingHouse, Liquidator) decide, the ledger conserves. Cash is signed
        micro-USD, which is one unit of the 6-decimal settlement token; positions are signed lots.
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). The settlement token must be trusted not to
        change balances on its own; one that charges a fee on transfer is refused, one that calls back is held off by the
        lock, one that returns nothing is accepted. Engines are fixed once, by the deployer.
@custom:kill Nothing here stops: an engine that does not call leaves all balances where they are.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed
from interfaces import ILedger
from lib import account_words
from lib import accounts
from lib import constants
from lib import custody
from lib import lock

implements: ILedger
initializes: accounts
initializes: custody
initializes: lock

exports: (
    accounts.next_account,
    accounts.open_account,
    accounts.open_isolated,
    accounts.is_isolated,
    custody.collateral_held,
    lock.enter,
    lock.is_engine,
    lock.leave,
    lock.set_engines,
)


_TOKEN: immutable(IERC20)


# Settlement tokens that came in by `deposit` less those that went out by `withdraw`; tokens sent here otherwise do not count.
# Invariant `cash_is_held`: sum of cash over all accounts = tokens_held <= token.balanceOf(self).
tokens_held: public(uint256)

# keccak256(abi.encode(epoch, digest of the margin content)), written by an engine that checked the content.
_checkpoint: HashMap[uint256, bytes32]


@deploy
def __init__(token: address):
    """
    @notice Fix the settlement token. Its books begin at nothing.
    @param token ERC-20 token with 6 decimals.
    """
    assert staticcall IERC20Detailed(token).decimals() == 6, "ledger: token needs 6 decimals"
    accounts.__init__()
    lock.__init__()
    _TOKEN = IERC20(token)


# Anyone, and owners


@external
def transfer_account(account: uint256, owner: address):
    """
    @notice Give an account away, with everything in it. Orders signed so far become void.
    @dev Refused while an engine acts, which may hold the owner in memory.
    @param account The caller's account.
    @param owner The new owner.
    """
    assert not lock._locked, "ledger: locked"
    assert owner != empty(address), "ledger: no owner"
    title: uint256 = accounts._title[account]
    assert account_words._owner(title) == msg.sender, "ledger: not the owner"
    accounts._transfer(account, owner)


# Engines


@external
def deposit(account: uint256, payer: address, amount: uint256):
    """
    @notice Take settlement tokens from the payer, who approved this contract, into an account's cash.
    @dev Cash rises after the tokens came, so nothing that a token calls back can see cash that is not held.
    @param account An account that exists, reserved ones included.
    @param payer Who pays.
    @param amount Micro-USD, not zero.
    """
    lock._only_in_action()
    assert amount != 0, "ledger: zero amount"
    reserved: bool = account >= constants.INSURANCE and account <= constants.FEES
    owned: bool = account >= constants.FIRST_ACCOUNT and account < accounts.next_account
    assert reserved or owned, "ledger: no such account"
    custody._pull(_TOKEN, payer, amount)
    self.tokens_held += amount
    accounts._add_cash(account, account_words._signed(amount))
    log ILedger.Deposit(account=account, payer=payer, amount=amount)


@external
def withdraw(account: uint256, to: address, amount: uint256) -> uint256:
    """
    @notice Pay settlement tokens out of an account's cash, which may go below zero if the engine finds the account good.
            While nobody can pay all debts, each withdrawal bears its part:

                S = max(debts of accounts that hold nothing - cash of shortfall - cash of insurance, 0)     T = tokens held
                paid = floor(amount * T / (T + S)), the rest of amount goes to shortfall

    @dev `T + S` is what all others could claim: the sum of all cash is T, and S is what the debtors, shortfall and insurance
         lack of nothing. A withdrawal leaves the ratio `T / (T + S)` as it is: T falls by `amount * T / (T + S)`, S by
         `amount * S / (T + S)`; what the floor holds back raises it for those who stay. Absorbing a debt and repaying
         shortfall out of insurance change neither T nor S. So the order of all of them does not matter. The token is called
         last.
    @param account The account.
    @param to Who gets the tokens.
    @param amount Micro-USD by which its cash falls, not zero.
    @return uint256 Micro-USD paid.
    """
    lock._only_in_action()
    assert amount != 0, "ledger: zero amount"
    assert to != empty(address) and to != self, "ledger: bad recipient"
    held: uint256 = self.tokens_held
    short: uint256 = accounts._short()
    paid: uint256 = amount
    if short != 0:
        assert amount < 2**127, "ledger: amount out of range"
        paid = amount * held // (held + short)
        assert paid != 0, "ledger: zero amount"
        accounts._add_cash(account, -account_words._signed(amount - paid))
        accounts._add_cash(constants.SHORTFALL, account_words._signed(amount - paid))
        log ILedger.CashMoved(
            giver=account, taker=constants.SHORTFALL, amount=amount - paid, reason=constants.SHORTFALL_SHARED
        )
    assert paid <= held, "ledger: not enough tokens held"
    self.tokens_held = held - paid
    accounts._add_cash(account, -account_words._signed(paid))
    log ILedger.Withdrawal(account=account, to=to, amount=paid)
    custody._push(_TOKEN, to, paid)
    return paid


@external
def deposit_token(
    account: uint256, payer: address, instrument: uint256, collateral: ILedger.Collateral, lots: uint256, epoch: uint256
) -> ILedger.Account:
    """
    @notice Take collateral tokens from the payer, who approved this contract, into an account's position.
    @param account An owner's account.
    @param payer Who pays.
    @param instrument Instrument id of the token.
    @param collateral The token and its smallest units in a lot.
    @param lots Lots, not zero, below 2^32.
    @param epoch What the account remembers as the epoch of its last trade.
    @return Account The account after it.
    """
    lock._only_in_action()
    assert account >= constants.FIRST_ACCOUNT and account < accounts.next_account, "ledger: no such account"
    assert lots != 0 and lots < constants.SUM_LIMIT, "ledger: lots out of range"
    assert not accounts._is_closed(instrument >> 88), "ledger: underlying is closed"
    amount: uint256 = lots * collateral.units
    custody._pull(IERC20(collateral.token), payer, amount)
    custody.collateral_held[collateral.token] += amount
    after: ILedger.Account = accounts._change(account, instrument, convert(lots, int256), 0, epoch)[0]
    log ILedger.TokensDeposited(account=account, instrument=instrument, payer=payer, lots=lots, amount=amount, epoch=epoch)
    return after


@external
def withdraw_token(
    account: uint256, to: address, instrument: uint256, collateral: ILedger.Collateral, lots: uint256, epoch: uint256
) -> ILedger.Account:
    """
    @notice Pay collateral tokens out of an account's position.
    @dev The token is called last.
    @param account An owner's account.
    @param to Who gets the tokens.
    @param instrument Instrument id of the token.
    @param collateral The token and its smallest units in a lot.
    @param lots Lots, not zero, below 2^32.
    @param epoch What the account remembers as the epoch of its last trade.
    @return Account The account after it.
    """
    lock._only_in_action()
    assert lots != 0 and lots < constants.SUM_LIMIT, "ledger: lots out of range"
    assert to != empty(address) and to != self, "ledger: bad recipient"
    amount: uint256 = lots * collateral.units
    custody.collateral_held[collateral.token] -= amount
    after: ILedger.Account = accounts._change(account, instrument, -convert(lots, int256), 0, epoch)[0]
    log ILedger.TokensWithdrawn(account=account, instrument=instrument, to=to, lots=lots, amount=amount, epoch=epoch)
    custody._push(IERC20(collateral.token), to, amount)
    return after


@external
def move_cash(giver: uint256, taker: uint256, amount: uint256, reason: uint256):
    """
    @notice Move cash between two accounts.
    @param giver Account that pays.
    @param taker Account that gets it.
    @param amount Micro-USD.
    @param reason Why (constants.vy).
    """
    lock._only_in_action()
    accounts._add_cash(giver, -account_words._signed(amount))
    accounts._add_cash(taker, account_words._signed(amount))
    log ILedger.CashMoved(giver=giver, taker=taker, amount=amount, reason=reason)


@external
def move_position(
    giver: uint256, taker: uint256, instrument: uint256, lots: uint256, cash: int256, epoch: uint256
) -> (ILedger.Account, ILedger.Account):
    """
    @notice Move lots from one account to another against cash.
    @dev Both sides change by the same lots and cash, so the sums stay.
    @param giver Account whose position falls.
    @param taker Account whose position rises.
    @param instrument Instrument id, below 2^104.
    @param lots Lots, not zero, below 2^32.
    @param cash Micro-USD from taker to giver, signed.
    @param epoch The epoch under which they trade; both accounts remember it.
    @return Account, Account Both after the move.
    """
    lock._only_in_action()
    return accounts._move(giver, taker, instrument, lots, cash, epoch, 0)


@external
def exchange(
    giver: uint256, taker: uint256, instrument: uint256, lots: uint256, cash: int256, epoch: uint256, fee: uint256
) -> (ILedger.Account, ILedger.Account):
    """
    @notice Move lots as `move_position` does, and a fee from each side to insurance.
    @param giver Account whose position falls, of an owner.
    @param taker Account whose position rises, of an owner.
    @param instrument Instrument id, below 2^104.
    @param lots Lots, not zero, below 2^32.
    @param cash Micro-USD from taker to giver, signed, the fee apart.
    @param epoch The epoch under which they trade.
    @param fee Micro-USD that each pays.
    @return Account, Account Both after the move and the fee.
    """
    lock._only_in_action()
    return accounts._move(giver, taker, instrument, lots, cash, epoch, fee)


@external
def assign_account(account: uint256, owner: address):
    """
    @notice Give an account that was taken over to its taker. Orders signed so far become void.
    @param account An owner's account.
    @param owner The new owner.
    """
    lock._only_in_action()
    accounts._transfer(account, owner)


@external
def close_underlying(underlying: uint256):
    """
    @notice Let positions in an underlying only be settled from now on.
    @param underlying The underlying.
    """
    lock._only_in_action()
    accounts._markets[underlying] |= accounts._CLOSED
    log ILedger.UnderlyingClosed(underlying=underlying)


@external
def finish(account: uint256, checkpoint: bytes32, other: uint256, other_checkpoint: bytes32):
    """
    @notice Remember the margin content of two accounts and give the lock back.
    @param account An account.
    @param checkpoint As in `set_checkpoint`; zero to leave it as it is.
    @param other Another account.
    @param other_checkpoint Likewise.
    """
    lock._only_in_action()
    if checkpoint != empty(bytes32):
        self._checkpoint[account] = checkpoint
    if other_checkpoint != empty(bytes32):
        self._checkpoint[other] = other_checkpoint
    lock._locked = False


@external
def set_checkpoint(account: uint256, checkpoint: bytes32):
    """
    @notice Remember the margin content that the engine checked or computed.
    @param account The account.
    @param checkpoint `keccak256(abi.encode(epoch, digest))`.
    """
    lock._only_in_action()
    self._checkpoint[account] = checkpoint


# Views. While an engine acts they show the state before the token's call in `deposit`, and after it in `withdraw`: books and
# cash agree at both moments, so a contract that reads them from a callback is told nothing false.


@view
@external
def account(account: uint256) -> ILedger.Account:
    """
    @notice An account as it is now.
    @param account The account; one that does not exist has no owner.
    @return Account Owner, version, cash, last trade epoch, head and position hash.
    """
    return account_words._account(
        account, accounts._title[account], accounts._holdings[account], accounts._position_hash[account]
    )


@view
@external
def holdings(account: uint256) -> ILedger.Account:
    """
    @notice An account for those who only check its margin: 2,100 gas less than `account`.
    @param account The account.
    @return Account Without owner, version and last trade, which are zero.
    """
    return account_words._account(account, 0, accounts._holdings[account], accounts._position_hash[account])


@view
@external
def side(account: uint256, instrument: uint256) -> (ILedger.Account, int256, bytes32):
    """
    @notice All that a trade needs of one of its sides.
    @param account The account.
    @param instrument Instrument id.
    @return Account, int256, bytes32 The account; its position in the instrument, signed lots; its checkpoint.
    """
    return (
        account_words._account(
            account, accounts._title[account], accounts._holdings[account], accounts._position_hash[account]
        ),
        account_words._lots(accounts._lots[account_words._lots_key(account, instrument)], instrument),
        self._checkpoint[account],
    )


@view
@external
def quantity(account: uint256, instrument: uint256) -> int256:
    """
    @notice An account's position.
    @param account The account.
    @param instrument Instrument id.
    @return int256 Signed lots.
    """
    return account_words._lots(accounts._lots[account_words._lots_key(account, instrument)], instrument)


@view
@external
def quantities(
    account: uint256, instruments: DynArray[uint256, constants.MAX_POSITIONS]
) -> DynArray[int256, constants.MAX_POSITIONS]:
    """
    @notice Several of an account's positions. Ids that differ in kind only, next to each other, are read at once.
    @param account The account.
    @param instruments Instrument ids.
    @return DynArray Signed lots, in the same order.
    """
    found: DynArray[int256, constants.MAX_POSITIONS] = []
    last: uint256 = max_value(uint256)
    word: uint256 = 0
    for instrument: uint256 in instruments:
        key: uint256 = account_words._lots_key(account, instrument)
        if key != last:
            word = accounts._lots[key]
            last = key
        found.append(account_words._lots(word, instrument))
    return found


@view
@external
def checkpoint(account: uint256) -> bytes32:
    """
    @notice The checkpoint last stored for an account, zero if none.
    @param account The account.
    @return bytes32 `keccak256(abi.encode(epoch, digest))`.
    """
    return self._checkpoint[account]


@view
@external
def closed(underlying: uint256) -> bool:
    """
    @notice Whether positions in an underlying can only be settled.
    @param underlying Its number.
    """
    return accounts._is_closed(underlying)


@view
@external
def open_interest(underlying: uint256) -> uint256:
    """
    @notice Open interest of an underlying: the sum of the owners' long positions in its derivatives, lots.
    @param underlying The underlying.
    """
    return accounts._markets[underlying] & ~accounts._CLOSED


@view
@external
def short() -> uint256:
    """
    @notice What nobody can pay, and each withdrawal bears its part of: `S` of `withdraw`, micro-USD.
    """
    return accounts._short()


@view
@external
def token() -> address:
    """
    @notice Contract of the settlement token.
    """
    return _TOKEN.address
