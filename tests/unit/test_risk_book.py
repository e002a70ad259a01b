"""Books: the example, the formats, and every way a book can be wrong, with the field and the value named."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offchain.instruments import Kind
from offchain.risk import black76
from offchain.risk.book import BookError, csv_document, load_book, parse_book
from offchain.risk.schema import SchemaError, check

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
EXAMPLE = json.loads((EXAMPLES / "book.json").read_text())


def test_load__example__equity_is_cash_marks_and_pnl() -> None:
    book = load_book(EXAMPLES / "book.json")
    assert book.held == ("BTC", "ETH")
    assert book.timestamp == 1_769_760_000
    perp, eth = 1.5 * (84_040 - 82_500), -8 * (2_741.5 - 2_760)
    options = 0.0
    for leg in book.legs:
        if leg.kind.is_option:
            years = (leg.expiry - book.timestamp) / (365 * 86_400)
            price = black76.price(leg.forward, leg.strike, years, leg.volatility, leg.kind is Kind.CALL)
            options += leg.quantity * float(price)
    assert book.equity == pytest.approx(60_000 + perp + eth + options, rel=1e-13)
    assert [leg.symbol for leg in book.legs[:2]] == ["BTC-PERP", "BTC-27FEB26-95000-C"]


def test_load__volatility_from_quotes_and_smile__the_price_of_each() -> None:
    book = load_book(EXAMPLES / "book.json")
    put = book.legs[3]
    years = (put.expiry - book.timestamp) / (365 * 86_400)
    assert float(black76.price(put.forward, put.strike, years, put.volatility, False)) == pytest.approx(
        860.0, rel=1e-12
    )
    call, smile = book.legs[1], book.underlyings["BTC"].expiries[book.legs[1].expiry].svi
    assert smile is not None
    assert call.volatility == pytest.approx(float(smile.volatility(math.log(95_000 / 84_420))))


def test_load__csv__as_the_same_json() -> None:
    book = load_book(EXAMPLES / "book.csv")
    assert [leg.symbol for leg in book.legs] == ["BTC-PERP", "BTC-27FEB26-95000-C", "BTC-27FEB26-75000-P"]
    document = csv_document((EXAMPLES / "book.csv").read_text())
    assert parse_book(json.loads(json.dumps(document))) == book
    assert book.legs[0].entry == 82_500.0
    assert book.cash == 60_000.0


def test_worth__inverse_perpetual__in_coins_at_the_mark() -> None:
    given = copy.deepcopy(EXAMPLE)
    given["underlyings"]["BTC"]["settlement"] = "coin"
    book = parse_book(given)
    coins = 1.5 * 84_040 * (1 / 82_500 - 1 / 84_040)
    assert float(book.worth[0]) == pytest.approx(coins * 84_040)


Change = Callable[[dict[str, Any]], object]
NAN, INF = math.nan, math.inf
TOKEN = {"underlying": "BTC", "kind": "token", "quantity": -1}
BTC = lambda d: d["underlyings"]["BTC"]  # noqa: E731
NEAR = lambda d: BTC(d)["expiries"]["2026-02-27"]  # noqa: E731
BAD: list[tuple[str, Change, str]] = [
    ("nan price", lambda d: BTC(d).update(index=NAN), "underlyings.BTC.index: nan is not a finite number"),
    ("infinite forward", lambda d: NEAR(d).update(forward=INF), r"2026-02-27.forward: inf is not a finite number"),
    ("negative price", lambda d: BTC(d).update(index=-5), "underlyings.BTC.index: -5 is not above 0"),
    ("zero mark of the perpetual", lambda d: BTC(d).update(perpetual=0), "BTC.perpetual: 0 is not above 0"),
    ("price as text", lambda d: BTC(d).update(index="84000"), "BTC.index: '84000' is not a number"),
    ("price as truth", lambda d: BTC(d).update(index=True), "BTC.index: True is not a number"),
    ("zero time", lambda d: d.update(timestamp="2026-02-27T08:00:00Z"), "2026-02-27: the expiry is not after"),
    ("no such day", lambda d: d.update(timestamp="2026-02-30T08:00:00Z"), "'2026-02-30T08:00:00Z' is no time"),
    ("time as words", lambda d: d.update(timestamp="now"), "timestamp: 'now' is not of the form 2026-03-27T08:00:00Z"),
    ("crossed quotes", lambda d: d["legs"][3].update(bid=900), r"legs\[3\].bid: 900 is above the ask 880: crossed"),
    ("one-sided quote", lambda d: d["legs"][3].pop("ask"), r"legs\[3\].ask: missing"),
    ("quote below intrinsic", lambda d: d["legs"][3].update(strike=95_000), r"legs\[3\].bid: price 860.0 .* intrinsic"),
    ("quote above strike", lambda d: d["legs"][3].update(bid=7e4, ask=7e4), r"legs\[3\].bid: .* not below the strike"),
    ("absurd implied", lambda d: d["legs"][3].update(bid=6.4e4, ask=6.4e4), r"implies a volatility .* not within"),
    ("absurd volatility", lambda d: d["legs"][5].update(volatility=68), r"legs\[5\].volatility: 68 is above 10"),
    ("no volatility", lambda d: d["legs"][5].update(volatility=0), r"legs\[5\].volatility: 0 is below 0.01"),
    ("nan volatility", lambda d: d["legs"][5].update(volatility=NAN), r"legs\[5\].volatility: nan is not a finite"),
    ("two prices", lambda d: d["legs"][5].update(mark=10), r"legs\[5\].mark: 10 beside volatility 0.72: give one"),
    ("nothing to price by", lambda d: d["legs"][5].pop("volatility"), r"legs\[5\].volatility: missing: give"),
    ("unknown kind", lambda d: d["legs"][0].update(kind="swap"), r"legs\[0\].kind: 'swap' is none of perp"),
    ("unknown underlying", lambda d: d["legs"][0].update(underlying="DOGE"), r"underlying: 'DOGE' is not among"),
    ("unknown field", lambda d: d["legs"][0].update(qty=1), r"legs\[0\].qty: unknown field; known"),
    ("missing quantity", lambda d: d["legs"][0].pop("quantity"), r"legs\[0\]: the field 'quantity' is missing"),
    ("missing index", lambda d: BTC(d).pop("index"), "underlyings.BTC: the field 'index' is missing"),
    ("missing legs", lambda d: d.pop("legs"), "the document: the field 'legs' is missing"),
    ("missing strike", lambda d: d["legs"][1].pop("strike"), r"legs\[1\].strike: missing: a call needs it"),
    ("strike of a perpetual", lambda d: d["legs"][0].update(strike=5), r"legs\[0\].strike: 5: a perpetual has none"),
    ("negative strike", lambda d: d["legs"][1].update(strike=-1), r"legs\[1\].strike: -1 is not above 0"),
    ("no forward", lambda d: d["legs"][1].update(expiry="2026-06-26"), r"legs\[1\].expiry: '2026-06-26' is not among"),
    ("expired leg", lambda d: d["legs"][1].update(expiry="2026-01-30"), r"legs\[1\].expiry: '2026-01-30' is not after"),
    ("no mark of a perpetual", lambda d: BTC(d).pop("perpetual"), r"BTC.perpetual: missing: legs\[0\] is a perpetual"),
    ("nothing held", lambda d: d["legs"][0].update(quantity=0), r"legs\[0\].quantity: 0: leave out"),
    ("short token", lambda d: d["legs"][0].update(kind="token", quantity=-1, entry=1), r"entry: 1: a token has none"),
    ("token sold", lambda d: d["legs"].append(TOKEN), r"legs\[7\].quantity: -1: tokens cannot be short"),
    ("duplicate", lambda d: d["legs"].append(dict(d["legs"][1])), r"legs\[7\]: BTC-27FEB26-95000-C is given twice"),
    ("units", lambda d: NEAR(d).update(forward=84.42), "forward: 84.42 is far from the index 84000.0: check the units"),
    ("fixed beyond", lambda d: NEAR(d).update(fixed=9e4), "fixed: 90000.0 is more than the forward 84420.0"),
    ("smile below 0", lambda d: NEAR(d)["svi"].update(a=-1), "2026-02-27.svi: .* total variance falls"),
    ("smile without m", lambda d: NEAR(d)["svi"].pop("m"), "svi: the field 'm' is missing"),
    ("other format", lambda d: d.update(format="book"), "format: 'book' is not 'ballast-book'"),
    ("other version", lambda d: d.update(version=2), "version: 2 is not 1"),
    ("same expiry twice", lambda d: BTC(d)["expiries"].update({"2026-02-27T08:00:00Z": dict(NEAR(d))}), "given twice"),
    ("lower case name", lambda d: d["underlyings"].update(btc={"index": 1}), "underlyings.btc: unknown field"),
    ("cash without end", lambda d: d.update(cash=INF), "cash: inf is not a finite number"),
    ("legs as object", lambda d: d.update(legs={}), "legs: {} is not an array"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), [pytest.param(c, w, id=n) for n, c, w in BAD])
def test_parse__bad_book__field_and_value(change: Change, words: str) -> None:
    given = copy.deepcopy(EXAMPLE)
    given["legs"] = given["legs"][:7]
    change(given)
    with pytest.raises(BookError, match=f"^book: .*{words}"):
        parse_book(given)


def test_load__nan_in_the_file__named(tmp_path: Path) -> None:
    """JSON has no NaN, Python's reader takes it: it is refused with the field."""
    path = tmp_path / "b.json"
    path.write_text((EXAMPLES / "book.json").read_text().replace('"index": 84000', '"index": NaN'))
    with pytest.raises(BookError, match="b.json: underlyings.BTC.index: nan is not a finite number"):
        load_book(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "x.json: not JSON"),
        ('{"cash": 1, "cash": 2}', "x.json: the field 'cash' is given twice"),
        ("[]", r"x.json: the document: \[\] is not an object"),
    ],
)
def test_load__no_document__said(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BookError, match=words):
        load_book(tmp_path / "x.json")
    with pytest.raises(BookError, match="cannot be read"):
        load_book(tmp_path / "none.json")


HEAD = "record,underlying,expiry,timestamp,cash,index,forward,kind,strike,quantity,volatility\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("record,price\n", "column 'price' is unknown"),
        (HEAD + "trade,BTC\n", "line 2, record: 'trade' is none of book, underlying, expiry, leg"),
        (HEAD + "underlying,BTC,,,,abc\n", "line 2, index: 'abc' is not a number"),
        (HEAD + "underlying,BTC,,,,1,2\n", "line 2, forward: '2': a underlying has none"),
        (HEAD + "expiry,BTC,,,,,2\n", "line 2, expiry: missing"),
        (HEAD + "underlying,BTC,,,,1\nunderlying,BTC,,,,1\n", "line 3: this underlying is given twice"),
        (HEAD + "leg,BTC,,,,,,perpetual,,1,,9,9\n", "line 2: more cells than columns"),
    ],
)
def test_csv__bad_row__line_and_column(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(BookError, match=f"x.csv: {words}"):
        load_book(tmp_path / "x.csv")


def test_csv__nan__refused_by_the_schema(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(HEAD + "book,,,1769760000\nunderlying,BTC,,,,nan\n")
    with pytest.raises(BookError, match="x.csv: underlyings.BTC.index: nan is not a finite number"):
        load_book(tmp_path / "x.csv")


def test_schema__unknown_keyword__refused() -> None:
    with pytest.raises(ValueError, match="'oneOf' is not known"):
        check({}, {"oneOf": []})
    with pytest.raises(SchemaError, match="a: has 0 items, at least 1"):
        check({"a": []}, {"properties": {"a": {"type": "array", "minItems": 1}}})
    check({"a": [1, 2.5]}, {"properties": {"a": {"items": {"type": "number", "exclusiveMaximum": 3}}}})
