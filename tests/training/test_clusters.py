"""UCluster against what is known: blobs, gradients, lots, a planted cluster, its own graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, InputError, TrainingError
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Job, backend
from tnt_coffea.training.clusters import (
    Occupancy,
    assignment,
    cluster_loss,
    k_means,
    nearest,
)
from tnt_coffea.training.embedding import MASS_CLASSES, focal_loss
from tnt_coffea.training.export import keras_graph
from tnt_coffea.training.fitting import evaluated
from tnt_coffea.training.methods.ucluster import Ucluster

from .conftest import auc

WINDOW = MassRange(low=3300, high=3700)
OPTIMIZER = {"batch": 100, "learning_rate": 0.01, "keep": "last"}
FAST = Ucluster(clusters=6, embedding=5, focal_epochs=3, epochs=3, optimizer=OPTIMIZER)


def blobs(n, rng):
    """Two Gaussians in two dimensions, and their means."""
    means = np.array([[0.0, 1.0], [2.0, -1.0]])
    return np.concatenate([rng.normal(mean, 0.1, (n, 2)) for mean in means]), means


def test_k_means_finds_two_blobs():
    points, means = blobs(2000, np.random.default_rng(1))
    found = k_means(points, 2, seed=3)
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], means, atol=1e-2)
    np.testing.assert_array_equal(found, k_means(points, 2, seed=3))
    where = nearest(points, found)
    assert len(set(where[:2000])) == len(set(where[2000:])) == 1
    with pytest.raises(TrainingError, match="fewer than 5 clusters among 40 embedded events"):
        k_means(np.repeat(means, 20, axis=0), 5, seed=1)


@pytest.mark.parametrize("alpha", [1.0, 10.0, 1e3])
def test_weights_of_clusters_sum_to_one(alpha):
    points, means = blobs(50, np.random.default_rng(2))
    points = np.concatenate([points, means, 1e4 * points[:5]]).astype("f4")
    pi = backend.array(assignment(points, means.astype("f4"), alpha))
    np.testing.assert_allclose(pi.sum(axis=1), 1, atol=1e-6)
    assert (pi.argmax(axis=1) == nearest(points, means)).all()


def test_gradient_of_the_clustering_loss_is_that_of_finite_differences():
    tf, rng = backend.tensorflow(), np.random.default_rng(3)
    points, centroids = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))

    def loss(x, mu):
        return cluster_loss(tf.convert_to_tensor(x), tf.convert_to_tensor(mu), 2.0)

    variables = [tf.Variable(points), tf.Variable(centroids)]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss(*variables))
    for number, found in enumerate(tape.gradient(total, variables)):
        given = (points, centroids)[number]
        for place in np.ndindex(given.shape):
            step = np.zeros_like(given)
            step[place] = 1e-6
            moved = [[points, centroids] for _ in range(2)]
            moved[0][number], moved[1][number] = given + step, given - step
            up, down = (float(tf.reduce_sum(loss(*each))) for each in moved)
            assert float(found[place]) == pytest.approx((up - down) / 2e-6, abs=1e-7)


def test_a_point_on_its_centroid_has_a_gradient():
    tf = backend.tensorflow()
    points = tf.Variable(np.zeros((1, 2), "f4"))
    with tf.GradientTape() as tape:
        loss = cluster_loss(points, np.array([[0, 0], [1, 0]], "f4"), 1.0)
    assert np.isfinite(tape.gradient(loss, points).numpy()).all()


def test_focal_loss_without_its_exponent_is_the_cross_entropy():
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 5, (200, MASS_CLASSES)).astype("f4")
    classes = rng.integers(0, MASS_CLASSES, 200)
    log_p = log_softmax(logits.astype("f8"), axis=1)[np.arange(200), classes]
    plain, focal = (backend.array(focal_loss(logits, classes, gamma)) for gamma in (0.0, 2.0))
    np.testing.assert_allclose(plain, -log_p, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(focal, -((1 - np.exp(log_p)) ** 2) * log_p, rtol=1e-4, atol=1e-5)


def test_regions_by_lot_have_p_values_of_lots():
    rng, p_values, pulls = np.random.default_rng(5), [], []
    share = np.array([0.001, 0.05, 0.149, 0.3, 0.5])
    for seed in range(40):
        cluster = rng.choice(5, 1200, p=share)
        region = rng.choice(3, 1200, p=[0.5, 0.3, 0.2])
        found = Occupancy.of(cluster, region, np.ones(1200), clusters=5, seed=seed)
        assert np.abs(found.log_ratio).max() < 0.6
        p_values.append(found.p_value)
        pulls.extend(found.pulls[1:])
    assert np.std(pulls) == pytest.approx(1, abs=0.15)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.15)
    assert np.mean(np.array(p_values) < 0.2) < 0.4


def occupancy(lower, window, upper):
    counts = np.array([lower, window, upper])
    cells = np.repeat(np.arange(counts.size), counts.ravel())
    region, cluster = np.divmod(cells, counts.shape[1])
    weight = np.full(len(cells), 0.25)
    return Occupancy.of(cluster, region, weight, clusters=counts.shape[1], seed=1)


def test_occupancies_that_change_linearly_with_the_mass_are_no_excess():
    found = occupancy([100, 900, 0], [60, 240, 0], [30, 70, 0])
    np.testing.assert_allclose(found.log_ratio, 0, atol=1e-12)
    np.testing.assert_allclose(found.pulls, 0, atol=1e-12)
    assert found.significance == 0


def test_ratios_are_shrunk_and_finite():
    found = occupancy([300, 0, 0], [100, 20, 0], [300, 0, 0])
    wanted = [np.log(110 / 130), np.log(30 / 10), 0]
    np.testing.assert_allclose(found.log_ratio, wanted)
    assert found.p_value == 1 / 2001
    assert found.significance == pytest.approx(3.29, abs=0.01)


@pytest.fixture(scope="module")
def sample():
    return make_sample(1200, 0.1, constituents=8)


@pytest.fixture(scope="module")
def tested():
    return make_sample(640, 0.1, seed=6, constituents=8)


@pytest.fixture(scope="module")
def scorer(sample):
    return trained(FAST, sample)


@pytest.fixture(scope="module")
def tagger(scorer):
    return Tagger(keras_graph(scorer.model).SerializeToString(), "the graph")


def trained(method, sample):
    return method.train(Job(sample, "event", 3, window=WINDOW))


def shown(scorer, sample):
    return {each.name: each.read(sample) for each in scorer.inputs}


def test_a_cluster_that_the_window_alone_has_is_scored_highest(scorer, tagger, tested):
    scores, signal = tagger.score(shown(scorer, tested)), tested.label == 1
    assert auc(scores[signal], scores[~signal]) > 0.9
    assert signal[np.argsort(-scores)[:20]].mean() > 0.8
    assert max(scorer.history["log_ratio"]) > 1
    assert scorer.summary["significance"] > 3
    assert 1 < scorer.summary["clusters"] <= FAST.clusters
    assert len(scorer.history["loss"]) == len(scorer.seconds) == FAST.passes


def test_a_graph_agrees_wherever_an_event_lies_and_stands(scorer, tagger, tested):
    inputs = shown(scorer, tested)
    particles, columns = inputs["constituents"], inputs["features"]
    particles[:40] = 0  # no constituent
    particles[20:40, 1, 0] = (1, 0, 0)
    extremes = np.array([0.0, -5.0, 1e9, np.inf, -np.inf, np.nan, 1e-30], "f4")
    columns[40:47] = extremes[:, None]
    columns[47:54, 4] = columns[54:61, 0] = extremes
    particles[61:68, 0, 0, 0] = particles[68:75, 1, 1, 1] = extremes
    found, latent = tagger.score(inputs), tagger.latent(inputs)
    score, embedded = (backend.array(each) for each in evaluated(scorer.model, inputs))
    np.testing.assert_allclose(found, score, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(latent, embedded, rtol=1e-4, atol=1e-4)
    assert np.isfinite(found).all()
    assert latent.shape == (640, FAST.embedding)
    assert np.ptp(scorer.history["log_ratio"]) >= np.ptp(found)
    _, repeats = np.unique(found, return_counts=True)
    assert repeats[repeats > 1].sum() < 0.5 * len(found)
    moved = tagger.score({name: np.roll(values, 1, axis=0) for name, values in inputs.items()})
    np.testing.assert_array_equal(np.roll(found, 1), moved)


def test_the_order_of_constituents_is_nothing_and_their_jet_is_something(scorer, tagger, tested):
    inputs = shown(scorer, tested)
    particles = inputs["constituents"]
    order = np.random.default_rng(1).permutation(particles.shape[2])
    before = tagger.score(inputs)
    permuted = tagger.score(inputs | {"constituents": particles[:, :, order]})
    np.testing.assert_allclose(permuted, before, rtol=1e-5, atol=1e-5)
    exchanged = tagger.score(inputs | {"constituents": particles[:, ::-1].copy()})
    assert np.abs(exchanged - before).max() > 0.01


def test_a_mirrored_embedding_gives_the_same_score():
    rng = np.random.default_rng(7)
    points, centroids = (rng.normal(size=(n, 4)).astype("f4") for n in (100, 6))
    plain, mirrored = (backend.array(assignment(s * points, s * centroids, 10.0)) for s in (1, -1))
    np.testing.assert_array_equal(plain, mirrored)


@pytest.mark.slow
def test_masses_by_lot_are_refused(sample):
    mass = np.random.default_rng(8).permutation(sample.m_jj)
    short = FAST.model_copy(update={"focal_epochs": 1, "epochs": 1, "least_significance": 2.0})
    by_lot = with_columns(sample, m_jj=mass)
    with pytest.raises(TrainingError, match="no excess to tag; least_significance: 0"):
        trained(short, by_lot)


def with_columns(sample, **columns):
    return replace(sample, columns={**sample.columns, **columns})


def constant(sample):
    return with_columns(sample, light_mass=np.zeros(len(sample), "f4"))


def infinite(sample):
    return with_columns(sample, heavy_tau21=np.where(np.arange(len(sample)) % 9, 0.5, np.nan))


def negative(sample):
    return replace(sample, weight=np.where(np.arange(len(sample)) % 7, 1.0, -1.0))


def weightless(sample):
    return replace(sample, weight=np.zeros(len(sample)))


def one_sided(sample):
    return sample.select(sample.m_jj > 3300)


def elsewhere(sample):
    return sample.select(~WINDOW.contains(sample.m_jj))


def few(sample):
    return sample.select(np.arange(59))


REFUSED = [
    (constant, "light_mass is the same for all events"),
    (infinite, "heavy_tau21 is not finite for 134 of 1200 events"),
    (negative, "weights are negative or no numbers; an occupancy needs positive ones"),
    (weightless, "0 events in the lower sideband 3100-3300, at least 10"),
    (one_sided, "0 events in the lower sideband 3100-3300, at least 10"),
    (elsewhere, "0 events in the window 3300-3700, at least 10"),
    (few, "59 events for 6 clusters, at least 60"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_cannot_work_is_refused_before_training(change, message, sample):
    with pytest.raises(TrainingError, match=message):
        trained(FAST, change(sample))


def test_settings_and_skims_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="keep has to be last"):
        Ucluster(optimizer={"keep": "best"})
    with pytest.raises(InputError, match="constituents"):
        FAST.check(make_sample(20), "event")
    without = make_sample(20, constituents=8)
    without = replace(
        without, columns={k: v for k, v in without.columns.items() if k != "light_tau21"}
    )
    with pytest.raises(ConfigError, match="no 'light_tau21'"):
        FAST.check(without, "event")
    with pytest.raises(ConfigError, match="leave"):
        FAST.check_window(WINDOW, MassRange(low=3200, high=7000))


def test_a_short_training_for_its_cost_refuses_no_occupancy():
    assert FAST.model_copy(update={"least_significance": 2.0}).shortened().least_significance == 0
    assert FAST.shortened().passes == 4
