"""docs/protocol.md names every invariant of the contracts, and no test that does not exist."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
FILES = sorted((ROOT / "tests").rglob("test_*.py"))
NAMES = sorted({name for path in FILES for name in re.findall(r"(?m)^\s*def (test_\w+)\(", path.read_text())})


def test_protocol__every_test_it_names__exists() -> None:
    named = set(re.findall(r"`((?:tests/\w+/)?test_[\w*]+(?:\.py)?)`", PROTOCOL))
    assert len(named) > 40
    paths = {path.relative_to(ROOT).as_posix() for path in FILES}
    for name in named:
        if name.endswith(".py"):
            assert any(path == name or path.endswith(f"/{name}") for path in paths), f"no file {name}"
        else:
            assert any(fnmatch(each, name) for each in NAMES), f"no test {name}"


def test_protocol__every_named_invariant_of_the_contracts__is_there() -> None:
    sources = [path for path in (ROOT / "contracts").rglob("*.vy") if path.parent.name != "mocks"]
    named = {name for path in sources for name in re.findall(r"Invariant `(\w+)`", path.read_text())}
    assert named >= {"cash_is_held", "positions_net_to_zero", "counts_are_true", "no_overfill", "write_once"}
    for name in named:
        row = next((line for line in PROTOCOL.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert "`test_" in row, f"docs/protocol.md does not say which test holds the invariant {name}"


def test_threats__every_row__has_a_test_of_its_name() -> None:
    tested = {int(row) for name in NAMES for row in re.findall(r"^test_threat_(\d+)__", name)}
    assert tested == set(range(1, 33))
