"""GAN-AE: an autoencoder of features whose reconstructions have to fool a discriminator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea import seeds
from tnt_coffea.config.settings import Fraction
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend
from tnt_coffea.training.adversarial import Player, alternate
from tnt_coffea.training.decorrelation import distance_correlation
from tnt_coffea.training.features import FeatureSet
from tnt_coffea.training.fitting import Batches, OptimizerSettings, log_odds_entropy
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer, TrainedOn
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.training.weak_labels import check_weights, validation_mask
from tnt_coffea.typing import BoolArray, Float32Array

__all__ = ["GanAe", "Rivals", "UnitRange", "distance"]

_FEWEST = 100
"""Least number of events to train on; with fewer there is no batch to tell two samples by."""
_LEAST_RANGE = 1e-5
"""Of a feature, in units of its size, below which it is constant: it has six digits."""
_LEAST_SQUARE = 1e-12
"""Added to squared distances: the slope of a root is infinite at 0."""

Nodes = Annotated[int, Field(ge=1)]


class GanAe(Method):
    """Distance of an event's features from their reconstruction by an adversarial autoencoder.

    A discriminator learns to tell reconstructions from events, in turns with the autoencoder, which
    learns to be taken for them: loss = cross-entropy of being taken for an event
    + epsilon x mean distance + alpha x squared distance correlation of distance and mass. Assumes
    that what is rare is reconstructed badly.

    Source: arXiv:2101.08320, section 3.4; arXiv:2305.15179.

    Examples
    --------
    >>> GanAe().reads.data, GanAe(sample="simulation").reads.data
    (True, False)
    """

    kind: Literal["gan_ae"] = "gan_ae"
    features: tuple[str, ...] = Field(
        ("pt", "eta", "mass", "tau1", "tau2", "tau3", "tau21", "tau32", "n_constituents"),
        min_length=1,
        description="columns or expressions of them; infinite values count as 0",
    )
    sample: TrainedOn = Field(
        TrainedOn.DATA,
        description="data; or simulation of the background, as published, where no event of the "
        "data is read",
    )
    layers: tuple[Nodes, ...] = Field(
        (30, 20), description="nodes of the encoder's hidden layers; the decoder's are mirrored"
    )
    latent: int = Field(10, ge=1, description="size of the latent space")
    discriminator: tuple[Nodes, ...] = Field(
        (150, 100, 50), description="nodes of the discriminator's hidden layers"
    )
    dropout: Fraction | Literal[0] = Field(0.2, description="share dropped of every hidden layer")
    epsilon: float = Field(
        0.2, ge=0, description="weight of the mean distance; 6 in arXiv:2305.15179"
    )
    alpha: float = Field(
        0.3,
        ge=0,
        description="weight of the distance correlation with the mass; 65 in arXiv:2305.15179",
    )
    cycles: int = Field(200, ge=1, description="most cycles")
    discriminator_epochs: int = Field(
        10, ge=0, description="epochs of the discriminator in a cycle"
    )
    autoencoder_epochs: int = Field(4, ge=1, description="epochs of the autoencoder in a cycle")
    optimizer: OptimizerSettings = Field(
        OptimizerSettings(learning_rate=2e-4, beta1=0.5, beta2=0.999, decay=0.0, batch=1024),
        description="Adam of either network; its patience counts cycles",
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "reconstruction error"

    @property
    def reads(self) -> Reads:
        """The data, or simulated background instead of them."""
        return self.sample.reads

    @property
    def passes(self) -> int:
        """Most cycles, each of several epochs of both networks."""
        return self.cycles

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns, and a latent space that is no bottleneck."""
        features = FeatureSet.of(self.features, scope, sample)
        if len(features) < 2:
            msg = "one feature has no smaller latent space: name two features or more"
            raise ConfigError(msg)
        if self.latent >= len(features):
            msg = (
                f"a latent space of {self.latent} is no bottleneck for {len(features)} features; "
                f"set latent below {len(features)}, or name more features"
            )
            raise ConfigError(msg)

    def train(self, job: Job) -> Scorer:
        """Return the autoencoder of the events."""
        sample = self.sample.events(job)
        features = FeatureSet.of(self.features, job.scope, sample)
        used = _usable(sample)
        ranges = UnitRange.of(features.names, features.values(sample)[used])
        held = validation_mask(sample.event_id, used, self.optimizer.validation, job.seed)
        training, validation = (
            _batches(ranges, features, sample, rows) for rows in (used & ~held, held)
        )
        rivals = self.rivals(len(features), job.seed)
        players = (
            Player("discriminator", rivals.discriminator, rivals.told, self.discriminator_epochs),
            Player("autoencoder", rivals.autoencoder, rivals.fooled, self.autoencoder_epochs),
        )
        figures: dict[str, list[float]] = {"distance": [], "taken_for_events": []}

        def merit() -> float:
            distance, taken = rivals.figures(validation, self.optimizer.batch)
            figures["distance"].append(distance)
            figures["taken_for_events"].append(taken)
            return distance + 1 - taken

        history = alternate(
            players, training, merit, cycles=self.cycles, optimizer=self.optimizer, seed=job.seed
        )
        model = _score(features, ranges, rivals.autoencoder)
        notes = {"events": int(used.sum()), **figures}
        return Scorer.of(model, features.input, history, **notes)

    def rivals(self, size: int, seed: int) -> Rivals:
        """Return untrained networks for so many features."""
        layers = (*self.layers, self.latent, *reversed(self.layers))
        autoencoder = _network(
            size,
            layers,
            size,
            slope=0.0,
            output="sigmoid",
            dropout=self.dropout,
            seed=seeds.integer(seed, "autoencoder"),
        )
        odds = _network(
            size,
            self.discriminator,
            1,
            slope=0.2,
            output="linear",
            dropout=self.dropout,
            seed=seeds.integer(seed, "discriminator"),
        )
        keras = backend.keras()
        x = keras.Input((size,))
        discriminator = keras.Model(x, keras.ops.reshape(odds(x), (-1,)))
        return Rivals(autoencoder, discriminator, self.epsilon, self.alpha)


@dataclass(frozen=True)
class UnitRange:
    """Least value and one over the range of every feature on the events trained on.

    What is not finite counts as 0.

    Attributes
    ----------
    least, scale
        (feature,) float32.

    Examples
    --------
    >>> import numpy as np
    >>> masses = np.array([[100.0], [400.0], [np.inf]], "f4")
    >>> UnitRange.of(("mass",), masses).applied(masses).tolist()
    [[0.25], [1.0], [0.0]]
    """

    least: Float32Array
    scale: Float32Array

    @classmethod
    def of(cls, names: Sequence[str], values: Float32Array) -> UnitRange:
        """Return that of (event, feature) values.

        Raises
        ------
        TrainingError
            A feature is the same for all events, to the precision of its numbers.
        """
        known = _known(values)
        least, largest = known.min(axis=0), known.max(axis=0)
        for name, low, high in zip(names, least, largest, strict=True):
            if not high - low > _LEAST_RANGE * max(abs(low), abs(high)):
                msg = (
                    f"feature {name} is the same for all events to train on ({low:g} to "
                    f"{high:g}); leave it out"
                )
                raise TrainingError(msg)
        return cls(least, np.float32(1) / (largest - least))

    def applied(self, values: Float32Array) -> Float32Array:
        """Return (event, feature) values scaled to 0 to 1, and clipped to that range."""
        out: Float32Array = np.clip((_known(values) - self.least) * self.scale, 0, 1)
        return out

    def tensor(self, features: Any) -> Any:
        """Return the scaled Keras tensor of one of (n, feature)."""
        ops = backend.keras().ops
        # Of all conditions the exporter keeps these two alone; of others it makes a product with
        # 0, which is no number for an infinite feature.
        known = ops.where(ops.isinf(features), 0.0, features)
        known = ops.where(ops.isnan(known), 0.0, known)
        return ops.clip((known - self.least) * self.scale, 0.0, 1.0)


def _known(values: Float32Array) -> Float32Array:
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class Rivals:
    """An autoencoder of scaled features, and the discriminator of its reconstructions.

    Attributes
    ----------
    autoencoder
        keras.Model, from scaled features (n, feature) to their reconstructions.
    discriminator
        keras.Model, from either to the logarithm of the odds (n,) that it is an event.
    epsilon, alpha
        Weights in the loss of the autoencoder: of the mean distance, and of its squared distance
        correlation with the mass.
    """

    autoencoder: Any
    discriminator: Any
    epsilon: float
    alpha: float

    def told(self, inputs: Mapping[str, Any], weights: Any) -> Any:
        """Return the discriminator's loss, the cross-entropy of events and reconstructions."""
        ops, x = backend.keras().ops, inputs["x"]
        events = self.discriminator(x, training=True)
        # Without dropout, as they are scored.
        copies = self.discriminator(self.autoencoder(x, training=False), training=True)
        losses = log_odds_entropy(ops.ones_like(events), events)
        losses = losses + log_odds_entropy(ops.zeros_like(copies), copies)
        return ops.mean(weights * losses) / 2

    def fooled(self, inputs: Mapping[str, Any], weights: Any) -> Any:
        """Return the autoencoder's loss: of reconstructions that are not taken for events."""
        ops, x = backend.keras().ops, inputs["x"]
        copies = self.autoencoder(x, training=True)
        odds = self.discriminator(copies, training=True)
        apart = distance(x, copies)
        loss = ops.mean(weights * log_odds_entropy(ops.ones_like(odds), odds))
        loss = loss + self.epsilon * ops.mean(weights * apart)
        if not self.alpha:
            return loss
        return loss + self.alpha * distance_correlation(apart, inputs["mass"], weights)

    def figures(self, events: Batches, size: int) -> tuple[float, float]:
        """Return mean distance and mean probability that a reconstruction is taken for an event.

        Parameters
        ----------
        events
            With scaled features `x`.
        size
            Events at a time.
        """
        keras = backend.keras()
        sums = np.zeros(2)
        for start in range(0, len(events), size):
            rows = np.arange(start, min(start + size, len(events)))
            x, weights = events.inputs(rows)["x"], events.weights[rows]
            copies = self.autoencoder(x, training=False)
            taken = keras.ops.sigmoid(self.discriminator(copies, training=False))
            for i, values in enumerate((distance(x, copies), taken)):
                sums[i] += (weights * backend.array(values)).sum(dtype=np.float64)
        mean, taken = (sums / events.weights.sum(dtype=np.float64)).tolist()
        return mean, taken


def distance(x: Any, copies: Any) -> Any:
    """Return the Euclidean distance (n,) of two Keras tensors (n, feature)."""
    ops = backend.keras().ops
    squares = ops.square(x - copies)
    total = backend.total(squares[:, i] for i in range(squares.shape[1]))
    return ops.sqrt(total + _LEAST_SQUARE)


def _network(
    size: int,
    layers: Sequence[int],
    last: int,
    *,
    slope: float,
    output: str,
    dropout: float,
    seed: int,
) -> Any:
    """Return dense layers, each with its activation and dropout, and one without them."""
    keras = backend.keras()
    model = keras.Sequential([keras.Input((size,))])

    def dense(units: int, number: int, activation: str) -> Any:
        initial = keras.initializers.GlorotNormal(seed=seeds.integer(seed, "initial", number))
        return keras.layers.Dense(units, activation=activation, kernel_initializer=initial)

    for number, units in enumerate(layers):
        model.add(dense(units, number, "linear"))
        model.add(keras.layers.LeakyReLU(negative_slope=slope) if slope else keras.layers.ReLU())
        if dropout:
            chance = seeds.integer(seed, "dropout", number)
            model.add(keras.layers.Dropout(dropout, seed=chance))
    model.add(dense(last, len(layers), output))
    return model


def _usable(sample: Sample) -> BoolArray:
    """Return (event,) whether an event has a weight."""
    check_weights(sample.weight, "a distance correlation")
    used: BoolArray = sample.weight > 0
    if used.sum() < _FEWEST:
        msg = f"{int(used.sum())} events to train on, at least {_FEWEST} are needed"
        raise TrainingError(msg)
    return used


def _batches(ranges: UnitRange, features: FeatureSet, sample: Sample, which: BoolArray) -> Batches:
    rows = np.flatnonzero(which)
    shown = {
        "x": ranges.applied(features.values(sample)[rows]),
        "mass": sample.mass[rows].astype(np.float32),
    }
    weight = sample.weight[rows]
    none = np.zeros(len(rows), np.int64)
    return Batches(
        [{name: values.__getitem__ for name, values in shown.items()}],
        none,
        np.arange(len(rows)),
        none.astype(np.float32),
        (weight / weight.mean()).astype(np.float32),
    )


def _score(features: FeatureSet, ranges: UnitRange, autoencoder: Any) -> Any:
    """Return the keras.Model from columns to the distance (n,)."""
    columns = input_tensor(features.input)
    x = ranges.tensor(features.tensor(columns))
    return backend.keras().Model([columns], distance(x, autoencoder(x)))
