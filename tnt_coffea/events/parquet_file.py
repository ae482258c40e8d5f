"""One Parquet file: opened by its own path, its rows refused before they exhaust memory.

Arrow and fsspec take some paths for addresses (`data:1.parquet`, `~.parquet`): they get a file that
is open already, and never see a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea.errors import InputError
from tnt_coffea.events.remote import told

__all__ = ["MOST_BYTES", "created", "opened", "rows_between", "rows_of"]

MOST_BYTES = 2 << 30
"""Most that row groups read together may take when decoded; the size of the file says nothing."""

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Give a `pyarrow.parquet.ParquetFile`.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        The file is damaged, or what the block reads of it is.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with (
            path.open("rb") as raw,
            told(raw),
            pq.ParquetFile(raw, page_checksum_verification=True) as file,
        ):
            yield file
    except (FileNotFoundError, PermissionError, InputError):
        raise
    # Arrow's own errors are some of Python's kinds, by the place that meets the damage.
    except (OSError, pa.ArrowException, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = f"{path}: not readable as Parquet: {reason}. The file is damaged or was cut short"
        raise InputError(msg) from error


@contextmanager
def created(path: Path, schema: Any, **how: Any) -> Iterator[Any]:
    """Give a `pyarrow.parquet.ParquetWriter` of zstd pages with checksums.

    Parameters
    ----------
    path
        File to write.
    schema
        Of its table.
    how
        More for `ParquetWriter`.
    """
    import pyarrow.parquet as pq

    # With checksums: Parquet reads many a changed byte without a word otherwise.
    how = {"compression": "zstd", "write_page_checksum": True} | how
    with path.open("wb") as raw, pq.ParquetWriter(raw, schema, **how) as writer:
        yield writer


def rows_of(file: Any, path: Path, groups: Sequence[int], names: Sequence[str]) -> Any:
    """Return the named columns of whole row groups as a `pyarrow.Table`.

    Parameters
    ----------
    file
        What `opened` gives.
    path
        For messages.
    groups
        Numbers of the row groups.
    names
        Columns.

    Raises
    ------
    InputError
        By what the footer declares they would take more than `MOST_BYTES` when decoded.
    ValueError
        There are more or fewer rows than the footer says.
    """
    declared = sum(_decoded_bytes(file.metadata.row_group(i), names) for i in groups)
    if declared > MOST_BYTES:
        msg = (
            f"{path}: {len(groups)} row group(s) that take {declared / 2**30:.1f} GiB when "
            f"decoded, and {MOST_BYTES >> 30} GiB are the most; write it again in smaller ones "
            "(row_group_size=10000)"
        )
        raise InputError(msg)
    rows = file.read_row_groups(list(groups), columns=list(names), use_threads=False)
    promised = sum(file.metadata.row_group(i).num_rows for i in groups)
    if len(rows) != promised:
        msg = f"{len(rows)} rows where the footer promises {promised}"
        raise ValueError(msg)
    return rows


def rows_between(file: Any, path: Path, start: int, stop: int, names: Sequence[str]) -> Any:
    """Return rows [start, stop) of the named columns as a `pyarrow.Table`, as `rows_of` does.

    Only the row groups that hold them are read; fewer rows where the file ends before `stop`.
    """
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    ends = np.cumsum(sizes)
    groups = np.flatnonzero((ends > start) & (ends - sizes < stop))
    first = int(ends[groups[0]] - sizes[groups[0]]) if len(groups) else 0
    rows = rows_of(file, path, groups.tolist(), names)
    return rows.slice(start - first, stop - start)


def _decoded_bytes(group: Any, names: Sequence[str]) -> int:
    total = 0
    for i in range(group.num_columns):
        column = group.column(i)
        if any(
            column.path_in_schema == n or column.path_in_schema.startswith(f"{n}.") for n in names
        ):
            width = _WIDTHS.get(column.physical_type, 16)
            total += max(column.num_values * width, column.total_uncompressed_size)
    return total
