"""Edge convolutions over all pairs of a jet's constituents, as dense Keras operations.

Every constituent is a node, every two of a jet are neighbours, none is its own: a fully connected
graph needs no library of graphs. Constituents that are not there have no part in any mean.

Source: arXiv:1801.07829 (edge convolution); arXiv:2101.08320, section 3.7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tnt_coffea.training import backend
from tnt_coffea.training.features import Standardisation

__all__ = [
    "EdgeConvolution",
    "GraphAutoencoder",
    "chamfer_distance",
    "mean_squared_error",
    "momenta",
    "neighbours",
]

_HIDDEN = 32
_LATENT = 2
_COMPONENTS = 4
_MOST_ETA = 8.0
"""Pseudorapidity beyond which constituents are alike; its sinh has to stay finite."""
_FAR = 1e30
"""Squared distance to a constituent that is not there."""


def momenta(pt: Any, eta: Any, phi: Any, ops: Any) -> Any:
    """Return the four-momenta (..., 4), E, px, py and pz, of massless particles.

    Parameters
    ----------
    pt, eta, phi
        (...) pT in any unit, which is that of the result; pseudorapidity and phi.
    ops
        numpy, or keras.ops.

    Examples
    --------
    >>> momenta(np.array([2.0]), np.array([0.0]), np.array([0.0]), np).tolist()
    [[2.0, 2.0, 0.0, 0.0]]
    """
    eta = ops.clip(eta, -_MOST_ETA, _MOST_ETA)
    components = (ops.cosh(eta), ops.cos(phi), ops.sin(phi), ops.sinh(eta))
    return ops.stack([pt * each for each in components], axis=-1)


def neighbours(there: Any) -> Any:
    """Return the weights (n, i, j) of the mean over the neighbours j of each constituent i.

    Parameters
    ----------
    there
        (n, particle) 1 where there is a constituent, 0 where there is none.

    Examples
    --------
    >>> there = np.array([[1, 1, 1, 0]], np.float32)
    >>> backend.array(neighbours(there))[0, 0].tolist()  # of the first one
    [0.0, 0.5, 0.5, 0.0]
    """
    ops = backend.keras().ops
    others = (1 - np.eye(there.shape[1])).astype(np.float32)
    linked = ops.expand_dims(there, 2) * ops.expand_dims(there, 1) * others
    # One alone has no neighbours: its mean over nothing is zero.
    number = ops.maximum(ops.sum(there, axis=1) - 1.0, 1.0)
    return linked / ops.reshape(number, (-1, 1, 1))


class EdgeConvolution:
    """Mean of a network of (p_i, p_j - p_i) over the neighbours j, for every constituent i.

    The network has two hidden layers of 32 nodes with ReLU. Its first layer is linear in p_i and
    p_j, so it acts on constituents, not on pairs: W [p_i, p_j - p_i] = (W1 - W2) p_i + W2 p_j.
    A linear last layer acts on the mean.

    Parameters
    ----------
    nodes
        Numbers of a constituent before it.
    units
        Numbers of a constituent after it.
    activation
        Of the last layer, relu or linear.
    initial
        Function that gives the initialiser of one layer after the other.

    Examples
    --------
    >>> layer = EdgeConvolution(4, 2, "relu", backend.initialisers(1))
    >>> particles = np.ones((3, 5, 4), np.float32)  # three jets of five
    >>> tuple(layer(particles, neighbours(np.ones((3, 5), np.float32))).shape)
    (3, 5, 2)
    """

    def __init__(self, nodes: int, units: int, activation: str, initial: Callable[[], Any]) -> None:
        layers = backend.keras().layers
        self.own, self.other = layers.Dense(_HIDDEN), layers.Dense(_HIDDEN, use_bias=False)
        # The initial weights of the layer of pairs, W1 above W2.
        w1, w2 = np.split(backend.array(initial()((2 * nodes, _HIDDEN))), 2)
        self.second = layers.Dense(_HIDDEN, activation="relu", kernel_initializer=initial())
        self.last = layers.Dense(units, activation=activation, kernel_initializer=initial())
        for layer, size in zip(self.layers, (nodes, nodes, _HIDDEN, _HIDDEN), strict=True):
            layer.build((None, size))
        self.own.kernel.assign(w1 - w2)
        self.other.kernel.assign(w2)
        self.linear = activation == "linear"

    @property
    def layers(self) -> tuple[Any, ...]:
        """The dense layers, of which the first two make one of pairs."""
        return self.own, self.other, self.second, self.last

    def __call__(self, particles: Any, weights: Any) -> Any:
        """Return (n, particle, unit) of (n, particle, node) and the weights of `neighbours`."""
        ops = backend.keras().ops
        own, other = self.own(particles), self.other(particles)
        pairs = self.second(ops.relu(ops.expand_dims(own, 2) + ops.expand_dims(other, 1)))
        if not self.linear:
            return self._mean(self.last(pairs), weights)
        # One, exactly: the last digits of a sum of weights depend on where the jet stands.
        linked = ops.sign(ops.sum(weights, axis=2, keepdims=True))
        return self.last(self._mean(pairs, weights)) * linked

    @staticmethod
    def _mean(messages: Any, weights: Any) -> Any:
        # A product of matrices: as a sum of products it takes three times as long.
        ops = backend.keras().ops
        return ops.squeeze(ops.matmul(ops.expand_dims(weights, 2), messages), 2)


def mean_squared_error(given: Any, wanted: Any, there: Any) -> Any:
    """Return (n,) the squared error of jets, the mean over constituents and components.

    Parameters
    ----------
    given, wanted
        (n, particle, component).
    there
        (n, particle) 1 where there is a constituent; a jet without one has no error.

    Examples
    --------
    >>> wanted = np.array([[[1.0, 0.0], [0.0, 3.0]]], np.float32)
    >>> there = np.ones((1, 2), np.float32)
    >>> backend.array(mean_squared_error(wanted[:, ::-1], wanted, there)).tolist()
    [5.0]
    """
    ops = backend.keras().ops
    squares = _summed(ops.square(given - wanted))
    return _mean_over(squares, there) / wanted.shape[-1]


def chamfer_distance(given: Any, wanted: Any, there: Any) -> Any:
    """Return (n,) the distance of two sets of constituents, whatever their order.

    It is the mean over each set of the squared distance to the nearest of the other one.

    Parameters
    ----------
    given, wanted, there
        As in `mean_squared_error`.

    Source: arXiv:2101.08320, equation 3.9.

    Examples
    --------
    >>> wanted = np.array([[[1.0, 0.0], [0.0, 3.0]]], np.float32)
    >>> there = np.ones((1, 2), np.float32)
    >>> backend.array(chamfer_distance(wanted[:, ::-1], wanted, there)).tolist()
    [0.0]
    """
    ops = backend.keras().ops
    apart = _summed(ops.square(ops.expand_dims(given, 2) - ops.expand_dims(wanted, 1)))
    absent = _FAR * (1.0 - there)
    from_given = ops.min(apart + ops.expand_dims(absent, 1), axis=2)
    from_wanted = ops.min(apart + ops.expand_dims(absent, 2), axis=1)
    # Those that are not there are far from all: multiplied by zero, and still finite.
    return _mean_over(from_given, there) + _mean_over(from_wanted, there)


def _summed(values: Any) -> Any:
    # A product, for the reason of `backend.total`.
    ops = backend.keras().ops
    return ops.squeeze(ops.matmul(values, np.ones((values.shape[-1], 1), np.float32)), -1)


def _mean_over(values: Any, there: Any) -> Any:
    ops = backend.keras().ops
    summed = ops.matmul(ops.expand_dims(there, 1), ops.expand_dims(values, 2))
    return ops.reshape(summed, (-1,)) / ops.maximum(ops.sum(there, axis=1), 1.0)


@dataclass(frozen=True)
class GraphAutoencoder:
    """Encoder 8-32-32-2 and decoder 4-32-32-4 of a jet's constituents, 2,766 parameters.

    Attributes
    ----------
    standard
        Mean and width of the four components on the constituents trained on: the batch
        normalisation, with the statistics of all of them instead of those of a batch.
    encoder, decoder
        The two edge convolutions.
    normalisation
        The scale and the shift of the batch normalisation, which are trained.

    Examples
    --------
    >>> standard = Standardisation(np.zeros(4, "f4"), np.ones(4, "f4"))
    >>> network = GraphAutoencoder.of(standard, seed=1)
    >>> network.parameters
    2766
    >>> particles, there = np.ones((3, 5, 4), np.float32), np.ones((3, 5), np.float32)
    >>> tuple(network.reconstructed(particles, there).shape)
    (3, 5, 4)
    """

    standard: Standardisation
    normalisation: Any
    encoder: EdgeConvolution
    decoder: EdgeConvolution

    @classmethod
    def of(cls, standard: Standardisation, seed: int) -> GraphAutoencoder:
        """Return the network before it is trained.

        Parameters
        ----------
        standard
            Mean and width of E, px, py, pz.
        seed
            Seed of the initial weights.
        """
        initial = backend.initialisers(seed)
        normalisation = backend.keras().layers.EinsumDense(
            "npc,c->npc",
            (None, _COMPONENTS),
            bias_axes="c",
            kernel_initializer="ones",
        )
        normalisation.build((None, None, _COMPONENTS))
        return cls(
            standard,
            normalisation,
            EdgeConvolution(_COMPONENTS, _LATENT, "relu", initial),
            EdgeConvolution(_LATENT, _COMPONENTS, "linear", initial),
        )

    @property
    def parameters(self) -> int:
        """Number of parameters that are trained."""
        layers = (self.normalisation, *self.encoder.layers, *self.decoder.layers)
        return sum(layer.count_params() for layer in layers)

    def latent(self, particles: Any, there: Any) -> Any:
        """Return (n, particle, 2), none below zero, of (n, particle, 4) momenta."""
        normalised = self.normalisation(self.standard.tensor(particles))
        return self.encoder(normalised, neighbours(there))

    def reconstructed(self, particles: Any, there: Any) -> Any:
        """Return (n, particle, 4) of (n, particle, 4) momenta.

        Parameters
        ----------
        particles
            (n, particle, 4) E, px, py, pz, zero where there is no constituent.
        there
            (n, particle) 1 where there is one, else 0.
        """
        return self.decoder(self.latent(particles, there), neighbours(there))
