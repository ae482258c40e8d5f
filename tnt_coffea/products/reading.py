"""What reading any product shares: what was noted of it, and what damage is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tnt_coffea.errors import StageError
from tnt_coffea.stages import manifest

__all__ = ["DAMAGE", "damaged", "outputs_of"]

DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a damaged JSON file raises, one way or another."""


def outputs_of(folder: Path, stage: str) -> Any:
    """Return what a stage has noted of its outputs.

    Raises
    ------
    StageError
        The folder does not hold this stage, complete.
    """
    known = manifest(folder)
    if known is None and folder.parent.is_file():
        msg = f"{folder.parent}: is a file, expected a folder"
        raise StageError(msg)
    if known is None:
        msg = f"{folder}: no complete stage '{stage}' here; run `tnt-coffea {stage}` first"
        raise StageError(msg)
    if known.stage != stage:
        msg = f"{folder}: holds the stage '{known.stage}', expected '{stage}'; name its folder"
        raise StageError(msg)
    return known.outputs


def damaged(path: Path, error: Exception, stage: str) -> str:
    """Return the message of a product that cannot be read, and what to do."""
    folder = path if path.is_dir() else path.parent
    reason = " ".join(str(error).split())
    return (
        f"{path}: cannot be read: {type(error).__name__}: {reason}. "
        f"Remove {folder} and run `tnt-coffea {stage}` again"
    )
