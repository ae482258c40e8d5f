"""Newton's method on many small problems at once: every toy is one, every step is an array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["EDM_GOAL", "Minimum", "Objective", "minimised", "solved", "solved_singly"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

EDM_GOAL = 1e-8
"""Distance to the minimum at which a fit has converged, in ln L: it moves Z by less than 1e-5."""

_MAX_STEPS = 100
_MAX_HALVINGS = 40
# Cholesky pivots below this share of their diagonal element mean a matrix that is not positive.
_SMALLEST_PIVOT = 1e-11
_ARMIJO = 1e-4
# Below this many problems LAPACK, one after the other, is faster than arrays over all of them.
_FEW = 16


class Objective(Protocol):
    """Negative log-likelihoods of independent problems with parameters of their own."""

    @property
    def rounding(self) -> Array:
        """Rounding error of the value of every problem, shape (problems,)."""
        ...

    def projected(self, x: Array) -> Array:
        """Return the nearest parameters within their bounds."""
        ...

    def value(self, x: Array, rows: Rows) -> Array:
        """Return the values of some problems at x, infinity outside the domain."""
        ...

    def derivatives(self, x: Array, rows: Rows) -> tuple[Array, Array]:
        """Return gradients and Hessians.

        Where a parameter is at its bound and would leave, its gradient is zero and it
        is decoupled from the others.
        """
        ...


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where each problem stopped.

    Attributes
    ----------
    x
        Parameters, shape (problems, parameters).
    value
        The objective there, shape (problems,).
    edm
        Estimated distance to the minimum, shape (problems,).
    converged
        Whether that distance is below the goal.
    """

    x: Array
    value: Array
    edm: Array
    converged: NDArray[np.bool_]


def minimised(objective: Objective, start: Array) -> Minimum:
    """Return the minima of independent problems, each found by damped Newton steps.

    A problem that has converged, or whose steps no longer help, leaves the
    batch; none can hold up another, and none takes more than a hundred steps.
    """
    x = np.array(start, dtype=float)
    # By all problems and not those that are left: none depends on when others have converged.
    solve = solved_singly if len(x) < _FEW else solved
    everything = np.arange(len(x))
    value = objective.value(x, everything)
    edm = np.full(len(x), np.inf)
    converged = np.zeros(len(x), dtype=bool)
    active = everything
    for _ in range(_MAX_STEPS):
        step, edm[active] = _steps(objective, x[active], active, solve)
        converged[active] = edm[active] < EDM_GOAL
        going = edm[active] >= EDM_GOAL
        active, step = active[going], step[going]
        if not active.size:
            break
        moved = _searched(objective, x, value, edm, active, step)
        active = active[moved]
        if not active.size:
            break
    return Minimum(x, value, edm, converged)


def solved(matrices: Array, vectors: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return the solutions of many small symmetric systems, and which matrices are positive.

    Parameters
    ----------
    matrices, vectors
        Shapes (systems, size, size) and (systems, size).
    """
    size = matrices.shape[-1]
    lower = np.zeros_like(matrices)
    diagonal = np.einsum("tii->ti", matrices)
    positive = np.isfinite(matrices).all(axis=(1, 2))
    solution = np.empty_like(vectors)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for j in range(size):
            column = matrices[:, j:, j] - np.einsum(
                "tik,tk->ti", lower[:, j:, :j], lower[:, j, :j], optimize=False
            )
            pivot = column[:, 0]
            positive &= pivot > _SMALLEST_PIVOT * diagonal[:, j]
            pivot = np.where(pivot > 0, pivot, 1.0)
            lower[:, j:, j] = column / np.sqrt(pivot)[:, None]
            lower[:, j, j] = np.sqrt(pivot)
            solution[:, j] = (
                vectors[:, j] - np.einsum("tk,tk->t", lower[:, j, :j], solution[:, :j])
            ) / lower[:, j, j]
        for j in reversed(range(size)):
            solution[:, j] = (
                solution[:, j] - np.einsum("tk,tk->t", lower[:, j + 1 :, j], solution[:, j + 1 :])
            ) / lower[:, j, j]
    return solution, np.logical_and(positive, np.isfinite(solution).all(axis=1))


def solved_singly(matrices: Array, vectors: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return what `solved` does, with LAPACK where all matrices are positive.

    Parameters
    ----------
    matrices, vectors
        As for `solved`; few systems.
    """
    try:
        lower = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return solved(matrices, vectors)
    pivots = np.square(np.einsum("tii->ti", lower))
    positive = (pivots > _SMALLEST_PIVOT * np.einsum("tii->ti", matrices)).all(axis=1)
    if not positive.all():  # not a number included
        return solved(matrices, vectors)
    solution = np.linalg.solve(matrices, vectors[..., None])[..., 0]
    return np.asarray(solution, np.float64), positive


def _steps(
    objective: Objective,
    x: Array,
    rows: Rows,
    solve: Callable[[Array, Array], tuple[Array, NDArray[np.bool_]]],
) -> tuple[Array, Array]:
    """Return steps downhill and estimated distances to the minimum."""
    gradient, hessian = objective.derivatives(x, rows)
    step, positive = solve(hessian, -gradient)
    if not positive.all():
        wrong = np.flatnonzero(~positive)
        step[wrong] = _downhill(hessian[wrong], gradient[wrong])
    edm = -0.5 * np.einsum("ti,ti->t", gradient, step)
    stuck = ~step.any(axis=1) & (np.abs(gradient).max(axis=1, initial=0.0) > 0)
    lost = np.logical_or(stuck, ~np.isfinite(edm))
    return step, np.where(lost, np.inf, edm)


def _downhill(hessian: Array, gradient: Array) -> Array:
    """Return Newton steps with every curvature taken as positive.

    Away from the minimum the likelihood need not be convex; along a direction of
    negative curvature its size still tells how far the quadratic form holds.
    """
    step = np.zeros_like(gradient)
    usable = np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1)
    values, vectors = np.linalg.eigh(hessian[usable])
    sizes = np.abs(values)
    largest = np.maximum(sizes.max(axis=1, initial=0.0), np.finfo(float).tiny)
    sizes = np.maximum(sizes, _SMALLEST_PIVOT * largest[:, None])
    along = np.einsum("tij,ti->tj", vectors, gradient[usable]) / sizes
    step[usable] = -np.einsum("tij,tj->ti", vectors, along)
    return step


def _searched(
    objective: Objective, x: Array, value: Array, edm: Array, active: Rows, step: Array
) -> NDArray[np.bool_]:
    """Move every active problem downhill in place; return which ones moved."""
    left = np.arange(len(active))
    for halving in range(_MAX_HALVINGS):
        scale = 0.5**halving
        rows = active[left]
        trial = objective.projected(x[rows] + scale * step[left])
        values = objective.value(trial, rows)
        limit = value[rows] - _ARMIJO * scale * edm[rows] + objective.rounding[rows]
        better = np.isfinite(values) & (values <= limit)
        x[rows[better]], value[rows[better]] = trial[better], values[better]
        left = left[~better]
        if not left.size:
            break
    moved = np.ones(len(active), dtype=bool)
    moved[left] = False
    return moved
