"""The families of background functions, by name.

A new one is a builder like those below. In the package it is a line in `FAMILIES`; of others it is
an object for `SpectrumFit`, or one under an entry point `tnt_coffea.families`. Both engines take
whatever `Background` it returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from inspect import signature
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb, xlog1py, xlogy

from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import (
    SQRT_S,
    Affine,
    Background,
    LogLinear,
    PositiveSum,
    dijet_function,
    quadrature,
)
from tnt_coffea.stats.engine import fitted_background

__all__ = ["ENTRY_POINTS", "FAMILIES", "Family", "added_family", "family_named"]

ENTRY_POINTS = "tnt_coffea.families"
"""Group of the entry points of other packages: each is a `Family`, under its name."""

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Builder(Protocol):
    """What makes the background of a family."""

    def __call__(
        self, edges: Array, parameters: int, counts: Array, seen: Mask, sqrt_s: float = SQRT_S, /
    ) -> Background:
        """Return the background over all bins; arguments as in `Family.build`."""
        ...


@dataclass(frozen=True)
class Family:
    """A family of background functions.

    Attributes
    ----------
    name
        What settings and results call it.
    orders
        Numbers of parameters it exists in, normalisation included, each one nested
        in the next.
    build
        From edges [GeV], parameters, counts, the bins that may be looked at and the
        centre-of-mass energy [GeV] to the background over all bins. Only a family that
        starts from a fit of its own looks at the counts, and only one in m_jj / sqrt(s) at
        the energy.
    reproduction_only
        Whether it is here to repeat a published result and unfit for a search.

    Raises
    ------
    FitError
        `build` does not take these five arguments.
    """

    name: str
    orders: tuple[int, ...]
    build: Builder
    reproduction_only: bool = False

    def __post_init__(self) -> None:
        try:
            signature(self.build).bind(*range(5))
        except TypeError as error:
            msg = (
                f"family '{self.name}': its builder must take (edges, parameters, counts, seen, "
                f"sqrt_s), where sqrt_s is the centre-of-mass energy [GeV]: {error}"
            )
            raise FitError(msg) from error


def family_named(name: str) -> Family:
    """Return a family by its name: the package's, one that a fit brought, or another package's.

    Raises
    ------
    FitError
        There is none of that name, or its entry point cannot be loaded.
    """
    if (family := FAMILIES.get(name) or _ADDED.get(name)) is not None:
        return family
    entries = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in entries:
        known = ", ".join([*FAMILIES, *_ADDED, *entries])
        msg = f"'{name}' is no background family: choose one of {known}"
        raise FitError(msg)
    where = f"entry point {name} = {entries[name].value} ({ENTRY_POINTS})"
    try:
        loaded = entries[name].load()
    except Exception as error:  # whatever another package's import raises
        msg = f"{where}: cannot be loaded: {type(error).__name__}: {error}"
        raise FitError(msg) from error
    if not isinstance(loaded, Family) or loaded.name != name:
        msg = f"{where}: is no Family of that name"
        raise FitError(msg)
    return loaded


def added_family(family: Family) -> str:
    """Make a family known by its name in this process, and return the name.

    Raises
    ------
    FitError
        Another family has the name.
    """
    known = FAMILIES.get(family.name) or _ADDED.setdefault(family.name, family)
    if known is not family and known != family:
        msg = f"'{family.name}' is the name of another background family: choose a name of its own"
        raise FitError(msg)
    return family.name


# Families that fits brought as objects.
_ADDED: dict[str, Family] = {}


def _dijet(edges: Array, parameters: int, _: Array, __: Mask, sqrt_s: float = SQRT_S) -> LogLinear:
    return dijet_function(edges, parameters, sqrt_s)


def _exponential(
    edges: Array, parameters: int, _: Array, __: Mask, ___: float = SQRT_S
) -> LogLinear:
    """Return exp(c0 + c1 u + c2 u^2 + ...), u = m_jj on the fit range as [-1, 1]."""
    mass, log_weights = quadrature(edges)
    u = 2 * _within(edges, mass) - 1
    return LogLinear(log_weights, np.stack([u**k for k in range(parameters)], axis=-1))


def _power_law(edges: Array, parameters: int, _: Array, __: Mask, ___: float = SQRT_S) -> LogLinear:
    """Return (m_jj / m_0)^-p exp(c0 + c1 u + c2 u^2 + ...), u = m_jj on the fit range as [-1, 1].

    The polynomial is in the exponent. A plain one, its coefficients kept positive, has
    several maxima of the likelihood at low counts: where a fit ends then depends on
    where it began.
    """
    mass, log_weights = quadrature(edges)
    u = 2 * _within(edges, mass) - 1
    powers = [u**k for k in range(1, parameters - 1)]
    terms = [np.ones_like(u), -np.log(mass / edges[0]), *powers]
    return LogLinear(log_weights, np.stack(terms, axis=-1))


def _bernstein(
    edges: Array, parameters: int, counts: Array, seen: Mask, sqrt_s: float = SQRT_S
) -> PositiveSum:
    """Return a dijet function fitted beforehand times a Bernstein polynomial.

    The prefit has three parameters and stays as it is; it looks at the bins in
    `seen` only.
    """
    prefit, _ = fitted_background(dijet_function(edges, 3, sqrt_s), counts, seen)
    mass, _ = quadrature(edges)
    terms = _bernstein_terms(_within(edges, mass), parameters - 1)
    return PositiveSum.of(np.exp(prefit.offset[..., None] + terms).sum(axis=1))


def _cubic(edges: Array, parameters: int, _: Array, __: Mask, ___: float = SQRT_S) -> Affine:
    """Return the polynomial of third degree of the paper's bump hunt.

    Source
    ------
    arXiv:2002.12376, section 4.1. It follows no falling spectrum: on a dijet
    function of 50 thousand events in +-700 GeV it makes a signal of several sigma.
    """
    mass, log_weights = quadrature(edges)
    u = 2 * _within(edges, mass) - 1
    terms = np.exp(log_weights)[..., None] * np.stack([u**k for k in range(parameters)], axis=-1)
    matrix = terms.sum(axis=1)
    return Affine(matrix[:, 0], matrix)


def _within(edges: Array, mass: Array) -> Array:
    return np.asarray((mass - edges[0]) / (edges[-1] - edges[0]))


def _bernstein_terms(u: Array, degree: int) -> Array:
    """Return the logarithms of the Bernstein polynomials of a degree, the last axis.

    With coefficients that are not negative their sum is not, on the whole range.
    """
    k = np.arange(degree + 1)
    u = u[..., None]
    return np.asarray(np.log(comb(degree, k)) + xlogy(k, u) + xlog1py(degree - k, -u))


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family("dijet", (2, 3, 4, 5, 6), _dijet),
            Family("exponential", (2, 3, 4, 5, 6), _exponential),
            Family("power_law", (2, 3, 4, 5, 6), _power_law),
            Family("bernstein", (2, 3, 4), _bernstein),
            Family("cubic", (4,), _cubic, reproduction_only=True),
        )
    }
)
