"""Collateral tokens in and out, and full checks in parts."""

from __future__ import annotations

from random import Random
from typing import Any

from bench import Call
from market import LOTS, TOKENS
from moves import World, move
from moves_owner import wrong_witness
from twin.core import TOKEN, ZERO
from twin.vault import Part

BEGIN: Part = (0, 0, 0, ())


def some_token(world: World, rng: Random) -> int:
    """A token that is listed and in the tree; rarely something else."""
    if rng.random() < 0.05:
        return rng.choice(sorted(world.ground.leaves))
    return rng.choice([i for i in sorted(world.bench.twin.token_terms) if i in world.ground.leaves] or list(TOKENS))


def units(world: World, identifier: int) -> int:
    """Smallest units in a lot."""
    terms = world.bench.twin.token_terms.get(identifier)
    return (10 ** terms[2] if terms else 10**6) // LOTS[identifier >> 88]


@move(6)
def deposit_tokens(world: World, rng: Random) -> None:
    """An owner brings tokens, or somebody brings them wrongly."""
    bench, account, identifier = world.bench, world.pick(rng), some_token(world, rng)
    if account is None or identifier not in world.ground.leaves:
        return
    owner, terms = bench.twin.account(account).owner, bench.twin.token_terms.get(identifier)
    amount = rng.choice((1, 3, 20, 150)) * units(world, identifier)
    if terms and owner != ZERO:
        bench.mint_coin(terms[1], owner, amount)
    args: list[Any] = [
        account, amount, world.ground.leg(identifier), world.ground.proof(identifier), world.witness(account, rng)
    ]  # fmt: skip
    for _ in range(rng.choice((0, 1, 3))):
        world.do(Call("deposit_tokens", spoiled_flow(world, rng, list(args)), owner))
    world.do(Call("deposit_tokens", args, owner if rng.random() < 0.95 else bench.stranger))


def spoiled_flow(world: World, rng: Random, args: list[Any]) -> list[Any]:
    """A deposit with one thing wrong."""
    way = rng.randrange(8)
    meta, words = args[2]
    if way == 0:
        args[1] += 1
    elif way == 1:
        args[1] = rng.choice((0, 2**32 * units(world, meta >> 152)))
    elif way == 2:
        args[2] = (meta, [words[0] ^ 1, *words[1:]])
    elif way == 3:
        args[2] = (meta & ~255 | 2, words)
    elif way == 4:
        args[2] = (meta ^ 1 << 160, words)
    elif way == 5:
        args[3] = args[3][1:]
    elif way == 6:
        args[1] *= 1_000
    else:
        args[4] = wrong_witness(world, rng, args[0], args[4])
    return args


def pledged(world: World, account: int) -> list[int]:
    """Tokens that an account holds."""
    return sorted(i for i in world.bench.twin.account(account).positions if i & 255 == TOKEN)


@move(4)
def withdraw_tokens(world: World, rng: Random) -> None:
    """An owner takes tokens back, as many as may leave or more."""
    bench = world.bench
    account = world.pick(rng, lambda n: bool(pledged(world, n)))
    if account is None:
        return
    held = [i for i in pledged(world, account) if i in world.ground.leaves]
    identifier = rng.choice(held) if held and rng.random() < 0.95 else some_token(world, rng)
    if identifier not in world.ground.leaves:
        return
    body = bench.twin.account(account)
    lots = body.positions.get(identifier, 0)
    amount = rng.choice((lots, lots // 2, 1, lots, lots + 1, 0)) * units(world, identifier)
    to = body.owner if rng.random() < 0.95 else rng.choice((ZERO, bench.system.ledger.address))
    leg, proof = world.ground.leg(identifier), world.ground.proof(identifier)
    if rng.random() < 0.05:
        proof = proof[1:]
    args = (account, amount, to, leg, proof, world.witness(account, rng))
    sender = body.owner if rng.random() < 0.95 else bench.stranger
    world.do(Call("withdraw_tokens", args, sender, (account,)))


@move(3)
def withdraw_unpledged(world: World, rng: Random) -> None:
    """Tokens of an account that holds nothing else, all of them one kind after the other; or an attempt."""
    bench, twin = world.bench, world.bench.twin

    def free(number: int) -> bool:
        return bool(twin.account(number).positions) and len(pledged(world, number)) == len(
            twin.account(number).positions
        )

    account = world.pick(rng, free if rng.random() < 0.8 else lambda n: bool(twin.account(n).positions))
    if account is None:
        return
    owner = twin.account(account).owner
    for _ in range(4):
        ids = sorted(twin.account(account).positions)
        mine = pledged(world, account)
        if not ids:
            return
        identifier = mine[0] if mine else ids[0]
        lots = abs(twin.account(account).positions.get(identifier, 0))
        named = rng.choice((ids, ids, ids, ids, ids, ids[::-1], ids[:-1], [TOKENS[0]] * len(ids)))
        many = lots + (rng.random() < 0.1)
        args = (account, many * units(world, identifier), owner, identifier, named)
        world.do(Call("withdraw_unpledged", args, owner if rng.random() < 0.95 else bench.stranger, (account,)))
        if not free(account):
            return


@move(5)
def check_part(world: World, rng: Random) -> None:
    """A full check in parts, from whatever part is kept, rightly or wrongly."""
    twin = world.bench.twin
    account = world.pick(rng, lambda n: len(twin.account(n).positions) > 1)
    if account is None or world.content(account) is None:
        return
    part = BEGIN
    for _ in range(rng.choice((1, 2, 4, 4))):
        ids = [i for i in sorted(twin.account(account).positions) if i > part[1]]
        some = ids[: rng.choice((1, 1, 2, 3))] if rng.random() < 0.9 else ids + ids[:1]
        legs, kept = [world.ground.leg(i) for i in some], part
        proof, flags = world.ground.multiproof(sorted(set(some))) if some else ([], [])
        way = rng.randrange(14)
        if way == 0:
            kept = (part[0], part[1], part[2] + 1, part[3])
        elif way == 1:
            kept = (1, 1, 0, ())
        elif way == 2 and legs:
            legs[0] = (legs[0][0], [*legs[0][1][:4], legs[0][1][4] ^ 2])
        elif way == 3 and some:
            others = [i for i in sorted(world.ground.leaves) if i not in ids]
            legs, (proof, flags) = [world.ground.leg(others[0])], world.ground.multiproof(others[:1])
        elif way == 4:
            legs, proof, flags = [], [], []
        elif way == 5:
            legs = legs[::-1]
        reason = world.do(Call("check_part", (account, kept, legs, proof, flags), world.bench.stranger))
        found = twin.stages.get(account)
        part = (
            found[2] if found is not None and found[:2] == (twin.latest().epoch, twin.account(account).hash) else BEGIN
        )
        if reason is None and part == BEGIN:
            return
