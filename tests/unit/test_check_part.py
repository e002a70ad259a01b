"""A full check in parts: the same integers and checkpoint as at once, and only the part that was left goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from desk import BTC, BTC_FUTURE, BTC_PERP, ETH, ETH_FUTURE, ETH_PERP, Desk, option, reason

from offchain.chain.backends import Receipt
from offchain.instruments import Kind

IDS = sorted([BTC_PERP, ETH_PERP, BTC_FUTURE, ETH_FUTURE, option(BTC, 9_000), option(ETH, 240, Kind.PUT)])
NEW: tuple[Any, ...] = (0, 0, 0, [])
FOREIGN = "examiner: another part, epoch or position"


class Parts:
    """An account with six legs of two underlyings, and the parts that calls leave."""

    def __init__(self) -> None:
        self.desk = desk = Desk.open(IDS)
        self.account, self.other = desk.fund(desk.keys[1], 200_000), desk.fund(desk.keys[2], 200_000)
        for number, identifier in enumerate(IDS):
            sides = (self.account, self.other) if number % 2 else (self.other, self.account)
            desk.trade(*sides, identifier, 20 + number)
        desk.post()

    def go(self, part: Any, ids: Sequence[int], account: int | None = None, **changes: Any) -> Receipt:
        proof, flags = self.desk.multiproof(ids)
        legs = changes.get("legs", [self.desk.leg(i) for i in ids])
        number = self.account if account is None else account
        return self.desk.system.examiner.send.check_part(number, part, legs, proof, flags, sender=self.desk.keys[9])

    def left(self, receipt: Receipt) -> Any:
        return receipt.event("PartlyChecked").args["part"]


@pytest.fixture(scope="module")
def case() -> Parts:
    return Parts()


@pytest.mark.parametrize("cuts", [(6,), (3, 6), (4, 6), (1, 2, 5, 6)])
def test_check_part__any_cut__gives_the_integers_of_a_check_at_once(case: Parts, cuts: tuple[int, ...]) -> None:
    desk = case.desk
    whole = desk.check_full(case.account).event("FullyChecked").args
    checkpoint = desk.ledger.call.checkpoint(case.account)
    desk.post()
    desk.check_full(case.account)
    again = desk.ledger.call.checkpoint(case.account)
    assert again != checkpoint
    part, start = NEW, 0
    for cut in cuts:
        receipt = case.go(part, IDS[start:cut])
        if cut != len(IDS):
            part, start = case.left(receipt), cut
            assert part[0] == cut
    done = receipt.event("FullyChecked").args
    assert tuple(done["margin"]) == tuple(whole["margin"]) == desk.margin(case.account)
    assert desk.ledger.call.checkpoint(case.account) == again


def test_check_part__position_or_epoch_changed__begins_anew() -> None:
    case = Parts()
    desk = case.desk
    part = case.left(case.go(NEW, IDS[:3]))
    desk.post()
    assert reason(case.go, part, IDS[3:]) == FOREIGN
    part = case.left(case.go(NEW, IDS[:3]))
    desk.trade(case.account, case.other, BTC_PERP, 1)
    assert reason(case.go, part, IDS[3:]) == FOREIGN
    part = case.left(case.go(NEW, IDS[:3]))
    case.go(part, IDS[3:])
    assert reason(case.go, part, IDS[3:]) == FOREIGN


def test_check_part__false_parts__revert(case: Parts) -> None:
    part = case.left(case.go(NEW, IDS[:3]))
    count, last, cost, vectors = part
    for forged in (
        (count, last, cost - (1 << 128), vectors),
        (count, last, cost, [vectors[0] + 1, *vectors[1:]]),
        (count + 1, last, cost, vectors),
        (count, last - 1, cost, vectors),
    ):
        assert reason(case.go, forged, IDS[3:]) == FOREIGN
    assert reason(case.go, part, IDS[3:], account=case.other) == FOREIGN
    assert reason(case.go, (0, 1, 0, []), IDS[:3]) == "examiner: malformed part"
    assert reason(case.go, (0, 0, 0, list(vectors)), IDS[:3]) == "examiner: malformed part"
    assert reason(case.go, part, IDS[2:]) == "examiner: more than all positions"
    assert reason(case.go, part, IDS[2:4]) == "examiner: legs not ascending"
    assert reason(case.go, part, IDS[:2]) == "examiner: legs not ascending"
    assert reason(case.go, NEW, [], legs=[]) == "examiner: no legs"
    meta, array = case.desk.leg(IDS[3])
    false = [(meta, [array[0] + 1, *array[1:]]), *(case.desk.leg(i) for i in IDS[4:])]
    assert reason(case.go, part, IDS[3:], legs=false) == "examiner: legs not proven"


def test_check_part__leg_that_is_not_held__reverts() -> None:
    case = Parts()
    other = case.desk.fund(case.desk.keys[5], 10_000)
    case.desk.trade(other, case.other, BTC_PERP, 1)
    case.desk.post()
    assert reason(case.go, NEW, [ETH_PERP], account=other) == "examiner: no such position"
