# pragma version 0.4.3
"""
@title Registry
@license GNU Affero General Public License v3.0 only
@notice What may be traded and under which policy: instruments, underlyings, margin parameters, scenario rows and shocks.
        A policy changes as a whole, in one transaction, behind a timelock.
@dev Words and bits are those of docs/protocol.md, *Policy*. The policy in force is kept as the code of a contract
     (`policy_code`), so that a reader takes the words that it needs and one pointer changes all.
@custom:security Needs EIP-5656 (cancun).
@custom:kill Nothing here can be stopped. A proposal can be cancelled before it is enacted; the policy in force stays until
             another is. Without an owner's action instruments and policy stay as they are.
"""


from snekmate.auth import ownable
from snekmate.auth import ownable_2step

from interfaces import IRegistry
from lib import code_storage
from lib import constants
from lib import instrument as ids


implements: IRegistry


initializes: ownable
initializes: ownable_2step[ownable := ownable]


exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
)


# @dev Where the words of a kept policy stand, bytes: its hash, then its encoding, which is an offset, the tuple (version,
#      margin, 40 rows, 16 shocks, an offset), the count of underlyings and the underlyings.
HASH_AT: constant(uint256) = code_storage.DATA_AT
MARGIN_AT: constant(uint256) = HASH_AT + 96
COUNT_AT: constant(uint256) = HASH_AT + 1952
UNDERLYINGS_AT: constant(uint256) = HASH_AT + 1984
MAX_LISTINGS: constant(uint256) = 128
MAX_DELAY: constant(uint256) = 30 * 86400


# @dev First kind with a strike: calls and puts have one, perpetuals and futures none.
CALL: constant(uint256) = 3


# @dev 1 in units of 1e-6.
ONE_E6: constant(uint256) = 1_000_000


MASK_48: constant(uint256) = 2**48 - 1


# @dev How long a proposal waits, seconds.
delay: public(immutable(uint256))


# @dev The contract that keeps the policy in force as its code: a zero byte, the policy's hash, `abi_encode(policy)`.
# @custom:invariant policy_code.code[1:33] = keccak256(policy_code.code[33:])
policy_code: public(address)


# @dev Hash of the policy before, and when the one in force was enacted, seconds.
_previous: bytes32
_enacted_at: uint256


# @dev Hash of the proposal and when it can be enacted, seconds; zero without one.
_proposed: bytes32
_ready_at: uint256


# @dev Whether an instrument may be traded.
is_listed: public(HashMap[uint256, bool])


@deploy
def __init__(delay_: uint256, policy: IRegistry.Policy):
    """
    @notice The deployer becomes the owner; `policy` is in force at once.
    @param delay_ How long later policies wait, seconds.
    @param policy The first policy.
    """
    ownable.__init__()
    ownable_2step.__init__()
    assert delay_ != 0 and delay_ <= MAX_DELAY, "registry: delay out of range"
    delay = delay_
    self._check(policy)
    self._enact(policy)


# Owner


@external
def list_instruments(instruments: DynArray[uint256, MAX_LISTINGS]):
    """
    @notice Allow instruments to be traded.
    @dev Each is listed once. Ids ascend strictly, so none is repeated within a call.
    @param instruments Instrument ids.
    """
    ownable._check_owner()
    underlyings: DynArray[uint256, constants.MAX_UNDERLYINGS] = self._underlyings_of(self.policy_code)
    last: uint256 = 0
    for instrument: uint256 in instruments:
        assert instrument > last, "registry: instruments not ascending"
        last = instrument
        assert not self.is_listed[instrument], "registry: instrument already listed"
        self._check_instrument(instrument, underlyings)
        self.is_listed[instrument] = True
    log IRegistry.InstrumentsListed(instruments=instruments)


@external
def propose_policy(policy: IRegistry.Policy):
    """
    @notice Begin the timelock of a policy. It takes the place of any other proposal.
    @dev Everything is checked here; as only one proposal exists and only its enactment changes the policy, what holds now
         holds when it is enacted.
    @param policy The whole policy.
    """
    ownable._check_owner()
    self._check(policy)
    self._check_succession(policy)
    encoded: Bytes[2112] = abi_encode(policy)
    proposed: bytes32 = keccak256(encoded)
    ready_at: uint256 = block.timestamp + delay
    self._proposed = proposed
    self._ready_at = ready_at
    log IRegistry.PolicyProposed(policy_hash=proposed, ready_at=ready_at, encoded=encoded)


@external
def cancel_policy():
    """
    @notice Withdraw the proposal.
    """
    ownable._check_owner()
    proposed: bytes32 = self._proposed
    assert proposed != empty(bytes32), "registry: no policy proposed"
    self._proposed = empty(bytes32)
    self._ready_at = 0
    log IRegistry.PolicyCancelled(policy_hash=proposed)


@external
def enact_policy(policy: IRegistry.Policy):
    """
    @notice Put the proposed policy in force, once its delay is over.
    @param policy The policy that was proposed.
    """
    ownable._check_owner()
    assert self._proposed != empty(bytes32), "registry: no policy proposed"
    assert keccak256(abi_encode(policy)) == self._proposed, "registry: not the proposed policy"
    assert block.timestamp >= self._ready_at, "registry: too early"
    self._proposed = empty(bytes32)
    self._ready_at = 0
    self._enact(policy)


# Views


@view
@external
def policy_view() -> (bytes32, uint256, DynArray[uint256, constants.MAX_UNDERLYINGS]):
    """
    @notice What the oracle needs of the policy in force.
    @return (bytes32, uint256, DynArray) Its hash, the word of margin parameters, the words of the underlyings, ascending.
    """
    where: address = self.policy_code
    policy_hash: bytes32 = extract32(slice(where.code, HASH_AT, 32), 0)
    margin: uint256 = self._word(where, MARGIN_AT)
    return policy_hash, margin, self._underlyings_of(where)


@view
@external
def policy_hash() -> bytes32:
    """
    @notice Hash of the policy in force.
    @return bytes32 `keccak256(abi_encode(policy))`.
    """
    return extract32(slice(self.policy_code.code, HASH_AT, 32), 0)


@view
@external
def underlying(underlying: uint256) -> uint256:
    """
    @notice The word of an underlying.
    @param underlying Its number.
    @return uint256 The word.
    """
    underlyings: DynArray[uint256, constants.MAX_UNDERLYINGS] = self._underlyings_of(self.policy_code)
    for word: uint256 in underlyings:
        if word >> 240 == underlying:
            return word
    raise "registry: underlying is not listed"


@view
@external
def previous_policy() -> (bytes32, uint256):
    """
    @notice The policy before the one in force.
    @return (bytes32, uint256) Its hash, zero for none, and when it was replaced, seconds.
    """
    return self._previous, self._enacted_at


@view
@external
def proposed_policy() -> (bytes32, uint256):
    """
    @notice The proposal.
    @return (bytes32, uint256) Its hash and when it can be enacted, seconds; zeros without one.
    """
    return self._proposed, self._ready_at


# Internal


@internal
def _enact(policy: IRegistry.Policy):
    """
    @dev One pointer moves: no reader sees a part of a policy.
    @param policy A policy that was checked.
    """
    encoded: Bytes[2112] = abi_encode(policy)
    previous: bytes32 = empty(bytes32)
    if self.policy_code != empty(address):
        previous = extract32(slice(self.policy_code.code, HASH_AT, 32), 0)
    enacted: bytes32 = keccak256(encoded)
    where: address = code_storage._store(concat(enacted, encoded))
    self._previous = previous
    self._enacted_at = block.timestamp
    self.policy_code = where
    log IRegistry.PolicyEnacted(policy_hash=enacted, previous=previous, encoded=encoded)


@view
@internal
def _word(where: address, at: uint256) -> uint256:
    """
    @param where The policy's contract.
    @param at Byte of its code at which the word begins.
    @return uint256 The word.
    """
    return convert(extract32(slice(where.code, at, 32), 0), uint256)


@view
@internal
def _underlyings_of(where: address) -> DynArray[uint256, constants.MAX_UNDERLYINGS]:
    """
    @param where A policy's contract.
    @return DynArray The words of its underlyings, ascending.
    """
    found: DynArray[uint256, constants.MAX_UNDERLYINGS] = []
    for i: uint256 in range(self._word(where, COUNT_AT), bound=constants.MAX_UNDERLYINGS):
        found.append(self._word(where, UNDERLYINGS_AT + 32 * i))
    return found


@view
@internal
def _check_instrument(instrument: uint256, underlyings: DynArray[uint256, constants.MAX_UNDERLYINGS]):
    """
    @dev Refuses an id with fields that its kind does not have. Tokens cannot be listed: no contract holds them yet.
    @param instrument Its id.
    @param underlyings The underlyings in force.
    """
    assert instrument >> 104 == 0, "registry: not an instrument"
    listed: bool = False
    for word: uint256 in underlyings:
        if word >> 240 == ids._underlying(instrument):
            listed = True
    assert listed, "registry: underlying is not listed"
    kind: uint256 = ids._kind(instrument)
    expiry: uint256 = ids._expiry(instrument)
    strike: uint256 = (instrument >> 8) & MASK_48
    assert kind >= constants.PERPETUAL and kind <= constants.PUT, "registry: kind cannot be listed"
    assert (strike != 0) == (kind >= CALL), "registry: strike does not fit the kind"
    if kind == constants.PERPETUAL:
        assert expiry == 0, "registry: expiry does not fit the kind"
    else:
        assert expiry > block.timestamp, "registry: expiry is not in the future"


@view
@internal
def _check_succession(policy: IRegistry.Policy):
    """
    @dev Positions may exist in every underlying of the policy in force: each must stay, and a lot must stay what it is.
    @param policy The next policy.
    """
    underlyings: DynArray[uint256, constants.MAX_UNDERLYINGS] = self._underlyings_of(self.policy_code)
    for old: uint256 in underlyings:
        stays: bool = False
        for new: uint256 in policy.underlyings:
            if new >> 240 == old >> 240:
                stays = True
                assert new >> 208 == old >> 208, "registry: lot size changed"
        assert stays, "registry: underlying removed"


@pure
@internal
def _check(policy: IRegistry.Policy):
    """
    @notice Every parameter within its bounds.
    @param policy The policy.
    """
    assert policy.version == 1, "registry: unknown policy version"
    self._check_margin(policy.margin)
    for i: uint256 in range(40):
        self._check_row(i, policy.rows[i])
    self._check_shocks(policy.shocks)
    self._check_underlyings(policy.underlyings)


@pure
@internal
def _check_margin(margin: uint256):
    """
    @dev Bounds keep the rule meaningful: a credit of at most 30 %, IM above MM, money within magnitudes that no
         arithmetic downstream can overflow.
    @param margin The word of margin parameters.
    """
    assert margin & constants.MASK_16 <= 3_000, "registry: kappa out of range"
    im_factor: uint256 = (margin >> 16) & constants.MASK_16
    assert im_factor > constants.ONE and im_factor <= 5 * constants.ONE, "registry: im_factor out of range"
    reserve: uint256 = (margin >> 32) & MASK_48
    assert reserve != 0 and reserve <= 10_000 * ONE_E6, "registry: keeper reserve out of range"
    least: uint256 = (margin >> 80) & constants.MASK_16
    most: uint256 = (margin >> 96) & constants.MASK_16
    assert least <= most and most <= constants.ONE, "registry: penalty out of range"
    ramp: uint256 = (margin >> 112) & constants.MASK_32
    assert ramp != 0 and ramp <= 7 * 86400, "registry: penalty time out of range"
    assert (margin >> 144) & constants.MASK_16 <= constants.ONE, "registry: liquidator share out of range"
    assert (margin >> 160) & MASK_48 <= 1_000_000 * ONE_E6, "registry: dust size out of range"
    assert (margin >> 208) & constants.MASK_16 <= 100, "registry: trade fee out of range"
    band: uint256 = (margin >> 224) & constants.MASK_16
    assert band != 0 and band <= 5_000, "registry: price band out of range"
    assert margin >> 240 == 0, "registry: margin bits not zero"


@pure
@internal
def _check_row(index: uint256, row: uint256):
    """
    @dev The kinds of rows are where docs/protocol.md puts them: fallback and auditors read rows by number. A scan move is at
         most one scan range, which is below 100 %, and a tail above -100 %, so every scenario price is positive.
    @param index The row's number.
    @param row The row.
    """
    kind: uint256 = row & constants.MASK_8
    volatility: uint256 = (row >> 8) & constants.MASK_8
    move: int256 = convert((row >> 16) & constants.MASK_64, int256)
    if move >= 2**63:
        move -= 2**64
    weight: uint256 = (row >> 80) & constants.MASK_64
    one: int256 = convert(ONE_E6, int256)
    assert row >> 144 == 0, "registry: row bits not zero"
    if index < 27:
        assert kind == 0, "registry: row of the wrong kind"
        assert volatility <= 2, "registry: row volatility unknown"
        assert move >= -one and move <= one, "registry: row move out of range"
    elif index < 34:
        assert kind == 1, "registry: row of the wrong kind"
        assert volatility == 1, "registry: tail volatility is not up"
        assert move > -one and move <= 10 * one and move != 0, "registry: row move out of range"
    else:
        assert kind == 2 + (index - 34) // 2, "registry: row of the wrong kind"
        assert volatility == 0, "registry: row volatility not zero"
        sign: int256 = one
        if index % 2 == 1:
            sign = -one
        assert move == sign, "registry: row move out of range"
    if index < 27 or index > 33:
        assert weight == 0, "registry: row weight not zero"
    else:
        assert weight != 0 and weight <= 100_000_000, "registry: row weight out of range"
    if index == 0:
        assert row == 0, "registry: first row is not the mark"


@pure
@internal
def _check_shocks(shocks: uint256[16]):
    """
    @dev Volatility down, twist and skew at most 100 %, so no volatility turns negative; a basis of at most 20 % keeps
         forwards positive out to two years.
    @param shocks The shocks, 1e-6.
    """
    bounds: uint256[11] = [
        5 * ONE_E6,
        ONE_E6,
        5 * ONE_E6,
        ONE_E6,
        ONE_E6,
        ONE_E6 // 5,
        ONE_E6,
        ONE_E6,
        ONE_E6 // 5,
        ONE_E6 // 10,
        ONE_E6 // 2,
    ]
    for i: uint256 in range(11):
        assert shocks[i] <= bounds[i], "registry: shock out of range"
    for i: uint256 in range(11, 16):
        assert shocks[i] == 0, "registry: shock beyond the last not zero"


@pure
@internal
def _check_underlyings(underlyings: DynArray[uint256, constants.MAX_UNDERLYINGS]):
    """
    @dev Scan ranges rise at least as fast as they fall: margin follows a crash at once and forgets it slowly.
    @param underlyings The words of the underlyings.
    """
    assert len(underlyings) != 0, "registry: no underlying"
    last: uint256 = 0
    for word: uint256 in underlyings:
        assert word >> 240 > last, "registry: underlyings not ascending"
        last = word >> 240
        assert (word >> 208) & constants.MASK_32 != 0, "registry: lots per unit is zero"
        least: uint256 = (word >> 176) & constants.MASK_32
        most: uint256 = (word >> 144) & constants.MASK_32
        assert least != 0 and least <= most and most < ONE_E6, "registry: scan range bounds out of range"
        up: uint256 = (word >> 112) & constants.MASK_32
        assert up != 0 and up <= 10 * ONE_E6, "registry: slew out of range"
        assert (word >> 80) & constants.MASK_32 <= up, "registry: slew falls faster than it rises"
        assert (word >> 32) & MASK_48 != 0, "registry: depth is zero"
        assert word & constants.MASK_32 == 0, "registry: underlying bits not zero"
