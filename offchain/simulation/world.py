"""A population of account owners who trade with each other on the real contracts.

Owners differ in deposit, in leaning (which way they like to be exposed) and in how much of their equity they put up as
margin. They look ahead with the integer twin, so an order that the contracts would refuse is not sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from eth_account.signers.local import LocalAccount

from offchain.chain.backends import Receipt, dev_account
from offchain.chain.orders import Order
from offchain.chain.system import INSURANCE, System
from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.keeper.state import MarketState
from offchain.market.candles import Candles
from offchain.risk.portfolios import apply_change, evaluate
from offchain.units import DAY, HOUR, MICRO

FIRST_OWNER_KEY = 1000
ORDER_LIFE = 1800  # seconds
USD = MICRO
STRIKES = (0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.25)


@dataclass(frozen=True)
class Owner:
    """An account's owner.

    Attributes
    ----------
    account : account id. key : who signs.
    leaning : +1 likes to be long, -1 short.
    usage : share of equity that may be tied up as initial margin when a position is opened.
    cures : whether it pays in when it gets a margin call, and with how much of the deposit it began with.
    deposit : micro-USD it began with.
    """

    account: int
    key: LocalAccount
    leaning: int
    usage: float
    cures: bool
    deposit: int


@dataclass
class World:
    """Owners, and the market that they see.

    Attributes
    ----------
    state : the market's books and latest epoch.
    rng : the only source of chance.
    """

    system: System
    state: MarketState
    rng: np.random.Generator
    owners: dict[int, Owner] = field(default_factory=dict)
    _salt: int = 0

    def settle_in(self, count: int, insurance: int) -> None:
        """Open and fund `count` accounts, and the insurance account with `insurance` micro-USD."""
        chain, token = self.system.chain, self.system.token
        treasurer = chain.accounts[0]
        token.send.mint(treasurer.address, insurance, sender=treasurer)
        self.system.deposit(INSURANCE, insurance, treasurer)
        for number in range(count):
            key = dev_account(FIRST_OWNER_KEY + number)
            chain.fund(key.address)
            amount = int(np.clip(np.exp(self.rng.normal(9.8, 0.8)), 2_000, 150_000)) * USD
            token.send.mint(key.address, 3 * amount, sender=treasurer)
            account = self.system.open_account(key)
            self.system.deposit(account, amount, key)
            self.owners[account] = Owner(
                account, key,
                leaning=1 if number % 2 == 0 else -1,
                usage=float(self.rng.uniform(0.35, 0.92)),
                cures=bool(self.rng.random() < 0.25),
                deposit=amount,
            )  # fmt: skip
        self.state.sync()

    # looking ahead
    def _fits(self, owner: Owner, leaf: InstrumentLeaf, lots: int, price: int, fee: int, usage: float) -> bool:
        """Whether the account would be HEALTHY after buying `lots`, with the share 1 - usage of its equity to spare."""
        assert self.state.margin is not None
        held = self.state.book.accounts[owner.account]
        content = apply_change(self.state.content(owner.account), leaf, held.positions.get(leaf.id, 0), lots)
        perpetual = Instrument.from_id(leaf.id).kind == Kind.PERPETUAL
        funding = self._funding(leaf) if perpetual else 0
        paid = lots * (price - funding)
        margin = evaluate(content, held.cash - paid - fee, self.state.margin)
        before = self.state.margin_of(owner.account)
        spare = int((1 - usage) * max(margin.pv, 0))
        return before.im_excess >= 0 and margin.im_excess >= max(spare, 1)

    def _funding(self, leaf: InstrumentLeaf) -> int:
        assert self.state.epoch is not None
        return self.state.epoch.header.mark(Instrument.from_id(leaf.id).underlying).funding

    def _room(self, owner: Owner, leaf: InstrumentLeaf) -> bool:
        held = self.state.book.accounts[owner.account].positions
        underlyings = {Instrument.from_id(i).underlying for i in held}
        fresh = Instrument.from_id(leaf.id).underlying
        return (leaf.id in held or len(held) < 24) and (fresh in underlyings or len(underlyings) < 4)

    def fee(self, leaf: InstrumentLeaf, lots: int) -> int:
        """Trade fee of one side, micro-USD, as the clearing house takes it."""
        assert self.state.epoch is not None
        assert self.state.margin is not None
        number = Instrument.from_id(leaf.id).underlying
        per_unit = self.state.epoch.policy.underlying(number).lots_per_unit
        index = self.state.epoch.header.mark(number).index
        return -(-self.state.margin.trade_fee * index * lots // (10_000 * per_unit))

    def trade(self, buyer: Owner, seller: Owner, leaf: InstrumentLeaf, usage: float = 1.0) -> Receipt | None:
        """A trade that both have room for, at a price near the mark; None if there is none."""
        instrument = Instrument.from_id(leaf.id)
        if leaf.status != Status.OPEN or not (self._room(buyer, leaf) and self._room(seller, leaf)):
            return None
        mark = leaf.array[0] + (self._funding(leaf) if instrument.kind == Kind.PERPETUAL else 0)
        price = max(int(mark * (1 + self.rng.normal(0, 0.0004))), 0)

        def fits(lots: int) -> bool:
            fee = self.fee(leaf, lots)
            return self._fits(buyer, leaf, lots, price, fee, min(usage, buyer.usage)) and self._fits(
                seller, leaf, -lots, price, fee, min(usage, seller.usage)
            )

        lots, step = 0, 1
        while step < 2**24 and fits(lots + step):
            lots, step = lots + step, step * 2
        while step > 1:
            step //= 2
            if fits(lots + step):
                lots += step
        lots = int(lots * self.rng.uniform(0.2, 1.0))
        if lots < 1:
            return None
        return self.fill(buyer, seller, leaf, lots, price)

    def fill(self, buyer: Owner, seller: Owner, leaf: InstrumentLeaf, lots: int, price: int) -> Receipt:
        """Sign both orders and have the clearing house fill them."""
        assert self.state.epoch is not None
        chain, clearing = self.system.chain, self.system.clearing
        sides = []
        for owner, signed in ((buyer, lots), (seller, -lots)):
            self._salt += 1
            version = self.state.book.accounts[owner.account].version
            order = Order(owner.account, version, leaf.id, signed, price, chain.timestamp + ORDER_LIFE, self._salt)
            sides.append((order.as_tuple(), order.sign(owner.key, chain.chain_id, clearing.address)))
        leg, proof = self.state.epoch.leg(leaf.id)
        witnesses = [self.state.ensure(owner.account, owner.key) for owner in (buyer, seller)]
        receipt = clearing.send.trade(*sides[0], *sides[1], lots, leg, proof, *witnesses, sender=buyer.key)
        self.state.sync()
        return receipt

    def trade_some(self, count: int, tries: int = 6) -> int:
        """Let random pairs trade; returns how many trades were made."""
        made = 0
        leaves = [leaf for leaf in self.state.leaves.values() if leaf.status == Status.OPEN]
        perpetuals = [leaf for leaf in leaves if Instrument.from_id(leaf.id).kind == Kind.PERPETUAL]
        everyone = list(self.owners.values())
        for _ in range(count):
            for _ in range(tries):
                one, two = self.rng.choice(len(everyone), size=2, replace=False)
                pair = sorted((everyone[one], everyone[two]), key=lambda o: -o.leaning)
                pool = perpetuals if self.rng.random() < 0.3 else leaves
                leaf = pool[self.rng.integers(len(pool))]
                put = Instrument.from_id(leaf.id).kind == Kind.PUT
                buyer, seller = (pair[1], pair[0]) if put else (pair[0], pair[1])
                if self.trade(buyer, seller, leaf) is not None:
                    made += 1
                    break
        return made

    def withdraw_some(self, count: int) -> int:
        """A few owners take out a part of what they do not need; returns how many did."""
        made = 0
        picked = self.rng.permutation(sorted(self.owners))[: 4 * count]
        for account in picked:
            if made == count:
                break
            free = self.free(int(account))
            amount = int(free * self.rng.uniform(0.05, 0.4))
            if amount >= 10 * USD:
                self.withdraw(int(account), amount)
                made += 1
        return made

    def free(self, account: int) -> int:
        """What the account could withdraw now, micro-USD: nothing under the epoch of its last trade."""
        assert self.state.epoch is not None
        held = self.state.book.accounts[account]
        if not held.positions:
            return max(held.cash, 0)
        if held.last_trade_epoch >= self.state.epoch.header.epoch:
            return 0
        return max(self.state.margin_of(account).im_excess, 0)

    def withdraw(self, account: int, amount: int) -> Receipt:
        """Withdraw `amount` micro-USD to the owner."""
        owner = self.owners[account]
        witness = self.state.ensure(account, owner.key)
        receipt: Receipt = self.system.clearing.send.withdraw(
            account, amount, owner.key.address, witness, sender=owner.key
        )
        self.state.sync()
        return receipt

    def cure_some(self) -> int:
        """Owners who cure pay in what they lack, as far as their wallet goes; returns how many did."""
        made = 0
        for owner in self.owners.values():
            if not owner.cures or owner.account not in self.state.called:
                continue
            lacking = -self.state.margin_of(owner.account).im_excess
            wallet = int(self.system.token.call.balanceOf(owner.key.address))
            amount = min(lacking + lacking // 5, wallet)
            if lacking > 0 and amount > 0:
                self.system.deposit(owner.account, amount, owner.key)
                made += 1
        if made:
            self.state.sync()
        return made


def listing(candles: Mapping[int, Candles], start: int, end: int) -> list[Instrument]:
    """Perpetual, three futures and two chains of options for each underlying; all expire after the replay."""
    first = _friday(end + 3 * DAY)
    expiries = (first, first + 28 * DAY, first + 91 * DAY)
    out = []
    for number, each in candles.items():
        spot = float(each.until(start).close[-1])
        out.append(Instrument(number, Kind.PERPETUAL))
        out += [Instrument(number, Kind.FUTURE, expiry) for expiry in expiries]
        step = 10 ** math.floor(math.log10(spot / 20))
        for ratio in STRIKES:
            strike = max(round(spot * ratio / step), 1) * step
            for kind in (Kind.CALL, Kind.PUT):
                out += [Instrument(number, kind, expiry, round(strike * MICRO)) for expiry in expiries[:2]]
    return sorted(set(out), key=lambda i: i.id)


def _friday(after: int) -> int:
    """The next Friday, 08:00 UTC."""
    day = after // DAY
    while (day + 3) % 7 != 4:  # 1970-01-01 was a Thursday: day 0 is weekday 3
        day += 1
    return day * DAY + 8 * HOUR
