"""The margin policy: what is shocked, by how much, and what a requirement costs (docs/protocol.md, *Policy*).

A policy is integers only, so its hash is exact; pricing reads it as it is on chain. `default_policy()` holds the
starting values of the design.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from math import isqrt

from eth_abi import decode, encode
from eth_utils import keccak

from offchain.units import MICRO, SCENARIOS, field, placed, placed_signed, signed

ABI_TYPE = "(uint256,uint256,uint256[40],uint256[16],uint256[])"
INITIAL_SCAN_RANGE = {1: 160_000, 2: 180_000}
"""Scan range (1e-6) of BTC and ETH that a first epoch starts from; also the stressed level of `risk.volatility`."""


class RowKind(IntEnum):
    SCAN = 0
    TAIL = 1
    BASIS = 2
    TWIST = 3
    SKEW = 4


class VolatilityMove(IntEnum):
    NONE = 0
    UP = 1
    DOWN = 2


@dataclass(frozen=True)
class MarginParams:
    """What turns scenario vectors into a requirement, and a liquidation into a price.

    Attributes
    ----------
    kappa : credit for underlyings that move together, 1e-4.
    im_factor : initial over maintenance requirement, 1e-4.
    reserve : keeper reserve `K`, micro-USD.
    phi_min, phi_max : penalty on the fall of the requirement, 1e-4, without a call and at its most.
    phi_ramp : seconds of oracle-live time from least to most.
    liquidator_share : of the penalty, 1e-4; the rest goes to insurance.
    dust : accounts whose requirement is below this are liquidated whole, micro-USD.
    trade_fee, price_band : 1e-4 of index.
    gas_multiple : least reward of a keeper as a multiple of its gas, 1e-2.
    """

    kappa: int
    im_factor: int
    reserve: int
    phi_min: int
    phi_max: int
    phi_ramp: int
    liquidator_share: int
    dust: int
    trade_fee: int
    price_band: int
    gas_multiple: int = 120

    def __post_init__(self) -> None:
        if not 0 <= self.kappa <= 3_000:
            raise ValueError(f"kappa {self.kappa} is not within 0 and 3000 (1e-4)")
        if self.im_factor <= 10_000:
            raise ValueError(f"im_factor {self.im_factor} is not above 10000 (1e-4)")
        if not 0 <= self.phi_min <= self.phi_max <= 10_000:
            raise ValueError(f"penalties {self.phi_min}, {self.phi_max} are not ascending within 0 and 10000 (1e-4)")
        if self.liquidator_share > 10_000:
            raise ValueError(f"liquidator_share {self.liquidator_share} is above 10000 (1e-4)")
        self.word  # noqa: B018  (checks the widths)

    @cached_property
    def word(self) -> int:
        return (
            placed("kappa", self.kappa, 16, 0)
            | placed("im_factor", self.im_factor, 16, 16)
            | placed("reserve", self.reserve, 48, 32)
            | placed("phi_min", self.phi_min, 16, 80)
            | placed("phi_max", self.phi_max, 16, 96)
            | placed("phi_ramp", self.phi_ramp, 32, 112)
            | placed("liquidator_share", self.liquidator_share, 16, 144)
            | placed("dust", self.dust, 48, 160)
            | placed("trade_fee", self.trade_fee, 16, 208)
            | placed("price_band", self.price_band, 16, 224)
            | placed("gas_multiple", self.gas_multiple, 16, 240)
        )

    @classmethod
    def from_word(cls, word: int) -> MarginParams:
        """The parameters of a word; the inverse of `word`.

        Raises
        ------
        ValueError
            A field is out of its range.
        """
        return cls(
            kappa=field(word, 15, 0),
            im_factor=field(word, 31, 16),
            reserve=field(word, 79, 32),
            phi_min=field(word, 95, 80),
            phi_max=field(word, 111, 96),
            phi_ramp=field(word, 143, 112),
            liquidator_share=field(word, 159, 144),
            dust=field(word, 207, 160),
            trade_fee=field(word, 223, 208),
            price_band=field(word, 239, 224),
            gas_multiple=field(word, 255, 240),
        )


@dataclass(frozen=True)
class Row:
    """One scenario.

    Attributes
    ----------
    kind : what the row moves.
    volatility : how it moves volatility (scan and tail rows).
    move : 1e-6: of the scan range (scan), of the price (tail), +-1000000 (basis, twist, skew).
    weight : of a tail row, 1e-8; else 0.
    """

    kind: RowKind
    volatility: VolatilityMove = VolatilityMove.NONE
    move: int = 0
    weight: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", RowKind(self.kind))
        object.__setattr__(self, "volatility", VolatilityMove(self.volatility))
        if self.kind is RowKind.TAIL:
            if not 0 < self.weight <= 10**8 or self.move <= -MICRO:
                raise ValueError(f"tail row: weight {self.weight} (1e-8) or move {self.move} (1e-6) is out of range")
        elif self.weight:
            raise ValueError(f"a {self.kind.name.lower()} row has no weight, but {self.weight} was given")
        if self.kind is RowKind.SCAN and abs(self.move) > MICRO:
            raise ValueError(f"scan row: move {self.move} (1e-6) is beyond the scan range")
        if self.kind > RowKind.TAIL and abs(self.move) != MICRO:
            raise ValueError(f"a {self.kind.name.lower()} row moves by +-1000000, not {self.move}")

    @property
    def word(self) -> int:
        return (
            int(self.kind)
            | int(self.volatility) << 8
            | placed_signed("move", self.move, 64, 16)
            | placed("weight", self.weight, 64, 80)
        )

    @classmethod
    def from_word(cls, word: int) -> Row:
        """The row of a word. Raises ValueError where no row has it."""
        if word >> 144:
            raise ValueError(f"row word {word:#x} has bits above 143")
        return cls(
            RowKind(field(word, 7, 0)),
            VolatilityMove(field(word, 15, 8)),
            signed(field(word, 79, 16), 64),
            field(word, 143, 80),
        )


@dataclass(frozen=True)
class Shocks:
    """Sizes of the shocks and of limits, 1e-6.

    Attributes
    ----------
    vol_up, vol_down, vol_floor : relative rise and fall of volatility at 30 days; least volatility after a rise.
    exponent_short, exponent_long : of (30 / days) up to 30 days and beyond.
    basis, twist, skew : see `risk.scenarios`.
    short_option_minimum : of the forward, in `c_short` of an option.
    half_spread, impact : of the forward; impact at open interest equal to depth.
    jump : of the index; a move beyond it at one slot, growing with the square root of elapsed slots, is provisional.
    dispute : of the feed's price; an index further from it is disputed.
    bucket, refill : share of open interest that may be liquidated at once; slots over which that refills.
    position : most lots of an account in an underlying, as a share of depth.
    """

    vol_up: int = 500_000
    vol_down: int = 250_000
    vol_floor: int = 500_000
    exponent_short: int = 300_000
    exponent_long: int = 130_000
    basis: int = 45_000
    twist: int = 250_000
    skew: int = 200_000
    short_option_minimum: int = 7_500
    half_spread: int = 500
    impact: int = 1_000
    jump: int = 50_000
    dispute: int = 30_000
    bucket: int = 50_000
    refill: int = 10
    position: int = 500_000

    def __post_init__(self) -> None:
        for name, most in (("exponent_short", MICRO), ("exponent_long", MICRO), ("twist", MICRO), ("skew", MICRO)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} {getattr(self, name)} is not within 0 and {most} (1e-6)")
        for name in ("jump", "dispute", "bucket", "refill", "position"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is no limit: choose at least 1")
        self.words  # noqa: B018  (checks the signs)

    @property
    def words(self) -> tuple[int, ...]:
        values = (
            self.vol_up,
            self.vol_down,
            self.vol_floor,
            self.exponent_short,
            self.exponent_long,
            self.basis,
            self.twist,
            self.skew,
            self.short_option_minimum,
            self.half_spread,
            self.impact,
            self.jump,
            self.dispute,
            self.bucket,
            self.refill,
            self.position,
        )
        return tuple(placed("shock", v, 32, 0) for v in values)

    @classmethod
    def from_words(cls, words: tuple[int, ...] | list[int]) -> Shocks:
        """The shocks of sixteen words. Raises ValueError where they are not."""
        if len(words) != 16:
            raise ValueError(f"shocks are 16 words, not {list(words)}")
        return cls(*words)


@dataclass(frozen=True)
class UnderlyingParams:
    """An underlying as it is listed.

    Attributes
    ----------
    underlying : its number.
    lots_per_unit : lots of one unit (one coin).
    r_min, r_max : bounds of its scan range, 1e-6.
    slew_up, slew_down : most that the scan range moves a slot, 1e-6 of itself.
    depth : lots that trade at the cost `impact`.
    open_interest : most open interest of the underlying, all its derivatives together, as a multiple of depth, 1e-2.
    haircut : of a token's price in its close-out cost, 1e-4.
    """

    underlying: int
    lots_per_unit: int
    r_min: int
    r_max: int
    slew_up: int
    slew_down: int
    depth: int
    open_interest: int = 500
    haircut: int = 1_000

    def __post_init__(self) -> None:
        if self.underlying < 1 or self.lots_per_unit < 1 or self.depth < 1:
            raise ValueError(f"underlying {self.underlying}: number, lots_per_unit and depth must be 1 or more")
        if not 0 < self.r_min <= self.r_max < MICRO:
            raise ValueError(
                f"underlying {self.underlying}: scan range bounds {self.r_min}, {self.r_max} (1e-6) are wrong"
            )
        if self.open_interest < 1 or self.haircut > 10_000:
            raise ValueError(
                f"underlying {self.underlying}: open_interest {self.open_interest} (1e-2) must be 1 or more, "
                f"haircut {self.haircut} (1e-4) at most 10000"
            )
        self.word  # noqa: B018  (checks the widths)

    @cached_property
    def word(self) -> int:
        return (
            placed("underlying", self.underlying, 16, 240)
            | placed("lots_per_unit", self.lots_per_unit, 32, 208)
            | placed("r_min", self.r_min, 32, 176)
            | placed("r_max", self.r_max, 32, 144)
            | placed("slew_up", self.slew_up, 32, 112)
            | placed("slew_down", self.slew_down, 32, 80)
            | placed("depth", self.depth, 48, 32)
            | placed("open_interest", self.open_interest, 16, 16)
            | placed("haircut", self.haircut, 16, 0)
        )

    @classmethod
    def from_word(cls, word: int) -> UnderlyingParams:
        """The parameters of a word. Raises ValueError where no underlying has it."""
        return cls(
            field(word, 255, 240),
            field(word, 239, 208),
            field(word, 207, 176),
            field(word, 175, 144),
            field(word, 143, 112),
            field(word, 111, 80),
            field(word, 79, 32),
            field(word, 31, 16),
            field(word, 15, 0),
        )


@dataclass(frozen=True)
class Policy:
    """A whole policy; equal policies have equal hashes.

    Attributes
    ----------
    margin, rows, shocks : see their classes; forty rows, the mark first.
    underlyings : ascending, without repeats.
    version : 1.
    """

    margin: MarginParams
    rows: tuple[Row, ...]
    shocks: Shocks
    underlyings: tuple[UnderlyingParams, ...]
    version: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        object.__setattr__(self, "underlyings", tuple(self.underlyings))
        if self.version != 1:
            raise ValueError(f"policy version {self.version} is not 1")
        if len(self.rows) != SCENARIOS:
            raise ValueError(f"a policy has {SCENARIOS} rows, not {len(self.rows)}")
        if self.rows[0] != Row(RowKind.SCAN):
            raise ValueError("row 0 is not the mark (scan, move 0, volatility none)")
        numbers = [u.underlying for u in self.underlyings]
        if any(a >= b for a, b in pairwise(numbers)):
            raise ValueError(f"underlyings {numbers} are not ascending")

    def underlying(self, number: int) -> UnderlyingParams:
        """Parameters of an underlying. Raises ValueError where it is not listed."""
        for each in self.underlyings:
            if each.underlying == number:
                return each
        raise ValueError(f"underlying {number} is not in the policy")

    @property
    def words(self) -> tuple[int, int, list[int], list[int], list[int]]:
        """The ABI tuple."""
        return (
            self.version,
            self.margin.word,
            [row.word for row in self.rows],
            list(self.shocks.words),
            [u.word for u in self.underlyings],
        )

    @classmethod
    def from_words(cls, words: tuple[int, int, list[int], list[int], list[int]]) -> Policy:
        """The policy of an ABI tuple. Raises ValueError where a word is none."""
        version, margin, rows, shocks, underlyings = words
        return cls(
            MarginParams.from_word(margin),
            tuple(Row.from_word(w) for w in rows),
            Shocks.from_words(list(shocks)),
            tuple(UnderlyingParams.from_word(w) for w in underlyings),
            version,
        )

    def encode(self) -> bytes:
        """`abi.encode(policy)`, the tuple as one dynamic argument."""
        return encode([ABI_TYPE], [self.words])

    @classmethod
    def decode(cls, data: bytes) -> Policy:
        """The inverse of `encode`. Raises ValueError where a word is none."""
        return cls.from_words(decode([ABI_TYPE], data)[0])

    @cached_property
    def hash(self) -> bytes:
        """`policy_hash`, 32 bytes."""
        return keccak(self.encode())


def default_rows() -> tuple[Row, ...]:
    """The forty rows of the design: 27 of price and volatility, 7 tails, and basis, twist and skew both ways."""
    none, up, down = VolatilityMove.NONE, VolatilityMove.UP, VolatilityMove.DOWN
    rows = [Row(RowKind.SCAN, each) for each in (none, up, down)]
    for quarter in (1, 2, 3, 4):
        for sign in (1, -1):
            rows += [Row(RowKind.SCAN, each, sign * quarter * MICRO // 4) for each in (none, up, down)]
    tails = (
        (-660_000, 21_000_000),
        (-330_000, 42_000_000),
        (500_000, 27_720_000),
        (1_000_000, 13_860_000),
        (2_000_000, 6_930_000),
        (3_000_000, 4_620_000),
        (5_000_000, 2_772_000),
    )
    rows += [Row(RowKind.TAIL, up, move, weight) for move, weight in tails]
    rows += [Row(kind, none, sign * MICRO) for kind in (RowKind.BASIS, RowKind.TWIST, RowKind.SKEW) for sign in (1, -1)]
    return tuple(rows)


def default_policy(slot: int = 30) -> Policy:
    """Starting values of the design, for BTC (1) and ETH (2).

    The jump limit is 5 % at a slot of 30 s and grows with the square root of time, so longer slots (seconds) have a
    wider one, at most 100 %.

    Depth is 1,000 BTC and 20,000 ETH: about the 89 million dollars that books held before 10 October 2025.
    """
    return Policy(
        margin=MarginParams(
            kappa=2_000,
            im_factor=12_500,
            reserve=20 * MICRO,
            phi_min=1_000,
            phi_max=6_000,
            phi_ramp=30 * 60,
            liquidator_share=5_000,
            dust=100 * MICRO,
            trade_fee=3,
            price_band=500,
        ),
        rows=default_rows(),
        shocks=Shocks(jump=min(isqrt(50_000**2 * slot // 30), MICRO)),
        underlyings=(
            UnderlyingParams(1, 1_000, 80_000, 400_000, 100_000, 10_000, 1_000 * 1_000),
            UnderlyingParams(2, 100, 80_000, 400_000, 100_000, 10_000, 20_000 * 100, haircut=1_200),
        ),
    )
