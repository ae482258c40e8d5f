"""Variational autoencoder with the mass as a latent number that only the decoder sees.

What follows the mass the decoder takes from the mass, so the one learned number z is left with
what does not.

Source: arXiv:2101.08320, section 3.3; arXiv:2103.06595.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend
from tnt_coffea.training.features import FeatureSet, check_features
from tnt_coffea.training.fitting import Loss
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.training.orientation import Orientation
from tnt_coffea.typing import Float32Array

__all__ = ["LatentMass", "MaximumScaling", "encoded_features", "evenness", "latent_loss", "noise"]

_BATCH = 4096
_MOST = 10.0
"""Scaled features are clipped to plus and minus this; those trained on reach 1."""


@dataclass(frozen=True)
class MaximumScaling:
    """Features over their largest modulus on the events trained on, without an offset.

    Attributes
    ----------
    scale
        (feature,) float32, one over the largest modulus.

    Examples
    --------
    >>> import numpy as np
    >>> masses = np.array([[50.0], [-200.0]], np.float32)
    >>> MaximumScaling.of(masses, names=("mass",)).scale.tolist()
    [0.004999999888241291]
    """

    scale: Float32Array

    @classmethod
    def of(cls, values: Float32Array, *, names: Sequence[str]) -> MaximumScaling:
        """Return that of (event, feature) values.

        Parameters
        ----------
        values
            (event, feature), one event at least.
        names
            Of the features, for messages.

        Raises
        ------
        TrainingError
            A feature is constant, or not finite for some events.
        """
        check_features(values, names)
        return cls((1 / np.abs(values).max(axis=0)).astype(np.float32))

    def tensor(self, values: Any) -> Any:
        """Return the scaled Keras tensor of one of (n, feature), finite for any values."""
        ops = backend.keras().ops
        known = ops.where(ops.isnan(values), 0.0, values)
        return ops.clip(known * self.scale, -_MOST, _MOST)


@dataclass(frozen=True)
class LatentMass:
    """The autoencoder of some features, given the mass.

    Attributes
    ----------
    features
        Features that it encodes and decodes.
    shown
        The same and, last, the mass: what it is trained on.
    scaling
        Of `shown`.
    encoder, decoder
        keras.Model from scaled features (n, feature) to mean and logarithm of the variance of z,
        (n, 1) each; and from z and the scaled mass (n, 2) to scaled features.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(100)
    >>> network = LatentMass.of(("mass", "tau21"), "event", sample, layers=(8,), seed=1)
    >>> network.features.names
    ('heavy_mass', 'heavy_tau21', 'light_mass', 'light_tau21')
    >>> network.z(sample).shape
    (100,)
    """

    features: FeatureSet
    shown: FeatureSet
    scaling: MaximumScaling
    encoder: Any
    decoder: Any

    @classmethod
    def of(
        cls,
        features: Sequence[str],
        scope: str,
        sample: Sample,
        *,
        layers: Sequence[int],
        seed: int,
    ) -> LatentMass:
        """Return the autoencoder with its initial weights, scaled by the events of a sample.

        Parameters
        ----------
        features
            As in `FeatureSet.of`; none may hold the mass of the search, `sample.variable`.
        scope
            heavy, light or event.
        sample
            Events to train on.
        layers
            Nodes of the encoder's hidden layers, and of the decoder's.
        seed
            Seed of the initial weights.

        Raises
        ------
        ConfigError
            As `encoded_features`.
        TrainingError
            A feature is constant, or not finite for some events.
        """
        keras = backend.keras()
        initial = backend.initialisers(seed)

        def network(inputs: int, *outputs: int) -> Any:
            value = given = keras.Input((inputs,))
            for nodes in layers:
                layer = keras.layers.Dense(nodes, activation="selu", kernel_initializer=initial())
                value = layer(value)
            last = [keras.layers.Dense(n, kernel_initializer=initial())(value) for n in outputs]
            return keras.Model(given, last if len(last) > 1 else last[0])

        encoded = encoded_features(features, scope, sample)
        shown = FeatureSet.of((*features, sample.variable), scope, sample)
        scaling = MaximumScaling.of(shown.values(sample), names=shown.names)
        return cls(encoded, shown, scaling, network(len(encoded), 1, 1), network(2, len(encoded)))

    def trained(self, *, mass_noise: float, seed: int, give_mass: bool = True) -> Any:
        """Return the model to train: divergence of z, then the squared error of every feature.

        Parameters
        ----------
        mass_noise
            Width of the mass that the decoder is given in training, relative to the mass.
        seed
            Seed of the noise of z and of the mass.
        give_mass
            Whether the decoder is given the mass; a plain autoencoder is not.

        Returns
        -------
        keras.Model
            From `features`, the columns of `shown`, to (n, 1 + feature).
        """
        keras = backend.keras()
        ops = keras.ops
        columns = input_tensor(self.shown.input)
        scaled = self.scaling.tensor(self.shown.tensor(columns))
        asked, m = scaled[:, :-1], scaled[:, -1:]
        mean, log_variance = self.encoder(asked)
        z = noise(seed, "z")(mean, ops.exp(0.5 * log_variance))
        given = noise(seed, "mass")(m, mass_noise * m) if give_mass else 0.0 * m
        decoded = self.decoder(ops.concatenate([z, given], axis=1))
        divergence = 0.5 * (ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance)
        return keras.Model(
            [columns], ops.concatenate([divergence, ops.square(asked - decoded)], axis=1)
        )

    def z(self, sample: Sample) -> Float32Array:
        """Return the (event,) mean of z of every event of a sample."""
        columns = input_tensor(self.features.input)
        model = backend.keras().Model([columns], self._mean(columns))
        values = self.features.input.read(sample)
        found: Float32Array = model.predict([values], batch_size=_BATCH, verbose=0)
        return found[:, 0]

    def scored(self, orientation: Orientation) -> Any:
        """Return the keras.Model from `features` to the score (n,) and z (n, 1)."""
        keras = backend.keras()
        columns = input_tensor(self.features.input)
        z = self._mean(columns)
        return keras.Model([columns], [orientation.applied(z)[:, 0], z])

    def _mean(self, columns: Any) -> Any:
        scaling = MaximumScaling(self.scaling.scale[:-1])
        return self.encoder(scaling.tensor(self.features.tensor(columns)))[0]


def noise(seed: int, *names: str) -> Any:
    """Return the layer that draws, in training alone, from a Gaussian of given mean and width.

    Parameters
    ----------
    seed, names
        Seed of the draws, and the name of what they are for.

    Returns
    -------
    keras.Layer
        From mean and width, of any one shape.

    Examples
    --------
    >>> layer, mean = noise(1), backend.keras().ops.ones(1000)
    >>> drawn = backend.array(layer(mean, 0.1 * mean, training=True))
    >>> float(layer(mean, 0.1 * mean)[0]), bool(0.09 < drawn.std() < 0.11)
    (1.0, True)
    """
    keras = backend.keras()

    class Noise(keras.layers.Layer):  # type: ignore[misc,name-defined]
        """Draws in training."""

        def __init__(self) -> None:
            super().__init__()
            self.numbers = keras.random.SeedGenerator(seeds.integer(seed, "noise", *names))

        def call(self, mean: Any, width: Any, training: bool = False) -> Any:
            if not training:
                return mean
            return mean + width * keras.random.normal(keras.ops.shape(mean), seed=self.numbers)

    return Noise()


def encoded_features(features: Sequence[str], scope: str, sample: Sample) -> FeatureSet:
    """Return the features that the encoder sees.

    Parameters
    ----------
    features, scope, sample
        As in `LatentMass.of`; the sample may be one without events.

    Raises
    ------
    ConfigError
        The skim lacks a column, or a feature holds the mass of the search.
    """
    found = FeatureSet.of(features, scope, sample)
    if sample.variable in found.input.columns:
        msg = (
            f"features hold {sample.variable}, which the decoder is given and the encoder must "
            "not see; leave it out"
        )
        raise ConfigError(msg)
    return found


def latent_loss(reconstruction: float) -> Loss:
    """Return the loss of every event: divergence + `reconstruction` x mean squared error.

    Outputs are those of `LatentMass.trained`.
    """

    def loss(targets: Any, outputs: Any) -> Any:
        from keras import ops

        return outputs[:, 0] + reconstruction * ops.mean(outputs[:, 1:], axis=1)

    return loss


def evenness(targets: Float32Array, outputs: Float32Array) -> float:
    """Return minus the variance over the features of their mean squared errors.

    It is largest, 0, where all features are described alike. Outputs are those of
    `LatentMass.trained`.

    Examples
    --------
    >>> import numpy as np
    >>> outputs = np.array([[9.0, 1.0, 3.0], [9.0, 1.0, 1.0]], np.float32)
    >>> evenness(np.zeros(2, np.float32), outputs)  # of 1 and 2
    -0.25
    """
    return -float(np.var(outputs[:, 1:].mean(axis=0, dtype=np.float64)))
