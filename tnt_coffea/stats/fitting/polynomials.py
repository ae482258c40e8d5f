"""Backgrounds that are sums of terms: plain polynomials, and those with positive coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats.fitting.background import Evaluation
from tnt_coffea.stats.fitting.whitening import Mask, chosen_bins, unit_directions

__all__ = ["Affine", "PositiveSum"]

Array = NDArray[np.float64]

# Below about this many events per bin a polynomial is bent to stay positive.
_ROUNDED_BELOW = 0.01
# Square roots of counts have an uncertainty of 0.5: smaller ones may be on the saddle between
# their two signs, which no fit leaves by itself.
_SADDLE = 0.5
# Directions below this size are those of vanishing coefficients: their unit stays as it is.
_SMALLEST_SIZE = 0.1


@dataclass(frozen=True, eq=False)
class Affine:
    """A family of backgrounds base + matrix . phi, as a plain polynomial is.

    Near zero and below, y events per bin are taken as (y + sqrt(y^2 + e^2)) / 2 with
    e = 0.01: positive, smooth, and the same as y where a bin expects anything.

    Attributes
    ----------
    base
        Expected events at phi = 0, shape (bins,).
    matrix
        What the parameters multiply, shape (bins, parameters).
    """

    base: Array
    matrix: Array

    @property
    def parameters(self) -> int:
        """Number of parameters, the normalisation included."""
        return int(self.matrix.shape[-1])

    def expected(self, phi: Array) -> Array:
        """Return the expected events in every bin, shape (..., bins)."""
        return self._positive(phi)[0]

    def evaluated(self, phi: Array) -> Evaluation:
        """Return the expectation with its first and second derivatives."""
        expected, slope, bend = self._positive(phi)

        def curvature(weights: Array) -> Array:
            weighted = (weights * bend)[..., None] * self.matrix
            return np.asarray(np.swapaxes(weighted, -1, -2) @ self.matrix)

        return Evaluation(expected, slope[..., None] * self.matrix, curvature)

    def _positive(self, phi: Array) -> tuple[Array, Array, Array]:
        """Return the expectation and its first two derivatives in the polynomial's value."""
        value = self.base + phi @ self.matrix.T
        root = np.hypot(value, _ROUNDED_BELOW)
        # For value < 0 the plain sum would cancel.
        expected = np.where(
            value > 0, 0.5 * (value + root), 0.5 * _ROUNDED_BELOW**2 / (root + np.abs(value))
        )
        return expected, expected / root, 0.5 * _ROUNDED_BELOW**2 / root**3

    def movable(self, phi: Array) -> Array:
        """Return phi: no point of this family is stationary without being a minimum."""
        return phi

    def restricted(self, bins: Mask) -> Affine:
        """Return the same family on some of the bins."""
        return Affine(self.base[bins], self.matrix[bins])

    def normalised(self, total: float, seen: Mask | None = None) -> Affine:
        """Return the same family with a flat origin that expects so many events in some bins."""
        # The constant is the first term of every polynomial here.
        constant = self.matrix[:, 0]
        return Affine(total * constant / constant[chosen_bins(seen)].sum(), self.matrix)

    def whitened(self, phi: Array, seen: Mask | None = None) -> Affine:
        """Return the same family with phi as its origin and parameters of unit uncertainty."""
        here = self.evaluated(phi)
        directions = unit_directions(here.jacobian, here.expected, seen)
        return Affine(self.base + self.matrix @ phi, self.matrix @ directions)


@dataclass(frozen=True, eq=False)
class PositiveSum:
    """A family of backgrounds: the sum over terms of root^2 x term.

    At low counts some coefficients are zero. As squares they have a minimum there like
    any other; as exponentials it would lie at infinity, and toys that start there would
    seem to have converged wherever they belong.

    Attributes
    ----------
    terms
        Share of every term in each bin, shape (bins, terms); 1 over all bins.
    origin
        Roots at phi = 0: of the events that each term expects, shape (terms,).
    directions
        How the roots change with phi, shape (terms, parameters).
    """

    terms: Array
    origin: Array
    directions: Array

    @classmethod
    def of(cls, terms: Array) -> PositiveSum:
        """Return the family of terms of shape (bins, terms), their plain sum its origin."""
        totals = terms.sum(axis=0)
        return cls(terms / totals, np.sqrt(totals), np.eye(totals.size))

    @property
    def parameters(self) -> int:
        """Number of parameters, the normalisation included."""
        return int(self.origin.size)

    def _roots(self, phi: Array) -> Array:
        return np.asarray(self.origin + np.asarray(phi) @ self.directions.T)

    def expected(self, phi: Array) -> Array:
        """Return the expected events in every bin, shape (..., bins)."""
        return np.asarray(self._roots(phi) ** 2 @ self.terms.T)

    def evaluated(self, phi: Array) -> Evaluation:
        """Return the expectation with its first and second derivatives."""
        roots = self._roots(phi)

        def curvature(weights: Array) -> Array:
            bent = 2 * (weights @ self.terms)
            return np.asarray((self.directions.T * bent[..., None, :]) @ self.directions)

        slopes = (2 * roots[..., None, :] * self.terms) @ self.directions
        return Evaluation(roots**2 @ self.terms.T, slopes, curvature)

    def movable(self, phi: Array) -> Array:
        """Return phi with every root so far from zero that a fit sees both of its sides."""
        roots = self._roots(phi)
        away = np.where(roots < 0, -_SADDLE, _SADDLE) - roots
        change = np.where(np.abs(roots) < _SADDLE, away, 0.0)
        return np.asarray(phi + change @ np.linalg.inv(self.directions).T)

    def restricted(self, bins: Mask) -> PositiveSum:
        """Return the same family on some of the bins."""
        return replace(self, terms=self.terms[bins])

    def normalised(self, total: float, seen: Mask | None = None) -> PositiveSum:
        """Return the same family with an origin that expects so many events in some bins."""
        now = self.expected(np.zeros(self.parameters))[chosen_bins(seen)].sum()
        return replace(self, origin=np.sqrt(total / now) * self.origin)

    def whitened(self, phi: Array, seen: Mask | None = None) -> PositiveSum:
        """Return the same family with phi as its origin and parameters of unit uncertainty."""
        here = self.evaluated(phi)
        directions = unit_directions(here.jacobian, here.expected, seen, _SMALLEST_SIZE)
        return PositiveSum(self.terms, self._roots(phi), self.directions @ directions)
