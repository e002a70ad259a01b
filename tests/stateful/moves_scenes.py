"""Scenes with owners and liquidators: orders, limits, tokens, auctions, and liquidation while the oracle is silent."""

from __future__ import annotations

from random import Random
from typing import Any

from bench import Call
from market import LATER, LOTS
from moves import World
from moves_keeper import planned, takes_of
from moves_owner import mark_price, pay
from moves_vault import units
from rescue import by_fallback
from stage import (
    MICRO,
    able,
    account_with,
    fall_to,
    fed,
    go_dark,
    halt_latest,
    holder,
    lots_of,
    need_of,
    pass_live,
    perpetuals,
    plainly,
    proof_of,
    reprice,
    scene,
    set_source,
    steady,
    swap,
    take_back,
    trade_call,
    with_challenger,
)
from twin.core import INSURANCE, SHORTFALL
from twin.liquidator import Bid

from offchain.instruments import Instrument, Kind


@scene
def orders(world: World, rng: Random) -> None:
    """An order that was cancelled; an instrument that nobody listed; a bargain that costs initial margin."""
    key = rng.choice((1, 2, 3, 4))
    if not steady(world, key):
        return
    bench, twin = world.bench, world.bench.twin
    perpetual = Instrument(key, Kind.PERPETUAL).id
    found = holder(world, perpetual, 3_000 * MICRO) if able(world, perpetual) else None
    if found is None:
        return
    one, rich, lots = found
    call = trade_call(world, one, rich, perpetual, 1)
    world.do(Call("cancel", (call.args[0],), twin.account(one).owner))
    world.do(call)
    foreign = Instrument(key, Kind.FUTURE, LATER + 86_400 * rng.randrange(1, 9)).id
    if foreign not in world.market.listed:
        world.market.listed = sorted([*world.market.listed, foreign])
        reprice(world, key, world.market.terms[key].index)
        if foreign in world.ground.leaves:
            swap(world, one, rich, foreign, 1)
        world.market.listed.remove(foreign)
    reprice(world, key, fall_to(world, one, perpetual, lots, 90))
    margin = world.margin(one)
    if margin is None or not able(world, perpetual):
        return
    lot, mark = margin.requirement // lots, mark_price(world, perpetual)
    for percent in range(101, 150, 3):
        call = trade_call(world, one, rich, perpetual, 1, max(mark - lot * percent // 100, 0))
        if bench.would(call) == "house: must not lower initial excess":
            world.do(call)
            break
    for amount in (2**127, 0):
        world.do(Call("withdraw", (one, amount, bench.stranger, proof_of(world, one)), twin.account(one).owner, (one,)))
    reprice(world, key, fall_to(world, one, perpetual, lots, 12))
    margin = world.margin(one)
    if margin is not None and able(world, perpetual):
        loss = margin.requirement * 8 // (10 * lots)
        for part in (10, 3):  # at a loss of 8 % and 27 % of the requirement, which falls by 10 % and 33 %
            swap(world, rich, one, perpetual, max(lots // part, 1), max(mark_price(world, perpetual) - loss, 0))


@scene
def crowd(world: World, rng: Random) -> None:
    """More open interest than there may be; more underlyings than an account may hold, or an isolated one."""
    if not steady(world, *LOTS):
        return
    perpetual, twin = Instrument(5, Kind.PERPETUAL).id, world.bench.twin
    if not able(world, perpetual):
        return
    terms = twin.underlying(5)
    lots = terms.depth * terms.open_interest // 100 - twin.markets.get(5, 0) + 1
    one = account_with(world, need_of(world, perpetual, lots))
    two = account_with(world, 10**6 * MICRO)
    swap(world, one, two, perpetual, lots)
    others = [i for i in perpetuals(world) if i != perpetual]
    for other in (perpetual, *others):
        swap(world, one, two, other, max(lots // 9, 1) if other == perpetual else 1)
    world.do(Call("open_isolated", (world.bench.people[3],), world.bench.stranger))
    alone = twin.next_account - 1
    pay(world, rng, alone, 1_000 * MICRO)
    for other in others[:2]:  # one underlying after the other, but not both
        swap(world, alone, two, other, 2)
    for other in others[:2]:
        swap(world, two, alone, other, 2)
        swap(world, alone, two, others[1], 1)


def pledge_of(world: World, key: int) -> int | None:
    """A token of an underlying that may be brought."""
    mine = [i for i in world.bench.twin.token_terms if i >> 88 == key and able(world, i)]
    return min(mine, default=None)


def bring(world: World, account: int, identifier: int, lots: int) -> str | None:
    """Its owner deposits tokens."""
    twin, amount = world.bench.twin, lots * units(world, identifier)
    owner = twin.account(account).owner
    world.bench.mint_coin(twin.token_terms[identifier][1], owner, amount)
    leg, proof = world.ground.leg(identifier), world.ground.proof(identifier)
    return world.do(Call("deposit_tokens", (account, amount, leg, proof, proof_of(world, account)), owner))


@scene
def pledge(world: World, rng: Random) -> None:
    """Dollars borrowed against tokens by losing them: a call, the cure period, and tokens are taken for cash."""
    key, other = rng.sample((1, 2), 2)
    other = rng.choice((other, 3, 4))
    if not steady(world, key, other):
        return
    bench, twin = world.bench, world.bench.twin
    token, perpetual = pledge_of(world, key), Instrument(other, Kind.PERPETUAL).id
    if token is None or not able(world, perpetual):
        return
    owner = bench.people[2]
    one, keeper = account_with(world, 100 * MICRO, owner), account_with(world, 0)
    rich = account_with(world, 10**6 * MICRO)
    size, lots = lots_of(world, token, 6_000 * MICRO), lots_of(world, perpetual, 1_500 * MICRO)
    if bring(world, one, token, size) is not None or bring(world, keeper, token, size) is not None:
        return
    for named in ([token], [0], [perpetual], [token + 256], []):
        out = (keeper, units(world, token), owner, token, named)
        world.do(Call("withdraw_unpledged", out, bench.people[1], (keeper,)))
    if swap(world, one, rich, perpetual, lots) is not None:
        return
    swap(world, keeper, one, token, 1)
    reprice(world, other, world.market.terms[other].index * 88 // 100)

    def taking(taker: int, legs: dict[int, int]) -> Call:
        args: list[Any] = [one, taker, *takes_of(world, legs), proof_of(world, one), proof_of(world, taker), b""]
        return Call("liquidate", args, twin.account(taker).owner, (one,))

    world.do(Call("margin_call", (one, proof_of(world, one)), bench.stranger))
    world.do(Call("clear_call", (one, proof_of(world, one)), bench.stranger))
    leg, proof = world.ground.leg(token), world.ground.proof(token)
    back = (one, units(world, token), owner, leg, proof, proof_of(world, one))
    world.do(Call("withdraw_tokens", back, owner, (one,)))
    world.do(taking(rich, {token: 1}))
    pass_live(world, 3_600)
    world.do(taking(rich, {perpetual: 1}))
    world.do(taking(keeper, {token: 2}))
    broke = account_with(world, 0)
    world.do(taking(broke, {token: 2}))
    legs = planned(world, one, rich)
    world.do(taking(rich, legs or {token: size // 8}))


def nearly_bankrupt(world: World, rng: Random) -> tuple[int, int, int] | None:
    """Two accounts with tokens whose positions have lost what they were worth, and a rich one without positions."""
    key = rng.choice((1, 2))
    other = rng.choice([k for k in LOTS if k not in (key, 5)])
    if not steady(world, key, other):
        return None
    token, perpetual = pledge_of(world, key), Instrument(other, Kind.PERPETUAL).id
    if token is None or not able(world, perpetual):
        return None
    size, lots = lots_of(world, token, 1_500 * MICRO), lots_of(world, perpetual, 3_000 * MICRO)
    both = []
    rich = account_with(world, 10**6 * MICRO)
    for _ in range(2):
        one = account_with(world, need_of(world, perpetual, lots) // 2, world.bench.people[2])
        if bring(world, one, token, size) is not None or swap(world, one, rich, perpetual, lots) is not None:
            return None
        both.append(one)
    margin = world.margin(both[0])
    assert margin is not None
    lost = min((margin.pv - 15 * MICRO) // lots, world.ground.leaves[perpetual].array[0] * 9 // 10)
    reprice(world, other, world.market.terms[other].index - lost * LOTS[other])
    return both[0], both[1], account_with(world, 10**6 * MICRO)


@scene
def auction(world: World, rng: Random) -> None:
    """Two accounts on auction: one is paid up, for the other there are bids of all kinds."""
    found = nearly_bankrupt(world, rng)
    if found is None:
        return
    one, two, taker = found
    bench, twin = world.bench, world.bench.twin
    for account in (one, two, two):
        world.do(Call("start", (account, proof_of(world, account)), bench.stranger))
    world.do(Call("end", (one, proof_of(world, one)), bench.stranger))
    bench.mint(bench.people[0], 5_000 * MICRO)
    world.do(Call("deposit", (one, 5_000 * MICRO), bench.people[0]))
    world.do(Call("end", (one, proof_of(world, one)), bench.stranger))
    margin, content, body = world.margin(two), world.content(two), twin.account(two)
    if margin is None or content is None:
        return
    least = max(-margin.im_excess, 0)
    enough = max(least, content.collateral - margin.pv) + 1
    poor = account_with(world, MICRO)

    def bid(top_up: int, by: int = taker, limit: int = 2**100, sender: str | None = None) -> str | None:
        made = Bid(two, body.version, body.hash, limit, by, top_up)
        call = Call(
            "take_over", (made, proof_of(world, two)), sender or twin.account(by).owner, (by, INSURANCE, SHORTFALL)
        )
        return world.do(call)

    bid(enough, limit=-margin.requirement)
    bid(2**127)
    bid(max(least - 1, 0))
    bid(least)
    bid(enough, by=two)
    bid(enough, sender=bench.guardian)
    bid(enough, by=one)
    bid(enough, by=poor)
    bid(enough)


@scene
def bankruptcy(world: World, rng: Random) -> None:
    """A fall beyond what accounts are worth: one recovers with the price, one is paid up, one is taken over."""
    key = rng.choice((1, 2, 3, 4))
    if not steady(world, key):
        return
    perpetual = Instrument(key, Kind.PERPETUAL).id
    if not able(world, perpetual):
        return
    bench, twin = world.bench, world.bench.twin
    found = [holder(world, perpetual, dollars * MICRO) for dollars in (1_000, 1_500, 2_000)]
    several = [each for each in found if each is not None]
    if len(several) < 3:
        return
    (one, _, lots), (two, _, _), (three, _, _) = several
    home = world.market.terms[key].index
    for percent in rng.choice(((-20, 60, 110, 60, -20, 110, 300), (-20, 110, -20, 300), (60, -20, 60))):
        reprice(world, key, fall_to(world, one, perpetual, lots, percent))
    reprice(world, key, home // 2)
    taker = account_with(world, 10**5 * MICRO)
    for turn in range(2):
        world.do(Call("start", (three, proof_of(world, three)), bench.stranger))
        if turn == 0:  # an outage: the auction begins anew
            go_dark(world, 1)
            reprice(world, key, world.market.terms[key].index)
        margin, body = world.margin(three), twin.account(three)
        if margin is not None and margin.pv < 0:
            made = Bid(three, body.version, body.hash, 2**100, taker, max(-margin.im_excess, 0))
            who, parties = twin.account(taker).owner, (taker, INSURANCE, SHORTFALL)
            world.do(Call("take_over", (made, proof_of(world, three)), who, parties))
    margin = world.margin(two)
    if margin is not None:
        for more in (max(-margin.pv, 0) + 1, max(margin.risk, 1), 10**5 * MICRO):
            bench.mint(bench.people[0], more)
            world.do(Call("deposit", (two, more), bench.people[0]))
    reprice(world, key, home)


def taken(world: World, one: int, taker: int, legs: dict[int, int]) -> Call:
    """A liquidation by the contract for the fallback."""
    args = [one, taker, *takes_of(world, legs), proof_of(world, one), proof_of(world, taker)]
    return Call("fallback_liquidate", args, world.bench.twin.account(taker).owner, (one, taker))


@scene
def silence(world: World, rng: Random) -> None:
    """No epoch, or a false one, and a feed that falls: who is worth less than his close-out there is liquidated."""
    key, other = rng.sample((1, 2), 2)
    halted = rng.random() < 0.5
    if halted:
        with_challenger(world)
    if not steady(world, 1, 2, 3):
        return
    bench = world.bench
    perpetual, hedge = Instrument(key, Kind.PERPETUAL).id, Instrument(key, Kind.FUTURE, LATER).id
    dust = Instrument(other, Kind.PERPETUAL).id
    shared = bench.twin.feed_of(key)[0] == bench.twin.feed_of(other)[0]
    if not all(able(world, i) for i in (perpetual, hedge, dust)) or not fed(world, key) or shared:
        return
    found = holder(world, perpetual, 3_000 * MICRO)
    if found is None:
        return
    one, rich, lots = found
    if swap(world, rich, one, hedge, lots // 4) is not None or swap(world, one, rich, dust, 1) is not None:
        return
    steady(world)
    if halted:
        from moves_oracle import post

        post(world, plainly(), truth=False)
        if not halt_latest(world) or not take_back(world):
            return
    go_dark(world, bench.twin.fallback_delay)
    set_source(world, other, 1, mode=1)
    broke, index = account_with(world, 0), world.market.terms[key].index
    swap(world, one, rich, hedge, lots // 4)
    for percent in range(97, 3, -2):
        set_source(world, key, index * percent // 100)
        if bench.would(taken(world, one, rich, {perpetual: 1})) != "fallback: account is worth its close-out":
            break
    by_fallback(world, rng.randrange(9))
    world.do(taken(world, one, rich, {perpetual: 0}))
    world.do(taken(world, one, rich, {dust: 1}))
    world.do(taken(world, one, rich, {perpetual: lots + 1}))
    world.do(taken(world, one, rich, {hedge: -(lots // 4)}))
    world.do(taken(world, one, broke, {perpetual: lots // 2}))
    world.do(taken(world, one, rich, {perpetual: lots // 2}))
    world.do(taken(world, one, rich, {perpetual: lots - lots // 2, hedge: -(lots // 4)}))
    set_source(world, other, world.market.terms[other].index)
    for percent in (90, 75, 60, 40, 130, 200):
        set_source(world, key, index * percent // 100)
        for turn in range(3):
            by_fallback(world, turn)
    steady(world)


@scene
def dispute(world: World, rng: Random) -> None:
    """After an outage index and feed disagree over what an account holds, and both say that it is unsafe."""
    if not steady(world, 1, 2, 3):
        return
    bench, twin = world.bench, world.bench.twin
    some = perpetuals(world, lambda u: u in (1, 2, 3) and fed(world, u))
    found = None
    if some:
        perpetual = rng.choice(some)
        found = holder(world, perpetual, 3_000 * MICRO)
    if found is None:
        return
    one, rich, lots = found
    key = perpetual >> 88
    steady(world)
    go_dark(world, max(int(twin.oracle["grace_began"]) + 86_400 - bench.now, 700))
    index = fall_to(world, one, perpetual, lots, 60)
    reprice(world, key, index)
    legs = takes_of(world, {perpetual: 1})
    args: list[Any] = [one, rich, *legs, proof_of(world, one), proof_of(world, rich), b""]
    world.do(Call("liquidate", args, twin.account(rich).owner, (one,)))
    world.do(Call("start", (one, proof_of(world, one)), bench.stranger))
    set_source(world, key, index * 92 // 100)
    reprice(world, key, index, feeds=False)
    world.do(taken(world, one, rich, {perpetual: 1}))
    for _ in range(4):
        if bench.now >= twin.grace_until:
            break
        pass_live(world, 600)
    world.do(taken(world, one, rich, {perpetual: lots}))
    for part in (4, 6, 10, 20):
        call = taken(world, one, rich, {perpetual: max(lots // part, 1)})
        if bench.would(call) is None:
            world.do(call)
            break
    steady(world)


@scene
def poverty(world: World, rng: Random) -> None:
    """Liquidation while the oracle lives: too much, too little, the wrong leg, and by somebody who has nothing."""
    key = rng.choice((1, 2))
    if not steady(world, key):
        return
    twin, rest = world.bench.twin, rng.choice((90, 70))
    perpetual, hedge = Instrument(key, Kind.PERPETUAL).id, Instrument(key, Kind.FUTURE, LATER).id
    found = holder(world, perpetual, 8_000 * MICRO) if able(world, perpetual) and able(world, hedge) else None
    if found is None:
        return
    one, rich, lots = found
    swap(world, rich, one, hedge, max(lots // 9, 1))
    broke = account_with(world, 0)

    def attempt(taker: int, legs: dict[int, int], data: bytes = b"") -> None:
        args: list[Any] = [one, taker, *takes_of(world, legs), proof_of(world, one), proof_of(world, taker), data]
        world.do(Call("liquidate", args, twin.account(taker).owner, (one,)))

    for percent in (rest, 8):  # below a tenth of the requirement no bucket counts
        reprice(world, key, fall_to(world, one, perpetual, lots - lots // 9, percent))
        attempt(broke, {perpetual: 1})
        attempt(rich, {perpetual: 1}, b"call me")
        attempt(rich, dict(twin.account(one).positions))
        for legs in ({perpetual: lots}, {perpetual: lots + 1}, {perpetual: 0}, {perpetual: -1}, {hedge: -1}):
            attempt(rich, legs)
    legs = planned(world, one, rich)
    if legs:
        attempt(rich, legs)


@scene
def overshoot(world: World, rng: Random) -> None:
    """Where much is open the bucket has room for a whole account, but more than what restores it may not be taken."""
    key = 1
    if not steady(world, key):
        return
    perpetual, twin = Instrument(key, Kind.PERPETUAL).id, world.bench.twin
    found = holder(world, perpetual, 900 * MICRO) if able(world, perpetual) else None
    if found is None:
        return
    one, rich, lots = found
    swap(world, account_with(world, 10**6 * MICRO), rich, perpetual, 21 * lots)
    reprice(world, key, fall_to(world, one, perpetual, lots, rng.choice((80, 90))))
    for part in (1, 2, 3, 5, 8):
        args: list[Any] = [one, rich, *takes_of(world, {perpetual: max(lots // part, 1)}), proof_of(world, one)]
        args += [proof_of(world, rich), b""]
        if world.do(Call("liquidate", args, twin.account(rich).owner, (one,))) is None:
            return
