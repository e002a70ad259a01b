"""Rule-based margin without scenarios: shorts one by one, or an expiry's greatest loss if that is less (Derive SRM).

Per expiry, money positive where it is asked for:

    options  = min(sum of isolated shorts, max loss + unpaired short calls * (1.2 IM, 1.1 MM) * forward)
    max loss = most that the options of the expiry can owe at settlement: at 0 and at each strike, at least 0
    call     MM = mark + 9 % S;                        IM = mark + max(15 % - otm, 13 %) S
    put      MM = mark + max(9 % S, 9 % mark);         IM = max(mark + max(15 % - otm, 13 %) S, 1.05 MM)
    perpetual and future: MM 6.5 %, IM 10 % of S;      token: counts ETH .80, BTC .75 of its value (x .9375, .93 for IM)

`S` is the index, `otm` how far out of the money, over S. The manager writes margins as negative numbers; where it
takes a minimum of two, that is the greater of two requirements, as above. Long options count for nothing: against
equity that has their mark, they require it. `isolated` asks for the sum of shorts always: no netting at all.

Source: Derive (Lyra) v2, StandardManager and docs.derive.xyz, "Standard Margin".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offchain.instruments import Kind
from offchain.risk.book import Book
from offchain.risk.models.kernel import Legs
from offchain.risk.models.result import ModelError, Part, Requirement, usd_only

NAME = "standard"
SOURCE = "docs.derive.xyz, Standard Margin; Derive v2 StandardManager"


@dataclass(frozen=True)
class StandardParams:
    """Rates of the module's text. collateral : by underlying, share for MM and the factor on it for IM."""

    most: float = 0.15
    least: float = 0.13
    mm_spot: float = 0.09
    mm_mark: float = 0.09
    put_scale: float = 1.05
    unpaired_initial: float = 1.2
    unpaired_maintenance: float = 1.1
    linear_initial: float = 0.10
    linear_maintenance: float = 0.065
    collateral: tuple[tuple[str, float, float], ...] = (("BTC", 0.75, 0.93), ("ETH", 0.80, 0.9375))
    isolated: bool = False


def isolated_short(call: bool, spot: float, strike: float, mark: float, p: StandardParams) -> tuple[float, float]:
    """(IM, MM) of one short option by itself, its mark included, USD."""
    otm = max(strike - spot if call else spot - strike, 0.0) / spot
    initial = mark + max(p.most - otm, p.least) * spot
    if call:
        return initial, mark + p.mm_spot * spot
    maintenance = mark + max(p.mm_spot * spot, p.mm_mark * mark)
    return max(initial, p.put_scale * maintenance), maintenance


def expiry_requirement(legs: Legs, spot: float, p: StandardParams) -> tuple[float, float]:
    """(IM, MM) of the options of one expiry, USD: what stands against cash, without value for long options."""
    marks = legs.marks()
    isolated = np.zeros(2)
    for call, strike, mark, amount in zip(legs.call, legs.strike, marks, legs.quantity, strict=True):
        if amount < 0.0:
            isolated -= amount * np.array(isolated_short(bool(call), spot, float(strike), float(mark), p))
    if p.isolated:
        return float(isolated[0]), float(isolated[1])
    prices = np.array([0.0, *np.unique(legs.strike)])
    sign = np.where(legs.call, 1.0, -1.0)[:, None]
    payoff = legs.quantity @ np.maximum(sign * (prices[None, :] - legs.strike[:, None]), 0.0)
    loss = max(-float(payoff.min()), 0.0)
    unpaired = max(-float(legs.quantity[legs.call].sum()), 0.0) * float(legs.forward[0])
    return (
        min(float(isolated[0]), loss + unpaired * p.unpaired_initial),
        min(float(isolated[1]), loss + unpaired * p.unpaired_maintenance),
    )


def margin(book: Book, params: StandardParams | None = None) -> Requirement:
    """Requirement of a book; formulas in the module's text.

    Raises
    ------
    ModelError
        A token that is no collateral here, or coin-settled contracts.
    """
    usd_only(book, NAME)
    p = params or StandardParams()
    parts = []
    for name in book.held:
        index, places = book.underlyings[name].index, book.places(name)
        legs = book.columns(places)
        linear = (legs.kind == Kind.PERPETUAL) | (legs.kind == Kind.FUTURE)
        size = float(np.abs(legs.quantity[linear]).sum()) * index
        if size:
            parts.append(Part("perpetuals and futures", name, p.linear_initial * size, p.linear_maintenance * size))
        token = legs.kind == Kind.TOKEN
        if token.any():
            rates = {key: (share, factor) for key, share, factor in p.collateral}
            if name not in rates:
                raise ModelError(f"{NAME} takes no {name} token as collateral: it knows {', '.join(rates)}")
            share, factor = rates[name]
            value = float((legs.quantity * legs.forward)[token].sum())
            parts.append(Part("collateral haircut", name, value * (1.0 - share * factor), value * (1.0 - share)))
        worth = legs.quantity * legs.marks()
        for years in np.unique(legs.years[legs.option]):
            here = legs.option & (legs.years == years)
            chosen = Legs(*(getattr(legs, k)[here] for k in legs.__dataclass_fields__))
            initial, maintenance = expiry_requirement(chosen, index, p)
            value = float(worth[here].sum())
            day = book.legs[int(places[np.flatnonzero(here)[0]])].symbol.split("-")[1]
            parts.append(Part(f"options {day}", name, initial + value, maintenance + value))
    return Requirement(NAME, book, tuple(parts), notes=("no scenarios: rules leg by leg and expiry by expiry",))


def parameters() -> list[tuple[str, str]]:
    """For the table of models."""
    p = StandardParams()
    return [
        ("price rows", "none: settlement at 0 and at each strike, per expiry"),
        ("add-ons", f"short option max({p.most:.0%} - otm, {p.least:.0%}) of index, MM {p.mm_spot:.0%}; perpetual "
                    f"{p.linear_initial:.0%} / {p.linear_maintenance:.1%}"),
        ("between underlyings", "none"),
        ("IM / MM", "by rule"),
    ]  # fmt: skip
