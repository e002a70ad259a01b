"""Gas of what accounts do beside the checks: full checks of scattered legs and in parts, trades, one leg of many."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.gas import Bench

SCATTERED = 64
USD = 10**6


def measure_checks(bench: Bench, traded: int, account: int) -> None:
    """A trade of `account` in the instrument `traded`, in which it is short and the maker long, by their checkpoints:
    first one that makes both positions smaller, then one that makes them larger; one that opens a
    position on both sides, for an account that has none; and a full check of 64 legs spread over all instruments,
    in no chain with each other."""
    bench.record("trade_checkpoint", bench.trade(account, traded, 5))
    bench.record("trade_checkpoint_enlarging", bench.trade(account, traded, -5))
    opener = bench.open(1_000_000 * USD)
    fresh = next(i.id for i in bench.listed if i.id not in bench.positions[bench.maker])
    bench.record("trade_opening", bench.trade(opener, fresh, 5))
    usual, bench.maker = bench.maker, bench.open(200_000_000 * USD)
    scattered = bench.open(50_000_000 * USD)
    step = len(bench.listed) // SCATTERED
    for number in range(SCATTERED):
        leg = bench.listed[number * step + number * 7 % step]
        bench.trade(scattered, leg.id, (50 + number) * (1 if number % 3 else -1))
    bench.record(f"full_check_{SCATTERED}_scattered", bench.full_check(scattered))
    bench.maker = usual


def measure_parts(bench: Bench, account: int) -> None:
    """A full check of `account` in two parts of 32 legs: each transaction, and both together."""
    ids = sorted(bench.positions[account])
    cut = len(ids) // 2
    part: tuple[int, int, int, list[int]] = (0, 0, 0, [])
    total = 0
    for number, chosen in enumerate((ids[:cut], ids[cut:]), 1):
        proof, flags = bench.instrument_tree.multiproof([bench.place[i] for i in chosen])
        legs = [bench.leaves[i].pack() for i in chosen]
        receipt = bench.system.examiner.send.check_part(account, part, legs, proof, flags, sender=bench.deployer)
        bench.record(f"check_part_{number}_of_2_with_{len(chosen)}", receipt)
        total += receipt.gas_used
        if number == 1:
            part = receipt.event("PartlyChecked").args["part"]
    assert receipt.event("FullyChecked").args["account"] == account
    bench.gas[f"check_parts_{len(ids)}"] = total


def take_leg(bench: Bench, account: int, name: str) -> None:
    """The maker takes 40 lots of the leg of a short account that loses most; both are proven by their leaves."""
    worst = max(bench.positions[account], key=lambda i: max(bench.leaves[i].array) - bench.leaves[i].array[0])
    leaf = bench.leaves[worst]
    proof, flags = bench.instrument_tree.multiproof([bench.place[worst]])
    receipt = bench.system.liquidator.send.liquidate(
        account, bench.maker, [(*leaf.pack(), -40)], proof, flags, bench.witness(account), bench.witness(bench.maker),
        b"", sender=bench.keys[bench.maker],
    )  # fmt: skip
    bench.record(name, receipt)
    for who, lots in ((account, 40), (bench.maker, -40)):
        bench.positions[who][worst] = bench.positions[who].get(worst, 0) + lots
