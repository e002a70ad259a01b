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
def counted(identity: uint256, underlying: uint256) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param identity As there.
    @param underlying As there.
    @return uint256 As there.
    """
    return account_words._counted(identity, underlying)


@pure
@external
def uncounted(identity: uint256, underlying: uint256) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param identity As there.
    @param underlying As there.
    @return uint256 As there.
    """
    return account_words._uncounted(identity, underlying)


@pure
@external
def with_cash(state: uint256, change: int256) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param state As there.
    @param change As there.
    @return uint256 As there.
    """
    return account_words._with_cash(state, change)


@pure
@external
def with_next_version(state: uint256) -> uint256:
    """
    @notice As lib/account_words.vy.
    @param state As there.
    @return uint256 As there.
    """
    return account_words._with_next_version(state)


@pure
@external
def spread(account: uint256, identity: uint256, state: uint256) -> ILedger.Account:
    """
    @notice As lib/account_words.vy, with a position hash of zero.
    @param account As there.
    @param identity As there.
    @param state As there.
    @return Account As there.
    """
    return account_words._account(account, identity, state, empty(bytes32))
