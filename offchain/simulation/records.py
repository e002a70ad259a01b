"""What a run leaves behind: columnar tables, verdicts and a summary.

Money is int64 micro-USD, time int64 seconds from the start of the run, ids int64, text object arrays. `COLUMNS` names
every table and its columns; a table that nothing was added to has them too, empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from offchain.simulation.scenario import Scenario

Table = dict[str, npt.NDArray[Any]]

STATES = ("", "HEALTHY", "MARGIN_CALL", "LIQUIDATABLE", "BANKRUPT")
"""Names of the numbers in the table `states`; 0 is an account without positions."""

TEXT = frozenset({"state", "owner", "kind", "sender", "action", "reason", "text", "status"})
"""Columns that hold text, in every table but `states`, where the state is a number."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "steps": (
        "time", "epoch", "block", "state", "oracle_age", "gas_price", "base_fee", "insurance", "shortfall", "healthy",
        "margin_call", "liquidatable", "bankrupt", "open_interest",
    ),
    "prices": ("time", "underlying", "market", "index", "feed", "without_cascade", "scan_range", "status"),
    "states": ("time", "account", "state", "equity", "mm_excess"),
    "accounts": ("account", "owner", "deposited", "withdrawn", "final_equity", "counterfactual_equity", "owed"),
    "liquidations": (
        "time", "block", "account", "taker", "legs", "notional", "penalty", "reward", "kind", "breach_time",
        "latency_s", "latency_blocks", "gas", "price_impact", "worth", "covered",
    ),
    "transactions": ("time", "block", "sender", "action", "ok", "reason", "gas", "fee_paid"),
    "withdrawals": ("time", "account", "asked", "paid", "due"),
    "events": ("time", "id", "cause", "kind", "text"),
}  # fmt: skip
"""Columns by table.

steps : `state` of the oracle (LIVE, STALE, HALTED); `oracle_age` seconds; `gas_price` and `base_fee` wei; `insurance`
and
    `shortfall` as the ledger has them; accounts by state at the market's true prices; `open_interest` micro-USD at
    the index.
prices : USD prices in micro-USD a unit. `market` is the true price with the impact of liquidations, `without_cascade`
    without it, `index` the oracle's mark, `feed` the independent feed (0: none usable); `scan_range` 1e-6; `status`
    of the mark (LIVE, PROVISIONAL, DISPUTED; empty before the first epoch).
states : at the market's true prices; `state` an index into `STATES`.
accounts : `counterfactual_equity` is what the account would be worth at last had nobody liquidated it; `owed` the
    dollars that it owes at last against collateral tokens.
liquidations : `kind` leg, tokens (for dollars owed against them, above maintenance margin), takeover, fallback, or debt
    (of an account without positions, paid off; it takes nothing);
    `breach_time` when the account fell below maintenance margin at the true prices, -1 if it is not below; latencies
    from then, -1 likewise; `price_impact` 1e-6 of the price; `worth` the account's PV before; `covered` what insurance
    and shortfall paid in. Of a takeover `penalty` is what the owner lost: PV less price.
transactions : every transaction that was included, and those that were dropped (block -1); `fee_paid` micro-USD.
withdrawals : by owners who left, micro-USD; nothing paid where it was refused; `due` is the same share for everybody of
    what the books then said.
events : `cause` is the id of the event that led to it, -1 none.
"""


@dataclass(frozen=True)
class Verdict:
    """A check of the incident's file, evaluated.

    Attributes
    ----------
    name : of the check. passed : whether it held. text : one line for people.
    value, limit : what was measured, and against what.
    """

    name: str
    passed: bool
    text: str
    value: float
    limit: float


@dataclass(frozen=True)
class RunResult:
    """One run.

    Attributes
    ----------
    scenario : what was run. seed : of all chance. engine : revm or anvil. without : guards that were off.
    tables : by name, as in `COLUMNS`. verdicts : in the file's order.
    summary : figures by name. seconds : wall-clock time; not part of `digest`.
    """

    scenario: Scenario
    seed: int
    engine: str
    without: tuple[str, ...]
    tables: dict[str, Table]
    verdicts: tuple[Verdict, ...]
    summary: dict[str, int | float | str]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check held."""
        return all(v.passed for v in self.verdicts)

    def digest(self) -> str:
        """Hash of all tables: equal for two runs exactly when they are the same run."""
        out = hashlib.sha256()
        for name in sorted(self.tables):
            for column in sorted(self.tables[name]):
                values = self.tables[name][column]
                out.update(f"{name}.{column}:{values.tolist()!r}\n".encode())
        return out.hexdigest()

    def as_json(self) -> dict[str, Any]:
        """What `ballast simulate --json` prints of a run."""
        return {
            "incident": self.scenario.name,
            "seed": self.seed,
            "engine": self.engine,
            "without": list(self.without),
            "passed": self.passed,
            "checks": [
                {"name": v.name, "passed": v.passed, "value": v.value, "limit": v.limit, "text": v.text}
                for v in self.verdicts
            ],
            "summary": self.summary,
            "seconds": round(self.seconds, 2),
        }


@dataclass
class Recorder:
    """Collects rows while a run is under way, and whole columns where a step gives many at once."""

    _rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    _blocks: dict[str, list[Table]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    def add(self, table: str, **values: Any) -> None:
        """A row; every column must be given."""
        row = tuple(values[column] for column in COLUMNS[table])
        if len(values) != len(row):
            raise KeyError(f"{table} has no column {sorted(set(values) - set(COLUMNS[table]))[0]!r}")
        self._rows[table].append(row)

    def add_block(self, table: str, **columns: npt.NDArray[Any]) -> None:
        """Many rows at once, as columns of one length. A table takes rows or blocks, not both."""
        self._blocks[table].append({column: np.asarray(columns[column]) for column in COLUMNS[table]})

    def event(self, time: int, kind: str, text: str, cause: int = -1) -> int:
        """An event of the log; returns its id, which later ones can name as their cause."""
        number = len(self._rows["events"])
        self.add("events", time=time, id=number, cause=cause, kind=kind, text=text)
        return number

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Rows so far, columns in the order of `COLUMNS`."""
        return self._rows[table]

    def tables(self) -> dict[str, Table]:
        """Everything as columns."""
        return {name: self._table(name) for name in COLUMNS}

    def _table(self, name: str) -> Table:
        blocks, rows = self._blocks[name], self._rows[name]
        if blocks and rows:
            raise ValueError(f"table {name} was given rows and blocks")
        out: Table = {}
        for place, column in enumerate(COLUMNS[name]):
            kind: Any = object if column in TEXT and name != "states" else np.int64
            if blocks:
                out[column] = np.concatenate([block[column] for block in blocks]).astype(kind)
            else:
                out[column] = np.array([row[place] for row in rows], dtype=kind)
        return out
