"""What netting saves an account, and where.

Margin without netting holds every position for itself. With it, losses and gains in the same row meet within an expiry,
then within an underlying, then (by `kappa`) between underlyings. Each step lowers the risk or leaves it, because a
least sum is at least the sum of the least, and the differences attribute the whole saving, in exact integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from offchain.instruments import InstrumentLeaf
from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import content_of, evaluate
from offchain.units import SCENARIOS


@dataclass(frozen=True)
class Offsets:
    """Risk of an account in steps of netting, micro-USD; each step is at most the one before.

    Attributes
    ----------
    legs : every position for itself. expiries : netted within each expiry (perpetuals and tokens are one).
    underlyings : netted within each underlying. risk : with the credit between underlyings.
    closeout : close-out cost with the keeper reserve, which netting does not change.
    by_underlying : of each underlying, risk of its legs, of its expiries, and netted.
    """

    legs: int
    expiries: int
    underlyings: int
    risk: int
    closeout: int
    by_underlying: Mapping[int, tuple[int, int, int]]

    @property
    def gross(self) -> int:
        """Requirement without netting."""
        return self.legs + self.closeout

    @property
    def net(self) -> int:
        """Requirement with netting: the maintenance requirement."""
        return self.risk + self.closeout

    @property
    def saved(self) -> dict[str, int]:
        """What each source takes off; they sum to ``gross - net``."""
        return {
            "within an expiry": self.legs - self.expiries,
            "between expiries": self.expiries - self.underlyings,
            "between underlyings": self.underlyings - self.risk,
        }


def _loss(legs: Mapping[int, int], leaves: Mapping[int, InstrumentLeaf]) -> int:
    """Mark less least, of positions added up row by row."""
    rows = [sum(q * leaves[key].array[s] for key, q in legs.items()) for s in range(SCENARIOS)]
    return rows[0] - min(rows)


def offsets(held: Mapping[int, int], leaves: Mapping[int, InstrumentLeaf], params: MarginParams) -> Offsets:
    """Where netting saves what, for one account.

    Parameters
    ----------
    held : lots by instrument id. leaves : by instrument id. params : of the policy.

    Raises
    ------
    ValueError
        As `portfolios.content_of`.
    """
    held = {key: q for key, q in held.items() if q}
    found = evaluate(content_of(0, held, leaves), 0, params)
    by: dict[int, tuple[int, int, int]] = {}
    for underlying in sorted({key >> 88 for key in held}):
        legs = {key: q for key, q in held.items() if key >> 88 == underlying}
        groups = {key >> 56: {k: q for k, q in legs.items() if k >> 56 == key >> 56} for key in legs}
        alone = sum(_loss({key: q}, leaves) for key, q in legs.items())
        by[underlying] = (alone, sum(_loss(group, leaves) for group in groups.values()), _loss(legs, leaves))
    sums = [sum(each[step] for each in by.values()) for step in range(3)]
    return Offsets(sums[0], sums[1], sums[2], found.risk, found.closeout, by)
