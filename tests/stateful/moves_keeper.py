"""What keepers do: check, call, take legs and accounts, go on by fallback, settle."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from bench import Call
from moves import World, move
from moves_owner import MICRO, pay, wrong_witness
from twin.core import FIRST, INSURANCE, SHORTFALL
from twin.liquidator import Bid, Take

from offchain.keeper.legs import Holding, plan_legs
from offchain.keeper.view import AccountView, View
from offchain.oracle.headers import pack_settlement
from offchain.risk.portfolios import State

TERRIBLE = (State.LIQUIDATABLE, State.BANKRUPT)


@move(4)
def full(world: World, rng: Random) -> None:
    """A full check, sometimes of other legs than the account has."""
    account = world.pick(rng)
    if account is None or world.content(account) is None:
        return
    for _ in range(rng.choice((1, 1, 3))):
        one_full(world, rng, account)


def one_full(world: World, rng: Random, account: int) -> None:
    """One full check."""
    call = world.full(account)
    number, legs, proof, flags = call.args
    way = rng.randrange(12)
    ids = sorted(world.ground.leaves)
    if way == 0:
        legs = legs[:-1]
    elif way == 1 and len(legs) > 1:
        legs = [legs[1], legs[0], *legs[2:]]
    elif way == 2 and legs:
        legs = [legs[0]] * len(legs)
    elif way == 3 and legs:
        meta, words = legs[0]
        legs = [(meta, [*words[:4], words[4] ^ 2]), *legs[1:]]
    elif way == 4 and legs:
        free = [i for i in ids if i not in world.bench.twin.account(account).positions]
        mine = sorted([*(leg[0] >> 152 for leg in legs[1:]), *rng.sample(free, min(1, len(free)))])
        legs, (proof, flags) = [world.ground.leg(i) for i in mine], world.ground.multiproof(mine)
    elif way == 5:
        proof = [*proof, bytes(32)]
    elif way == 6 and flags:
        flags = [*flags, 1]
    elif way == 7 and flags:
        flags = [flags[0] ^ 1, *flags[1:]]
    elif way == 8 and len(world.market.grounds) > 1:
        before = world.market.grounds[-2]
        held = sorted(i for i in world.bench.twin.account(account).positions if i in before.leaves)
        if held:
            legs, (proof, flags) = [before.leg(i) for i in held], before.multiproof(held)
    world.do(replace(call, args=(number, legs, proof, flags)))


def worst(world: World, rng: Random) -> int | None:
    """An account below maintenance margin if there is one, else any."""
    return world.pick(rng, lambda n: world.state(n) in TERRIBLE)


@move(4)
def margin_call(world: World, rng: Random) -> None:
    """Call an account, or try."""
    account = world.pick(rng, lambda n: world.state(n) not in (State.HEALTHY, None))
    if account is not None and rng.random() < 0.9:
        witness = world.witness(account, rng)
        world.do(Call("margin_call", (account, witness), world.bench.stranger))
    else:
        account = world.pick(rng)
        if account is not None:
            witness = wrong_witness(world, rng, account, world.witness(account, rng))
            world.do(Call("margin_call", (account, witness), world.bench.stranger))


@move(2)
def clear_call(world: World, rng: Random) -> None:
    """Strike out a call, or try."""
    called = world.bench.twin.called
    account = world.pick(rng, lambda n: bool(called.get(n)))
    if account is not None:
        world.do(Call("clear_call", (account, world.witness(account, rng)), world.bench.stranger))


def keeper_account(world: World, rng: Random, dollars: int, empty: bool = False) -> int:
    """An account of somebody with that much, without positions if asked for."""
    twin = world.bench.twin

    def good(number: int) -> bool:
        body = twin.account(number)
        return not (empty and body.positions) and world.state(number) is State.HEALTHY

    account = world.pick(rng, good)
    if account is None or not good(account):
        world.do(Call("open_account", (rng.choice(world.bench.people),), world.bench.stranger))
        account = twin.next_account - 1
    if twin.account(account).cash < dollars:
        pay(world, rng, account, dollars - min(twin.account(account).cash, 0))
    return account


def view(world: World, account: int, taker: int) -> View | None:
    """What the keeper's decision rests on."""
    twin, latest = world.bench.twin, world.bench.twin.latest()

    def seen(number: int) -> AccountView | None:
        body, content = twin.account(number), world.content(number)
        if content is None:
            return None
        called = twin.called.get(number, 0)
        own, since = twin.own.get(number, (0, 0))
        own = own if since == latest.epoch else 0
        return AccountView(number, body.cash, dict(body.positions), content, called - 1 if called else None, own)

    one, other = seen(account), seen(taker)
    if one is None or other is None:
        return None
    rooms = {}
    for underlying in world.market.terms:
        used, capacity = twin.room(underlying, latest.epoch)
        rooms[underlying] = max(capacity - used, 0)
    return View(
        latest.epoch, latest.live, latest.fresh, latest.margin, world.ground.leaves, (one,), other, bad_debt=True,
        rooms=rooms, share=twin.policy.shocks.bucket,
    )  # fmt: skip


def takes_of(world: World, legs: dict[int, int]) -> tuple[list[Take], list[bytes], list[int]]:
    """Takes with their multiproof."""
    ids = sorted(legs)
    proof, flags = world.ground.multiproof(ids) if ids else ([], [])
    return [(*world.ground.leg(i), legs[i]) for i in ids], proof, flags


def planned(world: World, account: int, taker: int) -> dict[int, int] | None:
    """Legs by the keeper's own decision, or None if it sees none."""
    twin = world.bench.twin
    seen = view(world, account, taker)
    both = {i >> 88 for n in (account, taker) for i in twin.account(n).positions}
    if seen is None or len(both) > 4:  # the plan is for takers that can hold all that the account holds
        return None
    found = plan_legs(seen, seen.accounts[0], Holding.of(seen.taker))
    return None if found is None else dict(found[0].takes)


@move(8)
def liquidate(world: World, rng: Random) -> None:
    """Take legs as the keeper would, or others."""
    account = worst(world, rng)
    if account is None:
        return
    twin = world.bench.twin
    taker = keeper_account(world, rng, rng.choice((0, 200, 5_000, 100_000)) * MICRO)
    held = {i: q for i, q in twin.account(account).positions.items() if i in world.ground.leaves}
    legs = planned(world, account, taker) if account != taker else None
    if not legs or rng.random() < 0.2:
        chosen = rng.sample(sorted(held), min(len(held), rng.randrange(1, 4))) if held else []
        legs = {i: held[i] if rng.random() < 0.5 else rng.choice((held[i] // 2, 1, -1, held[i])) for i in chosen}
    fallback = not twin.fresh or not (twin.all_live(account) or rng.random() < 0.3)
    args: list[Any] = [account, taker, *takes_of(world, legs), world.witness(account, rng), world.witness(taker, rng)]
    sender = twin.account(taker).owner
    tries = [spoiled_take(world, rng, list(args), sender) for _ in range(rng.choice((0, 2, 4)))]
    for given, who in (*tries, (args, sender)):
        other = fallback != (rng.random() < 0.05)
        name = "fallback_liquidate" if other else "liquidate"
        data = b"" if rng.random() < 0.97 or who in twin.wallets else b"call me"
        parties = (account, taker) if other else (account,)
        world.do(Call(name, given if other else [*given, data], who, parties))


def spoiled_take(world: World, rng: Random, args: list[Any], sender: str) -> tuple[list[Any], str]:
    """A liquidation with one thing wrong."""
    way = rng.randrange(12)
    takes = list(args[2])
    if way == 0:
        args[0] = rng.choice((1, 2, 255))
    elif way == 1:
        args[1] = args[0]
    elif way == 2:
        sender = world.bench.guardian
    elif way == 3:
        args[2], args[3], args[4] = [], [], []
    elif way == 4 and 0 < len(takes) < 8:
        args[2] = [takes[0], *takes]
    elif way == 5 and takes:
        meta, words, lots = takes[0]
        args[2] = [(meta + (1 << 8), words, lots), *takes[1:]]
    elif way == 6 and takes:
        args[2] = [(*t[:2], rng.choice((0, -t[2], t[2] * 3 + 1, t[2] + 1, 1, -1))) for t in takes]
    elif way == 7:
        args[3] = [*args[3], bytes(32)]
    elif way == 8:
        args[4] = [*args[4], 0]
    elif way == 9:
        args[5] = wrong_witness(world, rng, args[0], args[5])
    elif way == 10:
        args[6] = wrong_witness(world, rng, args[1], args[6])
    else:
        free = [i for i in sorted(world.ground.leaves) if i not in world.bench.twin.account(args[0]).positions]
        if free:
            args[2], args[3], args[4] = takes_of(world, {rng.choice(free): rng.choice((0, 1, -1))})
    return args, sender


@move(2)
def flash_liquidate(world: World, rng: Random) -> None:
    """Take legs without capital: a contract's account pays in, in the callback, what it lacks."""
    bench, twin = world.bench, world.bench.twin
    account = worst(world, rng)
    if account is None or world.content(account) is None:
        return
    mine = [n for n in world.own() if twin.account(n).owner == bench.flash.address and n != account]
    if not mine:
        world.do(Call("open_account", (bench.flash.address,), bench.stranger))
        mine = [twin.next_account - 1]
    taker = rng.choice(mine)
    legs = planned(world, account, taker) or dict(twin.account(account).positions)
    if len(legs) > 8 or any(i not in world.ground.leaves for i in legs):
        return
    bench.mint(bench.flash.address, 10**13)
    args = [account, taker, *takes_of(world, legs), world.witness(account, rng), world.witness(taker, rng), b"go on"]
    world.do(Call("liquidate", args, bench.flash.address, (account,)))


@move(4)
def start(world: World, rng: Random) -> None:
    """Put an account on auction, or try."""
    account = worst(world, rng) if rng.random() < 0.9 else rng.choice((2, world.pick(rng) or 3))
    if account is None:
        return
    witness = world.witness(account, rng) if account >= FIRST else (0, 0, [], [])
    world.do(Call("start", (account, witness), world.bench.stranger))


@move(2)
def end(world: World, rng: Random) -> None:
    """Strike out an auction, or try."""
    auctions = world.bench.twin.auctions
    account = world.pick(rng, lambda n: bool(auctions.get(n)))
    if account is not None:
        world.do(Call("end", (account, world.witness(account, rng)), world.bench.stranger))


@move(9)
def take_over(world: World, rng: Random) -> None:
    """Bid for an account on auction, with just enough or a little less."""
    twin, auctions = world.bench.twin, world.bench.twin.auctions
    account = world.pick(rng, lambda n: bool(auctions.get(n)))
    margin = world.margin(account) if account is not None else None
    if account is None or margin is None:
        return
    taker = keeper_account(world, rng, 20 * MICRO, empty=True)
    body, need = twin.account(account), max(-margin.im_excess, 0)
    if twin.account(taker).cash < need + max(margin.pv, 0) and rng.random() < 0.8:
        pay(world, rng, taker, need + max(margin.pv, 0))
    top_up = rng.choice((need, need, need // 2, max(need + margin.pv, 0), 2**127))
    limit = rng.choice((2**100, 2**100, max(margin.pv, 0), -need))
    version = body.version + (rng.random() < 0.05)
    digest = body.hash if rng.random() < 0.95 else bytes(32)
    if rng.random() < 0.1:
        taker = world.pick(rng) or taker
    number = account if rng.random() < 0.97 else rng.choice((1, taker))
    bid = Bid(number, version, digest, limit, taker, top_up)
    sender = twin.account(taker).owner if rng.random() < 0.95 else world.bench.guardian
    witness = world.witness(account, rng)
    world.do(Call("take_over", (bid, witness), sender, (taker, INSURANCE, SHORTFALL)))


@move(2)
def absorb(world: World, rng: Random) -> None:
    """Pay a bare debt."""
    twin = world.bench.twin
    account = world.pick(rng, lambda n: twin.account(n).cash < 0 and not twin.account(n).positions)
    account = account if account is not None and rng.random() < 0.95 else rng.choice((1, 3))
    world.do(Call("absorb", (account,), world.bench.stranger, (INSURANCE, SHORTFALL)))


@move(1)
def repay_shortfall(world: World, rng: Random) -> None:
    """Insurance repays; now and then somebody gives to it first."""
    if rng.random() < 0.3:
        pay(world, rng, INSURANCE, rng.randrange(1, 50 * MICRO))
    world.do(Call("repay_shortfall", (), world.bench.stranger, (INSURANCE,)))


# Settlement


def expiries(world: World) -> list[tuple[int, int]]:
    """Underlying and expiry of what is listed."""
    return sorted({(i >> 88, i >> 56 & 0xFFFFFFFF) for i in world.market.listed if i >> 56 & 0xFFFFFFFF})


@move(4)
def settlement_price(world: World, rng: Random) -> None:
    """Record, propose, make final, or fall back upon a price."""
    bench, now = world.bench, world.bench.now
    known = expiries(world)
    past = [pair for pair in known if pair[1] <= now]
    pair = rng.choice(past) if past and rng.random() < 0.9 else rng.choice(known)
    way = rng.randrange(10)
    if way < 3:
        underlying, expiry = pair if rng.random() < 0.95 else (2**16, pair[1])
        world.do(Call("record_feed", (underlying, expiry), bench.stranger))
    elif way < 6:
        words = world.ground.settlements
        word = rng.choice(words) if words else pack_settlement(*pair, 1)
        proof = world.ground.settlement_proof(word) if words else []
        if rng.random() < 0.15:
            word += 1 << 144
        elif rng.random() < 0.05:
            word, proof = false_settlement(world, rng, pair)
        world.do(Call("propose_price", (word, proof), bench.stranger))
    elif way < 9:
        world.do(Call("finalize_price", pair, bench.stranger))
    else:
        expiry = pair[1] if rng.random() < 0.9 else 0
        if rng.random() < 0.3 and pair in past:
            bench.wait(max(expiry + bench.twin.exit_delay * rng.choice((1, 2)) - bench.now, 0))
            world.tick()
        world.do(Call("last_resort", (pair[0], expiry), bench.stranger))


def false_settlement(world: World, rng: Random, pair: tuple[int, int]) -> tuple[int, list[bytes]]:
    """A committee that states nonsense: a leaf with low bits, or without a price, or of an expiry to come."""
    from moves_oracle import post

    old = dict(world.market.settled)
    soon = (pair[0], rng.choice((pair[1], world.bench.now + 10**6)))
    world.market.settled = {**old, soon: rng.choice((0, 1))}
    done = post(world, rng) is None
    world.market.settled = old
    words = world.ground.settlements
    if not done or not words:
        return pack_settlement(*pair, 1), []
    word = min(words, key=lambda w: w >> 144 & (2**64 - 1))
    return word, world.ground.settlement_proof(word)


@move(2)
def settle(world: World, rng: Random) -> None:
    """Settle what has a price, of any account."""
    twin = world.bench.twin

    def ready(number: int) -> list[int]:
        return sorted(i for i in twin.account(number).positions if twin.lot_price(i) is not None)

    account = world.pick(rng, lambda n: bool(ready(n)))
    if account is None:
        return
    ids = ready(account)
    way = rng.random()
    if way < 0.1:
        ids = ids[::-1] * 2
    elif way < 0.2:
        ids = sorted({*ids, rng.choice(world.market.listed)})
    number = account if rng.random() < 0.95 else 2
    world.do(Call("settle", (number, ids), world.bench.stranger, (account, 2)))


@move(1)
def fix_delisted(world: World, rng: Random) -> None:
    """Fix the price of what is delisted for good, or try."""
    twin, ids = world.bench.twin, sorted(world.ground.leaves)
    since = [i for i in ids if twin.delisted_at.get(i)]
    identifier = rng.choice(since or ids) if rng.random() < 0.9 else rng.choice(ids)
    proof = world.ground.proof(identifier)
    if rng.random() < 0.15:
        proof = proof[1:]
    world.do(Call("fix_delisted", (world.ground.leg(identifier), proof), world.bench.stranger))


@move(1)
def begin_exit(world: World, rng: Random) -> None:
    """End an underlying, or try."""
    bench = world.bench
    underlying = rng.choice((3, 4, 5, 5, 1, 2))
    if bench.twin.fresh and rng.random() < 0.8:
        return
    if not bench.twin.fresh and rng.random() < 0.5:
        delay = bench.twin.exit_delay * rng.choice((1, 2))
        bench.wait(max(bench.twin.stale_since + delay - bench.now, 0))
        world.tick()
    if world.do(Call("begin_exit", (underlying,), bench.stranger)) is None:
        world.exit_grounds[underlying] = world.ground


@move(1)
def fix_exit(world: World, rng: Random) -> None:
    """Fix the price of what is exited, or try."""
    ground = rng.choice(list(world.exit_grounds.values())) if world.exit_grounds else world.ground
    ids = sorted(ground.leaves)
    gone = [i for i in ids if i >> 88 in world.bench.twin.exits]
    identifier = rng.choice(gone or ids) if rng.random() < 0.9 else rng.choice(ids)
    proof = ground.proof(identifier) if rng.random() < 0.9 else []
    world.do(Call("fix_exit", (ground.leg(identifier), proof), world.bench.stranger))
