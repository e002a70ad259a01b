"""The commands `margin` and `compare`: what they print, write and refuse."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from offchain.cli import main
from offchain.commands.books import MODEL_NAMES
from offchain.risk.book import load_book
from offchain.risk.models.catalog import MODELS, requirement

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "book.json"


def _run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_model_names__catalogue__the_same() -> None:
    assert tuple(MODELS) == MODEL_NAMES


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_margin__json__the_requirement(model: str) -> None:
    result = _run("margin", EXAMPLE, "--model", model, "--json")
    assert result.exit_code == 0, result.output
    found, want = json.loads(result.output), requirement(load_book(EXAMPLE), model)
    assert found["model"] == model
    assert found["initial"] == pytest.approx(want.initial, rel=1e-12)
    assert found["maintenance_excess"] == pytest.approx(found["equity"] - found["maintenance"], rel=1e-12)
    assert len(found["legs"]) == len(want.book.legs)
    assert set(found["legs"][1]["greeks"]) == {"delta", "gamma", "vega", "theta", "vanna", "volga", "charm"}
    assert sum(part["initial"] for part in found["parts"]) == pytest.approx(found["initial"])
    assert set(found["greeks"]) == {"BTC", "ETH"}


def test_margin__explain__parts_worst_scenario_and_legs() -> None:
    result = _run("margin", EXAMPLE, "--explain")
    assert result.exit_code == 0
    for words in ("worst scenario of BTC: -16%, vol down", "keeper reserve", "joint credit", "BTC-27FEB26-95000-C",
                  "contribution", "vega 1%"):  # fmt: skip
        assert words in result.output
    plain = _run("margin", EXAMPLE)
    assert "initial" in plain.output
    assert "keeper reserve" not in plain.output


def test_margin__html__one_page_with_its_pictures(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    result = _run("margin", EXAMPLE, "--model", "deribit", "--html", path)
    assert result.exit_code == 0, result.output
    page = path.read_text()
    assert page.count("<svg") == 2
    assert "support.deribit.com" in page
    assert "nan" not in page.lower().replace("maintenance", "")


def test_margin__name_with_markup__escaped(tmp_path: Path) -> None:
    given = json.loads(EXAMPLE.read_text())
    given["name"] = "<script>alert(1)</script>"
    (tmp_path / "b.json").write_text(json.dumps(given))
    assert _run("margin", tmp_path / "b.json", "--html", tmp_path / "p.html").exit_code == 0
    assert "<script>" not in (tmp_path / "p.html").read_text()


def test_margin__bad_book__one_line_and_exit_2(tmp_path: Path) -> None:
    given = json.loads(EXAMPLE.read_text())
    given["legs"][1]["strike"] = -5
    (tmp_path / "b.json").write_text(json.dumps(given))
    result = _run("margin", tmp_path / "b.json")
    assert result.exit_code == 2
    assert "ballast: b.json: legs[1].strike: -5 is not above 0" in result.output
    assert "Traceback" not in result.output
    assert _run("margin", tmp_path / "none.json").exit_code == 2


def test_margin__unknown_model__named() -> None:
    result = _run("margin", EXAMPLE, "--model", "simm")
    assert result.exit_code == 2
    assert "'simm' is not one of 'ballast', 'span'" in result.output


def test_compare__example__all_models_in_one_table(tmp_path: Path) -> None:
    result = _run("compare", EXAMPLE, "--html", tmp_path / "c.html")
    assert result.exit_code == 0
    for model in MODEL_NAMES:
        assert f"\n{model}" in result.output
    page = (tmp_path / "c.html").read_text()
    assert page.count("<svg") == 1
    assert "equity" in page


def test_compare__json__models_and_refusals(tmp_path: Path) -> None:
    given = json.loads(EXAMPLE.read_text())
    given["legs"].append({"underlying": "BTC", "kind": "token", "quantity": 1})
    (tmp_path / "b.json").write_text(json.dumps(given))
    result = _run("compare", tmp_path / "b.json", "--json")
    found = json.loads(result.output)
    assert set(found["models"]) == set(MODEL_NAMES)
    assert "takes cash only" in found["models"]["paradex"]["refused"]
    assert found["models"]["ballast"]["initial"] > 0
    text = _run("compare", tmp_path / "b.json", "--model", "paradex", "--model", "span").output
    assert "refused" in text
    assert "deribit" not in text


@pytest.mark.parametrize("command", ["margin", "compare"])
def test_help__examples__there(command: str) -> None:
    output = _run(command, "--help").output
    assert "Examples:" in output
    assert f"ballast {command} docs/examples/book.json" in output
