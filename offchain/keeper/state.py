"""The market as a participant follows it: the ledger's books, the latest epoch, and a witness for every account."""

from __future__ import annotations

from collections.abc import Mapping

from offchain.chain.system import System
from offchain.config import BallastError
from offchain.instruments import InstrumentLeaf
from offchain.keeper.decide import AccountView, View
from offchain.oracle.book import FIRST_ACCOUNT, Book
from offchain.oracle.bundles import BundleStore
from offchain.oracle.epochs import Epoch
from offchain.oracle.headers import Header, checkpoint
from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import Content, Margin, content_of, evaluate

WitnessTuple = tuple[int, int, list[int], list[bytes]]
NO_WITNESS: WitnessTuple = (0, 0, [], [])


class MarketState:
    """Books and epoch, kept up to date by `sync` and `use`.

    The books are rebuilt from the ledger's events alone; the contents from positions and the epoch's leaves. Nothing
    that a contract would not believe is assumed: `witness` says which of leaf and checkpoint holds for an account.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.book = Book()
        self.block = system.deployed_at - 1
        self.epoch: Epoch | None = None
        self.epoch_block = system.deployed_at
        self.leaves: Mapping[int, InstrumentLeaf] = {}
        self.margin: MarginParams | None = None
        self.called: dict[int, int] = {}
        self._contents: dict[int, tuple[bytes, Content]] = {}

    def sync(self) -> None:
        """Read the ledger's and the liquidator's events up to the latest block."""
        latest = self.system.chain.block_number
        ledger, liquidator = self.system.ledger, self.system.liquidator
        for event in self.system.chain.events([ledger, liquidator], self.block + 1, latest):
            if event.address == ledger.address:
                self.book.apply(event)
            elif event.name == "MarginCalled":
                self.called[event.args["account"]] = event.args["live"]
            elif event.name == "CallCleared":
                self.called.pop(event.args["account"], None)
        self.block = latest

    def use(self, epoch: Epoch) -> None:
        """Take an epoch as the latest. The caller has seen it posted."""
        self.epoch = epoch
        self.leaves = {leaf.id: leaf for leaf in epoch.leaves}
        self.margin = epoch.policy.margin
        self._contents = {}

    def follow(self, bundles: BundleStore) -> None:
        """Take the latest epoch that the chain has, with its bundle from a store.

        Raises
        ------
        BallastError
            No epoch was posted, or its bundle is not in the store, or is not the one that its header names.
        """
        oracle, chain = self.system.oracle, self.system.chain
        number, since = oracle.call.clock()[0], self.epoch_block
        if self.epoch is not None and self.epoch.header.epoch == number:
            return
        posted = [e for e in chain.events([oracle], since, chain.block_number) if e.name == "EpochPosted"]
        if not posted:
            raise BallastError("no epoch yet: post one first (`ape run post`)")
        header = Header(*posted[-1].args["header"])
        self.epoch_block = posted[-1].block_number
        self.use(Epoch.from_bundle(header, bundles.read(header.bundle_hash)))

    def _current(self) -> tuple[Epoch, MarginParams]:
        if self.epoch is None or self.margin is None:
            raise BallastError("no epoch yet: post one first (`ape run post`)")
        return self.epoch, self.margin

    def content(self, account: int) -> Content:
        """Margin content under the latest epoch, from positions and leaves."""
        held = self.book.accounts[account]
        known = self._contents.get(account)
        if known is None or known[0] != held.position_hash:
            known = (held.position_hash, content_of(account, held.positions, self.leaves))
            self._contents[account] = known
        return known[1]

    def margin_of(self, account: int) -> Margin:
        """Margin under the latest epoch."""
        return evaluate(self.content(account), self.book.accounts[account].cash, self._current()[1])

    def witness(self, account: int) -> WitnessTuple | None:
        """What a contract will believe of an account now: leaf, else checkpoint, else None: `ensure` makes one."""
        epoch, _ = self._current()
        held = self.book.accounts[account]
        if not held.positions:
            return NO_WITNESS
        if epoch.position_hash(account) == held.position_hash:
            return epoch.witness(account)
        content = self.content(account)
        words = content.vector_words
        stored = checkpoint(epoch.header.epoch, content.head, held.position_hash, content.cost, words)
        if bytes(self.system.ledger.call.checkpoint(account)) == stored:
            return (content.head, content.cost, list(words), [])
        return None

    def ensure(self, account: int, sender) -> WitnessTuple:  # type: ignore[no-untyped-def]
        """A witness, made by a full check (a transaction of `sender`) where none holds yet."""
        found = self.witness(account)
        if found is None:
            epoch, _ = self._current()
            legs, proof, flags = epoch.legs(sorted(self.book.accounts[account].positions))
            self.system.examiner.send.check_full(account, legs, proof, flags, sender=sender)
            found = self.witness(account)
            if found is None:
                raise BallastError(f"account {account}: the full check left a checkpoint that is not ours")
        return found

    def account_view(self, account: int) -> AccountView:
        """The account as `decide` wants it."""
        held = self.book.accounts[account]
        content = self.content(account)
        return AccountView(account, held.cash, dict(held.positions), content, self.called.get(account))

    def view(self, taker: int, min_profit: int = 0, bad_debt: bool = False) -> View:
        """Everything that `decide` rests on; `taker` is the keeper's account."""
        epoch, margin = self._current()
        latest = self.system.oracle.call.latest()
        if latest[0] != epoch.header.epoch:
            raise BallastError(f"the chain is at epoch {latest[0]}, the bundle at hand is of {epoch.header.epoch}")
        watched = [
            account
            for account, held in self.book.accounts.items()
            if account >= FIRST_ACCOUNT and account != taker and held.positions
        ]
        return View(
            epoch=latest[0],
            live=latest[2],
            fresh=latest[3],
            margin=margin,
            leaves=self.leaves,
            accounts=tuple(self.account_view(a) for a in watched),
            taker=self.account_view(taker),
            min_profit=min_profit,
            bad_debt=bad_debt,
        )
