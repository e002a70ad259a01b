"""The verification finds nothing in an honest history, and every fault in one that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any
from unittest import mock

import pytest
from audited import Audited, cosign, crash
from desk import BTC, BTC_FUTURE, BTC_PERP, ETH_PERP, option
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.audit.epochs import unhex, word
from offchain.audit.ground import Findings, Ground
from offchain.audit.record import Record, read_bundles
from offchain.audit.result import Verification
from offchain.audit.tamper import KINDS, rebuild, tamper
from offchain.audit.verify import Audit, verify
from offchain.chain.backends import Event

INSTRUMENTS = sorted([BTC_PERP, BTC_FUTURE, option(BTC, 10_000), ETH_PERP])
NAMES = {"leaf": {"account leaf", "instrument leaf"}, "root": {"root"}, "cash": {"cash"}, "signature": {"signature"}}


@pytest.fixture(scope="module")
def desk() -> Audited:
    return crash(INSTRUMENTS)


@pytest.fixture(scope="module")
def record(desk) -> Record:
    return desk.record()


@pytest.fixture(scope="module")
def small() -> Record:
    """One trade, two epochs."""
    desk = Audited.open([BTC_PERP, option(BTC, 10_000)])
    buyer, seller = desk.fund(desk.keys[1], 50_000), desk.fund(desk.keys[2], 50_000)
    for instrument in desk.leaves:
        desk.trade(buyer, seller, instrument, 300)
    desk.post()
    return desk.record()


def kinds(found: Verification) -> set[str]:
    return {m.kind for m in found.mismatches}


def at(record: Record, name: str, which: int = 0) -> int:
    """Place of an event."""
    return [i for i, event in enumerate(record.events) if event.name == name][which]


def altered(record: Record, place: int, **args: Any) -> Record:
    """The record with other arguments in one event."""
    events = list(record.events)
    events[place] = replace(events[place], args=events[place].args | args)
    return replace(record, events=tuple(events))


def without(record: Record, place: int) -> Record:
    return replace(record, events=record.events[:place] + record.events[place + 1 :])


def latest_bundle(record: Record) -> tuple[int, dict[str, Any]]:
    place = at(record, "EpochPosted", -1)
    return place, json.loads(record.bundles[record.events[place].args["header"][9]])


# An honest history


def test_verify__honest_history__finds_nothing_and_counts_everything(record):
    found = verify(record)
    posted = [json.loads(record.bundles[e.args["header"][9]]) for e in record.events if e.name == "EpochPosted"]
    assert found.mismatches == ()
    assert found.ok
    assert found.epochs_verified == len(posted) == 6
    assert found.leaves_verified == sum(len(b["instruments"]) + len(b["accounts"]) for b in posted) == 45
    assert found.liquidations_verified == sum(e.name == "Liquidated" for e in record.events) == 3
    assert found.line() == "verified: 6 epochs, 45 leaves, 3 liquidations, 0 mismatches"
    assert found.as_json() == {
        "epochs_verified": 6, "leaves_verified": 45, "liquidations_verified": 3, "mismatches": 0, "mismatch_list": [],
    }  # fmt: skip


def test_verify__history__holds_what_the_other_tests_change(record):
    """Both penalties, a take of two legs and of a short one, and every event that is judged."""
    liquidated = [e.args for e in record.events if e.name == "Liquidated"]
    assert {args["phi"] for args in liquidated} == {1_000, 6_000}
    assert {len(args["takes"]) for args in liquidated} == {1, 2}
    assert {lots > 0 for args in liquidated for _, lots, _ in args["takes"]} == {True, False}
    names = {e.name for e in record.events}
    assert names >= {"Withdrawal", "FullyChecked", "MarginCalled", "CallCleared", "AccountTransferred", "Filled"}


# One fault


@pytest.mark.parametrize("colluding", [True, False])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_verify__planted_fault__is_named(record, kind, seed, colluding):
    found = verify(tamper(record, kind, Random(seed), cosign if colluding else None))
    assert not found.ok
    assert kinds(found) & NAMES[kind]
    assert found.line().endswith(f", {len(found.mismatches)} mismatches")
    if kind != "cash":
        assert found.epochs_verified == 5
    if kind in ("leaf", "root"):
        assert ("signature" in kinds(found)) is not colluding
    listed = found.as_json()["mismatch_list"]
    assert listed[0] == {key: getattr(found.mismatches[0], key) for key in ("kind", "where", "expected", "found")}


def test_tamper__unknown_kind_or_empty_record__is_refused(record):
    with pytest.raises(ValueError, match="unknown fault 'oracle'"):
        tamper(record, "oracle", Random(0))
    with pytest.raises(ValueError, match="nothing to tamper with"):
        tamper(replace(record, bundles={}), "leaf", Random(0))


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all words and numbers of a bundle."""
    if isinstance(value, dict):
        return [spot for key in sorted(value) for spot in spots(value[key], (*path, key))]
    if isinstance(value, list):
        return [spot for i, item in enumerate(value) for spot in spots(item, (*path, i))]
    return [path]


def change(value: Any, bits: int) -> Any:
    """Another value of the same spelling."""
    if isinstance(value, int):
        return value ^ (bits or 1)
    if value.startswith("0x") and len(value) % 2 == 0:
        data = unhex(value)
        mixed = int.from_bytes(data, "big") ^ (bits % (1 << 8 * len(data)) or 1)
        return f"0x{mixed.to_bytes(len(data), 'big').hex()}"
    return value + "0"


def with_changed_word(record: Record, data: st.DataObject, observed: bool) -> Record:
    """The record with one drawn word of the latest bundle changed, and the rest as if the committee meant it."""
    place, bundle = latest_bundle(record)
    path = data.draw(st.sampled_from([s for s in spots(bundle) if (s[0] == "observations") is observed]))
    bits = data.draw(st.integers(0, 255).map(lambda b: 1 << b) | st.integers(1, 2**256 - 1))
    spot: Any = bundle
    for step in path[:-1]:
        spot = spot[step]
    spot[path[-1]] = change(spot[path[-1]], bits)
    return rebuild(record, place, bundle, cosign)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_verify__any_word_of_a_bundle_changed_by_a_colluding_committee__is_found(small, data):
    with mock.patch("offchain.audit.verify.find_wrong", return_value={}):  # the committee signs what it changes
        found = verify(with_changed_word(small, data, observed=False))
    assert found.mismatches
    assert found.epochs_verified == 1


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_verify__any_word_of_an_observation_changed_by_others_than_its_member__is_found(small, data):
    found = verify(with_changed_word(small, data, observed=True))
    assert found.mismatches
    assert found.epochs_verified == 1


FAULTS: dict[str, tuple[str, Callable[[Record], Record]]] = {
    "final cash": (
        "cash",
        lambda r: replace(r, accounts=r.accounts | {256: replace(r.accounts[256], cash=r.accounts[256].cash + 1)}),
    ),
    "final owner": ("account", lambda r: replace(r, accounts=r.accounts | {260: replace(r.accounts[260], owner="0x")})),
    "final position": ("account", lambda r: replace(r, accounts=r.accounts | {256: replace(r.accounts[256], head=5)})),
    "an account that is not there": (
        "cash",
        lambda r: replace(r, accounts={a: s for a, s in r.accounts.items() if a != 256}),
    ),
    "tokens of the books": ("tokens", lambda r: replace(r, tokens_held=r.tokens_held - 1)),
    "tokens missing": ("tokens", lambda r: replace(r, token_balance=r.tokens_held - 1)),
    "bundle lost": ("bundle", lambda r: replace(r, bundles={})),
    "bundle cut": ("bundle", lambda r: replace(r, bundles={k: v[:-9] for k, v in r.bundles.items()})),
    "bundle not an object": ("bundle", lambda r: replace(r, bundles=dict.fromkeys(r.bundles, b"[1]"))),
    "block hash": ("header", lambda r: replace(r, block_hashes={n: bytes(32) for n in r.block_hashes})),
    "another chain": ("signature", lambda r: replace(r, chain_id=1, events=r.events[: at(r, "EpochPosted") + 1])),
    "nobody seated": ("signature", lambda r: without(r, at(r, "Seated"))),
    "member left out": ("committee", lambda r: without(r, at(r, "Enrolled"))),
    "two of four": ("signature", lambda r: altered(r, at(r, "EpochPosted", 1), mask=3)),
    "mask too wide": ("signature", lambda r: altered(r, at(r, "EpochPosted", 1), mask=7 + 32)),
    "policy never enacted": ("policy", lambda r: without(r, at(r, "PolicyEnacted"))),
    "policy garbled": ("policy", lambda r: altered(r, at(r, "PolicyProposed"), encoded=b"\x01" * 64)),
    "epoch withheld": ("withdrawal", lambda r: without(r, at(r, "EpochPosted", 1))),
    "epoch twice": ("header", lambda r: replace(r, events=(*r.events, r.events[at(r, "EpochPosted", 1)]))),
    "deposit invented": ("cash", lambda r: altered(r, at(r, "Deposit"), amount=1)),
    "withdrawal too large": ("withdrawal", lambda r: altered(r, at(r, "Withdrawal"), amount=10**15)),
    "trade fee": ("trade", lambda r: altered(r, at(r, "Filled"), fee=1)),
    "trade price": ("trade", lambda r: altered(r, at(r, "Filled"), price=1)),
    "trade left out": ("ledger", lambda r: without(r, at(r, "Filled", 2))),
    "move left out": ("ledger", lambda r: without(r, at(r, "PositionMoved", 3))),
    "fee left out": ("trade", lambda r: without(r, at(r, "CashMoved", 3))),
    "lots moved": ("account leaf", lambda r: altered(r, at(r, "PositionMoved", 3), lots=7)),
    "full check": ("margin", lambda r: altered(r, at(r, "FullyChecked"), margin=(0, 0, 0, 0, 0))),
    "deficit": ("margin call", lambda r: altered(r, at(r, "MarginCalled"), deficit=1)),
    "clock of a call": ("margin call", lambda r: altered(r, at(r, "MarginCalled"), live=7)),
    "call of a healthy account": ("margin call", lambda r: altered(r, at(r, "MarginCalled"), account=256)),
    "cleared without a call": ("margin call", lambda r: without(r, at(r, "MarginCalled"))),
    "penalty": ("liquidation", lambda r: altered(r, at(r, "Liquidated"), penalty=1)),
    "reward": ("liquidation", lambda r: altered(r, at(r, "Liquidated"), reward=1)),
    "phi": ("liquidation", lambda r: altered(r, at(r, "Liquidated", 1), phi=6_000)),
    "margin before": ("liquidation", lambda r: altered(r, at(r, "Liquidated"), before=(0, 0, 0, -1, -1))),
    "margin after": ("liquidation", lambda r: altered(r, at(r, "Liquidated"), after=(0, 0, 0, 0, 0))),
    "taker's margin": ("liquidation", lambda r: altered(r, at(r, "Liquidated"), taker_after=(0, 0, 0, 0, 0))),
    "liquidated twice": ("ledger", lambda r: replace(r, events=(*r.events, r.events[at(r, "Liquidated")]))),
    "takes out of order": (
        "liquidation",
        lambda r: altered(r, at(r, "Liquidated", 2), takes=r.events[at(r, "Liquidated", 2)].args["takes"][::-1]),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_verify__fault_in_the_record__is_named(record, monkeypatch, fault):
    kind, plant = FAULTS[fault]
    if kind != "signature":  # whose own tests are elsewhere; halving a batch of wrong ones takes its time
        monkeypatch.setattr("offchain.audit.verify.find_wrong", lambda batch: {})
    found = verify(plant(record))
    assert kind in kinds(found), found.mismatches


def test_verify__price_of_a_take__is_checked(record):
    place = at(record, "Liquidated")
    (instrument, lots, price), *rest = record.events[place].args["takes"]
    found = verify(altered(record, place, takes=[(instrument, lots, price + 1), *rest]))
    assert [m.kind for m in found.mismatches] == ["liquidation"]
    assert found.liquidations_verified == 2
    assert found.mismatches[0].expected == str(price)


def test_verify__tokens_sent_without_a_deposit__are_nobody_s(record):
    assert verify(replace(record, token_balance=record.token_balance + 1)).ok


def parts(record: Record, ends: Callable[[Event], bool]) -> list[tuple[Event, ...]]:
    """The events in parts, each to the end of the block of an event that ends one."""
    blocks = sorted({event.block_number for event in record.events if ends(event)})
    cuts = [sum(event.block_number <= block for event in record.events) for block in blocks]
    return [record.events[a:b] for a, b in zip([0, *cuts], [*cuts, len(record.events)], strict=True)]


@pytest.mark.parametrize("name", ["EpochPosted", "Filled"])
def test_audit__in_parts__is_that_of_the_whole(record, name):
    audit = Audit(record)
    for part in parts(record, lambda event: event.name == name):
        audit.take(part)
    assert audit.finish(record) == verify(record)


def test_audit__snapshot_before_the_part_before__is_none(small):
    """Books that have moved on are not those of an older block: an epoch that rests on it is not verified."""
    place = at(small, "EpochPosted", -1)
    fields = list(small.events[place].args["header"])
    fields[2] = small.events[at(small, "Filled")].block_number
    other = altered(small, place, header=tuple(fields))
    whole, late = Ground(Findings()), Ground(Findings())
    whole.take(other.events)
    assert fields[2] in whole.snapshots
    late.take(other.events[:place])
    late.take(other.events[place:])
    assert fields[2] not in late.snapshots


ROWS: dict[str, Callable[[dict[str, Any]], None]] = {
    "account omitted": lambda b: b["accounts"].pop(),
    "account repeated": lambda b: b["accounts"].append(b["accounts"][-1]),
    "accounts reordered": lambda b: b["accounts"].reverse(),
    "account invented": lambda b: b["accounts"].append([word(999 << 192), *b["accounts"][-1][1:]]),
    "vector cut": lambda b: b["accounts"][0][3].pop(),
    "instrument omitted": lambda b: b["instruments"].pop(),
    "instruments reordered": lambda b: b["instruments"].reverse(),
    "instrument invented": lambda b: b["instruments"].append(
        [word(int(b["instruments"][-1][0], 16) + (1 << 160)), *b["instruments"][-1][1:]]
    ),
    "settlement invented": lambda b: b["settlements"].append(word(1)),
    "observation omitted": lambda b: b["observations"].pop(),
    "observation repeated": lambda b: b["observations"].append(b["observations"][-1]),
    "key invented": lambda b: b.update(more=1),
    "key omitted": lambda b: b.pop("observations"),
    "marks dropped": lambda b: b["marks"].pop(),
}


@pytest.mark.parametrize("fault", ROWS)
def test_verify__rows_changed_by_a_colluding_committee__are_found(small, fault):
    place, bundle = latest_bundle(small)
    ROWS[fault](bundle)
    found = verify(rebuild(small, place, bundle, cosign))
    assert found.mismatches
    assert found.epochs_verified == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_verify__garbage_in_an_event__never_raises(small, data):
    place = data.draw(st.integers(0, len(small.events) - 1))
    event: Event = small.events[place]
    name = data.draw(st.sampled_from(sorted(event.args)))
    garbage = st.sampled_from([0, -1, 2**256, b"", b"\x00" * 128, "0x", [], (), None, (0,) * 11])
    with (
        mock.patch("offchain.audit.signatures._scale", return_value=[]),
        mock.patch("offchain.audit.signatures._holds", return_value=True),
    ):
        found = verify(altered(small, place, **{name: data.draw(garbage)}))
    assert isinstance(found, Verification)


def test_read_bundles__names_and_strangers(tmp_path):
    (tmp_path / f"{'ab' * 32}.json").write_bytes(b"changed")
    (tmp_path / "notes.txt").write_bytes(b"other")
    (tmp_path / "folder").mkdir()
    found = read_bundles(tmp_path)
    assert found[b"\xab" * 32] == b"changed"
    assert sorted(found.values()) == [b"changed", b"other"]
