"""A network of a jet's constituents, whatever their order and number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tnt_coffea.training import backend

__all__ = ["LEAST_SHARE", "ParticleFlow", "particle_flow_classifier"]

LEAST_SHARE = 1e-4
"""Share of a jet's pT below which constituents are alike."""
_SCALE, _OFFSET = (0.5, 5.0, 5.0), (2.0, 0.0, 0.0)
"""Of log s, eta and phi, which bring them to the order of one; without them learning is slow."""
_PARTICLE = (64, 64, 32)
_HEAD = (64, 64)


@dataclass(frozen=True)
class ParticleFlow:
    """A classifier of jets by their constituents.

    Attributes
    ----------
    network
        keras.Model from (n, jet, particle, 3), shares of pT with the place in the frame, to
        (n, 1).
    particle, head
        Its parts, keras.Sequential: of a constituent, and of the sums over those of each jet.
    """

    network: Any
    particle: Any
    head: Any


def particle_flow_classifier(*, jets: int, particles: int, seed: int) -> ParticleFlow:
    """Return a classifier of constituents, f(sum_i s_i phi(log s_i, eta_i, phi_i)).

    One network phi serves all constituents of all jets; f sees the sums of all jets.

    Parameters
    ----------
    jets
        Jets that are looked at together.
    particles
        Most constituents of a jet; one with a share of zero is not there.
    seed
        Seed of the initial weights.

    Source: arXiv:1810.05165; the weights are those of its energy flow network.
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)

    def dense(units: int, activation: str = "relu") -> Any:
        return keras.layers.Dense(units, activation=activation, kernel_initializer=initial())

    shown = keras.Input((jets, particles, 3))
    scaled = keras.layers.Rescaling(_SCALE, _OFFSET)
    particle = keras.Sequential([keras.Input(shown.shape[1:]), scaled, *map(dense, _PARTICLE)])
    sums = keras.Input((jets * _PARTICLE[-1],))
    head = keras.Sequential([sums, *map(dense, _HEAD), dense(1, "sigmoid")])
    share, place = shown[..., :1], shown[..., 1:]
    # Only the weight, which is zero, tells a constituent that is not there from a soft one.
    log_share = keras.ops.log(keras.ops.maximum(share, LEAST_SHARE))
    described = particle(keras.ops.concatenate([log_share, place], axis=-1))
    summed = keras.ops.sum(share * described, axis=2)
    out = head(keras.ops.reshape(summed, (-1, jets * _PARTICLE[-1])))
    return ParticleFlow(keras.Model(shown, out), particle, head)
