"""Which source a file belongs to, by its content, and which adapter its events need.

A source is a module with `is_mine`, `entries`, `load` and `FIELDS`; one that holds
particles has `particles` as well, one that holds jets has `jets`, one that holds features of
dijets has `features`. Where coffea's schemas
give its fields other names, those are in `SCHEMA_FIELDS`. A new source is one such module
and a line here.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from tnt_coffea.config import JetsFrom, SkimSettings, SourceSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events import (
    aspen,
    delphes,
    edm4hep,
    hepmc,
    lhco,
    parquet,
    pfnano,
    physlite,
    skim,
    table,
    trees,
)
from tnt_coffea.events.particles import Particles
from tnt_coffea.events.remote import file_of
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.stored_jets import StoredJets

__all__ = [
    "SOURCES",
    "adapter_of",
    "branches_of",
    "features_of",
    "jets_of",
    "particles_of",
    "source_of",
]

SOURCES: dict[str, ModuleType] = {
    "aspen": aspen,
    "lhco": lhco,
    "skim": skim,
    "pfnano": pfnano,
    "delphes": delphes,
    "physlite": physlite,
    "edm4hep": edm4hep,
    "hepmc": hepmc,
    "parquet": parquet,
    "table": table,
}


_READ = f"tnt_coffea reads {', '.join(SOURCES)}"
_ROOT_READ = (
    f"Of a ROOT file the tree '{pfnano.TREE}' is read, with {', '.join(sorted(pfnano.FIELDS))} or "
    f"{', '.join(sorted(pfnano.JET_FIELDS))}; '{delphes.TREE}', with "
    f"{', '.join(delphes.PT_OF)}; {' or '.join(map(repr, physlite.TREES))}, with "
    f"AnalysisLargeRJetsAuxDyn; '{edm4hep.TREE}', with {' or '.join(edm4hep.COLLECTIONS)}"
)


def source_of(path: str | Path) -> ModuleType:
    """Return the source module of a file.

    Raises
    ------
    InputError
        There is no such file, it cannot be read, or no source knows its content.
    """
    path = file_of(path)
    try:
        for source in SOURCES.values():
            if source.is_mine(path):
                return source
    except OSError as error:
        msg = f"{path}: cannot be opened: {error.strerror or error}"
        raise InputError(msg) from error
    with path.open("rb") as file:
        start = file.read(64)
    hints = [source.hint(path) for source in SOURCES.values() if hasattr(source, "hint")]
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        hints.append("a web page, HTML, that came in place of the file: download it again")
    found = "".join(f" ({hint})" for hint in hints if hint)
    hint = f"{found}; {_READ}" if start else f": it is empty (0 bytes). {_READ}"
    if start.startswith(b"root"):
        hint = f": {trees.contents(path)}. {_ROOT_READ}"
    msg = (
        f"{path}: the content is of no known source{hint}. Of a table of features skim.table "
        "says which column is which"
    )
    raise InputError(msg)


def branches_of(source: str, path: str | Path) -> frozenset[str] | None:
    """Return the names of a file's columns; None of parts of a skim, which are taken as they are.

    Parameters
    ----------
    source
        Name in `SOURCES`.
    path
        A file of this source. Of one without columns of its own, as of the LHC Olympics, the
        names are those that its events have.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    module = SOURCES[source]
    if module is skim:
        return None
    if not hasattr(module, "branches"):
        return frozenset((*module.FIELDS, "label", "weight"))
    names: frozenset[str] = module.branches(file_of(path))
    return names


def adapter_of(events: Any) -> ModuleType:
    """Return the source module whose adapters fit NanoEvents, by the fields they have.

    Raises
    ------
    InputError
        No adapter knows these fields.
    """
    fields = set(events.fields)
    for source in SOURCES.values():
        if not (hasattr(source, "particles") or hasattr(source, "jets")):
            continue
        if any(fields >= known for known in (source.FIELDS, *getattr(source, "SCHEMA_FIELDS", ()))):
            return source
    msg = (
        f"no source has the fields {sorted(fields)[:12]}; tnt_coffea reads {', '.join(SOURCES)}. "
        "Of a table of features skim.table says which column is which"
    )
    raise InputError(msg)


def features_of(events: Any, settings: SkimSettings) -> Sample | None:
    """Return the dijets of a table of features, None where the events are anything else.

    Parameters
    ----------
    events
        NanoEvents of any source.
    settings
        Of the skim; with `table` the events are a table whatever their fields are called.

    Raises
    ------
    InputError, ConfigError
        As `table.features`.
    """
    if settings.table is None:
        fields = set(events.fields)
        others = (source for source in SOURCES.values() if source not in (skim, table))
        if table.recognised(fields) is None or any(fields >= source.FIELDS for source in others):
            return None
    return table.features(events, settings)


def particles_of(events: Any, settings: SourceSettings | None = None) -> Particles:
    """Return the particles of NanoEvents of any source.

    Parameters
    ----------
    events
        NanoEvents under `BaseSchema` or the source's own schema of coffea.
    settings
        What to choose where the source leaves a choice.

    Raises
    ------
    InputError
        No adapter knows these fields, the source has no particles, or a value is impossible.
    """
    source = adapter_of(events)
    if not hasattr(source, "particles"):
        msg = f"{trees.where(events)}: jets without particles; there is nothing to cluster"
        raise InputError(msg)
    adapted: Particles = _adapted(source, "particles", events, settings)
    return adapted


def jets_of(events: Any, settings: SourceSettings | None = None) -> StoredJets | None:
    """Return the jets of the file where they are asked for or are all there is, else None.

    Parameters
    ----------
    events, settings
        As `particles_of`.

    Raises
    ------
    InputError
        As `particles_of`, or the jets asked for are not there.
    """
    source = adapter_of(events)
    wanted = (settings or SourceSettings()).jets is JetsFrom.FILE
    if not wanted and _has_particles(source, events):
        return None
    if not hasattr(source, "jets"):
        msg = f"{trees.where(events)}: no jets are stored there; cluster the particles instead"
        raise InputError(msg)
    adapted: StoredJets = _adapted(source, "jets", events, settings)
    return adapted


def _has_particles(source: ModuleType, events: Any) -> bool:
    if source is pfnano:  # plain NanoAOD has the jets alone
        return pfnano.holds(events, "PFCands", "pt")
    return hasattr(source, "particles")


def _adapted(source: ModuleType, what: str, events: Any, settings: SourceSettings | None) -> Any:
    adapter = getattr(source, what)
    return adapter(events, settings) if getattr(source, "HAS_CHOICES", False) else adapter(events)
