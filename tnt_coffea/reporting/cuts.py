"""From all events to the selected ones, cut by cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.reporting.wording import percent
from tnt_coffea.stats.search_histogram import mass_bins, passing_bins, score_plane

__all__ = ["Step", "cutflow", "selection_flow"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Step:
    """What is left behind a cut.

    Attributes
    ----------
    cut
        Its name.
    events
        Left behind it; weighted where a histogram is counted.
    of_previous, of_all
        Shares; None where there was nothing before.
    """

    cut: str
    events: float
    of_previous: float | None
    of_all: float | None


def cutflow(account: Accounting) -> tuple[Step, ...]:
    """Return a pass as steps: all events, those that could be read, those behind each cut."""
    left = account.events
    counts = [("events in", left)]
    if account.n_lost:
        left -= account.n_lost
        counts.append(("could be read", left))
    for cut, n in account.rejected.items():
        left -= n
        counts.append((cut, left))
    return _steps([*counts, ("selected", account.selected)])


def selection_flow(
    histogram: Any,
    thresholds: Mapping[float, Mapping[int, float]],
    fit_range: Range,
    window: Range,
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return what selections by a tagger set keep in the fit range, and in the window.

    Parameters
    ----------
    histogram
        As `SearchProcessor` fills it.
    thresholds
        X by efficiency and fold. They are nested: a smaller efficiency keeps part of a larger.
    fit_range, window
        Ranges in m_jj [GeV], edges of the histogram's axis.

    Raises
    ------
    FitError
        The histogram lacks an axis or an edge.
    """
    plane = score_plane(histogram)

    def flow(mass_range: Range) -> tuple[Step, ...]:
        bins = mass_bins(plane, mass_range)
        counts = [("no selection", float(plane.counts[:, bins].sum()))]
        for efficiency, points in sorted(thresholds.items(), reverse=True):
            kept = 0.0
            for index, fold in enumerate(plane.folds):
                heavy, light = passing_bins(plane, points, fold)
                kept += float(plane.counts[index, bins, heavy:, light:].sum())
            counts.append((f"{percent(efficiency)} selection", kept))
        return _steps(counts)

    return flow(fit_range), flow(window)


def _steps(counts: list[tuple[str, Any]]) -> tuple[Step, ...]:
    first = counts[0][1]
    before = [None, *(events for _, events in counts[:-1])]
    return tuple(
        Step(
            cut=cut,
            events=events,
            of_previous=events / previous if previous else None,
            of_all=events / first if first else None,
        )
        for (cut, events), previous in zip(counts, before, strict=True)
    )
