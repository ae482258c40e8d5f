"""Spectra and planes of weighted events, and contents that are no counts."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from scipy.stats import kstest

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.pipeline import fit as fit_stage
from tnt_coffea.stats import (
    SpectrumFit,
    WorkingPoint,
    abcd_in_window,
    bump_hunt,
    bump_workspace,
    engine,
    hepdata_spectrum,
    masked_window_test,
    nuisance_impacts,
    scan,
    toy_search,
    upper_limit,
)
from tnt_coffea.stats.abcd_regions import plane_counts
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.model import spectrum_model
from tnt_coffea.stats.spectrum import rebinned, smoothed_weights, spectra

FIT = SpectrumFit((2600.0, 7000.0), bin_width=80.0, max_parameters=3)
SIGNAL = {"mass": 3500.0, "width": 120.0, "fit": FIT}
FACTORS = (1e-6, 0.5, 50.0)


def scaled(histogram, factor):
    other = histogram.copy()
    other.view(flow=True).value *= factor
    other.view(flow=True).variance *= factor**2
    return other


WINDOW = {"window": (3240.0, 3800.0), "fit": FIT}


@pytest.fixture(scope="module")
def unweighted(toy_spectrum):
    """A spectrum of counts, its bump hunt, limit, and count in a window."""
    histogram = toy_spectrum(3000, 100, 4)
    limit = upper_limit(histogram, toys=0, cross_check=False, **SIGNAL)
    return (
        histogram,
        bump_hunt(histogram, **SIGNAL),
        limit,
        masked_window_test(histogram, **WINDOW),
    )


@pytest.mark.parametrize(
    "factor", [1e-6, *(pytest.param(factor, marks=pytest.mark.slow) for factor in (0.5, 50.0))]
)
def test_a_factor_on_all_weights_changes_no_test(factor, unweighted):
    histogram, plain, *others = unweighted
    other = scaled(histogram, factor)
    weighted = bump_hunt(other, **SIGNAL)
    assert weighted.z == pytest.approx(plain.z, abs=1e-4)
    assert weighted.mu_hat == pytest.approx(factor * plain.mu_hat, rel=1e-3)
    assert weighted.mu_uncertainty == pytest.approx(factor * plain.mu_uncertainty, rel=1e-4)
    assert weighted.interval == pytest.approx([factor * m for m in plain.interval], rel=1e-3)
    assert weighted.channels[0].observed == pytest.approx(other.values().reshape(-1, 4).sum(axis=1))
    assert weighted.channels[0].background == pytest.approx(
        [factor * b for b in plain.channels[0].background], rel=1e-4
    )
    assert weighted.channels[0].scale == pytest.approx((factor,) * 55)
    assert weighted.channels[0].goodness_of_fit == plain.channels[0].goodness_of_fit
    assert plain.channels[0].scale == ()
    (note,) = (note for note in weighted.notes if "weighted" in note)
    assert "effective counts stand for a sum of weights of" in note
    # The other tests of a spectrum, by the numpy engine.
    limits = [others[0], upper_limit(other, toys=0, cross_check=False, **SIGNAL)]
    assert limits[1].observed == pytest.approx(factor * limits[0].observed, rel=1e-3)
    assert limits[1].expected == pytest.approx([factor * e for e in limits[0].expected], rel=1e-3)
    assert any("weighted" in note for note in limits[1].notes)
    windows = [others[1], masked_window_test(other, **WINDOW)]
    assert windows[1].z == pytest.approx(windows[0].z, abs=1e-4)
    assert windows[1].expected == pytest.approx(factor * windows[0].expected, rel=1e-4)
    assert windows[1].observed == pytest.approx(factor * windows[0].observed)
    assert any("weighted" in note for note in windows[1].notes)


@pytest.mark.slow
def test_a_factor_changes_no_scan_impact_or_workspace(toy_spectrum):
    histogram = toy_spectrum(1500, 60, 5)
    pair = histogram, scaled(histogram, 50.0)
    settings = {"width": 120.0, "fit": FIT}
    scans = [scan(h, masses=[3400.0, 3600.0], toys=0, **settings) for h in pair]
    assert [p.z for p in scans[1].points] == pytest.approx([p.z for p in scans[0].points], abs=1e-4)
    assert scans[1].best_point.mu_hat == pytest.approx(50 * scans[0].best_point.mu_hat, rel=1e-3)
    impacts = [nuisance_impacts(h, **SIGNAL) for h in pair]
    assert impacts[1][0].up == pytest.approx(50 * impacts[0][0].up, rel=1e-2, abs=0.1)
    first, second = (bump_workspace(h, **SIGNAL) for h in pair)
    numbers = [w["channels"][0]["samples"][-1]["data"] for w in (first, second)]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-3)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_on_all_weights_changes_no_plane(factor):
    search = toy_search(30_000, 100)
    point, where = WorkingPoint.at({0: 0.9, 1: 0.9}), (0.4, (2600, 5000), (3300, 3700))
    plain, weighted = (abcd_in_window(h, point, *where) for h in (search, scaled(search, factor)))
    assert weighted.z == pytest.approx(plain.z, abs=1e-4)
    assert weighted.z_paper == pytest.approx(plain.z_paper, abs=1e-4)
    for name in ("a", "expected", "background", "mu_hat", "expected_paper"):
        assert getattr(weighted, name) == pytest.approx(factor * getattr(plain, name), rel=1e-3)
    assert weighted.closure.uncertainty == pytest.approx(plain.closure.uncertainty)
    assert weighted.systematic == pytest.approx(plain.systematic)
    assert any("effective counts" in note for note in weighted.notes)
    assert not plain.counts.weighted


@pytest.mark.slow
def test_folds_of_different_weights_are_counted_in_one_unit(toy_spectrum):
    folds = {"a": toy_spectrum(1500, 60, 6), "b": toy_spectrum(1500, 60, 7)}
    plain = bump_hunt(folds, **SIGNAL)
    one = spectra(folds | {"b": scaled(folds["b"], 3.0)}, FIT)
    assert one[0].unit == one[1].unit
    assert [s.sums.sum() for s in one] == pytest.approx(
        [folds["a"].values().sum(), 3 * folds["b"].values().sum()]
    )
    assert one[0].counts == pytest.approx(rebinned("a", folds["a"], FIT).counts)
    # Three times the weight holds three times the signal: shares say so.
    shares = SpectrumFit((2600.0, 7000.0), bin_width=80.0, shares={"a": 1.0, "b": 3.0})
    heavy = bump_hunt(folds | {"b": scaled(folds["b"], 3.0)}, **SIGNAL | {"fit": shares})
    assert heavy.z == pytest.approx(plain.z, abs=1e-3)
    assert heavy.mu_hat == pytest.approx(2 * plain.mu_hat, rel=1e-3)


@pytest.mark.parametrize("family", [f.name for f in FAMILIES.values() if not f.reproduction_only])
def test_every_family_takes_weights_that_change_with_the_mass(family, falling_shape):
    # Weights of 1 below 4 TeV and of 0.1 above: what is expected keeps its shape.
    mean = 4000 * falling_shape
    weight = np.where(np.arange(220) < 70, 1.0, 0.1)
    counts = np.random.default_rng(3).poisson(mean / weight)
    histogram = hist.Hist(hist.axis.Regular(220, 2600, 7000), storage=hist.storage.Weight())
    histogram.view().value, histogram.view().variance = counts * weight, counts * weight**2
    found = bump_hunt(histogram, **SIGNAL | {"fit": FIT.with_family(family)})
    assert found.z < 3
    assert found.channels[0].goodness_of_fit > 1e-3
    assert found.channels[0].scale[0] == pytest.approx(1.0)
    assert found.channels[0].scale[-1] == pytest.approx(0.1)
    assert abs(found.z - found.z_numpy) < 1e-2


def test_sparse_and_empty_bins_have_the_weight_of_their_neighbours():
    sums, squares = np.zeros(41), np.zeros(41)
    sums[:20], squares[:20] = 200.0, 400.0
    sums[30], squares[30] = 5.0, 25.0
    scales = smoothed_weights(sums, squares)
    assert scales[:20] == pytest.approx(np.full(20, 2.0))
    assert np.all((scales[20:] >= 2.0) & (scales[20:] < 2.2))


def weighted_toys(shape, signal, toys, seed):
    """Yield spectra of events whose weights are exponential.

    The variance of a sum of n weights is 2 n: a fit that takes it for counts is off by sqrt(2).
    """
    random = np.random.default_rng(seed)
    mean = 3000 * shape + signal
    for _ in range(toys):
        counts = random.poisson(mean)
        weights = random.exponential(1.0, counts.sum())
        bins = np.repeat(np.arange(mean.size), counts)
        histogram = hist.Hist(hist.axis.Regular(220, 2600, 7000), storage=hist.storage.Weight())
        histogram.view().value = np.bincount(bins, weights, mean.size)
        histogram.view().variance = np.bincount(bins, weights**2, mean.size)
        yield histogram


def pulls_and_p_values(shape, events, toys, seed):
    signal = FIT.signal(3500.0, 120.0)
    each = events * signal.integrals(np.linspace(2600, 7000, 221))
    pulls, roots = [], []
    for histogram in weighted_toys(shape, each, toys, seed):
        model = spectrum_model(histogram, signal, FIT)
        channels, counts = model.best_channels, model.counts
        null = engine.background_fits(channels, counts)
        fits = engine.signal_fits(channels, counts, null, signed=True)
        sigma = engine.signal_uncertainties(channels, counts, fits)
        unit = model.data[0].unit
        pulls.append((unit * fits.mu[0] - events) / (unit * sigma[0]))
        roots.append(np.sign(fits.mu[0]) * np.sqrt(max(0.0, 2 * (null.nll - fits.nll)[0])))
    return np.array(pulls), np.array(roots)


@pytest.mark.slow
def test_pulls_of_random_weights_have_unit_width(falling_shape):
    pulls, _ = pulls_and_p_values(falling_shape, 0, 80, 11)
    # 80 toys know a width to 8 %; as counts it would be 1.41.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.24)
    assert abs(np.mean(pulls)) < 0.34


@pytest.mark.slow
@pytest.mark.parametrize("events", [0, 150])
def test_coverage_of_random_weights(events, falling_shape):
    pulls, roots = pulls_and_p_values(falling_shape, events, 2000, 12)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.06)
    assert abs(np.mean(pulls)) < 0.12
    if not events:
        # The signed root of the test statistic is a standard normal variable without a signal.
        assert kstest(roots, "norm").pvalue > 1e-3
        assert np.mean(roots > 1.645) == pytest.approx(0.05, abs=0.015)


def plain(values, edges=None):
    edges = np.linspace(2600, 7000, 221) if edges is None else edges
    histogram = hist.Hist(hist.axis.Variable(edges))
    histogram.view()[...] = values
    return histogram


def density(toy_spectrum):
    edges = [2600, 2800, 3020, 3260, 3520, 3800, 4100, 4420, 4760, 5120, 5500, 7000]
    counts = toy_spectrum(3000, 0, 8, edges=edges)
    widths = np.diff(edges)
    histogram = counts.copy()
    histogram.view().value /= widths
    histogram.view().variance /= widths**2
    return histogram


def profile(toy_spectrum):
    histogram = hist.Hist(hist.axis.Regular(220, 2600, 7000), storage=hist.storage.Mean())
    return histogram.fill([3000.0, 3100.0], sample=[1.0, 2.0])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda toys: toys(3000, 0, 8).values(), "expected a histogram .* got ndarray"),
        (
            lambda toys: np.histogram([3000.0]),
            r"expected a histogram .* got tuple: .* hist\.Hist\(",
        ),
        (profile, "holds means .a profile., not counts"),
        (lambda toys: plain(toys(3000, 0, 8).values() / 20), "no whole numbers of events"),
        (lambda toys: plain(toys(3000, 0, 8).values() / 3000), "storage.Weight.., TH1::Sumw2"),
        (lambda toys: plain(50 * toys(3000, 0, 8).values()), "multiples of 50"),
        (lambda toys: plain(toys(3000, 0, 8).values()) * 1.5, "no whole numbers of events"),
        (density, "divided by the widths of the bins"),
    ],
)
def test_contents_that_are_no_counts_are_refused(made, words, toy_spectrum):
    histogram = made(toy_spectrum)
    fit = SpectrumFit((2600.0, 7000.0))
    for test in (
        lambda: bump_hunt(histogram, mass=3500.0, width=120.0, fit=fit),
        lambda: upper_limit(histogram, mass=3500.0, width=120.0, fit=fit),
        lambda: scan(histogram, masses=[3500.0], width=120.0, fit=fit),
        lambda: masked_window_test(histogram, window=(3260.0, 3800.0), fit=fit),
    ):
        with pytest.raises(FitError, match=words):
            test()


def test_sums_of_squares_of_nothing_are_refused(toy_spectrum):
    histogram = toy_spectrum(3000, 0, 8)
    histogram.view().variance = 0
    with pytest.raises(FitError, match="no sum of squared weights above 0"):
        bump_hunt(histogram, **SIGNAL)


def test_planes_that_hold_no_counts_are_refused():
    plane = hist.Hist(hist.axis.Regular(10, 0, 1), hist.axis.Regular(10, 0, 1))
    plane.fill(*np.random.default_rng(2).random((2, 2000)))
    assert not plane_counts(plane, 0.9, 0.4).weighted
    with pytest.raises(FitError, match="plane: the contents are no whole numbers"):
        plane_counts(plane / 2000, 0.9, 0.4)
    means = hist.Hist(*plane.axes, storage=hist.storage.Mean())
    means.fill([0.1], [0.2], sample=[1.0])
    with pytest.raises(FitError, match="holds means"):
        plane_counts(means, 0.9, 0.4)
    with pytest.raises(FitError, match="got list"):
        abcd_in_window([], WorkingPoint.at({0: 0.9}), 0.4, (2600, 5000), (3300, 3700))


def test_expected_counts_with_their_variances_are_unit_weights(mass_histogram, falling_shape):
    found = bump_hunt(mass_histogram(5000 * falling_shape), **SIGNAL)
    assert not any("weighted" in note for note in found.notes)
    assert found.z < 0.1


def test_tables_of_weighted_spectra_say_sum_of_weights(toy_spectrum):
    found = bump_hunt(scaled(toy_spectrum(3000, 0, 9), 2.0), **SIGNAL)
    header = hepdata_spectrum(found)["all"]["dependent_variables"][0]["header"]
    assert header["name"] == "Sum of weights"


def test_a_stage_takes_no_histogram_of_ones_own(toy_spectrum):
    with pytest.raises(ConfigError, match=r"is a Hist, expected a Histograms.*stats\.bump_hunt"):
        fit_stage(toy_spectrum(100, 0, 1), SearchConfig())
