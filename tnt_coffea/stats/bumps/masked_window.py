"""Counting in a window whose background comes from a fit beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import gammainc, ndtr, ndtri, xlogy

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.orders import chosen_function, goodness_of_fit
from tnt_coffea.stats.fitting.poisson import Channel
from tnt_coffea.stats.fitting.spectra import edge_index, rebinned
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit
from tnt_coffea.stats.fitting.validity import LEAST_BACKGROUND
from tnt_coffea.stats.records import Record

__all__ = ["WindowResult", "masked_window_test", "poisson_p_value", "theta_q0"]

Array = NDArray[np.float64]

_GAUSS_POINTS = 80


@dataclass(frozen=True)
class WindowResult(Record):
    """Events in a window against the background interpolated into it.

    Attributes
    ----------
    window, fit_range
        Window, masked in the fit, and range of the fit [GeV].
    observed, expected, uncertainty
        Events in the window; background from the sidebands; its uncertainty.
    mu_hat
        observed - expected, at least 0.
    q0
        Profile likelihood ratio of equations 2.5 and 2.6.
    z, p_value
        Significance and p-value, as `calibration` says.
    p_poisson
        Probability of so many events or more, the background's uncertainty
        integrated over: the Poisson test of CWoLa hunting.
    family, parameters
        The background function.
    goodness_of_fit, goodness_calibration
        Of the sideband fit.
    converged
        Whether the sideband fit converged.
    notes
        What a reader must know.
    calibration
        'asymptotic', or 'Poisson' where fewer than 25 events are expected: p is p_poisson.
    """

    window: tuple[float, float]
    fit_range: tuple[float, float]
    observed: float
    expected: float
    uncertainty: float
    mu_hat: float
    q0: float
    z: float
    p_value: float
    p_poisson: float
    family: str
    parameters: int
    goodness_of_fit: float
    goodness_calibration: str
    converged: bool
    notes: tuple[str, ...]
    calibration: str = "asymptotic"

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        lines = [
            f"window {self.window[0]:g}-{self.window[1]:g} GeV: {self.observed:g} events, "
            f"{self.expected:.1f} +- {self.uncertainty:.1f} expected from the sidebands",
            f"  Z = {self.z:.2f} (p = {self.p_value:.3g}, {self.calibration}), Poisson p = "
            f"{self.p_poisson:.3g}",
            f"  {self.family} with {self.parameters} parameters, goodness of fit p = "
            f"{self.goodness_of_fit:.3g} ({self.goodness_calibration}), "
            f"{'converged' if self.converged else 'NOT CONVERGED'}",
        ]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def theta_q0(n: Any, b: Any, sigma: Any) -> Array:
    """Return q0 of Poisson(n | b + theta + mu) exp(-theta^2 / 2 sigma^2).

    At mu = 0 the best theta solves a quadratic equation; at the best mu = n - b it
    is 0. Where n <= b, q0 is 0.

    Parameters
    ----------
    n, b, sigma
        Observed events; expected ones, above 0; their uncertainty. They broadcast.

    Source
    ------
    Andreassen, Nachman, Shih, arXiv:2001.05001, equations 2.5 and 2.6.
    """
    n, b, sigma = (np.asarray(value, dtype=float) for value in (n, b, sigma))
    if not np.all(np.isfinite(n) & np.isfinite(b) & np.isfinite(sigma)):
        msg = f"observed, expected and uncertainty must be numbers, got {n}, {b}, {sigma}"
        raise FitError(msg)
    if np.any(n < 0) or np.any(b <= 0) or np.any(sigma < 0):
        msg = f"expected n >= 0, b > 0 and sigma >= 0, got {n}, {b}, {sigma}"
        raise FitError(msg)
    # mean^2 + (sigma^2 - b) mean - n sigma^2 = 0 for mean = b + theta, without cancellation.
    half = 0.5 * (b - sigma**2)
    root = np.sqrt(half**2 + n * sigma**2)
    mean = np.where(half > 0, half + root, n * sigma**2 / np.maximum(root - half, 1e-300))
    theta = mean - b
    pull = np.divide(theta, sigma, out=np.zeros_like(mean), where=sigma > 0)
    q0 = 2 * (mean - n + xlogy(n, n / np.maximum(mean, 1e-300))) + pull**2
    return np.asarray(np.where(n > b, np.maximum(q0, 0.0), 0.0))


def poisson_p_value(n: float, b: float, sigma: float) -> float:
    """Return the probability of n events or more where b +- sigma are expected.

    The uncertainty is integrated over as a normal distribution cut off at 0.
    """
    if n <= 0:
        return 1.0
    nodes, weights = hermegauss(_GAUSS_POINTS)
    means = b + sigma * nodes
    inside = means > 0
    above = np.where(inside, gammainc(n, np.where(inside, means, 1.0)), 0.0)
    return float(np.sum(weights * above) / np.sum(weights[inside]))


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
        Lower and upper edge of the window [GeV], edges of the bins of the fit.
    fit
        Range, bins and background; the bins beside the window choose the function.
    seed
        Root seed of the toys for the goodness of fit.

    Raises
    ------
    FitError
        The window is not inside the range, or its sidebands are too empty.

    Source
    ------
    Andreassen, Nachman, Shih, arXiv:2001.05001, section II C; the Poisson test:
    Collins, Howe, Nachman, arXiv:1805.02664 and arXiv:1902.02634.
    """
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
    fitted, at_best = poisson.fitted_background(built, spectrum.counts, beside)
    here = fitted.evaluated(np.zeros(fitted.parameters))
    n = float(spectrum.counts[first:last].sum())
    b = float(here.expected[first:last].sum())
    # The parameters are whitened on the sidebands: their covariance there is the unit matrix.
    sigma = float(np.linalg.norm(here.jacobian[first:last].sum(axis=0)))
    q0 = float(theta_q0(n, b, sigma))
    sidebands = fitted.restricted(beside)
    channel = Channel("window", spectrum.counts[beside], np.zeros(int(beside.sum())), sidebands)
    goodness = goodness_of_fit(channel, here.expected[beside], seed)
    p_poisson, z = poisson_p_value(n, b, sigma), float(np.sqrt(q0))
    p_value, calibration = float(ndtr(-z)), "asymptotic"
    notes = []
    if b < LEAST_BACKGROUND:
        p_value, calibration = p_poisson, "Poisson"
        z = max(0.0, float(-ndtri(max(p_value, np.finfo(float).tiny))))
        notes.append(f"{b:.1f} events expected: the p-value is the Poisson one")
    if sigma > b:
        notes.append(f"the background is known to +-{sigma:.1f} only: the fit extrapolates")
    return WindowResult(
        window=(float(window[0]), float(window[1])),
        fit_range=(float(fit.range[0]), float(fit.range[1])),
        observed=n,
        expected=b,
        uncertainty=sigma,
        mu_hat=max(0.0, n - b),
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
    )
