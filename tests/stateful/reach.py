"""What the machine must have met: every revert of the contracts but those named here, each with its reason."""

from __future__ import annotations

import re

from offchain.chain.checks import reverts, sources

CONSTRUCTOR = "checked when a contract is deployed; the machine deploys once, and rightly"
SIGNED = "belongs to the committee, whose stand-in here believes every signature"
TOKEN = "needs a settlement token that misbehaves; this one does not"
SIZE = "needs more instruments, lots or transfers than the market of the machine has"
GUARD = "second line behind a check that comes first, as the twin shows"

# A pattern of reverts, and why no action of the machine can meet them. Each has a unit test (offchain.chain.checks).
UNREACHABLE: dict[str, str] = {
    r"committee: .*|bls12_381: .*|bonds: .*": SIGNED,
    r"oracle: signature does not verify": SIGNED,
    r".*: address is zero|takeover: length out of range|timelock: delay out of range": CONSTRUCTOR,
    r"oracle: (slot is zero|(max_age|min_interval|fallback_delay|exit_delay) out of range)": CONSTRUCTOR,
    r"ledger: (token needs 6 decimals|empty engine)": CONSTRUCTOR,
    r"ledger: (token takes a fee|token transfer failed|locked)": TOKEN,
    r"ledger: (no more versions|too many positions)": SIZE,
    r"ledger: (counts are false|no such kind|no such underlying|not entered|one account on both sides)": GUARD,
    r"ledger: (not enough tokens held|more tokens than it has)": GUARD,
    r"margin: .*|merkle: no leaves|fallback: (price out of range|too few rows|underlying has no mark)": GUARD,
    r"registry: no such shock|feed: too little gas|settlement: underlying has no mark": GUARD,
}

# Reachable, and not met by the fixed seeds: rare draws, left to campaigns (`make fuzz` lists what it has not met).
LONG_CAMPAIGNS: frozenset[str] = frozenset(
    {
        "fallback: grace after an outage",
        "fallback: more than restores the account",
        "takeover: top-up out of range",
        "fallback: empty take",
        "fallback: feed is not usable",
        "fallback: more than the position",
        "fallback: must make the account safer",
        "fallback: taker below initial margin",
        "house: instrument not listed",
        "house: must not lower initial excess",
        "house: open interest limit",
        "house: order cancelled",
        "liquidator: only tokens can be taken",
        "liquidator: taker's quote equity below zero",
        "oracle: epoch is not newer than the halted one",
        "oracle: funding does not start at zero",
        "registry: expiry is not in the future",
        "registry: feed is not usable",
        "registry: lot is no whole number of units",
        "settlement: already recorded",
        "settlement: epoch was revoked",
        "settlement: exit has begun",
        "settlement: no epoch stands",
        "settlement: not a derivative",
        "settlement: price is disputed",
        "takeover: not the taker's owner",
        "takeover: one account on both sides",
        "takeover: price beyond the limit",
        "takeover: quote equity below zero",
    }
)
RARE_ACTIONS: frozenset[str] = frozenset({"end", "fallback_liquidate", "finalize_price"})


def reachable() -> set[str]:
    """Reverts that some action can meet."""
    every = {reason for path in sources() for reason in reverts(path)}
    return {reason for reason in every if not any(re.fullmatch(pattern, reason) for pattern in UNREACHABLE)}
