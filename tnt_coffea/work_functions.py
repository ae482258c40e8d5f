"""What workers do with an item, and the envelope in which the output or the failure comes home."""

from __future__ import annotations

import errno
import functools
import logging
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cloudpickle

from tnt_coffea.checkpoints import Checkpoints
from tnt_coffea.errors import ExecutionError, InputError, NetworkError, StorageError, TntCoffeaError
from tnt_coffea.events.sources import SOURCES
from tnt_coffea.filesets import WorkItem
from tnt_coffea.metrics import measured, timed
from tnt_coffea.storage import is_full

__all__ = [
    "PATIENCE",
    "CallTask",
    "Envelope",
    "Failure",
    "ProcessItem",
    "said_when_waiting",
    "sent_apart",
]

Failure = Mapping[str, str]
"""Type, message and traceback of an exception."""

log = logging.getLogger("tnt_coffea")
PATIENCE = 60.0
"""Seconds without a work item that is done before that is said, where nobody watches workers."""


class ProcessItem:
    """The work function of a pass: unpickles the processor once in a process.

    Where bad files are left out, an item that fails is tried again by halves, down to one event:
    only the events at fault are lost, however large the items are.
    """

    def __init__(self, payload: bytes, skip: bool, checkpoints: Checkpoints | None = None) -> None:
        self.payload, self.skip, self.checkpoints = payload, skip, checkpoints

    def __call__(self, item: WorkItem) -> dict[str, Any]:
        """Return what the processor makes of an item, or what an earlier run kept of it."""
        if self.checkpoints is None:
            return self._done(item)
        files = getattr(_unpickled(self.payload), "files", None)
        damaged = []
        try:
            kept: dict[str, Any] | None = self.checkpoints.read(repr(item), files)
        except ValueError as error:
            kept, damaged = None, [str(error)]
        if kept is not None:
            return kept | {"metrics": kept["metrics"] | {"kept": 1}}
        made = self._done(item)
        if not made["bad"] and "brought" not in made["processed"]:
            self.checkpoints.write(repr(item), made, files and files(made))
        return made | {"damaged": damaged}

    def _done(self, item: WorkItem) -> dict[str, Any]:
        with measured(len(item)) as metrics:
            made = self._processed(item)
        return made | {"metrics": metrics}

    def _processed(self, item: WorkItem) -> dict[str, Any]:
        from coffea.processor import accumulate

        outputs: list[Any] = []
        bad: list[tuple[WorkItem, Failure]] = []
        waiting = [item]
        while waiting:
            part = waiting.pop()
            try:
                outputs.append(self._output(part))
            except Exception as error:
                of_ours = isinstance(error, TntCoffeaError) and not isinstance(error, InputError)
                if not self.skip or of_ours or is_full(error):
                    raise
                if len(part) == 1 or not _opens(part):
                    bad.append((part, _failure(error)))
                else:
                    waiting += reversed(part.halves())
        return {"processed": accumulate(outputs) if outputs else {}, "bad": bad}

    def _output(self, item: WorkItem) -> Any:
        item.check()
        processor = _unpickled(self.payload)
        with item.here() as file:
            metadata = {
                "dataset": item.dataset,
                "role": item.role,
                "filename": str(file),
                "named": str(item.file),
                "entrystart": item.start,
                "entrystop": item.stop,
                "columns": tuple(getattr(processor, "columns", ())),
                "optional_columns": tuple(getattr(processor, "optional_columns", ())),
            }
            with timed("reading"):
                events = SOURCES[item.source].load(file, item.start, item.stop, metadata)
                item.check()
            return processor.process(events)


def _opens(item: WorkItem) -> bool:
    try:
        item.check()
        with item.here() as file:
            return bool(SOURCES[item.source].entries(file) >= item.stop)
    except NetworkError:
        raise
    except Exception:  # whatever a damaged file gives
        return False


class CallTask:
    """The work function of a list of tasks: results by position."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, numbered: tuple[int, Any]) -> dict[int, Any]:
        """Return the result by the number of the task."""
        number, task = numbered
        return {number: self.function(task)}


class Envelope:
    """Calls a work function and sends home either its output or what went wrong."""

    def __init__(self, function: Callable[[Any], dict[Any, Any]]) -> None:
        self.function = function

    def __call__(self, numbered: Any) -> dict[str, Any]:
        """Return the output of a numbered item, or the failure by its number."""
        # With `heavy_input`, coffea's DaskExecutor pairs every item with the payload.
        (number, item), function = (
            (numbered[0], numbered[1]) if isinstance(numbered[0], tuple) else (numbered, None)
        )
        work = self.function if function is None else _unpickled(function)
        try:
            return {"output": work(item), "failed": {}, "done": 1, "home": _Home()}
        except Exception as error:  # every failure goes home, whatever it is
            return {"output": {}, "failed": {number: _failure(error)}, "done": 1, "home": _Home()}


class _Home:
    """Notes when outputs are merged in this process: coffea's executors add them up here."""

    last = 0.0

    def __add__(self, other: _Home) -> _Home:
        _Home.last = time.monotonic()
        return self


@contextmanager
def said_when_waiting(description: str) -> Iterator[None]:
    """Say that nothing comes home, after a minute and then ever more rarely."""
    ended, start = threading.Event(), time.monotonic()

    def look() -> None:
        patience = PATIENCE
        while not ended.wait(patience / 10):
            waited = time.monotonic() - max(_Home.last, start)
            if waited > patience:
                log.warning(
                    "waiting: no work item of '%s' has come home for %.3g min: it takes long, or "
                    "workers are stopped or not there yet. It can be cut; the same command then "
                    "goes on",
                    description,
                    waited / 60,
                )
                patience *= 2

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _failure(error: Exception) -> Failure:
    found = {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": traceback.format_exc(),
    }
    if is_full(error) and not isinstance(error, TntCoffeaError):
        # Of a library that writes by itself, often a temporary file.
        place = getattr(error, "filename", None) or tempfile.gettempdir()
        found["type"] = StorageError.__name__
        found["message"] = (
            f"{place}: cannot be written: {os.strerror(errno.ENOSPC)}. Free some space; the same "
            "command goes on where it was cut"
        )
    return found


def sent_apart(item: Any) -> dict[Any, Any]:
    """Stand for the work function that travels apart from the items."""
    msg = f"no work function came with {item}"
    raise ExecutionError(msg)


# A work function and the processor in it: those of an earlier pass may be of hundreds of MB.
@functools.lru_cache(maxsize=2)
def _unpickled(payload: bytes) -> Any:
    return cloudpickle.loads(payload)
