"""Who may write to the ledger, and the one lock against reentrancy."""

from __future__ import annotations

from typing import Any

import pytest
from desk import BTC_PERP, Desk, reason, standalone
from ledger_bench import Bench

from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO, Contract


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Engines and the lock


def test_only_engines__write(bench: Bench) -> None:
    account, stranger = bench.open(), bench.keys[1]
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("enter", ()),
        ("leave", ()),
        ("deposit", (account, stranger.address, 1)),
        ("withdraw", (account, stranger.address, 1)),
        ("move_cash", (1, account, 1, 1)),
        ("move_position", (1, account, BTC_PERP, 1, 0, 1)),
        ("exchange", (1, account, BTC_PERP, 1, 0, 1, 1)),
        ("set_checkpoint", (account, b"\x01" * 32)),
        ("finish", (account, b"\x01" * 32, account, bytes(32))),
    ]
    for name, args in calls:
        assert reason(getattr(bench.ledger.send, name), *args, sender=stranger) == "ledger: only engines"


def test_an_engine_that_did_not_enter__cannot_write() -> None:
    chain, _, ledger = standalone("SettlementToken")
    engine = chain.accounts[0]
    account = int(ledger.send.open_account(engine.address, sender=engine).events[0].args["account"])
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("leave", ()),
        ("deposit", (account, engine.address, 1)),
        ("withdraw", (account, engine.address, 1)),
        ("move_cash", (1, account, 1, 1)),
        ("move_position", (1, account, BTC_PERP, 1, 0, 1)),
        ("exchange", (1, account, BTC_PERP, 1, 0, 1, 1)),
        ("set_checkpoint", (account, b"\x01" * 32)),
        ("finish", (account, b"\x01" * 32, account, bytes(32))),
    ]
    for name, args in calls:
        assert reason(getattr(ledger.send, name), *args, sender=engine) == "ledger: not entered"


def test_enter__twice__reverts(bench: Bench) -> None:
    assert reason(bench.do, "enter_twice") == "ledger: locked"
    assert reason(bench.do, "leave") == "ledger: not entered"


@pytest.mark.parametrize("direction", ["deposit", "withdraw"])
def test_token_that_calls_back__finds_every_engine_closed(direction: str) -> None:
    """Reentrancy across contracts: from within a transfer no engine acts, and no account changes hands."""
    desk = Desk.open()
    chain, keys = desk.chain, desk.keys
    money = chain.deploy(artifact("mocks/CallbackToken"), sender=keys[0])
    ledger = chain.deploy(artifact("Ledger"), money, sender=keys[0])
    oracle, registry = desk.system.oracle, desk.system.registry
    house = chain.deploy(artifact("ClearingHouse"), ledger, oracle, registry, sender=keys[0])
    liquidator = chain.deploy(artifact("Liquidator"), ledger, oracle, registry, 2, sender=keys[0])
    examiner = chain.deploy(artifact("Examiner"), ledger, oracle, sender=keys[0])
    ledger.send.set_engines([house.address, liquidator.address, examiner.address], sender=keys[0])
    # The token itself owns an account, so that nothing but the lock stands in its way.
    mine = int(ledger.send.open_account(money.address, sender=keys[1]).events[0].args["account"])
    yours = int(ledger.send.open_account(keys[1].address, sender=keys[1]).events[0].args["account"])
    for holder in (keys[1].address, money.address):
        money.send.mint(holder, 1_000, sender=keys[1])
    for account in (mine, yours):
        house.send.deposit(account, 400, sender=keys[1])
    nothing = (0, 0, [], [])

    def act() -> Any:
        if direction == "deposit":
            return house.send.deposit(yours, 5, sender=keys[1])
        return house.send.withdraw(yours, 5, keys[1].address, nothing, sender=keys[1])

    def hooked(contract: Contract, name: str, *args: Any) -> str:
        money.send.hook(contract.address, contract.function(name).encode(args), sender=keys[0])
        return reason(act)

    assert hooked(house, "deposit", mine, 5) == "ledger: locked"
    assert hooked(house, "withdraw", mine, 5, money.address, nothing) == "ledger: locked"
    assert hooked(examiner, "check_full", mine, [], [], []) == "ledger: locked"
    assert hooked(liquidator, "liquidate", yours, mine, [], [], [], nothing, nothing, b"") == "ledger: locked"
    assert hooked(ledger, "transfer_account", mine, keys[5].address) == "ledger: locked"
    assert hooked(ledger, "withdraw", yours, money.address, 5) == "ledger: only engines"
    money.send.hook(ZERO, b"", sender=keys[0])
    act()
    assert ledger.call.tokens_held() == (805 if direction == "deposit" else 795)
