"""Everything that a search tested, and what its best test is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tnt_coffea import stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.pipeline.null_chains import (
    BEFORE,
    NullChains,
    fit_values,
    hunt_name,
    null_chains_of,
    why_no_null_chains,
)
from tnt_coffea.products import Histograms
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import Trial, note_trial, noted_trials
from tnt_coffea.stages import flat
from tnt_coffea.stats import CountedTests
from tnt_coffea.stats.calibration import from_null_chains
from tnt_coffea.stats.results import NULL_CHAINS, TOYS
from tnt_coffea.working_points import Selection, selection_name

__all__ = [
    "all_selections",
    "events_in_fit_range",
    "global_p",
    "scan_p_values",
    "trial",
    "with_trials",
]

_ALL_SELECTIONS = "global, all selections"
"""The p-value of a fit that counts others of its own."""
_NOTHING = (0.5, 1.0)
"""Where a fit finds nothing it has one of these, whatever was tested."""
_CALIBRATION = ("fit.bump.null_chains", "fit.bump.toys", "fit.scan.toys", "fit.limit.")
"""Settings that decide where p-values come from, or limits, and no test statistic."""


def with_trials(
    result: SearchResult,
    histograms: Histograms,
    config: SearchConfig,
    out: str | Path,
    *,
    read_only: bool = False,
) -> SearchResult:
    """Note a result of `fit` among the tests made on a search, and return it with all of them.

    Parameters
    ----------
    result
        Of these histograms and settings.
    histograms, config
        Of the search.
    out
        Its folder.
    read_only
        Whether nothing is written.
    """
    hunts = {BEFORE: result.before, **result.after}
    p_values: dict[str, float | None] = {name: hunt.p_value for name, hunt in hunts.items()}
    p_values |= _single_p_values(result)
    for name, found in result.scans.items():
        p_values |= scan_p_values(f"scan, {name}", found)
    if isinstance(result.overall, stats.ScanResult):
        p_values[_ALL_SELECTIONS] = result.overall.p_global
    own = trial(histograms, config, "fit", p_values)
    if not read_only:
        note_trial(out, own)
    trials = noted_trials(out, own.data)
    keys = [one.key for one in trials]
    return replace(
        result,
        trials=trials,
        trial=1 + keys.index(own.key) if own.key in keys else 0,
        global_p=global_p(result, histograms, config, trials, own),
    )


def global_p(
    result: SearchResult,
    histograms: Histograms,
    config: SearchConfig,
    trials: Sequence[Trial],
    own: Trial,
) -> stats.GlobalPValue:
    """Return the p-value over all that was tested on the same data.

    Parameters
    ----------
    result
        Of these histograms and settings.
    histograms, config
        Of the search.
    trials
        All tests on the same data.
    own
        The one that the result is.
    """
    events = events_in_fit_range(histograms, config)
    every = config.fit.scan.global_over == "all"
    selections = {BEFORE: (BEFORE, None), **all_selections(histograms, config, every=every)}
    chains, why = null_chains_of(config, events), why_no_null_chains(config, events)
    return _search_p_value(result, config, selections, chains, trials, own, why)


def trial(
    histograms: Histograms,
    config: SearchConfig,
    test: str,
    p_values: Mapping[str, float | None],
    of: str = "",
    **options: Any,
) -> Trial:
    """Return a test that was made on a search, for its list.

    Parameters
    ----------
    histograms
        What was tested.
    config
        `seed`, `search` and `fit` are noted.
    test
        `fit`, `bump`, `scan`, `limit`, `retrained limit`, `abcd`, `direct`, `transfer` or
        `window`.
    p_values
        What came out, by what was tested.
    of
        The tagger set or selection, where it was one.
    options
        What decided the outcome beside the settings, such as masses.
    """
    settings = {
        "data": {"sqrt_s": config.data.sqrt_s},
        "fit": fit_values(config),
        "search": config.search.model_dump(mode="json"),
        "seed": config.seed,
        "histograms": histograms.digest,
        **options,
    }
    data = str(histograms.provenance.get("skim", histograms.digest))
    return Trial(test, of, data, flat(settings), dict(p_values))


def scan_p_values(name: str, scan: stats.ScanResult) -> dict[str, float]:
    """Return the p-values of a scan for the list of tests: the global one, else every local one.

    Parameters
    ----------
    name
        What the global one is called.
    scan
        The scan; without toys and null chains it has no global p-value, and each of its masses
        might have been picked.

    Examples
    --------
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> spectrum = stats.toy_spectrum(5000)
    >>> found = stats.scan(spectrum, masses=[3500, 3700], width=240, fit=fit, toys=0)
    >>> list(scan_p_values("scan, tnt", found))
    ['scan, tnt, all at 3500 GeV', 'scan, tnt, all at 3700 GeV']
    """
    if scan.p_global is not None:
        return {name: scan.p_global}
    return {
        f"{name}, {point.selection} at {point.mass:g} GeV": point.p_local for point in scan.points
    }


def all_selections(
    histograms: Histograms, config: SearchConfig, *, every: bool
) -> dict[str, tuple[str, Selection]]:
    """Return tagger set and selection of all sets of a search, by names for a scan.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `fit.bump` is read.
    every
        Whether every selection of each set is meant, not only that of `fit.bump`.
    """
    if not every:
        return {name: (name, config.fit.bump.selection) for name in histograms.hists}
    return {
        f"{name} {selection_name(selection)}": (name, selection)
        for name in histograms.hists
        for selection in histograms.points[name].selections
    }


def events_in_fit_range(histograms: Histograms, config: SearchConfig) -> float:
    """Return the dijets of a search in `search.fit_range`.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `search.fit_range` is read.
    """
    spectrum = stats.inclusive_spectrum(next(iter(histograms.hists.values())))
    edges, (low, high) = spectrum.axes[0].edges, config.search.fit_range.edges
    inside = (edges[:-1] >= low) & (edges[1:] <= high)
    return float(spectrum.values()[inside].sum())


def _search_p_value(
    result: SearchResult,
    config: SearchConfig,
    selections: dict[str, tuple[str, Selection | None]],
    chains: NullChains | None,
    trials: Sequence[Trial],
    own: Trial,
    note: str = "",
) -> stats.GlobalPValue:
    """Return the p-value of a search over all tests of its result, and those beside it.

    Bump hunts and scans have one p-value together: the share of null chains whose largest q0 over
    these tests reaches that of the data; else that of toys which keep the events that selections
    share (`overall`); else each counts by itself. All other tests count by themselves.

    Parameters
    ----------
    result
        The tests.
    config
        `fit.bump` and `search.window` are read.
    selections
        Tagger set and selection by the names of the scan over all of them.
    chains
        Null chains of these settings, if there are any.
    trials
        All tests on the same data. What has a p-value of the result's own to the last digit, or
        settings that say only where p-values come from, is the same test.
    own
        The one that the result is.
    note
        Why there are no chains.
    """
    hunts = dict(_hunts(result, config, selections))
    maxima = None if chains is None else chains.together(hunts)
    found: list[CountedTests] = []
    if maxima is not None:
        q0 = max(q0 for q0, _ in hunts.values())
        p_value = from_null_chains(q0, maxima.max(axis=1).tolist()).p_value
        found.append(CountedTests("all bump hunts", p_value, len(hunts), NULL_CHAINS))
    else:
        found += _without_chains(result, config, selections)
    found += [CountedTests(name, p) for name, p in _single_p_values(result).items()]
    same = {_rounded(p) for _, p in hunts.values()} | {_rounded(one.p_value) for one in found}
    same -= set(map(_rounded, _NOTHING))
    more = [
        p
        for trial in trials
        if trial.key != own.key and not _recalibrated(trial, own)
        for p in _once(trial)
        if _rounded(p) not in same
    ]
    return stats.global_p_value(found, other_tests=len(more), note=note)


def _once(trial: Trial) -> list[float]:
    """Return the p-values of a trial, each once: a scan has the mass of the hunt as well."""
    every = [p for name, p in trial.p_values.items() if p is not None and name != _ALL_SELECTIONS]
    found = {_rounded(p): p for p in every if p not in _NOTHING}
    return [*found.values(), *(p for p in every if p in _NOTHING)]


def _single_p_values(result: SearchResult) -> dict[str, float]:
    """Return the p-values of all tests that are neither bump hunts nor scans, by their names."""
    found = {
        f"ABCD, {name}": test.p_value
        for name, test in result.abcd.items()
        if isinstance(test, stats.AbcdResult)
    }
    found |= {
        f"direct estimate, {name}": test.p_value
        for name, test in result.direct.items()
        if isinstance(test, stats.DirectEstimate)
    }
    found |= {
        f"transfer factor, {name}": test.p_value
        for name, test in result.transfer.items()
        if isinstance(test, stats.TransferEstimate)
    }
    return found | {
        f"window {test.result.window[0]:g}-{test.result.window[1]:g} GeV, "
        + ("all dijets" if test.selection is None else f"{test.taggers} {test.selected}"): (
            test.result.p_poisson
        )
        for tests in result.window.values()
        for test in tests.tests
    }


def _hunts(
    result: SearchResult,
    config: SearchConfig,
    selections: dict[str, tuple[str, Selection | None]],
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield name, q0 and p-value of every bump hunt; those of scans may be made several times."""
    for scan, of in _scans(result, selections).values():
        for point in scan.points:
            name = hunt_name(config, *of.get(point.selection, (point.selection, None)), point.mass)
            yield name, (point.z_asymptotic**2, point.p_local)
    for name, hunt in {BEFORE: result.before, **result.after}.items():
        yield hunt_name(config, name), (hunt.q0, hunt.p_value)


def _scans(
    result: SearchResult, selections: dict[str, tuple[str, Selection | None]]
) -> dict[str, tuple[stats.ScanResult, dict[str, tuple[str, Selection | None]]]]:
    """Return all scans, that over everything first, with what the names of selections mean."""
    found: dict[str, tuple[stats.ScanResult, dict[str, tuple[str, Selection | None]]]] = {}
    if isinstance(result.overall, stats.ScanResult):
        found["all selections together"] = (result.overall, selections)
    return found | {f"scan, {name}": (scan, {}) for name, scan in result.scans.items()}


def _without_chains(
    result: SearchResult,
    config: SearchConfig,
    selections: dict[str, tuple[str, Selection | None]],
) -> Iterator[CountedTests]:
    """Yield bump hunts and scans without null chains: what has one global p-value is one."""
    covered: set[str] = set()
    hunts = {BEFORE: result.before, **result.after}
    of_hunts = {hunt_name(config, name): hunt.p_value for name, hunt in hunts.items()}
    for what, (scan, of) in _scans(result, selections).items():
        own = {
            hunt_name(config, *of.get(point.selection, (point.selection, None)), point.mass): (
                point.p_local
            )
            for point in scan.points
        }
        if own.keys() <= covered:
            continue
        covered |= own.keys()
        number = len(scan.points)
        summed = min(1.0, number * min(of_hunts.get(name, p) for name, p in own.items()))
        no_toy = scan.p_global_is_bound and scan.experiments == TOYS
        if scan.p_global is None or (no_toy and summed < scan.p_global):
            # Where no toy reached the data, both are the most that it can be.
            yield CountedTests(what, summed, number, f"the smallest times {number}")
        else:
            yield CountedTests(what, scan.p_global, number, scan.experiments)
    for name, hunt in hunts.items():
        if hunt_name(config, name) not in covered:
            yield CountedTests(f"bump hunt, {name}", hunt.p_value, 1, hunt.calibration)


def _recalibrated(trial: Trial, own: Trial) -> bool:
    """Tell whether two fits made the same tests, with p-values from elsewhere."""
    names = trial.differs_from(own)
    return trial.test == own.test and all(name.startswith(_CALIBRATION) for name in names)


def _rounded(p: float) -> str:
    return f"{p:.10g}"
