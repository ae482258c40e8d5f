"""ROOT trees and RNTuples: what a file holds, and ranges of it, with errors that name the file."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak

from tnt_coffea.errors import InputError

__all__ = ["branches", "entries", "flat_branches", "nano_events", "read", "tree_holds", "where"]

_TREES = frozenset({"TTree", "ROOT::RNTuple"})
_NUMBERS = frozenset(
    {"bool", "float", "double"} | {f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)}
)


def tree_holds(path: Path, tree: str, *alternatives: Iterable[str]) -> bool:
    """Tell whether a ROOT file has a tree with all branches of one of the alternatives.

    Raises
    ------
    InputError
        The file starts like ROOT, but is cut short or damaged.
    """
    with path.open("rb") as file:
        if file.read(4) != b"root":
            return False
    there = branches(path, tree)
    return any(there.issuperset(names) for names in alternatives)


def branches(path: Path, tree: str) -> frozenset[str]:
    """Return the names of a tree's branches or an RNTuple's fields; none where it is not there."""
    with _reading(path) as file:
        if tree not in file or file.classname_of(tree) not in _TREES:
            return frozenset()
        return frozenset(file[tree].keys(full_paths=False))


def flat_branches(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the names of the branches with one number an entry, by tree or RNTuple.

    Raises
    ------
    InputError
        The file is cut short or damaged.
    """
    with _reading(path) as file:
        trees = {name for name, kind in file.classnames(cycle=False).items() if kind in _TREES}
        return {
            tree: tuple(
                name
                for name, kind in file[tree].typenames(full_paths=False).items()
                if kind.removeprefix("std::") in _NUMBERS
            )
            for tree in sorted(trees)
        }


def entries(path: Path, tree: str) -> int:
    """Return the number of entries of a tree.

    Raises
    ------
    InputError
        The file cannot be read, or the tree has no entry.
    """
    with _reading(path) as file:
        n = int(file[tree].num_entries)
    if n == 0:
        msg = f"{path}: the tree '{tree}' has no events"
        raise InputError(msg)
    return n


def read(path: Path, tree: str, names: Iterable[str], start: int, stop: int) -> dict[str, ak.Array]:
    """Return entries [start, stop) of the named branches that the tree has, by name.

    Raises
    ------
    InputError
        The file cannot be read, or its baskets cannot be decompressed.
    """
    wanted = [name for name in names if name in branches(path, tree)]
    with _reading(path, f", entries {start} to {stop} of '{tree}'") as file:
        found: dict[str, ak.Array] = file[tree].arrays(
            wanted, entry_start=start, entry_stop=stop, how=dict
        )
    return found


def nano_events(
    columns: Mapping[str, ak.Array], path: Path, start: int, stop: int, metadata: dict[str, Any]
) -> Any:
    """Return columns as NanoEvents of coffea's `BaseSchema`."""
    # Slow imports stay out of the way of `tnt-coffea --help`.
    from coffea.nanoevents import BaseSchema, NanoEventsFactory
    from coffea.nanoevents.mapping import SimplePreloadedColumnSource

    source = SimplePreloadedColumnSource(
        columns, str(path), stop - start, f"entries {start}-{stop}"
    )
    return NanoEventsFactory.from_preloaded(
        source, schemaclass=BaseSchema, metadata=metadata
    ).events()


def where(events: Any) -> str:
    """Return the file and first entry of NanoEvents, for messages."""
    meta = events.metadata or {}
    return f"{meta.get('filename', 'events')}, entries {meta.get('entrystart', 0)} on"


def _check_length(path: Path, size: int) -> None:
    with path.open("rb") as file:
        header = file.read(20)
    # The header says where the file ends: in 4 bytes, or in 8 above 2 GB.
    long = int.from_bytes(header[4:8], "big") >= 1_000_000
    end = int.from_bytes(header[12:20] if long else header[12:16], "big")
    if len(header) < 20 or end > size:
        msg = (
            f"{path}: cut short: its header says {end} bytes, the file has {size}; "
            "fetch or write it again"
        )
        raise InputError(msg)


@contextmanager
def _reading(path: Path, what: str = "") -> Iterator[Any]:
    try:
        yield _opened(path)
    except Exception as error:  # uproot's and its decompressors' exceptions share no base class
        if isinstance(error, FileNotFoundError | PermissionError | InputError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = (
            f"{path}{what}: not readable as ROOT: {reason}. The file is damaged or was cut "
            "short, compare its size with the source's and fetch it again"
        )
        raise InputError(msg) from error


class _LastFile:
    """The file that was read last: a tree of 1500 branches takes half a second to open."""

    def __init__(self) -> None:
        self.key: tuple[Any, ...] = ()
        self.file: Any = None
        atexit.register(self.close)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        self.key, self.file = (), None


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.last = _LastFile()


_OPEN = _PerThread()


def _opened(path: Path) -> Any:
    import uproot

    status, last = path.stat(), _OPEN.last
    # A worker that was forked shares its parent's file descriptor, and with it the position.
    key = (os.getpid(), path.resolve(), status.st_size, status.st_mtime_ns)
    if last.key != key:
        if last.key[:1] == key[:1]:
            last.close()
        _check_length(path, status.st_size)
        # A file that is open: of a path with "::" fsspec would read what stands before it.
        # The arrays are not kept: 100 MB of branches that nothing asks for again.
        last.file, last.key = uproot.open(path.open("rb"), array_cache=None), key
    return last.file
