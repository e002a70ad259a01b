"""Sequences of moves from a seed: run, replay, shrink.

A move is its name and a number from which it draws all that it chooses, so a sequence is replayed exactly, and stays a
sequence when moves are left out of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import moves_keeper
import moves_owner
import moves_rule
import moves_scenes_exit
import moves_scenes_insurance
import moves_scenes_oracle
import moves_vault
from closing import leave
from moves import MOVES, World
from rescue import by_fallback, rescue
from stage import SCENES

from offchain.chain.artifacts import Artifact

Step = tuple[str, int]
OPENING: tuple[str, ...] = ("open_account",) * 6 + ("epoch",) + ("trade",) * 8
_MODULES = (moves_keeper, moves_owner, moves_rule, moves_scenes_exit, moves_scenes_insurance, moves_vault)
SCENES_EACH = 6


@dataclass
class Outcome:
    """What a sequence came to.

    Attributes
    ----------
    steps : the moves made, the last one failed if there is an error. attempts : transactions.
    """

    steps: list[Step]
    attempts: int
    reasons: Counter[str]
    done: Counter[str]
    transitions: Counter[tuple[str, str, str]]
    error: str = ""


@dataclass(frozen=True)
class Failure:
    """A sequence that failed, as it is kept."""

    seed: int
    error: str
    steps: list[Step] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"seed": self.seed, "error": self.error, "steps": self.steps}, indent=1) + "\n")


def load(path: Path) -> list[Step]:
    """The moves of a file."""
    return [(name, draw) for name, draw in json.loads(path.read_text())["steps"]]


def plan(seed: int, length: int) -> list[Step]:
    """The moves of a seed: drawn by their weights, and scenes in turn between them."""
    rng = Random(seed)
    names, scenes = sorted(MOVES), sorted(SCENES)
    drawn = rng.choices(names, [MOVES[n][0] for n in names], k=max(length - len(OPENING), 0))
    for k in range(SCENES_EACH):
        drawn.insert(rng.randrange(len(drawn) + 1), scenes[(seed * SCENES_EACH + k) % len(scenes)])
    return [(name, rng.randrange(2**32)) for name in (*OPENING, *drawn)]


def play(
    steps: Sequence[Step],
    variants: Mapping[str, Artifact] | None = None,
    attempts: int | None = None,
    closing: bool = True,
) -> Outcome:
    """Make moves until one fails; then, unless told otherwise, let everybody out.

    Parameters
    ----------
    attempts : stop after so many transactions.
    """
    world = World(variants)
    done: list[Step] = []
    error = ""
    try:
        moves_scenes_oracle.genesis(world)
        for turn, step in enumerate(steps):
            done.append(step)
            MOVES[step[0]][1](world, Random(step[1]))
            rescue(world, turn)
            by_fallback(world, turn)
            if attempts is not None and world.bench.attempts >= attempts:
                break
        if closing:
            leave(world)
    except AssertionError as problem:
        error = str(problem) or "an assertion without words"
    except (ArithmeticError, LookupError, TypeError, ValueError) as problem:
        error = f"the machine itself: {type(problem).__name__}: {problem}"
    return Outcome(done, world.bench.attempts, world.reasons, world.done, world.transitions, error)


def kind_of(error: str) -> str:
    """An error without its numbers: what has to stay the same while a sequence is shrunk."""
    return re.sub(r"-?[0-9]+", "#", error.split(" is (")[0])[:40]


def shrink(
    steps: Sequence[Step], error: str, variants: Mapping[str, Artifact] | None = None, tries: int = 400
) -> list[Step]:
    """Leave out moves, halves first, as long as the same error comes."""
    wanted, kept = kind_of(error), list(steps)
    size = max(len(kept) // 2, 1)
    while size and tries > 0:
        at = 0
        while at < len(kept) and tries > 0:
            fewer = kept[:at] + kept[at + size :]
            tries -= 1
            found = play(fewer, variants)
            if found.error and kind_of(found.error) == wanted:
                kept = found.steps if len(found.steps) < len(fewer) else fewer
            else:
                at += size
        size //= 2
    return kept
