"""The skim on disk: Parquet parts of one row a dijet.

Processors write them, training and the search read them. The footer of a part repeats the
settings it was made with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import NOMINAL, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events import parquet_file
from tnt_coffea.events.particles import NUMBERS
from tnt_coffea.events.remote import file_of
from tnt_coffea.events.sample import (
    EVENT_COLUMNS,
    Sample,
    content_hash_of,
    flat_columns,
    list_columns,
    sample_of,
)
from tnt_coffea.storage import spelled, written

__all__ = [
    "FIELDS",
    "SCHEMA_VERSION",
    "content_of",
    "entries",
    "ids_of",
    "is_mine",
    "load",
    "made_before",
    "made_with",
    "other_settings",
    "read_parts",
    "settings_of",
    "variation_of",
    "weights_hash",
    "weights_in",
    "write_part",
]

SCHEMA_VERSION = "2"
FIELDS = frozenset((*EVENT_COLUMNS, "m_jj"))
"""What every skim holds; `flat_columns` and `list_columns` name what its settings add.

A part also holds those of `NUMBERS` that its source has.
"""

_WEIGHT = "weight:"
_VARIATION = "tnt_coffea.variation"
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
    settings = _settings_of_all(parts)
    names = [name for name in _columns(settings) if truth or name != "label"]
    tables = [_rows(path, (*names, *known)) for path in parts]
    sample = sample_of(_arrays(pa.concat_tables(tables)), settings)
    return sample.select(np.argsort(sample.event_id, kind="stable"))


def content_of(paths: Iterable[str | Path]) -> tuple[str, npt.NDArray[np.uint64]]:
    """Return the hash of the dijets of all parts, as `Sample.content_hash`, and their ids.

    One column is in memory at a time: a skim need not fit.

    Raises
    ------
    InputError
        As `read_parts`.
    """
    parts = sorted(map(Path, paths))
    settings = _settings_of_all(parts)
    ids = ak.to_numpy(_column(parts, "event_id")).astype(np.uint64)

    def column(name: str) -> Any:
        return ids if name == "event_id" else _column(parts, name)

    return content_hash_of(settings, column), ids


def _column(parts: Sequence[Path], name: str) -> Any:
    import pyarrow as pa

    return _arrays(pa.concat_tables([_rows(path, (name,)) for path in parts]))[name]


def ids_of(paths: Iterable[str | Path]) -> npt.NDArray[np.uint64]:
    """Return the ids of the dijets of all parts; no other column is read.

    Raises
    ------
    InputError
        A part cannot be read.
    """
    import pyarrow as pa

    parts = sorted(map(Path, paths))
    if not parts:
        return np.zeros(0, np.uint64)
    tables = pa.concat_tables([_rows(path, ("event_id",)) for path in parts])
    return np.asarray(ak.to_numpy(_arrays(tables)["event_id"]), np.uint64)


def _settings_of_all(parts: Sequence[Path]) -> SkimSettings:
    settings = {settings_of(path).model_dump_json() for path in parts}
    if len(settings) != 1:
        msg = (
            "no part of a skim was given"
            if not settings
            else f"the parts were made with {len(settings)} different settings; "
            "parts of one skim share them"
        )
        raise InputError(msg)
    return SkimSettings.model_validate_json(settings.pop())


def write_part(
    path: Path,
    sample: Sample,
    weights: Mapping[str, npt.NDArray[np.float64]] | None = None,
    variation: str = NOMINAL,
) -> None:
    """Write a part of a skim; the file appears under its name only when it is complete.

    Parameters
    ----------
    path
        Where to.
    sample
        The dijets.
    weights
        (event,) further weights of simulated signal by the name of their variation.
    variation
        How the jets of simulated signal were varied.

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
            **{f"{_WEIGHT}{name}": column for name, column in (weights or {}).items()},
        },
        metadata={
            **({} if variation == NOMINAL else {_VARIATION: variation}),
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

    settings = settings_of(path)
    columns = {*_columns(settings), *_numbers_in_all([path])}
    with _opened(path) as file:
        columns |= {name for name in file.schema_arrow.names if name.startswith(_WEIGHT)}
        rows = parquet_file.rows_between(file, path, start, stop, sorted(columns))
    source = SimplePreloadedColumnSource(
        _arrays(rows), spelled(path), len(rows), f"rows {start}-{stop}"
    )
    # The name of a file at an address is shown without what may be needed to open it again.
    said = {"made_with": settings.model_dump_json(), "variation": variation_of(path)}
    return NanoEventsFactory.from_preloaded(
        source, schemaclass=BaseSchema, metadata={**metadata, **said}
    ).events()


def weights_in(events: Any) -> dict[str, npt.NDArray[np.float64]]:
    """Return the further weights that a part of simulated signal holds, (event,) by variation."""
    return {
        name.removeprefix(_WEIGHT): ak.to_numpy(events[name]).astype(np.float64)
        for name in events.fields
        if name.startswith(_WEIGHT)
    }


def variation_of(path: str | Path) -> str:
    """Return how the jets of a part were varied, `nominal` where they were not."""
    with _opened(file_of(path)) as file:
        found = (file.schema_arrow.metadata or {}).get(_VARIATION.encode(), NOMINAL.encode())
    return str(found.decode())


def weights_hash(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of the further weights in parts, in the order of the events' ids.

    Raises
    ------
    InputError
        A part cannot be read, or has other weights than the first: members of a set by number.
    """
    parts = sorted(map(Path, paths))
    found = {}
    for path in parts:
        with _opened(path) as file:
            found[path] = {n for n in file.schema_arrow.names if n.startswith(_WEIGHT)}
    names = found[parts[0]] if parts else set()
    if other := [path for path in parts if found[path] != names]:
        lone = sorted(found[other[0]] ^ names)[0].removeprefix(_WEIGHT)
        msg = (
            f"{other[0]}: has other variations of weights than {parts[0].name}: '{lone}' is in one "
            "of them alone; do the files of the signal hold as many members each "
            "(systematics.weights.NAME.which takes some of them)?"
        )
        raise InputError(msg)
    state = hashlib.sha256()
    ids = ak.to_numpy(_column(parts, "event_id")) if names else np.zeros(0)
    order = np.argsort(ids, kind="stable")
    for name in sorted(names):
        state.update(name.encode())
        state.update(np.ascontiguousarray(ak.to_numpy(_column(parts, name))[order]).data)
    return state.hexdigest()


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
    meta = events.metadata or {}
    name = meta.get("filename", "")
    if "made_with" not in meta and not (file_of(name).is_file() and is_mine(file_of(name))):
        return None
    made, _ = made_with(events)
    if differing := other_settings(made, settings):
        msg = (
            f"{name}: a part of a skim that was made with other settings ({'; '.join(differing)}); "
            "give it those (--config), or the files that it was made of"
        )
        raise InputError(msg)
    return sample_of(events, made)


def made_with(events: Any) -> tuple[SkimSettings, str]:
    """Return the settings that a part's events were made with, and how their jets were varied.

    Raises
    ------
    InputError
        As `settings_of`.
    """
    meta = events.metadata
    if "made_with" in meta:
        return SkimSettings.model_validate_json(meta["made_with"]), meta["variation"]
    return settings_of(meta["filename"]), variation_of(meta["filename"])


def other_settings(made: SkimSettings, settings: SkimSettings) -> list[str]:
    """Return in words which settings a part was made with are not these.

    What a table's columns mean is not compared: a part holds what they mean.
    """
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
