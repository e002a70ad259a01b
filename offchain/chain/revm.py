"""The EVM in process: the same bytecode at the speed of the machine, without BLS precompiles.

pyrevm 0.3.7 never ends a transaction: what one transaction touched stays warm for the next, and the value that a slot
had when it was first read stays its original value, so gas comes out too low. `RevmChain` therefore runs each
transaction on an empty journal, reads from the journal which slots and accounts it wrote, takes the journal back, and
writes them to the database beneath (`_keep`). So each transaction starts cold, and its gas is that of a node.

What still differs from a node: there are no BLS12-381 precompiles (a call to one returns nothing), the base fee that a
contract reads is 0, block hashes are those of revm's empty database (a hash of the number), and nothing is signed: a
transaction is believed to come from its sender.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyrevm
from eth_utils import to_checksum_address

from offchain.chain.backends import (
    DEV_ACCOUNTS,
    ETHER,
    TX_GAS,
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
from offchain.keccak import keccak256

_WRITTEN = re.compile(r"[ \[]StorageChange \{ address: (0x[0-9a-f]{40}), key: (\d+), had_value: S")
_CHANGED = re.compile(r"(?:NonceChange|AccountCreated|CodeChange) \{ address: (0x[0-9a-f]{40})")
_PAID = re.compile(r"BalanceTransfer \{ from: (0x[0-9a-f]{40}), to: (0x[0-9a-f]{40}), balance: [1-9]")


def calldata_floor(data: bytes) -> int:
    """Least gas of a transaction with this calldata (EIP-7623): 21,000 + 10 a token, a zero byte 1 and others 4."""
    return 21_000 + 10 * (4 * len(data) - 3 * data.count(0))


class RevmChain(Chain):
    """The EVM in process (pyrevm): each transaction is its own block, a second after the last, unless in `block`.

    Parameters
    ----------
    timestamp : time of block 0, seconds.
    """

    def __init__(self, timestamp: int = 1_700_000_000, chain_id: int = 31337):
        super().__init__([dev_account(i) for i in range(DEV_ACCOUNTS)], chain_id, "in-process")
        env = pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=chain_id))
        self.evm = pyrevm.EVM(env=env, gas_limit=1 << 40, spec_id="PRAGUE")
        self._number, self._time = 0, timestamp
        self._next: int | None = None
        self._in_block = False
        self._sent = 0
        self._logs: list[RawLog] = []
        self._log_blocks: list[int] = []
        self._enter_block()
        for account in self.accounts:
            self.fund(account.address)

    def _enter_block(self) -> None:
        block = pyrevm.BlockEnv(number=self._number, timestamp=self._time, gas_limit=1 << 40, basefee=0)
        self.evm.set_block_env(block)

    def _next_block(self) -> None:
        self._number += 1
        self._time = self._time + 1 if self._next is None else self._next
        self._next = None
        self._enter_block()

    # engine
    def call(self, to: str, data: bytes, sender: str = ZERO, block: int | None = None, label: str = "") -> bytes:
        if block is not None and block != self._number:
            raise BallastError("the in-process chain answers calls at its latest block only")
        mark = self.evm.snapshot()
        try:
            return bytes(self.evm.message_call(sender, to, data))
        except RuntimeError as error:
            raise Reverted(_reason(error), label) from None
        finally:
            self.evm.revert(mark)

    def transact(self, sender: Signer, to: str | None, data: bytes, gas: int | None = None, label: str = "") -> Receipt:
        """Run a transaction in a block of its own, or in the open one.

        One that fails is mined in an open block, nonce and gas spent. In a block of its own it is refused instead, as
        by a sender who estimates first: nothing happens, time included.
        """
        evm, caller = self.evm, sender.address
        before = self._number, self._time, self._next
        if not self._in_block:
            self._next_block()
        evm.reset_transient_storage()
        mark = evm.snapshot()
        created, failure = "", None
        try:
            if to is None:
                created = to_checksum_address(evm.deploy(caller, data, gas=gas or TX_GAS))
            else:
                evm.message_call(caller, to, data, gas=gas or TX_GAS)
        except RuntimeError as error:
            failure = error
        result = evm.result
        if failure is not None or result is None:
            evm.revert(mark)
            if self._in_block:
                self._count_nonce(caller)
            else:
                self._number, self._time, self._next = before
                self._enter_block()
            used = 0 if result is None else result.gas_used
            raise Reverted(_reason(failure), label, max(used, calldata_floor(data)))
        self._keep(mark)
        if to is not None:
            self._count_nonce(caller)
        self._sent += 1
        tx_hash = "0x" + keccak256(b"%d" % self._sent).hex()
        number = self._number
        first = len(self._logs) - bisect_left(self._log_blocks, number) if self._in_block else 0
        logs = tuple(
            RawLog(log.address, [bytes.fromhex(t[2:]) for t in log.topics], log.data[1], number, index, tx_hash)
            for index, log in enumerate(result.logs, first)
        )
        self._logs += logs
        self._log_blocks += [number] * len(logs)
        gas_used = max(result.gas_used, calldata_floor(data))
        return Receipt(tx_hash, gas_used, number, self._time, logs, self, created, result.gas_used)

    def _keep(self, mark: pyrevm.JournalCheckpoint) -> None:
        """Take back what the journal holds since `mark`, and write its changes to the database beneath."""
        evm = self.evm
        text = evm.journal_str
        entries = text[text.rindex("journal: [") :]
        slots = [(address, int(key)) for address, key in set(_WRITTEN.findall(entries))]
        written = [(address, key, evm.storage(address, key)) for address, key in slots]
        changed = set(_CHANGED.findall(entries))
        for pair in _PAID.findall(entries):
            changed.update(pair)
        infos = [(address, evm.basic(address)) for address in sorted(changed)]
        evm.revert(mark)
        for address, info in infos:
            evm.insert_account_info(address, info)
        for address, key, value in written:
            # Writing a slot loads its account into the journal: out with it again.
            mark = evm.snapshot()
            evm.insert_account_storage(address, key, value)
            evm.revert(mark)

    def _info(self, address: str) -> pyrevm.AccountInfo:
        mark = self.evm.snapshot()
        info = self.evm.basic(address)
        self.evm.revert(mark)
        return info

    def _count_nonce(self, address: str) -> None:
        info = self._info(address)
        self._set_info(address, info.balance, info.nonce + 1)

    def _set_info(self, address: str, balance: int, nonce: int) -> None:
        info = pyrevm.AccountInfo(balance=balance, nonce=nonce)  # type: ignore[call-arg]  # absent from its stubs
        self.evm.insert_account_info(address, info)

    def logs(self, addresses: Sequence[str], from_block: int, to_block: int) -> list[RawLog]:
        wanted = set(addresses)
        first, last = bisect_left(self._log_blocks, from_block), bisect_right(self._log_blocks, to_block)
        return [log for log in self._logs[first:last] if log.address in wanted]

    def code(self, address: str) -> bytes:
        info = self._info(address)
        size = re.search(r"len: (\d+)", str(info))  # pyrevm pads code
        return bytes(info.code or b"")[: int(size[1])] if size else b""

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
        if self._in_block:
            raise BallastError("a block is open: leave it before the next is mined")
        self._next_block()

    @contextmanager
    def block(self) -> Iterator[int]:
        """Transactions sent inside share one new block and its time; gives its number."""
        self.mine()
        self._in_block = True
        try:
            yield self._number
        finally:
            self._in_block = False

    def fund(self, address: str, wei: int = 1000 * ETHER) -> None:
        self._set_info(address, wei, self._info(address).nonce)


def _reason(error: RuntimeError | None) -> str:
    """The revert string in pyrevm's message, or the message."""
    text = str(error)
    if "output: 0x" in text:
        return revert_reason(bytes.fromhex(text.split("output: 0x")[1].split(" ")[0]))
    return text
