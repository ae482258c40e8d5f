"""AspenOpenJets HDF5: single jets of CMS open data, put together to events.

A row is an AK8 jet: `event_info` (run, luminosity block, event), `jet_kinematics` (pT, eta, phi,
mass after soft drop) and `PFCands` (up to 150 of px, py, pz, E, ..., PUPPI weight). Entries here
are events: all jets of one run, luminosity block and event number, by falling pT, wherever their
rows are in the file. An event of which one jet alone was stored is an entry too; whatever asks
for two jets rejects and counts it. An event that is divided between two files is two such.

The mass is the groomed one, 0 where grooming left nothing (-1 in the file). Taggers' scores and
impact parameters are not read.

Source: arXiv:2412.10504, doi:10.25592/uhhfdm.16505.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import SourceSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events import hdf5_table, trees
from tnt_coffea.events.particles import NUMBERS, checked_numbers, from_columns
from tnt_coffea.events.pfnano import AK8_RADIUS
from tnt_coffea.events.stored_jets import StoredJets
from tnt_coffea.events.table_files import check_filters

__all__ = ["FIELDS", "HAS_CHOICES", "columns", "entries", "is_mine", "jets", "load", "meaning"]

HAS_CHOICES = True
"""`jets` takes `SourceSettings`."""

_INFO, _JETS, _CANDIDATES = "event_info", "jet_kinematics", "PFCands"
_JET_PARTS = ("pt", "eta", "phi", "softdrop_mass")
_PARTS = {"px": 0, "py": 1, "pz": 2, "energy": 3, "puppi_weight": 10}
"""Of a candidate: columns that are read, of 11."""
FIELDS = frozenset(
    {*(f"jet_{part}" for part in _JET_PARTS), *(f"candidate_{part}" for part in _PARTS)}
)
_EXPECTED = f"jets of AspenOpenJets: {_INFO}, {_JETS}, {_CANDIDATES}"
_EXACT_IN_FLOAT32 = 1 << 24


def is_mine(path: Path) -> bool:
    """Tell whether an HDF5 file has the three data sets that make events of jets."""
    if not hdf5_table.is_hdf5(path):
        return False
    try:
        with hdf5_table.opened(path, _EXPECTED) as file:
            return all(isinstance(file.get(n), h5py.Dataset) for n in (_INFO, _JETS, _CANDIDATES))
    except InputError:
        return False


def entries(path: Path) -> int:
    """Return the number of events, those with one jet too.

    Raises
    ------
    InputError
        The file is not readable, has no jet, or data sets of other shapes; or events cannot be
        told apart.
    """
    return len(_index(path, hdf5_table.stamp(path))[1]) - 1


def meaning(path: Path) -> dict[str, str]:
    """Return how the jets make events, in words; raises `InputError` as `entries`."""
    order, ends = _index(path, hdf5_table.stamp(path))
    alone = int((np.diff(ends) == 1).sum())
    apart = int((np.diff(order) != 1).sum())
    return {
        "jets": f"{len(order)}, of which {alone} are alone in their event",
        "jets of an event": "neighbours in the file" if not apart else "apart in the file",
        "jet mass": "after soft drop",
    }


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return events [start, stop) as NanoEvents.

    Raises
    ------
    InputError
        As `entries`, or the rows cannot be unpacked.
    """
    order, ends = _index(path, hdf5_table.stamp(path))
    if stop >= len(ends):
        msg = (
            f"{path}: events {start} to {stop} were asked for and {len(ends) - 1} are there; "
            "was the file changed during the pass?"
        )
        raise InputError(msg)
    rows, counts = order[ends[start] : ends[stop]], np.diff(ends[start : stop + 1])
    with hdf5_table.opened(path, _EXPECTED) as file:
        info, kinematics, cube = (_rows(file[n], rows) for n in (_INFO, _JETS, _CANDIDATES))
    # By falling pT, so that copies of a file with other rows have the same events.
    by_pt = np.lexsort((-kinematics[:, 0], np.repeat(np.arange(len(counts)), counts)))
    kinematics, cube = kinematics[by_pt], cube[by_pt]
    there = (cube[:, :, list(_PARTS.values())[:4]] != 0).any(axis=2)
    first = np.cumsum(counts) - counts
    columns = {
        **{name: ak.Array(info[first, i]) for i, name in enumerate(NUMBERS)},
        **{
            f"jet_{part}": ak.unflatten(kinematics[:, i], counts)
            for i, part in enumerate(_JET_PARTS)
        },
        **{
            f"candidate_{part}": ak.unflatten(
                ak.unflatten(cube[:, :, i][there], there.sum(axis=1)), counts
            )
            for part, i in _PARTS.items()
        },
    }
    return trees.nano_events(columns, path, start, stop, metadata)


def jets(events: Any, settings: SourceSettings | None = None) -> StoredJets:
    """Return the jets of every event with their constituents.

    Parameters
    ----------
    events
        NanoEvents of this source.
    settings
        Whether PUPPI weights scale the constituents.

    Raises
    ------
    InputError
        As `from_columns`, a jet has no pT or is there twice, or a constituent is not finite.
    """
    where = trees.where(events)
    pt, eta, phi, mass = (ak.materialize(events[f"jet_{part}"]) for part in _JET_PARTS)
    made = from_columns(
        pt,
        eta,
        phi,
        mass=ak.where(mass < 0, 0, mass),
        where=where,
        numbers=checked_numbers({name: ak.to_numpy(events[name]) for name in NUMBERS}, where),
    )
    same = (pt[:, 1:] == pt[:, :-1]) & (eta[:, 1:] == eta[:, :-1]) & (phi[:, 1:] == phi[:, :-1])
    _refuse(ak.num(made.p4) != ak.num(pt), "a jet without pT", events)
    _refuse(ak.any(same, axis=1), "a jet twice", events)
    return StoredJets(
        p4=made.p4,
        constituents=_constituents(events, settings or SourceSettings()),
        radius=AK8_RADIUS,
        event_id=made.event_id,
        weight=made.weight,
        label=made.label,
        numbers=made.numbers,
    )


def columns(events: Any) -> dict[str, Any]:
    """Return what a converted file holds of these events: jets and constituents, as NanoAOD 15.

    Raises
    ------
    InputError
        As `jets`.
    """
    made = jets(events)
    assert made.constituents is not None
    particles = ak.flatten(made.constituents, axis=2)
    jet, _ = ak.broadcast_arrays(ak.local_index(made.p4, axis=1), made.constituents.pt)
    return {
        "eventId": made.event_id,
        "weight": made.weight,
        "label": made.label,
        **made.numbers,
        "fatJetRadius": np.full(len(made), AK8_RADIUS, np.float32),
        **{
            f"{name}_{part}": ak.values_astype(getattr(p4, part), np.float32)
            for name, p4 in (("FatJet", made.p4), ("PFCand", particles))
            for part in ("pt", "eta", "phi", "mass")
        },
        "FatJetPFCand_jetIdx": ak.values_astype(ak.flatten(jet, axis=2), np.int32),
        "FatJetPFCand_pfCandIdx": ak.values_astype(ak.local_index(particles, axis=1), np.int32),
    }


def _constituents(events: Any, settings: SourceSettings) -> ak.Array:
    import vector

    found = {part: ak.materialize(events[f"candidate_{part}"]) for part in _PARTS}
    sums = sum(ak.sum(ak.sum(part, axis=2), axis=1) for part in found.values())
    _refuse(~np.isfinite(ak.to_numpy(sums)), "a constituent that is not finite", events)
    wide = {part: ak.values_astype(column, np.float64) for part, column in found.items()}
    weight = wide.pop("puppi_weight")
    if settings.puppi:
        wide = {part: column * weight for part, column in wide.items()}
    cartesian = vector.zip(wide)
    p4 = vector.zip({part: getattr(cartesian, part) for part in ("pt", "eta", "phi", "mass")})
    return p4[p4.pt > 0]


def _refuse(wrong: Any, what: str, events: Any) -> None:
    found = np.flatnonzero(ak.to_numpy(wrong))
    if len(found):
        numbers = ", ".join(f"{name} {events[name][found[0]]}" for name in NUMBERS)
        msg = (
            f"{trees.where(events)}: {what} in event {found[0]} of these entries ({numbers}); "
            f"{len(found)} such events. The file is damaged, or was put together wrongly"
        )
        raise InputError(msg)


def _rows(data: h5py.Dataset, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return some rows in their order, reading neighbours together."""
    ordered = np.sort(rows)
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1)
    read = np.concatenate([data[run[0] : run[-1] + 1] for run in runs])
    found: npt.NDArray[Any] = read[np.searchsorted(ordered, rows)]
    return found.astype(found.dtype.newbyteorder("="), copy=False)  # awkward knows no other


@lru_cache(maxsize=4)
def _index(
    path: Path, when: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return rows by event, in the order of each event's first one, and where events end."""
    with hdf5_table.opened(path, _EXPECTED) as file:
        info = file[_INFO]
        _check(file, path)
        numbers = info[:]
    rounded = numbers.dtype.kind == "f" and numbers.dtype.itemsize < 8
    if rounded and (numbers >= _EXACT_IN_FLOAT32).any():
        msg = (
            f"{path}: '{_INFO}' holds event numbers as {numbers.dtype}, which rounds those above "
            f"{_EXACT_IN_FLOAT32}: jets of different events would be put together. Write integers"
        )
        raise InputError(msg)
    by_number = np.lexsort(numbers.T[::-1])
    new = np.concatenate([[True], (np.diff(numbers[by_number], axis=0) != 0).any(axis=1)])
    first = by_number[np.flatnonzero(new)]  # lexsort is stable: the first row of an event
    event = np.cumsum(new) - 1
    order = by_number[np.argsort(first[event], kind="stable")]
    counts = np.bincount(event)[np.argsort(first)]
    return order, np.concatenate([[0], np.cumsum(counts)])


def _check(file: h5py.File, path: Path) -> None:
    kinds = {_INFO: ("fiu", 2, len(NUMBERS)), _JETS: ("f", 2, 4), _CANDIDATES: ("f", 3, 11)}
    found = {name: file[name] for name in kinds}
    fit = all(
        (data.ndim, data.shape[-1:]) == (ndim, (width,)) and data.dtype.kind in kind
        for (kind, ndim, width), data in zip(kinds.values(), found.values(), strict=True)
    )
    if not fit or len({len(data) for data in found.values()}) > 1 or not len(found[_INFO]):
        there = ", ".join(f"{name} {data.shape} {data.dtype}" for name, data in found.items())
        msg = (
            f"{path}: expected a row a jet of {_INFO} (jets, 3), {_JETS} (jets, 4) and "
            f"{_CANDIDATES} (jets, any, 11), at least one, the last two of floats; found {there}"
        )
        raise InputError(msg)
    for data in found.values():
        check_filters(data, path)
        hdf5_table.check_complete(data, path)
        together = hdf5_table.rows_unpacked_together(data) * hdf5_table.row_bytes(data)
        if together > hdf5_table.BLOCK_BYTES:
            msg = (
                f"{path}: '{data.name}' is compressed in chunks of {together >> 20} MiB, and "
                f"{hdf5_table.BLOCK_BYTES >> 20} are the most; rewrite it with h5repack"
            )
            raise InputError(msg)
