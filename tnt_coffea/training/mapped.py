"""The skim as training reads it: flat arrays on disk that every process maps and none holds.

Training wants its events in random order and many times over, which compressed Parquet does
not give. So the parts are decoded once, in the order of the ids, into one file an array,
beside the taggers that are being trained. Pages that several workers look at are in memory
once; what no batch asks for is not in memory at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import SkimSettings, digest
from tnt_coffea.errors import InputError
from tnt_coffea.events.sample import Sample, flat_columns, list_columns
from tnt_coffea.events.skim import read_parts
from tnt_coffea.storage import stored
from tnt_coffea.typing import IntArray

__all__ = ["mapped_events"]

_SETTINGS = "settings.json"


def mapped_events(
    paths: Iterable[str | Path], folder: str | Path, *, truth: bool = False
) -> Sample:
    """Return the dijets of a skim in the order of their ids, mapped from flat files.

    Parameters
    ----------
    paths
        Parts of one skim.
    folder
        Folder of the flat files, which are written where they are missing: 0.6 kB a dijet with
        the paper's images. One part and 0.1 kB a dijet are in memory meanwhile.
    truth
        With labels; for references that say so on their cards.

    Returns
    -------
    Sample
        Its arrays are read-only and stay on disk, and so do the lists of a selection of it.

    Raises
    ------
    InputError
        There is no part, one cannot be read, or they were made with different settings.
    StorageError
        The folder has no room for the files.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import Skim, testing
    >>> skim = Skim.from_sample(testing.make_sample(100))
    >>> with TemporaryDirectory() as folder:
    ...     sample = mapped_events(skim.paths, folder)
    ...     len(sample), sample.images("heavy").shape, set(sample.label.tolist())
    (100, (100, 1, 12, 12), {-1})
    """
    parts = sorted(map(Path, paths))
    if not parts:
        return read_parts(parts)
    place = Path(folder) / f"events-{_key(parts, truth=truth)}"
    if not place.exists():
        layout = _Layout.of(parts, truth=truth)
        with stored(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=place.parent, prefix="events.") as scratch:
                made = Path(scratch, "events")
                made.mkdir()
                layout.write(made)
                try:
                    made.rename(place)
                except OSError:  # another process was faster
                    if not place.exists():
                        raise
    return _mapped(place)


def _key(parts: Sequence[Path], *, truth: bool) -> str:
    # Only to find the files: tasks compare the hash of what is in them.
    known = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in parts]
    return digest({"parts": known, "truth": truth})[:16]


@dataclass(frozen=True)
class _Layout:
    """Where everything in the parts of a skim goes.

    Attributes
    ----------
    parts, truth
        What is read.
    rows
        By part, the (event,) place of its events in the order of the ids.
    starts
        By jagged column, the (event + 1,) places where the events' values begin.
    types
        Of the columns.
    settings
        Of the skim, as JSON.
    """

    parts: Sequence[Path]
    truth: bool
    rows: Sequence[IntArray]
    starts: Mapping[str, IntArray]
    types: Mapping[str, np.dtype[Any]]
    settings: str

    @classmethod
    def of(cls, parts: Sequence[Path], *, truth: bool) -> _Layout:
        ids, counts, settings, types = [], [], set(), {}
        for part in _read(parts, truth=truth):
            ids.append(part.event_id)
            counts.append({name: _counts(column) for name, column in part.lists.items()})
            settings.add(part.settings.model_dump_json())
            types = {name: values.dtype for name, values in _arrays(part).items()}
        if len(settings) != 1:
            msg = f"the parts were made with {len(settings)} different settings; skim again"
            raise InputError(msg)
        sizes = [len(part) for part in ids]
        place = np.empty(sum(sizes), np.int64)
        place[np.argsort(np.concatenate(ids), kind="stable")] = np.arange(len(place))
        starts = {}
        for name in counts[0]:
            ordered = np.empty_like(place)
            ordered[place] = np.concatenate([part[name] for part in counts])
            starts[name] = np.concatenate([[0], np.cumsum(ordered)])
        rows = np.split(place, np.cumsum(sizes)[:-1])
        return cls(parts, truth, rows, starts, types, settings.pop())

    def write(self, folder: Path) -> None:
        events = sum(map(len, self.rows))
        lengths = {name: int(starts[-1]) for name, starts in self.starts.items()}
        files = {
            name: _file(folder / f"{name}.npy", kind, lengths.get(name, events))
            for name, kind in self.types.items()
        }
        for part, rows in zip(_read(self.parts, truth=self.truth), self.rows, strict=True):
            for name, values in _arrays(part).items():
                if name in self.starts:
                    counts = _counts(part.lists[name])
                    first = self.starts[name][rows] - (np.cumsum(counts) - counts)
                    files[name][np.repeat(first, counts) + np.arange(len(values))] = values
                else:
                    files[name][rows] = values
        for name, starts in self.starts.items():
            np.save(folder / f"{name}-starts.npy", starts)
        (folder / _SETTINGS).write_text(self.settings)


def _read(parts: Sequence[Path], *, truth: bool) -> Iterator[Sample]:
    for path in parts:
        yield read_parts([path], truth=truth)


def _arrays(part: Sample) -> dict[str, npt.NDArray[Any]]:
    return {
        "event_id": part.event_id,
        "weight": part.weight,
        "label": part.label,
        **part.columns,
        **{name: ak.to_numpy(ak.flatten(column)) for name, column in part.lists.items()},
    }


def _counts(column: ak.Array) -> IntArray:
    counts: IntArray = ak.to_numpy(ak.num(column)).astype(np.int64)
    return counts


def _file(path: Path, kind: np.dtype[Any], length: int) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.lib.format.open_memmap(
        path, mode="w+", dtype=kind, shape=(length,)
    )
    # Without it a full disk is no error but a bus error, at the first page without room.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _mapped(place: Path) -> Sample:
    def array(name: str) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = np.load(place / f"{name}.npy", mmap_mode="r")
        return found.view(np.ndarray)

    def jagged(name: str) -> ak.Array:
        starts = ak.index.Index64(array(f"{name}-starts"))
        return ak.Array(ak.contents.ListOffsetArray(starts, ak.contents.NumpyArray(array(name))))

    settings = SkimSettings.model_validate_json((place / _SETTINGS).read_text())
    return Sample(
        event_id=array("event_id"),
        weight=array("weight"),
        label=array("label"),
        columns={name: array(name) for name in flat_columns(settings)},
        lists={name: jagged(name) for name in list_columns(settings)},
        settings=settings,
    )
