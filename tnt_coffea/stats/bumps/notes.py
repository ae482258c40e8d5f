"""What a reader must know before quoting a bump hunt's numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats.bumps.calibration import Calibration
from tnt_coffea.stats.bumps.trust import SpuriousSignal, is_biased
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.background import MIN_PARAMETERS
from tnt_coffea.stats.fitting.families import family_named
from tnt_coffea.stats.fitting.histfactory import HistFactoryTest
from tnt_coffea.stats.fitting.likelihood import Channel
from tnt_coffea.stats.fitting.signals import SignalShape
from tnt_coffea.stats.fitting.spectra import Spectrum

__all__ = ["calibration_notes", "data_notes", "fit_trouble", "model_notes"]

Array = NDArray[np.float64]

_Z_AGREEMENT = 1e-2
_CLOSURE_AGREEMENT = 1e-3
_LARGEST_EDM = 1e-4


def fit_trouble(check: poisson.Discovery, reported: HistFactoryTest, closure: float) -> list[str]:
    """Return every reason not to trust the fit."""
    trouble = []
    if not check.converged:
        edm = max(check.background.edm, check.best.edm)
        trouble.append(f"the cross-check stopped {edm:.2g} in ln L from its minimum")
    if reported.edm is None:
        trouble.append("Minuit failed and SciPy gave the result, without a distance to the minimum")
    elif reported.edm > _LARGEST_EDM:
        trouble.append(f"Minuit stopped {reported.edm:.2g} in ln L from its minimum")
    if abs(reported.z - check.z) > _Z_AGREEMENT:
        trouble.append(f"two minimisers disagree: Z = {reported.z:.3f} and {check.z:.3f}")
    if abs(closure - 1) > _CLOSURE_AGREEMENT:
        trouble.append(f"the fit returns {closure:.4f} of a signal injected without fluctuations")
    return trouble


def data_notes(data: Sequence[Spectrum], width: float) -> list[str]:
    """Return what the histograms' binning and weights cost."""
    notes = []
    widest = max(float(np.diff(spectrum.edges).max()) for spectrum in data)
    if widest > 0.5 * width:
        notes.append(
            f"bins of {widest:g} GeV are wider than half the signal's width ({width:g} GeV): "
            "significance is lost"
        )
    if any(spectrum.weighted for spectrum in data):
        notes.append("events are weighted: the likelihood takes the sums of weights as counts")
    return notes


def model_notes(
    models: Sequence[Channel], family: str, signal: SignalShape, spurious: Sequence[SpuriousSignal]
) -> list[str]:
    """Return what the choice of functions leaves open."""
    notes = []
    few = [c.name for c in models if c.background.parameters == MIN_PARAMETERS]
    if few:
        notes.append(
            f"{', '.join(few)}: a two-parameter function was kept because a third did not gain "
            "enough; such a choice can leave a spurious signal of a few tenths of a sigma: compare "
            "with min_parameters=3"
        )
    if family_named(family).reproduction_only:
        notes.append(
            f"'{family}' repeats a published result and follows no falling spectrum: quote no "
            "significance from it"
        )
    notes += [
        f"spurious signal of {s.relative:+.2f} of its uncertainty where the truth is {s.truth}: "
        "the background function is biased at this mass"
        for s in spurious
        if is_biased(s)
    ]
    return notes


def calibration_notes(calibration: Calibration) -> list[str]:
    """Return what must be said about the p-value."""
    notes = []
    why = "; ".join(calibration.reasons)
    if why and calibration.kind == "asymptotic":
        notes.append(f"{why}: the asymptotic p-value is not reliable there; allow toys")
    if calibration.kind == "toys":
        plain = calibration.experiments - calibration.with_signal
        text = f"{calibration.reached} of {plain} background-only toys reach this excess"
        if calibration.with_signal:
            text += (
                f"; {calibration.with_signal} more were thrown with a signal and weighted by their "
                "probability without one"
            )
        elif not calibration.reached:
            text += ", so that p may be smaller than they can tell"
        notes.append(f"{text} ({why})" if why else text)
    if calibration.failed:
        notes.append(
            f"{calibration.failed} of {calibration.experiments} toy fits did not converge; they "
            "count as they stand"
        )
    return notes
