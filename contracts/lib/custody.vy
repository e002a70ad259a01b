# pragma version 0.4.3
"""
@title Custody
@license GNU Affero General Public License v3.0 only
@notice Tokens that come in and go out, and what is held of each collateral token.
@dev A balance is compared only to refuse a token that takes a fee; the books do not rest on it. A token that returns nothing is
     taken at its word, one that returns False is refused, one that calls back finds the ledger locked.
"""

from ethereum.ercs import IERC20


# Smallest units of each collateral token that came in less those that went out; tokens sent here otherwise do not count.
# Invariant `collateral_is_held`: sum over accounts of q * units of a lot = collateral_held <= token.balanceOf(self).
collateral_held: public(HashMap[address, uint256])


@internal
def _pull(token: IERC20, payer: address, amount: uint256):
    """
    @dev Take tokens from a payer who approved this contract.
    @param token The token.
    @param payer Who pays.
    @param amount Smallest units.
    """
    held: uint256 = staticcall token.balanceOf(self)
    assert extcall token.transferFrom(payer, self, amount, default_return_value=True), "ledger: token transfer failed"
    assert staticcall token.balanceOf(self) == held + amount, "ledger: token takes a fee"


@internal
def _push(token: IERC20, to: address, amount: uint256):
    """
    @dev Pay tokens out: the last thing that is done.
    @param token The token.
    @param to Who gets them.
    @param amount Smallest units.
    """
    assert extcall token.transfer(to, amount, default_return_value=True), "ledger: token transfer failed"
