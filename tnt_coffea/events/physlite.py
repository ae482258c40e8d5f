"""ATLAS DAOD_PHYSLITE: large-radius jets (MeV to GeV), without constituents.

The jets are the calibrated `AnalysisLargeRJets`, anti-kt with R = 1.0 and groomed by the
experiment. Taggers of images need constituents and cannot be used; taggers of features can: the
decorations give N-subjettiness (`Tau1_wta` to `Tau4_wta`, axes as our own by default) and the
ratios `C2` and `D2`, or the energy correlators `ECF1` to `ECF3` that these are made of. A ratio
without a denominator is -999 there and 0 here. Jets of pT 0, of which grooming left nothing, are
left out: the cut `two_jets` counts an event without two others.

Source: decorations of a public DAOD_PHYSLITE, where D2 = ECF3 ECF1^3 / ECF2^3 and
C2 = ECF3 ECF1 / ECF2^2 to 1e-7 (beta = 1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.events import trees
from tnt_coffea.events.particles import from_columns, one_an_event
from tnt_coffea.events.pfnano import SUBSTRUCTURE
from tnt_coffea.events.stored_jets import StoredJets, with_substructure

__all__ = ["COLUMNS", "FIELDS", "SCHEMA_FIELDS", "columns", "entries", "is_mine", "jets", "load"]

TREES = ("CollectionTree", "EventData")
"""A TTree; and the RNTuple of newer files, which has a colon where the TTree has a dot."""
RADIUS = 1.0
_GEV = 1e-3
_JETS, _EVENT = "AnalysisLargeRJetsAuxDyn", "EventInfoAuxDyn"
_OF_SCHEMA = {_JETS: "LargeRJets", _EVENT: "EventInfo"}
_NUMBERS = {"run": "runNumber", "luminosityBlock": "lumiBlock", "event": "eventNumber"}
_KINEMATICS = ("pt", "eta", "phi", "m")
_SUBSTRUCTURE = {
    **{f"tau{n}": f"Tau{n}_wta" for n in range(1, 5)},
    **{f"tau{n + 1}{n}": f"Tau{n + 1}{n}_wta" for n in range(1, 4)},
    "c2": "C2",
    "d2": "D2",
}
"""Decorations of the jets by the observables that they are."""
_CORRELATORS = ("ECF1", "ECF2", "ECF3")
FIELDS = frozenset(f"{_JETS}.{part}" for part in _KINEMATICS)
COLUMNS = (
    *sorted(FIELDS),
    *(f"{_JETS}.{name}" for name in (*_SUBSTRUCTURE.values(), *_CORRELATORS)),
    *(f"{_EVENT}.{name}" for name in (*_NUMBERS.values(), "mcEventWeights")),
)
SCHEMA_FIELDS = (frozenset(_OF_SCHEMA.values()),)


def is_mine(path: Path) -> bool:
    """Tell whether a ROOT file has an ATLAS tree with calibrated large-radius jets."""
    alternatives = (FIELDS, {name.replace(".", ":") for name in FIELDS})
    return any(trees.tree_holds(path, tree, *alternatives) for tree in TREES)


def entries(path: Path) -> int:
    """Return the number of events; raises `InputError` as `trees.entries`."""
    return trees.entries(path, _tree(path))


def branches(path: Path) -> frozenset[str]:
    """Return the names of the file's branches; raises `InputError` as `trees.branches`."""
    return trees.branches(path, _tree(path))


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return entries [start, stop) as NanoEvents; raises `InputError` as `trees.read`."""
    tree = _tree(path)
    there = trees.branches(path, tree)
    names = {name: name if name in there else name.replace(".", ":") for name in COLUMNS}
    also = metadata.get("columns", ())
    found = trees.read(path, tree, names.values(), start, stop, also)
    ours = {theirs: name for name, theirs in names.items()}
    columns = {ours.get(name, name): column for name, column in found.items()}
    return trees.nano_events(columns, path, start, stop, metadata)


def _tree(path: Path) -> str:
    return next((tree for tree in TREES if trees.branches(path, tree)), TREES[0])


def jets(events: Any) -> StoredJets:
    """Return the large-radius jets in GeV.

    Parameters
    ----------
    events
        NanoEvents of `PHYSLITESchema` or `BaseSchema`.

    Raises
    ------
    InputError
        As `from_columns`.
    """
    there = ak.values_astype(_decoration(events, "pt") * _GEV, np.float32) != 0
    pt, eta, phi, mass = (_decoration(events, part)[there] for part in _KINEMATICS)
    made = from_columns(
        pt * _GEV,
        eta,
        phi,
        mass=mass * _GEV,
        where=trees.where(events),
        weight=_weight(events),
        numbers={
            name: one_an_event(trees.column(events, *place), theirs, trees.where(events))
            for name, theirs in _NUMBERS.items()
            if trees.holds(events, *(place := _place(_EVENT, theirs)))
        },
    )
    p4, absent = with_substructure(made.p4, *_substructure(events, there))
    return StoredJets(
        p4=p4,
        constituents=None,
        radius=RADIUS,
        event_id=made.event_id,
        weight=made.weight,
        label=made.label,
        numbers=made.numbers,
        absent=absent,
    )


def _substructure(events: Any, there: ak.Array) -> tuple[dict[str, ak.Array], dict[str, str]]:
    wanted = (*_SUBSTRUCTURE.values(), *_CORRELATORS)
    found = {
        part: _decoration(events, part)[there]
        for part in wanted
        if trees.holds(events, *_place(_JETS, part))
    }
    stored = {name: found[part] for name, part in _SUBSTRUCTURE.items() if part in found}
    if found.keys() >= set(_CORRELATORS):
        one, two, three = (found[part] for part in _CORRELATORS)
        scale = ak.where(one > 0, one, 1.0)
        stored["e2"], stored["e3"] = two / scale**2, three / scale**3
    named = {name: f"{_JETS}.{theirs}" for name, theirs in _SUBSTRUCTURE.items()}
    for ratio in ("c2", "d2"):
        named[ratio] += f", or {', '.join(_CORRELATORS)}"
    return stored, named


def columns(events: Any) -> dict[str, Any]:
    """Return what a converted file holds of these events; raises `InputError` as `jets`."""
    made = jets(events)
    return {
        "eventId": made.event_id,
        "weight": made.weight,
        "label": made.label,
        **made.numbers,
        "fatJetRadius": np.full(len(made), RADIUS, np.float32),
        **{
            f"FatJet_{part}": ak.values_astype(getattr(made.p4, part), np.float32)
            for part in ("pt", "eta", "phi", "mass")
        },
        **{
            f"FatJet_{part}": ak.values_astype(made.p4[name], np.float32)
            for name, part in SUBSTRUCTURE.items()
            if name in made.p4.fields
        },
    }


def _place(collection: str, part: str) -> tuple[str, str, str]:
    return f"{collection}.{part}", _OF_SCHEMA[collection], part


def _decoration(events: Any, part: str) -> ak.Array:
    return ak.values_astype(trees.column(events, *_place(_JETS, part)), np.float64)


def _weight(events: Any) -> Any:
    place = _place(_EVENT, "mcEventWeights")
    if not trees.holds(events, *place):
        return None
    weights = trees.column(events, *place)
    # The first is the nominal one; collision data have none. Event by event: whether others of a
    # work item have one must not matter.
    if weights.ndim > 1:
        weights = ak.fill_none(ak.firsts(weights), 1.0)
    return one_an_event(weights, "mcEventWeights", trees.where(events))
