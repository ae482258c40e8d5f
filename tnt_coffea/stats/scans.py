"""Scan: a bump hunt at every mass of every selection, and what the search for the best costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.arguments import check_arguments, listed_masses
from tnt_coffea.stats.bumps import data_notes, negative_notes, template_notes
from tnt_coffea.stats.calibration import from_null_chains
from tnt_coffea.stats.envelope import Envelope, Functions, enveloped
from tnt_coffea.stats.likelihood import nuisance_names
from tnt_coffea.stats.lower_edge import turn_on_notes
from tnt_coffea.stats.model import SpectrumModel, range_notes, spectrum_models
from tnt_coffea.stats.overlaps import SharedEvents
from tnt_coffea.stats.p_values import (
    gross_vitells_p_value,
    normal_p_value,
    significance,
    toys_p_value,
)
from tnt_coffea.stats.pyhf_fit import pyhf_test
from tnt_coffea.stats.quantities import check_whole
from tnt_coffea.stats.results import NULL_CHAINS, TOYS
from tnt_coffea.stats.scan_results import GrossVitells, ScanPoint, ScanResult
from tnt_coffea.stats.signals import Signal
from tnt_coffea.stats.spectrum import Spectrum, spectra
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.spurious import with_spurious
from tnt_coffea.stats.validity import LEAST_BACKGROUND, MOST_TOYS, SIDEBAND_WIDTHS, Z_AGREEMENT

__all__ = [
    "ScanSelection",
    "gross_vitells",
    "hypothesis_tests",
    "prepared_selection",
    "scan",
    "scan_masses",
]

Array = NDArray[np.float64]


_MOST_MASSES = 1000
_MOST_LISTED = 6
# The formula must not be below the toys where this share of them lies above.
_CHECKED_AT = 0.05
# Upcrossings of this q0 are frequent enough to be counted in a few hundred toys.
_LEVEL = 0.5
# sqrt(q0) of null chains and data that differ by no more than this are the same number.
_TIE = 1e-6

RETRAINING_NOTE = (
    "toys are made of histograms and leave the taggers as they are: what retraining adds is known "
    "only from null chains"
)


def scan(
    selections: Any,
    *,
    masses: Iterable[float],
    width: float,
    fit: SpectrumFit,
    windows: Mapping[str, tuple[float, float]] | None = None,
    fits: Mapping[str, SpectrumFit] | None = None,
    overlap: SharedEvents | None = None,
    toys: int = 1000,
    seed: int = 1,
    null_chains: Mapping[tuple[str, float], Sequence[float]] | None = None,
    cross_check: bool = True,
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
        Gaussian width of the signal [GeV].
    fit
        How every spectrum is fitted. The function is chosen on the data outside each signal.
    windows
        By selection the range of masses that it is searched for [GeV]; all by default.
    fits
        By selection how it is fitted, instead of `fit`: signals as histograms, and uncertainties
        of their norm, are those of a selection. Range and bins are those of `fit`.
    overlap
        Which events the spectra share, needed where there are several selections;
        its names are 'selection', or 'selection/channel' where there are several.
    toys
        Background-only toys of the whole scan; 0 gives no global p-value.
    seed
        Root seed of the toys.
    null_chains
        By selection and mass, q0 of the same test in whole searches of background with taggers
        trained anew, one after the other: they give local and global p-values, instead of toys,
        if all that is tested is among them.
    cross_check
        Whether pyhf repeats the best test; without it `z_pyhf` is the engine's own.
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

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.scan(spectrum, masses=[3300, 3500, 3700], width=120, fit=fit, toys=20)
    >>> result.best_point.mass, round(result.p_global, 3)
    (3500.0, 0.048)
    """
    check_arguments(width=width, fit=fit, seed=seed)
    check_whole({"toys": toys}, MOST_TOYS)
    masses = listed_masses(masses)
    named = selections if isinstance(selections, Mapping) else {"all": selections}
    if not named:
        msg = "no selection to scan: give one histogram, or a mapping from selection to histogram"
        raise FitError(msg)
    skipped: list[tuple[str, float]] = []
    chosen, refused = [], []
    for name, channels in named.items():
        own_fit = (fits or {}).get(name, fit)
        data = spectra(channels, own_fit)
        signals = [own_fit.signal(float(mass), width) for mass in masses]
        low, high = (windows or {}).get(name, (0.0, np.inf))
        wanted = [signal for signal in signals if low <= signal.mass < high]
        whole = [signal for signal in wanted if fit.has_sidebands(signal)]
        skipped += [(name, signal.mass) for signal in wanted if signal not in whole]
        if not whole:
            continue
        try:
            chosen.append(prepared_selection(name, data, whole, own_fit))
        except FitError as error:
            if len(named) == 1:
                raise
            refused.append(f"{name} is not searched: {error}")
    if refused and not chosen:
        raise FitError("; ".join(refused))
    if not chosen:
        msg = (
            f"no mass of {min(masses):g}-{max(masses):g} GeV has {SIDEBAND_WIDTHS:g} widths of "
            f"spectrum on both sides within {fit.range[0]:g}-{fit.range[1]:g} GeV"
        )
        raise FitError(msg)
    chains = _in_chains(chosen, null_chains or {})
    if chains is not None:
        return _result(chosen, chains, 0, tuple(skipped), refused, fit, seed, of_chains=True)
    if toys and len(chosen) > 1 and overlap is None:
        msg = (
            f"{len(chosen)} selections share events, and a global p-value must know which: give "
            "`overlap` (SharedEvents.of_events or .nested), or toys=0"
        )
        raise FitError(msg)
    q0, failed = scanned_toys(chosen, overlap, toys, seed, progress)
    return _result(chosen, q0, failed, tuple(skipped), refused, fit, seed, cross_check=cross_check)


def _in_chains(
    selections: Sequence[ScanSelection], chains: Mapping[tuple[str, float], Sequence[float]]
) -> Array | None:
    """Return q0 of every hypothesis in null chains, (chains, hypotheses); None where one lacks."""
    keys = [(own.name, model.signal.mass) for own in selections for model in own.models]
    columns = [chains.get(key, ()) for key in keys]
    if not all(columns) or len({len(column) for column in columns}) != 1:
        return None
    return np.transpose(np.array(columns, np.float64))


def scan_masses(fit: SpectrumFit, width: float) -> tuple[float, ...]:
    """Return masses for a scan of a whole fit range: in steps of half a width, sidebands left.

    Parameters
    ----------
    fit
        Its range.
    width
        Gaussian width of the signal [GeV].

    Raises
    ------
    FitError
        The range holds no mass with three widths on both sides, or far too many.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> stats.scan_masses(stats.SpectrumFit((2600, 3500)), width=120)
    (2960.0, 3020.0, 3080.0, 3140.0)
    """
    low, high = (float(edge) for edge in fit.range)
    reach = SIDEBAND_WIDTHS * replace(fit, templates=None).signal((low + high) / 2, width).width
    steps = (high - low - 2 * reach) / (0.5 * width)
    if not 0 <= steps <= _MOST_MASSES:
        msg = (
            f"a width of {width:g} GeV makes no scan of {low:g}-{high:g} GeV in steps of half a "
            f"width with {SIDEBAND_WIDTHS:g} widths left on both sides: give masses"
        )
        raise FitError(msg)
    return tuple(low + reach + 0.5 * width * step for step in range(int(steps + 1e-9) + 1))


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
    p_global = gross_vitells_p_value(float(np.sqrt(best)), mean, level)
    return GrossVitells(p_global, level, mean, error)


def _result(
    selections: Sequence[ScanSelection],
    q0: Array,
    failed: int,
    skipped: tuple[tuple[str, float], ...],
    refused: Sequence[str],
    fit: SpectrumFit,
    seed: int,
    *,
    of_chains: bool = False,
    cross_check: bool = True,
) -> ScanResult:
    toys = len(q0)
    points: list[ScanPoint] = []
    models: list[SpectrumModel] = []
    for selection in selections:
        for model in selection.models:
            own = q0[:, len(points)] if toys else None
            points.append(_point(selection, model, own, of_chains=of_chains))
            models.append(model)
    best = int(np.argmax([point.z_asymptotic for point in points]))
    largest = points[best].z_asymptotic
    z_pyhf = _cross_check(models[best]) if cross_check else largest
    maxima = np.sqrt(q0.max(axis=1)) if toys else np.zeros(0)
    reached = int(np.sum(maxima >= largest - _TIE)) if of_chains else int(np.sum(maxima >= largest))
    p_global = toys_p_value(reached, toys) if toys else None
    reason = "" if of_chains else _why_no_crossings(selections, q0)
    data = [spectrum for selection in selections for spectrum in selection.data]
    narrowest = min(model.signal.width for model in models)
    masses = [model.signal.mass for model in models]
    notes = [
        *range_notes(models[best], seed),
        *turn_on_notes(models[best].data, models[best].signal, fit),
        *data_notes(data, narrowest, (min(masses), max(masses))),
        *template_notes(models[best].signal),
        *negative_notes(models[best].signal, models[best].data),
        *_validity_notes(points, models[best].signal),
        *([RETRAINING_NOTE] if toys and not of_chains else []),
    ]
    if reason:
        notes.append(f"no Gross-Vitells p-value: {reason}")
    if gated := sorted({point.mass for point in points if point.spurious_uncertainty}):
        notes.append(
            f"a spurious signal is a nuisance parameter at {_listed(gated)} GeV, where other "
            "functions describe the spectrum better: a test of one mass says which"
        )
    if skipped:
        listed = ", ".join(f"{name} {mass:g}" for name, mass in skipped)
        notes.append(f"not searched, without whole sidebands [GeV]: {listed}")
    notes += refused
    if unsure := [f"{point.mass:g}" for point in points if not point.converged]:
        notes.append(f"not converged: a fit of the data at {', '.join(unsure)} GeV")
    agreed = abs(z_pyhf - largest) < Z_AGREEMENT
    if not agreed:
        notes.append(
            f"not converged: two minimisers disagree: sqrt(q0) = {largest:.3f} and {z_pyhf:.3f}"
        )
    return ScanResult(
        points=tuple(points),
        best=best,
        z_pyhf=z_pyhf,
        p_global=p_global,
        z_global=None if p_global is None else significance(p_global),
        toys=toys,
        failed=failed,
        toy_maxima=tuple(maxima.tolist()),
        gross_vitells=None if reason or of_chains else gross_vitells(q0, largest**2),
        converged=not unsure and agreed,
        skipped=skipped,
        notes=tuple(notes),
        experiments=NULL_CHAINS if of_chains else TOYS,
    )


def _cross_check(model: SpectrumModel) -> float:
    """Return sqrt(q0) with pyhf's fits of the best function."""
    test = model.test
    function = test.best.function()
    own = test.tests[function]
    check = engine.Discovery(own.background.one(0), own.best.one(0), float(own.q0[0]))
    q0 = pyhf_test(model.functions[function], check).test.q0
    return float(np.sqrt(test.with_q0_of(function, q0)))


def _point(
    selection: ScanSelection,
    model: SpectrumModel,
    toys: Array | None,
    *,
    of_chains: bool = False,
) -> ScanPoint:
    """Return a point; `toys` are its q0 in those of the scan, shape (toys,), if there are any."""
    test = model.test
    function = test.best.function()
    channels = model.functions[function]
    sigma = engine.signal_uncertainties(channels, model.counts, test.best.fits[function])
    q0 = float(test.z[0]) ** 2
    p_local, z, used = normal_p_value(sqrt(q0)), sqrt(q0), 0
    if toys is not None and of_chains:
        found = from_null_chains(q0, toys.tolist())
        p_local, z, used = found.p_value, found.z, len(toys)
    elif toys is not None and (model.near < LEAST_BACKGROUND or model.signal.movements):
        # The roots are compared, as they are for the global p-value.
        p_local = toys_p_value(int(np.sum(np.sqrt(toys) >= z)), len(toys))
        z, used = significance(p_local), len(toys)
    return ScanPoint(
        selection=selection.name,
        mass=model.signal.mass,
        width=model.signal.width,
        parameters=tuple(channel.background.parameters for channel in channels),
        background=model.near,
        z=z,
        p_local=p_local,
        mu_hat=model.unit * float(test.best.mu[0]),
        mu_uncertainty=model.unit * float(sigma[0]) if np.isfinite(sigma[0]) else None,
        converged=bool(test.converged[0]),
        q0=q0,
        toys=used,
        spurious_uncertainty=model.unit * model.spurious_events,
        experiments=NULL_CHAINS if of_chains else TOYS,
    )


def _validity_notes(points: Sequence[ScanPoint], signal: Signal) -> list[str]:
    """Return where asymptotic local p-values cannot be trusted, and what was done about it."""
    notes: list[str] = []
    toys = max(point.toys for point in points)
    advice = (
        f"local p-values are from the scan's toys there, {1 / (toys + 1):.2g} or more"
        if toys
        else "local p-values are asymptotic and not reliable there; a test of one mass takes toys"
    )
    if toys and points[0].experiments == NULL_CHAINS:
        return notes
    if masses := sorted({point.mass for point in points if point.sparse}):
        notes.append(
            f"fewer than {LEAST_BACKGROUND:g} background events within mass +- 2 widths at "
            f"{_listed(masses)} GeV: {advice}"
        )
    if signal.movements:
        notes.append(
            "the signal may move within its uncertainties: local p-values are "
            + (
                "from the scan's toys"
                if toys
                else "asymptotic, which does not hold then; a test of one mass takes toys"
            )
        )
    return notes


def _listed(masses: Sequence[float]) -> str:
    """Return masses as text, of many the first and the last."""
    listed = ", ".join(f"{mass:g}" for mass in masses[:_MOST_LISTED])
    more = len(masses) - _MOST_LISTED
    return f"{listed} and {more} more, up to {masses[-1]:g}" if more > 0 else listed


def _why_no_crossings(selections: Sequence[ScanSelection], q0: Array) -> str:
    """Return why upcrossings do not give a global p-value, or nothing where they do."""
    signals = [model.signal for model in selections[0].models]
    if not len(q0):
        return "upcrossings are counted in toys"
    if len(selections) > 1:
        return "it assumes one selection across the scan"
    if any(signal.movements for signal in signals):
        return "q0 of a signal that may move is not chi-square distributed"
    steps = np.diff([signal.mass for signal in signals])
    if len(signals) < 3 or np.any(steps > [signal.width for signal in signals[1:]]):
        return "masses further apart than a width miss upcrossings"
    # The toys themselves tell whether the formula describes them.
    by_toys, error = _CHECKED_AT, float(np.sqrt(_CHECKED_AT * (1 - _CHECKED_AT) / len(q0)))
    by_formula = gross_vitells(q0, float(np.quantile(q0.max(axis=1), 1 - by_toys))).p_global
    if by_formula < by_toys - 2 * error:
        return f"it gives p = {by_formula:.2g} where the toys have {by_toys:g} +- {error:.1g}"
    return ""


@dataclass(frozen=True, eq=False)
class ScanSelection:
    """The spectra of one selection and the hypotheses tested in it: one model for every mass.

    All have the same background functions.
    """

    name: str
    models: tuple[SpectrumModel, ...]

    @property
    def data(self) -> tuple[Spectrum, ...]:
        """The spectra."""
        return self.models[0].data

    @property
    def null(self) -> list[Array]:
        """Background-only expectation of every channel."""
        return self.without_spurious.test.background.expected(self.without_spurious.functions)

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters of all models; some masses have a spurious signal."""
        each = [nuisance_names(next(iter(model.functions.values()))) for model in self.models]
        return max(each, key=len)

    @property
    def alpha(self) -> tuple[float, ...]:
        """Nuisance parameters of the background-only fit; a spurious signal is at 0."""
        fit = self.without_spurious.test.background.fit()
        names = nuisance_names(next(iter(self.without_spurious.functions.values())))
        known = dict(zip(names, fit.alpha, strict=True))
        return tuple(known.get(name, 0.0) for name in self.nuisances)

    @cached_property
    def without_spurious(self) -> SpectrumModel:
        """The first model without a spurious signal, which is another one at every mass."""
        first = self.models[0]
        return replace(first, functions=with_spurious(first.functions, 0.0))


def prepared_selection(
    name: str,
    data: Sequence[Spectrum],
    signals: Sequence[Signal],
    fit: SpectrumFit,
) -> ScanSelection:
    """Return a selection with one hypothesis for every signal.

    Parameters
    ----------
    name, data, signals
        The selection, its spectra, the signals to test.
    fit
        How they are fitted.
    """
    return ScanSelection(name, tuple(spectrum_models(data, signals, fit)))


def hypothesis_tests(
    selection: ScanSelection, counts: Sequence[Array], centres: Array | None = None
) -> list[Envelope]:
    """Test every hypothesis of a selection in many sets of counts.

    They share their background fits.

    Parameters
    ----------
    selection
        The hypotheses.
    counts
        Events of every channel, shape (toys, bins).
    centres
        Auxiliary measurements of the selection's nuisance parameters, shape (toys, nuisances);
        by default 0.
    """

    def own(functions: Functions) -> Array | None:
        names = nuisance_names(next(iter(functions.values())))
        return None if centres is None else centres[:, [known.index(name) for name in names]]

    known = selection.nuisances
    bare = selection.without_spurious.functions
    nulls = {
        name: engine.background_fits(channels, counts, centres=own(bare))
        for name, channels in bare.items()
    }
    return [
        enveloped(model.functions, counts, nulls, centres=own(model.functions))
        for model in selection.models
    ]


# Toys held in memory at a time, and between two reports of progress.
_TOYS = 100


def scanned_toys(
    selections: Sequence[ScanSelection],
    overlap: SharedEvents | None,
    toys: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Array, int]:
    """Return q0 of every hypothesis in every toy, and how many toys had a failed fit.

    Parameters
    ----------
    selections
        What is tested.
    overlap
        Which events their spectra share; None where they share none.
    toys
        How many.
    seed
        Root seed.
    progress
        Called with the toys that are done, and all of them.

    Returns
    -------
    Shape (toys, hypotheses), and a number of toys.

    Raises
    ------
    FitError
        The overlap lacks a spectrum, or has other bins.
    """
    random = seeds.generator(seed, "stats", "scan", "toys")
    expected = [b for selection in selections for b in selection.null] if toys else []
    shared = None if overlap is None else overlap.only(_names(selections))
    cells = None if shared is None or not toys else shared.expected(expected)
    q0, failed = [], 0
    if progress is not None:
        progress(0, toys)
    for first in range(0, toys, _TOYS):
        size = min(_TOYS, toys - first)
        counts = (
            engine.toy_counts(expected, size, random)
            if shared is None or cells is None
            else shared.drawn(cells, size, random)
        )
        tests: list[Envelope] = []
        # One trigger: its efficiency is measured once for all selections.
        longest = sorted((selection.nuisances for selection in selections), key=len, reverse=True)
        names = list(dict.fromkeys(name for own in longest for name in own))
        moved = random.normal(size=(size, len(names)))
        for selection in selections:
            places = [names.index(name) for name in selection.nuisances]
            centres = np.array(selection.alpha) + moved[:, places]
            tests += hypothesis_tests(selection, counts[: len(selection.data)], centres)
            counts = counts[len(selection.data) :]
        q0.append(np.stack([test.q0 for test in tests], axis=1))
        failed += int(np.sum(~np.all([test.converged for test in tests], axis=0)))
        if progress is not None:
            progress(first + size, toys)
    return np.concatenate(q0) if q0 else np.zeros((0, 0)), failed


def _names(selections: Sequence[ScanSelection]) -> list[str]:
    return [
        selection.name if len(selection.data) == 1 else f"{selection.name}/{spectrum.name}"
        for selection in selections
        for spectrum in selection.data
    ]
