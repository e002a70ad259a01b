"""What the demo replays: its settings, and the candles behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from offchain.config import UNDERLYINGS, BallastError
from offchain.market.candles import Candles, load_candles, timestamp_of
from offchain.market.synthetic import START as SYNTHETIC_START
from offchain.market.synthetic import WARMUP_HOURS, synthetic_crash
from offchain.units import HOUR


@dataclass(frozen=True)
class Plan:
    """What to replay.

    Attributes
    ----------
    prices : candle file by underlying name; empty for the synthetic crash.
    start : first hour, ISO 8601. hours : epochs to replay after the opening one.
    accounts : owners. seed : of all chance. out : folder for report, bundles and database.
    tamper : a fault to plant before the verification, or empty.
    """

    prices: Mapping[str, Path] = field(default_factory=dict)
    start: str = "2020-03-11"
    hours: int = 72
    accounts: int = 60
    seed: int = 7
    out: Path = Path("out/demo")
    tamper: str = ""


def load_prices(plan: Plan) -> tuple[dict[int, Candles], int, str]:
    """Candles by underlying with their history, the start in seconds, and where they came from.

    Raises
    ------
    BallastError
        A file, the start or an underlying is not usable; the message says how to mend it.
    """
    if not 2 <= plan.accounts <= 2_000:
        raise BallastError(f"{plan.accounts} accounts: choose between 2 and 2000")
    if not 1 <= plan.hours <= 24 * 365:
        raise BallastError(f"{plan.hours} hours: choose between 1 and {24 * 365}")
    try:
        start = timestamp_of(plan.start)
    except ValueError as error:
        raise BallastError(f"start {plan.start!r} is no UTC date or time like 2020-03-11: {error}") from error
    if not plan.prices:
        made = synthetic_crash(plan.seed, max((start - SYNTHETIC_START) // HOUR + plan.hours, 48))
        return {n: c.window(start, plan.hours, WARMUP_HOURS) for n, c in made.items()}, start, (
            "a synthetic crash, anchored to the public figures of 12 March 2020 (not historical prices)"
        )  # fmt: skip
    wanted = {}
    for name in plan.prices:
        if name.upper() not in UNDERLYINGS:
            raise BallastError(f"unknown underlying {name!r}: choose one of {', '.join(UNDERLYINGS)}")
        wanted[UNDERLYINGS[name.upper()]] = plan.prices[name]
    missing = [name for name, number in UNDERLYINGS.items() if number not in wanted]
    if missing:
        raise BallastError(f"no prices of {', '.join(missing)}: add --prices {missing[0]}=FILE")
    candles = {n: load_candles(path).window(start, plan.hours, WARMUP_HOURS) for n, path in sorted(wanted.items())}
    for number, each in candles.items():
        if each.step != HOUR:
            raise BallastError(f"{wanted[number]}: candles of {each.step} s; the replay needs hourly ones")
    return candles, start, "candle files " + ", ".join(c.name for c in candles.values())


def shifted(candles: Mapping[int, Candles], seconds: int) -> dict[int, Candles]:
    """Candles moved in time, for a chain that cannot begin in the past."""
    return {n: replace(c, timestamps=c.timestamps + seconds) for n, c in candles.items()}


def command(plan: Plan) -> str:
    """The command that runs this plan; files are called FILE."""
    prices = "".join(f" --prices {name}=FILE" for name in plan.prices)
    fault = f" --tamper {plan.tamper}" if plan.tamper else ""
    return (
        f"ballast demo{prices} --start {plan.start} --hours {plan.hours} --accounts {plan.accounts} "
        f"--seed {plan.seed}{fault}"
    )
