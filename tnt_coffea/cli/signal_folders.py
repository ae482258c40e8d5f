"""Folders of simulated signals that commands are given."""

from __future__ import annotations

from pathlib import Path

__all__ = ["signal_name", "skim_in"]


def skim_in(folder: Path) -> Path:
    """Return the folder of the skim stage in the folder of a search, or the folder itself."""
    return folder / "skim" if (folder / "skim").is_dir() else folder


def signal_name(folder: Path) -> str:
    """Return what a signal is called whose skim is in a folder: the name of its search's folder."""
    return folder.resolve().parent.name if folder.name == "skim" else folder.resolve().name
