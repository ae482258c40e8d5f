"""The transfer factor: known answers, toys of a known ratio, and what is refused."""

from __future__ import annotations

import itertools
import re

import hist
import numpy as np
import pyhf
import pytest
from scipy.optimize import minimize
from scipy.special import xlogy
from scipy.stats import binom, kstest

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats import newton
from tnt_coffea.stats.pyhf_model import numpy_backend
from tnt_coffea.stats.transfer_likelihood import TransferModel, bernstein, elevated
from tnt_coffea.working_points import WorkingPoint

EDGES = np.arange(2600.0, 6001.0, 100.0)
X = (0.5 * (EDGES[1:] + EDGES[:-1]) - 2600) / 3400
FIT = stats.SpectrumFit((2600, 6000), bin_width=100)
MASS, WIDTH = 3800.0, 150.0
SIGNAL = FIT.signal(MASS, WIDTH).integrals(EDGES)
CUBIC = bernstein(X, 3) @ np.array([0.05, 0.02, 0.07, 0.04])


def histogram(counts, variances=None):
    made = hist.Hist(hist.axis.Variable(EDGES, name="m_jj"), storage=hist.storage.Weight())
    made.view().value = counts
    made.view().variance = counts if variances is None else variances
    return made


def rates(events):
    falling = np.exp(-3 * X)
    return events * falling / falling.sum()


def drawn(events, signal, seed, ratio=CUBIC):
    random = np.random.default_rng(seed)
    passed = random.poisson(rates(events) * ratio + signal * SIGNAL)
    return histogram(passed), histogram(random.poisson(rates(events)))


def factor(passed, failed, **more):
    given = {"mass": MASS, "width": WIDTH, "fit": FIT, "level": None}
    return stats.transfer_factor(passed, failed, **given | more)


def brute_force(model, counts, mu=None):
    """Return the least -ln L over all rates, coefficients and the signal, by SciPy."""
    size = model.order + 1

    def nll(parameters):
        signal, coefficients, phi = np.split(parameters, [1, 1 + size])
        u, v = model.shares(coefficients)
        strength = signal[0] if mu is None else mu
        mean = np.maximum(np.concatenate([phi * u, phi * v]) + strength * model.signal, 1e-300)
        return float(np.sum(mean - counts + xlogy(counts, np.where(counts > 0, counts, 1) / mean)))

    passed, failed = np.split(counts, 2)
    limits = [(0, None), *[(1e-12, 1)] * size, *[(1e-12, None)] * len(passed)]
    found = []
    for start in (0.5, 15.0):
        flat = np.full(size, passed.sum() / counts.sum())
        first = np.concatenate([[start], flat, failed + 0.5])
        how = {"ftol": 1e-14, "gtol": 1e-8, "maxiter": 10_000, "maxfun": 10**6}
        found.append(minimize(nll, first, method="L-BFGS-B", bounds=limits, options=how))
    return min(found, key=lambda one: one.fun)


@pytest.mark.parametrize(
    ("order", "in_fail", "of_all"),
    [
        pytest.param(
            order, in_fail, of_all, marks=[pytest.mark.slow] * ((order, of_all) != (1, True))
        )
        for order, in_fail in ((0, 0.0), (1, 2.0), (2, 0.0))
        for of_all in (False, True)
    ],
)
def test_it_is_the_likelihood_of_all_rates(of_all, order, in_fail):
    random = np.random.default_rng(order + 4)
    x = (np.arange(6) + 0.5) / 6
    shape = np.exp(-0.5 * ((x - 0.5) / 0.12) ** 2)
    model = TransferModel(bernstein(x, order), shape / shape.sum(), in_fail, of_all)
    u, v = model.shares(random.uniform(0.1, 0.3, order + 1))
    phi = 200 * np.exp(-4 * x)
    mean = np.concatenate([phi * u, phi * v]) + 15 * model.signal
    counts = random.poisson(mean).astype(float)
    best, at = model.best(counts[None]), model.at(counts[None], mu=12.0)
    assert best.converged[0]
    assert at.converged[0]
    truth = brute_force(model, counts)
    assert best.nll[0] == pytest.approx(truth.fun, abs=2e-5)
    assert best.nll[0] <= truth.fun + 1e-6
    assert best.mu[0] == pytest.approx(truth.x[0], abs=0.1)
    assert at.nll[0] == pytest.approx(brute_force(model, counts, 12.0).fun, abs=2e-5)


def test_without_a_signal_it_is_binomial():
    p, f = np.array([3.0, 8, 2]), np.array([30.0, 60, 25])
    model = TransferModel(bernstein(np.array([0.0, 0.5, 1]), 0), np.full(3, 0.3))
    found = model.at(np.concatenate([p, f])[None])
    assert found.coefficients[0, 0] == pytest.approx(p.sum() / f.sum(), rel=1e-6)
    n, share = p + f, p.sum() / (p.sum() + f.sum())
    saturated = binom.logpmf(p, n, p / n).sum()
    assert found.nll[0] == pytest.approx(saturated - binom.logpmf(p, n, share).sum(), abs=1e-7)


def test_a_constant_ratio_to_fail_and_to_all_is_the_same():
    passed, failed = drawn(20_000, 100, 1, ratio=0.05)
    one = factor(passed, failed, order=0)
    other = factor(passed, failed, order=0, denominator="all")
    assert other.z == pytest.approx(one.z, abs=1e-5)
    ratio = one.coefficients[0]
    assert other.coefficients[0] == pytest.approx(ratio / (1 + ratio), rel=1e-4)


def test_a_higher_order_holds_the_lower_ones():
    line = np.array([0.1, 0.4])
    x = np.linspace(0, 1, 7)
    assert bernstein(x, 3) @ elevated(elevated(line)) == pytest.approx(bernstein(x, 1) @ line)
    deviances = [one.deviance for one in factor(*drawn(5000, 0, 3)).orders]
    assert all(low <= high + 1e-7 for high, low in itertools.pairwise(deviances))


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver")
@pytest.mark.parametrize(
    ("denominator", "order", "in_fail"),
    [
        pytest.param("fail", 0, 0.0, marks=pytest.mark.slow),
        ("fail", 3, 0.5),
        pytest.param("all", 2, 1.0, marks=pytest.mark.slow),
    ],
)
def test_stock_pyhf_finds_the_same(denominator, order, in_fail):
    given = {"denominator": denominator, "order": order, "signal_in_fail": in_fail}
    result = factor(*drawn(20_000, 120, 2), **given)
    workspace = pyhf.Workspace(stats.transfer_workspace(result))
    with numpy_backend():
        model = workspace.model()
        data = workspace.data(model)
        start = np.array(model.config.suggested_init())
        bounds = np.array(model.config.suggested_bounds())
        # Not from our own minimum.
        start = np.clip(1.1 * start, bounds[:, 0], 0.99 * bounds[:, 1]).tolist()
        fit = {"return_fitted_val": True, "init_pars": start}
        parameters, best = pyhf.infer.mle.fit(data, model, **fit)
        _, null = pyhf.infer.mle.fixed_poi_fit(0.0, data, model, **fit)
    assert float(null - best) ** 0.5 == pytest.approx(result.z, abs=1e-3)
    assert parameters[model.config.poi_index] == pytest.approx(result.mu_hat, rel=1e-3)
    own = np.array(result.coefficients)
    found = [parameters[model.config.par_slice(f"c_{k}")][0] for k in range(order + 1)]
    assert np.array(found) * own.mean() == pytest.approx(own, rel=2e-3)


def test_a_bump_of_100_in_1000_is_found():
    for order in (None, 0, 4):
        result = factor(*drawn(20_000, 100, 5, ratio=0.05), order=order)
        assert result.converged
        assert result.z > 3
        assert result.mu_hat == pytest.approx(100, abs=3 * result.mu_uncertainty)


def test_signal_in_fail_raises_the_signal_and_leaves_z_alone():
    data = drawn(20_000, 100, 5, ratio=0.05)
    none, some = (factor(*data, order=0, signal_in_fail=r) for r in (0.0, 4.0))
    assert some.z == pytest.approx(none.z, abs=1e-6)
    assert some.mu_hat == pytest.approx(none.mu_hat / (1 - 4 * 0.05), rel=0.02)


def test_order_and_prediction_do_not_see_the_signal():
    passed, failed = drawn(50_000, 0, 6)
    near = np.abs(0.5 * (EDGES[1:] + EDGES[:-1]) - MASS) <= 2 * WIDTH
    more = histogram(passed.values() + 50 * near)
    one, other = factor(passed, failed), factor(more, failed)
    assert other.orders == one.orders
    assert other.predicted == one.predicted
    assert other.observed == one.observed + 50 * near.sum()
    assert other.z > one.z + 5


@pytest.mark.slow
def test_the_cubic_is_found_and_no_more():
    orders = [
        factor(*drawn(600_000, 0, seed), min_order=0, toys=0, least_goodness=0).order
        for seed in range(20)
    ]
    assert orders.count(3) >= 16
    assert min(orders) == 3


@pytest.mark.slow
def test_toys_of_a_cubic_ratio_have_pulls_of_width_one_and_flat_p():
    toys, signal = 400, 200
    found = [factor(*drawn(100_000, signal, seed), least_goodness=0) for seed in range(toys)]
    pulls = [(one.mu_hat - signal) / one.mu_uncertainty for one in found]
    assert np.mean(pulls) == pytest.approx(0, abs=3 / toys**0.5)
    assert np.std(pulls) == pytest.approx(1, abs=3 / (2 * toys) ** 0.5)
    assert kstest([one.goodness_of_fit for one in found], "uniform").pvalue > 0.01
    # The published form has too small an uncertainty, and the signal pulls its polynomial.
    assert all(one.two_step.mu_uncertainty < one.mu_uncertainty for one in found)
    null = [factor(*drawn(100_000, 0, 10**6 + seed), least_goodness=0) for seed in range(toys)]
    p_values = np.array([one.p_value for one in null])
    above = p_values[p_values < 0.5]
    assert np.mean(p_values < 0.05) == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / toys) ** 0.5)
    assert kstest(2 * above, "uniform").pvalue > 0.01


def test_two_steps_have_too_small_an_uncertainty():
    result = factor(*drawn(20_000, 100, 5), order=4)
    assert result.two_step.mu_uncertainty < 0.9 * result.mu_uncertainty


@pytest.mark.slow
def test_few_events_take_toys_and_strong_excesses_are_weighted():
    passed, failed = drawn(2000, 3, 8, ratio=0.02)
    few = factor(passed, failed, order=0)
    assert (few.calibration, few.goodness_calibration) == ("toys", "toys")
    assert factor(passed, failed, order=0, toys=0).p_value == pytest.approx(few.p_value, abs=0.1)
    plain = factor(*drawn(2000, 25, 8, ratio=0.02), order=0, toys=200)
    assert (plain.p_value, plain.p_is_bound) == (pytest.approx(1 / 201), True)
    assert "Z = 2.58 or more, p = at most 0.00498 (toys)" in plain.summary()
    strong = factor(*drawn(2000, 25, 8, ratio=0.02), order=0)
    assert strong.p_value < 1e-5
    assert not strong.p_is_bound


def test_each_number_says_of_which_fit_it_is():
    x = np.where(X > 0.7, 0.0, 0.03)
    passed, failed = drawn(2000, 3, 8, ratio=x)
    result = factor(passed, failed, order=3, toys=0, least_goodness=0)
    assert result.spectrum.at_bound == (3,)
    text = result.summary()
    assert re.search(r"[\d.]+ \+- [\d.]+ predicted from the bins beside the signal", text)
    assert re.search(r"the fit without a signal to all bins has [\d.]+ background events", text)
    assert "at their bound in the fit beside the signal: 3; its uncertainties take them" in text


def test_limits_are_cls_and_rise_with_the_signal():
    data = drawn(20_000, 0, 9, ratio=0.05)
    limit = factor(*data, order=0, level=0.95).limit
    assert limit.calibration == "asymptotic"
    assert np.all(np.diff(limit.expected) > 0)
    # A normal measurement that sees what it expects is excluded at 1.96 of its uncertainties.
    sigma = factor(*drawn(20_000, 40, 9, ratio=0.05), order=0).mu_uncertainty
    assert limit.expected[2] == pytest.approx(1.96 * sigma, rel=0.15)
    excess = factor(*drawn(20_000, 80, 9, ratio=0.05), order=0, level=0.95)
    assert excess.limit.observed > excess.mu_hat > 0


@pytest.mark.slow
def test_where_nothing_is_seen_the_limit_from_toys_is_three_events():
    passed, failed = drawn(5000, 0, 10, ratio=0.003)
    near = np.abs(0.5 * (EDGES[1:] + EDGES[:-1]) - 5000) <= 4 * WIDTH
    seen = histogram(np.where(near, 0, passed.values()))
    result = factor(seen, failed, mass=5000.0, order=0, level=0.95, toys=0, limit_toys=300)
    limit = result.limit
    assert limit.calibration == "toys"
    # CLs of no event is exp(-mu), whatever the background.
    assert limit.observed == pytest.approx(3.0, rel=0.15)
    assert limit.converged


def test_weights_scale_signal_and_leave_z_alone():
    passed, failed = drawn(20_000, 100, 5)
    scaled = [histogram(3 * h.values(), 9 * h.values()) for h in (passed, failed)]
    one, other = factor(passed, failed, order=2), factor(*scaled, order=2)
    assert other.z == pytest.approx(one.z, abs=1e-5)
    assert other.mu_hat == pytest.approx(3 * one.mu_hat, rel=1e-4)
    assert other.predicted == pytest.approx(3 * one.predicted, rel=1e-6)
    assert any("events are weighted" in note for note in other.notes)


@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize(("events", "ratio"), [(60, 0.3), (1400, 0.03)])
def test_fits_of_few_events_converge_with_coefficients_at_their_bounds(events, ratio, of_all):
    random = np.random.default_rng(1)
    mean = np.concatenate([ratio * rates(events), rates(events)])
    counts = random.poisson(mean, size=(200, mean.size)).astype(float)
    model = TransferModel(bernstein(X, 8), SIGNAL, 0.0, of_all)
    null, best = model.at(counts), model.best(counts)
    assert np.count_nonzero(null.coefficients == 0) > 200
    assert null.converged.all()
    assert best.converged.all()
    # From elsewhere they find the same: a false minimum depends on where a fit begins. That of 18
    # events over fail, which is not convex, has a second one.
    warm = model.at(counts, start=best.coefficients)
    apart = np.abs(warm.nll - null.nll)
    assert np.count_nonzero(apart > 1e-6) <= (1 if events == 60 and not of_all else 0)
    assert apart.max() < 1e-4


@pytest.mark.slow
def test_expected_limits_of_a_high_order_rise_with_the_bands():
    data = drawn(1400, 20, 1, ratio=0.03)
    limit = factor(*data, order=8, level=0.95, toys=0, limit_toys=0).limit
    assert np.all(np.diff(limit.expected) > 0)
    assert limit.expected[2] == pytest.approx(14.8, rel=0.02)


@pytest.mark.parametrize("steps", [2, 5])
def test_fits_that_do_not_converge_are_refused(monkeypatch, steps):
    monkeypatch.setattr(newton, "_MAX_STEPS", steps)
    result = factor(*drawn(1400, 20, 1, ratio=0.03), order=8, least_goodness=0)
    assert isinstance(result, stats.TransferRefusal)
    assert re.search(r"order \d .* did not converge .*: take a lower order", result.reason)


def test_a_ratio_that_no_polynomial_is_refused():
    waves = 0.05 * (1 + 0.8 * np.sin(60 * X))
    result = factor(*drawn(100_000, 0, 11, ratio=waves))
    assert isinstance(result, stats.TransferRefusal)
    assert result.goodness_of_fit < 0.01
    assert "does not describe pass / fail beside the signal" in result.reason
    assert "refused" in result.summary()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"data": (100, 0, 1)}, "events pass and .* fail beside the signal, fewer than 10"),
        ({"data": (20_000, 0, 1), "signal_in_fail": 30.0}, "an excess is no sign of it"),
        ({"data": (400, 0, 1), "order": 8}, "too few for order 8"),
    ],
)
def test_what_cannot_be_told_is_refused(given, reason):
    data = drawn(*given.pop("data"))
    if given.get("order"):
        sparse = np.where(np.arange(len(X)) % 6 == 0, data[0].values() + 2, 0)
        data = (histogram(sparse), data[1])
    result = factor(*data, **given)
    assert isinstance(result, stats.TransferRefusal)
    assert re.search(reason, result.reason)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mass": 2700.0},
        {"order": 9},
        {"min_order": 5},
        {"denominator": "both"},
        {"signal_in_fail": -1.0},
        {"level": 0.3},
        {"toys": -1},
    ],
)
def test_arguments_out_of_range_are_errors(wrong):
    with pytest.raises(FitError):
        factor(*drawn(2000, 0, 1), **wrong)


def test_pass_and_fail_have_the_same_bins():
    passed, failed = drawn(2000, 0, 1)
    fit = stats.SpectrumFit((2600, 6000))
    with pytest.raises(FitError, match="pass and fail have other bins"):
        factor(passed[:: hist.rebin(2)], failed, fit=fit)


def test_a_search_has_all_others_for_fail():
    search, point = stats.toy_search(60_000, 60), WorkingPoint.at({0: 0.9, 1: 0.9})
    fit = stats.SpectrumFit((2600, 5000), bin_width=80)
    result = stats.transfer_in_search(search, point, mass=3500, width=60, fit=fit, level=None)
    whole = stats.inclusive_spectrum(search).values()[:120].sum()
    assert sum(result.spectrum.passed) + sum(result.spectrum.failed) == whole
    assert result.z > 4
    assert stats.TransferEstimate.from_dict(result.to_dict()) == result
