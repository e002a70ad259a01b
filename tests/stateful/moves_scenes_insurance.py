"""Scenes in which an owner deals with himself at constant prices, so that insurance might pay; once it did."""

from __future__ import annotations

from random import Random
from typing import Any

from bench import Call
from market import PRICES
from moves import World
from moves_keeper import takes_of
from moves_owner import mark_price, pay
from moves_scenes import bring, pledge_of
from moves_vault import units
from stage import (
    MICRO,
    able,
    account_with,
    fall_to,
    holder,
    lots_of,
    pass_live,
    plainly,
    proof_of,
    reprice,
    scene,
    steady,
    swap,
)
from twin.core import INSURANCE, SHORTFALL
from twin.liquidator import Bid

from offchain.instruments import Instrument, Kind


def auctioned(world: World, account: int) -> None:
    """The owner waits until the auction pays most, and takes the account over with another one of his."""
    bench, twin = world.bench, world.bench.twin
    owner = twin.account(account).owner
    pay(world, plainly(), INSURANCE, 1_000 * MICRO)
    if world.do(Call("start", (account, proof_of(world, account)), bench.stranger)) is not None:
        return
    pass_live(world, 2 * twin.length)
    margin, body, taker = world.margin(account), twin.account(account), account_with(world, 10**5 * MICRO, owner)
    if margin is not None:
        bid = Bid(account, body.version, body.hash, 2**100, taker, max(-margin.im_excess, 0))
        world.do(Call("take_over", (bid, proof_of(world, account)), owner, (taker, INSURANCE, SHORTFALL)))


@scene
def sold_to_oneself(world: World, rng: Random) -> None:
    """Below maintenance margin he sells most to another account of his, so low that next to nothing is left."""
    key = rng.choice((1, 2, 3, 4))
    if not steady(world, key):
        return
    perpetual = Instrument(key, Kind.PERPETUAL).id
    found = holder(world, perpetual, 3_000 * MICRO) if able(world, perpetual) else None
    if found is None:
        return
    one, _, lots = found
    reprice(world, key, fall_to(world, one, perpetual, lots, 30))
    margin = world.margin(one)
    if margin is None or not able(world, perpetual):
        return
    other, some = account_with(world, 10**5 * MICRO, world.bench.twin.account(one).owner), lots * 4 // 5
    low = max(mark_price(world, perpetual) - (margin.pv - 5 * MICRO) // some, 0)
    swap(world, other, one, perpetual, some, low)
    auctioned(world, one)


@scene
def liquidated_by_oneself(world: World, rng: Random) -> None:
    """Worth about a tenth of the requirement, at the highest penalty, he takes legs himself: half of it is his."""
    key = rng.choice((1, 2, 3, 4))
    if not steady(world, key):
        return
    bench, twin = world.bench, world.bench.twin
    perpetual = Instrument(key, Kind.PERPETUAL).id
    found = holder(world, perpetual, 4_000 * MICRO) if able(world, perpetual) else None
    if found is None:
        return
    one, _, lots = found
    owner = twin.account(one).owner
    reprice(world, key, fall_to(world, one, perpetual, lots, 90))
    world.do(Call("margin_call", (one, proof_of(world, one)), bench.stranger))
    pass_live(world, world.ground.margin.phi_ramp)
    reprice(world, key, fall_to(world, one, perpetual, lots, 9))
    other = account_with(world, 10**5 * MICRO, owner)
    args: list[Any] = [one, other, *takes_of(world, {perpetual: max(lots // 6, 1)}), proof_of(world, one)]
    world.do(Call("liquidate", [*args, proof_of(world, other), b""], owner, (one,)))
    auctioned(world, one)


@scene
def left_with_a_lot(world: World, rng: Random) -> None:
    """He takes back all his tokens but one lot, which is worth less than a tenth of what it requires."""
    key = 2
    world.market.terms[key].index = PRICES[key]
    if not steady(world):
        return
    bench, twin = world.bench, world.bench.twin
    token = pledge_of(world, key)
    if token is None:
        return
    one, size = account_with(world, 0, bench.people[rng.choice((1, 2, 3))]), lots_of(world, token, 2_000 * MICRO)
    if bring(world, one, token, size) is not None:
        return
    reprice(world, key, PRICES[key] * rng.choice((20, 30, 40)) // 100)
    owner = twin.account(one).owner
    out = (one, (size - 1) * units(world, token), owner, token, [token])
    world.do(Call("withdraw_unpledged", out, owner, (one,)))
    auctioned(world, one)
