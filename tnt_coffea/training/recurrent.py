"""A variational recurrent network: sequences of constituents, each expected from those before.

Step by step, a Gaussian in a small latent space is expected from what came before (the prior),
another one is seen with the constituent itself (the posterior), and the constituent is made again
of it. The divergence of the two is what the constituent adds to what was known.

Source: arXiv:1506.02216; arXiv:2101.08320, section 3.1; the sizes of layers are those of its
authors' public code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.taggers.inputs import Aligned
from tnt_coffea.training import backend
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["gaussian_divergence", "mean_shares", "recurrent_network"]

HIDDEN, LATENT = 16, 2
"""Nodes of every layer and of the state; size of the latent space."""
LEAST_WIDTH = 1e-4
"""Added to the widths of both Gaussians: without it the divergence has no bound."""


def gaussian_divergence(mean: Any, width: Any, prior_mean: Any, prior_width: Any) -> Any:
    """Return the Kullback-Leibler divergence of a Gaussian from another one, (n, ...).

    Parameters
    ----------
    mean, width, prior_mean, prior_width
        (n, ..., k) means and standard deviations of independent components.

    Source: arXiv:1312.6114, appendix B, for two Gaussians.

    Examples
    --------
    >>> import numpy as np
    >>> zero, one = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    >>> backend.array(gaussian_divergence(one, one, zero, one)).tolist()  # 1/2 a component
    [1.0]
    """
    ops = backend.keras().ops
    each = ops.log(prior_width / width) + 0.5 * (
        (ops.square(width) + ops.square(mean - prior_mean)) / ops.square(prior_width) - 1.0
    )
    return backend.total(each[..., k] for k in range(each.shape[-1]))


def mean_shares(blocks: Iterable[Float32Array]) -> Float64Array:
    """Return (particle,) mean share of pT of the first, second, ... constituent of jets.

    Parameters
    ----------
    blocks
        (event, jet, particle, 3) of `Aligned` each; a constituent that no jet has counts nothing.

    Examples
    --------
    >>> values = np.zeros((1, 2, 3, 3), np.float32)
    >>> values[0, :, :2, 0] = [[0.75, 0.25], [0.5, 0.5]]
    >>> mean_shares([values, values]).tolist()
    [0.625, 0.375, 0.0]
    """
    total: Any = 0.0
    number: Any = 0
    for values in blocks:
        shares = values[..., 0].astype(np.float64)
        total = total + shares.sum(axis=(0, 1))
        number = number + (shares > 0).sum(axis=(0, 1))
    means: Float64Array = total / np.maximum(number, 1)
    return means


def recurrent_network(
    aligned: Aligned, importance: Sequence[float] | Float64Array, *, seed: int
) -> Any:
    """Return the network of jets: 4,747 parameters, one for all jets of an event.

    Parameters
    ----------
    aligned
        Constituents; those with a share of pT of zero are padding, and have no part.
    importance
        (particle,) factors w(t) on the divergences of the first, second, ... constituent.
    seed
        Seed of the initial weights and of the noise in training.

    Returns
    -------
    keras.Model
        From `aligned` to (n, jet, 2): the mean over the constituents of a jet of the divergence
        times w(t), and of the squared error; both 0 for a jet without constituents. There is
        noise in training, none otherwise.

    Raises
    ------
    ValueError
        The number of factors is not that of the constituents.
    """
    jets, most, _ = aligned.shape
    if len(importance) != most:
        msg = f"{len(importance)} factors for {most} constituents"
        raise ValueError(msg)
    keras = backend.keras()
    shown = input_tensor(aligned)
    sequences = keras.ops.reshape(shown, (-1, most, 3))
    found = _recurrence(keras, [float(factor) for factor in importance], seed)(sequences)
    return keras.Model([shown], keras.ops.reshape(found, (-1, jets, 2)))


def _recurrence(keras: Any, importance: Sequence[float], seed: int) -> Any:
    ops, initial = keras.ops, backend.initialisers(seed)
    factors = np.asarray(importance, np.float32)

    def layers(inputs: int, *units: int, last: str = "relu") -> list[Any]:
        network = []
        for k, nodes in enumerate(units):
            activation = last if k == len(units) - 1 else "relu"
            made = keras.layers.Dense(nodes, activation=activation, kernel_initializer=initial())
            made.build((None, units[k - 1] if k else inputs))
            network.append(made)
        return network

    class Recurrence(keras.layers.Layer):  # type: ignore[misc]
        """From (n, particle, 3) to (n, 2): divergence and squared error."""

        def __init__(self) -> None:
            super().__init__()
            self.of_constituent = layers(3, HIDDEN, HIDDEN)
            self.of_latent = layers(LATENT, HIDDEN)
            self.encoder = layers(2 * HIDDEN, HIDDEN, HIDDEN)
            self.mean = layers(HIDDEN, LATENT, last="linear")
            self.width = layers(HIDDEN, LATENT, last="softplus")
            self.prior = layers(HIDDEN, HIDDEN)
            self.prior_mean = layers(HIDDEN, LATENT, last="linear")
            self.prior_width = layers(HIDDEN, LATENT, last="softplus")
            self.decoder = layers(2 * HIDDEN, HIDDEN, HIDDEN, 3, last="linear")
            # A gated recurrent unit without bias: reset, update and new state side by side.
            self.gates = self.add_weight((2 * HIDDEN, 3 * HIDDEN), initializer=initial())
            self.recurrent = self.add_weight((HIDDEN, 3 * HIDDEN), initializer=initial())
            self.numbers = keras.random.SeedGenerator(seeds.integer(seed, "noise"))
            self.built = True

        def call(self, constituents: Any, training: bool = False) -> Any:
            there = ops.cast(constituents[..., 0] > 0, "float32")
            features = _through(self.of_constituent, constituents)
            noise = None
            if training:
                shape = (ops.shape(constituents)[0], len(importance), LATENT)
                noise = keras.random.normal(shape, seed=self.numbers)
            # In the loop is what the next state needs; the rest is done for all steps at once.
            first, second = self.encoder
            of_state = ops.concatenate([first.kernel[HIDDEN:], self.recurrent], axis=1)
            encoding = ops.matmul(features, first.kernel[:HIDDEN]) + first.bias
            gating = ops.matmul(features, self.gates[:HIDDEN])
            state = ops.zeros_like(features[:, 0])
            before, encoded, seen = [], [], []
            steps = zip(ops.unstack(encoding, axis=1), ops.unstack(gating, axis=1), strict=True)
            for t, (of_encoder, of_gates) in enumerate(steps):
                before.append(state)
                known = ops.split(ops.matmul(state, of_state), (HIDDEN, 3 * HIDDEN), axis=1)
                encoded.append(second(ops.relu(of_encoder + known[0])))
                latent = _through(self.mean, encoded[t])
                if noise is not None:
                    latent = latent + _through(self.width, encoded[t], LEAST_WIDTH) * noise[:, t]
                seen.append(_through(self.of_latent, latent))
                gates = of_gates + ops.matmul(seen[t], self.gates[HIDDEN:])
                both, change = ops.split(gates, (2 * HIDDEN,), axis=1)
                reset, update = ops.split(ops.sigmoid(both + known[1]), 2, axis=1)
                new = ops.tanh(change + reset * known[2])
                state = new + update * (state - new)
            states, all_encoded = ops.stack(before, axis=1), ops.stack(encoded, axis=1)
            expected = _through(self.prior, states)
            apart = gaussian_divergence(
                _through(self.mean, all_encoded),
                _through(self.width, all_encoded, LEAST_WIDTH),
                _through(self.prior_mean, expected),
                _through(self.prior_width, expected, LEAST_WIDTH),
            )
            made = _through(
                self.decoder, ops.concatenate([ops.stack(seen, axis=1), states], axis=2)
            )
            squares = ops.square(made - constituents)
            error = (squares[..., 0] + squares[..., 1] + squares[..., 2]) / 3.0
            number = ops.maximum(ops.sum(there, axis=1), 1.0)
            terms = (ops.unstack(there * values, axis=1) for values in (apart * factors, error))
            sums = [backend.total(each) / number for each in terms]
            return ops.stack(sums, axis=1)

    return Recurrence()


def _through(network: Sequence[Any], values: Any, more: float = 0.0) -> Any:
    for layer in network:
        values = layer(values)
    return values + more if more else values
