"""The events of a training, read part by part: what it does not train on never adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import InputError
from tnt_coffea.events.skim import Sample

__all__ = ["read_events"]

Wanted = Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.bool_]]


def read_events(paths: Iterable[str | Path], wanted: Wanted, *, truth: bool = False) -> Sample:
    """Return the wanted events of a skim in the order of their ids.

    At any time one part and the events wanted so far are in memory: 0.6 kB a dijet with the
    paper's images, and while they are put in order twice that. A training on top of them
    stays below 3 kB a dijet (measured with 80,000); dense images of one jet take 6.4 kB.

    Parameters
    ----------
    paths
        Parts of one skim.
    wanted
        Function from (event,) ids to a mask.
    truth
        Read the labels too; for references that say so on their cards.

    Raises
    ------
    InputError
        A part cannot be read, or the parts were made with different settings.
    """
    parts = []
    for path in sorted(map(Path, paths)):
        part = Sample.read([path], truth=truth)
        parts.append(part.select(wanted(part.event_id)))
        if parts[0].settings != part.settings:
            msg = f"{path}: made with other settings than the parts before; skim again"
            raise InputError(msg)
    if not parts:
        return Sample.read([], truth=truth)
    whole = replace(
        parts[0],
        event_id=np.concatenate([part.event_id for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        columns={
            name: np.concatenate([part.columns[name] for part in parts])
            for name in parts[0].columns
        },
        pixels={
            name: ak.to_packed(ak.concatenate([part.pixels[name] for part in parts]))
            for name in parts[0].pixels
        },
    )
    parts.clear()  # else three copies would be in memory below
    return whole.select(np.argsort(whole.event_id, kind="stable"))
