"""Forwards and perpetuals: what carry, parity and funding say about their prices.

Sources: forward and parity: J. Hull, Options, Futures, and Other Derivatives, chapters 5 and 11; funding: BitMEX,
"Perpetual contracts guide" (premium and a clamped interest rate); fair value of a perpetual: D. Ackerer, J. Hugonnier
and U. Jermann, "Perpetual futures pricing", Mathematical Finance 2025, theorem for the linear contract.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from offchain.risk.black76 import Number

Array = npt.NDArray[np.float64]
FUNDING_HOURS = 8.0
"""Hours that one funding rate is quoted for."""


def _positive(**values: Number) -> None:
    for name, value in values.items():
        array = np.asarray(value, dtype=np.float64)
        bad = ~(np.isfinite(array) & (array > 0.0))
        if bad.any():
            raise ValueError(f"{name} {float(array[bad].flat[0])!r} is not positive and finite")


def forward_price(spot: Number, years: Number, rate: Number, dividend: Number = 0.0) -> Array:
    """``S e^((r - q) T)``; `rate` and `dividend` a year, continuously compounded."""
    _positive(spot=spot)
    growth = (np.asarray(rate, dtype=np.float64) - dividend) * np.asarray(years, dtype=np.float64)
    return np.asarray(np.asarray(spot, dtype=np.float64) * np.exp(growth))


def carry(forward: Number, spot: Number, years: Number) -> Array:
    """``ln(F/S) / T``, the cost of carry a year that a forward shows."""
    _positive(forward=forward, spot=spot, years=years)
    ratio = np.asarray(forward, dtype=np.float64) / np.asarray(spot, dtype=np.float64)
    return np.asarray(np.log(ratio) / np.asarray(years, dtype=np.float64))


def parity_forward(strikes: npt.ArrayLike, calls: npt.ArrayLike, puts: npt.ArrayLike) -> tuple[float, float]:
    """Forward and discount factor from calls and puts of one expiry: the line ``C - P = D (F - K)``, least squares.

    Parameters
    ----------
    strikes, calls, puts : (n,), n >= 2 and two strikes at least, one money.

    Returns
    -------
    (forward, discount factor)

    Raises
    ------
    ValueError
        Too few strikes, a price below 0 or not finite, or quotes that slope the wrong way: no discount factor explains
        them.
    """
    k, c, p = (np.asarray(v, dtype=np.float64) for v in (strikes, calls, puts))
    if k.ndim != 1 or k.shape != c.shape or k.shape != p.shape or len(np.unique(k)) < 2:
        raise ValueError("a forward from parity needs a call and a put at two strikes or more")
    _positive(strike=k)
    for name, values in (("call", c), ("put", p)):
        bad = ~(np.isfinite(values) & (values >= 0.0))
        if bad.any():
            raise ValueError(f"{name} price {float(values[bad][0])!r} is negative or not finite")
    mid = float(k.mean())
    slope, level = np.polyfit(k - mid, c - p, 1)
    if slope >= 0.0:
        raise ValueError(
            f"call less put rises by {slope:.6g} a unit of strike: parity has it fall by the discount factor"
        )
    return mid - float(level / slope), -float(slope)


def funding_rate(premium: Number, interest: Number = 0.0001, clamp: Number = 0.0005) -> Array:
    """Rate of one funding period: ``P + clip(I - P, -clamp, clamp)``.

    Parameters
    ----------
    premium : average of (mark - index) / index over the period. interest : of the period. clamp : >= 0.
    """
    p, i, c = (np.asarray(v, dtype=np.float64) for v in (premium, interest, clamp))
    return np.asarray(p + np.clip(i - p, -c, c))


def funding_payment(quantity: Number, mark: Number, rate: Number, hours: Number = FUNDING_HOURS) -> Array:
    """What a position pays over `hours`, negative where it receives: ``q * mark * rate * hours / 8``.

    Parameters
    ----------
    quantity : signed units. mark : money a unit. rate : of eight hours. hours : >= 0.
    """
    _positive(mark=mark)
    q, m, r, h = (np.asarray(v, dtype=np.float64) for v in (quantity, mark, rate, hours))
    return np.asarray(q * m * r * h / FUNDING_HOURS)


def perpetual_price(spot: Number, anchor: Number, interest: Number, rate: Number, base_rate: Number = 0.0) -> Array:
    """No-arbitrage price of a linear perpetual that pays ``anchor * (f - S) + interest * S`` a year.

    ``f = S (k - i) / (k + r_b - r)``, with anchoring `k`, interest factor `i`, rates `r` of the money and `r_b` of the
    asset. At ``i = r - r_b`` the perpetual trades at spot.

    Parameters
    ----------
    spot : > 0. anchor : a year, above ``rate - base_rate``; eight-hour funding of the premium is ``3 * 365``.
    interest, rate, base_rate : a year.

    Raises
    ------
    ValueError
        The anchoring is too weak for a finite price.
    """
    _positive(spot=spot)
    s, k, i, r, b = (np.asarray(v, dtype=np.float64) for v in (spot, anchor, interest, rate, base_rate))
    weak = ~(k + b - r > 0.0)
    if weak.any():
        raise ValueError(
            f"anchor {float(np.broadcast_to(k, weak.shape)[weak].flat[0])!r} a year is not above the carry"
        )
    return np.asarray(s * (k - i) / (k + b - r))
