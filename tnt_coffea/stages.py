"""A stage of a search on disk: a folder that is complete, or can be gone on with, or is refused."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tnt_coffea.config import digest
from tnt_coffea.errors import InputError, StageError, TaggerError
from tnt_coffea.storage import stored, written

__all__ = ["Stage"]


@dataclass(frozen=True)
class Stage:
    """One stage's folder: work under `.parts/`, `manifest.json` last.

    It is keyed by the stage's own settings and its inputs' hashes. Executor, paths and
    verbosity are in no key; neither are dates, which only the manifest holds.

    Attributes
    ----------
    name
        What the stage is called.
    folder
        Its folder.
    inputs
        JSON values that determine its output.
    """

    name: str
    folder: Path
    inputs: Mapping[str, Any]
    _started: list[float] = field(default_factory=list, repr=False, compare=False)

    @property
    def key(self) -> str:
        """SHA-256 of the stage's name, the version and its inputs."""
        return digest([self.name, version("tnt-coffea"), dict(self.inputs)])

    @property
    def parts(self) -> Path:
        """Where work in progress lies."""
        return self.folder / ".parts"

    def finished(self) -> dict[str, Any] | None:
        """Return the outputs noted in a complete folder of the same key, or None.

        Raises
        ------
        StageError
            The folder holds, complete or begun, a stage of other settings or inputs.
        """
        for path in (self.folder / "manifest.json", self.parts / "stage.json"):
            if path.exists():
                known = _read(path)
                if known.get("key") != self.key:
                    raise StageError(self._difference(known, path))
        manifest = self.folder / "manifest.json"
        if not manifest.exists():
            return None
        outputs = _read(manifest).get("outputs")
        if not isinstance(outputs, dict):
            raise StageError(_damaged(manifest, "no outputs are noted in it"))
        return outputs

    def matches(self) -> bool:
        """Tell whether the folder is free, or holds this very stage, complete or begun."""
        try:
            self.finished()
        except StageError:
            return False
        return True

    def begin(self) -> Path:
        """Return the folder for work in progress, noting whose it is; parts of it may be there.

        Raises
        ------
        StorageError
            The folder cannot be written to.
        """
        with stored(self.folder):
            self.parts.mkdir(parents=True, exist_ok=True)
        with written(self.parts / "stage.json") as path:
            path.write_text(json.dumps(self._identity(), indent=1) + "\n")
        self._started.append(time.monotonic())
        return self.parts

    def finish(self, outputs: Mapping[str, Any]) -> None:
        """Declare the stage complete and remove what was in progress.

        Parameters
        ----------
        outputs
            JSON values that `finished` gives back.

        Raises
        ------
        StorageError
            The manifest cannot be written; the stage is then not complete.
        """
        manifest = self._identity() | {
            "outputs": dict(outputs),
            "seconds": round(time.monotonic() - self._started[-1], 2) if self._started else 0.0,
        }
        with written(self.folder / "manifest.json") as path:
            path.write_text(json.dumps(manifest, indent=1) + "\n")
        shutil.rmtree(self.parts, ignore_errors=True)

    @contextmanager
    def undone_on_bad_input(self) -> Iterator[None]:
        """Forget what was begun where the input is at fault: the corrected one has another key."""
        try:
            yield
        except (InputError, TaggerError):
            shutil.rmtree(self.parts, ignore_errors=True)
            with suppress(OSError):  # it stays where an older result lies in it
                self.folder.rmdir()
            raise

    def clear(self) -> None:
        """Remove the stage's folder, whatever it holds."""
        with stored(self.folder):
            if self.folder.exists():
                shutil.rmtree(self.folder)

    def seconds(self) -> float:
        """Return how long the complete stage took, in its last session."""
        path = self.folder / "manifest.json"
        try:
            return float(_read(path)["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise StageError(_damaged(path, f"no time is noted in it ({error})")) from error

    def _identity(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "version": version("tnt-coffea"),
            "key": self.key,
            "inputs": dict(self.inputs),
        }

    def _difference(self, known: Mapping[str, Any], path: Path) -> str:
        ours = _flat({**self.inputs, "version": version("tnt-coffea")})
        inputs = known.get("inputs")
        inputs = inputs if isinstance(inputs, Mapping) else {}
        theirs = _flat({**inputs, "version": known.get("version")})
        changed = [
            f"{name}: {theirs.get(name, 'absent')} there, {ours.get(name, 'absent')} now"
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
        return (
            f"{path.parent if path.name == 'manifest.json' else self.folder}: holds the stage "
            f"'{self.name}' of another configuration ({'; '.join(changed[:5])}). "
            "Choose another output folder, or allow it to be made again (--overwrite)"
        )


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, Mapping):
        return {prefix: values}
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return out


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise StageError(_damaged(path, str(error))) from error
    if not isinstance(content, dict):
        raise StageError(_damaged(path, f"it holds {type(content).__name__}, no settings by name"))
    return content


def _damaged(path: Path, reason: str) -> str:
    folder = path.parent.parent if path.parent.name == ".parts" else path.parent
    return f"{path}: cannot be read: {reason}. Remove {folder} to make the stage again"
