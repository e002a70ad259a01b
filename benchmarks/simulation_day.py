"""12 March 2020 with thousands of accounts: hourly epochs, keepers at work, everything audited beside it.

Every epoch is built by the oracle's builder and posted through RiskOracle; every margin call and liquidation is a
transaction with its own witness. A second process follows the chain's logs and the published bundles with the auditor's
code, which shares nothing with the builder but pricing and policy: it prices every instrument, computes every account
leaf, both roots and every liquidation's margins, penalty and reward again, and at the end compares every account with
the ledger's own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import simulation_audit
from offchain.audit.record import audited, constants, read_accounts
from offchain.chain.artifacts import ROOT
from offchain.chain.backends import Reverted
from offchain.chain.revm import RevmChain
from offchain.chain.system import System
from offchain.config import HOURLY, UNDERLYINGS, BallastError
from offchain.keeper.legs import Holding, plan_legs
from offchain.market.candles import Candles, load_candles, timestamp_of
from offchain.market.sources import CandleMarket
from offchain.market.synthetic import WARMUP_HOURS, synthetic_crash
from offchain.oracle.epochs import Epoch
from offchain.oracle.reader import State
from offchain.oracle.sources import ReplaySource, ScanRanges
from offchain.risk.policy import Policy, default_policy
from offchain.risk.portfolios import content_of, evaluate
from offchain.simulation.population import Population
from offchain.simulation.world import listing
from offchain.units import BASIS, HOUR, MICRO

START = timestamp_of("2020-03-11")
HOURS = 72
MAKERS, KEEPERS, TRADES = 16, 4, 2
CAPITAL = 10**9 * MICRO
YOUNG = 2_400
"""Trades, a second each, after which the next epoch is posted: risk is opened under a young one only."""
FILES = {"BTC": "btc_1h_2020_2026.csv", "ETH": "eth_1h_2020_2026.csv"}


@dataclass
class Day:
    """What a run came to.

    Attributes
    ----------
    seconds : of the epochs with all checks, audit included. set_up : of what came before. parts : seconds by part.
    idle : what the clock would have shown had both processes had a core to themselves (`pipeline`).
    hourly : after each epoch, processor seconds so far, and those of them that keepers took.
    audited, leaves : epochs (those of the set-up included) and leaves that the audit found identical.
    cpu : processor seconds of the epochs: chain, oracle and keepers; the audit. With one process both are the sum.
    """

    accounts: int
    hours: int
    prices: str
    set_up: float = 0.0
    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    liquidations: int = 0
    calls: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    bankrupt: int = 0
    audited: int = 0
    leaves: int = 0
    idle: float = 0.0
    cpu: tuple[float, float] = (0.0, 0.0)
    hourly: list[tuple[float, float]] = field(default_factory=list)

    def spent(self, part: str, began: float) -> float:
        """Book the time since `began`; the time now."""
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - began
        return now


def candles() -> tuple[dict[int, Candles], str]:
    """Hourly candles by underlying: the real files where they are, else the synthetic crash; and which."""
    folders = [Path(os.environ["BALLAST_DATA"])] if "BALLAST_DATA" in os.environ else []
    for folder in [*folders, ROOT.parent / "shared" / "data"]:
        paths = {UNDERLYINGS[name]: folder / file for name, file in FILES.items()}
        if all(path.exists() for path in paths.values()):
            found = {u: load_candles(path).window(START, HOURS, WARMUP_HOURS) for u, path in paths.items()}
            return found, "candles of 11 to 13 March 2020"
    made = {u: c.window(START, HOURS, WARMUP_HOURS) for u, c in synthetic_crash(7, HOURS).items()}
    return made, "a synthetic crash (no candle files: set BALLAST_DATA to their folder)"


def policy() -> Policy:
    """The default policy, with markets deep enough for so many accounts."""
    base = default_policy(HOURLY.slot)
    return replace(base, underlyings=tuple(replace(each, depth=2**33) for each in base.underlyings))


def pipeline(sent_at: Sequence[float], took: Sequence[float]) -> float:
    """When a worker is done that begins each task once it was sent and the one before is done, seconds.

    Parameters
    ----------
    sent_at : processor seconds of the sender at each task. took : of the worker for it.
    """
    done = 0.0
    for sent, needed in zip(sent_at, took, strict=True):
        done = max(done, sent) + needed
    return done


class Replay:
    """A population on the real contracts through the crash.

    Parameters
    ----------
    accounts, hours : sizes. seed : of all chance.
    auditor : one worker, which audits; None audits in this process.
    """

    def __init__(self, accounts: int, hours: int = HOURS, seed: int = 7, auditor: Executor | None = None):
        began = time.perf_counter()
        prices, note = candles()
        self.result = Day(accounts, hours, note)
        self.rng = np.random.default_rng(seed)
        self.policy = policy()
        listed = listing(prices, START, START + HOURS * HOUR)
        self.ids = [each.id for each in listed]
        opening = START - HOUR * (1 + TRADES * accounts // YOUNG)
        # Opening and paying in are two transactions an account, a second each.
        chain = RevmChain(timestamp=opening - HOUR - 2 * (accounts + MAKERS + KEEPERS))
        system = System.deploy(chain, chain.accounts[0], self.policy.encode(), None, HOURLY, instruments=self.ids)
        self.crowd = Population(system, self.policy, HOURLY.slot)
        self.auditor = auditor or simulation_audit.Here()
        self.sent = system.deployed_at - 1
        self.sent_at: list[float] = []
        self.waiting = [self._begin_audit(system)]
        market = CandleMarket(prices, seed=seed)
        self.source = ReplaySource(market, ScanRanges(market))
        self.makers = self.crowd.open([CAPITAL] * MAKERS)
        self.keepers = self.crowd.open([CAPITAL] * KEEPERS)
        self.crowd.insure(10**7 * MICRO)
        self._populate(accounts, opening)
        self._send(simulation_audit.follow)
        self._audited()
        self.result.set_up = time.perf_counter() - began

    def _epoch(self, timestamp: int) -> Epoch:
        crowd = self.crowd
        crowd.system.chain.set_next_timestamp(timestamp)
        crowd.system.chain.mine()
        slot = crowd.next_slot(timestamp)
        state = State(slot.snapshot_block, slot.snapshot_hash, crowd.book, self.policy, tuple(self.ids), crowd.last())
        began = time.perf_counter()
        market = self.source.observe(slot, state, self.ids)
        began = self.result.spent("market", began)
        epoch = crowd.build(slot, market)
        began = self.result.spent("epoch", began)
        crowd.post(epoch)
        began = self.result.spent("post", began)
        bundle = epoch.header.bundle_hash, epoch.bundle
        self._send(simulation_audit.take, slot.snapshot_block, slot.snapshot_hash, *bundle)
        self.result.spent("logs", began)
        return epoch

    # the audit
    def _begin_audit(self, system: System) -> Future[Any]:
        contracts = [(each.artifact, each.address) for each in audited(system)]
        return self.auditor.submit(simulation_audit.begin, constants(system), contracts)

    def _send(self, function: Any, *more: Any) -> None:
        """Give the audit the logs since it was last given any, and whatever else the function wants."""
        chain = self.crowd.system.chain
        addresses = [each.address for each in audited(self.crowd.system)]
        logs = chain.logs(addresses, self.sent + 1, chain.block_number)
        self.sent = chain.block_number
        self.waiting.append(self.auditor.submit(function, logs, *more))
        self.sent_at.append(time.process_time())

    def _audited(self) -> list[Any]:
        """Wait until the audit has seen everything that it was sent; what it said of each part."""
        done = [future.result() for future in self.waiting]
        self.waiting, self.sent_at = [], []
        return done

    def _requirements(self) -> dict[tuple[int, int], float]:
        """Initial margin and fee of a lot of each instrument, long and short, micro-USD."""
        crowd, params = self.crowd, replace(self.policy.margin, reserve=0)
        assert crowd.epoch is not None
        out = {}
        for key in self.ids:
            per_unit = self.policy.underlying(key >> 88).lots_per_unit
            fee = params.trade_fee * crowd.epoch.header.mark(key >> 88).index / (BASIS * per_unit) + 1
            for side in (1, -1):
                margin = evaluate(content_of(0, {key: 1_000 * side}, crowd.leaves), 0, params)
                out[key, side] = max((margin.pv - margin.im_excess) / 1_000, 0.0) + 1.3 * fee
        return out

    def _populate(self, accounts: int, hour: int) -> None:
        """Open the accounts; from `hour` on each opens two positions against a maker, for 35 to 85 % of its deposit."""
        crowd, rng = self.crowd, self.rng
        deposits = (np.clip(np.exp(rng.normal(9.0, 0.8, accounts)), 1_000, 150_000) * MICRO).astype(np.int64)
        opened = crowd.open(deposits.tolist())
        self._epoch(hour)
        need = self._requirements()
        standing: dict[tuple[int, int, int], tuple[tuple[int, ...], bytes]] = {}
        for place, account in enumerate(opened):
            if crowd.system.chain.timestamp > hour + YOUNG:
                hour += HOUR
                self._epoch(hour)
                need = self._requirements()
                standing.clear()
            maker = self.makers[place % MAKERS]
            usage = rng.uniform(0.35, 0.85) * (int(deposits[place]) - self.policy.margin.reserve * 5 // 4)
            split = rng.uniform(0.3, 0.7)
            picked = rng.choice(len(self.ids), TRADES, replace=False)
            side = 1 if rng.random() < 0.7 else -1
            for share, at in zip((split, 1 - split), picked, strict=True):
                key = self.ids[at]
                size = int(usage * share / need[key, side])
                if size < 1:
                    continue
                order = standing.get((maker, key, side))
                if order is None:
                    order = crowd.order(maker, key, -side * 2**31, crowd.mark(key))
                    standing[maker, key, side] = order
                crowd.fill(maker, account, key, side * size, order)

    # the replay
    def run(self) -> Day:
        """Post every epoch and let keepers work; check sums after each; end with the audit's verdict."""
        result, crowd = self.result, self.crowd
        result.parts = {}
        spent = time.process_time(), self.auditor.submit(simulation_audit.processor_seconds).result()
        began, kept = time.perf_counter(), 0.0
        for hour in range(result.hours):
            epoch = self._epoch(START + hour * HOUR)
            keeping = time.process_time()
            self._keep()
            kept += time.process_time() - keeping
            at = time.perf_counter()
            crowd.check()
            if crowd.system.oracle.call.header_hash(epoch.header.epoch) != epoch.header.hash:
                raise BallastError(f"the oracle holds another header of epoch {epoch.header.epoch}")
            result.spent("checks", at)
            result.hourly.append((time.process_time() - spent[0], kept))
        at = time.perf_counter()
        system = crowd.system
        balances = system.ledger.call.tokens_held(), system.token.call.balanceOf(system.ledger.address)
        self._send(simulation_audit.finish, read_accounts(system), *balances)
        at = result.spent("accounts at the end", at)
        sent_at = [each - spent[0] for each in self.sent_at]
        *took, (found, result.audited, last) = self._audited()
        result.spent("audit, waited for", at)
        result.seconds = time.perf_counter() - began
        now = time.process_time(), self.auditor.submit(simulation_audit.processor_seconds).result()
        result.idle = pipeline(sent_at, [*took, last])
        result.cpu = now[0] - spent[0], now[1] - spent[1]
        result.leaves = found.leaves_verified
        if found.liquidations_verified != result.liquidations:
            raise BallastError(
                f"the audit verified {found.liquidations_verified} of {result.liquidations} liquidations"
            )
        return result

    def _keep(self) -> None:
        """Call who is below initial margin, take legs of who is below maintenance margin."""
        crowd, result = self.crowd, self.result
        at = time.perf_counter()
        judged = crowd.judge()
        below = judged.below_initial()
        place = {account: i for i, account in enumerate(judged.accounts)}
        at = result.spent("margins of all", at)
        liquidator = crowd.system.liquidator.send
        busy = {*self.makers, *self.keepers}
        market = crowd.view(self.keepers[0], bad_debt=True, only=())
        for account in below:
            if account in busy:
                continue
            margin = judged.margins[place[account]]
            try:
                if account not in crowd.called:
                    liquidator.margin_call(account, crowd.witness(account), sender=crowd.treasurer)
                    result.calls += 1
                if margin.mm_excess >= 0:
                    continue
                result.bankrupt += margin.pv < 0
                keeper = self.keepers[result.liquidations % KEEPERS]
                taker, target = crowd.account_view(keeper), crowd.account_view(account, below=True)
                view = replace(market, accounts=(target,), taker=taker, rooms=crowd.rooms())
                planned = plan_legs(view, target, Holding.of(taker))
                if planned is None:
                    continue
                crowd.liquidate(account, keeper, dict(planned[0].takes))
                result.liquidations += 1
            except Reverted as error:
                result.refused[error.reason] = result.refused.get(error.reason, 0) + 1
        crowd.sync()
        result.spent("keepers", at)


def measure(accounts: int, hours: int = HOURS, processes: int = 2) -> Day:
    """Set up and run; with two processes the audit runs beside the chain."""
    if processes < 2:
        return Replay(accounts, hours).run()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return Replay(accounts, hours, auditor=pool).run()
