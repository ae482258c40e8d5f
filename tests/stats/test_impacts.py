from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyhf
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats import bump_hunt
from tnt_coffea.stats.impacts import nuisance_impacts
from tnt_coffea.stats.model import spectrum_model
from tnt_coffea.stats.pyhf_fit import numpy_backend
from tnt_coffea.stats.pyhf_model import SHAPE_PARAMETERS, smooth_model
from tnt_coffea.stats.signals import gaussian
from tnt_coffea.stats.spectrum_fit import SpectrumFit

EDGES = np.arange(2600.0, 7001.0, 20.0)
FIT = SpectrumFit((2600.0, 7000.0), bin_width=80.0)
ONE = replace(FIT, max_parameters=3)
UNCERTAIN = replace(ONE, width_uncertainty=0.15)
SETTINGS = {"mass": 3500.0, "width": 120.0, "fit": FIT}


def test_impacts_are_those_of_refits_in_pyhf(toy_spectrum):
    histogram = toy_spectrum(5000, 200, 61)
    rows = nuisance_impacts(histogram, **SETTINGS | {"fit": UNCERTAIN})
    channels = spectrum_model(histogram, UNCERTAIN.signal(3500.0, 120.0), UNCERTAIN).best_channels
    model = smooth_model(channels, 1.0, 1000.0)
    data = [*channels[0].observed, *model.config.auxdata]
    places = [model.config.par_slice(SHAPE_PARAMETERS).start]
    first = model.config.par_slice("phi_all").start
    places += [first + k for k in range(len(rows) - 1)]

    def fitted(place=None, value=0.0):
        start, held = best.copy(), [False] * len(best)
        if place is not None:
            start[place], held[place] = value, True
        return pyhf.infer.mle.fit(data, model, init_pars=start.tolist(), fixed_params=held)

    with numpy_backend():
        best = np.array(model.config.suggested_init())
        best[model.config.poi_index] = 200.0
        best = np.asarray(fitted())
        mu = best[model.config.poi_index]
        for row, place in zip(rows, places, strict=True):
            assert row.pull == pytest.approx(best[place], abs=1e-2)
            for change, found in ((row.uncertainty, row.up), (-row.uncertainty, row.down)):
                refit = fitted(place, best[place] + change)[model.config.poi_index] - mu
                assert found == pytest.approx(refit, abs=0.05), row.name
        refit = fitted(places[0], best[places[0]] + 1.0)[model.config.poi_index] - mu
        assert rows[0].before_up == pytest.approx(refit, abs=0.05)


def test_the_width_of_the_signal_moves_it_most_and_upwards(toy_spectrum):
    histogram = toy_spectrum(5000, 200, 61)
    width, *others = nuisance_impacts(histogram, **SETTINGS | {"fit": UNCERTAIN})
    hunted = bump_hunt(histogram, toys=0, **SETTINGS | {"fit": UNCERTAIN})
    assert width.name == "signal_width"
    assert width.pull == pytest.approx(hunted.nuisances[0][1], abs=1e-2)
    assert 0 < width.uncertainty < 1.2
    # A wider signal takes more events, and what is known before the fit moves it further.
    assert width.down < 0 < width.up
    assert width.before_up > width.up
    assert all(row.before_up is None for row in others)


def test_impacts_do_not_end_at_the_bound_of_the_signal(falling_shape, mass_histogram):
    dip = mass_histogram(5000 * falling_shape - 50 * gaussian(EDGES, 3500.0, 120.0))
    assert bump_hunt(dip, toys=0, **SETTINGS).mu_hat == pytest.approx(0.0, abs=1e-6)
    rows = nuisance_impacts(dip, **SETTINGS | {"fit": ONE})
    assert all(row.up * row.down < 0 for row in rows)
    assert max(abs(row.up) for row in rows) > 5


@pytest.mark.slow
def test_the_choice_of_the_function_is_a_nuisance(toy_spectrum):
    histogram = toy_spectrum(5000, 100, 66)
    *_, last = nuisance_impacts(histogram, **SETTINGS)
    hunted = bump_hunt(histogram, toys=0, **SETTINGS)
    assert last.name == "background_function"
    near = [f for f in hunted.envelope if f.best < min(g.best for g in hunted.envelope) + 0.5]
    assert len(near) > 1
    assert last.up == pytest.approx(max(f.mu_hat for f in near) - hunted.mu_hat, abs=0.1)
    assert last.down == pytest.approx(min(f.mu_hat for f in near) - hunted.mu_hat, abs=0.1)
    one, *_ = nuisance_impacts(histogram, **SETTINGS | {"fit": ONE})
    assert one.name == "phi_all_0"


def test_too_few_events_for_impacts_are_refused(mass_histogram, falling_shape):
    empty = mass_histogram(np.where(np.abs(EDGES[:-1] - 3500) < 400, 0.0, 200 * falling_shape))
    with pytest.raises(FitError, match="too few events"):
        nuisance_impacts(empty, **SETTINGS)
