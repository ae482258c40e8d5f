"""Progress of training runs, reported through small files beside the taggers.

A task may run in this process, in one of a pool or on another machine; the folder that its
tagger goes to is what all of them share with the display.
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

__all__ = [
    "Listener",
    "TrainingStatus",
    "listening",
    "read_statuses",
    "report_epoch",
    "status_file",
]

Listener = Callable[[int, float, float], None]
"""Function of the epochs done and the losses of the last one."""

_SECONDS = 0.5
"""Least time between two reports of a training run: trees have hundreds of rounds a second."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@dataclass(frozen=True)
class TrainingStatus:
    """Progress of one training run.

    Attributes
    ----------
    name
        The training run in words.
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


def report_epoch(epoch: int, loss: float, validation_loss: float) -> None:
    """Report a finished epoch to the listener, if there is one.

    Parameters
    ----------
    epoch
        Number of epochs done.
    loss, validation_loss
        Of the last one.
    """
    listener = _listener.get()
    if listener is not None:
        listener(epoch, loss, validation_loss)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Report every epoch that is finished in the block to a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def status_file(path: Path, name: str, epochs: int) -> Iterator[None]:
    """Write the progress reported in the block to a file, and remove it after the block.

    Parameters
    ----------
    path
        The file.
    name, epochs
        The training run in words, and its most epochs.
    """
    last = -_SECONDS

    def listener(epoch: int, loss: float, validation_loss: float) -> None:
        nonlocal last
        if time.monotonic() - last < _SECONDS:
            return
        last = time.monotonic()
        status = TrainingStatus(name, epoch, epochs, loss, validation_loss)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(OSError):  # a full disk stops the tagger, not its status
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(asdict(status)))
            partial.replace(path)

    try:
        with listening(listener):
            yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_statuses(paths: Iterable[Path]) -> list[TrainingStatus]:
    """Return the statuses in those of the files that are there."""
    found = []
    for path in paths:
        with suppress(OSError, ValueError, TypeError):  # none yet, or gone just now
            found.append(TrainingStatus(**json.loads(path.read_text())))
    return found
