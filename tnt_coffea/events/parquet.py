"""Parquet of converted files: the columns of `pfnano`, a list for a collection's part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.errors import InputError
from tnt_coffea.events import trees
from tnt_coffea.events.parquet_file import opened, rows_of
from tnt_coffea.events.pfnano import (
    COLUMNS,
    FIELDS,
    HAS_CHOICES,
    JET_FIELDS,
    columns,
    jets,
    particles,
)

__all__ = [
    "FIELDS",
    "HAS_CHOICES",
    "columns",
    "entries",
    "is_mine",
    "jets",
    "load",
    "particles",
]


def is_mine(path: Path) -> bool:
    """Tell whether a Parquet file has columns of particles or jets."""
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            return False
    with opened(path) as file:
        names = set(file.schema_arrow.names)
    return names >= FIELDS or names >= JET_FIELDS


def entries(path: Path) -> int:
    """Return the number of events.

    Raises
    ------
    InputError
        The file cannot be read, or has no row.
    """
    with opened(path) as file:
        n = int(file.metadata.num_rows)
    if n <= 0:
        msg = f"{path}: the table has no events"
        raise InputError(msg)
    return n


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return rows [start, stop) as NanoEvents, of the row groups that hold them.

    Raises
    ------
    InputError
        The file cannot be read, or has fewer rows than its footer says.
    """
    with opened(path) as file:
        there, also = file.schema_arrow.names, metadata.get("columns", ())
        if missing := [name for name in also if name not in there]:
            raise InputError(trees.absent_columns(path, missing, there))
        names = list(dict.fromkeys(name for name in (*COLUMNS, *also) if name in there))
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        ends = np.cumsum(sizes)
        groups = np.flatnonzero((ends > start) & (ends - sizes < stop))
        rows = rows_of(file, path, groups.tolist(), names)
        first = int(ends[groups[0]] - sizes[groups[0]]) if len(groups) else 0
        rows = rows.slice(start - first, stop - start)
        if len(rows) != stop - start:
            msg = f"{len(rows)} rows where the footer promises {stop - start}"
            raise ValueError(msg)
        found = {name: _array(rows.column(name).combine_chunks()) for name in names}
    return trees.nano_events(found, path, start, stop, metadata)


def _array(column: Any) -> ak.Array:
    import pyarrow as pa

    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return ak.Array(column.to_numpy(zero_copy_only=False))
    lengths = np.diff(np.asarray(column.offsets))
    return ak.unflatten(column.flatten().to_numpy(zero_copy_only=False), lengths)
