"""The machine's memory, what it checks after every step, and the list of its moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from bench import Bench, Call, Disagreement
from market import Ground, Market
from twin.core import FIRST, INSURANCE, NOTHING, RESERVED, SHORTFALL, Account, Witness
from twin.oracle import funding_of, status_of

from offchain.chain.artifacts import Artifact
from offchain.chain.orders import Order
from offchain.oracle.headers import Header
from offchain.risk.portfolios import Content, Margin, State, state_of

Move = Callable[["World", Random], None]
MOVES: dict[str, tuple[int, Move]] = {}
STATES = ("LIVE", "STALE", "HALTED")
STATUSES = ("LIVE", "PROVISIONAL", "DISPUTED")
RANK = {State.HEALTHY: 0, State.MARGIN_CALL: 1, State.LIQUIDATABLE: 2, State.BANKRUPT: 3}


def move(weight: int) -> Callable[[Move], Move]:
    """Register a move; the weight says how often it is made."""

    def register(function: Move) -> Move:
        MOVES[function.__name__] = (weight, function)
        return function

    return register


class World:
    """A bench in play.

    Attributes
    ----------
    reasons : how often each refusal was met; the empty one is success. done : how often each method succeeded.
    transitions : how often an account in a state came to another, under a state of the oracle. orders : filled lately.
    """

    def __init__(self, variants: Mapping[str, Artifact] | None = None) -> None:
        self.bench = Bench(variants)
        self.reasons: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str, str]] = Counter()
        self.orders: list[Order] = []
        self.claims: dict[int, int] = {}
        self.paid: Counter[int] = Counter()
        self.headers: list[Header] = []
        self.exit_grounds: dict[int, Ground] = {}
        self.proposed: dict[tuple[int, int], Any] = {}
        self._seen: dict[int, State] = {}
        self._known: dict[int, tuple[Account, Ground, Margin | None]] = {}
        self._oracle = "LIVE"
        self._statuses: dict[int, str] = {}
        self._turn = 0

    # shorthands
    @property
    def market(self) -> Market:
        return self.bench.market

    @property
    def ground(self) -> Ground:
        return self.bench.market.ground

    def own(self) -> list[int]:
        """Owners' accounts."""
        return [n for n in self.bench.twin.accounts if n >= FIRST]

    def pick(self, rng: Random, want: Callable[[int], bool] | None = None) -> int | None:
        """Some account, one that is wanted if there is any."""
        own = self.own()
        wanted = [n for n in own if want(n)] if want else []
        return rng.choice(wanted or own) if own else None

    def content(self, account: int) -> Content | None:
        return self.ground.content(self.bench.twin, account)

    def margin(self, account: int) -> Margin | None:
        """Margin under the latest epoch that was posted, halted or not; None if a position has no leaf in it."""
        ground, body = self.ground, self.bench.twin.account(account)
        known = self._known.get(account)
        if known is None or known[0] is not body or known[1] is not ground:
            known = self._known[account] = (body, ground, ground.margin_of(self.bench.twin, account))
        return known[2]

    def state(self, account: int) -> State | None:
        margin, content = self.margin(account), self.content(account)
        return None if margin is None or content is None else state_of(margin, content.collateral)

    def posted_funding(self, underlying: int) -> int:
        return funding_of(self.bench.twin.marks.get(underlying, 0))

    def some_order(self, rng: Random) -> Order | None:
        return rng.choice(self.orders) if self.orders else None

    def is_current(self, account: int) -> bool:
        """Whether the account's leaf holds: its positions are those of the snapshot."""
        return self.ground.truth and self.ground.hashes.get(account) == self.bench.twin.account(account).hash

    def has_checkpoint(self, account: int) -> bool:
        """Whether its checkpoint is that of its content under the latest epoch."""
        twin = self.bench.twin
        if account not in twin.checkpoints or not twin.account(account).positions:
            return False
        content = self.content(account)
        if content is None:
            return False
        kept = twin.checkpoints[account]
        twin.store(account, content, twin.latest().epoch)
        same = twin.checkpoints[account] == kept
        twin.checkpoints[account] = kept
        return same

    def witness(self, account: int, rng: Random, honest: bool = False) -> Witness:
        """A witness that holds, of a kind by chance, made by a full check if there is none; rarely any that may not."""
        twin = self.bench.twin
        if not twin.account(account).positions or self.content(account) is None:
            return NOTHING
        if not honest and rng.random() < 0.1:
            return rng.choice((self.ground.by_content, self.ground.by_leaf))(twin, account)
        kinds = []
        if self.is_current(account):
            kinds.append(self.ground.by_leaf)
        if self.has_checkpoint(account):
            kinds.append(self.ground.by_content)
        if not kinds:
            if not twin.clock.halted:
                self.do(self.full(account))
            kinds.append(self.ground.by_content)
        return rng.choice(kinds)(twin, account)

    def full(self, account: int) -> Call:
        """An honest full check."""
        ids = sorted(i for i in self.bench.twin.account(account).positions if i in self.ground.leaves)
        legs = [self.ground.leg(i) for i in ids]
        proof, flags = self.ground.multiproof(ids) if ids else ([], [])
        return Call("check_full", (account, legs, proof, flags), self.bench.stranger)

    def filled_in(self, maker: Order, taker: Order, lots: int, rng: Random) -> list[Any]:
        """All arguments of a trade."""
        bench = self.bench
        return [
            maker,
            bench.sign(maker),
            taker,
            bench.sign(taker),
            lots,
            self.ground.leg(maker.instrument),
            self.ground.proof(maker.instrument),
            self.witness(maker.account, rng),
            self.witness(taker.account, rng),
        ]

    # doing
    def do(self, call: Call) -> str | None:
        """Attempt, count, and check everything."""
        twin = self.bench.twin
        before = dict(twin.accounts)
        state = {n: self.state(n) for n in before if n >= FIRST}
        worth = {n: self._worth(n) for n in before}
        reason = self.bench.attempt(call)
        self.reasons[reason or ""] += 1
        self.done[call.method] += reason is None
        if reason is not None:
            return reason
        touched = [n for n, a in twin.accounts.items() if before.get(n) is not a]
        self.bench.compare_accounts()
        self._sums(touched)
        if call.price:
            self._interval()
        if call.method in ("post", "reinstate", "halt"):
            self._posted(call)
        else:
            self._harmless(call, before, state, worth)
            for number in touched:
                self._margins(number)
        self._states(call.method in ("post", "reinstate"))
        return None

    def _worth(self, number: int) -> int | None:
        if number in RESERVED:
            return self.bench.twin.account(number).cash
        margin = self.margin(number)
        return None if margin is None else margin.pv

    def _sums(self, touched: list[int]) -> None:
        """Positions sum to nothing, the twin's and those that the contract states."""
        twin = self.bench.twin
        off, sums = twin.totals()
        if off or sums:
            raise Disagreement(f"cash is off by {off}, positions by {sums}")
        for number in touched:
            held = twin.account(number).positions
            if number >= FIRST and held:
                ids = sorted(held)
                found = self.bench.read("ledger", "quantities", number, ids)
                if list(found) != [held[i] for i in ids]:
                    raise Disagreement(f"account {number} holds {found} of {ids}, not {held}")
            if number >= FIRST and self.bench.read("ledger", "is_isolated", number) != twin.account(number).isolated:
                raise Disagreement(f"account {number} is not what it was opened as")

    def _posted(self, call: Call) -> None:
        """What the oracle says of the epoch that was just posted, and each margin by each witness."""
        twin, read = self.bench.twin, self.bench.read
        latest = twin.latest()
        found = read("oracle", "latest")
        wanted = (latest.epoch, latest.timestamp, latest.live, latest.accounts, latest.instruments, latest.margin.word)
        if (*found[:3], *found[4:]) != wanted:
            raise Disagreement(f"the oracle's latest is {found}, not {wanted}")
        for underlying, word in twin.marks.items():
            if (mark := read("oracle", "mark", underlying)) != word:
                raise Disagreement(f"mark of {underlying} is {mark:#x}, not {word:#x}")
        if (until := read("oracle", "grace_until")) != twin.grace_until:
            raise Disagreement(f"grace ends at {until}, not {twin.grace_until}")
        if call.method == "post":
            for underlying in twin.marks:
                found = read("ledger", "open_interest", underlying)
                if found != twin.markets.get(underlying, 0):
                    raise Disagreement(f"open interest of {underlying} is {found}")
            own = self.own()
            for _ in range(min(3, len(own))):
                self._turn += 1
                self._margins(own[self._turn % len(own)])

    def _margins(self, number: int) -> None:
        """Leaf, checkpoint and full check give the twin's margin, to the integer; and the rule's own invariants."""
        twin, bench = self.bench.twin, self.bench
        if number < FIRST or twin.clock.halted:
            return
        margin, content = self.margin(number), self.content(number)
        if margin is None or content is None:
            return
        if margin.risk < 0 or margin.im_excess > margin.mm_excess or (margin.pv < 0 <= margin.mm_excess):
            raise Disagreement(f"account {number}: {margin}")
        if not content.count:
            ways = {"nothing": bench.margin_by("check", number, NOTHING)}
        else:
            ways = {"full": bench.margin_by("full", *self.full(number).args)}
            if self.is_current(number):
                ways["leaf"] = bench.margin_by("check", number, self.ground.by_leaf(twin, number))
            if self.has_checkpoint(number):
                ways["checkpoint"] = bench.margin_by("check", number, self.ground.by_content(twin, number))
        for way, found in ways.items():
            if found != margin:
                raise Disagreement(f"account {number} by {way} has {found}, not {margin}")

    def _harmless(
        self,
        call: Call,
        before: Mapping[int, Account],
        state: Mapping[int, State | None],
        worth: Mapping[int, int | None],
    ) -> None:
        """Nobody but the parties is worth less, no state got worse, and insurance paid what it already owed."""
        for number in before:
            old, new = worth[number], self._worth(number)
            if old is None or new is None:
                continue
            if number not in call.parties and new < old:
                raise Disagreement(f"{call.method}: account {number} was worth {old}, now {new}")
            was, now = state.get(number), self.state(number) if number >= FIRST else None
            moved = call.method in ("settle", "fallback_liquidate", "withdraw_unpledged")
            if was is not None and now is not None and not moved and RANK[now] > RANK[was]:
                raise Disagreement(f"{call.method}: account {number} was {was}, now {now}")
        self._insured(call, before)

    def _insured(self, call: Call, before: Mapping[int, Account]) -> None:
        """At constant prices nobody draws more from insurance than its accounts were owed when the prices came."""
        twin = self.bench.twin
        paid = sum(before[n].cash - twin.account(n).cash for n in (INSURANCE, SHORTFALL))
        if call.method in ("settle", "fallback_liquidate"):
            self._interval()
        elif call.method in ("take_over", "absorb", "liquidate"):
            account = call.args[0] if isinstance(call.args[0], int) else call.args[0].account
            self.paid[account] += paid
            if self.paid[account] > self.claims.get(account, 0):
                raise Disagreement(
                    f"{call.method}: insurance paid {self.paid[account]} for account {account}, which was owed "
                    f"{self.claims.get(account, 0)} when these prices came"
                )
        elif paid > 0 and call.method != "repay_shortfall":
            raise Disagreement(f"{call.method}: insurance paid {paid}")

    def _interval(self) -> None:
        """Prices moved: from now on insurance owes what the accounts lack, and the incentive to take them."""
        self.paid.clear()
        self.claims = {}
        for number in self.own():
            margin = self.margin(number)
            if margin is not None and margin.mm_excess < 0:
                incentive = margin.requirement // 10
                self.claims[number] = max(-margin.pv, 0) + max(incentive - max(margin.pv, 0), 0)

    def use(self, header: Header) -> None:
        """An epoch before is the ground again."""
        for ground in self.market.grounds:
            if ground.epoch == header.epoch:
                self.market.grounds.remove(ground)
                self.market.grounds.append(ground)
                return

    def tick(self) -> None:
        """Time went by: the oracle may be in another state."""
        self.bench.twin.now = self.bench.now
        self._states()

    def _states(self, posted: bool = False) -> None:
        """Count the transitions of accounts under the oracle's state, and those of the oracle."""
        oracle = STATES[self.bench.twin.oracle_state - 1]
        self.transitions["oracle", self._oracle, oracle] += 1
        self._oracle = oracle
        for underlying, word in self.bench.twin.marks.items():
            status = STATUSES[status_of(word) - 1]
            if posted:
                self.transitions["status", self._statuses.get(underlying, status), status] += 1
            self._statuses[underlying] = status
        for number in self.own():
            now = self.state(number)
            if now is not None:
                self.transitions[oracle, self._seen.get(number, now).value, now.value] += 1
                self._seen[number] = now
