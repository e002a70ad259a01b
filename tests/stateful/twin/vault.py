"""The twin of Collateral, and of full checks in parts."""

from __future__ import annotations

from collections.abc import Sequence

from offchain.risk.portfolios import Content, pack_vector, unpack_vector
from twin.core import (
    SUM_LIMIT,
    TOKEN,
    ZERO,
    Leg,
    Witness,
    healthy,
    leaf_of,
    merkle_root,
    merkle_root_of_many,
    need,
    read_leg,
)
from twin.liquidator import TakeoverTwin

Part = tuple[int, int, int, Sequence[int]]
"""Legs counted, the last id, cost word and vectors so far."""


class VaultTwin(TakeoverTwin):
    """Collateral tokens, whose balances are kept by token and person."""

    def begin_vault(self) -> None:
        """As deployed."""
        self.coins: dict[tuple[str, str], int] = {}
        self.stages: dict[int, tuple[int, bytes, Part] | None] = {}

    def _whole(self, identifier: int, amount: int) -> tuple[str, int]:
        terms = self.token_terms.get(identifier)
        need(terms is not None, "collateral: no such token")
        assert terms is not None
        units = 10 ** terms[2] // self.underlying(identifier >> 88).lots_per_unit
        need(amount % units == 0, "collateral: no whole number of lots")
        return terms[1], amount // units

    def _flow(self, number: int, identifier: int, lots: int, epoch: int) -> None:
        """A position of tokens changes, with nobody on the other side."""
        self._change(number, identifier, lots, 0, epoch)

    def _coin(self, key: tuple[str, str], change: int) -> None:
        self.put(self.coins, key, self.coins.get(key, 0) + change)

    def deposit_tokens(self, number: int, amount: int, leg: Leg, proof: Sequence[bytes], witness: Witness) -> None:
        identifier = leg[0] >> 152
        need(not self.paused.get(2), "collateral: deposits are paused")
        still = leg[0] & 255 == 1 and not self.delisted_at.get(identifier)
        need(still, "collateral: token is close-only")
        latest, account = self.latest(), self.account(number)
        need(account.owner == self.sender, "collateral: not the owner")
        token, lots = self._whole(identifier, amount)
        need(merkle_root(leaf_of(leg), proof) == latest.instruments, "collateral: token not proven")
        content = self.believe(number, witness, latest.epoch, latest.accounts)
        was = self.judge(content, account.cash, latest.margin)
        good, again = healthy(content, was), account.last >= latest.epoch
        held = account.positions.get(identifier, 0)
        need(0 < lots < SUM_LIMIT, "ledger: lots out of range")
        need(not self.closed.get(identifier >> 88), "ledger: underlying is closed")
        need(self.coins.get((token, "allow " + self.sender), 0) >= amount, "token: not approved")
        need(self.coins.get((token, self.sender), 0) >= amount, "token: balance too small")
        self._coin((token, "allow " + self.sender), -amount)
        self._coin((token, self.sender), -amount)
        self._coin((token, "ledger"), amount)
        self._flow(number, identifier, lots, account.last if good else latest.epoch)
        content = self.changed(content, leg, held, lots, number)
        now = self.judge(content, account.cash, latest.margin)
        self._judge(good, was, now, content, again, True)
        self.store(number, content, latest.epoch)

    def withdraw_tokens(
        self, number: int, amount: int, to: str, leg: Leg, proof: Sequence[bytes], witness: Witness
    ) -> None:
        identifier = leg[0] >> 152
        latest, account = self.latest(), self.account(number)
        need(account.owner == self.sender, "collateral: not the owner")
        token, lots = self._whole(identifier, amount)
        need(latest.fresh, "collateral: oracle is not fresh")
        need(latest.epoch > account.last, "collateral: no epoch since the last trade")
        need(self.all_live(number), "collateral: underlying is not live")
        need(merkle_root(leaf_of(leg), proof) == latest.instruments, "collateral: token not proven")
        content = self.believe(number, witness, latest.epoch, latest.accounts)
        held = account.positions.get(identifier, 0)
        need(lots <= held, "collateral: more than the position")
        self._pay_tokens(number, to, identifier, token, lots, amount)
        content = self.changed(content, leg, held, -lots, number)
        now = self.judge(content, account.cash, latest.margin)
        need(now.im_excess >= 0, "collateral: below initial margin")
        need(now.pv >= content.collateral, "collateral: quote equity below zero")
        self.store(number, content, latest.epoch)

    def _pay_tokens(self, number: int, to: str, identifier: int, token: str, lots: int, amount: int) -> None:
        need(0 < lots < SUM_LIMIT, "ledger: lots out of range")
        need(to not in (ZERO, self.scalars["ledger"]), "ledger: bad recipient")
        self._flow(number, identifier, -lots, self.account(number).last)
        self._coin((token, "ledger"), -amount)
        self._coin((token, to), amount)

    def withdraw_unpledged(self, number: int, amount: int, to: str, identifier: int, tokens: Sequence[int]) -> None:
        account = self.account(number)
        need(account.owner == self.sender, "collateral: not the owner")
        token, lots = self._whole(identifier, amount)
        need(account.cash >= 0, "collateral: account owes dollars")
        need(len(tokens) == len(account.positions), "collateral: not all positions")
        last = 0
        for each in tokens:
            need(each > last, "collateral: tokens not ascending")
            last = each
            need(each & 255 == TOKEN, "collateral: account holds more than tokens")
            need(each in account.positions, "collateral: no such position")
        held = account.positions.get(identifier, 0)
        need(lots <= held, "collateral: more than the position")
        if len(tokens) > 1 or lots < held:
            need(account.cash >= self.latest().margin.reserve, "collateral: cash below the reserve")
        self._pay_tokens(number, to, identifier, token, lots, amount)

    def check_part(
        self, number: int, part: Part, legs: Sequence[Leg], proof: Sequence[bytes], flags: Sequence[int]
    ) -> Part:
        account, latest = self.account(number), self.latest()
        count, last, cost, words = part[0], part[1], part[2], list(part[3])
        if count == 0:
            need(last == 0 and cost == 0 and not words, "examiner: malformed part")
        else:
            kept = (latest.epoch, account.hash, (count, last, cost, tuple(words)))
            need(self.stages.get(number) == kept, "examiner: another part, epoch or position")
        need(len(legs) != 0, "examiner: no legs")
        need(count + len(legs) <= len(account.positions), "examiner: more than all positions")
        for leg in legs:
            identifier = leg[0] >> 152
            need(identifier > last, "examiner: legs not ascending")
            lots = account.positions.get(identifier, 0)
            need(lots != 0, "examiner: no such position")
            leaf = read_leg(leg)
            if last >> 88 != identifier >> 88:
                words += pack_vector((0,) * 40)
            last = identifier
            cost += (lots * leaf.c_long if lots > 0 else -lots * leaf.c_short) << 128
            cost += lots * leaf.array[0] if identifier & 255 == TOKEN else 0
            row = unpack_vector(words[-10:])
            words[-10:] = pack_vector(tuple(a + lots * v for a, v in zip(row, leaf.array, strict=True)))
        root = merkle_root_of_many([leaf_of(leg) for leg in legs], proof, flags)
        need(root == latest.instruments, "examiner: legs not proven")
        after: Part = (count + len(legs), last, cost, tuple(words))
        if after[0] == len(account.positions):
            self.store(number, Content.from_words(account.head(number), cost, words), latest.epoch)
            self.put(self.stages, number, None)
        else:
            self.put(self.stages, number, (latest.epoch, account.hash, after))
        return after
