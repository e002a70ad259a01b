"""What becomes of accounts that legs did not save, judged again: debts, takeovers, settlement and fallback."""

from __future__ import annotations

from typing import Any

from offchain.audit.ground import Findings
from offchain.audit.recompute import Margin
from offchain.audit.replay import CLEARING, PENALTY, REWARD, Books
from offchain.chain.backends import Event

INSURANCE, SHORTFALL = 1, 3
PRICE, TOP_UP, PAID_IN, RECORDED, REPAID = 16, 17, 18, 19, 20
"""Reasons of `CashMoved`: contracts/lib/constants.vy."""
Move = tuple[str, dict[str, Any]]


class Aftermath:
    """The part of the market's walk that follows Takeover, Settlement and Fallback."""

    books: Books
    findings: Findings
    number: int

    def _take(self) -> list[Move]:
        raise NotImplementedError

    def _margin(self, account: int, cash: int = 0) -> Margin:
        raise NotImplementedError

    def _ready(self, where: str, stated: int) -> bool:
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

    def _ShortfallRepaid(self, event: Event, where: str) -> None:
        amount = min(-self.books.cash[SHORTFALL], self.books.cash[INSURANCE])
        expected = [(INSURANCE, SHORTFALL, amount, REPAID)]
        self.findings.same("absorption", where, expected, self._paid(self._take()))
        self.findings.same("absorption", f"{where}, amount", amount, event.args["amount"])

    def _TakenOver(self, event: Event, where: str) -> None:
        args = event.args
        account = args["account"]
        ready = self._ready(where, self.number)
        if ready:
            before = self._margin(account)
            self.findings.same("takeover", f"{where}, margin before", before.fields, tuple(args["before"]))
            if before.mm_excess >= 0:
                self.findings.add("takeover", where, "an account below maintenance margin", before.mm_excess)
        moves = self._take()
        amounts = {reason: amount for _, _, amount, reason in self._paid(moves)}
        stated = {PRICE: "price", TOP_UP: "top_up", PAID_IN: "insurance", RECORDED: "shortfall"}
        expected = {reason: args[name] for reason, name in stated.items() if args[name]}
        self.findings.same("takeover", f"{where}, what was paid", expected, amounts)
        if ready:
            after = self._margin(account)
            self.findings.same("takeover", f"{where}, margin after", after.fields, tuple(args["after"]))
            if after.im_excess < 0:
                self.findings.add("takeover", where, "an account that ends healthy", after.im_excess)

    def _Settled(self, event: Event, where: str) -> None:
        args = event.args
        account, lots, price = args["account"], args["lots"], args["price"]
        held = self.books.positions[account].get(args["instrument"], 0)
        self.findings.same("settlement", f"{where}, lots of account {account}", held, lots)
        giver, taker = (account, CLEARING) if lots > 0 else (CLEARING, account)
        names = ("giver", "taker", "instrument", "lots", "cash")
        found = [tuple(m[name] for name in names) for kind, m in self._take() if kind == "PositionMoved"]
        expected = [(giver, taker, args["instrument"], abs(lots), abs(lots) * price)]
        self.findings.same("settlement", f"{where}, moves", expected, found)

    def _FallbackLiquidated(self, event: Event, where: str) -> None:
        args = event.args
        account, taker = args["account"], args["taker"]
        where = f"{where} of account {account} by {taker}"
        moves = self._take()
        expected = [
            (account if lots > 0 else taker, taker if lots > 0 else account, key, abs(lots), abs(lots) * price)
            for key, lots, price in args["takes"]
        ]
        names = ("giver", "taker", "instrument", "lots", "cash")
        found = [tuple(m[name] for name in names) for kind, m in moves if kind == "PositionMoved"]
        self.findings.same("fallback", f"{where}, legs", expected, found)
        rest = args["penalty"] - args["reward"]
        paid = [(account, taker, args["reward"], REWARD), (account, INSURANCE, rest, PENALTY)]
        self.findings.same("fallback", f"{where}, penalty", [m for m in paid if m[2]], self._paid(moves))
        value, _, closeout = args["before"]
        if value >= closeout:
            self.findings.add("fallback", where, "an account worth less than its close-out", value)
