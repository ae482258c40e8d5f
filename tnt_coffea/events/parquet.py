"""Parquet of converted files: the columns of `pfnano`, a list for a collection's part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak

from tnt_coffea.errors import InputError
from tnt_coffea.events import trees
from tnt_coffea.events.parquet_file import opened, rows_between
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
    "branches",
    "columns",
    "entries",
    "hint",
    "is_mine",
    "jets",
    "load",
    "particles",
]


def branches(path: Path) -> frozenset[str]:
    """Return the names of the file's columns; none where it is no Parquet file."""
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            return frozenset()
    with opened(path) as file:
        return frozenset(file.schema_arrow.names)


def is_mine(path: Path) -> bool:
    """Tell whether a Parquet file has columns of particles or jets."""
    names = branches(path)
    return names >= FIELDS or names >= JET_FIELDS


def hint(path: Path) -> str | None:
    """Return what a Parquet file lacks where it has some of the columns; None where it has none."""
    names = branches(path)
    for wanted in (FIELDS, JET_FIELDS):
        collection = min(wanted).partition("_")[0]
        if collection in names:
            parts = ", ".join(sorted(wanted))
            return f"'{collection}' is one column of records; write its parts as columns {parts}"
        if there := sorted(wanted & names):
            return f"it has {', '.join(there)} and lacks {', '.join(sorted(wanted - names))}"
    return None


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
        The file cannot be read, has fewer rows than its footer says, or a column holds nulls or
        no numbers.
    """
    with opened(path) as file:
        there, also = file.schema_arrow.names, metadata.get("columns", ())
        if missing := [name for name in also if name not in there]:
            raise InputError(trees.absent_columns(path, missing, there))
        wanted = (*COLUMNS, *metadata.get("optional_columns", ()), *also)
        names = list(dict.fromkeys(name for name in wanted if name in there))
        rows = rows_between(file, path, start, stop, names)
        if len(rows) != stop - start:
            msg = f"{len(rows)} rows where the footer promises {stop - start}"
            raise ValueError(msg)
        found = {}
        for name in names:
            try:
                found[name] = _array(rows.column(name).combine_chunks())
            except _NoNumbers as error:
                msg = f"{path}, entries {start} to {stop}: column '{name}' {error}"
                raise InputError(msg) from error
    return trees.nano_events(found, path, start, stop, metadata)


class _NoNumbers(Exception):
    """A column holds something else than numbers, or than lists of numbers."""


def _array(column: Any) -> ak.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _storage(column)
    kinds = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    if not any(getattr(pa.types, f"is_{kind}")(column.type) for kind in kinds):
        return ak.Array(_numbers(column))
    return ak.unflatten(_numbers(pc.list_flatten(column)), _numbers(pc.list_value_length(column)))


def _storage(column: Any) -> Any:
    # awkward's Parquet wraps types in extensions, which say nothing more about numbers.
    import pyarrow as pa

    while isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column


def _numbers(column: Any) -> Any:
    import pyarrow as pa

    column = _storage(column)
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        msg = f"holds {kind}, expected numbers or lists of numbers"
        raise _NoNumbers(msg)
    if column.null_count:
        msg = (
            f"has no value in {column.null_count} places (null); give it one there, an empty list "
            "where there is no particle, or leave those events out"
        )
        raise _NoNumbers(msg)
    return column.to_numpy(zero_copy_only=False)
