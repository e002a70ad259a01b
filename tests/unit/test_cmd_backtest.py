"""The commands backtest, calibrate and stress, on made candles and the example book."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from offchain.cli import main
from offchain.market.candles import Candles, write_candles

ROOT = Path(__file__).parents[2]
BOOK = str(ROOT / "docs" / "examples" / "book.json")


def made(path: Path, days: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    sigma = 0.03 * np.exp(np.convolve(rng.standard_normal(days + 49), np.ones(50) / 50, "valid") * 3)
    closes = 1000 * np.exp(np.cumsum(sigma * rng.standard_t(5, days) * 0.77))
    opens = np.concatenate([[1000.0], closes[:-1]])
    high = np.maximum(opens, closes) * np.exp(0.4 * sigma)
    low = np.minimum(opens, closes) * np.exp(-0.4 * sigma)
    times = 1_500_000_000 // 86_400 * 86_400 + 86_400 * np.arange(days)
    write_candles(Candles("made", 86_400, times, opens, high, low, closes, np.ones(days), True), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("candles")
    return {name: made(folder / f"{name.lower()}_1d.csv", 700, seed) for seed, name in enumerate(("BTC", "ETH"), 1)}


def call(*words: str, code: int = 0) -> str:
    result = CliRunner(mix_stderr=False).invoke(main, list(words))
    assert result.exit_code == code, result.output + result.stderr
    return result.stderr if code else result.stdout


def test_backtest__json__every_model_side_and_forecast(files: dict[str, Path]) -> None:
    found = json.loads(call("backtest", "--prices", str(files["BTC"]), "--prices", f"ETH={files['ETH']}", "--json"))
    series = {f"{r['underlying']} {r['side']}" for r in found["rows"]}
    assert series == {"BTC long", "BTC short", "ETH long", "ETH short"}
    assert found["default"] in {m["model"] for m in found["models"]}
    row = next(r for r in found["rows"] if r["model"] == found["default"])
    assert row["days"] == 199
    assert {"pof_p", "cc_p", "dq_p", "peak_to_trough", "rise_1d", "rise_5d", "rise_30d"} <= set(row)
    assert {f["forecaster"] for f in found["forecasts"]} >= {"HAR-RV", "GARCH(1,1)", "EWMA 0.94"}


def test_backtest__docs_and_page__written_and_notes_kept(files: dict[str, Path], tmp_path: Path) -> None:
    words = ("backtest", "--prices", str(files["BTC"]), "--docs", str(tmp_path), "--html", str(tmp_path / "page.html"))
    text = call(*words)
    assert "HAR-RV, half long-run" in text
    page = tmp_path / "backtest.md"
    page.write_text(page.read_text() + "\nKept.\n")
    call(*words)
    assert page.read_text().count("## Notes") == 1
    assert page.read_text().endswith("Kept.\n")
    for name in ("trade_off", "margin_btc", "forecasts"):
        assert (tmp_path / "img" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_calibrate__json__figures_in_range(files: dict[str, Path], tmp_path: Path) -> None:
    words = ("calibrate", "--prices", str(files["BTC"]), "--prices", str(files["ETH"]))
    found = json.loads(call(*words, "--json"))
    btc = found["underlyings"]["BTC"]
    assert 0 < btc["garch"]["persistence"] < 1
    assert btc["scan_range"]["1"] < btc["scan_range"]["5"] < 1
    assert list(btc["haircut"].values()) == sorted(btc["haircut"].values())
    assert set(btc["loss_quantiles"]) == {"24", "48"}  # daily candles know no hours
    assert set(found["correlation"]) == {"base", "together", "apart", "opposed"}
    assert "Haircut" in call(*words, "--html", str(tmp_path / "page.html"))
    assert "<table" in (tmp_path / "page.html").read_text()


def test_stress__example_book__says_which_where_and_how_much(files: dict[str, Path], tmp_path: Path) -> None:
    found = json.loads(call("stress", BOOK, "--fund", "1000", "--json", "--html", str(tmp_path / "page.html")))
    assert [b["name"] for b in found["reverse"]] == ["book", "fund"]
    assert {o["account"] for o in found["outcomes"]} == {"book"}
    assert min(o["after"] for o in found["outcomes"]) < found["accounts"][0]["equity"]
    assert "<svg" in (tmp_path / "page.html").read_text()
    prices = ("--prices", f"BTC={files['BTC']}", "--prices", f"ETH={files['ETH']}")
    text = call("stress", BOOK, "--no-reverse", *prices)
    assert "Worst scenarios of each account" in text
    with_history = json.loads(call("stress", BOOK, "--no-reverse", "--json", *prices))
    assert any(s["name"].startswith("history: BTC") for s in with_history["scenarios"])


@pytest.mark.parametrize("name", ["backtest", "calibrate", "stress"])
def test_help__has_examples(name: str) -> None:
    text = call(name, "--help")
    assert "Examples:" in text
    assert f"ballast {name}" in text


def test_bad_input__one_line_and_exit_two(files: dict[str, Path], tmp_path: Path) -> None:
    short = made(tmp_path / "sol_1d.csv", 120, 3)
    broken = tmp_path / "nan_1d.csv"
    broken.write_text(files["BTC"].read_text().replace("\n", "\n2017-01-01,nan,1,1,1,1\n", 1))
    assert "--prices is missing" in call("backtest", code=2)
    assert "BTC twice" in call("backtest", "--prices", str(files["BTC"]), "--prices", f"BTC={files['ETH']}", code=2)
    assert "SOL, historical, 500 days: days has 119 days" in call("backtest", "--prices", str(short), code=2)
    assert "line 2: open nan is out of range" in call("calibrate", "--prices", str(broken), code=2)
    assert "cannot be read" in call("calibrate", "--prices", "btc_none.csv", code=2)
    assert "no candles of ETH" in call("stress", BOOK, "--prices", f"BTC={files['BTC']}", code=2)
    assert "cannot be read" in call("stress", str(tmp_path / "none.json"), code=2)
