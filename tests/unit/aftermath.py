"""What the tests of settlement, takeover and fallback share: a desk with feeds, and an oracle that can stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from desk import BTC, BTC_FUTURE, BTC_PERP, ETH, ETH_PERP, PRICE, Desk, option

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract, Receipt
from offchain.instruments import Kind
from offchain.oracle.headers import instrument_leaf_hash, settlement_leaf_hash
from offchain.oracle.trees import Tree
from offchain.units import MICRO

STRIKE = 10_000
CALL, PUT = option(BTC, STRIKE), option(BTC, STRIKE, Kind.PUT)
INSTRUMENTS = (BTC_PERP, ETH_PERP, BTC_FUTURE, CALL, PUT)
FEED_AGE = 3 * 3600
INSURANCE, CLEARING, SHORTFALL = 1, 2, 3


class Aftermath:
    """A desk whose underlyings have feeds that follow the marks, and two accounts with cash.

    Attributes
    ----------
    feeds : by underlying. settlements : words that the next epoch states.
    """

    desk_type: type[Desk] = Desk

    def __init__(self, dollars: int = 10_000, instruments: Sequence[int] = INSTRUMENTS, **opening: Any) -> None:
        self.desk = self.desk_type.open(instruments=sorted(instruments), **opening)
        self.settlements: list[int] = []
        desk, owner = self.desk, self.desk.keys[0]
        self.feeds: dict[int, Contract] = {}
        listed = []
        for underlying in (BTC, ETH):
            self.feeds[underlying] = desk.chain.deploy(artifact("mocks/PriceFeed"), sender=owner)
            listed.append((underlying, self.feeds[underlying].address, FEED_AGE, 1, 10**30))
        for feed in listed:
            desk.system.registry.send.propose_feed(feed, sender=owner)
        self.wait(desk.system.registry.call.delay())
        self.quote()
        for feed in listed:
            desk.system.registry.send.enact_feed(feed, sender=owner)
        self.post()
        self.long_key, self.short_key, self.stranger = desk.keys[1], desk.keys[2], desk.keys[9]
        self.long = desk.fund(self.long_key, dollars)
        self.short = desk.fund(self.short_key, dollars)

    # the world
    def wait(self, seconds: int) -> None:
        """Let time go by, without an epoch."""
        self.desk.chain.set_next_timestamp(self.desk.chain.timestamp + seconds)
        self.desk.chain.mine()

    def wait_until(self, when: int) -> None:
        """Let time go by until a moment."""
        self.wait(when - self.desk.chain.timestamp)

    def quote(self, **prices: int) -> None:
        """The feeds answer now: the marks' prices, unless told (`btc=`, `eth=`, dollars)."""
        for underlying, feed in self.feeds.items():
            told = prices.get({BTC: "btc", ETH: "eth"}[underlying])
            price = self.desk.marks[underlying].index if told is None else told * MICRO
            feed.send.set(price, self.desk.chain.timestamp, sender=self.desk.keys[0])

    def post(self, **changes: Any) -> Receipt:
        """An epoch an hour on, with the settlement leaves after the instruments, the feeds agreeing."""
        desk = self.desk
        hashes = [instrument_leaf_hash(*desk.leaves[i].pack()) for i in sorted(desk.leaves)]
        tree = Tree([*hashes, *map(settlement_leaf_hash, self.settlements)])
        self.quote()
        receipt = desk.post(**({"instrument_root": tree.root} | changes))
        desk._instruments = tree
        return receipt

    def move(self, underlying: int, dollars: int) -> None:
        """Another price from the next epoch on, which is posted."""
        self.desk.reprice(underlying, dollars * MICRO)
        self.post()

    def settlement_proof(self, word: int) -> list[bytes]:
        """Proof of a settlement leaf under the latest epoch."""
        return self.desk._instruments.proof(len(self.desk.posted) + self.settlements.index(word))

    # shorthands
    def cash(self, account: int) -> int:
        return int(self.desk.ledger.call.account(account)[2])

    def live(self) -> int:
        """The oracle-live clock."""
        return int(self.desk.system.oracle.call.clock()[2])

    def trade(self, identifier: int, lots: int) -> None:
        """The long account buys from the short one, at the mark."""
        self.desk.trade(self.long, self.short, identifier, lots)

    def settle(self, account: int, instruments: Sequence[int]) -> Receipt:
        """A stranger settles."""
        return self.desk.system.settlement.send.settle(account, sorted(instruments), sender=self.stranger)


def dollars(amount: int) -> int:
    """Micro-USD of whole dollars."""
    return amount * MICRO


__all__ = [
    "BTC", "BTC_FUTURE", "BTC_PERP", "CALL", "CLEARING", "ETH", "ETH_PERP", "INSTRUMENTS", "INSURANCE", "PRICE", "PUT",
    "SHORTFALL", "STRIKE", "Aftermath", "dollars",
]  # fmt: skip
