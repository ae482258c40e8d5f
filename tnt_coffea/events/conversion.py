"""Events of any source rewritten as Parquet or ROOT, with their identity.

The columns are NanoAOD's, flat in both formats (`pfnano.COLUMNS`): particles and jets as
float32, the precision that a source's values are taken with, and per event `eventId`,
`weight`, `label`, and the numbers that the source has. The same adapter reads them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import InputError
from tnt_coffea.events.parquet_file import created
from tnt_coffea.events.pfnano import COLLECTIONS, TREE
from tnt_coffea.events.remote import file_of
from tnt_coffea.events.sources import SOURCES, adapter_of, particles_of, source_of
from tnt_coffea.storage import stored, written

__all__ = ["Conversion", "Format", "convert"]

Columns = Mapping[str, Any]
Write = Callable[[Columns], None]
_DTYPES: dict[str, str] = {
    "eventId": "uint64",
    "weight": "float64",
    "label": "int8",
    "run": "uint32",
    "luminosityBlock": "uint32",
    "event": "uint64",
    "fatJetRadius": "float32",
}


class Format(StrEnum):
    """Formats that events are converted to."""

    PARQUET = "parquet"
    ROOT = "root"

    @classmethod
    def of(cls, path: Path) -> Format:
        """Return the format that a file's suffix names.

        Raises
        ------
        InputError
            The suffix is neither .parquet nor .root.
        """
        try:
            return cls(path.suffix.removeprefix("."))
        except ValueError:
            msg = f"{path}: the suffix says no format; call it .parquet or .root, or name a format"
            raise InputError(msg) from None


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Attributes
    ----------
    path
        The file written.
    form
        Its format.
    files, events
        Files read, events written.
    columns
        What every event has.
    """

    path: Path
    form: Format
    files: int
    events: int
    columns: tuple[str, ...]

    def summary(self) -> str:
        """Return one line about it."""
        files = f"{self.files} file" + "s" * (self.files != 1)
        return f"{self.path}: {self.events} events of {files}, {len(self.columns)} columns"


def convert(
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    form: Format | str | None = None,
    *,
    chunk_size: int = 1000,
) -> Conversion:
    """Write the events of files of any source with particles or jets to one file.

    The file appears under its name when it is complete. Memory depends on the chunk alone.

    Parameters
    ----------
    files
        One path or several, in the order their events shall have; the same columns in all.
    out
        File to write.
    form
        Its format; by default what its suffix says.
    chunk_size
        Events in memory at once, and in a row group or basket of the output.

    Raises
    ------
    InputError
        A file cannot be read or holds impossible values, is a skim, is the output itself,
        or lacks columns that the others have.
    StorageError
        The output cannot be written; nothing of it is left.
    """
    given = [files] if isinstance(files, str | Path) else files
    paths = [file_of(path) for path in given]
    out = Path(out)
    chosen = Format.of(out) if form is None else Format(form)
    if not paths:
        msg = "no file to convert was given"
        raise InputError(msg)
    if out.resolve() in {path.resolve() for path in paths}:
        msg = f"{out}: would be written over while it is read; give another name"
        raise InputError(msg)
    with stored(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    names: tuple[str, ...] = ()
    events = 0
    with written(out) as partial, _WRITERS[chosen](partial) as write:
        for path in paths:
            for columns in _chunks(path, chunk_size):
                names = names or tuple(columns)
                _check_same(path, columns, names)
                write(columns)
                events += len(columns["eventId"])
    return Conversion(out, chosen, len(paths), events, names)


def _chunks(path: Path, size: int) -> Iterator[Columns]:
    source = source_of(path)
    if source in (SOURCES["skim"], SOURCES["table"]):
        what = "a part of a skim" if source is SOURCES["skim"] else "a table of features"
        msg = f"{path}: {what}, which holds no particles; convert what it was made of"
        raise InputError(msg)
    n = source.entries(path)
    for start in range(0, n, size):
        stop = min(start + size, n)
        metadata = {"filename": str(path), "entrystart": start, "entrystop": stop}
        yield _columns(source.load(path, start, stop, metadata))


def _columns(events: Any) -> Columns:
    source = adapter_of(events)
    if hasattr(source, "columns"):
        found: Columns = source.columns(events)
        return found
    particles = particles_of(events)
    return {
        "eventId": particles.event_id,
        "weight": particles.weight,
        "label": particles.label,
        **particles.numbers,
        **{
            f"PFCands_{part}": ak.values_astype(getattr(particles.p4, part), np.float32)
            for part in ("pt", "eta", "phi", "mass")
        },
    }


def _check_same(path: Path, columns: Columns, names: tuple[str, ...]) -> None:
    differing = set(columns) ^ set(names)
    if differing:
        msg = (
            f"{path}: {', '.join(sorted(differing))} is not in all files; one converted file "
            "holds events of one kind, convert the others on their own"
        )
        raise InputError(msg)


def _flat(name: str, columns: Columns) -> npt.NDArray[Any]:
    return np.asarray(columns[name], dtype=_DTYPES[name])


@contextmanager
def _root(path: Path) -> Iterator[Write]:
    import uproot

    # A file that is open: of a path with "::" fsspec would write to what stands before it.
    with path.open("w+b") as raw, uproot.recreate(raw, compression=uproot.ZSTD(3)) as file:
        trees: list[Any] = []

        def write(columns: Columns) -> None:
            rows: dict[str, Any] = {n: _flat(n, columns) for n in columns if n in _DTYPES}
            for collection, parts in COLLECTIONS.items():
                there = {
                    p: columns[f"{collection}_{p}"] for p in parts if f"{collection}_{p}" in columns
                }
                if there:
                    rows[collection] = ak.zip(there)
            if not trees:
                kinds = {
                    n: f"var * {{{', '.join(f'{p}: {_kind(row[p])}' for p in row.fields)}}}"
                    if isinstance(row, ak.Array)
                    else str(row.dtype)
                    for n, row in rows.items()
                }
                trees.append(file.mktree(TREE, kinds))
            trees[0].extend(rows)

        yield write


def _kind(column: ak.Array) -> str:
    return str(ak.to_numpy(ak.flatten(column)).dtype)


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    import pyarrow as pa

    open_files = ExitStack()
    writers: list[Any] = []

    def write(columns: Columns) -> None:
        arrays = {
            name: pa.array(_flat(name, columns)) if name in _DTYPES else _list(column)
            for name, column in columns.items()
        }
        schema = pa.schema([pa.field(n, a.type, nullable=False) for n, a in arrays.items()])
        table = pa.Table.from_arrays(list(arrays.values()), schema=schema)
        if not writers:
            writers.append(open_files.enter_context(_created(path, schema)))
        writers[0].write_table(table)

    with open_files:
        yield write


def _created(path: Path, schema: Any) -> AbstractContextManager[Any]:
    # Momenta hardly repeat: their bytes are sorted by significance, not into a dictionary.
    return created(path, schema, use_dictionary=False, use_byte_stream_split=True)


def _list(column: ak.Array) -> Any:
    import pyarrow as pa

    values = pa.array(ak.to_numpy(ak.flatten(column)))
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(column)))]).astype(np.int32)
    kind = pa.list_(pa.field("element", values.type, nullable=False))
    return pa.ListArray.from_arrays(offsets, values, type=kind)


_WRITERS: dict[Format, Callable[[Path], AbstractContextManager[Write]]] = {
    Format.PARQUET: _parquet,
    Format.ROOT: _root,
}
