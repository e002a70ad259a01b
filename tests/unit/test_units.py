"""The door from float to integer, and the helpers of words."""

import numpy as np
import pytest

from offchain.units import ceil_div, field, placed, placed_signed, signed, to_micro_nearest


def test_to_micro_nearest__scalar__python_integer() -> None:
    assert to_micro_nearest(0.16) == 160_000
    assert type(to_micro_nearest(0.16)) is int
    assert to_micro_nearest(-7934.58) == -7_934_580_000


def test_to_micro_nearest__array__int64_of_the_same_shape() -> None:
    out = to_micro_nearest(np.array([[1.0, -2.5], [0.0000014, 0.0000016]]))
    assert out.dtype == np.int64
    assert out.tolist() == [[1_000_000, -2_500_000], [1, 2]]


def test_to_micro_nearest__tie__to_even() -> None:
    assert to_micro_nearest(0.5e-6) == 0
    assert to_micro_nearest(1.5e-6) == 2
    assert to_micro_nearest(-0.5e-6) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 9.3e12, -9.3e12])
def test_to_micro_nearest__no_integer__refused(bad: float) -> None:
    with pytest.raises(ValueError, match="cannot round"):
        to_micro_nearest(bad)


def test_to_micro_nearest__bad_value_in_array__names_value_and_place() -> None:
    with pytest.raises(ValueError, match=r"nan at \[1, 0\]"):
        to_micro_nearest(np.array([[1.0], [float("nan")]]))


def test_to_micro_nearest__largest_that_fits__accepted_and_next_refused() -> None:
    assert to_micro_nearest(9.0e12) == 9 * 10**18
    with pytest.raises(ValueError, match="cannot round"):
        to_micro_nearest(2.0**63 / 1e6)


def test_ceil_div__signs__towards_plus_infinity() -> None:
    assert [ceil_div(n, 3) for n in (-4, -3, -1, 0, 1, 3, 4)] == [-1, -1, 0, 0, 1, 1, 2]


def test_fields__placed_and_read__the_same() -> None:
    word = placed("a", 5, 16, 240) | placed_signed("b", -7, 64, 16) | placed("c", 3, 8, 0)
    assert (field(word, 255, 240), signed(field(word, 79, 16), 64), field(word, 7, 0)) == (5, -7, 3)


@pytest.mark.parametrize("value", [-1, 256])
def test_placed__does_not_fit__refused(value: int) -> None:
    with pytest.raises(ValueError, match=f"size {value} does not fit 8 bits"):
        placed("size", value, 8, 0)


@pytest.mark.parametrize("value", [-129, 128])
def test_placed_signed__does_not_fit__refused(value: int) -> None:
    with pytest.raises(ValueError, match=f"step {value} does not fit 8 signed bits"):
        placed_signed("step", value, 8, 0)
