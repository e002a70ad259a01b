"""The loop: prices, sources, an epoch, what people do about it, what that does to prices; and all of it written down.

A slot is a step. At its start members look at the true price through their venues and the leader's header goes into the
pool; then blocks are made until the next slot, and at each block keepers and owners look at what the chain says.
Liquidators sell what they take, which moves the true price by the model of market depth.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from offchain.chain.anvil import start_anvil
from offchain.chain.artifacts import artifact
from offchain.chain.backends import Chain, Contract, Receipt, Reverted, dev_account
from offchain.chain.revm import RevmChain
from offchain.chain.system import INSURANCE, System
from offchain.config import BallastError
from offchain.instruments import Instrument, Kind
from offchain.keeper.state import MarketState
from offchain.oracle.headers import Mark
from offchain.oracle.keys import seats
from offchain.oracle.observations import Last
from offchain.risk.policy import Policy
from offchain.simulation.agents import Keeper, Owner, direction, draw
from offchain.simulation.checks import evaluate
from offchain.simulation.committee import Committee, Signed, Skipped
from offchain.simulation.conduct import Conduct
from offchain.simulation.faults import Faults
from offchain.simulation.floor import Floor
from offchain.simulation.guards import Switches, without
from offchain.simulation.measures import summary
from offchain.simulation.records import Recorder, RunResult
from offchain.simulation.scenario import Scenario
from offchain.simulation.traffic import Traffic
from offchain.simulation.truth import Truth
from offchain.simulation.watch import Watch
from offchain.units import DAY, MICRO

FIRST_KEY = 1_000
DECIMALS = 18
"""Of a collateral token."""
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
    early = scenario.start - DAY - scenario.cadence.timelock
    if chain is not None:
        moved = _ahead(scenario, chain.timestamp + DAY + scenario.cadence.timelock)
        lab = Laboratory(moved, seed, chain, switches, progress, True, scenario.start)
        return lab.result(engine, tuple(off), began)
    if engine == "revm":
        lab = Laboratory(scenario, seed, RevmChain(timestamp=early), switches, progress, False, scenario.start)
        return lab.result(engine, tuple(off), began)
    if engine != "anvil":
        raise BallastError(f"unknown engine {engine!r}: choose revm or anvil")
    with start_anvil(early) as started:
        lab = Laboratory(scenario, seed, started, switches, progress, True, scenario.start)
        return lab.result(engine, tuple(off), began)


def _ahead(scenario: Scenario, least: int) -> Scenario:
    """The scenario, begun no earlier than a time: a chain that is given may be ahead of it."""
    if scenario.start >= least:
        return scenario
    slot = scenario.cadence.slot
    return replace(scenario, start=-(-least // slot) * slot)


@dataclass
class Laboratory:
    """One run under way.

    Attributes
    ----------
    signed : whether members sign, and the committee's contract verifies. origin : see `truth.Truth`.
    owners, keepers, attackers : who takes part. roles : by account. policy : in force.
    """

    scenario: Scenario
    seed: int
    chain: Chain
    switches: Switches
    progress: Progress
    signed: bool
    origin: int
    recorder: Recorder = field(default_factory=Recorder)
    owners: dict[int, Owner] = field(default_factory=dict)
    keepers: list[Keeper] = field(default_factory=list)
    roles: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.faults = Faults(self.scenario.faults)
        self.rng = np.random.default_rng([self.seed, 1])
        self.policy: Policy = self.scenario.policy(self.switches.policy, self.switches.underlying)
        self.truth = Truth(self.scenario, self.seed, self.faults, self.origin)
        self.time = 0
        self.posted = 0
        self.first: dict[int, int] = {}
        self._causes: dict[int, int] = {}
        self.epoch_event = -1
        self.waiting_post: Signed | None = None
        self.attackers: dict[str, dict[str, int]] = {}
        self.deposited: dict[int, int] = {}
        self.withdrawn: dict[int, int] = {}

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
        self.tokens = {
            Instrument(spec.number, Kind.TOKEN).id: chain.deploy(
                artifact("mocks/FalseToken"), DECIMALS, sender=deployer
            )
            for spec in scenario.underlyings
            if spec.token
        }
        members = seats(scenario.members, self.seed.to_bytes(32, "big")) if self.signed else None
        self.instruments = self.truth.listing()
        self.listed = [each.id for each in self.instruments]
        self.system = System.deploy(
            chain, deployer, self.policy.encode(), members, scenario.cadence, feeds=rows,
            instruments=[each for each in self.listed if each not in self.tokens],
            tokens=[(each, token.address, DECIMALS) for each, token in self.tokens.items()],
            variants=self.switches.variants,
        )  # fmt: skip
        state = MarketState(self.system)
        state.sync()
        self.floor = Floor(self.system, state)
        self.committee = Committee(scenario, self.system, self.faults, self.seed, self.switches.off, members)
        self.traffic = Traffic(chain, scenario, self.faults, self.recorder, "replacement" not in self.switches.off)
        self._plan = self._policy_plan()
        self._ready = 0
        self._propose()
        self._fund()
        self._at(scenario.start)
        self._update_feeds(0)
        first = self.committee.round(
            self.committee.slot(scenario.start), self.truth.prices(0), state.book,
            self.policy, None, self.listed,
        )  # fmt: skip
        self._took(self._post(first), first)
        self._pledge()
        self._open_positions()
        self.first = {a: self.floor.cash(a) for a in self.owners}
        self.initial = {a: dict(state.book.accounts[a].positions) for a in self.owners}

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
        self.deposited[account] = amount
        self.withdrawn[account] = 0
        return account

    def _fund(self) -> None:
        treasurer = self.chain.accounts[0]
        insurance = round(self.scenario.insurance * MICRO)
        if insurance:
            self.floor.pay(INSURANCE, insurance, treasurer)
        rng = np.random.default_rng([self.seed, 3])
        for group in self.scenario.groups:
            for equity, usage, side, cures, wallet in draw(group, rng):
                account = self._account(group.name, equity - round(equity * group.pledged))
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

    def _pledge(self) -> None:
        """Owners who bring a part of what they have in tokens bring it, in whole lots at the mark."""
        for account, owner in self.owners.items():
            if owner.group.pledge:
                instrument = Instrument(owner.group.pledge, Kind.TOKEN).id
                each = max(self.floor.mark(instrument), 1)
                lots = round(owner.equity * owner.group.pledged) // each
                if lots:
                    key = self.floor.owners[account]
                    self.floor.pledge(account, instrument, self.tokens[instrument], lots, key)
                    self.deposited[account] += lots * each

    def _open_positions(self) -> None:
        """Every owner but the makers takes the position of its role, a maker on the other side."""
        makers = {
            number: [o for o in self.owners.values() if o.group.role == "maker" and o.group.underlying == number]
            for number in self.truth.numbers
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

    # policy
    def _policy_plan(self) -> list[tuple[int, Policy]]:
        """When which policy is to come into force, by mistake and back."""
        plan = []
        for fault in self.scenario.faults:
            if values := fault.policy():
                wrong = self.scenario.policy({**values, **self.switches.policy}, self.switches.underlying)
                plan += [(fault.start, wrong), (fault.end, self.policy)]
        return sorted(plan, key=lambda each: each[0])

    def _propose(self) -> None:
        """Begin the timelock of the next policy."""
        if self._plan:
            self.system.registry.send.propose_policy(self._plan[0][1].words, sender=self.chain.accounts[0])
            self._ready = self.chain.timestamp + self.scenario.cadence.timelock

    def _enact(self, time: int) -> None:
        """Put the proposed policy in force, if it is time and its timelock is over."""
        if self._plan and time >= self._plan[0][0] and self.scenario.start + time >= self._ready:
            _, self.policy = self._plan.pop(0)
            self.system.registry.send.enact_policy(self.policy.hash, sender=self.chain.accounts[0])
            self.recorder.event(time, "policy", f"policy {self.policy.hash.hex()[:8]} is in force")
            self._propose()

    # epochs
    def _update_feeds(self, time: int) -> None:
        for number, feed in self.feeds.items():
            said = self.faults.feed(time, number, self.truth.price(number, time))
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
            f"{self.scenario.names[u]} {signed.epoch.header.mark(u).index / MICRO:g}" for u in self.truth.numbers
        )
        self.epoch_event = self.recorder.event(self.time, "epoch", f"epoch {signed.epoch.header.epoch}: {text}")

    def _last(self) -> Last:
        epoch, timestamp, _, _ = self.system.oracle.call.clock()
        words = {u: self.system.oracle.call.mark(u) for u in self.truth.numbers}
        return Last(epoch, timestamp, {u: Mark.held(word) for u, word in words.items() if word})

    def _round(self, time: int) -> None:
        """The slot's epoch goes into the pool, or the slot is skipped."""
        true = self.truth.prices(time)
        slot = self.committee.slot(self.scenario.start + time)
        try:
            made = self.committee.round(slot, true, self.floor.state.book, self.policy, self._last(), self.listed)
        except Skipped as error:
            self.committee.learn({})
            self.recorder.event(time, "skipped", f"slot {slot.epoch}: {error}")
            return
        waiting = self.waiting_post is not None
        self.waiting_post = made
        if not waiting:
            self.traffic.send(
                "poster", "post", self._carry_post, self._posted_or_not, time=time + 1, cap=self.scenario.poster_fee
            )

    def _carry_post(self) -> Receipt:
        assert self.waiting_post is not None
        return self._post(self.waiting_post)

    def _posted_or_not(self, receipt: Receipt | None, reason: str) -> None:
        made, self.waiting_post = self.waiting_post, None
        if receipt is not None and made is not None:
            self._took(receipt, made)
        else:
            self.recorder.event(self.time, "not posted", reason)

    # a step
    def step(self, number: int) -> None:
        """One slot."""
        slot = self.scenario.cadence.slot
        start = number * slot
        self.time = start
        if not any(stall.start <= start < stall.end for stall in self.faults.stalls):
            self._at(self.scenario.start + start)
            self._enact(start)
            self._update_feeds(start)
            self._round(start)
            self.conduct.trade_some(start)
        self.watch.states(start)
        self.traffic.advance(start + slot, self._between)
        self.watch.record(start)

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

    # the end
    def result(self, engine: str, off: tuple[str, ...], began: float) -> RunResult:
        """Run it all and evaluate."""
        self.prepare()
        self.conduct, self.watch = Conduct(self), Watch(self)
        self.watch.states(0)
        self.watch.record(0)
        for number in range(1, self.scenario.steps + 1):
            self.step(number)
        self.watch.accounts(self.scenario.duration)
        self.floor.state.book.check()
        held = int(self.system.token.call.balanceOf(self.system.ledger.address))
        if held != self.floor.state.book.tokens_held:
            raise BallastError(f"the ledger holds {held} tokens, its books say {self.floor.state.book.tokens_held}")
        tables = self.recorder.tables()
        verdicts = evaluate(self.scenario.checks, tables)
        seconds = clock.monotonic() - began
        return RunResult(self.scenario, self.seed, engine, off, tables, verdicts, summary(tables), seconds)
