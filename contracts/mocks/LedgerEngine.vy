# pragma version 0.4.3
"""
@title LedgerEngine
@license GNU Affero General Public License v3.0 only
@notice An engine without rules: each function does one thing to the ledger within one action, for anyone who asks.
"""

from interfaces import ILedger


ledger: public(ILedger)


@external
def bind(ledger: address):
    """
    @notice Choose the ledger.
    @param ledger The ledger.
    """
    self.ledger = ILedger(ledger)


@external
def enter_twice():
    """
    @notice Take the lock twice.
    """
    extcall self.ledger.enter()
    extcall self.ledger.enter()


@external
def leave():
    """
    @notice Give a lock back that was not taken.
    """
    extcall self.ledger.leave()


@external
def deposit(account: uint256, payer: address, amount: uint256):
    """
    @notice As the ledger's.
    @param account As there.
    @param payer As there.
    @param amount As there.
    """
    extcall self.ledger.enter()
    extcall self.ledger.deposit(account, payer, amount)
    extcall self.ledger.leave()


@external
def withdraw(account: uint256, to: address, amount: uint256):
    """
    @notice As the ledger's.
    @param account As there.
    @param to As there.
    @param amount As there.
    """
    extcall self.ledger.enter()
    paid: uint256 = extcall self.ledger.withdraw(account, to, amount)
    extcall self.ledger.leave()


@external
def move_cash(giver: uint256, taker: uint256, amount: uint256, reason: uint256):
    """
    @notice As the ledger's.
    @param giver As there.
    @param taker As there.
    @param amount As there.
    @param reason As there.
    """
    extcall self.ledger.enter()
    extcall self.ledger.move_cash(giver, taker, amount, reason)
    extcall self.ledger.leave()


@external
def move_position(
    giver: uint256, taker: uint256, instrument: uint256, lots: uint256, cash: int256, epoch: uint256
) -> (ILedger.Account, ILedger.Account):
    """
    @notice As the ledger's.
    @param giver As there.
    @param taker As there.
    @param instrument As there.
    @param lots As there.
    @param cash As there.
    @param epoch As there.
    @return Account, Account As there.
    """
    extcall self.ledger.enter()
    given: ILedger.Account = empty(ILedger.Account)
    taken: ILedger.Account = empty(ILedger.Account)
    given, taken = extcall self.ledger.move_position(giver, taker, instrument, lots, cash, epoch)
    extcall self.ledger.leave()
    return given, taken


@external
def set_checkpoint(account: uint256, checkpoint: bytes32):
    """
    @notice As the ledger's.
    @param account As there.
    @param checkpoint As there.
    """
    extcall self.ledger.enter()
    extcall self.ledger.set_checkpoint(account, checkpoint)
    extcall self.ledger.leave()


@external
def exchange(
    giver: uint256, taker: uint256, instrument: uint256, lots: uint256, cash: int256, epoch: uint256, fee: uint256
):
    """
    @notice As the ledger's.
    @param giver As there.
    @param taker As there.
    @param instrument As there.
    @param lots As there.
    @param cash As there.
    @param epoch As there.
    @param fee As there.
    """
    extcall self.ledger.enter()
    given: ILedger.Account = empty(ILedger.Account)
    taken: ILedger.Account = empty(ILedger.Account)
    given, taken = extcall self.ledger.exchange(giver, taker, instrument, lots, cash, epoch, fee)
    extcall self.ledger.leave()


@external
def finish(account: uint256, checkpoint: bytes32, other: uint256, other_checkpoint: bytes32):
    """
    @notice As the ledger's.
    @param account As there.
    @param checkpoint As there.
    @param other As there.
    @param other_checkpoint As there.
    """
    extcall self.ledger.enter()
    extcall self.ledger.finish(account, checkpoint, other, other_checkpoint)


@external
def deposit_token(
    account: uint256, payer: address, instrument: uint256, collateral: ILedger.Collateral, lots: uint256, epoch: uint256
):
    """
    @notice As the ledger's.
    @param account As there.
    @param payer As there.
    @param instrument As there.
    @param collateral As there.
    @param lots As there.
    @param epoch As there.
    """
    extcall self.ledger.enter()
    after: ILedger.Account = extcall self.ledger.deposit_token(account, payer, instrument, collateral, lots, epoch)
    extcall self.ledger.leave()


@external
def withdraw_token(
    account: uint256, to: address, instrument: uint256, collateral: ILedger.Collateral, lots: uint256, epoch: uint256
):
    """
    @notice As the ledger's.
    @param account As there.
    @param to As there.
    @param instrument As there.
    @param collateral As there.
    @param lots As there.
    @param epoch As there.
    """
    extcall self.ledger.enter()
    after: ILedger.Account = extcall self.ledger.withdraw_token(account, to, instrument, collateral, lots, epoch)
    extcall self.ledger.leave()
