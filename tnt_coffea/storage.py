"""Files that appear under their names only when they are complete, and errors of the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tnt_coffea.errors import StorageError

__all__ = ["is_full", "stored", "written"]


def is_full(error: Exception) -> bool:
    """Tell whether the disk, or the user's share of it, is full.

    Examples
    --------
    >>> is_full(OSError(28, "No space left on device")), is_full(PermissionError(13, ""))
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


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
        where = f" ({error.filename})" if error.filename and error.filename != str(path) else ""
        way_out = "Free some space, or choose" if is_full(error) else "Choose"
        msg = (
            f"{path}: cannot be written: {error.strerror or error}{where}. {way_out} another "
            "output folder; the same command goes on where it was cut"
        )
        raise StorageError(msg) from error
