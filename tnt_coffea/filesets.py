"""Files by dataset, and the work items they are cut into."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events.sources import SOURCES, source_of

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
    """

    dataset: str
    path: str
    source: str
    start: int
    stop: int

    @property
    def key(self) -> str:
        """The item as text, unique in a pass."""
        return f"{self.dataset}: {self.path}, entries {self.start}-{self.stop}"


@dataclass(frozen=True)
class Fileset:
    """Files by dataset, as in coffea.

    Attributes
    ----------
    files
        Paths by dataset name.
    source
        Name in `events.sources.SOURCES` that all files are read as; None: by their content.
    """

    files: Mapping[str, tuple[Path, ...]]
    source: str | None = None

    @classmethod
    def from_paths(
        cls, files: Mapping[str, Sequence[str | Path]], source: str | None = None
    ) -> Fileset:
        """Return the fileset of existing files.

        Raises
        ------
        ConfigError
            There is no such source.
        InputError
            A dataset has no file, a path does not exist, is a folder, or is given twice.
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
        return cls(checked, source)

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
                n = SOURCES[name].entries(path)
                items += [
                    WorkItem(dataset, str(path.absolute()), name, start, min(start + chunk_size, n))
                    for start in range(0, n, chunk_size)
                ]
        return items

    def _source_name(self, path: Path) -> str:
        if self.source is None:
            found = source_of(path)
            return next(name for name, module in SOURCES.items() if module is found)
        if not SOURCES[self.source].is_mine(path):
            msg = f"{path}: the content is not of source '{self.source}', as was said"
            raise InputError(msg)
        return self.source

    def content_hashes(self) -> dict[str, list[str]]:
        """Return the SHA-256 of every file by dataset, in an order of their own.

        These are over the bytes, truth column included: a skim whose labels changed is
        made again. Everything behind the skim is keyed by its content without truth.
        """
        return {name: sorted(map(_file_hash, paths)) for name, paths in self.files.items()}


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read: {error.strerror or error}; check its permissions and its disk"
