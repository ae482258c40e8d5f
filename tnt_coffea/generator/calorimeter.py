"""Calorimeters: towers, their resolution, and the energy that tracks do not explain.

The numbers are those of the CMS card of Delphes (`delphes_card_CMS.tcl`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.generator.tracker import log_normal
from tnt_coffea.typing import Float64Array, IntArray

__all__ = ["ECAL", "HCAL", "Calorimeter", "Deposits", "Flow", "distinct", "energy_flow"]


# Equal steps in eta through the whole acceptance, each shorter than any tower.
_CELLS = 1024


@dataclass(frozen=True, eq=False)
class Calorimeter:
    """A grid of towers in eta and phi.

    Attributes
    ----------
    eta_edges
        (eta bin + 1,) edges of the towers
    phi_divisions
        (eta bin,) towers around the full circle
    energy_min
        lowest energy of a tower [GeV]
    significance_min
        lowest energy of a tower in units of its resolution
    resolution
        (eta, energy [GeV]) -> sigma(E) [GeV]
    """

    eta_edges: Float64Array
    phi_divisions: IntArray
    energy_min: float
    significance_min: float
    resolution: Callable[[Float64Array, Float64Array], Float64Array]

    def towers(self, eta: Float64Array, phi: Float64Array) -> IntArray:
        """Return the tower's number for each direction, -1 outside of the acceptance."""
        inside = (eta > self.eta_edges[0]) & (eta < self.eta_edges[-1])
        everywhere = bool(inside.all())
        row = self._rows(eta if everywhere else np.where(inside, eta, 0.0))
        divisions = self.phi_divisions.take(row)
        column = np.floor((phi + np.pi) / (2 * np.pi) * divisions).astype(np.int64)
        # Nearly none: a division of integers takes longer than all of the above.
        around = np.flatnonzero((column < 0) | (column >= divisions))
        column[around] %= divisions[around]
        column += self._first.take(row)
        return column if everywhere else np.where(inside, column, -1)

    def edges(
        self, tower: IntArray
    ) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
        """Return low eta, high eta, low phi and high phi of towers."""
        row = self._row.take(tower)
        step = self._step.take(row)
        low_phi = -np.pi + (tower - self._first.take(row)) * step
        return self.eta_edges.take(row), self.eta_edges.take(row + 1), low_phi, low_phi + step

    def centres(self, tower: IntArray) -> Float64Array:
        """Return eta in the middle of towers."""
        return self._centre.take(self._row.take(tower))

    def worsened(self, factor: float) -> Calorimeter:
        """Return the same grid with a resolution larger by a factor."""
        if factor == 1:
            return self
        own = self.resolution
        return replace(self, resolution=lambda eta, energy: factor * own(eta, energy))

    @property
    def size(self) -> int:
        """How many towers there are."""
        return int(self.phi_divisions.sum())

    @cached_property
    def _row(self) -> IntArray:
        return np.repeat(np.arange(self.phi_divisions.size), self.phi_divisions)

    @cached_property
    def _first(self) -> IntArray:
        return np.concatenate([[0], np.cumsum(self.phi_divisions)[:-1]])

    @cached_property
    def _step(self) -> Float64Array:
        return np.asarray(2 * np.pi / self.phi_divisions)

    @cached_property
    def _centre(self) -> Float64Array:
        return np.asarray((self.eta_edges[:-1] + self.eta_edges[1:]) / 2)

    def _rows(self, eta: Float64Array) -> IntArray:
        # What np.searchsorted(edges, eta, side="left") - 1 gives, without its many steps:
        # the cells are too narrow for two edges, so that one comparison is left.
        row = self._before.take(self._cell(eta))
        row += eta > self.eta_edges.take(row + 1)
        return row

    def _cell(self, eta: Float64Array) -> IntArray:
        # Rounded or not, it never falls where eta rises: all that `_rows` needs.
        low, high = self.eta_edges[[0, -1]]
        cell: IntArray = ((eta - low) * (_CELLS / (high - low))).astype(np.int64)
        return cell

    @cached_property
    def _before(self) -> IntArray:
        # For each cell the last edge in the cells before it, which all eta in the cell exceed.
        cells = self._cell(self.eta_edges)
        if np.any(np.diff(cells) == 0):
            msg = f"towers narrower than a {_CELLS}th of the acceptance: {self.eta_edges}"
            raise ValueError(msg)
        return np.searchsorted(cells, np.arange(_CELLS + 1), side="left") - 1


def _ecal_resolution(eta: Float64Array, energy: Float64Array) -> Float64Array:
    # Card: eta shape from arXiv:1306.2016, energy shape from arXiv:1502.02701.
    away = np.abs(eta)
    central = np.sqrt((0.008 * energy) ** 2 + 0.11**2 * energy + 0.40**2)
    shape = np.where(away <= 1.5, 1 + 0.64 * away**2, 2.16 + 5.6 * (away - 2) ** 2)
    forward = np.sqrt((0.107 * energy) ** 2 + 2.08**2 * energy)
    return np.where(away <= 2.5, shape * central, forward)


def _hcal_resolution(eta: Float64Array, energy: Float64Array) -> Float64Array:
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
    event
        (deposit,) number of the event
    tower
        (deposit,) where they arrive, -1 outside of the acceptance
    energy
        (deposit,) GeV
    sigma
        (deposit,) uncertainty of a track's energy, GeV; zero for true deposits
    """

    event: npt.NDArray[Any]
    tower: IntArray
    energy: Float64Array
    sigma: Float64Array


@dataclass(frozen=True, eq=False)
class Flow:
    """Energy deposits of a calorimeter that tracks do not explain.

    Attributes
    ----------
    event
        (neutral,) number of the event
    pt, eta, phi
        (neutral,) excess over the tracks, GeV
    track_scale
        (track,) factor on the track's momentum
    """

    event: npt.NDArray[Any]
    pt: Float64Array
    eta: Float64Array
    phi: Float64Array
    track_scale: Float64Array


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
    hit, seen = np.flatnonzero(truth.tower >= 0), np.flatnonzero(tracks.tower >= 0)
    keys = np.concatenate(
        [
            truth.event[hit] * calorimeter.size + truth.tower[hit],
            tracks.event[seen] * calorimeter.size + tracks.tower[seen],
        ]
    )
    unique, index = distinct(keys)
    of_hit, of_track = index[: hit.size], index[hit.size :]
    deposited = _sums(of_hit, truth.energy[hit], unique.size)
    charged = _sums(of_track, tracks.energy[seen], unique.size)
    variance = _sums(of_track, tracks.sigma[seen] ** 2, unique.size)

    event, tower = np.divmod(unique, calorimeter.size)
    centre = calorimeter.centres(tower)
    energy = log_normal(deposited, calorimeter.resolution(centre, deposited), rng)
    sigma = calorimeter.resolution(centre, energy)
    quiet = (energy < calorimeter.energy_min) | (energy < calorimeter.significance_min * sigma)
    energy[quiet] = 0.0

    excess = np.maximum(energy - charged, 0.0)
    total_sigma = np.maximum(np.sqrt(variance + sigma**2), 1e-9)
    is_neutral = excess > np.maximum(
        calorimeter.energy_min, calorimeter.significance_min * total_sigma
    )
    neutral = np.flatnonzero(is_neutral)
    scale = np.ones(unique.size)
    scaled = np.flatnonzero((charged > 0) & ~is_neutral)
    scale[scaled] = _best_scale(
        charged[scaled], variance[scaled], energy[scaled], sigma[scaled] ** 2
    )

    # Drawn for every tower, so that which of them are neutral does not move the others'.
    along_eta, along_phi = rng.random((2, unique.size))
    low_eta, high_eta, low_phi, high_phi = calorimeter.edges(tower[neutral])
    eta = low_eta + (high_eta - low_eta) * along_eta[neutral]
    phi = low_phi + (high_phi - low_phi) * along_phi[neutral]
    track_scale = np.ones(tracks.energy.size)
    track_scale[seen] = scale[of_track]
    return Flow(
        event=event[neutral],
        pt=excess[neutral] / np.cosh(eta),
        eta=eta,
        phi=phi,
        track_scale=track_scale,
    )


def distinct(keys: IntArray) -> tuple[IntArray, npt.NDArray[np.intp]]:
    """Return the values of keys, ascending, and where among them each key is.

    Like `np.unique` for keys from 0 on, in a third of its time.

    Parameters
    ----------
    keys
        (key,) in any order.

    Returns
    -------
    (value,) and (key,)
    """
    order = _order(keys)
    ascending = keys.take(order)
    new = np.ones(keys.size, np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=new[1:])
    first = np.flatnonzero(new)
    index = np.empty(keys.size, np.intp)
    index[order] = np.repeat(np.arange(first.size), np.diff(first, append=keys.size))
    return ascending.take(first), index


def _order(keys: IntArray) -> npt.NDArray[np.intp]:
    # numpy sorts 16 bits by counting: the lower ones, then, leaving equal ones as they are,
    # the higher ones.
    if keys.size == 0 or keys.max() >= 1 << 32:
        return np.argsort(keys, kind="stable")
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    return order[np.argsort((keys >> 16).astype(np.uint16)[order], kind="stable")]


def _sums(index: npt.NDArray[np.intp], values: Float64Array, size: int) -> Float64Array:
    return np.bincount(index, values, size).astype(np.float64, copy=False)


def _best_scale(
    charged: Float64Array,
    charged_variance: Float64Array,
    energy: Float64Array,
    variance: Float64Array,
) -> Float64Array:
    # Inverse-variance mean over the tracks' sum, written without a division by
    # a variance that may be zero.
    total = charged_variance + variance
    usable = (charged > 0) & (total > 0)
    mean = (variance * charged + charged_variance * energy) / np.where(usable, total, 1.0)
    return np.where(usable, mean / np.where(usable, charged, 1.0), 1.0)
