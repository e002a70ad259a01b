"""Ape's provider and accounts as this package's chain and signers. The only module that knows Ape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from offchain.chain.backends import DEV_ACCOUNTS, TX_GAS, Signer, dev_account
from offchain.chain.web3_chain import Web3Chain
from offchain.config import BallastError


def chain_of(provider: Any) -> Web3Chain:
    """The chain behind a connected Ape provider.

    On a local network the development accounts are funded; elsewhere every transaction is estimated, and so simulated,
    before it is sent.
    """
    local = provider.network.name == "local" or provider.chain_id == 31337
    chain = Web3Chain(
        provider.web3,
        [dev_account(i) for i in range(DEV_ACCOUNTS)] if local else [],
        gas_limit=TX_GAS if local else None,
        name=f"{provider.network.ecosystem.name}:{provider.network.name}:{provider.name}",
    )
    for account in chain.accounts:
        chain.fund(account.address)
    return chain


@dataclass(frozen=True)
class _Signed:
    raw_transaction: bytes


class ApeSigner:
    """An Ape account as a signer of transactions."""

    def __init__(self, account: Any, provider: Any) -> None:
        self._account = account
        self._provider = provider

    @property
    def address(self) -> str:
        return str(self._account.address)

    def sign_transaction(self, transaction: dict[str, Any]) -> _Signed:
        """Have Ape's account sign; it may ask for a passphrase.

        Raises
        ------
        BallastError
            The account refused.
        """
        fields = {**transaction, "from": self.address, "type": 2}
        signed = self._account.sign_transaction(self._provider.network.ecosystem.create_transaction(**fields))
        if signed is None:
            raise BallastError(f"the account {self.address} did not sign: unlock it, or choose another")
        return _Signed(bytes(signed.serialize_transaction()))


def signer_of(account: Any, provider: Any) -> Signer:
    """A signer: Ape's test accounts by their key, others through Ape."""
    key = getattr(account, "private_key", None)
    if key:
        local: LocalAccount = Account.from_key(key)
        return local
    return ApeSigner(account, provider)
