"""The skim: one row a dijet. Processors write it, training and the search read it.

A part is a Parquet file; its footer repeats the settings it was made with. `Sample`
is the same content in memory, always in the order of the event ids, so nothing
computed from it can depend on how the events were split into files and chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ImageSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events.particles import NUMBERS
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.jets.images import SparseImages
from tnt_coffea.storage import written

__all__ = [
    "FIELDS",
    "SCHEMA_VERSION",
    "Sample",
    "entries",
    "flat_columns",
    "image_columns",
    "is_mine",
    "load",
    "sample_of",
    "settings_of",
    "write_part",
]

SCHEMA_VERSION = "2"
_EVENT = ("event_id", "weight", "label")
_HASHED = 2**14
"""Events whose images are hashed at once: where they lie on disk, no more are in memory."""
FIELDS = frozenset((*_EVENT, "m_jj"))
"""What every skim holds; `flat_columns` and `image_columns` name what its settings add.

A part also holds those of `NUMBERS` that its source has.
"""


def flat_columns(settings: SkimSettings) -> tuple[str, ...]:
    """Return the names of a skim's columns with one number an event, in their order."""
    of_jets = (f"{jet}_{name}" for jet in JETS for name in settings.of_jet)
    return ("m_jj", *of_jets, *settings.of_event)


def image_columns(settings: SkimSettings) -> tuple[str, ...]:
    """Return the names of a skim's columns with one list an event: none without images."""
    if settings.images is None:
        return ()
    return tuple(f"{jet}_image_{part}" for jet in JETS for part in ("index", "value"))


@dataclass(frozen=True)
class Sample:
    """Dijets in memory.

    Attributes
    ----------
    event_id
        (event,) uint64.
    weight
        (event,) float64.
    label
        (event,) int8; all -1 unless the truth was asked for.
    columns
        `m_jj` (event,) float64 GeV; the observables of either jet (`heavy_mass`) and of the
        event (`delta_eta`), (event,) float32.
    pixels
        `heavy_image_index` and the like: (event, pixel) jagged. Empty without images.
    settings
        How the dijets and images were made.
    numbers
        (event,) uint64 by name, those of run, luminosityBlock and event that the sources have
        and that were asked for.
    """

    event_id: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    columns: Mapping[str, npt.NDArray[Any]]
    pixels: Mapping[str, ak.Array]
    settings: SkimSettings
    numbers: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_id)

    @property
    def m_jj(self) -> npt.NDArray[np.float64]:
        """(event,) float64, GeV."""
        return self.columns["m_jj"]

    @property
    def image_settings(self) -> ImageSettings:
        """How the images were made.

        Raises
        ------
        InputError
            The skim was made without images.
        """
        if self.settings.images is None:
            msg = (
                "the skim holds no images (skim.images is null), and what was asked for needs "
                "them; set skim.images and make the skim again, from a source with constituents"
            )
            raise InputError(msg)
        return self.settings.images

    @classmethod
    def read(
        cls, paths: Iterable[str | Path], *, truth: bool = False, numbers: bool = False
    ) -> Sample:
        """Return the dijets of all parts in the order of their ids.

        Parameters
        ----------
        paths
            Parts of one skim.
        truth
            Read the labels too. Evaluation asks for them, nothing else does.
        numbers
            Read the experiment's numbers of the events too, those that all parts hold.

        Raises
        ------
        InputError
            There is no part, one cannot be read, or they were made with different settings.
        """
        import pyarrow as pa

        parts = sorted(map(Path, paths))
        known = _numbers_in_all(parts) if numbers else ()
        tables, settings = [], set()
        for path in parts:
            made = settings_of(path)
            settings.add(made.model_dump_json())
            names = [name for name in _columns(made) if truth or name != "label"]
            tables.append(_rows(path, (*names, *known)))
        if len(settings) != 1:
            msg = (
                "no part of a skim was given"
                if not settings
                else f"the parts were made with {len(settings)} different settings; "
                "parts of one skim share them"
            )
            raise InputError(msg)
        sample = sample_of(
            _arrays(pa.concat_tables(tables)), SkimSettings.model_validate_json(settings.pop())
        )
        return sample.select(np.argsort(sample.event_id, kind="stable"))

    def select(self, which: npt.NDArray[Any]) -> Sample:
        """Return the events of a mask or of row numbers."""
        return replace(
            self,
            event_id=self.event_id[which],
            weight=self.weight[which],
            label=self.label[which],
            columns={name: column[which] for name, column in self.columns.items()},
            pixels={name: column[which] for name, column in self.pixels.items()},
            numbers={name: column[which] for name, column in self.numbers.items()},
        )

    def images(
        self, jet: str, rows: npt.NDArray[Any] | slice | None = None
    ) -> npt.NDArray[np.float32]:
        """Return (event, channel, row, column) float32 of one jet, `heavy` or `light`.

        Raises
        ------
        InputError
            The skim was made without images.
        """
        return self.sparse_images(jet, rows).dense()

    def sparse_images(self, jet: str, rows: npt.NDArray[Any] | slice | None = None) -> SparseImages:
        """Return the filled pixels of one jet's images, as `images` and as augmentation wants them.

        Raises
        ------
        InputError
            The skim was made without images.
        """
        shape = self.image_settings.shape
        which = slice(None) if rows is None else rows
        index = self.pixels[f"{jet}_image_index"][which]
        return SparseImages(
            counts=ak.to_numpy(ak.num(index)),
            index=ak.to_numpy(ak.flatten(index)),
            value=ak.to_numpy(ak.flatten(self.pixels[f"{jet}_image_value"][which])),
            shape=shape,
        )

    def content_hash(self) -> str:
        """Return the SHA-256 of all that training may use, in the order of the ids.

        Labels and the experiment's numbers have no part in it.
        """
        order = np.argsort(self.event_id, kind="stable")
        state = hashlib.sha256(self.settings.digest().encode())
        arrays = [
            self.event_id,
            self.weight,
            *(self.columns[name] for name in flat_columns(self.settings)),
        ]
        for array in arrays:
            state.update(np.ascontiguousarray(array[order]).data)
        for name in image_columns(self.settings):
            jagged = self.pixels[name][order]
            state.update(np.ascontiguousarray(ak.to_numpy(ak.num(jagged)), dtype=np.int64).data)
            for start in range(0, len(jagged), _HASHED):
                part = ak.to_numpy(ak.flatten(jagged[start : start + _HASHED]))
                state.update(np.ascontiguousarray(part).data)
        return state.hexdigest()


def _columns(settings: SkimSettings) -> tuple[str, ...]:
    return (*_EVENT, *flat_columns(settings), *image_columns(settings))


def _numbers_in_all(paths: Sequence[Path]) -> tuple[str, ...]:
    import pyarrow.parquet as pq

    known = set(NUMBERS)
    for path in paths:
        with _reading(path):
            known &= set(pq.read_schema(path).names)
    return tuple(name for name in NUMBERS if name in known)


def sample_of(events: Mapping[str, Any], settings: SkimSettings) -> Sample:
    """Return the skim's columns as a `Sample`; without a `label` column the labels are -1.

    Parameters
    ----------
    events
        Columns by name (a dict of arrays, or NanoEvents of a skim).
    settings
        How the dijets and images were made.
    """
    event_id = ak.to_numpy(events["event_id"]).astype(np.uint64)
    there = set(events.fields if isinstance(events, ak.Array) else events)
    label = ak.to_numpy(events["label"]) if "label" in there else np.full(len(event_id), -1)
    return Sample(
        event_id=event_id,
        weight=ak.to_numpy(events["weight"]).astype(np.float64),
        label=label.astype(np.int8),
        columns={name: ak.to_numpy(events[name]) for name in flat_columns(settings)},
        pixels={
            name: ak.without_parameters(ak.materialize(events[name]))
            for name in image_columns(settings)
        },
        settings=settings,
        numbers={
            name: ak.to_numpy(events[name]).astype(np.uint64) for name in NUMBERS if name in there
        },
    )


def write_part(path: Path, sample: Sample) -> None:
    """Write a part of a skim; the file appears under its name only when it is complete.

    Raises
    ------
    StorageError
        The disk is full, read-only, or not ours to write.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "event_id": sample.event_id,
            "weight": sample.weight,
            "label": sample.label,
            **sample.numbers,
            **sample.columns,
            **{name: _arrow_list(column) for name, column in sample.pixels.items()},
        },
        metadata={
            "tnt_coffea.schema": SCHEMA_VERSION,
            "tnt_coffea.settings": sample.settings.model_dump_json(),
            "tnt_coffea.digest": sample.settings.digest(),
        },
    )
    with written(path) as partial:
        # With checksums: Parquet reads many a changed byte without a word otherwise.
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def _arrays(table: Any) -> dict[str, ak.Array]:
    # By hand, not by awkward: a Parquet column may hold nulls by its type even where
    # it has none, and options must not get further than here.
    import pyarrow as pa

    arrays = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pa.types.is_list(column.type):
            counts = np.diff(column.offsets.to_numpy())
            arrays[name] = ak.unflatten(column.flatten().to_numpy(), counts)
        else:
            arrays[name] = ak.Array(column.to_numpy(zero_copy_only=False))
    return arrays


def _arrow_list(jagged: ak.Array) -> Any:
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(jagged)))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, ak.to_numpy(ak.flatten(jagged)))


def is_mine(path: Path) -> bool:
    """Tell whether the file is a part of a skim, by its footer."""
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            return False
    import pyarrow.parquet as pq

    with _reading(path):
        return b"tnt_coffea.schema" in (pq.read_schema(path).metadata or {})


def entries(path: Path) -> int:
    """Return the number of dijets in a part.

    Raises
    ------
    InputError
        As `settings_of`, or the footer contradicts itself.
    """
    import pyarrow.parquet as pq

    settings_of(path)
    with _reading(path):
        footer = pq.read_metadata(path)
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        # The first column is flat: as many values as rows.
        counts = {sum(g.num_rows for g in groups), sum(g.column(0).num_values for g in groups)}
    if counts != {footer.num_rows}:
        msg = f"{path}: the footer names {footer.num_rows} rows and holds {counts}; skim again"
        raise InputError(msg)
    return int(footer.num_rows)


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return rows [start, stop) as NanoEvents.

    Raises
    ------
    InputError
        As `settings_of`, or a page is damaged.
    """
    from coffea.nanoevents import BaseSchema, NanoEventsFactory
    from coffea.nanoevents.mapping import SimplePreloadedColumnSource

    rows = _rows(path, sorted(_columns(settings_of(path)))).slice(start, stop - start)
    source = SimplePreloadedColumnSource(
        _arrays(rows), str(path), len(rows), f"rows {start}-{stop}"
    )
    return NanoEventsFactory.from_preloaded(
        source, schemaclass=BaseSchema, metadata=metadata
    ).events()


def settings_of(path: str | Path) -> SkimSettings:
    """Return the settings that a part was made with, from its footer.

    Raises
    ------
    InputError
        The file is not a readable part of this version's schema.
    """
    import pyarrow.parquet as pq

    with _reading(path):
        metadata = pq.read_schema(path).metadata or {}
        version = metadata.get(b"tnt_coffea.schema", b"none").decode()
    if version != SCHEMA_VERSION:
        msg = (
            f"{path}: skim schema {version}, this version reads {SCHEMA_VERSION}; "
            "make the skim again"
        )
        raise InputError(msg)
    with _reading(path):
        settings = SkimSettings.model_validate_json(metadata[b"tnt_coffea.settings"])
        if settings.digest() != metadata[b"tnt_coffea.digest"].decode():
            msg = "the settings in its footer are not those it was written with"
            raise ValueError(msg)
    return settings


def _rows(path: Path, names: Sequence[str]) -> Any:
    import pyarrow.parquet as pq

    with _reading(path):
        return pq.read_table(path, columns=list(names), page_checksum_verification=True)


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, pa.ArrowException, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = f"{path}: not a readable part of a skim: {reason}. It is damaged; skim again"
        raise InputError(msg) from error
