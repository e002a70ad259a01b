"""From the nodes of a scenario's file to a `Scenario`: every key known, every value in its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from offchain.config import BallastError, Cadence
from offchain.simulation.blockspace import GWEI, BlockRules, Demand
from offchain.simulation.checks import OPERATORS, CheckSpec
from offchain.simulation.faults import Known, read_fault
from offchain.simulation.guards import GUARDS
from offchain.simulation.measures import MEASURES
from offchain.simulation.price_file import Files, read_correlation, read_prices, same_days
from offchain.simulation.reading import Item, Section
from offchain.simulation.scenario import (
    POLICY_KEYS,
    ROLES,
    AttackSpec,
    GroupSpec,
    History,
    KeeperSpec,
    Move,
    Scenario,
    UnderlyingSpec,
)
from offchain.units import YEAR

MOVES: Mapping[str, tuple[str, ...]] = {
    "trade": ("account", "underlying", "units", "share", "with"),
    "deposit": ("account", "amount"),
    "withdraw": ("account", "share"),
    "push": ("underlying", "move"),
}
"""What an attacker can do, and with which values.

trade : buy `units` of the perpetual for `account` (a or b), at most the `share` of the position limit; `with` is the
other of
    its accounts, or `makers`. withdraw : the `share` of what is free. push : trade in the outside market until the
    price has moved by `move`, at its own expense.
"""


def read(root: Item, name: str, folder: Path | None, horizon: int = 0) -> Scenario:
    """A scenario from the root of its file. Raises ScenarioError, naming file and line.

    `horizon` is the duration that faults and moves were written for: a shorter run leaves out what comes after its end.
    """
    top = root.section(
        "name", "title", "purpose", "history", "start", "duration", "cadence", "committee", "chain", "insurance",
        "underlyings", "correlation", "groups",
        "accounts", "keepers", "attackers", "faults", "leave", "policy", "guard", "checks",
        "short",
    )  # fmt: skip
    duration = top.seconds("duration", least=60, most=90 * 86_400)
    cadence = _cadence(top)
    if duration % cadence.slot:
        top.get("duration").fail(f"{duration} s are not a whole number of slots of {cadence.slot} s")
    if "short" in top:
        top.get("short").entries()
    committee = top.get("committee").section("members", "minimum") if "committee" in top else None
    members = committee.whole("members", 4, 1, 64) if committee else 4
    start = top.get("start").moment()
    if start % cadence.slot:
        top.get("start").fail(f"{start} is no multiple of the slot of {cadence.slot} s")
    if start < YEAR:
        top.get("start").fail("choose a time from 1971 on: a chain begins before it, and never before 1970")
    files = Files(start, duration, folder)
    underlyings = _underlyings(top.get("underlyings"), files)
    same_days(top.get("underlyings"), {u.name: u.prices for u in underlyings}, files)
    horizon = max(horizon, duration)
    numbers = {u.name: u.number for u in underlyings}
    groups = _groups(top, numbers, [u.name for u in underlyings if u.token])
    keepers = tuple(_keeper(each) for each in top.get("keepers").items()) if "keepers" in top else ()
    _unique(top, "keepers", [k.name for k in keepers])
    known = Known(
        horizon, members, numbers, {u.name: u.venues for u in underlyings}, [k.name for k in keepers], POLICY_KEYS
    )
    rules, base_fee, demand, native, poster_fee = _chain(top)
    scenario = Scenario(
        name=top.text("name"),
        title=top.text("title"),
        purpose=top.text("purpose"),
        history=_history(top),
        start=start,
        duration=duration,
        cadence=cadence,
        members=members,
        minimum=committee.whole("minimum", 3, 1, 64) if committee else 3,
        rules=rules,
        base_fee=base_fee,
        demand=demand,
        native=native,
        poster_fee=poster_fee,
        insurance=top.number("insurance", 100_000.0, 0.0, 1e12),
        underlyings=underlyings,
        correlation=read_correlation(top, {u.name: u.prices for u in underlyings}, numbers),
        groups=groups,
        keepers=keepers,
        attackers=tuple(_attacker(e, horizon, numbers) for e in top.get("attackers").items())
        if "attackers" in top
        else (),
        faults=tuple(read_fault(each, known) for each in top.get("faults").items()) if "faults" in top else (),
        policy_values=_policy(top),
        leave=top.seconds("leave", 0, 0, horizon),
        guard=top.choice("guard", tuple(GUARDS)),
        checks=tuple(_check(each, numbers) for each in top.get("checks").items(1)),
        file=name,
    )
    _unique(top, "checks", [c.name for c in scenario.checks])
    scenario.policy()
    return scenario


def _unique(top: Section, key: str, names: list[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        top.get(key).fail(f"the name {twice[0]!r} stands twice")


def _cadence(top: Section) -> Cadence:
    item = top.get("cadence")
    s = item.section("slot", "max_age", "min_interval", "timelock", "fallback_delay", "exit_delay", "auction")
    slot = s.seconds("slot", least=1)
    try:
        return Cadence(
            slot=slot,
            max_age=s.seconds("max_age", 6 * slot),
            min_interval=s.seconds("min_interval", slot // 2),
            timelock=s.seconds("timelock", 86_400, 1),
            fallback_delay=s.seconds("fallback_delay", 900),
            exit_delay=s.seconds("exit_delay", 7 * 86_400),
            auction=s.seconds("auction", 3_600, 1),
        )
    except BallastError as error:
        item.fail(str(error))


def _history(top: Section) -> History:
    s = top.get("history").section("figures", "failure", "must_hold", "source")
    return History(s.text("figures"), s.text("failure"), s.text("must_hold"), s.text("source"))


def _chain(top: Section) -> tuple[BlockRules, int, Demand, float, float]:
    if "chain" not in top:
        return BlockRules(), 20 * GWEI, Demand(), 2_000.0, 5_000.0
    item = top.get("chain")
    s = item.section(
        "block_time", "gas_limit", "latency", "base_fee", "demand_gas", "demand_price", "spread", "native", "poster_fee"
    )
    times = s.seconds("block_time", 12, 1), s.seconds("latency", 1)
    gas = s.whole("gas_limit", 30_000_000, 1_000_000), s.whole("demand_gas", 20_000_000, 0)
    price, spread = s.number("demand_price", 30.0, 1e-9, 1e9), s.number("spread", 0.8, 1e-3, 10.0)
    try:
        rules = BlockRules(times[0], gas[0], 7, 1_250, times[1])
        demand = Demand(gas[1], max(round(price * GWEI), 1), spread)
    except BallastError as error:
        item.fail(str(error))
    fee = s.number("base_fee", None, 1e-9, 1e9)
    base = demand.resting_fee(rules.gas_limit) if fee is None else round(fee * GWEI)
    return (
        rules,
        max(base, 1),
        demand,
        s.number("native", 2_000.0, 0.0, 1e9),
        s.number("poster_fee", 5_000.0, 1e-9, 1e9),
    )


def _underlyings(item: Item, files: Files) -> tuple[UnderlyingSpec, ...]:
    out = [_underlying(name, each, files) for name, each in item.entries(1).items()]
    numbers = [u.number for u in out]
    if len(set(numbers)) != len(numbers):
        item.fail(f"numbers {numbers} are not all different")
    return tuple(sorted(out, key=lambda u: u.number))


def _underlying(name: str, item: Item, files: Files) -> UnderlyingSpec:
    s = item.section(
        "number", "price", "lots_per_unit", "depth", "volume", "volatility", "scan_range", "bounds", "open_interest",
        "haircut", "token", "venues", "dispersion", "feed", "futures", "options", "prices",
    )  # fmt: skip
    depth = s.number("depth", least=1e-9, most=1e15)
    low, high = s.pair("bounds", (0.08, 0.4), 1e-6, 0.999)
    scan = s.number("scan_range", 0.16, 1e-6, 0.999)
    if not low <= scan <= high:
        (s.get("scan_range") if "scan_range" in s else item).fail(
            f"scan range {scan} is not within its bounds {low} and {high}"
        )
    venues = s.texts("venues", ("a", "b", "c", "d", "e"))
    if len(set(venues)) != len(venues) or not venues:
        s.get("venues").fail("venues are one or more different names")
    feed = s.get("feed").section("least", "most") if "feed" in s and s.get("feed").is_mapping else None
    options = s.get("options").section("days", "strikes") if "options" in s else None
    return UnderlyingSpec(
        name=name,
        number=s.whole("number", least=1, most=65_535),
        price=s.number("price", least=1e-5, most=1e8),
        lots_per_unit=s.whole("lots_per_unit", least=1, most=2**32 - 1),
        depth=depth,
        volume=s.number("volume", 20.0 * depth, 1e-9, 1e18),
        volatility=s.number("volatility", 0.8, 0.06, 9.0),
        scan_range=scan,
        r_min=low,
        r_max=high,
        open_interest=s.number("open_interest", 5.0, 0.01, 655.0),
        haircut=s.number("haircut", 0.1, 0.0, 1.0),
        token=s.flag("token") if "token" in s else False,
        venues=venues,
        dispersion=s.number("dispersion", 1e-4, 0.0, 0.1),
        feed=feed is not None or ("feed" in s and not s.get("feed").is_mapping and s.flag("feed")),
        feed_min=feed.number("least", 0.0, 0.0, 1e8) if feed else 0.0,
        feed_max=feed.number("most", 1e9, 0.0, 1e9) if feed else 1e9,
        futures=tuple(e.number(0.1, 1_000) for e in s.get("futures").items()) if "futures" in s else (),
        option_days=tuple(e.number(0.1, 1_000) for e in options.get("days").items(1)) if options else (),
        strikes=tuple(e.number(0.01, 100) for e in options.get("strikes").items(1)) if options else (),
        prices=read_prices(s, files),
    )


def _groups(top: Section, numbers: Mapping[str, int], tokens: Sequence[str]) -> tuple[GroupSpec, ...]:
    item = top.get("groups")
    out = [_group(each, numbers, tokens) for each in item.items(1)]
    made = {group.underlying for group in out if group.role == "maker"}
    for group, each in zip(out, item.items(1), strict=True):
        if group.underlying not in made:
            name = next(name for name, number in numbers.items() if number == group.underlying)
            each.fail(f"nobody makes a market in {name}: add a group with role maker and underlying {name}")
    if "accounts" in top:
        wanted = top.whole("accounts", least=2, most=1_000_000)
        total = sum(g.count for g in out)
        out = [_counted(g, max(round(g.count * wanted / total), 1)) for g in out]
    return tuple(out)


def _counted(group: GroupSpec, count: int) -> GroupSpec:
    return replace(group, count=count)


def _group(item: Item, numbers: Mapping[str, int], tokens: Sequence[str]) -> GroupSpec:
    s = item.section(
        "role",
        "name",
        "count",
        "underlying",
        "equity",
        "spread",
        "usage",
        "side",
        "cures",
        "patience",
        "wallet",
        "trades",
        "pledge",
    )
    role = s.choice("role", ROLES)
    pledge = s.get("pledge").section("token", "share") if "pledge" in s else None
    return GroupSpec(
        role=role,
        name=s.text("name", role),
        count=s.whole("count", least=1, most=1_000_000),
        underlying=numbers[s.choice("underlying", tuple(numbers))],
        equity=s.number("equity", least=1.0, most=1e12),
        spread=s.number("spread", 0.0, 0.0, 4.0),
        usage=s.pair("usage", (0.5, 0.9), 0.0, 1.0),
        side={"long": 1, "short": -1, "both": 0}[s.choice("side", ("long", "short", "both"), "both")],
        cures=s.number("cures", 0.0, 0.0, 1.0),
        patience=s.seconds("patience", 0),
        wallet=s.number("wallet", 1.0, 0.0, 1e6),
        trades=s.number("trades", 0.0, 0.0, 1.0),
        pledge=numbers[pledge.choice("token", tuple(tokens))] if pledge else 0,
        pledged=pledge.number("share", least=0.0, most=0.95) if pledge else 0.0,
    )


def _keeper(item: Item) -> KeeperSpec:
    s = item.section(
        "name",
        "capital",
        "latency",
        "min_profit",
        "max_fee",
        "tip",
        "replaces",
        "bad_debt",
        "legs",
        "takeovers",
        "discount",
        "hedges",
    )
    return KeeperSpec(
        name=s.text("name"),
        capital=s.number("capital", least=1.0, most=1e12),
        latency=s.seconds("latency", 2),
        min_profit=s.number("min_profit", 0.0, 0.0, 1e9),
        max_fee=s.number("max_fee", 500.0, 1e-9, 1e9),
        tip=s.number("tip", 2.0, 0.0, 1e9),
        replaces=s.flag("replaces", True),
        bad_debt=s.flag("bad_debt", False),
        legs=s.flag("legs", True),
        takeovers=s.flag("takeovers", True),
        discount=s.number("discount", 0.02, 0.0, 1.0),
        hedges=s.flag("hedges", True),
    )


def _attacker(item: Item, duration: int, numbers: Mapping[str, int]) -> AttackSpec:
    s = item.section("name", "capital", "second", "moves")
    moves: list[Move] = []
    for each in s.get("moves").items(1):
        action = each.entries().get("do")
        if action is None:
            each.fail("key 'do' is missing")
        keys = MOVES[action.choice(tuple(MOVES))]
        m = each.section("at", "do", *keys)
        time = m.seconds("at", most=duration)
        if moves and time < moves[-1].time:
            m.get("at").fail(f"moves are not in order of time: {time} s after {moves[-1].time} s")
        values: list[tuple[str, Any]] = [(key, _move_value(key, m.get(key), numbers)) for key in keys if key in m]
        moves.append(Move(time, action.text(), tuple(values)))
    return AttackSpec(
        s.text("name"), s.number("capital", least=1.0, most=1e12), s.number("second", 0.0, 0.0, 1e12), tuple(moves)
    )


def _move_value(key: str, item: Item, numbers: Mapping[str, int]) -> Any:
    if key == "account":
        return item.choice(("a", "b"))
    if key == "with":
        return item.choice(("a", "b", "makers"))
    if key == "underlying":
        return numbers[item.choice(tuple(numbers))]
    if key == "share":
        return item.number(0.0, 1.0)
    if key == "amount":
        return item.number(0.0, 1e12)
    return item.number(-1e12, 1e12)


def _policy(top: Section) -> tuple[tuple[str, float], ...]:
    if "policy" not in top:
        return ()
    s = top.get("policy").section(*POLICY_KEYS)
    return tuple((key, float(s.number(key))) for key in s.entries)


def _check(item: Item, numbers: Mapping[str, int]) -> CheckSpec:
    s = item.section("name", "measure", "op", "limit", "underlying", "after", "until", "text")
    return CheckSpec(
        name=s.text("name"),
        measure=s.choice("measure", tuple(MEASURES)),
        op=s.choice("op", tuple(OPERATORS)),
        limit=s.number("limit"),
        underlying=numbers[s.choice("underlying", tuple(numbers))] if "underlying" in s else 0,
        after=s.seconds("after", 0),
        until=s.seconds("until", 2**62),
        text=s.text("text", ""),
    )
