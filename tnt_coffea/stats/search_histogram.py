"""From the search histogram to arrays, and to spectra in m_jj."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.spectrum import edge_index

__all__ = [
    "Plane",
    "inclusive_spectrum",
    "mass_bins",
    "passing_bins",
    "score_plane",
    "selected_spectrum",
]

Array = NDArray[np.float64]

_KEPT = ("fold", "m_jj", "q_heavy", "q_light")


@dataclass(frozen=True, eq=False)
class Plane:
    """The search histogram as arrays.

    Attributes
    ----------
    folds
        Categories of the fold axis.
    mass_axis
        The histogram's axis in m_jj.
    mass, heavy, light
        Edges.
    counts, variances
        Shape (folds, bins of m_jj, of q_heavy, of q_light); events at a quantile of
        exactly 1, which histograms put into the overflow, are in the last bin.
    """

    folds: tuple[int, ...]
    mass_axis: Any
    mass: Array
    heavy: Array
    light: Array
    counts: Array
    variances: Array


def selected_spectrum(
    histogram: Any, thresholds: Mapping[int, float], per_fold: bool = True
) -> dict[str, Any]:
    """Return the m_jj spectra of events with both jets above X.

    Parameters
    ----------
    histogram
        The search histogram, one window of it; datasets are summed.
    thresholds
        X of every fold, an edge of both quantile axes.
    per_fold
        Whether each fold gives a spectrum, 'fold-0', 'fold-1', ..., or all
        together one, 'all'.

    Returns
    -------
    One-dimensional `hist.Hist` in m_jj by name.

    Raises
    ------
    FitError
        The histogram lacks an axis, a choice or an edge, or a fold its threshold.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> spectra = stats.selected_spectrum(stats.toy_search(60_000), {0: 0.9, 1: 0.9})
    >>> sorted(spectra)
    ['fold-0', 'fold-1']
    """
    plane = score_plane(histogram)
    spectra = {}
    for index, fold in enumerate(plane.folds):
        heavy, light = passing_bins(plane, thresholds, fold)
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
    """Return the m_jj spectrum of all events, a one-dimensional `hist.Hist`.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> stats.inclusive_spectrum(stats.toy_search(1000)).axes.name
    ('m_jj',)
    """
    plane = score_plane(histogram)
    return _spectrum(plane, plane.counts.sum(axis=(0, 2, 3)), plane.variances.sum(axis=(0, 2, 3)))


def score_plane(histogram: Any) -> Plane:
    """Return the nominal part of a search histogram, datasets summed, as arrays."""
    histogram = _one_choice(histogram)
    names = [axis.name for axis in histogram.axes]
    missing = [name for name in _KEPT if name not in names]
    if missing:
        msg = (
            f"the search histogram has axes {names} and lacks {missing}: expected one filled by "
            "SearchProcessor"
        )
        raise FitError(msg)
    histogram = histogram.project(*_KEPT)
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


def _one_choice(histogram: Any) -> Any:
    """Return the nominal variation and the only window."""
    for name, wanted in (("variation", "nominal"), ("window", None)):
        if name not in [axis.name for axis in histogram.axes]:
            continue
        choices = list(histogram.axes[name])
        chosen = choices[0] if len(choices) == 1 else wanted
        if chosen not in choices:
            msg = (
                f"the search histogram holds {name}s {choices}, and a fit needs one: select it, "
                f"histogram[{{'{name}': ...}}]"
            )
            raise FitError(msg)
        histogram = histogram[{name: choices.index(chosen)}]
    return histogram


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


def passing_bins(plane: Plane, thresholds: Mapping[int, float], fold: int) -> tuple[int, int]:
    """Return the first bins of q_heavy and q_light that pass in a fold."""
    if fold not in thresholds:
        msg = (
            f"fold {fold} of the histogram has no threshold (given: {sorted(thresholds)}): take "
            "them from the quantile map of the same tagger set"
        )
        raise FitError(msg)
    cut = thresholds[fold]
    return (
        edge_index(plane.heavy, cut, f"fold {fold}, X on q_heavy"),
        edge_index(plane.light, cut, f"fold {fold}, X on q_light"),
    )


def mass_bins(plane: Plane, mass_range: tuple[float, float]) -> slice:
    """Return the bins of a range in m_jj [GeV]."""
    first, last = (edge_index(plane.mass, edge, "range in m_jj") for edge in mass_range)
    if first >= last:
        msg = f"the range in m_jj must rise, got {mass_range[0]:g} to {mass_range[1]:g} GeV"
        raise FitError(msg)
    return slice(first, last)
