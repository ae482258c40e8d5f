from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.stats import poisson
from tnt_coffea.stats.background import LogLinear, dijet_function
from tnt_coffea.stats.orders import chosen_background
from tnt_coffea.stats.poisson import Channel
from tnt_coffea.stats.resonance import gaussian
from tnt_coffea.stats.spectra import Spectrum

EDGES = np.arange(2600.0, 7001.0, 40.0)


def flat_background(expected):
    offset = np.log(np.asarray(expected, dtype=float))[:, None]
    return LogLinear(offset, np.ones((len(expected), 1, 1)))


def channel(observed, parameters=3, share=1.0, name="all"):
    family, _ = poisson.fitted_background(dijet_function(EDGES, parameters), observed)
    return Channel(name, observed, share * gaussian(EDGES, 3500.0, 120.0), family)


@pytest.fixture(scope="module")
def mean(falling_shape):
    return falling_shape.reshape(-1, 2).sum(axis=1)


def test_normalisation_alone_gives_the_total():
    observed = np.array([3.0, 0.0, 9.0])
    family, fit = poisson.fitted_background(flat_background([1, 1, 1]), observed)
    assert fit.converged
    np.testing.assert_allclose(family.expected(np.zeros(1)), 4.0, rtol=1e-8)


def test_gradient_is_that_of_the_likelihood(mean):
    one = channel(np.random.default_rng(3).poisson(500 * mean).astype(float), parameters=4)
    phi = np.array([0.3, -0.2, 0.5, 0.1])
    gradient, hessian, _ = poisson._derivatives([one], 4.0, [phi], True)
    step = 1e-4
    points = np.concatenate([[4.0], phi])
    for i in range(5):
        up, down = points.copy(), points.copy()
        up[i] += step
        down[i] -= step
        slope = poisson._nll([one], up[0], [up[1:]]) - poisson._nll([one], down[0], [down[1:]])
        assert gradient[i] == pytest.approx(slope / (2 * step), rel=1e-5, abs=1e-6)
        change = (
            poisson._derivatives([one], up[0], [up[1:]], True)[0]
            - poisson._derivatives([one], down[0], [down[1:]], True)[0]
        )
        np.testing.assert_allclose(hessian[i], change / (2 * step), rtol=1e-5, atol=1e-5)


def test_asimov_data_return_the_signal_injected(mean):
    for events, injected in ((50_000, 220.0), (1_200, 40.0), (60, 12.0)):
        one = channel(events * mean, parameters=4)
        asimov = events * mean + injected * one.signal
        test = poisson.discovery([replace(one, observed=asimov)])
        assert test.converged
        assert test.best.mu == pytest.approx(injected, rel=1e-3)


def test_asimov_significance_scales_with_the_root_of_the_luminosity(mean):
    def z(scale):
        one = channel(scale * 1000 * mean)
        asimov = scale * (1000 * mean + 30 * one.signal)
        return poisson.discovery([replace(one, observed=asimov)]).z

    assert z(9.0) == pytest.approx(3 * z(1.0), rel=1e-4)
    assert z(1.0) > 1


def test_asimov_significance_of_channels_adds_in_quadrature(mean):
    parts = [channel(events * mean, share=0.5, name=str(events)) for events in (900, 300)]
    data = [replace(c, observed=c.observed + 60 * c.signal) for c in parts]
    together = poisson.discovery(data).z
    alone = [poisson.discovery([c]).z for c in data]
    assert together == pytest.approx(np.hypot(*alone), rel=1e-3)


def test_deficit_is_no_discovery_and_needs_no_second_fit(mean):
    one = channel(1000 * mean)
    test = poisson.discovery([replace(one, observed=1000 * mean - 20 * one.signal)])
    assert test.q0 == 0.0
    assert test.best is test.background


def test_no_fit_fails_at_thirty_events_with_four_parameters(mean):
    random = np.random.default_rng(5)
    for _ in range(150):
        one = channel(random.poisson(30 * mean).astype(float), parameters=4)
        assert poisson.discovery([one]).converged


@pytest.mark.parametrize("events", [300, 20_000])
def test_false_positive_rate_is_nominal(mean, events):
    random = np.random.default_rng(6)
    toys = 1200
    truth = channel(events * mean, parameters=3)
    z = np.array(
        [
            poisson.discovery(poisson.toy_channels([truth], [events * mean], random)).z
            for _ in range(toys)
        ]
    )
    rate = np.mean(z > 1.6448536)
    assert abs(rate - 0.05) < 3 * np.sqrt(0.05 * 0.95 / toys)


def test_false_positive_rate_includes_the_choice_of_the_function(mean):
    random = np.random.default_rng(11)
    signal = gaussian(EDGES, 3500.0, 120.0)
    z = []
    for _ in range(1000):
        counts = random.poisson(1200 * mean).astype(float)
        family = chosen_background(Spectrum("all", EDGES, counts, False), 3500, 120, 3, 4, 0.05)
        z.append(poisson.discovery([Channel("all", counts, signal, family)]).z)
    rate = np.mean(np.array(z) > 1.6448536)
    assert abs(rate - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_deviance_of_the_observation_itself_is_zero():
    observed = np.array([0.0, 1.0, 20.0])
    assert poisson.deviance(observed, observed) == pytest.approx(0.0, abs=1e-12)
    expected = np.array([1.0, 4.0, 15.0])
    pulls = poisson.pulls(observed, expected)
    assert np.sum(pulls**2) == pytest.approx(poisson.deviance(observed, expected))
    assert list(np.sign(pulls)) == [-1.0, -1.0, 1.0]
