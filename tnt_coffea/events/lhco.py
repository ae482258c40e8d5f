"""LHC Olympics HDF5: tables of 700 x (pT, eta, phi), with or without a truth column.

Source: arXiv:2101.08320, section 2. The table is found by its shape, not its name: the
Olympics' own files (R&D, three-prong, Herwig++, black boxes) are pandas *fixed* tables
(`df/block0_values`, float64, Blosc), others in circulation are plain float32 data sets.

Rows are read a slab at a time and kept without their padding, so memory depends on
neither the file nor the range asked for. A compressed chunk can only be unpacked whole:
where it holds more rows than are asked for, the rest is kept for the next range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import InputError
from tnt_coffea.events import table
from tnt_coffea.events.hdf5_table import (
    check_table,
    holds_width,
    opened_table,
    row_bytes,
    rows_unpacked_together,
    stamp,
)
from tnt_coffea.events.particles import Particles, from_columns

__all__ = ["COLUMNS", "FIELDS", "MAX_PARTICLES", "entries", "is_mine", "load", "particles"]

MAX_PARTICLES = 700
COLUMNS = 3 * MAX_PARTICLES
WIDTHS = (COLUMNS, COLUMNS + 1)
EXPECTED = (
    f"one LHC Olympics table of {COLUMNS} columns (700 x pT, eta, phi) or {COLUMNS + 1} "
    "(with truth bit), or a table of features that skim.table maps"
)
FIELDS = frozenset({"constituent_pt", "constituent_eta", "constituent_phi", "label"})

SLAB_BYTES = 16 << 20
"""Dense rows in memory at once."""


@dataclass(frozen=True)
class _Rows:
    """Rows of a table without their padding.

    Attributes
    ----------
    counts
        (event,) particles.
    values
        pT [GeV], eta, phi, each (particle,), of all events one after the other.
    label
        (event,) truth column, or -1.
    """

    counts: npt.NDArray[np.int64]
    values: tuple[npt.NDArray[Any], ...]
    label: npt.NDArray[Any]

    def cut(self, start: int, stop: int) -> _Rows:
        ends = np.concatenate([[0], np.cumsum(self.counts)])
        inside = slice(ends[start], ends[stop])
        return _Rows(
            self.counts[start:stop],
            tuple(column[inside] for column in self.values),
            self.label[start:stop],
        )


def is_mine(path: Path) -> bool:
    """Tell whether the file starts like HDF5, and holds no table of features alone."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            return False
    return holds_width(path, WIDTHS) or not table.is_mine(path)


def entries(path: Path) -> int:
    """Return the number of events of a file.

    Raises
    ------
    InputError
        The file is not readable HDF5, holds no table of 2100 or 2101 columns or no row, rows
        of the table were never written, or they cannot be read a few at a time.
    """
    return check_table(path, WIDTHS, EXPECTED)


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
    columns["label"] = ak.Array(rows.label)
    source = SimplePreloadedColumnSource(
        columns, str(path), len(rows.counts), f"rows {start}-{stop}"
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
    )


def _read(path: Path, start: int, stop: int) -> Iterator[_Rows]:
    with opened_table(path, WIDTHS, EXPECTED) as data:
        if stop > len(data):
            msg = (
                f"{path}: rows {start} to {stop} were asked for and {len(data)} are there; "
                "was the file changed during the pass?"
            )
            raise InputError(msg)
        tall = rows_unpacked_together(data)
        if tall > stop - start:
            yield from _from_blocks(path, start, stop, tall)
            return
        step = tall * max(1, SLAB_BYTES // (tall * row_bytes(data)))
        first = min(step - start % step, stop - start)  # then on the chunks' own edges
        cuts = [start, *range(start + first, stop, step), stop]
        for a, b in pairwise(cuts):
            yield _without_padding(data[a:b])


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
        return _without_padding(data[number * tall : (number + 1) * tall])


def _without_padding(rows: npt.NDArray[Any]) -> _Rows:
    cube = rows[:, :COLUMNS].reshape(len(rows), MAX_PARTICLES, 3)
    # NaN is kept: the checks behind the contract must see it.
    filled = cube[:, :, 0] != 0
    native = rows.dtype.newbyteorder("=")  # awkward knows no other
    label = rows[:, COLUMNS] if rows.shape[1] > COLUMNS else np.full(len(rows), -1.0)
    return _Rows(
        np.count_nonzero(filled, axis=1),
        tuple(cube[:, :, i][filled].astype(native, copy=False) for i in range(3)),
        label.astype(native),  # a view would keep the whole slab alive
    )


def _joined(parts: list[_Rows]) -> _Rows:
    if len(parts) == 1:
        return parts[0]
    return _Rows(
        np.concatenate([part.counts for part in parts]),
        tuple(np.concatenate([part.values[i] for part in parts]) for i in range(3)),
        np.concatenate([part.label for part in parts]),
    )
