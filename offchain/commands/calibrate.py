"""`ballast calibrate`: what volatility says today."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offchain.commands.books import write_page
from offchain.commands.history import named_files, read_candles
from offchain.config import BallastError

if TYPE_CHECKING:
    from offchain.market.candles import Candles

HORIZONS = (1, 8, 24, 48)
CONFIDENCES = (0.99, 0.995, 0.999)
LIQUIDATION_DAYS = (1, 2, 5, 10)
_LEAD = (
    "What the days of each file say about the day to come: forecasts of volatility, scan ranges for periods of risk, "
    "haircuts, loss quantiles and correlation. Volatilities are a year's, the rest are fractions."
)


def _calibrated(candles: Candles) -> dict[str, Any]:
    """Figures of one underlying."""
    import numpy as np

    from offchain.risk.addons import haircut
    from offchain.risk.dynamic import DEFAULT, Side, fraction, losses, scan_target
    from offchain.risk.forecast import FORECASTERS, days_of, forecaster
    from offchain.risk.garch import fit_garch
    from offchain.risk.statistical import empirical_tail
    from offchain.risk.volatility import quantile
    from offchain.units import MICRO

    days = days_of(candles)
    model = fit_garch(days.returns)
    annual = {
        name: {str(h): math.sqrt(365.0 * float(forecaster(name).forecast(days, h)[-1])) for h in (1, 5)}
        for name in FORECASTERS
        if name != "boosted"
    }
    scans = {"1": scan_target(days) / MICRO}
    for period in (2, 5):
        wide = replace(DEFAULT, period=period, overlapping=True)
        scans[str(period)] = max(float(fraction(wide.margins(days, side, len(days))[-1], side)) for side in Side)
    scale = DEFAULT.volatility(days)
    tail = empirical_tail(losses(days, Side.LONG) / scale[:-1] * scale[-1], 0.99)
    quantiles = {}
    for hours in HORIZONS:
        steps, rest = divmod(hours * 3600, candles.step)
        if rest or not steps:
            continue
        fall = -(candles.close[steps:] / candles.close[:-steps] - 1.0)
        whole = candles.timestamps[steps:] - candles.timestamps[:-steps] == hours * 3600
        quantiles[str(hours)] = {f"{c:g}": quantile(np.asarray(fall[whole]), c) for c in CONFIDENCES}
    return {
        "days": len(days),
        "volatility": annual,
        "garch": {k: v for k, v in asdict(model).items() if k != "start"} | {"persistence": model.persistence},
        "scan_range": scans,
        "haircut": {str(n): haircut(tail, n) for n in LIQUIDATION_DAYS},
        "loss_quantiles": quantiles,
    }


@click.command()
@click.option(
    "--prices", multiple=True, metavar="[NAME=]FILE", help="Candles of an underlying, daily or finer; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with tables.")
def calibrate(prices: tuple[str, ...], as_json: bool, html: Path | None) -> None:
    """Calibrate volatility, scan ranges, haircuts and correlations to candles.

    Forecasts by every method for the next day and the mean of the next five; GARCH parameters; the scan range of the
    default model for periods of risk of 1, 2 and 5 days (overlapping filtered returns); haircuts for collateral that
    takes 1 to 10 days to sell; loss quantiles over hours; correlation, and its stressed envelope. What is posted moves
    from the last scan range by no more than the policy's slew.

    \b
    Examples:
      ballast calibrate --prices BTC=btc_1h.csv --prices ETH=eth_1h.csv
      ballast calibrate --prices btc_1d.csv --json
    """
    candles = read_candles(named_files(prices))
    found: dict[str, Any] = {}
    for name, each in candles.items():
        try:
            found[name] = _calibrated(each)
        except ValueError as problem:
            raise BallastError(f"--prices {name}: {problem}") from None
    correlations = _correlations(candles) if len(candles) > 1 else {}
    if as_json:
        click.echo(json.dumps({"underlyings": found, "correlation": correlations}, indent=2, allow_nan=False))
    sections = _sections(found, correlations)
    if not as_json:
        click.echo("\n\n".join(f"{title}\n{table.text()}" for title, table in sections))
    if html is not None:
        from offchain.risk.models.explain import page

        write_page(html, page("Calibration", _LEAD, sections, (), ()))
        click.echo(f"page: {html}", err=True)


def _correlations(candles: Mapping[str, Candles]) -> dict[str, list[list[float]]]:
    """Correlation of daily returns on the days that all have, and its envelope."""
    import numpy as np

    from offchain.risk.forecast import days_of
    from offchain.risk.statistical import correlation, covariance, stressed_correlations

    days = {name: days_of(each) for name, each in candles.items()}
    shared = sorted(set.intersection(*(set(each.day.tolist()) for each in days.values())))
    if len(shared) < 30:
        raise BallastError(f"--prices: {len(shared)} days that all files have: at least 30 are needed for correlation")
    returns = np.stack([each.returns[np.searchsorted(each.day, shared)] for each in days.values()], axis=1)
    envelope = stressed_correlations(correlation(covariance(returns)))
    return {name: matrix.tolist() for name, matrix in envelope.items()}


def _sections(found: Mapping[str, Any], correlations: Mapping[str, list[list[float]]]) -> list[tuple[str, Any]]:
    from offchain.risk.models.explain import Table

    def row(*cells: str | float) -> tuple[str, ...]:
        return tuple(c if isinstance(c, str) else f"{100 * c:.2f} %" for c in cells)

    out = [
        (
            "Volatility, a year",
            Table(
                ("on", "forecaster", "next day", "next 5 days"),
                tuple(
                    row(name, key, value["1"], value["5"])
                    for name, each in found.items()
                    for key, value in each["volatility"].items()
                ),
            ),
        ),
        (
            "GARCH(1,1)",
            Table(
                ("on", "omega", "alpha", "beta", "persistence"),
                tuple(
                    (n, f"{g['omega']:.3g}", f"{g['alpha']:.4f}", f"{g['beta']:.4f}", f"{g['persistence']:.4f}")
                    for n, g in ((name, each["garch"]) for name, each in found.items())
                ),
            ),
        ),
    ]
    for title, key, what in (("Scan range", "scan_range", "days"), ("Haircut", "haircut", "days to sell")):
        columns = next(iter(found.values()))[key]
        head = ("on", *(f"{n} {what}" for n in columns))
        out.append((title, Table(head, tuple(row(name, *each[key].values()) for name, each in found.items()))))
    out.append(
        (
            "Loss quantiles, long",
            Table(
                ("on", "hours", *(f"{100 * c:g} %" for c in CONFIDENCES)),
                tuple(
                    row(name, hours, *values.values())
                    for name, each in found.items()
                    for hours, values in each["loss_quantiles"].items()
                ),
            ),
        )
    )
    if correlations:
        names = list(found)
        rows = tuple(
            (key, names[i], *(f"{v:.3f}" for v in line))
            for key, matrix in correlations.items()
            for i, line in enumerate(matrix)
        )
        out.append(("Correlation and its stressed envelope", Table(("matrix", "of", *names), rows)))
    return out
