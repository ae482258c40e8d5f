from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad

from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import SQRT_S, dijet_function
from tnt_coffea.stats.engine import fitted_background


def textbook(m, p0, p1, p2, p3, sqrt_s=SQRT_S):
    """Equation 1 of the dijet search of CMS, arXiv:1806.00843, where it is for 13 TeV."""
    x = m / sqrt_s
    return p0 * (1 - x) ** p1 * x ** -(p2 + p3 * np.log(x))


@pytest.mark.parametrize(("width", "sqrt_s"), [(40.0, 13e3), (100.0, 13e3), (40.0, 13.6e3)])
def test_bins_hold_the_integral_of_the_textbook_function(width, sqrt_s):
    edges = np.arange(2600.0, 7001.0, width)
    phi = np.array([np.log(2e-3), 5.0, 10.0, 0.1])
    expected = dijet_function(edges, 4, sqrt_s).expected(phi)
    exact = [
        quad(textbook, low, high, args=(2e-3, 10.0, 5.0, 0.1, sqrt_s), epsabs=0, epsrel=1e-12)[0]
        for low, high in itertools.pairwise(edges)
    ]
    np.testing.assert_allclose(expected, exact, rtol=1e-10)


def test_bin_centres_would_not_do():
    edges = np.arange(2600.0, 7001.0, 100.0)
    expected = dijet_function(edges, 4).expected(np.array([0.0, 5.0, 10.0, 0.1]))
    centres = 100.0 * textbook(0.5 * (edges[1:] + edges[:-1]), 1.0, 10.0, 5.0, 0.1)
    assert np.max(np.abs(centres / expected - 1)) > 1e-3


def test_families_are_nested():
    edges = np.arange(2600.0, 7001.0, 40.0)
    two = dijet_function(edges, 2).expected(np.array([1.0, 6.0]))
    three = dijet_function(edges, 3).expected(np.array([1.0, 6.0, 0.0]))
    four = dijet_function(edges, 4).expected(np.array([1.0, 6.0, 0.0, 0.0]))
    np.testing.assert_allclose(two, three, rtol=1e-12)
    np.testing.assert_allclose(two, four, rtol=1e-12)


@pytest.mark.parametrize("events", [50_000, 60])
def test_whitened_parameters_have_unit_uncertainty_and_no_correlation(events, falling_shape):
    edges = np.arange(2600.0, 7001.0, 20.0)
    observed = np.random.default_rng(2).poisson(events * falling_shape).astype(float)
    family, fit = fitted_background(dijet_function(edges, 4), observed)
    origin = np.zeros(4)
    slopes = family.jacobian(family.rates(origin))
    information = slopes.T @ (slopes / family.expected(origin)[:, None])
    assert fit.converged
    np.testing.assert_allclose(information, np.eye(4), atol=1e-6)


def test_what_cannot_be_a_dijet_function_is_refused():
    edges = np.array([2600.0, 2700.0])
    with pytest.raises(FitError, match="2 to 6 parameters, not 7"):
        dijet_function(edges, 7)
    with pytest.raises(FitError, match="smaller fit range"):
        dijet_function(np.array([2600.0, 13_000.0]), 3)
    reaching = dijet_function(np.array([2600.0, 13_000.0]), 3, 13_600.0)
    assert np.isfinite(reaching.expected(np.zeros(3))).all()
