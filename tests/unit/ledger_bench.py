"""A ledger on its own chain, for the tests of what it does without the rules of the engines."""

from __future__ import annotations

from typing import Any

from desk import START
from eth_account.signers.local import LocalAccount

from offchain.chain.artifacts import artifact
from offchain.chain.revm import RevmChain
from offchain.oracle.book import Book


class Bench:
    """A ledger with an engine that does whatever it is told."""

    def __init__(self, token: str = "SettlementToken", *token_args: Any) -> None:
        self.chain = RevmChain(timestamp=START)
        self.keys = self.chain.accounts
        self.token = self.chain.deploy(artifact(f"mocks/{token}"), *token_args, sender=self.keys[0])
        self.ledger = self.chain.deploy(artifact("Ledger"), self.token, sender=self.keys[0])
        self.engine = self.chain.deploy(artifact("mocks/LedgerEngine"), sender=self.keys[0])
        self.engine.send.bind(self.ledger.address, sender=self.keys[0])
        self.ledger.send.set_engines([self.engine.address], sender=self.keys[0])

    def do(self, name: str, *args: Any) -> Any:
        return getattr(self.engine.send, name)(*args, sender=self.keys[0])

    def open(self, owner: LocalAccount | None = None) -> int:
        owner = owner or self.keys[1]
        receipt = self.ledger.send.open_account(owner.address, sender=owner)
        return int(receipt.events[0].args["account"])

    def pay(self, account: int, amount: int, payer: LocalAccount | None = None) -> Any:
        payer = payer or self.keys[1]
        self.token.send.mint(payer.address, amount, sender=payer)
        self.token.send.approve(self.ledger.address, amount, sender=payer)
        return self.do("deposit", account, payer.address, amount)

    def account(self, account: int) -> Any:
        return self.ledger.call.account(account)

    def cash(self, account: int) -> int:
        return int(self.account(account)[2])

    @property
    def book(self) -> Book:
        book = Book.replay(self.chain.events([self.ledger], 0, self.chain.block_number))
        book.check()
        return book
