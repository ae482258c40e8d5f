"""Particle flow: the energy in a calorimeter that tracks do not explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tnt_coffea.generator.calorimeter import Calorimeter
from tnt_coffea.generator.tracker import log_normal

__all__ = ["Deposits", "Flow", "distinct", "energy_flow"]

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]


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


def distinct(keys: Integers) -> tuple[Integers, npt.NDArray[np.intp]]:
    """Return the values of keys, ascending, and where among them each key is.

    What `np.unique` does, for keys from 0 on, in a third of its time.

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


def _order(keys: Integers) -> npt.NDArray[np.intp]:
    # numpy sorts 16 bits by counting: the lower ones, then, leaving equal ones as they are,
    # the higher ones.
    if keys.size == 0 or keys.max() >= 1 << 32:
        return np.argsort(keys, kind="stable")
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    return order[np.argsort((keys >> 16).astype(np.uint16)[order], kind="stable")]


def _sums(index: npt.NDArray[np.intp], values: Floats, size: int) -> Floats:
    return np.bincount(index, values, size).astype(np.float64, copy=False)


def _best_scale(
    charged: Floats, charged_variance: Floats, energy: Floats, variance: Floats
) -> Floats:
    # Inverse-variance mean over the tracks' sum, written without a division by
    # a variance that may be zero.
    total = charged_variance + variance
    usable = (charged > 0) & (total > 0)
    mean = (variance * charged + charged_variance * energy) / np.where(usable, total, 1.0)
    return np.where(usable, mean / np.where(usable, charged, 1.0), 1.0)
