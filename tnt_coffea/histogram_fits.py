"""Tests and limits on one stored histogram, a search's or anyone's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tnt_coffea import pipeline, seeds, stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.config.fits import AUTO
from tnt_coffea.errors import ConfigError
from tnt_coffea.products import Histograms
from tnt_coffea.working_points import Selection, WorkingPoints, selection_name

__all__ = [
    "StoredHistogram",
    "fit_bias",
    "fit_bump",
    "fit_expected",
    "fit_expected_scan",
    "fit_from_edge",
    "fit_impacts",
    "fit_limit",
    "fit_scan",
    "stored_histogram",
]

Progress = Callable[[int, int], None]

_PLANE = ("fold", "q_heavy", "q_light")


@dataclass(frozen=True, eq=False)
class StoredHistogram:
    """A histogram, or those of a search.

    Attributes
    ----------
    histogram
        The histogram; of a search, that of the first tagger set named.
    points
        Its working points, where it is a search's.
    search
        The search it comes from.
    sets
        The tagger sets named: one, or those of a method with several windows.
    name
        What was named: a tagger set or a method.
    whole
        Whether all tagger sets of a search are meant, and all dijets.
    """

    histogram: Any
    points: WorkingPoints = field(default_factory=WorkingPoints)
    search: Histograms | None = None
    sets: tuple[str, ...] = ()
    name: str = ""
    whole: bool = False

    def seed(self, config: SearchConfig, test: str) -> int:
        """Return the seed of a test's toys: in a search, that of its stage `fit`.

        Parameters
        ----------
        config
            `seed` is read.
        test
            'bump', 'scan', 'limit', 'abcd', 'transfer', 'expected' or 'bias'.
        """
        if self.search is None:
            return config.seed
        return seeds.integer(config.seed, "fit", test, self.name)

    def spectra(self, selection: Selection) -> Any:
        """Return the spectrum in mass: one's own, or those of a search's selection by fold.

        Raises
        ------
        ConfigError
            The search has no such selection, or several tagger sets are named.
        """
        names = [axis.name for axis in self.histogram.axes]
        if not set(_PLANE) <= set(names):
            return self.histogram
        if self.search is None:
            msg = (
                "the working points of a search's histogram stand beside it: give the folder of "
                "the search stage"
            )
            raise ConfigError(msg)
        return stats.selected_spectrum(self.histogram, self.points[selection])

    def fit(self, config: SearchConfig) -> stats.SpectrumFit:
        """Return how the spectra of `spectra(fit.bump.selection)` are fitted."""
        if self.search is None:
            return pipeline.spectrum_fit(config)
        return pipeline.search_fit(self.search, config, self.sets[0], config.fit.bump.selection)

    def single(self, test: str) -> StoredHistogram:
        """Return this histogram if it is one, not one a window.

        Raises
        ------
        ConfigError
            Several tagger sets are named.
        """
        if len(self.sets) > 1:
            msg = (
                f"{test} is of one tagger set; name one of {', '.join(self.sets)}, or scan them all"
            )
            raise ConfigError(msg)
        return self


def stored_histogram(
    path: str | Path, name: str | None = None, *, whole: bool = False
) -> StoredHistogram:
    """Return a histogram from a file, or from the folder of a search stage.

    Parameters
    ----------
    path
        ROOT, JSON or HDF5 file; or a folder with histograms.h5 and search.json.
    name
        The histogram, or the tagger set, where there are several; a method stands for its
        sets of all windows.
    whole
        Take all tagger sets of a search instead.

    Raises
    ------
    InputError, StageError
        There is no such histogram.
    ConfigError
        The search has several tagger sets, and none is named; or a spectrum has none.
    """
    path = Path(path)
    if not (path.is_dir() or path.name == "histograms.h5"):
        if whole:
            msg = (
                f"{path}: a spectrum has no tagger sets: --all is for the folder of a search stage"
            )
            raise ConfigError(msg)
        return StoredHistogram(stats.read_histogram(path, name))
    search = Histograms.load(path if path.is_dir() else path.parent)
    names = sorted(search.hists)
    if whole and names:
        first, of = search.hists[names[0]], pipeline.OVERALL
        return StoredHistogram(first, search.points[names[0]], search, tuple(names), of, whole=True)
    if name is None and len(names) == 1:
        name = names[0]
    known = pipeline.windows_by_method(search) | {own: (own,) for own in names}
    sets = () if name is None else known.get(name, ())
    if not sets:
        msg = f"{path}: name the tagger set, one of {', '.join(names)}"
        raise ConfigError(msg)
    return StoredHistogram(search.hists[sets[0]], search.points[sets[0]], search, sets, name or "")


def fit_bump(
    stored: StoredHistogram,
    config: SearchConfig,
    *,
    toys: int | None = None,
    progress: Progress | None = None,
) -> stats.BumpHuntResult:
    """Return the bump hunt in a spectrum, or in a search's selection of `fit.bump`.

    Parameters
    ----------
    stored
        The histogram.
    config
        `seed`, `data.sqrt_s`, `search.fit_range` and `fit.bump` are read.
    toys
        Instead of those of the settings.
    progress
        Called with the toys that are done, and all of them.

    Raises
    ------
    FitError
        The histogram does not suit a bump hunt.
    ConfigError
        Several tagger sets are named, the search has no such selection, or the null chains
        are of other settings or tagger sets.
    InputError
        The null chains cannot be read.
    """
    pipeline.refuse_blinded(config, "a bump hunt")
    bump = config.fit.bump
    return stats.bump_hunt(
        stored.single("bump").spectra(bump.selection),
        mass=config.signal_mass,
        width=bump.width,
        fit=stored.fit(config),
        seed=stored.seed(config, "bump"),
        toys=bump.toys if toys is None else toys,
        lower_edges=bump.lower_edges,
        lowest_edge=bump.lowest_edge,
        null_chains=_null_chains(stored, config),
        progress=progress,
    )


def _null_chains(stored: StoredHistogram, config: SearchConfig) -> tuple[float, ...]:
    if stored.search is not None:
        events = pipeline.events_in_fit_range(stored.search, config)
        chains = pipeline.null_chains_of(config, events)
        return () if chains is None else chains.of(stored.sets[0])
    path = config.fit.bump.null_chains
    if path in (None, AUTO):
        return ()
    chains = pipeline.NullChains.load(path)
    chains.check(config, of_search=False)
    return chains.single()


def fit_limit(
    stored: StoredHistogram,
    config: SearchConfig,
    *,
    toys: int | None = None,
    efficiency: float | None = None,
    luminosity: float | None = None,
) -> stats.LimitResult:
    """Return the upper limit on a signal, in what `fit_bump` tests.

    Parameters
    ----------
    stored, config, toys
        As for `fit_bump`.
    efficiency, luminosity
        Selected over produced signal, and luminosity [1/fb], for a cross section; that of
        `data` by default. The efficiency is that of simulation: it is multiplied by the scale
        factor of `fit.tagger_efficiency`, as those of `fit.limit` are.

    Raises
    ------
    FitError, ConfigError
        As for `fit_bump`; or there is no limit.
    """
    pipeline.refuse_blinded(config, "an observed limit")
    bump = config.fit.bump
    if efficiency is not None and luminosity is None:
        luminosity = config.data.luminosity
    spectra = stored.single("limit").spectra(bump.selection)
    efficiency = pipeline.produced_share(config, efficiency)
    return stats.upper_limit(
        spectra,
        mass=config.signal_mass,
        width=bump.width,
        fit=fit_from_edge(stored, config, spectra),
        seed=stored.seed(config, "limit"),
        toys=toys,
        efficiency=efficiency,
        luminosity=luminosity,
    )


def fit_impacts(
    stored: StoredHistogram, config: SearchConfig, result: stats.BumpHuntResult
) -> stats.NuisanceImpacts:
    """Return pulls and impacts of the nuisance parameters of a bump hunt.

    Parameters
    ----------
    stored, config
        As for `fit_bump`.
    result
        Its result.

    Raises
    ------
    FitError
        A fit has no minimum: there are too few events under the signal.
    """
    rows = stats.nuisance_impacts(
        stored.spectra(config.fit.bump.selection),
        mass=result.mass,
        width=result.width,
        fit=replace(stored.fit(config), range=result.fit_range),
    )
    return stats.NuisanceImpacts(result.mass, result.width, rows)


def fit_scan(
    stored: StoredHistogram,
    config: SearchConfig,
    *,
    masses: Sequence[float] = (),
    nested: bool = False,
    toys: int | None = None,
    progress: Progress | None = None,
) -> stats.ScanResult:
    """Return the scan over masses in a spectrum, or in the selections of a search.

    Parameters
    ----------
    stored, config, progress
        As for `fit_bump`; several windows of a method are scanned together, and all tagger sets
        of a search with the spectrum of all dijets.
    masses
        Masses [GeV]; by default `fit.scan.masses`, and without these the fit range in steps of
        half a width, from three widths inside it, as far as there are templates of the signal.
    nested
        Scan every selection of `search.efficiencies`, not only that of `fit.bump`; of all tagger
        sets, the cuts of `search.cuts` too.
    toys
        Instead of null chains and `fit.scan.toys`.

    Raises
    ------
    FitError
        The histogram does not suit a scan.
    ConfigError
        A spectrum is to be scanned in nested selections.
    """
    pipeline.refuse_blinded(config, "a scan")
    bump = config.fit.bump
    masses = masses or config.fit.scan.masses
    masses = masses or _default_masses(stored, config)
    if stored.search is None:
        if nested:
            msg = "--nested is for the folder of a search stage: a spectrum holds one selection"
            raise ConfigError(msg)
        spectra = stored.spectra(bump.selection)
        return stats.scan(
            {"data": spectra},
            masses=masses,
            width=bump.width,
            fit=fit_from_edge(stored, config, spectra),
            toys=config.fit.scan.toys if toys is None else toys,
            seed=config.seed,
            progress=progress,
        )
    chosen = stored.points.efficiencies if nested else (bump.selection,)
    selections = (
        pipeline.all_selections(stored.search, config, every=nested)
        if stored.whole
        else {
            (f"{name} {selection_name(selection)}" if nested else name): (name, selection)
            for name in stored.sets
            for selection in chosen
        }
    )
    if len(selections) == 1 and not stored.whole:
        selections = {"data": next(iter(selections.values()))}
    return pipeline.scan(
        stored.search,
        config,
        selections,
        before=stored.whole,
        masses=masses,
        toys=toys,
        seed=config.seed if nested and not stored.whole else stored.seed(config, "scan"),
        progress=progress,
    )


def _default_masses(stored: StoredHistogram, config: SearchConfig) -> tuple[float, ...]:
    """Return the masses of a scan where none are given [GeV]."""
    spectrum = pipeline.spectrum_fit(config, with_signal=False)
    masses = stats.scan_masses(spectrum, config.fit.bump.width)
    templates = None if config.fit.signal is None else stored.fit(config).templates
    if templates is None:
        return masses
    low, *_, high = (templates.masses[0], *templates.masses)
    return tuple(mass for mass in masses if low <= mass <= high) or templates.masses


def fit_expected(
    stored: StoredHistogram,
    config: SearchConfig,
    *,
    signals: Sequence[float] = (),
    toys: int | None = None,
    efficiency: float | None = None,
    luminosity: float | None = None,
) -> stats.Expectation:
    """Return expected significances and the expected limit, in what `fit_bump` tests.

    Parameters
    ----------
    stored
        The histogram.
    config
        `seed`, `search` and `fit` are read: with `fit.blind` the window is hidden.
    signals
        Signal events, instead of `fit.expected_signals`.
    toys, efficiency, luminosity
        As for `fit_limit`.

    Raises
    ------
    FitError
        The histogram does not suit the fit.
    ConfigError
        Several tagger sets are named, or the search has no such selection.
    """
    bump = config.fit.bump
    if efficiency is not None and luminosity is None:
        luminosity = config.data.luminosity
    return stats.expectation(
        stored.single("expected").spectra(bump.selection),
        mass=config.signal_mass,
        width=bump.width,
        fit=stored.fit(config),
        signals=signals or config.fit.expected_signals,
        window=_hidden(stored, config),
        level=config.fit.limit.level,
        toys=toys,
        efficiency=pipeline.produced_share(config, efficiency),
        luminosity=luminosity,
        lower_edges=bump.lower_edges,
        lowest_edge=bump.lowest_edge,
        seed=stored.seed(config, "expected"),
    )


def fit_expected_scan(
    stored: StoredHistogram, config: SearchConfig, *, masses: Sequence[float] = ()
) -> stats.ExpectationScan:
    """Return expected significances and limits over masses.

    Parameters
    ----------
    stored, config
        As for `fit_expected`.
    masses
        As for `fit_scan`.

    Raises
    ------
    FitError, ConfigError
        As for `fit_expected`.
    """
    bump = config.fit.bump
    masses = masses or config.fit.scan.masses
    if config.fit.blind and config.fit.blind_window is None and not masses:
        msg = (
            "a blinded scan of the whole fit range hides all of it: give --masses in a part of "
            "it, or --window LOW HIGH"
        )
        raise ConfigError(msg)
    masses = masses or _default_masses(stored, config)
    return stats.expectation_scan(
        stored.single("scan").spectra(bump.selection),
        masses=masses,
        width=bump.width,
        fit=stored.fit(config),
        signals=config.fit.expected_signals,
        window=_hidden(stored, config, masses),
        level=config.fit.limit.level,
        lower_edges=bump.lower_edges,
        lowest_edge=bump.lowest_edge,
        seed=stored.seed(config, "expected"),
    )


def fit_bias(
    stored: StoredHistogram,
    config: SearchConfig,
    *,
    truths: Sequence[str] = (),
    strengths: Sequence[float] = (),
    toys: int | None = None,
    rechoose: bool = False,
    all_bins: bool = False,
    progress: Progress | None = None,
) -> stats.BiasStudy:
    """Return the bias of the signal in toys from other functions, in what `fit_bump` tests.

    Parameters
    ----------
    stored, config
        As for `fit_expected`.
    truths, strengths, toys, rechoose
        As for `stats.bias_study`; without them its defaults.
    all_bins
        Whether the bins in the window take part, too.
    progress
        Called with the toys that are done, and all of them.

    Raises
    ------
    FitError
        As for `fit_expected`; or an argument is out of range.
    ConfigError
        As for `fit_expected`; or all bins are to take part in a blinded fit.
    """
    if all_bins:
        pipeline.refuse_blinded(config, "a bias study of all bins")
    bump = config.fit.bump
    given: dict[str, Any] = {"strengths": strengths} if strengths else {}
    given |= {} if toys is None else {"toys": toys}
    return stats.bias_study(
        stored.single("bias").spectra(bump.selection),
        mass=config.signal_mass,
        width=bump.width,
        fit=stored.fit(config),
        truths=truths,
        rechoose=rechoose,
        window=None if all_bins else _window(stored, config),
        lower_edges=bump.lower_edges,
        lowest_edge=bump.lowest_edge,
        seed=stored.seed(config, "bias"),
        progress=progress,
        **given,
    )


def _hidden(
    stored: StoredHistogram, config: SearchConfig, masses: Sequence[float] = ()
) -> tuple[float, float] | None:
    return _window(stored, config, masses) if config.fit.blind else None


def _window(
    stored: StoredHistogram, config: SearchConfig, masses: Sequence[float] = ()
) -> tuple[float, float]:
    return pipeline.hidden_window(config, masses=masses, of_search=stored.search is not None)


def fit_from_edge(stored: StoredHistogram, config: SearchConfig, spectra: Any) -> stats.SpectrumFit:
    """Return how spectra are fitted, from the lower edge that the bump hunt has."""
    seed = stored.seed(config, "bump")
    return pipeline.fit_from_lower_edge(
        {"data": spectra}, config, seed=seed, fit=stored.fit(config)
    )
