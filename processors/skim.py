"""The skim as a coffea processor: particles in; dijets, observables and images out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from coffea import processor

from tnt_coffea.config import SkimSettings
from tnt_coffea.events.skim import Sample, sample_of, write_part
from tnt_coffea.events.sources import particles_of
from tnt_coffea.jets.dijets import dijet_columns, find_dijets

__all__ = ["SkimProcessor", "cutflow_of", "reconstructed"]


class SkimProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """Write the dijets of every chunk to a Parquet part of its own.

    Parameters
    ----------
    settings
        Jets and images.
    folder
        Where the parts go, seen by all workers; one folder a dataset.
    """

    def __init__(self, settings: SkimSettings, folder: str | Path) -> None:
        self.settings = settings
        self.folder = str(folder)

    def process(self, events: Any) -> dict[str, Any]:
        """Return the cutflow of a chunk and its part's path by dataset."""
        sample, cutflow = reconstructed(events, self.settings)
        meta = events.metadata
        output: dict[str, Any] = {"cutflow": {meta["dataset"]: cutflow}, "parts": {}}
        if len(sample):
            where = f"{meta['filename']}:{meta['entrystart']}-{meta['entrystop']}"
            name = hashlib.sha256(where.encode()).hexdigest()[:16]
            path = Path(self.folder, meta["dataset"], f"{name}.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_part(path, sample)
            output["parts"] = {meta["dataset"]: {str(path.relative_to(self.folder))}}
        return output

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the accumulator as it is."""
        return accumulator


def reconstructed(events: Any, settings: SkimSettings) -> tuple[Sample, dict[str, Any]]:
    """Return the dijets of a chunk of particles and its cutflow.

    Parameters
    ----------
    events
        NanoEvents of any source with particles.
    settings
        Jets and images.
    """
    particles = particles_of(events)
    jets, cuts = find_dijets(particles.p4, settings.jets)
    passed = np.logical_and.reduce(list(cuts.values()))
    columns = {
        "event_id": particles.event_id[passed],
        "weight": particles.weight[passed],
        "label": particles.label[passed],
        **dijet_columns(jets, settings),
    }
    return sample_of(columns, settings), cutflow_of(cuts, len(particles))


def cutflow_of(cuts: dict[str, Any], n: int) -> dict[str, Any]:
    """Return how many events each cut rejects of those the cuts before it left.

    Parameters
    ----------
    cuts
        (event,) bool by name, in their order.
    n
        Events before all cuts.
    """
    left = np.ones(n, dtype=bool)
    rejected = {}
    for name, cut in cuts.items():
        rejected[name] = int((left & ~cut).sum())
        left &= cut
    return {"events": n, "rejected": rejected, "selected": int(left.sum())}
