from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import poisson as poisson_distribution

from tnt_coffea.errors import FitError
from tnt_coffea.stats import toy_search, toy_spectrum
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


def test_numbers_that_are_no_counts_are_refused():
    for n, b, sigma in ((np.nan, 100, 5), (-1, 100, 5), (130, 0, 5), (130, 100, -1)):
        with pytest.raises(FitError):
            theta_q0(n, b, sigma)
