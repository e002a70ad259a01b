"""Writes instrument.json, risk_array.json, scenario_vector.json, policy.json and margin.json.

    python tests/vectors/risk.py

Standard library only, and nothing of the package: the formulas are written here a second time, one number after the
other, from docs/protocol.md; the normal distribution is `math.erfc`, words are put together as text, margins are
fractions.
pricing.json is written by hand from published numbers.
"""

import json
import math
import random
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = "risk.py beside this file: standard library only, from docs/protocol.md"
NOW = 1_583_971_200  # 2020-03-12T00:00:00Z
R = {1: 160_000, 2: 180_000}
LOTS = {1: 1_000, 2: 100}


def save(name: str, cases: list) -> None:
    text = json.dumps({"source": SOURCE, "cases": cases}, indent=1)
    (HERE / f"{name}.json").write_text(text + "\n")


def bits(*fields: tuple[int, int]) -> str:
    """A word from (value, width) pairs, the top first."""
    text = "".join(format(value % (1 << width), f"0{width}b") for value, width in fields)
    assert len(text) == 256, len(text)
    return f"0x{int(text, 2):064x}"


# instruments
def instrument_id(underlying: int, expiry: int, strike: int, kind: int) -> int:
    return int(f"{underlying:04x}{expiry:08x}{strike:012x}{kind:02x}", 16)


INSTRUMENTS = [
    (1, 0, 0, 1, "BTC-PERP"),
    (1, 1_585_296_000, 0, 2, "BTC-27MAR20"),
    (1, 1_585_296_000, 5_000_000_000, 3, "BTC-27MAR20-5000-C"),
    (1, 1_585_296_000, 5_000_000_000, 4, "BTC-27MAR20-5000-P"),
    (2, 1_584_091_800, 212_500_000, 3, "ETH-13MAR20T0930-212.5-C"),
    (2, 0, 0, 1, "ETH-PERP"),
    (2, 0, 3, 5, "ETH-TOKEN3"),
    (65_535, 2**32 - 1, 2**48 - 1, 4, "U65535-7FEB06T062815-281474976.710655-P"),
]

# pricing, as docs/protocol.md and the design state it
SHOCKS = [500_000, 250_000, 500_000, 300_000, 130_000, 45_000, 250_000, 200_000, 7_500, 500, 1_000]
LIMITS = [50_000, 30_000, 50_000, 10, 500_000]
TAILS = [(-0.66, 0.21), (-0.33, 0.42), (0.5, 0.2772), (1, 0.1386), (2, 0.0693), (3, 0.0462), (5, 0.02772)]


def black(forward: float, strike: float, years: float, volatility: float, call: bool) -> float:
    spread = volatility * math.sqrt(years)
    if spread <= 0 or forward <= 0:
        return max(forward - strike if call else strike - forward, 0.0)
    d1 = math.log(forward / strike) / spread + spread / 2
    d2 = d1 - spread

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    return forward * phi(d1) - strike * phi(d2) if call else strike * phi(-d2) - forward * phi(-d1)


def risk_array(kind: int, underlying: int, expiry: int, strike: int, forward: int, iv: int, funding: int) -> list[int]:
    f, k, sigma, scan, lots = forward / 1e6, strike / 1e6, iv / 1e6, R[underlying] / 1e6, LOTS[underlying]
    left = max(expiry - NOW, 0)
    years, days = left / (365 * 86_400), left / 86_400
    power = (30 / max(days, 1)) ** (0.30 if days <= 30 else 0.13)
    raised, lowered = max(sigma * (1 + 0.5 * power), 0.5), max(sigma * (1 - 0.25 * power), 0.0)

    def value(price: float, volatility: float) -> float:
        if kind in (3, 4):
            return black(price, k, years, volatility, kind == 3) / lots
        return price / lots - (funding / 1e6 if kind == 1 else 0.0)

    rows = []
    for move in (0, 0.25, -0.25, 0.5, -0.5, 0.75, -0.75, 1, -1):
        rows += [value(f * (1 + move * scan), v) for v in (sigma, raised, lowered)]
    mark = rows[0]
    rows += [mark + weight * (value(f * (1 + move), raised) - mark) for move, weight in TAILS]
    for sign in (1, -1):
        rows.append(value(f * (1 + sign * 0.045 * (0.5 + 2 * years) * (kind in (2, 3, 4))), sigma))
    for sign in (1, -1):
        rows.append(value(f, sigma * (1 + sign * 0.25 * (30 - days) / (30 + days))))
    for sign in (1, -1):
        rows.append(value(f, sigma * (1 - sign * 0.2 * min(max((k / f - 1) / 0.2, -1), 1))))
    assert len(rows) == 40
    return [round(row * 1e6) for row in rows]


def array_words(values: list[int]) -> list[str]:
    words = []
    for k in range(5):
        lanes = [values[8 * k + i] if half == 0 else values[8 * k + 4 + i] for i in range(4) for half in (0, 1)]
        words.append(bits(*((lane + 2**31, 32) for lane in reversed(lanes))))
    return words


def leaf(kind, underlying, expiry, strike, forward, iv, funding, interest, status=1) -> dict:
    array = risk_array(kind, underlying, expiry, strike, forward, iv, funding)
    depth = {1: 1_000_000, 2: 2_000_000}[underlying]
    rate = Fraction(500, 10**6) + Fraction(1_000, 10**6) * Fraction(interest, depth)
    a_lot = Fraction(forward, LOTS[underlying])
    c_long = c_short = math.ceil(a_lot * rate)
    if kind in (3, 4):
        c_long = min(c_long, min(array))
        minimum = max(7_500, math.ceil(Fraction(R[underlying], 16)))
        c_short = math.ceil(a_lot * (rate + Fraction(minimum, 10**6)))
    identifier = instrument_id(underlying, expiry, strike, kind)
    return {
        "id": f"0x{identifier:026x}", "forward": forward, "iv": iv, "open_interest": interest,
        "c_long": c_long + 1, "c_short": c_short + 1, "status": status, "array": array,
        "meta": bits((identifier, 104), (forward, 48), (iv, 32), (c_long + 1, 32), (c_short + 1, 32), (status, 8)),
        "words": array_words(array),
    }  # fmt: skip


BTC, ETH = 7_934_580_000, 194_610_000
LEAVES = [
    leaf(1, 1, 0, 0, BTC - 1_200_000, 0, 37_251, 4_000_000),
    leaf(2, 1, NOW + 15 * 86_400 + 28_800, 0, 7_990_123_456, 0, 0, 250_000),
    *[
        leaf(kind, 1, NOW + 15 * 86_400 + 28_800, strike * 10**6, 7_990_123_456, iv, 0, 12_345)
        for strike, iv in ((4_000, 1_310_000), (7_500, 912_345), (8_000, 880_001), (16_000, 1_150_000))
        for kind in (3, 4)
    ],
    leaf(1, 2, 0, 0, ETH, 0, -98_765, 0),
    leaf(2, 2, NOW + 107 * 86_400, 0, 201_000_007, 0, 0, 1),
    *[
        leaf(kind, 2, expiry, 200_000_000, 195_500_000, iv, 0, 777)
        for expiry, iv in ((NOW + 5_400, 1_600_000), (NOW + 107 * 86_400, 790_000))
        for kind in (3, 4)
    ],
]

# portfolios
K, KAPPA, FACTOR = 20 * 10**6, 2_000, 12_500


def vector_words(values: list[int]) -> list[str]:
    return [bits(*((values[4 * w + i] + 2**63, 64) for i in (3, 2, 1, 0))) for w in range(10)]


def margin_case(name: str, account: int, cash: int, held: list[tuple[dict, int]], kappa=KAPPA, factor=FACTOR) -> dict:
    by_underlying: dict[int, list[int]] = {}
    closeout = 0
    for each, lots in held:
        vector = by_underlying.setdefault(int(each["id"], 16) >> 88, [0] * 40)
        for row in range(40):
            vector[row] += lots * each["array"][row]
        closeout += max(lots, 0) * each["c_long"] + max(-lots, 0) * each["c_short"]
    vectors = [by_underlying[u] for u in sorted(by_underlying)]
    marks = sum(v[0] for v in vectors)
    apart = sum(v[0] - min(v) for v in vectors)
    joint = marks - min((sum(v[s] for v in vectors) for s in range(40)), default=0)
    risk = apart - math.floor(Fraction(kappa, 10_000) * (apart - joint))
    total = closeout + (K if held else 0)
    pv = cash + marks
    im = math.ceil(Fraction(factor, 10_000) * (risk + total))
    padded = [*sorted(by_underlying), 0, 0, 0, 0][:4]
    sum_abs = sum(abs(lots) for _, lots in held)
    return {
        "name": name, "account": account, "cash": str(cash), "kappa": kappa, "im_factor": factor, "reserve": K,
        "legs": [{"meta": e["meta"], "array": e["words"], "lots": lots} for e, lots in held],
        "head": bits((account, 64), *((u, 16) for u in padded), (len(held), 64), (sum_abs, 64)),
        "cost": bits((closeout, 128), (0, 128)),
        "vectors": [word for v in vectors for word in vector_words(v)],
        "pv": str(pv), "risk": str(risk), "closeout": str(total),
        "mm_excess": str(pv - risk - total), "im_excess": str(pv - im),
    }  # fmt: skip


def bare(underlying: int, expiry: int, strike: int, kind: int, array: list[int], c_long: int, c_short: int) -> dict:
    """A leaf with made-up values, for the ends of the lanes."""
    identifier = instrument_id(underlying, expiry, strike, kind)
    meta = bits((identifier, 104), (10**9, 48), (0, 32), (c_long, 32), (c_short, 32), (1, 8))
    return {"id": hex(identifier), "array": array, "c_long": c_long, "c_short": c_short, "meta": meta,
            "words": array_words(array)}  # fmt: skip


def portfolios() -> list[dict]:
    rng = random.Random(20200312)
    cases = [
        margin_case("no position", 256, 5_000_000, []),
        margin_case("no position, in debt", 257, -1, []),
        margin_case("long perpetual", 258, 10**9, [(LEAVES[0], 500)]),
        margin_case("short perpetual", 259, 10**9, [(LEAVES[0], -500)]),
        margin_case("calendar spread", 260, 10**9, [(LEAVES[0], -1_000), (LEAVES[1], 1_000)]),
        margin_case("short strangle, both underlyings", 261, 4 * 10**9,
                    [(LEAVES[2], -40), (LEAVES[9], -35), (LEAVES[10], 900), (LEAVES[13], -2_000)]),
        margin_case("long BTC against short ETH", 262, 3 * 10**9, [(LEAVES[0], 300), (LEAVES[10], -12_000)]),
    ]  # fmt: skip
    for number in range(263, 275):
        held = sorted(rng.sample(range(len(LEAVES)), rng.randrange(1, 13)))
        size = 10 ** rng.randrange(1, 7)
        book = [(LEAVES[i], rng.choice((-1, 1)) * rng.randrange(1, size + 1)) for i in held]
        cash = rng.randrange(-(10**12), 10**12)
        kappa, factor = rng.randrange(0, 3_001), rng.randrange(10_001, 50_001)
        cases.append(margin_case(f"random {number}", number, cash, book, kappa, factor))
    top = 2**31 - 1
    saw = [top if row % 2 else -top for row in range(40)]
    most, least = bare(1, 0, 0, 1, [top] * 40, 1, 1), bare(1, 0, 0, 1, [-top] * 40, 1, 1)
    first, second = bare(1, 0, 0, 1, saw, 2**32 - 1, 1), bare(2, 0, 0, 1, [-v for v in saw], 1, 2**32 - 1)
    lots = 2**32 - 1
    cases += [
        margin_case("every lane at the top", 300, 0, [(most, lots)]),
        margin_case("every lane at the bottom", 301, 0, [(least, lots)]),
        margin_case("short of the top", 302, 0, [(most, -lots)]),
        margin_case("short of the bottom", 303, 0, [(least, -lots)]),
        margin_case("lanes alternate between the ends", 304, 2**100, [(first, 2**31), (second, 1 - 2**31)]),
        margin_case("lanes cancel", 305, -(2**100), [(first, 2**31 - 1), (second, 2**31 - 1)], kappa=3_000),
    ]
    return cases


def policy() -> dict:
    rows = []
    for move in (0, 1, -1, 2, -2, 3, -3, 4, -4):
        rows += [(0, volatility, move * 250_000, 0) for volatility in (0, 1, 2)]
    rows += [(1, 1, round(move * 10**6), round(weight * 10**8)) for move, weight in TAILS]
    rows += [(kind, 0, sign * 10**6, 0) for kind in (2, 3, 4) for sign in (1, -1)]
    margin = bits((120, 16), (500, 16), (3, 16), (100 * 10**6, 48), (5_000, 16), (1_800, 32), (6_000, 16), (1_000, 16),
                  (20 * 10**6, 48), (12_500, 16), (2_000, 16))  # fmt: skip
    bounds = (80_000, 400_000, 100_000, 10_000)
    listed = [(1, 1_000, *bounds, 1_000_000, 500, 1_000), (2, 100, *bounds, 2_000_000, 500, 1_200)]
    words = {
        "version": 1,
        "margin": margin,
        "rows": [bits((0, 112), (weight, 64), (move, 64), (vol, 8), (kind, 8)) for kind, vol, move, weight in rows],
        "shocks": SHOCKS + LIMITS,
        "underlyings": [bits((u, 16), (n, 32), (a, 32), (b, 32), (up, 32), (down, 32), (depth, 48),
                             (interest, 16), (haircut, 16))
                        for u, n, a, b, up, down, depth, interest, haircut in listed],
    }  # fmt: skip
    flat = [
        0x20,
        1,
        margin,
        *words["rows"],
        *SHOCKS,
        *LIMITS,
        (2 + 40 + 16 + 1) * 32,
        len(listed),
        *words["underlyings"],
    ]
    words["encoded"] = "0x" + "".join(x[2:] if isinstance(x, str) else f"{x:064x}" for x in flat)
    return words


def scenario_vectors() -> list[dict]:
    """The accumulation of docs/protocol.md modulo 2^256, word by word, as a contract does it."""
    cases = []
    b63, b31 = (sum(1 << (64 * i + n) for i in range(4)) for n in (63, 31))
    mask = int("00000000ffffffff" * 4, 16)
    for name, legs in (
        ("two legs", [(LEAVES[0], 500), (LEAVES[3], -200)]),
        ("mixed", [(LEAVES[i], (-1) ** i * (10 ** (i % 6)) - i) for i in range(10)]),
        ("short of the largest", [(LEAVES[1], 1 - 2**32)]),
    ):
        words, plain = [], [0] * 40
        for w in range(10):
            total = b63
            for each, lots in legs:
                lanes = int(each["words"][w // 2], 16) >> (32 * (w % 2)) & mask
                total += lots * (lanes - b31)
            words.append(f"0x{total % 2**256:064x}")
        for each, lots in legs:
            plain = [a + lots * b for a, b in zip(plain, each["array"], strict=True)]
        cases.append({"name": name, "legs": [{"array": e["words"], "lots": lots} for e, lots in legs],
                      "vector": [str(v) for v in plain], "words": words})  # fmt: skip
    return cases


if __name__ == "__main__":
    save("instrument", [
        {"underlying": u, "expiry": e, "strike": s, "kind": k, "symbol": name,
         "id": f"0x{instrument_id(u, e, s, k):026x}"}
        for u, e, s, k, name in INSTRUMENTS
    ])  # fmt: skip
    save("risk_array", [
        {"timestamp": NOW, "scan_range": R, "index": {1: BTC, 2: ETH}, "funding": {1: 37_251, 2: -98_765},
         "leaves": LEAVES}
    ])  # fmt: skip
    save("scenario_vector", scenario_vectors())
    save("policy", [policy()])
    save("margin", portfolios())
