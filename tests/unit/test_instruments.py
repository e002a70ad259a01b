"""Instrument ids, symbols and leaves against tests/vectors/instrument.json and risk_array.json."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from offchain.config import UNDERLYINGS, BallastError, Cadence, Settings
from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status, pack_array, unpack_array

VECTORS = Path(__file__).parents[1] / "vectors"
IDS = json.loads((VECTORS / "instrument.json").read_text())["cases"]
LEAVES = json.loads((VECTORS / "risk_array.json").read_text())["cases"][0]["leaves"]
NAMES = {number: name for name, number in UNDERLYINGS.items()}


def leaf_of(case: dict) -> InstrumentLeaf:
    return InstrumentLeaf(
        int(case["id"], 16),
        case["forward"],
        case["iv"],
        case["c_long"],
        case["c_short"],
        case["status"],
        tuple(case["array"]),
    )


@pytest.mark.parametrize("case", IDS, ids=lambda case: case["symbol"])
def test_instrument__known_answer__id_and_symbol(case: dict) -> None:
    instrument = Instrument(case["underlying"], Kind(case["kind"]), case["expiry"], case["strike"])
    assert instrument.id == int(case["id"], 16)
    assert Instrument.from_id(instrument.id) == instrument
    assert instrument.symbol(NAMES) == case["symbol"]


def test_instrument__without_names__number_in_symbol() -> None:
    assert Instrument(3, Kind.PERPETUAL).symbol() == "U3-PERP"


def test_ids__order__underlying_expiry_strike_kind() -> None:
    made = [
        Instrument(1, Kind.PERPETUAL),
        Instrument(1, Kind.TOKEN),
        Instrument(1, Kind.FUTURE, 100),
        Instrument(1, Kind.CALL, 100, 5),
        Instrument(1, Kind.PUT, 100, 5),
        Instrument(1, Kind.CALL, 100, 6),
        Instrument(1, Kind.FUTURE, 101),
        Instrument(2, Kind.PERPETUAL),
    ]
    ids = [each.id for each in made]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, Kind.PERPETUAL), "underlying 0"),
        ((65_536, Kind.PERPETUAL), "underlying 65536 does not fit"),
        ((1, 9), "unknown instrument kind 9"),
        ((1, Kind.PERPETUAL, 5), "a perpetual has no expiry"),
        ((1, Kind.PERPETUAL, 0, 5), "a perpetual has no strike"),
        ((1, Kind.FUTURE), "a future needs an expiry"),
        ((1, Kind.FUTURE, 5, 5), "a future has no strike"),
        ((1, Kind.FUTURE, 2**32), "expiry 4294967296 does not fit"),
        ((1, Kind.CALL, 5), "a call needs a positive strike"),
        ((1, Kind.PUT, 0, 5), "a put needs an expiry"),
        ((1, Kind.CALL, 5, 2**48), "strike 281474976710656 does not fit"),
        ((1, Kind.TOKEN, 5), "a token has no expiry"),
    ],
)
def test_instrument__field_wrong__refused_by_name(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Instrument(*arguments)


@pytest.mark.parametrize("identifier", [0, -1, 1 << 104, 1, 1 << 88, (1 << 88) | 6, (1 << 88) | (5 << 8) | 1])
def test_from_id__no_instrument__refused(identifier: int) -> None:
    with pytest.raises(ValueError, match="is no instrument id"):
        Instrument.from_id(identifier)


@pytest.mark.parametrize("case", LEAVES, ids=lambda case: case["id"])
def test_leaf__known_answer__words_and_back(case: dict) -> None:
    leaf = leaf_of(case)
    assert leaf.meta == int(case["meta"], 16)
    assert leaf.words == tuple(int(word, 16) for word in case["words"])
    assert InstrumentLeaf.unpack(*leaf.pack()) == leaf
    assert leaf.encode() == bytes.fromhex("".join(word[2:] for word in (case["meta"], *case["words"])))
    assert len(leaf.encode()) == 192
    assert leaf.instrument.id == leaf.id


@pytest.mark.parametrize(
    ("field", "value"), [("forward", 2**48), ("iv", 2**32), ("c_long", 2**32), ("c_short", -1), ("id", 2**104)]
)
def test_leaf__field_too_wide__refused_by_name(field: str, value: int) -> None:
    leaf = replace(leaf_of(LEAVES[0]), **{field: value})
    with pytest.raises(ValueError, match=f"{value} does not fit"):
        leaf.pack()


def test_leaf__unknown_status__refused() -> None:
    with pytest.raises(ValueError, match="4 is not a valid Status"):
        replace(leaf_of(LEAVES[0]), status=4)
    with pytest.raises(ValueError, match="0 is not a valid Status"):
        InstrumentLeaf.unpack(leaf_of(LEAVES[0]).meta & ~0xFF, [0] * 5)
    assert leaf_of(LEAVES[0]).status is Status.OPEN


def test_pack_array__ends_of_a_lane__fit_and_one_more_does_not() -> None:
    ends = [2**31 - 1, 1 - 2**31] * 20
    assert unpack_array(pack_array(ends)) == tuple(ends)
    for bad in (2**31, -(2**31)):
        with pytest.raises(ValueError, match=r"row 3 is not below 2\^31"):
            pack_array([0, 0, 0, bad, *[0] * 36])
    with pytest.raises(ValueError, match="40 values, not 39"):
        pack_array([0] * 39)
    with pytest.raises(ValueError, match="5 words, not 4"):
        unpack_array([0] * 4)


def test_settings__names_and_paths() -> None:
    settings = Settings()
    assert settings.underlying("eth") == 2
    assert settings.names == NAMES
    assert settings.deployment.parent == settings.bundles.parent == settings.out
    assert settings.database.startswith("sqlite:///")
    with pytest.raises(BallastError, match="unknown underlying 'DOGE': choose one of BTC, ETH"):
        settings.underlying("DOGE")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"slot": 0}, "slot of 0 s"),
        ({"max_age": 29}, "max_age of 29 s"),
        ({"max_age": 86_401}, "max_age of 86401 s"),
        ({"min_interval": 181}, "min_interval of 181 s"),
        ({"timelock": 0}, "timelock of 0 s"),
    ],
)
def test_cadence__contract_would_refuse__refused(times: dict, message: str) -> None:
    with pytest.raises(BallastError, match=message) as caught:
        Cadence(**times)
    assert caught.value.exit_code == 2
