from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.background import LogLinear, dijet_function
from tnt_coffea.stats.cls import AsymptoticCls, crossing
from tnt_coffea.stats.engine import Channel
from tnt_coffea.stats.envelope import (
    Envelope,
    asked_orders,
    competing,
    enveloped,
    mu_interval,
    order_of,
    profiled,
)
from tnt_coffea.stats.likelihood import Likelihood, nuisance_names
from tnt_coffea.stats.newton import solved, solved_singly
from tnt_coffea.stats.signals import SignalShape, Template, gaussian

EDGES = np.arange(2600.0, 7001.0, 40.0)


def flat_background(expected):
    offset = np.log(np.asarray(expected, dtype=float))[:, None]
    return LogLinear(offset, np.ones((len(expected), 1, 1)))


def channel(observed, parameters=3, share=1.0, name="all"):
    family, _ = engine.fitted_background(dijet_function(EDGES, parameters), observed)
    return Channel(name, observed, share * gaussian(EDGES, 3500.0, 120.0), family)


@pytest.fixture(scope="module")
def mean(falling_shape):
    return falling_shape.reshape(-1, 2).sum(axis=1)


def test_normalisation_alone_gives_the_total():
    observed = np.array([3.0, 0.0, 9.0])
    family, fit = engine.fitted_background(flat_background([1, 1, 1]), observed)
    assert fit.converged
    np.testing.assert_allclose(family.expected(np.zeros(1)), 4.0, rtol=1e-8)


# Relative uncertainties of a trigger that turns on: per bin and nuisance parameter.
FACTORS = np.stack([0.3 * np.exp(-(EDGES[:-1] - 2600) / 150), np.full(EDGES.size - 1, 0.02)], 1)


@pytest.mark.parametrize("spurious", [0.0, 8.0])
@pytest.mark.parametrize("factors", [None, FACTORS[:, :1], FACTORS], ids=["0", "1", "2"])
@pytest.mark.parametrize("moves", [True, False])
def test_derivatives_are_those_of_the_likelihood(mean, spurious, factors, moves):
    shape = SignalShape(3500, 120, scale_uncertainty=0.02, width_uncertainty=0.1)
    counts = np.random.default_rng(3).poisson(500 * mean).astype(float)
    # The shares of two channels differ, their nuisance parameters do not.
    two = [
        replace(
            channel(counts, 4, share, name),
            template=Template(shape, EDGES, share) if moves else None,
            spurious=spurious,
            factors=factors,
        )
        for name, share in (("one", 0.7), ("two", 0.3))
    ]
    names = nuisance_names(two)
    alpha = np.resize([0.5, -0.4, -1.2, 0.7, 0.3], len(names))
    points = np.concatenate([[14.0], alpha, [0.3, -0.2, 0.5, 0.1], [0.1, 0.2, -0.3, 0.4]])[None]
    size, rows = points.shape[1], np.arange(1)
    centres = np.full((1, len(names)), 0.6)
    likelihood = Likelihood(
        two, [counts[None]] * 2, points, np.arange(size), -np.inf, centres=centres
    )
    gradient, hessian = likelihood.derivatives(points, rows)
    step = 1e-4
    for i in range(size):
        up, down = points.copy(), points.copy()
        up[0, i] += step
        down[0, i] -= step
        slope = (likelihood.value(up, rows) - likelihood.value(down, rows)) / (2 * step)
        assert gradient[0, i] == pytest.approx(slope[0], rel=1e-5, abs=1e-6)
        change = likelihood.derivatives(up, rows)[0] - likelihood.derivatives(down, rows)[0]
        np.testing.assert_allclose(hessian[0, i], change[0] / (2 * step), rtol=1e-5, atol=1e-5)


def test_toys_fitted_together_are_those_fitted_alone(mean):
    one = channel(500 * mean, parameters=3)
    counts = engine.toy_counts([500 * mean], 300, np.random.default_rng(8))
    together = engine.discoveries([one], counts)
    assert together.converged.all()
    for i in (0, 17, 255, 256, 299):
        alone = engine.discovery([replace(one, observed=counts[0][i])])
        assert together.q0[i] == pytest.approx(alone.q0, abs=1e-7)
        assert together.best.mu[i] == pytest.approx(alone.best.mu, abs=1e-3)


def test_background_fits_serve_hypotheses_that_differ_in_the_signal(mean):
    one = channel(500 * mean)
    other = replace(one, signal=gaussian(EDGES, 4000.0, 120.0))
    counts = engine.toy_counts([500 * mean], 50, np.random.default_rng(9))
    null = engine.background_fits([one], counts)
    np.testing.assert_allclose(
        engine.discoveries([other], counts, null).q0,
        engine.discoveries([other], counts).q0,
        atol=1e-7,
    )


def test_uncertain_scale_finds_a_shifted_signal(mean):
    shape = SignalShape(3500.0, 120.0, scale_uncertainty=0.03)
    plain = channel(5000 * mean)
    moving = replace(plain, template=Template(shape, EDGES, 1.0))
    counts = 5000 * mean + 120 * gaussian(EDGES, 3500 * np.exp(0.05), 120.0)
    fixed = engine.discovery([replace(plain, observed=counts)])
    free = engine.discovery([replace(moving, observed=counts)])
    assert free.converged
    assert free.z > fixed.z
    assert 0.5 < free.best.alpha[0] < 5 / 3
    # A nuisance parameter costs half its square.
    nowhere = engine.discovery([replace(moving, observed=5000 * mean + 60 * plain.signal)])
    assert nowhere.best.alpha[0] == pytest.approx(0.0, abs=0.02)


def test_vanishing_uncertainties_change_nothing(mean):
    counts = np.random.default_rng(12).poisson(1000 * mean + 40 * gaussian(EDGES, 3500, 120))
    plain = replace(channel(1000 * mean), observed=counts.astype(float))
    shape = SignalShape(3500.0, 120.0, scale_uncertainty=1e-5, width_uncertainty=1e-5)
    moving = replace(plain, template=Template(shape, EDGES, 1.0))
    assert engine.discovery([moving]).q0 == pytest.approx(engine.discovery([plain]).q0, abs=1e-4)


def test_signed_fit_finds_a_deficit(mean):
    one = channel(5000 * mean, parameters=4)
    counts = [(5000 * mean - 30 * one.signal)[None]]
    null = engine.background_fits([one], counts)
    assert engine.signal_fits([one], counts, null, signed=True).mu[0] == pytest.approx(
        -30, rel=1e-3
    )
    assert engine.signal_fits([one], counts, null).mu[0] == 0.0


def test_fixed_mu_profiles_the_background(mean):
    one = channel(5000 * mean)
    counts = [(5000 * mean + 50 * one.signal)[None]]
    null = engine.background_fits([one], counts)
    best = engine.signal_fits([one], counts, null)
    there = engine.signal_fits([one], counts, null, mu=float(best.mu[0]))
    assert there.nll[0] == pytest.approx(best.nll[0], abs=1e-8)
    sigma = engine.signal_uncertainties([one], counts, best)[0]
    beside = engine.signal_fits([one], counts, null, mu=float(best.mu[0] + sigma))
    assert beside.nll[0] - best.nll[0] == pytest.approx(0.5, abs=0.03)


def test_asimov_data_return_the_signal_injected(mean):
    for events, injected in ((50_000, 220.0), (1_200, 40.0), (60, 12.0)):
        one = channel(events * mean, parameters=4)
        asimov = events * mean + injected * one.signal
        test = engine.discovery([replace(one, observed=asimov)])
        assert test.converged
        assert test.best.mu == pytest.approx(injected, rel=1e-3)


def test_asimov_significance_scales_with_the_root_of_the_luminosity(mean):
    def z(scale):
        one = channel(scale * 1000 * mean)
        asimov = scale * (1000 * mean + 30 * one.signal)
        return engine.discovery([replace(one, observed=asimov)]).z

    assert z(9.0) == pytest.approx(3 * z(1.0), rel=1e-4)
    assert z(1.0) > 1


def test_asimov_significance_of_channels_adds_in_quadrature(mean):
    parts = [channel(events * mean, share=0.5, name=str(events)) for events in (900, 300)]
    data = [replace(c, observed=c.observed + 60 * c.signal) for c in parts]
    together = engine.discovery(data).z
    alone = [engine.discovery([c]).z for c in data]
    assert together == pytest.approx(np.hypot(*alone), rel=1e-3)


def test_deficit_is_no_discovery_and_needs_no_second_fit(mean):
    one = channel(1000 * mean)
    test = engine.discovery([replace(one, observed=1000 * mean - 20 * one.signal)])
    assert test.q0 == 0.0
    assert test.best.mu == 0.0
    assert test.best.nll == test.background.nll


def test_of_two_maxima_in_few_events_the_higher_one_is_found(mean):
    random = np.random.default_rng(8)
    one = channel(random.poisson(30 * mean).astype(float), parameters=4)
    counts = [random.poisson(30 * mean + 9 * one.signal, (300, mean.size)).astype(float)]
    test = engine.discoveries([one], counts)
    near = counts[0] @ one.signal / np.square(one.signal).sum()
    elsewhere = []
    for share in (0.5, 1, 2, 5):  # begin where this share of all events near the mass is signal
        begin = replace(test.background, mu=share * near)
        begin = engine.signal_fits([one], counts, begin, held=[0])
        elsewhere.append(engine.signal_fits([one], counts, begin).nll)
    assert test.converged.all()
    assert np.max(test.best.nll - np.min(elsewhere, axis=0)) < 1e-4


@pytest.mark.slow
def test_no_fit_fails_at_thirty_events_with_four_parameters(mean):
    random = np.random.default_rng(5)
    for _ in range(150):
        one = channel(random.poisson(30 * mean).astype(float), parameters=4)
        assert engine.discovery([one]).converged


@pytest.mark.parametrize("events", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_false_positive_rate_is_nominal(mean, events):
    toys = 4000
    truth = channel(events * mean, parameters=3)
    counts = engine.toy_counts([events * mean], toys, np.random.default_rng(6))
    test = engine.discoveries([truth], counts)
    assert test.converged.all()
    rate = np.mean(test.z > 1.6448536)
    assert abs(rate - 0.05) < 3 * np.sqrt(0.05 * 0.95 / toys)


# Below 1500 events the F-test chooses one function, above it several compete.
@pytest.mark.parametrize("events", [1200, pytest.param(5000, marks=pytest.mark.slow)])
def test_false_positive_rate_includes_the_choice_of_the_function(mean, events):
    toys = 2000
    counts = np.random.default_rng(11).poisson(events * mean, (toys, mean.size)).astype(float)
    functions = {f"dijet {n}": (channel(events * mean, n),) for n in (3, 4, 5)}
    test = enveloped(functions, [counts])
    (asked,) = asked_orders(test.best, f_test=0.05).values()
    assert {3, 4} <= set(asked)
    z = np.zeros(toys)
    for order in set(asked):
        kept = competing(functions, {"dijet": order}, events, near=np.inf)
        assert len(kept) == (1 if events < 1500 else 3)
        penalties = 0.5 * np.array([order_of(name) for name in kept])
        own = Envelope({name: test.tests[name] for name in kept}, penalties)
        z[asked == order] = own.z[asked == order]
    rate = np.mean(z > 1.6448536)
    assert abs(rate - 0.05) < 3 * np.sqrt(0.05 * 0.95 / toys)


def test_deviance_of_the_observation_itself_is_zero():
    observed = np.array([0.0, 1.0, 20.0])
    assert engine.deviance(observed, observed) == pytest.approx(0.0, abs=1e-12)
    expected = np.array([1.0, 4.0, 15.0])
    pulls = engine.pulls(observed, expected)
    assert np.sum(pulls**2) == pytest.approx(engine.deviance(observed, expected))
    assert list(np.sign(pulls)) == [-1.0, -1.0, 1.0]


@pytest.fixture(scope="module")
def large(mean):
    """A spectrum so large that all is Gaussian, its own expectation; and sigma of mu."""
    one = channel(5e6 * mean)
    one = replace(one, observed=one.background.expected(np.zeros(3)))
    return one, engine.signal_uncertainty([one], 0.0, [np.zeros(3)])


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_spurious_signal_adds_to_the_uncertainty_in_quadrature(large, share):
    # The signal is mu + spurious x theta, theta a unit normal: ATLAS, arXiv:1408.7084.
    one, sigma = large
    spurious = share * sigma
    both = np.hypot(sigma, spurious)
    uncertain = replace(one, spurious=spurious)
    excess = [replace(uncertain, observed=one.observed + 2 * sigma * one.signal)]
    test = engine.discovery(excess)
    assert test.converged
    assert test.best.mu == pytest.approx(2 * sigma, rel=1e-4)
    assert test.z == pytest.approx(2 * sigma / both, rel=2e-3)
    functions = {"dijet 3": tuple(excess)}
    best = profiled(functions, [excess[0].observed[None]], mu=None)
    low, high = mu_interval(functions, best, both)
    assert [low, high] == pytest.approx([max(0, 2 * sigma - both), 2 * sigma + both], rel=2e-3)
    # Without a signal the parameter takes its share of the excess.
    assert test.background.alpha[0] == pytest.approx(2 * sigma * spurious / both**2, rel=2e-3)
    counts = [one.observed[None]]
    fits = engine.background_fits([uncertain], counts)
    assert engine.signal_uncertainties([uncertain], counts, fits)[0] == pytest.approx(both, 1e-3)
    # The median of CLs halves the level: Phi^-1(1 - 0.05 / 2) of the uncertainty.
    cls = AsymptoticCls({"dijet 3": (uncertain,)})
    limit = crossing(lambda mu: cls.at(mu).expected[2], 0.05, sigma)
    assert limit == pytest.approx(1.95996 * both, rel=1e-3)


def test_the_centre_of_a_constraint_moves_the_fit(large):
    one, sigma = large
    spurious, centres = 0.5 * sigma, np.array([[-1.0], [0.7]])
    uncertain, counts = [replace(one, spurious=spurious)], [np.stack([one.observed] * 2)]
    null = engine.background_fits(uncertain, counts, centres=centres)
    c = centres[:, 0]
    # Two measurements of one number, 0 +- sigma and c +- spurious: their weighted mean.
    weighted = c * sigma**2 / (sigma**2 + spurious**2)
    np.testing.assert_allclose(null.alpha[:, 0], weighted, rtol=1e-4)
    chi_square = (c * spurious) ** 2 / (sigma**2 + spurious**2)
    np.testing.assert_allclose(2 * null.nll, chi_square, rtol=1e-3)
    best = engine.signal_fits(uncertain, counts, null, signed=True, centres=centres)
    np.testing.assert_allclose(best.mu, -c * spurious, rtol=1e-3)
    np.testing.assert_allclose(best.alpha[:, 0], c, rtol=1e-4)
    q0 = engine.discoveries(uncertain, counts, centres=centres).q0
    np.testing.assert_allclose(q0, np.where(c < 0, chi_square, 0.0), rtol=2e-3)


def test_trigger_that_scales_all_bins_alike_changes_nothing_but_itself(large):
    one, sigma = large
    # The normalisation of the background is free: only the constraint knows the efficiency.
    uncertain = replace(one, factors=np.full((one.signal.size, 1), 0.01))
    excess = one.observed + 2 * sigma * one.signal
    test = engine.discovery([replace(uncertain, observed=excess)])
    assert test.z == pytest.approx(engine.discovery([replace(one, observed=excess)]).z, rel=1e-4)
    centres = np.array([[3.0]])
    fits = engine.background_fits([uncertain], [one.observed[None]], centres=centres)
    assert fits.alpha[0, 0] == pytest.approx(3.0, abs=1e-4)
    background = uncertain.background.expected(fits.phi[0][0])
    np.testing.assert_allclose(background, one.observed * np.exp(-0.03), rtol=1e-5)


def test_trigger_is_measured_by_its_constraint_and_by_the_spectrum(mean):
    # One bin, and a background known to 1 in 1e4 from a bin that the trigger does not change.
    events, factor = 1e6, 0.002
    family = LogLinear(np.log([[events], [1e4 * events]]), np.ones((2, 1, 1)))
    one = Channel(
        "all",
        np.array([events * 1.003, 1e4 * events]),
        np.zeros(2),
        family,
        factors=np.array([[factor], [0.0]]),
    )
    fit = engine.background_fit([one])
    statistical = np.sqrt(1.003 / events)
    weight = factor**2 / (factor**2 + statistical**2)
    assert fit.converged
    assert fit.alpha[0] == pytest.approx(weight * np.log(1.003) / factor, rel=2e-3)


@pytest.mark.slow
def test_false_positive_rate_is_nominal_where_toys_randomise_the_constraints(mean):
    events, toys = 2000, 2000
    plain = channel(events * mean)
    sigma = engine.signal_uncertainty([plain], 0.0, [np.zeros(3)])
    # An efficiency that bends the background as a signal does.
    dip = 0.8 * sigma * plain.signal / (events * mean)
    one = [replace(plain, spurious=0.5 * sigma, factors=dip[:, None])]
    random = np.random.default_rng(14)
    counts = engine.toy_counts([events * mean], toys, random)
    centres = engine.toy_centres([0.0, 0.0], toys, random)
    test = engine.discoveries(one, counts, centres=centres)
    assert test.converged.all()
    rate = np.mean(test.z > 1.6448536)
    assert abs(rate - 0.05) < 3 * np.sqrt(0.05 * 0.95 / toys)
    # Where they do not, the same test hardly ever finds anything.
    assert np.mean(engine.discoveries(one, counts).z > 1.6448536) < 0.03
    # Fits of another signal serve as a start, alone and together with the others.
    null = engine.background_fits([replace(one[0], spurious=0.0)], counts, centres=centres[:, 1:])
    again = engine.discoveries(one, counts, null, centres=centres)
    np.testing.assert_allclose(again.q0, test.q0, atol=1e-6)


def test_weighted_auxiliary_measurements_are_those_of_other_parameters():
    centres = engine.toy_centres([0.5, -1.0], 20_000, np.random.default_rng(15))
    assert centres.mean(axis=0) == pytest.approx(np.array([0.5, -1.0]), abs=0.03)
    assert centres.std(axis=0) == pytest.approx(1.0, abs=0.03)
    weights = np.exp(engine.centre_ratios(centres, [0.0, -0.5], [0.5, -1.0]))
    assert weights.mean() == pytest.approx(1.0, abs=0.03)
    assert weights @ centres / len(centres) == pytest.approx(np.array([0.0, -0.5]), abs=0.03)


def test_signal_cannot_make_expectations_negative(mean):
    # Three events fewer than expected, and a spurious signal that could take twenty.
    few = channel(100 * mean)
    hole = np.where(few.signal > 1e-3, 0.0, few.observed)
    one = [replace(few, spurious=20.0)]
    test = engine.discoveries(one, [hole[None]])
    (expected,) = engine.expectations(one, test.background)
    assert expected.min() >= 0
    # A fit that ends at the limit says so.
    assert not test.converged.any()
    assert test.q0[0] == 0.0


@pytest.mark.parametrize("mu", [0.0, 5.0, None])
def test_fits_find_their_way_from_centres_where_expectations_would_be_negative(mean, mu):
    plain = channel(100 * mean)
    one, centres = [replace(plain, spurious=10.0)], np.full((50, 1), -4.0)
    counts = engine.toy_counts([100 * mean + 20 * plain.signal], 50, np.random.default_rng(16))
    null = engine.background_fits(one, counts, centres=centres)
    # From where a signal was: without it the same spurious signal is too much.
    far = replace(null, mu=np.full(50, 60.0), alpha=centres)
    fits = engine.signal_fits(one, counts, far, mu=mu, centres=centres)
    assert fits.converged.all()
    if mu == 0:
        np.testing.assert_allclose(fits.nll, null.nll, atol=1e-6)


def test_held_nuisance_parameters_stay(large):
    one, sigma = large
    factors = np.linspace(0.05, 0.0, one.signal.size)[:, None]
    uncertain = [replace(one, spurious=sigma, factors=factors)]
    counts = [(one.observed + 2 * sigma * one.signal)[None]]
    best = engine.signal_fits(
        uncertain, counts, engine.background_fits(uncertain, counts), signed=True
    )
    moved = replace(best, alpha=best.alpha + np.array([[1.0, 0.0]]))
    fits = engine.signal_fits(uncertain, counts, moved, signed=True, held=[1])
    assert fits.converged.all()
    assert fits.alpha[0, 0] == moved.alpha[0, 0]
    # The spurious signal takes from the signal what it adds.
    assert fits.mu[0] - best.mu[0] == pytest.approx(-sigma, rel=1e-3)
    assert fits.nll[0] - best.nll[0] == pytest.approx(0.5, rel=1e-3)


def test_what_channels_do_not_share_is_refused(mean):
    one = channel(500 * mean)
    with pytest.raises(FitError, match="all: a spurious signal is 0 events or more, got -1"):
        replace(one, spurious=-1.0)
    with pytest.raises(FitError, match=r"shape \(110, parameters\), got shape \(110,\)"):
        replace(one, factors=np.zeros(110))
    with pytest.raises(FitError, match="all: the uncertainty of the trigger's efficiency"):
        replace(one, factors=np.full((110, 1), np.nan))
    with pytest.raises(FitError, match="share the nuisance parameters"):
        nuisance_names([one, replace(one, spurious=1.0)])
    with pytest.raises(FitError, match=r"share the spurious signal, got \[1.0, 2.0\]"):
        nuisance_names([replace(one, spurious=1.0), replace(one, spurious=2.0)])
    for centres in (np.zeros(1), np.full((1, 1), np.nan), np.zeros((1, 2))):
        with pytest.raises(FitError, match=r"centres of constraints.*shape \(1, 1\)"):
            engine.background_fits(
                [replace(one, spurious=1.0)], [one.observed[None]], centres=centres
            )


def test_few_systems_are_solved_as_many_are():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(5, 9, 4))
    matrices, vectors = rows.swapaxes(1, 2) @ rows, rng.normal(size=(5, 4))
    one, positive = solved_singly(matrices, vectors)
    assert positive.all()
    np.testing.assert_allclose(one, solved(matrices, vectors)[0], rtol=1e-10)
    np.testing.assert_allclose((matrices @ one[..., None])[..., 0], vectors, rtol=1e-10)
    matrices[1] *= -1
    matrices[2, 0, 0] = np.nan
    matrices[3] = np.ones((4, 4))
    assert solved_singly(matrices, vectors)[1].tolist() == [True, False, False, False, True]
