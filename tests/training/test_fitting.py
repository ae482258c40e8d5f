from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.config import OptimizerSettings
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import backend
from tnt_coffea.training.fitting import (
    Jets,
    fit,
    likelihood_loss,
    reconstruction_loss,
    trimmed,
)

rng = np.random.default_rng(6)
TARGETS = (rng.random(400) < 0.5).astype(np.float32)
IMAGES = rng.random((400, 1, 4, 4)).astype(np.float32)
IMAGES[:, 0, 1, 2] += TARGETS


def jets(start, stop, images=IMAGES, weights=None):
    rows = np.arange(start, stop)
    ones = np.ones(stop - start, np.float32)
    return Jets(
        lambda chosen: (images[chosen].transpose(0, 2, 3, 1),),
        rows,
        TARGETS[rows],
        ones if weights is None else weights,
    )


def network(units=1, activation="sigmoid"):
    backend.tensorflow()
    import keras

    start = keras.initializers.GlorotUniform(seed=1)
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation=activation, kernel_initializer=start),
        ]
    )


def fitted(
    net,
    loss=likelihood_loss,
    training=None,
    epochs=8,
    seed=3,
    validation_images=IMAGES,
    **optimizer,
):
    settings = OptimizerSettings(**({"batch": 64, "learning_rate": 0.02} | optimizer))
    return fit(
        net,
        loss,
        jets(0, 300) if training is None else training,
        jets(300, 400, validation_images),
        optimizer=settings,
        epochs=epochs,
        seed=seed,
    )


def cross_entropy(net, start, stop):
    p = net(IMAGES[start:stop].transpose(0, 2, 3, 1)).numpy()[:, 0].astype(np.float64)
    p, y = np.clip(p, 1e-7, 1 - 1e-7), TARGETS[start:stop]  # Keras' epsilon
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def test_losses_fall_and_the_validation_loss_is_that_of_the_weights_kept():
    net = network()
    history = fitted(net)
    assert history.validation_loss[-1] < 0.8 * history.validation_loss[0]
    assert cross_entropy(net, 300, 400) == pytest.approx(min(history.validation_loss), rel=1e-5)
    assert history.summary()["validation_loss"] == min(history.validation_loss)
    assert history.to_dict()["best_epoch"] == history.best_epoch


def test_stops_early_and_restores_the_best_weights():
    net = network()
    history = fitted(net, epochs=60, learning_rate=0.3, decay=0.0, patience=3)
    assert len(history.loss) == history.best_epoch + 4 < 60
    assert cross_entropy(net, 300, 400) == pytest.approx(min(history.validation_loss), rel=1e-4)


def test_same_seed_gives_the_same_weights_and_another_one_does_not():
    nets = [network() for _ in range(3)]
    for net, seed in zip(nets, (3, 3, 4), strict=True):
        fitted(net, epochs=2, seed=seed)
    one, two, three = (net.get_weights()[0] for net in nets)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_jets_of_weight_zero_teach_nothing():
    wrong = IMAGES.copy()
    wrong[150:300] = rng.random((150, 1, 4, 4)) * 50
    weights = np.repeat([2.0, 0.0], 150).astype(np.float32)
    nets = [network(), network()]
    for net, images in zip(nets, (IMAGES, wrong), strict=True):
        fitted(net, epochs=2, training=jets(0, 300, images, weights))
    np.testing.assert_array_equal(*(net.get_weights()[0] for net in nets))


def test_reconstruction_learns_without_targets():
    history = fitted(network(16, "linear"), reconstruction_loss, epochs=10)
    assert history.validation_loss[-1] < 0.5 * history.validation_loss[0]


def test_loss_that_is_not_finite_is_an_error():
    broken = IMAGES.copy()
    broken[5] = np.nan
    with pytest.raises(TrainingError, match="not finite in epoch 1"):
        fitted(network(), training=jets(0, 300, broken))


def test_empty_sample_is_an_error():
    with pytest.raises(TrainingError, match="no jets to train on"):
        fitted(network(), training=jets(0, 0))


@pytest.mark.parametrize("loss", [likelihood_loss, reconstruction_loss])
def test_steps_of_other_backends_are_those_of_tensorflow(loss):
    from tnt_coffea.training.steps import by_keras, compiled

    keras = backend.keras()
    size = {"units": 16} if loss is reconstruction_loss else {}
    found = []
    for made in (compiled, by_keras):
        net = network(**size)
        step, evaluate = made(net, loss, keras.optimizers.Adam(0.02))
        weights = np.linspace(0.5, 1.5, 64, dtype=np.float32)
        losses = [
            float(step((batch,), targets, weights[: len(targets)]))
            for (batch,), targets, _ in jets(0, 160).batches(np.arange(160), 64)
        ]
        (batch,) = jets(300, 350).inputs(np.arange(300, 350))
        losses.append(float(evaluate((batch,), TARGETS[300:350], weights[:50])))
        found.append(losses)
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert len(set(found[0])) == 4


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(0.4, [0, 3.75, 0, 1.25, 0]), (0.5, [5, 2.5, 0, 5 / 6, 0])],
)
def test_trimmed_loss_counts_the_least_of_a_batch(keep, expected):
    backend.tensorflow()
    each = np.array([3.0, 1.5, 7.0, 0.5, 9.0], np.float32)
    found = trimmed(lambda inputs, targets, outputs: outputs, keep)(None, None, each)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_trimmed_loss_of_all_is_the_loss_itself():
    assert trimmed(reconstruction_loss, 1.0) is reconstruction_loss


def test_equal_losses_all_count_once():
    backend.tensorflow()
    each = np.full(6, 2.0, np.float32)
    found = trimmed(lambda inputs, targets, outputs: outputs, 0.5)(None, None, each)
    np.testing.assert_allclose(found, each)


def test_a_trimmed_loss_learns_the_jets_of_the_majority():
    """One value for all images is learned: the mean of all, or that of the two thirds."""
    backend.tensorflow()
    import keras

    rare = np.arange(400) % 3 == 0
    images = np.where(rare, 5.0, 1.0).astype(np.float32)[:, None, None, None]
    images = np.broadcast_to(images, (400, 1, 4, 4))

    def learned(keep):
        network = keras.Sequential(
            [
                keras.Input((4, 4, 1)),
                keras.layers.Rescaling(0.0),
                keras.layers.Flatten(),
                keras.layers.Dense(16),
            ]
        )
        fitted(
            network,
            trimmed(reconstruction_loss, keep),
            jets(0, 300, images),
            epochs=60,
            patience=60,
            validation_images=images,
        )
        return network(images[:1].transpose(0, 2, 3, 1)).numpy().mean()

    assert learned(1.0) == pytest.approx(7 / 3, abs=0.1)
    assert learned(0.5) == pytest.approx(1.0, abs=0.1)
