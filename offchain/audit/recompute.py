"""What an epoch should say, computed anew: header bytes, Merkle roots, risk arrays, account leaves, margins.

Only pricing and policy (`offchain.risk`) are shared with those who post, and the hash library. Everything else here is
written a second time, plainly, in Python integers, from docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from eth_abi import encode

from offchain.instruments import Instrument
from offchain.keccak import keccak256
from offchain.risk.arrays import risk_arrays
from offchain.risk.closeout import Missing, close_out, unquoted_close_out
from offchain.risk.policy import Policy

HEADER = "(uint64,uint64,uint64,bytes32,uint64,bytes32,uint256,bytes32,bytes32,bytes32,uint256[])"
ROWS = 40
DRIFT = 1 << 30
"""A value beyond this, micro-USD a lot, makes an instrument close-only."""
OPEN, CLOSE_ONLY, EXPIRED = 1, 2, 3
LIVE, PROVISIONAL, DISPUTED = 1, 2, 3
TOKEN = 5
FEED_DISAGREES = 2
"""What `StatusChanged` says of a feed that is too far from the index."""


@dataclass(frozen=True)
class Header:
    """The header that an `EpochPosted` event carries; fields in ABI order."""

    epoch: int
    timestamp: int
    snapshot_block: int
    snapshot_hash: bytes
    committee_set: int
    policy_hash: bytes
    shortfall: int
    instrument_root: bytes
    account_root: bytes
    bundle_hash: bytes
    marks: tuple[int, ...]

    @classmethod
    def of(cls, fields: Sequence[Any]) -> Header:
        values = dict(zip(cls.__dataclass_fields__, fields, strict=True))
        return cls(**values | {"marks": tuple(values["marks"])})

    @property
    def fields(self) -> tuple[Any, ...]:
        return (*(getattr(self, name) for name in self.__dataclass_fields__),)

    @cached_property
    def hash(self) -> bytes:
        """`keccak256(abi.encode(header))`."""
        return keccak256(encode([HEADER], [self.fields]))

    def digest(self, chain_id: int, oracle: str) -> bytes:
        """What the committee signs."""
        return signing_digest("ballast.header.v1", chain_id, oracle, self.committee_set, self.epoch, self.hash)


def signing_digest(domain: str, chain_id: int, oracle: str, committee_set: int, epoch: int, body: bytes) -> bytes:
    """The 32 bytes that a member signs, for one domain, chain, oracle, committee set and epoch."""
    kinds = ["bytes32", "uint256", "address", "uint256", "uint256", "bytes32"]
    return keccak256(encode(kinds, [keccak256(domain.encode()), chain_id, oracle, committee_set, epoch, body]))


@dataclass(frozen=True)
class Mark:
    """What a header says of an underlying: micro-USD per unit, micro-USD per lot, 1e-6, and its status."""

    underlying: int
    index: int
    funding: int
    scan_range: int
    status: int

    @property
    def word(self) -> int:
        funding = self.funding % (1 << 64)
        return self.underlying << 240 | self.index << 176 | funding << 112 | self.scan_range << 80 | self.status << 72

    @classmethod
    def of(cls, word: int) -> Mark:
        funding = word >> 112 & (1 << 64) - 1
        return cls(
            word >> 240,
            word >> 176 & (1 << 64) - 1,
            funding - (1 << 64) if funding >> 63 else funding,
            word >> 80 & (1 << 32) - 1,
            word >> 72 & 255,
        )


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root over encoded leaves in order: leaf `i` of `n` is node `2n - 2 - i`, node `j` is above `2j + 1`, `2j + 2`."""
    count = len(leaves)
    if count == 0:
        return bytes(32)
    nodes = [b""] * (count - 1) + [keccak256(keccak256(leaf)) for leaf in reversed(leaves)]
    for j in range(count - 2, -1, -1):
        one, two = nodes[2 * j + 1], nodes[2 * j + 2]
        nodes[j] = keccak256(one + two if one < two else two + one)
    return nodes[0]


@dataclass(frozen=True)
class Priced:
    """An instrument as an epoch should have it.

    Attributes
    ----------
    meta, words : its leaf. c_long, c_short : micro-USD per lot. values : forty values of a lot, micro-USD.
    """

    meta: int
    words: tuple[int, ...]
    c_long: int
    c_short: int
    values: tuple[int, ...]

    @property
    def leaf(self) -> bytes:
        return encode(["uint256", "uint256[5]"], [self.meta, self.words])

    def cost(self, lots: int) -> int:
        """Close-out cost of a position, micro-USD."""
        return lots * self.c_long if lots >= 0 else -lots * self.c_short


def price(
    metas: Sequence[int],
    marks: Mapping[int, Mark],
    timestamp: int,
    open_interest: Mapping[int, int],
    policy: Policy,
    unquoted: Mapping[int, tuple[Priced, int]] = MappingProxyType({}),
) -> dict[int, Priced]:
    """Instruments by id, from the inputs in their leaves: id, forward, volatility.

    `unquoted` are those without quotes: each as the epoch before had it, and seconds since.

    Raises
    ------
    ValueError
        An input is out of range, or an id is none.
    """
    ids = [meta >> 152 for meta in metas]
    instruments = [Instrument.from_id(i) for i in ids]
    forwards = [meta >> 104 & (1 << 48) - 1 for meta in metas]
    ivs = [meta >> 72 & (1 << 32) - 1 for meta in metas]
    arrays = risk_arrays(
        instruments,
        forwards,
        ivs,
        {u: m.index for u, m in marks.items()},
        {u: m.funding for u, m in marks.items()},
        {u: m.scan_range for u, m in marks.items()},
        timestamp,
        policy,
    ).tolist()
    out = {}
    for key, instrument, forward, iv, values in zip(ids, instruments, forwards, ivs, arrays, strict=True):
        scan_range = marks[instrument.underlying].scan_range
        c_long, c_short = close_out(instrument, forward, values, open_interest.get(key, 0), scan_range, policy)
        if key in unquoted:
            before, seconds = unquoted[key]
            missing = Missing(before.c_long, before.c_short, seconds)
            cost = (c_long, c_short)
            c_long, c_short = unquoted_close_out(instrument, forward, values, cost, missing, scan_range, policy)
        if instrument.kind.is_dated and instrument.expiry <= timestamp:
            status = EXPIRED
        elif key in unquoted or max(map(abs, values)) > DRIFT:
            status = CLOSE_ONLY
        else:
            status = OPEN
        made = key << 152 | forward << 104 | iv << 72 | c_long << 40 | c_short << 8 | status
        out[key] = Priced(made, pack_array(values), c_long, c_short, tuple(values))
    return out


def pack_array(values: Sequence[int]) -> tuple[int, ...]:
    """Five words of a risk array, biased by 2^31: row `8k + i` in lane `2i` of word `k`, `8k + 4 + i` in `2i + 1`."""
    words = []
    for k in range(5):
        lanes = [values[8 * k + 4 * odd + i] + (1 << 31) for i in range(4) for odd in range(2)]
        words.append(sum(lane << 32 * j for j, lane in enumerate(lanes)))
    return tuple(words)


def pack_vector(values: Sequence[int]) -> list[int]:
    """Ten words of a scenario vector: row `4w + i` in lane `i` of word `w`, biased by 2^63."""
    lanes = [value + (1 << 63) for value in values]
    return [lanes[r] | lanes[r + 1] << 64 | lanes[r + 2] << 128 | lanes[r + 3] << 192 for r in range(0, ROWS, 4)]


def by_underlying(positions: Mapping[int, int]) -> dict[int, list[tuple[int, int]]]:
    """Positions (id, lots) by underlying, ascending."""
    out: dict[int, list[tuple[int, int]]] = {}
    for key in sorted(positions):
        out.setdefault(key >> 88, []).append((key, positions[key]))
    return out


def head_of(account: int, positions: Mapping[int, int]) -> int:
    """First word of an account's leaf."""
    head = account << 192 | len(positions) << 64 | sum(map(abs, positions.values()))
    for place, underlying in enumerate(by_underlying(positions)):
        head |= underlying << 176 - 16 * place
    return head


def scenario_vectors(positions: Mapping[int, int], priced: Mapping[int, Priced]) -> dict[int, list[int]]:
    """Scenario vector (forty values, micro-USD) by underlying. Raises KeyError where an instrument has no leaf."""
    out = {}
    for underlying, legs in by_underlying(positions).items():
        vector = [0] * ROWS
        for key, lots in legs:
            vector = [total + lots * value for total, value in zip(vector, priced[key].values, strict=True)]
        out[underlying] = vector
    return out


def account_row(
    account: int, positions: Mapping[int, int], position_hash: bytes, priced: Mapping[int, Priced]
) -> tuple[int, bytes, int, list[int]]:
    """Fields of an account's leaf: head, position hash, cost, vectors. Raises KeyError without an instrument's leaf."""
    vectors = scenario_vectors(positions, priced)
    closeout = sum(priced[key].cost(lots) for key, lots in positions.items())
    collateral = sum(lots * priced[key].values[0] for key, lots in positions.items() if key & 255 == TOKEN)
    return (
        head_of(account, positions),
        position_hash,
        closeout << 128 | collateral,
        [w for v in vectors.values() for w in pack_vector(v)],
    )


def account_leaf(row: tuple[int, bytes, int, Sequence[int]]) -> bytes:
    """Encoded fields of an account's leaf: `abi.encode(uint256, bytes32, uint256, uint256[])`, word after word."""
    head, position_hash, cost, vectors = row
    if len(position_hash) != 32:
        raise ValueError(f"a position hash of {len(position_hash)} bytes")
    words = [w.to_bytes(32, "big") for w in (cost, 4 * 32, len(vectors), *vectors)]
    return b"".join((head.to_bytes(32, "big"), position_hash, *words))


@dataclass(frozen=True)
class Margin:
    """An account's margin, micro-USD; field by field the contracts' struct."""

    pv: int
    risk: int
    closeout: int
    mm_excess: int
    im_excess: int

    @property
    def requirement(self) -> int:
        return self.risk + self.closeout

    @property
    def fields(self) -> tuple[int, ...]:
        return self.pv, self.risk, self.closeout, self.mm_excess, self.im_excess


def margin_of(cash: int, positions: Mapping[int, int], priced: Mapping[int, Priced], policy: Policy) -> Margin:
    """The one rule, from positions: a credit is floored, a requirement ceiled. Raises KeyError without a leaf."""
    terms = policy.margin
    vectors = list(scenario_vectors(positions, priced).values())
    risks = sum(v[0] - min(v) for v in vectors)
    total = [sum(rows) for rows in zip(*vectors, strict=True)] if vectors else [0]
    joint = total[0] - min(total)
    risk = risks - terms.kappa * (risks - joint) // 10_000
    closeout = sum(priced[key].cost(lots) for key, lots in positions.items()) + (terms.reserve if positions else 0)
    pv = cash + total[0]
    initial = -(-terms.im_factor * (risk + closeout) // 10_000)
    return Margin(pv, risk, closeout, pv - risk - closeout, pv - initial)
