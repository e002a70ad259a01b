# pragma version 0.4.3
"""
@title Lock
@license GNU Affero General Public License v3.0 only
@notice Who may change the ledger, and the one lock against reentrancy, which holds across all contracts.
"""

from interfaces import ILedger


MAX_ENGINES: constant(uint256) = 8
_DEPLOYER: immutable(address)


# Whether an address may change balances. Written once.
is_engine: public(HashMap[address, bool])
_wired: bool

# Set while an engine acts, across all contracts; falls with the transaction.
_locked: transient(bool)


@deploy
def __init__():
    """
    @notice Who deploys may fix the engines.
    """
    _DEPLOYER = msg.sender


# Deployer


@external
def set_engines(engines: DynArray[address, MAX_ENGINES]):
    """
    @notice Fix the contracts that may change balances, once and for ever.
    @dev Only the deployer, so that nobody gets in between deployment and this call.
    @param engines Contracts that check margin before they act.
    """
    assert msg.sender == _DEPLOYER, "ledger: only the deployer"
    assert not self._wired, "ledger: engines are fixed"
    self._wired = True
    for engine: address in engines:
        assert engine != empty(address), "ledger: empty engine"
        self.is_engine[engine] = True
    log ILedger.EnginesSet(engines=engines)


# Engines


@external
def enter():
    """
    @notice Take the lock for one action. Whoever is called meanwhile, a token for one, finds every engine closed.
    """
    assert self.is_engine[msg.sender], "ledger: only engines"
    assert not self._locked, "ledger: locked"
    self._locked = True


@external
def leave():
    """
    @notice Give the lock back at the end of the action.
    """
    self._only_in_action()
    self._locked = False


# Internal


@view
@internal
def _only_in_action():
    """
    @dev The caller is an engine, and some engine holds the lock.
    """
    assert self.is_engine[msg.sender], "ledger: only engines"
    assert self._locked, "ledger: not entered"
