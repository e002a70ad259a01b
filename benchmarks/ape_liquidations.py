"""The timed liquidations through `ape test`'s default provider: run by `benchmarks.simulation`, not collected by tests.

`ape test -o python_functions=measure_* benchmarks/ape_liquidations.py --network ethereum:local:test`; the figures go to
the file that `BALLAST_FIGURES` names.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.simulation_legs import measure
from offchain.chain.ape import chain_of

COUNT = 3


def measure_liquidations(chain: Any) -> None:
    """Set up, liquidate, verify; write the times."""
    timed = measure(chain_of(chain.provider), COUNT)
    Path(os.environ["BALLAST_FIGURES"]).write_text(json.dumps(asdict(timed)))
