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

from pydantic import BaseModel, ConfigDict, ValidationError

from tnt_coffea.config import digest
from tnt_coffea.errors import InputError, StageError, TaggerError, reason
from tnt_coffea.metrics import Metrics
from tnt_coffea.storage import file_sha256, stored, written

__all__ = ["Manifest", "Stage", "check_files", "flat", "manifest"]

_MANIFEST = "manifest.json"


class Manifest(BaseModel):
    """What a complete stage notes of itself.

    Attributes
    ----------
    stage, version, key, inputs
        Its name, the package's version, and what determines its output.
    outputs
        What `Stage.finished` gives back.
    files
        SHA-256 of every file in its folder, by relative path.
    seconds
        How long its last session took.
    metrics
        What its pass over events cost (`metrics.Metrics.to_dict`), where it has one.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    stage: str
    version: str
    key: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    files: dict[str, str] = {}
    seconds: float
    metrics: dict[str, Any] | None = None


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
    again
        What to do where the folder holds it with other inputs.
    """

    name: str
    folder: Path
    inputs: Mapping[str, Any]
    again: str = "Choose another output folder, or allow it to be made again (--overwrite)"
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
        for path in (self.folder / _MANIFEST, self.parts / "stage.json"):
            if path.exists():
                known = _read(path)
                if known.get("key") != self.key:
                    raise StageError(self._difference(known, path))
        complete = manifest(self.folder)
        return None if complete is None else complete.outputs

    def noted(self) -> dict[str, Any]:
        """Return the inputs of what the folder holds, complete or begun; empty if it is free."""
        for path in (self.folder / _MANIFEST, self.parts / "stage.json"):
            if path.exists():
                inputs = _read(path).get("inputs")
                return dict(inputs) if isinstance(inputs, Mapping) else {}
        return {}

    def intact(self) -> bool:
        """Tell whether the folder is free, or holds this very stage with all that it wrote."""
        try:
            self.finished()
            check_files(self.folder)
        except StageError:
            return False
        return True

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

    def finish(
        self,
        outputs: Mapping[str, Any],
        *,
        seconds: float | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Declare the stage complete and remove what was in progress.

        Parameters
        ----------
        outputs
            JSON values that `finished` gives back.
        seconds
            How long it took; since `begin` without it.
        metrics
            What its pass cost.

        Raises
        ------
        StorageError
            The manifest cannot be written; the stage is then not complete.
        """
        for path in self._files():
            if path.suffix == ".partial":  # of a run that was killed while it wrote
                path.unlink(missing_ok=True)
        if seconds is None:
            seconds = time.monotonic() - self._started[-1] if self._started else 0.0
        noted = self._identity() | {
            "outputs": dict(outputs),
            "files": {
                str(path.relative_to(self.folder)): file_sha256(path) for path in self._files()
            },
            "seconds": round(seconds, 2),
            **({} if metrics is None else {"metrics": metrics.to_dict()}),
        }
        with written(self.folder / _MANIFEST) as path:
            path.write_text(json.dumps(noted, indent=1) + "\n")
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
        known = manifest(self.folder)
        if known is None:
            msg = f"{self.folder}: no complete stage '{self.name}' here"
            raise StageError(msg)
        return known.seconds

    def _files(self) -> list[Path]:
        """Return what the stage has made, without work in progress."""
        hidden = (self.parts, self.folder / _MANIFEST)
        return [
            path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not any(path.is_relative_to(one) for one in hidden)
        ]

    def _identity(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "version": version("tnt-coffea"),
            "key": self.key,
            "inputs": dict(self.inputs),
        }

    def _difference(self, known: Mapping[str, Any], path: Path) -> str:
        ours = flat({**self.inputs, "version": version("tnt-coffea")})
        inputs = known.get("inputs")
        inputs = inputs if isinstance(inputs, Mapping) else {}
        theirs = flat({**inputs, "version": known.get("version")})
        changed = [
            f"{name}: {theirs.get(name, 'absent')} there, {ours.get(name, 'absent')} now"
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
        return (
            f"{path.parent if path.name == _MANIFEST else self.folder}: holds the stage "
            f"'{self.name}' of another configuration ({'; '.join(changed[:5])}). {self.again}"
        )


def manifest(folder: Path) -> Manifest | None:
    """Return what the complete stage in a folder notes of itself, or None where none is complete.

    Raises
    ------
    StageError
        The manifest is damaged.
    """
    path = folder / _MANIFEST
    if not path.exists():
        return None
    try:
        return Manifest.model_validate(_read(path))
    except ValidationError as error:
        raise StageError(_damaged(path, reason(error))) from error


def check_files(folder: Path) -> None:
    """Compare the files of a complete stage, if there is one, with what it wrote.

    Raises
    ------
    StageError
        One of them was changed, or is gone.
    """
    known = manifest(folder)
    for name, sha256 in (known.files if known else {}).items():
        path = folder / name
        found = file_sha256(path) if path.is_file() else None
        if found != sha256:
            what = "is gone" if found is None else "was changed"
            msg = (
                f"{path}: {what} since the stage '{known.stage if known else ''}' made it; restore "
                f"it, or {_again(folder)}"
            )
            raise StageError(msg)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested JSON values by their dotted names.

    Examples
    --------
    >>> flat({"bump": {"mass": 3500, "width": 120}, "seed": 1})
    {'bump.mass': 3500, 'bump.width': 120, 'seed': 1}
    """
    if not isinstance(values, Mapping):
        return {prefix: values}
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= flat(value, f"{prefix}.{name}" if prefix else str(name))
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
    return f"{path}: cannot be read: {reason}; {_again(folder)}"


def _again(folder: Path) -> str:
    known = folder / "study.json"
    command = f"study {folder.name}" if known.exists() else folder.name
    command = "fit limit --retrain" if folder.parent.name == "fit-retrained" else command
    return f"remove {folder} and run `tnt-coffea {command}` again"
