"""Training of a Keras model: batches, losses, early stopping; the same bytes every time.

| the model gives | loss |
|---|---|
| the probability of the positive class | `cross_entropy` |
| an error of every jet, to be small | `model_output`, with `trimmed` to leave rare jets out |
| anything else | a function of (targets, outputs) to the loss of every jet |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea import seeds
from tnt_coffea.config import Settings
from tnt_coffea.config.settings import Fraction, Positive
from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers.inputs import Reader
from tnt_coffea.training import backend, progress
from tnt_coffea.training.augmentation import mixed_up
from tnt_coffea.typing import Float32Array, IntArray

__all__ = [
    "Batches",
    "Change",
    "History",
    "Loss",
    "OptimizerSettings",
    "cross_entropy",
    "evaluated",
    "fit",
    "model_output",
    "move",
    "trimmed",
]

_TOGETHER = 2**23
"""Most input values that the backend gets in one call, in whole batches, and most that events may
have to be read only once: 32 MiB."""


Loss = Callable[[Any, Any], Any]
"""Function of (targets, outputs) to the (jet,) losses."""
Change = Callable[[dict[str, Float32Array], np.random.Generator], dict[str, Float32Array]]
"""Random change of the inputs of a training batch."""
Merit = Callable[[Float32Array, Float32Array], float]
"""Function of (jet,) validation targets and the outputs, (jet,) or (jet, output), largest in the
best epoch."""


class OptimizerSettings(Settings):
    """Adam with inverse-time decay and early stopping; defaults of arXiv:2002.12376's code.

    Adadelta (arXiv:1212.5701) has the constants of Keras, and neither `beta1` nor `beta2`.

    Examples
    --------
    >>> settings = OptimizerSettings(batch=500, patience=10)
    >>> settings.learning_rate, settings.keep
    (0.001, 'best')
    """

    # Left out of what is stored at its default: settings from before it have the same digest.
    kind: Literal["adam", "adadelta"] = Field(
        "adam", exclude_if=lambda kind: kind == "adam", description="adam or adadelta"
    )
    learning_rate: Positive = Field(1e-3, description="of the first step")
    beta1: Fraction = Field(0.8, description="decay of the gradient's running mean, a step")
    beta2: Fraction = Field(0.99, description="decay of its running square, a step")
    decay: float = Field(5e-4, ge=0, description="learning rate / (1 + decay * step)")
    one_cycle: bool = Field(
        False,
        exclude_if=lambda wanted: not wanted,
        description="instead of the decay: a rise to learning_rate in the first quarter of all "
        "steps and a fall to nothing behind it, arXiv:1803.09820; needs keep: last",
    )
    batch: int = Field(200, ge=1, description="jets per step")
    validation: Fraction = Field(0.1, description="share kept for early stopping")
    patience: int = Field(5, ge=1, description="epochs without a better validation loss")
    keep: str = Field(
        "best", pattern="^(best|last)$", description="weights kept: of the best or last epoch"
    )

    @model_validator(mode="after")
    def _whole_cycle(self) -> Self:
        if self.one_cycle and self.keep != "last":
            msg = "one_cycle learns most in its last epochs and cannot stop early; set keep: last"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Batches:
    """Events of one or more samples, read a batch at a time.

    Attributes
    ----------
    sources
        By sample, the readers of its inputs by name.
    source, rows
        (event,) int64, number of the event's sample and its row there.
    targets
        (event,) float32: 1 for the positive class, 0 for the other, or between.
    weights
        (event,) float32, of mean absolute value 1; negative ones are allowed.

    Examples
    --------
    >>> import numpy as np
    >>> masses = np.array([[500.0], [90.0], [110.0]], np.float32)  # a feature of three jets
    >>> targets, weights = np.array([[1, 0, 0], [1, 1, 1]], np.float32)
    >>> readers = {"features": lambda rows: masses[rows]}
    >>> batches = Batches([readers], np.zeros(3, int), np.arange(3), targets, weights)
    >>> len(batches), batches.inputs(np.array([2, 0]))["features"].tolist()
    (3, [[110.0], [500.0]])
    """

    sources: Sequence[Mapping[str, Reader]]
    source: IntArray
    rows: IntArray
    targets: Float32Array
    weights: Float32Array

    def __len__(self) -> int:
        return len(self.rows)

    def inputs(self, chosen: IntArray) -> dict[str, Float32Array]:
        """Return the inputs of the events in these places, by name."""
        source, rows = self.source[chosen], self.rows[chosen]
        if len(self.sources) == 1:
            return {name: read(rows) for name, read in self.sources[0].items()}
        out: dict[str, Float32Array] = {}
        for number, of_sample in enumerate(self.sources):
            own = np.flatnonzero(source == number)
            for name, read in of_sample.items():
                values = read(rows[own])
                if name not in out:
                    out[name] = np.empty((len(rows), *values.shape[1:]), np.float32)
                out[name][own] = values
        return out


@dataclass(frozen=True)
class History:
    """Losses per epoch of one training run.

    Attributes
    ----------
    loss
        Weighted mean over the training events, during the epoch.
    validation_loss
        Weighted mean over the validation events, after the epoch.
    merit
        Figure of merit of every epoch, the largest of which decides instead of the validation
        loss; empty where that loss decides.
    seconds
        Wall time of every epoch [s]; not stored, as the same training gives the same bytes.
    first
        The first epoch whose weights may be kept.
    last
        Whether the weights of the last epoch were kept.

    Examples
    --------
    >>> history = History(loss=(0.7, 0.6, 0.5), validation_loss=(0.69, 0.65, 0.66))
    >>> history.best_epoch, history.summary()["validation_loss"]
    (1, 0.65)
    """

    loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    merit: tuple[float, ...] = ()
    seconds: tuple[float, ...] = field(default=(), compare=False)
    first: int = 0
    last: bool = False

    @property
    def best_epoch(self) -> int:
        """Epoch, from 0, whose weights were kept."""
        if self.last:
            return len(self.loss) - 1
        if self.merit:
            return self.first + int(np.argmax(self.merit[self.first :]))
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


def cross_entropy(targets: Any, outputs: Any) -> Any:
    """Return the binary cross-entropy of every jet; outputs are probabilities (n,)."""
    from keras import ops

    return ops.binary_crossentropy(targets, outputs)


def log_odds_entropy(targets: Any, outputs: Any) -> Any:
    """Return the binary cross-entropy of every jet; outputs are logarithms of the odds (n,).

    It is exact where a probability would be 0 or 1 to the precision of a float.
    """
    from keras import ops

    return ops.binary_crossentropy(targets, outputs, from_logits=True)


def model_output(targets: Any, outputs: Any) -> Any:
    """Return the outputs (n,) as losses: for a model that gives an error of every jet."""
    return outputs


def trimmed(loss: Loss, keep: float) -> Loss:
    """Return a loss in which only the jets of a batch with the smallest losses count.

    Parameters
    ----------
    loss
        Function of (targets, outputs) to the loss of every jet.
    keep
        Share of the jets of a batch that count; the loss of the others is 0, and that of
        these is raised by 1 / `keep`, so the mean is the mean of those that count.

    Source: least trimmed squares, P. J. Rousseeuw, J. Am. Stat. Assoc. 79 (1984) 871.
    """
    if keep >= 1:
        return loss

    def of_the_smallest(targets: Any, outputs: Any) -> Any:
        from keras import ops

        losses = loss(targets, outputs)
        number = ops.cast(ops.shape(losses)[0], "float32")
        kept = ops.cast(ops.ceil(keep * number), "int32")
        worst = ops.take(ops.sort(ops.stop_gradient(losses)), kept - 1)
        counts = ops.cast(losses <= worst, "float32")
        return losses * counts * (number / ops.sum(counts))

    return of_the_smallest


def fit(
    model: Any,
    loss: Loss,
    training: Batches,
    validation: Batches,
    *,
    optimizer: OptimizerSettings,
    epochs: int,
    seed: int,
    merit: Merit | None = None,
    first: int = 0,
    change: Change | None = None,
    mix_up: float = 0.0,
    after_epoch: Callable[[], object] | None = None,
) -> History:
    """Train a model in place, leave it with the weights kept, and return the losses.

    Parameters
    ----------
    model
        keras.Model with named inputs.
    loss
        Function of (targets, outputs) to the loss of every jet.
    training, validation
        Events to train on, and events to choose the epoch by.
    optimizer
        Settings of the optimizer, of its decay and of early stopping.
    epochs
        Largest number of epochs.
    seed
        Seed of the order of the batches and of their changes.
    merit
        Figure of merit, largest in the best epoch; without it the validation loss decides. Of
        epochs alike the first is kept.
    first
        The first epoch, from 0, whose weights may be kept.
    change
        Random change of every training batch; validation batches stay as they are.
    mix_up
        Parameter of `augmentation.mixed_up` for every training batch; 0 mixes nothing.
    after_epoch
        Called behind every epoch, while the model has its weights: to keep those of several.

    Raises
    ------
    TrainingError
        A sample is empty, or the loss is not finite.

    Source: settings of the public code of arXiv:2002.12376.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.training import backend
    >>> keras, x = backend.keras(), np.linspace(-1, 1, 40, dtype=np.float32)
    >>> columns = keras.Input((1,), name="features")
    >>> model = keras.Model([columns], keras.layers.Dense(1, activation="sigmoid")(columns)[:, 0])
    >>> readers, targets = {"features": lambda rows: x[rows, None]}, (x > 0).astype(np.float32)
    >>> jets = Batches([readers], np.zeros(40, int), np.arange(40), targets, np.ones_like(x))
    >>> adam = OptimizerSettings(batch=20)
    >>> history = fit(model, cross_entropy, jets, jets, optimizer=adam, epochs=1, seed=1)
    >>> len(history.loss), history.best_epoch
    (1, 0)
    """
    for name, batches in (("train on", training), ("validate with", validation)):
        if not len(batches):
            msg = f"no jets to {name}: use more events, or fewer folds"
            raise TrainingError(msg)
    training, validation = _held(training), _held(validation)
    steps = epochs * -(-len(training) // optimizer.batch)
    step, evaluate = _steps(model, loss, optimizer, steps)
    losses: list[float] = []
    validation_losses: list[float] = []
    merits: list[float] = []
    seconds: list[float] = []
    best, best_epoch, best_weights = np.inf, 0, model.get_weights()
    in_order = np.arange(len(validation))
    for epoch in range(epochs):
        began = perf_counter()
        order = seeds.generator(seed, "epoch", epoch).permutation(len(training))
        rng = seeds.generator(seed, "change", epoch)
        taught = (
            step(_changed(training, places, change, mix_up, rng))
            for places in _several(training, order, optimizer.batch)
        )
        losses.append(_mean(taught, training))
        answers = [
            evaluate(_read(validation, places))
            for places in _several(validation, in_order, optimizer.batch)
        ]
        validation_losses.append(_mean((sums for sums, _ in answers), validation))
        if not np.isfinite(losses[-1] + validation_losses[-1]):
            msg = (
                f"the loss is not finite in epoch {epoch + 1} ({losses[-1]}, validation "
                f"{validation_losses[-1]}): lower the optimizer's learning_rate"
            )
            raise TrainingError(msg)
        current = validation_losses[-1]
        if merit is not None:
            outputs = np.concatenate([own for _, outputs in answers for own in outputs()])
            merits.append(merit(validation.targets, outputs))
            current = -merits[-1]
        if after_epoch is not None:
            after_epoch()
        progress.report_epoch(epoch + 1, losses[-1], validation_losses[-1])
        seconds.append(perf_counter() - began)
        if optimizer.keep == "last" or epoch < first:
            continue
        if current < best:
            best, best_epoch, best_weights = current, epoch, model.get_weights()
        elif epoch - best_epoch >= optimizer.patience:
            break
    if optimizer.keep == "best":
        model.set_weights(best_weights)
    return History(
        tuple(losses),
        tuple(validation_losses),
        tuple(merits),
        tuple(seconds),
        first=first,
        last=optimizer.keep == "last",
    )


def _held(batches: Batches) -> Batches:
    """Return the same events, read from memory where they are few."""
    if _values(batches) * len(batches) > _TOGETHER:
        return batches
    every = np.arange(len(batches))
    readers: dict[str, Reader] = {
        name: values.__getitem__ for name, values in batches.inputs(every).items()
    }
    return Batches([readers], np.zeros_like(every), every, batches.targets, batches.weights)


def _values(batches: Batches) -> int:
    """Return the number of input values of one event."""
    return sum(one.size for one in batches.inputs(np.arange(1)).values())


def _mean(sums: Iterable[Float32Array], batches: Batches) -> float:
    total = sum(float(value) for several in sums for value in several)
    return total / float(np.abs(batches.weights).sum(dtype=np.float64))


def _several(batches: Batches, order: IntArray, size: int) -> Iterator[IntArray]:
    """Yield the (batch, event) places of batches of events, those of full size several together."""
    values = _values(batches)
    whole = len(order) // size * size
    together = max(1, _TOGETHER // (max(1, values) * size)) * size
    for start in range(0, whole, together):
        own = order[start : min(start + together, whole)]
        yield own.reshape(-1, size)
    if whole < len(order):
        yield order[None, whole:]


_Batch = tuple[Mapping[str, Any], Any, Any]
"""Inputs (batch, event, ...) by name, targets and weights (batch, event), of one size."""


_Step = Callable[[_Batch], Any]
"""Function of batches to the (batch,) sums of the weighted losses."""


_Evaluate = Callable[[_Batch], tuple[Any, Callable[[], Any]]]
"""Function of batches to those sums, and to what gives the (batch, event, ...) outputs."""


def _read(batches: Batches, places: IntArray) -> _Batch:
    inputs = {
        name: values.reshape(*places.shape, *values.shape[1:])
        for name, values in batches.inputs(places.ravel()).items()
    }
    return inputs, batches.targets[places], batches.weights[places]


def _changed(
    batches: Batches,
    places: IntArray,
    change: Change | None,
    mix_up: float,
    rng: np.random.Generator,
) -> _Batch:
    every = _read(batches, places)
    if change is None and not mix_up:
        return every
    made = []
    for own, wanted, weight in _each(every):
        shown = own if change is None else change(dict(own), rng)
        made.append(
            mixed_up(shown, wanted, weight, mix_up, rng) if mix_up else (shown, wanted, weight)
        )
    changed, targets, weights = zip(*made, strict=True)
    inputs = {name: np.stack([one[name] for one in changed]) for name in every[0]}
    return inputs, np.stack(targets), np.stack(weights)


def _steps(
    model: Any, loss: Loss, settings: OptimizerSettings, steps: int
) -> tuple[_Step, _Evaluate]:
    """Return a step of training and one of validation, as the backend takes them."""
    keras = backend.keras()
    rate = _one_cycle(settings.learning_rate, steps) if settings.one_cycle else None
    if rate is None:
        schedules = keras.optimizers.schedules
        rate = schedules.InverseTimeDecay(settings.learning_rate, 1, settings.decay)
    if settings.kind == "adadelta":
        optimizer = keras.optimizers.Adadelta(rate, rho=0.95, epsilon=1e-7)
    else:
        optimizer = keras.optimizers.Adam(rate, beta_1=settings.beta1, beta_2=settings.beta2)
    if keras.backend.backend() == "tensorflow":
        return _compiled(model, loss, optimizer)
    return _by_keras(model, loss, optimizer)


def _one_cycle(highest: float, steps: int) -> Any:
    """Return the learning rate by step: half a cosine up from highest / 25, another down."""
    keras = backend.keras()
    ops, rise, first = keras.ops, 0.25 * steps, highest / 25

    class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc,name-defined]
        """The rate of one cycle."""

        def __call__(self, step: Any) -> Any:
            at = ops.cast(step, "float32")
            up = (1 - ops.cos(np.pi * at / rise)) / 2
            down = (1 + ops.cos(np.pi * (at - rise) / (steps - rise))) / 2
            return ops.where(at < rise, first + (highest - first) * up, highest * down)

    return OneCycle()


def _compiled(model: Any, loss: Loss, optimizer: Any) -> tuple[_Step, _Evaluate]:
    # Keras' own `fit` gives the same numbers, but takes a second more to start; a call for each
    # batch takes three times as long where networks are small.
    tf = backend.tensorflow()
    optimizer.build(model.trainable_variables)
    # One signature for all batches, the last and smaller one included: one tracing.
    inputs_of = {
        item.name: tf.TensorSpec((None, None, *item.shape[1:]), tf.float32) for item in model.inputs
    }
    of_events = tf.TensorSpec((None, None), tf.float32)

    def compiled(of_one: Callable[[Any], Any], gives: Any) -> Callable[[_Batch], Any]:
        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=(inputs_of, of_events, of_events)
        )
        def of_each(*batches: Any) -> Any:
            return tf.map_fn(of_one, batches, fn_output_signature=gives, parallel_iterations=1)

        # Its traced form: to find it anew takes a call as long as a step of a small network.
        traced = of_each.get_concrete_function()
        tensor = partial(tf.convert_to_tensor, dtype=tf.float32)

        def called(batch: _Batch) -> Any:
            inputs, targets, weights = batch
            named = {name: tensor(inputs[name]) for name in inputs_of}
            return traced(named, tensor(targets), tensor(weights))

        return called

    def step(batch: Any) -> Any:
        inputs, targets, weights = batch
        with tf.GradientTape() as tape:
            losses = weights * loss(targets, evaluated(model, inputs, training=True))
            mean = tf.reduce_mean(losses)
        gradients = tape.gradient(mean, model.trainable_variables)
        move(optimizer, gradients, model.trainable_variables)
        return tf.reduce_sum(losses)

    def evaluate(batch: Any) -> Any:
        inputs, targets, weights = batch
        outputs = evaluated(model, inputs)
        return tf.reduce_sum(weights * loss(targets, outputs)), outputs

    taught, judged = compiled(step, tf.float32), compiled(evaluate, (tf.float32, tf.float32))

    def answered(batch: _Batch) -> tuple[Any, Callable[[], Any]]:
        sums, outputs = judged(batch)
        return sums.numpy(), outputs.numpy

    return lambda batch: taught(batch).numpy(), answered


def move(optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
    """Let a Keras optimizer move variables against their gradients, in TensorFlow.

    `optimizer.apply` does so as well, and registers the gradient of its sum over workers for as
    long as the process lives, and with it the graph of each training, 6 MB of a small network.
    """
    rate = optimizer.learning_rate
    for gradient, variable in zip(gradients, variables, strict=True):
        if gradient is not None:
            optimizer.update_step(gradient, variable.value, rate)
    optimizer.iterations.assign_add(1)


def _by_keras(model: Any, loss: Loss, optimizer: Any) -> tuple[_Step, _Evaluate]:
    keras = backend.keras()
    names = [item.name for item in model.inputs]

    class Learner(keras.Model):  # type: ignore[misc,name-defined]
        """The model with the weighted mean of its loss."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def call(self, inputs: Any, training: bool = False) -> Any:
            return evaluated(self.inner, dict(zip(names, inputs, strict=True)), training=training)

        def compute_loss(
            self,
            x: Any = None,
            y: Any = None,
            y_pred: Any = None,
            sample_weight: Any = None,
            training: bool = True,
        ) -> Any:
            return keras.ops.mean(sample_weight * loss(y, y_pred))

    learner = Learner()
    learner.compile(optimizer=optimizer)

    def summed(on_batch: Callable[..., Any], batches: _Batch) -> Float32Array:
        sums = []
        for inputs, targets, weights in _each(batches):
            learner.reset_metrics()  # else it is the mean of all batches so far
            values = on_batch(
                tuple(inputs[name] for name in names), targets, weights, return_dict=True
            )
            sums.append(float(values["loss"]) * len(targets))
        return np.array(sums, np.float32)

    def evaluate(batches: _Batch) -> tuple[Any, Callable[[], Any]]:
        def outputs() -> Float32Array:
            return np.stack([backend.array(evaluated(model, own)) for own, *_ in _each(batches)])

        return summed(learner.test_on_batch, batches), outputs

    return partial(summed, learner.train_on_batch), evaluate


def _each(batches: _Batch) -> Iterator[_Batch]:
    inputs, targets, weights = batches
    for number in range(len(targets)):
        yield (
            {name: values[number] for name, values in inputs.items()},
            targets[number],
            weights[number],
        )


def evaluated(model: Any, inputs: Mapping[str, Any], *, training: bool = False) -> Any:
    """Return the outputs of a Keras model for inputs by name.

    Parameters
    ----------
    model
        keras.Model made of one input tensor, a list or a dictionary of them.
    inputs
        By the names of the input tensors.
    training
        Whether noise and dropout are on.
    """
    return model(_as_wanted(model.input, inputs), training=training)


def _as_wanted(wanted: Any, inputs: Mapping[str, Any]) -> Any:
    # A function of its own without annotated variables, which TensorFlow's AutoGraph warns of.
    if isinstance(wanted, Mapping):
        return {key: inputs[item.name] for key, item in wanted.items()}
    if isinstance(wanted, list | tuple):
        return [inputs[item.name] for item in wanted]
    return inputs[wanted.name]


def outputs_of(model: Any, batches: Batches, size: int) -> Float32Array:
    """Return the (event,) or (event, output) outputs of a model, `size` events at a time."""
    every = np.arange(len(batches))
    parts = [
        backend.array(evaluated(model, batches.inputs(every[start : start + size])))
        for start in range(0, len(batches), size)
    ]
    return np.concatenate(parts)
