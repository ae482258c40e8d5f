"""The order of the background function, and how well it fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.engine import Channel
from tnt_coffea.stats.envelope import asked_orders, profiled
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.model import (
    _fitted,
    chosen_function,
    goodness_of_fit,
    outside_signal,
    spectrum_models,
)
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spectrum import Spectrum
from tnt_coffea.stats.spectrum_fit import SpectrumFit

EDGES = np.arange(2600.0, 7001.0, 40.0)
EVERYWHERE = np.ones(EDGES.size - 1, dtype=bool)


@pytest.fixture(scope="module")
def three(falling_shape):
    """A three-parameter dijet function of one event, and its family."""
    mean = falling_shape.reshape(-1, 2).sum(axis=1)
    built = FAMILIES["dijet"].build(EDGES, 3, mean, EVERYWHERE)
    fitted, _ = engine.fitted_background(built, 1e5 * mean)
    return fitted.expected(np.zeros(3)) / 1e5


def test_a_parameter_too_many_is_asked_for_as_often_as_the_test_says(three):
    mean, signal = 50_000 * three, SignalShape(3500.0, 120.0).integrals(EDGES)
    counts = np.random.default_rng(1).poisson(mean, (1000, three.size)).astype(float)
    functions = {}
    for order in (3, 4):
        built = FAMILIES["dijet"].build(EDGES, order, mean, EVERYWHERE)
        fitted, _ = engine.fitted_background(built, mean)
        functions[f"dijet {order}"] = (Channel("t", mean, signal, fitted),)
    best = profiled(functions, [counts])
    for f_test in (0.05, 0.2):
        orders = asked_orders(best, f_test)["dijet"]
        spread = 3 * np.sqrt(f_test * (1 - f_test) / len(counts))
        assert abs(np.mean(orders == 4) - f_test) < spread


def test_the_function_is_that_of_the_bins_that_are_seen(three):
    fit = SpectrumFit((EDGES[0], EDGES[-1]))
    four = FAMILIES["dijet"].build(EDGES, 4, three, EVERYWHERE)
    four = four.expected(np.array([0.0, 6.0, 6.5, 1.0]))
    for mean, parameters in ((1e6 * three, 3), (1e6 * four / four.sum(), 4)):
        spectrum = Spectrum("t", EDGES, mean)
        assert chosen_function(spectrum, EVERYWHERE, fit).parameters == parameters
    # A resonance asks for more parameters only where it is seen.
    signal = SignalShape(4500.0, 120.0)
    spectrum = Spectrum("t", EDGES, 1e6 * three + 5e3 * signal.integrals(EDGES))
    assert chosen_function(spectrum, outside_signal(EDGES, signal), fit).parameters == 3
    assert chosen_function(spectrum, EVERYWHERE, fit).parameters > 3
    few = Spectrum("t", EDGES, np.where(np.arange(three.size) < 2, 9.0, 0.0))
    with pytest.raises(FitError, match=r"t: 2 of 110 bins .* hold events, too few for a function"):
        chosen_function(few, EVERYWHERE, fit)


def test_spectra_of_the_same_content_share_their_fits_and_others_do_not(three):
    fit, signals = SpectrumFit((EDGES[0], EDGES[-1])), [SignalShape(3500.0, 120.0)]
    counts = np.random.default_rng(4).poisson(20_000 * three).astype(float)

    def made(each: Spectrum, seen: SpectrumFit = fit) -> int:
        before = _fitted.cache_info().misses
        spectrum_models([each], signals, seen)
        return _fitted.cache_info().misses - before

    _fitted.cache_clear()
    assert made(Spectrum("t", EDGES, counts)) > 10
    assert made(Spectrum("t", EDGES.copy(), counts.copy())) == 0
    changed = counts.copy()
    changed[50] += 1
    for other in (
        Spectrum("t", EDGES, changed),
        Spectrum("t", EDGES + 1, counts),
        Spectrum("t", EDGES, counts, efficiency=np.full(counts.size, 0.9)),
    ):
        assert made(other) > 10, other
    assert made(Spectrum("t", EDGES, counts), replace(fit, sqrt_s=14_000.0)) > 10


@pytest.mark.parametrize(
    ("events", "toys", "bins", "calibration"),
    [(50_000, 150, slice(0, 40), "asymptotic"), (500, 24, slice(None), "toys")],
)
def test_goodness_of_fit_is_uniform_for_its_own_function(three, events, toys, bins, calibration):
    edges = EDGES[: bins.stop + 1 if bins.stop else None]
    mean = events * three[bins]
    seen = np.ones(mean.size, dtype=bool)
    family, _ = engine.fitted_background(FAMILIES["dijet"].build(edges, 3, mean, seen), mean)
    channel = Channel("all", mean, np.zeros(mean.size), family)
    random, found = np.random.default_rng(2), []
    for toy in range(toys):
        one = replace(channel, observed=random.poisson(mean).astype(float))
        fit = engine.background_fit([one])
        p, kind = goodness_of_fit(one, family.expected(fit.phi[0]), seed=toy)
        assert kind == calibration
        found.append(p)
    assert kstest(found, "uniform").pvalue > 0.01


def test_every_function_is_tested_once_however_often_the_test_is_asked_for(three, monkeypatch):
    tested = []
    discoveries = engine.discoveries

    def noted(channels, *args, **kwargs):
        tested.append((channels[0].background, float(channels[0].signal.argmax())))
        return discoveries(channels, *args, **kwargs)

    monkeypatch.setattr(engine, "discoveries", noted)
    counts = np.random.default_rng(5).poisson(20_000 * three).astype(float)
    fit = SpectrumFit((EDGES[0], EDGES[-1]))
    signals = [SignalShape(mass, 120.0) for mass in (3500.0, 4000.0)]
    models = spectrum_models([Spectrum("t", EDGES, counts)], signals, fit)
    plain = [model for model in models if not model.spurious_events]
    assert plain
    assert all(model.test.q0 >= 0 and model.near > 0 for model in plain)
    assert len(tested) == len(set(tested)) > 20


def test_scoring_begins_beside_the_maximum_of_full_and_of_empty_bins(three):
    for events in (200, 50_000):
        counts = np.random.default_rng(6).poisson(events * three).astype(float)
        family = FAMILIES["dijet"].build(EDGES, 4, counts, EVERYWHERE).normalised(events)
        start = family.whitened(np.zeros(4))
        channel = Channel("t", counts, np.zeros_like(counts), start)
        near = engine._near_the_fit(start, counts)
        found = engine.background_fit([channel])
        assert found.converged
        np.testing.assert_allclose(near, found.phi[0], atol=2e-3)
        assert np.abs(found.phi[0]).max() > 0.1
