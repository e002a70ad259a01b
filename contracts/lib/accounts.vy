# pragma version 0.4.3
"""
@title Accounts
@license GNU Affero General Public License v3.0 only
@notice The ledger's accounts and positions: their storage, and the only functions that change it. Each keeps the sums.
"""

from interfaces import ILedger
from lib import account_words
from lib import constants


_CLOSED: constant(uint256) = 2**255


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

# By underlying: open interest, the sum of the owners' long positions (lots, bits 254..0); only to be settled (bit 255, for good).
_markets: HashMap[uint256, uint256]


# Sum over the owners' accounts that hold nothing of max(-cash, 0), micro-USD: debts that only insurance or all can pay.
_debts: uint256


@deploy
def __init__():
    """
    @notice No account exists but the four reserved ones.
    """
    self.next_account = constants.FIRST_ACCOUNT


# Anyone


@external
def open_account(owner: address) -> uint256:
    """
    @notice Open an account for anyone. One person may own many. It is a cross account: its positions, in a few underlyings,
            secure each other.
    @param owner Who may withdraw from it and sign its orders.
    @return uint256 The account's id; ids are never reused.
    """
    return self._open(owner, False)


@external
def open_isolated(owner: address) -> uint256:
    """
    @notice Open an account that holds one underlying at a time and never more, so that it can lose only what was put up for it.
    @param owner As of `open_account`.
    @return uint256 The account's id.
    """
    return self._open(owner, True)


# Views


@view
@external
def is_isolated(account: uint256) -> bool:
    """
    @notice Whether an account holds one underlying at most.
    @param account The account.
    @return bool Whether it was opened so. A new owner keeps it as it is.
    """
    return account_words._is_isolated(self._title[account])


# Internal


@internal
def _open(owner: address, isolated: bool) -> uint256:
    """
    @dev A new account.
    @param owner Its owner.
    @param isolated Whether it holds one underlying at most.
    @return uint256 Its id.
    """
    assert owner != empty(address), "ledger: no owner"
    account: uint256 = self.next_account
    self.next_account = account + 1
    self._title[account] = account_words._opened(owner, isolated)
    log ILedger.AccountOpened(account=account, owner=owner, isolated=isolated)
    return account


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
    before: uint256 = self._holdings[account]
    self._put(account, before, account_words._with_cash(before, change))


@internal
def _put(account: uint256, before: uint256, after: uint256):
    """
    @dev Write an account's holdings, and keep the sum of debts.
    @param account The account.
    @param before Its holdings.
    @param after Its holdings from now on.
    """
    self._holdings[account] = after
    if (before | after) >> 255 != 0 and account >= constants.FIRST_ACCOUNT:  # cash is or was below zero
        self._debts = self._debts + account_words._debt(after) - account_words._debt(before)


@view
@internal
def _short() -> uint256:
    """
    @dev What nobody can pay: debts of accounts that hold nothing and the recorded shortfall, less insurance, micro-USD.
    """
    owed: int256 = convert(self._debts, int256) - account_words._cash(self._holdings[constants.SHORTFALL])
    if owed <= 0:
        return 0
    return convert(max(owed - account_words._cash(self._holdings[constants.INSURANCE]), 0), uint256)


@view
@internal
def _is_closed(underlying: uint256) -> bool:
    """
    @dev Whether positions in an underlying can only be settled.
    @param underlying The underlying.
    """
    return self._markets[underlying] & _CLOSED != 0


@internal
def _move(
    giver: uint256, taker: uint256, instrument: uint256, lots: uint256, cash: int256, epoch: uint256, fee: uint256
) -> (ILedger.Account, ILedger.Account):
    """
    @dev Both sides change by the same lots and cash, and insurance gets what both pay, so the sums stay.
    @param giver Account whose position falls.
    @param taker Account whose position rises.
    @param instrument Instrument id.
    @param lots Lots.
    @param cash Micro-USD from taker to giver.
    @param epoch The epoch.
    @param fee Micro-USD from each to insurance.
    @return Account, Account Both after it.
    """
    assert giver != taker, "ledger: one account on both sides"
    assert lots != 0 and lots < constants.SUM_LIMIT, "ledger: lots out of range"
    market: uint256 = self._markets[instrument >> 88]
    token: bool = instrument & constants.MASK_8 == constants.TOKEN
    if giver != constants.CLEARING and taker != constants.CLEARING and not token:
        assert market & _CLOSED == 0, "ledger: underlying is closed"
    change: int256 = convert(lots, int256)
    charge: int256 = account_words._signed(fee)
    given: ILedger.Account = empty(ILedger.Account)
    taken: ILedger.Account = empty(ILedger.Account)
    fewer: int256 = 0  # long lots
    more: int256 = 0
    given, fewer = self._change(giver, instrument, -change, cash - charge, epoch)
    taken, more = self._change(taker, instrument, change, -cash - charge, epoch)
    if fewer != -more:
        self._markets[instrument >> 88] = account_words._summed(market, fewer + more)
    log ILedger.PositionMoved(
        giver=giver, taker=taker, instrument=instrument, lots=lots, cash=cash, epoch=epoch
    )
    if fee != 0:
        self._add_cash(constants.INSURANCE, 2 * charge)
        log ILedger.CashMoved(giver=giver, taker=constants.INSURANCE, amount=fee, reason=constants.TRADE_FEE)
        log ILedger.CashMoved(giver=taker, taker=constants.INSURANCE, amount=fee, reason=constants.TRADE_FEE)
    return (given, taken)


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
    held: uint256 = self._holdings[account]
    holdings: uint256 = account_words._with_cash(held, cash)
    if account == constants.CLEARING:
        # The clearing account has cash and lots, of however many instruments, and no margin that anybody could check.
        assert abs(after) < 2**50, "ledger: too many lots"
        self._holdings[account] = holdings
        self._lots[key] = account_words._with_lots(word, instrument, after)
        return account_words._account(account, 0, holdings, empty(bytes32)), 0
    assert after >= 0 or instrument & constants.MASK_8 != constants.TOKEN, "ledger: more tokens than it has"
    holdings = account_words._with_position(holdings, instrument >> 88, before, after)
    self._put(account, held, holdings)
    self._lots[key] = account_words._with_lots(word, instrument, after)
    title: uint256 = self._title[account]
    if before == 0 and account_words._is_isolated(title):
        assert not account_words._is_crossed(holdings), "ledger: account is isolated"
    if title & constants.MASK_64 != epoch:
        title = account_words._traded(title, epoch)
        self._title[account] = title
    position_hash: bytes32 = keccak256(abi_encode(self._position_hash[account], account, instrument, change))
    self._position_hash[account] = position_hash
    return account_words._account(account, title, holdings, position_hash), max(after, 0) - max(before, 0)
