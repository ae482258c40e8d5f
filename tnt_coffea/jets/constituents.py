"""The leading constituents of jets, in the frame that images have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tnt_coffea.jets.frames import Framed

__all__ = ["LeadingConstituents", "leading_constituents"]

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LeadingConstituents:
    """Constituents as lists in descending pT.

    Attributes
    ----------
    counts
        (jet,) constituents of every jet.
    pt
        (particle,) share of the jet's pT, the scalar sum over all its constituents.
    eta, phi
        (particle,) from the jet's axis, in its frame.
    """

    counts: npt.NDArray[np.int64]
    pt: Float32Array
    eta: Float32Array
    phi: Float32Array

    def dense(self, most: int) -> Float32Array:
        """Return (jet, `most`, 3) float32 of pT, eta and phi; zero behind the last constituent."""
        jet = np.repeat(np.arange(len(self.counts)), self.counts)
        out = np.zeros((len(self.counts), most, 3), np.float32)
        out[jet, _places(self.counts)] = np.stack([self.pt, self.eta, self.phi], axis=1)
        return out


def leading_constituents(jets: Framed, most: int) -> LeadingConstituents:
    """Return up to `most` constituents of every jet, those of largest pT.

    Equal pT is broken by the place in the frame, so the order of the constituents never
    matters.
    """
    jet = np.repeat(np.arange(len(jets.counts)), jets.counts)
    order = np.lexsort((jets.y, jets.x, -jets.pt, jet))
    kept = order[_places(jets.counts) < most]
    total = np.bincount(jet, jets.pt, minlength=len(jets.counts))
    return LeadingConstituents(
        counts=np.minimum(jets.counts, most),
        pt=(jets.pt[kept] / total[jet[kept]]).astype(np.float32),
        eta=jets.x[kept].astype(np.float32),
        phi=jets.y[kept].astype(np.float32),
    )


def _places(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # 0, 1, 2, ... anew in every jet.
    places: npt.NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    return places
