from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats import poisson as poisson_distribution

from tnt_coffea.errors import FitError
from tnt_coffea.stats import (
    asimov_significance,
    counting_limit,
    feldman_cousins,
    gross_vitells_p_value,
    li_ma_significance,
    toy_search,
    toy_spectrum,
)
from tnt_coffea.stats.p_values import (
    normal_p_value,
    poisson_p_value,
    significance,
    theta_q0,
    toys_p_value,
)
from tnt_coffea.stats.validity import LARGEST_EDM, Z_AGREEMENT, minimiser_problems


@pytest.mark.parametrize("z", [0.0, 1.0, 5.0, 30.0])
def test_a_significance_is_that_of_its_p_value(z):
    assert normal_p_value(z) == pytest.approx(norm.sf(z), rel=1e-12)
    assert significance(normal_p_value(z)) == pytest.approx(z, abs=1e-9)


def test_no_excess_has_no_significance_unless_it_is_asked_for():
    assert significance(0.9) == 0.0
    assert significance(0.9, least=-np.inf) == pytest.approx(norm.isf(0.9))
    assert np.isfinite(significance(0.0))


def test_the_data_count_as_one_of_the_toys():
    assert toys_p_value(0, 99) == 0.01
    assert toys_p_value(99, 99) == 1.0


def test_a_minimum_is_in_doubt_where_a_limit_is_passed():
    assert minimiser_problems(LARGEST_EDM, 3.0, 3.0 + 0.9 * Z_AGREEMENT) == []
    assert "Minuit stopped" in minimiser_problems(2 * LARGEST_EDM, 3.0, 3.0)[0]
    assert "Minuit failed" in minimiser_problems(None, 3.0, 3.0)[0]
    assert "disagree" in minimiser_problems(0.0, 3.0, 3.0 + 2 * Z_AGREEMENT)[0]


def test_toys_expect_what_was_asked_for():
    totals = [toy_spectrum(1000, 50, seed=seed).sum().value for seed in range(50)]
    # The Gaussian lies inside the range to 1e-13.
    assert np.mean(totals) == pytest.approx(1050, abs=4 * np.sqrt(1050 / 50))
    assert toy_search(1000, 20, folds=3).sum(flow=True).value == 1020
    with pytest.raises(FitError, match="0 events or more"):
        toy_spectrum(-1)


def test_the_signal_of_a_toy_search_passes_with_both_jets():
    both = toy_search(0, 200)
    assert both[{"q_heavy": slice(6, None), "q_light": slice(6, None)}].sum().value == 200


def test_equations_2_5_and_2_6():
    assert np.sqrt(theta_q0(130, 100, 5)) == pytest.approx(2.549748, abs=1e-6)


def test_deficit_and_exact_expectation_give_zero():
    assert list(theta_q0([90, 100], 100.0, [5.0, 0.0])) == [0.0, 0.0]


def test_without_uncertainty_it_is_the_counting_experiment():
    assert np.sqrt(theta_q0(110, 100, 0)) == pytest.approx(0.983992, abs=1e-6)
    assert np.sqrt(theta_q0(130, 100, 0)) == pytest.approx(2.866131, abs=1e-6)
    assert theta_q0(130, 100, 1e-6) == pytest.approx(theta_q0(130, 100, 0), rel=1e-9)


@pytest.mark.parametrize(("n", "b", "sigma"), [(130, 100, 5), (3, 0.2, 4.0), (2e6, 1e6, 1e3)])
def test_closed_form_is_the_maximum(n, b, sigma):
    theta = np.linspace(-min(b, 8 * sigma) + 1e-9, 8 * sigma + n - b, 2_000_001)
    mean = b + theta
    profile = np.min(mean - n + n * np.log(n / mean) + 0.5 * (theta / sigma) ** 2)
    assert theta_q0(n, b, sigma) == pytest.approx(2 * profile, rel=1e-4)


def test_poisson_p_value_integrates_over_the_uncertainty():
    assert poisson_p_value(130, 100, 0.0) == pytest.approx(poisson_distribution.sf(129, 100))
    random = np.random.default_rng(1)
    means = random.normal(100, 10, 400_000)
    sampled = poisson_distribution.sf(129, means).mean()
    assert poisson_p_value(130, 100, 10.0) == pytest.approx(sampled, rel=0.02)
    assert poisson_p_value(0, 5.0, 1.0) == 1.0


@pytest.mark.parametrize(("n", "b", "sigma"), [(3, 0.5, 5.0), (5, 0.1, 0.5), (500, 100.0, 100.0)])
def test_poisson_p_value_of_a_background_that_is_cut_off_at_0(n, b, sigma):
    def density(mean):
        return poisson_distribution.sf(n - 1, mean) * norm.pdf(mean, b, sigma)

    cut = quad(density, 0, b + 10 * sigma, points=[b, n], epsabs=0)[0] / norm.sf(0, b, sigma)
    assert poisson_p_value(n, b, sigma) == pytest.approx(cut, rel=1e-6)


def test_numbers_that_are_no_counts_are_refused():
    for n, b, sigma in ((np.nan, 100, 5), (-1, 100, 5), (130, 0, 5), (130, 100, -1)):
        with pytest.raises(FitError):
            theta_q0(n, b, sigma)


@pytest.mark.parametrize(
    ("n_on", "n_off", "tau", "z"),
    [(4, 5, 5, 1.95), (9, 17.83, 4.69, 1.99), (17, 40.11, 10.56, 4.57), (50, 55, 2, 3.02),
     (67, 15, 0.5, 3.04), (200, 10, 0.1, 2.38)],
)  # fmt: skip
def test_li_ma_significance(n_on, n_off, tau, z):
    # Cousins, Linnemann, Tucker, physics/0702156, table 1: profile likelihood.
    assert li_ma_significance(n_on, n_off, 1 / tau) == pytest.approx(z, abs=0.01)
    assert li_ma_significance(n_off / tau, n_off, 1 / tau) == pytest.approx(0, abs=1e-6)
    assert li_ma_significance(0, n_off, 1 / tau) == 0.0


def test_li_ma_significance_without_a_count_beside():
    # Equation 17 at n_off = 0: sqrt(2 n ln((1 + alpha) / alpha)).
    assert li_ma_significance(5, 0, 0.25) == pytest.approx(np.sqrt(10 * np.log(5)))


@pytest.mark.parametrize(
    ("s", "b", "sigma", "z"),
    [(10, 100, 0, 0.983992), (30, 100, 0, 2.866131), (50, 100, 10, 3.172973)],
)
def test_asimov_significance(s, b, sigma, z):
    # arXiv:1007.1727, equation 97: sqrt(2 ((s + b) ln(1 + s / b) - s)).
    assert asimov_significance(s, b, sigma) == pytest.approx(z, abs=1e-6)
    if sigma:
        # A count beside it of b^2 / sigma^2 events knows b to sigma.
        beside = li_ma_significance(s + b, (b / sigma) ** 2, sigma**2 / b)
        assert asimov_significance(s, b, sigma) == pytest.approx(beside)
    assert asimov_significance(s, b, 1e-5) == pytest.approx(asimov_significance(s, b), rel=1e-4)
    assert asimov_significance(0, b, sigma) == 0.0


def test_small_signal_is_s_over_the_root_of_the_variance():
    assert asimov_significance(1, 1e4, 50) == pytest.approx(1 / np.sqrt(1e4 + 50**2), rel=1e-3)


def test_upcrossings_of_gross_and_vitells():
    # arXiv:1005.1891, section 3: 4.34 upcrossings of 0.5 stand for 5.58 exp(-c / 2), and the
    # trials grow linearly, here with the one-sided p-value by sqrt(2 pi) 5.58 Z.
    z = 6.0
    p = gross_vitells_p_value(z, 4.34, 0.5)
    assert p - normal_p_value(z) == pytest.approx(5.58 * np.exp(-(z**2) / 2), rel=2e-3)
    trials = p / normal_p_value(z)
    assert trials == pytest.approx(1 + np.sqrt(2 * np.pi) * 5.58 * z, rel=0.03)
    assert gross_vitells_p_value(0, 4.34) == 1.0
    assert gross_vitells_p_value(z, 0) == normal_p_value(z)


@pytest.mark.parametrize(
    ("n", "b", "level", "low", "high"),
    [
        # physics/9711021, tables IV and V (90 %): the last four are where the upper end is made
        # to fall with b.
        (0, 0, 0.9, 0, 2.44), (1, 0, 0.9, 0.11, 4.36), (3, 0, 0.9, 1.10, 7.42),
        (10, 0, 0.9, 5.50, 16.50), (3, 0.5, 0.9, 0.60, 6.92), (0, 1.5, 0.9, 0, 1.33),
        (0, 2, 0.9, 0, 1.26), (0, 3, 0.9, 0, 1.08), (0, 4, 0.9, 0, 1.01), (1, 4, 0.9, 0, 1.39),
        # Tables VI and VII (95 %).
        (0, 0, 0.95, 0, 3.09), (4, 0, 0.95, 1.37, 9.76), (10, 0, 0.95, 4.75, 17.82),
        (7, 3, 0.95, 0.29, 10.81),
    ],
)  # fmt: skip
def test_intervals_of_feldman_and_cousins(n, b, level, low, high):
    assert feldman_cousins(n, b, level) == pytest.approx((low, high), abs=0.01)


def test_intervals_cover():
    mu, b = 1.7, 2.2
    inside = [low <= mu <= high for low, high in (feldman_cousins(n, b) for n in range(20))]
    covered = poisson_distribution.pmf(np.arange(20), mu + b)[inside].sum()
    assert 0.9 <= covered < 0.99


@pytest.mark.parametrize(
    ("n", "b", "sigma", "limit"),
    [
        # Read, J. Phys. G 28 (2002) 2693: -ln 0.05 where nothing is seen, whatever is expected.
        (0, 0, 0, 2.995732), (0, 5, 0, 2.995732),
        (3, 0.5, 5, 6.356), (3, 3, 3, 6.173),  # the normal distribution cut off at 0
    ],
)  # fmt: skip
def test_counting_limit(n, b, sigma, limit):
    assert counting_limit(n, b, sigma) == pytest.approx(limit, abs=1e-3)


def test_counting_limit_is_where_cls_falls():
    limit = counting_limit(7, 4.5, level=0.9)
    cls = poisson_distribution.cdf(7, 4.5 + limit) / poisson_distribution.cdf(7, 4.5)
    assert cls == pytest.approx(0.1)
    # A million events: 1.96 sigma, for CLs of data on the expectation.
    assert counting_limit(10**6, 1e6) == pytest.approx(1.96e3, rel=2e-3)


FUNCTIONS = {
    li_ma_significance: {"n_on": 5, "n_off": 5, "alpha": 1},
    asimov_significance: {"s": 5, "b": 5, "sigma": 1},
    gross_vitells_p_value: {"z": 3, "upcrossings": 2, "level": 0.5},
    feldman_cousins: {"n": 3, "b": 1, "level": 0.9},
    counting_limit: {"n": 3, "b": 1, "sigma": 1, "level": 0.95},
    poisson_p_value: {"n": 3, "b": 1, "sigma": 1},
}


@pytest.mark.parametrize(("function", "good"), FUNCTIONS.items())
def test_arguments_that_are_no_such_numbers_are_refused(function, good):
    for name in good:
        for wrong in (None, "x", True, np.nan, np.inf, -1, [1]):
            with pytest.raises(FitError, match=f"{name} is "):
                function(**good | {name: wrong})
    beyond = {"level": (0.2, 1), "alpha": (0,)} | ({"n": (1.5, 10**9)} if "level" in good else {})
    for name in good.keys() & beyond.keys():
        for wrong in beyond[name] if "z" not in good else ():
            with pytest.raises(FitError, match=f"{name} is "):
                function(**good | {name: wrong})
