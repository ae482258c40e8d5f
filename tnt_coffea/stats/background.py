"""Smooth backgrounds in m_jj, integrated over bins: what a fit needs, and three general forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError

__all__ = [
    "MAX_PARAMETERS",
    "MIN_PARAMETERS",
    "SQRT_S",
    "Affine",
    "Background",
    "Derivatives",
    "LogLinear",
    "PositiveSum",
    "check_sqrt_s",
    "dijet_function",
    "quadrature",
    "unit_directions",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


SQRT_S = 13_000.0
"""Centre-of-mass energy that makes m_jj dimensionless, unless another is given [GeV]."""

MIN_PARAMETERS, MAX_PARAMETERS = 2, 6

# Energies below this are meant in TeV [GeV].
_LEAST_SQRT_S = 200.0

# Five Gauss-Legendre nodes are exact up to degree nine: a dijet function over a
# 100 GeV bin is then right to 1e-12, and the nodes cost next to nothing.
_NODES = 5
_GAUSS = np.polynomial.legendre.leggauss(_NODES)
# A direction that changes the bins by less than this share of what another does has no unit.
_SMALLEST_DIRECTION = 1e-8
# One that changes them by less than this share is kept apart from the others.
_MINOR_DIRECTION = 1e-3
# Below about this many events per bin a polynomial is bent to stay positive.
_ROUNDED_BELOW = 0.01
# Square roots of counts have an uncertainty of 0.5: smaller ones may be on the saddle between
# their two signs, which no fit leaves by itself.
_SADDLE = 0.5
# Directions below this size are those of vanishing coefficients: their unit stays as it is.
_SMALLEST_SIZE = 0.1
# exp() of more than this is no background but a minimiser's trial step.
_LARGEST_EXPONENT = 300.0


@dataclass(frozen=True, eq=False)
class Derivatives:
    """A background and its derivatives at one or many points.

    Attributes
    ----------
    expected
        Events per bin, shape (..., bins).
    jacobian
        d expected / d phi, shape (..., bins, parameters).
    curvature
        From weights of shape (..., bins) to the weighted sum over bins of
        d2 expected / d phi d phi, shape (..., parameters, parameters).
    """

    expected: Array
    jacobian: Array
    curvature: Callable[[Array], Array]


class Background(Protocol):
    """A family of expectations with free parameters phi; phi = 0 is its origin.

    Every method that takes phi of shape (..., parameters) works on many points at once.
    """

    @property
    def parameters(self) -> int:
        """Number of parameters, the normalisation included."""
        ...

    def expected(self, phi: Array) -> Array:
        """Return the expected events in every bin, shape (..., bins)."""
        ...

    def evaluated(self, phi: Array) -> Derivatives:
        """Return the expectation with its first and second derivatives."""
        ...

    def movable(self, phi: Array) -> Array:
        """Return phi, moved off points that are stationary without being a minimum."""
        ...

    def restricted(self, bins: Mask) -> Self:
        """Return the same family on some of the bins."""
        ...

    def scaled(self, factors: Array) -> Self:
        """Return the same family with every bin's expectation times a factor, shape (bins,)."""
        ...

    def normalised(self, total: float, seen: Mask | None = None) -> Self:
        """Return the same family with an origin that expects so many events in some bins."""
        ...

    def whitened(self, phi: Array, seen: Mask | None = None) -> Self:
        """Return the same family with phi as its origin and parameters of unit uncertainty.

        The uncertainty is that of a fit to the bins in `seen`; by default to all.
        """
        ...


@dataclass(frozen=True, eq=False)
class LogLinear:
    """A family of backgrounds exp(offset + features . phi), summed over the nodes of each bin.

    Integration over a bin would break log-linearity if the bin were the unit:
    here the quadrature node is, its weight sits in the offset, and a bin's
    expectation is the sum of its nodes. Nothing is approximated at the bin centre.
    A sum of positive terms, such as a Bernstein polynomial, has its terms as nodes.

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

    @cached_property
    def _flat(self) -> Array:
        return np.ascontiguousarray(self.features.reshape(-1, self.parameters).T)

    @cached_property
    def _pairs(self) -> Array:
        nodes = self._flat.T
        return np.asarray((nodes[:, :, None] * nodes[:, None, :]).reshape(len(nodes), -1))

    def rates(self, phi: Array) -> Array:
        """Return the expected events at every node, shape (..., bins, nodes)."""
        exponent = np.reshape(phi @ self._flat, (*np.shape(phi)[:-1], *self.offset.shape))
        exponent += self.offset
        np.minimum(exponent, _LARGEST_EXPONENT, out=exponent)
        return np.asarray(np.exp(exponent, out=exponent))

    def expected(self, phi: Array) -> Array:
        """Return the expected events in every bin, shape (..., bins)."""
        return _over_nodes(self.rates(phi))

    def jacobian(self, rates: Array) -> Array:
        """Return d expected / d phi for the rates of some phi, shape (..., bins, parameters)."""
        # A product of small matrices a bin: several times as fast as sums over the nodes.
        bins_first = rates.reshape(-1, *self.offset.shape).swapaxes(0, 1)
        slopes = np.matmul(bins_first, self.features).swapaxes(0, 1)
        return np.asarray(slopes.reshape(*rates.shape[:-1], self.parameters))

    def evaluated(self, phi: Array) -> Derivatives:
        """Return the expectation with its first and second derivatives."""
        rates = self.rates(phi)
        size = self.parameters

        def curvature(weights: Array) -> Array:
            weighted = (weights[..., None] * rates).reshape(*weights.shape[:-1], -1)
            return np.asarray((weighted @ self._pairs).reshape(*weights.shape[:-1], size, size))

        return Derivatives(_over_nodes(rates), self.jacobian(rates), curvature)

    def movable(self, phi: Array) -> Array:
        """Return phi: no point of this family is stationary without being a minimum."""
        return phi

    def restricted(self, bins: Mask) -> LogLinear:
        """Return the same family on some of the bins."""
        return LogLinear(self.offset[bins], self.features[bins])

    def scaled(self, factors: Array) -> LogLinear:
        """Return the same family with every bin's expectation times a factor, shape (bins,)."""
        return LogLinear(self.offset + np.log(factors)[:, None], self.features)

    def normalised(self, total: float, seen: Mask | None = None) -> LogLinear:
        """Return the same family with an origin that expects so many events in some bins."""
        now = self.expected(np.zeros(self.parameters))[_chosen_bins(seen)].sum()
        return LogLinear(self.offset + np.log(total / now), self.features)

    def whitened(self, phi: Array, seen: Mask | None = None) -> LogLinear:
        """Return the same family with phi as its origin and parameters of unit uncertainty.

        With J = d expected / d phi and b the expectation, QR of J / sqrt(b) makes
        the Fisher information of a fit that gives b the unit matrix. Minimisers
        fail silently on the textbook parameters, whose correlations exceed 0.999.
        """
        rates = self.rates(phi)
        directions = unit_directions(self.jacobian(rates), _over_nodes(rates), seen)
        return LogLinear(self.offset + self.features @ phi, self.features @ directions)


def _over_nodes(rates: Array) -> Array:
    # `sum` over so short an axis takes eight times as long.
    return np.asarray(rates @ np.ones(rates.shape[-1]))


def quadrature(edges: Array) -> tuple[Array, Array]:
    """Return the Gauss-Legendre nodes of every bin and the logarithms of their weights [GeV].

    Parameters
    ----------
    edges
        Edges of the bins [GeV], shape (bins + 1,).

    Returns
    -------
    Both of shape (bins, nodes).
    """
    points, weights = _GAUSS
    half = 0.5 * np.diff(edges)[:, None]
    return 0.5 * (edges[1:] + edges[:-1])[:, None] + half * points, np.log(half * weights)


def dijet_function(edges: Array, parameters: int, sqrt_s: float = SQRT_S) -> LogLinear:
    """Return the dijet function p0 (1-x)^p1 x^-(p2 + p3 ln x + ...) over bins, x = m_jj / sqrt(s).

    It is nested by adding to the logarithm, in this order: two parameters are p0 and p2 (a power
    law), three add p1, four add p3 ln^2 x, five and six the next powers of ln x.

    Parameters
    ----------
    edges
        Edges of the bins [GeV], shape (bins + 1,), inside (0, sqrt_s).
    parameters
        How many, normalisation included: 2 to 6.
    sqrt_s
        Centre-of-mass energy [GeV].

    Returns
    -------
    The family in its textbook parameters (ln p0 per GeV, p2, p1, p3, p4, p5): whiten it
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
    if edges[0] <= 0 or edges[-1] >= sqrt_s:
        msg = (
            f"the dijet function is defined for 0 < m_jj < sqrt(s) = {sqrt_s:g} GeV, and the bins "
            f"reach from {edges[0]:g} to {edges[-1]:g} GeV: choose a smaller fit range, or give "
            "the right sqrt_s"
        )
        raise FitError(msg)
    mass, log_weights = quadrature(edges)
    x = mass / sqrt_s
    log_x = np.log(x)
    terms = (np.ones_like(x), -log_x, np.log1p(-x), *(-(log_x**k) for k in (2, 3, 4)))
    return LogLinear(log_weights, np.stack(terms[:parameters], axis=-1))


def check_sqrt_s(sqrt_s: float) -> None:
    """Refuse what is no centre-of-mass energy.

    Raises
    ------
    FitError
        It is no number above 0 [GeV].
    """
    number = isinstance(sqrt_s, (int, float, np.number)) and not isinstance(sqrt_s, bool)
    if not (number and 0 < sqrt_s < np.inf):
        msg = f"sqrt_s is the centre-of-mass energy in GeV, a number above 0, got {sqrt_s!r}"
        raise FitError(msg)
    if sqrt_s < _LEAST_SQRT_S:
        msg = f"sqrt_s is in GeV, got {sqrt_s:g}: {sqrt_s:g} TeV are {1000 * sqrt_s:g}"
        raise FitError(msg)


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

    def evaluated(self, phi: Array) -> Derivatives:
        """Return the expectation with its first and second derivatives."""
        expected, slope, bend = self._positive(phi)

        def curvature(weights: Array) -> Array:
            weighted = (weights * bend)[..., None] * self.matrix
            return np.asarray(np.swapaxes(weighted, -1, -2) @ self.matrix)

        return Derivatives(expected, slope[..., None] * self.matrix, curvature)

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

    def scaled(self, factors: Array) -> Affine:
        """Return the same family with every bin's expectation times a factor, shape (bins,)."""
        return Affine(self.base * factors, self.matrix * factors[:, None])

    def normalised(self, total: float, seen: Mask | None = None) -> Affine:
        """Return the same family with a flat origin that expects so many events in some bins."""
        # The constant is the first term of every polynomial here.
        constant = self.matrix[:, 0]
        return Affine(total * constant / constant[_chosen_bins(seen)].sum(), self.matrix)

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

    def evaluated(self, phi: Array) -> Derivatives:
        """Return the expectation with its first and second derivatives."""
        roots = self._roots(phi)

        def curvature(weights: Array) -> Array:
            bent = 2 * (weights @ self.terms)
            return np.asarray((self.directions.T * bent[..., None, :]) @ self.directions)

        slopes = (2 * roots[..., None, :] * self.terms) @ self.directions
        return Derivatives(roots**2 @ self.terms.T, slopes, curvature)

    def movable(self, phi: Array) -> Array:
        """Return phi with every root so far from zero that a fit sees both of its sides."""
        roots = self._roots(phi)
        away = np.where(roots < 0, -_SADDLE, _SADDLE) - roots
        change = np.where(np.abs(roots) < _SADDLE, away, 0.0)
        return np.asarray(phi + change @ np.linalg.inv(self.directions).T)

    def restricted(self, bins: Mask) -> PositiveSum:
        """Return the same family on some of the bins."""
        return replace(self, terms=self.terms[bins])

    def scaled(self, factors: Array) -> PositiveSum:
        """Return the same family with every bin's expectation times a factor, shape (bins,)."""
        terms = self.terms * factors[:, None]
        totals = terms.sum(axis=0)
        root = np.sqrt(totals)
        return PositiveSum(terms / totals, root * self.origin, root[:, None] * self.directions)

    def normalised(self, total: float, seen: Mask | None = None) -> PositiveSum:
        """Return the same family with an origin that expects so many events in some bins."""
        now = self.expected(np.zeros(self.parameters))[_chosen_bins(seen)].sum()
        return replace(self, origin=np.sqrt(total / now) * self.origin)

    def whitened(self, phi: Array, seen: Mask | None = None) -> PositiveSum:
        """Return the same family with phi as its origin and parameters of unit uncertainty."""
        here = self.evaluated(phi)
        directions = unit_directions(here.jacobian, here.expected, seen, _SMALLEST_SIZE)
        return PositiveSum(self.terms, self._roots(phi), self.directions @ directions)


def _chosen_bins(seen: Mask | None) -> Mask | slice:
    """Return the bins to look at; by default all."""
    return slice(None) if seen is None else seen


def unit_directions(
    jacobian: Array, expected: Array, seen: Mask | None = None, smallest: float = 0.0
) -> Array:
    """Return W such that J W / sqrt(b) has orthonormal columns: the new directions.

    A direction that changes next to nothing is kept apart from the others: toys move it by
    many times its unit, and would move with it all that hold a part of it.

    Parameters
    ----------
    jacobian
        J, d expected / d phi, shape (bins, parameters).
    expected
        b, shape (bins,).
    seen
        The bins that count; by default all.
    smallest
        Directions whose size, in uncertainties per unit of phi, is below this keep their unit.
    """
    root = np.sqrt(np.maximum(expected, np.finfo(float).tiny))
    triangle = np.linalg.qr((jacobian / root[:, None])[_chosen_bins(seen)], mode="r")
    _, sizes, vectors = np.linalg.svd(triangle)
    smallest = max(smallest, _SMALLEST_DIRECTION * float(sizes[0]), 1e-300)
    if sizes[-1] > max(smallest, _MINOR_DIRECTION * float(sizes[0])):
        return np.asarray(np.linalg.inv(triangle))
    return np.asarray(vectors.T / np.where(sizes > smallest, sizes, 1.0))
