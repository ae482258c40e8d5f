from __future__ import annotations

import json
from dataclasses import replace

import hist
import numpy as np
import pytest
from scipy.stats import norm

from tnt_coffea.errors import FitError
from tnt_coffea.stats import BumpHuntResult, bump_hunt
from tnt_coffea.stats.signals import gaussian
from tnt_coffea.stats.spectrum_fit import SpectrumFit

EDGES = np.arange(2600.0, 7001.0, 20.0)
FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0, max_parameters=4)
AT_3500 = {"mass": 3500.0, "width": 120.0, "fit": FIT}
FROM_TWO = AT_3500 | {"fit": replace(FIT, min_parameters=2)}


def test_signal_is_the_integral_of_a_gaussian():
    edges = np.linspace(3000.0, 4000.0, 26)
    expected = norm.cdf(edges[1:], 3500, 120) - norm.cdf(edges[:-1], 3500, 120)
    np.testing.assert_allclose(gaussian(edges, 3500, 120), expected, atol=1e-14)
    assert gaussian(np.array([0.0, 13_000.0]), 3500, 120).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seed", "events"),
    [
        pytest.param(seed, events, marks=[pytest.mark.slow] * (seed > 1 or events == 500))
        for seed in (1, 2, 3)
        for events in (50_000, 500, 50)
    ],
)
def test_two_minimisers_agree(toy_spectrum, events, seed):
    result = bump_hunt(toy_spectrum(events, 2 * np.sqrt(0.12 * events), seed), **AT_3500)
    assert result.converged, result.notes
    assert result.z_asymptotic == pytest.approx(result.z_numpy, abs=1e-3)
    assert result.asimov_closure == pytest.approx(1.0, abs=1e-3)


def test_injected_signal_is_found_with_its_size(toy_spectrum):
    result = bump_hunt(toy_spectrum(1200, 80, 4), **AT_3500)
    assert result.z > 3
    assert abs(result.mu_hat - 80) < 3 * result.mu_uncertainty
    assert result.p_value == pytest.approx(norm.sf(result.z))


def test_folds_share_the_signal(toy_spectrum):
    folds = {f"fold-{i}": toy_spectrum(600, 40, 10 + i) for i in range(2)}
    result = bump_hunt(folds, **AT_3500)
    assert result.converged
    events = [sum(channel.observed) for channel in result.channels]
    shares = [channel.share for channel in result.channels]
    assert shares == pytest.approx([n / sum(events) for n in events])
    assert abs(result.mu_hat - 80) < 3 * result.mu_uncertainty
    assert any("null chains" in note for note in result.notes)
    for channel in result.channels:
        added = sum(channel.signal_plus_background)
        assert added == pytest.approx(sum(channel.observed), rel=0.02)


@pytest.mark.slow
def test_shares_are_normalised_and_complete(toy_spectrum):
    folds = {"a": toy_spectrum(600, 40, 10), "b": toy_spectrum(600, 40, 11)}
    result = bump_hunt(folds, **AT_3500 | {"fit": replace(FIT, shares={"a": 3, "b": 1})})
    assert [channel.share for channel in result.channels] == [0.75, 0.25]
    with pytest.raises(FitError, match="shares must give every channel"):
        bump_hunt(folds, **AT_3500 | {"fit": replace(FIT, shares={"a": 1})})


@pytest.mark.slow
def test_order_of_the_channels_changes_nothing(toy_spectrum):
    one, two = toy_spectrum(600, 40, 10), toy_spectrum(300, 20, 11)
    first = bump_hunt({"b": one, "a": two}, **AT_3500)
    second = bump_hunt({"a": two, "b": one}, **AT_3500)
    assert first.z == pytest.approx(second.z, abs=1e-4)
    assert [c.name for c in first.channels] == ["b", "a"]
    assert first.channels[0].observed == second.channels[1].observed


def test_order_of_the_function_grows_with_the_data(falling_shape, mass_histogram):
    few = bump_hunt(mass_histogram(60 * falling_shape), **FROM_TWO)
    many = bump_hunt(mass_histogram(50_000 * falling_shape), **FROM_TWO)
    assert few.channels[0].parameters == 2
    assert many.channels[0].parameters > 2


def test_signal_does_not_choose_the_function(toy_spectrum):
    plain = bump_hunt(toy_spectrum(20_000, 0, 8), **AT_3500)
    histogram = toy_spectrum(20_000, 0, 8)
    near = (histogram.axes[0].centers > 3300) & (histogram.axes[0].centers < 3700)
    histogram.view().value[near] += 30
    histogram.view().variance[near] += 30
    bumped = bump_hunt(histogram, **AT_3500)
    assert {f.parameters for f in bumped.envelope} == {f.parameters for f in plain.envelope}
    assert bumped.z > plain.z + 3


def test_goodness_of_fit_sees_a_wrong_shape(toy_spectrum):
    good = bump_hunt(toy_spectrum(20_000, 0, 9), **AT_3500)
    assert good.channels[0].goodness_of_fit > 0.01
    two = replace(FIT, min_parameters=2, max_parameters=2)
    wrong = bump_hunt(toy_spectrum(50_000, 0, 9), **AT_3500 | {"fit": two})
    assert wrong.channels[0].goodness_of_fit < 0.01
    assert good.channels[0].goodness_calibration == "toys"
    dense = replace(FIT, range=(2600.0, 4200.0))
    coarse = bump_hunt(toy_spectrum(50_000, 0, 9), **AT_3500 | {"fit": dense})
    assert coarse.channels[0].goodness_calibration == "asymptotic"


def test_toys_calibrate_the_p_value(toy_spectrum):
    histogram = toy_spectrum(60, 10, 12)
    asymptotic = bump_hunt(histogram, toys=0, **AT_3500)
    assert asymptotic.calibration == "asymptotic"
    assert any("not reliable" in note for note in asymptotic.notes)
    toys = bump_hunt(histogram, toys=400, seed=3, **AT_3500)
    assert (toys.calibration, toys.toys) == ("toys", 400)
    assert toys.p_value * 401 == pytest.approx(round(toys.p_value * 401))
    assert 1 / 401 <= toys.p_value < 0.2
    assert toys.z == pytest.approx(norm.isf(toys.p_value))
    assert toys.z_asymptotic == asymptotic.z
    assert bump_hunt(histogram, toys=400, seed=3, **AT_3500) == toys


@pytest.mark.parametrize(
    ("events", "signal", "change", "calibration"),
    [
        (60, 10, {}, "toys"),
        (1200, 40, {}, "asymptotic"),
        pytest.param(
            *(1200, 80, {"fit": replace(FIT, scale_uncertainty=0.01)}, "toys"),
            marks=pytest.mark.slow,
        ),
        (60, 10, {"null_chains": [0.5, 2.0, 7.0]}, "null chains"),
    ],
)
def test_toys_are_thrown_by_themselves_where_the_formula_fails(
    toy_spectrum, events, signal, change, calibration
):
    result = bump_hunt(toy_spectrum(events, signal, 12), **AT_3500 | change)
    assert result.calibration == calibration
    assert (result.toys == 0) == (calibration == "asymptotic")
    assert result.z == pytest.approx(max(0.0, norm.isf(result.p_value)), abs=1e-6)
    assert (result.p_uncertainty > 0) == (calibration != "asymptotic")
    assert not any("not reliable" in note for note in result.notes)


def test_no_excess_has_no_significance(falling_shape, mass_histogram):
    dip = mass_histogram(60 * falling_shape - 2 * gaussian(EDGES, 3500, 120))
    result = bump_hunt(dip, **AT_3500)
    assert (result.calibration, result.p_value, result.z) == ("toys", 1.0, 0.0)


def test_weighted_toys_give_the_p_value_of_many_plain_ones(toy_spectrum):
    histogram = toy_spectrum(60, 16, 12)
    weighted = bump_hunt(histogram, **FROM_TWO)
    assert weighted.toys == 3000
    plain = bump_hunt(histogram, toys=4000, **FROM_TWO)
    assert plain.toys == 4000
    apart = abs(weighted.p_value - plain.p_value)
    assert apart < 3 * np.hypot(weighted.p_uncertainty, plain.p_uncertainty)
    assert weighted.p_uncertainty < 0.15 * weighted.p_value


@pytest.mark.slow
def test_weighted_toys_give_the_asymptotic_p_value_where_that_holds(toy_spectrum):
    # A width that hardly moves asks for toys and leaves the formula right.
    uncertain = replace(FIT, width_uncertainty=1e-4)
    result = bump_hunt(toy_spectrum(20_000, 300, 5), **AT_3500 | {"fit": uncertain})
    assert result.calibration == "toys"
    assert result.z_asymptotic > 4.5
    assert result.z == pytest.approx(result.z_asymptotic, abs=0.15)


def test_wide_bins_and_weights_are_noted(toy_spectrum):
    histogram = toy_spectrum(2000, 0, 13)
    histogram.view().variance = 2 * histogram.view().value
    result = bump_hunt(histogram, **AT_3500 | {"fit": replace(FIT, bin_width=100.0)})
    assert any("wider than half the signal" in note for note in result.notes)
    assert any("weighted" in note for note in result.notes)


def test_result_survives_json(toy_spectrum):
    result = bump_hunt({"x": toy_spectrum(500, 20, 14), "y": toy_spectrum(500, 20, 15)}, **AT_3500)
    again = BumpHuntResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert again == result
    assert "Z = " in result.summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit": replace(FIT, bin_width=30.0)}, "no whole number of bins"),
        ({"fit": replace(FIT, bin_width=10.0)}, "not an edge"),
        ({"fit": replace(FIT, range=(2610.0, 7010.0))}, "not an edge"),
        ({"mass": 2500.0}, "outside the fit range"),
        ({"width": 0.0}, "width must be positive"),
        ({"toys": -1}, "toys is -1, expected a whole number from 0 to 10,000,000"),
        ({"fit": replace(FIT, range=(3300.0, 3700.0))}, "no whole sidebands"),
        ({"mass": 2620.0}, "no whole sidebands"),
        ({"fit": replace(FIT, bin_width=400.0, range=(3000.0, 4200.0))}, "too few for a function"),
    ],
)
def test_bad_input_is_refused(toy_spectrum, change, message):
    with pytest.raises(FitError, match=message):
        bump_hunt(toy_spectrum(500, 0, 1), **AT_3500 | change)


def test_empty_and_wrong_histograms_are_refused(mass_histogram):
    with pytest.raises(FitError, match="all: 0 of 97 bins"):
        bump_hunt(mass_histogram(np.zeros(220)), **AT_3500)
    with pytest.raises(FitError, match="no channel"):
        bump_hunt({}, **AT_3500)
    plane = hist.Hist(hist.axis.Regular(5, 0, 1, name="a"), hist.axis.Regular(5, 0, 1, name="b"))
    with pytest.raises(FitError, match="project it first"):
        bump_hunt(plane, **AT_3500)
    with pytest.raises(FitError, match="negative"):
        bump_hunt(mass_histogram(-np.ones(220)), **AT_3500)


def test_a_deficit_does_not_shorten_the_uncertainty(toy_spectrum):
    """Of a signal of 0 events among functions that compete."""
    spectrum = toy_spectrum(20_000, 0, 3)
    near = np.abs(spectrum.axes[0].centers - 3500) < 150
    excess, deficit = spectrum.copy(), spectrum.copy()
    excess.values()[near] = np.round(1.05 * spectrum.values()[near])
    deficit.values()[near] = np.round(0.95 * spectrum.values()[near])
    several = {**AT_3500, "fit": replace(FIT, max_parameters=5)}
    above, below = (bump_hunt(one, **several) for one in (excess, deficit))
    assert len(below.envelope) > 1
    assert below.mu_hat == 0 < above.mu_hat
    assert below.mu_uncertainty > 0.7 * above.mu_uncertainty


@pytest.mark.slow
def test_toys_report_their_progress_and_do_not_depend_on_it(toy_spectrum):
    histogram, steps = toy_spectrum(300, 10, 61), []
    shown = bump_hunt(
        histogram, toys=300, progress=lambda done, of: steps.append((done, of)), **AT_3500
    )
    assert steps == [(0, 300), (256, 300), (300, 300)]
    assert bump_hunt(histogram, toys=300, **AT_3500) == shown
