"""The fixed seeds of `make test`, in shards that worker processes share: whoever comes first plays a shard."""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from machine import Failure, Outcome, plan, play

SEEDS, SHARDS, LENGTH = 32, 8, 370
LEAST_ATTEMPTS = 20_000


@dataclass
class Tally:
    """What shards came to together."""

    attempts: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add(self, seed: int, out: Outcome, keep: Path) -> None:
        """A sequence; a failure is kept as a file, to be replayed."""
        self.attempts += out.attempts
        self.reasons += out.reasons
        self.done += out.done
        self.transitions += Counter({" ".join(key): count for key, count in out.transitions.items()})
        if out.error:
            path = keep / f"seed-{seed}.json"
            Failure(seed, out.error, out.steps).save(path)
            self.errors.append(f"seed {seed}: {out.error}; shrink it: python tests/stateful/campaign.py shrink {path}")

    def merge(self, other: Tally) -> None:
        self.attempts += other.attempts
        self.reasons += other.reasons
        self.done += other.done
        self.transitions += other.transitions
        self.errors += other.errors


def shard(number: int, folder: Path) -> Tally:
    """The shard's tally: played here, or read where another process has played it."""
    path = folder / f"stateful-{number}.json"
    with (folder / f"stateful-{number}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            body = json.loads(path.read_text())
            for key in ("reasons", "done", "transitions"):
                body[key] = Counter(body[key])
            return Tally(**body)
        tally = Tally()
        for seed in range(number, SEEDS, SHARDS):
            tally.add(seed, play(plan(seed, LENGTH)), folder)
        path.write_text(json.dumps(tally.__dict__))
    return tally
