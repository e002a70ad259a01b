"""Ratio rules, rounded, for all integers within their bounds, by z3 (`make prove`).

Every rounded quotient is replaced by what defines it: `q = floor(p / d)` by `q d <= p < q d + d`. What is left are
polynomials in integers. Where z3 does not find a product of two unknowns by itself, it is led by lemmas, each of which
is proven first. The formulas are those of the contracts, written out; the bytecode is not read. Exits with 1 if one is
false, or not decided in a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from z3 import And, If, Implies, Int, Not, Solver, unsat

ONE = 10_000


def ints(names: str) -> Any:
    """Integers of any size."""
    return [Int(name) for name in names.split()]


def floor(quotient: Any, product: Any, divisor: Any) -> Any:
    """`quotient = floor(product / divisor)`, for a positive divisor."""
    return And(quotient * divisor <= product, product < quotient * divisor + divisor)


def ceil(quotient: Any, product: Any, divisor: Any) -> Any:
    """`quotient = ceil(product / divisor)`, as `(product + divisor - 1) // divisor`."""
    return And((quotient - 1) * divisor < product, product <= quotient * divisor)


def least(a: Any, b: Any) -> Any:
    """The smaller of two."""
    return If(a < b, a, b)


def most(a: Any, b: Any) -> Any:
    """The larger of two."""
    return If(a > b, a, b)


def holds(name: str, given: Sequence[Any], claim: Any) -> bool:
    """Whether a claim follows."""
    solver = Solver()
    solver.set("timeout", 60_000)
    solver.add(*given, Not(claim))
    answer = solver.check()
    print(f"{name}: {'proven' if answer == unsat else answer}", flush=True)
    return bool(answer == unsat)


def lemmas() -> list[bool]:
    """Products are monotonic, and a quotient is found from its bounds: what z3 is led by below."""
    a, b, c, q, r, d = ints("a b c q r d")
    return [
        holds("a product rises with a factor", [a <= b, c >= 0], a * c <= b * c),
        holds("a quotient is bounded from above", [d > 0, q * d < r * d + d], q <= r),
        holds("a quotient is bounded from below", [d > 0, r * d < q * d + d], r <= q),
    ]


def kappa_credit() -> list[bool]:
    """lib/margin.vy: `risk = sum - floor(kappa (sum - joint) / 1e4)`: a credit, floored, that leaves the joint fall."""
    total, joint, kappa, credit, product = ints("sum joint kappa credit product")
    given = [joint >= 0, joint <= total, kappa >= 0, kappa <= 3_000, product == kappa * (total - joint)]
    given += [floor(credit, product, ONE), product >= 0, product <= 3_000 * (total - joint)]
    # In the row where the sum over underlyings is lowest, each is at least its own lowest; row 0 is one of the rows.
    rows, lows, marks = ints("x0 x1 x2 x3"), ints("l0 l1 l2 l3"), ints("m0 m1 m2 m3")
    lowest = [low <= x for low, x in zip(lows, rows, strict=True)] + [sum(rows) <= sum(marks)]
    falls = [mark - low for mark, low in zip(marks, lows, strict=True)]
    return [
        holds("a joint fall is no more than the falls together", lowest, sum(marks) - sum(rows) <= sum(falls)),
        holds("a joint fall is not below zero", lowest, sum(marks) - sum(rows) >= 0),
        holds("lemma: kappa's product", given[:5], And(product >= 0, product <= 3_000 * (total - joint))),
        holds("the credit is no more than kappa's share", given, And(credit >= 0, credit * ONE <= product)),
        holds("risk is no less than the joint fall, nor below zero", given, And(total - credit >= joint, joint >= 0)),
    ]


def initial_requirement() -> list[bool]:
    """lib/margin.vy: `initial = ceil(im_factor r / 1e4)`, `im_factor > 1e4`: at least r, and it rises with r."""
    factor, small, large, one, two = ints("factor small large one two")
    bounds = [factor > ONE, factor <= 65_535, small >= 0, small <= large]
    given = [*bounds, ceil(one, factor * small, ONE), ceil(two, factor * large, ONE)]
    lemma = [factor * small >= ONE * small, factor * small <= factor * large]
    return [
        holds("lemma: im_factor's product", bounds, And(*lemma)),
        holds("the initial requirement is no less than the requirement", [*given, *lemma], one >= small),
        holds("the initial requirement rises with the requirement", [*given, *lemma], one <= two),
    ]


def penalty() -> list[bool]:
    """Liquidator.vy, Fallback.vy: `min(floor(phi fall / 1e4), max(PV, 0))`, and what of it is whose (lib/claim.vy)."""
    phi, fall, share, pv, charged = ints("phi fall share pv charged")
    bounds = [phi >= 0, phi <= ONE, fall >= 0]
    lemma = And(phi * fall >= 0, phi * fall <= ONE * fall)
    given = [*bounds, lemma, floor(share, phi * fall, ONE), charged == least(share, most(pv, 0))]
    done = [
        holds("lemma: phi's product", bounds, lemma),
        holds("a penalty is no more than the fall", given, And(charged >= 0, charged <= fall)),
        holds("a penalty makes nobody bankrupt", given, Implies(pv >= 0, pv - charged >= 0)),
        holds("a penalty lowers no maintenance excess at the mark", given, fall - charged >= 0),
    ]
    split, before, after, part, paid = ints("split before after part paid")
    bounds = [charged >= 0, split >= 0, split <= ONE, before >= 0, after >= 0]
    lemma = And(split * charged >= 0, split * charged <= ONE * charged)
    rise = most(after - before, 0)
    given = [*bounds, lemma, floor(part, split * charged, ONE), paid == most(least(part, charged - rise), 0)]
    done += [
        holds("lemma: the split's product", bounds, lemma),
        holds("a liquidator gets no more than his share", given, And(paid >= 0, paid <= part, paid <= charged)),
        holds(
            "insurance gets the rise of its claim first",
            [*given, after - before <= charged],
            charged - paid >= after - before,
        ),
    ]
    # The claim is max(floor(r / 10) - PV, 0): at the mark it rises by no more than the penalty.
    r, r2, tenth, tenth2 = ints("r r2 tenth tenth2")
    given = [r2 >= 0, r2 <= r, floor(tenth, r, 10), floor(tenth2, r2, 10), charged >= 0]
    claims = most(tenth2 - (pv - charged), 0) - most(tenth - pv, 0)
    done.append(holds("the claim rises by no more than the penalty", given, claims <= charged))
    return done


def penalty_rate() -> list[bool]:
    """Liquidator.vy: `phi = low + floor((high - low) elapsed / ramp)`, `elapsed < ramp`: between both, never falls."""
    low, high, one, two, ramp, first, second = ints("low high one two ramp first second")
    bounds = [low >= 0, low <= high, one >= 0, one <= two, two < ramp]
    lemma = And((high - low) * one >= 0, (high - low) * one <= (high - low) * two)
    upper = (high - low) * two <= (high - low) * ramp
    given = [*bounds, lemma, upper, floor(first, (high - low) * one, ramp), floor(second, (high - low) * two, ramp)]
    return [
        holds("lemma: the ramp's product", bounds, And(lemma, upper)),
        holds("the rate stays between its ends", given, And(first >= 0, second <= high - low)),
        holds("the rate does not fall", given, first <= second),
    ]


def shortfall_ratio() -> list[bool]:
    """Ledger.vy: `paid = floor(X T / (T + S))`, T held, S short. After it `T' = T - paid`, `S' = S - (X - paid)`."""
    held, short, first, paid = ints("T S X paid")
    whole = held + short
    bounds = [held >= 0, short >= 0, whole > 0, first >= 0, first <= whole]
    exact = first * held
    given = [*bounds, floor(paid, exact, whole)]
    sized = And(exact >= 0, exact <= whole * held, exact <= first * whole)
    left = whole - first
    kept = (held - paid) * whole >= held * left
    over = (held - paid) * whole < held * left + whole
    done = [
        holds("lemma: the ratio's product", bounds, sized),
        holds("a withdrawal pays no more than is held", [*given, sized], And(paid >= 0, paid <= held)),
        holds("what is repaid is no more than is short", [*given, sized], And(paid <= first, first - paid <= short)),
        holds("the ratio does not fall for those who stay", given, kept),
        holds("it rises by less than a micro-USD of what is held", given, over),
    ]  # fmt: skip
    # Another withdrawal Y of what is left: before the first it would pay `alone`, after it `now`, one more at most.
    second, alone, now = ints("Y alone now")
    rest = [second >= 0, second <= left, left > 0, whole > 0, floor(alone, second * held, whole)]
    rest += [floor(now, second * (held - paid), left)]
    times = [
        second * ((held - paid) * whole) >= second * (held * left),
        second * ((held - paid) * whole) <= second * (held * left) + second * whole,
    ]
    done.append(holds("lemma: the ratio times Y", [*rest[:4], kept, over], And(*times)))
    # Both quotients over the same divisor: alone * whole * left <= Y T left, and Y T' whole < (now + 1) left whole.
    x, y, both, low, high = ints("x y both low high")
    scaled = [
        x * whole <= second * held, second * held < x * whole + whole,
        y * left <= second * (held - paid), second * (held - paid) < y * left + left,
    ]  # fmt: skip
    out = And(
        x * whole * left <= second * held * left,
        second * held * left < (x * whole + whole) * left,
        y * left * whole <= second * (held - paid) * whole,
        second * (held - paid) * whole < (y * left + left) * whole,
    )
    done.append(holds("lemma: both over one divisor", [*scaled, whole > 0, left > 0], out))
    # With D = whole left, low = Y T left, high = Y T' whole: low <= high <= low + D, as Y <= left.
    given = [both > 0, x * both <= low, low < x * both + both, y * both <= high, high < y * both + both]
    given += [low <= high, high <= low + both]
    done.append(holds("whoever comes later gets as much, or a micro-USD more", given, And(x <= y, y <= x + 1)))
    done.append(
        holds("lemma: Y over the divisor", [second >= 0, second <= left, whole > 0], second * whole <= left * whole)
    )
    return done


def auction() -> list[bool]:
    """Takeover.vy: a price that falls from `0.95 PV` to nothing, an incentive that rises to its cap."""
    worth, length, one, two, first, second = ints("worth length one two first second")
    bounds = [worth >= 0, length > 0, one >= 0, one <= two, two <= length]
    parts = [worth * (length - one), worth * (length - two)]
    lemma = And(parts[1] >= 0, parts[1] <= parts[0], parts[0] <= worth * length)
    given = [
        *bounds,
        lemma,
        floor(first, 9_500 * parts[0], ONE * length),
        floor(second, 9_500 * parts[1], ONE * length),
    ]
    done = [
        holds("lemma: the price's product", bounds, lemma),
        holds("a price is within what the account is worth", given, And(second >= 0, first <= worth)),
        holds("a price does not rise", given, second <= first),
    ]
    cap = Int("cap")
    bounds = [cap >= 0, length > 0, one >= 0, one <= two, two <= length]
    lemma = And(cap * one >= 0, cap * one <= cap * two, cap * two <= cap * length)
    given = [*bounds, lemma, floor(first, cap * one, length), floor(second, cap * two, length)]
    return [
        *done,
        holds("lemma: the incentive's product", bounds, lemma),
        holds("an incentive is within its cap, never falls", given, And(first >= 0, first <= second, second <= cap)),
    ]  # fmt: skip


def cascade() -> list[bool]:
    """lib/cascade.vy: an account's own share is at least a lot, and no more than what is left of it."""
    lots, used, share, own = ints("lots used share own")
    bounds = [lots >= 1, used >= 0, share >= 1, share <= 10**6]
    product = (lots + used) * share
    lemma = And(product >= 1, product <= (lots + used) * 10**6)
    given = [*bounds, lemma, ceil(own, product, 10**6)]
    return [
        holds("lemma: the share's product", bounds, lemma),
        holds("an own share is a lot at least, all lots at most", given, And(own >= 1, own <= lots + used)),
    ]


def floors() -> list[bool]:
    """lib/fallback.vy: the truncated quotient is mended to a floor; a hedge's floor is near that of its legs."""
    moved, divisor, cut, quotient = ints("moved divisor cut quotient")
    truncated = If(moved >= 0, floor(cut, moved, divisor), floor(-cut, -moved, divisor))
    mended = quotient == If(And(moved < 0, cut * divisor != moved), cut - 1, cut)
    a, b, x, y, z = ints("a b x y z")
    parts = [divisor > 0, floor(x, a, divisor), floor(y, b, divisor), floor(z, a + b, divisor)]
    down, up = z * divisor >= (x + y) * divisor - divisor + 1, z * divisor < (x + y) * divisor + 2 * divisor
    return [
        holds("a mended quotient is a floor", [divisor > 0, truncated, mended], floor(quotient, moved, divisor)),
        holds("lemma: a floor of a sum, times its divisor", parts, And(down, up)),
        holds("a floor of a sum is its parts', or one more", [*parts, down, up], And(z >= x + y, z <= x + y + 1)),
    ]  # fmt: skip


def fee() -> list[bool]:
    """ClearingHouse.vy: `ceil(fee index lots / (1e4 per_unit))`: at least the exact fee, less than a micro-USD more."""
    product, scale, charged = ints("product scale charged")
    given = [product >= 0, scale > 0, ceil(charged, product, scale)]
    return [
        holds("a fee is the exact one, ceiled", given, floor(charged - 1, product - 1, scale)),
        holds("a fee of something is something", [*given, product > 0], charged > 0),
    ]  # fmt: skip


BOUNDS: dict[str, tuple[int, int]] = {
    # What is multiplied at most, and below which power of two: what does not fit would revert, and a rescue with it.
    "kappa times a fall": (3_000 * (4 * (2**64 - 1)), 2**80),
    "im_factor times a requirement": (65_535 * (4 * (2**64 - 1) + 2**64 + 2**48) + ONE - 1, 2**84),
    "phi times a fall": (ONE * (5 * 2**64 + 2**48), 2**81),
    "a withdrawal times what is held": (2**127 * 2**127, 2**255),
    "fee times index times lots": (100 * 2**64 * 2**32 + ONE * 2**32, 2**104),
    "an auction's price": (2**127 * 9_500 * 604_800, 2**161),
}


def sizes() -> list[bool]:
    """Products at their largest: all factors are nonnegative, so the largest product is that of the largest factors."""
    done = []
    for name, (largest, limit) in BOUNDS.items():
        fits = largest < limit <= 2**255
        print(f"{name} is below {limit.bit_length() - 1} bits: {'holds' if fits else 'false'}")
        done.append(fits)
    return done


PROOFS = (
    lemmas, kappa_credit, initial_requirement, penalty, penalty_rate, shortfall_ratio, auction, cascade, floors, fee,
    sizes,
)  # fmt: skip


if __name__ == "__main__":
    results = [each for proof in PROOFS for each in proof()]
    print(f"{sum(results)} of {len(results)} proven")
    sys.exit(0 if all(results) else 1)
