# pragma version 0.4.3
"""
@title AccountWordsHarness
@license GNU Affero General Public License v3.0 only
@notice The packed words of an account on their own, for values that no ledger reaches in a test.
"""

from interfaces import ILedger
from lib import account_words


@pure
@external
def counted(counts: uint256, underlying: uint256) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param counts As there.
    @param underlying As there.
    @return uint256 As there.
    """
    return account_words._counted(counts, underlying)


@pure
@external
def uncounted(counts: uint256, underlying: uint256) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param counts As there.
    @param underlying As there.
    @return uint256 As there.
    """
    return account_words._uncounted(counts, underlying)


@pure
@external
def with_cash(holdings: uint256, change: int256) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param holdings As there.
    @param change As there.
    @return uint256 As there.
    """
    return account_words._with_cash(holdings, change)


@pure
@external
def transferred(title: uint256, owner: address) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param title As there.
    @param owner As there.
    @return uint256 As there.
    """
    return account_words._transferred(title, owner)


@pure
@external
def lots(word: uint256, instrument: uint256) -> int256:
    """
    @notice As lib/account_words.vy.
    @param word As there.
    @param instrument As there.
    @return int256 As there.
    """
    return account_words._lots(word, instrument)


@pure
@external
def with_lots(word: uint256, instrument: uint256, lots: int256) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param word As there.
    @param instrument As there.
    @param lots As there.
    @return uint256 As there.
    """
    return account_words._with_lots(word, instrument, lots)


@pure
@external
def spread(account: uint256, title: uint256, holdings: uint256) -> ILedger.Account:
    """
    @notice As lib/account_words.vy, with a position hash of zero.
    @param account As there.
    @param title As there.
    @param holdings As there.
    @return Account As there.
    """
    return account_words._account(account, title, holdings, empty(bytes32))
