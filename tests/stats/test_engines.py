"""pyhf and the numpy engine are two minimisers of one likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.stats import engine
from tnt_coffea.stats.engine import Channel
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.pyhf_fit import pyhf_test
from tnt_coffea.stats.signals import SignalShape, Template

EDGES = np.arange(2600.0, 7001.0, 40.0)
REGIMES = (50_000, 500, 50)


@pytest.fixture(scope="module")
def mean(falling_shape):
    return falling_shape.reshape(-1, 2).sum(axis=1)


def models(expected, shape, family="dijet", parameters=3):
    seen = np.ones(expected.size, dtype=bool)
    built = FAMILIES[family].build(EDGES, parameters, expected, seen)
    background, _ = engine.fitted_background(built, expected)
    template = Template(shape, EDGES, 1.0) if shape.nuisances else None
    return [Channel("all", expected, shape.integrals(EDGES), background, template)]


def largest_difference(channels, counts):
    tests = engine.discoveries(channels, [counts])
    assert tests.converged.all()
    differences = []
    for i, observed in enumerate(counts):
        own = [replace(channels[0], observed=observed)]
        check = engine.Discovery(tests.background.one(i), tests.best.one(i), float(tests.q0[i]))
        reported = pyhf_test(own, check)
        assert reported.test.minimiser == "minuit"
        differences.append(abs(reported.test.z - check.z))
    return max(differences)


def spectra_with_signal(events, mean, toys, seed):
    signal = SignalShape(3500, 120).integrals(EDGES)
    expected = events * mean + np.sqrt(0.12 * events) * signal
    return np.random.default_rng(seed).poisson(expected, (toys, mean.size)).astype(float)


@pytest.mark.parametrize("events", REGIMES)
def test_z_agrees(events, mean):
    channels = models(events * mean, SignalShape(3500, 120))
    assert largest_difference(channels, spectra_with_signal(events, mean, 12, 1)) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("events", REGIMES)
def test_z_agrees_in_two_hundred_toys(events, mean):
    channels = models(events * mean, SignalShape(3500, 120))
    assert largest_difference(channels, spectra_with_signal(events, mean, 200, 2)) < 1e-3


@pytest.mark.parametrize("events", [5000, 50])
@pytest.mark.parametrize("family", [f.name for f in FAMILIES.values() if not f.reproduction_only])
def test_z_agrees_for_every_family(family, events, mean):
    channels = models(events * mean, SignalShape(3500, 120), family)
    assert largest_difference(channels, spectra_with_signal(events, mean, 4, 3)) < 1e-3


def test_z_agrees_for_a_crystal_ball_that_may_move(mean):
    shape = SignalShape(
        3500, 120, "double_crystal_ball", scale_uncertainty=0.01, width_uncertainty=0.1
    )
    channels = models(5000 * mean, shape)
    assert largest_difference(channels, spectra_with_signal(5000, mean, 6, 4)) < 1e-3
