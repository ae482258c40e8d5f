"""The one training loop: Adam, early stopping, the best weights; the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds
from tnt_coffea.config import OptimizerSettings
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import backend, progress
from tnt_coffea.training.steps import Loss, outputs_of, steps

__all__ = [
    "Change",
    "History",
    "Inputs",
    "Jets",
    "Loss",
    "fit",
    "likelihood_loss",
    "reconstruction_loss",
    "trimmed",
    "variational_loss",
]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


Inputs = tuple[Float32Array, ...]
"""What a network takes of a batch: images (jet, row, column, channel), features (jet, feature),
or constituents (row, jet, particle, 3)."""
Change = Callable[[Inputs, np.random.Generator], Inputs]
"""What is done to the inputs of a training batch, with random numbers of its own."""


@dataclass(frozen=True)
class Jets:
    """Jets that a network is shown; their images are expanded a batch at a time.

    Attributes
    ----------
    inputs
        Function from row numbers to the network's inputs of these rows.
    rows
        (jet,) row numbers.
    targets
        (jet,) float32: 1 for signal-rich, 0 for background-rich, or between; unused by
        autoencoders.
    weights
        (jet,) float32, mean 1.
    change
        Of every training batch.
    """

    inputs: Callable[[Int64Array], Inputs]
    rows: Int64Array
    targets: Float32Array
    weights: Float32Array
    change: Change | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batches(
        self, order: Int64Array, size: int, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[Inputs, Float32Array, Float32Array]]:
        """Yield (inputs, targets, weights) in an order of positions; changed only with `rng`."""
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            inputs = self.inputs(self.rows[chosen])
            if rng is not None and self.change is not None:
                inputs = self.change(inputs, rng)
            yield inputs, self.targets[chosen], self.weights[chosen]


@dataclass(frozen=True)
class History:
    """Losses per epoch of one training.

    Attributes
    ----------
    loss
        Weighted mean over the training jets, during the epoch.
    validation_loss
        Weighted mean over the validation jets, after the epoch.
    merit
        What the epoch was chosen by instead of the validation loss, higher = better; empty
        where that loss decided.
    seconds
        Wall time of every epoch. It is in no file: the same training gives the same bytes.
    first
        The first epoch whose weights may be kept.
    """

    loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    merit: tuple[float, ...] = ()
    seconds: tuple[float, ...] = field(default=(), compare=False)
    first: int = 0

    @property
    def best_epoch(self) -> int:
        """Epoch, from 0, whose weights were kept."""
        if self.merit:
            return int(np.argmax(self.merit))
        return self.first + int(np.argmin(self.validation_loss[self.first :]))

    def to_dict(self) -> dict[str, Any]:
        """Return the history as JSON values."""
        return {
            "loss": list(self.loss),
            "validation_loss": list(self.validation_loss),
            "best_epoch": self.best_epoch,
            **({"merit": list(self.merit)} if self.merit else {}),
        }

    def summary(self) -> dict[str, float]:
        """Return the figures for a card: epochs and the losses of the weights kept."""
        return {
            "epochs": float(len(self.loss)),
            "best_epoch": float(self.best_epoch),
            "loss": self.loss[self.best_epoch],
            "validation_loss": self.validation_loss[self.best_epoch],
            **({"merit": self.merit[self.best_epoch]} if self.merit else {}),
        }


def likelihood_loss(inputs: Any, targets: Any, outputs: Any) -> Any:
    """Return the binary cross-entropy of every jet; outputs are probabilities (n, 1)."""
    from keras import ops

    return ops.binary_crossentropy(targets, outputs[:, 0])


def reconstruction_loss(inputs: Any, targets: Any, outputs: Any) -> Any:
    """Return the squared error of every jet, summed over pixels; outputs are images (n, pixel).

    The sum, not the mean: of pixels that sum to one the mean is so small that its
    gradients would be lost in Adam's epsilon.
    """
    from keras import ops

    return ops.sum(ops.square(ops.reshape(inputs[0], ops.shape(outputs)) - outputs), axis=1)


def variational_loss(kl_weight: float) -> Loss:
    """Return the loss of a variational autoencoder: squared error and weighted divergence.

    Parameters
    ----------
    kl_weight
        Weight of the Kullback-Leibler divergence from a unit Gaussian (beta of a beta-VAE).

    Source: arXiv:1312.6114, equation 10 and appendix B.
    """

    def loss(inputs: Any, targets: Any, outputs: Any) -> Any:
        from keras import ops

        decoded, mean, log_variance = outputs
        divergence = 0.5 * ops.sum(
            ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance, axis=1
        )
        return reconstruction_loss(inputs, targets, decoded) + kl_weight * divergence

    return loss


def trimmed(loss: Loss, keep: float) -> Loss:
    """Return a loss that learns from the jets of a batch with the least of it.

    Parameters
    ----------
    loss
        Of (inputs, targets, outputs) to the loss of every jet.
    keep
        Share of the jets of a batch that count; the loss of the others is 0, and that of
        these is raised by 1 / `keep`, so the mean is the mean of those that count.

    Source: least trimmed squares, P. J. Rousseeuw, J. Am. Stat. Assoc. 79 (1984) 871.
    """
    if keep >= 1:
        return loss

    def of_the_best(inputs: Any, targets: Any, outputs: Any) -> Any:
        from keras import ops

        losses = loss(inputs, targets, outputs)
        number = ops.cast(ops.shape(losses)[0], "float32")
        kept = ops.cast(ops.ceil(keep * number), "int32")
        worst = ops.take(ops.sort(ops.stop_gradient(losses)), kept - 1)
        counts = ops.cast(losses <= worst, "float32")
        return losses * counts * (number / ops.sum(counts))

    return of_the_best


def fit(
    network: Any,
    loss: Loss,
    training: Jets,
    validation: Jets,
    *,
    optimizer: OptimizerSettings,
    epochs: int,
    seed: int,
    merit: Callable[[Float32Array], float] | None = None,
) -> History:
    """Train a network in place, leave it with its best weights, and return the losses.

    Parameters
    ----------
    network
        Keras network, channels last.
    loss
        Function of (inputs, targets, outputs) to the loss of every jet.
    training, validation
        Jets to train on, and jets to choose the epoch by.
    optimizer
        Settings of Adam, of its decay and of early stopping.
    epochs
        Most epochs.
    seed
        Seed of the order of the batches and of changes to them.
    merit
        Function of the (jet,) validation scores that is largest in the best epoch; without
        it the validation loss decides.

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
    step, evaluate = steps(network, loss, optimizer)
    losses: list[float] = []
    validation_losses: list[float] = []
    merits: list[float] = []
    seconds: list[float] = []
    best, best_epoch, best_weights = np.inf, 0, network.get_weights()
    in_order = np.arange(len(validation))
    for epoch in range(epochs):
        began = perf_counter()
        order = seeds.generator(seed, "epoch", epoch).permutation(len(training))
        rng = seeds.generator(seed, "change", epoch)
        losses.append(_mean_loss(step, training, order, optimizer.batch, rng))
        validation_losses.append(_mean_loss(evaluate, validation, in_order, optimizer.batch))
        if not np.isfinite(losses[-1] + validation_losses[-1]):
            msg = (
                f"the loss is not finite in epoch {epoch + 1} "
                f"({losses[-1]}, validation {validation_losses[-1]}): lower "
                "train.optimizer.learning_rate"
            )
            raise TrainingError(msg)
        if merit is not None:
            merits.append(merit(_scores(network, validation, optimizer.batch)))
        progress.note(epoch + 1, losses[-1], validation_losses[-1])
        found = validation_losses[-1] if merit is None else -merits[-1]
        seconds.append(perf_counter() - began)
        if found < best:
            best, best_epoch, best_weights = found, epoch, network.get_weights()
        elif epoch - best_epoch >= optimizer.patience:
            break
    network.set_weights(best_weights)
    return History(tuple(losses), tuple(validation_losses), tuple(merits), tuple(seconds))


def _mean_loss(
    step: Any, jets: Jets, order: Int64Array, size: int, rng: np.random.Generator | None = None
) -> float:
    total = sum(float(step(*batch)) for batch in jets.batches(order, size, rng))
    return total / float(jets.weights.sum(dtype=np.float64))


def _scores(network: Any, jets: Jets, size: int) -> Float32Array:
    order = np.arange(len(jets))
    parts = [
        backend.array(outputs_of(network, inputs))[:, 0]
        for inputs, _, _ in jets.batches(order, size)
    ]
    return np.concatenate(parts)
