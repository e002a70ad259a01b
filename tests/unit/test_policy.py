"""The policy's words, bytes and refusals, against tests/vectors/policy.json."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from eth_utils import keccak

from offchain.risk.policy import (
    INITIAL_SCAN_RANGE,
    MarginParams,
    Policy,
    Row,
    RowKind,
    Shocks,
    VolatilityMove,
    default_policy,
)

CASE = json.loads((Path(__file__).parents[1] / "vectors" / "policy.json").read_text())["cases"][0]
POLICY = default_policy()


def words(texts: list[str]) -> list[int]:
    return [int(text, 16) for text in texts]


def test_default_policy__known_answer__every_word() -> None:
    assert POLICY.version == CASE["version"]
    assert POLICY.margin.word == int(CASE["margin"], 16)
    assert [row.word for row in POLICY.rows] == words(CASE["rows"])
    assert list(POLICY.shocks.words) == CASE["shocks"]
    assert [u.word for u in POLICY.underlyings] == words(CASE["underlyings"])


def test_default_policy__known_answer__bytes_and_hash() -> None:
    assert POLICY.encode() == bytes.fromhex(CASE["encoded"][2:])
    assert POLICY.hash == keccak(hexstr=CASE["encoded"])


def test_policy__decoded__the_same() -> None:
    assert Policy.decode(POLICY.encode()) == POLICY
    assert Policy.from_words(POLICY.words) == POLICY


def test_policy__any_field_changed__other_hash() -> None:
    others = [
        replace(POLICY, margin=replace(POLICY.margin, kappa=0)),
        replace(POLICY, rows=(*POLICY.rows[:33], replace(POLICY.rows[33], move=5_000_001), *POLICY.rows[34:])),
        replace(POLICY, shocks=replace(POLICY.shocks, vol_up=500_001)),
        replace(POLICY, underlyings=POLICY.underlyings[:1]),
    ]
    assert len({POLICY.hash, *(other.hash for other in others)}) == 5


def test_default_policy__rows__the_design() -> None:
    kinds = [row.kind for row in POLICY.rows]
    assert [kinds.count(kind) for kind in RowKind] == [27, 7, 2, 2, 2]
    assert len(set(POLICY.rows)) == 40
    assert all(row.volatility is VolatilityMove.UP for row in POLICY.rows if row.kind is RowKind.TAIL)
    for number, initial in INITIAL_SCAN_RANGE.items():
        listed = POLICY.underlying(number)
        assert listed.r_min <= initial <= listed.r_max
    with pytest.raises(ValueError, match="underlying 3 is not in the policy"):
        POLICY.underlying(3)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kappa", 3_001, "kappa 3001"),
        ("kappa", -1, "kappa -1"),
        ("im_factor", 10_000, "im_factor 10000"),
        ("im_factor", 65_536, "im_factor 65536 does not fit"),
        ("reserve", 2**48, "reserve"),
        ("phi_min", 6_001, "penalties 6001, 6000"),
        ("phi_max", 10_001, "penalties 1000, 10001"),
        ("phi_ramp", 2**32, "phi_ramp"),
        ("liquidator_share", 10_001, "liquidator_share 10001"),
        ("dust", -1, "dust -1"),
        ("trade_fee", 65_536, "trade_fee"),
        ("price_band", 65_536, "price_band"),
    ],
)
def test_margin_params__out_of_range__refused_by_name(field: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(POLICY.margin, **{field: value})


def test_margin_params__word_and_back__every_field_alone() -> None:
    for field in ("reserve", "phi_ramp", "dust", "trade_fee", "price_band", "liquidator_share", "gas_multiple"):
        changed = replace(POLICY.margin, **{field: 77})
        assert MarginParams.from_word(changed.word) == changed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RowKind.SCAN, 0, 1_000_001), "beyond the scan range"),
        ((RowKind.SCAN, 0, 0, 5), "scan row has no weight"),
        ((RowKind.TAIL, 1, -1_000_000, 10**8), "tail row"),
        ((RowKind.TAIL, 1, 5, 0), "tail row"),
        ((RowKind.TAIL, 1, 5, 10**8 + 1), "tail row"),
        ((RowKind.BASIS, 0, 5), "basis row moves by"),
        ((RowKind.SKEW, 0, 10**6, 1), "skew row has no weight"),
        ((5, 0, 0), "5 is not a valid RowKind"),
        ((RowKind.SCAN, 3, 0), "3 is not a valid VolatilityMove"),
    ],
)
def test_row__impossible__refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Row(*arguments)


def test_row__bits_beyond__refused() -> None:
    with pytest.raises(ValueError, match="bits above 143"):
        Row.from_word(1 << 144)


def test_shocks__out_of_range__refused() -> None:
    with pytest.raises(ValueError, match="skew 1000001"):
        Shocks(skew=1_000_001)
    with pytest.raises(ValueError, match="does not fit"):
        Shocks(vol_up=-1)
    for name in ("jump", "dispute", "bucket", "refill", "position"):
        with pytest.raises(ValueError, match=f"{name} 0 is no limit"):
            Shocks(**{name: 0})
    with pytest.raises(ValueError, match="shocks are 16 words"):
        Shocks.from_words([1] * 15)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("underlying", 0, "must be 1 or more"),
        ("lots_per_unit", 0, "must be 1 or more"),
        ("depth", 0, "must be 1 or more"),
        ("r_min", 0, "scan range bounds 0"),
        ("r_min", 400_001, "scan range bounds 400001, 400000"),
        ("r_max", 1_000_000, "scan range bounds 80000, 1000000"),
        ("depth", 2**48, "depth"),
        ("open_interest", 0, "open_interest 0"),
        ("haircut", 10_001, "haircut 10001"),
    ],
)
def test_underlying_params__out_of_range__refused(field: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(POLICY.underlyings[0], **{field: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": POLICY.rows[:39]}, "40 rows, not 39"),
        ({"rows": (POLICY.rows[1], *POLICY.rows[1:])}, "row 0 is not the mark"),
        ({"underlyings": POLICY.underlyings[::-1]}, "not ascending"),
        ({"underlyings": POLICY.underlyings[:1] * 2}, "not ascending"),
        ({"version": 2}, "policy version 2"),
    ],
)
def test_policy__impossible__refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(POLICY, **change)
