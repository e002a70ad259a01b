"""A replay under way: deploy, open a market, and go through it hour by hour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from eth_utils import keccak

from offchain.audit.report import EpochRow, LegRow, LiquidationRow, MarginPoint
from offchain.chain.backends import Chain, Receipt
from offchain.chain.system import INSURANCE, System
from offchain.config import HOURLY, UNDERLYINGS
from offchain.demo.plan import Plan
from offchain.instruments import Instrument
from offchain.keeper.bot import Keeper
from offchain.keeper.state import MarketState
from offchain.market.candles import Candles
from offchain.market.sources import CandleMarket
from offchain.oracle.keys import Seat, seats
from offchain.oracle.node import Outcome, local_nodes, run_slot
from offchain.oracle.sources import ReplaySource, ScanRanges
from offchain.risk.policy import default_policy
from offchain.simulation.world import World, listing
from offchain.store.database import Database
from offchain.units import HOUR, MICRO

COMMITTEE = 4
NAMES = {number: name for name, number in UNDERLYINGS.items()}
INSURANCE_SEED = 100_000 * MICRO
KEEPER_CAPITAL = 20_000_000 * MICRO
OPENING_TRADES_PER_ACCOUNT = 4
Progress = Callable[[str], None]


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
            self.skipped.append(f"{hour_of(timestamp)}: {outcome.reason}")
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


def hour_of(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M}"
