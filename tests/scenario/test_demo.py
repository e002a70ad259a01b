"""The main job in small, on a real local chain: a few hours of the synthetic crash, verified; faults planted, found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from offchain.audit.record import Record, read_record
from offchain.audit.tamper import KINDS, tamper
from offchain.audit.verify import verify
from offchain.chain.anvil import local_chain, start_py_evm
from offchain.demo.plan import Plan, load_prices
from offchain.demo.replay import Run
from offchain.demo.run import _collude, run_demo
from offchain.demo.summary import Result
from offchain.units import HOUR

PLAN = Plan(start="2020-03-12T08:00:00Z", hours=4, accounts=8, seed=3)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Record]]:
    out = tmp_path_factory.mktemp("demo")
    plan = Plan(**{**vars(PLAN), "out": out})
    candles, start, _ = load_prices(plan)
    with local_chain(start - 2 * HOUR) as chain:
        if not chain.starts_anywhere:
            pytest.skip("needs a chain that starts in the past: install Node.js and run `make setup`")
        run = Run(plan, chain, candles, start, lambda _line: None)
        run.prepare()
        run.replay()
        run.leave()
        yield run, read_record(run.system, out / "bundles")


def test_demo__a_crash__every_number_verified(ran: tuple[Run, Record]) -> None:
    run, record = ran
    found = verify(record)
    assert found.mismatches == ()
    assert found.epochs_verified == PLAN.hours + 1
    assert found.liquidations_verified == len(run.liquidations)
    assert found.leaves_verified > PLAN.hours * len(run.instruments)
    assert run.liquidations, "the first shock of the crash liquidates somebody"


def test_demo__twin_and_chain__agree_on_every_account(ran: tuple[Run, Record]) -> None:
    run, _ = ran
    checked = 0
    for account, owner in run.world.owners.items():
        if run.state.book.accounts[account].positions:
            witness = run.state.ensure(account, owner.key)
            assert run.system.clearing.call.check(account, witness) == tuple(run.state.margin_of(account))
            checked += 1
    assert checked >= 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colluding", [False, True])
def test_demo__planted_fault__found(ran: tuple[Run, Record], kind: str, colluding: bool) -> None:
    run, record = ran
    sign = (lambda digest, mask: _collude(run.seats, digest, mask)) if colluding else None
    found = verify(tamper(record, kind, Random(5), sign))
    assert found.mismatches


def test_demo__books__tokens_and_positions_conserved(ran: tuple[Run, Record]) -> None:
    run, record = ran
    run.state.sync()
    book = run.state.book
    assert sum(a.cash for a in book.accounts.values()) == book.tokens_held == record.tokens_held
    assert record.tokens_held == run.system.token.call.balanceOf(run.system.ledger.address)
    lots: dict[int, int] = {}
    for account in book.accounts.values():
        for instrument, held in account.positions.items():
            lots[instrument] = lots.get(instrument, 0) + held
    assert set(lots.values()) <= {0}


def test_demo__too_few_sources__skips_the_epoch_not_the_process(ran: tuple[Run, Record]) -> None:
    run, _ = ran
    for node in run.nodes.values():
        market = node.member.source.market  # type: ignore[attr-defined]
        market.sources = market.sources[:2]
    try:
        hour = run.chain.timestamp // HOUR * HOUR + HOUR
        assert not run._epoch(hour)
        assert "no quorum" in run.skipped[-1]
    finally:
        for node in run.nodes.values():
            node.member.source.market.sources = ("a", "b", "c", "d", "e")  # type: ignore[attr-defined]


def test_demo__without_node__runs_in_process_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    plan = Plan(start="2020-03-12T10:00:00Z", hours=1, accounts=2, seed=3, out=tmp_path / "out")
    result: Result = run_demo(plan, lines.append, start_py_evm())
    assert result.verification.mismatches == ()
    assert result.figures["epochs_verified"] == 2
    assert any("hours later" in line for line in lines)
    assert result.report.read_text().startswith("<!doctype html>")
