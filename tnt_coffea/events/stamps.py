"""What tells that a file was replaced, grown or cut since a pass was planned."""

from __future__ import annotations

from pathlib import Path

from tnt_coffea.errors import InputError
from tnt_coffea.events.hdf5_table import other_files
from tnt_coffea.events.remote import file_of, traveller

__all__ = ["Stamp", "check_unchanged", "stamp_of"]

Stamp = tuple[tuple[str, int, int], ...]
"""Path, size in bytes and time of the last change [us], of a file and those its data lie in.

Of a file at an address: the address, the size, and a number that changes with what the server
says of the version (`remote.RemoteStatus`)."""


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file as it is now; raises `OSError` where there is none.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "box.csv")
    ...     _ = path.write_text("m_jj,heavy_mass,light_mass")
    ...     stamp = stamp_of(path)
    ...     check_unchanged(stamp)
    ...     _ = path.write_text("m_jj")
    ...     check_unchanged(stamp)
    Traceback (most recent call last):
        ...
    tnt_coffea.errors.InputError: ...box.csv: was changed since the pass was planned (26...
    """
    return tuple(_now(part.absolute()) for part in (path, *other_files(path)))


def _now(path: Path) -> tuple[str, int, int]:
    # Neither inode nor nanoseconds: file systems on a network need not agree about them.
    status = path.stat()
    return traveller(path), status.st_size, status.st_mtime_ns // 1000


def check_unchanged(stamp: Stamp) -> None:
    """Refuse files that are no longer those of the stamp.

    Parameters
    ----------
    stamp
        Of `stamp_of`, on this machine or another one that sees the same files.

    Raises
    ------
    InputError
        A file is gone or was changed.
    """
    for before in stamp:
        path, size = file_of(before[0]), before[1]
        try:
            now = _now(path)
        except OSError as error:
            msg = f"{path}: cannot be opened: {error.strerror or error}"
            raise InputError(msg) from error
        if now != before:
            sizes = "same size" if now[1] == size else f"{size} bytes then, {now[1]} now"
            msg = (
                f"{path}: was changed since the pass was planned ({sizes}); run the command again "
                "when it is complete"
            )
            raise InputError(msg)
