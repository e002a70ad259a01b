"""Scenes with the oracle's side: halts, expiries with a price disputed or revoked, and what the registry refuses."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from bench import Call
from market import Terms
from moves import World
from moves_oracle import header_of, post
from moves_rule import BAD_POLICIES, bad_policy
from stage import (
    MICRO,
    account_with,
    fed,
    go_dark,
    halt_latest,
    holder,
    lots_of,
    need_of,
    pass_live,
    perpetuals,
    plainly,
    reprice,
    scene,
    set_source,
    steady,
    swap,
    take_back,
    wait_for,
    with_challenger,
)
from twin.core import CLEARING, ZERO

from offchain.instruments import Instrument, Kind
from offchain.oracle.headers import pack_settlement

DISPUTE_DELAY = 7_200


def genesis(world: World) -> None:
    """The first epoch; before it one that wants to begin with funding."""
    first = world.market.terms[1]
    world.market.terms[1] = replace(first, funding=1)
    marks = world.market.marks()
    world.market.terms[1] = Terms(first.index, first.volatility, 0, first.scan, first.status)
    post(world, plainly(), marks=marks)
    post(world, plainly())


@scene
def revoked(world: World, rng: Random) -> None:
    """An epoch is revoked: not posted again, no ground to exit from; then the one before is."""
    with_challenger(world)
    bench, twin = world.bench, world.bench.twin
    for late in (True, False):
        if not steady(world, 1, 2, 3):
            return
        post(world, plainly(), truth=False)
        stated = world.headers[-1]
        if late:
            go_dark(world, 1)
        world.do(Call("halt", (twin.clock.time // twin.slot - 1,), twin.challenger, price=True))
        if not halt_latest(world):
            return
        again = replace(header_of(world, world.ground, stated.timestamp), epoch=stated.epoch)
        world.do(Call("post", (again, 7, b""), bench.stranger))
    wrong = [h for h in world.headers if h.timestamp != twin.clock.time]
    world.do(Call("reinstate", (wrong[-1],), bench.stranger, price=True))
    go_dark(world, twin.exit_delay)
    free = [u for u in (3, 2, 1) if fed(world, u) and u not in twin.exits]
    for underlying in free[:1]:
        world.do(Call("begin_exit", (underlying,), bench.stranger))
    take_back(world)
    steady(world)


def with_future(world: World, rng: Random) -> tuple[int, int, int, int] | None:
    """A future that expires soon, listed and traded: its id, both holders, and the price that its feed recorded."""
    if not steady(world, 1, 2, 3):
        return None
    bench = world.bench
    keys = [i >> 88 for i in perpetuals(world, lambda u: fed(world, u))]
    if not keys:
        return None
    key, expiry = rng.choice(keys), bench.now + 1_500
    future = Instrument(key, Kind.FUTURE, expiry).id
    world.do(Call("list_instruments", ([future],), bench.owner))
    world.market.listed = sorted({*world.market.listed, future})
    reprice(world, key, world.market.terms[key].index)
    lots = lots_of(world, future, 1_000 * MICRO)
    one = account_with(world, need_of(world, future, lots))
    two = account_with(world, 10**5 * MICRO)
    if swap(world, one, two, future, lots) is not None:
        return None
    pass_live(world, max(expiry - bench.now - 100, 0))
    bench.wait(max(expiry - bench.now, 0))
    index = world.market.terms[key].index
    for mode in (1, 0, 0):
        set_source(world, key, index, mode)
        world.do(Call("record_feed", (key, expiry), bench.stranger))
    return future, one, two, index


def state_price(world: World, future: int, price: int, disputed: bool = False) -> None:
    """The committee states a settlement price, and it is proposed; where the feed disagrees about the price of now."""
    pair = (future >> 88, future >> 56 & 0xFFFFFFFF)
    world.market.settled[pair] = price
    index = world.market.terms[pair[0]].index
    if disputed:
        set_source(world, pair[0], index * 80 // 100)
    reprice(world, pair[0], index, feeds=not disputed)
    word = pack_settlement(*pair, price)
    if word in world.ground.settlements:
        world.do(Call("propose_price", (word, world.ground.settlement_proof(word)), world.bench.stranger))


def finish(world: World, future: int, *accounts: int) -> None:
    """After the delay: the price becomes final, once, and accounts are settled."""
    stranger, pair = world.bench.stranger, (future >> 88, future >> 56 & 0xFFFFFFFF)
    world.do(Call("finalize_price", pair, stranger))
    pass_live(world, DISPUTE_DELAY)
    world.do(Call("finalize_price", pair, stranger))
    if accounts:
        for account, ids in ((accounts[0], [future, future]), *((a, [future]) for a in (*accounts, accounts[0]))):
            world.do(Call("settle", (account, ids), stranger, (account, CLEARING)))
        world.do(Call("finalize_price", pair, stranger))


@scene
def false_price(world: World, rng: Random) -> None:
    """A settlement price that the feed disputes; then the right one, and accounts are settled."""
    found = with_future(world, rng)
    if found is None:
        return
    future, one, two, index = found
    state_price(world, future, 0)
    state_price(world, future, index, disputed=True)
    state_price(world, future, index * 112 // 100)
    finish(world, future)
    state_price(world, future, index)
    finish(world, future, one, two)


@scene
def withdrawn_price(world: World, rng: Random) -> None:
    """The epoch that stated a price is revoked: the price does not become final, and can be proposed again."""
    with_challenger(world)
    found = with_future(world, rng)
    if found is None:
        return
    future, one, two, index = found
    state_price(world, future, index)
    if not halt_latest(world):
        return
    finish(world, future)
    state_price(world, future, index)
    finish(world, future, one, two)


@scene
def registrar(world: World, rng: Random) -> None:
    """What the registry refuses to list, feeds that do not answer, tokens that do not fit; and all bad policies."""
    bench, twin = world.bench, world.bench.twin
    owner = bench.owner
    steady(world)
    past = Instrument(rng.choice((1, 2, 3)), Kind.FUTURE, bench.now - rng.randrange(0, 900)).id
    fresh = Instrument(1, Kind.FUTURE, bench.now // 3_600 * 3_600 + 7_200 + 60 * rng.randrange(1, 60)).id
    for bad in (past, fresh | 1 << 104, fresh & ~255, fresh | 1 << 100, fresh | 1 << 20, 1 << 88 | 1 << 56 | 1):
        world.do(Call("list_instruments", ([bad],), owner))
    if world.do(Call("list_instruments", ([fresh],), owner)) is None:
        for who in (bench.guardian, bench.guardian):
            world.do(Call("delist", ([fresh],), who))
        world.do(Call("relist", ([fresh],), owner))
    for action in (0, 3):
        world.do(Call("pause", (action,), bench.guardian))
    coarse = (Instrument(1, Kind.TOKEN, 0, 7).id, bench.coarse, 2)
    many = (Instrument(1, Kind.TOKEN, 0, 8).id, bench.coarse, 37)
    other = (Instrument(1, Kind.TOKEN, 0, 9).id, bench.coarse, 3)
    nothing = (Instrument(2, Kind.TOKEN, 0, 9).id, ZERO, 6)
    for token in (coarse, many, other, nothing):
        world.do(Call("propose_token", (token,), owner))
    for who in (owner, bench.stranger):
        world.do(Call("set_engines", ([who],), who))
    number = rng.choice((1, 2, 3, 4))
    source = twin.feed_of(number)[0]
    source = source if source in bench.mocks else rng.choice(sorted(bench.mocks))
    feed = (number, source, 3 * 3_600, 0, 10**20)
    some = [u for u in (1, 2, 3) if u != number and fed(world, u)]
    second = rng.choice(some or [3])
    apart = [m for m in sorted(bench.mocks) if m != twin.feed_of(second)[0]]
    unlike = (second, rng.choice(apart), 3 * 3_600, 0, 10**20)
    for bad in ((*feed[:2], 0, 0, 9), (*feed[:3], 9, 9), (77, *feed[1:]), unlike, feed):
        world.do(Call("propose_feed", (bad,), owner))
    world.proposed[2, number], world.proposed[2, second] = feed, unlike
    world.do(Call("enact_feed", (feed,), owner))
    wait_for(world, 2, number)
    set_source(world, second, world.market.terms[second].index)
    bench.set_feed(unlike[1], world.market.terms[second].index * 130, bench.chain.timestamp)
    world.do(Call("enact_feed", (unlike,), owner))
    for token in (coarse, many, other, nothing):
        world.do(Call("enact_token", (token,), owner))
        world.do(Call("cancel_proposal", (3, token[0]), owner))
    bench.set_feed(source, 0, bench.chain.timestamp, 1)
    world.do(Call("enact_feed", (feed,), owner))
    if twin.feed_of(number)[0] == ZERO or rng.random() < 0.5:
        bench.set_feed(source, world.market.terms[number].index * 100, bench.chain.timestamp)
        world.do(Call("enact_feed", (feed,), owner))
    for reason in BAD_POLICIES:
        world.do(Call("propose_policy", (bad_policy(twin.policy, reason),), owner))
    steady(world)


@scene
def hurry(world: World, rng: Random) -> None:
    """An epoch late in its slot, and the next one as soon as there is another slot."""
    if not steady(world):
        return
    bench, twin = world.bench, world.bench.twin
    slot = twin.slot
    for _ in range(2):
        bench.wait((twin.clock.time // slot + 2) * slot - 10 - bench.now)
        post(world, plainly())
        soon = (twin.clock.time // slot + 1) * slot
        bench.wait(max(soon - bench.now, 0))
        header = replace(header_of(world, world.ground, soon), epoch=soon // slot)
        world.do(Call("post", (header, 7, b""), bench.stranger))


@scene
def provisional(world: World, rng: Random) -> None:
    """Each way from one status of an underlying to another; liquidation waits for an epoch while it is provisional."""
    if not steady(world, 1, 2, 3):
        return
    some = perpetuals(world, lambda u: u in (1, 2, 3) and fed(world, u))
    if not some:
        return
    perpetual = rng.choice(some)
    key = perpetual >> 88
    found, home = holder(world, perpetual, 2_000 * MICRO), world.market.terms[key].index

    def said(index: int, feed: int, status: int = 1) -> None:
        terms = world.market.terms[key]
        terms.index = index
        set_source(world, key, feed)
        terms.status = status
        post(world, plainly())
        terms.status = 1

    low = home * 60 // 100
    for index, feed, status in (
        (low, low, 1), (low, low, 1), (low, home, 1), (low, low, 1), (low, low, 2), (low, home, 1), (low, home, 1),
        (low, low, 2), (low, low, 1), (home, home, 1), (home, low, 1), (home, home, 1),
    ):  # fmt: skip
        said(index, feed, status)
        if found is not None and rng.random() < 0.2:
            world.do(
                Call("margin_call", (found[0], world.witness(found[0], plainly(), honest=True)), world.bench.stranger)
            )
    steady(world)
