"""Where maximum-likelihood fits ended, one or many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Discoveries", "Discovery", "Fit", "Fits"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a fit ended.

    Attributes
    ----------
    mu
        Signal strength: events over all channels.
    phi
        Background parameters of each channel.
    nll
        Negative log-likelihood relative to the saturated model.
    edm
        Estimated vertical distance to the minimum, in ln L.
    converged
        Whether that distance is below the goal.
    alpha
        Nuisance parameters of the signal.
    """

    mu: float
    phi: tuple[Array, ...]
    nll: float
    edm: float
    converged: bool
    alpha: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Fits:
    """Where the fits of many toys ended: the attributes of `Fit`, toys first."""

    mu: Array
    alpha: Array
    phi: tuple[Array, ...]
    nll: Array
    edm: Array
    converged: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.mu)

    def one(self, toy: int) -> Fit:
        """Return one of the fits."""
        return Fit(
            float(self.mu[toy]),
            tuple(phi[toy] for phi in self.phi),
            float(self.nll[toy]),
            float(self.edm[toy]),
            bool(self.converged[toy]),
            tuple(self.alpha[toy].tolist()),
        )

    def some(self, toys: NDArray[np.intp]) -> Fits:
        """Return some of the fits."""
        return Fits(
            self.mu[toys],
            self.alpha[toys],
            tuple(phi[toys] for phi in self.phi),
            self.nll[toys],
            self.edm[toys],
            self.converged[toys],
        )

    def parameters(self) -> Array:
        """Return all parameters in rows: mu, alpha, phi of every channel."""
        return np.concatenate([self.mu[:, None], self.alpha, *self.phi], axis=1)


@dataclass(frozen=True, eq=False)
class Discovery:
    """Test of mu = 0 against mu > 0."""

    background: Fit
    best: Fit
    q0: float

    @property
    def z(self) -> float:
        """Asymptotic local significance, sqrt(q0)."""
        return float(np.sqrt(self.q0))

    @property
    def converged(self) -> bool:
        """Whether both fits converged."""
        return self.background.converged and self.best.converged


@dataclass(frozen=True, eq=False)
class Discoveries:
    """Tests of mu = 0 against mu > 0 of many toys."""

    background: Fits
    best: Fits
    q0: Array

    @property
    def z(self) -> Array:
        """Asymptotic local significances, sqrt(q0)."""
        return np.sqrt(self.q0)

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Whether both fits converged, toy by toy."""
        return np.asarray(self.background.converged & self.best.converged)
