"""Spectra in m_jj, as fits take them from histograms.

A sum of weights S with the sum of squared weights V is no Poisson count, but S / k with k = V / S
is nearly one: mean and variance are the same (scaled Poisson law). So a weighted spectrum is
fitted with its effective counts S / k, and what is expected is divided by the same k. A factor
on all weights then changes no p-value.

Source
------
Bohm, Zech, Nucl. Instrum. Meth. A 748 (2014) 1, arXiv:1309.1287.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.spectrum_fit import SpectrumFit

__all__ = [
    "DATASETS",
    "ENOUGH_EFFECTIVE",
    "WAY_OUT",
    "Spectrum",
    "check_counts",
    "edge_index",
    "rebinned",
    "sample_notes",
    "smoothed_weights",
    "spectra",
    "squared_weights",
    "variable_of",
]

Array = NDArray[np.float64]


# Edges written as decimal numbers differ from their sums by rounding only.
_EDGE_TOLERANCE = 1e-9


ENOUGH_EFFECTIVE = 100.0
"""Effective events from which on their weight V / S is known to about 10 %."""

# Widths of bins divided out of their contents leave V / S times the width the same for all.
_SAME, _DIFFERENT = 1e-6, 1e-3
# This many numbers of events have no common divisor but 1.
_MANY_BINS = 20
WAY_OUT = (
    "fill it with the sums of squared weights (hist.storage.Weight(), TH1::Sumw2 before it is "
    "filled or scaled), or give the counts"
)
"""What to do with contents that are no counts."""

DATASETS = "datasets"
"""Key in a histogram's metadata: the data sets that were summed."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Counts in m_jj; two of the same content are equal.

    Attributes
    ----------
    name
        The channel.
    edges
        Edges of the bins [GeV], shape (bins + 1,).
    counts
        Events per bin, shape (bins,); of weighted events the effective ones.
    scale
        Weight k of an effective event per bin in units of `unit`, shape (bins,); None where all
        events have weight one. Bins with fewer than 100 effective events, empty ones too, have
        that of the fewest neighbours on both sides that hold as many, or of all bins.
    unit
        Weight of an effective event over all spectra of a fit: a fitted signal is counted in it.
    datasets
        The data sets that were summed, where the spectrum is a search's.
    efficiency, variations
        Mean efficiency of the trigger per bin, shape (bins,), and the changes of its logarithm,
        shape (bins, nuisances), as of `TriggerEfficiency.binned`; None: all events pass, and
        there is no error.
    """

    name: str
    edges: Array
    counts: Array
    scale: Array | None = None
    unit: float = 1.0
    datasets: tuple[str, ...] = ()
    efficiency: Array | None = None
    variations: Array | None = None

    @cached_property
    def _content(self) -> tuple[object, ...]:
        values = (getattr(self, each.name) for each in fields(self))
        return tuple(v.tobytes() if isinstance(v, np.ndarray) else v for v in values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spectrum) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    @property
    def weighted(self) -> bool:
        """Whether the events have weights."""
        return self.scale is not None

    @property
    def sums(self) -> Array:
        """Sums of weights per bin, shape (bins,)."""
        return self.weights(self.counts)

    def weights(self, effective: Array) -> Array:
        """Return the sums of weights that effective events of shape (..., bins) stand for."""
        return effective if self.scale is None else effective * (self.scale * self.unit)

    @property
    def before_trigger(self) -> Array | None:
        """Events before the trigger that an effective event stands for, shape (bins,).

        In units of `unit`; None where it is one in every bin.
        """
        if self.efficiency is None:
            return self.scale
        return np.asarray((1.0 if self.scale is None else self.scale) / self.efficiency)

    def effective(self, expected: Array) -> Array:
        """Return what is expected before the trigger, in units of `unit`, as effective events."""
        scale = self.before_trigger
        return expected if scale is None else np.asarray(expected / scale)

    def with_unit(self, unit: float) -> Spectrum:
        """Return the same spectrum beside others, counted in their common unit."""
        scale = np.ones_like(self.counts) if self.scale is None else self.scale
        return replace(self, scale=scale * (self.unit / unit), unit=unit)


# Edges all below are no dijet masses in GeV.
_LEAST_MASS = 50.0


_OWN_BINS = (
    "fit the histogram's own bins (bin_width=None, --native-bins) over a range that begins and "
    "ends at edges, or fill it with these"
)
_CHOOSE = "choose an edge, or fill the histogram with this one"


def edge_index(edges: Array, value: float, what: str, advice: str = _CHOOSE) -> int:
    """Return the position of an edge; `what` and `advice` are for the message.

    Raises
    ------
    FitError
        No edge has that value.
    """
    position = int(np.argmin(np.abs(edges - value)))
    if abs(edges[position] - value) > _EDGE_TOLERANCE * max(1.0, abs(value)):
        msg = (
            f"{what}: {value:g} is not an edge of the histogram (the nearest is "
            f"{edges[position]:g}): {advice}"
        )
        if edges[-1] < _LEAST_MASS <= value:
            msg += "; if the histogram is in TeV, give its edges in GeV, times 1000"
        raise FitError(msg)
    return position


def rebinned(name: str, histogram: Any, fit: SpectrumFit) -> Spectrum:
    """Return a histogram in m_jj within the range and in the bins of a fit.

    Parameters
    ----------
    name
        The channel, for messages.
    histogram
        `hist.Hist` with one axis in m_jj [GeV].
    fit
        Its range and bins.

    Raises
    ------
    FitError
        The histogram is not one-dimensional, lacks an edge, or holds what is no count: means,
        densities, sums of weights without their squares.
    """
    check_counts(name, histogram)
    if len(histogram.axes) != 1:
        msg = (
            f"{name}: expected a histogram in m_jj alone, got axes "
            f"{[axis.name for axis in histogram.axes]}: project it first"
        )
        raise FitError(msg)
    edges = np.asarray(histogram.axes[0].edges, dtype=float)
    wanted = _wanted_edges(name, edges, fit)
    own = _CHOOSE if fit.bin_width is None else _OWN_BINS
    cuts = [edge_index(edges, float(edge), f"{name}, bins of the fit", own) for edge in wanted]
    values = np.asarray(histogram.values(), dtype=float)
    counts = np.add.reduceat(values[: cuts[-1]], cuts[:-1])
    if not np.all(np.isfinite(counts)) or np.any(counts < 0):
        msg = f"{name}: a bin of the fit is negative or not finite: only counts can be fitted"
        raise FitError(msg)
    inside = slice(cuts[0], cuts[-1])
    squares = squared_weights(name, histogram, inside)
    metadata = getattr(histogram, "__dict__", {}).get("metadata")
    datasets = metadata.get(DATASETS, ()) if isinstance(metadata, Mapping) else ()
    if squares is None:
        return Spectrum(name, wanted, counts, datasets=datasets)
    _check_density(name, values[inside], squares, np.diff(edges)[inside])
    starts = np.array(cuts[:-1]) - cuts[0]
    weighted = _weighted(name, wanted, counts, np.add.reduceat(squares, starts))
    return replace(weighted, datasets=datasets)


def variable_of(histogram: Any) -> str:
    """Return the column that the mass of a spectrum is; m_jj where nobody named it.

    ROOT calls the axis of every TH1 `xaxis`.
    """
    name = str(getattr(histogram.axes[0], "name", ""))
    return "m_jj" if name in {"", "xaxis"} else name


def check_counts(name: str, histogram: Any) -> None:
    """Refuse what is no histogram of events.

    Raises
    ------
    FitError
        It is no histogram, or one of means (a profile).
    """
    if any(not hasattr(histogram, part) for part in ("axes", "values", "variances")):
        msg = (
            f"{name}: expected a histogram (hist.Hist, boost_histogram or of uproot), got "
            f"{type(histogram).__name__}: counts and edges of numpy become one by "
            "hist.Hist(hist.axis.Variable(edges), data=counts)"
        )
        raise FitError(msg)
    if str(getattr(histogram, "kind", "COUNT")).rpartition(".")[2] == "MEAN":
        msg = (
            f"{name}: this histogram holds means (a profile), not counts: fill one with the "
            "events themselves"
        )
        raise FitError(msg)


def squared_weights(name: str, histogram: Any, bins: Any = ...) -> Array | None:
    """Return the sums of squared weights of some bins; None where all events have weight one.

    Parameters
    ----------
    name
        Of the histogram, for messages.
    histogram
        It, with values that are finite and not negative.
    bins
        The bins: an index of its arrays.

    Raises
    ------
    FitError
        The contents are no counts, and there are no squared weights.
    """
    values = np.asarray(histogram.values(), dtype=float)[bins]
    variances = histogram.variances()
    # A storage of plain numbers has its contents for variances, or none once it was scaled.
    plain = variances is None or not _has_squares(histogram)
    if plain:
        _check_whole(name, values)
        return None
    squares = np.asarray(variances, dtype=float)[bins]
    if np.allclose(squares, values, rtol=1e-5, atol=0):
        return None
    if not np.all(np.isfinite(squares)) or np.any((squares <= 0) & (values > 0)):
        msg = (
            f"{name}: a bin holds events but no sum of squared weights above 0, so that its "
            f"uncertainty is unknown: {WAY_OUT}"
        )
        raise FitError(msg)
    return np.asarray(squares)


def _has_squares(histogram: Any) -> bool:
    storage = getattr(histogram, "storage_type", None)
    if storage is not None:
        return "Weight" in storage.__name__
    return not np.array_equal(histogram.variances(), histogram.values())


def _check_whole(name: str, values: Array) -> None:
    whole = np.rint(values)
    # 2^53: beyond, every float is whole.
    if not np.array_equal(whole, values):
        msg = (
            f"{name}: the contents are no whole numbers of events and come without sums of squared "
            f"weights: weighted, normalised or divided by the bins' width? {WAY_OUT}"
        )
        raise FitError(msg)
    occupied = whole[(whole > 0) & (whole < 2.0**53)].astype(np.int64)
    divisor = int(np.gcd.reduce(occupied)) if occupied.size >= _MANY_BINS else 1
    if divisor > 1:
        msg = (
            f"{name}: all {occupied.size} contents are multiples of {divisor}, as only scaled "
            f"counts are, and come without sums of squared weights: {WAY_OUT}"
        )
        raise FitError(msg)


def _check_density(name: str, values: Array, squares: Array, widths: Array) -> None:
    """Refuse events divided by the widths of bins that differ: functions are integrated."""
    seen = values > 0
    if not seen.any():
        return
    weights = squares[seen] / values[seen]
    spreads = [np.ptp(w) / w.mean() for w in (weights * widths[seen], weights)]
    if spreads[0] < _SAME and spreads[1] > _DIFFERENT:
        msg = (
            f"{name}: the contents are divided by the widths of the bins: multiply them, as events "
            "per bin are fitted"
        )
        raise FitError(msg)


def _weighted(name: str, edges: Array, sums: Array, squares: Array) -> Spectrum:
    total = float(sums.sum())
    if total <= 0:
        return Spectrum(name, edges, sums)
    unit = float(squares.sum()) / total
    scale = smoothed_weights(sums, squares) / unit
    return Spectrum(name, edges, sums / (scale * unit), scale, unit)


def smoothed_weights(sums: Array, squares: Array) -> Array:
    """Return the weight V / S of an effective event in every bin, shape (bins,).

    A bin's own V / S fluctuates with its events. Where they are few, a heavy one would count for
    less than it should, so bins beside it are added until there are 100 effective events.

    Parameters
    ----------
    sums, squares
        Sums of weights S and of their squares V, shape (bins,); S is positive somewhere.
    """
    first, second = (np.concatenate([[0.0], np.cumsum(values)]) for values in (sums, squares))
    scales = np.empty_like(sums)
    for i in range(len(sums)):
        for reach in range(len(sums)):
            low, high = max(0, i - reach), min(len(sums), i + reach + 1)
            s, v = first[high] - first[low], second[high] - second[low]
            if (s > 0 and s**2 >= ENOUGH_EFFECTIVE * v) or high - low == len(sums):
                break
        scales[i] = v / s
    return scales


def spectra(channels: Any, fit: SpectrumFit) -> tuple[Spectrum, ...]:
    """Return the spectra of one histogram, or of a mapping from channel to histogram.

    A tuple of spectra stays as it is.
    """
    if isinstance(channels, tuple) and channels and isinstance(channels[0], Spectrum):
        return channels
    named = channels if isinstance(channels, Mapping) else {"all": channels}
    if not named:
        msg = "no channel to fit: give one histogram, or a mapping from channel to histogram"
        raise FitError(msg)
    found = tuple(
        _triggered(rebinned(str(name), histogram, fit), fit) for name, histogram in named.items()
    )
    if len(found) == 1 or not any(spectrum.weighted for spectrum in found):
        return found
    sums = np.array([spectrum.sums.sum() for spectrum in found])
    unit = float(sums @ [spectrum.unit for spectrum in found] / sums.sum())
    return tuple(spectrum.with_unit(unit) for spectrum in found)


def _triggered(spectrum: Spectrum, fit: SpectrumFit) -> Spectrum:
    if fit.trigger is None:
        return spectrum
    efficiency, variations = fit.trigger.binned(spectrum.edges)
    return replace(
        spectrum, efficiency=efficiency, variations=variations if variations.size else None
    )


def sample_notes(data: Sequence[Spectrum]) -> list[str]:
    """Return which data sets were summed, what the trigger takes, how weights were counted."""
    several = sorted({name for spectrum in data for name in spectrum.datasets})
    notes = []
    if len(several) > 1:
        notes.append(f"the data sets {', '.join(several)} are one sample: their events are summed")
    if (efficiency := data[0].efficiency) is not None:
        error = "without errors" if data[0].variations is None else "with its errors"
        notes.append(
            f"the trigger's efficiency is part of the model, {error}: {efficiency[0]:.1%} in the "
            "lowest bin; signals and limits are of events before the trigger"
        )
    if not any(spectrum.weighted for spectrum in data):
        return notes
    counts = sum(float(spectrum.counts.sum()) for spectrum in data)
    sums = sum(float(spectrum.sums.sum()) for spectrum in data)
    return [
        *notes,
        f"events are weighted: {counts:.6g} effective counts stand for a sum of weights of "
        f"{sums:.6g} (scaled Poisson law); signals and limits are sums of weights",
    ]


def _wanted_edges(name: str, edges: Array, fit: SpectrumFit) -> Array:
    low, high = map(float, fit.range)
    if fit.edges is not None:
        wanted = np.asarray(fit.edges, dtype=float)
        first, last = (edge_index(wanted, e, f"{name}, edges of the fit") for e in (low, high))
        return wanted[first : last + 1]
    bin_width = fit.bin_width
    if bin_width is None:
        first, last = (edge_index(edges, e, f"{name}, fit range") for e in (low, high))
        return edges[first : last + 1]
    bins = round((high - low) / bin_width)
    if bins < 1 or abs(bins * bin_width - (high - low)) > 1e-6 * bin_width:
        msg = (
            f"{name}: the fit range {low:g}-{high:g} GeV is no whole number of bins of "
            f"{bin_width:g} GeV: change one of them"
        )
        raise FitError(msg)
    return np.asarray(low + bin_width * np.arange(bins + 1), dtype=np.float64)
