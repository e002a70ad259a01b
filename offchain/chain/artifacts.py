"""Contract artifacts: compiled once per source, kept in `.build/`.

The cache key of a contract is the hash of its source, of every module and interface that it imports (however deep), and
of the compiler's version, so a change of a library recompiles exactly the contracts that use it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import vyper

from offchain.config import BallastError

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
BUILD = ROOT / ".build"
_SITE = Path(sysconfig.get_path("purelib"))
_IMPORT = re.compile(r"^(?:from\s+([.\w]+)\s+)?import\s+([.\w]+)", re.MULTILINE)


@dataclass(frozen=True)
class Artifact:
    """A compiled contract.

    Attributes
    ----------
    name : the file's name without suffix, with its folder if it lies below `contracts/`.
    abi : the JSON ABI.
    bytecode : creation code, without constructor arguments.
    runtime : deployed code, as compiled (immutables unfilled).
    """

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    runtime: bytes

    def __hash__(self) -> int:
        return hash((self.name, self.bytecode))


def _imports(path: Path) -> list[Path]:
    """Files that `path` imports, as far as they are found below `contracts/` or the installed packages."""
    found = []
    for origin, name in _IMPORT.findall(path.read_text()):
        dotted = f"{origin}.{name}" if origin and not origin.endswith(".") else f"{origin}{name}"
        if dotted.startswith("."):
            rest = dotted.lstrip(".")
            base = path.parent
            for _ in range(len(dotted) - len(rest) - 1):
                base = base.parent
            bases = [base]
        else:
            rest, bases = dotted, [CONTRACTS, path.parent, _SITE]
        for base in bases:
            stem = base.joinpath(*rest.split("."))
            hits = [stem.with_name(stem.name + suffix) for suffix in (".vy", ".vyi", ".json")]
            hit = next((h for h in hits if h.exists()), None)
            if hit:
                found.append(hit)
                break
    return found


def closure(path: Path) -> list[Path]:
    """A source and everything that it imports, however deep, in a fixed order."""
    seen: dict[Path, None] = {}
    queue = [path.resolve()]
    while queue:
        here = queue.pop()
        if here not in seen:
            seen[here] = None
            queue += [p.resolve() for p in _imports(here)]
    return sorted(seen, key=lambda p: p.name + str(p))


def source_key(path: Path) -> str:
    """Hash of a source with everything that it imports, and of the compiler's version."""
    digest = hashlib.sha256(vyper.__version__.encode())
    for each in closure(path):
        digest.update(each.name.encode())
        digest.update(each.read_bytes())
    return digest.hexdigest()[:24]


@cache
def artifact(name: str, root: Path = CONTRACTS) -> Artifact:
    """Compile `contracts/NAME.vy`, or take it from the cache.

    Raises
    ------
    BallastError
        There is no such contract.
    """
    path = root / f"{name}.vy"
    if not path.exists():
        raise BallastError(f"no contract {name!r}: {path.name} is not below contracts/")
    return compiled(name, root, source_key(path))


def compiled(name: str, root: Path, key: str) -> Artifact:
    """Compile `NAME.vy` below `root` unless `.build/` has it under `key`, which stands for all that it is made of."""
    stored = BUILD / f"{name.replace('/', '.')}-{key}.json"
    if stored.exists():
        made = json.loads(stored.read_text())
    else:
        from vyper.cli.vyper_compile import compile_files

        source = root / f"{name}.vy"
        out = compile_files([str(source)], ["abi", "bytecode", "bytecode_runtime"], paths=[str(root), str(_SITE)])
        made = next(value for key, value in out.items() if key != "version")
        BUILD.mkdir(exist_ok=True)
        scratch = stored.with_suffix(f".{id(made)}.tmp")
        scratch.write_text(json.dumps(made))
        scratch.replace(stored)
    return Artifact(
        name,
        tuple(made["abi"]),
        bytes.fromhex(made["bytecode"][2:]),
        bytes.fromhex(made["bytecode_runtime"][2:]),
    )
