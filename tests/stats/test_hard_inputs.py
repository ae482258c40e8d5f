"""Nothing that a histogram may hold makes a test hang or give a silent NaN."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import ndtr

from tnt_coffea.errors import FitError
from tnt_coffea.stats import bump_hunt, feldman_cousins_interval, nuisance_impacts, upper_limit
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.masked_window import masked_window_test
from tnt_coffea.stats.scans import scan
from tnt_coffea.stats.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0, max_parameters=3)


def hunt(histogram):
    return bump_hunt(histogram, mass=3500.0, width=120.0, fit=FIT)


def hunt_families(histogram):
    fit = replace(FIT, envelope=("exponential", "bernstein"))
    return bump_hunt(histogram, mass=3500.0, width=120.0, fit=fit)


def scanned(histogram):
    return scan(histogram, masses=[3400.0, 3500.0], width=120.0, toys=20, fit=FIT)


def window(histogram):
    return masked_window_test(histogram, window=(3320.0, 3720.0), fit=FIT)


def limit(histogram):
    return upper_limit(histogram, mass=3500.0, width=120.0, toys=0, fit=FIT)


def limit_with_toys(histogram):
    return upper_limit(histogram, mass=3500.0, width=120.0, toys=30, fit=FIT)


def moving(histogram):
    return bump_hunt(histogram, mass=3500.0, width=120.0, fit=replace(FIT, scale_uncertainty=0.01))


def impacts(histogram):
    uncertain = replace(FIT, width_uncertainty=0.1)
    found = nuisance_impacts(histogram, mass=3500.0, width=120.0, fit=uncertain)
    return SimpleNamespace(to_dict=lambda: [impact.to_dict() for impact in found])


def interval(histogram):
    return feldman_cousins_interval(histogram, mass=3500.0, width=120.0, toys=0, fit=FIT)


TESTS = (hunt, hunt_families, moving, scanned, window, limit, limit_with_toys, interval, impacts)
LONGEST = 120  # seconds, ten times what the slowest takes on a busy machine


@pytest.fixture(autouse=True)
def nothing_hangs():
    def stop(*_):
        msg = f"no answer after {LONGEST} s"
        raise TimeoutError(msg)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def check_answer(test, histogram):
    """Demand a result without NaN, or a refusal that is right for few bins."""
    try:
        result = test(histogram)
    except FitError as error:
        message = str(error)
    else:
        message = "too few" if json.dumps(result.to_dict(), allow_nan=False) else ""
    assert "too few" in message or "neither Minuit nor SciPy" in message


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    ("bins", "value", "message"),
    [
        (slice(None), 0.0, "0 of"),
        pytest.param(slice(100, None), 0.0, None, marks=pytest.mark.slow),
        (slice(3, None), 0.0, None),
        (slice(1, None), 0.0, "too few"),
        (slice(50, 51), np.nan, "not finite"),
        (slice(50, 51), np.inf, "not finite"),
        (slice(50, 52), -3.0, "negative"),
    ],
)
def test_every_test_answers_or_refuses(test, bins, value, message, toy_spectrum):
    histogram = toy_spectrum(800, 0, 90)
    histogram.view().value[bins] = value
    histogram.view().variance[bins] = np.abs(value)
    if message:
        with pytest.raises(FitError, match=message):
            test(histogram)
        return
    check_answer(test, histogram)


@pytest.mark.slow
def test_minimiser_that_would_not_end_is_stopped(toy_spectrum):
    histogram = toy_spectrum(50_000, 0, 91)
    centres = histogram.axes[0].centers
    for values in (histogram.view().value, histogram.view().variance):
        values[(centres > 4000) & (centres < 5500)] = 0.0
    fit = SpectrumFit((2600.0, 7000.0), bin_width=40.0)
    check_answer(partial(bump_hunt, mass=4500.0, width=120.0, fit=fit), histogram)


@pytest.mark.parametrize("test", TESTS)
def test_one_event_is_too_few(test, mass_histogram):
    counts = np.zeros(220)
    counts[40] = 1
    with pytest.raises(FitError, match="too few"):
        test(mass_histogram(counts))


@pytest.mark.parametrize("test", TESTS)
def test_events_only_where_the_signal_is(test, mass_histogram):
    counts = np.zeros(220)
    counts[40:50] = 5
    check_answer(test, mass_histogram(counts))


def test_negative_weights_that_leave_counts_positive_widen_the_uncertainty(toy_spectrum):
    histogram = toy_spectrum(3000, 100, 91)
    plain = hunt(histogram)
    # Of weights +1 and -1 that sum to n, a share of a third is negative.
    histogram.view().variance = 3 * histogram.view().value
    weighted = hunt(histogram)
    assert weighted.z == pytest.approx(plain.z / 3**0.5, rel=0.1)
    assert weighted.mu_uncertainty == pytest.approx(3**0.5 * plain.mu_uncertainty, rel=0.1)
    assert any("weighted" in note for note in weighted.notes)


@pytest.mark.parametrize("mass", [2000.0, 2600.0, 7000.0, 9000.0])
def test_signal_outside_the_range_is_refused(mass, toy_spectrum):
    with pytest.raises(FitError, match="outside the fit range"):
        bump_hunt(toy_spectrum(800, 0, 92), mass=mass, width=120.0, fit=FIT)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -100.0, 0.0])
def test_masses_and_widths_that_are_no_numbers_are_refused(wrong, toy_spectrum):
    with pytest.raises(FitError):
        bump_hunt(toy_spectrum(800, 0, 93), mass=wrong, width=120.0, fit=FIT)
    with pytest.raises(FitError):
        bump_hunt(toy_spectrum(800, 0, 93), mass=3500.0, width=wrong, fit=FIT)


def test_signal_at_the_edge_of_its_sideband_is_answered(toy_spectrum):
    result = bump_hunt(toy_spectrum(800, 0, 94), mass=2960.0, width=120.0, fit=FIT)
    json.dumps(result.to_dict(), allow_nan=False)
    assert result.z >= 0


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f.name, marks=[pytest.mark.slow] * (f.name not in ("dijet", "exponential")))
        for f in FAMILIES.values()
    ],
)
def test_sparse_and_lumpy_spectra_in_every_family(family, mass_histogram):
    counts = np.zeros(220)
    counts[[0, 7, 11, 30, 47, 90, 150, 219]] = [9, 4, 3, 2, 1, 1, 1, 1]
    fit = replace(FIT, family=family, min_parameters=4 if family == "cubic" else 3)
    result = bump_hunt(mass_histogram(counts), mass=3500.0, width=120.0, fit=fit)
    json.dumps(result.to_dict(), allow_nan=False)
    assert result.z >= 0


def without_events(histogram, low, high):
    edges = histogram.axes[0].edges
    gone = (edges[:-1] >= low) & (edges[1:] <= high)
    histogram.view().value[gone] = histogram.view().variance[gone] = 0
    return histogram


def turned_on(histogram):
    """Keep a half of the events at 3000 GeV, and 97 % of those at 3400 GeV."""
    edges = histogram.axes[0].edges
    seen = np.rint(histogram.view().value * ndtr((edges[:-1] - 3000.0) / 200.0))
    histogram.view().value = histogram.view().variance = seen
    return histogram


def empty_window(histogram):
    return without_events(histogram, 3320.0, 3680.0)


def wide_hole(histogram):
    return without_events(histogram, 3000.0, 4000.0)


def window_alone(histogram):
    return without_events(without_events(histogram, 2600.0, 3200.0), 3900.0, 7000.0)


@pytest.mark.parametrize(
    ("change", "toys"),
    [
        pytest.param(empty_window, 0, marks=pytest.mark.slow),
        # Half a minute: the fits of nearly all toys take every step that they may.
        pytest.param(empty_window, 20, marks=pytest.mark.slow),
        (wide_hole, 0),
        pytest.param(wide_hole, 20, marks=pytest.mark.slow),
        pytest.param(window_alone, 0, marks=pytest.mark.slow),
        pytest.param(window_alone, 20, marks=pytest.mark.slow),
        (turned_on, 0),
        pytest.param(turned_on, 20, marks=pytest.mark.slow),
    ],
)
def test_limit_of_a_badly_described_spectrum_is_a_number_or_a_reason(change, toys, toy_spectrum):
    histogram = change(toy_spectrum(30_000, 0, 7))
    fit = replace(FIT, max_parameters=3)
    settings = {"mass": 3500.0, "width": 120.0, "fit": fit, "cross_check": False}
    try:
        found = upper_limit(histogram, toys=toys, **settings)
    except FitError as error:
        reason = str(error)
        found = None
    if found is None:
        assert "no limit" in reason or "no minimum" in reason
        return
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.observed > 0
    notes = " ".join(found.notes)
    if "a fit of the data stopped before its minimum" in notes:
        assert not found.converged
    else:
        assert ("below what" in notes) == (found.observed < found.expected[0])
