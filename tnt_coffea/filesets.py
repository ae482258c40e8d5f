"""Files by data set, the roles of the data sets, and the work items they are cut into.

A data set has one of three roles: `data` are searched, `simulation` is background by
construction, and `prior:NAME` is simulated signal of a model called NAME. Only data are ever
scored, histogrammed and fitted; a training may read the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tnt_coffea.config import SkimSettings
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events.hdf5_table import other_files
from tnt_coffea.events.roles import DATA, checked_role
from tnt_coffea.events.sources import SOURCES, source_of
from tnt_coffea.events.stamps import Stamp, check_unchanged, stamp_of

__all__ = ["Fileset", "WorkItem"]


@dataclass(frozen=True)
class WorkItem:
    """A range of entries of one file.

    Attributes
    ----------
    dataset, path, source
        Where the entries are; source is a name in `events.sources.SOURCES`.
    start, stop
        Entries [start, stop).
    role
        Of the data set.
    stamp
        Of the file when the item was planned (`events.stamps`).
    """

    dataset: str
    path: str
    source: str
    start: int
    stop: int
    role: str = DATA
    stamp: Stamp = ()

    @property
    def key(self) -> str:
        """The item as text, unique in a pass."""
        return f"{self.dataset}: {self.path}, entries {self.start}-{self.stop}"


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
        `data`, `simulation` or `prior:NAME` by data set; those not named here are data.

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

    @classmethod
    def from_paths(
        cls,
        files: Mapping[str, Sequence[str | Path]],
        source: str | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> Fileset:
        """Return the fileset of existing files.

        Raises
        ------
        ConfigError
            There is no such source or role, or a role is given to no data set.
        InputError
            A data set has no file, none is data, a path does not exist, is a folder, or is
            given twice.
        """
        checked = {name: tuple(map(Path, paths)) for name, paths in files.items()}
        if not checked or not all(checked.values()):
            msg = f"no file given for {[name for name, paths in checked.items() if not paths]}"
            raise InputError(msg)
        seen: set[Path] = set()
        for path in (path for paths in checked.values() for path in paths):
            try:
                missing = not path.exists()
            except OSError as error:  # a folder above it that is not ours to enter
                raise InputError(_unreadable(path, error)) from error
            if missing:
                msg = f"{path}: no such file"
                raise InputError(msg)
            if not path.is_file():
                kind = "a folder" if path.is_dir() else "no regular file"
                msg = f"{path}: {kind}, expected a file with events"
                raise InputError(msg)
            if path.resolve() in seen:
                msg = f"{path}: given twice; its events would count double"
                raise InputError(msg)
            seen.add(path.resolve())
        if source is not None and source not in SOURCES:
            msg = f"no source '{source}'; tnt_coffea reads {', '.join(SOURCES)}"
            raise ConfigError(msg)
        named = {dataset: checked_role(role) for dataset, role in (roles or {}).items()}
        if unknown := sorted(set(named) - set(checked)):
            msg = f"roles of {', '.join(unknown)}, which no files are given for"
            raise ConfigError(msg)
        fileset = cls(checked, source, named)
        if not fileset.searched.files:
            msg = (
                f"no data to search among {', '.join(f'{d} ({r})' for d, r in named.items())}; "
                "simulation and priors are for the training alone"
            )
            raise InputError(msg)
        return fileset

    def role(self, dataset: str) -> str:
        """Return the role of a data set."""
        return self.roles.get(dataset, DATA)

    @property
    def searched(self) -> Fileset:
        """The data sets of role data alone."""
        files = {name: paths for name, paths in self.files.items() if self.role(name) == DATA}
        return replace(self, files=files, roles={})

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
        items = []
        for dataset, paths in self.files.items():
            for path in paths:
                name = self._source_name(path)
                stamp = stamp_of(path)
                n = SOURCES[name].entries(path)
                items += [
                    WorkItem(
                        dataset,
                        str(path.absolute()),
                        name,
                        start,
                        min(start + chunk_size, n),
                        self.role(dataset),
                        stamp,
                    )
                    for start in range(0, n, chunk_size)
                ]
        return items

    def _source_name(self, path: Path) -> str:
        if self.source is None:
            found = source_of(path)
            return next(name for name, module in SOURCES.items() if module is found)
        # What the columns of a table mean is said in the settings, and need not show.
        if self.source != "table" and not SOURCES[self.source].is_mine(path):
            msg = f"{path}: the content is not of source '{self.source}', as was said"
            raise InputError(msg)
        return self.source

    def content_hashes(self) -> dict[str, list[str]]:
        """Return the SHA-256 of every file by data set, in an order of their own.

        These are over the bytes, truth column included: a skim whose labels changed is
        made again. Everything behind the skim is keyed by its content without truth.
        """
        return {name: sorted(map(_file_hash, paths)) for name, paths in self.files.items()}


def _file_hash(path: Path) -> str:
    # Also of the files that a virtual HDF5 data set consists of, or that a link leads to.
    digests = []
    for part in (path, *other_files(path)):
        try:
            stamp = stamp_of(part)
            with part.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise InputError(_unreadable(part, error)) from error
        check_unchanged(stamp)
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read: {error.strerror or error}; check its permissions and its disk"
