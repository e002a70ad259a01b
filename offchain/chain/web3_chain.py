"""A chain behind JSON-RPC: anvil, py-evm in process, or a real network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from offchain.chain.backends import ETHER, ZERO, Chain, RawLog, Receipt, Reverted, Signer
from offchain.chain.codec import revert_reason
from offchain.config import BallastError

RESERVE = 10 * ETHER  # what a py-evm account keeps when it funds another


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
            raise Reverted(self._replay(request, mined["blockNumber"]), label, mined["gasUsed"])
        return Receipt(
            "0x" + bytes(tx_hash).hex(),
            mined["gasUsed"],
            mined["blockNumber"],
            self._block_time(mined["blockNumber"]),
            tuple(_raw_log(entry) for entry in mined["logs"]),
            self,
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

    @property
    def base_fee(self) -> int:
        return int(self.w3.eth.get_block("latest").get("baseFeePerGas", 0))

    def block_hash(self, number: int) -> bytes:
        return bytes(self.w3.eth.get_block(number)["hash"])

    def code(self, address: str) -> bytes:
        return bytes(self.w3.eth.get_code(to_checksum_address(address)))

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
