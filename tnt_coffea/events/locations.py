"""Where events are, as users write it: files, folders, patterns, lists, coffea's filesets.

Everything is turned into paths of files by data set. A path that exists is that path, whatever
characters it is made of.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tnt_coffea.errors import InputError
from tnt_coffea.events import table
from tnt_coffea.events.remote import RemoteFile, is_address, shown
from tnt_coffea.events.sources import source_of

__all__ = [
    "SUFFIXES",
    "Located",
    "is_fileset",
    "located",
    "paths_of",
    "read_fileset",
]

SUFFIXES = (
    *(".root", ".h5", ".hdf5", ".hdf", ".parquet", ".csv"),
    *(".hepmc", ".hepmc3", ".hepmc.gz", ".hepmc3.gz"),
)
"""Of a folder only files with these are taken."""
LISTS = (".txt", ".list")
TREES = frozenset({"Events", "Delphes", "CollectionTree", "EventData", "events"})

Located = dict[str, tuple[Path, ...]]


def located(files: Any) -> tuple[Located, dict[str, str]]:
    r"""Return the paths by data set, and the roles that a fileset says, of any form of input.

    Parameters
    ----------
    files
        Words as `paths_of` takes them, one or several, which are the data set `data`; or these
        by data set; or coffea's fileset, as a mapping or as the path of a JSON file.

    Raises
    ------
    InputError
        It is none of these, or as `paths_of`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("a.csv", "b.csv"):
    ...         _ = Path(folder, name).write_text("m_jj,heavy_mass,light_mass\n")
    ...     paths, _ = located({"box": folder, "more": {f"{folder}/*.csv": None}})
    ...     {dataset: [path.name for path in found] for dataset, found in paths.items()}
    {'box': ['a.csv', 'b.csv'], 'more': ['a.csv', 'b.csv']}
    """
    if isinstance(files, Mapping):
        return _of_mapping(files, "the files")
    words = [files] if isinstance(files, str | os.PathLike) else files
    if not isinstance(words, Sequence) or isinstance(words, bytes):
        msg = (
            f"files are given as {type(files).__name__}; expected a path, a list of paths, or "
            "these by data set"
        )
        raise InputError(msg)
    found: dict[str, list[Path]] = {}
    roles: dict[str, str] = {}
    for word in words:
        if is_fileset(word):
            datasets, said = read_fileset(Path(word))
            roles |= said
            for dataset, paths in datasets.items():
                found.setdefault(dataset, []).extend(paths)
        else:
            found.setdefault("data", []).extend(paths_of(word))
    return {dataset: tuple(paths) for dataset, paths in found.items()}, roles


def is_fileset(word: Any) -> bool:
    """Tell whether a word is the path of a JSON file."""
    return (
        isinstance(word, str | os.PathLike)
        and not isinstance(word, RemoteFile)
        and os.fspath(word).endswith(".json")
        and Path(word).is_file()
    )


def read_fileset(path: Path) -> tuple[Located, dict[str, str]]:
    """Return paths and roles by data set of coffea's fileset in a JSON file.

    Raises
    ------
    InputError
        It is no fileset, or as `paths_of`.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path}: not readable as a fileset (JSON): {error}"
        raise InputError(msg) from error
    if not isinstance(values, Mapping):
        msg = f"{path}: no fileset: expected files by data set, found {type(values).__name__}"
        raise InputError(msg)
    return _of_mapping(values, str(path))


def paths_of(word: Any) -> tuple[Path, ...]:
    """Return the files that a word stands for, in an order of their own.

    Parameters
    ----------
    word
        A path or an address (`remote.PROTOCOLS`); a folder, for its files with events
        (`SUFFIXES`, not those of its subfolders); a pattern (`*`, `?`, `[...]`, `**`), of which
        HTTP knows none; or a list (.txt, .list) with such a word a line, as
        they would be typed in the current folder, and comments after `#` at the beginning or
        behind a space.

    Raises
    ------
    InputError
        It is no path, of an unknown protocol, matches nothing, or is a folder without files of
        events.
    """
    if isinstance(word, RemoteFile):
        return (word,)
    if not isinstance(word, str | os.PathLike) or not os.fspath(word):
        msg = f"{word!r} ({type(word).__name__}) is no path of a file with events"
        raise InputError(msg)
    text = os.fspath(word)
    path = Path(text)
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.exists():
            lines = _lines(path) if path.suffix in LISTS else None
            return (path,) if lines is None else tuple(p for line in lines for p in paths_of(line))
    except (OSError, ValueError):  # a folder above it that is not ours; a name that is too long
        return (path,)
    if is_address(text):
        return _at_address(text)
    if glob.has_magic(text):
        found = glob.glob(text, recursive=True)  # noqa: PTH207  Path.glob takes no absolute ones
        matches = sorted(path for path in map(Path, found) if path.is_file())
        if not matches:
            msg = f"{text}: no such file, and no file matches it as a pattern"
            raise InputError(msg)
        return tuple(matches)
    return (path,)


def _at_address(text: str) -> tuple[Path, ...]:
    file = RemoteFile(text)
    path = text.partition("://")[2].partition("/")[2].partition("?")[0]
    folder = not path or path.endswith("/")
    if path.endswith((*LISTS, ".json")):
        msg = f"{file}: a list at an address is not followed; fetch it and name it here"
        raise InputError(msg)
    if not folder and not glob.has_magic(path):
        return (file,)
    if file.protocol.startswith("http"):
        msg = f"{file}: HTTP lists no files; name each, or give a list of them (.txt)"
        raise InputError(msg)
    matches = file.listed(f"{text}*" if folder else text)
    found = [one for one in matches if one.suffix.lower() in SUFFIXES or not folder]
    if not found:
        what = f"a file with events ({', '.join(SUFFIXES)}) in it" if folder else "a file for it"
        msg = f"{file}: the server lists no {what[2:]}"
        raise InputError(msg)
    return tuple(found)


def _in_folder(folder: Path) -> tuple[Path, ...]:
    if (folder / "files.json").exists() and (folder / "config.yaml").exists():
        msg = f"{folder}: a folder of a search, whose stages are no input; name the files"
        raise InputError(msg)
    found = sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        msg = (
            f"{folder}: a folder, expected a file with events, or a folder of them "
            f"({', '.join(SUFFIXES)}); those of its subfolders are '{folder}/**/*.root'"
        )
        raise InputError(msg)
    return tuple(found)


def _lines(path: Path) -> list[str] | None:
    """Return the words of a list, None where the file is something else (a table of features)."""
    with path.open("rb") as file:
        head = file.read(4096)
    first = next((line for line in head.splitlines() if line.strip()[:1] not in (b"", b"#")), b"")
    word = _without_comment(os.fsdecode(first))
    looks = word.lower().endswith(SUFFIXES) or is_address(word) or glob.has_magic(word)
    if b"\0" in head or not word or not (looks or Path(word).exists()):
        return None
    words = [w for w in map(_without_comment, os.fsdecode(path.read_bytes()).splitlines()) if w]
    if nested := [line for line in words if line.endswith(LISTS) or line.endswith(".json")]:
        msg = f"{path}: names the list {shown(nested[0])}; a list names files, folders and patterns"
        raise InputError(msg)
    return words


def _without_comment(line: str) -> str:
    line = line.strip()
    if (
        "#" in line[1:] and not line.startswith("#") and Path(line).exists()
    ):  # a path may hold all characters
        return line
    return re.split(r"(?:^|\s+)#", line, maxsplit=1)[0]


def _of_mapping(values: Mapping[Any, Any], where: str) -> tuple[Located, dict[str, str]]:
    found: Located = {}
    roles: dict[str, str] = {}
    for dataset, given in values.items():
        if not isinstance(dataset, str):
            msg = f"{where}: {dataset!r} is no name of a data set"
            raise InputError(msg)
        place = f"{where}, data set '{dataset}'"
        files = given
        if isinstance(given, Mapping) and "files" in given:
            files = given["files"]
            _check_tree(given.get("treename"), place)
            metadata = given.get("metadata")
            if isinstance(metadata, Mapping) and isinstance(metadata.get("role"), str):
                roles[dataset] = metadata["role"]
        found[dataset] = tuple(_of_dataset(files, place))
    return found, roles


def _of_dataset(files: Any, where: str) -> Iterator[Path]:
    if isinstance(files, str | os.PathLike):
        yield from paths_of(files)
    elif isinstance(files, Mapping):
        for word, about in files.items():
            place = f"{where}, {shown(word) if isinstance(word, str) else word}"
            _check_tree(about.get("object_path") if isinstance(about, Mapping) else about, place)
            steps = _steps(about, place)
            for path in paths_of(word):
                if steps is not None:
                    _check_whole(steps, _entries(path), place)
                yield path
    elif isinstance(files, Sequence) and not isinstance(files, bytes):
        for word in files:
            yield from paths_of(word)
    else:
        msg = f"{where}: expected paths, found {type(files).__name__}"
        raise InputError(msg)


def _steps(about: Any, where: str) -> list[tuple[int, int]] | None:
    """Return the ranges of entries that a fileset chooses of a file, in order; None: all."""
    if not isinstance(about, Mapping) or about.get("steps") is None:
        return None
    given = about["steps"]
    try:
        steps = sorted((start, stop) for start, stop in given)
        sound = all(isinstance(n, int) for step in steps for n in step)
        sound = sound and all(0 <= start <= stop for start, stop in steps)
    except (TypeError, ValueError):
        sound = False
    if not sound:
        msg = f"{where}: steps are no pairs of entries: {given!r:.80}"
        raise InputError(msg)
    if isinstance(about.get("num_entries"), int):
        _check_whole(steps, about["num_entries"], where)
    return steps


def _check_whole(steps: list[tuple[int, int]], entries: int | None, where: str) -> None:
    """Refuse steps that are not every entry once: they cannot be followed."""
    if entries is None:
        return
    chosen, end = 0, 0
    for start, stop in steps:
        if start < end:
            msg = f"{where}: steps choose entry {start} twice; its events would count double"
            raise InputError(msg)
        chosen, end = chosen + stop - start, stop
    if end > entries:
        msg = f"{where}: steps go up to entry {end}, and there are {entries}: made of another file?"
        raise InputError(msg)
    if chosen != entries:
        msg = (
            f"{where}: steps choose {chosen} of {entries} entries; files are read whole, so "
            "take the steps out, or write the events wanted to a file of their own"
        )
        raise InputError(msg)


def _entries(path: Path) -> int | None:
    """Return how many entries a file has; None where planning says that it cannot be read."""
    # Columns of a table that only the settings name are of no known source.
    for entries in (lambda: source_of(path).entries(path), lambda: table.entries(path)):
        try:
            return int(entries())
        except (InputError, OSError):
            continue
    return None


def _check_tree(tree: Any, where: str) -> None:
    if tree is None or (isinstance(tree, str) and tree.partition(";")[0] in TREES):
        return
    msg = (
        f"{where}: the tree {tree!r} is asked for; the trees read are {', '.join(sorted(TREES))}, "
        "and in a table of features the one that has the columns: leave the name out there"
    )
    raise InputError(msg)
