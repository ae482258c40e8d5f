"""The roads that are timed: from a file's rows to dijets, images and N-subjettiness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak

from tnt_coffea.config import SkimSettings
from tnt_coffea.events.particles import Particles
from tnt_coffea.events.sources import particles_of, source_of
from tnt_coffea.jets import SparseImages, find_dijets, n_subjettiness, sparse_images

__all__ = ["SUBJETTINESS", "Events"]

SUBJETTINESS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Events:
    """The first rows of a file, in chunks as a worker reads them.

    Attributes
    ----------
    path
        A file of any source with particles.
    number
        Rows; a file with fewer is gone through again.
    chunk
        Rows a chunk.
    settings
        Jets and images.
    """

    path: Path
    number: int
    chunk: int
    settings: SkimSettings

    def loaded(self) -> Iterator[Any]:
        """Yield NanoEvents chunk by chunk."""
        source = source_of(self.path)
        rows = source.entries(self.path)
        done = 0
        while done < self.number:
            start = done % rows
            stop = min(start + self.chunk, rows, start + self.number - done)
            yield source.load(self.path, start, stop, _metadata(self.path, start, stop))
            done += stop - start

    def particles(self) -> Iterator[Particles]:
        """Yield particles with their identities."""
        return map(particles_of, self.loaded())

    def dijets(self) -> Iterator[ak.Array]:
        """Yield (event, 2) jets with constituents."""
        for particles in self.particles():
            yield find_dijets(particles.p4, self.settings.jets)[0]

    def images(self) -> Iterator[SparseImages]:
        """Yield the images of both jets, heavy and light in turns."""
        assert self.settings.images is not None
        for jets in self.dijets():
            yield sparse_images(ak.flatten(jets.constituents), self.settings.images)

    def subjettiness(self) -> Iterator[Any]:
        """Yield (2 * event, N) tau_1 to tau_4 of both jets."""
        for jets in self.dijets():
            yield n_subjettiness(
                ak.flatten(jets.constituents), SUBJETTINESS, radius=self.settings.jets.radius
            )


def _metadata(path: Path, start: int, stop: int) -> dict[str, Any]:
    return {"dataset": "data", "filename": str(path), "entrystart": start, "entrystop": stop}
