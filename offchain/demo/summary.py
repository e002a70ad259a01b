"""What a replay came to: a table for people, figures for machines, and the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offchain.audit.report import RunRecord, write_report
from offchain.audit.result import Verification
from offchain.chain.system import INSURANCE
from offchain.demo.plan import Plan, command
from offchain.demo.replay import COMMITTEE, INSURANCE_SEED, NAMES, Run, hour_of
from offchain.risk.portfolios import State
from offchain.units import HOUR, MICRO


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    verification: Verification
    summary: tuple[tuple[str, str], ...]
    figures: dict[str, Any]
    report: Path


def _usd(amount: int) -> str:
    return f"{amount / MICRO:,.2f} USD"


def finish(
    run: Run, plan: Plan, source: str, verification: Verification, left: int, paid: int, seconds: float
) -> Result:
    synthetic = not plan.prices
    owners = run.world.owners
    final = [run._state(a) for a in owners]
    bankrupt = [a for a in owners if run.state.margin_of(a).pv < 0]
    shortfall = sum(max(0, -run.state.margin_of(a).pv) for a in owners)
    insurance = run.state.book.accounts[INSURANCE].cash
    falls = {
        name: min(row.index[name] for row in run.rows) / run.rows[0].index[name] - 1 for name in NAMES.values()
    }  # fmt: skip
    notional = sum(each.notional for each in run.liquidations)
    summary = (
        ("chain", run.chain.name),
        ("prices", source),
        ("replayed", f"{hour_of(run.start)} to {hour_of(run.start + plan.hours * HOUR)} UTC, {len(run.rows)} epochs"),
        ("lowest index against the first", ", ".join(f"{name} {fall:+.1%}" for name, fall in falls.items())),
        ("accounts, instruments", f"{len(owners)}, {len(run.instruments)}"),
        ("trades, withdrawals, cures", f"{run.counts['trades']}, {run.counts['withdrawals']}, {run.counts['cures']}"),
        ("margin calls", str(run.counts["calls"])),
        ("liquidations", f"{len(run.liquidations)} of {len({e.account for e in run.liquidations})} accounts"),
        ("liquidated notional", _usd(notional)),
        ("penalties paid", f"{_usd(sum(e.penalty for e in run.liquidations))}, of which to insurance "
                                    f"{_usd(sum(e.penalty - e.reward for e in run.liquidations))}"),
        ("insurance fund", f"{_usd(INSURANCE_SEED)} at first, {_usd(insurance)} at last"),
        ("states at the end", ", ".join(f"{s} {final.count(s)}" for s in State) + f", no position {final.count('')}"),
        ("bankrupt", f"{len(bankrupt)} accounts owe {_usd(shortfall)}"),
        ("withdrawn at the end", f"{_usd(paid)} by {left} healthy accounts"),
        ("gas of an epoch (median)", f"{int(np.median(run.gas)):,}"),
        ("skipped slots", str(len(run.skipped))),
        ("time", f"{seconds:.0f} s"),
    )  # fmt: skip
    report = plan.out / "report.html"
    write_report(
        RunRecord(
            title="A margined market through " + ("a synthetic crash" if synthetic else f"the days from {plan.start}"),
            source=f"Prices: {source}.",
            synthetic=synthetic,
            underlyings=tuple(NAMES.values()),
            accounts=tuple(owners),
            watched=run.watched,
            epochs=tuple(run.rows),
            liquidations=tuple(run.liquidations),
            summary=summary,
            verification=verification,
            settings=(
                ("seed", str(plan.seed)), ("accounts", str(plan.accounts)), ("hours", str(plan.hours)),
                ("committee", f"{COMMITTEE} members, quorum {COMMITTEE * 2 // 3 + 1}"),
                ("volatility surface and forwards", "modelled from the candles' realised volatility"),
                ("fault planted", plan.tamper or "none"),
            ),
            command=command(plan),
        ),
        report,
    )  # fmt: skip
    figures = {
        **verification.as_json(),
        "epochs": len(run.rows) + 1,
        "liquidations": len(run.liquidations),
        "margin_calls": run.counts["calls"],
        "trades": run.counts["trades"],
        "withdrawals": run.counts["withdrawals"] + left,
        "accounts": len(owners),
        "bankrupt": len(bankrupt),
        "shortfall": shortfall,
        "insurance": insurance,
        "gas_per_epoch": int(np.median(run.gas)),
        "skipped_slots": run.skipped,
        "synthetic": synthetic,
        "chain": run.chain.name,
        "seconds": round(seconds, 1),
        "report": str(report),
    }
    return Result(verification, summary, figures, report)
