from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.stats import (
    BumpHuntResult,
    bump_hunt,
    engine,
    nuisance_impacts,
    scan,
    upper_limit,
)
from tnt_coffea.stats.engine import Channel
from tnt_coffea.stats.envelope import Profile, enveloped, profiled
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.scans import hypothesis_tests, prepared_selection, scanned_toys
from tnt_coffea.stats.signals import gaussian
from tnt_coffea.stats.spectrum import spectra
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.spurious import spurious_fits, spurious_signal, with_spurious

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


def model(events, truth, fitted, mass=3500.0, toys=None):
    """Return the channels of dijet functions around a truth, by order, and counts of toys."""
    expected = events * truth
    seen = np.ones(truth.size, dtype=bool)
    functions = {}
    for order in fitted:
        built = FAMILIES["dijet"].build(EDGES, order, expected, seen)
        background, _ = engine.fitted_background(built, expected)
        functions[f"dijet {order}"] = (
            Channel("all", expected, gaussian(EDGES, mass, 120), background),
        )
    random = np.random.default_rng(81)
    counts = expected[None] if toys is None else random.poisson(expected, (toys, truth.size))
    return functions, [np.asarray(counts, dtype=float)]


def gates(functions, others, counts):
    best, found = (enveloped(f, counts).best for f in (functions, others))
    return spurious_fits(functions, others, counts, best, found)


@pytest.fixture(scope="module")
def cubic():
    """A truth that a dijet function needs five parameters for: the exponential of a cubic."""
    x = np.log(0.5 * (EDGES[1:] + EDGES[:-1]) / EDGES[0])
    density = np.exp(-7.2 * x - x**2 - 2.5 * x**3)
    return density / density.sum()


def test_spurious_signal_of_a_wrong_function_has_the_size_of_its_bias(cubic):
    functions, counts = model(1e7, cubic, (3, 5))
    three, five = ({name: functions[name]} for name in functions)
    found = gates(three, five, counts)
    # Without fluctuations the function of five parameters is the truth.
    free = profiled(three, counts, signed=True)
    assert found.events[0, 0] == pytest.approx(free.mu[0], rel=2e-3)
    assert found.events[0, 0] > 3 * found.sigma[0]
    null = enveloped(three, counts).best
    assert found.gain[0, 0] == pytest.approx(null.nll[0] - 2.5, abs=0.02)
    assert found.counted.all()
    # Hausman, Econometrica 46 (1978) 1251: the variances' difference is that of the estimates.
    own = engine.signal_uncertainties(
        five["dijet 5"], counts, enveloped(five, counts).best.fits["dijet 5"]
    )
    error = np.sqrt(own[0] ** 2 - found.sigma[0] ** 2)
    assert found.size[0] == pytest.approx(found.events[0, 0] + error, rel=1e-3)


def test_uncertainty_of_a_spurious_signal_is_the_spread_of_toys(mean):
    functions, counts = model(50_000, mean, (4, 6), toys=300)
    four, six = ({name: functions[name]} for name in functions)
    found = gates(four, six, counts)
    known = np.isfinite(found.events[0])
    assert known.mean() > 0.98
    spread = np.std(found.events[0, known])
    # 300 toys know a width to 4 %; mu >= 0 in half of them moves it by as much.
    assert spread == pytest.approx(np.mean(found.error[0, known]), rel=0.15)
    assert np.mean(found.size > 0) < 0.05


def test_failed_fits_have_no_spurious_signal(mean):
    functions, counts = model(50_000, mean, (3, 5))
    three, five = ({name: functions[name]} for name in functions)
    best, found = (enveloped(f, counts).best for f in (three, five))
    # As a fit that stopped far below the minimum, with numbers that mean nothing.
    fits = found.fits["dijet 5"]
    wild = replace(fits, nll=fits.nll - 1e6, converged=np.zeros(1, dtype=bool))
    failed = spurious_fits(three, five, counts, best, Profile({"dijet 5": wild}, found.penalties))
    overflown = replace(fits, nll=fits.nll - 1e6, phi=(fits.phi[0] + 1e5,))
    over = spurious_fits(
        three, five, counts, best, Profile({"dijet 5": overflown}, found.penalties)
    )
    for one in (failed, over):
        assert np.isnan(one.events).all()
        assert np.isnan(one.gain).all()
        assert one.size[0] == 0
        assert one.signals() == ()


TWO = replace(FIT, min_parameters=2, max_parameters=2)


@pytest.mark.slow
def test_spurious_signal_enters_every_test_alike(toy_spectrum):
    histogram, settings = toy_spectrum(20_000, 0, 73), AT_3500 | {"fit": TWO}
    found = bump_hunt(histogram, **settings)
    worst = max(found.spurious, key=lambda s: abs(s.relative) * s.is_biased)
    assert worst.is_biased
    assert not found.unbiased
    assert found.spurious_uncertainty > abs(worst.events)
    assert dict(found.nuisances).keys() == {"spurious_signal"}
    assert f"a nuisance parameter of {found.spurious_uncertainty:.1f} events" in found.summary()
    assert sum("describes the spectrum better" in note for note in found.notes) == 1
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert BumpHuntResult.from_dict(json.loads(text)) == found
    point = scan(histogram, masses=[3500.0], width=120.0, fit=TWO, toys=0)
    limit = upper_limit(histogram, **settings)
    impacts = {one.name: one for one in nuisance_impacts(histogram, **settings)}
    by_toys = bump_hunt(histogram, **settings, toys=200)
    # Without it the truth, which has no signal, has a signal of four sigma.
    settings["fit"] = replace(TWO, spurious=False)
    without = bump_hunt(histogram, **settings)
    assert without.spurious == found.spurious
    assert without.spurious_uncertainty == 0
    assert without.z > 4
    assert found.z < 1.645
    # mu is what the data say together with theta = 0 +- 1.
    assert found.mu_hat == pytest.approx(without.mu_hat, rel=0.02)
    assert found.mu_uncertainty == pytest.approx(
        np.hypot(without.mu_uncertainty, found.spurious_uncertainty), rel=0.1
    )
    assert found.converged, found.notes
    for one in (point.best_point, limit):
        assert one.spurious_uncertainty == pytest.approx(found.spurious_uncertainty, rel=1e-3)
    assert point.best_point.z == pytest.approx(found.z, abs=1e-2)
    assert any("at 3500 GeV" in note and "spurious" in note for note in point.notes)
    assert limit.observed > upper_limit(histogram, **settings).observed
    assert any("describes the spectrum better" in note for note in limit.notes)
    assert impacts["spurious_signal"].up == pytest.approx(-found.spurious_uncertainty, rel=0.1)
    assert by_toys.p_value == pytest.approx(found.p_value, abs=0.1)


def test_published_function_stays_as_it_was_published(toy_spectrum):
    found = bump_hunt(toy_spectrum(50_000, 0, 73), **AT_3500 | {"fit": FIT.with_family("cubic")})
    assert not found.unbiased
    assert found.spurious_uncertainty == 0
    assert any("no uncertainty is added for it" in note for note in found.notes)


def test_masses_without_a_spurious_signal_share_a_scan_with_those_that_have_one(toy_spectrum):
    data = spectra(toy_spectrum(5000, 0, 73), FIT)
    signals = [FIT.signal(mass, 120.0) for mass in (3300.0, 3500.0)]
    plain = prepared_selection("all", data, signals, FIT)
    first, second = plain.models
    gated = replace(second, functions=with_spurious(second.functions, 30.0))
    for models in ((first, gated), (gated, first)):
        mixed = replace(plain, models=models)
        assert mixed.nuisances == ("spurious_signal",)
        counts = engine.toy_counts(mixed.null, 20, np.random.default_rng(82))
        centres = np.random.default_rng(83).normal(size=(20, 1))
        for one, test in zip(models, hypothesis_tests(mixed, counts, centres), strict=True):
            own = centres if one is gated else None
            alone = enveloped(one.functions, counts, centres=own)
            np.testing.assert_allclose(test.q0, alone.q0, atol=2e-3)
    q0, failed = scanned_toys([mixed], None, 20, 1)
    assert q0.shape == (20, 2)
    assert failed == 0


@pytest.mark.slow
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


def test_interval_holds_the_best_signal_and_begins_at_zero_where_none_is_seen(toy_spectrum):
    found = bump_hunt(toy_spectrum(5000, 120, 78), **AT_3500)
    low, high = found.interval
    assert 0 < low < found.mu_hat < high
    assert high - low == pytest.approx(2 * found.mu_uncertainty, rel=0.1)
    none = bump_hunt(toy_spectrum(5000, 0, 79), **AT_3500)
    assert none.interval[0] == 0 < none.mu_hat < none.interval[1]
