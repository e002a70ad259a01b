"""Value at risk, expected shortfall, option books, add-ons: against numbers from elsewhere and by hand."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, multivariate_t, norm
from scipy.stats import t as student

from offchain.risk import addons, statistical
from offchain.risk.book_margin import book_tails
from offchain.risk.revaluation import Leg, OptionBook, greeks_margin, hybrid_margin
from offchain.risk.statistical import MonteCarlo, Tail, empirical_tail


@pytest.mark.parametrize(
    ("confidence", "var", "shortfall"),
    [(0.975, 1.959964, 2.337803), (0.99, 2.326348, 2.665214), (0.999, 3.090232, 3.367090)],
)
def test_normal_tail__published_multipliers__six_digits(confidence: float, var: float, shortfall: float) -> None:
    tail = statistical.normal_tail(1.0, confidence)
    assert (tail.var, tail.shortfall) == (pytest.approx(var, abs=6e-7), pytest.approx(shortfall, abs=6e-7))


def test_student_tail__numerical_integral__same_shortfall() -> None:
    tail = statistical.student_tail(0.04, 4.0, 0.99)
    scale = 0.04 * math.sqrt(2.0 / 4.0)
    assert tail.var == pytest.approx(scale * 3.746947, rel=1e-6)  # t table, 4 degrees, 99 %
    integral = quad(lambda x: x * student.pdf(x, 4), tail.var / scale, np.inf)[0]
    assert tail.shortfall == pytest.approx(scale * integral / 0.01, rel=1e-8)


def test_empirical_tail__one_to_a_hundred__order_statistics() -> None:
    """ceil(.99 * 100) is the 99th; beyond it lies 100 alone. At 97.5 % the 98th counts with half an observation."""
    losses = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    assert empirical_tail(losses, 0.99) == Tail(99.0, pytest.approx(100.0), 0.99)
    tail = empirical_tail(losses, 0.975)
    assert tail.var == 98.0
    assert tail.shortfall == pytest.approx((100 + 99 + 0.5 * 98) / 2.5)


def test_empirical_tail__weights__as_repetition() -> None:
    losses, weights = np.array([5.0, 1.0, 3.0, 2.0]), np.array([1, 60, 9, 30])
    weighted, repeated = empirical_tail(losses, 0.95, weights), empirical_tail(np.repeat(losses, weights), 0.95)
    assert weighted.var == repeated.var == 3.0
    assert weighted.shortfall == pytest.approx(repeated.shortfall) == pytest.approx((5 + 4 * 3) / 5)


def test_filtered_scenarios__joint_dates__correlation_kept() -> None:
    rng = np.random.default_rng(2)
    z = rng.standard_normal((500, 2)) @ np.linalg.cholesky([[1, 0.8], [0.8, 1]]).T
    sigma = np.exp(rng.standard_normal((501, 2)) * 0.5)
    moved = statistical.filtered_scenarios(z * sigma[:-1], sigma)
    np.testing.assert_allclose(moved, z * sigma[-1], rtol=1e-12)


def test_covariance__decay_one__numpy_about_zero() -> None:
    r = np.random.default_rng(3).standard_normal((50, 3))
    np.testing.assert_allclose(statistical.covariance(r), r.T @ r / 50)


def test_stressed_correlations__all__are_correlation_matrices() -> None:
    for name, each in statistical.stressed_correlations([[1, 0.8, 0.5], [0.8, 1, 0.2], [0.5, 0.2, 1]], 0.7).items():
        np.testing.assert_allclose(np.diag(each), 1.0, err_msg=name)
        assert np.linalg.eigvalsh(each)[0] > -1e-12
    ends = statistical.stressed_correlations([[1, 0.8], [0.8, 1]], 1.0)
    assert [ends[k][0, 1] for k in ("together", "apart", "opposed")] == [1.0, 0.0, -1.0]


def test_monte_carlo__normal__tail_and_correlation() -> None:
    r = MonteCarlo(200_000).returns([0.04, 0.05], [[1, 0.8], [0.8, 1]])
    assert r.mean(axis=0) == pytest.approx([0.0, 0.0], abs=1e-12)  # antithetic
    assert np.corrcoef(r.T)[0, 1] == pytest.approx(0.8, abs=0.005)
    both = 0.5 * r.sum(axis=1)
    exact = 0.5 * math.sqrt(0.04**2 + 0.05**2 + 2 * 0.8 * 0.04 * 0.05) * 2.665214
    assert empirical_tail(-both).shortfall == pytest.approx(exact, rel=0.015)


@pytest.mark.parametrize("freedom", [None, 4.0])
def test_monte_carlo__copula__joint_extremes_of_scipy(freedom: float | None) -> None:
    """Both factors below their own 1 % quantile: a t copula of 4 degrees at 0.5 has about twice as many such days."""
    r = MonteCarlo(400_000, copula_freedom=freedom).returns([1.0, 1.0], [[1, 0.5], [0.5, 1]])
    joint = float(np.mean((r < norm.ppf(0.01)).all(axis=1)))
    shape = [[1, 0.5], [0.5, 1]]
    if freedom is None:
        exact = multivariate_normal([0, 0], shape).cdf([norm.ppf(0.01)] * 2)
    else:
        exact = multivariate_t([0, 0], shape, df=4, seed=1).cdf([student.ppf(0.01, 4)] * 2)
    assert joint == pytest.approx(exact, rel=0.08)
    assert r.std(axis=0) == pytest.approx([1.0, 1.0], rel=0.01)


def test_monte_carlo__t_marginals__quantile_of_the_table() -> None:
    r = MonteCarlo(400_000, freedom=4.0).returns([0.04], [[1.0]])[:, 0]
    assert -np.quantile(r, 0.01) == pytest.approx(0.04 / math.sqrt(2) * 3.746947, rel=0.02)


def test_monte_carlo__jumps__variance_adds() -> None:
    """Merton: variance is that of the diffusion and ``rate * (mean^2 + size^2)``, and the mean ``rate * mean``."""
    mc = MonteCarlo(400_000, jump_rate=0.1, jump_mean=-0.1, jump_size=0.05)
    r = mc.returns([0.04, 0.04], [[1, 0.5], [0.5, 1]])
    assert r.var(axis=0) == pytest.approx([0.0016 + 0.1 * 0.0125] * 2, rel=0.02)
    assert r.mean(axis=0) == pytest.approx([-0.01] * 2, rel=0.03)


STRADDLE = [
    Leg("BTC", -2.0, 100.0, True, 100.0, 30 / 365, 0.6),
    Leg("BTC", -2.0, 100.0, False, 100.0, 30 / 365, 0.6),
    Leg("ETH", 5.0, 10.0),
]


def test_profit__call_less_put__is_the_forward() -> None:
    pair = [Leg("BTC", 1.0, 100.0, True, 90.0, 0.3, 0.7), Leg("BTC", -1.0, 100.0, False, 90.0, 0.3, 0.7)]
    moves, vols = np.array([[-0.4], [0.0], [0.3]]), np.array([[0.5], [1.0], [-0.3]])
    np.testing.assert_allclose(OptionBook(pair).profit(moves, vols), 100 * moves[:, 0], atol=1e-12)


def test_profit__long_option__loses_its_premium_at_most() -> None:
    book = OptionBook([Leg("BTC", 1.0, 100.0, True, 100.0, 0.2, 0.5639719777)])
    worst = book.profit([[-1.0]], [[-1.0]])[0]
    assert worst == pytest.approx(-book.value, rel=1e-12)


def test_profit__published_at_the_money_price__full_revaluation() -> None:
    """black(100, 100, .2, T = .5) = 5.637197779701664: volatility halved from 0.4."""
    book = OptionBook([Leg("BTC", 1.0, 100.0, True, 100.0, 0.5, 0.4)])
    assert book.profit([[0.0]], [[-0.5]])[0] + book.value == pytest.approx(5.637197779701664, rel=1e-12)


def test_approximate_profit__small_moves__third_order() -> None:
    book = OptionBook(STRADDLE)
    errors = []
    for size in (0.02, 0.01):
        moves = np.array([[size, size]])
        errors.append(abs(float(book.profit(moves)[0] - book.approximate_profit(moves)[0])))
    assert errors[0] / errors[1] > 6.0  # 8 in the limit: the cube of the move
    assert errors[1] < 1e-3


def test_var_of_an_option_book__full_against_greeks__gamma_matters() -> None:
    book = OptionBook(STRADDLE)
    r = MonteCarlo(20_000).returns([0.04, 0.05], [[1, 0.8], [0.8, 1]])
    full = empirical_tail(-book.profit(np.expm1(r)))
    approximate = empirical_tail(-book.approximate_profit(np.expm1(r)))
    assert full.shortfall == pytest.approx(approximate.shortfall, rel=0.06)
    e = book.exposure()
    linear = empirical_tail(-(np.expm1(r) @ e.delta))
    assert full.shortfall > 1.5 * linear.shortfall


def test_greeks_margin__grid_search__same_worst() -> None:
    for sign in (1.0, -1.0):
        book = OptionBook([Leg(leg.factor, sign * leg.quantity, leg.price, leg.call, leg.strike, leg.years,
                               leg.volatility) for leg in STRADDLE[:2]])  # fmt: skip
        moves, vols = np.meshgrid(np.linspace(-0.16, 0.16, 401), np.linspace(-0.5, 0.5, 11))
        loss = -book.approximate_profit(moves.reshape(-1, 1), vols.reshape(-1, 1)).min()
        assert greeks_margin(book.exposure(), [0.16], [0.5]) == pytest.approx(loss, rel=1e-4)


def test_hybrid_margin__weight_one__greater_of_both() -> None:
    assert [hybrid_margin(10.0, 8.0, w) for w in (0.0, 0.5, 1.0)] == [8.0, 9.0, 10.0]
    assert hybrid_margin(5.0, 8.0, 1.0) == 8.0


@pytest.mark.parametrize(("days", "multiplier"), [(1, 1.0), (2, 1.118), (5, 1.483), (10, 1.962)])
def test_slice_multiplier__published__three_digits(days: int, multiplier: float) -> None:
    assert addons.slice_multiplier(days) == pytest.approx(multiplier, abs=5e-4)


def test_concentration__ten_days_to_sell__by_hand() -> None:
    assert addons.liquidation_days(-1000.0, 1000.0, 0.1) == 10
    assert addons.concentration_addon(100.0, 1000.0, 1000.0, 0.1) == pytest.approx(96.2, abs=0.05)
    assert addons.concentration_addon(100.0, 100.0, 1000.0, 0.1) == 0.0


def test_liquidity_addon__by_hand__spread_and_root() -> None:
    cost = addons.liquidity_addon(-4e6, 0.0005, 0.04, 1e8)
    assert cost == pytest.approx(4e6 * (0.0005 + 0.04 * 0.2))


def test_haircut__by_hand__never_all() -> None:
    assert addons.haircut(Tail(0.08, 0.1, 0.99), 1, 0.001) == pytest.approx(1 - math.exp(-0.1) * 0.999)
    assert addons.haircut(Tail(0.08, 0.1, 0.99), 10) == pytest.approx(1 - math.exp(-0.1962), abs=1e-4)
    assert addons.haircut(Tail(5.0, 9.0, 0.99), 10, cap=0.9) == 0.9


def test_wrong_way__normal_losses__two_less_root_two() -> None:
    """Comonotone normals have twice the shortfall of one, independent ones sqrt(2) times: 0.586 * 2.665214."""
    x = norm.ppf((np.arange(4000) + 0.5) / 4000)
    assert addons.wrong_way_addon(x, x) == pytest.approx((2 - math.sqrt(2)) * 2.665214, rel=0.01)
    assert addons.wrong_way_addon(x, -x) == 0.0
    assert addons.wrong_way_addon(x, np.random.default_rng(1).permutation(x)) < 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: empirical_tail(np.arange(50.0), 0.99), "losses has 50 values: a tail of 0.99 needs at least 100"),
        (lambda: empirical_tail([0.0] * 99 + [math.nan]), r"losses has nan at \(99,\)"),
        (lambda: statistical.student_tail(0.04, 2.0), "freedom 2.0"),
        (lambda: statistical.normal_tail(-1.0), "volatility -1.0"),
        (lambda: statistical.correlation([[1, 2.0], [2.0, 1]]), "not positive semidefinite"),
        (lambda: statistical.filtered_scenarios([[0.1]], [[0.1], [0.0]]), "volatility 0.0 is not positive"),
        (lambda: MonteCarlo(201), "draws 201"),
        (lambda: Leg("BTC", 1.0, -5.0), "price -5.0"),
        (lambda: Leg("BTC", 1.0, 100.0, True, 100.0, 0.0, 0.5), "years 0.0"),
        (lambda: Leg("BTC", 1.0, 100.0, True, 100.0, 0.1, 50.0), "volatility 50.0"),
        (lambda: OptionBook([]), "legs is empty"),
        (lambda: OptionBook([Leg("BTC", 1.0, 100.0)]).profit([[math.nan]]), "price move nan"),
        (lambda: addons.liquidation_days(1.0, 0.0), "daily_volume 0.0"),
        (lambda: addons.slice_multiplier(0), "days 0"),
    ],
)
def test_bad_input__error__names_field_and_value(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def _history(n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    z = np.random.default_rng(8).standard_normal((n, 2)) @ np.linalg.cholesky([[1, 0.8], [0.8, 1]]).T
    return z * [0.04, 0.05], np.tile([0.04, 0.05], (n + 1, 1))


def test_book_tails__linear_book__all_methods_near_the_normal_tail() -> None:
    """Normal returns, small positions in log terms: what the parametric formula says, each within its noise."""
    r, sigma = _history()
    book = OptionBook([Leg("BTC", 1.0, 100.0), Leg("ETH", 10.0, 10.0)])
    found = {(m.method, m.valuation): m.tail for m in book_tails(book, r, sigma)}
    exact = 100 * math.sqrt(0.04**2 + 0.05**2 + 2 * 0.8 * 0.04 * 0.05) * 2.665214
    assert found["normal", "delta"].shortfall == pytest.approx(exact, rel=0.02)
    for method in ("historical", "filtered", "normal copula"):
        assert found[method, "full"].shortfall == pytest.approx(exact, rel=0.15)
        assert found[method, "greeks"].shortfall == pytest.approx(found[method, "full"].shortfall, rel=1e-12)
    assert found["t", "delta"].shortfall > found["normal", "delta"].shortfall
    assert found["t copula, worst correlation", "full"].shortfall > found["t copula", "full"].shortfall


def test_book_tails__hedged_pair__opposed_correlation_is_the_worst() -> None:
    r, sigma = _history()
    book = OptionBook([Leg("BTC", 1.0, 100.0), Leg("ETH", -10.0, 10.0)])
    found = {(m.method, m.valuation): m.tail for m in book_tails(book, r, sigma)}
    worst, base = found["t copula, worst correlation", "full"], found["t copula", "full"]
    assert worst.shortfall > 1.5 * base.shortfall


def test_book_tails__filtered__follows_today() -> None:
    r, sigma = _history()
    doubled = np.concatenate([sigma[:-1], 2 * sigma[-1:]])
    book = OptionBook([Leg("BTC", -2.0, 100.0), Leg("ETH", 1.0, 10.0)])
    calm, hot = ({m.method: m.tail.var for m in book_tails(book, np.log1p(0.1 * r), s)} for s in (sigma, doubled))
    assert hot["filtered"] == pytest.approx(2 * calm["filtered"], rel=0.03)
    assert hot["historical"] == calm["historical"]


def test_book_tails__wrong_columns__named() -> None:
    r, sigma = _history(200)
    with pytest.raises(ValueError, match=r"returns has shape \(200, 2\): a column for each of BTC"):
        book_tails(OptionBook([Leg("BTC", 1.0, 100.0)]), r, sigma)
