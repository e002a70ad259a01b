"""What a full check would cost with other encodings of its witness, each a mined transaction on anvil (prague).

The harnesses `contracts/mocks/WitnessLeaves.vy` and `WitnessProofs.vy` do what `Examiner.check_full` does from calldata
to checkpoint: they believe the same 64 legs of 1,024 listed options, read the same positions, and come to the same
digest. `python -m benchmarks.witnesses --json` prints one object, without `--json` a table; `--write` keeps both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eth_abi import encode

from benchmarks.gas import BTC, ETH, NOW, SPOT, instruments
from offchain.chain.anvil import start_anvil
from offchain.chain.artifacts import artifact
from offchain.chain.backends import Chain, Contract
from offchain.chain.revm import calldata_floor
from offchain.instruments import InstrumentLeaf
from offchain.keccak import keccak256
from offchain.oracle.trees import Tree, leaf_hash
from offchain.risk.arrays import build_leaves
from offchain.risk.policy import default_policy
from offchain.units import SCENARIOS

UNIT = 16
"""Micro-USD: what differences to the mark are multiples of where they have 24 bits."""
LEGS = 64
KINDS = ("chains", "scattered")

Args = tuple[Any, ...]


@dataclass(frozen=True)
class Encoding:
    """One way to bring legs: the harness's function, its number there, and what it is called with."""

    name: str
    what: str
    contract: str
    number: int
    prepare: Callable[[Sequence[InstrumentLeaf], Sequence[int]], tuple[bytes, Args]]


def rounded(leaf: InstrumentLeaf) -> InstrumentLeaf:
    """The leaf with every value a multiple of `UNIT` from the mark, so that all encodings can hold it."""
    mark = leaf.array[0]
    return replace(leaf, array=tuple(mark + (v - mark) // UNIT * UNIT for v in leaf.array))


def narrow_words(leaf: InstrumentLeaf) -> tuple[int, ...]:
    """A risk array in four words: the mark, and 39 differences of 24 bits (`WitnessLeaves.Narrow`).

    Raises
    ------
    ValueError
        A difference is no multiple of `UNIT`, or does not fit.
    """
    mark = leaf.array[0] + 2**31
    words = [(mark >> 16) << 240, (mark & 0xFFFF) << 240, 0, 0]
    for row in range(1, SCENARIOS):
        lane, rest = divmod(leaf.array[row] - leaf.array[0], UNIT)
        if rest or not -(2**23) <= lane < 2**23:
            raise ValueError(
                f"row {row} of {leaf.id:#x} is {leaf.array[row] - leaf.array[0]} from the mark: no 24 bits"
            )
        word, at = ((row - 37), 9) if row > 36 else divmod(row - 1, 9)
        words[word] |= (lane + 2**23) << (24 * at)
    return tuple(words)


def _encoded(leaf: InstrumentLeaf) -> bytes:
    return encode(["(uint256,uint256[5])"], [leaf.pack()])


def _tree(leaves: Sequence[InstrumentLeaf], width: int = 1) -> Tree:
    """Leaves of `width` instruments each, as the harness hashes them."""
    parts = [_encoded(leaf) for leaf in leaves]
    return Tree([leaf_hash(b"".join(parts[i : i + width])) for i in range(0, len(parts), width)])


def _packed(leaves: Sequence[InstrumentLeaf], held: Sequence[int]) -> tuple[bytes, Args]:
    tree = _tree(leaves)
    return tree.root, ([leaves[i].pack() for i in held], *tree.multiproof(held))


def _single_flags(leaves: Sequence[InstrumentLeaf], held: Sequence[int]) -> tuple[bytes, Args]:
    root, (legs, proof, flags) = _packed(leaves, held)
    count = len(legs) + len(proof) - 1
    return root, (legs, proof, [bool(flags[j // 256] >> j % 256 & 1) for j in range(count)])


def _places(leaves: Sequence[InstrumentLeaf], held: Sequence[int]) -> tuple[bytes, Args]:
    root, (legs, proof, _) = _packed(leaves, held)
    words = [0] * ((len(held) + 15) // 16)
    for number, i in enumerate(held):
        words[number // 16] |= (2 * len(leaves) - 2 - i) << (16 * (number % 16))
    return root, (legs, proof, words)


def _single_proofs(leaves: Sequence[InstrumentLeaf], held: Sequence[int]) -> tuple[bytes, Args]:
    tree = _tree(leaves)
    proofs = [tree.proof(i) for i in held]
    return tree.root, ([leaves[i].pack() for i in held], len(proofs[0]), [each for proof in proofs for each in proof])


def _runs(width: int) -> Callable[[Sequence[InstrumentLeaf], Sequence[int]], tuple[bytes, Args]]:
    def prepare(leaves: Sequence[InstrumentLeaf], held: Sequence[int]) -> tuple[bytes, Args]:
        tree = _tree(leaves, width)
        places = sorted({i // width for i in held})
        runs = [[leaf.pack() for leaf in leaves[width * p : width * p + width]] for p in places]
        legs: list[Any] = [leg for run in runs for leg in run] if width == 2 else list(runs)
        return tree.root, (legs, *tree.multiproof(places))

    return prepare


def _narrow(leaves: Sequence[InstrumentLeaf], held: Sequence[int]) -> tuple[bytes, Args]:
    packed = [(leaf.meta, list(narrow_words(leaf))) for leaf in leaves]
    tree = Tree([leaf_hash(encode(["(uint256,uint256[4])"], [each])) for each in packed])
    return tree.root, ([packed[i] for i in held], *tree.multiproof(held))


ENCODINGS = (
    Encoding("packed_flags", "in use: multiproof, 256 flags a word", "WitnessLeaves", 0, _packed),
    Encoding("single_flags", "multiproof, a flag a word", "WitnessProofs", 1, _single_flags),
    Encoding("places", "multiproof by places in the tree, no flags", "WitnessProofs", 2, _places),
    Encoding("single_proofs", "a proof for each leg", "WitnessProofs", 3, _single_proofs),
    Encoding("pairs", "a leaf is a call and a put", "WitnessLeaves", 4, _runs(2)),
    Encoding("strikes", "a leaf is two strikes: four options", "WitnessLeaves", 5, _runs(4)),
    Encoding("narrow", "four words: 24-bit differences to the mark", "WitnessLeaves", 6, _narrow),
)


def digest(leaves: Sequence[InstrumentLeaf], lots: dict[int, int]) -> bytes:
    """What every encoding must come to: hash of close-out and scenario vector of the positions (by place)."""
    rows = [2**63 + sum(q * leaves[i].array[row] for i, q in lots.items()) for row in range(SCENARIOS)]
    vector = [sum(rows[4 * w + i] << (64 * i) for i in range(4)) for w in range(10)]
    closeout = sum(q * leaves[i].c_long if q > 0 else -q * leaves[i].c_short for i, q in lots.items())
    return keccak256(encode(["uint256", "uint256[10]"], [closeout, vector]))


class Bench:
    """Both harnesses with books of positions in `leaves`, which are rounded to what all encodings can hold."""

    def __init__(self, chain: Chain, leaves: Sequence[InstrumentLeaf], books: Sequence[dict[int, int]]):
        self.chain, self.books = chain, books
        self.leaves = [rounded(leaf) for leaf in leaves]
        self.sender = chain.accounts[0]
        self.harness: dict[str, Contract] = {}
        for name in ("WitnessLeaves", "WitnessProofs"):
            self.harness[name] = deployed = chain.deploy(artifact(f"mocks/{name}"), sender=self.sender)
            for number, lots in enumerate(books):
                places = sorted(lots)
                ids, held = [self.leaves[i].id for i in places], [lots[i] for i in places]
                deployed.send.hold(number, ids, held, sender=self.sender)

    def prepare(self, encoding: Encoding, book: int) -> list[Any]:
        """The arguments of the encoding's check of a book; sets the root."""
        root, args = encoding.prepare(self.leaves, sorted(self.books[book]))
        self.harness[encoding.contract].send.set_root(root, sender=self.sender)
        return [book, *args]

    def check(self, encoding: Encoding, args: Sequence[Any]) -> dict[str, int]:
        """Send the check: gas of the transaction, bytes of calldata, and the least gas that they allow.

        Raises
        ------
        AssertionError
            It came to other integers than Python.
        """
        harness = self.harness[encoding.contract]
        data = harness.function(encoding.name).encode(tuple(args))
        receipt = self.chain.transact(self.sender, harness.address, data)
        found = harness.call.digest(encoding.number, args[0])
        assert found == digest(self.leaves, self.books[args[0]]), f"{encoding.name}: another vector or close-out"
        return {"gas": receipt.gas_used, "calldata_bytes": len(data), "floor": calldata_floor(data)}


def listed_leaves() -> list[InstrumentLeaf]:
    """The 1,024 options of `benchmarks.gas`, as an epoch has them."""
    listed = instruments()
    return build_leaves(
        listed, [SPOT[BTC]] * len(listed), [650_000] * len(listed), SPOT, {BTC: 0, ETH: 0},
        {BTC: 160_000, ETH: 180_000}, NOW, default_policy(),
    )  # fmt: skip


def books() -> list[dict[int, int]]:
    """Lots by place: two chains of 32 legs, and 64 legs in no chain with each other."""
    chains = [*range(160, 192), *range(640, 672)]
    scattered = [16 * k + 7 * k % 16 for k in range(LEGS)]
    return [{i: (100 + n) * (1 if n % 3 else -1) for n, i in enumerate(places)} for places in (chains, scattered)]


def measure() -> dict[str, dict[str, dict[str, int]]]:
    """Every encoding's figures, by name and kind of book."""
    with start_anvil(NOW) as chain:
        bench = Bench(chain, listed_leaves(), books())
        return {
            each.name: {kind: bench.check(each, bench.prepare(each, book)) for book, kind in enumerate(KINDS)}
            for each in ENCODINGS
        }


def table(figures: dict[str, dict[str, dict[str, int]]]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "# Encodings of a witness", "",
        f"Whole transactions on anvil, prague: a full check of {LEGS} legs of 1,024 listed, from calldata to",
        "checkpoint, in harnesses without the ledger's lock, the oracle and the margin's minimum. `floor` is what",
        "EIP-7623 asks for the calldata alone.", "",
        "| encoding | | two chains: gas | floor | calldata bytes | scattered: gas | floor | calldata bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for each in ENCODINGS:
        cells = [f"{figures[each.name][kind][key]:,}" for kind in KINDS
                 for key in ("gas", "floor", "calldata_bytes")]  # fmt: skip
        lines.append(f"| `{each.name}` | {each.what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/witnesses.md and .json")
    options = parser.parse_args()
    figures = measure()
    if options.write:
        here = Path(__file__).parent
        (here / "witnesses.md").write_text(table(figures))
        (here / "witnesses.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2) if options.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
