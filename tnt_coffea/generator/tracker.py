"""Tracks: how charged particles bend, which are found, and how well they are measured.

The numbers are those of the CMS card of Delphes (`delphes_card_CMS.tcl`). Where
cards of different age disagree, the comment says which one is taken and why.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.typing import Float64Array

__all__ = [
    "Species",
    "log_normal",
    "momentum_resolution",
    "species",
    "tracking_efficiency",
    "where_particles_end",
]


# Card, module ParticlePropagator: radius and half-length of the field [m], field [T].
RADIUS = 1.29
HALF_LENGTH = 3.0
FIELD = 3.8
# Radius of curvature [m] = pT [GeV] / (CURVATURE * B [T]): the speed of light in GeV / (T m).
CURVATURE = 0.299792458

ETA_MAX = 2.5
PT_MIN = 0.1


class Species(IntEnum):
    """Kinds of charged particle that the tracker treats differently."""

    HADRON = 0
    ELECTRON = 1
    MUON = 2


# Card, modules *TrackingEfficiency. Rows: species. Columns: pT [GeV] in (0.1, 1], (1, 100], above.
# First the central ones, then the forward ones.
_EFFICIENCY = np.array(
    [
        [[0.70, 0.95, 0.95], [0.73, 0.95, 0.99], [0.75, 0.99, 0.99]],
        [[0.60, 0.85, 0.85], [0.50, 0.83, 0.90], [0.70, 0.98, 0.98]],
    ]
)
_EFFICIENCY_PT = (1.0, 100.0)
_EFFICIENCY_ETA = 1.5

# Card, modules *MomentumSmearing, from arXiv:1405.6569 for hadrons: sigma / pT is
# sqrt(a^2 + (b pT)^2). Rows: species. Columns: |eta| up to 0.5, 1.5, 2.5.
# The present card has smaller a and b for hadrons. Olympics events have 2.0 candidates
# below 0.3 GeV: these older, wider values give 2.0, the present ones 1.2.
_RESOLUTION_ETA = (0.5, 1.5)
_RESOLUTION_A = np.array([[0.06, 0.10, 0.25], [0.03, 0.05, 0.15], [0.01, 0.015, 0.025]])
_RESOLUTION_B = np.array([[13e-4, 17e-4, 31e-4], [13e-4, 17e-4, 31e-4], [1e-4, 1.5e-4, 3.5e-4]])


def species(pdg_id: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the `Species` of charged particles.

    Parameters
    ----------
    pdg_id
        (particle,) PDG codes, either sign.
    """
    code = np.abs(pdg_id)
    kind = np.full(code.size, int(Species.HADRON), np.intp)
    kind[code == 11] = Species.ELECTRON
    kind[code == 13] = Species.MUON
    return kind


def where_particles_end(
    pt: Float64Array, eta: Float64Array, phi: Float64Array, charge: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return eta and phi of the points where particles leave the tracker's volume.

    A particle starts at the origin and follows a straight line or a helix up
    to a cylinder; below pT of 0.74 GeV it circles until it meets an end cap.

    Parameters
    ----------
    pt, eta, phi
        (particle,) momenta at the origin, GeV.
    charge
        (particle,) in units of the positron's.

    Returns
    -------
    eta, phi
        (particle,) of the points; phi in [-pi, pi)

    Source: JHEP 02 (2014) 057, section 3.1.
    """
    eta_out, phi_out = eta.copy(), phi.copy()
    bent = np.flatnonzero(charge != 0)
    eta_out[bent], phi_out[bent] = _helix_ends(*(x.take(bent) for x in (pt, eta, phi, charge)))
    phi_out += np.pi
    # Few: a remainder takes ten times as long as a sum.
    around = np.flatnonzero((phi_out < 0) | (phi_out >= 2 * np.pi))
    phi_out[around] %= 2 * np.pi
    phi_out -= np.pi
    return eta_out, phi_out


def _helix_ends(
    pt: Float64Array, eta: Float64Array, phi: Float64Array, charge: Float64Array
) -> tuple[Float64Array, Float64Array]:
    curve = pt / (CURVATURE * FIELD * np.maximum(np.abs(charge), 1e-9))
    steep = np.sinh(eta)
    # Half of the angle through which the transverse momentum has turned.
    to_barrel = np.arcsin(np.minimum(RADIUS / (2 * curve), 1.0))
    reaches = 2 * curve >= RADIUS
    with np.errstate(divide="ignore", invalid="ignore"):
        z_barrel = 2 * curve * to_barrel * steep
        to_cap = HALF_LENGTH / (2 * curve * np.abs(steep))
    barrel = reaches & (np.abs(z_barrel) <= HALF_LENGTH)
    half_turn = np.where(barrel, to_barrel, np.where(np.isfinite(to_cap), to_cap, 0.0))
    # Signed: after more than half a circle the point lies behind the momentum's direction.
    chord = 2 * curve * np.sin(half_turn)
    z = np.where(barrel, z_barrel, np.sign(steep) * HALF_LENGTH)
    eta_end = np.arcsinh(z / np.maximum(np.abs(chord), 1e-6))
    return eta_end, phi - np.sign(charge) * half_turn + np.where(chord < 0, np.pi, 0.0)


def tracking_efficiency(
    kind: npt.NDArray[np.intp], pt: Float64Array, eta: Float64Array
) -> Float64Array:
    """Return the probability that a charged particle is reconstructed as a track.

    Parameters
    ----------
    kind
        (particle,) `Species`.
    pt
        (particle,) true pT, GeV.
    eta
        (particle,) pseudorapidity of the point where it leaves the tracker, as
        in Delphes: particles that curl up into an end cap are lost.
    """
    away = np.abs(eta)
    cell = 3 * kind + _edges_below(_EFFICIENCY_PT, pt)
    cell += 9 * (away > _EFFICIENCY_ETA)
    found: Float64Array = _EFFICIENCY.take(cell)
    found[~((pt > PT_MIN) & (away <= ETA_MAX))] = 0.0
    return found


def momentum_resolution(
    kind: npt.NDArray[np.intp], pt: Float64Array, eta: Float64Array
) -> Float64Array:
    """Return sigma(pT) / pT of tracks, at most 1; parameters as in `tracking_efficiency`."""
    cell = 3 * kind + _edges_below(_RESOLUTION_ETA, np.abs(eta))
    relative: Float64Array = np.hypot(_RESOLUTION_A.take(cell), _RESOLUTION_B.take(cell) * pt)
    return relative.clip(max=1.0)


def _edges_below(edges: tuple[float, float], values: Float64Array) -> npt.NDArray[np.intp]:
    first, second = edges
    return (values > first).astype(np.intp) + (values > second)


def log_normal(mean: Float64Array, sigma: Float64Array, rng: np.random.Generator) -> Float64Array:
    """Return positive random numbers of a given mean and standard deviation.

    Delphes smears with this distribution rather than a Gaussian one, so that
    no measured energy is negative and the mean stays right.

    Parameters
    ----------
    mean, sigma
        (value,) both in the same unit; a mean of zero gives zero.
    rng
        Source of the random numbers.
    """
    positive = mean > 0
    everywhere = bool(positive.all())
    safe = mean if everywhere else np.where(positive, mean, 1.0)
    spread = np.sqrt(np.log1p((sigma / safe) ** 2))
    drawn: Float64Array = np.exp(
        np.log(safe) - spread**2 / 2 + spread * rng.standard_normal(mean.shape)
    )
    return drawn if everywhere else np.where(positive, drawn, 0.0)
