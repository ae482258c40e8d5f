"""The contract between sources and everything behind them: `Particles`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import vector

from tnt_coffea.errors import InputError
from tnt_coffea.events.identity import event_ids

__all__ = [
    "NUMBERS",
    "Particles",
    "checked_labels",
    "checked_numbers",
    "checked_weights",
    "from_cartesian",
    "from_columns",
    "identified",
    "one_an_event",
]

NUMBERS = ("run", "luminosityBlock", "event")
"""What an experiment numbers its events by, under the names of NanoAOD."""

MAX_ABS_ETA = 20.0
"""Beyond this no particle is physical (it would carry 10^8 times its pT): the column is not eta."""


@dataclass(frozen=True)
class Particles:
    """What a source gives of a chunk of events.

    Attributes
    ----------
    p4
        (event, particle) `Momentum4D` with pt [GeV], eta, phi, mass [GeV], packed,
        without options, pT > 0, in source order.
    event_id
        (event,) uint64 (`identity`).
    weight
        (event,) float64.
    label
        (event,) int8: 1 signal, 0 background, -1 unknown. Evaluation only.
    numbers
        (event,) uint64 by name, those of `NUMBERS` that the source has.
    """

    p4: ak.Array
    event_id: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    numbers: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_id)


def from_columns(
    pt: ak.Array,
    eta: ak.Array,
    phi: ak.Array,
    *,
    where: str,
    mass: ak.Array | None = None,
    scale: ak.Array | None = None,
    weight: npt.ArrayLike | None = None,
    label: npt.ArrayLike | None = None,
    numbers: Mapping[str, npt.ArrayLike] | None = None,
    event_id: npt.ArrayLike | None = None,
) -> Particles:
    """Return particles as `Particles`, refusing what no detector can give.

    Parameters
    ----------
    pt, eta, phi
        (event, particle) [GeV], any float type. Rounded to float32, the precision that
        the events' identity rests on, so that copies in float64 behave the same.
    where
        File and entries, for messages.
    mass
        (event, particle) [GeV]; massless where there is none.
    scale
        (event, particle) factor on the four-momenta; those it makes 0 are left out.
        It has no part in the events' identity.
    weight, label
        (event,); 1 and -1 where there are none.
    numbers
        (event,) by name, those of `NUMBERS` that the source has.
    event_id
        (event,) where the source knows it already (a converted file).

    Raises
    ------
    InputError
        A value is not finite, a pT negative, an abs(eta) above 20, or a label is not -1, 0 or 1.

    Source: of PUPPI, arXiv:1407.6013, section 2: the weight scales the four-momentum.
    """
    given = [column for column in (pt, eta, phi, mass, scale) if column is not None]
    counts = _counts(given, where)
    columns = [np.asarray(ak.flatten(column), dtype=np.float32) for column in given]
    _check(columns, counts, where)
    factor = columns.pop() if scale is not None else None
    kept = np.stack(columns, axis=1)
    kept, counts, factor = _selected(columns[0] > 0, kept, counts, factor)
    known = {name: np.array(values, np.uint64) for name, values in (numbers or {}).items()}
    ids = event_id if event_id is not None else identified(kept[:, :3], counts, known)
    if factor is not None:
        for scaled in (0, 3)[: len(columns) - 2]:
            kept[:, scaled] *= factor
        kept, counts, _ = _selected(kept[:, 0] > 0, kept, counts, None)
    wide = kept.astype(np.float64)
    p4 = vector.zip(
        {
            "pt": wide[:, 0],
            "eta": wide[:, 1],
            "phi": wide[:, 2],
            "mass": wide[:, 3] if mass is not None else np.zeros(len(wide)),
        }
    )
    n = len(counts)
    return Particles(
        p4=ak.unflatten(p4, counts),
        event_id=np.array(ids, dtype=np.uint64),
        weight=np.ones(n) if weight is None else checked_weights(weight, where),
        label=np.full(n, -1, np.int8) if label is None else checked_labels(label, where),
        numbers=known,
    )


def from_cartesian(
    px: ak.Array, py: ak.Array, pz: ak.Array, energy: ak.Array, *, where: str, **per_event: Any
) -> Particles:
    """Return particles that are given by their Cartesian momenta as `Particles`.

    Those along the beam, with an abs(eta) above 20 or without pT, are left out: they are what
    is left of the protons, and in no detector. The energy is kept: off-shell ones have a
    negative mass.

    Parameters
    ----------
    px, py, pz, energy
        (event, particle) [GeV].
    where, per_event
        As `from_columns`.

    Raises
    ------
    InputError
        As `from_columns`.
    """
    counts = _counts([px, py, pz, energy], where)
    x, y, z, e = (np.asarray(ak.flatten(part), np.float64) for part in (px, py, pz, energy))
    with np.errstate(all="ignore"):  # what is not finite is refused afterwards
        pt = np.hypot(x, y)
        eta = np.arcsinh(z / pt)
        p = np.hypot(pt, z)
        square = (e - p) * (e + p)
        rows = np.stack([pt, eta, np.arctan2(y, x), np.copysign(np.sqrt(abs(square)), square)], 1)
        finite = np.isfinite(x + y + z + e)
        rows, counts, _ = _selected(~(finite & ~(abs(eta) <= MAX_ABS_ETA)), rows, counts, None)
    columns = (ak.unflatten(column, counts) for column in rows.T)
    pt, eta, phi, mass = columns
    return from_columns(pt, eta, phi, mass=mass, where=where, **per_event)


def identified(
    content: npt.NDArray[np.floating[Any]],
    counts: npt.NDArray[np.int64],
    numbers: Mapping[str, npt.NDArray[np.uint64]],
) -> npt.NDArray[np.uint64]:
    """Return the ids of events of (row, number) content, over their numbers too if complete."""
    if set(numbers) >= set(NUMBERS):
        return event_ids(content, counts, np.stack([numbers[name] for name in NUMBERS], axis=1))
    return event_ids(content, counts)


def _counts(columns: list[ak.Array], where: str) -> npt.NDArray[np.int64]:
    if flat := [column for column in columns if column.ndim != 2]:
        msg = (
            f"{where}: expected a list of numbers an event for pT, eta, phi and what else a "
            f"particle has, found {flat[0].type.content}"
        )
        raise InputError(msg)
    counts: list[npt.NDArray[np.int64]] = [
        ak.to_numpy(ak.num(column, axis=1)).astype(np.int64) for column in columns
    ]
    if any(not np.array_equal(counts[0], other) for other in counts[1:]):
        msg = (
            f"{where}: pT, eta, phi and what else a particle has are lists of different lengths; "
            "the file is damaged"
        )
        raise InputError(msg)
    return counts[0]


def _selected(
    keep: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int64],
    factor: npt.NDArray[np.float32] | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32] | None]:
    if keep.all():
        return rows, counts, factor
    ends = np.cumsum(counts)
    running = np.concatenate([[0], np.cumsum(keep)])
    left = running[ends] - running[ends - counts]
    return rows[keep], left, None if factor is None else factor[keep]


def _check(
    columns: list[npt.NDArray[np.float32]], counts: npt.NDArray[np.int64], where: str
) -> None:
    pt, eta = columns[:2]
    for name, bad in (
        ("a value that is not finite", ~np.isfinite(np.stack(columns)).all(axis=0)),
        ("a negative pT", pt < 0),
        (f"an abs(eta) above {MAX_ABS_ETA:g}", np.abs(eta) > MAX_ABS_ETA),
    ):
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            event = int(np.searchsorted(np.cumsum(counts), first, side="right"))
            values = ", ".join(f"{column[first]:g}" for column in columns[:3])
            msg = (
                f"{where}: {name} in event {event} of these entries: pT, eta, phi = {values}; "
                f"{int(bad.sum())} such particles in all. Expected particles in GeV and radians"
            )
            raise InputError(msg)


def checked_weights(weight: npt.ArrayLike, where: str) -> npt.NDArray[np.float64]:
    """Return (event,) weights; raises `InputError` where one is no finite number."""
    values = one_an_event(weight, "the weights", where).astype(np.float64)
    wrong = ~np.isfinite(values)
    if wrong.any():
        msg = (
            f"{where}: the weight of event {int(np.flatnonzero(wrong)[0])} of these entries is "
            f"{values[wrong][0]}; {int(wrong.sum())} such events in all. Expected finite weights"
        )
        raise InputError(msg)
    return values


def checked_labels(label: npt.ArrayLike, where: str) -> npt.NDArray[np.int8]:
    """Return (event,) labels; raises `InputError` where one is not 1, 0 or -1."""
    values = one_an_event(label, "the truth column", where)
    wrong = ~np.isin(values, (-1, 0, 1))
    if wrong.any():
        first = values[wrong][0].item()
        held = "nan (text, or no value)" if first != first else f"{first!r}"
        msg = (
            f"{where}: the truth column holds {held} in event {int(np.flatnonzero(wrong)[0])} of "
            f"these entries; {int(wrong.sum())} such events. Expected the numbers 1 (signal), "
            "0 (background) or -1 (unknown)"
        )
        raise InputError(msg)
    return values.astype(np.int8)


def checked_numbers(
    numbers: Mapping[str, npt.ArrayLike], where: str
) -> dict[str, npt.NDArray[np.uint64]]:
    """Return (event,) run, luminosity block and event numbers by name.

    Raises
    ------
    InputError
        One is no whole number from 0 on, or so large that a column of floats has rounded it.
    """
    known = {}
    for name, given in numbers.items():
        values = one_an_event(given, name, where)
        if values.dtype.kind == "f":
            wrong = ~(np.isfinite(values) & (values == np.floor(values)) & (abs(values) < 2**53))
        else:
            wrong = np.zeros(len(values), dtype=bool)
        wrong |= values < 0
        if wrong.any():
            msg = (
                f"{where}: {name} is {values[wrong][0]!r} in event "
                f"{int(np.flatnonzero(wrong)[0])}; {int(wrong.sum())} such events. Expected "
                "whole numbers from 0 on (above 2^53 only as integers)"
            )
            raise InputError(msg)
        known[name] = values.astype(np.uint64)
    return known


def one_an_event(values: Any, what: str, where: str) -> npt.NDArray[Any]:
    """Return (event,) numbers or truth values of a column.

    Parameters
    ----------
    values
        Column of a file.
    what
        Its name.
    where
        File and entries, for messages.

    Raises
    ------
    InputError
        An event has a list, a text, or no value.

    Examples
    --------
    >>> one_an_event(ak.Array([1, 2]), "run", "a.root").tolist()
    [1, 2]
    >>> one_an_event(ak.Array([[1], []]), "run", "a.root")
    Traceback (most recent call last):
    tnt_coffea.errors.InputError: a.root: expected one number an event for run, found lists of int64
    """
    held = ""
    if isinstance(values, ak.Array):
        values = ak.without_parameters(ak.materialize(values))
        if values.ndim != 1:
            held = f"lists of {str(values.type.content).rpartition('* ')[2]}"
        elif ak.any(ak.is_none(values)):
            held = f"no value in event {int(ak.argmax(ak.is_none(values)))} of these entries"
    found = np.asarray(None if held else values)
    if found.ndim != 1 or found.dtype.kind not in "fiub":
        held = held or f"{found.dtype} of shape {found.shape}"
        msg = f"{where}: expected one number an event for {what}, found {held}"
        raise InputError(msg)
    return found
