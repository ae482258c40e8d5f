"""Variational autoencoder whose latent space is bent by a masked autoregressive flow.

The encoder gives a Gaussian of z; a few blocks of the flow turn a draw of it into what the decoder
sees. The loss of an event is the sum of its squared errors + beta x the divergence of the bent
posterior from the unit Gaussian, estimated with that draw.

Source: arXiv:2011.03550; arXiv:2101.08320, section 5.3; arXiv:1505.05770 (flows in latent space).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.training import backend
from tnt_coffea.training.densities.autoregressive import AutoregressiveDensity, block_layers
from tnt_coffea.training.features import Standardisation
from tnt_coffea.training.fitting import Loss
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["Activation", "FlowAutoencoder", "flow_loss", "scaled"]

Activation = Literal["linear", "leaky_relu"]
_SLOPE = 0.01
_MOST = 20.0
"""Standardised features are clipped to plus and minus this."""


def scaled(standard: Standardisation, features: Any) -> Any:
    """Return the standardised Keras tensor of one of (n, feature), finite for any values."""
    ops = backend.keras().ops
    # Conditions that the exporter keeps: see `methods/gan_ae.py`.
    known = ops.where(ops.isnan(features), standard.mean, features)
    return ops.clip(standard.tensor(known), -_MOST, _MOST)


@dataclass(frozen=True)
class FlowAutoencoder:
    """The parts of one autoencoder, of standardised features.

    Attributes
    ----------
    encoder
        keras.Model from features (n, feature) to mean and logarithm of the variance of z,
        (n, latent) each.
    flow
        Blocks of the flow in order, as of `densities.autoregressive.block_layers`.
    decoder
        keras.Model from bent latent numbers (n, latent) to features.

    Examples
    --------
    >>> import numpy as np
    >>> network = FlowAutoencoder.of(3, layers=(8,), latent=2, flows=1, nodes=4, seed=1)
    >>> x = np.zeros((5, 3), np.float32)
    >>> tuple(network.squares(x).shape), network.bent(np.zeros((5, 2)))[0].shape
    ((5, 3), (5, 2))
    """

    encoder: Any
    flow: tuple[Any, ...]
    decoder: Any

    @classmethod
    def of(
        cls,
        features: int,
        *,
        layers: Sequence[int],
        latent: int,
        flows: int,
        nodes: int,
        seed: int,
        activation: Activation = "leaky_relu",
    ) -> FlowAutoencoder:
        """Return an autoencoder with its initial weights.

        Parameters
        ----------
        features
            Number of features.
        layers
            Nodes of the encoder's hidden layers; the decoder's are mirrored.
        latent
            Size of the latent space.
        flows, nodes
            Number of blocks of the flow, none for a plain variational autoencoder, and the nodes
            of their hidden layer.
        seed
            Seed of the initial weights.
        activation
            Of the hidden layers.
        """
        keras, initial = backend.keras(), backend.initialisers(seed)

        def network(inputs: int, nodes: Sequence[int], *outputs: int) -> Any:
            value = given = keras.Input((inputs,))
            for number in nodes:
                value = keras.layers.Dense(number, kernel_initializer=initial())(value)
                if activation == "leaky_relu":
                    value = keras.layers.LeakyReLU(negative_slope=_SLOPE)(value)
            last = [keras.layers.Dense(n, kernel_initializer=initial())(value) for n in outputs]
            return keras.Model(given, last if len(last) > 1 else last[0])

        flow = block_layers(latent, nodes, flows, seeds.integer(seed, "flow"), conditional=False)
        encoder = network(features, layers, latent, latent)
        return cls(encoder, tuple(flow), network(latent, layers[::-1], features))

    def trained(self, columns: Any, x: Any, seed: int) -> Any:
        """Return the model to train.

        Parameters
        ----------
        columns
            keras.Input of the tagger.
        x
            Standardised features of these columns.
        seed
            Seed of the draws.

        Returns
        -------
        keras.Model
            From the columns to (n, 1 + feature): the divergence, then the squared error of every
            feature, both of a draw of z, in training and in validation.
        """
        keras = backend.keras()
        ops = keras.ops

        class Draw(keras.layers.Layer):  # type: ignore[misc,name-defined]
            """Draws from a Gaussian."""

            def __init__(self) -> None:
                super().__init__()
                self.numbers = keras.random.SeedGenerator(seeds.integer(seed, "draw"))

            def call(self, mean: Any, log_variance: Any) -> Any:
                unit = keras.random.normal(ops.shape(mean), seed=self.numbers)
                return mean + ops.exp(0.5 * log_variance) * unit

        mean, log_variance = self.encoder(x)
        z, log_slope = self._bent(Draw()(mean, log_variance))
        # ln q of the draw less ln p of where the flow takes it, the former in the mean of draws.
        divergence = 0.5 * ops.sum(ops.square(z) - 1.0 - log_variance, axis=1) - log_slope
        squares = ops.square(x - self.decoder(z))
        return keras.Model([columns], ops.concatenate([divergence[:, None], squares], axis=1))

    def squares(self, x: Any) -> Any:
        """Return the squared error of every feature (n, feature) at the mean of z."""
        return backend.keras().ops.square(x - self.decoder(self._bent(self.encoder(x)[0])[0]))

    def error(self, x: Any) -> Any:
        """Return the sum of the squared errors (n,) at the mean of z, without the divergence."""
        squares = self.squares(x)
        return backend.total(squares[:, i] for i in range(squares.shape[1]))

    def bent(self, z: Any) -> tuple[Float64Array, Float64Array]:
        """Return where the flow takes (n, latent), and ln of the volume's change (n,), in numpy."""
        values, log_slope = self.density.mapped(np.asarray(z), np.zeros(len(z)))
        return values[0], log_slope[0]

    @property
    def density(self) -> AutoregressiveDensity:
        """The flow in numpy; the mass that it is given has no part in it."""
        epoch = []
        for block in self.flow:
            first, *others = block.get_weights()
            epoch.append([first, np.zeros((1, first.shape[1]), np.float32), *others])
        return AutoregressiveDensity.of([epoch])

    def explained(self, x: Float32Array) -> float:
        """Return R^2: the share of the variance of (event, feature) that is reconstructed.

        Near 0 where the posterior has collapsed: every event then becomes the mean.
        """
        squares = backend.array(self.squares(x)).sum(dtype=np.float64)
        spread = np.square(x - x.mean(axis=0, dtype=np.float64)).sum()
        return float(1 - squares / spread) if spread > 0 else 0.0

    def _bent(self, z: Any) -> tuple[Any, Any]:
        log_slope: Any = 0.0
        for block in self.flow:
            z, alpha = block(z)
            log_slope = log_slope - backend.keras().ops.sum(alpha, axis=1)
        return z, log_slope


def flow_loss(beta: float) -> Loss:
    """Return the loss of every event: sum of squared errors + beta x divergence.

    Outputs are those of `FlowAutoencoder.trained`.
    """

    def loss(targets: Any, outputs: Any) -> Any:
        from keras import ops

        return ops.sum(outputs[:, 1:], axis=1) + beta * outputs[:, 0]

    return loss
