"""Quiet C++ libraries: their banners do not belong among the lines of a command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["no_banner"]

_greeted: set[str] = set()


@contextlib.contextmanager
def no_banner(library: str) -> Iterator[None]:
    """Swallow the banner that a C++ library prints at its first call in a process.

    Parameters
    ----------
    library
        Its name; from the second time on nothing is done.
    """
    if library in _greeted:
        yield
        return
    _greeted.add(library)
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - os.devnull is no path to a file
            os.dup2(nothing.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
