"""Four-momenta from awkward arrays of whatever layout, as the kernels need them."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import vector

from tnt_coffea.errors import InputError
from tnt_coffea.typing import BoolArray, Float64Array, IntArray

__all__ = ["CARTESIAN", "COORDINATES", "WITH_UNITS", "cartesian", "momentum_lists", "polar"]

CARTESIAN = ("px", "py", "pz", "E")
"""Components of a four-momentum, in the order of FastJet's binding."""

# By the kind of coordinate; names of momenta win over those that may be places (x, z, t).
_KINDS = (
    (("px", "py"), ("pt", "phi"), ("x", "y"), ("rho", "phi")),
    (("pz",), ("eta",), ("z",), ("theta",)),
    (("E",), ("energy",), ("mass",), ("e",), ("M",), ("m",), ("t",), ("tau",)),
)
COORDINATES = frozenset(name for kind in _KINDS for names in kind for name in names)
"""Names that a coordinate of a four-momentum may have."""
WITH_UNITS = COORDINATES - {"eta", "phi", "theta"}
"""Names of coordinates that are energies [GeV]."""


def momentum_lists(given: ak.Array, what: str = "particles") -> ak.Array:
    """Return lists of four-momenta, packed, without options, in float64.

    FastJet's binding reads buffers as they lie and does not look at their layout: everything
    that it is given has passed here.

    Parameters
    ----------
    given
        Lists of records with the names of `vector` for four coordinates: `pt`, `eta`, `phi`,
        `mass`; `px`, `py`, `pz`, `E`, and so on, of any behaviour or none. Particles that are
        missing (None) are left out. Virtual, sliced, indexed and regular arrays are read.
    what
        What the lists hold, for messages.

    Returns
    -------
    ak.Array
        `Momentum4D` of the coordinates, with the further fields as they are; its layout is a
        `ListOffsetArray` from 0 on, of a `RecordArray`.

    Raises
    ------
    InputError
        It is no array of lists of such records, an event is missing, or a coordinate is
        missing or not finite.
    """
    if not isinstance(given, ak.Array):
        msg = f"{what}: expected an awkward array of lists of four-momenta, got {_type(given)}"
        raise InputError(msg)
    try:
        layout = ak.to_packed(ak.materialize(given)).layout
    except (TypeError, ValueError) as error:  # of another backend, or of tracers without values
        msg = f"{what}: the array cannot be read: {' '.join(str(error).split())[:200]}"
        raise InputError(msg) from error
    if layout.backend.name != "cpu":
        msg = f"{what}: the array is on {layout.backend.name}; ak.to_backend(..., 'cpu') copies it"
        raise InputError(msg)
    layout = _whole(layout, given, what)
    if not layout.is_unknown and not (layout.is_list and layout.parameter("__array__") is None):
        raise InputError(_complaint(given, what))
    lists = ak.contents.ListOffsetArray(ak.index.Index64(np.zeros(1, np.int64)), _EMPTY)
    if not layout.is_unknown:
        lists = layout.to_ListOffsetArray64(True)
    offsets, content = np.asarray(lists.offsets), lists.content[: int(lists.offsets[-1])]
    there = np.ones(len(content), dtype=bool)
    if content.is_option:
        there = content.mask_as_bool(valid_when=True).astype(bool)
        content = content.project()
    if content.is_unknown:
        content = _EMPTY
    if content.is_indexed and not content.is_option:
        content = content.project()
    if not content.is_record or content.is_tuple:
        raise InputError(_complaint(given, what))
    columns, known = _coordinates(content, given, what)
    if not known.all():
        content = content[np.flatnonzero(known)]
        there[there] = known
    if not there.all():
        offsets = np.concatenate([[0], np.cumsum(there)])[offsets]
    further = [name for name in content.fields if name not in COORDINATES]
    record = ak.contents.RecordArray(
        [
            *map(ak.contents.NumpyArray, columns.values()),
            *(ak.to_packed(content[name], highlevel=False) for name in further),
        ],
        [*columns, *further],
        length=len(content),
        parameters={"__record__": "Momentum4D"},
    )
    return ak.Array(
        ak.contents.ListOffsetArray(ak.index.Index64(offsets.astype(np.int64)), record),
        behavior={**(given.behavior or {}), **vector.backends.awkward.behavior},
    )


def cartesian(lists: ak.Array, what: str = "particles") -> tuple[Float64Array, IntArray]:
    """Return (4, particle) px, py, pz, E [GeV] of `momentum_lists`, and where each list begins.

    Raises
    ------
    InputError
        A component is not finite: eta is too large for a momentum.
    """
    flat = ak.Array(lists.layout.content, behavior=lists.behavior)
    p4 = np.stack([ak.to_numpy(getattr(flat, name)) for name in CARTESIAN])
    if not np.isfinite(p4).all():
        row = int(np.flatnonzero(~np.isfinite(p4).all(axis=0))[0])
        where = " ".join(f"{name} = {p4[k, row]:g}" for k, name in enumerate(CARTESIAN))
        msg = f"{what}: a momentum is not finite, {where}; is eta an angle, and pt in GeV?"
        raise InputError(msg)
    return p4, np.asarray(lists.layout.offsets)


def polar(lists: ak.Array) -> tuple[IntArray, list[Float64Array]]:
    """Return how long each of `momentum_lists` is, and (3, particle) pt [GeV], eta, phi."""
    flat = ak.Array(lists.layout.content, behavior=lists.behavior)
    columns = [ak.to_numpy(getattr(flat, name)) for name in ("pt", "eta", "phi")]
    return np.diff(np.asarray(lists.layout.offsets)), columns


def _whole(layout: Any, given: ak.Array, what: str) -> Any:
    if layout.is_option:
        missing = ~layout.mask_as_bool(valid_when=True).astype(bool)
        if missing.any():
            msg = (
                f"{what}: event {int(np.flatnonzero(missing)[0])} is missing (None), "
                f"{int(missing.sum())} of {len(given)} in all; ak.drop_none(..., axis=0) leaves "
                "them out, ak.fill_none(..., [], axis=0) keeps them as empty events"
            )
            raise InputError(msg)
        layout = layout.project()
    return layout.project() if layout.is_indexed and not layout.is_option else layout


def _coordinates(
    content: Any, given: ak.Array, what: str
) -> tuple[dict[str, npt.NDArray[Any]], BoolArray]:
    # The columns by name, of the particles that have them, and which do.
    names: list[str] = []
    for kind in _KINDS:
        found = [choice for choice in kind if set(choice) <= set(content.fields)]
        if not found:
            raise InputError(_complaint(given, what))
        names += found[0]
    columns, known = {}, []
    for name in names:
        column = content[name]
        there = np.ones(len(content), dtype=bool)
        if column.is_option:
            there = column.mask_as_bool(valid_when=True).astype(bool)
            column = column.project()
        if column.is_indexed and not column.is_option:
            column = column.project()
        if column.is_unknown:
            column = ak.contents.NumpyArray(np.zeros(0))
        values = np.asarray(column.data) if column.is_numpy else np.zeros((0, 0))
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            msg = f"{what}: {name} is {column.form.type}, expected one number for each"
            raise InputError(msg)
        known.append(there)
        columns[name] = np.zeros(len(there))
        columns[name][there] = values
    partly = np.logical_or.reduce(known) & ~np.logical_and.reduce(known)
    if partly.any():
        missing = [name for name, there in zip(names, known, strict=True) if not there.all()]
        msg = (
            f"{what}: {', '.join(missing)} is missing (None) where other coordinates are there, "
            f"{int(partly.sum())} times; fill or drop them"
        )
        raise InputError(msg)
    columns = {name: values[known[0]] for name, values in columns.items()}
    for name, values in columns.items():
        bad = ~np.isfinite(values)
        if bad.any():
            msg = (
                f"{what}: {name} is {values[bad][0]} for one, not finite for {int(bad.sum())} in "
                "all; leave them out or correct them"
            )
            raise InputError(msg)
    return columns, known[0]


def _complaint(given: ak.Array, what: str) -> str:
    found = " ".join(str(given.type).split())
    found = found if len(found) <= 160 else f"{found[:160]}..."
    return (
        f"{what}: expected lists of records with pt, eta, phi, mass, or px, py, pz, E [GeV] "
        f"(mass 0 where there is none); got {found}"
    )


def _type(given: Any) -> str:
    kind = type(given)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


_EMPTY = ak.contents.RecordArray(
    [ak.contents.NumpyArray(np.zeros(0))] * 4, ["pt", "phi", "eta", "mass"]
)
