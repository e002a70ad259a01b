"""THREATS 20: an instrument without quotes stands at its last mark and costs more to close by the hour; others live."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from audited import VOLATILITY, Audited
from council import CALL, FUTURE, LISTED, MEMBERS, PRICE, PUT, Council
from desk import BTC, BTC_PERP, ETH, ETH_PERP, option, reason

from offchain.audit.result import Verification
from offchain.audit.verify import verify
from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.oracle.bundles import BundleStore
from offchain.oracle.epochs import Epoch
from offchain.risk.arrays import build_leaves
from offchain.risk.closeout import UNQUOTED_COST, Missing, unquoted_close_out
from offchain.risk.policy import default_policy
from offchain.units import HOUR, MICRO, ceil_div

POLICY = default_policy()
STRIKE = 10_000
PERCENT = MICRO // 100


def posted(council: Council) -> Epoch:
    """The epoch of the next slot."""
    outcome = council.run()
    assert outcome.posted, outcome.reason
    assert outcome.epoch is not None
    return outcome.epoch


def leaf_of(epoch: Epoch, identifier: int) -> InstrumentLeaf:
    return next(leaf for leaf in epoch.leaves if leaf.id == identifier)


def hide(council: Council, *identifiers: int, members: int = MEMBERS) -> None:
    """Instruments that the first so many members see no quotes of."""
    for place, source in enumerate(council.sources):
        source.hidden = frozenset(identifiers if place < members else ())


# The committee


def test_threat_20__no_quotes__last_mark_moved_with_the_index__cost_grows__close_only(tmp_path: Path) -> None:
    council = Council.seat(tmp_path)
    first = posted(council)
    hide(council, CALL)
    for source in council.sources:
        source.factor = 97 * PERCENT
    was = leaf_of(first, CALL)
    for hour in range(1, 4):
        epoch = posted(council)
        now = leaf_of(epoch, CALL)
        assert (now.forward, now.iv, now.status) == (PRICE[BTC] * 97 // 100, was.iv, Status.CLOSE_ONLY)
        growth = ceil_div(now.forward * UNQUOTED_COST, MICRO * 1_000)  # an hour, 1,000 lots a unit
        assert now.c_short == was.c_short + growth
        assert now.c_long == min(was.c_long + growth, max(min(now.array), 0) + 1)
        others = [leaf for leaf in epoch.leaves if leaf.id != CALL]
        assert {leaf.status for leaf in others} == {Status.OPEN}
        assert [leaf.id for leaf in epoch.leaves] == LISTED
        was = now
        if hour == 1:  # the price stays from here on
            assert all(leaf.c_short < leaf_of(first, leaf.id).c_short for leaf in others if leaf.id >> 88 == BTC)
    hide(council)
    back = leaf_of(posted(council), CALL)
    assert back.status == Status.OPEN
    assert back.c_short < was.c_short


def test_threat_20__a_minority_has_no_quotes__the_medians_of_the_others_stand(tmp_path: Path) -> None:
    council = Council.seat(tmp_path)
    posted(council)
    hide(council, CALL, FUTURE, members=1)
    assert {leaf.status for leaf in posted(council).leaves} == {Status.OPEN}
    hide(council, CALL, FUTURE, members=2)
    epoch = posted(council)
    assert {leaf.id for leaf in epoch.leaves if leaf.status == Status.CLOSE_ONLY} == {CALL, FUTURE}


def test_threat_20__never_quoted__has_no_leaf_until_it_is(tmp_path: Path) -> None:
    council = Council.seat(tmp_path)
    hide(council, PUT)
    for _ in range(2):
        assert [leaf.id for leaf in posted(council).leaves] == [key for key in LISTED if key != PUT]
    hide(council)
    assert leaf_of(posted(council), PUT).status == Status.OPEN


def test_threat_20__the_bundle_before_is_lost__no_epoch_rather_than_a_guess(tmp_path: Path) -> None:
    council = Council.seat(tmp_path)
    first = posted(council)
    path = BundleStore(tmp_path / "bundles").path(first.header.bundle_hash)
    data = path.read_bytes()
    path.unlink()
    hide(council, CALL)
    outcome = council.run()
    assert not outcome.posted
    assert "no bundle" in outcome.reason
    path.write_bytes(data)
    epoch = posted(council)
    assert leaf_of(epoch, CALL).status == Status.CLOSE_ONLY
    assert leaf_of(epoch, CALL).c_short == leaf_of(first, CALL).c_short + ceil_div(
        leaf_of(epoch, CALL).forward * UNQUOTED_COST * 2, MICRO * 1_000
    )  # two hours


def test_threat_20__a_leader_who_forgets_the_growth__gets_no_signature(tmp_path: Path) -> None:
    council = Council.seat(tmp_path)
    posted(council)
    hide(council, CALL)
    council.tick()
    with mock.patch("offchain.oracle.node.carried", lambda market, *_: market):
        outcome = council.run()
    assert not outcome.posted
    assert "no quorum" in outcome.reason
    assert posted(council).header.epoch > outcome.slot


# The rule


@pytest.mark.parametrize("kind", [Kind.PERPETUAL, Kind.FUTURE, Kind.CALL, Kind.PUT])
@pytest.mark.parametrize("hours", [0, 1, 7, 24 * 30])
def test_unquoted_close_out__grows_to_the_scan_range__and_a_paid_option_stays_safe(kind: Kind, hours: int) -> None:
    now, price = 1_700_000_000, 10_000 * MICRO
    dated, struck = kind is not Kind.PERPETUAL, kind in (Kind.CALL, Kind.PUT)
    instrument = Instrument(BTC, kind, now + 30 * 86_400 if dated else 0, STRIKE * MICRO if struck else 0)
    args = ([instrument], [price], [VOLATILITY if struck else 0], {BTC: price}, {BTC: 0}, {BTC: 160_000}, now, POLICY)
    [fresh] = build_leaves(*args)
    missing = Missing(fresh.c_long, fresh.c_short, hours * HOUR)
    [stale] = build_leaves(*args, missing={instrument.id: missing})
    assert (stale.array, stale.forward, stale.status) == (fresh.array, fresh.forward, Status.CLOSE_ONLY)
    most = 10 * MICRO * 16 // 100  # scan range of a lot
    expected = max(fresh.c_short, min(fresh.c_short + hours * 10 * PERCENT, most))
    assert stale.c_short == expected
    grown = max(fresh.c_long, min(fresh.c_long + hours * 10 * PERCENT, most))
    assert stale.c_long == (min(grown, max(min(fresh.array), 0) + 1) if struck else grown)
    assert (stale.c_long, stale.c_short) == unquoted_close_out(
        instrument, price, fresh.array, (fresh.c_long, fresh.c_short), missing, 160_000, POLICY
    )


def test_unquoted_close_out__beyond_32_bits__refused() -> None:
    perpetual = Instrument(BTC, Kind.PERPETUAL)
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        unquoted_close_out(perpetual, 2**47, [1], (1, 1), Missing(2**32, 2**32, HOUR), 160_000, POLICY)


# Contracts and audit


def checked(desk: Audited) -> Verification:
    """The verification without the signatures, which take longest."""
    with mock.patch("offchain.audit.verify.find_wrong", return_value={}):
        return verify(desk.record())


def test_threat_20__the_rest_of_the_account_lives__and_the_auditor_follows() -> None:
    call = option(BTC, STRIKE)
    desk = Audited.open([BTC_PERP, ETH_PERP, call])
    owner, other, keeper = desk.keys[1], desk.keys[2], desk.keys[4]
    account, rich, taker = desk.fund(owner, 3_000), desk.fund(other, 10**6), desk.fund(keeper, 10**6)
    desk.trade(rich, account, call, 300)
    desk.trade(account, rich, ETH_PERP, 100)
    desk.post()
    desk.hidden = frozenset({call})
    desk.post()
    before = desk.margin(account)
    # Nobody opens it, whoever wants can close it, and everything else goes on.
    assert reason(desk.trade, rich, account, call, 1) == "house: close-only"
    desk.trade(account, rich, call, 20)
    desk.trade(account, rich, ETH_PERP, 30)
    desk.post()
    desk.withdraw(account, desk.margin(account)[4], owner)
    # The account that is short of it has to bring more every hour, until its legs can be taken, this one among them.
    hours = 0
    while desk.margin(account)[3] >= 0:
        desk.post()
        hours += 1
        assert hours < 48
    assert desk.margin(account)[2] > before[2]
    held, excess = desk.book.positions(account)[call], desk.margin(account)[3]
    desk.take(account, taker, keeper)
    assert held < desk.book.positions(account)[call] <= 0
    assert desk.margin(account)[3] > excess
    desk.hidden = frozenset()
    desk.post()
    desk.trade(rich, account, call, 1)
    found = checked(desk)
    assert found.mismatches == ()
    assert found.epochs_verified > 4


def test_threat_20__an_epoch_that_forgets_the_growth__is_found() -> None:
    call = option(BTC, STRIKE)
    desk = Audited.open([BTC_PERP, call])
    desk.post()
    desk.hidden = frozenset({call})
    assert desk.before is not None
    leaf = desk.before.leaves[call]
    desk.before = replace(desk.before, leaves=desk.before.leaves | {call: replace(leaf, c_short=1)})
    desk.post()
    assert {m.kind for m in checked(desk).mismatches} >= {"instrument leaf", "root"}
    desk = Audited.open([BTC_PERP, call])
    desk.post()
    desk.hidden = frozenset({call})
    assert desk.before is not None
    desk.before = replace(desk.before, index={BTC: desk.marks[BTC].index * 2, ETH: 1})
    desk.post()
    assert "median" in {m.kind for m in checked(desk).mismatches}
