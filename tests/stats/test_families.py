from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from tnt_coffea import stats
from tnt_coffea.config import BackgroundFamily, SearchConfig, SignalKind
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.pipeline import spectrum_fit
from tnt_coffea.stats import engine
from tnt_coffea.stats.background import Affine
from tnt_coffea.stats.engine import Channel
from tnt_coffea.stats.families import FAMILIES, Family, family_named
from tnt_coffea.stats.signals import SHAPES, gaussian

EDGES = np.arange(2600.0, 7001.0, 40.0)
EVERYWHERE = np.ones(EDGES.size - 1, dtype=bool)
CASES = [(family.name, order) for family in FAMILIES.values() for order in family.orders]


@pytest.fixture(scope="module")
def mean(falling_shape):
    return falling_shape.reshape(-1, 2).sum(axis=1)


def test_a_family_that_takes_no_energy_is_refused():
    with pytest.raises(FitError, match=r"family 'old': its builder must take .*sqrt_s"):
        Family("old", (2,), lambda edges, parameters, counts, seen: None)


@pytest.mark.parametrize("name", ["dijet", "bernstein"])
def test_functions_of_the_share_of_the_energy_read_it(name, mean):
    phi = np.full(4, 0.1)
    at = [built(name, 4, 2000 * mean, s).expected(phi) for s in (13_000.0, 13_600.0)]
    assert not np.allclose(*at)
    assert np.array_equal(at[0], built(name, 4, 2000 * mean).expected(phi))


def built(name, order, counts, *sqrt_s):
    return family_named(name).build(EDGES, order, counts, EVERYWHERE, *sqrt_s)


@pytest.mark.parametrize(("name", "order"), CASES)
def test_derivatives_are_those_of_the_expectation(name, order, mean):
    family, _ = engine.fitted_background(built(name, order, 2000 * mean), 2000 * mean)
    phi = np.linspace(-0.4, 0.5, order)
    weights = np.cos(np.arange(mean.size))
    here = family.evaluated(phi)
    np.testing.assert_allclose(here.expected, family.expected(phi), rtol=1e-12)
    step = 1e-5
    for i in range(order):
        up, down = phi.copy(), phi.copy()
        up[i] += step
        down[i] -= step
        slope = (family.expected(up) - family.expected(down)) / (2 * step)
        np.testing.assert_allclose(here.jacobian[:, i], slope, rtol=1e-5, atol=1e-6)
        bent = family.evaluated(up).jacobian - family.evaluated(down).jacobian
        np.testing.assert_allclose(
            here.curvature(weights)[i], weights @ bent / (2 * step), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(("name", "order"), CASES)
def test_many_points_at_once_are_each_alone(name, order, mean):
    family, _ = engine.fitted_background(built(name, order, 2000 * mean), 2000 * mean)
    points = np.random.default_rng(1).normal(0, 0.5, (3, order))
    together = family.evaluated(points)
    weights = np.random.default_rng(2).normal(size=(3, mean.size))
    for i, phi in enumerate(points):
        alone = family.evaluated(phi)
        np.testing.assert_allclose(together.expected[i], alone.expected, rtol=1e-12)
        np.testing.assert_allclose(together.jacobian[i], alone.jacobian, rtol=1e-12)
        np.testing.assert_allclose(
            together.curvature(weights)[i], alone.curvature(weights[i]), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize(
    "name", [family.name for family in FAMILIES.values() if len(family.orders) > 1]
)
def test_orders_are_nested(name, mean):
    observed = np.random.default_rng(4).poisson(20_000 * mean).astype(float)
    values = [
        engine.fitted_background(built(name, order, observed), observed)[1].nll
        for order in family_named(name).orders
    ]
    assert np.all(np.diff(values) < 1e-6)


@pytest.mark.parametrize("name", [f.name for f in FAMILIES.values() if not f.reproduction_only])
@pytest.mark.parametrize("events", [50_000, 500, 50])
def test_every_family_finds_a_signal_injected_without_fluctuations(name, events, mean):
    background = built(name, 3, events * mean)
    fitted, _ = engine.fitted_background(background, events * mean)
    truth = fitted.expected(np.zeros(3))
    sigma = np.sqrt(0.1 * events)
    one = Channel("all", truth, gaussian(EDGES, 3500, 120), fitted)
    test = engine.discovery([replace(one, observed=truth + 3 * sigma * one.signal)])
    assert test.converged
    assert test.best.mu == pytest.approx(3 * sigma, rel=1e-3)


def test_power_law_is_the_integral_of_its_function():
    family = built("power_law", 4, np.ones(EDGES.size - 1))
    c0, p, c1, c2 = 0.3, 9.3, -1.0, 0.5

    def density(m):
        u = 2 * (m - EDGES[0]) / (EDGES[-1] - EDGES[0]) - 1
        return (m / EDGES[0]) ** -p * np.exp(c0 + c1 * u + c2 * u**2)

    exact = [quad(density, EDGES[i], EDGES[i + 1], epsrel=1e-12)[0] for i in (0, 40, 109)]
    found = family.expected(np.array([c0, p, c1, c2]))[[0, 40, 109]]
    np.testing.assert_allclose(found, exact, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] * (case[0] != "dijet" and case[1] > 4))
        for case in CASES
        if case[0] != "cubic"
    ],
)
def test_every_fit_of_a_few_events_converges_to_one_maximum(name, order, mean):
    # As in a search: the functions are whitened around the fit to one spectrum.
    observed = np.random.default_rng(5).poisson(50 * mean).astype(float)
    family, _ = engine.fitted_background(built(name, order, observed), observed)
    channel = Channel("all", observed, gaussian(EDGES, 3500, 120), family)
    random = np.random.default_rng(1)
    counts = [random.poisson(50 * mean, (200, mean.size)).astype(float)]
    tests = engine.discoveries([channel], counts)
    assert tests.converged.all()
    far = replace(tests.background, phi=(random.normal(0, 1, (200, order)),))
    elsewhere = engine.background_fits([channel], counts, far)
    assert np.max(tests.background.nll - elsewhere.nll) < 1e-5


def test_an_event_where_nothing_is_expected_pulls_the_function(mean):
    # A polynomial of fourth degree fitted to 50 events falls by 100 powers of ten beyond them.
    observed = np.random.default_rng(5).poisson(50 * mean).astype(float)
    family, _ = engine.fitted_background(built("exponential", 5, observed), observed)
    assert family.expected(np.zeros(5))[95] < 1e-100
    far = observed.copy()
    far[95] = 1
    fit = engine.background_fit([Channel("all", far, np.zeros(far.size), family)])
    assert fit.converged
    assert family.expected(fit.phi[0])[95] > 1e-3


def test_coefficients_at_zero_come_back():
    few = np.zeros(EDGES.size - 1)
    few[:6] = 8.0
    family, fit = engine.fitted_background(built("bernstein", 4, few), few)
    assert fit.converged
    roots = np.abs(family.origin)
    assert roots.min() < 1e-3
    many = family.expected(np.full(4, 2.0)) + 1.0
    channel = Channel("all", many, np.zeros(many.size), family)
    found = engine.background_fit([channel])
    other, best = engine.fitted_background(built("bernstein", 4, few), many)
    assert found.converged
    assert found.nll == pytest.approx(best.nll, abs=1e-4)
    assert np.abs(other.origin).max() > 1.0


def test_bernstein_with_equal_coefficients_is_its_prefit(mean):
    observed = np.random.default_rng(5).poisson(5000 * mean).astype(float)
    prefit, _ = engine.fitted_background(built("dijet", 3, observed), observed)
    for order in (2, 3, 4):
        found = built("bernstein", order, observed).expected(np.zeros(order))
        np.testing.assert_allclose(found, prefit.expected(np.zeros(3)), rtol=1e-9)


@pytest.mark.parametrize(("events", "published"), [(5e3, 1.5), (5e4, 4.6), (5e5, 14.5)])
def test_paper_cubic_makes_a_signal_of_a_dijet_function(events, published):
    # The truth behind the known numbers is one particular dijet function; ours has the
    # same growth with the root of the number of events, and a bias as large.
    edges = np.arange(2800.0, 4201.0, 20.0)
    seen = np.ones(edges.size - 1, dtype=bool)
    dijet = FAMILIES["dijet"].build(edges, 4, seen, seen)
    truth = dijet.expected(np.array([0.0, 5.0, 10.0, 0.1]))
    truth *= events / truth.sum()
    cubic, _ = engine.fitted_background(FAMILIES["cubic"].build(edges, 4, truth, seen), truth)
    one = Channel("all", truth, gaussian(edges, 3500, 120), cubic)
    null = engine.background_fits([one], [truth[None]])
    best = engine.signal_fits([one], [truth[None]], null, signed=True)
    z = np.sqrt(2 * (null.nll[0] - best.nll[0]))
    assert best.converged.all()
    assert published / 3 < z < 3 * published


def test_polynomial_below_zero_stays_positive_and_smooth():
    polynomial = Affine(np.array([1.0, 1.0]), np.array([[1.0], [-1.0]]))
    values = polynomial.expected(np.array([[0.0], [-5.0], [1e6]]))
    assert (values > 0).all()
    np.testing.assert_allclose(values[0], 1.0, rtol=1e-4)


def test_settings_know_the_families_and_shapes_fit_for_a_search():
    assert {f.name for f in FAMILIES.values() if not f.reproduction_only} == set(BackgroundFamily)
    assert set(SHAPES) == set(SignalKind)


def test_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(FitError, match="dijet, exponential, power_law, bernstein, cubic"):
        family_named("spline")


OWN = replace(FAMILIES["exponential"], name="own")


def test_a_family_of_ones_own_is_fitted_as_it_is(toy_spectrum):
    fit = stats.SpectrumFit((2600.0, 7000.0), bin_width=80.0, family=OWN)
    found, known = (
        stats.bump_hunt(toy_spectrum(2000, 60, 5), mass=3500.0, width=120.0, fit=each, toys=0)
        for each in (fit, replace(fit, family="exponential"))
    )
    assert (fit.family, found.family) == ("own", "own")
    assert found.z == known.z
    assert family_named("own") is OWN
    assert replace(fit, min_parameters=2).family == "own"
    with pytest.raises(FitError, match="'own' is the name of another"):
        replace(fit, family=replace(OWN, orders=(2,)))
    with pytest.raises(FitError, match="'dijet' is the name of another"):
        replace(fit, family=replace(OWN, name="dijet"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("tests_of_families:THEIRS", None),
        ("tests_of_families:WRONG", "is no Family of that name"),
        ("tests_of_families:NONE", "cannot be loaded: AttributeError"),
    ],
)
def test_families_of_other_packages_come_by_entry_points(
    value, words, tmp_path, monkeypatch, toy_spectrum
):
    (tmp_path / "tests_of_families.py").write_text(
        "from dataclasses import replace\n"
        "from tnt_coffea.stats.families import FAMILIES\n"
        'THEIRS = replace(FAMILIES["exponential"], name="theirs")\n'
        "WRONG = 3\n"
    )
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[tnt_coffea.families]\ntheirs = {value}\n")
    monkeypatch.syspath_prepend(tmp_path)
    if words:
        with pytest.raises(FitError, match=words):
            family_named("theirs")
        return
    assert family_named("theirs").orders == (2, 3, 4, 5, 6)
    config = SearchConfig.from_text("fit: {bump: {family: theirs, envelope: [theirs, dijet]}}")
    assert spectrum_fit(config).family == "theirs"
    with pytest.raises(ConfigError, match=r"choose one of .*bernstein, theirs"):
        SearchConfig.from_text("fit: {bump: {family: spline}}")
