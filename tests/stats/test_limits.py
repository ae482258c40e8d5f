from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pyhf
import pytest
from scipy.special import ndtr

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine, hepdata_limits, limits
from tnt_coffea.stats.cls import AsymptoticCls, WeightedToys, _statistic
from tnt_coffea.stats.envelope import enveloped, profiled
from tnt_coffea.stats.limit_results import LimitResult
from tnt_coffea.stats.limits import limit_band, upper_limit
from tnt_coffea.stats.model import spectrum_model
from tnt_coffea.stats.pyhf_fit import numpy_backend
from tnt_coffea.stats.pyhf_model import smooth_model
from tnt_coffea.stats.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=80.0)
BAND = {"width": 120.0, "fit": FIT}
SETTINGS = {"mass": 3500.0, "width": 120.0, "fit": FIT}


def test_limit_and_band_are_those_of_pyhf(toy_spectrum):
    histogram = toy_spectrum(1500, 0, 31)
    # Few bins, because pyhf takes a quarter of a second for each CLs.
    fit = replace(FIT, bin_width=220.0, max_parameters=3)
    ours = upper_limit(histogram, mass=3500.0, width=250.0, fit=fit, toys=0)
    assert ours.converged
    assert ours.cls == pytest.approx(0.05, abs=1e-4)

    models = spectrum_model(histogram, fit.signal(3500.0, 250.0), fit).best_channels
    model = smooth_model(models, 1.0, 1000.0)
    counts = [*models[0].observed, *model.config.auxdata]
    with numpy_backend():
        observed, expected = pyhf.infer.intervals.upper_limits.toms748_scan(
            counts, model, 1.0, 300.0, rtol=1e-3
        )
    assert ours.observed == pytest.approx(float(observed), rel=2e-3)
    assert ours.expected == pytest.approx([float(e) for e in expected], rel=3e-3)


@pytest.mark.slow
def test_limit_holds_what_was_injected(toy_spectrum):
    without = upper_limit(toy_spectrum(3000, 0, 32), toys=0, **SETTINGS)
    signal = upper_limit(toy_spectrum(3000, 150, 32), toys=0, **SETTINGS)
    assert signal.observed > 150
    assert signal.observed > without.expected[4]
    assert without.expected[0] < without.observed < without.expected[4]


@pytest.mark.slow
def test_limits_of_folds_with_equal_shares_are_as_strong_as_their_sum(toy_spectrum):
    parts = {f"fold-{i}": toy_spectrum(2000, 0, 33 + i) for i in range(2)}
    folds = upper_limit(parts, toys=0, **SETTINGS)
    together = upper_limit(parts["fold-0"] + parts["fold-1"], toys=0, **SETTINGS)
    assert folds.expected[2] == pytest.approx(together.expected[2], rel=0.05)


def test_uncertain_signal_weakens_the_limit(toy_spectrum):
    histogram = toy_spectrum(3000, 0, 35)
    fits = [
        replace(FIT, max_parameters=3, width_uncertainty=uncertainty) for uncertainty in (0.0, 0.2)
    ]
    models = [spectrum_model(histogram, fit.signal(3500.0, 120.0), fit).functions for fit in fits]
    sharp, blurred = (AsymptoticCls(functions).at(45.0).expected[2] for functions in models)
    assert blurred > sharp


def test_cross_section_is_events_over_efficiency_and_luminosity(toy_spectrum):
    found = upper_limit(
        toy_spectrum(2000, 0, 36), toys=0, efficiency=0.2, luminosity=30.0, **SETTINGS
    )
    assert found.observed_cross_section == pytest.approx(found.observed / 6.0)
    assert found.expected_cross_section[2] == pytest.approx(found.expected[2] / 6.0)
    assert LimitResult.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert "fb" in found.summary()


@pytest.mark.slow
def test_deficit_and_excess_beyond_the_bands_are_noted(toy_spectrum):
    histogram = toy_spectrum(3000, 0, 37)
    few, many = histogram.copy(), toy_spectrum(3000, 200, 37)
    centre = slice(*np.searchsorted(histogram.axes[0].edges, [3320.0, 3680.0]))
    few.view().value[centre] //= 2
    few.view().variance[centre] = few.view().value[centre]
    notes = [
        " ".join(upper_limit(h, toys=0, cross_check=False, **SETTINGS).notes)
        for h in (few, histogram, many)
    ]
    assert ["below what" in text for text in notes] == [True, False, False]
    assert ["above what" in text for text in notes] == [False, False, True]


def limit_of_seed(seed):
    """Return the toy limit of a spectrum with 60 events."""
    spectrum = stats.toy_spectrum(60, 0, seed=7)
    settings = SETTINGS | {"fit": replace(FIT, max_parameters=3)}
    return upper_limit(spectrum, toys=40, seed=seed, **settings)


@pytest.mark.slow
def test_uncertainty_of_toy_limits_is_their_spread_over_seeds():
    limits_of_seeds = [limit_of_seed(seed) for seed in range(6)]
    limits = np.array([[found.observed, *found.expected] for found in limits_of_seeds])
    quoted = np.array(
        [[found.observed_uncertainty, *found.expected_uncertainties] for found in limits_of_seeds]
    )
    ratio = np.mean(limits.std(axis=0, ddof=1) / np.sqrt(np.mean(quoted**2, axis=0)))
    # Six seeds know a spread to 32 %; that of six limits with common toys to about 20 %.
    assert 0.5 < ratio < 1.6


def test_toy_limit_says_how_well_it_is_known():
    found = limit_of_seed(0)
    share = 100 * found.observed_uncertainty / found.observed
    assert f"the observed limit is known to {share:.1f} %" in " ".join(found.notes)
    assert f"{found.observed:.4g} +- {found.observed_uncertainty:.2g} signal" in found.summary()
    assert LimitResult.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    table = hepdata_limits([found])["dependent_variables"][0]["values"][0]
    assert table["errors"][0]["symerror"] == pytest.approx(found.observed_uncertainty)


@pytest.mark.slow
def test_toys_are_thrown_until_the_limit_is_known(monkeypatch):
    monkeypatch.setattr(limits, "_ROUND", 40)
    spectrum = stats.toy_spectrum(60, 0, seed=7)
    settings = SETTINGS | {"fit": replace(FIT, max_parameters=3)}
    found = upper_limit(spectrum, **settings)
    assert found.toys in (80, 120, 160)
    known = found.observed_uncertainty <= 0.03 * found.observed
    assert known == ("ask for more toys" not in " ".join(found.notes))
    assert known or found.toys == 160


def test_joined_toys_are_those_of_both():
    functions = spectrum_model(
        stats.toy_spectrum(60, 0, seed=7), FIT.signal(3500.0, 120.0), replace(FIT, max_parameters=3)
    ).functions
    start, random = AsymptoticCls(functions), np.random.default_rng(1)
    first, second = (
        WeightedToys.thrown(start, np.array([3.0, 6.0, 12.0]), 20, random) for _ in "ab"
    )
    both = first.joined(second)
    assert (len(both), both.background_only) == (len(first) + len(second), 40)
    # A mixture's weights of each hypothesis sum to the toys of a source, up to fluctuations.
    assert both.weights.sum(axis=1) == pytest.approx(np.full(4, 40.0), rel=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("uncertainty", [0.0, 0.02, 0.05])
def test_uncertain_mass_is_randomised_in_toys_and_their_limit_has_the_level(uncertainty):
    """A2: plain toys at the observed limit, with auxiliary measurements, find CLs = 5 %."""
    fit = replace(FIT, bin_width=40.0, scale_uncertainty=uncertainty)
    spectrum = stats.toy_spectrum(60, 0, seed=38)
    found = upper_limit(spectrum, mass=3500.0, width=120.0, fit=fit)
    assert found.observed_uncertainty < 0.03 * found.observed
    functions = spectrum_model(spectrum, fit.signal(3500.0, 120.0), fit).functions
    start = AsymptoticCls(functions)
    data, seen = [counts[:1] for counts in start.counts], start.best.some(np.array([0]))
    at_limit = profiled(functions, data, seen, mu=found.observed)
    least, random, tails = (
        _statistic(functions, data, seen, found.observed)[0][0],
        np.random.default_rng(5),
        [],
    )
    for fits in (start.null, at_limit):
        counts = engine.toy_counts(fits.expected(functions), 3000, random)
        centres = engine.toy_centres(fits.fit().alpha, 3000, random)
        best = enveloped(functions, counts, centres=centres).best
        q = _statistic(functions, counts, best, found.observed, centres)[0]
        tails.append(np.mean(q >= least - 1e-6))
    cls = tails[1] / tails[0]
    # 3000 toys know CLs to 8 %; 3 % of the limit are 10 % of CLs.
    assert cls == pytest.approx(0.05, rel=0.3)


def test_toys_agree_with_the_formulae_where_these_hold(toy_spectrum):
    histogram = toy_spectrum(3000, 0, 37)
    settings = SETTINGS | {"fit": replace(FIT, max_parameters=3)}
    formulae = upper_limit(histogram, toys=0, **settings)
    toys = upper_limit(histogram, toys=150, seed=2, **settings)
    assert toys.calibration == "toys"
    # 150 toys know a limit to about 10 %.
    assert toys.observed == pytest.approx(formulae.observed, rel=0.2)
    assert toys.expected[2] == pytest.approx(formulae.expected[2], rel=0.2)


def test_formulae_that_do_not_hold_are_noted(toy_spectrum):
    sparse = upper_limit(toy_spectrum(60, 0, 38), toys=0, **SETTINGS)
    assert any("too low" in note for note in sparse.notes)


@pytest.mark.slow
def test_band_holds_the_limits_of_the_masses_where_the_formulae_hold(toy_spectrum):
    histogram = toy_spectrum(3000, 0, 37)
    band = limit_band(histogram, masses=[3500.0, 5000.0, 6500.0, 9000.0], **BAND)
    # Beyond 6 TeV hardly any background is left, and 9 TeV is outside.
    assert [limit.mass for limit in band] == [3500.0, 5000.0]
    alone = upper_limit(histogram, mass=3500.0, toys=0, **BAND)
    assert band[0].observed == pytest.approx(alone.observed, rel=1e-3)
    assert band[0].expected == alone.expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda h: upper_limit(h, level=1.2, **SETTINGS), "confidence level"),
        (lambda h: upper_limit(h, efficiency=0.1, **SETTINGS), "efficiency and luminosity"),
        (
            lambda h: upper_limit(h, efficiency=2.0, luminosity=1.0, **SETTINGS),
            "efficiency must lie",
        ),
        (lambda h: upper_limit(h, **(SETTINGS | {"mass": 9000.0})), "outside the fit range"),
        (lambda h: upper_limit(h, toys=-1, **SETTINGS), "toys"),
        (lambda h: upper_limit(h, toys=18, **SETTINGS), "18 toys know no p-value as low as 0.05"),
    ],
)
def test_what_cannot_be_limited_is_refused(toy_spectrum, call, words):
    with pytest.raises(FitError, match=words):
        call(toy_spectrum(500, 0, 39))


def test_empty_spectrum_is_refused(mass_histogram):
    with pytest.raises(FitError, match="too few"):
        upper_limit(mass_histogram(np.zeros(220)), **SETTINGS)


@pytest.fixture(scope="module")
def tail():
    """A spectrum with one event expected under the signal at 6500 GeV, and five seen."""
    edges = np.arange(2600.0, 7001.0, 40.0)
    spectrum = stats.toy_spectrum(11_000, edges=edges, seed=7)
    far = edges[:-1] >= 6400
    spectrum.view().value[far] = spectrum.view().variance[far] = 0
    near = np.searchsorted(edges, [6420.0, 6460.0, 6500.0, 6540.0, 6600.0]) - 1
    spectrum.view().value[near] += 1
    spectrum.view().variance[near] += 1
    return spectrum


@pytest.mark.parametrize("toys", [60, pytest.param(150, marks=pytest.mark.slow)])
def test_bands_from_toys_rise_where_little_is_expected(toys, tail):
    # A function that knows its tail: that of four parameters may vanish there.
    settings = {"mass": 6500.0, "width": 120.0, "fit": replace(FIT, max_parameters=3)}
    found = upper_limit(tail, toys=toys, seed=3, **settings)
    assert found.converged
    assert np.all(np.diff(found.expected) >= 0)
    # Nothing seen excludes 3 events, exp(-3) = 5 %, if the background is known: 8400 toys give
    # 3.33 +- 0.08, 8.86 +- 0.05 for the five.
    assert found.expected[0] == pytest.approx(3.33, abs=0.4)
    assert found.observed == pytest.approx(8.86, abs=0.4)
    assert found.expected[2] < found.expected[4] < 10
    assert found.observed > found.expected[3]
    table = hepdata_limits([found])["dependent_variables"][1]["values"][0]["errors"]
    for errors in table:
        assert errors["asymerror"]["minus"] <= 0 <= errors["asymerror"]["plus"]


@pytest.mark.slow
def test_limit_from_toys_is_where_plain_toys_give_the_level(tail):
    fit = replace(FIT, bin_width=80.0)
    found = upper_limit(tail, mass=6500.0, width=120.0, fit=fit, toys=300)
    functions = spectrum_model(tail, fit.signal(6500.0, 120.0), fit).functions
    start = AsymptoticCls(functions)
    data, seen = [counts[:1] for counts in start.counts], start.best.some(np.array([0]))
    random = np.random.default_rng(5)
    for mu, band in zip((found.observed, *found.expected[1:]), (None, -1, 0, 1, 2), strict=True):
        signal = profiled(functions, data, seen, mu=mu).expected(functions)[0]
        q = []
        for mean in (start.background[0], signal):
            counts = engine.toy_counts([mean], 5000, random)
            q.append(_statistic(functions, counts, enveloped(functions, counts).best, mu)[0])
        least = (
            _statistic(functions, data, seen, mu)[0][0]
            if band is None
            else np.quantile(q[0], ndtr(-band), method="inverted_cdf")
        )
        null, tail_of_signal = (np.mean(values >= least - 1e-6) for values in q)
        cls = tail_of_signal / null
        # Equal q are common where counts are few: the level is passed within one step.
        assert 0.03 < cls < 0.07


def test_limit_whose_toys_failed_says_how_many(tail, monkeypatch):
    monkeypatch.setattr(limits, "_FAILED", -1.0)
    found = upper_limit(tail, mass=6500.0, width=120.0, fit=FIT, toys=25)
    assert not found.converged
    assert re.search(r"not converged: \d+ of \d+ toys had a failed fit", "; ".join(found.notes))
