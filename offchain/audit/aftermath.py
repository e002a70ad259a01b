"""What becomes of accounts that legs did not save, judged again: debts, takeovers, settlement,
fallback; and collateral tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from offchain.audit.epochs import Epoch
from offchain.audit.ground import Findings
from offchain.audit.recompute import DISPUTED, LIVE, PROVISIONAL, Margin, Mark, scenario_vectors
from offchain.audit.record import Record
from offchain.audit.replay import CLEARING, PENALTY, REWARD, Books
from offchain.chain.backends import Event
from offchain.risk.fallback import Place, place
from offchain.risk.policy import Policy

INSURANCE, SHORTFALL = 1, 3
PRICE, TOP_UP, PAID_IN, RECORDED, REPAID = 16, 17, 18, 19, 20
"""Reasons of `CashMoved`: contracts/lib/constants.vy."""
FIRST_PRICE, INCENTIVE, NEAR_BANKRUPT, ONE = 9_500, 1_000, 1_000, 10_000
"""1e-4: contracts/Takeover.vy."""
DISPUTE_DELAY = 7_200
"""Oracle-live seconds from a proposed settlement price to finality: contracts/Settlement.vy."""
COMMITTEE, FEED_AT_EXPIRY, LAST_INDEX = 1, 2, 4
PERPETUAL, FUTURE, CALL, PUT, TOKEN = 1, 2, 3, 4, 5
Move = tuple[str, dict[str, Any]]
Expiry = tuple[int, int]


def _owed(worth: int, requirement: int) -> int:
    """What insurance would at most pay in at takeover, micro-USD: contracts/lib/claim.vy."""
    return max(requirement // 10 - worth, 0)


class Exit(NamedTuple):
    """How an underlying is exited: the epoch by whose arrays, and where the price stands in them."""

    epoch: Epoch | None
    place: Place | None


class Worth(NamedTuple):
    """An account in the contract Fallback's terms, micro-USD; `initial` is its initial requirement."""

    value: int
    risk: int
    closeout: int
    pv: int
    initial: int

    @property
    def fields(self) -> tuple[int, ...]:
        return self[:4]

    @property
    def requirement(self) -> int:
        return self.risk + self.closeout


class Aftermath:
    """The part of the market's walk that follows Takeover, Settlement and Fallback.

    Attributes
    ----------
    auctions : oracle-live clock and time of the epoch at their start, by account.
    proposed, final : settlement prices by underlying and expiry, the former with the live clock then.
    recorded : feeds' prices at expiry. exits : by underlying. fixed : prices of a lot by instrument.
    units : smallest units of a collateral token in a lot, by instrument.
    """

    record: Record
    books: Books
    findings: Findings
    epoch: Epoch | None
    policy: Policy | None
    number: int
    time: int
    live: int
    marks: dict[int, Mark]
    calls: dict[int, int]
    auctions: dict[int, tuple[int, int]]
    proposed: dict[Expiry, tuple[int, int]]
    final: dict[Expiry, int]
    recorded: dict[Expiry, int]
    exits: dict[int, Exit]
    fixed: dict[int, int]
    units: dict[int, int]

    def _take(self) -> list[Move]:
        raise NotImplementedError

    def _margin(self, account: int, cash: int = 0) -> Margin:
        raise NotImplementedError

    def _ready(self, where: str, stated: int) -> bool:
        raise NotImplementedError

    def _collateral(self, account: int) -> int:
        raise NotImplementedError

    def _healthy(self, account: int) -> bool:
        raise NotImplementedError

    def _all_live(self, account: int) -> bool:
        raise NotImplementedError

    def phi(self, account: int, terms: Any) -> int:
        raise NotImplementedError

    def _paid(self, moves: list[Move]) -> list[tuple[int, int, int, int]]:
        """Cash that moved: giver, taker, amount, reason."""
        return [(m["giver"], m["taker"], m["amount"], m["reason"]) for name, m in moves if name == "CashMoved"]

    def _Absorbed(self, event: Event, where: str) -> None:
        args = event.args
        account = args["account"]
        debt, funds = -self.books.cash[account], max(self.books.cash[INSURANCE], 0)
        if debt <= 0 or self.books.positions[account]:
            self.findings.add("absorption", where, "a debt and nothing else", debt)
        insurance = min(debt, funds)
        expected = [(INSURANCE, account, insurance, PAID_IN), (SHORTFALL, account, debt - insurance, RECORDED)]
        self.findings.same("absorption", where, [m for m in expected if m[2]], self._paid(self._take()))
        self.findings.same("absorption", where, (insurance, debt - insurance), (args["insurance"], args["shortfall"]))
        self.auctions.pop(account, None)

    def _ShortfallRepaid(self, event: Event, where: str) -> None:
        amount = min(-self.books.cash[SHORTFALL], self.books.cash[INSURANCE])
        expected = [(INSURANCE, SHORTFALL, amount, REPAID)]
        self.findings.same("absorption", where, expected, self._paid(self._take()))
        self.findings.same("absorption", f"{where}, amount", amount, event.args["amount"])

    # auctions
    def _AuctionStarted(self, event: Event, where: str) -> None:
        args = event.args
        account = args["account"]
        if self._ready(where, args["epoch"]) and self.epoch is not None:
            found = self._margin(account)
            self.findings.same("auction", f"{where}, live clock", self.live, args["live"])
            self.findings.same("auction", f"{where}, margin", found.fields, tuple(args["margin"]))
            late = account in self.calls and self.live >= self.calls[account] + self.epoch.policy.margin.phi_ramp
            near = found.pv < found.requirement * NEAR_BANKRUPT // ONE
            if found.mm_excess >= 0 or not (near or late):
                self.findings.add("auction", where, "an unsafe account whose legs nobody took", found.fields)
            if account in self.auctions and not self._was_out(account):
                self.findings.add("auction", where, "no auction on", account)
        self.auctions[account] = args["live"], self.time

    def _AuctionEnded(self, event: Event, where: str) -> None:
        account = event.args["account"]
        if self.auctions.pop(account, None) is None:
            self.findings.add("auction", where, "an account on auction", account)
        if self._ready(where, event.args["epoch"]):
            found = self._margin(account)
            if found.mm_excess < 0:
                self.findings.add("auction", where, "an account above maintenance margin", found.fields)

    def _was_out(self, account: int) -> bool:
        """Whether the oracle was not live for a while since an auction's start."""
        live, time = self.auctions[account]
        return self.time - time != self.live - live

    def _terms(self, account: int, found: Margin) -> tuple[int, int, int]:
        """Price, and what insurance and shortfall pay in, micro-USD, by the formulas in the head of Takeover.vy."""
        elapsed, length = self.live - self.auctions[account][0], self.record.auction
        worth, debt = max(found.pv, 0), max(-found.pv, 0)
        price, incentive = 0, 0
        if elapsed <= length:
            price = worth * FIRST_PRICE * (length - elapsed) // (ONE * length)
        else:
            cap = found.requirement * INCENTIVE // ONE
            incentive = max(cap * min(elapsed - length, length) // length - worth, 0)
        insurance = min(debt + incentive, max(self.books.cash[INSURANCE], 0))
        return price, insurance, debt - min(insurance, debt)

    def _TakenOver(self, event: Event, where: str) -> None:
        args = event.args
        account, heir, top_up = args["account"], args["heir"], args["top_up"]
        ready = self._ready(where, self.number)
        stated = args["price"], args["insurance"], args["shortfall"]
        if account not in self.auctions or self._was_out(account):
            self.findings.add("takeover", where, "an account on auction, without an outage since", account)
        elif ready:
            terms = self._terms(account, self._margin(account))
            self.findings.same("takeover", f"{where}, price, insurance, shortfall", terms, stated)
        if ready:
            before = self._margin(account)
            self.findings.same("takeover", f"{where}, margin before", before.fields, tuple(args["before"]))
            if before.mm_excess >= 0:
                self.findings.add("takeover", where, "an account below maintenance margin", before.mm_excess)
        paid = self._paid(self._take())
        payer = next((giver for giver, _, _, reason in paid if reason in (PRICE, TOP_UP)), 0)
        price, insurance, shortfall = stated
        expected = [
            (payer, heir, price, PRICE), (payer, account, top_up, TOP_UP), (INSURANCE, account, insurance, PAID_IN),
            (SHORTFALL, account, shortfall, RECORDED),
        ]  # fmt: skip
        self.findings.same("takeover", f"{where}, what was paid", [m for m in expected if m[2]], paid)
        if ready:
            after = self._margin(account)
            self.findings.same("takeover", f"{where}, margin after", after.fields, tuple(args["after"]))
            if after.im_excess < 0 or after.pv < self._collateral(account):
                self.findings.add("takeover", where, "an account that ends healthy", after.fields)
        self.auctions.pop(account, None)

    # settlement
    def _FeedRecorded(self, event: Event, where: str) -> None:
        self.recorded[event.args["underlying"], event.args["expiry"]] = event.args["price"]

    def _PriceProposed(self, event: Event, where: str) -> None:
        args = event.args
        self.findings.same("settlement", f"{where}, epoch and live clock", (self.number, self.live),
                           (args["epoch"], args["live"]))  # fmt: skip
        word = args["underlying"] << 240 | args["expiry"] << 208 | args["price"] << 144
        if self.epoch is not None and word not in self.epoch.settlements:
            self.findings.add("settlement", where, "a price that the epoch states", args["price"])
        self.proposed[args["underlying"], args["expiry"]] = args["price"], args["live"]

    def _PriceFinal(self, event: Event, where: str) -> None:
        args = event.args
        key = args["underlying"], args["expiry"]
        expected: int | None = args["price"]
        if args["source"] == COMMITTEE:
            expected, since = self.proposed.get(key, (None, self.live))
            if self.live < since + DISPUTE_DELAY:
                self.findings.add("settlement", where, "a price after its dispute delay", self.live - since)
        elif args["source"] == FEED_AT_EXPIRY:
            expected = self.recorded.get(key)
        elif args["source"] == LAST_INDEX:
            expected = self.marks[key[0]].index
        self.findings.same("settlement", f"{where}, price", expected, args["price"])
        if key in self.final:
            self.findings.add("settlement", where, "a price written once", args["price"])
        self.final.setdefault(key, args["price"])

    def _ExitBegun(self, event: Event, where: str) -> None:
        args = event.args
        underlying, mark = args["underlying"], self.marks[args["underlying"]]
        if args["source"] == LAST_INDEX:
            self.findings.same("settlement", f"{where}, price", mark.index, args["price"])
        where_to = None
        if self.epoch is not None:  # the epoch's rows, also when another policy came into force since
            where_to = place(self.epoch.policy.rows, mark.scan_range, mark.index, args["price"])
        self.exits[underlying] = Exit(self.epoch, where_to)

    def _LotFixed(self, event: Event, where: str) -> None:
        key, stated = event.args["instrument"], event.args["price"]
        epoch, where_to = Exit(self.epoch, None) if event.args["delisted"] else self.exits[key >> 88]
        if epoch is not None:
            values = epoch.priced[key].values
            expected = values[0] if event.args["delisted"] or where_to is None else where_to.value(values)
            self.findings.same("settlement", f"{where}, price of {key:#x}", expected, stated)
        self.fixed[key] = stated

    def _lot_price(self, key: int) -> int | None:
        """What a lot settles at, micro-USD; None without a final price."""
        if key in self.fixed:
            return self.fixed[key]
        price = self.final.get((key >> 88, key >> 56 & 0xFFFFFFFF))
        if price is None or self.policy is None or not FUTURE <= key & 255 <= PUT:
            return None
        strike, lots_per_unit = key >> 8 & (1 << 48) - 1, self.policy.underlying(key >> 88).lots_per_unit
        payoff = {FUTURE: price, CALL: max(price - strike, 0), PUT: max(strike - price, 0)}[key & 255]
        return (2 * payoff + lots_per_unit) // (2 * lots_per_unit)

    def _Settled(self, event: Event, where: str) -> None:
        args = event.args
        account, lots, price = args["account"], args["lots"], args["price"]
        held = self.books.positions[account].get(args["instrument"], 0)
        self.findings.same("settlement", f"{where}, lots of account {account}", held, lots)
        self.findings.same("settlement", f"{where}, price of {args['instrument']:#x}",
                           self._lot_price(args["instrument"]), price)  # fmt: skip
        giver, taker = (account, CLEARING) if lots > 0 else (CLEARING, account)
        names = ("giver", "taker", "instrument", "lots", "cash")
        found = [tuple(m[name] for name in names) for kind, m in self._take() if kind == "PositionMoved"]
        expected = [(giver, taker, args["instrument"], abs(lots), abs(lots) * price)]
        self.findings.same("settlement", f"{where}, moves", expected, found)

    # fallback
    def _worth(self, account: int, places: Mapping[int, Place]) -> Worth:
        """An account at the marks, and at the feeds' prices that count."""
        assert self.epoch is not None
        found = self._margin(account)
        vectors = scenario_vectors(self.books.positions[account], self.epoch.priced)
        more = sum(places[u].value(v) - v[0] for u, v in vectors.items() if u in places)
        return Worth(found.pv + more, found.risk, found.closeout, found.pv, found.pv - found.im_excess)

    def _FallbackLiquidated(self, event: Event, where: str) -> None:
        account, taker = event.args["account"], event.args["taker"]
        where = f"{where} of account {account} by {taker}"
        if self._ready(where, event.args["epoch"]):
            self._judge_fallback(event.args, account, taker, where)
        else:
            self._take()

    def _judge_fallback(self, args: Mapping[str, Any], account: int, taker: int, where: str) -> None:
        def same(what: str, expected: Any, found: Any) -> None:
            self.findings.same("fallback", f"{where}, {what}", expected, found)

        def hold(what: str, holds: bool, found: Any) -> None:
            if not holds:
                self.findings.add("fallback", where, what, found)

        assert self.epoch is not None
        disputed, terms, marks = args["disputed"], self.epoch.policy.margin, self.marks
        rows = self.epoch.policy.rows
        places = {u: place(rows, marks[u].scan_range, marks[u].index, p) for u, p in args["prices"]}
        statuses = {key >> 88: self.epoch.marks[key >> 88].status for key in self.books.positions[account]}
        before = self._worth(account, places)
        same("worth before", before.fields, tuple(args["before"]))
        if disputed:
            hold("a disputed underlying, and none provisional",
                 DISPUTED in statuses.values() and PROVISIONAL not in statuses.values(), statuses)  # fmt: skip
            hold("feeds of disputed underlyings", all(self.epoch.marks[u].status == DISPUTED for u in places), places)
            best = max(before.value, before.pv)
            hold("an account below maintenance margin by index and feed", best < before.requirement, best)
        else:
            hold("an account worth less than its close-out", before.value < before.closeout, before.value)

        moves: list[tuple[int, ...]] = []
        for key, lots, stated in args["takes"]:
            price, live = self._fallback_price(key, lots, places, disputed)
            same(f"price of {key:#x}", price, stated)
            hold("a usable feed", live, hex(key))
            held = self.books.positions[account].get(key, 0)
            hold("a take within the position", held * lots > 0 and abs(lots) <= abs(held), (key, lots))
            giver, receiver = (account, taker) if lots > 0 else (taker, account)
            moves.append((giver, receiver, key, abs(lots), abs(lots) * price))
        made = self._take()
        names = ("giver", "taker", "instrument", "lots", "cash")
        same("legs", moves, [tuple(m[name] for name in names) for kind, m in made if kind == "PositionMoved"])
        paid = self._paid(made)
        after, charged = self._worth(account, places), sum(amount for *_, amount, _ in paid)
        value, pv = after.value + charged, after.pv + charged
        phi = self.phi(account, terms)
        fall = before.requirement - after.requirement
        penalty = min(max(fall, 0) * phi // ONE, max(min(value, pv) if disputed else value, 0))
        rise = _owed(value - penalty, after.requirement) - _owed(before.value, before.requirement)
        reward = max(min(penalty * terms.liquidator_share // ONE, penalty - max(rise, 0)), 0)
        due = [(account, taker, reward, REWARD), (account, INSURANCE, penalty - reward, PENALTY)]
        same("payments", [m for m in due if m[2]], paid)
        same("phi, penalty, reward", (phi, penalty, reward), (args["phi"], args["penalty"], args["reward"]))
        same("worth after", after.fields, tuple(args["after"]))
        gain = min(value - before.value, pv - before.pv) if disputed else value - before.value
        hold("an account that is safer", gain + fall > penalty, gain + fall - penalty)
        worth = self._worth(taker, places)
        least = max(worth.initial, self._collateral(taker)) if disputed else worth.initial
        found = min(worth.value, worth.pv) if disputed else worth.value
        hold("a taker above initial margin", found >= least, found)

    def _fallback_price(self, key: int, lots: int, places: Mapping[int, Place], disputed: bool) -> tuple[int, bool]:
        """What a lot changes hands at, in a dispute the better of mark and feed for the account; and whether it may."""
        assert self.epoch is not None
        values = self.epoch.priced[key].values
        if key >> 88 not in places:
            return values[0], disputed and self.epoch.marks[key >> 88].status == LIVE
        value = places[key >> 88].value(values)
        if not disputed:
            return value, True
        return (max(values[0], value + 1) if lots > 0 else min(values[0], value)), True

    # collateral
    def _TokenListed(self, event: Event, where: str) -> None:
        self.units[event.args["instrument"]] = event.args["units"]

    def _TokensDeposited(self, event: Event, where: str) -> None:
        self._judge_tokens(event, where, 1)

    def _TokensWithdrawn(self, event: Event, where: str) -> None:
        self._judge_tokens(event, where, -1)

    def _judge_tokens(self, event: Event, where: str, sign: int) -> None:
        """A deposit from HEALTHY ends HEALTHY, and is no trade of the epoch as one from below is. A withdrawal rests on
        a later epoch and ends HEALTHY, unless the account holds tokens alone and owes nothing."""
        args = event.args
        account, key = args["account"], args["instrument"]
        where = f"{where}, account {account}"
        units = self.units.get(key, 0)
        self.findings.same("collateral", f"{where}, amount", args["lots"] * units, args["amount"])
        traded = self.books.traded.get(account, 0)
        unpledged = self.books.cash[account] >= 0 and all(k & 255 == TOKEN for k in self.books.positions[account])
        known = self.epoch is not None and all(k in self.epoch.priced for k in self.books.positions[account])
        healthy = known and self._healthy(account)
        self.books.apply(event)
        stated = traded if sign < 0 or healthy else self.number
        self.findings.same("collateral", f"{where}, epoch of the last trade", stated, args["epoch"])
        if sign < 0 and unpledged:
            return
        if not self._ready(where, self.number) or self.epoch is None or key not in self.epoch.priced:
            return
        if sign < 0 and (traded >= self.number or not self._all_live(account)):
            self.findings.add("collateral", where, "an epoch after the last trade, all underlyings live", self.number)
        if (sign < 0 or healthy) and not self._healthy(account):
            self.findings.add("collateral", where, "an account that ends healthy", self._margin(account).fields)
