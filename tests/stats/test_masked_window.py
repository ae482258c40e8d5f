from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from tnt_coffea.errors import FitError
from tnt_coffea.stats import WindowResult, masked_window_test
from tnt_coffea.stats.spectrum import SpectrumFit

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
    many = masked_window_test(toy_spectrum(5000, 60, 45), **WINDOW)
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
