"""From the search histogram to arrays, and to spectra in the mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.spectrum import WAY_OUT, check_counts, edge_index
from tnt_coffea.working_points import WorkingPoint

__all__ = [
    "Plane",
    "inclusive_spectrum",
    "mass_bins",
    "passing_bins",
    "score_plane",
    "selected_spectrum",
]

Array = NDArray[np.float64]

_KEPT = ("fold", "q_heavy", "q_light")
_SUMMED = ("dataset",)


@dataclass(frozen=True, eq=False)
class Plane:
    """The search histogram as arrays.

    Attributes
    ----------
    folds
        Categories of the fold axis.
    mass_axis
        The histogram's axis in mass.
    mass, heavy, light
        Edges.
    counts, variances
        Shape (folds, bins of mass, of q_heavy, of q_light); events at a quantile of
        exactly 1, which histograms put into the overflow, are in the last bin.
    """

    folds: tuple[int, ...]
    mass_axis: Any
    mass: Array
    heavy: Array
    light: Array
    counts: Array
    variances: Array


def selected_spectrum(histogram: Any, point: WorkingPoint, per_fold: bool = True) -> dict[str, Any]:
    """Return the mass spectra of the events that pass a working point.

    Parameters
    ----------
    histogram
        The search histogram; datasets are summed.
    point
        The working point; X of either jet is an edge of its axis.
    per_fold
        Whether each fold gives a spectrum, 'fold-0', 'fold-1', ..., or all
        together one, 'all'.

    Returns
    -------
    One-dimensional `hist.Hist` in the mass by name.

    Raises
    ------
    FitError
        The histogram lacks an axis or an edge.
    TaggerError
        The working point lacks a fold.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> point = stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    >>> spectra = stats.selected_spectrum(stats.toy_search(60_000), point)
    >>> sorted(spectra)
    ['fold-0', 'fold-1']
    """
    plane = score_plane(histogram)
    spectra = {}
    for index, fold in enumerate(plane.folds):
        heavy, light = passing_bins(plane, point, fold)
        selected = (index, slice(None), slice(heavy, None), slice(light, None))
        spectra[f"fold-{fold}"] = (
            plane.counts[selected].sum(axis=(1, 2)),
            plane.variances[selected].sum(axis=(1, 2)),
        )
    if not per_fold:
        counts, variances = zip(*spectra.values(), strict=True)
        spectra = {"all": (np.sum(counts, axis=0), np.sum(variances, axis=0))}
    return {name: _spectrum(plane, *values) for name, values in spectra.items()}


def inclusive_spectrum(histogram: Any) -> Any:
    """Return the mass spectrum of all events, a one-dimensional `hist.Hist`.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> stats.inclusive_spectrum(stats.toy_search(1000)).axes.name
    ('m_jj',)
    """
    plane = score_plane(histogram)
    return _spectrum(plane, plane.counts.sum(axis=(0, 2, 3)), plane.variances.sum(axis=(0, 2, 3)))


def score_plane(histogram: Any) -> Plane:
    """Return a search histogram as arrays, datasets summed."""
    check_counts("search histogram", histogram)
    names = [axis.name for axis in histogram.axes]
    missing = [name for name in _KEPT if name not in names]
    masses = [name for name in names if name not in (*_KEPT, *_SUMMED)]
    if missing or len(masses) != 1:
        wrong = f"lacks {missing}" if missing else f"has {len(masses)} axes of mass, {masses}"
        msg = (
            f"the search histogram has axes {names} and {wrong}: expected one filled by "
            "SearchProcessor"
        )
        raise FitError(msg)
    histogram = histogram.project("fold", *masses, "q_heavy", "q_light")
    if histogram.variances(flow=True) is None:
        msg = f"the search histogram was scaled and has no sums of squared weights: {WAY_OUT}"
        raise FitError(msg)
    fold, mass, heavy, light = histogram.axes
    counts, variances = (
        _without_flow(np.asarray(values, dtype=float), histogram.axes)
        for values in (histogram.values(flow=True), histogram.variances(flow=True))
    )
    return Plane(
        folds=tuple(int(category) for category in fold),
        mass_axis=mass,
        mass=np.asarray(mass.edges),
        heavy=np.asarray(heavy.edges),
        light=np.asarray(light.edges),
        counts=counts,
        variances=variances,
    )


def _without_flow(values: Array, axes: Any) -> Array:
    """Return the values without flow bins, quantiles of exactly 1 moved into the last bin."""
    for position, axis in enumerate(axes):
        values = np.moveaxis(values, position, 0)
        first, last = int(axis.traits.underflow), int(axis.traits.underflow) + len(axis)
        inner = values[first:last].copy()
        if axis.name in ("q_heavy", "q_light") and axis.traits.overflow:
            inner[-1] += values[last]
        values = np.moveaxis(inner, 0, position)
    return values


def _spectrum(plane: Plane, counts: Array, variances: Array) -> Any:
    import hist

    spectrum = hist.Hist(plane.mass_axis, storage=hist.storage.Weight())
    view = spectrum.view()
    view.value, view.variance = counts, variances
    return spectrum


def passing_bins(plane: Plane, point: WorkingPoint, fold: int) -> tuple[int, int]:
    """Return the first bins of q_heavy and q_light that pass in a fold."""
    cut = point.cut(fold)
    return (
        edge_index(plane.heavy, cut.heavy, f"fold {fold}, X on q_heavy"),
        edge_index(plane.light, cut.light, f"fold {fold}, X on q_light"),
    )


def mass_bins(plane: Plane, mass_range: tuple[float, float]) -> slice:
    """Return the bins of a range in mass [GeV]."""
    first, last = (edge_index(plane.mass, edge, "range in mass") for edge in mass_range)
    if first >= last:
        msg = f"the range in mass must rise, got {mass_range[0]:g} to {mass_range[1]:g} GeV"
        raise FitError(msg)
    return slice(first, last)
