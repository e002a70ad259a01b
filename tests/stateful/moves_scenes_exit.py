"""A scene with the way out while it is shut for the oracle: each way from one state of an account to another."""

from __future__ import annotations

from random import Random

from bench import Call
from market import LOTS
from moves import World
from moves_oracle import post
from stage import (
    MICRO,
    able,
    account_with,
    fed,
    go_dark,
    halt_latest,
    lots_of,
    need_of,
    plainly,
    reprice,
    scene,
    set_source,
    steady,
    swap,
    take_back,
    with_challenger,
)
from twin.core import CLEARING

from offchain.instruments import Instrument, Kind
from offchain.risk.portfolios import Margin, State, content_of, evaluate

FAR = 10**30
DOWN = (
    (State.HEALTHY, State.MARGIN_CALL),
    (State.HEALTHY, State.LIQUIDATABLE),
    (State.HEALTHY, State.BANKRUPT),
    (State.MARGIN_CALL, State.LIQUIDATABLE),
    (State.MARGIN_CALL, State.BANKRUPT),
    (State.LIQUIDATABLE, State.BANKRUPT),
)


def span(margin: Margin, state: State) -> tuple[int, int]:
    """By how much cash has to change, at least and at most, so that an account without tokens comes to a state."""
    return {
        State.HEALTHY: (-margin.im_excess, FAR),
        State.MARGIN_CALL: (-margin.mm_excess, -margin.im_excess - 1),
        State.LIQUIDATABLE: (-margin.pv, -margin.mm_excess - 1),
        State.BANKRUPT: (-FAR, -margin.pv - 1),
    }[state]


def give(world: World, account: int, amount: int) -> None:
    """Somebody pays in."""
    if amount > 0:
        world.bench.mint(world.bench.people[0], amount)
        world.do(Call("deposit", (account, amount), world.bench.people[0]))


def rise(world: World, account: int, state: State) -> None:
    """Just as much cash as brings it to a better state."""
    margin = world.margin(account)
    if margin is not None:
        give(world, account, span(margin, state)[0])


def settled(world: World, account: int, identifier: int) -> Margin:
    """The account's margin as it will be when a position with a final price is settled."""
    twin, body = world.bench.twin, world.bench.twin.account(account)
    price, lots = twin.lot_price(identifier), body.positions[identifier]
    assert price is not None
    rest = {i: q for i, q in body.positions.items() if i != identifier}
    return evaluate(content_of(account, rest, world.ground.leaves), body.cash + lots * price, world.ground.margin)


@scene
def ways_out(world: World, rng: Random) -> None:
    """Accounts fall through every state by the settlement of an exit, and rise through every state by deposits."""
    halted, gone, stay = rng.random() < 0.5, 3, rng.choice((1, 2, 4))
    if halted:
        with_challenger(world)
    if gone in world.bench.twin.exits or not steady(world, *LOTS):
        return
    first, second = (Instrument(u, Kind.PERPETUAL).id for u in (stay, gone))
    if not able(world, first) or not able(world, second) or not fed(world, gone):
        return
    rich, lots = account_with(world, 10**6 * MICRO), lots_of(world, first, 1_500 * MICRO)
    some = []
    for dollars in (60, 160, 320, 640, 1_200, 2_000, 3_000):
        more = lots_of(world, second, dollars * MICRO)
        one = account_with(world, need_of(world, first, lots) + need_of(world, second, more))
        if swap(world, one, rich, first, lots) is None and swap(world, one, rich, second, more) is None:
            some.append(one)
    most = max((margin.pv for one in some if (margin := world.margin(one)) is not None), default=0)
    reprice(world, stay, world.market.terms[stay].index - (most + 30 * MICRO) // lots * LOTS[stay])
    if halted:
        post(world, plainly(), truth=False)
        if not halt_latest(world) or not take_back(world):
            return
    go_dark(world, world.bench.twin.exit_delay)
    set_source(world, gone, world.market.terms[gone].index * rng.choice((40, 50, 60)) // 100)
    if world.do(Call("begin_exit", (gone,), world.bench.stranger)) is not None:
        return
    ground = world.exit_grounds[gone] = world.ground
    world.do(Call("fix_exit", (ground.leg(second), ground.proof(second)), world.bench.stranger))
    chances: dict[tuple[State, State], dict[int, int]] = {}
    for was, now in DOWN:
        chances[was, now] = {}
        for one in some:
            margin = world.margin(one)
            assert margin is not None
            before, after = span(margin, was), span(settled(world, one, second), now)
            least = max(before[0], after[0], 0)
            if least <= min(before[1], after[1]):
                chances[was, now][one] = least
    fallen: dict[int, State] = {}
    for (_, now), amounts in sorted(chances.items(), key=lambda item: len(item[1])):
        free = [n for n in amounts if n not in fallen]
        if free:
            give(world, free[0], amounts[free[0]])
            world.do(Call("settle", (free[0], [second]), world.bench.stranger, (free[0], CLEARING)))
            fallen[free[0]] = now
    bankrupt = [n for n, now in fallen.items() if now is State.BANKRUPT]
    ways = ((State.LIQUIDATABLE, State.MARGIN_CALL, State.HEALTHY), (State.MARGIN_CALL,), (State.HEALTHY,))
    for one, states in zip(bankrupt, ways, strict=False):
        for state in states:
            rise(world, one, state)
    for one in [n for n, now in fallen.items() if now is State.LIQUIDATABLE]:
        rise(world, one, State.HEALTHY)
