"""What is in a file: its source, its events, what is wrong with them, and their first dijets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import SkimSettings, TableSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events.filters import EventFilters
from tnt_coffea.events.particles import NUMBERS
from tnt_coffea.events.remote import file_of
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.events.skim import other_settings, settings_of
from tnt_coffea.events.sources import (
    SOURCES,
    branches_of,
    features_of,
    jets_of,
    particles_of,
    source_of,
)
from tnt_coffea.events.stored_jets import StoredJets
from tnt_coffea.events.table import columns_of, mapped, without_label
from tnt_coffea.events.table_files import flat_table
from tnt_coffea.processors.skim import reconstructed

__all__ = ["Inspection", "inspect_events"]

CHUNK = 1000
MOST_PROBLEMS = 10
LEAST_MASS = 50.0
"""GeV: no dijet spectrum lies below; the unit is another one."""


@dataclass(frozen=True)
class Inspection:
    """What was found in a file with events.

    Attributes
    ----------
    path
        The file.
    source
        Name in `events.sources.SOURCES`.
    entries
        Events in the file.
    read
        Events that were looked at.
    facts
        What is true of them, in words, by name.
    problems
        What a search would refuse or lose, with its place.
    notes
        What the file does not have that these settings ask for, and settings that read it.
    dijets
        (dijet,) columns of the first ones, as in a skim; none where there is none.
    """

    path: Path
    source: str
    entries: int
    read: int
    facts: Mapping[str, str]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    dijets: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


def inspect_events(
    path: str | Path, *, most: int | None = 10_000, settings: SkimSettings | None = None
) -> Inspection:
    """Return what is in a file with events, of any source.

    Parameters
    ----------
    path
        The file; it is read in chunks.
    most
        Events looked at, from the first on; None for all.
    settings
        Jets to find in the first chunk with dijets, or what a table's columns mean; the default
        ones if None.

    Raises
    ------
    InputError
        No source knows the file, or it cannot be opened.
    """
    path, settings = file_of(path), settings or SkimSettings()
    source = source_of(path) if settings.table is None else SOURCES["table"]
    name = next(name for name, module in SOURCES.items() if module is source)
    entries = source.entries(path)
    read = entries if most is None else min(entries, most)
    columns = _columns_read(path, settings) if source is SOURCES["table"] else {}
    taken = source.meaning(path) if hasattr(source, "meaning") else {}
    if source is SOURCES["skim"]:
        taken = {
            "settings": "; ".join(other_settings(settings_of(path), settings)) or "those asked for"
        }
    tally, problems = _Tally(), list[str]()
    for start in range(0, read, CHUNK):
        stop = min(start + CHUNK, read)
        try:
            tally.add(_columns(source, path, start, stop, settings))
        except InputError as error:
            problems += [str(error)] if str(error) not in problems else []
    problems += _absent_branches(name, path, settings)
    dijets, cutflow, notes = _first_dijets(source, path, read, settings)
    notes += tuple(filter(None, [without_label(settings, [path])]))
    problems = problems[:MOST_PROBLEMS] + (
        [f"and {len(problems) - MOST_PROBLEMS} more of this kind"]
        if len(problems) > MOST_PROBLEMS
        else []
    )
    facts = columns | taken | dict(tally.facts()) | cutflow
    if columns and dijets and np.median(dijets["m_jj"]) < LEAST_MASS:
        problems.append(
            f"the median of m_jj is {np.median(dijets['m_jj']):.3g} GeV; if the column is in TeV, "
            "map it as m_jj: COLUMN * 1000, and the jets' masses likewise"
        )
    problems = [*problems, *tally.problems()]
    return Inspection(path, name, entries, read, facts, tuple(problems), notes, dijets)


def _absent_branches(source: str, path: Path, settings: SkimSettings) -> list[str]:
    names = branches_of(source, path)
    filters = EventFilters(settings.filters)
    if names is None or not filters:
        return []
    try:
        filters.check(names, str(path))
    except InputError as error:
        return [str(error)]
    return []


def _columns_read(path: Path, settings: SkimSettings) -> dict[str, str]:
    with flat_table(path) as table:
        names = table.names
    used = columns_of(settings, names, str(path))
    said = mapped(settings, names, str(path)).table or TableSettings()
    return {
        "label column": f"'{said.label}'" if said.label else "none",
        "weight column": f"'{said.weight}'" if said.weight else "none",
    } | {
        what: ", ".join(found)
        for what, found in (
            ("columns read", used),
            ("columns left out", [name for name in names if name not in used]),
        )
        if found
    }


def _columns(
    source: Any, path: Path, start: int, stop: int, settings: SkimSettings
) -> dict[str, npt.NDArray[Any]]:
    import awkward as ak

    events = source.load(path, start, stop, _metadata(path, start, stop, settings))
    if source is SOURCES["skim"]:
        names = ("event_id", "weight", "label")
        return {name: np.asarray(events[name]) for name in names if name in events.fields}
    features = features_of(events, settings)
    if features is not None:
        return {
            "event_id": features.event_id,
            "weight": features.weight,
            "label": features.label,
            **features.numbers,
        }
    stored = jets_of(events, settings.source)
    found = particles_of(events, settings.source) if stored is None else stored
    counted = "particles" if stored is None else "jets"
    return {
        "event_id": found.event_id,
        "weight": found.weight,
        "label": found.label,
        counted: ak.to_numpy(ak.num(found.p4)),
        **found.numbers,
    }


def _metadata(path: Path, start: int, stop: int, settings: SkimSettings) -> dict[str, Any]:
    return {
        "dataset": "data",
        "filename": str(path),
        "entrystart": start,
        "entrystop": stop,
        "columns": settings.select.columns if settings.select else (),
        "optional_columns": EventFilters(settings.filters).columns,
    }


def _first_dijets(
    source: Any, path: Path, read: int, settings: SkimSettings
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str], tuple[str, ...]]:
    rejected: dict[str, int] = {}
    facts: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    for start in range(0, read, CHUNK):
        stop = min(start + CHUNK, read)
        try:
            events = source.load(path, start, stop, _metadata(path, start, stop, settings))
            if source is SOURCES["skim"]:
                return _quantities(sample_of(events, settings_of(path))), {}, ()
            stored = None
            if source is not SOURCES["table"]:
                stored = jets_of(events, settings.source)
            if stored is not None:
                notes = notes or _notes(events, settings, stored)
                settings = _of_stored_jets(settings, stored)
            sample, cutflow = reconstructed(events, settings)
        except InputError:
            return {}, {}, notes  # among the problems already
        for cut, n in cutflow["rejected"].items():
            rejected[cut] = rejected.get(cut, 0) + n
        cuts = (f"{n} by {cut}" for cut, n in rejected.items() if n)
        facts = {
            f"dijets in the first {stop}": f"{len(sample)}",
            "rejected there": ", ".join(cuts) or "none",
        }
        if len(sample):
            return _quantities(sample), facts, notes
    return {}, facts, notes


def _notes(events: Any, settings: SkimSettings, jets: StoredJets) -> tuple[str, ...]:
    try:
        reconstructed(events, settings)
    except InputError as error:
        bare = jets.constituents is None
        features = ", images: null, observables: [pt, eta, phi, mass]" if bare else ""
        methods = ". Methods must then read features (columns), not images" if bare else ""
        return (
            f"the file has jets of anti-kt with R = {jets.radius:g} alone, "
            f"{'without' if bare else 'with'} constituents; a search with the settings given ends "
            f"in: {error}. Settings that read it: "
            f"skim: {{jets: {{radius: {jets.radius:g}}}{features}}}{methods}",
        )
    return ()


def _of_stored_jets(settings: SkimSettings, jets: StoredJets) -> SkimSettings:
    # Jets that are given are of their own radius, and without constituents have no more.
    chosen = {"jets": settings.jets.model_copy(update={"radius": jets.radius})}
    if jets.constituents is not None:
        return settings.model_copy(update=chosen)
    return settings.model_copy(
        update={**chosen, "images": None, "observables": ("pt", "eta", "phi", "mass")}
    )


def _quantities(sample: Sample) -> dict[str, npt.NDArray[Any]]:
    order = np.argsort(sample.event_id)
    return {name: column[order] for name, column in sample.columns.items()}


class _Tally:
    """Adds up chunks."""

    def __init__(self) -> None:
        self.chunks: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        for name, column in columns.items():
            self.chunks.setdefault(name, []).append(column)

    def _all(self, name: str) -> npt.NDArray[Any] | None:
        return np.concatenate(self.chunks[name]) if name in self.chunks else None

    def facts(self) -> Iterator[tuple[str, str]]:
        label, weight = map(self._all, ("label", "weight"))
        for name in ("particles", "jets"):
            counts = self._all(name)
            if counts is not None and len(counts):
                low, median, high = np.percentile(counts, (0, 50, 100)).astype(int)
                yield f"{name} per event", f"{low} to {high}, median {median}"
        for name in NUMBERS:
            numbers = self._all(name)
            if numbers is not None and len(numbers):
                yield name, f"{numbers.min()} to {numbers.max()}"
        if label is not None:
            yield "labels", _labels(label)
        if weight is not None and len(weight):
            same = np.ptp(weight) == 0
            yield (
                "weights",
                f"all {weight[0]:g}"
                if same
                else f"{weight.min():g} to {weight.max():g}, sum {weight.sum():g}",
            )

    def problems(self) -> Iterator[str]:
        event_id, counts = self._all("event_id"), self._all("particles")
        if event_id is not None and (again := len(event_id) - len(np.unique(event_id))):
            yield f"{again} events are copies of others in this file"
        if counts is not None and (empty := int((counts == 0).sum())):
            yield f"{empty} events have no particle; they are rejected by any_particle and counted"


def _labels(label: npt.NDArray[Any]) -> str:
    known = {1: "signal", 0: "background", -1: "unknown"}
    found = ((name, int((label == value).sum())) for value, name in known.items())
    return ", ".join(f"{n} {name}" for name, n in found if n)
