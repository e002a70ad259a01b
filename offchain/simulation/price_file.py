"""Where prices come from, read from a scenario's file: each underlying's own path, and what moves together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from offchain.config import BallastError
from offchain.market.candles import load_candles
from offchain.simulation.prices import Diffusion, bootstrapped, correlation_root, from_candles, matrix_of
from offchain.simulation.reading import Item, Section
from offchain.simulation.scenario import PriceSpec


@dataclass(frozen=True)
class Files:
    """Where candle files are looked for, and what they must cover."""

    start: int
    duration: int
    folder: Path | None


def read_prices(s: Section, files: Files) -> PriceSpec:
    if "prices" not in s:
        return PriceSpec("path", ((0, s.number("price")),))
    item = s.get("prices")
    p = item.section("path", "factors", "between", "noise", "candles", "bootstrap", "diffusion")
    kinds = [key for key in ("path", "factors", "candles", "bootstrap", "diffusion") if key in p]
    if len(kinds) != 1:
        item.fail("one of path, factors, candles, bootstrap and diffusion belongs here")
    kind = kinds[0]
    if kind in ("candles", "bootstrap"):
        return PriceSpec(kind, file=_file(p.get(kind), files, kind == "candles"))
    if kind == "diffusion":
        keys = ("volatility", "drift", "jumps", "jump_mean", "jump_spread")
        law = p.get(kind).section(*keys)
        found = {key: law.number(key, 0.0) for key in keys}
        try:
            Diffusion(s.number("price"), **found)
        except BallastError as error:
            p.get(kind).fail(str(error))
        return PriceSpec(kind, law=tuple(found.items()))
    scale = s.number("price") if kind == "factors" else 1.0
    points: list[tuple[int, float]] = []
    for each in p.get(kind).items(1):
        both = each.items()
        if len(both) != 2:
            each.fail("a point is a time and a value")
        time, value = both[0].seconds(), both[1].number(1e-12, 1e8) * scale
        if points and time <= points[-1][0]:
            both[0].fail(f"times do not ascend: {time} s after {points[-1][0]} s")
        points.append((time, value))
    return PriceSpec(
        "path", tuple(points), p.choice("between", ("log", "linear", "hold"), "log"), p.number("noise", 0.0, 0.0, 10.0)
    )


def _file(item: Item, files: Files, whole: bool) -> Path:
    """A candle file, looked for as it is written, beside the scenario, and in `BALLAST_DATA`; read once to be
    checked."""
    written = Path(item.text())
    roots = [
        Path(),
        *([files.folder] if files.folder else []),
        *([Path(d)] if (d := os.environ.get("BALLAST_DATA")) else []),
    ]
    found = next((root / written for root in roots if (root / written).is_file()), None)
    if found is None:
        item.fail(f"no candle file {written}: name one that exists, or set BALLAST_DATA to its folder")
    try:
        candles = load_candles(found)
        times = np.array([0, files.duration], dtype=np.int64)
        if whole:
            from_candles({1: candles}, files.start, times)
        else:
            bootstrapped({1: candles}, np.random.default_rng(0), times)
    except BallastError as error:
        item.fail(str(error))
    return found


def same_days(item: Item, prices: Mapping[str, PriceSpec], files: Files) -> None:
    """Refuse underlyings whose days are drawn out of histories that have none in common.

    Parameters
    ----------
    item : the underlyings. prices : of them by name.
    """
    history = {
        place: load_candles(p.file) for place, p in enumerate(prices.values(), 1) if p.kind == "bootstrap" and p.file
    }
    try:
        if len(history) > 1:
            bootstrapped(history, np.random.default_rng(0), np.array([0, files.duration], dtype=np.int64))
    except BallastError as error:
        item.fail(f"days are drawn out of history for all underlyings at once: {error}")


def read_correlation(
    top: Section, prices: Mapping[str, PriceSpec], numbers: Mapping[str, int]
) -> tuple[tuple[int, int, float], ...]:
    """Coefficients by pairs of numbers: those that are written, or one number for every pair that can have it.

    Parameters
    ----------
    prices, numbers : of the underlyings by name.
    """
    if "correlation" not in top:
        return ()
    item = top.get("correlation")
    able = [name for name, p in prices.items() if p.diffuses]
    if item.is_list:
        named = _pairs(item, prices, tuple(able))
    else:
        value = item.number(-1.0, 1.0)
        if len(able) < 2:
            item.fail(
                f"{len(able)} of the underlyings have Gaussian moves: two or more need noise around their path, or a "
                "diffusion with a volatility"
            )
        named = dict.fromkeys(combinations(able, 2), value)
    pairs = tuple((numbers[one], numbers[other], value) for (one, other), value in named.items())
    try:
        correlation_root(matrix_of(pairs, sorted(numbers.values())))
    except BallastError as error:
        item.fail(str(error))
    return pairs


def _pairs(item: Item, prices: Mapping[str, PriceSpec], able: tuple[str, ...]) -> dict[tuple[str, str], float]:
    out: dict[tuple[str, str], float] = {}
    for each in item.items(1):
        parts = each.items()
        if len(parts) != 3:
            each.fail("two underlyings and a coefficient belong here")
        one, other = (_moving(part, prices, able) for part in parts[:2])
        if one == other:
            each.fail(f"{one} is no pair with itself")
        if (one, other) in out or (other, one) in out:
            each.fail(f"the pair {one} and {other} stands twice")
        out[one, other] = parts[2].number(-1.0, 1.0)
    return out


def _moving(item: Item, prices: Mapping[str, PriceSpec], able: tuple[str, ...]) -> str:
    """The name of an underlying that has Gaussian moves."""
    name = item.choice(tuple(prices))
    if name not in able:
        kind = prices[name].kind
        item.fail(
            f"{name} has nothing that a coefficient could move: "
            + (
                "how prices out of candles move together is in the candles"
                if kind in ("candles", "bootstrap")
                else "give its path noise, or its diffusion a volatility"
            )
        )
    return name
