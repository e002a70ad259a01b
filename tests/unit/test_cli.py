"""The command line: bad input is one line that says what is wrong and how to mend it, and exit code 2."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from offchain.cli import main
from offchain.demo.plan import Plan, command, load_prices
from offchain.instruments import Kind
from offchain.simulation.world import listing
from offchain.units import DAY, HOUR

GOOD = "ts,open,high,low,close,volume\n" + "".join(
    f"2020-{month:02}-{day:02}T{hour:02}:00:00Z,100,110,90,105,1\n"
    for month, days in ((1, 31), (2, 29), (3, 15))
    for day in range(1, days + 1)
    for hour in range(24)
)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def fails(*words: str) -> str:
    """The one line of a refusal."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 1 or lines[0].startswith("Usage"), lines
    return lines[-1]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    one, two = tmp_path / "btc.csv", tmp_path / "eth.csv"
    one.write_text(GOOD)
    two.write_text(GOOD)
    return one, two


def demo(files: tuple[Path, Path], *more: str) -> str:
    return fails("demo", "--prices", f"BTC={files[0]}", "--prices", f"ETH={files[1]}", *more)


def test_demo__missing_file__named() -> None:
    assert "no-such.csv: cannot be read" in fails("demo", "--prices", "BTC=no-such.csv", "--prices", "ETH=no-such.csv")


def test_demo__malformed_line__named_with_its_number(files: tuple[Path, Path]) -> None:
    files[0].write_text(GOOD.replace("2020-02-01T00:00:00Z,100", "2020-02-01T00:00:00Z,hundred"))
    assert "line 746: open 'hundred' is no number" in demo(files)


def test_demo__negative_price__named(files: tuple[Path, Path]) -> None:
    files[0].write_text(GOOD.replace("2020-02-01T00:00:00Z,100,110,90", "2020-02-01T00:00:00Z,100,110,-90"))
    assert "low -90 is out of range" in demo(files)


def test_demo__gap_in_the_window__named_with_its_times(files: tuple[Path, Path]) -> None:
    files[0].write_text(GOOD.replace("2020-03-11T05:00:00Z,100,110,90,105,1\n", ""))
    line = demo(files, "--hours", "24")
    assert "gap from 2020-03-11T05:00:00Z to 2020-03-11T06:00:00Z" in line
    assert "choose a window without it" in line


def test_demo__start_outside_the_file__says_where_it_runs(files: tuple[Path, Path]) -> None:
    assert "which runs from 2020-01-01T00:00:00Z" in demo(files, "--start", "2021-01-01")


def test_demo__start_without_history__says_from_when(files: tuple[Path, Path]) -> None:
    assert "start no earlier than" in demo(files, "--start", "2020-01-02")


def test_demo__start_that_is_no_time(files: tuple[Path, Path]) -> None:
    assert "is no UTC date or time" in demo(files, "--start", "yesterday")


def test_demo__unknown_underlying__lists_the_known() -> None:
    assert "unknown underlying 'DOGE': choose one of BTC, ETH" in fails("demo", "--prices", "DOGE=x.csv")


def test_demo__one_underlying_only__asks_for_the_other(files: tuple[Path, Path]) -> None:
    assert "no prices of ETH: add --prices ETH=FILE" in fails("demo", "--prices", f"BTC={files[0]}")


@pytest.mark.parametrize("value", ["BTC", "=x.csv", "BTC="])
def test_demo__malformed_prices_option__shows_the_form(value: str) -> None:
    assert "write NAME=FILE" in fails("demo", "--prices", value)


def test_demo__same_underlying_twice(files: tuple[Path, Path]) -> None:
    assert "names BTC twice" in fails("demo", "--prices", f"BTC={files[0]}", "--prices", f"btc={files[0]}")


def test_demo__daily_candles__refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    daily = "".join(line for line in GOOD.splitlines(keepends=True) if "T00:" in line or line.startswith("ts"))
    for path in files:
        path.write_text(daily)
    assert "the replay needs hourly ones" in demo(files)


@pytest.mark.parametrize(("option", "value"), [("--accounts", "1"), ("--hours", "0")])
def test_demo__count_out_of_range(option: str, value: str) -> None:
    assert "choose between" in fails("demo", option, value)


def test_verify__unreachable_node__names_the_url(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert f"cannot reach the node at {url}" in fails("verify", "--rpc", url, "--bundles", str(tmp_path))


def test_verify__no_bundles__says_how_to_name_the_folder() -> None:
    assert "name the folder with --bundles" in fails("verify", "--bundles", "no-such-folder")


def test_help__every_command__has_an_example() -> None:
    assert run("--help").exit_code == 0
    for name in main.commands:
        text = run(name, "--help").output
        assert "Example" in text, name
        assert f"ballast {name}" in text, name


def test_synthetic__says_so() -> None:
    _, _, source = load_prices(Plan())
    assert "synthetic" in source


def test_listing__every_kind_and_nothing_expires_in_the_run() -> None:
    candles, start, _ = load_prices(Plan())
    end = start + 72 * HOUR
    listed = listing(candles, start, end)
    assert [i.id for i in listed] == sorted({i.id for i in listed})
    for number in candles:
        kinds = [i.kind for i in listed if i.underlying == number]
        assert {Kind.PERPETUAL, Kind.FUTURE, Kind.CALL, Kind.PUT} == set(kinds)
    assert min(i.expiry for i in listed if i.expiry) >= end + 3 * DAY


def test_command__reproduces_the_plan() -> None:
    plan = Plan({"BTC": Path("x"), "ETH": Path("y")}, "2020-03-11", 72, 60, 7)
    assert command(plan) == (
        "ballast demo --prices BTC=FILE --prices ETH=FILE --start 2020-03-11 --hours 72 --accounts 60 --seed 7"
    )
