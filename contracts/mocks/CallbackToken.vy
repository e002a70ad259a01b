# pragma version 0.4.3
"""
@title CallbackToken
@license GNU Affero General Public License v3.0 only
@notice A token with 6 decimals that calls whatever it was told to call in the middle of every transfer.
"""

decimals: public(constant(uint8)) = 6


balanceOf: public(HashMap[address, uint256])
target: public(address)
data: public(Bytes[4096])


@external
def hook(target: address, data: Bytes[4096]):
    """
    @notice Choose the call.
    @param target Whom to call in a transfer; the zero address for nobody.
    @param data Calldata.
    """
    self.target = target
    self.data = data


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
    @notice Pay, and call.
    @param to Who gets them.
    @param amount Smallest units.
    @return bool True.
    """
    self._move(msg.sender, to, amount)
    return True


@external
def transferFrom(payer: address, to: address, amount: uint256) -> bool:
    """
    @notice Pay from someone's tokens, and call.
    @param payer Who pays.
    @param to Who gets them.
    @param amount Smallest units.
    @return bool True.
    """
    self._move(payer, to, amount)
    return True


@internal
def _move(payer: address, to: address, amount: uint256):
    """
    @dev Move tokens, then call. A call that fails fails the transfer with its own reason.
    @param payer Who pays.
    @param to Who gets them.
    @param amount Smallest units.
    """
    self.balanceOf[payer] -= amount
    self.balanceOf[to] += amount
    if self.target != empty(address):
        raw_call(self.target, self.data)
