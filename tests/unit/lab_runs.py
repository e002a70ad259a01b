"""Runs that were never run: tables of the laboratory's shape, with a crash, a cascade, an outage and a debt in them."""

from __future__ import annotations

import numpy as np

from offchain.simulation.records import COLUMNS, Recorder, RunResult, Verdict
from offchain.simulation.scenario import Scenario, load

USD = 10**6


def scenario() -> Scenario:
    return load("black-thursday")


def made_up(seed: int = 7, accounts: int = 80, steps: int = 72, quiet: bool = False) -> RunResult:
    """A run with everything a report shows; `quiet`, one in which nothing happened."""
    rng, plan, book = np.random.default_rng(seed), scenario(), Recorder()
    step = plan.duration // steps
    risky = rng.uniform(size=accounts)
    first = {number: 8_000.0 / 40 ** (number - 1) for number in plan.names}
    price, lead = dict(first), min(first)
    cascade = 0.0
    insurance, shortfall, notional = 500_000 * USD, 0, 40_000_000 * USD
    started = book.event(0, "start", "the first epoch is posted")
    for i in range(steps + 1):
        time = i * step
        shock = 0.0 if quiet else (-0.13 if i in (34, 35, 47) else rng.normal(0, 0.012))
        stale = not quiet and 36 <= i < 40
        fall = max(0.0, 1 - price[lead] * np.exp(-cascade) / first[lead])
        cause = -1
        if shock < -0.1:
            cause = book.event(time, "price", f"the market falls {shock:.1%} within a step", started)
        if stale and i == 36:
            cause = book.event(time, "oracle", "the oracle is stale", cause)
        score = risky * fall * 4.6 + rng.normal(0, 0.03, accounts)
        level = 1 + (score[:, None] > np.array([0.55, 0.72, 0.93])).sum(axis=1)
        for number in price:
            price[number] *= float(np.exp(shock * (1 + 0.2 * (number - 1)) + rng.normal(0, 0.003)))
            market = round(price[number] * np.exp(-cascade) * USD)
            book.add(
                "prices", time=time, underlying=number, market=market, index=market if not stale else market * 11 // 10,
                feed=round(market * 1.001), without_cascade=round(price[number] * USD),
                scan_range=160_000, status="PROVISIONAL" if shock < -0.1 else ("STALE" if stale else "LIVE"),
            )  # fmt: skip
        for a in range(accounts):
            equity = int((9_000 - 30_000 * fall * risky[a]) * USD)
            book.add(
                "states", time=time, account=256 + a, state=int(level[a]), equity=equity, mm_excess=equity - 4_000 * USD
            )
        for a in np.flatnonzero((level >= 3) & (rng.uniform(size=accounts) < 0.1)):
            kind = "takeover" if level[a] == 4 else ("fallback" if stale else "leg")
            size = int(rng.lognormal(10, 1.2)) * USD
            id = book.event(time + 40, "liquidation", f"account {256 + a} loses legs worth {size // USD:,} USD", cause)
            book.event(time + 41, "impact", "the market follows", id)
            book.add(
                "liquidations", time=time + 40, block=time // 12, account=256 + int(a), taker=300, legs=3,
                notional=size,
                penalty=size // 50, reward=size // 100, kind=kind, breach_time=time - step * (1 + int(a) % 4),
                latency_s=step * (1 + int(a) % 4) + 40,
                latency_blocks=(step + 40) // 12, gas=700_000, price_impact=-int(size / USD / 40), worth=0, covered=0,
                **{name: 0 for name in COLUMNS["liquidations"] if name not in KNOWN},
            )  # fmt: skip
            insurance += size // 100 if kind != "takeover" else -size // 20
            cascade += size / USD / 2e8
        shortfall += int((level == 4).sum()) * 40 * USD
        fee = round(20e9 * (1 + 12 * fall))
        book.add(
            "steps", time=time, epoch=1000 + i, block=time // 12, state="STALE" if stale else "LIVE",
            oracle_age=(i - 35) * step if stale else 30, gas_price=fee * 5 // 4, base_fee=fee, insurance=insurance,
            shortfall=shortfall, healthy=int((level == 1).sum()), margin_call=int((level == 2).sum()),
            liquidatable=int((level == 3).sum()), bankrupt=int((level == 4).sum()), open_interest=notional,
        )  # fmt: skip
        book.add(
            "transactions", time=time, block=time // 12, sender="keeper", action="liquidate", ok=int(not stale),
            reason="oracle: stale epoch" if stale else "", gas=700_000, fee_paid=20 * USD,
        )  # fmt: skip
    for a in range(accounts):
        end = int(rng.normal(9_000, 4_000)) * USD
        book.add(
            "accounts", account=256 + a, owner=("retail", "maker", "hedger")[a % 3], deposited=9_000 * USD, withdrawn=0,
            final_equity=end, counterfactual_equity=end + int(rng.normal(500, 2_000)) * USD, owed=0,
        )  # fmt: skip
    verdicts = (
        Verdict("no-zero-price", True, "accounts that went for nothing: 0 <= 0", 0.0, 0.0),
        Verdict(
            "loss-bounded", False, "debts beyond what is left of the insurance fund: 12,480 <= 0 USD", 12_480.0, 0.0
        ),
    )
    summary: dict[str, int | float | str] = {"shortfall": shortfall / USD, "liquidations": 41, "latency": 312.5}
    return RunResult(plan, seed, "revm", (), book.tables(), verdicts, summary, 3.21)


KNOWN = frozenset({
    "time", "block", "account", "taker", "legs", "notional", "penalty", "reward", "kind", "breach_time", "latency_s",
    "latency_blocks", "gas", "price_impact", "worth", "covered",
})  # fmt: skip
