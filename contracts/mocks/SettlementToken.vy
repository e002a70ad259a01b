# pragma version 0.4.3
"""
@title SettlementToken
@license GNU Affero General Public License v3.0 only
@notice A test dollar with 6 decimals that anyone may mint. For local chains and testnets; it is worth nothing.
"""

from ethereum.ercs import IERC20

implements: IERC20


name: public(constant(String[16])) = "Ballast Test USD"
symbol: public(constant(String[4])) = "bUSD"
decimals: public(constant(uint8)) = 6


totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@external
def mint(to: address, amount: uint256):
    """
    @notice Make tokens.
    @param to Who gets them.
    @param amount Micro-USD.
    """
    self.totalSupply += amount
    self.balanceOf[to] += amount
    log IERC20.Transfer(sender=empty(address), receiver=to, value=amount)


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Let someone spend the caller's tokens.
    @param spender Who may spend.
    @param amount How much, micro-USD; the largest number never runs down.
    @return bool True.
    """
    self.allowance[msg.sender][spender] = amount
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice Pay from the caller's tokens.
    @param to Who gets them.
    @param amount Micro-USD.
    @return bool True.
    """
    self._move(msg.sender, to, amount)
    return True


@external
def transferFrom(payer: address, to: address, amount: uint256) -> bool:
    """
    @notice Pay from the tokens of someone who approved the caller.
    @param payer Who pays.
    @param to Who gets them.
    @param amount Micro-USD.
    @return bool True.
    """
    allowed: uint256 = self.allowance[payer][msg.sender]
    assert allowed >= amount, "token: not approved"
    if allowed != max_value(uint256):
        self.allowance[payer][msg.sender] = allowed - amount
    self._move(payer, to, amount)
    return True


@internal
def _move(payer: address, to: address, amount: uint256):
    """
    @dev Move tokens.
    @param payer Who pays.
    @param to Who gets them.
    @param amount Micro-USD.
    """
    assert self.balanceOf[payer] >= amount, "token: balance too small"
    self.balanceOf[payer] -= amount
    self.balanceOf[to] += amount
    log IERC20.Transfer(sender=payer, receiver=to, value=amount)
