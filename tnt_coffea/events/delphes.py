"""Delphes ROOT: energy-flow tracks, photons and neutral hadrons.

Files from before Delphes 3.5 have no `Mass` of tracks; their tracks are massless, as the
towers always are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak

from tnt_coffea.errors import InputError
from tnt_coffea.events import trees
from tnt_coffea.events.particles import Particles, from_columns, one_an_event

__all__ = ["COLUMNS", "FIELDS", "SCHEMA_FIELDS", "entries", "is_mine", "load", "particles"]

TREE = "Delphes"
PT_OF = {"EFlowTrack": "PT", "EFlowPhoton": "ET", "EFlowNeutralHadron": "ET"}
_KINEMATICS = {(name, part) for name, pt in PT_OF.items() for part in (pt, "Eta", "Phi")}
_OPTIONAL = {("EFlowTrack", "Mass"), ("Event", "Number"), ("Event", "Weight")}
# Under coffea's BaseSchema a branch has its whole path for a name.
COLUMNS = {f"{name}.{part}": f"{name}/{name}.{part}" for name, part in _KINEMATICS | _OPTIONAL}
FIELDS = frozenset(f"{name}/{name}.{part}" for name, part in _KINEMATICS)
SCHEMA_FIELDS = (frozenset(PT_OF),)


def is_mine(path: Path) -> bool:
    """Tell whether a ROOT file has a Delphes tree with energy-flow objects."""
    return trees.tree_holds(path, TREE, {f"{name}.{part}" for name, part in _KINEMATICS})


def entries(path: Path) -> int:
    """Return the number of events; raises `InputError` as `trees.entries`."""
    return trees.entries(path, TREE)


def branches(path: Path) -> frozenset[str]:
    """Return the names of the file's branches; raises `InputError` as `trees.branches`."""
    return trees.branches(path, TREE)


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return entries [start, stop) as NanoEvents; raises `InputError` as `trees.read`."""
    found = trees.read(path, TREE, COLUMNS, start, stop, metadata.get("columns", ()))
    columns = {COLUMNS.get(name, name): column for name, column in found.items()}
    return trees.nano_events(columns, path, start, stop, metadata)


def particles(events: Any) -> Particles:
    """Return tracks, photons and neutral hadrons, in that order, behind the common contract.

    Their identity is the content alone: `Event.Number` starts again in every file.

    Parameters
    ----------
    events
        NanoEvents of `DelphesSchema` or `BaseSchema`.

    Raises
    ------
    InputError
        As `from_columns`, or some events have a number and others none.
    """
    pt, eta, phi, mass = (
        ak.concatenate(parts, axis=1)
        for parts in zip(*(_kinematics(events, name) for name in PT_OF), strict=True)
    )
    number = _first(events, "Number")
    return from_columns(
        pt,
        eta,
        phi,
        mass=mass,
        where=trees.where(events),
        weight=_first(events, "Weight", 1.0),
        numbers={} if number is None else {"event": number},
    )


def _kinematics(events: Any, name: str) -> list[ak.Array]:
    parts = (PT_OF[name], "Eta", "Phi")
    pt, eta, phi = (trees.column(events, *_place(name, part)) for part in parts)
    mass_at = _place(name, "Mass")
    towers = name != "EFlowTrack" or not trees.holds(events, *mass_at)
    mass = ak.zeros_like(pt) if towers else trees.column(events, *mass_at)
    # A tower whose energy the tracks account for is kept with no energy and an eta of 999.9.
    filled = pt != 0
    return [column[filled] for column in (pt, eta, phi, mass)]


def _place(name: str, part: str) -> tuple[str, str, str]:
    return f"{name}/{name}.{part}", name, part


def _first(events: Any, part: str, absent: float | None = None) -> Any:
    # The event's own record is a list of one in the file, and may be flat under a schema.
    if not trees.holds(events, *_place("Event", part)):
        return None
    column = trees.column(events, *_place("Event", part))
    if column.ndim > 1:
        if absent is not None:
            return ak.fill_none(ak.firsts(column), absent)
        lacking = ak.to_numpy(ak.num(column)) == 0
        if lacking.all():
            return None
        if lacking.any():
            msg = (
                f"{trees.where(events)}: event {int(lacking.argmax())} of these entries has no "
                f"Event.{part}, and others have; {int(lacking.sum())} such events"
            )
            raise InputError(msg)
        column = column[:, 0]
    return one_an_event(column, f"Event.{part}", trees.where(events))
