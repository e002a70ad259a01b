"""The loop: prices, sources, an epoch, what people do about it, what that does to prices; and all of it written down.

A slot is a step. At its start members look at the true price through their venues and the leader's header goes into the
pool; then blocks are made until the next slot, and at each block keepers and owners look at what the chain says.
Liquidators sell what they take, which moves the true price by the model of market depth.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from offchain.chain.anvil import start_anvil
from offchain.chain.artifacts import artifact
from offchain.chain.backends import Chain, Contract, Receipt, Reverted, dev_account
from offchain.chain.revm import RevmChain
from offchain.chain.system import FIRST_ACCOUNT, INSURANCE, SHORTFALL, System
from offchain.config import BallastError
from offchain.instruments import Instrument, InstrumentLeaf, Kind
from offchain.keeper.state import MarketState
from offchain.market.candles import load_candles
from offchain.oracle.headers import Mark
from offchain.oracle.keys import seats
from offchain.oracle.observations import Last
from offchain.risk.arrays import build_leaves
from offchain.risk.policy import Policy
from offchain.simulation import prices as models
from offchain.simulation.agents import Keeper, Owner, direction, draw
from offchain.simulation.checks import evaluate
from offchain.simulation.committee import Committee, Signed, Skipped
from offchain.simulation.conduct import Conduct
from offchain.simulation.depth import Depth, Markets
from offchain.simulation.faults import Faults
from offchain.simulation.floor import Floor, Table
from offchain.simulation.guards import Switches, without
from offchain.simulation.measures import summary
from offchain.simulation.records import STATES, Recorder, RunResult
from offchain.simulation.scenario import Scenario
from offchain.simulation.traffic import Traffic
from offchain.units import DAY, MICRO, YEAR

FIRST_KEY = 1_000
NOISE = 0.02
"""An account within this share of its requirement of the border counts as below it at the true price."""
_STATUS = {0: "", 1: "LIVE", 2: "PROVISIONAL", 3: "DISPUTED"}
_ORACLE = {1: "LIVE", 2: "STALE", 3: "HALTED"}
Progress = Callable[[str], None]


def run(
    scenario: Scenario,
    seed: int = 1,
    engine: str = "revm",
    off: Sequence[str] = (),
    progress: Progress = lambda _line: None,
    chain: Chain | None = None,
) -> RunResult:
    """Run a scenario once.

    Parameters
    ----------
    engine : revm, in process, or anvil, with BLS signatures. off : guards to switch off.
    chain : a local chain to run on in the place of one of its own; its signatures are verified.

    Raises
    ------
    BallastError
        An unknown engine or guard, or a scenario that cannot be set up.
    """
    began = clock.monotonic()
    switches = without(off)
    if chain is not None:
        lab = Laboratory(scenario, seed, chain, switches, progress, True)
        return lab.result(engine, tuple(off), began)
    if engine == "revm":
        lab = Laboratory(scenario, seed, RevmChain(timestamp=scenario.start - DAY), switches, progress, False)
        return lab.result(engine, tuple(off), began)
    if engine != "anvil":
        raise BallastError(f"unknown engine {engine!r}: choose revm or anvil")
    with start_anvil(scenario.start - DAY) as started:
        lab = Laboratory(scenario, seed, started, switches, progress, True)
        return lab.result(engine, tuple(off), began)


@dataclass
class Laboratory:
    """One run under way."""

    scenario: Scenario
    seed: int
    chain: Chain
    switches: Switches
    progress: Progress
    signed: bool
    recorder: Recorder = field(default_factory=Recorder)
    owners: dict[int, Owner] = field(default_factory=dict)
    keepers: list[Keeper] = field(default_factory=list)
    roles: dict[int, str] = field(default_factory=dict)
    breaches: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.faults = Faults(self.scenario.faults)
        self.rng = np.random.default_rng([self.seed, 1])
        self.policy: Policy = self.scenario.policy(self.switches.policy, self.switches.underlying)
        self.paths = self._paths()
        depths = {
            u.number: Depth(u.volume * u.lots_per_unit, max(u.volatility, 0.01) * float(np.sqrt(DAY / YEAR)))
            for u in self.scenario.underlyings
        }
        self.markets = Markets(depths)
        self.time = 0
        self.posted = 0
        self._first: dict[int, int] = {}
        self._causes: dict[int, int] = {}
        self._epoch_event = -1
        self._waiting_post: Signed | None = None
        self.attackers: dict[str, dict[str, int]] = {}
        self._deposited: dict[int, int] = {}
        self._withdrawn: dict[int, int] = {}

    # the world
    def _paths(self) -> models.Paths:
        """True prices without anybody's impact, by slot."""
        scenario = self.scenario
        times = models.grid(scenario.duration, scenario.cadence.slot)
        columns = {}
        for spec in scenario.underlyings:
            p, number = spec.prices, spec.number
            rng = np.random.default_rng([self.seed, 2, number])
            if p.kind == "path":
                column = models.piecewise(p.points, times, between=p.between)  # type: ignore[arg-type]
                columns[number] = models.with_noise(column, times, p.noise, rng) if p.noise else column
            elif p.kind == "candles":
                assert p.file is not None
                columns |= models.from_candles({number: load_candles(p.file)}, scenario.start, times).prices
            elif p.kind == "bootstrap":
                assert p.file is not None
                history = {number: load_candles(p.file)}
                columns |= models.bootstrapped(history, rng, times, prices={number: spec.price}).prices
            else:
                law = models.Diffusion(spec.price, **dict(p.law))
                columns |= models.jump_diffusion({number: law}, rng, times).prices
        return models.Paths(times, columns)

    def bare(self, number: int, time: int) -> int:
        """True price without the impact of liquidations, micro-USD a unit."""
        return max(round(self.paths.at(number, time) * self.faults.true_price(time, number)), 1)

    def price(self, number: int, time: int) -> int:
        """True price, micro-USD a unit."""
        self.markets.shares[number] = self.faults.depth(time, number)
        return self.markets.price(number, self.bare(number, time), float(time))

    def listing(self) -> list[Instrument]:
        """What is listed: a perpetual of each underlying, and the futures and options that the file asks for."""
        out = []
        for spec in self.scenario.underlyings:
            out.append(Instrument(spec.number, Kind.PERPETUAL))
            end = self.scenario.start + self.scenario.duration
            out += [Instrument(spec.number, Kind.FUTURE, end + round(days * DAY)) for days in spec.futures]
            for days in spec.option_days:
                for ratio in spec.strikes:
                    strike = max(round(spec.price * ratio * 100) * MICRO // 100, 1)
                    out += [Instrument(spec.number, k, end + round(days * DAY), strike) for k in (Kind.CALL, Kind.PUT)]
        return sorted(set(out), key=lambda i: i.id)

    # set-up
    def prepare(self) -> None:
        """Deploy, fund, post the first epoch, open positions."""
        scenario, chain = self.scenario, self.chain
        deployer = chain.accounts[0]
        self.feeds: dict[int, Contract] = {}
        rows = []
        for spec in scenario.underlyings:
            if spec.feed:
                feed = chain.deploy(artifact("mocks/PriceFeed"), sender=deployer)
                self.feeds[spec.number] = feed
                age = scenario.cadence.max_age
                rows.append(
                    (spec.number, feed.address, age, round(spec.feed_min * 10**8), round(spec.feed_max * 10**8))
                )
        members = seats(scenario.members, self.seed.to_bytes(32, "big")) if self.signed else None
        self.instruments = self.listing()
        self.listed = [each.id for each in self.instruments]
        self.system = System.deploy(
            chain, deployer, self.policy.encode(), members, scenario.cadence, instruments=self.listed, feeds=rows,
            variants=self.switches.variants,
        )  # fmt: skip
        state = MarketState(self.system)
        state.sync()
        self.floor = Floor(self.system, state)
        self.committee = Committee(scenario, self.system, self.faults, self.seed, self.switches.off, members)
        self.traffic = Traffic(chain, scenario, self.faults, self.recorder, "replacement" not in self.switches.off)
        self._fund()
        self._at(scenario.start)
        self._update_feeds(0)
        first = self.committee.round(
            self.committee.slot(scenario.start), {u: self.price(u, 0) for u in self.paths.prices}, state.book,
            self.policy, None, self.listed,
        )  # fmt: skip
        self._took(self._post(first), first)
        self._open_positions()
        self._first = {a: self.floor.cash(a) for a in self.owners}
        self._initial = {a: dict(state.book.accounts[a].positions) for a in self.owners}

    def _at(self, timestamp: int) -> None:
        """Bring the chain to a time, or leave it where it is beyond."""
        if self.chain.timestamp < timestamp:
            self.chain.set_next_timestamp(timestamp)
            self.chain.mine()

    def _key(self, number: int):  # type: ignore[no-untyped-def]
        key = dev_account(FIRST_KEY + number)
        self.chain.fund(key.address)
        return key

    def _account(self, role: str, amount: int, beside: int = 0) -> int:
        """A funded account of a new owner, or of the owner of another account."""
        key = self.floor.owners[beside] if beside else self._key(len(self.roles))
        account = self.floor.open(key, amount)
        self.roles[account] = role
        self._deposited[account] = amount
        self._withdrawn[account] = 0
        return account

    def _fund(self) -> None:
        treasurer = self.chain.accounts[0]
        insurance = round(self.scenario.insurance * MICRO)
        if insurance:
            self.floor.pay(INSURANCE, insurance, treasurer)
        rng = np.random.default_rng([self.seed, 3])
        for group in self.scenario.groups:
            for equity, usage, side, cures, wallet in draw(group, rng):
                account = self._account(group.name, equity)
                self.owners[account] = Owner(account, group.name, group, equity, usage, side, cures, wallet)
        for spec in self.scenario.keepers:
            capital = round(spec.capital * MICRO)
            account = self._account(f"keeper {spec.name}", capital - capital // 3)
            purse = self._account(f"keeper {spec.name}", capital // 3, account)
            self.keepers.append(Keeper(spec, account, purse))
        for attack in self.scenario.attackers:
            first = self._account(f"attacker {attack.name}", round(attack.capital * MICRO))
            second = self._account(f"attacker {attack.name}", round(attack.second * MICRO), first)
            self.attackers[attack.name] = {"a": first, "b": second}

    def _open_positions(self) -> None:
        """Every owner but the makers takes the position of its role, a maker on the other side."""
        makers = {
            number: [o for o in self.owners.values() if o.group.role == "maker" and o.group.underlying == number]
            for number in self.paths.prices
        }
        for owner in self.owners.values():
            if owner.group.role == "maker":
                continue
            wanted = direction(owner, self.floor)
            number = owner.group.underlying
            if not makers[number]:
                raise BallastError(f"{self.scenario.file}: nobody makes a market in {self.scenario.names[number]}")
            spare = round((1.0 - owner.usage) * owner.equity)
            best = self.maker(number)
            limit = self.room(number, (owner.account, best)) // max(len(wanted), 1)
            units = self.floor.most(owner.account, wanted, spare, limit)
            fee_share = 1 - 4 * self.policy.margin.trade_fee / 10_000
            units = int(units * fee_share)
            if not units:
                continue
            for instrument, sign in wanted.items():
                self._match(owner.account, self.maker(number), instrument, sign * units)

    def maker(self, number: int) -> int:
        """The account that makes a market in an underlying with most margin to spare."""
        makers = [o.account for o in self.owners.values() if o.group.role == "maker" and o.group.underlying == number]
        return max(makers, key=lambda a: (self.floor.state.margin_of(a).im_excess, -a))

    def room(self, number: int, accounts: Sequence[int]) -> int:
        """Lots that limits of accounts and of open interest leave for a trade that opens risk."""
        listed, book = self.policy.underlying(number), self.floor.state.book
        most = listed.depth * self.policy.shocks.position // MICRO
        held = [sum(map(abs, book.accounts[a].positions.values())) for a in accounts]
        interest = sum(lots for key, lots in book.open_interest().items() if key >> 88 == number)
        return max(min(most - max(held), listed.depth * listed.open_interest // 100 - interest), 0)

    def leavers(self) -> list[int]:
        """Owners' accounts, in the order in which they get to the door."""
        return sorted(self.owners)

    def _match(self, account: int, other: int, instrument: int, lots: int) -> None:
        """A trade at the mark, if the clearing house takes it."""
        buyer, seller = (account, other) if lots > 0 else (other, account)
        try:
            self.floor.trade(
                buyer, seller, instrument, abs(lots), max(self.floor.mark(instrument), 0), self.chain.accounts[1]
            )
            ok, reason = 1, ""
        except Reverted as error:
            ok, reason = 0, error.reason
        self.recorder.add(
            "transactions", time=0, block=0, sender=self.roles[account], action="first position", ok=ok, reason=reason,
            gas=0, fee_paid=0,
        )  # fmt: skip

    # epochs
    def _update_feeds(self, time: int) -> None:
        for number, feed in self.feeds.items():
            said = self.faults.feed(time, number, self.price(number, time))
            if said is not None:
                feed.send.set(said, self.chain.timestamp, sender=self.chain.accounts[0])

    def _post(self, signed: Signed) -> Receipt:
        header = signed.epoch.header.as_tuple()
        return self.system.oracle.send.post(header, signed.mask, signed.signature, sender=self.chain.accounts[2])

    def _took(self, receipt: Receipt, signed: Signed) -> None:
        """An epoch is on the chain."""
        self.floor.apply(receipt)
        self.floor.use(signed.epoch)
        self.posted = self.time
        text = ", ".join(
            f"{self.scenario.names[u]} {signed.epoch.header.mark(u).index / MICRO:g}" for u in sorted(self.paths.prices)
        )
        self._epoch_event = self.recorder.event(self.time, "epoch", f"epoch {signed.epoch.header.epoch}: {text}")

    def _last(self) -> Last:
        epoch, timestamp, _, _ = self.system.oracle.call.clock()
        words = {u: self.system.oracle.call.mark(u) for u in self.paths.prices}
        return Last(epoch, timestamp, {u: Mark.held(word) for u, word in words.items() if word})

    def _round(self, time: int) -> None:
        """The slot's epoch goes into the pool, or the slot is skipped."""
        true = {u: self.price(u, time) for u in self.paths.prices}
        slot = self.committee.slot(self.scenario.start + time)
        try:
            made = self.committee.round(slot, true, self.floor.state.book, self.policy, self._last(), self.listed)
        except Skipped as error:
            self.committee.learn({})
            self.recorder.event(time, "skipped", f"slot {slot.epoch}: {error}")
            return
        waiting = self._waiting_post is not None
        self._waiting_post = made
        if not waiting:
            self.traffic.send(
                "poster", "post", self._carry_post, self._posted_or_not, time=time + 1, cap=self.scenario.poster_fee
            )

    def _carry_post(self) -> Receipt:
        assert self._waiting_post is not None
        return self._post(self._waiting_post)

    def _posted_or_not(self, receipt: Receipt | None, reason: str) -> None:
        made, self._waiting_post = self._waiting_post, None
        if receipt is not None and made is not None:
            self._took(receipt, made)
        else:
            self.recorder.event(self.time, "not posted", reason)

    def breach(self, account: int) -> tuple[int, int]:
        """Time and block at which an account fell below maintenance margin at the true prices of the latest epoch's
        slot; -1 where it was not below then.
        """
        assert self.floor.state.epoch is not None
        slot = self.floor.state.epoch.header.timestamp - self.scenario.start
        return self.breaches.get(slot, {}).get(account, (-1, -1))

    # a step
    def step(self, number: int) -> None:
        """One slot."""
        slot = self.scenario.cadence.slot
        start = number * slot
        self.time = start
        if not any(stall.start <= start < stall.end for stall in self.faults.stalls):
            self._at(self.scenario.start + start)
            self._update_feeds(start)
            self._round(start)
        self._true_states(start)
        self.traffic.advance(start + slot, self._between)
        self._record(start)

    def _between(self, time: int) -> None:
        """Before a block: whoever is awake looks."""
        self.time = time
        self.conduct.owners(time)
        self.conduct.attack(time)
        for keeper in self.keepers:
            awake = time >= self.posted + keeper.spec.latency and not self.faults.asleep(time, keeper.spec.name)
            if awake and (keeper.seen != self.floor.version or self.traffic.space.number % 20 == 0):
                keeper.seen = self.floor.version
                self.conduct.keeper(keeper, time)

    def true_leaves(self, time: int) -> list[InstrumentLeaf]:
        """Every instrument at the true price, by the curves and scan ranges that the slot's epoch has."""
        true = {u: self.price(u, time) for u in self.paths.prices}
        assert self.floor.state.epoch is not None
        header = self.floor.state.epoch.header
        latest = self._waiting_post.epoch.header if self._waiting_post else header
        forwards, ivs = [], []
        for each in self.instruments:
            surface, carry, _ = self.committee.curves(each.underlying)
            index, left = true[each.underlying], each.expiry - self.scenario.start - time
            forward = carry.forward(index, left) if each.kind.is_dated else carry.mark(index)
            forwards.append(forward)
            ivs.append(int(surface.volatilities(each.strike, forward, left)) if each.kind.is_option else 0)
        return build_leaves(
            self.instruments, forwards, ivs, true, {u: header.mark(u).funding for u in true},
            {u: latest.mark(u).scan_range for u in true}, self.scenario.start + time, self.policy,
            open_interest=self.floor.state.book.open_interest(),
        )  # fmt: skip

    def _true_states(self, time: int) -> None:
        """Everybody at the true prices: into the table `states`, and since when they are below maintenance margin."""
        self.true: Table = self.floor.margins(self.true_leaves(time), self.policy.margin)
        t = self.true
        state = np.where(t.pv < 0, 4, np.where(t.mm_excess < 0, 3, np.where(t.im_excess < 0, 2, 1)))
        state = np.where(t.holds, state, 0)
        mine = np.isin(t.accounts, np.fromiter(self.owners, dtype=np.int64))
        self.recorder.add_block(
            "states", time=np.full(int(mine.sum()), time), account=t.accounts[mine], state=state[mine],
            equity=t.pv[mine], mm_excess=t.mm_excess[mine],
        )  # fmt: skip
        self.counts = {name: int((state[mine] == place).sum()) for place, name in enumerate(STATES)}
        below = (t.mm_excess < (t.requirement * NOISE).astype(np.int64)) & t.holds
        now = set(t.accounts[below].tolist())
        last = self.breaches.get(max(self.breaches, default=0), {})
        self.breaches[time] = {a: last.get(a, (time, self.traffic.space.number)) for a in now}

    def _record(self, time: int) -> None:
        """The rows of a step."""
        oracle, book = self.system.oracle, self.floor.state.book
        epoch, timestamp, _, _ = oracle.call.clock()
        interest = 0
        lots: dict[int, int] = {}
        for instrument, held in book.open_interest().items():
            lots[instrument >> 88] = lots.get(instrument >> 88, 0) + held
        for number in self.paths.prices:
            word = oracle.call.mark(number)
            mark = Mark.held(word)
            feed, usable, _ = oracle.call.feed_price(number)
            interest += lots.get(number, 0) * mark.index // self.policy.underlying(number).lots_per_unit
            self.recorder.add(
                "prices", time=time, underlying=number, market=self.price(number, time), index=mark.index,
                feed=feed if usable else 0, without_cascade=self.bare(number, time), scan_range=mark.scan_range,
                status=_STATUS[mark.status],
            )  # fmt: skip
        now = max(self.chain.timestamp, self.scenario.start + self.traffic.time)
        self.recorder.add(
            "steps", time=time, epoch=epoch, block=self.chain.block_number, state=_ORACLE[oracle.call.state()],
            oracle_age=now - timestamp, gas_price=self.traffic.base_fee + 2 * 10**9,
            base_fee=self.traffic.base_fee, insurance=book.accounts[INSURANCE].cash,
            shortfall=max(-book.accounts[SHORTFALL].cash, 0), healthy=self.counts["HEALTHY"],
            margin_call=self.counts["MARGIN_CALL"], liquidatable=self.counts["LIQUIDATABLE"],
            bankrupt=self.counts["BANKRUPT"], open_interest=interest,
        )  # fmt: skip
        self.progress(
            f"{time:>7} s  "
            + "  ".join(
                f"{self.scenario.names[u]} {self.price(u, time) / MICRO:,.4g}" for u in sorted(self.paths.prices)
            )
            + f"  below {self.counts['LIQUIDATABLE'] + self.counts['BANKRUPT']}"
            + f"  liquidations {len(self.recorder.rows('liquidations'))}"
        )

    # the end
    def result(self, engine: str, off: tuple[str, ...], began: float) -> RunResult:
        """Run it all and evaluate."""
        self.prepare()
        self.conduct = Conduct(self)
        self._true_states(0)
        self._record(0)
        for number in range(1, self.scenario.steps + 1):
            self.step(number)
        self._accounts(self.scenario.duration)
        self.floor.state.book.check()
        held = int(self.system.token.call.balanceOf(self.system.ledger.address))
        if held != self.floor.state.book.tokens_held:
            raise BallastError(f"the ledger holds {held} tokens, its books say {self.floor.state.book.tokens_held}")
        tables = self.recorder.tables()
        verdicts = evaluate(self.scenario.checks, tables)
        seconds = clock.monotonic() - began
        return RunResult(self.scenario, self.seed, engine, off, tables, verdicts, summary(tables), seconds)

    def _accounts(self, time: int) -> None:
        """Everybody at the end, and what they would have without liquidations."""
        leaves = self.true_leaves(time)
        table = self.floor.margins(leaves, self.policy.margin)
        value = {leaf.id: leaf.array[0] for leaf in leaves}
        for account in range(FIRST_ACCOUNT, self.floor.state.book.next_account):
            final = int(table.pv[table.place(account)])
            other = final
            if account in self._first:
                other = self._first[account] + self.conduct.shadow_cash.get(account, 0)
                positions = dict(self._initial[account])
                for instrument, lots in self.conduct.shadow.get(account, {}).items():
                    positions[instrument] = positions.get(instrument, 0) + lots
                other += sum(lots * value[key] for key, lots in positions.items())
            paid = self._deposited.get(account, 0), self._withdrawn.get(account, 0)
            self.recorder.add(
                "accounts", account=account, owner=self.roles.get(account, "heir"), deposited=paid[0],
                withdrawn=paid[1], final_equity=final, counterfactual_equity=other,
            )  # fmt: skip
