# pragma version 0.4.3
"""
@title NoReturnToken
@license GNU Affero General Public License v3.0 only
@notice A token with 6 decimals whose transfers return nothing, as that of the oldest dollar token.
"""

decimals: public(constant(uint8)) = 6


balanceOf: public(HashMap[address, uint256])


@external
def mint(to: address, amount: uint256):
    """
    @notice Make tokens.
    @param to Who gets them.
    @param amount Smallest units.
    """
    self.balanceOf[to] += amount


@external
def approve(spender: address, amount: uint256):
    """
    @notice Everything is approved.
    @param spender Ignored.
    @param amount Ignored.
    """
    pass


@external
def transfer(to: address, amount: uint256):
    """
    @notice Pay.
    @param to Who gets them.
    @param amount Smallest units.
    """
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount


@external
def transferFrom(payer: address, to: address, amount: uint256):
    """
    @notice Pay from someone's tokens.
    @param payer Who pays.
    @param to Who gets them.
    @param amount Smallest units.
    """
    self.balanceOf[payer] -= amount
    self.balanceOf[to] += amount
