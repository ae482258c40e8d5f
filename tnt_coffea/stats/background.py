"""Smooth backgrounds in m_jj: exactly log-linear functions, integrated over bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError

__all__ = ["MAX_PARAMETERS", "MIN_PARAMETERS", "SQRT_S", "LogLinear", "dijet_function"]

Array = NDArray[np.float64]

SQRT_S = 13_000.0
"""Centre-of-mass energy that makes m_jj dimensionless [GeV]."""

MIN_PARAMETERS, MAX_PARAMETERS = 2, 4

# Five Gauss-Legendre nodes are exact up to degree nine: a dijet function over a
# 100 GeV bin is then right to 1e-12, and the nodes cost next to nothing.
_NODES = 5
# exp() of more than this is no background but a minimiser's trial step.
_LARGEST_EXPONENT = 300.0


@dataclass(frozen=True, eq=False)
class LogLinear:
    """A family of backgrounds exp(offset + features . phi), summed over the nodes of each bin.

    Integration over a bin would break log-linearity if the bin were the unit:
    here the quadrature node is, its weight sits in the offset, and a bin's
    expectation is the sum of its nodes. Nothing is approximated at the bin centre.

    Attributes
    ----------
    offset
        Logarithm of weight times density at phi = 0, shape (bins, nodes).
    features
        What the parameters multiply, shape (bins, nodes, parameters).
    """

    offset: Array
    features: Array

    @property
    def parameters(self) -> int:
        """Number of parameters, the normalisation included."""
        return int(self.features.shape[-1])

    def rates(self, phi: Array) -> Array:
        """Return the expected events at every node, shape (bins, nodes)."""
        exponent = self.offset + self.features @ phi
        return np.asarray(np.exp(np.minimum(exponent, _LARGEST_EXPONENT)))

    def expected(self, phi: Array) -> Array:
        """Return the expected events in every bin, shape (bins,)."""
        return np.asarray(self.rates(phi).sum(axis=1))

    def jacobian(self, rates: Array) -> Array:
        """Return d expected / d phi for the rates of one phi, shape (bins, parameters)."""
        return np.asarray(np.einsum("bn,bnp->bp", rates, self.features))

    def restricted(self, bins: NDArray[np.bool_]) -> LogLinear:
        """Return the same family on some of the bins."""
        return LogLinear(self.offset[bins], self.features[bins])

    def whitened(self, phi: Array) -> LogLinear:
        """Return the same family with phi as its origin and parameters of unit uncertainty.

        With J = d expected / d phi and b the expectation, QR of J / sqrt(b) makes
        the Fisher information of a fit that gives b the unit matrix. Minimisers
        fail silently on the textbook parameters, whose correlations exceed 0.999.
        """
        rates = self.rates(phi)
        expected = np.maximum(rates.sum(axis=1), np.finfo(float).tiny)
        triangle = np.linalg.qr(self.jacobian(rates) / np.sqrt(expected)[:, None], mode="r")
        return LogLinear(self.offset + self.features @ phi, self.features @ np.linalg.inv(triangle))


def dijet_function(edges: Array, parameters: int) -> LogLinear:
    """Return the dijet function p0 (1-x)^p1 x^-(p2 + p3 ln x) over bins, x = m_jj / sqrt(s).

    It is nested by adding to the logarithm, in this order: two parameters are
    p0 and p2 (a power law), three add p1, four add p3.

    Parameters
    ----------
    edges
        Edges of the bins [GeV], shape (bins + 1,), inside (0, 13000).
    parameters
        How many, normalisation included: 2, 3 or 4.

    Returns
    -------
    The family in its textbook parameters (ln p0 per GeV, p2, p1, p3): whiten it
    before fitting.

    Source
    ------
    The form that dijet searches at the LHC share, its order chosen by F-test as
    in CMS's own use of Tag N' Train, arXiv:2412.03747.
    """
    if not MIN_PARAMETERS <= parameters <= MAX_PARAMETERS:
        msg = (
            f"the dijet function has {MIN_PARAMETERS} to {MAX_PARAMETERS} parameters, "
            f"not {parameters}: choose one of these"
        )
        raise FitError(msg)
    edges = np.asarray(edges, dtype=float)
    if edges[0] <= 0 or edges[-1] >= SQRT_S:
        msg = (
            f"the dijet function is defined for 0 < m_jj < {SQRT_S:g} GeV, and the bins reach "
            f"from {edges[0]:g} to {edges[-1]:g} GeV: choose a smaller fit range"
        )
        raise FitError(msg)
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    half = 0.5 * np.diff(edges)[:, None]
    x = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * points) / SQRT_S
    log_x = np.log(x)
    terms = (np.ones_like(x), -log_x, np.log1p(-x), -(log_x**2))
    return LogLinear(np.log(half * weights), np.stack(terms[:parameters], axis=-1))
