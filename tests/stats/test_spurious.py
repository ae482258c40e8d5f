from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.stats import BumpHuntResult, bump_hunt, engine
from tnt_coffea.stats.engine import Channel
from tnt_coffea.stats.envelope import enveloped
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.signals import gaussian
from tnt_coffea.stats.spectrum import SpectrumFit
from tnt_coffea.stats.spurious import spurious_signal

EDGES = np.arange(2600.0, 7001.0, 40.0)
FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0)
AT_3500 = {"mass": 3500.0, "width": 120.0, "fit": FIT}
ENVELOPE = ("exponential", "power_law", "bernstein")


@pytest.fixture(scope="module")
def mean(falling_shape):
    return falling_shape.reshape(-1, 2).sum(axis=1)


def gate(mean, events, family, order):
    seen = np.ones(mean.size, dtype=bool)
    built = FAMILIES[family].build(EDGES, order, events * mean, seen)
    background, _ = engine.fitted_background(built, events * mean)
    one = (Channel("all", events * mean, gaussian(EDGES, 3500, 120), background),)
    null = engine.background_fits(one, [events * mean[None]])
    sigma = float(engine.signal_uncertainties(one, [events * mean[None]], null)[0])
    return spurious_signal({f"{family} {order}": one}, [events * mean], "dijet-4", sigma)


def test_truth_of_the_own_family_makes_no_spurious_signal(mean):
    assert gate(mean, 50_000, "dijet", 4).relative == pytest.approx(0.0, abs=1e-4)
    assert not gate(mean, 50_000, "dijet", 3).is_biased


def test_gate_flags_functions_that_bias(mean):
    for family, order in (("dijet", 2), ("power_law", 2), ("cubic", 4)):
        assert gate(mean, 50_000, family, order).is_biased, family
    # A false-positive rate of 100 % belongs to the first of them.
    assert gate(mean, 50_000, "dijet", 2).relative > 3


def test_bias_grows_with_the_root_of_the_events(mean):
    few, many = (gate(mean, n, "dijet", 2).relative for n in (2_000, 50_000))
    assert many == pytest.approx(5 * few, rel=0.05)


def test_two_parameters_are_flagged_in_a_real_fit(toy_spectrum):
    two = replace(FIT, min_parameters=2, max_parameters=2)
    found = bump_hunt(toy_spectrum(20_000, 0, 73), **AT_3500 | {"fit": two})
    assert not found.unbiased
    assert "FAILS" in found.summary()


def test_envelope_is_never_more_significant_than_its_penalised_best(toy_spectrum):
    histogram = toy_spectrum(3000, 90, 74)
    fit = replace(FIT, envelope=ENVELOPE)
    found = bump_hunt(histogram, **AT_3500 | {"fit": fit})
    assert found.converged, found.notes
    assert {f.family for f in found.envelope} == {"dijet", *ENVELOPE}
    best = min(found.envelope, key=lambda f: f.best)
    null = min(f.null for f in found.envelope)
    assert found.family == best.family
    assert found.q0 == pytest.approx(2 * (null - best.best), abs=1e-3)
    assert found.z == pytest.approx(found.z_numpy, abs=1e-3)
    for one in found.envelope:
        alone = replace(
            FIT.with_family(one.family),
            min_parameters=one.parameters,
            max_parameters=one.parameters,
        )
        alone = bump_hunt(histogram, **AT_3500 | {"fit": alone})
        assert alone.z == pytest.approx(one.z, abs=1e-3)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert BumpHuntResult.from_dict(json.loads(text)) == found


def test_envelope_keeps_the_false_positive_rate(mean):
    toys = 1500
    expected = 3000 * mean
    seen = np.ones(mean.size, dtype=bool)
    models = {
        f"{name} 3": (
            Channel(
                "all",
                expected,
                gaussian(EDGES, 3500, 120),
                engine.fitted_background(FAMILIES[name].build(EDGES, 3, expected, seen), expected)[
                    0
                ],
            ),
        )
        for name in ("dijet", "exponential", "bernstein")
    }
    counts = engine.toy_counts([expected], toys, np.random.default_rng(75))
    found = enveloped(models, counts)
    assert found.converged.all()
    rate = np.mean(np.sqrt(found.q0) > 1.6448536)
    assert abs(rate - 0.05) < 3 * np.sqrt(0.05 * 0.95 / toys)


def test_interval_covers_the_signal(toy_spectrum):
    found = bump_hunt(toy_spectrum(5000, 120, 78), **AT_3500)
    low, high = found.interval
    assert 0 < low < found.mu_hat < high
    assert high - low == pytest.approx(2 * found.mu_uncertainty, rel=0.1)
    none = bump_hunt(toy_spectrum(5000, 0, 79), **AT_3500)
    assert none.interval[0] >= 0
