"""The command `compress`: what it prints, writes and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from offchain.cli import main
from offchain.risk.book import parse_book
from offchain.risk.models.catalog import requirement

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "books.json"


def _run(*words: object) -> Result:
    return CliRunner().invoke(main, ["compress", *(str(word) for word in words)])


def _document() -> dict[str, Any]:
    return json.loads(EXAMPLE.read_text())


def _apart(folder: Path, document: dict[str, Any]) -> list[Path]:
    """The same accounts, a file each."""
    out = []
    for given in document["accounts"]:
        book = {"format": "ballast-book", "version": 1, "timestamp": document["timestamp"],
                "underlyings": document["underlyings"], **given}  # fmt: skip
        path = folder / f"{given['name']}.json"
        path.write_text(json.dumps(book))
        out.append(path)
    return out


def test_compress__json__saves_and_adds_up() -> None:
    result = _run(EXAMPLE, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["saved"] == found["requirement"] - found["requirement_after"] > 0
    assert found["ledger"]["before"] == found["ledger"]["after"]
    assert found["trades"]
    for each in found["accounts"].values():
        assert each["requirement_after"] + each["fees"] <= each["requirement"]
        assert each["mm_excess_after"] >= each["mm_excess"]
        assert each["requirement_without_netting"] - sum(each["offsets"].values()) == each["requirement"]


def test_compress__requirement__that_of_the_ballast_model() -> None:
    """In whole lots and integers: the float model of `ballast margin` differs by units of a lot alone."""
    found, document = json.loads(_run(EXAMPLE, "--json").output), _document()
    for given in document["accounts"]:
        shared = {k: document[k] for k in ("timestamp", "underlyings")}
        want = requirement(parse_book({"format": "ballast-book", "version": 1, **shared, **given}), "ballast")
        got = found["accounts"][given["name"]]["requirement"] / 1e6
        assert got == pytest.approx(want.maintenance, abs=0.2)


def test_compress__a_file_an_account__the_same(tmp_path: Path) -> None:
    one, several = _run(EXAMPLE, "--json"), _run(*_apart(tmp_path, _document()), "--json")
    assert several.exit_code == 0, several.output
    assert json.loads(several.output) == json.loads(one.output)


def test_compress__text_and_page__tables_and_a_picture(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = _run(EXAMPLE, "--fee", 1, "--tolerance", 25, "--html", page)
    assert result.exit_code == 0, result.output
    for word in ("without netting", "between underlyings", "BTC-27FEB26-90000-C", "trades lower the sum"):
        assert word in result.output
    text = page.read_text()
    assert "<svg" in text
    assert "south" in text


def test_compress__wider_tolerance__saves_more() -> None:
    saved = [json.loads(_run(EXAMPLE, "--tolerance", t, "--json").output)["saved"] for t in (0, 5, 50)]
    assert 0 <= saved[0] <= saved[1] < saved[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["accounts"].pop(), None),
        (lambda d: d["accounts"].__delitem__(slice(1, 3)), "1 accounts: compression needs at least two"),
        (lambda d: d.update(version=2), "version: 2 is not 1"),
        (lambda d: d.update(colour=1), "colour: is not known"),
        (lambda d: d["accounts"][1].pop("name"), r"accounts[1].name: missing"),
        (lambda d: d["accounts"][1].update(name="north"), "'north' is given twice"),
        (lambda d: d["accounts"][1].update(equity=1), "accounts[1].equity: is not known"),
        (lambda d: d["accounts"][0]["legs"][2].update(quantity=0.00005), "is not whole lots of 1/1000"),
        (lambda d: d["accounts"][0]["legs"][0].update(volatility=0.6), "has other market data than in north"),
        (lambda d: d["accounts"][0]["legs"][0].update(volatility=-1), "volatility"),
        (lambda d: d["underlyings"]["BTC"].update(settlement="coin"), "coin-settled"),
        (lambda d: d.update(accounts={}), "accounts: is not a list of objects"),
    ],
)
def test_compress__bad_input__named_and_exit_2(tmp_path: Path, change: Any, message: str | None) -> None:
    document = _document()
    change(document)
    path = tmp_path / "books.json"
    path.write_text(json.dumps(document))
    result = _run(path)
    assert result.exit_code == (0 if message is None else 2), result.output
    if message is not None:
        assert message in result.output


def test_compress__books_of_two_moments__refused(tmp_path: Path) -> None:
    paths = _apart(tmp_path, _document())
    late = json.loads(paths[1].read_text()) | {"timestamp": "2026-01-30T09:00:00Z"}
    paths[1].write_text(json.dumps(late))
    result = _run(*paths)
    assert result.exit_code == 2
    assert "books of one moment only" in result.output


def test_compress__no_file__refused(tmp_path: Path) -> None:
    result = _run(tmp_path / "none.json")
    assert result.exit_code == 2
    assert "cannot be read" in result.output
