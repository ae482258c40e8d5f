from __future__ import annotations

import json
from dataclasses import replace

import hist
import numpy as np
import pytest
from scipy.optimize import approx_fprime, brentq
from scipy.stats import norm

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import dijet_function
from tnt_coffea.stats.toys import TRUTH
from tnt_coffea.stats.unbinned import _Events, _UnbinnedLikelihood

LOW, HIGH, MASS, WIDTH = 2600.0, 7000.0, 3500.0, 120.0
NARROW = stats.SpectrumFit((LOW, HIGH), bin_width=5)
TESTED = {"mass": MASS, "width": WIDTH, "toys": 0}


@pytest.fixture(scope="module")
def events():
    """Masses of dijet events above 2600 GeV, from the truth of the toy spectra."""
    edges = np.arange(LOW, HIGH + 1, 1.0)
    below = np.append(0.0, np.cumsum(dijet_function(edges, 4).expected(np.array(TRUTH))))

    def make(background, signal, seed):
        random = np.random.default_rng(seed)
        uniform = random.random(random.poisson(background))
        falling = np.interp(uniform, below / below[-1], edges)
        return np.append(falling, random.normal(MASS, WIDTH, random.poisson(signal)))

    return make


def binned(masses, bins=880):
    return hist.Hist(hist.axis.Regular(bins, LOW, HIGH, name="m_jj")).fill(masses)


@pytest.fixture(scope="module")
def hunt(events):
    masses = events(2000, 60, 1)
    return masses, stats.bump_hunt(binned(masses), **TESTED, fit=NARROW)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("background", "signal"), [(300, 30), pytest.param(100_000, 400, marks=pytest.mark.slow)]
)
def test_narrow_bins_lose_nothing(events, background, signal):
    masses = events(background, signal, 1)
    result = stats.bump_hunt(binned(masses), **TESTED, fit=NARROW)
    check = stats.unbinned_check(masses, result)
    assert result.z_asymptotic > 2
    assert abs(check.z_difference) < 0.02
    assert check.z_asymptotic - check.z_difference == pytest.approx(result.z_asymptotic)
    assert check.mu_hat == pytest.approx(result.mu_hat, abs=0.02 * result.mu_uncertainty)
    # Where functions compete the binned one is half of their interval.
    rel = 0.1 if result.envelope else 0.01
    assert check.mu_uncertainty == pytest.approx(result.mu_uncertainty, rel=rel)
    assert check.channels[0].background == pytest.approx(
        result.channels[0].background, rel=2e-3, abs=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"family": "exponential", "width_uncertainty": 0.1},
        {"family": "bernstein", "shape": "double_crystal_ball", "tails": (1.0, 4.0, 2.0, 5.0)},
        {"family": "power_law", "shape": "double_crystal_ball", "scale_uncertainty": 0.02},
    ],
)
def test_channels_share_a_signal_of_any_shape(events, changes):
    fit = replace(NARROW, bin_width=10, shares={"one": 1.0, "two": 3.0}, **changes)
    masses = {"two": events(1500, 60, 2), "one": events(800, 20, 3)}
    result = stats.bump_hunt({n: binned(m) for n, m in masses.items()}, **TESTED, fit=fit)
    check = stats.unbinned_check(masses, result, fit)
    assert check.z_asymptotic == pytest.approx(result.z_asymptotic, abs=0.03)
    assert check.mu_hat == pytest.approx(result.mu_hat, abs=0.03 * result.mu_uncertainty)
    rel = 0.1 if result.envelope else 0.01
    assert check.mu_uncertainty == pytest.approx(result.mu_uncertainty, rel=rel)
    for (name, alpha), (same, known) in zip(check.nuisances, result.nuisances, strict=True):
        assert name == same
        assert alpha == pytest.approx(known, abs=0.02)
    with pytest.raises(FitError, match="give its fit as well"):
        stats.unbinned_check(masses, result)


@pytest.mark.slow
def test_best_of_several_families_counts(events):
    masses = events(2000, 60, 4)
    several = replace(NARROW, bin_width=10, envelope=("exponential", "power_law"))
    result = stats.bump_hunt(binned(masses), **TESTED, fit=several)
    check = stats.unbinned_check(masses, result)
    assert check.family == result.family
    assert check.z_asymptotic == pytest.approx(result.z_asymptotic, abs=0.03)


def truncated_exponential(masses):
    """Return the rate of an exponential law between LOW and HIGH.

    Deemer and Votaw, Ann. Math. Statist. 26 (1955) 498: the maximum-likelihood estimate solves
    mean = 1 / c - T / (exp(c T) - 1), with the mean from the lower end on and T the length.
    """
    length = HIGH - LOW
    return brentq(
        lambda c: 1 / c - length / np.expm1(c * length) - (np.mean(masses) - LOW), 1e-5, 0.1
    )


def test_exponential_background_has_the_rate_of_the_truncated_law():
    random = np.random.default_rng(5)
    masses = LOW + random.exponential(900.0, 3000)
    # A hole where the signal would be: the best signal is none.
    masses = masses[np.abs(masses - MASS) > 80]
    fit = replace(
        NARROW,
        family="exponential",
        min_parameters=2,
        max_parameters=2,
        spurious=False,
        bin_width=40,
    )
    check = stats.unbinned_check(masses, stats.bump_hunt(binned(masses, 110), **TESTED, fit=fit))
    (channel,) = check.channels
    inside = masses[masses < HIGH]
    assert (check.q0, check.mu_hat, channel.parameters) == (0.0, 0.0, 2)
    assert (channel.events, channel.ignored) == (inside.size, masses.size - inside.size)
    assert channel.ignored > 0
    assert sum(channel.background) == pytest.approx(inside.size, rel=1e-5)
    rates = -np.diff(np.log(channel.background)) / 40
    assert rates == pytest.approx(truncated_exponential(inside), rel=1e-5)


def test_equal_to_the_likelihood_of_iminuit(events):
    from iminuit import Minuit
    from iminuit.cost import ExtendedUnbinnedNLL

    masses = LOW + np.append(
        np.random.default_rng(6).exponential(700.0, 2000), norm.rvs(900, WIDTH, 60, random_state=6)
    )
    masses = masses[masses < HIGH]
    fit = replace(
        NARROW,
        family="exponential",
        min_parameters=2,
        max_parameters=2,
        spurious=False,
        bin_width=40,
    )
    check = stats.unbinned_check(masses, stats.bump_hunt(binned(masses, 110), **TESTED, fit=fit))

    def expected(m, background, rate, signal):
        falling = background * rate * np.exp(-rate * (m - LOW))
        density = falling + signal * norm.pdf(m, MASS, WIDTH)
        within = background * -np.expm1(-rate * (HIGH - LOW))
        return within + signal * np.diff(norm.cdf([LOW, HIGH], MASS, WIDTH))[0], density

    minuit = Minuit(ExtendedUnbinnedNLL(masses, expected), background=2000, rate=1 / 700, signal=0)
    minuit.fixed["signal"] = True
    null = minuit.migrad().fval
    minuit.fixed["signal"] = False
    minuit.values["signal"] = 50
    minuit.migrad().hesse()
    assert null - minuit.fval == pytest.approx(check.q0, abs=2e-3)
    assert minuit.values["signal"] == pytest.approx(check.mu_hat, rel=2e-3)
    assert minuit.errors["signal"] == pytest.approx(check.mu_uncertainty, rel=2e-3)
    assert check.z_asymptotic > 2


def test_gradient_is_that_of_the_likelihood(hunt):
    masses, result = hunt
    fit = replace(
        NARROW, shape="double_crystal_ball", scale_uncertainty=0.02, width_uncertainty=0.1
    )
    signal = fit.signal(MASS, WIDTH)
    channel = _Events.of(result.channels[0], masses, signal, "dijet", 4)
    likelihood = _UnbinnedLikelihood(signal, (replace(channel, share=0.3), channel))
    x = np.array([30.0, 0.4, -0.7, *np.linspace(-0.5, 0.5, 8)])
    numerical = approx_fprime(x, likelihood.value, 1e-5)
    assert likelihood.gradient(x) == pytest.approx(numerical, abs=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m / 1000, "2[0-9]+ masses lie in the bins .* times 1000"),
        (lambda m: m[:-100], "give the masses of the events in the histogram"),
        (lambda m: m + 30, "missing or too many in their bins"),
        (lambda m: m[:0], "0 of 0 masses"),
        (lambda m: np.append(m, np.nan), "1 of 2[0-9]+ masses are not finite"),
        (lambda m: m[:, None], "numbers of shape"),
        (lambda m: m > 3000, "numbers of shape"),
        (lambda _: None, "numbers of shape"),
        (lambda _: "3500", "numbers of shape"),
        (lambda _: [[1.0], [1.0, 2.0]], "numbers of shape"),
        (
            lambda m: {"fold-0": m},
            "masses by channel, \\['all'\\], and got those of \\['fold-0'\\]",
        ),
    ],
)
def test_masses_that_are_not_those_of_the_histogram_are_refused(hunt, change, message):
    masses, result = hunt
    with pytest.raises(FitError, match=message):
        stats.unbinned_check(change(masses), result)


def test_other_results_and_fits_are_refused(hunt):
    masses, result = hunt
    with pytest.raises(FitError, match="result is a dict"):
        stats.unbinned_check(masses, result.to_dict())
    with pytest.raises(FitError, match="fit is a float"):
        stats.unbinned_check(masses, result, 120.0)
    with pytest.raises(FitError, match="give the fit of the result"):
        stats.unbinned_check(masses, result, replace(NARROW, width_uncertainty=0.1))
    weighted = replace(result.channels[0], scale=(1.0,))
    with pytest.raises(FitError, match="all: the events have weights"):
        stats.unbinned_check(masses, replace(result, channels=(weighted,)))
    two = replace(result, channels=(result.channels[0], replace(result.channels[0], name="two")))
    with pytest.raises(FitError, match="got one array"):
        stats.unbinned_check(masses, two)


@pytest.mark.slow
def test_masses_rounded_to_single_precision_are_the_same_events(hunt):
    masses, result = hunt
    check = stats.unbinned_check(masses, result)
    rounded = stats.unbinned_check({"all": masses.astype(np.float32)}, result)
    assert rounded.q0 == pytest.approx(check.q0, rel=1e-4)
    text = json.dumps(check.to_dict(), allow_nan=False)
    assert stats.UnbinnedResult.from_dict(json.loads(text)) == check
    assert f"sqrt of q0 {check.z_asymptotic:.3f}, binned {result.z_asymptotic:.3f}" in str(check)


@pytest.mark.slow
def test_pulls_of_an_injected_signal_are_normal(events):
    injected = 75.0
    fit = replace(NARROW, bin_width=40)
    pulls = []
    for seed in range(200):
        masses = events(2000, injected, 1000 + seed)
        check = stats.unbinned_check(
            masses, stats.bump_hunt(binned(masses, 110), **TESTED, fit=fit)
        )
        pulls.append((check.mu_hat - injected) / check.mu_uncertainty)
    assert abs(np.mean(pulls)) < 0.15
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
