"""A committee for round tests: four members, a chain in process, a ledger that moves on demand, markets on strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from eth_abi import decode

from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO, Chain, Contract
from offchain.chain.revm import RevmChain
from offchain.chain.system import POLICY_TYPE, System
from offchain.instruments import Instrument, Kind
from offchain.market.snapshots import MarketError
from offchain.oracle.committee import Member, Proposal
from offchain.oracle.keys import Seat
from offchain.oracle.node import Node, Outcome, local_nodes, run_slot
from offchain.oracle.observations import Observation, Quote, Slot
from offchain.oracle.reader import CommitteeSet, State
from offchain.oracle.signatures import SecretKey
from offchain.risk.policy import default_policy
from offchain.units import HOUR, MICRO

BTC, ETH = 1, 2
START = 1_700_000_000 // HOUR * HOUR
EXPIRY = START + 30 * 86_400
PERP_BTC, PERP_ETH = Instrument(BTC, Kind.PERPETUAL).id, Instrument(ETH, Kind.PERPETUAL).id
FUTURE = Instrument(BTC, Kind.FUTURE, EXPIRY).id
CALL = Instrument(BTC, Kind.CALL, EXPIRY, 10_000 * MICRO).id
PUT = Instrument(ETH, Kind.PUT, EXPIRY, 200 * MICRO).id
LISTED = sorted([PERP_BTC, PERP_ETH, FUTURE, CALL, PUT])
PRICE = {BTC: 10_000 * MICRO, ETH: 200 * MICRO}
MEMBERS, QUORUM = 4, 3


@cache
def secrets() -> tuple[SecretKey, ...]:
    return tuple(SecretKey.generate(bytes([number + 1]) * 32) for number in range(MEMBERS))


@cache
def committee() -> CommitteeSet:
    return CommitteeSet(1, tuple(secret.public_key for secret in secrets()), QUORUM)


def market(instruments: Sequence[int] = LISTED, factor: int = MICRO, **changes: int) -> Observation:
    """A market at `PRICE` times `factor` (1e-6); `changes` to every quote."""
    index = {u: price * factor // MICRO for u, price in PRICE.items()}
    quotes = {u: replace(Quote(index[u], 0, 160_000), **changes) for u in PRICE}
    pairs = {}
    for each in map(Instrument.from_id, instruments):
        pairs[each.id] = (index[each.underlying], 800_000 if each.kind.is_option else 0)
    return Observation(quotes, pairs)


@dataclass
class Puppet:
    """A member's market.

    `factor` moves its prices (1e-6), `error` silences it, `changes` go into its quotes, `hidden` have none, `settled`
    are the settlement prices that it knows.
    """

    factor: int = MICRO
    error: str = ""
    changes: dict[str, int] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    settled: dict[tuple[int, int], int] = field(default_factory=dict)
    asked: int = 0

    def observe(self, slot: Slot, state: State, instruments: Sequence[int]) -> Observation:
        self.asked += 1
        if self.error:
            raise MarketError(self.error)
        found = market([key for key in instruments if key not in self.hidden], self.factor, **self.changes)
        return replace(found, settlements=self.settled)


@dataclass
class Council:
    """The committee with its system. `engine` moves cash and positions without rules."""

    system: System
    engine: Contract
    nodes: dict[int, Node]
    sources: list[Puppet]
    folder: Path
    accounts: list[int]
    time: int

    @classmethod
    def seat(cls, folder: Path, chain: Chain | None = None) -> Council:
        """Deploy, list, seat, fund two accounts, trade once. On a chain that is given, signatures are verified."""
        real = chain is not None
        chain = chain or RevmChain(timestamp=START)
        key = chain.accounts[0]
        began = chain.block_number
        token = chain.deploy(artifact("mocks/SettlementToken"), sender=key)
        values = decode([POLICY_TYPE], default_policy().encode())[0]
        registry = chain.deploy(artifact("Registry"), 86_400, values, ZERO, [], [], sender=key)
        terms = (registry, token, 0, 7 * 86_400) if real else ()
        board = chain.deploy(artifact("Committee" if real else "mocks/AnySignature"), *terms, sender=key)
        if real:
            for each in [Seat(chain.accounts[i].address, secret) for i, secret in enumerate(secrets())]:
                proof = each.possession(chain.chain_id, board.address)
                board.send.enrol(each.address, each.key, proof, sender=key)
            board.send.seat(sender=key)
        times = (HOUR, 2 * HOUR, HOUR // 2, 4 * HOUR, 7 * 24 * HOUR)
        oracle = chain.deploy(artifact("RiskOracle"), board, registry, *times, sender=key)
        ledger = chain.deploy(artifact("Ledger"), token, sender=key)
        engine = chain.deploy(artifact("mocks/LedgerEngine"), sender=key)
        engine.send.bind(ledger.address, sender=key)
        ledger.send.set_engines([engine.address], sender=key)
        registry.send.list_instruments(LISTED, sender=key)
        system = System(chain, token, registry, board, oracle, ledger, *[engine] * 7, began + 1)
        sources = [Puppet() for _ in range(MEMBERS)]
        council = cls(system, engine, {}, sources, folder, [], START + HOUR)
        council.accounts = [council.fund(), council.fund()]
        council.move(*council.accounts, PERP_BTC, 50)
        council.nodes = council.wake()
        return council

    def wake(self) -> dict[int, Node]:
        """Nodes on the databases of before: what is left of a member after a restart."""
        seated = None if self.system.committee.artifact.name == "Committee" else committee()
        return local_nodes(
            self.system,
            secrets(),
            self.sources,
            self.system.chain.accounts[1],
            self.folder,
            lambda: self.time,
            committee=seated,
        )

    # the ledger
    def fund(self, amount: int = 1000 * MICRO) -> int:
        key = self.system.chain.accounts[0]
        account = self.system.open_account(key)
        self.system.token.send.mint(key.address, amount, sender=key)
        self.system.token.send.approve(self.system.ledger.address, amount, sender=key)
        self.engine.send.deposit(account, key.address, amount, sender=key)
        return account

    def move(self, giver: int, taker: int, instrument: int, lots: int, cash: int = 0) -> None:
        self.engine.send.move_position(
            giver, taker, instrument, lots, cash, self.time // HOUR, sender=self.system.chain.accounts[0]
        )

    # rounds
    def slot(self) -> Slot:
        """The slot of now."""
        self.tick()
        return self.nodes[0]._slot(self.time)

    def tick(self) -> None:
        """Bring the chain to the council's time."""
        if self.system.chain.timestamp < self.time:
            self.system.chain.set_next_timestamp(self.time)
            self.system.chain.mine()

    def run(self) -> Outcome:
        """One slot, then an hour passes."""
        self.tick()
        outcome = run_slot(self.nodes, self.time)
        self.time += HOUR
        return outcome

    @property
    def leader(self) -> Node:
        return self.nodes[self.time // HOUR % MEMBERS]

    def member(self, number: int) -> Member:
        return self.nodes[number].member

    def propose(self, slot: Slot) -> Proposal:
        """What an honest leader of the slot proposes, all members having observed."""
        observed = self.leader._collect(slot)
        epoch = self.leader._build(slot, observed)
        return Proposal(slot.epoch % MEMBERS, epoch.header, epoch.bundle)
