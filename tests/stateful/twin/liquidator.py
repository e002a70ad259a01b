"""The twins of Liquidator and Takeover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import Content, Margin, apply_change
from twin.core import (
    FIRST,
    INSURANCE,
    SHORTFALL,
    TOKEN,
    ZERO,
    Account,
    Leg,
    Witness,
    healthy,
    leaf_of,
    mark_of,
    merkle_root_of_many,
    need,
    owed,
    read_leg,
)
from twin.house import HouseTwin
from twin.oracle import Latest, index_of

CURE, COIN = 3_600, 2
Take = tuple[int, Sequence[int], int]


@dataclass(frozen=True)
class Bid:
    """What a taker bids for an account."""

    account: int
    version: int
    position_hash: bytes
    limit: int
    taker: int
    top_up: int

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.account, self.version, self.position_hash, self.limit, self.taker, self.top_up)


def penalty_of(before: Margin, after: Margin, phi: int) -> int:
    """The share of the requirement's fall, within what the account has."""
    return min(max(before.requirement - after.requirement, 0) * phi // 10_000, max(before.pv, 0))


class LiquidatorTwin(HouseTwin):
    """Margin calls and legs."""

    def begin_liquidator(self, length: int) -> None:
        """As deployed; `length` of an auction."""
        self.called: dict[int, int] = {}
        self.auctions: dict[int, tuple[int, int]] = {}
        self.length = length
        self.buckets: dict[int, tuple[int, int]] = {}
        self.own: dict[int, tuple[int, int]] = {}
        self.flash = ZERO

    def margin_call(self, number: int, witness: Witness) -> None:
        account, latest = self.account(number), self.latest()
        need(latest.fresh, "liquidator: oracle is not fresh")
        need(not self.called.get(number), "liquidator: already called")
        need(self.all_live(number), "liquidator: underlying is not live")
        content = self.believe(number, witness, latest.epoch, latest.accounts)
        need(not healthy(content, self.judge(content, account.cash, latest.margin)), "liquidator: account is healthy")
        self.put(self.called, number, latest.live + 1)

    def clear_call(self, number: int, witness: Witness) -> None:
        account, latest = self.account(number), self.latest()
        need(bool(self.called.get(number)), "liquidator: not called")
        content = self.believe(number, witness, latest.epoch, latest.accounts)
        found = self.judge(content, account.cash, latest.margin)
        need(found.im_excess >= 0, "liquidator: still below initial margin")
        need(found.pv >= content.collateral, "liquidator: quote equity below zero")
        self._clear(number)

    def _clear(self, number: int) -> None:
        self.put(self.called, number, 0)
        self.put(self.own, number, (0, 0))

    def room(self, underlying: int, epoch: int) -> tuple[int, int]:
        """Lots used of an underlying's bucket by now, and its capacity."""
        shocks = self.policy.shocks
        capacity = self.markets.get(underlying, 0) * shocks.bucket // 1_000_000
        used, since = self.buckets.get(underlying, (0, 0))
        return used - min(used, capacity * (epoch - since) // shocks.refill), capacity

    def draw(self, number: int, takes: Sequence[Take], epoch: int, lots: int) -> None:
        """Takes, which are done, draw on the buckets, and on the share of the account's `lots` before for the rest."""
        own, since = self.own.get(number, (0, 0))
        had = own = own if since == epoch else 0
        for underlying in sorted({take[0] >> 240 for take in takes}):
            mine = [t for t in takes if t[0] >> 240 == underlying and t[0] >> 152 & 255 != TOKEN]
            wanted = sum(abs(t[2]) for t in mine)
            if wanted:
                used, capacity = self.room(underlying, epoch)
                drawn = min(wanted, max(capacity - used, 0))
                own += wanted - drawn
                self.put(self.buckets, underlying, (used + drawn, epoch))
        if own != had:
            most = -(-(lots + had) * self.policy.shocks.bucket // 1_000_000)
            need(own <= most, "liquidator: bucket and own share are used up")
            self.put(self.own, number, (own, epoch))

    def floor(self, legs: int, params: MarginParams) -> int:
        """What the gas of a liquidation is worth at no base fee."""
        spent = params.gas_multiple * (260_000 + 30_000 * (legs - 1)) * 2 * 10**9
        return min(spent * index_of(self.marks.get(COIN, 0)) // 10**20, params.reserve)

    def phi(self, number: int) -> int:
        """The penalty rate of now."""
        latest, called = self.latest(), self.called.get(number, 0)
        params = latest.margin
        if not called:
            return params.phi_min
        elapsed = latest.live + 1 - called
        if elapsed >= params.phi_ramp:
            return params.phi_max
        return params.phi_min + (params.phi_max - params.phi_min) * elapsed // params.phi_ramp

    def prove(self, takes: Sequence[Take], proof: Sequence[bytes], flags: Sequence[int], root: bytes, who: str) -> None:
        """Takes are leaves, ascending."""
        need(len(takes) != 0, f"{who}: no takes")
        last = 0
        for take in takes:
            need(take[0] >> 152 > last, f"{who}: takes not ascending")
            last = take[0] >> 152
        found = merkle_root_of_many([leaf_of((t[0], t[1])) for t in takes], proof, flags)
        need(found == root, f"{who}: takes not proven")

    def take(self, number: int, taker: int, take: Take, price: int, epoch: int, who: str) -> tuple[Leg, int, int]:
        """One leg moves at a price; what both held."""
        leg, lots = (take[0], take[1]), take[2]
        identifier = take[0] >> 152
        held = self.account(number).positions.get(identifier, 0)
        other = self.account(taker).positions.get(identifier, 0)
        if lots > 0:
            need(lots <= held, f"{who}: more than the position")
            self.move_position(number, taker, identifier, lots, lots * price, epoch)
        else:
            need(lots < 0, f"{who}: empty take")
            need(lots >= held, f"{who}: more than the position")
            self.move_position(taker, number, identifier, -lots, -lots * price, epoch)
        return leg, held, other

    def pay_penalty(
        self, number: int, taker: int, penalty: int, params: MarginParams, rise: int, extra: int = 0
    ) -> None:
        """To taker and insurance, which first gets the rise of what it owes; `extra` to the taker."""
        reward = max(min(penalty * params.liquidator_share // 10_000, penalty - max(rise, 0)), 0)
        self.move_cash(number, taker, reward + extra)
        self.move_cash(number, INSURANCE, penalty - reward)

    def liquidate(
        self,
        number: int,
        taker: int,
        takes: Sequence[Take],
        proof: Sequence[bytes],
        flags: Sequence[int],
        witness: Witness,
        taker_witness: Witness,
        data: bytes,
    ) -> None:
        latest = self.latest()
        need(latest.fresh, "liquidator: oracle is not fresh")
        need(number >= FIRST, "liquidator: reserved account")
        need(number != taker, "liquidator: one account on both sides")
        need(self.account(taker).owner == self.sender, "liquidator: not the taker's owner")
        need(self.all_live(number), "liquidator: underlying is not live")
        self.prove(takes, proof, flags, latest.instruments, "liquidator")
        content = self.believe(number, witness, latest.epoch, latest.accounts)
        mine = self.believe(taker, taker_witness, latest.epoch, latest.accounts)
        before = self.judge(content, self.account(number).cash, latest.margin)
        quote = before.mm_excess >= 0
        if quote:
            need(before.pv < content.collateral, "liquidator: account is above maintenance margin")
            called = self.called.get(number, 0)
            need(called != 0 and latest.live + 1 >= called + CURE, "liquidator: cure period is not over")
        if before.pv >= 0:
            need(self.now >= self.grace_until, "liquidator: grace after an outage")
        params = latest.margin
        small = before.requirement < params.dust or before.pv < before.requirement * 1_000 // 10_000
        size = sum(map(abs, self.account(number).positions.values()))
        short = content
        for take in takes:
            need(not quote or take[0] >> 152 & 255 == TOKEN, "liquidator: only tokens can be taken")
            lots = take[2]
            leg, held, other = self.take(number, taker, take, mark_of((take[0], take[1])), latest.epoch, "liquidator")
            short = self._less(content, leg, held, lots)
            content = self.changed(content, leg, held, -lots, number)
            mine = self.changed(mine, leg, other, lots, taker)
        if not small:
            self.draw(number, takes, latest.epoch, size)
        phi = self.phi(number)
        after = self.judge(content, self.account(number).cash, latest.margin)
        penalty = penalty_of(before, after, phi)
        after = self.judge(content, self.account(number).cash - penalty, params)
        rise = after.mm_excess - before.mm_excess
        need(rise > 0, "liquidator: must raise maintenance excess")
        restored, extra = healthy(content, after), 0
        share = penalty * params.liquidator_share // 10_000
        if restored and share < params.reserve:
            least = self.floor(len(takes), params)
            extra = min(max(least - share, 0), max(after.pv, 0), rise - 1)
            if not healthy(content, self.judge(content, self.account(number).cash - penalty - extra, params)):
                extra = 0
        if restored and before.requirement >= params.dust:
            less = self.judge(short, 0, params)
            charged = penalty_of(before, less, phi) + extra
            bound = max(less.pv - less.im_excess, short.collateral)
            need(before.pv - charged < bound, "liquidator: more than restores the account")
        grown = owed(after.pv, after.requirement) - owed(before.pv, before.requirement)
        self.pay_penalty(number, taker, penalty, params, grown, extra)
        if restored and self.called.get(number):
            self._clear(number)
        theirs = self.judge(mine, self.account(taker).cash, params)
        if data:
            need(self.sender == self.flash, "liquidator: caller cannot be called")
            lacking = max(-theirs.im_excess, mine.collateral - theirs.pv, 0)
            if lacking:
                self.put(self.scalars, "tokens_held", self.held + lacking)
                self.add_cash(taker, lacking)
                theirs = self.judge(mine, self.account(taker).cash, params)
        need(theirs.im_excess >= 0, "liquidator: taker below initial margin")
        need(theirs.pv >= mine.collateral, "liquidator: taker's quote equity below zero")
        self.store(number, content, latest.epoch)
        self.store(taker, mine, latest.epoch)

    def _less(self, content: Content, leg: Leg, held: int, lots: int) -> Content:
        """The content with one lot less taken of a leg: `content` is the one before it."""
        change = 1 - lots if lots > 0 else -1 - lots
        return apply_change(content, read_leg(leg), held, change, underlyings=content.underlyings)


class TakeoverTwin(LiquidatorTwin):
    """Auctions of whole accounts."""

    def _found(self, number: int, witness: Witness, latest: Latest) -> tuple[Account, Margin, int]:
        need(number >= FIRST, "takeover: reserved account")
        need(latest.fresh, "takeover: oracle is not fresh")
        need(self.all_live(number), "takeover: underlying is not live")
        account = self.account(number)
        content = self.believe(number, witness, latest.epoch, latest.accounts)
        found = self.judge(content, account.cash, latest.margin)
        if found.pv >= 0:
            need(self.now >= self.grace_until, "takeover: grace after an outage")
        return account, found, content.collateral

    def start(self, number: int, witness: Witness) -> None:
        latest = self.latest()
        _, found, _ = self._found(number, witness, latest)
        need(found.mm_excess < 0, "takeover: account is above maintenance margin")
        if found.pv >= found.requirement * 1_000 // 10_000:
            called = self.called.get(number, 0)
            waited = bool(called) and latest.live >= called - 1 + latest.margin.phi_ramp
            need(waited, "takeover: legs come first")
        need(not self.auctions.get(number) or self._was_out(number, latest), "takeover: auction is on")
        self.put(self.auctions, number, (latest.live, latest.timestamp))

    def end(self, number: int, witness: Witness) -> None:
        latest = self.latest()
        need(bool(self.auctions.get(number)), "takeover: no auction")
        _, found, _ = self._found(number, witness, latest)
        need(found.mm_excess >= 0, "takeover: account is below maintenance margin")
        self.put(self.auctions, number, None)

    def _was_out(self, number: int, latest: Latest) -> bool:
        live, timestamp = self.auctions[number]
        return latest.timestamp - timestamp != latest.live - live

    def _covered(self, debt: int, incentive: int) -> tuple[int, int]:
        insurance = min(debt + incentive, max(self.account(INSURANCE).cash, 0))
        return insurance, debt - min(insurance, debt)

    def auction_terms(self, number: int, found: Margin, latest: Latest) -> tuple[int, int, int]:
        """Price, and what insurance and shortfall pay in."""
        need(bool(self.auctions.get(number)), "takeover: no auction")
        need(not self._was_out(number, latest), "takeover: outage, start anew")
        elapsed = latest.live - self.auctions[number][0]
        worth, debt = max(found.pv, 0), max(-found.pv, 0)
        if elapsed <= self.length:
            price = worth * 9_500 * (self.length - elapsed) // (10_000 * self.length)
            return (0, *self._covered(debt, 0)) if debt else (price, 0, 0)
        cap = found.requirement * 1_000 // 10_000
        incentive = cap * min(elapsed - self.length, self.length) // self.length
        return (0, *self._covered(debt, max(incentive - worth, 0)))

    def take_over(self, bid: Bid, witness: Witness) -> None:
        latest = self.latest()
        account, found, collateral = self._found(bid.account, witness, latest)
        need(account.version == bid.version, "takeover: another version")
        need(account.hash == bid.position_hash, "takeover: positions have changed")
        need(found.mm_excess < 0, "takeover: account is above maintenance margin")
        price, insurance, shortfall = self.auction_terms(bid.account, found, latest)
        need(price - insurance - shortfall <= bid.limit, "takeover: price beyond the limit")
        need(bid.top_up < 2**127, "takeover: top-up out of range")
        paid = insurance + shortfall + bid.top_up
        need(found.im_excess + paid >= 0, "takeover: account must end healthy")
        need(found.pv + paid >= collateral, "takeover: quote equity below zero")
        need(bid.taker != bid.account, "takeover: one account on both sides")
        taker = self.account(bid.taker)
        need(taker.owner == self.sender, "takeover: not the taker's owner")
        need(not taker.positions, "takeover: taker has positions")
        need(taker.cash >= price + bid.top_up, "takeover: taker has not enough cash")
        if price:
            self.move_cash(bid.taker, self.open_account(account.owner), price)
        self.move_cash(bid.taker, bid.account, bid.top_up)
        self.move_cash(INSURANCE, bid.account, insurance)
        self.move_cash(SHORTFALL, bid.account, shortfall)
        self.assign(bid.account, self.sender)
        self.put(self.auctions, bid.account, None)
        self.put(self.called, bid.account, 0)

    def absorb(self, number: int) -> None:
        need(number >= FIRST, "takeover: reserved account")
        account = self.account(number)
        need(not account.positions, "takeover: account has positions")
        need(account.cash < 0, "takeover: account has no debt")
        insurance, shortfall = self._covered(-account.cash, 0)
        self.move_cash(INSURANCE, number, insurance)
        self.move_cash(SHORTFALL, number, shortfall)
        self.put(self.auctions, number, None)
        self.put(self.called, number, 0)

    def repay_shortfall(self) -> None:
        debt, funds = -self.account(SHORTFALL).cash, self.account(INSURANCE).cash
        need(debt > 0 and funds > 0, "takeover: nothing to repay")
        self.move_cash(INSURANCE, SHORTFALL, min(debt, funds))
