"""Dask clusters: started here or joined, and their workers watched while a pass runs.

A pass that has no worker, or none that can work, would wait for ever: Dask expects that workers
come. Here that is said after some seconds, and given up after a while.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import multiprocessing
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from weakref import WeakSet

from coffea.processor import DaskExecutor
from distributed import CancelledError, Client, KilledWorker, LocalCluster, get_worker
from distributed.utils import silence_logging_cmgr

from tnt_coffea.errors import ConfigError, ExecutionError, TntCoffeaError

__all__ = [
    "WatchedDask",
    "connected",
    "import_what_coffea_imports",
    "interrupts_held",
    "is_client",
    "started",
]

PACKAGE = __name__.partition(".")[0]
RESUMED = "the same command goes on where it was cut"
LOOK = 1.0
"""Seconds between two looks at the workers."""
PATIENCE = 10.0
"""Seconds before it is said that no worker is there."""
CONNECT = 15.0
"""Seconds in which a scheduler answers."""
ANSWER = 30.0
"""Seconds in which a worker says whether it has the package."""
DEATHS = 3
"""Workers that left since a task was last finished, before short lives are suspected."""

log = logging.getLogger(PACKAGE)


@contextmanager
def started(workers: int, starting: AbstractContextManager[Any]) -> Iterator[Client]:
    """Start processes on this machine, and give a client of theirs.

    They listen on the loopback interface alone, without a dashboard.

    Parameters
    ----------
    workers
        How many.
    starting
        Context in which they are started, which may show that.

    Raises
    ------
    ExecutionError
        They do not start.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)  # a worker that runs the script which starts it: see `_unguarded`
    # Silent for as long as the workers live, in this process and in theirs: what matters comes
    # home in envelopes, and the end of a scheduler is told by `WatchedDask`.
    with silence_logging_cmgr(logging.CRITICAL), ExitStack() as stack:
        with interrupts_held(), starting:
            import_what_coffea_imports()
            try:
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                    scheduler_kwargs={
                        # Its web server is there without a dashboard too: any free port.
                        "dashboard": False,
                        "dashboard_address": "127.0.0.1:0",
                        # A task that kills its worker would kill the next ones too, and with
                        # the last of them go the scattered inputs, which all others wait for.
                        "allowed_failures": 0,
                    },
                )
            except RuntimeError as error:
                raise _not_started(error) from None
            stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster))


@contextmanager
def connected(place: Any, wait_for_workers: float) -> Iterator[Client]:
    """Give a client of a scheduler at an address, or of a cluster object.

    Parameters
    ----------
    place
        `tcp://host:port`, or an object with `get_client`.
    wait_for_workers
        Minutes; a scheduler is waited for no longer, and for 15 s at most.

    Raises
    ------
    ConfigError
        The address needs certificates that Dask's configuration does not name.
    ExecutionError
        No scheduler answers.
    """
    # Dask's own lines on a lost scheduler would stand before the one error that says it.
    with silence_logging_cmgr(logging.CRITICAL):
        with interrupts_held():
            import_what_coffea_imports()
        try:
            timeout = min(CONNECT, 60 * wait_for_workers)
            named = isinstance(place, str)
            client = Client(place, timeout=timeout) if named else place.get_client()
        except TypeError as error:
            msg = (
                f"{place}: {error}: an encrypted scheduler needs certificates; name them in Dask's "
                "configuration (distributed.comm.tls), or give a distributed.Client with its "
                "`security`"
            )
            raise ConfigError(msg) from error
        except (OSError, ValueError) as error:
            msg = f"no Dask scheduler answers at {place}: {error}"
            raise ExecutionError(msg) from error
        with client:
            yield client


def is_client(executor: Any) -> bool:
    """Tell whether something is a client of Dask, of whatever class."""
    return isinstance(executor, Client)


@dataclass
class WatchedDask(DaskExecutor):  # type: ignore[misc]
    """coffea's executor on Dask, with its workers watched.

    Attributes
    ----------
    wait_for_workers
        Minutes without any worker that can work after which a pass is given up.
    """

    wait_for_workers: float = 10.0

    @classmethod
    def of(cls, executor: DaskExecutor, wait_for_workers: float) -> WatchedDask:
        """Return an executor of the same settings."""
        own = {field.name: getattr(executor, field.name) for field in fields(DaskExecutor)}
        return cls(**own, wait_for_workers=wait_for_workers)

    def __call__(self, items: Sequence[Any], function: Callable[..., Any], accumulator: Any) -> Any:
        """Run a pass as coffea does.

        Raises
        ------
        ExecutionError
            There is no worker, or none that has the package, or they die.
        """
        client = self.client or Client(threads_per_worker=1)
        watch = _Watch(client, 60 * self.wait_for_workers, items)
        plain = {field.name: getattr(self, field.name) for field in fields(DaskExecutor)}
        # coffea's own bar on Dask is left standing where a pass ends early.
        submitting = _Submitting(client, watch)
        executor = DaskExecutor(**plain | {"client": submitting, "status": False})
        try:
            watch.until_ready()
            with watch.looking(), watch.bar(self.desc, self.unit) if self.status else nullcontext():
                return executor(items, _Heard(function, watch.topic), accumulator)
        except TntCoffeaError:
            raise
        except Exception as error:
            raise watch.explained(error) from error


class _Submitting:
    """A client that remembers what is submitted through it, without keeping it alive."""

    def __init__(self, client: Client, watch: _Watch) -> None:
        self.client, self.watch = client, watch

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        future = self.client.submit(*args, **kwargs)
        self.watch.futures.add(future)
        return future

    def map(self, function: Any, items: Sequence[Any], **kwargs: Any) -> Any:
        futures = self.client.map(function, items, **kwargs)
        self.watch.futures.update(futures)
        if not self.watch.names:  # the first of them are the items, the rest merge
            self.watch.names = {
                future.key: item for future, item in zip(futures, self.watch.items, strict=True)
            }
        return futures


class _Heard:
    """A work function that tells the client when it is done."""

    def __init__(self, function: Callable[..., Any], topic: str) -> None:
        self.function, self.topic = function, topic

    def __call__(self, *args: Any) -> Any:
        result = self.function(*args)
        get_worker().log_event(self.topic, 1)
        return result


class _Watch:
    """The workers of a client during one pass, and why it cannot go on."""

    def __init__(self, client: Client, wait: float, items: Sequence[Any]) -> None:
        self.client, self.wait, self.items = client, wait, items
        self.batch = getattr(client.cluster, "batch", None)
        self.topic = f"{PACKAGE}-{uuid.uuid4().hex}"
        self.futures: WeakSet[Any] = WeakSet()
        self.names: Mapping[Any, Any] = {}
        self.problem = ""
        self.done = 0
        self._repeated = False
        self._heard = self._there = time.monotonic()
        self._born: dict[str, float] = {}
        self._lives: list[float] = []
        self._told = False
        self._ended = threading.Event()

    def until_ready(self) -> None:
        """Wait for a worker that can work."""
        asked = self._lacking(None)
        # A cluster that adapts to its load starts no worker for a pass that has sent nothing yet.
        asking = self.client.submit(abs, 0, pure=False)
        while not (asked or self._look()):
            if self._born:
                asking.release()
                return
            time.sleep(min(LOOK, self.wait / 4))
        asking.cancel()
        raise ExecutionError(asked or self.problem)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look after the workers while the block runs."""
        self._heard = self._there = time.monotonic()
        self.client.subscribe_topic(self.topic, self._one_done)
        thread = threading.Thread(target=self._keep_looking, daemon=True, name=self.topic)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(timeout=1)
            with suppress(Exception):  # the scheduler may be gone
                self.client.unsubscribe_topic(self.topic)

    @contextmanager
    def bar(self, description: str, unit: str) -> Iterator[None]:
        """Draw coffea's bar, moved by the tasks that are done."""
        from coffea.util import rich_bar

        with rich_bar() as bar:
            task = bar.add_task(description, total=len(self.items), unit=unit)
            stop = threading.Event()

            def draw() -> None:
                while not stop.wait(0.5):
                    bar.update(task, completed=min(self.done, len(self.items)), refresh=True)

            thread = threading.Thread(target=draw, daemon=True)
            thread.start()
            try:
                yield
                bar.update(task, completed=len(self.items), refresh=True)
            finally:
                stop.set()
                thread.join()

    def explained(self, error: Exception) -> Exception:
        """Return the error of a pass in words of ours, where its cause is known."""
        where = self.client.scheduler.address if self.client.scheduler else "its address"
        if self.problem:
            return ExecutionError(self.problem)
        if isinstance(killed := error.__context__, KilledWorker):
            limit = getattr(killed.last_worker, "memory_limit", 0)
            times = killed.allowed_failures + 1
            return ExecutionError(
                f"{self._named(killed.task)}: a worker died of it"
                + (f" {times} times" if times > 1 else "")
                + ", out of memory or by a crash in compiled code"
                + (f" (the limit of a worker is {limit / 2**20:.0f} MiB)" if limit else "")
                + self._of_jobs()
                + ". Give workers more memory, or work items fewer events (--chunk-size); "
                + RESUMED
            )
        if isinstance(error, CancelledError | OSError):
            return ExecutionError(
                f"the Dask scheduler at {where} is lost: its process has ended, or the network to "
                f"it. Start it and its workers again; {RESUMED}"
            )
        return error

    def _named(self, key: Any) -> str:
        item = self.names.get(key, "merging what the tasks gave")
        while isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], int):
            item = item[1]
        text = getattr(item, "description", None) or getattr(item, "key", None) or str(item)
        return str(text)[:200]

    def _one_done(self, event: Any) -> None:
        self.done += 1
        self._heard = time.monotonic()
        self._lives.clear()

    def _keep_looking(self) -> None:
        while not self._ended.wait(min(LOOK, self.wait / 4)):
            with suppress(OSError, RuntimeError, CancelledError):  # told by the pass itself
                if self._look() and not self._ended.is_set():
                    self.client.cancel(list(self.futures), force=True)
                    return

    def _look(self) -> str:
        """Return why to give up, or nothing; what is waited for is said once."""
        now, there = time.monotonic(), set(self.client.nthreads())
        new, gone = there - self._born.keys(), self._born.keys() - there
        self._lives += [now - self._born.pop(worker) for worker in gone]
        self._born |= dict.fromkeys(new, now)
        if new:
            self.problem = self._lacking(sorted(new))
        if there:
            self._there = now
        if self.done > 2 * len(self.items) and not self._repeated:
            self._repeated = True
            log.warning(
                "%d tasks were done for %d work items: results wait on workers for the end of the "
                "pass, and the last worker that leaves takes them with it. Give jobs more wall "
                "time, or more jobs",
                self.done,
                len(self.items),
            )
        alone, idle = now - self._there, now - self._heard
        dying = len(self._lives) >= DEATHS and all(
            now - born < max(self._lives) for born in self._born.values()
        )
        if not self.problem and not there:
            if self.batch is not None:
                self.problem = self.batch.problem()
            if not self.problem:
                self._say(alone, f"no worker at {self.client.scheduler.address}", _START)
        elif not self.problem and dying:
            self._say(
                idle,
                f"{len(self._lives)} workers of {self.client.scheduler.address} have left since a "
                "task was finished",
                "A task takes longer than they live: give them more wall time or memory, or work "
                "items fewer events (--chunk-size)",
            )
        else:
            self._told = self._told and not there
        return self.problem

    def _of_jobs(self) -> str:
        return f". {self.batch.said()}" if self.batch is not None and self.batch.said() else ""

    def _say(self, seconds: float, what: str, way_out: str) -> None:
        what += self._of_jobs()
        if self.batch is not None and way_out is _START:
            way_out = f"They may still be in the queue{self.batch.unheard()}"
        way_out = way_out.format(address=self.client.scheduler.address)
        if seconds > self.wait:
            self.problem = (
                f"{what}. {way_out}. Given up after {self.wait / 60:.3g} min "
                f"(--wait-for-workers); {RESUMED}"
            )
        elif seconds > min(PATIENCE, self.wait / 2) and not self._told:
            self._told = True
            log.warning("waiting: %s. %s. Given up after %.3g min", what, way_out, self.wait / 60)

    def _lacking(self, workers: Iterable[str] | None) -> str:
        """Return on which workers (None: on the scheduler) the package is missing."""
        client = self.client

        def missing() -> bool:  # goes by value: whoever is asked need not have the package
            from importlib.util import find_spec

            return find_spec("tnt_coffea") is None

        async def asked() -> dict[str, Any]:
            if workers is None:
                answer = client.run_on_scheduler(missing)
                return {client.scheduler.address: await asyncio.wait_for(answer, ANSWER)}
            answers = client.run(missing, workers=list(workers), on_error="return")
            return dict(await asyncio.wait_for(answers, ANSWER))

        try:
            lacking = [place for place, answer in client.sync(asked).items() if answer is True]
        except (TimeoutError, OSError, RuntimeError):
            return ""  # it hangs or is gone: the pass will tell
        if not lacking:
            return ""
        who = "the scheduler" if workers is None else "the workers"
        return (
            f"{PACKAGE} is not installed on {who} at {', '.join(lacking[:5])}"
            + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
            + "; install the same version there, or start them with the Python of this "
            f"environment ({sys.executable})"
        )


_START = (
    "Start one with `dask worker {address}` in an environment with this package; a batch system "
    "may still have it in its queue"
)


def _not_started(error: Exception) -> ExecutionError:
    if _unguarded():
        msg = (
            "the workers run this script from its beginning when they start: put what it does "
            'under `if __name__ == "__main__":`, or use executor="futures"'
        )
    else:
        msg = f"the workers do not start on this machine: {error.__cause__ or error}"
    return ExecutionError(msg)


def _unguarded() -> bool:
    """Tell whether a script starts the workers at its top level, which they run again."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    path = getattr(sys.modules["__main__"], "__file__", None)
    if path is None or frame.f_code.co_name != "<module>" or frame.f_code.co_filename != path:
        return False
    tree = ast.parse(Path(path).read_bytes())
    return not any(
        isinstance(node, ast.If)
        and "__name__" in ast.dump(node.test)
        and node.lineno <= frame.f_lineno <= (node.end_lineno or node.lineno)
        for node in tree.body
    )


def import_what_coffea_imports() -> None:
    """Import what coffea would import at its first pass."""
    # Two seconds in the midst of a pass, in which distributed's hook of the garbage collector
    # would often swallow a Ctrl-C.
    import dask.dataframe  # noqa: F401


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is left."""
    # A signal that comes meanwhile counts at the end: a cluster half started cannot be closed.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    come: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, frame: come.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    # Threads and processes started here inherit the mask: Ctrl-C then reaches this process
    # alone, which takes the workers down, instead of a traceback from each of them.
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if come:
            signal.raise_signal(come[0])
