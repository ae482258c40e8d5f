"""Images of jets and of whole events: particles to pixels, all of a chunk at once.

Source: of jets, arXiv:2002.12376, section 3.1; order of the steps as its authors ran them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import EventImageSettings, ImageChannel, ImageSettings
from tnt_coffea.jets.frames import ALL, Framed, JetLists, framed, list_bounds
from tnt_coffea.jets.momenta import momentum_lists, polar
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = ["SparseImages", "event_images", "jet_images", "pixelated", "sparse_images"]


_DENSE_VALUES = 2**19
"""Pixels that are held dense at once (4 MB)."""


@dataclass(frozen=True)
class SparseImages(JetLists):
    """Images of jets as lists of filled pixels: of 1600 pixels about 30 to 50 are filled.

    Attributes
    ----------
    starts, stops
        (jet,) where the pixels of a jet begin and end.
    index
        (pixel,) (channel * rows + row) * columns + column, ascending within a jet; uint16,
        or uint32 where that is too small.
    value
        (pixel,) float32.
    shape
        (channel, row, column) of one image.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of three particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 100.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.4, -0.1], [1.0]]),
    ...     "phi": ak.Array([[0.1, -0.2, 0.3], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> images = sparse_images(jets, ImageSettings(pixels=10))
    >>> images.counts.tolist()
    [3, 1]
    >>> images.dense().shape, images.dense([1]).shape
    ((2, 1, 10, 10), (1, 1, 10, 10))
    >>> images.select([1]).value is images.value  # no pixel is copied
    True
    """

    index: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
    value: Float32Array
    shape: tuple[int, int, int]

    def dense(self, rows: npt.NDArray[Any] | slice = ALL) -> Float32Array:
        """Return (jet, channel, row, column) float32.

        Parameters
        ----------
        rows
            The jets wanted, all by default.
        """
        counts, jet, places = self._places(rows)
        out = np.zeros((len(counts), int(np.prod(self.shape))), np.float32)
        out[jet, self.index[places]] = self.value[places]
        return out.reshape(len(counts), *self.shape)


def jet_images(constituents: ak.Array, settings: ImageSettings | None = None) -> Float32Array:
    """Return the image of every jet.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    settings
        Size and steps; the paper's by default.

    Returns
    -------
    (jet, channel, row, column) float32. Rows are phi and columns eta, both ascending;
    channel 0 is pT, others are what the settings name; each sums to 1 where `normalise` is
    on. A jet with nothing inside
    the frame is all zero.

    Source: arXiv:2002.12376, section 3.1.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of three particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 100.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.4, -0.1], [1.0]]),
    ...     "phi": ak.Array([[0.1, -0.2, 0.3], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> images = jet_images(jets)
    >>> images.shape
    (2, 1, 40, 40)
    >>> images.sum(axis=(1, 2, 3)).round(4).tolist()
    [1.0, 1.0]
    """
    return sparse_images(constituents, settings or ImageSettings()).dense()


def sparse_images(constituents: ak.Array, settings: ImageSettings) -> SparseImages:
    """Return the filled pixels of every jet; parameters as `jet_images`.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of three particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 100.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.4, -0.1], [1.0]]),
    ...     "phi": ak.Array([[0.1, -0.2, 0.3], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> images = sparse_images(jets, ImageSettings(pixels=10))
    >>> images.value
    array([0.3, 0.6, 0.1, 1. ], dtype=float32)
    """
    return pixelated(framed(constituents, settings), settings)


def event_images(particles: ak.Array, settings: EventImageSettings) -> SparseImages:
    """Return the filled pixels of the image of every event.

    Parameters
    ----------
    particles
        (event, particle) `Momentum4D`, GeV.
    settings
        Pixels and range.

    Returns
    -------
    SparseImages
        Of shape (1, row, column): rows are phi from -pi to pi and columns eta, both ascending.
        A pixel is the sum of its particles' pT over the pT of the event's hardest particle.

    Source: arXiv:2101.08320, section 5.1, in one channel instead of a colour map of three.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> particles = vector.zip({  # one event of four particles
    ...     "pt": ak.Array([[900.0, 300.0, 1200.0, 6.0]]),
    ...     "eta": ak.Array([[0.1, 0.2, 0.2, 5.5]]),
    ...     "phi": ak.Array([[0.1, 0.2, -3.1, 0.3]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0, 0.0]]),
    ... })
    >>> images = event_images(particles, EventImageSettings(pixels=4))
    >>> images.dense()[0, 0]
    array([[0., 0., 1., 0.],
           [0., 0., 0., 0.],
           [0., 0., 1., 0.],
           [0., 0., 0., 0.]], dtype=float32)
    """
    particles = momentum_lists(particles)
    counts, (pt, eta, phi) = polar(particles)
    hardest = ak.to_numpy(ak.fill_none(ak.max(particles.pt, axis=1), 1.0))
    turned = np.remainder(phi + np.pi, 2 * np.pi) - np.pi
    event = Framed(counts, pt / np.repeat(hardest, counts), eta / settings.eta_max, turned / np.pi)
    return pixelated(event, ImageSettings(pixels=settings.pixels, half_width=1.0, normalise=False))


def pixelated(jets: Framed, settings: ImageSettings) -> SparseImages:
    """Return the filled pixels of jets whose constituents are in their frame already."""
    counts, pt, x, y = jets.counts, jets.pt, jets.x, jets.y
    size, half = settings.pixels, settings.half_width
    column = np.floor((x + half) * (size / (2 * half))).astype(np.int64)
    row = np.floor((y + half) * (size / (2 * half))).astype(np.int64)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    jet = np.repeat(np.arange(len(counts)), counts)
    cell = (jet * size + row) * size + column
    ends = np.concatenate([[0], np.cumsum(counts)])
    jets_per_call = max(1, _DENSE_VALUES // size**2)
    parts = []
    for start in range(0, max(len(counts), 1), jets_per_call):
        stop = min(start + jets_per_call, len(counts))
        block = slice(ends[start], ends[stop])
        kept = inside[block]
        address = cell[block][kept] - start * size * size
        parts.append(_filled(address, pt[block][kept], stop - start, settings))
    numbers, index, value = zip(*parts, strict=True)
    small = np.prod(settings.shape) <= 2**16
    flat = np.concatenate(index)
    return SparseImages(
        *list_bounds(np.concatenate(numbers).astype(np.int64)),
        index=flat.astype(np.uint16) if small else flat.astype(np.uint32),
        value=np.concatenate(value).astype(np.float32),
        shape=settings.shape,
    )


def _filled(
    address: IntArray, pt: Float64Array, jets: int, settings: ImageSettings
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    # Dense for a few hundred jets at a time, which stays in the cache; sorting the addresses
    # of all jets instead costs several times as much.
    layer = settings.pixels**2
    hits = np.bincount(address, minlength=jets * layer)
    at = np.flatnonzero(hits > 0)
    owner, values = at // layer, []
    for channel in settings.channels:
        weights = pt if channel is ImageChannel.PT else None
        value = np.bincount(address, weights, minlength=jets * layer)[at].astype(np.float64)
        if settings.normalise:
            value = value / np.bincount(owner, value, minlength=jets)[owner]
        values.append(value)
    channels = len(values)
    numbers = np.bincount(owner, minlength=jets)
    if channels == 1:
        return numbers, at % layer, values[0]
    index = np.concatenate([at % layer + k * layer for k in range(channels)])
    order = np.argsort(np.tile(owner, channels), kind="stable")
    return numbers * channels, index[order], np.concatenate(values)[order]
