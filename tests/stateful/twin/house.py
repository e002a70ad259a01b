"""The twin of ClearingHouse, its orders, and the Examiner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offchain.chain.orders import Order
from offchain.oracle.headers import LIVE
from offchain.oracle.trees import keccak256
from offchain.risk.portfolios import Content, Margin
from twin.core import (
    INSURANCE,
    SHORTFALL,
    SUM_LIMIT,
    TOKEN,
    ZERO,
    Account,
    Core,
    Leg,
    Witness,
    healthy,
    leaf_of,
    mark_of,
    merkle_root,
    merkle_root_of_many,
    need,
    owed,
    read_leg,
)
from twin.oracle import AGREES, OracleTwin, funding_of, index_of, status_of

CANCELLED = 2**256 - 1
_TYPE = keccak256(
    b"Order(uint256 account,uint256 version,uint256 instrument,int256 lots,int256 price,uint256 expiry,uint256 salt)"
)


@dataclass(frozen=True)
class Signature:
    """A signature, and who signed what: nobody can tell more from its bytes."""

    body: bytes
    signer: str
    digest: bytes


def shrinks(before: int, change: int) -> bool:
    """Whether a position gets smaller without turning."""
    return change < 0 <= before + change if before > 0 else change > 0 >= before + change


class HouseTwin(OracleTwin, Core):
    """ClearingHouse and Examiner."""

    def begin_house(self, domain: bytes) -> None:
        """As deployed; `domain` is the EIP-712 separator."""
        self.domain = domain
        self.filled: dict[bytes, int] = {}
        self.wallets: dict[str, str] = {}

    def order_hash(self, order: Order) -> bytes:
        """What an owner signs."""
        words = b"".join((word % 2**256).to_bytes(32, "big") for word in order.as_tuple())
        return keccak256(b"\x19\x01" + self.domain + keccak256(_TYPE + words))

    # anyone
    def deposit(self, account: int, amount: int) -> None:
        need(amount != 0, "ledger: zero amount")
        need(1 <= account <= 4 or 256 <= account < self.next_account, "ledger: no such account")
        need(self.tokens.get("allow " + self.sender, 0) >= amount, "token: not approved")
        need(self.tokens.get(self.sender, 0) >= amount, "token: balance too small")
        self.put(self.tokens, self.sender, self.tokens[self.sender] - amount)
        self.put(self.tokens, "allow " + self.sender, self.tokens["allow " + self.sender] - amount)
        self.put(self.scalars, "tokens_held", self.held + amount)
        need(amount < 2**127, "ledger: amount out of range")
        self.add_cash(account, amount)

    def withdraw(self, number: int, amount: int, to: str, witness: Witness) -> None:
        account = self.account(number)
        need(account.owner == self.sender, "house: not the owner")
        need(amount < 2**127, "house: amount out of range")
        cash = account.cash - amount
        if not account.positions:
            self.believe(number, witness, 0, bytes(32))
            need(cash >= 0, "house: below initial margin")
        else:
            latest = self.latest()
            need(latest.fresh, "house: oracle is not fresh")
            need(latest.epoch > account.last, "house: no epoch since the last trade")
            need(self.all_live(number), "house: underlying is not live")
            content = self.believe(number, witness, latest.epoch, latest.accounts)
            after = self.judge(content, cash, latest.margin)
            need(after.im_excess >= 0, "house: below initial margin")
            need(after.pv >= content.collateral, "house: quote equity below zero")
        need(amount != 0, "ledger: zero amount")
        need(to not in (ZERO, self.scalars["ledger"]), "ledger: bad recipient")
        short, paid = self.short, amount
        if short:
            paid = amount * self.held // (self.held + short)
            need(paid != 0, "ledger: zero amount")
            self.add_cash(number, paid - amount)
            self.add_cash(SHORTFALL, amount - paid)
        need(paid <= self.held, "ledger: not enough tokens held")
        self.put(self.scalars, "tokens_held", self.held - paid)
        self.add_cash(number, -paid)
        self.put(self.tokens, to, self.tokens.get(to, 0) + paid)

    def cancel(self, order: Order) -> None:
        need(self.account(order.account).owner == self.sender, "house: not the owner")
        self.put(self.filled, self.order_hash(order), CANCELLED)

    def trade(
        self,
        maker: Order,
        maker_signature: Signature,
        taker: Order,
        taker_signature: Signature,
        lots: int,
        leg: Leg,
        proof: Sequence[bytes],
        maker_witness: Witness,
        taker_witness: Witness,
    ) -> None:
        latest = self.latest()
        need(merkle_root(leaf_of(leg), proof) == latest.instruments, "house: instrument not proven")
        leaf = read_leg(leg)
        need(maker.account != taker.account, "house: one account on both sides")
        need(maker.instrument == taker.instrument == leaf.id, "house: order names another instrument")
        buys = maker.lots > 0
        need(buys != (taker.lots > 0), "house: orders on the same side")
        need(0 < lots < SUM_LIMIT, "house: lots out of range")
        price = maker.price
        need(0 <= price < 2**64, "house: price out of range")
        within = price >= taker.price if buys else price <= taker.price
        need(within, "house: price beyond the taker's limit")
        one, two = self.account(maker.account), self.account(taker.account)
        change = lots if buys else -lots
        held_one, held_two = one.positions.get(leaf.id, 0), two.positions.get(leaf.id, 0)
        one_shrinks, two_shrinks = shrinks(held_one, change), shrinks(held_two, -change)
        self._fill(maker, maker_signature, lots, one, one_shrinks)
        self._fill(taker, taker_signature, lots, two, two_shrinks)
        closes = one_shrinks and two_shrinks
        fee, funding = self._terms(leaf.id, leg, price, lots, closes)
        cash = lots * (price - funding)
        content_one = self.believe(maker.account, maker_witness, latest.epoch, latest.accounts)
        content_two = self.believe(taker.account, taker_witness, latest.epoch, latest.accounts)
        was_one = self.judge(content_one, one.cash, latest.margin)
        was_two = self.judge(content_two, two.cash, latest.margin)
        giver, getter = (taker.account, maker.account) if buys else (maker.account, taker.account)
        self.move_position(giver, getter, leaf.id, lots, cash, latest.epoch)
        self.move_cash(maker.account, INSURANCE, fee)
        self.move_cash(taker.account, INSURANCE, fee)
        if not closes:
            self._limits(leaf.id >> 88, maker.account, taker.account, one_shrinks, two_shrinks)
        for number, content, held, sign, was, last in (
            (maker.account, content_one, held_one, 1, was_one, one.last),
            (taker.account, content_two, held_two, -1, was_two, two.last),
        ):
            after = self.changed(content, leg, held, sign * change, number)
            now = self.judge(after, self.account(number).cash, latest.margin)
            self._judge(healthy(content, was), was, now, after, last >= latest.epoch, latest.fresh)
            self.store(number, after, latest.epoch)

    def _fill(self, order: Order, signature: Signature, lots: int, account: Account, closes: bool) -> None:
        need(self.now <= order.expiry, "house: order expired")
        need(order.version == account.version, "house: order for another version")
        need(closes or order.salt >> 255 == 0, "house: order only reduces")
        digest = self.order_hash(order)
        signer = self.wallets.get(account.owner, account.owner)
        signed = account.owner != ZERO and signature.digest == digest and signature.signer == signer
        need(signed, "house: not signed by the owner")
        before = self.filled.get(digest, 0)
        need(before != CANCELLED, "house: order cancelled")
        need(before + lots <= abs(order.lots), "house: order overfilled")
        self.put(self.filled, digest, before + lots)

    def _terms(self, identifier: int, leg: Leg, price: int, lots: int, closes: bool) -> tuple[int, int]:
        kind, expiry, key = identifier & 255, identifier >> 56 & 0xFFFFFFFF, identifier >> 88
        latest, word = self.latest(), self.marks.get(identifier >> 88, 0)
        need(1 <= kind <= 4, "house: not a derivative")
        need(bool(self.listed.get(identifier)), "house: instrument not listed")
        if not closes:
            need(latest.fresh, "house: oracle is not fresh")
            young = max(self.max_age // 2, self.slot)
            need(self.now <= latest.timestamp + young, "house: epoch too old for new risk")
            need(leg[0] & 255 == 1, "house: close-only")
            need(status_of(word) == LIVE, "house: close-only")
            need(expiry == 0 or self.now < expiry, "house: close-only")
            need(not self.delisted_at.get(identifier), "house: close-only")
            need(word >> 64 & 255 <= AGREES, "house: feed does not agree")
            need(not self.paused.get(1), "house: opening risk is paused")
        per_unit = self.underlying(key).lots_per_unit
        index = index_of(word)
        funding = funding_of(word) if kind == 1 else 0
        mark = mark_of(leg) + funding
        scale = 10_000 * per_unit
        band = latest.margin.price_band * index
        need(2 * scale * abs(price - mark) <= 2 * band + scale * abs(mark), "house: price outside the band")
        return -(-latest.margin.trade_fee * index * lots // scale), funding

    def _limits(self, key: int, one: int, two: int, one_shrinks: bool, two_shrinks: bool) -> None:
        terms = self.underlying(key)
        most = terms.depth * self.policy.shocks.position // 1_000_000
        for number, closes in ((one, one_shrinks), (two, two_shrinks)):
            size = sum(map(abs, self.account(number).positions.values()))
            need(closes or size <= most, "house: position limit")
        if not one_shrinks and not two_shrinks:
            most = terms.depth * terms.open_interest // 100
            need(self.markets.get(key, 0) <= most, "house: open interest limit")

    @staticmethod
    def _judge(good: bool, before: Margin, after: Margin, content: Content, again: bool, fresh: bool) -> None:
        if good:
            need(after.im_excess >= 0, "house: below initial margin")
            need(after.pv >= content.collateral, "house: quote equity below zero")
        else:
            need(after.mm_excess > before.mm_excess, "house: must raise maintenance excess")
            need(after.pv >= min(before.pv, 0), "house: must not end bankrupt")
            need(
                owed(after.pv, after.requirement) <= owed(before.pv, before.requirement),
                "house: must not raise the claim on insurance",
            )
            need(after.im_excess >= before.im_excess, "house: must not lower initial excess")
            need(not again, "house: one trade an epoch below initial margin")
        if not fresh:
            need(after.requirement <= before.requirement, "house: must not raise the requirement")

    def check_full(self, number: int, legs: Sequence[Leg], proof: Sequence[bytes], flags: Sequence[int]) -> Margin:
        """The Examiner's only action."""
        account, latest = self.account(number), self.latest()
        need(bool(account.positions), "examiner: account has no positions")
        need(len(legs) == len(account.positions), "examiner: not all positions")
        last = 0
        for leg in legs:
            need(leg[0] >> 152 > last, "examiner: legs not ascending")
            last = leg[0] >> 152
        closeout = collateral = 0
        vectors: dict[int, Any] = {}
        for leg in legs:
            leaf = read_leg(leg)
            lots = account.positions.get(leaf.id, 0)
            need(lots != 0, "examiner: no such position")
            if leaf.id & 255 == TOKEN:
                collateral += lots * leaf.array[0]
            closeout += lots * leaf.c_long if lots > 0 else -lots * leaf.c_short
            row = vectors.get(leaf.id >> 88, (0,) * 40)
            vectors[leaf.id >> 88] = tuple(a + lots * v for a, v in zip(row, leaf.array, strict=True))
        root = merkle_root_of_many([leaf_of(leg) for leg in legs], proof, flags)
        need(root == latest.instruments, "examiner: legs not proven")
        size = sum(map(abs, account.positions.values()))
        order = tuple(sorted(vectors))
        content = Content(
            number, order, len(legs), size, closeout, collateral, tuple(vectors[u] for u in order)
        )  # fmt: skip
        self.store(number, content, latest.epoch)
        return self.judge(content, account.cash, latest.margin)
