"""The settings that all tests of a spectrum share."""

from __future__ import annotations

from dataclasses import replace

import hist
import numpy as np
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats import SpectrumFit, bump_hunt, mass_patchset, scan, upper_limit
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spectrum import rebinned

FIT = SpectrumFit((2600.0, 7000.0), bin_width=80.0)
TAILS = (1.0, 3.0, 1.0, 5.0)


@pytest.mark.parametrize("width", [np.nan, np.inf, -np.inf, 0.0, -40.0])
def test_bins_without_a_width_are_refused(width):
    with pytest.raises(FitError, match=r"the bins of a fit need a width above 0, got bin_width ="):
        SpectrumFit((2600.0, 7000.0), bin_width=width)


@pytest.mark.parametrize(
    "edges", [(7000.0, 2600.0), (2600.0, 2600.0), (np.nan, 7000.0), (2600.0, np.inf)]
)
def test_range_must_rise_between_numbers(edges):
    with pytest.raises(FitError, match="the fit range must rise"):
        SpectrumFit(edges)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "straight"}, "straight"),
        ({"envelope": ("bernstein",), "min_parameters": 5}, "'bernstein' have 2 to 4 parameters"),
        ({"min_parameters": 1}, "2 <= min <= max <= 6"),
        ({"max_parameters": 7}, "2 <= min <= max <= 6"),
        ({"min_parameters": 4, "max_parameters": 3}, "got 4 and 3"),
        ({"f_test": 0.0}, "f_test must lie"),
        ({"f_test": np.nan}, "f_test must lie"),
        *(({"sqrt_s": wrong}, "sqrt_s is the centre") for wrong in (0, np.nan, None, "13", True)),
        ({"sqrt_s": 13.6}, "13.6 TeV are 13600"),
    ],
)
def test_settings_that_no_background_has_are_refused(change, message):
    with pytest.raises(FitError, match=message):
        SpectrumFit((2600.0, 7000.0), **change)


def test_another_family_takes_no_more_parameters_than_it_has():
    five = replace(FIT, family="exponential", min_parameters=5, max_parameters=5)
    assert FAMILIES["bernstein"].orders[-1] == 4
    four = five.with_family("bernstein")
    assert (four.family, four.min_parameters, four.max_parameters) == ("bernstein", 4, 4)
    assert FIT.with_family("power_law") == replace(FIT, family="power_law")


def test_every_test_takes_the_shape_and_the_shares_of_the_signal(toy_spectrum):
    folds = {"a": toy_spectrum(1500, 60, 1), "b": toy_spectrum(1500, 20, 2)}
    fit = replace(
        FIT, shape="double_crystal_ball", tails=TAILS, shares={"a": 3, "b": 1}, max_parameters=3
    )
    assert fit.signal(3500.0, 120.0) == SignalShape(3500.0, 120.0, "double_crystal_ball", TAILS)
    hunted = bump_hunt(folds, mass=3500.0, width=120.0, fit=fit)
    scanned = scan({"tnt": folds}, masses=[3500.0], width=120.0, fit=fit, toys=0)
    limited = upper_limit(folds, mass=3500.0, width=120.0, fit=fit, toys=0)
    assert scanned.best_point.z == pytest.approx(hunted.z, abs=1e-3)
    assert scanned.best_point.mu_hat == pytest.approx(hunted.mu_hat, abs=0.05)
    assert limited.mu_hat == pytest.approx(hunted.mu_hat, abs=0.05)
    _, patches = mass_patchset(folds, masses=[3500.0], width=120.0, fit=fit)
    added = [sum(step["value"]["data"]) for step in patches["patches"][0]["patch"]]
    assert added[0] == pytest.approx(3 * added[1])
    equal = scan(
        {"tnt": folds}, masses=[3500.0], width=120.0, fit=replace(fit, shares=None), toys=0
    )
    assert equal.best_point.mu_hat != pytest.approx(hunted.mu_hat, abs=0.5)


VARIABLE = (2600.0, 2680.0, 2800.0, 2960.0, 3120.0, 3280.0, 3440.0, 3600.0, 3800.0, 4000.0)
VARIABLE += (4240.0, 4520.0, 4840.0, 5200.0, 5600.0, 6200.0, 7000.0)


def test_bins_of_any_widths_come_from_edges_or_from_the_histogram(toy_spectrum):
    at = {"mass": 3500.0, "width": 200.0}
    fine = toy_spectrum(4000, 120, 3, width=200.0)
    fit = SpectrumFit((2600.0, 7000.0), edges=VARIABLE)
    from_edges = bump_hunt(fine, fit=fit, **at)
    counts = rebinned("all", fine, fit).counts
    assert counts.sum() == fine.values().sum()
    own = hist.Hist(hist.axis.Variable(VARIABLE), data=counts)
    native = bump_hunt(own, fit=replace(fit, edges=None), **at)
    assert native.z == pytest.approx(from_edges.z)
    assert native.channels[0].edges == VARIABLE
    # The functions are integrated over the bins: wide ones lose little.
    uniform = bump_hunt(fine, fit=replace(fit, edges=None, bin_width=80.0), **at)
    assert from_edges.z == pytest.approx(uniform.z, abs=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": (2600.0,)}, "two or more"),
        ({"edges": (2600.0, 2600.0, 7000.0)}, "must be rising"),
        ({"edges": (2600.0, np.inf)}, "must be rising"),
        ({"edges": VARIABLE, "bin_width": 80.0}, "either edges or bin_width"),
    ],
)
def test_edges_that_make_no_bins_are_refused(change, message):
    with pytest.raises(FitError, match=message):
        SpectrumFit((2600.0, 7000.0), **change)


def test_edges_that_the_histogram_lacks_are_refused(toy_spectrum):
    fit = SpectrumFit((2600.0, 7000.0), edges=(2600.0, 2610.0, 7000.0))
    with pytest.raises(FitError, match="2610 is not an edge of the histogram"):
        rebinned("all", toy_spectrum(100, 0, 1), fit)
    with pytest.raises(FitError, match="edges of the fit: 2800 is not an edge"):
        rebinned("all", toy_spectrum(100, 0, 1), replace(fit, range=(2800.0, 7000.0)))


@pytest.mark.parametrize(
    ("mass", "width", "message"),
    [
        (
            2640.0,
            120.0,
            r"at 2640 GeV of width 120 GeV has no whole sidebands, 3 widths \(360 GeV\)",
        ),
        (6999.0, 120.0, "masses of 2960 to 6640 GeV have"),
        (4000.0, 800.0, "range 2600-7000 GeV: widen it"),
        (2500.0, 120.0, "outside the fit range"),
    ],
)
def test_signals_without_sidebands_are_refused(mass, width, message):
    signal = FIT.signal(mass, width)
    assert not FIT.has_sidebands(signal)
    with pytest.raises(FitError, match=message):
        FIT.check_sidebands(FIT.signal(3500.0, 120.0), signal)


def test_signals_at_the_ends_of_a_scan_have_sidebands():
    ends = [FIT.signal(mass, 120.0) for mass in (2960.0, 6640.0)]
    FIT.check_sidebands(*ends)
    assert all(FIT.has_sidebands(signal) for signal in ends)
