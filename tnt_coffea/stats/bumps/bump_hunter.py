"""BumpHunter through pyBumpHunter: a cross-check of a scan that assumes no signal shape."""

from __future__ import annotations

import contextlib
import importlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.errors import FitError, MissingExtraError
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.orders import chosen_function
from tnt_coffea.stats.fitting.spectra import rebinned
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit
from tnt_coffea.stats.records import Record

__all__ = ["BumpHunterResult", "bump_hunter_check"]

_PEER = "pyBumpHunter"


@dataclass(frozen=True)
class BumpHunterResult(Record):
    """The most significant interval of a spectrum.

    Attributes
    ----------
    low, high
        Its edges [GeV].
    events, expected
        Events in it, and of the background-only fit.
    p_local, p_global
        Poisson probability of the interval; share of toys with a smaller one,
        (k + 1) / (N + 1).
    toys
        Toys of the background.
    note
        What the method leaves out.
    """

    low: float
    high: float
    events: float
    expected: float
    p_local: float
    p_global: float
    toys: int
    note: str = (
        "the reference is taken as exact, in data and toys: the uncertainty of the background fit "
        "is left out, and the p-value is a cross-check only"
    )

    def summary(self) -> str:
        """Return the result as text."""
        return (
            f"BumpHunter: {self.low:g}-{self.high:g} GeV, {self.events:g} events, "
            f"{self.expected:.1f} expected, local p = {self.p_local:.3g}, global p = "
            f"{self.p_global:.3g} ({self.toys} toys)\n  note: {self.note}"
        )


def bump_hunter_check(
    histogram: Any,
    *,
    fit: SpectrumFit,
    widths: tuple[int, int] = (2, 8),
    toys: int = 1000,
    seed: int = 1,
) -> BumpHunterResult:
    """Search a spectrum for the interval that departs most from its background-only fit.

    Parameters
    ----------
    histogram
        `hist.Hist` in m_jj [GeV].
    fit
        Range, bins and background; all bins choose the function.
    widths
        Least and largest width of the interval, in bins.
    toys
        Toys of the background.
    seed
        Root seed.

    Raises
    ------
    MissingExtraError
        pyBumpHunter is not installed.
    FitError
        The histogram does not suit the fit, or the widths are none.

    Source
    ------
    Choudalakis, arXiv:1101.0390; Vaslin et al., arXiv:2208.14760.
    """
    try:
        peer = importlib.import_module(_PEER)
    except ImportError as error:
        raise MissingExtraError(_PEER, "crosscheck") from error
    spectrum = rebinned("all", histogram, fit)
    if not 1 <= widths[0] <= widths[1] < spectrum.counts.size or toys < 1:
        msg = f"widths must satisfy 1 <= least <= largest < bins, and toys be positive: {widths}"
        raise FitError(msg)
    everywhere = np.ones(spectrum.counts.size, dtype=bool)
    built = chosen_function(spectrum, everywhere, fit)
    fitted, _ = poisson.fitted_background(built, spectrum.counts)
    reference = fitted.expected(np.zeros(fitted.parameters))
    hunter = peer.BumpHunter1D(
        rang=(spectrum.edges[0], spectrum.edges[-1]),
        width_min=widths[0],
        width_max=widths[1],
        npe=toys,
        bins=spectrum.edges,
        nworker=1,
        seed=seeds.integer(seed, "stats", "bump_hunter"),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        hunter.bump_scan(spectrum.counts, reference, is_hist=True)
    first, width = int(hunter.min_loc_ar[0]), int(hunter.min_width_ar[0])
    found = np.asarray(hunter.min_Pval_ar, dtype=float)
    return BumpHunterResult(
        low=float(spectrum.edges[first]),
        high=float(spectrum.edges[first + width]),
        events=float(spectrum.counts[first : first + width].sum()),
        expected=float(reference[first : first + width].sum()),
        p_local=float(found[0]),
        p_global=(int(np.sum(found[1:] <= found[0])) + 1) / (toys + 1),
        toys=toys,
    )
