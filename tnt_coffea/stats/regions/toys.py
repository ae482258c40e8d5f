"""Toys of ABCD counts: Poisson ones, and ones that keep the marginals of the score plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.regions.tied_counts import tied_counts_q0

__all__ = ["AbcdNull", "permutation_counts", "permutation_p", "poisson_p"]

Array = NDArray[np.float64]

# Rounding of q0: a toy that repeats the data counts as above them.
_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class AbcdNull:
    """The test whose toys are thrown.

    Attributes
    ----------
    observed, fitted
        Counts of A, B, C, D, and their expectations without signal.
    q0
        Of the data.
    closure_factor, sigma
        kappa and its logarithmic uncertainty.
    """

    observed: Array
    fitted: Array
    q0: float
    closure_factor: float
    sigma: float

    @property
    def shift(self) -> float:
        """The closure's nuisance parameter in the background-only fit."""
        return float(self.sigma * (self.observed[0] - self.fitted[0]))


def poisson_p(null: AbcdNull, toys: int, seed: int) -> float:
    """Return (k + 1) / (N + 1) over toys of the counts and of the auxiliary measurement."""
    random = seeds.generator(seed, "stats", "abcd", "toys")
    counts = random.poisson(null.fitted, size=(toys, 4)).astype(float)
    return (int(np.sum(_above(null, counts, random))) + 1) / (toys + 1)


def permutation_p(
    null: AbcdNull, tables: Sequence[Sequence[Sequence[float]]], toys: int, seed: int
) -> float:
    """Return the p-value over permutations of the jets' scores, (k + 1) / (N + 1).

    Quantiles that are taken from the scored events fix how many of them pass and are low
    for each jet. Toys pair the two jets of different events at random within each fold,
    which keeps these numbers; with a closure factor kappa a toy has the weight kappa^A,
    as in Fisher's noncentral hypergeometric law.

    Parameters
    ----------
    null
        The test.
    tables
        Events by (heavy, light) jet that is low, between, or passes, a table a fold.
    toys
        How many.
    seed
        Root seed.

    Raises
    ------
    FitError
        The tables do not hold whole events.

    Source
    ------
    Fisher's exact test and its noncentral law: Fog, Comm. Stat. 37 (2008) 258.
    """
    random = seeds.generator(seed, "stats", "abcd", "permutations")
    counts = permutation_counts(tables, toys, random)
    power = (np.log(null.closure_factor) + null.sigma * null.shift) * counts[:, 0]
    weights = np.exp(power - power.max())
    weights /= weights.mean()
    return float((weights[_above(null, counts, random)].sum() + 1) / (toys + 1))


def permutation_counts(
    tables: Sequence[Sequence[Sequence[float]]], toys: int, random: np.random.Generator
) -> Array:
    """Return A, B, C, D of toys with independent scores and the marginals of the tables.

    Returns
    -------
    Shape (toys, 4).
    """
    total = np.zeros((toys, 4))
    for table in tables:
        events = np.asarray(table, dtype=float)
        if events.shape != (3, 3) or not np.all(np.isfinite(events)) or np.any(events < 0):
            msg = f"a table of the score plane has 3 x 3 counts, got {events.tolist()}"
            raise FitError(msg)
        whole = np.rint(events).astype(np.int64)
        if not np.allclose(whole, events, atol=1e-6):
            msg = "toys that keep the marginals need whole events, not weighted ones"
            raise FitError(msg)
        low, _, passing = whole.sum(axis=1)
        columns = whole.sum(axis=0)
        # The light jets of events whose heavy jet passes; then of those with a low one.
        taken = random.multivariate_hypergeometric(columns, passing, size=toys, method="marginals")
        left = columns - taken
        rest = left.sum(axis=1)
        first = random.hypergeometric(left[:, 0], rest - left[:, 0], low) if low else 0
        others = rest - left[:, 0]
        drawn = low - first
        last = random.hypergeometric(left[:, 2], others - left[:, 2], drawn)
        total += np.stack(
            np.broadcast_arrays(taken[:, 2], taken[:, 0], last, first), axis=1
        ).astype(float)
    return total


def _above(null: AbcdNull, counts: Array, random: np.random.Generator) -> NDArray[np.bool_]:
    centres = random.normal(null.shift, 1.0, size=len(counts))
    q0, _ = tied_counts_q0(counts, null.closure_factor, null.sigma, centres)
    return np.asarray(q0 >= null.q0 - _TIE)
