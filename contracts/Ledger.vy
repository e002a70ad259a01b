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
from lib import constants

implements: ILedger


_CLOSED: constant(uint256) = 2**255
_DEPLOYER: immutable(address)
_TOKEN: immutable(IERC20)


# Whether an address may change balances. Written once.
is_engine: public(HashMap[address, bool])
_wired: bool

# Settlement tokens that came in by `deposit` less those that went out by `withdraw`; tokens sent here otherwise do not count.
# Invariant `cash_is_held`: sum of cash over all accounts = tokens_held <= token.balanceOf(self).
tokens_held: public(uint256)

# The id that the next account gets. Ids from FIRST_ACCOUNT up to here exist, and so do the four reserved ones.
next_account: public(uint256)

# Words of lib/account_words.vy, by account.
_title: HashMap[uint256, uint256]
_holdings: HashMap[uint256, uint256]

# Words of lib/account_words.vy, by account and instrument without its kind.
# Invariant `positions_net_to_zero`: sum over accounts of q = 0 for each instrument.
# Invariant `counts_are_true`: an account's counts are those of its nonzero positions by underlying, its sum |q| is theirs.
_lots: HashMap[uint256, uint256]

# Running hash h' = keccak256(abi.encode(h, account, instrument, dq)) of all changes of an account's positions.
_position_hash: HashMap[uint256, bytes32]

# keccak256(abi.encode(epoch, digest of the margin content)), written by an engine that checked the content.
_checkpoint: HashMap[uint256, bytes32]

# By underlying: open interest, the sum of the owners' long positions (lots, bits 254..0); only to be settled (bit 255, for good).
_markets: HashMap[uint256, uint256]

# Set while an engine acts, across all contracts; falls with the transaction.
_locked: transient(bool)


@deploy
def __init__(token: address):
    """
    @notice Fix the settlement token. Its books begin at nothing.
    @param token ERC-20 token with 6 decimals.
    """
    assert staticcall IERC20Detailed(token).decimals() == 6, "ledger: token needs 6 decimals"
    _DEPLOYER = msg.sender
    _TOKEN = IERC20(token)
    self.next_account = constants.FIRST_ACCOUNT


# Deployer


@external
def set_engines(engines: DynArray[address, 6]):
    """
    @notice Fix the contracts that may change balances, once and for ever.
    @dev Only the deployer, so that nobody gets in between deployment and this call.
    @param engines Contracts that check margin before they act.
    """
    assert msg.sender == _DEPLOYER, "ledger: only the deployer"
    assert not self._wired, "ledger: engines are fixed"
    self._wired = True
    for engine: address in engines:
        assert engine != empty(address), "ledger: empty engine"
        self.is_engine[engine] = True
    log ILedger.EnginesSet(engines=engines)


# Anyone, and owners


@external
def open_account(owner: address) -> uint256:
    """
    @notice Open an account for anyone. One person may own many.
    @param owner Who may withdraw from it and sign its orders.
    @return uint256 The account's id; ids are never reused.
    """
    assert owner != empty(address), "ledger: no owner"
    account: uint256 = self.next_account
    self.next_account = account + 1
    self._title[account] = account_words._opened(owner)
    log ILedger.AccountOpened(account=account, owner=owner)
    return account


@external
def transfer_account(account: uint256, owner: address):
    """
    @notice Give an account away, with everything in it. Orders signed so far become void.
    @dev Refused while an engine acts, which may hold the owner in memory.
    @param account The caller's account.
    @param owner The new owner.
    """
    assert not self._locked, "ledger: locked"
    assert owner != empty(address), "ledger: no owner"
    title: uint256 = self._title[account]
    assert account_words._owner(title) == msg.sender, "ledger: not the owner"
    self._transfer(account, owner)


# Engines


@external
def enter():
    """
    @notice Take the lock for one action. Whoever is called meanwhile, a token for one, finds every engine closed.
    """
    assert self.is_engine[msg.sender], "ledger: only engines"
    assert not self._locked, "ledger: locked"
    self._locked = True


@external
def leave():
    """
    @notice Give the lock back at the end of the action.
    """
    self._only_in_action()
    self._locked = False


@external
def deposit(account: uint256, payer: address, amount: uint256):
    """
    @notice Take settlement tokens from the payer, who approved this contract, into an account's cash.
    @dev The balance is compared only to refuse a token that takes a fee; the books do not rest on it. Cash rises after the
         tokens came, so nothing that a token calls back can see cash that is not held.
    @param account An account that exists, reserved ones included.
    @param payer Who pays.
    @param amount Micro-USD, not zero.
    """
    self._only_in_action()
    assert amount != 0, "ledger: zero amount"
    reserved: bool = account >= constants.INSURANCE and account <= constants.FEES
    owned: bool = account >= constants.FIRST_ACCOUNT and account < self.next_account
    assert reserved or owned, "ledger: no such account"
    held: uint256 = staticcall _TOKEN.balanceOf(self)
    assert extcall _TOKEN.transferFrom(payer, self, amount, default_return_value=True), "ledger: token transfer failed"
    assert staticcall _TOKEN.balanceOf(self) == held + amount, "ledger: token takes a fee"
    self.tokens_held += amount
    self._add_cash(account, account_words._signed(amount))
    log ILedger.Deposit(account=account, payer=payer, amount=amount)


@external
def withdraw(account: uint256, to: address, amount: uint256):
    """
    @notice Pay settlement tokens out of an account's cash, which may go below zero if the engine finds the account good.
    @dev The token is called last.
    @param account The account.
    @param to Who gets the tokens.
    @param amount Micro-USD, not zero.
    """
    self._only_in_action()
    assert amount != 0, "ledger: zero amount"
    assert to != empty(address) and to != self, "ledger: bad recipient"
    held: uint256 = self.tokens_held
    assert amount <= held, "ledger: not enough tokens held"
    self.tokens_held = held - amount
    self._add_cash(account, -account_words._signed(amount))
    log ILedger.Withdrawal(account=account, to=to, amount=amount)
    assert extcall _TOKEN.transfer(to, amount, default_return_value=True), "ledger: token transfer failed"


@external
def move_cash(giver: uint256, taker: uint256, amount: uint256, reason: uint256):
    """
    @notice Move cash between two accounts.
    @param giver Account that pays.
    @param taker Account that gets it.
    @param amount Micro-USD.
    @param reason Why (constants.vy).
    """
    self._only_in_action()
    self._add_cash(giver, -account_words._signed(amount))
    self._add_cash(taker, account_words._signed(amount))
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
    self._only_in_action()
    assert giver != taker, "ledger: one account on both sides"
    assert lots != 0 and lots < constants.SUM_LIMIT, "ledger: lots out of range"
    market: uint256 = self._markets[instrument >> 88]
    if giver != constants.CLEARING and taker != constants.CLEARING:
        assert market & _CLOSED == 0, "ledger: underlying is closed"
    change: int256 = convert(lots, int256)
    given: ILedger.Account = empty(ILedger.Account)
    taken: ILedger.Account = empty(ILedger.Account)
    fewer: int256 = 0  # long lots
    more: int256 = 0
    given, fewer = self._change(giver, instrument, -change, cash, epoch)
    taken, more = self._change(taker, instrument, change, -cash, epoch)
    if fewer != -more:
        self._markets[instrument >> 88] = account_words._summed(market, fewer + more)
    log ILedger.PositionMoved(
        giver=giver, taker=taker, instrument=instrument, lots=lots, cash=cash, epoch=epoch
    )
    return (given, taken)


@external
def assign_account(account: uint256, owner: address):
    """
    @notice Give an account that was taken over to its taker. Orders signed so far become void.
    @param account An owner's account.
    @param owner The new owner.
    """
    self._only_in_action()
    self._transfer(account, owner)


@external
def close_underlying(underlying: uint256):
    """
    @notice Let positions in an underlying only be settled from now on.
    @param underlying The underlying.
    """
    self._only_in_action()
    self._markets[underlying] |= _CLOSED
    log ILedger.UnderlyingClosed(underlying=underlying)


@external
def set_checkpoint(account: uint256, checkpoint: bytes32):
    """
    @notice Remember the margin content that the engine checked or computed.
    @param account The account.
    @param checkpoint `keccak256(abi.encode(epoch, digest))`.
    """
    self._only_in_action()
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
        account, self._title[account], self._holdings[account], self._position_hash[account]
    )


@view
@external
def holdings(account: uint256) -> ILedger.Account:
    """
    @notice An account for those who only check its margin: 2,100 gas less than `account`.
    @param account The account.
    @return Account Without owner, version and last trade, which are zero.
    """
    return account_words._account(account, 0, self._holdings[account], self._position_hash[account])


@view
@external
def quantity(account: uint256, instrument: uint256) -> int256:
    """
    @notice An account's position.
    @param account The account.
    @param instrument Instrument id.
    @return int256 Signed lots.
    """
    return account_words._lots(self._lots[account_words._lots_key(account, instrument)], instrument)


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
            word = self._lots[key]
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
    return self._markets[underlying] & _CLOSED != 0


@view
@external
def open_interest(underlying: uint256) -> uint256:
    """
    @notice Open interest of an underlying: the sum of the owners' long positions in its derivatives, lots.
    @param underlying The underlying.
    """
    return self._markets[underlying] & ~_CLOSED


@view
@external
def token() -> address:
    """
    @notice Contract of the settlement token.
    """
    return _TOKEN.address


# Internal


@view
@internal
def _only_in_action():
    """
    @dev The caller is an engine, and some engine holds the lock.
    """
    assert self.is_engine[msg.sender], "ledger: only engines"
    assert self._locked, "ledger: not entered"


@internal
def _transfer(account: uint256, owner: address):
    """
    @dev Change an account's owner and version.
    @param account The account.
    @param owner The new owner.
    """
    title: uint256 = self._title[account]
    previous: address = account_words._owner(title)
    title = account_words._transferred(title, owner)
    self._title[account] = title
    log ILedger.AccountTransferred(
        account=account, previous=previous, owner=owner, version=account_words._version(title)
    )


@internal
def _add_cash(account: uint256, change: int256):
    """
    @dev Change an account's cash.
    @param account The account.
    @param change Signed micro-USD.
    """
    self._holdings[account] = account_words._with_cash(self._holdings[account], change)


@internal
def _change(
    account: uint256, instrument: uint256, change: int256, cash: int256, epoch: uint256
) -> (ILedger.Account, int256):
    """
    @dev Change a position and cash of one account, with its counts, its sum |q|, its position hash and its last trade.
    @param account The account.
    @param instrument Instrument id.
    @param change Signed lots, not zero.
    @param cash Signed micro-USD.
    @param epoch The epoch of the trade.
    @return Account, int256 The account after it, and by how many lots more it is long.
    """
    key: uint256 = account_words._lots_key(account, instrument)
    word: uint256 = self._lots[key]
    before: int256 = account_words._lots(word, instrument)
    after: int256 = before + change
    holdings: uint256 = account_words._with_cash(self._holdings[account], cash)
    if account == constants.CLEARING:
        # The clearing account has cash and lots, of however many instruments, and no margin that anybody could check.
        assert abs(after) < 2**50, "ledger: too many lots"
        self._holdings[account] = holdings
        self._lots[key] = account_words._with_lots(word, instrument, after)
        return account_words._account(account, 0, holdings, empty(bytes32)), 0
    holdings = account_words._with_position(holdings, instrument >> 88, before, after)
    self._holdings[account] = holdings
    self._lots[key] = account_words._with_lots(word, instrument, after)
    title: uint256 = self._title[account]
    if title & constants.MASK_64 != epoch:
        title = account_words._traded(title, epoch)
        self._title[account] = title
    position_hash: bytes32 = keccak256(abi_encode(self._position_hash[account], account, instrument, change))
    self._position_hash[account] = position_hash
    return account_words._account(account, title, holdings, position_hash), max(after, 0) - max(before, 0)
