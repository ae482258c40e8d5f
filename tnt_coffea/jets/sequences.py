"""The jets of a whole event as a sequence, whichever of them the dijet is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import awkward as ak
import numpy as np

from tnt_coffea.config import JetSettings, SequenceSettings
from tnt_coffea.jets.clustering import find_clusters
from tnt_coffea.jets.frames import NumberLists, list_bounds
from tnt_coffea.jets.kinematics import invariant_mass, transverse_momentum
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["JetSequences", "jet_sequences"]


@dataclass(frozen=True)
class JetSequences(NumberLists):
    """Jets of events as lists in descending pT: 16 bytes each.

    Attributes
    ----------
    starts, stops
        (event,) where the jets of an event begin and end.
    pt, mass
        (jet,) GeV.
    eta, phi
        (jet,) pseudorapidity, and phi from -pi to pi.

    Examples
    --------
    >>> one = np.ones(3, np.float32)
    >>> bounds = np.array([0, 2]), np.array([2, 3])  # two jets, and one
    >>> jets = JetSequences(*bounds, pt=one, eta=one, phi=one, mass=one)
    >>> jets.counts.tolist(), jets.dense(2).shape
    ([2, 1], (2, 2, 4))
    >>> jets.total_mass.round(3)  # two in one direction, and one
    array([2., 1.])
    """

    parts: ClassVar = ("pt", "eta", "phi", "mass")

    pt: Float32Array
    eta: Float32Array
    phi: Float32Array
    mass: Float32Array

    @property
    def total_mass(self) -> Float64Array:
        """(event,) invariant mass of all jets of an event [GeV]; zero where there is none."""
        parts = (getattr(self, name).astype(np.float64) for name in self.parts)
        pt, eta, phi, mass = parts
        pz = pt * np.sinh(eta)
        energy = np.sqrt(pt**2 + pz**2 + mass**2)
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        momenta = (pt * np.cos(phi), pt * np.sin(phi), pz, energy)
        events = len(self.counts)
        total = [np.bincount(owner, each, minlength=events) for each in momenta]
        return np.maximum(invariant_mass(np.array(total, np.float64)), 0.0)


def jet_sequences(particles: ak.Array, settings: SequenceSettings) -> JetSequences:
    """Return the leading anti-kt jets of every event, in descending pT.

    Parameters
    ----------
    particles
        (event, particle) four-momenta, GeV, of any layout: see `tnt_coffea.jets`.
    settings
        Radius, lowest pT and number of the jets.

    Source: arXiv:2101.08320, section 5.4.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> particles = vector.zip({  # one event of four particles
    ...     "pt": ak.Array([[900.0, 300.0, 1150.0, 2.0]]),
    ...     "eta": ak.Array([[0.1, 0.5, 0.2, 0.1]]),
    ...     "phi": ak.Array([[0.0, 0.2, -3.1, 0.3]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0, 0.0]]),
    ... })
    >>> jets = jet_sequences(particles, SequenceSettings(radius=0.4, jets=4))
    >>> jets.counts.tolist(), jets.mass.round(1)
    ([3], array([ 0. , 12.7,  0. ], dtype=float32))
    >>> jets.dense(4)[0, :, 0].round()  # pT
    array([1150.,  902.,  300.,    0.], dtype=float32)
    """
    jets = JetSettings(radius=settings.radius, pt_min=settings.pt_min)
    clusters = find_clusters(particles, jets, settings.jets)
    p4, pt = clusters.p4, transverse_momentum(clusters.p4)
    return JetSequences(
        *list_bounds(clusters.per_event),
        pt=pt.astype(np.float32),
        eta=np.arcsinh(p4[2] / pt).astype(np.float32),
        phi=np.arctan2(p4[1], p4[0]).astype(np.float32),
        mass=np.maximum(invariant_mass(p4), 0.0).astype(np.float32),
    )
