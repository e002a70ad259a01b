"""The audit of a day while it happens, in a process of its own: logs and published bytes in, a verification out.

What audits is `offchain.audit`, which computes everything anew from the chain's logs. The functions below are to be
submitted, in order, to an executor with one worker.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any

from offchain.audit.record import AccountState, Record
from offchain.audit.result import Verification
from offchain.audit.verify import Audit
from offchain.chain.artifacts import Artifact
from offchain.chain.backends import Chain, RawLog
from offchain.config import BallastError


class Here(Executor):
    """An executor that does everything at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@dataclass
class Auditor:
    """An audit, and the bytes that it is looking at."""

    chain: Chain
    record: Record
    audit: Audit


_running: list[Auditor] = []


def begin(record: Record, contracts: Sequence[tuple[Artifact, str]]) -> None:
    """Begin the audit of a deployment: its constants, and ABI and address of its contracts."""
    chain = Chain([], record.chain_id, "logs")
    for artifact, address in contracts:
        chain.at(artifact, address)
    record = replace(record, block_hashes={}, bundles={})
    _running[:] = [Auditor(chain, record, Audit(record))]


def follow(logs: Sequence[RawLog]) -> None:
    """Check the next logs, none of which is of an epoch."""
    (auditor,) = _running
    auditor.audit.take(auditor.chain.decode(logs))


def take(logs: Sequence[RawLog], block: int, block_hash: bytes, address: bytes, bundle: bytes) -> float:
    """Check the next logs. The last are those of an epoch that rests on `block`; it names its bundle by `address`.

    Returns the processor seconds that it took.
    """
    began = time.process_time()
    (auditor,) = _running
    bundles, hashes = auditor.record.bundles, auditor.record.block_hashes
    assert isinstance(bundles, dict)
    assert isinstance(hashes, dict)
    bundles[address], hashes[block] = bundle, block_hash
    follow(logs)
    bundles.clear()
    return time.process_time() - began


def finish(
    logs: Sequence[RawLog], accounts: dict[int, AccountState], tokens_held: int, token_balance: int
) -> tuple[Verification, int, float]:
    """Check the last logs, and the books against the ledger's own.

    Returns
    -------
    What was verified, the number of epochs, and the processor seconds that it took.

    Raises
    ------
    BallastError
        Anything differs but the signatures: the committee is the stand-in that believes all, so there are none.
    """
    began = time.process_time()
    follow(logs)
    (auditor,) = _running
    audit = auditor.audit
    record = replace(auditor.record, accounts=accounts, tokens_held=tokens_held, token_balance=token_balance)
    found = audit.finish(record)
    unsigned = [each for each in found.mismatches if each.kind == "signature" and "committee set" in each.where]
    wrong = [each for each in found.mismatches if each not in unsigned]
    if wrong or len(unsigned) != len(audit.epochs):
        raise BallastError(f"the audit found {len(wrong)} differences: {wrong[:3]}")
    return found, len(audit.epochs), time.process_time() - began


def processor_seconds() -> float:
    """Of this process, since it began."""
    return time.process_time()
