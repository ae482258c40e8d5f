"""Tests and limits on one stored histogram, a search's or anyone's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tnt_coffea import pipeline, seeds, stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.config.fits import AUTO
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.products import Histograms
from tnt_coffea.stats.abcd_limits import limit_or_reason
from tnt_coffea.stats.abcd_regions import plane_counts
from tnt_coffea.stats.results import Result
from tnt_coffea.working_points import Selection, WorkingPoints, selection_name

__all__ = [
    "AbcdStudy",
    "StoredHistogram",
    "fit_abcd",
    "fit_bias",
    "fit_bump",
    "fit_direct",
    "fit_expected",
    "fit_expected_scan",
    "fit_from_edge",
    "fit_impacts",
    "fit_limit",
    "fit_scan",
    "fit_transfer",
    "fit_window",
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


@dataclass(frozen=True)
class AbcdStudy(Result):
    """ABCD at one efficiency, and its closure at all.

    Attributes
    ----------
    result
        The estimate, or why there is none.
    closures
        Closure over efficiencies; None for a plane, and where the scores are of the whole event.
    """

    result: stats.AbcdResult | stats.AbcdRefusal
    closures: stats.ClosureScan | None

    def summary(self) -> str:
        """Return both as text."""
        parts = [self.result, *([] if self.closures is None else [self.closures])]
        return "\n".join(part.summary() for part in parts)


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
        `data` by default.

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
        half a width, from three widths inside it.
    nested
        Scan every selection of `search.efficiencies`, not only that of `fit.bump`; of all tagger
        sets, the cuts of `search.cuts` too.
    toys
        Instead of `fit.scan.toys`.

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
    masses = masses or stats.scan_masses(
        pipeline.spectrum_fit(config, with_signal=False), bump.width
    )
    toys = config.fit.scan.toys if toys is None else toys
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
            toys=toys,
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
        efficiency=efficiency,
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
    masses = masses or stats.scan_masses(
        pipeline.spectrum_fit(config, with_signal=False), bump.width
    )
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
        fit=pipeline.spectrum_fit(config),
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


def fit_abcd(
    stored: StoredHistogram,
    config: SearchConfig,
    *,
    toys: int = 0,
    passing: float | None = None,
    low: float | None = None,
) -> AbcdStudy:
    """Return the ABCD estimate of a search with its closure, or of a plane of two scores.

    Parameters
    ----------
    stored
        A plane of two scores, or a search's histogram.
    config
        `seed`, `search`, `fit.abcd` and `fit.limit` are read.
    toys
        As for `stats.abcd`.
    passing, low
        On a plane: a jet passes above the first and is low below the second; edges of both axes.
        The closure is only its systematic there: no other events are known.

    Raises
    ------
    ConfigError
        A plane comes without its cuts, several tagger sets are named, or the search has no such
        selection.
    FitError
        The histogram is no plane, or holds no counts.
    """
    pipeline.refuse_blinded(config, "an ABCD estimate")
    histogram, settings = stored.single("abcd").histogram, config.fit.abcd
    level = config.fit.limit.level if config.fit.limit.enabled else None
    if len(histogram.axes) == 2:
        if passing is None or low is None or not low <= passing:
            msg = (
                "a plane of two scores needs --passing X (a jet passes above it) and --low Y (it "
                "is low below it), with Y not above X"
            )
            raise ConfigError(msg)
        counts = plane_counts(histogram, passing, low)
        common: dict[str, Any] = {"systematic": settings.systematic, "seed": config.seed}
        estimate = stats.abcd(*counts.regions, toys=toys, counts=counts, **common)
        if level is None:
            return AbcdStudy(estimate, None)
        common["systematics"] = pipeline.norm_systematics(config)
        found = limit_or_reason(counts, level=level, toys=config.fit.limit.toys, **common)
        return AbcdStudy(replace(estimate, limit=found), None)
    if stored.search is None:
        msg = "ABCD needs a plane of two scores (a TH2), or the folder of a search stage"
        raise FitError(msg)
    search = config.search
    where = (search.background_quantile, search.fit_range.edges, search.window.edges)
    result = stats.abcd_in_window(
        histogram,
        stored.points[settings.selection],
        *where,
        systematic_floor=settings.systematic,
        closure_limit=settings.closure_limit,
        toys=toys,
        seed=stored.seed(config, "abcd"),
        level=level,
        limit_toys=config.fit.limit.toys,
        systematics=None
        if level is None
        else pipeline.count_systematics(
            stored.search, config, stored.sets[0], settings.selection, search.window.edges
        ),
    )
    try:
        closures = stats.closure_scan(histogram, stored.points, *where, search.closure_quantiles)
    except FitError:  # scores of the whole event, as the refusal says
        closures = None
    return AbcdStudy(result, closures)


def fit_direct(
    stored: StoredHistogram, config: SearchConfig
) -> stats.DirectEstimate | stats.DirectRefusal:
    """Return the direct estimate of a search's selection, its background weighted simulation.

    Parameters
    ----------
    stored
        A search's histogram.
    config
        `fit.direct` and `fit.limit` are read.

    Raises
    ------
    ConfigError
        Several tagger sets are named, the search has no such selection, or the fit is blinded.
    FitError
        The histogram is of no search, or of taggers without weighted simulation.
    """
    pipeline.refuse_blinded(config, "a direct estimate")
    if stored.search is None:
        msg = "a direct estimate needs the folder of a search stage with weighted simulation"
        raise FitError(msg)
    return pipeline.direct(stored.search, config, stored.single("direct").sets[0])


def fit_transfer(
    stored: StoredHistogram, config: SearchConfig, failed: StoredHistogram | None = None
) -> stats.TransferEstimate | stats.TransferRefusal:
    """Return the transfer factor of a search's selection, or of two spectra of one's own.

    Parameters
    ----------
    stored
        A search's histogram, or the spectrum of the events that pass.
    config
        `seed`, `search.fit_range`, `fit.bump`, `fit.transfer` and `fit.limit` are read.
    failed
        The spectrum of the events that do not pass; None for a search.

    Raises
    ------
    ConfigError
        The spectrum of what fails is missing, or given for a search; several tagger sets are
        named, the search has no such selection, or the fit is blinded.
    FitError
        As of `stats.transfer_factor`.
    """
    pipeline.refuse_blinded(config, "a transfer factor")
    if stored.search is not None:
        if failed is not None:
            msg = "--fail is for a spectrum of your own: in a search all other events fail"
            raise ConfigError(msg)
        return pipeline.transfer(stored.search, config, stored.single("transfer").sets[0])
    if failed is None or failed.search is not None:
        msg = (
            "a transfer factor needs the spectrum of the events that fail as well: give "
            "--fail-name NAME in the same file, or --fail FILE"
        )
        raise ConfigError(msg)
    return stats.transfer_factor(
        stored.spectra(config.fit.transfer_selection),
        failed.spectra(config.fit.transfer_selection),
        **pipeline.transfer_settings(config),
        seed=config.seed,
    )


def fit_window(
    stored: StoredHistogram, config: SearchConfig, window: tuple[float, float] | None = None
) -> stats.WindowTests | stats.WindowResult:
    """Return the tests in the windows of a search's tagger sets, or that of one spectrum.

    Parameters
    ----------
    stored
        The histogram; a method with a set a window is tested in all of them.
    config
        `seed`, `data.sqrt_s`, `search` and `fit.bump` are read.
    window
        The window [GeV], instead of that which a set was trained for, and of `search.window`.

    Returns
    -------
    Of a search, one test a window and selection; of a spectrum, one.

    Raises
    ------
    ConfigError
        The fit is blinded.
    FitError
        A spectrum does not suit the test; of a search, none of all does.
    """
    pipeline.refuse_blinded(config, "a count in a window")
    if stored.search is None:
        return stats.masked_window_test(
            stored.spectra(config.fit.bump.selection),
            window=window or config.search.window.edges,
            fit=pipeline.spectrum_fit(config, with_signal=False),
            seed=config.seed,
        )
    found = pipeline.window_tests(stored.search, config, stored.sets, window)
    if not found.tests:
        raise FitError(found.refusals[0].reason)
    return found
