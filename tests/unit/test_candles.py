"""Candle files: what is read, what is refused and how it is said; the synthetic crash."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from offchain.config import BallastError
from offchain.market.candles import CandleError, download_candles, iso, load_candles, timestamp_of, write_candles
from offchain.market.synthetic import ANCHORS, CRASH_DAY, START, WORST_HOUR, synthetic_crash

HEAD = "ts,open,high,low,close,volume\n"
HOUR = 3_600
T0 = timestamp_of("2020-03-11T00:00:00Z")
DATA = os.environ.get("BALLAST_DATA")


def row(hours: int, price: float = 100.0, **changes: object) -> str:
    fields = {
        "ts": iso(T0 + hours * HOUR),
        "open": price,
        "high": price + 1,
        "low": price - 1,
        "close": price,
        "volume": 5,
    }
    return ",".join(str(value) for value in (fields | changes).values()) + "\n"


def write(path: Path, *lines: str, head: str = HEAD) -> Path:
    path.write_text(head + "".join(lines))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "btc.csv", *(row(hours, 100.0 + hours) for hours in range(48)))


def test_load__good_file__columns(file: Path) -> None:
    candles = load_candles(file)
    assert len(candles) == 48
    assert candles.step == HOUR
    assert (candles.start, candles.end) == (T0, T0 + 48 * HOUR)
    assert candles.close.tolist() == [100.0 + hours for hours in range(48)]
    assert candles.gaps() == []
    assert not candles.synthetic


def test_load__further_columns_and_plain_dates__accepted(tmp_path: Path) -> None:
    head = HEAD.strip() + ",src\n"
    days = write(tmp_path / "d.csv", "2020-03-11,1,2,0.5,1,9,x\n", "2020-03-12,1,2,0.5,2,9,y\n", head=head)
    assert load_candles(days).step == 86_400


def test_write__read_back__the_same_numbers(file: Path, tmp_path: Path) -> None:
    candles = load_candles(file)
    write_candles(candles, tmp_path / "again.csv")
    again = load_candles(tmp_path / "again.csv")
    for name in ("timestamps", "open", "high", "low", "close", "volume"):
        assert (getattr(again, name) == getattr(candles, name)).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row(1, ts="yesterday"), "line 3: ts 'yesterday' is no UTC time"),
        (row(1, ts="2020-03-11T01:00:00+02:00"), "line 3: ts .* is no UTC time"),
        (row(1, open="abc"), "line 3: open 'abc' is no number"),
        (row(1, close=""), "line 3: close '' is no number"),
        (iso(T0 + HOUR) + ",1,2\n", "line 3: low None is no number"),
        (row(1, open=-5), "line 3: open -5 is out of range"),
        (row(1, low=0), "line 3: low 0 is out of range"),
        (row(1, high="nan"), "line 3: high nan is out of range"),
        (row(1, high="1e9"), "line 3: high 1e9 is out of range"),
        (row(1, volume=-1), "line 3: volume -1 is out of range"),
        (row(1, high=99.5), "line 3: low 99.0, open 100.0, close 100.0, high 99.5 are not in order"),
        (row(1, low=100.5), "are not in order"),
        (row(0), "line 3: 2020-03-11T00:00:00Z does not come after 2020-03-11T00:00:00Z"),
        (row(-1), "does not come after"),
    ],
)
def test_load__malformed_line__named_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "bad.csv", row(0), line, row(2))
    with pytest.raises(CandleError, match=message) as caught:
        load_candles(path)
    assert isinstance(caught.value, BallastError)
    assert "\n" not in str(caught.value)


def test_load__missing_file_or_folder__says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CandleError, match=r"no\.csv: cannot be read \(No such file or directory\): give the path"):
        load_candles(tmp_path / "no.csv")
    with pytest.raises(CandleError, match="cannot be read"):
        load_candles(tmp_path)


def test_load__wrong_header_or_too_short__refused(tmp_path: Path) -> None:
    with pytest.raises(CandleError, match="line 1: no column low, volume: the header row must be ts,open"):
        load_candles(write(tmp_path / "a.csv", head="ts,open,high,close\n"))
    with pytest.raises(CandleError, match="line 1: no column"):
        load_candles(write(tmp_path / "b.csv", head=""))
    with pytest.raises(CandleError, match="1 candles: a file needs at least two"):
        load_candles(write(tmp_path / "c.csv", row(0)))
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(CandleError, match="not a CSV text file|no column"):
        load_candles(tmp_path / "d.csv")


def test_load__off_the_grid__line_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.csv", row(0), row(1), row(2, ts=iso(T0 + 2 * HOUR + 1_800)))
    with pytest.raises(CandleError, match=r"line 4: 2020-03-11T02:30:00Z is not a multiple of 3600 s after the last"):
        load_candles(path)


def gapped(tmp_path: Path) -> Path:
    return write(tmp_path / "gap.csv", *(row(hours) for hours in range(48) if hours != 20))


def test_window__gap_inside__error_names_the_times(tmp_path: Path) -> None:
    candles = load_candles(gapped(tmp_path))
    assert candles.gaps() == [(T0 + 20 * HOUR, T0 + 21 * HOUR)]
    with pytest.raises(CandleError, match="gap from 2020-03-11T20:00:00Z to 2020-03-11T21:00:00Z within the window"):
        candles.window(T0 + 18 * HOUR, 4)


def test_window__gap_just_outside_or_in_the_history__accepted(tmp_path: Path) -> None:
    candles = load_candles(gapped(tmp_path))
    assert len(candles.window(T0 + 10 * HOUR, 10)) == 10
    assert len(candles.window(T0 + 21 * HOUR, 10)) == 10
    assert len(candles.window(T0 + 21 * HOUR, 10, warmup_hours=5)) == 14
    with pytest.raises(CandleError, match="gap from"):
        candles.window(T0 + 10 * HOUR, 11)
    with pytest.raises(CandleError, match="gap from"):
        candles.window(T0 + 20 * HOUR, 10)


@pytest.mark.parametrize(
    ("start", "hours", "warmup", "message"),
    [
        (-1, 5, 0, "2020-03-10T23:00:00Z and 5 hours are not within the file, which runs from 2020-03-11T00:00:00Z"),
        (48, 1, 0, "not within the file"),
        (40, 9, 0, "not within the file"),
        (5, 5, 6, "6 hours of history are needed .* start no earlier than 2020-03-11T06:00:00Z"),
        (5, 0, 0, "a window of 0 hours"),
        (5, 1, -1, "a window of 1 hours after -1"),
    ],
)
def test_window__outside_the_file__says_what_is_there(
    file: Path, start: int, hours: int, warmup: int, message: str
) -> None:
    with pytest.raises(CandleError, match=message):
        load_candles(file).window(T0 + start * HOUR, hours, warmup)


def test_window__within__exactly_those_candles(file: Path) -> None:
    window = load_candles(file).window(T0 + 10 * HOUR, 38, 10)
    assert (window.start, window.end, len(window)) == (T0, T0 + 48 * HOUR, 48)
    with pytest.raises(CandleError, match="no candle of 3600 s opens at 2020-03-11T10:30:00Z"):
        load_candles(file).window(T0 + 10 * HOUR + 1_800, 5)


def test_until__only_closed_candles__are_known(file: Path) -> None:
    candles = load_candles(file)
    assert len(candles.until(T0 + HOUR)) == 1
    assert len(candles.until(T0 + 2 * HOUR - 1)) == 1
    assert len(candles.until(T0 + 2 * HOUR)) == 2
    with pytest.raises(CandleError, match="no candle has closed by"):
        candles.until(T0 + HOUR - 1)


# fetching
@pytest.fixture
def server() -> object:
    """A loopback server: /good, /bad and /short."""
    good = [[1000 * (T0 + i * HOUR), "100.5", "101", "99", "100", "7", 0, "x"] for i in range(5)]
    bodies = {"/good": good, "/bad": {"code": -1}, "/short": good[:1], "/order": good[::-1]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in bodies
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(bodies.get(self.path)).encode())

        def log_message(self, *_: object) -> None: ...

    serving = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()
    serving.server_close()


def test_download__klines__candle_file(server: str, tmp_path: Path) -> None:
    candles = download_candles(f"{server}/good", tmp_path / "got.csv")
    assert (len(candles), candles.start, candles.step, candles.volume[0]) == (5, T0, HOUR, 7.0)
    assert len(load_candles(tmp_path / "got.csv")) == 5


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/bad", "not a list of"),
        ("/short", "1 candles: at least two"),
        ("/none", "cannot be fetched"),
        ("/order", "does not come after"),
    ],
)
def test_download__no_klines__refused_and_nothing_written(server: str, tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(CandleError, match=message):
        download_candles(server + path, tmp_path / "got.csv")
    assert list(tmp_path.iterdir()) == []


def test_download__no_url_or_no_server__refused(tmp_path: Path) -> None:
    with pytest.raises(CandleError, match="is no http or https URL"):
        download_candles("file:///etc/hostname", tmp_path / "got.csv")
    with pytest.raises(CandleError, match="cannot be fetched"):
        download_candles("http://127.0.0.1:1/", tmp_path / "got.csv", timeout=2)


# the synthetic crash
@pytest.mark.parametrize("seed", range(5))
def test_synthetic__any_seed__the_public_figures(seed: int) -> None:
    """2020-03-12: BTC -40 %, low -45 %; ETH within -43 to -50 %, low -51 %; worst hours -20.7 % and -24.5 %."""
    made = synthetic_crash(seed)
    returns = []
    for number, anchor in zip((1, 2), ANCHORS.values(), strict=True):
        candles = made[number]
        assert candles.synthetic
        assert candles.name.startswith("synthetic")
        assert candles.gaps() == []
        window = candles.window(START, 72, 24 * 30)
        crash = int(np.searchsorted(window.timestamps, CRASH_DAY))
        before = window.close[crash - 1]
        assert window.close[crash + 23] / before - 1 == pytest.approx(anchor.day, abs=0.002)
        assert window.low[crash : crash + 24].min() / before - 1 == pytest.approx(anchor.low, abs=0.002)
        hourly = window.close[crash : crash + 24] / window.close[crash - 1 : crash + 23] - 1
        assert int(hourly.argmin()) == WORST_HOUR
        assert hourly.min() == pytest.approx(anchor.worst, abs=0.002)
        prices = np.minimum(candles.open, candles.close)
        assert (candles.low <= prices).all()
        assert (np.maximum(candles.open, candles.close) <= candles.high).all()
        assert (candles.low > 0).all()
        assert (candles.open[1:] == candles.close[:-1]).all()
        returns.append(np.diff(np.log(candles.close)))
    assert np.corrcoef(*returns)[0, 1] > 0.7


def test_synthetic__same_seed__same_candles_and_other_seed_others(tmp_path: Path) -> None:
    one, same, other = synthetic_crash(7), synthetic_crash(7), synthetic_crash(8)
    assert (one[1].close == same[1].close).all()
    assert (one[2].volume == same[2].volume).all()
    assert (one[1].close != other[1].close).any()
    write_candles(one[1], tmp_path / "s.csv")
    assert (load_candles(tmp_path / "s.csv").close == one[1].close).all()


def test_synthetic__too_short__refused() -> None:
    with pytest.raises(BallastError, match="47 hours"):
        synthetic_crash(hours=47)
    with pytest.raises(BallastError, match="after 23"):
        synthetic_crash(warmup_hours=23)
    assert len(synthetic_crash(hours=48, warmup_hours=24)[1]) == 72


@pytest.mark.skipif(DATA is None, reason="BALLAST_DATA names no folder with the hourly files")
@pytest.mark.parametrize(("name", "day", "low"), [("btc", -0.400, -0.452), ("eth", -0.452, -0.512)])
def test_real_files__crash_of_march_2020__figures_and_the_one_gap(name: str, day: float, low: float) -> None:
    candles = load_candles(Path(str(DATA)) / f"{name}_1h_2020_2026.csv")
    assert len(candles) == 54_767
    assert [(iso(a), iso(b)) for a, b in candles.gaps()] == [("2023-03-24T13:00:00Z", "2023-03-24T14:00:00Z")]
    window = candles.window(START, 72, 24 * 30)
    crash = int(np.searchsorted(window.timestamps, CRASH_DAY))
    before = window.close[crash - 1]
    assert window.close[crash + 23] / before - 1 == pytest.approx(day, abs=0.001)
    assert window.low[crash : crash + 24].min() / before - 1 == pytest.approx(low, abs=0.001)
