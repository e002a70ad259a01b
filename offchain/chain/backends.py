"""One interface to a chain: contracts as objects, calls, transactions, logs, local time.

Two engines stand behind it: `offchain.chain.web3_chain` speaks JSON-RPC to a node, `offchain.chain.revm` runs the same
bytecode in process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak, to_checksum_address

from offchain.chain.artifacts import Artifact
from offchain.chain.codec import Abi, Function
from offchain.config import BallastError

ZERO = "0x" + "00" * 20
DEV_ACCOUNTS = 10
ETHER = 10**18
TX_GAS = 16_000_000
"""Gas of a local chain's transactions: below the 2^24 that EIP-7825 allows."""


class Reverted(BallastError):
    """A call or transaction reverted; `reason` is its string, `gas_used` what a mined transaction burned (else 0)."""

    def __init__(self, reason: str, where: str = "", gas_used: int = 0):
        super().__init__(f"{where + ': ' if where else ''}reverted: {reason or 'without a reason'}")
        self.reason = reason
        self.gas_used = gas_used


class Signer(Protocol):
    """What can send a transaction: an eth-account, or an adapter of another wallet."""

    @property
    def address(self) -> str: ...

    def sign_transaction(self, transaction: dict[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Event:
    """A decoded log."""

    address: str
    name: str
    args: dict[str, Any]
    block_number: int
    log_index: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class RawLog:
    """A log as the chain has it."""

    address: str
    topics: list[bytes]
    data: bytes
    block_number: int
    log_index: int
    tx_hash: str


@dataclass(frozen=True)
class Receipt:
    """A mined transaction.

    Attributes
    ----------
    gas_used : what it pays for. logs : as the chain has them; `events` decodes those of known contracts.
    created : address of the contract that it deployed, or empty.
    gas_before_floor : gas without the calldata floor of EIP-7623; 0 where the engine does not say.
    """

    tx_hash: str
    gas_used: int
    block_number: int
    timestamp: int
    logs: tuple[RawLog, ...]
    chain: Chain = field(repr=False, compare=False)
    created: str = ""
    gas_before_floor: int = 0

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Events of contracts that the chain object knows, decoded when first asked for."""
        return tuple(self.chain.decode(self.logs))

    def event(self, name: str) -> Event:
        """The only event of that name; an error if there is none, or more than one."""
        hits = [e for e in self.events if e.name == name]
        if len(hits) != 1:
            raise LookupError(f"{len(hits)} events {name!r} in {self.tx_hash}: {[e.name for e in self.events]}")
        return hits[0]


@cache
def _abi(artifact: Artifact) -> Abi:
    return Abi(artifact.abi)


@cache
def dev_account(index: int) -> LocalAccount:
    """A key for local chains, derived from its number. Never use one where money is real."""
    return Account.from_key(keccak(text=f"ballast development account {index}"))


class _Calls:
    def __init__(self, contract: Contract):
        self._contract = contract

    def __getattr__(self, name: str) -> Any:
        contract = self._contract
        function = contract.function(name)

        def call(*args: Any, sender: str = ZERO, block: int | None = None) -> Any:
            out = contract.chain.call(contract.address, function.encode(args), sender, block, contract.label(function))
            if not out and function.outputs:
                raise BallastError(f"{contract.label(function)} returned nothing: no contract at {contract.address}")
            return function.decode(out)

        return call


class _Sends:
    def __init__(self, contract: Contract):
        self._contract = contract

    def __getattr__(self, name: str) -> Any:
        contract = self._contract
        function = contract.function(name)

        def send(*args: Any, sender: Signer, gas: int | None = None) -> Receipt:
            data = function.encode(args)
            return contract.chain.transact(sender, contract.address, data, gas, contract.label(function))

        return send


class Contract:
    """A deployed contract: `c.call.name(...)` reads, `c.send.name(..., sender=signer)` writes."""

    def __init__(self, chain: Chain, address: str, artifact: Artifact):
        self.chain = chain
        self.address = to_checksum_address(address)
        self.artifact = artifact
        self.abi = _abi(artifact)
        self.call = _Calls(self)
        self.send = _Sends(self)

    def function(self, name: str) -> Function:
        found = self.abi.functions.get(name)
        if found is None:
            raise AttributeError(f"{self.artifact.name} has no function {name!r}")
        return found

    def label(self, function: Function) -> str:
        return f"{self.artifact.name}.{function.name}"

    def __repr__(self) -> str:
        return f"<{self.artifact.name} {self.address}>"


class Chain:
    """What both engines share: deployment and the decoding of logs.

    Attributes
    ----------
    accounts : funded signers; empty on a real network.
    chain_id : of the chain. name : what it is, for people.
    """

    def __init__(self, accounts: Sequence[LocalAccount], chain_id: int, name: str):
        self.accounts = list(accounts)
        self.chain_id = chain_id
        self.name = name
        self._contracts: dict[str, Contract] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.chain_id}>"

    # engine
    def call(self, to: str, data: bytes, sender: str = ZERO, block: int | None = None, label: str = "") -> bytes:
        raise NotImplementedError

    def transact(self, sender: Signer, to: str | None, data: bytes, gas: int | None = None, label: str = "") -> Receipt:
        raise NotImplementedError

    def logs(self, addresses: Sequence[str], from_block: int, to_block: int) -> list[RawLog]:
        raise NotImplementedError

    @property
    def starts_anywhere(self) -> bool:
        """Whether the chain can begin in the past: py-evm takes its time from the clock."""
        return True

    @property
    def timestamp(self) -> int:
        """Time of the latest block, seconds."""
        raise NotImplementedError

    @property
    def block_number(self) -> int:
        raise NotImplementedError

    @property
    def base_fee(self) -> int:
        """Base fee of the latest block, wei; 0 where the chain has none."""
        return 0

    def block_hash(self, number: int) -> bytes:
        raise NotImplementedError

    def code(self, address: str) -> bytes:
        """The code of an account; empty where there is none."""
        raise NotImplementedError

    def set_next_timestamp(self, timestamp: int) -> None:
        """The next block has this time; local chains only."""
        raise NotImplementedError

    def mine(self) -> None:
        raise NotImplementedError

    def fund(self, address: str, wei: int = 1000 * ETHER) -> None:
        """Give an address ether; local chains only."""
        raise NotImplementedError

    # shared
    def at(self, artifact: Artifact, address: str) -> Contract:
        contract = Contract(self, address, artifact)
        self._contracts[contract.address] = contract
        return contract

    def deploy(self, artifact: Artifact, *args: Any, sender: Signer, gas: int | None = None) -> Contract:
        data = artifact.bytecode + _abi(artifact).encode_constructor(args)
        receipt = self.transact(sender, None, data, gas, f"deploy {artifact.name}")
        return self.at(artifact, receipt.created)

    def decode(self, logs: Iterable[RawLog]) -> list[Event]:
        """Events of contracts that this object knows; logs of others are left out."""
        events = []
        for log in logs:
            contract = self._contracts.get(log.address)
            kind = contract.abi.events.get(log.topics[0]) if contract and log.topics else None
            if kind:
                args = kind.decode(log.topics, log.data)
                events.append(Event(log.address, kind.name, args, log.block_number, log.log_index, log.tx_hash))
        return events

    def events(self, contracts: Sequence[Contract], from_block: int, to_block: int) -> list[Event]:
        """Events of `contracts` in blocks `from_block..to_block`, both included, in chain order."""
        return self.decode(self.logs([c.address for c in contracts], from_block, to_block))
