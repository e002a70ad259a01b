# pragma version 0.4.3
"""
@title RiskOracle
@license GNU Affero General Public License v3.0 only
@notice The latest epoch: what a quorum of the committee signed about prices, scan ranges, instruments and accounts, and
        whether it is fresh. Anyone may post.
@dev A header is believed only if the current committee's quorum signed it for this chain, this contract, its set and its
     epoch, and if what it says moves within the bounds of the policy:

     scan range   lo <= R' <= hi, with e = epoch - last epoch, up and down the policy's slews,
                  hi = clamp(R + floor(R * up * e / 1e6), R_min, R_max),
                  lo = clamp(max(R - floor(R * down * e / 1e6), 0), R_min, R_max);
                  without an earlier mark R_min <= R' <= R_max
     funding      abs(F' - F) <= floor(index * 500 * dt / (1e6 * 3600 * lots_per_unit)): 0.05 % of the last index a lot an
                  hour, dt = timestamp - last timestamp; without an earlier mark F' = 0

     The interval of scan ranges is never empty, so bounds that a new policy moved cannot stop the oracle.

     What stands in `mark` is the header's word with the status that holds: the worst of the stated one, PROVISIONAL after a
     jump (lib/marks.vy), and DISPUTED where a usable feed is further from the index than the policy allows; bits 71..64 say
     what the feed did (constants.vy). A feed that cannot be used stops nothing.
@custom:security Needs the precompiles of EIP-2537 (prague) through the committee, and EIP-5656 (cancun).
@custom:kill The challenger alone can revoke the latest epoch, once it is proven wrong: the oracle is halted until a newer one
             is posted. Without posts it grows stale after `max_age`. In both, those who read it restrict themselves, and
             fallback and exits go on (`stale_since`). The committee's owner can seat another one.
"""


from interfaces import ICommittee
from interfaces import IRegistry
from interfaces import IRiskOracle
from lib import constants
from lib import feed as feeds
from lib import grace
from lib import headers
from lib import kept_policy
from lib import mark_table


implements: IRiskOracle


initializes: grace
initializes: mark_table


exports: (
    grace.grace_until,
    mark_table.mark,
)


# @dev How many header hashes are kept.
RING: constant(uint256) = 4096


# @dev Where the fields of `_clock` stand; times have 48 bits.
PREVIOUS_SHIFT: constant(uint256) = 208
TIME_SHIFT: constant(uint256) = 160
LIVE_SHIFT: constant(uint256) = 112
HALTED_BIT: constant(uint256) = 1 << 104
POLICY_SHIFT: constant(uint256) = 64
MASK_48: constant(uint256) = 2**48 - 1


# @dev Who verifies signatures, and who knows the policy.
committee: public(immutable(ICommittee))
registry: public(immutable(IRegistry))


# @dev Length of a slot, oldest age of a fresh epoch, least time between two epochs; seconds.
slot_seconds: public(immutable(uint256))
max_age: public(immutable(uint256))
min_interval: public(immutable(uint256))


# @dev How long the oracle must have been stale before accounts are liquidated by fallback, and before they are settled at
#      feed prices; seconds.
fallback_delay: public(immutable(uint256))
exit_delay: public(immutable(uint256))


# @dev The latest epoch in one word: timestamp of the epoch before (bits 255..208), its own (207..160), oracle-live clock
#      (159..112), whether the oracle is halted (104), end of its policy's hash (95..64), total shortfall (63..0, micro-USD).
# @custom:invariant The clock never falls; the timestamp falls only when its epoch is halted.
_clock: uint256


# @dev The epoch halted last, and the time from which the oracle was not live then, seconds.
_halted: uint256
_halted_since: uint256


# @dev Roots and margin word of the latest epoch.
_account_root: bytes32
_instrument_root: bytes32
_margin: uint256


# @dev Hashes of the last headers, by epoch modulo RING.
_headers: bytes32[RING]


@deploy
def __init__(
    committee_: address,
    registry_: address,
    slot_seconds_: uint256,
    max_age_: uint256,
    min_interval_: uint256,
    fallback_delay_: uint256,
    exit_delay_: uint256,
):
    """
    @notice Bind the oracle to its committee and registry for ever.
    @param committee_ The committee.
    @param registry_ The registry.
    @param slot_seconds_ Length of a slot, seconds.
    @param max_age_ Oldest age of a fresh epoch, seconds; at least a slot.
    @param min_interval_ Least time between two epochs, seconds; at most `max_age_`.
    @param fallback_delay_ Staleness before fallback, seconds; at most a day.
    @param exit_delay_ Staleness before exit settlement, seconds; longer than that, at most 30 days.
    """
    assert committee_ != empty(address) and registry_ != empty(address), "oracle: address is zero"
    assert slot_seconds_ != 0, "oracle: slot is zero"
    assert max_age_ >= slot_seconds_ and max_age_ <= 7 * 86400, "oracle: max_age out of range"
    assert min_interval_ <= max_age_, "oracle: min_interval out of range"
    assert fallback_delay_ <= 86400, "oracle: fallback_delay out of range"
    assert exit_delay_ > fallback_delay_ and exit_delay_ <= 30 * 86400, "oracle: exit_delay out of range"
    committee = ICommittee(committee_)
    registry = IRegistry(registry_)
    slot_seconds = slot_seconds_
    max_age = max_age_
    min_interval = min_interval_
    fallback_delay = fallback_delay_
    exit_delay = exit_delay_


# Anyone


@external
def post(header: IRiskOracle.Header, mask: uint256, signature: Bytes[256]):
    """
    @notice Make a signed header the latest epoch.
    @dev The calls go to the committee and the registry, which are fixed and call nobody, and to feeds, which can change
         nothing (static calls) and cost no more than bounded gas.
    @param header The header.
    @param mask Bit `i` set: member `i` of the committee signed.
    @param signature The aggregate signature, 128 bytes.
    """
    last: uint256 = self._clock
    last_time: uint256 = (last >> TIME_SHIFT) & MASK_48
    epoch: uint256 = convert(header.epoch, uint256)
    timestamp: uint256 = convert(header.timestamp, uint256)
    slots: uint256 = last_time // slot_seconds

    assert epoch == timestamp // slot_seconds, "oracle: epoch does not match timestamp"
    assert epoch > slots, "oracle: epoch is not newer"
    slots = epoch - slots
    assert timestamp >= last_time + min_interval, "oracle: too soon after the last epoch"
    assert timestamp <= block.timestamp, "oracle: timestamp in the future"
    assert block.timestamp - timestamp <= max_age, "oracle: timestamp too old"
    if last & HALTED_BIT != 0:
        assert epoch > self._halted, "oracle: epoch is not newer than the halted one"
    headers._check_snapshot(convert(header.snapshot_block, uint256), header.snapshot_hash)
    assert header.shortfall <= constants.MASK_64, "oracle: shortfall out of range"

    terms: IRegistry.Terms = staticcall registry.terms(header.policy_hash)
    policy_end: uint256 = convert(header.policy_hash, uint256) & constants.MASK_32
    if not terms.current:
        assert policy_end == (last >> POLICY_SHIFT) & constants.MASK_32, "oracle: policy older than the last epoch's"

    header_hash: bytes32 = keccak256(abi_encode(header))
    committee_set: uint256 = convert(header.committee_set, uint256)
    digest: bytes32 = headers._digest(header_hash, epoch, committee_set)
    verified: bool = staticcall committee.verify(committee_set, digest, mask, signature)
    assert verified, "oracle: signature does not verify"

    elapsed: uint256 = timestamp - last_time
    mark_table._set(header.marks, terms, slots, elapsed, epoch)
    live: uint256 = (last >> LIVE_SHIFT) & MASK_48
    if last != 0:
        live += min(elapsed, max_age)
        grace._give(self._halted_since if last & HALTED_BIT != 0 else last_time + max_age)
    self._clock = (
        (last_time << PREVIOUS_SHIFT)
        | (timestamp << TIME_SHIFT)
        | (live << LIVE_SHIFT)
        | (policy_end << POLICY_SHIFT)
        | header.shortfall
    )
    self._account_root = header.account_root
    self._instrument_root = header.instrument_root
    self._margin = terms.margin
    self._headers[epoch % RING] = header_hash
    log IRiskOracle.EpochPosted(
        epoch=epoch, header_hash=header_hash, header=header, mask=mask, signature=signature
    )


@external
def reinstate(header: IRiskOracle.Header):
    """
    @notice After a halt, take the epoch before the halted one as the ground of fallback and exits.
    @dev It is the very header that was the latest then: its timestamp is in the clock, its hash among the kept ones. The
         oracle stays halted. Statuses that held then are not kept; nothing asks for them before the next epoch.
    @param header The header.
    """
    last: uint256 = self._clock
    timestamp: uint256 = (last >> TIME_SHIFT) & MASK_48
    assert last & HALTED_BIT != 0, "oracle: not halted"
    assert convert(header.timestamp, uint256) == timestamp, "oracle: not the epoch before"
    kept: bytes32 = self._headers[timestamp // slot_seconds % RING]
    assert keccak256(abi_encode(header)) == kept, "oracle: not the epoch before"
    self._account_root = header.account_root
    self._instrument_root = header.instrument_root
    policy_end: uint256 = convert(header.policy_hash, uint256) & constants.MASK_32
    self._clock = (last & ~(constants.MASK_32 << POLICY_SHIFT)) | (policy_end << POLICY_SHIFT)
    self._margin = kept_policy._word(self._policy_code(), kept_policy.MARGIN_AT)
    for word: uint256 in header.marks:
        mark_table._dispute(word)
    log IRiskOracle.Reinstated(epoch=convert(header.epoch, uint256), header_hash=kept)


# Challenger


@external
def halt(epoch: uint256):
    """
    @notice Revoke the latest epoch, which was proven wrong. Its roots prove nothing from now on.
    @param epoch The epoch.
    """
    assert msg.sender == staticcall registry.challenger(), "oracle: caller is not the challenger"
    last: uint256 = self._clock
    timestamp: uint256 = (last >> TIME_SHIFT) & MASK_48
    assert last != 0 and epoch == timestamp // slot_seconds, "oracle: not the latest epoch"
    if last & HALTED_BIT == 0:
        self._halted = epoch
        self._halted_since = min(block.timestamp, timestamp + max_age)
    kept: uint256 = last & ((MASK_48 << LIVE_SHIFT) | (constants.MASK_32 << POLICY_SHIFT) | constants.MASK_64)
    self._clock = ((last >> PREVIOUS_SHIFT) << TIME_SHIFT) | kept | HALTED_BIT
    self._account_root = empty(bytes32)
    self._instrument_root = empty(bytes32)
    self._headers[epoch % RING] = empty(bytes32)
    log IRiskOracle.Halted(epoch=epoch)


# Views


@view
@external
def latest() -> IRiskOracle.Latest:
    """
    @notice The latest epoch.
    @return Latest All zero and not fresh before the first epoch.
    """
    found: IRiskOracle.Latest = self._latest()
    found.account_root = self._account_root
    found.instrument_root = self._instrument_root
    return found


@view
@external
def latest_accounts() -> IRiskOracle.Latest:
    """
    @notice The latest epoch for those who prove account leaves only: 2,100 gas less than `latest`.
    @return Latest With an instrument root of zero, under which nothing can be proven.
    """
    found: IRiskOracle.Latest = self._latest()
    found.account_root = self._account_root
    return found


@view
@external
def account_ground() -> (bytes32, uint256):
    """
    @notice Account root and margin parameters of the latest epoch, for those who check an account by its leaf: 2,100 gas less
            than `latest_accounts`.
    @return bytes32, uint256 The root and the word.
    """
    return self._account_root, self._margin


@view
@external
def latest_instruments() -> IRiskOracle.Latest:
    """
    @notice The latest epoch for those who prove instrument leaves only: 2,100 gas less than `latest`.
    @return Latest With an account root of zero, under which nothing can be proven.
    """
    found: IRiskOracle.Latest = self._latest()
    found.instrument_root = self._instrument_root
    return found


@view
@external
def clock() -> (uint256, uint256, uint256, bool):
    """
    @notice The latest epoch's times: one storage word.
    @return (uint256, uint256, uint256, bool) Epoch, timestamp (seconds), oracle-live clock (seconds), whether it is fresh.
    """
    word: uint256 = self._clock
    timestamp: uint256 = (word >> TIME_SHIFT) & MASK_48
    return timestamp // slot_seconds, timestamp, (word >> LIVE_SHIFT) & MASK_48, self._is_fresh(word)


@view
@external
def state() -> uint256:
    """
    @notice Whether the oracle is 1 LIVE, 2 STALE, or 3 HALTED.
    @return uint256 Its state. Before the first epoch it is stale.
    """
    word: uint256 = self._clock
    if word & HALTED_BIT != 0:
        return constants.ORACLE_HALTED
    return constants.ORACLE_LIVE if self._is_fresh(word) else constants.ORACLE_STALE


@view
@external
def stale_since() -> uint256:
    """
    @notice Since when the oracle is not live: from here `fallback_delay` and `exit_delay` count.
    @return uint256 Seconds; zero while it is live.
    """
    word: uint256 = self._clock
    if word & HALTED_BIT != 0:
        return self._halted_since
    return 0 if self._is_fresh(word) else ((word >> TIME_SHIFT) & MASK_48) + max_age


@view
@external
def feed_price(underlying: uint256) -> (uint256, bool, uint256):
    """
    @notice The price of an underlying's independent feed, now.
    @param underlying Its number.
    @return (uint256, bool, uint256) Micro-USD per unit, whether it is usable (lib/feed.vy), when it was updated (seconds).
    """
    source: address = empty(address)
    age: uint256 = 0
    least: uint256 = 0
    greatest: uint256 = 0
    source, age, least, greatest = staticcall registry.feed(underlying)
    return feeds._read(source, age, least, greatest)


@view
@external
def policy_code() -> address:
    """
    @notice The contract that keeps the policy of the latest epoch, whose rows its vectors follow: also when another came into
            force since.
    @return address Its code is the policy (Registry.vy); zero before the first epoch.
    """
    return self._policy_code()


@view
@external
def shortfall() -> uint256:
    """
    @notice Total shortfall that the latest header states.
    @return uint256 Micro-USD.
    """
    return self._clock & constants.MASK_64


@view
@external
def header_hash(epoch: uint256) -> bytes32:
    """
    @notice Hash of an epoch's header, for the last 4,096 slots.
    @dev A slot without an epoch shows the hash that was there 4,096 slots before. Whoever relies on a hash holds the
         header that gives it, and the header names its epoch; compare the two.
    @param epoch The epoch.
    @return bytes32 The hash; zero for a slot that is too old, in the future, or was never used.
    """
    last: uint256 = ((self._clock >> TIME_SHIFT) & MASK_48) // slot_seconds
    if epoch > last or epoch + RING <= last:
        return empty(bytes32)
    return self._headers[epoch % RING]


@view
@external
def digest(header: IRiskOracle.Header) -> bytes32:
    """
    @notice What the members sign for a header.
    @param header The header.
    @return bytes32 The digest.
    """
    return headers._digest(
        keccak256(abi_encode(header)),
        convert(header.epoch, uint256),
        convert(header.committee_set, uint256),
    )


# Internal


@view
@internal
def _latest() -> IRiskOracle.Latest:
    """
    @return Latest The latest epoch without its roots.
    """
    word: uint256 = self._clock
    timestamp: uint256 = (word >> TIME_SHIFT) & MASK_48
    return IRiskOracle.Latest(
        epoch=timestamp // slot_seconds,
        timestamp=timestamp,
        live=(word >> LIVE_SHIFT) & MASK_48,
        fresh=self._is_fresh(word),
        account_root=empty(bytes32),
        instrument_root=empty(bytes32),
        margin=self._margin,
    )


@view
@internal
def _policy_code() -> address:
    """
    @return address The contract that keeps the policy of the latest epoch.
    """
    return staticcall registry.policy_code_of((self._clock >> POLICY_SHIFT) & constants.MASK_32)


@view
@internal
def _is_fresh(word: uint256) -> bool:
    """
    @param word The clock's word.
    @return bool Whether the latest epoch's age is at most `max_age` and it was not halted. Before the first epoch the age is
                 that of the world.
    """
    return word & HALTED_BIT == 0 and block.timestamp <= ((word >> TIME_SHIFT) & MASK_48) + max_age
