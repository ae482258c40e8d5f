"""Training runs on workers that do not see the search's folder: what they need comes along.

Parts of the skim and taggers travel once to every worker, as bytes, and the tagger and history
that it makes come home as bytes: they are those of a worker that sees the folder.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from threading import Lock

from tnt_coffea.errors import ExecutionError, InputError, StageError, StorageError
from tnt_coffea.storage import stored
from tnt_coffea.training.labels import Labeller
from tnt_coffea.training.task import Outcome, Task, finished, run_task, write_bytes

__all__ = ["MOST_BYTES", "Brought", "Elsewhere", "missing"]

MOST_BYTES = 256 << 20
"""Most that travels: a worker holds it twice."""


@dataclass(frozen=True)
class Brought:
    """What a training run leaves, as bytes.

    Attributes
    ----------
    outcome
        Its outcome, with a path of the worker.
    tagger, history
        Content of its two files.
    """

    outcome: Outcome
    tagger: bytes = field(repr=False)
    history: bytes = field(repr=False)

    def stored(self, task: Task) -> Outcome:
        """Write the files where the task says, the history last, and return the outcome.

        Raises
        ------
        StorageError
            They cannot be written.
        """
        write_bytes(task.tagger_path, self.tagger)
        write_bytes(task.history_path, self.history)
        return replace(self.outcome, path=str(task.tagger_path))


@dataclass(frozen=True)
class Elsewhere:
    """The work function of training runs, with all the files that they read.

    Attributes
    ----------
    files
        Content by path on the driver's machine.
    digest
        Hash of them all.
    """

    files: Mapping[str, bytes] = field(repr=False)
    digest: str

    @classmethod
    def of(cls, tasks: Sequence[Task], worker: str) -> Elsewhere:
        """Return the work function of some tasks.

        Parameters
        ----------
        tasks
            The training runs.
        worker
            Who does not see their folder, for the message.

        Raises
        ------
        ExecutionError
            The files are too large to travel.
        StageError
            One of them cannot be read.
        """
        paths = sorted({path for task in tasks for path in _read(task)})
        try:
            size = sum(Path(path).stat().st_size for path in paths)
            if size > MOST_BYTES:
                msg = (
                    f"{tasks[0].folder}: not seen by the worker {worker}, and the training reads "
                    f"{size >> 20} MiB of skim, of which {MOST_BYTES >> 20} MiB at most are sent: "
                    "give --out on a file system that the workers share, or train on this machine "
                    "(--executor futures)"
                )
                raise ExecutionError(msg)
            files = {path: Path(path).read_bytes() for path in paths}
        except OSError as error:
            msg = f"{error.filename}: cannot be read: {error.strerror}; skim again"
            raise StageError(msg) from error
        digest = hashlib.sha256()
        for path, content in files.items():
            digest.update(f"{path} {len(content)} ".encode())
            digest.update(content)
        return cls(files, digest.hexdigest())

    @cached_property
    def names(self) -> dict[str, str]:
        """Names of the files at a worker, in the order of their paths: it decides that of rows."""
        return {path: f"{i:06d}{Path(path).suffix}" for i, path in enumerate(sorted(self.files))}

    def __call__(self, task: Task) -> Brought:
        """Run a task in a folder of this worker, of which only what others need is left.

        Raises
        ------
        TntCoffeaError
            As `run_task`, with the worker's name where its disk or its files are at fault.
        """
        try:
            with _unpacked(self) as here:
                own = self._moved(task, here)
                try:
                    outcome = run_task(own)
                    tagger, history = own.tagger_path.read_bytes(), own.history_path.read_bytes()
                finally:
                    for path in (own.tagger_path, own.history_path):
                        path.unlink(missing_ok=True)
        except (InputError, StorageError) as error:
            msg = f"on {socket.gethostname()}: {error}"
            raise type(error)(msg) from error
        return Brought(outcome, tagger, history)

    def _moved(self, task: Task, here: Path) -> Task:
        """Return a task with the files that it reads, and those that it makes, in a folder."""

        def moved(paths: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(str(here / self.names[path]) for path in paths)

        def found(items: tuple[Labeller, ...]) -> tuple[Labeller, ...]:
            return tuple(replace(item, path=str(here / self.names[item.path])) for item in items)

        return replace(
            task,
            folder=str(here),
            layout=moved(task.layout),
            events={
                role: replace(events, paths=moved(events.paths))
                for role, events in task.events.items()
            },
            labellers=found(task.labellers),
            adoptable=found(task.adoptable),
        )


def missing(tasks: Sequence[Task]) -> tuple[list[Outcome], list[Task]]:
    """Return the outcomes of the tasks that are finished, and the tasks that are not."""
    known = [(task, finished(task)) for task in tasks]
    return (
        [outcome for _, outcome in known if outcome is not None],
        [task for task, outcome in known if outcome is None],
    )


def _read(task: Task) -> list[str]:
    return [
        *task.layout,
        *(path for events in task.events.values() for path in events.paths),
        *(item.path for item in (*task.labellers, *task.adoptable)),
    ]


@dataclass
class _Folder:
    """A folder of this process, and how many tasks work in it."""

    path: Path
    users: int = 0


_HERE: dict[str, _Folder] = {}
"""By the digest of the files in them; those of which no task works are removed for others."""


_LOCK = Lock()


@contextmanager
def _unpacked(work: Elsewhere) -> Iterator[Path]:
    """Give a folder with the files; tasks in other threads of this process may share it."""
    with _LOCK:
        known = _HERE.get(work.digest)
        if known is not None and not known.path.is_dir():  # Dask removed it with its worker
            del _HERE[work.digest]
        if work.digest not in _HERE:
            _clear()
            with stored(Path(_disk() or gettempdir())):
                made = Path(mkdtemp(prefix="tnt-coffea-", dir=_disk()))
                try:
                    for path, content in work.files.items():
                        (made / work.names[path]).write_bytes(content)
                except BaseException:
                    shutil.rmtree(made, ignore_errors=True)
                    raise
            _HERE[work.digest] = _Folder(made)
        here = _HERE[work.digest]
        here.users += 1
    try:
        yield here.path
    finally:
        with _LOCK:
            here.users -= 1


def _disk() -> str | None:
    """Return the folder of a Dask worker, which Dask removes even after a kill; None elsewhere."""
    distributed = sys.modules.get("distributed")
    with suppress(AttributeError, ValueError):  # no worker of Dask
        return str(distributed.get_worker().local_directory)  # type: ignore[union-attr]
    return None


def _clear() -> None:
    for digest, folder in list(_HERE.items()):
        if not folder.users:
            del _HERE[digest]
            shutil.rmtree(folder.path, ignore_errors=True)


atexit.register(_clear)
