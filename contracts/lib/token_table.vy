# pragma version 0.4.3
"""
@title Collateral tokens
@license GNU Affero General Public License v3.0 only
@notice Which token stands behind an instrument of kind 5, and how many of its smallest units are a lot.
"""

from interfaces import IRegistry


interface ERC20Metadata:
    def decimals() -> uint8: view


# @dev The token behind an instrument, its smallest units in a lot, and whether a token is behind any.
# @custom:invariant _units[i] * lots_per_unit = 10 ** _tokens[i].decimals
_tokens: HashMap[uint256, IRegistry.Token]
_units: HashMap[uint256, uint256]
_taken: HashMap[address, bool]


@view
@external
def token(instrument: uint256) -> (address, uint256, uint256):
    """
    @notice The token behind an instrument of kind 5.
    @param instrument Its id.
    @return (address, uint256, uint256) Where it is (zero for none), its decimals, and its smallest units in a lot.
    """
    found: IRegistry.Token = self._tokens[instrument]
    return found.token, found.decimals, self._units[instrument]


@internal
def _list(token: IRegistry.Token, lots_per_unit: uint256):
    """
    @dev A token stands behind one instrument only, or two books would count the same balance. Its decimals are its own word
         for them, and a lot a whole number of its units.
    @param token The token, whose instrument was checked.
    @param lots_per_unit Lots of one unit of its underlying, not zero.
    """
    assert token.token != empty(address), "registry: token is zero"
    assert not self._taken[token.token], "registry: token already listed"
    assert token.decimals <= 36, "registry: token has too many decimals"
    stated: uint8 = staticcall ERC20Metadata(token.token).decimals()
    assert convert(stated, uint256) == token.decimals, "registry: token has other decimals"
    assert 10**token.decimals % lots_per_unit == 0, "registry: lot is no whole number of units"
    units: uint256 = 10**token.decimals // lots_per_unit
    self._tokens[token.instrument] = token
    self._units[token.instrument] = units
    self._taken[token.token] = True
    log IRegistry.TokenListed(
        instrument=token.instrument, token=token.token, decimals=token.decimals, units=units
    )
