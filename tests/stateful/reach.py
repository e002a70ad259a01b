"""What the machine must have met: every revert of the contracts but those named here, each with its reason."""

from __future__ import annotations

import re

from bench import METHODS

from offchain.chain.checks import reverts, sources

CONSTRUCTOR = "checked when a contract is deployed; the machine deploys once, and rightly"
SIGNED = "belongs to the committee, whose stand-in here believes every signature"
TOKEN = "needs a settlement token that misbehaves; this one does not"
SIZE = "needs more instruments, lots or transfers than the market of the machine has"
GAS = "needs a sender who gives too little gas; the senders of the machine give enough"
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
    r"settlement: underlying has no mark": GUARD,
    r"feed: too little gas": GAS,
}

_STATES = ("HEALTHY", "MARGIN_CALL", "LIQUIDATABLE", "BANKRUPT")
_ORACLE = ("LIVE", "STALE", "HALTED")
_STATUSES = ("LIVE", "PROVISIONAL", "DISPUTED")

# Transitions that no action makes, and why.
UNREACHABLE_TRANSITIONS: dict[str, str] = {
    "oracle HALTED STALE": "only an epoch ends a halt, and one that is older than max_age is not taken: it is LIVE",
    "status PROVISIONAL PROVISIONAL": "nothing is provisional for two epochs running",
}


def transitions() -> set[str]:
    """Transitions that some action makes, or that are none: of accounts under each state of the oracle, of the oracle,
    and of an underlying from one epoch to the next."""
    every = {f"{oracle} {was} {now}" for oracle in _ORACLE for was in _STATES for now in _STATES}
    every |= {f"oracle {was} {now}" for was in _ORACLE for now in _ORACLE}
    every |= {f"status {was} {now}" for was in _STATUSES for now in _STATUSES}
    return every - set(UNREACHABLE_TRANSITIONS)


def actions() -> set[str]:
    """Actions that can succeed. Engines are set once, at deployment; what only engines may do is refused to others."""
    return set(METHODS) - {"trespass", "set_engines"}


def reachable() -> set[str]:
    """Reverts that some action can meet."""
    every = {reason for path in sources() for reason in reverts(path)}
    return {reason for reason in every if not any(re.fullmatch(pattern, reason) for pattern in UNREACHABLE)}
