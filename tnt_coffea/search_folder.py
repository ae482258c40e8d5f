"""What a search's folder remembers beside its stages: the settings and the files it began with."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, StageError
from tnt_coffea.filesets import Fileset
from tnt_coffea.storage import written

__all__ = ["note_config", "note_files", "noted_config", "noted_files"]


def note_config(out: str | Path, config: SearchConfig) -> None:
    """Write the settings to `config.yaml`, each with its meaning."""
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
        None are noted, so there is no search to go on with.
    InputError
        One of them is gone.
    """
    path = Path(out) / "files.json"
    try:
        noted = _Noted.model_validate_json(path.read_bytes())
        fileset = Fileset.from_paths(noted.files, roles=noted.roles, missing_ok=missing_ok)
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = (
            f"{out}: no search to go on with ({path.name} cannot be read: {reason}); name the files"
        )
        raise StageError(msg) from error
    return fileset


class _Noted(BaseModel):
    """What is in `files.json`."""

    model_config = ConfigDict(strict=True, extra="forbid")
    files: dict[str, list[str]]
    roles: dict[str, str]


def _write(path: Path, text: str) -> None:
    with written(path) as partial:
        partial.write_text(text)
