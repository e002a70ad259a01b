"""Failures that the machine found, kept as files: each shows again where its mending is taken out of the contracts.

A file says nothing of contracts: it is a sequence of moves, as `make fuzz` writes it. `FLAWS` says which mending it is
about, and how the twin is made to follow, so that only an invariant is left to notice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import twin.house
import twin.liquidator
import twin.vault
from machine import load, play
from twin.core import need

from offchain.chain.artifacts import Artifact
from offchain.chain.variants import Patch, variant

FILES = {path.stem: path for path in (Path(__file__).parent / "regressions").glob("*.json")}


def without(reason: str) -> Callable[[bool, str], None]:
    """A twin's `need` that lets one refusal be."""
    return lambda holds, why: need(holds or why == reason, why)


@dataclass(frozen=True)
class Flaw:
    """A mending taken out.

    Attributes
    ----------
    contract, patches : of the copy without it. place, name, value : what replaces what in the twin; nothing where the
    twin is the only one to notice.
    """

    contract: str
    patches: list[Patch]
    place: object = None
    name: str = ""
    value: object = None

    def artifact(self) -> dict[str, Artifact]:
        return {self.contract: variant(self.contract, self.patches)}


FLAWS = {
    "sold_to_oneself": Flaw(
        "ClearingHouse",
        [('assert is_now <= was, "house: must not raise the claim on insurance"', "pass")],
        twin.house,
        "need",
        without("house: must not raise the claim on insurance"),
    ),
    "liquidated_by_oneself": Flaw(
        "Liquidator",
        [("max(min(share, penalty - max(after - before, 0)), 0)", "share")],
        twin.liquidator,
        "owed",
        lambda pv, requirement: 0,
    ),
    "margin_of_a_reinstated_epoch": Flaw(
        "RiskOracle",
        [("    self._margin = kept_policy._word(self._policy_code(), kept_policy.MARGIN_AT)\n", "")],
    ),
    "left_with_a_lot": Flaw(
        "Collateral",
        [('assert state.cash >= convert(reserve, int256), "collateral: cash below the reserve"', "pass")],
        twin.vault,
        "need",
        without("collateral: cash below the reserve"),
    ),
}  # fmt: skip


def test_regressions__every_flaw__has_its_file() -> None:
    assert set(FLAWS) <= set(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_regression__contracts_as_they_stand__run_through(name: str) -> None:
    assert play(load(FILES[name])).error == ""


@pytest.mark.parametrize("name", sorted(FLAWS))
def test_regression__mending_taken_out__contract_does_not_do_what_the_twin_says(name: str) -> None:
    assert play(load(FILES[name]), FLAWS[name].artifact()).error != ""


@pytest.mark.parametrize("name", sorted(name for name in FLAWS if FLAWS[name].place))
def test_regression__mending_taken_out_of_the_twin_too__insurance_is_seen_to_pay(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaw = FLAWS[name]
    monkeypatch.setattr(flaw.place, flaw.name, flaw.value)
    assert "insurance paid" in play(load(FILES[name]), flaw.artifact()).error
