"""Guards: the protections that the incidents are about, and how each is taken away, and nothing else.

A guard is a value of the policy, a rule of the committee or of the keepers, or a few lines of a contract. Where it is
lines, a patched copy of the contract is deployed (`offchain.chain.variants`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from offchain.chain.artifacts import Artifact
from offchain.chain.variants import variant
from offchain.config import BallastError

RULES = ("median", "venues", "cap_pauses", "replacement", "provisional", "feed_agreement")
"""Rules of programs off the chain that can be switched off."""


@dataclass(frozen=True)
class Guard:
    """A protection.

    Attributes
    ----------
    text : what it does, and what is left without it.
    policy : values that take its place, as in a scenario's `policy`.
    underlying : values of every underlying that take its place, as in a scenario's `underlyings`.
    rules : of `RULES`, that are off without it.
    patches : by contract, texts and what stands in their place without it.
    """

    text: str
    policy: Mapping[str, float] = field(default_factory=dict)
    underlying: Mapping[str, float] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    patches: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)


GUARDS: Mapping[str, Guard] = {
    "live_clock": Guard(
        "auctions count oracle-live time and begin anew after an outage; without it they run by block time",
        patches={
            "Takeover": (
                (
                    "self._auctions[account] = (latest.live + 1) << 64 | latest.timestamp",
                    "self._auctions[account] = (block.timestamp + 1) << 64 | latest.timestamp",
                ),
                (
                    "    elapsed: uint256 = latest.live + 1 - (word >> 64)\n",
                    "    elapsed: uint256 = block.timestamp + 1 - (word >> 64)\n",
                ),
                (
                    "    return latest.timestamp - (word & constants.MASK_64) != latest.live + 1 - (word >> 64)",
                    "    return False",
                ),
            )
        },
    ),
    "median": Guard(
        "members take a median, and abstain with fewer than three sources; without it the mean of whatever there is",
        rules=("median",),
    ),
    "venues": Guard(
        "an index rests on several venues; without it every member watches the first venue alone",
        rules=("venues",),
    ),
    "position_limit": Guard(
        "an account holds at most a share of the depth; without it any position that margin allows",
        policy={"position": 100.0},
        underlying={"open_interest": 600.0},
    ),
    "concentration": Guard(
        "close-out cost grows with open interest over depth; without it every lot costs half a spread",
        policy={"impact": 0.0},
    ),
    "open_interest": Guard(
        "open interest is limited to a multiple of depth; without it there is no limit",
        underlying={"open_interest": 600.0},
    ),
    "feed_agreement": Guard(
        "index and feed must agree, or nothing of the underlying is liquidated; without it the index alone counts",
        rules=("feed_agreement",),
        patches={
            "RiskOracle": (
                (
                    "feed = constants.FEED_DISAGREES\n                    status = constants.DISPUTED\n",
                    "feed = constants.FEED_DISAGREES\n",
                ),
            )
        },
    ),
    "provisional": Guard(
        "a jump of the index counts when a second epoch confirms it; without it at once",
        rules=("provisional",),
        patches={"RiskOracle": (("        return max(status, constants.PROVISIONAL)\n", "        return status\n"),)},
    ),
    "grace": Guard(
        "after an outage owners have time before they are liquidated; without it none",
        patches={"RiskOracle": (("MAX_GRACE: constant(uint256) = 1800", "MAX_GRACE: constant(uint256) = 0"),)},
    ),
    "feed_check": Guard(
        "nothing opens risk while the independent feed cannot be used; without it the index alone counts",
        patches={
            "ClearingHouse": (
                (
                    'assert (word >> 64) & constants.MASK_8 <= constants.FEED_AGREES, "house: feed does not agree"',
                    "pass",
                ),
            )
        },
    ),
    "pro_rata": Guard(
        "under a shortfall every withdrawal is paid the same ratio; without it the first are paid in full",
        patches={"Ledger": (("    short: uint256 = accounts._short()\n    paid", "    short: uint256 = 0\n    paid"),)},
    ),
    "cure": Guard(
        "an hour after the call, tokens can be taken for dollars owed against them; without it never",
        patches={"Liquidator": (("CURE: constant(uint256) = 3600", "CURE: constant(uint256) = 360_000_000"),)},
    ),
    "atomic": Guard(
        "a price outside its cap pauses the underlying; without it the cap is taken for the price",
        rules=("cap_pauses",),
    ),
    "replacement": Guard(
        "keepers and posters raise the fees of what is stuck; without it they wait",
        rules=("replacement",),
    ),
}
"""Guards by name."""


@dataclass(frozen=True)
class Switches:
    """What a run does differently with some guards off.

    Attributes
    ----------
    policy, underlying : values that replace the scenario's. off : rules that are off. variants : contracts to deploy.
    """

    policy: Mapping[str, float] = field(default_factory=dict)
    underlying: Mapping[str, float] = field(default_factory=dict)
    off: frozenset[str] = frozenset()
    variants: Mapping[str, Artifact] = field(default_factory=dict)


def without(names: Iterable[str]) -> Switches:
    """Switch guards off.

    Raises
    ------
    BallastError
        There is no such guard.
    """
    policy: dict[str, float] = {}
    underlying: dict[str, float] = {}
    off: set[str] = set()
    patches: dict[str, tuple[tuple[str, str], ...]] = {}
    for name in names:
        guard = GUARDS.get(name)
        if guard is None:
            raise BallastError(f"unknown guard {name!r}: choose one of {', '.join(sorted(GUARDS))}")
        policy |= guard.policy
        underlying |= guard.underlying
        off |= set(guard.rules)
        for contract, texts in guard.patches.items():
            patches[contract] = patches.get(contract, ()) + texts
    return Switches(policy, underlying, frozenset(off), {name: variant(name, texts) for name, texts in patches.items()})
