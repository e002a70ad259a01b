"""Every incident on the connected network with a committee of four real keys: very short forms, all guards on."""

from __future__ import annotations

import pytest

from offchain.chain.web3_chain import Web3Chain
from offchain.simulation.laboratory import run
from offchain.simulation.scenario import incidents, load

TWO_MINUTES = {"cadence.slot": "2m", "cadence.max_age": "6m"}
SHORTER = {
    "aave-crv": {"cadence.slot": "4m", "cadence.max_age": "12m"},
    "black-thursday": {
        "cadence.slot": "20m", "cadence.max_age": "40m", "groups.maker.count": "1", "groups.retail.count": "4",
        "groups.hedger.count": "1",
    },
    "compound-dai": TWO_MINUTES | {"groups.retail.count": "4"},
    "mango": TWO_MINUTES | {"groups.retail.count": "3", "duration": "26m"},
    "moonwell-cbeth": {"groups.retail.count": "3"},
    "oct-2025": {
        "cadence.slot": "4m", "cadence.max_age": "12m", "duration": "108m", "groups.retail.count": "3",
        "groups.hedger.count": "1", "groups.maker.count": "1", "groups.pledger.count": "1",
    },
    "sequencer-stall": {"groups.retail.count": "3"},
    "skrw": TWO_MINUTES | {"groups.retail.count": "3", "groups.hedger.count": "2"},
    "trb-squeeze": {"groups.maker.count": "3", "groups.short.count": "3", "duration": "4.5h"},
    "venus-luna": TWO_MINUTES | {"groups.retail.count": "3"},
}  # fmt: skip
"""What makes the slowest short forms shorter still, by incident."""


@pytest.mark.parametrize("name", incidents())
def test_incident__real_committee__every_check_holds(name: str, ape_chain: Web3Chain) -> None:
    if "test" in ape_chain.name.rsplit(":", 1)[-1]:
        pytest.skip("py-evm takes its time from the clock: run with --network ethereum:local:foundry")
    result = run(load(name, SHORTER.get(name), short=True), engine="anvil", chain=ape_chain)
    assert [verdict.text for verdict in result.verdicts if not verdict.passed] == []
    assert result.tables["steps"]["epoch"][-1] > result.tables["steps"]["epoch"][0]
