"""Tables of features: m_jj, a few numbers of either jet, no particles (`TableSettings`).

The commonest input of this field enters one step later than stored jets: the columns are the
features. A table is known by its columns' names: those of a skim (`m_jj`, `heavy_mass`, ...)
or of the Olympics' published feature files; for any other the settings map them, and then
every file is read as a table. Nothing is taken that is neither named so nor mapped.

An event is identified by the columns of the file that its features are made of, in the order
of their names, before any setting is applied; labels and weights have no part in it.

Source: of the feature files, arXiv:2101.08320, section 2, and doi:10.5281/zenodo.4536377.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import (
    EVENT_OBSERVABLES,
    SkimSettings,
    TableOrder,
    TablePreset,
    TableSettings,
)
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events import trees
from tnt_coffea.events.expressions import Expression
from tnt_coffea.events.particles import NUMBERS
from tnt_coffea.events.sample import Sample, feature_ids, is_finite
from tnt_coffea.events.table_files import flat_table
from tnt_coffea.jets.kinematics import invariant_mass, shifted_mass

__all__ = [
    "FIELDS",
    "columns_of",
    "entries",
    "features",
    "is_mine",
    "load",
    "mapped",
    "recognised",
    "without_label",
]

FIELDS = frozenset({"m_jj"})

Float64Array = npt.NDArray[np.float64]


def is_mine(path: Path) -> bool:
    """Tell whether a file holds a table whose columns are known by their names."""
    try:
        with flat_table(path) as table:
            return recognised(table.names) is not None
    except InputError:
        return False


def entries(path: Path) -> int:
    """Return the number of rows; raises `InputError` as `table_files.flat_table`."""
    with flat_table(path) as table:
        return table.rows


def branches(path: Path) -> frozenset[str]:
    """Return the names of the table's columns; raises `InputError` where it cannot be read."""
    with flat_table(path) as table:
        return frozenset(table.names)


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return rows [start, stop) of all columns as NanoEvents.

    Raises
    ------
    InputError
        The file cannot be read, or has fewer rows.
    """
    import awkward as ak

    with flat_table(path) as table:
        if stop > table.rows:
            msg = (
                f"{path}: rows {start} to {stop} were asked for and {table.rows} are there; "
                "was the file changed during the pass?"
            )
            raise InputError(msg)
        columns = {name: ak.Array(values) for name, values in table.read(start, stop).items()}
    return trees.nano_events(columns, path, start, stop, metadata)


def recognised(names: Collection[str]) -> TableSettings | None:
    """Return what the columns mean where their names tell, else None.

    Examples
    --------
    >>> found = recognised(["m_jj", "heavy_mass", "light_mass", "something", "label"])
    >>> found.features, found.label
    (('m_jj', 'heavy_mass', 'light_mass'), 'label')
    >>> recognised(["mjj", "mj1", "mj2"]) is None
    True
    """
    if "m_jj" in names:
        jets = [
            name.removeprefix("heavy_")
            for name in names
            if name.startswith("heavy_") and f"light_{name.removeprefix('heavy_')}" in names
        ]
        event = {name: name for name in EVENT_OBSERVABLES if name in names}
        if jets or event:
            return TableSettings(
                m_jj="m_jj",
                heavy={name: f"heavy_{name}" for name in jets},
                light={name: f"light_{name}" for name in jets},
                event=event,
                order=TableOrder.GIVEN,
                weight="weight" if "weight" in names else None,
                label="label" if "label" in names else None,
                numbers={name: name for name in NUMBERS if name in names},
            )
    published = _olympics(names)
    return published if not _missing(published, names) else None


def _olympics(names: Collection[str]) -> TableSettings:
    """Return the columns of the Olympics' feature files; black boxes have no label."""
    first, second = (
        {
            **{part: f"{part}j{jet}" for part in ("px", "py", "pz")},
            "mass": f"mj{jet}",
            "pt": f"(pxj{jet}**2 + pyj{jet}**2)**0.5",
            **{f"tau{n}": f"tau{n}j{jet}" for n in (1, 2, 3)},
            "tau21": f"tau2j{jet} / tau1j{jet}",
            "tau32": f"tau3j{jet} / tau2j{jet}",
        }
        for jet in (1, 2)
    )
    label = "label" if "label" in names else None
    return TableSettings(heavy=first, light=second, order=TableOrder.MASS, label=label)


def mapped(settings: SkimSettings, names: Collection[str], where: str) -> SkimSettings:
    """Return settings that name every column, for a table with these columns.

    Parameters
    ----------
    settings
        Of the skim, with or without `table`. A label that is not there is left out.
    names
        The columns there are.
    where
        The file, for messages.

    Raises
    ------
    InputError
        A column is not there, or the names do not tell what they mean and no setting does.
    ConfigError
        The truth is among the features, or m_jj can be made of nothing that is mapped.
    """
    given = settings.table or TableSettings()
    if given.is_mapping:
        table = given
    else:
        base = _olympics(names) if given.preset is TablePreset.OLYMPICS else recognised(names)
        if base is None:
            msg = (
                f"{where}: the columns {', '.join(sorted(names)[:12])} are neither named as ours "
                "(m_jj, heavy_mass, light_mass, ...) nor as in the Olympics' feature files; say in "
                "skim.table which is which"
            )
            raise InputError(msg)
        table = _over(base, given)
    missing = _missing(table, names)
    if missing:
        what = "" if missing[0].isidentifier() else ", nor is it arithmetic with + - * / **"
        msg = f"{where}: {_absent(missing[0], names, f' (skim.table){what}')}"
        raise InputError(msg)
    if table.label not in names:  # data beside simulation have no truth
        table = table.model_copy(update={"label": None})
    used = {column for text in _texts(table).values() for column in _columns_in(text, names)}
    if table.label in used:
        msg = f"skim.table: '{table.label}' is the label, and a feature is made of it"
        raise ConfigError(msg)
    lists = ("constituents", "aligned", "sequence", "splittings", "event_image")
    asked = [f"skim.{name}" for name in lists if getattr(settings, name) is not None]
    if asked:
        msg = f"{where}: a table of features has no {asked[0][5:]}; set {', '.join(asked)} to null"
        raise ConfigError(msg)
    if settings.mass_shift.active and "mass" not in table.heavy:
        msg = (
            f"{where}: skim.mass_shift shifts the mass of either jet, and the table has none; map "
            "it (skim.table.heavy.mass, skim.table.light.mass), or leave skim.mass_shift out"
        )
        raise ConfigError(msg)
    return settings.model_copy(update={"images": None, "observables": (), "table": table})


def without_label(settings: SkimSettings, paths: Iterable[Path]) -> str | None:
    """Return in words which tables lack the label that settings name; None where none does.

    Their events are unlabelled, as data beside simulation are. Files that cannot be read are
    left to the pass.
    """
    label = None if settings.table is None else settings.table.label
    lacking: dict[Path, tuple[str, ...]] = {}
    for path in () if label is None else paths:
        try:
            with flat_table(path) as table:
                names = table.names
        except (InputError, OSError):
            continue
        if label not in names:
            lacking[path] = names
    if label is None or not lacking:
        return None
    first, names = next(iter(lacking.items()))
    more = f" and {len(lacking) - 1} more files" if len(lacking) > 1 else ""
    return f"{first}{more}: labels unknown: {_absent(label, names, ' (skim.table.label)')}"


def _absent(name: str, names: Collection[str], what: str = "") -> str:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(names)[:12])}"
    return f"no column of numbers is called '{name}'{what}; {hint}"


def columns_of(settings: SkimSettings, names: Collection[str], where: str) -> list[str]:
    """Return the columns of a table that are read, in its order; parameters as `mapped`."""
    table = mapped(settings, names, where).table
    assert table is not None
    used = {column for text in _texts(table).values() for column in _columns_in(text, names)}
    used |= {name for name in (table.weight, table.label, *table.numbers.values()) if name}
    return [name for name in names if name in used]


def _over(base: TableSettings, given: TableSettings) -> TableSettings:
    """Return a known table with what the settings add to it or say otherwise."""
    changed: dict[str, Any] = {}
    for name in TableSettings.model_fields:
        value = getattr(given, name)
        if isinstance(value, dict):
            changed[name] = {**getattr(base, name), **value}
        elif name != "preset" and value is not None:
            changed[name] = value
    return TableSettings(**{**dict(base), **changed})


def _texts(table: TableSettings) -> dict[str, str]:
    """Return the text of every feature by its name in the skim."""
    return {
        **({} if table.m_jj is None else {"m_jj": table.m_jj}),
        **{f"heavy_{name}": text for name, text in table.heavy.items()},
        **{f"light_{name}": table.light[name] for name in table.heavy},
        **table.event,
    }


def _missing(table: TableSettings, names: Collection[str]) -> list[str]:
    plain = (table.weight, *table.numbers.values())
    wanted = [name for text in _texts(table).values() for name in _columns_in(text, names)]
    return [name for name in (*wanted, *plain) if name is not None and name not in names]


# Arithmetic of columns


class _Quotients:
    """numpy's arithmetic, but for 0 / 0, which is 0."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def divide(self, left: Any, right: Any) -> Any:
        # tau_N / tau_M of a jet of M particles, as `jets.substructure.subjettiness_ratio`.
        return np.where((left == 0) & (right == 0), 0.0, np.divide(left, right))


def _expression(text: str, names: Collection[str]) -> Expression | None:
    """Return what is no column as an expression; None for a column, there or not."""
    if text in names:
        return None
    try:
        return Expression(text)
    except ConfigError:
        return None


def _columns_in(text: str, names: Collection[str]) -> tuple[str, ...]:
    expression = _expression(text, names)
    return (text,) if expression is None else expression.columns


def _value(text: str, columns: Mapping[str, Float64Array]) -> Float64Array:
    """Return a column, or the value of an expression of several."""
    if text in columns:
        return columns[text]
    with np.errstate(all="ignore"):  # what is not finite is refused afterwards
        return np.asarray(Expression(text)(columns, _Quotients()), np.float64)


# The adapter


def features(events: Any, settings: SkimSettings) -> Sample:
    """Return the rows of a table as dijets.

    Parameters
    ----------
    events
        NanoEvents of flat columns.
    settings
        Of the skim. Those of the `Sample` name every column, and neither label nor weight:
        its content is the same with and without them.

    Raises
    ------
    InputError
        As `mapped`; or a column is no number an event, not finite, or m_jj not above 0.
    ConfigError
        As `mapped`.
    """
    where = trees.where(events)
    complete = mapped(settings, events.fields, where)
    table = complete.table
    assert table is not None
    texts = _texts(table)
    used = sorted({c for text in texts.values() for c in _columns_in(text, events.fields)})
    columns = {name: _column(events, name, where) for name in used}
    found = {name: _value(text, columns) for name, text in texts.items()}
    jets = {
        jet: {name: found[f"{jet}_{name}"] for name in table.heavy} for jet in ("heavy", "light")
    }
    if table.m_jj is None:
        found["m_jj"] = _dijet_mass(jets["heavy"], jets["light"])
    ordered = _ordered(jets["heavy"], jets["light"], table.order or TableOrder.GIVEN)
    heavy, light = (
        {
            name: shifted_mass(name, values, found["m_jj"], settings.mass_shift.of(side))
            for name, values in jet.items()
        }
        for side, jet in zip(jets, ordered, strict=True)
    )
    numbers = {name: _plain(events, column) for name, column in table.numbers.items()}
    sample = Sample.from_columns(
        found["m_jj"],
        heavy=heavy,
        light=light,
        event={name: found[name] for name in table.event},
        weight=None if table.weight is None else _plain(events, table.weight),
        label=None if table.label is None else _plain(events, table.label),
        numbers=numbers,
        where=where,
    )
    unlabelled: dict[str, Any] = {"weight": None, "label": None, "numbers": {}, "preset": None}
    kept = table.model_copy(update={"order": table.order or TableOrder.GIVEN, **unlabelled})
    return replace(
        sample,
        event_id=feature_ids(columns, sample.numbers),
        settings=complete.model_copy(update={"table": kept}),
    )


def _plain(events: Any, name: str) -> npt.NDArray[Any]:
    import awkward as ak

    column = ak.materialize(events[name])
    if column.ndim != 1:
        msg = f"{trees.where(events)}: column '{name}' holds a list an event, expected a number"
        raise InputError(msg)
    values: npt.NDArray[Any] = ak.to_numpy(column)
    return values


def _column(events: Any, name: str, where: str) -> Float64Array:
    values = _plain(events, name)
    wide = (
        values.astype(np.float64) if values.dtype.kind in "fiub" else np.full(len(values), np.nan)
    )
    bad = ~is_finite(wide)
    if bad.any():
        row = int((events.metadata or {}).get("entrystart", 0)) + int(np.flatnonzero(bad)[0])
        text = 2 * np.isnan(wide).sum() > len(wide)
        cure = (
            "Is the column text, or written with decimal commas? Numbers have a decimal point: 0.5"
            if text
            else "Leave those rows out, or give them a value"
        )
        msg = (
            f"{where}: column '{name}': {int(bad.sum())} of {len(bad)} values are no finite "
            f"numbers, the first in row {row}. {cure}"
        )
        raise InputError(msg)
    return wide


_MOMENTUM = {"cartesian": ("px", "py", "pz", "mass"), "collider": ("pt", "eta", "phi", "mass")}


def _dijet_mass(heavy: Mapping[str, Float64Array], light: Mapping[str, Float64Array]) -> Any:
    return invariant_mass(_momentum(heavy) + _momentum(light))


def _momentum(jet: Mapping[str, Float64Array]) -> Float64Array:
    """Return (4, event) px, py, pz, E."""
    if all(part in jet for part in _MOMENTUM["cartesian"]):
        px, py, pz, mass = (jet[part] for part in _MOMENTUM["cartesian"])
    elif all(part in jet for part in _MOMENTUM["collider"]):
        pt, eta, phi, mass = (jet[part] for part in _MOMENTUM["collider"])
        px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    else:
        msg = (
            "skim.table: m_jj is neither mapped nor can it be made: map it, or px, py, pz, mass or "
            "pt, eta, phi, mass of both jets"
        )
        raise ConfigError(msg)
    return np.stack([px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + mass**2)])


def _ordered(
    first: Mapping[str, Float64Array], second: Mapping[str, Float64Array], order: TableOrder
) -> tuple[dict[str, Float64Array], dict[str, Float64Array]]:
    if order is TableOrder.GIVEN:
        return dict(first), dict(second)
    if order.value not in first:
        msg = f"skim.table.order is {order.value}, and no {order.value} of the jets is mapped"
        raise ConfigError(msg)
    swap = second[order.value] > first[order.value]
    return tuple(  # type: ignore[return-value]
        {name: np.where(swap, b[name], a[name]) for name in first}
        for a, b in ((first, second), (second, first))
    )
