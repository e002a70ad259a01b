"""Portfolios in exact integers: scenario vectors, close-out, and the margin rule.

This is the twin of `contracts/lib/margin.vy` and `risk_array.vy`, in plain Python integers: the same numbers to the
last bit. `risk.bulk` computes them for all accounts at once.

    PV        = cash + sum_u PV_u[0]
    risk_u    = PV_u[0] - min_s PV_u[s]
    joint     = sum_u PV_u[0] - min_s sum_u PV_u[s]
    risk      = sum_u risk_u - floor(kappa * (sum_u risk_u - joint))
    closeout  = sum_i (long_i * c_long_i + short_i * c_short_i), + K if a position is open
    MM excess = PV - (risk + closeout)
    IM excess = PV - ceil(im_factor * (risk + closeout))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import add
from typing import NamedTuple

from offchain.instruments import Instrument, InstrumentLeaf, Kind
from offchain.risk.policy import MarginParams
from offchain.units import BASIS, MAX_POSITIONS, MAX_SUM_ABS, MAX_UNDERLYINGS, SCENARIOS, ceil_div, field, placed

_B63 = 1 << 63
_MASK64 = (1 << 64) - 1
VECTOR_WORDS = SCENARIOS // 4

Vector = tuple[int, ...]


class State(StrEnum):
    """What an account may do."""

    HEALTHY = "HEALTHY"
    MARGIN_CALL = "MARGIN_CALL"
    LIQUIDATABLE = "LIQUIDATABLE"
    BANKRUPT = "BANKRUPT"


class Margin(NamedTuple):
    """The margin of an account, micro-USD, in the order of the contracts' struct.

    Always ``risk >= 0``; ``im_excess <= mm_excess``; ``pv < 0`` implies ``mm_excess < 0``.
    """

    pv: int
    risk: int
    closeout: int
    mm_excess: int
    im_excess: int

    @property
    def requirement(self) -> int:
        """Maintenance requirement: risk and close-out."""
        return self.risk + self.closeout

    @property
    def state(self) -> State:
        """The state of an account without collateral tokens."""
        return state_of(self)


def state_of(margin: Margin, collateral: int = 0) -> State:
    """State of an account; `collateral` is the value of its collateral tokens at the mark, micro-USD."""
    if margin.pv < 0:
        return State.BANKRUPT
    if margin.mm_excess < 0:
        return State.LIQUIDATABLE
    if margin.im_excess < 0 or margin.pv - collateral < 0:
        return State.MARGIN_CALL
    return State.HEALTHY


def claim(pv: int, requirement: int) -> int:
    """What insurance would at most pay in for an account at takeover, micro-USD: contracts/lib/claim.vy."""
    return max(requirement // 10 - pv, 0)


def liquidators_part(penalty: int, split: int, before: Margin, bare: Margin) -> int:
    """The liquidator's part of a penalty, micro-USD: its share, less what insurance needs for the rise of its claim.

    Parameters
    ----------
    penalty : micro-USD. split : the liquidator's share, 1e-4. before : margin before the takes. bare : after them, the
        penalty not yet paid.
    """
    rise = claim(bare.pv - penalty, bare.requirement) - claim(before.pv, before.requirement)
    return max(min(penalty * split // 10_000, penalty - max(rise, 0)), 0)


def pack_vector(vector: Sequence[int]) -> tuple[int, ...]:
    """The ten words of a scenario vector. Raises ValueError where a value does not fit its lane."""
    if len(vector) != SCENARIOS:
        raise ValueError(f"a scenario vector has {SCENARIOS} values, not {len(vector)}")
    for row, value in enumerate(vector):
        if not -_B63 <= value < _B63:
            raise ValueError(f"value {value} of row {row} does not fit 64 bits")
    return tuple(
        sum((vector[4 * w + i] + _B63) << (64 * i) for i in range(4))
        for w in range(VECTOR_WORDS)
    )  # fmt: skip


def unpack_vector(words: Sequence[int]) -> Vector:
    """The forty values of ten words."""
    if len(words) != VECTOR_WORDS:
        raise ValueError(f"a scenario vector has {VECTOR_WORDS} words, not {len(words)}")
    return tuple(((words[row // 4] >> (64 * (row % 4))) & _MASK64) - _B63 for row in range(SCENARIOS))


@dataclass(frozen=True)
class Content:
    """The margin content of an account: its leaf, or checkpoint, without the position hash.

    Attributes
    ----------
    account : account id.
    underlyings : with an open position, ascending.
    count : open positions.
    sum_abs : sum of their sizes, lots.
    closeout : without the keeper reserve, micro-USD.
    collateral : value of collateral tokens at the mark, micro-USD.
    vectors : for each underlying, forty values in micro-USD.
    """

    account: int
    underlyings: tuple[int, ...]
    count: int
    sum_abs: int
    closeout: int
    collateral: int
    vectors: tuple[Vector, ...]

    @property
    def head(self) -> int:
        """The word of account id, underlyings, count and sum of sizes."""
        word = (
            placed("account", self.account, 64, 192)
            | placed("count", self.count, 64, 64)
            | placed("sum of sizes", self.sum_abs, 64, 0)
        )
        for place, underlying in enumerate(self.underlyings):
            word |= placed("underlying", underlying, 16, 176 - 16 * place)
        return word

    @property
    def cost(self) -> int:
        """The word of close-out and collateral."""
        return placed("close-out", self.closeout, 128, 128) | placed("collateral", self.collateral, 128, 0)

    @property
    def vector_words(self) -> list[int]:
        """Ten words for each underlying."""
        return [word for vector in self.vectors for word in pack_vector(vector)]

    @classmethod
    def from_words(cls, head: int, cost: int, words: Sequence[int]) -> Content:
        """The content of a leaf's words.

        Raises
        ------
        ValueError
            The underlyings of the head are not ascending, or the words are not ten for each.
        """
        slots = [field(head, 191 - 16 * place, 176 - 16 * place) for place in range(MAX_UNDERLYINGS)]
        underlyings = tuple(u for u in slots if u)
        if slots != [*underlyings, *[0] * (MAX_UNDERLYINGS - len(underlyings))] or list(underlyings) != sorted(
            set(underlyings)
        ):
            raise ValueError(f"underlyings {slots} of head {head:#x} are not ascending, then zero")
        if len(words) != VECTOR_WORDS * len(underlyings):
            raise ValueError(f"{len(words)} words are not ten for each of {len(underlyings)} underlyings")
        return cls(
            field(head, 255, 192),
            underlyings,
            field(head, 127, 64),
            field(head, 63, 0),
            cost >> 128,
            cost & ((1 << 128) - 1),
            tuple(unpack_vector(words[at : at + VECTOR_WORDS]) for at in range(0, len(words), VECTOR_WORDS)),
        )


def _underlying(identifier: int) -> int:
    return identifier >> 88


def _closeout(leaf: InstrumentLeaf, lots: int) -> int:
    return lots * leaf.c_long if lots > 0 else -lots * leaf.c_short


def _add(vector: Iterable[int], array: Sequence[int], lots: int) -> Vector:
    return tuple([a + lots * v for a, v in zip(vector, array, strict=True)])


def scenario_vector(positions: Mapping[int, int], leaves: Mapping[int, InstrumentLeaf]) -> dict[int, Vector]:
    """Scenario vectors of a portfolio by underlying, ascending: ``PV_u[s] = sum_i q_i * v_i[s]``.

    Parameters
    ----------
    positions : lots by instrument id; zeros are passed over.
    leaves : by instrument id.

    Raises
    ------
    ValueError
        A position has no leaf.
    """
    out: dict[int, Vector] = {}
    for identifier in sorted(positions):
        lots = positions[identifier]
        if not lots:
            continue
        leaf = leaves.get(identifier)
        if leaf is None:
            raise ValueError(f"no leaf for {Instrument.from_id(identifier).symbol()} ({identifier:#x})")
        key = _underlying(identifier)
        out[key] = _add(out.get(key, (0,) * SCENARIOS), leaf.array, lots)
    return out


def content_of(account: int, positions: Mapping[int, int], leaves: Mapping[int, InstrumentLeaf]) -> Content:
    """The margin content of an account, from all its positions.

    Parameters
    ----------
    account : account id.
    positions : lots by instrument id; zeros are passed over.
    leaves : by instrument id.

    Raises
    ------
    ValueError
        A position has no leaf; more positions, underlyings or lots than an account may hold; a token held short.
    """
    vectors = scenario_vector(positions, leaves)
    held = {key: lots for key, lots in positions.items() if lots}
    sum_abs = sum(abs(lots) for lots in held.values())
    if len(held) > MAX_POSITIONS:
        raise ValueError(f"account {account} has {len(held)} positions, more than {MAX_POSITIONS}")
    if len(vectors) > MAX_UNDERLYINGS:
        raise ValueError(f"account {account} has {len(vectors)} underlyings, more than {MAX_UNDERLYINGS}")
    if sum_abs >= MAX_SUM_ABS:
        raise ValueError(f"account {account} holds {sum_abs} lots, not below 2^32")
    collateral = 0
    for key, lots in held.items():
        if key & 0xFF == Kind.TOKEN:
            if lots < 0:
                raise ValueError(f"account {account} holds {lots} lots of a token: tokens cannot be short")
            collateral += lots * leaves[key].array[0]
    return Content(
        account=account,
        underlyings=tuple(vectors),
        count=len(held),
        sum_abs=sum_abs,
        closeout=sum(_closeout(leaves[key], lots) for key, lots in held.items()),
        collateral=collateral,
        vectors=tuple(vectors.values()),
    )


def apply_change(
    content: Content, leaf: InstrumentLeaf, held: int, change: int, underlyings: Sequence[int] | None = None
) -> Content:
    """The content after one position changed by `change` lots from `held`.

    Exact, because everything but the final minimum is linear in positions. The words equal those of `content_of` on
    the new positions if `underlyings` (those with an open position afterwards, as the ledger knows them) is given.
    Without it, an underlying whose vector became zero in every row when a position was closed is taken to have left;
    the margin is the same either way.

    Raises
    ------
    ValueError
        The result does not fit the limits of an account, or `held` is not what the content can hold.
    """
    key, after = _underlying(leaf.id), held + change
    vectors = dict(zip(content.underlyings, content.vectors, strict=True))
    vectors[key] = _add(vectors.get(key, (0,) * SCENARIOS), leaf.array, change)
    count = content.count + bool(after) - bool(held)
    if underlyings is not None:
        vectors = {u: vectors.get(u, (0,) * SCENARIOS) for u in sorted(underlyings)}
    elif count == 0 or (not after and not any(vectors[key])):
        del vectors[key]
    sum_abs = content.sum_abs + abs(after) - abs(held)
    closeout = content.closeout + _closeout(leaf, after) - _closeout(leaf, held)
    if count < 0 or sum_abs < 0 or closeout < 0:
        raise ValueError(f"account {content.account} does not hold {held} lots of {leaf.id:#x}")
    if count > MAX_POSITIONS or len(vectors) > MAX_UNDERLYINGS or sum_abs >= MAX_SUM_ABS:
        raise ValueError(
            f"account {content.account}: too many positions, underlyings or lots after {change} of {leaf.id:#x}"
        )
    value = leaf.array[0] * change if leaf.id & 0xFF == Kind.TOKEN else 0
    order = sorted(vectors)
    return Content(
        content.account,
        tuple(order),
        count,
        sum_abs,
        closeout,
        content.collateral + value,
        tuple(vectors[u] for u in order),
    )


def evaluate(content: Content, cash: int, params: MarginParams) -> Margin:
    """The margin rule.

    Parameters
    ----------
    content : margin content. cash : signed micro-USD.
    params : of the epoch's policy. The credit is floored and the initial requirement ceiled: both against the account.
    """
    mark = apart = 0
    total: Iterable[int] = (0,) * SCENARIOS
    for place, vector in enumerate(content.vectors):
        mark += vector[0]
        apart += vector[0] - min(vector)
        total = map(add, total, vector) if place else vector
    joint = mark - min(total)
    risk = apart - params.kappa * (apart - joint) // BASIS
    closeout = content.closeout + (params.reserve if content.count else 0)
    pv = cash + mark
    requirement = risk + closeout
    return Margin(
        pv=pv,
        risk=risk,
        closeout=closeout,
        mm_excess=pv - requirement,
        im_excess=pv - ceil_div(params.im_factor * requirement, BASIS),
    )
