"""Upper limits as rows of a table and as figures over the mass; impacts on the signal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tnt_coffea.reporting.figures import Plot, Section
from tnt_coffea.reporting.hypotheses import brazil_band, impacts
from tnt_coffea.reporting.wording import set_name, with_article
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.results import ImpactRefusal, LimitRefusal, LimitResult

__all__ = ["LimitRow", "impact_plots", "limit_plots", "limit_rows"]


@dataclass(frozen=True)
class LimitRow:
    """One upper limit, in one unit, as a row of a table.

    Attributes
    ----------
    selection
        By which taggers.
    kept
        Share of events selected.
    observed, expected
        Upper limit on the signal, and what background alone would give, with the range
        that it has in 68 % of cases; a dash where it was refused.
    unit
        'events' selected, or 'fb' produced.
    calibration
        How it was calibrated, or 'refused'.
    notes
        Numbers of what must be known before quoting it.
    """

    selection: str
    kept: str
    observed: str
    expected: str
    unit: str
    calibration: str
    notes: tuple[int, ...]


def limit_rows(
    name: str, kept: str, found: LimitResult | LimitRefusal, notes: list[str]
) -> Iterator[LimitRow]:
    """Yield a limit as rows, one a unit.

    Parameters
    ----------
    name
        Of the tagger set; 'before' is the spectrum of all dijets.
    kept
        Share of events that a set selects.
    found
        The limit.
    notes
        All notes of a table, to which its own are added.
    """
    selection, kept = ("none", "100 %") if name == "before" else (set_name(name), kept)
    texts = (found.reason,) if isinstance(found, LimitRefusal) else found.notes
    numbers = tuple(range(len(notes) + 1, len(notes) + 1 + len(texts)))
    notes += [f"limit, {selection}: {text}" for text in texts]
    if isinstance(found, LimitRefusal):
        yield LimitRow(selection, kept, "-", "-", "events", "refused", numbers)
        return
    kind = f"{found.toys} toys" if found.toys else found.calibration
    values = [("events", found.observed, found.expected)]
    if found.observed_cross_section is not None and found.expected_cross_section is not None:
        values.append(("fb", found.observed_cross_section, found.expected_cross_section))
    for unit, observed, expected in values:
        band = f"{expected[2]:.3g} ({expected[1]:.3g} to {expected[3]:.3g})"
        yield LimitRow(selection, kept, f"{observed:.3g}", band, unit, kind, numbers)


def limit_plots(result: SearchResult) -> Iterator[Plot]:
    """Yield a figure of the limits over the masses of every scan."""
    for name, band in result.limit_bands.items():
        # A line needs two masses.
        if len(band) < 2:
            continue
        chosen = _chosen(name)
        left_out = len(result.scans[name].points) - len(band) if name in result.scans else 0
        few = f" {left_out} masses of the scan, where they do not hold, are left out."
        yield Plot(
            f"limits-{name}",
            f"Upper limits over the mass: {chosen}",
            "CLs upper limits on the signal by the asymptotic formulae, with the bands of one and "
            f"two standard deviations that background alone would give.{few if left_out else ''}",
            brazil_band(band, f"Upper limits, {chosen}"),
            [limit.to_dict() for limit in band],
            Section.MASS,
            f"Observed and expected upper limits on the signal in {chosen} at {len(band)} masses "
            f"from {band[0].mass:g} to {band[-1].mass:g} GeV.",
        )


def impact_plots(result: SearchResult) -> Iterator[Plot]:
    """Yield a figure of the nuisance parameters of every bump hunt that has some."""
    for name, rows in result.impacts.items():
        if isinstance(rows, ImpactRefusal):  # among the notes of the tests
            continue
        chosen = _chosen(name)
        largest = max(rows, key=lambda row: max(abs(row.up), abs(row.down)))
        yield Plot(
            f"impacts-{name}",
            f"Impacts on the signal: {chosen}",
            "Points: best value and uncertainty of every nuisance parameter. Bars: change of the "
            "signal where it is held one of these uncertainties above or below, all else fitted "
            "again; outlines: one uncertainty of its constraint.",
            impacts(rows, f"Impacts, {chosen}"),
            [row.to_dict() for row in rows],
            Section.MASS,
            f"Pulls and impacts of {len(rows)} nuisance parameters in {chosen}; the largest impact "
            f"is that of {largest.name}, {largest.up:+.1f} and {largest.down:+.1f} events.",
        )


def _chosen(name: str) -> str:
    return "all dijets" if name == "before" else f"the selection by {with_article(name)}"
