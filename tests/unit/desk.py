"""A trading desk for the contract tests: a deployed system in process, instruments with plain arrays, orders, epochs.

The margin reference here is written with lists of integers, one per scenario, and shares nothing with the packed words
of the contracts or of the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from eth_account.signers.local import LocalAccount

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract, Receipt, Reverted
from offchain.chain.orders import Order
from offchain.chain.revm import RevmChain
from offchain.chain.system import HOURLY, System
from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.oracle.book import Book
from offchain.oracle.headers import Header, Mark, account_leaf_hash, encode_account, instrument_leaf_hash
from offchain.oracle.keys import Seat
from offchain.oracle.signatures import aggregate, header_digest, sign
from offchain.oracle.trees import Tree, keccak256
from offchain.risk.policy import MarginParams, Policy, RowKind, default_policy
from offchain.units import MICRO

BTC, ETH = 1, 2
NO_COIN = 3
PRICE = {BTC: 10_000 * MICRO, ETH: 250 * MICRO}
PER_LOT = {BTC: 10 * MICRO, ETH: 2_500_000}
LOTS_PER_UNIT = {BTC: 1_000, ETH: 100}
BTC_PERP = Instrument(BTC, Kind.PERPETUAL).id
ETH_PERP = Instrument(ETH, Kind.PERPETUAL).id
START = 1_700_000_000 // 3600 * 3600
EXPIRY = START + 90 * 86_400
BTC_FUTURE = Instrument(BTC, Kind.FUTURE, EXPIRY).id
ETH_FUTURE = Instrument(ETH, Kind.FUTURE, EXPIRY).id
BTC_TOKEN = Instrument(BTC, Kind.TOKEN).id
NOTHING: tuple[int, int, list[int], list[bytes]] = (0, 0, [], [])
"""Witness of an account without positions."""
Witness = tuple[int, int, Sequence[int], Sequence[bytes]]
INSURANCE = 1


def option(underlying: int, strike: int, kind: Kind = Kind.CALL) -> int:
    """Id of an option; the strike in whole dollars."""
    return Instrument(underlying, kind, EXPIRY, strike * MICRO).id


def moves() -> list[int]:
    """A price move for each of the forty rows, 1e-6: the default policy's at a scan range of 16 %."""
    out = []
    for row in default_policy().rows:
        if row.kind is RowKind.SCAN:
            out.append(row.move * 16 // 100)
        elif row.kind is RowKind.TAIL:
            out.append(row.move * row.weight // 10**8)
        else:
            out.append(row.move // 50)
    return out


def leaf(
    identifier: int, price: int | None = None, funding: int = 0, status: Status = Status.OPEN, cost: int | None = None
) -> InstrumentLeaf:
    """An instrument's leaf with integers anybody can follow: linear, or intrinsic value plus a tenth for options.

    Parameters
    ----------
    price : index price, micro-USD per unit; default `PRICE`. funding : `F`, micro-USD per lot. cost : `c_long` and
    `c_short`; default 1/1000 of a lot.
    """
    instrument = Instrument.from_id(identifier)
    index = PRICE[instrument.underlying] if price is None else price
    lots = LOTS_PER_UNIT[instrument.underlying]
    values = []
    for move in moves():
        moved = index + index * move // MICRO
        if instrument.kind is Kind.PERPETUAL:
            value = moved // lots - funding
        elif instrument.kind is Kind.CALL:
            value = (max(moved - instrument.strike, 0) + index // 10) // lots
        elif instrument.kind is Kind.PUT:
            value = (max(instrument.strike - moved, 0) + index // 10) // lots
        else:
            value = moved // lots
        values.append(value)
    charge = index // lots // 1000 if cost is None else cost
    iv = 800_000 if instrument.kind.is_option else 0
    return InstrumentLeaf(identifier, index, iv, charge, charge, status, tuple(values))


@dataclass(frozen=True)
class Content:
    """Margin content of an account in plain integers.

    Attributes
    ----------
    vectors : forty values by underlying, ascending. closeout : without the reserve. collateral : value of tokens.
    """

    account: int
    vectors: dict[int, list[int]]
    closeout: int
    open: int
    sum_abs: int
    collateral: int = 0

    @property
    def head(self) -> int:
        word = self.account << 192 | self.open << 64 | self.sum_abs
        for place, underlying in enumerate(self.vectors):
            word |= underlying << (176 - 16 * place)
        return word

    @property
    def cost(self) -> int:
        return self.closeout << 128 | self.collateral

    @property
    def words(self) -> list[int]:
        out = []
        for values in self.vectors.values():
            for w in range(10):
                out.append(sum((values[4 * w + i] + 2**63) << (64 * i) for i in range(4)))
        return out

    def witness(self, proof: Sequence[bytes] = ()) -> Witness:
        return (self.head, self.cost, self.words, list(proof))


def content(account: int, positions: Mapping[int, int], leaves: Mapping[int, InstrumentLeaf]) -> Content:
    """Content of some positions, by instrument id."""
    vectors: dict[int, list[int]] = {}
    closeout = collateral = 0
    for identifier, lots in sorted(positions.items()):
        collateral += max(lots, 0) * leaves[identifier].array[0] if identifier & 255 == Kind.TOKEN else 0
        each = leaves[identifier]
        row = vectors.setdefault(identifier >> 88, [0] * 40)
        for s, value in enumerate(each.array):
            row[s] += lots * value
        closeout += lots * each.c_long if lots > 0 else -lots * each.c_short
    return Content(account, vectors, closeout, len(positions), sum(map(abs, positions.values())), collateral)


def margin(body: Content, cash: int, params: MarginParams) -> tuple[int, int, int, int, int]:
    """(pv, risk, closeout, mm_excess, im_excess) in plain integers, after DESIGN, *The one rule*."""
    pv = cash + sum(v[0] for v in body.vectors.values())
    risks = sum(v[0] - min(v) for v in body.vectors.values())
    total = [sum(column) for column in zip(*body.vectors.values(), strict=True)] or [0]
    risk = risks - params.kappa * (risks - (total[0] - min(total))) // 10_000
    closeout = body.closeout + (params.reserve if body.open else 0)
    initial = -(-params.im_factor * (risk + closeout) // 10_000)
    return pv, risk, closeout, pv - risk - closeout, pv - initial


def policy_with(**changes: Any) -> Policy:
    """The default policy with other margin parameters."""
    base = default_policy()
    return replace(base, margin=replace(base.margin, **changes))


def leaping(policy: Policy, share: int = MICRO) -> Policy:
    """A policy under which prices may leap, and `share` (1e-6) of what is open be liquidated in a slot."""
    return replace(policy, shocks=replace(policy.shocks, jump=MICRO, bucket=share))


@dataclass
class Desk:
    """A system on an in-process chain, and what its members would know.

    Attributes
    ----------
    leaves : instrument leaves of the next epoch. marks : marks of the next epoch. posted, accounts : leaves and account
    tree of the latest one. seats : the committee, all but the last of which sign; none where every signature is
    believed.
    share : of open interest that may be liquidated in a slot, 1e-6.
    """

    system: System
    params: MarginParams
    leaves: dict[int, InstrumentLeaf]
    marks: dict[int, Mark]
    policy_hash: bytes
    posted: dict[int, InstrumentLeaf] = field(default_factory=dict)
    epoch: int = 0
    seats: Sequence[Seat] = ()
    _instruments: Tree = field(default_factory=lambda: Tree([]))
    _accounts: Tree = field(default_factory=lambda: Tree([]))
    _holders: list[int] = field(default_factory=list)
    share: int = MICRO
    _salt: int = 0
    _book: Book = field(default_factory=Book)
    _read: int = -1

    @classmethod
    def open(
        cls,
        instruments: Sequence[int] = (BTC_PERP, ETH_PERP),
        policy: Policy | None = None,
        unlisted: Sequence[int] = (),
        chain: Any = None,
        seats: Sequence[Seat] | None = None,
        price: Mapping[int, int] | None = None,
        share: int = MICRO,
        coin: int = NO_COIN,
        tokens: Sequence[tuple[int, str, int]] = (),
    ) -> Desk:
        """Deploy everything, list `instruments`, post a first epoch.

        Parameters
        ----------
        unlisted : have leaves but are not listed. share : as in `leaping`. coin : what gas is paid in; an underlying
        without a mark unless told, so that no reward is raised to its gas. tokens : collateral tokens of `chain`:
        instrument, address, decimals.
        """
        policy = leaping(policy or default_policy(), share)
        chain = chain or RevmChain(timestamp=START)
        system = System.deploy(
            chain,
            chain.accounts[0],
            policy.encode(),
            seats,
            HOURLY,
            instruments=sorted(instruments),
            coin=coin,
            tokens=tokens,
        )
        every = sorted([*instruments, *unlisted, *(token[0] for token in tokens)])
        desk = cls(
            system,
            policy.margin,
            {i: leaf(i) for i in every},
            {u: Mark(u, PRICE[u], 0, 160_000) for u in (BTC, ETH)},
            policy.hash,
            seats=seats or (),
        )
        desk.share = share
        desk.post()
        return desk

    # shorthands
    @property
    def chain(self) -> Any:
        return self.system.chain

    @property
    def ledger(self) -> Contract:
        return self.system.ledger

    @property
    def house(self) -> Contract:
        return self.system.clearing

    @property
    def liquidator(self) -> Contract:
        return self.system.liquidator

    @property
    def keys(self) -> list[LocalAccount]:
        return self.chain.accounts

    @property
    def book(self) -> Book:
        """The books from the ledger's events alone, their sums checked."""
        latest = self.chain.block_number
        if latest < self._read:  # the chain went back to a snapshot
            self._book, self._read = Book(), -1
        for event in self.chain.events([self.ledger], self._read + 1, latest):
            self._book.apply(event)
        self._read = latest
        self._book.check()
        return deepcopy(self._book)

    # the market
    def reprice(self, underlying: int, price: int, funding: int = 0) -> None:
        """From the next epoch on, an underlying has another price and `F`."""
        for i in self.leaves:
            if i >> 88 == underlying:
                self.leaves[i] = leaf(i, price, funding, self.leaves[i].status)
        self.marks[underlying] = replace(self.marks[underlying], index=price, funding=funding)

    def post(self, **changes: Any) -> Receipt:
        """Post an epoch an hour on, with the leaves, marks and positions of now. `changes` go into the header."""
        time = (self.chain.timestamp // 3600 + 1) * 3600
        self.chain.set_next_timestamp(time)
        self.chain.mine()
        book = self.book
        instruments = Tree([instrument_leaf_hash(*self.leaves[i].pack()) for i in sorted(self.leaves)])
        holders = book.holders()
        hashes = []
        for number in holders:
            body = content(number, book.positions(number), self.leaves)
            hashes.append(account_leaf_hash(body.head, book.accounts[number].position_hash, body.cost, body.words))
        accounts = Tree(hashes)
        snapshot = self.chain.block_number - 1
        header = Header(
            epoch=time // 3600,
            timestamp=time,
            snapshot_block=snapshot,
            snapshot_hash=self.chain.block_hash(snapshot),
            committee_set=1,
            policy_hash=self.policy_hash,
            shortfall=0,
            instrument_root=instruments.root,
            account_root=accounts.root,
            bundle_hash=bytes(32),
            marks=tuple(self.marks[u].pack() for u in sorted(self.marks)),
        )
        header = replace(header, **changes)
        mask, signature = self.attest(header)
        receipt = self.system.oracle.send.post(header.as_tuple(), mask, signature, sender=self.keys[0])
        self.posted = dict(self.leaves)
        self.epoch = time // 3600
        self._instruments, self._accounts, self._holders = instruments, accounts, holders
        return receipt

    def attest(self, header: Header) -> tuple[int, bytes]:
        """Mask of the signers of a header, and their signature."""
        if not self.seats:
            return 7, b""
        oracle = self.system.oracle.address
        digest = header_digest(self.chain.chain_id, oracle, header.committee_set, header.epoch, header.hash)
        signers = self.seats[:-1]
        return 2 ** len(signers) - 1, aggregate([sign(seat.secret, digest) for seat in signers])

    # witnesses
    def leg(self, identifier: int) -> tuple[int, list[int]]:
        """The posted leaf of an instrument, as a contract takes it."""
        return self.posted[identifier].pack()

    def proof(self, identifier: int) -> list[bytes]:
        return self._instruments.proof(sorted(self.posted).index(identifier))

    def multiproof(self, identifiers: Sequence[int]) -> tuple[list[bytes], list[int]]:
        order = sorted(self.posted)
        return self._instruments.multiproof([order.index(i) for i in identifiers])

    def content(self, account: int) -> Content:
        """Content of an account's present positions under the latest epoch."""
        return content(account, self.book.positions(account), self.posted)

    def margin(self, account: int) -> tuple[int, int, int, int, int]:
        """The reference margin of an account as it stands."""
        book = self.book
        return margin(content(account, book.positions(account), self.posted), book.accounts[account].cash, self.params)

    def by_leaf(self, account: int) -> Witness:
        """Witness by the latest epoch's account leaf, with the content of now: stale if the account traded since."""
        return self.content(account).witness(self._accounts.proof(self._holders.index(account)))

    def by_checkpoint(self, account: int) -> Witness:
        """Witness by checkpoint; that of an account without positions if it has none."""
        body = self.content(account)
        return body.witness() if body.open else NOTHING

    def witness(self, account: int) -> Witness:
        """Whatever the contracts believe of an account as it stands: checkpoint, else leaf."""
        body = self.content(account)
        if not body.open:
            return NOTHING
        digest = keccak256(encode_account(body.head, self.ledger.call.account(account)[5], body.cost, body.words))
        if self.ledger.call.checkpoint(account) == keccak256(self.epoch.to_bytes(32, "big") + digest):
            return body.witness()
        return self.by_leaf(account)

    def check_full(self, account: int, sender: LocalAccount | None = None) -> Receipt:
        """Check an account by all its positions."""
        ids = sorted(self.book.positions(account))
        proof, flags = self.multiproof(ids)
        return self.system.examiner.send.check_full(
            account, [self.leg(i) for i in ids], proof, flags, sender=sender or self.keys[0]
        )

    # actions
    def fund(self, owner: LocalAccount, dollars: int = 0) -> int:
        """A new account of `owner` with cash."""
        account = self.system.open_account(owner)
        if dollars:
            self.pay(account, dollars * MICRO, owner)
        return account

    def pay(self, account: int, amount: int, payer: LocalAccount) -> None:
        """Mint and deposit micro-USD."""
        self.system.token.send.mint(payer.address, amount, sender=payer)
        self.system.deposit(account, amount, payer)

    def order(self, account: int, identifier: int, lots: int, price: int, **changes: Any) -> Order:
        """A fresh order of the account's present version."""
        self._salt += 1
        version = self.ledger.call.account(account)[1]
        base = Order(account, version, identifier, lots, price, self.chain.timestamp + 86_400, self._salt)
        return replace(base, **changes)

    def sign(self, order: Order, key: LocalAccount | None = None) -> bytes:
        """An order's signature by the owner of its account, or by another key."""
        owner = self.ledger.call.account(order.account)[0]
        key = key or next(k for k in self.keys if k.address.lower() == owner.lower())
        return order.sign(key, self.chain.chain_id, self.house.address)

    def fill(self, maker: Order, taker: Order, lots: int | None = None, **changes: Any) -> Receipt:
        """Bring two orders to the clearing house, all else honest unless `changes` say otherwise."""
        args: dict[str, Any] = {
            "maker": maker.as_tuple(),
            "maker_signature": None,
            "taker": taker.as_tuple(),
            "taker_signature": None,
            "lots": abs(taker.lots) if lots is None else lots,
            "leg": None,
            "proof": None,
            "maker_witness": None,
            "taker_witness": None,
        } | changes
        makers: dict[str, Any] = {
            "maker_signature": lambda: self.sign(maker),
            "taker_signature": lambda: self.sign(taker),
            "leg": lambda: self.leg(maker.instrument),
            "proof": lambda: self.proof(maker.instrument),
            "maker_witness": lambda: self.witness(maker.account),
            "taker_witness": lambda: self.witness(taker.account),
        }
        values = [makers[k]() if v is None else v for k, v in args.items()]
        return self.house.send.trade(*values, sender=self.keys[9])

    def trade(self, buyer: int, seller: int, identifier: int, lots: int, price: int | None = None) -> Receipt:
        """`buyer` buys from `seller`, at the mark unless told; the seller is the maker."""
        if price is None:
            price = self.posted[identifier].array[0]
            if identifier & 255 == Kind.PERPETUAL:
                price += self.marks[identifier >> 88].funding
        return self.fill(self.order(seller, identifier, -lots, price), self.order(buyer, identifier, lots, price))

    def withdraw(self, account: int, amount: int, owner: LocalAccount, witness: Witness | None = None) -> Receipt:
        return self.house.send.withdraw(
            account, amount, owner.address, self.witness(account) if witness is None else witness, sender=owner
        )

    def liquidate(
        self, account: int, taker: int, legs: Mapping[int, int], owner: LocalAccount, **changes: Any
    ) -> Receipt:
        """`owner`'s account `taker` takes legs (lots by instrument id)."""
        ids = sorted(legs)
        proof, flags = self.multiproof(ids)
        args: dict[str, Any] = {
            "takes": [(*self.leg(i), legs[i]) for i in ids],
            "proof": proof,
            "flags": flags,
            "witness": None,
            "taker_witness": None,
            "data": b"",
        } | changes
        args["witness"] = self.witness(account) if args["witness"] is None else args["witness"]
        args["taker_witness"] = self.witness(taker) if args["taker_witness"] is None else args["taker_witness"]
        return self.liquidator.send.liquidate(account, taker, *args.values(), sender=owner)


class Pair:
    """A desk with a buyer and a seller who have cash."""

    def __init__(self, dollars: int = 10_000, **opening: Any) -> None:
        opening.setdefault("instruments", (BTC_PERP, ETH_PERP, BTC_FUTURE, option(BTC, 10_000)))
        self.desk = Desk.open(**opening)
        self.buyer_key, self.seller_key = self.desk.keys[1], self.desk.keys[2]
        self.buyer = self.desk.fund(self.buyer_key, dollars)
        self.seller = self.desk.fund(self.seller_key, dollars)

    def orders(self, identifier: int = BTC_PERP, lots: int = 10, price: int = PER_LOT[BTC]) -> tuple[Any, Any]:
        """Matching orders: the seller makes, the buyer takes."""
        desk = self.desk
        return desk.order(self.seller, identifier, -lots, price), desk.order(self.buyer, identifier, lots, price)

    def cash(self, account: int) -> int:
        return int(self.desk.ledger.call.account(account)[2])


def reason(action: Any, *args: Any, **kwargs: Any) -> str:
    """The string with which an action reverts; an error if it does not."""
    try:
        action(*args, **kwargs)
    except Reverted as error:
        return error.reason
    raise AssertionError("it did not revert")


def standalone(token: str) -> tuple[RevmChain, Contract, Contract]:
    """A chain with a token from the mocks and a ledger whose only engine is the deployer."""
    chain = RevmChain(timestamp=START)
    deployer = chain.accounts[0]
    money = chain.deploy(artifact(f"mocks/{token}"), sender=deployer)
    ledger = chain.deploy(artifact("Ledger"), money, sender=deployer)
    ledger.send.set_engines([deployer.address], sender=deployer)
    return chain, money, ledger
