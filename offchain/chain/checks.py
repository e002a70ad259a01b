"""The contract checks of `make lint`: they compile, fit, keep to the rules, and every revert string has a test."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from offchain.chain.artifacts import CONTRACTS, ROOT, artifact

MAX_BYTES = 22_118  # a tenth under the 24,576 of EIP-170
MAX_LINES = 450
FORBIDDEN = {
    r"\btx\.origin\b": "tx.origin",
    r"self\.\w+\s*[-+]?=[^=\n]*balanceOf\(self\)": "accounting by balanceOf(self)",
    r"\braw_call\([^)]*is_delegate_call": "a delegate call",
}
_REASON = re.compile(r'(?:assert [^\n]*?|raise |\)),?\s*"([a-z][a-z0-9_ ]*: [^"]+)"|"((?:[a-z0-9_]+): [^"]+)"')


def deployables() -> list[str]:
    """Names of the contracts that are deployed in production."""
    return sorted(p.stem for p in CONTRACTS.glob("*.vy"))


def sources() -> list[Path]:
    """Every production source: contracts and modules, no mocks."""
    return sorted([*CONTRACTS.glob("*.vy"), *(CONTRACTS / "lib").glob("*.vy")])


def _code(path: Path) -> str:
    """Source without docstrings and comments."""
    text = re.sub(r'"""[\s\S]*?"""', "", path.read_text())
    return re.sub(r"(?m)#.*$", "", text)


def reverts(path: Path) -> set[str]:
    """Revert strings of a source."""
    return {a or b for a, b in _REASON.findall(_code(path))}


def problems() -> list[str]:
    """All that is wrong, a line each."""
    found = []
    tested = "\n".join(p.read_text() for p in (ROOT / "tests").rglob("*.py"))
    for name in deployables():
        size = len(artifact(name).runtime)
        if size > MAX_BYTES:
            found.append(f"{name}: {size} bytes of code, more than {MAX_BYTES}")
    for path in sources():
        where = path.relative_to(ROOT)
        lines = len(path.read_text().splitlines())
        if lines > MAX_LINES:
            found.append(f"{where}: {lines} lines, more than {MAX_LINES}")
        code = _code(path)
        found += [f"{where}: {what}" for pattern, what in FORBIDDEN.items() if re.search(pattern, code)]
        found += [f"{where}: no test names the revert {r!r}" for r in sorted(reverts(path)) if r not in tested]
        header = path.read_text()[:3000]
        if path.parent == CONTRACTS:
            found += [f"{where}: no {tag}" for tag in ("@custom:security", "@custom:kill") if tag not in header]
    return found


def main() -> int:
    found = problems()
    for line in found:
        print(line, file=sys.stderr)
    count = sum(len(reverts(p)) for p in sources())
    print(f"contracts: {len(deployables())} deployed, {len(sources())} sources, {count} reverts, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
