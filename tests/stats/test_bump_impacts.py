from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats import bump_hunt
from tnt_coffea.stats.bumps.impacts import nuisance_impacts
from tnt_coffea.stats.fitting.signals import gaussian

EDGES = np.arange(2600.0, 7001.0, 20.0)
SETTINGS = {"mass": 3500.0, "width": 120.0, "fit_range": (2600.0, 7000.0), "bin_width": 80.0}


def test_impacts_are_what_a_shifted_parameter_does(toy_spectrum):
    histogram = toy_spectrum(5000, 200, 61)
    rows = nuisance_impacts(histogram, width_uncertainty=0.15, **SETTINGS)
    hunted = bump_hunt(histogram, min_parameters=3, width_uncertainty=0.15, **SETTINGS)
    name, pull, sigma, up, down = rows[0]
    assert name == "signal_width"
    assert pull == pytest.approx(hunted.nuisances[0][1], abs=1e-2)
    assert 0 < sigma < 1.2
    assert up == -down
    # A wider signal takes more events.
    narrow = bump_hunt(histogram, min_parameters=3, **SETTINGS | {"width": 110.0})
    wide = bump_hunt(histogram, min_parameters=3, **SETTINGS | {"width": 130.0})
    assert (wide.mu_hat > narrow.mu_hat) == (up > 0)


def test_no_signal_has_no_impacts(falling_shape, mass_histogram):
    dip = 5000 * falling_shape - 50 * gaussian(EDGES, 3500.0, 120.0)
    with pytest.raises(FitError, match="no signal"):
        nuisance_impacts(mass_histogram(dip), **SETTINGS)
