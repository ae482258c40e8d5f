from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import hypergeom, norm, poisson

from tnt_coffea.errors import FitError
from tnt_coffea.stats import AbcdResult, abcd, paper_significance
from tnt_coffea.stats.abcd_likelihood import tied_counts_q0


@pytest.mark.parametrize(
    ("counts", "systematic", "z", "tolerance"),
    [
        ((130, 1000, 1000, 10_000), 0.0, 2.582119, 1e-4),
        ((130, 1000, 1000, 10_000), 0.03, 2.4841, 1e-4),
        ((20, 100, 50, 500), 0.0, 2.3266, 1e-4),
        ((20, 100, 50, 500), 0.03, 2.3161, 1e-4),
    ],
)
def test_known_significances(counts, systematic, z, tolerance):
    result = abcd(*counts, systematic=systematic)
    assert result.converged, result.notes
    assert result.z == pytest.approx(z, abs=tolerance)
    assert result.z_numpy == pytest.approx(z, abs=tolerance)
    assert result.p_value == pytest.approx(norm.sf(result.z))


def test_known_background():
    result = abcd(130, 1000, 1000, 10_000, systematic=0.0)
    assert result.expected == pytest.approx(100.0)
    assert result.background == pytest.approx(105.268, abs=2e-3)
    assert result.mu_hat == pytest.approx(30.0, rel=1e-3)


def test_systematic_vanishes_continuously():
    none = abcd(130, 1000, 1000, 10_000, systematic=0.0).z
    small = [abcd(130, 1000, 1000, 10_000, systematic=s).z for s in (0.03, 0.01, 1e-4)]
    assert small[0] < small[1] < small[2]
    assert small[2] == pytest.approx(none, abs=1e-4)


def test_asimov_significance_scales_with_the_root_of_the_luminosity():
    small = abcd(130, 1000, 1000, 10_000, systematic=0.0).z
    large = abcd(1300, 10_000, 10_000, 100_000, systematic=0.0).z
    assert large == pytest.approx(np.sqrt(10) * small, rel=1e-4)


def test_closure_factor_is_a_factor_on_the_prediction():
    plain = abcd(130, 1000, 1000, 10_000)
    corrected = abcd(130, 1000, 1000, 10_000, closure_factor=1.2)
    assert corrected.expected == pytest.approx(1.2 * plain.expected)
    assert corrected.z < plain.z
    assert abcd(120, 1000, 1000, 10_000, closure_factor=1.2).z == pytest.approx(0, abs=1e-2)


def test_leakage_changes_the_signal_but_not_its_significance():
    tight = abcd(130, 1000, 1000, 10_000, systematic=0.0)
    leaking = abcd(130, 1000, 1000, 10_000, systematic=0.0, leakage=(0.3, 0.3, 0.1))
    assert leaking.converged, leaking.notes
    assert leaking.q0 == pytest.approx(tight.q0, abs=1e-4)
    assert leaking.mu_hat > 1.02 * tight.mu_hat


def test_deficit_gives_zero():
    result = abcd(80, 1000, 1000, 10_000)
    assert (result.q0, result.z, result.mu_hat) == (0.0, 0.0, 0.0)
    assert result.p_value == 0.5


def test_large_excess_is_not_cut_off_by_the_nuisance_parameter():
    result = abcd(3000, 200, 300, 5000)
    assert result.converged, result.notes
    assert result.z == pytest.approx(result.z_numpy, abs=1e-3)


def test_low_counts_take_toys():
    result = abcd(4, 20, 30, 500)
    assert result.expected == pytest.approx(1.2)
    assert result.calibration == "toys"
    assert result.toys > 1000
    assert result == abcd(4, 20, 30, 500)


def test_significance_is_that_of_the_p_value():
    few = abcd(6, 100, 100, 10_000)
    assert few.z == pytest.approx(norm.isf(few.p_value))
    assert few.p_value == pytest.approx(3.78e-4, rel=0.2)  # six million plain toys
    assert few.z_asymptotic == pytest.approx(3.316, abs=1e-3)
    assert abcd(0, 20, 30, 500).z == 0.0
    many = abcd(130, 1000, 1000, 10_000)
    assert many.z == many.z_asymptotic
    none = abcd(12, 20, 30, 500, toys=50)
    assert none.p_is_bound
    assert "or more, p = at most" in none.summary()


def test_weighted_toys_know_small_p_values():
    found = abcd(12, 10_000, 10_000, 1e8, systematic=0.0)
    # One event is expected; fluctuations of B and C rank the toys with 12 events among themselves.
    assert poisson.sf(12, 1) < found.p_value < poisson.sf(11, 1)
    assert found.p_value == pytest.approx(4.2e-10, rel=0.25)
    assert not found.p_is_bound
    other = abcd(12, 10_000, 10_000, 1e8, systematic=0.0, seed=2)
    assert other.p_value == pytest.approx(found.p_value, rel=0.2)


@pytest.mark.parametrize(
    "counts",
    [(15, 10, 1e7, 2e7), (20, 1e4, 1e4, 1e8), (20, 1e5, 1e5, 1e9), (25, 1e4, 1e5, 1e8)],
)
def test_a_million_times_more_events_in_d_than_in_a(counts):
    result = abcd(*counts, systematic=0.03)
    assert result.converged, result.notes
    exact, _ = tied_counts_q0(np.array([counts]), 1.0, np.log(1.03), np.zeros(1))
    assert result.z_asymptotic == pytest.approx(np.sqrt(exact[0]), abs=1e-4)


def test_leakage_enters_both_engines():
    plain = abcd(130, 1000, 1000, 10_000, systematic=0.0)
    much = abcd(130, 1000, 1000, 10_000, systematic=0.0, leakage=(4, 4, 0))
    assert much.converged, much.notes
    assert much.q0 == pytest.approx(plain.q0, abs=1e-4)
    # B may be all signal: no tied backgrounds are left that add up to the counts.
    all_signal = abcd(130, 100, 1000, 1000, leakage=(0.9, 0, 0))
    assert all_signal.converged, all_signal.notes
    assert all_signal.z < all_signal.z_numpy + 1e-3 < 1.5
    with pytest.raises(FitError, match="an excess in A is no sign"):
        abcd(130, 1000, 1000, 10_000, leakage=(5, 5, 0))


def test_toys_bracket_the_exact_conditional_test():
    table = hypergeom(554, 24, 34)
    toys = abcd(4, 20, 30, 500, systematic=0.0, toys=50_000).p_value
    exact, middle = table.sf(3), table.sf(4) + 0.5 * table.pmf(4)
    assert 0.8 * middle < toys < exact
    assert abcd(4, 20, 30, 500, systematic=0.3, toys=50_000).p_value > toys


def test_toys_agree_with_the_asymptotic_p_value_at_high_counts():
    asymptotic = abcd(120, 1000, 1000, 10_000)
    toys = abcd(120, 1000, 1000, 10_000, toys=20_000)
    error = np.sqrt(asymptotic.p_value / 20_000)
    assert abs(toys.p_value - asymptotic.p_value) < 5 * error + 0.05 * asymptotic.p_value


def test_false_positive_rate_is_nominal():
    random = np.random.default_rng(7)
    toys = 4000
    counts = random.poisson([100, 1000, 1000, 10_000], size=(toys, 4)).astype(float)
    centres = random.normal(size=toys)
    # The true closure is what the auxiliary measurement scatters around.
    q0, fitted = tied_counts_q0(counts, 1.0, np.log(1.03), centres)
    rate = np.mean(np.sqrt(q0) > 1.6448536)
    assert abs(rate - 0.05) < 3 * np.sqrt(0.05 * 0.95 / toys)
    np.testing.assert_allclose(fitted.sum(axis=1), counts.sum(axis=1))


def test_solver_survives_empty_regions():
    counts = np.array([[3.0, 0.0, 2.0, 9.0], [3.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    q0, fitted = tied_counts_q0(counts, 1.0, 0.03, np.zeros(3))
    assert np.all(np.isfinite(q0))
    assert np.all(fitted >= 0)
    assert q0[0] > 0
    assert q0[1] == 0


def test_paper_significance():
    # Equation 4.1 by hand: 30 / sqrt(130 + 4 + 9).
    assert paper_significance(130, 100, 2, 0.03) == pytest.approx(30 / np.sqrt(143))
    result = abcd(130, 1000, 1000, 10_000)
    statistical = 100 * np.sqrt(1e-3 + 1e-3 + 1e-4)
    assert result.z_paper == pytest.approx(30 / np.sqrt(130 + statistical**2 + 9))


def test_result_survives_json():
    result = abcd(130, 1000, 1000, 10_000)
    again = AbcdResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert again == result
    assert "paper's equation 4.1" in result.summary()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((10, 20, 30, 0), "region D is empty"),
        ((10, 0, 30, 40), "region B is empty"),
        ((10, 20, 0, 0), "region C, D is empty"),
        ((-1, 20, 30, 40), "0 or more"),
    ],
)
def test_empty_regions_are_refused(counts, message):
    with pytest.raises(FitError, match=message):
        abcd(*counts)


def test_bad_settings_are_refused():
    with pytest.raises(FitError, match="closure_factor is 0"):
        abcd(10, 20, 30, 40, closure_factor=0.0)
