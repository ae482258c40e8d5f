"""The skim on disk: Parquet parts of one row a dijet.

Processors write them, training and the search read them. The footer of a part repeats the
settings it was made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.config import SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events import parquet_file
from tnt_coffea.events.particles import NUMBERS
from tnt_coffea.events.remote import file_of
from tnt_coffea.events.sample import (
    EVENT_COLUMNS,
    Sample,
    flat_columns,
    list_columns,
    sample_of,
)
from tnt_coffea.storage import spelled, written

__all__ = [
    "FIELDS",
    "SCHEMA_VERSION",
    "entries",
    "is_mine",
    "load",
    "made_before",
    "other_settings",
    "read_parts",
    "settings_of",
    "write_part",
]

SCHEMA_VERSION = "2"
FIELDS = frozenset((*EVENT_COLUMNS, "m_jj"))
"""What every skim holds; `flat_columns` and `list_columns` name what its settings add.

A part also holds those of `NUMBERS` that its source has.
"""

_ROWS = 10_000
"""Events of a row group: a work item unpacks those that hold it, whole."""


def _columns(settings: SkimSettings) -> tuple[str, ...]:
    return (*EVENT_COLUMNS, *flat_columns(settings), *list_columns(settings))


def _numbers_in_all(paths: Sequence[Path]) -> tuple[str, ...]:
    known = set(NUMBERS)
    for path in paths:
        with _opened(path) as file:
            known &= set(file.schema_arrow.names)
    return tuple(name for name in NUMBERS if name in known)


def read_parts(
    paths: Iterable[str | Path], *, truth: bool = False, numbers: bool = False
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


def write_part(path: Path, sample: Sample) -> None:
    """Write a part of a skim; the file appears under its name only when it is complete.

    Raises
    ------
    StorageError
        The disk is full, read-only, or not ours to write.
    """
    import pyarrow as pa

    table = pa.table(
        {
            "event_id": sample.event_id,
            "weight": sample.weight,
            "label": sample.label,
            **sample.numbers,
            **sample.columns,
            **{name: _arrow_list(column) for name, column in sample.lists.items()},
        },
        metadata={
            "tnt_coffea.schema": SCHEMA_VERSION,
            "tnt_coffea.settings": sample.settings.model_dump_json(),
            "tnt_coffea.digest": sample.settings.digest(),
        },
    )
    with written(path) as partial, parquet_file.created(partial, table.schema) as writer:
        writer.write_table(table, row_group_size=_ROWS)


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
    with parquet_file.opened(path) as file:
        return b"tnt_coffea.schema" in (file.schema_arrow.metadata or {})


def entries(path: Path) -> int:
    """Return the number of dijets in a part.

    Raises
    ------
    InputError
        As `settings_of`, or the footer contradicts itself.
    """
    settings_of(path)
    with _opened(path) as file:
        footer = file.metadata
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

    columns = {*_columns(settings_of(path)), *_numbers_in_all([path])}
    with _opened(path) as file:
        rows = parquet_file.rows_between(file, path, start, stop, sorted(columns))
    source = SimplePreloadedColumnSource(
        _arrays(rows), spelled(path), len(rows), f"rows {start}-{stop}"
    )
    return NanoEventsFactory.from_preloaded(
        source, schemaclass=BaseSchema, metadata=metadata
    ).events()


def made_before(events: Any, settings: SkimSettings) -> Sample | None:
    """Return the dijets of a part of a skim as they are; None where the events are anything else.

    Parameters
    ----------
    events
        NanoEvents of any source.
    settings
        What the dijets shall be made with.

    Raises
    ------
    InputError
        The part was made with other settings.
    """
    if not set(events.fields) >= FIELDS:
        return None
    path = file_of((events.metadata or {}).get("filename", ""))
    if not path.is_file() or not is_mine(path):
        return None
    if differing := other_settings(path, settings):
        msg = (
            f"{path}: a part of a skim that was made with other settings ({'; '.join(differing)}); "
            "give it those (--config), or the files that it was made of"
        )
        raise InputError(msg)
    return sample_of(events, settings_of(path))


def other_settings(path: Path, settings: SkimSettings) -> list[str]:
    """Return in words which settings a part was made with are not these; raises as `settings_of`.

    What a table's columns mean is not compared: a part holds what they mean.
    """
    made = settings_of(path)
    theirs, ours = (_flat(given.model_dump(mode="json")) for given in (made, settings))
    of_tables = ("skim.table", "skim.images", "skim.observables")
    return [
        f"{name}: {theirs.get(name)} there, {ours.get(name)} now"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name) and not (made.table and name.startswith(of_tables))
    ]


def _flat(values: dict[str, Any], prefix: str = "skim") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        flat |= _flat(value, name) if isinstance(value, dict) else {name: value}
    return flat


def settings_of(path: str | Path) -> SkimSettings:
    """Return the settings that a part was made with, from its footer.

    Raises
    ------
    InputError
        The file is not a readable part of this version's schema.
    """
    path = file_of(path)
    with _opened(path) as file:
        metadata = file.schema_arrow.metadata or {}
        version = metadata.get(b"tnt_coffea.schema", b"none").decode()
    if version != SCHEMA_VERSION:
        msg = (
            f"{path}: skim schema {version}, this version reads {SCHEMA_VERSION}; "
            "make the skim again"
        )
        raise InputError(msg)
    with _part(path):
        settings = SkimSettings.model_validate_json(metadata[b"tnt_coffea.settings"])
        if settings.digest() != metadata[b"tnt_coffea.digest"].decode():
            msg = "the settings in its footer are not those it was written with"
            raise ValueError(msg)
    return settings


def _rows(path: Path, names: Sequence[str]) -> Any:
    with _opened(path) as file:
        return parquet_file.rows_of(file, path, range(file.num_row_groups), names)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with _part(path), parquet_file.opened(path) as file:
        yield file


@contextmanager
def _part(path: Path) -> Iterator[None]:
    try:
        yield
    except (InputError, ValueError, LookupError, TypeError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        msg = f"{path}: not a readable part of a skim: {reason}. Skim again"
        raise InputError(msg) from error
