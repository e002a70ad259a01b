"""A desk whose accounts may hold collateral tokens: a second ledger with an engine that gives them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from desk import BTC_FUTURE, BTC_PERP, BTC_TOKEN, ETH, ETH_PERP, Pair, option

from offchain.chain.artifacts import artifact


class Vault(Pair):
    """A pair, and tokens for whom they are given, by an engine that asks no questions."""

    def __init__(self, dollars: int = 10_000, **opening: Any) -> None:
        listed = (BTC_PERP, ETH_PERP, BTC_FUTURE, option(BTC_PERP >> 88, 10_000))
        super().__init__(0, instruments=listed, unlisted=(BTC_TOKEN,), **opening)
        desk, key = self.desk, self.desk.keys[0]
        chain, old = desk.chain, desk.system
        ledger = chain.deploy(artifact("Ledger"), old.token, sender=key)
        self.giver = chain.deploy(artifact("mocks/LedgerEngine"), sender=key)
        self.giver.send.bind(ledger.address, sender=key)
        house = chain.deploy(artifact("ClearingHouse"), ledger, old.oracle, old.registry, sender=key)
        liquidator = chain.deploy(artifact("Liquidator"), ledger, old.oracle, old.registry, ETH, sender=key)
        examiner = chain.deploy(artifact("Examiner"), ledger, old.oracle, sender=key)
        engines = [each.address for each in (house, liquidator, examiner, self.giver)]
        ledger.send.set_engines(engines, sender=key)
        desk.system = replace(old, ledger=ledger, clearing=house, liquidator=liquidator, examiner=examiner)
        self.coin = chain.deploy(artifact("mocks/FalseToken"), 18, sender=key)
        self.buyer = desk.fund(self.buyer_key, dollars)
        self.seller = desk.fund(self.seller_key, dollars)

    def give(self, account: int, lots: int) -> None:
        """Tokens to an account, by the next epoch part of its leaf."""
        key, unit = self.desk.keys[0], 10**15
        self.coin.send.mint(key.address, lots * unit, sender=key)
        self.giver.send.deposit_token(account, key.address, BTC_TOKEN, (self.coin.address, unit), lots, 0, sender=key)
