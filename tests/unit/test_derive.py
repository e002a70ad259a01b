"""Derive's portfolio margin against its published portfolios, and what they cannot show."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offchain.risk.models.derive import (
    Collateral,
    DeriveParams,
    Expiry,
    Move,
    Portfolio,
    Scenario,
    default_scenarios,
    discounts,
    evaluate,
)
from offchain.risk.models.vectors import read_vector


def _folder() -> Path | None:
    """The published portfolios: in `BALLAST_VECTORS`, or in `vectors` beside `BALLAST_DATA`."""
    named = [os.environ["BALLAST_VECTORS"]] if os.environ.get("BALLAST_VECTORS") else []
    if os.environ.get("BALLAST_DATA"):
        named.append(str(Path(os.environ["BALLAST_DATA"]).parent / "vectors"))
    for name in named:
        for folder in (Path(name) / "derive_pmrm2", Path(name)):
            if any(folder.glob("*.json")):
                return folder
    return None


FOLDER = _folder()
FILES = sorted(FOLDER.glob("*.json")) if FOLDER else []


@pytest.mark.skipif(not FILES, reason="the published portfolios are not here: set BALLAST_VECTORS to their folder")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_published_portfolio__margins_scenarios_and_parts__to_1e9(path: Path) -> None:
    vector = read_vector(path)
    found, said = evaluate(vector.portfolio, vector.params), vector.published
    for mine, theirs in ((found.im, said["IM"]), (found.mm, said["MM"])):
        assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    size = sum(
        float((np.abs(e.amount) * np.maximum(e.strike, e.variable + e.fixed)).sum()) for e in vector.portfolio.expiries
    )
    near = {"rel": 1e-9, "abs": 1e-14 * size + 1e-9}
    losses = [float(row[-1]) for key in ("reg_losses", "tail_losses", "skew_losses") for row in said[key]]
    order = [s for s in vector.params.scenarios if s.move not in (Move.LINEAR, Move.ABS)]
    assert len(losses) == len(vector.params.scenarios) >= len(order)
    assert found.scenarios == pytest.approx(losses, **near)
    assert found.basis == pytest.approx(said["ForwardContingency"], **near)
    assert found.mtm + vector.portfolio.cash == pytest.approx(said["PortfolioMTM"], **near)
    assert found.marks == pytest.approx(said["OptionMTMPerExpiry"], **near)
    static = found.marks * np.where(found.marks >= 0, *found.discounts.T) if len(found.marks) else found.marks
    assert static == pytest.approx(said["OptionMTMPerExpiryDiscounted"], **near)
    for mine, key in ((found.mm_perp, "MMPerpCont"), (found.im_perp, "IMPerpCont"), (found.mm_option, "MMOptionCont"),
                      (found.im_option, "IMOptionCont"), (found.mm_collateral, "MMBaseCont"),
                      (found.im_collateral, "IMBaseCont"), (found.confidence, "OracleCont")):  # fmt: skip
        assert mine == pytest.approx(-said[key], rel=1e-9, abs=1e-9), key
    assert found.im_factor == pytest.approx(said["im_loss_factor"], rel=1e-12)
    for expiry, quoted in zip(vector.portfolio.expiries, vector.quoted, strict=True):
        assert expiry.volatility == pytest.approx(quoted, rel=1e-12)


PARAMS = DeriveParams(default_scenarios())


def test_scenarios__mainnet__33() -> None:
    assert len(default_scenarios()) == 33
    assert [s.move for s in default_scenarios()[-2:]] == [Move.LINEAR, Move.ABS]


def test_evaluate__short_perpetual__by_hand() -> None:
    """Short 2 at 1,000: -18 % x 2,000 in the worst scenario; the tail +500 % counts 13.86 %."""
    found = evaluate(Portfolio(500.0, 1000.0, perp=-2.0, perp_price=1000.0, perp_value=-30.0), PARAMS)
    assert found.loss == pytest.approx(-360.0)
    assert found.mm == pytest.approx(0.8 * -360 - 0.015 * 2000 - 30 + 500)
    assert found.im == pytest.approx(-360 - 0.02 * 2000 - 30 + 500)


def test_evaluate__low_confidence_and_peg__only_initial() -> None:
    base = Portfolio(500.0, 1000.0, perp=-2.0, perp_price=1000.0)
    calm = evaluate(base, PARAMS)
    shy = evaluate(replace(base, perp_confidence=0.5), PARAMS)
    assert calm.im - shy.im == pytest.approx(0.5 * 2000)
    assert calm.mm == shy.mm
    off = evaluate(replace(base, stable=0.90), PARAMS)
    assert calm.im - off.im == pytest.approx((0.98 - 0.90) * 2.0 * 360)
    idle = evaluate(replace(base, perp=0.0, perp_confidence=0.0), PARAMS)
    assert idle.im == idle.mm == 500.0


def test_evaluate__collateral__cancels_risk_only_if_it_may() -> None:
    token = Collateral(2000.0, 1.0, True, 0.01, 0.02)
    both = evaluate(Portfolio(0.0, 1000.0, perp=-2.0, perp_price=1000.0, collaterals=(token,)), PARAMS)
    assert both.loss == pytest.approx(0.0, abs=1e-9)
    other = evaluate(
        Portfolio(0.0, 1000.0, perp=-2.0, perp_price=1000.0, collaterals=(replace(token, cancelling=False),)), PARAMS
    )
    assert other.loss == pytest.approx(-360.0)
    assert other.mtm == both.mtm == 2000.0


def _one(seconds: float, strike: float, amount: float, call: bool, fixed: float = 0.0, rate: float = 0.05) -> Expiry:
    many = [np.array([v]) for v in (strike, 0.6, amount)]
    return Expiry(seconds, 1000.0 - fixed, fixed, rate, 1.0, *many, np.array([call]))


def test_evaluate__expired__intrinsic_value() -> None:
    for seconds in (0.0, -86_400.0):
        found = evaluate(Portfolio(0.0, 1000.0, expiries=(_one(seconds, 900.0, -1.0, True),)), PARAMS)
        assert found.marks[0] == pytest.approx(-100.0)
        assert found.discounts[0] == pytest.approx((0.95, 1.0))
        assert found.scenarios[0] == pytest.approx(-180.0)  # +18 %: 280 owed


def test_evaluate__fixed_forward__does_not_move() -> None:
    """Half of the settlement average is known: the other half moves by 18 %."""
    found = evaluate(Portfolio(0.0, 1000.0, expiries=(_one(0.0, 900.0, -1.0, True, fixed=500.0),)), PARAMS)
    assert found.scenarios[0] == pytest.approx(-90.0)


def test_discounts__shorts__never_more_than_the_mark_undiscounted() -> None:
    expiry = _one(365 * 86_400.0, 1000.0, 1.0, True, rate=0.5)
    up, down = discounts(expiry, PARAMS)
    assert up == pytest.approx(0.95 * math.exp(-0.58))
    assert down == pytest.approx(min(math.exp(0.5), 1.04 * math.exp(0.33)))
    assert discounts(replace(expiry, rate=-3.0), PARAMS)[1] == 1.0


def test_naked__calls_offset_by_puts_at_the_strike() -> None:
    def naked(*amounts: tuple[float, bool]) -> float:
        many = [np.full(len(amounts), 1000.0), np.full(len(amounts), 0.5), np.array([a for a, _ in amounts])]
        return Expiry(1e6, 1000.0, 0.0, 0.0, 1.0, *many, np.array([c for _, c in amounts])).naked()

    assert naked((-3.0, True), (2.0, False)) == 1.0
    assert naked((-3.0, True), (-2.0, False)) == 5.0
    assert naked((-3.0, True), (4.0, False)) == 0.0


def test_skew__negative_cap__lowers_all_strikes() -> None:
    """cap < 0: at most cap for k >= 0, as the contract has it, also at the strike at the forward."""
    params = replace(
        PARAMS, scenarios=(Scenario(1.0, Move.ABS),), abs_cap=-0.1, abs_slope=0.0, base_long=1.0, long_add=0.0
    )
    found = evaluate(Portfolio(0.0, 1000.0, expiries=(_one(30 * 86_400.0, 1000.0, 1.0, True, rate=0.0),)), params)
    calm = evaluate(
        Portfolio(0.0, 1000.0, expiries=(replace(_one(30 * 86_400.0, 1000.0, 1.0, True, rate=0.0),
                                                 volatility=np.array([0.54])),)), params,
    )  # fmt: skip
    assert found.scenarios[0] == pytest.approx(-(found.mtm - calm.mtm), rel=1e-12)


def test_evaluate__no_scenarios__refused() -> None:
    with pytest.raises(ValueError, match="at least one scenario"):
        evaluate(Portfolio(0.0, 1000.0), replace(PARAMS, scenarios=()))


def test_read_vector__missing_field__named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"Scenario": {"StablePrice": 1}, "Parameters": {}, "Result": {}}')
    with pytest.raises(ValueError, match=r"x.json: no field 'Cash'"):
        read_vector(path)
