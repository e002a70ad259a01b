"""Whoever has enough can liquidate an account below maintenance margin."""

from __future__ import annotations

from itertools import combinations
from random import Random
from typing import Any

from bench import Call, Disagreement
from moves import World
from moves_keeper import planned, takes_of
from twin.core import NOTHING, Account
from twin.oracle import DISPUTED, status_of

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


CLOSED = frozenset(
    f"fallback: {reason}"
    for reason in (
        "too early", "account is worth its close-out", "account is above maintenance margin",
        "underlying is provisional", "grace after an outage",
    )
)  # fmt: skip


def by_fallback(world: World, turn: int) -> None:
    """One account that is unsafe while the oracle is silent or disputed: somebody who has enough can liquidate it.

    By one lot of some leg, a whole leg, all legs, or two whole legs. Of an account all of whose feeds are usable: what
    has none counts at its mark, and stays.

    Raises
    ------
    Disagreement
        Nobody can.
    """
    bench, twin = world.bench, world.bench.twin
    twin.now = bench.now
    if twin.clock.instruments != world.ground.instruments.root:
        return  # halted, and no epoch stands
    if not twin.fresh and bench.now < twin.stale_since + twin.fallback_delay:
        return
    bad = [n for n in world.own() if _is_open(world, n, turn)]
    if not bad:
        return
    account = bad[turn % len(bad)]
    twin.accounts[GHOST] = Account(owner=bench.stranger, cash=10**15)
    try:
        held = twin.account(account).positions
        ways: list[dict[int, int]] = [{i: 1 if q > 0 else -1} for i, q in held.items()]
        ways += [dict(some) for size in (1, 2, len(held)) for some in combinations(sorted(held.items()), size)]
        refused = []
        for legs in ways:
            if len(legs) <= 8:
                reason = bench.would(_taking(world, account, legs, turn))
                if reason is None:
                    world.done["rescue by fallback"] += 1
                    return
                refused.append((legs, reason))
        raise Disagreement(f"account {account} cannot be liquidated by fallback: {world.margin(account)}, {refused}")
    finally:
        del twin.accounts[GHOST]


def _is_open(world: World, account: int, turn: int) -> bool:
    """Whether an account all of whose feeds are usable may be liquidated by fallback."""
    twin = world.bench.twin
    held = twin.account(account).positions
    if not held or world.content(account) is None or any(twin.closed.get(i >> 88) for i in held):
        return False
    keys = {i >> 88 for i in held}
    if twin.fresh and all(status_of(twin.marks.get(key, 0)) != DISPUTED for key in keys):
        return False
    if not all(twin.feed_price(key)[1] for key in keys):
        return False
    if not world.is_current(account) and not world.has_checkpoint(account):
        return False
    first = min(held)
    twin.accounts[GHOST] = Account(owner=world.bench.stranger, cash=10**15)
    try:
        return world.bench.would(_taking(world, account, {first: 1 if held[first] > 0 else -1}, turn)) not in CLOSED
    finally:
        del twin.accounts[GHOST]


def _taking(world: World, account: int, legs: dict[int, int], turn: int) -> Call:
    """A liquidation by fallback, by somebody who has enough."""
    witness = world.witness(account, Random(turn), honest=True)
    args = [account, GHOST, *takes_of(world, legs), witness, NOTHING]
    return Call("fallback_liquidate", args, world.bench.stranger)


def can_be_liquidated(world: World, account: int) -> bool:
    """Whether the rules of now let anybody liquidate the account."""
    twin, margin = world.bench.twin, world.margin(account)
    if margin is None or margin.mm_excess >= 0 or not twin.fresh or not twin.all_live(account):
        return False
    known = world.content(account) is not None and not any(
        twin.closed.get(i >> 88) for i in twin.account(account).positions
    )
    return known and bool(twin.account(account).positions) and (margin.pv < 0 or world.bench.now >= twin.grace_until)
