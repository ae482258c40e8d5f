"""ROOT trees and RNTuples: what a file holds, and ranges of it, with errors that name the file."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import awkward as ak

from tnt_coffea.errors import InputError, TntCoffeaError
from tnt_coffea.storage import spelled

__all__ = [
    "absent_columns",
    "branches",
    "column",
    "contents",
    "entries",
    "flat_branches",
    "holds",
    "nano_events",
    "read",
    "tree_holds",
    "where",
]

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
    status = path.stat()
    return _branches(path, tree, (path.resolve(), status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=10_000)
def _branches(path: Path, tree: str, state: tuple[Any, ...]) -> frozenset[str]:
    # Planning asks for them again, of many files: to open a tree of 1500 branches takes long.
    with _reading(path) as file:
        if tree not in file or file.classname_of(tree) not in _TREES:
            return frozenset()
        names = frozenset((*file[tree].keys(full_paths=False), *_members(file[tree])))
    return _SAME_NAMES.setdefault(names, names)


_SAME_NAMES: dict[frozenset[str], frozenset[str]] = {}
"""The names of the files of one menu are one object, not one a file."""


def _members(tree: Any) -> dict[str, str]:
    # An RNTuple may hold a collection as records: its members have NanoAOD's flat names here.
    names: list[str] = [] if hasattr(tree, "branches") else tree.keys()
    return {name.replace(".", "_"): name for name in names if "." in name}


def contents(path: Path) -> str:
    """Return in words which trees and RNTuples a file holds, and some of their branches.

    Raises
    ------
    InputError
        The file is cut short or damaged.
    """
    with _reading(path) as file:
        kinds = file.classnames(cycle=False)
        found = [
            f"'{name}' ({_listed(sorted(file[name].keys(recursive=False, full_paths=False)))})"
            for name, kind in sorted(kinds.items())
            if kind in _TREES
        ]
        other = sorted({kind for kind in kinds.values() if kind != "TDirectory"})
    if found:
        return f"it holds the tree{'s' * (len(found) > 1)} {_listed(found, 4)}"
    return f"it holds no tree{f', only {_listed(other)}' if other else ''}"


def _listed(names: list[str], most: int = 8) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


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


def read(
    path: Path, tree: str, names: Iterable[str], start: int, stop: int, also: Iterable[str] = ()
) -> dict[str, ak.Array]:
    """Return entries [start, stop) of the named branches that the tree has, by name.

    Parameters
    ----------
    path, tree
        What to read from.
    names
        Branches that are left out where the tree has none of that name.
    start, stop
        Entries [start, stop).
    also
        Further branches, which must be there.

    Raises
    ------
    InputError
        The file cannot be read, its baskets cannot be decompressed, or a branch of `also` is
        not there.
    """
    there = branches(path, tree)
    if missing := [name for name in also if name not in there]:
        raise InputError(absent_columns(path, missing, there))
    wanted = dict.fromkeys(name for name in (*names, *also) if name in there)
    with _reading(path, f", entries {start} to {stop} of '{tree}'") as file:
        opened, entries = file[tree], {"entry_start": start, "entry_stop": stop}
        members = {name: full for name, full in _members(opened).items() if name in wanted}
        flat = [name for name in wanted if name not in members]
        found: dict[str, ak.Array] = opened.arrays(flat, how=dict, **entries) if flat else {}
        found |= {name: opened[full].array(**entries) for name, full in members.items()}
    return found


def nano_events(
    columns: Mapping[str, ak.Array], path: Path, start: int, stop: int, metadata: dict[str, Any]
) -> Any:
    """Return columns as NanoEvents of coffea's `BaseSchema`."""
    # Slow imports stay out of the way of `tnt-coffea --help`.
    from coffea.nanoevents import BaseSchema, NanoEventsFactory
    from coffea.nanoevents.mapping import SimplePreloadedColumnSource

    source = SimplePreloadedColumnSource(
        columns, spelled(path), stop - start, f"entries {start}-{stop}"
    )
    return NanoEventsFactory.from_preloaded(
        source, schemaclass=BaseSchema, metadata=metadata
    ).events()


def absent_columns(
    path: str | Path,
    missing: list[str],
    there: Iterable[str],
    who: str = "skim.select or systematics.weights",
) -> str:
    """Return the message about columns that settings ask for and a file lacks."""
    near = [name for one in missing for name in get_close_matches(one, sorted(there), 2)]
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{path}: {who} asks for {', '.join(missing)}, which the file has not{hint}"


def holds(events: Any, flat: str, collection: str, part: str) -> bool:
    """Tell whether NanoEvents have a part of a collection, under any schema.

    Parameters
    ----------
    events
        NanoEvents.
    flat
        Its name under coffea's `BaseSchema`, which is that of the file's branch.
    collection, part
        Its names under the source's own schema.

    Examples
    --------
    >>> events = ak.Array({"FatJet_pt": [[900.0]], "MET": [{"pt": 20.0}]})
    >>> holds(events, "FatJet_pt", "FatJet", "pt"), holds(events, "MET_pt", "MET", "pt")
    (True, True)
    >>> column(events, "MET_pt", "MET", "pt").tolist()
    [20.0]
    """
    fields = events.fields
    return flat in fields or (collection in fields and part in events[collection].fields)


def column(events: Any, flat: str, collection: str, part: str) -> ak.Array:
    """Return a part of a collection that NanoEvents have; parameters as `holds`."""
    found = events[flat] if flat in events.fields else events[collection][part]
    return ak.without_parameters(ak.materialize(found))


def where(events: Any) -> str:
    """Return the file and first entry of NanoEvents, for messages."""
    meta = events.metadata or {}
    return f"{meta.get('filename', 'events')}, entries {meta.get('entrystart', 0)} on"


def _check_length(path: Path, size: int) -> None:
    with path.open("rb") as file:
        header = file.read(20)
    # The header says where the file ends: in 4 bytes, or in 8 above 2 GB.
    long = int.from_bytes(header[4:8], "big", signed=True) >= 1_000_000
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
        if isinstance(error, FileNotFoundError | PermissionError | TntCoffeaError):
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
        # The arrays are not kept: 100 MB of branches that nothing asks for again.
        # A file that is open already: uproot takes "::" and "x:" in a path for its own syntax.
        content = path.open("rb")
        try:
            last.file, last.key = uproot.open(content, array_cache=None), key
        except BaseException:
            content.close()
            raise
    return last.file
