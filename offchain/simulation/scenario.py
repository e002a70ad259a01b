"""Scenarios: what a run consists of, and how one is read from a file.

One file is one incident. Every key is checked, and a mistake is refused with file and line (`reading`). Times are
seconds from the start of the run unless they say otherwise; `90s`, `5m`, `2h`, `1d` are durations. Ratios are
fractions or `%`. `docs/incidents.md` documents the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from offchain.config import BallastError, Cadence
from offchain.risk.policy import MarginParams, Policy, Shocks, UnderlyingParams, default_policy
from offchain.simulation.blockspace import BlockRules, Demand
from offchain.simulation.checks import CheckSpec
from offchain.simulation.faults import Fault
from offchain.simulation.reading import Item, ScenarioError, compose, put
from offchain.units import MICRO

__all__ = ["Scenario", "ScenarioError", "incidents", "load", "parse"]

INCIDENTS = resources.files("offchain.simulation") / "incidents"

_MARGIN = {
    "kappa": 10_000, "im_factor": 10_000, "reserve": MICRO, "phi_min": 10_000, "phi_max": 10_000, "phi_ramp": 1,
    "liquidator_share": 10_000, "dust": MICRO, "trade_fee": 10_000, "price_band": 10_000, "gas_multiple": 100,
}  # fmt: skip
_SHOCKS = {each.name: 1 if each.name == "refill" else MICRO for each in fields(Shocks)}
POLICY_KEYS = (*_MARGIN, *_SHOCKS)
"""Keys of `policy`: amounts in USD, times in seconds, everything else as a fraction."""

ROLES = ("retail", "hedger", "maker", "basis", "volatility")


@dataclass(frozen=True)
class PriceSpec:
    """Where an underlying's true price comes from.

    Attributes
    ----------
    kind : path, candles, bootstrap or diffusion.
    points : of a path, (seconds, USD). between : log, linear or hold. noise : volatility a year around a path.
    file : of candles.
    law : of a diffusion: volatility, drift, jumps, jump_mean, jump_spread.
    """

    kind: str
    points: tuple[tuple[int, float], ...] = ()
    between: str = "log"
    noise: float = 0.0
    file: Path | None = None
    law: tuple[tuple[str, float], ...] = ()

    @property
    def diffuses(self) -> bool:
        """Whether it has Gaussian chance: noise around a path, or a diffusion that is not of jumps alone."""
        return self.noise > 0 or dict(self.law).get("volatility", 0.0) > 0


@dataclass(frozen=True)
class UnderlyingSpec:
    """An underlying.

    Attributes
    ----------
    name, number : of it. price : USD at the start. lots_per_unit : lots a unit.
    depth : units that the policy counts on. volume : units traded a day, which the market's impact depends on.
    volatility : a year, of the modelled surface and of the history before the run.
    scan_range, r_min, r_max : fractions. open_interest : limit, multiple of depth.
    token : whether its token is taken as collateral; haircut : of it.
    venues : names. dispersion : of a venue's quotes about the price, fraction.
    feed : whether there is an independent feed; feed_min, feed_max : its clamps, USD.
    futures, options : days to expiry of futures; days and strikes (share of price) of options.
    prices : its path.
    """

    name: str
    number: int
    price: float
    lots_per_unit: int
    depth: float
    volume: float
    volatility: float
    scan_range: float
    r_min: float
    r_max: float
    open_interest: float
    haircut: float
    token: bool
    venues: tuple[str, ...]
    dispersion: float
    feed: bool
    feed_min: float
    feed_max: float
    futures: tuple[float, ...]
    option_days: tuple[float, ...]
    strikes: tuple[float, ...]
    prices: PriceSpec


@dataclass(frozen=True)
class GroupSpec:
    """Accounts of one kind: see `agents`.

    Attributes
    ----------
    role : one of `ROLES`. count : how many. underlying : number. equity : USD, median; spread : of its logarithm.
    usage : share of equity that is initial margin at first, least and most. side : 1, -1, or 0 for both in turn.
    cures : share of owners who pay in after a margin call; patience : how long after, seconds; wallet : share of their
    deposit that they have left to pay in.
    trades : share of owners who trade at a step.
    pledge : underlying whose tokens are collateral, 0 none; pledged : share of equity that is brought in them.
    """

    role: str
    name: str
    count: int
    underlying: int
    equity: float
    spread: float
    usage: tuple[float, float]
    side: int
    cures: float
    patience: int
    wallet: float
    trades: float
    pledge: int
    pledged: float


@dataclass(frozen=True)
class KeeperSpec:
    """A keeper.

    Attributes
    ----------
    name : of it. capital : USD. latency : seconds from an epoch to its transactions. min_profit : USD after fees.
    max_fee : gwei a gas that it pays at most; tip : gwei that it offers at first. replaces : whether it raises fees
    of what is stuck. bad_debt : whether it takes legs of accounts worth nothing. takeovers : whether it bids in
    auctions; discount : share of value that it wants. hedges : whether it sells what it takes.
    """

    name: str
    capital: float
    latency: int
    min_profit: float
    max_fee: float
    tip: float
    replaces: bool
    bad_debt: bool
    legs: bool
    takeovers: bool
    discount: float
    hedges: bool


@dataclass(frozen=True)
class Move:
    """What an attacker does at a time: see `agents.MOVES`."""

    time: int
    action: str
    values: tuple[tuple[str, Any], ...]

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the move."""
        return dict(self.values).get(key, default)


@dataclass(frozen=True)
class AttackSpec:
    """An attacker: accounts `a` and `b`, what it pays into each (USD), and its moves in order of time."""

    name: str
    capital: float
    second: float
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class History:
    """What happened: figures, what failed, what must hold, and where that is from."""

    figures: str
    failure: str
    must_hold: str
    source: str


@dataclass(frozen=True)
class Scenario:
    """A whole scenario; see the module and the parts' classes.

    Attributes
    ----------
    start : UTC, seconds since 1970. duration : seconds. cadence : of the deployment.
    members : of the committee; minimum : least sources of a member.
    rules, base_fee, demand : of the chain's blocks. native : USD of one unit of the chain's coin, in which fees are
    paid.
    poster_fee : gwei a gas that posters of epochs pay at most. insurance : USD in the fund at first.
    correlation : of the Gaussian moves of two underlyings, by their numbers, each pair once; others have none.
    leave : time at which every owner takes out what it can, seconds; 0 never.
    guard : whose absence must make a check fail.
    source, settings, short : what `load` was asked for, with which values in the place of the file's.
    """

    name: str
    title: str
    purpose: str
    history: History
    start: int
    duration: int
    cadence: Cadence
    members: int
    minimum: int
    rules: BlockRules
    base_fee: int
    demand: Demand
    native: float
    poster_fee: float
    insurance: float
    underlyings: tuple[UnderlyingSpec, ...]
    correlation: tuple[tuple[int, int, float], ...]
    groups: tuple[GroupSpec, ...]
    keepers: tuple[KeeperSpec, ...]
    attackers: tuple[AttackSpec, ...]
    faults: tuple[Fault, ...]
    policy_values: tuple[tuple[str, float], ...]
    leave: int
    guard: str
    checks: tuple[CheckSpec, ...]
    file: str = ""
    source: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    short: bool = False

    @property
    def steps(self) -> int:
        """Slots after the first epoch."""
        return self.duration // self.cadence.slot

    @property
    def accounts(self) -> int:
        """How many accounts the groups have."""
        return sum(group.count for group in self.groups)

    def underlying(self, number: int) -> UnderlyingSpec:
        """An underlying by its number."""
        return next(u for u in self.underlyings if u.number == number)

    @cached_property
    def names(self) -> dict[int, str]:
        """Names of the underlyings by number."""
        return {u.number: u.name for u in self.underlyings}

    def policy(
        self, values: Mapping[str, float] | None = None, underlying: Mapping[str, float] | None = None
    ) -> Policy:
        """The policy of the scenario, with some values in the place of its own.

        Raises
        ------
        BallastError
            A value is out of what a policy can hold.
        """
        base = default_policy(self.cadence.slot)
        slots = max(self.cadence.slot // 30, 1)  # the bucket is meant for slots of 30 s
        bucket = min(base.shocks.bucket * slots, MICRO)
        base = replace(base, shocks=replace(base.shocks, bucket=bucket, refill=max(base.shocks.refill // slots, 1)))
        chosen = {**dict(self.policy_values), **(values or {})}
        margin = {k: round(v * _MARGIN[k]) for k, v in chosen.items() if k in _MARGIN}
        shocks = {k: min(round(v * _SHOCKS[k]), 2**32 - 1) for k, v in chosen.items() if k in _SHOCKS}
        try:
            return replace(
                base,
                margin=MarginParams(**{**_own(base.margin), **margin}),
                shocks=replace(base.shocks, **shocks),
                underlyings=tuple(_params(each, underlying or {}) for each in self.underlyings),
            )
        except ValueError as error:
            raise ScenarioError(f"{self.file or self.name}: policy: {error}") from None


def _own(part: Any) -> dict[str, int]:
    return {each.name: getattr(part, each.name) for each in fields(part)}


def _params(each: UnderlyingSpec, values: Mapping[str, float]) -> UnderlyingParams:
    open_interest = values.get("open_interest", each.open_interest)
    return UnderlyingParams(
        each.number, each.lots_per_unit, round(each.r_min * MICRO), round(each.r_max * MICRO), 100_000, 10_000,
        round(each.depth * each.lots_per_unit), min(round(open_interest * 100), 65_535), round(each.haircut * 10_000),
    )  # fmt: skip


# reading


def incidents() -> tuple[str, ...]:
    """Names of the packaged incidents, in the order of their files' names."""
    return tuple(sorted(each.name.removesuffix(".yaml") for each in INCIDENTS.iterdir() if each.name.endswith(".yaml")))


def load(name: str, overrides: Mapping[str, str] | None = None, short: bool = False) -> Scenario:
    """A packaged incident by name, or a file by path.

    Parameters
    ----------
    overrides : values by dotted path (``policy.im_factor``, ``groups.retail.count``); a bare name is a key of the
    policy if
        there is one, else of the scenario.
    short : also take the values of the file's own section `short`.

    Raises
    ------
    ScenarioError
        It is no scenario; file and line are named. BallastError: there is none of that name.
    """
    known = incidents()
    if name in known:
        source = INCIDENTS / f"{name}.yaml"
        return replace(parse(source.read_text(encoding="utf-8"), f"{name}.yaml", overrides, short), source=name)
    path = Path(name)
    if not path.is_file():
        raise BallastError(f"no incident and no file {name!r}: choose one of {', '.join(known)}, or name a file")
    return replace(parse(path.read_text(encoding="utf-8"), str(path), overrides, short, path.parent), source=name)


def parse(
    text: str,
    name: str = "scenario",
    overrides: Mapping[str, str] | None = None,
    short: bool = False,
    folder: Path | None = None,
) -> Scenario:
    """A scenario from its text. Parameters and errors as of `load`; `folder` is where candle files are looked for."""
    from offchain.simulation.scenario_file import read

    root = compose(text, name)
    written_for = root.entries().get("duration")
    horizon = written_for.seconds() if written_for else 0
    if short and "short" in root.entries():
        for path, value in root.entries()["short"].entries().items():
            put(root, path, value)
    for path, written in (overrides or {}).items():
        put(root, _full(path, root), compose(written, f"--set {path}={written}"))
    settings = tuple((overrides or {}).items())
    return replace(read(root, name, folder, horizon), settings=settings, short=short)


def _full(path: str, root: Item) -> str:
    if "." in path or path in root.entries():
        return path
    if path in POLICY_KEYS:
        if "policy" not in root.entries():
            put(root, "policy", compose("{}", f"--set {path}"))
        return f"policy.{path}"
    return path
