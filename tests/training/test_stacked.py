"""Networks trained together are those trained alone, and those that Keras trains."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.training import Batches, OptimizerSettings, backend, fit
from tnt_coffea.training.fitting import cross_entropy
from tnt_coffea.training.stacked import ADAM, HIDDEN, StackedNetworks, train_stacked

EVENTS, SEEDS = 1030, (4, 9, 2, 7)
rng = np.random.default_rng(8)
X = rng.normal(size=(3000, 2)).astype(np.float32)
ROWS = rng.integers(0, len(X), (len(SEEDS), EVENTS))
TARGETS = np.arange(EVENTS) % 2
# The last batch is smaller, some events count against their class, members differ.
WEIGHTS = np.where(np.arange(EVENTS) % 5 == 0, -0.5, 1.2) * rng.uniform(0.5, 1.5, ROWS.shape)


def stacked(members, epochs=2, **settings):
    return train_stacked(
        X,
        ROWS[members],
        TARGETS,
        WEIGHTS[members],
        seeds=[SEEDS[i] for i in members],
        epochs=epochs,
        **settings,
    )


def test_a_stack_is_its_members_trained_alone() -> None:
    together = stacked(range(4))
    assert len(np.unique(together.parameters[:, 0])) == 4
    for i in range(4):
        alone = stacked([i])
        np.testing.assert_array_equal(together.parameters[i], alone.parameters[0])
        np.testing.assert_array_equal(together.loss[i], alone.loss[0])
        np.testing.assert_array_equal(together.logits(X)[i], alone.logits(X)[0])


def keras_network(networks):
    keras = backend.keras()
    inputs = keras.Input((2,), name="features")
    layer = inputs
    for nodes in HIDDEN:
        layer = keras.layers.Dense(nodes, activation="relu")(layer)
    layer = keras.layers.Dense(1, activation="sigmoid")(layer)
    model = keras.Model([inputs], keras.ops.reshape(layer, (-1,)))
    model.set_weights([values[0] for layer in networks.layers() for values in layer])
    return model


def test_a_member_is_what_keras_trains_from_the_same_first_weights() -> None:
    model = keras_network(StackedNetworks.initial((2, *HIDDEN, 1), [SEEDS[1]]))
    before = backend.array(model([X]))
    events = Batches(
        ({"features": lambda rows: X[rows]},),
        np.zeros(EVENTS, int),
        ROWS[1],
        TARGETS.astype(np.float32),
        WEIGHTS[1].astype(np.float32),
    )
    history = fit(model, cross_entropy, events, events, optimizer=ADAM, epochs=2, seed=SEEDS[1])
    trained = stacked([1])
    outputs = 1 / (1 + np.exp(-trained.logits(X)[0].astype(float)))
    np.testing.assert_allclose(outputs, backend.array(model([X])), atol=1e-5)
    np.testing.assert_allclose(trained.loss[0], history.loss, rtol=1e-4)
    assert np.abs(outputs - before).max() > 0.05  # it has learned something


def test_an_event_of_weight_zero_teaches_nothing() -> None:
    rows, weights = ROWS[:1].copy(), np.ones(EVENTS)
    weights[500:] = 0
    found = []
    for changed in (False, True):
        rows[0, 500:] = 7 if changed else rows[0, 500:]
        found.append(train_stacked(X, rows, TARGETS, weights, seeds=[1], epochs=1).parameters)
    np.testing.assert_array_equal(*found)


def test_the_loss_of_any_logit_is_exact() -> None:
    """Separable events of weight 1e4 reach logits where a clipped probability stops at 16."""
    far = np.repeat([[-300.0], [300.0]], 100, axis=0).astype(np.float32)
    rows, targets = np.arange(200)[None], np.arange(200) < 100
    networks = train_stacked(far, rows, targets, np.ones(200), seeds=[3], epochs=200)
    logits = networks.logits(far)[0].astype(float)
    assert np.abs(logits).min() > 20
    assert 0 <= networks.loss[0, -1] < 1e-8
    wrong = train_stacked(far, rows, targets, -np.ones(200), seeds=[3], epochs=20)
    assert wrong.loss[0, -1] < -16  # Keras' clipped loss ends there


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep is 'best'"):
        stacked([0], optimizer=OptimizerSettings(batch=200))
    with pytest.raises(TrainingError, match="no events"):
        train_stacked(X, ROWS[:, :0], TARGETS[:0], TARGETS[:0], seeds=SEEDS, epochs=1)
    with pytest.raises(TrainingError, match="not finite in epoch 1"):
        train_stacked(X * np.nan, ROWS, TARGETS, WEIGHTS, seeds=SEEDS, epochs=1)
