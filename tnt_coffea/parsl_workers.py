"""coffea's executor on Parsl, with its workers watched: where none comes, a pass ends."""

from __future__ import annotations

import _thread
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


@contextmanager
def _ended_without_workers(wait: float, description: str) -> Iterator[None]:
    """End the block where Parsl has no worker for so many seconds.

    coffea waits for Parsl in the main thread, and wakes every two seconds: an interrupt ends it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over, gave_up = threading.Event(), threading.Event()

    def look() -> None:
        seen = time.monotonic()
        while not over.wait(min(LOOK, wait / 4)):
            if _workers() != 0:
                seen = time.monotonic()
            elif time.monotonic() - seen > wait:
                gave_up.set()
                _thread.interrupt_main()
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        try:
            yield
        finally:
            over.set()
            thread.join()
    except KeyboardInterrupt:
        if not gave_up.is_set():
            raise
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
    if not all(hasattr(one, "connected_workers") for one in own):
        return None
    return sum(int(one.connected_workers) for one in own)
