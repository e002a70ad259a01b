"""What a model says of a book: the requirement, its parts, its scenarios, and who contributes what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from offchain.config import BallastError
from offchain.risk.book import Book
from offchain.risk.models.kernel import Scan

Array = npt.NDArray[np.float64]


class ModelError(BallastError, ValueError):
    """A model cannot margin a book: it has no parameters for an underlying, or does not take what the book holds."""


@dataclass(frozen=True)
class Part:
    """One line of a requirement, USD; negative where it is a credit. underlying : empty for the whole book."""

    name: str
    underlying: str
    initial: float
    maintenance: float


@dataclass(frozen=True)
class Requirement:
    """A book's margin under one model, USD.

    Attributes
    ----------
    model : its name. equity : cash and what the legs are worth. parts : they sum to the requirements.
    scans : one for each underlying that the model scans. book : what was margined.
    scan_factor : initial requirement a unit of scenario loss, for the contributions of legs.
    notes : what a reader should know.
    """

    model: str
    book: Book
    parts: tuple[Part, ...]
    scans: tuple[Scan, ...] = ()
    scan_factor: float = 1.0
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for part in self.parts:
            if not (np.isfinite(part.initial) and np.isfinite(part.maintenance)):
                raise ModelError(f"{self.model}: {part.name} of {part.underlying or 'the book'} is not a number")

    @property
    def equity(self) -> float:
        """Cash and what the legs are worth."""
        return self.book.equity

    @property
    def initial(self) -> float:
        """Initial requirement."""
        return float(sum(part.initial for part in self.parts))

    @property
    def maintenance(self) -> float:
        """Maintenance requirement."""
        return float(sum(part.maintenance for part in self.parts))

    @property
    def initial_excess(self) -> float:
        """Equity less the initial requirement."""
        return self.equity - self.initial

    @property
    def maintenance_excess(self) -> float:
        """Equity less the maintenance requirement."""
        return self.equity - self.maintenance

    def contributions(self) -> Array:
        """What each leg contributes to the initial requirement through its underlying's worst scenario, (legs,), USD.

        Losses of the legs in that scenario (Euler's allocation of a requirement that is linear there); what is not a
        scenario is in `parts`.
        """
        out = np.zeros(len(self.book.legs))
        for scan in self.scans:
            out[scan.places] += self.scan_factor * scan.contributions()
        return out

    def worst(self) -> dict[str, str]:
        """Name of the worst row by underlying; those without a loss are left out."""
        return {scan.underlying: scan.names[scan.worst] for scan in self.scans if scan.loss > 0.0}

    def as_json(self) -> dict[str, Any]:
        """Plain data, for files and commands."""
        shares = self.contributions()
        return {
            "model": self.model,
            "equity": self.equity,
            "initial": self.initial,
            "maintenance": self.maintenance,
            "initial_excess": self.initial_excess,
            "maintenance_excess": self.maintenance_excess,
            "worst": self.worst(),
            "parts": [
                {"name": p.name, "underlying": p.underlying, "initial": p.initial, "maintenance": p.maintenance}
                for p in self.parts
            ],
            "legs": [
                {"symbol": leg.symbol, "quantity": leg.quantity, "worth": worth, "contribution": share}
                for leg, worth, share in zip(self.book.legs, self.book.worth.tolist(), shares.tolist(), strict=True)
            ],
            "scenarios": {
                scan.underlying: dict(zip(scan.names, scan.totals.tolist(), strict=True)) for scan in self.scans
            },
            "notes": list(self.notes),
        }


def known(params: dict[str, Any], underlying: str, model: str) -> Any:
    """Parameters of an underlying, or of ``"*"`` (any other).

    Raises
    ------
    ModelError
        The model has none for it.
    """
    found = params.get(underlying, params.get("*"))
    if found is None:
        names = ", ".join(sorted(params))
        raise ModelError(f"{model} has no parameters for {underlying}: it knows {names}")
    return found


def usd_only(book: Book, model: str) -> None:
    """Refuse coin-settled contracts.

    Raises
    ------
    ModelError
        The book has some.
    """
    for name in book.held:
        if book.underlyings[name].coin:
            raise ModelError(f"{model} does not know coin-settled contracts: underlyings.{name}.settlement is 'coin'")
