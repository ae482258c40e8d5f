from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import poisson as poisson_distribution

from tnt_coffea.errors import FitError
from tnt_coffea.stats import WindowResult, masked_window_test
from tnt_coffea.stats.p_values import poisson_p_value, theta_q0
from tnt_coffea.stats.spectrum import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=20.0)
WINDOW = {"window": (3300.0, 3700.0), "fit": FIT}


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


def test_window_does_not_enter_its_own_background(toy_spectrum):
    plain = toy_spectrum(5000, 0, 41)
    before = masked_window_test(plain, **WINDOW)
    near = (plain.axes[0].centers > 3300) & (plain.axes[0].centers < 3700)
    plain.view().value[near] += 7
    after = masked_window_test(plain, **WINDOW)
    assert (after.expected, after.uncertainty) == (before.expected, before.uncertainty)
    assert after.observed == before.observed + 7 * near.sum()
    assert after.z > before.z + 1


def test_pull_of_the_interpolated_background_is_normal(falling_shape, mass_histogram):
    random = np.random.default_rng(42)
    near = slice(35, 55)
    pulls, p = [], []
    for _ in range(60):
        histogram = mass_histogram(random.poisson(5000 * falling_shape).astype(float))
        found = masked_window_test(histogram, **WINDOW | {"fit": replace(FIT, max_parameters=3)})
        pulls.append((found.expected - 5000 * falling_shape[near].sum()) / found.uncertainty)
        p.append(found.p_poisson)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(60)
    assert np.std(pulls) == pytest.approx(1.0, abs=3 / np.sqrt(120))
    assert 0.38 < np.mean(p) < 0.62


def test_few_events_get_the_poisson_p_value(toy_spectrum):
    few = masked_window_test(toy_spectrum(60, 6, 45), **WINDOW)
    assert (few.calibration, few.p_value) == ("Poisson", few.p_poisson)
    assert few.z == pytest.approx(max(0.0, norm.isf(few.p_poisson)))
    many = masked_window_test(toy_spectrum(5000, 60, 45), **WINDOW)
    assert many.calibration == "asymptotic"
    assert many.p_value == pytest.approx(norm.sf(np.sqrt(many.q0)))


def test_result_survives_json(toy_spectrum):
    found = masked_window_test(toy_spectrum(800, 30, 43), **WINDOW)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert WindowResult.from_dict(json.loads(text)) == found
    assert "expected from the sidebands" in found.summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": (2600.0, 3000.0)}, "sideband on either side"),
        ({"window": (3310.0, 3700.0)}, "not an edge"),
        ({"window": (2620.0, 6980.0)}, "too few"),
    ],
)
def test_windows_without_sidebands_are_refused(toy_spectrum, change, message):
    with pytest.raises(FitError, match=message):
        masked_window_test(toy_spectrum(800, 0, 44), **WINDOW | change)


def test_numbers_that_are_no_counts_are_refused():
    for n, b, sigma in ((np.nan, 100, 5), (-1, 100, 5), (130, 0, 5), (130, 100, -1)):
        with pytest.raises(FitError):
            theta_q0(n, b, sigma)
