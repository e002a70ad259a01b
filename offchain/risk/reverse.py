"""Reverse stress: the smallest joint move, in standard deviations, that breaks an account or a fund.

Sources: Basel Committee, "Stress testing principles", 2018; for the distance, T. Breuer, M. Jandacka, K. Rheinberger
and M. Summer, Int. J. Central Banking, September 2009.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import qmc

from offchain.risk.statistical import correlation
from offchain.risk.stress import Account

Array = npt.NDArray[np.float64]

MAX_SIGMAS = 60.0
"""Beyond, a reverse stress says that nothing breaks."""
_SECTIONS = 32


@dataclass(frozen=True)
class Breaking:
    """The smallest joint move that breaks something.

    Attributes
    ----------
    name : of the account, or "fund". distance : in standard deviations of the joint distribution (Mahalanobis);
    infinity where nothing within `MAX_SIGMAS` breaks it. prices, volatilities : the move by factor, relative.
    shortfall : just beyond it, money; 0 where nothing breaks.
    """

    name: str
    distance: float
    prices: Mapping[str, float]
    volatilities: Mapping[str, float]
    shortfall: float


def reverse(
    accounts: Sequence[Account],
    covariance: npt.ArrayLike,
    factors: Sequence[str],
    volatility_size: float = 0.15,
    leverage: float = -0.3,
    fund: float | None = None,
    liquidity: float = 1.0,
    directions: int = 512,
    seed: int = 1,
) -> list[Breaking]:
    """For each account, and for the fund if given, the smallest joint move of prices and volatilities that breaks it.

    Prices move by ``e^x - 1`` and volatilities by ``e^y - 1`` with jointly normal x and y of the given covariance.
    Each of many directions on the sphere is searched outwards for its first break; the nearest are polished by
    Nelder-Mead over directions. A search from samples cannot prove that nothing nearer exists: the distance is an
    upper bound, tight in tests where the answer is known.

    Parameters
    ----------
    accounts : at least one. covariance : of one day's log returns, (k, k). factors : k, its order.
    volatility_size : standard deviation of a day's log change of volatility, one for all. leverage : its correlation
    with the factor's own price. fund : money; None leaves it out. directions : searched. seed : of them.

    Raises
    ------
    ValueError
        The covariance does not fit the factors or is not positive definite, or an account has another factor.
    """
    names = list(factors)
    c = np.asarray(covariance, dtype=np.float64)
    corr = correlation(c)
    if len(c) != len(names):
        raise ValueError(f"covariance has {len(c)} rows for the factors {', '.join(names)}")
    for account in accounts:
        unknown = set(account.book.factors) - set(names)
        if unknown:
            raise ValueError(f"factor {sorted(unknown)[0]!r} of account {account.name!r} has no covariance")
    if not accounts or not volatility_size > 0.0 or not -1.0 < leverage < 1.0:
        raise ValueError(f"{len(accounts)} accounts, volatility_size {volatility_size}, leverage {leverage}")
    k = len(names)
    size = np.sqrt(np.diag(c))
    # Volatility: leverage times its own price's move, and one part of its own, correlated as prices are.
    root = np.linalg.cholesky(corr + 1e-12 * np.eye(k))
    own = math.sqrt(1.0 - leverage**2)

    def moves(x: Array) -> tuple[Array, Array]:
        z = x[..., :k] @ root.T
        y = leverage * z + own * (x[..., k:] @ root.T)
        return np.expm1(np.clip(z * size, -50, 5)), np.expm1(np.clip(y * volatility_size, -50, 3))

    def after(account: Account) -> Callable[[Array], Array]:
        columns = [names.index(f) for f in account.book.factors]
        floor = account.equity - account.closeout * liquidity

        def value(x: Array) -> Array:
            prices, vols = moves(x)
            return floor + account.book.profit(prices[:, columns], vols[:, columns])

        return value

    targets = [(account.name, after(account)) for account in accounts]
    if fund is not None:
        if not (math.isfinite(fund) and fund >= 0.0):
            raise ValueError(f"fund {fund} is negative or not finite")
        each = [value for _, value in targets]

        held = fund

        def left(x: Array) -> Array:
            return held - np.sum([np.maximum(-value(x), 0.0) for value in each], axis=0)

        targets.append(("fund", left))
    rays = _rays(2 * k, directions, seed)
    return [_break(name, value, rays, moves, names) for name, value in targets]


def _rays(dimensions: int, count: int, seed: int) -> Array:
    """Directions spread over the sphere, the axes among them."""
    power = max(math.ceil(math.log2(count)), 1)
    points = qmc.MultivariateNormalQMC(np.zeros(dimensions), engine=qmc.Sobol(dimensions, rng=seed)).random(2**power)
    norm = np.linalg.norm(points, axis=1)
    points = points[norm > 1e-9] / norm[norm > 1e-9, None]
    axes = np.eye(dimensions)
    return np.concatenate([axes, -axes, points])


def _first_break(value: Callable[[Array], Array], rays: Array, limit: float) -> Array:
    """Distance along each ray to where the value first falls below 0; infinity where it does not before `limit`."""
    radii = np.concatenate([[0.0], np.geomspace(0.05, limit, 48)])
    shocks = rays[:, None, :] * radii[None, :, None]
    below = (value(shocks.reshape(-1, rays.shape[1])) < 0.0).reshape(len(rays), len(radii))
    hit = below.any(axis=1)
    place = np.argmax(below, axis=1)
    out = np.full(len(rays), np.inf)
    low, high = radii[np.maximum(place - 1, 0)][hit], radii[place][hit]
    share = np.arange(1, _SECTIONS + 1) / _SECTIONS
    for _ in range(7):  # each round divides the interval by 32; the first break within it is kept
        inner = low[:, None] + (high - low)[:, None] * share
        broken = value((rays[hit][:, None, :] * inner[:, :, None]).reshape(-1, rays.shape[1])) < 0.0
        broken = broken.reshape(inner.shape)
        broken[:, -1] = True
        first = np.argmax(broken, axis=1)
        rows = np.arange(len(inner))
        high, low = inner[rows, first], np.where(first > 0, inner[rows, np.maximum(first - 1, 0)], low)
    out[hit] = high
    return out


def _break(
    name: str,
    value: Callable[[Array], Array],
    rays: Array,
    moves: Callable[[Array], tuple[Array, Array]],
    factors: Sequence[str],
) -> Breaking:
    """The nearest break of one target."""
    distance = _first_break(value, rays, MAX_SIGMAS)
    if not np.isfinite(distance).any():
        return Breaking(name, math.inf, {}, {}, 0.0)
    best, ray = math.inf, rays[0]
    for start in np.argsort(distance, kind="stable")[:3]:
        if not np.isfinite(distance[start]):
            continue
        limit = float(distance[start]) * 1.5 + 0.1

        def along(direction: Array, limit: float = limit) -> float:
            size = float(np.linalg.norm(direction))
            if size < 1e-9:
                return limit
            return min(float(_first_break(value, (direction / size)[None, :], limit)[0]), limit)

        found = minimize(
            along, rays[start], method="Nelder-Mead", options={"maxiter": 150, "xatol": 1e-4, "fatol": 1e-6}
        )
        if found.fun < best:
            best, ray = float(found.fun), found.x / np.linalg.norm(found.x)
    point = (ray * best * (1.0 + 1e-9))[None, :]
    prices, vols = moves(point)
    missing = max(-float(value(point)[0]), 0.0)
    return Breaking(
        name,
        best,
        {f: float(p) for f, p in zip(factors, prices[0], strict=True)},
        {f: float(v) for f, v in zip(factors, vols[0], strict=True)},
        missing,
    )
