"""The risk engine against its peers and against the memory, in one run on one core.

    python -m benchmarks.risk --json        the figures, one JSON object
    python -m benchmarks.risk --write       also benchmarks/risk.md, risk.json and risk.png (cost against size)

Times are processor time, which on an idle machine is that of the clock and on a busy one leaves out the others; the
best of several, in turn with the peers'. Compilation is not timed. Everything is drawn from seed 7.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from offchain.instruments import Instrument, InstrumentLeaf, Kind
from offchain.risk.arrays import build_leaves, pricing_inputs, risk_arrays
from offchain.risk.bulk import BulkBook, BulkMargins, leaf_columns
from offchain.risk.policy import Policy, UnderlyingParams, default_policy
from offchain.risk.portfolios import content_of, evaluate
from offchain.units import DAY, MICRO, SCENARIOS, to_micro_nearest

NOW = 1_772_352_000  # 2026-03-01T08:00:00Z
INDEX = {1: 84_000 * MICRO, 2: 2_740 * MICRO, 3: 130 * MICRO, 4: 2 * MICRO}
LOTS = {1: 1_000, 2: 100, 3: 10, 4: 1}
ACCOUNTS, POSITIONS = 1_000_000, 20
Ints = npt.NDArray[np.int64]


def pin() -> None:
    """Keep to one core, the last of those allowed, where the system can; threads of libraries then share it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def best(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Processor seconds of the fastest of `rounds` calls each, in turn; one call before is not timed."""
    for function in functions.values():
        function()
    out = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            out[name] = min(out[name], time.process_time() - start)
    return out


# inputs
def policy() -> Policy:
    """The default policy with four underlyings."""
    listed = tuple(UnderlyingParams(u, n, 80_000, 400_000, 100_000, 10_000, 1_000_000) for u, n in LOTS.items())
    return replace(default_policy(), underlyings=listed)


def instruments(count: int, rng: np.random.Generator, options_only: bool = False) -> list[Instrument]:
    """`count` instruments over the four underlyings, in id order: a perpetual each, some futures, chains of options."""
    found: dict[int, Instrument] = {}
    for u in INDEX:
        wanted = count * u // 4 - count * (u - 1) // 4 + len(found)
        expiries = [NOW + DAY * d for d in (1, 2, 7, 14, 28, 56, 91, 182, 273, 364)]
        firm = (
            [] if options_only else [Instrument(u, Kind.PERPETUAL), *(Instrument(u, Kind.FUTURE, e) for e in expiries)]
        )
        for each in firm:
            if len(found) < wanted:
                found[each.id] = each
        while len(found) < wanted:
            strike = round(INDEX[u] * float(np.exp(rng.normal(0.0, 0.3))) / 1_000) * 1_000
            each = Instrument(u, Kind(int(rng.choice([3, 4]))), int(rng.choice(expiries)), strike)
            found[each.id] = each
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True)
class Market:
    """What risk arrays are priced from."""

    listed: list[Instrument]
    forwards: Ints
    ivs: Ints

    @classmethod
    def of(cls, listed: list[Instrument], rng: np.random.Generator) -> Market:
        """Marks near the index, volatilities from 40 % to 120 %."""
        moves = rng.uniform(0.98, 1.04, size=len(listed))
        forwards = np.array([int(INDEX[i.underlying] * m) for i, m in zip(listed, moves, strict=True)])
        levels = rng.integers(400_000, 1_200_000, size=len(listed))
        return cls(listed, forwards, np.where([i.kind.is_option for i in listed], levels, 0))

    def inputs(self) -> tuple[Any, ...]:
        """The arguments of `risk_arrays`."""
        zero, scan = dict.fromkeys(INDEX, 0), dict.fromkeys(INDEX, 160_000)
        return self.listed, self.forwards, self.ivs, INDEX, zero, scan, NOW, policy()

    def leaves(self) -> list[InstrumentLeaf]:
        return build_leaves(*self.inputs())


def book_of(ids: list[int], accounts: int, rng: np.random.Generator) -> BulkBook:
    """Accounts with 20 different instruments each, drawn evenly from all; up to 1,000 lots, long or short."""
    drawn = rng.integers(0, len(ids) - POSITIONS + 1, size=(accounts, POSITIONS), dtype=np.int32)
    drawn.sort(axis=1)
    drawn += np.arange(POSITIONS, dtype=np.int32)
    lots = rng.integers(1, 1_000, size=accounts * POSITIONS, dtype=np.int64)
    np.negative(lots, out=lots, where=rng.random(len(lots), dtype=np.float32) < 0.5)
    indptr = np.arange(0, accounts * POSITIONS + 1, POSITIONS, dtype=np.int64)
    return BulkBook(ids, np.arange(256, 256 + accounts), indptr, drawn.ravel(), lots)


# measurements
def bandwidth() -> float:
    """Bytes a second that one core reads, adding up 800 MB of 64-bit integers."""
    data = np.ones(100_000_000, dtype=np.int64)
    from numba import njit

    @njit
    def add(values: Ints) -> int:
        total = 0
        for at in range(len(values)):
            total += values[at]
        return total

    return data.nbytes / best({"": lambda: add(data)}, 5)[""]


def measure_accounts(rng: np.random.Generator) -> dict[str, float]:
    """The margin rule for a million accounts, a thousand of them by the twin; and how near that is to the memory."""
    market = Market.of(instruments(1_000, rng), rng)
    leaves = market.leaves()
    columns = leaf_columns(leaves)
    start = time.process_time()
    book = book_of([leaf.id for leaf in leaves], ACCOUNTS, rng)
    built = time.process_time() - start
    cash = rng.integers(0, 10**12, size=ACCOUNTS)
    params = policy().margin
    found: list[BulkMargins] = [book.margins_of(*columns, cash, params)]

    def margins() -> None:
        found[0] = book.margins_of(*columns, cash, params)

    seconds = best({"": margins}, 7)[""]
    clock = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        margins()
        clock = min(clock, time.perf_counter() - start)
    known = {leaf.id: leaf for leaf in leaves}
    wrong = 0
    for place in rng.choice(ACCOUNTS, size=1_000, replace=False).tolist():
        part = slice(book.indptr[place], book.indptr[place + 1])
        keys = [book.instruments[c] for c in book.columns[part]]
        held = dict(zip(keys, book.lots[part].tolist(), strict=True))
        twin = evaluate(content_of(int(book.accounts[place]), held, known), int(cash[place]), params)
        wrong += found[0][place] != twin
    if wrong:
        raise AssertionError(f"{wrong} of 1000 accounts differ from the integer twin")
    moved = sum(each.nbytes for each in (book.columns, book.lots, book.indptr, book.sum_abs, cash)) + 41 * ACCOUNTS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    speed = bandwidth()
    return {
        "accounts_per_s": ACCOUNTS / seconds,
        "accounts_per_s_by_the_clock": ACCOUNTS / clock,
        "accounts_checked_against_twin": 1_000,
        "accounts_memory_gb": peak / 1e9,
        "accounts_book_build_s": built,
        "multiply_adds_per_s": ACCOUNTS * POSITIONS * SCENARIOS / seconds,
        "memory_bandwidth_gb_s": speed / 1e9,
        "memory_bandwidth_used_gb_s": moved / seconds / 1e9,
        "memory_bandwidth_fraction": moved / seconds / speed,
    }


def measure_arrays(rng: np.random.Generator) -> dict[str, float]:
    """Risk arrays of 1,000 options, 40 rows each.

    Ours and the plain loops go from the same arrays to the same integers; QuantLib's inputs are shocked beforehand and
    its prices stay as they are. `..._from_objects` is `risk_arrays` as the committee calls it, which also reads and
    checks the listed instruments, object by object.
    """
    from benchmarks.risk_peers import jax_function, numba_loop, quantlib_loop
    from offchain.risk import pricing_kernel

    pin()
    market = Market.of(instruments(1_000, rng, options_only=True), rng)
    arguments = market.inputs()
    inputs = pricing_inputs(*arguments)
    out = np.empty((len(market.listed), SCENARIOS))

    def kernel() -> Ints:
        pricing_kernel.fill_values(*inputs, out)
        return to_micro_nearest(out)

    loop, function, black = numba_loop(), jax_function(), quantlib_loop(inputs)
    exact = risk_arrays(*arguments)
    if (kernel() != exact).any():
        raise AssertionError("the kernel and risk_arrays differ")
    for name, peer in (("numba", loop), ("jax", function)):
        most = int(np.abs(peer(inputs) - exact).max())
        if most > 1:
            raise AssertionError(f"the {name} peer differs by {most} units")
    seconds = best(
        {
            "whole": lambda: risk_arrays(*arguments),
            "kernel": kernel,
            "numba": lambda: loop(inputs),
            "jax": lambda: function(inputs),
            "quantlib": black,
        },
        15,
    )
    size = exact.size
    peer_time = min(seconds["numba"], seconds["jax"])
    return {
        "evals_per_s": size / seconds["kernel"],
        "evals_ratio_to_quantlib": seconds["quantlib"] / seconds["kernel"],
        "evals_ratio_to_fastest_peer": peer_time / seconds["kernel"],
        "evals_per_s_from_objects": size / seconds["whole"],
        "evals_ratio_to_quantlib_from_objects": seconds["quantlib"] / seconds["whole"],
        "numba_evals_per_s": size / seconds["numba"],
        "jax_evals_per_s": size / seconds["jax"],
        "quantlib_evals_per_s": size / seconds["quantlib"],
    }


def measure_garch(rng: np.random.Generator) -> dict[str, float]:
    """A GARCH(1,1) fit of 2,500 returns, drawn from one, against `arch`; both reach the same likelihood."""
    from arch import arch_model

    from offchain.risk.garch import fit_garch

    returns, variance = np.empty(2_500), 1.0
    for at, z in enumerate(rng.standard_normal(len(returns)).tolist()):
        returns[at] = z * variance**0.5
        variance = 0.02 + 0.08 * returns[at] ** 2 + 0.90 * variance
    model = arch_model(returns, mean="Zero", rescale=False)
    theirs, ours = model.fit(disp="off"), fit_garch(returns)
    if ours.log_likelihood < theirs.loglikelihood - 0.01:
        raise AssertionError(f"log likelihood {ours.log_likelihood} is below arch's {theirs.loglikelihood}")
    seconds = best({"ours": lambda: fit_garch(returns), "arch": lambda: model.fit(disp="off")}, 15)
    return {
        "garch_ratio_to_arch": seconds["ours"] / seconds["arch"],
        "garch_fit_ms": seconds["ours"] * 1e3,
        "arch_fit_ms": seconds["arch"] * 1e3,
    }


# cost against size
def sweeps(rng: np.random.Generator) -> dict[str, list[tuple[int, float]]]:
    """Seconds against accounts (margins), instruments (risk arrays) and scenarios (the pricing kernel)."""
    from offchain.risk import pricing_kernel

    out: dict[str, list[tuple[int, float]]] = {"accounts": [], "instruments": [], "scenarios": []}
    market = Market.of(instruments(1_000, rng), rng)
    leaves = market.leaves()
    columns, params = leaf_columns(leaves), policy().margin
    for count in (31_250, 62_500, 125_000, 250_000, 500_000, 1_000_000):
        book, cash = book_of([leaf.id for leaf in leaves], count, rng), np.zeros(count, dtype=np.int64)
        out["accounts"].append((count, best({"": partial(book.margins_of, *columns, cash, params)}, 4)[""]))
    for count in (500, 1_000, 2_000, 4_000, 8_000):
        arguments = Market.of(instruments(count, rng), rng).inputs()
        out["instruments"].append((count, best({"": partial(risk_arrays, *arguments)}, 7)[""]))
    inputs = pricing_inputs(*market.inputs())
    for count in (20, 40, 80, 160, 320):
        rows = np.ascontiguousarray(np.tile(inputs[-1], (1, 8))[:, :count])
        table = np.empty((len(market.listed), count))
        out["scenarios"].append(
            (count, best({"": partial(pricing_kernel.fill_values, *inputs[:-1], rows, table)}, 9)[""])
        )
    return out


def exponent(points: list[tuple[int, float]]) -> float:
    """Slope of log time by log size: 1 where cost is linear."""
    sizes, seconds = np.log(np.array(points, dtype=np.float64)).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def plot(found: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Cost against size, three panels, both axes logarithmic, with the line of proportion through the largest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    titles = {
        "accounts": "margins, 20 positions, 40 rows",
        "instruments": "risk arrays, 40 rows",
        "scenarios": "pricing, 1,000 instruments",
    }
    for axes, (name, points) in zip(figure.subplots(1, 3), found.items(), strict=True):
        sizes, seconds = zip(*points, strict=True)
        axes.loglog(sizes, [1e3 * s for s in seconds], "o-", color="#1f5fa8", label="measured")
        axes.loglog(
            sizes, [1e3 * seconds[-1] * n / sizes[-1] for n in sizes], "--", color="#999999", label="proportional"
        )
        axes.set(xlabel=name, ylabel="milliseconds", title=titles[name])
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


LIMITS = {
    "evals_ratio_to_quantlib": "at least 15",
    "evals_ratio_to_fastest_peer": "at least 0.95",
    "accounts_per_s": "at least 2,000,000",
    "accounts_memory_gb": "at most 4",
    "garch_ratio_to_arch": "at most 3",
}


def table(figures: dict[str, float], found: dict[str, list[tuple[int, float]]]) -> str:
    """The results as Markdown."""
    lines = [
        "# Risk engine",
        "",
        "One core, float64 prices, exact integers after; `python -m benchmarks.risk --write`.",
        "",
    ]
    lines += ["| figure | measured | asked |", "|---|---|---|"]
    for name, value in figures.items():
        text = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.3g}"
        lines.append(f"| `{name}` | {text} | {LIMITS.get(name, '')} |")
    share, rows = figures["memory_bandwidth_fraction"], 160 * POSITIONS * figures["accounts_per_s"] / 1e9
    lines += [
        "",
        f"Margins use {share:.0%} of what the core can read from memory, which allows {1 / share:.0f} times as many.",
        f"What binds is arithmetic and caches: a position reads the 160 bytes of a risk array, {rows:.0f} GB/s in all.",
    ]
    if found:
        lines += ["", "Cost against size; an exponent of 1 is linear.", "", "![cost against size](risk.png)", ""]
        lines += ["| | size | milliseconds | exponent |", "|---|---|---|---|"]
        for name, points in found.items():
            for place, (size, seconds) in enumerate(points):
                slope = f"{exponent(points):.2f}" if place == 0 else ""
                lines.append(f"| {name if place == 0 else ''} | {size:,} | {1e3 * seconds:,.3g} | {slope} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="keep benchmarks/risk.md, risk.json and risk.png")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    found: dict[str, list[tuple[int, float]]] = {}
    for place, measure in enumerate((measure_accounts, measure_arrays, measure_garch)):
        figures |= measure(np.random.default_rng([7, place]))
    if options.write:
        found = sweeps(np.random.default_rng([7, 9]))
        here = Path(__file__).parent
        plot(found, here / "risk.png")
        (here / "risk.md").write_text(table(figures, found))
        (here / "risk.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2) if options.json else table(figures, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
