# pragma version 0.4.3
"""
@title A liquidator without capital
@license GNU Affero General Public License v3.0 only
@notice Borrows from a purse that it must repay within the transaction, liquidates, sells what it got to a maker whose order it
        carries, withdraws, repays. Or misbehaves in the callback, as it is told. Signs by EIP-1271: whatever it made itself.
"""

from ethereum.ercs import IERC20
from interfaces import ILiquidationTaker

implements: ILiquidationTaker


interface Token:
    def mint(to: address, amount: uint256): nonpayable


OWNER: immutable(address)
TOKEN: immutable(Token)
LEDGER: immutable(address)

# What it does in the callback: 0 brings what is lacking, 1 nothing, 2 calls `target` with `call_data`.
mode: public(uint256)
target: public(address)
call_data: public(Bytes[4096])

# What the last callback was told.
account: public(uint256)
taker: public(uint256)
lacking: public(uint256)
data: public(Bytes[1024])
lent: public(uint256)


@deploy
def __init__(token: address, ledger: address):
    """
    @param token The settlement token, which anyone may mint: the purse.
    @param ledger The ledger.
    """
    OWNER = msg.sender
    TOKEN = Token(token)
    LEDGER = ledger


@external
def behave(mode: uint256, target: address, call_data: Bytes[4096]):
    """
    @param mode What it does in the callback.
    @param target Whom it calls.
    @param call_data With what.
    """
    self.mode = mode
    self.target = target
    self.call_data = call_data


@external
def run(calls: DynArray[Bytes[8192], 4], targets: DynArray[address, 4]):
    """
    @notice Several calls in one transaction, after which what the purse lent must be back.
    @param calls Their calldata.
    @param targets Whom each is for.
    """
    for i: uint256 in range(len(calls), bound=4):
        raw_call(targets[i], calls[i])
    money: IERC20 = IERC20(TOKEN.address)
    lent: uint256 = self.lent
    self.lent = 0
    assert staticcall money.balanceOf(self) >= lent, "liquidation: loan not repaid"
    extcall money.transfer(0x000000000000000000000000000000000000dEaD, lent)


@external
def on_liquidation(account: uint256, taker: uint256, lacking: uint256, data: Bytes[1024]):
    """
    @param account The account that was liquidated.
    @param taker This contract's account.
    @param lacking What it lacks, micro-USD.
    @param data What the liquidator was given.
    """
    self.account = account
    self.taker = taker
    self.lacking = lacking
    self.data = data
    if self.mode == 0 and lacking != 0:
        extcall TOKEN.mint(self, lacking)
        self.lent += lacking
        extcall IERC20(TOKEN.address).approve(LEDGER, lacking)
    if self.mode == 2:
        raw_call(self.target, self.call_data)


@view
@external
def isValidSignature(hash: bytes32, signature: Bytes[1024]) -> bytes4:
    """
    @notice EIP-1271.
    @param hash What was signed.
    @param signature Ignored.
    @return bytes4 The magic value.
    """
    return 0x1626ba7e
