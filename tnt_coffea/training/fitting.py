"""The one training loop: Adam, early stopping, the best weights; the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds
from tnt_coffea.config import OptimizerSettings
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import backend

__all__ = ["History", "Jets", "fit", "likelihood_loss", "reconstruction_loss"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Jets:
    """Jets that a network is shown; their images are expanded a batch at a time.

    Attributes
    ----------
    images
        Function from row numbers to images, (row number, channel, row, column) float32.
    rows
        (jet,) row numbers.
    targets
        (jet,) float32: 1 for signal-rich, 0 for background-rich; unused by autoencoders.
    weights
        (jet,) float32, mean 1.
    """

    images: Callable[[Int64Array], Float32Array]
    rows: Int64Array
    targets: Float32Array
    weights: Float32Array

    def __len__(self) -> int:
        return len(self.rows)

    def batches(
        self, order: Int64Array, size: int
    ) -> Iterator[tuple[Float32Array, Float32Array, Float32Array]]:
        """Yield (images, targets, weights) in an order of positions; channels last."""
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            images = self.images(self.rows[chosen]).transpose(0, 2, 3, 1)
            yield np.ascontiguousarray(images), self.targets[chosen], self.weights[chosen]


@dataclass(frozen=True)
class History:
    """Losses per epoch of one training.

    Attributes
    ----------
    loss
        Weighted mean over the training jets, during the epoch.
    validation_loss
        Weighted mean over the validation jets, after the epoch.
    """

    loss: tuple[float, ...]
    validation_loss: tuple[float, ...]

    @property
    def best_epoch(self) -> int:
        """Epoch, from 0, whose weights were kept."""
        return int(np.argmin(self.validation_loss))

    def to_dict(self) -> dict[str, Any]:
        """Return the history as JSON values."""
        return {
            "loss": list(self.loss),
            "validation_loss": list(self.validation_loss),
            "best_epoch": self.best_epoch,
        }

    def summary(self) -> dict[str, float]:
        """Return the figures for a card: epochs and the losses of the weights kept."""
        return {
            "epochs": float(len(self.loss)),
            "best_epoch": float(self.best_epoch),
            "loss": self.loss[self.best_epoch],
            "validation_loss": self.validation_loss[self.best_epoch],
        }


def likelihood_loss(images: Any, targets: Any, outputs: Any) -> Any:
    """Return the binary cross-entropy of every jet; outputs are probabilities (n, 1)."""
    from keras import ops

    return ops.binary_crossentropy(targets, outputs[:, 0])


def reconstruction_loss(images: Any, targets: Any, outputs: Any) -> Any:
    """Return the squared error of every jet, summed over pixels; outputs are images (n, pixel).

    The sum, not the mean: of pixels that sum to one the mean is so small that its
    gradients would be lost in Adam's epsilon.
    """
    from keras import ops

    return ops.sum(ops.square(ops.reshape(images, ops.shape(outputs)) - outputs), axis=1)


def fit(
    network: Any,
    loss: Callable[[Any, Any, Any], Any],
    training: Jets,
    validation: Jets,
    *,
    optimizer: OptimizerSettings,
    epochs: int,
    seed: int,
) -> History:
    """Train a network in place, leave it with its best weights, and return the losses.

    Parameters
    ----------
    network
        Keras network, channels last.
    loss
        Function of (images, targets, outputs) to the loss of every jet.
    training, validation
        Jets to train on, and jets to choose the epoch by.
    optimizer
        Settings of Adam, of its decay and of early stopping.
    epochs
        Most epochs.
    seed
        Seed of the order of the batches.

    Raises
    ------
    TrainingError
        A sample is empty, or the loss is not finite.

    Source: settings of the public code of arXiv:2002.12376.
    """
    for name, jets in (("train on", training), ("validate with", validation)):
        if not len(jets):
            msg = f"no jets to {name}: use more events, or fewer folds"
            raise TrainingError(msg)
    step, evaluate = _compiled(network, loss, optimizer)
    best, best_weights, losses, validation_losses = np.inf, network.get_weights(), [], []
    in_order = np.arange(len(validation))
    for epoch in range(epochs):
        order = seeds.generator(seed, "epoch", epoch).permutation(len(training))
        losses.append(_mean_loss(step, training, order, optimizer.batch))
        validation_losses.append(_mean_loss(evaluate, validation, in_order, optimizer.batch))
        if not np.isfinite(losses[-1] + validation_losses[-1]):
            msg = (
                f"the loss is not finite in epoch {epoch + 1} "
                f"({losses[-1]}, validation {validation_losses[-1]}): lower "
                "train.optimizer.learning_rate"
            )
            raise TrainingError(msg)
        if validation_losses[-1] < best:
            best, best_weights = validation_losses[-1], network.get_weights()
        elif epoch - int(np.argmin(validation_losses)) >= optimizer.patience:
            break
    network.set_weights(best_weights)
    return History(tuple(losses), tuple(validation_losses))


def _mean_loss(step: Any, jets: Jets, order: Int64Array, size: int) -> float:
    total = sum(float(step(*batch)) for batch in jets.batches(order, size))
    return total / float(jets.weights.sum(dtype=np.float64))


def _compiled(network: Any, loss: Any, settings: OptimizerSettings) -> tuple[Any, Any]:
    tf = backend.tensorflow()
    import keras

    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.InverseTimeDecay(settings.learning_rate, 1, settings.decay),
        beta_1=settings.beta1,
        beta_2=settings.beta2,
    )
    optimizer.build(network.trainable_variables)
    # One signature for every batch, the last and smaller one included: one tracing.
    signature = [
        tf.TensorSpec(network.input_shape, tf.float32),
        tf.TensorSpec((None,), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    ]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(images: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = weights * loss(images, targets, network(images, training=True))
            mean = tf.reduce_mean(losses)
        gradients = tape.gradient(mean, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return tf.reduce_sum(losses)

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def evaluate(images: Any, targets: Any, weights: Any) -> Any:
        return tf.reduce_sum(weights * loss(images, targets, network(images, training=False)))

    return step, evaluate
