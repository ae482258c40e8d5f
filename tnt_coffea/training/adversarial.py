"""Training of networks that play against each other, or one after the other, in cycles.

In a cycle each player takes its epochs in turn: its steps move its own variables and nothing else,
whatever of the others' its loss depends on. One figure, taken after every cycle, decides which
cycle's weights are kept.

Source: arXiv:1406.2661, algorithm 1; arXiv:2101.08320, section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import backend, progress
from tnt_coffea.training.fitting import Batches, History, OptimizerSettings, move

__all__ = ["Player", "alternate"]


@dataclass(frozen=True)
class Player:
    """One of the networks that are trained in turn.

    Attributes
    ----------
    name
        What it is called in messages; its batches are drawn in an order of this name.
    model
        keras.Model whose trainable variables its steps move.
    loss
        Function of a batch's inputs by name and (event,) weights to the scalar that falls.
    epochs
        Epochs in one cycle.

    Examples
    --------
    >>> from tnt_coffea.training import backend
    >>> model = backend.keras().Sequential([backend.keras().layers.Dense(1)])
    >>> Player("line", model, lambda inputs, weights: weights[0], epochs=4).epochs
    4
    """

    name: str
    model: Any
    loss: Callable[[Mapping[str, Any], Any], Any]
    epochs: int


def alternate(
    players: Sequence[Player],
    training: Batches,
    merit: Callable[[], float],
    *,
    cycles: int,
    optimizer: OptimizerSettings,
    seed: int,
) -> History:
    """Train players in turn, in place; leave all with the weights of the best cycle.

    Parameters
    ----------
    players
        In their order within a cycle; each has an optimiser of its own.
    training
        Events that all of them are shown. Batches have the same size up to one event, at most
        `optimizer.batch`.
    merit
        Figure of the players as they are, on events of one's own choice; smallest in the best
        cycle.
    cycles
        Most cycles.
    optimizer
        Settings of Adam; training ends after `patience` cycles without a smaller figure, and
        `keep: last` keeps the last cycle's weights instead.
    seed
        Seed of the order of the events.

    Returns
    -------
    History
        By cycle: `loss` is the last player's mean in its last epoch, `validation_loss` the figure.

    Raises
    ------
    TrainingError
        There are no events, a loss or the figure is not finite, or Keras does not compute with
        TensorFlow.

    Examples
    --------
    One player finds the mean of some numbers, another one the mean distance from it.

    >>> import numpy as np
    >>> from tnt_coffea.training import backend
    >>> keras, x = backend.keras(), np.linspace(-1, 3, 64, dtype="f4")
    >>> def constant():
    ...     return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    >>> mean, size = constant(), constant()
    >>> def away(inputs):
    ...     return keras.ops.abs(inputs["x"] - mean.weights[0][0, 0])
    >>> players = [
    ...     Player("mean", mean, lambda i, w: keras.ops.mean(away(i) ** 2), epochs=2),
    ...     Player("size", size, lambda i, w: keras.ops.mean((away(i) - size.weights[0]) ** 2), 1),
    ... ]
    >>> events = Batches([{"x": lambda rows: x[rows]}], 0 * x.astype(int), np.arange(64), x, x)
    >>> def merit():
    ...     return abs(float(mean.get_weights()[0][0, 0]) - 1)
    >>> adam = OptimizerSettings(learning_rate=0.1, batch=16)
    >>> history = alternate(players, events, merit, cycles=9, optimizer=adam, seed=1)
    >>> bool(merit() == min(history.validation_loss) < 0.2)
    True
    """
    if not len(training):
        msg = "no events to train on: use more events, or fewer folds"
        raise TrainingError(msg)
    steps = [_step(player, training, optimizer) for player in players]
    losses: list[float] = []
    figures: list[float] = []
    seconds: list[float] = []
    best = 0
    kept = [player.model.get_weights() for player in players]
    for cycle in range(cycles):
        began = perf_counter()
        loss = 0.0
        for player, step in zip(players, steps, strict=True):
            for epoch in range(player.epochs):
                rng = seeds.generator(seed, player.name, cycle, epoch)
                loss = _epoch(step, training, rng.permutation(len(training)), optimizer.batch)
                if not np.isfinite(loss):
                    msg = (
                        f"the loss of the {player.name} is not finite in cycle {cycle + 1} "
                        f"({loss}): lower the optimizer's learning_rate"
                    )
                    raise TrainingError(msg)
        figure = merit()
        if not np.isfinite(figure):
            msg = f"the figure of merit is not finite in cycle {cycle + 1} ({figure})"
            raise TrainingError(msg)
        losses.append(loss)
        figures.append(figure)
        progress.report_epoch(cycle + 1, loss, figure)
        seconds.append(perf_counter() - began)
        if optimizer.keep == "last":
            continue
        if cycle == 0 or figure < figures[best]:
            best, kept = cycle, [player.model.get_weights() for player in players]
        elif cycle - best >= optimizer.patience:
            break
    if optimizer.keep == "best":
        for player, weights in zip(players, kept, strict=True):
            player.model.set_weights(weights)
    return History(
        tuple(losses), tuple(figures), seconds=tuple(seconds), last=optimizer.keep == "last"
    )


_Step = Callable[[Mapping[str, Any], Any], Any]
"""Function of a batch's inputs and weights to its loss, which it lowers."""


def _epoch(step: _Step, training: Batches, order: Any, size: int) -> float:
    """Return the mean loss of one pass over the events."""
    # Of nearly the same size: a last one of two events would have an arbitrary correlation.
    parts = np.array_split(order, -(-len(order) // size))
    total = 0.0
    for chosen in parts:
        loss = step(training.inputs(chosen), training.weights[chosen])
        total += float(loss) * len(chosen)
    return total / len(order)


def _step(player: Player, training: Batches, settings: OptimizerSettings) -> _Step:
    keras = backend.keras()
    if keras.backend.backend() != "tensorflow":
        msg = (
            f"networks that are trained in turn need KERAS_BACKEND=tensorflow, it is "
            f"{keras.backend.backend()}"
        )
        raise TrainingError(msg)
    tf = backend.tensorflow()
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.InverseTimeDecay(settings.learning_rate, 1, settings.decay),
        beta_1=settings.beta1,
        beta_2=settings.beta2,
    )
    variables = player.model.trainable_variables
    optimizer.build(variables)
    one = training.inputs(np.arange(1))
    # One signature for every batch, the last and smaller one included: one tracing.
    signature = [
        {
            name: tf.TensorSpec((None, *values.shape[1:]), tf.float32)
            for name, values in one.items()
        },
        tf.TensorSpec((None,), tf.float32),
    ]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def step(inputs: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = player.loss(inputs, weights)
        move(optimizer, tape.gradient(loss, variables), variables)
        return loss

    lowered: _Step = step
    return lowered
