# pragma version 0.4.3
"""
@title Timelock
@license GNU Affero General Public License v3.0 only
@notice What was announced can be done once a delay is over, exactly as announced, and not for ever.
@dev Proposals stand by subject, one a subject, so that a proposal takes the place of an earlier one and its delay begins
     anew. The content is a hash of everything that will be done. Who may propose is for the contract to say that uses it.
"""


# @dev A proposal: hash of its content (zero for none), and the time from which it can be enacted, seconds.
struct Proposal:
    content: bytes32
    ready_at: uint256


MAX_DELAY: constant(uint256) = 30 * 86400


# @dev How long a proposal that is ready can be enacted, seconds: what everybody has forgotten is announced again.
WINDOW: constant(uint256) = 14 * 86400


# @dev How long a proposal waits, seconds.
delay: public(immutable(uint256))


_proposals: HashMap[bytes32, Proposal]


@deploy
def __init__(delay_: uint256):
    """
    @param delay_ How long a proposal waits, seconds: at most 30 days, not zero.
    """
    assert delay_ != 0 and delay_ <= MAX_DELAY, "timelock: delay out of range"
    delay = delay_


@view
@internal
def _proposal(subject: bytes32) -> Proposal:
    """
    @dev The proposal of a subject; empty without one.
    @param subject What it is about.
    """
    return self._proposals[subject]


@internal
def _propose(subject: bytes32, content: bytes32) -> uint256:
    """
    @dev Announce; returns the time from which it can be enacted, seconds.
    @param subject What it is about.
    @param content Hash of what will be done.
    """
    ready_at: uint256 = block.timestamp + delay
    self._proposals[subject] = Proposal(content=content, ready_at=ready_at)
    return ready_at


@internal
def _enact(subject: bytes32, content: bytes32):
    """
    @dev Use a proposal up; the caller then does what it says, and nothing else.
    @param subject What it is about.
    @param content Hash of what will be done.
    """
    found: Proposal = self._proposals[subject]
    assert found.ready_at != 0, "timelock: nothing proposed"
    assert found.content == content, "timelock: not what was proposed"
    assert block.timestamp >= found.ready_at, "timelock: too early"
    assert block.timestamp <= found.ready_at + WINDOW, "timelock: proposal expired"
    self._proposals[subject] = empty(Proposal)


@internal
def _cancel(subject: bytes32) -> bytes32:
    """
    @dev Withdraw a proposal; returns the hash of its content.
    @param subject What it is about.
    """
    found: Proposal = self._proposals[subject]
    assert found.ready_at != 0, "timelock: nothing proposed"
    self._proposals[subject] = empty(Proposal)
    return found.content
