"""Risk arrays, close-out costs and leaves, against tests/vectors/risk_array.json and the threats that they answer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.risk import black76
from offchain.risk.arrays import build_leaves, pack_arrays, risk_arrays, unpack_arrays
from offchain.risk.closeout import close_out
from offchain.risk.policy import RowKind, default_policy
from offchain.risk.portfolios import State, content_of, evaluate
from offchain.units import MICRO

CASE = json.loads((Path(__file__).parents[1] / "vectors" / "risk_array.json").read_text())["cases"][0]
POLICY = default_policy()
NOW = CASE["timestamp"]
DAY = 86_400
INDEX, FUNDING, SCAN = ({int(u): x for u, x in CASE[name].items()} for name in ("index", "funding", "scan_range"))
INSTRUMENTS = [Instrument.from_id(int(leaf["id"], 16)) for leaf in CASE["leaves"]]
FORWARDS = [leaf["forward"] for leaf in CASE["leaves"]]
IVS = [leaf["iv"] for leaf in CASE["leaves"]]
INTEREST = {int(leaf["id"], 16): leaf["open_interest"] for leaf in CASE["leaves"]}

FLAT = {"index": {1: 8_000 * MICRO}, "funding": {1: 0}, "scan_range": {1: 160_000}}
KINDS = np.array([row.kind for row in POLICY.rows])


def flat_leaves(
    instruments: list[Instrument], iv: int = 700_000, now: int = NOW, scan: int = 160_000
) -> list[InstrumentLeaf]:
    """Leaves of BTC instruments, every forward at 8,000 dollars."""
    ivs = [iv if each.kind.is_option else 0 for each in instruments]
    inputs = {**FLAT, "scan_range": {1: scan}}
    return build_leaves(instruments, [8_000 * MICRO] * len(instruments), ivs, **inputs, timestamp=now, policy=POLICY)


# known answers
def test_risk_arrays__known_answer__every_value() -> None:
    found = risk_arrays(INSTRUMENTS, FORWARDS, IVS, INDEX, FUNDING, SCAN, NOW, POLICY)
    assert found.dtype == np.int64
    assert found.tolist() == [leaf["array"] for leaf in CASE["leaves"]]


def test_build_leaves__known_answer__words_in_id_order() -> None:
    leaves = build_leaves(INSTRUMENTS, FORWARDS, IVS, INDEX, FUNDING, SCAN, NOW, POLICY, INTEREST)
    wanted = sorted(CASE["leaves"], key=lambda leaf: int(leaf["id"], 16))
    assert [leaf.meta for leaf in leaves] == [int(leaf["meta"], 16) for leaf in wanted]
    assert [list(leaf.words) for leaf in leaves] == [[int(word, 16) for word in leaf["words"]] for leaf in wanted]


def test_risk_arrays__any_order_or_alone__the_same() -> None:
    whole = risk_arrays(INSTRUMENTS, FORWARDS, IVS, INDEX, FUNDING, SCAN, NOW, POLICY)
    back = risk_arrays(INSTRUMENTS[::-1], FORWARDS[::-1], IVS[::-1], INDEX, FUNDING, SCAN, NOW, POLICY)
    assert (back[::-1] == whole).all()
    for row, (each, forward, iv) in enumerate(zip(INSTRUMENTS, FORWARDS, IVS, strict=True)):
        assert (
            risk_arrays([each], [forward], [iv], INDEX, FUNDING, SCAN, NOW, POLICY)[0].tolist() == whole[row].tolist()
        )


def test_risk_arrays__nothing__empty() -> None:
    assert risk_arrays([], [], [], {}, {}, {}, NOW, POLICY).shape == (0, 40)
    assert build_leaves([], [], [], {}, {}, {}, NOW, POLICY) == []


# what the rows mean
def test_risk_arrays__perpetual__price_less_funding_and_no_basis() -> None:
    array = risk_arrays([Instrument(1, Kind.PERPETUAL)], [8_000 * MICRO], [0], {1: 8_000 * MICRO}, {1: 12_345},
                        {1: 160_000}, NOW, POLICY)[0]  # fmt: skip
    assert array[0] == 8_000_000 - 12_345
    assert array[21] == 8_000_000 * 1.16 - 12_345
    assert array[24] == 8_000_000 * 0.84 - 12_345
    assert set(array[KINDS >= RowKind.BASIS].tolist()) == {array[0]}
    assert array[27] - array[0] == round(-0.66 * 0.21 * 8_000_000)


def test_risk_arrays__future__basis_grows_with_time() -> None:
    near, far = Instrument(1, Kind.FUTURE, NOW + DAY), Instrument(1, Kind.FUTURE, NOW + 365 * DAY)
    a, b = risk_arrays([near, far], [8_000 * MICRO] * 2, [0, 0], **FLAT, timestamp=NOW, policy=POLICY)
    assert a[34] - a[0] == round(8_000_000 * 0.045 * (0.5 + 2 / 365))
    assert b[34] - b[0] == 8_000_000 * 0.045 * 2.5
    assert b[35] - b[0] == -(b[34] - b[0])


def test_risk_arrays__option_at_expiry__intrinsic_value() -> None:
    strikes = [7_000, 8_000, 9_000]
    calls = [Instrument(1, Kind.CALL, NOW, strike * MICRO) for strike in strikes]
    for late in (0, 12 * 3_600):
        found = risk_arrays(calls, [8_000 * MICRO] * 3, [900_000] * 3, **FLAT, timestamp=NOW + late, policy=POLICY)
        assert found[:, 0].tolist() == [1_000_000, 0, 0]
        assert found[:, 21].tolist() == [2_280_000, 1_280_000, 280_000]
        assert (found[:, 1] == found[:, 0]).all()


def test_build_leaves__at_expiry__expired() -> None:
    future = Instrument(1, Kind.FUTURE, NOW + 1)
    assert flat_leaves([future])[0].status is Status.OPEN
    assert flat_leaves([future], now=NOW + 1)[0].status is Status.EXPIRED


# refusals
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forwards": [0]}, "forward 0 of U1-PERP"),
        ({"forwards": [2**48]}, r"forward 281474976710656 of U1-PERP is not within 1 and 2\^48 - 1"),
        ({"forwards": [8_000]}, "far from its index 8000000000: check the units"),
        ({"forwards": [8_000 * MICRO * 9]}, "check the units"),
        ({"forwards": []}, "1 instruments, but 0 forwards"),
        ({"ivs": [5]}, "U1-PERP has no volatility, but 5 was given"),
        ({"index": {}}, "no index for underlying 1"),
        ({"index": {1: 0}}, "index 0 of underlying 1 is not positive"),
        ({"funding": {}}, "no funding for underlying 1"),
        ({"funding": {1: 2**62}}, "funding index"),
        ({"scan_range": {1: 0}}, "scan range 0"),
        ({"scan_range": {1: MICRO}}, "scan range 1000000"),
        ({"instruments": [Instrument(3, Kind.PERPETUAL)]}, "underlying 3 is not in the policy"),
    ],
)
def test_risk_arrays__bad_input__refused_by_name(changes: dict, message: str) -> None:
    inputs = {"instruments": [Instrument(1, Kind.PERPETUAL)], "forwards": [8_000 * MICRO], "ivs": [0], **FLAT}
    with pytest.raises(ValueError, match=message):
        risk_arrays(**(inputs | changes), timestamp=NOW, policy=POLICY)


@pytest.mark.parametrize("iv", [0, -1, 2**32])
def test_risk_arrays__volatility_of_option_out_of_range__refused(iv: int) -> None:
    call = Instrument(1, Kind.CALL, NOW + DAY, 8_000 * MICRO)
    with pytest.raises(ValueError, match=f"volatility {iv} of U1-13MAR20T0000-8000-C"):
        risk_arrays([call], [8_000 * MICRO], [iv], **FLAT, timestamp=NOW, policy=POLICY)


def test_lot_too_large__listing_refused_and_drift_close_only() -> None:
    """One whole coin a lot: 2^31 micro-USD is 2,147 dollars, 2^30 half of it."""
    coarse = replace(POLICY, underlyings=(replace(POLICY.underlyings[0], lots_per_unit=1),))
    perpetual = Instrument(1, Kind.PERPETUAL)

    def build(dollars: float) -> InstrumentLeaf:
        price = round(dollars * MICRO)
        return build_leaves([perpetual], [price], [0], {1: price}, {1: 0}, {1: 160_000}, NOW, coarse)[0]

    top = 1.16  # the highest row of a perpetual at this scan range
    assert build(2**30 / 1e6 / top - 0.01).status is Status.OPEN
    assert build(2**30 / 1e6 / top + 0.01).status is Status.CLOSE_ONLY
    assert max(build(2**31 / 1e6 / top - 0.01).array) < 2**31
    with pytest.raises(ValueError, match="list it with smaller lots"):
        build(2**31 / 1e6 / top + 0.01)


def test_build_leaves__named_close_only__close_only() -> None:
    perpetual = Instrument(1, Kind.PERPETUAL)
    leaf = build_leaves(
        [perpetual], [8_000 * MICRO], [0], **FLAT, timestamp=NOW, policy=POLICY, close_only={perpetual.id}
    )
    assert leaf[0].status is Status.CLOSE_ONLY


def test_build_leaves__instrument_twice__refused() -> None:
    with pytest.raises(ValueError, match="U1-PERP is given twice"):
        flat_leaves([Instrument(1, Kind.PERPETUAL)] * 2)


# close-out
def test_close_out__perpetual__half_spread_and_impact_ceiled() -> None:
    perpetual, array = Instrument(1, Kind.PERPETUAL), [8_000_000] * 40
    assert close_out(perpetual, 8_000 * MICRO, array, 0, 160_000, POLICY) == (
        4_001,
        4_001,
    )  # 5 bp of 8 dollars, and one unit
    assert close_out(perpetual, 8_000 * MICRO, array, 10**6, 160_000, POLICY) == (12_001, 12_001)  # 10 bp more at depth
    assert close_out(perpetual, 8_000 * MICRO, array, 1, 160_000, POLICY) == (
        4_002,
        4_002,
    )  # the least of impact is ceiled


def test_close_out__option__capped_long_and_minimum_short() -> None:
    call = Instrument(1, Kind.CALL, NOW + DAY, 8_000 * MICRO)
    assert close_out(call, 8_000 * MICRO, [50_000] * 40, 0, 160_000, POLICY) == (4_001, 84_001)
    assert close_out(call, 8_000 * MICRO, [50_000] * 39 + [123], 0, 160_000, POLICY) == (124, 84_001)
    assert close_out(call, 8_000 * MICRO, [0] * 40, 10**6, 160_000, POLICY) == (1, 92_001)


def test_close_out__token__costs_its_haircut() -> None:
    """10 % of 8 dollars a lot, whatever the open interest; at most what the worst row leaves."""
    token = Instrument(1, Kind.TOKEN)
    haircut = POLICY.underlying(1).haircut * 8 * MICRO // 10_000
    assert close_out(token, 8_000 * MICRO, [8 * MICRO] * 40, 10**6, 160_000, POLICY) == (haircut + 1, haircut + 1)
    assert close_out(token, 8_000 * MICRO, [8 * MICRO] * 39 + [77], 0, 160_000, POLICY) == (78, 78)


def test_close_out__bad_input__refused() -> None:
    with pytest.raises(ValueError, match="open interest -1"):
        close_out(Instrument(1, Kind.PERPETUAL), 8_000 * MICRO, [0] * 40, -1, 160_000, POLICY)
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        close_out(Instrument(1, Kind.PERPETUAL), 8_000 * MICRO, [0] * 40, 10**12, 160_000, POLICY)


# packing
def test_pack_arrays__like_one_by_one__and_back() -> None:
    arrays = np.array([leaf["array"] for leaf in CASE["leaves"]], dtype=np.int64)
    words = pack_arrays(arrays)
    assert [list(each) for each in words] == [[int(word, 16) for word in leaf["words"]] for leaf in CASE["leaves"]]
    assert (unpack_arrays(words) == arrays).all()
    assert pack_arrays(np.empty((0, 40), dtype=np.int64)) == []


def test_pack_arrays__bad_shape_or_value__refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 40\), not \(40,\)"):
        pack_arrays(np.zeros(40, dtype=np.int64))
    for bad in (2**31, -(2**31)):
        arrays = np.zeros((2, 40), dtype=np.int64)
        arrays[1, 7] = bad
        with pytest.raises(ValueError, match=f"value {bad} of instrument 1, row 7"):
            pack_arrays(arrays)
    with pytest.raises(ValueError, match="5 words"):
        unpack_arrays([[0] * 4])


# threats
def test_threat_2__calendar_spreads__basis_and_twist_rows_charge_them() -> None:
    near, far = NOW + 5 * DAY, NOW + 95 * DAY
    perpetual, future = Instrument(1, Kind.PERPETUAL), Instrument(1, Kind.FUTURE, far)
    short_dated = [Instrument(1, kind, near, k * MICRO) for kind, k in ((Kind.CALL, 8_500), (Kind.PUT, 7_500))]
    long_dated = [Instrument(1, kind, far, k * MICRO) for kind, k in ((Kind.CALL, 8_500), (Kind.PUT, 7_500))]
    leaves = {leaf.id: leaf for leaf in flat_leaves([perpetual, future, *short_dated, *long_dated])}

    hedge = np.array(leaves[perpetual.id].array) - np.array(leaves[future.id].array)
    assert abs(hedge[KINDS < RowKind.BASIS]).max() <= 1
    loss = hedge[0] - hedge[KINDS == RowKind.BASIS].min()
    assert loss == pytest.approx(8_000_000 * 0.045 * (0.5 + 2 * 95 / 365), abs=1)

    near_vega = sum(np.array(leaves[i.id].array) for i in short_dated)
    far_vega = sum(np.array(leaves[i.id].array) for i in long_dated)
    strangles = near_vega * 3 - far_vega
    assert strangles[KINDS == RowKind.TWIST].min() < strangles[0] - 50_000


@pytest.mark.parametrize("hours", [1, 2, 3, 6, 24])
@pytest.mark.parametrize("iv", [400_000, 700_000, 1_000_000])
@pytest.mark.parametrize("scan", [80_000, 160_000, 240_000, 400_000])
def test_threat_3__short_butterfly_between_price_nodes__short_option_minimum_covers_it(
    scan: int, iv: int, hours: int
) -> None:
    """An hour later the price stands at the worst point within the scan range: the butterfly is still covered.

    Butterflies of every centre and width on a grid of half a percent. Without the minimum the same test fails, because
    the forty rows do not see a butterfly that fits between two nodes.
    """
    expiry = NOW + hours * 3_600
    strikes = np.arange(6_800, 9_201, 40)
    leaves = flat_leaves([Instrument(1, Kind.CALL, expiry, int(k) * MICRO) for k in strikes], iv, scan=scan)
    arrays = np.array([leaf.array for leaf in leaves])
    c_long, c_short = (np.array([getattr(leaf, name) for leaf in leaves]) for name in ("c_long", "c_short"))
    prices = 8_000 * np.linspace(1 - scan / 1e6, 1 + scan / 1e6, 601)
    years = (hours - 1) / 24 / 365
    later = black76.price(prices[None], strikes[:, None].astype(float), years, iv / 1e6, True) * 1_000

    short_option_minimum = 2 * 8 * max(7_500, scan // 16)
    worst, bare = np.inf, np.inf
    for width in range(1, 12):
        body, wings = slice(width, -width), (slice(None, -2 * width), slice(2 * width, None))
        rows = 2 * arrays[body] - arrays[wings[0]] - arrays[wings[1]]
        cost = 2 * c_long[body] + c_short[wings[0]] + c_short[wings[1]]
        least_cash = cost - rows.min(axis=1)
        after = (2 * later[body] - later[wings[0]] - later[wings[1]]).min(axis=1)
        worst = min(worst, (after + least_cash).min())
        bare = min(bare, (after + least_cash - short_option_minimum).min())
    assert worst >= 0
    if hours == 1 and scan >= 160_000:
        assert bare < 0


@pytest.mark.parametrize("seconds", [60, 3_600, DAY, 30 * DAY, 400 * DAY])
def test_threat_4__fully_paid_long_option__never_liquidatable(seconds: int) -> None:
    strikes = [800, 4_000, 7_000, 8_000, 9_000, 16_000, 60_000]
    options = [Instrument(1, kind, NOW + seconds, k * MICRO) for kind in (Kind.CALL, Kind.PUT) for k in strikes]
    for leaf in flat_leaves(options):
        assert leaf.c_long <= min(leaf.array) + 1
        assert min(leaf.array) >= 0
        for lots in (1, 7, 10**6):
            content = content_of(256, {leaf.id: lots}, {leaf.id: leaf})
            margin = evaluate(content, POLICY.margin.reserve + lots, POLICY.margin)
            assert margin.mm_excess >= 0
            assert margin.state in (State.HEALTHY, State.MARGIN_CALL)


def test_threat_4__one_unit_less__may_be_liquidatable() -> None:
    worthless = flat_leaves([Instrument(1, Kind.CALL, NOW + 60, 60_000 * MICRO)])[0]
    content = content_of(256, {worthless.id: 5}, {worthless.id: worthless})
    assert evaluate(content, POLICY.margin.reserve + 4, POLICY.margin).state is State.LIQUIDATABLE
