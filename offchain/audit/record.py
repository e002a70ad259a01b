"""What an audit reads: events and final balances from a chain, and bundles from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from eth_utils import keccak

from offchain.audit.replay import chain_order
from offchain.chain.backends import Contract, Event
from offchain.chain.system import System

RESERVED = (1, 2, 3, 4)


@dataclass(frozen=True)
class AccountState:
    """An account as the ledger has it at the end: its `Account` struct; the owner in lower case."""

    owner: str
    version: int
    cash: int
    last_trade_epoch: int
    head: int
    position_hash: bytes


@dataclass(frozen=True)
class Record:
    """All that a verification rests on.

    Attributes
    ----------
    chain_id, oracle : what signatures are bound to.
    slot_seconds, max_age : of the oracle, seconds. coin : underlying in which gas is paid.
    auction : length of a takeover's auction, oracle-live seconds.
    events : of all contracts, in chain order. The contracts' names of events do not overlap.
    block_hashes : hash of each snapshot block, as the chain has it.
    bundles : bytes of each bundle by the hash under which it was found.
    accounts : every account at the end, reserved ones included.
    tokens_held : the ledger's own books, micro-USD.
    token_balance : settlement tokens of the ledger, micro-USD; tokens sent there without a deposit count here only.
    """

    chain_id: int
    oracle: str
    slot_seconds: int
    max_age: int
    coin: int
    auction: int
    events: tuple[Event, ...] = field(repr=False)
    block_hashes: Mapping[int, bytes] = field(repr=False)
    bundles: Mapping[bytes, bytes] = field(repr=False)
    accounts: Mapping[int, AccountState] = field(repr=False)
    tokens_held: int
    token_balance: int


def read_record(system: System, bundle_dir: Path) -> Record:
    """Collect everything from the chain, up to its latest block, and the bundles from their folder.

    Parameters
    ----------
    bundle_dir : files named by their hash (64 hexadecimal digits and any suffix).
    """
    contracts = audited(system)
    last = system.chain.block_number
    events = chain_order(system.chain.events(contracts, system.deployed_at, last))
    snapshots = {e.args["header"][2] for e in events if e.name == "EpochPosted"}
    return replace(
        constants(system),
        events=tuple(events),
        block_hashes={n: system.chain.block_hash(n) for n in sorted(snapshots)},
        bundles=read_bundles(bundle_dir),
        accounts=read_accounts(system),
        tokens_held=system.ledger.call.tokens_held(),
        token_balance=system.token.call.balanceOf(system.ledger.address),
    )


def constants(system: System) -> Record:
    """What never changes of a deployment; nothing of its history yet."""
    return Record(
        chain_id=system.chain.chain_id,
        oracle=system.oracle.address,
        slot_seconds=system.oracle.call.slot_seconds(),
        max_age=system.oracle.call.max_age(),
        coin=system.liquidator.call.coin(),
        auction=system.takeover.call.length(),
        events=(),
        block_hashes={},
        bundles={},
        accounts={},
        tokens_held=0,
        token_balance=0,
    )


def audited(system: System) -> list[Contract]:
    """The contracts whose events an audit follows."""
    return [
        system.registry, system.committee, system.oracle, system.ledger, system.clearing, system.liquidator,
        system.examiner, system.takeover, system.settlement, system.fallback, system.collateral,
    ]  # fmt: skip


def read_accounts(system: System) -> dict[int, AccountState]:
    """Every account as the ledger has it now, reserved ones included."""
    accounts = {}
    for account in (*RESERVED, *range(256, system.ledger.call.next_account())):
        owner, *rest = system.ledger.call.account(account)
        accounts[account] = AccountState(owner.lower(), *rest)
    return accounts


def read_bundles(folder: Path) -> dict[bytes, bytes]:
    """Files of a folder by the hash in their name, or by their own where the name is none."""
    out = {}
    for path in sorted(folder.iterdir()):
        if path.is_file():
            data = path.read_bytes()
            name = path.name.split(".")[0].removeprefix("0x")
            try:
                key = bytes.fromhex(name)
            except ValueError:
                key = b""
            out[key if len(key) == 32 else bytes(keccak(data))] = data
    return out
