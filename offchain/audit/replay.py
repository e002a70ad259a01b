"""The ledger, rebuilt from its events alone, in plain Python integers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from offchain.chain.backends import Event
from offchain.keccak import keccak256

ZERO_HASH = bytes(32)
MAX_SUM = 1 << 32
INSURANCE, CLEARING, SHORTFALL = 1, 2, 3
TRADE_FEE, PENALTY, REWARD, SHARED = 1, 2, 3, 21
"""Reasons of `CashMoved`: contracts/lib/constants.vy."""


@dataclass
class Books:
    """Every balance and position, as the events so far make them.

    Attributes
    ----------
    cash : micro-USD by account. deposits, withdrawals : their sums, micro-USD.
    positions : lots by instrument id, without zeros, by account.
    hashes : position hash by account; 32 zero bytes before the first change.
    owners, versions : by account. isolated : accounts that hold one underlying at most.
    longs : lots that accounts but clearing hold long, by instrument id.
    problems : what an honest ledger could not have emitted.
    """

    cash: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    positions: defaultdict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    hashes: dict[int, bytes] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    isolated: set[int] = field(default_factory=set)
    traded: dict[int, int] = field(default_factory=dict)
    longs: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    collateral: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    deposits: int = 0
    withdrawals: int = 0
    problems: list[str] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        """Follow one event. Events of other contracts, and those without balances, change nothing."""
        follow = getattr(self, f"_{event.name}", None)
        if follow is not None:
            follow(event.args, f"block {event.block_number}, log {event.log_index}")

    def _AccountOpened(self, args: dict[str, Any], where: str) -> None:
        if args["account"] in self.owners:
            self.problems.append(f"{where}: account {args['account']} opened twice")
        self.owners[args["account"]] = args["owner"]
        self.versions[args["account"]] = 0
        if args["isolated"]:
            self.isolated.add(args["account"])

    def _AccountTransferred(self, args: dict[str, Any], where: str) -> None:
        account = args["account"]
        if self.owners.get(account) != args["previous"] or args["version"] != self.versions.get(account, 0) + 1:
            self.problems.append(f"{where}: transfer of account {account} does not follow from what came before")
        self.owners[account] = args["owner"]
        self.versions[account] = args["version"]

    def _Deposit(self, args: dict[str, Any], where: str) -> None:
        self.cash[args["account"]] += args["amount"]
        self.deposits += args["amount"]

    def _Withdrawal(self, args: dict[str, Any], where: str) -> None:
        self.cash[args["account"]] -= args["amount"]
        self.withdrawals += args["amount"]

    def _CashMoved(self, args: dict[str, Any], where: str) -> None:
        self.cash[args["giver"]] -= args["amount"]
        self.cash[args["taker"]] += args["amount"]

    def _PositionMoved(self, args: dict[str, Any], where: str) -> None:
        giver, taker, lots = args["giver"], args["taker"], args["lots"]
        if giver == taker or lots == 0:
            self.problems.append(f"{where}: {lots} lots from account {giver} to {taker}")
        self._change(giver, args["instrument"], -lots, where)
        self._change(taker, args["instrument"], lots, where)
        self.cash[giver] += args["cash"]
        self.cash[taker] -= args["cash"]
        self.traded |= {account: args["epoch"] for account in (giver, taker) if account != CLEARING}

    def _TokensDeposited(self, args: dict[str, Any], where: str) -> None:
        self._tokens(args, args["lots"], where)

    def _TokensWithdrawn(self, args: dict[str, Any], where: str) -> None:
        self._tokens(args, -args["lots"], where)

    def _tokens(self, args: dict[str, Any], lots: int, where: str) -> None:
        account, instrument = args["account"], args["instrument"]
        self._change(account, instrument, lots, where)
        self.collateral[instrument] += lots
        self.traded[account] = args["epoch"]
        if self.positions[account].get(instrument, 0) < 0:
            self.problems.append(f"{where}: account {account} holds less than no tokens of {instrument:#x}")

    def _change(self, account: int, instrument: int, lots: int, where: str) -> None:
        held = self.positions[account]
        before = held.get(instrument, 0)
        held[instrument] = before + lots
        if held[instrument] == 0:
            del held[instrument]
        if account == CLEARING:
            return  # it has neither limits nor counts nor a position hash
        self.longs[instrument] += max(before + lots, 0) - max(before, 0)
        if sum(map(abs, held.values())) >= MAX_SUM:
            self.problems.append(f"{where}: account {account} holds 2^32 lots or more")
        if account in self.isolated and len({key >> 88 for key in held}) > 1:
            self.problems.append(f"{where}: isolated account {account} holds several underlyings")
        self.hashes[account] = extend(self.hashes.get(account, ZERO_HASH), account, instrument, lots)

    @property
    def tokens_held(self) -> int:
        """What came in less what went out, micro-USD."""
        return self.deposits - self.withdrawals

    @property
    def short(self) -> int:
        """What nobody can pay, micro-USD: debts of owners who hold nothing, less what shortfall and insurance have."""
        debts = sum(-c for a, c in self.cash.items() if a >= 256 and c < 0 and not self.positions.get(a))
        owed = debts - self.cash[SHORTFALL]
        return max(owed - self.cash[INSURANCE], 0) if owed > 0 else 0

    def net(self) -> dict[int, int]:
        """Sum of positions over all accounts by instrument, of a token less those held: all zero in honest books."""
        out: defaultdict[int, int] = defaultdict(int)
        for instrument, lots in self.collateral.items():
            out[instrument] -= lots
        for held in self.positions.values():
            for instrument, lots in held.items():
                out[instrument] += lots
        return dict(out)

    def open_interest(self) -> dict[int, int]:
        """Sum of long positions by instrument, lots."""
        out: defaultdict[int, int] = defaultdict(int)
        for held in self.positions.values():
            for instrument, lots in held.items():
                out[instrument] += max(lots, 0)
        return dict(out)


def extend(position_hash: bytes, account: int, instrument: int, lots: int) -> bytes:
    """Position hash after a change: `keccak256(abi.encode(h, account, instrument, dq))`."""
    words = (account.to_bytes(32, "big"), instrument.to_bytes(32, "big"), lots.to_bytes(32, "big", signed=True))
    return keccak256(position_hash + b"".join(words))


def chain_order(events: Iterable[Event]) -> list[Event]:
    """Events in the order of the chain: by block, then by place in it."""
    return sorted(events, key=lambda e: (e.block_number, e.log_index))
