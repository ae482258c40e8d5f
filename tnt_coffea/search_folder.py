"""What a search's folder remembers beside its stages: settings, files, taggers, tests made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tnt_coffea.config import SearchConfig, digest
from tnt_coffea.config.fits import AUTO
from tnt_coffea.errors import ConfigError, StageError, reason
from tnt_coffea.storage import written

if TYPE_CHECKING:
    from tnt_coffea.filesets import Fileset

__all__ = [
    "Trial",
    "note_config",
    "note_files",
    "note_sources",
    "note_trial",
    "noted_config",
    "noted_files",
    "noted_sources",
    "noted_trials",
]

_TRIALS = "fits.json"
_SOURCES = "sources.json"


@dataclass(frozen=True)
class Trial:
    """One test that was made on a search; all of them count as trials.

    Attributes
    ----------
    test
        `fit`, the stage with all its tests, or `bump`, `scan`, `limit`, `abcd`, `direct`.
    of
        What was tested, where it was one tagger set or selection.
    data
        Hash of the events that were tested.
    settings
        All that decides the outcome, by dotted names.
    p_values
        By what was tested; empty where a test has none.

    Examples
    --------
    >>> first = Trial("fit", "", "a1", {"fit.bump.mass": 3500.0}, {"before": 0.2})
    >>> second = Trial("fit", "", "a1", {"fit.bump.mass": 3700.0}, {"before": 0.01})
    >>> second.differs_from(first)
    {'fit.bump.mass': (3500.0, 3700.0)}
    """

    test: str
    of: str
    data: str
    settings: Mapping[str, Any]
    p_values: Mapping[str, Annotated[float, Field(ge=0, le=1)] | None]

    @property
    def key(self) -> str:
        """SHA-256 of the test without its outcome."""
        return digest([self.test, self.of, self.data, dict(self.settings)])

    def differs_from(self, other: Trial) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ, each as in the other test and in this one."""
        names = sorted(self.settings.keys() | other.settings.keys())
        pairs = {name: (other.settings.get(name), self.settings.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def note_config(out: str | Path, config: SearchConfig) -> None:
    """Write the settings to `config.yaml`, each with its meaning; null chains by whole path."""
    bump = config.fit.bump
    if bump.null_chains not in (None, AUTO):
        bump = bump.model_copy(update={"null_chains": str(Path(bump.null_chains).absolute())})
        config = config.model_copy(update={"fit": config.fit.model_copy(update={"bump": bump})})
    _write(Path(out) / "config.yaml", config.to_yaml())


def noted_config(out: str | Path) -> SearchConfig | None:
    """Return the settings noted in a search's folder, or None where there are none.

    Raises
    ------
    ConfigError
        They are damaged.
    """
    path = Path(out) / "config.yaml"
    return SearchConfig.from_yaml(path) if path.exists() else None


class _Files(BaseModel):
    """Content of `files.json`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    files: dict[str, list[str]]
    roles: dict[str, str]


def note_files(out: str | Path, fileset: Fileset) -> None:
    """Write the files, as absolute paths, and the roles by data set to `files.json`."""
    noted = {
        "files": {
            name: [str(p.absolute()) for p in paths] for name, paths in fileset.files.items()
        },
        "roles": dict(fileset.roles),
    }
    _write(Path(out) / "files.json", json.dumps(noted, indent=1) + "\n")


def noted_files(out: str | Path, *, missing_ok: bool = False) -> Fileset:
    """Return the files noted in a search's folder; `missing_ok` as `Fileset.from_paths`.

    Raises
    ------
    StageError
        None are noted, so there is no search to go on with, or they are damaged.
    InputError
        One of them is gone.
    """
    from tnt_coffea.filesets import Fileset

    path = Path(out) / "files.json"
    if not path.exists():
        msg = f"{out}: no search to go on with (it has no {path.name}); name the files"
        raise StageError(msg)
    again = "name the files again, without --resume"
    noted = _read(path, TypeAdapter(_Files), again)
    try:
        return Fileset.from_paths(noted.files, roles=noted.roles, missing_ok=missing_ok)
    except ConfigError as error:
        msg = f"{path}: cannot be read: {error}; {again}"
        raise StageError(msg) from error


def note_sources(out: str | Path, taggers: str | None = None, skim: str | None = None) -> None:
    """Note taggers (a folder or a packaged name) and skim that are not the folder's own.

    Without either, what was noted before is forgotten.
    """
    path = Path(out) / _SOURCES
    noted = {"taggers": taggers, "skim": skim}
    named = {name: where for name, where in noted.items() if where is not None}
    if named:
        _write(path, json.dumps(named, indent=1) + "\n")
    elif path.exists():
        path.unlink()


def noted_sources(out: str | Path) -> dict[str, str]:
    """Return `taggers` and `skim` that the search in a folder was made with, if not its own.

    Raises
    ------
    StageError
        The note is damaged.
    """
    path = Path(out) / _SOURCES
    if not path.exists():
        return {}
    return _read(path, TypeAdapter(dict[str, str]), "name them with --taggers and --skim again")


def note_trial(out: str | Path, trial: Trial) -> None:
    """Add a test to `fits.json`, unless the very same one is there; nothing is ever removed.

    Raises
    ------
    StageError
        The file is damaged.
    """
    known = _all_trials(out)
    if trial.key not in {one.key for one in known}:
        content = TypeAdapter(tuple[Trial, ...]).dump_python((*known, trial), mode="json")
        _write(Path(out) / _TRIALS, json.dumps(content, indent=1) + "\n")


def noted_trials(out: str | Path, data: str) -> tuple[Trial, ...]:
    """Return the tests made on these data in a search's folder, the first one first.

    Raises
    ------
    StageError
        `fits.json` is damaged.
    """
    return tuple(trial for trial in _all_trials(out) if trial.data == data)


def _all_trials(out: str | Path) -> tuple[Trial, ...]:
    path = Path(out) / _TRIALS
    if not path.exists():
        return ()
    return _read(path, TypeAdapter(tuple[Trial, ...]), "restore it: it lists the tests made here")


T = TypeVar("T")


def _read(path: Path, form: TypeAdapter[T], help_: str) -> T:
    try:
        return form.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        msg = f"{path}: cannot be read: {reason(error)}; {help_}"
        raise StageError(msg) from error


def _write(path: Path, text: str) -> None:
    with written(path) as partial:
        partial.write_text(text)
