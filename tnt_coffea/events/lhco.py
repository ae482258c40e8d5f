"""LHC Olympics HDF5: tables of 700 x (pT, eta, phi), with or without a truth column.

Source: arXiv:2101.08320, section 2. The table is found by its shape, not its name:
the Olympics' own files are pandas *fixed* tables (`df/block0_values`, float64,
Blosc), others in circulation are plain float32 data sets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np

from tnt_coffea.errors import InputError
from tnt_coffea.events.particles import Particles, from_columns

__all__ = ["COLUMNS", "MAX_PARTICLES", "entries", "is_mine", "load", "particles"]

MAX_PARTICLES = 700
COLUMNS = 3 * MAX_PARTICLES
FIELDS = frozenset({"constituent_pt", "constituent_eta", "constituent_phi", "label"})


def is_mine(path: Path) -> bool:
    """Tell whether the file starts like HDF5."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def entries(path: Path) -> int:
    """Return the number of events of a file.

    Raises
    ------
    InputError
        The file is not readable HDF5, or holds no table of 2100 or 2101 columns, or no row.
    """
    with _opened(path) as file:
        return int(_table(file, path).shape[0])


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return rows [start, stop) as NanoEvents with jagged constituent columns.

    Raises
    ------
    InputError
        As `entries`, or the rows cannot be decompressed.
    """
    # Slow imports stay out of the way of `tnt-coffea --help`.
    from coffea.nanoevents import BaseSchema, NanoEventsFactory
    from coffea.nanoevents.mapping import SimplePreloadedColumnSource

    with _opened(path) as file:
        try:
            rows = np.asarray(_table(file, path)[start:stop])
        except OSError as error:
            msg = f"{path}: rows {start} to {stop} cannot be read: {error}. Is the file complete?"
            raise InputError(msg) from error
    cube = rows[:, :COLUMNS].reshape(len(rows), MAX_PARTICLES, 3)
    # NaN is kept: the checks behind the contract must see it.
    filled = cube[:, :, 0] != 0
    counts = filled.sum(axis=1)
    columns = {
        f"constituent_{name}": ak.unflatten(cube[:, :, i][filled], counts)
        for i, name in enumerate(("pt", "eta", "phi"))
    }
    label = rows[:, COLUMNS] if rows.shape[1] > COLUMNS else np.full(len(rows), -1.0)
    columns["label"] = ak.Array(label)
    source = SimplePreloadedColumnSource(columns, str(path), len(rows), f"rows {start}-{stop}")
    return NanoEventsFactory.from_preloaded(
        source, schemaclass=BaseSchema, metadata=metadata
    ).events()


def particles(events: Any) -> Particles:
    """Return the constituents of LHC Olympics events behind the common contract."""
    meta = events.metadata or {}
    return from_columns(
        events.constituent_pt,
        events.constituent_eta,
        events.constituent_phi,
        where=f"{meta.get('filename', 'events')}, rows {meta.get('entrystart', 0)} on",
        label=ak.to_numpy(events.label),
    )


def _opened(path: Path) -> h5py.File:
    import hdf5plugin  # noqa: F401  registers the Blosc filter of the Olympics' files

    try:
        return h5py.File(path, "r")
    except OSError as error:
        msg = (
            f"{path}: not a readable HDF5 file: {error}. "
            "Expected an LHC Olympics table; a truncated download looks like this"
        )
        raise InputError(msg) from error


def _table(file: h5py.File, path: Path) -> h5py.Dataset:
    shapes: dict[str, tuple[int, ...]] = {}
    found: list[h5py.Dataset] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            shapes[name] = item.shape
            if len(item.shape) == 2 and item.shape[1] in (COLUMNS, COLUMNS + 1):
                found.append(item)

    file.visititems(visit)
    if len(found) != 1:
        msg = (
            f"{path}: expected one table of {COLUMNS} columns (700 x pT, eta, phi) or "
            f"{COLUMNS + 1} (with truth bit), found {shapes or 'no data set at all'}"
        )
        raise InputError(msg)
    if found[0].dtype.kind != "f":
        msg = f"{path}: the table holds {found[0].dtype}, expected float32 or float64"
        raise InputError(msg)
    if found[0].shape[0] == 0:
        msg = f"{path}: the table has no events"
        raise InputError(msg)
    return found[0]
