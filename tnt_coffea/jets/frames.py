"""The frame of a jet: constituents about its axis, centred, turned and mirrored.

Source: arXiv:2002.12376, section 3.1; order of the steps as its authors ran them.
"""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ImageSettings

__all__ = ["Framed", "framed"]

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Framed:
    """Constituents of jets, each jet's in its own frame.

    Attributes
    ----------
    counts
        (jet,) constituents of every jet.
    pt
        (particle,) GeV, jet after jet.
    x, y
        (particle,) pseudorapidity and phi in the frame.
    """

    counts: IntArray
    pt: Float64Array
    x: Float64Array
    y: Float64Array


def framed(constituents: ak.Array, settings: ImageSettings) -> Framed:
    """Return the constituents of every jet in its frame.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    settings
        Which of the steps are taken: centre, rotate, flip.

    Source: arXiv:2002.12376, section 3.1.
    """
    counts = ak.to_numpy(ak.num(constituents)).astype(np.int64)
    flat = ak.flatten(constituents)
    jet = np.repeat(np.arange(len(counts)), counts)
    pt, eta, phi = (ak.to_numpy(column) for column in (flat.pt, flat.eta, flat.phi))
    x, y = _on_the_jet_axis(pt, eta, phi, jet, len(counts))
    x, y = _transformed(x, y, pt, eta, phi, jet, len(counts), settings)
    return Framed(counts, pt, x, y)


def _on_the_jet_axis(
    pt: Float64Array, eta: Float64Array, phi: Float64Array, jet: IntArray, jets: int
) -> tuple[Float64Array, Float64Array]:
    px, py, pz = (
        np.bincount(jet, component, minlength=jets)
        for component in (pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta))
    )
    jet_pt = np.hypot(px, py)
    axis_eta = np.arcsinh(np.divide(pz, jet_pt, out=np.zeros(jets), where=jet_pt > 0))
    axis_phi = np.arctan2(py, px)
    x = eta - axis_eta[jet]
    y = np.remainder(phi - axis_phi[jet] + np.pi, 2 * np.pi) - np.pi
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
    # One of each jet. Equal pT is broken by eta and phi, so the order of the particles
    # never matters; few are equal, and only those have to be sorted.
    first = np.flatnonzero(np.diff(jet, prepend=-1))
    rank = np.cumsum(np.diff(jet, prepend=-1) > 0) - 1
    top = np.flatnonzero(pt == np.maximum.reduceat(pt, first)[rank]) if len(jet) else first
    order = top[np.lexsort((phi[top], eta[top], jet[top]))]
    return order[np.diff(jet[order], prepend=-1) > 0]
