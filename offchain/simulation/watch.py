"""What a run writes down at every step, and at its end: the market's truth beside what the chain believes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from offchain.chain.system import FIRST_ACCOUNT, INSURANCE, SHORTFALL
from offchain.instruments import InstrumentLeaf, Kind
from offchain.oracle.headers import Mark
from offchain.risk.arrays import build_leaves
from offchain.simulation.measures import DEBT
from offchain.simulation.records import STATES
from offchain.units import MICRO

if TYPE_CHECKING:
    from offchain.simulation.laboratory import Laboratory

NOISE = 0.02
"""An account within this share of its requirement of the border counts as below it at the true price."""
_STATUS = {0: "", 1: "LIVE", 2: "PROVISIONAL", 3: "DISPUTED"}
_ORACLE = {1: "LIVE", 2: "STALE", 3: "HALTED"}


@dataclass
class Watch:
    """Who watches a run.

    Attributes
    ----------
    counts : owners' accounts by state, at the true prices of the last step.
    breaches : by slot, accounts below maintenance margin at its true prices, with time and block at which that began.
    owing : likewise, accounts that owe dollars against their tokens.
    """

    lab: Laboratory
    counts: dict[str, int] = field(default_factory=dict)
    breaches: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)
    owing: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)

    def true_leaves(self, time: int) -> list[InstrumentLeaf]:
        """Every instrument at the true price, by the curves and scan ranges that the slot's epoch has."""
        true = self.lab.truth.prices(time)
        assert self.lab.floor.state.epoch is not None
        header = self.lab.floor.state.epoch.header
        latest = self.lab.waiting_post.epoch.header if self.lab.waiting_post else header
        forwards, ivs = [], []
        for each in self.lab.instruments:
            surface, carry, _ = self.lab.committee.curves(each.underlying)
            index, left = true[each.underlying], each.expiry - self.lab.scenario.start - time
            forward = carry.forward(index, left) if each.kind.is_dated else carry.mark(index)
            forward = index if each.kind == Kind.TOKEN else forward
            forwards.append(forward)
            ivs.append(int(surface.volatilities(each.strike, forward, left)) if each.kind.is_option else 0)
        return build_leaves(
            self.lab.instruments, forwards, ivs, true, {u: header.mark(u).funding for u in true},
            {u: latest.mark(u).scan_range for u in true}, self.lab.scenario.start + time, self.lab.policy,
            open_interest=self.lab.floor.state.book.open_interest(),
        )  # fmt: skip

    def states(self, time: int) -> None:
        """Everybody at the true prices: into the table `states`, and since when they are below maintenance margin."""
        self.true = self.lab.floor.margins(self.true_leaves(time), self.lab.policy.margin)
        t = self.true
        state = np.where(t.pv < 0, 4, np.where(t.mm_excess < 0, 3, np.where((t.im_excess < 0) | (t.owed > 0), 2, 1)))
        state = np.where(t.holds, state, 0)
        mine = np.isin(t.accounts, np.fromiter(self.lab.owners, dtype=np.int64))
        self.lab.recorder.add_block(
            "states", time=np.full(int(mine.sum()), time), account=t.accounts[mine], state=state[mine],
            equity=t.pv[mine], mm_excess=t.mm_excess[mine],
        )  # fmt: skip
        self.counts = {name: int((state[mine] == place).sum()) for place, name in enumerate(STATES)}
        below = (t.mm_excess < (t.requirement * NOISE).astype(np.int64)) & t.holds
        now = set(t.accounts[below].tolist())
        owing = set(t.accounts[t.owed > -(t.requirement * NOISE).astype(np.int64)].tolist())
        here = (time, self.lab.traffic.space.number)
        for kept, found in ((self.breaches, now), (self.owing, owing)):
            last = kept.get(max(kept, default=0), {})
            kept[time] = {a: last.get(a, here) for a in found}

    def record(self, time: int) -> None:
        """The rows of a step."""
        oracle, book = self.lab.system.oracle, self.lab.floor.state.book
        epoch, timestamp, _, _ = oracle.call.clock()
        interest = 0
        lots: dict[int, int] = {}
        for instrument, held in book.open_interest().items():
            lots[instrument >> 88] = lots.get(instrument >> 88, 0) + held
        for number in self.lab.truth.numbers:
            word = oracle.call.mark(number)
            mark = Mark.held(word)
            feed, usable, _ = oracle.call.feed_price(number)
            interest += lots.get(number, 0) * mark.index // self.lab.policy.underlying(number).lots_per_unit
            self.lab.recorder.add(
                "prices", time=time, underlying=number, market=self.lab.truth.price(number, time), index=mark.index,
                feed=feed if usable else 0, without_cascade=self.lab.truth.bare(number, time),
                scan_range=mark.scan_range, status=_STATUS[mark.status],
            )  # fmt: skip
        now = max(self.lab.chain.timestamp, self.lab.scenario.start + self.lab.traffic.time)
        self.lab.recorder.add(
            "steps", time=time, epoch=epoch, block=self.lab.chain.block_number, state=_ORACLE[oracle.call.state()],
            oracle_age=now - timestamp, gas_price=self.lab.traffic.base_fee + 2 * 10**9,
            base_fee=self.lab.traffic.base_fee, insurance=book.accounts[INSURANCE].cash,
            shortfall=max(-book.accounts[SHORTFALL].cash, 0), healthy=self.counts["HEALTHY"],
            margin_call=self.counts["MARGIN_CALL"], liquidatable=self.counts["LIQUIDATABLE"],
            bankrupt=self.counts["BANKRUPT"], open_interest=interest,
        )  # fmt: skip
        self.lab.progress(
            f"{time:>7} s  "
            + "  ".join(
                f"{self.lab.scenario.names[u]} {self.lab.truth.price(u, time) / MICRO:,.4g}"
                for u in self.lab.truth.numbers
            )
            + f"  below {self.counts['LIQUIDATABLE'] + self.counts['BANKRUPT']}"
            + f"  liquidations {len(self.lab.recorder.rows('liquidations'))}"
        )

    def accounts(self, time: int) -> None:
        """Everybody at the end, and what they would have without liquidations."""
        leaves = self.true_leaves(time)
        table = self.lab.floor.margins(leaves, self.lab.policy.margin)
        value = {leaf.id: leaf.array[0] for leaf in leaves}
        for account in range(FIRST_ACCOUNT, self.lab.floor.state.book.next_account):
            final = int(table.pv[table.place(account)])
            other = final
            if account in self.lab.first:
                other = self.lab.first[account] + self.lab.conduct.shadow_cash.get(account, 0)
                positions = dict(self.lab.initial[account])
                for instrument, lots in self.lab.conduct.shadow.get(account, {}).items():
                    positions[instrument] = positions.get(instrument, 0) + lots
                other += sum(lots * value[key] for key, lots in positions.items())
            paid = self.lab.deposited.get(account, 0), self.lab.withdrawn.get(account, 0)
            self.lab.recorder.add(
                "accounts", account=account, owner=self.lab.roles.get(account, "heir"), deposited=paid[0],
                withdrawn=paid[1], final_equity=final, counterfactual_equity=other,
                owed=max(int(table.owed[table.place(account)]), 0),
            )  # fmt: skip

    def breach(self, account: int, kind: str = "leg") -> tuple[int, int]:
        """Time and block at which an account fell below maintenance margin; -1 where it was not below, or where a debt
        is paid off, which takes nothing from anybody. Of tokens taken for cash: at which it owed dollars against them.

        It is judged at the true prices of the moment whose price the contract goes by: the latest epoch's slot, or by
        fallback the latest slot, whose feed counts.
        """
        assert self.lab.floor.state.epoch is not None
        slot = self.lab.floor.state.epoch.header.timestamp - self.lab.scenario.start
        if kind == DEBT:
            return -1, -1
        judged = max(self.breaches) if kind == "fallback" else slot
        found = self.owing if kind == "tokens" else self.breaches
        return found.get(judged, {}).get(account, (-1, -1))
