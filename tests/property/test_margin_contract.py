"""The margin modules of the contracts against plain integers and the integer twin, on generated portfolios."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract, Reverted
from offchain.chain.revm import RevmChain
from offchain.instruments import Instrument, InstrumentLeaf, Kind, Status
from offchain.risk.policy import MarginParams, default_policy
from offchain.risk.portfolios import apply_change, content_of, evaluate, pack_vector, scenario_vector

TOP = 2**31 - 1
LIMIT = 2**32 - 1
HARNESS: list[Contract] = []


@pytest.fixture(scope="module", autouse=True)
def harness() -> Iterator[None]:
    chain = RevmChain()
    HARNESS.append(chain.deploy(artifact("mocks/MarginHarness"), sender=chain.accounts[0]))
    yield
    HARNESS.clear()


@st.composite
def arrays(draw: st.DrawFn) -> tuple[int, ...]:
    """Forty values: all at one end, ends by turns, small, or anywhere."""
    style = draw(st.sampled_from(["high", "low", "turns", "small", "any"]))
    rnd = random.Random(draw(st.integers(0, 2**32)))
    match style:
        case "high":
            return (TOP,) * 40
        case "low":
            return (-TOP,) * 40
        case "turns":
            return tuple(rnd.choice((TOP, -TOP)) for _ in range(40))
        case "small":
            return tuple(rnd.randrange(-3, 4) for _ in range(40))
        case _:
            return tuple(rnd.randrange(-TOP, TOP + 1) for _ in range(40))


@st.composite
def leaves(draw: st.DrawFn, most: int = 10) -> dict[int, InstrumentLeaf]:
    """Instruments of up to four underlyings with any risk array and close-out."""
    found = {}
    chosen = st.lists(st.tuples(st.sampled_from((1, 2, 7, 65535)), st.integers(1, 9)), min_size=1, max_size=most)
    for underlying, strike in draw(chosen):
        identifier = Instrument(underlying, Kind.CALL, 1_700_000_000, strike).id
        cost = st.sampled_from((0, 1, 9_999, 2**32 - 1))
        found[identifier] = InstrumentLeaf(identifier, 1, 1, draw(cost), draw(cost), Status.OPEN, draw(arrays()))
    return found


@st.composite
def portfolios(draw: st.DrawFn) -> tuple[dict[int, int], dict[int, InstrumentLeaf]]:
    """Positions with `sum |q| < 2^32`, often exactly at it."""
    known = draw(leaves())
    ids = sorted(known)
    left, lots = LIMIT, {}
    for place, identifier in enumerate(ids):
        most = left - (len(ids) - place - 1)
        size = draw(st.one_of(st.integers(1, 1000), st.integers(1, most), st.just(most)))
        size = min(size, most)
        left -= size
        lots[identifier] = size if draw(st.booleans()) else -size
    return lots, known


def params(draw: st.DrawFn) -> MarginParams:
    """Margin parameters, ends included."""
    base = default_policy().margin
    return MarginParams(
        kappa=draw(st.sampled_from((0, 1, 2_000, 3_000))),
        im_factor=draw(st.sampled_from((10_001, 12_500, 65_535))),
        reserve=draw(st.sampled_from((0, 20_000_000, 2**48 - 1))),
        phi_min=base.phi_min,
        phi_max=base.phi_max,
        phi_ramp=base.phi_ramp,
        liquidator_share=base.liquidator_share,
        dust=base.dust,
        trade_fee=base.trade_fee,
        price_band=base.price_band,
    )


@settings(max_examples=120, deadline=None)
@given(portfolios(), st.integers(-(2**127), 2**127 - 1), st.data())
def test_evaluate__equals_the_twin(
    portfolio: tuple[dict[int, int], dict[int, InstrumentLeaf]], cash: int, data: st.DataObject
) -> None:
    lots, known = portfolio
    chosen = params(data.draw)
    body = content_of(300, lots, known)
    found = HARNESS[0].call.evaluate(body.head, body.cost, body.vector_words, cash, chosen.word)
    assert found == evaluate(body, cash, chosen)


@settings(max_examples=120, deadline=None)
@given(portfolios(), st.integers(-(10**15), 10**15), st.data())
def test_threat_6__the_order_of_the_excesses(
    portfolio: tuple[dict[int, int], dict[int, InstrumentLeaf]], cash: int, data: st.DataObject
) -> None:
    """risk >= 0; IM excess <= MM excess; PV < 0 implies MM excess < 0; a credit never covers a loss of all together."""
    lots, known = portfolio
    chosen = params(data.draw)
    body = content_of(300, lots, known)
    mark = sum(vector[0] for vector in body.vectors)
    near = data.draw(st.sampled_from((cash, -mark, -mark - 1, -mark + 1)))
    pv, risk, closeout, mm, im = HARNESS[0].call.evaluate(body.head, body.cost, body.vector_words, near, chosen.word)
    assert risk >= 0
    assert closeout >= 0
    assert im <= mm <= pv
    assert pv >= 0 or mm < 0
    worst = min(sum(row) for row in zip(*body.vectors, strict=True))
    assert risk >= mark - worst


@settings(max_examples=120, deadline=None)
@given(portfolios())
def test_threat_12__lanes__hold_the_sum(portfolio: tuple[dict[int, int], dict[int, InstrumentLeaf]]) -> None:
    """Accumulated words equal the packed plain sums for any long and short positions up to `sum |q| = 2^32 - 1`."""
    lots, known = portfolio
    for underlying, vector in scenario_vector(lots, known).items():
        ids = [i for i in lots if i >> 88 == underlying]
        found = HARNESS[0].call.vector([list(known[i].words) for i in ids], [lots[i] for i in ids])
        assert found == pack_vector(vector)
        assert sum(abs(lots[i]) for i in ids) <= LIMIT


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("value", [TOP, -TOP, 0])
def test_threat_12__lanes__at_every_corner(sign: int, value: int) -> None:
    """All of `sum |q|` in one instrument at either end: the lane is the last that fits, and its neighbours stay."""
    rows = tuple(value if row % 2 else -value for row in range(40))
    known = InstrumentLeaf(Instrument(1, Kind.PERPETUAL).id, 1, 0, 0, 0, Status.OPEN, rows)
    found = HARNESS[0].call.vector([list(known.words)], [sign * LIMIT])
    assert found == pack_vector([sign * LIMIT * v for v in rows])
    assert HARNESS[0].call.mark(list(known.words)) == -value


@settings(max_examples=120, deadline=None)
@given(portfolios(), st.data())
def test_change__equals_recomputation(
    portfolio: tuple[dict[int, int], dict[int, InstrumentLeaf]], data: st.DataObject
) -> None:
    """One position after another grows, shrinks, turns, opens or closes: the content stays the one of all positions."""
    lots, known = portfolio
    body = content_of(300, lots, known)
    held = dict(lots)
    for _ in range(data.draw(st.integers(1, 4))):
        identifier = data.draw(st.sampled_from(sorted(known)))
        before = held.get(identifier, 0)
        room = LIMIT - sum(abs(n) for i, n in held.items() if i != identifier)
        after = data.draw(st.one_of(st.just(0), st.integers(-room, room), st.sampled_from((room, -room))))
        if after == before:
            continue
        held[identifier] = after
        if not after:
            del held[identifier]
        wanted = content_of(300, held, known)
        leaf = known[identifier]
        found = HARNESS[0].call.change(
            body.head, body.cost, body.vector_words, leaf.pack(), after - before, before, wanted.head
        )
        assert found == (wanted.head, wanted.cost, tuple(wanted.vector_words))
        assert apply_change(body, leaf, before, after - before, wanted.underlyings) == wanted
        body = wanted


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(-LIMIT, LIMIT))
def test_closeout__long_and_short(c_long: int, c_short: int, lots: int) -> None:
    meta = (2**104 - 1) << 152 | c_long << 40 | c_short << 8 | 1
    assert HARNESS[0].call.closeout(meta, lots) == (lots * c_long if lots > 0 else -lots * c_short)


def test_change__more_than_the_content_holds__reverts() -> None:
    """A content whose close-out is too small for the position that leaves cannot be a true one."""
    leaf = InstrumentLeaf(Instrument(1, Kind.PERPETUAL).id, 1, 0, 10, 10, Status.OPEN, (5,) * 40)
    body = content_of(300, {leaf.id: 7}, {leaf.id: leaf})
    head = content_of(300, {leaf.id: 6}, {leaf.id: leaf}).head
    with pytest.raises(Reverted, match="margin: close-out below zero"):
        HARNESS[0].call.change(body.head, 9 << 128, body.vector_words, leaf.pack(), -1, 7, head)


def test_change__more_tokens_than_the_content_values__reverts() -> None:
    """Tokens leave with their value at the mark; a content that values them at less cannot be a true one."""
    leaf = InstrumentLeaf(Instrument(1, Kind.TOKEN).id, 1, 0, 10, 10, Status.OPEN, (5,) * 40)
    body = content_of(300, {leaf.id: 7}, {leaf.id: leaf})
    left = content_of(300, {leaf.id: 6}, {leaf.id: leaf})
    words = HARNESS[0].call.change(body.head, body.cost, body.vector_words, leaf.pack(), -1, 7, left.head)
    assert (words[0], words[1], list(words[2])) == (left.head, left.cost, left.vector_words)
    with pytest.raises(Reverted, match="margin: collateral below zero"):
        HARNESS[0].call.change(body.head, 70 << 128 | 4, body.vector_words, leaf.pack(), -1, 7, left.head)
