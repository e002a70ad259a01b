"""A compression run as data, tables and a picture: what `ballast compress` prints."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from offchain.risk.compression import Compression, symbol
from offchain.risk.models.explain import GAIN, INK, LOSS, MUTED, Table
from offchain.risk.netting import Offsets, offsets
from offchain.risk.pools import NAMES
from offchain.units import MICRO


@dataclass(frozen=True)
class Report:
    """found : a run. names : of its accounts, by number."""

    found: Compression
    names: dict[int, str]

    @cached_property
    def offsets(self) -> dict[int, Offsets]:
        """Offsets of each account before the run."""
        pool = self.found.before
        return {a: offsets(held, pool.leaves, pool.params) for a, held in sorted(pool.positions.items())}

    def as_json(self) -> dict[str, Any]:
        """Plain data; money in micro-USD, exact integers."""
        found, before, after = self.found, self.found.before.margins, self.found.after.margins
        changes: dict[int, int] = dict.fromkeys(self.names, 0)
        for trade in found.trades:
            for side in (trade.buyer, trade.seller):
                changes[side] += trade.lots * found.before.fee.get(trade.instrument, 0)
        return {
            "requirement_without_netting": sum(each.gross for each in self.offsets.values()),
            "requirement": found.before.requirement,
            "requirement_after": found.after.requirement,
            "saved": found.saved,
            "fees": found.fees,
            "accounts": {
                self.names[a]: {
                    "requirement_without_netting": each.gross,
                    "offsets": each.saved,
                    "by_underlying": {
                        NAMES[u]: dict(zip(("legs", "expiries", "netted"), steps, strict=True))
                        for u, steps in each.by_underlying.items()
                    },
                    "closeout": each.closeout,
                    "requirement": before[a].requirement,
                    "requirement_after": after[a].requirement,
                    "mm_excess": before[a].mm_excess,
                    "mm_excess_after": after[a].mm_excess,
                    "fees": changes[a],
                }
                for a, each in self.offsets.items()
            },
            "trades": [
                {
                    "buyer": self.names[t.buyer],
                    "seller": self.names[t.seller],
                    "instrument": symbol(t.instrument, NAMES),
                    "lots": t.lots,
                    "price": t.price,
                }
                for t in found.trades
            ],
            "ledger": {
                "before": self._ledger(self.found.before.sums()),
                "after": self._ledger(self.found.after.sums()),
            },
            "kept_out_by_rounding": [self.names[a] for a in found.frozen],
        }

    def _ledger(self, sums: dict[int, int]) -> dict[str, int]:
        return {symbol(key, NAMES) if key else "cash": total for key, total in sorted(sums.items())}

    def accounts(self) -> Table:
        """Requirements of each account, USD."""
        before, after = self.found.before.margins, self.found.after.margins
        rows: list[tuple[str | float, ...]] = []
        for a, each in self.offsets.items():
            was, now = before[a].requirement, after[a].requirement
            rows.append((self.names[a], each.gross / MICRO, was / MICRO, now / MICRO, (was - now) / MICRO))
        sums = [sum(float(row[c]) for row in rows) for c in range(1, 5)]
        rows.append(("sum", *sums))
        return Table(("account", "without netting", "netted", "after trades", "saved"), tuple(rows))

    def sources(self) -> Table:
        """What netting takes off, by source, USD."""
        amounts = {self.names[a]: [v / MICRO for v in each.saved.values()] for a, each in self.offsets.items()}
        rows: list[tuple[str | float, ...]] = [(name, *values) for name, values in amounts.items()]
        rows.append(("sum", *(sum(values[c] for values in amounts.values()) for c in range(3))))
        return Table(("account", "within an expiry", "between expiries", "between underlyings"), tuple(rows))

    def trades(self) -> Table:
        """The trades; price a lot, USD."""
        return Table(
            ("buyer", "seller", "instrument", "lots", "price a lot"),
            tuple(
                (
                    self.names[t.buyer],
                    self.names[t.seller],
                    symbol(t.instrument, NAMES),
                    f"{t.lots:,}",
                    t.price / MICRO,
                )
                for t in self.found.trades
            ),
        )

    def plot(self) -> Markup:
        """Requirements by account: without netting, netted, after the trades."""
        before, after = self.found.before.margins, self.found.after.margins
        figure = Figure(figsize=(9.0, 0.6 * len(self.names) + 1.0))
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        shown = sorted(self.names)[::-1]
        series = (
            ("without netting", MUTED, [self.offsets[a].gross for a in shown]),
            ("netted", LOSS, [before[a].requirement for a in shown]),
            ("after trades", GAIN, [after[a].requirement for a in shown]),
        )
        for place, (label, color, values) in enumerate(series):
            spots = [at + 0.26 * (1 - place) for at in range(len(shown))]
            axes.barh(spots, [v / MICRO for v in values], height=0.24, color=color, label=label)
        axes.set_yticks(range(len(shown)), [self.names[a] for a in shown], fontsize=9)
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}")
        axes.set_xlabel("maintenance requirement, USD", fontsize=8)
        axes.tick_params(labelsize=8, colors=INK)
        axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
        out = io.StringIO()
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
        text = out.getvalue()
        return Markup(text[text.index("<svg") :])
