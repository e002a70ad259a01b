# pragma version 0.4.3
# pragma optimize codesize
"""
@title Registry
@license GNU Affero General Public License v3.0 only
@notice What may be traded and under which policy: instruments, underlyings, margin parameters, scenario rows, shocks, limits,
        feeds, tokens; and who may pause, and who may challenge. What moves risk changes behind a timelock.
@dev Words and bits are those of docs/protocol.md, *Policy*. The policy in force is kept as the code of a contract
     (`policy_code`), so that a reader takes the words that it needs and one pointer changes all; the feeds are kept likewise.
@custom:security Needs EIP-5656 (cancun).
@custom:kill The guardian can pause opening risk and depositing collateral tokens, and make instruments close-only; only the owner
             lifts a pause. Nothing else can be stopped: deposits, cures, liquidation and exits ask nothing here that can be
             paused.
"""


from snekmate.auth import ownable
from snekmate.auth import ownable_2step

from interfaces import IRegistry
from lib import code_storage
from lib import constants
from lib import feed_table
from lib import instrument as ids
from lib import kept_policy
from lib import listing
from lib import pauses
from lib import policies
from lib import timelock
from lib import token_table


implements: IRegistry


initializes: ownable
initializes: ownable_2step[ownable := ownable]
initializes: timelock
initializes: feed_table
initializes: token_table
initializes: listing
initializes: pauses[ownable := ownable]


exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
    timelock.delay,
    feed_table.feed,
    token_table.token,
    listing.is_listed,
    listing.delisted_at,
    pauses.guardian,
    pauses.paused,
    pauses.pause,
    pauses.unpause,
    pauses.set_guardian,
)


MAX_LISTINGS: constant(uint256) = 128


# @dev What a proposal is about: with a key (underlying, instrument or zero) it makes the subject.
ABOUT_POLICY: constant(uint256) = 1
ABOUT_FEED: constant(uint256) = 2
ABOUT_TOKEN: constant(uint256) = 3
ABOUT_CHALLENGER: constant(uint256) = 4


# @dev The contracts that keep the policy proposed last and the one before; when the one in force was enacted, seconds.
_proposed_code: address
_previous_code: address
_enacted_at: uint256


# @dev The contracts that keep the policies that are or were in force, by the last 32 bits of their hash: what the oracle knows
#      of the policy of its latest epoch.
policy_code_of: public(HashMap[uint256, address])


# @dev Who may halt the oracle and slash members.
challenger: public(address)


@deploy
def __init__(
    delay_: uint256,
    policy: IRegistry.Policy,
    guardian_: address,
    feeds_: DynArray[IRegistry.Feed, constants.MAX_LISTED],
    tokens_: DynArray[IRegistry.Token, constants.MAX_LISTED],
):
    """
    @notice The deployer becomes the owner; what is given here is in force at once, what comes later waits.
    @param delay_ How long what moves risk waits, seconds.
    @param policy The first policy.
    @param guardian_ Who may pause and delist; zero for nobody but the owner.
    @param feeds_ The first feeds.
    @param tokens_ The first collateral tokens.
    """
    ownable.__init__()
    ownable_2step.__init__()
    timelock.__init__(delay_)
    proposed: bytes32 = self._keep(policy)
    log IRegistry.PolicyProposed(policy_hash=proposed, ready_at=block.timestamp, encoded=abi_encode(policy))
    self._enact()
    pauses.guardian = guardian_
    for each: IRegistry.Feed in feeds_:
        self._check_feed(each)
        feed_table._set(each, kept_policy._underlyings_of(pauses._low()))
    for each: IRegistry.Token in tokens_:
        self._list_token(each)


# Guardian or owner


@external
def delist(instruments: DynArray[uint256, MAX_LISTINGS]):
    """
    @notice Make instruments close-only at once.
    @dev The owner can take it back while the timelock's delay runs; then it is final, and they can be settled.
    @param instruments Instrument ids.
    """
    pauses._check_guardian()
    for instrument: uint256 in instruments:
        listing._delist(instrument)
    log IRegistry.InstrumentsDelisted(instruments=instruments)


# Owner


@external
def list_instruments(instruments: DynArray[uint256, MAX_LISTINGS]):
    """
    @notice Allow instruments to be traded.
    @dev Each is listed once. Ids ascend strictly, so none is repeated within a call.
    @param instruments Instrument ids.
    """
    ownable._check_owner()
    underlyings: DynArray[uint256, constants.MAX_LISTED] = kept_policy._underlyings_of(pauses._low())
    last: uint256 = 0
    for instrument: uint256 in instruments:
        assert instrument > last, "registry: instruments not ascending"
        last = instrument
        listing._list(instrument, underlyings, False)
    log IRegistry.InstrumentsListed(instruments=instruments)


@external
def relist(instruments: DynArray[uint256, MAX_LISTINGS]):
    """
    @notice Take a delisting back, before it is final.
    @param instruments Instrument ids.
    """
    ownable._check_owner()
    for instrument: uint256 in instruments:
        listing._relist(instrument, timelock.delay)
    log IRegistry.InstrumentsRelisted(instruments=instruments)


# Owner, behind the timelock


@external
def cancel(kind: uint256, key: uint256):
    """
    @notice Withdraw a proposal.
    @param kind What it is about: 1 policy, 2 feed, 3 token, 4 challenger.
    @param key Underlying of a feed, instrument of a token, else zero.
    """
    ownable._check_owner()
    content: bytes32 = timelock._cancel(self._subject(kind, key))
    log IRegistry.Cancelled(kind=kind, key=key, content=content)


@external
def propose_policy(policy: IRegistry.Policy):
    """
    @notice Begin the timelock of a policy. It takes the place of any other proposed policy.
    @dev Everything is checked here; as only one proposal exists and only its enactment changes the policy, what holds now
         holds when it is enacted.
    @param policy The whole policy.
    """
    ownable._check_owner()
    proposed: bytes32 = self._keep(policy)
    policies._check_succession(policy, kept_policy._underlyings_of(pauses._low()))
    ready_at: uint256 = timelock._propose(self._subject(ABOUT_POLICY, 0), proposed)
    log IRegistry.PolicyProposed(policy_hash=proposed, ready_at=ready_at, encoded=abi_encode(policy))


@external
def enact_policy(policy_hash: bytes32):
    """
    @notice Put the proposed policy in force, once its delay is over.
    @param policy_hash Hash of the policy that was proposed.
    """
    ownable._check_owner()
    timelock._enact(self._subject(ABOUT_POLICY, 0), policy_hash)
    self._enact()


@external
def propose_feed(feed: IRegistry.Feed):
    """
    @notice Begin the timelock of an underlying's feed.
    @param feed The feed; without a source the underlying will have none.
    """
    ownable._check_owner()
    self._check_feed(feed)
    self._propose(ABOUT_FEED, feed.underlying, abi_encode(feed))


@external
def enact_feed(feed: IRegistry.Feed):
    """
    @notice Give an underlying the proposed feed, once its delay is over.
    @dev It must be usable and agree with the old one. One that lies is removed first, and another put in its place.
    @param feed The feed that was proposed.
    """
    ownable._check_owner()
    timelock._enact(self._subject(ABOUT_FEED, feed.underlying), keccak256(abi_encode(feed)))
    if feed.source != empty(address):
        limit: uint256 = kept_policy._word(pauses._low(), kept_policy.SHOCKS_AT + 32 * policies.DISPUTE_AT)
        feed_table._check_agreement(feed, limit)
    feed_table._set(feed, kept_policy._underlyings_of(pauses._low()))


@external
def propose_token(token: IRegistry.Token):
    """
    @notice Begin the timelock of a collateral token.
    @param token The token.
    """
    ownable._check_owner()
    self._propose(ABOUT_TOKEN, token.instrument, abi_encode(token))


@external
def enact_token(token: IRegistry.Token):
    """
    @notice List the proposed collateral token, once its delay is over.
    @param token The token that was proposed.
    """
    ownable._check_owner()
    timelock._enact(self._subject(ABOUT_TOKEN, token.instrument), keccak256(abi_encode(token)))
    self._list_token(token)


@external
def propose_challenger(challenger: address):
    """
    @notice Begin the timelock of the challenger: who may halt the oracle and slash members.
    @param challenger The challenger.
    """
    ownable._check_owner()
    self._propose(ABOUT_CHALLENGER, 0, abi_encode(challenger))


@external
def enact_challenger(challenger: address):
    """
    @notice Give the role to the proposed challenger, once its delay is over.
    @param challenger The challenger that was proposed.
    """
    ownable._check_owner()
    timelock._enact(self._subject(ABOUT_CHALLENGER, 0), keccak256(abi_encode(challenger)))
    self.challenger = challenger
    log IRegistry.ChallengerSet(challenger=challenger)


# Views


@view
@external
def policy_code() -> address:
    """
    @notice The contract that keeps the policy in force as its code: a zero byte, the policy's hash, `abi_encode(policy)`.
    @custom:invariant policy_code.code[1:33] = keccak256 of the encoding that follows
    @return address The contract.
    """
    return pauses._low()


@view
@external
def terms(policy_hash: bytes32) -> IRegistry.Terms:
    """
    @notice What posting an epoch under a policy needs.
    @dev The policy before the one in force counts for another `delay`, so that an epoch that was computed before the change
         is not lost. Who posts must see to it that none comes after an epoch under the policy in force.
    @param policy_hash The policy.
    @return Terms See there.
    """
    where: address = pauses._low()
    current: bool = True
    if kept_policy._hash_of(where) != policy_hash:
        current = False
        where = self._previous_code
        counts: bool = where != empty(address) and block.timestamp < self._enacted_at + timelock.delay
        assert counts and kept_policy._hash_of(where) == policy_hash, "registry: policy is not in force"
    limits: Bytes[64] = slice(where.code, kept_policy.SHOCKS_AT + 32 * policies.JUMP_AT, 64)
    return IRegistry.Terms(
        current=current,
        margin=kept_policy._word(where, kept_policy.MARGIN_AT),
        jump=convert(extract32(limits, 0), uint256),
        dispute=convert(extract32(limits, 32), uint256),
        underlyings=kept_policy._underlyings_of(where),
        feeds=feed_table._feed_words(),
    )


@view
@external
def policy_hash() -> bytes32:
    """
    @notice Hash of the policy in force.
    @return bytes32 `keccak256(abi_encode(policy))`.
    """
    return kept_policy._hash_of(pauses._low())


@view
@external
def underlying(underlying: uint256) -> uint256:
    """
    @notice The word of an underlying.
    @param underlying Its number.
    @return uint256 The word.
    """
    return kept_policy._underlying(pauses._low(), underlying)


@view
@external
def standing(instrument: uint256, opens: bool) -> (address, uint256, bool):
    """
    @notice What a trade asks, in one call.
    @param instrument Its id.
    @param opens Whether the trade opens risk.
    @return address, uint256, bool The policy in force (`policy_code`); 0 if the instrument is not listed, 1 if it is, greater if
            it is close-only; and, for a trade that opens risk, whether that is paused.
    """
    return (pauses._low(), listing._listings[instrument], opens and pauses._is_paused(constants.PAUSE_RISK))


@view
@external
def proposal(kind: uint256, key: uint256) -> (bytes32, uint256):
    """
    @notice A proposal.
    @param kind What it is about: 1 policy, 2 feed, 3 token, 4 challenger.
    @param key Underlying of a feed, instrument of a token, else zero.
    @return (bytes32, uint256) Hash of its content and when it can be enacted, seconds; zeros without one.
    """
    found: timelock.Proposal = timelock._proposal(self._subject(kind, key))
    return found.content, found.ready_at


# Internal


@pure
@internal
def _subject(kind: uint256, key: uint256) -> bytes32:
    """
    @param kind What it is about.
    @param key Which of them.
    @return bytes32 The subject.
    """
    return keccak256(abi_encode(kind, key))


@internal
def _propose(kind: uint256, key: uint256, encoded: Bytes[160]):
    """
    @param kind What it is about.
    @param key Which of them.
    @param encoded What will be done.
    """
    content: bytes32 = keccak256(encoded)
    ready_at: uint256 = timelock._propose(self._subject(kind, key), content)
    log IRegistry.Proposed(kind=kind, key=key, content=content, ready_at=ready_at, encoded=encoded)


@internal
def _keep(policy: IRegistry.Policy) -> bytes32:
    """
    @dev Check a policy and keep it until it is enacted.
    @param policy The policy.
    @return bytes32 Its hash.
    """
    policies._check(policy)
    encoded: Bytes[2496] = abi_encode(policy)
    made: bytes32 = keccak256(encoded)
    self._proposed_code = code_storage._store_padded(concat(made, encoded), kept_policy.LIST_BYTES)
    return made


@internal
def _enact():
    """
    @dev One pointer moves: no reader sees a part of a policy.
    """
    where: address = self._proposed_code
    before: address = pauses._low()
    previous: bytes32 = empty(bytes32)
    if before != empty(address):
        previous = kept_policy._hash_of(before)
    self._previous_code = before
    self._enacted_at = block.timestamp
    pauses._set_low(where)
    made: bytes32 = kept_policy._hash_of(where)
    self.policy_code_of[convert(made, uint256) & constants.MASK_32] = where
    log IRegistry.PolicyEnacted(policy_hash=made, previous=previous)


@view
@internal
def _check_feed(feed: IRegistry.Feed):
    """
    @param feed A feed: of a listed underlying, with parameters in their bounds.
    """
    kept_policy._underlying(pauses._low(), feed.underlying)
    feed_table._check(feed)


@internal
def _list_token(token: IRegistry.Token):
    """
    @param token A collateral token.
    """
    listing._list(token.instrument, kept_policy._underlyings_of(pauses._low()), True)
    word: uint256 = kept_policy._underlying(pauses._low(), ids._underlying(token.instrument))
    token_table._list(token, (word >> 208) & constants.MASK_32)
