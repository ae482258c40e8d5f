"""coffea's executor on Parsl, with its workers watched."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, fields
from typing import Any

from coffea.processor import ParslExecutor

from tnt_coffea.errors import ExecutionError

__all__ = ["WatchedParsl"]

log = logging.getLogger("tnt_coffea")
PATIENCE = 10.0
"""Seconds without a worker before that is said."""


@dataclass
class WatchedParsl(ParslExecutor):  # type: ignore[misc]
    """coffea's executor on Parsl, which otherwise waits for a worker for ever.

    Attributes
    ----------
    wait_for_workers
        Minutes without any worker after which a pass is given up. Executors of Parsl that do not
        say what is connected to them are waited for.
    """

    wait_for_workers: float = 10.0

    @classmethod
    def of(cls, executor: ParslExecutor, wait_for_workers: float) -> WatchedParsl:
        """Return an executor of the same settings."""
        own = {field.name: getattr(executor, field.name) for field in fields(ParslExecutor)}
        return cls(**own, wait_for_workers=wait_for_workers)

    def __call__(self, items: Sequence[Any], function: Callable[..., Any], accumulator: Any) -> Any:
        """Run a pass as coffea does.

        Raises
        ------
        ExecutionError
            There was no worker for the time set.
        """
        passed: Future[Any] = Future()
        run = super().__call__

        def work() -> None:
            try:
                passed.set_result(run(items, function, accumulator))
            except BaseException as error:
                passed.set_exception(error)

        # Nothing ends coffea's waiting: it is left behind in a thread that keeps no process.
        threading.Thread(target=work, daemon=True).start()
        patience = 60 * self.wait_for_workers
        step = min(1.0, patience / 10)
        there, told = time.monotonic(), False
        while not wait([passed], step).done:
            alone = time.monotonic() - there
            if self._has_workers():
                there, told = time.monotonic(), False
            elif alone > patience:
                msg = (
                    f"no worker is connected to Parsl. Given up after {patience / 60:.3g} min "
                    "(Resources.wait_for_workers); the same script goes on where it was cut"
                )
                raise ExecutionError(msg)
            elif alone > min(PATIENCE, patience / 2) and not told:
                told = True
                log.warning(
                    "waiting: no worker is connected to Parsl. Its blocks may be in the queue, or "
                    "their workers do not reach this process. Given up after %.3g min",
                    patience / 60,
                )
        return passed.result()

    def _has_workers(self) -> bool:
        """Tell whether work can be done, or nobody says that it cannot."""
        import parsl

        wanted = self.jobs_executors
        for one in parsl.dfk().config.executors:
            if wanted == "all" or one.label in wanted:
                connected = getattr(one, "connected_managers", None)
                if connected is None or connected():
                    return True
        return False
