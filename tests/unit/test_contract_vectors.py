"""The known answers of tests/vectors/ in the contracts: margin, lanes, leaves, position hashes, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from desk import START

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract
from offchain.chain.revm import RevmChain
from offchain.oracle.trees import keccak256

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def cases(name: str) -> list[dict[str, Any]]:
    return list(json.loads((VECTORS / f"{name}.json").read_text())["cases"])


def number(text: str | int) -> int:
    return int(text, 0) if isinstance(text, str) else text


@pytest.fixture(scope="module")
def harness() -> Contract:
    chain = RevmChain(timestamp=START)
    return chain.deploy(artifact("mocks/MarginHarness"), sender=chain.accounts[0])


@pytest.mark.parametrize("case", cases("margin"), ids=lambda c: c["name"])
def test_margin(harness: Contract, case: dict[str, Any]) -> None:
    words = [number(w) for w in case["vectors"]]
    parameters = case["kappa"] | case["im_factor"] << 16 | case["reserve"] << 32
    found = harness.call.evaluate(number(case["head"]), number(case["cost"]), words, number(case["cash"]), parameters)
    assert found == tuple(int(case[key]) for key in ("pv", "risk", "closeout", "mm_excess", "im_excess"))


@pytest.mark.parametrize("case", cases("scenario_vector"), ids=lambda c: c["name"])
def test_scenario_vector(harness: Contract, case: dict[str, Any]) -> None:
    legs = case["legs"]
    arrays = [[number(w) for w in leg["array"]] for leg in legs]
    found = harness.call.vector(arrays, [leg["lots"] for leg in legs])
    assert found == tuple(number(w) for w in case["words"])


def test_account_leaf_and_checkpoint(harness: Contract) -> None:
    """A leaf is the digest hashed once more, a checkpoint the digest hashed with the epoch."""

    def digest(case: dict[str, Any]) -> bytes:
        words = [number(w) for w in case["vectors"]]
        return harness.call.digest(number(case["head"]), case["position_hash"], number(case["cost"]), words)

    for case in cases("account_leaf"):
        assert keccak256(digest(case)) == bytes.fromhex(case["hash"][2:])
    for case in cases("checkpoint"):
        kept = keccak256(number(case["epoch"]).to_bytes(32, "big") + digest(case))
        assert kept == bytes.fromhex(case["checkpoint"][2:])


def test_position_hash() -> None:
    """The ledger's chain of hashes of one account, as far as its changes are single moves (below 2^32 lots)."""
    chain = RevmChain(timestamp=START)
    key = chain.accounts[0]
    money = chain.deploy(artifact("mocks/SettlementToken"), sender=key)
    ledger = chain.deploy(artifact("Ledger"), money, sender=key)
    engine = chain.deploy(artifact("mocks/LedgerEngine"), sender=key)
    engine.send.bind(ledger.address, sender=key)
    ledger.send.set_engines([engine.address], sender=key)
    changes = [c for c in cases("position_hash") if abs(c["change"]) < 2**31]
    account = changes[0]["account"]
    while ledger.call.next_account() <= account:
        ledger.send.open_account(key.address, sender=key)
    assert len(changes) == 3
    for case in changes:
        change = case["change"]
        giver, taker = (256, account) if change > 0 else (account, 256)
        engine.send.move_position(giver, taker, number(case["instrument"]), abs(change), 0, 1, sender=key)
        assert ledger.call.account(account)[5] == bytes.fromhex(case["after"][2:])
