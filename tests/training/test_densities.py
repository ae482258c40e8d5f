"""Conditional densities against what is known: change of variables, Gaussians, their own graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm, spearmanr

from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, InputError, TrainingError
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Graph, Job
from tnt_coffea.training.densities.autoregressive import Autoregressive, AutoregressiveDensity
from tnt_coffea.training.densities.scaling import Scaling
from tnt_coffea.training.densities.slicing import Layer, Slicing, SlicingDensity
from tnt_coffea.training.methods.anode import Anode
from tnt_coffea.training.methods.gis import Gis
from tnt_coffea.training.ratios import SmoothedRatio, WindowRatio

from .conftest import auc

WINDOW = MassRange(low=3300, high=3700)
COVARIANCE = np.array([[1, 0.3, 0, 0], [0.3, 1, 0, 0.2], [0, 0, 1, 0.4], [0, 0.2, 0.4, 1]])
SLOPES = np.array([0.5, -0.3, 0.2, 0.4])
SMALL = Slicing(bins=6, knots=12, members=2)
FAST = Gis(density=SMALL)
SLICED = Anode(density=Slicing(bins=2, knots=15, members=2))
FULL = ("light_mass", "heavy_mass - light_mass", "light_tau21", "heavy_tau21")


def toy(n, seed, signal=0, d=4):
    """Gaussians whose mean moves with m [TeV], uniform from 2.25 to 4.75; a narrow signal at 3.5.

    Features, scaled masses, ln p of the background.
    """
    rng = np.random.default_rng(seed)
    covariance, slopes = COVARIANCE[:d, :d], SLOPES[:d]
    m = rng.uniform(2.25, 4.75, n)
    rest = rng.multivariate_normal(np.zeros(d), covariance, n)
    x = np.outer(m - 3.5, slopes) + rest
    m = np.concatenate([m, rng.normal(3.5, 0.1, signal)])
    x = np.concatenate([x, signal_features(signal, rng)[:, :d]])
    return x, scaled(m), multivariate_normal(np.zeros(d), covariance).logpdf(rest)


def signal_features(n, rng):
    return rng.normal([1.5, -1.5, 1.5, -1.0], 0.3, (n, 4))


def scaled(m):
    return (m - 3.5) / 0.72


def ones(x):
    return np.ones(len(x))


@pytest.fixture(scope="module")
def slicing():
    x, m, _ = toy(3000, 1, d=2)
    return SMALL.fit(np.sinh(x), m, ones(x), seed=1)


@pytest.fixture(scope="module")
def flow():
    x, m, _ = toy(1000, 1, d=2)
    settings = Autoregressive(
        blocks=3,
        hidden=8,
        epochs=4,
        averaged=2,
        optimizer={"batch": 50, "learning_rate": 0.01, "keep": "last"},
    )
    return settings.fit(x, m, ones(x), seed=1)


@pytest.fixture(params=["slicing", "flow"])
def density(request):
    return request.getfixturevalue(request.param)


def test_scaling_is_a_change_of_variables():
    rng = np.random.default_rng(1)
    x = np.stack([rng.exponential(100, 500), rng.uniform(0.1, 0.9, 500)], 1).astype("f4")
    scaling = Scaling.of(x, names=("mass", "tau21"))
    inner = x[(x > scaling.least).all(1) & (x < scaling.largest).all(1)].astype("f8")
    step = 1e-6 * (scaling.largest - scaling.least)
    slope = (scaling.applied(inner + step) - scaling.applied(inner - step)) / (2 * step)
    near = np.abs(inner - np.clip(inner, scaling.least + step, scaling.largest - step)).max(1) == 0
    found = scaling.log_det(inner)
    np.testing.assert_allclose(found[near], np.log(slope).sum(1)[near], atol=2e-5)
    np.testing.assert_allclose(scaling.inverse(scaling.applied(x)), x, rtol=1e-5, atol=1e-6)
    beyond = scaling.applied(np.array([[-1e9, 2.0], [np.nan, np.inf]], "f4"))
    assert np.abs(beyond).max() < 20


def test_jacobian_is_that_of_finite_differences(density):
    x, m, _ = toy(60, 2, d=2)
    step, numeric = 1e-6, []
    for i in range(2):
        moved = np.zeros(2)
        moved[i] = step
        up, down = (density.mapped(x + sign * moved, m)[0] for sign in (1, -1))
        numeric.append((up - down) / (2 * step))
    determinant = np.linalg.det(np.moveaxis(np.array(numeric), 0, -1))
    log_slope = density.mapped(x, m)[1]
    if log_slope.ndim == 3:
        log_slope = log_slope.sum(axis=2)
    # A step across a knot, where the slope's derivative jumps, differs a little more.
    apart = np.abs(np.log(np.abs(determinant)) - log_slope)
    assert np.quantile(apart, 0.95) < 1e-4
    assert apart.max() < 1e-2


def test_density_integrates_to_one(density):
    edge = np.linspace(-14, 14, 281)
    grid = np.stack(np.meshgrid(edge, edge), -1).reshape(-1, 2)
    for m in (-1.5, 0.1, 2.0):
        p = np.exp(density.log_prob(grid, np.full(len(grid), m)))
        assert p.sum() * (edge[1] - edge[0]) ** 2 == pytest.approx(1, abs=0.01)


def test_maps_are_monotone_for_every_mass(slicing):
    m = np.random.default_rng(3).uniform(-3, 3, 1000)
    u = np.linspace(-8, 8, 200)
    for i in range(2):
        x = np.zeros((200, 2))
        layer = replace(slicing.layers[0], turn=np.stack([np.eye(2, dtype="f4")] * 2))
        x[:, i] = u
        for share in np.moveaxis(slicing.shares(m)[:, :, None, :], 1, 0)[::20]:
            y, _ = layer.applied(np.stack([x, x]), np.repeat(share, 200, axis=1), slicing.levels)
            assert (np.diff(y[..., i], axis=1) > 0).all()


def test_a_gaussian_stays_one():
    x = np.random.default_rng(4).standard_normal((4000, 3))
    m = np.random.default_rng(5).uniform(-1, 1, 4000)
    density = SMALL.fit(x, m, ones(x), seed=1)
    assert not density.layers  # none that the validation events confirm
    wanted = norm.logpdf(x).sum(axis=1)
    np.testing.assert_allclose(density.log_prob(x, m), wanted, rtol=1e-12)
    levels = density.levels
    straight = np.broadcast_to(levels, (2, 6, 3, 12))
    layer = Layer(np.stack([np.eye(3, dtype="f4")] * 2), straight, 0 * straight + 1)
    same = SlicingDensity(3, (layer,), levels, density.centres)
    np.testing.assert_allclose(same.log_prob(x, m), wanted, atol=1e-9)


def test_weights_of_events_count():
    x, m, _ = toy(3000, 6, d=1)
    weight = np.where(x[:, 0] > 0, 3.0, 1.0)
    weighted = SMALL.fit(x, m, weight, seed=1)
    plain = SMALL.fit(x, m, ones(x), seed=1)
    edge = np.linspace(-6, 6, 200)[:, None]
    above = edge[:, 0] > 0
    share = [
        (np.exp(each.log_prob(edge, np.zeros(200)))[above]).sum() * (12 / 199)
        for each in (weighted, plain)
    ]
    assert share[0] == pytest.approx(0.75, abs=0.03)
    assert share[1] == pytest.approx(0.5, abs=0.03)


def test_a_feature_of_a_flow_depends_on_those_before_it_alone(flow):
    rng = np.random.default_rng(7)
    weights = [[rng.normal(size=shape) for shape in ((4, 9), (1, 9), (9,), (9, 8), (8,))]] * 2
    blocks = AutoregressiveDensity.of([weights]).blocks
    x, m = rng.normal(size=(1, 5, 4)), rng.normal(size=5)
    for block, order in zip(blocks, (range(4), range(3, -1, -1)), strict=True):
        before = np.stack(block.shifts(x, m))
        seen = []
        for i in order:
            changed = x.copy()
            changed[..., i] += 1.0
            moved = np.abs(np.stack(block.shifts(changed, m)) - before).max(axis=(0, 1, 2)) > 0
            assert not moved[[*seen, i]].any()
            later = [j for j in order if j not in (*seen, i)]
            assert moved[later].all()
            seen.append(i)


def test_samples_of_a_flow_are_mapped_back_to_a_gaussian(flow):
    m = np.random.default_rng(8).uniform(-1.5, 1.5, 4000)
    x = flow.sample(m, seed=1)
    # Each was drawn from one epoch; the weights of two epochs in a row differ little.
    y = flow.mapped(x, m)[0][0]
    assert np.abs(y.mean(axis=0)).max() < 0.2
    assert np.abs(y.std(axis=0) - 1).max() < 0.2
    one = AutoregressiveDensity(
        tuple(
            replace(b, **{name: values[:1] for name, values in vars(b).items()})
            for b in flow.blocks
        )
    )
    y = one.mapped(one.sample(m, seed=1), m)[0][0]
    assert np.abs(np.cov(y.T) - np.eye(2)).max() < 0.07
    assert np.abs(y.mean(axis=0)).max() < 0.07


class Analytic:
    """One Gaussian feature of mean m."""

    def log_prob(self, x, m):
        return norm.logpdf(x[:, 0], loc=m)


def test_smoothed_ratio_is_its_definition():
    ratio = SmoothedRatio(Analytic(), 0.5, -1.0, 1.2)
    x, m = np.random.default_rng(1).normal(size=(2, 20))
    d = np.linspace(-1, 1, 10)
    g = np.exp(-0.5 * (d / 0.5) ** 2)
    p = norm.pdf(x[:, None], loc=np.clip(m[:, None] + d, -1, 1.2))
    wanted = np.log((p @ g / g.sum()) / (p @ (1 - g) / (1 - g).sum()))
    np.testing.assert_allclose(ratio.log_ratio(x[:, None], m), wanted, atol=1e-12)


def test_window_ratio_stays_as_it_is_at_the_edge():
    class Wider(Analytic):
        def log_prob(self, x, m):
            return norm.logpdf(x[:, 0], loc=m, scale=2)

    ratio = WindowRatio(Analytic(), Wider(), -0.3, 0.4)
    x = np.full((3, 1), 0.7)
    inside, edge, beyond = ratio.log_ratio(x, np.array([0.0, 0.4, 2.0]))
    assert edge == beyond != inside


def scorer_of(method, sample, seed=3):
    return method.train(Job(sample, "event", seed, window=WINDOW))


def columns(scorer, sample):
    return {"features": scorer.inputs[0].read(sample)}


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("method", [FAST, SLICED], ids=lambda method: method.kind)
def test_graphs_agree_wherever_an_event_lies_and_stands(method, d):
    names = ("heavy_mass", "heavy_tau21", "light_tau21", "light_mass", "heavy_pt / m_jj")[:d]
    sample = make_sample(1600, 0.05, constituents=None)
    scorer = scorer_of(method.model_copy(update={"features": names}), sample)
    values = columns(scorer, make_sample(320, 0.1, seed=6))["features"]
    # Out of range, at its edge, and no numbers.
    extremes = np.array([0.0, -5.0, 1e9, np.inf, np.nan, 1e-30], "f4")
    values[:6], values[6:12, 0] = extremes[:, None], extremes
    values[:6, -1], values[12:15, -1] = 3500.0, (1.0, 3300.0, 1e6)
    tagger = Tagger(scorer.model.SerializeToString(), "the graph")
    values = np.nan_to_num(values, nan=0.0) if d == 5 else values  # a ratio would be none
    found = tagger.score({"features": values})
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, scorer.predict({"features": values}), rtol=1e-5, atol=1e-5)
    moved = tagger.score({"features": np.roll(values, 1, axis=0)})
    np.testing.assert_array_equal(np.roll(found, 1), moved)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_graph_of_a_flow_agrees_with_it(d):
    rng = np.random.default_rng(2)
    shapes = ((d, 16), (1, 16), (16,), (16, 2 * d), (2 * d,))
    epochs = [[[0.5 * rng.normal(size=s) for s in shapes] for _ in range(4)] for _ in range(3)]
    flow = AutoregressiveDensity.of(epochs)
    names = ("heavy_mass", "light_mass", "heavy_pt", "light_pt", "heavy_tau21")[:d]
    shown = Columns.of((*names, "m_jj"), make_sample(1))
    graph = Graph(shown)
    x = graph.add("Gather", "features", graph.constant(np.arange(d)), axis=1)
    model = graph.model(flow.add(graph, x, graph.slice("features", d)))
    # Some are far from any event: steep, but finite.
    size = np.where(np.arange(160) % 9, 1, 1e3)[:, None]
    values = (size * rng.normal(size=(160, d + 1))).astype("f4")
    tagger = Tagger(model.SerializeToString(), "the graph")
    found = tagger.score({"features": values})
    assert np.isfinite(found).all()
    wanted = flow.log_prob(values[:, :d], values[:, d])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    moved = tagger.score({"features": np.roll(values, 1, axis=0)})
    np.testing.assert_array_equal(np.roll(found, 1), moved)


@pytest.mark.parametrize("method", [FAST, SLICED], ids=lambda method: method.kind)
def test_turned_features_do_not_turn_the_score(method):
    sample, tested = make_sample(2400, 0.05), make_sample(1000, 0.1, seed=5)
    turned = method.model_copy(update={"features": tuple(f"0 - ({f})" for f in FULL)})
    plain = method.model_copy(update={"features": FULL})
    scores = []
    for each in (plain, turned):
        scorer = scorer_of(each, sample)
        scores.append(scorer.predict(columns(scorer, tested)))
        assert method is SLICED or 1 <= scorer.summary["layers"] <= SMALL.layers
    assert spearmanr(*scores).statistic > 0.99
    assert all(auc(s[tested.label == 1], s[tested.label == 0]) > 0.6 for s in scores)


def with_columns(sample, **columns):
    return replace(sample, columns={**sample.columns, **columns})


def test_jets_of_one_constituent_take_no_part_and_have_a_score():
    sample = make_sample(1600, 0.05)
    tau21 = sample.columns["heavy_tau21"].copy()
    tau21[::40] = 0.0
    mass = sample.columns["light_mass"].copy()
    mass[5::40] = 0.0
    zeros = with_columns(sample, heavy_tau21=tau21, light_mass=mass)
    for method in (FAST.model_copy(update={"features": SLICED.features}), SLICED):
        scorer = scorer_of(method, zeros)
        counts = [scorer.summary.get(name, 0) for name in ("events", "window", "beside")]
        assert sum(counts) == 1600 - 80
        assert np.isfinite(scorer.predict(columns(scorer, zeros))).all()


def constant(sample):
    return with_columns(sample, heavy_tau21=np.full(len(sample), 0.5, "f4"))


def stepped(sample):
    return with_columns(sample, heavy_tau21=np.round(sample.columns["heavy_tau21"], 1))


def negative(sample):
    return replace(sample, weight=np.where(np.arange(len(sample)) % 7, 1.0, -1.0))


def weightless(sample):
    return replace(sample, weight=np.zeros(len(sample)))


def one_sided(sample):
    return sample.select(sample.m_jj > 3400)


def elsewhere(sample):
    return sample.select(~WINDOW.contains(sample.m_jj))


def few(sample):
    return sample.select(np.arange(60))


def half(sample):
    values = np.array(sample.columns["heavy_tau21"])
    values[::2] = 0.5
    return replace(sample, columns={**sample.columns, "heavy_tau21": values})


REFUSED = [
    (FAST, constant, "feature heavy_tau21 is the same for all events"),
    (FAST, stepped, "feature heavy_tau21 has one of .* values for .*continuous"),
    (FAST, half, "feature heavy_tau21 has the same value for 50% of the events: .*continuous"),
    (
        FAST.model_copy(update={"features": ("tau21", "2 * tau21")}),
        None,
        "2.* are the same, or lin",
    ),
    (
        SLICED.model_copy(
            update={"features": (*FULL, "heavy_mass + light_mass", "light_mass / 2")}
        ),
        None,
        "features light_mass, heavy_mass - light_mass, heavy_mass [+] light_mass, light_mass / 2 "
        "are .* linear combinations",
    ),
    (FAST, negative, "weights are negative"),
    (FAST, weightless, "some weight above zero"),
    (FAST, few, "60 events to learn a density from, at least 81"),
    (
        FAST.model_copy(update={"features": ("log(heavy_mass - heavy_mass)",)}),
        None,
        "not finite for 900 of 900",
    ),
    (FAST.model_copy(update={"sigma": 1e5}), None, "two sigma"),
    (FAST.model_copy(update={"sigma": 1e-6}), None, "a sigma of 1e-06 GeV .* set sigma to 0.0"),
    (
        Gis(density=Slicing(members=1)),
        lambda sample: sample.select(np.arange(300)),
        r"no map learned from 300 events, in 12 bins of mass and at 20 knots, .*density\.bins",
    ),
    (SLICED, constant, "feature heavy_tau21 is the same"),
    (SLICED, one_sided, "on one side of it"),
    (SLICED, elsewhere, "no events in the window 3300-3700"),
    (SLICED, few, "events in the window 3300-3700: .* events to learn a density from"),
    (Anode(density=Autoregressive()), few, "events in the window .* at least 100"),
]


@pytest.mark.parametrize(("method", "change", "message"), REFUSED)
def test_what_cannot_work_is_refused_before_training(method, change, message):
    sample = make_sample(900, 0.05)
    with pytest.raises(TrainingError, match=message):
        scorer_of(method, change(sample) if change else sample)


def test_no_more_epochs_are_averaged_than_trained():
    with pytest.raises(ValueError, match="averaged: 10 epochs cannot be averaged of 3"):
        Autoregressive(epochs=3)
    short = Anode().shortened().density
    assert Autoregressive(**short.model_dump()).averaged == short.epochs == 2


@pytest.mark.parametrize("method", [FAST, SLICED], ids=lambda method: method.kind)
def test_settings_that_cannot_work_are_refused(method):
    sample = make_sample(20)
    with pytest.raises(ConfigError, match="m_jj, the mass, which enters on its own"):
        method.model_copy(update={"features": ("m_jj", "tau21")}).check(sample, "event")
    with pytest.raises((ConfigError, InputError), match="no 'heavy_tau99'"):
        method.model_copy(update={"features": ("tau99 + heavy_mass",)}).check(sample, "event")
    beside = Anode(beside="sidebands", sideband=2.0)
    with pytest.raises(ConfigError, match="leave"):
        beside.check_window(WINDOW, MassRange(low=2600, high=7000))
    SLICED.check_window(WINDOW, MassRange(low=3000, high=4000))


def test_events_without_weight_have_no_part():
    once = make_sample(800, 0.05, seed=2)  # of which no two have a value in common
    twice = once.select(np.repeat(np.arange(800), 2))
    twice = replace(twice, weight=(np.arange(1600) % 2).astype(float))
    shown = columns(scorer_of(FAST, once), make_sample(500, 0.1, seed=5))
    one, two = (scorer_of(FAST, each).predict(shown) for each in (once, twice))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_the_mass_is_that_of_the_search():
    sample = make_sample(900, 0.05)
    other = with_columns(sample, m_jjj=(sample.m_jj * 1.1).astype("f4"))
    other = replace(
        other,
        settings=sample.settings.model_copy(update={"observables": sample.settings.observables}),
        variable="m_jjj",
    )
    scorer = scorer_of(FAST, other)
    assert scorer.inputs[0].columns[-1] == "m_jjj"


def sic(background, signal, share):
    return (signal > np.quantile(background, 1 - share)).mean() / np.sqrt(share)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bins", "knots", "apart", "quantiles"),
    [
        (8, 20, 0.05, (0.85, 1.00, 1.16, 1.35)),
        (8, 40, 0.07, (0.82, 1.00, 1.21, 1.46)),
        (16, 40, 0.10, (0.77, 1.00, 1.31, 1.81)),
    ],
)
def test_gis_on_toys(bins, knots, apart, quantiles):
    sigma, settings = 0.25 / 0.72, Slicing(bins=bins, knots=knots, members=1)

    def ratio(signal):
        x, m, _ = toy(50_000, 1, signal)
        return SmoothedRatio(settings.fit(x, m, ones(x), seed=1), sigma, m.min(), m.max())

    x, m, log_p = toy(20_000, 2)
    null = ratio(0)
    assert (log_p - null.density.log_prob(x, m)).mean() < apart
    found = np.exp(np.quantile(null.log_ratio(x, m), [0.05, 0.5, 0.95, 0.999]))
    np.testing.assert_allclose(found, quantiles, rtol=0.1)
    inside = np.abs(m) < scaled(3.7)
    rng = np.random.default_rng(9)
    planted = ratio(300)
    signal = planted.log_ratio(signal_features(2000, rng), scaled(rng.normal(3.5, 0.1, 2000)))
    assert sic(planted.log_ratio(x[inside], m[inside]), signal, 0.01) > 4


@pytest.mark.slow
def test_anode_on_toys():
    settings, edges = Autoregressive(epochs=25), (scaled(3.3), scaled(3.7))
    x, m, log_p = toy(60_000, 2)
    inside = (m > edges[0]) & (m < edges[1])
    x, m, log_p = x[inside], m[inside], log_p[inside]

    def ratio(signal):
        x, m, _ = toy(50_000, 1, signal)
        window = (m > edges[0]) & (m < edges[1])
        fitted = [settings.fit(x[w], m[w], ones(x[w]), seed=1) for w in (window, ~window)]
        return WindowRatio(*fitted, *edges)

    null = ratio(0)
    assert abs((log_p - null.beside.log_prob(x, m)).mean()) < 0.01
    found = np.exp(np.quantile(null.log_ratio(x, m), [0.05, 0.5, 0.95, 0.999]))
    np.testing.assert_allclose(found[:3], (0.8, 1.0, 1.25), rtol=0.05)
    # Ten events lie above: two trainings differ by a tenth.
    assert found[3] == pytest.approx(2.4, rel=0.25)
    rng = np.random.default_rng(9)
    planted = ratio(300)
    signal = planted.log_ratio(signal_features(2000, rng), scaled(rng.normal(3.5, 0.1, 2000)))
    assert sic(planted.log_ratio(x, m), signal, 0.01) > 8


def test_averages_are_of_p(slicing):
    x, m, _ = toy(50, 3, d=2)
    y, log_slope = slicing.mapped(x, m)
    each = log_slope.sum(axis=2) + norm.logpdf(y).sum(axis=2)
    assert len(each) == 2
    np.testing.assert_allclose(slicing.log_prob(x, m), logsumexp(each, axis=0) - np.log(2))
