"""Scan: a bump hunt at every mass of every selection, and what the search for the best costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from tnt_coffea.errors import FitError
from tnt_coffea.stats.bumps.notes import data_notes
from tnt_coffea.stats.bumps.reported import pyhf_test
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.fits import Discoveries
from tnt_coffea.stats.fitting.signals import SignalShape
from tnt_coffea.stats.fitting.spectra import spectra
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit
from tnt_coffea.stats.scans.hypotheses import (
    Hypothesis,
    Selection,
    hypothesis_tests,
    prepared_selection,
)
from tnt_coffea.stats.scans.overlaps import SharedEvents
from tnt_coffea.stats.scans.results import GrossVitells, ScanPoint, ScanResult
from tnt_coffea.stats.scans.toys import scanned_toys

__all__ = ["gross_vitells", "scan"]

Array = NDArray[np.float64]

# A hypothesis needs this many widths of spectrum on both sides of its mass.
_SIDEBAND_WIDTHS = 3.0
# Upcrossings of this q0 are frequent enough to be counted in a few hundred toys.
_LEVEL = 0.5
_Z_AGREEMENT = 1e-2

RETRAINING_NOTE = (
    "toys are made of histograms and leave the taggers as they are: what retraining adds is known "
    "only from null chains"
)


def scan(
    selections: Any,
    *,
    masses: Sequence[float],
    width: float,
    fit: SpectrumFit,
    relative_width: bool = False,
    windows: Mapping[str, tuple[float, float]] | None = None,
    overlap: SharedEvents | None = None,
    toys: int = 1000,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Test every mass in every selection, and give the best one its global p-value.

    Parameters
    ----------
    selections
        `hist.Hist` in m_jj [GeV]; or a mapping from selection (window, efficiency)
        to such a histogram or to a mapping from channel (fold) to histogram.
    masses
        Masses to test [GeV], rising.
    width
        Gaussian width of the signal [GeV]; a share of the mass with `relative_width`.
    fit
        How every spectrum is fitted. The function is chosen on the data outside each signal.
    windows
        By selection the range of masses that it is searched for [GeV]; all by default.
    overlap
        Which events the spectra share, needed where there are several selections;
        its names are 'selection', or 'selection/channel' where there are several.
    toys
        Background-only toys of the whole scan; 0 gives no global p-value.
    seed
        Root seed of the toys.
    progress
        Called with the toys that are done, and all of them.

    Raises
    ------
    FitError
        No mass has whole sidebands, several selections come without their overlap, or none
        can be fitted; one of several that cannot is left out and noted.

    Source
    ------
    Upcrossings: Gross, Vitells, arXiv:1005.1891, equation 3.
    """
    if toys < 0:
        msg = f"a scan needs 0 toys or more, got {toys}"
        raise FitError(msg)
    named = selections if isinstance(selections, Mapping) else {"all": selections}
    if len(masses) == 0 or np.any(np.diff(masses) <= 0):
        msg = f"masses must rise, got {list(masses)}"
        raise FitError(msg)
    signals = [
        fit.signal(float(mass), width * mass if relative_width else width) for mass in masses
    ]
    skipped: list[tuple[str, float]] = []
    chosen, refused = [], []
    for name, channels in named.items():
        data = spectra(channels, fit)
        low, high = (windows or {}).get(name, (0.0, np.inf))
        wanted = [signal for signal in signals if low <= signal.mass < high]
        whole = [signal for signal in wanted if _has_sidebands(signal, fit.range)]
        skipped += [(name, signal.mass) for signal in wanted if signal not in whole]
        if not whole:
            continue
        try:
            chosen.append(prepared_selection(name, data, whole, fit))
        except FitError as error:
            if len(named) == 1:
                raise
            refused.append(f"{name} is not searched: {error}")
    if refused and not chosen:
        raise FitError("; ".join(refused))
    if not chosen:
        msg = (
            f"no mass of {min(masses):g}-{max(masses):g} GeV has {_SIDEBAND_WIDTHS:g} widths of "
            f"spectrum on both sides within {fit.range[0]:g}-{fit.range[1]:g} GeV"
        )
        raise FitError(msg)
    if toys and len(chosen) > 1 and overlap is None:
        msg = (
            f"{len(chosen)} selections share events, and a global p-value must know which: give "
            "`overlap` (SharedEvents.of_events or .nested), or toys=0"
        )
        raise FitError(msg)
    q0, failed = scanned_toys(chosen, overlap, toys, seed, progress)
    return _result(chosen, q0, failed, tuple(skipped), refused)


def gross_vitells(q0: Array, best: float, level: float = _LEVEL) -> GrossVitells:
    """Return the global p-value of the largest q0 of a scan from upcrossings in toys.

    Parameters
    ----------
    q0
        Test statistic of background-only toys along the scan, shape (toys, masses).
    best
        Largest q0 of the data.
    level
        q0 at which upcrossings are counted.

    Source
    ------
    Gross, Vitells, arXiv:1005.1891, equation 3.
    """
    # A scan that starts above the level has crossed it before.
    above = q0 > level
    crossings = (above[:, 1:] & ~above[:, :-1]).sum(axis=1)
    mean = float(crossings.mean())
    error = float(crossings.std(ddof=1) / np.sqrt(len(q0))) if len(q0) > 1 else float(mean)
    local = float(ndtr(-np.sqrt(best)))
    return GrossVitells(
        min(1.0, local + mean * float(np.exp(-0.5 * (best - level)))), level, mean, error
    )


def _has_sidebands(signal: SignalShape, fit_range: tuple[float, float]) -> bool:
    reach = _SIDEBAND_WIDTHS * signal.width
    return fit_range[0] <= signal.mass - reach and signal.mass + reach <= fit_range[1]


def _result(
    selections: Sequence[Selection],
    q0: Array,
    failed: int,
    skipped: tuple[tuple[str, float], ...],
    refused: Sequence[str],
) -> ScanResult:
    toys = len(q0)
    points, hypotheses = [], []
    for selection in selections:
        counts = [spectrum.counts[None] for spectrum in selection.data]
        for hypothesis, test in zip(
            selection.hypotheses, hypothesis_tests(selection, counts), strict=True
        ):
            points.append(_point(selection.name, hypothesis, test, counts))
            hypotheses.append(hypothesis)
    best = int(np.argmax([point.z for point in points]))
    channels = hypotheses[best].channels
    z_pyhf = pyhf_test(channels, poisson.discovery(channels)).test.z
    maxima = np.sqrt(q0.max(axis=1)) if toys else np.zeros(0)
    p_global = (int(np.sum(maxima >= points[best].z)) + 1) / (toys + 1) if toys else None
    reason = _why_no_crossings(selections, toys)
    data = [spectrum for selection in selections for spectrum in selection.data]
    narrowest = min(hypothesis.signal.width for hypothesis in hypotheses)
    notes = [*data_notes(data, narrowest), *([RETRAINING_NOTE] if toys else [])]
    if reason:
        notes.append(f"no Gross-Vitells p-value: {reason}")
    if skipped:
        listed = ", ".join(f"{name} {mass:g}" for name, mass in skipped)
        notes.append(f"not searched, without whole sidebands [GeV]: {listed}")
    notes += refused
    return ScanResult(
        points=tuple(points),
        best=best,
        z_pyhf=z_pyhf,
        p_global=p_global,
        z_global=None if p_global is None else _as_sigmas(p_global, toys),
        toys=toys,
        failed=failed,
        toy_maxima=tuple(maxima.tolist()),
        gross_vitells=None if reason else gross_vitells(q0, points[best].z ** 2),
        converged=all(p.converged for p in points) and abs(z_pyhf - points[best].z) < _Z_AGREEMENT,
        skipped=skipped,
        notes=tuple(notes),
    )


def _point(
    name: str, hypothesis: Hypothesis, test: Discoveries, counts: Sequence[Array]
) -> ScanPoint:
    sigma = poisson.signal_uncertainties(hypothesis.channels, counts, test.best)
    z = float(test.z[0])
    return ScanPoint(
        selection=name,
        mass=hypothesis.signal.mass,
        width=hypothesis.signal.width,
        parameters=hypothesis.orders,
        z=z,
        p_local=float(ndtr(-z)),
        mu_hat=float(test.best.mu[0]),
        mu_uncertainty=float(sigma[0]) if np.isfinite(sigma[0]) else None,
        converged=bool(test.converged[0]),
    )


def _why_no_crossings(selections: Sequence[Selection], toys: int) -> str:
    """Return why upcrossings do not give a global p-value, or nothing where they do."""
    signals = [hypothesis.signal for hypothesis in selections[0].hypotheses]
    if not toys:
        return "upcrossings are counted in toys"
    if len(selections) > 1:
        return "it assumes one selection across the scan"
    if any(signal.nuisances for signal in signals):
        return "q0 of a signal that may move is not chi-square distributed"
    steps = np.diff([signal.mass for signal in signals])
    if len(signals) < 3 or np.any(steps > [signal.width for signal in signals[1:]]):
        return "masses further apart than a width miss upcrossings"
    return ""


def _as_sigmas(p: float, toys: int) -> float:
    # Where every toy lies above the data p is 1, and known to half a toy.
    return float(-ndtri(min(p, 1 - 0.5 / (toys + 1))))
