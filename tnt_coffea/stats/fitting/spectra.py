"""A histogram's range and binning as a fit wants them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit

__all__ = ["Spectrum", "edge_index", "rebinned", "spectra"]

Array = NDArray[np.float64]

# Edges written as decimal numbers differ from their sums by rounding only.
_EDGE_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Counts in m_jj.

    Attributes
    ----------
    name
        The channel.
    edges
        Edges of the bins [GeV], shape (bins + 1,).
    counts
        Sum of weights per bin, shape (bins,).
    weighted
        Whether the sum of squared weights differs from the counts, so that the
        events were not all of weight one.
    """

    name: str
    edges: Array
    counts: Array
    weighted: bool


def edge_index(edges: Array, value: float, what: str) -> int:
    """Return the position of an edge.

    Raises
    ------
    FitError
        No edge has that value.
    """
    position = int(np.argmin(np.abs(edges - value)))
    if abs(edges[position] - value) > _EDGE_TOLERANCE * max(1.0, abs(value)):
        msg = (
            f"{what}: {value:g} is not an edge of the histogram (the nearest is "
            f"{edges[position]:g}): choose an edge, or fill the histogram with this one"
        )
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
        The histogram is not one-dimensional, lacks an edge, or holds what is no count.
    """
    if len(histogram.axes) != 1:
        msg = (
            f"{name}: expected a histogram in m_jj alone, got axes "
            f"{[axis.name for axis in histogram.axes]}: project it first"
        )
        raise FitError(msg)
    edges = np.asarray(histogram.axes[0].edges, dtype=float)
    wanted = _wanted_edges(name, edges, fit)
    cuts = [edge_index(edges, float(edge), f"{name}, bins of the fit") for edge in wanted]
    values = np.asarray(histogram.values(), dtype=float)
    counts = np.add.reduceat(values[: cuts[-1]], cuts[:-1])
    if not np.all(np.isfinite(counts)) or np.any(counts < 0):
        msg = f"{name}: a bin of the fit is negative or not finite: only counts can be fitted"
        raise FitError(msg)
    variances = histogram.variances()
    weighted = variances is not None and not np.allclose(
        np.add.reduceat(np.asarray(variances, dtype=float)[: cuts[-1]], cuts[:-1]), counts
    )
    return Spectrum(name, wanted, counts, bool(weighted))


def spectra(channels: Any, fit: SpectrumFit) -> tuple[Spectrum, ...]:
    """Return the spectra of one histogram, or of a mapping from channel to histogram."""
    named = channels if isinstance(channels, Mapping) else {"all": channels}
    if not named:
        msg = "no channel to fit: give one histogram, or a mapping from channel to histogram"
        raise FitError(msg)
    return tuple(rebinned(str(name), histogram, fit) for name, histogram in named.items())


def _wanted_edges(name: str, edges: Array, fit: SpectrumFit) -> Array:
    low, high = map(float, fit.range)
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
