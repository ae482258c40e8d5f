"""The efficiency of a trigger: what it is, and that it takes the bias from a spectrum's turn-on."""

from __future__ import annotations

import pickle
from dataclasses import replace

import hist
import numpy as np
import pytest
from scipy.special import log_ndtr

from tnt_coffea.errors import FitError
from tnt_coffea.stats import SpectrumFit, TriggerEfficiency, bump_hunt, engine, upper_limit
from tnt_coffea.stats.envelope import profiled
from tnt_coffea.stats.model import spectrum_model

EDGES = np.arange(2600.0, 7001.0, 20.0)
FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0)
TURN_ON = {"turn_on": 2450.0, "width": 150.0}
EXACT = TriggerEfficiency.of_function(**TURN_ON)
UNSURE = TriggerEfficiency.of_function(**TURN_ON, errors=(10.0, 8.0), correlation=-0.5)


def at(trigger, *masses):
    """Efficiencies at masses, from bins of 2 GeV around them."""
    return [float(trigger.binned(np.array([m - 1, m + 1]))[0][0]) for m in masses]


def weighted(edges, values, variances):
    histogram = hist.Hist(hist.axis.Variable(edges), storage=hist.storage.Weight())
    histogram.view().value, histogram.view().variance = values, variances
    return histogram


def counted(edges, values):
    return hist.Hist(hist.axis.Variable(edges), data=np.asarray(values, dtype=float))


def test_turn_ons_have_the_quantiles_of_their_distributions():
    # Tables of the normal distribution: 1, 1.645 and 2.326 standard deviations.
    masses = (2450, 2450 + 150, 2450 + 150 * 1.6449, 2450 + 150 * 2.3263)
    assert at(EXACT, *masses) == pytest.approx([0.5, 0.8413, 0.95, 0.99], abs=2e-4)
    logistic = TriggerEfficiency.of_function(**TURN_ON, shape="logistic", plateau=0.9)
    masses = (2450, 2450 + 150 * np.log(3), 2450 + 150 * np.log(99))
    assert at(logistic, *masses) == pytest.approx([0.45, 0.675, 0.891], abs=2e-4)


def test_errors_of_a_turn_on_are_propagated_to_every_bin():
    edges = np.array([2590.0, 2610.0, 2790.0, 2810.0])
    centres = np.array([2600.0, 2700.0, 2800.0])
    step = 0.01
    slopes = np.array(
        [
            (
                log_ndtr((centres - 2450 - a) / (150 + b))
                - log_ndtr((centres - 2450 + a) / (150 - b))
            )
            / (2 * step)
            for a, b in ((step, 0.0), (0.0, step))
        ]
    ).T
    covariance = np.array([[100.0, -40.0], [-40.0, 64.0]])
    _, factors = UNSURE.binned(edges)
    assert factors.shape == (3, 2)
    wanted = slopes @ covariance @ slopes.T
    found = factors @ factors.T
    # The bin in the middle is wide: its mean is not the value at its centre.
    assert found[::2, ::2] == pytest.approx(wanted[::2, ::2], rel=0.02)
    # One width above the turn-on the inverse Mills ratio is 0.2876.
    only = TriggerEfficiency.of_function(**TURN_ON, errors=(15.0, 0.0))
    assert np.abs(only.binned(edges)[1][0]) == pytest.approx([0.02876], rel=0.02)
    tied = TriggerEfficiency.of_function(**TURN_ON, errors=(10.0, 8.0), correlation=1.0)
    assert (tied.nuisances, EXACT.nuisances, EXACT.binned(edges)[1].shape) == (1, 0, (3, 0))


def test_a_histogram_keeps_its_means_and_is_smooth_between_them():
    edges, values = [2400.0, 2500.0, 2600.0, 2800.0, 3000.0], [0.3, 0.6, 0.9, 0.98]
    errors = np.array([0.03, 0.02, 0.01, 0.005])
    found = TriggerEfficiency.measured(weighted(edges, values, errors**2))
    mean, factors = found.binned(np.array(edges))
    assert mean == pytest.approx(values, abs=1e-3)
    assert factors[:, 0] == pytest.approx(np.log(np.exp(errors / values)), abs=2e-3)
    fine, _ = found.binned(np.arange(2400.0, 3001.0, 20.0))
    assert np.diff(fine).min() > -1e-9
    assert np.diff(fine).max() < 0.09  # a step would be 0.3
    assert fine[-1] <= 1
    assert at(found, 3000, 6000) == pytest.approx([0.98, 0.98], abs=5e-3)


def test_counts_have_errors_where_all_events_pass_and_none_come():
    # Of 1 of 1 the posterior is Beta(2, 1), whose variance is 1/18.
    edges = [2600.0, 2700.0, 2800.0, 2900.0, 3000.0]
    found = TriggerEfficiency.measured(counted(edges, [1, 8, 5, 0]), counted(edges, [1, 10, 5, 0]))
    assert found.edges == tuple(edges[:-1])  # nothing is known from the empty bin on
    sigmas = np.array(found.variations)[:, 0] * found.efficiencies
    assert sigmas[0] == pytest.approx(np.sqrt(1 / 18))
    # Ullrich and Xu, physics/0701199: (k+1)(k+2) / ((n+2)(n+3)) - ((k+1) / (n+2))^2.
    assert sigmas[1] == pytest.approx(np.sqrt(9 * 10 / (12 * 13) - (9 / 12) ** 2))


def test_a_fitted_turn_on_finds_its_parameters():
    edges = np.arange(2200.0, 3801.0, 40.0)
    truth, _ = EXACT.binned(edges)
    total = np.full(40, 4000)
    pulls = []
    for seed in range(40):
        passed = np.random.default_rng(seed).binomial(total, truth)
        found = TriggerEfficiency.fitted(counted(edges, passed), counted(edges, total))
        efficiency, factors = found.binned(np.array([2600.0, 2640.0]))
        sigma = np.sqrt(np.sum(factors**2))
        pulls.append(np.log(efficiency[0] / EXACT.binned(np.array([2600.0, 2640.0]))[0][0]) / sigma)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(40)
    assert 0.7 < np.std(pulls) < 1.35
    with pytest.raises(FitError, match=r"no error_function describes the trigger efficiency \(p ="):
        TriggerEfficiency.fitted(
            counted(edges, np.rint(total * (0.5 + truth / 4))), counted(edges, total)
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0.0}, "turn_on and width above 0 GeV"),
        ({"turn_on": np.nan}, "turn_on must be a number, got nan"),
        ({"plateau": 1.2}, r"a plateau in \(0, 1\]"),
        ({"plateau": True}, "plateau must be a number"),
        ({"errors": (-1.0, 0.0)}, "errors of 0 GeV or more"),
        ({"errors": (1.0, 150.0)}, "the error must be below the width"),
        ({"correlation": 1.5}, r"the correlation in \[-1, 1\]"),
        ({"shape": "step"}, "one of error_function, logistic, got 'step'"),
    ],
)
def test_functions_that_are_no_turn_on_are_refused(change, message):
    with pytest.raises(FitError, match=message):
        TriggerEfficiency.of_function(**TURN_ON | change)


@pytest.mark.parametrize(
    ("values", "variances", "message"),
    [
        ([0.5, 1.1], [0.1, 0.1], "between 0 and 1"),
        ([0.5, np.nan], [0.1, 0.1], "between 0 and 1"),
        ([0.5, 0.6], [0.1, -0.1], "negative or not finite"),
        ([0.5, 0.6], [0.5, 0.6], "come without their variances"),
        ([0.0, 0.0], [0.1, 0.1], "one above 0"),
        ([0.0, 0.5], [0.1, 0.1], "not so from 2600 GeV on"),
    ],
)
def test_histograms_that_are_no_efficiency_are_refused(values, variances, message):
    with pytest.raises(FitError, match=message):
        TriggerEfficiency.measured(weighted([2600.0, 3000.0, 7000.0], values, variances))


def test_counts_that_are_no_efficiency_are_refused():
    edges, other = [2600.0, 3000.0, 7000.0], [2600.0, 3100.0, 7000.0]
    total = counted(edges, [10, 10])
    for passed, message in (
        (counted(edges, [11, 10]), "none above all events"),
        (counted(edges, [0.5, 10]), "must be counts"),
        (counted(other, [5, 10]), "different bins"),
        ([5, 10], "expected a histogram in the mass alone .*, got list"),
    ):
        with pytest.raises(FitError, match=message):
            TriggerEfficiency.measured(passed, total)
    with pytest.raises(FitError, match="4 or more bins"):
        TriggerEfficiency.fitted(total, total)


def test_a_range_where_the_efficiency_is_unknown_or_nothing_is_refused(toy_spectrum):
    late = TriggerEfficiency.of_function(3000.0, 100.0)
    with pytest.raises(FitError, match="below 1% at 2600 GeV: begin the fit at 2760 GeV"):
        spectrum_model(toy_spectrum(5000, 0, 1), FIT.signal(3500, 120), replace(FIT, trigger=late))
    known = TriggerEfficiency.measured(weighted([2700.0, 7000.0], [0.9], [0.1]))
    with pytest.raises(FitError, match="known from 2700 GeV on, and the fit begins at 2600 GeV"):
        spectrum_model(toy_spectrum(5000, 0, 1), FIT.signal(3500, 120), replace(FIT, trigger=known))
    with pytest.raises(FitError, match="is a float, expected a TriggerEfficiency"):
        replace(FIT, trigger=0.9)


def test_it_travels_and_compares():
    assert pickle.loads(pickle.dumps(UNSURE)) == UNSURE != EXACT
    assert replace(FIT, trigger=UNSURE) == replace(FIT, trigger=UNSURE)


def triggered(shape, events, signal=0.0, mass=3500.0):
    """Expected events behind the trigger; the signal is before it."""
    efficiency, _ = EXACT.binned(EDGES)
    background = shape * efficiency
    peak = signal * efficiency * FIT.signal(mass, 120.0).integrals(EDGES)
    return events * background / background.sum() + peak


def bias(histogram, mass, trigger):
    """The signal that a fit finds, and its uncertainty."""
    fit = replace(FIT, trigger=trigger, max_parameters=4, spurious=False)
    model = spectrum_model(histogram, FIT.signal(mass, 120.0), fit)
    best = profiled(model.functions, model.counts, signed=True)
    channels, own = model.functions[best.function()], best.fits[best.function()]
    sigma = float(engine.signal_uncertainties(channels, model.counts, own)[0])
    return float(best.mu[0]), sigma


@pytest.mark.parametrize(
    ("events", "without"), [(1e4, -0.8), pytest.param(1e5, -2.2, marks=pytest.mark.slow)]
)
def test_the_efficiency_takes_the_bias_of_a_turn_on(falling_shape, mass_histogram, events, without):
    histogram = mass_histogram(triggered(falling_shape, events))
    mu, sigma = bias(histogram, 3500.0, None)
    assert mu / sigma == pytest.approx(without, abs=0.15)
    for mass in (2960.0, 3200.0, 3500.0):
        mu, sigma = bias(histogram, mass, EXACT)
        assert abs(mu / sigma) < 0.15
    _, wider = bias(histogram, 2960.0, UNSURE)
    assert wider > bias(histogram, 2960.0, EXACT)[1]


def test_a_signal_is_of_events_before_the_trigger(falling_shape, mass_histogram):
    histogram = mass_histogram(triggered(falling_shape, 1e5, 2000.0, 2960.0))
    mu, sigma = bias(histogram, 2960.0, EXACT)
    assert mu == pytest.approx(2000.0, abs=0.15 * sigma)


@pytest.mark.slow
def test_both_engines_and_the_limit_hold_the_efficiency(falling_shape, mass_histogram):
    counts = np.random.default_rng(3).poisson(triggered(falling_shape, 1e4, 100.0)).astype(float)
    histogram, fit = mass_histogram(counts), replace(FIT, trigger=UNSURE, max_parameters=4)
    found = bump_hunt(histogram, mass=3500.0, width=120.0, fit=fit)
    assert found.converged, found.notes
    assert found.z == pytest.approx(found.z_numpy, abs=1e-3)
    assert [name for name, _ in found.nuisances] == [
        "trigger_efficiency_0",
        "trigger_efficiency_1",
    ]
    assert any("87.1% in the lowest bin" in note for note in found.notes)
    limits = [
        upper_limit(histogram, mass=2960.0, width=120.0, fit=f, cross_check=False).observed
        for f in (fit, replace(fit, trigger=EXACT))
    ]
    assert limits[0] > limits[1]


@pytest.mark.slow
@pytest.mark.parametrize(("events", "toys"), [(1e4, 400), (1e5, 400)])
def test_limits_cover_again_in_toys(falling_shape, mass_histogram, events, toys):
    sigma = bias(mass_histogram(triggered(falling_shape, events)), 3500.0, EXACT)[1]
    mu = 3 * sigma
    mean, random = triggered(falling_shape, events, mu), np.random.default_rng(int(events))
    covered, pulls = [], []
    for _ in range(toys):
        histogram = mass_histogram(random.poisson(mean).astype(float))
        fit = replace(FIT, trigger=UNSURE)
        limit = upper_limit(histogram, mass=3500.0, width=120.0, fit=fit, toys=0, cross_check=False)
        covered.append(limit.observed >= mu)
        best, width = bias(histogram, 3500.0, UNSURE)
        pulls.append((best - mu) / width)
    assert abs(np.mean(pulls)) < 0.15
    assert np.mean(covered) > 0.95 - 2 * np.sqrt(0.95 * 0.05 / toys)
