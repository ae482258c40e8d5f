"""Which source a file belongs to, by its content, and which adapter its events need.

A source is a module with `is_mine`, `entries`, `load` and `FIELDS`; one that holds
particles has `particles` as well. A new source is one such module and a line here.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from tnt_coffea.errors import InputError
from tnt_coffea.events import lhco, skim
from tnt_coffea.events.particles import Particles

__all__ = ["SOURCES", "particles_of", "source_of"]

SOURCES: dict[str, ModuleType] = {"lhco": lhco, "skim": skim}


def source_of(path: str | Path) -> ModuleType:
    """Return the source module of a file.

    Raises
    ------
    InputError
        There is no such file, it cannot be read, or no source knows its content.
    """
    path = Path(path)
    try:
        for source in SOURCES.values():
            if source.is_mine(path):
                return source
    except OSError as error:
        msg = f"{path}: cannot be opened: {error.strerror or error}"
        raise InputError(msg) from error
    msg = f"{path}: the content is of no known source; tnt_coffea reads {', '.join(SOURCES)}"
    raise InputError(msg)


def particles_of(events: Any) -> Particles:
    """Return the particles of NanoEvents of any source, chosen by the fields they have.

    Raises
    ------
    InputError
        No adapter knows these fields.
    """
    fields = set(events.fields)
    for source in SOURCES.values():
        if hasattr(source, "particles") and fields >= source.FIELDS:
            adapted: Particles = source.particles(events)
            return adapted
    msg = f"no source has the fields {sorted(fields)[:12]}; tnt_coffea reads {', '.join(SOURCES)}"
    raise InputError(msg)
