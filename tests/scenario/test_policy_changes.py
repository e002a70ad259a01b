"""Another policy comes into force while no epoch is posted: what was committed still counts under its own policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from aftermath import BTC, BTC_PERP, Aftermath, dollars
from desk import leaping

from offchain.config import HOURLY
from offchain.risk.fallback import place
from offchain.risk.policy import Policy, RowKind, default_policy

ROWS = default_policy().rows
FALLEN = 7_300


def scaled(share: int) -> Policy:
    """A policy whose scan rows move prices by a share (1e-2) of what the default's do, and which charges more."""
    base = leaping(default_policy())
    rows = [replace(r, move=r.move * share // 100) if r.kind is RowKind.SCAN else r for r in base.rows]
    return replace(base, rows=tuple(rows), margin=replace(base.margin, im_factor=13_000 + share))


def enact(case: Aftermath, policy: Policy) -> None:
    """Propose, wait, enact. No epoch comes meanwhile."""
    registry, owner = case.desk.system.registry, case.desk.keys[0]
    registry.send.propose_policy(policy.words, sender=owner)
    case.wait(registry.call.delay())
    registry.send.enact_policy(policy.hash, sender=owner)


@pytest.mark.parametrize("policies", [(50,), (50, 70)])
def test_fallback__another_policy_enacted_meanwhile__the_rows_of_the_epoch_count(policies: Sequence[int]) -> None:
    case = Aftermath(110)
    desk = case.desk
    desk.pay(case.short, 10**12, case.short_key)
    desk.trade(case.long, case.short, BTC_PERP, 40)
    keeper = desk.keys[4]
    taker = desk.fund(keeper, 10_000)
    case.post()
    code = desk.system.oracle.call.policy_code()
    assert code == desk.system.registry.call.policy_code()
    for share in policies:
        enact(case, scaled(share))
    case.wait(HOURLY.max_age + HOURLY.fallback_delay + 1)
    assert desk.system.oracle.call.policy_code() == code != desk.system.registry.call.policy_code()
    case.quote(btc=FALLEN)
    proof, flags = desk.multiproof([BTC_PERP])
    receipt = desk.system.fallback.send.liquidate(
        case.long, taker, [(*desk.leg(BTC_PERP), 10)], proof, flags, desk.witness(case.long), desk.witness(taker),
        sender=keeper,
    )  # fmt: skip
    price = place(ROWS, 160_000, dollars(10_000), dollars(FALLEN)).value(desk.posted[BTC_PERP].array)
    assert receipt.event("FallbackLiquidated").args["takes"] == ((BTC_PERP, 10, price),)


def test_exit__another_policy_enacted_meanwhile__the_rows_of_the_epoch_count() -> None:
    case = Aftermath()
    desk = case.desk
    case.trade(BTC_PERP, 40)
    case.post()
    enact(case, scaled(50))
    case.wait(HOURLY.max_age + HOURLY.exit_delay)
    case.quote(btc=FALLEN)
    settlement = desk.system.settlement
    settlement.send.begin_exit(BTC, sender=case.stranger)
    enact(case, scaled(70))  # nor does one that comes after
    receipt = settlement.send.fix_exit(desk.leg(BTC_PERP), desk.proof(BTC_PERP), sender=case.stranger)
    price = place(ROWS, 160_000, dollars(10_000), dollars(FALLEN)).value(desk.posted[BTC_PERP].array)
    assert receipt.event("LotFixed").args["price"] == price


def test_reinstate__the_epoch_before_had_another_policy__which_is_its_ground_again() -> None:
    case = Aftermath()
    desk, owner = case.desk, case.desk.keys[0]
    registry, oracle = desk.system.registry, desk.system.oracle
    registry.send.propose_challenger(owner.address, sender=owner)
    case.wait(registry.call.delay())
    registry.send.enact_challenger(owner.address, sender=owner)
    header = case.post().event("EpochPosted").args["header"]
    code, word = oracle.call.policy_code(), oracle.call.latest()[6]
    other = scaled(50)
    enact(case, other)
    case.post(policy_hash=other.hash)
    assert (oracle.call.policy_code(), oracle.call.latest()[6]) == (registry.call.policy_code(), other.margin.word)
    oracle.send.halt(desk.epoch, sender=owner)
    oracle.send.reinstate(header, sender=case.stranger)
    assert (oracle.call.policy_code(), oracle.call.latest()[6]) == (code, word)
    case.post(policy_hash=other.hash)
    assert (oracle.call.policy_code(), oracle.call.latest()[6]) == (registry.call.policy_code(), other.margin.word)
