"""Gas of posting a header: four underlyings, each with a feed behind a proxy, and how little the counts matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from eth_abi import decode
from eth_utils import keccak

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Chain, Contract, Receipt, Signer
from offchain.chain.system import POLICY_TYPE, System
from offchain.config import Cadence
from offchain.oracle import signatures
from offchain.oracle.headers import Header, Mark
from offchain.oracle.trees import Tree
from offchain.risk.policy import Policy, default_policy

USD = 10**6
PRICES = {1: 60_000 * USD, 2: 3_000 * USD, 3: 150 * USD, 4: 2 * USD}
CADENCE = Cadence(slot=60, max_age=3_600, min_interval=30)
FEW, MANY = 10, 100_000
ACCOUNTS = {FEW: 10, MANY: 1_000_000}


class Holder(Protocol):
    """A member of the committee with its key."""

    @property
    def secret(self) -> signatures.SecretKey: ...


def policy_of_four() -> Policy:
    """The default policy with four underlyings."""
    base = default_policy(CADENCE.slot)
    first, second = base.underlyings
    return replace(base, underlyings=(first, second, replace(second, underlying=3), replace(second, underlying=4)))


@dataclass
class Poster:
    """An oracle of its own, signed for by the committee of `system`."""

    chain: Chain
    oracle: Contract
    policy: Policy
    seats: Sequence[Holder]
    quorum: int
    sender: Signer

    @classmethod
    def open(cls, system: System, seats: Sequence[Holder], quorum: int, sender: Signer) -> Poster:
        """Deploy feeds, registry and oracle."""
        chain, policy = system.chain, policy_of_four()
        feeds = []
        for number, price in PRICES.items():
            inner = chain.deploy(artifact("mocks/PriceFeed"), sender=sender)
            inner.send.set(price, chain.timestamp, sender=sender)
            proxy = chain.deploy(artifact("mocks/FeedProxy"), inner, sender=sender)
            feeds.append((number, proxy.address, 7 * 86_400, 1, 2**127))
        values = decode([POLICY_TYPE], policy.encode())[0]
        settings: tuple[Any, ...] = (CADENCE.timelock, values, sender.address, feeds, [])
        registry = chain.deploy(artifact("Registry"), *settings, sender=sender)
        oracle = chain.deploy(
            artifact("RiskOracle"), system.committee, registry, CADENCE.slot, CADENCE.max_age, CADENCE.min_interval,
            CADENCE.fallback_delay, CADENCE.exit_delay, sender=sender,
        )  # fmt: skip
        return cls(chain, oracle, policy, seats, quorum, sender)

    def post(self, timestamp: int, signers: Sequence[int], instruments: int, accounts: int) -> Receipt:
        """Sign and post a header over trees of so many leaves."""
        block = self.chain.block_number
        header = Header(
            timestamp // CADENCE.slot, timestamp, block, self.chain.block_hash(block), 1, self.policy.hash, 0,
            root(b"instrument %d" % timestamp, instruments), root(b"account %d" % timestamp, accounts),
            keccak(b"bundle %d" % timestamp),
            tuple(Mark(number, price + timestamp % 7_919, 0, 160_000).pack() for number, price in PRICES.items()),
        )  # fmt: skip
        digest = signatures.header_digest(self.chain.chain_id, self.oracle.address, 1, header.epoch, header.hash)
        signed = signatures.aggregate([signatures.sign(self.seats[i].secret, digest) for i in signers])
        self.chain.set_next_timestamp(timestamp + 5)
        mask = sum(1 << i for i in signers)
        return self.oracle.send.post(header.as_tuple(), mask, signed, sender=self.sender)


def root(kind: bytes, count: int) -> bytes:
    """Root over so many leaves."""
    return Tree([keccak(b"%s %d" % (kind, i)) for i in range(count)]).root


def measure_headers(
    system: System, seats: Sequence[Holder], quorum: int, sender: Signer, rng: np.random.Generator
) -> tuple[Receipt, float]:
    """The receipt of a header with four feeds, and the spread of its gas between few and many instruments, percent.

    Every header is signed by the same members, is not the first, and changes every price and root.
    """
    poster = Poster.open(system, seats, quorum, sender)
    start = (poster.chain.timestamp // CADENCE.slot + 2) * CADENCE.slot
    signers = sorted(rng.choice(len(seats), quorum, replace=False).tolist())
    receipts = [
        poster.post(start + 60 * step, signers, count, ACCOUNTS[count])
        for step, count in enumerate((FEW, FEW, MANY, FEW, MANY))
    ][1:]
    for number in PRICES:
        agrees = poster.oracle.call.mark(number) >> 64 & 255
        assert agrees == 1, f"the feed of underlying {number} should have been asked and agree, it says {agrees}"
    gas = [receipt.gas_used for receipt in receipts]
    return receipts[0], 100 * (max(gas) - min(gas)) / max(gas)
