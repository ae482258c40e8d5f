"""coffea's executor on Parsl, with its workers watched: where none comes, a pass ends."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from coffea.processor import ParslExecutor

from tnt_coffea.errors import ExecutionError

__all__ = ["WatchedParsl"]

LOOK = 2.0
"""Seconds between two looks at the workers, as often as coffea looks at its tasks."""


@dataclass
class WatchedParsl(ParslExecutor):  # type: ignore[misc]  # coffea's executors are not typed
    """coffea's executor on Parsl, with its workers watched.

    Attributes
    ----------
    wait_for_workers
        Minutes without any worker after which a pass is given up.
    """

    wait_for_workers: float = 10.0

    @classmethod
    def of(cls, executor: ParslExecutor, wait_for_workers: float) -> WatchedParsl:
        """Return an executor of the same settings."""
        own = {field.name: getattr(executor, field.name) for field in fields(ParslExecutor)}
        return cls(**own, wait_for_workers=wait_for_workers)

    def __call__(self, items: Sequence[Any], function: Any, accumulator: Any) -> Any:
        """Run a pass as coffea does.

        Raises
        ------
        ExecutionError
            There is no worker.
        """
        with _ended_without_workers(60 * self.wait_for_workers, self.desc):
            return super().__call__(items, function, accumulator)


class _NoWorkers(BaseException):
    """Ends a pass; nothing on the way takes it for a failure of a task."""


@contextmanager
def _ended_without_workers(wait: float, description: str) -> Iterator[None]:
    """End the block where Parsl has no worker for so many seconds.

    coffea waits for Parsl in steps of two seconds, after which this thread takes an exception of
    another one. An interrupt would not do: where a shell runs it behind, it is ignored.
    """
    over, here = threading.Event(), threading.get_ident()

    def look() -> None:
        seen = time.monotonic()
        while not over.wait(min(LOOK, wait / 4)):
            if _workers() != 0:
                seen = time.monotonic()
            elif time.monotonic() - seen > wait:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(here), ctypes.py_object(_NoWorkers)
                )
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        try:
            yield
        finally:
            over.set()
            thread.join()
    except _NoWorkers:
        msg = (
            f"{description}: Parsl had no worker for {wait / 60:.3g} min (wait_for_workers): its "
            "blocks wait in a queue, or end at once (their logs are in Parsl's run_dir). The same "
            "search goes on where it was cut"
        )
        raise ExecutionError(msg) from None


def _workers() -> int | None:
    """Return how many workers Parsl has; None where it is not loaded, or an executor has no word.

    That of threads has none, and needs none.
    """
    import parsl

    try:
        kernel = parsl.dfk()
    except parsl.errors.NoDataFlowKernelError:
        return None
    own = [one for label, one in kernel.executors.items() if not label.startswith("_parsl")]
    if not all(hasattr(one, "connected_managers") for one in own):
        return None
    nodes = [node for one in own for node in one.connected_managers()]
    return sum(int(node["worker_count"]) for node in nodes)
