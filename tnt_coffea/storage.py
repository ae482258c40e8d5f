"""Files that appear under their names only when complete, folders with one writer, full disks."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tnt_coffea.errors import BusyError, StorageError

__all__ = ["file_sha256", "held", "is_full", "spelled", "stored", "written"]

_LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_held: dict[str, tuple[int, int]] = {}
"""Folders that this process holds: the thread, and the open lock file."""


def spelled(path: Path) -> str:
    r"""Return a path as text that any library can encode, whatever bytes its name is made of.

    Examples
    --------
    >>> spelled(Path("box.h5")), spelled(Path("bad\udcff.h5"))
    ('box.h5', 'bad\\udcff.h5')
    """
    return str(path).encode(errors="backslashreplace").decode()


def is_full(error: Exception) -> bool:
    """Tell whether the disk, or the user's share of it, is full.

    Examples
    --------
    >>> is_full(OSError(28, "No space left on device")), is_full(PermissionError(13, ""))
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in _FULL


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; raises `OSError` where it cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "box.csv")
    ...     _ = path.write_text("m_jj")
    ...     file_sha256(path)[:8]
    '9485efc1'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a path to write to; its file is renamed to `path` when the block is left.

    Processes that write the same file at the same time do not disturb each other: the last one
    wins, and the file is whole at any moment.

    Raises
    ------
    StorageError
        The file cannot be written; nothing of it is left.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "figures.json")
    ...     with written(path) as partial:
    ...         _ = partial.write_text("{}")
    ...     path.read_text()
    '{}'
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with stored(path):
        try:
            yield partial
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


@contextmanager
def stored(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the disk into one clear error.

    Raises
    ------
    StorageError
        The disk is full, read-only, or not ours to write.

    Examples
    --------
    >>> with stored(Path("figures.json")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
        ...
    tnt_coffea.errors.StorageError: figures.json: cannot be written: No space left on device...
    """
    try:
        yield
    except OSError as error:
        raise StorageError(_reason(path, error)) from error


def _reason(path: Path, error: OSError) -> str:
    blocking = next((one for one in (path, *path.parents) if one.is_file()), None)
    if isinstance(error, FileExistsError | NotADirectoryError) and blocking is not None:
        return f"{blocking}: is a file, expected a folder; choose another output folder"
    where = f" ({error.filename})" if error.filename and error.filename != str(path) else ""
    if is_full(error):
        help_ = (
            "Free some space, or choose another output folder; the same command goes on where it "
            "was cut"
        )
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        help_ = "It is not ours to write: change that, or choose another output folder"
    else:
        help_ = "Choose another output folder"
    return f"{path}: cannot be written: {error.strerror or error}{where}. {help_}"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder, which is made, until the block is left.

    A thread may hold a folder several times over. What a process held that was killed is free
    at once: the lock is the operating system's (`flock`, over NFS as well). Where the file
    system has none, a file says who writes, and one left by a process that is gone counts only
    if it was of this machine.

    Raises
    ------
    BusyError
        Another process or thread writes there.
    StorageError
        The folder cannot be written to.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out, held(Path(out)), held(Path(out)):
    ...     sorted(path.name for path in Path(out).iterdir())
    ['.lock']
    """
    key, thread = os.path.realpath(folder), threading.get_ident()
    if _held.get(key, (None,))[0] == thread:
        yield
        return
    made = not folder.exists()
    path = folder / _LOCK
    with stored(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = _lock(path)
    _held[key] = (thread, file)
    try:
        yield
    finally:
        if _held.pop(key, None) is not None:  # a forked process holds nothing
            with suppress(OSError):  # while it is ours, so that nobody's lock is removed
                path.unlink()
            os.close(file)
            if made:
                with suppress(OSError):  # nothing was written into it
                    folder.rmdir()


def _lock(path: Path) -> int:
    """Return the open file of a lock that is ours from now on."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise BusyError(_busy(path)) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                os.close(file)
                raise
            if _alive(_owner(path)):
                os.close(file)
                msg = f"{_busy(path)}; if it no longer runs, remove {path}"
                raise BusyError(msg) from error
        # Its last holder may have removed the file between the two calls above.
        with suppress(FileNotFoundError):
            if os.fstat(file).st_ino == path.stat().st_ino:
                owner = {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
                }
                with suppress(OSError):  # on a full disk nobody learns whose it is
                    os.ftruncate(file, 0)
                    os.pwrite(file, json.dumps(owner).encode() + b"\n", 0)
                return file
        os.close(file)


def _owner(path: Path) -> dict[str, object]:
    try:
        owner = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _alive(owner: dict[str, object]) -> bool:
    """Tell whether a writer may still run: one of another machine may."""
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    if owner.get("host") != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)  # asks, and sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _busy(path: Path) -> str:
    owner = _owner(path)
    who = "a process"
    if owner:
        who = f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('since')}"
    return (
        f"{path.parent}: another run writes here ({who}); wait for its end, or choose another "
        "output folder"
    )


def _forget() -> None:
    # A forked worker that outlives its parent must not keep the parent's locks.
    for _, file in _held.values():
        with suppress(OSError):
            os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
