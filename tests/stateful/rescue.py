"""Whoever has enough can liquidate an account below maintenance margin."""

from __future__ import annotations

from random import Random
from typing import Any

from bench import Call, Disagreement
from moves import World
from moves_keeper import planned, takes_of
from twin.core import NOTHING, Account

GHOST = 2**63
"""An account in thought, of somebody who has enough."""


def rescue(world: World, turn: int) -> None:
    """One account below maintenance margin, another each time: somebody who has enough can liquidate it.

    By the keeper's own plan; or by one lot of some leg, or all legs; or its auction is on, or can be started.

    Raises
    ------
    Disagreement
        Nobody can.
    """
    bench, twin = world.bench, world.bench.twin
    twin.now = bench.now
    bad = [n for n in world.own() if can_be_liquidated(world, n)]
    if not bad:
        return
    account = bad[turn % len(bad)]
    witness = world.witness(account, Random(turn), honest=True)
    drawn, since = twin.own.get(account, (0, 0))
    twin.now = bench.now
    if not can_be_liquidated(world, account) or (drawn and since == twin.latest().epoch):
        return  # a full check took time; or its share of this slot was taken already
    twin.accounts[GHOST] = Account(owner=bench.stranger, cash=10**15)
    try:
        held = twin.account(account).positions
        refused: list[Any] = []
        ways = [planned(world, account, GHOST), *({i: 1 if q > 0 else -1} for i, q in held.items()), dict(held)]
        for legs in ways:
            if legs and len(legs) <= 8:
                args = [account, GHOST, *takes_of(world, legs), witness, NOTHING, b""]
                reason = bench.would(Call("liquidate", args, bench.stranger))
                if reason is None:
                    world.done["rescue by legs"] += 1
                    return
                refused.append((legs, reason))
        word = twin.auctions.get(account)
        if word is None or bench.would(Call("start", (account, witness), bench.stranger)) is None:
            margin = world.margin(account)
            if word is None and margin is not None and margin.pv >= margin.requirement // 10:
                raise Disagreement(f"account {account} cannot be liquidated: {margin}, {held}, {refused}")
        world.done["rescue by auction"] += 1
    finally:
        del twin.accounts[GHOST]


def can_be_liquidated(world: World, account: int) -> bool:
    """Whether the rules of now let anybody liquidate the account."""
    twin, margin = world.bench.twin, world.margin(account)
    if margin is None or margin.mm_excess >= 0 or not twin.fresh or not twin.all_live(account):
        return False
    known = world.content(account) is not None and not any(
        twin.closed.get(i >> 88) for i in twin.account(account).positions
    )
    return known and bool(twin.account(account).positions) and (margin.pv < 0 or world.bench.now >= twin.grace_until)
