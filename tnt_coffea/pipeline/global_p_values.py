"""Everything that a search tested, and what its best test is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tnt_coffea import stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.pipeline.null_chains import BEFORE, NullChains, hunt_name
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import Trial
from tnt_coffea.stats import CountedTests
from tnt_coffea.stats.calibration import from_null_chains
from tnt_coffea.stats.results import NULL_CHAINS, TOYS
from tnt_coffea.working_points import Selection

__all__ = ["ALL_SELECTIONS", "search_p_value", "single_p_values"]

ALL_SELECTIONS = "global, all selections"
"""The p-value of a fit that counts others of its own."""
_CALIBRATION = ("fit.bump.null_chains", "fit.bump.toys", "fit.scan.toys", "fit.limit.")
"""Settings that decide where p-values come from, or limits, and no test statistic."""


def search_p_value(
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
    found += [CountedTests(name, p) for name, p in single_p_values(result).items()]
    same = {_rounded(p) for _, p in hunts.values()} | {_rounded(one.p_value) for one in found}
    # Where a fit finds nothing it has one of these, whatever was tested.
    same -= {_rounded(0.5), _rounded(1.0)}
    more = [
        p
        for trial in trials
        if trial.key != own.key and not _recalibrated(trial, own)
        for name, p in trial.p_values.items()
        if p is not None and name != ALL_SELECTIONS and _rounded(p) not in same
    ]
    return stats.global_p_value(found, other_tests=len(more), note=note)


def single_p_values(result: SearchResult) -> dict[str, float]:
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
