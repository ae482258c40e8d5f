"""One table in an HDF5 file: found by its width, checked before a row of it is trusted.

A data set may lie in other files: those of a virtual one, raw files, what a link leads to. HDF5
reads zeros where such a file is not found or too short, and one that holds itself crashes the
process, so all of that is looked at before a row is read.

What HDF5 makes of a damaged file reaches from an error to a crash of the process
(`tests/events/test_mutated_files.py`); behind this module it is one `InputError`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from math import prod
from operator import lt
from pathlib import Path
from typing import Any

import h5py

from tnt_coffea.errors import InputError
from tnt_coffea.events.remote import RemoteFile, told

__all__ = [
    "BLOCK_BYTES",
    "ROBUST_FILTERS",
    "check_complete",
    "check_table",
    "holds_width",
    "is_hdf5",
    "opened",
    "opened_table",
    "other_files",
    "row_bytes",
    "rows_unpacked_together",
    "stamp",
]

BLOCK_BYTES = 256 << 20
"""Most dense rows that have to be unpacked together; a worker shall stay below 1 GiB."""

ROBUST_FILTERS = frozenset({1, 2, 3, 32001, 32004, 32015, 32026})
"""gzip, shuffle, Fletcher32, Blosc, LZ4, zstd, Blosc2: they refuse damaged data. Of the others,
bitshuffle crashes the process on about one damaged file in twenty, the rest are not known."""


_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DEEPEST = 16
"""Most virtual data sets that consist of one another."""


def is_hdf5(path: Path) -> bool:
    """Tell whether a file starts like HDF5, behind a user block too."""
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset + len(_SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
            offset = max(512, 2 * offset)
    return False


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
        with _content(path) as content, h5py.File(content, "r") as file:
            if isinstance(path, RemoteFile):
                _refuse_others(file, path)
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
def _content(path: Path) -> Iterator[Any]:
    """Give what h5py opens: a path, or an open file, whose own errors HDF5 hides."""
    if not isinstance(path, RemoteFile):
        yield path
        return
    with path.open() as content, told(content):
        yield content


def _refuse_others(file: h5py.File, path: Path) -> None:
    # HDF5 would look for them on this machine.
    others: list[str] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
            others.append(name)

    file.visititems(visit)
    others += [name for name, _ in _external_links(file)]
    if others:
        msg = (
            f"{path}: '{others[0]}' consists of other files, which are not looked for at an "
            "address: fetch them all, or write it as one file"
        )
        raise InputError(msg)


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

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and "/_i_" not in f"/{name}":  # of PyTables, an index
            shapes[name] = item.shape

    file.visititems(visit)
    found = [
        name for name, shape in shapes.items() if shape and shape[1:] in {(w,) for w in widths}
    ]
    if len(found) != 1:
        there = ", ".join(f"'{name}' {shape}" for name, shape in sorted(shapes.items())[:6])
        msg = f"{path}: expected {expected}, found {there or 'no data set at all'}" + "".join(
            f"; {reason}" for reason in _reasons(file)
        )
        raise InputError(msg)
    table = file[found[0]]
    if table.external:
        del table  # or HDF5 keeps to where it would look
        table = _beside(file, found[0])
    if table.dtype.kind != "f":
        msg = f"{path}: the table holds {table.dtype}, expected float32 or float64"
        raise InputError(msg)
    if table.shape[0] == 0:
        msg = f"{path}: the table has no events"
        raise InputError(msg)
    if table.is_virtual or table.external:
        check_complete(table, path)
    return table


def _beside(file: h5py.File, name: str) -> h5py.Dataset:
    # Raw files of a data set lie beside its own file; HDF5 looks in the working directory.
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_efile_prefix(b"${ORIGIN}")
    return h5py.Dataset(h5py.h5d.open(file.id, name.encode(errors="surrogateescape"), access))


def _reasons(file: h5py.File) -> Iterator[str]:
    """Say why a table that is there is not taken, and what helps."""
    for name, link in _external_links(file):
        yield f"'{name}' is a link to '{link.path}' of {link.filename}: give that file instead"
    frames: list[str] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        kind = item.attrs.get("pandas_type", b"")
        if kind in ("frame_table", b"frame_table"):
            frames.append(name)

    file.visititems(visit)
    for name in frames:
        yield (
            f"'{name}' is a pandas frame of format='table', of which particles are not read; "
            "write it with to_hdf(..., format='fixed')"
        )


def _external_links(file: h5py.File) -> list[tuple[str, h5py.ExternalLink]]:
    found = []

    def visit(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            found.append((name, link))

    file.visititems_links(visit)
    return found


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
        if isinstance(path, RemoteFile):
            msg = (
                f"{path}: compressed with HDF5 filters {sorted(filters)}, of which damage may "
                "crash a process; fetch the file, or write it with gzip, Blosc or zstd"
            )
            raise InputError(msg)
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


def check_complete(
    data: h5py.Dataset, path: Path, within: tuple[tuple[Path, str], ...] = ()
) -> None:
    """Refuse a data set of which a part was never written or is gone: HDF5 reads zeros there.

    Parameters
    ----------
    data
        The data set.
    path
        Its file.
    within
        File and name of the virtual data sets that it is a part of.

    Raises
    ------
    InputError
        Bytes or chunks are missing, or a file that the data set consists of, or a part of that;
        or it consists of itself.
    """
    if data.is_virtual:
        _check_sources(data, path, within)
    elif data.external:
        _check_raw(data, path)
    else:
        _check_written(data, path)


def _check_written(data: h5py.Dataset, path: Path) -> None:
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


def _check_sources(data: h5py.Dataset, path: Path, within: tuple[tuple[Path, str], ...]) -> None:
    within = (*within, (path.resolve(), str(data.name)))
    mapped = 0
    for source in data.virtual_sources():
        mapped += source.vspace.get_select_npoints()
        place = _place(path, source.file_name)
        what = f"{path}: '{data.name}' consists of other files, and {source.file_name}"
        if not place.exists():
            msg = f"{what} is gone (there is no {place})"
            raise InputError(msg)
        there = (place.resolve(), f"/{source.dset_name.lstrip('/')}")
        if there in within or len(within) > _DEEPEST:
            msg = f"{path}: '{data.name}' is a virtual data set that consists of itself"
            raise InputError(msg)
        same = there[0] == within[-1][0]
        with nullcontext(data.file) if same else opened(place, f"a part of {path}") as file:
            part = file.get(source.dset_name)
            if not isinstance(part, h5py.Dataset):
                msg = f"{what} has no data set '{source.dset_name}'"
                raise InputError(msg)
            if not _covers(part, source):
                msg = f"{what} holds only {part.shape} of its '{source.dset_name}'"
                raise InputError(msg)
            check_complete(part, place, within)
            if not _check_filters(part, place) <= ROBUST_FILTERS:
                _check_unpacks(place, stamp(place), str(part.name), len(part))
    if mapped < data.size:
        msg = (
            f"{path}: '{data.name}' consists of other files, which hold {mapped} of its "
            f"{data.size} numbers; the rest is nowhere"
        )
        raise InputError(msg)


def _covers(part: h5py.Dataset, source: Any) -> bool:
    """Tell whether a data set holds the numbers that a virtual one takes from it."""
    selected = source.src_space
    if selected.get_select_type() == h5py.h5s.SEL_ALL:
        return bool(part.size == source.vspace.get_select_npoints())
    _, last = selected.get_select_bounds()
    return len(last) == part.ndim and all(map(lt, last, part.shape))


def _check_raw(data: h5py.Dataset, path: Path) -> None:
    if not data.id.get_access_plist().get_efile_prefix():  # the working directory
        msg = (
            f"{path}: '{data.name}' keeps its data in raw files, which is read of tables of "
            "particles alone; write it as one file"
        )
        raise InputError(msg)
    there, expected = 0, data.size * data.dtype.itemsize
    for name, offset, size in data.external:
        place = _place(path, name)
        what = f"{path}: '{data.name}' keeps its data in other files, and {name}"
        if not place.exists():
            msg = f"{what} is gone (there is no {place})"
            raise InputError(msg)
        wanted = min(size, expected - there)
        if place.stat().st_size < offset + wanted:
            msg = f"{what} has {place.stat().st_size} of {offset + wanted} bytes"
            raise InputError(msg)
        there += wanted
    if there < expected:
        msg = (
            f"{path}: '{data.name}' keeps its data in other files, with {there} of {expected} bytes"
        )
        raise InputError(msg)


def _place(path: Path, name: str) -> Path:
    """Return the file that a data set of `path` calls by this name; "." is the file itself."""
    return path if name == "." else Path(path.parent, name.replace("%%", "%"))


def other_files(path: Path) -> tuple[Path, ...]:
    """Return the files that a file's data lie in beside itself, those that are there, sorted.

    Parameters
    ----------
    path
        A file of any format; only HDF5 has such.
    """
    if isinstance(path, RemoteFile):  # such are refused
        return ()
    found: set[Path] = set()
    todo = [path]
    while todo:
        here = todo.pop()
        with suppress(InputError, OSError):
            new = {_place(here, name) for name in _names_of_others(here, stamp(here))}
            new = {other for other in new if other.is_file() and not other.samefile(path)}
            todo += new - found
            found |= new
    return tuple(sorted(found))


@lru_cache(maxsize=1 << 14)
def _names_of_others(path: Path, when: tuple[int, ...]) -> frozenset[str]:
    # Every stage asks for them.
    names: set[str] = set()

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            if item.is_virtual:
                names.update(source.file_name for source in item.virtual_sources())
            names.update(raw for raw, _, _ in item.external or ())

    if is_hdf5(path):
        with opened(path, "a table") as file:
            names.update(str(link.filename) for _, link in _external_links(file))
            file.visititems(visit)
    return frozenset(names)


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
