"""Sparse images and constituents of the skim, expanded a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.frames import LeadingConstituents, list_bounds

__all__ = ["SparseConstituents", "SparseImages"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SparseImages:
    """The images of one jet in compressed rows: 6 bytes a filled pixel, 16 an event.

    Attributes
    ----------
    shape
        (channel, row, column) of one image.
    starts, stops
        (event,) where an event's pixels begin and end.
    index, value
        (pixel,) place in the flat image, and what it holds; of events beside these, too.
    """

    shape: tuple[int, int, int]
    starts: Int64Array
    stops: Int64Array
    index: npt.NDArray[np.integer]
    value: Float32Array

    @classmethod
    def of(cls, sample: Sample, jet: str) -> SparseImages:
        """Return the images of a jet, `heavy` or `light`; no pixel is copied, or read from disk."""
        shape = sample.image_settings.shape
        names = [f"{jet}_image_{part}" for part in ("index", "value")]
        return cls(shape, *_compressed(sample, names))

    def expanded(self, rows: Int64Array) -> Float32Array:
        """Return (row number, row, column, channel) float32: channels last, as Keras has them."""
        counts, chosen = _chosen(self.starts[rows], self.stops[rows])
        owner = np.repeat(np.arange(len(rows)), counts)
        channels, height, width = self.shape
        place = self.index[chosen].astype(np.int64)
        if channels > 1:
            channel, pixel = np.divmod(place, height * width)
            place = pixel * channels + channel
        out = np.zeros((len(rows), height * width * channels), np.float32)
        out[owner, place] = self.value[chosen]
        return out.reshape(len(rows), height, width, channels)


@dataclass(frozen=True)
class SparseConstituents:
    """The leading constituents of one jet in compressed rows: 12 bytes each, 16 an event.

    Attributes
    ----------
    most
        Constituents of a jet.
    starts, stops
        (event,) where an event's constituents begin and end.
    pt, eta, phi
        (particle,) as in `LeadingConstituents`; of events beside these, too.
    """

    most: int
    starts: Int64Array
    stops: Int64Array
    pt: Float32Array
    eta: Float32Array
    phi: Float32Array

    @classmethod
    def of(cls, sample: Sample, jet: str) -> SparseConstituents:
        """Return those of a jet, `heavy` or `light`; nothing is copied, or read from disk."""
        most = sample.constituents_kept
        names = [f"{jet}_constituents_{part}" for part in ("pt", "eta", "phi")]
        return cls(most, *_compressed(sample, names))

    def expanded(self, rows: Int64Array) -> Float32Array:
        """Return (row number, `most`, 3) float32: pT, eta and phi, zero where there is none."""
        counts, chosen = _chosen(self.starts[rows], self.stops[rows])
        values = (column[chosen] for column in (self.pt, self.eta, self.phi))
        return LeadingConstituents(*list_bounds(counts), *values).dense(self.most)


def _chosen(starts: Int64Array, stops: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return how many values the rows have, and where these stand, row after row."""
    counts = stops - starts
    # The k-th value of an event stands k places behind its first.
    first = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return counts, first + np.arange(len(first))


def _compressed(sample: Sample, names: Sequence[str]) -> tuple[npt.NDArray[Any], ...]:
    lists = [_lists(sample.lists[name]) for name in names]
    where = (np.asarray(at) for at in (lists[0].starts, lists[0].stops))
    return (*where, *(np.asarray(of.content.data) for of in lists))


def _lists(jagged: ak.Array) -> Any:
    layout = jagged.layout
    if isinstance(layout, ak.contents.ListOffsetArray | ak.contents.ListArray):
        return layout
    return ak.to_packed(jagged).layout.to_ListOffsetArray64(True)
