"""Manifolds, densities on them and the mass's density against what is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, spearmanr, vonmises, vonmises_fisher

from tnt_coffea import seeds
from tnt_coffea.errors import ConfigError, InputError, TrainingError
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Graph, Job
from tnt_coffea.training.densities.autoregressive import Autoregressive, AutoregressiveDensity
from tnt_coffea.training.densities.coupling import Coupling, CouplingFlow, log_volume
from tnt_coffea.training.densities.kernel import KernelDensity
from tnt_coffea.training.methods.regularized_likelihood import (
    ENERGY,
    ManifoldScore,
    RegularizedLikelihood,
    RegularizedScore,
    Whitening,
)
from tnt_coffea.training.ratios import DensityEvents

from .conftest import auc

LOG, PUBLISHED = RegularizedScore.LOG, RegularizedScore.PUBLISHED
FEATURES = ("pt", "eta", ENERGY, "mass", "tau21")
ADAM = {"batch": 100, "learning_rate": 0.005}
FAST = RegularizedLikelihood(
    features=("mass", "tau21"),
    manifold=2,
    flow={"layers": 2, "hidden": 8, "epochs": 3, "optimizer": ADAM},
    density={"blocks": 1, "hidden": 8, "epochs": 2, "averaged": 1, "optimizer": ADAM},
)


def ones(x):
    return np.ones(len(x))


def bent(d, manifold, layers=3, hidden=5, seed=1):
    """A flow of random weights: it bends as no training does."""
    rng, first = np.random.default_rng(seed), d - d // 2
    shapes = [(first, hidden), (hidden,), (hidden, hidden), (hidden,), (hidden, 2 * (d // 2))]
    weights = [[rng.normal(size=s) for s in (*shapes, (2 * (d // 2),))] for _ in range(layers)]
    turns = [np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(layers)]
    return CouplingFlow.of(
        manifold, turns, [[each.astype("f4") for each in some] for some in weights]
    )


def random_density(d, seed=2):
    rng = np.random.default_rng(seed)
    shapes = ((d, 8), (1, 8), (8,), (8, 2 * d), (2 * d,))
    blocks = [[0.3 * rng.normal(size=s) for s in shapes] for _ in range(2)]
    return AutoregressiveDensity.of([blocks])


class Gaussian:
    """Unit Gaussian of one number of features, a little wider than its chart."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def log_prob(self, x, m):
        return norm.logpdf(x, scale=self.scale).sum(axis=1)


def whitening(d, factor=1.0):
    return Whitening(np.zeros(d, "f4"), factor * np.eye(d, dtype="f4"))


def score_of(flow, kind=LOG, density=None, kernel=None, white=None):
    white = white or whitening(flow.manifold)
    return ManifoldScore(flow, white, density or Gaussian(), kernel, kind, np.log(500.0))


@pytest.mark.parametrize(("d", "manifold"), [(2, 1), (3, 2), (5, 1), (12, 8)])
def test_a_flow_is_inverted(d, manifold):
    flow, rng = bent(d, manifold), np.random.default_rng(3)
    z = rng.normal(size=(200, d))
    np.testing.assert_allclose(flow.coordinates(flow.features(z)), z, atol=1e-5)
    u = z[:, :manifold]
    on_it, _ = flow.reconstruction(u)
    np.testing.assert_allclose(flow.coordinates(on_it)[:, :manifold], u, atol=1e-5)
    np.testing.assert_allclose(flow.coordinates(on_it)[:, manifold:], 0, atol=1e-5)


@pytest.mark.parametrize(("d", "manifold"), [(2, 1), (3, 2), (12, 8)])
def test_volume_is_that_of_finite_differences(d, manifold):
    flow, step = bent(d, manifold), 1e-5
    u = np.random.default_rng(4).normal(size=(40, manifold))
    tangents = [
        (flow.reconstruction(u + move)[0] - flow.reconstruction(u - move)[0]) / (2 * step)
        for move in step * np.eye(manifold)
    ]
    tangents = np.stack(tangents, axis=1)
    gram = tangents @ tangents.swapaxes(1, 2)
    wanted = 0.5 * np.linalg.slogdet(gram)[1]
    np.testing.assert_allclose(flow.reconstruction(u)[1], wanted, atol=1e-5)
    np.testing.assert_allclose(log_volume(tangents), wanted, atol=1e-9)


def kernel():
    m = np.random.default_rng(5).exponential(size=2000)
    return KernelDensity.of(m, ones(m))


def events_of(names, sample, manifold=1):
    method = RegularizedLikelihood(features=names, manifold=manifold)
    return DensityEvents.of(method._features(sample, "event"), sample)


EXTREMES = np.array([0.0, -5.0, 1e9, np.inf, -np.inf, np.nan, 1e-30], "f4")


@pytest.mark.parametrize(("d", "manifold"), [(2, 1), (3, 2), (10, 8)])
@pytest.mark.parametrize("kind", [LOG, PUBLISHED])
@pytest.mark.parametrize("with_mass", [True, False])
def test_graphs_agree_wherever_an_event_lies_and_stands(d, manifold, kind, with_mass):
    names = ("heavy_mass", "heavy_tau21", "light_tau21")[:d] if d < 10 else FEATURES
    sample = make_sample(800, 0.05, constituents=None)
    events = events_of(names, sample)
    density, mass = random_density(manifold), kernel() if with_mass else None
    score = score_of(bent(d, manifold), kind, density, mass, whitening(manifold, 0.7))
    scorer = events.scorer(score)
    values = scorer.inputs[0].read(make_sample(320, 0.1, seed=6, constituents=None))
    values[:7], values[7:14, 0], values[14:21, -1] = EXTREMES[:, None], EXTREMES, EXTREMES
    # At the bounds of what was trained on, where the logit is steep.
    trained_on = scorer.inputs[0].read(sample)
    values[21:23] = trained_on.min(axis=0), trained_on.max(axis=0)
    tagger = Tagger(scorer.model.SerializeToString(), "the graph")
    found, wanted = tagger.score({"features": values}), scorer.predict({"features": values})
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    moved = tagger.score({"features": np.roll(values, 1, axis=0)})
    np.testing.assert_array_equal(np.roll(found, 1), moved)
    assert len(np.unique(found)) > 0.9 * len(found)


def test_kernel_density_is_the_known_one():
    rng = np.random.default_rng(6)
    m = np.concatenate([rng.normal(size=8000), rng.normal(6, 0.5, 2000)])
    weight = np.where(np.arange(10000) < 8000, 1.0, 2.0)
    found = KernelDensity.of(m, weight)
    at = np.linspace(-2, 8, 60)
    wanted = (norm.pdf(at) * 2 + norm.pdf(at, 6, 0.5)) / 3
    width = np.sqrt(np.cov(m, aweights=weight)) * 9000 ** (-1 / 5)
    smeared = norm.pdf(at, 0, np.hypot(1, width)) * 2 + norm.pdf(at, 6, np.hypot(0.5, width))
    dense = wanted > 0.02
    p = np.exp(found.log_prob(at))
    np.testing.assert_allclose(p[dense], smeared[dense] / 3, rtol=0.15)
    fine = np.linspace(found.low, found.high, 3001)
    total = np.exp(found.log_prob(fine)).mean() * (found.high - found.low)
    assert total == pytest.approx(1, abs=0.01)
    ends = found.log_prob(np.array([-1e9, found.low, found.high, 1e9]))
    assert ends[0] == ends[1]
    assert ends[2] == pytest.approx(ends[3], abs=1e-3)


def test_kernel_density_of_a_gap_is_not_zero():
    m = np.concatenate([np.random.default_rng(1).normal(size=200), [1e3]])
    found = KernelDensity.of(m, ones(m)).log_prob(np.array([500.0, np.nan, np.inf]))
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(-np.log(201 * 1e3), abs=0.1)


def test_graph_of_a_kernel_density_agrees_with_it():
    found = kernel()
    shown = Columns.of(("m_jj",), make_sample(1))
    graph = Graph(shown)
    score = graph.add("Cast", found.add(graph, "features"), to=1)
    tagger = Tagger(graph.model(graph.flat(score)).SerializeToString(), "the graph")
    m = np.concatenate([np.linspace(-1, 12, 300), EXTREMES]).astype("f4")
    np.testing.assert_allclose(
        tagger.score({"features": m[:, None]}), found.log_prob(m), rtol=1e-6, atol=1e-6
    )


def circle(n, seed):
    """Points of the circle in the plane, and ln of their density along it."""
    angle = np.random.default_rng(seed).vonmises(0, 2, n)
    return np.stack([np.cos(angle), np.sin(angle)], 1), vonmises(2).logpdf(angle)


def sphere(n, seed):
    """Points of the sphere in space, and ln of their density on it."""
    known = vonmises_fisher([0, 0, 1.0], 3, seed=seed)
    x = known.rvs(n)
    return x, known.logpdf(x)


class OfOne:
    """Kernel density of one coordinate: the flow of one is a Gaussian alone."""

    def __init__(self, u):
        self.kernel = KernelDensity.of(u[:, 0], ones(u))

    def log_prob(self, x, m):
        return self.kernel.log_prob(x[:, 0])


@pytest.mark.slow
def test_density_on_a_circle_is_the_known_one():
    x, _ = circle(5000, 1)
    coupling = Coupling(
        layers=4, hidden=16, epochs=8, optimizer={"batch": 200, "learning_rate": 0.01}
    )
    flow, history = coupling.fit(x, ones(x), 1, seed=1)
    # The network in double precision is the one that was trained.
    held = seeds.generator(1, "validation").permutation(5000)[:500]
    error, _, _ = score_of(flow).parts(x[held])
    assert error.mean() == pytest.approx(history.validation_loss[history.best_epoch], rel=1e-3)
    u = flow.coordinates(x)[:, :1]
    white = Whitening.of(u, ones(x))
    score = score_of(flow, density=OfOne(white.applied(u)), white=white)
    tested, wanted = circle(4000, 2)
    error, _, log_p = score.parts(tested)
    # A chart has an end: opposite of the densest point a few events lie beyond it.
    assert np.median(error) < 1e-3
    assert np.quantile(error, 0.9) < 0.02
    assert np.median(np.abs(log_p - wanted)) < 0.05
    # What leaves the circle is anomalous, whichever way.
    inside, outside = (score.log_ratio(tested * r, np.zeros(4000)) for r in (0.8, 1.2))
    on_it = score.log_ratio(tested, np.zeros(4000))
    assert auc(inside[::4], on_it[::4]) > 0.9
    assert auc(outside[::4], on_it[::4]) > 0.9


@pytest.mark.slow
def test_density_on_a_sphere_is_the_known_one():
    x, _ = sphere(40_000, 1)
    flow, _ = Coupling(epochs=30).fit(x, ones(x), 2, seed=1)
    u = flow.coordinates(x)[:, :2]
    white = Whitening.of(u, ones(x))
    settings = Autoregressive(blocks=5, epochs=40)
    density = settings.fit(white.applied(u), np.zeros(len(x)), ones(x), seed=2)
    error, _, log_p = score_of(flow, density=density, white=white).parts(sphere(5000, 2)[0])
    assert np.median(error) < 1e-3
    assert np.median(np.abs(log_p - sphere(5000, 2)[1])) < 0.05


def alike(*scores):
    return spearmanr(*scores).statistic


def standard(n=3000, d=12):
    """Standardised features, and the scaled masses of a falling spectrum."""
    rng = np.random.default_rng(7)
    return rng.normal(size=(n, d)), rng.exponential(size=n)


def test_published_score_is_the_error_alone_and_depends_on_units():
    x, m = standard()
    flow = bent(12, 8)
    white = Whitening.of(flow.coordinates(x)[:, :8], ones(x))

    def scores(kind, factor=1.0, unit=1.0):
        smaller = replace(white, turn=np.float32(factor) * white.turn)
        score = score_of(flow, kind, Gaussian(factor), kernel(), smaller)
        return replace(score, log_unit=score.log_unit + np.log(unit)).log_ratio(x, m)

    published, log = scores(PUBLISHED), scores(LOG)
    error = score_of(flow).parts(x)[0]
    # Densities of 8 whitened coordinates are below (2 pi)^-4: it regularizes nothing.
    assert alike(published, error) > 0.99999
    assert alike(log, error) < 0.9
    # Another unit of the coordinates, or of the mass (GeV), makes another score of it alone.
    assert alike(published, scores(PUBLISHED, factor=0.1)) < 0.95
    assert (published / scores(PUBLISHED, unit=1e-3)).max() > 1.1
    np.testing.assert_allclose(scores(LOG, factor=0.1), log, atol=1e-4)
    np.testing.assert_array_equal(scores(LOG, unit=1e-3), log)


class Larger:
    """A flow of features that are larger by one factor."""

    def __init__(self, flow, factor):
        self.flow, self.factor, self.manifold = flow, factor, flow.manifold

    def coordinates(self, x):
        return self.flow.coordinates(x / self.factor)

    def reconstruction(self, u):
        x, volume = self.flow.reconstruction(u)
        return self.factor * x, volume + self.manifold * np.log(self.factor)


def test_larger_features_add_a_constant_to_the_log_score():
    x, m = standard()
    flow = bent(12, 8)
    one, other = score_of(flow), score_of(Larger(flow, 3.0))
    apart = other.log_ratio(3 * x, m) - one.log_ratio(x, m)
    np.testing.assert_allclose(apart, 10 * np.log(3), atol=1e-6)


@pytest.mark.parametrize("kind", [LOG, PUBLISHED])
def test_units_of_a_column_change_nothing(kind):
    sample = make_sample(900, constituents=None)
    score = score_of(bent(2, 1), kind, random_density(1))
    found = []
    for name in ("heavy_mass", "heavy_mass / 1000"):
        scorer = events_of((name, "heavy_tau21"), sample).scorer(score)
        found.append(scorer.predict({"features": scorer.inputs[0].read(sample)}))
    assert alike(*found) > 0.999999
    np.testing.assert_allclose(*found, atol=1e-3)


@pytest.fixture(scope="module")
def with_zeros():
    """Events some of which have jets of one constituent, or without mass."""
    sample = make_sample(1200, 0.1, constituents=None)
    tau21, mass = (sample.columns[f"heavy_{name}"].copy() for name in ("tau21", "mass"))
    tau21[::40], mass[5::40] = 0.0, 0.0
    columns = {**sample.columns, "heavy_tau21": tau21, "heavy_mass": mass}
    return replace(sample, columns=columns)


@pytest.fixture(scope="module")
def trained(with_zeros):
    return FAST.train(Job(with_zeros, "event", 3))


def test_a_tagger_tells_the_planted_signal_and_scores_everything(trained, with_zeros):
    assert trained.summary["events"] == 1200 - 60
    assert len(trained.history["loss"]) == 3
    tested = make_sample(1500, 0.2, seed=8, constituents=None)
    tagger = Tagger(trained.model.SerializeToString(), "the graph")
    score = tagger.score({"features": trained.inputs[0].read(tested)})
    assert auc(score[tested.label == 1], score[tested.label == 0]) > 0.6
    assert np.isfinite(tagger.score({"features": trained.inputs[0].read(with_zeros)})).all()


@pytest.mark.slow
def test_turned_features_are_no_less_anomalous():
    sample, tested = make_sample(2400, 0.05), make_sample(1500, 0.2, seed=5)
    for features in (("mass", "tau21"), ("0 - mass", "0 - tau21")):
        scorer = FAST.model_copy(update={"features": features}).train(Job(sample, "event", 3))
        score = scorer.predict({"features": scorer.inputs[0].read(tested)})
        assert auc(score[tested.label == 1], score[tested.label == 0]) > 0.6


@pytest.mark.slow
def test_the_energy_is_a_relation_that_a_manifold_learns():
    rng, n = np.random.default_rng(1), 8000
    jets = []
    for mass in (300.0, 100.0):
        pt, eta = rng.normal(1500, 200, n), rng.normal(0, 0.8, n)
        m = rng.gamma(2, mass / 2, n)
        energy = np.sqrt((pt * np.cosh(eta)) ** 2 + m**2)
        jets += [pt, eta, energy, m, *rng.normal(0.5, 0.1, (2, n))]
    x = np.stack(jets, axis=1)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    broken = x.copy()
    for i in (2, 8):
        broken[:, i] = rng.permutation(x[:, i])  # energies of other events
    errors = []
    for features in (x, broken):
        flow, _ = Coupling(epochs=20).fit(features[:6000], np.ones(6000), 10, seed=1)
        found, _ = flow.reconstruction(flow.coordinates(features[6000:])[:, :10])
        errors.append(((features[6000:] - found) ** 2).sum(axis=1).mean())
    assert errors[0] < 0.1
    assert errors[1] > 5 * errors[0]


def with_columns(sample, **columns):
    return replace(sample, columns={**sample.columns, **columns})


def constant(sample):
    return with_columns(sample, heavy_tau21=np.full(len(sample), 0.5, "f4"))


def stepped(sample):
    return with_columns(sample, heavy_tau21=np.round(sample.columns["heavy_tau21"], 1))


def massless(sample):
    return with_columns(sample, heavy_mass=np.zeros(len(sample), "f4"))


def of_one_mass(sample):
    return with_columns(sample, m_jj=np.full(len(sample), 3000.0))


def negative(sample):
    return replace(sample, weight=np.where(np.arange(len(sample)) % 7, 1.0, -1.0))


def few(sample):
    return sample.select(np.arange(60))


def unchanged(sample):
    return sample


REFUSED = [
    (FAST, constant, "feature heavy_tau21 is the same for all events"),
    (FAST, massless, "feature heavy_mass is the same for all events"),
    (FAST, stepped, "feature heavy_tau21 has one of .* values for .*continuous"),
    (FAST, negative, "coupling flow: .* weights are negative"),
    (FAST, few, "coupling flow: 60 events to learn a density from, at least 100"),
    (FAST, of_one_mass, "m_jj is the same for all events"),
    (
        FAST.model_copy(update={"features": ("mass", "log(heavy_mass - heavy_mass)")}),
        unchanged,
        "not finite for 900 of 900",
    ),
]


@pytest.mark.parametrize(("method", "change", "message"), REFUSED)
def test_what_cannot_work_is_refused_before_training(method, change, message):
    sample = change(make_sample(900, 0.05, constituents=None))
    with pytest.raises(TrainingError, match=message):
        method.train(Job(sample, "event", 3))


def test_settings_that_cannot_work_are_refused():
    sample = make_sample(20, constituents=None)
    with pytest.raises(ConfigError, match="m_jj, the mass, which enters on its own"):
        FAST.model_copy(update={"features": ("m_jj", "tau21")}).check(sample, "event")
    with pytest.raises((ConfigError, InputError), match=r"'heavy_tau32'.* add it to skim"):
        RegularizedLikelihood().check(sample, "event")
    with pytest.raises(ConfigError, match="4 coordinates among 4 features"):
        FAST.model_copy(update={"manifold": 4}).check(sample, "event")
    with pytest.raises(TrainingError, match="3 coordinates among 2 features"):
        Coupling().fit(np.ones((200, 2)), np.ones(200), 3, seed=1)
    same = np.ones(200)
    with pytest.raises(TrainingError, match="the same for all events"):
        KernelDensity.of(same, same)


def test_features_are_those_of_single_precision_before_they_are_rounded():
    sample = make_sample(300, constituents=None)
    names = ("pt", "eta", ENERGY, "mass")
    features = RegularizedLikelihood(features=names, manifold=6)._features(sample, "event")
    found = dict(zip(features.names, features.values(sample).T, strict=True))
    pt, eta, mass = (sample.columns[f"light_{n}"].astype("f8") for n in ("pt", "eta", "mass"))
    wanted = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)
    np.testing.assert_allclose(found[f"light_{ENERGY}"], wanted, rtol=1e-7)
