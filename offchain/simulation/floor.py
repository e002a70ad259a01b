"""The floor of a run: the deployed system, its books as they are after every transaction, margins of all accounts at
once, and what it takes to send an order or a witness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from eth_account.signers.local import LocalAccount

from offchain.chain.backends import Contract, Receipt, Signer
from offchain.chain.orders import Order
from offchain.chain.system import INSURANCE, SHORTFALL, System
from offchain.instruments import Instrument, InstrumentLeaf, Kind
from offchain.keeper.state import MarketState, WitnessTuple
from offchain.oracle.book import FIRST_ACCOUNT
from offchain.oracle.epochs import Epoch
from offchain.risk.bulk import BulkBook, leaf_columns
from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import Margin, content_of, evaluate

ORDER_LIFE = 86_400


@dataclass
class Table:
    """Margins of all accounts under some leaves, kept right account by account as books change.

    Attributes
    ----------
    accounts : ids, ascending. pv, mm_excess, im_excess, requirement : int64, micro-USD. holds : whether it has
        positions. owed : value of its tokens less PV: dollars owed against them where it is positive.
    """

    accounts: npt.NDArray[np.int64]
    pv: npt.NDArray[np.int64]
    mm_excess: npt.NDArray[np.int64]
    im_excess: npt.NDArray[np.int64]
    requirement: npt.NDArray[np.int64]
    holds: npt.NDArray[np.bool_]
    owed: npt.NDArray[np.int64]

    def place(self, account: int) -> int:
        """Row of an account; -1 if it is not there."""
        at = int(np.searchsorted(self.accounts, account))
        return at if at < len(self.accounts) and self.accounts[at] == account else -1

    def place_many(self, accounts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of accounts that are all there."""
        return np.searchsorted(self.accounts, accounts)

    def put(self, account: int, margin: Margin, holds: bool, collateral: int) -> None:
        """Replace an account's row."""
        at = self.place(account)
        if at >= 0:
            self.pv[at], self.mm_excess[at], self.im_excess[at] = margin.pv, margin.mm_excess, margin.im_excess
            self.requirement[at], self.holds[at] = margin.risk + margin.closeout, holds
            self.owed[at] = collateral - margin.pv


@dataclass
class Floor:
    """Attributes
    ----------
    state : books, epoch and witnesses. owners : who signs for an account. version : rises with every transaction.
    table : margins under the latest epoch.
    """

    system: System
    state: MarketState
    owners: dict[int, LocalAccount] = field(default_factory=dict)
    version: int = 0
    table: Table | None = None
    _salt: int = 0
    _bulk: tuple[int, BulkBook] | None = None

    # books
    def apply(self, receipt: Receipt) -> None:
        """Take a transaction's events into the books."""
        ledger = self.system.ledger.address
        touched: set[int] = set()
        for event in receipt.events:
            self.state.take(event)
            if event.address == ledger:
                touched |= {int(event.args[k]) for k in ("account", "giver", "taker") if k in event.args}
        self.state.block = receipt.block_number
        self.version += 1
        if self.table is not None:
            for account in touched:
                if account >= FIRST_ACCOUNT:
                    held = self.state.book.accounts[account].positions
                    margin, content = self.state.margin_of(account), self.state.content(account)
                    self.table.put(account, margin, bool(held), content.collateral)

    def use(self, epoch: Epoch) -> None:
        """Take an epoch, which the chain has, as the latest."""
        self.state.use(epoch)
        self.table = self.margins(epoch.leaves, epoch.policy.margin)
        self.version += 1

    def margins(self, leaves: Sequence[InstrumentLeaf], params: MarginParams) -> Table:
        """Margins of every owner's account under any leaves of the listed instruments."""
        book = self.state.book
        key = (book.position_version << 32) + book.next_account
        if self._bulk is None or self._bulk[0] != key:
            accounts = range(FIRST_ACCOUNT, book.next_account)
            made = BulkBook.of({a: book.accounts[a].positions for a in accounts}, [leaf.id for leaf in leaves])
            self._bulk = (key, made)
        bulk = self._bulk[1]
        cash = np.array([book.accounts[a].cash for a in bulk.accounts.tolist()], dtype=np.int64)
        found = bulk.margins_of(*leaf_columns(leaves), cash, params)
        pv, mm_excess, im_excess, requirement = (
            np.array(column, dtype=np.int64)
            for column in (found.pv, found.mm_excess, found.im_excess, found.risk + found.closeout)
        )
        owed = bulk.collateral(leaves) - pv
        return Table(bulk.accounts, pv, mm_excess, im_excess, requirement, bulk.counts > 0, owed)

    def cash(self, account: int) -> int:
        """Cash of an account, micro-USD."""
        return self.state.book.accounts[account].cash

    def delta(self, positions: Mapping[int, int], leaves: Mapping[int, InstrumentLeaf]) -> dict[int, int]:
        """Lots of each underlying that positions amount to: slopes between the rows +R/4 and -R/4, whole lots."""
        out: dict[int, float] = {}
        linears = {key >> 88: leaf for key, leaf in leaves.items() if Instrument.from_id(key).kind == Kind.PERPETUAL}
        for key, lots in positions.items():
            leaf, number = leaves[key], key >> 88
            slope = 1.0
            if Instrument.from_id(key).kind.is_option:
                linear = linears[number]
                slope = (leaf.array[3] - leaf.array[6]) / max(linear.array[3] - linear.array[6], 1)
            out[number] = out.get(number, 0.0) + lots * slope
        return {number: round(lots) for number, lots in out.items() if round(lots)}

    def due(self, amount: int) -> int:
        """What a withdrawal of `amount` pays if everybody bears the same part of what nobody can pay, floored;
        micro-USD.
        """
        book = self.state.book
        debts = sum(-a.cash for n, a in book.accounts.items() if n >= FIRST_ACCOUNT and not a.positions and a.cash < 0)
        short = max(debts - book.accounts[SHORTFALL].cash - book.accounts[INSURANCE].cash, 0)
        return amount * book.tokens_held // (book.tokens_held + short) if short else amount

    @property
    def fresh(self) -> bool:
        """Whether the latest epoch is young enough by the chain's clock."""
        return bool(self.system.oracle.call.clock()[3])

    # accounts
    def open(self, key: LocalAccount, amount: int) -> int:
        """A new account of `key` with `amount` micro-USD, minted for it."""
        account = self._applied(self.system.ledger.send.open_account(key.address, sender=key)).event("AccountOpened")
        number = int(account.args["account"])
        self.owners[number] = key
        if amount:
            self.pay(number, amount, key)
        return number

    def pay(self, account: int, amount: int, key: Signer) -> None:
        """Mint and deposit."""
        self.system.token.send.mint(key.address, amount, sender=key)
        self.system.token.send.approve(self.system.ledger.address, amount, sender=key)
        self._applied(self.system.clearing.send.deposit(account, amount, sender=key))

    def pledge(self, account: int, instrument: int, token: Contract, lots: int, key: Signer) -> None:
        """Mint collateral tokens of 18 decimals and bring them in; their leaf must be in the latest epoch."""
        assert self.state.epoch is not None
        amount = lots * 10**18 // self.state.epoch.policy.underlying(instrument >> 88).lots_per_unit
        token.send.mint(key.address, amount, sender=key)
        token.send.approve(self.system.ledger.address, amount, sender=key)
        leg, proof = self.state.epoch.leg(instrument)
        witness = self.witness(account, key)
        self._applied(self.system.collateral.send.deposit(account, amount, leg, proof, witness, sender=key))

    def free(self, account: int) -> int:
        """What an owner could withdraw, micro-USD: above initial margin, and no dollars against tokens."""
        margin, held = self.state.margin_of(account), self.state.book.accounts[account]
        if not held.positions:
            return held.cash
        return min(margin.im_excess, margin.pv - self.state.content(account).collateral)

    def _applied(self, receipt: Receipt) -> Receipt:
        self.apply(receipt)
        return receipt

    def witness(self, account: int, sender: Signer) -> WitnessTuple:
        """A witness that holds now, made by a full check where there is none."""
        found = self.state.witness(account)
        if found is None:
            assert self.state.epoch is not None
            legs, proof, flags = self.state.epoch.legs(sorted(self.state.book.accounts[account].positions))
            self._applied(self.system.examiner.send.check_full(account, legs, proof, flags, sender=sender))
            found = self.state.witness(account)
            assert found is not None, "a full check leaves a checkpoint"
        return found

    # trading
    def mark(self, instrument: int) -> int:
        """Price of a lot at the mark, micro-USD."""
        value = self.state.leaves[instrument].array[0]
        return value + self.funding(instrument)

    def funding(self, instrument: int) -> int:
        """What is taken off the price of a perpetual, micro-USD a lot."""
        assert self.state.epoch is not None
        each = Instrument.from_id(instrument)
        return self.state.epoch.header.mark(each.underlying).funding if each.kind == Kind.PERPETUAL else 0

    def fee(self, instrument: int, lots: int) -> int:
        """Trade fee of one side, micro-USD, rounded up."""
        epoch = self.state.epoch
        assert epoch is not None
        number = instrument >> 88
        scale = 10_000 * epoch.policy.underlying(number).lots_per_unit
        return -(-epoch.policy.margin.trade_fee * epoch.header.mark(number).index * lots // scale)

    def order(self, account: int, instrument: int, lots: int, price: int) -> tuple[tuple[int, ...], bytes]:
        """A signed order."""
        self._salt += 1
        chain = self.system.chain
        version = self.state.book.accounts[account].version
        order = Order(account, version, instrument, lots, price, chain.timestamp + ORDER_LIFE, self._salt)
        return order.as_tuple(), order.sign(self.owners[account], chain.chain_id, self.system.clearing.address)

    def trade(self, buyer: int, seller: int, instrument: int, lots: int, price: int, sender: Signer) -> Receipt:
        """Fill two orders. Raises Reverted where the clearing house refuses."""
        assert self.state.epoch is not None
        one, two = self.order(buyer, instrument, lots, price), self.order(seller, instrument, -lots, price)
        leg, proof = self.state.epoch.leg(instrument)
        witnesses = [self.witness(account, sender) for account in (buyer, seller)]
        return self._applied(self.system.clearing.send.trade(*one, *two, lots, leg, proof, *witnesses, sender=sender))

    def fits(self, account: int, change: Mapping[int, int], spare: int) -> bool:
        """Whether an account would keep `spare` micro-USD of IM excess after buying at the mark; fees aside."""
        assert self.state.margin is not None
        held = self.state.book.accounts[account]
        positions = dict(held.positions)
        cash = held.cash
        for key, lots in change.items():
            positions[key] = positions.get(key, 0) + lots
            cash -= lots * self.state.leaves[key].array[0]
            if not positions[key]:
                del positions[key]
        margin = evaluate(content_of(account, positions, self.state.leaves), cash, self.state.margin)
        return margin.im_excess >= spare

    def most(self, account: int, direction: Mapping[int, int], spare: int, limit: int) -> int:
        """Most units of a portfolio, at most `limit`, that an account has the margin for."""
        low, high = 0, 1
        while high <= limit and self.fits(account, {k: high * n for k, n in direction.items()}, spare):
            low, high = high, 2 * high
        high = min(high, limit + 1)
        while high - low > 1:
            middle = (low + high) // 2
            fits = self.fits(account, {k: middle * n for k, n in direction.items()}, spare)
            low, high = (middle, high) if fits else (low, middle)
        return low
