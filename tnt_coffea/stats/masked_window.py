"""Counting in a window whose background comes from a fit beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.model import chosen_function, goodness_of_fit
from tnt_coffea.stats.p_values import normal_p_value, poisson_p_value, significance, theta_q0
from tnt_coffea.stats.quantities import check_kind, check_ranges, check_whole
from tnt_coffea.stats.spectrum import (
    Array,
    check_counts,
    edge_index,
    rebinned,
    sample_notes,
    variable_of,
)
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.validity import LEAST_BACKGROUND, LEAST_BESIDE
from tnt_coffea.stats.window_results import WindowResult, WindowSpectrum
from tnt_coffea.typing import BoolArray

__all__ = ["masked_window_test"]

_TOLERANCE = 1e-6
"""Of an edge, in bins: decimal numbers differ from their sums by rounding."""
_ROUNDING = 1e-9
"""Relative difference of edges that are the same one."""
_NAMED = 4
"""Widths that a message names."""


def masked_window_test(
    histogram: Any,
    *,
    window: tuple[float, float],
    fit: SpectrumFit,
    seed: int = 1,
) -> WindowResult:
    """Count in a window, with the background from a fit to the bins beside it.

    The uncertainty of the background is that of the fitted parameters, propagated
    linearly; the window's bins take no part in the fit, so nothing is counted twice.

    Parameters
    ----------
    histogram
        `hist.Hist` in m_jj [GeV].
    window
        Lower and upper edge of the window [GeV], edges of the histogram, and of the fit where
        that has edges.
    fit
        Range, bins and background; the bins in the sidebands choose the function. Where bins of
        its `bin_width` do not begin and end with the window, the widest narrower ones that do
        are taken, and a note says so.
    seed
        Root seed of the toys for the goodness of fit.

    Raises
    ------
    FitError
        The window is not inside the range or on edges of bins, or its sidebands are too empty.

    Source
    ------
    Benkendorfer, Le Pottier, Nachman, arXiv:2009.02205, equations 2.1 to 2.6; the Poisson
    test: Collins, Howe, Nachman, arXiv:1805.02664 and arXiv:1902.02634.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.masked_window_test(spectrum, window=(3240, 3760), fit=fit)
    >>> result.observed, round(result.expected), round(result.z, 1)
    (830.0, 711, 3.2)
    """
    check_ranges({"window": window})
    check_kind(SpectrumFit, {"fit": fit})
    if fit.trigger is not None:
        msg = (
            "a fit beside a window knows no efficiency of a trigger: leave it out "
            "(fit.bump.trigger), and begin the fit range above its turn-on"
        )
        raise FitError(msg)
    check_whole({"seed": seed})
    check_counts("window", histogram)
    wanted, fit = fit.bin_width, _in_bins_of(window, histogram, fit)
    spectrum = rebinned("window", histogram, fit)
    first, last = (edge_index(spectrum.edges, edge, "window") for edge in window)
    if not 0 < first < last < len(spectrum.edges) - 1:
        msg = (
            f"the window {window[0]:g}-{window[1]:g} GeV needs a sideband on either side within "
            f"{fit.range[0]:g}-{fit.range[1]:g} GeV"
        )
        raise FitError(msg)
    beside = np.ones(spectrum.counts.size, dtype=bool)
    beside[first:last] = False
    built = chosen_function(spectrum, beside, fit)
    fitted, at_best = engine.fitted_background(built, spectrum.counts, beside)
    here = fitted.evaluated(np.zeros(fitted.parameters))
    inside = slice(first, last)
    background = spectrum.weights(here.expected)
    b = float(background[inside].sum())
    # Weight of an effective event in the window.
    unit = 1.0
    if spectrum.weighted:
        variances = spectrum.weights(background)[inside]
        unit = float(variances.sum()) / b
    n, b = float(spectrum.sums[inside].sum()) / unit, b / unit
    # The parameters are whitened on the sidebands: their covariance there is the unit matrix.
    slopes = spectrum.weights(here.jacobian.T)[:, inside].sum(axis=1)
    sigma = float(np.linalg.norm(slopes)) / unit
    q0 = float(theta_q0(n, b, sigma))
    sidebands = fitted.restricted(beside)
    channel = Channel("window", spectrum.counts[beside], np.zeros(int(beside.sum())), sidebands)
    goodness = goodness_of_fit(channel, here.expected[beside], seed)
    p_poisson, z = poisson_p_value(n, b, sigma), float(np.sqrt(q0))
    p_value, calibration = normal_p_value(z), "asymptotic"
    notes = sample_notes([spectrum])
    if wanted is not None and fit.bin_width != wanted:
        notes.append(
            f"the fit has bins of {fit.bin_width:g} GeV: the window does not begin and end at "
            f"edges of bins of {wanted:g} GeV"
        )
    if b < LEAST_BACKGROUND:
        p_value, calibration = p_poisson, "Poisson"
        z = significance(p_value)
    if (seen := float(spectrum.counts[beside].sum())) < LEAST_BESIDE:
        notes.append(
            f"{seen:.0f} events beside the window: the uncertainty of their fit is propagated "
            "linearly, and p-values of so few come out too small"
        )
    if sigma > b:
        notes.append(f"the background is known to +-{unit * sigma:.1f} only: the fit extrapolates")
    return WindowResult(
        window=(float(window[0]), float(window[1])),
        fit_range=(float(fit.range[0]), float(fit.range[1])),
        observed=unit * n,
        expected=unit * b,
        uncertainty=unit * sigma,
        mu_hat=unit * max(0.0, n - b),
        q0=q0,
        z=z,
        p_value=p_value,
        p_poisson=p_poisson,
        family=fit.family,
        parameters=fitted.parameters,
        goodness_of_fit=goodness[0],
        goodness_calibration=goodness[1],
        converged=at_best.converged,
        notes=tuple(notes),
        calibration=calibration,
        spectrum=WindowSpectrum(
            edges=tuple(spectrum.edges.tolist()),
            observed=tuple(spectrum.sums.tolist()),
            background=tuple(background.tolist()),
            scale=tuple(spectrum.weights(np.ones_like(background)).tolist())
            if spectrum.weighted
            else (),
            variable=variable_of(histogram),
        ),
    )


def _in_bins_of(window: tuple[float, float], histogram: Any, fit: SpectrumFit) -> SpectrumFit:
    """Return the fit in the widest bins, no wider than its own, that have the window's edges."""
    low, high = fit.range
    own, offsets = fit.bin_width, np.array(window) - low
    if own is None or len(histogram.axes) != 1 or _whole(offsets / own).all():
        return fit
    edges = np.asarray(histogram.axes[0].edges, dtype=float)
    for edge in (low, high, *window):
        edge_index(edges, edge, "window")
    most = int(np.count_nonzero((edges > low) & (edges <= high)))
    widths = (high - low) / np.arange(1, most + 1)
    possible = []
    for width in widths[_whole(offsets[:, None] / widths).all(axis=0)]:
        wanted = low + width * np.arange(round((high - low) / width) + 1)
        below = np.searchsorted(edges, wanted - _ROUNDING * np.abs(wanted))
        found = edges[below.clip(max=edges.size - 1)]
        if np.allclose(found, wanted, rtol=_ROUNDING, atol=0):
            possible.append(float(width))
    chosen = next((width for width in possible if width <= own), None)
    if chosen is None:
        named = ", ".join(f"{width:g}" for width in possible[::-1][:_NAMED])
        msg = (
            f"the window {window[0]:g}-{window[1]:g} GeV does not begin and end at edges of bins "
            f"of {own:g} GeV from {low:g} GeV on, or of narrower ones that the histogram has: "
            + (
                f"bins of {named} GeV do (fit.bump.bin_width, --bin-width)"
                if named
                else "no bins of one width do; take the histogram's own (fit.bump.bin_width: null, "
                "--native-bins), or give fit.bump.edges"
            )
        )
        raise FitError(msg)
    return replace(fit, bin_width=chosen)


def _whole(numbers: Array) -> BoolArray:
    return np.abs(numbers - np.round(numbers)) < _TOLERANCE
