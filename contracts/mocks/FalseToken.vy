# pragma version 0.4.3
"""
@title FalseToken
@license GNU Affero General Public License v3.0 only
@notice A token that says no by returning False, in either direction, when told to. Its decimals are chosen at deployment.
"""

decimals: public(immutable(uint8))


balanceOf: public(HashMap[address, uint256])
refuses: public(bool)


@deploy
def __init__(decimals_: uint8):
    """
    @notice Fix the decimals.
    @param decimals_ How many.
    """
    decimals = decimals_


@external
def refuse(refuses: bool):
    """
    @notice Choose the answer to transfers.
    @param refuses Whether they return False and move nothing.
    """
    self.refuses = refuses


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
    @notice Pay, or say no.
    @param to Who gets them.
    @param amount Smallest units.
    @return bool Whether it paid.
    """
    if self.refuses:
        return False
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount
    return True


@external
def transferFrom(payer: address, to: address, amount: uint256) -> bool:
    """
    @notice Pay from someone's tokens, or say no.
    @param payer Who pays.
    @param to Who gets them.
    @param amount Smallest units.
    @return bool Whether it paid.
    """
    if self.refuses:
        return False
    self.balanceOf[payer] -= amount
    self.balanceOf[to] += amount
    return True
