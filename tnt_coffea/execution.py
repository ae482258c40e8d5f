"""One pass over the data on any coffea executor, with an account of every event.

coffea's executors are generic map-reduce: `executor(items, function, accumulator)`.
Work items of our own run HDF5 on all of them. Every item comes home in an envelope,
so one bad file can neither lose the rest nor disappear silently.
"""

from __future__ import annotations

import functools
import logging
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle

from tnt_coffea import errors
from tnt_coffea.accounting import Accounting
from tnt_coffea.errors import (
    ConfigError,
    ExecutionError,
    MissingExtraError,
    TntCoffeaError,
)
from tnt_coffea.events.sources import SOURCES
from tnt_coffea.events.stamps import check_unchanged
from tnt_coffea.filesets import Fileset, WorkItem

__all__ = ["OnError", "Resources", "map_tasks", "open_executor", "run"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class OnError(StrEnum):
    """What a bad file does: end the pass, or be left out and listed."""

    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Resources:
    """What a pass or a stage may use; no result depends on any of it.

    Attributes
    ----------
    executor
        `iterative`, `futures`, `dask`, a scheduler's address, a `distributed.Client`,
        or a coffea executor.
    workers
        Processes, where they are started here.
    chunk_size
        Most events in a work item.
    progress
        Show progress bars.
    overwrite
        Make a stage again whose folder holds one of another configuration.
    on_error
        Whether a bad file ends a pass or is left out and listed.

    Examples
    --------
    >>> resources = Resources(executor="futures", workers=4)
    >>> with resources.open() as executor:
    ...     type(executor).__name__, executor.workers
    ('FuturesExecutor', 4)
    """

    executor: Any = "iterative"
    workers: int = 1
    chunk_size: int = 1000
    progress: bool = False
    overwrite: bool = False
    on_error: OnError = OnError.FAIL

    def open(self) -> AbstractContextManager[Any]:
        """Return a context that gives a coffea executor; see `open_executor`."""
        return open_executor(self.executor, workers=self.workers, progress=self.progress)

    def announced(self, text: str) -> AbstractContextManager[Any]:
        """Return a context that shows what is being done, where no bar can be drawn."""
        from rich.console import Console

        return Console(quiet=not self.progress).status(text)


@contextmanager
def open_executor(
    executor: Any = "iterative", *, workers: int = 1, progress: bool = False
) -> Iterator[Any]:
    """Give a coffea executor and take down afterwards what was set up for it.

    Parameters
    ----------
    executor
        `iterative`, `futures` (processes), `dask` (processes on this machine), a Dask
        scheduler's address, a `distributed.Client`, or any coffea executor.
    workers
        Processes, where they are started here.
    progress
        Show coffea's progress bars.

    Raises
    ------
    ConfigError
        The executor is of no known kind.
    ExecutionError
        The scheduler cannot be reached.
    """
    from coffea import processor

    if isinstance(executor, processor.executor.ExecutorBase):
        yield executor
    elif executor == "iterative":
        yield processor.IterativeExecutor(status=progress)
    elif executor == "futures":
        yield processor.FuturesExecutor(workers=workers, status=progress)
    elif executor == "dask" or (isinstance(executor, str) and "://" in executor):
        with _dask_client(executor, workers) as client:
            yield processor.DaskExecutor(client=client, status=progress)
    elif type(executor).__module__.partition(".")[0] == "distributed":
        yield processor.DaskExecutor(client=executor, status=progress)
    else:
        msg = (
            f"executor {executor!r} is none of: iterative, futures, dask, a scheduler's address "
            "(tcp://host:port), a distributed.Client, a coffea executor"
        )
        raise ConfigError(msg)


def run(
    fileset: Fileset,
    processor: Any,
    executor: Any,
    *,
    chunk_size: int = 2000,
    on_error: OnError = OnError.FAIL,
    description: str = "Processing",
) -> tuple[dict[str, Any], Accounting]:
    """Return a processor's merged output over a fileset, and where every event went.

    Events carry `dataset`, `role`, `filename`, `entrystart` and `entrystop` as metadata.

    Parameters
    ----------
    fileset
        Files of any source.
    processor
        A coffea processor whose output holds `cutflow` as ours do.
    executor
        A coffea executor, of `open_executor`.
    chunk_size
        Most events in a work item. Results do not depend on it.
    on_error
        Whether a bad file ends the pass or is left out and listed.
    description
        What the progress bar says.

    Raises
    ------
    TntCoffeaError
        An item failed (its own error, under `OnError.FAIL`), or workers died.
    """
    items = fileset.items(chunk_size)
    payload = cloudpickle.dumps(processor)
    envelopes = _mapped(items, _ProcessItem(payload), executor, description)
    lost: dict[str, dict[str, tuple[int, str]]] = {}
    events: dict[str, int] = {}
    for item, failure in zip(items, envelopes["failed"], strict=True):
        n = item.stop - item.start
        events[item.dataset] = events.get(item.dataset, 0) + n
        if failure:
            lost.setdefault(item.dataset, {})[item.key] = (n, str(failure["message"]))
    if lost and on_error is OnError.FAIL:
        _raise_first(envelopes["failed"])
    output = processor.postprocess(envelopes["output"])
    cutflow = output.get("cutflow", {})
    nothing: dict[str, Any] = {"selected": 0, "rejected": {}}
    accounting = {
        dataset: Accounting(
            events=n,
            selected=cutflow.get(dataset, nothing)["selected"],
            rejected=dict(cutflow.get(dataset, nothing)["rejected"]),
            lost=lost.get(dataset, {}),
        )
        for dataset, n in events.items()
    }
    return output, Accounting.summed(accounting)


def map_tasks(
    function: Callable[[Item], Result],
    tasks: Sequence[Item],
    executor: Any,
    description: str = "Working",
) -> list[Result]:
    """Return `function(task)` of every task, in their order, computed on a coffea executor.

    Parameters
    ----------
    function
        At module level, or picklable.
    tasks
        What it is called with.
    executor
        A coffea executor, of `open_executor`.
    description
        What the progress bar says.

    Raises
    ------
    TntCoffeaError
        The first error that a task raised.
    """
    envelopes = _mapped(tasks, _CallTask(function), executor, description)
    _raise_first(envelopes["failed"])
    output = envelopes["output"]
    return [output[i] for i in range(len(tasks))]


class _ProcessItem:
    """The work function of a pass: unpickles the processor once in a process."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __call__(self, item: WorkItem) -> dict[str, Any]:
        processor = _unpickled(self.payload)
        metadata = {
            "dataset": item.dataset,
            "role": item.role,
            "filename": item.path,
            "entrystart": item.start,
            "entrystop": item.stop,
        }
        check_unchanged(item.stamp)
        events = SOURCES[item.source].load(Path(item.path), item.start, item.stop, metadata)
        check_unchanged(item.stamp)
        output: dict[str, Any] = processor.process(events)
        return output


class _CallTask:
    """The work function of a list of tasks: results by position."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, numbered: tuple[int, Any]) -> dict[int, Any]:
        number, task = numbered
        return {number: self.function(task)}


class _Envelope:
    """Calls a work function and sends home either its output or what went wrong."""

    def __init__(self, function: Callable[[Any], dict[Any, Any]]) -> None:
        self.function = function

    def __call__(self, numbered: Any) -> dict[str, dict[Any, Any]]:
        # With `heavy_input`, coffea's DaskExecutor pairs every item with the payload.
        (number, item), function = (
            (numbered[0], numbered[1]) if isinstance(numbered[0], tuple) else (numbered, None)
        )
        work = self.function if function is None else _unpickled(function)
        try:
            return {"output": work(item), "failed": {}}
        except Exception as error:  # every failure goes home, whatever it is
            failure = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": traceback.format_exc(),
            }
            return {"output": {}, "failed": {number: failure}}


def _mapped(
    items: Sequence[Any],
    function: Callable[[Any], dict[Any, Any]],
    executor: Any,
    description: str,
) -> dict[str, Any]:
    from coffea.processor import DaskExecutor

    if not items:  # coffea's executors then return something else than they promise
        return {"output": {}, "failed": []}
    numbered: list[Any] = list(enumerate(items))
    if isinstance(function, _CallTask):
        numbered = [(number, (number, item)) for number, item in numbered]
    settings: dict[str, Any] = {"desc": description, "unit": "task"}
    work = _Envelope(function)
    if isinstance(executor, DaskExecutor):
        # Scattered once: taggers of many windows and folds are tens of megabytes.
        settings["heavy_input"] = cloudpickle.dumps(function)
        work = _Envelope(_nothing)
    try:
        with _quiet(not executor.status):
            merged, _ = executor.copy(**settings)(numbered, work, {"output": {}, "failed": {}})
    except TntCoffeaError:
        raise
    except Exception as error:
        msg = (
            f"{description}: the executor gave up: {type(error).__name__}: {error}. "
            "A worker may have died (memory?) or cannot import what it was sent"
        )
        raise ExecutionError(msg) from error
    failed = merged["failed"]
    return {
        "output": merged["output"],
        "failed": [failed.get(number) for number in range(len(items))],
    }


@contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    # coffea's iterative and futures executors draw their bars even where status is False.
    from coffea.util import coffea_console

    before = coffea_console.quiet, coffea_console.is_jupyter
    coffea_console.quiet = before[0] or wanted
    if wanted:  # a notebook would get an empty widget
        coffea_console.is_jupyter = False
    try:
        yield
    finally:
        coffea_console.quiet, coffea_console.is_jupyter = before


def _nothing(item: Any) -> dict[Any, Any]:
    msg = f"no work function came with {item}"
    raise ExecutionError(msg)


def _raise_first(failures: Sequence[Mapping[str, str] | None]) -> None:
    failed = [failure for failure in failures if failure]
    if not failed:
        return
    first = failed[0]
    kind = getattr(errors, first["type"], None)
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    if kind is MissingExtraError:
        more = ""  # all workers miss the same
    if isinstance(kind, type) and issubclass(kind, TntCoffeaError):
        error = kind.__new__(kind)
        error.args = (first["message"] + more,)
    else:
        error = ExecutionError(f"{first['type']} in a worker: {first['message']}{more}")
    error.add_note(first["traceback"])
    raise error


@functools.lru_cache(maxsize=4)
def _unpickled(payload: bytes) -> Any:
    return cloudpickle.loads(payload)


@contextmanager
def _dask_client(address: str, workers: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    if address != "dask":
        try:
            client = Client(address, timeout="15s")
        except (OSError, ValueError) as error:
            msg = f"no Dask scheduler answers at {address}: {error}"
            raise ExecutionError(msg) from error
        with client:
            yield client
        return
    with _interrupts_held():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # any free port
            silence_logs=logging.CRITICAL,  # what matters comes home in envelopes
            # A task that kills its worker would kill the next ones too, and with the last of
            # them go the scattered inputs, which everything else then waits for.
            scheduler_kwargs={"allowed_failures": 0},
        )
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def _interrupts_held() -> Iterator[None]:
    # Processes started here inherit it: Ctrl-C then reaches this process alone, which
    # takes the workers down, instead of a traceback from each of them.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
