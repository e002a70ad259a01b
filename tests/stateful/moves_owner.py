"""What owners do: open, pay in and out, trade, cancel, give away; and what outsiders try."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from bench import Call
from moves import World, move
from twin.core import NOTHING, ZERO, Witness

from offchain.chain.orders import Order
from offchain.instruments import Kind

MICRO = 10**6


@move(4)
def open_account(world: World, rng: Random) -> None:
    """Somebody opens an account and pays something in."""
    person = rng.choice(world.bench.people)
    if rng.random() < 0.03:
        person = ZERO
    if len(world.own()) >= 22 and person != ZERO:
        return deposit(world, rng)
    name = "open_isolated" if rng.random() < 0.2 else "open_account"
    if world.do(Call(name, (person,), world.bench.stranger)) is None:
        pay(world, rng, world.bench.twin.next_account - 1, rng.choice((50, 150, 400, 3_000, 40_000)) * MICRO)
    return None


def pay(world: World, rng: Random, account: int, amount: int) -> str | None:
    """Somebody deposits, with tokens and approval."""
    person = rng.choice(world.bench.people)
    world.bench.mint(person, amount)
    return world.do(Call("deposit", (account, amount), person))


@move(4)
def deposit(world: World, rng: Random) -> None:
    """A deposit into any account, or one that cannot be."""
    account = rng.choice([*world.own(), 1]) if world.own() else 1
    person, amount = rng.choice(world.bench.people), rng.choice((1, 999, 20 * MICRO, 500 * MICRO))
    spoil = rng.random()
    if spoil < 0.05:
        world.do(Call("deposit", (account, 0), person))
    elif spoil < 0.1:
        world.bench.mint(person, amount)
        world.do(Call("deposit", (rng.choice((0, 5, 255, world.bench.twin.next_account)), amount), person))
    elif spoil < 0.15:
        huge = rng.choice((2**127, 2**127 - 1))
        cash = world.bench.twin.account(account).cash
        if huge == 2**127 or cash > 0:
            world.bench.mint(person, huge)
            world.do(Call("deposit", (account, huge), person))
    elif spoil < 0.25:
        world.do(Call("deposit", (account, amount + world.bench.twin.tokens.get(person, 0)), person))
    else:
        pay(world, rng, account, amount)


@move(5)
def withdraw(world: World, rng: Random) -> None:
    """As much as may leave, or a little more, by a witness of any kind."""
    bench, account = world.bench, world.pick(rng)
    if account is None:
        return
    body = bench.twin.account(account)
    margin, content = world.margin(account), world.content(account)
    most = body.cash
    if body.positions and margin is not None and content is not None:
        most = min(margin.im_excess, margin.pv - content.collateral)
    amount = rng.choice((most, most + 1, max(most, 1) // 2, rng.randrange(1, max(most, 2)), 1))
    amount = max(amount, 0) if rng.random() < 0.98 else rng.choice((2**127, bench.twin.held + 1))
    sender = body.owner if rng.random() < 0.95 else bench.stranger
    to = body.owner if rng.random() < 0.97 else rng.choice((ZERO, bench.system.ledger.address))
    world.do(Call("withdraw", (account, amount, to, world.witness(account, rng)), sender, (account,)))


@move(3)
def cancel(world: World, rng: Random) -> None:
    """Void an order that was filled in part, or one that nobody saw."""
    order = world.some_order(rng)
    if order is None:
        return
    owner = world.bench.twin.account(order.account).owner
    world.do(Call("cancel", (order,), owner if rng.random() < 0.8 else world.bench.stranger))


@move(1)
def transfer_account(world: World, rng: Random) -> None:
    """Give an account away, to oneself for one."""
    account = world.pick(rng)
    if account is None:
        return
    owner = world.bench.twin.account(account).owner
    to = rng.choice(world.bench.people) if rng.random() < 0.9 else ZERO
    world.do(Call("transfer_account", (account, to), owner if rng.random() < 0.8 else world.bench.guardian))


@move(1)
def trespass(world: World, rng: Random) -> None:
    """Somebody else than an engine calls what engines call; somebody sets engines again."""
    account, other = world.pick(rng) or 256, 257
    who = rng.choice(world.bench.people)
    if rng.random() < 0.2:
        world.do(Call("set_engines", ([who],), rng.choice((who, world.bench.owner))))
        return
    name, args = rng.choice(
        [
            ("enter", ()),
            ("leave", ()),
            ("move_cash", (account, other, 1, 1)),
            ("assign_account", (account, who)),
            ("set_checkpoint", (account, bytes(32))),
            ("close_underlying", (1,)),
            ("deposit", (account, who, 1)),
            ("withdraw", (account, who, 1)),
            ("move_position", (account, other, 1, 1, 0, 0)),
        ]
    )
    world.do(Call("trespass", args, who, function=name))


# Trades


def mark_price(world: World, identifier: int) -> int:
    """The mark of an instrument as an order states it."""
    price = world.ground.leaves[identifier].array[0]
    if identifier & 255 == Kind.PERPETUAL:
        price += world.posted_funding(identifier >> 88)
    return price


def trade_args(world: World, rng: Random, buyer: int, seller: int, identifier: int, lots: int, price: int) -> list[Any]:
    """An honest trade's arguments; either side may have made the first order."""
    bench = world.bench
    maker, taker = (seller, buyer) if rng.random() < 0.5 else (buyer, seller)
    sign = -1 if maker == seller else 1
    extra = rng.choice((0, 0, 3))
    orders = [
        bench.order(maker, identifier, sign * (lots + extra), price, rng.random() < 0.05),
        bench.order(taker, identifier, -sign * (lots + extra), price + sign * -rng.choice((0, 0, 5))),
    ]
    return world.filled_in(orders[0], orders[1], lots, rng)


@move(22)
def trade(world: World, rng: Random) -> None:
    """Two accounts trade, mostly as much as their margin bears."""
    bench = world.bench
    own = [a for a in world.own() if bench.twin.account(a).owner not in (ZERO, bench.flash.address)]
    ids = sorted(i for i in world.ground.leaves if i & 255 != Kind.TOKEN or rng.random() < 0.02)
    if len(own) < 2 or not ids:
        return
    buyer, seller = rng.sample(own, 2)
    held = [i for i in bench.twin.account(buyer).positions if i in world.ground.leaves and i & 255 != Kind.TOKEN]
    closing = bool(held) and rng.random() < 0.35
    identifier = rng.choice(held) if closing else rng.choice(ids)
    leaf = world.ground.leaves[identifier]
    need = max(leaf.array[0] - min(leaf.array), max(leaf.array) - leaf.array[0], 1) * 5 // 4 + leaf.c_long
    rooms = [max((world.margin(a) or (0,) * 5)[4], 0) // need for a in (buyer, seller)]
    lots = max(1, min(*rooms, 50_000) * rng.randrange(20, 100) // 100)
    if closing:
        here = bench.twin.account(buyer).positions[identifier]
        there = [a for a in own if a != buyer and bench.twin.account(a).positions.get(identifier, 0) * here < 0]
        if there:
            other = rng.choice(there)
            lots = min(abs(here), abs(bench.twin.account(other).positions[identifier]))
            lots = rng.choice((lots, max(lots // 2, 1)))
            buyer, seller = (other, buyer) if here > 0 else (buyer, other)
    price = max(mark_price(world, identifier) * rng.choice((1_000, 1_000, 1_000, 999, 1_002, 970, 1_040)) // 1_000, 0)
    args = trade_args(world, rng, buyer, seller, identifier, lots, price)
    call = Call("trade", args, bench.stranger, (buyer, seller))
    for _ in range(5):
        if bench.would(call) is None or lots == 1:
            break
        lots = max(lots // 3, 1)
        args = trade_args(world, rng, buyer, seller, identifier, lots, price)
        call = replace(call, args=args)
    wrong = [replace(call, args=spoiled_trade(world, rng, list(args))) for _ in range(rng.choice((0, 2, 5)))]
    for tried in (*wrong, call):  # a changed one may be of other accounts
        each = replace(tried, parties=(tried.args[0].account, tried.args[2].account))
        if world.do(each) is None:
            world.orders += [each.args[0], each.args[2]]
            world.orders = world.orders[-40:]


def spoiled_trade(world: World, rng: Random, args: list[Any]) -> list[Any]:
    """A trade with one thing wrong, or changed at least."""
    bench, way = world.bench, rng.randrange(26)
    maker, taker = args[0], args[2]

    def signed(place: int, order: Order, who: str | None = None) -> None:
        args[place], args[place + 1] = order, bench.sign(order, who)

    if way == 0:
        signed(0, replace(maker, account=taker.account, version=taker.version))
    elif way == 1:
        other = rng.choice(sorted(world.ground.leaves))
        signed(2, replace(taker, instrument=other))
    elif way == 2:
        signed(2, replace(taker, lots=-taker.lots))
    elif way == 3:
        args[4] = rng.choice((0, 2**32, 2**32 - 1, args[4] + 50))
    elif way == 4:
        signed(0, replace(maker, price=rng.choice((-1, 2**64))))
    elif way == 5:
        signed(2, replace(taker, price=maker.price + (1 if taker.lots < 0 else -1)))
    elif way == 6:
        signed(0, replace(maker, expiry=bench.now - 1))
    elif way == 7:
        signed(0, replace(maker, version=maker.version + 1))
    elif way == 8:
        signed(2, replace(taker, salt=taker.salt | 1 << 255))
    elif way == 9:
        signed(0, maker, rng.choice(bench.people[:-1]))
    elif way == 10:
        args[1] = replace(args[1], body=args[1].body[: rng.choice((0, 64))], signer=ZERO)
    elif way == 11:
        factor = rng.choice((0, 2, 3))
        for place, order in ((0, maker), (2, taker)):
            signed(place, replace(order, price=order.price * factor))
    elif way == 12:
        size = rng.choice((2**32 - 1, 2**31, 10**6))
        for place, order in ((0, maker), (2, taker)):
            signed(place, replace(order, lots=size if order.lots > 0 else -size))
        args[4] = size
    elif way in (13, 14):
        meta, words = args[5]
        args[5] = (meta ^ 1 << rng.randrange(8, 152), words) if way == 13 else (meta, [words[0] ^ 1, *words[1:]])
    elif way == 15:
        args[6] = args[6][:-1]
    elif way == 16:
        old = world.some_order(rng)
        if old is not None:
            signed(0, old)
    elif way == 17:
        stranger = world.bench.twin.next_account + 5
        signed(0, replace(maker, account=stranger, version=0))
        args[7] = NOTHING
    elif way == 18 and len(world.market.grounds) > 1:
        before = world.market.grounds[-2]
        if maker.instrument in before.leaves:
            args[5], args[6] = before.leg(maker.instrument), before.proof(maker.instrument)
    elif way in (19, 20):
        kept = [o for o in world.orders if o.instrument == maker.instrument and (o.lots > 0) == (maker.lots > 0)]
        if kept:
            order = rng.choice(kept)
            args[:2] = [order, bench.sign(order)]
            args[7] = world.witness(order.account, rng, honest=True)
    else:
        place = rng.choice((7, 8))
        args[place] = wrong_witness(world, rng, (maker, taker)[place - 7].account, args[place])
    return args


def wrong_witness(world: World, rng: Random, account: int, honest: Witness) -> Witness:
    """A witness that should not hold."""
    head, cost, words, proof = honest[0], honest[1], list(honest[2]), list(honest[3])
    way = rng.randrange(10) if words else rng.choice((1, 2, 4, 5, 6))  # most need a witness that says something
    if way == 0 and words:
        k = rng.randrange(len(words))
        words[k] = (words[k] + 2 ** (64 * rng.randrange(4))) % 2**256
    elif way == 1:
        cost += rng.choice((1, -(1 << 128) if cost >> 128 else 1 << 128))
    elif way == 2:
        head ^= 1 << rng.randrange(128)
    elif way == 3 and words:
        words = words[:-10]
    elif way == 4 and len(words) <= 30:
        words += [2**255 + 2**191 + 2**127 + 2**63] * 10
    elif way == 5:
        other = world.pick(rng)
        return world.witness(other, rng, honest=True) if other is not None else NOTHING
    elif way == 6:
        proof = proof[:-1] if proof else [bytes(31) + b"\1"]
    elif way == 7:
        proof = proof[::-1]
    elif way == 8 and len(world.market.grounds) > 1:
        return world.market.grounds[-2].by_leaf(world.bench.twin, account)
    elif len(words) == 20:
        words = words[10:] + words[:10]
    else:
        return NOTHING
    return (head, max(cost, 0), words, proof)


@move(2)
def sell_out(world: World, rng: Random) -> None:
    """The owner of an account below maintenance margin sells off the mark to another account of his."""
    bench, twin = world.bench, world.bench.twin

    def bad(number: int) -> bool:
        margin, body = world.margin(number), twin.account(number)
        return margin is not None and margin.mm_excess < 0 < margin.pv and body.owner in bench.people

    account = world.pick(rng, bad)
    if account is None or not bad(account):
        return
    body, margin = twin.account(account), world.margin(account)
    legs = [i for i in body.positions if i in world.ground.leaves and i & 255 != Kind.TOKEN]
    if not legs or margin is None:
        return
    world.do(Call("open_account", (body.owner,), bench.stranger))
    other = twin.next_account - 1
    pay(world, rng, other, 10**6 * MICRO)
    identifier = max(legs, key=lambda i: abs(body.positions[i]) * world.ground.leaves[i].c_long)
    held, mark = body.positions[identifier], mark_price(world, identifier)
    for part in (4, 3, 2):
        lots = max(abs(held) * part // 4, 1)
        left = rng.choice((-1, 0, MICRO, margin.requirement // 20, margin.requirement // 8))
        loss = max(margin.pv - left, 0) // lots
        price = max(mark - loss if held > 0 else mark + loss, 0)
        buyer, seller = (other, account) if held > 0 else (account, other)
        args = trade_args(world, rng, buyer, seller, identifier, lots, price)
        if world.do(Call("trade", args, bench.stranger, (buyer, seller))) is None:
            return
