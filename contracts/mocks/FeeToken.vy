# pragma version 0.4.3
"""
@title FeeToken
@license GNU Affero General Public License v3.0 only
@notice A token with 6 decimals that keeps a hundredth of every transfer.
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
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Everything is approved.
    @param spender Ignored.
    @param amount Ignored.
    @return bool True.
    """
    return True


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice Pay, less the fee.
    @param to Who gets them.
    @param amount What the caller pays.
    @return bool True.
    """
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount - amount // 100
    return True


@external
def transferFrom(payer: address, to: address, amount: uint256) -> bool:
    """
    @notice Pay, less the fee.
    @param payer Who pays.
    @param to Who gets them.
    @param amount What the payer pays.
    @return bool True.
    """
    self.balanceOf[payer] -= amount
    self.balanceOf[to] += amount - amount // 100
    return True
