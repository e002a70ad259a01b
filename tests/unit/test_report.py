"""The report: self-contained, complete, honest about synthetic prices and mismatches, and quick to draw."""

from __future__ import annotations

import base64
import math
import random
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from offchain.audit.report import EpochRow, LegRow, LiquidationRow, MarginPoint, RunRecord, render, write_report
from offchain.audit.result import Mismatch, Verification

START, HOUR = 1_583_884_800, 3600
FIGURES = 5


def generated_run(hours: int = 72, accounts: int = 60, seed: int = 7) -> RunRecord:
    """A crash that was never lived: shapes and sizes like a real run's."""
    rng = random.Random(seed)
    ids = tuple(range(256, 256 + accounts))
    risky = {a: rng.random() for a in ids}
    price = {"BTC": 7900.0, "ETH": 200.0}
    epochs, liquidations = [], []
    insurance = 250_000_000_000
    words = ("short calls", "long perpetual", "straddle", "hedged", "", "market maker")
    watched = dict(zip(ids, words, strict=False))
    for hour in range(hours):
        shock = -0.15 if hour in (34, 35, 47) else rng.gauss(0, 0.012)
        for name, beta in (("BTC", 1.0), ("ETH", 1.15)):
            price[name] *= math.exp(beta * shock + rng.gauss(0, 0.004))
        drawdown = max(0.0, 1 - price["BTC"] / 7900)
        states = []
        for account in ids:
            score = risky[account] * drawdown * 4.6 + rng.gauss(0, 0.03)
            level = sum(score > edge for edge in (0.55, 0.72, 0.93))
            states.append("" if hour < 3 else ("HEALTHY", "MARGIN_CALL", "LIQUIDATABLE", "BANKRUPT")[level])
            if level >= 2 and rng.random() < 0.4:
                legs = tuple(
                    LegRow(symbol, name, lots, abs(lots) * round(price[name] * 1_000_000) // scale)
                    for symbol, name, lots, scale in (
                        ("BTC-PERP", "BTC", rng.randrange(1, 900), 1000),
                        ("ETH-27MAR20-200-C", "ETH", -rng.randrange(1, 4000), 100),
                    )[: rng.randrange(1, 3)]
                )
                penalty = rng.randrange(5, 900) * 1_000_000
                liquidations.append(LiquidationRow(START + hour * HOUR + 40, account, 320, legs, penalty, penalty // 2))
                insurance += penalty - penalty // 2
        points = {}
        for place, account in enumerate(watched):
            pv = int((9000 - 30000 * drawdown * (place - 1) * 0.4 + rng.gauss(0, 250)) * 1e6)
            need = int((4200 + 9000 * drawdown) * 1e6)
            points[account] = MarginPoint(pv, need * 5 // 4, need)
        epochs.append(
            EpochRow(
                epoch=(START + hour * HOUR) // HOUR,
                timestamp=START + hour * HOUR,
                index={name: round(p * 1e6) for name, p in price.items()},
                scan_range={"BTC": int(160000 + 120000 * drawdown), "ETH": int(180000 + 150000 * drawdown)},
                states=tuple(states),
                watched=points,
                insurance_cash=insurance,
                shortfall=sum(s == "BANKRUPT" for s in states) * 420_000_000,
            )
        )
    return RunRecord(
        title="Ballast: a margined market through 12 March 2020",
        source="Hourly candles of BTC and ETH from files.",
        synthetic=False,
        underlyings=("BTC", "ETH"),
        accounts=ids,
        watched=watched,
        epochs=tuple(epochs),
        liquidations=tuple(liquidations),
        summary=(
            ("epochs posted", str(hours)),
            ("trades", "1,204"),
            ("liquidations", str(len(liquidations))),
            ("accounts that ended BANKRUPT", "2"),
            ("lowest BTC index", "3,996.10 USD"),
            ("gas, all transactions", "1,034,551,000"),
        ),
        verification=Verification(hours, 6180, len(liquidations)),
        settings=(("seed", str(seed)), ("accounts", str(accounts)), ("scan range BTC", "16 %")),
        command="ballast demo --prices BTC=FILE --prices ETH=FILE --start 2020-03-11 --hours 72 --accounts 60 --seed 7",
    )


class Links(HTMLParser):
    """Everything that a browser would fetch, and every tag left open."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run() -> RunRecord:
    return generated_run()


@pytest.fixture(scope="module")
def page(run) -> str:
    return render(run)


def figures_of(page: str) -> list[str]:
    return [base64.b64decode(b).decode() for b in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)]


def test_report__needs_nothing_from_anywhere(page):
    links = Links()
    links.feed(page)
    assert not links.open
    assert not links.tags & {"script", "link", "iframe", "object"}
    assert len(links.sources) == FIGURES
    assert all(s.startswith("data:image/svg+xml;base64,") for s in links.sources)
    assert "url(" not in page
    assert "@import" not in page
    for svg in figures_of(page):
        assert all(ref.startswith(("#", "data:")) for ref in re.findall(r'xlink:href="([^"]*)"', svg))


def test_report__says_verdict_first(run, page):
    line = run.verification.line()
    assert page.index(line) < page.index("Summary") < page.index("<figure>") < page.index("How to reproduce")
    assert run.command in page
    for label, value in run.summary + run.settings:
        assert label in page
        assert value in page


def test_report__mismatch__is_named_on_top(run):
    bad = Verification(71, 6179, 20, (Mismatch("root", "epoch 9 <account>", "0xaa", "0xbb"),))
    page = render(replace(run, verification=bad))
    assert "1 mismatches" in page
    assert "epoch 9 &lt;account&gt;" in page
    assert page.index("0xbb") < page.index("<figure>")


def test_report__synthetic_prices__are_called_so(run, page):
    assert "Synthetic" not in page
    assert "Synthetic prices" in render(replace(run, synthetic=True))


def test_report__largest_liquidations__come_first(run, page):
    table = page[page.index("Largest liquidations") : page.index("How to reproduce")]
    shown = re.findall(r'<td class="n">([\d,]+\.\d\d)</td><td class="n">[\d,]+\.\d\d</td><td class="n">', table)
    largest = sorted((lq.notional for lq in run.liquidations), reverse=True)[:25]
    assert [float(s.replace(",", "")) for s in shown] == [round(n / 1e6, 2) for n in largest]


@pytest.mark.parametrize("hours", [1, 2])
def test_report__shortest_runs__are_drawn(hours):
    run = generated_run(hours=hours, accounts=3)
    assert len(figures_of(render(run))) == FIGURES


def test_report__run_without_epochs_or_liquidations__is_still_a_report(run):
    page = render(replace(run, epochs=(), liquidations=(), watched={}))
    assert "None happened." in page
    assert not figures_of(page)


def test_report__same_run__is_the_same_file(run, page, tmp_path):
    path = write_report(run, tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8") == page


def test_report__unknown_state__is_refused(run):
    row = replace(run.epochs[0], states=("ASLEEP",) * len(run.accounts))
    with pytest.raises(ValueError, match="unknown states.*ASLEEP"):
        render(replace(run, epochs=(row,)))
    with pytest.raises(ValueError, match="1 states for 60 accounts"):
        render(replace(run, epochs=(replace(row, states=("HEALTHY",)),)))
