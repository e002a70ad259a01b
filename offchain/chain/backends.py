"""One interface to a chain, two engines behind it.

`Web3Chain` speaks JSON-RPC through web3: anvil, py-evm in process, or a real network. `RevmChain` runs the same
bytecode in process at the speed of the EVM; it has no EIP-2537 precompiles, so no BLS signature verifies on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import pyrevm
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak, to_checksum_address
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from offchain.chain.artifacts import Artifact
from offchain.chain.codec import Abi, Function, revert_reason
from offchain.config import BallastError

ZERO = "0x" + "00" * 20
DEV_ACCOUNTS = 10
ETHER = 10**18
RESERVE = 10 * ETHER  # what a py-evm account keeps when it funds another


class Reverted(BallastError):
    """A call or transaction reverted; `reason` is its string."""

    def __init__(self, reason: str, where: str = ""):
        super().__init__(f"{where + ': ' if where else ''}reverted: {reason or 'without a reason'}")
        self.reason = reason


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


@dataclass(frozen=True)
class Receipt:
    """A mined transaction."""

    tx_hash: str
    gas_used: int
    block_number: int
    timestamp: int
    events: tuple[Event, ...]
    created: str = ""

    def event(self, name: str) -> Event:
        """The only event of that name; an error if there is none, or more than one."""
        hits = [e for e in self.events if e.name == name]
        if len(hits) != 1:
            raise LookupError(f"{len(hits)} events {name!r} in {self.tx_hash}: {[e.name for e in self.events]}")
        return hits[0]


@dataclass(frozen=True)
class RawLog:
    address: str
    topics: list[bytes]
    data: bytes
    block_number: int
    log_index: int
    tx_hash: str


@cache
def _abi(artifact: Artifact) -> Abi:
    return Abi(artifact.abi)


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

    def block_hash(self, number: int) -> bytes:
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


class RevmChain(Chain):
    """The EVM in process (pyrevm): each transaction is its own block, a second after the last.

    It has no BLS12-381 precompiles and does not apply the calldata floor of EIP-7623.
    """

    def __init__(self, timestamp: int = 1_700_000_000, chain_id: int = 31337):
        super().__init__([dev_account(i) for i in range(DEV_ACCOUNTS)], chain_id, "in-process")
        env = pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=chain_id))
        self.evm = pyrevm.EVM(env=env, gas_limit=1 << 40, spec_id="PRAGUE")
        self._number, self._time = 0, timestamp
        self._next: int | None = None
        self._logs: list[RawLog] = []
        self._enter_block(0, timestamp)
        for account in self.accounts:
            self.fund(account.address)

    def _enter_block(self, number: int, timestamp: int) -> None:
        self.evm.set_block_env(pyrevm.BlockEnv(number=number, timestamp=timestamp, gas_limit=1 << 40, basefee=0))

    def call(self, to: str, data: bytes, sender: str = ZERO, block: int | None = None, label: str = "") -> bytes:
        if block is not None and block != self._number:
            raise BallastError("the in-process chain answers calls at its latest block only")
        mark = self.evm.snapshot()
        try:
            return bytes(self.evm.message_call(sender, to, data))
        except RuntimeError as error:
            raise self._reverted(error, label) from None
        finally:
            self.evm.revert(mark)

    @staticmethod
    def _reverted(error: RuntimeError, label: str) -> Reverted:
        text = str(error)
        if "output: 0x" in text:
            return Reverted(revert_reason(bytes.fromhex(text.split("output: 0x")[1].split(" ")[0])), label)
        return Reverted(text, label)

    def transact(self, sender: Signer, to: str | None, data: bytes, gas: int | None = None, label: str = "") -> Receipt:
        number, timestamp = self._number + 1, self._time + 1 if self._next is None else self._next
        self._enter_block(number, timestamp)
        self.evm.reset_transient_storage()
        created = ""
        mark = self.evm.snapshot()
        try:
            if to is None:
                created = to_checksum_address(self.evm.deploy(sender.address, data, gas=gas))
            else:
                self.evm.message_call(sender.address, to, data, gas=gas)
        except RuntimeError as error:
            self.evm.revert(mark)
            self._enter_block(self._number, self._time)
            raise self._reverted(error, label) from None
        self.evm.commit()
        self._number, self._time, self._next = number, timestamp, None
        result = self.evm.result
        assert result is not None, "a transaction was just run"
        tx_hash = "0x" + keccak(b"%d" % number).hex()
        raw = []
        for index, log in enumerate(result.logs):
            body = log.data[1] if isinstance(log.data, tuple) else log.data
            topics = [bytes.fromhex(t.removeprefix("0x")) if isinstance(t, str) else bytes(t) for t in log.topics]
            raw.append(RawLog(to_checksum_address(log.address), topics, bytes(body), number, index, tx_hash))
        self._logs += raw
        return Receipt(tx_hash, result.gas_used, number, timestamp, tuple(self.decode(raw)), created)

    def logs(self, addresses: Sequence[str], from_block: int, to_block: int) -> list[RawLog]:
        wanted = set(addresses)
        return [g for g in self._logs if from_block <= g.block_number <= to_block and g.address in wanted]

    @property
    def timestamp(self) -> int:
        return self._time

    @property
    def block_number(self) -> int:
        return self._number

    def block_hash(self, number: int) -> bytes:
        return bytes(self.evm.block_hash(number))

    def set_next_timestamp(self, timestamp: int) -> None:
        if timestamp <= self._time:
            raise BallastError(f"time only moves forward: {timestamp} is not after {self._time}")
        self._next = timestamp

    def mine(self) -> None:
        self._number, self._time = self._number + 1, self._time + 1 if self._next is None else self._next
        self._next = None
        self._enter_block(self._number, self._time)

    def fund(self, address: str, wei: int = 1000 * ETHER) -> None:
        self.evm.set_balance(address, wei)


class Web3Chain(Chain):
    """A chain behind a web3 provider.

    Parameters
    ----------
    w3 : a connected Web3.
    accounts : signers offered as `.accounts`.
    gas_limit : gas of every transaction, without estimating first (local chains); `None` estimates, and so simulates,
        each transaction before it is sent.
    """

    def __init__(
        self,
        w3: Web3,
        accounts: Sequence[LocalAccount] = (),
        gas_limit: int | None = None,
        name: str = "node",
        url: str = "",
    ):
        try:
            chain_id = w3.eth.chain_id
        except (OSError, Web3RPCError) as error:
            raise BallastError(f"cannot reach the node: {error}; check that it runs, and its URL") from error
        super().__init__(accounts, chain_id, name)
        self.w3 = w3
        self.url = url
        self.gas_limit = gas_limit
        self._nonces: dict[str, int] = {}
        self._tester = getattr(w3.provider, "ethereum_tester", None)

    @classmethod
    def connect(cls, url: str, accounts: Sequence[LocalAccount] = ()) -> Web3Chain:
        """A node by URL. Raises BallastError, naming the URL, where it does not answer."""
        try:
            return cls(Web3(Web3.HTTPProvider(url, request_kwargs={"timeout": 30})), accounts, url=url)
        except BallastError as error:
            raise BallastError(f"cannot reach the node at {url}: check that it runs, and its URL") from error

    def call(self, to: str, data: bytes, sender: str = ZERO, block: int | None = None, label: str = "") -> bytes:
        if self._tester is not None and sender == ZERO:
            sender = self.accounts[0].address  # py-evm charges a call's sender
        request: Any = {"to": to, "data": "0x" + data.hex(), "from": sender}
        try:
            return bytes(self.w3.eth.call(request, "latest" if block is None else block))
        except (ContractLogicError, Web3RPCError, ValueError) as error:
            raise Reverted(_reason(error), label) from None
        except Exception as error:  # eth-tester raises its own class for a failed call
            if type(error).__name__ != "TransactionFailed":
                raise
            raise Reverted(_reason(error), label) from None

    def transact(self, sender: Signer, to: str | None, data: bytes, gas: int | None = None, label: str = "") -> Receipt:
        address = to_checksum_address(sender.address)
        nonce = self._nonces.get(address)
        if nonce is None:
            nonce = self.w3.eth.get_transaction_count(address, "pending")
        request: dict[str, Any] = {
            "from": address, "nonce": nonce, "data": "0x" + data.hex(), "value": 0, "chainId": self.chain_id,
        }  # fmt: skip
        if to is not None:
            request["to"] = to
        limit = gas or self.gas_limit
        request.update(self._fees())
        if limit is None:
            try:
                limit = int(self.w3.eth.estimate_gas(request) * 1.2)  # type: ignore[arg-type]
            except (ContractLogicError, Web3RPCError, ValueError) as error:
                raise Reverted(_reason(error), label) from None
        request["gas"] = limit
        request.pop("from")
        raw = sender.sign_transaction(request).raw_transaction
        try:
            tx_hash = self.w3.eth.send_raw_transaction(raw)
        except (Web3RPCError, ValueError) as error:
            self._nonces.pop(address, None)
            raise BallastError(f"{label}: the node refused the transaction: {error}") from error
        self._nonces[address] = nonce + 1
        mined: Any = self._wait(tx_hash)
        if mined["status"] != 1:
            request["from"] = address
            raise Reverted(self._replay(request, mined["blockNumber"]), label)
        raw_logs = [_raw_log(entry) for entry in mined["logs"]]
        return Receipt(
            "0x" + bytes(tx_hash).hex(),
            mined["gasUsed"],
            mined["blockNumber"],
            self._block_time(mined["blockNumber"]),
            tuple(self.decode(raw_logs)),
            mined["contractAddress"] or "",
        )

    def _fees(self) -> dict[str, int]:
        if self.gas_limit is not None:
            return {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
        base = self.w3.eth.get_block("latest").get("baseFeePerGas", 10**9)
        tip = self.w3.eth.max_priority_fee
        return {"maxFeePerGas": 2 * base + tip, "maxPriorityFeePerGas": tip}

    def _wait(self, tx_hash: Any) -> Any:
        try:
            return self.w3.eth.get_transaction_receipt(tx_hash)
        except TransactionNotFound:
            return self.w3.eth.wait_for_transaction_receipt(tx_hash, timeout=180, poll_latency=0.05)

    def _replay(self, request: dict[str, Any], number: int) -> str:
        """Reason of a mined failure: the same call on the state before its block."""
        fields = {k: request[k] for k in ("from", "to", "data", "gas") if k in request}
        try:
            self.w3.eth.call(fields, number - 1)  # type: ignore[arg-type]
        except (ContractLogicError, Web3RPCError, ValueError) as error:
            return _reason(error)
        except Exception as error:
            if type(error).__name__ != "TransactionFailed":
                raise
            return _reason(error)
        return "out of gas, or the state changed within the block"

    def _block_time(self, number: int) -> int:
        return int(self.w3.eth.get_block(number)["timestamp"])

    def logs(self, addresses: Sequence[str], from_block: int, to_block: int) -> list[RawLog]:
        if from_block > to_block:
            return []
        named = [to_checksum_address(a) for a in addresses]
        query: Any = {"address": named, "fromBlock": from_block, "toBlock": to_block}
        return [_raw_log(entry) for entry in self.w3.eth.get_logs(query)]

    @property
    def timestamp(self) -> int:
        return int(self.w3.eth.get_block("latest")["timestamp"])

    @property
    def block_number(self) -> int:
        return int(self.w3.eth.block_number)

    def block_hash(self, number: int) -> bytes:
        return bytes(self.w3.eth.get_block(number)["hash"])

    @property
    def starts_anywhere(self) -> bool:
        return self._tester is None

    def _rpc(self, method: str, *params: Any) -> Any:
        answer = self.w3.provider.make_request(method, list(params))  # type: ignore[arg-type]
        if "error" in answer:
            raise BallastError(f"{method}: {answer['error']}; this works on a local development chain only")
        return answer.get("result")

    def set_next_timestamp(self, timestamp: int) -> None:
        if self._tester is not None:
            self._tester.backend.time_travel(timestamp)
        else:
            self._rpc("evm_setNextBlockTimestamp", timestamp)

    def mine(self) -> None:
        if self._tester is not None:
            self._tester.mine_block()
        else:
            self._rpc("evm_mine")

    def fund(self, address: str, wei: int = 1000 * ETHER) -> None:
        if self._tester is not None:
            # py-evm cannot mint ether: each of its accounts gives what it can spare until the address has enough.
            for rich in self._tester.get_accounts():
                lacking = wei - self._tester.get_balance(address)
                spare = self._tester.get_balance(rich) - RESERVE
                if rich != address and min(lacking, spare) > 0:
                    gift = {"from": rich, "to": address, "value": min(lacking, spare), "gas": 21000}
                    self._tester.send_transaction(gift)
        else:
            self._rpc("anvil_setBalance", address, hex(wei))


def _reason(error: Exception) -> str:
    """The revert string in whatever shape the node and web3 gave it."""
    data = getattr(error, "data", None)
    if isinstance(data, str) and data.startswith("0x") and len(data) > 10:
        return revert_reason(bytes.fromhex(data[2:]))
    text = str(getattr(error, "message", None) or error)
    for lead in ("execution reverted: revert: ", "execution reverted: ", "revert: "):
        if lead in text:
            return text.split(lead, 1)[1].split("', ")[0].strip("'\"")
    return text


def _raw_log(entry: Any) -> RawLog:
    return RawLog(
        to_checksum_address(entry["address"]),
        [bytes(t) for t in entry["topics"]],
        bytes(entry["data"]),
        entry["blockNumber"],
        entry["logIndex"],
        "0x" + bytes(entry["transactionHash"]).hex(),
    )
