"""The main job in one run: deploy, open a market, replay a crash hour by hour, verify every number, report.

Everything is real but the people: contracts on a local chain, a committee that signs with BLS keys, a keeper with a
journal in a database, bundles on disk. The owners are simulated (`offchain.simulation.world`).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from eth_utils import keccak

from offchain.audit.record import read_record
from offchain.audit.report import EpochRow, LegRow, LiquidationRow, MarginPoint, RunRecord, write_report
from offchain.audit.result import Verification
from offchain.audit.tamper import tamper
from offchain.audit.verify import verify
from offchain.chain.anvil import local_chain
from offchain.chain.backends import Chain, Receipt
from offchain.chain.system import INSURANCE, System
from offchain.config import HOURLY, UNDERLYINGS, BallastError
from offchain.instruments import Instrument, Kind
from offchain.keeper.bot import Keeper
from offchain.keeper.state import MarketState
from offchain.market.candles import Candles, load_candles, timestamp_of
from offchain.market.sources import CandleMarket
from offchain.market.synthetic import START as SYNTHETIC_START
from offchain.market.synthetic import WARMUP_HOURS, synthetic_crash
from offchain.oracle.keys import Seat, seats
from offchain.oracle.node import Outcome, local_nodes, run_slot
from offchain.oracle.signatures import aggregate, sign
from offchain.oracle.sources import ReplaySource, ScanRanges
from offchain.risk.policy import default_policy
from offchain.risk.portfolios import State
from offchain.simulation.world import World
from offchain.store.database import Database
from offchain.units import DAY, HOUR, MICRO

COMMITTEE = 4
NAMES = {number: name for name, number in UNDERLYINGS.items()}
STRIKES = (0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.25)
INSURANCE_SEED = 100_000 * MICRO
KEEPER_CAPITAL = 20_000_000 * MICRO
OPENING_TRADES_PER_ACCOUNT = 4
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to replay.

    Attributes
    ----------
    prices : candle file by underlying name; empty for the synthetic crash.
    start : first hour, ISO 8601. hours : epochs to replay after the opening one.
    accounts : owners. seed : of all chance. out : folder for report, bundles and database.
    tamper : a fault to plant before the verification, or empty.
    """

    prices: Mapping[str, Path] = field(default_factory=dict)
    start: str = "2020-03-11"
    hours: int = 72
    accounts: int = 60
    seed: int = 7
    out: Path = Path("out/demo")
    tamper: str = ""


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    verification: Verification
    summary: tuple[tuple[str, str], ...]
    figures: dict[str, Any]
    report: Path


def load_prices(plan: Plan) -> tuple[dict[int, Candles], int, str]:
    """Candles by underlying with their history, the start in seconds, and where they came from.

    Raises
    ------
    BallastError
        A file, the start or an underlying is not usable; the message says how to mend it.
    """
    if not 2 <= plan.accounts <= 2_000:
        raise BallastError(f"{plan.accounts} accounts: choose between 2 and 2000")
    if not 1 <= plan.hours <= 24 * 365:
        raise BallastError(f"{plan.hours} hours: choose between 1 and {24 * 365}")
    try:
        start = timestamp_of(plan.start)
    except ValueError as error:
        raise BallastError(f"start {plan.start!r} is no UTC date or time like 2020-03-11: {error}") from error
    if not plan.prices:
        made = synthetic_crash(plan.seed, max((start - SYNTHETIC_START) // HOUR + plan.hours, 48))
        return {n: c.window(start, plan.hours, WARMUP_HOURS) for n, c in made.items()}, start, (
            "a synthetic crash, anchored to the public figures of 12 March 2020 (not historical prices)"
        )  # fmt: skip
    wanted = {}
    for name in plan.prices:
        if name.upper() not in UNDERLYINGS:
            raise BallastError(f"unknown underlying {name!r}: choose one of {', '.join(UNDERLYINGS)}")
        wanted[UNDERLYINGS[name.upper()]] = plan.prices[name]
    missing = [name for name, number in UNDERLYINGS.items() if number not in wanted]
    if missing:
        raise BallastError(f"no prices of {', '.join(missing)}: add --prices {missing[0]}=FILE")
    candles = {n: load_candles(path).window(start, plan.hours, WARMUP_HOURS) for n, path in sorted(wanted.items())}
    for number, each in candles.items():
        if each.step != HOUR:
            raise BallastError(f"{wanted[number]}: candles of {each.step} s; the replay needs hourly ones")
    return candles, start, "candle files " + ", ".join(c.name for c in candles.values())


def shifted(candles: Mapping[int, Candles], seconds: int) -> dict[int, Candles]:
    """Candles moved in time, for a chain that cannot begin in the past."""
    return {n: replace(c, timestamps=c.timestamps + seconds) for n, c in candles.items()}


def listing(candles: Mapping[int, Candles], start: int, end: int) -> list[Instrument]:
    """Perpetual, three futures and two chains of options for each underlying; all expire after the replay."""
    first = _friday(end + 3 * DAY)
    expiries = (first, first + 28 * DAY, first + 91 * DAY)
    out = []
    for number, each in candles.items():
        spot = float(each.until(start).close[-1])
        out.append(Instrument(number, Kind.PERPETUAL))
        out += [Instrument(number, Kind.FUTURE, expiry) for expiry in expiries]
        step = 10 ** math.floor(math.log10(spot / 20))
        for ratio in STRIKES:
            strike = max(round(spot * ratio / step), 1) * step
            for kind in (Kind.CALL, Kind.PUT):
                out += [Instrument(number, kind, expiry, round(strike * MICRO)) for expiry in expiries[:2]]
    return sorted(set(out), key=lambda i: i.id)


def _friday(after: int) -> int:
    """The next Friday, 08:00 UTC."""
    day = after // DAY
    while (day + 3) % 7 != 4:  # 1970-01-01 was a Thursday: day 0 is weekday 3
        day += 1
    return day * DAY + 8 * HOUR


@dataclass
class Run:
    """One replay under way."""

    plan: Plan
    chain: Chain
    candles: Mapping[int, Candles]
    start: int
    progress: Progress
    rows: list[EpochRow] = field(default_factory=list)
    liquidations: list[LiquidationRow] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("trades", "withdrawals", "cures", "calls"), 0)
    )
    gas: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Deploy, fund the accounts, post the first epoch, open positions."""
        plan, chain = self.plan, self.chain
        end = self.start + plan.hours * HOUR
        self.instruments = listing(self.candles, self.start, end)
        self.seats: list[Seat] = seats(COMMITTEE, keccak(text=f"demo committee {plan.seed}"))
        deployer = chain.accounts[0]
        self.progress("deploying")
        self.system = System.deploy(
            chain, deployer, default_policy(HOURLY.slot).encode(), self.seats, HOURLY,
            instruments=[i.id for i in self.instruments],
        )  # fmt: skip
        self.state = MarketState(self.system)
        self.progress(f"opening {plan.accounts} accounts")
        self.world = World(self.system, self.state, np.random.default_rng(plan.seed))
        self.world.settle_in(plan.accounts, INSURANCE_SEED)
        wallet = chain.accounts[1]
        self.system.token.send.mint(wallet.address, KEEPER_CAPITAL, sender=wallet)
        own = self.system.open_account(wallet)
        self.system.deposit(own, KEEPER_CAPITAL, wallet)
        self.state.sync()
        database = Database(f"sqlite:///{plan.out / 'keeper.sqlite'}")
        self.keeper = Keeper(self.state, own, wallet, database, bad_debt=True)
        markets = [CandleMarket(self.candles, seed=plan.seed * 100 + i) for i in range(COMMITTEE)]
        ranges = ScanRanges(markets[0])
        self.nodes = local_nodes(
            self.system, [s.secret for s in self.seats], [ReplaySource(m, ranges) for m in markets],
            chain.accounts[2], plan.out, lambda: chain.timestamp,
        )  # fmt: skip
        self._epoch(self.start)
        self.progress("opening positions")
        self.counts["trades"] += self.world.trade_some(OPENING_TRADES_PER_ACCOUNT * plan.accounts // 2)
        self._chosen()

    def _epoch(self, timestamp: int) -> bool:
        """Post the epoch of an hour; a skipped slot is recorded, and the next one tried an hour later."""
        if self.chain.timestamp < timestamp:
            self.chain.set_next_timestamp(timestamp)
            self.chain.mine()
        outcome: Outcome = run_slot(self.nodes, timestamp)
        if outcome.epoch is None or outcome.receipt is None:
            self.skipped.append(f"{_hour(timestamp)}: {outcome.reason}")
            return False
        self.gas.append(outcome.receipt.gas_used)
        self.state.sync()
        self.state.use(outcome.epoch)
        return True

    def _chosen(self) -> None:
        """Accounts whose equity the report draws: three that lean each way, with the most margin in use."""
        assert self.state.margin is not None
        busy = sorted(
            self.world.owners.values(),
            key=lambda o: self.state.margin_of(o.account).im_excess / max(self.state.margin_of(o.account).pv, 1),
        )
        long = [o for o in busy if o.leaning > 0][:3]
        short = [o for o in busy if o.leaning < 0][:3]
        self.watched = {o.account: "leans long" if o.leaning > 0 else "leans short" for o in (*long, *short)}

    def replay(self) -> None:
        """Hour by hour: epoch, keeper, owners."""
        for hour in range(1, self.plan.hours + 1):
            timestamp = self.start + hour * HOUR
            if self._epoch(timestamp):
                states = {a: self._state(a) for a in self.world.owners}
                self.counts["cures"] += self.world.cure_some()
                taken = self._keep(timestamp)
                self.rows.append(self._row(timestamp, states))
                self.counts["withdrawals"] += self.world.withdraw_some(2)
                self.counts["trades"] += self.world.trade_some(5)
                self._show(hour, taken)

    def _keep(self, timestamp: int) -> int:
        """Let the keeper look until it finds nothing more to do; returns the liquidations."""
        taken = 0
        for _ in range(4):
            receipts = self.keeper.look()
            for receipt in receipts:
                names = {event.name for event in receipt.events}
                self.counts["calls"] += "MarginCalled" in names
                if "Liquidated" in names:
                    self.liquidations.append(self._liquidation(timestamp, receipt))
                    taken += 1
            if not any(e.name == "Liquidated" for r in receipts for e in r.events):
                break
        return taken

    def _liquidation(self, timestamp: int, receipt: Receipt) -> LiquidationRow:
        args = receipt.event("Liquidated").args
        legs = []
        for instrument, lots, _ in args["takes"]:
            each = Instrument.from_id(instrument)
            assert self.state.epoch is not None
            index = self.state.epoch.header.mark(each.underlying).index
            per_unit = self.state.epoch.policy.underlying(each.underlying).lots_per_unit
            notional = abs(lots) * index // per_unit
            legs.append(LegRow(each.symbol(NAMES), NAMES[each.underlying], lots, notional))
        return LiquidationRow(
            timestamp, args["account"], args["taker"], tuple(legs), args["penalty"], args["reward"]
        )  # fmt: skip

    def _state(self, account: int) -> str:
        return str(self.state.margin_of(account).state) if self.state.book.accounts[account].positions else ""

    def _row(self, timestamp: int, states: Mapping[int, str]) -> EpochRow:
        assert self.state.epoch is not None
        assert self.state.margin is not None
        header = self.state.epoch.header
        watched = {}
        for account in self.watched:
            margin = self.state.margin_of(account)
            watched[account] = MarginPoint(margin.pv, margin.pv - margin.im_excess, margin.pv - margin.mm_excess)
        owners = self.world.owners
        return EpochRow(
            epoch=header.epoch,
            timestamp=timestamp,
            index={name: header.mark(number).index for number, name in NAMES.items()},
            scan_range={name: header.mark(number).scan_range for number, name in NAMES.items()},
            states=tuple(states[a] for a in owners),
            watched=watched,
            insurance_cash=self.state.book.accounts[INSURANCE].cash,
            shortfall=sum(max(0, -self.state.margin_of(a).pv) for a in owners),
        )

    def _show(self, hour: int, taken: int) -> None:
        row = self.rows[-1]
        prices = "  ".join(f"{name} {value / MICRO:>9,.2f}" for name, value in row.index.items())
        below = sum(s not in ("", "HEALTHY") for s in row.states)
        bankrupt = row.states.count("BANKRUPT")
        self.progress(
            f"hour {hour:>3}/{self.plan.hours}  {prices}  below margin {below:>3}  bankrupt {bankrupt:>2}  "
            f"liquidations {len(self.liquidations):>4} (+{taken})"
        )

    def leave(self) -> tuple[int, int]:
        """Every healthy account takes out what it can; returns how many did and how much, micro-USD."""
        count, total = 0, 0
        for account in self.world.owners:
            if self._state(account) in ("", "HEALTHY"):
                amount = self.world.free(account)
                if amount > 0:
                    self.world.withdraw(account, amount)
                    count, total = count + 1, total + amount
        return count, total


def _hour(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M}"


def _usd(amount: int) -> str:
    return f"{amount / MICRO:,.2f} USD"


def run_demo(plan: Plan, progress: Progress, chain: Chain | None = None) -> Result:
    """Replay, verify and report.

    Parameters
    ----------
    plan : what to replay. progress : called with a line at every step.
    chain : a local chain whose time can be set; None starts one.

    Raises
    ------
    BallastError
        Bad input, or no local chain can be started.
    """
    began = time.monotonic()
    candles, start, source = load_prices(plan)
    progress(f"prices: {source}")
    shutil.rmtree(plan.out, ignore_errors=True)
    plan.out.mkdir(parents=True, exist_ok=True)
    if chain is not None:
        return _replay(plan, chain, candles, start, source, progress, began)
    with local_chain(start - 2 * HOUR) as started:
        if not started.starts_anywhere:
            progress("Node.js is not installed: running on the in-process chain (py-evm), which is slower")
        return _replay(plan, started, candles, start, source, progress, began)


def _replay(
    plan: Plan,
    chain: Chain,
    candles: Mapping[int, Candles],
    start: int,
    source: str,
    progress: Progress,
    began: float,
) -> Result:
    shift = max(-(-(chain.timestamp + HOUR - start) // HOUR) * HOUR, 0)
    if shift:
        progress(f"the chain's time is ahead of the candles': they are replayed {shift // HOUR} hours later")
        candles, start = shifted(candles, shift), start + shift
    run = Run(plan, chain, candles, start, progress)
    run.prepare()
    run.replay()
    progress("healthy accounts withdraw")
    left, paid = run.leave()
    progress("verifying")
    record = read_record(run.system, plan.out / "bundles")
    if plan.tamper:
        progress(f"planting a fault: {plan.tamper}")
        record = tamper(record, plan.tamper, Random(plan.seed), lambda d, mask: _collude(run.seats, d, mask))
    verification = verify(record)
    return _finish(run, plan, source, verification, left, paid, time.monotonic() - began)


def _collude(members: Sequence[Seat], digest: bytes, mask: int) -> bytes:
    """The aggregate signature of members who take part in a fault."""
    return aggregate([sign(seat.secret, digest) for i, seat in enumerate(members) if mask >> i & 1])


def _finish(
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
        ("replayed", f"{_hour(run.start)} to {_hour(run.start + plan.hours * HOUR)} UTC, {len(run.rows)} epochs"),
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


def command(plan: Plan) -> str:
    """The command that runs this plan; files are called FILE."""
    prices = "".join(f" --prices {name}=FILE" for name in plan.prices)
    fault = f" --tamper {plan.tamper}" if plan.tamper else ""
    return (
        f"ballast demo{prices} --start {plan.start} --hours {plan.hours} --accounts {plan.accounts} "
        f"--seed {plan.seed}{fault}"
    )
