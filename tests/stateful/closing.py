"""The way out: the oracle stops for good, everything is settled at the feeds' prices, and all equity leaves."""

from __future__ import annotations

from random import Random

from bench import Call, Disagreement
from market import TOKENS
from moves import World
from moves_oracle import tell_feeds
from moves_owner import pay
from moves_vault import units
from twin.core import INSURANCE, NOTHING, SHORTFALL, TOKEN


def leave(world: World) -> None:
    """From whatever state: every owner ends with everything that the account is worth.

    Raises
    ------
    Disagreement
        Something cannot be settled, or cash that is there does not leave.
    """
    bench, twin = world.bench, world.bench.twin
    if twin.clock.halted and twin.clock.instruments == bytes(32):
        fitting = [h for h in world.headers if h.timestamp == twin.clock.time]
        if not fitting:
            return  # halted twice over: only a next epoch is left, and none comes
        must(world, Call("reinstate", (fitting[-1],), bench.stranger, price=True))
        world.use(fitting[-1])
    since = max(twin.stale_since, twin.clock.time + twin.max_age)
    bench.wait(max(since + 2 * twin.exit_delay - bench.now, 0) + 1)
    tell_feeds(world, Random(0))
    world.tick()
    held = {i for n in world.own() for i in twin.account(n).positions if i & 255 != TOKEN}
    for underlying in sorted({i >> 88 for i in held if twin.lot_price(i) is None}):
        if underlying not in twin.exits:
            must(world, Call("begin_exit", (underlying,), bench.stranger))
            world.exit_grounds[underlying] = world.ground
    for identifier in sorted(held):
        if twin.lot_price(identifier) is None:
            ground = world.exit_grounds[identifier >> 88]
            if identifier not in ground.leaves:
                raise Disagreement(f"instrument {identifier:#x} is held and has no leaf to exit by")
            must(world, Call("fix_exit", (ground.leg(identifier), ground.proof(identifier)), bench.stranger))
    for number in world.own():
        ids = sorted(i for i in twin.account(number).positions if i & 255 != TOKEN)
        if ids:
            must(world, Call("settle", (number, ids), bench.stranger, (number, 2)))
    for number in world.own():
        take_tokens(world, number)
    for number in world.own():
        if twin.account(number).cash < 0:
            must(world, Call("absorb", (number,), bench.stranger, (INSURANCE, SHORTFALL)))
    if twin.account(2).cash or twin.account(2).positions:
        raise Disagreement(f"the clearing account is left with {twin.account(2)}")
    refuse(world)
    for number in world.own():
        account = twin.account(number)
        if account.cash > 0 and account.cash * twin.held // (twin.held + twin.short):
            must(world, Call("withdraw", (number, account.cash, bench.stranger, NOTHING), account.owner, (number,)))


def refuse(world: World) -> None:
    """An underlying is ended once, and of a token no price is fixed."""
    stranger, underlying = world.bench.stranger, TOKENS[0] >> 88
    for _ in range(2):
        if underlying not in world.exit_grounds:
            world.exit_grounds[underlying] = world.ground
        world.do(Call("begin_exit", (underlying,), stranger))
    ground = world.exit_grounds[underlying]
    if TOKENS[0] in ground.leaves:
        world.do(Call("fix_exit", (ground.leg(TOKENS[0]), ground.proof(TOKENS[0])), stranger))


def take_tokens(world: World, number: int) -> None:
    """Whoever owes nothing, or pays what he owes, takes all his tokens."""
    twin = world.bench.twin
    account = twin.account(number)
    lacking = (twin.latest().margin.reserve if len(account.positions) > 1 else 0) - account.cash
    if account.positions and lacking > 0:
        pay(world, Random(0), number, lacking)
    for identifier in sorted(account.positions):
        ids = sorted(twin.account(number).positions)
        amount = account.positions[identifier] * units(world, identifier)
        args = (number, amount, world.bench.stranger, identifier, ids)
        must(world, Call("withdraw_unpledged", args, account.owner, (number,)))


def must(world: World, call: Call) -> None:
    """Do what must be possible."""
    reason = world.do(call)
    if reason is not None:
        raise Disagreement(f"on the way out, {call.method}{call.args[:1]} was refused: {reason}")
