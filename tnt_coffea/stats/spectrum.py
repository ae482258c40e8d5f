"""Spectra in m_jj and how they are fitted: range, bins, background functions, signal shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import MAX_PARAMETERS, MIN_PARAMETERS
from tnt_coffea.stats.families import family_named
from tnt_coffea.stats.signals import DEFAULT_TAILS, SignalShape

__all__ = ["Spectrum", "SpectrumFit", "edge_index", "rebinned", "spectra"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SpectrumFit:
    """Range and bins of a fit, the background functions it may take, and the signal's shape.

    `dataclasses.replace(fit, family="exponential")` is the same fit with one thing changed.

    Attributes
    ----------
    range
        Lower and upper edge of the fit [GeV], edges of the histogram.
    bin_width
        Bins of the fit [GeV]; None keeps the histogram's.
    family
        Family of the background functions, a key of `families.FAMILIES`.
    min_parameters, max_parameters
        Range of the background function's parameters, normalisation included. Starting
        from 2, the choice keeps a power law where the data cannot yet tell it from
        the truth: on spectra of 60 and 1200 events from a four-parameter truth 8 and
        9 % of background-only toys then pass a 5 % test; starting from 3, 5 and 4 %.
    f_test
        p-value of the likelihood-ratio test below which a parameter is added. Bins outside
        the signal decide; toys keep the function.
    shape, tails, scale_uncertainty, width_uncertainty
        The signal, as in `signals.SignalShape`. With uncertainties the signal can
        move towards a fluctuation, and only toys give a valid p-value.
    shares
        Share of the signal in each channel; equal by default.

    Raises
    ------
    FitError
        The range does not rise, the bins have no width, there is no such family, or it has no
        such numbers of parameters.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> fit.family, fit.min_parameters
    ('dijet', 3)
    >>> fit.with_family('exponential').family
    'exponential'
    """

    range: tuple[float, float]
    _: KW_ONLY
    bin_width: float | None = None
    family: str = "dijet"
    min_parameters: int = 3
    max_parameters: int = MAX_PARAMETERS
    f_test: float = 0.05
    shape: str = "gaussian"
    tails: tuple[float, float, float, float] = DEFAULT_TAILS
    scale_uncertainty: float = 0.0
    width_uncertainty: float = 0.0
    shares: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        low, high = self.range
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            msg = f"the fit range must rise, got {low:g} to {high:g} GeV"
            raise FitError(msg)
        if self.bin_width is not None and not 0 < self.bin_width < np.inf:
            msg = (
                f"the bins of a fit need a width above 0, got bin_width = {self.bin_width:g} GeV: "
                "give one that divides the fit range, or None for the histogram's own bins"
            )
            raise FitError(msg)
        most = _most_parameters(self.family)
        if not MIN_PARAMETERS <= self.min_parameters <= self.max_parameters <= most:
            msg = (
                f"parameters must satisfy {MIN_PARAMETERS} <= min <= max <= {most}, got "
                f"{self.min_parameters} and {self.max_parameters}"
            )
            raise FitError(msg)
        if not 0 < self.f_test < 1:
            msg = f"f_test must lie in (0, 1), got {self.f_test}"
            raise FitError(msg)

    def with_family(self, family: str) -> Self:
        """Return the same fit with functions of another family, of no more parameters than it has.

        Raises
        ------
        FitError
            There is no such family.
        """
        most = min(self.max_parameters, _most_parameters(family))
        fewest = min(self.min_parameters, most)
        return replace(self, family=family, min_parameters=fewest, max_parameters=most)

    def signal(self, mass: float, width: float) -> SignalShape:
        """Return the signal of a mass and a Gaussian width [GeV].

        Raises
        ------
        FitError
            There is no such signal.
        """
        return SignalShape(
            mass, width, self.shape, self.tails, self.scale_uncertainty, self.width_uncertainty
        )

    def check_inside(self, *masses: float) -> None:
        """Refuse masses outside the range.

        Raises
        ------
        FitError
            A mass [GeV] lies there.
        """
        low, high = self.range
        for mass in masses:
            if not low < mass < high:
                msg = (
                    f"mass {mass:g} GeV lies outside the fit range {low:g}-{high:g} GeV: the "
                    "background under the signal would be extrapolated"
                )
                raise FitError(msg)


def _most_parameters(family: str) -> int:
    return max(MAX_PARAMETERS, family_named(family).orders[-1])


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
