"""Discrete profiling: the choice among background families as a nuisance parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.likelihood import Channel
from tnt_coffea.stats.fitting.poisson import Discoveries
from tnt_coffea.stats.records import Record

__all__ = ["Envelope", "FamilyFit", "enveloped"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FamilyFit(Record):
    """One family in the envelope.

    Attributes
    ----------
    family
        Its name.
    parameters
        Background parameters over all channels.
    null, best
        -ln L + parameters / 2 at mu = 0 and at the best mu, relative to the
        saturated model.
    mu_hat, z
        What this family alone finds.
    """

    family: str
    parameters: int
    null: float
    best: float
    mu_hat: float
    z: float


@dataclass(frozen=True, eq=False)
class Envelope:
    """Tests of mu = 0 with every family, for one or many sets of counts.

    Attributes
    ----------
    tests
        The tests by family.
    penalties
        parameters / 2 by family.
    """

    tests: Mapping[str, Discoveries]
    penalties: Mapping[str, float]

    @property
    def null(self) -> Array:
        """Penalised -ln L at mu = 0, shape (families, toys)."""
        return np.array([t.background.nll + self.penalties[f] for f, t in self.tests.items()])

    @property
    def best(self) -> Array:
        """Penalised -ln L at the best mu, shape (families, toys)."""
        return np.array([t.best.nll + self.penalties[f] for f, t in self.tests.items()])

    @property
    def q0(self) -> Array:
        """Test statistic of the envelopes, shape (toys,)."""
        return np.asarray(np.maximum(0.0, 2 * (self.null.min(axis=0) - self.best.min(axis=0))))

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Whether every family's fits converged, shape (toys,)."""
        return np.asarray(np.all([test.converged for test in self.tests.values()], axis=0))

    def chosen(self, toy: int = 0) -> tuple[str, str]:
        """Return the families that are best at mu = 0 and at the best mu."""
        names = list(self.tests)
        return names[int(self.null[:, toy].argmin())], names[int(self.best[:, toy].argmin())]

    def families(self, toy: int = 0) -> tuple[FamilyFit, ...]:
        """Return every family's part in one of the tests."""
        return tuple(
            FamilyFit(
                name,
                round(2 * self.penalties[name]),
                float(null[toy]),
                float(best[toy]),
                float(test.best.mu[toy]),
                float(test.z[toy]),
            )
            for (name, test), null, best in zip(
                self.tests.items(), self.null, self.best, strict=True
            )
        )


def enveloped(models: Mapping[str, Sequence[Channel]], observed: Sequence[Array]) -> Envelope:
    """Test mu = 0 with every family.

    Each family keeps one function per channel, of the order that its F-test gave;
    at every mu the family of least -ln L + parameters / 2 counts, the same in all
    channels.

    Parameters
    ----------
    models
        Channels by family.
    observed
        Counts of every channel, shape (toys, bins).

    Source
    ------
    Dauncey, Kenzie, Wardle, Davies, arXiv:1408.6865; the penalty is their choice.
    """
    tests = {name: poisson.discoveries(channels, observed) for name, channels in models.items()}
    penalties = {
        name: 0.5 * sum(channel.background.parameters for channel in channels)
        for name, channels in models.items()
    }
    return Envelope(tests, penalties)
