"""The report of a run: one HTML file with its figures inside, that needs nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from offchain.audit import figures
from offchain.audit.result import Verification
from offchain.drawing import STATES, data_uri, pages, style

TOP_LIQUIDATIONS = 25
TOP_MISMATCHES = 50


@dataclass(frozen=True)
class MarginPoint:
    """An account at an epoch: equity and what its margin asks for, micro-USD.

    Attributes
    ----------
    pv : equity.
    initial : `im_factor * (risk + closeout)`, so that IM excess is `pv - initial`.
    maintenance : `risk + closeout`, so that MM excess is `pv - maintenance`.
    """

    pv: int
    initial: int
    maintenance: int


@dataclass(frozen=True)
class EpochRow:
    """The world at an epoch.

    Attributes
    ----------
    epoch : slot number.
    timestamp : seconds.
    index : index price by underlying name, micro-USD per unit.
    scan_range : scan range by underlying name, 1e-6.
    states : state of each account of `RunRecord.accounts` when the epoch was posted, before any liquidation under it:
        "HEALTHY", "MARGIN_CALL", "LIQUIDATABLE", "BANKRUPT", or "" without positions.
    watched : equity and margin of the chosen accounts.
    insurance_cash : cash of the insurance account after the epoch's liquidations, micro-USD.
    shortfall : sum over accounts of max(0, -PV), micro-USD.
    """

    epoch: int
    timestamp: int
    index: Mapping[str, int]
    scan_range: Mapping[str, int]
    states: tuple[str, ...]
    watched: Mapping[int, MarginPoint]
    insurance_cash: int
    shortfall: int


@dataclass(frozen=True)
class LegRow:
    """A leg that was taken: `lots` as the taker received them, `notional` micro-USD at the index, not negative."""

    symbol: str
    underlying: str
    lots: int
    notional: int


@dataclass(frozen=True)
class LiquidationRow:
    """A leg liquidation; amounts in micro-USD, time in seconds."""

    timestamp: int
    account: int
    taker: int
    legs: tuple[LegRow, ...]
    penalty: int
    reward: int

    @property
    def notional(self) -> int:
        return sum(leg.notional for leg in self.legs)


@dataclass(frozen=True)
class RunRecord:
    """A whole run, as the report shows it.

    Attributes
    ----------
    title : heading.
    source : where the prices came from, one sentence.
    synthetic : whether the prices are made up; said at the top where true.
    underlyings : names, in the order of their numbers.
    accounts : account ids, in the order of `EpochRow.states`.
    watched : the chosen accounts, with a word about each (or an empty one).
    epochs : ascending.
    liquidations : in the order in which they happened.
    summary : rows of label and value.
    verification : result of the audit.
    settings : rows of name and value.
    command : what reproduces the run.
    """

    title: str
    source: str
    synthetic: bool
    underlyings: tuple[str, ...]
    accounts: tuple[int, ...]
    watched: Mapping[int, str]
    epochs: tuple[EpochRow, ...]
    liquidations: tuple[LiquidationRow, ...]
    summary: tuple[tuple[str, str], ...]
    verification: Verification
    settings: tuple[tuple[str, str], ...]
    command: str


@dataclass(frozen=True)
class Figure:
    """A drawn figure: heading, what it shows, and the picture as a data URI."""

    heading: str
    caption: str
    alt: str
    uri: str = field(repr=False)


_FIGURES = (
    (
        "Prices and scan ranges",
        "The scan range R is the price move that one epoch's margin covers at full weight; the shaded band is the "
        "index plus and minus R. Below, R against the move that then came: a bar above the line is a move beyond it.",
        figures.prices,
    ),
    (
        "Equity against margin",
        "Chosen accounts. Below initial margin an account is called; below maintenance margin its legs may be taken; "
        "below zero it is bankrupt. A triangle marks an epoch in which legs were taken.",
        figures.equity,
    ),
    (
        "States of all accounts",
        "One row an account, one column an epoch, as it was found when the epoch was posted, before liquidations.",
        figures.states,
    ),
    (
        "Liquidations",
        "Legs change hands at their mark; the account pays a penalty, shared between the liquidator and the insurance "
        "fund.",
        figures.liquidations,
    ),
    (
        "Insurance fund and shortfall",
        "The insurance fund takes its share of penalties. Shortfall is what bankrupt accounts owe.",
        figures.insurance,
    ),
)


def draw(run: RunRecord) -> list[Figure]:
    """All figures of a run that has epochs; none of one that has not."""
    if not run.epochs:
        return []
    out = []
    with style():
        for heading, caption, plot in _FIGURES:
            if plot is figures.equity and not run.watched:
                continue
            out.append(Figure(heading, caption, f"{heading}: {caption}", data_uri(plot(run))))
    return out


def render(run: RunRecord) -> str:
    """The report as HTML.

    Raises
    ------
    ValueError
        A state is unknown, or an epoch does not have one state an account.
    """
    for row in run.epochs:
        if len(row.states) != len(run.accounts):
            raise ValueError(f"epoch {row.epoch} has {len(row.states)} states for {len(run.accounts)} accounts")
        unknown = set(row.states) - set(STATES)
        if unknown:
            raise ValueError(f"epoch {row.epoch} has unknown states: {sorted(unknown)}")
    return (
        pages("offchain.audit")
        .get_template("report.html.j2")
        .render(
            run=run,
            verification=run.verification,
            figures=draw(run),
            mismatches=run.verification.mismatches[:TOP_MISMATCHES],
            top=sorted(run.liquidations, key=lambda lq: (-lq.notional, lq.timestamp))[:TOP_LIQUIDATIONS],
        )
    )


def write_report(run: RunRecord, path: Path) -> Path:
    """Write the report, making its folder; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(run), encoding="utf-8")
    return path
