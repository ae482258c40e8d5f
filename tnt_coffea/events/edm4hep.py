"""EDM4hep ROOT, TTree or RNTuple: reconstructed particles of future colliders' software.

The momenta are those of `ReconstructedParticles`, else of `PandoraPFOs`; jets, which have the
same columns, are not taken for particles. Energy and momentum are read, the stored mass is not:
the data model sets it independently of them.

Source: of the columns, the data model `edm4hep.yaml` (key4hep/EDM4hep), versions 0.10 to 1.1,
which agree in all that is read here, and podio's names of branches.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.errors import InputError
from tnt_coffea.events import trees
from tnt_coffea.events.hdf5_table import stamp
from tnt_coffea.events.particles import Particles, checked_numbers, from_cartesian, one_an_event

__all__ = [
    "COLLECTIONS",
    "FIELDS",
    "SCHEMA_FIELDS",
    "entries",
    "is_mine",
    "load",
    "meaning",
    "particles",
]

TREE = "events"
COLLECTIONS = ("ReconstructedParticles", "PandoraPFOs")
"""The first that a file has is taken."""
PARTS = ("momentum.x", "momentum.y", "momentum.z", "energy")
HEADER = "EventHeader"
NUMBERS = {"run": "runNumber", "event": "eventNumber"}


def _field(collection: str, part: str) -> str:
    # Under coffea's BaseSchema a branch has its whole path for a name.
    return f"{collection}/{collection}.{part}"


FIELDS = frozenset(_field(COLLECTIONS[0], part) for part in PARTS)
SCHEMA_FIELDS = tuple(
    frozenset(_field(collection, part) for part in PARTS) for collection in COLLECTIONS[1:]
)


def is_mine(path: Path) -> bool:
    """Tell whether a ROOT file has a tree of podio's events with momenta and energies."""
    return trees.tree_holds(path, TREE, ()) and bool(_candidates(trees.branches(path, TREE)))


def entries(path: Path) -> int:
    """Return the number of events.

    Raises
    ------
    InputError
        As `trees.entries`, or the file has other collections than those of `COLLECTIONS`.
    """
    _collection(path)
    return trees.entries(path, TREE)


def meaning(path: Path) -> dict[str, str]:
    """Return which collection is taken, in words; raises `InputError` as `entries`."""
    taken = _collection(path)
    others = sorted(_candidates(trees.branches(path, TREE)) - {taken})
    return {
        "particles taken": taken,
        "collections left out": ", ".join(others) or "none",
        "weight column": f"{HEADER}.weight" if _is_weighted(path, stamp(path)) else "none",
    }


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return entries [start, stop) as NanoEvents.

    Raises
    ------
    InputError
        As `entries` and `trees.read`.
    """
    collection = _collection(path)
    header = [*NUMBERS.values(), *(["weight"] if _is_weighted(path, stamp(path)) else [])]
    wanted = {
        spelled: _field(name, part)
        for name, parts in ((collection, PARTS), (HEADER, header))
        for part in parts
        for spelled in _spellings(name, part)
    }
    found = trees.read(path, TREE, wanted, start, stop, metadata.get("columns", ()))
    columns = {wanted.get(name, name): column for name, column in found.items()}
    return trees.nano_events(columns, path, start, stop, metadata)


def particles(events: Any) -> Particles:
    """Return the reconstructed particles behind the common contract.

    Their identity is the content alone: there is no luminosity block, and simulated runs have
    one number.

    Parameters
    ----------
    events
        NanoEvents of `BaseSchema`.

    Raises
    ------
    InputError
        As `from_columns`, or an event has not one header.
    """
    where = trees.where(events)
    collection = next(name for name in COLLECTIONS if _field(name, PARTS[0]) in events.fields)
    numbers = {
        name: _header(events, part)
        for name, part in NUMBERS.items()
        if _field(HEADER, part) in events.fields
    }
    weighted = _field(HEADER, "weight") in events.fields
    return from_cartesian(
        *(ak.materialize(events[_field(collection, part)]) for part in PARTS),
        where=where,
        weight=_header(events, "weight") if weighted else None,
        numbers=checked_numbers(numbers, where),
    )


def _header(events: Any, part: str) -> Any:
    column = ak.materialize(events[_field(HEADER, part)])
    if column.ndim == 1:
        return one_an_event(column, f"{HEADER}.{part}", trees.where(events))
    wrong = np.flatnonzero(ak.to_numpy(ak.num(column)) != 1)
    if len(wrong):
        msg = (
            f"{trees.where(events)}: event {wrong[0]} of these entries has "
            f"{len(column[wrong[0]])} of {HEADER}, expected one; {len(wrong)} such events"
        )
        raise InputError(msg)
    return one_an_event(ak.flatten(column), f"{HEADER}.{part}", trees.where(events))


def _spellings(collection: str, part: str) -> tuple[str, str]:
    # Of a TTree's branch; of an RNTuple's field as `trees` names it.
    return f"{collection}.{part}", f"{collection}_{part.replace('.', '_')}"


def _holds(there: Collection[str], collection: str, part: str) -> bool:
    return any(spelled in there for spelled in _spellings(collection, part))


def _candidates(there: Collection[str]) -> set[str]:
    """Return the collections with momenta and energies."""
    ends = _spellings("", PARTS[0])
    names = {name.removesuffix(end) for name in there for end in ends if name.endswith(end)}
    return {name for name in names if all(_holds(there, name, part) for part in PARTS)}


def _collection(path: Path) -> str:
    there = _candidates(trees.branches(path, TREE))
    taken = next((name for name in COLLECTIONS if name in there), None)
    if taken is None:
        msg = (
            f"{path}: EDM4hep without {' or '.join(COLLECTIONS)}, which are read; it has momenta "
            f"of {', '.join(sorted(there))}. Write the particles to be clustered under one of the "
            "names that are read"
        )
        raise InputError(msg)
    return taken


@lru_cache(maxsize=64)
def _is_weighted(path: Path, when: tuple[int, ...]) -> bool:
    """Tell whether any event has a weight: podio writes 0 where nobody set one."""
    spelled = _spellings(HEADER, "weight")
    found = trees.read(path, TREE, spelled, 0, trees.entries(path, TREE))
    return any(bool(ak.any(column != 0)) for column in found.values())
