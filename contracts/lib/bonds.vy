# pragma version 0.4.3
"""
@title Bonds
@license GNU Affero General Public License v3.0 only
@notice What members stand to lose: settlement tokens, outside the ledger, held by the committee for each of them.
@dev A bond is paid in one piece by whoever backs the member, and goes back to no one else. It is released more slowly than a
     wrong epoch can be challenged, and can be slashed until it is paid out. The token is the settlement token: it takes no
     fee and calls nobody back; state is written before it is called all the same.
"""

from ethereum.ercs import IERC20
from snekmate.auth import ownable

from interfaces import ICommittee
from lib import timelock


uses: ownable
uses: timelock


# @dev A member's bond: who backs it, micro-USD, and when it can be withdrawn, seconds (zero: not released).
struct Bond:
    holder: address
    amount: uint256
    released_at: uint256


# @dev What is announced behind the timelock: paying out what was slashed.
PAYMENT: constant(bytes32) = keccak256("payment")


# @dev How long a wrong epoch can be challenged, seconds.
CHALLENGE_WINDOW: constant(uint256) = 86400


# @dev Part of a slashed bond that goes to the challenger's choice, 1e-4. Not all: who challenges itself must lose.
REWARD: constant(uint256) = 1000


# @dev The settlement token, the bond of a member (micro-USD; zero asks for none), and how long its release takes, seconds.
token: public(immutable(IERC20))
bond: public(immutable(uint256))
unbonding: public(immutable(uint256))


_bonds: HashMap[address, Bond]


# @dev What was slashed and not paid out, micro-USD.
# @custom:invariant tokens paid in - paid out = sum of _bonds.amount + forfeited
forfeited: public(uint256)


@deploy
def __init__(token_: address, bond_: uint256, unbonding_: uint256):
    """
    @param token_ The settlement token.
    @param bond_ Micro-USD a member.
    @param unbonding_ Seconds, more than the challenge window.
    """
    assert token_ != empty(address), "bonds: token is zero"
    assert unbonding_ > CHALLENGE_WINDOW and unbonding_ <= 90 * 86400, "bonds: unbonding out of range"
    token = IERC20(token_)
    bond = bond_
    unbonding = unbonding_


# Anyone


@external
def deposit_bond(member: address):
    """
    @notice Back a member with its bond. Approve the committee first.
    @param member The member; nobody backs it yet.
    """
    assert bond != 0, "bonds: none is asked for"
    assert self._bonds[member].amount == 0, "bonds: already backed"
    self._bonds[member] = Bond(holder=msg.sender, amount=bond, released_at=0)
    assert extcall token.transferFrom(msg.sender, self, bond, default_return_value=True), "bonds: transfer failed"
    log ICommittee.Bonded(member=member, holder=msg.sender, amount=bond)


@external
def withdraw_bond(member: address):
    """
    @notice Take a released bond back, to whom it came from.
    @param member The member.
    """
    found: Bond = self._bonds[member]
    assert found.released_at != 0, "bonds: not released"
    assert block.timestamp >= found.released_at, "bonds: too early"
    self._bonds[member] = empty(Bond)
    assert extcall token.transfer(found.holder, found.amount, default_return_value=True), "bonds: transfer failed"
    log ICommittee.BondWithdrawn(member=member, holder=found.holder, amount=found.amount)


@view
@external
def bond_of(member: address) -> (address, uint256, uint256):
    """
    @notice A member's bond.
    @param member The member.
    @return (address, uint256, uint256) Who backs it, micro-USD, when it can be withdrawn (seconds; zero: not released).
    """
    found: Bond = self._bonds[member]
    return found.holder, found.amount, found.released_at


# Owner, behind the timelock


@external
def propose_payment(receiver: address, amount: uint256):
    """
    @notice Announce that some of what was slashed will be paid out.
    @param receiver To whom.
    @param amount Micro-USD.
    """
    ownable._check_owner()
    ready_at: uint256 = timelock._propose(PAYMENT, keccak256(abi_encode(receiver, amount)))
    log ICommittee.PaymentProposed(receiver=receiver, amount=amount, ready_at=ready_at)


@external
def pay(receiver: address, amount: uint256):
    """
    @notice Pay out of what was slashed, as announced.
    @param receiver To whom.
    @param amount Micro-USD.
    """
    ownable._check_owner()
    timelock._enact(PAYMENT, keccak256(abi_encode(receiver, amount)))
    assert amount <= self.forfeited, "bonds: more than was forfeited"
    self.forfeited -= amount
    self._pay(receiver, amount)
    log ICommittee.ForfeitedPaid(receiver=receiver, amount=amount)


# Internal


@view
@internal
def _is_backed(member: address) -> bool:
    """
    @dev Whether a member may be enrolled: backed, and not on its way out.
    @param member The member.
    """
    return bond == 0 or (self._bonds[member].amount == bond and self._bonds[member].released_at == 0)


@internal
def _release(member: address):
    """
    @dev Begin the release. The caller sees to it that the member neither sits nor waits.
    @param member The member.
    """
    found: Bond = self._bonds[member]
    assert found.holder == msg.sender, "bonds: caller does not back the member"
    assert found.released_at == 0, "bonds: already released"
    self._bonds[member].released_at = block.timestamp + unbonding
    log ICommittee.Unbonding(member=member, released_at=block.timestamp + unbonding)


@internal
def _slash(member: address) -> uint256:
    """
    @dev Take all of a member's bond; returns the part that is the challenger's, micro-USD.
    @param member The member.
    """
    amount: uint256 = self._bonds[member].amount
    self._bonds[member] = empty(Bond)
    reward: uint256 = amount * REWARD // 10_000
    self.forfeited += amount - reward
    log ICommittee.Slashed(member=member, amount=amount)
    return reward


@internal
def _pay(receiver: address, amount: uint256):
    """
    @dev Pay tokens out.
    @param receiver To whom.
    @param amount Micro-USD.
    """
    if amount != 0:
        assert extcall token.transfer(receiver, amount, default_return_value=True), "bonds: transfer failed"
