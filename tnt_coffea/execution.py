"""One pass over the data on any coffea executor, with an account of every event.

coffea's executors are generic map-reduce: `executor(items, function, accumulator)`.
Work items of our own run HDF5 on all of them. Every item comes home in an envelope,
so one bad file can neither lose the rest nor disappear silently.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle

from tnt_coffea import batch_clusters, errors
from tnt_coffea.accounting import Accounting
from tnt_coffea.checkpoints import Checkpoints
from tnt_coffea.errors import (
    ConfigError,
    ExecutionError,
    InputError,
    MissingExtraError,
    TntCoffeaError,
)
from tnt_coffea.events.remote import RemoteFile
from tnt_coffea.filesets import BadFile, Fileset, WorkItem
from tnt_coffea.metrics import Metrics
from tnt_coffea.visibility import Mark, blind_worker
from tnt_coffea.work_functions import (
    CallTask,
    Envelope,
    Failure,
    ProcessItem,
    said_when_waiting,
    sent_apart,
)

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "OnError",
    "Resources",
    "default_executor",
    "is_watched",
    "map_tasks",
    "open_executor",
    "run",
]

BATCH = 64
"""Work items whose files travel together, where workers do not see them."""

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger("tnt_coffea")


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
        `iterative`, `futures`, `dask`, a scheduler's address, a batch system's settings
        (`slurm.yaml` or `BatchSettings`), a `distributed.Client`, a cluster object of Dask, or
        a coffea executor.
    workers
        Processes, where they are started here.
    chunk_size
        Most events in a work item.
    progress
        Show progress bars, where there is a terminal or a notebook.
    overwrite
        Make a stage again whose folder holds one of another configuration.
    on_error
        Whether a bad file ends a pass or is left out and listed.
    wait_for_workers
        Minutes that a pass on Dask or Parsl waits for a worker that can work.

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
    progress: bool = True
    overwrite: bool = False
    on_error: OnError = OnError.FAIL
    wait_for_workers: float = 10.0

    def open(self) -> AbstractContextManager[Any]:
        """Return a context that gives a coffea executor; see `open_executor`."""
        return open_executor(
            self.executor,
            workers=self.workers,
            progress=self.progress,
            wait_for_workers=self.wait_for_workers,
        )

    @contextmanager
    def shared(self) -> Iterator[Resources]:
        """Give resources whose executor serves several stages, and is set up when first used."""
        with ExitStack() as stack:
            opened = functools.cache(lambda: stack.enter_context(self.open()))
            yield replace(self, executor=_Later(opened))

    def announced(self, text: str) -> AbstractContextManager[Any]:
        """Return a context that shows what is being done, where no bar can be drawn."""
        return _announced(text, self.progress)


@dataclass(frozen=True)
class _Later:
    """An executor that is set up when it is first used."""

    opened: Callable[[], Any]


def _announced(text: str, progress: bool) -> AbstractContextManager[Any]:
    from rich.console import Console

    console = Console(stderr=True)
    return console.status(text) if progress and is_watched(console) else nullcontext()


@contextmanager
def open_executor(
    executor: Any = "iterative",
    *,
    workers: int = 1,
    progress: bool = False,
    wait_for_workers: float = 10.0,
) -> Iterator[Any]:
    """Give a coffea executor and take down afterwards what was set up for it.

    Parameters
    ----------
    executor
        `iterative`, `futures` (processes), `dask` (processes on this machine), a Dask
        scheduler's address, a batch system's settings, a `distributed.Client`, a cluster
        object of Dask, or any coffea executor.
    workers
        Processes, where they are started here.
    progress
        Show progress bars, where there is a terminal or a notebook.
    wait_for_workers
        Minutes that a pass on Dask or Parsl waits for a worker that can work.

    Raises
    ------
    ConfigError
        The executor is of no known kind.
    ExecutionError
        The scheduler cannot be reached, or workers do not start.
    MissingExtraError
        It is one of Dask, which is not installed.
    """
    from coffea import processor

    if isinstance(executor, _Later):
        yield executor.opened()
    elif type(executor) is processor.DaskExecutor:
        yield _dask_clusters().WatchedDask.of(executor, wait_for_workers)
    elif type(executor) is processor.ParslExecutor:
        from tnt_coffea.parsl_workers import WatchedParsl

        yield WatchedParsl.of(executor, wait_for_workers)
    elif isinstance(executor, processor.TaskVineExecutor):
        msg = (
            "coffea's TaskVineExecutor takes the work items of coffea's Runner alone: give it to "
            "a Runner, with SearchProcessor over the parts of a skim"
        )
        raise ConfigError(msg)
    elif isinstance(executor, processor.executor.ExecutorBase):
        yield executor
    elif executor == "iterative":
        yield processor.IterativeExecutor(status=progress)
    elif executor == "futures":
        yield processor.FuturesExecutor(workers=workers, status=progress)
    else:
        with _dask_client(executor, workers, progress, wait_for_workers) as client:
            watched = _dask_clusters().WatchedDask
            yield watched(client=client, status=progress, wait_for_workers=wait_for_workers)


def default_executor() -> str:
    """Return what a command runs on by itself: processes here, by Dask where it is installed.

    Examples
    --------
    >>> default_executor() in ("dask", "futures")
    True
    """
    return "dask" if all(map(find_spec, ("dask", "distributed"))) else "futures"


def _dask_clusters() -> ModuleType:
    # distributed takes 0.5 s to import, and is an extra: other executors do without.
    try:
        from tnt_coffea import dask_clusters
    except ModuleNotFoundError as error:
        if (missing := str(error.name).partition(".")[0]) not in ("dask", "distributed"):
            raise
        raise MissingExtraError(missing, "dask") from error
    return dask_clusters


@contextmanager
def _dask_client(
    executor: Any, workers: int, progress: bool, wait_for_workers: float
) -> Iterator[Any]:
    if batch_clusters.is_batch(executor):
        batch = executor
        if not isinstance(batch, batch_clusters.BatchSettings):
            batch = batch_clusters.BatchSettings.from_yaml(executor)
        with batch_clusters.submitted(batch) as client:
            yield client
    elif executor == "dask":
        starting = _announced(f"Starting {workers} workers", progress)
        with _dask_clusters().started(workers, starting) as client:
            yield client
    elif hasattr(executor, "get_client") or (isinstance(executor, str) and "://" in executor):
        with _dask_clusters().connected(executor, wait_for_workers) as client:
            yield client
    elif not isinstance(executor, str) and _dask_clusters().is_client(executor):
        yield executor
    else:
        msg = (
            f"executor {executor!r} is none of: iterative, futures, dask, a scheduler's address "
            "(tcp://host:port), a batch system's settings (FILE.yaml), a distributed.Client, "
            "a Dask cluster, a coffea executor"
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
    checkpoints: Checkpoints | None = None,
) -> tuple[dict[str, Any], Accounting]:
    """Return a processor's merged output over a fileset, and where every event went.

    Events carry `dataset`, `role`, `filename`, `entrystart` and `entrystop` as metadata.

    Parameters
    ----------
    fileset
        Files of any source.
    processor
        A coffea processor whose output holds `cutflow` as ours do. Where it has `check_items`,
        that looks at the work items before the pass begins.
    executor
        A coffea executor, of `open_executor`.
    chunk_size
        Most events in a work item. Results do not depend on it.
    on_error
        Whether a bad file ends the pass, or the events of it that cannot be read are left out
        and listed by range. Items that fail are tried again by halves, down to one event.
    description
        What the progress bar says.
    checkpoints
        Where items that are done are kept; those that an earlier run kept are not done again.

    Raises
    ------
    InputError
        No event of any file could be read.
    TntCoffeaError
        An item failed (its own error, under `OnError.FAIL`, or where no file is at fault), no
        event at all could be read, or workers died.
    """
    skip = on_error is OnError.SKIP
    unopened: list[BadFile] = []
    if skip:
        items, unopened = fileset.sound_items(chunk_size)
    else:
        items = fileset.items(chunk_size)
    if hasattr(processor, "check_items"):
        processor.check_items(items)
    work = ProcessItem(cloudpickle.dumps(processor), skip=skip, checkpoints=checkpoints)
    envelopes = _passed(items, work, executor, description, processor)
    for damage in envelopes["output"].get("damaged", []):
        log.warning("%s: a work item of an earlier run was done again", damage)
    bad = envelopes["output"].get("bad", [])
    events = dict.fromkeys(fileset.files, 0)
    for item in items:
        events[item.dataset] += len(item)
    lost = _by_range(bad)
    for file in unopened:
        lost.setdefault(file.dataset, {})[file.key] = (0, file.reason)
    if lost and sum(events.values()) == sum(n for by in lost.values() for n, _ in by.values()):
        reason = next(reason for by_key in lost.values() for _, reason in by_key.values())
        n = sum(map(len, fileset.files.values()))
        msg = f"none of the events could be read ({n} file{'s' * (n > 1)}): {reason}"
        raise InputError(msg)
    output = processor.postprocess(envelopes["output"].get("processed", {}))
    cutflow = output.get("cutflow", {})
    nothing: dict[str, Any] = {"selected": 0, "rejected": {}}
    accounting = {
        dataset: Accounting(
            events=n,
            selected=cutflow.get(dataset, nothing)["selected"],
            rejected=dict(cutflow.get(dataset, nothing)["rejected"]),
            lost=lost.get(dataset, {}),
            absent=dict(cutflow.get(dataset, nothing).get("absent", {})),
        )
        for dataset, n in events.items()
    }
    metrics = Metrics.from_dict(envelopes["output"]["metrics"]) if items else None
    if metrics is not None:
        log.info("%s: %s", description, metrics.text)
    return output, replace(Accounting.summed(accounting), metrics=metrics)


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
    envelopes = _mapped(tasks, CallTask(function), executor, description)
    _raise_first(envelopes["failed"])
    output = envelopes["output"]
    return [output[i] for i in range(len(tasks))]


def _by_range(bad: Sequence[tuple[WorkItem, Failure]]) -> dict[str, dict[str, tuple[int, str]]]:
    """Return what is lost by data set and range of entries; ranges that touch are one."""
    joined: list[tuple[WorkItem, str]] = []
    for item, failure in sorted(bad, key=lambda one: (one[0].dataset, one[0].path, one[0].start)):
        last = joined[-1][0] if joined else item
        if (last.dataset, last.path, last.stop) == (item.dataset, item.path, item.start):
            joined[-1] = replace(last, stop=item.stop), joined[-1][1]
        else:
            joined.append((item, failure["message"]))
    lost: dict[str, dict[str, tuple[int, str]]] = {}
    for item, reason in joined:
        lost.setdefault(item.dataset, {})[item.key] = (item.stop - item.start, reason)
    return lost


def _passed(
    items: Sequence[WorkItem],
    work: ProcessItem,
    executor: Any,
    description: str,
    processor: Any,
) -> dict[str, Any]:
    """Run the items of a pass; in batches where files come along with them, or home.

    The workers are asked what they see: the files that are read, and the mark of where a processor
    writes. What they could not write they brought, and its `home` takes it.
    """
    from coffea.processor import accumulate

    apart = _unseen(items, executor)
    mark = getattr(processor, "mark", None)
    batch = len(items)
    if apart or (mark is not None and blind_worker(executor, mark)):
        batch = BATCH
    outputs = []
    for first in range(0, len(items), batch or 1):
        some = items[first : first + batch]
        if apart:
            some = [item.brought() for item in some]
        envelopes = _mapped(some, work, executor, description)
        _raise_first(envelopes["failed"])
        output = envelopes["output"]
        if "brought" in output.get("processed", {}):
            output = output | {"processed": processor.home(output["processed"])}
        outputs.append(output)
    return {"output": accumulate(outputs) if len(outputs) > 1 else dict(*outputs)}


def _unseen(items: Sequence[WorkItem], executor: Any) -> bool:
    """Tell whether parts of a skim have to come along with their items.

    Raises
    ------
    ExecutionError
        A worker does not see files of another source, which are too large for that.
    """
    local = [item for item in items if not isinstance(item.file, RemoteFile)]
    firsts = {item.file.parent: item for item in reversed(local)}.values()
    blind = blind_worker(executor, Mark(stamps=tuple(item.stamp for item in firsts)))
    if not blind:
        return False
    for item in local:
        if item.source != "skim":
            msg = (
                f"{item.file}: not seen by the worker {blind}: put it on a file system that the "
                "workers share, or name it by an address that they reach (https://, root://, s3://)"
            )
            raise ExecutionError(msg)
    return True


def _mapped(
    items: Sequence[Any],
    function: Callable[[Any], dict[Any, Any]],
    executor: Any,
    description: str,
) -> dict[str, Any]:
    from coffea.processor import DaskExecutor, IterativeExecutor

    if not items:  # coffea's executors then return something else than they promise
        return {"output": {}, "failed": []}
    numbered: list[Any] = list(enumerate(items))
    if isinstance(function, CallTask):
        numbered = [(number, (number, item)) for number, item in numbered]
    settings: dict[str, Any] = {"desc": description, "unit": "task"}
    work = Envelope(function)
    if isinstance(executor, DaskExecutor):
        # Scattered once: taggers of many windows and folds are tens of megabytes.
        settings["heavy_input"] = cloudpickle.dumps(function)
        work = Envelope(sent_apart)
    # Those on Dask are watched, and here a long item is no waiting.
    watched = isinstance(executor, DaskExecutor | IterativeExecutor)
    waiting = nullcontext() if watched else said_when_waiting(description)
    try:
        with _bars(executor.status), waiting:
            nothing = {"output": {}, "failed": {}, "done": 0}
            merged, recovered = executor.copy(**settings)(numbered, work, nothing)
        if isinstance(recovered, Exception):  # executors may give what there is beside an error
            raise recovered
    except TntCoffeaError:
        raise
    except Exception as error:
        if isinstance(error, BrokenExecutor):
            msg = (
                f"{description}: a worker died, out of memory or by a crash in compiled "
                "code. Start fewer (--workers), or give work items fewer events (--chunk-size); "
                "the same command goes on where it was cut"
            )
        else:
            reason = " ".join(str(error).split())[:300]
            msg = (
                f"{description}: the executor gave up: {type(error).__name__}: {reason}. "
                "A worker may have died (memory?) or cannot import what it was sent"
            )
        raise ExecutionError(msg) from error
    if merged["done"] != len(items):
        msg = f"{description}: {merged['done']} of {len(items)} work items came back"
        raise ExecutionError(msg)
    failed = merged["failed"]
    return {
        "output": merged["output"],
        "failed": [failed.get(number) for number in range(len(items))],
    }


@contextmanager
def _bars(wanted: bool) -> Iterator[None]:
    """Let coffea draw its bars on the standard error where they are wanted and seen, only there.

    The traceback that its executors print before they raise is left out: the error says it.
    """
    from coffea.processor import executor as of_coffea
    from coffea.util import coffea_console

    names = ("quiet", "is_jupyter", "is_interactive", "stderr")
    before = {name: getattr(coffea_console, name) for name in names}
    coffea_console.stderr = True  # a result can be piped
    coffea_console.is_interactive = coffea_console.is_terminal
    if not (wanted and is_watched(coffea_console)):
        # coffea's iterative and futures executors draw their bars even where status is False,
        # and a notebook would get an empty widget.
        coffea_console.quiet, coffea_console.is_jupyter = True, False
    of_coffea.traceback = SimpleNamespace(print_exc=lambda: None)
    try:
        yield
    finally:
        of_coffea.traceback = traceback
        for name, value in before.items():
            setattr(coffea_console, name, value)


def is_watched(console: Console) -> bool:
    """Tell whether somebody sees what moves on a console: on a terminal, or in a notebook."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.is_terminal


def _raise_first(failures: Sequence[Failure | None]) -> None:
    failed = [failure for failure in failures if failure]
    if not failed:
        return
    first = failed[0]
    kind = getattr(errors, first["type"], None)
    others = len(failed) - 1
    more = f" ({others} more work item{'s' * (others > 1)} failed)" if others else ""
    if kind is MissingExtraError or " more work item" in first["message"]:
        more = ""  # all workers miss the same, or a list of tasks within a task has said it
    if isinstance(kind, type) and issubclass(kind, TntCoffeaError):
        error = kind.__new__(kind)
        error.args = (first["message"] + more,)
    else:
        error = ExecutionError(f"{first['type']} in a worker: {first['message']}{more}")
    error.add_note(first["traceback"])
    raise error
