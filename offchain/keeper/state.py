"""The market as a participant follows it: the ledger's books, the latest epoch, and a witness for every account."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from offchain.chain.backends import Event
from offchain.chain.system import INSURANCE, SHORTFALL, System
from offchain.config import BallastError
from offchain.instruments import InstrumentLeaf
from offchain.keeper.view import DISPUTED, AccountView, Settling, View
from offchain.oracle.book import FIRST_ACCOUNT, Book
from offchain.oracle.bundles import BundleStore
from offchain.oracle.epochs import Epoch
from offchain.oracle.headers import Header, checkpoint
from offchain.risk.fallback import Place, place
from offchain.risk.policy import MarginParams, Policy
from offchain.risk.portfolios import Content, Margin, content_of, evaluate

WitnessTuple = tuple[int, int, list[int], list[bytes]]
NO_WITNESS: WitnessTuple = (0, 0, [], [])
DISPUTE_DELAY = 7_200
"""Oracle-live seconds from a proposed settlement price to finality: Settlement.vy."""
TIP = 2 * 10**9
OPTIONS = (2, 3, 4)
"""Kinds that expire."""


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
        self.on_auction: set[int] = set()
        self.fixed: set[int] = set()
        self.final: set[tuple[int, int]] = set()
        self.proposed: dict[tuple[int, int], tuple[int, int]] = {}
        self._contents: dict[int, tuple[bytes, Content]] = {}

    def sync(self) -> None:
        """Read the events of ledger, liquidator, takeover and settlement up to the latest block."""
        latest = self.system.chain.block_number
        contracts = [self.system.ledger, self.system.liquidator, self.system.takeover, self.system.settlement]
        for event in self.system.chain.events(contracts, self.block + 1, latest):
            self.take(event)
        self.block = latest

    def take(self, event: Event) -> None:
        """Take the next event of ledger, liquidator, takeover or settlement; others are passed over."""
        if event.address == self.system.ledger.address:
            self.book.apply(event)
        else:
            self._note(event)

    def _note(self, event: Event) -> None:
        """Calls, auctions, and prices at which positions settle."""
        args = event.args
        if event.name == "MarginCalled":
            self.called[args["account"]] = args["live"]
        elif event.name == "CallCleared":
            self.called.pop(args["account"], None)
        elif event.name == "AuctionStarted":
            self.on_auction.add(args["account"])
        elif event.name in ("AuctionEnded", "TakenOver", "Absorbed"):
            self.on_auction.discard(args["account"])
        elif event.name == "LotFixed":
            self.fixed.add(args["instrument"])
        elif event.name == "PriceProposed":
            self.proposed[args["underlying"], args["expiry"]] = args["price"], args["live"]
        elif event.name == "PriceFinal":
            self.final.add((args["underlying"], args["expiry"]))
            self.proposed.pop((args["underlying"], args["expiry"]), None)

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

    def settleable(self, account: int) -> tuple[int, ...]:
        """Instruments of an account's positions that have a final price, ascending."""
        return tuple(sorted(i for i in self.book.accounts[account].positions if self._has_price(i)))

    def _has_price(self, instrument: int) -> bool:
        expires = instrument & 255 in OPTIONS
        return instrument in self.fixed or (
            expires and (instrument >> 88, (instrument >> 56) & 0xFFFFFFFF) in self.final
        )

    def account_view(self, account: int, below: bool = False) -> AccountView:
        """The account as `decide` wants it; `below`: also what only matters below maintenance margin."""
        held = self.book.accounts[account]
        own, auction = 0, None
        if below:
            lots, epoch = self.system.liquidator.call.own_draw(account)
            own = lots if epoch == self._current()[0].header.epoch else 0
        if account in self.on_auction:
            _, live, timestamp = self.system.takeover.call.auction(account)
            auction = (live, timestamp)
        return AccountView(
            account=account,
            cash=held.cash,
            positions=dict(held.positions),
            content=self.content(account),
            called_at=self.called.get(account),
            own_used=own,
            auction=auction,
            version=held.version,
            position_hash=held.position_hash,
            settleable=self.settleable(account),
        )

    def rooms(self) -> dict[int, int]:
        """What the buckets have left, lots by underlying: the twin of contracts/lib/cascade.vy."""
        epoch, rooms = self._current()[0], {}
        policy, slot = epoch.policy, epoch.header.epoch
        for number in (each.underlying for each in policy.underlyings):
            capacity = self.system.ledger.call.open_interest(number) * policy.shocks.bucket // 1_000_000
            used, drawn_at = self.system.liquidator.call.bucket(number)
            used -= min(used, capacity * (slot - min(slot, drawn_at)) // policy.shocks.refill)
            rooms[number] = max(capacity - used, 0)
        return rooms

    def _places(self, policy: Policy, fresh: bool, statuses: Mapping[int, int]) -> dict[int, Place] | None:
        """Where the feeds stand: of all underlyings while the fallback is open to all, else of the disputed ones."""
        system = self.system
        if not fresh and system.chain.timestamp < system.fallback.call.open_from():
            return None
        places = {}
        for each in policy.underlyings:
            if fresh and statuses[each.underlying] != DISPUTED:
                continue
            price, usable, _ = system.oracle.call.feed_price(each.underlying)
            if usable:
                mark = self._current()[0].header.mark(each.underlying)
                places[each.underlying] = place(policy.rows, mark.scan_range, mark.index, price)
        return places

    def _settling(self, live: int) -> tuple[Settling, ...]:
        """Settlement prices that the epoch states and nobody has proposed, and those that are due."""
        epoch, _ = self._current()
        found = []
        for word in epoch.settlements:
            key, price = (word >> 240, (word >> 208) & 0xFFFFFFFF), (word >> 144) & (2**64 - 1)
            if key not in self.final and self.proposed.get(key, (0, 0))[0] != price:
                found.append(Settling(*key, word))
        found += [Settling(*key) for key, (_, since) in self.proposed.items() if live >= since + DISPUTE_DELAY]
        return tuple(found)

    def view(
        self,
        taker: int,
        min_profit: int = 0,
        bad_debt: bool = False,
        purse: int | None = None,
        only: Collection[int] | None = None,
    ) -> View:
        """Everything that `decide` rests on; `taker` is the keeper's account, `purse` that from which it takes over.

        `only` names the accounts to watch, where somebody has sorted out those that need nothing.
        """
        epoch, margin = self._current()
        system, policy = self.system, epoch.policy
        latest = system.oracle.call.latest()
        if latest[0] != epoch.header.epoch:
            raise BallastError(f"the chain is at epoch {latest[0]}, the bundle at hand is of {epoch.header.epoch}")
        accounts = self.book.accounts
        watched = [
            account
            for account in (accounts if only is None else sorted(only))
            if account >= FIRST_ACCOUNT
            and account not in (taker, purse)
            and (accounts[account].positions or accounts[account].cash < 0)
        ]
        coin = system.oracle.call.mark(system.liquidator.call.coin())
        statuses = {u.underlying: (system.oracle.call.mark(u.underlying) >> 72) & 255 for u in policy.underlyings}
        return View(
            epoch=latest[0],
            live=latest[2],
            fresh=latest[3],
            margin=margin,
            leaves=self.leaves,
            accounts=tuple(self.account_view(a, self.margin_of(a).mm_excess < 0) for a in watched),
            taker=self.account_view(taker),
            min_profit=min_profit,
            bad_debt=bad_debt,
            timestamp=latest[1],
            statuses=statuses,
            grace=system.chain.timestamp < system.oracle.call.grace_until(),
            rooms=self.rooms(),
            share=policy.shocks.bucket,
            gas_price=system.chain.base_fee + TIP,
            coin_price=(coin >> 176) & (2**64 - 1),
            auction_length=system.takeover.call.length(),
            purse=None if purse is None else self.account_view(purse),
            insurance=self.book.accounts[INSURANCE].cash if INSURANCE in self.book.accounts else 0,
            shortfall=self.book.accounts[SHORTFALL].cash if SHORTFALL in self.book.accounts else 0,
            settling=self._settling(latest[2]) if latest[3] else (),
            places=self._places(policy, latest[3], statuses),
        )
