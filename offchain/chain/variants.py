"""Contracts with a flaw put in: what tests and experiments need that ask whether the flaw would show.

A variant is a contract compiled from patched copies of its sources. It never replaces a contract by itself: whoever
deploys says so, by `System.deploy(..., variants={"Liquidator": variant("Liquidator", ...)})`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from offchain.chain.artifacts import CONTRACTS, Artifact, closure, compiled, source_key
from offchain.config import BallastError

Patch = tuple[str, str]


def variant(name: str, patches: Sequence[Patch]) -> Artifact:
    """A contract compiled with some of its text replaced, in its own source or in modules that it imports.

    Parameters
    ----------
    name : as for `artifact`, `"Liquidator"` for one.
    patches : `(old, new)` texts. Each `old` stands exactly once in the sources below `contracts/` that the contract is
        made of, as they are after the patches before it.

    Returns
    -------
    Artifact
        Of the same name. Kept in `.build/` by its content, as any artifact.

    Raises
    ------
    BallastError
        There is no such contract, or a text is found never, or more than once. VyperException: the patched source does
        not compile.
    """
    path = CONTRACTS / f"{name}.vy"
    if not path.exists():
        raise BallastError(f"no contract {name!r}: {path.name} is not below contracts/")
    files = [each for each in closure(path) if each.is_relative_to(CONTRACTS)]
    texts = {each: each.read_text() for each in files}
    for old, new in patches:
        hits = [each for each, text in texts.items() for _ in range(text.count(old))]
        if len(hits) != 1:
            where = ", ".join(str(each.relative_to(CONTRACTS)) for each in hits) or "nowhere"
            raise BallastError(f"{name}: {old!r} must be found once, and is found {len(hits)} times: {where}")
        texts[hits[0]] = texts[hits[0]].replace(old, new)
    digest = hashlib.sha256(source_key(path).encode() + json.dumps([list(each) for each in patches]).encode())
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "contracts"
        shutil.copytree(CONTRACTS, root)
        for each, text in texts.items():
            (root / each.relative_to(CONTRACTS)).write_text(text)
        return compiled(name, root, f"variant-{digest.hexdigest()[:24]}")
