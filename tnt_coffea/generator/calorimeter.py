"""Calorimeters: towers and their resolution.

The numbers are those of the CMS card of Delphes (`delphes_card_CMS.tcl`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["ECAL", "HCAL", "Calorimeter"]

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

# Equal steps in eta through the whole acceptance, each shorter than any tower.
_CELLS = 1024


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
        everywhere = bool(inside.all())
        row = self._rows(eta if everywhere else np.where(inside, eta, 0.0))
        divisions = self.phi_divisions.take(row)
        column = np.floor((phi + np.pi) / (2 * np.pi) * divisions).astype(np.int64)
        # Nearly none: a division of integers takes longer than all of the above.
        around = np.flatnonzero((column < 0) | (column >= divisions))
        column[around] %= divisions[around]
        column += self._first.take(row)
        return column if everywhere else np.where(inside, column, -1)

    def edges(self, tower: Integers) -> tuple[Floats, Floats, Floats, Floats]:
        """Return low eta, high eta, low phi and high phi of towers."""
        row = self._row.take(tower)
        step = self._step.take(row)
        low_phi = -np.pi + (tower - self._first.take(row)) * step
        return self.eta_edges.take(row), self.eta_edges.take(row + 1), low_phi, low_phi + step

    def centres(self, tower: Integers) -> Floats:
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
    def _row(self) -> Integers:
        return np.repeat(np.arange(self.phi_divisions.size), self.phi_divisions)

    @cached_property
    def _first(self) -> Integers:
        return np.concatenate([[0], np.cumsum(self.phi_divisions)[:-1]])

    @cached_property
    def _step(self) -> Floats:
        return np.asarray(2 * np.pi / self.phi_divisions)

    @cached_property
    def _centre(self) -> Floats:
        return np.asarray((self.eta_edges[:-1] + self.eta_edges[1:]) / 2)

    def _rows(self, eta: Floats) -> Integers:
        # What np.searchsorted(edges, eta, side="left") - 1 gives, without its many steps:
        # the cells are too narrow for two edges, so that one comparison is left.
        row = self._before.take(self._cell(eta))
        row += eta > self.eta_edges.take(row + 1)
        return row

    def _cell(self, eta: Floats) -> Integers:
        # Rounded or not, it never falls where eta rises: all that `_rows` needs.
        low, high = self.eta_edges[[0, -1]]
        cell: Integers = ((eta - low) * (_CELLS / (high - low))).astype(np.int64)
        return cell

    @cached_property
    def _before(self) -> Integers:
        # For each cell the last edge in the cells before it, which all eta in the cell exceed.
        cells = self._cell(self.eta_edges)
        if np.any(np.diff(cells) == 0):
            msg = f"towers narrower than a {_CELLS}th of the acceptance: {self.eta_edges}"
            raise ValueError(msg)
        return np.searchsorted(cells, np.arange(_CELLS + 1), side="left") - 1


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
