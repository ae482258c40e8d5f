"""pyhf and the numpy engine are two minimisers of one likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.stats import engine
from tnt_coffea.stats.engine import Channel
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.likelihood import nuisance_names
from tnt_coffea.stats.pyhf_fit import asimov_closure, background_test, pyhf_test
from tnt_coffea.stats.pyhf_model import joined_data, nuisance_positions, smooth_model
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


def with_nuisances(channels, spurious=0.0, factors=None):
    return [replace(channel, spurious=spurious, factors=factors) for channel in channels]


# What a trigger that turns on may differ by, and its plateau: log of the efficiency per bin.
FACTORS = np.stack([0.2 * np.exp(-(EDGES[:-1] - 2600) / 200), np.full(EDGES.size - 1, 0.02)], 1)


@pytest.mark.parametrize(
    ("events", "moves", "spurious", "factors"),
    [
        (50_000, False, 40.0, None),
        (5000, False, 0.0, FACTORS),
        (5000, True, 15.0, FACTORS[:, :1]),
        (500, False, 4.0, FACTORS[:, :1]),
    ],
)
def test_z_agrees_with_a_spurious_signal_and_a_trigger(events, moves, spurious, factors, mean):
    shape = SignalShape(3500, 120, scale_uncertainty=0.01 * moves, width_uncertainty=0.1 * moves)
    channels = with_nuisances(models(events * mean, shape), spurious, factors)
    assert largest_difference(channels, spectra_with_signal(events, mean, 4, 5)) < 1e-3


def test_nuisances_and_expectations_agree(mean):
    shape = SignalShape(3500, 120, width_uncertainty=0.1)
    channels = with_nuisances(models(5000 * mean, shape), 15.0, FACTORS)
    # A spectrum with which the trigger's turn-on and the signal disagree.
    bent = channels[0].observed * np.exp(1.5 * FACTORS[:, 0]) + 80 * channels[0].signal
    own = [replace(channels[0], observed=bent)]
    check = engine.discovery(own)
    reported = pyhf_test(own, check)
    assert nuisance_names(own) == (
        "signal_width",
        "spurious_signal",
        "trigger_efficiency_0",
        "trigger_efficiency_1",
    )
    assert reported.alpha == pytest.approx(check.best.alpha, abs=2e-3)
    null = reported.test.background[nuisance_positions(reported.model)]
    assert null == pytest.approx(np.array(check.background.alpha), abs=2e-3)
    assert null[1] > 0.1
    assert abs(null[2]) > 0.1
    points = (
        (0.0, check.background, reported.background),
        (check.best.mu, check.best, reported.full),
    )
    for mu, fit, found in points:
        alpha, phi = np.array([fit.alpha]), fit.phi[0][None]
        expected = own[0].expected(np.array([mu]), alpha, phi)[0]
        np.testing.assert_allclose(found(own[0]), expected, rtol=2e-3)
    # Asimov data include what measures the nuisance parameters.
    assert asimov_closure(reported) == pytest.approx(1.0, abs=2e-3)


def test_auxiliary_data_of_pyhf_are_the_centres_of_constraints(mean):
    shape = SignalShape(3500, 120, width_uncertainty=0.1)
    (one,) = with_nuisances(models(5000 * mean, shape), 15.0, FACTORS[:, :1])
    one = replace(one, observed=one.observed + 80 * one.signal)
    centres = np.array([[-0.8, -1.1, 0.9]])
    test = engine.discoveries([one], [one.observed[None]], centres=centres)
    unmoved = engine.discovery([one])
    model = smooth_model([one], 10.0, 100.0)
    measured = np.array(model.config.suggested_init())
    measured[nuisance_positions(model)] = centres[0]
    data = joined_data(model, {"all": one.observed}, measured)
    found = background_test(model, data)
    assert found.z == pytest.approx(test.z[0], abs=1e-3)
    assert abs(found.z - unmoved.z) > 0.1
    np.testing.assert_allclose(found.best[nuisance_positions(model)], test.best.alpha[0], atol=2e-3)
