"""Derive portfolio margin (PMRM_2), as its contract computes it: per-expiry discounts, skew scenarios, contingencies.

    r = max(rate, 0), df = e^(-r tau), F = s * F_variable + F_fixed; a leg is Black-76 at the row's volatility times df
    skew (spot fixed): v = sigma * max(0, 1 + j), j = k cap/k*, at most cap for k >= 0 and at least -cap for k < 0;
        k = ln(K/F) LINEAR, |k| ABS; cap = base + cBase sqrt(tau);
        k* = max(minK, sqrt(tau) * width * (volStatic + volScale sqrt(tau)))
    d+ = base_long e^(-tau (r longMult + longAdd)), d- = min(1/df, base_short e^(tau (r shortMult + shortAdd)))
    PnL_s = sum over expiries of (X d(sign X) - mtm) * damp + (perp * price + risk-cancelling collateral) (s - 1) damp
    B  = sum over expiries of min(0, P(up) - mtm, P(down) - mtm) * (add + mult * tau)
    W  = min(B, min_s PnL_s)
    MM = mmFactor W - MMc + MtM + cash
    IM = (imFactor + [stable < peg] pegFactor (peg - stable)) W - MMc - IMc + MtM + cash

`X` is the shocked mark of an expiry; a skew row takes ``-|.|`` of each expiry. `MM` and `IM` are excesses: an account
is sound where they are not negative. The contingencies are named in `Outcome`.

Source: Derive v2-core, PMRM_2 and PMRMLib_2, and the published vectors of its test suite (both public); formulas
restated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from offchain.instruments import Kind
from offchain.risk.models.kernel import Legs, Shift, grid_of, values
from offchain.risk.policy import RowKind, VolatilityMove
from offchain.risk.scenarios import Grid, VolatilityShock
from offchain.units import DAY, YEAR

Array = npt.NDArray[np.float64]
MAX_VARIANCE = 144.0
"""Most total variance that the volatility feed gives."""


class Move(IntEnum):
    """How a scenario moves volatility."""

    NONE = 0
    UP = 1
    DOWN = 2
    LINEAR = 3
    ABS = 4


@dataclass(frozen=True)
class Scenario:
    """spot : factor on prices. move : of volatility. damp : share of the P&L that counts."""

    spot: float
    move: Move
    damp: float = 1.0

    @property
    def name(self) -> str:
        """For people."""
        if self.move in (Move.LINEAR, Move.ABS):
            return f"skew {self.move.name.lower()}"
        size = 100.0 * (self.spot - 1.0)
        name = (f"{size:+.4g}%" if abs(size) > 1e-9 else "mark") + (f" x {self.damp:.3g}" if self.damp != 1.0 else "")
        return name + ("" if self.move is Move.NONE else f", vol {self.move.name.lower()}")


@dataclass(frozen=True)
class DeriveParams:
    """Parameters of one market; names follow the contract. `dte_floor` is in days."""

    scenarios: tuple[Scenario, ...]
    vol_up: float = 0.5
    vol_down: float = 0.275
    min_vol_up: float = 0.45
    power_short: float = 0.3
    power_long: float = 0.13
    dte_floor: float = 1.0
    linear_cap: float = 0.15
    linear_slope: float = -0.05
    abs_cap: float = 0.15
    abs_slope: float = -0.05
    min_k: float = 0.01
    width: float = 4.0
    vol_static: float = 0.6
    vol_scale: float = -0.1
    mm_factor: float = 0.8
    im_factor: float = 1.0
    long_mult: float = 1.0
    long_add: float = 0.08
    short_mult: float = 0.5
    short_add: float = 0.08
    base_long: float = 0.95
    base_short: float = 1.04
    basis_up: float = 1.045
    basis_down: float = 0.955
    basis_add: float = 0.5
    basis_mult: float = 2.0
    peg_threshold: float = 0.98
    peg_factor: float = 2.0
    conf_threshold: float = 0.55
    conf_scale: float = 1.0
    mm_perp: float = 0.015
    im_perp: float = 0.005
    mm_option: float = 0.003
    im_option: float = 0.002

    def shock(self) -> VolatilityShock:
        """Of volatility up and down."""
        return VolatilityShock(
            self.vol_up, self.vol_down, self.min_vol_up, self.power_short, self.power_long, self.dte_floor
        )


def default_scenarios() -> tuple[Scenario, ...]:
    """The 33 of the mainnet markets."""
    up, down, none = Move.UP, Move.DOWN, Move.NONE
    rows = [Scenario(1.18, up)]
    for step in (0.135, 0.09, 0.045, 0.0, -0.045, -0.09, -0.135):
        rows += [Scenario(1.0 + step, each) for each in (down, none, up)]
    rows.append(Scenario(0.82, up))
    tails = ((-0.66, 0.21), (-0.33, 0.42), (0.5, 0.2772), (1.0, 0.1386), (2.0, 0.0693), (3.0, 0.0462), (4.0, 0.03465),
             (5.0, 0.02772))  # fmt: skip
    rows += [Scenario(1.0 + move, up, damp) for move, damp in tails]
    return (*rows, Scenario(1.0, Move.LINEAR), Scenario(1.0, Move.ABS))


@dataclass(frozen=True)
class Feed:
    """The volatility feed of one expiry: SVI in total variance about its own forward and time."""

    a: float
    b: float
    rho: float
    m: float
    sigma: float
    forward: float
    years: float

    def volatility(self, strike: Array) -> Array:
        """``sqrt(w/tau)``: `k` is clamped to four times ``sqrt(a + b sigma)``, `w` capped at 144."""
        edge = 4.0 * math.sqrt(self.a + self.b * self.sigma)
        k = np.clip(np.log(strike / self.forward), -edge, edge)
        y = k - self.m
        w = self.a + self.b * (self.rho * y + np.sqrt(y * y + self.sigma * self.sigma))
        return np.asarray(np.sqrt(np.minimum(w, MAX_VARIANCE) / self.years))


@dataclass(frozen=True)
class Expiry:
    """Options of one expiry, arrays of shape (n,).

    Attributes
    ----------
    seconds : to expiry, below 0 counts as 0. variable, fixed : parts of the forward. rate : a year.
    confidence : the least of forward, rate and volatility. strike, volatility, amount : of each option. call : bool.
    """

    seconds: float
    variable: float
    fixed: float
    rate: float
    confidence: float
    strike: Array
    volatility: Array
    amount: Array
    call: npt.NDArray[np.bool_]

    @property
    def tau(self) -> float:
        """Years to expiry."""
        return max(self.seconds, 0.0) / YEAR

    @property
    def discount(self) -> float:
        """``e^(-max(rate, 0) tau)``."""
        return math.exp(-max(self.rate, 0.0) * self.tau)

    def legs(self) -> Legs:
        """For the kernel."""
        full = np.ones_like(self.strike)
        return Legs(
            np.where(self.call, int(Kind.CALL), int(Kind.PUT)).astype(np.int64),
            self.amount,
            full * (self.variable + self.fixed),
            full * self.fixed,
            self.strike,
            full * self.tau,
            self.volatility,
            full * self.discount,
        )

    def naked(self) -> float:
        """Shorts that are not offset by the other type at the same strike."""
        out = 0.0
        for strike in np.unique(self.strike):
            here = self.strike == strike
            nets = [float(self.amount[here & (self.call == side)].sum()) for side in (True, False)]
            out += max(-sum(nets), 0.0)
        return out


@dataclass(frozen=True)
class Collateral:
    """value : at its price over the stable price. cancelling : it moves with spot. im, mm : haircuts."""

    value: float
    confidence: float
    cancelling: bool
    im: float
    mm: float


@dataclass(frozen=True)
class Portfolio:
    """An account of one market. perp_value : unrealised P&L and funding of the perpetual."""

    cash: float
    spot: float
    spot_confidence: float = 1.0
    perp: float = 0.0
    perp_price: float = 0.0
    perp_confidence: float = 1.0
    perp_value: float = 0.0
    stable: float = 1.0
    expiries: tuple[Expiry, ...] = ()
    collaterals: tuple[Collateral, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What the manager says of a portfolio.

    Attributes
    ----------
    im, mm : excesses, money. mtm : mark to market without cash.
    scenarios : (S,), P&L of each. basis : contingency `B`. worst : place of the worst scenario, S for the basis.
    mm_perp, mm_option, mm_collateral : parts of MMc. im_perp, im_option, im_collateral, confidence : parts of IMc.
    discounts : (E, 2), d+ and d- of each expiry. im_factor : with the peg's part.
    marks : (E,), discounted mark of each expiry.
    expiries : (E, S), P&L of each expiry's options in each scenario.
    """

    im: float
    mm: float
    mtm: float
    scenarios: Array
    basis: float
    worst: int
    mm_perp: float
    mm_option: float
    mm_collateral: float
    im_perp: float
    im_option: float
    im_collateral: float
    confidence: float
    discounts: Array
    im_factor: float
    marks: Array
    expiries: Array

    @property
    def loss(self) -> float:
        """`W`, the worst of scenarios and basis; at most 0."""
        return min(self.basis, float(self.scenarios.min()))


@dataclass(frozen=True)
class PmrmGrid(Grid):
    """A grid whose skew rows are Derive's: move 1 LINEAR, -1 ABS."""

    params: DeriveParams | None = None

    def volatilities(self, volatility: Array, moneyness: Array, days: Array) -> Array:
        """As `Grid.volatilities`, with the skew of the module's text."""
        out = super().volatilities(volatility, moneyness, days)
        p = self.params
        assert p is not None
        root = np.sqrt(days * DAY / YEAR)
        star = np.maximum(p.min_k, root * p.width * (p.vol_static + p.vol_scale * root))
        for row in np.flatnonzero(self.kind == RowKind.SKEW):
            linear = self.move[row] > 0
            cap = (p.linear_slope if linear else p.abs_slope) * root + (p.linear_cap if linear else p.abs_cap)
            k = np.log(moneyness) if linear else np.abs(np.log(moneyness))
            lean = k * cap / star
            out[:, row] = volatility * np.maximum(
                1.0 + np.where(k >= 0.0, np.minimum(cap, lean), np.maximum(-cap, lean)), 0.0
            )
        return out


def grid(params: DeriveParams) -> PmrmGrid:
    """The kernel's grid: the scenarios, then the two of the basis contingency. Weights are 1: damping comes later."""
    rows = []
    for each in params.scenarios:
        if each.move in (Move.LINEAR, Move.ABS):
            sign = 1.0 if each.move is Move.LINEAR else -1.0
            rows.append(Shift(sign, VolatilityMove.NONE, 1.0, RowKind.SKEW))
        else:
            rows.append(Shift(each.spot - 1.0, VolatilityMove(int(each.move))))
    rows += [Shift(params.basis_up - 1.0), Shift(params.basis_down - 1.0)]
    base = grid_of(rows, params.shock())
    return PmrmGrid(
        base.kind, base.volatility, base.move, base.weight, base.shock, base.basis, base.twist, base.skew, params
    )


def discounts(expiry: Expiry, params: DeriveParams) -> tuple[float, float]:
    """Static discounts `d+` and `d-` of an expiry whose shocked mark is positive or negative."""
    rate = max(expiry.rate, 0.0)
    positive = params.base_long * math.exp(-expiry.tau * (rate * params.long_mult + params.long_add))
    negative = params.base_short * math.exp(expiry.tau * (rate * params.short_mult + params.short_add))
    return positive, min(1.0 / expiry.discount, negative)


def evaluate(portfolio: Portfolio, params: DeriveParams) -> Outcome:
    """Margins of a portfolio; formulas in the module's text."""
    if not params.scenarios:
        raise ValueError("Derive margin needs at least one scenario")
    count = len(params.scenarios)
    rows = grid(params)
    spot = np.array([s.spot for s in params.scenarios])
    damp = np.array([s.damp for s in params.scenarios])
    skew = np.array([s.move in (Move.LINEAR, Move.ABS) for s in params.scenarios])
    gains, marks, factors, basis = [], [], [], 0.0
    for expiry in portfolio.expiries:
        legs = expiry.legs()
        mark = float(legs.quantity @ legs.marks())
        shocked = legs.quantity @ values(legs, rows)
        up, down = discounts(expiry, params)
        mean = shocked[:count]
        gain = (mean * np.where(mean >= 0.0, up, down) - mark) * damp
        gains.append(np.where(skew, -np.abs(gain), gain))
        basis += min(0.0, float((shocked[count:] - mark).min())) * (params.basis_add + params.basis_mult * expiry.tau)
        marks.append(mark)
        factors.append((up, down))
    expiries = np.array(gains).reshape(len(gains), count)
    cancelling = sum(c.value for c in portfolio.collaterals if c.cancelling)
    moving = portfolio.perp * portfolio.perp_price + cancelling
    scenarios = expiries.sum(axis=0) + moving * (spot - 1.0) * damp
    worst = int(np.argmin(scenarios))
    loss = float(scenarios[worst])
    if not loss < basis:
        worst, loss = count, basis
    mtm = sum(marks) + portfolio.perp_value + sum(c.value for c in portfolio.collaterals)
    notional, naked = abs(portfolio.perp) * portfolio.spot, sum(e.naked() for e in portfolio.expiries) * portfolio.spot
    peg = max(params.peg_threshold - portfolio.stable, 0.0) * params.peg_factor
    parts = {
        "mm_perp": params.mm_perp * notional,
        "mm_option": params.mm_option * naked,
        "mm_collateral": sum(c.value * c.mm for c in portfolio.collaterals),
        "im_perp": params.im_perp * notional,
        "im_option": params.im_option * naked,
        "im_collateral": sum(c.value * c.im for c in portfolio.collaterals),
        "confidence": _confidence(portfolio, params, notional),
    }
    maintenance = parts["mm_perp"] + parts["mm_option"] + parts["mm_collateral"]
    initial = maintenance + parts["im_perp"] + parts["im_option"] + parts["im_collateral"] + parts["confidence"]
    return Outcome(
        im=(params.im_factor + peg) * loss - initial + mtm + portfolio.cash,
        mm=params.mm_factor * loss - maintenance + mtm + portfolio.cash,
        mtm=mtm,
        scenarios=scenarios,
        basis=basis,
        worst=worst,
        discounts=np.array(factors).reshape(len(factors), 2),
        im_factor=params.im_factor + peg,
        marks=np.array(marks),
        expiries=expiries,
        **parts,
    )


def _confidence(portfolio: Portfolio, params: DeriveParams, perp_notional: float) -> float:
    """Charges for feeds whose confidence is below the threshold."""

    def charge(confidence: float, notional: float) -> float:
        low = confidence < params.conf_threshold
        return (1.0 - confidence) * params.conf_scale * notional if low else 0.0

    least = portfolio.spot_confidence
    if portfolio.perp != 0.0:
        least = min(least, portfolio.perp_confidence)
    total = charge(least, perp_notional)
    for expiry in portfolio.expiries:
        size = float(np.abs(expiry.amount).sum()) * portfolio.spot
        total += charge(min(least, expiry.confidence), size)
    for collateral in portfolio.collaterals:
        total += charge(min(portfolio.spot_confidence, collateral.confidence), collateral.value)
    return total


def scenario_names(params: DeriveParams) -> tuple[str, ...]:
    """Names of the scenarios, and of the basis contingency after them."""
    return (*(s.name for s in params.scenarios), "basis contingency")


def shifts(scenarios: Sequence[Scenario]) -> list[tuple[float, str, float]]:
    """Scenarios as plain tuples, for tables."""
    return [(s.spot - 1.0, s.move.name, s.damp) for s in scenarios]
