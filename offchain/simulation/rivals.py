"""Other keepers, in the attack search: what the market alone puts below maintenance margin is theirs.

To be a keeper is no attack. Without rivals a search finds that waiting for a jump and running the stock keeper pays,
which is what the penalty is for. So the attacker's keeper leaves honest accounts alone that the true price would put
there without it, and keeps what it brings about itself: accounts that only its push of the market makes liquidatable,
and its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from offchain.instruments import Instrument
from offchain.keeper.state import MarketState
from offchain.risk.arrays import build_leaves
from offchain.risk.policy import Policy
from offchain.risk.portfolios import content_of, evaluate


def left_to_others(
    state: MarketState, policy: Policy, true: Mapping[int, int], scan: Mapping[int, int], honest: Iterable[int]
) -> set[int]:
    """Honest accounts that are below maintenance margin at the true prices.

    Parameters
    ----------
    true : micro-USD a unit, by underlying. scan : scan ranges, 1e-6, by underlying. honest : account ids.
    """
    assert state.epoch is not None
    header = state.epoch.header
    listed = [Instrument.from_id(key) for key in sorted(state.leaves)]
    forwards = [true[each.underlying] for each in listed]
    funding = {u: header.mark(u).funding for u in true}
    made = build_leaves(
        listed, forwards, [0] * len(listed), true, funding, scan, header.timestamp, policy,
        open_interest=state.book.open_interest(),
    )  # fmt: skip
    leaves = {leaf.id: leaf for leaf in made}
    found = set()
    for account in honest:
        held = state.book.accounts[account]
        if evaluate(content_of(account, held.positions, leaves), held.cash, policy.margin).mm_excess < 0:
            found.add(account)
    return found
