# pragma version 0.4.3
"""
@title Pauses
@license GNU Affero General Public License v3.0 only
@notice A guardian stops new risk at once; only the owner lets it go on. Nothing that gets an owner out of a position or money
        out of the system is an action here.
"""

from snekmate.auth import ownable

from interfaces import IRegistry
from lib import constants


uses: ownable


# @dev Who may pause, besides the owner, and what is paused (constants.vy).
guardian: public(address)
paused: public(HashMap[uint256, bool])


@external
def pause(action: uint256):
    """
    @notice Stop an action at once: opening risk, depositing collateral tokens, or opening accounts.
    @param action 1, 2 or 3 (constants.vy).
    """
    self._check_guardian()
    assert action >= constants.PAUSE_RISK and action <= constants.PAUSE_OPENING, "registry: action cannot be paused"
    self.paused[action] = True
    log IRegistry.PauseSet(action=action, paused=True)


@external
def unpause(action: uint256):
    """
    @notice Let a paused action go on.
    @param action The action.
    """
    ownable._check_owner()
    assert self.paused[action], "registry: action is not paused"
    self.paused[action] = False
    log IRegistry.PauseSet(action=action, paused=False)


@external
def set_guardian(guardian: address):
    """
    @notice Say who may pause and delist, besides the owner.
    @param guardian The guardian; zero for nobody.
    """
    ownable._check_owner()
    self.guardian = guardian
    log IRegistry.GuardianSet(guardian=guardian)


@view
@internal
def _check_guardian():
    """
    @dev The owner may do what the guardian may.
    """
    assert msg.sender == self.guardian or msg.sender == ownable.owner, "registry: caller is not the guardian"
