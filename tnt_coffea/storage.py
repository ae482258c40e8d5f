"""Files that appear under their names only when they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tnt_coffea.errors import StorageError

__all__ = ["stored", "written"]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a path to write to, whose file takes the name of `path` when the block is left.

    Raises
    ------
    StorageError
        The file cannot be written; nothing of it is left.
    """
    partial = path.with_name(f"{path.name}.partial")
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
    """Turn what the disk refuses into one clear error.

    Raises
    ------
    StorageError
        The disk is full, read-only, or not ours to write.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and error.filename != str(path) else ""
        msg = (
            f"{path}: cannot be written: {error.strerror or error}{where}. Free some space, or "
            "choose another output folder; the same command goes on where it was cut"
        )
        raise StorageError(msg) from error
