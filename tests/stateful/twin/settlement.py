"""The twins of Fallback and Settlement: all contracts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offchain.oracle.headers import DISPUTED, LIVE, PROVISIONAL
from offchain.oracle.trees import keccak256
from offchain.risk.fallback import Place, place
from offchain.risk.policy import Row
from offchain.risk.portfolios import Content
from twin.core import CLEARING, FIRST, Leg, Witness, leaf_of, mark_of, merkle_root, need, owed, read_leg
from twin.liquidator import Take
from twin.oracle import ORACLE_LIVE, index_of, scan_of, settlement_fields, status_of
from twin.vault import VaultTwin

ONE = 1_000_000
RECORD_WINDOW, DISPUTE_DELAY = 1_800, 7_200


@dataclass(frozen=True)
class Price:
    """The price of an expiry: proposed, or final."""

    price: int
    final: bool = False
    live: int = 0
    epoch: int = 0
    stated: bytes = bytes(32)


@dataclass(frozen=True)
class Exit:
    root: bytes
    mark: int
    price: int
    rows: tuple[Row, ...]


class Twin(VaultTwin):
    """Everything."""

    def begin_settlement(self) -> None:
        """As deployed."""
        self.prices: dict[tuple[int, int], Price] = {}
        self.recorded: dict[tuple[int, int], int] = {}
        self.lots: dict[int, int] = {}
        self.exits: dict[int, Exit] = {}

    # fallback
    def places(self, live: bool, *accounts: int) -> dict[int, Place | None]:
        """Where the feeds' prices stand; None where a feed is not usable, or, while the oracle is live, not asked."""
        out: dict[int, Place | None] = {}
        for number in accounts:
            for key in sorted({i >> 88 for i in self.account(number).positions}):
                mark = self.marks.get(key, 0)
                if live and status_of(mark) != DISPUTED:
                    out[key] = None
                    continue
                price, usable = self.feed_price(key)
                out[key] = place(self.policy_posted.rows, scan_of(mark), index_of(mark), price) if usable else None
        return out

    @staticmethod
    def worth(content: Content, cash: int, places: dict[int, Place | None]) -> int:
        """An account at the feeds' prices."""
        value = cash
        for key, vector in zip(content.underlyings, content.vectors, strict=True):
            found = places[key]
            value += found.value(vector) if found else vector[0]
        return value

    def fallback_liquidate(
        self,
        number: int,
        taker: int,
        takes: Sequence[Take],
        proof: Sequence[bytes],
        flags: Sequence[int],
        witness: Witness,
        taker_witness: Witness,
    ) -> None:
        live = self.oracle_state == ORACLE_LIVE
        need(live or self.now >= self.stale_since + self.fallback_delay, "fallback: too early")
        latest = self.latest()
        need(number >= FIRST, "fallback: reserved account")
        need(number != taker, "fallback: one account on both sides")
        need(self.account(taker).owner == self.sender, "fallback: not the taker's owner")
        self.prove(takes, proof, flags, latest.instruments, "fallback")
        content = self.believe(number, witness, latest.epoch, latest.accounts)
        mine = self.believe(taker, taker_witness, latest.epoch, latest.accounts)
        places = self.places(live, number, taker)
        params = latest.margin
        cash = self.account(number).cash
        before, was = self.worth(content, cash, places), self.judge(content, cash, params)
        if live:
            held_now = [status_of(self.marks.get(key, 0)) for key in content.underlyings]
            need(PROVISIONAL not in held_now, "fallback: underlying is provisional")
            need(DISPUTED in held_now, "fallback: too early")
            best = max(before, was.pv)
            need(best < was.requirement, "fallback: account is above maintenance margin")
            need(best < 0 or self.now >= self.grace_until, "fallback: grace after an outage")
        else:
            need(before < was.closeout, "fallback: account is worth its close-out")
        short, last = content, 0
        for take in takes:
            key = take[0] >> 240
            need(key in places, "fallback: more than the position")
            found = places[key]
            array, sign = read_leg((take[0], take[1])).array, 1 if take[2] > 0 else -1
            price = array[0]
            if not live or status_of(self.marks.get(key, 0)) == DISPUTED:
                need(found is not None, "fallback: feed is not usable")
                assert found is not None
                price = found.value(array)
                if live:
                    price = max(array[0], price + 1) if sign > 0 else min(array[0], price)
            leg, held, other = self.take(number, taker, take, price, latest.epoch, "fallback")
            short, last = self._less(content, leg, held, take[2]), sign * price
            content = self.changed(content, leg, held, -take[2], number)
            mine = self.changed(mine, leg, other, take[2], taker)
        phi = self.phi(number)

        def charged(content: Content, cash: int) -> tuple[int, int, int, bool]:
            """Penalty, gain of both worths at least, fall; and whether it is HEALTHY by both after the penalty."""
            found, value = self.judge(content, cash, params), self.worth(content, cash, places)
            fall = was.requirement - found.requirement
            lower = min(value, found.pv) if live else value
            penalty = min(max(fall, 0) * phi // 10_000, max(lower, 0))
            gain = min(value - before, found.pv - was.pv) if live else value - before
            least = max(found.pv - found.im_excess, content.collateral)
            return penalty, gain, fall, lower - penalty >= least

        cash = self.account(number).cash
        penalty, gain, fall, restored = charged(content, cash)
        if live and restored and was.requirement >= params.dust:
            need(not charged(short, cash - last)[3], "fallback: more than restores the account")
        need(gain + fall > penalty, "fallback: must make the account safer")
        required = was.requirement - fall
        grown = owed(self.worth(content, cash, places) - penalty, required) - owed(before, was.requirement)
        self.pay_penalty(number, taker, penalty, params, grown)
        cash = self.account(taker).cash
        theirs = self.judge(mine, cash, params)
        least, value = theirs.pv - theirs.im_excess, self.worth(mine, cash, places)
        if live:
            least, value = max(least, mine.collateral), min(value, theirs.pv)
        need(value >= least, "fallback: taker below initial margin")
        self.store(number, content, latest.epoch)
        self.store(taker, mine, latest.epoch)

    # settlement: prices
    def record_feed(self, underlying: int, expiry: int) -> None:
        need(underlying < 2**16 and expiry < 2**32, "settlement: no such expiry")
        need(self.now >= expiry, "settlement: not expired")
        need(self.now <= expiry + RECORD_WINDOW, "settlement: too late to record")
        need((underlying, expiry) not in self.recorded, "settlement: already recorded")
        price, usable = self.feed_price(underlying)
        need(usable, "settlement: feed is not usable")
        self.put(self.recorded, (underlying, expiry), price)

    def propose_price(self, word: int, proof: Sequence[bytes]) -> None:
        underlying, expiry, price = settlement_fields(word)
        latest = self.latest()
        need(latest.fresh, "settlement: oracle is not fresh")
        leaf = keccak256(keccak256(word.to_bytes(32, "big")))
        need(merkle_root(leaf, proof) == latest.instruments, "settlement: not proven")
        need(word & (2**144 - 1) == 0 and price != 0, "settlement: malformed leaf")
        need(latest.timestamp >= expiry, "settlement: not expired")
        need(status_of(self.marks.get(underlying, 0)) == LIVE, "settlement: underlying is not live")
        known = self.prices.get((underlying, expiry))
        need(not (known and known.final), "settlement: price is final")
        again = known is not None and self._stands(known) and known.price == price
        need(not again, "settlement: already proposed")
        stated = self.header_hash(latest.epoch)
        self.put(self.prices, (underlying, expiry), Price(price, False, latest.live, latest.epoch, stated))

    def _stands(self, price: Price) -> bool:
        return self.header_hash(price.epoch) == price.stated

    def finalize_price(self, underlying: int, expiry: int) -> None:
        known = self.prices.get((underlying, expiry))
        need(not (known and known.final), "settlement: price is final")
        need(known is not None, "settlement: no price proposed")
        assert known is not None
        latest = self.latest()
        need(latest.fresh, "settlement: oracle is not fresh")
        need(latest.live >= known.live + DISPUTE_DELAY, "settlement: dispute delay is not over")
        need(self._stands(known), "settlement: epoch was revoked")
        feed = self.recorded.get((underlying, expiry), 0)
        if feed:
            near = abs(known.price - feed) * ONE <= feed * self.policy.shocks.dispute
            need(near, "settlement: price is disputed")
        self._finalize(underlying, expiry, known.price)

    def _finalize(self, underlying: int, expiry: int, price: int) -> None:
        self.underlying(underlying)
        self.put(self.prices, (underlying, expiry), Price(price, True))

    def _price_now(self, underlying: int, late: bool) -> int:
        price, usable = self.feed_price(underlying)
        if usable:
            return price
        need(late, "settlement: feed is not usable")
        index = index_of(self.marks.get(underlying, 0))
        need(index != 0, "settlement: underlying has no mark")
        return index

    def last_resort(self, underlying: int, expiry: int) -> None:
        need(expiry != 0, "settlement: no such expiry")
        known = self.prices.get((underlying, expiry))
        need(not (known and known.final), "settlement: price is final")
        need(self.now >= expiry + self.exit_delay, "settlement: too early")
        price = self.recorded.get((underlying, expiry), 0)
        if not price:
            price = self._price_now(underlying, self.now >= expiry + 2 * self.exit_delay)
        self._finalize(underlying, expiry, price)

    def fix_delisted(self, leg: Leg, proof: Sequence[bytes]) -> None:
        identifier = leg[0] >> 152
        since = self.delisted_at.get(identifier, 0)
        need(since != 0, "settlement: not delisted")
        need(self.now >= since + self.delay, "settlement: too early")
        latest = self.latest()
        need(latest.fresh, "settlement: oracle is not fresh")
        need(status_of(self.marks.get(identifier >> 88, 0)) == LIVE, "settlement: underlying is not live")
        self._fix(leg, proof, latest.instruments, mark_of(leg))

    def begin_exit(self, underlying: int) -> None:
        need(underlying not in self.exits, "settlement: exit has begun")
        need(self.oracle_state != ORACLE_LIVE, "settlement: oracle is live")
        since = self.stale_since
        need(self.now >= since + self.exit_delay, "settlement: too early")
        price = self._price_now(underlying, self.now >= since + 2 * self.exit_delay)
        root = self.latest().instruments
        need(root != bytes(32), "settlement: no epoch stands")
        self.put(self.exits, underlying, Exit(root, self.marks.get(underlying, 0), price, self.policy_posted.rows))
        self.put(self.closed, underlying, True)

    def fix_exit(self, leg: Leg, proof: Sequence[bytes]) -> None:
        found = self.exits.get(leg[0] >> 240)
        need(found is not None, "settlement: exit has not begun")
        assert found is not None
        need(index_of(found.mark) != 0, "fallback: underlying has no mark")
        where = place(found.rows, scan_of(found.mark), index_of(found.mark), found.price)
        self._fix(leg, proof, found.root, where.value(read_leg(leg).array))

    def _fix(self, leg: Leg, proof: Sequence[bytes], root: bytes, price: int) -> None:
        identifier = leg[0] >> 152
        need(1 <= identifier & 255 <= 4, "settlement: not a derivative")
        need(self.lot_price(identifier) is None, "settlement: instrument has a price")
        need(merkle_root(leaf_of(leg), proof) == root, "settlement: not proven")
        self.put(self.lots, identifier, price)

    def lot_price(self, identifier: int) -> int | None:
        """What a lot settles at."""
        if identifier in self.lots:
            return self.lots[identifier]
        kind, expiry = identifier & 255, identifier >> 56 & 0xFFFFFFFF
        known = self.prices.get((identifier >> 88, expiry))
        if not expiry or not 2 <= kind <= 4 or known is None or not known.final:
            return None
        strike = identifier >> 8 & (2**48 - 1)
        payoff = (known.price, max(known.price - strike, 0), max(strike - known.price, 0))[kind - 2]
        per_unit = self.underlying(identifier >> 88).lots_per_unit
        return (2 * payoff + per_unit) // (2 * per_unit)

    # settlement: accounts
    def settle(self, number: int, instruments: Sequence[int]) -> None:
        need(number >= FIRST, "settlement: reserved account")
        epoch = self.account(number).last
        last, settled = 0, False
        for identifier in instruments:
            need(identifier > last, "settlement: instruments not ascending")
            last = identifier
            price = self.lot_price(identifier)
            need(price is not None, "settlement: no final price")
            assert price is not None
            lots = self.account(number).positions.get(identifier, 0)
            if not lots:
                continue
            settled = True
            if lots > 0:
                self.move_position(number, CLEARING, identifier, lots, lots * price, epoch)
            else:
                self.move_position(CLEARING, number, identifier, -lots, -lots * price, epoch)
        need(settled, "settlement: nothing to settle")

    # the whole
    def totals(self) -> tuple[int, dict[int, int]]:
        """Sum of cash less what is held, and sums of positions, of tokens less what is held: all zero."""
        sums: dict[int, int] = {}
        for account in self.accounts.values():
            for identifier, lots in account.positions.items():
                sums[identifier] = sums.get(identifier, 0) + lots
        for identifier, (_, token, decimals) in self.token_terms.items():
            units = 10**decimals // self.underlying(identifier >> 88).lots_per_unit
            sums[identifier] = sums.get(identifier, 0) * units - self.coins.get((token, "ledger"), 0)
        return sum(a.cash for a in self.accounts.values()) - self.held, {i: q for i, q in sums.items() if q}

    def copied(self) -> Any:
        """Accounts as they are: their values do not change."""
        return dict(self.accounts)
