"""Two searches side by side: settings that differ, p-values, and events that both select."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import SearchConfig
from tnt_coffea.reporting.summary import SummaryRow, summary
from tnt_coffea.results import SearchResult

if TYPE_CHECKING:
    from rich.console import Group

__all__ = [
    "ComparedSearch",
    "SearchComparison",
    "SelectedOverlap",
    "TestPair",
    "search_comparison",
    "search_comparison_table",
]

EventIds = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class ComparedSearch:
    """One of two searches.

    Attributes
    ----------
    name
        How it is called here, as its folder.
    config, result
        Its settings and its tests.
    events
        (event,) ids of all dijets in the fit range; None where its events are not at hand.
    selected
        (event,) ids of those that pass the selection of `fit.bump`, by tagger set.
    """

    name: str
    config: SearchConfig
    result: SearchResult
    events: EventIds | None
    selected: Mapping[str, EventIds]


@dataclass(frozen=True)
class TestPair:
    """One test in both searches, as text; empty where a search does not have it.

    Attributes
    ----------
    test, taggers
        What was tested, and on the selection of which tagger set.
    first, second
        `Z`, `p`, `signal` and `simulation` of either search; the last one is what the taggers
        used beside the data.
    """

    __test__ = False  # no class of tests

    test: str
    taggers: str
    first: Mapping[str, str]
    second: Mapping[str, str]


@dataclass(frozen=True)
class SelectedOverlap:
    """The events that two selections share.

    Attributes
    ----------
    first, second
        The tagger sets.
    n_first, n_second, both
        Events that either selects, of those that both searches have, and that both select.
    by_chance
        Events that independent selections would share.
    """

    first: str
    second: str
    n_first: int
    n_second: int
    both: int
    by_chance: float


@dataclass(frozen=True)
class SearchComparison:
    """Two searches side by side.

    Attributes
    ----------
    names
        Of the searches.
    settings
        Those that differ: values of either search by dotted name; None where it has none.
    tests
        Every test of either.
    n_first, n_second, common
        Dijets in the fit range of either search, and of both; None where they are not at hand.
    overlaps
        Of every tagger set of the first with every one of the second.
    """

    names: tuple[str, str]
    settings: Mapping[str, tuple[Any, Any]]
    tests: tuple[TestPair, ...]
    n_first: int | None = None
    n_second: int | None = None
    common: int | None = None
    overlaps: tuple[SelectedOverlap, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def search_comparison(first: ComparedSearch, second: ComparedSearch) -> SearchComparison:
    """Return two searches side by side; no truth is used.

    Parameters
    ----------
    first, second
        The searches; their events are told by their ids, so the files need not be the same.
    """
    both = (first, second)
    flat = [_flat(one.config.model_dump(mode="json")) for one in both]
    rows = [
        {(_named(row), row.selection): row for row in summary(one.result, one.config).rows}
        for one in both
    ]
    made = SearchComparison(
        names=(first.name, second.name),
        settings={
            name: (flat[0].get(name), flat[1].get(name))
            for name in dict.fromkeys([*flat[0], *flat[1]])
            if flat[0].get(name) != flat[1].get(name)
        },
        tests=tuple(
            TestPair(*key, *(_cells(own.get(key)) for own in rows))
            for key in dict.fromkeys([*rows[0], *rows[1]])
        ),
    )
    if first.events is None or second.events is None:
        return made
    common = np.intersect1d(first.events, second.events)
    chosen = [
        {name: np.intersect1d(ids, common) for name, ids in one.selected.items()} for one in both
    ]
    return SearchComparison(
        made.names,
        made.settings,
        made.tests,
        len(first.events),
        len(second.events),
        len(common),
        tuple(
            SelectedOverlap(
                one,
                other,
                len(ids),
                len(other_ids),
                len(np.intersect1d(ids, other_ids)),
                len(ids) * len(other_ids) / max(len(common), 1),
            )
            for one, ids in chosen[0].items()
            for other, other_ids in chosen[1].items()
        ),
    )


def _named(row: SummaryRow) -> str:
    """Return the name of a test; window tests are several of one tagger set, one a selection."""
    return f"{row.test}, {row.kept}" if row.test == "window test" else row.test


def search_comparison_table(comparison: SearchComparison) -> Group:
    """Return two searches side by side for a `rich` console."""
    from rich.console import Group
    from rich.text import Text

    from tnt_coffea.reporting.terminal import plain_table

    first, second = comparison.names
    lines: list[Any] = [Text(f"A: {first}\nB: {second}\n")]
    settings = plain_table("Settings that differ", ("setting", "A", "B"))
    for name, values in comparison.settings.items():
        settings.add_row(*map(Text, (name, *("-" if v is None else str(v) for v in values))))
    lines.append(settings if comparison.settings else Text("All settings are the same.\n"))
    columns = ("Z", "p", "signal")
    tests = plain_table(
        "Tests",
        ("test", "taggers", "simulation used"),
        tuple(f"{name} {c}" for name in "AB" for c in columns),
    )
    for pair in comparison.tests:
        cells = (own.get(name, "-") for own in (pair.first, pair.second) for name in columns)
        known = dict.fromkeys(own["simulation"] for own in (pair.first, pair.second) if own)
        tests.add_row(*map(Text, (pair.test, pair.taggers, ", ".join(known) or "-", *cells)))
    lines.append(tests)
    if comparison.common is None:
        lines.append(Text("Selected events: not compared, their skims or taggers are not there."))
        return Group(*lines)
    overlaps = plain_table(
        f"Selected events, of {comparison.common:,} dijets in both fit ranges "
        f"({comparison.n_first:,} in A, {comparison.n_second:,} in B)",
        ("taggers of A", "taggers of B"),
        ("A", "B", "both", "by chance"),
    )
    for one in comparison.overlaps:
        counts = (f"{one.n_first:,}", f"{one.n_second:,}", f"{one.both:,}", f"{one.by_chance:.1f}")
        overlaps.add_row(*map(Text, (one.first, one.second, *counts)))
    lines.append(overlaps)
    return Group(*lines)


def _cells(row: SummaryRow | None) -> dict[str, str]:
    if row is None:
        return {}
    known = row.knowledge or "-"
    return {"Z": row.z, "p": row.p_value, "signal": row.signal, "simulation": known}


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, Mapping) or not values:
        return {prefix: values}
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return found
