"""The stage `fit`: from histograms to p-values and limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from tnt_coffea import seeds, stats
from tnt_coffea.config import SearchConfig, digest
from tnt_coffea.config.fits import AUTO
from tnt_coffea.errors import ConfigError, FitError, StageError
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.estimates import direct, transfer
from tnt_coffea.pipeline.fit_settings import (
    check_efficiencies,
    check_made_with,
    check_masses,
    fit_from_lower_edge,
    limit_systematics,
    produced_share,
    refuse_blinded,
    search_fit,
    spectrum_fit,
    with_limit_refused,
)
from tnt_coffea.pipeline.folders import VERSIONS, begun, fit_stage, one_writer
from tnt_coffea.pipeline.global_p_values import (
    all_selections,
    events_in_fit_range,
    global_p,
    trial,
    with_trials,
)
from tnt_coffea.pipeline.null_chains import (
    BEFORE,
    NullChains,
    fit_values,
    hunt_name,
    null_chains_of,
)
from tnt_coffea.products import Histograms
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import (
    note_config,
    noted_sources,
)
from tnt_coffea.stages import Stage, check_files
from tnt_coffea.stats.signals import ALL
from tnt_coffea.stats.spectrum import rebinned
from tnt_coffea.working_points import Selection, WorkingPoints, selection_name

__all__ = [
    "OVERALL",
    "fit",
    "scan",
    "standing_fit",
    "window_tests",
    "windows_by_method",
]

T = TypeVar("T")

OVERALL = "overall"
"""Name of the scan over all tagger sets, where others have that of a set or a method."""


@one_writer
def fit(
    histograms: Histograms,
    config: SearchConfig,
    *,
    out: str | Path | None = None,
) -> SearchResult:
    """Return p-values and limits: before and after selection, ABCD and other estimates, windows.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `seed`, `search` and `fit` are read.
    out
        Folder of the search, for `fit/result.json` and the list of tests made, `fits.json`;
        nothing is written without it. The fit of before, if it was another, goes with its report
        once this one has succeeded.

    Raises
    ------
    FitError
        The spectrum of all dijets cannot be fitted. What another cannot be tested for is among
        the result's `refusals`.
    ConfigError
        These are no histograms of a search, or of one with another seed or `search`; or the
        null chains lack a tagger set, or are of other settings; or `fit.blind` is set.
    InputError
        The null chains cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import tnt_coffea as tnt
    >>> from tnt_coffea import SearchConfig, testing
    >>> text = "{train: {methods: {mass: {kind: feature}}}, fit: {limit: {enabled: false}}}"
    >>> config, sample = SearchConfig.from_text(text), testing.make_sample(2000)
    >>> with TemporaryDirectory() as out:
    ...     histograms = tnt.search(sample, tnt.train(sample, config, out=out), config, out=out)
    >>> result = fit(histograms, config)
    >>> result.before.converged, sorted(result.after), sorted(result.abcd)
    (True, ['mass'], ['mass'])
    """
    check_types(histograms=(histograms, Histograms), config=(config, SearchConfig))
    check_made_with(histograms, config)
    refuse_blinded(config, "a fit of all events")
    if out is None:
        found, own = _fitted(histograms, config), trial(histograms, config, "fit", {})
        return replace(found, global_p=global_p(found, histograms, config, (), own))
    given, config = config, _own_chains(config, out)
    stage = fit_stage(histograms, config, out)
    result = _standing(stage)
    if result is None:
        # Until the new result is there, the old one and its report stand with their settings.
        started = time.monotonic()
        result = _fitted(histograms, config)
        # Before the result is there to be looked at.
        kept = with_trials(result, histograms, config, out)
        # The file follows from events and settings alone: it counts no looks beside its own tests.
        alone = global_p(result, histograms, config, (), trial(histograms, config, "fit", {}))
        stage.clear()
        begun(stage, None)
        replace(kept, global_p=replace(alone, note="")).save(stage.folder / "result.json")
        stage.finish({}, seconds=time.monotonic() - started)
        note_config(out, given)
        return kept
    return with_trials(result, histograms, config, out)


def standing_fit(histograms: Histograms, config: SearchConfig, out: str | Path) -> SearchResult:
    """Return the result of `fit` in a search's folder, with the tests that were made there.

    Nothing is written.

    Raises
    ------
    StageError
        There is none of these histograms and settings, or it was changed.
    ConfigError
        The histograms are of a search with another seed or `search`.
    """
    check_made_with(histograms, config)
    config = _own_chains(config, out)
    stage = fit_stage(histograms, config, out)
    if stage.finished() is None:
        msg = f"{stage.folder}: no result of these settings here; run `tnt-coffea fit` first"
        raise StageError(msg)
    result = SearchResult.load(stage.folder / "result.json")
    return with_trials(result, histograms, config, out, read_only=True)


def _own_chains(config: SearchConfig, out: str | Path) -> SearchConfig:
    """Return the settings without the package's null chains where taggers are from elsewhere.

    Chains train their own, which is what makes the combination of folds too wide.
    """
    if config.fit.bump.null_chains != AUTO or "taggers" not in noted_sources(out):
        return config
    bump = config.fit.bump.model_copy(update={"null_chains": None})
    return config.model_copy(update={"fit": config.fit.model_copy(update={"bump": bump})})


def _standing(stage: Stage) -> SearchResult | None:
    """Return the result of this very stage, if it stands complete and unchanged."""
    try:
        if stage.finished() is None:
            return None
        check_files(stage.folder)
        return SearchResult.load(stage.folder / "result.json")
    except StageError:  # of other settings, or damaged: it takes seconds to make
        return None


def _fitted(histograms: Histograms, config: SearchConfig) -> SearchResult:
    hists = histograms.hists
    if not hists:
        msg = "no histogram to fit: the search was made without tagger sets"
        raise ConfigError(msg)
    points = histograms.points
    selected = {
        name: stats.selected_spectrum(h, points[name][config.fit.bump.selection])
        for name, h in hists.items()
    }
    tested = {BEFORE: stats.inclusive_spectrum(next(iter(hists.values()))), **selected}
    check_efficiencies(config.fit.limit.efficiencies, tested)
    check_masses(histograms, config)
    chains = null_chains_of(config, events_in_fit_range(histograms, config))
    fits, made = _Fits(histograms, config, chains), _Made()
    hunts = {BEFORE: fits.hunt(tested[BEFORE], BEFORE)}
    for name, spectra in selected.items():
        made.keep(hunts, "bump hunt", name, fits.hunt, spectra, name)
    scans: dict[str, stats.ScanResult] = {}
    alone = len(hists) < 2 or config.fit.scan.global_over == "none"  # no scan over all sets
    each = bool(config.fit.scan.masses) and (config.fit.scan.each or alone)
    if each:
        for name, hunt in hunts.items():
            made.keep(scans, "scan", name, fits.scan, tested[name], name, hunt)
    limits: dict[str, stats.LimitResult | stats.LimitRefusal] = {}
    if config.fit.limit.enabled:
        limits = {name: fits.limit(tested[name], name, hunt) for name, hunt in hunts.items()}
    impacts = {
        name: fits.impacts(tested[name], name, hunt)
        for name, hunt in hunts.items()
        if hunt.nuisances
    }
    bands = {}
    if limits:
        bands = {
            name: fits.band(tested[name], name, found, hunts[name]) for name, found in scans.items()
        }
    if each:
        _scan_windows(histograms, config, scans, made)
    estimates: dict[str, stats.AbcdResult | stats.AbcdRefusal] = {}
    for name, h in hists.items():
        made.keep(estimates, "ABCD", name, fits.abcd, h, points[name], name)
    predictions: dict[str, stats.DirectEstimate | stats.DirectRefusal] = {}
    for name, weights in histograms.provenance.get("weighted_by", {}).items():
        if name not in histograms.simulation:
            predictions[name] = stats.DirectRefusal(
                f"the search read no simulation to weight with '{weights}': give it with "
                "--simulation"
            )
    for name, reason in histograms.provenance.get("without_template", {}).items():
        predictions[name] = stats.DirectRefusal(reason)
    for name in histograms.simulation:
        made.keep(predictions, "direct estimate", name, direct, histograms, config, name)
    transfers: dict[str, stats.TransferEstimate | stats.TransferRefusal] = {}
    for name in hists if config.fit.transfer.enabled else ():
        made.keep(transfers, "transfer factor", name, transfer, histograms, config, name)
    counted: dict[str, stats.WindowTests] = {}
    if config.fit.window.enabled:
        for method, names in windows_by_method(histograms).items():
            tests = window_tests(histograms, config, names)
            made.refusals.extend(tests.refusals)
            if tests.tests:
                counted[method] = replace(tests, refusals=())
    return SearchResult(
        before=hunts.pop(BEFORE),
        after=hunts,
        scans=scans,
        overall=_overall(histograms, config),
        limits=limits,
        limit_bands=bands,
        impacts=impacts,
        abcd=estimates,
        direct=predictions,
        transfer=transfers,
        window=counted,
        refusals=tuple(made.refusals),
        provenance={
            **histograms.provenance,
            "fit_settings": digest(fit_values(config)),
            "seed": config.seed,
            "versions": {name: version(name) for name in VERSIONS},
        },
    )


def scan(
    histograms: Histograms,
    config: SearchConfig,
    selections: Mapping[str, tuple[str, Selection]],
    *,
    before: bool = False,
    in_windows: bool = True,
    masses: Sequence[float] = (),
    toys: int | None = None,
    seed: int | None = None,
    cross_check: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> stats.ScanResult:
    """Return local p-values over masses in all selections, and one global p-value.

    The toys keep which events the selections share, as the search pass counted them.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `seed`, `search.fit_range` and `fit` are read.
    selections
        Tagger set and its selection, by a name of their own.
    before
        Whether the spectrum of all dijets is scanned with them, under the name 'before'.
    in_windows
        Whether a set that was trained for a window is searched only for the masses in it.
    masses, toys, seed
        Instead of those of the settings.
    cross_check
        As for `stats.scan`.
    progress
        Called with the toys that are done, and all of them.

    Raises
    ------
    ConfigError
        There are no masses, or one that is outside those of the signals; the search lacks a
        selection, or `fit.blind` is set.
    StageError
        Several selections, and the search has not kept what they share.
    FitError
        A selection cannot be fitted.
    TaggerError
        The search lacks a tagger set.
    """
    check_types(histograms=(histograms, Histograms), config=(config, SearchConfig))
    refuse_blinded(config, "a scan")
    masses = masses or config.fit.scan.masses
    if not masses:
        msg = "a scan needs masses: give --masses LOW HIGH STEP, or fit.scan.masses"
        raise ConfigError(msg)
    check_masses(histograms, config, masses)
    first = next(iter(histograms.hists))
    spectra: dict[str, Any] = {}
    if before:
        spectra[BEFORE] = {ALL: stats.inclusive_spectrum(histograms.hists[first])}
    spectra |= {
        name: stats.selected_spectrum(
            histograms.hists[set_name], histograms.points[set_name][selection]
        )
        for name, (set_name, selection) in selections.items()
    }
    tested: dict[str, tuple[str, Selection | None]] = {
        **({BEFORE: (first, None)} if before else {}),
        **selections,
    }
    root = config.seed if seed is None else seed
    fits, left_out = {}, []
    for name, of in tested.items():
        try:
            own = search_fit(histograms, config, *of)
            fits[name] = fit_from_lower_edge({name: spectra[name]}, config, seed=root, fit=own)
        except FitError as error:
            if len(tested) == 1:
                raise
            left_out.append(f"{name} is not searched: {error}")
    if not fits:
        raise FitError("; ".join(left_out))
    spectra = {name: own for name, own in spectra.items() if name in fits}
    selections = {name: of for name, of in selections.items() if name in fits}
    before = before and BEFORE in fits
    # All from the highest lower edge that one of them asks for.
    fit = max(fits.values(), key=lambda own: own.range[0])
    fits = {name: replace(own, range=fit.range) for name, own in fits.items()}
    chains = null_chains_of(config, events_in_fit_range(histograms, config))
    windows, overlap = {}, None
    if len(spectra) > 1:
        if histograms.coincidences is None:
            msg = (
                "this search was made before the events that selections share were kept: search "
                "again (--overwrite), or scan one tagger set"
            )
            raise StageError(msg)
        chosen = histograms.coincidences.selections([own for own, _ in selections.values()])
        if in_windows:
            windows = {
                name: own.window for name, own in zip(selections, chosen, strict=True) if own.window
            }
        channels = next(iter(spectra.values()))
        edges = rebinned("scan", next(iter(channels.values())), fit).edges
        inclusive = {BEFORE: (first, spectra[BEFORE][ALL].values())} if before else None
        overlap = histograms.coincidences.shared_events(selections, edges, inclusive)
    result = stats.scan(
        spectra,
        masses=masses,
        width=config.fit.bump.width,
        fit=fit,
        windows=windows or None,
        fits=fits,
        overlap=overlap,
        toys=config.fit.scan.toys if toys is None else toys,
        seed=root,
        null_chains=_of_chains(chains, config, {BEFORE: (BEFORE, None), **selections}, masses)
        if toys is None
        else None,
        cross_check=cross_check,
        progress=progress,
    )
    result = replace(result, notes=(*result.notes, *left_out))
    return replace(result, tried=_tried(result, selections)) if len(tested) > 1 else result


def _of_chains(
    chains: NullChains | None,
    config: SearchConfig,
    selections: Mapping[str, tuple[str, Selection | None]],
    masses: Sequence[float],
) -> dict[tuple[str, float], tuple[float, ...]]:
    """Return q0 of null chains, by the name of a selection and mass, of those there are."""
    found = {
        (name, float(mass)): chains.q0.get(hunt_name(config, set_name, selection, mass), ())
        for name, (set_name, selection) in selections.items()
        for mass in masses
        if chains is not None
    }
    return {key: q0 for key, q0 in found.items() if q0}


def _overall(
    histograms: Histograms, config: SearchConfig
) -> stats.ScanResult | stats.ScanRefusal | None:
    """Return one scan of all tagger sets and all dijets, where there are several sets."""
    settings = config.fit.scan
    if len(histograms.hists) < 2 or settings.global_over == "none":
        return None
    try:
        return scan(
            histograms,
            config,
            all_selections(histograms, config, every=settings.global_over == "all"),
            before=True,
            # At the one mass of the bump hunts every set was tested, whatever its window.
            in_windows=bool(settings.masses),
            masses=settings.masses or (config.signal_mass,),
            seed=seeds.integer(config.seed, "fit", "scan", OVERALL),
        )
    except (FitError, StageError) as error:
        # The p-values stand without it.
        return stats.ScanRefusal(str(error))


def _tried(result: stats.ScanResult, selections: Mapping[str, tuple[str, Selection]]) -> str:
    """Return in words what a scan tried."""
    names = {point.selection for point in result.points}
    sets = [set_name for name, (set_name, _) in selections.items() if name in names]
    each = {sets.count(name) for name in sets}
    texts = [_counted(len(set(sets)), "tagger set")] if sets else []
    if each - {1}:
        texts = (
            [f"{texts[0]} x {_counted(each.pop(), 'selection')}"]
            if len(each) == 1
            else [f"{_counted(len(sets), 'selection')} of {texts[0]}"]
        )
    if BEFORE in names:
        texts.append("all dijets")
    masses = _counted(len({point.mass for point in result.points}), "mass", "masses")
    return f"{' and '.join(texts)}, {masses}"


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def window_tests(
    histograms: Histograms,
    config: SearchConfig,
    names: Sequence[str],
    window: tuple[float, float] | None = None,
) -> stats.WindowTests:
    """Count the events in the windows of tagger sets, against fits of the bins beside them.

    Every selection of each set is tested, and all dijets in its window. The folds, each with
    the share of its events that its taggers select, are one spectrum.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `seed`, `search` and `fit.bump` are read.
    names
        The tagger sets.
    window
        Instead of the window that a set was trained for, or of `search.window` [GeV].

    Returns
    -------
    Tests by window, and why others could not be made.

    Raises
    ------
    ConfigError
        `fit.blind` is set.

    Source
    ------
    arXiv:2101.08320, section 4.1.
    """
    refuse_blinded(config, "a count in a window")
    fit, coincidences = spectrum_fit(config, with_signal=False), histograms.coincidences
    own = {} if coincidences is None else {one.name: one.window for one in coincidences.sets}
    windows = {name: window or own.get(name) or config.search.window.edges for name in names}
    tests: list[stats.WindowTest] = []
    made = _Made()
    for name in sorted(names, key=lambda one: windows[one]):
        selections = (None, *histograms.points[name].selections)
        for selection in selections:
            of = f"{name} {'all dijets' if selection is None else selection_name(selection)}"
            found: dict[str, stats.WindowResult] = {}
            made.keep(
                found,
                "window test",
                of,
                stats.masked_window_test,
                _one_spectrum(histograms, name, selection),
                window=windows[name],
                fit=fit,
                seed=seeds.integer(config.seed, "fit", "window", of),
            )
            tests += [stats.WindowTest(name, selection, one) for one in found.values()]
    return stats.WindowTests(tuple(tests), tuple(made.refusals))


def _one_spectrum(histograms: Histograms, name: str, selection: Selection | None) -> Any:
    """Return the spectrum of a selection, or of all dijets, its folds together."""
    histogram = histograms.hists[name]
    if selection is None:
        return stats.inclusive_spectrum(histogram)
    point = histograms.points[name][selection]
    return stats.selected_spectrum(histogram, point, per_fold=False)["all"]


def windows_by_method(histograms: Histograms) -> dict[str, tuple[str, ...]]:
    """Return the tagger sets that are one method in several windows, by its name.

    A set that stands alone has its own name.
    """
    coincidences = histograms.coincidences
    windows = {} if coincidences is None else {own.name: own.window for own in coincidences.sets}
    sets: dict[str, list[str]] = {}
    for name in sorted(histograms.hists):
        window = windows.get(name)
        of_window = "" if window is None else f"-{window[0]:g}-{window[1]:g}"
        sets.setdefault(name.removesuffix(of_window), []).append(name)
    return {
        (method if len(names) > 1 else names[0]): tuple(names) for method, names in sets.items()
    }


@dataclass(frozen=True)
class _Made:
    """Tests of a search, one after the other: what one cannot be made of does not end the rest."""

    refusals: list[stats.FitRefusal] = field(default_factory=list)

    def keep(
        self,
        results: dict[str, T],
        test: str,
        name: str,
        function: Callable[..., T],
        *arguments: Any,
        **options: Any,
    ) -> None:
        """Make a test, and keep its result or why there is none."""
        try:
            results[name] = function(*arguments, **options)
        except FitError as error:
            self.refusals.append(stats.FitRefusal(test, name, str(error)))


@dataclass(frozen=True)
class _Fits:
    """The tests of one spectrum, or of one plane, with the settings of a search."""

    histograms: Histograms
    config: SearchConfig
    chains: NullChains | None = None

    def fit_of(self, name: str) -> stats.SpectrumFit:
        """Return how the spectrum of a tagger set, or of all dijets, is fitted."""
        first = next(iter(self.histograms.hists))
        own, selection = (first, None) if name == BEFORE else (name, self.config.fit.bump.selection)
        return search_fit(self.histograms, self.config, own, selection)

    def hunt(self, channels: Any, name: str) -> stats.BumpHuntResult:
        bump = self.config.fit.bump
        return stats.bump_hunt(
            channels,
            mass=self.config.signal_mass,
            width=bump.width,
            fit=self.fit_of(name),
            toys=bump.toys,
            seed=seeds.integer(self.config.seed, "fit", "bump", name),
            lower_edges=bump.lower_edges,
            lowest_edge=bump.lowest_edge,
            null_chains=() if self.chains is None else self.chains.of(name),
        )

    def scan(self, channels: Any, name: str, hunt: stats.BumpHuntResult) -> stats.ScanResult:
        return stats.scan(
            {name: channels},
            masses=self.config.fit.scan.masses,
            width=self.config.fit.bump.width,
            fit=self._from_edge_of(name, hunt),
            toys=self.config.fit.scan.toys,
            seed=seeds.integer(self.config.seed, "fit", "scan", name),
            null_chains=_of_chains(
                self.chains,
                self.config,
                {name: (name, self.config.fit.bump.selection if name != BEFORE else None)},
                self.config.fit.scan.masses,
            ),
        )

    def impacts(
        self, channels: Any, name: str, hunt: stats.BumpHuntResult
    ) -> tuple[stats.NuisanceImpact, ...] | stats.ImpactRefusal:
        try:
            return stats.nuisance_impacts(
                channels,
                mass=hunt.mass,
                width=hunt.width,
                fit=self._from_edge_of(name, hunt),
            )
        except FitError as error:
            return stats.ImpactRefusal(str(error))

    def limit(
        self, channels: Any, name: str, hunt: stats.BumpHuntResult
    ) -> stats.LimitResult | stats.LimitRefusal:
        try:
            return stats.upper_limit(
                channels,
                mass=hunt.mass,
                fit=self._from_edge_of(name, hunt),
                toys=self.config.fit.limit.toys,
                seed=seeds.integer(self.config.seed, "fit", "limit", name),
                **self._limited(name),
            )
        except FitError as error:
            # The p-values stand without it.
            return stats.LimitRefusal(str(error))

    def band(
        self, channels: Any, name: str, scan: stats.ScanResult, hunt: stats.BumpHuntResult
    ) -> tuple[stats.LimitResult, ...]:
        masses = [point.mass for point in scan.points]
        fit = self._from_edge_of(name, hunt)
        return stats.limit_band(channels, masses=masses, fit=fit, **self._limited(name))

    def _from_edge_of(self, name: str, hunt: stats.BumpHuntResult) -> stats.SpectrumFit:
        """Return the fit from the lower edge of a hunt, which may have chosen its own."""
        return replace(self.fit_of(name), range=hunt.fit_range)

    def _limited(self, name: str) -> dict[str, Any]:
        limit = self.config.fit.limit
        given = limit.efficiencies.get(name)
        efficiency = produced_share(self.config, given, selected=name != BEFORE)
        luminosity = None if efficiency is None else self.config.data.luminosity
        return {
            "width": self.config.fit.bump.width,
            "level": limit.level,
            "efficiency": efficiency,
            "luminosity": luminosity,
        }

    def abcd(
        self, histogram: Any, points: WorkingPoints, name: str
    ) -> stats.AbcdResult | stats.AbcdRefusal:
        abcd, search, limit = self.config.fit.abcd, self.config.search, self.config.fit.limit
        systematics, refused = limit_systematics(
            self.histograms, self.config, name, abcd.selection, search.window.edges
        )
        found = stats.abcd_in_window(
            histogram,
            points[abcd.selection],
            search.background_quantile,
            search.fit_range.edges,
            search.window.edges,
            systematic_floor=abcd.systematic,
            closure_limit=abcd.closure_limit,
            seed=seeds.integer(self.config.seed, "fit", "abcd", name),
            level=None if systematics is None else limit.level,
            limit_toys=limit.toys,
            systematics=systematics,
        )
        return with_limit_refused(found, refused)


def _scan_windows(
    histograms: Histograms,
    config: SearchConfig,
    scans: dict[str, stats.ScanResult],
    made: _Made,
) -> None:
    """Make one scan of all windows of each method that has several."""
    selection = config.fit.bump.selection
    for method, names in windows_by_method(histograms).items():
        if len(names) > 1:
            windows = {name: (name, selection) for name in names}
            seed = seeds.integer(config.seed, "fit", "scan", method)
            made.keep(scans, "scan", method, scan, histograms, config, windows, seed=seed)
