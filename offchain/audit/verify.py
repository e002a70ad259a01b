"""The verification: every posted root, signature and liquidation recomputed from chain events and bundles.

It shares nothing with those who post but the pricing and policy modules, and the hash library. It never raises on bad
data: what differs, or cannot be read, is a mismatch with a name.
"""

from __future__ import annotations

from collections.abc import Sequence

from offchain.audit.epochs import Check, Epoch
from offchain.audit.ground import Findings, Ground
from offchain.audit.market import Market
from offchain.audit.recompute import head_of
from offchain.audit.record import AccountState, Record, read_record
from offchain.audit.replay import CLEARING, ZERO_HASH, Books
from offchain.audit.result import Mismatch, Verification
from offchain.audit.signatures import Signed, find_wrong
from offchain.chain.backends import ZERO, Event

__all__ = ["Audit", "Mismatch", "Record", "Verification", "read_record", "verify"]


def verify(record: Record) -> Verification:
    """Check a whole deployment's history.

    Parameters
    ----------
    record : events, bundles and final balances, as `read_record` collects them.

    Returns
    -------
    What was verified and every mismatch. An epoch counts as verified if nothing about it differed, a leaf if every word
    of it was the same, a liquidation if its margins before and after, prices, penalty and reward were the same.
    """
    audit = Audit(record)
    audit.take(record.events)
    return audit.finish(record)


class Audit:
    """An audit under way, of events in as many parts as they come in.

    Parameters
    ----------
    record : constants of the deployment; its block hashes and bundles are looked up as epochs name them.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.findings = Findings()
        self.ground = Ground(self.findings)
        self.market = Market(record, self.ground, self.findings)
        self.epochs: list[int] = []
        self.leaves = 0
        self._signed: list[tuple[int, Signed]] = []
        self._statuses: list[Event] = []

    def take(self, events: Sequence[Event]) -> None:
        """Check the next events, in chain order, to the end of a block."""
        self.ground.take(events)
        for event in events:
            where = f"block {event.block_number}, log {event.log_index}, {event.name}"
            with self.findings.guard("event", where):
                if event.name == "EpochPosted":
                    self._post(event)
                elif event.name == "StatusChanged":
                    self._statuses.append(event)
                else:
                    self.market.follow(event)

    def _post(self, event: Event) -> None:
        """Check an epoch, and put it in force."""
        market = self.market
        changed = [e for e in self._statuses if e.tx_hash == event.tx_hash]
        self._statuses = []
        standing = (market.policies, market.last, changed, market.epoch)
        check = Check(self.record, self.ground, self.findings, event, *standing)
        epoch = check.run()
        _enter(market, self.findings, event, epoch, self.epochs)
        if epoch is not None:
            self.leaves += epoch.leaves
            self._signed += [(event.args["epoch"], item) for item in epoch.signed]

    def finish(self, record: Record) -> Verification:
        """Check all signatures, and the books against the balances at the end, which `record` holds."""
        findings, market = self.findings, self.market
        with findings.guard("event", "the last transaction"):
            market.settle()
        _signatures(self._signed, findings)
        with findings.guard("ledger", "the books at the end"):
            _final(record, market.books, findings)
        for problem in market.books.problems:
            findings.add("ledger", problem, "what an honest ledger emits", "this")
        good = [number for number in self.epochs if number not in findings.epochs]
        return Verification(len(good), self.leaves, market.liquidations, tuple(findings.mismatches))


def _enter(market: Market, findings: Findings, event: Event, epoch: Epoch | None, epochs: list[int]) -> None:
    number, timestamp = event.args["epoch"], event.args["header"][1]
    if not isinstance(number, int):
        raise TypeError(f"epoch {number!r} is not a number")
    if epochs and number <= epochs[-1]:
        findings.add("header", f"epoch {number}", f"an epoch after {epochs[-1]}", number, number)
    epochs.append(number)
    market.enter_epoch(number, timestamp, epoch if epoch is not None and epoch.priced else None)
    if epoch is not None:
        market.marks |= epoch.marks


def _signatures(signed: list[tuple[int, Signed]], findings: Findings) -> None:
    wrong = find_wrong([item for _, item in signed])
    for number, item in signed:
        if item.where in wrong:
            findings.add("signature", item.where, "a signature by its signers", wrong[item.where], number)


def _final(record: Record, books: Books, findings: Findings) -> None:
    """The replayed books against the ledger's own at the end."""
    findings.same("ledger", "at the end, sum of cash", books.tokens_held, sum(books.cash.values()))
    for instrument, lots in sorted(books.net().items()):
        findings.same("ledger", f"at the end, sum of positions in {instrument:#x}", 0, lots)
    findings.same("tokens", "ledger's own books", books.tokens_held, record.tokens_held)
    if record.token_balance < record.tokens_held:
        findings.add("tokens", "balance of the ledger", f"{record.tokens_held} or more", record.token_balance)
    for account in sorted(set(books.owners) | set(books.cash) | set(record.accounts)):
        where = f"account {account} at the end"
        found = record.accounts.get(account)
        if found is None:
            findings.add("cash", where, "an account", "none")
            continue
        made = AccountState(
            books.owners.get(account, ZERO).lower(),
            books.versions.get(account, 0),
            books.cash.get(account, 0),
            books.traded.get(account, 0),
            head_of(account, {} if account == CLEARING else books.positions.get(account, {})),
            books.hashes.get(account, ZERO_HASH),
        )
        findings.same("cash", f"{where}, cash", made.cash, found.cash)
        for name in ("owner", "version", "last_trade_epoch", "head", "position_hash"):
            findings.same("account", f"{where}, {name}", getattr(made, name), getattr(found, name))
