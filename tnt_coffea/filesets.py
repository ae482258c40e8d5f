"""Files by data set, the roles of the data sets, and the work items they are cut into.

A data set has one of four roles: `data` are searched, `simulation` is background by
construction, `prior:NAME` and `signal:NAME` are simulated signal of a model called NAME. Only data
are searched and fitted; a training may read simulation and priors, a search weights simulation
into a background, and fills signals, which train nothing, into templates.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from tnt_coffea.config import SkimSettings
from tnt_coffea.errors import ConfigError, InputError, StorageError
from tnt_coffea.events.hdf5_table import other_files
from tnt_coffea.events.locations import located
from tnt_coffea.events.remote import RemoteFile, file_of, traveller
from tnt_coffea.events.roles import DATA, checked_name, checked_role, is_signal
from tnt_coffea.events.sources import SOURCES, source_of
from tnt_coffea.events.stamps import Stamp, check_unchanged, stamp_of
from tnt_coffea.storage import file_sha256

__all__ = ["UNREADABLE", "BadFile", "Fileset", "WorkItem"]

UNREADABLE = "unreadable"
"""Stands for the hash of a file that cannot be read."""
_PIECE = 1 << 24
"""Bytes of a file at an address that are asked for at once."""


@dataclass(frozen=True)
class WorkItem:
    """A range of entries of one file.

    Attributes
    ----------
    dataset, path, source
        Where the entries are; source is a name in `events.sources.SOURCES`. An address is whole,
        as `file` needs it: it may hold what is not to be shown.
    start, stop
        Entries [start, stop).
    role
        Of the data set.
    stamp
        Of the file when the item was planned (`events.stamps`).
    content
        Of the file, for workers that do not see it.
    """

    dataset: str
    path: str
    source: str
    start: int
    stop: int
    role: str = DATA
    stamp: Stamp = ()
    content: bytes = field(default=b"", compare=False)

    def __len__(self) -> int:
        return self.stop - self.start

    def __repr__(self) -> str:
        """Return all that the item is, without what may be secret."""
        stamp = hashlib.blake2b(repr(self.stamp).encode(), digest_size=8).hexdigest()
        return f"<{type(self).__name__} {self.key} ({self.source}, {self.role}, {stamp})>"

    @property
    def file(self) -> Path:
        """The file; as text it may be shown."""
        return file_of(self.path)

    def halves(self) -> tuple[WorkItem, WorkItem]:
        """Return the item as two."""
        middle = (self.start + self.stop) // 2
        return replace(self, stop=middle), replace(self, start=middle)

    def check(self) -> None:
        """Check that the file is still the one that was planned with.

        Raises
        ------
        InputError
            It was replaced, has grown or shrunk, or is gone.
        """
        if not self.content:
            check_unchanged(self.stamp)

    def brought(self) -> WorkItem:
        """Return the item with its file's content; one at an address is read where the work is.

        Raises
        ------
        InputError
            The file is not there or not ours to read.
        StorageError
            The disk fails, perhaps for the moment.
        """
        file = self.file
        if isinstance(file, RemoteFile):
            return self
        try:
            return replace(self, content=file.read_bytes())
        except OSError as error:
            gone = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
            raise (InputError if gone else StorageError)(_unreadable(file, error)) from error

    @contextmanager
    def here(self) -> Iterator[Path]:
        """Give the file, or a file of its content where that came along."""
        if not self.content:
            yield self.file
            return
        with NamedTemporaryFile(suffix=self.file.suffix) as file:
            file.write(self.content)
            file.flush()
            yield Path(file.name)

    @property
    def key(self) -> str:
        """The item as text, unique in a pass."""
        return f"{self.dataset}: {self.file}, entries {self.start}-{self.stop}"


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be opened, is of no known source, or holds no events.

    Attributes
    ----------
    dataset, path
        Which one.
    reason
        Why, in words.
    """

    dataset: str
    path: Path
    reason: str

    @property
    def key(self) -> str:
        """The file as text, unique in a pass."""
        return f"{self.dataset}: {self.path.absolute()}"


@dataclass(frozen=True)
class Fileset:
    r"""Files by data set, as in coffea, and what each data set is there for.

    Several data sets of role `data` are searched as one sample: their events are summed.

    Attributes
    ----------
    files
        Paths by data set.
    source
        Name in `events.sources.SOURCES` that all files are read as; None: by their content.
    roles
        `data`, `simulation`, `prior:NAME` or `signal:NAME` by data set; those not named here are
        data.
    states
        Size and time of the last change of the files, where they were noted (`noted`).

    Raises
    ------
    ConfigError
        A data set's name cannot be that of a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     paths = [Path(folder, name) for name in ("box.csv", "herwig.csv")]
    ...     for path in paths:
    ...         _ = path.write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n")
    ...     fileset = Fileset.from_paths(
    ...         {"box": paths[:1], "herwig": paths[1:]}, roles={"herwig": "simulation"}
    ...     )
    ...     [(item.dataset, item.source, item.role) for item in fileset.items(1000)]
    [('box', 'table', 'data'), ('herwig', 'table', 'simulation')]
    >>> fileset.searched.files.keys()
    dict_keys(['box'])
    """

    files: Mapping[str, tuple[Path, ...]]
    source: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, Stamp] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in self.files:
            checked_name(name)

    @classmethod
    def from_paths(
        cls,
        files: Any,
        source: str | None = None,
        roles: Mapping[str, str] | None = None,
        *,
        missing_ok: bool = False,
    ) -> Fileset:
        """Return the fileset of existing files.

        Parameters
        ----------
        files
            A path or several, which are the data set `data`; or paths by data set; or a fileset
            of coffea, with roles as `metadata: {role: simulation}`. A path is that of a file, of
            a folder with files, a pattern such as `runs/*.root`, a list with a path a line
            (.txt), or coffea's fileset as JSON.
        source, roles
            As the attributes.
        missing_ok
            Keep paths that do not exist, for passes that leave bad files out and list them.

        Raises
        ------
        ConfigError
            There is no such source or role, a role is given to no data set, or a data set's
            name cannot be that of a folder.
        InputError
            A data set has no file, none is data, a path does not exist, is given twice, or is
            no path. Whether there is a file at an address is asked when items are planned.
        """
        checked, said = located(files)
        for name in checked:
            checked_name(name)
        roles = {**said, **(roles or {})}
        if not checked or not all(checked.values()):
            msg = f"no file given for {[name for name, paths in checked.items() if not paths]}"
            raise InputError(msg)
        seen: set[Path] = set()
        for path in (path for paths in checked.values() for path in paths):
            try:
                str(path).encode()
            except UnicodeEncodeError as error:
                msg = (
                    f"{os.fsencode(path)!r}: the name cannot be read in this locale's encoding "
                    f"({sys.getfilesystemencoding()}): set PYTHONUTF8=1, or rename the file"
                )
                raise InputError(msg) from error
            if isinstance(path, RemoteFile):  # planning asks for it
                _refuse_twice(path, seen)
                continue
            try:
                missing = not path.exists()
            except OSError as error:  # a folder above it that is not ours to enter
                raise InputError(_unreadable(path, error)) from error
            if missing and not missing_ok:
                msg = f"{path}: no such file"
                raise InputError(msg)
            if not missing and not path.is_file():
                msg = f"{path}: no regular file, expected a file with events"
                raise InputError(msg)
            _refuse_twice(path, seen)
        if source is not None and source not in SOURCES:
            msg = f"no source '{source}'; tnt_coffea reads {', '.join(SOURCES)}"
            raise ConfigError(msg)
        named = {dataset: checked_role(role) for dataset, role in roles.items()}
        if unknown := sorted(set(named) - set(checked)):
            msg = f"roles of {', '.join(unknown)}, which no files are given for"
            raise ConfigError(msg)
        fileset = cls(checked, source, named)
        if not fileset.searched.files:
            msg = (
                f"no data to search among {', '.join(f'{d} ({r})' for d, r in named.items())}; "
                "simulation, priors and signals are not searched"
            )
            raise InputError(msg)
        return fileset

    def role(self, dataset: str) -> str:
        """Return the role of a data set."""
        return self.roles.get(dataset, DATA)

    @property
    def searched(self) -> Fileset:
        """The data sets of role data alone."""
        return replace(self.of_roles(DATA), roles={})

    def of_roles(self, *roles: str) -> Fileset:
        """Return the data sets of some roles alone."""
        files = {name: paths for name, paths in self.files.items() if self.role(name) in roles}
        own = {name: role for name, role in self.roles.items() if name in files}
        return replace(self, files=files, roles=own)

    def of_signals(self) -> Fileset:
        """Return the data sets of simulated signals for templates alone."""
        return self.of_roles(*filter(is_signal, self.roles.values()))

    def without_signals(self) -> Fileset:
        """Return all other data sets."""
        return self.of_roles(*(r for r in map(self.role, self.files) if not is_signal(r)))

    def read_with(self, settings: SkimSettings) -> Fileset:
        """Return the fileset as a skim with these settings reads it.

        Where they map the columns of a table, every file is one, whatever its content looks like.
        """
        mapped = settings.table is not None and self.source is None
        return replace(self, source="table") if mapped else self

    def items(self, chunk_size: int) -> list[WorkItem]:
        """Return work items of at most `chunk_size` entries each.

        Raises
        ------
        InputError
            A file cannot be read, or is of no known source or another one than named.
        """
        return [
            item
            for dataset, paths in self.files.items()
            for path in paths
            for item in self._items_of(dataset, path, chunk_size)
        ]

    def sound_items(self, chunk_size: int) -> tuple[list[WorkItem], list[BadFile]]:
        """Return the work items of the files that can be read, and the files that cannot."""
        items: list[WorkItem] = []
        bad: list[BadFile] = []
        for dataset, paths in self.files.items():
            for path in paths:
                try:
                    items += self._items_of(dataset, path, chunk_size)
                except InputError as error:
                    bad.append(BadFile(dataset, path, str(error)))
        return items, bad

    @property
    def columns_known(self) -> bool:
        """Whether the settings say which columns a skim of the files has.

        They do not for tables of features and stored skims, which bring their own. The first
        readable file of every data set counts; where there is none, the skim says so.
        """
        for paths in self.files.values():
            for path in paths:
                try:
                    name = self._source_name(path)
                except InputError:
                    continue
                if name in ("table", "skim"):
                    return False
                break
        return True

    def noted(self) -> Fileset:
        """Return the fileset with the state of its files now: changed ones are then refused."""
        states = {}
        for path in (path for paths in self.files.values() for path in paths):
            try:
                states[traveller(path)] = stamp_of(path)
            except (InputError, OSError):
                continue  # planning says so
        return replace(self, states=states)

    def _items_of(self, dataset: str, path: Path, chunk_size: int) -> list[WorkItem]:
        absolute = traveller(path)
        try:
            stamp = self.states.get(absolute) or stamp_of(path)
        except OSError as error:
            raise InputError(_unreadable(path, error)) from error
        name = self._source_name(path)
        n = SOURCES[name].entries(path)
        check_unchanged(stamp)
        role = self.role(dataset)
        return [
            WorkItem(dataset, absolute, name, start, min(start + chunk_size, n), role, stamp)
            for start in range(0, n, chunk_size)
        ]

    def _source_name(self, path: Path) -> str:
        if self.source is None:
            found = source_of(path)
            return next(name for name, module in SOURCES.items() if module is found)
        # What the columns of a table mean is said in the settings, and need not show.
        if self.source != "table" and not SOURCES[self.source].is_mine(path):
            msg = f"{path}: the content is not of source '{self.source}', as was said"
            raise InputError(msg)
        return self.source

    def content_hashes(self, *, skip_bad: bool = False) -> dict[str, list[str]]:
        """Return the SHA-256 of every file by data set, in an order of their own.

        These are over the bytes, truth column included: a skim whose labels changed is
        made again. Everything behind the skim is keyed by its content without truth.

        Parameters
        ----------
        skip_bad
            Take `UNREADABLE` for a file that cannot be read, so that it counts as another one
            once it can.

        Raises
        ------
        InputError
            A file cannot be read, and `skip_bad` is not set.
        """
        return {
            name: sorted(_file_hash(path, skip_bad) for path in paths)
            for name, paths in self.files.items()
        }


def _refuse_twice(path: Path, seen: set[Path]) -> None:
    if path.resolve() in seen:
        msg = f"{path}: given twice; its events would count double"
        raise InputError(msg)
    seen.add(path.resolve())


def _remote_hash(file: RemoteFile, skip_bad: bool) -> str:
    """Return the hash of what the server says names the bytes, or else that of the bytes."""
    try:
        status = file.stat()
        if "?" not in file.url and (version := file.version()):
            said = f"{file} {status.st_size} {version}"
            return f"at-address:{hashlib.sha256(said.encode()).hexdigest()}"
        digest = hashlib.sha256()
        with file.open() as content:
            while piece := content.read(_PIECE):
                digest.update(piece)
        if file.stat() != status:
            msg = f"{file}: was changed while it was read; run the command again"
            raise InputError(msg)
    except InputError:
        if skip_bad:
            return UNREADABLE
        raise
    return digest.hexdigest()


def _file_hash(path: Path, skip_bad: bool) -> str:
    if isinstance(path, RemoteFile):
        return _remote_hash(path, skip_bad)
    # Also of the files that a virtual HDF5 data set consists of, or that a link leads to.
    digests = []
    for part in (path, *other_files(path)):
        try:
            stamp = stamp_of(part)
            digests.append(file_sha256(part))
        except OSError as error:
            if skip_bad:
                return UNREADABLE
            raise InputError(_unreadable(part, error)) from error
        check_unchanged(stamp)
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read: {error.strerror or error}; check its permissions and its disk"
