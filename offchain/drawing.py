"""How figures and pages look: palette, style, axes, and the template that every report extends.

Colours differ to any eye, and in grey.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import matplotlib
import matplotlib.dates as mdates
import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator
from PIL import Image

INK, MUTED, RULE = "#1b2430", "#5a6675", "#e3e7ec"
SERIES = ("#0072B2", "#D98200", "#009E73", "#8C4B87")
"""Series in order: blue, orange, green, purple (after Okabe and Ito, "Color Universal Design", 2008)."""
STATES = ("", "HEALTHY", "MARGIN_CALL", "LIQUIDATABLE", "BANKRUPT")
STATE_COLOURS = ("#f4f6f8", "#bcd9ec", "#f0b83a", "#c8470a", "#2d0f3f")
STATE_LABELS = ("no positions", "healthy", "margin call", "liquidatable", "bankrupt")
BAD = "#c8470a"

USD, PPM = 1e-6, 1e-4  # micro-USD to USD; 1e-6 to percent
WIDTH = 10.8

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.linewidth": 0.7,
    "axes.edgecolor": "#9aa4b0", "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlecolor": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": RULE,
    "grid.linewidth": 0.7, "axes.axisbelow": True, "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.6, "svg.fonttype": "path",
    "svg.hashsalt": "ballast", "figure.facecolor": "white",
}  # fmt: skip


def style() -> Any:
    """Context in which the figures are drawn."""
    return matplotlib.rc_context(_STYLE)


def figure(height: float) -> Figure:
    """An empty figure of a report's width, `height` inches high."""
    out = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasSVG(out)
    return out


def svg(drawn: Figure) -> str:
    """The figure as SVG, the same text for the same figure."""
    out = io.StringIO()
    drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    drawn.set_layout_engine("none")  # it is laid out now; a PNG of it need not find the same places again
    text = out.getvalue()
    return text[text.index("<svg") :]


def png(drawn: Figure, dpi: int = 130) -> bytes:
    """The figure as PNG."""
    out = io.BytesIO()
    FigureCanvasAgg(drawn)
    drawn.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def small_png(drawn: Figure) -> bytes:
    """The figure as a PNG for documents: 100 dots an inch, in at most 256 colours."""
    picture = Image.open(io.BytesIO(png(drawn, 100))).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    out = io.BytesIO()
    picture.save(out, format="png", optimize=True)
    return out.getvalue()


def data_uri(picture: str) -> str:
    """An SVG text as a data URI, so that a page needs no other file."""
    return "data:image/svg+xml;base64," + base64.b64encode(picture.encode()).decode()


def edges(times: np.ndarray) -> np.ndarray:
    """Start of every step, and an end of the last: as long as the one before, an hour where there is none."""
    hour = np.timedelta64(3600, "s") if times.dtype.kind == "M" else 3600
    return np.append(times, times[-1] + (times[-1] - times[-2] if len(times) > 1 else hour))


def _moment(value: float, _: object = None) -> str:
    """The day at midnight, else the hour."""
    when = mdates.num2date(value)
    return f"{when:%H:%M}" if when.hour or when.minute else f"{when:%b} {when.day}"


def date_axis(axes: Axes, times: np.ndarray) -> None:
    """Hours and days below an axis of `datetime64`."""
    axes.xaxis.set_major_locator(mdates.AutoDateLocator(minticks=3, maxticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(_moment))
    axes.set_xlim(times[0], times[-1] if times[-1] > times[0] else edges(times)[-1])


def clock_axis(axes: Axes, first: float, last: float, ticks: int = 8) -> None:
    """Seconds from a start below an axis, told in seconds, minutes, hours or days, at round places."""
    last = last if last > first else first + 3600
    span = last - first
    unit, name = next(
        (u, n)
        for u, n in ((86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
        if span >= 3 * u or u == 1
    )
    per = {86_400: (1, 2, 5, 10, 20, 50, 100), 3600: (1, 2, 3, 6, 12, 24), 60: (1, 2, 5, 10, 15, 30, 60)}
    wide = span / unit / ticks
    tick = next((p for p in per.get(unit, (1, 2, 5, 10, 20, 30, 60)) if p >= wide), float(np.ceil(wide)))
    axes.xaxis.set_major_locator(MultipleLocator(tick * unit))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}"))
    axes.set_xlim(first, last)
    axes.set_xlabel(f"{name} from the start", fontsize=8, color=MUTED)


def compact(value: float, _: object = None) -> str:
    """12,345,678 as 12.3M: ticks, not sums."""
    for scale, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.6g}{suffix}"
    return f"{value:.4g}"


def grouped(value: float, _: object = None) -> str:
    """12345.6 as 12,346."""
    return f"{value:,.0f}"


def utc(timestamp: int, pattern: str = "%Y-%m-%d %H:%M") -> str:
    """A time in seconds as UTC text."""
    return datetime.fromtimestamp(timestamp, UTC).strftime(pattern)


def usd(amount: int) -> str:
    """Micro-USD as USD with two places, rounded half to even; -0.00 does not occur."""
    cents = round(amount / 10_000)
    sign, cents = ("-" if cents < 0 else ""), abs(cents)
    return f"{sign}{cents // 100:,}.{cents % 100:02d}"


def clock(seconds: float) -> str:
    """Seconds from the start as `1d 02:03:04`, without the day where it is the first."""
    whole = int(seconds)
    days, rest = divmod(abs(whole), 86_400)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return ("-" if whole < 0 else "") + (f"{days}d {text}" if days else text)


def pages(package: str, **filters: Callable[..., Any]) -> Environment:
    """Templates of a package, which may extend `page.html.j2`."""
    out = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("offchain", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    out.filters.update({"usd": usd, "utc": utc, "clock": clock, **filters})
    return out
