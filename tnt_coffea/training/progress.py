"""How trainings stand while they run, told through small files beside the taggers.

A task may run in this process, in one of a pool or on another machine; the folder that its
tagger goes to is what all of them share with whoever looks on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Listener", "Standing", "heard", "note", "running", "told"]

Listener = Callable[[int, float, float], None]
"""What is called with the epochs done and the losses of the last one."""

_SECONDS = 0.5
"""Least time between two notes of a training: trees have hundreds of rounds a second."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@dataclass(frozen=True)
class Standing:
    """How one training stands.

    Attributes
    ----------
    name
        The training in words.
    epoch, epochs
        Epochs done (of this candidate or network), and the most there will be.
    loss, validation_loss
        Of the last epoch.
    """

    name: str
    epoch: int
    epochs: int
    loss: float
    validation_loss: float


def note(epoch: int, loss: float, validation_loss: float) -> None:
    """Tell whoever looks on that an epoch is done; nobody may.

    Parameters
    ----------
    epoch
        How many are done.
    loss, validation_loss
        Of the last one.
    """
    listener = _listener.get()
    if listener is not None:
        listener(epoch, loss, validation_loss)


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Let a listener hear of every epoch that is done in the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def told(path: Path, name: str, epochs: int) -> Iterator[None]:
    """Write what is noted in the block to a file, which goes when the block is left.

    Parameters
    ----------
    path
        The file.
    name, epochs
        The training in words, and its most epochs.
    """
    last = -_SECONDS

    def listener(epoch: int, loss: float, validation_loss: float) -> None:
        nonlocal last
        if time.monotonic() - last < _SECONDS:
            return
        last = time.monotonic()
        standing = Standing(name, epoch, epochs, loss, validation_loss)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(OSError):  # a disk that is full stops the tagger, not its news
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(asdict(standing)))
            partial.replace(path)

    try:
        with heard(listener):
            yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def running(paths: Iterable[Path]) -> list[Standing]:
    """Return what stands in those of the files that are there."""
    found = []
    for path in paths:
        with suppress(OSError, ValueError, TypeError):  # none yet, or gone just now
            found.append(Standing(**json.loads(path.read_text())))
    return found
