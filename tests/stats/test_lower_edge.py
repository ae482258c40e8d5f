"""Where a spectrum starts to fall smoothly, and what is said where a range does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import combine_pvalues

from tnt_coffea.errors import FitError
from tnt_coffea.stats import BumpHuntResult, SpectrumFit, TriggerEfficiency, bump_hunt
from tnt_coffea.stats.lower_edge import chosen_lower_edge, turn_on_notes, turn_on_p_value
from tnt_coffea.stats.results import EdgeTrial
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spectrum import spectra
from tnt_coffea.stats.validity import range_problems

EDGES = np.arange(2600.0, 7001.0, 20.0)
FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0)
SIGNAL = FIT.signal(3500.0, 120.0)
AT_3500 = {"mass": 3500.0, "width": 120.0, "fit": FIT}
# 84 % at 2600, 99 % at 2800 GeV.
TRIGGER = TriggerEfficiency.of_function(2450.0, 150.0)


@pytest.fixture(scope="module")
def spectrum(falling_shape, mass_histogram) -> Callable:
    """Toys of a dijet function, behind the trigger or not."""

    def make(events, seed, *, turn_on=True):
        shape = falling_shape * (TRIGGER.binned(EDGES)[0] if turn_on else 1.0)
        mean = events * shape / shape.sum()
        counts = mean if seed is None else np.random.default_rng(seed).poisson(mean)
        return mass_histogram(np.asarray(counts, dtype=float))

    return make


def found(histogram, fit=FIT):
    return chosen_lower_edge(histogram, SIGNAL, "auto", fit)[0].range[0]


def test_lower_edge_is_the_first_that_fits(falling_shape, mass_histogram):
    # A trigger that is not yet efficient: the spectrum is cut away below 2800 GeV.
    centres = np.arange(2610.0, 7000.0, 20.0)
    turned = falling_shape * np.where(centres < 2800, 0.6, 1.0)
    counts = np.random.default_rng(76).poisson(20_000 * turned).astype(float)
    candidates = [2600.0, 2680.0, 2760.0, 2840.0, 2920.0]
    own = {"lower_edges": candidates, "lowest_edge": 2500.0}
    found = bump_hunt(mass_histogram(counts), **own, **AT_3500)
    assert found.fit_range == (2840.0, 7000.0)
    assert [trial.edge for trial in found.edges_tried] == candidates[:4]
    assert found.edges_tried[-1].goodness_of_fit >= 0.05 > found.edges_tried[0].goodness_of_fit
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert BumpHuntResult.from_dict(json.loads(text)) == found


def test_lower_edge_stays_above_the_trigger_and_leaves_a_sideband(toy_spectrum):
    histogram = toy_spectrum(5000, 0, 77)
    signal, fit = SignalShape(3500.0, 120.0), replace(FIT, range=(3000.0, 7000.0))
    with pytest.raises(FitError, match="none below 2600 GeV"):
        chosen_lower_edge(histogram, signal, [2500.0, 2600.0], fit)
    with pytest.raises(FitError, match="no lower sideband"):
        chosen_lower_edge(histogram, signal, [3200.0], fit)
    for wrong in (None, "2600", float("nan"), True):
        with pytest.raises(FitError, match="the lowest edge of a fit is a number"):
            bump_hunt(histogram, lower_edges=[2600.0], lowest_edge=wrong, **AT_3500)
    own = {"lower_edges": [2500.0, 2600.0], "lowest_edge": 2550.0}
    with pytest.raises(FitError, match="none below 2550 GeV"):
        bump_hunt(histogram, **AT_3500, **own)
    found, tried = chosen_lower_edge(histogram, signal, [2600.0, 2800.0], fit)
    assert (found, len(tried)) == (FIT, 1)


def turn_on(histogram, fit=FIT):
    return turn_on_p_value(spectra(histogram, fit), SIGNAL, fit)


@pytest.mark.slow
def test_a_weak_turn_on_is_left_behind(spectrum):
    # The efficiency from 2680 GeV on is 95 %, from 2720 GeV on 97 %.
    assert found(spectrum(1e5, None)) >= 2720.0
    assert found(spectrum(1e5, 1)) >= 2680.0
    seen = [turn_on(spectrum(events, seed)) < 0.02 for events, seed in product((1e4,), range(12))]
    assert np.mean(seen) >= 0.3
    assert max(turn_on(spectrum(1e5, seed)) for seed in range(4)) < 0.02


@pytest.mark.slow
def test_a_smooth_spectrum_keeps_its_lowest_edge(spectrum):
    assert found(spectrum(1e5, None, turn_on=False)) == 2600.0
    cases = product((1e4, 1e5), range(8))
    p_values = np.array([turn_on(spectrum(n, seed, turn_on=False)) for n, seed in cases])
    assert np.mean(p_values < 0.02) <= 2 / 16
    assert np.mean(p_values < 0.5) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("events", [1e3, 1e4, 1e5])
def test_a_smooth_spectrum_keeps_its_lowest_edge_in_19_of_20(spectrum, events):
    kept = [found(spectrum(events, seed, turn_on=False)) for seed in range(1000, 1300)]
    assert np.mean(np.array(kept) == 2600.0) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 300)


SQRT_S = 13_000.0
TRUTHS = {
    "dijet-3": lambda x: (1 - x) ** 10 * x**-5,
    "dijet-4": lambda x: (1 - x) ** 6 * x ** -(6.5 + np.log(x)),
    "UA2": lambda x: x**-4 * np.exp(-4 * x - 8 * x**2),
    "exp of a cubic": lambda x: np.exp(np.polyval([-2.5, -1.0, -7.2, 0.0], np.log(5 * x))),
    "modified dijet": lambda x: (1 - x ** (1 / 3)) ** 9 * x ** -(2 + 0.3 * np.log(x)),
}


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS)
def test_no_truth_is_taken_for_a_turn_on(truth, mass_histogram):
    mean = TRUTHS[truth](0.5 * (EDGES[1:] + EDGES[:-1]) / SQRT_S)
    random, toys = np.random.default_rng(9), 300
    for efficiency, share in ((1.0, None), (TRIGGER.binned(EDGES)[0], 0.9)):
        expected = 1e5 * mean * efficiency / np.sum(mean * efficiency)
        histograms = (
            mass_histogram(n.astype(float)) for n in random.poisson(expected, (toys, 220))
        )
        seen = np.mean([turn_on(histogram) < 0.02 for histogram in histograms])
        if share is None:
            assert seen < 0.04 + 2 * np.sqrt(0.04 * 0.96 / toys)
        else:
            assert seen > share


@pytest.mark.slow
@pytest.mark.parametrize(("events", "least"), [(1e4, 0.45), (1e5, 0.95)])
def test_a_weak_turn_on_is_left_behind_in_toys(spectrum, events, least):
    edges = np.array([found(spectrum(events, seed)) for seed in range(1000, 1100)])
    assert np.mean(edges > 2600.0) >= least


def test_nothing_is_looked_at_under_the_signal(spectrum):
    plain, bumped = (spectrum(1e5, 3) for _ in range(2))
    inside = (EDGES[:-1] >= 3280.0) & (EDGES[1:] <= 3720.0)
    for counts in (bumped.view().value, bumped.view().variance):
        counts[inside] *= 3
    results = [chosen_lower_edge(histogram, SIGNAL, "auto", FIT) for histogram in (plain, bumped)]
    assert results[0] == results[1]
    assert len(results[0][1]) > 1


def test_a_given_efficiency_leaves_the_range_as_it_is(spectrum):
    histogram = spectrum(1e5, 3)
    assert found(histogram) > 2600.0
    assert found(histogram, replace(FIT, trigger=TRIGGER)) == 2600.0


@pytest.mark.slow
def test_channels_see_a_turn_on_together(spectrum):
    folds = {f"fold-{k}": spectrum(1e4, 10 + k) for k in range(4)}
    p_values = [turn_on_p_value(spectra({n: h}, FIT), SIGNAL, FIT) for n, h in folds.items()]
    together = turn_on_p_value(spectra(folds, FIT), SIGNAL, FIT)
    assert together < 0.1 * np.median(p_values)
    chosen, tried = chosen_lower_edge(folds, SIGNAL, "auto", FIT)
    assert chosen.range[0] == tried[-1].edge > 2600.0
    assert (tried[0].goodness_of_fit, tried[0].turn_on) == (None, pytest.approx(together))
    assert EdgeTrial.from_dict(json.loads(json.dumps(tried[0].to_dict()))) == tried[0]


def test_a_spectrum_that_never_falls_smoothly_says_what_was_tried(mass_histogram):
    counts = np.where(np.arange(220) % 4 < 2, 1000.0, 3000.0) * np.exp(-np.arange(220) / 30)
    with pytest.raises(FitError, match=r"none of the lower edges 2600 GeV .*, \.\.\., .*trigger"):
        chosen_lower_edge(mass_histogram(np.rint(counts)), SIGNAL, "auto", FIT)
    with pytest.raises(FitError, match="or 'auto', got 'lowest'"):
        chosen_lower_edge(mass_histogram(counts), SIGNAL, "lowest", FIT)
    with pytest.raises(FitError, match="no whole sidebands"):
        chosen_lower_edge(mass_histogram(counts), FIT.signal(2800.0, 120.0), "auto", FIT)


def test_p_values_of_channels_are_combined_as_fisher_does():
    # Statistical Methods for Research Workers, section 21.1: 0.145, 0.263 and 0.087 give 0.076.
    assert range_problems({"a": 0.145, "b": 0.263, "c": 0.087}) == []
    poor = {"a": 0.0145, "b": 0.0263, "c": 0.0087}
    p_value = combine_pvalues(list(poor.values())).pvalue
    (problem,) = range_problems(poor)
    assert f"(p = {p_value:.2g}, worst in c (0.0087))" in problem
    assert range_problems({"a": 0.011}) == [] != range_problems({"a": 0.009})
    assert range_problems({"a": 0.0})[0].startswith("the background-only fit does not describe")


def test_a_range_into_a_turn_on_is_said(spectrum):
    (note,) = turn_on_notes(spectra(spectrum(1e5, 3), FIT), SIGNAL, FIT)
    assert "missing at the lower edge of the range, 2600 GeV, as in a trigger's turn-on (p" in note
    for histogram, fit in (
        (spectrum(1e5, 3), replace(FIT, trigger=TRIGGER)),
        (spectrum(1e5, 3, turn_on=False), FIT),
    ):
        assert turn_on_notes(spectra(histogram, fit), SIGNAL, fit) == []
