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
@custom:security Needs the precompiles of EIP-2537 (prague) through the committee, and EIP-5656 (cancun).
@custom:kill Nothing here can be stopped. Without posts the oracle grows stale (`fresh` is False after `max_age`) and those who
             read it restrict themselves. The owner of the committee can seat another one.
"""


from interfaces import ICommittee
from interfaces import IRegistry
from interfaces import IRiskOracle
from lib import constants


implements: IRiskOracle


HEADER_DOMAIN: constant(bytes32) = keccak256("ballast.header.v1")


# @dev How many header hashes are kept.
RING: constant(uint256) = 4096


# @dev Bound on funding, 1e-6 of the index an hour.
FUNDING_BOUND: constant(uint256) = 500


# @dev Statuses of an underlying: 1 live, 2 provisional, 3 disputed.
LAST_STATUS: constant(uint256) = 3


ONE_E6: constant(uint256) = 1_000_000
HOUR: constant(uint256) = 3600


# @dev Who verifies signatures, and who knows the policy.
committee: public(immutable(ICommittee))
registry: public(immutable(IRegistry))


# @dev Length of a slot, oldest age of a fresh epoch, least time between two epochs; seconds.
slot_seconds: public(immutable(uint256))
max_age: public(immutable(uint256))
min_interval: public(immutable(uint256))


# @dev The latest epoch in one word: epoch (bits 255..192), timestamp (191..128), oracle-live clock (127..64), total
#      shortfall (63..0, micro-USD).
# @custom:invariant epoch = timestamp / slot_seconds, and all of epoch, timestamp and clock never fall.
_clock: uint256


# @dev Roots and margin word of the latest epoch.
_account_root: bytes32
_instrument_root: bytes32
_margin: uint256


# @dev The latest mark of each underlying.
_marks: HashMap[uint256, uint256]


# @dev Hashes of the last headers, by epoch modulo RING.
_headers: bytes32[RING]


@deploy
def __init__(
    committee_: address,
    registry_: address,
    slot_seconds_: uint256,
    max_age_: uint256,
    min_interval_: uint256,
):
    """
    @notice Bind the oracle to its committee and registry for ever.
    @param committee_ The committee.
    @param registry_ The registry.
    @param slot_seconds_ Length of a slot, seconds.
    @param max_age_ Oldest age of a fresh epoch, seconds; at least a slot.
    @param min_interval_ Least time between two epochs, seconds; at most `max_age_`.
    """
    assert committee_ != empty(address) and registry_ != empty(address), "oracle: address is zero"
    assert slot_seconds_ != 0, "oracle: slot is zero"
    assert max_age_ >= slot_seconds_ and max_age_ <= 7 * 86400, "oracle: max_age out of range"
    assert min_interval_ <= max_age_, "oracle: min_interval out of range"
    committee = ICommittee(committee_)
    registry = IRegistry(registry_)
    slot_seconds = slot_seconds_
    max_age = max_age_
    min_interval = min_interval_


# Anyone


@external
def post(header: IRiskOracle.Header, mask: uint256, signature: Bytes[256]):
    """
    @notice Make a signed header the latest epoch.
    @dev The only calls go to the committee and the registry, which are fixed and call nobody; state is written after them.
    @param header The header.
    @param mask Bit `i` set: member `i` of the committee signed.
    @param signature The aggregate signature, 128 bytes.
    """
    last: uint256 = self._clock
    last_epoch: uint256 = last >> 192
    last_time: uint256 = (last >> 128) & constants.MASK_64
    epoch: uint256 = convert(header.epoch, uint256)
    timestamp: uint256 = convert(header.timestamp, uint256)

    assert epoch == timestamp // slot_seconds, "oracle: epoch does not match timestamp"
    assert epoch > last_epoch, "oracle: epoch is not newer"
    assert timestamp >= last_time + min_interval, "oracle: too soon after the last epoch"
    assert timestamp <= block.timestamp, "oracle: timestamp in the future"
    assert block.timestamp - timestamp <= max_age, "oracle: timestamp too old"
    self._check_snapshot(convert(header.snapshot_block, uint256), header.snapshot_hash)
    assert header.shortfall <= constants.MASK_64, "oracle: shortfall out of range"

    policy_hash: bytes32 = empty(bytes32)
    margin: uint256 = 0
    underlyings: DynArray[uint256, constants.MAX_UNDERLYINGS] = []
    policy_hash, margin, underlyings = staticcall registry.policy_view()
    assert header.policy_hash == policy_hash, "oracle: policy is not in force"

    header_hash: bytes32 = keccak256(abi_encode(header))
    committee_set: uint256 = convert(header.committee_set, uint256)
    digest: bytes32 = self._digest(header_hash, epoch, committee_set)
    verified: bool = staticcall committee.verify(committee_set, digest, mask, signature)
    assert verified, "oracle: signature does not verify"

    slots: uint256 = epoch - last_epoch
    elapsed: uint256 = timestamp - last_time
    assert len(header.marks) == len(underlyings), "oracle: marks do not match the underlyings"
    for i: uint256 in range(len(underlyings), bound=constants.MAX_UNDERLYINGS):
        word: uint256 = header.marks[i]
        underlying: uint256 = word >> 240
        assert underlying == underlyings[i] >> 240, "oracle: marks do not match the underlyings"
        self._check_mark(word, self._marks[underlying], underlyings[i], slots, elapsed)
        self._marks[underlying] = word

    live: uint256 = (last >> 64) & constants.MASK_64
    if last != 0:
        live += min(elapsed, max_age)
    self._clock = (epoch << 192) | (timestamp << 128) | (live << 64) | header.shortfall
    self._account_root = header.account_root
    self._instrument_root = header.instrument_root
    self._margin = margin
    self._headers[epoch % RING] = header_hash
    log IRiskOracle.EpochPosted(
        epoch=epoch, header_hash=header_hash, header=header, mask=mask, signature=signature
    )


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
    timestamp: uint256 = (word >> 128) & constants.MASK_64
    return word >> 192, timestamp, (word >> 64) & constants.MASK_64, self._is_fresh(timestamp)


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
def mark(underlying: uint256) -> uint256:
    """
    @notice The latest mark of an underlying.
    @param underlying Its number.
    @return uint256 The word; zero if it never had one.
    """
    return self._marks[underlying]


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
    last: uint256 = self._clock >> 192
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
    return self._digest(
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
    timestamp: uint256 = (word >> 128) & constants.MASK_64
    return IRiskOracle.Latest(
        epoch=word >> 192,
        timestamp=timestamp,
        live=(word >> 64) & constants.MASK_64,
        fresh=self._is_fresh(timestamp),
        account_root=empty(bytes32),
        instrument_root=empty(bytes32),
        margin=self._margin,
    )


@view
@internal
def _is_fresh(timestamp: uint256) -> bool:
    """
    @param timestamp Of the latest epoch, seconds.
    @return bool Whether its age is at most `max_age`. Before the first epoch the age is that of the world.
    """
    return block.timestamp <= timestamp + max_age


@view
@internal
def _digest(header_hash: bytes32, epoch: uint256, committee_set: uint256) -> bytes32:
    """
    @dev It names chain, contract, set and epoch, so that a signature is good for one slot of one oracle.
    @param header_hash Hash of the header.
    @param epoch Its epoch.
    @param committee_set Its committee set.
    @return bytes32 The digest.
    """
    return keccak256(abi_encode(HEADER_DOMAIN, chain.id, self, committee_set, epoch, header_hash))


@view
@internal
def _check_snapshot(number: uint256, snapshot: bytes32):
    """
    @dev Positions are those of a block of this very chain: after a reorganisation the header is refused.
    @param number The snapshot's block.
    @param snapshot Its hash.
    """
    assert number < block.number, "oracle: snapshot in the future"
    assert number + 256 >= block.number, "oracle: snapshot too old"
    assert blockhash(number) == snapshot, "oracle: snapshot of another chain"


@pure
@internal
def _check_mark(word: uint256, old: uint256, bounds: uint256, slots: uint256, elapsed: uint256):
    """
    @notice Refuse a mark out of bounds, or one that moves faster than the policy allows; the formulas are in the file's head.
    @param word The mark.
    @param old The mark before; zero for none.
    @param bounds The underlying's word.
    @param slots Slots since the last epoch.
    @param elapsed Seconds since the last epoch.
    """
    status: uint256 = (word >> 72) & constants.MASK_8
    scan: uint256 = (word >> 80) & constants.MASK_32
    least: uint256 = (bounds >> 176) & constants.MASK_32
    most: uint256 = (bounds >> 144) & constants.MASK_32
    assert (word >> 176) & constants.MASK_64 != 0, "oracle: index is zero"
    assert status != 0 and status <= LAST_STATUS, "oracle: status unknown"
    assert word & (2**72 - 1) == 0, "oracle: mark bits not zero"
    assert scan >= least and scan <= most, "oracle: scan range out of bounds"

    if old == 0:
        assert (word >> 112) & constants.MASK_64 == 0, "oracle: funding does not start at zero"
    else:
        before: uint256 = (old >> 80) & constants.MASK_32
        rise: uint256 = before * ((bounds >> 112) & constants.MASK_32) * slots // ONE_E6
        fall: uint256 = before * ((bounds >> 80) & constants.MASK_32) * slots // ONE_E6
        assert scan <= max(before + rise, least), "oracle: scan range rises too fast"
        assert scan >= min(before - min(fall, before), most), "oracle: scan range falls too fast"

        moved: int256 = self._funding(word) - self._funding(old)
        index: uint256 = (old >> 176) & constants.MASK_64
        limit: uint256 = (
            index * FUNDING_BOUND * elapsed // (ONE_E6 * HOUR * ((bounds >> 208) & constants.MASK_32))
        )
        assert convert(abs(moved), uint256) <= limit, "oracle: funding moves too fast"


@pure
@internal
def _funding(word: uint256) -> int256:
    """
    @param word A mark.
    @return int256 Its funding index, micro-USD per lot: bits 175..112, two's complement.
    """
    funding: int256 = convert((word >> 112) & constants.MASK_64, int256)
    if funding >= 2**63:
        funding -= 2**64
    return funding
