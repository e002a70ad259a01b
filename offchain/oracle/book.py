"""The ledger's books, rebuilt from its events: cash, positions and position hashes of every account at a block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from offchain.config import BallastError
from offchain.oracle.trees import ZERO, keccak256
from offchain.units import MAX_POSITIONS, MAX_SUM_ABS

INSURANCE, CLEARING, SHORTFALL, FEES = 1, 2, 3, 4
RESERVED = (INSURANCE, CLEARING, SHORTFALL, FEES)
FIRST_ACCOUNT = 256


class BookError(BallastError):
    """An event that cannot follow those before it, or books that do not sum up."""


class LedgerLog(Protocol):
    """What the book reads of an event: of a chain, or of the store."""

    @property
    def name(self) -> str: ...

    @property
    def args(self) -> Mapping[str, Any]: ...

    @property
    def block_number(self) -> int: ...

    @property
    def log_index(self) -> int: ...


@dataclass
class Account:
    """An account as the ledger has it.

    Attributes
    ----------
    owner : address; empty for a reserved account.
    version : how often it changed hands.
    cash : micro-USD.
    last_trade_epoch : the epoch under which a position last changed.
    position_hash : running hash of all its position changes.
    positions : lots by instrument id, without zeros.
    """

    owner: str = ""
    version: int = 0
    cash: int = 0
    last_trade_epoch: int = 0
    position_hash: bytes = ZERO
    positions: dict[int, int] = field(default_factory=dict)


def next_position_hash(position_hash: bytes, account: int, instrument: int, change: int) -> bytes:
    """The position hash after a change: ``keccak256(abi.encode(h, account, instrument, dq))``.

    Parameters
    ----------
    position_hash : bytes
        The hash before, 32 bytes.
    account, instrument : int
        Ids.
    change : int
        Signed lots.
    """
    return keccak256(
        position_hash
        + account.to_bytes(32, "big")
        + instrument.to_bytes(32, "big")
        + change.to_bytes(32, "big", signed=True)
    )


def shared_out(amount: int, tokens_held: int, short: int) -> int:
    """What a withdrawal pays while there is debt that nobody can pay: ``floor(amount * T / (T + S))``.

    Parameters
    ----------
    amount : int
        By how much the account's cash falls, micro-USD.
    tokens_held, short : int
        ``T`` and ``S``, micro-USD (contracts/Ledger.vy, `withdraw`).
    """
    return amount if short == 0 else amount * tokens_held // (tokens_held + short)


class Book:
    """All accounts, from the ledger's events in chain order.

    Attributes
    ----------
    accounts : dict of int to Account
        By account id, reserved ones included.
    tokens_held : int
        Settlement tokens that came in less those that went out, micro-USD.
    collateral : dict of int to int
        Lots of each collateral token that came in less those that went out, by instrument id.
    position_version : int
        How many position changes were applied; a cache of portfolios is good while it stands.
    """

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {account: Account() for account in RESERVED}
        self.next_account = FIRST_ACCOUNT
        self.tokens_held = 0
        self.collateral: dict[int, int] = {}
        self.position_version = 0
        self._last = (-1, -1)

    @classmethod
    def replay(cls, events: Iterable[LedgerLog], to_block: int | None = None) -> Book:
        """The books after all events, or after those up to and including a block."""
        book = cls()
        for event in events:
            if to_block is None or event.block_number <= to_block:
                book.apply(event)
        return book

    @property
    def at(self) -> tuple[int, int]:
        """Block number and log index of the last event applied; ``(-1, -1)`` before the first."""
        return self._last

    def apply(self, event: LedgerLog) -> None:
        """Apply the next event. Events of the ledger that move nothing are passed over.

        Raises
        ------
        BookError
            It does not come after the last one, or names an account that does not exist.
        """
        here = (event.block_number, event.log_index)
        if here <= self._last:
            raise BookError(f"event {event.name} at {here} does not come after {self._last}")
        args = event.args
        match event.name:
            case "AccountOpened":
                if args["account"] != self.next_account:
                    raise BookError(f"account {args['account']} was opened where {self.next_account} comes next")
                self.accounts[self.next_account] = Account(owner=args["owner"])
                self.next_account += 1
            case "AccountTransferred":
                account = self._account(args["account"])
                account.owner = args["owner"]
                account.version = args["version"]
            case "Deposit":
                self._account(args["account"]).cash += args["amount"]
                self.tokens_held += args["amount"]
            case "Withdrawal":
                self._account(args["account"]).cash -= args["amount"]
                self.tokens_held -= args["amount"]
            case "CashMoved":
                self._account(args["giver"]).cash -= args["amount"]
                self._account(args["taker"]).cash += args["amount"]
            case "TokensDeposited" | "TokensWithdrawn":
                lots = args["lots"] if event.name == "TokensDeposited" else -args["lots"]
                self._move(args["account"], args["instrument"], lots, 0, args["epoch"])
                self.collateral[args["instrument"]] = self.collateral.get(args["instrument"], 0) + lots
                self.position_version += 1
            case "PositionMoved":
                lots, cash, epoch = args["lots"], args["cash"], args["epoch"]
                self._move(args["giver"], args["instrument"], -lots, cash, epoch)
                self._move(args["taker"], args["instrument"], lots, -cash, epoch)
                self.position_version += 1
        self._last = here

    def positions(self, account: int) -> Mapping[int, int]:
        """Lots by instrument id, without zeros; empty for an account without positions."""
        return self._account(account).positions

    def holders(self) -> list[int]:
        """Accounts with a position, ascending: those that have a leaf. The clearing account has no leaf."""
        return sorted(a for a, state in self.accounts.items() if state.positions and a != CLEARING)

    def open_interest(self) -> dict[int, int]:
        """Lots held long by instrument id (as many are short)."""
        total: defaultdict[int, int] = defaultdict(int)
        for state in self.accounts.values():
            for instrument, lots in state.positions.items():
                total[instrument] += lots if lots > 0 else 0
        return dict(total)

    @property
    def short(self) -> int:
        """What nobody can pay, micro-USD: debts of accounts that hold nothing, recorded shortfall, less insurance."""
        debts = sum(
            max(-state.cash, 0)
            for number, state in self.accounts.items()
            if number >= FIRST_ACCOUNT and not state.positions
        )
        owed = debts - self.accounts[SHORTFALL].cash
        return max(owed - self.accounts[INSURANCE].cash, 0) if owed > 0 else 0

    def check(self) -> None:
        """Check the sums: cash against tokens held, positions of each instrument against zero, those of a collateral
        token against the tokens held, and the limits.

        Raises
        ------
        BookError
            A sum does not hold; the message names it.
        """
        cash = sum(state.cash for state in self.accounts.values())
        if cash != self.tokens_held:
            raise BookError(f"sum of cash {cash} is not tokens held {self.tokens_held}")
        net = defaultdict(int, {instrument: -lots for instrument, lots in self.collateral.items()})
        for number, state in self.accounts.items():
            size = 0
            for instrument, lots in state.positions.items():
                net[instrument] += lots
                size += abs(lots)
            if (size >= MAX_SUM_ABS or len(state.positions) > MAX_POSITIONS) and number != CLEARING:
                raise BookError(f"account {number} holds more than an account may")
        wrong = [instrument for instrument, lots in net.items() if lots]
        if wrong:
            raise BookError(f"positions in instrument {wrong[0]:#x} sum to {net[wrong[0]]}, not to zero")

    def _move(self, number: int, instrument: int, change: int, cash: int, epoch: int) -> None:
        account = self._account(number)
        account.cash += cash
        if number != CLEARING:
            account.last_trade_epoch = epoch
            account.position_hash = next_position_hash(account.position_hash, number, instrument, change)
        lots = account.positions.get(instrument, 0) + change
        if lots:
            account.positions[instrument] = lots
        else:
            account.positions.pop(instrument, None)

    def _account(self, number: int) -> Account:
        account = self.accounts.get(number)
        if account is None:
            raise BookError(f"account {number} does not exist in the books")
        return account
