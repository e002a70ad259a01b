"""Every benchmark, one after the other; each rewrites its table. `python -m benchmarks`, or `make bench`."""

from __future__ import annotations

import subprocess
import sys

NAMES = ("gas", "risk", "simulation", "witnesses")


def main() -> int:
    """Run them; returns 1 if one failed."""
    failed = 0
    for name in NAMES:
        print(f"== {name}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--write"], check=False).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
