"""What an audit found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mismatch:
    """One difference between what is on chain, or in a bundle, and what the auditor computed.

    Attributes
    ----------
    kind : what differs, one word ("signature", "account leaf", "cash", ...).
    where : where, e.g. "epoch 1583971200, account 260".
    expected : what the auditor computed.
    found : what was posted or kept.
    """

    kind: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Verification:
    """Result of an audit: what was verified, and everything that differed.

    Attributes
    ----------
    epochs_verified : epochs of which every check held.
    leaves_verified : instrument and account leaves that were computed again and found identical.
    liquidations_verified : liquidations whose state, amounts and result were computed again and found identical.
    mismatches : the differences, in the order in which they were found.
    """

    epochs_verified: int
    leaves_verified: int
    liquidations_verified: int
    mismatches: tuple[Mismatch, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.mismatches

    def line(self) -> str:
        """The result in one line."""
        return (
            f"verified: {self.epochs_verified} epochs, {self.leaves_verified} leaves, "
            f"{self.liquidations_verified} liquidations, {len(self.mismatches)} mismatches"
        )

    def as_json(self) -> dict[str, Any]:
        """Counts by name, and `mismatch_list` with each difference named."""
        return {
            "epochs_verified": self.epochs_verified,
            "leaves_verified": self.leaves_verified,
            "liquidations_verified": self.liquidations_verified,
            "mismatches": len(self.mismatches),
            "mismatch_list": [
                {"kind": m.kind, "where": m.where, "expected": m.expected, "found": m.found} for m in self.mismatches
            ],
        }
