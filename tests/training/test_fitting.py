from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from tnt_coffea.errors import TrainingError
from tnt_coffea.training import Batches, OptimizerSettings, backend, fit, fitting
from tnt_coffea.training.augmentation import mixed_up
from tnt_coffea.training.fitting import cross_entropy, model_output, trimmed

rng = np.random.default_rng(6)
TARGETS = (rng.random(400) < 0.5).astype(np.float32)
IMAGES = rng.random((400, 1, 4, 4)).astype(np.float32)
IMAGES[:, 0, 1, 2] += TARGETS


def jets(start, stop, images=IMAGES, weights=None):
    rows = np.arange(start, stop)
    ones = np.ones(stop - start, np.float32)
    return Batches(
        ({"image": lambda chosen: images[chosen]},),
        np.zeros_like(rows),
        rows,
        TARGETS[rows],
        ones if weights is None else weights,
    )


def initial():
    return backend.initialisers(1)()


def network():
    """The probability of the positive class."""
    keras = backend.keras()
    image = keras.Input((1, 4, 4), name="image")
    layer = keras.layers.Dense(1, activation="sigmoid", kernel_initializer=initial())
    return keras.Model([image], flat(layer(keras.layers.Flatten()(image))))


def reconstruction(scale=1.0):
    """The squared error of an image; with a scale of zero it can but learn one image."""
    keras = backend.keras()
    image = keras.Input((1, 4, 4), name="image")
    pixels = keras.layers.Flatten()(image)
    seen = keras.layers.Rescaling(scale)(pixels)
    decoded = keras.layers.Dense(16, kernel_initializer=initial())(seen)
    return keras.Model([image], keras.ops.sum(keras.ops.square(pixels - decoded), axis=1))


def flat(value):
    return backend.keras().ops.reshape(value, (-1,))


def fitted(
    net,
    loss=cross_entropy,
    training=None,
    epochs=8,
    seed=3,
    validation_images=IMAGES,
    merit=None,
    first=0,
    change=None,
    mix_up=0.0,
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
        merit=merit,
        first=first,
        change=change,
        mix_up=mix_up,
    )


def outputs(net, images):
    return backend.array(net([images])).astype(np.float64)


def loss_of(net, start, stop, images=IMAGES):
    p = np.clip(outputs(net, images[start:stop]), 1e-7, 1 - 1e-7)  # Keras' epsilon
    y = TARGETS[start:stop]
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def test_losses_fall_and_the_validation_loss_is_that_of_the_weights_kept():
    net = network()
    history = fitted(net, epochs=16)
    assert history.validation_loss[-1] < 0.8 * history.validation_loss[0]
    assert loss_of(net, 300, 400) == pytest.approx(min(history.validation_loss), rel=1e-5)
    assert history.summary()["validation_loss"] == min(history.validation_loss)
    assert history.to_dict()["best_epoch"] == history.best_epoch


def test_stops_early_and_restores_the_best_weights():
    net = network()
    history = fitted(net, epochs=60, learning_rate=0.3, decay=0.0, patience=3)
    assert len(history.loss) == history.best_epoch + 4 < 60
    assert loss_of(net, 300, 400) == pytest.approx(min(history.validation_loss), rel=1e-4)


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
    history = fitted(reconstruction(), model_output, epochs=10)
    assert history.validation_loss[-1] < 0.5 * history.validation_loss[0]


def test_loss_that_is_not_finite_is_an_error():
    broken = IMAGES.copy()
    broken[5] = np.nan
    with pytest.raises(TrainingError, match="not finite in epoch 1"):
        fitted(network(), training=jets(0, 300, broken))


def test_empty_sample_is_an_error():
    with pytest.raises(TrainingError, match="no jets to train on"):
        fitted(network(), training=jets(0, 0))


def test_the_last_weights_may_be_kept():
    # What holds for the training events is wrong for those that choose the epoch.
    other = IMAGES.copy()
    other[:, 0, 1, 2] -= 2 * TARGETS
    best, last = network(), network()
    found = [
        fitted(net, epochs=12, validation_images=other, patience=12, keep=keep)
        for net, keep in ((best, "best"), (last, "last"))
    ]
    assert found[0].loss == found[1].loss
    assert found[0].best_epoch < found[1].best_epoch == 11
    for net, history in zip((best, last), found, strict=True):
        kept = history.validation_loss[history.best_epoch]
        assert loss_of(net, 300, 400, other) == pytest.approx(kept, rel=1e-4)


def test_a_merit_chooses_the_epoch_instead_of_the_loss():
    wanted = iter([0.1, 0.9, 0.3, 0.2])
    history = fitted(network(), epochs=4, merit=lambda targets, scores: next(wanted))
    assert history.merit == (0.1, 0.9, 0.3, 0.2)
    assert history.best_epoch == 1 != int(np.argmin(history.validation_loss))
    assert history.summary()["merit"] == 0.9


@pytest.mark.parametrize(
    ("merits", "first", "patience", "best"),
    [
        ((0.9, 0.2, 0.5, 0.1), 2, 9, 2),  # the best of those that may be kept
        ((0.3, 0.9, 0.9, 0.1), 0, 9, 1),  # of epochs alike the first
        ((0.9, 0.1, 0.1, 0.2, 0.1), 3, 1, 3),  # patience begins with the first that may be kept
    ],
)
def test_epochs_before_the_first_are_not_kept(merits, first, patience, best):
    wanted, kept = iter(merits), []
    net = network()

    def merit(targets, scores):
        kept.append(net.get_weights())
        return next(wanted)

    history = fitted(net, epochs=len(merits), merit=merit, first=first, patience=patience)
    assert (history.best_epoch, history.first) == (best, first)
    assert history.merit == merits
    for found, expected in zip(net.get_weights(), kept[best], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_change_reaches_the_training_batches_alone():
    seen = []

    def change(inputs, rng):
        seen.append((inputs["image"].sum(axis=(1, 2, 3)), float(rng.random())))
        return {"image": np.zeros_like(inputs["image"])}

    net = network()
    history = fitted(net, epochs=2, change=change)
    seen = seen[-10:]  # Keras looks at batches before the first epoch
    assert [len(sums) for sums, _ in seen] == [64, 64, 64, 64, 44] * 2
    assert len({number for _, number in seen}) == 10
    # Every epoch has every event once, in another order.
    first, second = (np.concatenate([sums for sums, _ in seen[i : i + 5]]) for i in (0, 5))
    every = np.sort(IMAGES[:300].sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(np.sort(first), every)
    np.testing.assert_allclose(np.sort(second), every)
    assert not np.array_equal(first, second)
    # Of empty images nothing is learned but the share of the classes.
    assert np.ptp(history.validation_loss) < 0.05


def test_negative_weights_subtract_what_they_weigh():
    # The second half is the first with weight -1: only what the last events say is left.
    rows = np.concatenate([np.arange(100), np.arange(100), np.arange(100, 300)])
    weights = np.repeat([1.0, -1.0, 1.0], [100, 100, 200]).astype(np.float32)
    nets = [network(), network()]
    images = {"image": lambda chosen: IMAGES[chosen]}
    both = Batches((images,), np.zeros_like(rows), rows, TARGETS[rows], weights)
    fitted(nets[0], epochs=1, training=both, batch=400, learning_rate=0.01)
    fitted(nets[1], epochs=1, training=jets(100, 300), batch=400, learning_rate=0.01)
    one, two = (net.get_weights()[0] for net in nets)
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_batches_of_several_samples_are_read_from_each():
    readers = [{"image": lambda rows, shift=shift: IMAGES[rows] + shift} for shift in (0, 10)]
    rows, source = np.array([3, 1, 3, 2]), np.array([0, 1, 1, 0])
    batches = Batches(readers, source, rows, TARGETS[rows], np.ones(4, np.float32))
    found = batches.inputs(np.array([2, 0, 1]))["image"]
    np.testing.assert_array_equal(found, np.stack([IMAGES[3] + 10, IMAGES[3], IMAGES[1] + 10]))


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(0.4, [0, 3.75, 0, 1.25, 0]), (0.5, [5, 2.5, 0, 5 / 6, 0])],
)
def test_trimmed_loss_counts_the_least_of_a_batch(keep, expected):
    backend.keras()
    each = np.array([3.0, 1.5, 7.0, 0.5, 9.0], np.float32)
    found = trimmed(model_output, keep)(None, each)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_trimmed_loss_of_all_is_the_loss_itself():
    assert trimmed(model_output, 1.0) is model_output


def test_equal_losses_all_count_once():
    backend.keras()
    each = np.full(6, 2.0, np.float32)
    found = trimmed(model_output, 0.5)(None, each)
    np.testing.assert_allclose(found, each)


def test_a_trimmed_loss_learns_the_jets_of_the_majority():
    """One value for all images is learned: the mean of all, or that of the two thirds."""
    rare = np.arange(400) % 3 == 0
    images = np.where(rare, 5.0, 1.0).astype(np.float32)[:, None, None, None]
    images = np.broadcast_to(images, (400, 1, 4, 4))

    def learned(keep):
        net = reconstruction(scale=0.0)
        fitted(
            net,
            trimmed(model_output, keep),
            jets(0, 300, images),
            epochs=60,
            patience=60,
            validation_images=images,
        )
        return net.get_weights()[-1].mean()

    assert learned(1.0) == pytest.approx(7 / 3, abs=0.1)
    assert learned(0.5) == pytest.approx(1.0, abs=0.1)


def test_steps_of_other_backends_give_the_numbers_of_tensorflow() -> None:
    keras = backend.keras()

    def model() -> object:
        initial = backend.initialisers(4)
        tensor = keras.Input((3,), name="features")
        dense = keras.layers.Dense(1, activation="sigmoid", kernel_initializer=initial())
        return keras.Model(tensor, keras.ops.reshape(dense(tensor), (-1,)))

    rng = np.random.default_rng(2)
    inputs = {"features": rng.normal(size=(20, 3)).astype(np.float32)}
    targets = (rng.random(20) < 0.5).astype(np.float32)
    weights = rng.random(20).astype(np.float32)
    losses, trained = [], []
    for steps in (fitting._compiled, fitting._by_keras):
        own = model()
        step, evaluate = steps(own, fitting.cross_entropy, keras.optimizers.Adam(0.01))
        batches = (
            {name: np.stack([values] * 3) for name, values in inputs.items()},
            np.stack([targets] * 3),
            np.stack([weights] * 3),
        )
        losses.append(list(step(batches)))
        sums, outputs = evaluate(batches)
        assert outputs().shape == (3, 20)
        losses[-1] += [*sums, *outputs().ravel()]
        trained.append(own.get_weights())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for first, second in zip(*trained, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)


def test_a_training_leaves_no_graph_behind():
    def graphs():
        gc.collect()
        return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())

    fitted(network(), epochs=1)
    before = graphs()
    for _ in range(2):
        fitted(network(), epochs=1)
    assert graphs() == before


@pytest.mark.parametrize("together", [1, 16 * 130])
def test_no_number_depends_on_how_many_batches_go_together(monkeypatch, together):
    def trained():
        net = network()
        history = fitted(net, epochs=3, merit=lambda wanted, given: -np.abs(wanted - given).mean())
        return history, [weights.tobytes() for weights in net.get_weights()]

    every = trained()
    monkeypatch.setattr(fitting, "_TOGETHER", together)
    assert trained() == every


def test_the_first_step_of_adadelta_is_as_long_as_its_constants_say():
    net = network()
    before = net.get_weights()
    fitted(net, epochs=1, batch=300, kind="adadelta", learning_rate=1.0, decay=0.0)
    moved = np.abs(
        np.concatenate([(a - b).ravel() for a, b in zip(net.get_weights(), before, strict=True)])
    )
    # lr sqrt(epsilon / ((1 - rho) g^2 + epsilon)) |g| of a gradient g that is not small
    assert moved.max() == pytest.approx(np.sqrt(1e-7 / 0.05), rel=0.02)


def test_settings_of_adam_are_stored_without_its_name():
    assert "kind" not in OptimizerSettings().model_dump()
    other = OptimizerSettings(kind="adadelta")
    assert OptimizerSettings.model_validate(other.model_dump(mode="json")) == other


def test_one_cycle_rises_for_a_quarter_of_the_steps_and_falls_to_nothing():
    rate = fitting._one_cycle(0.1, 80)
    rates = np.array([float(rate(step)) for step in range(81)])
    assert rates[[0, 20, 80]] == pytest.approx([0.004, 0.1, 0.0], abs=1e-7)
    assert rates[10] == pytest.approx((0.004 + 0.1) / 2)
    assert (np.diff(rates[:21]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()


def test_one_cycle_covers_all_batches_of_all_epochs():
    net = network()
    taught = []
    history = fit(
        net,
        cross_entropy,
        jets(0, 300),
        jets(300, 400),
        optimizer=OptimizerSettings(batch=64, learning_rate=0.1, one_cycle=True, keep="last"),
        epochs=4,
        seed=3,
        after_epoch=lambda: taught.append(net.get_weights()[0].copy()),
    )
    assert history.loss[-1] < history.loss[0]
    moved = [np.abs(a - b).mean() for a, b in itertools.pairwise(taught)]
    assert moved[-1] < 0.3 * moved[0]  # 5 batches of 64 or less an epoch, the last of 20 steps
    with pytest.raises(ValidationError, match=r"one_cycle.*set keep: last"):
        OptimizerSettings(one_cycle=True)
    assert "one_cycle" not in OptimizerSettings().model_dump()


def test_mixed_events_have_the_loss_of_both():
    batch = np.random.default_rng(2)
    x, y = batch.normal(size=(50, 3)).astype("f4"), (batch.random(50) < 0.5).astype("f4")
    w = batch.uniform(0.5, 2, 50).astype("f4")
    mixed, target, weight = mixed_up({"x": x, "id": np.eye(50, dtype="f4")}, y, w, 0.45, batch)
    shares = mixed["id"]
    assert shares.sum(axis=1) == pytest.approx(np.ones(50), rel=1e-6)
    assert (np.diag(shares) >= 0.5).all()
    assert ((shares > 0).sum(axis=1) <= 2).all()
    assert (np.diag(shares) < 0.99).mean() > 0.3
    np.testing.assert_allclose(mixed["x"], shares @ x, rtol=1e-5, atol=1e-6)
    p = batch.uniform(0.1, 0.9, 50)
    losses = [
        -(of * np.log(p[:, None]) + (1 - of) * np.log(1 - p[:, None]))
        for of in (y, target[:, None])
    ]
    expected = (shares * w * losses[0]).sum(axis=1)
    np.testing.assert_allclose(weight * losses[1][:, 0], expected, rtol=1e-5)


def test_mixing_reaches_the_training_batches_alone():
    histories = [fitted(network(), mix_up=mix, epochs=1) for mix in (0.0, 1.0, 1.0)]
    assert histories[0].loss != histories[1].loss
    assert histories[1].loss == histories[2].loss
    net = network()
    still = fitted(net, mix_up=1.0, epochs=1, learning_rate=1e-12)
    assert still.validation_loss[0] == pytest.approx(loss_of(net, 300, 400), rel=1e-4)
