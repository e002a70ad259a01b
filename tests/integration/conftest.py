"""Fixtures of the Ape tests: one deployment on the network that `ape test` is connected to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from offchain.chain.ape import chain_of, signer_of
from offchain.chain.backends import Signer
from offchain.chain.system import System
from offchain.chain.web3_chain import Web3Chain
from offchain.config import Cadence, Settings
from offchain.operate import Market, deploy

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # the trading desk


@pytest.fixture(scope="session")
def contracts(project: Any) -> Any:
    """The project's contracts as Ape compiles them; its cache does not follow imports of modules."""
    project.load_contracts(use_cache=False)
    return project


@pytest.fixture(scope="session")
def ape_chain(chain: Any) -> Web3Chain:
    """The connected network as this package's chain."""
    return chain_of(chain.provider)


@pytest.fixture(scope="session")
def deployer(accounts: Any, chain: Any) -> Signer:
    return signer_of(accounts[0], chain.provider)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    out: Path = tmp_path_factory.mktemp("deployment")
    return Settings(out=out, cadence=Cadence(slot=60, max_age=3600, min_interval=30))


@pytest.fixture(scope="session")
def system(ape_chain: Web3Chain, deployer: Signer, settings: Settings) -> System:
    """A deployment with a committee of four real keys, instruments listed."""
    return deploy(ape_chain, deployer, settings, Market.load({}, "2020-03-12T09:00:00Z"))
