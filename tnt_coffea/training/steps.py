"""One step of training and one of validation, compiled for Keras' backend.

With TensorFlow both are functions of one signature whatever the size of the batch; other
backends step through Keras' own `train_on_batch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tnt_coffea.config import OptimizerSettings
from tnt_coffea.training import backend

__all__ = ["Loss", "Step", "by_keras", "compiled", "outputs_of", "steps"]

Loss = Callable[[Any, Any, Any], Any]
"""Of (inputs, targets, outputs) to the loss of every jet."""
Step = Callable[[Any, Any, Any], Any]
"""Of (inputs, targets, weights) of a batch to the sum of its weighted losses."""


def steps(network: Any, loss: Loss, settings: OptimizerSettings) -> tuple[Step, Step]:
    """Return what trains a network with a batch, and what only evaluates it.

    Parameters
    ----------
    network
        Keras network.
    loss
        Of every jet.
    settings
        Of Adam and its decay.
    """
    keras = backend.keras()
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.InverseTimeDecay(settings.learning_rate, 1, settings.decay),
        beta_1=settings.beta1,
        beta_2=settings.beta2,
    )
    if keras.backend.backend() == "tensorflow":
        return compiled(network, loss, optimizer)
    return by_keras(network, loss, optimizer)


def outputs_of(network: Any, inputs: Any, *, training: bool = False) -> Any:
    """Return what a network makes of a batch of one or more inputs."""
    return network(inputs[0] if len(inputs) == 1 else list(inputs), training=training)


def compiled(network: Any, loss: Loss, optimizer: Any) -> tuple[Step, Step]:
    """Return the two steps as functions of TensorFlow."""
    tf = backend.tensorflow()
    optimizer.build(network.trainable_variables)
    # One signature for every batch, the last and smaller one included: one tracing.
    signature = [
        tuple(tf.TensorSpec(tuple(item.shape), tf.float32) for item in network.inputs),
        tf.TensorSpec((None,), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    ]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(inputs: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = weights * loss(inputs, targets, outputs_of(network, inputs, training=True))
            mean = tf.reduce_mean(losses)
        gradients = tape.gradient(mean, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return tf.reduce_sum(losses)

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def evaluate(inputs: Any, targets: Any, weights: Any) -> Any:
        return tf.reduce_sum(weights * loss(inputs, targets, outputs_of(network, inputs)))

    return step, evaluate


def by_keras(network: Any, loss: Loss, optimizer: Any) -> tuple[Step, Step]:
    """Return the two steps as any backend of Keras takes them."""
    keras = backend.keras()

    class Learner(keras.Model):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def call(self, inputs: Any, training: bool = False) -> Any:
            return outputs_of(network, _several(inputs), training=training)

        def compute_loss(
            self,
            x: Any = None,
            y: Any = None,
            y_pred: Any = None,
            sample_weight: Any = None,
            training: bool = True,
        ) -> Any:
            return keras.ops.mean(sample_weight * loss(_several(x), y, y_pred))

    learner = Learner()
    learner.compile(optimizer=optimizer)

    def summed(on_batch: Callable[..., Any]) -> Step:
        def step(inputs: Any, targets: Any, weights: Any) -> float:
            learner.reset_metrics()  # else it is the mean of all batches so far
            given = inputs[0] if len(inputs) == 1 else list(inputs)
            values = on_batch(given, targets, weights, return_dict=True)
            return float(values["loss"]) * len(targets)

        return step

    return summed(learner.train_on_batch), summed(learner.test_on_batch)


def _several(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
