"""Long campaigns of the machine, and what to do with a failure.

python tests/stateful/campaign.py fuzz --minutes 10 [--jobs 2] [--seed 1]     new sequences until the time is over
python tests/stateful/campaign.py replay FILE                                 a kept sequence once more
python tests/stateful/campaign.py shrink FILE                                 fewer moves with the same error
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing.pool import Pool
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import Failure, load, plan, play, shrink  # noqa: E402
from reach import actions, reachable, transitions  # noqa: E402
from shards import LENGTH, Tally  # noqa: E402

KEPT = ROOT / "out" / "stateful"
REGRESSIONS = Path(__file__).resolve().parent / "regressions"


def one(job: tuple[int, int]) -> tuple[int, Tally]:
    """A sequence by its seed."""
    seed, length = job
    tally = Tally()
    KEPT.mkdir(parents=True, exist_ok=True)
    tally.add(seed, play(plan(seed, length)), KEPT)
    return seed, tally


def seeds(pool: Pool, jobs: int, first: int, length: int, until: float) -> Iterator[tuple[int, Tally]]:
    """Sequences until the time is over, a few at a time, so that none is waiting when it is."""
    while time.monotonic() < until:
        yield from pool.imap_unordered(one, [(first + k, length) for k in range(2 * jobs)])
        first += 2 * jobs


def fuzz(minutes: float, jobs: int, first: int, length: int) -> int:
    """New sequences until the time is over; a line every ten seconds, and what was met in the end."""
    began = said = time.monotonic()
    total, count = Tally(), 0
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for seed, tally in seeds(pool, jobs, first, length, began + 60 * minutes):
            total.merge(tally)
            count += 1
            for error in tally.errors:
                print(error, flush=True)
            now = time.monotonic()
            if now - said > 10:
                said = now
                print(_line(total, count, seed, now - began), flush=True)
    print(_line(total, count, first + count - 1, time.monotonic() - began))
    _report(total)
    if total.errors:
        print(f"\n{len(total.errors)} sequences failed, kept in {KEPT}: shrink one and put it into {REGRESSIONS}")
    return 1 if total.errors else 0


def _line(total: Tally, count: int, seed: int, seconds: float) -> str:
    rate = total.attempts / max(seconds, 1e-9)
    refusals, moved = reachable(), transitions()
    return (
        f"{seconds:6.0f} s  {count} sequences, {total.attempts} actions, {rate:.0f} a second, "
        f"{len(refusals & set(total.reasons))} of {len(refusals)} refusals, "
        f"{len(moved & set(total.transitions))} of {len(moved)} transitions, {len(total.errors)} failures"
    )


def _report(total: Tally) -> None:
    done = {name for name in actions() if total.done[name]}
    for title, wanted, met in (
        ("refusals", reachable(), set(total.reasons)),
        ("transitions", transitions(), set(total.transitions)),
        ("actions", actions(), done),
    ):
        print(f"\n{title}: {len(wanted & met)} of {len(wanted)} that can be met")
        for name in sorted(wanted - met):
            print(f"  not met: {name}")
    for title, table in (("refusals", total.reasons), ("done", total.done), ("transitions", total.transitions)):
        print(f"\n{title}")
        for name, number in sorted(table.items()):
            print(f"  {number:8d}  {name or '(success)'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    run = what.add_parser("fuzz")
    run.add_argument("--minutes", type=float, default=10)
    run.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    run.add_argument("--seed", type=int, default=1_000)
    run.add_argument("--length", type=int, default=LENGTH)
    for name in ("replay", "shrink"):
        what.add_parser(name).add_argument("file", type=Path)
    args = parser.parse_args()
    if args.what == "fuzz":
        return fuzz(args.minutes, args.jobs, args.seed, args.length)
    steps = load(args.file)
    found = play(steps)
    print(found.error or "it runs through")
    if args.what == "shrink" and found.error:
        seed = json.loads(args.file.read_text())["seed"]
        fewer = shrink(found.steps, found.error)
        path = args.file.with_suffix(".shrunk.json")
        Failure(seed, play(fewer).error, fewer).save(path)
        print(f"{len(fewer)} of {len(steps)} moves are enough: {path}")
        for step in fewer:
            print("  ", *step)
    return 1 if found.error else 0


if __name__ == "__main__":
    sys.exit(main())
