"""Whether workers see the folders and files of the driver: where they do not, bytes travel.

A path proves nothing, for every machine has a `/tmp`. A folder is known by a mark that was put
into it a moment ago, a file by its size and the time of its last change.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tnt_coffea.errors import ExecutionError, InputError
from tnt_coffea.events.stamps import Stamp, check_unchanged, stamp_of
from tnt_coffea.storage import stored

__all__ = ["Mark", "blind_worker", "check_seen", "marked"]

ANSWER = 30.0
"""Seconds in which a worker says what it sees."""


@dataclass(frozen=True)
class Mark:
    """What a worker sees where it sees what the driver does.

    Attributes
    ----------
    path
        A file that was made a moment ago, with a random name: one of an earlier run is another.
        Empty: none.
    stamps
        Files, as they are.
    """

    path: str = ""
    stamps: tuple[Stamp, ...] = ()

    def __call__(self) -> bool:
        """Tell whether all of it is seen here."""
        try:
            for stamp in self.stamps:
                check_unchanged(stamp)
            return not self.path or Path(self.path).exists()
        except (InputError, OSError):  # a folder that is not ours to enter is not seen
            return False


@contextmanager
def marked(folder: Path, *files: Path) -> Iterator[Mark]:
    """Give a mark of a folder that is there, and of files, for as long as the block runs.

    Raises
    ------
    StorageError
        The folder cannot be written to.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with marked(Path(folder)) as mark:
    ...         seen = mark()
    ...     seen, mark()
    (True, False)
    """
    path = folder.resolve() / f".mark-{uuid.uuid4().hex}"
    with stored(path):
        path.touch()
    try:
        yield Mark(str(path), tuple(map(stamp_of, files)))
    finally:
        path.unlink(missing_ok=True)


def blind_worker(executor: Any, mark: Mark) -> str:
    """Return a worker that does not see what the driver sees, by its name; empty: all do.

    Parameters
    ----------
    executor
        A coffea executor, of `open_executor`. Of one that is not Dask's, one worker is asked.
    mark
        What they shall see.

    Raises
    ------
    ExecutionError
        There is no worker to ask, or none answers.

    Examples
    --------
    >>> from coffea.processor import IterativeExecutor
    >>> blind_worker(IterativeExecutor(), Mark("/no/such/file"))
    ''
    """
    from coffea.processor import FuturesExecutor, IterativeExecutor

    if isinstance(executor, FuturesExecutor | IterativeExecutor):  # on this machine
        return ""
    if not mark():  # changed or gone for all: the pass says so
        return ""
    client = getattr(executor, "client", None)
    if client is None or not client.nthreads():  # workers may come with the first task
        plain = executor.copy(status=False, desc="Asking", unit="task")
        answer, _ = plain([mark], _asked, {"blind": set()})
        if client is None or answer["blind"]:
            return min(answer["blind"], default="")

    async def answers() -> dict[str, Any]:
        return dict(await asyncio.wait_for(client.run(mark, on_error="return"), ANSWER))

    try:
        found = client.sync(answers)
    except (TimeoutError, OSError) as error:
        msg = f"the workers do not say within {ANSWER:.0f} s which files they see: {error}"
        raise ExecutionError(msg) from error
    return next((str(place) for place, seen in found.items() if seen is not True), "")


def _asked(mark: Mark) -> dict[str, set[str]]:
    return {"blind": set() if mark() else {socket.gethostname()}}


def check_seen(executor: Any, folder: Path, what: str) -> None:
    """Refuse an executor whose workers do not see a folder that they have to write to.

    Parameters
    ----------
    executor
        A coffea executor.
    folder
        The folder.
    what
        What they write, in words.

    Raises
    ------
    ExecutionError
        A worker does not see it.
    """
    with marked(folder) as mark:
        blind = blind_worker(executor, mark)
    if blind:
        msg = (
            f"{folder}: not seen by the worker {blind}, and {what} are written there: give --out "
            "on a file system that the workers share, or run this stage on this machine "
            "(--executor futures)"
        )
        raise ExecutionError(msg)
