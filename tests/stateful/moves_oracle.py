"""What the oracle's side does: epochs, calm and stormy, false headers, feeds, outages, halts; and time."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from bench import Call
from market import CADENCE, Ground
from moves import World, move
from twin.core import ZERO
from twin.oracle import index_of

from offchain.oracle.headers import Header, Mark
from offchain.risk.policy import Policy

MICRO = 10**6
DECIMALS = 100  # micro-USD to the feeds' eight decimals


def header_of(world: World, ground: Ground, timestamp: int) -> Header:
    """The honest header of an epoch."""
    bench = world.bench
    block = max(bench.chain.block_number - 1, 0)
    bench.twin.block_hashes = {block: bench.chain.block_hash(block)}
    return Header(
        epoch=ground.epoch,
        timestamp=timestamp,
        snapshot_block=block,
        snapshot_hash=bench.chain.block_hash(block),
        committee_set=1,
        policy_hash=ground.policy,
        shortfall=max(-bench.twin.account(3).cash, 0),
        instrument_root=ground.instruments.root,
        account_root=ground.accounts.root,
        bundle_hash=bytes(32),
        marks=world.market.marks(),
    )


def next_time(world: World, rng: Random) -> int:
    """A time that the next epoch may have: in a new slot, after the interval; waits for it."""
    bench, last = world.bench, world.bench.twin.clock.time
    slot = max(last // CADENCE.slot, int(bench.twin.oracle["halted"])) + 1
    earliest = max(slot * CADENCE.slot, last + CADENCE.min_interval)
    if bench.now < earliest:
        bench.wait(earliest - bench.now)
    return max(earliest, bench.now - rng.choice((0, 0, 7, 60)))


def post(world: World, rng: Random, policy: Policy | None = None, truth: bool = True, **changes: Any) -> str | None:
    """An epoch with the terms of now; `changes` go into its header."""
    bench, market = world.bench, world.market
    timestamp = next_time(world, rng)
    policy = policy or bench.twin.policy
    for underlying in policy.underlyings:
        terms, old = market.terms[underlying.underlying], bench.twin.marks.get(underlying.underlying)
        terms.scan = max(min(terms.scan, underlying.r_max), underlying.r_min)
        if old is None:
            terms.funding = 0
    ground = market.make(bench.twin, policy, timestamp // CADENCE.slot, timestamp, truth)
    header = header_of(world, ground, timestamp)
    same = bool(market.grounds) and market.ground.leaves == ground.leaves and market.ground.margin == ground.margin
    market.grounds.append(ground)
    reason = world.do(Call("post", (replace(header, **changes), 7, b""), bench.stranger, price=not same))
    if reason is not None:
        market.grounds.pop()
    else:
        world.headers.append(replace(header, **changes))
        world.headers = world.headers[-4:]
        market.grounds = market.grounds[-3:]
    return reason


def slew(world: World, rng: Random, calm: bool = False) -> None:
    """Funding and scan ranges move within their limits, status is mostly live."""
    bench = world.bench
    elapsed = max(bench.now - bench.twin.clock.time, 0)
    slots = max(elapsed // CADENCE.slot, 1)
    for number, terms in world.market.terms.items():
        terms.status = 1
        if calm or number not in bench.twin.marks:
            continue
        bounds = bench.twin.underlying(number)
        limit = (
            index_of(bench.twin.marks[number])
            * 500
            * min(elapsed, CADENCE.slot)
            // (MICRO * 3_600 * bounds.lots_per_unit)
        )
        terms.funding += rng.randrange(-limit, limit + 1) if limit and rng.random() < 0.5 else 0
        if rng.random() < 0.3:
            up, down = terms.scan * bounds.slew_up // MICRO, terms.scan * bounds.slew_down // MICRO
            terms.scan += rng.randrange(-down * min(slots, 2), up + 1)
        if rng.random() < 0.04:
            terms.status = rng.choice((2, 3))


def tell_feeds(world: World, rng: Random, lag: float = 0.0) -> None:
    """The feeds follow the index."""
    for number in (1, 2, 3):
        source = world.bench.twin.feed_of(number)[0]
        if source in world.bench.mocks and rng.random() >= lag:
            index = world.market.terms[number].index
            world.bench.set_feed(source, index * DECIMALS, world.bench.chain.timestamp)


def move_prices(world: World, rng: Random, size: int) -> None:
    """Indices move by up to `size`, 1e-6; within bounds in which every value fits its lane."""
    from market import PRICES

    for number, terms in world.market.terms.items():
        moved = terms.index + terms.index * rng.randrange(-size, size + 1) // MICRO
        terms.index = max(PRICES[number] // 4, min(moved, PRICES[number] * 4))
        if rng.random() < 0.3:
            terms.volatility = max(300_000, min(terms.volatility * rng.randrange(80, 126) // 100, 1_500_000))


@move(10)
def epoch(world: World, rng: Random) -> None:
    """An epoch on small moves."""
    move_prices(world, rng, rng.choice((0, 3_000, 15_000, 30_000)))
    slew(world, rng)
    tell_feeds(world, rng, 0.1)
    post(world, rng)


@move(3)
def storm(world: World, rng: Random) -> None:
    """An epoch on a large move, often provisional, and sometimes the next one soon."""
    move_prices(world, rng, rng.choice((80_000, 120_000, 250_000)))
    slew(world, rng)
    tell_feeds(world, rng, 0.15)
    post(world, rng)
    if rng.random() < 0.6:
        slew(world, rng, calm=True)
        post(world, rng)


@move(3)
def calm(world: World, rng: Random) -> None:
    """Epochs in which nothing moves: oracle-live time goes by."""
    for _ in range(rng.choice((1, 2, 4, 9))):
        slew(world, rng, calm=True)
        tell_feeds(world, rng)
        world.bench.wait(rng.choice((0, 300, 600, 800)))
        post(world, rng)


@move(2)
def wrong_header(world: World, rng: Random) -> None:
    """Headers that must not be believed."""
    for _ in range(3):
        one_wrong_header(world, rng)


def one_wrong_header(world: World, rng: Random) -> None:
    """One of them."""
    bench, way = world.bench, rng.randrange(19)
    clock, marks = bench.twin.clock, list(world.market.marks())
    first = Mark.unpack(marks[0])
    slew(world, rng, calm=True)
    if way in (0, 1, 2):
        ground = world.ground
        times = {
            0: (clock.time // CADENCE.slot + 1, clock.time + 10 * CADENCE.slot),
            1: (clock.time // CADENCE.slot, clock.time // CADENCE.slot * CADENCE.slot + 1),
            2: ((bench.now + 900) // CADENCE.slot, bench.now + 900),
        }[way]
        world.do(Call("post", (replace(header_of(world, ground, times[1]), epoch=times[0]), 7, b""), bench.stranger))
        return
    if way == 3:
        late = (clock.time // CADENCE.slot + 1) * CADENCE.slot
        bench.wait(late + CADENCE.max_age + 1 - bench.now)
        header = replace(header_of(world, world.ground, late), epoch=late // CADENCE.slot)
        world.do(Call("post", (header, 7, b""), bench.stranger))
        return
    if way == 4:
        at = (clock.time // CADENCE.slot + 1) * CADENCE.slot
        if at < clock.time + CADENCE.min_interval:
            bench.wait(max(at - bench.now, 0))
            header = replace(header_of(world, world.ground, at), epoch=at // CADENCE.slot)
            world.do(Call("post", (header, 7, b""), bench.stranger))
        return

    def marked(mark: Mark, low: int = 0) -> tuple[int, ...]:
        return (mark.pack() | low, *marks[1:])

    changes: dict[int, dict[str, Any]] = {
        5: {"snapshot_block": bench.chain.block_number + 40},
        6: {"snapshot_block": bench.chain.block_number - 400},
        7: {"snapshot_hash": bytes(32)},
        8: {"shortfall": 2**64},
        9: {"policy_hash": rng.randbytes(32)},
        10: {"marks": tuple(marks[:-1])},
        11: {"marks": (marks[1], marks[0], *marks[2:])},
        12: {"marks": marked(replace(first, index=0))},
        13: {"marks": marked(replace(first, status=rng.choice((0, 4))))},
        14: {"marks": marked(first, 1 << rng.randrange(72))},
        15: {"marks": marked(replace(first, scan_range=rng.choice((79_999, 400_001))))},
        16: {"marks": marked(replace(first, scan_range=400_000))},
        17: {"marks": marked(replace(first, scan_range=80_000))},
        18: {"marks": marked(replace(first, funding=first.funding + rng.choice((-1, 1)) * 10**12))},
    }
    if way in (5, 6) and bench.chain.block_number < 500:
        for _ in range(300 if way == 6 else 0):
            bench.chain.mine()
        changes[6] = {"snapshot_block": bench.chain.block_number - 270}
    if way in (16, 17):
        post(world, rng)
    post(world, rng, **changes[way])


@move(4)
def feed(world: World, rng: Random) -> None:
    """A feed follows, lies, stops, or breaks."""
    bench, number = world.bench, rng.choice((1, 2, 3))
    source = rng.choice((bench.twin.feed_of(number)[0], rng.choice(sorted(bench.mocks))))
    if source not in bench.mocks:
        return
    index = world.market.terms[number].index * DECIMALS
    answer = rng.choice((index, index, index * 98 // 100, index * 105 // 100, index * 80 // 100, index * 130 // 100))
    time = bench.chain.timestamp
    way = rng.random()
    if way < 0.1:
        bench.set_feed(source, rng.choice((0, -1, 1, 10**20)), time)
    elif way < 0.2:
        bench.set_feed(source, answer, time + rng.choice((-4 * 3_600, 600)))
    elif way < 0.3:
        bench.set_feed(source, answer, time, rng.choice((1, 3, 4)))
    else:
        bench.set_feed(source, answer, time)


@move(2)
def wait(world: World, rng: Random) -> None:
    """Time goes by without an epoch."""
    world.bench.wait(rng.choice((30, 300, 700, 1_000, 1_800)))
    world.tick()


@move(1)
def outage(world: World, rng: Random) -> None:
    """The committee is silent for long, feeds go on; now and then until accounts may exit."""
    world.bench.wait(rng.choice((2_800, 2_800, 4_000, 8_000, 15_500)))
    move_prices(world, rng, rng.choice((10_000, 60_000, 150_000)))
    tell_feeds(world, rng, 0.15)
    world.tick()


@move(1)
def halt(world: World, rng: Random) -> None:
    """An epoch was false, and is halted; or somebody tries to halt one."""
    bench = world.bench
    if bench.twin.challenger == ZERO and rng.random() < 0.7:
        return
    false = rng.random() < 0.5
    if false:
        post(world, rng, truth=False)
    number = bench.twin.clock.time // CADENCE.slot
    who = bench.twin.challenger if bench.twin.challenger != ZERO and rng.random() < 0.85 else bench.stranger
    if rng.random() < 0.1:
        number -= 1
    if world.do(Call("halt", (number,), who, price=True)) is None and rng.random() < 0.7:
        reinstate(world, rng)


@move(1)
def reinstate(world: World, rng: Random) -> None:
    """The epoch before the halted one becomes the ground again."""
    bench = world.bench
    fitting = [h for h in world.headers if h.timestamp == bench.twin.clock.time]
    if not world.headers:
        return
    header = fitting[-1] if fitting and rng.random() < 0.8 else rng.choice(world.headers)
    if rng.random() < 0.1:
        header = replace(header, shortfall=header.shortfall + 1)
    if world.do(Call("reinstate", (header,), bench.stranger, price=True)) is None:
        world.use(header)
