"""What those with a role do: policies, feeds, tokens and the challenger through the timelock; pauses, listings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from bench import Call, plain
from market import first_policy
from moves import World, move
from moves_oracle import DECIMALS, post
from twin.core import ZERO
from twin.registry import WINDOW, BadPolicy, FeedTerms

from offchain.instruments import Instrument, Kind
from offchain.risk.policy import Policy

Body = list[Any]
Change = Callable[[Body], None]


def _field(width: int, low: int, value: int) -> Change:
    def change(body: Body) -> None:
        body[1] = body[1] & ~((2**width - 1) << low) | value << low

    return change


def _row(row: int, width: int, low: int, value: int) -> Change:
    def change(body: Body) -> None:
        body[2][row] = body[2][row] & ~((2**width - 1) << low) | value << low

    return change


def _listed(width: int, low: int, value: int) -> Change:
    def change(body: Body) -> None:
        body[4][0] = body[4][0] & ~((2**width - 1) << low) | value << low

    return change


def _put(place: int, key: int | None, value: Any) -> Change:
    def change(body: Body) -> None:
        if key is None:
            body[place] = value
        else:
            body[place][key] = value

    return change


def _turn(body: Body) -> None:
    body[4] = body[4][::-1]


BAD_POLICIES: dict[str, Change] = {
    "registry: unknown policy version": _put(0, None, 2),
    "registry: kappa out of range": _field(16, 0, 3_001),
    "registry: im_factor out of range": _field(16, 16, 10_000),
    "registry: keeper reserve out of range": _field(48, 32, 0),
    "registry: penalty out of range": _field(16, 96, 10_001),
    "registry: penalty time out of range": _field(32, 112, 0),
    "registry: liquidator share out of range": _field(16, 144, 10_001),
    "registry: dust size out of range": _field(48, 160, 10**12 + 1),
    "registry: trade fee out of range": _field(16, 208, 101),
    "registry: price band out of range": _field(16, 224, 0),
    "registry: gas multiple out of range": _field(16, 240, 501),
    "registry: row bits not zero": _row(5, 1, 255, 1),
    "registry: row of the wrong kind": _row(27, 8, 0, 0),
    "registry: row volatility unknown": _row(5, 8, 8, 3),
    "registry: row move out of range": _row(5, 64, 16, 1_000_001),
    "registry: tail volatility is not up": _row(27, 8, 8, 0),
    "registry: row volatility not zero": _row(34, 8, 8, 1),
    "registry: row weight not zero": _row(5, 64, 80, 1),
    "registry: row weight out of range": _row(27, 64, 80, 0),
    "registry: first row is not the mark": _row(0, 8, 8, 1),
    "registry: shock out of range": _put(3, 0, 5_000_001),
    "registry: limit is zero": _put(3, 11, 0),
    "registry: no underlying": _put(4, None, []),
    "registry: underlyings not ascending": _turn,
    "registry: lots per unit is zero": _listed(32, 208, 0),
    "registry: scan range bounds out of range": _listed(32, 176, 0),
    "registry: slew out of range": _listed(32, 112, 0),
    "registry: slew falls faster than it rises": _listed(32, 80, 200_000),
    "registry: depth is zero": _listed(48, 32, 0),
    "registry: open-interest limit is zero": _listed(16, 16, 0),
    "registry: haircut out of range": _listed(16, 0, 10_001),
    "registry: lot size changed": _listed(32, 208, 999),
    "registry: underlying removed": lambda body: body[4].pop(),
}


def bad_policy(policy: Policy, reason: str) -> BadPolicy:
    """A policy with what the registry refuses for that reason."""
    version, margin, rows, shocks, underlyings = plain(policy)
    body = [version, margin, list(rows), list(shocks), list(underlyings)]
    BAD_POLICIES[reason](body)
    return BadPolicy(tuple(body), reason)


def next_policy(policy: Policy, rng: Random) -> Policy:
    """A policy with other parameters within their bounds."""
    margin = replace(
        policy.margin,
        kappa=rng.choice((0, 1_000, 2_000, 3_000)),
        im_factor=rng.choice((11_000, 12_500, 14_000)),
        reserve=rng.choice((5, 20, 40)) * 10**6,
        phi_min=rng.choice((0, 1_000)),
        phi_max=rng.choice((3_000, 6_000)),
        dust=rng.choice((0, 30, 100)) * 10**6,
        trade_fee=rng.choice((0, 3, 10)),
    )
    shocks = replace(
        policy.shocks, position=rng.choice((100_000, 500_000)), dispute=rng.choice((20_000, 30_000, 60_000))
    )
    share = rng.choice((10, 9, 8))  # of the tails' weights, as they began
    rows = tuple(replace(row, weight=row.weight * share // 10) for row in first_policy().rows)
    return replace(policy, margin=margin, shocks=shocks, rows=rows)


def ready(world: World, rng: Random, kind: int, key: int) -> None:
    """Wait for a proposal, mostly keeping the oracle alive; rarely too long."""
    bench = world.bench
    found = bench.twin.proposals.get((kind, key))
    if found is None or rng.random() < 0.15:
        return
    if rng.random() < 0.04:
        bench.wait(found.ready + WINDOW + 1 - bench.now)
        world.tick()
        return
    for _ in range(8):
        if bench.now >= found.ready:
            return
        bench.wait(min(found.ready - bench.now, 800))
        post(world, rng)


@move(2)
def policy(world: World, rng: Random) -> None:
    """Propose a policy, good or bad, or put the proposed one in force; epochs under the one before."""
    bench, twin = world.bench, world.bench.twin
    owner = bench.owner if rng.random() < 0.95 else bench.stranger
    way = rng.random()
    if way < 0.35:
        for reason in rng.sample(sorted(BAD_POLICIES), 6):
            world.do(Call("propose_policy", (bad_policy(twin.policy, reason),), owner))
    elif way < 0.65 or twin.proposals.get((1, 0)) is None:
        world.do(Call("propose_policy", (next_policy(twin.policy, rng),), owner))
    else:
        ready(world, rng, 1, 0)
        found = twin.proposals.get((1, 0))
        digest = found.content if found and rng.random() < 0.9 else rng.randbytes(32)
        old = twin.policy
        if world.do(Call("enact_policy", (digest,), owner)) is None and rng.random() < 0.5:
            post(world, rng, policy=old)
            if rng.random() < 0.4:
                post(world, rng)
                post(world, rng, policy=old)


@move(2)
def feed_terms(world: World, rng: Random) -> None:
    """Propose a feed, good or bad, or put a proposed one in force."""
    bench = world.bench
    owner = bench.owner if rng.random() < 0.95 else bench.stranger
    number = rng.choice((1, 2, 3, 4))
    if rng.random() < 0.5:
        source = rng.choice([*bench.mocks, ZERO])
        feed: FeedTerms = (number, source, 3 * 3_600, 0, 10**20)
        way = rng.randrange(8)
        if way == 0:
            feed = (9, *feed[1:])
        elif way == 1:
            feed = (number, source, rng.choice((0, 8 * 86_400)), 0, 10**20)
        elif way == 2:
            feed = (number, source, 3_600, 10, 10)
        if world.do(Call("propose_feed", (feed,), owner)) is None:
            world.proposed[2, feed[0]] = feed
        return
    waiting = [key for kind, key in world.proposed if kind == 2]
    if waiting:
        key = rng.choice(waiting)
        feed = world.proposed[2, key]
        ready(world, rng, 2, key)
        if feed[1] in bench.mocks and rng.random() < 0.7:
            bench.set_feed(feed[1], world.market.terms[key].index * DECIMALS, bench.chain.timestamp)
        if rng.random() < 0.1:
            feed = (*feed[:2], feed[2] + 1, *feed[3:])
        world.do(Call("enact_feed", (feed,), owner))


@move(3)
def token_terms(world: World, rng: Random) -> None:
    """Propose a collateral token, good or bad, or list a proposed one."""
    bench = world.bench
    owner = bench.owner if rng.random() < 0.95 else bench.stranger
    if rng.random() < 0.5:
        number = rng.choice((1, 2))
        token = rng.choice([*bench.coins, ZERO])
        decimals = bench.twin.decimals.get(token, 18)
        identifier = Instrument(number, Kind.TOKEN, 0, rng.choice((0, 1, 2))).id
        way = rng.randrange(10)
        if way == 0:
            decimals = rng.choice((37, decimals + 1))
        elif way == 1:
            identifier = rng.choice((Instrument(number, Kind.PERPETUAL).id, identifier | 1 << 56, identifier | 9 << 88))
        if world.do(Call("propose_token", ((identifier, token, decimals),), owner)) is None:
            world.proposed[3, identifier] = (identifier, token, decimals)
        return
    waiting = [key for kind, key in world.proposed if kind == 3]
    if waiting:
        key = rng.choice(waiting)
        terms = world.proposed[3, key]
        ready(world, rng, 3, key)
        if rng.random() < 0.1:
            terms = (terms[0], terms[1], terms[2] + 1)
        if world.do(Call("enact_token", (terms,), owner)) is None:
            world.market.listed = sorted({*world.market.listed, terms[0]})


@move(1)
def challenger(world: World, rng: Random) -> None:
    """Propose the challenger, or give it the role; withdraw a proposal."""
    bench, twin = world.bench, world.bench.twin
    owner = bench.owner if rng.random() < 0.9 else bench.stranger
    way = rng.random()
    if way < 0.3 or (twin.challenger == ZERO and twin.proposals.get((4, 0)) is None):
        world.do(Call("propose_challenger", (bench.challenger,), owner))
    elif way < 0.8:
        ready(world, rng, 4, 0)
        who = bench.challenger if rng.random() < 0.9 else bench.stranger
        world.do(Call("enact_challenger", (who,), owner))
    else:
        pairs = [*twin.proposals, (2, 5)]
        world.do(Call("cancel_proposal", rng.choice(pairs), owner))


@move(2)
def pause(world: World, rng: Random) -> None:
    """The guardian pauses, the owner lets go on."""
    bench = world.bench
    if rng.random() < 0.1:
        world.do(Call("set_guardian", (bench.guardian,), rng.choice((bench.owner, bench.stranger))))
        return
    action = rng.choice((1, 1, 2)) if rng.random() < 0.9 else rng.choice((0, 3))
    running = bench.twin.paused.get(action)
    if running or rng.random() < 0.2:
        world.do(Call("unpause", (action,), bench.owner if rng.random() < 0.9 else bench.guardian))
    else:
        who = rng.choice((bench.owner, bench.guardian, bench.guardian, bench.stranger))
        world.do(Call("pause", (action,), who))
        if rng.random() < 0.7 and bench.twin.paused.get(action) and action == 1:
            from moves_owner import trade

            trade(world, rng)
            world.do(Call("unpause", (action,), bench.owner))


@move(4)
def listing(world: World, rng: Random) -> None:
    """List instruments, delist and relist them, good ids and bad."""
    bench, market, twin = world.bench, world.market, world.bench.twin
    owner = bench.owner if rng.random() < 0.95 else bench.stranger
    way = rng.random()
    if way < 0.4:
        number = rng.choice((1, 2, 3))
        kind = rng.choice((Kind.FUTURE, Kind.CALL, Kind.PUT))
        strike = market.terms[number].index // 10**7 * 10**7 or 10**6 if kind.is_option else 0
        expiry = (bench.now // 3_600 + rng.choice((2, 5, 400))) * 3_600
        fresh = Instrument(number, kind, expiry, strike).id
        ids = [fresh]
        bad = rng.randrange(14)
        if bad == 0:
            ids = [fresh, fresh]
        elif bad == 1:
            ids = [rng.choice(market.listed)]
        elif bad == 2:
            ids = [rng.choice((fresh | 1 << 104, fresh & ~255, fresh & ~255 | 5, fresh ^ 1 << 90, fresh | 1 << 100))]
        elif bad == 3:
            ids = [rng.choice((Instrument(number, Kind.FUTURE, bench.now - 60).id, 1 << 88 | 1 | 1 << 56, 1 << 88 | 3))]
        elif bad == 4:
            ids = [Instrument(number, Kind.FUTURE, expiry).id | 1 << 20]
        if world.do(Call("list_instruments", (ids,), owner)) is None:
            fit = [i for i in ids if i >> 8 & (2**48 - 1) <= 8 * market.terms[i >> 88].index]
            market.listed = sorted({*market.listed, *fit})  # a committee leaves out what no lane holds
    elif way < 0.8:
        some = rng.choice([i for i in market.listed if i & 255 <= 4])
        if some & 255 == Kind.PERPETUAL and rng.random() < 0.8:
            return
        some = some if rng.random() < 0.9 else some ^ 1 << 60
        who = rng.choice((bench.guardian, bench.owner, bench.guardian, bench.stranger))
        if world.do(Call("delist", ([some],), who)) is None and rng.random() < 0.5:
            market.close_only.add(some)
    else:
        gone = [i for i, since in twin.delisted_at.items() if since]
        some = rng.choice(gone or market.listed)
        if world.do(Call("relist", ([some],), owner)) is None:
            market.close_only.discard(some)
