"""Every action between epochs, judged again: trades, withdrawals, margin calls, liquidations.

The contracts' events are walked in chain order. Ledger moves wait until the engine that made them says what it did:
the books are then as they were before it, and the moves must be exactly those that the rules give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from offchain.audit.aftermath import Aftermath, Exit, Expiry
from offchain.audit.epochs import Epoch
from offchain.audit.ground import Findings, Ground
from offchain.audit.observed import Last
from offchain.audit.recompute import DISPUTED, LIVE, OPEN, Margin, Mark, margin_of
from offchain.audit.record import Record
from offchain.audit.replay import PENALTY, REWARD, SHARED, SHORTFALL, TRADE_FEE, Books
from offchain.chain.backends import Event
from offchain.risk.policy import Policy

ONE = 10_000
INSURANCE, FIRST_ACCOUNT = 1, 256
PERPETUAL, LAST_DERIVATIVE = 1, 4
CURE = 3600
"""Oracle-live seconds from a margin call until tokens can be taken for dollars owed."""
FIRST_GAS, LEG_GAS, TIP = 260_000, 30_000, 2 * 10**9
"""Gas of a liquidation of one leg and of each further one; the tip, wei (contracts/lib/reward.vy)."""
Move = tuple[str, dict[str, Any]]


def _fall(before: Margin, after: Margin, phi: int) -> int:
    """Penalty: `min(floor(phi * fall), max(PV, 0))`, nothing where the requirement does not fall."""
    return min(max(before.requirement - after.requirement, 0) * phi // ONE, max(before.pv, 0))


def _owed(margin: Margin, paid: int = 0) -> int:
    """What insurance would at most pay in at takeover, once an account has paid something: contracts/lib/claim.vy."""
    return max(margin.requirement // 10 - margin.pv + paid, 0)


def _part(penalty: int, split: int, before: Margin, bare: Margin) -> int:
    """The liquidator's part of a penalty: its share, but first insurance gets the rise of what it would have to pay."""
    rise = _owed(bare, penalty) - _owed(before)
    return max(min(penalty * split // ONE, penalty - max(rise, 0)), 0)


def _shrinks(before: int, change: int) -> bool:
    """Whether a change makes a position smaller without turning it."""
    return before * change < 0 and abs(change) <= abs(before)


@dataclass
class Market(Aftermath):
    """The state of everything, event by event.

    Attributes
    ----------
    epoch : the one in force; None before the first, or where it could not be computed again.
    number, time : of the latest epoch. stood : number, time and epoch of the one before and of the latest.
    marks : the latest of each underlying, with the statuses that hold.
    policies : hashes of the policy in force and of the one before.
    live : oracle-live clock, seconds. calls : its reading at the margin call, by account.
    liquidations : those of which every figure was found the same.
    """

    record: Record
    ground: Ground
    findings: Findings
    books: Books = field(default_factory=Books)
    epoch: Epoch | None = None
    number: int = 0
    time: int = 0
    live: int = 0
    marks: dict[int, Mark] = field(default_factory=dict)
    policy: Policy | None = None
    policies: tuple[bytes, ...] = (bytes(32),)
    calls: dict[int, int] = field(default_factory=dict)
    auctions: dict[int, tuple[int, int]] = field(default_factory=dict)
    proposed: dict[Expiry, tuple[int, int]] = field(default_factory=dict)
    final: dict[Expiry, int] = field(default_factory=dict)
    recorded: dict[Expiry, int] = field(default_factory=dict)
    exits: dict[int, Exit] = field(default_factory=dict)
    fixed: dict[int, int] = field(default_factory=dict)
    units: dict[int, int] = field(default_factory=dict)
    liquidations: int = 0
    stood: list[tuple[int, int, Epoch | None]] = field(default_factory=list)
    _pending: list[Event] = field(default_factory=list)

    def follow(self, event: Event) -> None:
        """Follow one event; `EpochPosted` is for `enter_epoch`."""
        if self._pending and event.tx_hash != self._pending[0].tx_hash:
            self.settle()
        if event.name in ("PositionMoved", "CashMoved"):
            self._pending.append(event)
            return
        judge = getattr(self, f"_{event.name}", None)
        if judge is not None:
            judge(event, f"block {event.block_number}, {event.name}")
        else:
            self.books.apply(event)

    def settle(self) -> None:
        """End of a transaction: no move may be left that no engine accounts for."""
        for event in self._pending:
            self.findings.add("ledger", f"block {event.block_number}, log {event.log_index}", "no move", event.name)
        self._take()

    def _take(self) -> list[Move]:
        """Put the waiting moves into the books."""
        moves = [(event.name, event.args) for event in self._pending]
        for event in self._pending:
            self.books.apply(event)
        self._pending = []
        return moves

    def enter_epoch(self, number: int, timestamp: int, epoch: Epoch | None) -> None:
        """A new epoch is in force. The ledger's sums are judged here."""
        self.settle()
        where = f"epoch {number}"
        self.findings.same(
            "ledger", f"{where}, sum of cash", self.books.tokens_held, sum(self.books.cash.values()), number
        )
        for instrument, lots in sorted(self.books.net().items()):
            self.findings.same("ledger", f"{where}, sum of positions in {instrument:#x}", 0, lots, number)
        if self.stood:
            self.live += min(max(timestamp - self.time, 0), self.record.max_age)
        self.epoch, self.number, self.time = epoch, number, timestamp
        self.stood = [*self.stood[-1:], (number, timestamp, epoch)]

    def _Halted(self, event: Event, where: str) -> None:
        """The latest epoch is revoked. The one before is the last again, and proves nothing until it is reinstated."""
        self.findings.same("header", f"{where}, epoch", self.number, event.args["epoch"])
        self.stood = self.stood[-2:-1] or [(0, 0, None)]
        self.number, self.time, _ = self.stood[0]
        self.epoch = None

    def _Reinstated(self, event: Event, where: str) -> None:
        """The epoch before the revoked one is the ground of fallback and exits, its underlyings disputed."""
        self.findings.same("header", f"{where}, epoch", self.number, event.args["epoch"])
        epoch = self.stood[-1][2]
        if epoch is not None:
            self.findings.same("header", f"{where}, hash", epoch.header.hash, event.args["header_hash"])
            marks = {number: replace(mark, status=DISPUTED) for number, mark in epoch.marks.items()}
            self.marks |= marks
            self.epoch = replace(epoch, marks=marks)

    @property
    def last(self) -> Last | None:
        """What the next epoch follows; None before the first."""
        return Last(self.number, self.time, dict(self.marks)) if self.number else None

    # judging
    def _margin(self, account: int, cash: int = 0, without: tuple[int, int] = (0, 0)) -> Margin:
        """Margin now, with `cash` more and `without` (instrument, lots) taken away."""
        assert self.epoch is not None
        positions = dict(self.books.positions[account])
        instrument, lots = without
        positions[instrument] = positions.get(instrument, 0) - lots
        positions = {key: held for key, held in positions.items() if held}
        return margin_of(self.books.cash[account] + cash, positions, self.epoch.priced, self.epoch.policy)

    def _collateral(self, account: int) -> int:
        """Value of an account's collateral tokens at the mark, micro-USD."""
        assert self.epoch is not None
        held = self.books.positions[account].items()
        return sum(lots * self.epoch.priced[key].values[0] for key, lots in held if key & 255 > LAST_DERIVATIVE)

    def _healthy(self, account: int) -> bool:
        """Whether IM excess and quote equity are not negative."""
        found = self._margin(account)
        return found.im_excess >= 0 and found.pv >= self._collateral(account)

    def _ready(self, where: str, stated: int) -> bool:
        """Whether there is an epoch to judge by, and the event names it."""
        if self.epoch is None:
            self.findings.add("ledger", where, "an epoch in force that can be computed again", "none")
            return False
        return self.findings.same("ledger", f"{where}, epoch", self.number, stated)

    def _all_live(self, account: int) -> bool:
        assert self.epoch is not None
        return all(self.epoch.marks[key >> 88].status == LIVE for key in self.books.positions[account])

    def _PolicyEnacted(self, event: Event, where: str) -> None:
        self.policies = (event.args["policy_hash"], self.policies[0])
        self.policy = self.ground.policies.get(self.policies[0])

    def _Withdrawal(self, event: Event, where: str) -> None:
        account = event.args["account"]
        where = f"{where} of account {account}"
        positions = self.books.positions[account]
        traded = self.books.traded.get(account, 0)
        held, short = self.books.tokens_held, self.books.short
        moves = self._take()
        asked = event.args["amount"] + sum(args["amount"] for _, args in moves)
        part = [_cash(account, SHORTFALL, asked - asked * held // (held + short), SHARED)] if short else []
        self.findings.same("withdrawal", f"{where}, its part of what nobody can pay", part, moves)
        self.books.apply(event)
        if not positions:
            if self.books.cash[account] < 0:
                self.findings.add("withdrawal", f"{where}, cash", "0 or more", self.books.cash[account])
        elif self._ready(where, self.number):
            if traded >= self.number:
                self.findings.add("withdrawal", where, f"an epoch after {traded}, its last trade", self.number)
            if not self._all_live(account):
                self.findings.add("withdrawal", where, "all its underlyings live", "one that is not")
            after = self._margin(account)
            if after.im_excess < 0:
                self.findings.add("withdrawal", f"{where}, IM excess", "0 or more", after.im_excess)
            quote = after.pv - self._collateral(account)
            if quote < 0:
                self.findings.add("withdrawal", f"{where}, quote equity", "0 or more", quote)

    def _Filled(self, event: Event, where: str) -> None:
        args = event.args
        maker, taker, instrument, lots = args["maker"], args["taker"], args["instrument"], args["lots"]
        epoch, policy = self.epoch, self.policy
        stated = {e.args["epoch"] for e in self._pending if e.name == "PositionMoved"}
        if not self._ready(where, min(stated, default=0)) or epoch is None or policy is None:
            self._take()
            return
        was = self._margin(maker), self._margin(taker)
        mark = epoch.marks[instrument >> 88]
        made = epoch.priced[instrument]
        lots_per_unit = policy.underlying(instrument >> 88).lots_per_unit
        funding = mark.funding if instrument & 255 == PERPETUAL else 0
        fee = -(-epoch.policy.margin.trade_fee * mark.index * lots // (ONE * lots_per_unit))
        giver, receiver = (taker, maker) if args["maker_buys"] else (maker, taker)
        moves = [_position(giver, receiver, instrument, lots, lots * (args["price"] - funding), self.number)]
        if fee:
            moves += [_cash(giver, INSURANCE, fee, TRADE_FEE), _cash(receiver, INSURANCE, fee, TRADE_FEE)]
        if instrument & 255 > LAST_DERIVATIVE or instrument not in self.ground.listed:
            self.findings.add("trade", where, "a listed derivative", hex(instrument))
        shrinks = {
            giver: _shrinks(self.books.positions[giver].get(instrument, 0), -lots),
            receiver: _shrinks(self.books.positions[receiver].get(instrument, 0), lots),
        }
        traded = {account: self.books.traded.get(account, 0) for account in shrinks}
        if not all(shrinks.values()) and (made.meta & 255 != OPEN or mark.status != LIVE):
            self.findings.add("trade", where, "positions that shrink: it is close-only", lots)
        worth, band = made.values[0] + funding, epoch.policy.margin.price_band * mark.index
        if 2 * ONE * lots_per_unit * abs(args["price"] - worth) > 2 * band + ONE * lots_per_unit * abs(worth):
            self.findings.add("trade", f"{where}, price", f"within the band around {worth}", args["price"])
        self.findings.same("trade", f"{where}, fee", fee, args["fee"])
        self.findings.same("trade", f"{where}, moves", moves, self._take())
        for account, before in zip((maker, taker), was, strict=True):
            after, collateral = self._margin(account), self._collateral(account)
            if before.im_excess >= 0 and before.pv >= collateral:
                if after.im_excess < 0 or after.pv < collateral:
                    self.findings.add("trade", f"{where}, account {account}", "a healthy account", after.fields)
                continue
            if after.mm_excess <= before.mm_excess or after.im_excess < before.im_excess:
                self.findings.add("trade", f"{where}, account {account}", "a better margin", after.fields)
            if _owed(after) > _owed(before):
                self.findings.add("trade", f"{where}, account {account}", "no more owed by insurance", after.fields)
            if traded[account] >= self.number:
                self.findings.add("trade", f"{where}, account {account}", "its first trade of the epoch", self.number)
        self._judge_limits(policy, instrument >> 88, shrinks, where)

    def _judge_limits(self, policy: Policy, underlying: int, shrinks: Mapping[int, bool], where: str) -> None:
        """After a trade: what opened is within the limits of the account and of the underlying."""
        terms = policy.underlying(underlying)
        most = terms.depth * policy.shocks.position // 1_000_000
        for account in (account for account, less in shrinks.items() if not less):
            held = sum(map(abs, self.books.positions[account].values()))
            if held > most:
                self.findings.add("trade", f"{where}, account {account}, lots", f"at most {most}", held)
        if not any(shrinks.values()):
            longs = sum(lots for key, lots in self.books.longs.items() if key >> 88 == underlying)
            if longs > terms.depth * terms.open_interest // 100:
                self.findings.add("trade", f"{where}, open interest", "within the limit", longs)

    def _FullyChecked(self, event: Event, where: str) -> None:
        account = event.args["account"]
        if self._ready(where, event.args["epoch"]):
            margin = self._margin(account).fields
            self.findings.same("margin", f"{where} of account {account}", margin, tuple(event.args["margin"]))

    def _MarginCalled(self, event: Event, where: str) -> None:
        account = event.args["account"]
        where = f"{where} of account {account}"
        if self._ready(where, event.args["epoch"]):
            self.findings.same("margin call", f"{where}, live clock", self.live, event.args["live"])
            found = self._margin(account)
            deficit = max(-found.im_excess, self._collateral(account) - found.pv)
            self.findings.same("margin call", f"{where}, deficit", deficit, event.args["deficit"])
            if deficit <= 0 or account in self.calls or not self._all_live(account):
                self.findings.add("margin call", where, "an uncalled account below initial margin", deficit)
        self.calls[account] = event.args["live"]

    def _CallCleared(self, event: Event, where: str) -> None:
        account = event.args["account"]
        where = f"{where} of account {account}"
        if self.calls.pop(account, None) is None:
            self.findings.add("margin call", where, "an account that was called", "none")
        if self._ready(where, event.args["epoch"]) and not self._healthy(account):
            self.findings.add("margin call", where, "a healthy account", self._margin(account).fields)

    def phi(self, account: int, terms: Any) -> int:
        """Penalty rate, 1e-4: the least without a call, then rising with oracle-live time."""
        if account not in self.calls:
            return int(terms.phi_min)
        elapsed = self.live - self.calls[account]
        if elapsed >= terms.phi_ramp:
            return int(terms.phi_max)
        return int(terms.phi_min + (terms.phi_max - terms.phi_min) * elapsed // terms.phi_ramp)

    def _Liquidated(self, event: Event, where: str) -> None:
        account, taker = event.args["account"], event.args["taker"]
        where = f"{where} of account {account} by {taker}"
        count = len(self.findings.mismatches)
        if self._ready(where, event.args["epoch"]):
            self._judge_liquidation(event.args, account, taker, where)
        self._take()
        self.liquidations += len(self.findings.mismatches) == count

    def _judge_liquidation(self, args: Mapping[str, Any], account: int, taker: int, where: str) -> None:
        def same(what: str, expected: Any, found: Any) -> None:
            self.findings.same("liquidation", f"{where}, {what}", expected, found)

        def hold(what: str, holds: bool, found: Any) -> None:
            if not holds:
                self.findings.add("liquidation", where, what, found)

        assert self.epoch is not None
        epoch, terms = self.epoch, self.epoch.policy.margin
        before = self._margin(account)
        same("margin before", before.fields, tuple(args["before"]))
        hold("an owner's account, of another", account >= FIRST_ACCOUNT and account != taker, account)
        quote = before.mm_excess >= 0
        owed = self._collateral(account) - before.pv
        late = account in self.calls and self.live >= self.calls[account] + CURE
        hold("MM excess below 0, or dollars owed for too long", not quote or (owed > 0 and late), before.mm_excess)
        hold("all its underlyings live", self._all_live(account), "one that is not")
        ids = [instrument for instrument, _, _ in args["takes"]]
        hold("takes in ascending order", bool(ids) and ids == sorted(set(ids)), ids)

        moves = []
        for instrument, lots, stated in args["takes"]:
            mark = epoch.priced[instrument].values[0]
            same(f"price of {instrument:#x}", mark, stated)
            held = self.books.positions[account].get(instrument, 0)
            hold("a token", not quote or instrument & 255 > LAST_DERIVATIVE, instrument)
            hold("a take within the position", _shrinks(held, -lots), (instrument, lots))
            giver, receiver = (account, taker) if lots > 0 else (taker, account)
            moves.append(_position(giver, receiver, instrument, abs(lots), abs(lots) * mark, self.number))

        phi = self.phi(account, terms)
        takes = self._pending[: len(args["takes"])]
        rest, self._pending = self._pending[len(args["takes"]) :], takes
        made = self._take()
        last, lots, _ = args["takes"][-1]
        bare = self._margin(account)
        penalty = _fall(before, bare, phi)
        share = _part(penalty, terms.liquidator_share, before, bare)
        extra = self._extra(args, account, before, bare, penalty)
        reward = share + extra
        if reward:
            moves.append(_cash(account, taker, reward, REWARD))
        if penalty - share:
            moves.append(_cash(account, INSURANCE, penalty - share, PENALTY))
        # With one lot less of the last take: what the account would have been.
        back = 1 if lots > 0 else -1
        less = self._margin(account, without=(last, -back))
        tokens = back * epoch.priced[last].values[0] if last & 255 > LAST_DERIVATIVE else 0
        least = max(less.pv - less.im_excess, self._collateral(account) + tokens)
        self._pending = rest
        same("moves", moves, made + self._take())
        after = self._margin(account)
        same("phi", phi, args["phi"])
        same("penalty", penalty, args["penalty"])
        same("reward", reward, args["reward"])
        same("what the account adds to the reward", extra, args["extra"])
        same("margin after", after.fields, tuple(args["after"]))
        takers = self._margin(taker)
        same("taker's margin", takers.fields, tuple(args["taker_after"]))
        hold("MM excess above that before", after.mm_excess > before.mm_excess, after.mm_excess)
        hold("a taker above IM", takers.im_excess >= 0, takers.im_excess)
        hold("a taker that owes no dollars", takers.pv >= self._collateral(taker), taker)
        if self._healthy(account) and before.requirement >= terms.dust:
            short = before.pv - _fall(before, less, phi) - extra - least
            hold("no more than restores the account", short < 0, short)

    def _extra(self, args: Mapping[str, Any], account: int, before: Margin, bare: Margin, penalty: int) -> int:
        """What an account adds to a reward below what its gas is worth, micro-USD: contracts/lib/reward.vy."""
        assert self.epoch is not None
        terms, collateral = self.epoch.policy.margin, self._collateral(account)
        share = penalty * terms.liquidator_share // ONE
        worth = bare.pv - penalty

        def healthy(paid: int) -> bool:
            return bare.im_excess - penalty - paid >= 0 and worth - paid >= collateral

        if not healthy(0) or share >= terms.reserve:
            return 0
        coin = self.marks.get(self.record.coin)
        gas = FIRST_GAS + LEG_GAS * (len(args["takes"]) - 1)
        price = min(args["base_fee"], 2**64 - 1) + TIP
        least = min(terms.gas_multiple * gas * price * (coin.index if coin else 0) // 10**20, terms.reserve)
        rise = bare.mm_excess - penalty - before.mm_excess
        extra = min(least - min(share, least), max(worth, 0), rise - 1)
        return extra if healthy(extra) else 0


def _position(giver: int, taker: int, instrument: int, lots: int, cash: int, epoch: int) -> Move:
    fields = {"giver": giver, "taker": taker, "instrument": instrument, "lots": lots, "cash": cash, "epoch": epoch}
    return "PositionMoved", fields


def _cash(giver: int, taker: int, amount: int, reason: int) -> Move:
    return "CashMoved", {"giver": giver, "taker": taker, "amount": amount, "reason": reason}
