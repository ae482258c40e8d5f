"""The autoencoder that is given the mass, on numbers made of one hidden number and the mass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Batches, Job, OptimizerSettings, backend, fit, keras_graph
from tnt_coffea.training.fitting import evaluated
from tnt_coffea.training.latent_mass import LatentMass, evenness, latent_loss
from tnt_coffea.training.methods.buhulaspa import Buhulaspa
from tnt_coffea.training.orientation import Orientation

A = np.array([0.3, -0.2, 0.25, 0.1, -0.3, 0.2, 0.15, -0.1])
B = np.array([0.2, 0.3, -0.25, 0.1, 0.15, -0.2, 0.3, 0.05])
NAMES = tuple(f"x{i}" for i in range(8))
FAST = {"kind": "adam", "learning_rate": 0.01, "batch": 50}
SMALL = Buhulaspa(
    features=NAMES, layers=(32,), reconstruction=500, mass_noise=0, epochs=30, optimizer=FAST
)
"""The noise of the mass would leave a part of what follows the mass to the latent number."""


def toy(events, seed=1, tail=0.01):
    """Events with x = A z + B m + noise, a tail of z at 5, and z."""
    sample, rng = make_sample(events, 0.0, seed=seed), np.random.default_rng(seed)
    z = rng.normal(size=events) + 5 * (rng.random(events) < tail)
    x = np.outer(z, A) + np.outer((sample.m_jj - 3400) / 800, B) + rng.normal(0, 0.02, (events, 8))
    columns = dict(zip(NAMES, x.astype(np.float32).T, strict=True))
    return replace(sample, columns=dict(sample.columns) | columns), z


@pytest.fixture(scope="module")
def events():
    return toy(2000)


@pytest.fixture(scope="module")
def network(events):
    """Trained as the method does, which keeps the decoder for itself."""
    sample = events[0]
    network = LatentMass.of(NAMES, "event", sample, layers=SMALL.layers, seed=1)
    assert np.abs(decoded_slopes(network) - B).max() > 0.1
    reading = {"features": network.shown.input.reader(sample)}
    every = [rows_of(reading, np.arange(*edges)) for edges in ((0, 1800), (1800, 2000))]
    fit(
        network.trained(mass_noise=SMALL.mass_noise, seed=1),
        latent_loss(SMALL.reconstruction),
        *every,
        optimizer=SMALL.optimizer,
        epochs=SMALL.epochs,
        seed=1,
        merit=evenness,
    )
    return network


@pytest.fixture(scope="module")
def untrained(events):
    return LatentMass.of(NAMES, "event", events[0], layers=(8,), seed=1)


def outputs(model, columns):
    return [backend.array(each) for each in evaluated(model, {"features": columns})]


def rows_of(reading, rows):
    n = len(rows)
    return Batches([reading], 0 * rows, rows, np.zeros(n, "f4"), np.ones(n, "f4"))


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


def scored(network, sample, rule=Orientation.by_skewness):
    return network.scored(rule(network.z(sample), sample.weight))


def decoded_slopes(network, step=200.0):
    """The decoder's dx / dm per 800 GeV."""
    scale = network.scaling.scale
    m = scale[-1] * np.array([3400 - step, 3400 + step])
    x = backend.array(network.decoder(np.stack([0 * m, m], axis=1).astype(np.float32)))
    return (x[1] - x[0]) / scale[:-1] / (2 * step) * 800


def test_the_latent_number_is_the_hidden_one_and_does_not_follow_the_mass(events, network):
    sample, hidden = events
    score, z = outputs(scored(network, sample), network.features.input.read(sample))
    assert max(abs(correlation(sample.columns[name], sample.m_jj)) for name in NAMES) > 0.8
    assert abs(correlation(z[:, 0], sample.m_jj)) < 0.05
    assert correlation(score, hidden) > 0.98  # oriented along the tail
    assert network.features.input.columns == NAMES  # the encoder never sees the mass


def test_the_decoder_takes_from_the_mass_what_follows_the_mass(network):
    np.testing.assert_allclose(decoded_slopes(network), B, atol=0.04)


def test_the_graph_gives_score_and_latent_number_finite_for_any_input(events, network):
    columns = network.features.input.read(events[0])[:64]
    columns[:6, 0] = np.nan, np.inf, -np.inf, 0, 1e30, -1e30
    columns[6], columns[7] = 0, np.nan
    model = scored(network, events[0])
    tagger = Tagger(keras_graph(model).SerializeToString(), "the model")
    score, z = outputs(model, columns)
    np.testing.assert_allclose(tagger.score(columns), score, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tagger.latent(columns), z, rtol=1e-5, atol=1e-5)
    assert np.isfinite(score).all()


@pytest.mark.parametrize("rule", [Orientation.by_skewness, Orientation.by_distance])
def test_mirrored_encoder_and_decoder_are_the_same_autoencoder_and_score(rule, events, untrained):
    sample, _ = events
    columns = untrained.features.input.read(sample)
    shown = untrained.shown.input.read(sample)

    def score_and_errors():
        score, z = outputs(scored(untrained, sample, rule), columns)
        errors = evaluated(untrained.trained(mass_noise=0.1, seed=1), {"features": shown})
        return score, z, backend.array(errors)

    before = score_and_errors()
    *_, mean, _ = untrained.encoder.layers
    mean.set_weights([-each for each in mean.get_weights()])
    first = untrained.decoder.layers[1]
    kernel, bias = first.get_weights()
    first.set_weights([kernel * [[-1], [1]], bias])
    after = score_and_errors()
    np.testing.assert_array_equal(after[0], before[0])
    np.testing.assert_array_equal(after[1], -before[1])
    np.testing.assert_array_equal(after[2], before[2])


def test_the_epoch_kept_is_that_of_the_smallest_planted_variance():
    """Errors are (t - a)^2 of three a, and training moves t from 0 to 5, past the smallest."""
    keras = backend.keras()
    columns, a = keras.Input((1,), name="features"), np.array([0.0, 1.0, 3.0], np.float32)
    t = keras.layers.Dense(1, kernel_initializer="zeros")(0 * columns)
    model = keras.Model([columns], keras.ops.concatenate([t, keras.ops.square(t - a)], axis=1))
    passed = []
    shown = rows_of({"features": lambda rows: np.zeros((len(rows), 1), "f4")}, np.arange(40))
    history = fit(
        model,
        lambda targets, outputs: keras.ops.square(outputs[:, 0] - 5),
        shown,
        shown,
        optimizer=OptimizerSettings(learning_rate=0.3, batch=40, patience=30),
        epochs=20,
        seed=1,
        merit=evenness,
        after_epoch=lambda: passed.append(model.get_weights()[1].item()),
    )
    planted = np.var((np.array(passed)[:, None] - a) ** 2, axis=1)
    assert 0 < np.argmin(planted) < 19
    assert history.best_epoch == np.argmin(planted)
    assert model.get_weights()[1].item() == passed[history.best_epoch]
    assert history.best_epoch != np.argmin(history.validation_loss)


@pytest.mark.parametrize(
    ("changes", "columns", "error", "message"),
    [
        ({"features": ("x0", "m_jj")}, {}, ConfigError, "m_jj, which the decoder is given"),
        ({"features": ("x0 / m_jj",)}, {}, ConfigError, "m_jj, which the decoder is given"),
        ({"features": ("tau99",)}, {}, ConfigError, "holds no 'heavy_tau99'"),
        ({}, {"x0": 0.0}, TrainingError, "feature x0 is the same for all events"),
        ({}, {"x1": np.nan}, TrainingError, "feature x1 is not finite for 60 of 60 events"),
        ({"features": ("log(x0)",)}, {"x0": 0.0}, TrainingError, "not finite.*logarithm"),
    ],
)
def test_bad_input_is_refused_before_any_training(changes, columns, error, message):
    sample = toy(60)[0]
    changed = {name: np.full(60, value, np.float32) for name, value in columns.items()}
    sample = replace(sample, columns=dict(sample.columns) | changed)
    with pytest.raises(error, match=message):
        SMALL.model_copy(update=changes).train(Job(sample, "event", seed=1))


@pytest.mark.parametrize(
    ("events", "weight", "message"),
    [(99, 1.0, "^99 events to train on, at least 100"), (120, -1.0, "120 of 120 weights are neg")],
)
def test_few_events_and_negative_weights_are_refused(events, weight, message):
    sample = replace(toy(events)[0], weight=np.full(events, weight))
    with pytest.raises(TrainingError, match=message):
        SMALL.train(Job(sample, "event", seed=1))


def test_the_optimizer_is_stored_whichever_it_is():
    for optimizer in ({}, {"kind": "adam"}, {"kind": "adadelta", "patience": 3}):
        method = Buhulaspa(optimizer=optimizer)
        assert method.model_dump()["optimizer"]["kind"] == optimizer.get("kind", "adadelta")
        assert Buhulaspa.model_validate(method.model_dump(mode="json")) == method


@pytest.mark.slow
def test_seeds_agree_and_need_the_mass():
    sample, hidden = toy(4000)

    def score(method, seed):
        scorer = method.train(Job(sample, "event", seed))
        return outputs(scorer.model, scorer.inputs[0].read(sample))[0]

    given = [score(SMALL, seed) for seed in range(5)]
    # The epoch of the most even errors may be an early one, in which z still follows the mass.
    assert np.mean([abs(correlation(each, sample.m_jj)) for each in given]) < 0.05
    for each in given:
        assert spearmanr(each, hidden)[0] > 0.98
        assert spearmanr(each, given[0])[0] > 0.95
    plain = SMALL.model_copy(update={"give_mass": False})
    assert abs(correlation(score(plain, 1), sample.m_jj)) > 0.2
