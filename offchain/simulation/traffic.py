"""Transactions of a run on their way into blocks: sent, stuck, raised, included, reverted, dropped; each of them
recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from offchain.chain.backends import Chain, Receipt, Reverted
from offchain.config import BallastError
from offchain.simulation.agents import GAS
from offchain.simulation.blockspace import GWEI, Blockspace, Demand, Dropped, Pending, block_times, fee_in_dollars
from offchain.simulation.faults import Faults
from offchain.simulation.records import Recorder
from offchain.simulation.scenario import Scenario
from offchain.units import MICRO

REVERTED_GAS = 90_000
"""Gas of a transaction that reverts: the in-process chain does not say."""
PATIENCE = 3
"""Blocks after which a stuck transaction is raised."""


@dataclass
class Job:
    """A transaction on its way.

    Attributes
    ----------
    sender : role. action : key of `agents.GAS`. carry : sends it to the chain, at the moment of its inclusion.
    done : told the receipt, or None and why not. cap : gwei a gas that it is raised to at most; 0 never.
    """

    sender: str
    action: str
    carry: Callable[[], Receipt]
    done: Callable[[Receipt | None, str], None]
    cap: float
    pending: Pending
    block: int


@dataclass
class Traffic:
    """Attributes
    ----------
    space : the pool and its blocks. time : of the last block, seconds from the start.
    """

    chain: Chain
    scenario: Scenario
    faults: Faults
    recorder: Recorder
    can_raise: bool
    space: Blockspace = field(init=False)
    time: int = 0
    _jobs: dict[int, Job] = field(default_factory=dict)
    _by_nonce: dict[tuple[str, int], Job] = field(default_factory=dict)
    _last: int = 0

    def __post_init__(self) -> None:
        self.space = Blockspace(self.scenario.rules, self.scenario.base_fee)
        self.native = round(self.scenario.native * MICRO)

    @property
    def base_fee(self) -> int:
        """Wei a gas, of the next block."""
        return self.space.base_fee

    def send(
        self,
        sender: str,
        action: str,
        carry: Callable[[], Receipt],
        done: Callable[[Receipt | None, str], None],
        *,
        time: int,
        tip: float = 2.0,
        cap: float = 5_000.0,
        raises: bool = True,
        life: int | None = None,
    ) -> None:
        """Put a transaction into the pool. `time` it is sent at, `tip` and `cap` in gwei, `life` seconds until it is
        given up.
        """
        self._last += 1
        most = round(cap * GWEI)
        own = min(round(tip * GWEI), most)
        max_fee = min(2 * self.space.base_fee + own, most)
        limit = min(GAS[action], self.scenario.rules.gas_limit)
        deadline = None if life is None else time + life
        pending = Pending(
            self._last, sender, self.space.nonce(sender), limit, max_fee, min(own, max_fee), time, deadline
        )
        self.space.submit(pending)
        job = Job(sender, action, carry, done, cap if raises and self.can_raise else 0.0, pending, self.space.number)
        self._jobs[pending.id] = job
        self._by_nonce[sender, pending.nonce] = job

    def waits(self, sender: str) -> int:
        """How many of a sender's transactions wait."""
        return sum(job.sender == sender for job in self._jobs.values())

    def advance(self, until: int, between: Callable[[int], None]) -> None:
        """Make blocks up to a time; `between` is told the time before each."""
        for when in block_times(self.time, until, self.scenario.rules, self.faults.stalls):
            between(when)
            self._raise(when)
            block = self.space.build(when, lambda p, t=when: self._carry(p, t), self._demand(when))  # type: ignore[misc]
            for each in block.included:
                self._included.pop(each.transaction.id)(fee_in_dollars(each.fee, self.native), each.block)
            for gone in block.dropped:
                self._dropped(gone)
        self.time = until

    def _demand(self, time: int) -> Demand:
        return self.faults.demand(time, self.scenario.demand)

    _included: dict[int, Callable[[int, int], None]] = field(default_factory=dict)

    def _carry(self, pending: Pending, time: int) -> int:
        job = self._jobs.pop(pending.id)
        self._by_nonce.pop((pending.sender, pending.nonce), None)
        moment = max(self.scenario.start + time, self.chain.timestamp + 1)
        self.chain.set_next_timestamp(moment)
        receipt, reason, gas = None, "", REVERTED_GAS
        try:
            receipt = job.carry()
            gas = receipt.gas_used
        except Reverted as error:
            reason = error.reason or "without a reason"

        def record(fee: int, block: int) -> None:
            self.recorder.add(
                "transactions", time=time, block=block, sender=job.sender, action=job.action,
                ok=int(receipt is not None), reason=reason, gas=gas, fee_paid=fee,
            )  # fmt: skip

        self._included[pending.id] = record
        job.done(receipt, reason)
        return min(max(gas, 21_000), pending.gas)

    def _raise(self, time: int) -> None:
        """Raise what has been stuck, the first of each sender's."""
        for job in sorted(self._jobs.values(), key=lambda j: j.pending.id):
            if not job.cap or self.space.number - job.block < PATIENCE or job.pending.sent >= time:
                continue
            raised = job.pending.raised(self.scenario.rules, self._last + 1, time - 1)
            if raised.max_fee > job.cap * GWEI:
                continue
            self._last += 1
            try:
                self.space.submit(raised)
            except BallastError:
                continue
            del self._jobs[job.pending.id]
            job.pending, job.block = raised, self.space.number
            self._jobs[raised.id] = job

    def _dropped(self, gone: Dropped) -> None:
        job = self._jobs.pop(gone.transaction.id, None)
        if job is None:
            return
        self._by_nonce.pop((job.sender, gone.transaction.nonce), None)
        self.recorder.add(
            "transactions", time=gone.time, block=-1, sender=job.sender, action=job.action, ok=0, reason=gone.reason,
            gas=0, fee_paid=0,
        )  # fmt: skip
        job.done(None, gone.reason)
