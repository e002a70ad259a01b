"""Room in blocks: who gets in, when, and for how much.

The base fee moves as EIP-1559 says. Everybody else on the chain is a demand curve: so much gas a block, at willingness
to pay that is lognormal around a price. Our transactions compete with it by what they pay a unit of gas, among
themselves in the order of their nonces, and can be replaced by a raised fee.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from offchain.config import BallastError
from offchain.units import ceil_div

GWEI = 10**9
ELASTICITY = 2
"""A block's limit is this multiple of its target (EIP-1559)."""
CHANGE_DENOMINATOR = 8
"""The base fee moves by at most this part of itself a block (EIP-1559)."""


@dataclass(frozen=True)
class BlockRules:
    """How a chain makes blocks.

    Attributes
    ----------
    block_time : seconds.
    gas_limit : of a block.
    least_base_fee : wei a gas; chains that are not Ethereum have a floor.
    bump : least raise of both fees of a replacement, 1e-4; 1250 satisfies every client's rule (geth asks for 1000).
    latency : seconds from sending until block builders know a transaction.

    Raises
    ------
    BallastError
        A number is out of range.
    """

    block_time: int = 12
    gas_limit: int = 30_000_000
    least_base_fee: int = 7
    bump: int = 1_250
    latency: int = 1

    def __post_init__(self) -> None:
        if self.block_time < 1:
            raise BallastError(f"block_time {self.block_time}: choose at least one second")
        if self.gas_limit < 21_000:
            raise BallastError(f"gas_limit {self.gas_limit}: a block holds at least one transfer of 21000 gas")
        if self.least_base_fee < 1 or self.bump < 0 or self.latency < 0:
            raise BallastError("least_base_fee is at least 1 wei, bump and latency are not negative")


@dataclass(frozen=True)
class Demand:
    """What everybody else wants of a block.

    Attributes
    ----------
    gas : wanted in a block at any price.
    price : wei a gas that half of it would pay.
    spread : standard deviation of the logarithm of what it would pay.
    """

    gas: int = 20_000_000
    price: int = 30 * GWEI
    spread: float = 0.8

    def __post_init__(self) -> None:
        if self.gas < 0 or self.price < 1 or not self.spread > 0:
            raise BallastError(f"demand of {self.gas} gas at {self.price} wei, spread {self.spread}: out of range")

    def above(self, price: int) -> int:
        """Gas of those who would pay more than `price` wei a gas; falls as the price rises."""
        if price <= 0:
            return self.gas
        return int(self.gas * 0.5 * math.erfc(math.log(price / self.price) / (self.spread * math.sqrt(2.0))))

    def scaled(self, gas: float = 1.0, price: float = 1.0) -> Demand:
        """A crowd: so many times the gas, at so many times the price."""
        return Demand(int(self.gas * gas), max(int(self.price * price), 1), self.spread)

    def resting_fee(self, gas_limit: int) -> int:
        """Base fee at which this demand fills blocks to their target, wei a gas; 1 if it never does."""
        target = gas_limit // ELASTICITY
        if self.above(1) <= target:
            return 1
        low, high = 1, 2
        while self.above(high) > target:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.above(middle) > target else (low, middle)
        return high


def next_base_fee(base_fee: int, gas_used: int, gas_limit: int, least: int = 1) -> int:
    """Base fee of the next block, wei a gas (EIP-1559, `calculate_expected_base_fee_per_gas`, to the last wei)."""
    target = gas_limit // ELASTICITY
    if gas_used == target:
        out = base_fee
    elif gas_used > target:
        out = base_fee + max(base_fee * (gas_used - target) // target // CHANGE_DENOMINATOR, 1)
    else:
        out = base_fee - base_fee * (target - gas_used) // target // CHANGE_DENOMINATOR
    return max(out, least)


@dataclass(frozen=True)
class Pending:
    """A transaction that waits.

    Attributes
    ----------
    id : unique.
    sender : who pays; its transactions keep the order of their nonces.
    nonce : of the sender.
    gas : limit.
    max_fee, max_tip : wei a gas, base fee included and not.
    sent : seconds.
    deadline : last second at which its sender still wants it, or None.
    delay : seconds until builders know it, on top of the chain's latency.
    """

    id: int
    sender: str
    nonce: int
    gas: int
    max_fee: int
    max_tip: int
    sent: int
    deadline: int | None = None
    delay: int = 0

    def tip(self, base_fee: int) -> int:
        """What the builder gets a gas; negative where it cannot pay the base fee."""
        return min(self.max_tip, self.max_fee - base_fee)

    def raised(self, rules: BlockRules, id: int, sent: int) -> Pending:
        """The same with the least fees that replace it."""
        return Pending(
            id, self.sender, self.nonce, self.gas, _bumped(self.max_fee, rules), _bumped(self.max_tip, rules), sent,
            self.deadline, self.delay,
        )  # fmt: skip


@dataclass(frozen=True)
class Inclusion:
    """A transaction in a block: `price` wei a gas, `fee` wei, `waited` seconds and `blocks` since it was sent."""

    transaction: Pending
    block: int
    time: int
    price: int
    gas_used: int
    fee: int
    waited: int
    blocks: int


@dataclass(frozen=True)
class Dropped:
    """A transaction that will never be in a block, and why: "expired" or "replaced"."""

    transaction: Pending
    time: int
    reason: str


@dataclass(frozen=True)
class Block:
    """A block.

    Attributes
    ----------
    outside : gas of everybody else in it.
    included : ours, in order of execution.
    dropped : ours whose deadline has passed.
    """

    number: int
    time: int
    base_fee: int
    gas_used: int
    outside: int
    included: tuple[Inclusion, ...]
    dropped: tuple[Dropped, ...]


def _bumped(fee: int, rules: BlockRules) -> int:
    return fee + max(ceil_div(fee * rules.bump, 10_000), 1)


@dataclass(frozen=True)
class Stall:
    """A sequencer that stops and then catches up: no blocks in ``[start, end)``, then `burst` of them at once.

    The blocks of the burst have the time `end`: what piled up is executed in a moment.
    """

    start: int
    end: int
    burst: int = 1

    def __post_init__(self) -> None:
        if not self.start < self.end or self.burst < 1:
            raise BallastError(f"stall from {self.start} to {self.end} s, burst {self.burst}: it ends after it starts")


def block_times(start: int, end: int, rules: BlockRules, stalls: Sequence[Stall] = ()) -> Iterator[int]:
    """Times of the blocks in ``(start, end]``: every `block_time`, none in a stall, a burst at its end."""
    ends = {stall.end: stall.burst for stall in stalls}
    marks = sorted(set(range(start + rules.block_time, end + 1, rules.block_time)) | set(ends))
    for time in marks:
        if start < time <= end and not any(stall.start <= time < stall.end for stall in stalls):
            yield from [time] * ends.get(time, 1)


@dataclass
class Blockspace:
    """A chain's pool of waiting transactions and its next block.

    Nothing is lost: what was admitted is included, dropped or waiting (`admitted = included + dropped + waiting`).

    Attributes
    ----------
    base_fee : wei a gas, of the next block.
    number : of the next block.
    """

    rules: BlockRules
    base_fee: int = 20 * GWEI
    number: int = 1
    admitted: int = 0
    included: int = 0
    dropped: int = 0
    _pool: dict[tuple[str, int], Pending] = field(default_factory=dict)
    _first: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    _next: dict[str, int] = field(default_factory=dict)

    @property
    def waiting(self) -> tuple[Pending, ...]:
        """Ours that wait, in the order in which they came."""
        return tuple(self._pool.values())

    def nonce(self, sender: str) -> int:
        """Least nonce of a sender that is neither included nor waiting: what expired leaves its nonce free."""
        free = self._next.get(sender, 0)
        while (sender, free) in self._pool:
            free += 1
        return free

    def submit(self, transaction: Pending) -> Dropped | None:
        """Put a transaction into the pool; one of the same sender and nonce is replaced if both fees are raised enough.

        Returns
        -------
        The transaction that it replaced, if it did.

        Raises
        ------
        BallastError
            It cannot be admitted: the nonce is used, the replacement pays too little, it needs more gas than a block
            has, or its tip is above its fee.
        """
        key = (transaction.sender, transaction.nonce)
        if transaction.nonce < self._next.get(transaction.sender, 0):
            raise BallastError(f"{transaction.sender}: nonce {transaction.nonce} is used")
        if not 0 <= transaction.max_tip <= transaction.max_fee:
            raise BallastError(f"{transaction.sender}: tip {transaction.max_tip} is above fee {transaction.max_fee}")
        if not 21_000 <= transaction.gas <= self.rules.gas_limit:
            raise BallastError(
                f"{transaction.sender}: {transaction.gas} gas does not fit {self.rules.gas_limit} of a block"
            )
        old = self._pool.get(key)
        replaced = None
        if old is not None:
            least = _bumped(old.max_fee, self.rules), _bumped(old.max_tip, self.rules)
            if transaction.max_fee < least[0] or transaction.max_tip < least[1]:
                raise BallastError(
                    f"{transaction.sender}: replacement underpriced, {transaction.max_fee} and {transaction.max_tip}: "
                    f"raise them to {least[0]} and {least[1]}"
                )
            del self._pool[key]
            self.dropped += 1
            replaced = Dropped(old, transaction.sent, "replaced")
        else:
            self._first[key] = (transaction.sent, self.number)
        self.admitted += 1
        self._pool[key] = transaction
        return replaced

    def _expire(self, time: int) -> list[Dropped]:
        """Drop what its sender wants no more."""
        out = []
        for key, transaction in list(self._pool.items()):
            if transaction.deadline is not None and time > transaction.deadline:
                del self._pool[key]
                del self._first[key]
                out.append(Dropped(transaction, time, "expired"))
        self.dropped += len(out)
        return out

    def build(
        self, time: int, execute: Callable[[Pending], int], demand: Demand | None = None, room: int | None = None
    ) -> Block:
        """Make the next block.

        Each transaction that is known, can pay the base fee, and is the first of its sender's that waits, gets in if
        everybody who pays more leaves room for its gas limit. Best tips go first.

        Parameters
        ----------
        time : of the block, seconds.
        execute : runs a transaction and says how much gas it used, at most its limit.
        demand : of everybody else.
        room : gas that the block has at most, for a builder that holds back; the limit otherwise.

        Raises
        ------
        BallastError
            A transaction is said to have used more gas than its limit, or none.
        """
        limit = self.rules.gas_limit if room is None else min(room, self.rules.gas_limit)
        base, demand = self.base_fee, demand or Demand(0)
        dropped = self._expire(time)
        queues: dict[str, list[Pending]] = {}
        for transaction in self._pool.values():
            queues.setdefault(transaction.sender, []).append(transaction)
        heap: list[tuple[int, int, int, str]] = []
        for sender, queue in queues.items():
            queue.sort(key=lambda t: -t.nonce)
            self._offer(heap, queue, sender, time)
        used = 0
        included: list[Inclusion] = []
        while heap:
            less, _, _, sender = heapq.heappop(heap)
            transaction = queues[sender].pop()
            price = base - less  # less is the tip, negative, so that the best comes first
            if used + min(demand.above(price), limit) + transaction.gas > limit:
                continue  # those who pay more fill the block; later ones of this sender wait behind it
            gas = execute(transaction)
            if not 0 < gas <= transaction.gas:
                raise BallastError(f"{transaction.sender}: used {gas} gas of {transaction.gas}")
            used += gas
            key = (sender, transaction.nonce)
            del self._pool[key]
            sent, number = self._first.pop(key)
            self._next[sender] = transaction.nonce + 1
            included.append(
                Inclusion(
                    transaction, self.number, time, price, gas, gas * price, time - sent, self.number - number + 1
                )
            )
            self._offer(heap, queues[sender], sender, time)
        self.included += len(included)
        outside = max(min(demand.above(base), limit - used), 0)
        block = Block(self.number, time, base, used + outside, outside, tuple(included), tuple(dropped))
        self.base_fee = next_base_fee(base, block.gas_used, self.rules.gas_limit, self.rules.least_base_fee)
        self.number += 1
        return block

    def _offer(self, heap: list[tuple[int, int, int, str]], queue: list[Pending], sender: str, time: int) -> None:
        """Put a sender's next transaction up, if it is next in nonce, known to builders and can pay."""
        if not queue:
            return
        first = queue[-1]
        known = first.sent + first.delay + self.rules.latency <= time
        if known and first.tip(self.base_fee) >= 0 and first.nonce == self._next.get(sender, 0):
            heapq.heappush(heap, (-first.tip(self.base_fee), first.sent, first.id, sender))


def fee_in_dollars(wei: int, ether_price: int) -> int:
    """A fee in micro-USD, rounded up, where one ether costs `ether_price` micro-USD."""
    return ceil_div(wei * ether_price, 10**18)
