"""What scenes are set up with: calm, accounts of their own, trades at the mark, falls of a price, time, roles."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bench import Call
from market import PRICES
from moves import MOVES, Move, World
from moves_oracle import DECIMALS, post, slew, tell_feeds
from moves_owner import mark_price, pay
from twin.core import ZERO, Witness
from twin.oracle import AGREES, LIVE, status_of
from twin.registry import WINDOW

from offchain.instruments import Instrument, Kind, Status

MICRO = 10**6
SCENES: dict[str, Move] = {}


def scene(function: Move) -> Move:
    """Register a scene: a move that arranges a situation first. Plans insert scenes; chance does not draw them."""
    SCENES[function.__name__] = function
    MOVES[function.__name__] = (0, function)
    return function


def plainly() -> Random:
    """A source of chance for helpers that want one where nothing is left to it: fresh, so that sequences replay."""
    return Random(0)


# Calm


def steady(world: World, *at_home: int) -> bool:
    """Epochs in which nothing moves, until what has a feed agrees with it, and no grace runs.

    Parameters
    ----------
    at_home : underlyings whose index goes back to where it began.
    """
    bench, twin = world.bench, world.bench.twin
    for underlying in at_home:
        world.market.terms[underlying].index = PRICES[underlying]
    for action in (1, 2):
        if twin.paused.get(action):
            world.do(Call("unpause", (action,), bench.owner))
    for turn in range(9):
        slew(world, plainly(), calm=True)
        tell_feeds(world, plainly())
        done = post(world, plainly()) is None
        if done and turn and bench.now >= twin.grace_until:
            return True
        bench.wait(0 if done and turn == 0 else 500)
    return False


def pass_live(world: World, seconds: int) -> None:
    """Oracle-live time goes by at constant prices; feeds go on as they are."""
    target = world.bench.twin.clock.live + seconds
    for _ in range(2 * seconds // 800 + 4):
        if world.bench.twin.clock.live >= target:
            return
        world.bench.wait(800)
        slew(world, plainly(), calm=True)
        post(world, plainly())


def fed(world: World, underlying: int) -> bool:
    """Whether its feed is a mock that answers."""
    twin = world.bench.twin
    twin.now = world.bench.now
    return twin.feed_of(underlying)[0] in world.bench.mocks and twin.feed_price(underlying)[1]


def able(world: World, identifier: int) -> bool:
    """Whether new risk may be taken in an instrument."""
    twin, leaf = world.bench.twin, world.ground.leaves.get(identifier)
    word = twin.marks.get(identifier >> 88, 0)
    return (
        leaf is not None
        and leaf.status is Status.OPEN
        and bool(twin.listed.get(identifier))
        and not twin.delisted_at.get(identifier)
        and not twin.closed.get(identifier >> 88)
        and status_of(word) == LIVE
        and word >> 64 & 255 <= AGREES
    )


def perpetuals(world: World, want: Callable[[int], bool] = lambda _: True) -> list[int]:
    """Perpetuals in which new risk may be taken, of underlyings that are wanted."""
    every = [Instrument(u, Kind.PERPETUAL).id for u in PRICES]
    return [i for i in every if able(world, i) and want(i >> 88)]


# Accounts and trades


def account_with(world: World, dollars: int, person: str | None = None) -> int:
    """A new account, micro-USD paid in."""
    world.do(Call("open_account", (person or world.bench.people[1],), world.bench.stranger))
    number = world.bench.twin.next_account - 1
    if dollars:
        pay(world, plainly(), number, dollars)
    return number


def proof_of(world: World, account: int) -> Witness:
    """A witness that holds."""
    return world.witness(account, plainly(), honest=True)


def swap(world: World, buyer: int, seller: int, identifier: int, lots: int, price: int | None = None) -> str | None:
    """A trade by fresh orders, at the mark unless told otherwise."""
    return world.do(trade_call(world, buyer, seller, identifier, lots, price))


def trade_call(world: World, buyer: int, seller: int, identifier: int, lots: int, price: int | None = None) -> Call:
    """That trade."""
    bench = world.bench
    price = mark_price(world, identifier) if price is None else price
    one, two = bench.order(buyer, identifier, lots, price), bench.order(seller, identifier, -lots, price)
    args = [
        one, bench.sign(one), two, bench.sign(two), lots, world.ground.leg(identifier), world.ground.proof(identifier),
        proof_of(world, buyer), proof_of(world, seller),
    ]  # fmt: skip
    return Call("trade", args, bench.stranger, (buyer, seller))


def lots_of(world: World, identifier: int, dollars: int) -> int:
    """Lots worth so many micro-USD."""
    return max(dollars // max(world.ground.leaves[identifier].array[0], 1), 2)


def need_of(world: World, identifier: int, lots: int) -> int:
    """At least the initial margin of a long position alone, whatever the policy."""
    leaf = world.ground.leaves[identifier]
    lot = leaf.array[0] - min(leaf.array) + leaf.c_long
    return lots * (lot * 145 // 100 + leaf.array[0] // 1000 + 1) + 70 * MICRO


def holder(world: World, identifier: int, dollars: int) -> tuple[int, int, int] | None:
    """Somebody just above initial margin with a long position, the rich other side, and the lots."""
    lots = lots_of(world, identifier, dollars)
    one = account_with(world, need_of(world, identifier, lots), world.bench.people[2])
    rich = account_with(world, 10**6 * MICRO)
    return (one, rich, lots) if swap(world, one, rich, identifier, lots) is None else None


# Prices


def fall_to(world: World, account: int, identifier: int, lots: int, percent: int) -> int:
    """The index at which a holder of long lots is worth so many percent of its requirement, about.

    With `d` the fall, `N` the lots' value, `c` the part of the requirement that falls with the price:
    `PV - d N = r (c (1 - d) + K)`.
    """
    margin, index = world.margin(account), world.market.terms[identifier >> 88].index
    assert margin is not None
    reserve = world.ground.margin.reserve
    value = lots * world.ground.leaves[identifier].array[0]
    moving = (margin.requirement - reserve) * percent // 100
    fall = (margin.pv - moving - reserve * percent // 100) * MICRO // max(value - moving, 1)
    return max(index * (MICRO - min(fall, 900_000)) // MICRO, 1)


def reprice(world: World, underlying: int, index: int, feeds: bool = True) -> None:
    """An epoch at another index, within bounds in which every value fits, and another one if it was provisional."""
    world.market.terms[underlying].index = max(PRICES[underlying] // 20, min(index, PRICES[underlying] * 4))
    for _ in range(3):
        slew(world, plainly(), calm=True)
        if feeds:
            tell_feeds(world, plainly())
        done = post(world, plainly()) is None
        if done and (not feeds or status_of(world.bench.twin.marks[underlying]) == LIVE):
            return


def set_source(world: World, underlying: int, price: int, mode: int = 0) -> None:
    """What an underlying's feed says, micro-USD."""
    bench = world.bench
    source = bench.twin.feed_of(underlying)[0]
    if source in bench.mocks:
        bench.set_feed(source, price * DECIMALS, bench.chain.timestamp, mode)


def go_dark(world: World, seconds: int) -> None:
    """No epoch until the oracle has not been live for so long; feeds follow the index."""
    bench, twin = world.bench, world.bench.twin
    since = int(twin.oracle["halted_since"]) if twin.clock.halted else twin.clock.time + twin.max_age
    bench.wait(max(since + seconds - bench.now, 0) + 1)
    tell_feeds(world, plainly())
    world.tick()


# Roles


def wait_for(world: World, kind: int, key: int) -> None:
    """Epochs until a proposal is ready."""
    found = world.bench.twin.proposals.get((kind, key))
    if found is None or world.bench.now > found.ready + WINDOW:
        return
    while world.bench.now < found.ready:
        world.bench.wait(min(found.ready - world.bench.now, 800))
        slew(world, plainly(), calm=True)
        post(world, plainly())


def with_challenger(world: World) -> None:
    """There is a challenger."""
    bench, twin = world.bench, world.bench.twin
    if twin.challenger == ZERO:
        world.do(Call("propose_challenger", (bench.challenger,), bench.owner))
        wait_for(world, 4, 0)
        world.do(Call("enact_challenger", (bench.challenger,), bench.owner))


def halt_latest(world: World) -> bool:
    """The challenger revokes the latest epoch."""
    twin = world.bench.twin
    return world.do(Call("halt", (twin.clock.time // twin.slot,), twin.challenger, price=True)) is None


def take_back(world: World) -> bool:
    """The epoch before the halted one becomes the ground again."""
    fitting = [h for h in world.headers if h.timestamp == world.bench.twin.clock.time]
    if not fitting or world.do(Call("reinstate", (fitting[-1],), world.bench.stranger, price=True)) is not None:
        return False
    world.use(fitting[-1])
    return True
