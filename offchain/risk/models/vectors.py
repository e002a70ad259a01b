"""Published portfolios of Derive's margin system, as files: read, computed, compared (`read_vector`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offchain.risk.models.derive import Collateral, DeriveParams, Expiry, Feed, Move, Portfolio, Scenario

_MOVES = {"Up": Move.UP, "Down": Move.DOWN, "None": Move.NONE, "LINEAR": Move.LINEAR, "ABS": Move.ABS}


@dataclass(frozen=True)
class Vector:
    """One file: a portfolio, the parameters it was computed with, and what was published of it."""

    name: str
    portfolio: Portfolio
    params: DeriveParams
    published: dict[str, Any]
    quoted: tuple[np.ndarray, ...]
    """Volatilities of each expiry's options as published, beside those computed from the feed."""


def _truth(value: Any) -> bool:
    """A flag written as a truth value, a number, or either as text."""
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    text = str(value).lower()
    if text not in known:
        raise ValueError(f"{value!r} is neither true nor false")
    return known[text]


def _expiries(scenario: dict[str, Any]) -> tuple[tuple[Expiry, ...], tuple[np.ndarray, ...]]:
    feeds = {float(feed["FeedExpiry"]): feed for feed in scenario.get("OptionFeeds", [])}
    groups: dict[float, list[dict[str, Any]]] = {}
    for option in scenario.get("Options", []):
        groups.setdefault(float(option["Expiry"]), []).append(option)
    expiries, quoted = [], []
    for seconds, options in groups.items():
        if seconds not in feeds:
            raise ValueError(f"no feed for the options that expire in {seconds:g} s")
        feed = feeds[seconds]
        strike = np.array([float(o["Strike"]) for o in options])
        fixed = float(feed.get("ForwardFixed", 0.0))
        expiries.append(
            Expiry(
                seconds,
                float(feed["Forward"]) - fixed,
                fixed,
                float(feed["Rate"]),
                min(float(feed[k]) for k in ("ForwardConfidence", "RateConfidence", "OptionVolConfidences")),
                strike,
                Feed(*(float(v) for v in feed["SVIparam"])).volatility(strike),
                np.array([float(o["Amount"]) for o in options]),
                np.array([_truth(o["IsCall"]) for o in options]),
            )
        )
        quoted.append(np.array([float(o["MarkVol"]) for o in options]))
    return tuple(expiries), tuple(quoted)


def _params(given: dict[str, Any]) -> DeriveParams:
    skew, vol, margin = given["SkewShock"], given["VolShock"], given["Margin"]
    basis, other = given["BasisContingency"], given["OtherContingency"]
    return DeriveParams(
        tuple(
            Scenario(float(s["SpotShock"]), _MOVES[s["VolShockDirection"]], float(s["DampeningFactor"]))
            for s in given["Scenarios"]
        ),
        *(float(vol[k]) for k in ("VOLRANGEUP", "VOLRANGEDOWN", "MIN_VOL_EVAL_SHOCKED", "SHORTTERMPOWER",
                                  "LONGTERMPOWER", "DTE_FLOOR")),
        *(float(skew[k]) for k in ("LINEAR_SCALE_CAP", "LINEAR_CBASE", "ABS_SCALE_CAP", "ABS_CBASE", "MIN_K_STAR",
                                   "MIN_WIDTH_SCALE", "VOL_PARAM_STATIC", "VOL_PARAM_SCALE")),
        *(float(margin[k]) for k in ("MM_LOSS_FACTOR", "IM_LOSS_FACTOR", "LONG_RATE_MULTSCALE", "LONG_RATE_ADDSCALE",
                                     "SHORT_RATE_MULTSCALE", "SHORT_RATE_ADDSCALE", "BASE_STATIC_DISCOUNT",
                                     "BASE_STATIC_DISCOUNT_NEG")),
        *(float(basis[k]) for k in ("SCENARIO_SPOT_UP", "SCENARIO_SPOT_DOWN", "BASIS_CONT_ADD_FACTOR",
                                    "BASIS_CONT_MULT_FACTOR")),
        *(float(other[k]) for k in ("PEG_LOSS_THRESHOLD", "PEG_LOSS_FACTOR", "CONF_THRESHOLD", "CONF_MARGIN",
                                    "MM_PERP_PERCENT", "IM_PERP_PERCENT", "MM_OPTION_PERCENT", "IM_OPTION_PERCENT")),
    )  # fmt: skip


def read_vector(path: Path) -> Vector:
    """Read a published portfolio.

    Raises
    ------
    ValueError
        It is not of the format, with the file's name and the field.
    """
    try:
        document = json.loads(path.read_text())
        scenario = document["Scenario"]
        stable = float(scenario["StablePrice"])
        expiries, quoted = _expiries(scenario)
        portfolio = Portfolio(
            cash=float(scenario["Cash"]),
            spot=float(scenario["SpotPrice"]),
            spot_confidence=float(scenario["SpotConfidence"]),
            perp=float(scenario["NumPerps"]),
            perp_price=float(scenario["PerpPrice"]),
            perp_confidence=float(scenario["PerpConfidence"]),
            perp_value=float(scenario["UnrealisedPerpPNL"]) + float(scenario["UnrealisedFunding"]),
            stable=stable,
            expiries=expiries,
            collaterals=tuple(
                Collateral(
                    float(c["Amount"]) * float(c["Price"]) / stable,
                    float(c["Confidence"]),
                    _truth(c["IsRiskCancelling"]),
                    float(c["IMHaircut"]),
                    float(c["MMHaircut"]),
                )
                for c in scenario.get("Collaterals", [])
            ),
        )
        return Vector(path.stem, portfolio, _params(document["Parameters"]), document["Result"], quoted)
    except KeyError as missing:
        raise ValueError(f"{path.name}: no field {missing}") from None
