"""Numbers from the tables of a run: what checks compare and sweeps plot. Nothing here knows how a run was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from offchain.units import MICRO

if TYPE_CHECKING:
    from offchain.simulation.records import Table

Mask = npt.NDArray[np.bool_]
_BELOW = 3  # LIQUIDATABLE and BANKRUPT in the table `states`
DEBT = "debt"
"""Kind of a row in the table `liquidations` that takes nothing: insurance pays off what an account without positions
owes, which may be an epoch after its last leg went."""


@dataclass(frozen=True)
class Window:
    """What a measure looks at: an underlying's number (0: all), and times from `after` to `until`, seconds, both
    included."""

    underlying: int = 0
    after: int = 0
    until: int = 2**62

    def times(self, table: Table) -> Mask:
        """Rows of a table within the window."""
        return np.asarray((table["time"] >= self.after) & (table["time"] <= self.until))

    def rows(self, table: Table) -> Mask:
        """Those of its underlying too."""
        inside = self.times(table)
        return np.asarray(inside & (table["underlying"] == self.underlying)) if self.underlying else inside


Tables = Mapping[str, "Table"]


@dataclass(frozen=True)
class Measure:
    """A measure: `of(tables, window)`; `unit` and `text` for people."""

    of: Callable[[Tables, Window], float]
    unit: str
    text: str


def _sum(values: npt.NDArray[Any]) -> float:
    return float(values.sum()) if len(values) else 0.0


def _most(values: npt.NDArray[Any], empty: float = 0.0) -> float:
    return float(values.max()) if len(values) else empty


def _taken(tables: Tables, window: Window, kind: str = "") -> Table:
    """Liquidations that took legs or accounts."""
    table = tables["liquidations"]
    mask = window.times(table) & (table["kind"] != DEBT)
    if kind:
        mask &= table["kind"] == kind
    return {name: column[mask] for name, column in table.items()}


def _wrongful(tables: Tables, window: Window) -> float:
    return _sum(_taken(tables, window)["breach_time"] < 0)


def _zero_price(tables: Tables, window: Window) -> float:
    found = _taken(tables, window, "takeover")
    return _sum((found["worth"] > 100 * MICRO) & (found["penalty"] * 10 >= found["worth"] * 9))


def _given_away(tables: Tables, window: Window) -> float:
    return _sum(_taken(tables, window, "takeover")["penalty"]) / MICRO


def _negative(tables: Tables) -> float:
    return -_sum(np.minimum(tables["accounts"]["final_equity"], 0)) / MICRO


def _last(tables: Tables, column: str) -> float:
    values = tables["steps"][column]
    return float(values[-1]) / MICRO if len(values) else 0.0


def _bad_debt(tables: Tables, window: Window) -> float:
    return _negative(tables) + _sum(tables["liquidations"]["covered"]) / MICRO


def _insolvency(tables: Tables, window: Window) -> float:
    return max(_negative(tables) + _last(tables, "shortfall") - max(_last(tables, "insurance"), 0.0), 0.0)


def _insolvency_most(tables: Tables, window: Window) -> float:
    """As `insolvency`, of owners' accounts at true prices at the worst step: a price that comes back hides nothing."""
    states, steps = tables["states"], tables["steps"]
    worst = 0.0
    for time, insurance, shortfall in zip(steps["time"], steps["insurance"], steps["shortfall"], strict=True):
        if window.after <= time <= window.until:
            debts = -_sum(np.minimum(states["equity"][states["time"] == time], 0))
            worst = max(worst, (debts + float(shortfall) - max(float(insurance), 0.0)) / MICRO)
    return worst


def _insurance_lost(tables: Tables, window: Window) -> float:
    first = float(tables["steps"]["insurance"][0]) / MICRO
    return (first - _last(tables, "insurance")) / first if first else 0.0


def _index_error(tables: Tables, window: Window) -> float:
    """Of marks on which positions could be opened or liquidated, against the true price."""
    table = tables["prices"]
    mask = window.rows(table) & (table["status"] == "LIVE") & (table["index"] > 0)
    market = table["market"][mask].astype(np.float64)
    return _most(np.abs(table["index"][mask] / market - 1.0)) if mask.any() else 0.0


def _stale(tables: Tables, window: Window) -> float:
    table = tables["steps"]
    inside = window.times(table)
    return float((table["state"][inside] != "LIVE").mean()) if inside.any() else 0.0


def _latency(tables: Tables, window: Window, column: str, share: float) -> float:
    found = _taken(tables, window)
    values = found[column][found["breach_time"] >= 0]
    return float(np.quantile(values, share)) if len(values) else 0.0


def _attackers(tables: Tables) -> Mask:
    return np.array([str(o).startswith("attacker") for o in tables["accounts"]["owner"]], dtype=np.bool_)


def _attack_profit(tables: Tables, window: Window) -> float:
    """What attackers took out and still have, less what they paid in and spent outside. A debt that they leave is not
    theirs."""
    table, mask = tables["accounts"], _attackers(tables)
    kept = np.maximum(table["final_equity"][mask], 0) + table["withdrawn"][mask] - table["deposited"][mask]
    sent = tables["transactions"]
    spent = np.array([str(s).startswith("attacker") for s in sent["sender"]], dtype=np.bool_)
    return (_sum(kept) - _sum(sent["fee_paid"][spent])) / MICRO


def _attack_out(tables: Tables, window: Window) -> float:
    table, mask = tables["accounts"], _attackers(tables)
    return _sum(table["withdrawn"][mask] - table["deposited"][mask]) / MICRO


def _opened(tables: Tables, window: Window) -> float:
    table = tables["transactions"]
    mask = window.times(table) & (table["ok"] == 1) & (table["action"] == "open")
    return _sum(mask)


def _reverted(tables: Tables, window: Window) -> float:
    table = tables["transactions"]
    mask = window.times(table)
    return float((table["ok"][mask] == 0).mean()) if mask.any() else 0.0


def _owner_loss(tables: Tables, window: Window) -> float:
    """What owners who were liquidated would have more without that, all together; below zero: it saved them money."""
    accounts, taken = tables["accounts"], tables["liquidations"]
    hit = np.isin(accounts["account"], taken["account"])
    return _sum(accounts["counterfactual_equity"][hit] - accounts["final_equity"][hit]) / MICRO


def _below_at_last(tables: Tables, window: Window) -> float:
    table = tables["states"]
    if not len(table["time"]):
        return 0.0
    last = table["time"] == table["time"].max()
    return _sum(table["state"][last] >= _BELOW)


def _cascade(tables: Tables, window: Window) -> float:
    """Share of the whole fall (or rise) from the first price that liquidations added, of the underlying that they moved
    most."""
    table = tables["prices"]
    worst = 0.0
    for number in np.unique(table["underlying"]):
        if window.underlying and number != window.underlying:
            continue
        mask = (table["underlying"] == number) & window.times(table)
        with_, bare = table["market"][mask].astype(np.float64), table["without_cascade"][mask].astype(np.float64)
        if len(with_):
            worst = max(worst, float(np.abs(with_ / bare - 1.0).max()))
    return worst


def _unfair(tables: Tables, window: Window) -> float:
    """How far a withdrawal was from the ratio that is everybody's under the same shortfall, at most."""
    table = tables["withdrawals"]
    mask = window.times(table) & (table["asked"] > 0)
    apart = np.abs(table["paid"][mask] - table["due"][mask]) / np.maximum(table["asked"][mask], 1)
    return float(apart.max()) if len(apart) else 0.0


MEASURES: Mapping[str, Measure] = {
    "wrongful_liquidations": Measure(
        _wrongful, "", "liquidations of accounts above maintenance margin at the true prices"
    ),
    "zero_price_takeovers": Measure(
        _zero_price, "", "accounts worth over 100 USD that went for a tenth of that or less"
    ),
    "given_away": Measure(_given_away, "USD", "what owners lost in takeovers"),
    "liquidations": Measure(lambda t, w: float(len(_taken(t, w)["time"])), "", "liquidations"),
    "takeovers": Measure(lambda t, w: float(len(_taken(t, w, "takeover")["time"])), "", "takeovers"),
    "liquidated_notional": Measure(lambda t, w: _sum(_taken(t, w)["notional"]) / MICRO, "USD", "liquidated notional"),
    "shortfall": Measure(lambda t, w: _last(t, "shortfall"), "USD", "shortfall recorded at the end"),
    "bad_debt": Measure(_bad_debt, "USD", "debts that accounts left, paid for by insurance or open"),
    "insolvency": Measure(_insolvency, "USD", "debts beyond what is left of the insurance fund"),
    "insolvency_most": Measure(_insolvency_most, "USD", "debts beyond the insurance fund, at the worst step"),
    "insurance_lost": Measure(_insurance_lost, "", "share of the insurance fund that is gone"),
    "index_error": Measure(_index_error, "", "largest error of a live mark against the true price"),
    "stale_share": Measure(_stale, "", "share of slots in which the oracle was not live"),
    "oracle_age": Measure(
        lambda t, w: _most(t["steps"]["oracle_age"][w.times(t["steps"])]), "s", "greatest age of the oracle's epoch"
    ),
    "latency": Measure(lambda t, w: _latency(t, w, "latency_s", 0.5), "s", "median from breach to liquidation"),
    "latency_most": Measure(lambda t, w: _latency(t, w, "latency_s", 1.0), "s", "longest from breach to liquidation"),
    "latency_blocks": Measure(
        lambda t, w: _latency(t, w, "latency_blocks", 0.5), "blocks", "median from breach to liquidation"
    ),
    "attack_profit": Measure(_attack_profit, "USD", "profit of the attackers"),
    "attack_withdrawn": Measure(_attack_out, "USD", "what attackers took out beyond what they paid in"),
    "opened": Measure(_opened, "", "trades that opened risk"),
    "reverted_share": Measure(_reverted, "", "share of transactions that were reverted or dropped"),
    "owner_loss": Measure(_owner_loss, "USD", "what liquidated owners would have more without liquidation"),
    "below_at_last": Measure(_below_at_last, "", "accounts below maintenance margin at the end"),
    "owed_at_last": Measure(
        lambda t, w: _sum(t["accounts"]["owed"]) / MICRO, "USD", "dollars owed against collateral tokens at the end"
    ),
    "tokens_taken": Measure(
        lambda t, w: float(len(_taken(t, w, "tokens")["time"])), "", "times that tokens were taken for dollars owed"
    ),
    "cascade": Measure(_cascade, "", "largest share of a price that liquidations moved it by"),
    "unfairness": Measure(_unfair, "", "largest distance of what somebody was paid from the same share for all"),
}
"""Measures by name."""


def summary(tables: Tables) -> dict[str, int | float | str]:
    """Every measure over the whole run, and counts of what happened."""
    out: dict[str, int | float | str] = {name: float(each.of(tables, Window())) for name, each in MEASURES.items()}
    out["steps"] = len(tables["steps"]["time"])
    out["accounts"] = len(tables["accounts"]["account"])
    out["transactions"] = len(tables["transactions"]["time"])
    out["epochs"] = len(np.unique(tables["steps"]["epoch"]))
    return out
