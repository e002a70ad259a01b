"""Collateral tokens from deposit to the door, pledged, taken for cash, every figure computed again by the auditor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from audited import Audited
from desk import BTC, BTC_PERP, BTC_TOKEN, MICRO
from vaults import Pledge

from offchain.audit.record import Record
from offchain.audit.result import Verification
from offchain.audit.verify import verify


class Case(Pledge):
    """A pledge whose bundles are kept."""

    desk_type = Audited


def checked(record: Record) -> Verification:
    """The verification without the signatures, which take longest."""
    with mock.patch("offchain.audit.verify.find_wrong", return_value={}):
        return verify(record)


def lived(decimals: int) -> Case:
    """Tokens come, secure a position, are taken for the dollars that it lost, and go."""
    case = Case(200, decimals=decimals)
    desk, owner = case.desk, case.owner
    keeper = desk.fund(desk.keys[4], 100_000)
    desk.pay(case.other, 10**6 * MICRO, case.other_key)
    case.bring(10_000)
    desk.post()
    desk.trade(owner, case.other, BTC_PERP, 1_000)
    desk.post()
    case.take(100)
    desk.reprice(BTC, 9_700 * MICRO)
    desk.post()
    desk.liquidator.send.margin_call(owner, desk.witness(owner), sender=desk.keys[4])
    desk.post()
    desk.liquidate(owner, keeper, {BTC_TOKEN: 5}, desk.keys[4])
    desk.pay(owner, 400 * MICRO, case.owner_key)
    desk.liquidator.send.clear_call(owner, desk.witness(owner), sender=desk.keys[9])
    desk.trade(case.other, owner, BTC_PERP, 1_000)
    desk.post()
    case.leave(case.held())
    return case


@pytest.mark.parametrize("decimals", [6, 8, 18])
def test_audit__a_life_of_tokens__computed_again(decimals: int) -> None:
    case = lived(decimals)
    assert isinstance(case.desk, Audited)
    found = checked(case.desk.record())
    assert found.mismatches == ()
    assert found.liquidations_verified == 1
    assert case.held() == 0


@pytest.mark.parametrize(("name", "change"), [
    ("TokensDeposited", lambda a: {"lots": a["lots"] + 1}),
    ("TokensDeposited", lambda a: {"amount": a["amount"] + 1}),
    ("TokensWithdrawn", lambda a: {"amount": a["amount"] - 1}),
    ("TokensWithdrawn", lambda a: {"lots": a["lots"] - 1}),
    ("Liquidated", lambda a: {"penalty": a["penalty"] + 1}),
])  # fmt: skip
def test_audit__a_figure_of_tokens_that_is_wrong__is_found(
    name: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    case = lived(8)
    assert isinstance(case.desk, Audited)
    record = case.desk.record()
    events = list(record.events)
    place = next(i for i, event in enumerate(events) if event.name == name)
    events[place] = replace(events[place], args=events[place].args | change(events[place].args))
    assert checked(replace(record, events=tuple(events))).mismatches
