"""The twins of RiskOracle, its marks and feeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from offchain.oracle.headers import DISPUTED, LIVE, PROVISIONAL, Header
from offchain.risk.policy import MarginParams, Policy
from offchain.units import signed
from twin.core import ZERO, Core, need
from twin.registry import RegistryTwin, end_of

ONE = 1_000_000
RING = 4096
MASK64 = 2**64 - 1
ORACLE_LIVE, ORACLE_STALE, ORACLE_HALTED = 1, 2, 3
NONE, AGREES, DISAGREES, UNUSABLE = 0, 1, 2, 3


def index_of(word: int) -> int:
    """Index price of a mark."""
    return word >> 176 & MASK64


def status_of(word: int) -> int:
    """Status of a mark."""
    return word >> 72 & 255


def scan_of(word: int) -> int:
    """Scan range of a mark."""
    return word >> 80 & 0xFFFFFFFF


def funding_of(word: int) -> int:
    """Funding index of a mark."""
    return signed(word >> 112 & MASK64, 64)


def effective(word: int, status: int, feed: int) -> int:
    """The oracle's own word."""
    return word & ~(255 << 72) | status << 72 | feed << 64


@dataclass(frozen=True)
class Epoch:
    """The oracle's clock and ground: one value, so that it is taken back as one.

    Attributes
    ----------
    before, time : of the epoch before and the latest one, seconds. live : the oracle-live clock.
    policy : end of its policy's hash. margin : its parameters.
    """

    before: int = 0
    time: int = 0
    live: int = 0
    halted: bool = False
    policy: int = 0
    shortfall: int = 0
    accounts: bytes = bytes(32)
    instruments: bytes = bytes(32)
    margin: MarginParams | None = None


@dataclass
class Feed:
    """What a mock feed says."""

    answer: int
    updated: int
    decimals: int = 8
    mode: int = 0


@dataclass(frozen=True)
class Latest:
    """The latest epoch as engines read it."""

    epoch: int
    timestamp: int
    live: int
    fresh: bool
    accounts: bytes
    instruments: bytes
    margin: MarginParams


class OracleTwin(RegistryTwin, Core):
    """RiskOracle; the committee's signature is taken for good."""

    def begin_oracle(self, slot: int, max_age: int, interval: int, fallback_delay: int, exit_delay: int) -> None:
        """Fix the times."""
        self.slot, self.max_age, self.interval = slot, max_age, interval
        self.fallback_delay, self.exit_delay = fallback_delay, exit_delay
        self.oracle: dict[str, Any] = {
            "clock": Epoch(), "halted": 0, "halted_since": 0, "grace_until": 0, "grace_began": 0
        }  # fmt: skip
        self.marks: dict[int, int] = {}
        self.hashes: dict[int, bytes] = {}
        self.feeds: dict[str, Feed] = {}
        self.block_hashes: dict[int, bytes] = {}

    # reading
    @property
    def clock(self) -> Epoch:
        return self.oracle["clock"]  # type: ignore[no-any-return]

    @property
    def policy_posted(self) -> Policy:
        """The policy of the latest epoch."""
        return self.enacted[self.clock.policy]

    @property
    def fresh(self) -> bool:
        return not self.clock.halted and self.now <= self.clock.time + self.max_age

    @property
    def oracle_state(self) -> int:
        if self.clock.halted:
            return ORACLE_HALTED
        return ORACLE_LIVE if self.fresh else ORACLE_STALE

    @property
    def stale_since(self) -> int:
        if self.clock.halted:
            return int(self.oracle["halted_since"])
        return 0 if self.fresh else self.clock.time + self.max_age

    @property
    def grace_until(self) -> int:
        return int(self.oracle["grace_until"])

    def latest(self) -> Latest:
        clock = self.clock
        assert clock.margin is not None, "an epoch was posted"
        epoch = clock.time // self.slot
        return Latest(epoch, clock.time, clock.live, self.fresh, clock.accounts, clock.instruments, clock.margin)

    def header_hash(self, epoch: int) -> bytes:
        last = self.clock.time // self.slot
        if epoch > last or epoch + RING <= last:
            return bytes(32)
        return self.hashes.get(epoch % RING, bytes(32))

    def all_live(self, account: int) -> bool:
        """Whether all of an account's underlyings are live."""
        held = {i >> 88 for i in self.account(account).positions}
        return all(status_of(self.marks.get(u, 0)) == LIVE for u in held)

    def read_feed(self, source: str, max_age: int, least: int, greatest: int) -> tuple[int, bool]:
        """Price and whether it is usable."""
        feed = self.feeds.get(source)
        if source == ZERO or feed is None or feed.mode:
            return 0, False
        if feed.decimals > 36 or feed.answer < 0:
            return 0, False
        shift = feed.decimals - 6
        price = feed.answer // 10**shift if shift >= 0 else feed.answer * 10**-shift
        if not 0 < price <= MASK64:
            return 0, False
        current = feed.updated <= self.now and self.now - feed.updated <= max_age
        return price, current and least < feed.answer < greatest

    def feed_price(self, underlying: int) -> tuple[int, bool]:
        """The feed of an underlying, now."""
        return self.read_feed(*self.feed_of(underlying))

    # anyone
    def post(self, header: Header, mask: int, signature: bytes) -> None:
        clock, last = self.clock, self.clock.time
        slots = last // self.slot
        need(header.epoch == header.timestamp // self.slot, "oracle: epoch does not match timestamp")
        need(header.epoch > slots, "oracle: epoch is not newer")
        slots = header.epoch - slots
        need(header.timestamp >= last + self.interval, "oracle: too soon after the last epoch")
        need(header.timestamp <= self.now, "oracle: timestamp in the future")
        need(self.now - header.timestamp <= self.max_age, "oracle: timestamp too old")
        if clock.halted:
            need(header.epoch > self.oracle["halted"], "oracle: epoch is not newer than the halted one")
        need(header.snapshot_block < self.number, "oracle: snapshot in the future")
        need(header.snapshot_block + 256 >= self.number, "oracle: snapshot too old")
        need(self.block_hashes.get(header.snapshot_block) == header.snapshot_hash, "oracle: snapshot of another chain")
        need(header.shortfall <= MASK64, "oracle: shortfall out of range")
        policy, current = self.terms(header.policy_hash)
        end = end_of(header.policy_hash)
        need(current or end == clock.policy, "oracle: policy older than the last epoch's")
        elapsed = header.timestamp - last
        listed = policy.underlyings
        need(len(header.marks) == len(listed), "oracle: marks do not match the underlyings")
        for word, bounds in zip(header.marks, listed, strict=True):
            need(word >> 240 == bounds.underlying, "oracle: marks do not match the underlyings")
            self._mark(word, bounds, policy, slots, elapsed)
        live = clock.live
        if clock.margin is not None:
            live += min(elapsed, self.max_age)
            self._grace(int(self.oracle["halted_since"]) if clock.halted else last + self.max_age)
        made = Epoch(
            last, header.timestamp, live, False, end, header.shortfall,
            header.account_root, header.instrument_root, policy.margin,
        )  # fmt: skip
        self.put(self.oracle, "clock", made)
        self.put(self.hashes, header.epoch % RING, header.hash)

    def _mark(self, word: int, bounds: Any, policy: Any, slots: int, elapsed: int) -> None:
        old = self.marks.get(word >> 240, 0)
        status, scan = status_of(word), scan_of(word)
        need(index_of(word) != 0, "oracle: index is zero")
        need(LIVE <= status <= DISPUTED, "oracle: status unknown")
        need(word & (2**72 - 1) == 0, "oracle: mark bits not zero")
        need(bounds.r_min <= scan <= bounds.r_max, "oracle: scan range out of bounds")
        if not old:
            need(funding_of(word) == 0, "oracle: funding does not start at zero")
        else:
            was = scan_of(old)
            rise, fall = was * bounds.slew_up * slots // ONE, was * bounds.slew_down * slots // ONE
            need(scan <= max(was + rise, bounds.r_min), "oracle: scan range rises too fast")
            need(scan >= min(max(was - fall, 0), bounds.r_max), "oracle: scan range falls too fast")
            limit = index_of(old) * 500 * elapsed // (ONE * 3600 * bounds.lots_per_unit)
            need(abs(funding_of(word) - funding_of(old)) <= limit, "oracle: funding moves too fast")
            moved = abs(index_of(word) - index_of(old)) * ONE
            if status_of(old) == PROVISIONAL:
                status = LIVE if status == PROVISIONAL else status
            elif moved**2 > (index_of(old) * policy.shocks.jump) ** 2 * slots:
                status = max(status, PROVISIONAL)
        feed = NONE
        source, age, least, greatest = self.feed_of(word >> 240)
        if source != ZERO:
            price, usable = self.read_feed(source, age, least, greatest)
            feed = UNUSABLE
            if usable:
                feed = AGREES
                if abs(index_of(word) - price) * ONE > price * policy.shocks.dispute:
                    feed, status = DISAGREES, DISPUTED
        self.put(self.marks, word >> 240, effective(word, status, feed))

    def _grace(self, since: int) -> None:
        if self.now > since and self.now >= int(self.oracle["grace_began"]) + 86_400:
            self.put(self.oracle, "grace_began", self.now)
            self.put(self.oracle, "grace_until", self.now + min(self.now - since, 1800))

    def reinstate(self, header: Header) -> None:
        clock = self.clock
        need(clock.halted, "oracle: not halted")
        need(header.timestamp == clock.time, "oracle: not the epoch before")
        kept = self.hashes.get(clock.time // self.slot % RING, bytes(32))
        need(header.hash == kept, "oracle: not the epoch before")
        end = end_of(header.policy_hash)
        margin = self.enacted[end].margin
        self._set(accounts=header.account_root, instruments=header.instrument_root, policy=end, margin=margin)
        for word in header.marks:
            self.put(self.marks, word >> 240, effective(word, DISPUTED, NONE))

    def halt(self, epoch: int) -> None:
        need(self.sender == self.challenger, "oracle: caller is not the challenger")
        clock = self.clock
        need(epoch == clock.time // self.slot, "oracle: not the latest epoch")
        if not clock.halted:
            self.put(self.oracle, "halted", epoch)
            self.put(self.oracle, "halted_since", min(self.now, clock.time + self.max_age))
        self._set(before=0, time=clock.before, halted=True, accounts=bytes(32), instruments=bytes(32))
        self.put(self.hashes, epoch % RING, bytes(32))

    def _set(self, **fields: Any) -> None:
        self.put(self.oracle, "clock", replace(self.clock, **fields))


def settlement_fields(word: int) -> tuple[int, int, int]:
    """Underlying, expiry and price of a settlement leaf."""
    return word >> 240, word >> 208 & 0xFFFFFFFF, word >> 144 & MASK64


def words_of(marks: Sequence[Any]) -> tuple[int, ...]:
    """Marks as words."""
    return tuple(mark.pack() for mark in marks)
