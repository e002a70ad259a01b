"""Gas of what a user pays for: each a mined transaction on anvil (prague) through the deployed contracts.

`python -m benchmarks.gas --json` prints one object: a key per operation with its `gasUsed`, and `transactions` with the
hash of each. Without `--json` it prints a table beside the figures published by others, and `--write` keeps it in
`benchmarks/gas.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from benchmarks.accounts import measure_checks, measure_parts, take_leg
from benchmarks.headers import measure_headers
from offchain.chain.anvil import start_anvil
from offchain.chain.artifacts import artifact
from offchain.chain.backends import Chain, Receipt, dev_account
from offchain.chain.checks import deployables
from offchain.chain.orders import Order
from offchain.chain.system import INSURANCE, System
from offchain.config import Cadence
from offchain.instruments import Instrument, InstrumentLeaf, Kind
from offchain.oracle import signatures
from offchain.oracle.headers import Header, Mark, account_leaf_hash, instrument_leaf_hash
from offchain.oracle.trees import Tree
from offchain.risk.arrays import build_leaves
from offchain.risk.policy import default_policy
from offchain.risk.portfolios import Content, content_of, evaluate

NOW = 1_783_000_800  # a whole hour
CADENCE = Cadence(slot=60, max_age=3600, min_interval=30)
MEMBERS, QUORUM = 19, 13
STRIKES, EXPIRIES = 16, 32  # 32 chains of 16 strikes, call and put: 1,024 instruments
USD = 10**6
BTC, ETH = 1, 2
SPOT = {BTC: 60_000 * USD, ETH: 3_000 * USD}
TREE_DEPTH = 20
PMRM_64 = "Derive PMRM_2, 64 options: 20,400,000 to 21,100,000"
V1_64 = "Derive PMRM v1, 64 options: start auction 4,200,000 and bid 14,500,000"
V1_126 = "Derive PMRM v1, 126 options: start auction 7,700,000 and bid 28,400,000"
CHECKS = "Derive PMRM_2: a full check, 318,000 an option held, where it is not trusted off chain"
GROWS = "no counterpart: the peer's check grows with the portfolio"
ORACLES = "Pyth, 13 of 19, ten feeds: 404,000; Chainlink OCR2 (16, 5): 128,000 a feed"
PUBLISHED = {
    "post_header_13_of_19": ORACLES,
    "post_header_13_of_19_feeds": f"{ORACLES}; RedStone, 13 signers: 189,000",
    "full_check_8": "Derive PMRM_2, 8 options: 2,700,000 to 3,200,000",
    "full_check_32": "Derive PMRM_2, 32 options: 10,000,000 to 10,500,000",
    "full_check_64": PMRM_64,
    "full_check_64_scattered": PMRM_64,
    "check_parts_64": f"{PMRM_64}, more than a transaction may use (EIP-7825: 16,777,216), and in one only",
    "trade_checkpoint": CHECKS,
    "trade_opening": CHECKS,
    "withdraw_leaf": CHECKS,
    "leaf_check": GROWS,
    "leg_liquidation_1_of_32": V1_64,
    "leg_liquidation_1_of_126": V1_126,
    "takeover_126": V1_126,
}


@dataclass(frozen=True)
class Seat:
    """A committee member with its key."""

    address: str
    secret: signatures.SecretKey

    @property
    def key(self) -> bytes:
        return self.secret.public_key

    def possession(self, chain_id: int, committee: str) -> bytes:
        return signatures.prove_possession(self.secret, chain_id, committee, self.address)


def instruments() -> list[Instrument]:
    """1,024 BTC options: 32 expiries a week apart, 16 strikes, calls and puts; ascending id."""
    listed = []
    for week in range(1, EXPIRIES + 1):
        for step in range(STRIKES):
            strike = (40_000 + 2_500 * step) * USD
            listed += [Instrument(BTC, kind, NOW + week * 7 * 86_400, strike) for kind in (Kind.CALL, Kind.PUT)]
    return sorted(listed, key=lambda i: i.id)


@dataclass
class Bench:
    """A deployed system with 1,024 listed options, and the accounts that trade them."""

    chain: Chain
    seats: list[Seat]
    rng: np.random.Generator
    gas: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    spread: float = 0.0

    def __post_init__(self) -> None:
        self.policy = default_policy()
        self.listed = instruments()
        self.deployer = self.chain.accounts[0]
        ids = [i.id for i in self.listed]
        self.system = System.deploy(
            self.chain, self.deployer, self.policy.encode(), self.seats, CADENCE, instruments=ids
        )
        self.positions: dict[int, dict[int, int]] = {}
        self.keys: dict[int, LocalAccount] = {}
        self.salt = 0
        self.posted_at = 0
        self.maker = self.open(200_000_000 * USD)
        self.deposit(INSURANCE, 1_000_000 * USD)

    def record(self, name: str, receipt: Receipt) -> None:
        """Keep the gas of a mined transaction."""
        self.gas[name], self.hashes[name] = receipt.gas_used, receipt.tx_hash

    def deposit(self, account: int, amount: int) -> None:
        self.system.token.send.mint(self.deployer.address, amount, sender=self.deployer)
        self.system.deposit(account, amount, self.deployer)

    def open(self, cash: int) -> int:
        """A funded account with an owner of its own."""
        key = dev_account(5000 + len(self.keys))
        self.chain.fund(key.address)
        account = self.system.open_account(key)
        self.keys[account] = key
        self.positions[account] = {}
        self.deposit(account, cash)
        return account

    # epochs
    def post(self, timestamp: int, spot: dict[int, int], name: str = "", account_tree: bool = False) -> None:
        """Price everything, have 13 of 19 sign, post. `account_tree`: all accounts' leaves in a tree of 2^20."""
        leaves = build_leaves(
            self.listed, [spot[BTC]] * len(self.listed), [650_000] * len(self.listed), spot, {BTC: 0, ETH: 0},
            {BTC: 160_000, ETH: 180_000}, timestamp, self.policy,
        )  # fmt: skip
        self.leaves: dict[int, InstrumentLeaf] = {leaf.id: leaf for leaf in leaves}
        self.instrument_tree = Tree([instrument_leaf_hash(*leaf.pack()) for leaf in leaves])
        self.place = {leaf.id: i for i, leaf in enumerate(leaves)}
        self.contents = {a: content_of(a, held, self.leaves) for a, held in self.positions.items() if held}
        root = bytes(32)
        self.proofs: dict[int, list[bytes]] = {}
        if account_tree:
            hashes = [keccak(b"another account %d" % i) for i in range(2**TREE_DEPTH)]
            for slot, (account, content) in enumerate(sorted(self.contents.items())):
                position_hash = bytes(self.system.ledger.call.account(account)[5])
                words = content.vector_words
                hashes[1000 + slot] = account_leaf_hash(content.head, position_hash, content.cost, words)
            tree = Tree(hashes)
            root = tree.root
            self.proofs = {a: tree.proof(1000 + slot) for slot, a in enumerate(sorted(self.contents))}
        block = self.chain.block_number
        header = Header(
            timestamp // CADENCE.slot, timestamp, block, self.chain.block_hash(block), 1, self.policy.hash, 0,
            self.instrument_tree.root, root, keccak(b"bundle %d" % timestamp),
            (Mark(BTC, spot[BTC], 0, 160_000).pack(), Mark(ETH, spot[ETH], 0, 180_000).pack()),
        )  # fmt: skip
        oracle = self.system.oracle
        digest = signatures.header_digest(self.chain.chain_id, oracle.address, 1, header.epoch, header.hash)
        signers = sorted(self.rng.choice(MEMBERS, QUORUM, replace=False).tolist())
        signed = signatures.aggregate([signatures.sign(self.seats[i].secret, digest) for i in signers])
        self.chain.set_next_timestamp(timestamp + 5)
        mask = sum(1 << i for i in signers)
        receipt = oracle.send.post(header.as_tuple(), mask, signed, sender=self.deployer)
        self.epoch, self.params = header.epoch, self.policy.margin
        if name:
            self.record(name, receipt)

    # accounts
    def witness(self, account: int) -> tuple[int, int, list[int], list[bytes]]:
        """Leaf witness where the tree holds the account, else the checkpoint."""
        if not self.positions[account]:
            return (0, 0, [], [])
        content = self.contents[account]
        return (content.head, content.cost, list(content.vector_words), self.proofs.get(account, []))

    def trade(self, account: int, instrument: int, lots: int) -> Receipt:
        """The account buys `lots` (signed) from the maker at the mark."""
        leaf = self.leaves[instrument]
        leg, proof = leaf.pack(), self.instrument_tree.proof(self.place[instrument])
        sides = []
        clearing = self.system.clearing
        for who, signed in ((self.maker, -lots), (account, lots)):
            self.salt += 1
            order = Order(who, 0, instrument, signed, leaf.array[0], self.chain.timestamp + 3600, self.salt)
            sides.append((order.as_tuple(), order.sign(self.keys[who], self.chain.chain_id, clearing.address)))
        receipt = clearing.send.trade(
            *sides[0], *sides[1], abs(lots), leg, proof, self.witness(self.maker), self.witness(account),
            sender=self.keys[account],
        )  # fmt: skip
        for who, signed in ((self.maker, -lots), (account, lots)):
            held = self.positions[who]
            held[instrument] = held.get(instrument, 0) + signed
            self.contents[who] = content_of(who, held, self.leaves)
            self.proofs.pop(who, None)
        return receipt

    def full_check(self, account: int) -> Receipt:
        """All legs of an account, one multiproof."""
        ids = sorted(self.positions[account])
        proof, flags = self.instrument_tree.multiproof([self.place[i] for i in ids])
        legs = [self.leaves[i].pack() for i in ids]
        return self.system.examiner.send.check_full(account, legs, proof, flags, sender=self.deployer)

    def content(self, account: int) -> Content:
        return self.contents[account]


def measure(bench: Bench) -> None:
    """Run every operation once and record it."""
    chain, system = bench.chain, bench.system
    bench.post(NOW, SPOT)
    bench.post(NOW + 60, SPOT)
    bench.post(NOW + 120, SPOT, "post_header_13_of_19")

    # A book in two chains of 32, neither at the edge of the tree, long and short.
    chains = [bench.listed[32 * c : 32 * c + 32] for c in (5, 20)]
    book = bench.open(5_000_000 * USD)
    small = bench.open(1_500_000 * USD)
    legs = [pair for both in zip(*chains, strict=True) for pair in both]
    for number, leg in enumerate(legs):
        lots = (100 + number) * (1 if number % 3 else -1)
        bench.trade(book, leg.id, lots)
        if number + 1 in (8, 32, 64):
            bench.record(f"full_check_{number + 1}", bench.full_check(book))
        if number < 32:
            # Short strangles on a small deposit: to be liquidated after the move below.
            bench.trade(small, leg.id, -400)

    measure_parts(bench, book)
    measure_checks(bench, legs[0].id, book)

    free = evaluate(bench.content(small), system.ledger.call.account(small)[2], bench.params).im_excess
    bench.post(NOW + 900, SPOT, account_tree=True)
    owner = bench.keys[small]
    bench.record(
        "withdraw_leaf",
        system.clearing.send.withdraw(small, free * 99 // 100, owner.address, bench.witness(small), sender=owner),
    )

    risen = {u: price * 114 // 100 for u, price in SPOT.items()}
    bench.post(NOW + 960, risen)  # a jump beyond the limit: provisional until the next epoch confirms it
    bench.post(NOW + 1020, risen, account_tree=True)
    data = system.clearing.function("check").encode((book, bench.witness(book)))
    bench.record("leaf_check", chain.transact(bench.deployer, system.clearing.address, data))

    margin = evaluate(bench.content(small), system.ledger.call.account(small)[2], bench.params)
    assert margin.mm_excess < 0, f"the small account should be liquidatable, its MM excess is {margin.mm_excess}"
    take_leg(bench, small, "leg_liquidation_1_of_32")
    from benchmarks.gas_takeover import measure_takeover  # which imports this module

    bench.maker = bench.open(400_000_000 * USD)
    measure_takeover(bench)
    bench.gas["largest_contract_bytes"] = max(len(artifact(name).runtime) for name in deployables())


def run() -> Bench:
    """Deploy on anvil and measure."""
    seats = [Seat(dev_account(900 + i).address, signatures.SecretKey.generate(keccak(b"member %d" % i)))
             for i in range(MEMBERS)]  # fmt: skip
    with start_anvil(NOW - 3600) as chain:
        bench = Bench(chain, seats, np.random.default_rng(7))
        measure(bench)
        receipt, spread = measure_headers(bench.system, seats, QUORUM, bench.deployer, bench.rng)
        bench.record("post_header_13_of_19_feeds", receipt)
        bench.spread = spread
    return bench


def table(bench: Bench) -> str:
    """The results as a Markdown table."""
    rows = ["# Gas", "", "Whole transactions (`gasUsed`) on anvil, prague; 1,024 listed options, 19 members.", "",
            "| operation | gas | elsewhere |", "|---|---|---|"]  # fmt: skip
    rows += [f"| {n} | {g:,} | {PUBLISHED.get(n, '')} |" for n, g in bench.gas.items() if n != "largest_contract_bytes"]
    rows += ["", f"A header's gas differs by {bench.spread:.3f} % between 10 and 100,000 instruments."]
    rows += ["", "| contract | bytes of code |", "|---|---|"]
    rows += [f"| {name} | {len(artifact(name).runtime):,} |" for name in deployables()]
    return "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--write", action="store_true", help="keep the table in benchmarks/gas.md and benchmarks/gas.json"
    )
    options = parser.parse_args()
    bench = run()
    figures = {**bench.gas, "post_header_spread_percent": round(bench.spread, 3)}
    result = {**figures, "transactions": bench.hashes}
    if options.write:
        here = Path(__file__).parent
        (here / "gas.md").write_text(table(bench))
        (here / "gas.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(result, indent=2) if options.json else table(bench))
    return 0


if __name__ == "__main__":
    sys.exit(main())
