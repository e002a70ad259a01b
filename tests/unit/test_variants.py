"""Patched copies of contracts."""

import pytest
from desk import BTC_PERP, Desk, reason

from offchain.chain.artifacts import artifact
from offchain.chain.revm import RevmChain
from offchain.chain.system import System
from offchain.chain.variants import variant
from offchain.config import HOURLY, BallastError
from offchain.risk.policy import default_policy

OWNER = 'assert state.owner == msg.sender, "house: not the owner"'


def test_variant__patched_contract__guard_is_gone_in_it_alone():
    system = System.deploy(
        chain := RevmChain(),
        chain.accounts[0],
        default_policy().encode(),
        None,
        HOURLY,
        instruments=[BTC_PERP],
        variants={"ClearingHouse": variant("ClearingHouse", [(OWNER, "pass")])},
    )
    honest, flawed = Desk.open(), Desk(system, default_policy().margin, {}, {}, default_policy().hash)
    depositor, thief = chain.accounts[1], chain.accounts[2]
    for desk in (honest, flawed):
        account = desk.fund(depositor, 5)
        if desk is honest:
            assert reason(desk.withdraw, account, 5, thief, (0, 0, [], [])) == "house: not the owner"
        else:
            desk.withdraw(account, 5, thief, (0, 0, [], []))
            assert system.token.call.balanceOf(thief.address) == 5


def test_variant__patched_module__every_user_of_it_can_be_made():
    patch = ('assert witness.head == account.head, "witness: stale"', "pass")
    made = variant("ClearingHouse", [patch])
    assert made.name == "ClearingHouse"
    assert made.abi == artifact("ClearingHouse").abi
    assert len(made.runtime) < len(artifact("ClearingHouse").runtime)
    assert variant("Takeover", [patch]).runtime != artifact("Takeover").runtime


def test_variant__made_again__is_not_compiled_again(monkeypatch):
    first = variant("ClearingHouse", [(OWNER, "pass")])
    monkeypatch.setattr("vyper.cli.vyper_compile.compile_files", None)
    assert variant("ClearingHouse", [(OWNER, "pass")]) == first


@pytest.mark.parametrize(
    ("name", "patches", "said"),
    [
        ("Nothing", [], "no contract 'Nothing'"),
        ("ClearingHouse", [("no such text", "")], "is found 0 times: nowhere"),
        ("ClearingHouse", [("engine._leave()", "")], "must be found once, and is found 2 times"),
    ],
)
def test_variant__text_not_found_once__says_so(name, patches, said):
    with pytest.raises(BallastError, match=said):
        variant(name, patches)


def test_deploy__variant_of_what_is_not_deployed__refused():
    chain = RevmChain()
    with pytest.raises(BallastError, match="a variant without effect"):
        System.deploy(chain, chain.accounts[0], default_policy().encode(), None, variants={"Leger": artifact("Ledger")})
