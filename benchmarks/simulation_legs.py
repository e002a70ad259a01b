"""Liquidations of accounts with 24 legs: the scenario that is timed in process, by two processes, and by `ape test`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from offchain.chain.backends import Chain, Receipt, Reverted
from offchain.chain.system import System
from offchain.config import HOURLY
from offchain.instruments import Instrument, Kind
from offchain.oracle.observations import Observation, Quote
from offchain.risk.policy import Policy, default_policy
from offchain.risk.portfolios import content_of, evaluate
from offchain.simulation.population import Population
from offchain.units import BASIS, DAY, HOUR, MICRO, ceil_div

BTC = 1
SPOT = 8_000 * MICRO
FALL = 850_000  # the price after the fall, 1e-6 of the price before
EXPIRIES, STRIKES = 2, 10
LEGS = 1 + EXPIRIES + EXPIRIES * STRIKES  # the perpetual, futures and calls: 23


@dataclass(frozen=True)
class Timed:
    """Liquidations done, each checked.

    `seconds` is encoding and execution in processor time, `clock` the same by the clock, `set_up` everything before.
    """

    count: int
    legs: int
    seconds: float
    clock: float
    set_up: float
    gas: int

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


def deep_policy() -> Policy:
    """The default policy with markets so deep that one maker can serve everybody, and limits on nothing."""
    base = default_policy(HOURLY.slot)
    deep = tuple(replace(each, depth=2**33) for each in base.underlyings)
    return replace(base, underlyings=deep, shocks=replace(base.shocks, jump=MICRO, bucket=MICRO))


def listing(start: int) -> list[Instrument]:
    """A perpetual, futures, and calls from 80 to 125 % of the spot."""
    out = [Instrument(BTC, Kind.PERPETUAL)]
    for month in range(1, EXPIRIES + 1):
        expiry = start + 30 * DAY * month
        out.append(Instrument(BTC, Kind.FUTURE, expiry))
        out += [Instrument(BTC, Kind.CALL, expiry, SPOT * (80 + 5 * n) // 100) for n in range(STRIKES)]
    return sorted(out, key=lambda each: each.id)


def market(instruments: list[Instrument], factor: int) -> Observation:
    """Every forward at the index, volatility 80 %; `factor` (1e-6) moves the index."""
    index = SPOT * factor // MICRO
    quotes = {u: Quote(price * factor // MICRO, 0, 160_000) for u, price in {BTC: SPOT, 2: 200 * MICRO}.items()}
    inputs = {each.id: (index, 800_000 if each.kind.is_option else 0) for each in instruments}
    return Observation(quotes, inputs)


YOUNG = 2_400
"""Seconds after which another epoch is posted while positions are opened: risk is opened under a young one only."""


class Bench:
    """`count` accounts, each long every instrument on margin, a maker on the other side, a keeper with cash."""

    def __init__(self, chain: Chain, count: int, seed: int = 1):
        start = chain.timestamp // HOUR * HOUR + HOUR
        self.instruments = listing(start)
        policy = deep_policy()
        ids = [each.id for each in self.instruments]
        system = System.deploy(chain, chain.accounts[0], policy.encode(), None, HOURLY, instruments=ids)
        self.crowd = crowd = Population(system, policy, HOURLY.slot, persons=2)
        rng = np.random.default_rng(seed)
        self.maker, self.keeper = crowd.open([10**9 * MICRO] * 2)
        self._epoch(start, MICRO)
        lots = rng.integers(5, 30, size=(count, len(ids)))
        params = policy.margin
        deposits = []
        for row in lots.tolist():
            content = content_of(0, dict(zip(ids, row, strict=True)), crowd.leaves)
            requirement = evaluate(content, 0, params).pv - evaluate(content, 0, params).im_excess
            # Paid for at the mark, so that PV is the deposit less fees: 3 % over initial margin is left.
            fees = sum(row) * (ceil_div(params.trade_fee * SPOT, BASIS * 1_000) + 1)
            deposits.append(requirement * 103 // 100 + fees)
        self.targets = crowd.open(deposits)
        hour, standing = start, self._offers(int(lots.sum()))
        for account, row in zip(self.targets, lots.tolist(), strict=True):
            if chain.timestamp > hour + YOUNG:
                hour += HOUR
                self._epoch(hour, MICRO)
                standing = self._offers(int(lots.sum()))
            for key, size in zip(ids, row, strict=True):
                crowd.fill(self.maker, account, key, size, standing[key])
        self._epoch(hour + HOUR, FALL)
        self.before = {account: dict(crowd.book.positions(account)) for account in self.targets}
        perpetual = ids[0]
        self.takes = {account: {perpetual: self.before[account][perpetual]} for account in self.targets}

    def _offers(self, lots: int) -> dict[int, Any]:
        """The maker's orders to sell at the marks, by instrument."""
        crowd, ids = self.crowd, [each.id for each in self.instruments]
        return {key: crowd.order(self.maker, key, -lots, crowd.mark(key)) for key in ids}

    def _epoch(self, timestamp: int, factor: int) -> None:
        crowd = self.crowd
        chain = crowd.system.chain
        chain.set_next_timestamp(timestamp)
        chain.mine()
        crowd.post(crowd.build(crowd.next_slot(timestamp), market(self.instruments, factor)))

    def run(self) -> tuple[float, float, list[Receipt]]:
        """Liquidate every target once; seconds of encoding and execution (processor, clock), and the receipts."""
        crowd = self.crowd
        to, key = crowd.system.liquidator.address, crowd.keys[self.keeper]
        seconds, clock, receipts = 0.0, 0.0, []
        transact, encode = crowd.system.chain.transact, crowd.encode_liquidation
        encode(self.targets[0], self.keeper, self.takes[self.targets[0]])  # builds the encoders and the proof's tree
        for account in self.targets:
            began, at = time.process_time(), time.perf_counter()
            receipts.append(transact(key, to, encode(account, self.keeper, self.takes[account])))
            seconds, clock = seconds + time.process_time() - began, clock + time.perf_counter() - at
            crowd.sync()
        return seconds, clock, receipts

    def verify(self, receipts: list[Receipt]) -> int:
        """Check each liquidation by its event, by the chain's positions and by the books' sums; total gas."""
        crowd, ledger = self.crowd, self.crowd.system.ledger
        assert len(receipts) == len(set(self.targets)) == len(self.targets)
        for account, receipt in zip(self.targets, receipts, strict=True):
            done = receipt.event("Liquidated").args
            ((key, lots),) = self.takes[account].items()
            assert (done["account"], done["taker"]) == (account, self.keeper)
            assert done["before"][3] < 0 < done["before"][0], "it was below maintenance margin, and worth something"
            assert done["after"][3] > done["before"][3]
            held = self.before[account]
            assert len(held) >= 20
            assert ledger.call.quantity(account, key) == held[key] - lots
            assert crowd.book.positions(account) == {k: n for k, n in held.items() if k != key or n != lots}
        crowd.check()
        return sum(receipt.gas_used for receipt in receipts)


def measure(chain: Chain, count: int, seed: int = 1) -> Timed:
    """Set the scenario up, liquidate, verify."""
    began = time.perf_counter()
    bench = Bench(chain, count, seed)
    set_up = time.perf_counter() - began
    seconds, clock, receipts = bench.run()
    gas = bench.verify(receipts)
    refused = ""
    try:
        bench.crowd.liquidate(bench.maker, bench.keeper, {bench.instruments[0].id: -1})
    except Reverted as error:
        refused = error.reason
    assert refused == "liquidator: account is above maintenance margin", "the check can fail, and does"
    return Timed(count, LEGS, seconds, clock, set_up, gas // count)
