"""Integer formulas of lanes and words, for all inputs within their bounds, by z3 (`make prove`).

The formulas are those of `contracts/lib/risk_array.vy` and `contracts/lib/account_words.vy`, written out on 256-bit
words; the bytecode itself is not read. Needs z3-solver. Exits with 1 if one is false, or not decided in a minute.
"""

from __future__ import annotations

import sys
from typing import Any

from z3 import And, BitVec, BitVecVal, Implies, LShR, Not, Solver, unsat

BITS = 256
LOTS_BITS, LOTS_LANE = 51, 2**51 - 1
ONES = 2**256 - 1


def word(name: str) -> Any:
    """Any 256-bit word."""
    return BitVec(name, BITS)


def holds(name: str, claim: Any) -> bool:
    """Whether no input makes a claim false."""
    solver = Solver()
    solver.set("timeout", 60_000)
    solver.add(Not(claim))
    answer = solver.check()
    print(f"{name}: {'proven' if answer == unsat else answer}", flush=True)
    return bool(answer == unsat)


def lanes_read_back() -> list[bool]:
    """`BIAS_63 + sum x_i 2^(64 i)`, modulo 2^256, has `x_i + 2^63` in each lane while `|x_i| < 2^63`."""
    values = [word(f"x{i}") for i in range(4)]
    bounds = And(*[And(x > -(2**63), x < 2**63) for x in values])
    packed = BitVecVal(sum(2 ** (64 * i + 63) for i in range(4)), BITS)
    for i, x in enumerate(values):
        packed = packed + (x << (64 * i))
    return [
        holds(f"lane {i} of a scenario vector", Implies(bounds, (LShR(packed, 64 * i) & (2**64 - 1)) - 2**63 == x))
        for i, x in enumerate(values)
    ]


def lanes_add() -> list[bool]:
    """A lane's weight distributes over sums modulo 2^256, so words may be added in any order."""
    x, y = word("x"), word("y")
    return [holds(f"adding in lane {i}", (x + y) << (64 * i) == (x << (64 * i)) + (y << (64 * i))) for i in range(4)]


def biased_sums() -> list[bool]:
    """`sum_u (BIAS_63 + E(x_u)) - (B - 1) BIAS_63 = BIAS_63 + E(sum_u x_u)`, modulo 2^256, for 2 to 4 vectors.

    As `lib/margin.vy` adds words over underlyings. With `s_ui = x_ui 2^(64 i)` it is a sum in another order, and
    `sum_u s_ui = (sum_u x_ui) 2^(64 i)` by adding in a lane, again and again; what is left reads back as above.
    """
    bias, done = word("bias"), []
    for count in (2, 3, 4):
        parts = [[word(f"s{u}_{i}") for i in range(4)] for u in range(count)]
        total = -(count - 1) * bias
        for row in parts:
            total = total + (bias + row[0] + row[1] + row[2] + row[3])
        lanes = [sum(column[1:], column[0]) for column in zip(*parts, strict=True)]
        done.append(holds(f"sum of {count} biased vectors", total == bias + lanes[0] + lanes[1] + lanes[2] + lanes[3]))
    return done


def lots_read_back() -> list[bool]:
    """`_lots(_with_lots(word, kind, q), kind) = q` for `|q| < 2^50`, and the other kinds keep theirs."""
    packed, lots = word("word"), word("lots")
    bounds = And(lots > -(2**50), lots < 2**50)

    def read(held: Any, kind: int) -> Any:
        return (held << (BITS - LOTS_BITS * kind)) >> 205

    done = []
    for kind in range(1, 6):
        low = LOTS_BITS * (kind - 1)
        new = (packed & BitVecVal(ONES ^ (LOTS_LANE << low), BITS)) | ((lots & LOTS_LANE) << low)
        done.append(holds(f"lots of kind {kind}", Implies(bounds, read(new, kind) == lots)))
        others = And(*[read(new, other) == read(packed, other) for other in range(1, 6) if other != kind])
        done.append(holds(f"lots of kinds other than {kind}", others))
    return done


def cash_reads_back() -> list[bool]:
    """`_with_cash`: cash reads back while within 128 bits, and counts and `sum |q|` stay."""
    holdings, cash = word("holdings"), word("cash")
    bounds = And(cash >= -(2**127), cash < 2**127)
    new = (cash << 128) | (holdings & (2**128 - 1))
    low = 2**128 - 1
    return [
        holds("cash of an account", Implies(bounds, new >> 128 == cash)),
        holds("counts beside cash", new & low == holdings & low),
    ]


if __name__ == "__main__":
    results = lanes_read_back() + lanes_add() + biased_sums() + lots_read_back() + cash_reads_back()
    print(f"{sum(results)} of {len(results)} proven")
    sys.exit(0 if all(results) else 1)
