"""A desk with one collateral token, which may misbehave."""

from __future__ import annotations

from typing import Any

from desk import BTC, BTC_FUTURE, BTC_PERP, BTC_TOKEN, ETH_PERP, LOTS_PER_UNIT, NOTHING, START, Desk, Witness, option
from eth_account.signers.local import LocalAccount

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Receipt
from offchain.chain.revm import RevmChain

LISTED = (BTC_PERP, ETH_PERP, BTC_FUTURE, option(BTC, 10_000))


class Pledge:
    """Two owners with cash, and a token of bitcoin.

    Attributes
    ----------
    coin : the token. lot : its smallest units in a lot.
    """

    desk_type: type[Desk] = Desk

    def __init__(self, dollars: int = 10_000, token: str = "FalseToken", decimals: int = 8, **opening: Any) -> None:
        chain = RevmChain(timestamp=START)
        args = (decimals,) if token == "FalseToken" else ()
        self.coin = chain.deploy(artifact(f"mocks/{token}"), *args, sender=chain.accounts[0])
        self.lot = 10**decimals // LOTS_PER_UNIT[BTC]
        listed = (BTC_TOKEN, self.coin.address, decimals)
        self.desk = self.desk_type.open(instruments=LISTED, chain=chain, tokens=[listed], **opening)
        self.owner_key, self.other_key = self.desk.keys[1], self.desk.keys[2]
        self.owner = self.desk.fund(self.owner_key, dollars)
        self.other = self.desk.fund(self.other_key, 10_000)

    def leg(self) -> tuple[Any, list[bytes]]:
        return self.desk.leg(BTC_TOKEN), self.desk.proof(BTC_TOKEN)

    def mint(self, lots: int, key: LocalAccount | None = None) -> None:
        """Give tokens to an owner who approved the ledger for them."""
        key = key or self.owner_key
        self.coin.send.mint(key.address, lots * self.lot, sender=key)
        self.coin.send.approve(self.desk.ledger.address, lots * self.lot, sender=key)

    def bring(
        self,
        lots: int,
        account: int = 0,
        key: LocalAccount | None = None,
        witness: Witness | None = None,
        amount: int | None = None,
    ) -> Receipt:
        """Mint and deposit."""
        account, key = account or self.owner, key or self.owner_key
        self.mint(lots, key)
        return self.desk.system.collateral.send.deposit(
            account, lots * self.lot if amount is None else amount, *self.leg(),
            self.desk.witness(account) if witness is None else witness, sender=key,
        )  # fmt: skip

    def take(self, lots: int, amount: int | None = None, **changes: Any) -> Receipt:
        """Withdraw to account 7 of the chain."""
        return self.desk.system.collateral.send.withdraw(
            changes.get("account", self.owner), lots * self.lot if amount is None else amount,
            changes.get("to", self.desk.keys[7].address), *changes.get("leg", self.leg()),
            changes.get("witness", self.desk.witness(self.owner)), sender=changes.get("key", self.owner_key),
        )  # fmt: skip

    def leave(self, lots: int, tokens: tuple[int, ...] = (BTC_TOKEN,), **changes: Any) -> Receipt:
        """Withdraw from an account of tokens alone."""
        return self.desk.system.collateral.send.withdraw_unpledged(
            self.owner, changes.get("amount", lots * self.lot), self.desk.keys[7].address,
            changes.get("id", BTC_TOKEN), list(tokens), sender=changes.get("key", self.owner_key),
        )  # fmt: skip

    def held(self) -> int:
        """Lots of the owner's tokens, the books in order."""
        lots = int(self.desk.ledger.call.quantity(self.owner, BTC_TOKEN))
        total = sum(p.get(BTC_TOKEN, 0) for p in (self.desk.book.positions(a) for a in self.desk.book.holders()))
        assert self.desk.ledger.call.collateral_held(self.coin.address) == total * self.lot
        assert self.coin.call.balanceOf(self.desk.ledger.address) >= total * self.lot
        return lots


__all__ = ["NOTHING", "Pledge"]
