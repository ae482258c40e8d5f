"""Calorimeters: towers, their resolution, and the energy that tracks do not explain.

The numbers are those of the CMS card of Delphes (`delphes_card_CMS.tcl`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tnt_coffea.generator.tracker import log_normal

__all__ = ["ECAL", "HCAL", "Calorimeter", "Deposits", "Flow", "energy_flow"]

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Calorimeter:
    """A grid of towers in eta and phi.

    Attributes
    ----------
    eta_edges : (eta bin + 1,) edges of the towers
    phi_divisions : (eta bin,) towers around the full circle
    energy_min : lowest energy of a tower [GeV]
    significance_min : lowest energy of a tower in units of its resolution
    resolution : (eta, energy [GeV]) -> sigma(E) [GeV]
    """

    eta_edges: Floats
    phi_divisions: Integers
    energy_min: float
    significance_min: float
    resolution: Callable[[Floats, Floats], Floats]

    def towers(self, eta: Floats, phi: Floats) -> Integers:
        """Return the tower's number for each direction, -1 outside of the acceptance."""
        inside = (eta > self.eta_edges[0]) & (eta < self.eta_edges[-1])
        row = np.searchsorted(self.eta_edges, np.where(inside, eta, 0.0), side="left") - 1
        divisions = self.phi_divisions[row]
        column = np.floor((phi + np.pi) / (2 * np.pi) * divisions).astype(np.int64) % divisions
        return np.where(inside, self._first[row] + column, -1)

    def edges(self, tower: Integers) -> tuple[Floats, Floats, Floats, Floats]:
        """Return low eta, high eta, low phi and high phi of towers."""
        row = self._row[tower]
        step = 2 * np.pi / self.phi_divisions[row]
        low_phi = -np.pi + (tower - self._first[row]) * step
        return self.eta_edges[row], self.eta_edges[row + 1], low_phi, low_phi + step

    def worsened(self, factor: float) -> Calorimeter:
        """Return the same grid with a resolution larger by a factor."""
        own = self.resolution
        return replace(self, resolution=lambda eta, energy: factor * own(eta, energy))

    @property
    def size(self) -> int:
        """How many towers there are."""
        return int(self.phi_divisions.sum())

    @cached_property
    def _row(self) -> Integers:
        return np.repeat(np.arange(self.phi_divisions.size), self.phi_divisions)

    @cached_property
    def _first(self) -> Integers:
        return np.concatenate([[0], np.cumsum(self.phi_divisions)[:-1]])


def _ecal_resolution(eta: Floats, energy: Floats) -> Floats:
    # Card: eta shape from arXiv:1306.2016, energy shape from arXiv:1502.02701.
    away = np.abs(eta)
    central = np.sqrt((0.008 * energy) ** 2 + 0.11**2 * energy + 0.40**2)
    shape = np.where(away <= 1.5, 1 + 0.64 * away**2, 2.16 + 5.6 * (away - 2) ** 2)
    forward = np.sqrt((0.107 * energy) ** 2 + 2.08**2 * energy)
    return np.where(away <= 2.5, shape * central, forward)


def _hcal_resolution(eta: Floats, energy: Floats) -> Floats:
    # Card, module HCal, ResolutionFormula.
    central = np.sqrt((0.050 * energy) ** 2 + 1.50**2 * energy)
    forward = np.sqrt((0.130 * energy) ** 2 + 2.70**2 * energy)
    return np.where(np.abs(eta) <= 3.0, central, forward)


# Card, EtaPhiBins: the forward calorimeter's edges, common to both.
_FORWARD = (3.125, 3.3, 3.475, 3.65, 3.825, 4.0, 4.175, 4.35, 4.525, 4.7, 5.0)


def _ecal() -> Calorimeter:
    # Card: 0.0174 in eta and one degree in phi up to |eta| = 2.958, then 10 degrees.
    fine = 0.0174 * np.arange(-170, 171)
    edges = np.concatenate([-np.array(_FORWARD[::-1]), fine, _FORWARD])
    middle = np.abs(edges[1:] + edges[:-1]) / 2
    divisions = np.where(middle < 2.958, 360, 36)
    # Card: EnergyMin and EnergySignificanceMin of module ECal.
    return Calorimeter(edges, divisions, 0.5, 2.0, _ecal_resolution)


def _hcal() -> Calorimeter:
    # Card: 5 degrees up to |eta| = 1.653, 10 up to 4.525, then 20.
    barrel = (*(0.087 * i for i in range(1, 19)), 1.653)
    endcap = (1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95)
    half = np.array(barrel + endcap + _FORWARD)
    edges = np.concatenate([-half[::-1], [0.0], half])
    middle = np.abs(edges[1:] + edges[:-1]) / 2
    divisions = np.select([middle < 1.653, middle < 4.525], [72, 36], 18)
    # Card: EnergyMin of module HCal. Its significance is 1 in older cards and 2 in the
    # present one; the Olympics' softest forward candidates, 0.10 GeV at |eta| = 5, lie
    # at the threshold for 1.
    return Calorimeter(edges, divisions, 1.0, 1.0, _hcal_resolution)


ECAL = _ecal()
HCAL = _hcal()


@dataclass(frozen=True, eq=False)
class Deposits:
    """Energies that arrive at a calorimeter, or that tracks announce there.

    Attributes
    ----------
    event : (deposit,) number of the event
    tower : (deposit,) where they arrive, -1 outside of the acceptance
    energy : (deposit,) GeV
    sigma : (deposit,) uncertainty of a track's energy, GeV; zero for true deposits
    """

    event: npt.NDArray[Any]
    tower: Integers
    energy: Floats
    sigma: Floats


@dataclass(frozen=True, eq=False)
class Flow:
    """What a calorimeter adds to the tracks.

    Attributes
    ----------
    event : (neutral,) number of the event
    pt, eta, phi : (neutral,) excess over the tracks, GeV
    track_scale : (track,) factor on the track's momentum
    """

    event: npt.NDArray[Any]
    pt: Floats
    eta: Floats
    phi: Floats
    track_scale: Floats


def energy_flow(
    calorimeter: Calorimeter, truth: Deposits, tracks: Deposits, rng: np.random.Generator
) -> Flow:
    """Return neutral candidates and corrected tracks, tower by tower.

    A tower's energy is smeared and must pass the thresholds. What it holds
    beyond its tracks becomes a neutral candidate if it is significant;
    otherwise the tracks are scaled to the weighted mean of both measurements.
    A candidate's direction is uniform within its tower.

    Parameters
    ----------
    calorimeter
        The grid and its resolution.
    truth
        True energies; those outside of the acceptance are lost.
    tracks
        Measured tracks that deposit here.
    rng
        Source of the random numbers.

    Source: JHEP 02 (2014) 057, sections 3.2 and 3.3, with the rescaling of later Delphes versions.
    """
    hit, seen = truth.tower >= 0, tracks.tower >= 0
    keys = np.concatenate(
        [
            truth.event[hit] * calorimeter.size + truth.tower[hit],
            tracks.event[seen] * calorimeter.size + tracks.tower[seen],
        ]
    )
    unique, index = np.unique(keys, return_inverse=True)
    of_hit, of_track = np.split(index, [int(hit.sum())])
    deposited = _sums(of_hit, truth.energy[hit], unique.size)
    charged = _sums(of_track, tracks.energy[seen], unique.size)
    variance = _sums(of_track, tracks.sigma[seen] ** 2, unique.size)

    low_eta, high_eta, low_phi, high_phi = calorimeter.edges(unique % calorimeter.size)
    centre = (low_eta + high_eta) / 2
    energy = log_normal(deposited, calorimeter.resolution(centre, deposited), rng)
    sigma = calorimeter.resolution(centre, energy)
    quiet = (energy < calorimeter.energy_min) | (energy < calorimeter.significance_min * sigma)
    energy = np.where(quiet, 0.0, energy)

    excess = np.maximum(energy - charged, 0.0)
    total_sigma = np.maximum(np.sqrt(variance + sigma**2), 1e-9)
    neutral = excess > np.maximum(
        calorimeter.energy_min, calorimeter.significance_min * total_sigma
    )
    scale = np.where(neutral, 1.0, _best_scale(charged, variance, energy, sigma**2))

    eta = rng.uniform(low_eta, high_eta)
    phi = rng.uniform(low_phi, high_phi)
    track_scale = np.ones(tracks.energy.size)
    track_scale[seen] = scale[of_track]
    return Flow(
        event=unique[neutral] // calorimeter.size,
        pt=excess[neutral] / np.cosh(eta[neutral]),
        eta=eta[neutral],
        phi=phi[neutral],
        track_scale=track_scale,
    )


def _sums(index: npt.NDArray[np.intp], values: Floats, size: int) -> Floats:
    return np.bincount(index, values, size).astype(np.float64)


def _best_scale(
    charged: Floats, charged_variance: Floats, energy: Floats, variance: Floats
) -> Floats:
    # Inverse-variance mean over the tracks' sum, written without a division by
    # a variance that may be zero.
    total = charged_variance + variance
    usable = (charged > 0) & (total > 0)
    mean = (variance * charged + charged_variance * energy) / np.where(usable, total, 1.0)
    return np.where(usable, mean / np.where(usable, charged, 1.0), 1.0)
