"""LHC Olympics HDF5: tables of 700 x (pT, eta, phi), with or without a truth column.

Source: arXiv:2101.08320, section 2. The table is found by its shape, not its name: the
Olympics' own files (R&D, three-prong, Herwig++, black boxes) are pandas *fixed* tables
(`df/block0_values`, float64, Blosc), others in circulation are plain float32 data sets.

Which column is the truth, and which the weight, is told by the names that pandas stores, or by
those of data sets beside the table; without names the last of 2101 columns is the truth. What
cannot be told is refused.

Rows are read a slab at a time and kept without their padding, so memory depends on
neither the file nor the range asked for. A compressed chunk can only be unpacked whole:
where it holds more rows than are asked for, the rest is kept for the next range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import InputError
from tnt_coffea.events import table
from tnt_coffea.events.hdf5_table import (
    check_complete,
    check_table,
    holds_width,
    is_hdf5,
    opened_table,
    row_bytes,
    rows_unpacked_together,
    stamp,
)
from tnt_coffea.events.particles import Particles, from_columns
from tnt_coffea.events.table_files import Part, frame_columns, is_number
from tnt_coffea.storage import spelled

__all__ = [
    "COLUMNS",
    "FIELDS",
    "MAX_PARTICLES",
    "entries",
    "is_mine",
    "load",
    "meaning",
    "particles",
]

MAX_PARTICLES = 700
COLUMNS = 3 * MAX_PARTICLES
WIDTHS = (COLUMNS, COLUMNS + 1, COLUMNS + 2)
LABELS = frozenset({"truth", "label", "labels", "is_signal", "signal", "target"})
WEIGHTS = frozenset({"weight", "weights", "event_weight", "genweight"})
"""Names of columns, in small letters."""
EXPECTED = (
    f"one LHC Olympics table of {COLUMNS} columns (700 x pT, eta, phi) or {COLUMNS + 1} "
    "(with truth bit), or a table of features that skim.table maps"
)
FIELDS = frozenset({"constituent_pt", "constituent_eta", "constituent_phi", "label"})

SLAB_BYTES = 16 << 20
"""Dense rows in memory at once."""


@dataclass(frozen=True)
class _Layout:
    """What is where in a file.

    Attributes
    ----------
    first
        Column of the table that particles begin in.
    label, weight
        Data set and column of it (None: it has one dimension), and what they are called; None
        where there is no such column.
    """

    first: int
    label: tuple[str, int | None, str] | None = None
    weight: tuple[str, int | None, str] | None = None


@dataclass(frozen=True)
class _Rows:
    """Rows of a table without their padding.

    Attributes
    ----------
    counts
        (event,) particles.
    values
        pT [GeV], eta, phi, each (particle,), of all events one after the other.
    label, weight
        (event,) truth column, or -1, and weights, or 1.
    """

    counts: npt.NDArray[np.int64]
    values: tuple[npt.NDArray[Any], ...]
    label: npt.NDArray[Any]
    weight: npt.NDArray[Any]

    def cut(self, start: int, stop: int) -> _Rows:
        ends = np.concatenate([[0], np.cumsum(self.counts)])
        inside = slice(ends[start], ends[stop])
        return _Rows(
            self.counts[start:stop],
            tuple(column[inside] for column in self.values),
            self.label[start:stop],
            self.weight[start:stop],
        )


def is_mine(path: Path) -> bool:
    """Tell whether the file starts like HDF5, and holds no table of features alone."""
    return is_hdf5(path) and (holds_width(path, WIDTHS) or not table.is_mine(path))


def entries(path: Path) -> int:
    """Return the number of events of a file.

    Raises
    ------
    InputError
        The file is not readable HDF5, holds no table of 2100 or 2101 columns or no row, rows
        of the table were never written, or they cannot be read a few at a time; or what its
        columns are cannot be told.
    """
    n = check_table(path, WIDTHS, EXPECTED)
    _layout(path, stamp(path))
    return n


def meaning(path: Path) -> dict[str, str]:
    """Return which columns are taken for what, in words.

    Raises
    ------
    InputError
        As `entries`.
    """
    layout = _layout(path, stamp(path))
    found = {"label": layout.label, "weight": layout.weight}
    return {f"{what} column": "none" if it is None else it[2] for what, it in found.items()}


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return rows [start, stop) as NanoEvents with jagged constituent columns.

    Raises
    ------
    InputError
        As `entries`, or the rows cannot be unpacked, or are no longer there.
    """
    # Slow imports stay out of the way of `tnt-coffea --help`.
    from coffea.nanoevents import BaseSchema, NanoEventsFactory
    from coffea.nanoevents.mapping import SimplePreloadedColumnSource

    rows = _joined(list(_read(path, start, stop)))
    columns = {
        f"constituent_{name}": ak.unflatten(column, rows.counts)
        for name, column in zip(("pt", "eta", "phi"), rows.values, strict=True)
    }
    columns |= {"label": ak.Array(rows.label), "weight": ak.Array(rows.weight)}
    source = SimplePreloadedColumnSource(
        columns, spelled(path), len(rows.counts), f"rows {start}-{stop}"
    )
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
        weight=ak.to_numpy(events.weight) if "weight" in events.fields else None,
    )


@lru_cache(maxsize=8)
def _layout(path: Path, when: tuple[int, ...]) -> _Layout:
    with opened_table(path, WIDTHS, EXPECTED) as data:
        frame = data.parent.attrs.get("pandas_type", b"") in (b"frame", "frame")
        columns = frame_columns(data.parent, path) if frame else {}
        named = any(block.name == data.name for block, _ in columns.values())
        layout = _framed(data, path, columns) if named else _plain(data, path)
        for part in (layout.label, layout.weight):
            if part is not None and part[0] != data.name:
                check_complete(data.file[part[0]], path)
    return layout


def _role(name: str) -> str | None:
    known = {"label": LABELS, "weight": WEIGHTS}
    return next((role for role, names in known.items() if name.lower() in names), None)


def _framed(data: h5py.Dataset, path: Path, columns: Mapping[str, Part]) -> _Layout:
    """Tell the columns of a pandas frame apart by their names, whatever block they are in."""
    found: dict[str, list[str]] = {"label": [], "weight": []}
    particles: list[str] = []
    for name in columns:
        role = _role(name)
        (particles if role is None else found[role]).append(name)
    if len(particles) == COLUMNS + 1 and not found["label"] and is_number(particles[-1]):
        found["label"].append(particles.pop())
    places = [
        place[0] if block.name == data.name else -1
        for block, place in (columns[name] for name in particles)
    ]
    if len(particles) != COLUMNS:
        odd = ", ".join(f"'{name}'" for name in particles[COLUMNS:][:6]) or "none more"
        reason = f"and {len(particles)} are left, beside {COLUMNS} {odd}"
    elif -1 in places or places != list(range(places[0], places[0] + COLUMNS)):
        reason = "and the others are of several types, or not in the order of the particles"
    elif double := next((names for names in found.values() if len(names) > 1), None):
        reason = f"and {' and '.join(double)} say the same"
    else:
        named = {
            role: (str(columns[name][0].name), columns[name][1][0], f"'{name}'")
            for role, (name,) in ((role, names) for role, names in found.items() if names)
        }
        return _Layout(places[0], **named)
    msg = (
        f"{path}: a pandas frame of {len(columns)} columns, of which "
        f"{found['label'] or 'none'} is taken for the truth by its name and "
        f"{found['weight'] or 'none'} for the weight, {reason}; expected {COLUMNS} columns of one "
        "type (pT, eta, phi of 700 particles) and beside them at most 'truth' and 'weight'"
    )
    raise InputError(msg)


def _plain(data: h5py.Dataset, path: Path) -> _Layout:
    """Tell the columns of a table without names apart by their number, and by what lies beside."""
    found: dict[str, list[tuple[str, int | None, str]]] = {"label": [], "weight": []}
    if data.shape[1] == COLUMNS + 1:
        found["label"].append((str(data.name), COLUMNS, f"the last of {COLUMNS + 1}"))
    for key in data.parent:
        role = _role(key)
        if role is None or not isinstance(item := data.parent.get(key), h5py.Dataset):
            continue
        if item.shape in ((len(data),), (len(data), 1)) and item.dtype.kind in "fiub":
            place = (str(item.name), None if item.ndim == 1 else 0, f"data set '{item.name}'")
            found[role].append(place)
    if data.shape[1] > COLUMNS + 1 or any(len(places) > 1 for places in found.values()):
        there = " and ".join(place[2] for places in found.values() for place in places)
        msg = (
            f"{path}: which column is the truth, or the weight, cannot be told: the table has "
            f"{data.shape[1]} columns without names{there and f', and there is {there}'}; write "
            f"{COLUMNS} columns and data sets 'truth' and 'weight' beside them"
        )
        raise InputError(msg)
    return _Layout(0, *(places[0] if places else None for places in found.values()))


def _read(path: Path, start: int, stop: int) -> Iterator[_Rows]:
    when = stamp(path)
    layout, filled = _layout(path, when), _filled(path, when)
    with opened_table(path, WIDTHS, EXPECTED) as data:
        if stop > len(data):
            msg = (
                f"{path}: rows {start} to {stop} were asked for and {len(data)} are there; "
                "was the file changed during the pass?"
            )
            raise InputError(msg)
        if stop > filled:
            msg = (
                f"{path}: rows {filled} to {len(data)} at its end hold nothing, as where what "
                "wrote the file was stopped. Write it again, cut them off, or have them left out "
                "and listed with --skip-bad-files"
            )
            raise InputError(msg)
        tall = rows_unpacked_together(data)
        if tall > stop - start:
            yield from _from_blocks(path, start, stop, tall)
            return
        step = _step(data)
        first = min(step - start % step, stop - start)  # then on the chunks' own edges
        cuts = [start, *range(start + first, stop, step), stop]
        for a, b in pairwise(cuts):
            yield _without_padding(data, layout, a, b)


def _step(data: h5py.Dataset) -> int:
    tall = rows_unpacked_together(data)
    return tall * max(1, SLAB_BYTES // (tall * row_bytes(data)))


@lru_cache(maxsize=8)
def _filled(path: Path, when: tuple[int, ...]) -> int:
    """Return how many rows there are up to the last one that holds anything."""
    with opened_table(path, WIDTHS, EXPECTED) as data:
        n, step = len(data), _step(data)
        # Of compressed chunks those that were never written are not there.
        if rows_unpacked_together(data) > 1 or np.any(data[n - 1]):
            return n
        for stop in range(n, 0, -step):
            start = max(stop - step, 0)
            rows = np.flatnonzero((data[start:stop] != 0).any(axis=1))
            if len(rows):
                return start + int(rows[-1]) + 1
    return 0


def _from_blocks(path: Path, start: int, stop: int, tall: int) -> Iterator[_Rows]:
    when = stamp(path)
    for number in range(start // tall, -(-stop // tall)):
        offset = number * tall
        rows = _block(path, when, number, tall)
        yield rows.cut(max(start - offset, 0), min(stop - offset, len(rows.counts)))


@lru_cache(maxsize=1)
def _block(path: Path, when: tuple[int, ...], number: int, tall: int) -> _Rows:
    # When it was written is part of the key: a file written anew is read anew.
    with opened_table(path, WIDTHS, EXPECTED) as data:
        stop = min((number + 1) * tall, len(data))
        return _without_padding(data, _layout(path, when), number * tall, stop)


def _without_padding(data: h5py.Dataset, layout: _Layout, start: int, stop: int) -> _Rows:
    rows = data[start:stop]
    cube = rows[:, layout.first : layout.first + COLUMNS].reshape(len(rows), MAX_PARTICLES, 3)
    # NaN is kept: the checks behind the contract must see it.
    filled = cube[:, :, 0] != 0
    native = rows.dtype.newbyteorder("=")  # awkward knows no other
    per_event = [np.full(len(rows), -1.0), np.ones(len(rows))]
    for i, part in enumerate((layout.label, layout.weight)):
        if part is not None:
            name, column, _ = part
            column_of = rows if name == data.name else data.file[name][start:stop]
            values = column_of if column is None else column_of[:, column]
            # A copy: a view would keep the whole slab alive.
            per_event[i] = values.astype(values.dtype.newbyteorder("=")) + 0
    return _Rows(
        np.count_nonzero(filled, axis=1),
        tuple(cube[:, :, i][filled].astype(native, copy=False) for i in range(3)),
        *per_event,
    )


def _joined(parts: list[_Rows]) -> _Rows:
    if len(parts) == 1:
        return parts[0]
    return _Rows(
        np.concatenate([part.counts for part in parts]),
        tuple(np.concatenate([part.values[i] for part in parts]) for i in range(3)),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )
