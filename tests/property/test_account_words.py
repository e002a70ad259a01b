"""The packed words of an account against plain dictionaries and integers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.chain.artifacts import artifact
from offchain.chain.backends import Contract, Reverted
from offchain.chain.revm import RevmChain

OWNER = int.from_bytes(b"\xab" * 20, "big")
HARNESS: list[Contract] = []


@pytest.fixture(scope="module", autouse=True)
def harness() -> Iterator[None]:
    chain = RevmChain()
    HARNESS.append(chain.deploy(artifact("mocks/AccountWordsHarness"), sender=chain.accounts[0]))
    yield
    HARNESS.clear()


def packed(counts: dict[int, int]) -> int:
    """The word of counts by underlying."""
    word = 0
    for place, (underlying, count) in enumerate(sorted(counts.items())):
        word |= (underlying << 8 | count) << (72 - 24 * place)
    return word


COUNTS = st.dictionaries(st.integers(1, 65535), st.integers(1, 32), max_size=4)


@settings(max_examples=150, deadline=None)
@given(COUNTS, st.integers(1, 65535), st.data())
def test_counts__up_and_down__stay_canonical(counts: dict[int, int], other: int, data: st.DataObject) -> None:
    u = data.draw(st.sampled_from([*sorted(counts), other]))
    call = HARNESS[0].call
    if u in counts or len(counts) < 4:
        up = counts | {u: counts.get(u, 0) + 1}
        if sum(counts.values()) < 128:
            assert call.counted(packed(counts), u) == packed(up)
            assert call.uncounted(packed(up), u) == packed(counts)
        else:
            with pytest.raises(Reverted, match="ledger: too many positions"):
                call.counted(packed(counts), u)
    elif sum(counts.values()) < 128:
        with pytest.raises(Reverted, match="ledger: too many underlyings"):
            call.counted(packed(counts), u)
    if u not in counts:
        with pytest.raises(Reverted, match="ledger: counts are false"):
            call.uncounted(packed(counts), u)


CASH, U32, U64 = st.integers(-(2**127), 2**127 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@settings(max_examples=150, deadline=None)
@given(COUNTS, U64, CASH, st.integers(0, 2**31 - 1), U64, U32)
def test_account__spread__gives_every_field(
    counts: dict[int, int], account: int, cash: int, version: int, epoch: int, total: int
) -> None:
    holdings = (cash % 2**128) << 128 | packed(counts) << 32 | total
    title = OWNER << 96 | version << 64 | epoch
    head = account << 192 | sum(counts.values()) << 64 | total
    for place, underlying in enumerate(sorted(counts)):
        head |= underlying << (176 - 16 * place)
    found = HARNESS[0].call.spread(account, title, holdings)
    assert found == (to_checksum_address("0x" + "ab" * 20), version, cash, epoch, head, bytes(32))


@settings(max_examples=150, deadline=None)
@given(CASH, st.integers(-(2**128), 2**128), st.integers(0, 2**128 - 1))
def test_cash__changed__or_refused(cash: int, change: int, rest: int) -> None:
    state = (cash % 2**128) << 128 | rest
    if not -(2**127) < change < 2**127:
        with pytest.raises(Reverted, match="ledger: amount out of range"):
            HARNESS[0].call.with_cash(state, change)
    elif not -(2**127) <= cash + change < 2**127:
        with pytest.raises(Reverted, match="ledger: cash out of range"):
            HARNESS[0].call.with_cash(state, change)
    else:
        assert HARNESS[0].call.with_cash(state, change) == ((cash + change) % 2**128) << 128 | rest


def test_version__the_last__is_not_bumped() -> None:
    owner = "0x" + "cd" * 20
    for isolated in (0, 1 << 95):
        title = OWNER << 96 | isolated | (2**31 - 2) << 64 | 77
        last = int(owner, 16) << 96 | isolated | (2**31 - 1) << 64 | 77
        assert HARNESS[0].call.transferred(title, owner) == last
        with pytest.raises(Reverted, match="ledger: no more versions"):
            HARNESS[0].call.transferred(last, owner)


LOTS = st.integers(1 - 2**32, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.integers(1, 5), LOTS), st.integers(1, 5), LOTS, st.integers(0, 2**96 - 1))
def test_lots__of_each_kind__are_apart(held: dict[int, int], kind: int, lots: int, rest: int) -> None:
    call = HARNESS[0].call
    word = 0
    for each, size in held.items():
        word = call.with_lots(word, rest << 8 | each, size)
    word = call.with_lots(word, rest << 8 | kind, lots)
    wanted = held | {kind: lots}
    assert [call.lots(word, rest << 8 | each) for each in range(1, 6)] == [wanted.get(e, 0) for e in range(1, 6)]
    for gone in list(wanted):
        word = call.with_lots(word, rest << 8 | gone, 0)
    assert word == 0


@pytest.mark.parametrize("kind", [0, 6, 7, 255])
def test_lots__of_no_kind__are_none(kind: int) -> None:
    assert HARNESS[0].call.lots(2**256 - 1, kind) == 0
    with pytest.raises(Reverted, match="ledger: no such kind"):
        HARNESS[0].call.with_lots(0, kind, 1)
