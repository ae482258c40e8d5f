"""CMS NanoAOD with particle-flow candidates (PFNano), plain NanoAOD, and converted files.

What a file has decides what is read:

- `PFCands`, and `FatJetPFCands` with `pFCandsIdx` (PFNano, BTV's NanoAOD): the particles are
  clustered, or the stored AK8 jets are taken with the constituents that are linked to them.
- `PFCand`, and `FatJetPFCand` with `pfCandIdx` (NanoAOD from version 15 on): AK8 jets with their
  constituents, whose momenta hold the PUPPI weights already; of jets up to abs(eta) = 2.5.
- The same with `PFCandIdx` or `pFCandsIdx` (early versions, JME's NanoAOD): the same. Where
  there is a `PFCand_puppiWeight` as well, it scales the momenta.
- Neither (NanoAOD up to version 14): AK8 jets alone, with their `tau1` to `tau4` and `msoftdrop`.

`PFCand` may hold no more than the constituents of jets, and is never clustered. What `convert`
writes has the same columns, and beside them `eventId`, `weight` and `label`, which are then taken
as they are.

Source: the definitions PhysicsTools/NanoAOD/python/jetConstituents_cff.py and jetsAK8_cff.py of
cms-sw/cmssw, python/addPFCands_cff.py of cms-jet/PFNano, and nurfikri89/JMEPFNano-Production.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import SourceSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events import trees
from tnt_coffea.events.particles import NUMBERS, Particles, from_columns, one_an_event
from tnt_coffea.events.stored_jets import StoredJets, grouped, with_substructure

__all__ = [
    "COLLECTIONS",
    "COLUMNS",
    "FIELDS",
    "HAS_CHOICES",
    "JET_FIELDS",
    "SCALARS",
    "SCHEMA_FIELDS",
    "SUBSTRUCTURE",
    "branches",
    "columns",
    "entries",
    "holds",
    "is_mine",
    "jets",
    "load",
    "particles",
]

HAS_CHOICES = True
"""`particles` and `jets` take `SourceSettings`."""

TREE = "Events"
AK8_RADIUS = 0.8
_KINEMATICS = ("pt", "eta", "phi", "mass")
SUBSTRUCTURE = {
    **{f"tau{n}": f"tau{n}" for n in range(1, 5)},
    "soft_drop_mass": "msoftdrop",
    "c2": "c2",
    "d2": "d2",
}
"""Parts of `FatJet` by the observables that they are; the last two are of converted files."""
_INDICES = ("pfCandIdx", "PFCandIdx", "pFCandsIdx")
COLLECTIONS = {
    "PFCands": (*_KINEMATICS, "puppiWeight"),
    "FatJet": (*_KINEMATICS, *SUBSTRUCTURE.values()),
    "FatJetPFCands": ("jetIdx", "pFCandsIdx"),
    "PFCand": (*_KINEMATICS, "puppiWeight"),
    "FatJetPFCand": ("jetIdx", *_INDICES),
}
_LINKS = (
    ("PFCands", "FatJetPFCands", "pFCandsIdx"),
    *(("PFCand", "FatJetPFCand", index) for index in _INDICES),
)
"""What the constituents are and what links them to the jets: of PFNano, and of NanoAOD 15."""
SCALARS = (*NUMBERS, "genWeight", "eventId", "weight", "label", "fatJetRadius")
"""The last four are of converted files; a NanoAOD name with an underscore is a collection's."""
COLUMNS = (*SCALARS, *(f"{name}_{part}" for name, parts in COLLECTIONS.items() for part in parts))

FIELDS = frozenset({"PFCands_pt", "PFCands_eta", "PFCands_phi", "PFCands_mass"})
JET_FIELDS = frozenset(f"FatJet_{part}" for part in _KINEMATICS)
SCHEMA_FIELDS = (
    JET_FIELDS,
    frozenset({"PFCands", "run"}),
    frozenset({"PFCands", "eventId"}),
    frozenset({"FatJet", "run"}),
    frozenset({"FatJet", "eventId"}),
)


def is_mine(path: Path) -> bool:
    """Tell whether a ROOT file has a tree of events with particle-flow candidates or AK8 jets."""
    return trees.tree_holds(path, TREE, FIELDS, JET_FIELDS)


def entries(path: Path) -> int:
    """Return the number of events; raises `InputError` as `trees.entries`."""
    return trees.entries(path, TREE)


def branches(path: Path) -> frozenset[str]:
    """Return the names of the file's branches; raises `InputError` as `trees.branches`."""
    return trees.branches(path, TREE)


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return entries [start, stop) as NanoEvents, with the branches that either way needs.

    Raises
    ------
    InputError
        As `trees.read`.
    """
    return trees.nano_events(
        trees.read(
            path,
            TREE,
            (*COLUMNS, *metadata.get("optional_columns", ())),
            start,
            stop,
            metadata.get("columns", ()),
        ),
        path,
        start,
        stop,
        metadata,
    )


def holds(events: Any, collection: str, part: str) -> bool:
    """Tell whether NanoEvents have a part of a collection, under any schema."""
    return trees.holds(events, f"{collection}_{part}", collection, part)


def particles(events: Any, settings: SourceSettings | None = None) -> Particles:
    """Return the particle-flow candidates behind the common contract.

    Parameters
    ----------
    events
        NanoEvents of `PFNanoAODSchema`, `NanoAODSchema` or `BaseSchema`.
    settings
        Whether PUPPI weights scale the particles.

    Raises
    ------
    InputError
        As `from_columns`, or the file has no particles.
    """
    if not holds(events, "PFCands", "pt"):
        msg = f"{trees.where(events)}: jets without particles; there is nothing to cluster"
        raise InputError(msg)
    puppi = (settings or SourceSettings()).puppi and holds(events, "PFCands", "puppiWeight")
    return _with_stored_ids(
        from_columns(
            *(_column(events, "PFCands", part) for part in ("pt", "eta", "phi")),
            mass=_column(events, "PFCands", "mass"),
            scale=_column(events, "PFCands", "puppiWeight") if puppi else None,
            where=trees.where(events),
            **_per_event(events),
        ),
        events,
    )


def jets(events: Any, settings: SourceSettings | None = None) -> StoredJets:
    """Return the stored AK8 jets, with their constituents where the file links them.

    Parameters
    ----------
    events, settings
        As `particles`.

    Raises
    ------
    InputError
        As `from_columns`, the file has no AK8 jets, or a link leads nowhere.
    """
    where = trees.where(events)
    if not holds(events, "FatJet", "pt"):
        msg = f"{where}: the file has no AK8 jets (FatJet); cluster its particles instead"
        raise InputError(msg)
    has_particles = holds(events, "PFCands", "pt")
    made = from_columns(
        *(_column(events, "FatJet", part) for part in ("pt", "eta", "phi")),
        mass=_column(events, "FatJet", "mass"),
        where=where,
        # The event is the same one whichever way it is read, and so is its id.
        event_id=particles(events).event_id if has_particles else None,
        **_per_event(events),
    )
    if not has_particles:
        made = _with_stored_ids(made, events)
    linked = _links_of(events)
    if not np.array_equal(ak.num(made.p4), ak.num(_column(events, "FatJet", "pt"))):
        msg = f"{where}: a jet without pT among FatJet; the collection is damaged"
        raise InputError(msg)
    p4, absent = made.p4, dict[str, str]()
    if linked is None:
        p4, absent = with_substructure(p4, *_substructure(events))
    return StoredJets(
        p4=p4,
        constituents=_constituents(events, settings or SourceSettings(), linked)
        if linked
        else None,
        radius=_radius(events),
        event_id=made.event_id,
        weight=made.weight,
        label=made.label,
        numbers=made.numbers,
        absent=absent,
    )


def _substructure(events: Any) -> tuple[dict[str, ak.Array], dict[str, str]]:
    stored = {
        name: _column(events, "FatJet", part)
        for name, part in SUBSTRUCTURE.items()
        if holds(events, "FatJet", part)
    }
    return stored, {
        name: f"FatJet_{part}" for name, part in SUBSTRUCTURE.items() if name not in ("c2", "d2")
    }


def columns(events: Any) -> dict[str, ak.Array]:
    """Return what a converted file holds of these events: the columns as they are.

    Raises
    ------
    InputError
        As `particles` and `jets`.
    """
    made = particles(events) if holds(events, "PFCands", "pt") else jets(events)
    found: dict[str, Any] = {
        "eventId": made.event_id,
        "weight": made.weight,
        "label": made.label,
        **made.numbers,
    }
    if holds(events, "FatJet", "pt"):
        found["fatJetRadius"] = np.full(len(made), _radius(events), np.float32)
    constituents = holds(events, "PFCands", "pt") or _links_of(events) is not None
    for name, parts in COLLECTIONS.items():
        for part in parts:
            if constituents and name == "FatJet" and part in SUBSTRUCTURE.values():
                continue  # computed of the constituents
            if holds(events, name, part):
                dtype = np.int32 if part.endswith("Idx") else np.float32
                found[f"{name}_{part}"] = ak.values_astype(_column(events, name, part), dtype)
    return found


def _per_event(events: Any) -> dict[str, Any]:
    there = [name for name in SCALARS if name in events.fields]
    place = trees.where(events)
    values = {name: one_an_event(events[name], name, place) for name in there}
    return {
        "weight": values.get("weight", values.get("genWeight")),
        "label": values.get("label"),
        "numbers": {name: values[name] for name in NUMBERS if name in values},
    }


def _with_stored_ids(made: Particles, events: Any) -> Particles:
    """Return events of a converted file, after comparing the ids in it with its content."""
    if "eventId" not in events.fields:
        return made
    stored = one_an_event(events["eventId"], "eventId", trees.where(events)).astype(np.uint64)
    wrong = np.flatnonzero(stored != made.event_id)
    if len(wrong):
        msg = (
            f"{trees.where(events)}: the eventId of {len(wrong)} of {len(made)} events, the first "
            f"event {wrong[0]} of these entries, is not that of their content: the file was "
            "changed since it was converted. Convert it again, or leave out the column eventId"
        )
        raise InputError(msg)
    return made


def _column(events: Any, collection: str, part: str) -> ak.Array:
    column = trees.column(events, f"{collection}_{part}", collection, part)
    # A Parquet column may hold nulls by its type even where it holds none.
    return ak.drop_none(column, axis=1) if column.ndim > 1 else column


def _radius(events: Any) -> float:
    if "fatJetRadius" not in events.fields:
        return AK8_RADIUS
    radii = one_an_event(events["fatJetRadius"], "fatJetRadius", trees.where(events))
    found: npt.NDArray[np.float64] = np.unique(radii)
    return float(str(found[0])) if len(found) else AK8_RADIUS


def _links_of(events: Any) -> tuple[str, str, str] | None:
    for particles, links, index in _LINKS:
        if holds(events, particles, "pt") and holds(events, links, index):
            return particles, links, index
    return None


def _constituents(events: Any, settings: SourceSettings, linked: tuple[str, str, str]) -> ak.Array:
    import vector

    particles, links, index = linked
    parts = {part: _column(events, particles, part) for part in ("pt", "eta", "phi", "mass")}
    if settings.puppi and holds(events, particles, "puppiWeight"):
        weight = _column(events, particles, "puppiWeight")
        parts |= {part: parts[part] * weight for part in ("pt", "mass")}
    p4 = vector.zip({name: ak.values_astype(part, np.float64) for name, part in parts.items()})
    try:
        found = grouped(
            p4,
            _column(events, links, "jetIdx"),
            _column(events, links, index),
            ak.to_numpy(ak.num(_column(events, "FatJet", "pt"))).astype(np.int64),
        )
    except IndexError as error:
        msg = f"{trees.where(events)}: {error}; {links} does not belong to this file's jets"
        raise InputError(msg) from error
    return found[found.pt > 0]
