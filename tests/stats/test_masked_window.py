from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from tnt_coffea.errors import FitError
from tnt_coffea.stats import (
    FitRefusal,
    TriggerEfficiency,
    WindowResult,
    WindowTest,
    WindowTests,
    masked_window_test,
)
from tnt_coffea.stats.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=20.0)
WINDOW = {"window": (3300.0, 3700.0), "fit": FIT}


def test_window_does_not_enter_its_own_background(toy_spectrum):
    plain = toy_spectrum(5000, 0, 41)
    before = masked_window_test(plain, **WINDOW)
    near = (plain.axes[0].centers > 3300) & (plain.axes[0].centers < 3700)
    plain.view().value[near] += 7
    plain.view().variance[near] += 7
    after = masked_window_test(plain, **WINDOW)
    assert (after.expected, after.uncertainty) == (before.expected, before.uncertainty)
    assert after.observed == before.observed + 7 * near.sum()
    assert after.z > before.z + 1


@pytest.mark.slow
def test_pull_of_the_interpolated_background_is_normal(falling_shape, mass_histogram):
    random = np.random.default_rng(42)
    near = slice(35, 55)
    # Up to where every bin expects events enough for a goodness of fit without toys.
    fit = replace(FIT, range=(2600.0, 4600.0), bin_width=100.0, max_parameters=3)
    pulls, p = [], []
    for _ in range(60):
        histogram = mass_histogram(random.poisson(5000 * falling_shape).astype(float))
        found = masked_window_test(histogram, **WINDOW | {"fit": fit})
        assert found.goodness_calibration == "asymptotic"
        pulls.append((found.expected - 5000 * falling_shape[near].sum()) / found.uncertainty)
        p.append(found.p_poisson)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(60)
    assert np.std(pulls) == pytest.approx(1.0, abs=3 / np.sqrt(120))
    assert 0.38 < np.mean(p) < 0.62


def test_few_events_get_the_poisson_p_value(toy_spectrum):
    few = masked_window_test(toy_spectrum(60, 6, 45), **WINDOW)
    assert (few.calibration, few.p_value) == ("Poisson", few.p_poisson)
    assert few.z == pytest.approx(max(0.0, norm.isf(few.p_poisson)))
    assert "so few come out too small" in few.notes[0]
    many = masked_window_test(toy_spectrum(5000, 60, 45), **WINDOW)
    assert many.notes == ()
    assert many.calibration == "asymptotic"
    assert many.p_value == pytest.approx(norm.sf(many.z_asymptotic))
    assert many.z == many.z_asymptotic


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


def test_bins_of_one_ratio(toy_spectrum):
    fine = toy_spectrum(6000, 0, 46)
    edges = np.array(
        [2600, 2740, 2880, 3040, 3200, 3380, 3560, 3760, 3960, 4180, 4400, 5000, 6000.0]
    )
    fit = SpectrumFit((2600.0, 6000.0), edges=tuple(edges), min_parameters=4, max_parameters=4)
    found = masked_window_test(fine, window=(3380.0, 3760.0), fit=fit)
    cuts = np.searchsorted(fine.axes[0].edges, edges)
    expected = [fine.values()[a:b].sum() for a, b in itertools.pairwise(cuts)]
    assert found.spectrum.edges == tuple(edges)
    assert found.spectrum.observed == tuple(expected)
    assert found.observed == sum(expected[5:7])
    assert found.expected == pytest.approx(sum(found.spectrum.background[5:7]))
    assert found.parameters == 4
    assert abs(found.observed - found.expected) < 4 * np.hypot(
        found.uncertainty, np.sqrt(found.expected)
    )


def test_a_trigger_is_refused(toy_spectrum):
    trigger = TriggerEfficiency.of_function(2450, 150)
    with pytest.raises(FitError, match=r"no efficiency of a trigger"):
        masked_window_test(
            toy_spectrum(800, 0, 47), **WINDOW | {"fit": replace(FIT, trigger=trigger)}
        )


def test_tests_of_several_windows(toy_spectrum):
    spectrum = toy_spectrum(3000, 60, 48)
    windows = ((3100.0, 3300.0), (3300.0, 3700.0))
    tests = WindowTests(
        tuple(
            WindowTest(
                f"set-{low:g}", selection, masked_window_test(spectrum, window=(low, high), fit=FIT)
            )
            for low, high in windows
            for selection in (None, "loose-heavy")
        )
    )
    assert (tests.windows, tests.selections) == (windows, (None, "loose-heavy"))
    assert tests.best(None) == tests.tests[2]
    assert [test.mass for test in tests.of("loose-heavy")] == [3200, 3500]
    assert tests.converged
    again = json.loads(json.dumps(tests.to_dict(), allow_nan=False))
    assert WindowTests.from_dict(again) == tests
    lines = tests.summary().splitlines()
    assert lines[0].startswith("2 windows, 4 tests")
    assert lines[3].startswith("  3300-3700 GeV, all dijets: ")
    refused = replace(tests, refusals=(FitRefusal("window test", "set-3100 0.1", "too few"),))
    assert "window test, set-3100 0.1: refused" in refused.summary()
