"""The EVM in process: the same bytecode at the speed of the machine, without BLS precompiles."""

from __future__ import annotations

from collections.abc import Sequence

import pyrevm
from eth_utils import keccak, to_checksum_address

from offchain.chain.backends import (
    DEV_ACCOUNTS,
    ETHER,
    ZERO,
    Chain,
    RawLog,
    Receipt,
    Reverted,
    Signer,
    dev_account,
)
from offchain.chain.codec import revert_reason
from offchain.config import BallastError


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
