"""Files that hold a table of named columns: Parquet, CSV, HDF5 and ROOT, a range of rows at a time.

Memory depends on the range asked for (and on one Parquet row group), not on the file.

A column is a number a row; of other columns (lists, images) nothing is seen, and text that
is no number reads as NaN, which whoever asks for that column refuses. Where a file holds
several tables, the one with the most columns is read.

HDF5 comes in many layouts, all read by h5py alone: pandas frames of either format, data sets
of named fields, groups of equally long columns, and plain two-dimensional data sets, whose
columns are called column0, column1, ...
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import InputError
from tnt_coffea.events import hdf5_table, parquet_file, trees

__all__ = ["FlatTable", "Part", "check_filters", "flat_table", "frame_columns", "is_number"]

Columns = dict[str, npt.NDArray[Any]]

DELIMITERS = ",;\t"
_BLOCK = 1 << 24
"""Bytes of a CSV file that are looked through at once for the ends of its lines."""
_LONGEST_HEADER = 1 << 16


@dataclass(frozen=True)
class FlatTable:
    """A table that is open.

    Attributes
    ----------
    names
        Its columns.
    rows
        How many there are.
    read
        Returns rows [start, stop) of all columns, each (row,) of numbers.
    named
        Whether the file names the columns.
    """

    names: tuple[str, ...]
    rows: int
    read: Callable[[int, int], Columns]
    named: bool = True


@contextmanager
def flat_table(path: Path) -> Iterator[FlatTable]:
    """Give the table in a file, of the format that its content shows.

    Raises
    ------
    InputError
        The file is damaged, holds no table, no row, or several tables of one width.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PAR1":
        opened = _parquet
    elif start == b"root":
        opened = _root
    else:
        opened = _hdf5 if hdf5_table.is_hdf5(path) else _csv
    with opened(path) as table:
        if table.rows == 0:
            msg = f"{path}: the table has no events"
            raise InputError(msg)
        yield table


def _widest(path: Path, tables: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the table with the most columns."""
    known = {name: len(columns) for name, columns in tables.items() if columns}
    widest = [name for name, width in known.items() if width == max(known.values())]
    if len(widest) == 1:
        return widest[0]
    what = f"several of one width: {', '.join(sorted(widest)[:6])}" if widest else "none"
    msg = f"{path}: expected one table of numbers, found {what}; keep one table in a file"
    raise InputError(msg)


# Parquet


@contextmanager
def _parquet(path: Path) -> Iterator[FlatTable]:
    import pyarrow as pa

    with parquet_file.opened(path) as file:
        names = tuple(
            field.name for field in file.schema_arrow if not pa.types.is_nested(_plain(field.type))
        )
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    ends, stamp = np.cumsum([0, *sizes]), hdf5_table.stamp(path)

    def read(start: int, stop: int) -> Columns:
        groups = np.flatnonzero((ends[1:] > start) & (ends[:-1] < stop))
        parts = [
            _row_group(path, stamp, int(g), names).slice(
                max(start - int(ends[g]), 0), min(stop, int(ends[g + 1])) - max(start, int(ends[g]))
            )
            for g in groups
        ]
        rows = pa.concat_tables(parts)
        return {name: _numbers(rows.column(name)) for name in names}

    yield FlatTable(names, int(ends[-1]), read)


@lru_cache(maxsize=1)
def _row_group(path: Path, stamp: tuple[int, ...], number: int, names: tuple[str, ...]) -> Any:
    # Kept for the next range: a row group can only be unpacked whole.
    with parquet_file.opened(path) as file:
        return parquet_file.rows_of(file, path, [number], names)


def _plain(kind: Any) -> Any:
    # awkward's Parquet wraps types in extensions, which say nothing more about numbers.
    return getattr(kind, "storage_type", kind)


def _numbers(column: Any) -> npt.NDArray[Any]:
    """Return an Arrow column as numbers; NaN where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        number = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
        there = pc.match_substring_regex(column, number)
        column = pc.cast(pc.if_else(there, pc.utf8_trim_whitespace(column), None), pa.float64())
    elif pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.float64())
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.full(len(column), np.nan)
    if column.null_count:
        column = pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan)
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


# CSV


@contextmanager
def _csv(path: Path) -> Iterator[FlatTable]:
    delimiter, names = _header(path)
    starts = _lines(path, hdf5_table.stamp(path))

    def read(start: int, stop: int) -> Columns:
        with path.open("rb") as file:
            file.seek(int(starts[start]))
            text = file.read(int(starts[stop] - starts[start]))
        return _parsed(path, text, names, delimiter, (start, stop))

    yield FlatTable(tuple(filter(None, names)), len(starts) - 1, read)


def _header(path: Path) -> tuple[str, tuple[str, ...]]:
    with path.open("rb") as file:
        raw = file.readline(_LONGEST_HEADER)
    try:
        line = raw.decode("utf-8-sig").rstrip()
        line = line.lstrip().lstrip("#").lstrip() if line.lstrip().startswith("#") else line
    except UnicodeDecodeError:
        line = ""
    delimiter = max(DELIMITERS, key=line.count)
    names = tuple(name.strip().strip('"') for name in line.split(delimiter))
    given = names if names[0] else names[1:]  # pandas writes its index under no name
    if len(given) < 2 or not all(given) or any(is_number(name) for name in given):
        msg = (
            f"{path}: no table of a known kind: neither Parquet, HDF5 nor ROOT, and as CSV its "
            "first line does not name columns"
        )
        raise InputError(msg)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{path}: the first line names column '{twice}' twice"
        raise InputError(msg)
    return delimiter, names


def is_number(text: str) -> bool:
    """Tell whether a column's name is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4)
def _lines(path: Path, stamp: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return where every row begins, and where the last one ends; empty lines are none."""
    ends = []
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while block := file.read(_BLOCK):
            ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + offset + 1)
            offset += len(block)
    edges = np.unique(np.concatenate([[0], *ends, [size]]))[1:].astype(np.int64)
    filled = np.diff(edges) > 2  # a row of two columns has three characters and an end
    return np.concatenate([edges[:-1][filled], edges[-1:]])


def _parsed(
    path: Path, text: bytes, names: Sequence[str], delimiter: str, rows: tuple[int, int]
) -> Columns:
    import pyarrow as pa
    import pyarrow.csv as csv

    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(use_threads=False, column_names=list(names), block_size=len(text) + 1),
            csv.ParseOptions(delimiter=delimiter),
            csv.ConvertOptions(strings_can_be_null=True),
        )
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{path}: rows {rows[0]} to {rows[1]} cannot be read as CSV: {reason}"
        raise InputError(msg) from error
    if len(table) != rows[1] - rows[0]:
        msg = (
            f"{path}: rows {rows[0]} to {rows[1]} read as {len(table)}; a line that ends inside "
            "quotation marks? Write one row a line"
        )
        raise InputError(msg)
    return {name: _numbers(table.column(name)) for name in names if name}


# ROOT


@contextmanager
def _root(path: Path) -> Iterator[FlatTable]:
    flat = trees.flat_branches(path)
    tree = _widest(path, flat)

    def read(start: int, stop: int) -> Columns:
        found = trees.read(path, tree, flat[tree], start, stop)
        return {name: np.asarray(column) for name, column in found.items()}

    yield FlatTable(flat[tree], trees.entries(path, tree), read)


# HDF5

Part = tuple[h5py.Dataset, Any]
"""A data set, and what picks one column of its rows."""


@contextmanager
def _hdf5(path: Path) -> Iterator[FlatTable]:
    with hdf5_table.opened(path, "a table of named columns") as file:
        tables = dict(_tables(file, path))
        named = {name: parts for name, parts in tables.items() if "column0" not in parts}
        tables = named or tables
        parts = tables[_widest(path, {name: tuple(parts) for name, parts in tables.items()})]
        for data in {data.name: data for data, _ in parts.values()}.values():
            check_filters(data, path)
            hdf5_table.check_complete(data, path)
        rows = {len(data) for data, _ in parts.values()}
        if len(rows) > 1:
            msg = f"{path}: columns of different lengths: {sorted(rows)} rows"
            raise InputError(msg)

        def read(start: int, stop: int) -> Columns:
            blocks: dict[str, npt.NDArray[Any]] = {}
            columns = {}
            for name, (data, place) in parts.items():
                if data.name not in blocks:
                    blocks[data.name] = data[start:stop]
                block = blocks[data.name]
                for step in place:
                    block = block[step] if isinstance(step, str) else block[:, step]
                # Booleans are an enumeration in HDF5; awkward knows no foreign byte order.
                kind = np.dtype(np.int8) if block.dtype == bool else block.dtype.newbyteorder("=")
                columns[name] = block.astype(kind, copy=False)
            return columns

        yield FlatTable(tuple(parts), rows.pop(), read, bool(named))


def _tables(
    group: h5py.Group, path: Path, name: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """Give the tables of a group by their place, each as column -> part."""
    if depth > 8:  # a group that holds itself by a link
        return
    kind = _text(group.attrs.get("pandas_type", b""))
    if kind.startswith("frame"):
        of_fields = kind == "frame_table"
        yield name or "/", _pandas_table(group) if of_fields else frame_columns(group, path)
        return
    alone = {}
    for key in sorted(group):
        if key.startswith("_i_") or (item := group.get(key)) is None:  # an index; a broken link
            continue
        place = f"{name}/{key}"
        if isinstance(item, h5py.Group):
            yield from _tables(item, path, place, depth + 1)
        elif item.dtype.names:
            yield place, {field: (item, (field,)) for field in _scalar_fields(item)}
        elif item.dtype.kind in "fiub" and item.ndim == 2 and item.shape[1] > 1:
            yield place, {f"column{i}": (item, (i,)) for i in range(item.shape[1])}
        elif item.dtype.kind in "fiub" and item.ndim == 1:
            alone[key] = (item, ())
    if len(alone) > 1 and len({len(item) for item, _ in alone.values()}) == 1:
        yield name or "/", alone


def _scalar_fields(data: h5py.Dataset) -> list[str]:
    return [
        name
        for name in data.dtype.names
        if data.dtype[name].shape == () and data.dtype[name].kind in "fiub" and data.ndim == 1
    ]


def frame_columns(frame: h5py.Group, path: Path) -> dict[str, Part]:
    """Return the columns of `to_hdf(format="fixed")`: blocks of one type, with their names.

    Parameters
    ----------
    frame
        The group of the frame.
    path
        Its file.

    Raises
    ------
    InputError
        The names of the columns cannot be read.
    """
    try:
        return _named_blocks(frame, path)
    except ValueError as error:
        msg = (
            f"{path}: {error}; save the frame with columns named by text or by whole numbers alone"
        )
        raise InputError(msg) from error


def _named_blocks(frame: h5py.Group, path: Path) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for key in sorted(key for key in frame if key.startswith("block") and key.endswith("_values")):
        names, values = frame.get(f"{key.removesuffix('_values')}_items"), frame.get(key)
        if not isinstance(names, h5py.Dataset) or not isinstance(values, h5py.Dataset):
            continue
        if values.dtype.kind not in "fiub" or values.ndim != 2:
            continue  # a block of text is a pickle
        found = _frame_names(names, path)
        if len(found) != values.shape[1]:
            msg = f"'{values.name}' has {values.shape[1]} columns and {len(found)} names"
            raise ValueError(msg)
        parts |= {name: (values, (j,)) for j, name in enumerate(found)}
    ordered = frame.get("axis0")
    order = _frame_names(ordered, path) if isinstance(ordered, h5py.Dataset) else []
    return {name: parts[name] for name in (order or parts) if name in parts}


def _frame_names(names: h5py.Dataset, path: Path) -> list[str]:
    hdf5_table.check_complete(names, path)
    if names.dtype.kind != "O":
        return [_text(name) for name in names[:]]
    # Names of several types are one pickled array.
    return _unpickled_names(names[0]) if names.shape == (1,) else [_text(n) for n in names[:]]


def _pandas_table(frame: h5py.Group) -> dict[str, Part]:
    """Return the columns of `to_hdf(format="table")`: fields, and fields of several columns."""
    table = frame["table"]
    parts: dict[str, Part] = {name: (table, (name,)) for name in _scalar_fields(table)}
    parts.pop("index", None)
    for field in table.dtype.names or ():
        shape = table.dtype[field].shape
        if len(shape) == 1 and table.dtype[field].base.kind in "fiub":
            names = _unpickled_names(table.attrs.get(f"{field}_kind"))
            parts |= {name: (table, (field, j)) for j, name in enumerate(names[: shape[0]])}
    return parts


class _Pickled:
    """What stands for numpy's arrays and types in a pickle: it keeps what it is given."""

    def __init__(self, *given: Any) -> None:
        self.state: Any = given

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def values(self) -> Any:
        """Return the elements of an array of objects."""
        return self.state[-1] if self.state else None


class _PlainUnpickler(pickle.Unpickler):
    # PyTables pickles lists of names into attributes, pandas arrays of names into data sets. A
    # pickle that wants anything else may run whatever code it likes: it gets nothing.
    def find_class(self, module: str, name: str) -> type[_Pickled]:
        if module.partition(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return _Pickled
        msg = f"an attribute wants {module}.{name}"
        raise pickle.UnpicklingError(msg)


def _unpickled_names(attribute: Any) -> list[str]:
    if attribute is None:
        return []
    try:
        raw = attribute.tobytes() if isinstance(attribute, np.generic) else bytes(attribute)
        found = _PlainUnpickler(io.BytesIO(raw)).load()
        found = found.values() if isinstance(found, _Pickled) else found
    except (
        *(pickle.UnpicklingError, ValueError, EOFError, AttributeError, IndexError, TypeError),
        *(KeyError, OverflowError, MemoryError),
    ) as error:
        msg = f"the names of its columns cannot be read: {error}"
        raise ValueError(msg) from error
    return [_text(name) for name in found] if isinstance(found, list | tuple) else []


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def check_filters(data: h5py.Dataset, path: Path) -> None:
    """Refuse a data set, with an `InputError`, of which damage may crash a process."""
    plist = data.id.get_create_plist()
    codes = {int(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())}
    if codes <= hdf5_table.ROBUST_FILTERS:
        return
    msg = (
        f"{path}: '{data.name}' is compressed with HDF5 filters {sorted(codes)}, of which damage "
        "may crash a process; write it with gzip, Blosc or zstd"
    )
    raise InputError(msg)
