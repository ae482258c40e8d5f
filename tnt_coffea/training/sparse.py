"""Sparse images of the skim, expanded a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.events.sample import Sample

__all__ = ["SparseImages"]

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
        lists = [_lists(sample.pixels[f"{jet}_image_{part}"]) for part in ("index", "value")]
        starts, stops = (np.asarray(where) for where in (lists[0].starts, lists[0].stops))
        index, value = (np.asarray(of.content.data) for of in lists)
        return cls(shape, starts, stops, index, value)

    def expanded(self, rows: Int64Array) -> Float32Array:
        """Return (row number, row, column, channel) float32: channels last, as Keras has them."""
        counts = self.stops[rows] - self.starts[rows]
        owner = np.repeat(np.arange(len(rows)), counts)
        # The k-th pixel of an event stands k places behind its first.
        first = np.repeat(self.starts[rows] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        chosen = first + np.arange(len(owner))
        channels, height, width = self.shape
        place = self.index[chosen].astype(np.int64)
        if channels > 1:
            channel, pixel = np.divmod(place, height * width)
            place = pixel * channels + channel
        out = np.zeros((len(rows), height * width * channels), np.float32)
        out[owner, place] = self.value[chosen]
        return out.reshape(len(rows), height, width, channels)


def _lists(jagged: ak.Array) -> Any:
    layout = jagged.layout
    if isinstance(layout, ak.contents.ListOffsetArray | ak.contents.ListArray):
        return layout
    return ak.to_packed(jagged).layout.to_ListOffsetArray64(True)
