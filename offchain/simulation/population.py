"""Many accounts on the real contracts, fast: opened, funded, and brought to positions by real trades.

`Population` is a market state (books from the ledger's events, the latest epoch) that also sends: it opens accounts in
bulk, posts epochs that the real epoch builder put together, fills signed orders and takes legs. Everything is a
transaction to the deployed contracts; nothing is written into their storage.

It knows without asking when a checkpoint holds: a trade, a liquidation and a full check leave one under the epoch they
ran in, and the population sends and sees all of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from eth_account.signers.local import LocalAccount

from offchain.chain.backends import Receipt, dev_account
from offchain.chain.orders import Order
from offchain.chain.system import FIRST_ACCOUNT, INSURANCE, System
from offchain.config import BallastError
from offchain.instruments import Instrument, Kind
from offchain.keeper.state import NO_WITNESS, MarketState, WitnessTuple
from offchain.oracle.accounts import holdings
from offchain.oracle.epochs import Epoch, build_epoch
from offchain.oracle.headers import Mark
from offchain.oracle.observations import Last, Observation, Slot, bounded
from offchain.risk.bulk import BulkMargins, leaf_columns
from offchain.risk.policy import Policy

FIRST_PERSON = 20_000
PERSONS = 64
ORDER_LIFE = 7 * 86_400
ANY_SIGNERS = 1


@dataclass(frozen=True)
class Judged:
    """Margins of every account with a position under the latest epoch, arrays in the order of `accounts`."""

    accounts: tuple[int, ...]
    margins: BulkMargins

    def below_initial(self) -> list[int]:
        """Accounts with IM excess < 0, those with the lowest MM excess first."""
        order = np.argsort(self.margins.mm_excess, kind="stable")
        return [self.accounts[i] for i in order[self.margins.im_excess[order] < 0]]


class Population(MarketState):
    """Accounts, their owners, and the market that they see.

    Parameters
    ----------
    system : a deployment whose committee believes everything (`seats=None`).
    policy : in force.
    slot : seconds of an oracle slot.
    persons : how many keys own the accounts between them; each costs 4 ms to derive.
    """

    def __init__(self, system: System, policy: Policy, slot: int, persons: int = PERSONS):
        super().__init__(system)
        self.policy = policy
        self.slot = slot
        self.treasurer = system.chain.accounts[0]
        self.persons = [dev_account(FIRST_PERSON + number) for number in range(persons)]
        for person in self.persons:
            system.chain.fund(person.address)
        self.keys: dict[int, LocalAccount] = {}
        self._salt = 0
        self._mint(0)

    def _mint(self, amount: int) -> None:
        """Tokens for the treasurer, who pays for everybody and lets the ledger take them."""
        token, treasurer = self.system.token, self.treasurer
        if amount:
            token.send.mint(treasurer.address, amount, sender=treasurer)
        else:
            token.send.approve(self.system.ledger.address, 2**256 - 1, sender=treasurer)

    # accounts
    def open(self, deposits: Sequence[int]) -> list[int]:
        """Open an account for each deposit (micro-USD) and pay it in; the persons own them in turn."""
        opened = []
        self._mint(sum(deposits))
        send, deposit = self.system.ledger.send.open_account, self.system.clearing.send.deposit
        for amount in deposits:
            key = self.persons[len(self.keys) % len(self.persons)]
            account = FIRST_ACCOUNT + len(self.keys)
            send(key.address, sender=key)
            if amount:
                deposit(account, amount, sender=self.treasurer)
            self.keys[account] = key
            opened.append(account)
        self.sync()
        if self.book.next_account != FIRST_ACCOUNT + len(self.keys):
            raise BallastError("somebody else opened accounts meanwhile: open the population's first")
        return opened

    def insure(self, amount: int) -> None:
        """Pay into the insurance fund."""
        self._mint(amount)
        self.system.clearing.send.deposit(INSURANCE, amount, sender=self.treasurer)
        self.sync()

    # epochs
    def last(self) -> Last | None:
        """What the next epoch's bounds need of this one."""
        if self.epoch is None:
            return None
        header = self.epoch.header
        marks = {word >> 240: Mark.unpack(word) for word in header.marks}
        return Last(header.epoch, header.timestamp, marks)

    def next_slot(self, timestamp: int) -> Slot:
        """The slot at a time, on the books of the latest block."""
        chain, block = self.system.chain, self.system.chain.block_number
        return Slot(
            chain.chain_id, self.system.oracle.address.lower(), 1, timestamp // self.slot, timestamp, block,
            chain.block_hash(block),
        )  # fmt: skip

    def build(self, slot: Slot, market: Observation) -> Epoch:
        """The epoch of a market, within the oracle contract's bounds."""
        return build_epoch(slot, bounded(market, slot, self.last(), self.policy), self.book, self.policy)

    def post(self, epoch: Epoch) -> Receipt:
        """Post an epoch at its time, and use it."""
        chain = self.system.chain
        if epoch.header.timestamp > chain.timestamp:
            chain.set_next_timestamp(epoch.header.timestamp)
        receipt: Receipt = self.system.oracle.send.post(
            epoch.header.as_tuple(), ANY_SIGNERS, b"", sender=self.treasurer
        )
        self.use(epoch)
        self.sync()
        return receipt

    def judge(self) -> Judged:
        """The margin rule for every account with a position, all at once."""
        epoch, params = self._current()
        bulk = holdings(self.book, [leaf.id for leaf in epoch.leaves])
        holders = tuple(bulk.accounts.tolist())
        cash = np.array([self.book.accounts[account].cash for account in holders], dtype=np.int64)
        return Judged(holders, bulk.margins_of(*leaf_columns(epoch.leaves), cash, params))

    # actions
    def witness(self, account: int) -> WitnessTuple:
        """What a contract believes of an account now: its leaf if nothing changed since, else its checkpoint."""
        epoch, _ = self._current()
        held = self.book.accounts[account]
        if not held.positions:
            return NO_WITNESS
        if epoch.position_hash(account) == held.position_hash:
            return epoch.witness(account)
        content = self.content(account)
        return content.head, content.cost, content.vector_words, []

    def mark(self, instrument: int) -> int:
        """Price of a lot at the mark, as orders state it: a perpetual's without its funding index."""
        epoch, _ = self._current()
        price = self.leaves[instrument].array[0]
        if Instrument.from_id(instrument).kind == Kind.PERPETUAL:
            price += epoch.header.mark(instrument >> 88).funding
        return price

    def order(self, account: int, instrument: int, lots: int, price: int) -> tuple[tuple[int, ...], bytes]:
        """A signed order of an account's present version. It can be filled in parts."""
        self._salt += 1
        chain = self.system.chain
        version = self.book.accounts[account].version
        order = Order(account, version, instrument, lots, price, chain.timestamp + ORDER_LIFE, self._salt)
        return order.as_tuple(), order.sign(self.keys[account], chain.chain_id, self.system.clearing.address)

    def fill(
        self, maker: int, taker: int, instrument: int, lots: int, standing: tuple[tuple[int, ...], bytes] | None = None
    ) -> Receipt:
        """`taker` buys `lots` (signed) from `maker` at the mark.

        Parameters
        ----------
        standing : the maker's order with its signature, if it signed one for several fills; else a new one is signed.

        Raises
        ------
        Reverted
            A rule refuses the trade.
        """
        epoch, _ = self._current()
        price = self.mark(instrument)
        made = standing or self.order(maker, instrument, -lots, price)
        taken = self.order(taker, instrument, lots, price)
        leg, proof = epoch.leg(instrument)
        receipt: Receipt = self.system.clearing.send.trade(
            *made, *taken, abs(lots), leg, proof, self.witness(maker), self.witness(taker), sender=self.treasurer
        )
        self.sync()
        return receipt

    def encode_liquidation(self, account: int, taker: int, takes: Mapping[int, int]) -> bytes:
        """Calldata with which `taker` takes legs (lots by instrument id, as it receives them) from `account`."""
        epoch, _ = self._current()
        legs, proof, flags = epoch.legs(takes)
        return self.system.liquidator.function("liquidate").encode(
            (
                account,
                taker,
                [(*leg, takes[leg[0] >> 152]) for leg in legs],
                proof,
                flags,
                self.witness(account),
                self.witness(taker),
                b"",
            )
        )

    def liquidate(self, account: int, taker: int, takes: Mapping[int, int]) -> Receipt:
        """Take legs. Raises Reverted where a rule refuses."""
        data = self.encode_liquidation(account, taker, takes)
        to = self.system.liquidator.address
        receipt = self.system.chain.transact(self.keys[taker], to, data, None, "Liquidator.liquidate")
        self.sync()
        return receipt

    # checks
    def check(self) -> None:
        """Sums of the books, and the books against the chain: tokens held, cash of the reserved accounts.

        Raises
        ------
        BookError
            A sum of the books does not hold. BallastError: books and chain differ.
        """
        self.book.check()
        ledger, token = self.system.ledger, self.system.token
        if token.call.balanceOf(ledger.address) != self.book.tokens_held:
            raise BallastError("the ledger holds other tokens than its books say")
        for number in (INSURANCE, 2, 3, 4):
            if ledger.call.account(number)[2] != self.book.accounts[number].cash:
                raise BallastError(f"account {number} has other cash on chain than in the books")
