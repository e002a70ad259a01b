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


# @dev Who may pause, besides the owner.
guardian: public(address)

# @dev What is paused: bit `160 + action` (constants.vy). The low 160 bits are the registry's: an address that whoever asks for a
#      pause needs too, so that one word tells both.
_word: uint256


@view
@external
def paused(action: uint256) -> bool:
    """
    @notice Whether an action is paused.
    @param action 1 or 2 (constants.vy).
    """
    return self._is_paused(action)


@external
def pause(action: uint256):
    """
    @notice Stop an action at once: opening risk, or depositing collateral tokens.
    @param action 1 or 2 (constants.vy).
    """
    self._check_guardian()
    assert action >= constants.PAUSE_RISK and action <= constants.PAUSE_COLLATERAL, "registry: action cannot be paused"
    self._word |= 1 << (160 + action)
    log IRegistry.PauseSet(action=action, paused=True)


@external
def unpause(action: uint256):
    """
    @notice Let a paused action go on.
    @param action The action.
    """
    ownable._check_owner()
    assert self._is_paused(action), "registry: action is not paused"
    self._word &= ~(1 << (160 + action))
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


@view
@internal
def _is_paused(action: uint256) -> bool:
    """
    @param action An action.
    @return bool Whether it is paused.
    """
    return action < 96 and self._word >> (160 + action) & 1 != 0


@view
@internal
def _low() -> address:
    """
    @return address What the low bits of the word name.
    """
    return convert(self._word & (2**160 - 1), address)


@internal
def _set_low(where: address):
    """
    @param where What they name from now on.
    """
    self._word = self._word >> 160 << 160 | convert(where, uint256)
