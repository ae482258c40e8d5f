"""One table in an HDF5 file: found by its width, checked before a row of it is trusted.

What HDF5 makes of a damaged file reaches from an error to a crash of the process
(`tests/events/test_mutated_files.py`); behind this module it is one `InputError`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from math import prod
from pathlib import Path

import h5py

from tnt_coffea.errors import InputError

__all__ = [
    "BLOCK_BYTES",
    "ROBUST_FILTERS",
    "check_complete",
    "check_table",
    "holds_width",
    "opened",
    "opened_table",
    "row_bytes",
    "rows_unpacked_together",
    "stamp",
]

BLOCK_BYTES = 256 << 20
"""Most dense rows that have to be unpacked together; a worker shall stay below 1 GiB."""

ROBUST_FILTERS = frozenset({1, 2, 3, 32001, 32004, 32015, 32026})
"""gzip, shuffle, Fletcher32, Blosc, LZ4, zstd, Blosc2: they refuse damaged data. Of the others,
bitshuffle crashes the process on about one damaged file in twenty, the rest are not known."""


@contextmanager
def opened(path: Path, expected: str) -> Iterator[h5py.File]:
    """Give an HDF5 file; what is damaged in it is one clear error.

    Parameters
    ----------
    path
        The file.
    expected
        What is expected in it, for messages.

    Raises
    ------
    InputError
        The file is no readable HDF5, or what the block reads of it is damaged.
    """
    import hdf5plugin  # noqa: F401  registers the filters that HDF5 itself does not have

    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    # What h5py makes of HDF5's errors depends on the call that met the damage.
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = (
            f"{path}: not readable as HDF5: {reason}. Expected {expected}; the file "
            "is damaged or was cut short, compare its size with the source's and fetch it again"
        )
        raise InputError(msg) from error


@contextmanager
def opened_table(path: Path, widths: Collection[int], expected: str) -> Iterator[h5py.Dataset]:
    """Give the one table of a file that has one of the widths.

    Parameters
    ----------
    path
        The file.
    widths
        Columns that the table may have.
    expected
        What is expected, for messages.

    Raises
    ------
    InputError
        The file is no readable HDF5, has no such table of floats or several, or no row; or
        what the block reads of it is damaged.
    """
    with opened(path, expected) as file:
        yield _found(file, path, widths, expected)


def holds_width(path: Path, widths: Collection[int]) -> bool:
    """Tell whether a file has a table of one of the widths, as far as it can be read."""
    with suppress(InputError), opened(path, "a table") as file:

        def visit(name: str, item: h5py.Dataset | h5py.Group) -> bool | None:
            wide = isinstance(item, h5py.Dataset) and item.ndim == 2 and item.shape[1] in widths
            return True if wide else None

        return file.visititems(visit) is True
    return False


def _found(file: h5py.File, path: Path, widths: Collection[int], expected: str) -> h5py.Dataset:
    shapes: dict[str, tuple[int, ...] | None] = {}
    found: list[h5py.Dataset] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            shapes[name] = item.shape
            if item.ndim == 2 and item.shape[1] in widths:
                found.append(item)

    file.visititems(visit)
    if len(found) != 1:
        there = ", ".join(f"'{name}' {shape}" for name, shape in sorted(shapes.items())[:6])
        msg = f"{path}: expected {expected}, found {there or 'no data set at all'}"
        raise InputError(msg)
    table = found[0]
    if table.dtype.kind != "f":
        msg = f"{path}: the table holds {table.dtype}, expected float32 or float64"
        raise InputError(msg)
    if table.shape[0] == 0:
        msg = f"{path}: the table has no events"
        raise InputError(msg)
    return table


def check_table(path: Path, widths: Collection[int], expected: str) -> int:
    """Return the rows of the one table of a file, after checking that they can be read.

    Parameters
    ----------
    path, widths, expected
        As `opened_table`.

    Raises
    ------
    InputError
        As `opened_table`; or a filter is not there, rows were never written, they cannot be
        read a few at a time, or a filter that crashes on damage does so.
    """
    with opened_table(path, widths, expected) as table:
        filters = _check_filters(table, path)
        check_complete(table, path)
        n, name = int(table.shape[0]), str(table.name)
    if not filters <= ROBUST_FILTERS:
        _check_unpacks(path, stamp(path), name, n)
    return n


def stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written anew: time, size, inode."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _check_filters(table: h5py.Dataset, path: Path) -> set[int]:
    plist = table.id.get_create_plist()
    codes = set()
    for i in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(i)
        codes.add(int(code))
        if not h5py.h5z.filter_avail(code):
            msg = (
                f"{path}: compressed with HDF5 filter {code} ({name.decode(errors='replace')}), "
                "which neither h5py nor hdf5plugin has; write it with Blosc, zstd or gzip"
            )
            raise InputError(msg)
    together = rows_unpacked_together(table) * row_bytes(table)
    if together > BLOCK_BYTES:
        msg = (
            f"{path}: compressed in chunks of {table.chunks}, so that rows come only "
            f"{together / 2**20:.0f} MiB at a time, and {BLOCK_BYTES >> 20} MiB are the most; "
            f"rewrite it: h5repack -l {table.name}:CHUNK=100x{table.shape[1]} OLD.h5 NEW.h5"
        )
        raise InputError(msg)
    return codes


def check_complete(data: h5py.Dataset, path: Path) -> None:
    """Refuse a data set of which a part was never written: HDF5 reads zeros there.

    Raises
    ------
    InputError
        Bytes or chunks are missing, or a file that a virtual data set consists of.
    """
    if data.is_virtual:
        for source in data.virtual_sources():
            # Relative to the file, as HDF5 looks for it; "." is the file itself.
            if source.file_name != "." and not Path(path.parent, source.file_name).exists():
                msg = (
                    f"{path}: '{data.name}' consists of other files, and {source.file_name} is gone"
                )
                raise InputError(msg)
        return
    n = len(data)
    if data.chunks is None or not data.id.get_create_plist().get_nfilters():
        written, expected = data.id.get_storage_size(), n * row_bytes(data)
        what = "bytes"
    else:
        sides = zip(data.shape, data.chunks, strict=True)
        written, expected = data.id.get_num_chunks(), prod(-(-size // step) for size, step in sides)
        what = "chunks"
    if written < expected:
        msg = (
            f"{path}: a table of {n} rows of which only {written} of {expected} {what} were "
            "written; what wrote the file was stopped, write it again"
        )
        raise InputError(msg)


_UNPACK = """
import sys
import h5py, hdf5plugin
with h5py.File(sys.argv[1]) as file:
    table = file[sys.argv[2]]
    for start in range(0, len(table), 1000):
        table[start : start + 1000]
"""


@lru_cache(maxsize=64)
def _check_unpacks(path: Path, when: tuple[int, ...], name: str, n: int) -> None:
    # In a process of its own, which a damaged chunk may kill: there is no other way to
    # turn a crash inside a filter into an error. It costs one more reading of the file.
    command = [sys.executable, "-c", _UNPACK, str(path), name]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60 + n / 1000, check=False)
    except subprocess.TimeoutExpired:
        reason = "unpacking it does not come to an end"
    else:
        if done.returncode == 0:
            return
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason"]
        reason = (
            f"unpacking it crashes ({signal.Signals(-done.returncode).name})"
            if done.returncode < 0
            else f"unpacking it fails: {said[-1]}"
        )
    msg = f"{path}: {reason}. The file is damaged; fetch it again, or write it with Blosc"
    raise InputError(msg)


def rows_unpacked_together(table: h5py.Dataset) -> int:
    """Return how many rows a compressed chunk holds; 1 where any row can be read alone."""
    compressed = table.chunks is not None and table.id.get_create_plist().get_nfilters()
    return int(table.chunks[0]) if compressed else 1


def row_bytes(table: h5py.Dataset) -> int:
    """Return the size of an unpacked row in bytes."""
    return int(prod(table.shape[1:])) * int(table.dtype.itemsize)
