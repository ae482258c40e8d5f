"""Jet images: constituents to pixels, all jets of a chunk at once.

Source: arXiv:2002.12376, section 3.1; order of the steps as its authors ran them.
"""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ImageSettings

__all__ = ["SparseImages", "jet_images", "sparse_images"]

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SparseImages:
    """Images as lists of filled pixels; of 1600 pixels about 30 to 50 are filled.

    Attributes
    ----------
    counts
        (jet,) filled pixels of every jet.
    index
        (pixel,) uint16, row * pixels + column, ascending within a jet.
    value
        (pixel,) float32.
    shape
        (channel, row, column).
    """

    counts: IntArray
    index: npt.NDArray[np.uint16]
    value: npt.NDArray[np.float32]
    shape: tuple[int, int, int]

    def dense(self) -> npt.NDArray[np.float32]:
        """Return (jet, channel, row, column) float32."""
        out = np.zeros((len(self.counts), int(np.prod(self.shape))), np.float32)
        out[np.repeat(np.arange(len(self.counts)), self.counts), self.index] = self.value
        return out.reshape(len(self.counts), *self.shape)


def jet_images(
    constituents: ak.Array, settings: ImageSettings | None = None
) -> npt.NDArray[np.float32]:
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
    channel 0 is pT and sums to 1 where `normalise` is on. A jet with nothing inside
    the frame is all zero.

    Source: arXiv:2002.12376, section 3.1.
    """
    return sparse_images(constituents, settings or ImageSettings()).dense()


def sparse_images(constituents: ak.Array, settings: ImageSettings) -> SparseImages:
    """Return the filled pixels of every jet; parameters as `jet_images`."""
    counts = ak.to_numpy(ak.num(constituents)).astype(np.int64)
    flat = ak.flatten(constituents)
    jet = np.repeat(np.arange(len(counts)), counts)
    pt, eta, phi = (ak.to_numpy(column) for column in (flat.pt, flat.eta, flat.phi))
    x, y = _on_the_jet_axis(flat, jet, len(counts))
    x, y = _transformed(x, y, pt, eta, phi, jet, len(counts), settings)
    return _pixelated(x, y, pt, jet, len(counts), settings)


def _on_the_jet_axis(flat: ak.Array, jet: IntArray, jets: int) -> tuple[Float64Array, Float64Array]:
    px, py, pz = (
        np.bincount(jet, ak.to_numpy(component), minlength=jets)
        for component in (flat.px, flat.py, flat.pz)
    )
    pt = np.hypot(px, py)
    axis_eta = np.arcsinh(np.divide(pz, pt, out=np.zeros(jets), where=pt > 0))
    axis_phi = np.arctan2(py, px)
    x = ak.to_numpy(flat.eta) - axis_eta[jet]
    y = np.remainder(ak.to_numpy(flat.phi) - axis_phi[jet] + np.pi, 2 * np.pi) - np.pi
    return x, y


def _transformed(
    x: Float64Array,
    y: Float64Array,
    pt: Float64Array,
    eta: Float64Array,
    phi: Float64Array,
    jet: IntArray,
    jets: int,
    settings: ImageSettings,
) -> tuple[Float64Array, Float64Array]:
    def mean(values: Float64Array) -> Float64Array:
        return np.bincount(jet, pt * values, minlength=jets) / total

    total = np.bincount(jet, pt, minlength=jets)
    total[total == 0] = 1.0
    cx, cy = mean(x), mean(y)
    if settings.centre:
        x, y, cx, cy = x - cx[jet], y - cy[jet], np.zeros(jets), np.zeros(jets)
    if settings.rotate:
        dx, dy = x - cx[jet], y - cy[jet]
        # The angle of the principal axis from the phi axis; turning by it
        # brings the axis to 12 o'clock.
        angle = 0.5 * np.arctan2(-2 * mean(dx * dy), mean(dy * dy) - mean(dx * dx))
        cos, sin = np.cos(angle)[jet], np.sin(angle)[jet]
        x, y = cos * x + sin * y, cos * y - sin * x
    if settings.flip:
        hardest = _hardest(pt, eta, phi, jet)
        x_sign, y_sign = np.ones(jets), np.ones(jets)
        x_sign[jet[hardest]] = np.where(x[hardest] > 0, -1.0, 1.0)
        y_sign[jet[hardest]] = np.where(y[hardest] < 0, -1.0, 1.0)
        x, y = x * x_sign[jet], y * y_sign[jet]
    return x, y


def _hardest(pt: Float64Array, eta: Float64Array, phi: Float64Array, jet: IntArray) -> IntArray:
    # Equal pT is broken by eta and phi, so the order of the particles never matters.
    order = np.lexsort((phi, eta, -pt, jet))
    first = np.ones(len(order), dtype=bool)
    first[1:] = jet[order][1:] != jet[order][:-1]
    return order[first]


def _pixelated(
    x: Float64Array,
    y: Float64Array,
    pt: Float64Array,
    jet: IntArray,
    jets: int,
    settings: ImageSettings,
) -> SparseImages:
    size, half = settings.pixels, settings.half_width
    column = np.floor((x + half) * (size / (2 * half))).astype(np.int64)
    row = np.floor((y + half) * (size / (2 * half))).astype(np.int64)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    cell = (jet * size * size + row * size + column)[inside]
    cells, slot = np.unique(cell, return_inverse=True)
    value = np.bincount(slot, pt[inside], minlength=len(cells))
    owner = cells // (size * size)
    if settings.normalise:
        value = value / np.bincount(owner, value, minlength=jets)[owner]
    return SparseImages(
        counts=np.bincount(owner, minlength=jets).astype(np.int64),
        index=(cells % (size * size)).astype(np.uint16),
        value=value.astype(np.float32),
        shape=(1, size, size),
    )
