"""The contract between sources and everything behind them: `Particles`."""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import numpy as np
import numpy.typing as npt
import vector

from tnt_coffea.errors import InputError
from tnt_coffea.events.identity import event_ids

__all__ = ["Particles", "from_columns"]

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
        (event,) uint64, from the content (`identity.event_ids`).
    weight
        (event,) float64.
    label
        (event,) int8: 1 signal, 0 background, -1 unknown. Evaluation only.
    """

    p4: ak.Array
    event_id: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.event_id)


def from_columns(
    pt: ak.Array,
    eta: ak.Array,
    phi: ak.Array,
    *,
    where: str,
    weight: npt.ArrayLike | None = None,
    label: npt.ArrayLike | None = None,
) -> Particles:
    """Return massless particles as `Particles`, refusing what no detector can give.

    Parameters
    ----------
    pt, eta, phi
        (event, particle) [GeV], any float type. Rounded to float32, the precision that
        the events' identity rests on, so that copies in float64 behave the same.
    where
        File and entries, for messages.

    Raises
    ------
    InputError
        A value is not finite, a pT negative, an abs(eta) above 20, or a label is not -1, 0 or 1.
    """
    counts = ak.to_numpy(ak.num(pt, axis=1))
    columns = [np.asarray(ak.flatten(column), dtype=np.float32) for column in (pt, eta, phi)]
    _check(columns, counts, where)
    keep = columns[0] > 0
    if not keep.all():
        counts = np.asarray(ak.sum(ak.unflatten(keep, counts), axis=1), dtype=np.int64)
        columns = [column[keep] for column in columns]
    flat = np.stack(columns, axis=1)
    wide = flat.astype(np.float64)
    p4 = vector.zip(
        {"pt": wide[:, 0], "eta": wide[:, 1], "phi": wide[:, 2], "mass": np.zeros(len(wide))}
    )
    n = len(counts)
    return Particles(
        p4=ak.unflatten(p4, counts),
        event_id=event_ids(flat, counts),
        weight=np.ones(n) if weight is None else np.array(weight, dtype=np.float64),
        label=np.full(n, -1, np.int8) if label is None else _labels(label, where),
    )


def _check(
    columns: list[npt.NDArray[np.float32]], counts: npt.NDArray[np.int64], where: str
) -> None:
    pt, eta, _ = columns
    for name, bad in (
        ("a value that is not finite", ~np.isfinite(np.stack(columns)).all(axis=0)),
        ("a negative pT", pt < 0),
        (f"an abs(eta) above {MAX_ABS_ETA:g}", np.abs(eta) > MAX_ABS_ETA),
    ):
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            event = int(np.searchsorted(np.cumsum(counts), first, side="right"))
            values = ", ".join(f"{column[first]:g}" for column in columns)
            msg = (
                f"{where}: {name} in event {event} of these entries: pT, eta, phi = {values}; "
                f"{int(bad.sum())} such particles in all. Expected particles in GeV and radians"
            )
            raise InputError(msg)


def _labels(label: npt.ArrayLike, where: str) -> npt.NDArray[np.int8]:
    values = np.asarray(label)
    wrong = ~np.isin(values, (-1, 0, 1))
    if wrong.any():
        msg = (
            f"{where}: the truth column holds {values[wrong][0]!r}; "
            "expected 1 (signal), 0 (background) or -1 (unknown)"
        )
        raise InputError(msg)
    return values.astype(np.int8)
